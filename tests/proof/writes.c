/* SPDX-License-Identifier: MIT */
/* writes.c - what the one producer of a ring writes, whatever is in the file and whoever changes it meanwhile. Each
 * function is a proof of its own. */
#include "ring.h"

#include "producer.h"

#ifdef ROOM /* proofs of how room is found; else of what is done with it */
struct slowest nondet_slowest(void);
#include "producer.c"
#include "reader.c"
#include "room.c"
#else
#define ringbus_slow_claim slow_claim
#include "producer.c"
#undef ringbus_slow_claim
#endif

/* A producer's handle between two calls. Nobody else writes it, but what it holds comes from the file in part. */
static bool is_between_calls(const ringbus_producer *producer) {
  const struct ringbus_producer_hot *hot = &producer->hot;
  const uint64_t capacity = producer->handle.ring->geometry.capacity;
  return hot->tail % 8 == 0 && hot->limit - hot->tail <= capacity &&
         hot->claimed <= hot->max_length + 1 &&
         (hot->claimed == 0 ||
          ringbus_record_bytes(hot->claimed - 1, hot->tag) + 8 <= hot->limit - hot->tail) &&
         hot->tail - producer->floor.position <= capacity &&
         hot->limit - producer->floor.position <= capacity &&
         producer->next_mark - producer->oldest_mark <= MARKS;
}

static ringbus_producer *any_producer(ringbus_ring *ring) {
  ringbus_producer *producer = malloc(sizeof *producer);
  struct ringbus_producer_hot *hot = &producer->hot;
  __CPROVER_assume(proof_may_write);
  producer->handle.ring = ring;
  hot->view = ring->view;
  hot->max_length = ring->geometry.capacity - 16 < RINGBUS_MAX_LENGTH ? ring->geometry.capacity - 16
                                                                      : RINGBUS_MAX_LENGTH;
  hot->shared_tail = shared_word(&ring->header->tail.position);
  hot->data_waiters = &ring->header->signals.data_waiters;
  hot->stripe_shift = ring->view.capacity_shift - 4;
  hot->many = 0;
  __CPROVER_assume(is_between_calls(producer));
  return producer;
}

static void assert_is_between_calls(const ringbus_producer *producer) {
  __CPROVER_assert(is_between_calls(producer), "the next call can rely on it, too");
}

/* What is not proved here changes nothing that these proofs are about. */
void ringbus_slow_wake(volatile unsigned *waiters) { (void)waiters; }

bool state_is_forked(const volatile unsigned *state) {
  (void)state;
  return nondet_bool();
}

#ifdef ROOM
/* ---------------------------------------------------------------- room */

void pace_full(ringbus_ring *ring, struct counted tail, bool told, uint64_t bytes,
               uint64_t *full_at) {
  (void)ring, (void)tail, (void)told, (void)bytes;
  *full_at = nondet_u64();
}

bool group_is_shared(const ringbus_ring *ring, uint32_t index) {
  (void)ring, (void)index;
  return nondet_bool();
}

bool share_gate(const ringbus_ring *ring, uint32_t index, uint64_t tail, struct counted *gate) {
  (void)ring, (void)index, (void)tail;
  *gate = (struct counted){nondet_u64(), nondet_u64()};
  return nondet_bool();
}

void proof_find_slowest(void) {
  ringbus_ring *ring = any_ring();
  __CPROVER_assume(proof_may_write);
  struct counted tail;
  struct slowest slowest = find_slowest(ring, tail, false, nondet_u64());
  __CPROVER_assert(tail.position - slowest.at.position <= ring->geometry.capacity,
                   "whatever the cursors say, none is ahead of the tail or a lap behind it");
}

/* Whatever the cursors and words say, the room is never more than the ring. */
void proof_slow_claim(void) {
  ringbus_ring *ring = any_ring();
  ringbus_producer *producer = any_producer(ring);
  uint64_t bytes = nondet_u64();
  __CPROVER_assume(bytes % 8 == 0 && bytes >= 8 && bytes <= UINT64_C(1) << 60);
  int result = ringbus_slow_claim(producer, bytes);
  assert_is_between_calls(producer);
  __CPROVER_assert(result != 0 || bytes + 8 <= producer->hot.limit - producer->hot.tail,
                   "there is room when it says so");
}
#else
/* ---------------------------------------------------------------- publishing */

/* As proof_slow_claim has it. */
int ringbus_slow_claim(ringbus_producer *producer, uint64_t bytes) {
  __CPROVER_assert(bytes % 8 == 0 && bytes >= 8 && bytes <= UINT64_C(1) << 60, "as proved");
  producer->hot.limit = nondet_u64();
  producer->floor.position = nondet_u64();
  __CPROVER_assume(is_between_calls(producer));
  int result = nondet_bool() ? 0 : -EAGAIN;
  __CPROVER_assume(result != 0 || bytes + 8 <= producer->hot.limit - producer->hot.tail);
  return result;
}

void proof_send(void) {
  ringbus_ring *ring = any_ring();
  ringbus_producer *producer = any_producer(ring);
  size_t length = nondet_u64();
  char *data = any_buffer(&length);
  ringbus_producer_send(producer, data, length, nondet_unsigned());
  assert_is_between_calls(producer);
}

void proof_claim(void) {
  ringbus_ring *ring = any_ring();
  ringbus_producer *producer = any_producer(ring);
  size_t length = nondet_u64();
  __CPROVER_assume(length <= UINT64_C(1) << 42);
  void *data;
  int result = ringbus_producer_claim(producer, length, nondet_unsigned(), &data);
  assert_is_between_calls(producer);
  __CPROVER_assert(result != 0 || in_data(ring, data, length), "what is claimed is in the data");
}

void proof_commit(void) {
  ringbus_ring *ring = any_ring();
  ringbus_producer *producer = any_producer(ring);
  ringbus_producer_commit(producer, nondet_u64());
  assert_is_between_calls(producer);
}

/* More messages than two are like one after the other, but for the sum of their lengths: if that could go wrong
 * it could with two. */
static void send_batch(bool all_at_once) {
  ringbus_ring *ring = any_ring();
  ringbus_producer *producer = any_producer(ring);
  struct iovec messages[2];
  size_t count = nondet_u64(), sent;
  __CPROVER_assume(count <= 2);
  messages[0].iov_len = nondet_u64();
  messages[1].iov_len = nondet_u64();
  messages[0].iov_base = any_buffer(&messages[0].iov_len);
  messages[1].iov_base = any_buffer(&messages[1].iov_len);
  ringbus_producer_send_batch(producer, messages, count, nondet_unsigned(), all_at_once, &sent);
  assert_is_between_calls(producer);
}

void proof_send_batch(void) { send_batch(false); }

void proof_send_all_at_once(void) { send_batch(true); }
#endif
