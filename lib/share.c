/* SPDX-License-Identifier: MIT */
/* share.c - groups of several consumers, each message to one of them.
 *
 *   group.take     everything before it has been taken, by the member whose slot it names last
 *   slot.taken     the run [taken, taken_to) that this member is taking, or has taken and not released
 *
 *   nothing ──note──▶ NOTED ──take: CAS on group.take──▶ (taken) ──confirm: CAS──▶ HELD ──release──▶ nothing
 *      ▲                │                                                           │
 *      └── lost the CAS ┘            of the dead: COMING to a living member ◀───────┘ ──▶ HELD by it
 *
 * TAKE: a note is stored before the swap of group.take that makes it true. Whether the run of a dead
 * member that is only NOTED was taken is seen from group.take as long as that names it; and before
 * anybody moves group.take on, it confirms the note of the last taker. So a note that is not confirmed,
 * and is not what group.take says, is that of a loser, and is dropped. NOTED and HELD carry the group's
 * index: in one group no two notes are alike, and a confirmation cannot hit another group's member who
 * has the slot by now.
 *
 * The notes of the dead are judged, and their runs taken over, by holders of the table lock: note the
 * run as COMING from the dead one's slot, clear the dead one's note, hold it. Of a COMING whose holder
 * died too, the dead one's note tells how far it got.
 *
 * The gate (what a producer must keep): the least of group.take, looked at first, and of all notes.
 * Looking at the notes one by one could miss a run that moves from a slot not yet looked at to one
 * already passed: group.moves is counted up before the old note goes, and a look during which it changed
 * is repeated. A note more than a lap behind the tail is that of a loser who was stopped for long: a
 * winner's would have been waited for.
 *
 * A slot whose holder is gone, but whose note is not, is given to nobody but a new member of the same
 * group, who inherits the run. */
#include <string.h>

#include "consumer.h"

static uint64_t taken_state(uint64_t taken) { return taken & RINGBUS_TAKEN_MASK; }

static uint64_t taken_from(uint64_t taken) { return taken & ~(uint64_t)RINGBUS_TAKEN_MASK; }

/* low: of group.take the last taker's slot, of a note the group, of a COMING note the dead one's slot. */
static uint64_t second_word(uint64_t count, uint32_t low) {
  return count << RINGBUS_TAKE_COUNT_SHIFT | low;
}

static uint32_t low_part(uint64_t second) { return (uint32_t)(second & RINGBUS_TAKE_SLOT_MASK); }

static uint64_t count_part(uint64_t second) { return second >> RINGBUS_TAKE_COUNT_SHIFT; }

/* The whole of a count of which the lower 54 bits are known, being no further from the floor's than
 * there are bytes in a ring. */
static uint64_t whole_count(const ringbus_ring *ring, uint64_t second) {
  struct counted floor;
  if (!counted_load(&ring->header->floor.position, &floor))
    return count_part(second);
  uint64_t ahead = count_part(second) - floor.count;
  return floor.count +
         (uint64_t)((int64_t)(ahead << RINGBUS_TAKE_COUNT_SHIFT) >> RINGBUS_TAKE_COUNT_SHIFT);
}

static bool is_member(const ringbus_ring *ring, uint32_t slot, uint32_t group) {
  return shared_load32(&ring_slot(ring, slot)->group) == group;
}

/* ---------------------------------------------------------------- the gate */

bool share_gate(const ringbus_ring *ring, uint32_t index, uint64_t tail, struct counted *gate) {
  struct ringbus_group *group = ring_group(ring, index);
  for (int tries = 0; tries < 10; tries++) {     /* gate_load tries again */
    uint64_t moves = shared_load(&group->moves); /* TAKE */
    struct pair least, taken;
    bool whole = pair_load(group->take, &least); /* TAKE: before the notes */
    uint64_t furthest = distance(tail, least.first) > 0 ? least.first : tail;
    for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++) {
      if (!is_member(ring, slot, index))
        continue;
      whole = pair_load(ring_slot(ring, slot)->taken, &taken) && whole; /* TAKE */
      if (taken_state(taken.first) != RINGBUS_TAKEN_NOTHING &&
          distance(least.first, taken_from(taken.first)) < 0 &&
          furthest - taken_from(taken.first) <= ring->geometry.capacity)
        least = (struct pair){taken_from(taken.first), taken.second};
    }
    gate->position = taken_from(least.first); /* group.take has nothing in these bits but damage */
    gate->count = whole_count(ring, least.second);
    if (whole && shared_load(&group->moves) == moves)
      return true;
  }
  return false;
}

