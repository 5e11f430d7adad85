/* SPDX-License-Identifier: MIT */
/* killed.c - a durable consumer and a producer are killed at random moments, again and again, and
 * succeeded. No message is lost or torn; what the consumer had released does not come again; what the
 * producer had committed is there, and at most the one it was about to commit besides. A storm like
 * this proves little: all instructions are tried by the programs under tests/kill. */
#include "../support.h"

#include <signal.h>
#include <sys/mman.h>

#define MOST_BYTES 300u
#define BATCH 16

/* What a process has done, kept outside of it and of the ring. */
struct notes {
  uint64_t committed; /* send has returned for all messages before this one */
  uint64_t seen;      /* all messages before this one were borrowed and right */
  uint64_t released;  /* release has returned for all messages before this one */
};
static struct notes *notes;

static uint64_t load(uint64_t *note) { return __atomic_load_n(note, __ATOMIC_SEQ_CST); }
static void store(uint64_t *note, uint64_t value) {
  __atomic_store_n(note, value, __ATOMIC_SEQ_CST);
}

static size_t length_of(uint64_t number) { return number * 37 % MOST_BYTES; }

static int produce(struct test_child *self, void *context) {
  ringbus_producer *producer = test_producer(test_open("ring"));
  uint64_t number;
  (void)context;
  REQUIRE_RESULT(ringbus_producer_tell(producer, NULL, &number), 0);
  REQUIRE(number == load(&notes->committed) || number == load(&notes->committed) + 1);
  store(&notes->committed, number);
  test_child_say(self, 'p');
  for (;; number++) {
    int result;
    while ((result = ringbus_producer_send(producer, test_content(number), length_of(number),
                                           (uint32_t)number)) == -EAGAIN)
      REQUIRE_RESULT(
          ringbus_producer_wait(producer, length_of(number), (uint32_t)number, RINGBUS_FOREVER), 0);
    REQUIRE_RESULT(result, 0);
    store(&notes->committed, number + 1);
  }
  return 0;
}

static int consume(struct test_child *self, void *context) {
  ringbus_consumer *consumer = test_consumer(test_open("ring"), "durable");
  uint64_t next, random = load(&notes->seen);
  (void)context;
  REQUIRE_RESULT(ringbus_consumer_tell(consumer, NULL, &next), 0);
  REQUIRE(next >= load(&notes->released)); /* what was released does not come again */
  REQUIRE(next <= load(&notes->seen));     /* what was not seen is not lost */
  test_child_say(self, 'c');
  for (;;) {
    struct ringbus_message batch[BATCH];
    size_t count;
    int result =
        ringbus_consumer_borrow_batch(consumer, batch, 1 + test_random(&random) % BATCH, &count);
    if (result == -EAGAIN) {
      REQUIRE_RESULT(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
      continue;
    }
    REQUIRE_RESULT(result, 0);
    for (size_t i = 0; i < count; i++, next++) {
      REQUIRE(batch[i].length == length_of(next));
      REQUIRE(batch[i].tag == (uint32_t)next);
      REQUIRE(memcmp(batch[i].data, test_content(next), batch[i].length) == 0);
    }
    if (next > load(&notes->seen))
      store(&notes->seen, next);
    REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
    store(&notes->released, next);
  }
  return 0;
}

static struct test_child started(int (*body)(struct test_child *, void *), char word) {
  struct test_child child = test_child_start(body, NULL);
  REQUIRE(test_child_hear(&child) == word);
  return child;
}

int main(void) {
  static const struct ringbus_create_options options = {.capacity = 4096};
  uint64_t random = 1, kills = test_scaled(100, 5000);
  struct test_child producer, consumer;
  ringbus_ring *ring = test_ring_starting_at("ring", &options, UINT64_MAX - 999999);
  notes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(notes != MAP_FAILED);
  consumer = started(consume, 'c');
  producer = started(produce, 'p');
  for (uint64_t round = 0; round < kills; round++) {
    uint64_t seen = load(&notes->seen);
    struct test_child *victim = round % 2 ? &producer : &consumer;
    do { /* so that each life is long enough to publish and to read something */
      test_sleep_us((unsigned)(test_random(&random) % 3000));
      REQUIRE(!test_child_has_ended(&producer) && !test_child_has_ended(&consumer));
    } while (load(&notes->seen) == seen);
    test_child_kill(victim);
    if (test_random(&random) % 4 == 0) { /* sometimes both are gone */
      struct test_child *other = round % 2 ? &consumer : &producer;
      test_child_kill(other);
      *other = started(round % 2 ? consume : produce, round % 2 ? 'c' : 'p');
    }
    *victim = started(round % 2 ? produce : consume, round % 2 ? 'p' : 'c');
  }
  REQUIRE(load(&notes->seen) > kills);
  test_child_kill(&producer);
  test_child_kill(&consumer);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
  return 0;
}
