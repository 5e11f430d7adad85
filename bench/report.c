/* SPDX-License-Identifier: MIT */
/* report.c - what the slices have shown: tables, JSON, or CSV. */
#include "bench.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <unistd.h>

static int compare(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

/* The value below which this share of values lies, which are sorted first. */
static double quantile(double *values, size_t count, double share) {
  qsort(values, count, sizeof *values, compare);
  return values[(size_t)(share * (double)(count - 1) + 0.5)];
}

/* What the slices of one state say of one figure. */
struct summary {
  size_t slices;
  double median, low, high; /* and quartiles, of the samples' values */
  bool is_sure;
  double from, to;     /* if so, that is where the median is, with 95 % confidence */
  double second, late; /* medians of the samples' other values */
  const struct bench_histogram *latency;
};

static struct summary summarize(const struct bench_results *results, unsigned row,
                                enum bench_state state) {
  struct summary summary = {.latency = results->latency[row][state]};
  double *values = malloc(3 * (results->count + 1) * sizeof *values);
  if (!values)
    bench_fail("the report", -ENOMEM);
  double *seconds = values + results->count, *late = seconds + results->count;
  for (size_t i = 0; i < results->count; i++) {
    const struct bench_sample *sample = &results->samples[i];
    if (sample->row == row && sample->state == state) {
      values[summary.slices] = sample->value;
      seconds[summary.slices] = sample->second;
      late[summary.slices++] = sample->late;
    }
  }
  if (summary.slices) {
    summary.median = quantile(values, summary.slices, 0.5);
    summary.low = quantile(values, summary.slices, 0.25);
    summary.high = quantile(values, summary.slices, 0.75);
    unsigned from, to;
    summary.is_sure = bench_median_interval((unsigned)summary.slices, &from, &to);
    if (summary.is_sure) {
      summary.from = values[from]; /* sorted by now */
      summary.to = values[to];
    }
    summary.second = quantile(seconds, summary.slices, 0.5);
    summary.late = quantile(late, summary.slices, 0.5);
  }
  free(values);
  return summary;
}

/* Where on a curve, or in which column. */
static const struct bench_point *point_of(const struct bench_row *row) {
  return &bench_crowds[row->contender].points[row->point];
}

static uint32_t bytes_of(const struct bench_row *row) {
  return row->kind < BENCH_FAN_IN ? bench_size[row->size] : bench_crowd_bytes(point_of(row));
}

/* ---------------------------------------------------------------- tables */

/* Half of the distance between the quartiles, in percent of the median. */
static double spread(const struct summary *found) {
  return found->median > 0 ? 50 * (found->high - found->low) / found->median : 0;
}

static void print_cell(const struct summary *found) {
  if (found->slices)
    printf(" %5.3g±%2.0f%%", found->median, spread(found));
  else
    printf(" %9s", "-");
}

/* The name of a row begins a line if the row before it has another; the columns follow: message sizes, or
 * how many there are of those who are several. */
static void report_matrix(const struct bench_results *results, enum bench_kind kind,
                          enum bench_state state) {
  static const char *const head[BENCH_KINDS] = {
      [BENCH_THROUGHPUT] = "M messages/s; bytes",  [BENCH_FAN_IN] = "fan-in: writers",
      [BENCH_FAN_OUT] = "fan-out: readers of all", [BENCH_SHARED] = "shared: readers",
      [BENCH_OVERWRITE] = "overwrite: writers",
  };
  const int width = kind == BENCH_THROUGHPUT ? 19 : 25;
  const unsigned columns = kind == BENCH_THROUGHPUT ? BENCH_SIZES : BENCH_COLUMNS;
  bool has[BENCH_SIZES] = {false};
  for (unsigned i = 0; i < results->row_count; i++)
    if (results->rows[i].kind == kind)
      has[kind == BENCH_THROUGHPUT ? results->rows[i].size : results->rows[i].point] = true;
  printf("%-*s", width, head[kind]);
  for (unsigned column = 0; column < columns; column++) {
    char label[32];
    if (kind == BENCH_THROUGHPUT)
      (void)snprintf(label, sizeof label, "%u", bench_size[column]);
    else
      (void)snprintf(label, sizeof label, "%u%s", bench_columns[column].count,
                     bench_columns[column].count == 1 ? ""
                     : bench_columns[column].spread   ? " spread"
                                                      : " 1 core");
    if (has[column])
      printf(" %9s", label);
  }
  printf("\n");
  const unsigned contenders = kind == BENCH_THROUGHPUT ? bench_contender_count : bench_crowd_count;
  for (unsigned contender = 0; contender < contenders; contender++) {
    struct summary cell[BENCH_SIZES] = {{0}};
    const char *name = NULL; /* of those that have slices of this state */
    for (unsigned i = 0; i < results->row_count; i++) {
      const struct bench_row *row = &results->rows[i];
      if (row->kind != kind || row->contender != contender)
        continue;
      struct summary *found = &cell[kind == BENCH_THROUGHPUT ? row->size : row->point];
      *found = summarize(results, i, state);
      if (found->slices)
        name = row->name;
    }
    if (!name)
      continue;
    printf("%-*s", width, name);
    for (unsigned column = 0; column < columns; column++)
      if (has[column])
        print_cell(&cell[column]);
    printf("\n");
    if (kind != BENCH_OVERWRITE)
      continue;
    printf("%-*s", width, "    received, percent");
    for (unsigned column = 0; column < columns; column++)
      if (has[column] && cell[column].slices)
        printf(" %5.3g    ", cell[column].second);
      else if (has[column])
        printf(" %9s", "-");
    printf("\n");
  }
}

/* Nanoseconds, to three digits, in six columns: 161, 12.3u, 3.05m, 1.20s. */
static void print_time(double ns) {
  static const char unit[] = " ums";
  unsigned scale = 0;
  while (scale < 3 && ns >= 999.5) {
    ns /= 1000;
    scale++;
  }
  printf(" %5.*f%c", scale == 0 || ns >= 99.95 ? 0 : ns >= 9.995 ? 1 : 2, ns, unit[scale]);
}

/* One line for each contender, as far as there are slices of this state. */
static void report_latencies(const struct bench_results *results, enum bench_kind kind,
                             enum bench_state state) {
  static const char *const format[BENCH_KINDS] = {[BENCH_PINGPONG] = "%u B both ways",
                                                  [BENCH_WAKEUP] = "%u B, to a sleeper",
                                                  [BENCH_ATTACH] = "until the first %u B"};
  const int width = kind == BENCH_ATTACH ? 28 : 22;
  const struct bench_row *before = NULL;
  for (unsigned i = 0; i < results->row_count; i++) {
    const struct bench_row *row = &results->rows[i];
    const struct summary found = summarize(results, i, state);
    if (row->kind != kind || !found.slices)
      continue;
    if (!before || before->size != row->size || before->rate != row->rate) {
      char head[64];
      if (kind == BENCH_PACED)
        (void)snprintf(head, sizeof head, "%u B, %u/s", bytes_of(row), row->rate);
      else
        (void)snprintf(head, sizeof head, format[kind], bytes_of(row));
      printf("%-*s %10s %6s %6s %6s %6s", width, head, "p50", "p90", "p99", "p99.9", "max");
      printf(kind == BENCH_PACED ? " %6s %8s\n" : "\n", "late", "sent/s");
    }
    before = row;
    printf("%-*s", width, row->name);
    print_time(found.median);
    printf("±%2.0f%%", spread(&found));
    print_time(bench_percentile(found.latency, 0.9));
    print_time(bench_percentile(found.latency, 0.99));
    print_time(bench_percentile(found.latency, 0.999));
    print_time((double)found.latency->max);
    if (kind == BENCH_PACED) {
      print_time(found.late);
      printf(" %8.0f", found.second);
    }
    printf("\n");
  }
}

/* Publishing is too short for single messages to be timed. */
static void report_costs(const struct bench_results *results, enum bench_state state) {
  const struct bench_row *before = NULL;
  for (unsigned i = 0; i < results->row_count; i++) {
    const struct bench_row *row = &results->rows[i];
    const struct summary found = summarize(results, i, state);
    if (row->kind != BENCH_PUBLISH || !found.slices)
      continue;
    if (!before || before->size != row->size)
      printf("send %4u B, alone      ns a message\n", bytes_of(row));
    before = row;
    printf("%-22s", row->name);
    print_cell(&found);
    printf("\n");
  }
}

/* One line for each point of each curve. */
static void report_curves(const struct bench_results *results, enum bench_state state) {
  const char *before = NULL;
  for (unsigned i = 0; i < results->row_count; i++) {
    const struct bench_row *row = &results->rows[i];
    const struct summary found = summarize(results, i, state);
    if (row->kind != BENCH_CURVES || !found.slices)
      continue;
    if (row->name != before)
      printf("%-30s %9s %6s %9s %6s\n", row->name, "M/s", "bytes", "ring", "");
    before = row->name;
    const struct bench_point *point = point_of(row);
    printf("%29u%c", point->places ? point->places : point->count, ' ');
    print_cell(&found);
    printf(" %6u %9llu\n", bytes_of(row),
           (unsigned long long)(point->ring_bytes ? point->ring_bytes : BENCH_RING));
  }
}

static bool has_samples(const struct bench_results *results, enum bench_kind kind,
                        enum bench_state state) {
  for (size_t i = 0; i < results->count; i++)
    if (results->samples[i].state == state && results->rows[results->samples[i].row].kind == kind)
      return true;
  return false;
}

static void report_tables(const struct bench_results *results) {
  const bool *wanted = results->options->wanted;
  bool crowds = false;
  for (unsigned kind = BENCH_FAN_IN; kind < BENCH_CURVES; kind++)
    crowds |= wanted[kind];
  printf("Median of the slices, ± half of the distance between their quartiles.\n");
  if (wanted[BENCH_PINGPONG] || wanted[BENCH_PACED] || wanted[BENCH_WAKEUP] || wanted[BENCH_ATTACH])
    printf("p90 .. max: of all messages of these slices together; ns, u: microseconds, m: ms.\n");
  if (wanted[BENCH_ATTACH]) {
    size_t bytes[3];
    bench_handle_bytes(bytes);
    printf(
        "Attach: a handle of a ring takes %zu bytes of memory, of a producer %zu, of a consumer\n"
        "%zu.\n",
        bytes[0], bytes[1], bytes[2]);
  }
  if (wanted[BENCH_PACED])
    printf("Paced: from when a message was due to when it was there, one way; what the sender was\n"
           "late is in it: late is the 99th percentile of that, sent/s what it could send.\n");
  if (crowds)
    printf("From fan-in on: %u B, million messages received a second, by all readers together.\n"
           "Those who are several share one core, or are spread over all, that of the other side\n"
           "too.\n",
           BENCH_MESSAGE);
  if (wanted[BENCH_CURVES])
    printf(
        "Curves: million messages received a second, by all readers together, one in each call.\n");
  for (enum bench_state state = 0; state < BENCH_STATES; state++) {
    if (!results->slices[state])
      continue;
    printf("\n%s (%zu slices)\n", bench_state_name[state], results->slices[state]);
    for (enum bench_kind kind = 0; kind < BENCH_KINDS; kind++)
      if (has_samples(results, kind, state)) {
        printf("\n");
        if (kind == BENCH_PUBLISH)
          report_costs(results, state);
        else if (kind == BENCH_CURVES)
          report_curves(results, state);
        else if (bench_has_latency(kind))
          report_latencies(results, kind, state);
        else
          report_matrix(results, kind, state);
      }
  }
  printf(
      "\n%s: %zu slices during which the cores moved, %zu during which other processes took one.\n",
      results->options->with_disturbed ? "\"disturbed\" above" : "Thrown away", results->moved,
      results->disturbed);
}

/* ---------------------------------------------------------------- JSON and CSV */

/* The keys of a figure, in JSON and CSV alike: they stay as they are, and new ones come behind. */
enum key {
  BENCH,
  CONTENDER,
  BYTES,
  RATE,
  COUNT,
  SPREAD,
  STATE,
  SLICES,
  UNIT,
  MEDIAN,
  LOW,
  HIGH,
  SAMPLES,
  P50,
  P90,
  P99,
  P99_9,
  MAX,
  SENT_PER_S,
  LATE_P99,
  RECEIVED_PERCENT,
  MEDIAN_FROM,
  MEDIAN_TO,
  RING_BYTES,
  PLACES,
  KEYS
};
static const char *const key_name[KEYS] = {
    "bench",       "contender", "bytes",      "rate",  "count",      "spread",   "state",
    "slices",      "unit",      "median",     "low",   "high",       "samples",  "p50",
    "p90",         "p99",       "p99_9",      "max",   "sent_per_s", "late_p99", "received_percent",
    "median_from", "median_to", "ring_bytes", "places"};

/* A value is empty where a figure has none. */
struct value {
  bool is_text;
  char text[64];
};

static void set_text(struct value *value, const char *text) {
  value->is_text = true;
  (void)snprintf(value->text, sizeof value->text, "%s", text);
}

static void set_number(struct value *value, double number) {
  (void)snprintf(value->text, sizeof value->text, "%.*g", number >= 1e6 ? 12 : 6, number);
}

static bool figure(const struct bench_results *results, unsigned index, enum bench_state state,
                   struct value value[KEYS]) {
  const struct bench_row *row = &results->rows[index];
  const struct summary found = summarize(results, index, state);
  memset(value, 0, KEYS * sizeof *value);
  if (!found.slices)
    return false;
  set_text(&value[BENCH], bench_kind_name[row->kind]);
  set_text(&value[CONTENDER], row->name + strspn(row->name, " "));
  set_number(&value[BYTES], bytes_of(row));
  set_text(&value[STATE], bench_state_name[state]);
  set_number(&value[SLICES], (double)found.slices);
  set_text(&value[UNIT], bench_has_latency(row->kind) || row->kind == BENCH_PUBLISH
                             ? "ns"
                             : "million messages/s");
  set_number(&value[MEDIAN], found.median);
  set_number(&value[LOW], found.low);
  set_number(&value[HIGH], found.high);
  if (found.is_sure) {
    set_number(&value[MEDIAN_FROM], found.from);
    set_number(&value[MEDIAN_TO], found.to);
  }
  if (row->kind >= BENCH_FAN_IN) {
    set_number(&value[COUNT], point_of(row)->count);
    set_text(&value[SPREAD], point_of(row)->spread ? "all cores" : "one core");
  }
  if (row->kind == BENCH_CURVES) {
    const struct bench_point *point = point_of(row);
    set_number(&value[RING_BYTES], (double)(point->ring_bytes ? point->ring_bytes : BENCH_RING));
    if (point->places)
      set_number(&value[PLACES], point->places);
  }
  if (row->kind == BENCH_OVERWRITE)
    set_number(&value[RECEIVED_PERCENT], found.second);
  if (row->kind == BENCH_PACED) {
    set_number(&value[RATE], row->rate);
    set_number(&value[SENT_PER_S], found.second);
    set_number(&value[LATE_P99], found.late);
  }
  if (found.latency) {
    set_number(&value[SAMPLES], (double)found.latency->count);
    set_number(&value[P50], bench_percentile(found.latency, 0.5));
    set_number(&value[P90], bench_percentile(found.latency, 0.9));
    set_number(&value[P99], bench_percentile(found.latency, 0.99));
    set_number(&value[P99_9], bench_percentile(found.latency, 0.999));
    set_number(&value[MAX], (double)found.latency->max);
  }
  return true;
}

static void print_string(const char *text) {
  (void)putchar('"');
  for (; *text; text++)
    if (*text == '"' || *text == '\\')
      printf("\\%c", *text);
    else if ((unsigned char)*text < 0x20)
      printf("\\u%04x", (unsigned)(unsigned char)*text);
    else
      (void)putchar(*text);
  (void)putchar('"');
}

static void print_member(const char *name, const char *text) {
  printf("\"%s\":", name);
  print_string(text);
  printf(",");
}

static void report_json(const struct bench_results *results) {
  const struct bench *bench = results->bench;
  const struct bench_options *options = results->options;
  const char *separator = "";
  char cpu[128], kernel[128];
  bench_describe(cpu, kernel);
  printf("{");
  print_member("ringbus", ringbus_version());
  print_member("libatomic_ops", BENCH_ATOMIC_OPS);
  print_member("processor", cpu);
  print_member("kernel", kernel);
  print_member("compiler", BENCH_COMPILER);
  print_member("flags", BENCH_FLAGS);
  print_member("clock", bench_clock.counter ? "processor's counter" : "CLOCK_MONOTONIC");
  if (bench->cpus > 1) {
    printf("\"clocks_apart_ns\":[%lld,%lld],", (long long)bench->clock_low,
           (long long)bench->clock_high);
    print_member("placement", bench_placement("", bench->cpu[0], bench->cpu[1]));
  }
  printf("\"cpus\":[");
  for (unsigned i = 0; bench->cpus > 1 && i < bench->cpus; i++)
    printf("%s%d", i ? "," : "", bench->cpu[i]);
  printf("],\"options\":{\"slices\":%u,\"slice_ms\":%lld,\"hand_back\":\"%s\",\"disturbed\":%s,"
         "\"rates\":[",
         options->slices, (long long)(bench->slice_ns / 1000000),
         bench_hand_back_name[bench->hand_back], options->with_disturbed ? "true" : "false");
  for (unsigned i = 0; i < options->rates; i++)
    printf("%s%u", i ? "," : "", options->rate[i]);
  printf("]},\"warnings\":[");
  for (unsigned i = 0; i < results->warnings->count; i++) {
    printf("%s", i ? "," : "");
    print_string(results->warnings->text[i]);
  }
  size_t bytes[3];
  bench_handle_bytes(bytes);
  printf("],\"handle_bytes\":{\"ring\":%zu,\"producer\":%zu,\"consumer\":%zu}", bytes[0], bytes[1],
         bytes[2]);
  printf(",\"interrupted\":%s,\"moved_slices\":%zu,\"disturbed_slices\":%zu,\"results\":[",
         results->stopped_by ? "true" : "false", results->moved, results->disturbed);
  for (enum bench_state state = 0; state < BENCH_STATES; state++)
    for (unsigned i = 0; i < results->row_count; i++) {
      struct value value[KEYS];
      if (!figure(results, i, state, value))
        continue;
      printf("%s\n{", separator);
      for (enum key key = 0; key < KEYS; key++) {
        printf("%s\"%s\":", key ? "," : "", key_name[key]);
        if (value[key].is_text)
          print_string(value[key].text);
        else
          printf("%s", *value[key].text ? value[key].text : "null");
      }
      printf("}");
      separator = ",";
    }
  printf("]}\n");
}

static void report_csv(const struct bench_results *results) {
  for (enum key key = 0; key < KEYS; key++)
    printf("%s%s", key ? "," : "", key_name[key]);
  printf("\n");
  for (enum bench_state state = 0; state < BENCH_STATES; state++)
    for (unsigned i = 0; i < results->row_count; i++) {
      struct value value[KEYS];
      if (!figure(results, i, state, value))
        continue;
      for (enum key key = 0; key < KEYS; key++) /* some names have commas, none has quotes */
        printf(value[key].is_text ? "%s\"%s\"" : "%s%s", key ? "," : "", value[key].text);
      printf("\n");
    }
}

/* ---------------------------------------------------------------- an earlier run */

static cJSON *figures_of(const cJSON *run) {
  cJSON *figures = cJSON_GetObjectItemCaseSensitive(run, "results");
  return cJSON_IsArray(figures) ? figures : NULL;
}

cJSON *bench_read_run(const char *path) {
  char *text = NULL;
  size_t length = 0;
  FILE *file = fopen(path, "re");
  if (!file || (getdelim(&text, &length, '\0', file) < 0 && ferror(file))) {
    (void)fprintf(stderr, "ringbus-bench: --compare: reading %s: %s\n", path, strerror(errno));
    exit(1);
  }
  cJSON *run = cJSON_Parse(text ? text : "");
  if (!figures_of(run)) {
    (void)fprintf(stderr, "ringbus-bench: --compare: %s is not what --json has written\n", path);
    exit(1);
  }
  free(text);
  (void)fclose(file);
  return run;
}

/* Whether a figure of that run is of the same as this one, in the same state of the machine. */
static bool is_of_same(const cJSON *old, const struct value value[KEYS]) {
  static const enum key what[] = {BENCH,  CONTENDER, BYTES,      RATE,  COUNT,
                                  SPREAD, STATE,     RING_BYTES, PLACES};
  for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(old, key_name[what[i]]);
    const struct value *now = &value[what[i]];
    if (now->is_text
            ? !cJSON_IsString(item) || strcmp(item->valuestring, now->text) != 0
            : (*now->text ? !cJSON_IsNumber(item) || item->valuedouble != strtod(now->text, NULL)
                          : item && !cJSON_IsNull(item)))
      return false;
  }
  return true;
}

