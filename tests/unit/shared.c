/* SPDX-License-Identifier: MIT */
/* shared.c - groups of several consumers, each message to one of them: who gets what, what is kept for
 * whom, and what becomes of messages whose member dies, leaves, or wants nothing twice. All in rings with
 * one and with many producers.
 *
 * From the table of bugs that such rings have had:
 *   "consumer killed between recycling and storing head: wedged", "killed between commit and wake": all
 *     instructions of taking, releasing and taking over are tried by the programs under tests/kill
 *   "a paused participant declared dead by timeout": a_stopped_member_keeps_what_it_has
 *   "a reused slot brings the dead predecessor's claim back to life": for a member's run that is as it
 *     should be, and only for a member of the same group: a_new_member_inherits_... */
#include "suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#define CAPACITY 4096u
#define AN_HOUR (INT64_C(3600) * 1000000000)

static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 960, (UINT64_C(1) << 63) - 2048,
                                  UINT64_MAX - 1023};
#define STARTS (sizeof starts / sizeof starts[0])

static ringbus_ring *ring;
static ringbus_producer *producer;
static uint64_t published;

static void make(struct ringbus_create_options options, uint64_t start) {
  if (ring) {
    ringbus_producer_detach(producer);
    cr_result(ringbus_ring_close(ring), 0);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
  options.capacity = CAPACITY;
  ring = test_ring_starting_at("ring", &options, start);
  producer = test_producer(ring);
  published = 0;
}

/* Rings differ from test to test in their start, and each is tried in both kinds. */
#define EACH_KIND(many, start)                                                                     \
  for (int many = 0; many < 2; many++)                                                             \
    for (size_t start = 0; start < STARTS; start++)

static void make_kind(int many, size_t start) {
  make((struct ringbus_create_options){.many_producers = many}, starts[start]);
}

static int join_result(struct ringbus_consumer_options options, ringbus_consumer **member) {
  options.shared = true;
  if (!options.group)
    options.group = "workers";
  return ringbus_consumer_attach(ring, &options, member);
}

static ringbus_consumer *join_as(struct ringbus_consumer_options options) {
  ringbus_consumer *member = NULL;
  cr_result(join_result(options, &member), 0);
  return member;
}

static ringbus_consumer *join(void) { return join_as((struct ringbus_consumer_options){0}); }

/* Message n: its number, and up to 100 bytes more. */
static size_t length_of(uint64_t number) { return 8 + number * 37 % 100; }

static int publish_one(void) {
  unsigned char bytes[128];
  memcpy(bytes, test_content(published), length_of(published));
  memcpy(bytes, &published, sizeof published);
  int result = ringbus_producer_send(producer, bytes, length_of(published), (uint32_t)published);
  published += result == 0;
  return result;
}

static void publish(uint64_t count) {
  while (count-- > 0)
    cr_result(publish_one(), 0);
}

static void fill(void) {
  int result;
  while ((result = publish_one()) == 0)
    ;
  cr_result(result, -EAGAIN);
}

static uint64_t number_of(const struct ringbus_message *message) {
  uint64_t number;
  memcpy(&number, message->data, sizeof number);
  cr_assert_eq(message->length, length_of(number));
  cr_assert_eq(message->tag, (uint32_t)number);
  cr_assert_arr_eq((const char *)message->data + 8, test_content(number) + 8, message->length - 8);
  return number;
}

/* Borrows so many, which must be those from there on. */
static void borrow(ringbus_consumer *member, uint64_t from, size_t count, bool redelivered) {
  struct ringbus_message messages[64];
  size_t got;
  cr_result(ringbus_consumer_borrow_batch(member, messages, count, &got), 0);
  cr_assert_eq(got, count);
  for (size_t i = 0; i < count; i++) {
    cr_assert_eq(number_of(&messages[i]), from + i, "%llu, not %llu",
                 (unsigned long long)number_of(&messages[i]), (unsigned long long)(from + i));
    cr_assert_eq(messages[i].redelivered, redelivered);
  }
}

static void release(ringbus_consumer *member) { cr_result(ringbus_consumer_release(member), 0); }

static void expect_nothing(ringbus_consumer *member) {
  struct ringbus_message message;
  cr_result(ringbus_consumer_borrow(member, &message), -EAGAIN);
}

static void leave(ringbus_consumer *member) { cr_result(ringbus_consumer_detach(member), 0); }

static struct ringbus_group_info group_named(const char *name) {
  struct ringbus_group_info info;
  for (uint32_t index = 0; index < 16; index++)
    if (ringbus_ring_group(ring, index, &info) == 0 && strcmp(info.name, name) == 0)
      return info;
  cr_assert_fail("no group %s", name);
  return info;
}

/* ---------------------------------------------------------------- members that die */

struct dying {
  size_t takes;
  bool at_most_once, stays, waits;
  const char *name;
};

static int take_and_die(struct test_child *self, void *context) {
  const struct dying *dying = context;
  struct ringbus_consumer_options options = {
      .group = "workers", .shared = true, .at_most_once = dying->at_most_once, .name = dying->name};
  struct ringbus_message messages[64];
  ringbus_consumer *member;
  size_t got = 0;
  REQUIRE_RESULT(ringbus_consumer_attach(test_open("ring"), &options, &member), 0);
  if (dying->waits)
    REQUIRE_RESULT(ringbus_consumer_wait(member, RINGBUS_FOREVER), 0);
  if (dying->takes)
    REQUIRE_RESULT(ringbus_consumer_borrow_batch(member, messages, dying->takes, &got), 0);
  REQUIRE(got == dying->takes);
  test_child_say(self, 't');
  if (dying->stays && test_child_hear(self) == 'r') {
    REQUIRE_RESULT(ringbus_consumer_release(member), 0);
    test_child_say(self, 'd');
    test_child_hear(self);
  }
  raise(SIGKILL);
  return 1;
}

static struct test_child somebody_takes(size_t count) {
  struct dying dying = {.takes = count, .stays = true};
  struct test_child child = test_child_start(take_and_die, &dying);
  cr_assert_eq(test_child_hear(&child), 't');
  return child;
}

static void somebody_dies_with(size_t count, bool at_most_once) {
  struct dying dying = {.takes = count, .at_most_once = at_most_once};
  struct test_child child = test_child_start(take_and_die, &dying);
  cr_assert_eq(test_child_status(&child), -SIGKILL);
}

/* ---------------------------------------------------------------- each message to one member */

Test(shared, each_message_goes_to_one_member_and_each_member_has_them_in_order) {
  EACH_KIND(many, start) {
    ringbus_consumer *members[5];
    uint64_t last[5] = {0}, taken = 0, random = start;
    make_kind(many, start);
    for (int i = 0; i < 5; i++)
      members[i] = join();
    for (int round = 0; round < 5000; round++) {
      uint64_t which = test_random(&random) % 5;
      unsigned char buffer[128];
      struct ringbus_message message;
      if (test_random(&random) % 2)
        publish_one();
      int result = ringbus_consumer_recv(members[which], buffer, sizeof buffer, &message);
      cr_result(result, taken == published ? -EAGAIN : 0);
      if (result != 0)
        continue;
      cr_assert_eq(number_of(&message), taken); /* nothing is left out, nothing comes twice */
      cr_assert(!message.redelivered && message.data == buffer);
      taken++;
      cr_assert(last[which] < taken);
      last[which] = taken;
    }
    for (int i = 0; i < 5; i++)
      leave(members[i]);
  }
}

Test(shared, a_run_goes_to_one_member_and_the_next_begins_behind_it) {
  EACH_KIND(many, start) {
    ringbus_consumer *first, *second, *third;
    make_kind(many, start);
    first = join();
    second = join();
    third = join();
    for (int lap = 0; lap < 50; lap++) {
      uint64_t from = published;
      publish(10);
      borrow(first, from, 4, false);
      borrow(second, from + 4, 1, false);
      borrow(third, from + 5, 3, false);
      release(second);
      borrow(second, from + 8, 2, false);
      release(second); /* in any order */
      release(third);
      release(first);
    }
    leave(first);
    leave(second);
    leave(third);
  }
}

Test(shared, a_batch_is_what_there_is_up_to_the_most) {
  struct ringbus_message messages[4];
  size_t count = 99;
  make_kind(1, 0);
  ringbus_consumer *member = join();
  cr_result(ringbus_consumer_borrow_batch(member, messages, 4, &count), -EAGAIN);
  cr_assert_eq(count, 0);
  count = 99;
  cr_result(ringbus_consumer_borrow_batch(member, messages, 0, &count), -EINVAL);
  cr_assert_eq(count, 0);
  publish(3);
  cr_result(ringbus_consumer_borrow_batch(member, messages, 4, &count), 0);
  cr_assert_eq(count, 3);
}

Test(shared, a_second_borrow_without_release_is_refused) {
  EACH_KIND(many, start) {
    struct ringbus_message messages[4];
    unsigned char buffer[128];
    size_t count = 99;
    make_kind(many, start);
    ringbus_consumer *member = join();
    publish(5);
    borrow(member, 0, 2, false);
    cr_result(ringbus_consumer_borrow(member, messages), -EBUSY);
    cr_result(ringbus_consumer_borrow_batch(member, messages, 4, &count), -EBUSY);
    cr_assert_eq(count, 0);
    cr_result(ringbus_consumer_wait(member, 0), 0); /* it is not room that is missing */
    cr_result(ringbus_consumer_recv(member, buffer, sizeof buffer, messages), 0); /* releases */
    cr_assert_eq(number_of(messages), 2);
    borrow(member, 3, 1, false);
    release(member);
    release(member); /* of nothing */
    borrow(member, 4, 1, false);
    leave(member);
  }
}

Test(shared, recv_into_too_small_a_buffer_consumes_nothing) {
  EACH_KIND(many, start) {
    unsigned char buffer[128];
    struct ringbus_message message;
    make_kind(many, start);
    ringbus_consumer *first = join(), *second = join();
    publish(3);
    for (int i = 0; i < 3; i++) {
      memset(&message, 0, sizeof message);
      cr_result(ringbus_consumer_recv(first, buffer, 7, &message), -EMSGSIZE);
      cr_assert_eq(message.length, length_of(0));
    }
    cr_result(ringbus_consumer_recv(second, buffer, sizeof buffer, &message), 0);
    cr_assert_eq(number_of(&message), 1); /* the first has it, though not in its hands */
    cr_result(ringbus_consumer_recv(first, buffer, sizeof buffer, &message), 0);
    cr_assert_eq(number_of(&message), 0);
    cr_result(ringbus_consumer_recv(first, NULL, 0, NULL), -EMSGSIZE);
    borrow(first, 2, 1, false); /* what recv could not deliver */
    leave(first);
    leave(second);
  }
}

Test(shared, other_groups_have_every_message) {
  EACH_KIND(many, start) {
    make_kind(many, start);
    ringbus_consumer *first = join(), *second = join(), *own = test_consumer(ring, "alone");
    ringbus_consumer *other = join_as((struct ringbus_consumer_options){.group = "others"});
    ringbus_observer *observer = test_observer(ring);
    unsigned char buffer[128];
    struct ringbus_message message;
    for (int lap = 0; lap < 100; lap++) {
      uint64_t from = published;
      publish(4);
      borrow(first, from, 2, false);
      borrow(second, from + 2, 2, false);
      borrow(other, from, 4, false);
      for (uint64_t i = 0; i < 4; i++) {
        cr_result(ringbus_consumer_recv(own, buffer, sizeof buffer, &message), 0);
        cr_assert_eq(number_of(&message), from + i);
        cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), 0);
        cr_assert_eq(number_of(&message), from + i);
      }
      release(first);
      release(second);
      release(other);
    }
    leave(first);
    leave(second);
    leave(own);
    leave(other);
    ringbus_observer_detach(observer);
  }
}

