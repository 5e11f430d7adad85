/* SPDX-License-Identifier: MIT */
/* sleeping.c - what may happen between a sleeper's last look and its sleep, and while somebody is being
 * woken. This program has a syscall() of its own, through which the library goes to sleep and wakes: a
 * test puts there what others do in just that moment. Sleepers look only once an hour, so that a lost wake-up runs into the time limit. */
#include "suite.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/syscall.h>

#define AN_HOUR (INT64_C(3600) * 1000000000)

/* Done once, when the next sleep, or wake-up, is about to begin. */
static void (*meanwhile)(void), (*before_waking)(void);
/* What sleeping on several words fails with, if anything, and how often it was tried. */
static int refusal;
static unsigned refused;
/* What clearing the word and waking in one step fails with, if anything. */
static int wake_refusal;

long syscall(long number, ...) {
  static long (*system_call)(long, ...);
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++)
    arguments[i] = va_arg(list, long);
  va_end(list);
  if (!system_call) {
    void *found = dlsym(RTLD_NEXT, "syscall");
    REQUIRE(found);
    memcpy(&system_call, &found, sizeof found);
  }
  if (number == SYS_futex_waitv || (number == SYS_futex && (int)arguments[1] == FUTEX_WAIT)) {
    void (*now)(void) = meanwhile;
    meanwhile = NULL;
    if (now)
      now();
  }
  if (number == SYS_futex &&
      ((int)arguments[1] == FUTEX_WAKE_OP || (int)arguments[1] == FUTEX_WAKE)) {
    void (*now)(void) = before_waking;
    before_waking = NULL;
    if (now)
      now();
  }
  if (number == SYS_futex && (int)arguments[1] == FUTEX_WAKE_OP && wake_refusal) {
    refused++;
    errno = wake_refusal;
    return -1;
  }
  if (number == SYS_futex_waitv && refusal) {
    refused++;
    errno = refusal;
    return -1;
  }
  return system_call(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                     arguments[5]);
}

static const enum ringbus_wake wakes[] = {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAKE_BY_FENCE};

static ringbus_producer *producer;
static ringbus_consumer *consumer, *other;

static ringbus_consumer *sleeper(ringbus_ring *ring) {
  struct ringbus_consumer_options options = {.wait = RINGBUS_WAIT_BLOCK, .look_ns = AN_HOUR};
  ringbus_consumer *made;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &made), 0);
  return made;
}

static void publish(void) { REQUIRE_RESULT(ringbus_producer_send(producer, "x", 1, 0), 0); }

/* A message; the other one reads it, and goes to sleep itself. */
static void publish_and_let_the_other_sleep(void) {
  char byte;
  publish();
  REQUIRE_RESULT(ringbus_consumer_recv(other, &byte, 1, NULL), 0);
  REQUIRE_RESULT(ringbus_consumer_wait(other, 1000000), -ETIMEDOUT);
}

static void let_the_other_sleep(void) {
  REQUIRE_RESULT(ringbus_consumer_wait(other, 1000000), -ETIMEDOUT);
}

static void start(enum ringbus_wake wake) {
  static char name[] = "ring-0";
  struct ringbus_create_options options = {.capacity = 4096, .wake = wake};
  ringbus_ring *ring;
  name[5]++;
  ring = test_ring(name, &options);
  producer = test_producer(ring);
  consumer = sleeper(ring);
  other = sleeper(ring);
}

Test(sleeping, a_message_before_the_sleep_is_noticed, .timeout = 20) {
  for (size_t wake = 0; wake < 2; wake++) {
    start(wakes[wake]);
    meanwhile = publish;
    cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
    cr_assert_null(meanwhile);
  }
}

/* The word on which all of them sleep was cleared by the publisher, and is set again by the next
 * sleeper: it must not look as it did. */
