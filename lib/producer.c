/* SPDX-License-Identifier: MIT */
/* producer.c - attach and succession, room, end of stream.
 *
 * Where the producer stands, and what its death leaves at each point of a publication:
 *
 *   claimed      bytes behind word(tail), which is 0            nothing: never visible
 *   cleared      word(next) = 0                                 nothing
 *   published    word(tail) is current                          the message; a successor walks over it
 *   told         tail, count                                    the message
 *
 * A successor starts at tail, walks over the current words, and clears the next one. */
#include <stdlib.h>
#include <string.h>

#include "producer.h"

/* ---------------------------------------------------------------- room */

void ringbus_slow_mark(ringbus_producer *producer) {
  if (producer->next_mark - producer->oldest_mark == MARKS)
    producer->oldest_mark++;
  producer->marks[producer->next_mark++ % MARKS] =
      (struct counted){producer->hot.tail, producer->hot.count};
  producer->hot.usual_word =
      ringbus_word_in_lap(&producer->hot.view, producer->hot.usual_word, producer->hot.tail);
}

/* A record boundary at or after needed to raise the floor to: the nearest noted one; or the slowest
 * cursor; or, if nobody gates, whatever a walk over the oldest records comes to. */
static struct counted boundary_at_least(ringbus_producer *producer, uint64_t needed,
                                        const struct slowest *slowest) {
  for (; producer->oldest_mark != producer->next_mark; producer->oldest_mark++) {
    struct counted mark = producer->marks[producer->oldest_mark % MARKS];
    if (distance(needed, mark.position) >= 0) {
      if (distance(mark.position, slowest->at.position) >= 0)
        return mark;
      break;
    }
  }
  if (slowest->gated)
    return slowest->at;
  struct counted oldest = producer->floor;
  walk_records(&producer->hot.view, &oldest, needed);
  /* Beyond the tail, or not so far, only words lead that are not this producer's or its predecessors'. */
  return distance(needed, oldest.position) >= 0 &&
                 distance(oldest.position, producer->hot.tail) >= 0
             ? oldest
             : (struct counted){producer->hot.tail, producer->hot.count};
}

/* Room for so many bytes and the cleared word behind them. */
static int make_room(ringbus_producer *producer, uint64_t bytes) {
  struct ringbus_producer_hot *hot = &producer->hot;
  ringbus_ring *ring = producer->handle.ring;
  struct ringbus_counters *counters = &ring->header->counters;
  uint64_t capacity = ring->geometry.capacity;
  if (bytes + 8 > capacity)
    return -EMSGSIZE;
  uint64_t needed = hot->tail + bytes + 8 - capacity; /* where the floor must be */
  struct slowest slowest =
      find_slowest(ring, (struct counted){hot->tail, hot->count}, false, bytes);
  if (!slowest.gated && ring_holds(ring, slowest.groups))
    slowest = (struct slowest){producer->floor, true, true, false, 0};
  if (hot->tail - slowest.at.position > shared_load(&counters->max_lag))
    shared_store(&counters->max_lag, hot->tail - slowest.at.position);
  if (distance(needed, slowest.at.position) < 0 || !slowest.exact)
    return -EAGAIN;
  if (distance(producer->floor.position, needed) > 0) {
    struct counted floor = boundary_at_least(producer, needed, &slowest);
    if (!slowest.gated)
      shared_add(&counters->dropped, floor.count - producer->floor.count);
    producer->floor = floor;
    /* In a batch the shared tail lags; a floor beyond it would say that the ring is damaged. */
    counted_store(&ring->header->tail.position, (struct counted){hot->tail, hot->count});
    counted_store(&ring->header->floor.position, floor); /* ANNOUNCE, JOIN */
    shared_fence();                                      /* ANNOUNCE, JOIN */
    slowest = find_slowest(ring, (struct counted){hot->tail, hot->count}, false, bytes);
  }
  /* A joiner may have become visible below the floor; until it has moved up it is waited for. */
  uint64_t limit = producer->floor.position;
  if (slowest.gated && distance(slowest.at.position, limit) > 0)
    limit = slowest.at.position;
  hot->limit = limit + capacity;
  return bytes + 8 <= hot->limit - hot->tail ? 0 : -EAGAIN;
}

int ringbus_slow_claim(ringbus_producer *producer, uint64_t bytes) {
  if (bytes + 8 <= producer->handle.ring->geometry.capacity)
    pace_full(producer->handle.ring, (struct counted){producer->hot.tail, producer->hot.count},
              false, bytes, &producer->full_at);
  int result = make_room(producer, bytes);
  if (result == -EAGAIN)
    shared_add(&producer->handle.ring->header->counters.full_events, 1);
  return result;
}

