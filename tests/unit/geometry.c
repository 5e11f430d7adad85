/* SPDX-License-Identifier: MIT */
/* geometry.c - where records begin and end: every offset, every length around the edges, counters
 * that pass 2^32, 2^63 and 2^64, against the reference queue of support.c.
 *
 * From the table of bugs that such rings have had:
 *   "a record that fits neither at the end nor at the start returns success": a record is never split
 *     or padded here (the data is mapped twice), full_when_neither_end_nor_start_fits tries all the same.
 *   "size need not be a power of two is false when the counter wraps": only powers of two exist
 *     (attach_checks.c refuses others); all tests here start before the wraps as well.
 *   "write > read", "used > capacity taken for huge free space": the same starts.
 *   "capacity() answers one more than fits": fills_to_the_last_byte.
 *   "record ends exactly at the end; last 8 bytes; empty; largest; full taken for empty": by name. */
#include "suite.h"

#define CAPACITY 4096u
#define LARGEST (CAPACITY - 16)
#define TAG 0xfeedf00du

static struct reference reference;
static ringbus_ring *ring;
static ringbus_producer *producer;
static ringbus_consumer *consumer;
static uint64_t seed;

static void attach_all(void) {
  producer = test_producer(ring);
  consumer = test_consumer(ring, NULL);
}

static void start_at(uint64_t start) {
  if (ring) {
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_result(ringbus_producer_detach(producer), 0);
    cr_result(ringbus_ring_close(ring), 0);
    test_restart_at("ring", start);
    ring = test_open("ring");
  } else {
    ring = test_ring_starting_at("ring", NULL, start);
  }
  reference_start(&reference, CAPACITY, start);
  attach_all();
}

/* Send, and find the ring of the same opinion as the reference. */
static bool put(size_t length, uint32_t tag) {
  int result = ringbus_producer_send(producer, test_content(++seed), length, tag);
  int expected = length > LARGEST - (tag ? 4 : 0)               ? -EMSGSIZE
                 : reference_put(&reference, length, tag, seed) ? 0
                                                                : -EAGAIN;
  cr_assert_eq(result, expected, "%zu bytes, tag %#x at %#llx, %llu used: %s, expected %s", length,
               tag, (unsigned long long)reference.tail,
               (unsigned long long)(reference.tail - reference.head), ringbus_strerror(result),
               ringbus_strerror(expected));
  return result == 0;
}

/* Receive, and find what the reference has. */
static bool get(void) {
  static unsigned char buffer[CAPACITY];
  struct ringbus_message message;
  struct reference_message expected;
  uint64_t position, count;
  int result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message);
  if (!reference_get(&reference, &expected)) {
    cr_result(result, -EAGAIN);
    return false;
  }
  cr_result(result, 0);
  cr_assert(test_same(&message, &expected), "message %llu at %#llx differs",
            (unsigned long long)expected.count, (unsigned long long)expected.position);
  cr_result(ringbus_consumer_tell(consumer, &position, &count), 0);
  cr_assert(position == reference.head && count == reference.head_count);
  return true;
}

static void check_producer_position(void) {
  uint64_t position, count;
  cr_result(ringbus_producer_tell(producer, &position, &count), 0);
  cr_assert(position == reference.tail && count == reference.tail_count);
}

/* Bring the empty ring to an offset in its data. */
static void move_to(uint64_t offset) {
  uint64_t gap = (offset - reference.tail) & (CAPACITY - 1);
  if (gap) {
    cr_assert(put(gap - 8, 0));
    cr_assert(get());
  }
}

/* Lengths at which something may go wrong in a record that begins at this offset: the smallest, those
 * that end around the end of the data, the largest and beyond. */
static bool is_near_an_edge(size_t length, uint64_t offset) {
  int64_t beyond = (int64_t)(offset + 8 + length) - (int64_t)CAPACITY;
  return length <= 17 || (beyond >= -25 && beyond <= 25) || length >= CAPACITY - 33;
}

