/* SPDX-License-Identifier: MIT */
/* overwriting.c - rings in which nobody is waited for: the oldest messages make way for new ones. What is
 * read is whole and right, what was missed is counted exactly, newcomers begin at the oldest whole
 * message. In rings with one and with many producers.
 *
 * From the table of bugs that such rings have had ("Lapping and ABA"):
 *   "version not re-checked after the copy": a_slow_reader_never_gets_a_torn_message
 *   "the record being written already clobbers the oldest": the oldest is past whatever a claim takes,
 *     an_open_claim_has_already_cost_the_oldest
 *   "a paused producer's CAS succeeds one lap later", "payload spells the old free word": a stopped
 *     producer that goes on laps later harms nobody, and tests/kill stops it at every instruction
 *   "count of lost messages wrong; a lapped reader reported corrupt": losses_are_exact_...
 *   "32-bit counters wrap after minutes": the starts */
#include "suite.h"

#include <signal.h>

static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 960, (UINT64_C(1) << 63) - 2048,
                                  UINT64_MAX - 1023};
#define STARTS (sizeof starts / sizeof starts[0])
#define PRODUCERS 3
#define LOG 200000u

static ringbus_ring *ring;
static ringbus_producer *producers[PRODUCERS];
static bool many_;
static uint64_t capacity, published, random_;
static uint64_t positions[LOG]; /* the producer's log */

#define EACH_KIND(many, start)                                                                     \
  for (int many = 0; many < 2; many++)                                                             \
    for (size_t start = 0; start < STARTS; start++)

static void make(int many, size_t start, uint64_t bytes) {
  struct ringbus_create_options options = {
      .capacity = bytes, .many_producers = many, .overwrite = true};
  if (ring) {
    for (int i = 0; i < PRODUCERS; i++)
      ringbus_producer_detach(producers[i]);
    cr_result(ringbus_ring_close(ring), 0);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
  memset(producers, 0, sizeof producers);
  many_ = many;
  capacity = bytes;
  published = 0;
  ring = test_ring_starting_at("ring", &options, starts[start]);
  for (int i = 0; i < (many ? PRODUCERS : 1); i++)
    producers[i] = test_producer(ring);
}

static ringbus_producer *any(void) { return producers[many_ ? published % PRODUCERS : 0]; }

static size_t length_of(uint64_t number) { return number * 37 % 300; }

static void publish(uint64_t count) {
  for (; count > 0; count--, published++) {
    void *data;
    if (published % 5 == 0) { /* and now and then a record that is given up */
      cr_result(ringbus_producer_claim(any(), 100, 0, &data), 0);
      cr_result(ringbus_producer_abort(any()), 0);
    }
    cr_assert_lt(published, LOG);
    cr_result(ringbus_producer_tell(any(), &positions[published], NULL), 0);
    cr_result(ringbus_producer_send(any(), test_content(published), length_of(published),
                                    (uint32_t)published),
              0);
  }
}

static void check(const struct ringbus_message *message, uint64_t number) {
  cr_assert_eq(message->position, positions[number]);
  cr_assert_eq(message->length, length_of(number));
  cr_assert_eq(message->tag, (uint32_t)number);
  cr_assert_arr_eq(message->data, test_content(number), message->length);
}

static struct ringbus_ring_info info(void) {
  struct ringbus_ring_info now;
  cr_result(ringbus_ring_info(ring, &now), 0);
  return now;
}

static unsigned char buffer[65536];

Test(overwriting, a_ring_says_what_it_is_and_never_fills_up) {
  EACH_KIND(many, start) {
    make(many, start, 4096);
    cr_assert(info().overwrite && info().many_producers == many);
    publish(5000);
    cr_assert_eq(info().tail_count, 5000);
    cr_assert_eq(info().full_events, 0);
    cr_assert_eq(info().dropped, info().oldest_count);
    cr_assert_leq(info().tail - info().oldest, capacity);
    cr_assert_geq(info().tail - info().oldest, capacity * 3 / 4);
    for (int i = 0; i < (many ? PRODUCERS : 1); i++) {
      cr_result(
          ringbus_producer_wait(producers[i], capacity - 16, 1 * (uint32_t)many, RINGBUS_FOREVER),
          0);
      cr_result(ringbus_producer_drain(producers[i], RINGBUS_FOREVER), 0);
    }
  }
}

/* The floor goes to a boundary that the producer has noted, and those of one batch are noted, too. */
Test(overwriting, a_batch_at_once_is_not_forgotten_as_a_whole) {
  enum { MESSAGES = 1000, BYTES = 56 };
  struct iovec messages[MESSAGES];
  size_t sent;
  make(false, 0, 65536);
  for (int i = 0; i < MESSAGES; i++)
    messages[i] = (struct iovec){(void *)(uintptr_t)test_content((uint64_t)i), BYTES};
  for (size_t count = 1; count <= MESSAGES; count += 111) {
    cr_result(ringbus_producer_send_batch(producers[0], messages, count, 0, true, &sent), 0);
    for (int i = 0; i < 100; i++) {
      cr_result(ringbus_producer_send(producers[0], "x", 1, 0), 0);
      cr_assert(info().tail < capacity || info().tail - info().oldest >= capacity * 7 / 8);
    }
  }
}

Test(overwriting, newcomers_begin_at_the_oldest_whole_message) {
  EACH_KIND(many, start) {
    make(many, start, 8192);
    for (int round = 0; round < 200; round++) {
      struct ringbus_message message;
      ringbus_observer *observer;
      ringbus_consumer *consumer;
      uint64_t position, count;
      publish((uint64_t)round % 23);
      observer = test_observer(ring);
      consumer = test_consumer(ring, NULL);
      cr_result(ringbus_consumer_tell(consumer, &position, &count), 0);
      cr_assert(position == info().oldest && count == info().oldest_count);
      for (uint64_t number = info().oldest_count; number < published; number++) {
        cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), 0);
        check(&message, number);
        cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), 0);
        check(&message, number);
      }
      cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), -EAGAIN);
      cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -EAGAIN);
      ringbus_observer_detach(observer);
      ringbus_consumer_detach(consumer);
    }
  }
}

