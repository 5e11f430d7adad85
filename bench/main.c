/* SPDX-License-Identifier: MIT */
/* main.c - options, the schedule of slices, the report. */
#include "bench.h"

#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SMALL_RING (UINT64_C(1) << 20)
#define LARGE_RING (UINT64_C(1) << 24) /* for messages of 64 KiB */

/* Interruptions of both processes in one slice: the system's own housekeeping is short, while a
 * process that wants the core takes it for milliseconds, again and again. */
enum { TOLERATED = 2 };

enum { SMALL, LARGE, THERE, BACK, RINGS };

struct options {
  bool throughput, round_trip, json;
  unsigned slices; /* of each contender and message size */
  int64_t slice_ns;
  int cpu[2];
  unsigned cpus;
  enum ringbus_hand_back hand_back;
};

struct sample {
  bool round_trip;
  unsigned contender, size;
  enum bench_state state;
  double value[2]; /* throughput: M messages/s; round trip: median and 99th percentile, ns */
};

struct results {
  struct sample *samples;
  size_t count, moved, disturbed, slices[BENCH_STATES];
};

static const char usage[] =
    "usage: ringbus-bench [throughput | pingpong] [option]...\n"
    "  What a message costs between two processes, each on its own core. Both benches by default.\n"
    "  --slices N        slices of each contender and message size (default 20)\n"
    "  --slice-ms N      length of a slice (default 30)\n"
    "  --cpus A,B        pin producer and consumer there (default: the first two allowed)\n"
    "  --hand-back HOW   how the consumer hands lines back: default, never, store, locked\n"
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

