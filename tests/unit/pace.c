/* SPDX-License-Identifier: MIT */
/* pace.c - the rules of lib/pace.c, by a clock that this program makes up: what is tried when, and kept how
 * long, who rests, and when a rest ends. That file is part of this one, in its form for processors whose counter
 * it does not know, which asks clock_gettime. */
#include "suite.h"

#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include "consumer.h"

static uint64_t now_ns, step_ns; /* each look at the clock takes so long */
static void (*as_time_goes_by)(void);

static int made_up_clock(struct timespec *time) {
  now_ns += step_ns;
  if (as_time_goes_by)
    as_time_goes_by();
  *time = (struct timespec){(time_t)(now_ns / 1000000000), (long)(now_ns % 1000000000)};
  return 0;
}

#ifdef __x86_64__
#define CAN_STEP 1
#endif
#undef __x86_64__
#undef __aarch64__
#define clock_gettime(clock, time) made_up_clock(time)
#include "../../lib/pace.c"

enum { CAPACITY = 65536 };

/* ---------------------------------------------------------------- trials */

enum { TRIED = 8, SETTLING = 8, LEARNING = 5, KEPT_LONGEST = 256 };
static const struct trial_terms with_latency = {.tried = TRIED,
                                                .settling = SETTLING,
                                                .enough = 1.25,
                                                .costs_latency = true,
                                                .kept_longest = KEPT_LONGEST},
                                without_latency = {.tried = TRIED,
                                                   .settling = SETTLING,
                                                   .enough = 1.125,
                                                   .kept_longest = KEPT_LONGEST};

static struct trial trial;
static uint64_t position;
static bool does;

static void step(uint64_t ns, uint64_t bytes) {
  does = trial_step(&trial, position);
  now_ns += ns;
  position += bytes;
}

/* Steps as long as it is done, or not, so many at most; returns how many. So many bytes further with each without it,
 * and with it. */
static unsigned steps_at(bool at, const uint64_t bytes[2], unsigned most) {
  unsigned steps = 0;
  while (does == at && steps < most) {
    step(10000, bytes[does]);
    steps++;
  }
  return steps;
}

static void begin(const struct trial_terms *terms, bool chosen) {
  now_ns = 1000000;
  step_ns = 0;
  does = chosen;
  position = 4096;
  trial_begin(&trial, terms, chosen);
}

enum { A_TRY = SETTLING + TRIED, A_WINDOW = 4 * TRIED };

/* A try, which has begun; each is of another length. */
static void go_through_try(bool at, const uint64_t bytes[2]) {
  const unsigned a_try = A_TRY + trial.all_tries % OUT_OF_STEP;
  cr_assert_eq(steps_at(at, bytes, a_try), a_try);
  cr_assert(!trial.trying);
}

/* Tries, the first of which has begun, so many of which are won, with a short window of what is chosen
 * between two of them. */
static void win(bool at, const uint64_t bytes[2], unsigned times) {
  const bool chosen = trial.chosen;
  const unsigned from = trial.won;
  for (unsigned i = 0; i < times; i++) {
    cr_assert_eq(trial.chosen, chosen, "not before the last of %u", times);
    cr_assert_eq(trial.won, from + i);
    go_through_try(at, bytes);
    if (trial.won > 0)
      cr_assert_eq(steps_at(chosen, bytes, UINT32_MAX), A_TRY);
  }
}

Test(trial, what_does_not_pay_is_tried_eight_times_later_each_time) {
  static const uint64_t equal[] = {1000, 1000};
  static const unsigned windows[] = {1, 8, 64, 256, 256, 256};
  begin(&with_latency, false);
  for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
    cr_assert_eq(steps_at(false, equal, UINT32_MAX), SETTLING + windows[i] * A_WINDOW);
    go_through_try(true, equal);
    cr_assert(!trial.chosen && !does, "one try is enough to see that");
  }
}

Test(trial, what_costs_no_latency_is_tried_twice_as_late_unless_it_was_half_as_fast) {
  static const uint64_t equal[] = {1000, 1000}, half[] = {1000, 501}, less[] = {1000, 499};
  static const unsigned eightfold[] = {1, 8, 64, 256, 256};
  for (int i = 0; i < 2; i++) {
    begin(&without_latency, false);
    for (unsigned windows = 1; windows <= 1024; windows *= 2) {
      cr_assert_eq(steps_at(false, i ? half : equal, UINT32_MAX),
                   SETTLING + (windows < 256 ? windows : 256) * A_WINDOW);
      go_through_try(true, i ? half : equal);
    }
  }
  begin(&without_latency, false);
  for (size_t i = 0; i < sizeof eightfold / sizeof eightfold[0]; i++) {
    cr_assert_eq(steps_at(false, less, UINT32_MAX), SETTLING + eightfold[i] * A_WINDOW);
    go_through_try(true, less);
  }
}

