/* SPDX-License-Identifier: MIT */
/* sides.h - what becomes of a contender's two functions, put and get, in each bench; included by whoever
 * has contenders.
 *
 *   put  sends one burst of messages, numbered from number, and returns how many; BENCH_END
 *        instead of a number ends the slice (a block is filled with it, all else sends one message)
 *   get  receives a burst, checks it, adds to *expected; false after BENCH_END
 * The two sides of each bench are made of them:
 *   throughput  produce: put, put, ...            consume: get, get, ...
 *   pingpong    go: put, get, how long?           echo: get, put
 *   paced       pace: put when it is due          arrive: get, how long since it was due?
 *   wakeup      stir: put when the other sleeps   wake: get, how long since it was put?
 * All of it is made once for each message size: it is a constant to the compiler, for all of them alike. */
#ifndef RINGBUS_BENCH_SIDES_H
#define RINGBUS_BENCH_SIDES_H

#include "bench.h"

#define INLINE static inline __attribute__((always_inline))

/* ---------------------------------------------------------------- what is checked */

enum { WHOLLY = 1024 }; /* one of so many messages is checked wholly */

/* The middle of a message in the consumer's buffer: as it was sent? Then it is cleared before the next
 * that is checked wholly is copied there, or what was not copied would pass. */
INLINE void check_middle(struct bench *bench, char *message, uint32_t size, uint64_t number) {
  if (size <= 16)
    return;
  if (RINGBUS_UNLIKELY(number % WHOLLY == 0) && memcmp(message + 8, bench->out + 8, size - 16) != 0)
    bench_bad_message(bench, number, number);
  if (RINGBUS_UNLIKELY(number % WHOLLY == WHOLLY - 1))
    memset(message + 8, 0, size - 16);
}

/* Check a message in the consumer's buffer. */
INLINE bool check_at(struct bench *bench, char *message, uint32_t size, uint64_t *expected) {
  const uint64_t number = bench_numbered(bench, message, size);
  if (RINGBUS_UNLIKELY(number != *expected)) {
    if (number != BENCH_END)
      bench_bad_message(bench, *expected, number);
    return false;
  }
  check_middle(bench, message, size, number);
  ++*expected;
  return true;
}

INLINE bool check(struct bench *bench, uint32_t size, uint64_t *expected) {
  return check_at(bench, bench->in, size, expected);
}

/* ---------------------------------------------------------------- for batches and peers */

INLINE unsigned batch_of(uint32_t size) { return size > 4096 ? 4 : BENCH_BATCH; }

/* Number a batch, one message behind the other. The end is a batch of one: what the consumer left of it
 * would open the next slice. */
INLINE unsigned number_batch(struct bench *bench, uint32_t size, uint64_t number) {
  const unsigned count = number == BENCH_END ? 1 : batch_of(size);
  for (unsigned i = 0; i < count; i++)
    bench_number(bench->out + (size_t)i * size, size, number + i);
  return count;
}

INLINE bool check_batch(struct bench *bench, uint32_t size, size_t count, uint64_t *expected) {
  bool more = true;
  for (size_t i = 0; i < count; i++)
    more &= check_at(bench, bench->in + i * size, size, expected);
  return more;
}

static inline unsigned index_of(uint32_t size) {
  unsigned index = 0;
  while (bench_size[index] != size)
    index++;
  return index;
}

/* Where this process sends to. */
INLINE unsigned way_out(const struct bench *bench) {
  return bench->leads ? BENCH_THERE : BENCH_BACK;
}
INLINE unsigned way_in(const struct bench *bench) {
  return bench->leads ? BENCH_BACK : BENCH_THERE;
}

/* ---------------------------------------------------------------- the two sides of each bench */

typedef unsigned put_function(struct bench *bench, uint32_t size, uint64_t number);
typedef bool get_function(struct bench *bench, uint32_t size, uint64_t *expected);

INLINE uint64_t produce(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  const int64_t end = bench_now() + bench->slice_ns;
  const unsigned bursts = size > 4096 ? 1 : 64; /* between two looks at the clock */
  uint64_t number = 0;
  (void)get;
  while (bench_now() < end)
    for (unsigned i = 0; i < bursts; i++)
      number += put(bench, size, number);
  (void)put(bench, size, BENCH_END);
  return number;
}

INLINE uint64_t consume(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  uint64_t expected = 0;
  (void)put;
  while (get(bench, size, &expected))
    ;
  return expected;
}

INLINE uint64_t go(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  const int64_t end = bench_now() + bench->slice_ns;
  int64_t before = bench_now(), after;
  uint64_t number = 0, expected = 0;
  do {
    (void)put(bench, size, number++);
    (void)get(bench, size, &expected);
    after = bench_now();
    bench_record(&bench->shared->latency, after - before);
    before = after;
  } while (after < end && expected == number);
  (void)put(bench, size, BENCH_END);
  return number;
}

INLINE uint64_t echo(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  uint64_t expected = 0;
  while (get(bench, size, &expected))
    (void)put(bench, size, expected - 1);
  return expected;
}

