/* SPDX-License-Identifier: MIT */
/* create.c - `ringbus create`: make a ring. */
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <stdlib.h>

const char create_help[] =
    "Usage: ringbus create NAME [OPTIONS]\n"
    "Make a ring. Its file has its final size at once and never grows.\n"
    "\n"
    "  --capacity SIZE       bytes of messages it holds: a power of two, 4K to 1T (default 1M)\n"
    "  --many-producers      several may send at once, in one order that all readers see; "
    "messages\n"
    "                        take multiples of 64 bytes\n"
    "  --overwrite           nobody is waited for: the oldest messages make way for new ones\n"
    "                        (flight recorder)\n"
    "  --participants N      attached at the same time, 2 to 1023 (default 63)\n"
    "  --groups N            groups of consumers, 1 to 64 (default 16)\n"
    "  --no-group WHAT       without any group: hold messages until the ring is full (default),\n"
    "                        or drop the oldest\n"
    "  --wake HOW            how sleepers are woken: membarrier (default), fence, or never\n"
    "  --mode OCTAL          permissions of the file, whatever the umask (default 0600)\n"
    "  --file-group GROUP    give the file to this group of users\n"
    "  --if-missing          a ring that is already there is fine, and stays as it is\n"
    "\n"
    "Examples\n"
    "  ringbus create quotes --capacity 16M\n"
    "  ringbus create jobs --many-producers\n"
    "  ringbus create trace --many-producers --overwrite --capacity 64M\n"
    "  ringbus create /dev/shm/shared --mode 0660 --file-group video\n";

enum {
  OPTION_CAPACITY = 256,
  OPTION_MANY_PRODUCERS,
  OPTION_OVERWRITE,
  OPTION_PARTICIPANTS,
  OPTION_GROUPS,
  OPTION_NO_GROUP,
  OPTION_WAKE,
  OPTION_MODE,
  OPTION_FILE_GROUP,
  OPTION_IF_MISSING
};

static const struct option long_options[] = {
    {"capacity", required_argument, NULL, OPTION_CAPACITY},
    {"many-producers", no_argument, NULL, OPTION_MANY_PRODUCERS},
    {"overwrite", no_argument, NULL, OPTION_OVERWRITE},
    {"participants", required_argument, NULL, OPTION_PARTICIPANTS},
    {"groups", required_argument, NULL, OPTION_GROUPS},
    {"no-group", required_argument, NULL, OPTION_NO_GROUP},
    {"wake", required_argument, NULL, OPTION_WAKE},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"file-group", required_argument, NULL, OPTION_FILE_GROUP},
    {"if-missing", no_argument, NULL, OPTION_IF_MISSING},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static mode_t parse_mode(const char *text) {
  char *end = NULL;
  unsigned long mode = *text >= '0' && *text <= '7' ? strtoul(text, &end, 8) : 0;
  if (mode == 0 || mode > 0777 || *end != '\0')
    usage_error("--mode '%s': expected octal permissions, such as 0640", text);
  return (mode_t)mode;
}

static gid_t parse_file_group(const char *text) {
  const struct group *group = getgrnam(text);
  if (group != NULL)
    return group->gr_gid;
  char *end;
  unsigned long number = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || number >= (gid_t)-1)
    usage_error("--file-group '%s': expected the name or number of a group of users", text);
  return (gid_t)number;
}

int create_run(int argc, char **argv) {
  static const char *const no_group_names[] = {"hold", "drop", NULL};
  static const char *const wake_names[] = {"membarrier", "fence", "never", NULL};
  struct ringbus_create_options options = {.capacity = 0};
  bool no_group_given = false;
  int found;
  while ((found = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    switch (found) {
    case OPTION_CAPACITY:
      options.capacity = parse_capacity("--capacity", optarg);
      break;
    case OPTION_MANY_PRODUCERS:
      options.many_producers = true;
      break;
    case OPTION_OVERWRITE:
      options.overwrite = true;
      break;
    case OPTION_PARTICIPANTS:
      options.max_participants = (uint32_t)parse_number("--participants", optarg, 2, 1023);
      break;
    case OPTION_GROUPS:
      options.max_groups = (uint32_t)parse_number("--groups", optarg, 1, 64);
      break;
    case OPTION_NO_GROUP:
      no_group_given = true;
      options.no_group = (enum ringbus_no_group)parse_choice("--no-group", optarg, no_group_names);
      break;
    case OPTION_WAKE:
      options.wake = (enum ringbus_wake)parse_choice("--wake", optarg, wake_names);
      break;
    case OPTION_MODE:
      options.mode = parse_mode(optarg);
      break;
    case OPTION_FILE_GROUP:
      options.set_group = true;
      options.group = parse_file_group(optarg);
      break;
    case OPTION_IF_MISSING:
      options.open_existing = true;
      break;
    case 'h':
      return verb_help(create_help);
    default:
      usage_error_option(found, argv);
    }
  }
  if (argc - optind != 1)
    usage_error("expected one NAME, got %d", argc - optind);
  if (options.overwrite && no_group_given)
    usage_error("--no-group is not for a ring with --overwrite, which never holds anything");

  const char *name = argv[optind];
  ringbus_ring *ring;
  int error = ringbus_ring_create(name, &options, &ring);
  if (error == -EEXIST)
    return failed_because(name, error, "%s: --if-missing leaves it as it is",
                          ringbus_error_detail());
  if (error != 0)
    return failed_call(name, error);
  ringbus_ring_close(ring);
  return COMMAND_OK;
}
