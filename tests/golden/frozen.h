/* SPDX-License-Identifier: MIT */
/* frozen.h - format 1 once more, in numbers. layout.h may get new names; what is here stays as it is, and
 * a change of layout.h that would change the meaning of a file does not compile beside it. Included by
 * the programs here; compiled as C and as C++ by install.headers. */
#ifndef RINGBUS_TESTS_GOLDEN_FROZEN_H
#define RINGBUS_TESTS_GOLDEN_FROZEN_H

#include <ringbus/layout.h>

#define FROZEN(constant, value) RINGBUS_STATIC_ASSERT((constant) == (value), #constant)
#define FROZEN_FIELD(type, field, offset, size)                                                    \
  FROZEN(offsetof(struct type, field), offset);                                                    \
  FROZEN(sizeof(((struct type *)0)->field), size)

FROZEN(RINGBUS_LAYOUT_VERSION, 1);
FROZEN(RINGBUS_MAGIC, 0x005355424e474952);
FROZEN(RINGBUS_MAGIC_SWAPPED, 0x5249474e42555300);
FROZEN(RINGBUS_FEATURES_REQUIRED, 0);
FROZEN(RINGBUS_FEATURES_READ, 0);
FROZEN(RINGBUS_LINE, 128);
FROZEN(RINGBUS_DATA_ALIGNMENT, 65536);
FROZEN(RINGBUS_MIN_CAPACITY, 4096);
FROZEN(RINGBUS_MAX_CAPACITY, 0x10000000000);
FROZEN(RINGBUS_MAX_LENGTH, 0x7fffffff);
FROZEN(RINGBUS_MAX_SLOTS, 1024);
FROZEN(RINGBUS_MAX_GROUPS, 64);
FROZEN(RINGBUS_NAME_BYTES, 64);

FROZEN(RINGBUS_PRODUCERS_SINGLE, 1);
FROZEN(RINGBUS_PRODUCERS_MANY, 2);
FROZEN(RINGBUS_POLICY_RELIABLE, 1);
FROZEN(RINGBUS_POLICY_OVERWRITE, 2);
FROZEN(RINGBUS_NO_GROUP_HOLD, 1);
FROZEN(RINGBUS_NO_GROUP_DROP, 2);
FROZEN(RINGBUS_WAKE_ASYMMETRIC, 1);
FROZEN(RINGBUS_WAKE_FENCED, 2);
FROZEN(RINGBUS_WAKE_NONE, 3);
FROZEN(RINGBUS_STATE_CLOSED, 1);
FROZEN(RINGBUS_STATE_RETIRED, 2);
FROZEN(RINGBUS_ROLE_NONE, 0);
FROZEN(RINGBUS_ROLE_PRODUCER, 1);
FROZEN(RINGBUS_ROLE_CONSUMER, 2);
FROZEN(RINGBUS_GROUP_GATE, 1);
FROZEN(RINGBUS_GROUP_GATE_WHILE_ATTACHED, 2);
FROZEN(RINGBUS_GROUP_LAPPED, 3);
FROZEN(RINGBUS_GATING_MASK, 3);
FROZEN(RINGBUS_GATING_NONE, 0);
FROZEN(RINGBUS_GATING_JOINING, 1);
FROZEN(RINGBUS_GATING_SETTLED, 2);
FROZEN(RINGBUS_GATING_BACK, 3);
FROZEN(RINGBUS_GROUP_DURABLE, 1);
FROZEN(RINGBUS_GROUP_SHARED, 2);
FROZEN(RINGBUS_TAKEN_MASK, 7);
FROZEN(RINGBUS_TAKEN_NOTHING, 0);
FROZEN(RINGBUS_TAKEN_NOTED, 1);
FROZEN(RINGBUS_TAKEN_HELD, 2);
FROZEN(RINGBUS_TAKEN_COMING, 3);
FROZEN(RINGBUS_TAKE_SLOT_MASK, 1023);
FROZEN(RINGBUS_TAKE_COUNT_SHIFT, 10);
FROZEN(RINGBUS_SLOT_AT_MOST_ONCE, 1);

