/* SPDX-License-Identifier: MIT */
/* greetings.cpp - the README's lines in C++: `greetings produce`, then `greetings consume`. */
#include <cstring>
#include <iostream>

#include <ringbus/ringbus.hpp>

static void produce() {
  /* README begin */
  auto ring = ringbus::ring::create("greetings");
  ringbus::producer producer(ring);
  for (auto text : {"hello\n", "world\n"})
    while (!producer.send(text)) /* no room */
      (void)producer.wait(std::strlen(text));
  producer.finish();
  /* README end */
}

static void consume() {
  /* README begin */
  auto ring = ringbus::ring::open("greetings");
  ringbus::consumer consumer(ring);
  while (consumer.wait())
    while (auto message = consumer.borrow()) /* in the ring; released when its turn ends */
      std::cout << message.text();
  /* README end */
}

int main(int argc, char **argv) {
  try {
    argc > 1 && std::strcmp(argv[1], "produce") == 0 ? produce() : consume();
    return 0;
  } catch (const std::system_error &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
