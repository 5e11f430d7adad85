/* SPDX-License-Identifier: MIT */
/* reboot.c - rings on a disk: what was flushed is offered again after a reboot if it is intact, all else is
 * discarded, and nobody is taken for alive or dead because of a boot id. The reboot is played by giving
 * the file another boot id. */
#include "suite.h"

#include <fcntl.h>
#include <sys/stat.h>

static char path[300];

/* A ring on a filesystem that outlives a reboot; in containers there may be none. */
static ringbus_ring *ring_on_a_disk_with(struct ringbus_create_options options) {
  static const char *const places[] = {"/var/tmp", "/tmp", "."};
  ringbus_ring *ring;
  options.capacity = 4096;
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    struct stat place, memory;
    snprintf(path, sizeof path, "%s/ringbus-test-reboot.%d", places[i], (int)getpid());
    if (stat(places[i], &place) == 0 && stat(test_directory(), &memory) == 0 &&
        place.st_dev != memory.st_dev && ringbus_ring_create(path, &options, &ring) == 0)
      return ring;
  }
  cr_skip_test("no disk here on which a ring may be created");
  return NULL;
}

static ringbus_ring *ring_on_a_disk(enum ringbus_no_group no_group) {
  return ring_on_a_disk_with((struct ringbus_create_options){.no_group = no_group});
}

static void remove_ring(void) { unlink(path); }

TestSuite(reboot, .fini = remove_ring);

static void reboot(void) {
  uint8_t other[16] = "another boot id";
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  cr_assert_eq(pwrite(fd, other, 16, offsetof(struct ringbus_header, life.boot_id)), 16);
  close(fd);
}

static ringbus_ring *open_again(void) {
  ringbus_ring *ring = NULL;
  cr_result(ringbus_ring_open(path, NULL, &ring), 0);
  return ring;
}

static void publish(ringbus_ring *ring, uint64_t from, uint64_t to) {
  ringbus_producer *producer = test_producer(ring);
  for (uint64_t number = from; number < to; number++)
    cr_result(ringbus_producer_send(producer, &number, sizeof number, 7), 0);
  cr_result(ringbus_producer_detach(producer), 0);
}

static void expect_all(ringbus_consumer *consumer, uint64_t from, uint64_t to) {
  uint64_t number;
  for (uint64_t expected = from; expected < to; expected++) {
    cr_result(ringbus_consumer_recv(consumer, &number, sizeof number, NULL), 0);
    cr_assert_eq(number, expected);
  }
  cr_result(ringbus_consumer_recv(consumer, &number, sizeof number, NULL), -EAGAIN);
}

static struct ringbus_ring_info info_of(ringbus_ring *ring) {
  struct ringbus_ring_info info;
  cr_result(ringbus_ring_info(ring, &info), 0);
  return info;
}

Test(reboot, what_was_flushed_is_there_again_and_the_rest_is_not) {
  ringbus_ring *ring = ring_on_a_disk(RINGBUS_HOLD);
  ringbus_consumer *consumer = test_consumer(ring, "g");
  publish(ring, 0, 20);
  cr_result(ringbus_consumer_recv(consumer, &(uint64_t){0}, 8, NULL), 0);
  cr_result(ringbus_ring_flush(ring), 0);
  publish(ring, 20, 30);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_ring_close(ring), 0);
  reboot();
  ring = open_again();
  cr_assert_str_not_empty(ringbus_error_detail(), "it is said");
  cr_assert_eq(info_of(ring).epoch, 1);
  cr_assert_eq(info_of(ring).tail_count, 20);
  consumer = test_consumer(ring, "g");
  expect_all(consumer, 1, 20);
  publish(ring, 100, 110);
  expect_all(consumer, 100, 110);
  cr_result(ringbus_ring_close(ring), 0);
  ring = open_again();
  cr_assert_eq(info_of(ring).epoch, 1, "it happens once");
}

static int die_with_a_claim(struct test_child *self, void *context) {
  ringbus_ring *ring;
  ringbus_producer *producer;
  void *data;
  (void)self;
  (void)context;
  REQUIRE_RESULT(ringbus_ring_open(path, NULL, &ring), 0);
  REQUIRE_RESULT(ringbus_producer_attach(ring, NULL, &producer), 0);
  REQUIRE_RESULT(ringbus_producer_claim(producer, 200, 0, &data), 0);
  _exit(0);
}

