/* SPDX-License-Identifier: MIT */
/* many.c - rings with many producers, while all of them live: where records begin and end, what a claim
 * that stays open means for the others, batches, the end of the stream, what is told about it all.
 * Several producers are several handles here; processes are in tests/process/topologies.c, the dead in
 * recovery.c.
 *
 * From the table of bugs that such rings have had, for words that stand beside the data:
 *   "a record that fits neither at the end nor at the start", "record ends exactly at the end; empty;
 *     largest; full taken for empty", "capacity() answers one more than fits": by name, as in geometry.c
 *   "32-bit counters wrap after minutes": all tests start little before 2^32, 2^63 and 2^64 as well
 *   "ready mark visible before the data", "index read, then data without acquire": tests/race
 *   "producer position loaded before consumer position": a producer's tail may be old, and a cursor
 *     ahead of it: a_producer_that_was_away_for_laps_finds_the_tail
 *   "a vector store taken for one atomic store": only words carry meaning, none is inside a message */
#include "suite.h"

#include <pthread.h>

#define PRODUCERS 4
#define TAG 0xfeedf00du
#define AN_HOUR (INT64_C(3600) * 1000000000)

/* Little before the counters pass 0, 2^32, 2^63 and 2^64: the first lap of a 4096-byte ring passes that,
 * once in the middle of a record. */
static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 960, (UINT64_C(1) << 63) - 2048,
                                  UINT64_MAX - 1023};
#define STARTS (sizeof starts / sizeof starts[0])
static const uint64_t capacities[] = {4096, 8192, 65536};

static ringbus_ring *ring;
static ringbus_producer *producers[PRODUCERS];
static ringbus_consumer *consumer;
static uint64_t capacity, seed;

/* What was published and not read, in order; read and unread positions. */
struct expected {
  uint64_t position, seed;
  uint32_t length, tag;
};
static struct expected queue[4096];
static uint64_t queue_head, queue_tail, head, tail;

static uint64_t record_bytes(size_t length, uint32_t tag) {
  uint64_t bytes = (length + (tag ? 4 : 0) + 63) / 64 * 64;
  return bytes ? bytes : 64;
}

static void leave(void) {
  if (!ring)
    return;
  ringbus_consumer_detach(consumer);
  for (int i = 0; i < PRODUCERS; i++)
    ringbus_producer_detach(producers[i]);
  cr_result(ringbus_ring_close(ring), 0);
  cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
  ring = NULL;
}

static void make(struct ringbus_create_options options, uint64_t start) {
  leave();
  options.many_producers = true;
  if (!options.capacity)
    options.capacity = 4096;
  capacity = options.capacity;
  ring = test_ring_starting_at("ring", &options, start);
  for (int i = 0; i < PRODUCERS; i++)
    producers[i] = test_producer(ring);
  consumer = test_consumer(ring, "g");
  queue_head = queue_tail = 0;
  head = tail = start;
}

static void start_at(uint64_t start) { make((struct ringbus_create_options){0}, start); }

static ringbus_producer *any(void) { return producers[seed % PRODUCERS]; }

static void publish(size_t length, uint32_t tag) {
  queue[queue_tail++ % 4096] = (struct expected){tail, seed, (uint32_t)length, tag};
  tail += record_bytes(length, tag);
}

/* Send by one of the producers, and find the ring of the same opinion as the reference. */
static bool put(size_t length, uint32_t tag) {
  seed++;
  int result = ringbus_producer_send(any(), test_content(seed), length, tag);
  int expected = length > capacity - 16                                ? -EMSGSIZE
                 : tail - head + record_bytes(length, tag) <= capacity ? 0
                                                                       : -EAGAIN;
  cr_assert_eq(result, expected, "%zu bytes, tag %#x at %#llx, %llu used: %s, expected %s", length,
               tag, (unsigned long long)tail, (unsigned long long)(tail - head),
               ringbus_strerror(result), ringbus_strerror(expected));
  if (result == 0)
    publish(length, tag);
  return result == 0;
}

static bool is_next(const struct ringbus_message *message, uint64_t index) {
  const struct expected *expected = &queue[index % 4096];
  return message->position == expected->position && message->length == expected->length &&
         message->tag == expected->tag && !message->redelivered &&
         memcmp(message->data, test_content(expected->seed), message->length) == 0;
}

static bool get(void) {
  static unsigned char buffer[65536];
  struct ringbus_message message;
  uint64_t position, count;
  int result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message);
  if (queue_head == queue_tail) {
    cr_result(result, -EAGAIN);
    return false;
  }
  cr_result(result, 0);
  cr_assert(is_next(&message, queue_head), "message %llu differs", (unsigned long long)queue_head);
  queue_head++;
  head = message.position + record_bytes(message.length, message.tag);
  cr_result(ringbus_consumer_tell(consumer, &position, &count), 0);
  cr_assert(position == head && count == queue_head);
  return true;
}

static void get_all(void) {
  while (get())
    ;
}

/* Everybody tells the same tail. */
static void check_tail(uint64_t position, uint64_t count) {
  struct ringbus_ring_info info;
  for (int i = 0; i < PRODUCERS; i++) {
    uint64_t told, told_count;
    cr_result(ringbus_producer_tell(producers[i], &told, &told_count), 0);
    cr_assert(told == position && told_count == count);
  }
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert(info.tail == position && info.tail_count == count);
}

static unsigned char *claim(ringbus_producer *producer, size_t length, uint32_t tag) {
  void *data = NULL;
  cr_result(ringbus_producer_claim(producer, length, tag, &data), 0);
  cr_assert_eq((uintptr_t)data % 64, 0);
  memset(data, 0xff, length); /* all of it may be written */
  return data;
}

static struct ringbus_group_info group_info(void) {
  struct ringbus_group_info info;
  cr_result(ringbus_ring_group(ring, 0, &info), 0);
  return info;
}

/* ---------------------------------------------------------------- geometry */

Test(many, a_ring_says_what_it_is) {
  struct ringbus_ring_info info;
  start_at(0);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert(info.many_producers && !info.overwrite);
  cr_assert_eq(info.max_message, capacity - 16);
  cr_assert_eq(info.participants, PRODUCERS + 1);
  for (uint32_t slot = 1; slot <= PRODUCERS; slot++) {
    struct ringbus_participant participant;
    cr_result(ringbus_ring_participant(ring, slot, &participant), 0);
    cr_assert(participant.role == RINGBUS_PRODUCER && participant.alive);
  }
}

/* Lengths at which something may go wrong: around every multiple of 64, with the tag as without. */
static bool is_near_an_edge(size_t length) {
  return length % 64 <= 1 || length % 64 >= 59 || length + 17 >= capacity - 16;
}

Test(many, every_offset_and_every_length_around_multiples_of_64, .timeout = 300) {
  for (size_t start = 0; start < STARTS; start++) {
    start_at(starts[start]);
    for (uint64_t offset = 0; offset < capacity; offset += 64)
      for (size_t length = 0; length <= capacity - 14; length++)
        for (uint32_t tag = 0; tag <= 1; tag++)
          if (is_near_an_edge(length)) {
            uint64_t gap = (offset - tail) & (capacity - 1);
            if (gap)
              cr_assert(put(gap > capacity - 16 ? gap - 16 : gap, 0) && get());
            if (put(length, tag * TAG))
              cr_assert(get());
            cr_assert(!get());
          }
    check_tail(tail, queue_tail);
  }
}