/* Whatever policy they ask for. */
Test(overwriting, no_group_holds_a_producer_back) {
  EACH_KIND(many, start) {
    struct ringbus_consumer_options options = {.group = "g"};
    ringbus_consumer *consumers[3];
    make(many, start, 4096);
    for (int policy = 0; policy < 3; policy++) {
      options.group = policy == 0 ? "a" : policy == 1 ? "b" : "c";
      options.policy = (enum ringbus_policy)policy;
      cr_result(ringbus_consumer_attach(ring, &options, &consumers[policy]), 0);
    }
    publish(1);
    publish(1000);
    for (uint32_t index = 0; index < 3; index++) {
      struct ringbus_group_info group;
      cr_result(ringbus_ring_group(ring, index, &group), 0);
      cr_assert(group.policy == RINGBUS_LAPPED && !group.gating);
    }
    for (int i = 0; i < 3; i++) {
      cr_result(ringbus_consumer_recv(consumers[i], buffer, sizeof buffer, NULL), -EOVERFLOW);
      ringbus_consumer_detach(consumers[i]);
    }
    cr_result(ringbus_ring_blame(ring, RINGBUS_PRODUCER, &(struct ringbus_blame){0}), -ENOENT);
  }
}

/* Consumers that copy and that borrow, one that resumes, and an observer, each at a pace of its own. */
Test(overwriting, losses_are_exact_against_the_producers_log, .timeout = 120) {
  enum { COPIES, BORROWS, LEAVES, WATCHES, READERS };
  uint64_t overflows = 0;
  EACH_KIND(many, start) {
    ringbus_consumer *consumers[WATCHES];
    ringbus_observer *observer;
    uint64_t next[READERS] = {0}, lost[READERS] = {0}, lost_bytes[READERS] = {0}, told, told_bytes;
    make(many, start, 4096);
    consumers[COPIES] = test_consumer(ring, NULL);
    consumers[BORROWS] = test_consumer(ring, NULL);
    consumers[LEAVES] = test_consumer(ring, "comes back");
    observer = test_observer(ring);
    random_ = start;
    for (int round = 0; round < 3000; round++) {
      int which = (int)(test_random(&random_) % READERS);
      struct ringbus_message message;
      publish(test_random(&random_) % 12);
      if (which == LEAVES && test_random(&random_) % 4 == 0) {
        uint64_t oldest;
        ringbus_consumer_detach(consumers[LEAVES]);
        publish(test_random(&random_) % 40);
        consumers[LEAVES] = test_consumer(ring, "comes back");
        oldest = info().oldest_count;
        lost[LEAVES] = oldest > next[LEAVES] ? oldest - next[LEAVES] : 0;
        next[LEAVES] += lost[LEAVES];
        cr_result(ringbus_consumer_lost(consumers[LEAVES], &told, NULL), 0);
        cr_assert_eq(told, lost[LEAVES]);
      }
      for (uint64_t n = test_random(&random_) % 10; n > 0; n--) {
        int result = which == WATCHES
                         ? ringbus_observer_recv(observer, buffer, sizeof buffer, &message)
                     : which == BORROWS
                         ? ringbus_consumer_borrow(consumers[which], &message)
                         : ringbus_consumer_recv(consumers[which], buffer, sizeof buffer, &message);
        if (result == -EOVERFLOW) {
          uint64_t oldest = info().oldest_count;
          overflows++;
          cr_assert_geq(oldest, next[which]); /* equal: only records that were given up */
          lost[which] += oldest - next[which];
          lost_bytes[which] += positions[oldest] - positions[next[which]];
          next[which] = oldest;
        } else if (result == -EAGAIN) {
          cr_assert_eq(next[which], published);
          break;
        } else {
          cr_result(result, 0);
          check(&message, next[which]++);
          if (which == BORROWS) {
            cr_result(ringbus_consumer_still_valid(consumers[which]), 0);
            cr_result(ringbus_consumer_release(consumers[which]), 0);
          }
        }
        cr_result(which == WATCHES ? ringbus_observer_lost(observer, &told, &told_bytes)
                                   : ringbus_consumer_lost(consumers[which], &told, &told_bytes),
                  0);
        cr_assert_eq(told, lost[which], "reader %d", which);
        cr_result(which == WATCHES ? ringbus_observer_tell(observer, NULL, &told)
                                   : ringbus_consumer_tell(consumers[which], NULL, &told),
                  0);
        cr_assert_eq(told, next[which]);
        /* With one producer there are no records between the messages. */
        cr_assert(many || which == LEAVES || told_bytes == lost_bytes[which]);
      }
    }
    for (int i = 0; i < WATCHES; i++)
      ringbus_consumer_detach(consumers[i]);
    ringbus_observer_detach(observer);
  }
  cr_assert_gt(overflows, 500);
}

