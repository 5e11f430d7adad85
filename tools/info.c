/* SPDX-License-Identifier: MIT */
/* info.c - `ringbus info`: what there is to see of a ring, for people or as JSON. */
#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char info_help[] = "Usage: ringbus info NAME [--json]\n"
                         "Show a ring: its size and state, who is attached, where its groups "
                         "stand, and who waits for\n"
                         "whom. Changes nothing; read permission is enough. A NAME of - is a copy "
                         "of a ring's file on\n"
                         "standard input.\n"
                         "\n"
                         "  --json   as one JSON object; the names of its members stay as they "
                         "are. Positions and counts\n"
                         "           are written as whole 64-bit numbers\n"
                         "\n"
                         "Examples\n"
                         "  ringbus info quotes\n"
                         "  ringbus info quotes --json | jq '.groups[] | {name, lag_messages}'\n";

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char *const role_names[] = {"none", "producer", "consumer"};
static const char *const policy_names[] = {"gate", "gate-while-attached", "lapped"};
static const char *const no_group_names[] = {"hold", "drop"};
static const char *const wake_names[] = {"membarrier", "fence", "never"};

/* The numbers come out of a file that others write; a newer library may know more of them. */
#define NAME_OF(names, number)                                                                     \
  ((size_t)(number) < sizeof(names) / sizeof((names)[0]) ? (names)[(size_t)(number)] : "unknown")

static const char *state_name(const struct ringbus_ring_info *info) {
  return info->retired ? "retired" : info->closed ? "closed" : "open";
}

/* ---------------------------------------------------------------- JSON */

static cJSON *participant_object(struct ringbus_participant *participant) {
  cJSON *object = cJSON_CreateObject();
  add_whole(object, "slot", participant->slot);
  cJSON_AddStringToObject(object, "role", NAME_OF(role_names, participant->role));
  cJSON_AddBoolToObject(object, "alive", participant->alive);
  add_whole(object, "pid", participant->pid);
  cJSON_AddBoolToObject(object, "pid_is_local", participant->pid_is_local);
  add_whole(object, "attached_ns", participant->attached_ns);
  cJSON_AddStringToObject(object, "name", make_printable(participant->name));
  if (participant->role == RINGBUS_CONSUMER)
    cJSON_AddStringToObject(object, "group", make_printable(participant->group));
  else
    cJSON_AddNullToObject(object, "group");
  return object;
}

static void add_participants(cJSON *object, const ringbus_ring *ring,
                             const struct ringbus_ring_info *info) {
  cJSON *list = cJSON_AddArrayToObject(object, "participants");
  for (uint32_t slot = 1; slot <= info->max_participants; slot++) {
    struct ringbus_participant participant;
    if (ringbus_ring_participant(ring, slot, &participant) == 0)
      cJSON_AddItemToArray(list, participant_object(&participant));
  }
}

/* add_blame: null if nobody is waited for. */
static void add_blame(cJSON *object, const char *key, const ringbus_ring *ring,
                      enum ringbus_role waiting) {
  struct ringbus_blame blame;
  if (ringbus_ring_blame(ring, waiting, &blame) != 0) {
    cJSON_AddNullToObject(object, key);
    return;
  }
  cJSON *item = cJSON_AddObjectToObject(object, key);
  if (blame.group[0] != '\0')
    cJSON_AddStringToObject(item, "group", make_printable(blame.group));
  else
    cJSON_AddNullToObject(item, "group");
  add_whole(item, "position", blame.position);
  add_whole(item, "bytes", blame.bytes);
  add_whole(item, "since_ns", blame.since_ns);
  cJSON_AddItemToObject(item, "participant",
                        blame.slot == 0 ? cJSON_CreateNull()
                                        : participant_object(&blame.participant));
}

static void add_groups(cJSON *object, const ringbus_ring *ring,
                       const struct ringbus_ring_info *info) {
  cJSON *list = cJSON_AddArrayToObject(object, "groups");
  for (uint32_t index = 0; index < info->max_groups; index++) {
    struct ringbus_group_info group;
    if (ringbus_ring_group(ring, index, &group) != 0)
      continue;
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "name", make_printable(group.name));
    cJSON_AddStringToObject(item, "policy", NAME_OF(policy_names, group.policy));
    cJSON_AddBoolToObject(item, "durable", group.durable);
    cJSON_AddBoolToObject(item, "gating", group.gating);
    cJSON_AddBoolToObject(item, "shared", group.shared);
    cJSON_AddBoolToObject(item, "attached", group.attached);
    add_whole(item, "members", group.members);
    add_whole(item, "slot", group.slot);
    add_whole(item, "max_lag", group.max_lag);
    add_whole(item, "cursor", group.cursor);
    add_whole(item, "cursor_count", group.cursor_count);
    add_whole(item, "lag_bytes", group.lag_bytes);
    add_whole(item, "lag_messages", group.lag_messages);
    add_whole(item, "lost_messages", group.lost_messages);
    add_whole(item, "lost_bytes", group.lost_bytes);
    add_whole(item, "redelivered", group.redelivered);
    cJSON_AddItemToArray(list, item);
  }
}

