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
  uint64_t word =
      *(const volatile uint64_t *)(const volatile void *)ringbus_word_at(view, position);
  shared_read_fence();
  return word;
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
  bool committed = ringbus_word_is(view, word, position, RINGBUS_WORD_COMMITTED);
  *bytes = 0;
  if (committed) {
    *bytes = ringbus_word_decode(view, word & ~(uint64_t)RINGBUS_WORD_FLAG_TAG, position, &found);
    if (*bytes && (word & RINGBUS_WORD_FLAG_TAG))
      racy_copy(&found.tag, view->data + (position & view->mask) + *bytes - sizeof found.tag,
                sizeof found.tag);
  }
  if (passed(reader, position))
    return -EOVERFLOW;
  if (*bytes == 0)
    return word == 0 ? -EAGAIN : -EBADMSG;
  *message = found;
  return 0;
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
    if (!ringbus_word_is(view, word, at->position, RINGBUS_WORD_COMMITTED))
      return;
    walked += ringbus_word_bytes(view, word);
    at->position += ringbus_word_bytes(view, word);
    at->count++;
  }
}

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
      if (!counted_load(&ring->header->tail.position, found))
        continue;
      return 0;
    }
    if (distance(floor.position, position) < 0 ||
        (uint64_t)distance(floor.position, position) > ring->geometry.capacity)
      break;
    walk_records(&ring->view, found, position);
    if (ringbus_floor_has_passed(shared_word(floor_field), floor.position))
      continue; /* the walk may have followed overwritten words */
    if (found->position == position)
      return 0;
    break;
  }
  return fail(-EINVAL, "%llu is not the position of a message in the ring, nor of the next one",
              (unsigned long long)position);
}
