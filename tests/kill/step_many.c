/* SPDX-License-Identifier: MIT */
/* step_many.c - killed at every instruction: many producers, shared groups, rings that overwrite.
 *
 * As step.c. The actor process holds several handles, all of which die with it: so a scenario may
 * leave a claim open and publish behind it. Others who have died before are processes of their own
 * (die), or a file that is changed by hand to what somebody leaves who dies half-way.
 *
 *   step_many [sigkill] [scenario [layout]]    those whose names contain these words
 *   RINGBUS_TEST_SCALE=full          all layouts, all orders of succession for each state */
#include "crowd.h"

#include <stddef.h>
#include <string.h>

/* ---------------------------------------------------------------- calls that keep the promises */

static struct entry *made(int i) { return &book->entries[crew.index[i]]; }

static void send_made(ringbus_producer *producer, int i, int expected) {
  struct entry *entry = made(i);
  entry->published = MAYBE;
  int result = ringbus_producer_send(producer, crew.buffer[i], entry->length, entry->tag);
  entry->published = result == 0 ? DONE : ABSENT;
  expect(result == expected, result);
}

static void claim_made(ringbus_producer *producer, int i, uint32_t claimed) {
  struct entry *entry = made(i);
  void *data;
  int result = ringbus_producer_claim(producer, claimed, entry->tag, &data);
  expect(result == 0, result);
  memcpy(data, crew.buffer[i], entry->length);
}

static void commit_made(ringbus_producer *producer, int i) {
  struct entry *entry = made(i);
  entry->published = MAYBE;
  int result = ringbus_producer_commit(producer, entry->length);
  entry->published = DONE;
  expect(result == 0, result);
}

static void send_batch_made(ringbus_producer *producer, int count, bool all_at_once,
                            size_t expected_sent) {
  struct iovec messages[CROWD_BUFFERS];
  size_t sent;
  for (int i = 0; i < count; i++) {
    messages[i] = (struct iovec){crew.buffer[i], made(i)->length};
    made(i)->published = MAYBE;
  }
  book->all_or_none = all_at_once;
  int result = ringbus_producer_send_batch(producer, messages, (size_t)count, made(0)->tag,
                                           all_at_once, &sent);
  for (int i = 0; i < count; i++)
    made(i)->published = (size_t)i < sent ? DONE : ABSENT;
  expect(sent == expected_sent, sent);
  expect((result == 0) == (sent == (size_t)count), result);
}

static void release(int g, uint64_t after) {
  book->groups[g].after = after;
  int result = ringbus_consumer_release(crew.consumer[g]);
  book->groups[g].before = after;
  expect(result == 0, result);
}

/* Takes so many as new: in one run. */
static void take(ringbus_consumer *member, size_t messages) {
  uint64_t first = next_untaken();
  mark_shared(first, first + messages, TAKING);
  int result = messages == 1
                   ? ringbus_consumer_borrow(member, crew.messages)
                   : ringbus_consumer_borrow_batch(member, crew.messages, messages, &crew.count);
  mark_shared(first, first + messages, TAKEN);
  expect(result == 0 && (messages == 1 || crew.count == messages), result);
}

static void release_from_to(ringbus_consumer *member, uint64_t from, uint64_t to) {
  mark_shared(from, to, RELEASING);
  int result = ringbus_consumer_release(member);
  mark_shared(from, to, GONE);
  expect(result == 0, result);
}

/* ---------------------------------------------------------------- before: producers */

/* Three messages of one granule each, by both producers; see the layouts. */
static void three(void) {
  attach_producer(&crew.p);
  attach_producer(&crew.q);
  publish(crew.p, 40, 0);
  publish(crew.q, 0, 0);
  publish(crew.p, 58, 7);
}

static void three_and_a_reader(void) {
  three();
  join(0, "a", RINGBUS_GATE);
  read_some(0, 1);
}

static void prepare_send(void) {
  three_and_a_reader();
  make(0, 40, 0);
}
static void prepare_empty(void) {
  three_and_a_reader();
  make(0, 0, 0);
}
static void prepare_tagged(void) {
  three_and_a_reader();
  make(0, 61, 0xfeedface);
}
static void prepare_longest(void) {
  struct ringbus_ring_info info;
  attach_producer(&crew.p);
  join(0, "a", RINGBUS_GATE);
  ringbus_ring_info(crew.ring, &info);
  make(0, (uint32_t)info.max_message, 0);
}
static void prepare_first(void) {
  attach_producer(&crew.p);
  make(0, 40, 0);
}
static void region_send(void) { send_made(crew.p, 0, 0); }

/* The words of the lap before are there, and the shared tail lags. */
static void second_lap(void) {
  attach_producer(&crew.p);
  attach_producer(&crew.q);
  join(0, "a", RINGBUS_GATE);
  publish_full(crew.p);
  read_some(0, book->made);
  publish(crew.q, 40, 0);
}
static void prepare_second_lap(void) {
  second_lap();
  make(0, 64, 0);
  make(1, 0, 0);
  make(2, 333, 3);
}
static void region_three_sends(void) {
  send_made(crew.p, 0, 0);
  send_made(crew.q, 1, 0);
  send_made(crew.p, 2, 0);
}

