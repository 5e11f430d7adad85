/* SPDX-License-Identifier: MIT */
/* sleeping.c - what may happen between a sleeper's last look and its sleep. This program has a syscall()
 * of its own, through which the library goes to sleep: a test puts there what others do in just that
 * moment. Sleepers look only once an hour, so that a lost wake-up runs into the time limit. */
#include "suite.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>

#define AN_HOUR (INT64_C(3600) * 1000000000)

/* Done once, when the next sleep is about to begin. */
static void (*meanwhile)(void);

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
