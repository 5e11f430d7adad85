/* SPDX-License-Identifier: MIT */
/* ls.c - `ringbus ls`: the rings of a directory, one line each; what is there and is no ring, or is
 * damaged, is said to be so. */
#include "command.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "Usage: ringbus ls [DIRECTORY] [--json]\n"
    "List the rings of a directory (default: the bus directory), one line each: what they are, who "
    "is\n"
    "alive in them, how much is in them, how far the slowest group is behind, and what is wrong. "
    "A file\n"
    "that is damaged or is no ring is named as such. Changes nothing and is not noticed.\n"
    "\n"
    "  --json   as one JSON object a line: name, error (null, or why it cannot be looked at; then "
    "there\n"
    "           is nothing more), state, capacity, many_producers, overwrite, producers, consumers "
    "and\n"
    "           dead (participants), messages (in the ring), groups, lag_messages and lag_group "
    "(of\n"
    "           the slowest), blocked (true or false: readers wait for a message that was begun)\n"
    "\n"
    "Examples\n"
    "  ringbus ls\n"
    "  ringbus ls /dev/shm\n"
    "  ringbus ls --json | jq -r 'select(.dead > 0).name'\n";

static bool json;

static const struct verb_option options[] = {OPTION_JSON(&json), OPTIONS_END};

/* What there is to say of one. */
struct summary {
  struct ringbus_ring_info info;
  uint32_t producers, consumers, dead;
  uint64_t lag;
  char lag_group[64];
  bool blocked;
};

static int summarize(const ringbus_ring *ring, struct summary *summary) {
  int error = ringbus_ring_info(ring, &summary->info);
  if (error != 0)
    return error;
  for (uint32_t slot = 1; slot <= summary->info.max_participants; slot++) {
    struct ringbus_participant participant;
    if (ringbus_ring_participant(ring, slot, &participant) != 0)
      continue;
    summary->producers += participant.alive && participant.role == RINGBUS_PRODUCER;
    summary->consumers += participant.alive && participant.role == RINGBUS_CONSUMER;
    summary->dead += !participant.alive;
  }
  for (uint32_t index = 0; index < summary->info.max_groups; index++) {
    struct ringbus_group_info group;
    if (ringbus_ring_group(ring, index, &group) != 0 || group.lag_messages < summary->lag)
      continue;
    summary->lag = group.lag_messages;
    snprintf(summary->lag_group, sizeof summary->lag_group, "%s", make_printable(group.name));
  }
  struct ringbus_blame blame;
  summary->blocked = ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame) == 0 && blame.since_ns != 0;
  return 0;
}

static int print_as_json(const char *name, const struct summary *summary, const char *why) {
  cJSON *object = cJSON_CreateObject();
  add_name(object, "name", name);
  add_name(object, "error", why);
  if (why == NULL) {
    const struct ringbus_ring_info *info = &summary->info;
    cJSON_AddStringToObject(object, "state", state_name(info));
    add_whole(object, "capacity", info->capacity);
    cJSON_AddBoolToObject(object, "many_producers", info->many_producers);
    cJSON_AddBoolToObject(object, "overwrite", info->overwrite);
    add_whole(object, "producers", summary->producers);
    add_whole(object, "consumers", summary->consumers);
    add_whole(object, "dead", summary->dead);
    add_whole(object, "messages", info->tail_count - info->oldest_count);
    add_whole(object, "groups", info->groups);
    add_whole(object, "lag_messages", summary->lag);
    add_name(object, "lag_group", *summary->lag_group ? summary->lag_group : NULL);
    cJSON_AddBoolToObject(object, "blocked", summary->blocked);
  }
  return print_line(object);
}

