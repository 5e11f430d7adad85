/* SPDX-License-Identifier: MIT */
/* group.c - groups and their cursors.
 *
 *   group:  absent ──join: all fields, then its bit in join.groups──▶ exists ──remove, reap──▶ absent
 *   member: none ──attach──▶ alive ──leave──▶ none          (durable groups survive both ways)
 *                              └──death──▶ dead ──next attach, reap──▶ alive, none
 *
 * Whoever changes a group holds the table lock, which the kernel drops with its holder. Each change
 * has one instant at which it takes effect (the bit, gating, or member), so a change that is killed
 * half-way has not happened or is finished by the next one. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "internal.h"

static const char no_such_group[] = "the ring has no group of that name";

static uint64_t bit_of(uint32_t group) { return UINT64_C(1) << group; }

static struct counted floor_load(const ringbus_ring *ring) {
  struct counted floor;
  counted_load(&ring->header->floor.position, &floor);
  return floor;
}

static uint64_t gating_of(const ringbus_ring *ring, uint32_t index) {
  return shared_load(&ring_group(ring, index)->gating) & RINGBUS_GATING_MASK;
}

/* Only by a holder of the table lock, or by the group's own consumer. */
static void gating_set(ringbus_ring *ring, uint32_t index, uint64_t gating) {
  uint64_t *field = &ring_group(ring, index)->gating;
  bool joins = gating == RINGBUS_GATING_JOINING || gating == RINGBUS_GATING_BACK;
  shared_store(field, ((shared_load(field) >> 2) + joins) << 2 | gating);
}

/* JOIN, see inline.h. Correct whether the group is new, resumes, or moves its cursor back, and may be
 * done again by anybody if its consumer died on the way. */
void group_gate(ringbus_ring *ring, uint32_t index, struct counted *cursor,
                const struct counted *held) {
  struct ringbus_group *group = ring_group(ring, index);
  if (held)
    counted_store(&group->held, *held);
  gating_set(ring, index, held ? RINGBUS_GATING_BACK : RINGBUS_GATING_JOINING);
  counted_store(&group->cursor, *cursor);
  shared_set_bits(&ring->header->join.groups, bit_of(index));
  shared_fence();
  struct counted least = floor_load(ring);
  if (held && distance(held->position, least.position) > 0)
    least = *held;
  if (distance(cursor->position, least.position) > 0) {
    *cursor = least;
    counted_store(&group->cursor, least);
  }
  if (group_is_shared(ring, index))
    share_settle(ring, index, *cursor);
  gating_set(ring, index, RINGBUS_GATING_SETTLED);
}

void wake_producers(ringbus_ring *ring) {
  shared_fence(); /* SLEEP */
  if (shared_load32(&ring->header->signals.room_waiters))
    ringbus_slow_wake(&ring->header->signals.room_waiters);
}

/* The group's end: one bit. Its entry may be used again as soon as the bit is clear. */
static void group_forget(ringbus_ring *ring, uint32_t index) {
  shared_clear_bits(&ring->header->join.groups, bit_of(index));
  shared_store(&ring_group(ring, index)->member, 0);
}

struct ringbus_group group_copy(const ringbus_ring *ring, uint32_t index) {
  struct ringbus_group copy;
  shared_read(&copy, ring_group(ring, index), sizeof copy);
  copy.name[sizeof copy.name - 1] = '\0';
  for (char *c = copy.name; *c; c++)
    if ((unsigned char)*c < ' ' || *c == 127)
      *c = '?';
  return copy;
}

bool group_exists(const ringbus_ring *ring, uint32_t index) {
  return shared_load(&ring->header->join.groups) & bit_of(index);
}

bool group_is_shared(const ringbus_ring *ring, uint32_t index) {
  return shared_load32(&ring_group(ring, index)->flags) & RINGBUS_GROUP_SHARED;
}

/* A group's index by name, or -1. */
static int group_find(const ringbus_ring *ring, const char *name) {
  for (uint32_t index = 0; index < ring->geometry.group_count; index++)
    if (group_exists(ring, index) && strcmp(group_copy(ring, index).name, name) == 0)
      return (int)index;
  return -1;
}

static bool group_name_is_valid(const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < length; i++)
    if ((unsigned char)name[i] < ' ' || name[i] == 127)
      return false;
  return length > 0 && length < RINGBUS_NAME_BYTES && name[0] != '#';
}

