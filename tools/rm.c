/* SPDX-License-Identifier: MIT */
/* rm.c - `ringbus rm`: remove rings. */
#include "command.h"

#include <getopt.h>

const char rm_help[] =
    "Usage: ringbus rm NAME... [--force]\n"
    "Remove rings with all that is in them. A file that is not a ring is never removed.\n"
    "\n"
    "  --force   even while somebody is attached: they are told that the ring is stale\n"
    "\n"
    "Examples\n"
    "  ringbus rm quotes\n"
    "  ringbus rm --force ./recording.ring\n";

static const struct option long_options[] = {
    {"force", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

int rm_run(int argc, char **argv) {
  bool force = false;
  int found;
  while ((found = getopt_long(argc, argv, ":fh", long_options, NULL)) != -1) {
    switch (found) {
    case 'f':
      force = true;
      break;
    case 'h':
      return verb_help(rm_help);
    default:
      usage_error_option(found, argv);
    }
  }
  if (optind == argc)
    usage_error("expected at least one NAME");

  int first_failure = COMMAND_OK;
  for (int index = optind; index < argc; index++) {
    int error = ringbus_ring_remove(argv[index], force);
    if (error != 0) {
      int code = failed_call(argv[index], error);
      first_failure = first_failure == COMMAND_OK ? code : first_failure;
    }
  }
  return first_failure;
}
