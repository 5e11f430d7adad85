/* SPDX-License-Identifier: MIT */
/* pace.c - keeping producer and consumer off each other's heels, and what is tried out at run time.
 *
 * What limits a ring is not instructions but cache lines that both cores want at the same time: a consumer
 * that polls the very line the producer is writing, a producer that waits for each line the consumer gives
 * free, and lines that are written anew while the other core holds a copy. The cures (a rest on the first
 * empty look, a rest when the ring is full, lines handed back) cost something, and whether they pay
 * depends on processor, place of the cores and traffic, all of which change. So the consumer tries: it
 * measures how fast it gets on with and without, and keeps what is better. No result depends on it. */
#include "consumer.h"

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <time.h>
#endif

/* ---------------------------------------------------------------- time */

/* A counter that is read without a system call; a microsecond is about so many counts. */
#if defined(__x86_64__)
static uint64_t ticks(void) { return __builtin_ia32_rdtsc(); }
static uint64_t ticks_per_us(void) { return 2048; } /* of 1 to 5 thousand: near enough for a rest */
#elif defined(__aarch64__)
static uint64_t ticks(void) {
  uint64_t now;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
  return now;
}
static uint64_t ticks_per_us(void) {
  uint64_t hertz;
  __asm__("mrs %0, cntfrq_el0" : "=r"(hertz));
  return hertz / 1000000 + 1;
}
#else
static uint64_t ticks(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
static uint64_t ticks_per_us(void) { return 1000; }
#endif

void rest(unsigned us) {
  const uint64_t begin = ticks(), length = us * ticks_per_us();
  while (ticks() - begin < length)
    spin_pause();
}

/* ---------------------------------------------------------------- trials */

/* The way chosen is kept for a while, then the other is tried for a short time. Each time the choice stays
 * what it was, the next try comes four times later, so that what a wrong one costs is below a hundredth. */
enum { KEPT_FIRST = 64, KEPT_LAST = 8192 };

static void begin_phase(struct trial *trial, unsigned measured, unsigned settling) {
  trial->measured = measured;
  trial->left = measured + settling + 1;
}

void trial_begin(struct trial *trial) {
  *trial = (struct trial){.kept = KEPT_FIRST};
  begin_phase(trial, KEPT_FIRST, 0);
}

bool trial_step(struct trial *trial, uint64_t position, unsigned tried, unsigned settling) {
  if (--trial->left == trial->measured) {
    trial->since = ticks();
    trial->from = position;
  }
  if (trial->left)
    return trial->other != trial->trying;
  const double speed =
      (double)(position - trial->from) / (double)(ticks() - trial->since + 1 /* not by zero */);
  if (!trial->trying) {
    trial->speed = speed;
    trial->trying = true;
    trial->won = 0;
  } else {
    const bool other_pays =
        trial->other ? trial->speed > speed * 5 / 4 : speed > trial->speed * 5 / 4;
    if (other_pays && !trial->other && ++trial->won < 2) {
      begin_phase(trial, tried, 0); /* was that chance? */
      return true;
    }
    trial->kept = other_pays != trial->other ? KEPT_FIRST
                  : trial->kept < KEPT_LAST  ? trial->kept * 4
                                             : KEPT_LAST;
    trial->other = other_pays;
    trial->trying = false;
  }
  begin_phase(trial, trial->trying ? tried : trial->kept, settling);
  return trial->other != trial->trying;
}

/* ---------------------------------------------------------------- the consumer's two */

/* A rest on the first empty look makes a gap in which the producer writes undisturbed; if it sends
 * at its own pace it makes nothing but latency. */
void pace_empty(ringbus_consumer *consumer) {
  consumer->hot.empty_at = consumer->hot.position;
  if (trial_step(&consumer->resting, consumer->hot.position, 16, 16))
    rest(2);
}

/* What handing back or not does is felt when the producer comes to these lines again, a lap later. */
void ringbus_slow_stripe(ringbus_consumer *consumer) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  const uint64_t lap = hot->position >> hot->view.capacity_shift;
  hot->usual_word = ringbus_word_in_lap(&hot->view, hot->usual_word, hot->position);
  if (!consumer->tries_keeping || lap == consumer->lap)
    return;
  consumer->lap = lap;
  hot->hand_back = trial_step(&consumer->keeping, hot->position, 2, 1) ? RINGBUS_HAND_BACK_NEVER
                                                                       : RINGBUS_HAND_BACK_STORE;
}
