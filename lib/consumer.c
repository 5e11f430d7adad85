/* SPDX-License-Identifier: MIT */
/* consumer.c - attach, seeking, and what the hot path leaves to a call: closed or retired rings,
 * groups that can be lapped, words that contradict the file.
 *
 *   released ──borrow──▶ ... ──borrow──▶ position          cursor in the file = released
 *      ▲                                    │
 *      └──────────────release───────────────┘              death: position falls back to released
 */
#include <stdlib.h>
#include <string.h>

#include "consumer.h"

/* ---------------------------------------------------------------- reading */

/* To another position, of which the hot path did not know. */
static void go_to(struct ringbus_consumer_hot *hot, uint64_t position) {
  hot->position = position;
  consumer_enter_lap(hot);
}

/* For a group that can be lapped. */
static struct lapped_reader reader_of(ringbus_consumer *consumer, struct counted *at) {
  *at = (struct counted){consumer->hot.position, consumer->hot.count};
  return (struct lapped_reader){&consumer->hot.view, &consumer->handle.ring->header->floor.position,
                                at, &consumer->lost};
}

/* Over a message that was found by a call. */
static void pass(ringbus_consumer *consumer, uint64_t bytes) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  hot->position += bytes;
  hot->count++;
  if (distance(hot->lap_end, hot->position) >= 0)
    ringbus_slow_lap(consumer);
}

/* This consumer was lapped: to the oldest message. What it has borrowed stays borrowed, and invalid,
 * until it is released. */
static int catch_up(ringbus_consumer *consumer) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  struct ringbus_group *group = ring_group(consumer->handle.ring, consumer->group);
  struct counted at, was = {hot->position, hot->count};
  struct lapped_reader reader = reader_of(consumer, &at);
  int result = lapped_catch_up(&reader);
  if (result != -EOVERFLOW)
    return result;
  bool nothing_borrowed = hot->released == hot->position;
  hot->position = at.position;
  hot->count = at.count;
  shared_add(&group->lost_bytes, at.position - was.position);
  shared_add(&group->lost_messages, at.count - was.count);
  if (nothing_borrowed) {
    counted_store(&group->cursor, at);
    hot->released = at.position;
    wake_producers(consumer->handle.ring);
  }
  return result;
}

/* Over records that were given up. If nothing is borrowed they are released, too: nobody else would, and
 * there might be a whole ring of them. */
static void pass_over(ringbus_consumer *consumer, uint64_t position) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  if (position == hot->position)
    return;
  bool nothing_borrowed = hot->released == hot->position;
  go_to(hot, position);
  if (nothing_borrowed) {
    counted_store(&ring_group(consumer->handle.ring, consumer->group)->cursor,
                  (struct counted){position, hot->count}); /* RELEASE */
    hot->released = position;
    wake_producers(consumer->handle.ring);
  }
}

/* Whoever polls and never waits gets past the claim of a dead producer, too, by and by. */
static bool got_past_dead_claim(ringbus_consumer *consumer) {
  return claim_is_open(&consumer->hot.view, consumer->hot.position) &&
         ask_whether_dead(&consumer->blocked, consumer->hot.position, false) &&
         claim_recover(consumer->handle.ring, consumer->hot.position);
}

/* The next message in a group that can be lapped; -EOVERFLOW before catching up. */
static int next_lapped(ringbus_consumer *consumer, struct ringbus_message *message) {
  struct counted at;
  uint64_t bytes;
  struct lapped_reader reader = reader_of(consumer, &at);
  int result = lapped_next(&reader, message, &bytes);
  if (result == 0) {
    consumer->hot.position = at.position + bytes;
    consumer->hot.count = at.count + 1;
  } else if (result == -EAGAIN) {
    pass_over(consumer, at.position);
    if (got_past_dead_claim(consumer))
      return next_lapped(consumer, message);
  }
  return result;
}

