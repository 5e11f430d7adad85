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
 * Crowds are slices of several writers or several readers. Both processes sleep then, and processes
 * made for this slice do the work, with a ring (pipe, socket) made for it:
 *
 *   fan-in                  fan-out                   shared                    overwrite
 *   writer ─┐               ┌─▶ reader: all           ┌─▶ member: some          writer ─┐
 *   writer ─┼─▶ reader      writer ─┤                 writer ─┤                         ├─▶ reader:
 *   writer ─┘               └─▶ reader: all           └─▶ member: the others    writer ─┘   what it can
 *
 * Who is alone on his core waits by looking again, as above; who shares it yields. A core goes from
 * one process to the next every few milliseconds, so slices of crowds are four times as long.
 *
 *   main.c        options, the schedule
 *   contenders.c  how each contender passes a message from one process to the other
 *   crowd.c       how crowds do, and a slice of one
 *   ends.c        rings, and attaching to them
 *   machine.c     cores, clock, probe, what the machine is called
 *   report.c      tables, JSON
 */
#ifndef RINGBUS_BENCH_H
#define RINGBUS_BENCH_H

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <ringbus/inline.h>

#define BENCH_LINE 128
#define BENCH_BATCH 32u      /* messages in one batch call */
#define BENCH_END UINT64_MAX /* the sequence number that ends a slice */
#define BENCH_MESSAGE 64u    /* its size in all benches but throughput */
#define BENCH_MAX_MESSAGE 65536u
#define BENCH_RING (UINT64_C(1) << 20)
#define BENCH_LARGE_RING (UINT64_C(1) << 24) /* for messages of 64 KiB */

enum { BENCH_SIZES = 4 };
extern const uint32_t bench_size[BENCH_SIZES];

enum { BENCH_MAX_CPUS = 16, BENCH_MANY = 4, BENCH_WORKERS = BENCH_MANY + 1 };