Test(many, every_capacity_with_lengths_around_multiples_of_64, .timeout = 300) {
  for (size_t start = 0; start < STARTS; start++)
    for (size_t c = 0; c < 3; c++) {
      make((struct ringbus_create_options){.capacity = capacities[c]}, starts[start]);
      for (size_t length = 0; length <= capacity - 14; length++)
        if (is_near_an_edge(length) && (capacity < 65536 || length % 448 <= 64))
          for (uint32_t tag = 0; tag <= 1; tag++) {
            while (!put(length, tag * TAG) && get())
              ;
            if (length > capacity - 16)
              cr_assert(!put(length, tag * TAG));
          }
      get_all();
      check_tail(tail, queue_tail);
    }
}

/* A tag is in what a record has left, or takes another 64 bytes. */
Test(many, the_longest_message_has_the_capacity_less_16_with_and_without_a_tag) {
  for (size_t c = 0; c < 3; c++)
    for (uint32_t tag = 0; tag <= 1; tag++) {
      void *data = &tag;
      make((struct ringbus_create_options){.capacity = capacities[c]}, starts[3]);
      for (int lap = 0; lap < 70; lap++) {
        cr_assert(put(capacity - 16, tag * TAG));
        cr_assert(!put(0, 0));
        cr_assert(get() && !get());
        cr_assert(put(0, tag * TAG) && get()); /* the next one is 64 bytes further on */
      }
      cr_result(ringbus_producer_claim(any(), capacity - 15, tag * TAG, &data), -EMSGSIZE);
      cr_result(ringbus_producer_claim(any(), SIZE_MAX, tag * TAG, &data), -EMSGSIZE);
      cr_result(ringbus_producer_wait(any(), capacity - 15, tag * TAG, RINGBUS_FOREVER), -EMSGSIZE);
      cr_assert_eq(data, &tag, "out-parameters are written on success alone");
    }
}

Test(many, fills_to_the_last_byte) {
  static const size_t lengths[] = {0, 1, 60, 63, 64, 65, 128, 500, 2000};
  for (size_t start = 0; start < STARTS; start++)
    for (size_t c = 0; c < 3; c++)
      for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        make((struct ringbus_create_options){.capacity = capacities[c]}, starts[start]);
        for (int round = 0; round < 3; round++) {
          while (put(lengths[i], 0))
            ;
          if (tail - head < capacity)
            cr_assert(put(capacity - (tail - head) - (tail == head ? 16 : 0), 0));
          cr_assert_eq(tail - head, capacity);
          cr_assert(!put(0, 0));
          cr_assert(get());
          while (put(0, 0)) /* exactly the room of what was read */
            ;
          cr_assert_eq(tail - head, capacity);
          get_all();
          cr_assert(put(lengths[i] % 64, 0) && get());
        }
      }
}

Test(many, full_when_neither_end_nor_start_fits) {
  for (size_t start = 0; start < STARTS; start++) {
    start_at(starts[start]);
    for (uint64_t offset = 0; offset < capacity; offset += 64)
      for (uint64_t used = 64; used < capacity; used += 448) {
        uint64_t gap = (offset - tail) & (capacity - 1);
        if (gap)
          cr_assert(put(gap > capacity - 16 ? gap - 16 : gap, 0) && get());
        cr_assert(put(used, 0));
        cr_assert(!put(capacity - used + 1, 0));
        cr_assert(!put(capacity - used - 3, TAG));
        cr_assert(put(capacity - used, 0));
        cr_assert(!put(0, 0));
        get_all();
      }
  }
}

/* Its own tail is that of long ago; in between the others have gone around many times. */
Test(many, a_producer_that_was_away_for_laps_finds_the_tail) {
  for (size_t start = 0; start < STARTS; start++) {
    start_at(starts[start]);
    for (uint64_t away = 0; away < 3 * capacity / 64; away += 7) {
      for (uint64_t n = 0; n < away; n++) {
        seed++;
        cr_result(ringbus_producer_send(producers[n % 3], test_content(seed), n * 31 % 300, 0), 0);
        publish(n * 31 % 300, 0);
        cr_assert(get());
      }
      seed++;
      cr_result(ringbus_producer_send(producers[3], test_content(seed), 100, TAG), 0);
      publish(100, TAG);
      while (put(700, 0))
        ;
      get_all();
    }
    check_tail(tail, queue_tail);
  }
}

/* ---------------------------------------------------------------- claim, commit, abort */

static void commit(ringbus_producer *producer, unsigned char *data, size_t claimed, size_t length,
                   uint32_t tag) {
  memcpy(data, test_content(++seed), length);
  cr_result(ringbus_producer_commit(producer, length), 0);
  publish(length, tag);
  tail += record_bytes(claimed, tag) - record_bytes(length, tag); /* is skipped */
}

Test(many, the_rest_of_a_short_commit_is_skipped) {
  static const size_t claimed[] = {0, 1, 60, 61, 64, 65, 128, 1000, 4096 - 16};
  for (size_t start = 0; start < STARTS; start++) {
    start_at(starts[start]);
    for (uint64_t offset = 0; offset < 64; offset++) /* each turn ends one record further on */
      for (size_t i = 0; i < sizeof claimed / sizeof claimed[0]; i++)
        for (size_t less = 0; less <= claimed[i]; less = less * 2 + 1)
          for (uint32_t tag = 0; tag <= 1; tag++) {
            ringbus_producer *producer = producers[i % PRODUCERS];
            commit(producer, claim(producer, claimed[i], tag * TAG), claimed[i], claimed[i] - less,
                   tag * TAG);
            check_tail(tail, queue_tail);
            cr_assert(get());
            cr_assert(put(5, 0));
            cr_assert(get() && !get());
          }
  }
}

/* The room of what is skipped comes back with the message in front of it, or with a look at it. */
Test(many, skipped_room_is_used_again) {
  for (size_t start = 0; start < STARTS; start++) {
    start_at(starts[start]);
    for (int round = 0; round < 200; round++) {
      ringbus_producer *producer = producers[round % PRODUCERS];
      commit(producer, claim(producer, capacity - 64, 0), capacity - 64, 0, 0);
      cr_assert(get());
      cr_assert(!get()); /* passes over the rest */
      head = tail;
      cr_assert(put(capacity - 16, 0));
      cr_assert(get());
      cr_assert(put((size_t)round % 60, 0) && get());
    }
  }
}

Test(many, nobody_sees_an_aborted_claim) {
  for (size_t start = 0; start < STARTS; start++) {
    start_at(starts[start]);
    for (size_t round = 0; round < 2000; round++) {
      ringbus_producer *producer = producers[round % PRODUCERS];
      size_t length = round * 13 % (capacity - 100);
      claim(producer, length, round & 1 ? TAG : 0);
      cr_assert(!get());
      check_tail(tail, queue_tail);
      cr_result(ringbus_producer_abort(producer), 0);
      cr_result(ringbus_producer_abort(producer), -EINVAL);
      cr_result(ringbus_producer_commit(producer, 0), -EINVAL);
      tail += record_bytes(length, round & 1 ? TAG : 0);
      check_tail(tail, queue_tail);
      cr_assert(!get());
      head = tail; /* passed over, and released, since nothing is borrowed */
      cr_assert(put(round % 50, 0));
      cr_assert(get() && !get());
    }
  }
}

