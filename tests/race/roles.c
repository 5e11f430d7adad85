/* SPDX-License-Identifier: MIT */
/* roles.c - every role at once, as threads over one mapping, so that ThreadSanitizer sees both sides of
 * every pair: a producer (and its successors), gating consumers that borrow, batch and receive, a lapped
 * group, an observer, groups that come and go, seekers, and somebody who looks at everything. All
 * contents and orders are checked; sleeps are in every wake mode.
 *
 * Most shared words are atomic, and orders between those alone are no data race. Plain variables make
 * more of the ordering visible: what was done before a message was published, before the stream was
 * finished, before somebody attached, and what is read in place before a group leaves, must be visible to
 * whoever learns of it through the ring. tests/race/weaken takes one release or acquire away at a time and
 * wants a report.
 *
 * What ThreadSanitizer cannot see: bare fences (ANNOUNCE, JOIN, SLEEP), the one deliberately racy copy
 * of lapped readers, and, because the data is mapped twice, that a byte in one view is the same as one
 * in the other: records over the end of the data are seen as other memory than those at its start.
 *
 * usage: roles [messages] */
#include "../support.h"

#include <pthread.h>
#include <sched.h>

#define MOST_BYTES 200u

struct configuration {
  enum ringbus_wake wake;
  enum ringbus_wait wait;
  enum ringbus_hand_back hand_back;
  uint64_t capacity, start;
};

static const struct configuration *configuration;
static ringbus_ring *ring;
static uint64_t messages;
static int producer_is_done;
/* Plain on purpose, see above. */
static uint64_t *written_before_publishing; /* [n]: before message n */
static uint64_t written_before_finishing;

static uint64_t *positions; /* [n]: of message n, from the start */

/* Lapped readers only copy here: whoever borrows in such a group reads what may be overwritten, and asks
 * afterwards; to ThreadSanitizer that is a race. */

static bool done(void) { return __atomic_load_n(&producer_is_done, __ATOMIC_ACQUIRE); }

/* Message n: its number, then bytes that belong to it; its tag says the number, too, now and then. */
static size_t length_of(uint64_t number) { return 8 + number * 31 % (MOST_BYTES - 8); }
static uint32_t tag_of(uint64_t number) { return number % 3 ? 0 : (uint32_t)number; }

/* BANK: a position and a count that were told together belong together. */
static void check_pair(uint64_t position, uint64_t count) {
  REQUIRE(count <= messages);
  REQUIRE(position - configuration->start == positions[count]);
}

static void write_message(void *data, uint64_t number) {
  written_before_publishing[number] = ~number;
  memcpy(data, &number, sizeof number);
  memcpy((char *)data + 8, test_content(number), length_of(number) - 8);
}

static uint64_t check_message(const struct ringbus_message *message) {
  uint64_t number;
  REQUIRE(message->length >= sizeof number);
  memcpy(&number, message->data, sizeof number);
  REQUIRE(number < messages);
  REQUIRE(message->length == length_of(number));
  REQUIRE(message->tag == tag_of(number));
  REQUIRE(memcmp((const char *)message->data + 8, test_content(number), message->length - 8) == 0);
  return number;
}

/* ---------------------------------------------------------------- publishing */

static void wait_for_room(ringbus_producer *producer, size_t length, uint32_t tag) {
  int result = ringbus_producer_wait(producer, length, tag, RINGBUS_FOREVER);
  REQUIRE_RESULT(result, 0);
}

