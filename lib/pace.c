/* SPDX-License-Identifier: MIT */
/* pace.c - keeping producer and consumer off each other's heels, and what is tried out at run time.
 *
 * What limits a ring is not instructions but cache lines that both cores want at the same time: a consumer
 * that polls the very line the producer is writing, a producer that waits for each line the consumer gives
 * free, and lines that are written anew while the other core holds a copy. The cures (a rest on the first
 * empty look, a rest when the ring is full, lines handed back) cost something, and whether they pay
 * depends on processor, place of the cores and traffic, all of which change. So whoever rests or
 * hands back tries: it measures how fast it gets on with and without, and keeps what is better. No result depends
 * on it. */
#include "consumer.h"
#include "producer.h"

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

/* On the processor, about so many microseconds. */
static void rest(unsigned us) {
  const uint64_t begin = ticks(), length = us * ticks_per_us();
  /* Not for ever, should the counter stand still. */
  for (unsigned pauses = us * 256; pauses > 0 && ticks() - begin < length; pauses--)
    spin_pause();
}

/* ---------------------------------------------------------------- a full ring */

/* So often, and so long, a producer looks whether an eighth of the ring is free, or so many bytes. */
enum { FULL_LOOKS = 16, FULL_US = 32, FULL_ROOM = 65536 };

/* On the heels of the slowest consumer a producer gets room for one message after the other, and both write
 * to neighbouring lines at the same time, which costs several times more than all else. So whoever finds the
 * ring full lets the consumer get ahead, as long as it does, which has a whole ring of messages to read; others
 * of other groups may wait for some microseconds. Who has not moved since the last look is not waited for. */
void pace_full(ringbus_ring *ring, struct counted tail, bool told, uint64_t bytes,
               uint64_t *full_at) {
  const uint64_t capacity = ring->geometry.capacity;
  const uint64_t enough = capacity / 8 < FULL_ROOM ? capacity / 8 : FULL_ROOM;
  const uint64_t begin = ticks();
  for (unsigned looks = 0; looks < FULL_LOOKS && ticks() - begin < FULL_US * ticks_per_us();
       looks++) {
    const struct slowest slowest = find_slowest(ring, tail, told, bytes);
    const bool has_moved = slowest.at.position != *full_at;
    *full_at = slowest.at.position;
    if (!has_moved || distance(tail.position + enough, slowest.at.position + capacity) >= 0)
      return;
    rest(1);
  }
}

/* ---------------------------------------------------------------- trials */

/* Time goes in windows. What is chosen, to do something or not, is kept for some windows, then the other is tried for a
 * short one. Each time the choice stays what it was, the next try comes later by a factor, so that the wrong choice has
 * some thousandths of the laps or looks in the end, and where one that costs latency is chosen some hundredths; but sooner
 * if messages come twice as fast, or half as fast, as when it was tried last, for about as many windows in a row as a
 * try comes sooner by. Where what is chosen costs latency, half as fast begins without it: there is other traffic now,
 * perhaps such as waits for an answer. */
enum { KEPT_WINDOW = 4 /* times that of a try */, KEPT_LONGEST_WITH_LATENCY = 16, KEPT_ANEW = 32 };
enum { SOONER = 16, LATER = 2, LATER_IF_CLEAR = 8 };
/* A choice is changed if the other one has won so many tries more than it has lost. From the second on each is compared
 * with a short window of what is chosen just in front of it, for all speeds change meanwhile. But what costs
 * latency is left after one such try, and is tried more often (KEPT_LONGEST_WITH_LATENCY). A series of so many tries
 * has not shown anything. No window is shorter than so many microseconds. */
enum { TRIED_TIMES = 4, TRIES_MOST = 16, WINDOW_US = 20 };
/* Each try of so many is later by another number of steps, or traffic with a rhythm of its own would be in step with
 * windows and tries. */
enum { OUT_OF_STEP = 4 };

/* A try of a rest is to be short: whoever sends at a pace of its own has a rest's worth of messages late for each of
 * its steps. */
const struct trial_terms trial_of_resting = {
    .tried = 4, .settling = 2, .enough = 5.0 / 4, .costs_latency = true, .kept_longest = 4096};
