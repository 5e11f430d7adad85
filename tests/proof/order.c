/* SPDX-License-Identifier: MIT */
/* order.c - labelled pairs of include/ringbus/inline.h by themselves, for CBMC's model of a processor whose stores
 * become visible in any order but to one address (--mm pso). Not the functions of inline.h: to CBMC all bytes
 * of a mapping are one address, so there it would find nothing out of order. Loads stay in order in this model: what
 * a reader's acquire is for is in tests/model/litmus.c, where all pairs are.
 *
 * BROKEN_... takes one fence or order away; CBMC must see what breaks. */
#include <pthread.h>
#include <stdbool.h>

#ifdef BROKEN_RELEASE
#define RELEASE_FENCE() (void)0
#else
#define RELEASE_FENCE() __sync_synchronize()
#endif
#ifdef BROKEN_FENCE_LEFT
#define FENCE_LEFT() (void)0
#else
#define FENCE_LEFT() __sync_synchronize()
#endif
#ifdef BROKEN_FENCE_RIGHT
#define FENCE_RIGHT() (void)0
#else
#define FENCE_RIGHT() __sync_synchronize()
#endif

static void run_both(void *(*left)(void *), void *(*right)(void *)) {
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, left, NULL);
  pthread_create(&threads[1], NULL, right, NULL);
  pthread_join(threads[0], NULL);
  pthread_join(threads[1], NULL);
}

/* ---------------------------------------------------------------- PUBLISH, CLEAR */

enum { OLD_PAYLOAD = 7, COMMITTED = 1 };
static int word_of_tail, bytes_of_message, word_of_next = OLD_PAYLOAD;

static void *publish(void *unused) {
  bytes_of_message = 1;
#ifndef BROKEN_ORDER
  word_of_next = 0; /* CLEAR */
#endif
  RELEASE_FENCE();
  word_of_tail = COMMITTED; /* PUBLISH */
#ifdef BROKEN_ORDER
  word_of_next = 0;
#endif
  return unused;
}

static void *read_message(void *unused) {
  if (word_of_tail == COMMITTED) { /* PUBLISH */
    __CPROVER_assert(bytes_of_message == 1, "the message's bytes came before its word");
    __CPROVER_assert(word_of_next != OLD_PAYLOAD, "what is behind it is no old payload");
  }
  return unused;
}

void proof_order_publish(void) { run_both(publish, read_message); }

/* ---------------------------------------------------------------- ANNOUNCE */

enum { THIS_LAP = 1, NEXT_LAP = 2 };
static int floor_position, bytes_of_record = THIS_LAP;

static void *overwrite(void *unused) {
#ifndef BROKEN_ORDER
  floor_position = 1; /* ANNOUNCE */
#endif
  FENCE_LEFT();
  bytes_of_record = NEXT_LAP;
#ifdef BROKEN_ORDER
  floor_position = 1;
#endif
  return unused;
}

static void *copy_out(void *unused) {
  int copy = bytes_of_record;
  __sync_synchronize();
  if (floor_position == 0) /* ANNOUNCE */
    __CPROVER_assert(copy == THIS_LAP, "what is believed was not overwritten");
  return unused;
}

void proof_order_announce(void) { run_both(overwrite, copy_out); }

/* ---------------------------------------------------------------- SLEEP */

static int waiters, published;
static bool sleeps, is_woken;

static void *sleep_unless_published(void *unused) {
  waiters = 1; /* SLEEP */
  FENCE_LEFT();
  sleeps = !published;
  return unused;
}

static void *publish_and_wake(void *unused) {
  published = 1;
  FENCE_RIGHT();
  is_woken = waiters; /* SLEEP */
  return unused;
}

void proof_order_sleep(void) {
  run_both(sleep_unless_published, publish_and_wake);
  __CPROVER_assert(!sleeps || is_woken, "nobody sleeps beside a message");
}
