/* SPDX-License-Identifier: MIT */
/* step.c - killed at every instruction.
 *
 * Each scenario is one call, or a few, of the API. After every instruction of it the file is copied as
 * it stands and given to a world in which nobody holds a lock: the actor, and everybody else it knew,
 * has just been killed. There a producer succeeds, consumers resume, an observer looks back, and what
 * they find is held against what the actor had been promised so far (struct promise).
 *
 * Where nothing has changed since the last instruction, neither in the file nor in the promises, the
 * verdict is the same and the copy is spared.
 *
 * With sigkill it is not a copy but the file itself: the actor is run to an instruction that meets others, and
 * killed there by SIGKILL, so that the kernel takes its locks away. One life for each such instruction.
 *
 *   step [sigkill] [scenario [layout]]     those whose names contain these words
 *   RINGBUS_TEST_SCALE=full      all layouts, both orders of succession for each state */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------- what the actor does before */

static void attach_producer(struct actor *a) {
  int result = ringbus_producer_attach(a->ring, NULL, &a->producer);
  actor_expect(a, result == 0, result);
  ringbus_producer_tell(a->producer, &a->position, &a->sequence);
}

/* Message number i of the region: made now, so that the region only copies it. */
static void make(struct actor *a, int i, uint32_t length, uint32_t tag) {
  fill_message(a->buffer[i], length, a->sequence, a->position);
  a->length[i] = length;
  a->tag[i] = tag;
  a->control->plan[a->sequence++] = (struct plan){length, tag};
  a->position += record_bytes(length, tag);
}

static void publish(struct actor *a, uint32_t length, uint32_t tag) {
  int result = publish_planned(a->producer, a->control->plan, length, tag);
  actor_expect(a, result == 0, result);
  a->control->promise.begun = ++a->control->promise.done;
  ringbus_producer_tell(a->producer, &a->position, &a->sequence);
}

/* 48 + 8 + 72 = 128 bytes: see the layouts named "fourth". */
static void publish_three(struct actor *a) {
  attach_producer(a);
  publish(a, 40, 0);
  publish(a, 0, 0);
  publish(a, 58, 7);
}

/* All the room there is: 63 records of 64 bytes and one of 56. */
static void publish_until_full(struct actor *a) {
  for (int i = 0; i < 63; i++)
    publish(a, 56, 0);
  publish(a, 48, 0);
}

static void expect_group(struct actor *a, int g, const char *name, enum ringbus_policy policy) {
  struct group_promise *group = &a->control->promise.groups[g];
  group->policy = policy;
  group->may_exist = 1;
  snprintf(group->name, sizeof group->name, "%s", name);
}

static void promise_group(struct actor *a, int g, const char *name, enum ringbus_policy policy,
                          uint64_t next) {
  struct group_promise *group = &a->control->promise.groups[g];
  expect_group(a, g, name, policy);
  group->before = group->after = next;
  group->must_exist = 1;
}

static void join_as(struct actor *a, int g, const char *name, enum ringbus_policy policy,
                    enum ringbus_hand_back hand_back) {
  struct ringbus_consumer_options options = {
      .group = name, .policy = policy, .hand_back = hand_back};
  uint64_t next;
  int result = ringbus_consumer_attach(a->ring, &options, &a->consumer[g]);
  actor_expect(a, result == 0, result);
  ringbus_consumer_tell(a->consumer[g], NULL, &next);
  if (name)
    promise_group(a, g, name, policy, next);
}

static void join(struct actor *a, int g, const char *name) {
  join_as(a, g, name, RINGBUS_GATE, RINGBUS_HAND_BACK_STORE);
}

static void read_and_release(struct actor *a, int g, uint64_t messages) {
  struct group_promise *group = &a->control->promise.groups[g];
  uint64_t next = group->before;
  int result = drain_group(a->consumer[g], a->control->plan, messages, &next);
  actor_expect(a, result == 0, result);
  group->before = group->after = next;
}

static void leave(struct actor *a, int g) {
  int result = ringbus_consumer_detach(a->consumer[g]);
  actor_expect(a, result == 0, result);
  a->consumer[g] = NULL;
}

static void leave_producer(struct actor *a) {
  int result = ringbus_producer_detach(a->producer);
  actor_expect(a, result == 0, result);
  a->producer = NULL;
}

/* Another process attaches as this consumer, and dies. */
static void die_as_consumer(struct actor *a, const char *name, enum ringbus_policy policy) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    ringbus_ring *ring;
    ringbus_consumer *consumer;
    struct ringbus_consumer_options options = {.group = name, .policy = policy};
    if (ringbus_ring_open(harness.live_path, NULL, &ring) == 0 &&
        ringbus_consumer_attach(ring, &options, &consumer) == 0)
      _exit(0);
    _exit(1);
  }
  waitpid(child, &status, 0);
  actor_expect(a, child > 0 && status == 0, status);
}

/* ---------------------------------------------------------------- calls that keep the promises */

static void send_made(struct actor *a, int i, int expected) {
  struct promise *p = &a->control->promise;
  p->begun = p->done + 1;
  int result = ringbus_producer_send(a->producer, a->buffer[i], a->length[i], a->tag[i]);
  if (result == 0)
    p->done = p->begun;
  else
    p->begun = p->done;
  actor_expect(a, result == expected, result);
}

static void claim_made(struct actor *a, int i, uint32_t claimed, uint32_t committed, int expected) {
  struct promise *p = &a->control->promise;
  void *data;
  int result = ringbus_producer_claim(a->producer, claimed, a->tag[i], &data);
  actor_expect(a, result == expected, result);
  if (result != 0)
    return;
  memcpy(data, a->buffer[i], committed);
  p->begun = p->done + 1;
  result = ringbus_producer_commit(a->producer, committed);
  actor_expect(a, result == 0, result);
  p->done = p->begun;
}

