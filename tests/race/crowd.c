/* SPDX-License-Identifier: MIT */
/* crowd.c - many producers and shared groups, every role at once, as threads over one mapping: producers
 * that send, claim, shorten, abort, batch, leave with a claim open and come again; gating groups that
 * borrow and batch; a shared group whose members come and go, now and then with a run unreleased; a
 * lapped group, an observer, joiners, somebody who looks at everything, and somebody who repairs.
 *
 * Checked: every message whole; each producer's in order, none missing, none twice in each gating group;
 * the same total order in both; in the shared group each message once, or again if it was left
 * unreleased, and then flagged.
 *
 * What was written before a message was published, plain on purpose, must be visible to whoever reads it.
 * What ThreadSanitizer cannot see is as in roles.c; and 16-byte swaps, for which lib/shared.h has a word.
 *
 * usage: crowd [messages of each producer] */
#include "../support.h"

#include <pthread.h>
#include <sched.h>

#define PRODUCERS 3u
#define MEMBERS 3u
#define MOST_BYTES 700u

struct configuration {
  enum ringbus_wake wake;
  enum ringbus_wait wait;
  uint64_t capacity, start;
  bool many, overwrite; /* one producer: only the first of them publishes */
};

static const struct configuration *configuration;
static ringbus_ring *ring;
static uint64_t messages; /* of each producer */
static unsigned producers;
static int producers_done;
static uint64_t *written_before_publishing[PRODUCERS]; /* plain on purpose */
static unsigned char *taken[PRODUCERS];                /* [p][n]: times the shared group had it */
static uint64_t order_of[2];                           /* what each gating group saw, hashed */

static bool done(void) {
  return __atomic_load_n(&producers_done, __ATOMIC_ACQUIRE) == (int)producers;
}

struct content {
  uint64_t producer, number;
};

static size_t length_of(struct content c) {
  return sizeof c + (c.number * 31 + c.producer * 7) % (MOST_BYTES - sizeof c);
}
static uint32_t tag_of(struct content c) { return c.number % 3 ? 0 : (uint32_t)c.number; }
static const unsigned char *bytes_of(struct content c) {
  return test_content(c.number * 4 + c.producer);
}

static void write_message(void *data, struct content c) {
  written_before_publishing[c.producer][c.number] = ~c.number;
  memcpy(data, &c, sizeof c);
  memcpy((char *)data + sizeof c, bytes_of(c), length_of(c) - sizeof c);
}

static struct content check_message(const struct ringbus_message *message) {
  struct content c;
  REQUIRE(message->length >= sizeof c);
  memcpy(&c, message->data, sizeof c);
  REQUIRE(c.producer < PRODUCERS && c.number < messages);
  REQUIRE(message->length == length_of(c) && message->tag == tag_of(c));
  REQUIRE(memcmp((const char *)message->data + sizeof c, bytes_of(c), message->length - sizeof c) ==
          0);
  return c;
}

/* By readers that are waited for. What others copy is made sure of by a fence. */
static struct content check_gated(const struct ringbus_message *message) {
  struct content c = check_message(message);
  REQUIRE(written_before_publishing[c.producer][c.number] == ~c.number); /* PUBLISH */
  return c;
}

/* ---------------------------------------------------------------- publishing */

static ringbus_producer *begin_publishing(void) {
  struct ringbus_producer_options options = {.wait = configuration->wait};
  ringbus_producer *producer;
  REQUIRE_RESULT(ringbus_producer_attach(ring, &options, &producer), 0);
  return producer;
}

static void wait_for_room(ringbus_producer *producer, size_t length, uint32_t tag) {
  REQUIRE_RESULT(ringbus_producer_wait(producer, length, tag, RINGBUS_FOREVER), 0);
}

static void *claim(ringbus_producer *producer, size_t length, uint32_t tag) {
  void *data;
  int result;
  while ((result = ringbus_producer_claim(producer, length, tag, &data)) == -EAGAIN)
    wait_for_room(producer, length, tag);
  REQUIRE_RESULT(result, 0);
  return data;
}

