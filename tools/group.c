/* SPDX-License-Identifier: MIT */
/* group.c - `ringbus group`: the groups of a ring: who they are, where they stand, and moving or
 * forgetting one that nobody reads for. */
#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static const char help[] =
    "Usage: ringbus group ls NAME [--json]\n"
    "       ringbus group rm NAME GROUP... [--json]\n"
    "       ringbus group seek NAME GROUP WHERE [--json]\n"
    "List the groups of a ring; remove those that nobody will read for any more, so that the ring "
    "stops\n"
    "waiting for them; or move one: to oldest, to newest (all that is in the ring counts as read "
    "then),\n"
    "or to the position of a message. Only while nobody reads for it (exit code 4 tells who does). "
    "A\n"
    "shared group cannot be moved: remove it, and join it anew with --from.\n"
    "\n"
    "  --json   ls: a JSON object a line for each group, with the members that 'ringbus info "
    "--json'\n"
    "           has; rm: name, group, removed (true or false), error (null, or why not); seek: "
    "name,\n"
    "           group, from and to (each position and count)\n"
    "\n"
    "Examples\n"
    "  ringbus group ls quotes\n"
    "  ringbus group ls quotes --json | jq -r 'select(.lag_messages > 1000).name'\n"
    "  ringbus group seek quotes archive oldest\n"
    "  ringbus group rm quotes archive\n";

static bool json;

static const struct verb_option options[] = {OPTION_JSON(&json), OPTIONS_END};

/* The functions below return COMMAND_OK, or an exit code after reporting. */

/* ---------------------------------------------------------------- ls */

static void print_group(struct ringbus_group_info *group) {
  char limit[24];
  printf("%-20s  %-19s  %-10s  %7" PRIu32 "  %12" PRIu64 "  %12" PRIu64 "  %12" PRIu64
         "  %-20" PRIu64 "  %s%s\n",
         make_printable(group->name), policy_name(group->policy),
         group->shared    ? "shared"
         : group->durable ? "durable"
                          : "ephemeral",
         group->members, group->lag_messages, group->lag_bytes, group->lost_messages, group->cursor,
         group->max_lag == 0 ? "-" : short_size(group->max_lag, limit),
         group->gating ? "" : "  not waited for");
}

static int list_groups(const char *name) {
  ringbus_ring *ring;
  struct ringbus_ring_info info;
  int code = open_to_look(name, &ring);
  if (code != COMMAND_OK)
    return code;
  int error = ringbus_ring_info(ring, &info);
  if (error != 0)
    code = failed_call(name, error);
  bool first = !json;
  for (uint32_t index = 0; code == COMMAND_OK && index < info.max_groups; index++) {
    struct ringbus_group_info group;
    if (ringbus_ring_group(ring, index, &group) != 0)
      continue;
    if (first)
      printf("%-20s  %-19s  %-10s  %7s  %12s  %12s  %12s  %-20s  %s\n", "group", "policy", "",
             "members", "lag messages", "lag bytes", "lost", "cursor", "max lag");
    first = false;
    if (json)
      code = print_line(group_object(&group));
    else
      print_group(&group);
  }
  ringbus_ring_close(ring);
  return code;
}

/* ---------------------------------------------------------------- rm */

static int remove_group(const char *name, ringbus_ring *ring, const char *group) {
  int error = ringbus_ring_remove_group(ring, group);
  int code = error == 0 ? COMMAND_OK
                        : failed_because(name, error, "group %s: %s", group, reason_of(error));
  if (!json)
    return code;
  cJSON *object = cJSON_CreateObject();
  add_name(object, "name", name);
  add_name(object, "group", group);
  cJSON_AddBoolToObject(object, "removed", error == 0);
  add_name(object, "error", error == 0 ? NULL : error_told());
  int printed = print_line(object);
  return code == COMMAND_OK ? printed : code;
}

static int remove_groups(const char *name, char **groups) {
  ringbus_ring *ring;
  const struct ring_request request = {.name = name};
  int first_failure = open_ring(&request, &ring);
  if (first_failure != COMMAND_OK)
    return first_failure;
  for (; *groups != NULL; groups++) {
    int code = remove_group(name, ring, *groups);
    first_failure = first_failure == COMMAND_OK ? code : first_failure;
  }
  ringbus_ring_close(ring);
  return first_failure;
}

