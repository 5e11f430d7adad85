/* SPDX-License-Identifier: MIT */
/* main.c - the processes, the schedule of slices. */
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Interruptions of both processes in one slice: the system's own housekeeping is short, while a
 * process that wants the core takes it for milliseconds, again and again. Of who measures throughput any number, if they
 * took no more than a share of the slice: what is cleared up after many processes that have ended comes in the slices
 * behind them, always the same ones. */
enum { TOLERATED = 2, TOLERATED_SHARE_OF_INTERRUPTIONS = 50 };
/* Who sleeps is not interrupted, but has to wait for his core when he wakes: at most a share of a slice. */
enum { TOLERATED_SHARE = 10 };

enum { WORSE = 3 }; /* exit code */

/* Rings: one there and one back for round trips; else each row of ringbus has its own, as the traffic of a program
 * has: what the library learns about one is not for another. */
enum { THERE, BACK, OWN };

/* A slice that takes so many seconds more than it should, even on a busy machine, has lost a message that
 * somebody waits for. */
enum { PATIENCE = 60 };

static volatile sig_atomic_t stopped_by; /* a signal */

/* ---------------------------------------------------------------- the schedule */

/* What is measured in each round, in this order; rows may be NULL, to count them. */
static unsigned plan(const struct bench *bench, const struct bench_options *options,
                     struct bench_row *rows) {
  unsigned count = 0;
  for (enum bench_kind kind = 0; kind < BENCH_FAN_IN; kind++)
    for (unsigned size = 0; options->wanted[kind] && size < BENCH_SIZES; size++)
      for (unsigned rate = 0; rate < (kind == BENCH_PACED ? options->rates : 1); rate++)
        for (unsigned i = 0; i < bench_contender_count; i++) {
          const struct bench_contender *contender = bench_contender[i];
          bool wanted = options->sizes_given && kind < BENCH_PUBLISH ? options->size[size]
                        : kind == BENCH_THROUGHPUT                   ? true
                                                   : bench_size[size] == BENCH_MESSAGE;
          if (!wanted || contender->kind != kind || !bench_wants(options, contender->name) ||
              bench->largest[contender->channel] < bench_size[size])
            continue;
          if (rows)
            rows[count] = (struct bench_row){.kind = kind,
                                             .contender = i,
                                             .name = contender->name,
                                             .size = size,
                                             .rate = kind == BENCH_PACED ? options->rate[rate] : 0};
          count++;
        }
  for (unsigned i = 0; i < bench_crowd_count; i++)
    for (unsigned point = 0; point < bench_crowds[i].point_count; point++) {
      const struct bench_crowd *crowd = &bench_crowds[i];
      if (!options->wanted[crowd->kind] || !bench_wants(options, crowd->name) ||
          !bench_crowd_has(bench, crowd, point))
        continue;
      if (rows)
        rows[count] = (struct bench_row){
            .kind = crowd->kind, .contender = i, .name = crowd->name, .point = point};
      count++;
    }
  return count;
}

/* Enough for a millisecond before a slice of 30. */
static unsigned probe_trips(const struct bench *bench) {
  const int64_t trips = bench->slice_ns / 7500;
  return bench->cpus == 1 ? 20 : trips < 100 ? 100 : trips > 4000 ? 4000 : (unsigned)trips;
}

static void lead(struct bench *bench, struct bench_sample *sample) {
  struct bench_shared *shared = bench->shared;
  const int64_t start = bench_now();
  const uint64_t sent = bench_contender[bench->row->contender]->lead[bench->row->size](bench);
  uint64_t received;
  while ((received = bench_load(&shared->received)) >> 40 != bench->slice)
    bench_idle(bench);
  const double elapsed = (double)(bench_now() - start);
  if ((received & ((UINT64_C(1) << 40) - 1)) != sent)
    bench_fail("messages are missing at the end of a slice", -EBADMSG);
  const double rate = (double)sent / elapsed;
  if (bench->row->kind == BENCH_THROUGHPUT || bench->row->kind == BENCH_PUBLISH) {
    sample->value = bench->row->kind == BENCH_PUBLISH ? shared->cost : rate * 1e3;
    return;
  }
  sample->value = bench_percentile(&shared->latency, 0.5);
  sample->second = rate * 1e9;
  sample->late = bench_percentile(&shared->late, 0.99);
}

