/* SPDX-License-Identifier: MIT */
/* observers.c - reading without being noticed: nothing is written, everything still in the ring is
 * seen, losses are exact, and dead processes' rings can be read. */
#include "suite.h"

#include <signal.h>
#include <sys/stat.h>

static ringbus_ring *ring;
static ringbus_producer *producer;
static uint64_t published;

static size_t length_of(uint64_t number) { return number * 7 % 90; }
static uint32_t tag_of(uint64_t number) { return (uint32_t)(number % 3); }

static void publish(ringbus_producer *with, uint64_t count) {
  for (uint64_t i = 0; i < count; i++, published++)
    REQUIRE_RESULT(ringbus_producer_send(with, test_content(published), length_of(published),
                                         tag_of(published)),
                   0);
}

static void make(enum ringbus_no_group no_group) {
  struct ringbus_create_options options = {.capacity = 4096, .no_group = no_group};
  ring = test_ring_starting_at("ring", &options, test_starts[3]);
  producer = test_producer(ring);
}

static void expect(ringbus_observer *observer, uint64_t number) {
  unsigned char buffer[128];
  struct ringbus_message message;
  cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), 0);
  cr_assert_eq(message.length, length_of(number));
  cr_assert_eq(message.tag, tag_of(number));
  cr_assert_arr_eq(buffer, test_content(number), length_of(number));
}

static void expect_all(ringbus_observer *observer, uint64_t from, uint64_t to, int end) {
  unsigned char buffer[128];
  for (uint64_t number = from; number < to; number++)
    expect(observer, number);
  cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), end);
}

static struct ringbus_ring_info info_of(ringbus_ring *of) {
  struct ringbus_ring_info info;
  cr_result(ringbus_ring_info(of, &info), 0);
  return info;
}

Test(observers, write_nothing) {
  struct ringbus_observer_options options = {.start = RINGBUS_NEWEST};
  struct ringbus_group_info group;
  struct ringbus_participant participant;
  struct stat before_status, after_status;
  ringbus_ring *read_only;
  ringbus_observer *observer;
  ringbus_consumer *consumer;
  unsigned char *before, *after;
  size_t length, length_after;
  uint64_t position, messages;
  make(RINGBUS_HOLD);
  consumer = test_consumer(ring, "g");
  publish(producer, 50);
  cr_result(ringbus_consumer_recv(consumer, (char[128]){0}, 128, NULL), 0);
  before = test_read_whole("ring", &length);
  cr_assert_eq(stat(test_path("ring"), &before_status), 0);

  read_only = test_open_read_only("ring");
  cr_assert(info_of(read_only).read_only);
  observer = test_observer(read_only);
  expect_all(observer, 0, 50, -EAGAIN);
  cr_result(ringbus_observer_wait(observer, 0), -ETIMEDOUT);
  cr_result(ringbus_observer_wait(observer, 3000000), -ETIMEDOUT);
  cr_result(ringbus_observer_seek(observer, RINGBUS_OLDEST, 0), 0);
  expect(observer, 0);
  cr_result(ringbus_observer_tell(observer, &position, NULL), 0);
  cr_result(ringbus_observer_seek(observer, RINGBUS_POSITION, position), 0);
  cr_result(ringbus_observer_lost(observer, &messages, NULL), 0);
  cr_result(ringbus_ring_group(read_only, 0, &group), 0);
  cr_result(ringbus_ring_participant(read_only, 1, &participant), 0);
  cr_assert(participant.alive);
  cr_result(ringbus_ring_wait_for(read_only, RINGBUS_PRODUCER, 0), 0);
  cr_result(ringbus_observer_detach(observer), 0);
  cr_result(ringbus_observer_attach(read_only, &options, &observer), 0);
  cr_result(ringbus_observer_detach(observer), 0);
  cr_result(ringbus_ring_close(read_only), 0);

  after = test_read_whole("ring", &length_after);
  cr_assert_eq(stat(test_path("ring"), &after_status), 0);
  cr_assert_eq(length, length_after);
  cr_assert_arr_eq(before, after, length);
  cr_assert(before_status.st_mtim.tv_sec == after_status.st_mtim.tv_sec &&
            before_status.st_mtim.tv_nsec == after_status.st_mtim.tv_nsec &&
            before_status.st_ctim.tv_nsec == after_status.st_ctim.tv_nsec);
  free(before);
  free(after);
}

