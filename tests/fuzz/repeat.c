/* SPDX-License-Identifier: MIT */
/* repeat.c - the fuzzers without a guide: what is in a directory, changed at random, as often as is asked
 * for. Without the instrumentation by which libFuzzer finds its way this is many times faster, and any
 * compiler does; so libFuzzer finds the ways once, into the directory, and this goes along them again and
 * again.
 *
 *   repeat DIRECTORY EXECUTIONS [SEED]    EXECUTIONS 0: what is in the directory, as it is
 *
 * What crashes or hangs is left in the file "crash", for gdb or libFuzzer. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

enum { INPUTS = 4096, LONGEST = 4096, LONGEST_CHANGED = 96, LOOK_SECONDS = 20 };

static struct {
  uint8_t *bytes;
  size_t count;
} inputs[INPUTS];
static size_t input_count;
static uint64_t random_state;

/* What runs now. */
static uint8_t now[LONGEST];
static size_t now_count;
static volatile uint64_t executions;

static size_t below(size_t limit) { return (size_t)(test_random(&random_state) >> 11) % limit; }

/* ---------------------------------------------------------------- what went wrong */

/* Sanitizers end by abort, so that crashed is called. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "abort_on_error=1"; }
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "abort_on_error=1:print_stacktrace=1"; }

static void leave_input(void) {
  int fd = open("crash", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, now, now_count) != (ssize_t)now_count)
    perror("crash");
  close(fd);
  fprintf(stderr, "bad: execution %llu; its input is in ./crash\n", (unsigned long long)executions);
}

static void crashed(int signal_number) {
  (void)signal_number;
  leave_input();
  test_remove_directory();
  _exit(1);
}

/* An execution takes microseconds: one that is still the same after so many seconds has no end. */
static void look(int signal_number) {
  static uint64_t before = UINT64_MAX;
  if (executions == before) {
    fprintf(stderr, "still the same execution after %d seconds\n", LOOK_SECONDS);
    crashed(signal_number);
  }
  before = executions;
  alarm(LOOK_SECONDS);
}

/* ---------------------------------------------------------------- inputs */

static void read_inputs(const char *directory) {
  DIR *stream = opendir(directory);
  struct dirent *entry;
  REQUIRE(stream);
  while (input_count < INPUTS && (entry = readdir(stream))) {
    int fd = openat(dirfd(stream), entry->d_name, O_RDONLY | O_CLOEXEC);
    ssize_t count = read(fd, now, sizeof now);
    if (count > 0) {
      inputs[input_count].bytes = malloc((size_t)count);
      REQUIRE(inputs[input_count].bytes);
      memcpy(inputs[input_count].bytes, now, (size_t)count);
      inputs[input_count++].count = (size_t)count;
    }
    close(fd);
  }
  closedir(stream);
  REQUIRE(input_count > 0);
}

static void choose(size_t index) {
  now_count = inputs[index].count;
  memcpy(now, inputs[index].bytes, now_count);
}

/* From some place on: another input from some place on. */
static void go_on_as_another(void) {
  size_t other = below(input_count), at = below(now_count), from = below(inputs[other].count);
  size_t count = inputs[other].count - from;
  if (count > LONGEST_CHANGED - at % LONGEST_CHANGED)
    count = LONGEST_CHANGED - at % LONGEST_CHANGED;
  memcpy(now + at, inputs[other].bytes + from, count);
  now_count = at + count;
}

static void change(void) {
  static const uint8_t edges[] = {0, 1, 7, 8, 63, 64, 127, 128, 255};
  size_t at = below(now_count);
  switch (below(6)) {
  case 0:
    now[at] = (uint8_t)test_random(&random_state);
    break;
  case 1:
    now[at] ^= (uint8_t)(1u << below(8));
    break;
  case 2:
    now[at] = edges[below(sizeof edges)];
    break;
  case 3: /* one byte more */
    if (now_count < LONGEST_CHANGED) {
      memmove(now + at + 1, now + at, now_count++ - at);
      now[at] = (uint8_t)test_random(&random_state);
    }
    break;
  case 4: /* one less */
    if (now_count > 2)
      memmove(now + at, now + at + 1, --now_count - at);
    break;
  default:
    go_on_as_another();
  }
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fputs("usage: repeat DIRECTORY EXECUTIONS [SEED]\n", stderr);
    return 2;
  }
  uint64_t wanted = strtoull(argv[2], NULL, 10);
  random_state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
  read_inputs(argv[1]);
  LLVMFuzzerInitialize(&argc, &argv);
  signal(SIGABRT, crashed);
  signal(SIGALRM, look);
  alarm(LOOK_SECONDS);
  for (size_t index = 0; index < input_count; index++, executions++) {
    choose(index);
    LLVMFuzzerTestOneInput(now, now_count);
  }
  for (; executions < wanted; executions++) {
    choose(below(input_count));
    for (size_t changes = 1 + below(4); changes > 0; changes--)
      change();
    LLVMFuzzerTestOneInput(now, now_count);
  }
  fprintf(stderr, "figure: hostile peers and images, %s, seed %s | %llu executions\n",
          program_invocation_short_name, argc > 3 ? argv[3] : "1", (unsigned long long)executions);
  return 0;
}