static uint64_t publish_some(ringbus_producer *producer, struct content c) {
  unsigned char bytes[4][MOST_BYTES];
  struct iovec batch[4];
  size_t count = 0, sent;
  int result;
  switch (c.number % 7) {
  case 0: /* in place, and shorter than claimed */
    write_message(claim(producer, MOST_BYTES + 300, tag_of(c)), c);
    REQUIRE_RESULT(ringbus_producer_commit(producer, length_of(c)), 0);
    return c.number + 1;
  case 1: /* given up first */
    memset(claim(producer, 500, 0), 0x55, 500);
    REQUIRE_RESULT(ringbus_producer_abort(producer), 0);
    write_message(claim(producer, length_of(c), tag_of(c)), c);
    REQUIRE_RESULT(ringbus_producer_commit(producer, length_of(c)), 0);
    return c.number + 1;
  case 2: /* several: those that need no tag */
    while (count < 4 && c.number + count < messages) {
      struct content next = {c.producer, c.number + count};
      if (tag_of(next) != tag_of(c))
        break;
      batch[count] = (struct iovec){bytes[count], length_of(next)};
      write_message(bytes[count], next);
      count++;
    }
    result = ringbus_producer_send_batch(producer, batch, count, tag_of(c), c.number % 2, &sent);
    if (result == -EAGAIN && sent == 0)
      wait_for_room(producer, 900, 0);
    else
      REQUIRE(result == 0 || (result == -EAGAIN && sent < count));
    return c.number + sent;
  default:
    write_message(bytes[0], c);
    while ((result = ringbus_producer_send(producer, bytes[0], length_of(c), tag_of(c))) == -EAGAIN)
      wait_for_room(producer, length_of(c), tag_of(c));
    REQUIRE_RESULT(result, 0);
    return c.number + 1;
  }
}

static void *produce(void *context) {
  struct content c = {*(uint64_t *)context, 0};
  ringbus_producer *producer = begin_publishing();
  uint64_t random = c.producer + 1;
  while (c.number < messages) {
    c.number = publish_some(producer, c);
    if (test_random(&random) % 200 == 0) { /* leaves, with a claim open or not, and comes again */
      if (c.number % 2)
        memset(claim(producer, 100, 0), 0x55, 100);
      REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
      producer = begin_publishing();
    }
  }
  /* The last one ends the stream. */
  if (__atomic_add_fetch(&producers_done, 1, __ATOMIC_ACQ_REL) == (int)producers) {
    REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
    if (!configuration->overwrite)
      REQUIRE_RESULT(ringbus_producer_drain(producer, RINGBUS_FOREVER), 0);
  }
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return NULL;
}

/* ---------------------------------------------------------------- consuming */

static ringbus_consumer *join(const char *group, enum ringbus_policy policy, bool shared,
                              enum ringbus_start start) {
  struct ringbus_consumer_options options = {.group = group,
                                             .policy = policy,
                                             .shared = shared,
                                             .start = start,
                                             .wait = configuration->wait,
                                             .hand_back = RINGBUS_HAND_BACK_STORE};
  ringbus_consumer *consumer;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &consumer), 0);
  return consumer;
}

static bool more(ringbus_consumer *consumer, int result) {
  if (result == -EPIPE)
    return false;
  REQUIRE_RESULT(result, -EAGAIN);
  result = ringbus_consumer_wait(consumer, RINGBUS_FOREVER);
  REQUIRE(result == 0 || result == -EPIPE);
  return true;
}

static void in_order(struct content c, uint64_t next[PRODUCERS], uint64_t *hash) {
  REQUIRE(c.number == next[c.producer]);
  next[c.producer]++;
  *hash = (*hash ^ (c.number * PRODUCERS + c.producer)) * UINT64_C(0x100000001b3);
}

static void all_came(const uint64_t next[PRODUCERS]) {
  for (unsigned p = 0; p < producers; p++)
    REQUIRE(next[p] == messages);
}