static uint64_t publish_some(ringbus_producer *producer, uint64_t number) {
  unsigned char bytes[4][MOST_BYTES];
  struct iovec batch[4];
  size_t count = 0, sent;
  void *data;
  int result;
  switch (number % 5) {
  case 0: /* in place */
    while ((result = ringbus_producer_claim(producer, MOST_BYTES, tag_of(number), &data)) ==
           -EAGAIN)
      wait_for_room(producer, MOST_BYTES, tag_of(number));
    REQUIRE_RESULT(result, 0);
    write_message(data, number);
    REQUIRE_RESULT(ringbus_producer_commit(producer, length_of(number)), 0);
    return number + 1;
  case 1: /* several: those that need no tag */
    while (count < 4 && number + count < messages && tag_of(number + count) == tag_of(number)) {
      batch[count] = (struct iovec){bytes[count], length_of(number + count)};
      write_message(bytes[count], number + count);
      count++;
    }
    result = ringbus_producer_send_batch(producer, batch, count, tag_of(number), number % 2, &sent);
    if (result == -EAGAIN && sent == 0)
      wait_for_room(producer, 900, 0);
    else
      REQUIRE(result == 0 || (result == -EAGAIN && sent < count));
    return number + sent;
  default:
    write_message(bytes[0], number);
    while ((result = ringbus_producer_send(producer, bytes[0], length_of(number),
                                           tag_of(number))) == -EAGAIN)
      wait_for_room(producer, length_of(number), tag_of(number));
    REQUIRE_RESULT(result, 0);
    return number + 1;
  }
}

/* A thread publishes up to a number, then the next one succeeds it. */
static void *produce(void *context) {
  struct ringbus_producer_options options = {.wait = configuration->wait};
  uint64_t number = *(uint64_t *)context;
  ringbus_producer *producer;
  uint64_t until = number + messages / 3;
  until = until + messages / 3 > messages ? messages : until;
  REQUIRE_RESULT(ringbus_producer_attach(ring, &options, &producer), 0);
  while (number < until)
    number = publish_some(producer, number);
  *(uint64_t *)context = number;
  if (number == messages) {
    written_before_finishing = messages;
    REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
    REQUIRE_RESULT(ringbus_producer_drain(producer, RINGBUS_FOREVER), 0);
    __atomic_store_n(&producer_is_done, 1, __ATOMIC_RELEASE);
  }
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return NULL;
}

static void *produce_one_after_the_other(void *context) {
  uint64_t number = 0;
  (void)context;
  while (number < messages) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, produce, &number) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
  }
  return NULL;
}

/* ---------------------------------------------------------------- consuming */

static ringbus_consumer *join(const char *group, enum ringbus_policy policy, uint64_t max_lag,
                              enum ringbus_start start) {
  struct ringbus_consumer_options options = {.group = group,
                                             .policy = policy,
                                             .max_lag = max_lag,
                                             .start = start,
                                             .wait = configuration->wait,
                                             .hand_back = configuration->hand_back};
  ringbus_consumer *consumer;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &consumer), 0);
  return consumer;
}

/* Wait; false at the end of the stream. */
static bool more(ringbus_consumer *consumer, int result) {
  if (result == -EPIPE) {
    REQUIRE(written_before_finishing == messages); /* STATE */
    return false;
  }
  REQUIRE_RESULT(result, -EAGAIN);
  result = ringbus_consumer_wait(consumer, RINGBUS_FOREVER);
  REQUIRE(result == 0 || result == -EPIPE);
  return true;
}

