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

enum { TRIED = 8, SETTLING = 8, LEVELS = 3 };

/* How many bytes a step of this length gets on at each level. */
static struct trial trial;
static uint64_t position;
static unsigned tried_level;

static void step(uint64_t ns, uint64_t bytes) {
  tried_level = trial_step(&trial, position);
  now_ns += ns;
  position += bytes;
}

/* Steps at the level as it is; returns how many until it is another one, or most. */
static unsigned steps_at(unsigned at, const uint64_t bytes[LEVELS], unsigned most) {
  unsigned steps = 0;
  while (tried_level == at && steps < most) {
    step(10000, bytes[tried_level]);
    steps++;
  }
  return steps;
}

static void begin(void) {
  now_ns = 1000000;
  step_ns = 0;
  tried_level = 0;
  position = 4096;
  trial_begin(&trial, LEVELS, TRIED, SETTLING, 1.25, true);
}

enum { A_TRY = SETTLING + TRIED, A_WINDOW = 4 * TRIED };

/* Tries of a level, the first of which has begun, so many of which are won, with a short window of the level chosen
 * between two of them. */
static void win(unsigned at, const uint64_t bytes[LEVELS], unsigned times) {
  const unsigned chosen = trial.chosen, from = trial.won;
  for (unsigned i = 0; i < times; i++) {
    cr_assert_eq(trial.chosen, chosen, "not before the last of %u", times);
    cr_assert_eq(trial.won, from + i);
    const unsigned a_try = A_TRY + trial.tries % OUT_OF_STEP;
    cr_assert_eq(steps_at(at, bytes, a_try), a_try);
    if (trial.won > 0)
      cr_assert_eq(steps_at(chosen, bytes, UINT32_MAX), A_TRY);
  }
}

Test(trial, the_lowest_level_is_kept_eight_times_as_long_after_each_try_that_does_not_pay) {
  static const uint64_t equal[] = {1000, 1000, 1000};
  static const unsigned windows[] = {1, 8, 64, 256, 256, 256};
  begin();
  for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
    cr_assert_eq(steps_at(0, equal, UINT32_MAX), SETTLING + windows[i] * A_WINDOW);
    cr_assert_eq(tried_level, 1);
    cr_assert_eq(steps_at(1, equal, UINT32_MAX), A_TRY, "one try is enough to see that");
    cr_assert_eq(trial.chosen, 0);
  }
}

Test(trial, one_that_costs_no_latency_is_kept_twice_as_long_after_each_try_that_does_not_pay) {
  static const uint64_t equal[] = {1000, 1000, 0};
  begin();
  trial_begin(&trial, 2, TRIED, SETTLING, 1.125, false);
  for (unsigned windows = 1; windows <= 1024; windows *= 2) {
    cr_assert_eq(steps_at(0, equal, UINT32_MAX),
                 SETTLING + (windows < 256 ? windows : 256) * A_WINDOW);
    cr_assert_eq(steps_at(1, equal, UINT32_MAX), A_TRY);
  }
}

Test(trial, a_higher_level_is_chosen_if_it_was_better_by_a_quarter_four_times) {
  static const uint64_t worse[] = {1000, 1200, 0}, better[] = {1000, 1300, 0};
  begin();
  steps_at(0, worse, UINT32_MAX);
  cr_assert_eq(steps_at(1, worse, UINT32_MAX), A_TRY);
  cr_assert(trial.chosen == 0 && trial.won == 0);
  steps_at(0, better, UINT32_MAX);
  win(1, better, 4);
  cr_assert_eq(trial.chosen, 1);
}

