/* SPDX-License-Identifier: MIT */
/* info.c - `ringbus info`: what there is to see of a ring, for people or as JSON. */
#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char info_help[] = "Usage: ringbus info NAME [--json]\n"
                         "Show a ring: its size and state, who is attached, and where its groups "
                         "stand. Changes nothing;\n"
                         "read permission is enough.\n"
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

/* ---------------------------------------------------------------- names that others have written */

/* How many bytes the well-formed, printable UTF-8 character at text has; 0 if there is none. */
static size_t printable_bytes(const unsigned char *text) {
  if (text[0] < 0x80)
    return text[0] >= 0x20 && text[0] != 0x7f ? 1 : 0;
  size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
  uint32_t character = text[0] & (0xffu >> (length + 1));
  for (size_t index = 1; index < length; index++) {
    if ((text[index] & 0xc0) != 0x80)
      return 0;
    character = character << 6 | (text[index] & 0x3fu);
  }
  static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000}; /* 0x80 to 0x9f control terminals */
  bool surrogate = character >= 0xd800 && character <= 0xdfff;
  bool bad_lead = text[0] < 0xc2 || text[0] > 0xf4;
  return bad_lead || surrogate || character < least[length] || character > 0x10ffff ? 0 : length;
}

/* make_printable: a name from the file must not control a terminal or break JSON: such bytes become
 * '?'. Returns name. */
static const char *make_printable(char *name) {
  for (char *at = name; *at != '\0';) {
    size_t length = printable_bytes((const unsigned char *)at);
    if (length == 0) {
      *at = '?';
      length = 1;
    }
    at += length;
  }
  return name;
}

/* ---------------------------------------------------------------- JSON */

/* cJSON keeps numbers as doubles, which would round 64-bit positions. */
static void add_whole(cJSON *object, const char *key, uint64_t value) {
  char digits[21];
  snprintf(digits, sizeof digits, "%" PRIu64, value);
  cJSON_AddRawToObject(object, key, digits);
}

static void add_participants(cJSON *object, const ringbus_ring *ring,
                             const struct ringbus_ring_info *info) {
  cJSON *list = cJSON_AddArrayToObject(object, "participants");
  for (uint32_t slot = 1; slot <= info->max_participants; slot++) {
    struct ringbus_participant participant;
    if (ringbus_ring_participant(ring, slot, &participant) != 0)
      continue;
    cJSON *item = cJSON_CreateObject();
    add_whole(item, "slot", participant.slot);
    cJSON_AddStringToObject(item, "role", NAME_OF(role_names, participant.role));
    cJSON_AddBoolToObject(item, "alive", participant.alive);
    add_whole(item, "pid", participant.pid);
    cJSON_AddBoolToObject(item, "pid_is_local", participant.pid_is_local);
    add_whole(item, "attached_ns", participant.attached_ns);
    cJSON_AddStringToObject(item, "name", make_printable(participant.name));
    if (participant.role == RINGBUS_CONSUMER)
      cJSON_AddStringToObject(item, "group", make_printable(participant.group));
    else
      cJSON_AddNullToObject(item, "group");
    cJSON_AddItemToArray(list, item);
  }
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
    cJSON_AddBoolToObject(item, "attached", group.attached);
    add_whole(item, "slot", group.slot);
    add_whole(item, "max_lag", group.max_lag);
    add_whole(item, "cursor", group.cursor);
    add_whole(item, "cursor_count", group.cursor_count);
    add_whole(item, "lag_bytes", group.lag_bytes);
    add_whole(item, "lag_messages", group.lag_messages);
    add_whole(item, "lost_messages", group.lost_messages);
    add_whole(item, "lost_bytes", group.lost_bytes);
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
  add_whole(object, "max_participants", info->max_participants);
  add_whole(object, "max_groups", info->max_groups);
  add_participants(object, ring, info);
  add_groups(object, ring, info);

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

static const char *local_time(uint64_t realtime_ns, char text[24]) {
  time_t seconds = (time_t)(realtime_ns / 1000000000);
  struct tm parts;
  if (localtime_r(&seconds, &parts) == NULL || strftime(text, 24, "%Y-%m-%d %H:%M:%S", &parts) == 0)
    snprintf(text, 24, "?");
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
    char limit[24];
    printf("  %-20" PRIu64 "  %12" PRIu64 "  %12" PRIu64 "  %12" PRIu64
           "  %s: %s%s%s, %s, %s, %s\n",
           group.cursor, group.lag_messages, group.lag_bytes, group.lost_messages,
           make_printable(group.name), NAME_OF(policy_names, group.policy),
           group.max_lag == 0 ? "" : ", max lag ",
           group.max_lag == 0 ? "" : short_size(group.max_lag, limit),
           group.durable ? "durable" : "ephemeral", group.attached ? "attached" : "not attached",
           group.gating ? "gating" : "not gating");
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
  printf("without group %s; wake by %s\n", NAME_OF(no_group_names, info->no_group),
         NAME_OF(wake_names, info->wake));
  printf("oldest        position %" PRIu64 ", message %" PRIu64 "\n", info->oldest,
         info->oldest_count);
  printf("tail          position %" PRIu64 ", message %" PRIu64 "\n", info->tail, info->tail_count);
  printf("so far        found full %" PRIu64 " times, greatest lag %" PRIu64
         " bytes, dropped %" PRIu64 " messages, broken cursors %" PRIu64 "\n",
         info->full_events, info->max_lag, info->dropped, info->broken_cursors);
  print_participants(ring, info);
  print_groups(ring, info);
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
  const struct ringbus_open_options options = {.read_only = true};
  ringbus_ring *ring;
  int error = ringbus_ring_open(name, &options, &ring);
  if (error != 0)
    return failed_call(name, error);
  struct ringbus_ring_info info;
  int code = COMMAND_OK;
  error = ringbus_ring_info(ring, &info);
  if (error != 0)
    code = failed_call(name, error);
  else if (json)
    code = print_json(name, ring, &info);
  else
    print_text(name, ring, &info);
  ringbus_ring_close(ring);
  return code;
}
