/* SPDX-License-Identifier: MIT */
/* conditions.c - what the machine is, and what of it spoils figures. What cannot be found out is not
 * warned of. */
#include "bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/utsname.h>

void bench_warn(struct bench_warnings *warnings, const char *format, ...) {
  va_list arguments;
  if (warnings->count == BENCH_MAX_WARNINGS)
    return;
  va_start(arguments, format);
  (void)vsnprintf(warnings->text[warnings->count++], sizeof *warnings->text, format, arguments);
  va_end(arguments);
}

/* ---------------------------------------------------------------- reading /proc and /sys */

enum { TEXT = 4096 };

/* The first line of a small file, without its end. */
static bool read_line(char text[TEXT], const char *root, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool read_line(char text[TEXT], const char *root, const char *format, ...) {
  char path[TEXT];
  va_list arguments;
  int length = snprintf(path, sizeof path, "%s", root);
  va_start(arguments, format);
  (void)vsnprintf(path + length, sizeof path - (size_t)length, format, arguments);
  va_end(arguments);
  FILE *file = fopen(path, "re");
  bool read = file && fgets(text, TEXT, file);
  if (file)
    (void)fclose(file);
  if (read)
    text[strcspn(text, "\n")] = '\0';
  return read;
}

/* What stands behind a key in a file of lines. */
static bool read_value(char text[TEXT], const char *root, const char *path, const char *key) {
  char line[TEXT], full[TEXT];
  bool found = false;
  (void)snprintf(full, sizeof full, "%s%s", root, path);
  FILE *file = fopen(full, "re");
  while (file && !found && fgets(line, sizeof line, file))
    if (strncmp(line, key, strlen(key)) == 0) {
      char *value = line + strlen(key);
      value += strspn(value, " \t:");
      value[strcspn(value, "\n")] = '\0';
      (void)snprintf(text, TEXT, "%s", value);
      found = true;
    }
  if (file)
    (void)fclose(file);
  return found;
}

/* Whether a list such as 0-3,8 has this number. */
static bool list_has(const char *list, long number) {
  char *at;
  for (const char *item = list; *item; item = *at == ',' ? at + 1 : at) {
    long from = strtol(item, &at, 10), to = from;
    if (at == item)
      return false;
    if (*at == '-')
      to = strtol(at + 1, &at, 10);
    if (number >= from && number <= to)
      return true;
  }
  return false;
}

/* ---------------------------------------------------------------- cores */

#define CPU "/sys/devices/system/cpu/cpu%d/"

static bool same_list(const char *root, const char *of, int one, int other) {
  char list[TEXT];
  return read_line(list, root, CPU "%s", one, of) && list_has(list, other);
}

const char *bench_placement(const char *root, int one, int other) {
  char text[TEXT];
  if (one == other)
    return "one CPU";
  if (!read_line(text, root, CPU "topology/core_cpus_list", one))
    return "the system does not say how they stand";
  if (list_has(text, other))
    return "two threads of one core";
  if (same_list(root, "cache/index3/shared_cpu_list", one, other))
    return "two cores that share a level-3 cache";
  if (same_list(root, "topology/package_cpus_list", one, other))
    return "two cores of one package";
  return "cores of two packages";
}

static bool is_used(const struct bench *bench, int cpu) {
  for (unsigned i = 0; i < bench->cpus; i++)
    if (bench->cpu[i] == cpu)
      return true;
  return false;
}

static void find_siblings(const char *root, const struct bench *bench,
                          struct bench_warnings *warnings) {
  char list[TEXT];
  for (unsigned i = 0; i < bench->cpus; i++) {
    if (!read_line(list, root, CPU "topology/core_cpus_list", bench->cpu[i]))
      continue;
    for (int other = 0; other < CPU_SETSIZE; other++) {
      if (other == bench->cpu[i] || !list_has(list, other))
        continue;
      if (!is_used(bench, other))
        bench_warn(warnings,
                   "CPU %d, another thread of CPU %d's core, may run something else meanwhile",
                   other, bench->cpu[i]);
      else if (other > bench->cpu[i])
        bench_warn(warnings, "CPUs %d and %d are threads of one core and take turns in it",
                   bench->cpu[i], other);
    }
  }
}

static void find_frequency(const char *root, const struct bench *bench,
                           struct bench_warnings *warnings) {
  char text[TEXT];
  for (unsigned i = 0; i < bench->cpus; i++)
    if (read_line(text, root, CPU "cpufreq/scaling_governor", bench->cpu[i]) &&
        strcmp(text, "performance") != 0) {
      bench_warn(warnings, "CPU %d's frequency is governed by '%.40s', not 'performance'",
                 bench->cpu[i], text);
      break;
    }
  if ((read_line(text, root, "/sys/devices/system/cpu/cpufreq/boost") && *text == '1') ||
      (read_line(text, root, "/sys/devices/system/cpu/intel_pstate/no_turbo") && *text == '0'))
    bench_warn(warnings, "the processor may boost its frequency, by heat and load");
}

/* ---------------------------------------------------------------- the system */

static void find_others(const char *root, struct bench_warnings *warnings) {
  char text[TEXT];
  double load = 0;
  int running = 0;
  if (!read_line(text, root, "/proc/loadavg") ||
      sscanf(text, "%lf %*f %*f %d/", &load, &running) != 2) // NOLINT(cert-err34-c)
    return;
  if (load >= 0.5 || running > 1)
    bench_warn(warnings, "other processes are running: %d just now, load average %.2f", running - 1,
               load);
}

static void find_memory(const char *root, struct bench_warnings *warnings) {
  char total[TEXT], rest[TEXT], text[TEXT];
  if (read_value(total, root, "/proc/meminfo", "SwapTotal:") &&
      read_value(rest, root, "/proc/meminfo", "SwapFree:")) {
    long used = strtol(total, NULL, 10) - strtol(rest, NULL, 10);
    if (used > 0)
      bench_warn(warnings, "%ld MiB are swapped out: memory is short, or was", used / 1024);
  }
  if (read_line(text, root, "/sys/kernel/mm/transparent_hugepage/enabled") &&
      strstr(text, "[always]"))
    bench_warn(warnings, "transparent huge pages are on always: the kernel may move memory "
                         "meanwhile");
}

/* The quota of this process's group and of those above it: version 2, or 1. */
static void find_quota(const char *root, struct bench_warnings *warnings) {
  char text[TEXT], path[TEXT], file[TEXT];
  (void)snprintf(file, sizeof file, "%s/proc/self/cgroup", root);
  FILE *groups = fopen(file, "re");
  bool found = false;
  while (groups && !found && fgets(path, sizeof path, groups)) {
    char *controllers = strchr(path, ':'),
         *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
      continue;
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    controllers++;
    const bool second = !*controllers;
    if (!second && strcmp(controllers, "cpu") != 0 && !strstr(controllers, "cpu,"))
      continue;
    for (char *end = group + strlen(group); !found; end = strrchr(group, '/')) {
      if (!end)
        break;
      *end = '\0';
      found = second ? read_line(text, root, "/sys/fs/cgroup%s/cpu.max", group) &&
                           strncmp(text, "max", 3) != 0
                     : read_line(text, root, "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", group) &&
                           *text != '-';
    }
  }
  if (groups)
    (void)fclose(groups);
  if (found)
    bench_warn(warnings, "a control group limits this process's time on CPUs to %.40s us", text);
}

static void find_clock(const char *root, struct bench_warnings *warnings) {
  char text[TEXT];
  if (!bench_clock.counter)
    bench_warn(warnings, "the processor's counter does not run evenly: CLOCK_MONOTONIC is read "
                         "instead, which may cost more than a message");
  else if (read_line(text, root,
                     "/sys/devices/system/clocksource/clocksource0/current_clocksource") &&
           strcmp(text, "tsc") != 0 && strcmp(text, "kvm-clock") != 0 &&
           strcmp(text, "hyperv_clocksource_tsc_page") != 0) /* these are made of the counter */
    bench_warn(warnings,
               "the kernel's clock is '%.40s': it does not trust the processor's counter, "
               "which is read here",
               text);
}

static void find_build(struct bench_warnings *warnings) {
#if defined(__SANITIZE_ADDRESS__) || defined(RINGBUS_RACES_ARE_SEEN)
  bench_warn(warnings, "built with a sanitizer: the figures say nothing");
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
  bench_warn(warnings, "built with a sanitizer: the figures say nothing");
#endif
#endif
#ifndef __OPTIMIZE__
  bench_warn(warnings, "built without optimization: the figures say nothing");
#endif
  (void)warnings;
}

void bench_find_conditions(const char *root, const struct bench *bench,
                           struct bench_warnings *warnings) {
  char text[TEXT];
  find_build(warnings);
  if (bench->cpus == 1)
    bench_warn(warnings, "one CPU only: nothing is pinned, and whoever waits yields; the figures "
                         "say little");
  if (read_value(text, root, "/proc/cpuinfo", "flags") && strstr(text, " hypervisor"))
    bench_warn(warnings, "a virtual machine: its host may stop and move the CPUs at any time");
  find_others(root, warnings);
  find_siblings(root, bench, warnings);
  find_frequency(root, bench, warnings);
  find_clock(root, warnings);
  find_memory(root, warnings);
  find_quota(root, warnings);
}

void bench_describe(char cpu[128], char kernel[128]) {
  struct utsname name;
  char text[TEXT];
  bool known = read_value(text, "", "/proc/cpuinfo", "model name");
  (void)snprintf(cpu, 128, "%.127s", known ? text : "unknown processor");
  (void)snprintf(kernel, 128, "unknown kernel");
  if (uname(&name) == 0)
    (void)snprintf(kernel, 128, "%.40s %.80s", name.sysname, name.release);
}