Test(geometry, every_offset_and_every_length_around_the_edges, .timeout = 300) {
  bool every_length = test_scaled(0, 1);
  for (size_t start = 0; start < test_start_count; start++) {
    start_at(test_starts[start]);
    for (uint64_t offset = 0; offset < CAPACITY; offset += 8)
      for (size_t length = 0; length <= LARGEST + 2; length++)
        for (uint32_t tag = 0; tag <= 1; tag++)
          if (every_length || is_near_an_edge(length, offset)) {
            move_to(offset);
            if (put(length, tag * TAG)) {
              check_producer_position();
              cr_assert(get());
            }
            cr_assert(!get());
          }
  }
}

/* A first record that ends before, at and after the place where the counters pass 0, 2^32 and 2^63. */
Test(geometry, counters_wrap_at_every_multiple_of_8_in_the_first_lap, .timeout = 300) {
  static const uint64_t edges[] = {0, UINT64_C(1) << 32, UINT64_C(1) << 63};
  uint64_t step = test_scaled(40, 8); /* 40: all places relative to a line come up, in some edge */
  for (size_t edge = 0; edge < 3; edge++)
    for (uint64_t before = 8 + 8 * edge; before <= CAPACITY; before += step) {
      size_t first = before - 8;
      start_at(edges[edge] - before);
      put(first > LARGEST ? LARGEST : first, 0); /* ends exactly at the edge */
      while (put(0, 0) && put(100, TAG) && put(1, 0))
        ;
      while (get())
        ;
      for (int lap = 0; lap < 40; lap++)
        if (!put(700, lap & 1 ? TAG : 0))
          while (get())
            ;
      check_producer_position();
    }
}

/* The free room is divided by the end of the data in every way: it is the sum that counts. */
Test(geometry, full_when_neither_end_nor_start_fits, .timeout = 300) {
  static const size_t used_most[] = {0, 8, 16, 24, 64, 1000, 2040, 2048, 2056, 3000, 4064, 4072};
  for (size_t start = 0; start < test_start_count; start++) {
    start_at(test_starts[start]);
    for (uint64_t offset = 0; offset < CAPACITY; offset += 8)
      for (size_t i = 0; i < sizeof used_most / sizeof used_most[0]; i++) {
        size_t used = used_most[i];
        size_t fits = CAPACITY - used - 8 - 8; /* less its own word and the cleared next word */
        move_to(offset);
        if (used)
          cr_assert(put(used - 8, 0));
        for (size_t more = 1; more <= 17; more += 8)
          cr_assert(!put(fits + more, 0));
        cr_assert(put(fits, 0), "offset %llu used %zu", (unsigned long long)offset, used);
        cr_assert(!put(0, 0));
        while (get())
          ;
      }
  }
}

Test(geometry, fills_to_the_last_byte) {
  static const size_t lengths[] = {0, 1, 7, 8, 9, 24, 56, 120, 500, 2000};
  for (size_t start = 0; start < test_start_count; start++)
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
      uint64_t left;
      start_at(test_starts[start]);
      while (put(lengths[i], 0))
        ;
      left = CAPACITY - (reference.tail - reference.head) - 8;
      if (left) /* less than another of these, but all of it is room for a shorter one */
        cr_assert(put(left - 8, 0));
      cr_assert_eq(reference.tail - reference.head, CAPACITY - 8);
      cr_assert(!put(0, 0));
      while (get())
        ;
      cr_assert_eq(reference.head, reference.tail);
    }
}

Test(geometry, full_ring_is_not_taken_for_empty) {
  for (size_t start = 0; start < test_start_count; start++) {
    start_at(test_starts[start]);
    for (int lap = 0; lap < 520; lap++) { /* a lap moves the offset by 8 less than a round */
      cr_assert(put(LARGEST, 0));
      cr_assert(!put(0, 0));
      cr_assert(get());
      cr_assert(!get());
    }
    for (int lap = 0; lap < 520; lap++) {
      while (put(0, 0))
        ;
      while (get())
        ;
    }
  }
}