static bool is_of_ringbus(const struct bench_row *row) {
  const char *name = row->name + strspn(row->name, " ");
  return row->kind == BENCH_PUBLISH || strncmp(name, "ringbus", 7) == 0 ||
         strncmp(name, "the same", 8) == 0 ||
         (row->kind == BENCH_ATTACH && strncmp(name, "bare", 4) != 0);
}

static double number_in(const cJSON *figure, enum key key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(figure, key_name[key]);
  return cJSON_IsNumber(item) ? item->valuedouble : -1;
}

static void print_change(FILE *to, const struct value value[KEYS], const cJSON *old) {
  const double before = number_in(old, MEDIAN), now = strtod(value[MEDIAN].text, NULL);
  (void)fprintf(to, "%s, %s, %s B", value[BENCH].text, value[CONTENDER].text, value[BYTES].text);
  if (*value[RATE].text)
    (void)fprintf(to, ", %s/s", value[RATE].text);
  if (*value[COUNT].text)
    (void)fprintf(to, ", %s on %s", value[COUNT].text, value[SPREAD].text);
  (void)fprintf(to, ", %s: %.6g [%.6g, %.6g] -> %.6g [%.6g, %.6g] %s, %+.1f %%\n",
                value[STATE].text, before, number_in(old, MEDIAN_FROM), number_in(old, MEDIAN_TO),
                now, strtod(value[MEDIAN_FROM].text, NULL), strtod(value[MEDIAN_TO].text, NULL),
                value[UNIT].text, 100 * (now - before) / before);
}