void share_begin(ringbus_ring *ring, uint32_t index, struct counted start) {
  struct ringbus_group *group = ring_group(ring, index);
  struct pair now;
  do
    now = (struct pair){shared_load(&group->take[0]), shared_load(&group->take[1])};
  while (!pair_swap(group->take, now, (struct pair){start.position, second_word(start.count, 0)}));
}

void share_settle(ringbus_ring *ring, uint32_t index, struct counted start) {
  if (distance(shared_load(&ring_group(ring, index)->take[0]), start.position) > 0)
    share_begin(ring, index, start);
}

/* ---------------------------------------------------------------- notes of others */

void share_forget_runs(ringbus_ring *ring, uint32_t index) {
  for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++)
    if (is_member(ring, slot, index))
      shared_store(&ring_slot(ring, slot)->taken[0], 0);
}

bool share_slot_is_free(ringbus_ring *ring, uint32_t slot) {
  struct ringbus_slot *entry = ring_slot(ring, slot);
  uint32_t group = shared_load32(&entry->group);
  if (taken_state(shared_load(&entry->taken[0])) == RINGBUS_TAKEN_NOTHING)
    return true;
  if (group < ring->geometry.group_count && group_exists(ring, group) &&
      group_is_shared(ring, group))
    return false;
  shared_store(&entry->taken[0], 0); /* of a group that is gone */
  return true;
}

bool share_can_inherit(const ringbus_ring *ring, uint32_t slot, const char *group) {
  uint32_t index = shared_load32(&ring_slot(ring, slot)->group);
  return group && index < ring->geometry.group_count &&
         strcmp(group_copy(ring, index).name, group) == 0;
}

unsigned share_living_members(const ringbus_ring *ring, uint32_t index) {
  unsigned living = 0;
  for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++) {
    uint64_t state = shared_load(&ring_slot(ring, slot)->state);
    if ((state & 0xff) == RINGBUS_ROLE_CONSUMER && is_member(ring, slot, index) &&
        participant_alive(ring, state >> 16 << 16 | slot))
      living++;
  }
  return living;
}

/* The last taker's note, which group.take still proves, before group.take moves on. */
static void confirm_last_taker(ringbus_ring *ring, uint32_t group, struct pair take) {
  uint32_t last = low_part(take.second);
  struct pair taken;
  if (last == 0 || last >= ring->geometry.slot_count)
    return;
  struct ringbus_slot *entry = ring_slot(ring, last);
  if (pair_load(entry->taken, &taken) && taken_state(taken.first) == RINGBUS_TAKEN_NOTED &&
      low_part(taken.second) == group && shared_load(&entry->taken_to) == take.first)
    pair_swap(entry->taken, taken,
              (struct pair){taken_from(taken.first) | RINGBUS_TAKEN_HELD, taken.second}); /* TAKE */
}

/* ---------------------------------------------------------------- the notes of the dead */

/* What the note of a dead member is worth. The caller holds the table lock; the note, and group.take, are
 * loaded after the kernel was asked about its holder. */