static void send_batch_made(struct actor *a, int count, bool all_at_once, size_t expected_sent) {
  struct promise *p = &a->control->promise;
  struct iovec messages[8];
  size_t sent;
  for (int i = 0; i < count; i++)
    messages[i] = (struct iovec){a->buffer[i], a->length[i]};
  p->all_or_none = all_at_once;
  p->begun = p->done + (uint64_t)count;
  int result = ringbus_producer_send_batch(a->producer, messages, (size_t)count, a->tag[0],
                                           all_at_once, &sent);
  p->done += sent;
  p->begun = p->done;
  actor_expect(a, sent == expected_sent, sent);
  actor_expect(a, result == (sent == (size_t)count ? 0 : -EAGAIN), result);
}

static void release(struct actor *a, int g) {
  struct group_promise *group = &a->control->promise.groups[g];
  ringbus_consumer_tell(a->consumer[g], NULL, &group->after);
  int result = ringbus_consumer_release(a->consumer[g]);
  group->before = group->after;
  actor_expect(a, result == 0, result);
}

static void recv_one(struct actor *a, int g, size_t size, int expected) {
  struct group_promise *group = &a->control->promise.groups[g];
  uint64_t next = group->before;
  if (expected == 0)
    group->after = next + 1;
  int result = ringbus_consumer_recv(a->consumer[g], a->copy, size, &a->message);
  actor_expect(a, result == expected, result);
  group->before = group->after;
}

static void seek(struct actor *a, int g, enum ringbus_start start, uint64_t position,
                 uint64_t count) {
  struct group_promise *group = &a->control->promise.groups[g];
  group->after = count;
  int result = ringbus_consumer_seek(a->consumer[g], start, position);
  actor_expect(a, result == 0, result);
  group->before = count;
}

static void attach_in_region(struct actor *a, int g, const char *name, enum ringbus_policy policy,
                             enum ringbus_start start, uint64_t position, uint64_t count) {
  struct ringbus_consumer_options options = {
      .group = name, .policy = policy, .start = start, .position = position};
  struct group_promise *group = &a->control->promise.groups[g];
  if (name && !group->may_exist)
    expect_group(a, g, name, policy); /* a new group may be at the oldest for a moment: 0 */
  group->after = count;
  int result = ringbus_consumer_attach(a->ring, &options, &a->consumer[g]);
  actor_expect(a, result == 0, result);
  group->must_exist = group->may_exist;
  group->before = count;
}

/* ---------------------------------------------------------------- scenarios: publishing */

static void three_and_a_reader(struct actor *a) {
  publish_three(a);
  join(a, 0, "a");
  read_and_release(a, 0, 1);
}

static void prepare_send(struct actor *a) {
  three_and_a_reader(a);
  make(a, 0, 40, 0);
}
static void region_send(struct actor *a) { send_made(a, 0, 0); }

static void prepare_first_send(struct actor *a) {
  attach_producer(a);
  make(a, 0, 40, 0);
}

static void prepare_empty_message(struct actor *a) {
  three_and_a_reader(a);
  make(a, 0, 0, 0);
}

static void prepare_tagged(struct actor *a) {
  three_and_a_reader(a);
  make(a, 0, 13, 0xfeedface);
}

static void prepare_longest(struct actor *a) {
  attach_producer(a);
  join(a, 0, "a");
  make(a, 0, LONGEST, 0);
}

static void prepare_two_sends(struct actor *a) {
  three_and_a_reader(a);
  make(a, 0, 8, 0);
  make(a, 1, 1, 0);
}
static void region_two_sends(struct actor *a) {
  send_made(a, 0, 0);
  send_made(a, 1, 0);
}

static void prepare_second_lap(struct actor *a) {
  attach_producer(a);
  join(a, 0, "a");
  publish_until_full(a);
  read_and_release(a, 0, 64);
  publish(a, 0, 0); /* the refresh; from here on old payload lies behind the tail */
  make(a, 0, 21, 0);
  make(a, 1, 0, 3);
  make(a, 2, 100, 0);
}
static void region_three_sends(struct actor *a) {
  send_made(a, 0, 0);
  send_made(a, 1, 0);
  send_made(a, 2, 0);
}

static void prepare_commit_shorter(struct actor *a) {
  prepare_second_lap(a);
  a->sequence -= 3;
  ringbus_producer_tell(a->producer, &a->position, NULL);
  make(a, 0, 50, 0);
  make(a, 1, 0, 0);
  make(a, 2, 9, 5);
}
static void region_commit_shorter(struct actor *a) {
  claim_made(a, 0, 200, 50, 0);
  claim_made(a, 1, 64, 0, 0);
  claim_made(a, 2, 17, 9, 0);
}

static void region_abort(struct actor *a) {
  void *data;
  int result = ringbus_producer_claim(a->producer, 300, 0, &data);
  actor_expect(a, result == 0, result);
  memset(data, 0x55, 300);
  result = ringbus_producer_abort(a->producer);
  actor_expect(a, result == 0, result);
  send_made(a, 0, 0);
}

static void prepare_batch(struct actor *a) {
  prepare_second_lap(a);
  a->sequence -= 3;
  ringbus_producer_tell(a->producer, &a->position, NULL);
  make(a, 0, 0, 0);
  make(a, 1, 8, 0);
  make(a, 2, 40, 0);
  make(a, 3, 13, 0);
  make(a, 4, 16, 0);
}
static void region_batch(struct actor *a) { send_batch_made(a, 5, false, 5); }
static void region_batch_at_once(struct actor *a) { send_batch_made(a, 5, true, 5); }

static void prepare_first_batch(struct actor *a) {
  publish_three(a);
  for (int i = 0; i < 5; i++)
    make(a, i, (uint32_t)(i * 9), 77);
}

/* 200 bytes of room are left, of which 8 stay free for the next word. */
static void prepare_batch_too_long(struct actor *a) {
  attach_producer(a);
  join(a, 0, "a");
  publish(a, CAPACITY - 200 - 8, 0);
  make(a, 0, 56, 0);
  make(a, 1, 100, 0);
  make(a, 2, 56, 0);
}
static void region_batch_too_long(struct actor *a) { send_batch_made(a, 3, false, 2); }
static void region_batch_at_once_too_long(struct actor *a) { send_batch_made(a, 3, true, 0); }

