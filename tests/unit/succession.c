/* SPDX-License-Identifier: MIT */
/* succession.c - one producer at a time; a dead one is succeeded behind its last committed message.
 * Here deaths are at chosen places, and what the file says is edited to the states between them. All
 * instructions are tried by the programs under tests/kill. */
#include "suite.h"

#include <signal.h>

static size_t length_of(uint64_t number) { return number * 13 % 200; }

static int send_numbered(ringbus_producer *producer, uint64_t number) {
  return ringbus_producer_send(producer, test_content(number), length_of(number), 0);
}

static void expect(ringbus_consumer *consumer, uint64_t number) {
  unsigned char buffer[256];
  struct ringbus_message message;
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), 0);
  cr_assert_eq(message.length, length_of(number));
  cr_assert_arr_eq(buffer, test_content(number), message.length);
}

static void expect_nothing(ringbus_consumer *consumer) {
  cr_result(ringbus_consumer_recv(consumer, (char[256]){0}, 256, NULL), -EAGAIN);
}

Test(succession, a_second_producer_is_refused_and_told_who_is_there) {
  struct ringbus_producer_options options = {.name = "the-first"};
  ringbus_ring *ring = test_ring("ring", NULL), *again = test_open("ring");
  ringbus_producer *first, *second = NULL;
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  char pid[16];
  cr_result(ringbus_producer_attach(ring, &options, &first), 0);
  options.name = "the-second";
  for (int i = 0; i < 3; i++) {
    cr_result(ringbus_producer_attach(i ? again : ring, &options, &second), -EBUSY);
    cr_assert_null(second);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    cr_assert(strstr(ringbus_error_detail(), "the-first"), "%s", ringbus_error_detail());
    cr_assert(strstr(ringbus_error_detail(), pid), "%s", ringbus_error_detail());
    cr_result(send_numbered(first, (uint64_t)i), 0); /* it is not disturbed */
    expect(consumer, (uint64_t)i);
  }
  cr_result(ringbus_producer_detach(first), 0);
  cr_result(ringbus_producer_attach(again, &options, &second), 0);
  cr_result(send_numbered(second, 3), 0);
  expect(consumer, 3);
}

static int hold_the_ring(struct test_child *self, void *context) {
  ringbus_producer *producer = test_producer(test_open("ring"));
  (void)context;
  REQUIRE_RESULT(send_numbered(producer, 0), 0);
  test_child_say(self, 'p');
  test_child_hear(self);
  return 0;
}

Test(succession, a_stopped_producer_is_alive_and_a_killed_one_is_not) {
  ringbus_ring *ring = test_ring("ring", NULL);
  struct test_child child = test_child_start(hold_the_ring, NULL);
  ringbus_producer *producer = NULL;
  char pid[16];
  uint64_t count;
  cr_assert_eq(test_child_hear(&child), 'p');
  kill(child.pid, SIGSTOP);
  cr_result(ringbus_producer_attach(ring, NULL, &producer), -EBUSY);
  snprintf(pid, sizeof pid, "%d", (int)child.pid);
  cr_assert(strstr(ringbus_error_detail(), pid), "%s", ringbus_error_detail());
  test_child_kill(&child);
  cr_result(ringbus_producer_attach(ring, NULL, &producer), 0);
  cr_result(ringbus_producer_tell(producer, NULL, &count), 0);
  cr_assert_eq(count, 1);
}

/* Where a producer is when it dies. */
enum place { AFTER_COMMIT, IN_CLAIM, AFTER_ABORT, WITH_A_FULL_RING };

