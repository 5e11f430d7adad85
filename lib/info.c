/* SPDX-License-Identifier: MIT */
/* info.c - a snapshot of a ring. */
#include <string.h>

#include "internal.h"

int ringbus_ring_info(const ringbus_ring *ring, struct ringbus_ring_info *info) {
  if (!ring || !info)
    return fail(-EINVAL, "no ring");
  if (ring->forked)
    return fail(-ECHILD, NULL);
  int result = check_size(ring);
  if (result != 0)
    return result;
  struct ringbus_header *header = ring->header;
  struct ringbus_identity identity;
  struct ringbus_counters counters;
  struct counted floor = {0, 0}, tail = {0, 0};
  uint32_t state = shared_load32(&header->signals.state);
  shared_read(&identity, &header->identity, sizeof identity);
  shared_read(&counters, &header->counters, sizeof counters);
  counted_load(&header->floor.position, &floor);
  find_tail(ring, &tail);
  memset(info, 0, sizeof *info);
  info->capacity = ring->geometry.capacity;
  info->max_message = ring->geometry.capacity - 16 < RINGBUS_MAX_LENGTH
                          ? ring->geometry.capacity - 16
                          : RINGBUS_MAX_LENGTH;
  info->file_bytes = ring->geometry.file_bytes;
  info->oldest = floor.position;
  info->oldest_count = floor.count;
  info->tail = tail.position;
  info->tail_count = tail.count;
  info->epoch = shared_load(&header->life.epoch);
  info->created_ns = identity.created_ns;
  info->full_events = counters.full_events;
  info->max_lag = counters.max_lag;
  info->broken_cursors = counters.broken_cursors;
  info->dropped = counters.dropped;
  info->layout_version = RINGBUS_LAYOUT_VERSION;
  info->max_participants = ring->geometry.slot_count - 1;
  info->max_groups = ring->geometry.group_count;
  info->participants = count_alive(ring, RINGBUS_ROLE_NONE);
  uint64_t known = ~UINT64_C(0) >> (64 - ring->geometry.group_count);
  info->groups = (uint32_t)__builtin_popcountll(shared_load(&header->join.groups) & known);
  info->many_producers = ring_has_many_producers(ring);
  info->overwrite = ring_overwrites(ring);
  info->recovered = counters.recovered;
  info->no_group = ring->geometry.no_group == RINGBUS_NO_GROUP_DROP ? RINGBUS_DROP : RINGBUS_HOLD;
  info->wake = ring->geometry.wake == RINGBUS_WAKE_FENCED ? RINGBUS_WAKE_BY_FENCE
               : ring->geometry.wake == RINGBUS_WAKE_NONE ? RINGBUS_WAKE_NEVER
                                                          : RINGBUS_WAKE_BY_MEMBARRIER;
  info->closed = state & RINGBUS_STATE_CLOSED;
  info->retired = state & RINGBUS_STATE_RETIRED;
  info->read_only = ring->read_only;
  info->sleepers_poll = sleepers_poll(ring);
  memcpy(info->ring_id, identity.ring_id, sizeof info->ring_id);
  for (size_t i = 0; i < sizeof info->library_version - 1 && identity.library_version[i]; i++) {
    char c = identity.library_version[i];
    info->library_version[i] = c < ' ' || c > '~' ? '?' : c;
  }
  return 0;
}
