/* SPDX-License-Identifier: MIT */
/* ring.h - any ring that this library opens, for the proofs: every capacity, number of slots and groups, and
 * alignment of the data, of one producer or of many (PRODUCERS); and one object of memory as large as what lib/map.c maps,
 * with anything in it. */
#ifndef PROOF_RING_H
#define PROOF_RING_H

#include <stdlib.h>

#define RINGBUS_HOT /* functions that can be proved one by one */
#include "check.c"

char *proof_mapping;
bool proof_may_write;

/* Bytes copied: what matters is where from and where to. What is copied is only looked at if it is short. */
void *memcpy(void *to, const void *from, size_t count) {
  __CPROVER_assert(count == 0 || __CPROVER_r_ok(from, count), "what is copied is there");
  __CPROVER_assert(count == 0 || __CPROVER_w_ok(to, count), "where it is copied to is there");
  if (count && count <= 16)
    __CPROVER_havoc_slice(to, count);
  return to;
}

/* Whatever else it does. */
int fail(int error, const char *format, ...) {
  (void)format;
  return error;
}

static bool is_aligned(uint64_t offset) { return offset % RINGBUS_LINE == 0; }

/* What the proofs need to know of an open ring. That it is so is itself proved, of what lib/check.c lets pass
 * and lib/ring.c makes of it (proof_ring_is_as_known). */
static bool ring_is_as_known(const ringbus_ring *ring) {
  const struct geometry *geometry = &ring->geometry;
  const struct ringbus_view *view = &ring->view;
  const uint64_t groups_end = geometry->groups_offset + UINT64_C(384) * geometry->group_count;
  bool many = geometry->producers == RINGBUS_PRODUCERS_MANY;
  return view->capacity_shift >= 12 && view->capacity_shift <= 40 &&
         geometry->capacity == UINT64_C(1) << view->capacity_shift &&
         geometry->slot_count <= RINGBUS_MAX_SLOTS && geometry->slot_count >= 2 &&
         geometry->group_count >= 1 && geometry->group_count <= RINGBUS_MAX_GROUPS &&
         geometry->slots_offset == sizeof(struct ringbus_header) &&
         geometry->slots_offset + UINT64_C(128) * geometry->slot_count <= geometry->groups_offset &&
         geometry->groups_offset <= UINT64_C(1) << 20 && is_aligned(geometry->groups_offset) &&
         is_aligned(geometry->words_offset) &&
         geometry->data_offset % RINGBUS_DATA_ALIGNMENT == 0 &&
         geometry->data_offset <= UINT64_C(1) << 41 &&
         (many ? groups_end <= geometry->words_offset &&
                     geometry->words_offset <= UINT64_C(1) << 40 &&
                     geometry->words_offset + (geometry->capacity >> 3) <= geometry->data_offset
               : groups_end <= geometry->data_offset &&
                     geometry->words_offset == geometry->data_offset) &&
         (many || geometry->producers == RINGBUS_PRODUCERS_SINGLE) &&
         geometry->granule_shift == (many ? 6 : 3) && geometry->word_shift == (many ? 3 : 0) &&
         geometry->file_bytes == geometry->data_offset + geometry->capacity &&
         view->state == &ring->header->signals.state &&
         view->data == (char *)ring->header + geometry->data_offset &&
         view->words == (char *)ring->header + geometry->words_offset &&
         view->mask == geometry->capacity - 1 &&
         view->word_mask == (many ? view->mask - 63 : view->mask - 7) &&
         view->granules_mask == (many ? view->mask >> 6 : view->mask >> 3) &&
         view->state_shift == view->capacity_shift + (many ? 4 : 7) &&
         view->granule_shift == geometry->granule_shift &&
         view->word_shift == geometry->word_shift && view->in_band == (many ? 0 : 8);
}

/* As lib/map.c maps it. */
static void map_any(ringbus_ring *ring) {
  proof_mapping = malloc(ring->geometry.file_bytes + ring->geometry.capacity);
  ring->header = (struct ringbus_header *)(void *)proof_mapping;
}

static ringbus_ring *any_ring(void) {
  ringbus_ring *ring = malloc(sizeof *ring);
  proof_may_write = !ring->read_only;
  ring->geometry.producers = PRODUCERS;
  ring->geometry.granule_shift = PRODUCERS == RINGBUS_PRODUCERS_MANY ? 6 : 3;
  ring->geometry.word_shift = PRODUCERS == RINGBUS_PRODUCERS_MANY ? 3 : 0;
  __CPROVER_assume(ring->geometry.file_bytes <= UINT64_C(1) << 42 &&
                   ring->geometry.capacity <= RINGBUS_MAX_CAPACITY &&
                   ring->geometry.data_offset <= ring->geometry.file_bytes &&
                   ring->geometry.words_offset <= ring->geometry.file_bytes);
  map_any(ring);
  ring->view.state = &ring->header->signals.state;
  ring->view.data = (char *)ring->header + ring->geometry.data_offset;
  ring->view.words = (char *)ring->header + ring->geometry.words_offset;
  ring->view.granule_shift = ring->geometry.granule_shift;
  ring->view.word_shift = ring->geometry.word_shift;
  ring->view.in_band = PRODUCERS == RINGBUS_PRODUCERS_MANY ? 0 : 8;
  __CPROVER_assume(ring_is_as_known(ring));
  return ring;
}

/* [address, address + count) is in the two views of the data. */
static bool in_data(const ringbus_ring *ring, const void *address, uint64_t count) {
  uint64_t from = __CPROVER_POINTER_OFFSET(ring->view.data);
  uint64_t at = __CPROVER_POINTER_OFFSET(address);
  return __CPROVER_same_object(address, ring->view.data) && at >= from &&
         count <= 2 * ring->geometry.capacity && at - from <= 2 * ring->geometry.capacity - count;
}

/* A message's bytes. */
static bool is_in_ring(const ringbus_ring *ring, const struct ringbus_message *message) {
  return message->length <= ring->geometry.capacity - ring->view.in_band &&
         in_data(ring, message->data, message->length);
}

/* Any buffer, of which the caller tells the true size. */
static char *any_buffer(size_t *size) {
  __CPROVER_assume(*size <= UINT64_C(1) << 42);
  return malloc(*size);
}

#endif