/* What an aborted or a short claim has written spells whatever words it likes. */
Test(many, payload_that_spells_words_is_not_believed) {
  unsigned n = 12 - 6; /* log2(4096) - granule_shift */
  start_at(0);
  for (uint64_t lap = 0; lap < 300; lap++) {
    uint64_t forged = (uint64_t)RINGBUS_WORD_COMMITTED << RINGBUS_WORD_STATE_SHIFT(n) |
                      (tail / 4096) << RINGBUS_WORD_LAP_SHIFT(n);
    ringbus_producer *producer = producers[lap % PRODUCERS];
    unsigned char *data = claim(producer, 1000, 0);
    for (size_t at = 0; at + 8 <= 1000; at += 8)
      memcpy(data + at, &forged, 8);
    if (lap % 2) {
      cr_result(ringbus_producer_abort(producer), 0);
      tail += 1024;
    } else {
      seed++;
      memcpy(data, test_content(seed), 10);
      cr_result(ringbus_producer_commit(producer, 10), 0);
      publish(10, 0);
      tail += 1024 - 64;
      cr_assert(get());
    }
    cr_assert(!get());
    head = tail;
    check_tail(tail, queue_tail);
  }
}

Test(many, commit_of_more_than_claimed_is_refused_and_the_claim_stays) {
  start_at(0);
  unsigned char *data = claim(producers[0], 10, 0);
  cr_result(ringbus_producer_commit(producers[0], 11), -EMSGSIZE);
  cr_result(ringbus_producer_commit(producers[0], SIZE_MAX), -EMSGSIZE);
  cr_assert(!get());
  commit(producers[0], data, 10, 10, 0);
  cr_assert(get() && !get());
  cr_result(ringbus_producer_commit(producers[0], 0), -EINVAL);
}

Test(many, a_second_claim_replaces_the_first_and_a_send_does_too) {
  start_at(starts[3]);
  claim(producers[0], 1000, TAG);
  tail += 1024; /* others may have claimed behind it: its room is skipped, not used */
  unsigned char *data = claim(producers[0], 20, 0);
  cr_result(ringbus_producer_commit(producers[0], 21), -EMSGSIZE);
  commit(producers[0], data, 20, 20, 0);
  cr_assert(get() && !get());
  claim(producers[1], 100, 0);
  tail += 128;
  seed++;
  cr_result(ringbus_producer_send(producers[1], test_content(seed), 7, TAG), 0);
  publish(7, TAG);
  cr_result(ringbus_producer_commit(producers[1], 0), -EINVAL);
  cr_assert(get() && !get());
  claim(producers[2], 100, 0);
  tail += 128;
  cr_result(ringbus_producer_send_batch(producers[2], NULL, 0, 0, false, NULL), 0);
  cr_result(ringbus_producer_commit(producers[2], 0), -EINVAL);
  cr_assert(put(1, 0) && get() && !get());
}

Test(many, a_claim_that_is_refused_gives_up_the_open_one_too) {
  void *none = NULL;
  start_at(0);
  cr_assert(put(capacity / 2, 0));
  claim(producers[0], 30, TAG);
  cr_result(ringbus_producer_claim(producers[0], capacity / 2, 0, &none), -EAGAIN);
  cr_result(ringbus_producer_commit(producers[0], 0), -EINVAL);
  claim(producers[0], 30, TAG);
  cr_result(ringbus_producer_claim(producers[0], capacity, 0, &none), -EMSGSIZE);
  cr_result(ringbus_producer_abort(producers[0]), -EINVAL);
  cr_assert_null(none);
  tail += 128;
  cr_assert(put(30, TAG) && get() && get() && !get());
}

/* Nobody could ever read past it. */
Test(many, whoever_has_a_claim_open_may_not_wait) {
  start_at(0);
  claim(producers[0], 10, 0);
  cr_result(ringbus_producer_wait(producers[0], 10, 0, RINGBUS_FOREVER), -EINVAL);
  cr_result(ringbus_producer_drain(producers[0], RINGBUS_FOREVER), -EINVAL);
  cr_result(ringbus_producer_wait(producers[1], 10, 0, RINGBUS_FOREVER), 0);
  cr_result(ringbus_producer_commit(producers[0], 10), 0); /* the claim is as it was */
  cr_result(ringbus_producer_wait(producers[0], 10, 0, RINGBUS_FOREVER), 0);
}

/* ---------------------------------------------------------------- claims of several */

/* All orders in which four claims can end, by commit or by abort. */
Test(many, messages_are_read_in_the_order_of_their_claims_and_not_before_those_in_front) {
  for (unsigned order = 0; order < 256; order++)
    for (unsigned aborted = 0; aborted < 16; aborted += 1 + order % 3) {
      unsigned char *data[PRODUCERS];
      struct expected claimed[PRODUCERS];
      bool done[PRODUCERS] = {false};
      unsigned turns = 0, next = 0;
      if (order % 64 == 0 && aborted == 0)
        start_at(starts[order / 64]);
      for (unsigned i = 0; i < PRODUCERS; i++) {
        size_t length = (order + i * 50) % 200;
        data[i] = claim(producers[i], length, i & 1 ? TAG : 0);
        claimed[i] = (struct expected){tail, ++seed, (uint32_t)length, i & 1 ? TAG : 0};
        tail += record_bytes(length, claimed[i].tag);
      }
      for (unsigned rest = order; turns < PRODUCERS; rest = rest / 4 + 1) {
        unsigned i = rest % 4;
        while (done[i])
          i = (i + 1) % 4;
        memcpy(data[i], test_content(claimed[i].seed), claimed[i].length);
        cr_result(aborted >> i & 1 ? ringbus_producer_abort(producers[i])
                                   : ringbus_producer_commit(producers[i], claimed[i].length),
                  0);
        done[i] = true;
        turns++;
        for (; next < PRODUCERS && done[next]; next++)
          if (!(aborted >> next & 1)) {
            queue[queue_tail++ % 4096] = claimed[next];
            cr_assert(get());
          }
        cr_assert(!get());
        if (next < PRODUCERS)
          check_tail(claimed[next].position, queue_tail);
      }
      check_tail(tail, queue_tail);
      head = tail;
    }
}

