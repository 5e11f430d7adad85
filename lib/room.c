/* SPDX-License-Identifier: MIT */
/* room.c - gates: which cursor a producer must not overtake.
 *
 * Who calls: every producer, after it has loaded or raised the floor and a full fence (JOIN). What is
 * found here and the floor together are the producer's limit. */
#include "internal.h"

/* A cursor within a lap behind the tail. One producer knows the true tail, which no cursor is ahead of.
 * One among many has been anywhere before it, if it was stopped long enough, and what is told of the tail
 * lags: to those every cursor ahead is possible, and in nobody's way. */
static bool cursor_is_possible(const ringbus_ring *ring, uint64_t tail, bool told,
                               uint64_t cursor) {
  return tail - cursor <= ring->geometry.capacity || (told && distance(tail, cursor) > 0);
}

/* Whether a group gates, and where (JOIN, RELEASE). A cursor that cannot be had whole is taken for the
 * least one possible: then there is no room, and the producer looks again. */
static bool gate_load(ringbus_ring *ring, uint32_t index, uint64_t tail, bool told, uint64_t bytes,
                      struct counted *cursor, bool *exact) {
  struct ringbus_group *group = ring_group(ring, index);
  bool shared = group_is_shared(ring, index);
  uint64_t gating, again = shared_load(&group->gating);
  for (int tries = 0; tries < 1000; tries++) {
    gating = again;
    if ((gating & RINGBUS_GATING_MASK) == RINGBUS_GATING_NONE)
      return false;
    bool settled = (gating & RINGBUS_GATING_MASK) == RINGBUS_GATING_SETTLED;
    uint64_t raw;
    if (shared && settled) {
      *exact = share_gate(ring, index, tail, cursor);
      raw = cursor->position;
      if (!*exact) /* it is being changed all the time: look again */
        continue;
    } else {
      raw = shared_load(&group->cursor);
      *exact = counted_load(&group->cursor, cursor); /* RELEASE */
    }
    again = shared_load(&group->gating);
    if (again != gating)
      continue;
    uint64_t max_lag = shared_load(&group->max_lag);
    if (max_lag && distance(cursor->position, tail + bytes) > 0 &&
        tail + bytes - cursor->position > max_lag)
      return false; /* lapped, as its policy says */
    if (cursor_is_possible(ring, tail, told, cursor->position) &&
        position_is_sound(&ring->view, raw))
      return true;
    if (!settled || !*exact)
      break;
    if (ring->read_only)
      return false;
    shared_add(&ring->header->counters.broken_cursors, 1);
    shared_store(&ring->header->counters.broken_group, index + 1);
    return false;
  }
  *cursor = (struct counted){tail - ring->geometry.capacity, 0};
  *exact = false;
  return true;
}

struct slowest find_slowest(ringbus_ring *ring, struct counted tail, bool told, uint64_t bytes) {
  uint64_t groups = shared_load(&ring->header->join.groups); /* JOIN */
  struct slowest slowest = {tail, false, true, groups != 0, 0};
  if (ring_overwrites(ring))
    return slowest;
  for (uint32_t index = 0; index < ring->geometry.group_count && groups >> index; index++) {
    struct counted cursor;
    bool exact;
    if (!(groups >> index & 1) ||
        !gate_load(ring, index, tail.position, told, bytes, &cursor, &exact))
      continue;
    if (!slowest.gated || distance(slowest.at.position, cursor.position) < 0) {
      slowest.at = cursor;
      slowest.exact = exact;
      slowest.group = index;
    }
    slowest.gated = true;
  }
  return slowest;
}
