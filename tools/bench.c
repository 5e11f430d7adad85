/* SPDX-License-Identifier: MIT */
/* bench.c - `ringbus bench`: ringbus-bench, wherever it is. */
#include "command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int run(int count, char **operands) {
  (void)count;
  /* Beside this command, where it was built, or in PATH. */
  static const char *const places[] = {"ringbus-bench", "../bench/ringbus-bench"};
  char own[PATH_MAX], path[PATH_MAX + 64];
  ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
  own[length < 0 ? 0 : length] = '\0';
  char *slash = strrchr(own, '/');
  operands[-1] = (char *)(uintptr_t)places[0]; /* the verb itself */
  for (size_t index = 0; slash != NULL && index < sizeof places / sizeof places[0]; index++) {
    snprintf(path, sizeof path, "%.*s/%s", (int)(slash - own), own, places[index]);
    if (access(path, X_OK) == 0) {
      execv(path, operands - 1);
      return failed_because(path, -errno, "cannot run it: %s", strerror(errno));
    }
  }
  execvp(places[0], operands - 1);
  return failed_because(places[0], -errno,
                        "%s: it is neither beside %s nor in PATH: install it, or build it "
                        "(tools/dev bench)",
                        strerror(errno), slash != NULL ? own : "this command");
}

const struct verb bench_verb = {
    .name = "bench",
    .summary = "measure this machine: runs ringbus-bench with these arguments",
    .run = run,
};
