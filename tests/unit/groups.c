/* SPDX-License-Identifier: MIT */
/* groups.c - groups and their cursors: who is waited for, who is lapped and what that costs, where
 * readers begin, what is refused and in which words. Losses are exact, from the reference's log:
 * "count of lost messages wrong; a lapped reader reported corrupt" is a bug that other rings had. */
#include "suite.h"

#include <signal.h>

#define CAPACITY 4096u

/* Message n carries n, and 24 bytes more than that on even n: two sizes of record. */
static ringbus_ring *ring;
static ringbus_producer *producer;
static uint64_t published;

static void make(const struct ringbus_create_options *options) {
  ring = test_ring_starting_at("ring", options, test_starts[3]);
  producer = test_producer(ring);
  published = 0;
}

static size_t length_of(uint64_t number) { return number % 2 ? 8 : 32; }
static uint64_t bytes_of(uint64_t number) { return number % 2 ? 16 : 40; }

static int publish_one(void) {
  uint64_t message[4] = {published, ~published, published, published};
  int result = ringbus_producer_send(producer, message, length_of(published), 0);
  published += result == 0;
  return result;
}

static void publish(uint64_t count) {
  for (uint64_t i = 0; i < count; i++)
    cr_result(publish_one(), 0);
}

static uint64_t publish_until_full(void) {
  uint64_t count = 0;
  int result;
  while ((result = publish_one()) == 0 && count < 100000)
    count++;
  cr_result(result, -EAGAIN);
  return count;
}

static void expect(ringbus_consumer *consumer, uint64_t number) {
  uint64_t message[4] = {0};
  struct ringbus_message told;
  cr_result(ringbus_consumer_recv(consumer, message, sizeof message, &told), 0);
  cr_assert_eq(message[0], number, "got %llu, not %llu", (unsigned long long)message[0],
               (unsigned long long)number);
  cr_assert_eq(told.length, length_of(number));
}

static void expect_all(ringbus_consumer *consumer, uint64_t from, uint64_t to) {
  uint64_t message[4];
  for (uint64_t number = from; number < to; number++)
    expect(consumer, number);
  cr_result(ringbus_consumer_recv(consumer, message, sizeof message, NULL), -EAGAIN);
}

static ringbus_consumer *join(const char *group, enum ringbus_policy policy, uint64_t max_lag) {
  struct ringbus_consumer_options options = {.group = group, .policy = policy, .max_lag = max_lag};
  ringbus_consumer *consumer = NULL;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  return consumer;
}

static struct ringbus_group_info group_named(const char *name) {
  struct ringbus_ring_info ring_info;
  struct ringbus_group_info info;
  cr_result(ringbus_ring_info(ring, &ring_info), 0);
  for (uint32_t index = 0; index < ring_info.max_groups; index++)
    if (ringbus_ring_group(ring, index, &info) == 0 && strcmp(info.name, name) == 0)
      return info;
  cr_assert_fail("no group %s", name);
  return info;
}

static struct ringbus_ring_info info(void) {
  struct ringbus_ring_info now;
  cr_result(ringbus_ring_info(ring, &now), 0);
  return now;
}

/* A consumer in a process of its own, attached and then killed. */
struct joining {
  const char *group;
  enum ringbus_policy policy;
};

static int join_and_wait(struct test_child *self, void *context) {
  const struct joining *joining = context;
  struct ringbus_consumer_options options = {.group = joining->group, .policy = joining->policy};
  ringbus_consumer *consumer;
  REQUIRE_RESULT(ringbus_consumer_attach(test_open("ring"), &options, &consumer), 0);
  test_child_say(self, 'a');
  test_child_hear(self);
  return 0;
}

static void join_and_be_killed(const char *group, enum ringbus_policy policy) {
  struct joining joining = {group, policy};
  struct test_child child = test_child_start(join_and_wait, &joining);
  cr_assert_eq(test_child_hear(&child), 'a');
  test_child_kill(&child);
}

/* ---------------------------------------------------------------- gate */

Test(groups, gate_is_waited_for_also_while_nobody_is_attached) {
  ringbus_consumer *consumer;
  make(NULL);
  consumer = join("g", RINGBUS_GATE, 0);
  publish(10);
  expect_all(consumer, 0, 10);
  cr_result(ringbus_consumer_detach(consumer), 0);
  publish_until_full();
  cr_assert(group_named("g").gating && !group_named("g").attached);
  consumer = join("g", RINGBUS_GATE, 0);
  expect_all(consumer, 10, published);
  publish(1);
}