Test(overwriting, what_is_borrowed_is_told_to_be_overwritten_when_it_is) {
  EACH_KIND(many, start) {
    struct ringbus_message messages[3];
    size_t count;
    make(many, start, 4096);
    ringbus_consumer *consumer = test_consumer(ring, NULL);
    for (int round = 0; round < 50; round++) {
      publish(3);
      while (ringbus_consumer_borrow_batch(consumer, messages, 3, &count) == -EOVERFLOW)
        ;
      cr_assert_gt(count, 0);
      cr_result(ringbus_consumer_still_valid(consumer), 0);
      while (info().oldest <= messages[0].position && published - 3 < 100000 &&
             ringbus_consumer_still_valid(consumer) == 0)
        publish(1);
      cr_result(ringbus_consumer_still_valid(consumer), -EOVERFLOW);
      cr_assert_gt(info().oldest - messages[0].position, 0);
      cr_result(ringbus_consumer_release(consumer), 0);
    }
    ringbus_consumer_detach(consumer);
  }
}

/* What a claim takes is gone before anything is written into it. */
Test(overwriting, an_open_claim_has_already_cost_the_oldest) {
  EACH_KIND(many, start) {
    make(many, start, 4096);
    ringbus_observer *observer = test_observer(ring);
    for (int round = 0; round < 300; round++) {
      void *data;
      struct ringbus_message message;
      size_t length = (size_t)round * 13 % 4000;
      uint64_t before, expected;
      int result;
      publish(3);
      cr_result(ringbus_observer_seek(observer, RINGBUS_OLDEST, 0), 0);
      cr_result(ringbus_observer_tell(observer, NULL, &before), 0);
      cr_result(ringbus_producer_claim(producers[0], length, 0, &data), 0);
      memset(data, 0xff, length);
      cr_assert_leq(info().tail - info().oldest, capacity - length);
      expected = info().oldest_count;
      result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
      if (expected > before) {
        cr_result(result, -EOVERFLOW);
        result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
      } else if (result == -EOVERFLOW) { /* only records that were given up */
        result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
      }
      for (; expected < published; expected++) {
        cr_result(result, 0);
        check(&message, expected);
        result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
      }
      cr_result(result, -EAGAIN);
      cr_result(ringbus_producer_abort(producers[0]), 0);
    }
    ringbus_observer_detach(observer);
  }
}

