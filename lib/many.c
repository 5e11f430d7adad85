/* SPDX-License-Identifier: MIT */
/* many.c - publishing where there are several producers.
 *
 *   word(T):  an older lap ──claim: CAS──▶ CLAIMED by a slot ──commit: store──▶ COMMITTED
 *                                             │──abort, end: store──▶ PAD
 *                                             └──its owner is dead: CAS──▶ PAD         (claim.c)
 *
 * The true tail is the first record boundary whose word is not current; whoever swaps that word has
 * claimed the room, and length and owner are in the same word, so there is no instant at which either
 * is unknown. Nobody ever waits for another's commit to claim or to commit.
 *
 * Why the swap cannot land anywhere else, however long this process was paused before it:
 *   - T is a boundary: it was reached over lengths of current words, from a boundary.
 *   - The word was not current for T when it was loaded. Nor was it of a later lap: whoever claims a
 *     lap later, or stores a word inside such a claim, has first moved the shared tail to within a lap
 *     of that word (A3), so beyond T; and the tail, loaded after the word (A2), was not ahead of T.
 *   - A word of T's index changes exactly once in each lap in which it is a boundary, and no value of
 *     it comes again before 2^58 bytes. So if it still has the value loaded, nobody has claimed at T.
 *   - Words are never in memory that payload can occupy.
 *
 * What a death leaves: before the swap, slot.claim names a place where the dead has claimed nothing.
 * After it, the word says CLAIMED by a slot whose lock is free: claim.c. In a batch or a short commit
 * the words behind the first are written first, and nobody looks at them before the first is stored. */
#include "producer.h"

/* The floor is raised ahead of need by at most this, so that one claim walks over at most so many
 * bytes of records, and readers that are not waited for keep 15/16 of the ring or more. */
#define FLOOR_STEP UINT64_C(65536)
/* A batch is claimed in chunks of this many bytes: one locked instruction each. */
#define CHUNK UINT64_C(4096)