/* The same, copied and released. */
static int recv_lapped(ringbus_consumer *consumer, void *buffer, size_t size,
                       struct ringbus_message *message) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  struct counted at;
  struct lapped_reader reader = reader_of(consumer, &at);
  int result = lapped_recv(&reader, buffer, size, message);
  if (result == -EOVERFLOW)
    return catch_up(consumer);
  if (result != 0) {
    pass_over(consumer, at.position);
    return result == -EAGAIN && got_past_dead_claim(consumer)
               ? recv_lapped(consumer, buffer, size, message)
               : result;
  }
  hot->position = at.position;
  hot->count = at.count;
  return ringbus_consumer_release(consumer);
}

uint64_t next_state(const struct ringbus_view *view, uint64_t *at, uint64_t *word) {
  for (uint64_t walked = 0; walked <= view->mask; walked += ringbus_word_bytes(view, *word)) {
    *word = racy_word(view, *at);
    uint64_t state =
        word_is_current(view, *word, *at) ? word_state(view, *word) : RINGBUS_WORD_FREE;
    if (view->in_band) /* where an uncommitted record has a word of 0, and any other is wrong */
      return *word == 0 ? RINGBUS_WORD_FREE : RINGBUS_WORD_COMMITTED;
    if (state != RINGBUS_WORD_PAD)
      return state;
    *at += ringbus_word_bytes(view, *word);
  }
  return RINGBUS_WORD_PAD; /* a lap of given-up records: enough for one call */
}

int next_gated(const struct ringbus_view *view, uint64_t *at, struct ringbus_message *message,
               uint64_t *bytes, uint64_t *state) {
  uint64_t word;
  *state = next_state(view, at, &word);
  if (*state != RINGBUS_WORD_COMMITTED)
    return -EAGAIN;
  word = word_load(view, *at); /* PUBLISH */
  *bytes = ringbus_word_is(view, word, *at, RINGBUS_WORD_COMMITTED)
               ? ringbus_word_decode(view, word, *at, message)
               : 0;
  return *bytes ? 0 : -EBADMSG;
}

/* The next record of a group that is waited for, at hot.position. A rest comes once: whoever gives up one
 * record after the other must not keep this call. */
static int next_or_recovered(ringbus_consumer *consumer, struct ringbus_message *message,
                             uint64_t *bytes) {
  for (bool has_rested = false;;) {
    uint64_t state, at = consumer->hot.position;
    int result = next_gated(&consumer->hot.view, &at, message, bytes, &state);
    pass_over(consumer, at);
    if (result == -EAGAIN && state != RINGBUS_WORD_PAD && !has_rested &&
        consumer->hot.empty_at != at) {
      pace_empty(consumer);
      has_rested = true;
      continue;
    }
    if (result != -EAGAIN || state != RINGBUS_WORD_CLAIMED ||
        !ask_whether_dead(&consumer->blocked, at, false) ||
        !claim_recover(consumer->handle.ring, at))
      return result;
  }
}

/* -EAGAIN on a closed ring is the end of the stream, unless a claim is still open there. state was
 * loaded before the word: what was published before the end has been seen. */
static int nothing_or_end(const ringbus_consumer *consumer, int result, unsigned state) {
  return result == -EAGAIN && (state & RINGBUS_STATE_CLOSED) &&
                 !claim_is_open(&consumer->hot.view, consumer->hot.position)
             ? -EPIPE
             : result;
}

int ringbus_slow_borrow(ringbus_consumer *consumer, struct ringbus_message *message) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  unsigned state = state_before_words(&hot->view); /* STATE */
  uint64_t bytes;
  size_t one;
  if (state & ~RINGBUS_STATE_CLOSED)
    return ringbus_slow_state(hot->view.state);
  if (hot->mode & RINGBUS_MODE_SHARED)
    return share_borrow_batch(consumer, message, 1, &one);
  if (hot->mode & RINGBUS_MODE_LAPPED) {
    int result = next_lapped(consumer, message);
    return result == -EOVERFLOW ? catch_up(consumer) : nothing_or_end(consumer, result, state);
  }
  int result = next_or_recovered(consumer, message, &bytes);
  if (result == 0)
    pass(consumer, bytes);
  return nothing_or_end(consumer, result, state);
}

