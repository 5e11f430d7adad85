/* SPDX-License-Identifier: MIT */
/* describe.c - rings, participants and groups, as text and as JSON; what others have written, fit to be
 * shown. */
#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

size_t printable_bytes(const char *text, size_t room) {
  const unsigned char *byte = (const unsigned char *)text;
  if (byte[0] < 0x80)
    return byte[0] >= 0x20 && byte[0] != 0x7f ? 1 : 0;
  size_t length = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
  uint32_t character = byte[0] & (0xffu >> (length + 1));
  if (length > room)
    return 0;
  for (size_t index = 1; index < length; index++) {
    if ((byte[index] & 0xc0) != 0x80)
      return 0;
    character = character << 6 | (byte[index] & 0x3fu);
  }
  static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000}; /* 0x80 to 0x9f control terminals */
  bool surrogate = character >= 0xd800 && character <= 0xdfff;
  bool bad_lead = byte[0] < 0xc2 || byte[0] > 0xf4;
  return bad_lead || surrogate || character < least[length] || character > 0x10ffff ? 0 : length;
}

/* replace: what is not printable by '?', except control characters below this one. */
static const char *replace(char *name, unsigned char kept_below) {
  size_t room = strlen(name);
  for (char *at = name; room > 0;) {
    size_t length = (unsigned char)*at < kept_below ? 1 : printable_bytes(at, room);
    if (length == 0) {
      *at = '?';
      length = 1;
    }
    at += length;
    room -= length;
  }
  return name;
}

const char *make_printable(char *name) { return replace(name, 0); }

const char *local_time(uint64_t realtime_ns, char text[24]) {
  time_t seconds = (time_t)(realtime_ns / 1000000000);
  struct tm parts;
  if (localtime_r(&seconds, &parts) == NULL || strftime(text, 24, "%Y-%m-%d %H:%M:%S", &parts) == 0)
    snprintf(text, 24, "?");
  return text;
}

const char *describe_participant(const struct ringbus_participant *participant,
                                 char text[DESCRIPTION_BYTES]) {
  char name[sizeof participant->name], when[24];
  memcpy(name, participant->name, sizeof name);
  snprintf(text, DESCRIPTION_BYTES, "%s, pid %" PRIu32 "%s, slot %" PRIu32 ", %s%s",
           make_printable(name), participant->pid,
           participant->pid_is_local ? "" : " of another namespace", participant->slot,
           participant->alive ? "attached since " : "dead, was attached on ",
           local_time(participant->attached_ns, when));
  return text;
}

const char *short_size(uint64_t bytes, char text[24]) {
  unsigned power = 0;
  while (power < 4 && bytes >= 1024 && bytes % 1024 == 0) {
    bytes /= 1024;
    power++;
  }
  snprintf(text, 24, power == 0 ? "%" PRIu64 : "%" PRIu64 "%c", bytes, " KMGT"[power]);
  return text;
}

/* ---------------------------------------------------------------- names */

/* The numbers come out of a file that others write; a newer library may know more of them. */
static const char *name_of(const char *const *names, size_t count, unsigned number) {
  return number < count ? names[number] : "unknown";
}
#define NAME_OF(names, number)                                                                     \
  name_of(names, sizeof(names) / sizeof((names)[0]), (unsigned)(number))

const char *state_name(const struct ringbus_ring_info *info) {
  return info->retired ? "retired" : info->closed ? "closed" : "open";
}

const char *role_name(enum ringbus_role role) {
  static const char *const names[] = {"none", "producer", "consumer"};
  return NAME_OF(names, role);
}

const char *policy_name(enum ringbus_policy policy) {
  static const char *const names[] = {"gate", "gate-while-attached", "lapped"};
  return NAME_OF(names, policy);
}

const char *no_group_name(enum ringbus_no_group no_group) {
  static const char *const names[] = {"hold", "drop"};
  return NAME_OF(names, no_group);
}

const char *wake_name(enum ringbus_wake wake) {
  static const char *const names[] = {"membarrier", "fence", "never"};
  return NAME_OF(names, wake);
}

/* ---------------------------------------------------------------- JSON */

void add_whole(cJSON *object, const char *key, uint64_t value) {
  char digits[21];
  snprintf(digits, sizeof digits, "%" PRIu64, value);
  cJSON_AddRawToObject(object, key, digits);
}

void add_name(cJSON *object, const char *key, const char *name) {
  char *copy = name == NULL ? NULL : strdup(name);
  if (copy == NULL)
    cJSON_AddNullToObject(object, key);
  else
    cJSON_AddStringToObject(object, key, replace(copy, ' ')); /* which JSON escapes */
  free(copy);
}

