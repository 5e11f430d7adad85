/* SPDX-License-Identifier: MIT */
/* stream.c - a producer and several consumers as processes of their own, more of them than there are
 * cores: every group gets every message, in order and whole, many times around a small ring whose
 * counters wrap; in each wake mode and with each way to wait. */
#include "../support.h"

#include <sched.h>

#define CONSUMERS 6
#define MOST_BYTES 600u

struct run {
  enum ringbus_wake wake;
  enum ringbus_wait wait;
  uint64_t start, messages;
};

struct part {
  const struct run *run;
  int number;
};

static size_t length_of(uint64_t number) { return number * 37 % MOST_BYTES; }

static void check(const struct ringbus_message *message, uint64_t number) {
  REQUIRE(message->length == length_of(number));
  REQUIRE(message->tag == (uint32_t)number);
  REQUIRE(memcmp(message->data, test_content(number), message->length) == 0);
}

static int produce(struct test_child *self, void *context) {
  const struct run *run = ((struct part *)context)->run;
  struct ringbus_producer_options options = {.wait = run->wait};
  ringbus_producer *producer;
  uint64_t random = 1;
  REQUIRE_RESULT(ringbus_producer_attach(test_open("ring"), &options, &producer), 0);
  REQUIRE(test_child_hear(self) == 'g');
  for (uint64_t number = 0; number < run->messages; number++) {
    int result;
    while ((result = ringbus_producer_send(producer, test_content(number), length_of(number),
                                           (uint32_t)number)) == -EAGAIN)
      REQUIRE_RESULT(
          ringbus_producer_wait(producer, length_of(number), (uint32_t)number, RINGBUS_FOREVER), 0);
    REQUIRE_RESULT(result, 0);
    if (test_random(&random) % 200 == 0)
      sched_yield();
  }
  REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  REQUIRE_RESULT(ringbus_producer_drain(producer, RINGBUS_FOREVER), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return 0;
}

/* The one in place, the next in batches, the next by copy. */
static int consume(struct test_child *self, void *context) {
  const struct part *part = context;
  struct ringbus_consumer_options options = {.wait = part->run->wait};
  ringbus_consumer *consumer;
  struct ringbus_message batch[32];
  unsigned char buffer[MOST_BYTES];
  uint64_t next = 0, random = (uint64_t)part->number;
  size_t count = 0;
  REQUIRE_RESULT(ringbus_consumer_attach(test_open("ring"), &options, &consumer), 0);
  test_child_say(self, 'a');
  for (;;) {
    int result;
    count = 1;
    if (part->number % 3 == 0)
      result = ringbus_consumer_borrow(consumer, batch);
    else if (part->number % 3 == 1)
      result =
          ringbus_consumer_borrow_batch(consumer, batch, 1 + test_random(&random) % 32, &count);
    else
      result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, batch);
    if (result == 0) {
      for (size_t i = 0; i < count; i++)
        check(&batch[i], next++);
      REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
    } else if (result == -EAGAIN) {
      result = ringbus_consumer_wait(consumer, RINGBUS_FOREVER);
      REQUIRE(result == 0 || result == -EPIPE);
    } else {
      REQUIRE_RESULT(result, -EPIPE);
      break;
    }
  }
  REQUIRE(next == part->run->messages);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return 0;
}

static void stream(const struct run *run) {
  struct ringbus_create_options options = {.capacity = 4096, .wake = run->wake};
  ringbus_ring *ring = test_ring_starting_at("ring", &options, run->start);
  struct test_child producer, consumers[CONSUMERS];
  struct ringbus_ring_info info;
  struct part part = {run, 0};
  for (part.number = 0; part.number < CONSUMERS; part.number++) {
    consumers[part.number] = test_child_start(consume, &part);
    REQUIRE(test_child_hear(&consumers[part.number]) == 'a');
  }
  producer = test_child_start(produce, &part);
  test_child_say(&producer, 'g');
  REQUIRE(test_child_status(&producer) == 0);
  for (int i = 0; i < CONSUMERS; i++)
    REQUIRE(test_child_status(&consumers[i]) == 0);
  REQUIRE_RESULT(ringbus_ring_info(ring, &info), 0);
  REQUIRE(info.participants == 0 && info.groups == 0 && info.tail_count == run->messages);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
}

int main(void) {
  static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 100000, (UINT64_C(1) << 63) - 100000,
                                    UINT64_MAX - 99999};
  uint64_t number = 0;
  for (int wake = RINGBUS_WAKE_BY_MEMBARRIER; wake <= RINGBUS_WAKE_NEVER; wake++)
    for (int wait = RINGBUS_WAIT_ADAPTIVE; wait <= RINGBUS_WAIT_BLOCK; wait++) {
      struct run run = {(enum ringbus_wake)wake, (enum ringbus_wait)wait, starts[number++ % 4],
                        test_scaled(10000, 200000)};
      if (wait == RINGBUS_WAIT_SPIN) /* seven that spin on two cores take turns by time slice */
        run.messages /= 100;
      stream(&run);
    }
  return 0;
}