/* Only for groups that can be lapped, or are shared. A batch ends where the reader was lapped: the next
 * call says so. */
int ringbus_slow_borrow_batch(ringbus_consumer *consumer, struct ringbus_message *messages,
                              size_t max, size_t *count) {
  *count = 0;
  if (max == 0)
    return -EINVAL;
  if (consumer->hot.mode & RINGBUS_MODE_SHARED) {
    unsigned state = state_load(&consumer->hot.view); /* STATE */
    return state & ~RINGBUS_STATE_CLOSED ? ringbus_slow_state(consumer->hot.view.state)
                                         : share_borrow_batch(consumer, messages, max, count);
  }
  int result = ringbus_slow_borrow(consumer, &messages[0]);
  if (result != 0)
    return result;
  for (*count = 1; *count < max && next_lapped(consumer, &messages[*count]) == 0;)
    ++*count;
  return 0;
}

int ringbus_slow_recv(ringbus_consumer *consumer, void *buffer, size_t size,
                      struct ringbus_message *message) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  unsigned state = state_before_words(&hot->view); /* STATE */
  struct ringbus_message found;
  uint64_t bytes;
  if (state & ~RINGBUS_STATE_CLOSED)
    return ringbus_slow_state(hot->view.state);
  if (hot->mode & RINGBUS_MODE_SHARED)
    return share_recv(consumer, buffer, size, message);
  if (hot->mode & RINGBUS_MODE_LAPPED)
    return nothing_or_end(consumer, recv_lapped(consumer, buffer, size, message), state);
  int result = next_or_recovered(consumer, &found, &bytes);
  if (result != 0)
    return nothing_or_end(consumer, result, state);
  result = copy_out(&found, buffer, size, message);
  if (result != 0)
    return result;
  pass(consumer, bytes);
  return ringbus_consumer_release(consumer);
}

int ringbus_slow_release(ringbus_consumer *consumer) {
  if (state_load(&consumer->hot.view) & ~RINGBUS_STATE_CLOSED) /* STATE */
    return ringbus_slow_state(consumer->hot.view.state);
  return consumer->hot.mode & RINGBUS_MODE_SHARED ? share_release(consumer)
                                                  : ringbus_consumer_release(consumer);
}

/* ---------------------------------------------------------------- attach */

/* Where a start option means, for this group. */
static int find_target(ringbus_consumer *consumer, enum ringbus_start start, uint64_t position,
                       struct counted *target) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  ringbus_ring *ring = consumer->handle.ring;
  struct counted held;
  /* Everything from the cursor on is held by a group that cannot be lapped, even if the floor was
   * announced above it. */
  bool holds = !hot->mode && counted_load(&ring_group(ring, consumer->group)->cursor, &held) &&
               held.position == hot->released;
  if (holds && start == RINGBUS_POSITION && distance(held.position, position) >= 0 &&
      position - held.position <= ring->geometry.capacity) {
    *target = held;
    walk_records(&hot->view, target, position);
    return target->position == position
               ? 0
               : fail(-EINVAL,
                      "%llu is not the position of a message in the ring, nor of the next one",
                      (unsigned long long)position);
  }
  int result = find_start(ring, start, position, target);
  if (result != 0)
    return result;
  if (holds && start == RINGBUS_OLDEST && distance(held.position, target->position) > 0)
    *target = held;
  /* The tail is stored after the record: this consumer may be ahead of it. */
  if (start == RINGBUS_NEWEST && distance(hot->position, target->position) < 0)
    *target = (struct counted){hot->position, hot->count};
  return 0;
}

