/* SPDX-License-Identifier: MIT */
/* options.c - what is asked for. */
#include "bench.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>

const char *const bench_kind_name[BENCH_KINDS] = {"throughput", "pingpong",  "paced",  "wakeup",
                                                  "publish",    "attach",    "fan-in", "fan-out",
                                                  "shared",     "overwrite", "curves"};
const char *const bench_hand_back_name[] = {"default", "never", "store", "locked"};

static const char usage[] =
    "usage: ringbus-bench [BENCH]... [option]...\n"
    "  What a message costs between processes. All benches but curves by default:\n"
    "  throughput        one producer, one consumer, each on its own core\n"
    "  pingpong          there and back\n"
    "  paced             one way, sent at a given rate: from when it was due to when it was there\n"
    "  wakeup            one way, to a consumer that sleeps\n"
    "  publish           what sending costs the producer, by what it does for consumers that might "
    "sleep\n"
    "  attach            from opening a ring to the first message\n"
    "  fan-in            1, 2 and 4 writers into one ring\n"
    "  fan-out           1, 2 and 4 readers, each of all messages\n"
    "  shared            1 and 2 readers, each message to one of them\n"
    "  overwrite         1 and 2 writers that never wait, and a reader beside them\n"
    "  curves            throughput by size of ring, size of message, groups, producers, places "
    "for\n"
    "                    participants\n"
    "  --sizes N,...     of messages, bytes: some of 8, 64, 256, 1024, 4096, 65536 (default:\n"
    "                    throughput all, else 64; from publish on it is always 64)\n"
    "  --only NAME,...   contenders whose names begin so, such as ringbus,floor (default: all)\n"
    "  --rate N,...      paced: messages a second (default 10000,100000,1000000)\n"
    "  --slices N        slices of each figure (default 20)\n"
    "  --slice-ms N      length of a slice (default 30); four times that from fan-in on\n"
    "  --cpus A,B,...    pin there: producer, consumer, and, from fan-in on, over how many cores\n"
    "                    to spread who are several (default: the first two allowed)\n"
    "  --hand-back HOW   how the consumer hands lines back: default, never, store, locked\n"
    "  --disturbed       report the slices that are otherwise thrown away, too, by themselves: "
    "other\n"
    "                    processes took a core, or the cores moved\n"
    "  --compare FILE    tell what differs from an earlier run, of which FILE is the --json; ends "
    "with\n"
    "                    3 if something of ringbus is worse\n"
    "  --hgrm DIR        write percentiles of latencies there, as HdrHistogram's plotter reads "
    "them\n"
    "  --json            one JSON object instead of tables\n"
    "  --csv             one line for each figure instead of tables\n"
    "  --help            this text\n"
    "Checked in every message: its number in the first 8 bytes, and from 16 bytes on its "
    "complement\n"
    "in the last 8; in every 1024th each word. A message that is lost,\n"
    "torn, repeated or out of order ends the run with an error. man ringbus-bench tells how to "
    "read\n"
    "the figures.\n";

static void refuse(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void refuse(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)fputs("ringbus-bench: ", stderr);
  (void)vfprintf(stderr, format, arguments);
  (void)fputs(" (--help tells more)\n", stderr);
  va_end(arguments);
  exit(2);
}

static unsigned parse_number(const char *option, const char *text, unsigned long min,
                             unsigned long max) {
  char *end;
  errno = 0;
  unsigned long number = strtoul(text, &end, 10);
  if (*end || end == text || *text < '0' || *text > '9' || errno || number < min || number > max)
    refuse("--%s takes a number from %lu to %lu, not '%s'", option, min, max, text);
  return (unsigned)number;
}

/* The next of what commas separate, and where the one after it begins, or NULL. */
static char *next_of(char **list) {
  char *item = *list, *comma = strchr(item, ',');
  if (comma)
    *comma = '\0';
  *list = comma ? comma + 1 : NULL;
  return item;
}

static void parse_cpus(char *list, struct bench *bench) {
  bench->cpus = 0;
  while (list) {
    if (bench->cpus == BENCH_MAX_CPUS)
      refuse("--cpus takes at most %d CPUs", BENCH_MAX_CPUS);
    bench->cpu[bench->cpus++] = (int)parse_number("cpus", next_of(&list), 0, CPU_SETSIZE - 1);
  }
  if (bench->cpus == 1)
    refuse("--cpus takes two CPUs or more: of the producer, of the consumer");
  for (unsigned i = 0; i < bench->cpus; i++)
    if (!bench_may_use(bench->cpu[i]))
      refuse("--cpus: this process may not use CPU %d, or there is none", bench->cpu[i]);
  if (bench->cpu[0] == bench->cpu[1])
    bench->cpus = 1;
}

static void parse_sizes(char *list, struct bench_options *options) {
  options->sizes_given = true;
  while (list) {
    const char *item = next_of(&list);
    bool known = false;
    for (unsigned i = 0; i < BENCH_SIZES; i++) {
      char name[16];
      (void)snprintf(name, sizeof name, "%u", bench_size[i]);
      if (strcmp(item, name) == 0)
        options->size[i] = known = true;
    }
    if (!known)
      refuse("--sizes takes some of 8,64,256,1024,4096,65536, not '%s'", item);
  }
}