/* ---------------------------------------------------------------- what is waited for */

Test(shared, the_oldest_run_keeps_its_room_whatever_the_others_release) {
  EACH_KIND(many, start) {
    struct ringbus_blame blame;
    struct ringbus_message message;
    make_kind(many, start);
    ringbus_consumer *slow = join_as((struct ringbus_consumer_options){.name = "the slow one"});
    ringbus_consumer *fast = join();
    publish(1);
    cr_result(ringbus_consumer_borrow(slow, &message), 0);
    fill();
    for (uint64_t number = 1; number < published; number++) {
      borrow(fast, number, 1, false);
      release(fast);
      cr_result(publish_one(), -EAGAIN);
    }
    cr_result(ringbus_producer_wait(producer, length_of(published), 1, 0), -ETIMEDOUT);
    cr_result(ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame), 0);
    cr_assert_str_eq(blame.group, "workers");
    cr_assert_str_eq(blame.participant.name, "the slow one");
    cr_assert_eq(blame.position, message.position);
    cr_assert_eq(number_of(&message), 0);
    release(slow);
    cr_result(publish_one(), 0);
    fill();
    leave(slow);
    leave(fast);
  }
}

Test(shared, a_group_without_members_is_waited_for_and_goes_on_where_it_stood) {
  EACH_KIND(many, start) {
    make_kind(many, start);
    ringbus_consumer *member = join();
    publish(3);
    borrow(member, 0, 2, false);
    release(member);
    leave(member);
    cr_assert(group_named("workers").gating && !group_named("workers").attached);
    fill();
    cr_assert_eq(group_named("workers").lag_messages, published - 2);
    member = join();
    borrow(member, 2, 1, false);
    release(member);
    leave(member);
  }
}