Test(sleeping, a_message_before_the_sleep_is_noticed_though_the_next_one_has_gone_to_sleep,
     .timeout = 20) {
  for (size_t wake = 0; wake < 2; wake++) {
    start(wakes[wake]);
    meanwhile = publish_and_let_the_other_sleep;
    cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
    start(wakes[wake]);
    let_the_other_sleep(); /* the word was set already */
    meanwhile = publish_and_let_the_other_sleep;
    cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
  }
}

/* ---------------------------------------------------------------- the same for several rings */

static void poll_for_it(enum ringbus_wake wake, void (*what)(void)) {
  struct ringbus_poller_options options = {RINGBUS_WAIT_BLOCK, AN_HOUR};
  struct ringbus_ready ready;
  ringbus_poller *poller;
  ringbus_consumer *quiet;
  start(wake);
  quiet = consumer;
  ringbus_producer_detach(producer);
  start(wake);
  REQUIRE_RESULT(ringbus_poller_create(&options, &poller), 0);
  REQUIRE_RESULT(ringbus_poller_add(poller, quiet, NULL), 0);
  REQUIRE_RESULT(ringbus_poller_add(poller, consumer, NULL), 0);
  meanwhile = what;
  cr_result(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), 0);
  cr_assert_eq(ready.consumer, consumer);
  cr_assert_null(meanwhile);
}

Test(sleeping, a_message_before_the_sleep_on_several_rings_is_noticed, .timeout = 20) {
  for (size_t wake = 0; wake < 2; wake++) {
    poll_for_it(wakes[wake], publish);
    poll_for_it(wakes[wake], publish_and_let_the_other_sleep);
  }
}

/* Where it cannot be done it is tried once in a wait, and then there is polling. */
Test(sleeping, several_rings_are_polled_where_they_cannot_be_slept_on, .timeout = 20) {
  static const int refusals[] = {ENOSYS, EPERM, EINVAL};
  struct ringbus_poller_options options = {RINGBUS_WAIT_BLOCK, AN_HOUR};
  struct ringbus_ready ready;
  ringbus_poller *poller;
  cr_result(ringbus_poller_create(&options, &poller), 0);
  for (size_t wake = 0; wake < 2; wake++) {
    start(wakes[wake]);
    cr_result(ringbus_poller_add(poller, consumer, NULL), 0);
    cr_result(ringbus_poller_add(poller, other, NULL), 0);
  }
  for (size_t i = 0; i < 3; i++) {
    refusal = refusals[i];
    refused = 0;
    cr_result(ringbus_poller_wait(poller, 30000000, &ready), -ETIMEDOUT);
    cr_assert_eq(refused, 1);
    meanwhile = publish;
    cr_result(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), 0);
    cr_assert_eq(refused, 2);
    cr_result(ringbus_consumer_recv(consumer, (char[1]){0}, 1, NULL), 0);
    cr_result(ringbus_consumer_recv(other, (char[1]){0}, 1, NULL), 0);
  }
}

/* ---------------------------------------------------------------- the same for an event descriptor */

static int stalled[2]; /* a pipe: the helper thread says that it is about to sleep */

static void stall(void) {
  REQUIRE(write(stalled[1], "s", 1) == 1);
  test_sleep_us(20000); /* what happens in that time, or after, is right in any case */
}

static void event_fd(enum ringbus_wake wake, void (*what)(void), int *fd) {
  start(wake);
  meanwhile = what;
  cr_result(ringbus_consumer_event_fd(consumer, fd), 0);
}

static bool becomes_readable(int fd) { return poll(&(struct pollfd){fd, POLLIN, 0}, 1, -1) == 1; }

Test(sleeping, a_message_before_the_sleep_of_the_helper_is_noticed, .timeout = 20) {
  int fd;
  for (size_t wake = 0; wake < 2; wake++) {
    event_fd(wakes[wake], publish, &fd);
    cr_assert(becomes_readable(fd));
    event_fd(wakes[wake], publish_and_let_the_other_sleep, &fd);
    cr_assert(becomes_readable(fd));
  }
}