static void judge_note(ringbus_ring *ring, uint32_t group, uint32_t slot, struct pair taken) {
  struct ringbus_slot *entry = ring_slot(ring, slot);
  uint64_t from = taken_from(taken.first);
  struct pair held = {from | RINGBUS_TAKEN_HELD, second_word(count_part(taken.second), group)};
  struct pair nothing = {0, taken.second};
  if (taken_state(taken.first) == RINGBUS_TAKEN_NOTED) {
    struct pair take;
    if (!pair_load(ring_group(ring, group)->take, &take))
      return;
    bool took = take.first == shared_load(&entry->taken_to) && low_part(take.second) == slot;
    /* If it was confirmed in between this fails, and it is judged again as HELD. */
    pair_swap(entry->taken, taken, took ? held : nothing);
  } else if (taken_state(taken.first) == RINGBUS_TAKEN_HELD) {
    if (shared_load32(&entry->flags) & RINGBUS_SLOT_AT_MOST_ONCE)
      pair_swap(entry->taken, taken, nothing);
  } else {
    uint32_t source = low_part(taken.second);
    bool came = source == 0 || source >= ring->geometry.slot_count ||
                shared_load(&ring_slot(ring, source)->taken[0]) != held.first;
    if (came) /* as in take_over_from: the look of a producer may have passed this slot before */
      shared_increment(&ring_group(ring, group)->moves);
    pair_swap(entry->taken, taken, came ? held : nothing);
  }
}

/* Whether a dead member's note is there to be judged, or, as a run, to be taken over. To whoever holds the
 * table lock it is so until that holder changes it: a new holder of the slot cannot become a member
 * meanwhile. But only if the note is looked at again after the kernel was asked: a run that was released
 * just before its holder left would otherwise be noted as COMING, and delivered again if the one who takes
 * it over dies right there. COMING is always one, even if the slot has a new holder: its author held the
 * lock, and would not have let it go before the run had come. */
static bool has_note_of_the_dead(const ringbus_ring *ring, uint32_t group, uint32_t slot,
                                 struct pair *taken) {
  struct ringbus_slot *entry = ring_slot(ring, slot);
  if (!is_member(ring, slot, group) || !pair_load(entry->taken, taken) ||
      taken_state(taken->first) == RINGBUS_TAKEN_NOTHING)
    return false;
  if (taken_state(taken->first) == RINGBUS_TAKEN_COMING)
    return true;
  return !slot_is_held(ring, slot) && pair_load(entry->taken, taken) &&
         taken_state(taken->first) != RINGBUS_TAKEN_NOTHING;
}

static bool is_run(const ringbus_ring *ring, uint32_t slot, struct pair taken) {
  return taken_state(taken.first) == RINGBUS_TAKEN_HELD &&
         !(shared_load32(&ring_slot(ring, slot)->flags) & RINGBUS_SLOT_AT_MOST_ONCE);
}

bool share_has_unjudged(const ringbus_ring *ring, uint32_t index) {
  struct pair taken;
  for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++)
    if (has_note_of_the_dead(ring, index, slot, &taken) && !is_run(ring, slot, taken))
      return true;
  return false;
}

void share_judge(ringbus_ring *ring, uint32_t index) {
  struct pair taken;
  for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++)
    for (int steps = 0;
         steps < 3 && has_note_of_the_dead(ring, index, slot, &taken) && !is_run(ring, slot, taken);
         steps++)
      judge_note(ring, index, slot, taken);
}

/* ---------------------------------------------------------------- a run of one's own */

static struct ringbus_slot *own_slot(const ringbus_consumer *consumer) {
  return ring_slot(consumer->handle.ring, consumer->handle.slot);
}

/* Note a run as one's own, before it is. */
static void note(ringbus_consumer *consumer, uint64_t from_and_state, uint64_t to,
                 uint64_t second) {
  struct ringbus_slot *own = own_slot(consumer);
  shared_store(&own->taken_to, to);
  shared_store(&own->taken[1], second);
  shared_store(&own->taken[0], from_and_state); /* TAKE */
}

static void begin_run(ringbus_consumer *consumer, uint64_t from, uint64_t to, uint64_t count,
                      bool redelivered) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  hot->position = hot->released = from;
  hot->count = consumer->run_count = count;
  consumer->run_to = to;
  consumer->redelivered = redelivered;
}

/* ---------------------------------------------------------------- taking over from the dead */