Test(trial, it_is_chosen_if_it_was_better_by_a_quarter_four_times) {
  static const uint64_t worse[] = {1000, 1200}, better[] = {1000, 1300};
  begin(&with_latency, false);
  steps_at(false, worse, UINT32_MAX);
  go_through_try(true, worse);
  cr_assert(!trial.chosen && trial.won == 0);
  steps_at(false, better, UINT32_MAX);
  win(true, better, 4);
  cr_assert(trial.chosen);
}

/* A try that was lost among others takes one back, and does not end them. */
Test(trial, it_is_to_be_better_four_times_more_often_than_not) {
  static const uint64_t better[] = {1000, 2000}, equal[] = {1000, 1000};
  begin(&with_latency, false);
  steps_at(false, equal, UINT32_MAX);
  win(true, better, 3);
  steps_at(true, equal, UINT32_MAX);
  cr_assert(!trial.chosen && trial.won == 2);
  cr_assert_eq(steps_at(false, equal, UINT32_MAX), A_TRY);
  win(true, better, 2);
  cr_assert(trial.chosen);
  begin(&with_latency, false);
  steps_at(false, equal, UINT32_MAX);
  win(true, better, 3);
  for (unsigned lost = 1; lost < 3; lost++) {
    steps_at(true, equal, UINT32_MAX);
    cr_assert_eq(steps_at(false, equal, UINT32_MAX), A_TRY);
  }
  steps_at(true, equal, UINT32_MAX);
  cr_assert_eq(steps_at(false, equal, UINT32_MAX), SETTLING + 8 * A_WINDOW, "all was chance");
}

Test(trial, a_series_of_sixteen_tries_has_not_shown_anything) {
  static const uint64_t better[] = {1000, 2000}, equal[] = {1000, 1000};
  begin(&with_latency, false);
  steps_at(false, equal, UINT32_MAX);
  for (unsigned tries = 1; tries < TRIES_MOST; tries++) {
    steps_at(true, tries % 2 || tries == 2 ? better : equal, UINT32_MAX);
    cr_assert_eq(trial.won, tries < 3 ? tries : 2 + tries % 2);
    cr_assert_eq(steps_at(false, equal, UINT32_MAX), A_TRY);
  }
  steps_at(true, equal, UINT32_MAX);
  cr_assert_eq(steps_at(false, equal, UINT32_MAX), SETTLING + 8 * A_WINDOW);
}

/* Each try is beside a window of its own, neither the first nor the slowest nor the fastest of all. */
Test(trial, what_changes_either_way_is_not_taken_for_what_is_tried) {
  static const uint64_t better[] = {1000, 2000}, equal[] = {1000, 1000}, faster[] = {5000, 5000},
                        slower[] = {200, 400};
  begin(&with_latency, false);
  steps_at(false, equal, UINT32_MAX);
  win(true, better, 3);
  steps_at(true, equal, UINT32_MAX);
  cr_assert_eq(steps_at(false, faster, UINT32_MAX), A_TRY);
  steps_at(true, faster, UINT32_MAX);
  cr_assert_eq(trial.won, 1);
  cr_assert_eq(steps_at(false, slower, UINT32_MAX), A_TRY);
  win(true, slower, 3);
  cr_assert(trial.chosen);
}

/* A consumer of its own rhythm: each so many laps it stands still for two. */
Test(trial, traffic_in_step_with_the_windows_is_no_reason_for_a_worse_choice) {
  static const struct trial_terms laps_as_steps = {
      .tried = 2, .settling = 1, .enough = 1.125, .kept_longest = KEPT_LONGEST};
  for (unsigned rhythm = 2; rhythm <= 12; rhythm++)
    for (unsigned phase = 0; phase < rhythm; phase++) {
      unsigned worse = 0;
      begin(&laps_as_steps, false);
      for (unsigned laps = 0; laps < 20000; laps++) {
        const bool stands_still = laps % rhythm == phase;
        step((does ? 125000u : 100000u) + (stands_still ? 200000u : 0), CAPACITY);
        worse += does;
      }
      cr_assert_lt(worse, 20000 / 20, "each %u, from %u: %u", rhythm, phase, worse);
    }
}