/* A try that was lost among others takes one back, and does not end them. */
Test(trial, it_is_to_be_better_four_times_more_often_than_not) {
  static const uint64_t better[] = {1000, 2000, 2000}, equal[] = {1000, 1000, 1000};
  begin();
  steps_at(0, equal, UINT32_MAX);
  win(1, better, 3);
  steps_at(1, equal, UINT32_MAX);
  cr_assert(trial.chosen == 0 && trial.won == 2);
  cr_assert_eq(steps_at(0, equal, UINT32_MAX), A_TRY);
  win(1, better, 2);
  cr_assert_eq(trial.chosen, 1);
  begin();
  steps_at(0, equal, UINT32_MAX);
  win(1, better, 3);
  for (unsigned lost = 1; lost < 3; lost++) {
    steps_at(1, equal, UINT32_MAX);
    cr_assert_eq(steps_at(0, equal, UINT32_MAX), A_TRY);
  }
  steps_at(1, equal, UINT32_MAX);
  cr_assert_eq(steps_at(0, equal, UINT32_MAX), SETTLING + 8 * A_WINDOW, "all was chance");
}

Test(trial, a_series_of_sixteen_tries_has_not_shown_anything) {
  static const uint64_t better[] = {1000, 2000, 2000}, equal[] = {1000, 1000, 1000};
  begin();
  steps_at(0, equal, UINT32_MAX);
  for (unsigned tries = 1; tries < TRIES_MOST; tries++) {
    steps_at(1, tries % 2 || tries == 2 ? better : equal, UINT32_MAX);
    cr_assert_eq(trial.won, tries < 3 ? tries : 2 + tries % 2);
    cr_assert_eq(steps_at(0, equal, UINT32_MAX), A_TRY);
  }
  steps_at(1, equal, UINT32_MAX);
  cr_assert_eq(steps_at(0, equal, UINT32_MAX), SETTLING + 8 * A_WINDOW);
}

/* Each try is beside a window of its own, neither the first nor the slowest nor the fastest of all. */
Test(trial, what_changes_for_all_levels_is_not_taken_for_one_of_them) {
  static const uint64_t better[] = {1000, 2000, 0}, equal[] = {1000, 1000, 0},
                        faster[] = {5000, 5000, 0}, slower[] = {200, 400, 0};
  begin();
  steps_at(0, equal, UINT32_MAX);
  win(1, better, 3);
  steps_at(1, equal, UINT32_MAX);
  cr_assert_eq(steps_at(0, faster, UINT32_MAX), A_TRY);
  steps_at(1, faster, UINT32_MAX);
  cr_assert_eq(trial.won, 1);
  cr_assert_eq(steps_at(0, slower, UINT32_MAX), A_TRY);
  win(1, slower, 3);
  cr_assert_eq(trial.chosen, 1);
}

/* A consumer of its own rhythm: each so many laps it stands still for two. */
Test(trial, traffic_in_step_with_the_windows_is_no_reason_for_a_worse_level) {
  for (unsigned rhythm = 2; rhythm <= 12; rhythm++)
    for (unsigned phase = 0; phase < rhythm; phase++) {
      unsigned worse = 0;
      begin();
      trial_begin(&trial, 2, 2, 1, 1.125, false);
      for (unsigned laps = 0; laps < 20000; laps++) {
        const bool stands_still = laps % rhythm == phase;
        step((tried_level ? 125000u : 100000u) + (stands_still ? 200000u : 0), CAPACITY);
        worse += tried_level;
      }
      cr_assert_lt(worse, 20000 / 20, "each %u, from %u: %u", rhythm, phase, worse);
    }
}

/* It costs when it is wrong, so it is looked at more often: sixteen windows at most, up and down in turn. */
Test(trial, a_level_above_the_lowest_is_kept_for_sixteen_windows_at_most) {
  static const uint64_t bytes[] = {1000, 2000, 1000};
  static const unsigned windows[] = {1, 8, 16, 16, 16};
  begin();
  steps_at(0, bytes, UINT32_MAX);
  win(1, bytes, 4);
  cr_assert_eq(trial.chosen, 1);
  for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
    cr_assert_eq(steps_at(1, bytes, UINT32_MAX), SETTLING + windows[i] * A_WINDOW);
    cr_assert_eq(tried_level, i % 2 ? 2 : 0);
    cr_assert_eq(steps_at(tried_level, bytes, UINT32_MAX), A_TRY);
    cr_assert(trial.chosen == 1 && tried_level == 1);
  }
}