static void prepare_refused(struct actor *a) {
  attach_producer(a);
  join(a, 0, "a");
  join(a, 1, "b");
  publish_until_full(a);
  read_and_release(a, 1, 64);
  make(a, 0, 0, 0);
}
static void region_refused(struct actor *a) { send_made(a, 0, -EAGAIN); }

static void prepare_refresh(struct actor *a) {
  attach_producer(a);
  join(a, 0, "a");
  join(a, 1, "b");
  publish_until_full(a);
  read_and_release(a, 0, 64);
  read_and_release(a, 1, 30);
  make(a, 0, 40, 0);
  make(a, 1, 133, 9);
}

static void prepare_refresh_by_little(struct actor *a) {
  attach_producer(a);
  join(a, 0, "a");
  publish_until_full(a);
  read_and_release(a, 0, 1);
  make(a, 0, 56, 0);
}

static void prepare_drop(struct actor *a) {
  attach_producer(a);
  publish_until_full(a);
  a->control->promise.drops = 1;
  make(a, 0, 40, 0);
  make(a, 1, 133, 0);
}

static void prepare_lap_a_group(struct actor *a) {
  attach_producer(a);
  join_as(a, 0, "a", RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_HAND_BACK_STORE);
  join_as(a, 1, "b", RINGBUS_LAPPED, RINGBUS_HAND_BACK_DEFAULT);
  publish_until_full(a);
  read_and_release(a, 0, 10);
  read_and_release(a, 1, 20);
  leave(a, 0);
  a->control->promise.drops = 1;
  a->control->promise.groups[0].lapped = 1;
  a->control->promise.groups[1].lapped = 1;
  make(a, 0, 56, 0);
  make(a, 1, 1000, 0);
}

static void prepare_max_lag(struct actor *a) {
  struct ringbus_consumer_options options = {.group = "a", .max_lag = 1000};
  attach_producer(a);
  int result = ringbus_consumer_attach(a->ring, &options, &a->consumer[0]);
  actor_expect(a, result == 0, result);
  promise_group(a, 0, "a", RINGBUS_GATE, 0);
  a->control->promise.groups[0].lapped = 1;
  a->control->promise.drops = 1;
  publish_until_full(a);
  make(a, 0, 40, 0);
  make(a, 1, 133, 0);
}

static void prepare_refresh_past_the_dead(struct actor *a) {
  attach_producer(a);
  join(a, 0, "a");
  die_as_consumer(a, NULL, RINGBUS_GATE);
  publish_until_full(a);
  read_and_release(a, 0, 64);
  make(a, 0, 40, 0);
}
static void region_wait_and_send(struct actor *a) {
  int result = ringbus_producer_wait(a->producer, a->length[0], a->tag[0], 0);
  actor_expect(a, result == 0, result);
  send_made(a, 0, 0);
}

static void region_finish(struct actor *a) {
  a->control->promise.closing = 1;
  int result = ringbus_producer_finish(a->producer);
  actor_expect(a, result == 0, result);
  a->control->promise.closed = 1;
}

static void region_leave_with_claim(struct actor *a) {
  void *data;
  int result = ringbus_producer_claim(a->producer, 100, 0, &data);
  actor_expect(a, result == 0, result);
  memset(data, 0x55, 100);
  leave_producer(a);
}

/* ---------------------------------------------------------------- scenarios: succeeding */

static void prepare_nothing(struct actor *a) { (void)a; }

static void prepare_succeed(struct actor *a) {
  three_and_a_reader(a);
  leave_producer(a);
}
static void region_succeed(struct actor *a) { attach_producer(a); }

/* As if the predecessor had been killed between its commits and the store of the tail. */
static void tail_falls_back(struct actor *a, uint64_t position, uint64_t count) {
  struct ringbus_header *header = (struct ringbus_header *)(void *)harness.live;
  header->tail.count[0] = count;
  header->tail.position = position;
  actor_expect(a, position % 8 == 0, position);
}

static void prepare_succeed_one_behind(struct actor *a) {
  uint64_t position, count;
  prepare_second_lap(a);
  a->sequence -= 3;
  ringbus_producer_tell(a->producer, &position, &count);
  publish(a, 21, 0);
  leave_producer(a);
  tail_falls_back(a, position, count);
}

static void prepare_succeed_three_behind(struct actor *a) {
  uint64_t position, count;
  prepare_second_lap(a);
  ringbus_producer_tell(a->producer, &position, &count);
  region_three_sends(a);
  read_and_release(a, 0, 2); /* a consumer may well be ahead of the tail that is written down */
  leave_producer(a);
  tail_falls_back(a, position, count);
}

static void prepare_succeed_on_full(struct actor *a) {
  attach_producer(a);
  join(a, 0, "a");
  publish_until_full(a);
  read_and_release(a, 0, 5);
  leave_producer(a);
  leave(a, 0);
  tail_falls_back(a, harness.layout->start, 0);
}

static void prepare_succeed_past_the_dead(struct actor *a) {
  prepare_refresh_past_the_dead(a);
  leave_producer(a);
}

static void region_succeed_and_send(struct actor *a) {
  int result = ringbus_producer_attach(a->ring, NULL, &a->producer);
  actor_expect(a, result == 0, result);
  region_wait_and_send(a);
}

/* ---------------------------------------------------------------- scenarios: consuming */

static void prepare_consume(struct actor *a) {
  publish_three(a);
  publish(a, 133, 0);
  publish(a, 700, 1);
  join(a, 0, "a");
  read_and_release(a, 0, 1);
}

static void region_borrow_and_release(struct actor *a) {
  for (int i = 0; i < 2; i++) {
    int result = ringbus_consumer_borrow(a->consumer[0], &a->message);
    actor_expect(a, result == 0, result);
    release(a, 0);
  }
}

static void region_borrow_batch(struct actor *a) {
  size_t count;
  int result = ringbus_consumer_borrow_batch(a->consumer[0], a->messages, 64, &count);
  actor_expect(a, result == 0 && count == 4, result);
  release(a, 0);
  result = ringbus_consumer_borrow_batch(a->consumer[0], a->messages, 64, &count);
  actor_expect(a, result == -EAGAIN && count == 0, result);
  release(a, 0);
}