/* One producer, 4096 bytes: n = 9; many, 64 KiB: n = 10. */
FROZEN(RINGBUS_WORD_STATE_SHIFT(9), 19);
FROZEN(RINGBUS_WORD_LAP_SHIFT(9), 21);
FROZEN(RINGBUS_WORD_STATE_SHIFT(10), 20);
FROZEN(RINGBUS_WORD_LAP_SHIFT(10), 22);
FROZEN(RINGBUS_WORD_FREE, 0);
FROZEN(RINGBUS_WORD_CLAIMED, 1);
FROZEN(RINGBUS_WORD_COMMITTED, 2);
FROZEN(RINGBUS_WORD_PAD, 3);
FROZEN(RINGBUS_WORD_GRANULES_SHIFT, 10);
FROZEN(RINGBUS_WORD_UNUSED_SHIFT, 3);
FROZEN(RINGBUS_WORD_UNUSED_MASK, 127);
FROZEN(RINGBUS_WORD_FLAG_TAG, 1);
FROZEN(RINGBUS_WORD_OWNER_MASK, 1023);

FROZEN_FIELD(ringbus_identity, magic, 0, 8);
FROZEN_FIELD(ringbus_identity, layout_version, 8, 4);
FROZEN_FIELD(ringbus_identity, identity_bytes, 12, 4);
FROZEN_FIELD(ringbus_identity, features_required, 16, 8);
FROZEN_FIELD(ringbus_identity, features_read, 24, 8);
FROZEN_FIELD(ringbus_identity, features_optional, 32, 8);
FROZEN_FIELD(ringbus_identity, capacity, 40, 8);
FROZEN_FIELD(ringbus_identity, data_offset, 48, 8);
FROZEN_FIELD(ringbus_identity, words_offset, 56, 8);
FROZEN_FIELD(ringbus_identity, words_bytes, 64, 8);
FROZEN_FIELD(ringbus_identity, granule_shift, 72, 4);
FROZEN_FIELD(ringbus_identity, word_shift, 76, 4);
FROZEN_FIELD(ringbus_identity, producers, 80, 4);
FROZEN_FIELD(ringbus_identity, policy, 84, 4);
FROZEN_FIELD(ringbus_identity, no_group, 88, 4);
FROZEN_FIELD(ringbus_identity, wake, 92, 4);
FROZEN_FIELD(ringbus_identity, slots_offset, 96, 8);
FROZEN_FIELD(ringbus_identity, slot_count, 104, 4);
FROZEN_FIELD(ringbus_identity, slot_bytes, 108, 4);
FROZEN_FIELD(ringbus_identity, groups_offset, 112, 8);
FROZEN_FIELD(ringbus_identity, group_count, 120, 4);
FROZEN_FIELD(ringbus_identity, group_bytes, 124, 4);
FROZEN_FIELD(ringbus_identity, ring_id, 128, 16);
FROZEN_FIELD(ringbus_identity, created_ns, 144, 8);
FROZEN_FIELD(ringbus_identity, creator_pid, 152, 4);
FROZEN_FIELD(ringbus_identity, creator_uid, 156, 4);
FROZEN_FIELD(ringbus_identity, library_version, 160, 32);
FROZEN_FIELD(ringbus_identity, reserved, 192, 312);
FROZEN_FIELD(ringbus_identity, checksum, 504, 8);

