/* SPDX-License-Identifier: MIT */
/* progress.c - one line on stderr: messages, megabytes, rate. On a terminal it is written over itself;
 * elsewhere (--progress) it is a new line every second. */
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { TERMINAL_INTERVAL_NS = 200 * 1000 * 1000, LINE_INTERVAL_NS = 1000 * 1000 * 1000 };

void progress_begin(struct progress *progress, enum progress_choice choice, bool screen_is_free) {
  *progress = (struct progress){.on_terminal = isatty(STDERR_FILENO) == 1};
  progress->shown = choice == PROGRESS_ALWAYS ||
                    (choice == PROGRESS_IF_TERMINAL && progress->on_terminal && screen_is_free);
  progress->started_ns = progress->last_ns = now_ns();
}

static void show(const struct progress *progress, int64_t now, const char *end) {
  double seconds = (double)(now - progress->started_ns) / 1e9;
  double megabytes = (double)progress->bytes / 1e6;
  fprintf(stderr, "%s%" PRIu64 " messages, %.1f MB, %.1f MB/s%s", progress->on_terminal ? "\r" : "",
          progress->messages, megabytes, seconds > 0 ? megabytes / seconds : 0, end);
}

void progress_add(struct progress *progress, uint64_t messages, uint64_t bytes) {
  progress->messages += messages;
  progress->bytes += bytes;
  if (!progress->shown)
    return;
  int64_t now = now_ns();
  if (now - progress->last_ns >=
      (progress->on_terminal ? TERMINAL_INTERVAL_NS : LINE_INTERVAL_NS)) {
    progress->last_ns = now;
    /* Spaces cover what a longer line before has left. */
    show(progress, now, progress->on_terminal ? "   " : "\n");
  }
}

void progress_end(struct progress *progress) {
  if (progress->shown) {
    show(progress, now_ns(), progress->on_terminal ? "   \n" : "\n");
    progress->shown = false;
  }
}