Test(geometry, record_ends_exactly_at_the_end) {
  for (size_t start = 0; start < test_start_count; start++) {
    start_at(test_starts[start]);
    for (uint64_t offset = 0; offset < CAPACITY; offset += 8) {
      size_t length = CAPACITY - offset - 8;
      move_to(offset);
      if (length <= LARGEST) {
        cr_assert(put(length, 0));
        cr_assert_eq(reference.tail % CAPACITY, 0);
        cr_assert(get());
      }
    }
  }
}

Test(geometry, record_in_the_last_8_bytes) {
  for (size_t start = 0; start < test_start_count; start++) {
    start_at(test_starts[start]);
    for (size_t next = 0; next < 64; next++) {
      move_to(CAPACITY - 8);
      cr_assert(put(0, 0)); /* only its word, and the next word is the first of the data */
      cr_assert(put(next, 0));
      cr_assert(get() && get() && !get());
      move_to(CAPACITY - 8);
      cr_assert(put(next, TAG));
      cr_assert(get() && !get());
    }
  }
}

Test(geometry, empty_messages_count_and_keep_their_tags) {
  start_at(0);
  for (uint32_t round = 0; round < 5000; round++) {
    cr_assert(put(0, round));
    if (round % 3 == 0)
      while (get())
        ;
  }
}

/* Small ones are copied by parts that overlap, from and to any address; for the sanitizers. */
Test(geometry, any_length_comes_from_and_goes_to_any_address) {
  start_at(0);
  for (size_t length = 0; length <= 130; length++)
    for (size_t odd = 0; odd < 17; odd++) {
      char *from = malloc(odd + length),
           *to = malloc(odd + length + 1); /* from ends with its last byte */
      memset(to, 'x', odd + length + 1);
      memcpy(from + odd, test_content(length), length);
      struct ringbus_message message;
      cr_result(ringbus_producer_send(producer, from + odd, length, 0), 0);
      cr_result(ringbus_consumer_recv(consumer, to + odd, length, &message), 0);
      cr_assert(message.length == length && message.data == to + odd);
      cr_assert_eq(memcmp(to + odd, test_content(length), length), 0);
      cr_assert_eq(to[odd + length], 'x');
      cr_assert(odd == 0 || to[odd - 1] == 'x');
      free(from);
      free(to);
    }
}

Test(geometry, largest_message_and_beyond) {
  static const size_t beyond[] = {LARGEST + 1,  LARGEST + 2,  CAPACITY - 8,  CAPACITY,
                                  CAPACITY + 8, 0x7fffffff,   0x80000000,    0xffffffff,
                                  0x100000000,  SIZE_MAX / 2, SIZE_MAX - 16, SIZE_MAX - 8,
                                  SIZE_MAX - 7, SIZE_MAX - 1, SIZE_MAX};
  struct ringbus_ring_info info;
  void *data = &info;
  start_at(0);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.max_message, LARGEST);
  cr_assert(put(LARGEST, 0) && get());
  cr_assert(put(LARGEST - 4, TAG) && get());
  for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++)
    for (uint32_t tag = 0; tag <= 1; tag++) {
      cr_result(ringbus_producer_claim(producer, beyond[i], tag, &data), -EMSGSIZE);
      cr_result(ringbus_producer_send(producer, "", beyond[i], tag), -EMSGSIZE);
      cr_result(ringbus_producer_wait(producer, beyond[i], tag, RINGBUS_FOREVER), -EMSGSIZE);
      cr_assert_eq(data, &info, "out-parameters are written on success alone");
    }
  for (size_t less = 1; less <= 4; less++) {
    cr_result(ringbus_producer_claim(producer, LARGEST - 4 + less, TAG, &data), -EMSGSIZE);
    cr_result(ringbus_producer_wait(producer, LARGEST - 4 + less, TAG, 0), -EMSGSIZE);
  }
  cr_assert(put(10, 0) && get());
  /* never, also when the ring is full: waiting would not help */
  while (put(0, 0))
    ;
  cr_result(ringbus_producer_send(producer, "", LARGEST + 1, 0), -EMSGSIZE);
  cr_result(ringbus_producer_send(producer, "", LARGEST - 3, TAG), -EMSGSIZE);
  cr_result(ringbus_producer_send(producer, test_content(0), LARGEST, 0), -EAGAIN);
}