Test(observers, need_no_more_than_read_permission) {
  int status;
  pid_t pid;
  make(RINGBUS_HOLD);
  publish(producer, 5);
  if (geteuid() != 0)
    cr_skip_test("only root can become somebody else");
  cr_assert_eq(chmod(test_path("ring"), 0444), 0);
  cr_assert_eq(chmod(test_directory(), 0755), 0);
  cr_assert_eq(chmod(getenv("RINGBUS_TEST_DIRECTORY"), 0755), 0);
  pid = fork();
  if (pid == 0) {
    unsigned char buffer[128];
    ringbus_ring *theirs = NULL;
    ringbus_observer *observer;
    struct ringbus_ring_info info;
    REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
    REQUIRE_RESULT(ringbus_ring_open(test_path("ring"), NULL, &theirs), -EACCES);
    REQUIRE(!theirs && *ringbus_error_detail());
    theirs = test_open_read_only("ring"); /* of root, which is accepted */
    observer = test_observer(theirs);
    for (uint64_t number = 0; number < 5; number++) {
      REQUIRE_RESULT(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), 0);
      REQUIRE(memcmp(buffer, test_content(number), length_of(number)) == 0);
    }
    REQUIRE_RESULT(ringbus_ring_info(theirs, &info), 0);
    REQUIRE(info.participants == 1);
    _exit(0);
  }
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(observers, a_read_only_ring_takes_no_participants) {
  ringbus_ring *read_only;
  ringbus_producer *no_producer = NULL;
  ringbus_consumer *no_consumer = NULL;
  make(RINGBUS_HOLD);
  cr_result(ringbus_producer_detach(producer), 0);
  read_only = test_open_read_only("ring");
  cr_result(ringbus_producer_attach(read_only, NULL, &no_producer), -EPERM);
  cr_result(ringbus_consumer_attach(read_only, NULL, &no_consumer), -EPERM);
  cr_result(ringbus_ring_flush(read_only), -EPERM);
  cr_assert(!no_producer && !no_consumer);
}

Test(observers, see_everything_still_in_the_ring) {
  ringbus_observer *observer;
  make(RINGBUS_DROP);
  for (int round = 0; round < 300; round++) {
    struct ringbus_ring_info info;
    publish(producer, 1 + (uint64_t)round % 40);
    info = info_of(ring);
    observer = test_observer(ring);
    expect_all(observer, info.oldest_count, info.tail_count, -EAGAIN);
    cr_result(ringbus_observer_detach(observer), 0);
  }
}

Test(observers, hold_nobody_back_and_are_told_their_loss_exactly) {
  struct ringbus_message message;
  ringbus_observer *observer;
  uint64_t next = 0, lost_messages = 0, lost_bytes = 0, messages, bytes, position, count;
  uint64_t random = 11, times = 0;
  unsigned char buffer[128];
  make(RINGBUS_DROP);
  observer = test_observer(ring);
  for (int round = 0; round < 3000; round++) {
    publish(producer, test_random(&random) % 80);
    for (uint64_t n = test_random(&random) % 60; n && next < published; n--) {
      uint64_t oldest = info_of(ring).oldest_count;
      if (next < oldest) {
        cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), -EOVERFLOW);
        for (; next < oldest; next++, lost_messages++)
          lost_bytes += reference_bytes(length_of(next), tag_of(next));
        times++;
      }
      expect(observer, next++);
      cr_result(ringbus_observer_tell(observer, &position, &count), 0);
      cr_assert_eq(count, next);
    }
    cr_result(ringbus_observer_lost(observer, &messages, &bytes), 0);
    cr_assert(messages == lost_messages && bytes == lost_bytes);
  }
  cr_assert_gt(times, 50);
}