Test(groups, gate_is_waited_for_also_when_its_consumer_was_killed) {
  ringbus_consumer *consumer;
  uint64_t lost_messages, lost_bytes;
  make(NULL);
  join_and_be_killed("g", RINGBUS_GATE);
  publish_until_full();
  cr_result(ringbus_producer_wait(producer, 8, 0, 0), -ETIMEDOUT);
  cr_result(publish_one(), -EAGAIN);
  consumer = join("g", RINGBUS_GATE, 0);
  expect_all(consumer, 0, published);
  cr_result(ringbus_consumer_lost(consumer, &lost_messages, &lost_bytes), 0);
  cr_assert(lost_messages == 0 && lost_bytes == 0);
}

Test(groups, the_slowest_of_many_gates_counts) {
  ringbus_consumer *consumers[5];
  char name[16];
  uint64_t read[5] = {0}, random = 7, room_found = 0;
  make(NULL);
  for (int i = 0; i < 5; i++) {
    snprintf(name, sizeof name, "g%d", i);
    consumers[i] = join(name, RINGBUS_GATE, 0);
  }
  for (int round = 0; round < 20000; round++) {
    int which = (int)(test_random(&random) % 5);
    uint64_t slowest = read[0], used = 0;
    bool fits;
    for (int i = 1; i < 5; i++)
      slowest = read[i] < slowest ? read[i] : slowest;
    for (uint64_t number = slowest; number < published; number++)
      used += bytes_of(number);
    fits = used + bytes_of(published) + 8 <= CAPACITY;
    cr_result(publish_one(), fits ? 0 : -EAGAIN);
    room_found += fits;
    for (uint64_t n = test_random(&random) % 12; n && read[which] < published; n--)
      expect(consumers[which], read[which]++);
  }
  cr_assert(room_found > 1000 && room_found < 20000, "both answers came up");
}

/* ---------------------------------------------------------------- gate while attached */

Test(groups, gate_while_attached_is_lapped_when_nobody_is_attached_and_the_loss_is_exact) {
  ringbus_consumer *consumer;
  uint64_t messages, bytes, lost = 0, lost_bytes = 0;
  make(NULL);
  consumer = join("g", RINGBUS_GATE_WHILE_ATTACHED, 0);
  publish(50);
  for (uint64_t number = 0; number < 20; number++)
    expect(consumer, number);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_assert(!group_named("g").gating);
  publish(1000); /* several laps */
  consumer = join("g", RINGBUS_GATE_WHILE_ATTACHED, 0);
  cr_assert(group_named("g").gating);
  for (uint64_t number = 20; number < info().oldest_count; number++, lost++)
    lost_bytes += bytes_of(number);
  cr_assert(lost > 800);
  cr_result(ringbus_consumer_lost(consumer, &messages, &bytes), 0);
  cr_assert_eq(messages, lost);
  cr_assert_eq(bytes, lost_bytes);
  cr_assert_eq(group_named("g").lost_messages, lost);
  cr_assert_eq(group_named("g").lost_bytes, lost_bytes);
  expect_all(consumer, 20 + lost, published);
}