/* ---------------------------------------------------------------- claim, commit, abort */

static unsigned char *claim(size_t length, uint32_t tag) {
  void *data = NULL;
  cr_result(ringbus_producer_claim(producer, length, tag, &data), 0);
  cr_assert_eq((uintptr_t)data % 8, 0);
  memset(data, 0xff, length); /* all of it may be written; 0xff: what it spells must not matter */
  return data;
}

static void commit_prefix(unsigned char *data, size_t length, uint32_t tag) {
  memcpy(data, test_content(++seed), length);
  cr_result(ringbus_producer_commit(producer, length), 0);
  cr_assert(reference_put(&reference, length, tag, seed));
}

Test(geometry, committed_shorter_than_claimed) {
  static const size_t claimed[] = {0, 1, 8, 9, 64, 1000, LARGEST - 4};
  for (size_t start = 0; start < test_start_count; start++) {
    start_at(test_starts[start]);
    for (uint64_t offset = 0; offset < CAPACITY; offset += 24)
      for (size_t i = 0; i < sizeof claimed / sizeof claimed[0]; i++)
        for (size_t less = 0; less <= claimed[i]; less = less * 2 + 1)
          for (uint32_t tag = 0; tag <= 1; tag++) {
            move_to(offset);
            commit_prefix(claim(claimed[i], tag * TAG), claimed[i] - less, tag * TAG);
            put(5, 0);
            check_producer_position();
            while (get())
              ;
          }
  }
}

Test(geometry, commit_of_more_than_claimed_is_refused_and_the_claim_stays) {
  unsigned char *data;
  start_at(0);
  data = claim(10, 0);
  cr_result(ringbus_producer_commit(producer, 11), -EMSGSIZE);
  cr_result(ringbus_producer_commit(producer, SIZE_MAX), -EMSGSIZE);
  cr_assert(!get());
  commit_prefix(data, 10, 0);
  cr_assert(get() && !get());
}

Test(geometry, commit_without_a_claim_is_refused) {
  start_at(0);
  cr_result(ringbus_producer_commit(producer, 0), -EINVAL);
  cr_result(ringbus_producer_abort(producer), -EINVAL);
  commit_prefix(claim(1, 0), 1, 0);
  cr_result(ringbus_producer_commit(producer, 0), -EINVAL);
  cr_assert(get() && !get());
}

Test(geometry, nobody_sees_an_aborted_claim) {
  for (size_t start = 0; start < test_start_count; start++) {
    start_at(test_starts[start]);
    for (int round = 0; round < 3000; round++) {
      claim((size_t)round % LARGEST / 2, round & 1 ? TAG : 0);
      cr_assert(!get());
      cr_result(ringbus_producer_abort(producer), 0);
      cr_result(ringbus_producer_abort(producer), -EINVAL);
      check_producer_position();
      cr_assert(put((size_t)round % 50, 0));
      cr_assert(get() && !get());
    }
  }
}

Test(geometry, second_claim_replaces_the_first) {
  unsigned char *first, *second;
  start_at(0);
  first = claim(1000, TAG);
  second = claim(20, 0);
  cr_assert_eq(first, second, "there is one place to write to");
  cr_result(ringbus_producer_commit(producer, 21), -EMSGSIZE);
  commit_prefix(second, 20, 0);
  cr_assert(get() && !get());
}

Test(geometry, a_claim_that_is_refused_gives_up_the_open_one_too) {
  void *none = NULL;
  start_at(0);
  cr_assert(put(CAPACITY / 2, 0));
  claim(30, TAG);
  cr_result(ringbus_producer_claim(producer, CAPACITY / 2, 0, &none), -EAGAIN);
  cr_result(ringbus_producer_commit(producer, 0), -EINVAL);
  claim(30, TAG);
  cr_result(ringbus_producer_claim(producer, CAPACITY, 0, &none), -EMSGSIZE);
  cr_result(ringbus_producer_abort(producer), -EINVAL);
  cr_assert_null(none);
  commit_prefix(claim(30, TAG), 30, TAG);
  cr_assert(get() && get() && !get());
}