static void prepare_claims(void) {
  second_lap();
  make(0, 100, 0);
  make(1, 10, 5);
  make(2, 70, 0);
}
static void region_claim_and_commit(void) {
  claim_made(crew.p, 0, 100);
  commit_made(crew.p, 0);
}
static void region_commit_shorter(void) {
  claim_made(crew.p, 0, 1000);
  commit_made(crew.p, 0);
  claim_made(crew.p, 1, 64);
  commit_made(crew.p, 1);
  claim_made(crew.q, 2, 129);
  commit_made(crew.q, 2);
}
static void region_commit_shorter_before_others(void) {
  claim_made(crew.p, 0, 1000);
  send_made(crew.q, 1, 0);
  commit_made(crew.p, 0);
}
static void region_second_claim(void) {
  claim_forever(crew.p, 300);
  claim_made(crew.p, 0, 100);
  commit_made(crew.p, 0);
}
static void region_abort(void) {
  claim_and_abort(crew.p, 300);
  send_made(crew.p, 0, 0);
}
static void region_send_behind_a_claim(void) {
  claim_made(crew.p, 0, 200);
  send_made(crew.q, 1, 0);
  claim_forever(crew.q, 64);
  commit_made(crew.p, 0);
}
static void region_claims_crossed(void) {
  claim_made(crew.p, 0, 100);
  claim_made(crew.q, 1, 10);
  commit_made(crew.q, 1);
  commit_made(crew.p, 0);
  send_made(crew.q, 2, 0);
}

static void prepare_batch(void) {
  second_lap();
  for (int i = 0; i < 6; i++)
    make(i, (uint32_t)(8 + i * 60), 0);
}
static void prepare_tagged_batch(void) {
  three_and_a_reader();
  for (int i = 0; i < 6; i++)
    make(i, (uint32_t)(i * 50), 77);
}
static void region_batch(void) { send_batch_made(crew.p, 6, false, 6); }
static void region_batch_at_once(void) { send_batch_made(crew.p, 6, true, 6); }

/* Room for three granules is left. */
static void prepare_batch_too_long(void) {
  struct ringbus_ring_info info;
  attach_producer(&crew.p);
  join(0, "a", RINGBUS_GATE);
  ringbus_ring_info(crew.ring, &info);
  publish(crew.p, (uint32_t)info.capacity - 3 * GRANULE, 0);
  make(0, 56, 0);
  make(1, 100, 0);
  make(2, 56, 0);
}
static void region_batch_too_long(void) { send_batch_made(crew.p, 3, false, 2); }
static void region_batch_at_once_too_long(void) { send_batch_made(crew.p, 3, true, 0); }

static void prepare_whole_ring_at_once(void) {
  struct ringbus_ring_info info;
  second_lap();
  read_some(0, 1);
  ringbus_ring_info(crew.ring, &info);
  make(0, (uint32_t)info.capacity / 2, 0);
  make(1, (uint32_t)info.capacity / 2 - GRANULE, 0);
  make(2, 64, 0);
}
static void region_whole_ring_at_once(void) { send_batch_made(crew.p, 3, true, 3); }

/* ---------------------------------------------------------------- before: room */

static void prepare_refused(void) {
  attach_producer(&crew.p);
  join(0, "a", RINGBUS_GATE);
  join(1, "b", RINGBUS_GATE);
  publish_full(crew.p);
  read_some(1, book->made);
  make(0, 0, 0);
}
static void region_refused(void) { send_made(crew.p, 0, -EAGAIN); }

static void prepare_refresh(void) {
  attach_producer(&crew.p);
  attach_producer(&crew.q);
  join(0, "a", RINGBUS_GATE);
  join(1, "b", RINGBUS_GATE);
  publish_full(crew.p);
  read_some(0, book->made);
  read_some(1, 40);
  make(0, 40, 0);
  make(1, 1000, 9);
}
static void region_two_sends(void) {
  send_made(crew.p, 0, 0);
  send_made(crew.q ? crew.q : crew.p, 1, 0);
}

static void prepare_refresh_by_little(void) {
  attach_producer(&crew.p);
  join(0, "a", RINGBUS_GATE);
  publish_full(crew.p);
  read_some(0, 1);
  make(0, 56, 0);
}

static void prepare_drop(void) {
  attach_producer(&crew.p);
  attach_producer(&crew.q);
  publish_full(crew.p);
  book->drops = 1;
  make(0, 40, 0);
  make(1, 1000, 0);
}

/* Nothing is published, and so nothing dropped. */
static void prepare_drain(void) {
  prepare_drop();
  book->drops = 0;
}
static void region_drain(void) {
  int result = ringbus_producer_drain(crew.p, 0);
  expect(result == 0, result);
}

/* Somebody who was killed has claimed where the oldest message would stand. */
static void life_claim(ringbus_ring *ring) {
  ringbus_producer *producer;
  (void)ring;
  attach_producer(&producer);
  claim_forever(producer, 300);
}
static void prepare_drop_a_dead_claim(void) {
  attach_producer(&crew.p);
  die(life_claim);
  for (int i = 0; i < (LARGE - 320) / GRANULE; i++)
    publish(crew.p, 40, 0);
  book->drops = 1;
  make(0, 40, 0);
}
static void region_wait_and_send(void) {
  int result = ringbus_producer_wait(crew.p, made(0)->length, made(0)->tag, 0);
  expect(result == 0, result);
  send_made(crew.p, 0, 0);
}
static void region_poll_and_send(void) {
  int result;
  struct entry *entry = made(0);
  entry->published = MAYBE;
  do
    result = ringbus_producer_send(crew.p, crew.buffer[0], entry->length, entry->tag);
  while (result == -EAGAIN);
  entry->published = DONE;
  expect(result == 0, result);
}
/* Nearly as often as it takes until it asks whether the claimer is dead. */
static void prepare_poll_and_send(void) {
  prepare_drop_a_dead_claim();
  for (int tries = 0; tries < 1022; tries++) {
    int result = ringbus_producer_send(crew.p, crew.buffer[0], made(0)->length, made(0)->tag);
    expect(result == -EAGAIN, result);
  }
}