Test(shared, given_up_records_are_passed_over_by_whoever_takes) {
  for (size_t start = 0; start < STARTS; start++) {
    void *data;
    ringbus_producer *second;
    make_kind(1, start);
    second = test_producer(ring);
    ringbus_consumer *member = join(), *other = join();
    for (int round = 0; round < 300; round++) {
      uint64_t from = published;
      for (int i = 0; i < 3; i++) {
        cr_result(ringbus_producer_claim(second, 100, 0, &data), 0);
        cr_result(ringbus_producer_abort(second), 0);
        if (i != round % 3)
          publish(1);
      }
      if (round % 2) {
        borrow(member, from, 1, false);
        borrow(other, from + 1, 1, false);
        release(other);
      } else {
        borrow(member, from, 2, false);
      }
      release(member);
      expect_nothing(other); /* and what was given up at the end holds nobody back */
      cr_assert_eq(group_named("workers").lag_messages, 0);
    }
    for (int i = 0; i < 1000; i++) { /* nothing but such */
      cr_result(ringbus_producer_claim(second, (size_t)i, 0, &data), 0);
      cr_result(ringbus_producer_abort(second), 0);
      expect_nothing(i % 2 ? member : other);
    }
    leave(member);
    leave(other);
    ringbus_producer_detach(second);
  }
}

Test(shared, messages_behind_an_open_claim_are_not_taken) {
  ringbus_producer *second;
  struct ringbus_message message;
  void *data;
  make_kind(1, 3);
  second = test_producer(ring);
  ringbus_consumer *member = join();
  publish(1);
  cr_result(ringbus_producer_claim(second, 8, 7, &data), 0);
  publish(2);
  borrow(member, 0, 1, false);
  release(member);
  expect_nothing(member);
  cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
  cr_result(ringbus_producer_commit(second, 0), 0);
  cr_result(ringbus_consumer_borrow(member, &message), 0);
  cr_assert(message.tag == 7 && message.length == 0);
  release(member);
  borrow(member, 1, 2, false);
}

/* ---------------------------------------------------------------- delivered again */

Test(shared, what_a_dead_member_had_is_delivered_again_once_and_says_so) {
  EACH_KIND(many, start) {
    make_kind(many, start);
    ringbus_consumer *member = join(), *other = join();
    for (int round = 0; round < 5; round++) {
      uint64_t from = published;
      publish(6);
      somebody_dies_with(3, false);
      borrow(member, from + 3, 1, false);
      release(member);
      cr_result(ringbus_consumer_wait(other, RINGBUS_FOREVER), 0);
      borrow(other, from, 3, true);
      borrow(member, from + 4, 2, false);
      release(member);
      cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
      release(other);
      cr_assert_eq(group_named("workers").redelivered, (uint64_t)round + 1);
    }
    leave(member);
    leave(other);
  }
}

Test(shared, whoever_only_polls_takes_over_too, .timeout = 60) {
  for (int how = 0; how < 3; how++)
    EACH_KIND(many, start) {
      struct ringbus_message messages[4];
      unsigned char buffer[128];
      size_t count;
      int result;
      make_kind(many, start);
      ringbus_consumer *member = join();
      publish(2);
      somebody_dies_with(2, false);
      do
        result = how == 0   ? ringbus_consumer_borrow(member, messages)
                 : how == 1 ? ringbus_consumer_borrow_batch(member, messages, 4, &count)
                            : ringbus_consumer_recv(member, buffer, sizeof buffer, messages);
      while (result == -EAGAIN);
      cr_result(result, 0);
      cr_assert(number_of(messages) == 0 && messages[0].redelivered);
      leave(member);
    }
}

/* The ring fills up behind what the dead one had; nobody waits, and yet it goes on. */
Test(shared, a_ring_of_pollers_does_not_stand_still_behind_the_dead, .timeout = 60) {
  EACH_KIND(many, start) {
    struct ringbus_message message;
    uint64_t got = 0, again = 0;
    make_kind(many, start);
    ringbus_consumer *member = join();
    publish(1);
    somebody_dies_with(1, false);
    while (got + again < 500) {
      publish_one();
      if (ringbus_consumer_borrow(member, &message) == 0) {
        got += !message.redelivered;
        again += message.redelivered;
        release(member);
      }
    }
    cr_assert_eq(again, 1);
    leave(member);
  }
}

Test(shared, what_a_member_that_leaves_had_is_delivered_again) {
  EACH_KIND(many, start) {
    make_kind(many, start);
    ringbus_consumer *leaves = join(), *stays = join();
    publish(5);
    borrow(leaves, 0, 3, false);
    leave(leaves);
    borrow(stays, 3, 2, false);
    release(stays);
    cr_result(ringbus_consumer_wait(stays, RINGBUS_FOREVER), 0);
    borrow(stays, 0, 3, true);
    release(stays);
    expect_nothing(stays);
    leave(stays);
  }
}