static void follow(struct bench *bench) {
  const uint64_t received = bench_contender[bench->row->contender]->follow[bench->row->size](bench);
  bench_store(&bench->shared->received, (uint64_t)bench->slice << 40 | received);
}

static uint64_t ring_bytes(const struct bench_row *row) {
  return bench_size[row->size] > 4096 ? BENCH_LARGE_RING : BENCH_RING;
}

/* Everything as a slice needs it, before the first probe, which hands it to the other side, too. */
static void prepare(struct bench *bench, unsigned row, ringbus_producer *const producers[],
                    ringbus_consumer *const consumers[]) {
  const enum bench_kind kind = bench->row->kind;
  bench->slice++;
  if (bench->leads) {
    struct bench_shared *shared = bench->shared;
    shared->published = shared->consumed = 0;
    shared->futex[BENCH_THERE].word = shared->futex[BENCH_BACK].word = 0;
    bench_clear(&shared->latency);
    bench_clear(&shared->late);
    (void)alarm((unsigned)(4 * bench->slice_ns / 1000000000) + PATIENCE);
  }
  bench->memory_bytes = ring_bytes(bench->row);
  bench->eager = kind == BENCH_PINGPONG || kind == BENCH_PACED;
  if (kind < BENCH_FAN_IN) {
    const unsigned there = kind == BENCH_PINGPONG ? THERE : OWN + row;
    bench->producer = producers[bench->leads ? there : BACK];
    bench->consumer = consumers[bench->leads ? BACK : there];
    bench_prepare(bench, bench_size[bench->row->size]);
    const struct bench_peer *peer = bench_contender[bench->row->contender]->peer;
    if (peer && peer->open)
      peer->open(bench, bench_size[bench->row->size]);
  }
}

static void keep(struct bench_results *results, const struct bench_sample *sample) {
  const enum bench_kind kind = results->rows[sample->row].kind;
  results->slices[sample->state]++;
  results->samples[results->count++] = *sample;
  if (!bench_has_latency(kind))
    return;
  struct bench_histogram **latency = &results->latency[sample->row][sample->state];
  if (!*latency && !(*latency = calloc(1, sizeof **latency)))
    bench_fail("the results", -ENOMEM);
  bench_merge(*latency, &results->bench->shared->latency);
}

/* Of a peer that waits anyway it counts how much of this core was neither its own nor idle. The system tells
 * it in steps of 10 ms. */
enum { TOLERATED_TAKEN_NS = 25000000 };

static int64_t taken(const struct bench *bench) {
  const int64_t idle = bench_idle_time(bench->cpu[bench->leads ? 0 : 1]);
  return idle < 0 ? 0 : bench_now() - idle - bench_cpu_time() - bench_cpu_time_of(bench->helper);
}