Test(many, behind_an_open_claim_others_go_on_until_the_ring_is_full) {
  for (size_t start = 0; start < STARTS; start++) {
    uint64_t sent = 0;
    start_at(starts[start]);
    unsigned char *data = claim(producers[0], 100, 0);
    while (ringbus_producer_send(producers[1 + sent % 3], test_content(sent), 50, 0) == 0)
      sent++;
    cr_assert_eq(sent, (capacity - 128) / 64);
    cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT);
    cr_assert(!get());
    cr_assert_eq(group_info().lag_messages, 0, "nothing that could be read");
    cr_result(ringbus_producer_wait(producers[1], 1, 0, 0), -ETIMEDOUT);
    commit(producers[0], data, 100, 100, 0);
    cr_assert_eq(group_info().lag_messages, sent + 1);
    cr_assert_eq(group_info().lag_bytes, capacity);
    cr_assert(get());
    for (uint64_t i = 0; i < sent; i++) {
      unsigned char buffer[64];
      cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
      cr_assert_arr_eq(buffer, test_content(i), 50);
    }
    cr_assert_eq(group_info().lag_messages, 0);
  }
}

Test(many, leaving_gives_an_open_claim_up) {
  start_at(starts[1]);
  claim(producers[0], 500, 0);
  tail += 512;
  cr_assert(put(10, 0)); /* by another */
  cr_result(ringbus_consumer_borrow(consumer, &(struct ringbus_message){0}), -EAGAIN);
  cr_result(ringbus_producer_detach(producers[0]), 0);
  cr_assert(get() && !get());
  producers[0] = test_producer(ring);
  cr_result(ringbus_producer_abort(producers[0]), -EINVAL);
}

Test(many, blame_names_the_claim_that_readers_wait_for) {
  struct ringbus_producer_options options = {.name = "the slow one"};
  struct ringbus_blame blame;
  ringbus_producer *slow;
  uint64_t position;
  start_at(starts[2]);
  cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), -ENOENT);
  cr_result(ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame), -ENOENT);
  cr_result(ringbus_ring_blame(ring, (enum ringbus_role)0, &blame), -EINVAL);
  cr_result(ringbus_ring_blame(NULL, RINGBUS_PRODUCER, &blame), -EINVAL);
  cr_result(ringbus_producer_attach(ring, &options, &slow), 0);
  cr_assert(put(10, 0) && put(200, 0));
  position = tail;
  claim(slow, 1000, TAG);
  cr_result(ringbus_producer_send(producers[0], "x", 1, 0), 0);
  claim(producers[1], 10, 0); /* it is the first that counts */
  for (int looked = 0; looked < 2; looked++) {
    cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), 0);
    cr_assert_eq(blame.position, position);
    cr_assert_eq(blame.bytes, 1024);
    cr_assert_str_eq(blame.participant.name, "the slow one");
    cr_assert_eq(blame.participant.slot, blame.slot);
    cr_assert_eq(blame.participant.pid, (uint32_t)getpid());
    cr_assert(blame.participant.alive && blame.participant.role == RINGBUS_PRODUCER);
    cr_assert_str_empty(blame.group);
    cr_assert_eq(blame.since_ns != 0, looked, "somebody has waited for it, or nobody");
    get();
    get();
    cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT);
  }
  {
    uint64_t since = blame.since_ns;
    cr_result(ringbus_consumer_wait(consumer, 2000000), -ETIMEDOUT);
    cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), 0);
    cr_assert_eq(blame.since_ns, since, "it is the first time that counts");
  }
  cr_result(ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame), -ENOENT); /* all has been read */
  cr_result(ringbus_producer_abort(slow), 0);
  cr_result(ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame), 0);
  cr_assert_str_eq(blame.group, "g");
  cr_assert_eq(blame.bytes, 1024 + 64, "what was given up, and the message behind it");
  cr_assert_eq(blame.participant.role, RINGBUS_CONSUMER);
  cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), 0);
  cr_assert_eq(blame.position, position + 1024 + 64);
  cr_assert_eq(blame.since_ns, 0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame), 0);
  cr_assert(blame.slot == 0 && strcmp(blame.group, "g") == 0, "nobody who is attached");
  consumer = test_consumer(ring, "g");
  ringbus_producer_detach(slow);
}

/* ---------------------------------------------------------------- batches */

#define BATCH 16
static struct iovec batch[BATCH];

static void fill_batch(size_t length) {
  for (size_t i = 0; i < BATCH; i++) {
    batch[i].iov_base = (void *)(uintptr_t)test_content(seed + 1 + i);
    batch[i].iov_len = length + i * 9;
  }
}

static void publish_batch(size_t count, uint32_t tag) {
  for (size_t i = 0; i < count; i++) {
    seed++;
    publish(batch[i].iov_len, tag);
  }
}

Test(many, a_batch_sends_a_prefix_when_full) {
  for (size_t start = 0; start < STARTS; start++) {
    uint64_t cut = 0;
    start_at(starts[start]);
    for (int round = 0; round < 2000; round++) {
      uint32_t tag = round % 3 == 0 ? TAG : 0;
      size_t sent = 99, fits = 0;
      uint64_t bytes = 0;
      fill_batch((size_t)round * 13 % 600);
      while (fits < BATCH &&
             tail - head + bytes + record_bytes(batch[fits].iov_len, tag) <= capacity)
        bytes += record_bytes(batch[fits++].iov_len, tag);
      cr_result(ringbus_producer_send_batch(producers[round % PRODUCERS], batch, BATCH, tag, false,
                                            &sent),
                fits == BATCH ? 0 : -EAGAIN);
      cr_assert_eq(sent, fits);
      publish_batch(fits, tag);
      check_tail(tail, queue_tail);
      cut += fits > 0 && fits < BATCH;
      for (int i = 0; i < round % 29 && get(); i++)
        ;
    }
    cr_assert_gt(cut, 100);
    get_all();
  }
}

Test(many, a_batch_all_at_once_is_all_or_nothing) {
  for (size_t start = 0; start < STARTS; start++) {
    uint64_t refused = 0;
    start_at(starts[start]);
    for (int round = 0; round < 2000; round++) {
      uint32_t tag = round % 3 == 0 ? TAG : 0;
      uint64_t bytes = 0;
      size_t sent = 99;
      fill_batch((size_t)round * 7 % 180);
      for (size_t i = 0; i < BATCH; i++)
        bytes += record_bytes(batch[i].iov_len, tag);
      bool fits = tail - head + bytes <= capacity;
      cr_result(
          ringbus_producer_send_batch(producers[round % PRODUCERS], batch, BATCH, tag, true, &sent),
          bytes > capacity ? -EMSGSIZE
          : fits           ? 0
                           : -EAGAIN);
      cr_assert_eq(sent, fits ? BATCH : 0);
      publish_batch(sent, tag);
      refused += !fits;
      check_tail(tail, queue_tail);
      for (int i = 0; i < round % 29 && get(); i++)
        ;
    }
    cr_assert_gt(refused, 10);
    get_all();
  }
}

/* As long as the messages fit together, they are claimed together. */
Test(many, nobody_gets_in_between_the_messages_of_a_small_batch_all_at_once) {
  start_at(0);
  fill_batch(20);
  cr_result(ringbus_producer_send_batch(producers[0], batch, BATCH, 0, true, NULL), 0);
  publish_batch(BATCH, 0);
  for (int i = 0; i < BATCH; i++)
    cr_assert(get());
  cr_assert(!get());
}