/* The first of a run taken over may be released by itself. */
Test(shared, a_run_taken_over_can_be_released_in_parts_and_the_rest_comes_again) {
  EACH_KIND(many, start) {
    uint64_t position, count;
    make_kind(many, start);
    ringbus_consumer *second = join();
    publish(6);
    somebody_dies_with(5, false);
    cr_result(ringbus_consumer_wait(second, RINGBUS_FOREVER), 0);
    borrow(second, 0, 1, true);
    cr_result(ringbus_consumer_tell(second, NULL, &count), 0);
    cr_assert_eq(count, 1);
    borrow(second, 1, 1, true); /* more of the same run */
    release(second);
    cr_result(ringbus_consumer_tell(second, &position, &count), 0);
    cr_assert_eq(count, 2);
    cr_assert_eq(group_named("workers").cursor, position);
    cr_assert_eq(group_named("workers").cursor_count, 2);
    borrow(second, 2, 1, true);
    leave(second);
    ringbus_consumer *third = join();
    cr_result(ringbus_consumer_wait(third, RINGBUS_FOREVER), 0);
    borrow(third, 2, 3, true);
    release(third);
    borrow(third, 5, 1, false);
    release(third);
    expect_nothing(third);
    leave(third);
  }
}

Test(shared, whoever_takes_over_may_die_too) {
  EACH_KIND(many, start) {
    struct dying dying = {.takes = 4, .waits = true};
    make_kind(many, start);
    ringbus_consumer *member = join();
    publish(4);
    for (int i = 0; i < 5; i++) {
      struct test_child child = test_child_start(take_and_die, &dying);
      cr_assert_eq(test_child_status(&child), -SIGKILL);
    }
    cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), 0);
    borrow(member, 0, 4, true);
    release(member);
    expect_nothing(member);
    cr_assert_eq(group_named("workers").redelivered, 5);
    leave(member);
  }
}

Test(shared, a_stopped_member_keeps_what_it_has) {
  EACH_KIND(many, start) {
    make_kind(many, start);
    ringbus_consumer *member = join();
    publish(2);
    struct test_child child = somebody_takes(2);
    kill(child.pid, SIGSTOP);
    cr_result(ringbus_consumer_wait(member, 5000000), -ETIMEDOUT);
    for (int i = 0; i < 5000; i++)
      expect_nothing(member);
    cr_result(ringbus_ring_repair(ring, NULL), 0);
    cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
    kill(child.pid, SIGCONT);
    test_child_say(&child, 'r');
    cr_assert_eq(test_child_hear(&child), 'd');
    test_child_kill(&child);
    cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT); /* it was released */
    cr_assert_eq(group_named("workers").redelivered, 0);
    leave(member);
  }
}

/* ---------------------------------------------------------------- at most once */

/* Who finds out that the dead one's messages are nobody's any more. */
Test(shared, what_a_dead_member_had_that_wants_nothing_twice_is_lost_and_its_room_is_not) {
  for (int who = 0; who < 4; who++)
    EACH_KIND(many, start) {
      make_kind(many, start);
      ringbus_consumer *member = join(), *late = NULL;
      publish(2);
      somebody_dies_with(2, true);
      fill();
      for (uint64_t number = 2; number < published; number++) {
        borrow(member, number, 1, false);
        release(member);
      }
      cr_result(publish_one(), -EAGAIN);
      switch (who) {
      case 0:
        cr_result(ringbus_producer_wait(producer, length_of(published), 1, 0), 0);
        break;
      case 1:
        cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
        break;
      case 2:
        cr_result(ringbus_ring_repair(ring, NULL), 0);
        break;
      default:
        late = join();
      }
      cr_result(publish_one(), 0);
      borrow(member, published - 1, 1, false);
      release(member);
      cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
      cr_assert_eq(group_named("workers").redelivered, 0);
      leave(member);
      ringbus_consumer_detach(late);
    }
}

Test(shared, each_member_says_for_itself_whether_it_wants_something_twice) {
  EACH_KIND(many, start) {
    make_kind(many, start);
    ringbus_consumer *member = join_as((struct ringbus_consumer_options){.at_most_once = true});
    publish(6);
    somebody_dies_with(2, false);
    somebody_dies_with(2, true);
    cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), 0);
    borrow(member, 0, 2, true); /* the other one would have had it again */
    leave(member);              /* but of this one it is lost */
    member = join();
    borrow(member, 4, 2, false);
    release(member);
    cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
    cr_assert_eq(group_named("workers").lag_messages, 0);
    leave(member);
  }
}

/* ---------------------------------------------------------------- slots full of the dead */

Test(shared, a_new_member_inherits_when_all_slots_are_taken_by_the_dead) {
  EACH_KIND(many, start) {
    ringbus_consumer *member = NULL, *alone = NULL;
    struct ringbus_consumer_options not_shared = {.group = "alone"};
    make((struct ringbus_create_options){.many_producers = many, .max_participants = 4},
         starts[start]);
    leave(join()); /* the group is there */
    publish(7);
    for (int i = 0; i < 3; i++) {
      /* Each begins in a slot of its own, as long as there is one. */
      struct dying dying = {.takes = 2};
      struct test_child child = test_child_start(take_and_die, &dying);
      cr_assert_eq(test_child_status(&child), -SIGKILL);
    }
    cr_result(ringbus_consumer_attach(ring, &not_shared, &alone), -ENOSPC);
    cr_assert(strstr(ringbus_error_detail(), "shared group"), "%s", ringbus_error_detail());
    if (many)
      cr_result(ringbus_producer_attach(ring, NULL, &(ringbus_producer *){NULL}), -ENOSPC);
    cr_result(join_result((struct ringbus_consumer_options){.group = "other"}, &member), -ENOSPC);
    uint64_t again = 0, seen = 0;
    member = join();
    for (int i = 0; i < 3; i++) {
      struct ringbus_message messages[4];
      size_t count;
      if (i > 0)
        cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), 0);
      cr_result(ringbus_consumer_borrow_batch(member, messages, 4, &count), 0);
      cr_assert_eq(count, 2);
      cr_assert(messages[0].redelivered);
      for (size_t k = 0; k < count; k++)
        seen |= UINT64_C(1) << number_of(&messages[k]);
      again += count;
      release(member);
    }
    cr_assert(again == 6 && seen == 63);
    borrow(member, 6, 1, false);
    cr_result(ringbus_consumer_attach(ring, &not_shared, &alone), 0);
    leave(alone);
    leave(member);
  }
}