static int group_create(struct handle *handle, const struct ringbus_consumer_options *options,
                        const char *name, uint32_t *index, struct counted *start) {
  ringbus_ring *ring = handle->ring;
  static const uint32_t policies[] = {RINGBUS_GROUP_GATE, RINGBUS_GROUP_GATE_WHILE_ATTACHED,
                                      RINGBUS_GROUP_LAPPED};
  for (*index = 0; *index < ring->geometry.group_count; ++*index)
    if (!group_exists(ring, *index))
      break;
  if (*index == ring->geometry.group_count)
    return fail(-ENOSPC,
                "all %u groups of the ring exist: remove one (ringbus group rm NAME GROUP), or "
                "make the ring with more",
                ring->geometry.group_count);
  struct ringbus_group *group = ring_group(ring, *index);
  uint32_t policy = ring_overwrites(ring) ? RINGBUS_GROUP_LAPPED : policies[options->policy];
  struct ringbus_group description = {.policy = policy,
                                      .flags = (options->group ? RINGBUS_GROUP_DURABLE : 0) |
                                               (options->shared ? RINGBUS_GROUP_SHARED : 0),
                                      .created_ns = realtime_ns()};
  memcpy(description.name, name, strlen(name));
  share_forget_runs(ring, *index); /* of a group that once stood here */
  /* What was to be inherited was another group's, which has been removed since. */
  shared_store(&ring_slot(ring, handle->slot)->taken[0], 0);
  shared_write(group, &description, offsetof(struct ringbus_group, cursor));
  shared_store(&group->max_lag, /* nobody can be further behind than a lap */
               options->max_lag < ring->geometry.capacity ? options->max_lag
                                                          : ring->geometry.capacity);
  shared_store(&group->member, handle_member(handle));
  *start = floor_load(ring);
  if (options->shared)
    share_begin(ring, *index, *start);
  if (policy == RINGBUS_GROUP_LAPPED) {
    counted_store(&group->cursor, *start);
    gating_set(ring, *index, RINGBUS_GATING_NONE);
    shared_set_bits(&ring->header->join.groups, bit_of(*index));
  } else {
    group_gate(ring, *index, start, NULL);
  }
  if (options->shared && options->start != RINGBUS_RESUME) {
    /* Now, while nobody else is a member. */
    int result = find_start(ring, options->start, options->position, start);
    if (result != 0) {
      group_forget(ring, *index);
      return result;
    }
    share_begin(ring, *index, *start);
  }
  return 0;
}

/* Another member, or the first one after all have left. */
static int group_share(ringbus_ring *ring, uint32_t index,
                       const struct ringbus_consumer_options *options) {
  if (!group_is_shared(ring, index))
    return fail(-EINVAL, "the group exists and is not a shared one");
  if (options->start != RINGBUS_RESUME)
    return fail(-EINVAL,
                "the group exists: its members go on where it stands, none of them moves it");
  return 0;
}

static int group_resume(struct handle *handle, uint32_t index, struct counted *start,
                        struct counted *lost) {
  ringbus_ring *ring = handle->ring;
  struct ringbus_group *group = ring_group(ring, index);
  if (group_is_shared(ring, index))
    return fail(-EINVAL, "the group is a shared one: join it as a member (shared)");
  uint64_t member = shared_load(&group->member);
  uint32_t policy = shared_load32(&group->policy);
  /* A new holder of the dead member's slot answers for it until it has written its generation. */
  for (int tries = 0; tries < 5 && participant_alive(ring, member); tries++)
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  if (participant_alive(ring, member)) {
    char holder[160];
    describe_slot(ring, (uint32_t)(member & 0xffff), holder, sizeof holder);
    return fail(-EBUSY, "the group has a living consumer: %s", holder);
  }
  struct counted floor = floor_load(ring);
  uint64_t raw = shared_load(&group->cursor);
  if (!counted_load(&group->cursor, start) || !position_is_sound(&ring->view, raw) ||
      distance(floor.position, start->position) > (int64_t)ring->geometry.capacity ||
      policy < RINGBUS_GROUP_GATE || policy > RINGBUS_GROUP_LAPPED)
    return fail(-EBADMSG, "the group's cursor or policy is damaged: remove the group");
  struct counted was = *start;
  shared_store(&group->member, handle_member(handle));
  bool held = policy == RINGBUS_GROUP_GATE && !shared_load(&group->max_lag) &&
              gating_of(ring, index) == RINGBUS_GATING_SETTLED;
  if (held)
    ; /* it has been waited for: the cursor stands, even if the floor was announced above it */
  else if (policy != RINGBUS_GROUP_LAPPED)
    group_gate(ring, index, start, NULL);
  else if (distance(start->position, floor.position) > 0)
    counted_store(&group->cursor, *start = floor);
  lost->position = start->position - was.position;
  lost->count = start->count - was.count;
  shared_add(&group->lost_bytes, lost->position);
  shared_add(&group->lost_messages, lost->count);
  return 0;
}

