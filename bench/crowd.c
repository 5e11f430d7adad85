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

const struct bench_column bench_columns[BENCH_COLUMNS] = {
    {1, false}, {2, false}, {2, true}, {4, false}, {4, true}};

const struct bench_crowd bench_crowds[] = {
    {"ringbus, 1 producer only", BENCH_FAN_IN, BENCH_SEND, 1, false},
    {"  the same, batches", BENCH_FAN_IN, BENCH_BATCHES, 1, false},
    {"ringbus send, recv", BENCH_FAN_IN, BENCH_SEND, 4, true},
    {"ringbus batches", BENCH_FAN_IN, BENCH_BATCHES, 4, true},
    {"pipe", BENCH_FAN_IN, BENCH_PIPE, 4, false},
    {"seqpacket socket", BENCH_FAN_IN, BENCH_SOCKET, 4, false},
    {"ringbus send, recv", BENCH_FAN_OUT, BENCH_SEND, 4, false},
    {"ringbus batches", BENCH_FAN_OUT, BENCH_BATCHES, 4, false},
    {"a pipe each", BENCH_FAN_OUT, BENCH_PIPE, 4, false},
    {"a seqpacket socket each", BENCH_FAN_OUT, BENCH_SOCKET, 4, false},
    {"ringbus send, recv", BENCH_SHARED, BENCH_SEND, 2, false},
    {"ringbus batches", BENCH_SHARED, BENCH_BATCHES, 2, false},
    {"pipe", BENCH_SHARED, BENCH_PIPE, 2, false},
    {"seqpacket socket", BENCH_SHARED, BENCH_SOCKET, 2, false},
    {"ringbus, 1 producer only", BENCH_OVERWRITE, BENCH_SEND, 1, false},
    {"  the same, batches", BENCH_OVERWRITE, BENCH_BATCHES, 1, false},
    {"ringbus send, recv", BENCH_OVERWRITE, BENCH_SEND, 2, true},
    {"ringbus batches", BENCH_OVERWRITE, BENCH_BATCHES, 2, true},
};
const unsigned bench_crowd_count = sizeof bench_crowds / sizeof *bench_crowds;

#define INLINE static inline __attribute__((always_inline))
#define WRITER_SHIFT 48

