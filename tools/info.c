/* SPDX-License-Identifier: MIT */
/* info.c - `ringbus info`: what there is to see of a ring, for people or as JSON. */
#include "command.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

static const char help[] =
    "Usage: ringbus info NAME [--json]\n"
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
           role_name(participant.role), participant.alive ? "alive" : "dead", participant.pid,
           local_time(participant.attached_ns, when), make_printable(participant.name),
           in_group ? ", group " : "", in_group ? make_printable(participant.group) : "",
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
           make_printable(group.name), policy_name(group.policy),
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
  char capacity[24], when[24], shown[PATH_MAX];
  snprintf(shown, sizeof shown, "%s", name);
  printf("ring          %s, %s\n", make_printable(shown), state_name(info));
  printf("capacity      %s, longest message %" PRIu64 " bytes\n",
         short_size(info->capacity, capacity), info->max_message);
  printf("file          %" PRIu64 " bytes, layout %" PRIu32 ", made by ringbus %s on %s\n",
         info->file_bytes, info->layout_version, make_printable(info->library_version),
         local_time(info->created_ns, when));
  printf("kind          %s producer%s; wake by %s\n", info->many_producers ? "many" : "one",
         info->many_producers ? "s" : "", wake_name(info->wake));
  printf("room          %s; without group %s\n",
         info->overwrite ? "the oldest make way (overwrite)" : "waits for groups that gate",
         info->overwrite ? "the same" : no_group_name(info->no_group));
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

static bool json;

static const struct verb_option options[] = {OPTION_JSON(&json), OPTIONS_END};

static int run(int count, char **operands) {
  const char *name = one_name(count, operands);
  ringbus_ring *ring;
  int code = open_to_look(name, &ring);
  if (code != COMMAND_OK)
    return code;
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(ring, &info);
  if (error != 0)
    code = failed_call(name, error);
  else if (json)
    code = print_ring_json(name, ring);
  else
    print_text(name, ring, &info);
  ringbus_ring_close(ring);
  return code;
}

const struct verb info_verb = {
    .name = "info",
    .summary = "show a ring, who is attached, and where its groups stand",
    .help = help,
    .options = options,
    .run = run,
    .operands = {WORD_RING},
};