int group_join(struct handle *handle, const struct ringbus_consumer_options *options,
               uint32_t *index, bool *created, struct counted *start, struct counted *lost) {
  ringbus_ring *ring = handle->ring;
  char own_name[RINGBUS_NAME_BYTES];
  const char *name = options->group;
  if (!name) {
    snprintf(own_name, sizeof own_name, "#%u.%llu", handle->slot,
             (unsigned long long)handle->generation);
    name = own_name;
  } else if (!group_name_is_valid(name)) {
    return fail(-EINVAL,
                "a group's name has 1 to %u printable characters and does not begin with '#'",
                RINGBUS_NAME_BYTES - 1);
  }
  if (options->must_exist && !options->group)
    return fail(-EINVAL, "must_exist is for a group with a name");
  if ((unsigned)options->policy > RINGBUS_LAPPED)
    return fail(-EINVAL, "unknown group policy %d", (int)options->policy);
  if (options->shared && (!options->group || options->policy != RINGBUS_GATE || options->max_lag ||
                          ring_overwrites(ring)))
    return fail(-EINVAL,
                "a shared group has a name and is always waited for: policy RINGBUS_GATE, no "
                "max_lag, and not on a ring that overwrites");
  int result = table_lock(handle->lock_fd);
  if (result != 0)
    return result;
  groups_reap_locked(ring); /* a full table may be full of the dead */
  int found = group_find(ring, name);
  *created = found < 0;
  if (!*created)
    *index = (uint32_t)found;
  if (*created && options->must_exist)
    result = fail(-ENOENT, no_such_group);
  else if (*created)
    result = group_create(handle, options, name, index, start);
  else if (options->shared)
    result = group_share(ring, *index, options);
  else
    result = group_resume(handle, *index, start, lost);
  if (result == 0) /* while nobody can take a shared group for one without members */
    shared_store32(&ring_slot(ring, handle->slot)->group, *index);
  table_unlock(handle->lock_fd);
  wake_producers(
      ring); /* a ring that held for want of a group has room now, a late cursor moved up */
  return result;
}

void group_leave(struct handle *handle, uint32_t index, bool forget) {
  ringbus_ring *ring = handle->ring;
  struct ringbus_group *group = ring_group(ring, index);
  if (table_lock(handle->lock_fd) != 0) {
    wake_producers(ring);
    return; /* then this consumer leaves as the dead do: whoever comes next sees it gone */
  }
  if (shared_load(&group->member) == handle_member(handle)) {
    if (forget || !(shared_load32(&group->flags) & RINGBUS_GROUP_DURABLE)) {
      group_forget(ring, index);
    } else {
      if (shared_load32(&group->policy) == RINGBUS_GROUP_GATE_WHILE_ATTACHED)
        gating_set(ring, index, RINGBUS_GATING_NONE);
      shared_store(&group->member, 0);
    }
  }
  table_unlock(handle->lock_fd);
  wake_producers(ring);
}

static bool group_has_consumer(const ringbus_ring *ring, uint32_t index) {
  return group_is_shared(ring, index)
             ? share_living_members(ring, index) > 0
             : participant_alive(ring, shared_load(&ring_group(ring, index)->member));
}

/* A group whose member is gone, and with it, by its policy, its claim to be waited for; or that died
 * while it joined. */
static bool group_is_reapable(const ringbus_ring *ring, uint32_t index) {
  struct ringbus_group *group = ring_group(ring, index);
  uint64_t gating = gating_of(ring, index);
  bool ephemeral = !(shared_load32(&group->flags) & RINGBUS_GROUP_DURABLE);
  bool while_attached = shared_load32(&group->policy) == RINGBUS_GROUP_GATE_WHILE_ATTACHED;
  return group_exists(ring, index) &&
         (ephemeral || gating == RINGBUS_GATING_JOINING || gating == RINGBUS_GATING_BACK ||
          (while_attached && gating != RINGBUS_GATING_NONE)) &&
         !group_has_consumer(ring, index);
}

void groups_reap_locked(ringbus_ring *ring) {
  for (uint32_t index = 0; index < ring->geometry.group_count; index++) {
    struct ringbus_group *group = ring_group(ring, index);
    struct counted cursor, held;
    if (group_exists(ring, index) && group_is_shared(ring, index))
      share_judge(ring, index);
    if (!group_is_reapable(ring, index))
      continue;
    if (!(shared_load32(&group->flags) & RINGBUS_GROUP_DURABLE))
      group_forget(ring, index);
    else if (shared_load32(&group->policy) == RINGBUS_GROUP_GATE_WHILE_ATTACHED)
      gating_set(ring, index, RINGBUS_GATING_NONE);
    else if (counted_load(&group->cursor, &cursor) && counted_load(&group->held, &held))
      group_gate(ring, index, &cursor,
                 gating_of(ring, index) == RINGBUS_GATING_BACK ? &held : NULL);
  }
}

