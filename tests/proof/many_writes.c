/* SPDX-License-Identifier: MIT */
/* many_writes.c - what one among many producers writes, whatever is in the file and whoever changes it
 * meanwhile. Each function is a proof of its own. */
#include "ring.h"

#include "many.c"
#include "reader.c"

static bool is_between_calls(const ringbus_producer *producer) {
  const struct ringbus_producer_hot *hot = &producer->hot;
  const uint64_t capacity = producer->handle.ring->geometry.capacity;
  return hot->tail % 64 == 0 && producer->claim_position % 64 == 0 &&
         producer->claim_bytes % 64 == 0 && producer->claim_bytes <= capacity &&
         hot->claimed <= hot->max_length + 1 &&
         (hot->claimed == 0 ||
          many_record_bytes(hot->claimed - 1, hot->tag) == producer->claim_bytes);
}

static ringbus_producer *any_producer(ringbus_ring *ring) {
  ringbus_producer *producer = malloc(sizeof *producer);
  struct ringbus_producer_hot *hot = &producer->hot;
  __CPROVER_assume(proof_may_write);
  __CPROVER_assume(producer->handle.slot >= 1 && producer->handle.slot < ring->geometry.slot_count);
  producer->handle.ring = ring;
  hot->view = ring->view;
  hot->max_length = ring->geometry.capacity - 16 < RINGBUS_MAX_LENGTH ? ring->geometry.capacity - 16
                                                                      : RINGBUS_MAX_LENGTH;
  hot->shared_tail = shared_word(&ring->header->tail.position);
  hot->data_waiters = &ring->header->signals.data_waiters;
  hot->many = 1;
  __CPROVER_assume(is_between_calls(producer));
  return producer;
}

static void assert_is_between_calls(const ringbus_producer *producer) {
  __CPROVER_assert(is_between_calls(producer), "the next call can rely on it, too");
}

/* What is not proved here changes nothing that these proofs are about. */
void ringbus_slow_wake(volatile unsigned *waiters) { (void)waiters; }

int ringbus_slow_state(volatile unsigned *state) {
  (void)state;
  return -ESTALE;
}

bool state_is_forked(const volatile unsigned *state) {
  (void)state;
  return nondet_bool();
}

void pace_full(ringbus_ring *ring, struct counted tail, bool told, uint64_t bytes,
               uint64_t *full_at) {
  (void)ring, (void)tail, (void)told, (void)bytes;
  *full_at = nondet_u64();
}

void pace_collision(ringbus_producer *producer) { (void)producer; }

bool claim_recover(ringbus_ring *ring, uint64_t position) {
  (void)ring, (void)position;
  return nondet_bool();
}

void claim_note_blocked(ringbus_ring *ring, uint64_t position) { (void)ring, (void)position; }

struct slowest nondet_slowest(void);

struct slowest find_slowest(ringbus_ring *ring, struct counted tail, bool told, uint64_t bytes) {
  (void)ring, (void)tail, (void)told, (void)bytes;
  return nondet_slowest();
}

void proof_many_send(void) {
  ringbus_ring *ring = any_ring();
  ringbus_producer *producer = any_producer(ring);
  size_t length = nondet_u64();
  char *data = any_buffer(&length);
  ringbus_producer_send(producer, data, length, nondet_unsigned());
  assert_is_between_calls(producer);
}

void proof_many_claim(void) {
  ringbus_ring *ring = any_ring();
  ringbus_producer *producer = any_producer(ring);
  size_t length = nondet_u64();
  __CPROVER_assume(length <= UINT64_C(1) << 42);
  void *data;
  int result = ringbus_producer_claim(producer, length, nondet_unsigned(), &data);
  assert_is_between_calls(producer);
  __CPROVER_assert(result != 0 || in_data(ring, data, length), "what is claimed is in the data");
}

void proof_many_commit(void) {
  ringbus_ring *ring = any_ring();
  ringbus_producer *producer = any_producer(ring);
  ringbus_producer_commit(producer, nondet_u64());
  assert_is_between_calls(producer);
}