/* What passes the messages of a slice. Of two ends of a pipe or socket the first is read. */
struct run {
  const struct bench_crowd *crowd;
  unsigned writers, readers;
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

/* put: one burst of messages, numbered from number; returns how many. */

INLINE unsigned put_send(struct bench *bench, const struct run *run, uint64_t number) {
  int result;
  (void)run;
  bench_number(bench->out, BENCH_MESSAGE, number);
  while ((result = ringbus_producer_send(bench->producer, bench->out, BENCH_MESSAGE, 0)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0)
    bench_fail("send", result);
  return 1;
}

INLINE unsigned put_batch(struct bench *bench, const struct run *run, uint64_t number) {
  struct iovec messages[BENCH_BATCH];
  (void)run;
  for (unsigned i = 0; i < BENCH_BATCH; i++) {
    messages[i].iov_base = bench->out + (size_t)i * BENCH_MESSAGE;
    messages[i].iov_len = BENCH_MESSAGE;
    bench_number(messages[i].iov_base, BENCH_MESSAGE, number + i);
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

INLINE unsigned put_descriptor(struct bench *bench, const struct run *run, uint64_t number) {
  bench_number(bench->out, BENCH_MESSAGE, number);
  for (unsigned i = 0; i < run->channels; i++) {
    ssize_t written;
    while ((written = write(run->channel[i][1], bench->out, BENCH_MESSAGE)) < 0 && errno == EINTR)
      ;
    if (written != (ssize_t)BENCH_MESSAGE) /* the system divides none so short */
      bench_fail("writing", written < 0 ? -errno : -EBADMSG);
  }
  return 1;
}

INLINE uint64_t put_all(struct bench *bench, const struct run *run, uint64_t number,
                        unsigned (*put)(struct bench *, const struct run *, uint64_t)) {
  const uint64_t first = number;
  while (bench_now() < bench->shared->crowd.until)
    for (unsigned i = 0; i < 64; i++) /* between two looks at the clock */
      number += put(bench, run, number);
  return number - first;
}

static void write_messages(struct bench *bench, const struct run *run, unsigned index) {
  struct bench_worker *told = &bench->shared->crowd.worker[index];
  const uint64_t first = (uint64_t)index << WRITER_SHIFT;
  switch (run->crowd->way) {
  case BENCH_SEND:
    told->messages = put_all(bench, run, first, put_send);
    break;
  case BENCH_BATCHES:
    told->messages = put_all(bench, run, first, put_batch);
    break;
  case BENCH_PIPE:
  case BENCH_SOCKET:
    told->messages = put_all(bench, run, first, put_descriptor);
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

INLINE void check(const struct bench *bench, struct tally *tally, char *message) {
  const uint64_t number = bench_numbered(bench, message, BENCH_MESSAGE);
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

INLINE bool get_recv(struct bench *bench, const struct run *run, struct tally *tally) {
  struct ringbus_message message;
  int result = ringbus_consumer_recv(bench->consumer, bench->in, BENCH_MAX_MESSAGE, &message);
  (void)run;
  if (result != 0)
    return look_again(bench, result, "recv");
  if (message.length != BENCH_MESSAGE)
    bench_fail("recv", -EBADMSG);
  check(bench, tally, bench->in);
  return true;
}

INLINE bool get_batch(struct bench *bench, const struct run *run, struct tally *tally) {
  struct ringbus_message messages[BENCH_BATCH];
  size_t count;
  int result = ringbus_consumer_borrow_batch(bench->consumer, messages, BENCH_BATCH, &count);
  (void)run;
  if (result != 0)
    return look_again(bench, result, "borrow_batch");
  for (size_t i = 0; i < count; i++) {
    if (messages[i].length != BENCH_MESSAGE)
      bench_fail("borrow_batch", -EBADMSG);
    memcpy(bench->in + i * BENCH_MESSAGE, messages[i].data, BENCH_MESSAGE);
  }
  if (tally->gaps && ringbus_consumer_still_valid(bench->consumer) != 0) {
    tally->lost += count;
    count = 0;
  }
  for (size_t i = 0; i < count; i++)
    check(bench, tally, bench->in + i * BENCH_MESSAGE);
  result = ringbus_consumer_release(bench->consumer);
  if (result != 0)
    bench_fail("release", result);
  return true;
}

INLINE bool get_descriptor(struct bench *bench, const struct run *run, struct tally *tally) {
  ssize_t got;
  (void)run;
  while ((got = read(bench->pipe_in, bench->in, BENCH_MESSAGE)) < 0 && errno == EINTR)
    ;
  if (got == 0)
    return false;
  if (got != (ssize_t)BENCH_MESSAGE)
    bench_fail("reading", got < 0 ? -errno : -EBADMSG);
  check(bench, tally, bench->in);
  return true;
}

INLINE void get_all(struct bench *bench, const struct run *run, struct tally *tally,
                    bool (*get)(struct bench *, const struct run *, struct tally *)) {
  while (get(bench, run, tally))
    ;
}

static void read_messages(struct bench *bench, const struct run *run, unsigned index) {
  struct bench_worker *told = &bench->shared->crowd.worker[index];
  enum bench_kind kind = run->crowd->kind;
  struct tally tally = {.gaps = kind == BENCH_SHARED || kind == BENCH_OVERWRITE};
  uint64_t lost = 0;
  switch (run->crowd->way) {
  case BENCH_SEND:
    get_all(bench, run, &tally, get_recv);
    break;
  case BENCH_BATCHES:
    get_all(bench, run, &tally, get_batch);
    break;
  case BENCH_PIPE:
  case BENCH_SOCKET:
    get_all(bench, run, &tally, get_descriptor);
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

bool bench_crowd_has(const struct bench *bench, const struct bench_crowd *crowd, unsigned column) {
  return bench_columns[column].count <= crowd->most &&
         (bench->cpus > 1 || !bench_columns[column].spread);
}

static bool fans_in(const struct bench_crowd *crowd) {
  return crowd->kind == BENCH_FAN_IN || crowd->kind == BENCH_OVERWRITE;
}

/* The single one is where it is when there are two: a writer on the first core, a reader on the second. */
static void place(const struct bench *bench, struct run *run, const struct bench_column *column) {
  const bool in = fans_in(run->crowd);
  const unsigned single = in && bench->cpus > 1 ? 1 : 0;
  run->writers = in ? column->count : 1;
  run->readers = in ? 1 : column->count;
  run->cpu[in ? column->count : 0] = bench->cpu[single];
  for (unsigned i = 0; i < column->count; i++) {
    unsigned turn = column->spread ? i % bench->cpus : 0; /* the last is that of the single one */
    unsigned cpu = turn + 1 == bench->cpus ? single : turn < single ? turn : turn + 1;
    run->cpu[in ? i : i + 1] = bench->cpu[cpu];
  }
}

static void open_run(struct run *run) {
  struct ringbus_create_options options = {.capacity = BENCH_RING,
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
  uint64_t copies = run->crowd->kind == BENCH_FAN_OUT ? run->readers : 1;
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

bool bench_crowd_slice(struct bench *bench, const struct bench_crowd *crowd, unsigned column,
                       double value[2]) {
  struct run run = {.crowd = crowd};
  struct bench_crowd_shared *shared = &bench->shared->crowd;
  int64_t idle[BENCH_MAX_CPUS], start;
  place(bench, &run, &bench_columns[column]);
  open_run(&run);
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
