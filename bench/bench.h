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
 * Every contender does the same work: the producer copies a message out of its own buffer, the consumer
 * copies all of it into its own. The first 8 bytes are a number, from 16 bytes on the last 8 its
 * complement, and the consumer checks both; every 1024th message is checked wholly. (Who works in place
 * writes and checks every word there instead.) The throughput, the round trips and the paced messages of
 * a contender go through the same two functions.
 *
 * Crowds are slices of several writers or several readers. Both processes sleep then, and processes
 * made for this slice do the work, with a ring (pipe, socket) made for it:
 *
 *   fan-in                  fan-out                   shared                    overwrite
 *   writer ─┐               ┌─▶ reader: all           ┌─▶ member: some          writer ─┐
 *   writer ─┼─▶ reader      writer ─┤                 writer ─┤                         ├─▶ reader:
 *   writer ─┘               └─▶ reader: all           └─▶ member: the others    writer ─┘   what it can
 *
 * Curves are crowds, too: each of one thing that changes from point to point.
 *
 * Who is alone on his core waits by looking again, as above; who shares it yields. A core goes from
 * one process to the next every few milliseconds, so slices of crowds are four times as long.
 *
 *   main.c        the processes, the schedule
 *   options.c     what is asked for
 *   contenders.c  how each contender passes a message from one process to the other
 *   peers/        the same for contenders that need a library, or another language
 *   sides.h       what is made of that for each bench
 *   alone.c       what is measured in one process
 *   crowd.c       how crowds do, and a slice of one
 *   ends.c        rings, pipes, sockets, queues
 *   machine.c     cores, clock, probe
 *   conditions.c  what the machine is, and what of it spoils figures
 *   histogram.c   latencies
 *   report.c      tables, JSON, CSV
 */
#ifndef RINGBUS_BENCH_H
#define RINGBUS_BENCH_H

#include <sched.h>
#include <semaphore.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include <ringbus/inline.h>

#include "histogram.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_LINE 128
#define BENCH_BATCH 32u      /* messages in one batch call */
#define BENCH_END UINT64_MAX /* the number that ends a slice */
#define BENCH_MESSAGE 64u    /* size of a message, where there is but one */
#define BENCH_MAX_MESSAGE 65536u
#define BENCH_BUFFER (4 * (size_t)BENCH_MAX_MESSAGE) /* the largest batch */
#define BENCH_RING (UINT64_C(1) << 20)
#define BENCH_LARGE_RING (UINT64_C(1) << 24) /* for messages of 64 KiB */
/* Shared memory for each direction; blocks and most peers are there, one at a time. */
#define BENCH_MEMORY_BYTES (BENCH_LARGE_RING + BENCH_RING)

enum { BENCH_SIZES = 6, BENCH_MAX_RATES = 8, BENCH_MAX_ONLY = 32 };
extern const uint32_t bench_size[BENCH_SIZES];

enum { BENCH_MAX_CPUS = 16, BENCH_MANY = 8, BENCH_WORKERS = BENCH_MANY + 1 };

enum { BENCH_THERE, BENCH_BACK, BENCH_WAYS };

/* Shared by all processes; each word alone on its lines. */
struct bench_shared {
  alignas(BENCH_LINE) uint64_t token;    /* the probe's line */
  alignas(BENCH_LINE) uint64_t received; /* consumer: slice << 40 | messages checked, at its end */
  uint64_t interruptions;                /* consumer: in this slice; settled by the probe */
  int64_t waited;                        /* consumer: for its core, in this slice */
  int64_t clock;                         /* consumer: what its clock says */
  int64_t start; /* paced: when the first message is due; wakeup: when this one was published */
  double cost;   /* publish: of one message, ns */
  alignas(BENCH_LINE) uint64_t published; /* blocks, bare line: published, and ... */
  alignas(BENCH_LINE) uint64_t consumed;  /* ... handed back */
  struct {
    alignas(BENCH_LINE) uint32_t word;
  } futex[BENCH_WAYS];
  alignas(BENCH_LINE) struct bench_crowd_shared {
    sem_t ready, start, ended; /* one for each worker */
    sem_t resume;              /* the child goes on with the schedule */
    int64_t until;             /* nothing is written after this */
    uint64_t writers;          /* not yet done */
    struct bench_worker {
      alignas(BENCH_LINE) uint64_t messages; /* written, or received */
      uint64_t sum;                          /* of their numbers */
      uint64_t lost;                         /* reader that may be lapped: missed */
      int64_t end;                           /* when it was done */
      int64_t cpu_ns;                        /* time on its core */
    } worker[BENCH_WORKERS];                 /* the writers, then the readers */
  } crowd;
  alignas(BENCH_LINE) struct bench_histogram latency; /* of this slice */
  struct bench_histogram late; /* paced: how much later than due the producer began to send */
};