static int print_json(const char *name, const ringbus_ring *ring, struct ringbus_ring_info *info) {
  char id[2 * sizeof info->ring_id + 1];
  for (size_t index = 0; index < sizeof info->ring_id; index++)
    snprintf(id + 2 * index, 3, "%02x", info->ring_id[index]);
  cJSON *object = cJSON_CreateObject();
  cJSON_AddStringToObject(object, "name", name);
  cJSON_AddStringToObject(object, "id", id);
  cJSON_AddStringToObject(object, "state", state_name(info));
  add_whole(object, "layout_version", info->layout_version);
  cJSON_AddStringToObject(object, "library_version", make_printable(info->library_version));
  add_whole(object, "created_ns", info->created_ns);
  add_whole(object, "epoch", info->epoch);
  add_whole(object, "capacity", info->capacity);
  add_whole(object, "max_message", info->max_message);
  add_whole(object, "file_bytes", info->file_bytes);
  cJSON_AddBoolToObject(object, "many_producers", info->many_producers);
  cJSON_AddBoolToObject(object, "overwrite", info->overwrite);
  cJSON_AddStringToObject(object, "no_group", NAME_OF(no_group_names, info->no_group));
  cJSON_AddStringToObject(object, "wake", NAME_OF(wake_names, info->wake));
  add_whole(object, "oldest", info->oldest);
  add_whole(object, "oldest_count", info->oldest_count);
  add_whole(object, "tail", info->tail);
  add_whole(object, "tail_count", info->tail_count);
  add_whole(object, "full_events", info->full_events);
  add_whole(object, "max_lag", info->max_lag);
  add_whole(object, "broken_cursors", info->broken_cursors);
  add_whole(object, "dropped", info->dropped);
  add_whole(object, "recovered", info->recovered);
  add_whole(object, "max_participants", info->max_participants);
  add_whole(object, "max_groups", info->max_groups);
  add_participants(object, ring, info);
  add_groups(object, ring, info);
  add_blame(object, "readers_wait_for", ring, RINGBUS_CONSUMER);
  add_blame(object, "producers_wait_for", ring, RINGBUS_PRODUCER);

  char *text = cJSON_Print(object);
  cJSON_Delete(object);
  if (text == NULL)
    return failed_because(name, -ENOMEM, "%s", ringbus_strerror(-ENOMEM));
  puts(text);
  cJSON_free(text);
  return COMMAND_OK;
}

/* ---------------------------------------------------------------- text */

/* "1M" where it is exact, else bytes. */
static const char *short_size(uint64_t bytes, char text[24]) {
  unsigned power = 0;
  while (power < 4 && bytes >= 1024 && bytes % 1024 == 0) {
    bytes /= 1024;
    power++;
  }
  snprintf(text, 24, power == 0 ? "%" PRIu64 : "%" PRIu64 "%c", bytes, " KMGT"[power]);
  return text;
}

static void print_participants(const ringbus_ring *ring, const struct ringbus_ring_info *info) {
  printf("participants  %" PRIu32 " alive, room for %" PRIu32 "\n", info->participants,
         info->max_participants);
  bool first = true;
  for (uint32_t slot = 1; slot <= info->max_participants; slot++) {
    struct ringbus_participant participant;
    if (ringbus_ring_participant(ring, slot, &participant) != 0)
      continue;
    if (first) {
      printf("  %4s  %-8s  %-5s  %10s  %-19s  %s\n", "slot", "role", "", "pid", "attached", "name");
      first = false;
    }
    char when[24];
    bool in_group = participant.role == RINGBUS_CONSUMER && participant.group[0] != '\0';
    printf("  %4" PRIu32 "  %-8s  %-5s  %10" PRIu32 "  %-19s  %s%s%s%s\n", participant.slot,
           NAME_OF(role_names, participant.role), participant.alive ? "alive" : "dead",
           participant.pid, local_time(participant.attached_ns, when),
           make_printable(participant.name), in_group ? ", group " : "",
           in_group ? make_printable(participant.group) : "",
           participant.pid_is_local ? "" : " (pid of another namespace)");
  }
}

