/* SPDX-License-Identifier: MIT */
/* main.c - options, the schedule of slices. */
#include "bench.h"

#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Interruptions of both processes in one slice: the system's own housekeeping is short, while a
 * process that wants the core takes it for milliseconds, again and again. */
enum { TOLERATED = 2 };

enum { SMALL, LARGE, THERE, BACK, RINGS };

struct options {
  bool wanted[BENCH_KINDS];
  bool json, with_disturbed;
  unsigned slices; /* of each figure */
};

static const char usage[] =
    "usage: ringbus-bench [BENCH]... [option]...\n"
    "  What a message costs between processes. All benches by default:\n"
    "  throughput        one producer, one consumer, each on its own core\n"
    "  pingpong          there and back\n"
    "  fan-in            1, 2 and 4 writers into one ring\n"
    "  fan-out           1, 2 and 4 readers, each of all messages\n"
    "  shared            1 and 2 readers, each message to one of them\n"
    "  overwrite         1 and 2 writers that never wait, and a reader beside them\n"
    "  --slices N        slices of each figure (default 20)\n"
    "  --slice-ms N      length of a slice (default 30); four times that from fan-in on\n"
    "  --cpus A,B,...    pin there: producer, consumer, and, from fan-in on, over how many cores "
    "to\n"
    "                    spread who are several (default: the first two allowed)\n"
    "  --hand-back HOW   how the consumer hands lines back: default, never, store, locked\n"
    "  --disturbed       report the slices in which other processes took a core, too, by "
    "themselves\n"
    "  --json            one JSON object instead of tables\n";

static void refuse(const char *why) {
  (void)fprintf(stderr, "ringbus-bench: %s\n%s", why, usage);
  exit(2);
}

static unsigned parse_number(const char *text, unsigned long min, unsigned long max) {
  char *end;
  unsigned long number = strtoul(text, &end, 10);
  if (*end || end == text || number < min || number > max)
    refuse("bad number");
  return (unsigned)number;
}

static void parse_cpus(char *list, struct bench *bench) {
  bench->cpus = 0;
  for (char *comma = list; comma; list = comma + 1) {
    comma = strchr(list, ',');
    if (comma)
      *comma = '\0';
    if (bench->cpus == BENCH_MAX_CPUS)
      refuse("too many CPUs");
    bench->cpu[bench->cpus++] = (int)parse_number(list, 0, CPU_SETSIZE - 1);
    if (!comma)
      break;
  }
  if (bench->cpus == 1)
    refuse("--cpus takes two numbers or more");
  if (bench->cpu[0] == bench->cpu[1])
    bench->cpus = 1;
}

static unsigned choose(const char *name, const char *const names[], unsigned count,
                       const char *why) {
  for (unsigned i = 0; i < count; i++)
    if (strcmp(name, names[i]) == 0)
      return i;
  refuse(why);
  return 0;
}