/* Lines are handed back when the producer comes to them again, in the lap that begins a window. Whoever hands them back
 * has yet to learn whether a rest pays then, which takes some more: either alone gains little where both together
 * gain ten times as much. */
const struct trial_terms trial_of_handing_back = {
    .tried = 2, .learning = 6, .enough = 9.0 / 8, .kept_longest = 256};
const struct trial_terms trial_of_giving_way = {
    .tried = 8, .settling = 1, .enough = 5.0 / 4, .costs_latency = true, .kept_longest = 256};

static void begin_window(struct trial *trial) {
  const struct trial_terms *terms = trial->terms;
  trial->measured = trial->trying || trial->won > 0 ? terms->tried : terms->tried * KEPT_WINDOW;
  trial->left = trial->measured;
  if (trial->trying || trial->windows == 0)
    trial->left += terms->settling;
  if (trial->trying)
    trial->left += trial->all_tries % OUT_OF_STEP + (trial->chosen ? 0 : terms->learning);
}

static void begin_anew(struct trial *trial, bool chosen, unsigned kept, double speed) {
  trial->chosen = chosen;
  trial->kept = kept;
  trial->windows = trial->unlike = 0;
  trial->speed = speed;
  trial->last = 0;
}

void trial_begin(struct trial *trial, const struct trial_terms *terms, bool chosen) {
  *trial = (struct trial){.terms = terms};
  begin_anew(trial, chosen, 1, 0);
  begin_window(trial);
}

static void begin_tries(struct trial *trial, double speed) {
  trial->speed = trial->beside = speed;
  trial->trying = true;
  trial->tries = 0;
}

/* For how many windows what is chosen is kept now, if it was so many before. */
static unsigned later(const struct trial *trial, unsigned kept, bool is_clear) {
  const struct trial_terms *terms = trial->terms;
  const unsigned longest =
      trial->chosen && terms->costs_latency ? KEPT_LONGEST_WITH_LATENCY : terms->kept_longest;
  kept *= terms->costs_latency || is_clear ? LATER_IF_CLEAR : LATER;
  return kept < longest ? kept : longest;
}

/* What costs latency is to be so much faster to be chosen, and to be kept; else what is chosen has the benefit of the
 * doubt. */
static void end_try(struct trial *trial, double speed) {
  const bool costs_latency = trial->terms->costs_latency;
  const double enough = trial->terms->enough;
  const bool changes = trial->chosen && costs_latency ? trial->beside <= speed * enough
                                                      : speed > trial->beside * enough;
  trial->trying = false;
  trial->windows = trial->unlike = 0;
  trial->tries++;
  trial->all_tries++;
  if (changes)
    trial->won++;
  else if (trial->won > 0)
    trial->won--;
  if (trial->won >= (trial->chosen && costs_latency ? 1U : TRIED_TIMES)) {
    trial->chosen_at = trial->speed;
    trial->kept_before = trial->kept;
    begin_anew(trial, !trial->chosen, 1, speed);
    trial->won = 0;
  } else if (trial->won == 0 || trial->tries == TRIES_MOST) {
    trial->kept = later(trial, trial->kept, speed * 2 < trial->beside);
    trial->won = 0;
  }
}

/* Bursts, and gaps between them, can make short windows look as if what costs latency paid: the first long one is to
 * show it, too. */
static bool was_a_mistake(struct trial *trial, double speed) {
  const double chosen_at = trial->chosen_at;
  trial->chosen_at = 0;
  return trial->chosen && trial->terms->costs_latency && speed < chosen_at * trial->terms->enough;
}

static void end_kept_window(struct trial *trial, double speed) {
  /* The better of two: one may be slow because this process or the other had no core for a while. */
  const double recent = speed > trial->last ? speed : trial->last;
  const bool is_slower = recent * 2 < trial->speed,
             is_faster = trial->speed > 0 && recent > trial->speed * 2;
  trial->last = speed;
  trial->windows++;
  trial->unlike = is_slower || is_faster ? trial->unlike + 1 : 0;
  if (was_a_mistake(trial, speed)) {
    trial->chosen = false;
    begin_anew(trial, false, later(trial, trial->kept_before, true), speed);
  } else if (is_slower && trial->chosen && trial->terms->costs_latency)
    begin_anew(trial, false, KEPT_ANEW, recent);
  else if (trial->windows >= trial->kept || trial->unlike > trial->kept / SOONER)
    begin_tries(trial, recent);
}