Test(groups, gate_while_attached_that_was_not_lapped_loses_nothing) {
  ringbus_consumer *consumer;
  uint64_t messages, bytes;
  make(NULL);
  consumer = join("g", RINGBUS_GATE_WHILE_ATTACHED, 0);
  publish(20);
  expect(consumer, 0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  publish(20);
  consumer = join("g", RINGBUS_GATE_WHILE_ATTACHED, 0);
  cr_result(ringbus_consumer_lost(consumer, &messages, &bytes), 0);
  cr_assert(messages == 0 && bytes == 0);
  expect_all(consumer, 1, 40);
}

Test(groups, gate_while_attached_holds_while_its_consumer_lives) {
  ringbus_consumer *consumer;
  make(NULL);
  consumer = join("g", RINGBUS_GATE_WHILE_ATTACHED, 0);
  publish_until_full();
  cr_result(ringbus_producer_wait(producer, 8, 0, 0), -ETIMEDOUT);
  expect_all(consumer, 0, published);
}

Test(groups, gate_while_attached_stops_gating_when_the_producer_finds_its_consumer_dead) {
  ringbus_consumer *consumer;
  uint64_t full;
  make(NULL);
  join_and_be_killed("g", RINGBUS_GATE_WHILE_ATTACHED);
  full = publish_until_full();
  cr_result(publish_one(), -EAGAIN); /* claim alone asks nobody who is alive */
  cr_result(ringbus_producer_wait(producer, 32, 0, RINGBUS_FOREVER), 0);
  publish(1000);
  consumer = join("g", RINGBUS_GATE, 0);
  cr_assert_eq(group_named("g").policy, RINGBUS_GATE_WHILE_ATTACHED,
               "an existing one keeps its own");
  cr_assert_gt(group_named("g").lost_messages, full);
  expect_all(consumer, info().oldest_count, published);
}

Test(groups, ephemeral_group_of_a_killed_consumer_stops_gating_and_is_forgotten) {
  ringbus_consumer *living;
  make(NULL);
  living = join("living", RINGBUS_GATE, 0);
  join_and_be_killed(NULL, RINGBUS_GATE);
  publish_until_full();
  expect_all(living, 0, published);
  cr_result(publish_one(), -EAGAIN);
  cr_result(ringbus_producer_wait(producer, 32, 0, RINGBUS_FOREVER), 0);
  publish(10);
  cr_assert_eq(info().groups, 1);
}

Test(groups, a_ring_that_drops_goes_on_when_its_only_ephemeral_consumer_was_killed) {
  struct ringbus_create_options options = {.capacity = CAPACITY, .no_group = RINGBUS_DROP};
  make(&options);
  join_and_be_killed(NULL, RINGBUS_GATE);
  publish_until_full();
  cr_result(ringbus_producer_wait(producer, 32, 0, RINGBUS_FOREVER), 0);
  publish(1000);
  cr_assert_eq(info().groups, 0);
}

/* ---------------------------------------------------------------- lapped */

Test(groups, lapped_is_never_waited_for_and_its_loss_is_exact) {
  ringbus_consumer *consumer;
  uint64_t next = 0, lost_messages = 0, lost_bytes = 0, messages, bytes, random = 5, laps = 0;
  make(NULL);
  consumer = join("g", RINGBUS_LAPPED, 0);
  cr_assert(!group_named("g").gating);
  for (int round = 0; round < 3000; round++) {
    publish(test_random(&random) % 200);
    for (uint64_t n = test_random(&random) % 100; n && next < published; n--) {
      uint64_t oldest = info().oldest_count;
      if (next < oldest) {
        uint64_t message[4];
        cr_result(ringbus_consumer_recv(consumer, message, sizeof message, NULL), -EOVERFLOW);
        for (; next < oldest; next++, lost_messages++)
          lost_bytes += bytes_of(next);
        laps++;
      }
      expect(consumer, next++);
    }
    cr_result(ringbus_consumer_lost(consumer, &messages, &bytes), 0);
    cr_assert(messages == lost_messages && bytes == lost_bytes);
  }
  cr_assert_gt(laps, 100);
  cr_assert_eq(group_named("g").lost_messages, lost_messages);
  cr_assert_eq(group_named("g").lost_bytes, lost_bytes);
}

Test(groups, lapped_that_keeps_up_loses_nothing) {
  ringbus_consumer *consumer;
  make(NULL);
  consumer = join("g", RINGBUS_LAPPED, 0);
  for (int round = 0; round < 2000; round++) {
    publish(60); /* more than half the ring */
    expect_all(consumer, published - 60, published);
  }
}

Test(groups, borrowed_from_a_lapped_group_is_known_to_be_valid_or_not) {
  ringbus_consumer *consumer;
  struct ringbus_message message;
  make(NULL);
  consumer = join("g", RINGBUS_LAPPED, 0);
  publish(10);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
  cr_result(ringbus_consumer_still_valid(consumer), 0);
  publish(10);
  cr_result(ringbus_consumer_still_valid(consumer), 0);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
  publish(1000);
  cr_result(ringbus_consumer_still_valid(consumer), -EOVERFLOW);
  cr_result(ringbus_consumer_borrow(consumer, &message), -EOVERFLOW);
  cr_result(ringbus_consumer_still_valid(consumer), -EOVERFLOW); /* what it has borrowed is not */
  cr_result(ringbus_consumer_release(consumer), 0);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
  cr_assert_eq(message.position, info().oldest);
  cr_result(ringbus_consumer_still_valid(consumer), 0);
}

Test(groups, borrowed_batch_of_a_lapped_group_ends_where_it_was_lapped) {
  ringbus_consumer *consumer;
  struct ringbus_message messages[400];
  size_t count = 99;
  make(NULL);
  consumer = join("g", RINGBUS_LAPPED, 0);
  publish(1000);
  cr_result(ringbus_consumer_borrow_batch(consumer, messages, 400, &count), -EOVERFLOW);
  cr_assert_eq(count, 0);
  cr_result(ringbus_consumer_borrow_batch(consumer, messages, 400, &count), 0);
  cr_assert_eq(count, published - info().oldest_count);
  cr_result(ringbus_consumer_release(consumer), 0);
  cr_result(ringbus_consumer_borrow_batch(consumer, messages, 400, &count), -EAGAIN);
  cr_assert_eq(count, 0);
}

Test(groups, a_ring_with_only_a_lapped_group_does_not_hold) {
  make(NULL); /* "hold" is about rings without any group */
  join("g", RINGBUS_LAPPED, 0);
  publish(5000);
}

/* ---------------------------------------------------------------- max_lag */

Test(groups, max_lag_is_waited_for_up_to_its_limit_and_lapped_beyond) {
  ringbus_consumer *lagging, *gate;
  uint64_t messages, bytes, message[4], oldest, lost_bytes = 0;
  make(NULL);
  lagging = join("lagging", RINGBUS_GATE, 1000);
  cr_assert_eq(group_named("lagging").max_lag, 1000);
  /* behind by less than its limit, lap after lap: nothing is lost */
  for (int round = 0; round < 500; round++) {
    publish(20); /* 560 bytes */
    for (uint64_t number = published - 20; number < published; number++)
      expect(lagging, number);
  }
  cr_result(ringbus_consumer_lost(lagging, &messages, &bytes), 0);
  cr_assert(messages == 0 && bytes == 0);
  /* it reads no more: the producer does not wait */
  publish(1000);
  cr_assert(!group_named("lagging").gating);
  oldest = info().oldest_count;
  cr_result(ringbus_consumer_recv(lagging, message, sizeof message, NULL), -EOVERFLOW);
  for (uint64_t number = 10000; number < oldest; number++)
    lost_bytes += bytes_of(number);
  cr_result(ringbus_consumer_lost(lagging, &messages, &bytes), 0);
  cr_assert_eq(messages, oldest - 10000);
  cr_assert_eq(bytes, lost_bytes);
  expect_all(lagging, oldest, published);
  /* the others are still waited for */
  gate = join("gate", RINGBUS_GATE, 0);
  expect_all(gate, info().oldest_count, published);
  publish_until_full();
}

Test(groups, max_lag_protects_what_is_within_it) {
  ringbus_consumer *consumer;
  uint64_t next, message[4];
  struct ringbus_group_info group;
  int result;
  make(NULL);
  consumer = join("g", RINGBUS_GATE, 2048);
  next = 0;
  for (int round = 0; round < 3000; round++) {
    publish(1 + (uint64_t)round % 60); /* often less, sometimes more than the limit behind */
    group = group_named("g");
    result = ringbus_consumer_recv(consumer, message, sizeof message, NULL);
    if (result == -EOVERFLOW) {
      cr_assert_gt(group.lag_bytes, 2048, "lapped within its limit");
      next = info().oldest_count;
    } else {
      cr_result(result, 0);
      cr_assert_eq(message[0], next++);
    }
    for (int n = round % 50; n && next < published; n--)
      expect(consumer, next++);
  }
}

static uint64_t gating_of_first_group(void) {
  struct ringbus_identity identity;
  uint64_t gating;
  test_read_file("ring", 0, &identity, sizeof identity);
  test_read_file("ring", identity.groups_offset + offsetof(struct ringbus_group, gating), &gating,
                 sizeof gating);
  return gating;
}

/* A cursor that was moved away and back looks as it did: the producer tells by the count of joins. */
Test(groups, going_back_is_a_join_of_all_that_are_waited_for) {
  static const struct {
    enum ringbus_policy policy;
    uint64_t max_lag, joins;
  } groups[] = {{RINGBUS_GATE, 0, 1},
                {RINGBUS_GATE, 2048, 1},
                {RINGBUS_GATE_WHILE_ATTACHED, 2048, 1},
                {RINGBUS_LAPPED, 0, 0}};
  make(NULL);
  for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
    ringbus_consumer *consumer = join(NULL, groups[i].policy, groups[i].max_lag);
    uint64_t position, before = gating_of_first_group();
    cr_result(ringbus_consumer_tell(consumer, &position, NULL), 0);
    publish(3);
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_NEWEST, 0), 0);
    cr_assert_eq(gating_of_first_group(), before);
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_POSITION, position), 0);
    cr_assert_eq(gating_of_first_group() >> 2, (before >> 2) + groups[i].joins);
    cr_assert_eq(gating_of_first_group() & RINGBUS_GATING_MASK, before & RINGBUS_GATING_MASK);
    cr_result(ringbus_consumer_detach(consumer), 0);
  }
}