bool bench_compare(const struct bench_results *results, const cJSON *run) {
  FILE *to = results->options->format == BENCH_TABLES ? stdout : stderr;
  unsigned compared = 0, others = 0, others_changed = 0, worse = 0, better = 0;
  (void)fprintf(to, "\nBeside the earlier run, in the same state, what differs by more than both "
                    "95 %% intervals:\n");
  for (enum bench_state state = 0; state < BENCH_DISTURBED; state++)
    for (unsigned i = 0; i < results->row_count; i++) {
      struct value value[KEYS];
      const cJSON *old = NULL;
      if (!figure(results, i, state, value) || !*value[MEDIAN_FROM].text)
        continue;
      cJSON_ArrayForEach(old, figures_of(run)) if (is_of_same(old, value)) break;
      if (!old || number_in(old, MEDIAN_FROM) < 0 || number_in(old, MEDIAN_TO) < 0 ||
          number_in(old, MEDIAN) <= 0)
        continue;
      const bool own = is_of_ringbus(&results->rows[i]);
      const bool more = strtod(value[MEDIAN_FROM].text, NULL) > number_in(old, MEDIAN_TO);
      const bool less = strtod(value[MEDIAN_TO].text, NULL) < number_in(old, MEDIAN_FROM);
      compared++;
      others += !own;
      if (!more && !less)
        continue;
      print_change(to, value, old);
      others_changed += !own;
      worse += own && more == (strcmp(value[UNIT].text, "ns") == 0);
      better += own && more != (strcmp(value[UNIT].text, "ns") == 0);
    }
  (void)fprintf(to,
                "%u figures compared; of ringbus %u are worse, %u better; of the others, %u of %u "
                "changed%s\n",
                compared, worse, better, others_changed, others,
                10 * others_changed > others ? ": this is not the machine that it was" : "");
  bench_print_end();
  return worse > 0;
}