static struct options parse(int argc, char **argv, struct bench *bench) {
  static const struct option known[] = {
      {"slices", required_argument, NULL, 's'}, {"slice-ms", required_argument, NULL, 'm'},
      {"cpus", required_argument, NULL, 'c'},   {"json", no_argument, NULL, 'j'},
      {"disturbed", no_argument, NULL, 'd'},    {"hand-back", required_argument, NULL, 'b'},
      {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
  static const char *const hand_back[] = {"default", "never", "store", "locked"};
  struct options options = {.slices = 20};
  int option;
  bench->slice_ns = 30000000;
  bench->cpus = bench_find_cpus(bench->cpu);
  while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
    switch (option) {
    case 's':
      options.slices = parse_number(optarg, 1, 100000);
      break;
    case 'm':
      bench->slice_ns = parse_number(optarg, 1, 60000) * INT64_C(1000000);
      break;
    case 'c':
      parse_cpus(optarg, bench);
      break;
    case 'b':
      bench->hand_back = (enum ringbus_hand_back)choose(
          optarg, hand_back, 4, "--hand-back takes default, never, store or locked");
      break;
    case 'd':
      options.with_disturbed = true;
      break;
    case 'j':
      options.json = true;
      break;
    case 'h':
      (void)fputs(usage, stdout);
      exit(0);
    default:
      refuse("unknown option");
    }
  for (unsigned kind = 0; kind < BENCH_KINDS; kind++)
    options.wanted[kind] = optind == argc;
  for (; optind < argc; optind++)
    options.wanted[choose(argv[optind], bench_kind_name, BENCH_KINDS, "unknown bench")] = true;
  bench->shares_core = bench->cpus == 1;
  return options;
}

/* ---------------------------------------------------------------- the schedule */

static unsigned probe_trips(const struct bench *bench) { return bench->cpus == 1 ? 20 : 4000; }

static void produce_slice(struct bench *bench, const struct bench_contender *contender,
                          unsigned size, double value[2]) {
  uint64_t sent, received;
  int64_t start = bench_now();
  contender->produce[size](bench, &sent);
  while ((received = bench_load(&bench->shared->received)) >> 40 != bench->slice)
    bench_idle(bench);
  value[0] = (double)sent * 1e3 / (double)(bench_now() - start);
  value[1] = 0;
  if ((received & ((UINT64_C(1) << 40) - 1)) != sent)
    bench_fail("messages are missing at the end of a slice", -EBADMSG);
}

static void consume_slice(struct bench *bench, const struct bench_contender *contender,
                          unsigned size) {
  uint64_t received;
  contender->consume[size](bench, &received);
  bench_store(&bench->shared->received, (uint64_t)bench->slice << 40 | received);
}

static void round_trip_slice(struct bench *bench, const struct bench_round_trip *contender,
                             double value[2]) {
  enum { MAX_TRIPS = 1 << 20 };
  static double trips[MAX_TRIPS];
  const int64_t end = bench_now() + bench->slice_ns;
  int64_t before = bench_now(), after;
  size_t count = 0;
  do {
    contender->go(bench, count);
    after = bench_now();
    trips[count++] = (double)(after - before);
    before = after;
  } while (after < end && count < MAX_TRIPS);
  contender->go(bench, BENCH_END);
  value[0] = bench_quantile(trips, count, 0.5);
  value[1] = bench_quantile(trips, count, 0.99);
}

static void lead_slice(struct bench *bench, struct bench_sample *sample, bool *disturbed) {
  if (sample->kind == BENCH_THROUGHPUT)
    produce_slice(bench, &bench_contenders[sample->contender], sample->column, sample->value);
  else if (sample->kind == BENCH_PINGPONG)
    round_trip_slice(bench, &bench_round_trips[sample->contender], sample->value);
  else {
    *disturbed =
        !bench_crowd_slice(bench, &bench_crowds[sample->contender], sample->column, sample->value);
    (void)sem_post(&bench->shared->crowd.resume);
  }
}

static void follow_slice(struct bench *bench, const struct bench_sample *sample) {
  if (sample->kind == BENCH_THROUGHPUT)
    consume_slice(bench, &bench_contenders[sample->contender], sample->column);
  else if (sample->kind == BENCH_PINGPONG)
    while (bench_round_trips[sample->contender].echo(bench) != BENCH_END)
      ;
  else
    bench_wait(&bench->shared->crowd.resume);
}

/* One slice between two probes, on the producer's side if results, else on the consumer's. */
static void slice(struct bench *bench, struct bench_results *results, enum bench_kind kind,
                  unsigned contender, unsigned column) {
  struct bench_sample sample = {.kind = kind, .contender = contender, .column = column};
  const unsigned trips = probe_trips(bench);
  bool leads = results != NULL, disturbed = false;
  bench->slice++;
  double before = bench_probe(bench, leads, trips);
  uint64_t interruptions = bench_interruptions();
  if (leads)
    lead_slice(bench, &sample, &disturbed);
  else
    follow_slice(bench, &sample);
  interruptions = bench_interruptions() - interruptions;
  if (!leads)
    bench->shared->interruptions = interruptions;
  double after = bench_probe(bench, leads, trips);
  if (!leads)
    return;
  if (kind < BENCH_FAN_IN) /* crowds interrupt each other, and see for themselves */
    disturbed = bench->cpus > 1 && interruptions + bench->shared->interruptions > TOLERATED;
  sample.state = bench_classify(bench, before);
  if (disturbed) {
    results->disturbed++;
    if (!results->with_disturbed)
      return;
    sample.state = BENCH_DISTURBED;
  } else if (sample.state != bench_classify(bench, after)) {
    results->moved++;
    return;
  }
  results->slices[sample.state]++;
  results->samples[results->count++] = sample;
}

static void walk(struct bench *bench, struct bench_results *results, const struct options *options,
                 ringbus_producer *const producers[], ringbus_consumer *const consumers[]) {
  const bool *wanted = options->wanted;
  for (unsigned round = 0; round < options->slices; round++) {
    for (unsigned size = 0; wanted[BENCH_THROUGHPUT] && size < BENCH_SIZES; size++) {
      unsigned ring = bench_size[size] > 4096 ? LARGE : SMALL;
      bench->producer = producers[ring];
      bench->consumer = consumers[ring];
      bench->blocks_bytes = ring == LARGE ? BENCH_LARGE_RING : BENCH_RING;
      for (unsigned i = 0; i < bench_contender_count; i++) {
        if (results) /* the blocks start over; the probe hands the counters to the consumer */
          bench->shared->published = bench->shared->consumed = 0;
        slice(bench, results, BENCH_THROUGHPUT, i, size);
      }
    }
    for (unsigned i = 0; wanted[BENCH_PINGPONG] && i < bench_round_trip_count; i++)
      slice(bench, results, BENCH_PINGPONG, i, 0);
    for (unsigned i = 0; i < bench_crowd_count; i++)
      for (unsigned column = 0; wanted[bench_crowds[i].kind] && column < BENCH_COLUMNS; column++)
        if (bench_crowd_has(bench, &bench_crowds[i], column))
          slice(bench, results, bench_crowds[i].kind, i, column);
  }
}

/* ---------------------------------------------------------------- the processes */

static struct bench_shared *shared; /* for the handler */
static pid_t child;

/* Workers end by themselves, and well; the child is there to the end. If not, nobody waits for ever:
 * with this process all others die. errno is left alone: while the child is there, no call here fails. */
static void somebody_ended(int number) {
  static const char text[] = "ringbus-bench: another of its processes failed\n";
  int status;
  pid_t pid;
  (void)number;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid == child || status != 0) {
      (void)!write(STDERR_FILENO, text, sizeof text - 1);
      _exit(1);
    }
    (void)sem_post(&shared->crowd.ended);
  }
}