static void region_recv(struct actor *a) {
  recv_one(a, 0, 0, 0); /* the empty one */
  recv_one(a, 0, 10, -EMSGSIZE);
  recv_one(a, 0, CAPACITY, 0);
  recv_one(a, 0, CAPACITY, 0);
}

static void prepare_hand_back_store(struct actor *a) {
  publish_three(a);
  publish(a, 133, 0);
  publish(a, 700, 1);
  join_as(a, 0, "a", RINGBUS_GATE, RINGBUS_HAND_BACK_STORE);
  join_as(a, 1, "b", RINGBUS_GATE, RINGBUS_HAND_BACK_LOCKED);
  read_and_release(a, 0, 1);
}
static void region_hand_back(struct actor *a) {
  size_t count;
  for (int g = 0; g < 2; g++) {
    int result = ringbus_consumer_borrow_batch(a->consumer[g], a->messages, 64, &count);
    actor_expect(a, result == 0, result);
    release(a, g);
  }
}

static void prepare_lapped_read(struct actor *a) {
  attach_producer(a);
  join_as(a, 0, "a", RINGBUS_LAPPED, RINGBUS_HAND_BACK_DEFAULT);
  publish_until_full(a);
  read_and_release(a, 0, 2);
  for (int i = 0; i < 10; i++)
    publish(a, 80, 0);
  a->control->promise.drops = 1;
  a->control->promise.groups[0].lapped = 1;
}
static void region_lapped_read(struct actor *a) {
  struct group_promise *group = &a->control->promise.groups[0];
  uint64_t lost;
  group->between = 1;
  group->after = a->control->promise.done;
  int result = ringbus_consumer_recv(a->consumer[0], a->copy, sizeof a->copy, &a->message);
  actor_expect(a, result == -EOVERFLOW, result);
  ringbus_consumer_lost(a->consumer[0], &lost, NULL);
  actor_expect(a, lost > 0, lost);
  for (int i = 0; i < 2; i++) {
    result = ringbus_consumer_recv(a->consumer[0], a->copy, sizeof a->copy, &a->message);
    actor_expect(a, result == 0, result);
    a->message.data = a->copy;
    actor_expect(a, verify_message(&a->message, 2 + lost + (uint64_t)i, a->control->plan), i);
  }
}

/* ---------------------------------------------------------------- scenarios: coming and going */

static void prepare_join(struct actor *a) {
  publish_three(a);
  publish(a, 24, 0);
}
static void region_join_at_oldest(struct actor *a) {
  attach_in_region(a, 0, "a", RINGBUS_GATE, RINGBUS_OLDEST, 0, 0);
}
static void region_join_at_newest(struct actor *a) {
  attach_in_region(a, 0, "a", RINGBUS_GATE, RINGBUS_NEWEST, 0, 4);
}
static void region_join_at_third(struct actor *a) {
  attach_in_region(a, 0, "a", RINGBUS_GATE, RINGBUS_POSITION, harness.layout->start + 56, 2);
}
static void region_join_ephemeral(struct actor *a) {
  attach_in_region(a, 0, NULL, RINGBUS_GATE, RINGBUS_OLDEST, 0, 0);
}
static void region_join_lapped(struct actor *a) {
  attach_in_region(a, 0, "a", RINGBUS_LAPPED, RINGBUS_OLDEST, 0, 0);
}

static void prepare_join_in_place_of_another(struct actor *a) {
  prepare_join(a);
  join(a, 0, "b");
  read_and_release(a, 0, 3);
  leave(a, 0);
  int result = ringbus_ring_remove_group(a->ring, "b");
  actor_expect(a, result == 0, result);
  memset(&a->control->promise.groups[0], 0, sizeof a->control->promise.groups[0]);
}

static void prepare_join_beside_the_dead(struct actor *a) {
  publish_three(a);
  for (int i = 0; i < GROUPS; i++) /* no group is left: the dead must make room */
    die_as_consumer(a, NULL, RINGBUS_GATE);
}

static void prepare_resume(struct actor *a) {
  prepare_consume(a);
  leave(a, 0);
}
static void region_resume(struct actor *a) {
  attach_in_region(a, 0, "a", RINGBUS_GATE, RINGBUS_RESUME, 0, 1);
}
static void prepare_resume_after_the_dead(struct actor *a) {
  publish_three(a);
  die_as_consumer(a, "a", RINGBUS_GATE);
  promise_group(a, 0, "a", RINGBUS_GATE, 0);
}
static void region_resume_at_oldest(struct actor *a) {
  attach_in_region(a, 0, "a", RINGBUS_GATE, RINGBUS_RESUME, 0, 0);
}
static void region_resume_at_newest(struct actor *a) {
  attach_in_region(a, 0, "a", RINGBUS_GATE, RINGBUS_NEWEST, 0, 5);
}

static void prepare_resume_while_attached(struct actor *a) {
  attach_producer(a);
  join_as(a, 0, "a", RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_HAND_BACK_STORE);
  publish_until_full(a);
  read_and_release(a, 0, 10);
  leave(a, 0);
  a->control->promise.drops = 1;
  a->control->promise.groups[0].lapped = 1;
}
static void region_resume_while_attached(struct actor *a) {
  attach_in_region(a, 0, "a", RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_RESUME, 0, 10);
}
static void prepare_resume_lapped(struct actor *a) {
  prepare_resume_while_attached(a);
  for (int i = 0; i < 15; i++)
    publish(a, 56, 0);
}
static void region_resume_lapped(struct actor *a) {
  struct group_promise *group = &a->control->promise.groups[0];
  struct ringbus_consumer_options options = {.group = "a"};
  uint64_t next, lost;
  group->between = 1;
  group->after = a->control->promise.done;
  int result = ringbus_consumer_attach(a->ring, &options, &a->consumer[0]);
  actor_expect(a, result == 0, result);
  ringbus_consumer_tell(a->consumer[0], NULL, &next);
  ringbus_consumer_lost(a->consumer[0], &lost, NULL);
  actor_expect(a, next == 10 + lost && lost > 0, next);
  group->before = group->after = next;
}