/* When a message is due. */
INLINE int64_t due(const struct bench *bench, uint64_t number) {
  return bench->shared->start + (int64_t)((double)number * (1e9 / bench->row->rate));
}

INLINE uint64_t pace(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  int64_t now = bench_now(), end = now + bench->slice_ns;
  uint64_t number = 0;
  (void)get;
  bench->shared->start = now; /* told by the first message */
  for (; now < end && due(bench, number) < end; number++) {
    while ((now = bench_now()) < due(bench, number))
      if (bench->shares_core)
        bench_idle(bench);
    bench_record(&bench->shared->late, now - due(bench, number));
    (void)put(bench, size, number);
  }
  (void)put(bench, size, BENCH_END);
  return number;
}

INLINE uint64_t arrive(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  uint64_t expected = 0, number = 0;
  bool more = true;
  (void)put;
  while (more) {
    more = get(bench, size, &expected);
    for (const int64_t now = bench_now(); number < expected; number++)
      bench_record(&bench->shared->latency, now - due(bench, number));
  }
  return expected;
}

enum { SLEEPS_AFTER_NS = 100000 }; /* nobody spins for so long */

INLINE uint64_t stir(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  const int64_t end = bench_now() + bench->slice_ns;
  int64_t now = bench_now(), asleep = now;
  uint64_t number = 0;
  (void)get;
  while (now < end) {
    for (asleep = now + SLEEPS_AFTER_NS; now < asleep; now = bench_now())
      if (bench->shares_core)
        bench_idle(bench);
    bench->shared->start = now; /* told by the message */
    (void)put(bench, size, number++);
    while (bench_load(&bench->shared->consumed) != number)
      bench_idle(bench);
    now = bench_now();
  }
  (void)put(bench, size, BENCH_END);
  return number;
}

INLINE uint64_t wake(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  uint64_t expected = 0;
  (void)put;
  while (get(bench, size, &expected)) {
    bench_record(&bench->shared->latency, bench_now() - bench->shared->start);
    bench_store(&bench->shared->consumed, expected);
  }
  return expected;
}

/* ---------------------------------------------------------------- the table's entries */

#define SIDE(side, put, get, size)                                                                 \
  static inline __attribute__((unused))                                                            \
  uint64_t side##_##put##_##get##_##size(struct bench *bench) {                                    \
    return side(bench, size, put_##put, get_##get);                                                \
  }
#define EACH_SIZE(side, put, get)                                                                  \
  SIDE(side, put, get, 8)                                                                          \
  SIDE(side, put, get, 64)                                                                         \
  SIDE(side, put, get, 256)                                                                        \
  SIDE(side, put, get, 1024)                                                                       \
  SIDE(side, put, get, 4096)                                                                       \
  SIDE(side, put, get, 65536)
/* The functions; what the table does not name of them is never made. */
#define SIDES(put, get)                                                                            \
  EACH_SIZE(produce, put, get)                                                                     \
  EACH_SIZE(consume, put, get)                                                                     \
  EACH_SIZE(go, put, get)                                                                          \
  EACH_SIZE(echo, put, get)                                                                        \
  EACH_SIZE(pace, put, get)                                                                        \
  EACH_SIZE(arrive, put, get)                                                                      \
  EACH_SIZE(stir, put, get)                                                                        \
  EACH_SIZE(wake, put, get)

#define NAMES(side, put, get)                                                                      \
  {                                                                                                \
    side##_##put##_##get##_8, side##_##put##_##get##_64, side##_##put##_##get##_256,               \
        side##_##put##_##get##_1024, side##_##put##_##get##_4096, side##_##put##_##get##_65536     \
  }
/* The entries: name, put, get, channel, peer. */
#define THROUGHPUT(name, put, get, channel, peer)                                                  \
  { name, BENCH_THROUGHPUT, channel, peer, NAMES(produce, put, get), NAMES(consume, put, get) }
#define PINGPONG(name, put, get, channel, peer)                                                    \
  { name, BENCH_PINGPONG, channel, peer, NAMES(go, put, get), NAMES(echo, put, get) }
#define PACED(name, put, get, channel, peer)                                                       \
  { name, BENCH_PACED, channel, peer, NAMES(pace, put, get), NAMES(arrive, put, get) }

#define WAKEUP(name, put, get, channel, peer)                                                      \
  { name, BENCH_WAKEUP, channel, peer, NAMES(stir, put, get), NAMES(wake, put, get) }

#ifdef __cplusplus
/* A template of the size; size is a constant: one case is left. */
#define OF_SIZE(call, size, arguments)                                                             \
  ((size) == 8      ? call<8> arguments                                                            \
   : (size) == 64   ? call<64> arguments                                                           \
   : (size) == 256  ? call<256> arguments                                                          \
   : (size) == 1024 ? call<1024> arguments                                                         \
   : (size) == 4096 ? call<4096> arguments                                                         \
                    : call<65536>                                                                  \
                          arguments)
#endif

/* A peer: its contenders, whether it waits for its cores, and make and open. */
#define PEER(contenders, waits, make, open)                                                        \
  { contenders, sizeof contenders / sizeof *contenders, waits, make, open, NULL }

#endif