/* ---------------------------------------------------------------- no group */

Test(groups, hold_keeps_everything_for_the_first_group) {
  ringbus_consumer *consumer;
  make(NULL);
  publish_until_full();
  cr_assert_eq(info().dropped, 0);
  consumer = join("first", RINGBUS_GATE, 0);
  expect_all(consumer, 0, published);
  publish(1);
}

Test(groups, hold_holds_again_after_the_last_group_has_gone) {
  ringbus_consumer *consumer;
  uint64_t oldest;
  make(NULL);
  consumer = join(NULL, RINGBUS_GATE, 0);
  publish(100);
  expect_all(consumer, 0, 100);
  publish(10);
  cr_result(ringbus_consumer_detach(consumer), 0);
  oldest = info().oldest_count;
  cr_assert_leq(oldest, 100, "what nobody has released is kept");
  publish_until_full();
  cr_assert(info().oldest_count <= 100 && info().oldest_count >= oldest);
  consumer = join("next", RINGBUS_GATE, 0);
  expect_all(consumer, info().oldest_count, published);
}

Test(groups, drop_gives_up_the_oldest_and_counts_them) {
  struct ringbus_create_options options = {.capacity = CAPACITY, .no_group = RINGBUS_DROP};
  ringbus_consumer *consumer;
  make(&options);
  publish(5000);
  cr_assert_eq(info().no_group, RINGBUS_DROP);
  cr_assert_eq(info().dropped, info().oldest_count);
  cr_assert_gt(info().dropped, 4000);
  consumer = join("first", RINGBUS_GATE, 0);
  expect_all(consumer, info().oldest_count, published);
  publish_until_full(); /* with a group, it is waited for */
}

