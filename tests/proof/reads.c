/* SPDX-License-Identifier: MIT */
/* reads.c - what a reader touches, whatever is in the file and whoever changes it meanwhile. Each function is
 * a proof of its own. */
#include "ring.h"

#include "consumer.h"

void proof_ring_is_as_known(void) {
  ringbus_ring *ring = malloc(sizeof *ring);
  struct ringbus_identity identity;
  __CPROVER_assume(geometry_is_sound(&identity, &ring->geometry));
  map_any(ring);
  {
#include "view_of_ring" /* from lib/ring.c */
  } __CPROVER_assert(ring_is_as_known(ring), "every ring that is opened is as the proofs take it");
}

static void assert_are_bytes_of_record(const ringbus_ring *ring, uint64_t bytes) {
  __CPROVER_assert(bytes >= UINT64_C(1) << ring->view.granule_shift, "a record has a granule");
  __CPROVER_assert(bytes <= ring->geometry.capacity, "a record is no longer than the ring");
  __CPROVER_assert(bytes % (UINT64_C(1) << ring->view.granule_shift) == 0, "a record has granules");
}

void proof_word_decode(void) {
  ringbus_ring *ring = any_ring();
  struct ringbus_message message;
  uint64_t word = nondet_u64(), position = nondet_u64();
  assert_are_bytes_of_record(ring, ringbus_word_bytes(&ring->view, word));
  uint64_t bytes = ringbus_word_decode(&ring->view, word, position, &message);
  if (bytes == 0)
    return;
  assert_are_bytes_of_record(ring, bytes);
  __CPROVER_assert(is_in_ring(ring, &message), "a message is in the data");
  __CPROVER_assert(message.length + ring->view.in_band <= bytes, "a message is in its record");
}

/* A consumer's handle between two calls. What the last message was like is as proof_next leaves it; whatever
 * else depends on the file may be anything. */
static bool is_between_calls(const struct ringbus_consumer_hot *hot, const ringbus_ring *ring) {
  return hot->usual_bytes >= UINT64_C(1) << ring->view.granule_shift &&
         hot->usual_bytes <= ring->geometry.capacity &&
         (uint64_t)hot->usual_length + ring->view.in_band <= hot->usual_bytes;
}

static ringbus_consumer *any_consumer(ringbus_ring *ring) {
  ringbus_consumer *consumer = malloc(sizeof *consumer);
  struct ringbus_consumer_hot *hot = &consumer->hot;
  __CPROVER_assume(proof_may_write && consumer->group < ring->geometry.group_count);
  consumer->handle.ring = ring;
  hot->view = ring->view;
  hot->stripe_shift = ring->view.capacity_shift - 4;
  hot->cursor = shared_word(&ring_group(ring, consumer->group)->cursor);
  hot->floor = shared_word(&ring->header->floor.position);
  hot->room_waiters = &ring->header->signals.room_waiters;
  __CPROVER_assume(is_between_calls(hot, ring));
  return consumer;
}

void proof_next(void) {
  ringbus_ring *ring = any_ring();
  ringbus_consumer *consumer = any_consumer(ring);
  struct ringbus_message message;
  uint64_t bytes;
  int result = ringbus_next(&consumer->hot, &message, &bytes);
  __CPROVER_assert(result <= 0, "0 or an error");
  __CPROVER_assert(is_between_calls(&consumer->hot, ring), "the next call can rely on it, too");
  if (result != 0)
    return;
  __CPROVER_assert(bytes >= UINT64_C(1) << ring->view.granule_shift &&
                       bytes <= ring->geometry.capacity,
                   "a record has a granule, and is no longer than the ring");
  __CPROVER_assert(is_in_ring(ring, &message), "a message is in the data");
}

void proof_hand_back(void) {
  ringbus_ring *ring = any_ring();
  ringbus_consumer *consumer = any_consumer(ring);
  ringbus_hand_back(&consumer->hot, nondet_u64(), nondet_u64());
}

void proof_copy(void) {
  size_t length;
  __CPROVER_assume(length <= RINGBUS_MAX_LENGTH);
  char *from = malloc(length), *to = malloc(length);
  ringbus_copy(to, from, length);
}

/* What the hot path leaves to a call may move this handle to anywhere. (What such a call touches: in part, lapped.c.) */
static int any_move(ringbus_consumer *consumer) {
  struct ringbus_consumer_hot *hot = &consumer->hot;
  hot->position = nondet_u64();
  hot->released = nondet_u64();
  hot->usual_word = nondet_u64();
  hot->count = nondet_u64();
  hot->empty_at = nondet_u64();
  return nondet_bool() ? 0 : -EAGAIN;
}

int ringbus_slow_borrow(ringbus_consumer *consumer, struct ringbus_message *message) {
  const ringbus_ring *ring = consumer->handle.ring;
  uint64_t offset = nondet_u64();
  uint32_t length = nondet_unsigned();
  __CPROVER_assume(length <= ring->geometry.capacity - ring->view.in_band &&
                   offset <= 2 * ring->geometry.capacity - length);
  message->data = ring->view.data + offset;
  message->length = length;
  return any_move(consumer);
}

int ringbus_slow_borrow_batch(ringbus_consumer *consumer, struct ringbus_message *messages,
                              size_t max, size_t *count) {
  __CPROVER_assert(consumer->hot.mode != 0, "only of those that need it");
  (void)messages, (void)max;
  *count = 0;
  return any_move(consumer);
}

int ringbus_slow_recv(ringbus_consumer *consumer, void *buffer, size_t size,
                      struct ringbus_message *message) {
  (void)buffer, (void)size, (void)message;
  return any_move(consumer);
}

void ringbus_slow_stripe(ringbus_consumer *consumer) {
  consumer->hot.usual_word = nondet_u64();
  consumer->hot.hand_back = nondet_unsigned();
}

void ringbus_slow_wake(volatile unsigned *waiters) { (void)waiters; }

int ringbus_slow_release(ringbus_consumer *consumer) { return any_move(consumer); }

void proof_recv(void) {
  ringbus_ring *ring = any_ring();
  ringbus_consumer *consumer = any_consumer(ring);
  struct ringbus_message message;
  size_t size = nondet_u64();
  char *buffer = any_buffer(&size);
  int result = ringbus_consumer_recv(consumer, buffer, size, nondet_bool() ? &message : NULL);
  __CPROVER_assert(is_between_calls(&consumer->hot, ring), "the next call can rely on it, too");
  (void)result;
}

/* More messages at once than two are like one after the other. */
void proof_borrow_batch(void) {
  ringbus_ring *ring = any_ring();
  ringbus_consumer *consumer = any_consumer(ring);
  struct ringbus_message messages[2];
  size_t max, count;
  __CPROVER_assume(max <= 2);
  int result = ringbus_consumer_borrow_batch(consumer, messages, max, &count);
  __CPROVER_assert(is_between_calls(&consumer->hot, ring), "the next call can rely on it, too");
  __CPROVER_assert(count <= max, "no more than there is room for");
  if (consumer->hot.mode == 0)
    for (size_t i = 0; i < count && result == 0; i++)
      __CPROVER_assert(is_in_ring(ring, &messages[i]), "a message is in the data");
}
