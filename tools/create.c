/* SPDX-License-Identifier: MIT */
/* create.c - `ringbus create`: make a ring. */
#include "command.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>

static const char help[] =
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
    "  --json                print what there is now, as 'ringbus info --json' does\n"
    "\n"
    "Examples\n"
    "  ringbus create quotes --capacity 16M\n"
    "  ringbus create jobs --many-producers\n"
    "  ringbus create trace --many-producers --overwrite --capacity 64M\n"
    "  ringbus create shared --mode 0660 --file-group \"$(id -gn)\"\n";

static struct ringbus_create_options wanted;
static bool no_group_given, json;

static void set_mode(const struct verb_option *option, const char *text) {
  (void)option;
  char *end = NULL;
  unsigned long mode = *text >= '0' && *text <= '7' ? strtoul(text, &end, 8) : 0;
  if (mode == 0 || mode > 0777 || *end != '\0')
    usage_error("--mode '%s': expected octal permissions, such as 0640", text);
  wanted.mode = (mode_t)mode;
}

static void set_file_group(const struct verb_option *option, const char *text) {
  (void)option;
  char *end;
  const struct group *group = getgrnam(text);
  unsigned long number = strtoul(text, &end, 10);
  if (group == NULL && (*text < '0' || *text > '9' || *end != '\0' || number >= (gid_t)-1))
    usage_error("--file-group '%s': expected the name or number of a group of users", text);
  wanted.set_group = true;
  wanted.group = group != NULL ? group->gr_gid : (gid_t)number;
}

static void set_no_group(const struct verb_option *option, const char *text) {
  no_group_given = true;
  set_choice(option, text);
}

static const char *const no_group_names[] = {"hold", "drop", NULL};
static const char *const wake_names[] = {"membarrier", "fence", "never", NULL};

static const struct verb_option options[] = {
    {.name = "capacity", .takes = TAKES_VALUE, .set = set_capacity, .to = &wanted.capacity},
    {.name = "many-producers", .set = set_flag, .to = &wanted.many_producers},
    {.name = "overwrite", .set = set_flag, .to = &wanted.overwrite},
    {.name = "participants",
     .takes = TAKES_VALUE,
     .set = set_number32,
     .to = &wanted.max_participants,
     .least = 2,
     .most = 1023},
    {.name = "groups",
     .takes = TAKES_VALUE,
     .set = set_number32,
     .to = &wanted.max_groups,
     .least = 1,
     .most = 64},
    {.name = "no-group",
     .takes = TAKES_VALUE,
     .set = set_no_group,
     .to = &wanted.no_group,
     .choices = no_group_names,
     .value = WORD_CHOICE},
    {.name = "wake",
     .takes = TAKES_VALUE,
     .set = set_choice,
     .to = &wanted.wake,
     .choices = wake_names,
     .value = WORD_CHOICE},
    {.name = "mode", .takes = TAKES_VALUE, .set = set_mode},
    {.name = "file-group", .takes = TAKES_VALUE, .set = set_file_group},
    {.name = "if-missing", .set = set_flag, .to = &wanted.open_existing},
    OPTION_JSON(&json),
    OPTIONS_END,
};

static int run(int count, char **operands) {
  const char *name = not_a_copy(one_name(count, operands));
  if (wanted.overwrite && no_group_given)
    usage_error("--no-group is not for a ring with --overwrite, which never holds anything");
  ringbus_ring *ring;
  int error = ringbus_ring_create(name, &wanted, &ring);
  if (error == -EEXIST)
    return failed_because(name, error, "%s: --if-missing leaves it as it is",
                          ringbus_error_detail());
  if (error != 0)
    return failed_to_open(&(struct ring_request){.name = name}, error);
  int code = json ? print_ring_json(name, ring) : COMMAND_OK;
  ringbus_ring_close(ring);
  return code;
}

const struct verb create_verb = {
    .name = "create",
    .summary = "make a ring",
    .help = help,
    .options = options,
    .run = run,
};