static void lap_groups(enum ringbus_policy policy) {
  attach_producer(&crew.p);
  join(0, "a", policy);
  join(1, "b", RINGBUS_LAPPED);
  publish_full(crew.p);
  read_some(0, 10);
  read_some(1, 20);
  leave(0);
  book->drops = book->groups[0].lapped = book->groups[1].lapped = 1;
  make(0, 56, 0);
  make(1, 1000, 0);
}
static void prepare_lap_a_group(void) { lap_groups(RINGBUS_GATE_WHILE_ATTACHED); }
static void prepare_overwrite(void) {
  lap_groups(RINGBUS_GATE);
  int result = ringbus_observer_attach(crew.ring, NULL, &crew.observer);
  expect(result == 0, result);
}

static void life_ephemeral(ringbus_ring *ring) {
  (void)ring;
  join(2, NULL, RINGBUS_GATE);
}
static void prepare_refresh_past_the_dead(void) {
  attach_producer(&crew.p);
  join(0, "a", RINGBUS_GATE);
  die(life_ephemeral);
  publish_full(crew.p);
  read_some(0, book->made);
  make(0, 40, 0);
}

static void region_finish(void) {
  book->closing = 1;
  int result = ringbus_producer_finish(crew.p);
  expect(result == 0, result);
  book->closed = 1;
}
static void prepare_finish_with_claims(void) {
  three_and_a_reader();
  claim_forever(crew.q, 100);
  claim_forever(crew.p, 64);
}
static void region_finish_with_claims(void) {
  region_finish();
  int result = ringbus_producer_commit(crew.q, 100);
  expect(result == -EPIPE, result);
}

static void region_leave_with_claim(void) {
  claim_forever(crew.p, 200);
  leave_producer(&crew.p);
}

/* ---------------------------------------------------------------- before: coming in place of the dead */

static void prepare_nothing(void) {}
static void region_attach(void) { attach_producer(&crew.p); }

static void prepare_dead_claim(void) {
  three_and_a_reader();
  leave_producer(&crew.p);
  die(life_claim); /* in the slot that is free now */
  publish(crew.q, 80, 0);
  make(0, 40, 0);
}
static void region_attach_and_send(void) {
  attach_producer(&crew.p);
  send_made(crew.p, 0, 0);
}
static void region_join_in_place(void) {
  struct ringbus_consumer_options options = {.group = "b"};
  struct group_line *line = &book->groups[1];
  strcpy(line->name, "b");
  line->may_exist = 1;
  int result = ringbus_consumer_attach(crew.ring, &options, &crew.consumer[1]);
  line->must_exist = 1;
  expect(result == 0, result);
}
static void region_repair(void) {
  int result = ringbus_ring_repair(crew.ring, NULL);
  expect(result == 0, result);
}
static void prepare_repair(void) {
  prepare_dead_claim();
  die(life_ephemeral);
  die(life_claim);
}

/* ---------------------------------------------------------------- before: consumers */

/* message, given up, given up, message, given up */
static void prepare_gaps(void) {
  attach_producer(&crew.p);
  join(0, "a", RINGBUS_GATE);
  publish(crew.p, 40, 0);
  claim_and_abort(crew.p, 64);
  claim_and_abort(crew.p, 300);
  publish(crew.p, 100, 1);
  claim_and_abort(crew.p, 64);
}
static void region_borrow_over_gaps(void) {
  for (uint64_t i = 0; i < 2; i++) {
    int result = ringbus_consumer_borrow(crew.consumer[0], &crew.message);
    expect(result == 0, result);
    release(0, i + 1);
  }
  int result = ringbus_consumer_borrow(crew.consumer[0], &crew.message);
  expect(result == -EAGAIN, result);
}
static void region_borrow_batch_over_gaps(void) {
  int result = ringbus_consumer_borrow_batch(crew.consumer[0], crew.messages, 64, &crew.count);
  expect(result == 0 && crew.count == 2, result);
  release(0, 2);
}
static void region_recv_over_gaps(void) {
  for (uint64_t i = 0; i < 2; i++) {
    book->groups[0].after = i + 1;
    int result =
        ringbus_consumer_recv(crew.consumer[0], crew.copy, sizeof crew.copy, &crew.message);
    book->groups[0].before = i + 1;
    expect(result == 0, result);
  }
}
static void fill_with_gaps(ringbus_producer *producer) {
  struct ringbus_ring_info info;
  ringbus_ring_info(crew.ring, &info);
  for (uint64_t bytes = 0; bytes < info.capacity; bytes += GRANULE)
    claim_and_abort(producer, 64);
}
static void prepare_only_gaps(void) {
  attach_producer(&crew.p);
  join(0, "a", RINGBUS_GATE);
  fill_with_gaps(crew.p);
}
static void region_borrow_nothing(void) {
  int result = ringbus_consumer_borrow(crew.consumer[0], &crew.message);
  expect(result == -EAGAIN, result);
}