Test(observers, begin_where_they_are_told) {
  struct ringbus_observer_options options = {.start = RINGBUS_POSITION};
  ringbus_observer *observer;
  uint64_t positions[40];
  make(RINGBUS_HOLD);
  for (int i = 0; i < 40; i++) {
    cr_result(ringbus_producer_tell(producer, &positions[i], NULL), 0);
    publish(producer, 1);
  }
  for (uint64_t i = 0; i < 40; i++) {
    options.position = positions[i];
    cr_result(ringbus_observer_attach(ring, &options, &observer), 0);
    expect_all(observer, i, 40, -EAGAIN);
    cr_result(ringbus_observer_detach(observer), 0);
    options.position = positions[i] + 4;
    cr_result(ringbus_observer_attach(ring, &options, &observer), -EINVAL);
    options.position = positions[i] + (1 << 20);
    cr_result(ringbus_observer_attach(ring, &options, &observer), -EINVAL);
  }
  options.start = RINGBUS_NEWEST;
  cr_result(ringbus_observer_attach(ring, &options, &observer), 0);
  publish(producer, 2);
  expect_all(observer, 40, 42, -EAGAIN);
  cr_result(ringbus_observer_seek(observer, RINGBUS_POSITION, positions[7]), 0);
  expect_all(observer, 7, 42, -EAGAIN);
  cr_result(ringbus_observer_seek(observer, RINGBUS_POSITION, positions[7] + 1), -EINVAL);
  cr_result(ringbus_observer_seek(observer, RINGBUS_OLDEST, 0), 0);
  expect_all(observer, 0, 42, -EAGAIN);
}

Test(observers, see_the_end_of_the_stream_after_the_last_message) {
  ringbus_observer *observer;
  make(RINGBUS_HOLD);
  observer = test_observer(ring);
  publish(producer, 5);
  cr_result(ringbus_producer_finish(producer), 0);
  cr_result(ringbus_observer_wait(observer, 0), 0);
  expect_all(observer, 0, 5, -EPIPE);
  cr_result(ringbus_observer_wait(observer, RINGBUS_FOREVER), -EPIPE);
}

Test(observers, too_small_a_buffer_is_told_the_length) {
  struct ringbus_message message;
  ringbus_observer *observer;
  unsigned char buffer[128];
  make(RINGBUS_HOLD);
  publish(producer, 8); /* the last one has 49 bytes */
  observer = test_observer(ring);
  for (uint64_t number = 0; number < 7; number++)
    expect(observer, number);
  memset(buffer, 0xaa, sizeof buffer);
  cr_result(ringbus_observer_recv(observer, buffer, 48, &message), -EMSGSIZE);
  cr_assert_eq(message.length, 49);
  cr_assert_eq(buffer[48], 0xaa);
  expect_all(observer, 7, 8, -EAGAIN);
}

static int publish_and_die(struct test_child *self, void *context) {
  ringbus_ring *mine = test_open("ring");
  ringbus_producer *with = test_producer(mine);
  ringbus_consumer *consumer = test_consumer(mine, "g");
  void *data;
  (void)self;
  (void)context;
  publish(with, 30);
  REQUIRE_RESULT(ringbus_consumer_recv(consumer, (char[128]){0}, 128, NULL), 0);
  REQUIRE_RESULT(ringbus_producer_claim(with, 100, 0, &data), 0);
  memset(data, 0x5a, 100); /* half a message, never committed */
  raise(SIGKILL);
  return 1;
}

Test(observers, read_a_ring_whose_processes_are_dead) {
  struct ringbus_participant participant;
  struct test_child child;
  ringbus_ring *read_only;
  ringbus_observer *observer;
  ringbus_ring_close(test_ring("ring", NULL));
  child = test_child_start(publish_and_die, NULL);
  cr_assert_eq(test_child_status(&child), -SIGKILL);
  read_only = test_open_read_only("ring");
  cr_assert_eq(info_of(read_only).participants, 0);
  cr_assert_eq(info_of(read_only).tail_count, 30);
  cr_result(ringbus_ring_participant(read_only, 1, &participant), 0);
  cr_assert(participant.role == RINGBUS_PRODUCER && !participant.alive);
  observer = test_observer(read_only);
  expect_all(observer, 0, 30, -EAGAIN);
}

Test(observers, take_no_slot) {
  struct ringbus_create_options options = {.capacity = 4096, .max_participants = 2};
  ringbus_observer *observers[100];
  ring = test_ring("ring", &options);
  producer = test_producer(ring);
  publish(producer, 1);
  for (int i = 0; i < 100; i++)
    observers[i] = test_observer(ring);
  for (int i = 0; i < 100; i++)
    expect_all(observers[i], 0, 1, -EAGAIN);
  cr_assert_eq(info_of(ring).participants, 1);
}