Test(shared, slots_of_the_dead_who_wanted_nothing_twice_are_free_after_a_repair) {
  ringbus_consumer *alone = NULL;
  make((struct ringbus_create_options){.many_producers = true, .max_participants = 3}, starts[1]);
  leave(join());
  publish(2);
  somebody_dies_with(1, true);
  somebody_dies_with(1, true);
  cr_result(ringbus_ring_repair(ring, NULL), 0);
  cr_result(ringbus_consumer_attach(ring, NULL, &alone), 0);
  leave(alone);
}

/* ---------------------------------------------------------------- joining */

Test(shared, what_a_shared_group_cannot_be_is_refused_and_explained) {
  ringbus_consumer *member = NULL;
  struct ringbus_consumer_options nameless = {.shared = true};
  struct ringbus_consumer_options alone = {.group = "workers"};
  make_kind(1, 0);
  cr_result(ringbus_consumer_attach(ring, &nameless, &member), -EINVAL);
  cr_assert_str_not_empty(ringbus_error_detail());
  cr_result(join_result((struct ringbus_consumer_options){.policy = RINGBUS_LAPPED}, &member),
            -EINVAL);
  cr_result(join_result((struct ringbus_consumer_options){.policy = RINGBUS_GATE_WHILE_ATTACHED},
                        &member),
            -EINVAL);
  cr_result(join_result((struct ringbus_consumer_options){.max_lag = 1024}, &member), -EINVAL);
  cr_assert_null(member);
  cr_result(ringbus_consumer_attach(ring, &alone, &member), 0);
  cr_result(join_result((struct ringbus_consumer_options){0}, &(ringbus_consumer *){NULL}),
            -EINVAL);
  leave(member);
  cr_result(join_result((struct ringbus_consumer_options){0}, &member), -EINVAL);
  cr_result(ringbus_ring_remove_group(ring, "workers"), 0);
  member = join();
  cr_result(ringbus_consumer_attach(ring, &alone, &(ringbus_consumer *){NULL}), -EINVAL);
  cr_assert_str_not_empty(ringbus_error_detail());
  for (int from = RINGBUS_OLDEST; from <= RINGBUS_POSITION; from++) {
    cr_result(join_result((struct ringbus_consumer_options){.start = (enum ringbus_start)from},
                          &(ringbus_consumer *){NULL}),
              -EINVAL);
    cr_result(ringbus_consumer_seek(member, (enum ringbus_start)from, 0), -EINVAL);
  }
  cr_assert_eq(group_named("workers").members, 1);
  publish(1);
  borrow(member, 0, 1, false);
  cr_result(ringbus_consumer_still_valid(member), 0);
  leave(member);
  make((struct ringbus_create_options){.many_producers = true, .overwrite = true}, 0);
  cr_result(join_result((struct ringbus_consumer_options){0}, &member), -EINVAL);
}

Test(shared, a_new_group_begins_where_its_first_member_says) {
  EACH_KIND(many, start) {
    struct ringbus_message message = {0};
    ringbus_observer *observer;
    uint64_t position = 0, count;
    make_kind(many, start);
    observer = test_observer(ring);
    publish(10);
    for (int i = 0; i < 4; i++)
      cr_result(ringbus_observer_recv(observer, (char[128]){0}, 128, &message), 0);
    ringbus_consumer *oldest =
        join_as((struct ringbus_consumer_options){.group = "oldest", .start = RINGBUS_OLDEST});
    ringbus_consumer *newest =
        join_as((struct ringbus_consumer_options){.group = "newest", .start = RINGBUS_NEWEST});
    ringbus_consumer *at = join_as((struct ringbus_consumer_options){
        .group = "at", .start = RINGBUS_POSITION, .position = message.position});
    ringbus_consumer *none = NULL;
    cr_result(join_result((struct ringbus_consumer_options){.group = "none",
                                                            .start = RINGBUS_POSITION,
                                                            .position = message.position + 8},
                          &none),
              -EINVAL);
    for (uint32_t index = 0; index < 16; index++) {
      struct ringbus_group_info info;
      cr_assert(ringbus_ring_group(ring, index, &info) != 0 || strcmp(info.name, "none") != 0);
    }
    borrow(oldest, 0, 10, false);
    expect_nothing(newest);
    cr_result(ringbus_consumer_tell(newest, NULL, &count), 0);
    cr_assert_eq(count, 10);
    cr_result(ringbus_consumer_tell(at, &position, &count), 0);
    cr_assert(position == message.position && count == 3);
    borrow(at, 3, 7, false);
    publish(1);
    borrow(newest, 10, 1, false);
    leave(oldest);
    leave(newest);
    leave(at);
    ringbus_observer_detach(observer);
  }
}

Test(shared, what_is_told_about_a_group) {
  EACH_KIND(many, start) {
    struct ringbus_group_info info;
    struct ringbus_participant participant;
    uint64_t first_bytes = 0;
    make_kind(many, start);
    ringbus_consumer *first = join(), *second = join();
    struct test_child child = somebody_takes(0);
    info = group_named("workers");
    cr_assert(info.shared && info.durable && info.attached && info.gating);
    cr_assert(info.members == 3 && info.slot == 0 && info.policy == RINGBUS_GATE);
    test_child_kill(&child);
    cr_assert_eq(group_named("workers").members, 2);
    for (uint32_t slot = many ? 2 : 2; slot <= 3; slot++) {
      cr_result(ringbus_ring_participant(ring, slot, &participant), 0);
      cr_assert_str_eq(participant.group, "workers");
      cr_assert(participant.alive && participant.role == RINGBUS_CONSUMER);
    }
    publish(10);
    cr_assert_eq(group_named("workers").lag_messages, 10);
    borrow(first, 0, 3, false);
    borrow(second, 3, 4, false);
    cr_assert_eq(group_named("workers").lag_messages, 10); /* nothing was released */
    first_bytes = group_named("workers").lag_bytes;
    release(second);
    cr_assert_eq(group_named("workers").lag_messages, 10); /* the oldest is what counts */
    cr_assert_eq(group_named("workers").lag_bytes, first_bytes);
    release(first);
    info = group_named("workers");
    cr_assert(info.lag_messages == 3 && info.cursor_count == 7);
    leave(first);
    leave(second);
    info = group_named("workers");
    cr_assert(!info.attached && info.members == 0 && info.redelivered == 0);
    cr_assert(info.lost_messages == 0 && info.lost_bytes == 0);
  }
}