Test(trial, a_level_that_does_not_pay_any_more_is_left_after_one_try) {
  static const uint64_t before[] = {1000, 2000, 1000}, after[] = {1700, 2000, 1000};
  begin();
  steps_at(0, before, UINT32_MAX);
  win(1, before, 4);
  cr_assert_eq(trial.chosen, 1);
  steps_at(1, before, UINT32_MAX);
  cr_assert_eq(tried_level, 0);
  cr_assert_eq(steps_at(0, after, A_TRY), A_TRY);
  cr_assert_eq(trial.chosen, 0);
}

Test(trial, one_that_costs_no_latency_is_left_if_it_did_not_pay_four_times_more_often) {
  static const uint64_t pays[] = {1000, 1200, 0}, does_not[] = {1100, 1200, 0};
  begin();
  trial_begin(&trial, 2, TRIED, SETTLING, 1.125, false);
  steps_at(0, pays, UINT32_MAX);
  win(1, pays, 4);
  cr_assert_eq(trial.chosen, 1);
  steps_at(1, pays, UINT32_MAX);
  win(0, does_not, 4);
  cr_assert_eq(trial.chosen, 0);
}

/* With as few steps as a consumer has for a lap each. */
Test(trial, a_consumers_tries_end_and_lines_are_handed_back_if_that_pays) {
  for (uint64_t capacity = 1 << 16; capacity <= 1 << 24; capacity <<= 4) {
    const struct ringbus_create_options making = {.capacity = capacity};
    ringbus_ring *ring = test_ring("ring", &making);
    ringbus_consumer *consumer = test_consumer(ring, NULL);
    for (int pays = 0; pays < 2; pays++) {
      unsigned steps_of_level[2] = {0}, tries = 0;
      begin();
      trial = consumer->handing_back;
      for (unsigned steps = 0; steps < 10000; steps++) {
        const bool was_trying = trial.trying;
        step(tried_level == (unsigned)pays ? 100000 : 120000, capacity);
        tries += was_trying && !trial.trying;
        steps_of_level[tried_level]++;
      }
      cr_assert_gt(tries, 2);
      cr_assert_eq(trial.chosen, (unsigned)pays);
      cr_assert_eq(trial.kept, KEPT_LONGEST);
      /* Half as fast: a level that costs no latency stays. */
      for (unsigned steps = 0; steps < 100; steps++)
        step(tried_level == (unsigned)pays ? 250000 : 300000, capacity);
      cr_assert_eq(trial.chosen, (unsigned)pays);
      cr_assert_lt(steps_of_level[!pays] * 20, steps_of_level[pays]);
    }
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_result(ringbus_ring_close(ring), 0);
    cr_result(ringbus_ring_remove("ring", false), 0);
  }
}

Test(trial, a_consumer_begins_without_handing_back_and_does_it_once_it_is_chosen) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_consumer *consumer = test_consumer(ring, NULL), *other;
  cr_assert_eq(consumer->hot.hand_back, RINGBUS_HAND_BACK_NEVER);
  consumer->handing_back.chosen = 1;
  ringbus_slow_lap(consumer);
  cr_assert_eq(consumer->hot.hand_back, RINGBUS_HAND_BACK_STORE);
  consumer->handing_back.chosen = 0;
  ringbus_slow_lap(consumer);
  cr_assert_eq(consumer->hot.hand_back, RINGBUS_HAND_BACK_NEVER);
  const struct ringbus_consumer_options lapped = {.policy = RINGBUS_LAPPED,
                                                  .hand_back = RINGBUS_HAND_BACK_STORE},
                                        shared = {.group = "shared", .shared = true};
  cr_result(ringbus_consumer_attach(ring, &lapped, &other), 0);
  cr_assert_eq(other->hot.hand_back, RINGBUS_HAND_BACK_NEVER);
  cr_result(ringbus_consumer_attach(ring, &shared, &other), 0);
  cr_assert_eq(other->hot.hand_back, RINGBUS_HAND_BACK_STORE);
}