Test(many, a_batch_behind_an_open_claim_is_not_seen) {
  size_t sent;
  start_at(starts[3]);
  for (int all_at_once = 0; all_at_once < 2; all_at_once++) {
    unsigned char *data = claim(producers[0], 40, TAG);
    struct expected mine = {tail, ++seed, 40, TAG};
    memcpy(data, test_content(seed), 40);
    tail += 64;
    queue[queue_tail % 4096] = mine;
    fill_batch(10);
    cr_result(ringbus_producer_send_batch(producers[1], batch, BATCH, 0, all_at_once, &sent), 0);
    cr_result(ringbus_consumer_borrow(consumer, &(struct ringbus_message){0}), -EAGAIN);
    queue_tail++;
    publish_batch(BATCH, 0);
    cr_result(ringbus_producer_commit(producers[0], 40), 0);
    get_all();
    cr_assert_eq(queue_head, queue_tail);
  }
}

Test(many, batches_that_can_never_fit_stop_there) {
  size_t sent = 99;
  start_at(0);
  fill_batch(capacity / BATCH);
  cr_result(ringbus_producer_send_batch(producers[0], batch, BATCH, 0, true, &sent), -EMSGSIZE);
  cr_assert_eq(sent, 0);
  fill_batch(10);
  batch[5].iov_len = capacity - 15;
  cr_result(ringbus_producer_send_batch(producers[0], batch, BATCH, 0, true, &sent), -EMSGSIZE);
  cr_assert_eq(sent, 0);
  cr_assert(!get());
  cr_result(ringbus_producer_send_batch(producers[0], batch, BATCH, 0, false, &sent), -EMSGSIZE);
  cr_assert_eq(sent, 5);
  publish_batch(5, 0);
  get_all();
  cr_result(ringbus_producer_send_batch(producers[0], batch, 0, 0, true, &sent), 0);
  cr_assert_eq(sent, 0);
  fill_batch(10);
  cr_result(ringbus_producer_send_batch(producers[0], batch, 1, 0, true, NULL), 0);
  publish_batch(1, 0);
  cr_assert(get() && !get());
}

/* ---------------------------------------------------------------- reading */

Test(many, what_is_borrowed_keeps_its_room_also_when_records_were_given_up_in_between) {
  struct ringbus_message messages[3];
  size_t count;
  start_at(starts[2]);
  for (int round = 0; round < 500; round++) {
    for (int i = 0; i < 3; i++) {
      cr_assert(put((size_t)round % 100, 0));
      claim(producers[i], 200, 0);
      cr_result(ringbus_producer_abort(producers[i]), 0);
      tail += 256;
    }
    cr_result(ringbus_consumer_borrow_batch(consumer, messages, 3, &count), 0);
    cr_assert_eq(count, 3);
    while (put(100, 0))
      ;
    for (uint64_t i = 0; i < 3; i++)
      cr_assert(is_next(&messages[i], queue_head + i));
    queue_head += 3;
    cr_result(ringbus_consumer_release(consumer), 0);
    head = messages[2].position + record_bytes(messages[2].length, 0);
    get_all();
    if (head != tail) /* given up, and nothing behind it */
      head = tail;
  }
}

Test(many, given_up_records_are_passed_over_by_all_readers_and_counted_by_none) {
  struct ringbus_consumer_options lapped = {.group = "lapped", .policy = RINGBUS_LAPPED};
  ringbus_consumer *second;
  ringbus_observer *observer;
  struct ringbus_message message;
  unsigned char buffer[256];
  uint64_t position, count, places[8];
  start_at(starts[3]);
  observer = test_observer(ring);
  cr_result(ringbus_consumer_attach(ring, &lapped, &second), 0);
  for (int i = 0; i < 8; i++) {
    claim(producers[0], 100, 0);
    cr_result(ringbus_producer_abort(producers[0]), 0);
    tail += 128;
    places[i] = tail;
    cr_assert(put(10, TAG));
    commit(producers[1], claim(producers[1], 150, 0), 150, 3, 0);
  }
  check_tail(tail, 16);
  cr_assert_eq(group_info().lag_messages, 16);
  cr_assert_eq(group_info().lag_bytes, tail - head);
  for (uint64_t i = 0; i < 16; i++) {
    cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), 0);
    cr_assert(is_next(&message, i));
    cr_result(ringbus_observer_tell(observer, NULL, &count), 0);
    cr_assert_eq(count, i + 1);
    cr_result(ringbus_consumer_recv(second, buffer, sizeof buffer, &message), 0);
    cr_assert(is_next(&message, i));
    cr_result(ringbus_consumer_tell(second, NULL, &count), 0);
    cr_assert_eq(count, i + 1);
  }
  cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), -EAGAIN);
  cr_result(ringbus_consumer_recv(second, buffer, sizeof buffer, NULL), -EAGAIN);
  get_all();
  cr_assert_eq(group_info().lag_messages, 0);
  for (int i = 7; i >= 0; i--) { /* to places of messages, and not into them */
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_POSITION, places[i]), 0);
    cr_result(ringbus_consumer_tell(consumer, &position, &count), 0);
    cr_assert(position == places[i] && count == (uint64_t)i * 2);
    cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), 0);
    cr_assert(is_next(&message, (uint64_t)i * 2));
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_POSITION, places[i] + 8), -EINVAL);
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_POSITION, places[i] - 64), -EINVAL);
    cr_result(ringbus_observer_seek(observer, RINGBUS_POSITION, places[i]), 0);
    cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), 0);
    cr_assert(is_next(&message, (uint64_t)i * 2));
    cr_result(ringbus_consumer_seek(second, RINGBUS_POSITION, places[i]), 0);
    cr_result(ringbus_consumer_recv(second, buffer, sizeof buffer, &message), 0);
    cr_assert(is_next(&message, (uint64_t)i * 2));
  }
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_NEWEST, 0), 0);
  cr_result(ringbus_consumer_tell(consumer, &position, &count), 0);
  cr_assert(position == tail && count == 16);
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_OLDEST, 0), 0);
  cr_result(ringbus_consumer_tell(consumer, NULL, &count), 0);
  cr_assert_eq(count, 0);
}

Test(many, newest_is_in_front_of_the_first_open_claim) {
  struct ringbus_consumer_options newest = {.start = RINGBUS_NEWEST};
  ringbus_consumer *late;
  uint64_t position, count;
  start_at(starts[1]);
  cr_assert(put(10, 0) && put(10, 0));
  claim(producers[0], 10, 0);
  cr_result(ringbus_producer_send(producers[1], test_content(1), 5, 0), 0);
  cr_result(ringbus_consumer_attach(ring, &newest, &late), 0);
  cr_result(ringbus_consumer_tell(late, &position, &count), 0);
  cr_assert(position == tail && count == 2);
  cr_result(ringbus_producer_commit(producers[0], 10), 0);
  cr_result(ringbus_consumer_recv(late, (char[16]){0}, 16, NULL), 0);
  cr_result(ringbus_consumer_recv(late, (char[16]){0}, 16, NULL), 0);
  cr_result(ringbus_consumer_recv(late, (char[16]){0}, 16, NULL), -EAGAIN);
  ringbus_consumer_detach(late);
}

