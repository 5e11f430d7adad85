/* SPDX-License-Identifier: MIT */
/* events.c - event descriptors and pollers, as threads over one mapping: the helper thread of a consumer
 * that reads, arms and leaves whenever it likes, beside a producer that publishes in bursts
 * and pauses. Every message is counted; sleepers look once an hour, so nothing may be lost.
 *
 * usage: events [messages] */
#include "../support.h"

#include <poll.h>
#include <pthread.h>

#define AN_HOUR (INT64_C(3600) * 1000000000)
#define RINGS 3

static uint64_t messages;
static ringbus_ring *rings[RINGS];

static ringbus_consumer *join(unsigned ring, const char *group) {
  struct ringbus_consumer_options options = {.group = group, .look_ns = AN_HOUR};
  ringbus_consumer *consumer;
  REQUIRE_RESULT(ringbus_consumer_attach(rings[ring], &options, &consumer), 0);
  return consumer;
}

static void *produce(void *context) {
  unsigned ring = (unsigned)(uintptr_t)context;
  struct ringbus_producer_options options = {.look_ns = AN_HOUR};
  ringbus_producer *producer;
  uint64_t random = ring, number = 0;
  REQUIRE_RESULT(ringbus_producer_attach(rings[ring], &options, &producer), 0);
  while (number < messages) {
    for (uint64_t burst = test_random(&random) % 20; burst && number < messages; burst--) {
      int result = ringbus_producer_send(producer, &number, sizeof number, 0);
      if (result == -EAGAIN) {
        REQUIRE_RESULT(ringbus_producer_wait(producer, sizeof number, 0, RINGBUS_FOREVER), 0);
        continue;
      }
      REQUIRE_RESULT(result, 0);
      number++;
    }
    if (test_random(&random) % 4 == 0)
      test_sleep_us(50);
  }
  REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return NULL;
}

static int receive(ringbus_consumer *consumer, uint64_t *next) {
  uint64_t number;
  int result = ringbus_consumer_recv(consumer, &number, sizeof number, NULL);
  if (result == 0)
    REQUIRE(number == (*next)++);
  return result;
}

/* Reads more or less than it is told of, arms also without need, leaves and comes back. */
static void *read_by_events(void *context) {
  unsigned ring = (unsigned)(uintptr_t)context;
  ringbus_consumer *consumer = join(ring, "events");
  uint64_t random = 100 + ring, next = 0;
  int fd, result = 0;
  REQUIRE_RESULT(ringbus_consumer_event_fd(consumer, &fd), 0);
  while (result != -EPIPE) {
    REQUIRE(poll(&(struct pollfd){fd, POLLIN, 0}, 1, -1) == 1);
    uint64_t most = test_random(&random) % 4 ? UINT64_MAX : test_random(&random) % 8;
    for (result = 0; result == 0 && most; most--)
      result = receive(consumer, &next);
    if (result == -EAGAIN || test_random(&random) % 2)
      result = ringbus_consumer_event_arm(consumer);
    if (test_random(&random) % 4 == 0) /* without having been told */
      while ((result = receive(consumer, &next)) == 0)
        if (test_random(&random) % 4 == 0)
          if ((result = ringbus_consumer_event_arm(consumer)) != 0)
            break; /* that was the last one */
    if (result == -EAGAIN)
      result = ringbus_consumer_event_arm(consumer);
    if (test_random(&random) % 64 == 0) {
      REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
      consumer = join(ring, "events");
      REQUIRE_RESULT(ringbus_consumer_event_fd(consumer, &fd), 0);
    }
    REQUIRE(result == 0 || result == -EPIPE);
    if (result == -EPIPE)
      REQUIRE_RESULT(receive(consumer, &next), -EPIPE);
  }
  REQUIRE(next == messages);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

static void *read_by_poller(void *context) {
  struct ringbus_poller_options options = {.look_ns = AN_HOUR};
  ringbus_poller *poller;
  struct ringbus_ready ready;
  uint64_t next[RINGS] = {0};
  int result, fd;
  (void)context;
  REQUIRE_RESULT(ringbus_poller_create(&options, &poller), 0);
  for (uintptr_t ring = 0; ring < RINGS; ring++) {
    ringbus_consumer *consumer = join((unsigned)ring, "poller");
    REQUIRE_RESULT(ringbus_poller_add(poller, consumer, (void *)ring), 0);
    if (ring == 1) /* its helper looks while it is read without a look at the descriptor */
      REQUIRE_RESULT(ringbus_consumer_event_fd(consumer, &fd), 0);
  }
  while ((result = ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready)) == 0) {
    uintptr_t ring = (uintptr_t)ready.context;
    REQUIRE_RESULT(receive(ready.consumer, &next[ring]), ready.result);
    if (ready.result == -EPIPE)
      REQUIRE_RESULT(ringbus_consumer_detach(ready.consumer), 0);
    else if (ring == 1 && next[ring] % 16 == 0)
      ringbus_consumer_event_arm(ready.consumer);
  }
  REQUIRE_RESULT(result, -ENOENT);
  for (unsigned ring = 0; ring < RINGS; ring++)
    REQUIRE(next[ring] == messages);
  REQUIRE_RESULT(ringbus_poller_destroy(poller), 0);
  return NULL;
}

int main(int count, char **arguments) {
  static const enum ringbus_wake wakes[RINGS] = {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAKE_BY_FENCE,
                                                 RINGBUS_WAKE_NEVER};
  static const char *names[RINGS] = {"a", "b", "c"};
  pthread_t producers[RINGS], readers[RINGS], poller;
  messages = count > 1 ? strtoull(arguments[1], NULL, 0) : test_scaled(100000, 2000000);
  for (unsigned ring = 0; ring < RINGS; ring++) {
    struct ringbus_create_options options = {.capacity = 4096, .wake = wakes[ring]};
    rings[ring] = test_ring(names[ring], &options);
    /* Both groups are there before anything is published. */
    REQUIRE_RESULT(ringbus_consumer_detach(join(ring, "events")), 0);
    REQUIRE_RESULT(ringbus_consumer_detach(join(ring, "poller")), 0);
  }
  REQUIRE(pthread_create(&poller, NULL, read_by_poller, NULL) == 0);
  for (uintptr_t ring = 0; ring < RINGS; ring++) {
    REQUIRE(pthread_create(&readers[ring], NULL, read_by_events, (void *)ring) == 0);
    REQUIRE(pthread_create(&producers[ring], NULL, produce, (void *)ring) == 0);
  }
  for (unsigned ring = 0; ring < RINGS; ring++) {
    REQUIRE(pthread_join(producers[ring], NULL) == 0);
    REQUIRE(pthread_join(readers[ring], NULL) == 0);
  }
  REQUIRE(pthread_join(poller, NULL) == 0);
  for (unsigned ring = 0; ring < RINGS; ring++)
    REQUIRE_RESULT(ringbus_ring_close(rings[ring]), 0);
  return 0;
}
