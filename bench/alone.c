/* SPDX-License-Identifier: MIT */
/* alone.c - what one process does by itself: sending into a ring whose lines no other core has, and coming to
 * the first message of a ring that has just been opened. The other process looks at its own line meanwhile. */
#include "bench.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* The process that waits: number of messages that the other one has passed, plus one. */
static uint64_t stand_by(struct bench *bench) {
  uint64_t passed;
  while ((passed = bench_load(&bench->shared->published)) == 0)
    bench_idle(bench);
  return passed - 1;
}

/* ---------------------------------------------------------------- what publishing costs */

/* Bursts are sent, timed, and received by the same process, which is not. So little of the ring is used
 * that it stays in the core's caches, and what differs is what the producer does for sleepers. */
enum { BURST = 1024 };

static struct lonely {
  ringbus_producer *producer;
  ringbus_consumer *consumer;
} rings[RINGBUS_WAKE_NEVER + 1];

static void open_lonely(struct bench *bench, enum ringbus_wake wake) {
  struct lonely *ring = &rings[wake];
  if (!bench->leads)
    return;
  if (!ring->producer) {
    const struct ringbus_create_options options = {.capacity = UINT64_C(1) << 17, .wake = wake};
    const int fd = bench_make_ring(&options);
    ring->producer = bench_produce_in(fd);
    ring->consumer =
        bench_consume_from(fd, (struct ringbus_consumer_options){.group = NULL}, bench);
    (void)close(fd);
  }
  bench->producer = ring->producer;
  bench->consumer = ring->consumer;
}

static void open_membarrier(struct bench *bench, uint32_t size) {
  (void)size;
  open_lonely(bench, RINGBUS_WAKE_BY_MEMBARRIER);
}
static void open_fence(struct bench *bench, uint32_t size) {
  (void)size;
  open_lonely(bench, RINGBUS_WAKE_BY_FENCE);
}
static void open_never(struct bench *bench, uint32_t size) {
  (void)size;
  open_lonely(bench, RINGBUS_WAKE_NEVER);
}

static uint64_t publish(struct bench *bench) {
  const int64_t end = bench_now() + bench->slice_ns;
  int64_t spent = 0;
  uint64_t number = 0;
  while (bench_now() < end) {
    struct ringbus_message message;
    const int64_t start = bench_now();
    for (unsigned i = 0; i < BURST; i++) {
      bench_number(bench->out, BENCH_MESSAGE, number + i);
      const int result = ringbus_producer_send(bench->producer, bench->out, BENCH_MESSAGE, 0);
      if (result != 0)
        bench_fail("send", result);
    }
    spent += bench_now() - start;
    for (unsigned i = 0; i < BURST; i++, number++) {
      const int result =
          ringbus_consumer_recv(bench->consumer, bench->in, BENCH_MAX_MESSAGE, &message);
      if (result != 0 || message.length != BENCH_MESSAGE)
        bench_fail("recv", result ? result : -EBADMSG);
      if (bench_numbered(bench, bench->in, BENCH_MESSAGE) != number)
        bench_bad_message(bench, number, bench_numbered(bench, bench->in, BENCH_MESSAGE));
    }
  }
  bench->shared->cost = (double)spent / (double)number;
  bench_store(&bench->shared->published, number + 1);
  return number;
}

/* ---------------------------------------------------------------- from opening to the first message */

enum { SMALL, LARGE, CAPACITIES };
static const uint64_t capacity[CAPACITIES] = {UINT64_C(1) << 20, UINT64_C(1) << 30};
static int attached_to[CAPACITIES];

static void make_small(void) {
  const struct ringbus_create_options options = {.capacity = capacity[SMALL]};
  attached_to[SMALL] = bench_make_ring(&options);
}
static void make_large(void) {
  const struct ringbus_create_options options = {.capacity = capacity[LARGE]};
  attached_to[LARGE] = bench_make_ring(&options);
}

static ringbus_ring *open_ring(int fd) {
  ringbus_ring *ring;
  const int result = ringbus_ring_open_fd(fd, NULL, &ring);
  if (result != 0)
    bench_fail("opening a ring", result);
  return ring;
}