static void *consume_in_place(void *context) {
  ringbus_consumer *consumer = context;
  struct ringbus_message message;
  uint64_t next[PRODUCERS] = {0}, count = 0;
  for (;;) {
    int result = ringbus_consumer_borrow(consumer, &message);
    if (result == 0) {
      in_order(check_gated(&message), next, &order_of[0]);
      if (++count % 7 == 0)
        REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
      continue;
    }
    REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
    if (!more(consumer, result))
      break;
  }
  all_came(next);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

static void *consume_batches(void *context) {
  ringbus_consumer *consumer = context;
  struct ringbus_message batch[16];
  uint64_t next[PRODUCERS] = {0}, rounds = 0, told;
  size_t count;
  for (;;) {
    int result = ringbus_consumer_borrow_batch(consumer, batch, 1 + rounds++ % 16, &count);
    for (size_t i = 0; i < count; i++)
      in_order(check_gated(&batch[i]), next, &order_of[1]);
    REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
    if (result != 0 && !more(consumer, result))
      break;
  }
  all_came(next);
  REQUIRE_RESULT(ringbus_consumer_tell(consumer, NULL, &told), 0);
  REQUIRE(told == producers * messages);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

/* Once, unless it was left unreleased: then it comes again, and says so. */
static void *share(void *context) {
  ringbus_consumer *consumer = context;
  uint64_t random = (uintptr_t)context;
  struct ringbus_message batch[4];
  unsigned char copy[MOST_BYTES];
  size_t count;
  for (;;) {
    bool copies = test_random(&random) % 2, leaves = test_random(&random) % 300 == 0;
    int result;
    if (copies && !leaves) {
      count = 0;
      result = ringbus_consumer_recv(consumer, copy, sizeof copy, &batch[0]);
      if (result == 0) {
        struct content c = check_gated(&batch[0]);
        REQUIRE(__atomic_fetch_add(&taken[c.producer][c.number], 1, __ATOMIC_RELAXED) == 0);
      }
    } else {
      result = ringbus_consumer_borrow_batch(consumer, batch, 1 + test_random(&random) % 4, &count);
      for (size_t i = 0; i < count; i++) {
        struct content c = check_gated(&batch[i]);
        if (!leaves)
          REQUIRE(__atomic_fetch_add(&taken[c.producer][c.number], 1, __ATOMIC_RELAXED) == 0);
      }
      if (result == 0 && leaves) { /* as if it had not seen them */
        REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
        consumer = join("shared", RINGBUS_GATE, true, RINGBUS_RESUME);
        continue;
      }
      if (result == 0)
        REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
    }
    if (result != 0 && !more(consumer, result))
      break;
  }
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

static void *consume_lapped(void *context) {
  ringbus_consumer *consumer = context;
  unsigned char buffer[MOST_BYTES];
  struct ringbus_message message;
  uint64_t next[PRODUCERS] = {0}, got = 0, lost = 0;
  for (;;) {
    int result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message);
    if (result == 0) {
      struct content c = check_message(&message);
      REQUIRE(c.number >= next[c.producer]);
      next[c.producer] = c.number + 1;
      if (++got % 64 == 0)
        sched_yield();
    } else if (result != -EOVERFLOW && !more(consumer, result)) {
      break;
    }
  }
  REQUIRE_RESULT(ringbus_consumer_lost(consumer, &lost, NULL), 0);
  REQUIRE(got + lost == producers * messages);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

static void *observe(void *context) {
  unsigned char buffer[MOST_BYTES];
  ringbus_observer *observer = context;
  struct ringbus_message message;
  uint64_t next[PRODUCERS] = {0}, got = 0, lost = 0;
  for (;;) {
    int result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
    if (result == 0) {
      struct content c = check_message(&message);
      REQUIRE(c.number >= next[c.producer]);
      next[c.producer] = c.number + 1;
      got++;
    } else if (result == -EAGAIN) {
      result = ringbus_observer_wait(observer, RINGBUS_FOREVER);
      REQUIRE(result == 0 || result == -EPIPE);
    } else if (result != -EOVERFLOW) {
      REQUIRE_RESULT(result, -EPIPE);
      break;
    }
  }
  REQUIRE_RESULT(ringbus_observer_lost(observer, &lost, NULL), 0);
  REQUIRE(got + lost == producers * messages);
  REQUIRE_RESULT(ringbus_observer_detach(observer), 0);
  return NULL;
}

/* ---------------------------------------------------------------- coming and going */

static void *come_and_go(void *context) {
  uint64_t random = 3, rounds = 0;
  (void)context;
  while (!done() || rounds < 3) {
    enum ringbus_start start = (enum ringbus_start)(test_random(&random) % 3);
    ringbus_consumer *consumer = join(NULL, RINGBUS_GATE, false, start);
    struct ringbus_message message;
    uint64_t back;
    REQUIRE_RESULT(ringbus_consumer_tell(consumer, &back, NULL), 0);
    for (uint64_t n = test_random(&random) % 40; n && !configuration->overwrite; n--) {
      int result = ringbus_consumer_borrow(consumer, &message);
      if (result != 0) {
        REQUIRE(result == -EAGAIN || result == -EPIPE);
        break;
      }
      check_gated(&message);
      if (test_random(&random) % 8 == 0) {
        REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
        int sought = ringbus_consumer_seek(consumer, RINGBUS_POSITION, back);
        REQUIRE(sought == 0 || sought == -EINVAL || sought == -EOVERFLOW);
        REQUIRE_RESULT(ringbus_consumer_tell(consumer, &back, NULL), 0);
      }
    }
    REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
    rounds++;
    sched_yield();
  }
  return NULL;
}

static void *look_and_repair(void *context) {
  uint64_t tail_before = 0;
  (void)context;
  while (!done()) {
    struct ringbus_ring_info info;
    struct ringbus_group_info group;
    struct ringbus_participant participant;
    struct ringbus_blame blame;
    REQUIRE_RESULT(ringbus_ring_info(ring, &info), 0);
    REQUIRE(info.tail_count >= tail_before && info.tail_count <= producers * messages);
    tail_before = info.tail_count;
    for (uint32_t index = 0; index < info.max_groups; index++)
      ringbus_ring_group(ring, index, &group);
    for (uint32_t slot = 1; slot <= info.max_participants; slot++)
      ringbus_ring_participant(ring, slot, &participant);
    ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame);
    ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame);
    REQUIRE_RESULT(ringbus_ring_repair(ring, NULL), 0);
    sched_yield();
  }
  return NULL;
}

/* ---------------------------------------------------------------- all together */

struct role {
  void *(*body)(void *);
  void *context;
};

static void run(const struct configuration *chosen) {
  struct ringbus_create_options options = {.capacity = chosen->capacity,
                                           .wake = chosen->wake,
                                           .many_producers = chosen->many,
                                           .overwrite = chosen->overwrite,
                                           .max_participants = 16,
                                           .max_groups = 8};
  pthread_t threads[PRODUCERS + MEMBERS + 8];
  uint64_t numbers[PRODUCERS];
  unsigned started = 0;
  configuration = chosen;
  producers = chosen->many ? PRODUCERS : 1;
  producers_done = 0;
  order_of[0] = order_of[1] = 0;
  for (unsigned p = 0; p < producers; p++) {
    written_before_publishing[p] = calloc(messages, sizeof *written_before_publishing[p]);
    taken[p] = calloc(messages, 1);
    REQUIRE(written_before_publishing[p] && taken[p]);
  }
  ring = test_ring_starting_at("ring", &options, chosen->start);
  struct role roles[PRODUCERS + MEMBERS + 8];
  unsigned count = 0;
  /* Whoever wants to see everything attaches before anything is published. */
  roles[count++] =
      (struct role){consume_lapped, join("lapped", RINGBUS_LAPPED, false, RINGBUS_RESUME)};
  roles[count++] = (struct role){observe, test_observer(ring)};
  roles[count++] = (struct role){come_and_go, NULL};
  roles[count++] = (struct role){look_and_repair, NULL};
  if (!chosen->overwrite) {
    roles[count++] =
        (struct role){consume_in_place, join("in-place", RINGBUS_GATE, false, RINGBUS_RESUME)};
    roles[count++] =
        (struct role){consume_batches, join("batches", RINGBUS_GATE, false, RINGBUS_RESUME)};
    for (unsigned m = 0; m < MEMBERS; m++)
      roles[count++] = (struct role){share, join("shared", RINGBUS_GATE, true, RINGBUS_RESUME)};
  }
  for (unsigned p = 0; p < producers; p++) {
    numbers[p] = p;
    roles[count++] = (struct role){produce, &numbers[p]};
  }
  for (; started < count; started++)
    REQUIRE(pthread_create(&threads[started], NULL, roles[started].body, roles[started].context) ==
            0);
  while (started-- > 0)
    REQUIRE(pthread_join(threads[started], NULL) == 0);
  REQUIRE(order_of[0] == order_of[1]);
  for (unsigned p = 0; p < producers; p++) {
    for (uint64_t n = 0; n < messages && !chosen->overwrite; n++)
      REQUIRE(taken[p][n] == 1);
    free(written_before_publishing[p]);
    free(taken[p]);
  }
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
}

int main(int count, char **arguments) {
  static const struct configuration configurations[] = {
      {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAIT_ADAPTIVE, 8192, 0, true, false},
      {RINGBUS_WAKE_BY_FENCE, RINGBUS_WAIT_BLOCK, 4096, UINT64_MAX - 99999 + 0x1f, true, false},
      {RINGBUS_WAKE_NEVER, RINGBUS_WAIT_ADAPTIVE, 16384, (UINT64_C(1) << 32) - 8192, false, false},
      {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAIT_BLOCK, 65536, (UINT64_C(1) << 63) - 65536, true,
       false},
      {RINGBUS_WAKE_BY_FENCE, RINGBUS_WAIT_ADAPTIVE, 16384, 0, true, true},
      {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAIT_ADAPTIVE, 8192, 8, false, true},
  };
  messages = count > 1 ? strtoull(arguments[1], NULL, 0) : test_scaled(3000, 50000);
  for (size_t i = 0; i < sizeof configurations / sizeof configurations[0]; i++) {
    struct configuration aligned = configurations[i];
    if (aligned.many)
      aligned.start &= ~UINT64_C(63);
    run(&aligned);
  }
  printf("figure: no data race, many producers | %llu messages of each in each of %zu "
         "configurations\n",
         (unsigned long long)messages, sizeof configurations / sizeof configurations[0]);
  return 0;
}