/* ---------------------------------------------------------------- files for plots */

/* A name of a file: the figure's, with dashes for all that is neither letter nor digit. */
static void dash(char *name, size_t size, const char *text) {
  size_t length = 0;
  for (bool pending = false; *text && length + 2 < size; text++) {
    const bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                       (*text >= '0' && *text <= '9');
    if (plain && pending)
      name[length++] = '-';
    if (plain)
      name[length++] = *text;
    pending = !plain && length > 0;
  }
  name[length] = '\0';
}

void bench_write_histograms(const struct bench_results *results) {
  for (enum bench_state state = 0; state < BENCH_STATES; state++)
    for (unsigned i = 0; i < results->row_count; i++) {
      const struct bench_row *row = &results->rows[i];
      char path[4096], name[64], rate[16], in[16];
      if (!results->latency[i][state])
        continue;
      dash(name, sizeof name, row->name);
      *rate = '\0';
      if (row->rate)
        (void)snprintf(rate, sizeof rate, "-%u", row->rate);
      dash(in, sizeof in, bench_state_name[state]);
      (void)snprintf(path, sizeof path, "%s/%s-%s-%uB%s-%s.hgrm", results->options->hgrm,
                     bench_kind_name[row->kind], name, bytes_of(row), rate, in);
      FILE *file = fopen(path, "we");
      if (file)
        bench_write_percentiles(results->latency[i][state], file);
      if (!file || ferror(file) || fclose(file) != 0) {
        (void)fprintf(stderr, "ringbus-bench: writing %s: %s\n", path, strerror(errno));
        _exit(1);
      }
    }
}