static int die_at(struct test_child *self, void *context) {
  enum place place = *(enum place *)context;
  ringbus_producer *producer = test_producer(test_open("ring"));
  uint64_t number = 0;
  void *data;
  (void)self;
  if (place == WITH_A_FULL_RING)
    while (send_numbered(producer, number) == 0)
      number++;
  else
    for (; number < 15; number++)
      REQUIRE_RESULT(send_numbered(producer, number), 0);
  if (place == IN_CLAIM || place == AFTER_ABORT) {
    REQUIRE_RESULT(ringbus_producer_claim(producer, 500, 7, &data), 0);
    memset(data, 0xff, 500); /* what a claim leaves behind must not be taken for a record */
  }
  if (place == AFTER_ABORT)
    REQUIRE_RESULT(ringbus_producer_abort(producer), 0);
  raise(SIGKILL);
  return 1;
}

Test(succession, goes_on_behind_the_last_committed_message) {
  for (size_t start = 0; start < test_start_count; start++)
    for (enum place place = AFTER_COMMIT; place <= WITH_A_FULL_RING; place++) {
      ringbus_ring *ring = test_ring_starting_at("ring", NULL, test_starts[start]);
      ringbus_consumer *consumer = test_consumer(ring, "g");
      struct test_child child = test_child_start(die_at, &place);
      ringbus_producer *producer;
      uint64_t position, count, told, number;
      struct ringbus_ring_info info;
      cr_assert_eq(test_child_status(&child), -SIGKILL);
      cr_result(ringbus_ring_info(ring, &info), 0);
      producer = test_producer(ring);
      cr_result(ringbus_producer_tell(producer, &position, &count), 0);
      cr_assert(place == WITH_A_FULL_RING || count == 15);
      cr_assert_eq(count, info.tail_count);
      cr_assert_eq(position, info.tail);
      number = count;
      if (place == WITH_A_FULL_RING)
        cr_result(send_numbered(producer, number), -EAGAIN);
      for (uint64_t i = 0; i < 10; i++)
        expect(consumer, i);
      for (uint64_t more = 0; more < 5; more++)
        cr_result(send_numbered(producer, number + more), 0);
      for (uint64_t i = 10; i < number + 5; i++)
        expect(consumer, i);
      expect_nothing(consumer);
      cr_result(ringbus_consumer_tell(consumer, NULL, &told), 0);
      cr_assert_eq(told, number + 5);
      ringbus_producer_detach(producer);
      ringbus_consumer_detach(consumer);
      cr_result(ringbus_ring_close(ring), 0);
      cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
    }
}

/* Between making a message visible and telling the tail: the successor walks over what it finds. */
Test(succession, a_message_published_but_not_told_is_kept) {
  for (size_t start = 0; start < test_start_count; start++)
    for (uint64_t untold = 0; untold <= 20; untold++) {
      ringbus_ring *ring = test_ring_starting_at("ring", NULL, test_starts[start]);
      ringbus_producer *producer = test_producer(ring);
      ringbus_consumer *consumer = test_consumer(ring, "g");
      struct ringbus_counted_line tail;
      uint64_t position, count, expected;
      for (uint64_t number = 0; number < 12; number++) {
        cr_result(send_numbered(producer, number), 0);
        expect(consumer, number);
      }
      test_read_file("ring", offsetof(struct ringbus_header, tail), &tail, sizeof tail);
      for (uint64_t number = 12; number < 12 + untold; number++)
        cr_result(send_numbered(producer, number), 0);
      cr_result(ringbus_producer_tell(producer, &expected, NULL), 0);
      cr_result(ringbus_producer_detach(producer), 0);
      test_write_file("ring", offsetof(struct ringbus_header, tail), &tail, sizeof tail);
      producer = test_producer(ring);
      cr_result(ringbus_producer_tell(producer, &position, &count), 0);
      cr_assert_eq(position, expected);
      cr_assert_eq(count, 12 + untold);
      cr_result(send_numbered(producer, 12 + untold), 0);
      for (uint64_t number = 12; number <= 12 + untold; number++)
        expect(consumer, number);
      expect_nothing(consumer);
      ringbus_producer_detach(producer);
      ringbus_consumer_detach(consumer);
      cr_result(ringbus_ring_close(ring), 0);
      cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
    }
}