Test(sleeping, a_helper_about_to_sleep_heeds_detach_and_another_position, .timeout = 20) {
  char byte;
  int fd;
  cr_assert_eq(pipe(stalled), 0);
  for (size_t wake = 0; wake < 2; wake++) {
    event_fd(wakes[wake], stall, &fd);
    cr_assert_eq(read(stalled[0], &byte, 1), 1);
    cr_result(ringbus_consumer_detach(consumer), 0);

    event_fd(wakes[wake], stall, &fd);
    cr_assert_eq(read(stalled[0], &byte, 1), 1);
    publish();
    cr_result(ringbus_consumer_recv(consumer, &byte, 1, NULL), 0);
    cr_result(ringbus_consumer_event_arm(consumer), 0);
    cr_assert(!poll(&(struct pollfd){fd, POLLIN, 0}, 1, 50));
    publish();
    cr_assert(becomes_readable(fd));
    cr_result(ringbus_consumer_detach(consumer), 0);
  }
  close(stalled[0]);
  close(stalled[1]);
}

/* ---------------------------------------------------------------- wakers */

static struct test_child asleep;
static ringbus_producer *second;

/* Says 'w' each time when it was woken and has read all there is, until it is killed. */
static int sleep_and_read(struct test_child *self, void *context) {
  ringbus_consumer *reader = sleeper(test_open("ring"));
  char byte;
  (void)context;
  test_child_say(self, 'r');
  while (ringbus_consumer_wait(reader, RINGBUS_FOREVER) == 0) {
    while (ringbus_consumer_recv(reader, &byte, 1, NULL) == 0)
      ;
    test_child_say(self, 'w');
  }
  return 1;
}

static bool is_asleep(void) {
  struct ringbus_signals signals;
  char path[64], state = '?';
  test_read_file("ring", offsetof(struct ringbus_header, signals), &signals, sizeof signals);
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)asleep.pid);
  FILE *stat = fopen(path, "r");
  REQUIRE(stat && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1);
  (void)fclose(stat);
  return signals.data_waiters != 0 && state == 'S';
}

static void start_with_a_sleeper(enum ringbus_wake wake) {
  struct ringbus_create_options options = {.capacity = 4096, .wake = wake, .many_producers = true};
  ringbus_ring *ring = test_ring("ring", &options);
  struct ringbus_ring_info info;
  cr_result(ringbus_ring_info(ring, &info), 0);
  if (info.sleepers_poll)
    cr_skip_test("no membarrier here: nobody sleeps until he is woken");
  producer = test_producer(ring);
  second = test_producer(ring);
  asleep = test_child_start(sleep_and_read, NULL);
  cr_assert_eq(test_child_hear(&asleep), 'r');
  while (!is_asleep())
    test_sleep_us(100);
}

static void end_of_sleeper(void) {
  test_child_kill(&asleep);
  cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
}

static void publish_by_another(void) {
  REQUIRE_RESULT(ringbus_producer_send(second, "y", 1, 0), 0);
  REQUIRE(test_child_hear(&asleep) == 'w');
}

/* Whoever publishes first is stopped just before it wakes. */
Test(sleeping, a_waker_that_is_stopped_does_not_keep_others_from_waking, .timeout = 20) {
  for (size_t wake = 0; wake < 2; wake++) {
    start_with_a_sleeper(wakes[wake]);
    before_waking = publish_by_another;
    publish();
    cr_assert_null(before_waking);
    end_of_sleeper();
  }
}

Test(sleeping, sleepers_are_woken_where_clearing_and_waking_in_one_step_is_refused, .timeout = 20) {
  static const int refusals[] = {ENOSYS, EPERM};
  for (size_t wake = 0; wake < 2; wake++)
    for (size_t i = 0; i < 2; i++) {
      start_with_a_sleeper(wakes[wake]);
      wake_refusal = refusals[i];
      refused = 0;
      publish();
      cr_assert_eq(test_child_hear(&asleep), 'w');
      cr_assert_eq(refused, 1);
      while (!is_asleep())
        test_sleep_us(100);
      publish();
      cr_assert_eq(test_child_hear(&asleep), 'w');
      wake_refusal = 0;
      end_of_sleeper();
    }
}
