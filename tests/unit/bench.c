/* SPDX-License-Identifier: MIT */
/* bench.c - what ringbus-bench computes: percentiles, how sure a median is, and warnings of what spoils figures, from made-up
 * copies of /proc and /sys. */
#include "suite.h"

#include <math.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "../../bench/bench.h"

struct bench_clock bench_clock = {.counter = true};

/* ---------------------------------------------------------------- histogram */

static struct bench_histogram histogram, other;

Test(histogram, an_empty_one_has_percentiles_of_nothing) {
  cr_assert_eq(bench_percentile(&histogram, 0.5), 0);
  cr_assert_eq(histogram.max, 0);
}

Test(histogram, every_value_is_kept_to_three_digits) {
  for (int64_t value = 1; value < INT64_C(1) << BENCH_VALUE_BITS; value += value / 777 + 1) {
    bench_clear(&histogram);
    bench_record(&histogram, value);
    bench_record(&histogram, INT64_C(1) << BENCH_VALUE_BITS); /* or the maximum would be told */
    const double found = bench_percentile(&histogram, 0.5);
    cr_assert(fabs(found - (double)value) <= (double)value / 2000, "%lld is kept as %f",
              (long long)value, found);
  }
}

Test(histogram, percentiles_are_those_of_the_sorted_values) {
  for (int64_t value = 1; value <= 1000; value++)
    bench_record(&histogram, value);
  cr_assert_eq(bench_percentile(&histogram, 0), 1);
  cr_assert_eq(bench_percentile(&histogram, 0.5), 500);
  cr_assert_eq(bench_percentile(&histogram, 0.9), 900);
  cr_assert_eq(bench_percentile(&histogram, 0.99), 990);
  cr_assert_eq(bench_percentile(&histogram, 0.999), 999);
  cr_assert_eq(bench_percentile(&histogram, 1), 1000);
  cr_assert_eq(histogram.max, 1000);
}

Test(histogram, two_merged_are_one_of_all_values) {
  for (int64_t value = 1; value <= 500; value++) {
    bench_record(&histogram, value);
    bench_record(&other, value + 500);
  }
  bench_merge(&histogram, &other);
  cr_assert_eq(histogram.count, 1000);
  cr_assert_eq(histogram.max, 1000);
  cr_assert_eq(bench_percentile(&histogram, 0.9), 900);
}

Test(histogram, what_is_out_of_range_is_counted_at_the_edge_and_the_maximum_is_exact) {
  bench_record(&histogram, -5);
  bench_record(&histogram, INT64_MAX);
  cr_assert_eq(histogram.count, 2);
  cr_assert_eq(bench_percentile(&histogram, 0.5), 0);
  cr_assert(bench_percentile(&histogram, 1) > 1e11);
  cr_assert_eq(histogram.max, INT64_MAX);
}

static void read_back(char text[], size_t size) {
  FILE *file = tmpfile();
  cr_assert_not_null(file);
  bench_write_percentiles(&histogram, file);
  rewind(file);
  text[fread(text, 1, size - 1, file)] = '\0';
  (void)fclose(file);
}