Test(overwriting, the_longest_messages_leave_nothing_else) {
  EACH_KIND(many, start) {
    make(many, start, 4096);
    ringbus_observer *observer = test_observer(ring);
    for (uint64_t lap = 0; lap < 300; lap++) {
      struct ringbus_message message;
      int result;
      cr_result(ringbus_producer_send(any(), test_content(lap), 4096 - 16, 0), 0);
      published++;
      while ((result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message)) ==
             -EOVERFLOW)
        ;
      cr_result(result, 0);
      cr_assert_arr_eq(buffer, test_content(lap), 4096 - 16);
      cr_assert_eq(info().tail_count - info().oldest_count, 1);
      if (lap % 3 == 0) { /* nothing at all, for as long as it is open */
        void *data;
        cr_result(ringbus_producer_claim(any(), 4096 - 16, 0, &data), 0);
        cr_assert_eq(info().oldest, info().tail);
        cr_result(ringbus_producer_abort(any()), 0);
      }
    }
    ringbus_observer_detach(observer);
  }
}

/* An open claim stops the others only when they have come round to it. */
Test(overwriting, an_open_claim_stops_the_others_a_lap_later) {
  for (size_t start = 0; start < STARTS; start++) {
    struct ringbus_blame blame;
    void *data;
    make(1, start, 4096);
    ringbus_observer *observer = test_observer(ring);
    for (int round = 0; round < 20; round++) {
      uint64_t sent = 0;
      int result;
      cr_result(ringbus_producer_claim(producers[0], 100, 0, &data), 0);
      while ((result = ringbus_producer_send(producers[1], "x", 1, 0)) == 0)
        sent++;
      cr_result(result, -EAGAIN);
      cr_assert_eq(sent, (4096 - 128) / 64);
      cr_result(ringbus_producer_wait(producers[2], 1, 0, 0), -ETIMEDOUT);
      cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), 0);
      cr_assert_eq(blame.slot, 1);
      cr_result(ringbus_producer_commit(producers[0], 3), 0);
      cr_result(ringbus_producer_wait(producers[2], 1, 0, RINGBUS_FOREVER), 0);
      cr_result(ringbus_producer_send(producers[2], "x", 1, 0), 0);
    }
    ringbus_observer_detach(observer);
  }
}

Test(overwriting, batches_go_around_and_one_at_once_has_the_ring_for_itself) {
  EACH_KIND(many, start) {
    struct iovec batch[64];
    size_t sent = 0;
    make(many, start, 4096);
    for (size_t i = 0; i < 64; i++)
      batch[i] = (struct iovec){(void *)(uintptr_t)test_content(i), 100};
    cr_result(ringbus_producer_send_batch(producers[0], batch, 64, 0, false, &sent), 0);
    cr_assert_eq(sent, 64); /* more than a lap of messages of 128 bytes */
    cr_result(ringbus_producer_send_batch(producers[0], batch, 64, 0, true, &sent), -EMSGSIZE);
    cr_result(ringbus_producer_send_batch(producers[0], batch, 32, 0, true, &sent), 0);
    cr_assert_eq(info().tail_count, 96);
    if (many)
      cr_assert_eq(info().oldest_count, 64);
  }
}

/* ---------------------------------------------------------------- at full speed */

/* Message: its number, many times. */
static int write_at_full_speed(struct test_child *self, void *context) {
  uint64_t author = *(uint64_t *)context;
  ringbus_producer *own = test_producer(test_open("ring"));
  uint64_t words[32];
  test_child_say(self, 'p');
  for (uint64_t number = 1;; number++) {
    for (int i = 0; i < 32; i++)
      words[i] = number << 8 | author;
    int result = ringbus_producer_send(own, words, 8 * (1 + number % 32), 0);
    REQUIRE(result == 0 || result == -EAGAIN); /* another is in its claim, a lap behind */
    number -= result != 0;
  }
  return 0;
}