static void *consume_in_place(void *context) {
  ringbus_consumer *consumer = context;
  struct ringbus_message message;
  uint64_t next = 0;
  for (;;) {
    int result = ringbus_consumer_borrow(consumer, &message);
    if (result == 0) {
      REQUIRE(check_message(&message) == next++);
      if (next % 7 == 0)
        REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
      continue;
    }
    REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
    if (!more(consumer, result))
      break;
  }
  REQUIRE(next == messages);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

static void *consume_batches(void *context) {
  ringbus_consumer *consumer = context;
  struct ringbus_message batch[16];
  uint64_t next = 0;
  size_t count;
  for (;;) {
    int result = ringbus_consumer_borrow_batch(consumer, batch, 1 + next % 16, &count);
    for (size_t i = 0; i < count; i++)
      REQUIRE(check_message(&batch[i]) == next++);
    REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
    if (result != 0 && !more(consumer, result))
      break;
  }
  REQUIRE(next == messages);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

static void *consume_copies(void *context) {
  ringbus_consumer *consumer = context;
  unsigned char buffer[MOST_BYTES];
  struct ringbus_message message;
  uint64_t next = 0;
  for (;;) {
    int result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message);
    if (result == 0)
      REQUIRE(check_message(&message) == next++);
    else if (!more(consumer, result))
      break;
  }
  REQUIRE(next == messages);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

/* Lapped or not, what comes is whole, in order, and together with what was lost it is everything. */
static void *consume_lapped(void *context) {
  ringbus_consumer *consumer = context;
  unsigned char buffer[MOST_BYTES];
  struct ringbus_message message;
  uint64_t next = 0, lost = 0, lost_before, got = 0;
  for (;;) {
    int result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message);
    lost_before = lost;
    REQUIRE_RESULT(ringbus_consumer_lost(consumer, &lost, NULL), 0);
    if (result == 0) {
      REQUIRE(lost == lost_before);
      REQUIRE(check_message(&message) == next++);
      got++;
      if (got % 64 == 0)
        sched_yield();
    } else if (result == -EOVERFLOW) {
      REQUIRE(lost > lost_before);
      next += lost - lost_before;
    } else if (!more(consumer, result)) {
      break;
    }
  }
  REQUIRE(next == messages && got + lost == messages);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

static void *observe(void *context) {
  unsigned char buffer[MOST_BYTES];
  ringbus_observer *observer = context;
  struct ringbus_message message;
  uint64_t next = 0, lost = 0, lost_before;
  for (;;) {
    int result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
    lost_before = lost;
    REQUIRE_RESULT(ringbus_observer_lost(observer, &lost, NULL), 0);
    next += lost - lost_before;
    if (result == 0) {
      REQUIRE(check_message(&message) == next++);
    } else if (result == -EAGAIN) {
      result = ringbus_observer_wait(observer, RINGBUS_FOREVER);
      REQUIRE(result == 0 || result == -EPIPE);
    } else if (result != -EOVERFLOW) {
      REQUIRE_RESULT(result, -EPIPE);
      REQUIRE(written_before_finishing == messages); /* STATE */
      break;
    }
  }
  REQUIRE(next == messages);
  REQUIRE_RESULT(ringbus_observer_detach(observer), 0);
  return NULL;
}

/* ---------------------------------------------------------------- coming and going */

static void *come_and_go(void *context) {
  uint64_t random = 3, rounds = 0;
  (void)context;
  while (!done() || rounds < 3) {
    enum ringbus_start start = (enum ringbus_start)(test_random(&random) % 3);
    ringbus_consumer *consumer = join(NULL, RINGBUS_GATE, 0, start);
    struct ringbus_message message;
    uint64_t next, back, count;
    REQUIRE_RESULT(ringbus_consumer_tell(consumer, &back, &next), 0);
    check_pair(back, next);
    for (uint64_t n = test_random(&random) % 40; n; n--) {
      int result = ringbus_consumer_borrow(consumer, &message);
      if (result != 0) {
        REQUIRE(result == -EAGAIN || result == -EPIPE);
        break;
      }
      REQUIRE(check_message(&message) == next++);
      if (test_random(&random) % 8 == 0) {
        int sought;
        REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
        sought = ringbus_consumer_seek(consumer, RINGBUS_POSITION, back);
        REQUIRE(sought == 0 || sought == -EINVAL || sought == -EOVERFLOW);
        REQUIRE_RESULT(ringbus_consumer_tell(consumer, &back, &count), 0);
        check_pair(back, count);
        next = count;
      }
    }
    REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
    rounds++;
    sched_yield();
  }
  return NULL;
}

/* A named group that is waited for while somebody is there, and lapped in between. */
static void *stay_for_a_while(void *context) {
  uint64_t random = 5, expected = 0, rounds = 0;
  (void)context;
  while (!done() || rounds < 3) {
    ringbus_consumer *consumer = join("visitor", RINGBUS_GATE_WHILE_ATTACHED, 0, RINGBUS_RESUME);
    struct ringbus_message message;
    uint64_t lost, next;
    REQUIRE_RESULT(ringbus_consumer_tell(consumer, NULL, &next), 0);
    REQUIRE_RESULT(ringbus_consumer_lost(consumer, &lost, NULL), 0);
    REQUIRE(rounds == 0 || next == expected + lost);
    expected = next;
    for (uint64_t n = test_random(&random) % 60; n; n--) {
      int result = ringbus_consumer_borrow(consumer, &message);
      if (result != 0) {
        REQUIRE(result == -EAGAIN || result == -EPIPE);
        break;
      }
      REQUIRE(check_message(&message) == next++);
      if (n % 16 == 0) { /* what is borrowed after the last release comes again, or is lost */
        REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
        expected = next;
      }
    }
    REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
    rounds++;
    sched_yield();
  }
  return NULL;
}

static void *look_at_everything(void *context) {
  uint64_t tail_before = 0;
  (void)context;
  while (!done()) {
    struct ringbus_ring_info info;
    struct ringbus_group_info group;
    struct ringbus_participant participant;
    REQUIRE_RESULT(ringbus_ring_info(ring, &info), 0);
    REQUIRE(info.tail_count >= tail_before);
    check_pair(info.tail, info.tail_count);
    check_pair(info.oldest, info.oldest_count);
    tail_before = info.tail_count;
    if (tail_before > 0)
      REQUIRE(written_before_publishing[tail_before - 1] == ~(tail_before - 1)); /* TAIL */
    for (uint32_t index = 0; index < info.max_groups; index++)
      if (ringbus_ring_group(ring, index, &group) == 0 && group.name[0] == 'b')
        check_pair(group.cursor,
                   group.cursor_count); /* "batches": moves, and is there all the time */
    for (uint32_t slot = 1; slot <= info.max_participants; slot++)
      ringbus_ring_participant(ring, slot, &participant);
    REQUIRE(ringbus_ring_wait_for(ring, RINGBUS_CONSUMER, 0) <= 0);
    sched_yield();
  }
  return NULL;
}

/* ---------------------------------------------------------------- who is there */

#define HOLDERS 8
/* Plain: each is written before its holder attaches, and written again, by ringbus_ring_participant, once
 * the slot is seen to be held. What these two threads tell each other besides orders nothing before the
 * attaching, and ringbus_ring_participant writes before it asks whether the holder lives, for which it
 * takes a lock that the holder took, too. */
static struct ringbus_participant told_of_holder[HOLDERS];
static int attached, looked_at, left; /* how many */

static void wait_until_equal(int *word, int value) {
  while (__atomic_load_n(word, __ATOMIC_RELAXED) != value)
    sched_yield();
}

static void *hold_slot(void *context) {
  (void)context;
  for (int holder = 0; holder < HOLDERS; holder++) {
    struct ringbus_producer_options options = {.name = holder % 2 ? "odd" : "even"};
    ringbus_producer *producer;
    told_of_holder[holder].slot = 1;
    REQUIRE_RESULT(ringbus_producer_attach(ring, &options, &producer), 0);
    __atomic_store_n(&attached, holder + 1, __ATOMIC_RELAXED);
    wait_until_equal(&looked_at, holder + 1);
    REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
    __atomic_store_n(&left, holder + 1, __ATOMIC_RELEASE);
  }
  return NULL;
}

static void *look_at_holder(void *context) {
  (void)context;
  for (int holder = 0; holder < HOLDERS; holder++) {
    struct ringbus_participant *told = &told_of_holder[holder];
    wait_until_equal(&attached, holder + 1);
    while (ringbus_ring_participant(ring, 1, told) != 0)
      sched_yield();
    REQUIRE(strcmp(told->name, holder % 2 ? "odd" : "even") == 0); /* SLOT */
    __atomic_store_n(&looked_at, holder + 1, __ATOMIC_RELAXED);
    wait_until_equal(&left, holder + 1);
    REQUIRE(__atomic_load_n(&left, __ATOMIC_ACQUIRE) == holder + 1); /* it is not seen held again */
  }
  return NULL;
}

static void run_holders(void) {
  pthread_t holder, looker;
  ring = test_ring("slots", NULL);
  REQUIRE(pthread_create(&holder, NULL, hold_slot, NULL) == 0);
  REQUIRE(pthread_create(&looker, NULL, look_at_holder, NULL) == 0);
  REQUIRE(pthread_join(holder, NULL) == 0);
  REQUIRE(pthread_join(looker, NULL) == 0);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("slots"), false), 0);
}