int ringbus_slow_state(volatile unsigned *state) {
  unsigned now = shared_load32((uint32_t *)(uintptr_t)state);
  if (state_is_forked(state))
    return -ECHILD;
  return now & RINGBUS_STATE_RETIRED ? -ESTALE : now == RINGBUS_STATE_CLOSED ? -EPIPE : -EBADMSG;
}

/* ---------------------------------------------------------------- attach */

/* Tail and floor as a dead predecessor, or the creator, left them. */
static int succeed(ringbus_producer *producer) {
  ringbus_ring *ring = producer->handle.ring;
  struct ringbus_header *header = ring->header;
  struct counted tail, floor;
  uint64_t raw_tail = shared_load(&header->tail.position);
  uint64_t raw_floor = shared_load(&header->floor.position);
  if (!counted_load(&header->tail.position, &tail) ||
      !counted_load(&header->floor.position, &floor) || !position_is_sound(&ring->view, raw_tail) ||
      !position_is_sound(&ring->view, raw_floor) ||
      tail.position - floor.position > ring->geometry.capacity - 8)
    return fail(-EBADMSG, "the ring's tail or floor is damaged");
  walk_records(&ring->view, &tail, floor.position + ring->geometry.capacity);
  if (tail.position - floor.position > ring->geometry.capacity - 8)
    return fail(-EBADMSG, "the records behind the tail are damaged");
  producer->hot.tail = tail.position;
  producer->hot.count = tail.count;
  producer->hot.usual_length = UINT64_MAX; /* there was no message yet */
  producer->floor = floor;
  word_clear(&ring->view, tail.position);
  counted_store(&header->tail.position, tail);
  /* The predecessor may have died between announcing its floor and scanning for joiners: nothing may
   * be written before a scan of this producer's own (JOIN). */
  producer->hot.limit = tail.position;
  shared_fence();
  return 0;
}

int ringbus_producer_attach(ringbus_ring *ring, const struct ringbus_producer_options *options,
                            ringbus_producer **out) {
  static const struct ringbus_producer_options defaults;
  struct waiting waiting;
  if (!options)
    options = &defaults;
  if (!ring || !out)
    return fail(-EINVAL, "no ring");
  if (ring->forked)
    return fail(-ECHILD, "the ring was opened before fork: open it again in the child");
  if (ring->read_only)
    return fail(-EPERM, "the ring is open read-only");
  int result = wait_options(options->wait, options->look_ns, &waiting);
  if (result == 0)
    result = check_size(ring);
  if (result != 0)
    return result;
  ringbus_producer *producer = aligned_alloc(RINGBUS_LINE, sizeof_aligned(sizeof *producer));
  if (!producer)
    return fail(-ENOMEM, NULL);
  memset(producer, 0, sizeof *producer);
  producer->hot.view = ring->view;
  producer->hot.max_length = ring->geometry.capacity - 16 < RINGBUS_MAX_LENGTH
                                 ? ring->geometry.capacity - 16
                                 : RINGBUS_MAX_LENGTH;
  producer->hot.shared_tail = shared_word(&ring->header->tail.position);
  producer->hot.data_waiters = &ring->header->signals.data_waiters;
  producer->hot.stripe_shift = ring->view.capacity_shift - 4;
  producer->hot.many = ring_has_many_producers(ring);
  producer->wait = waiting.policy;
  producer->look_ns = waiting.look_ns;
  handle_register(&producer->handle, ring, &producer->hot.view.state);
  result = slot_take(&producer->handle, RINGBUS_ROLE_PRODUCER, options->name, NULL);
  if (result != 0)
    goto failed;
  /* Only now, holding the slot: a ring that was closed or retired before is not written to. */
  if (shared_load32(&ring->header->signals.state) != 0) {
    result = ringbus_slow_state(producer->hot.view.state);
    fail(result, result == -EPIPE    ? "the ring is closed: nothing can be published in it any more"
                 : result == -ESTALE ? "the ring was retired: open its successor"
                                     : "the ring's state is damaged");
    goto leave;
  }
  result = producer->hot.many ? many_attach(producer) : succeed(producer);
  if (result != 0)
    goto leave;
  producer->hot.fence = publisher_needs_fence(ring);
  shared_store32(&ring->header->signals.had_producer, 1);
  notify_presence(ring);
  /* The predecessor may have died between its last commit and the wake-up. */
  ringbus_slow_wake(producer->hot.data_waiters);
  *out = producer;
  return 0;
leave:
  slot_leave(&producer->handle);
failed:
  handle_unregister(&producer->handle);
  free(producer);
  return result;
}

int ringbus_producer_detach(ringbus_producer *producer) {
  if (!producer)
    return 0;
  bool forked = handle_is_forked(&producer->handle);
  if (!forked) {
    if (producer->hot.many)
      many_leave(producer);
    slot_leave(&producer->handle);
    /* Readers that end without a producer look again. */
    ringbus_slow_wake(producer->hot.data_waiters);
  }
  handle_unregister(&producer->handle);
  free(producer);
  return forked ? -ECHILD : 0;
}