static void prepare_behind_the_dead(void) {
  three_and_a_reader();
  read_some(0, 2);
  die(life_claim);
  publish(crew.q, 80, 0);
}
static void region_wait_and_borrow(void) {
  int result = ringbus_consumer_wait(crew.consumer[0], 0);
  expect(result == 0, result);
  result = ringbus_consumer_borrow(crew.consumer[0], &crew.message);
  expect(result == 0, result);
  release(0, book->made);
}
static void prepare_poll_behind_the_dead(void) {
  prepare_behind_the_dead();
  for (int tries = 0; tries < 1022; tries++) {
    int result = ringbus_consumer_borrow(crew.consumer[0], &crew.message);
    expect(result == -EAGAIN, result);
  }
}
static void region_poll_and_borrow(void) {
  int result;
  do
    result = ringbus_consumer_borrow(crew.consumer[0], &crew.message);
  while (result == -EAGAIN);
  expect(result == 0, result);
  release(0, book->made);
}
static void prepare_observe_past_the_dead(void) {
  prepare_behind_the_dead();
  int result = ringbus_observer_attach(crew.ring, NULL, &crew.observer);
  expect(result == 0, result);
  for (int i = 0; i < 3; i++) {
    result = ringbus_observer_recv(crew.observer, crew.copy, sizeof crew.copy, &crew.message);
    expect(result == 0, result);
  }
}
static void region_observe_past_the_dead(void) {
  int result = ringbus_observer_wait(crew.observer, 0);
  expect(result == 0, result);
  result = ringbus_observer_recv(crew.observer, crew.copy, sizeof crew.copy, &crew.message);
  expect(result == 0 && verify_entry(&crew.message, &book->entries[3], 3), result);
}

/* A claim is open behind the third message. */
static void prepare_join(void) {
  three();
  claim_forever(crew.p, 100);
  publish(crew.q, 24, 0);
}
static void join_in_region(enum ringbus_policy policy, enum ringbus_start start, uint64_t position,
                           uint64_t next) {
  struct ringbus_consumer_options options = {
      .group = "a", .policy = policy, .start = start, .position = position};
  struct group_line *line = &book->groups[0];
  strcpy(line->name, "a");
  line->policy = policy;
  line->may_exist = 1;
  line->after = next; /* it may be at the oldest for a moment: 0 */
  int result = ringbus_consumer_attach(crew.ring, &options, &crew.consumer[0]);
  line->must_exist = 1;
  line->before = next;
  expect(result == 0, result);
}
static void region_join_at_oldest(void) { join_in_region(RINGBUS_GATE, RINGBUS_OLDEST, 0, 0); }
static void region_join_at_newest(void) { join_in_region(RINGBUS_GATE, RINGBUS_NEWEST, 0, 3); }
static void region_join_at_second(void) {
  join_in_region(RINGBUS_GATE, RINGBUS_POSITION, harness.layout->start + GRANULE, 1);
}
static void region_join_lapped(void) { join_in_region(RINGBUS_LAPPED, RINGBUS_OLDEST, 0, 0); }
static void region_join_ephemeral(void) { join(0, NULL, RINGBUS_GATE); }

static void prepare_resume(void) {
  prepare_join();
  join(0, "a", RINGBUS_GATE);
  read_some(0, 2);
  leave(0);
}
static void region_resume(void) { join_in_region(RINGBUS_GATE, RINGBUS_RESUME, 0, 2); }
static void region_leave(void) { leave(0); }
static void prepare_leave(void) {
  prepare_join();
  join(0, "a", RINGBUS_GATE);
  read_some(0, 1);
  int result = ringbus_consumer_borrow(crew.consumer[0], &crew.message);
  expect(result == 0, result);
}

static void prepare_seek(void) {
  prepare_join();
  join(0, "a", RINGBUS_GATE);
  read_some(0, 2);
}
static void seek(enum ringbus_start start, uint64_t position, uint64_t next) {
  book->groups[0].after = next;
  int result = ringbus_consumer_seek(crew.consumer[0], start, position);
  expect(result == 0, result);
  book->groups[0].before = next;
}
static void region_seek_oldest(void) { seek(RINGBUS_OLDEST, 0, 0); }
static void region_seek_newest(void) { seek(RINGBUS_NEWEST, 0, 3); }
static void region_seek_second(void) { seek(RINGBUS_POSITION, harness.layout->start + GRANULE, 1); }

static void prepare_read_overwritten(void) {
  attach_producer(&crew.p);
  join(0, "a", RINGBUS_LAPPED);
  publish_full(crew.p);
  read_some(0, 2);
  for (int i = 0; i < 10; i++)
    publish(crew.p, 120, 0);
  book->drops = book->groups[0].lapped = 1;
}
static void region_read_overwritten(void) {
  struct group_line *line = &book->groups[0];
  uint64_t lost;
  line->between = 1;
  line->after = book->made;
  int result = ringbus_consumer_recv(crew.consumer[0], crew.copy, sizeof crew.copy, &crew.message);
  expect(result == -EOVERFLOW, result);
  ringbus_consumer_lost(crew.consumer[0], &lost, NULL);
  for (uint64_t i = 2 + lost; i < 4 + lost; i++) {
    result = ringbus_consumer_recv(crew.consumer[0], crew.copy, sizeof crew.copy, &crew.message);
    expect(result == 0 && verify_entry(&crew.message, &book->entries[i], i), result);
  }
}

/* ---------------------------------------------------------------- before: shared groups */

/* Seven messages, and records that were given up among them. */
static void seven(void) {
  attach_producer(&crew.p);
  publish(crew.p, 40, 0);
  publish(crew.p, 100, 0);
  publish(crew.p, 9, 4);
  claim_and_abort(crew.p, 70);
  publish(crew.p, 64, 0);
  publish(crew.p, 700, 0);
  claim_and_abort(crew.p, 64);
  publish(crew.p, 60, 8);
  publish(crew.p, 8, 0);
}