/* ---------------------------------------------------------------- all together */

static void run(const struct configuration *chosen) {
  struct ringbus_create_options options = {
      .capacity = chosen->capacity, .wake = chosen->wake, .max_participants = 12, .max_groups = 10};
  pthread_t threads[9];
  configuration = chosen;
  producer_is_done = 0;
  written_before_finishing = 0;
  written_before_publishing = calloc(messages, sizeof *written_before_publishing);
  positions = calloc(messages + 1, sizeof *positions);
  REQUIRE(written_before_publishing && positions);
  for (uint64_t number = 0; number < messages; number++)
    positions[number + 1] = positions[number] + reference_bytes(length_of(number), tag_of(number));
  ring = test_ring_starting_at("ring", &options, chosen->start);
  /* Whoever wants to see everything attaches before anything is published. */
  struct {
    void *(*body)(void *);
    void *context;
  } roles[] = {
      {consume_in_place, join("in-place", RINGBUS_GATE, 0, RINGBUS_RESUME)},
      {consume_batches, join("batches", RINGBUS_GATE, 0, RINGBUS_RESUME)},
      {consume_copies, join(NULL, RINGBUS_GATE, 0, RINGBUS_RESUME)},
      {consume_lapped, join("lapped", RINGBUS_LAPPED, 0, RINGBUS_RESUME)},
      {consume_lapped, join("max-lag", RINGBUS_GATE, chosen->capacity / 3, RINGBUS_RESUME)},
      {observe, test_observer(ring)},
      {come_and_go, NULL},
      {stay_for_a_while, NULL},
      {look_at_everything, NULL},
  };
  for (int i = 0; i < 9; i++)
    REQUIRE(pthread_create(&threads[i], NULL, roles[i].body, roles[i].context) == 0);
  produce_one_after_the_other(NULL);
  for (int i = 0; i < 9; i++)
    REQUIRE(pthread_join(threads[i], NULL) == 0);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
  free(written_before_publishing);
  free(positions);
}

