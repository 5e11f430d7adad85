/* SPDX-License-Identifier: MIT */
/* bench.h - ringbus-bench: what a message costs, beside what the machine itself charges.
 *
 *   parent, core A: the producer ──── ring, blocks or pipe ────▶ child, core B: the consumer
 *
 * Two processes walk through the same schedule of slices, some 30 ms each. A slice is one
 * contender with one message size. Before and after each slice both bounce one cache line back
 * and forth (the probe): its round trip tells how near to each other the two cores stand just then,
 * which on a virtual machine changes within seconds and changes every figure by up to ten times.
 * Slices are compared only with slices of the same state; a slice during which the state changed,
 * or another process took one of the cores, is thrown away.
 *
 * Every contender does the same work: the producer copies a message out of its own buffer, with a
 * sequence number in its first 8 bytes; the consumer copies all of it into its own buffer and
 * checks the number. (The one that works in place writes and checks every word there instead.)
 *
 *   main.c        options, the schedule, the report
 *   contenders.c  how each contender passes a message
 *   machine.c     cores, clock, probe, what the machine is called
 */
#ifndef RINGBUS_BENCH_H
#define RINGBUS_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <ringbus/inline.h>

#define BENCH_LINE 128
#define BENCH_BATCH 32u            /* messages in one batch call */
#define BENCH_END UINT64_MAX       /* the sequence number that ends a slice */
#define BENCH_ROUND_TRIP_BYTES 64u /* size of the message in the round-trip bench */
#define BENCH_MAX_MESSAGE 65536u

enum { BENCH_SIZES = 4 };
extern const uint32_t bench_size[BENCH_SIZES];

/* Shared by the two processes; each word alone on its lines. */
struct bench_shared {
  _Alignas(BENCH_LINE) uint64_t token;    /* the probe's line */
  _Alignas(BENCH_LINE) uint64_t received; /* consumer: slice << 40 | messages checked, at its end */
  uint64_t interruptions;                 /* consumer: in this slice; settled by the probe */
  _Alignas(BENCH_LINE) uint64_t published; /* blocks: published, and ... */
  _Alignas(BENCH_LINE) uint64_t consumed;  /* ... handed back */
};

/* One process's ends of everything that messages can go through. */
struct bench {
  struct bench_shared *shared;
  char *blocks;               /* shared memory for the plain block copy */
  uint64_t blocks_bytes;      /* how much of it counts for the present message size */
  int pipe;                   /* this process's end */
  ringbus_producer *producer; /* the ring for the present message size: one end is NULL ... */
  ringbus_consumer *consumer;
  ringbus_producer *there; /* ... and the two rings of a round trip, as this process sees them */
  ringbus_consumer *back;
  char *buffer; /* this process's own copy of a message */
  int64_t slice_ns;
  unsigned slice; /* counts up */
  unsigned cpus;  /* 1: the processes share a core, so whoever waits yields */
};

/* ---------------------------------------------------------------- contenders.c */

struct bench_contender {
  const char *name;
  void (*produce[BENCH_SIZES])(struct bench *bench, uint64_t *sent);
  void (*consume[BENCH_SIZES])(struct bench *bench, uint64_t *received);
};
extern const struct bench_contender bench_contenders[];
extern const unsigned bench_contender_count;

struct bench_round_trip {
  const char *name;
  void (*go)(struct bench *bench, uint64_t sequence); /* there and back */
  uint64_t (*echo)(struct bench *bench);              /* back, unless it is BENCH_END */
};
extern const struct bench_round_trip bench_round_trips[];
extern const unsigned bench_round_trip_count;

/* ---------------------------------------------------------------- machine.c */

enum bench_state { BENCH_NEAREST, BENCH_NEAR, BENCH_FAR, BENCH_ONE_CORE, BENCH_STATES };
extern const char *const bench_state_name[BENCH_STATES];

void bench_fail(const char *what, int error) __attribute__((noreturn));
int64_t bench_now(void);
/* One turn of a waiting loop. */
void bench_idle(const struct bench *bench);
/* The first two CPUs that this process may use; returns how many there are (1 or 2). */
unsigned bench_find_cpus(int cpu[2]);
void bench_pin(int cpu);
/* Both sides call it with the same number of trips; the one that leads gets the round trip, ns. */
double bench_probe(const struct bench *bench, bool leads, unsigned trips);
/* How often this process has lost its core to somebody else so far. */
uint64_t bench_interruptions(void);
enum bench_state bench_classify(const struct bench *bench, double round_trip_ns);
void bench_describe(char cpu[128], char kernel[128]);

static inline uint64_t bench_load(const uint64_t *word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline void bench_store(uint64_t *word, uint64_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
/* The compiler must believe that somebody looks at these bytes, or changes them. */
static inline void bench_touch(void *bytes) { __asm__ volatile("" : : "r"(bytes) : "memory"); }

#endif