Test(shared, a_group_can_be_removed_when_no_member_lives) {
  EACH_KIND(many, start) {
    make_kind(many, start);
    ringbus_consumer *member = join();
    publish(3);
    somebody_dies_with(2, false);
    cr_result(ringbus_ring_remove_group(ring, "workers"), -EBUSY);
    cr_assert(strstr(ringbus_error_detail(), "1"), "%s", ringbus_error_detail());
    borrow(member, 2, 1, false);
    leave(member);
    cr_result(ringbus_ring_remove_group(ring, "workers"), 0);
    cr_result(ringbus_ring_remove_group(ring, "workers"), -ENOENT);
    member = join(); /* another group of that name: nothing is handed down to it */
    cr_assert_eq(group_named("workers").redelivered, 0);
    borrow(member, 0, 3, false); /* the oldest: nothing has been overwritten yet */
    release(member);
    cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
    leave(member);
  }
}

/* Nor are there any traces in the slots. */
Test(shared, runs_of_a_removed_group_hold_neither_slots_nor_room) {
  for (int many = 0; many < 2; many++) {
    make((struct ringbus_create_options){.many_producers = many,
                                         .max_participants = 3,
                                         .no_group = RINGBUS_DROP},
         starts[2]);
    leave(join());
    publish(2);
    somebody_dies_with(1, false);
    somebody_dies_with(1, false);
    cr_result(ringbus_consumer_attach(ring, NULL, &(ringbus_consumer *){NULL}), -ENOSPC);
    cr_result(ringbus_ring_remove_group(ring, "workers"), 0);
    ringbus_consumer *alone = test_consumer(ring, NULL), *other = test_consumer(ring, NULL);
    leave(alone);
    leave(other);
    for (int i = 0; i < 1000; i++)
      publish(1);
  }
}

/* ---------------------------------------------------------------- the end of the stream */

Test(shared, the_stream_ends_when_nobody_holds_a_run) {
  EACH_KIND(many, start) {
    struct ringbus_message message;
    make_kind(many, start);
    ringbus_consumer *holder = join(), *other = join();
    publish(2);
    borrow(holder, 0, 1, false);
    cr_result(ringbus_producer_finish(producer), 0);
    borrow(other, 1, 1, false);
    release(other);
    expect_nothing(other);
    cr_result(ringbus_consumer_recv(other, NULL, 0, NULL), -EAGAIN);
    cr_result(ringbus_consumer_wait(other, 0), -ETIMEDOUT);
    release(holder);
    for (int i = 0; i < 2; i++) {
      ringbus_consumer *member = i ? holder : other;
      cr_result(ringbus_consumer_borrow(member, &message), -EPIPE);
      cr_result(ringbus_consumer_recv(member, NULL, 0, NULL), -EPIPE);
      cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), -EPIPE);
      leave(member);
    }
  }
}

Test(shared, at_the_end_of_the_stream_what_the_dead_had_is_still_delivered) {
  EACH_KIND(many, start) {
    make_kind(many, start);
    ringbus_consumer *member = join();
    publish(2);
    struct test_child child = somebody_takes(2);
    cr_result(ringbus_producer_finish(producer), 0);
    cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
    test_child_kill(&child);
    cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), 0);
    borrow(member, 0, 2, true);
    release(member);
    cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), -EPIPE);
    leave(member);
  }
}

Test(shared, a_retired_ring_answers_so) {
  struct ringbus_message message;
  size_t count;
  make_kind(1, 0);
  ringbus_consumer *member = join();
  publish(2);
  borrow(member, 0, 1, false);
  cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  cr_result(ringbus_consumer_release(member), -ESTALE);
  cr_result(ringbus_consumer_borrow(member, &message), -ESTALE);
  cr_result(ringbus_consumer_borrow_batch(member, &message, 1, &count), -ESTALE);
  cr_result(ringbus_consumer_recv(member, NULL, 0, NULL), -ESTALE);
  cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), -ESTALE);
}

Test(shared, inherited_handles_answer_in_the_child_and_its_end_harms_nobody) {
  int status;
  make_kind(1, 0);
  ringbus_consumer *member = join(), *other = join();
  publish(1);
  borrow(member, 0, 1, false);
  pid_t pid = fork();
  if (pid == 0) {
    struct ringbus_message message;
    size_t count;
    REQUIRE_RESULT(ringbus_consumer_release(member), -ECHILD);
    REQUIRE_RESULT(ringbus_consumer_borrow(member, &message), -ECHILD);
    REQUIRE_RESULT(ringbus_consumer_borrow_batch(member, &message, 1, &count), -ECHILD);
    REQUIRE_RESULT(ringbus_consumer_recv(member, NULL, 0, NULL), -ECHILD);
    REQUIRE_RESULT(ringbus_consumer_wait(member, RINGBUS_FOREVER), -ECHILD);
    REQUIRE_RESULT(ringbus_consumer_tell(member, NULL, NULL), -ECHILD);
    REQUIRE_RESULT(ringbus_consumer_detach(member), -ECHILD);
    _exit(0);
  }
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert_eq(status, 0);
  cr_result(ringbus_consumer_wait(other, 0), -ETIMEDOUT);
  release(member);
}

/* ---------------------------------------------------------------- waiting */

static const enum ringbus_wake wakes[] = {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAKE_BY_FENCE,
                                          RINGBUS_WAKE_NEVER};

struct job {
  pthread_t thread;
  ringbus_consumer *member;
  int result;
};

