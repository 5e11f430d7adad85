/* SPDX-License-Identifier: MIT */
/* crowd.c - several writers or several readers at once, and a slice of them.
 *
 *   parent: makes ring, pipe or socket ─ forks all ─ waits until they are ready ─ start ─ sums up
 *   worker:            attaches, pinned ─ ready ─▶ start ─ passes messages until the end ─ leaves
 *
 * Every message bears the number of its writer and its own. Who can miss none of a writer's messages
 * checks that none is missing; who may (shared: others have them; overwrite: they are gone) that the
 * numbers rise, and all of them together are checked in the end: what was received and lost is what was
 * sent, and the numbers received have the sum of those sent. Streams end of themselves: the last writer
 * finishes the ring, or closes the last descriptor of the pipe. */
#include "bench.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

const struct bench_point bench_columns[BENCH_COLUMNS] = {{.count = 1},
                                                         {.count = 2},
                                                         {.count = 2, .spread = true},
                                                         {.count = 4},
                                                         {.count = 4, .spread = true}};

/* ---------------------------------------------------------------- curves */

/* Each of one thing that changes while the rest stays as it is. Whoever is alone is on a core of his own. */

#define AT(ring_kib, bytes)                                                                        \
  { .count = 1, .size = bytes, .ring_bytes = UINT64_C(ring_kib) << 10 }
#define BY_RING(bytes)                                                                             \
  {                                                                                                \
    AT(16, bytes), AT(32, bytes), AT(64, bytes), AT(128, bytes), AT(256, bytes), AT(512, bytes),   \
        AT(1024, bytes), AT(2048, bytes), AT(4096, bytes), AT(8192, bytes), AT(16384, bytes),      \
        AT(32768, bytes), AT(65536, bytes)                                                         \
  }
static const struct bench_point by_ring[] = BY_RING(64);
static const struct bench_point by_ring_long[] = BY_RING(1024);
static const struct bench_point by_size[] = {
    AT(1024, 8),     AT(1024, 16),     AT(1024, 32),     AT(1024, 64),    AT(1024, 128),
    AT(1024, 256),   AT(1024, 512),    AT(1024, 1024),   AT(1024, 2048),  AT(1024, 4096),
    AT(16384, 8192), AT(16384, 16384), AT(16384, 32768), AT(16384, 65536)};
static const struct bench_point by_count[] = {{.count = 1},
                                              {.count = 2, .spread = true},
                                              {.count = 3, .spread = true},
                                              {.count = 4, .spread = true},
                                              {.count = 5, .spread = true},
                                              {.count = 6, .spread = true},
                                              {.count = 7, .spread = true},
                                              {.count = 8, .spread = true}};
/* A ring so small that the producer looks through the places often. */
#define PLACES(number)                                                                             \
  { .count = 1, .ring_bytes = UINT64_C(1) << 16, .places = number }
static const struct bench_point by_places[] = {PLACES(3), PLACES(15), PLACES(63), PLACES(255),
                                               PLACES(1023)};

/* ---------------------------------------------------------------- all of them */

#define COLUMNS bench_columns, BENCH_COLUMNS
#define ALL(points) points, sizeof points / sizeof *points
const struct bench_crowd bench_crowds[] = {
    {"ringbus, 1 producer only", BENCH_FAN_IN, BENCH_SEND, 1, false, COLUMNS},
    {"  the same, batches", BENCH_FAN_IN, BENCH_BATCHES, 1, false, COLUMNS},
    {"ringbus send, recv", BENCH_FAN_IN, BENCH_SEND, 4, true, COLUMNS},
    {"ringbus batches", BENCH_FAN_IN, BENCH_BATCHES, 4, true, COLUMNS},
    {"pipe", BENCH_FAN_IN, BENCH_PIPE, 4, false, COLUMNS},
    {"seqpacket socket", BENCH_FAN_IN, BENCH_SOCKET, 4, false, COLUMNS},
    {"ringbus send, recv", BENCH_FAN_OUT, BENCH_SEND, 4, false, COLUMNS},
    {"ringbus batches", BENCH_FAN_OUT, BENCH_BATCHES, 4, false, COLUMNS},
    {"a pipe each", BENCH_FAN_OUT, BENCH_PIPE, 4, false, COLUMNS},
    {"a seqpacket socket each", BENCH_FAN_OUT, BENCH_SOCKET, 4, false, COLUMNS},
    {"ringbus send, recv", BENCH_SHARED, BENCH_SEND, 2, false, COLUMNS},
    {"ringbus batches", BENCH_SHARED, BENCH_BATCHES, 2, false, COLUMNS},
    {"pipe", BENCH_SHARED, BENCH_PIPE, 2, false, COLUMNS},
    {"seqpacket socket", BENCH_SHARED, BENCH_SOCKET, 2, false, COLUMNS},
    {"ringbus, 1 producer only", BENCH_OVERWRITE, BENCH_SEND, 1, false, COLUMNS},
    {"  the same, batches", BENCH_OVERWRITE, BENCH_BATCHES, 1, false, COLUMNS},
    {"ringbus send, recv", BENCH_OVERWRITE, BENCH_SEND, 2, true, COLUMNS},
    {"ringbus batches", BENCH_OVERWRITE, BENCH_BATCHES, 2, true, COLUMNS},
    {"ringbus by ring size, 64 B", BENCH_CURVES, BENCH_SEND, 1, false, ALL(by_ring)},
    {"ringbus by ring size, 1024 B", BENCH_CURVES, BENCH_SEND, 1, false, ALL(by_ring_long)},
    {"ringbus by message size", BENCH_CURVES, BENCH_SEND, 1, false, ALL(by_size)},
    {"ringbus by groups", BENCH_CURVES, BENCH_SEND, 8, false, ALL(by_count)},
    {"ringbus by producers", BENCH_CURVES, BENCH_SEND, 8, true, ALL(by_count)},
    {"ringbus by places", BENCH_CURVES, BENCH_SEND, 1, false, ALL(by_places)},
};
const unsigned bench_crowd_count = sizeof bench_crowds / sizeof *bench_crowds;

