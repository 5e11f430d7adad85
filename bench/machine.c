/* SPDX-License-Identifier: MIT */
/* machine.c - cores, clocks, the probe. */
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

const char *const bench_state_name[BENCH_STATES] = {"nearest", "near", "far", "one core",
                                                    "disturbed"};

void bench_fail(const char *what, int error) {
  (void)fprintf(stderr, "ringbus-bench: %s: %s\n", what, ringbus_strerror(error));
  if (*ringbus_error_detail())
    (void)fprintf(stderr, "ringbus-bench: %s\n", ringbus_error_detail());
  _exit(1);
}

void bench_bad_message(const struct bench *bench, uint64_t expected, uint64_t found) {
  char what[160];
  const struct bench_row *row = bench->row;
  (void)snprintf(what, sizeof what,
                 "%s, %s: message %llu is lost, torn, repeated or out of order, found %llu",
                 row ? bench_kind_name[row->kind] : "", row ? row->name : "",
                 (unsigned long long)expected, (unsigned long long)found);
  bench_fail(what, -EBADMSG);
}

/* ---------------------------------------------------------------- clocks */

struct bench_clock bench_clock;

static int64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t bench_system_now(void) { return read_clock(CLOCK_MONOTONIC); }

#if defined(__x86_64__)
/* The kernel's clock and the counter at one instant: of some pairs the one read fastest. */
static void read_both(uint64_t *counter, int64_t *ns) {
  uint64_t shortest = UINT64_MAX;
  for (unsigned i = 0; i < 100; i++) {
    const uint64_t before = __builtin_ia32_rdtsc();
    const int64_t now = bench_system_now();
    const uint64_t after = __builtin_ia32_rdtsc();
    if (after - before < shortest) {
      shortest = after - before;
      *counter = before + shortest / 2;
      *ns = now;
    }
  }
}

static bool counter_is_even(void) {
  bool constant = false, nonstop = false;
  char line[4096];
  FILE *info = fopen("/proc/cpuinfo", "re");
  while (info && fgets(line, sizeof line, info))
    if (strncmp(line, "flags", 5) == 0) {
      constant = strstr(line, " constant_tsc") != NULL;
      nonstop = strstr(line, " nonstop_tsc") != NULL;
      break;
    }
  if (info)
    (void)fclose(info);
  return constant && nonstop;
}

void bench_start_clock(void) {
  const struct timespec pause = {.tv_nsec = 20000000};
  uint64_t counter = 0;
  int64_t ns = 0;
  if (!counter_is_even())
    return;
  read_both(&bench_clock.base, &bench_clock.base_ns);
  (void)nanosleep(&pause, NULL);
  read_both(&counter, &ns);
  if (counter <= bench_clock.base || ns <= bench_clock.base_ns)
    return;
  bench_clock.ns = (double)(ns - bench_clock.base_ns) / (double)(counter - bench_clock.base);
  bench_clock.counter = true;
}
#else
void bench_start_clock(void) {}
#endif

void bench_compare_clocks(struct bench *bench) {
  uint64_t *token = &bench->shared->token;
  bench->clock_low = INT64_MIN;
  bench->clock_high = INT64_MAX;
  for (unsigned i = 0; i < 1000; i++)
    if (bench->leads) {
      const int64_t before = bench_now();
      bench_store(token, 1);
      while (bench_load(token) != 0)
        bench_idle(bench);
      const int64_t after = bench_now(), there = bench->shared->clock;
      bench->clock_low = there - after > bench->clock_low ? there - after : bench->clock_low;
      bench->clock_high = there - before < bench->clock_high ? there - before : bench->clock_high;
    } else {
      while (bench_load(token) != 1)
        bench_idle(bench);
      bench->shared->clock = bench_now();
      bench_store(token, 0);
    }
}

int64_t bench_cpu_time(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

int64_t bench_cpu_time_of(pid_t process) {
  clockid_t clock;
  return process > 0 && clock_getcpuclockid(process, &clock) == 0 ? read_clock(clock) : 0;
}

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

/* ---------------------------------------------------------------- cores and processes */

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

bool bench_may_use(int cpu) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  return sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_ISSET((unsigned)cpu, &allowed);
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

double bench_probe(struct bench *bench, bool leads, unsigned trips) {
  /* The first trips are not timed: the other side may still be busy with the end of its slice. */
  const unsigned unmeasured = trips / 4 + 1;
  const bool eager = bench->eager;
  uint64_t *token = &bench->shared->token;
  int64_t start = 0;
  bench->eager = true;
  for (unsigned i = 0; i < unmeasured + trips; i++) {
    if (leads) {
      if (i == unmeasured)
        start = bench_now();
      bench_store(token, 1);
      while (bench_load(token) != 0)
        bench_idle(bench);
    } else {
      while (bench_load(token) != 1)
        bench_idle(bench);
      bench_store(token, 0);
    }
  }
  bench->eager = eager;
  return (double)(bench_now() - start) / trips;
}

uint64_t bench_interruptions(void) {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_nivcsw : 0;
}

int64_t bench_waited(void) {
  long long ran, waited = 0;
  FILE *file = fopen("/proc/self/schedstat", "re");
  if (file && fscanf(file, "%lld %lld", &ran, &waited) != 2) // NOLINT(cert-err34-c)
    waited = 0;
  if (file)
    (void)fclose(file);
  return waited;
}

enum bench_state bench_classify(const struct bench *bench, double round_trip_ns) {
  if (bench->cpus == 1)
    return BENCH_ONE_CORE;
  return round_trip_ns < 95 ? BENCH_NEAREST : round_trip_ns < 170 ? BENCH_NEAR : BENCH_FAR;
}