/* It costs when it is wrong, so it is looked at more often. */
Test(trial, what_costs_latency_is_kept_for_sixteen_windows_at_most) {
  static const uint64_t bytes[] = {1000, 2000};
  static const unsigned windows[] = {1, 8, 16, 16, 16};
  begin(&with_latency, false);
  steps_at(false, bytes, UINT32_MAX);
  win(true, bytes, 4);
  cr_assert(trial.chosen);
  for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
    cr_assert_eq(steps_at(true, bytes, UINT32_MAX), SETTLING + windows[i] * A_WINDOW);
    go_through_try(false, bytes);
    cr_assert(trial.chosen && does);
  }
}

Test(trial, what_does_not_pay_any_more_is_left_after_one_try) {
  static const uint64_t before[] = {1000, 2000}, after[] = {1700, 2000};
  begin(&with_latency, false);
  steps_at(false, before, UINT32_MAX);
  win(true, before, 4);
  cr_assert(trial.chosen);
  steps_at(true, before, UINT32_MAX);
  go_through_try(false, after);
  cr_assert(!trial.chosen);
}

Test(trial, what_costs_no_latency_is_left_if_without_it_is_faster_by_an_eighth_four_times) {
  static const uint64_t pays[] = {1000, 1200}, hardly[] = {1280, 1150}, without[] = {1300, 1150};
  begin(&without_latency, false);
  steps_at(false, pays, UINT32_MAX);
  win(true, pays, 4);
  cr_assert(trial.chosen);
  steps_at(true, hardly, UINT32_MAX);
  go_through_try(false, hardly);
  cr_assert(trial.chosen && trial.won == 0);
  steps_at(true, without, UINT32_MAX);
  win(false, without, 4);
  cr_assert(!trial.chosen);
}

/* A window behind a gap may be fast by chance, four times. */
Test(trial, what_costs_latency_is_to_be_as_fast_in_a_long_window_too) {
  static const uint64_t better[] = {1000, 2000}, equal[] = {1000, 1240}, proven[] = {1000, 1260};
  static const unsigned windows[] = {8, 64, 256, 256};
  begin(&with_latency, false);
  steps_at(false, better, UINT32_MAX);
  for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
    win(true, better, 4);
    cr_assert(trial.chosen);
    cr_assert_eq(steps_at(true, equal, UINT32_MAX), SETTLING + A_WINDOW);
    cr_assert(!trial.chosen && !does && !trial.trying);
    cr_assert_eq(steps_at(false, better, UINT32_MAX), SETTLING + windows[i] * A_WINDOW);
  }
  win(true, better, 4);
  steps_at(true, proven, SETTLING + A_WINDOW);
  cr_assert(trial.chosen, "fast enough");
  go_through_try(false, better);
  steps_at(true, equal, SETTLING + A_WINDOW);
  cr_assert(trial.chosen, "only the first one");
}

Test(trial, what_has_something_to_learn_first_is_tried_for_longer) {
  static const uint64_t equal[] = {1000, 1000}, better[] = {1000, 1300};
  struct trial_terms learns = with_latency;
  learns.learning = LEARNING;
  begin(&learns, false);
  cr_assert_eq(steps_at(false, equal, UINT32_MAX), SETTLING + A_WINDOW);
  cr_assert_eq(steps_at(true, equal, UINT32_MAX),
               LEARNING + A_TRY); /* the first one is not longer */
  begin(&learns, false);
  steps_at(false, equal, UINT32_MAX);
  steps_at(true, equal, LEARNING + SETTLING); /* which does not count */
  cr_assert_eq(steps_at(true, better, UINT32_MAX), TRIED);
  cr_assert_eq(trial.won, 1);
  begin(&learns, true);
  cr_assert_eq(steps_at(true, equal, UINT32_MAX), SETTLING + A_WINDOW);
  cr_assert_eq(steps_at(false, equal, A_TRY), A_TRY);
  cr_assert(!trial.chosen, "to leave it takes no learning");
}

/* With as few steps as a consumer has for a lap each. */
Test(trial, a_consumers_tries_end_and_lines_are_handed_back_if_that_pays) {
  for (uint64_t capacity = 1 << 16; capacity <= 1 << 24; capacity <<= 4)
    for (int pays = 0; pays < 2; pays++) {
      unsigned wrong = 0, tries = 0;
      begin(&trial_of_handing_back, true);
      for (unsigned steps = 0; steps < 10000; steps++) {
        const bool was_trying = trial.trying;
        step(does == (bool)pays ? 100000 : 120000, capacity);
        tries += was_trying && !trial.trying;
        wrong += does != (bool)pays;
      }
      cr_assert_gt(tries, 2);
      cr_assert_eq(trial.chosen, (bool)pays);
      cr_assert_eq(trial.kept, trial_of_handing_back.kept_longest);
      /* Half as fast: what costs no latency stays. */
      for (unsigned steps = 0; steps < 100; steps++)
        step(does == (bool)pays ? 250000 : 300000, capacity);
      cr_assert_eq(trial.chosen, (bool)pays);
      cr_assert_lt(wrong * 20, 10000);
    }
}