#define INLINE static inline __attribute__((always_inline))
#define WRITER_SHIFT 48

/* What passes the messages of a slice. Of two ends of a pipe or socket the first is read. */
struct run {
  const struct bench_crowd *crowd;
  unsigned writers, readers;
  uint32_t size;
  int ring;
  unsigned channels; /* pipes or sockets: one, or one for each reader */
  int channel[BENCH_MANY][2];
  int cpu[BENCH_WORKERS];
};

/* What a reader knows of the messages it has had. */
struct tally {
  bool gaps;
  uint64_t next[BENCH_MANY]; /* number of each writer */
  uint64_t messages, sum, lost;
};

static bool uses_ring(const struct bench_crowd *crowd) {
  return crowd->way == BENCH_SEND || crowd->way == BENCH_BATCHES;
}

/* ---------------------------------------------------------------- writing */

/* put: one burst of messages, numbered from number; returns how many. The size is a constant to the compiler,
 * but not where curves are. */

INLINE unsigned put_send(struct bench *bench, const struct run *run, uint32_t size,
                         uint64_t number) {
  int result;
  (void)run;
  bench_number(bench->out, size, number);
  while ((result = ringbus_producer_send(bench->producer, bench->out, size, 0)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0)
    bench_fail("send", result);
  return 1;
}

INLINE unsigned put_batch(struct bench *bench, const struct run *run, uint32_t size,
                          uint64_t number) {
  struct iovec messages[BENCH_BATCH];
  (void)run;
  for (unsigned i = 0; i < BENCH_BATCH; i++) {
    messages[i].iov_base = bench->out + (size_t)i * size;
    messages[i].iov_len = size;
    bench_number(messages[i].iov_base, size, number + i);
  }
  for (size_t done = 0, sent; done < BENCH_BATCH; done += sent) {
    int result = ringbus_producer_send_batch(bench->producer, messages + done, BENCH_BATCH - done,
                                             0, false, &sent);
    if (result == -EAGAIN)
      bench_idle(bench);
    else if (result != 0)
      bench_fail("send_batch", result);
  }
  return BENCH_BATCH;
}

INLINE unsigned put_descriptor(struct bench *bench, const struct run *run, uint32_t size,
                               uint64_t number) {
  bench_number(bench->out, size, number);
  for (unsigned i = 0; i < run->channels; i++) {
    ssize_t written;
    while ((written = write(run->channel[i][1], bench->out, size)) < 0 && errno == EINTR)
      ;
    if (written != (ssize_t)size) /* the system divides none so short */
      bench_fail("writing", written < 0 ? -errno : -EBADMSG);
  }
  return 1;
}

INLINE uint64_t put_all(struct bench *bench, const struct run *run, uint32_t size, uint64_t number,
                        unsigned (*put)(struct bench *, const struct run *, uint32_t, uint64_t)) {
  const uint64_t first = number;
  while (bench_now() < bench->shared->crowd.until)
    for (unsigned i = 0; i < 64; i++) /* between two looks at the clock */
      number += put(bench, run, size, number);
  return number - first;
}

static void write_messages(struct bench *bench, const struct run *run, unsigned index) {
  struct bench_worker *told = &bench->shared->crowd.worker[index];
  const uint64_t first = (uint64_t)index << WRITER_SHIFT;
  switch (run->crowd->way) {
  case BENCH_SEND:
    told->messages = run->size == BENCH_MESSAGE
                         ? put_all(bench, run, BENCH_MESSAGE, first, put_send)
                         : put_all(bench, run, run->size, first, put_send);
    break;
  case BENCH_BATCHES:
    told->messages = put_all(bench, run, BENCH_MESSAGE, first, put_batch);
    break;
  case BENCH_PIPE:
  case BENCH_SOCKET:
    told->messages = put_all(bench, run, BENCH_MESSAGE, first, put_descriptor);
    break;
  }
  told->sum = told->messages * first + told->messages * (told->messages - 1) / 2;
  if (__atomic_sub_fetch(&bench->shared->crowd.writers, 1, __ATOMIC_ACQ_REL) == 0 &&
      bench->producer) {
    int result = ringbus_producer_finish(bench->producer);
    if (result != 0)
      bench_fail("finish", result);
  }
}

/* ---------------------------------------------------------------- reading */

/* get: one burst of messages, checked; false at the end of the stream. */

INLINE void check(const struct bench *bench, uint32_t size, struct tally *tally, char *message) {
  const uint64_t number = bench_numbered(bench, message, size);
  const uint64_t of_writer = number & ((UINT64_C(1) << WRITER_SHIFT) - 1);
  uint64_t *next = &tally->next[number >> WRITER_SHIFT & (BENCH_MANY - 1)];
  if (number >> WRITER_SHIFT >= BENCH_MANY ||
      (tally->gaps ? of_writer < *next : of_writer != *next))
    bench_bad_message(bench, *next, of_writer);
  *next = of_writer + 1;
  tally->messages++;
  tally->sum += number;
}

/* Nothing came: whether to look again. */
INLINE bool look_again(struct bench *bench, int result, const char *what) {
  if (result == -EPIPE)
    return false;
  if (result == -EAGAIN)
    bench_idle(bench);
  else if (result != -EOVERFLOW) /* the ring counts what it costs */
    bench_fail(what, result);
  return true;
}

INLINE bool get_recv(struct bench *bench, const struct run *run, uint32_t size,
                     struct tally *tally) {
  struct ringbus_message message;
  int result = ringbus_consumer_recv(bench->consumer, bench->in, BENCH_MAX_MESSAGE, &message);
  (void)run;
  if (result != 0)
    return look_again(bench, result, "recv");
  if (message.length != size)
    bench_fail("recv", -EBADMSG);
  check(bench, size, tally, bench->in);
  return true;
}

INLINE bool get_batch(struct bench *bench, const struct run *run, uint32_t size,
                      struct tally *tally) {
  struct ringbus_message messages[BENCH_BATCH];
  size_t count;
  int result = ringbus_consumer_borrow_batch(bench->consumer, messages, BENCH_BATCH, &count);
  (void)run;
  if (result != 0)
    return look_again(bench, result, "borrow_batch");
  for (size_t i = 0; i < count; i++) {
    if (messages[i].length != size)
      bench_fail("borrow_batch", -EBADMSG);
    memcpy(bench->in + i * size, messages[i].data, size);
  }
  if (tally->gaps && ringbus_consumer_still_valid(bench->consumer) != 0) {
    tally->lost += count;
    count = 0;
  }
  for (size_t i = 0; i < count; i++)
    check(bench, size, tally, bench->in + i * size);
  result = ringbus_consumer_release(bench->consumer);
  if (result != 0)
    bench_fail("release", result);
  return true;
}

INLINE bool get_descriptor(struct bench *bench, const struct run *run, uint32_t size,
                           struct tally *tally) {
  ssize_t got;
  (void)run;
  while ((got = read(bench->pipe_in, bench->in, size)) < 0 && errno == EINTR)
    ;
  if (got == 0)
    return false;
  if (got != (ssize_t)size)
    bench_fail("reading", got < 0 ? -errno : -EBADMSG);
  check(bench, size, tally, bench->in);
  return true;
}

INLINE void get_all(struct bench *bench, const struct run *run, uint32_t size, struct tally *tally,
                    bool (*get)(struct bench *, const struct run *, uint32_t, struct tally *)) {
  while (get(bench, run, size, tally))
    ;
}

static void read_messages(struct bench *bench, const struct run *run, unsigned index) {
  struct bench_worker *told = &bench->shared->crowd.worker[index];
  enum bench_kind kind = run->crowd->kind;
  struct tally tally = {.gaps = kind == BENCH_SHARED || kind == BENCH_OVERWRITE};
  uint64_t lost = 0;
  switch (run->crowd->way) {
  case BENCH_SEND:
    if (run->size == BENCH_MESSAGE)
      get_all(bench, run, BENCH_MESSAGE, &tally, get_recv);
    else
      get_all(bench, run, run->size, &tally, get_recv);
    break;
  case BENCH_BATCHES:
    get_all(bench, run, BENCH_MESSAGE, &tally, get_batch);
    break;
  case BENCH_PIPE:
  case BENCH_SOCKET:
    get_all(bench, run, BENCH_MESSAGE, &tally, get_descriptor);
    break;
  }
  told->messages = tally.messages;
  told->sum = tally.sum;
  if (bench->consumer && ringbus_consumer_lost(bench->consumer, &lost, NULL) != 0)
    bench_fail("lost", -EBADMSG);
  told->lost = tally.lost + lost;
}

/* ---------------------------------------------------------------- a worker */

static bool shares_core(const struct bench *bench, const struct run *run, unsigned index) {
  unsigned there = 0;
  for (unsigned i = 0; i < run->writers + run->readers; i++)
    there += run->cpu[i] == run->cpu[index];
  return bench->cpus == 1 || there > 1;
}

/* This worker's own end of the channels; all others are closed, or the stream would not end. */
static void take_end(struct bench *bench, struct run *run, unsigned index) {
  unsigned own = run->channels > 1 ? index - run->writers : 0;
  bool writes = index < run->writers;
  for (unsigned i = 0; i < run->channels; i++) {
    if (!writes && i == own)
      bench->pipe_in = run->channel[i][0];
    else
      (void)close(run->channel[i][0]);
    if (!writes)
      (void)close(run->channel[i][1]);
  }
}

static void work(struct bench *bench, struct run *run, unsigned index) {
  struct bench_worker *told = &bench->shared->crowd.worker[index];
  bool writes = index < run->writers;
  bench->shares_core = shares_core(bench, run, index);
  bench->producer = NULL;
  bench->consumer = NULL;
  if (bench->cpus > 1)
    bench_pin(run->cpu[index]);
  if (!uses_ring(run->crowd)) {
    take_end(bench, run, index);
  } else if (writes) {
    bench->producer = bench_produce_in(run->ring);
  } else {
    struct ringbus_consumer_options options = {.group = NULL};
    if (run->crowd->kind == BENCH_SHARED)
      options = (struct ringbus_consumer_options){.group = "members", .shared = true};
    bench->consumer = bench_consume_from(run->ring, options, bench);
  }
  (void)sem_post(&bench->shared->crowd.ready);
  bench_wait(&bench->shared->crowd.start);
  int64_t cpu = bench_cpu_time();
  if (writes)
    write_messages(bench, run, index);
  else
    read_messages(bench, run, index);
  told->end = bench_now();
  told->cpu_ns = bench_cpu_time() - cpu;
  (void)ringbus_producer_detach(bench->producer);
  (void)ringbus_consumer_detach(bench->consumer);
}

/* ---------------------------------------------------------------- a slice */

bool bench_crowd_has(const struct bench *bench, const struct bench_crowd *crowd, unsigned point) {
  return point < crowd->point_count && crowd->points[point].count <= crowd->most &&
         (bench->cpus > 1 || !crowd->points[point].spread);
}

uint32_t bench_crowd_bytes(const struct bench_point *point) {
  return point->size ? point->size : BENCH_MESSAGE;
}

static bool fans_in(const struct bench_crowd *crowd) {
  return crowd->kind == BENCH_FAN_IN || crowd->kind == BENCH_OVERWRITE ||
         (crowd->kind == BENCH_CURVES && crowd->many_producers);
}

/* The single one is where it is when there are two: a writer on the first core, a reader on the second. */
static void place(const struct bench *bench, struct run *run, const struct bench_point *point) {
  const bool in = fans_in(run->crowd);
  const unsigned single = in && bench->cpus > 1 ? 1 : 0;
  run->writers = in ? point->count : 1;
  run->readers = in ? 1 : point->count;
  run->cpu[in ? point->count : 0] = bench->cpu[single];
  for (unsigned i = 0; i < point->count; i++) {
    unsigned turn = point->spread ? i % bench->cpus : 0; /* the last is that of the single one */
    unsigned cpu = turn + 1 == bench->cpus ? single : turn < single ? turn : turn + 1;
    run->cpu[in ? i : i + 1] = bench->cpu[cpu];
  }
}

static void open_run(struct run *run, const struct bench_point *point) {
  struct ringbus_create_options options = {.capacity =
                                               point->ring_bytes ? point->ring_bytes : BENCH_RING,
                                           .max_participants = point->places,
                                           .many_producers = run->crowd->many_producers,
                                           .overwrite = run->crowd->kind == BENCH_OVERWRITE};
  const int bytes = (int)BENCH_RING; /* or as much as the system allows */
  if (uses_ring(run->crowd)) {
    run->ring = bench_make_ring(&options);
    return;
  }
  run->channels = run->crowd->kind == BENCH_FAN_OUT ? run->readers : 1;
  for (unsigned i = 0; i < run->channels; i++) {
    int *ends = run->channel[i];
    if (run->crowd->way == BENCH_PIPE) {
      if (pipe2(ends, O_CLOEXEC) != 0)
        bench_fail("making a pipe", -errno);
      (void)fcntl(ends[1], F_SETPIPE_SZ, bytes);
    } else {
      if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        bench_fail("making a socket", -errno);
      (void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
  }
}

static void close_run(const struct run *run) {
  if (uses_ring(run->crowd))
    (void)close(run->ring);
  for (unsigned i = 0; i < run->channels; i++) {
    (void)close(run->channel[i][0]);
    (void)close(run->channel[i][1]);
  }
}

/* What was received of what was sent; when the last reader was done. */
static void sum_up(const struct bench *bench, const struct run *run, int64_t start,
                   double value[2]) {
  const struct bench_worker *worker = bench->shared->crowd.worker;
  uint64_t sent = 0, sent_sum = 0, received = 0, received_sum = 0, lost = 0;
  uint64_t copies = run->crowd->kind == BENCH_SHARED ? 1 : run->readers; /* each reads all */
  int64_t end = start + 1;
  for (unsigned i = 0; i < run->writers; i++) {
    sent += worker[i].messages * copies;
    sent_sum += worker[i].sum * copies;
  }
  for (unsigned i = run->writers; i < run->writers + run->readers; i++) {
    received += worker[i].messages;
    received_sum += worker[i].sum;
    lost += worker[i].lost;
    end = worker[i].end > end ? worker[i].end : end;
  }
  if (received + lost != sent || (lost == 0 && received_sum != sent_sum) ||
      (lost && run->crowd->kind != BENCH_OVERWRITE))
    bench_fail("messages are missing at the end of a slice", -EBADMSG);
  value[0] = (double)received * 1e3 / (double)(end - start);
  value[1] = (double)received * 1e2 / (double)(sent ? sent : 1);
}

/* Whether the workers had all of their cores that was not idle, but for an eighth. */
static bool undisturbed(const struct bench *bench, const struct run *run, int64_t elapsed,
                        const int64_t idle[BENCH_MAX_CPUS]) {
  for (unsigned cpu = 0; bench->cpus > 1 && cpu < bench->cpus; cpu++) {
    int64_t others = elapsed - (bench_idle_time(bench->cpu[cpu]) - idle[cpu]);
    bool used = false;
    for (unsigned i = 0; i < run->writers + run->readers; i++)
      if (run->cpu[i] == bench->cpu[cpu]) {
        others -= bench->shared->crowd.worker[i].cpu_ns;
        used = true;
      }
    if (used && idle[cpu] >= 0 && others > elapsed / 8 && others > 10000000)
      return false;
  }
  return true;
}

bool bench_crowd_slice(struct bench *bench, const struct bench_crowd *crowd, unsigned point,
                       double value[2]) {
  struct run run = {.crowd = crowd, .size = bench_crowd_bytes(&crowd->points[point])};
  struct bench_crowd_shared *shared = &bench->shared->crowd;
  int64_t idle[BENCH_MAX_CPUS], start;
  place(bench, &run, &crowd->points[point]);
  open_run(&run, &crowd->points[point]);
  const unsigned workers = run.writers + run.readers;
  shared->writers = run.writers;
  for (unsigned i = 0; i < workers; i++)
    if (bench_fork() == 0) {
      work(bench, &run, i);
      _exit(0);
    }
  for (unsigned i = 0; i < workers; i++)
    bench_wait(&shared->ready);
  close_run(&run);
  for (unsigned cpu = 0; cpu < bench->cpus; cpu++)
    idle[cpu] = bench_idle_time(bench->cpu[cpu]);
  start = bench_now();
  shared->until = start + 4 * bench->slice_ns;
  for (unsigned i = 0; i < workers; i++)
    (void)sem_post(&shared->start);
  for (unsigned i = 0; i < workers; i++)
    bench_wait(&shared->ended);
  sum_up(bench, &run, start, value);
  return undisturbed(bench, &run, bench_now() - start, idle);
}