static void parse_rates(char *list, struct bench_options *options) {
  options->rates = 0;
  while (list) {
    if (options->rates == BENCH_MAX_RATES)
      refuse("--rate takes at most %d rates", BENCH_MAX_RATES);
    options->rate[options->rates++] = parse_number("rate", next_of(&list), 1, 100000000);
  }
}

static bool begins(const char *name, const char *with) {
  return strncmp(name + strspn(name, " "), with, strlen(with)) == 0;
}

static bool is_known(const char *beginning) {
  bool known = false;
  for (unsigned i = 0; i < bench_contender_count; i++)
    known |= begins(bench_contender[i]->name, beginning);
  for (unsigned i = 0; i < bench_crowd_count; i++)
    known |= begins(bench_crowds[i].name, beginning);
  return known && *beginning;
}

/* Some names have commas: an item is as long as one begins so. */
static void parse_only(char *list, struct bench_options *options) {
  for (unsigned i = 0; list; i++) {
    char *item = list, *comma = item + strlen(item), *cut = NULL;
    while (!is_known(item)) {
      if (cut)
        *cut = ',';
      while (comma > item && *comma != ',')
        comma--;
      if (comma == item)
        refuse("--only takes beginnings of contenders' names, as the tables have them; none "
               "begins with '%s'",
               next_of(&list));
      cut = comma--;
      *cut = '\0';
    }
    if (i == BENCH_MAX_ONLY)
      refuse("--only takes at most %d names", BENCH_MAX_ONLY);
    options->only[i] = item;
    list = cut ? cut + 1 : NULL;
  }
}

bool bench_wants(const struct bench_options *options, const char *name) {
  for (unsigned i = 0; i < BENCH_MAX_ONLY && options->only[i]; i++)
    if (begins(name, options->only[i]))
      return true;
  return !options->only[0];
}

static unsigned choose(const char *name, const char *const names[], unsigned count,
                       const char *what) {
  for (unsigned i = 0; i < count; i++)
    if (strcmp(name, names[i]) == 0)
      return i;
  refuse("%s, not '%s'", what, name);
}

struct bench_options bench_parse(int argc, char **argv, struct bench *bench) {
  static const struct option known[] = {{"slices", required_argument, NULL, 's'},
                                        {"slice-ms", required_argument, NULL, 'm'},
                                        {"sizes", required_argument, NULL, 'z'},
                                        {"only", required_argument, NULL, 'o'},
                                        {"rate", required_argument, NULL, 'r'},
                                        {"cpus", required_argument, NULL, 'c'},
                                        {"hand-back", required_argument, NULL, 'b'},
                                        {"disturbed", no_argument, NULL, 'd'},
                                        {"compare", required_argument, NULL, 'p'},
                                        {"hgrm", required_argument, NULL, 'g'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"csv", no_argument, NULL, 'v'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  struct bench_options options = {.slices = 20, .rate = {10000, 100000, 1000000}, .rates = 3};
  int option;
  bench->slice_ns = 30000000;
  bench->cpus = bench_find_cpus(bench->cpu);
  opterr = 0;
  while ((option = getopt_long(argc, argv, ":", known, NULL)) != -1)
    switch (option) {
    case 's':
      options.slices = parse_number("slices", optarg, 1, 100000);
      break;
    case 'm':
      bench->slice_ns = parse_number("slice-ms", optarg, 1, 60000) * INT64_C(1000000);
      break;
    case 'z':
      parse_sizes(optarg, &options);
      break;
    case 'o':
      parse_only(optarg, &options);
      break;
    case 'r':
      parse_rates(optarg, &options);
      break;
    case 'c':
      parse_cpus(optarg, bench);
      break;
    case 'b':
      bench->hand_back = (enum ringbus_hand_back)choose(
          optarg, bench_hand_back_name, 4, "--hand-back takes default, never, store or locked");
      break;
    case 'd':
      options.with_disturbed = true;
      break;
    case 'p':
      options.compare = optarg;
      break;
    case 'g':
      options.hgrm = optarg;
      break;
    case 'j':
    case 'v':
      if (options.format != BENCH_TABLES)
        refuse("one of --json and --csv, and once");
      options.format = option == 'j' ? BENCH_JSON : BENCH_CSV;
      break;
    case 'h':
      (void)fputs(usage, stdout);
      bench_print_end();
      exit(0);
    case ':':
      refuse("%s takes a value", argv[optind - 1]);
    default:
      refuse("'%s' is no option, or takes no value", argv[optind - 1]);
    }
  for (unsigned kind = 0; kind < BENCH_KINDS; kind++)
    options.wanted[kind] = optind == argc && kind != BENCH_CURVES;
  for (; optind < argc; optind++)
    options
        .wanted[choose(argv[optind], bench_kind_name, BENCH_KINDS,
                       "a bench is throughput, pingpong, paced, wakeup, publish, attach, fan-in, "
                       "fan-out, shared, overwrite or curves")] = true;
  bench->shares_core = bench->cpus == 1;
  return options;
}
