/* SPDX-License-Identifier: MIT */
/* poll.c - waiting for many consumers at once.
 *
 * A poller is a private list; nothing of it is in a file. It looks at one consumer after the other,
 * beginning behind the one that was ready last, and sleeps on the words of all their rings (wait.c).
 * Whoever is asked for the dead costs a system call: while others are ready that is done for each
 * consumer once in look_ns, before and after a sleep for all of them. */
#include <stdlib.h>
#include <string.h>

#include "consumer.h"

struct member {
  ringbus_consumer *consumer;
  void *context;
  int64_t looked_ns; /* when it was last looked at thoroughly */
};

struct ringbus_poller {
  enum ringbus_wait wait;
  int64_t look_ns;
  unsigned count;
  unsigned next;              /* where the search begins, modulo count */
  struct ringbus_ready found; /* by look_at_all */
  struct member members[MOST_PLACES];
  struct place places[MOST_PLACES]; /* of the same index */
};

int ringbus_poller_create(const struct ringbus_poller_options *options, ringbus_poller **out) {
  static const struct ringbus_poller_options defaults;
  struct waiting waiting;
  if (!options)
    options = &defaults;
  if (!out)
    return fail(-EINVAL, "nowhere to put the poller");
  int result = wait_options(options->wait, options->look_ns, &waiting);
  if (result != 0)
    return result;
  ringbus_poller *poller = calloc(1, sizeof *poller);
  if (!poller)
    return fail(-ENOMEM, NULL);
  poller->wait = waiting.policy;
  poller->look_ns = waiting.look_ns;
  *out = poller;
  return 0;
}

int ringbus_poller_destroy(ringbus_poller *poller) {
  if (!poller)
    return 0;
  for (unsigned at = 0; at < poller->count; at++)
    poller->members[at].consumer->poller = NULL;
  free(poller);
  return 0;
}

int ringbus_poller_add(ringbus_poller *poller, ringbus_consumer *consumer, void *context) {
  if (!poller || !consumer)
    return fail(-EINVAL, "no poller or no consumer");
  if (handle_is_forked(&consumer->handle))
    return fail(-ECHILD, "the consumer was attached before fork: attach one in the child");
  if (consumer->poller)
    return consumer->poller == poller ? fail(-EEXIST, "the consumer is in this poller already")
                                      : fail(-EBUSY, "the consumer is in another poller");
  if (poller->count == MOST_PLACES)
    return fail(
        -ENOSPC,
        "the poller has %u consumers, and no more can be slept on at once: make a second one "
        "for another thread, or give each consumer an event descriptor",
        MOST_PLACES);
  ringbus_ring *ring = consumer->handle.ring;
  poller->members[poller->count] = (struct member){consumer, context, INT64_MIN};
  poller->places[poller->count] = (struct place){ring, &ring->header->signals.data_waiters};
  poller->count++;
  consumer->poller = poller;
  return 0;
}

int ringbus_poller_remove(ringbus_poller *poller, ringbus_consumer *consumer) {
  unsigned at = 0;
  if (!poller || !consumer)
    return fail(-EINVAL, "no poller or no consumer");
  if (consumer->poller != poller)
    return fail(-ENOENT, "the consumer is not in this poller");
  while (poller->members[at].consumer != consumer)
    at++;
  poller->count--;
  memmove(&poller->members[at], &poller->members[at + 1],
          (poller->count - at) * sizeof poller->members[0]);
  memmove(&poller->places[at], &poller->places[at + 1],
          (poller->count - at) * sizeof poller->places[0]);
  if (poller->next > at) /* nobody loses its turn */
    poller->next--;
  consumer->poller = NULL;
  return 0;
}

void poller_forget(ringbus_consumer *consumer) {
  if (consumer->poller)
    ringbus_poller_remove(consumer->poller, consumer);
}

/* ---------------------------------------------------------------- waiting */

static void found(ringbus_poller *poller, unsigned at, int result) {
  poller->found =
      (struct ringbus_ready){poller->members[at].consumer, poller->members[at].context, result};
  poller->next = at + 1;
}

/* Thoroughly at those that have not been looked at so after a time. */
static int look_at_all(ringbus_poller *poller, int64_t now, int64_t thorough_if_not_after) {
  for (unsigned i = 0; i < poller->count; i++) {
    unsigned at = (poller->next + i) % poller->count;
    struct member *member = &poller->members[at];
    bool thorough = member->looked_ns <= thorough_if_not_after;
    int result = consumer_look_here(member->consumer, thorough);
    if (thorough)
      member->looked_ns = now;
    if (result == -ECHILD)
      return result;
    if (result != -EAGAIN) {
      found(poller, at, result);
      return 0;
    }
  }
  return -EAGAIN;
}

static int look(void *context, bool thorough) {
  return thorough ? look_at_all(context, monotonic_ns(), INT64_MAX)
                  : look_at_all(context, 0, INT64_MIN);
}

/* Why a wait ended early: somebody's file has shrunk. -EAGAIN: no longer. */
static int look_for_truncated(ringbus_poller *poller) {
  for (unsigned at = 0; at < poller->count; at++) {
    int result = check_size(poller->places[at].ring);
    if (result != 0) {
      found(poller, at, result);
      return 0;
    }
  }
  return -EAGAIN;
}

static int wait_for_any(ringbus_poller *poller, int64_t deadline) {
  struct waiting waiting = {poller->wait, poller->look_ns, NULL, look, poller, false};
  int64_t now = monotonic_ns();
  int result = look_at_all(poller, now, now - poller->look_ns);
  while (result == -EAGAIN) {
    result = wait_at(poller->places, poller->count, &waiting, deadline);
    if (result != 0 && result != -ETIMEDOUT && result != -EINTR && result != -ECHILD)
      result = look_for_truncated(poller);
  }
  return result;
}

int ringbus_poller_wait_until(ringbus_poller *poller, int64_t deadline_ns,
                              struct ringbus_ready *ready) {
  if (!poller || !ready)
    return fail(-EINVAL, "no poller, or nowhere to put what is ready");
  if (poller->count == 0)
    return fail(-ENOENT, "the poller is empty: there is nothing to wait for");
  int result = wait_for_any(poller, deadline_ns < 0 ? INT64_MAX : deadline_ns);
  if (result == 0)
    *ready = poller->found;
  return result;
}

int ringbus_poller_wait(ringbus_poller *poller, int64_t timeout_ns, struct ringbus_ready *ready) {
  return ringbus_poller_wait_until(poller, deadline_after(timeout_ns), ready);
}