Test(many, losses_are_exact_with_given_up_records_in_between) {
  struct ringbus_consumer_options lapped = {.group = "lapped", .policy = RINGBUS_LAPPED};
  ringbus_consumer *second;
  ringbus_observer *observer;
  struct ringbus_message message;
  struct ringbus_ring_info info;
  unsigned char buffer[256];
  uint64_t lost, lost_bytes, at = 0, watched = 0, overflows = 0, total_lost = 0, watched_lost = 0;
  for (size_t start = 0; start < STARTS; start++) {
    at = watched = total_lost = watched_lost = 0;
    start_at(starts[start]);
    observer = test_observer(ring);
    cr_result(ringbus_consumer_attach(ring, &lapped, &second), 0);
    for (int round = 0; round < 3000; round++) {
      if (round % 3 == 0) {
        claim(producers[round % PRODUCERS], (size_t)round % 200, 0);
        cr_result(ringbus_producer_abort(producers[round % PRODUCERS]), 0);
        tail += record_bytes((size_t)round % 200, 0);
      }
      cr_assert(put((size_t)round % 150, round & 1 ? TAG : 0));
      cr_assert(get());
      if (round % 97)
        continue;
      cr_result(ringbus_ring_info(ring, &info), 0);
      int result = ringbus_consumer_recv(second, buffer, sizeof buffer, &message);
      if (result == -EOVERFLOW) {
        overflows++;
        cr_result(ringbus_consumer_lost(second, &lost, &lost_bytes), 0);
        cr_assert_eq(lost, total_lost + info.oldest_count - at);
        total_lost = lost;
        at = info.oldest_count;
        result = ringbus_consumer_recv(second, buffer, sizeof buffer, &message);
      }
      cr_result(result, 0);
      cr_assert(is_next(&message, at++));
      result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
      if (result == -EOVERFLOW) {
        cr_result(ringbus_observer_lost(observer, &lost, NULL), 0);
        cr_assert_eq(lost, watched_lost + info.oldest_count - watched);
        watched_lost = lost;
        watched = info.oldest_count;
        result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
      }
      cr_result(result, 0);
      cr_assert(is_next(&message, watched++));
    }
    ringbus_consumer_detach(second);
    ringbus_observer_detach(observer);
  }
  cr_assert_gt(overflows, 50);
}

/* ---------------------------------------------------------------- hold and drop */

Test(many, without_a_group_a_ring_holds_or_drops) {
  struct ringbus_ring_info info;
  for (int drops = 0; drops < 2; drops++)
    for (size_t start = 0; start < STARTS; start++) {
      uint64_t sent = 0;
      make((struct ringbus_create_options){.no_group = drops ? RINGBUS_DROP : RINGBUS_HOLD},
           starts[start]);
      cr_result(ringbus_consumer_detach(consumer), 0);
      cr_result(ringbus_ring_remove_group(ring, "g"), 0);
      for (; sent < 1000; sent++)
        if (ringbus_producer_send(producers[sent % PRODUCERS], test_content(sent), sent % 100, 0))
          break;
      cr_result(ringbus_ring_info(ring, &info), 0);
      cr_assert_eq(info.tail_count, sent);
      if (drops) {
        cr_assert_eq(sent, 1000);
        cr_assert_geq(info.tail - info.oldest, capacity - capacity / 8);
        cr_assert_eq(info.dropped, info.oldest_count);
      } else {
        cr_assert_eq(info.oldest_count, 0);
        cr_assert_eq(info.dropped, 0);
      }
      consumer = test_consumer(ring, "g"); /* begins at the oldest */
      for (uint64_t n = info.oldest_count; n < sent; n++) {
        unsigned char buffer[128];
        cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
        cr_assert_arr_eq(buffer, test_content(n), n % 100);
      }
      cr_result(ringbus_consumer_recv(consumer, NULL, 0, NULL), -EAGAIN);
    }
}

/* ---------------------------------------------------------------- the end of the stream */

Test(many, whoever_finishes_ends_the_stream_for_all_and_open_claims_are_never_seen) {
  ringbus_observer *observer;
  ringbus_producer *late = NULL;
  unsigned char buffer[128];
  void *data;
  start_at(starts[1]);
  observer = test_observer(ring);
  cr_assert(put(10, 0));
  claim(producers[0], 100, 0);
  cr_result(ringbus_producer_send(producers[1], test_content(9), 20, 0), 0);
  claim(producers[2], 10, 0);
  cr_result(ringbus_producer_finish(producers[3]), 0);
  cr_assert(get());
  /* two claims are open: more may come, as far as a reader can know */
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -EAGAIN);
  cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT);
  cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), 0);
  cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), -EAGAIN);
  cr_result(ringbus_observer_wait(observer, 0), -ETIMEDOUT);
  cr_result(ringbus_producer_commit(producers[0], 50), -EPIPE);
  cr_result(ringbus_producer_commit(producers[0], 50), -EPIPE);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
  cr_assert_arr_eq(buffer, test_content(9), 20);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -EAGAIN);
  cr_result(ringbus_producer_abort(producers[2]), 0);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -EPIPE);
  cr_result(ringbus_consumer_borrow(consumer, &(struct ringbus_message){0}), -EPIPE);
  cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), -EPIPE);
  cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), 0);
  cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), -EPIPE);
  cr_result(ringbus_observer_wait(observer, RINGBUS_FOREVER), -EPIPE);
  for (int i = 0; i < PRODUCERS; i++) {
    cr_result(ringbus_producer_send(producers[i], "x", 1, 0), -EPIPE);
    cr_result(ringbus_producer_claim(producers[i], 1, 0, &data), -EPIPE);
    cr_result(ringbus_producer_send_batch(producers[i], batch, 0, 0, false, NULL), -EPIPE);
    cr_result(ringbus_producer_wait(producers[i], 1, 0, RINGBUS_FOREVER), -EPIPE);
    cr_result(ringbus_producer_drain(producers[i], RINGBUS_FOREVER), 0);
    cr_result(ringbus_producer_finish(producers[i]), 0);
  }
  cr_result(ringbus_producer_attach(ring, NULL, &late), -EPIPE);
  ringbus_observer_detach(observer);
}

Test(many, who_finishes_with_a_claim_of_its_own_open_gives_it_up) {
  start_at(0);
  claim(producers[0], 100, 0);
  cr_result(ringbus_producer_finish(producers[0]), 0);
  cr_result(ringbus_producer_commit(producers[0], 1), -EPIPE);
  cr_result(ringbus_consumer_recv(consumer, NULL, 0, NULL), -EPIPE);
}

Test(many, claims_open_in_a_ring_that_is_retired_answer_so) {
  void *data;
  start_at(0);
  claim(producers[0], 100, 0);
  cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  cr_result(ringbus_producer_commit(producers[0], 1), -ESTALE);
  cr_result(ringbus_producer_claim(producers[0], 1, 0, &data), -ESTALE);
  cr_result(ringbus_producer_send(producers[1], "x", 1, 0), -ESTALE);
  cr_result(ringbus_producer_send_batch(producers[1], batch, 1, 0, true, NULL), -ESTALE);
  cr_result(ringbus_producer_wait(producers[1], 1, 0, RINGBUS_FOREVER), -ESTALE);
  cr_result(ringbus_producer_drain(producers[1], RINGBUS_FOREVER), -ESTALE);
  cr_result(ringbus_producer_finish(producers[1]), -ESTALE);
  cr_result(ringbus_consumer_recv(consumer, NULL, 0, NULL), -ESTALE);
  cr_result(ringbus_ring_repair(ring, NULL), -ESTALE);
}