int ringbus_producer_tell(const ringbus_producer *producer, uint64_t *position, uint64_t *count) {
  if (handle_is_forked(&producer->handle))
    return -ECHILD;
  struct counted at = {producer->hot.tail, producer->hot.count};
  if (producer->hot.many && !find_tail(producer->handle.ring, &at))
    return -EAGAIN;
  if (position)
    *position = at.position;
  if (count)
    *count = at.count;
  return 0;
}

int ringbus_producer_finish(ringbus_producer *producer) {
  struct ringbus_signals *signals = &producer->handle.ring->header->signals;
  if (handle_is_forked(&producer->handle))
    return -ECHILD;
  if (shared_load32(&signals->state) & RINGBUS_STATE_RETIRED)
    return -ESTALE;
  if (producer->hot.many)
    many_leave(producer);
  producer->hot.claimed = 0;
  shared_set_bits32(&signals->state, RINGBUS_STATE_CLOSED); /* STATE */
  ringbus_slow_wake(&signals->room_waiters);
  ringbus_slow_wake(producer->hot.data_waiters);
  notify_presence(producer->handle.ring);
  return 0;
}

/* ---------------------------------------------------------------- waiting */

struct room_wait {
  ringbus_producer *producer;
  struct waiting *waiting;
  struct place place;
  uint64_t bytes; /* of the record there must be room for; 0: everything must have been read ... */
  uint64_t drain_to; /* ... up to here */
};

/* Many producers: what ends a lack of room. Where nobody is waited for, what is in the way is a claim,
 * which ends by a commit; but a group may come or go meanwhile. */
static uint32_t *room_comes_with(ringbus_producer *producer, uint64_t bytes) {
  ringbus_ring *ring = producer->handle.ring;
  struct slowest slowest = find_slowest(ring, (struct counted){producer->hot.tail, 0}, true, bytes);
  return slowest.gated || ring_holds(ring, slowest.groups) ? &ring->header->signals.room_waiters
                                                           : &ring->header->signals.data_waiters;
}

static int look_for_room(void *context, bool thorough) {
  struct room_wait *wait = context;
  ringbus_producer *producer = wait->producer;
  struct ringbus_producer_hot *hot = &producer->hot;
  unsigned state = state_load(&hot->view);
  if ((state & ~RINGBUS_STATE_CLOSED) || (state && wait->bytes))
    return ringbus_slow_state(hot->view.state);
  if (thorough)
    groups_reap(producer->handle.ring, producer->handle.lock_fd);
  if (wait->bytes && hot->many) {
    int result = many_room(producer, wait->bytes, thorough);
    uint32_t *waiters = room_comes_with(producer, wait->bytes);
    if (waiters != wait->place.waiters)
      wait->waiting->moved = true;
    wait->place.waiters = waiters;
    return result;
  }
  if (wait->bytes)
    return wait->bytes + 8 <= hot->limit - hot->tail ? 0 : make_room(producer, wait->bytes);
  struct slowest slowest =
      find_slowest(producer->handle.ring, (struct counted){wait->drain_to, 0}, hot->many, 0);
  return distance(wait->drain_to, slowest.at.position) >= 0 ? 0 : -EAGAIN;
}

static int wait_for_room(ringbus_producer *producer, uint64_t bytes, int64_t timeout_ns) {
  ringbus_ring *ring = producer->handle.ring;
  struct waiting waiting = {.policy = producer->wait, .look_ns = producer->look_ns};
  struct room_wait wait = {
      producer, &waiting, {ring, &ring->header->signals.room_waiters}, bytes, producer->hot.tail};
  waiting.look = look_for_room;
  waiting.context = &wait;
  if (handle_is_forked(&producer->handle))
    return -ECHILD;
  if (producer->hot.many && producer->claim_bytes)
    return -EINVAL; /* readers cannot get past this producer's own claim */
  if (producer->hot.many) {
    many_room(producer, 0, false); /* hot.tail becomes the true one */
    wait.drain_to = producer->hot.tail;
  }
  return wait_at(&wait.place, 1, &waiting, deadline_after(timeout_ns));
}

int ringbus_producer_wait(ringbus_producer *producer, size_t length, uint32_t tag,
                          int64_t timeout_ns) {
  if (length > producer->hot.max_length)
    return handle_is_forked(&producer->handle) ? -ECHILD : -EMSGSIZE;
  return wait_for_room(producer,
                       producer->hot.many ? many_record_bytes(length, tag)
                                          : ringbus_record_bytes(length, tag),
                       timeout_ns);
}

int ringbus_producer_drain(ringbus_producer *producer, int64_t timeout_ns) {
  return wait_for_room(producer, 0, timeout_ns);
}