uint64_t many_record_bytes(size_t length, uint32_t tag) {
  uint64_t bytes = (length + (tag ? sizeof tag : 0) + 63) & ~UINT64_C(63);
  return bytes ? bytes : 64;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---------------------------------------------------------------- the true tail, and room */

/* One look whether this handle's tail is the true one, and the word there, as a claim of so many bytes needs
 * it: the shared tail is then less than a stripe behind, and, since words inside the claim will be
 * stored too, it is ahead of every place of the lap before whose word that can be. If not, one step is made
 * towards that. */
RINGBUS_INLINE bool is_true_tail(ringbus_producer *producer, uint64_t bytes, uint64_t *word) {
  struct ringbus_producer_hot *hot = &producer->hot;
  const struct ringbus_view *view = &hot->view;
  uint64_t *shared_tail = (uint64_t *)(uintptr_t)hot->shared_tail;
  const uint64_t tail = hot->tail;
  *word = word_load(view, tail); /* A1: PUBLISH */
  if (RINGBUS_UNLIKELY(word_is_current(view, *word, tail))) {
    hot->tail = tail + ringbus_word_bytes(view, *word);
    return false;
  }
  const uint64_t told = shared_load(shared_tail); /* A2: TAIL */
  const uint64_t ahead = told & ~UINT64_C(63), capacity = view->mask + 1;
  if (RINGBUS_LIKELY(tail - ahead < capacity / 64 && tail - ahead + bytes <= capacity))
    return true;
  if (distance(tail, ahead) > 0)
    hot->tail = ahead;
  else
    shared_swap(shared_tail, told, tail); /* A3: TAIL */
  return false;
}

/* More steps than these: others were faster all the time, or the file is damaged. */
static uint64_t most_steps(const ringbus_producer *producer) {
  return 2 * producer->hot.view.granules_mask + 1024; /* two laps */
}

static struct slowest find_gate(ringbus_producer *producer, uint64_t bytes, struct counted floor) {
  ringbus_ring *ring = producer->handle.ring;
  struct slowest slowest = find_slowest(ring, (struct counted){producer->hot.tail, 0}, true, bytes);
  if (!slowest.gated && ring_holds(ring, slowest.groups))
    slowest = (struct slowest){floor, true, true, false, 0};
  return slowest;
}

/* A boundary at or after needed, a little further if nothing is lost by it; at most the gate. Words
 * that have been overwritten end the walk: then the floor is not what it was, either. */
static struct counted boundary_at_least(ringbus_producer *producer, uint64_t needed,
                                        struct counted floor, const struct slowest *gate) {
  const struct ringbus_view *view = &producer->hot.view;
  uint64_t end = gate->gated ? gate->at.position : producer->hot.tail;
  uint64_t wanted = needed + least((view->mask + 1) / 16, FLOOR_STEP);
  walk_records(view, &floor, distance(end, wanted) > 0 ? end : wanted);
  return floor;
}

/* This producer's limit, raising the floor if need be. Returns 0 if so many bytes fit behind the tail. */
static int refresh(ringbus_producer *producer, uint64_t bytes, bool thorough) {
  struct ringbus_producer_hot *hot = &producer->hot;
  ringbus_ring *ring = producer->handle.ring;
  struct ringbus_counters *counters = &ring->header->counters;
  uint64_t *floor_field = &ring->header->floor.position;
  uint64_t capacity = ring->geometry.capacity;
  uint64_t needed = hot->tail + bytes - capacity; /* where the floor must be */
  for (int tries = 0; tries < 100; tries++) {
    struct counted floor;
    if (!counted_load(floor_field, &floor)) /* ANNOUNCE */
      continue;
    struct slowest gate = find_gate(producer, bytes, floor);
    int64_t lag = distance(gate.at.position, hot->tail);
    if (lag > 0 && (uint64_t)lag > shared_load(&counters->max_lag))
      shared_store(&counters->max_lag, (uint64_t)lag);
    if (thorough) /* who waits for room waits, too, for whom the slowest reader waits */
      claim_recover(ring, gate.gated ? gate.at.position : floor.position);
    if (distance(floor.position, needed) > 0) {
      struct counted raised = boundary_at_least(producer, needed, floor, &gate);
      if (distance(needed, raised.position) < 0) {
        if (shared_load(floor_field) != floor.position)
          continue;
        if (gate.gated || !ask_whether_dead(&producer->blocked, raised.position, thorough))
          return -EAGAIN;
        if (claim_recover(ring, raised.position))
          continue;
        claim_note_blocked(ring, raised.position);
        return -EAGAIN;
      }
      if (!pair_swap(floor_field, (struct pair){floor.position, floor.count},
                     (struct pair){raised.position, raised.count})) /* ANNOUNCE, JOIN */
        continue;
      if (!gate.gated)
        shared_add(&counters->dropped, raised.count - floor.count);
      floor = raised;
    }
    /* Whoever raised the floor: without a fence and a look of its own behind its load of the floor this
     * producer could miss a joiner that has missed that floor. */
    shared_fence(); /* ANNOUNCE, JOIN */
    gate = find_gate(producer, bytes, floor);
    uint64_t limit = floor.position;
    if (gate.gated && distance(gate.at.position, limit) > 0)
      limit = gate.at.position;
    hot->limit = limit + capacity;
    return distance(hot->tail + bytes, hot->limit) >= 0 ? 0 : -EAGAIN;
  }
  return -EAGAIN;
}

int many_room(ringbus_producer *producer, uint64_t bytes, bool thorough) {
  const struct ringbus_producer_hot *hot = &producer->hot;
  uint64_t word;
  for (uint64_t steps = most_steps(producer); steps > 0; steps--)
    if (is_true_tail(producer, 0, &word))
      return distance(hot->tail + bytes, hot->limit) >= 0 ? 0 : refresh(producer, bytes, thorough);
  return -EAGAIN;
}

/* ---------------------------------------------------------------- claim and commit */

/* Bytes ahead; one line of words describes as many. */
enum { PREFETCHED = 512 };

static struct ringbus_slot *own_slot(const ringbus_producer *producer) {
  return ring_slot(producer->handle.ring, producer->handle.slot);
}

/* A claim is a locked instruction, which waits for all stores before it: for lines that the consumer has had,
 * one after the other. So for each record a line of those to come is sent for early, and one of their words, if they
 * are free as far as this producer knows. */
RINGBUS_INLINE void prefetch_room(const struct ringbus_producer_hot *hot, uint64_t position) {
  const struct ringbus_view *view = &hot->view;
  const uint64_t ahead = position + PREFETCHED;
  if (distance(ahead + 2 * PREFETCHED, hot->limit) < 0)
    return;
  ringbus_prefetch_to_write(view->data + (ahead & view->mask));
  ringbus_prefetch_to_write((const void *)(uintptr_t)ringbus_word_at(view, ahead + PREFETCHED));
}

enum attempt { CLAIMED, TAIL_MOVED, COLLIDED, NO_ROOM };

RINGBUS_INLINE enum attempt try_claim(ringbus_producer *producer, uint64_t bytes) {
  struct ringbus_producer_hot *hot = &producer->hot;
  const struct ringbus_view *view = &hot->view;
  uint64_t word;
  if (!is_true_tail(producer, bytes, &word))
    return TAIL_MOVED;
  const uint64_t tail = hot->tail;
  if (RINGBUS_UNLIKELY(distance(tail + bytes, hot->limit) < 0)) /* A4 */
    return NO_ROOM;
  shared_store(&own_slot(producer)->claim, tail); /* DEATH */
  const uint64_t claimed =
      record_word(view, tail, RINGBUS_WORD_CLAIMED, bytes, producer->handle.slot);
  if (!word_swap(view, tail, word, claimed)) /* A5: DEATH */
    return COLLIDED;
  producer->claim_position = tail;
  producer->claim_bytes = bytes;
  producer->run++;
  hot->tail = tail + bytes;
  prefetch_room(hot, hot->tail);
  return CLAIMED;
}

/* So many lost claims in a row are not chance any more. */
enum { MOST_COLLISIONS = 1 << 14 };

/* What becomes of a first attempt that has not claimed: 0, or -EAGAIN. */
static __attribute__((noinline)) int claim_again(ringbus_producer *producer, uint64_t bytes,
                                                 enum attempt attempt) {
  bool has_paced = false;
  uint64_t collisions = 0;
  for (uint64_t steps = most_steps(producer); steps > 0; steps--) {
    if (attempt == NO_ROOM) {
      if (!has_paced)
        pace_full(producer->handle.ring, (struct counted){producer->hot.tail, 0}, true, bytes,
                  &producer->full_at);
      has_paced = true;
      if (refresh(producer, bytes, false) != 0)
        break;
    } else if (attempt == COLLIDED && collisions < MOST_COLLISIONS) {
      pace_collision(producer);
      collisions++;
      steps = most_steps(producer);
    }
    attempt = try_claim(producer, bytes); /* the tail may have moved meanwhile */
    if (attempt == CLAIMED)
      return 0;
  }
  shared_add(&producer->handle.ring->header->counters.full_events, 1);
  return -EAGAIN;
}

/* Room for a record at this handle's tail, which moves behind it. */
RINGBUS_INLINE int claim_bytes(ringbus_producer *producer, uint64_t bytes) {
  const enum attempt attempt = try_claim(producer, bytes);
  return RINGBUS_LIKELY(attempt == CLAIMED) ? 0 : claim_again(producer, bytes, attempt);
}

static void give_up(ringbus_producer *producer) {
  const struct ringbus_view *view = &producer->hot.view;
  producer->hot.claimed = 0;
  if (producer->claim_bytes == 0)
    return;
  word_store(
      view, producer->claim_position,
      record_word(view, producer->claim_position, RINGBUS_WORD_PAD, producer->claim_bytes, 0));
  producer->claim_bytes = 0;
  /* Somebody may sleep who can now read what is behind it. */
  if (producer->hot.fence)
    shared_fence(); /* SLEEP */
  if (shared_load32((uint32_t *)(uintptr_t)producer->hot.data_waiters))
    ringbus_slow_wake(producer->hot.data_waiters);
}

/* Every call begins so: the handle's and the ring's state, and what a claim left open by the caller
 * becomes. */
RINGBUS_INLINE int enter(ringbus_producer *producer, size_t length) {
  unsigned state = state_load(&producer->hot.view); /* STATE */
  if (RINGBUS_UNLIKELY(state && state_is_forked(producer->hot.view.state)))
    return -ECHILD;
  if (RINGBUS_UNLIKELY(producer->claim_bytes != 0))
    give_up(producer);
  if (RINGBUS_UNLIKELY(state != 0))
    return ringbus_slow_state(producer->hot.view.state);
  return length > producer->hot.max_length ? -EMSGSIZE : 0;
}

/* The record at the claim's beginning takes the first bytes of it; the rest is given up. */
RINGBUS_INLINE void publish(ringbus_producer *producer, uint64_t word, uint64_t bytes) {
  struct ringbus_producer_hot *hot = &producer->hot;
  const struct ringbus_view *view = &hot->view;
  uint64_t position = producer->claim_position, rest = producer->claim_bytes - bytes;
  if (rest) /* nobody looks there before the word in front of it is stored */
    word_store(view, position + bytes,
               record_word(view, position + bytes, RINGBUS_WORD_PAD, rest, 0));
  word_store(view, position, word); /* PUBLISH */
  producer->claim_bytes = 0;
  hot->claimed = 0;
  if (RINGBUS_UNLIKELY(hot->fence))
    shared_fence();                                                                   /* SLEEP */
  if (RINGBUS_UNLIKELY(shared_load32((uint32_t *)(uintptr_t)hot->data_waiters) != 0)) /* SLEEP */
    ringbus_slow_wake(hot->data_waiters);
}

/* Between claim and commit somebody may have closed or retired the ring: readers that have seen the end
 * must not miss a message whose sender believes it sent. The fence is between the claim and the state, as
 * that of the readers is between the state and the word (state_before_words). */
RINGBUS_INLINE int still_open(ringbus_producer *producer) {
  swap_fence();                                     /* STATE */
  unsigned state = state_load(&producer->hot.view); /* STATE */
  if (RINGBUS_LIKELY(state == 0))
    return 0;
  if (!state_is_forked(producer->hot.view.state))
    give_up(producer);
  return ringbus_slow_state(producer->hot.view.state);
}

int ringbus_many_claim(ringbus_producer *producer, size_t length, uint32_t tag, void **data) {
  struct ringbus_producer_hot *hot = &producer->hot;
  int result = enter(producer, length);
  if (result == 0)
    result = claim_bytes(producer, many_record_bytes(length, tag));
  if (result != 0)
    return result;
  hot->claimed = length + 1;
  hot->tag = tag;
  *data = hot->view.data + (producer->claim_position & hot->view.mask);
  return 0;
}

int ringbus_many_commit(ringbus_producer *producer, size_t length) {
  struct ringbus_producer_hot *hot = &producer->hot;
  int result = still_open(producer);
  if (result != 0)
    return result;
  if (length >= hot->claimed)
    return hot->claimed ? -EMSGSIZE : -EINVAL;
  uint64_t bytes = many_record_bytes(length, hot->tag);
  publish(producer,
          ringbus_record_seal(&hot->view, producer->claim_position, length, hot->tag, bytes),
          bytes);
  return 0;
}

int ringbus_many_abort(ringbus_producer *producer) {
  uint64_t claimed = producer->hot.claimed;
  if (state_is_forked(producer->hot.view.state))
    return -ECHILD;
  give_up(producer);
  return claimed ? 0 : -EINVAL;
}

int ringbus_many_send(ringbus_producer *producer, const void *data, size_t length, uint32_t tag) {
  const struct ringbus_view *view = &producer->hot.view;
  uint64_t bytes = many_record_bytes(length, tag);
  int result = enter(producer, length);
  if (result == 0)
    result = claim_bytes(producer, bytes);
  if (result != 0)
    return result;
  ringbus_record_fill(view, producer->claim_position, data, length);
  uint64_t word = ringbus_record_seal(view, producer->claim_position, length, tag, bytes);
  result = still_open(producer);
  if (result == 0)
    publish(producer, word, bytes);
  return result;
}

/* Several messages by one claim, visible in one instant: the records behind the first are complete
 * before the first one's word makes them reachable. */
static int send_chunk(ringbus_producer *producer, const struct iovec *messages, size_t count,
                      uint32_t tag, uint64_t total) {
  const struct ringbus_view *view = &producer->hot.view;
  uint64_t first_word = 0, first_bytes = 0;
  int result = claim_bytes(producer, total);
  if (result != 0)
    return result;
  uint64_t position = producer->claim_position;
  for (size_t i = 0; i < count; i++) {
    uint64_t bytes = many_record_bytes(messages[i].iov_len, tag);
    uint64_t word = ringbus_record_seal(view, position, messages[i].iov_len, tag, bytes);
    ringbus_record_fill(view, position, messages[i].iov_base, messages[i].iov_len);
    if (i == 0) {
      first_word = word;
      first_bytes = bytes;
    } else {
      word_store(view, position, word);
    }
    position += bytes;
    prefetch_room(&producer->hot, position);
  }
  result = still_open(producer);
  if (result != 0)
    return result;
  producer->claim_bytes =
      first_bytes; /* the rest is not given up: it is published with the first */
  publish(producer, first_word, first_bytes);
  return 0;
}

int ringbus_many_send_batch(ringbus_producer *producer, const struct iovec *messages, size_t count,
                            uint32_t tag, bool all_at_once, size_t *sent) {
  uint64_t most =
      all_at_once ? producer->hot.view.mask + 1 : least(CHUNK, (producer->hot.view.mask + 1) / 16);
  size_t done = 0;
  int result = enter(producer, 0);
  while (result == 0 && done < count) {
    uint64_t total = 0;
    size_t n = 0;
    for (; done + n < count; n++) {
      uint64_t bytes = many_record_bytes(messages[done + n].iov_len, tag);
      if (messages[done + n].iov_len > producer->hot.max_length) {
        result = n && !all_at_once ? 0 : -EMSGSIZE;
        break;
      }
      if (n && total + bytes > most) {
        result = all_at_once ? -EMSGSIZE : 0;
        break;
      }
      total += bytes;
    }
    if (result != 0)
      break;
    result = send_chunk(producer, messages + done, n, tag, total);
    if (result == -EAGAIN && n > 1 && !all_at_once) { /* little room is better than none */
      n = 1;
      result = send_chunk(producer, messages + done, n, tag,
                          many_record_bytes(messages[done].iov_len, tag));
    }
    if (result == 0)
      done += n;
  }
  if (sent)
    *sent = done;
  return result;
}

/* ---------------------------------------------------------------- attach, leave */

int many_attach(ringbus_producer *producer) {
  ringbus_ring *ring = producer->handle.ring;
  struct ringbus_header *header = ring->header;
  uint64_t tail, floor, capacity = ring->geometry.capacity;
  int tries = 0;
  do { /* of one moment: others may go on for laps between the two loads */
    tail = shared_load(&header->tail.position);
    floor = shared_load(&header->floor.position);
  } while (shared_load(&header->tail.position) != tail && ++tries < 1000);
  /* Of many producers neither has banks. The floor may be ahead of the tail, which lags: a record of nearly the
   * capacity needs it all. */
  if (!position_is_sound(&ring->view, tail | floor) || ((tail | floor) & 1) != 0 ||
      (tries < 1000 && tail - floor > capacity && floor - tail > capacity))
    return fail(-EBADMSG, "the ring's tail or floor is damaged");
  trial_begin(&producer->giving_way, &trial_of_giving_way, false);
  producer->hot.tail = tail;
  producer->hot.limit =
      tail; /* nothing is written before a look for gates of this producer's own */
  return 0;
}

void many_leave(ringbus_producer *producer) { give_up(producer); }