Test(groups, drop_keeps_nearly_a_ring_full) {
  struct ringbus_create_options options = {.capacity = CAPACITY, .no_group = RINGBUS_DROP};
  struct ringbus_ring_info now;
  make(&options);
  for (int round = 0; round < 5000; round++) {
    publish(1);
    now = info();
    cr_assert_leq(now.tail - now.oldest, CAPACITY - 8);
    cr_assert_eq(now.tail_count, published);
    if (published > 400) /* no more is given up at once than a good part of the ring */
      cr_assert_geq(now.tail - now.oldest, CAPACITY / 4);
  }
}

/* ---------------------------------------------------------------- where a reader begins */

Test(groups, a_new_group_begins_at_oldest_newest_or_a_position) {
  struct ringbus_consumer_options options = {0};
  ringbus_consumer *consumer;
  uint64_t positions[100];
  make(NULL);
  for (int i = 0; i < 100; i++) {
    cr_result(ringbus_producer_tell(producer, &positions[i], NULL), 0);
    publish(1);
  }
  options.start = RINGBUS_OLDEST;
  options.group = "oldest";
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  expect_all(consumer, 0, 100);
  options.start = RINGBUS_NEWEST;
  options.group = "newest";
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  expect_all(consumer, 100, 100);
  options.start = RINGBUS_POSITION;
  options.group = NULL;
  for (uint64_t i = 0; i < 100; i++) {
    uint64_t position, count;
    options.position = positions[i];
    cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
    cr_result(ringbus_consumer_tell(consumer, &position, &count), 0);
    cr_assert(position == positions[i] && count == i);
    expect_all(consumer, i, 100);
    cr_result(ringbus_consumer_detach(consumer), 0);
  }
}

