/* SPDX-License-Identifier: MIT */
/* observer.c - reads without being noticed: no slot, no lock, no store into the file. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct ringbus_observer {
  struct ringbus_view view;
  struct handle handle; /* for fork; holds no lock */
  struct counted at;
  struct counted lost;
  struct blocked blocked; /* see ask_whether_dead */
};

static struct lapped_reader reader_of(ringbus_observer *observer) {
  return (struct lapped_reader){&observer->view, &observer->handle.ring->header->floor.position,
                                &observer->at, &observer->lost};
}

int ringbus_observer_attach(ringbus_ring *ring, const struct ringbus_observer_options *options,
                            ringbus_observer **out) {
  static const struct ringbus_observer_options defaults;
  if (!options)
    options = &defaults;
  if (!ring || !out)
    return fail(-EINVAL, "no ring");
  if (ring->forked)
    return fail(-ECHILD, "the ring was opened before fork: open it again in the child");
  if ((unsigned)options->start > RINGBUS_POSITION)
    return fail(-EINVAL, "unknown start %d", (int)options->start);
  struct counted at;
  int result = check_size(ring);
  if (result == 0 && (shared_load32(&ring->header->signals.state) & RINGBUS_STATE_RETIRED))
    result = fail(-ESTALE, "the ring was retired: open its successor");
  if (result == 0)
    result = find_start(ring, options->start == RINGBUS_RESUME ? RINGBUS_OLDEST : options->start,
                        options->position, &at);
  if (result != 0)
    return result;
  if (!position_is_sound(&ring->view, at.position))
    return fail(-EBADMSG, "the ring's floor or tail is damaged");
  ringbus_observer *observer = calloc(1, sizeof *observer);
  if (!observer)
    return fail(-ENOMEM, NULL);
  observer->view = ring->view;
  observer->at = at;
  handle_register(&observer->handle, ring, &observer->view.state);
  *out = observer;
  return 0;
}

/* An observer cannot give up the claim of a dead producer, but it can pass over it: nobody will ever
 * commit it. */
static bool pass_over_dead_claim(ringbus_observer *observer) {
  uint32_t owner;
  uint64_t word = claim_of_the_dead(observer->handle.ring, observer->at.position, &owner);
  if (word)
    observer->at.position += ringbus_word_bytes(&observer->view, word);
  return word != 0;
}

int ringbus_observer_recv(ringbus_observer *observer, void *buffer, size_t size,
                          struct ringbus_message *message) {
  unsigned state = state_before_words(&observer->view); /* STATE */
  if (state & ~RINGBUS_STATE_CLOSED)
    return ringbus_slow_state(observer->view.state);
  struct lapped_reader reader = reader_of(observer);
  int result = lapped_recv(&reader, buffer, size, message);
  if (result == -EOVERFLOW)
    return lapped_catch_up(&reader);
  if (result == -EAGAIN && claim_is_open(&observer->view, observer->at.position) &&
      ask_whether_dead(&observer->blocked, observer->at.position, false) &&
      pass_over_dead_claim(observer))
    return ringbus_observer_recv(observer, buffer, size, message);
  return result == -EAGAIN && (state & RINGBUS_STATE_CLOSED) &&
                 !claim_is_open(&observer->view, observer->at.position)
             ? -EPIPE
             : result;
}

static int look_for_data(void *context, bool thorough) {
  ringbus_observer *observer = context;
  unsigned state = state_before_words(&observer->view); /* STATE */
  struct lapped_reader reader = reader_of(observer);
  struct ringbus_message message;
  uint64_t bytes;
  if (state & ~RINGBUS_STATE_CLOSED)
    return ringbus_slow_state(observer->view.state);
  do {
    if (lapped_next(&reader, &message, &bytes) != -EAGAIN)
      return 0;
  } while (thorough && pass_over_dead_claim(observer));
  return (state & RINGBUS_STATE_CLOSED) && !claim_is_open(&observer->view, observer->at.position)
             ? -EPIPE
             : -EAGAIN;
}

int ringbus_observer_wait(ringbus_observer *observer, int64_t timeout_ns) {
  struct waiting waiting = {RINGBUS_WAIT_ADAPTIVE, 0, NULL, look_for_data, observer, false};
  if (handle_is_forked(&observer->handle))
    return -ECHILD;
  return wait_until(observer->handle.ring, &waiting, timeout_ns);
}

int ringbus_observer_tell(const ringbus_observer *observer, uint64_t *position, uint64_t *count) {
  if (handle_is_forked(&observer->handle))
    return -ECHILD;
  if (position)
    *position = observer->at.position;
  if (count)
    *count = observer->at.count;
  return 0;
}

int ringbus_observer_seek(ringbus_observer *observer, enum ringbus_start start, uint64_t position) {
  unsigned state = state_load(&observer->view);
  if (state & ~RINGBUS_STATE_CLOSED)
    return ringbus_slow_state(observer->view.state);
  if (start == RINGBUS_RESUME || (unsigned)start > RINGBUS_POSITION)
    return fail(-EINVAL, "unknown start %d", (int)start);
  struct counted found;
  int result = find_start(observer->handle.ring, start, position, &found);
  if (result == 0)
    observer->at = found;
  return result;
}

int ringbus_observer_lost(const ringbus_observer *observer, uint64_t *messages, uint64_t *bytes) {
  if (handle_is_forked(&observer->handle))
    return -ECHILD;
  if (messages)
    *messages = observer->lost.count;
  if (bytes)
    *bytes = observer->lost.position;
  return 0;
}

int ringbus_observer_detach(ringbus_observer *observer) {
  if (!observer)
    return 0;
  bool forked = handle_is_forked(&observer->handle);
  handle_unregister(&observer->handle);
  free(observer);
  return forked ? -ECHILD : 0;
}