/* What a rest gains, it gains only where lines are handed back; both together gain much. The laps are a consumer's, with
 * a thousand empty looks in each. */
Test(trial, what_pays_only_together_is_found) {
  enum { LAPS = 400, LOOKS = 1000 };
  for (int at_first = 0; at_first < 2; at_first++) {
    ringbus_ring *ring = test_ring("ring", NULL);
    ringbus_consumer *consumer = test_consumer(ring, NULL);
    const uint64_t capacity = consumer->hot.view.mask + 1;
    bool handed_back = at_first; /* in the lap before */
    unsigned both = 0;
    trial_begin(&consumer->handing_back, &trial_of_handing_back, at_first);
    consumer->hot.hand_back = at_first ? RINGBUS_HAND_BACK_STORE : RINGBUS_HAND_BACK_NEVER;
    now_ns = 1000000;
    step_ns = 100;
    for (unsigned lap = 0; lap < LAPS; lap++) {
      for (unsigned look = 0; look < LOOKS; look++) {
        const uint64_t before = now_ns;
        consumer->hot.position += capacity / LOOKS;
        pace_empty(consumer);
        const bool rested = now_ns - before > 1000;
        now_ns = before + (rested && handed_back ? 1000 : rested ? 9000 : 10000);
        both += rested && handed_back;
      }
      handed_back = is_handing_back(consumer);
      ringbus_slow_lap(consumer);
    }
    cr_assert(consumer->handing_back.chosen && consumer->resting[1].chosen);
    cr_assert_gt(both, LAPS * LOOKS * 3 / 4, "%u", both);
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_result(ringbus_ring_close(ring), 0);
    cr_result(ringbus_ring_remove("ring", false), 0);
  }
}

/* Lines are kept, and for long there was nothing to learn about rests with lines handed back. */
Test(trial, whoever_tries_to_hand_back_can_learn_in_time_whether_to_rest) {
  ringbus_consumer *consumer = test_consumer(test_ring("ring", NULL), NULL);
  struct trial *handing_back = &consumer->handing_back, *resting = consumer->resting;
  trial_begin(handing_back, &trial_of_handing_back, false);
  consumer->hot.hand_back = RINGBUS_HAND_BACK_NEVER;
  resting[0].kept = resting[1].kept = trial_of_resting.kept_longest;
  now_ns = 1000000;
  for (int laps = 0; !handing_back->trying && laps < 100; laps++) {
    now_ns += 1000000;
    consumer->hot.position += CAPACITY;
    ringbus_slow_lap(consumer);
  }
  cr_assert(handing_back->trying && is_handing_back(consumer));
  cr_assert_eq(resting[1].kept, KEPT_ANEW);
  cr_assert_eq(resting[0].kept, trial_of_resting.kept_longest);
  resting[1].kept = trial_of_resting.kept_longest;
  for (int laps = 0; handing_back->trying && laps < 100; laps++) {
    now_ns += 1000000;
    consumer->hot.position += CAPACITY;
    ringbus_slow_lap(consumer);
  }
  cr_assert(!handing_back->trying && !is_handing_back(consumer));
  cr_assert_eq(resting[0].kept, trial_of_resting.kept_longest, "to go back is no try");
}

Test(trial, a_consumer_hands_back_at_first_and_does_what_is_chosen) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_consumer *consumer = test_consumer(ring, NULL), *other;
  for (int laps = 0; laps < 2; laps++) {
    cr_assert_eq(consumer->hot.hand_back, RINGBUS_HAND_BACK_STORE);
    ringbus_slow_lap(consumer);
  }
  consumer->handing_back.chosen = false;
  consumer->resting[0].left = 1;
  ringbus_slow_lap(consumer);
  cr_assert_eq(consumer->hot.hand_back, RINGBUS_HAND_BACK_NEVER);
  cr_assert_gt(consumer->resting[0].left, 1, "its window begins now");
  consumer->handing_back.chosen = true;
  consumer->resting[1].left = 1;
  ringbus_slow_lap(consumer);
  cr_assert_eq(consumer->hot.hand_back, RINGBUS_HAND_BACK_STORE);
  cr_assert_gt(consumer->resting[1].left, 1);
  cr_assert(consumer->hands_back_anew);
  ringbus_slow_lap(consumer);
  cr_assert(!consumer->hands_back_anew);
  const struct ringbus_consumer_options lapped = {.policy = RINGBUS_LAPPED,
                                                  .hand_back = RINGBUS_HAND_BACK_STORE},
                                        shared = {.group = "shared", .shared = true};
  cr_result(ringbus_consumer_attach(ring, &lapped, &other), 0);
  cr_assert_eq(other->hot.hand_back, RINGBUS_HAND_BACK_NEVER);
  cr_result(ringbus_consumer_attach(ring, &shared, &other), 0);
  cr_assert_eq(other->hot.hand_back, RINGBUS_HAND_BACK_STORE);
}

