/* SPDX-License-Identifier: MIT */
/* report.c - what the slices have shown: tables, or JSON. */
#include "bench.h"

#include <stdlib.h>

const char *const bench_kind_name[BENCH_KINDS] = {"throughput", "pingpong", "fan-in",
                                                  "fan-out",    "shared",   "overwrite"};

static int compare(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

double bench_quantile(double *values, size_t count, double share) {
  qsort(values, count, sizeof *values, compare);
  return values[(size_t)(share * (double)(count - 1) + 0.5)];
}

struct summary {
  size_t slices;
  double median, low, high;
  double second; /* median of the samples' second value */
};

/* What a table is of. */
struct view {
  const struct bench *bench;
  const struct bench_results *results;
  enum bench_state state;
};

static struct summary summarize(const struct view *view, enum bench_kind kind, unsigned contender,
                                unsigned column) {
  const struct bench_results *results = view->results;
  double *values = malloc(2 * (results->count + 1) * sizeof *values);
  double *seconds = values ? values + results->count : NULL;
  struct summary summary = {0};
  if (!values)
    bench_fail("the report", -ENOMEM);
  for (size_t i = 0; i < results->count; i++) {
    const struct bench_sample *sample = &results->samples[i];
    if (sample->kind == kind && sample->contender == contender && sample->column == column &&
        sample->state == view->state) {
      values[summary.slices] = sample->value[0];
      seconds[summary.slices++] = sample->value[1];
    }
  }
  if (summary.slices) {
    summary.median = bench_quantile(values, summary.slices, 0.5);
    summary.low = bench_quantile(values, summary.slices, 0.1);
    summary.high = bench_quantile(values, summary.slices, 0.9);
    summary.second = bench_quantile(seconds, summary.slices, 0.5);
  }
  free(values);
  return summary;
}

/* ---------------------------------------------------------------- tables */

static void print_cell(const struct summary *found) {
  if (found->slices)
    printf("  %6.4g [%5.3g .. %5.3g]", found->median, found->low, found->high);
  else
    printf("  %22s", "-");
}

static void report_throughput(const struct view *view) {
  printf("  %-24s", "million messages/s");
  for (unsigned size = 0; size < BENCH_SIZES; size++)
    printf("  %18u B  ", bench_size[size]);
  printf("\n");
  for (unsigned i = 0; i < bench_contender_count; i++) {
    printf("  %-24s", bench_contenders[i].name);
    for (unsigned size = 0; size < BENCH_SIZES; size++) {
      struct summary found = summarize(view, BENCH_THROUGHPUT, i, size);
      print_cell(&found);
    }
    printf("\n");
  }
}

static void report_round_trips(const struct view *view) {
  printf("  round trip, %u B, ns\n", BENCH_MESSAGE);
  for (unsigned i = 0; i < bench_round_trip_count; i++) {
    struct summary found = summarize(view, BENCH_PINGPONG, i, 0);
    if (found.slices)
      printf("  %-24s  p50 %.0f [%.0f .. %.0f]  p99 %.0f\n", bench_round_trips[i].name,
             found.median, found.low, found.high, found.second);
  }
}

/* Whether any contender of this kind has that column. */
static bool has_column(const struct view *view, enum bench_kind kind, unsigned column) {
  bool has = false;
  for (unsigned i = 0; i < bench_crowd_count; i++)
    has |= bench_crowds[i].kind == kind && bench_crowd_has(view->bench, &bench_crowds[i], column);
  return has;
}

static void report_crowd(const struct view *view, unsigned contender) {
  const struct bench_crowd *crowd = &bench_crowds[contender];
  printf("  %-24s", crowd->name);
  for (unsigned column = 0; column < BENCH_COLUMNS; column++) {
    struct summary found = summarize(view, crowd->kind, contender, column);
    if (has_column(view, crowd->kind, column))
      print_cell(&found);
  }
  printf("\n");
  if (crowd->kind != BENCH_OVERWRITE)
    return;
  printf("  %-24s", "    received, percent");
  for (unsigned column = 0; column < BENCH_COLUMNS; column++) {
    struct summary found = summarize(view, crowd->kind, contender, column);
    if (found.slices)
      printf("  %6.3g%16s", found.second, "");
    else if (has_column(view, crowd->kind, column))
      printf("  %22s", "-");
  }
  printf("\n");
}

static void report_crowds(const struct view *view, enum bench_kind kind) {
  static const char *const head[BENCH_KINDS] = {
      [BENCH_FAN_IN] = "fan-in: writers",
      [BENCH_FAN_OUT] = "fan-out: readers of all",
      [BENCH_SHARED] = "shared: readers",
      [BENCH_OVERWRITE] = "overwrite: writers",
  };
  printf("  %-24s", head[kind]);
  for (unsigned column = 0; column < BENCH_COLUMNS; column++) {
    const struct bench_column *is = &bench_columns[column];
    char label[32];
    (void)snprintf(label, sizeof label, "%u%s", is->count,
                   is->count == 1 ? ""
                   : is->spread   ? ", spread"
                                  : ", one core");
    if (has_column(view, kind, column))
      printf("  %20s  ", label);
  }
  printf("\n");
  for (unsigned i = 0; i < bench_crowd_count; i++)
    if (bench_crowds[i].kind == kind)
      report_crowd(view, i);
}

static void report_tables(const struct bench *bench, const struct bench_results *results) {
  bool crowds = false;
  for (unsigned kind = BENCH_FAN_IN; kind < BENCH_KINDS; kind++)
    crowds |= results->wanted[kind];
  if (results->wanted[BENCH_THROUGHPUT])
    printf("One column per message size. ");
  printf("Median of the slices, in brackets their 10th and 90th percentile.\n");
  if (crowds)
    printf("From fan-in on: %u B, million messages received a second, by all readers together.\n"
           "Those who are several share one core, or are spread over all, that of the other side "
           "too.\n",
           BENCH_MESSAGE);
  for (enum bench_state state = 0; state < BENCH_STATES; state++) {
    const struct view view = {bench, results, state};
    if (!results->slices[state])
      continue;
    printf("\n%s (%zu slices)\n", bench_state_name[state], results->slices[state]);
    if (results->wanted[BENCH_THROUGHPUT])
      report_throughput(&view);
    if (results->wanted[BENCH_PINGPONG])
      report_round_trips(&view);
    for (enum bench_kind kind = BENCH_FAN_IN; kind < BENCH_KINDS; kind++)
      if (results->wanted[kind])
        report_crowds(&view, kind);
  }
  printf("\nThrown away: %zu slices because the cores moved meanwhile.\n", results->moved);
  printf("%zu slices in which other processes took a core%s.\n", results->disturbed,
         results->slices[BENCH_DISTURBED] ? " are \"disturbed\" above" : " were thrown away, too");
}

/* ---------------------------------------------------------------- JSON */

/* The names of contenders and of flags hold nothing that JSON would have to escape. */
static void print_json(const struct view *view, enum bench_kind kind, unsigned contender,
                       unsigned column, const char **separator) {
  const struct summary found = summarize(view, kind, contender, column);
  const char *name = kind == BENCH_THROUGHPUT ? bench_contenders[contender].name
                     : kind == BENCH_PINGPONG ? bench_round_trips[contender].name
                                              : bench_crowds[contender].name;
  unsigned bytes = kind == BENCH_THROUGHPUT ? bench_size[column] : BENCH_MESSAGE;
  if (!found.slices)
    return;
  printf("%s\n{\"bench\":\"%s\",\"contender\":\"%s\",\"message_bytes\":%u,\"state\":\"%s\","
         "\"slices\":%zu,",
         *separator, bench_kind_name[kind], name, bytes, bench_state_name[view->state],
         found.slices);
  if (kind >= BENCH_FAN_IN)
    printf("\"count\":%u,\"spread\":%s,", bench_columns[column].count,
           bench_columns[column].spread ? "true" : "false");
  if (kind == BENCH_OVERWRITE)
    printf("\"received_percent\":%.4g,", found.second);
  if (kind == BENCH_PINGPONG)
    printf("\"unit\":\"ns\",\"p50\":%.1f,\"p50_low\":%.1f,\"p50_high\":%.1f,\"p99\":%.1f}",
           found.median, found.low, found.high, found.second);
  else
    printf("\"unit\":\"million messages/s\",\"median\":%.6g,\"p10\":%.6g,\"p90\":%.6g}",
           found.median, found.low, found.high);
  *separator = ",";
}

static void report_json(const struct bench *bench, const struct bench_results *results) {
  const char *separator = "";
  printf("\"moved_slices\":%zu,\"disturbed_slices\":%zu,\"results\":[", results->moved,
         results->disturbed);
  for (enum bench_state state = 0; state < BENCH_STATES; state++) {
    const struct view view = {bench, results, state};
    for (unsigned i = 0; i < bench_contender_count; i++)
      for (unsigned size = 0; size < BENCH_SIZES; size++)
        print_json(&view, BENCH_THROUGHPUT, i, size, &separator);
    for (unsigned i = 0; i < bench_round_trip_count; i++)
      print_json(&view, BENCH_PINGPONG, i, 0, &separator);
    for (unsigned i = 0; i < bench_crowd_count; i++)
      for (unsigned column = 0; column < BENCH_COLUMNS; column++)
        print_json(&view, bench_crowds[i].kind, i, column, &separator);
  }
  printf("]}\n");
}

/* ---------------------------------------------------------------- both */

void bench_report_head(const struct bench *bench, bool json) {
  char cpu[128], kernel[128];
  bench_describe(cpu, kernel);
  if (json) {
    printf("{\"ringbus\":\"%s\",\"cpu\":\"%s\",\"kernel\":\"%s\",\"compiler\":\"%s\","
           "\"flags\":\"%s\",\"cores\":%u,",
           ringbus_version(), cpu, kernel, BENCH_COMPILER, BENCH_FLAGS, bench->cpus);
    (void)fflush(stdout); /* nothing is left for a child to print once more */
    return;
  }
  printf("ringbus %s, %s, %s\n%s, %s\n", ringbus_version(), cpu, kernel, BENCH_COMPILER,
         BENCH_FLAGS);
  if (bench->cpus == 1)
    printf("One core: nothing is pinned, whoever waits yields; these figures say little.\n");
  else
    printf("Producer on CPU %d, consumer on CPU %d. States by the round trip of one cache line: "
           "nearest < 95 ns, near < 170 ns, far.\n",
           bench->cpu[0], bench->cpu[1]);
  printf("Rings and blocks of 1 MiB, of 16 MiB for messages of %u B.\n", BENCH_MAX_MESSAGE);
  (void)fflush(stdout);
}

void bench_report(const struct bench *bench, const struct bench_results *results, bool json) {
  if (json)
    report_json(bench, results);
  else
    report_tables(bench, results);
}
