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

/* Each kind of ring is a peer of its own, behind those of publish. */
enum { MEMBARRIER, FENCE, NEVER, FIRST_ATTACHED };
enum { SMALL, LARGE, HUGE, CROWDED, SMALL_FAULTED, LARGE_FAULTED, ATTACHED };
static const struct {
  uint64_t capacity;
  uint32_t places; /* for participants; 0: as the library has them */
  bool prefault;
} attached[ATTACHED] = {
    [SMALL] = {.capacity = UINT64_C(1) << 20},
    [LARGE] = {.capacity = UINT64_C(1) << 30},
    [HUGE] = {.capacity = UINT64_C(1) << 34},
    [CROWDED] = {.capacity = UINT64_C(1) << 20, .places = 1023},
    [SMALL_FAULTED] = {.capacity = UINT64_C(1) << 20, .prefault = true},
    [LARGE_FAULTED] = {.capacity = UINT64_C(1) << 30, .prefault = true},
};
static int attached_to[ATTACHED];

static unsigned which(const struct bench *bench) {
  return (unsigned)(bench_contender[bench->row->contender]->peer - &bench_alone[FIRST_ATTACHED]);
}

/* Rings of one size are one. */
static void make_attached(unsigned kind) {
  const struct ringbus_create_options options = {.capacity = attached[kind].capacity,
                                                 .max_participants = attached[kind].places};
  for (unsigned i = 0; i < ATTACHED; i++)
    if (attached_to[i] && attached[i].capacity == attached[kind].capacity &&
        attached[i].places == attached[kind].places) {
      attached_to[kind] = attached_to[i];
      return;
    }
  attached_to[kind] = bench_make_ring(&options);
}
static void make_small(void) { make_attached(SMALL); }
static void make_large(void) { make_attached(LARGE); }
static void make_huge(void) { make_attached(HUGE); }
static void make_crowded(void) { make_attached(CROWDED); }
static void make_small_faulted(void) { make_attached(SMALL_FAULTED); }
static void make_large_faulted(void) { make_attached(LARGE_FAULTED); }

static ringbus_ring *open_ring(const struct bench *bench, bool timed) {
  const struct ringbus_open_options options = {.prefault =
                                                   timed && attached[which(bench)].prefault};
  ringbus_ring *ring;
  const int result = ringbus_ring_open_fd(attached_to[which(bench)], &options, &ring);
  if (result != 0)
    bench_fail("opening a ring", result);
  return ring;
}

/* A producer comes, sends a message and goes; a consumer comes, takes it and goes. One of both is timed. */
static uint64_t come_and_go(struct bench *bench, bool producing) {
  const struct ringbus_consumer_options in_group = {.group = "bench"}; /* one that stays */
  const int64_t end = bench_now() + bench->slice_ns;
  uint64_t number = 0;
  int64_t start;
  while ((start = bench_now()) < end) {
    ringbus_producer *producer;
    ringbus_consumer *consumer;
    struct ringbus_message message;
    bench_number(bench->out, BENCH_MESSAGE, number);
    ringbus_ring *ring = open_ring(bench, producing);
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
    ring = open_ring(bench, !producing);
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

/* What the system charges for a mapping of as many bytes and its first word. */
static uint64_t map_and_look(struct bench *bench) {
  const uint64_t bytes = attached[which(bench)].capacity;
  const int64_t end = bench_now() + bench->slice_ns;
  char path[64];
  uint64_t number = 0;
  int64_t start;
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", attached_to[which(bench)]);
  while ((start = bench_now()) < end) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    char *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | (attached[which(bench)].prefault ? MAP_POPULATE : 0), fd, 0);
    if (fd < 0 || mapped == MAP_FAILED)
      bench_fail("a mapping", -errno);
    bench_touch((void *)(uintptr_t) * (volatile uint64_t *)(void *)mapped);
    bench_record(&bench->shared->latency, bench_now() - start);
    (void)munmap(mapped, bytes);
    (void)close(fd);
    number++;
  }
  bench_store(&bench->shared->published, number + 1);
  return number;
}

static uint64_t produce_first(struct bench *bench) { return come_and_go(bench, true); }
static uint64_t consume_first(struct bench *bench) { return come_and_go(bench, false); }

/* ---------------------------------------------------------------- all of them */

/* Of the sizes, that of all crowds. */
#define ALONE(name, kind, channel, peer, side)                                                     \
  {                                                                                                \
    name, kind, channel, &bench_alone[peer], {NULL, side}, { NULL, stand_by }                      \
  }

static const struct bench_contender by_membarrier[] = {
    ALONE("wake by membarrier", BENCH_PUBLISH, BENCH_MEMORY, MEMBARRIER, publish)};
static const struct bench_contender by_fence[] = {
    ALONE("wake by fence", BENCH_PUBLISH, BENCH_MEMORY, FENCE, publish)};
static const struct bench_contender never[] = {
    ALONE("wake never", BENCH_PUBLISH, BENCH_MEMORY, NEVER, publish)};

#define ATTACH(what, channel, kind)                                                                \
  {                                                                                                \
    ALONE("bare mapping, " what, BENCH_ATTACH, channel, FIRST_ATTACHED + kind, map_and_look),      \
        ALONE("producer, " what, BENCH_ATTACH, channel, FIRST_ATTACHED + kind, produce_first),     \
        ALONE("consumer, " what, BENCH_ATTACH, channel, FIRST_ATTACHED + kind, consume_first),     \
  }
static const struct bench_contender small[] = ATTACH("1 MiB", BENCH_MEMORY, SMALL);
static const struct bench_contender large[] = ATTACH("1 GiB", BENCH_LARGE_RINGS, LARGE);
static const struct bench_contender huge[] = ATTACH("16 GiB", BENCH_HUGE_RINGS, HUGE);
static const struct bench_contender crowded[] = ATTACH("1023 places", BENCH_MEMORY, CROWDED);
static const struct bench_contender small_faulted[] =
    ATTACH("1 MiB faulted", BENCH_MEMORY, SMALL_FAULTED);
static const struct bench_contender large_faulted[] =
    ATTACH("1 GiB faulted", BENCH_LARGE_RINGS, LARGE_FAULTED);

#define ALL_OF(contenders, waits, make, open)                                                      \
  { contenders, sizeof contenders / sizeof *contenders, waits, make, open, NULL }
const struct bench_peer bench_alone[] = {
    [MEMBARRIER] = {by_membarrier, 1, false, NULL, open_membarrier, NULL},
    [FENCE] = {by_fence, 1, false, NULL, open_fence, NULL},
    [NEVER] = {never, 1, false, NULL, open_never, NULL},
    [FIRST_ATTACHED + SMALL] = ALL_OF(small, true, make_small, NULL),
    [FIRST_ATTACHED + LARGE] = ALL_OF(large, true, make_large, NULL),
    [FIRST_ATTACHED + HUGE] = ALL_OF(huge, true, make_huge, NULL),
    [FIRST_ATTACHED + CROWDED] = ALL_OF(crowded, true, make_crowded, NULL),
    [FIRST_ATTACHED + SMALL_FAULTED] = ALL_OF(small_faulted, true, make_small_faulted, NULL),
    [FIRST_ATTACHED + LARGE_FAULTED] = ALL_OF(large_faulted, true, make_large_faulted, NULL),
};
const unsigned bench_alone_count = sizeof bench_alone / sizeof *bench_alone;