static void *wait_in_thread(void *context) {
  struct job *job = context;
  job->result = ringbus_consumer_wait(job->member, RINGBUS_FOREVER);
  return NULL;
}

static void run(struct job *job) {
  REQUIRE(pthread_create(&job->thread, NULL, wait_in_thread, job) == 0);
  test_sleep_us(3000); /* any result is right, but the test is about the sleeper */
}

static int result_of(struct job *job) {
  REQUIRE(pthread_join(job->thread, NULL) == 0);
  return job->result;
}

/* They look only once an hour: what wakes them is the wake-up. */
static struct ringbus_consumer_options sleeper(bool end_without_producer) {
  return (struct ringbus_consumer_options){
      .wait = RINGBUS_WAIT_BLOCK, .look_ns = AN_HOUR, .end_without_producer = end_without_producer};
}

Test(shared, a_sleeping_member_wakes_for_a_message, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++)
    for (int many = 0; many < 2; many++) {
      make((struct ringbus_create_options){.many_producers = many, .wake = wakes[wake]}, starts[3]);
      struct job job = {.member = join_as(sleeper(false))};
      run(&job);
      publish(1);
      cr_result(result_of(&job), 0);
      borrow(job.member, 0, 1, false);
      leave(job.member);
    }
}

Test(shared, a_sleeping_member_wakes_for_what_another_leaves_behind, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++)
    for (int many = 0; many < 2; many++) {
      make((struct ringbus_create_options){.many_producers = many, .wake = wakes[wake]}, starts[3]);
      ringbus_consumer *leaves = join();
      struct job job = {.member = join_as(sleeper(false))};
      publish(1);
      borrow(leaves, 0, 1, false);
      run(&job);
      leave(leaves);
      cr_result(result_of(&job), 0);
      borrow(job.member, 0, 1, true);
      leave(job.member);
    }
}

Test(shared, a_sleeping_member_wakes_when_the_last_run_is_released_and_the_stream_has_ended,
     .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++)
    for (int many = 0; many < 2; many++)
      for (int gone = 0; gone < 2; gone++) {
        make((struct ringbus_create_options){.many_producers = many, .wake = wakes[wake]},
             starts[3]);
        ringbus_consumer *holder = join_as(sleeper(gone));
        struct job job = {.member = join_as(sleeper(gone))};
        publish(1);
        borrow(holder, 0, 1, false);
        if (gone) { /* no producer is left */
          cr_result(ringbus_producer_detach(producer), 0);
          producer = NULL;
        } else {
          cr_result(ringbus_producer_finish(producer), 0);
        }
        run(&job);
        release(holder);
        cr_result(result_of(&job), -EPIPE);
        leave(job.member);
        leave(holder);
      }
}

static void *wait_for_room(void *context) {
  struct job *job = context;
  job->result = ringbus_producer_wait(producer, CAPACITY - 16, 0, RINGBUS_FOREVER);
  return NULL;
}

/* Also when nobody else is there who would find out that what it had is nobody's any more. */
Test(shared, a_sleeping_producer_wakes_when_the_last_member_releases_or_leaves, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++)
    for (int many = 0; many < 2; many++)
      for (int leaves = 0; leaves < 2; leaves++) {
        struct ringbus_producer_options options = {.wait = RINGBUS_WAIT_BLOCK, .look_ns = AN_HOUR};
        struct job job;
        make((struct ringbus_create_options){.many_producers = many, .wake = wakes[wake]},
             starts[3]);
        cr_result(ringbus_producer_detach(producer), 0);
        cr_result(ringbus_producer_attach(ring, &options, &producer), 0);
        ringbus_consumer *member = join_as((struct ringbus_consumer_options){.at_most_once = true});
        publish(1);
        borrow(member, 0, 1, false);
        cr_result(ringbus_producer_wait(producer, CAPACITY - 16, 0, 0), -ETIMEDOUT);
        REQUIRE(pthread_create(&job.thread, NULL, wait_for_room, &job) == 0);
        test_sleep_us(3000);
        if (leaves)
          leave(member);
        else
          release(member);
        cr_result(result_of(&job), 0);
        if (!leaves)
          leave(member);
      }
}

Test(shared, hot_calls_leave_errno_alone) {
  struct ringbus_message message;
  struct flock lock = {.l_type = F_WRLCK,
                       .l_whence = SEEK_SET,
                       .l_start = offsetof(struct ringbus_header, join),
                       .l_len = 1};
  make_kind(1, 0);
  ringbus_consumer *member = join();
  publish(1);
  somebody_dies_with(1, false);
  int fd = open(test_path("ring"), O_RDWR | O_CLOEXEC); /* somebody is changing groups */
  cr_assert_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
  errno = 4711;
  for (int i = 0; i < 5000; i++)
    expect_nothing(member);
  cr_assert_eq(errno, 4711);
  close(fd);
  errno = 4711;
  while (ringbus_consumer_borrow(member, &message) == -EAGAIN)
    ;
  cr_assert(message.redelivered);
  cr_assert_eq(errno, 4711);
  leave(member);
}

/* ---------------------------------------------------------------- random operations */

#define MEMBERS 4
#define OPERATIONS 4000

struct member {
  ringbus_consumer *handle;
  uint64_t from, to, next; /* the run: released, ends, handed out; numbers */
  bool again;
};

static struct member members[MEMBERS];
static struct { uint64_t from, to; } left[64]; /* runs left behind */
static size_t left_count;
static uint64_t positions[OPERATIONS + 1], taken_, random_, times_again, times_full, step, seed;
static unsigned times_given[OPERATIONS], times_left[OPERATIONS];

