/* SPDX-License-Identifier: MIT */
/* event.c - a descriptor for event loops.
 *
 *   user's thread                                helper thread
 *     event_arm: nothing there? clear fd,
 *                position, armed ── changed ──▶    sleeps on the ring (wait.c) until there is something
 *     the loop says readable ◀───────────────      at that position: still armed for it? then
 *     reads until -EAGAIN                          fd readable, no longer armed
 *
 * The helper looks at a position of its own, so the consumer's hot path knows nothing of it. To make
 * the fd readable and to clear it are done under one lock together with armed and position: whatever
 * the helper found before is either told before the fd is cleared, or not at all, and then it looks
 * again at the new position. Nothing is lost, and nothing is told twice. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consumer.h"

struct event {
  const ringbus_consumer *consumer;
  int fd; /* the handle's */
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  /* under the lock */
  uint64_t position; /* where the consumer stood when this was armed */
  bool armed;
  bool ended;
  uint64_t waits_at; /* the helper, if it waits on the ring */
  bool waits;
};

static void make_readable(const struct event *event) {
  ssize_t written = write(event->fd, &(uint64_t){1}, sizeof(uint64_t));
  (void)written; /* a counter that is full is readable */
}

static void clear(const struct event *event) {
  uint64_t count;
  ssize_t got = read(event->fd, &count, sizeof count);
  (void)got; /* -EAGAIN: it was clear */
}

/* ---------------------------------------------------------------- the helper thread */

static bool is_wanted(const struct event *event) {
  return event->armed && !event->ended && event->position == event->waits_at;
}

static int look(void *context, bool thorough) {
  struct event *event = context;
  pthread_mutex_lock(&event->lock);
  bool wanted = is_wanted(event);
  pthread_mutex_unlock(&event->lock);
  return wanted ? consumer_look(event->consumer, event->waits_at, thorough) : -ECANCELED;
}

static void *help(void *context) {
  struct event *event = context;
  ringbus_ring *ring = event->consumer->handle.ring;
  struct waiting waiting = {RINGBUS_WAIT_BLOCK,
                            event->consumer->look_ns,
                            &ring->header->signals.data_waiters,
                            look,
                            event,
                            false};
  pthread_mutex_lock(&event->lock);
  while (!event->ended) {
    if (!event->armed) {
      pthread_cond_wait(&event->changed, &event->lock);
      continue;
    }
    event->waits_at = event->position;
    event->waits = true;
    pthread_mutex_unlock(&event->lock);
    int result = wait_until(ring, &waiting, RINGBUS_FOREVER);
    pthread_mutex_lock(&event->lock);
    event->waits = false;
    /* Messages, the end, a truncated file: whatever it is, the consumer's own calls will say. */
    if (result != -ECANCELED && result != -EINTR && is_wanted(event)) {
      make_readable(event);
      event->armed = false;
    }
  }
  pthread_mutex_unlock(&event->lock);
  return NULL;
}

/* The helper looks again at what is under the lock. What it sleeps on is the ring's: others who sleep
 * there look once more, too. */
static void rouse(const struct event *event) {
  shared_fence(); /* SLEEP */
  ringbus_slow_wake(&event->consumer->handle.ring->header->signals.data_waiters);
}

/* ---------------------------------------------------------------- the user's side */

static int start_thread(struct event *event) {
  sigset_t all, before;
  sigfillset(&all); /* signals are the program's business, in its own threads */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&event->thread, NULL, help, event);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error)
    return fail(-error, "cannot start the thread that serves an event descriptor");
  pthread_setname_np(event->thread, "ringbus-event");
  return 0;
}

static void event_free(struct event *event) {
  pthread_cond_destroy(&event->changed);
  pthread_mutex_destroy(&event->lock);
  free(event);
}

int ringbus_consumer_event_fd(ringbus_consumer *consumer, int *fd) {
  if (!consumer || !fd)
    return fail(-EINVAL, "no consumer, or nowhere to put the descriptor");
  if (handle_is_forked(&consumer->handle))
    return fail(-ECHILD, "the consumer was attached before fork: attach one in the child");
  if (!consumer->event) {
    struct event *event = calloc(1, sizeof *event);
    if (!event)
      return fail(-ENOMEM, NULL);
    int result = consumer->handle.event_fd >= 0 ? 0 : event_fd_open(&consumer->handle);
    if (result != 0) {
      free(event);
      return result;
    }
    event->consumer = consumer;
    event->fd = consumer->handle.event_fd;
    event->position = consumer->hot.position;
    event->armed = true;
    pthread_mutex_init(&event->lock, NULL);
    pthread_cond_init(&event->changed, NULL);
    result = start_thread(event);
    if (result != 0) { /* the descriptor stays the handle's, for another try */
      event_free(event);
      return result;
    }
    consumer->event = event;
  }
  *fd = consumer->event->fd;
  return 0;
}

int ringbus_consumer_event_arm(ringbus_consumer *consumer) {
  struct event *event = consumer->event;
  if (handle_is_forked(&consumer->handle))
    return -ECHILD;
  if (!event)
    return fail(-EINVAL, "there is no event descriptor to arm");
  int result = check_size(consumer->handle.ring);
  if (result == 0)
    result = consumer_look_here(consumer, true);
  pthread_mutex_lock(&event->lock);
  event->position = consumer->hot.position;
  event->armed = result == -EAGAIN;
  bool elsewhere = event->armed && event->waits && event->waits_at != event->position;
  if (result == -EAGAIN)
    clear(event);
  else
    make_readable(event);
  pthread_cond_signal(&event->changed);
  pthread_mutex_unlock(&event->lock);
  if (elsewhere)
    rouse(event);
  return result == -EAGAIN ? 0 : result;
}

void event_end(ringbus_consumer *consumer) {
  struct event *event = consumer->event;
  if (!event)
    return;
  consumer->event = NULL;
  if (handle_is_forked(&consumer->handle)) { /* no thread here; the lock is as it happened to be */
    free(event);
    return;
  }
  pthread_mutex_lock(&event->lock);
  event->ended = true;
  pthread_cond_signal(&event->changed);
  pthread_mutex_unlock(&event->lock);
  rouse(event);
  pthread_join(event->thread, NULL);
  event_free(event);
}