/* What messages go through, as far as it limits their size. */
enum bench_channel {
  BENCH_MEMORY,
  BENCH_PIPES,
  BENCH_SOCKETS,
  BENCH_QUEUES,
  BENCH_LARGE_RINGS, /* of 1 GiB, to attach to */
  BENCH_HUGE_RINGS,  /* of 16 GiB */
  BENCH_NAMED,       /* memory of peers that give it a name in /dev/shm */
  BENCH_CHANNELS
};

/* One process's ends of everything that messages can go through. */
struct bench {
  struct bench_shared *shared;
  const struct bench_row *row; /* what this slice is of */
  char *out, *in;              /* this process's own copies of a message */
  char *memory[BENCH_WAYS];    /* shared: plain blocks, and what a peer makes of it */
  uint64_t memory_bytes;       /* how much of it holds messages of the present size */
  ringbus_producer *producer;  /* rings, for the present message size and direction */
  ringbus_consumer *consumer;
  int pipe_out, pipe_in, socket, queue_out, queue_in;
  int64_t slice_ns;
  unsigned slice;   /* counts up */
  unsigned turns;   /* of waiting loops */
  bool leads;       /* the producer, and whoever begins round trips */
  bool eager;       /* does not pause while it waits */
  pid_t helper;     /* a process whose time on the core is this one's, or 0 */
  bool shares_core; /* with another process of the bench, so whoever waits yields */
  unsigned cpus;    /* 1: nothing is pinned */
  int cpu[BENCH_MAX_CPUS];
  int64_t clock_low,
      clock_high; /* the consumer's clock is ahead by no less and no more than this */
  uint32_t largest[BENCH_CHANNELS];
  enum ringbus_hand_back hand_back;
};

/* ---------------------------------------------------------------- options.c */

enum bench_kind {
  BENCH_THROUGHPUT,
  BENCH_PINGPONG,
  BENCH_PACED,
  BENCH_WAKEUP,
  BENCH_PUBLISH, /* here and in attach one process does all, and the other one waits */
  BENCH_ATTACH,
  BENCH_FAN_IN, /* from here on crowds */
  BENCH_FAN_OUT,
  BENCH_SHARED,
  BENCH_OVERWRITE,
  BENCH_CURVES,
  BENCH_KINDS
};
extern const char *const bench_kind_name[BENCH_KINDS];
extern const char *const bench_hand_back_name[];

struct bench_options {
  bool wanted[BENCH_KINDS];
  bool size[BENCH_SIZES];
  bool sizes_given;
  unsigned rate[BENCH_MAX_RATES], rates; /* messages a second */
  unsigned slices;                       /* of each figure */
  const char *only[BENCH_MAX_ONLY];      /* how contenders' names begin; none: all */
  bool with_disturbed;
  const char *compare; /* file of an earlier run's --json */
  const char *hgrm;    /* directory for percentile files */
  enum { BENCH_TABLES, BENCH_JSON, BENCH_CSV } format;
};

/* Ends the process if there is nothing to measure, or it cannot be told what. */
struct bench_options bench_parse(int argc, char **argv, struct bench *bench);
/* Whether the contender of this name is to be measured. */
bool bench_wants(const struct bench_options *options, const char *name);

/* ---------------------------------------------------------------- contenders.c */

/* One side of a slice; how many messages it has sent or received. */
typedef uint64_t bench_side(struct bench *bench);

struct bench_contender {
  const char *name;
  enum bench_kind kind;
  enum bench_channel channel;
  const struct bench_peer *peer; /* NULL: it needs none of its own ends */
  bench_side *lead[BENCH_SIZES], *follow[BENCH_SIZES];
};

/* Somebody else's library, in a file of its own in peers/, which is there if the library was. */
struct bench_peer {
  const struct bench_contender *contender;
  unsigned contenders;
  bool waits; /* for its cores without others' doing: for threads of its own, or in the system */
  /* Each may be NULL: once, before there are two processes; before each slice, in both of them, and neither
   * waits for the other there. Threads and what they serve stay, idle: the system cleans up behind them long
   * into the next slices. */
  void (*make)(void);
  void (*open)(struct bench *bench, uint32_t size);
  bool (*is_there)(void); /* if that is known only at run time; NULL: it is */
};
#define BENCH_PEER extern const struct bench_peer __attribute__((weak))
extern const struct bench_peer bench_alone[];
extern const unsigned bench_alone_count;
BENCH_PEER bench_peer_ck;
BENCH_PEER bench_peer_dpdk;
BENCH_PEER bench_peer_libqb;
BENCH_PEER bench_peer_atomic_queue;
BENCH_PEER bench_peer_boost;
BENCH_PEER bench_peer_zmq;
BENCH_PEER bench_peer_nng;
BENCH_PEER bench_peer_iceoryx;
BENCH_PEER bench_peer_python;