static void send_numbers(ringbus_producer *producer, uint64_t from, uint64_t to) {
  for (uint64_t number = from; number < to; number++)
    cr_result(ringbus_producer_send(producer, &number, sizeof number, 0), 0);
}

Test(reboot, what_was_flushed_behind_the_claim_of_a_dead_producer_is_there_again) {
  ringbus_ring *ring = ring_on_a_disk_with((struct ringbus_create_options){.many_producers = true});
  ringbus_producer *producer = test_producer(ring); /* not in the slot of the dead one */
  send_numbers(producer, 0, 10);
  struct test_child child = test_child_start(die_with_a_claim, NULL);
  cr_assert_eq(test_child_status(&child), 0);
  send_numbers(producer, 10, 20);
  cr_result(ringbus_ring_flush(ring), 0);
  send_numbers(producer, 20, 25);
  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_ring_close(ring), 0);
  reboot();
  ring = open_again();
  cr_assert_eq(info_of(ring).tail_count, 20);
  ringbus_consumer *consumer = test_consumer(ring, "g");
  expect_all(consumer, 0, 20);
  publish(ring, 100, 110);
  expect_all(consumer, 100, 110);
}

static int attach_all_kinds_and_die(struct test_child *self, void *context) {
  static const struct ringbus_consumer_options kinds[] = {
      {.group = "shared", .shared = true},
      {.group = "attached", .policy = RINGBUS_GATE_WHILE_ATTACHED},
      {.group = "ahead"},
      {.group = NULL}};
  ringbus_ring *ring;
  ringbus_consumer *consumer = NULL;
  struct ringbus_message message;
  (void)self, (void)context;
  REQUIRE_RESULT(ringbus_ring_open(path, NULL, &ring), 0);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    REQUIRE_RESULT(ringbus_consumer_attach(ring, &kinds[i], &consumer), 0);
    if (i == 0) /* has the first two, and releases one of them */
      for (int n = 0; n < 2; n++)
        REQUIRE_RESULT(ringbus_consumer_borrow_batch(consumer, &message, 1, &(size_t){0}), 0),
            n == 0 ? REQUIRE_RESULT(ringbus_consumer_release(consumer), 0) : (void)0;
    if (i == 2) /* beyond what was flushed */
      for (int n = 0; n < 25; n++)
        REQUIRE_RESULT(ringbus_consumer_recv(consumer, &(uint64_t){0}, 8, NULL), 0);
  }
  raise(SIGKILL);
  return 1;
}

/* Whoever lived then is dead. A group stands where it stood, if that was flushed; who is waited for only while
 * it lives is not any more; one that was to end with its consumer has ended. */
Test(reboot, groups_resume_as_far_as_what_they_read_is_there) {
  for (int many = 0; many < 2; many++) {
    const struct ringbus_consumer_options shared = {.group = "shared", .shared = true};
    ringbus_ring *ring =
        ring_on_a_disk_with((struct ringbus_create_options){.many_producers = many});
    struct ringbus_group_info group;
    struct ringbus_message message;
    ringbus_consumer *consumer;
    publish(ring, 0, 20);
    cr_result(ringbus_ring_flush(ring), 0);
    publish(ring, 20, 30);
    struct test_child child = test_child_start(attach_all_kinds_and_die, NULL);
    cr_assert_eq(test_child_status(&child), -SIGKILL);
    cr_result(ringbus_ring_close(ring), 0);
    reboot();
    ring = open_again();
    cr_assert_eq(info_of(ring).groups, 3);
    for (uint32_t index = 0; index < 3; index++) {
      cr_result(ringbus_ring_group(ring, index, &group), 0);
      cr_assert_eq(group.gating, index != 1, "%s", group.name);
      cr_assert_eq(group.cursor_count, index == 0 ? 1 : index == 1 ? 0 : 20, "%s", group.name);
    }
    cr_result(ringbus_consumer_attach(ring, &shared, &consumer), 0);
    for (uint64_t expected = 1; expected < 20; expected++) {
      cr_result(ringbus_consumer_borrow(consumer, &message), 0);
      cr_assert_eq(*(const uint64_t *)message.data, expected);
      cr_result(ringbus_consumer_release(consumer), 0);
    }
    cr_result(ringbus_consumer_borrow(consumer, &message), -EAGAIN);
    expect_all(test_consumer(ring, "ahead"), 0, 0);
    cr_result(ringbus_ring_close(ring), 0);
    remove_ring();
  }
}