/* As long as one of them lives the others' leaving is no end. */
Test(many, readers_that_end_without_a_producer_wait_for_the_last_one) {
  struct ringbus_consumer_options options = {.end_without_producer = true};
  struct ringbus_create_options many = {.capacity = 4096, .many_producers = true};
  ringbus_ring *other = test_ring("other", &many);
  ringbus_consumer *reader;
  ringbus_producer *first, *second;
  cr_result(ringbus_consumer_attach(other, &options, &reader), 0);
  cr_result(ringbus_consumer_wait(reader, 0), -ETIMEDOUT); /* the first one is waited for */
  first = test_producer(other);
  second = test_producer(other);
  cr_result(ringbus_producer_detach(first), 0);
  cr_result(ringbus_consumer_wait(reader, 0), -ETIMEDOUT);
  cr_result(ringbus_producer_send(second, "x", 1, 0), 0);
  cr_result(ringbus_producer_detach(second), 0);
  cr_result(ringbus_consumer_wait(reader, 0), 0);
  cr_result(ringbus_consumer_recv(reader, (char[8]){0}, 8, NULL), 0);
  cr_result(ringbus_consumer_wait(reader, RINGBUS_FOREVER), -EPIPE);
}

/* ---------------------------------------------------------------- waiting */

static const enum ringbus_wake wakes[] = {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAKE_BY_FENCE,
                                          RINGBUS_WAKE_NEVER};

struct job {
  pthread_t thread;
  ringbus_producer *producer;
  ringbus_consumer *consumer;
  bool drains;
  int result;
};

static void *wait_in_thread(void *context) {
  struct job *job = context;
  job->result = job->consumer ? ringbus_consumer_wait(job->consumer, RINGBUS_FOREVER)
                : job->drains ? ringbus_producer_drain(job->producer, RINGBUS_FOREVER)
                              : ringbus_producer_wait(job->producer, 4000, 0, RINGBUS_FOREVER);
  return NULL;
}

static void run(struct job *job) {
  REQUIRE(pthread_create(&job->thread, NULL, wait_in_thread, job) == 0);
  test_sleep_us(3000); /* any result is right, but the test is about the sleeper */
}

static int result_of(struct job *job) {
  REQUIRE(pthread_join(job->thread, NULL) == 0);
  return job->result;
}

/* Sleepers look only once an hour: what wakes them is the wake-up. */
static ringbus_consumer *sleeping_consumer(ringbus_ring *in, const char *group) {
  struct ringbus_consumer_options options = {
      .group = group, .wait = RINGBUS_WAIT_BLOCK, .look_ns = AN_HOUR};
  ringbus_consumer *reader = NULL;
  cr_result(ringbus_consumer_attach(in, &options, &reader), 0);
  return reader;
}

static ringbus_producer *sleeping_producer(ringbus_ring *in) {
  struct ringbus_producer_options options = {.wait = RINGBUS_WAIT_BLOCK, .look_ns = AN_HOUR};
  ringbus_producer *producer = NULL;
  cr_result(ringbus_producer_attach(in, &options, &producer), 0);
  return producer;
}

Test(many, a_sleeping_reader_wakes_when_a_claim_in_front_of_a_message_ends_either_way,
     .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++)
    for (int aborted = 0; aborted < 2; aborted++) {
      struct job job = {0};
      make((struct ringbus_create_options){.wake = wakes[wake]}, starts[3]);
      job.consumer = sleeping_consumer(ring, NULL);
      claim(producers[0], 100, 0);
      cr_result(ringbus_producer_send(producers[1], "x", 1, 0), 0);
      run(&job);
      cr_result(aborted ? ringbus_producer_abort(producers[0])
                        : ringbus_producer_commit(producers[0], 1),
                0);
      cr_result(result_of(&job), 0);
      cr_result(ringbus_consumer_recv(job.consumer, (char[8]){0}, 8, NULL), 0);
      ringbus_consumer_detach(job.consumer);
    }
}

Test(many, all_sleeping_producers_wake_when_there_is_room, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++) {
    struct job jobs[3] = {{0}};
    make((struct ringbus_create_options){.wake = wakes[wake]}, starts[3]);
    cr_assert(put(4000, 0));
    for (int i = 0; i < 3; i++) {
      jobs[i].producer = sleeping_producer(ring);
      jobs[i].drains = i == 2;
      run(&jobs[i]);
    }
    cr_assert(get());
    for (int i = 0; i < 3; i++) {
      cr_result(result_of(&jobs[i]), 0);
      ringbus_producer_detach(jobs[i].producer);
    }
  }
}

Test(many, a_producer_asleep_for_room_wakes_when_another_ends_the_stream, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++) {
    struct job job = {0};
    make((struct ringbus_create_options){.wake = wakes[wake]}, starts[3]);
    cr_assert(put(4000, 0));
    job.producer = sleeping_producer(ring);
    run(&job);
    cr_result(ringbus_producer_finish(producers[1]), 0);
    cr_result(result_of(&job), -EPIPE);
    ringbus_producer_detach(job.producer);
  }
}

/* It waits for somebody who is not there yet. */
Test(many, a_producer_asleep_in_a_ring_that_holds_wakes_when_its_first_group_makes_room,
     .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++)
    for (int newest = 0; newest < 2; newest++) {
      struct job job = {0};
      make((struct ringbus_create_options){.wake = wakes[wake]}, starts[3]);
      cr_result(ringbus_consumer_detach(consumer), 0);
      cr_result(ringbus_ring_remove_group(ring, "g"), 0);
      cr_assert(put(4000, 0));
      job.producer = sleeping_producer(ring);
      run(&job);
      struct ringbus_consumer_options options = {.group = "g",
                                                 .start = newest ? RINGBUS_NEWEST : RINGBUS_OLDEST};
      cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
      if (!newest)
        cr_assert(get());
      cr_result(result_of(&job), 0);
      ringbus_producer_detach(job.producer);
    }
}

/* Where nobody is waited for, what is in the way is a claim. */
Test(many, a_producer_asleep_before_an_open_claim_wakes_when_that_ends, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++)
    for (int how = 0; how < 3; how++) {
      struct job job = {0};
      make((struct ringbus_create_options){.wake = wakes[wake],
                                           .overwrite = how == 2,
                                           .no_group = RINGBUS_DROP},
           starts[3]);
      cr_result(ringbus_consumer_detach(consumer), 0);
      cr_result(ringbus_ring_remove_group(ring, "g"), 0);
      claim(producers[0], 10, 0);
      for (int i = 1; i < 64; i++)
        cr_result(ringbus_producer_send(producers[1], "x", 1, 0), 0);
      cr_result(ringbus_producer_send(producers[1], "x", 1, 0), -EAGAIN);
      job.producer = sleeping_producer(ring);
      run(&job);
      cr_result(
          how ? ringbus_producer_commit(producers[0], 1) : ringbus_producer_abort(producers[0]), 0);
      cr_result(result_of(&job), 0);
      ringbus_producer_detach(job.producer);
      consumer = test_consumer(ring, "g");
    }
}