static void print_as_text(const char *name, const struct summary *summary, char *why) {
  char shown[NAME_MAX + 1], capacity[24];
  snprintf(shown, sizeof shown, "%s", name);
  make_printable(shown);
  if (why != NULL) {
    printf("%-20s  %s\n", shown, make_printable(why));
    return;
  }
  const struct ringbus_ring_info *info = &summary->info;
  printf("%-20s  %8s  %-4s %-9s  %9" PRIu32 "  %9" PRIu32 "  %12" PRIu64 "  %12" PRIu64
         " %-16s  %s",
         shown, short_size(info->capacity, capacity), info->many_producers ? "many" : "one",
         info->overwrite ? "overwrite" : "", summary->producers, summary->consumers,
         info->tail_count - info->oldest_count, summary->lag,
         *summary->lag_group ? summary->lag_group : "-", state_name(info));
  if (summary->dead > 0)
    printf(", %" PRIu32 " dead", summary->dead);
  printf("%s\n", summary->blocked ? ", readers are blocked: 'ringbus info' says by whom" : "");
}

/* look_at: one of them. What can be no ring, a device as well, is not even opened. Returns 0, or a negative errno
 * and *why, in words; NULL: no memory for them. */
static int look_at(const char *path, ringbus_ring **ring, struct summary *summary, char **why) {
  const struct ringbus_open_options look = {.read_only = true};
  struct stat status;
  const char *kind = lstat(path, &status) == 0 ? kind_of_file(status.st_mode) : NULL;
  if (kind != NULL) {
    *why = asprintf(why, "it is %s, not a ring", kind) < 0 ? NULL : *why;
    return -EBADMSG;
  }
  int error = ringbus_ring_open(path, &look, ring);
  if (error == 0)
    error = summarize(*ring, summary);
  *why = error == 0 ? NULL : strdup(reason_of(error));
  return error;
}

/* list_one: returns COMMAND_OK, or an exit code after reporting; a file that cannot be looked at is none. */
static int list_one(const char *directory, const char *name) {
  char *path, *why;
  ringbus_ring *ring = NULL;
  struct summary summary = {.lag = 0};
  if (asprintf(&path, "%s/%s", directory, name) < 0)
    return out_of_memory(directory);
  int code = COMMAND_OK, error = look_at(path, &ring, &summary, &why);
  if (error != 0 && why == NULL)
    code = out_of_memory(path);
  else if (error != -ENOENT && json) /* else it was removed meanwhile */
    code = print_as_json(name, &summary, why);
  else if (error != -ENOENT)
    print_as_text(name, &summary, why);
  free(why);
  free(path);
  if (ring != NULL)
    ringbus_ring_close(ring);
  return code;
}

static int is_shown(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int run(int count, char **operands) {
  char bus[PATH_MAX];
  const char *directory = operands[0];
  if (count > 1)
    usage_error("expected one DIRECTORY at most, got %d", count);
  if (count == 0) {
    int error = ringbus_bus_directory(bus, sizeof bus);
    if (error != 0)
      return failed_call("the bus directory", error);
    directory = bus;
  }
  /* Not ringbus_bus_list, which passes over what is no ring. */
  struct dirent **entries;
  int found = scandir(directory, &entries, is_shown, alphasort);
  if (found < 0)
    return failed_because(directory, -errno, "cannot list it: %s", strerror(errno));
  if (found > 0 && !json)
    printf("%-20s  %8s  %-14s  %9s  %9s  %12s  %12s %-16s  %s\n", "ring", "capacity", "producers",
           "producing", "consuming", "messages", "slowest lag", "of group", "state");
  int code = COMMAND_OK;
  for (int index = 0; index < found; index++) {
    if (code == COMMAND_OK)
      code = list_one(directory, entries[index]->d_name);
    free(entries[index]);
  }
  free(entries);
  return code;
}

const struct verb ls_verb = {
    .name = "ls",
    .summary = "list the rings of a directory, and what is wrong with them",
    .help = help,
    .options = options,
    .run = run,
    .operands = {WORD_DIRECTORY, WORD_NOTHING, WORD_NOTHING, WORD_NOTHING},
};