/* A producer comes, sends a message and goes; a consumer comes, takes it and goes. One of both is timed. */
static uint64_t come_and_go(struct bench *bench, int fd, bool producing) {
  const struct ringbus_consumer_options in_group = {.group = "bench"}; /* one that stays */
  const int64_t end = bench_now() + bench->slice_ns;
  uint64_t number = 0;
  int64_t start;
  while ((start = bench_now()) < end) {
    ringbus_producer *producer;
    ringbus_consumer *consumer;
    struct ringbus_message message;
    bench_number(bench->out, BENCH_MESSAGE, number);
    ringbus_ring *ring = open_ring(fd);
    int result = ringbus_producer_attach(ring, NULL, &producer);
    if (result == 0)
      result = ringbus_producer_send(producer, bench->out, BENCH_MESSAGE, 0);
    if (producing)
      bench_record(&bench->shared->latency, bench_now() - start);
    if (result == 0)
      result = ringbus_producer_detach(producer);
    if (result == 0)
      result = ringbus_ring_close(ring);
    start = bench_now();
    ring = open_ring(fd);
    if (result == 0)
      result = ringbus_consumer_attach(ring, &in_group, &consumer);
    if (result == 0)
      result = ringbus_consumer_recv(consumer, bench->in, BENCH_MAX_MESSAGE, &message);
    if (!producing)
      bench_record(&bench->shared->latency, bench_now() - start);
    if (result != 0 || message.length != BENCH_MESSAGE)
      bench_fail("attaching, and the first message", result ? result : -EBADMSG);
    if (bench_numbered(bench, bench->in, BENCH_MESSAGE) != number)
      bench_bad_message(bench, number, bench_numbered(bench, bench->in, BENCH_MESSAGE));
    result = ringbus_consumer_detach(consumer);
    if (result == 0)
      result = ringbus_ring_close(ring);
    if (result != 0)
      bench_fail("detaching", result);
    number++;
  }
  bench_store(&bench->shared->published, number + 1);
  return number;
}

/* What the system charges for a mapping and its first word. */
static uint64_t map_and_look(struct bench *bench, unsigned which) {
  const int64_t end = bench_now() + bench->slice_ns;
  char path[64];
  uint64_t number = 0;
  int64_t start;
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", attached_to[which]);
  while ((start = bench_now()) < end) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    char *mapped = mmap(NULL, capacity[which], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || mapped == MAP_FAILED)
      bench_fail("a mapping", -errno);
    bench_touch((void *)(uintptr_t) * (volatile uint64_t *)(void *)mapped);
    bench_record(&bench->shared->latency, bench_now() - start);
    (void)munmap(mapped, capacity[which]);
    (void)close(fd);
    number++;
  }
  bench_store(&bench->shared->published, number + 1);
  return number;
}

static uint64_t map_small(struct bench *bench) { return map_and_look(bench, SMALL); }
static uint64_t map_large(struct bench *bench) { return map_and_look(bench, LARGE); }
static uint64_t produce_small(struct bench *bench) {
  return come_and_go(bench, attached_to[SMALL], true);
}
static uint64_t produce_large(struct bench *bench) {
  return come_and_go(bench, attached_to[LARGE], true);
}
static uint64_t consume_small(struct bench *bench) {
  return come_and_go(bench, attached_to[SMALL], false);
}
static uint64_t consume_large(struct bench *bench) {
  return come_and_go(bench, attached_to[LARGE], false);
}

/* ---------------------------------------------------------------- all of them */

/* Of the sizes, that of all crowds. */
#define ALONE(name, kind, channel, peer, side)                                                     \
  {                                                                                                \
    name, kind, channel, &bench_alone[peer], {NULL, side}, { NULL, stand_by }                      \
  }

enum { MEMBARRIER, FENCE, NEVER, ATTACH_SMALL, ATTACH_LARGE };
static const struct bench_contender by_membarrier[] = {
    ALONE("wake by membarrier", BENCH_PUBLISH, BENCH_MEMORY, MEMBARRIER, publish)};
static const struct bench_contender by_fence[] = {
    ALONE("wake by fence", BENCH_PUBLISH, BENCH_MEMORY, FENCE, publish)};
static const struct bench_contender never[] = {
    ALONE("wake never", BENCH_PUBLISH, BENCH_MEMORY, NEVER, publish)};
static const struct bench_contender small[] = {
    ALONE("bare mapping, 1 MiB", BENCH_ATTACH, BENCH_MEMORY, ATTACH_SMALL, map_small),
    ALONE("producer, 1 MiB", BENCH_ATTACH, BENCH_MEMORY, ATTACH_SMALL, produce_small),
    ALONE("consumer, 1 MiB", BENCH_ATTACH, BENCH_MEMORY, ATTACH_SMALL, consume_small),
};
static const struct bench_contender large[] = {
    ALONE("bare mapping, 1 GiB", BENCH_ATTACH, BENCH_LARGE_RINGS, ATTACH_LARGE, map_large),
    ALONE("producer, 1 GiB", BENCH_ATTACH, BENCH_LARGE_RINGS, ATTACH_LARGE, produce_large),
    ALONE("consumer, 1 GiB", BENCH_ATTACH, BENCH_LARGE_RINGS, ATTACH_LARGE, consume_large),
};

const struct bench_peer bench_alone[] = {
    [MEMBARRIER] = {by_membarrier, 1, false, NULL, open_membarrier},
    [FENCE] = {by_fence, 1, false, NULL, open_fence},
    [NEVER] = {never, 1, false, NULL, open_never},
    [ATTACH_SMALL] = {small, sizeof small / sizeof *small, true, make_small, NULL},
    [ATTACH_LARGE] = {large, sizeof large / sizeof *large, true, make_large, NULL},
};
const unsigned bench_alone_count = sizeof bench_alone / sizeof *bench_alone;