/* Move the group's cursor; whatever was borrowed is released. */
static int move_to(ringbus_consumer *consumer, enum ringbus_start start, uint64_t position) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  ringbus_ring *ring = consumer->handle.ring;
  struct ringbus_group *group = ring_group(ring, consumer->group);
  struct counted target, reached, held;
  if (hot->mode & RINGBUS_MODE_SHARED)
    return fail(-EINVAL, "where a shared group stands is not for one of its members to say");
  int result = find_target(consumer, start, position, &target);
  if (result != 0)
    return result;
  reached = target;
  /* Going back is joining again for all that are waited for, those with a max_lag, too: only gating tells
   * the producer that a cursor which is where it was has moved (BANK). */
  if (distance(hot->released, target.position) < 0 &&
      (shared_load(&group->gating) & RINGBUS_GATING_MASK) != RINGBUS_GATING_NONE &&
      counted_load(&group->cursor, &held))
    group_gate(ring, consumer->group, &reached, &held);
  else if (target.position != hot->released)
    counted_store(&group->cursor, target); /* RELEASE */
  go_to(hot, reached.position);
  hot->released = reached.position;
  hot->count = reached.count;
  consumer->lost.position += reached.position - target.position;
  consumer->lost.count += reached.count - target.count;
  wake_producers(ring);
  return reached.position == target.position ? 0 : -EOVERFLOW;
}

static int check_start(enum ringbus_start start) {
  return (unsigned)start <= RINGBUS_POSITION ? 0 : fail(-EINVAL, "unknown start %d", (int)start);
}

int ringbus_consumer_attach(ringbus_ring *ring, const struct ringbus_consumer_options *options,
                            ringbus_consumer **out) {
  static const struct ringbus_consumer_options defaults;
  struct waiting waiting;
  struct counted start = {0, 0};
  bool created;
  if (!options)
    options = &defaults;
  if (!ring || !out)
    return fail(-EINVAL, "no ring");
  if (ring->forked)
    return fail(-ECHILD, "the ring was opened before fork: open it again in the child");
  if (ring->read_only)
    return fail(-EPERM, "the ring is open read-only: attach an observer");
  if ((unsigned)options->hand_back > RINGBUS_HAND_BACK_LOCKED)
    return fail(-EINVAL, "unknown way to hand lines back: %d", (int)options->hand_back);
  int result = check_start(options->start);
  if (result == 0)
    result = wait_options(options->wait, options->look_ns, &waiting);
  if (result == 0)
    result = check_size(ring);
  if (result != 0)
    return result;
  ringbus_consumer *consumer = aligned_alloc(RINGBUS_LINE, sizeof_aligned(sizeof *consumer));
  if (!consumer)
    return fail(-ENOMEM, NULL);
  memset(consumer, 0, sizeof *consumer);
  consumer->hot.view = ring->view;
  consumer->wait = waiting.policy;
  consumer->look_ns = waiting.look_ns;
  consumer->end_without_producer = options->end_without_producer;
  handle_register(&consumer->handle, ring, &consumer->hot.view.state);
  result = slot_take(&consumer->handle, RINGBUS_ROLE_CONSUMER, options->name,
                     options->shared ? options->group : NULL);
  if (result != 0)
    goto failed;
  if (shared_load32(&ring->header->signals.state) & RINGBUS_STATE_RETIRED) {
    result = fail(-ESTALE, "the ring was retired: open its successor");
    goto leave;
  }
  result =
      group_join(&consumer->handle, options, &consumer->group, &created, &start, &consumer->lost);
  if (result != 0)
    goto leave;
  struct ringbus_group group = group_copy(ring, consumer->group);
  struct ringbus_consumer_hot *hot = &consumer->hot;
  hot->empty_at = UINT64_MAX;
  /* Until a message has come an empty one of one granule is the usual one. */
  hot->usual_bytes = UINT64_C(1) << hot->view.granule_shift;
  hot->usual_word = (hot->usual_bytes - hot->view.in_band) << RINGBUS_WORD_UNUSED_SHIFT;
  go_to(hot, start.position);
  hot->released = start.position;
  hot->count = start.count;
  for (size_t i = 0; i < sizeof consumer->resting / sizeof consumer->resting[0]; i++)
    trial_begin(&consumer->resting[i], &trial_of_resting, false);
  trial_begin(&consumer->handing_back, &trial_of_handing_back, true);
  hot->mode = group.flags & RINGBUS_GROUP_SHARED ? RINGBUS_MODE_SHARED
              : group.policy == RINGBUS_GROUP_LAPPED || group.max_lag != 0 || ring_overwrites(ring)
                  ? RINGBUS_MODE_LAPPED
                  : 0;
  consumer->tries_handing_back = !hot->mode && options->hand_back == RINGBUS_HAND_BACK_DEFAULT;
  hot->hand_back = hot->mode & RINGBUS_MODE_LAPPED                   ? RINGBUS_HAND_BACK_NEVER
                   : options->hand_back == RINGBUS_HAND_BACK_DEFAULT ? RINGBUS_HAND_BACK_STORE
                                                                     : options->hand_back;
  hot->cursor = shared_word(&ring_group(ring, consumer->group)->cursor);
  hot->floor = shared_word(&ring->header->floor.position);
  hot->room_waiters = &ring->header->signals.room_waiters;
  hot->fence = publisher_needs_fence(ring);
  if (hot->mode & RINGBUS_MODE_SHARED) {
    hot->position = hot->released =
        0; /* it holds nothing yet, or what its slot's last holder held */
    share_attach(consumer, options->at_most_once);
  } else if (options->start != RINGBUS_RESUME) {
    result = move_to(consumer, options->start, options->position);
    if (result == -EOVERFLOW)
      result = 0; /* the oldest there is */
    if (result != 0) {
      group_leave(&consumer->handle, consumer->group, created);
      goto leave;
    }
  }
  notify_presence(ring);
  *out = consumer;
  return 0;
leave:
  slot_leave(&consumer->handle);
failed:
  handle_unregister(&consumer->handle);
  free(consumer);
  return result;
}