/* One slice between two probes, on the producer's side if results, else on the consumer's. */
static void slice(struct bench *bench, struct bench_results *results, unsigned row) {
  struct bench_sample sample = {.row = row};
  const unsigned trips = probe_trips(bench);
  const bool is_crowd = bench->row->kind >= BENCH_FAN_IN;
  const struct bench_peer *peer = is_crowd ? NULL : bench_contender[bench->row->contender]->peer;
  const bool waits = peer && peer->waits;
  bool disturbed = false;
  int64_t waited = waits ? taken(bench) : bench_waited();
  double before = bench_probe(bench, bench->leads, trips);
  uint64_t interruptions = bench_interruptions();
  if (!is_crowd && bench->leads) {
    lead(bench, &sample);
  } else if (!is_crowd) {
    follow(bench);
  } else if (bench->leads) {
    double value[2];
    disturbed =
        !bench_crowd_slice(bench, &bench_crowds[bench->row->contender], bench->row->point, value);
    sample.value = value[0];
    sample.second = value[1];
    (void)sem_post(&bench->shared->crowd.resume);
  } else {
    bench_wait(&bench->shared->crowd.resume);
  }
  interruptions = waits ? 0 : bench_interruptions() - interruptions;
  waited = (waits ? taken(bench) : bench_waited()) - waited;
  if (!bench->leads) {
    bench->shared->interruptions = interruptions;
    bench->shared->waited = waited;
  }
  double after = bench_probe(bench, bench->leads, trips);
  if (!bench->leads)
    return;
  interruptions += bench->shared->interruptions;
  waited += bench->shared->waited;
  if (!is_crowd) /* crowds interrupt each other, and see for themselves */
    disturbed = bench->cpus > 1 &&
                ((interruptions > TOLERATED &&
                  (bench_has_latency(bench->row->kind) ||
                   waited > bench->slice_ns / TOLERATED_SHARE_OF_INTERRUPTIONS)) ||
                 waited > (waits ? TOLERATED_TAKEN_NS : bench->slice_ns / TOLERATED_SHARE));
  sample.state = bench_classify(bench, before);
  const bool moved = !disturbed && sample.state != bench_classify(bench, after);
  results->disturbed += disturbed;
  results->moved += moved;
  if (disturbed || moved) {
    if (!results->options->with_disturbed)
      return;
    sample.state = BENCH_DISTURBED;
  }
  keep(results, &sample);
}

/* On a terminal, between slices: how far it is; rounds 0: that line is cleared. */
static void show_progress(const struct bench_results *results, size_t slice, unsigned rounds) {
  static int64_t start, last;
  const int64_t now = bench_now();
  if (isatty(STDERR_FILENO) != 1)
    return;
  if (rounds == 0) {
    (void)fprintf(stderr, "\r\033[K");
    return;
  }
  start = start ? start : now;
  if (now - last < 200000000)
    return;
  last = now;
  const double share = (double)slice / ((double)rounds * results->row_count);
  const struct bench_row *row = results->bench->row;
  (void)fprintf(stderr, "\r\033[K%.0f %%, %.0f s to go: %s, %s", 100 * share,
                share > 0 ? (double)(now - start) / 1e9 * (1 - share) / share : 0.0,
                bench_kind_name[row->kind], row->name + strspn(row->name, " "));
}

static const struct bench_row *running; /* for who gives up */

