/* SPDX-License-Identifier: MIT */
/* rm.c - `ringbus rm`: remove rings, or a group of them. */
#include "command.h"

#include <getopt.h>

const char rm_help[] =
    "Usage: ringbus rm NAME... [--force]\n"
    "       ringbus rm NAME... --group GROUP\n"
    "Remove rings with all that is in them, or only a group that nobody will read for any more, "
    "so\n"
    "that the ring stops waiting for it. A file that is not a ring is never removed.\n"
    "\n"
    "  --force         even while somebody is attached: they are told that the ring is stale\n"
    "  --group GROUP   remove this group, not the ring; not while its consumer lives\n"
    "\n"
    "Examples\n"
    "  ringbus rm quotes\n"
    "  ringbus rm --force ./recording.ring\n"
    "  ringbus rm quotes --group archvie\n";

static const struct option long_options[] = {
    {"force", no_argument, NULL, 'f'},
    {"group", required_argument, NULL, 'g'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int remove_group(const char *name, const char *group) {
  ringbus_ring *ring;
  int error = ringbus_ring_open(name, NULL, &ring);
  if (error != 0)
    return error;
  error = ringbus_ring_remove_group(ring, group);
  ringbus_ring_close(ring);
  return error;
}

int rm_run(int argc, char **argv) {
  bool force = false;
  const char *group = NULL;
  int found;
  while ((found = getopt_long(argc, argv, ":fg:h", long_options, NULL)) != -1) {
    switch (found) {
    case 'f':
      force = true;
      break;
    case 'g':
      group = optarg;
      break;
    case 'h':
      return verb_help(rm_help);
    default:
      usage_error_option(found, argv);
    }
  }
  if (optind == argc)
    usage_error("expected at least one NAME");
  if (force && group)
    usage_error("--force is for rings, not for a group");

  int first_failure = COMMAND_OK;
  for (int index = optind; index < argc; index++) {
    int error = group ? remove_group(argv[index], group) : ringbus_ring_remove(argv[index], force);
    if (error != 0) {
      int code = failed_call(argv[index], error);
      first_failure = first_failure == COMMAND_OK ? code : first_failure;
    }
  }
  return first_failure;
}