/* Shared by all processes; each word alone on its lines. */
struct bench_shared {
  _Alignas(BENCH_LINE) uint64_t token;    /* the probe's line */
  _Alignas(BENCH_LINE) uint64_t received; /* consumer: slice << 40 | messages checked, at its end */
  uint64_t interruptions;                 /* consumer: in this slice; settled by the probe */
  _Alignas(BENCH_LINE) uint64_t published; /* blocks: published, and ... */
  _Alignas(BENCH_LINE) uint64_t consumed;  /* ... handed back */
  _Alignas(BENCH_LINE) struct bench_crowd_shared {
    sem_t ready, start, ended; /* one for each worker */
    sem_t resume;              /* the child goes on with the schedule */
    int64_t until;             /* nothing is written after this */
    uint64_t writers;          /* not yet done */
    struct bench_worker {
      _Alignas(BENCH_LINE) uint64_t messages; /* written, or received */
      uint64_t sum;                           /* of their numbers */
      uint64_t lost;                          /* reader that may be lapped: missed */
      int64_t end;                            /* when it was done */
      int64_t cpu_ns;                         /* time on its core */
    } worker[BENCH_WORKERS];                  /* the writers, then the readers */
  } crowd;
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
  int cpu[BENCH_MAX_CPUS];
  unsigned cpus;    /* 1: nothing is pinned */
  bool shares_core; /* with another process of the bench, so whoever waits yields */
  enum ringbus_hand_back hand_back;
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

/* ---------------------------------------------------------------- crowd.c */

enum bench_kind {
  BENCH_THROUGHPUT, /* columns: message sizes */
  BENCH_PINGPONG,   /* one column */
  BENCH_FAN_IN,     /* from here on crowds; columns: bench_columns */
  BENCH_FAN_OUT,
  BENCH_SHARED,
  BENCH_OVERWRITE,
  BENCH_KINDS
};

/* How many there are of those who are several, and where: on one core, with the single one on another;
 * or spread over all cores, that of the single one last. */
struct bench_column {
  unsigned count;
  bool spread;
};
enum { BENCH_COLUMNS = 5 };
extern const struct bench_column bench_columns[BENCH_COLUMNS];

struct bench_crowd {
  const char *name;
  enum bench_kind kind;
  enum { BENCH_SEND, BENCH_BATCHES, BENCH_PIPE, BENCH_SOCKET } way;
  unsigned most;       /* of those who are several */
  bool many_producers; /* the ring */
};
extern const struct bench_crowd bench_crowds[];
extern const unsigned bench_crowd_count;

/* Whether this machine and this contender have that column. */
bool bench_crowd_has(const struct bench *bench, const struct bench_crowd *crowd, unsigned column);
/* value: million messages received a second, by all readers together; of those sent, how many percent.
 * False if other processes took a core meanwhile. */
bool bench_crowd_slice(struct bench *bench, const struct bench_crowd *crowd, unsigned column,
                       double value[2]);

/* ---------------------------------------------------------------- ends.c */

void *bench_map_shared(size_t size);
/* A ring without a name leaves nothing behind, whatever happens; this is a descriptor of it. */
int bench_make_ring(const struct ringbus_create_options *options);
ringbus_producer *bench_produce_in(int ring);
ringbus_consumer *bench_consume_from(int ring, struct ringbus_consumer_options options,
                                     const struct bench *bench);

/* ---------------------------------------------------------------- machine.c */

enum bench_state {
  BENCH_NEAREST,
  BENCH_NEAR,
  BENCH_FAR,
  BENCH_ONE_CORE,
  BENCH_DISTURBED, /* other processes took a core */
  BENCH_STATES
};
extern const char *const bench_state_name[BENCH_STATES];

void bench_fail(const char *what, int error) __attribute__((noreturn));
int64_t bench_now(void);
/* The time that this process has had on a core. */
int64_t bench_cpu_time(void);
/* How long this core has been idle since the machine started, to 10 ms; -1 if nobody tells. */
int64_t bench_idle_time(int cpu);
/* One turn of a waiting loop. */
void bench_idle(const struct bench *bench);
/* The first two CPUs that this process may use; returns how many there are (1 or 2). */
unsigned bench_find_cpus(int cpu[BENCH_MAX_CPUS]);
void bench_pin(int cpu);
/* fork, and the child does not outlive its parent. */
pid_t bench_fork(void);
void bench_wait(sem_t *semaphore);
/* Both sides call it with the same number of trips; the one that leads gets the round trip, ns. */
double bench_probe(const struct bench *bench, bool leads, unsigned trips);
/* How often this process has lost its core to somebody else so far. */
uint64_t bench_interruptions(void);
enum bench_state bench_classify(const struct bench *bench, double round_trip_ns);
void bench_describe(char cpu[128], char kernel[128]);

/* ---------------------------------------------------------------- report.c */

struct bench_sample {
  enum bench_kind kind;
  unsigned contender, column;
  enum bench_state state;
  double value
      [2]; /* throughput: M messages/s; round trip: median and 99th percentile, ns; crowds: above */
};

struct bench_results {
  const bool *wanted; /* BENCH_KINDS of them */
  bool with_disturbed;
  struct bench_sample *samples;
  size_t count, moved, disturbed, slices[BENCH_STATES];
};

extern const char *const bench_kind_name[BENCH_KINDS];

/* The value below which this share of values lies, which are sorted first. */
double bench_quantile(double *values, size_t count, double share);
void bench_report_head(const struct bench *bench, bool json);
void bench_report(const struct bench *bench, const struct bench_results *results, bool json);

static inline uint64_t bench_load(const uint64_t *word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline void bench_store(uint64_t *word, uint64_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
/* The compiler must believe that somebody looks at these bytes, or changes them. */
static inline void bench_touch(void *bytes) { __asm__ volatile("" : : "r"(bytes) : "memory"); }

#endif