Test(geometry, send_gives_up_an_open_claim) {
  start_at(0);
  claim(100, 0);
  cr_assert(put(7, 0));
  cr_result(ringbus_producer_commit(producer, 0), -EINVAL);
  cr_assert(get() && !get());
}

/* ---------------------------------------------------------------- batches */

#define BATCH 16
static struct iovec batch[BATCH];

static void fill_batch(size_t length) {
  for (size_t i = 0; i < BATCH; i++) {
    batch[i].iov_base = (void *)(uintptr_t)test_content(seed + 1 + i);
    batch[i].iov_len = length + i;
  }
}

Test(geometry, batch_sends_a_prefix_when_full) {
  for (size_t start = 0; start < test_start_count; start++) {
    start_at(test_starts[start]);
    for (int round = 0; round < 2000; round++) {
      uint32_t tag = round % 3 == 0 ? TAG : 0;
      size_t sent = 99, expected = 0;
      int result;
      fill_batch((size_t)round * 13 % 600);
      result = ringbus_producer_send_batch(producer, batch, BATCH, tag, false, &sent);
      while (expected < BATCH &&
             reference_put(&reference, batch[expected].iov_len, tag, seed + 1 + expected))
        expected++;
      seed += BATCH;
      cr_assert_eq(sent, expected);
      cr_result(result, expected == BATCH ? 0 : -EAGAIN);
      check_producer_position();
      for (int i = 0; i < round % 29 && get(); i++)
        ;
    }
    while (get())
      ;
  }
}

Test(geometry, batch_all_at_once_is_all_or_nothing) {
  for (size_t start = 0; start < test_start_count; start++) {
    uint64_t refused = 0;
    start_at(test_starts[start]);
    for (int round = 0; round < 2000; round++) {
      uint32_t tag = round % 3 == 0 ? TAG : 0;
      uint64_t bytes = 0;
      size_t sent = 99;
      bool fits;
      fill_batch((size_t)round * 7 % 220);
      for (size_t i = 0; i < BATCH; i++)
        bytes += reference_bytes(batch[i].iov_len, tag);
      fits = reference.tail - reference.head + bytes + 8 <= CAPACITY;
      cr_result(ringbus_producer_send_batch(producer, batch, BATCH, tag, true, &sent),
                fits ? 0 : -EAGAIN);
      cr_assert_eq(sent, fits ? BATCH : 0);
      for (size_t i = 0; fits && i < BATCH; i++)
        cr_assert(reference_put(&reference, batch[i].iov_len, tag, seed + 1 + i));
      refused += !fits;
      seed += BATCH;
      check_producer_position();
      for (int i = 0; i < round % 29 && get(); i++)
        ;
    }
    cr_assert(refused > 10, "some rounds find the ring full");
    while (get())
      ;
  }
}

Test(geometry, batch_all_at_once_that_can_never_fit_is_refused_for_good) {
  size_t sent = 99;
  start_at(0);
  fill_batch(CAPACITY / BATCH);
  cr_result(ringbus_producer_send_batch(producer, batch, BATCH, 0, true, &sent), -EMSGSIZE);
  cr_assert_eq(sent, 0);
  cr_assert(!get());
}

Test(geometry, batch_stops_at_a_message_that_can_never_fit) {
  size_t sent = 99;
  start_at(0);
  fill_batch(10);
  batch[5].iov_len = LARGEST + 1;
  cr_result(ringbus_producer_send_batch(producer, batch, BATCH, 0, false, &sent), -EMSGSIZE);
  cr_assert_eq(sent, 5);
  for (size_t i = 0; i < 5; i++)
    cr_assert(reference_put(&reference, batch[i].iov_len, 0, seed + 1 + i));
  while (get())
    ;
  cr_result(ringbus_producer_send_batch(producer, batch, BATCH, 0, true, &sent), -EMSGSIZE);
  cr_assert_eq(sent, 0);
  cr_assert(!get());
}

