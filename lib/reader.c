/* SPDX-License-Identifier: MIT */
/* reader.c - readers that can be lapped: observers, and groups that are not (always) waited for.
 *
 * ANNOUNCE: a word is believed only if the floor has not passed its position after it was loaded, and
 * a copy only if the floor has not passed it after the copy. */
#include <string.h>

#include "internal.h"

/* racy_copy: the one place that deliberately reads what another process may be writing. The copy is
 * thrown away if it was. ThreadSanitizer follows memcpy wherever it is called from, so there bytes are
 * copied one by one. */
__attribute__((no_sanitize("thread"))) static void racy_copy(void *to, const void *from,
                                                             size_t count) {
#ifdef RINGBUS_RACES_ARE_SEEN
  for (size_t i = 0; i < count; i++)
    ((char *)to)[i] = ((const volatile char *)from)[i];
#else
  memcpy(to, from, count);
#endif
}

__attribute__((no_sanitize("thread"))) uint64_t racy_word(const struct ringbus_view *view,
                                                          uint64_t position) {
  if (!view->in_band) /* nothing but words is ever there */
    return word_load(view, position);
  uint64_t word =
      *(const volatile uint64_t *)(const volatile void *)ringbus_word_at(view, position);
  shared_read_fence();
  return word;
}

__attribute__((no_sanitize("thread"))) uint64_t racy_data(const struct ringbus_view *view,
                                                          uint64_t position) {
  return *(const volatile uint64_t *)(const volatile void *)(view->data + (position & view->mask));
}

static bool passed(const struct lapped_reader *reader, uint64_t position) {
  return ringbus_floor_has_passed(shared_word(reader->floor), position);
}

int lapped_catch_up(const struct lapped_reader *reader) {
  struct counted floor;
  if (!counted_load(reader->floor, &floor) || distance(reader->at->position, floor.position) <= 0)
    return -EAGAIN;
  reader->lost->position += floor.position - reader->at->position;
  reader->lost->count += floor.count - reader->at->count;
  *reader->at = floor;
  return -EOVERFLOW;
}

int lapped_next(const struct lapped_reader *reader, struct ringbus_message *message,
                uint64_t *bytes) {
  const struct ringbus_view *view = reader->view;
  uint64_t position = reader->at->position;
  uint64_t word = racy_word(view, position);
  struct ringbus_message found;
  *bytes = 0;
  for (uint64_t walked = 0; ringbus_word_is(view, word, position, RINGBUS_WORD_PAD);) {
    if (passed(reader, position))
      return -EOVERFLOW;
    walked += ringbus_word_bytes(view, word);
    reader->at->position = position += ringbus_word_bytes(view, word);
    if (walked > view->mask)
      return -EAGAIN; /* a lap of given-up records: enough for one call */
    word = racy_word(view, position);
  }
  if (ringbus_word_is(view, word, position, RINGBUS_WORD_COMMITTED)) {
    *bytes = ringbus_word_decode(view, word & ~(uint64_t)RINGBUS_WORD_FLAG_TAG, position, &found);
    if (*bytes && (word & RINGBUS_WORD_FLAG_TAG))
      racy_copy(&found.tag, view->data + (position & view->mask) + *bytes - sizeof found.tag,
                sizeof found.tag);
  }
  if (passed(reader, position))
    return -EOVERFLOW;
  if (*bytes == 0) /* words of their own are there from the lap before, and claims stand in them */
    return word == 0 || (!view->in_band &&
                         !ringbus_word_is(view, word, position, RINGBUS_WORD_COMMITTED))
               ? -EAGAIN
               : -EBADMSG;
  *message = found;
  return 0;
}

bool claim_is_open(const struct ringbus_view *view, uint64_t position) {
  return !view->in_band &&
         ringbus_word_is(view, racy_word(view, position), position, RINGBUS_WORD_CLAIMED);
}

int lapped_recv(const struct lapped_reader *reader, void *buffer, size_t size,
                struct ringbus_message *message) {
  struct ringbus_message found;
  uint64_t bytes;
  int result = lapped_next(reader, &found, &bytes);
  if (result != 0)
    return result;
  if (found.length <= size)
    racy_copy(buffer, found.data, found.length);
  if (passed(reader, found.position))
    return -EOVERFLOW;
  if (message) {
    *message = found;
    message->data = buffer;
  }
  if (found.length > size)
    return -EMSGSIZE;
  reader->at->position += bytes;
  reader->at->count++;
  return 0;
}