static void prepare_share(void) {
  seven();
  join_shared(&crew.member, false);
}
static void region_take_one(void) {
  take(crew.member, 1);
  release_from_to(crew.member, 0, 1);
}
static void region_take_batch(void) {
  take(crew.member, 5);
  release_from_to(crew.member, 0, 5);
}
static void prepare_two_members(void) {
  prepare_share();
  join_shared(&crew.other, false);
  take_some(crew.other, 2, TAKEN);
}
static void region_take_behind_another(void) {
  take(crew.member, 2);
  release_from_to(crew.other, 0, 2);
  take(crew.other, 1);
  release_from_to(crew.member, 2, 4);
}
/* The other has been stopped before it confirmed that it has taken. */
static void prepare_unconfirmed(void) {
  prepare_two_members();
  live_slot(slot_with_note(0))->taken[0] ^= RINGBUS_TAKEN_HELD ^ RINGBUS_TAKEN_NOTED;
}
static void region_take_once(void) { take(crew.member, 2); }

static void region_recv_shared(void) {
  uint64_t first = next_untaken();
  for (uint64_t i = first; i < first + 3; i++) {
    mark_shared(i, i + 1, RECEIVING);
    int result = ringbus_consumer_recv(crew.member, crew.copy, sizeof crew.copy, &crew.message);
    mark_shared(i, i + 1, GONE);
    expect(result == 0, result);
  }
}
static void prepare_only_gaps_shared(void) {
  attach_producer(&crew.p);
  join_shared(&crew.member, false);
  fill_with_gaps(crew.p);
}
static void region_take_nothing(void) {
  int result = ringbus_consumer_borrow(crew.member, &crew.message);
  expect(result == -EAGAIN, result);
}
static void prepare_share_behind_the_dead(void) {
  seven();
  join_shared(&crew.member, false);
  take_some(crew.member, 7, TAKEN);
  release_all(crew.member);
  die(life_claim);
  publish(crew.p, 90, 0);
}
static void region_wait_and_take(void) {
  int result = ringbus_consumer_wait(crew.member, 0);
  expect(result == 0, result);
  take(crew.member, 1);
}

static void attach_shared_in_region(enum ringbus_start start, bool exists) {
  struct ringbus_consumer_options options = {.group = "s", .shared = true, .start = start};
  struct group_line *line = &book->groups[0];
  strcpy(line->name, "s");
  line->shared = line->may_exist = 1;
  if (!exists && start == RINGBUS_NEWEST)
    mark_shared(0, book->made, SKIPPING);
  int result = ringbus_consumer_attach(crew.ring, &options, &crew.member);
  expect(result == 0, result);
  line->must_exist = 1;
  if (!exists && start == RINGBUS_NEWEST)
    mark_shared(0, book->made, GONE);
}
static void region_share_new(void) { attach_shared_in_region(RINGBUS_RESUME, false); }
static void region_share_newest(void) { attach_shared_in_region(RINGBUS_NEWEST, false); }
static void region_share_more(void) { attach_shared_in_region(RINGBUS_RESUME, true); }
static void prepare_share_more(void) {
  seven();
  join_shared(&crew.other, false);
  take_some(crew.other, 2, TAKEN);
}

/* Somebody takes three and is killed. */
static void life_take(ringbus_ring *ring) {
  ringbus_consumer *member;
  (void)ring;
  join_shared(&member, false);
  take_some(member, 3, TAKEN);
}
static void life_take_at_most_once(ringbus_ring *ring) {
  ringbus_consumer *member;
  (void)ring;
  join_shared(&member, true);
  take_some(member, 3, GONE);
}
static void life_member(ringbus_ring *ring) {
  ringbus_consumer *member;
  (void)ring;
  join_shared(&member, false);
}

static void note_by_hand(uint32_t slot, uint64_t from, uint64_t state, uint64_t to, uint64_t count,
                         uint32_t low) {
  live_slot(slot)->taken_to = to;
  live_slot(slot)->taken[1] = count << RINGBUS_TAKE_COUNT_SHIFT | low;
  live_slot(slot)->taken[0] = from | state;
}

/* What the dead may leave: a run that is held; one that was taken, but not confirmed; one that was not
 * taken; one that was coming to somebody who died, before and after it had come. */
static void leave_held(void) { die(life_take); }
static void leave_noted(void) {
  die(life_take);
  live_slot(slot_with_note(0))->taken[0] ^= RINGBUS_TAKEN_HELD ^ RINGBUS_TAKEN_NOTED;
}
static void leave_losers_note(void) {
  leave_held();
  uint32_t slot = slot_with_note(0);
  uint64_t taken = live_group(0)->take[0];
  note_by_hand(slot, taken, RINGBUS_TAKEN_NOTED, taken + 3 * GRANULE, 3, 0);
  mark_shared(0, 3, GONE); /* released in order, before */
}
/* In the slot before that from which it comes, or behind. */
static void life_take_from_behind(ringbus_ring *ring) {
  ringbus_producer *producer;
  attach_producer(&producer);
  life_take(ring);
}
static void leave_coming_to(bool before) {
  die(before ? life_take_from_behind : life_take);
  uint32_t from = slot_with_note(0), to = before ? from - 1 : from + 1;
  const struct ringbus_slot *source = live_slot(from);
  live_slot(to)->group = source->group; /* as of somebody who was a member */
  live_slot(to)->state = UINT64_C(9) << 16 | RINGBUS_ROLE_CONSUMER;
  note_by_hand(to, source->taken[0] & ~(uint64_t)RINGBUS_TAKEN_MASK, RINGBUS_TAKEN_COMING,
               source->taken_to, source->taken[1] >> RINGBUS_TAKE_COUNT_SHIFT, from);
}
static void leave_coming(void) { leave_coming_to(true); }
static void leave_coming_behind(void) { leave_coming_to(false); }
static void leave_come(void) {
  leave_coming_to(true);
  live_slot(slot_with_note(1))->taken[0] = 0;
}