Test(reboot, what_was_never_flushed_is_discarded_and_positions_go_on) {
  ringbus_ring *ring = ring_on_a_disk(RINGBUS_HOLD);
  ringbus_consumer *consumer = test_consumer(ring, "g");
  uint64_t before;
  publish(ring, 0, 20);
  before = info_of(ring).tail;
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_ring_close(ring), 0);
  reboot();
  ring = open_again();
  cr_assert_str_not_empty(ringbus_error_detail());
  cr_assert_gt(info_of(ring).tail, before);
  cr_assert_eq(info_of(ring).tail, info_of(ring).oldest);
  consumer = test_consumer(ring, "g");
  expect_all(consumer, 0, 0);
  publish(ring, 50, 200);
  expect_all(consumer, 50, 200);
}

Test(reboot, flushed_content_that_was_overwritten_since_is_discarded) {
  ringbus_ring *ring = ring_on_a_disk(RINGBUS_DROP);
  uint64_t before;
  publish(ring, 0, 20);
  cr_result(ringbus_ring_flush(ring), 0);
  publish(ring, 20, 1000);
  before = info_of(ring).tail;
  cr_result(ringbus_ring_close(ring), 0);
  reboot();
  ring = open_again();
  cr_assert_eq(info_of(ring).tail, info_of(ring).oldest);
  cr_assert_gt(info_of(ring).tail, before);
  publish(ring, 7, 9);
  expect_all(test_consumer(ring, NULL), 7, 9);
}

Test(reboot, damage_since_the_flush_is_found) {
  ringbus_ring *ring = ring_on_a_disk(RINGBUS_HOLD);
  struct stat status;
  int fd;
  publish(ring, 0, 20);
  cr_result(ringbus_ring_flush(ring), 0);
  cr_result(ringbus_ring_close(ring), 0);
  cr_assert_eq(stat(path, &status), 0);
  fd = open(path, O_WRONLY | O_CLOEXEC);
  cr_assert_eq(pwrite(fd, "x", 1, status.st_size - 4096 + 101), 1); /* one byte of a message */
  close(fd);
  reboot();
  ring = open_again();
  cr_assert_eq(info_of(ring).tail, info_of(ring).oldest);
  publish(ring, 7, 9);
  expect_all(test_consumer(ring, NULL), 7, 9);
}

Test(reboot, another_boot_id_is_no_evidence_of_death) {
  ringbus_ring *ring = ring_on_a_disk(RINGBUS_HOLD), *again;
  ringbus_producer *producer = test_producer(ring), *second = NULL;
  ringbus_consumer *consumer = test_consumer(ring, "g");
  uint64_t number = 3;
  cr_result(ringbus_producer_send(producer, &number, sizeof number, 0), 0);
  reboot(); /* or somebody in a container with a boot id of its own */
  again = open_again();
  cr_assert_eq(info_of(again).epoch, 0);
  cr_assert_eq(info_of(again).participants, 2);
  cr_result(ringbus_producer_attach(again, NULL, &second), -EBUSY);
  cr_result(ringbus_consumer_recv(consumer, &number, sizeof number, NULL), 0);
  cr_assert_eq(number, 3);
}

Test(reboot, a_reader_may_look_without_recovering) {
  ringbus_ring *ring = ring_on_a_disk(RINGBUS_HOLD);
  struct ringbus_open_options read_only = {.read_only = true};
  publish(ring, 0, 5);
  cr_result(ringbus_ring_close(ring), 0);
  reboot();
  cr_result(ringbus_ring_open(path, &read_only, &ring), 0);
  cr_assert_eq(info_of(ring).epoch, 0);
  cr_assert_eq(info_of(ring).tail_count, 5);
}

Test(reboot, rings_in_memory_do_not_outlive_one_and_are_left_alone) {
  ringbus_ring *ring = test_ring("ring", NULL);
  snprintf(path, sizeof path, "%s", test_path("ring"));
  publish(ring, 0, 5);
  cr_result(ringbus_ring_flush(ring), 0);
  cr_result(ringbus_ring_close(ring), 0);
  reboot();
  ring = open_again();
  cr_assert_eq(info_of(ring).tail_count, 5);
  expect_all(test_consumer(ring, NULL), 0, 5);
}