Test(histogram, percentiles_are_written_in_the_form_of_hdrhistogram) {
  static char text[16384];
  for (int64_t value = 1; value <= 1000; value++)
    bench_record(&histogram, value);
  read_back(text, sizeof text);
  const char *lines[] = {"       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
                         "       1.000 0.000000000000          1           1.00\n"
                         "     100.000 0.100000000000        100           1.11\n",
                         "     500.000 0.500000000000        500           2.00\n"
                         "     550.000 0.550000000000        550           2.22\n",
                         "     750.000 0.750000000000        750           4.00\n"
                         "     775.000 0.775000000000        775           4.44\n",
                         "    1000.000 1.000000000000       1000\n"
                         "#[Mean    =      500.500, StdDeviation   =      288.675]\n"
                         "#[Max     =     1000.000, Total count    =         1000]\n"
                         "#[Buckets =           27, SubBuckets     =         2048]\n"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
    cr_assert_not_null(strstr(text, lines[i]), "not there: %s\nin: %s", lines[i], text);
  cr_assert_eq(strncmp(text, lines[0], strlen(lines[0])), 0);
}

Test(histogram, an_empty_one_is_written_without_percentiles) {
  static char text[1024];
  read_back(text, sizeof text);
  cr_assert_not_null(strstr(text, "Total count    =            0]"));
  cr_assert_null(strstr(text, "nan"));
}

/* Ranks from tables of confidence intervals for medians, and what they are made of. */
Test(median, its_interval_is_that_of_the_tables) {
  static const struct {
    unsigned count, low, high;
  } known[] = {{6, 1, 6}, {9, 2, 8}, {20, 6, 15}, {50, 18, 33}, {100, 40, 61}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    unsigned low, high;
    cr_assert(bench_median_interval(known[i].count, &low, &high));
    cr_assert_eq(low + 1, known[i].low, "%u: from %u", known[i].count, low + 1);
    cr_assert_eq(high + 1, known[i].high, "%u: to %u", known[i].count, high + 1);
  }
}

Test(median, less_than_six_values_have_no_interval) {
  unsigned low, high;
  for (unsigned count = 0; count < 6; count++)
    cr_assert(!bench_median_interval(count, &low, &high));
}

Test(median, very_many_values_have_a_narrow_interval) {
  unsigned low, high;
  cr_assert(bench_median_interval(100000, &low, &high));
  cr_assert(low > 49600 && low < 50000 && low + high == 99999, "%u %u", low, high);
}

/* ---------------------------------------------------------------- conditions */

static struct bench_warnings warnings;
static struct bench bench = {.cpus = 2, .cpu = {0, 1}};

static void put(const char *path, const char *text) {
  char full[512];
  (void)snprintf(full, sizeof full, "%s%s", test_directory(), path);
  for (char *slash = strchr(full + strlen(test_directory()) + 1, '/'); slash;
       slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    (void)mkdir(full, 0700);
    *slash = '/';
  }
  FILE *file = fopen(full, "we");
  cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", full);
}

static void find(void) {
  warnings.count = 0;
  bench_find_conditions(test_directory(), &bench, &warnings);
}

static bool warned(const char *of) {
  for (unsigned i = 0; i < warnings.count; i++)
    if (strstr(warnings.text[i], of))
      return true;
  return false;
}

#define CPU0 "/sys/devices/system/cpu/cpu0/"
#define CPU1 "/sys/devices/system/cpu/cpu1/"

/* Everything as it should be; then one thing after the other is spoilt. */
static void make_good_machine(void) {
  put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Made up\nflags\t\t: fpu constant_tsc\n");
  put("/proc/loadavg", "0.10 0.00 0.00 1/77 4711\n");
  put("/proc/meminfo", "MemTotal: 1 kB\nSwapTotal: 2048 kB\nSwapFree: 2048 kB\n");
  put("/proc/self/cgroup", "0::/a/b\n");
  put("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
  put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
  put("/sys/devices/system/cpu/cpufreq/boost", "0\n");
  put(CPU0 "cpufreq/scaling_governor", "performance\n");
  put(CPU1 "cpufreq/scaling_governor", "performance\n");
  put(CPU0 "topology/core_cpus_list", "0\n");
  put(CPU1 "topology/core_cpus_list", "1\n");
}

/* A sanitizer or no optimization is warned of wherever this runs; that does not count. */
static unsigned of_the_build(void) {
  return (unsigned)warned("built with a sanitizer") + warned("built without optimization");
}

Test(conditions, a_good_machine_is_not_warned_of) {
  make_good_machine();
  find();
  cr_assert_eq(warnings.count, of_the_build(), "%s", warnings.text[0]);
}

Test(conditions, a_machine_that_tells_nothing_is_not_warned_of) {
  find();
  cr_assert_eq(warnings.count, of_the_build(), "%s", warnings.text[0]);
}

Test(conditions, each_thing_that_spoils_figures_is_warned_of) {
  static const struct {
    const char *path, *text, *warning;
  } spoilt[] = {
      {"/proc/cpuinfo", "flags\t\t: fpu hypervisor\n", "virtual machine"},
      {"/proc/loadavg", "1.50 0.00 0.00 1/77 4711\n", "load average 1.50"},
      {"/proc/loadavg", "0.00 0.00 0.00 3/77 4711\n", "2 just now"},
      {"/proc/meminfo", "SwapTotal: 4096 kB\nSwapFree: 2048 kB\n", "2 MiB are swapped out"},
      {"/sys/fs/cgroup/a/b/cpu.max", "50000 100000\n", "50000 100000"},
      {"/sys/fs/cgroup/a/cpu.max", "70000 100000\n", "70000 100000"},
      {"/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n", "huge pages"},
      {"/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n", "'hpet'"},
      {"/sys/devices/system/cpu/cpufreq/boost", "1\n", "boost"},
      {"/sys/devices/system/cpu/intel_pstate/no_turbo", "0\n", "boost"},
      {CPU1 "cpufreq/scaling_governor", "powersave\n",
       "CPU 1's frequency is governed by 'powersave'"},
      {CPU0 "topology/core_cpus_list", "0-1\n", "CPUs 0 and 1 are threads of one core"},
      {CPU1 "topology/core_cpus_list", "1,17\n", "CPU 17, another thread of CPU 1's core"},
  };
  for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
    make_good_machine();
    put("/sys/devices/system/cpu/intel_pstate/no_turbo", "1\n");
    put(spoilt[i].path, spoilt[i].text);
    find();
    cr_assert_eq(warnings.count, 1 + of_the_build(), "%s: %u warnings", spoilt[i].warning,
                 warnings.count);
    cr_assert(warned(spoilt[i].warning), "%s, not %s", warnings.text[0], spoilt[i].warning);
  }
}

Test(conditions, a_quota_of_version_1_is_found) {
  make_good_machine();
  put("/proc/self/cgroup", "4:memory:/x\n1:cpu,cpuacct:/x/y\n0::/\n");
  put("/sys/fs/cgroup/cpu/x/y/cpu.cfs_quota_us", "-1\n");
  put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n");
  find();
  cr_assert_eq(warnings.count, of_the_build());
  put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "20000\n");
  find();
  cr_assert(warned("20000"));
}

Test(conditions, one_cpu_and_an_uneven_counter_are_warned_of) {
  make_good_machine();
  bench.cpus = 1;
  bench_clock.counter = false;
  find();
  cr_assert(warned("one CPU only"));
  cr_assert(warned("CLOCK_MONOTONIC"));
}

Test(conditions, where_two_cpus_stand_is_told) {
  const char *root = test_directory();
  cr_assert_str_eq(bench_placement(root, 0, 0), "one CPU");
  cr_assert_str_eq(bench_placement(root, 0, 1), "the system does not say how they stand");
  put(CPU0 "topology/core_cpus_list", "0,2\n");
  put(CPU0 "topology/package_cpus_list", "0-15\n");
  put(CPU0 "cache/index3/shared_cpu_list", "0-7\n");
  cr_assert_str_eq(bench_placement(root, 0, 2), "two threads of one core");
  cr_assert_str_eq(bench_placement(root, 0, 7), "two cores that share a level-3 cache");
  cr_assert_str_eq(bench_placement(root, 0, 8), "two cores of one package");
  cr_assert_str_eq(bench_placement(root, 0, 16), "cores of two packages");
}
