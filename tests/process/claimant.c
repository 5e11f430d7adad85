/* SPDX-License-Identifier: MIT */
/* claimant.c NAME [MESSAGE]... - a producer, for scripts, that sends the messages, begins another one and
 * never commits it. It says "claimed" then, and waits to be stopped or ended. */
#include "../support.h"

int main(int argc, char **argv) {
  ringbus_ring *ring;
  ringbus_producer *producer;
  void *data;
  REQUIRE(argc >= 2);
  REQUIRE_RESULT(ringbus_ring_open(argv[1], NULL, &ring), 0);
  const struct ringbus_producer_options options = {.name = "claimant"};
  REQUIRE_RESULT(ringbus_producer_attach(ring, &options, &producer), 0);
  for (int i = 2; i < argc; i++)
    REQUIRE_RESULT(ringbus_producer_send(producer, argv[i], strlen(argv[i]), 0), 0);
  REQUIRE_RESULT(ringbus_producer_claim(producer, 100, 0, &data), 0);
  memset(data, 'x', 50);
  puts("claimed");
  fflush(stdout);
  for (;;)
    pause();
}