bool trial_step(struct trial *trial, uint64_t position) {
  if (trial->left-- == trial->measured) {
    trial->since = ticks();
    trial->from = position;
  }
  const uint64_t length = trial->left == 0 ? ticks() - trial->since : 0;
  if (trial->left == 0 && length < WINDOW_US * ticks_per_us()) {
    trial->left = 1;
  } else if (trial->left == 0) {
    const double speed = (double)(position - trial->from) / (double)length;
    if (trial->trying) {
      end_try(trial, speed);
    } else if (trial->won > 0) { /* and once more */
      trial->beside = speed;
      trial->trying = true;
    } else {
      end_kept_window(trial, speed);
    }
    begin_window(trial);
  }
  return trial->chosen != trial->trying;
}

/* ---------------------------------------------------------------- producers beside each other */

/* So many claims without one that was lost, and it is the others' turn. */
enum { RUN = 8, GIVING_WAY_US = 2 };

/* Two that claim at the same time pull the line of words back and forth, for the claim and for the commit of
 * each message. Whoever has had a run and then comes too late leaves it to the other for a while, which gets
 * on as if it were alone, until this one is back and makes it come too late in its turn. Who has had none does
 * not rest: mostly one that sends now and then, beside another that sends all the time, and loses often. Nor
 * does any rest for longer: all together would gain a little, but one that is not always sending would lose
 * much. */
void pace_collision(ringbus_producer *producer) {
  const bool has_had_a_run = producer->run >= RUN;
  producer->run = 0;
  if (has_had_a_run && trial_step(&producer->giving_way, producer->hot.tail))
    rest(GIVING_WAY_US);
}

/* ---------------------------------------------------------------- the consumer's two */

enum { RESTING_US = 16 };
/* So many looks at most without a window of rests that ended: a lap may have any number of them. */
enum { UNLEARNED_MOST = 256 };

static bool is_handing_back(const ringbus_consumer *consumer) {
  return consumer->hot.hand_back == RINGBUS_HAND_BACK_STORE;
}

/* A rest on the first empty look makes a gap in which the producer writes undisturbed; if it sends
 * at its own pace it makes nothing but latency. What a rest gains depends on whether lines are handed back, so there
 * is a trial for each; what a change of that makes of the speed must not be taken for the effect of a rest. */
void pace_empty(ringbus_consumer *consumer) {
  struct trial *resting = &consumer->resting[is_handing_back(consumer)];
  bool rests;
  consumer->hot.empty_at = consumer->hot.position;
  if (consumer->hands_back_anew && consumer->unlearned < UNLEARNED_MOST) {
    consumer->unlearned++;
    begin_window(resting);
    rests = resting->chosen;
  } else {
    const unsigned left = resting->left;
    rests = trial_step(resting, consumer->hot.position);
    if (resting->left > left) /* a window has ended */
      consumer->unlearned = 0;
  }
  if (rests)
    rest(RESTING_US);
}

void ringbus_slow_lap(ringbus_consumer *consumer) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  consumer_enter_lap(hot);
  if (!consumer->tries_handing_back)
    return;
  const bool before = is_handing_back(consumer),
             now = trial_step(&consumer->handing_back, hot->position);
  consumer->hands_back_anew = now != before;
  if (now == before)
    return;
  hot->hand_back = now ? RINGBUS_HAND_BACK_STORE : RINGBUS_HAND_BACK_NEVER;
  /* What was learned long ago, perhaps from other traffic, does not keep a try from learning. */
  struct trial *resting = &consumer->resting[now];
  if (consumer->handing_back.trying && resting->kept > KEPT_ANEW)
    resting->kept = KEPT_ANEW;
  begin_window(resting);
}