#define AGREE(condition)                                                                           \
  cr_assert(condition, "seed %llu, step %llu: not so: %s", (unsigned long long)seed,               \
            (unsigned long long)step, #condition)

static uint64_t below(uint64_t limit) { return test_random(&random_) % limit; }

static uint64_t record_bytes(size_t length, uint32_t tag, int many) {
  uint64_t granule = many ? 64 : 8, bytes = length + (tag ? 4 : 0) + (many ? 0 : 8);
  return (bytes + granule - 1) / granule * granule;
}

static void publish_and_agree(int many) {
  uint64_t oldest = taken_;
  for (int i = 0; i < MEMBERS; i++)
    if (members[i].handle && members[i].from != members[i].to && members[i].from < oldest)
      oldest = members[i].from;
  for (size_t i = 0; i < left_count; i++)
    oldest = left[i].from < oldest ? left[i].from : oldest;
  uint64_t bytes = record_bytes(length_of(published), (uint32_t)published, many);
  bool fits = positions[published] - positions[oldest] + bytes + (many ? 0 : 8) <= CAPACITY;
  positions[published + 1] = positions[published] + bytes;
  int result = publish_one();
  AGREE(result == (fits ? 0 : -EAGAIN));
  times_full += !fits;
}

/* What a member was given first of a run: one that was left behind, or the next that nobody has had. */
static void begin(struct member *member, const struct ringbus_message *message, size_t count) {
  uint64_t number = number_of(message);
  member->again = message->redelivered;
  if (!message->redelivered) {
    AGREE(number == taken_);
    *member = (struct member){member->handle, number, number + count, number, false};
    taken_ += count;
    return;
  }
  times_again++;
  for (size_t i = 0; i < left_count; i++)
    if (left[i].from == number) {
      *member = (struct member){member->handle, number, left[i].to, number, true};
      left[i] = left[--left_count];
      return;
    }
  bool somebody_left_it = false;
  AGREE(somebody_left_it);
}

static void given(struct member *member, const struct ringbus_message *message) {
  AGREE(number_of(message) == member->next);
  AGREE(message->redelivered == member->again);
  times_given[member->next++]++;
}

static void borrow_some(struct member *member) {
  struct ringbus_message messages[8];
  size_t max = 1 + below(8), count = 99;
  bool in_hand = member->from != member->to;
  int result = ringbus_consumer_borrow_batch(member->handle, messages, max, &count);
  if (in_hand && member->next == member->to) {
    AGREE(result == -EBUSY && count == 0);
    return;
  }
  if (!in_hand && result == -EAGAIN) {
    AGREE(taken_ == published && count == 0);
    return;
  }
  AGREE(result == 0 && count > 0);
  if (!in_hand) {
    uint64_t there = published - taken_;
    bool again = messages[0].redelivered;
    AGREE(again || count == (there < max ? there : max));
    begin(member, &messages[0], count);
  }
  AGREE(count == (member->to - member->next < max ? member->to - member->next : max));
  for (size_t i = 0; i < count; i++)
    given(member, &messages[i]);
}

static void release_and_agree(struct member *member) {
  AGREE(ringbus_consumer_release(member->handle) == 0);
  member->from = member->next;
}

static void recv_one(struct member *member) {
  unsigned char bytes[128];
  struct ringbus_message message;
  int result = ringbus_consumer_recv(member->handle, bytes, sizeof bytes, &message);
  bool in_hand = member->next != member->to;
  if (!in_hand)
    member->from = member->to;
  if (!in_hand && result == -EAGAIN) {
    AGREE(taken_ == published);
    return;
  }
  AGREE(result == 0);
  if (!in_hand)
    begin(member, &message, 1);
  given(member, &message);
  member->from = member->next;
}

static void wait_and_agree(struct member *member) {
  int result = ringbus_consumer_wait(member->handle, 0);
  bool something = member->from != member->to || left_count > 0 || taken_ < published;
  AGREE(result == (something ? 0 : -ETIMEDOUT));
  if (result == 0 && member->from == member->to)
    borrow_some(member); /* it may have taken over what another left: its first message tells */
}

static void leave_and_agree(struct member *member) {
  AGREE(ringbus_consumer_detach(member->handle) == 0);
  member->handle = NULL;
  if (member->from == member->to)
    return;
  left[left_count].from = member->from;
  left[left_count++].to = member->to;
  for (uint64_t number = member->from; number < member->next; number++)
    times_left[number]++;
}

static void operate(int many, size_t start) {
  make((struct ringbus_create_options){.many_producers = many, .max_participants = MEMBERS + 3},
       starts[start]);
  leave(join());
  memset(members, 0, sizeof members);
  memset(times_given, 0, sizeof times_given);
  memset(times_left, 0, sizeof times_left);
  left_count = taken_ = 0;
  for (step = 0; step < OPERATIONS; step++) {
    struct member *member = &members[below(MEMBERS)];
    if (below(3) == 0 && published < OPERATIONS - 1) {
      publish_and_agree(many);
    } else if (!member->handle) {
      *member = (struct member){.handle = join()};
      borrow_some(member); /* it may have inherited */
    } else {
      switch (below(8)) {
      case 0:
        if (below(3) == 0)
          leave_and_agree(member);
        break;
      case 1:
        recv_one(member);
        break;
      case 2:
        wait_and_agree(member);
        break;
      case 3:
      case 4:
      case 5:
        release_and_agree(member);
        break;
      default:
        borrow_some(member);
      }
    }
  }
  for (int i = 1; i < MEMBERS; i++)
    if (members[i].handle)
      leave_and_agree(&members[i]);
  if (!members[0].handle)
    members[0] = (struct member){.handle = join()};
  while (members[0].from != members[0].to || left_count > 0 || taken_ < published) {
    borrow_some(&members[0]);
    release_and_agree(&members[0]);
    wait_and_agree(&members[0]);
  }
  for (uint64_t number = 0; number < published; number++)
    AGREE(times_given[number] >= 1 && times_given[number] <= 1 + times_left[number]);
  leave_and_agree(&members[0]);
}

/* Fixed seeds, so that a run can be repeated; $RINGBUS_TEST_SEED begins elsewhere. */
Test(shared, random_operations_agree_with_a_reference, .timeout = 300) {
  const char *chosen = getenv("RINGBUS_TEST_SEED");
  uint64_t first = chosen ? strtoull(chosen, NULL, 0) : 1, rounds = test_scaled(15, 500);
  for (seed = first; seed < first + rounds; seed++)
    EACH_KIND(many, start) {
      random_ = seed * 8 + start * 2 + (uint64_t)many;
      operate(many, start);
    }
  cr_assert_gt(times_again, rounds * 50);
  cr_assert_gt(times_full, rounds * 50);
}