Test(groups, an_existing_group_resumes_or_is_moved) {
  struct ringbus_consumer_options options = {.group = "g"};
  ringbus_consumer *consumer;
  make(NULL);
  publish(50);
  consumer = join("g", RINGBUS_GATE, 0);
  for (uint64_t number = 0; number < 30; number++)
    expect(consumer, number);
  cr_result(ringbus_consumer_detach(consumer), 0);

  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  expect(consumer, 30);
  cr_result(ringbus_consumer_detach(consumer), 0);

  options.start = RINGBUS_OLDEST; /* back to what is still in the ring */
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  expect_all(consumer, info().oldest_count, 50);
  cr_result(ringbus_consumer_detach(consumer), 0);

  publish(5);
  options.start = RINGBUS_NEWEST;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  expect_all(consumer, 55, 55);
}

Test(groups, a_position_that_is_no_message_is_refused) {
  struct ringbus_consumer_options options = {.group = "g", .start = RINGBUS_POSITION};
  ringbus_consumer *consumer = NULL, *reader;
  uint64_t start, tail;
  make(NULL);
  cr_result(ringbus_producer_tell(producer, &start, NULL), 0);
  publish(60);
  reader = join("reader", RINGBUS_GATE, 0);
  expect_all(reader, 0, 60);
  publish(120); /* the first ones are overwritten */
  cr_result(ringbus_producer_tell(producer, &tail, NULL), 0);
  {
    uint64_t wrong[] = {start,      start + 16, info().oldest + 1, info().oldest + 4, tail - 8,
                        tail + 8,   tail + 16,  tail + CAPACITY,   tail + 1,          0x1234567,
                        UINT64_MAX, start - 8,  tail - 12,         UINT64_MAX / 2};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
      options.position = wrong[i];
      cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
      cr_assert_null(consumer);
      cr_assert_str_not_empty(ringbus_error_detail());
      cr_result(ringbus_consumer_seek(reader, RINGBUS_POSITION, wrong[i]), -EINVAL);
    }
  }
  expect_all(reader, 60, 180); /* a refused seek moves nothing */
  cr_assert_eq(info().groups, 1, "a refused attach leaves no group");
  options.position = tail;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  expect_all(consumer, 180, 180);
}

Test(groups, seek_goes_back_and_forth_and_holds_from_there) {
  ringbus_consumer *consumer;
  uint64_t positions[64], position, count;
  make(NULL);
  consumer = join("g", RINGBUS_GATE, 0);
  for (int i = 0; i < 64; i++) {
    cr_result(ringbus_producer_tell(producer, &positions[i], NULL), 0);
    publish(1);
  }
  expect_all(consumer, 0, 64);
  for (uint64_t i = 0; i < 64; i++) { /* nothing was published since: all are still there */
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_POSITION, positions[i]), 0);
    cr_result(ringbus_consumer_tell(consumer, &position, &count), 0);
    cr_assert(position == positions[i] && count == i);
    expect(consumer, i);
  }
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_POSITION, positions[10]), 0);
  publish_until_full(); /* waits for where the reader went back to */
  cr_assert_leq(info().oldest_count, 10);
  expect_all(consumer, 10, published);
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_OLDEST, 0), 0);
  expect_all(consumer, info().oldest_count, published);
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_OLDEST, 0), 0);
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_NEWEST, 0), 0);
  expect_all(consumer, published, published);
  publish(3);
  expect_all(consumer, published - 3, published);
  cr_result(ringbus_consumer_seek(consumer, (enum ringbus_start)77, 0), -EINVAL);
}

/* ---------------------------------------------------------------- who may, and who not */

Test(groups, a_group_with_a_living_consumer_is_busy_and_says_who_has_it) {
  struct ringbus_consumer_options options = {.group = "g", .name = "the-first"};
  ringbus_consumer *first, *second = NULL;
  char pid[16];
  make(NULL);
  cr_result(ringbus_consumer_attach(ring, &options, &first), 0);
  options.name = "the-second";
  cr_result(ringbus_consumer_attach(ring, &options, &second), -EBUSY);
  cr_assert_null(second);
  snprintf(pid, sizeof pid, "%d", (int)getpid());
  cr_assert(strstr(ringbus_error_detail(), "the-first"), "%s", ringbus_error_detail());
  cr_assert(strstr(ringbus_error_detail(), pid), "%s", ringbus_error_detail());
  publish(3);
  expect_all(first, 0, 3);
  cr_result(ringbus_consumer_detach(first), 0);
  cr_result(ringbus_consumer_attach(ring, &options, &second), 0);
}