Test(geometry, empty_batches_and_no_count_are_allowed) {
  size_t sent = 99;
  start_at(0);
  cr_result(ringbus_producer_send_batch(producer, batch, 0, 0, false, &sent), 0);
  cr_assert_eq(sent, 0);
  cr_result(ringbus_producer_send_batch(producer, NULL, 0, 0, true, NULL), 0);
  fill_batch(1);
  cr_result(ringbus_producer_send_batch(producer, batch, 1, 0, true, NULL), 0);
  cr_assert(reference_put(&reference, 1, 0, ++seed));
  cr_assert(get() && !get());
}

/* ---------------------------------------------------------------- borrowing */

Test(geometry, borrowed_batches_are_in_order_and_hold_their_room) {
  for (size_t start = 0; start < test_start_count; start++) {
    uint64_t random = start;
    start_at(test_starts[start]);
    for (int round = 0; round < 4000; round++) {
      struct ringbus_message messages[8];
      struct reference held = reference; /* as far as the producer is concerned */
      size_t max = 1 + test_random(&random) % 8, count = 99;
      int result = ringbus_consumer_borrow_batch(consumer, messages, max, &count);
      uint64_t there = reference.tail_count - reference.head_count;
      cr_assert_eq(count, there < max ? there : max);
      cr_result(result, there ? 0 : -EAGAIN);
      for (size_t i = 0; i < count; i++) {
        struct reference_message expected;
        cr_assert(reference_get(&held, &expected));
        cr_assert(test_same(&messages[i], &expected));
      }
      while (put(test_random(&random) % 300, test_random(&random) % 2 ? TAG : 0))
        ; /* until full: what is borrowed is not overwritten, and not released early */
      cr_result(ringbus_consumer_still_valid(consumer), 0);
      for (size_t i = 0; i < count; i++) {
        struct reference_message expected;
        cr_assert(reference_get(&reference, &expected));
        cr_assert(test_same(&messages[i], &expected));
      }
      cr_result(ringbus_consumer_release(consumer), 0);
    }
  }
}

/* Release is of everything borrowed so far: there is no release out of order; what is not released is
 * delivered again to the group's next consumer. */