static void share(struct bench *bench) {
  static _Alignas(BENCH_LINE) char buffer[(size_t)4 * BENCH_MAX_MESSAGE]; /* one batch of them */
  bench->shared = shared = bench_map_shared(sizeof *shared);
  bench->blocks = bench_map_shared(BENCH_LARGE_RING);
  bench->buffer = memset(buffer, 0x5a, sizeof buffer);
  if (sem_init(&shared->crowd.ready, 1, 0) != 0 || sem_init(&shared->crowd.start, 1, 0) != 0 ||
      sem_init(&shared->crowd.ended, 1, 0) != 0 || sem_init(&shared->crowd.resume, 1, 0) != 0)
    bench_fail("setting up", -errno);
}

int main(int argc, char **argv) {
  static struct bench bench;
  const struct options options = parse(argc, argv, &bench);
  const struct ringbus_consumer_options reading = {.group = NULL};
  ringbus_producer *producers[RINGS] = {NULL};
  ringbus_consumer *consumers[RINGS] = {NULL};
  int ring[RINGS], pipe_end[2];
  int status = 0;

  bench_report_head(&bench, options.json);
  share(&bench);
  if (pipe2(pipe_end, O_CLOEXEC) != 0)
    bench_fail("setting up", -errno);
  (void)fcntl(pipe_end[1], F_SETPIPE_SZ, (int)BENCH_RING); /* as large as the system allows */
  for (unsigned i = 0; i < RINGS; i++) {
    const struct ringbus_create_options making = {.capacity =
                                                      i == LARGE ? BENCH_LARGE_RING : BENCH_RING};
    ring[i] = bench_make_ring(&making);
  }

  if (signal(SIGCHLD, somebody_ended) == SIG_ERR)
    bench_fail("setting up", -errno);
  child = bench_fork();
  bool leads = child != 0;
  bench.pipe = pipe_end[leads ? 1 : 0];
  if (bench.cpus > 1)
    bench_pin(bench.cpu[leads ? 0 : 1]);
  if (!leads) {
    for (unsigned i = SMALL; i <= LARGE; i++)
      consumers[i] = bench_consume_from(ring[i], reading, &bench);
    bench.back = bench_consume_from(ring[THERE], reading, &bench);
    bench.there = bench_produce_in(ring[BACK]);
    walk(&bench, NULL, &options, producers, consumers);
    bench_store(&shared->received, BENCH_END);
    for (;;)
      pause(); /* until the parent is done */
  }

  struct bench_results results = {.wanted = options.wanted,
                                  .with_disturbed = options.with_disturbed};
  results.samples =
      calloc((size_t)options.slices * (BENCH_SIZES * bench_contender_count +
                                       bench_round_trip_count + BENCH_COLUMNS * bench_crowd_count),
             sizeof *results.samples);
  if (!results.samples)
    bench_fail("the results", -ENOMEM);
  for (unsigned i = SMALL; i <= LARGE; i++)
    producers[i] = bench_produce_in(ring[i]);
  bench.there = bench_produce_in(ring[THERE]);
  bench.back = bench_consume_from(ring[BACK], reading, &bench);
  walk(&bench, &results, &options, producers, consumers);
  while (bench_load(&shared->received) != BENCH_END)
    bench_idle(&bench);
  (void)signal(SIGCHLD, SIG_DFL);
  (void)kill(child, SIGKILL);
  (void)waitpid(child, &status, 0);
  bench_report(&bench, &results, options.json);
  free(results.samples);
  for (unsigned i = SMALL; i <= LARGE; i++)
    (void)ringbus_producer_detach(producers[i]);
  (void)ringbus_producer_detach(bench.there);
  (void)ringbus_consumer_detach(bench.back);
  return 0;
}