static void with_member(void (*dead)(void)) {
  seven();
  join_shared(&crew.member, false);
  dead();
}
static void prepare_over_held(void) { with_member(leave_held); }
static void prepare_over_noted(void) { with_member(leave_noted); }
static void prepare_over_losers(void) { with_member(leave_losers_note); }
static void prepare_over_coming(void) { with_member(leave_coming); }
static void prepare_over_coming_behind(void) { with_member(leave_coming_behind); }
static void prepare_over_come(void) { with_member(leave_come); }
static void prepare_over_two(void) {
  with_member(leave_held);
  die(life_take);
}
static void prepare_over_at_most_once(void) {
  seven();
  join_shared(&crew.member, false);
  die(life_take_at_most_once);
}

/* Takes over, if there is something; reads one by one and releases a part, then the rest. */
static void region_take_over(void) {
  int result = ringbus_consumer_wait(crew.member, 0);
  expect(result == 0, result);
  for (uint64_t i = 0; i < 2; i++) {
    result = ringbus_consumer_borrow(crew.member, &crew.message);
    expect(result == 0 && crew.message.redelivered, result);
  }
  release_from_to(crew.member, 0, 2);
  result = ringbus_consumer_borrow(crew.member, &crew.message);
  expect(result == 0 && crew.message.redelivered, result);
  release_from_to(crew.member, 2, 3);
}
static void region_judge_and_take(void) {
  int result = ringbus_consumer_wait(crew.member, 0);
  expect(result == 0, result);
  take(crew.member, 2);
}
/* A member that only polls. */
static void prepare_poll_over_held(void) {
  with_member(leave_held);
  take_some(crew.member, 4, TAKEN);
  int result = ringbus_consumer_release(crew.member);
  expect(result == 0, result);
  mark_shared(3, 7, GONE);
  for (int tries = 0; tries < 1022; tries++) {
    result = ringbus_consumer_borrow(crew.member, &crew.message);
    expect(result == -EAGAIN, result);
  }
}
static void region_poll_over(void) {
  int result;
  do
    result = ringbus_consumer_borrow(crew.member, &crew.message);
  while (result == -EAGAIN);
  expect(result == 0 && crew.message.redelivered, result);
}

/* A new member comes when every other slot is taken, so that it must inherit. */
static void with_full_house(void (*dead)(void)) {
  uint32_t notes = 0;
  seven(); /* one is attached */
  dead();
  while (slot_with_note((int)notes))
    notes++;
  for (uint32_t i = 1; i < CROWD_PARTICIPANTS - notes; i++) {
    ringbus_producer *producer;
    attach_producer(&producer);
  }
}
static void prepare_inherit_held(void) { with_full_house(leave_held); }
static void prepare_inherit_noted(void) { with_full_house(leave_noted); }
static void prepare_inherit_losers(void) { with_full_house(leave_losers_note); }
static void prepare_inherit_coming(void) { with_full_house(leave_coming); }
static void prepare_inherit_come(void) { with_full_house(leave_come); }
static void prepare_inherit_at_most_once(void) {
  seven();
  die(life_take_at_most_once);
}
static void region_inherit(void) {
  attach_shared_in_region(RINGBUS_RESUME, true);
  int result = ringbus_consumer_borrow(crew.member, &crew.message);
  expect(result == 0 && crew.message.redelivered, result);
  release_from_to(crew.member, 0, 1);
}
static void region_inherit_or_take(void) {
  attach_shared_in_region(RINGBUS_RESUME, true);
  take(crew.member, 1);
}

/* Nobody but a member may have such a slot. */
static void region_no_slot(void) {
  int result = ringbus_producer_attach(crew.ring, NULL, &crew.q);
  expect(result == -ENOSPC, result);
}

static void prepare_leave_holding(void) {
  prepare_two_members();
  take_some(crew.member, 2, TAKEN);
}
static void region_leave_holding(void) {
  int result = ringbus_consumer_detach(crew.member);
  expect(result == 0, result);
  result = ringbus_consumer_detach(crew.other);
  expect(result == 0, result);
}

/* A producer finds the ring full because of what the dead have noted. */
static void prepare_room_of_losers(void) {
  struct ringbus_ring_info info;
  prepare_over_losers();
  uint64_t next = next_untaken();
  take_some(crew.member, 4, TAKEN);
  mark_shared(next, next + 4, GONE);
  int result = ringbus_consumer_release(crew.member);
  expect(result == 0, result);
  ringbus_ring_info(crew.ring, &info);
  make(0, (uint32_t)info.max_message, 0);
}
static void region_gated_by_shared(void) {
  for (int i = 0; i < 3; i++)
    send_made(crew.p, i, i == 2 ? -EAGAIN : 0);
}
/* What a member holds is waited for, but no more. */
static void prepare_gated_by_shared(void) {
  attach_producer(&crew.p);
  join_shared(&crew.member, false);
  join_shared(&crew.other, false);
  publish_full(crew.p);
  take_some(crew.member, 2, TAKEN);
  release_all(crew.member);
  take_some(crew.member, 1, TAKEN);
  uint64_t next = next_untaken();
  take_some(crew.other, 50, TAKEN);
  int result = ringbus_consumer_release(crew.other);
  expect(result == 0, result);
  mark_shared(next, next + 50, GONE);
  for (int i = 0; i < 3; i++)
    make(i, 40, 0);
}

static void prepare_remove_shared(void) {
  seven();
  die(life_take);
  join(1, "b", RINGBUS_GATE);
}
static void region_remove_shared(void) {
  book->groups[0].must_exist = 0;
  int result = ringbus_ring_remove_group(crew.ring, "s");
  expect(result == 0, result);
  book->groups[0].may_exist = 0;
}
static void prepare_repair_shared(void) {
  seven();
  die(life_member);
  leave_noted();
  die(life_take_at_most_once);
}