static void prepare_leave_with_batch(struct actor *a) {
  size_t count;
  prepare_consume(a);
  int result = ringbus_consumer_borrow_batch(a->consumer[0], a->messages, 2, &count);
  actor_expect(a, result == 0 && count == 2, result);
}
static void region_leave(struct actor *a) { leave(a, 0); }

static void prepare_leave_ephemeral(struct actor *a) {
  publish_three(a);
  join(a, 0, NULL);
}

static void prepare_leave_while_attached(struct actor *a) {
  attach_producer(a);
  join_as(a, 0, "a", RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_HAND_BACK_STORE);
  publish_until_full(a);
  read_and_release(a, 0, 10);
  a->control->promise.groups[0].lapped = 1;
  a->control->promise.drops = 1;
}

static void prepare_remove_group(struct actor *a) {
  prepare_consume(a);
  join(a, 1, "b");
  leave(a, 0);
}
static void region_remove_group(struct actor *a) {
  struct group_promise *group = &a->control->promise.groups[0];
  group->must_exist = 0;
  int result = ringbus_ring_remove_group(a->ring, "a");
  actor_expect(a, result == 0, result);
  group->may_exist = 0;
}

static void prepare_seek(struct actor *a) {
  prepare_consume(a);
  join(a, 1, "b");
  int result = ringbus_consumer_borrow(a->consumer[0], &a->message);
  actor_expect(a, result == 0, result);
}
static void region_seek_oldest(struct actor *a) { seek(a, 0, RINGBUS_OLDEST, 0, 0); }
static void region_seek_newest(struct actor *a) { seek(a, 0, RINGBUS_NEWEST, 0, 5); }
static void region_seek_third(struct actor *a) {
  seek(a, 0, RINGBUS_POSITION, harness.layout->start + 56, 2);
}

static void region_flush(struct actor *a) {
  int result = ringbus_ring_flush(a->ring);
  actor_expect(a, result == 0, result);
}

static void region_observe(struct actor *a) {
  int result = ringbus_observer_attach(a->ring, NULL, &a->observer);
  actor_expect(a, result == 0, result);
  result = ringbus_observer_recv(a->observer, a->copy, sizeof a->copy, &a->message);
  actor_expect(a, result == 0, result);
  ringbus_observer_detach(a->observer);
}

/* A ring has its name when it is whole, and not before. */
static void region_create(struct actor *a) {
  ringbus_ring *ring;
  int result = ringbus_ring_create(harness.new_path, NULL, &ring);
  actor_expect(a, result == 0, result);
}

static const struct scenario scenarios[] = {
    {.name = "send", .prepare = prepare_send, .region = region_send},
    {.name = "send the first message", .prepare = prepare_first_send, .region = region_send},
    {.name = "send an empty message", .prepare = prepare_empty_message, .region = region_send},
    {.name = "send a tagged message", .prepare = prepare_tagged, .region = region_send},
    {.name = "send the longest message", .prepare = prepare_longest, .region = region_send},
    {.name = "send twice", .prepare = prepare_two_sends, .region = region_two_sends},
    {.name = "send over old payload", .prepare = prepare_second_lap, .region = region_three_sends},
    {.name = "commit shorter than claimed",
     .prepare = prepare_commit_shorter,
     .region = region_commit_shorter},
    {.name = "abort, then send", .prepare = prepare_send, .region = region_abort},
    {.name = "batch", .prepare = prepare_batch, .region = region_batch},
    {.name = "batch, all at once", .prepare = prepare_batch, .region = region_batch_at_once},
    {.name = "tagged batch", .prepare = prepare_first_batch, .region = region_batch},
    {.name = "tagged batch, all at once",
     .prepare = prepare_first_batch,
     .region = region_batch_at_once},
    {.name = "batch that fits in part",
     .prepare = prepare_batch_too_long,
     .region = region_batch_too_long},
    {.name = "batch that fits in part, all at once",
     .prepare = prepare_batch_too_long,
     .region = region_batch_at_once_too_long},
    {.name = "send refused by a full ring", .prepare = prepare_refused, .region = region_refused},
    {.name = "send with refresh on a full ring",
     .prepare = prepare_refresh,
     .region = region_two_sends},
    {.name = "send with refresh by one record",
     .prepare = prepare_refresh_by_little,
     .region = region_send},
    {.name = "send dropping the oldest",
     .prepare = prepare_drop,
     .region = region_two_sends,
     .no_group = RINGBUS_DROP},
    {.name = "send lapping two groups", .prepare = prepare_lap_a_group, .region = region_two_sends},
    {.name = "send past a group's largest lag",
     .prepare = prepare_max_lag,
     .region = region_two_sends},
    {.name = "wait for room that the dead hold",
     .prepare = prepare_refresh_past_the_dead,
     .region = region_wait_and_send},
    {.name = "finish", .prepare = three_and_a_reader, .region = region_finish},
    {.name = "producer leaves with a claim",
     .prepare = three_and_a_reader,
     .region = region_leave_with_claim},
    {.name = "first producer attaches", .prepare = prepare_nothing, .region = region_succeed},
    {.name = "succeed", .prepare = prepare_succeed, .region = region_succeed},
    {.name = "succeed, tail one behind",
     .prepare = prepare_succeed_one_behind,
     .region = region_succeed},
    {.name = "succeed, tail three behind",
     .prepare = prepare_succeed_three_behind,
     .region = region_succeed},
    {.name = "succeed, tail a whole ring behind",
     .prepare = prepare_succeed_on_full,
     .region = region_succeed},
    {.name = "succeed where the dead hold room",
     .prepare = prepare_succeed_past_the_dead,
     .region = region_succeed_and_send},
    {.name = "borrow and release", .prepare = prepare_consume, .region = region_borrow_and_release},
    {.name = "borrow a batch and release",
     .prepare = prepare_consume,
     .region = region_borrow_batch},
    {.name = "recv", .prepare = prepare_consume, .region = region_recv},
    {.name = "release, handing lines back",
     .prepare = prepare_hand_back_store,
     .region = region_hand_back},
    {.name = "read in a lapped group",
     .prepare = prepare_lapped_read,
     .region = region_lapped_read},
    {.name = "join at the oldest", .prepare = prepare_join, .region = region_join_at_oldest},
    {.name = "join at the newest", .prepare = prepare_join, .region = region_join_at_newest},
    {.name = "join at a position", .prepare = prepare_join, .region = region_join_at_third},
    {.name = "join in the place of another group",
     .prepare = prepare_join_in_place_of_another,
     .region = region_join_at_oldest},
    {.name = "join, ephemeral", .prepare = prepare_join, .region = region_join_ephemeral},
    {.name = "join, lapped", .prepare = prepare_join, .region = region_join_lapped},
    {.name = "join where only the dead are",
     .prepare = prepare_join_beside_the_dead,
     .region = region_join_at_oldest},
    {.name = "resume", .prepare = prepare_resume, .region = region_resume},
    {.name = "resume after a dead member",
     .prepare = prepare_resume_after_the_dead,
     .region = region_resume_at_oldest},
    {.name = "resume at the newest", .prepare = prepare_resume, .region = region_resume_at_newest},
    {.name = "resume, gating while attached",
     .prepare = prepare_resume_while_attached,
     .region = region_resume_while_attached},
    {.name = "resume, lapped meanwhile",
     .prepare = prepare_resume_lapped,
     .region = region_resume_lapped},
    {.name = "leave with an unreleased batch",
     .prepare = prepare_leave_with_batch,
     .region = region_leave},
    {.name = "leave, ephemeral", .prepare = prepare_leave_ephemeral, .region = region_leave},
    {.name = "leave, gating while attached",
     .prepare = prepare_leave_while_attached,
     .region = region_leave},
    {.name = "remove a group", .prepare = prepare_remove_group, .region = region_remove_group},
    {.name = "seek back to the oldest", .prepare = prepare_seek, .region = region_seek_oldest},
    {.name = "seek forward to the newest", .prepare = prepare_seek, .region = region_seek_newest},
    {.name = "seek to a position", .prepare = prepare_seek, .region = region_seek_third},
    {.name = "flush", .prepare = three_and_a_reader, .region = region_flush},
    {.name = "observe", .prepare = three_and_a_reader, .region = region_observe},
};