int main(int count, char **arguments) {
  static const struct configuration configurations[] = {
      {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAIT_ADAPTIVE, RINGBUS_HAND_BACK_DEFAULT, 4096, 0},
      {RINGBUS_WAKE_BY_FENCE, RINGBUS_WAIT_BLOCK, RINGBUS_HAND_BACK_STORE, 4096,
       UINT64_MAX - 99999},
      {RINGBUS_WAKE_NEVER, RINGBUS_WAIT_ADAPTIVE, RINGBUS_HAND_BACK_LOCKED, 8192,
       (UINT64_C(1) << 32) - 80000},
      {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAIT_BLOCK, RINGBUS_HAND_BACK_NEVER, 65536,
       (UINT64_C(1) << 63) - 80000},
      {RINGBUS_WAKE_BY_FENCE, RINGBUS_WAIT_ADAPTIVE, RINGBUS_HAND_BACK_LOCKED, 4096, 8},
  };
  messages = count > 1 ? strtoull(arguments[1], NULL, 0) : test_scaled(10000, 100000);
  run_holders();
  for (size_t i = 0; i < sizeof configurations / sizeof configurations[0]; i++)
    run(&configurations[i]);
  printf("figure: no data race, one producer | %llu messages in each of %zu configurations\n",
         (unsigned long long)messages, sizeof configurations / sizeof configurations[0]);
  return 0;
}