/* ---------------------------------------------------------------- seek */

struct place {
  uint64_t position, count;
};

static cJSON *place_object(const struct place *place) {
  cJSON *object = cJSON_CreateObject();
  add_whole(object, "position", place->position);
  add_whole(object, "count", place->count);
  return object;
}

static int print_move(const char *name, const char *group, const struct place *from,
                      const struct place *to) {
  if (!json) {
    char shown[sizeof((struct ringbus_group_info *)NULL)->name];
    snprintf(shown, sizeof shown, "%s", group);
    printf("%s: from position %" PRIu64 ", message %" PRIu64 ", to position %" PRIu64
           ", message %" PRIu64 "\n",
           make_printable(shown), from->position, from->count, to->position, to->count);
    return COMMAND_OK;
  }
  cJSON *object = cJSON_CreateObject();
  add_name(object, "name", name);
  add_name(object, "group", group);
  cJSON_AddItemToObject(object, "from", place_object(from));
  cJSON_AddItemToObject(object, "to", place_object(to));
  return print_line(object);
}

/* move_group: by becoming its consumer for a moment. */
static int move_group(const char *name, ringbus_ring *ring, const char *group, struct where where) {
  struct ringbus_group_info seen;
  ringbus_consumer *consumer;
  const struct ringbus_consumer_options as = {
      .name = "ringbus group", .group = group, .must_exist = true};
  if (find_group(ring, group, &seen) == 0 && seen.shared)
    return failed_because(name, -EINVAL,
                          "group '%s' is shared and cannot be moved: remove it, and join it anew "
                          "with --from",
                          group);
  int error = ringbus_consumer_attach(ring, &as, &consumer);
  if (error == -ENOENT)
    return failed_because(name, error, "the ring has no group '%s': 'ringbus group ls' lists them",
                          group);
  if (error != 0)
    return failed_call(name, error);
  struct place from, to;
  ringbus_consumer_tell(consumer, &from.position, &from.count);
  error = ringbus_consumer_seek(consumer, where.start, where.position);
  int code = error == 0 || error == -EOVERFLOW /* to what is oldest by now */
                 ? COMMAND_OK
                 : failed_call(name, error);
  ringbus_consumer_tell(consumer, &to.position, &to.count);
  ringbus_consumer_detach(consumer);
  return code == COMMAND_OK ? print_move(name, group, &from, &to) : code;
}

static int seek_group(const char *name, const char *group, const char *to) {
  static const char *const places[] = {"oldest", "newest", "a position", NULL};
  struct where where = parse_where("WHERE", to, places);
  ringbus_ring *ring;
  const struct ring_request request = {.name = name};
  int code = open_ring(&request, &ring);
  if (code != COMMAND_OK)
    return code;
  code = move_group(name, ring, group, where);
  ringbus_ring_close(ring);
  return code;
}

/* ---------------------------------------------------------------- the whole */

enum { LS, RM, SEEK };
static const char *const words[] = {"ls", "rm", "seek", NULL};

static int run(int count, char **operands) {
  switch (parse_choice("group", count == 0 ? "" : operands[0], words)) {
  case LS:
    return list_groups(not_a_copy(one_name(count - 1, operands + 1)));
  case RM:
    if (count < 3)
      usage_error("rm: expected the NAME of a ring and at least one GROUP");
    return remove_groups(not_a_copy(operands[1]), operands + 2);
  default:
    if (count != 4)
      usage_error("seek: expected the NAME of a ring, a GROUP and WHERE to: oldest, newest or a "
                  "position");
    return seek_group(not_a_copy(operands[1]), operands[2], operands[3]);
  }
}

const struct verb group_verb = {
    .name = "group",
    .summary = "list, remove or move the groups of a ring",
    .help = help,
    .options = options,
    .run = run,
    .choices = words,
    .operands = {WORD_CHOICE, WORD_RING, WORD_GROUP, WORD_NOTHING},
};