/* ---------------------------------------------------------------- all of them */

static const struct crowd_scenario scenarios[] = {
    {"send", prepare_send, region_send, NULL, GATED},
    {"send the first message", prepare_first, region_send, NULL, GATED},
    {"send an empty message", prepare_empty, region_send, NULL, GATED},
    {"send a tagged message", prepare_tagged, region_send, NULL, GATED},
    {"send the longest message", prepare_longest, region_send, NULL, GATED},
    {"send in the second lap", prepare_second_lap, region_three_sends, NULL, GATED},
    {"claim, commit", prepare_claims, region_claim_and_commit, NULL, GATED},
    {"commit shorter than claimed", prepare_claims, region_commit_shorter, NULL, GATED},
    {"commit shorter, others behind", prepare_claims, region_commit_shorter_before_others, NULL,
     GATED},
    {"claim a second time", prepare_claims, region_second_claim, NULL, GATED},
    {"abort, then send", prepare_send, region_abort, NULL, GATED},
    {"claim, others send and claim", prepare_claims, region_send_behind_a_claim, NULL, GATED},
    {"claims crossed", prepare_claims, region_claims_crossed, NULL, GATED},
    {"batch", prepare_batch, region_batch, NULL, GATED},
    {"batch, all at once", prepare_batch, region_batch_at_once, NULL, GATED},
    {"tagged batch", prepare_tagged_batch, region_batch, NULL, GATED},
    {"tagged batch, all at once", prepare_tagged_batch, region_batch_at_once, NULL, GATED},
    {"batch that fits in part", prepare_batch_too_long, region_batch_too_long, NULL, GATED},
    {"batch that fits in part, all at once", prepare_batch_too_long, region_batch_at_once_too_long,
     NULL, GATED},
    {"batch of a whole ring, all at once", prepare_whole_ring_at_once, region_whole_ring_at_once,
     NULL, GATED},
    {"send refused by a full ring", prepare_refused, region_refused, NULL, GATED},
    {"send with refresh", prepare_refresh, region_two_sends, NULL, GATED},
    {"send with refresh by one record", prepare_refresh_by_little, region_send, NULL, GATED},
    {"send dropping the oldest", prepare_drop, region_two_sends, NULL, DROPPING},
    {"drain where nobody is waited for", prepare_drain, region_drain, NULL, DROPPING},
    {"wait where the dead have claimed the oldest", prepare_drop_a_dead_claim, region_wait_and_send,
     NULL, DROPPING},
    {"poll where the dead have claimed the oldest", prepare_poll_and_send, region_poll_and_send,
     NULL, OVERWRITING},
    {"send lapping two groups", prepare_lap_a_group, region_two_sends, NULL, GATED},
    {"send overwriting", prepare_overwrite, region_two_sends, NULL, OVERWRITING},
    {"wait for room that the dead hold", prepare_refresh_past_the_dead, region_wait_and_send, NULL,
     GATED},
    {"finish", three_and_a_reader, region_finish, NULL, GATED},
    {"finish while another claims", prepare_finish_with_claims, region_finish_with_claims, NULL,
     GATED},
    {"producer leaves with a claim", three_and_a_reader, region_leave_with_claim, NULL, GATED},
    {"first producer attaches", prepare_nothing, region_attach, NULL, GATED},
    {"attach as producer where the dead have claimed", prepare_dead_claim, region_attach_and_send,
     NULL, GATED},
    {"attach as consumer where the dead have claimed", prepare_dead_claim, region_join_in_place,
     NULL, GATED},
    {"repair", prepare_repair, region_repair, NULL, GATED},
    {"borrow over gaps", prepare_gaps, region_borrow_over_gaps, NULL, GATED},
    {"borrow a batch over gaps", prepare_gaps, region_borrow_batch_over_gaps, NULL, GATED},
    {"recv over gaps", prepare_gaps, region_recv_over_gaps, NULL, GATED},
    {"borrow where there are only gaps", prepare_only_gaps, region_borrow_nothing, NULL, GATED},
    {"wait where the dead have claimed", prepare_behind_the_dead, region_wait_and_borrow, NULL,
     GATED},
    {"poll where the dead have claimed", prepare_poll_behind_the_dead, region_poll_and_borrow, NULL,
     GATED},
    {"observe past the dead", prepare_observe_past_the_dead, region_observe_past_the_dead, NULL,
     GATED},
    {"join at the oldest", prepare_join, region_join_at_oldest, NULL, GATED},
    {"join at the newest", prepare_join, region_join_at_newest, NULL, GATED},
    {"join at a position", prepare_join, region_join_at_second, NULL, GATED},
    {"join, lapped", prepare_join, region_join_lapped, NULL, GATED},
    {"join, ephemeral", prepare_join, region_join_ephemeral, NULL, GATED},
    {"resume", prepare_resume, region_resume, NULL, GATED},
    {"leave", prepare_leave, region_leave, NULL, GATED},
    {"seek back to the oldest", prepare_seek, region_seek_oldest, NULL, GATED},
    {"seek forward to the newest", prepare_seek, region_seek_newest, NULL, GATED},
    {"seek to a position", prepare_seek, region_seek_second, NULL, GATED},
    {"read what is overwritten", prepare_read_overwritten, region_read_overwritten, NULL,
     OVERWRITING},

    {"share, a new group", seven, region_share_new, NULL, GATED},
    {"share, a new group at the newest", seven, region_share_newest, NULL, GATED},
    {"share, one more member", prepare_share_more, region_share_more, NULL, GATED},
    {"share, take one", prepare_share, region_take_one, NULL, GATED},
    {"share, take a batch", prepare_share, region_take_batch, NULL, GATED},
    {"share, take behind another", prepare_two_members, region_take_behind_another, NULL, GATED},
    {"share, take behind an unconfirmed one", prepare_unconfirmed, region_take_once, NULL, GATED},
    {"share, recv", prepare_share, region_recv_shared, NULL, GATED},
    {"share, only gaps", prepare_only_gaps_shared, region_take_nothing, NULL, GATED},
    {"share, wait where the dead have claimed", prepare_share_behind_the_dead, region_wait_and_take,
     NULL, GATED},
    {"share, take over what is held", prepare_over_held, region_take_over, NULL, GATED},
    {"share, take over what is noted", prepare_over_noted, region_take_over, NULL, GATED},
    {"share, take over what was coming", prepare_over_coming, region_take_over, NULL, GATED},
    {"share, take over what was coming, behind", prepare_over_coming_behind, region_take_over, NULL,
     GATED},
    {"share, take over what had come", prepare_over_come, region_take_over, NULL, GATED},
    {"share, take over one of two", prepare_over_two, region_take_over, NULL, GATED},
    {"share, take over nothing of a loser", prepare_over_losers, region_judge_and_take, NULL,
     GATED},
    {"share, take over nothing at most once", prepare_over_at_most_once, region_judge_and_take,
     NULL, GATED},
    {"share, take over by polling", prepare_poll_over_held, region_poll_over, NULL, GATED},
    {"share, inherit what is held", prepare_inherit_held, region_inherit, NULL, GATED},
    {"share, inherit what is noted", prepare_inherit_noted, region_inherit, NULL, GATED},
    {"share, inherit what was coming", prepare_inherit_coming, region_share_more, NULL, GATED},
    {"share, inherit what had come", prepare_inherit_come, region_inherit, NULL, GATED},
    {"share, inherit nothing of a loser", prepare_inherit_losers, region_inherit_or_take, NULL,
     GATED},
    {"share, inherit nothing at most once", prepare_inherit_at_most_once, region_inherit_or_take,
     NULL, GATED},
    {"share, a producer where only a run is left", prepare_inherit_held, region_no_slot, NULL,
     GATED},
    {"share, leave holding", prepare_leave_holding, region_leave_holding, NULL, GATED},
    {"share, send where others hold", prepare_gated_by_shared, region_gated_by_shared, NULL, GATED},
    {"share, wait for room that losers noted", prepare_room_of_losers, region_wait_and_send, NULL,
     GATED},
    {"share, remove the group", prepare_remove_shared, region_remove_shared, NULL, GATED},
    {"share, repair", prepare_repair_shared, region_repair, NULL, GATED},
};

