/* SPDX-License-Identifier: MIT */
/* machine.c - cores, clock, the probe, and what the machine is called. */
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

const char *const bench_state_name[BENCH_STATES] = {"nearest", "near", "far", "one core",
                                                    "disturbed"};

void bench_fail(const char *what, int error) {
  (void)fprintf(stderr, "ringbus-bench: %s: %s\n", what, ringbus_strerror(error));
  if (*ringbus_error_detail())
    (void)fprintf(stderr, "ringbus-bench: %s\n", ringbus_error_detail());
  _exit(1);
}

static int64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t bench_now(void) { return read_clock(CLOCK_MONOTONIC); }

int64_t bench_cpu_time(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

int64_t bench_idle_time(int cpu) {
  char line[512], label[16];
  int64_t ticks = -1;
  FILE *stat = fopen("/proc/stat", "re");
  int length = snprintf(label, sizeof label, "cpu%d ", cpu);
  while (stat && ticks < 0 && fgets(line, sizeof line, stat)) {
    char *at = line + length;
    if (strncmp(line, label, (size_t)length) != 0)
      continue;
    for (unsigned busy = 0; busy < 3; busy++) /* user, nice, system */
      (void)strtoll(at, &at, 10);
    ticks = strtoll(at, &at, 10); /* idle, and waiting for a disk */
    ticks += strtoll(at, &at, 10);
  }
  if (stat)
    (void)fclose(stat);
  return ticks < 0 ? -1 : ticks * (INT64_C(1000000000) / sysconf(_SC_CLK_TCK));
}

void bench_idle(const struct bench *bench) {
  if (bench->shares_core)
    sched_yield();
  else
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" : : : "memory");
#else
    bench_touch(NULL);
#endif
}

unsigned bench_find_cpus(int cpu[BENCH_MAX_CPUS]) {
  cpu_set_t allowed;
  unsigned found = 0;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return 1;
  for (unsigned i = 0; i < CPU_SETSIZE && found < 2; i++)
    if (CPU_ISSET(i, &allowed))
      cpu[found++] = (int)i;
  return found ? found : 1;
}

void bench_pin(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((unsigned)cpu, &one);
  if (sched_setaffinity(0, sizeof one, &one) != 0)
    bench_fail("pinning to a core", -errno);
}

pid_t bench_fork(void) {
  pid_t parent = getpid(), child = fork();
  if (child < 0)
    bench_fail("fork", -errno);
  if (child == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
      _exit(1);
  }
  return child;
}

void bench_wait(sem_t *semaphore) {
  while (sem_wait(semaphore) != 0)
    if (errno != EINTR)
      bench_fail("waiting for the others", -errno);
}

double bench_probe(const struct bench *bench, bool leads, unsigned trips) {
  /* The first trips are not timed: the other side may still be busy with the end of its slice. */
  const unsigned unmeasured = trips / 4 + 1;
  uint64_t *token = &bench->shared->token;
  int64_t start = 0;
  for (unsigned i = 0; i < unmeasured + trips; i++) {
    if (leads) {
      if (i == unmeasured)
        start = bench_now();
      bench_store(token, 1);
      while (bench_load(token) != 0)
        if (bench->shares_core)
          bench_idle(bench);
    } else {
      while (bench_load(token) != 1)
        if (bench->shares_core)
          bench_idle(bench);
      bench_store(token, 0);
    }
  }
  return (double)(bench_now() - start) / trips;
}

uint64_t bench_interruptions(void) {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_nivcsw : 0;
}

enum bench_state bench_classify(const struct bench *bench, double round_trip_ns) {
  if (bench->cpus == 1)
    return BENCH_ONE_CORE;
  return round_trip_ns < 95 ? BENCH_NEAREST : round_trip_ns < 170 ? BENCH_NEAR : BENCH_FAR;
}

void bench_describe(char cpu[128], char kernel[128]) {
  struct utsname name;
  char line[256];
  FILE *info = fopen("/proc/cpuinfo", "re");
  (void)snprintf(cpu, 128, "unknown");
  while (info && fgets(line, sizeof line, info))
    if (sscanf(line, "model name%*[ \t]: %127[^\n]", cpu) == 1)
      break;
  if (info)
    (void)fclose(info);
  (void)snprintf(kernel, 128, "unknown");
  if (uname(&name) == 0)
    (void)snprintf(kernel, 128, "%.40s %.80s", name.sysname, name.release);
}