static bool take_over_from(ringbus_consumer *consumer, uint32_t slot, struct pair taken) {
  ringbus_ring *ring = consumer->handle.ring;
  struct ringbus_slot *dead = ring_slot(ring, slot);
  uint64_t from = taken_from(taken.first), to = shared_load(&dead->taken_to);
  struct pair coming = {from | RINGBUS_TAKEN_COMING, second_word(count_part(taken.second), slot)};
  struct pair held = {from | RINGBUS_TAKEN_HELD,
                      second_word(count_part(taken.second), consumer->group)};
  if (distance(from, to) <= 0 || to - from > ring->geometry.capacity)
    return false; /* not written by this library */
  note(consumer, coming.first, to, coming.second);
  shared_increment(&ring_group(ring, consumer->group)->moves); /* TAKE: see share_gate */
  if (!pair_swap(dead->taken, taken, (struct pair){0, taken.second})) {
    shared_store(&own_slot(consumer)->taken[0], 0);
    return false;
  }
  pair_swap(own_slot(consumer)->taken, coming, held);
  begin_run(consumer, from, to, whole_count(ring, taken.second), true);
  shared_add(&ring_group(ring, consumer->group)->redelivered, 1);
  return true;
}

/* Takes over a run of a member that is dead or has left, if there is one. Asks the kernel. */
static bool take_over(ringbus_consumer *consumer) {
  ringbus_ring *ring = consumer->handle.ring;
  struct pair taken;
  bool any = false, done = false;
  int saved = errno; /* hot calls come here, and leave errno alone */
  for (uint32_t slot = 1; slot < ring->geometry.slot_count && !any; slot++)
    any = has_note_of_the_dead(ring, consumer->group, slot, &taken);
  /* If somebody else is at it right now, the next look will do. */
  if (any && table_try_lock(consumer->handle.lock_fd) == 0) {
    share_judge(ring, consumer->group);
    for (uint32_t slot = 1; slot < ring->geometry.slot_count && !done; slot++)
      done = has_note_of_the_dead(ring, consumer->group, slot, &taken) &&
             is_run(ring, slot, taken) && take_over_from(consumer, slot, taken);
    table_unlock(consumer->handle.lock_fd);
    wake_producers(ring);
  }
  errno = saved;
  return done;
}

/* The last holder of this slot is gone, and this handle has its lock: nobody else judges its note, unless
 * it was COMING, and that was judged when this member joined, under the table lock. */
void share_attach(ringbus_consumer *consumer, bool at_most_once) {
  ringbus_ring *ring = consumer->handle.ring;
  struct ringbus_slot *own = own_slot(consumer);
  struct pair taken;
  for (int steps = 0; steps < 3 && pair_load(own->taken, &taken) &&
                      taken_state(taken.first) != RINGBUS_TAKEN_NOTHING;
       steps++) {
    bool coming = taken_state(taken.first) == RINGBUS_TAKEN_COMING;
    if (!coming && low_part(taken.second) != consumer->group) {
      shared_store(&own->taken[0], 0); /* of a group of this name that is gone, not quite removed */
      break;
    }
    if (is_run(ring, consumer->handle.slot, taken)) {
      uint64_t from = taken_from(taken.first), to = shared_load(&own->taken_to);
      if (distance(from, to) <= 0 || to - from > ring->geometry.capacity) {
        shared_store(&own->taken[0], 0); /* not written by this library */
        break;
      }
      begin_run(consumer, from, to, whole_count(ring, taken.second), true);
      shared_add(&ring_group(ring, consumer->group)->redelivered, 1);
      break;
    }
    judge_note(ring, consumer->group, consumer->handle.slot, taken);
  }
  shared_store32(&own->flags, at_most_once ? RINGBUS_SLOT_AT_MOST_ONCE : 0);
  wake_producers(ring); /* a note may have gone */
}

/* ---------------------------------------------------------------- taking */

/* The kernel is asked only if somebody sleeps. */
static bool stream_has_ended(const ringbus_consumer *consumer) {
  ringbus_ring *ring = consumer->handle.ring;
  return (state_load(&consumer->hot.view) & RINGBUS_STATE_CLOSED) ||
         (consumer->end_without_producer && shared_load32(&ring->header->signals.data_waiters) &&
          producer_has_gone(ring));
}

/* A note of this member is gone: producers may have waited for that, and at the end of the stream the
 * other members. */
static void wake_who_waited_for_note(const ringbus_consumer *consumer) {
  wake_producers(consumer->handle.ring);
  if (stream_has_ended(consumer))
    ringbus_slow_wake(&consumer->handle.ring->header->signals.data_waiters);
}