cJSON *participant_object(const struct ringbus_participant *participant) {
  cJSON *object = cJSON_CreateObject();
  add_whole(object, "slot", participant->slot);
  cJSON_AddStringToObject(object, "role", role_name(participant->role));
  cJSON_AddBoolToObject(object, "alive", participant->alive);
  add_whole(object, "pid", participant->pid);
  cJSON_AddBoolToObject(object, "pid_is_local", participant->pid_is_local);
  add_whole(object, "attached_ns", participant->attached_ns);
  add_name(object, "name", participant->name);
  add_name(object, "group", participant->role == RINGBUS_CONSUMER ? participant->group : NULL);
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
  add_name(item, "group", blame.group[0] != '\0' ? blame.group : NULL);
  add_whole(item, "position", blame.position);
  add_whole(item, "bytes", blame.bytes);
  add_whole(item, "since_ns", blame.since_ns);
  cJSON_AddItemToObject(item, "participant",
                        blame.slot == 0 ? cJSON_CreateNull()
                                        : participant_object(&blame.participant));
}

cJSON *group_object(const struct ringbus_group_info *group) {
  cJSON *object = cJSON_CreateObject();
  add_name(object, "name", group->name);
  cJSON_AddStringToObject(object, "policy", policy_name(group->policy));
  cJSON_AddBoolToObject(object, "durable", group->durable);
  cJSON_AddBoolToObject(object, "gating", group->gating);
  cJSON_AddBoolToObject(object, "shared", group->shared);
  cJSON_AddBoolToObject(object, "attached", group->attached);
  add_whole(object, "members", group->members);
  add_whole(object, "slot", group->slot);
  add_whole(object, "max_lag", group->max_lag);
  add_whole(object, "cursor", group->cursor);
  add_whole(object, "cursor_count", group->cursor_count);
  add_whole(object, "lag_bytes", group->lag_bytes);
  add_whole(object, "lag_messages", group->lag_messages);
  add_whole(object, "lost_messages", group->lost_messages);
  add_whole(object, "lost_bytes", group->lost_bytes);
  add_whole(object, "redelivered", group->redelivered);
  return object;
}

static void add_groups(cJSON *object, const ringbus_ring *ring,
                       const struct ringbus_ring_info *info) {
  cJSON *list = cJSON_AddArrayToObject(object, "groups");
  for (uint32_t index = 0; index < info->max_groups; index++) {
    struct ringbus_group_info group;
    if (ringbus_ring_group(ring, index, &group) == 0)
      cJSON_AddItemToArray(list, group_object(&group));
  }
}

static cJSON *ring_object(const char *name, const ringbus_ring *ring,
                          const struct ringbus_ring_info *info) {
  char id[2 * sizeof info->ring_id + 1];
  for (size_t index = 0; index < sizeof info->ring_id; index++)
    snprintf(id + 2 * index, 3, "%02x", info->ring_id[index]);
  cJSON *object = cJSON_CreateObject();
  add_name(object, "name", name);
  cJSON_AddStringToObject(object, "id", id);
  cJSON_AddStringToObject(object, "state", state_name(info));
  add_whole(object, "layout_version", info->layout_version);
  add_name(object, "library_version", info->library_version);
  add_whole(object, "created_ns", info->created_ns);
  add_whole(object, "epoch", info->epoch);
  add_whole(object, "capacity", info->capacity);
  add_whole(object, "max_message", info->max_message);
  add_whole(object, "file_bytes", info->file_bytes);
  cJSON_AddBoolToObject(object, "many_producers", info->many_producers);
  cJSON_AddBoolToObject(object, "overwrite", info->overwrite);
  cJSON_AddStringToObject(object, "no_group", no_group_name(info->no_group));
  cJSON_AddStringToObject(object, "wake", wake_name(info->wake));
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
  return object;
}

/* print_object: text is what it is in JSON. */
static int print_object(cJSON *object, char *text) {
  cJSON_Delete(object);
  if (text == NULL)
    return out_of_memory("standard output");
  int code = puts(text) == EOF ? failed_output(errno) : COMMAND_OK;
  cJSON_free(text);
  return code;
}

int print_ring_json(const char *name, const ringbus_ring *ring) {
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(ring, &info);
  if (error != 0)
    return failed_call(name, error);
  cJSON *object = ring_object(name, ring, &info);
  return print_object(object, cJSON_Print(object));
}

int print_line(cJSON *object) { return print_object(object, cJSON_PrintUnformatted(object)); }