int ringbus_consumer_detach(ringbus_consumer *consumer) {
  if (!consumer)
    return 0;
  bool forked = handle_is_forked(&consumer->handle);
  poller_forget(consumer);
  event_end(consumer);
  if (!forked) {
    if (consumer->hot.mode & RINGBUS_MODE_SHARED)
      share_leave(consumer);
    group_leave(&consumer->handle, consumer->group, false); /* wakes producers */
    slot_leave(&consumer->handle);
    if (consumer->hot.mode & RINGBUS_MODE_SHARED) /* what it held is for the others */
      ringbus_slow_wake(&consumer->handle.ring->header->signals.data_waiters);
  }
  handle_unregister(&consumer->handle);
  free(consumer);
  return forked ? -ECHILD : 0;
}

int ringbus_consumer_tell(const ringbus_consumer *consumer, uint64_t *position, uint64_t *count) {
  if (handle_is_forked(&consumer->handle))
    return -ECHILD;
  struct counted at = {consumer->hot.position, consumer->hot.count};
  if (consumer->hot.mode & RINGBUS_MODE_SHARED)
    share_tell(consumer, &at);
  if (position)
    *position = at.position;
  if (count)
    *count = at.count;
  return 0;
}

int ringbus_consumer_seek(ringbus_consumer *consumer, enum ringbus_start start, uint64_t position) {
  unsigned state = state_load(&consumer->hot.view);
  if (state & ~RINGBUS_STATE_CLOSED)
    return ringbus_slow_state(consumer->hot.view.state);
  int result = start == RINGBUS_RESUME ? fail(-EINVAL, "seek where?") : check_start(start);
  return result ? result : move_to(consumer, start, position);
}

int ringbus_consumer_lost(const ringbus_consumer *consumer, uint64_t *messages, uint64_t *bytes) {
  if (handle_is_forked(&consumer->handle))
    return -ECHILD;
  if (messages)
    *messages = consumer->lost.count;
  if (bytes)
    *bytes = consumer->lost.position;
  return 0;
}