/* While it sleeps, what it waits for becomes somebody else. */
Test(many, a_producer_asleep_before_a_claim_and_then_a_new_group_wakes, .timeout = 60) {
  struct job job = {0};
  make((struct ringbus_create_options){.no_group = RINGBUS_DROP}, starts[3]);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_ring_remove_group(ring, "g"), 0);
  claim(producers[0], 10, 0);
  for (int i = 1; i < 64; i++)
    cr_result(ringbus_producer_send(producers[1], "x", 1, 0), 0);
  job.producer = sleeping_producer(ring);
  run(&job);
  consumer = test_consumer(ring, "g"); /* at the oldest, in front of the claim */
  test_sleep_us(3000);
  cr_result(ringbus_producer_commit(producers[0], 1), 0);
  test_sleep_us(3000);
  for (int i = 0; i < 64; i++)
    cr_result(ringbus_consumer_recv(consumer, (char[8]){0}, 8, NULL), 0);
  cr_result(result_of(&job), 0);
  ringbus_producer_detach(job.producer);
}

Test(many, a_producer_asleep_before_a_group_and_then_a_claim_wakes, .timeout = 60) {
  struct ringbus_consumer_options options = {.group = "h", .policy = RINGBUS_GATE_WHILE_ATTACHED};
  ringbus_consumer *leaves;
  struct job job = {0};
  make((struct ringbus_create_options){.no_group = RINGBUS_DROP}, starts[3]);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_ring_remove_group(ring, "g"), 0);
  cr_result(ringbus_consumer_attach(ring, &options, &leaves), 0);
  claim(producers[0], 10, 0);
  for (int i = 1; i < 64; i++)
    cr_result(ringbus_producer_send(producers[1], "x", 1, 0), 0);
  job.producer = sleeping_producer(ring);
  run(&job);
  cr_result(ringbus_consumer_detach(leaves), 0);
  test_sleep_us(3000);
  cr_result(ringbus_producer_commit(producers[0], 1), 0);
  cr_result(result_of(&job), 0);
  ringbus_producer_detach(job.producer);
  consumer = test_consumer(ring, "g");
}

Test(many, drained_means_what_was_published_was_read) {
  start_at(0);
  cr_result(ringbus_producer_drain(producers[0], 0), 0);
  cr_assert(put(10, 0) && put(10, 0));
  cr_result(ringbus_producer_drain(producers[0], 0), -ETIMEDOUT);
  cr_assert(get());
  cr_result(ringbus_producer_drain(producers[1], 0), -ETIMEDOUT);
  cr_assert(get());
  for (int i = 0; i < PRODUCERS; i++)
    cr_result(ringbus_producer_drain(producers[i], 0), 0);
}

/* ---------------------------------------------------------------- the table of slots, fork, errno */

Test(many, a_full_table_of_slots_says_who_holds_them) {
  struct ringbus_create_options options = {
      .capacity = 4096, .many_producers = true, .max_participants = 3};
  ringbus_ring *small = test_ring("small", &options);
  ringbus_producer *first = NULL, *second = NULL, *third = NULL;
  ringbus_consumer *reader = NULL;
  struct ringbus_producer_options named = {.name = "left-hand"};
  cr_result(ringbus_producer_attach(small, &named, &first), 0);
  named.name = "right-hand";
  cr_result(ringbus_producer_attach(small, &named, &second), 0);
  reader = test_consumer(small, NULL); /* producers and consumers share the table */
  for (int i = 0; i < 2; i++) {
    int result = i ? ringbus_producer_attach(small, NULL, &third)
                   : ringbus_consumer_attach(small, NULL, &(ringbus_consumer *){NULL});
    cr_result(result, -ENOSPC);
    cr_assert(strstr(ringbus_error_detail(), "left-hand"), "%s", ringbus_error_detail());
    cr_assert(strstr(ringbus_error_detail(), "right-hand"), "%s", ringbus_error_detail());
  }
  cr_result(ringbus_producer_detach(first), 0);
  cr_result(ringbus_producer_attach(small, NULL, &third), 0);
  ringbus_consumer_detach(reader);
  reader = test_consumer(small, NULL);
}

Test(many, inherited_handles_answer_in_the_child_and_its_end_harms_nobody) {
  start_at(0);
  claim(producers[0], 10, 0);
  pid_t pid = fork();
  if (pid == 0) {
    void *data;
    struct ringbus_blame blame;
    REQUIRE_RESULT(ringbus_producer_commit(producers[0], 1), -ECHILD);
    REQUIRE_RESULT(ringbus_producer_abort(producers[0]), -ECHILD);
    REQUIRE_RESULT(ringbus_producer_claim(producers[0], 1, 0, &data), -ECHILD);
    REQUIRE_RESULT(ringbus_producer_send(producers[1], "x", 1, 0), -ECHILD);
    REQUIRE_RESULT(ringbus_producer_send_batch(producers[1], NULL, 0, 0, true, NULL), -ECHILD);
    REQUIRE_RESULT(ringbus_producer_wait(producers[1], 1, 0, RINGBUS_FOREVER), -ECHILD);
    REQUIRE_RESULT(ringbus_producer_drain(producers[1], RINGBUS_FOREVER), -ECHILD);
    REQUIRE_RESULT(ringbus_producer_tell(producers[1], NULL, NULL), -ECHILD);
    REQUIRE_RESULT(ringbus_producer_finish(producers[1]), -ECHILD);
    REQUIRE_RESULT(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), -ECHILD);
    REQUIRE_RESULT(ringbus_ring_repair(ring, NULL), -ECHILD);
    struct ringbus_participant whom = {.slot = 1, .generation = 1};
    REQUIRE_RESULT(ringbus_ring_evict(ring, &whom, 0), -ECHILD);
    for (int i = 0; i < PRODUCERS; i++)
      REQUIRE_RESULT(ringbus_producer_detach(producers[i]), -ECHILD);
    test_count_coverage();
    _exit(0);
  }
  int status;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  cr_result(ringbus_producer_commit(producers[0], 10), 0);
  cr_result(ringbus_consumer_recv(consumer, (char[16]){0}, 16, NULL), 0);
}

/* Also when they ask the kernel whether somebody is dead. */
Test(many, hot_calls_leave_errno_alone) {
  struct ringbus_message message;
  start_at(0);
  claim(producers[0], 10, 0);
  while (ringbus_producer_send(producers[1], "x", 1, 0) == 0)
    ;
  errno = 4711;
  for (int i = 0; i < 5000; i++) {
    cr_result(ringbus_consumer_borrow(consumer, &message), -EAGAIN);
    cr_result(ringbus_producer_send(producers[1], "x", 1, 0), -EAGAIN);
  }
  cr_result(ringbus_producer_abort(producers[0]), 0);
  cr_result(ringbus_consumer_recv(consumer, (char[16]){0}, 16, NULL), 0);
  cr_result(ringbus_producer_send(producers[1], "x", 1, 0), 0);
  cr_assert_eq(errno, 4711);
}