/* ---------------------------------------------------------------- the world after a kill */

enum order { PRODUCER_FIRST, GROUPS_FIRST, LAP_BEFORE_GROUPS };

/* The survivors, and what they have found so far. */
struct world {
  struct promise promise;
  struct plan plan[MESSAGES];
  ringbus_ring *ring;
  ringbus_producer *producer;
  ringbus_observer *observer;
  ringbus_consumer *consumer[GROUPS];
  uint64_t oldest;       /* first message still in the ring, by count */
  uint64_t published;    /* messages that were ever published, by count */
  uint64_t tail;         /* position behind them */
  uint64_t observed;     /* the observer's next message */
  uint64_t next[GROUPS]; /* each group's next message */
  uint32_t durable;      /* groups that outlive this */
  uint32_t used;         /* groups that a consumer of ours is attached to */
};

#define wrong(...) return harness_bad(__VA_ARGS__), false

static bool observe(struct world *w) {
  struct ringbus_message message;
  char copy[CAPACITY];
  for (;;) {
    uint64_t lost_before, lost, told;
    ringbus_observer_lost(w->observer, &lost_before, NULL);
    int result = ringbus_observer_recv(w->observer, copy, sizeof copy, &message);
    if (result == 0) {
      if (!verify_message(&message, w->observed, w->plan))
        wrong("the observer's message %llu is not what was sent", (unsigned long long)w->observed);
      w->observed++;
    } else if (result == -EOVERFLOW) {
      ringbus_observer_lost(w->observer, &lost, NULL);
      ringbus_observer_tell(w->observer, NULL, &told);
      w->observed += lost - lost_before;
      if (lost <= lost_before || told != w->observed)
        wrong("the observer lost %llu and is at message %llu, should be at %llu",
              (unsigned long long)(lost - lost_before), (unsigned long long)told,
              (unsigned long long)w->observed);
    } else if (result == -EAGAIN || result == -EPIPE) {
      return true;
    } else {
      wrong("observer_recv: %s", ringbus_strerror(result));
    }
  }
}