void walk_records(const struct ringbus_view *view, struct counted *at, uint64_t limit) {
  uint64_t walked = 0;
  while (walked <= view->mask && distance(at->position, limit) > 0) {
    uint64_t word = racy_word(view, at->position);
    bool committed = ringbus_word_is(view, word, at->position, RINGBUS_WORD_COMMITTED);
    if (!committed && !ringbus_word_is(view, word, at->position, RINGBUS_WORD_PAD))
      return;
    walked += ringbus_word_bytes(view, word);
    at->position += ringbus_word_bytes(view, word);
    at->count += committed;
  }
}

/* The same, and over claims of the dead. */
static void walk_over_the_dead(const ringbus_ring *ring, struct counted *at, uint64_t limit) {
  for (uint64_t from = at->position; at->position - from < ring->geometry.capacity;) {
    uint32_t owner;
    walk_records(&ring->view, at, limit);
    uint64_t dead =
        distance(at->position, limit) > 0 ? claim_of_the_dead(ring, at->position, &owner) : 0;
    if (!dead)
      return;
    at->position += ringbus_word_bytes(&ring->view, dead);
  }
}

/* With many producers nobody keeps the count of the tail: it is counted from the furthest place whose
 * count is known, the floor or the cursor of a reader. */
static void find_counted(const ringbus_ring *ring, struct counted floor, struct counted *furthest) {
  uint64_t groups = shared_load(&ring->header->join.groups);
  *furthest = floor;
  for (uint32_t index = 0; index < ring->geometry.group_count; index++) {
    struct ringbus_group *group = ring_group(ring, index);
    struct counted cursor;
    bool whole = groups >> index & 1;
    if (!whole)
      continue;
    if (group_is_shared(ring, index))
      whole = share_gate(ring, index, tail_told(ring), &cursor);
    else
      whole = counted_load(&group->cursor, &cursor);
    if (whole && distance(furthest->position, cursor.position) > 0 &&
        cursor.position - floor.position <= ring->geometry.capacity &&
        position_is_sound(&ring->view, cursor.position))
      *furthest = cursor;
  }
}

static bool find_end(const ringbus_ring *ring, bool over_the_dead, struct counted *tail) {
  uint64_t *floor_field = &ring->header->floor.position;
  if (!ring_has_many_producers(ring))
    return counted_load(&ring->header->tail.position, tail);
  for (int tries = 0; tries < 100; tries++) {
    struct counted floor;
    if (!counted_load(floor_field, &floor))
      continue;
    find_counted(ring, floor, tail);
    uint64_t from = tail->position;
    uint64_t limit = floor.position + ring->geometry.capacity;
    if (over_the_dead)
      walk_over_the_dead(ring, tail, limit);
    else
      walk_records(&ring->view, tail, limit);
    if (!ringbus_floor_has_passed(shared_word(floor_field), from))
      return true; /* else the walk may have followed words of a later lap */
  }
  return false;
}

bool find_tail(const ringbus_ring *ring, struct counted *tail) {
  return find_end(ring, true, tail);
}

bool find_gap(const ringbus_ring *ring, struct counted *gap) { return find_end(ring, false, gap); }

int find_start(const ringbus_ring *ring, enum ringbus_start start, uint64_t position,
               struct counted *found) {
  uint64_t *floor_field = &ring->header->floor.position;
  for (int tries = 0; tries < 100; tries++) {
    struct counted floor;
    if (!counted_load(floor_field, &floor))
      continue;
    *found = floor;
    if (start == RINGBUS_OLDEST)
      return 0;
    if (start == RINGBUS_NEWEST) {
      if (!find_tail(ring, found))
        continue;
      return 0;
    }
    if (distance(floor.position, position) < 0 ||
        (uint64_t)distance(floor.position, position) > ring->geometry.capacity)
      break;
    walk_over_the_dead(ring, found, position);
    if (ringbus_floor_has_passed(shared_word(floor_field), floor.position))
      continue; /* the walk may have followed overwritten words */
    if (found->position == position)
      return 0;
    break;
  }
  return fail(-EINVAL, "%llu is not the position of a message in the ring, nor of the next one",
              (unsigned long long)position);
}