void groups_reap(ringbus_ring *ring, int lock_fd) {
  bool any = false;
  for (uint32_t index = 0; index < ring->geometry.group_count && !any; index++)
    any = group_is_reapable(ring, index) ||
          (group_exists(ring, index) && group_is_shared(ring, index) &&
           share_has_unjudged(ring, index));
  /* If somebody else is changing groups right now, the next look will do. */
  if (!any || table_try_lock(lock_fd) != 0)
    return;
  groups_reap_locked(ring);
  table_unlock(lock_fd);
  wake_producers(ring); /* others wait for the same */
}

int ringbus_ring_remove_group(ringbus_ring *ring, const char *name) {
  if (!ring || !name)
    return fail(-EINVAL, "which group?");
  struct visitor visitor;
  int result = check_may_change(ring);
  if (result != 0)
    return result;
  result = visitor_enter(&visitor, ring);
  if (result == 0)
    result = table_lock(visitor.handle.lock_fd);
  if (result == 0) {
    int index = group_find(ring, name);
    uint64_t member = index < 0 ? 0 : shared_load(&ring_group(ring, (uint32_t)index)->member);
    if (index < 0) {
      result = fail(-ENOENT, no_such_group);
    } else if (group_is_shared(ring, (uint32_t)index) &&
               share_living_members(ring, (uint32_t)index)) {
      result = fail(-EBUSY, "the group has %u living members",
                    share_living_members(ring, (uint32_t)index));
    } else if (participant_alive(ring, member)) {
      char holder[160];
      describe_slot(ring, (uint32_t)(member & 0xffff), holder, sizeof holder);
      result = fail(-EBUSY, "the group has a living consumer: %s", holder);
    } else {
      group_forget(ring, (uint32_t)index);
      share_forget_runs(ring, (uint32_t)index);
      wake_producers(ring);
    }
    table_unlock(visitor.handle.lock_fd);
  }
  visitor_leave(&visitor);
  return result;
}

int ringbus_ring_group(const ringbus_ring *ring, uint32_t index, struct ringbus_group_info *info) {
  if (!ring || !info)
    return fail(-EINVAL, NULL);
  if (ring->forked)
    return fail(-ECHILD, NULL);
  if (index >= ring->geometry.group_count)
    return fail(-EINVAL, "this ring has groups 0 to %u", ring->geometry.group_count - 1);
  int result = check_size(ring);
  if (result != 0)
    return result;
  if (!group_exists(ring, index))
    return fail(-ENOENT, NULL);
  struct ringbus_group *group = ring_group(ring, index);
  struct ringbus_group copy = group_copy(ring, index);
  struct counted cursor = {0, 0}, tail = {0, 0}, floor = floor_load(ring);
  bool shared = copy.flags & RINGBUS_GROUP_SHARED;
  if (shared) /* before the tail: a lag is never overstated by a race */
    share_gate(ring, index, tail_told(ring), &cursor);
  else
    counted_load(&group->cursor, &cursor);
  find_tail(ring, &tail);
  memset(info, 0, sizeof *info);
  memcpy(info->name, copy.name, sizeof info->name);
  info->policy = copy.policy == RINGBUS_GROUP_LAPPED                ? RINGBUS_LAPPED
                 : copy.policy == RINGBUS_GROUP_GATE_WHILE_ATTACHED ? RINGBUS_GATE_WHILE_ATTACHED
                                                                    : RINGBUS_GATE;
  info->durable = copy.flags & RINGBUS_GROUP_DURABLE;
  info->gating = (copy.gating & RINGBUS_GATING_MASK) != RINGBUS_GATING_NONE &&
                 (!copy.max_lag || distance(floor.position, cursor.position) >= 0);
  info->shared = shared;
  info->redelivered = copy.redelivered;
  info->members = shared ? share_living_members(ring, index) : participant_alive(ring, copy.member);
  info->attached = info->members > 0;
  info->slot = info->attached && !shared ? (uint32_t)(copy.member & 0xffff) : 0;
  info->max_lag = copy.max_lag;
  info->cursor = cursor.position;
  info->cursor_count = cursor.count;
  /* A consumer may have read records whose tail is not stored yet. */
  if (distance(cursor.position, tail.position) > 0) {
    info->lag_bytes = tail.position - cursor.position;
    info->lag_messages = tail.count - cursor.count;
  }
  info->lost_messages = copy.lost_messages;
  info->lost_bytes = copy.lost_bytes;
  return 0;
}