static struct options parse(int argc, char **argv) {
  static const struct option known[] = {{"slices", required_argument, NULL, 's'},
                                        {"slice-ms", required_argument, NULL, 'm'},
                                        {"cpus", required_argument, NULL, 'c'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"hand-back", required_argument, NULL, 'b'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  static const char *const hand_back[] = {"default", "never", "store", "locked"};
  struct options options = {.slices = 20, .slice_ns = 30000000};
  int option;
  unsigned how;
  options.cpus = bench_find_cpus(options.cpu);
  while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
    switch (option) {
    case 's':
      options.slices = parse_number(optarg, 1, 1000000);
      break;
    case 'm':
      options.slice_ns = parse_number(optarg, 1, 60000) * INT64_C(1000000);
      break;
    case 'c': {
      char *comma = strchr(optarg, ',');
      if (!comma)
        refuse("--cpus takes two numbers");
      *comma = '\0';
      options.cpu[0] = (int)parse_number(optarg, 0, CPU_SETSIZE - 1);
      options.cpu[1] = (int)parse_number(comma + 1, 0, CPU_SETSIZE - 1);
      options.cpus = options.cpu[0] == options.cpu[1] ? 1 : 2;
      break;
    }
    case 'b':
      for (how = 0; how < 4 && strcmp(optarg, hand_back[how]) != 0; how++)
        ;
      if (how == 4)
        refuse("--hand-back takes default, never, store or locked");
      options.hand_back = (enum ringbus_hand_back)how;
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
  options.throughput = options.round_trip = optind == argc;
  for (; optind < argc; optind++)
    if (strcmp(argv[optind], "throughput") == 0)
      options.throughput = true;
    else if (strcmp(argv[optind], "pingpong") == 0)
      options.round_trip = true;
    else
      refuse("unknown bench");
  return options;
}

/* ---------------------------------------------------------------- what both processes open */

static void *map_shared(size_t size) {
  void *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED)
    bench_fail("shared memory", -errno);
  return memory;
}

/* A ring without a name leaves nothing behind, whatever happens; this is a descriptor of it. */
static int make_ring(uint64_t capacity) {
  struct ringbus_create_options options = {.capacity = capacity};
  ringbus_ring *ring;
  int fd = -1;
  int result = ringbus_ring_create_anonymous(&options, &ring);
  if (result == 0)
    result = ringbus_ring_fd(ring, &fd);
  if (result == 0 && (fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
    result = -errno;
  if (result == 0)
    result = ringbus_ring_close(ring);
  if (result != 0)
    bench_fail("making a ring", result);
  return fd;
}

static ringbus_ring *open_ring(int fd) {
  struct ringbus_open_options options = {.prefault = true};
  ringbus_ring *ring;
  int result = ringbus_ring_open_fd(fd, &options, &ring);
  if (result != 0)
    bench_fail("opening a ring", result);
  return ring;
}

static ringbus_producer *produce_in(int fd) {
  struct ringbus_producer_options options = {.name = "bench"};
  ringbus_ring *ring = open_ring(fd);
  ringbus_producer *producer;
  int result = ringbus_producer_attach(ring, &options, &producer);
  if (result == 0)
    result = ringbus_ring_close(ring);
  if (result != 0)
    bench_fail("attaching a producer", result);
  return producer;
}

static ringbus_consumer *consume_from(int fd, const struct options *wanted) {
  struct ringbus_consumer_options options = {.name = "bench", .hand_back = wanted->hand_back};
  ringbus_ring *ring = open_ring(fd);
  ringbus_consumer *consumer;
  int result = ringbus_consumer_attach(ring, &options, &consumer);
  if (result == 0)
    result = ringbus_ring_close(ring);
  if (result != 0)
    bench_fail("attaching a consumer", result);
  return consumer;
}

/* ---------------------------------------------------------------- the schedule */

static unsigned probe_trips(const struct bench *bench) { return bench->cpus == 1 ? 20 : 4000; }

static int compare(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

/* The value below which this share of a sorted array lies. */
static double quantile(const double *sorted, size_t count, double share) {
  return sorted[(size_t)(share * (double)(count - 1) + 0.5)];
}

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
  qsort(trips, count, sizeof *trips, compare);
  value[0] = quantile(trips, count, 0.5);
  value[1] = quantile(trips, count, 0.99);
}

/* One slice between two probes, on the producer's side if results, else on the consumer's. */
static void slice(struct bench *bench, struct results *results, bool round_trip, unsigned contender,
                  unsigned size) {
  struct sample sample = {.round_trip = round_trip, .contender = contender, .size = size};
  const unsigned trips = probe_trips(bench);
  bool leads = results != NULL;
  bench->slice++;
  double before = bench_probe(bench, leads, trips);
  uint64_t interruptions = bench_interruptions();
  if (leads && round_trip)
    round_trip_slice(bench, &bench_round_trips[contender], sample.value);
  else if (leads)
    produce_slice(bench, &bench_contenders[contender], size, sample.value);
  else if (round_trip)
    while (bench_round_trips[contender].echo(bench) != BENCH_END)
      ;
  else
    consume_slice(bench, &bench_contenders[contender], size);
  interruptions = bench_interruptions() - interruptions;
  if (!leads)
    bench->shared->interruptions = interruptions;
  double after = bench_probe(bench, leads, trips);
  if (!leads)
    return;
  if (bench->cpus > 1 && interruptions + bench->shared->interruptions > TOLERATED) {
    results->disturbed++;
    return;
  }
  sample.state = bench_classify(bench, before);
  if (sample.state != bench_classify(bench, after)) {
    results->moved++;
    return;
  }
  results->slices[sample.state]++;
  results->samples[results->count++] = sample;
}

static void walk(struct bench *bench, struct results *results, const struct options *options,
                 ringbus_producer *const producers[], ringbus_consumer *const consumers[]) {
  for (unsigned round = 0; round < options->slices; round++) {
    for (unsigned size = 0; options->throughput && size < BENCH_SIZES; size++) {
      unsigned ring = bench_size[size] > 4096 ? LARGE : SMALL;
      bench->producer = producers[ring];
      bench->consumer = consumers[ring];
      bench->blocks_bytes = ring == LARGE ? LARGE_RING : SMALL_RING;
      for (unsigned i = 0; i < bench_contender_count; i++) {
        if (results) /* the blocks start over; the probe hands the counters to the consumer */
          bench->shared->published = bench->shared->consumed = 0;
        slice(bench, results, false, i, size);
      }
    }
    for (unsigned i = 0; options->round_trip && i < bench_round_trip_count; i++)
      slice(bench, results, true, i, 0);
  }
}

/* ---------------------------------------------------------------- the report */

struct summary {
  size_t slices;
  double median, low, high, p99;
};

static struct summary summarize(const struct results *results, bool round_trip, unsigned contender,
                                unsigned size, enum bench_state state) {
  double *values = malloc(2 * (results->count + 1) * sizeof *values);
  double *tails = values ? values + results->count : NULL;
  struct summary summary = {0};
  if (!values)
    bench_fail("the report", -ENOMEM);
  for (size_t i = 0; i < results->count; i++) {
    const struct sample *sample = &results->samples[i];
    if (sample->round_trip == round_trip && sample->contender == contender &&
        sample->size == size && sample->state == state) {
      values[summary.slices] = sample->value[0];
      tails[summary.slices++] = sample->value[1];
    }
  }
  if (summary.slices) {
    qsort(values, summary.slices, sizeof *values, compare);
    qsort(tails, summary.slices, sizeof *tails, compare);
    summary.median = quantile(values, summary.slices, 0.5);
    summary.low = quantile(values, summary.slices, 0.1);
    summary.high = quantile(values, summary.slices, 0.9);
    summary.p99 = quantile(tails, summary.slices, 0.5);
  }
  free(values);
  return summary;
}

static void report_tables(const struct results *results, const struct options *options) {
  printf("One column per message size: median of the slices, in brackets their 10th and 90th "
         "percentile.\n");
  for (enum bench_state state = 0; state < BENCH_STATES; state++) {
    if (!results->slices[state])
      continue;
    printf("\n%s (%zu slices)\n", bench_state_name[state], results->slices[state]);
    if (options->throughput) {
      printf("  %-24s", "million messages/s");
      for (unsigned size = 0; size < BENCH_SIZES; size++)
        printf("  %18u B  ", bench_size[size]);
      printf("\n");
    }
    for (unsigned i = 0; options->throughput && i < bench_contender_count; i++) {
      printf("  %-24s", bench_contenders[i].name);
      for (unsigned size = 0; size < BENCH_SIZES; size++) {
        struct summary found = summarize(results, false, i, size, state);
        if (found.slices)
          printf("  %6.4g [%5.3g .. %5.3g]", found.median, found.low, found.high);
        else
          printf("  %22s", "-");
      }
      printf("\n");
    }
    if (options->round_trip)
      printf("  round trip, %u B, ns\n", BENCH_ROUND_TRIP_BYTES);
    for (unsigned i = 0; options->round_trip && i < bench_round_trip_count; i++) {
      struct summary found = summarize(results, true, i, 0, state);
      if (found.slices)
        printf("  %-24s  p50 %.0f [%.0f .. %.0f]  p99 %.0f\n", bench_round_trips[i].name,
               found.median, found.low, found.high, found.p99);
    }
  }
  printf(
      "\nThrown away: %zu slices because the cores moved meanwhile, %zu because other processes\n"
      "took a core.\n",
      results->moved, results->disturbed);
}

/* The names of contenders and of flags hold nothing that JSON would have to escape. */
static void report_json(const struct results *results) {
  const char *separator = "";
  printf("\"moved_slices\":%zu,\"disturbed_slices\":%zu,\"results\":[", results->moved,
         results->disturbed);
  for (enum bench_state state = 0; state < BENCH_STATES; state++)
    for (unsigned bench = 0; bench < 2; bench++)
      for (unsigned i = 0; i < (bench ? bench_round_trip_count : bench_contender_count); i++)
        for (unsigned size = 0; size < (bench ? 1 : BENCH_SIZES); size++) {
          struct summary found = summarize(results, bench, i, size, state);
          if (!found.slices)
            continue;
          printf("%s\n{\"bench\":\"%s\",\"contender\":\"%s\",\"message_bytes\":%u,\"state\":\"%s\","
                 "\"slices\":%zu,",
                 separator, bench ? "pingpong" : "throughput",
                 bench ? bench_round_trips[i].name : bench_contenders[i].name,
                 bench ? BENCH_ROUND_TRIP_BYTES : bench_size[size], bench_state_name[state],
                 found.slices);
          if (bench)
            printf("\"unit\":\"ns\",\"p50\":%.1f,\"p50_low\":%.1f,\"p50_high\":%.1f,\"p99\":%.1f}",
                   found.median, found.low, found.high, found.p99);
          else
            printf("\"unit\":\"million messages/s\",\"median\":%.6g,\"p10\":%.6g,\"p90\":%.6g}",
                   found.median, found.low, found.high);
          separator = ",";
        }
  printf("]}\n");
}

static void describe(const struct options *options) {
  char cpu[128], kernel[128];
  bench_describe(cpu, kernel);
  if (options->json) {
    printf("{\"ringbus\":\"%s\",\"cpu\":\"%s\",\"kernel\":\"%s\",\"compiler\":\"%s\","
           "\"flags\":\"%s\",\"cores\":%u,",
           ringbus_version(), cpu, kernel, BENCH_COMPILER, BENCH_FLAGS, options->cpus);
    return;
  }
  printf("ringbus %s, %s, %s\n%s, %s\n", ringbus_version(), cpu, kernel, BENCH_COMPILER,
         BENCH_FLAGS);
  if (options->cpus == 1)
    printf("One core: nothing is pinned, whoever waits yields; these figures say little.\n");
  else
    printf("Producer on CPU %d, consumer on CPU %d. States by the round trip of one cache line: "
           "nearest < 95 ns, near < 170 ns, far.\n",
           options->cpu[0], options->cpu[1]);
  printf("Rings and blocks of 1 MiB, of 16 MiB for messages of %u B.\n", BENCH_MAX_MESSAGE);
  (void)fflush(stdout);
}

static void child_ended(int signal) {
  static const char text[] = "ringbus-bench: the consumer's process failed\n";
  (void)signal;
  (void)!write(STDERR_FILENO, text, sizeof text - 1);
  _exit(1);
}

int main(int argc, char **argv) {
  static _Alignas(BENCH_LINE) char buffer[(size_t)4 * BENCH_MAX_MESSAGE]; /* one batch of them */
  struct options options = parse(argc, argv);
  struct bench bench = {.slice_ns = options.slice_ns, .cpus = options.cpus};
  ringbus_producer *producers[RINGS] = {NULL};
  ringbus_consumer *consumers[RINGS] = {NULL};
  int ring[RINGS], pipe_end[2];
  int status = 0;

  describe(&options);
  bench.shared = map_shared(sizeof *bench.shared);
  bench.blocks = map_shared(LARGE_RING);
  bench.buffer = memset(buffer, 0x5a, sizeof buffer);
  if (pipe2(pipe_end, O_CLOEXEC) != 0)
    bench_fail("setting up", -errno);
  (void)fcntl(pipe_end[1], F_SETPIPE_SZ, (int)SMALL_RING); /* as large as the system allows */
  for (unsigned i = 0; i < RINGS; i++)
    ring[i] = make_ring(i == LARGE ? LARGE_RING : SMALL_RING);

  if (signal(SIGCHLD, child_ended) == SIG_ERR)
    bench_fail("setting up", -errno);
  pid_t parent = getpid();
  pid_t child = fork();
  if (child < 0)
    bench_fail("fork", -errno);
  bool leads = child != 0;
  bench.pipe = pipe_end[leads ? 1 : 0];
  if (options.cpus > 1)
    bench_pin(options.cpu[leads ? 0 : 1]);
  if (!leads) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
      _exit(1);
    for (unsigned i = SMALL; i <= LARGE; i++)
      consumers[i] = consume_from(ring[i], &options);
    bench.back = consume_from(ring[THERE], &options);
    bench.there = produce_in(ring[BACK]);
    walk(&bench, NULL, &options, producers, consumers);
    bench_store(&bench.shared->received, BENCH_END);
    for (;;)
      pause(); /* until the parent is done */
  }

  struct results results = {0};
  results.samples = calloc((size_t)options.slices *
                               (BENCH_SIZES * bench_contender_count + bench_round_trip_count),
                           sizeof *results.samples);
  if (!results.samples)
    bench_fail("the results", -ENOMEM);
  for (unsigned i = SMALL; i <= LARGE; i++)
    producers[i] = produce_in(ring[i]);
  bench.there = produce_in(ring[THERE]);
  bench.back = consume_from(ring[BACK], &options);
  walk(&bench, &results, &options, producers, consumers);
  while (bench_load(&bench.shared->received) != BENCH_END)
    bench_idle(&bench);
  (void)signal(SIGCHLD, SIG_DFL);
  (void)kill(child, SIGKILL);
  (void)waitpid(child, &status, 0);
  if (options.json)
    report_json(&results);
  else
    report_tables(&results, &options);
  free(results.samples);
  for (unsigned i = SMALL; i <= LARGE; i++)
    (void)ringbus_producer_detach(producers[i]);
  (void)ringbus_producer_detach(bench.there);
  (void)ringbus_consumer_detach(bench.back);
  return 0;
}