Test(groups, a_group_that_must_exist_is_never_made) {
  struct ringbus_consumer_options options = {.group = "g", .must_exist = true};
  ringbus_consumer *consumer = NULL;
  make(NULL);
  publish(10);
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -ENOENT);
  cr_assert_str_not_empty(ringbus_error_detail());
  cr_assert(info().groups == 0 && info().participants == 1, "nothing of it is left behind");
  consumer = join("g", RINGBUS_GATE, 0);
  expect(consumer, 0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  expect_all(consumer, 1, 10);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_ring_remove_group(ring, "g"), 0);
  options.start = RINGBUS_NEWEST;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -ENOENT);
  options.shared = true;
  options.start = RINGBUS_RESUME;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -ENOENT);
  options = (struct ringbus_consumer_options){.must_exist = true};
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  cr_assert(info().groups == 0 && info().participants == 1, "nothing of them is left behind");
}

Test(groups, a_dead_consumer_is_succeeded) {
  ringbus_consumer *consumer;
  make(NULL);
  publish(5);
  join_and_be_killed("g", RINGBUS_GATE);
  consumer = join("g", RINGBUS_GATE, 0);
  expect_all(consumer, 0, 5);
}

Test(groups, full_tables_are_refused_and_named) {
  struct ringbus_create_options few = {
      .capacity = CAPACITY, .max_participants = 4, .max_groups = 2};
  ringbus_consumer *consumers[2], *none = NULL;
  struct ringbus_consumer_options options = {.group = "third"};
  make(&few);
  cr_assert(info().max_participants == 4 && info().max_groups == 2);
  consumers[0] = join("first", RINGBUS_GATE, 0);
  consumers[1] = join(NULL, RINGBUS_GATE, 0);
  cr_result(ringbus_consumer_attach(ring, &options, &none), -ENOSPC);
  cr_assert_null(none);
  cr_assert(strstr(ringbus_error_detail(), "group"), "%s", ringbus_error_detail());
  cr_assert_eq(info().participants, 3, "the refused one left its slot");
  cr_result(ringbus_consumer_detach(consumers[1]), 0);
  none = join("third", RINGBUS_GATE, 0);
}

Test(groups, full_slots_are_refused_and_named) {
  struct ringbus_create_options few = {.capacity = CAPACITY, .max_participants = 3};
  ringbus_consumer *consumers[2], *none = NULL;
  make(&few);
  consumers[0] = join(NULL, RINGBUS_GATE, 0);
  consumers[1] = join(NULL, RINGBUS_GATE, 0);
  cr_result(ringbus_consumer_attach(ring, NULL, &none), -ENOSPC);
  cr_assert_null(none);
  cr_assert(strstr(ringbus_error_detail(), "slot") || strstr(ringbus_error_detail(), "participant"),
            "%s", ringbus_error_detail());
  cr_assert_eq(info().groups, 2);
  cr_result(ringbus_consumer_detach(consumers[0]), 0);
  cr_result(ringbus_consumer_attach(ring, NULL, &none), 0);
  /* a dead one's slot can be had again, many times over */
  cr_result(ringbus_consumer_detach(none), 0);
  for (int i = 0; i < 8; i++)
    join_and_be_killed("g", RINGBUS_GATE);
  cr_result(ringbus_producer_detach(producer), 0);
}

Test(groups, all_slots_and_all_groups_can_be_used) {
  struct ringbus_create_options most = {
      .capacity = CAPACITY, .max_participants = 1023, .max_groups = 64};
  ringbus_consumer *consumers[64], *none = NULL;
  char name[32];
  make(&most);
  for (int i = 0; i < 64; i++) {
    snprintf(name, sizeof name, "group-%d", i);
    consumers[i] = join(name, RINGBUS_GATE, 0);
  }
  cr_result(ringbus_consumer_attach(ring, NULL, &none), -ENOSPC);
  cr_assert(info().groups == 64 && info().participants == 65);
  publish_until_full();
  for (int i = 0; i < 64; i++) {
    cr_result(publish_one(), -EAGAIN);
    expect_all(consumers[i], 0, published);
  }
  publish(1);
}