enum { BENCH_MAX_CONTENDERS = 128 };
extern const struct bench_contender *bench_contender[BENCH_MAX_CONTENDERS];
extern unsigned bench_contender_count;
extern char bench_missing[160]; /* the packages of the peers that were not built */
void bench_list_contenders(void);

/* The buffers, before a slice of this message size. */
void bench_prepare(struct bench *bench, uint32_t size);

/* ---------------------------------------------------------------- crowd.c */

/* How many there are of those who are several, and where: on one core, with the single one on another;
 * or spread over all cores, that of the single one last. */
struct bench_point {
  unsigned count;
  bool spread;
  /* Curves: 0 is BENCH_MESSAGE, BENCH_RING, what the library takes. */
  uint32_t size;
  uint64_t ring_bytes;
  unsigned places; /* for participants */
};
enum { BENCH_COLUMNS = 5 };
extern const struct bench_point bench_columns[BENCH_COLUMNS];

struct bench_crowd {
  const char *name;
  enum bench_kind kind;
  enum { BENCH_SEND, BENCH_BATCHES, BENCH_PIPE, BENCH_SOCKET } way;
  unsigned most;                    /* of those who are several */
  bool many_producers;              /* the ring */
  const struct bench_point *points; /* bench_columns, or a curve's */
  unsigned point_count;
};
extern const struct bench_crowd bench_crowds[];
extern const unsigned bench_crowd_count;

/* Whether this machine and this contender have that column. */
bool bench_crowd_has(const struct bench *bench, const struct bench_crowd *crowd, unsigned point);
/* value: million messages received a second, by all readers together; of those sent, how many percent.
 * False if other processes took a core meanwhile. */
bool bench_crowd_slice(struct bench *bench, const struct bench_crowd *crowd, unsigned point,
                       double value[2]);
uint32_t bench_crowd_bytes(const struct bench_point *point);

/* ---------------------------------------------------------------- ends.c */

void *bench_map_shared(size_t size);
/* A ring without a name leaves nothing behind, whatever happens; this is a descriptor of it. */
int bench_make_ring(const struct ringbus_create_options *options);
ringbus_producer *bench_produce_in(int ring);
ringbus_consumer *bench_consume_from(int ring, struct ringbus_consumer_options options,
                                     const struct bench *bench);

/* How large the handles of a ring, a producer and a consumer are. */
void bench_handle_bytes(size_t bytes[3]);

struct bench_channels {
  int pipe[BENCH_WAYS][2]; /* to read from, to write to */
  int socket[2];           /* one for each process */
  int queue[BENCH_WAYS];   /* -1: there are none */
};
/* Pipes, sockets, message queues, as large as an unprivileged process may have them; none has a name, save
 * the queues for an instant. bench->largest becomes what one message may hold. */
void bench_open_channels(struct bench *bench, struct bench_channels *channels);

/* ---------------------------------------------------------------- machine.c */

enum bench_state {
  BENCH_NEAREST,
  BENCH_NEAR,
  BENCH_FAR,
  BENCH_ONE_CORE,
  BENCH_DISTURBED, /* other processes took a core, or it moved meanwhile */
  BENCH_STATES
};
extern const char *const bench_state_name[BENCH_STATES];

void bench_fail(const char *what, int error) __attribute__((noreturn));
/* A message came that is not the one expected: says so, and ends the process. */
void bench_bad_message(const struct bench *bench, uint64_t expected, uint64_t found)
    __attribute__((noreturn, cold));

/* The clock: the processor's counter if it runs evenly and always, else CLOCK_MONOTONIC. */
struct bench_clock {
  bool counter;
  uint64_t base;
  int64_t base_ns;
  double ns; /* of one count */
};
extern struct bench_clock bench_clock;
void bench_start_clock(void);
int64_t bench_system_now(void);
static inline int64_t bench_now(void) {
#if defined(__x86_64__)
  if (RINGBUS_LIKELY(bench_clock.counter)) {
    __builtin_ia32_lfence(); /* not before what comes before */
    return bench_clock.base_ns +
           (int64_t)((double)(__builtin_ia32_rdtsc() - bench_clock.base) * bench_clock.ns);
  }
#endif
  return bench_system_now();
}
/* Both sides call it: how far the consumer's clock may be from the producer's. */
void bench_compare_clocks(struct bench *bench);
/* The time that this process has had on a core. */
int64_t bench_cpu_time(void);
/* That of another one; 0: there is none. */
int64_t bench_cpu_time_of(pid_t process);
/* How long this core has been idle since the machine started, to 10 ms; -1 if nobody tells. */
int64_t bench_idle_time(int cpu);
/* The first two CPUs that this process may use; returns how many there are (1 or 2). */
unsigned bench_find_cpus(int cpu[BENCH_MAX_CPUS]);
bool bench_may_use(int cpu);
void bench_pin(int cpu);
/* fork, and the child does not outlive its parent. */
pid_t bench_fork(void);
void bench_wait(sem_t *semaphore);
/* Both sides call it with the same number of trips; the one that leads gets the round trip, ns. */
double bench_probe(struct bench *bench, bool leads, unsigned trips);
/* How often this process has lost its core to somebody else so far. */
uint64_t bench_interruptions(void);
/* For how long this process was ready to run so far and had no core, ns; 0 if nobody tells. */
int64_t bench_waited(void);
enum bench_state bench_classify(const struct bench *bench, double round_trip_ns);