static int take(ringbus_consumer *consumer, size_t max) {
  ringbus_ring *ring = consumer->handle.ring;
  struct ringbus_group *group = ring_group(ring, consumer->group);
  for (int tries = 0; tries < 1000; tries++) {
    struct pair now;
    uint64_t word, messages = 0;
    if (!pair_load(group->take, &now)) /* TAKE */
      continue;
    uint64_t at = now.first, to = now.first;
    /* Words only: if others were faster, what they describe is being overwritten. */
    while (messages < max && next_state(&ring->view, &at, &word) == RINGBUS_WORD_COMMITTED) {
      to = at += ringbus_word_bytes(&ring->view, word);
      messages++;
    }
    if (messages == 0)
      to = at; /* behind records that were given up, if there were any */
    if (to == now.first) {
      if (shared_load(&group->take[0]) != now.first)
        continue; /* what was looked at may have been a later lap */
      return -EAGAIN;
    }
    confirm_last_taker(ring, consumer->group, now);
    uint64_t count = whole_count(ring, now.second);
    if (messages == 0) { /* nothing that could be delivered again: no run, no note */
      if (pair_swap(group->take, now, (struct pair){to, second_word(count, 0)}))
        wake_producers(ring);
      continue;
    }
    struct pair noted = {now.first | RINGBUS_TAKEN_NOTED, second_word(count, consumer->group)};
    note(consumer, noted.first, to, noted.second);
    if (!pair_swap(group->take, now,
                   (struct pair){to, second_word(count + messages, consumer->handle.slot)})) {
      shared_store(&own_slot(consumer)->taken[0], 0); /* the loser's note */
      wake_who_waited_for_note(consumer);
      continue;
    }
    pair_swap(own_slot(consumer)->taken, noted, /* TAKE; somebody else may have done it */
              (struct pair){now.first | RINGBUS_TAKEN_HELD, noted.second});
    begin_run(consumer, now.first, to, count, false);
    return 0;
  }
  return -EAGAIN;
}

/* Whoever polls and never waits finds the dead, too, by and by. */
static int take_or_take_over(ringbus_consumer *consumer, size_t max) {
  int result = take(consumer, max);
  if (result != -EAGAIN)
    return result;
  uint64_t at = shared_load(&ring_group(consumer->handle.ring, consumer->group)->take[0]);
  if (!ask_whether_dead(&consumer->blocked, at, false))
    return result;
  claim_recover(consumer->handle.ring, at);
  return take_over(consumer) ? 0 : take(consumer, max);
}

/* Nothing to take. On a closed ring that is the end only if nobody holds a run: its holder may die. */
static int nothing_to_take(const ringbus_consumer *consumer, bool ended) {
  ringbus_ring *ring = consumer->handle.ring;
  struct counted gate;
  uint64_t word;
  if (!ended || !share_gate(ring, consumer->group, tail_told(ring), &gate) ||
      gate.position != shared_load(&ring_group(ring, consumer->group)->take[0]))
    return -EAGAIN;
  shared_fence(); /* STATE, see state_before_words in consumer.c */
  return next_state(&ring->view, &gate.position, &word) == RINGBUS_WORD_FREE ? -EPIPE : -EAGAIN;
}

static bool run_has_more(const ringbus_consumer *consumer) {
  return consumer->hot.position != consumer->run_to;
}

static bool holds_a_run(const ringbus_consumer *consumer) {
  return consumer->hot.released != consumer->run_to;
}

/* The next message of the run, which is not passed over yet. */
static int next_of_run(ringbus_consumer *consumer, struct ringbus_message *message,
                       uint64_t *bytes) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  uint64_t state;
  int result = next_gated(&hot->view, &hot->position, message, bytes, &state);
  message->redelivered = consumer->redelivered;
  /* A run ends with a message, and what was taken was there to be read. */
  return result == -EAGAIN ||
                 (result == 0 && distance(hot->position + *bytes, consumer->run_to) < 0)
             ? -EBADMSG
             : result;
}