/* Both sides walk through the same slices; who leads stops when it is told to, and the other one waits. */
static void walk(struct bench *bench, struct bench_results *results, const struct bench_row *rows,
                 unsigned row_count, unsigned rounds, ringbus_producer *const producers[],
                 ringbus_consumer *const consumers[]) {
  for (unsigned round = 0; round < rounds; round++)
    for (unsigned row = 0; row < row_count && !(bench->leads && stopped_by); row++) {
      bench->row = running = &rows[row];
      if (results)
        show_progress(results, (size_t)round * row_count + row, rounds);
      prepare(bench, row, producers, consumers);
      slice(bench, results, row);
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

/* The slice is finished, and what there is is reported. The second signal ends the process at once. */
static void stop(int number) { stopped_by = number; }

static void give_up(int number) {
  char text[192] = "ringbus-bench: nothing has moved for a minute: a message was lost: ";
  const char *const parts[] = {bench_kind_name[running->kind], ", ",
                               running->name + strspn(running->name, " "), "\n"};
  (void)number;
  for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++)
    strncat(text, parts[i], sizeof text - strlen(text) - 1);
  (void)!write(STDERR_FILENO, text, strlen(text));
  _exit(1);
}

static void handle_signals(void) {
  struct sigaction stopping = {.sa_handler = stop, .sa_flags = (int)(SA_RESTART | SA_RESETHAND)};
  if (signal(SIGCHLD, somebody_ended) == SIG_ERR || signal(SIGALRM, give_up) == SIG_ERR ||
      sigaction(SIGINT, &stopping, NULL) != 0 || sigaction(SIGTERM, &stopping, NULL) != 0)
    bench_fail("setting up", -errno);
}

static void share(struct bench *bench) {
  static alignas(BENCH_LINE) char out[BENCH_BUFFER], in[BENCH_BUFFER];
  bench->shared = shared = bench_map_shared(sizeof *shared);
  for (unsigned way = 0; way < BENCH_WAYS; way++)
    bench->memory[way] = bench_map_shared(BENCH_MEMORY_BYTES);
  bench->out = out;
  bench->in = in;
  if (sem_init(&shared->crowd.ready, 1, 0) != 0 || sem_init(&shared->crowd.start, 1, 0) != 0 ||
      sem_init(&shared->crowd.ended, 1, 0) != 0 || sem_init(&shared->crowd.resume, 1, 0) != 0)
    bench_fail("setting up", -errno);
}

static bool has_ring(const struct bench_row *row) {
  return row->kind < BENCH_FAN_IN && row->kind != BENCH_PINGPONG &&
         !bench_contender[row->contender]->peer && strncmp(row->name, "ringbus", 7) == 0;
}

static int make_ring(uint64_t bytes) {
  const struct ringbus_create_options making = {.capacity = bytes};
  return bench_make_ring(&making);
}

/* This process's ends. A ring's producer of one direction is its consumer of the other. */
static void take_ends(struct bench *bench, const struct bench_channels *channels, unsigned rings,
                      const int ring[], ringbus_producer *producers[],
                      ringbus_consumer *consumers[]) {
  const struct ringbus_consumer_options reading = {.wait = RINGBUS_WAIT_BLOCK};
  const unsigned out = bench->leads ? BENCH_THERE : BENCH_BACK, in = !out;
  bench->pipe_out = channels->pipe[out][1];
  bench->pipe_in = channels->pipe[in][0];
  bench->socket = channels->socket[out];
  bench->queue_out = channels->queue[out];
  bench->queue_in = channels->queue[in];
  for (unsigned i = 0; i < rings; i++)
    if (ring[i] < 0)
      continue;
    else if (bench->leads == (i != BACK))
      producers[i] = bench_produce_in(ring[i]);
    else
      consumers[i] = bench_consume_from(ring[i], reading, bench);
}

/* What the peers that are measured want made before there are two processes. */
static void make_peers(const struct bench_results *results) {
  for (unsigned i = 0; i < results->row_count; i++) {
    const struct bench_row *row = &results->rows[i];
    const struct bench_peer *peer =
        row->kind < BENCH_FAN_IN ? bench_contender[row->contender]->peer : NULL;
    bool is_made = !peer || !peer->make;
    for (const struct bench_row *before = results->rows; before < row && !is_made; before++)
      is_made = bench_contender[before->contender]->peer == peer; /* crowds come last */
    if (!is_made)
      peer->make();
  }
}

/* What is known only when everything is set up. */
static void warn_of_ends(const struct bench *bench, struct bench_warnings *warnings) {
  static const char *const name[BENCH_CHANNELS] = {"memory",
                                                   "a pipe",
                                                   "a socket",
                                                   "a POSIX message queue",
                                                   "a ring of 1 GiB (memory is short)",
                                                   "a ring of 16 GiB (memory is short)",
                                                   "room for some peers (/dev/shm is small)"};
  if (bench->clock_low > 0 || bench->clock_high < 0)
    bench_warn(warnings,
               "the CPUs' clocks differ by %lld to %lld ns: paced figures are off by that",
               (long long)bench->clock_low, (long long)bench->clock_high);
  for (unsigned i = 0; i < BENCH_CHANNELS; i++)
    if (bench->largest[i] == 0)
      bench_warn(warnings, "%s cannot be had here: left out", name[i]);
    else if (bench->largest[i] < BENCH_MAX_MESSAGE)
      bench_warn(warnings, "%s takes messages up to %u bytes here: larger ones are left out",
                 name[i], bench->largest[i]);
}

int main(int argc, char **argv) {
  static struct bench bench;
  static struct bench_warnings warnings;
  bench_list_contenders();
  const struct bench_options options = bench_parse(argc, argv, &bench);
  struct bench_channels channels;
  int status = 0;

  struct cJSON *earlier = options.compare ? bench_read_run(options.compare) : NULL;
  if (options.hgrm && ((mkdir(options.hgrm, 0777) != 0 && errno != EEXIST) ||
                       access(options.hgrm, W_OK | X_OK) != 0)) {
    (void)fprintf(stderr, "ringbus-bench: --hgrm: %s: %s\n", options.hgrm, strerror(errno));
    return 1;
  }
  bench_start_clock();
  share(&bench);
  bench_open_channels(&bench, &channels);
  const unsigned row_count = plan(&bench, &options, NULL);
  if (row_count == 0) {
    (void)fprintf(stderr,
                  "ringbus-bench: nothing to measure: none of --only is a contender of these "
                  "benches, or can be had at these sizes here\n");
    return 2;
  }
  struct bench_results results = {
      .bench = &bench,
      .options = &options,
      .warnings = &warnings,
      .rows = calloc(row_count, sizeof *results.rows),
      .row_count = row_count,
      .samples = calloc((size_t)options.slices * row_count, sizeof *results.samples),
      .latency = calloc(row_count, sizeof *results.latency)};
  const unsigned rings = OWN + row_count;
  int *ring = calloc(rings, sizeof *ring);
  ringbus_producer **producers = calloc(rings, sizeof *producers);
  ringbus_consumer **consumers = calloc(rings, sizeof *consumers);
  if (!results.rows || !results.samples || !results.latency || !ring || !producers || !consumers)
    bench_fail("the results", -ENOMEM);
  (void)plan(&bench, &options, results.rows);
  for (unsigned i = 0; i < rings; i++)
    ring[i] = i < OWN                            ? make_ring(BENCH_RING)
              : has_ring(&results.rows[i - OWN]) ? make_ring(ring_bytes(&results.rows[i - OWN]))
                                                 : -1;
  make_peers(&results);

  bench_find_conditions("", &bench, &warnings);
  if (*bench_missing && !options.only[0])
    bench_warn(&warnings, "some peers are not built, for want of a package:%s", bench_missing);
  handle_signals();
  child = bench_fork();
  bench.leads = child != 0;
  if (bench.cpus > 1) {
    bench_pin(bench.cpu[bench.leads ? 0 : 1]);
    bench_compare_clocks(&bench);
  }
  take_ends(&bench, &channels, rings, ring, producers, consumers);
  if (!bench.leads) {
    walk(&bench, NULL, results.rows, row_count, options.slices, producers, consumers);
    bench_store(&shared->received, BENCH_END);
    for (;;)
      pause(); /* until the parent is done */
  }

  warn_of_ends(&bench, &warnings);
  bench_report_head(&results);
  walk(&bench, &results, results.rows, row_count, options.slices, producers, consumers);
  while (!stopped_by && bench_load(&shared->received) != BENCH_END)
    bench_idle(&bench);
  (void)alarm(0);
  (void)signal(SIGCHLD, SIG_DFL);
  (void)kill(child, SIGKILL);
  (void)waitpid(child, &status, 0);
  results.stopped_by = stopped_by;
  show_progress(&results, 0, 0);
  bench_report(&results);
  if (options.hgrm)
    bench_write_histograms(&results);
  const bool is_worse = earlier && bench_compare(&results, earlier);
  for (unsigned i = 0; i < rings; i++) {
    (void)ringbus_producer_detach(producers[i]);
    (void)ringbus_consumer_detach(consumers[i]);
  }
  free(ring);
  free(producers);
  free(consumers);
  for (unsigned row = 0; row < row_count; row++)
    for (unsigned state = 0; state < BENCH_STATES; state++)
      free(results.latency[row][state]);
  free(results.latency);
  free(results.samples);
  free(results.rows);
  cJSON_Delete(earlier);
  if (results.stopped_by)
    (void)fprintf(stderr, "ringbus-bench: stopped before the end\n");
  return results.stopped_by ? 128 + results.stopped_by : is_worse ? WORSE : 0;
}
