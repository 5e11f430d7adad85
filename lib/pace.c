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
  if (us == 0)
    return;
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

/* Time goes in windows. The level chosen is kept for some windows, then one next to it is tried for a short
 * one. Each time the choice stays what it was, the next try comes later by a factor, so that the wrong level has some
 * thousandths of the time in the end, and where a level that costs latency is chosen some hundredths; but sooner if
 * messages come twice as fast, or half as fast, as when it was chosen. Where a level costs latency, half as fast begins
 * at the lowest level: there is other traffic now, perhaps such as waits for an answer. */
enum { KEPT_WINDOW = 4 /* times that of a try */, KEPT_LONGEST = 256, KEPT_LONGEST_ABOVE = 16 };
enum { LATER = 2, LATER_WITH_LATENCY = 8 };
/* A level is changed if the other one has won so many tries more than it has lost. From the second on each is compared
 * with a short window of the level chosen just in front of it, for all speeds change meanwhile. But one that costs
 * latency is left after one such try, and is tried more often (KEPT_LONGEST_ABOVE). A series of so many tries has
 * not shown anything. No window is shorter than so many microseconds. */
enum { TRIED_TIMES = 4, TRIES_MOST = 16, WINDOW_US = 20 };
/* Each try of so many is later by another number of steps, or traffic with a rhythm of its own would be in step with
 * windows and tries. */
enum { OUT_OF_STEP = 4 };

static void begin_window(struct trial *trial) {
  trial->measured = trial->trying || trial->won > 0 ? trial->tried : trial->tried * KEPT_WINDOW;
  trial->left = trial->measured + (trial->trying || trial->windows == 0 ? trial->settling : 0) +
                (trial->trying ? trial->tries % OUT_OF_STEP : 0);
}

static void begin_anew(struct trial *trial, unsigned kept, double speed) {
  trial->chosen = 0;
  trial->kept = kept;
  trial->windows = 0;
  trial->speed = speed;
  trial->last = 0;
}

void trial_begin(struct trial *trial, unsigned levels, unsigned tried, unsigned settling,
                 double enough, bool costs_latency) {
  *trial = (struct trial){.levels = levels,
                          .tried = tried,
                          .settling = settling,
                          .enough = enough,
                          .costs_latency = costs_latency};
  begin_anew(trial, 1, 0);
  begin_window(trial);
}

static void begin_tries(struct trial *trial, double speed) {
  trial->speed = trial->beside = speed;
  trial->upwards = trial->chosen == 0 || (!trial->upwards && trial->chosen < trial->levels - 1);
  trial->trying = true;
  trial->tries = 0;
}

static void end_try(struct trial *trial, double speed) {
  const bool higher_pays = trial->upwards ? speed > trial->beside * trial->enough
                                          : trial->beside > speed * trial->enough;
  trial->trying = false;
  trial->windows = 0;
  trial->tries++;
  if (trial->upwards == higher_pays)
    trial->won++;
  else if (trial->won > 0)
    trial->won--;
  if (trial->won >= (trial->upwards || !trial->costs_latency ? TRIED_TIMES : 1U)) {
    trial->chosen += trial->upwards ? 1 : -1U;
    trial->kept = 1;
    trial->last = 0;
    trial->won = 0;
  } else if (trial->won == 0 || trial->tries == TRIES_MOST) {
    const unsigned longest =
        trial->chosen && trial->costs_latency ? KEPT_LONGEST_ABOVE : KEPT_LONGEST;
    trial->kept *= trial->costs_latency ? LATER_WITH_LATENCY : LATER;
    trial->kept = trial->kept < longest ? trial->kept : longest;
    trial->won = 0;
  }
}

static unsigned level(const struct trial *trial) {
  return !trial->trying ? trial->chosen : trial->upwards ? trial->chosen + 1 : trial->chosen - 1;
}

/* Whether something else than what was chosen is being tried, or was just now, or will be next. */
static bool is_unsettled(const struct trial *trial) {
  return trial->trying || trial->won > 0 || trial->left > trial->measured;
}

unsigned trial_step(struct trial *trial, uint64_t position) {
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
      /* The better of two: one may be slow because this process or the other had no core for a while. */
      const double recent = speed > trial->last ? speed : trial->last;
      const bool is_slower = recent * 2 < trial->speed, is_faster = recent > trial->speed * 2;
      trial->last = speed;
      if (is_slower && trial->chosen > 0 && trial->costs_latency)
        begin_anew(trial, KEPT_LONGEST / 8, recent);
      else if (++trial->windows >= (is_faster || is_slower ? trial->kept / 16 : trial->kept))
        begin_tries(trial, recent);
    }
    begin_window(trial);
  }
  return level(trial);
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
  if (has_had_a_run)
    rest(GIVING_WAY_US * trial_step(&producer->giving_way, producer->hot.tail));
}

/* ---------------------------------------------------------------- the consumer's two */

/* So many looks at most without a window of rests that ended: a lap of slow traffic in a large ring may take hours, and
 * then a rest is no good. */
enum { UNLEARNED_MOST = 256 };

/* A rest on the first empty look makes a gap in which the producer writes undisturbed; if it sends
 * at its own pace it makes nothing but latency. What the other trial makes of the speed must not be taken for
 * the effect of a rest, or of the traffic. */
void pace_empty(ringbus_consumer *consumer) {
  static const unsigned us[RESTING_LEVELS] = {0, 2, 8};
  struct trial *resting = &consumer->resting;
  consumer->hot.empty_at = consumer->hot.position;
  if (consumer->tries_handing_back && is_unsettled(&consumer->handing_back) &&
      consumer->unlearned < UNLEARNED_MOST) {
    consumer->unlearned++;
    begin_window(resting);
  } else {
    const unsigned left = resting->left;
    (void)trial_step(resting, consumer->hot.position);
    if (resting->left > left) /* a window has ended */
      consumer->unlearned = 0;
  }
  rest(us[level(resting)]);
}

/* What handing back or not does is felt when the producer comes to these lines again, a lap later. */
void ringbus_slow_lap(ringbus_consumer *consumer) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  consumer_enter_lap(hot);
  if (!consumer->tries_handing_back)
    return;
  hot->hand_back = trial_step(&consumer->handing_back, hot->position) ? RINGBUS_HAND_BACK_STORE
                                                                      : RINGBUS_HAND_BACK_NEVER;
}