Test(groups, names_are_kept_up_to_63_bytes_and_longer_ones_are_refused) {
  char name[80];
  struct ringbus_consumer_options options = {.group = name};
  ringbus_consumer *consumer = NULL;
  struct ringbus_participant participant;
  make(NULL);
  memset(name, 'n', sizeof name);
  name[64] = 0;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  name[63] = 0;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  cr_assert_str_eq(group_named(name).name, name);
  for (uint32_t slot = 1; slot <= 63; slot++)
    if (ringbus_ring_participant(ring, slot, &participant) == 0 &&
        participant.role == RINGBUS_CONSUMER)
      cr_assert_str_eq(participant.group, name);
  cr_result(ringbus_consumer_detach(consumer), 0);
  name[0] = 0;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  for (int c = 1; c < 128; c = c == 31 ? 127 : c + 1) { /* it is shown on terminals */
    snprintf(name, sizeof name, "bell%c", c);
    cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  }
}

Test(groups, bad_options_are_refused) {
  struct ringbus_consumer_options options = {.policy = (enum ringbus_policy)9};
  ringbus_consumer *consumer = NULL;
  make(NULL);
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  options = (struct ringbus_consumer_options){.start = (enum ringbus_start)9};
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  options = (struct ringbus_consumer_options){.wait = (enum ringbus_wait)9};
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  options = (struct ringbus_consumer_options){.hand_back = (enum ringbus_hand_back)9};
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  options = (struct ringbus_consumer_options){.look_ns = -1};
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), -EINVAL);
  cr_assert_null(consumer);
  cr_assert(info().groups == 0 && info().participants == 1, "nothing of them is left behind");
}

Test(groups, remove_group_frees_what_it_held) {
  ringbus_consumer *consumer;
  ringbus_ring *read_only;
  make(NULL);
  cr_result(ringbus_ring_remove_group(ring, "g"), -ENOENT);
  consumer = join("g", RINGBUS_GATE, 0);
  publish_until_full();
  cr_result(ringbus_ring_remove_group(ring, "g"), -EBUSY);
  cr_assert_str_not_empty(ringbus_error_detail());
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(publish_one(), -EAGAIN);
  read_only = test_open_read_only("ring");
  cr_result(ringbus_ring_remove_group(read_only, "g"), -EPERM);
  cr_result(ringbus_ring_remove_group(ring, "g"), 0);
  cr_result(ringbus_ring_remove_group(ring, "g"), -ENOENT);
  cr_assert_eq(info().groups, 0);
  consumer = join("other", RINGBUS_GATE, 0); /* hold: all is still there */
  expect_all(consumer, 0, published);
  publish(10);
}

Test(groups, remove_group_of_a_killed_consumer_lets_the_others_go_on) {
  ringbus_consumer *consumer;
  make(NULL);
  consumer = join("living", RINGBUS_GATE, 0);
  join_and_be_killed("dead", RINGBUS_GATE);
  publish_until_full();
  expect_all(consumer, 0, published);
  cr_result(publish_one(), -EAGAIN);
  cr_result(ringbus_ring_remove_group(ring, "dead"), 0);
  publish(10);
  expect_all(consumer, published - 10, published);
}

Test(groups, a_slow_group_shows_in_info) {
  ringbus_consumer *consumer;
  struct ringbus_group_info group;
  make(NULL);
  consumer = join("slow", RINGBUS_GATE, 0);
  publish(50);
  for (uint64_t number = 0; number < 20; number++)
    expect(consumer, number);
  group = group_named("slow");
  cr_assert(group.durable && group.gating && group.attached && group.slot != 0);
  cr_assert_eq(group.cursor_count, 20);
  cr_assert_eq(group.lag_messages, 30);
  cr_assert_eq(group.lag_bytes, 30 / 2 * 56);
  publish_until_full();
  cr_assert_geq(info().full_events, 1);
  cr_assert_geq(info().max_lag, CAPACITY / 2);
  cr_result(ringbus_consumer_detach(consumer), 0);
  group = group_named("slow");
  cr_assert(!group.attached && group.slot == 0);
}

Test(groups, ephemeral_group_ends_with_its_consumer) {
  ringbus_consumer *consumer;
  make(NULL);
  consumer = join(NULL, RINGBUS_GATE, 0);
  cr_assert_eq(info().groups, 1);
  publish_until_full();
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_assert_eq(info().groups, 0);
}