/* ---------------------------------------------------------------- conditions.c */

enum { BENCH_MAX_WARNINGS = 20 };
struct bench_warnings {
  unsigned count;
  char text[BENCH_MAX_WARNINGS][256];
};

void bench_warn(struct bench_warnings *warnings, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* What spoils figures here. root: where /proc and /sys are, "" but in tests. */
void bench_find_conditions(const char *root, const struct bench *bench,
                           struct bench_warnings *warnings);
/* How two CPUs stand to each other. */
const char *bench_placement(const char *root, int one, int other);
void bench_describe(char cpu[128], char kernel[128]);

/* ---------------------------------------------------------------- report.c */

/* One figure. */
struct bench_row {
  enum bench_kind kind;
  unsigned contender; /* of bench_contenders, or of bench_crowds */
  const char *name;
  unsigned size;  /* of bench_size, or of all crowds */
  unsigned rate;  /* paced: messages a second */
  unsigned point; /* crowds: of its points */
};

struct bench_sample {
  unsigned row;
  enum bench_state state;
  /* throughput, crowds: million messages/s; round trips, paced: median, ns */
  double value;
  /* crowds: percent received; paced: messages/s */
  double second;
  /* paced: 99th percentile of how late the producer was */
  double late;
};

struct bench_results {
  struct bench *bench;
  const struct bench_options *options;
  const struct bench_warnings *warnings;
  struct bench_row *rows;
  unsigned row_count;
  struct bench_sample *samples;
  struct bench_histogram *(*latency)[BENCH_STATES]; /* for each row; NULL: none */
  size_t count, moved, disturbed, slices[BENCH_STATES];
  int stopped_by; /* a signal, or 0 */
};

/* Whether single messages are timed. */
static inline bool bench_has_latency(enum bench_kind kind) {
  return kind == BENCH_PINGPONG || kind == BENCH_PACED || kind == BENCH_WAKEUP ||
         kind == BENCH_ATTACH;
}
/* All that was printed has been written, or the process ends with an error. */
void bench_print_end(void);
void bench_report_head(const struct bench_results *results);
void bench_report(const struct bench_results *results);
/* What --json has written to a file, or the process ends with an error. */
struct cJSON *bench_read_run(const char *path);
/* Tells what differs from that run; whether something of ringbus is worse. */
bool bench_compare(const struct bench_results *results, const struct cJSON *run);
/* A .hgrm file for each contender, size, rate and state. */
void bench_write_histograms(const struct bench_results *results);

/* ---------------------------------------------------------------- used by several */

static inline uint64_t bench_load(const uint64_t *word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline void bench_store(uint64_t *word, uint64_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
/* The compiler must believe that somebody looks at these bytes, or changes them. */
static inline void bench_touch(const void *bytes) {
  __asm__ volatile("" : : "r"(bytes) : "memory");
}

/* One turn of a waiting loop. Who waits for milliseconds waits for somebody who is not running. */
static inline void bench_idle(struct bench *bench) {
  if (RINGBUS_UNLIKELY(bench->shares_core || (++bench->turns & 0xffff) == 0))
    sched_yield();
  else if (!bench->eager)
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" : : : "memory");
#else
    bench_touch(NULL);
#endif
}

/* Number a message in the producer's buffer: at its beginning, and what it is not at its end. */
static inline void bench_number(char *message, uint32_t size, uint64_t number) {
  const uint64_t complement = ~number;
  memcpy(message, &number, sizeof number);
  if (size >= 16)
    memcpy(message + size - sizeof complement, &complement, sizeof complement);
  bench_touch(message);
}

/* The number of a message in the consumer's buffer. */
static inline uint64_t bench_numbered(const struct bench *bench, const char *message,
                                      uint32_t size) {
  uint64_t number, complement;
  bench_touch(message);
  memcpy(&number, message, sizeof number);
  memcpy(&complement, message + size - sizeof complement, sizeof complement);
  if (RINGBUS_UNLIKELY(size >= 16 && complement != ~number))
    bench_bad_message(bench, number, ~complement);
  return number;
}

#ifdef __cplusplus
}
#endif

#endif