/* Between the two stores that move a counted position: the old pair is whole. */
Test(succession, a_count_stored_without_its_position_is_ignored) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_producer *producer = test_producer(ring);
  struct ringbus_counted_line tail;
  struct ringbus_ring_info info;
  uint64_t count;
  for (uint64_t number = 0; number < 9; number++)
    cr_result(send_numbered(producer, number), 0);
  cr_result(ringbus_producer_detach(producer), 0);
  test_read_file("ring", offsetof(struct ringbus_header, tail), &tail, sizeof tail);
  cr_assert_eq(tail.count[tail.position & 1], 9);
  tail.count[~tail.position & 1] = 10;
  test_write_file("ring", offsetof(struct ringbus_header, tail), &tail, sizeof tail);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.tail_count, 9);
  producer = test_producer(ring);
  cr_result(ringbus_producer_tell(producer, NULL, &count), 0);
  cr_assert_eq(count, 9);
}

/* So that whoever dies between those two stores leaves a whole pair, the other bank is written. */
Test(succession, the_pair_before_is_left_whole) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer = test_consumer(ring, "g");
  for (uint64_t number = 0; number < 9; number++) {
    struct ringbus_counted_line tail;
    struct ringbus_group group;
    struct ringbus_identity identity;
    cr_result(send_numbered(producer, number), 0);
    expect(consumer, number);
    test_read_file("ring", 0, &identity, sizeof identity);
    test_read_file("ring", offsetof(struct ringbus_header, tail), &tail, sizeof tail);
    test_read_file("ring", identity.groups_offset, &group, sizeof group);
    cr_assert_eq(tail.count[tail.position & 1], number + 1);
    cr_assert_eq(tail.count[~tail.position & 1], number);
    cr_assert_eq(group.count[group.cursor & 1], number + 1);
    cr_assert_eq(group.count[~group.cursor & 1], number);
  }
}

/* The dead one's word behind its last message may be anything of an earlier lap; it has cleared it, or
 * not published. Here: what an aborted claim has written spells a current record at the tail + 8. */
Test(succession, old_payload_that_spells_a_record_is_not_believed) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer = test_consumer(ring, "g");
  unsigned n = 12 - 3; /* log2(4096) - granule_shift */
  uint64_t forged = (uint64_t)RINGBUS_WORD_COMMITTED << RINGBUS_WORD_STATE_SHIFT(n), *words;
  uint64_t count;
  void *data;
  for (int lap = 0; lap < 200; lap++) {
    cr_result(ringbus_producer_claim(producer, 400, 0, &data), 0);
    words = data;
    for (size_t i = 0; i < 50; i++) /* a record of one granule, current in this lap, everywhere */
      words[i] = forged | ((uint64_t)lap * 104 / 4096 + (i & 1)) << RINGBUS_WORD_LAP_SHIFT(n);
    if (lap % 3 == 0)
      cr_result(ringbus_producer_abort(producer), 0);
    cr_result(ringbus_producer_detach(producer), 0);
    producer = test_producer(ring);
    cr_result(ringbus_producer_tell(producer, NULL, &count), 0);
    cr_assert_eq(count, (uint64_t)lap);
    cr_result(ringbus_producer_send(producer, test_content((uint64_t)lap), 96, 0), 0);
    cr_result(ringbus_consumer_recv(consumer, (char[96]){0}, 96, NULL), 0);
    expect_nothing(consumer);
  }
}

Test(succession, many_producers_one_after_the_other) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_consumer *consumer = test_consumer(ring, "g");
  for (uint64_t number = 0; number < 500; number++) {
    ringbus_producer *producer = test_producer(ring);
    cr_result(send_numbered(producer, number), 0);
    cr_result(ringbus_producer_detach(producer), 0);
    expect(consumer, number);
  }
  expect_nothing(consumer);
}
