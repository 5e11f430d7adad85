/* SPDX-License-Identifier: MIT */
/* claimant.c [--undying] NAME [MESSAGE]... - a producer, for scripts, that sends the messages, begins
 * another one and never commits it. It says "claimed" then, and waits to be stopped or ended. The undying
 * one leaves a child behind that keeps its locks, being made behind the C library's back: what a process
 * looks like that does not end though it was killed. It says that child's pid, too. */
#include "../support.h"

#include <sys/syscall.h>

int main(int argc, char **argv) {
  ringbus_ring *ring;
  ringbus_producer *producer;
  void *data;
  bool undying = argc >= 2 && strcmp(argv[1], "--undying") == 0;
  argc -= undying;
  argv += undying;
  REQUIRE(argc >= 2);
  REQUIRE_RESULT(ringbus_ring_open(argv[1], NULL, &ring), 0);
  const struct ringbus_producer_options options = {.name = "claimant"};
  REQUIRE_RESULT(ringbus_producer_attach(ring, &options, &producer), 0);
  for (int i = 2; i < argc; i++)
    REQUIRE_RESULT(ringbus_producer_send(producer, argv[i], strlen(argv[i]), 0), 0);
  REQUIRE_RESULT(ringbus_producer_claim(producer, 100, 0, &data), 0);
  memset(data, 'x', 50);
  pid_t child = undying ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : -1;
  if (child != 0) {
    printf("claimed %d\n", (int)child);
    fflush(stdout);
  }
  for (;;)
    pause();
}