static void print_groups(const ringbus_ring *ring, const struct ringbus_ring_info *info) {
  printf("groups        %" PRIu32 ", room for %" PRIu32 "\n", info->groups, info->max_groups);
  bool first = true;
  for (uint32_t index = 0; index < info->max_groups; index++) {
    struct ringbus_group_info group;
    if (ringbus_ring_group(ring, index, &group) != 0)
      continue;
    if (first) {
      printf("  %-20s  %12s  %12s  %12s  %s\n", "cursor", "lag messages", "lag bytes", "lost",
             "name");
      first = false;
    }
    char limit[24], members[64] = "";
    if (group.shared)
      snprintf(members, sizeof members, ", shared by %" PRIu32 ", redelivered %" PRIu64,
               group.members, group.redelivered);
    printf("  %-20" PRIu64 "  %12" PRIu64 "  %12" PRIu64 "  %12" PRIu64
           "  %s: %s%s%s, %s, %s, %s%s\n",
           group.cursor, group.lag_messages, group.lag_bytes, group.lost_messages,
           make_printable(group.name), NAME_OF(policy_names, group.policy),
           group.max_lag == 0 ? "" : ", max lag ",
           group.max_lag == 0 ? "" : short_size(group.max_lag, limit),
           group.durable ? "durable" : "ephemeral", group.attached ? "attached" : "not attached",
           group.gating ? "gating" : "not gating", members);
  }
}

static void print_who_waits(const ringbus_ring *ring) {
  struct ringbus_blame blame;
  char who[DESCRIPTION_BYTES], when[24];
  if (ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame) == 0) {
    printf("readers wait  for the message at position %" PRIu64 ", %s%s: %s\n", blame.position,
           blame.since_ns == 0 ? "begun and not committed" : "since ",
           blame.since_ns == 0 ? "" : local_time(blame.since_ns, when),
           blame.slot == 0 ? "of somebody who is gone"
                           : describe_participant(&blame.participant, who));
  }
  if (ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame) == 0) {
    printf("producers     wait, or will, for group %s, %" PRIu64 " bytes behind: %s\n",
           make_printable(blame.group), blame.bytes,
           blame.slot == 0 ? "nobody reads for it" : describe_participant(&blame.participant, who));
  }
}

static void print_text(const char *name, const ringbus_ring *ring, struct ringbus_ring_info *info) {
  char capacity[24], when[24];
  printf("ring          %s, %s\n", name, state_name(info));
  printf("capacity      %s, longest message %" PRIu64 " bytes\n",
         short_size(info->capacity, capacity), info->max_message);
  printf("file          %" PRIu64 " bytes, layout %" PRIu32 ", made by ringbus %s on %s\n",
         info->file_bytes, info->layout_version, make_printable(info->library_version),
         local_time(info->created_ns, when));
  printf("kind          %s producer%s; wake by %s\n", info->many_producers ? "many" : "one",
         info->many_producers ? "s" : "", NAME_OF(wake_names, info->wake));
  printf("room          %s; without group %s\n",
         info->overwrite ? "the oldest make way (overwrite)" : "waits for groups that gate",
         info->overwrite ? "the same" : NAME_OF(no_group_names, info->no_group));
  printf("oldest        position %" PRIu64 ", message %" PRIu64 "\n", info->oldest,
         info->oldest_count);
  printf("tail          position %" PRIu64 ", message %" PRIu64 "\n", info->tail, info->tail_count);
  printf("so far        found full %" PRIu64 " times, greatest lag %" PRIu64
         " bytes, dropped %" PRIu64 " messages, broken cursors %" PRIu64
         ", claims of the dead given up %" PRIu64 "\n",
         info->full_events, info->max_lag, info->dropped, info->broken_cursors, info->recovered);
  print_participants(ring, info);
  print_groups(ring, info);
  print_who_waits(ring);
}

int info_run(int argc, char **argv) {
  bool json = false;
  int found;
  while ((found = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    switch (found) {
    case 'j':
      json = true;
      break;
    case 'h':
      return verb_help(info_help);
    default:
      usage_error_option(found, argv);
    }
  }
  if (argc - optind != 1)
    usage_error("expected one NAME, got %d", argc - optind);

  const char *name = argv[optind];
  ringbus_ring *ring;
  int code = open_to_look(name, &ring);
  if (code != COMMAND_OK)
    return code;
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(ring, &info);
  if (error != 0)
    code = failed_call(name, error);
  else if (json)
    code = print_json(name, ring, &info);
  else
    print_text(name, ring, &info);
  ringbus_ring_close(ring);
  return code;
}