/* ---------------------------------------------------------------- waiting */

/* Words of their own: what the first one that was not given up says. Looks at words only: what they
 * describe may be overwritten in a group that can be lapped. */
static int look_beside_the_data(const ringbus_consumer *consumer, uint64_t position, bool thorough,
                                bool ended) {
  ringbus_ring *ring = consumer->handle.ring;
  uint64_t word, at = position;
  if (ended)
    shared_fence(); /* STATE */
  uint64_t state = next_state(&consumer->hot.view, &at, &word);
  if (state == RINGBUS_WORD_CLAIMED && thorough) {
    if (claim_recover(ring, at))
      return 0;
    claim_note_blocked(ring, at);
  }
  if (state == RINGBUS_WORD_COMMITTED || at != position)
    return 0;
  return ended && state == RINGBUS_WORD_FREE ? -EPIPE : -EAGAIN;
}

/* consumer_look, but for runs of the dead. */
static int look_at(const ringbus_consumer *consumer, uint64_t position, bool thorough) {
  const struct ringbus_consumer_hot *hot = &consumer->hot;
  unsigned state = state_load(&hot->view); /* STATE */
  if (state & ~RINGBUS_STATE_CLOSED)
    return ringbus_slow_state(hot->view.state);
  bool ended = state & RINGBUS_STATE_CLOSED;
  if (!ended && thorough && consumer->end_without_producer)
    ended = producer_has_gone(consumer->handle.ring);
  if (hot->mode & RINGBUS_MODE_SHARED)
    return share_look(consumer, thorough, ended);
  if ((hot->mode & RINGBUS_MODE_LAPPED) && ringbus_floor_has_passed(hot->floor, position))
    return 0;
  if (!hot->view.in_band)
    return look_beside_the_data(consumer, position, thorough, ended);
  return racy_word(&hot->view, position) != 0 ? 0 : ended ? -EPIPE : -EAGAIN;
}

int consumer_look(const ringbus_consumer *consumer, uint64_t position, bool thorough) {
  int result = look_at(consumer, position, thorough);
  return result == -EAGAIN && thorough && (consumer->hot.mode & RINGBUS_MODE_SHARED) &&
                 share_may_take_over(consumer)
             ? 0
             : result;
}

/* Whether there are records that were given up, and passes over them. */
static bool passed_over_gap(ringbus_consumer *consumer) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  uint64_t word, from = hot->position, at = from;
  if (hot->view.in_band || (hot->mode & RINGBUS_MODE_SHARED))
    return false;
  next_state(&hot->view, &at, &word);
  /* What was looked at may be a later lap's in a group that can be lapped. */
  if (!(hot->mode & RINGBUS_MODE_LAPPED) || !ringbus_floor_has_passed(hot->floor, from))
    pass_over(consumer, at);
  return hot->position != from;
}

int consumer_look_here(ringbus_consumer *consumer, bool thorough) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  int result;
  if (state_load(&hot->view) & ~RINGBUS_STATE_CLOSED)
    return ringbus_slow_state(hot->view.state);
  if ((hot->mode & RINGBUS_MODE_SHARED) && share_look_here(consumer, thorough))
    return 0;
  do { /* a look may give up a claim of the dead: then it is what lies behind that counts */
    passed_over_gap(consumer);
    result = look_at(consumer, hot->position, thorough);
  } while (result == 0 && passed_over_gap(consumer));
  return result;
}

static int look_for_data(void *context, bool thorough) {
  return consumer_look_here(context, thorough);
}

int ringbus_consumer_wait(ringbus_consumer *consumer, int64_t timeout_ns) {
  struct waiting waiting = {
      consumer->wait, consumer->look_ns, &consumer->handle.ring->header->signals.data_waiters,
      look_for_data,  consumer,          false};
  if (handle_is_forked(&consumer->handle))
    return -ECHILD;
  return wait_until(consumer->handle.ring, &waiting, timeout_ns);
}