Test(geometry, released_part_of_what_was_borrowed_is_gone_and_the_rest_comes_again) {
  struct ringbus_message message;
  struct reference_message expected[6];
  start_at(0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  consumer = test_consumer(ring, "durable");
  for (size_t i = 0; i < 6; i++)
    cr_assert(put(i * 10, 0));
  for (size_t i = 0; i < 6; i++) {
    cr_assert(reference_get(&reference, &expected[i]));
    cr_result(ringbus_consumer_borrow(consumer, &message), 0);
    cr_assert(test_same(&message, &expected[i]));
    if (i == 3)
      cr_result(ringbus_consumer_release(consumer), 0);
  }
  cr_result(ringbus_consumer_borrow(consumer, &message), -EAGAIN);
  cr_result(ringbus_consumer_detach(consumer), 0);
  consumer = test_consumer(ring, "durable");
  for (size_t i = 4; i < 6; i++) {
    cr_result(ringbus_consumer_borrow(consumer, &message), 0);
    cr_assert(test_same(&message, &expected[i]));
  }
  cr_result(ringbus_consumer_borrow(consumer, &message), -EAGAIN);
  cr_result(ringbus_consumer_release(consumer), 0);
  cr_result(ringbus_consumer_release(consumer), 0);
}

Test(geometry, recv_releases_what_was_borrowed_before) {
  struct ringbus_message message;
  unsigned char buffer[64];
  start_at(0);
  for (int i = 0; i < 3; i++)
    cr_assert(put(40, 0));
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
  reference.head_count += 2;
  reference.head += 2 * reference_bytes(40, 0);
  while (put(40, 0)) /* the room of both is free */
    ;
  while (get())
    ;
}

Test(geometry, recv_into_too_small_a_buffer_consumes_nothing_and_tells_the_length) {
  unsigned char buffer[128];
  for (size_t length = 1; length <= 100; length++) {
    start_at(0);
    cr_assert(put(length, TAG));
    for (size_t size = 0; size < length; size++) {
      struct ringbus_message message = {0};
      memset(buffer, 0xaa, sizeof buffer);
      cr_result(ringbus_consumer_recv(consumer, buffer, size, &message), -EMSGSIZE);
      cr_assert(message.length == length && message.tag == TAG);
      cr_assert_eq(buffer[size], 0xaa, "nothing beyond the buffer is written");
      cr_result(ringbus_consumer_recv(consumer, NULL, 0, NULL), -EMSGSIZE);
    }
    cr_assert(get() && !get());
  }
  cr_assert(put(0, 0));
  cr_result(ringbus_consumer_recv(consumer, NULL, 0, NULL), 0);
}

/* Each way to hand lines back changes no byte, wherever batches begin and end. */
Test(geometry, lines_handed_back_keep_their_bytes) {
  for (int way = RINGBUS_HAND_BACK_DEFAULT; way <= RINGBUS_HAND_BACK_LOCKED; way++)
    for (size_t start = 0; start < test_start_count; start++) {
      struct ringbus_consumer_options options = {.hand_back = (enum ringbus_hand_back)way};
      uint64_t random = start;
      struct ringbus_message message;
      struct reference_message expected;
      size_t length;
      start_at(test_starts[start]);
      cr_result(ringbus_consumer_detach(consumer), 0);
      cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
      for (int round = 0; round < 500; round++) {
        unsigned char *before, *after;
        while (put(test_random(&random) % 200, test_random(&random) % 2 ? TAG : 0))
          ;
        for (uint64_t borrow = 1 + test_random(&random) % 20; borrow; borrow--)
          if (ringbus_consumer_borrow(consumer, &message) == 0) {
            cr_assert(reference_get(&reference, &expected));
            cr_assert(test_same(&message, &expected));
          }
        before = test_read_whole("ring", &length);
        cr_result(ringbus_consumer_release(consumer), 0);
        after = test_read_whole("ring", &length);
        cr_assert_arr_eq(before + length - CAPACITY, after + length - CAPACITY, CAPACITY);
        free(before);
        free(after);
      }
    }
}

/* Other capacities, up to a record of many pages, and a ring as large as the machine's page. */
Test(geometry, every_capacity_up_to_4_mib) {
  unsigned char *buffer = malloc(1 << 22);
  for (uint64_t capacity = 4096; capacity <= 1 << 22; capacity *= 2) {
    struct ringbus_create_options options = {.capacity = capacity};
    char name[32];
    uint64_t position;
    snprintf(name, sizeof name, "ring-%llu", (unsigned long long)capacity);
    ring = test_ring_starting_at(name, &options, UINT64_MAX - capacity / 2 - 7);
    attach_all();
    for (int round = 0; round < 8; round++)
      for (int which = 0; which < 3; which++) {
        size_t length = which == 0 ? 1 : which == 1 ? capacity / 2 - 8 : capacity - 16;
        struct ringbus_message message;
        unsigned char *data = claim(length, 0);
        data[0] = (unsigned char)round;
        data[length - 1] = (unsigned char)(round + 1);
        cr_result(ringbus_producer_commit(producer, length), 0);
        cr_result(ringbus_consumer_recv(consumer, buffer, 1 << 22, &message), 0);
        cr_assert_eq(message.length, length);
        cr_assert_eq(buffer[length - 1], round + 1);
        if (length > 2)
          cr_assert(buffer[0] == round && buffer[length / 2] == 0xff);
      }
    cr_result(ringbus_producer_tell(producer, &position, NULL), 0);
    cr_assert_lt(position, capacity * 100, "the counters have passed 2^64");
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_result(ringbus_producer_detach(producer), 0);
    cr_result(ringbus_ring_close(ring), 0);
    cr_result(ringbus_ring_remove(test_path(name), false), 0);
  }
  free(buffer);
}