static bool look_back(struct world *w) {
  struct ringbus_ring_info info;
  int result = ringbus_observer_attach(w->ring, NULL, &w->observer);
  if (result != 0)
    wrong("observer_attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  ringbus_observer_tell(w->observer, NULL, &w->oldest);
  w->observed = w->oldest;
  if (!observe(w))
    return false;
  ringbus_observer_tell(w->observer, &w->tail, &w->published);
  const struct promise *p = &w->promise;
  if (w->published != w->observed)
    wrong("the observer counts %llu, but has read up to %llu", (unsigned long long)w->published,
          (unsigned long long)w->observed);
  if (w->published < p->done || w->published > p->begun ||
      (p->all_or_none && w->published != p->done && w->published != p->begun))
    wrong("%llu messages survive, expected %llu to %llu", (unsigned long long)w->published,
          (unsigned long long)p->done, (unsigned long long)p->begun);
  if (!p->drops && w->oldest != 0)
    for (int g = 0; g < GROUPS; g++)
      if (p->groups[g].must_exist && w->oldest > p->groups[g].before &&
          w->oldest > p->groups[g].after)
        wrong("the oldest message is %llu, group %s has not read %llu",
              (unsigned long long)w->oldest, p->groups[g].name,
              (unsigned long long)p->groups[g].before);
  result = ringbus_ring_info(w->ring, &info);
  if (result != 0 || info.participants != 0 || info.retired)
    wrong("ring_info: %d, %u participants alive", result, info.participants);
  if ((p->closed && !info.closed) || (!p->closing && info.closed))
    wrong("closed: %d", info.closed);
  return true;
}

static bool succeed(struct world *w) {
  struct ringbus_ring_info info;
  uint64_t position, count;
  ringbus_ring_info(w->ring, &info);
  int result = ringbus_producer_attach(w->ring, NULL, &w->producer);
  if (info.closed) {
    if (result != -EPIPE)
      wrong("a producer attached to a closed ring: %s", ringbus_strerror(result));
    w->producer = NULL;
    return true;
  }
  if (result != 0)
    wrong("producer_attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  ringbus_producer_tell(w->producer, &position, &count);
  if (position != w->tail || count != w->published)
    wrong("the successor begins at message %llu, position %llx; %llu, %llx were found",
          (unsigned long long)count, (unsigned long long)position, (unsigned long long)w->published,
          (unsigned long long)w->tail);
  return true;
}

static bool drain(struct world *w, int g) {
  const struct group_promise *promised = &w->promise.groups[g];
  for (;;) {
    uint64_t lost_before, lost;
    ringbus_consumer_lost(w->consumer[g], &lost_before, NULL);
    int result = drain_group(w->consumer[g], w->plan, UINT64_MAX, &w->next[g]);
    if (result == 0 || result == -EPIPE)
      break;
    if (result != -EOVERFLOW || (promised->policy != RINGBUS_LAPPED && !promised->lapped))
      wrong("group %s, message %llu: %s", promised->name, (unsigned long long)w->next[g],
            result == -EILSEQ ? "not what was sent" : ringbus_strerror(result));
    ringbus_consumer_lost(w->consumer[g], &lost, NULL);
    w->next[g] += lost - lost_before;
    uint64_t told;
    ringbus_consumer_tell(w->consumer[g], NULL, &told);
    if (lost <= lost_before || told != w->next[g])
      wrong("group %s lost %llu and is at message %llu, should be at %llu", promised->name,
            (unsigned long long)(lost - lost_before), (unsigned long long)told,
            (unsigned long long)w->next[g]);
  }
  if (w->next[g] != w->published)
    wrong("group %s has read up to %llu of %llu", promised->name, (unsigned long long)w->next[g],
          (unsigned long long)w->published);
  return true;
}

static bool group_exists(struct world *w, const char *name) {
  struct ringbus_group_info info;
  for (uint32_t i = 0; i < GROUPS; i++)
    if (ringbus_ring_group(w->ring, i, &info) == 0 && strcmp(info.name, name) == 0)
      return true;
  return false;
}

/* A ring without groups holds everything for the first one. */
static bool witness(struct world *w) {
  enum { LAST = GROUPS - 1 };
  int result = ringbus_consumer_attach(w->ring, NULL, &w->consumer[LAST]);
  if (result != 0)
    wrong("consumer_attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  ringbus_consumer_tell(w->consumer[LAST], NULL, &w->next[LAST]);
  w->used++;
  if (w->next[LAST] != w->oldest)
    wrong("the first group begins at message %llu, not at %llu", (unsigned long long)w->next[LAST],
          (unsigned long long)w->oldest);
  return drain(w, LAST);
}

static bool resume_groups(struct world *w) {
  for (int g = 0; g < GROUPS; g++) {
    const struct group_promise *promised = &w->promise.groups[g];
    if (!promised->name[0])
      continue;
    bool existed = group_exists(w, promised->name);
    if (existed ? !promised->may_exist : promised->must_exist)
      wrong("group %s %s", promised->name, existed ? "is still there" : "is gone");
    struct ringbus_consumer_options options = {.group = promised->name,
                                               .policy = (enum ringbus_policy)promised->policy};
    int result = ringbus_consumer_attach(w->ring, &options, &w->consumer[g]);
    if (result != 0)
      wrong("consumer_attach %s: %s: %s", promised->name, ringbus_strerror(result),
            ringbus_error_detail());
    uint64_t position, lost;
    ringbus_consumer_tell(w->consumer[g], &position, &w->next[g]);
    ringbus_consumer_lost(w->consumer[g], &lost, NULL);
    w->durable++;
    w->used++;
    struct ringbus_ring_info info;
    ringbus_ring_info(w->ring, &info);
    uint64_t from = w->next[g] - lost; /* where the group stood */
    bool fits = from == promised->before || from == promised->after ||
                (promised->between && from >= promised->before && from <= promised->after);
    if (!existed)
      fits = w->next[g] == info.oldest_count && lost == 0;
    else if (lost)
      fits = fits && promised->lapped && w->next[g] == info.oldest_count;
    if (!fits)
      wrong("group %s resumes at message %llu with %llu lost, promised were %llu or %llu",
            promised->name, (unsigned long long)w->next[g], (unsigned long long)lost,
            (unsigned long long)promised->before, (unsigned long long)promised->after);
    if (!drain(w, g))
      return false;
  }
  struct ringbus_ring_info info;
  ringbus_ring_info(w->ring, &info);
  return w->used > 0 || info.no_group == RINGBUS_DROP || witness(w);
}

/* Messages of all lengths over more than a lap, and the longest of all. Nothing may stand in the way
 * for good: when every group has read everything, there is room for any message. */
static bool publish_a_lap(struct world *w) {
  uint64_t bytes = 0;
  while (bytes < CAPACITY + CAPACITY / 2) {
    uint32_t length = bytes < CAPACITY + CAPACITY / 4 ? varied_length(w->published) : LONGEST;
    uint32_t tag = length != LONGEST && w->published % 3 == 0 ? 1 + (uint32_t)w->published : 0;
    int result = publish_planned(w->producer, w->plan, length, tag);
    if (result == -EAGAIN) {
      for (int g = 0; g < GROUPS; g++)
        if (w->consumer[g] && !drain(w, g))
          return false;
      result = ringbus_producer_wait(w->producer, length, tag, 0);
      if (result != 0)
        wrong("everything is read, yet there is no room for %u bytes: %s", length,
              ringbus_strerror(result));
      result = publish_planned(w->producer, w->plan, length, tag);
    }
    if (result != 0)
      wrong("send of %u bytes: %s", length, ringbus_strerror(result));
    w->published++;
    bytes += record_bytes(length, tag);
    if (w->published % 8 == 0 && !observe(w))
      return false;
  }
  for (int g = 0; g < GROUPS; g++)
    if (w->consumer[g] && !drain(w, g))
      return false;
  return observe(w);
}

/* What the dead had is free again, down to the last group. */
static bool fill_all_groups(struct world *w) {
  ringbus_consumer *guest[GROUPS];
  struct ringbus_consumer_options options = {.start = RINGBUS_NEWEST};
  uint32_t guests = 0;
  for (; guests < GROUPS - w->used; guests++) {
    int result = ringbus_consumer_attach(w->ring, &options, &guest[guests]);
    if (result != 0)
      wrong("%u groups and %u guests, but one more: %s: %s", w->used, guests,
            ringbus_strerror(result), ringbus_error_detail());
  }
  while (guests-- > 0)
    ringbus_consumer_detach(guest[guests]);
  return true;
}

static bool live_on(struct world *w, enum order order) {
  struct ringbus_ring_info info;
  if (!look_back(w))
    return false;
  if (order == GROUPS_FIRST) {
    if (!resume_groups(w) || !succeed(w))
      return false;
  } else {
    if (!succeed(w))
      return false;
    if (order == LAP_BEFORE_GROUPS && w->producer && !publish_a_lap(w))
      return false;
    if (!resume_groups(w))
      return false;
  }
  if (w->producer && !publish_a_lap(w))
    return false;
  if (!fill_all_groups(w))
    return false;
  if (w->producer)
    ringbus_producer_detach(w->producer);
  w->producer = NULL;
  for (int g = 0; g < GROUPS; g++) {
    ringbus_consumer_detach(w->consumer[g]);
    w->consumer[g] = NULL;
  }
  ringbus_ring_info(w->ring, &info);
  if (info.participants != 0 || info.groups != w->durable)
    wrong("at the end %u participants and %u groups are left", info.participants, info.groups);
  return true;
}

static bool survive(const struct control *control, enum order order) {
  static struct world world;
  struct world *w = &world;
  memset(w, 0, sizeof *w);
  w->promise = control->promise;
  memcpy(w->plan, control->plan, sizeof w->plan);
  alarm(30); /* a call that does not come back ends in judge_died */
  int result = ringbus_ring_open(harness_world(), NULL, &w->ring);
  bool fine = false;
  if (result != 0)
    harness_bad("ring_open: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  else
    fine = live_on(w, order);
  ringbus_producer_detach(w->producer);
  ringbus_observer_detach(w->observer);
  for (int g = 0; g < GROUPS; g++)
    ringbus_consumer_detach(w->consumer[g]);
  if (result == 0)
    ringbus_ring_close(w->ring);
  alarm(0); /* stepping takes its time on a machine that has much to do */
  return fine;
}

/* ---------------------------------------------------------------- stepping */

/* Has anything changed since the last instruction? */
static bool changed(void) {
  static struct promise last;
  bool file = harness_file_changed();
  if (memcmp(&last, &harness.control->promise, sizeof last) == 0)
    return file;
  last = harness.control->promise;
  return true;
}

static void judge_state(void) {
  bool fine;
  harness.states++;
  if (harness.full) {
    fine = survive(harness.control, PRODUCER_FIRST) && survive(harness.control, GROUPS_FIRST);
  } else {
    fine = survive(harness.control, harness.states % 2 ? PRODUCER_FIRST : GROUPS_FIRST);
  }
  if (fine) {
    /* Where being lapped is within the promise, let it happen. */
    const struct promise *p = &harness.control->promise;
    if (p->groups[0].lapped && p->drops)
      survive(harness.control, LAP_BEFORE_GROUPS);
  }
}

static void step_creation(const struct layout *layout) {
  static const struct scenario creation = {
      .name = "create", .prepare = prepare_nothing, .region = region_create};
  static const struct ringbus_open_options only_look = {.read_only = true};
  harness.bad_here = 0;
  harness_ring(layout, smallest_ring(RINGBUS_HOLD));
  harness_reset();
  bool exists = false;
  if (actor_start(&creation)) {
    while (!harness.control->region_ended && actor_step()) {
      ringbus_ring *ring;
      int result = ringbus_ring_open(harness.new_path, &only_look, &ring);
      if (result == 0)
        ringbus_ring_close(ring);
      else if (result != -ENOENT || exists)
        harness_bad("ring_open: %s: %s", ringbus_strerror(result), ringbus_error_detail());
      exists = exists || result == 0;
    }
    harness.states += 2; /* no file, a whole file */
    if (!exists)
      harness_bad("the ring was not made");
    if (harness.actor)
      actor_kill();
  }
  unlink(harness.new_path);
  harness_drop();
}

static void step_scenario(const struct scenario *scenario) {
  harness.bad_here = 0;
  harness_reset();
  if (!actor_start(scenario))
    return;
  changed();
  judge_state();
  while (!harness.control->region_ended && actor_step())
    if (changed())
      judge_state();
  if (harness.actor)
    actor_kill();
}

static bool start_again(const void *scenario) { return actor_start(scenario); }

static void judge_killed(uint64_t number) {
  survive(harness.control, number % 2 ? PRODUCER_FIRST : GROUPS_FIRST);
}

int main(int argc, char **argv) {
  harness_begin(argc, argv, 0);
  size_t most = harness.full || *harness.only_layout ? layout_count : harness.sigkill ? 1 : 6;
  for (size_t l = 0; l < most; l++)
    for (int no_group = RINGBUS_HOLD; no_group <= RINGBUS_DROP; no_group++) {
      bool open = false;
      for (size_t s = 0; s < sizeof scenarios / sizeof scenarios[0]; s++) {
        if (scenarios[s].no_group != (enum ringbus_no_group)no_group ||
            !harness_wants(scenarios[s].name, &layouts[l]))
          continue;
        if (!open) {
          harness_ring(&layouts[l], smallest_ring((enum ringbus_no_group)no_group));
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
    return harness_end("true SIGKILLs, one producer", "killed, each at another instruction");
  if (harness_wants("create", &layouts[0]))
    step_creation(&layouts[0]);
  return harness_end("kill points, one producer", "distinct states judged");
}