Test(trial, the_highest_level_is_the_end) {
  static const uint64_t bytes[] = {1000, 2000, 4000};
  begin();
  for (unsigned steps = 0; steps < 100000; steps++) {
    step(10000, bytes[tried_level]);
    cr_assert_lt(tried_level, LEVELS);
  }
  cr_assert_eq(trial.chosen, 2);
}

/* Other traffic: what is chosen is tried anew, soon. */
Test(trial, messages_that_come_twice_as_fast_or_half_as_fast_bring_the_next_try_forward) {
  for (int faster = 0; faster < 2; faster++) {
    const uint64_t before[] = {1000, 1000, 1000};
    const uint64_t other = faster ? 2100 : 450, after[] = {other, other, other};
    begin();
    for (int tries = 0; tries < 3; tries++) {
      steps_at(0, before, UINT32_MAX);
      steps_at(1, before, UINT32_MAX);
    }
    cr_assert_eq(trial.kept, 256);
    steps_at(0, before, SETTLING + 20 * A_WINDOW); /* of 256 */
    /* The slower of two windows is not believed: the one in which it changed, and one more. */
    cr_assert_leq(steps_at(0, after, UINT32_MAX), 3 * A_WINDOW);
    cr_assert_eq(tried_level, 1);
  }
}

Test(trial, messages_that_come_half_as_fast_begin_at_the_lowest_level) {
  static const uint64_t before[] = {1000, 2000, 1000}, after[] = {450, 900, 450};
  begin();
  steps_at(0, before, UINT32_MAX);
  win(1, before, 4);
  steps_at(1, before, UINT32_MAX);
  steps_at(0, before, UINT32_MAX); /* the try behind its first window */
  cr_assert(trial.chosen == 1 && trial.kept == 8);
  steps_at(1, before, SETTLING + A_WINDOW);
  cr_assert_leq(steps_at(1, after, UINT32_MAX), 3 * A_WINDOW);
  cr_assert(tried_level == 0 && trial.chosen == 0 && !trial.trying);
  cr_assert_eq(steps_at(0, after, UINT32_MAX), SETTLING + 32 * A_WINDOW);
}

/* One slow window is no other traffic: this process or the other had no core. */
Test(trial, a_single_slow_window_changes_nothing) {
  static const uint64_t usual[] = {1000, 2000, 1000}, slow[] = {1, 1, 1};
  begin();
  steps_at(0, usual, UINT32_MAX);
  win(1, usual, 4);
  steps_at(1, usual, SETTLING + A_WINDOW); /* then one upwards or downwards */
  steps_at(tried_level, usual, A_TRY);
  cr_assert(trial.chosen == 1 && trial.kept == 8);
  cr_assert_eq(steps_at(1, usual, SETTLING + A_WINDOW), SETTLING + A_WINDOW);
  cr_assert_eq(steps_at(1, slow, A_WINDOW), A_WINDOW);
  cr_assert_eq(steps_at(1, usual, UINT32_MAX), 6 * A_WINDOW);
  cr_assert_eq(trial.chosen, 1);
}

