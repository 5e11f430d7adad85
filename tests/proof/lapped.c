/* SPDX-License-Identifier: MIT */
/* lapped.c - the same as reads.c of readers that can be lapped, observers among them, and of walks over records.
 * (Of a message of a reader that can be lapped only the place is proved here: that it was not overwritten is for
 * tests/model.) */
#include "ring.h"

#include "reader.c"

#include "next_state" /* and next_gated, from lib/consumer.c */

static struct lapped_reader any_lapped_reader(ringbus_ring *ring) {
  struct counted *pair = malloc(2 * sizeof *pair);
  return (struct lapped_reader){&ring->view, &ring->header->floor.position, &pair[0], &pair[1]};
}

void proof_lapped_recv(void) {
  ringbus_ring *ring = any_ring();
  struct lapped_reader reader = any_lapped_reader(ring);
  struct ringbus_message message;
  size_t size = nondet_u64();
  char *buffer = any_buffer(&size);
  int result = lapped_recv(&reader, buffer, size, &message);
  if (result == 0 || result == -EMSGSIZE)
    __CPROVER_assert(message.length <= ring->geometry.capacity, "no longer than the ring");
}

void proof_lapped_next(void) {
  ringbus_ring *ring = any_ring();
  struct lapped_reader reader = any_lapped_reader(ring);
  struct ringbus_message message;
  uint64_t bytes;
  if (lapped_next(&reader, &message, &bytes) == 0)
    __CPROVER_assert(is_in_ring(ring, &message), "a message is in the data");
}

void proof_next_gated(void) {
  ringbus_ring *ring = any_ring();
  struct ringbus_message message;
  uint64_t at = nondet_u64(), bytes, state;
  if (next_gated(&ring->view, &at, &message, &bytes, &state) == 0)
    __CPROVER_assert(is_in_ring(ring, &message), "a message is in the data");
}

void proof_walk_records(void) {
  ringbus_ring *ring = any_ring();
  struct counted at;
  walk_records(&ring->view, &at, nondet_u64());
}