/* Other traffic: what is chosen is tried anew, soon, but not for a few windows' sake. */
Test(trial, messages_that_come_twice_as_fast_or_half_as_fast_bring_the_next_try_forward) {
  for (int faster = 0; faster < 2; faster++) {
    const uint64_t before[] = {1000, 1000};
    const uint64_t other = faster ? 2100 : 450, after[] = {other, other};
    begin(&with_latency, false);
    for (int tries = 0; tries < 3; tries++) {
      steps_at(false, before, UINT32_MAX);
      steps_at(true, before, UINT32_MAX);
    }
    cr_assert_eq(trial.kept, 256);
    steps_at(false, before, SETTLING + 20 * A_WINDOW); /* of 256 */
    cr_assert_eq(steps_at(false, after, 14 * A_WINDOW), 14 * A_WINDOW);
    cr_assert_eq(steps_at(false, before, 3 * A_WINDOW), 3 * A_WINDOW);
    const unsigned in_a_row = steps_at(false, after, UINT32_MAX);
    cr_assert(in_a_row >= 16 * A_WINDOW && in_a_row <= 19 * A_WINDOW, "%u", in_a_row);
    cr_assert(does);
  }
}

Test(trial, messages_that_come_half_as_fast_begin_without_what_costs_latency) {
  static const uint64_t before[] = {1000, 2000}, after[] = {450, 900};
  begin(&with_latency, false);
  steps_at(false, before, UINT32_MAX);
  win(true, before, 4);
  steps_at(true, before, UINT32_MAX);
  steps_at(false, before, UINT32_MAX); /* the try behind its first window */
  cr_assert(trial.chosen && trial.kept == 8);
  steps_at(true, before, SETTLING + A_WINDOW);
  cr_assert_leq(steps_at(true, after, UINT32_MAX), 3 * A_WINDOW);
  cr_assert(!does && !trial.chosen && !trial.trying);
  cr_assert_eq(steps_at(false, after, UINT32_MAX), SETTLING + 32 * A_WINDOW);
}

/* One slow window is no other traffic: this process or the other had no core. */
Test(trial, a_single_slow_window_changes_nothing) {
  static const uint64_t usual[] = {1000, 2000}, slow[] = {1, 1};
  begin(&with_latency, false);
  steps_at(false, usual, UINT32_MAX);
  win(true, usual, 4);
  steps_at(true, usual, UINT32_MAX);
  steps_at(false, usual, A_TRY);
  cr_assert(trial.chosen && trial.kept == 8);
  cr_assert_eq(steps_at(true, usual, SETTLING + A_WINDOW), SETTLING + A_WINDOW);
  cr_assert_eq(steps_at(true, slow, A_WINDOW), A_WINDOW);
  cr_assert_eq(steps_at(true, usual, UINT32_MAX), 6 * A_WINDOW);
  cr_assert(trial.chosen);
}

/* Where steps are short there are more of them, up to 20 us: less is noise. */
Test(trial, no_window_is_shorter_than_20_us) {
  static const uint64_t step_lengths[] = {100, 1000, 1999, 2499, 2500, 2600};
  for (size_t i = 0; i < sizeof step_lengths / sizeof step_lengths[0]; i++) {
    const uint64_t ns = step_lengths[i];
    begin(&with_latency, false);
    while (!does)
      step(ns, 1000);
    uint64_t began = now_ns;
    while (does)
      step(ns, 1000);
    /* Behind what does not count, from the first step to the last one: that is a step less than there are. */
    const uint64_t took = now_ns - began - SETTLING * ns;
    cr_assert(took >= 20000, "%llu", (unsigned long long)took);
    cr_assert(took < 20000 + 2 * ns || took <= (TRIED + 1) * ns, "%llu", (unsigned long long)took);
  }
}

/* ---------------------------------------------------------------- a rest on the first empty look */

