/* SPDX-License-Identifier: MIT */
/* lapped.c - readers that are overwritten while they copy: what is returned is whole all the same, and
 * together with what was reported lost it is everything. Messages are so large, and readers so far
 * behind, that the producer is in the midst of their copies most of the time.
 *
 * From the table of bugs that such rings have had ("Lapping"):
 *   "version not re-checked after the copy"
 *   "the record being written already clobbers the oldest: the guard is capacity minus what is in flight"
 *   "count of lost messages wrong; a lapped reader reported corrupt" */
#include "../support.h"

#include <pthread.h>
#include <sched.h>

#define CAPACITY 65536u
#define MOST_BYTES 20000u

static ringbus_ring *ring;
static uint64_t messages;

static size_t length_of(uint64_t number) { return 8 + number * 7919 % (MOST_BYTES - 8); }

static uint64_t check(const struct ringbus_message *message) {
  uint64_t number;
  REQUIRE(message->length >= sizeof number);
  memcpy(&number, message->data, sizeof number);
  REQUIRE(number < messages);
  REQUIRE(message->length == length_of(number));
  REQUIRE(memcmp((const char *)message->data + 8, test_content(number), message->length - 8) == 0);
  return number;
}

static void *produce(void *context) {
  ringbus_producer *producer = context;
  for (uint64_t number = 0; number < messages; number++) {
    size_t length = length_of(number);
    void *data;
    REQUIRE_RESULT(ringbus_producer_claim(producer, length, 0, &data), 0); /* never full */
    memcpy(data, &number, sizeof number);
    memcpy((char *)data + 8, test_content(number), length - 8);
    REQUIRE_RESULT(ringbus_producer_commit(producer, length), 0);
    if (number % 16 == 0)
      sched_yield();
  }
  REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return NULL;
}

struct tally {
  uint64_t next, got, times_lapped;
};

/* The next message, or what was lost instead. False at the end. */
static bool take(struct tally *tally, int result, const struct ringbus_message *message,
                 uint64_t lost_before, uint64_t lost) {
  tally->next += lost - lost_before;
  if (result == 0) {
    REQUIRE(lost == lost_before);
    REQUIRE(check(message) == tally->next++);
    tally->got++;
  } else if (result == -EOVERFLOW) {
    REQUIRE(lost > lost_before);
    tally->times_lapped++;
  } else if (result == -EPIPE) {
    REQUIRE(tally->next == messages && tally->got + lost == messages);
    return false;
  } else {
    REQUIRE_RESULT(result, -EAGAIN);
  }
  return true;
}

static void *consume(void *context) {
  ringbus_consumer *consumer = context;
  unsigned char *buffer = malloc(MOST_BYTES);
  struct tally tally = {0, 0, 0};
  struct ringbus_message message;
  uint64_t lost = 0, before;
  int result;
  do {
    before = lost;
    result = ringbus_consumer_recv(consumer, buffer, MOST_BYTES, &message);
    REQUIRE_RESULT(ringbus_consumer_lost(consumer, &lost, NULL), 0);
  } while (take(&tally, result, &message, before, lost));
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  free(buffer);
  return (void *)(uintptr_t)tally.times_lapped;
}

static void *observe(void *context) {
  ringbus_observer *observer = context;
  unsigned char *buffer = malloc(MOST_BYTES);
  struct tally tally = {0, 0, 0};
  struct ringbus_message message;
  uint64_t lost = 0, before;
  int result;
  do {
    before = lost;
    result = ringbus_observer_recv(observer, buffer, MOST_BYTES, &message);
    REQUIRE_RESULT(ringbus_observer_lost(observer, &lost, NULL), 0);
  } while (take(&tally, result, &message, before, lost));
  REQUIRE_RESULT(ringbus_observer_detach(observer), 0);
  free(buffer);
  return (void *)(uintptr_t)tally.times_lapped;
}

int main(void) {
  static const struct ringbus_create_options options = {.capacity = CAPACITY};
  struct ringbus_consumer_options lapped = {.policy = RINGBUS_LAPPED};
  ringbus_consumer *consumer;
  pthread_t threads[3];
  uintptr_t times_lapped = 0;
  messages = test_scaled(20000, 500000);
  ring = test_ring_starting_at("ring", &options, UINT64_MAX - 99999999);
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &lapped, &consumer), 0);
  REQUIRE(pthread_create(&threads[0], NULL, consume, consumer) == 0);
  REQUIRE(pthread_create(&threads[1], NULL, observe, test_observer(ring)) == 0);
  REQUIRE(pthread_create(&threads[2], NULL, produce, test_producer(ring)) == 0);
  for (int i = 0; i < 3; i++) {
    void *lapped_by_this = NULL;
    REQUIRE(pthread_join(threads[i], &lapped_by_this) == 0);
    times_lapped += (uintptr_t)lapped_by_this;
  }
  REQUIRE(times_lapped > 0);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
  return 0;
}