static void read_at_leisure(bool observes) {
  uint64_t words[32], last[PRODUCERS] = {0}, seen = 0, lost, count, overflows = 0;
  ringbus_observer *observer = observes ? test_observer(ring) : NULL;
  ringbus_consumer *consumer = observes ? NULL : test_consumer(ring, NULL);
  uint64_t began;
  cr_result(observes ? ringbus_observer_tell(observer, NULL, &began)
                     : ringbus_consumer_tell(consumer, NULL, &began),
            0);
  while (seen < test_scaled(8000, 200000) || overflows < 3) {
    struct ringbus_message message;
    int result = observes ? ringbus_observer_recv(observer, words, sizeof words, &message)
                          : ringbus_consumer_recv(consumer, words, sizeof words, &message);
    if (result == -EAGAIN)
      continue;
    if (result == -EOVERFLOW) {
      overflows++;
      continue;
    }
    cr_result(result, 0);
    uint64_t number = words[0] >> 8, author = words[0] & 255;
    cr_assert_lt(author, PRODUCERS);
    cr_assert_gt(number, last[author], "in the order of its author");
    last[author] = number;
    cr_assert_eq(message.length, 8 * (1 + number % 32));
    for (uint32_t i = 1; i < message.length / 8; i++)
      cr_assert_eq(words[i], words[0], "torn");
    if (++seen % 2000 == 0)
      test_sleep_us(1000); /* to be lapped */
  }
  cr_result(observes ? ringbus_observer_lost(observer, &lost, NULL)
                     : ringbus_consumer_lost(consumer, &lost, NULL),
            0);
  cr_result(observes ? ringbus_observer_tell(observer, NULL, &count)
                     : ringbus_consumer_tell(consumer, NULL, &count),
            0);
  cr_assert_eq(began + seen + lost, count, "what was seen and what was lost is all there was");
  ringbus_observer_detach(observer);
  ringbus_consumer_detach(consumer);
}

Test(overwriting, a_slow_reader_never_gets_a_torn_message, .timeout = 240) {
  for (int many = 0; many < 2; many++) {
    struct test_child children[PRODUCERS];
    uint64_t writers = many ? PRODUCERS : 1;
    make(many, 3, 16384);
    for (int i = 0; i < PRODUCERS; i++) {
      ringbus_producer_detach(producers[i]);
      producers[i] = NULL;
    }
    for (uint64_t author = 0; author < writers; author++) {
      children[author] = test_child_start(write_at_full_speed, &author);
      cr_assert_eq(test_child_hear(&children[author]), 'p');
    }
    read_at_leisure(false);
    read_at_leisure(true);
    for (uint64_t author = 0; author < writers; author++)
      test_child_kill(&children[author]);
  }
}

/* Stopped anywhere, and continued when the ring is laps further. */
Test(overwriting, a_producer_that_was_stopped_for_laps_harms_nobody, .timeout = 120) {
  struct test_child children[PRODUCERS];
  struct ringbus_message message;
  uint64_t words[32], last[PRODUCERS] = {0};
  make(1, 3, 4096);
  ringbus_observer *observer = test_observer(ring);
  for (uint64_t author = 0; author < PRODUCERS; author++) {
    children[author] = test_child_start(write_at_full_speed, &author);
    cr_assert_eq(test_child_hear(&children[author]), 'p');
  }
  for (uint64_t round = 0; round < test_scaled(100, 10000); round++) {
    pid_t stopped = children[round % PRODUCERS].pid;
    uint64_t before = info().tail;
    kill(stopped, SIGSTOP);
    for (int patience = 0; patience < 2000 && info().tail - before < 3 * 4096; patience++) {
      int result = ringbus_observer_recv(observer, words, sizeof words, &message);
      cr_assert(result == 0 || result == -EAGAIN || result == -EOVERFLOW);
      if (result != 0)
        continue;
      uint64_t number = words[0] >> 8, author = words[0] & 255;
      cr_assert(author < PRODUCERS && number > last[author]);
      last[author] = number;
      for (uint32_t i = 1; i < message.length / 8; i++)
        cr_assert_eq(words[i], words[0], "torn");
    }
    kill(stopped, SIGCONT);
  }
  for (uint64_t author = 0; author < PRODUCERS; author++)
    test_child_kill(&children[author]);
  ringbus_observer_detach(observer);
}