Test(rest, whoever_looks_at_an_empty_ring_again_and_again_has_rested_once) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_producer *producer = test_producer(ring);
  /* Another trial would have a say in it. */
  const struct ringbus_consumer_options options = {.hand_back = RINGBUS_HAND_BACK_NEVER};
  ringbus_consumer *consumer;
  struct ringbus_message message;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  step_ns = 100;
  struct trial *resting = &consumer->resting[0];
  const struct trial_terms terms = {.tried = 1000, .enough = 1.25, .costs_latency = true};
  trial_begin(resting, &terms, false);
  for (int empty = 0; empty < 4; empty++) {
    const unsigned left = resting->left;
    resting->chosen = empty % 2;
    for (int again = 0; again < 10; again++) {
      const uint64_t before = now_ns;
      cr_result(again % 2 ? ringbus_consumer_borrow(consumer, &message)
                          : ringbus_consumer_recv(consumer, &message, sizeof message, NULL),
                -EAGAIN);
      if (again == 0 && empty % 2)
        cr_assert_geq(now_ns - before, 16000);
      else if (again == 0)
        cr_assert_leq(now_ns - before, 1000);
      else
        cr_assert_eq(now_ns, before);
    }
    cr_assert_eq(left - resting->left, 1);
    cr_result(ringbus_producer_send(producer, "message", 7, 0), 0);
    cr_result(ringbus_consumer_borrow(consumer, &message), 0);
    cr_result(ringbus_consumer_release(consumer), 0);
  }
}

/* In the first lap with lines handed back, or without, the speed is that of before. */
Test(rest, as_long_as_handing_back_is_not_felt_nothing_is_learned_about_rests) {
  ringbus_consumer *consumer = test_consumer(test_ring("ring", NULL), NULL);
  struct trial *resting = &consumer->resting[1];
  resting->chosen = true;
  step_ns = 100;
  resting->left = 10;
  pace_empty(consumer);
  cr_assert_eq(resting->left, 9);
  consumer->hands_back_anew = true;
  pace_empty(consumer);
  const unsigned whole = resting->left;
  cr_assert_gt(whole, 10);
  for (int trying = 0; trying < 2; trying++) {
    const uint64_t before = now_ns;
    resting->trying = trying;
    pace_empty(consumer);
    cr_assert_geq(now_ns - before, 16000, "what is chosen");
  }
  resting->trying = false;
  for (unsigned looks = consumer->unlearned; looks < UNLEARNED_MOST; looks++) {
    resting->left = 10;
    pace_empty(consumer);
    cr_assert_eq(resting->left, whole, "its window begins again");
  }
  resting->left = 10;
  pace_empty(consumer);
  cr_assert_eq(resting->left, 9, "but not for ever");
  cr_assert_eq(consumer->unlearned, UNLEARNED_MOST, "nor from one time to the next");
  while (resting->left != 1)
    pace_empty(consumer);
  now_ns += 1000000;
  pace_empty(consumer);
  cr_assert_eq(consumer->unlearned, 0, "a window has ended");
}

Test(rest, of_rests_with_lines_handed_back_and_without_is_learned_in_turn) {
  ringbus_consumer *consumer = test_consumer(test_ring("ring", NULL), NULL);
  for (int i = 0; i < 4; i++) {
    const bool handed_back = i % 2;
    consumer->hot.hand_back = handed_back ? RINGBUS_HAND_BACK_STORE : RINGBUS_HAND_BACK_NEVER;
    const unsigned left = consumer->resting[handed_back].left,
                   others = consumer->resting[!handed_back].left;
    pace_empty(consumer);
    cr_assert_eq(consumer->resting[handed_back].left, left - 1);
    cr_assert_eq(consumer->resting[!handed_back].left, others);
  }
}

Test(rest, a_rest_ends_where_the_clock_stands_still) {
  step_ns = 0;
  rest(8);
}

/* ---------------------------------------------------------------- a rest for who comes too late */

#ifdef CAN_STEP
/* The processor stops after each instruction while this flag of it is set. */
enum { TRAP_FLAG = 0x100 };
#if defined(__clang__) || defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
enum { STRIDE = 10 }; /* ten times as many instructions, and that squared */
#else
enum { STRIDE = 1 };
#endif
#define FLAGS(change)                                                                              \
  __asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n " change                                     \
                   ", (%%rsp)\n popfq\n lea 128(%%rsp), %%rsp" ::                                  \
                       : "memory", "cc")
static ringbus_producer *faster;
static volatile unsigned steps, sends, most_sends;
static volatile unsigned first_step, every; /* at which the faster one sends */
static uint64_t rest_began;