/* ---------------------------------------------------------------- stepping */

/* Has anything changed since the last instruction? */
static bool changed(void) {
  static struct book last;
  bool file = harness_file_changed();
  size_t used = (size_t)((const char *)&book->entries[book->made] - (const char *)book);
  size_t rest = offsetof(struct book, made);
  bool same = memcmp(&last, book, used) == 0 &&
              memcmp((char *)&last + rest, (char *)book + rest, sizeof last - rest) == 0;
  if (!same)
    last = *book;
  return file || !same;
}

static void judge_state(void) {
  bool fine = true;
  harness.states++;
  for (int order = 0; order < ORDERS && fine; order++)
    if (harness.full || harness.states % ORDERS == (uint64_t)order)
      fine = survive((enum order)order);
  /* Where being lapped is within the promise, let it happen. */
  if (fine && book->drops)
    survive(LAP_BEFORE_GROUPS);
}

static void step_scenario(const struct crowd_scenario *scenario) {
  harness.bad_here = 0;
  harness_reset();
  if (!crowd_start(scenario))
    return;
  changed();
  judge_state();
  while (!harness.control->region_ended && actor_step())
    if (changed())
      judge_state();
  if (harness.actor)
    actor_kill();
}

static bool start_again(const void *scenario) { return crowd_start(scenario); }

static void judge_killed(uint64_t number) { survive((enum order)(number % ORDERS)); }

/* On the small ring what is for the large one is stepped, too. */
static bool is_for(const struct crowd_scenario *scenario, int kind) {
  return scenario->kind == (kind == GATED_SMALL ? GATED : kind);
}

int main(int argc, char **argv) {
  crowd_begin(argc, argv);
  bool all = harness.full || *harness.only_layout;
  for (int kind = 0; kind < KINDS; kind++)
    for (size_t l = 0; l < CROWD_LAYOUTS; l++) {
      const struct layout *layout = crowd_layout(&kinds[kind], l);
      bool open = false;
      if (!all && l != (kind == GATED ? 0 : 1)) /* a wrap on the ring where everything is near */
        continue;
      if (!all && harness.sigkill && kind == GATED_SMALL)
        continue;
      for (size_t s = 0; s < sizeof scenarios / sizeof scenarios[0]; s++) {
        if (!is_for(&scenarios[s], kind) || !harness_wants(scenarios[s].name, layout))
          continue;
        if (!open) {
          harness_ring(layout, kinds[kind].options);
          open = true;
        }
        if (harness.sigkill)
          trace_kill_at_each(start_again, &scenarios[s], judge_killed);
        else
          step_scenario(&scenarios[s]);
      }
      if (open)
        harness_drop();
    }
  if (harness.sigkill)
    return harness_end("true SIGKILLs, many producers", "killed, each at another instruction");
  return harness_end("kill points, many producers", "distinct states judged");
}