/* Where steps are short there are more of them, up to 20 us: less is noise. */
Test(trial, no_window_is_shorter_than_20_us) {
  static const uint64_t step_lengths[] = {100, 1000, 1999, 2499, 2500, 2600};
  for (size_t i = 0; i < sizeof step_lengths / sizeof step_lengths[0]; i++) {
    const uint64_t ns = step_lengths[i];
    begin();
    while (tried_level == 0)
      step(ns, 1000);
    uint64_t began = now_ns;
    while (tried_level == 1)
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
  trial_begin(&consumer->resting, RESTING_LEVELS, 1000, 0, 1.25, true);
  for (int empty = 0; empty < 4; empty++) {
    const unsigned left = consumer->resting.left;
    consumer->resting.chosen = 1 + (unsigned)empty % 2;
    for (int again = 0; again < 10; again++) {
      const uint64_t before = now_ns;
      cr_result(again % 2 ? ringbus_consumer_borrow(consumer, &message)
                          : ringbus_consumer_recv(consumer, &message, sizeof message, NULL),
                -EAGAIN);
      if (again == 0) /* 2 us, or 8 */
        cr_assert(now_ns - before >= (empty % 2 ? 8000 : 2000));
      else
        cr_assert_eq(now_ns, before);
    }
    cr_assert_eq(left - consumer->resting.left, 1);
    cr_result(ringbus_producer_send(producer, "message", 7, 0), 0);
    cr_result(ringbus_consumer_borrow(consumer, &message), 0);
    cr_result(ringbus_consumer_release(consumer), 0);
  }
}

/* Lines handed back or not make a difference that rests, or the traffic, must not be taken for. */
Test(rest, while_another_trial_has_not_settled_nothing_is_learned_about_rests) {
  ringbus_consumer *consumer = test_consumer(test_ring("ring", NULL), NULL);
  consumer->resting.chosen = 1;
  consumer->handing_back.left = consumer->handing_back.measured;
  consumer->resting.left = 10;
  pace_empty(consumer);
  cr_assert_eq(consumer->resting.left, 9);
  consumer->handing_back.left++; /* it is settling */
  pace_empty(consumer);
  const unsigned whole = consumer->resting.left;
  cr_assert_gt(whole, 10);
  consumer->handing_back.left--;
  consumer->handing_back.trying = true;
  consumer->resting.left = 10;
  pace_empty(consumer);
  cr_assert_eq(consumer->resting.left, whole, "its window begins again");
  for (unsigned looks = consumer->unlearned; looks < UNLEARNED_MOST; looks++) {
    consumer->resting.left = 10;
    pace_empty(consumer);
    cr_assert_eq(consumer->resting.left, whole);
  }
  consumer->resting.left = 10;
  pace_empty(consumer);
  cr_assert_eq(consumer->resting.left, 9, "but not for ever");
  consumer->handing_back.trying = false;
  consumer->resting.left = 10;
  pace_empty(consumer);
  cr_assert_eq(consumer->unlearned, UNLEARNED_MOST, "nor from one time to the next");
  while (consumer->resting.left != 1)
    pace_empty(consumer);
  now_ns += 1000000;
  pace_empty(consumer);
  cr_assert_eq(consumer->unlearned, 0, "a window has ended");
  consumer->handing_back.won = 1; /* to be tried again next */
  for (unsigned looks = 0; looks < UNLEARNED_MOST; looks++) {
    consumer->resting.left = 10;
    pace_empty(consumer);
    cr_assert_neq(consumer->resting.left, 9);
  }
  consumer->resting.left = 10;
  pace_empty(consumer);
  cr_assert_eq(consumer->resting.left, 9);
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
  unsigned rested = 0;
  begin_beside_a_faster_one();
  as_time_goes_by = again ? send_after_the_rest : NULL;
  for (unsigned first = 0;; first += STRIDE) {
    first_step = first;
    every = again ? again : 1;
    steps = sends = 0;
    most_sends = 1;
    rest_began = 0;
    trial_begin(&slower->giving_way, 2, 1000, 0, 1.25, true);
    slower->giving_way.chosen = 1;
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
    trial_begin(&producer->giving_way, 2, 8, 1, 1.25, true);
    for (unsigned collisions = 0; collisions < 10000; collisions++) {
      const uint64_t before = now_ns;
      producer->run = RUN;
      pace_collision(producer);
      const uint64_t rested = now_ns - before;
      now_ns += 1000;
      producer->hot.tail += rested >= 2000 && pays ? 6 * 4096 : 4096;
    }
    cr_assert_eq(producer->giving_way.chosen, pays);
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