/* ---------------------------------------------------------------- all */

void bench_print_end(void) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout))
    return;
  (void)fprintf(stderr, "ringbus-bench: writing to standard output: %s\n",
                strerror(errno ? errno : EIO));
  _exit(1); /* the other processes go with this one */
}

static void report_head(const struct bench_results *results) {
  const struct bench *bench = results->bench;
  char cpu[128], kernel[128];
  bench_describe(cpu, kernel);
  printf("ringbus %s (calls inlined), libatomic_ops %s\n%s, %s\n%s, %s\n", ringbus_version(),
         BENCH_ATOMIC_OPS, cpu, kernel, BENCH_COMPILER, BENCH_FLAGS);
  if (bench->cpus > 1) {
    printf("Producer on CPU %d, consumer on CPU %d: %s. ", bench->cpu[0], bench->cpu[1],
           bench_placement("", bench->cpu[0], bench->cpu[1]));
    printf("States by the round trip of one\ncache line: nearest < 95 ns, near < 170 ns, far.\n");
  }
  printf("Clock: %s", bench_clock.counter ? "the processor's counter" : "CLOCK_MONOTONIC");
  if (bench->cpus > 1)
    printf(", the consumer's ahead by %lld to %lld ns", (long long)bench->clock_low,
           (long long)bench->clock_high);
  printf(
      ".\nRings and blocks of 1 MiB, of 16 MiB for messages of %u B; %u slices of %lld ms for each "
      "figure.\n",
      BENCH_MAX_MESSAGE, results->options->slices, (long long)(bench->slice_ns / 1000000));
}

/* Warnings go where they are seen, whatever standard output is. */
void bench_report_head(const struct bench_results *results) {
  if (results->options->format == BENCH_TABLES)
    report_head(results);
  bench_print_end();
  for (unsigned i = 0; i < results->warnings->count; i++)
    (void)fprintf(stderr, "ringbus-bench: warning: %s\n", results->warnings->text[i]);
}

void bench_report(const struct bench_results *results) {
  if (results->options->format == BENCH_JSON)
    report_json(results);
  else if (results->options->format == BENCH_CSV)
    report_csv(results);
  else
    report_tables(results);
  bench_print_end();
  if (results->count == 0)
    (void)fprintf(stderr,
                  "ringbus-bench: no slice was left: the machine was never quiet for as long "
                  "as one; shorter ones (--slice-ms), or --disturbed?\n");
}