/* A run to hand messages out of. Returns 0, -EAGAIN, -EPIPE, -EBADMSG. */
static int need_run(ringbus_consumer *consumer, size_t max, unsigned state) {
  if (run_has_more(consumer))
    return 0;
  int result = take_or_take_over(consumer, max);
  return result == -EAGAIN ? nothing_to_take(consumer, state & RINGBUS_STATE_CLOSED) : result;
}

int share_borrow_batch(ringbus_consumer *consumer, struct ringbus_message *messages, size_t max,
                       size_t *count) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  unsigned state = state_load(&hot->view); /* STATE */
  *count = 0;
  if (!run_has_more(consumer) && holds_a_run(consumer))
    return -EBUSY;
  int result = need_run(consumer, max, state);
  while (result == 0 && *count < max && run_has_more(consumer)) {
    uint64_t bytes;
    result = next_of_run(consumer, &messages[*count], &bytes);
    if (result == 0) {
      hot->position += bytes;
      hot->count++;
      ++*count;
    }
  }
  return *count ? 0 : result;
}

int share_recv(ringbus_consumer *consumer, void *buffer, size_t size,
               struct ringbus_message *message) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  unsigned state = state_load(&hot->view); /* STATE */
  struct ringbus_message found;
  uint64_t bytes;
  if (!run_has_more(consumer) && holds_a_run(consumer))
    share_release(consumer);
  int result = need_run(consumer, 1, state);
  if (result == 0)
    result = next_of_run(consumer, &found, &bytes);
  if (result != 0)
    return result;
  result = copy_out(&found, buffer, size, message);
  if (result != 0)
    return result;
  hot->position += bytes;
  hot->count++;
  return share_release(consumer);
}

int share_release(ringbus_consumer *consumer) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  struct ringbus_slot *own = own_slot(consumer);
  if (hot->position == hot->released)
    return 0;
  ringbus_hand_back(hot, hot->released, hot->position);
  if (run_has_more(consumer))
    pair_swap(own->taken, /* TAKE */
              (struct pair){hot->released | RINGBUS_TAKEN_HELD,
                            second_word(consumer->run_count, consumer->group)},
              (struct pair){hot->position | RINGBUS_TAKEN_HELD,
                            second_word(hot->count, consumer->group)});
  else
    shared_store(&own->taken[0], 0); /* TAKE */
  hot->released = hot->position;
  consumer->run_count = hot->count;
  wake_who_waited_for_note(consumer);
  return 0;
}

void share_leave(ringbus_consumer *consumer) {
  struct ringbus_slot *own = own_slot(consumer);
  if (shared_load32(&own->flags) & RINGBUS_SLOT_AT_MOST_ONCE)
    shared_store(&own->taken[0], 0); /* TAKE */
}

void share_tell(const ringbus_consumer *consumer, struct counted *at) {
  struct ringbus_group *group = ring_group(consumer->handle.ring, consumer->group);
  struct pair now;
  if (run_has_more(consumer) || !pair_load(group->take, &now))
    return;
  *at = (struct counted){now.first, whole_count(consumer->handle.ring, now.second)};
}

bool share_look_here(ringbus_consumer *consumer, bool thorough) {
  return run_has_more(consumer) || holds_a_run(consumer) || (thorough && take_over(consumer));
}

bool share_may_take_over(const ringbus_consumer *consumer) {
  const ringbus_ring *ring = consumer->handle.ring;
  struct pair taken;
  bool any = false;
  for (uint32_t slot = 1; slot < ring->geometry.slot_count && !any; slot++)
    any = has_note_of_the_dead(ring, consumer->group, slot, &taken);
  return any && !table_is_locked(ring);
}

int share_look(const ringbus_consumer *consumer, bool thorough, bool ended) {
  ringbus_ring *ring = consumer->handle.ring;
  uint64_t word, at = shared_load(&ring_group(ring, consumer->group)->take[0]);
  uint64_t from = at, state = next_state(&ring->view, &at, &word);
  if (state == RINGBUS_WORD_CLAIMED && thorough) {
    if (claim_recover(ring, at))
      return 0;
    claim_note_blocked(ring, at);
  }
  if (state == RINGBUS_WORD_COMMITTED || at != from)
    return 0;
  return nothing_to_take(consumer, ended);
}