static void send_in_between(int signal_number, siginfo_t *info, void *context) {
  (void)signal_number;
  (void)info;
  if (steps++ < first_step || (steps - 1 - first_step) % every != 0)
    return;
  REQUIRE_RESULT(ringbus_producer_send(faster, "f", 1, 0), 0);
  if (++sends == most_sends)
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

/* The faster one is fast again as soon as the rest is over. */
static void send_after_the_rest(void) {
  if (rest_began == 0)
    rest_began = now_ns;
  if (now_ns - rest_began < 2000 || most_sends > 1)
    return;
  steps = first_step = 0;
  most_sends = 20;
  FLAGS("orq $0x100");
}

static ringbus_producer *slower;
static ringbus_consumer *of_both;

static void begin_beside_a_faster_one(void) {
  const struct ringbus_create_options options = {.capacity = CAPACITY, .many_producers = true};
  struct sigaction action = {.sa_sigaction = send_in_between, .sa_flags = SA_SIGINFO};
  ringbus_ring *of_many = test_ring("ring", &options);
  slower = test_producer(of_many);
  faster = test_producer(of_many);
  of_both = test_consumer(of_many, NULL);
  cr_result(ringbus_producer_send(slower, "p", 1, 0), 0); /* it knows the room */
  cr_result(ringbus_consumer_recv(of_both, (char[1]){0}, 1, NULL), 0);
  cr_assert_eq(sigaction(SIGTRAP, &action, NULL), 0);
  step_ns = 100;
}

/* Another producer sends in between, after each instruction of a call in turn; and, again, every so many
 * instructions behind the rest. Returns how often that was a reason to rest. */
static unsigned send_beside_a_faster_one(uint64_t run, unsigned again) {
  static const struct trial_terms never_ends = {.tried = 1000, .enough = 1.25};
  unsigned rested = 0;
  begin_beside_a_faster_one();
  as_time_goes_by = again ? send_after_the_rest : NULL;
  for (unsigned first = 0;; first += STRIDE) {
    first_step = first;
    every = again ? again : 1;
    steps = sends = 0;
    most_sends = 1;
    rest_began = 0;
    trial_begin(&slower->giving_way, &never_ends, true);
    slower->run = run;
    const unsigned left = slower->giving_way.left;
    const uint64_t before = now_ns;
    FLAGS("orq $0x100");
    const int result = ringbus_producer_send(slower, "p", 1, 0);
    FLAGS("andq $~0x100");
    cr_result(result, 0);
    if (sends == 0) /* the call is shorter */
      break;
    const bool has_rested = now_ns - before >= 2000;
    cr_assert_eq(left - slower->giving_way.left, has_rested, "one rest, which is a step");
    rested += has_rested;
    unsigned received = 0;
    while (ringbus_consumer_recv(of_both, (char[1]){0}, 1, NULL) == 0)
      received++;
    cr_assert_eq(received, sends + 1, "%u, %u", received, sends);
  }
  as_time_goes_by = NULL;
  cr_assert_lt(rested, first_step / STRIDE / 2, "most of the time nobody was too late");
  REQUIRE(unlink(test_path("ring")) == 0);
  return rested;
}

Test(rest, a_producer_that_came_too_late_for_its_claim_rests_if_it_has_had_a_run) {
  cr_assert_gt(send_beside_a_faster_one(RUN, 0), 0);
  cr_assert_eq(send_beside_a_faster_one(RUN - 1, 0), 0);
}

Test(rest, a_producer_that_comes_too_late_again_and_again_rests_once) {
  for (unsigned again = 10; again <= 50; again += 20)
    cr_assert_gt(send_beside_a_faster_one(RUN, again), 0);
}

/* In front of each swap, so that each claim is lost; more of them than a walk may have steps. */
enum { LOST = 2000, LOCK_PREFIX = 0xf0 };

static void send_in_front_of_swaps(int signal_number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  (void)signal_number;
  (void)info;
  if (*(const unsigned char *)registers[REG_RIP] != LOCK_PREFIX)
    return;
  REQUIRE_RESULT(ringbus_producer_send(faster, "f", 1, 0), 0);
  REQUIRE_RESULT(ringbus_consumer_recv(of_both, (char[1]){0}, 1, NULL), 0);
  if (++sends == LOST)
    registers[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

Test(rest, a_claim_that_was_lost_many_times_is_made_in_the_end) {
  struct sigaction action = {.sa_sigaction = send_in_front_of_swaps, .sa_flags = SA_SIGINFO};
  begin_beside_a_faster_one();
  cr_assert_eq(sigaction(SIGTRAP, &action, NULL), 0);
  sends = 0;
  FLAGS("orq $0x100");
  const int result = ringbus_producer_send(slower, "p", 1, 0);
  FLAGS("andq $~0x100");
  cr_result(result, 0);
  cr_assert_eq(sends, LOST);
}

Test(rest, a_run_is_counted_in_claims) {
  const struct iovec messages[2] = {{.iov_base = (void *)"m", .iov_len = 1},
                                    {.iov_base = (void *)"m", .iov_len = 1}};
  begin_beside_a_faster_one();
  slower->run = 0;
  cr_result(ringbus_producer_send(slower, "p", 1, 0), 0);
  cr_result(ringbus_producer_send_batch(slower, messages, 2, 0, false, NULL), 0);
  cr_assert_eq(slower->run, 2);
  pace_collision(slower);
  cr_assert_eq(slower->run, 0);
}
#endif

Test(rest, giving_way_is_learned_from_how_all_producers_together_get_on) {
  const struct ringbus_create_options options = {.many_producers = true};
  ringbus_producer *producer = test_producer(test_ring("ring", &options));
  for (unsigned pays = 0; pays < 2; pays++) {
    step_ns = 100;
    trial_begin(&producer->giving_way, &trial_of_giving_way, false);
    for (unsigned collisions = 0; collisions < 10000; collisions++) {
      const uint64_t before = now_ns;
      producer->run = RUN;
      pace_collision(producer);
      const uint64_t rested = now_ns - before;
      now_ns += 1000;
      producer->hot.tail += rested >= 2000 && pays ? 6 * 4096 : 4096;
    }
    cr_assert_eq(producer->giving_way.chosen, (bool)pays);
  }
}

/* ---------------------------------------------------------------- a rest at a full ring */

static ringbus_ring *ring;
static uint64_t full_at, moved, moves, stride, looked_ns;

/* The consumer gets on by so much in each microsecond, so often. */
static void move_consumer(void) {
  if (now_ns - looked_ns < 900 || moved == moves)
    return;
  looked_ns = now_ns;
  moved++;
  counted_store(&ring_group(ring, 0)->cursor, (struct counted){moved * stride, moved});
}

static uint64_t pause_at_full(uint64_t times, uint64_t bytes) {
  const struct ringbus_create_options options = {.capacity = CAPACITY};
  ring = test_ring("ring", &options);
  test_consumer(ring, "g");
  now_ns = looked_ns = 1000000;
  step_ns = 100;
  full_at = UINT64_MAX;
  moved = 0;
  moves = times;
  stride = bytes;
  as_time_goes_by = move_consumer;
  pace_full(ring, (struct counted){CAPACITY, CAPACITY}, false, 64, &full_at);
  as_time_goes_by = NULL;
  REQUIRE(unlink(test_path("ring")) == 0);
  return now_ns - 1000000;
}

Test(rest, a_producer_does_not_rest_for_a_consumer_that_does_not_move) {
  pause_at_full(0, 0);
  const uint64_t before = now_ns; /* it is known where it stood */
  pace_full(ring, (struct counted){CAPACITY, CAPACITY}, false, 64, &full_at);
  cr_assert_lt(now_ns - before, 1000, "it has looked at the clock, and no more");
}

Test(rest, a_producer_rests_until_the_consumer_stops) {
  const uint64_t rested = pause_at_full(3, 64);
  cr_assert_eq(moved, 3);
  cr_assert_eq(full_at, 3 * 64);
  cr_assert(rested > 3000 && rested < 8000, "%llu", (unsigned long long)rested);
}

Test(rest, a_producer_rests_until_an_eighth_of_the_ring_is_free) {
  pause_at_full(100, 2048);
  cr_assert(full_at >= CAPACITY / 8 && full_at < CAPACITY / 8 + 2 * 2048, "%llu",
            (unsigned long long)full_at);
}

Test(rest, a_producer_rests_no_longer_than_32_us_or_16_looks) {
  const uint64_t rested = pause_at_full(1000, 8);
  cr_assert(rested <= 33000 && moved >= 12, "%llu, %llu", (unsigned long long)rested,
            (unsigned long long)moved);
  step_ns = 20000; /* it was away for a while */
  as_time_goes_by = NULL;
  const uint64_t before = now_ns;
  full_at = UINT64_MAX;
  pace_full(ring, (struct counted){CAPACITY, CAPACITY}, false, 64, &full_at);
  cr_assert_leq(now_ns - before, 100000);
}