FROZEN_FIELD(ringbus_header, life.epoch, 512, 8);
FROZEN_FIELD(ringbus_header, life.boot_id, 520, 16);
FROZEN_FIELD(ringbus_header, life.reserved, 536, 104);
FROZEN_FIELD(ringbus_header, signals.state, 640, 4);
FROZEN_FIELD(ringbus_header, signals.data_waiters, 644, 4);
FROZEN_FIELD(ringbus_header, signals.room_waiters, 648, 4);
FROZEN_FIELD(ringbus_header, signals.presence, 652, 4);
FROZEN_FIELD(ringbus_header, signals.had_producer, 656, 4);
FROZEN_FIELD(ringbus_header, signals.sleeps, 660, 4);
FROZEN_FIELD(ringbus_header, signals.reserved, 664, 104);
FROZEN_FIELD(ringbus_header, tail.position, 768, 8);
FROZEN_FIELD(ringbus_header, tail.count, 776, 16);
FROZEN_FIELD(ringbus_header, tail.reserved, 792, 104);
FROZEN_FIELD(ringbus_header, floor.position, 896, 8);
FROZEN_FIELD(ringbus_header, floor.count, 904, 16);
FROZEN_FIELD(ringbus_header, floor.reserved, 920, 104);
FROZEN_FIELD(ringbus_header, join.groups, 1024, 8);
FROZEN_FIELD(ringbus_header, join.reserved, 1032, 120);
FROZEN_FIELD(ringbus_header, counters.full_events, 1152, 8);
FROZEN_FIELD(ringbus_header, counters.max_lag, 1160, 8);
FROZEN_FIELD(ringbus_header, counters.broken_cursors, 1168, 8);
FROZEN_FIELD(ringbus_header, counters.broken_group, 1176, 8);
FROZEN_FIELD(ringbus_header, counters.dropped, 1184, 8);
FROZEN_FIELD(ringbus_header, counters.recovered, 1192, 8);
FROZEN_FIELD(ringbus_header, counters.blocked_at, 1200, 8);
FROZEN_FIELD(ringbus_header, counters.blocked_ns, 1208, 8);
FROZEN_FIELD(ringbus_header, counters.reserved, 1216, 64);
FROZEN_FIELD(ringbus_header, flushed.tail, 1280, 8);
FROZEN_FIELD(ringbus_header, flushed.tail_count, 1288, 8);
FROZEN_FIELD(ringbus_header, flushed.floor, 1296, 8);
FROZEN_FIELD(ringbus_header, flushed.floor_count, 1304, 8);
FROZEN_FIELD(ringbus_header, flushed.content, 1312, 8);
FROZEN_FIELD(ringbus_header, flushed.flushed_ns, 1320, 8);
FROZEN_FIELD(ringbus_header, flushed.check, 1328, 8);
FROZEN_FIELD(ringbus_header, flushed.reserved, 1336, 72);
FROZEN_FIELD(ringbus_header, reserved, 1408, 2688);
FROZEN(sizeof(struct ringbus_header), 4096);

FROZEN_FIELD(ringbus_slot, state, 0, 8);
FROZEN_FIELD(ringbus_slot, pid, 8, 4);
FROZEN_FIELD(ringbus_slot, group, 12, 4);
FROZEN_FIELD(ringbus_slot, attached_ns, 16, 8);
FROZEN_FIELD(ringbus_slot, pid_namespace, 24, 4);
FROZEN_FIELD(ringbus_slot, flags, 28, 4);
FROZEN_FIELD(ringbus_slot, name, 32, 64);
FROZEN_FIELD(ringbus_slot, claim, 96, 8);
FROZEN_FIELD(ringbus_slot, taken_to, 104, 8);
FROZEN_FIELD(ringbus_slot, taken, 112, 16);
FROZEN(sizeof(struct ringbus_slot), 128);

FROZEN_FIELD(ringbus_group, name, 0, 64);
FROZEN_FIELD(ringbus_group, policy, 64, 4);
FROZEN_FIELD(ringbus_group, flags, 68, 4);
FROZEN_FIELD(ringbus_group, created_ns, 72, 8);
FROZEN_FIELD(ringbus_group, lost_messages, 80, 8);
FROZEN_FIELD(ringbus_group, lost_bytes, 88, 8);
FROZEN_FIELD(ringbus_group, reserved0, 96, 32);
FROZEN_FIELD(ringbus_group, cursor, 128, 8);
FROZEN_FIELD(ringbus_group, count, 136, 16);
FROZEN_FIELD(ringbus_group, member, 152, 8);
FROZEN_FIELD(ringbus_group, max_lag, 160, 8);
FROZEN_FIELD(ringbus_group, gating, 168, 8);
FROZEN_FIELD(ringbus_group, held, 176, 8);
FROZEN_FIELD(ringbus_group, held_count, 184, 16);
FROZEN_FIELD(ringbus_group, reserved1, 200, 56);
FROZEN_FIELD(ringbus_group, take, 256, 16);
FROZEN_FIELD(ringbus_group, moves, 272, 8);
FROZEN_FIELD(ringbus_group, redelivered, 280, 8);
FROZEN_FIELD(ringbus_group, reserved2, 288, 96);
FROZEN(sizeof(struct ringbus_group), 384);

#endif
