/* SPDX-License-Identifier: MIT */
/* wait.c - spinning, sleeping, waking.
 *
 *   sleeper                                        waker
 *     waiters = ticket, if it is 0                   publish (or release)
 *     membarrier or full fence      (SLEEP)          full fence, unless membarrier stands in for it
 *     look again                                     waiters != 0 ?
 *     futex wait while waiters == ticket               futex: waiters = 0 and wake, in one
 *
 * The waker clears the word: one that died asleep costs a single system call. Clearing and waking are
 * one step to whoever goes to sleep (FUTEX_WAKE_OP): once the word is 0, all who slept are off the
 * kernel's queue, so a waker that is stopped or killed on the way silences nobody else. Where that call is
 * forbidden the word is cleared first: a sleeper that arrives in between finds 0 and looks again. The
 * next one to go to sleep sets the word again, to another ticket: who has not got to sleep yet is not
 * to take that for its own. Whoever is killed between publishing and waking notifies nobody; therefore
 * a sleep is cut into looks. Among the living no wake-up depends on that.
 *
 * Several rings are waited for in the same way: a ticket of each, one fence, a look at all of them, and
 * one sleep on all the words (futex_waitv). */
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define DEFAULT_LOOK_NS INT64_C(50000000)
#define POLL_NS INT64_C(1000000) /* where nobody can be woken */
#define FIRST_POLL_NS INT64_C(20000)
#define SPINS 2000 /* some 10 to 50 us, about the price of going to sleep and being woken */
#define SPINS_PER_CLOCK 256

int64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t realtime_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int membarrier(int command) { return (int)syscall(SYS_membarrier, command, 0, 0); }

bool publisher_needs_fence(const ringbus_ring *ring) {
  if (ring->geometry.wake == RINGBUS_WAKE_NONE)
    return false;
  return ring->geometry.wake != RINGBUS_WAKE_ASYMMETRIC ||
         membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) != 0;
}

bool sleepers_poll(const ringbus_ring *ring) {
  if (ring->geometry.wake != RINGBUS_WAKE_ASYMMETRIC)
    return ring->geometry.wake == RINGBUS_WAKE_NONE;
  int commands = membarrier(MEMBARRIER_CMD_QUERY);
  return commands < 0 || !(commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

static long futex(uint32_t *word, int operation, uint32_t value, const struct timespec *timeout) {
  return syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

void wake_all(uint32_t *word) {
  int saved = errno; /* hot calls come here, and leave errno alone */
  futex(word, FUTEX_WAKE, INT_MAX, NULL);
  errno = saved;
}

void ringbus_slow_wake(volatile unsigned *waiters) {
  uint32_t *word = (uint32_t *)(uintptr_t)waiters;
  int saved = errno;
  /* futex(2) has this call wake those at two words: all of them at the first, and none, a count in the
   * place of the timeout, at the second, which is set to 0 before. Here both are one. */
  if (syscall(SYS_futex, word, FUTEX_WAKE_OP, INT_MAX, NULL, word,
              FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_EQ, 0)) < 0) { /* SLEEP */
    shared_store32(word, 0);                                        /* SLEEP */
    wake_all(word);
  }
  errno = saved;
}

int wait_options(enum ringbus_wait wait, int64_t look_ns, struct waiting *waiting) {
  if ((unsigned)wait > RINGBUS_WAIT_BLOCK)
    return fail(-EINVAL, "unknown way to wait: %d", (int)wait);
  if (look_ns < 0)
    return fail(-EINVAL, "a look interval is not negative");
  waiting->policy = wait;
  waiting->look_ns = look_ns ? look_ns : DEFAULT_LOOK_NS;
  return 0;
}

static struct timespec timespec_of(int64_t ns) {
  return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

int64_t deadline_after(int64_t timeout_ns) {
  if (timeout_ns <= 0)
    return timeout_ns < 0 ? INT64_MAX : 0;
  int64_t now = monotonic_ns();
  return timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

static int spin(const struct waiting *waiting, unsigned spins_wanted, int64_t deadline) {
  int64_t next_thorough = deadline_after(waiting->look_ns);
  for (unsigned spins = 1;; spins++) {
    int result = waiting->look(waiting->context, false);
    if (result != -EAGAIN)
      return result;
    if (waiting->policy != RINGBUS_WAIT_SPIN && spins == spins_wanted)
      return -EAGAIN;
    spin_pause();
    if (spins % SPINS_PER_CLOCK)
      continue;
    int64_t now = monotonic_ns();
    if (now >= next_thorough) {
      result = waiting->look(waiting->context, true);
      if (result != -EAGAIN)
        return result;
      next_thorough = deadline_after(waiting->look_ns);
    }
    if (deadline != INT64_MAX && now >= deadline)
      return -ETIMEDOUT;
  }
}

/* ---------------------------------------------------------------- sleeping */

/* On what one sleep is spent. */
struct bed {
  struct futex_waitv words[MOST_PLACES];
  unsigned count;
  bool polls;         /* some change may come without a wake-up */
  bool no_membarrier; /* found out, as is the next */
  bool no_waitv;      /* one word at a time can be slept on, several cannot */
};

/* The value of the word for which to sleep. */
static uint32_t take_ticket(const struct place *place) {
  uint32_t now = shared_load32(place->waiters);
  if (now != 0)
    return now;
  uint32_t ticket = shared_increment32(&place->ring->header->signals.sleeps) << 1 | 1;
  if (shared_replace32(place->waiters, 0, ticket)) /* SLEEP */
    return ticket;
  now = shared_load32(place->waiters);
  return now ? now : ticket; /* which it is not: then there is no sleep, but another look */
}

static bool can_be_woken(const struct place *place, const struct bed *bed) {
  uint32_t wake = place->ring->geometry.wake;
  return place->waiters && wake != RINGBUS_WAKE_NONE &&
         !(bed->no_membarrier && wake == RINGBUS_WAKE_ASYMMETRIC);
}

/* The sleeper's side of SLEEP, up to the look. */
static void make_bed(const struct place *places, unsigned count, struct bed *bed) {
  bool asymmetric = false;
  bed->count = 0;
  bed->polls = bed->no_waitv && count > 1;
  for (unsigned i = 0; i < count && !bed->polls; i++) {
    if (!can_be_woken(&places[i], bed))
      continue;
    bed->words[bed->count++] = (struct futex_waitv){
        .val = take_ticket(&places[i]), .uaddr = (uintptr_t)places[i].waiters, .flags = FUTEX_32};
    asymmetric |= places[i].ring->geometry.wake == RINGBUS_WAKE_ASYMMETRIC;
  }
  bed->polls |= bed->count < count;
  if (bed->count)
    shared_fence(); /* SLEEP */
  /* It interrupts others: who polls anyway, and so may miss a wake-up, does without. */
  if (asymmetric && !bed->polls && membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0)
    bed->no_membarrier = bed->polls = true;
}

/* Returns 0, whatever ended the sleep, or -EINTR. */
static int sleep_in(struct bed *bed, int64_t most_ns) {
  struct timespec time = timespec_of(most_ns);
  long slept;
  if (bed->count == 0) {
    slept = nanosleep(&time, NULL);
  } else if (bed->count == 1) {
    uint32_t *word = (uint32_t *)(uintptr_t)bed->words[0].uaddr;
    slept = futex(word, FUTEX_WAIT, (uint32_t)bed->words[0].val, &time);
  } else {
    time = timespec_of(deadline_after(most_ns));
    slept = syscall(SYS_futex_waitv, bed->words, bed->count, 0, &time, CLOCK_MONOTONIC, 0);
    /* Old kernels and sandboxes; whatever their answer is, it is the same the next time. */
    if (slept < 0 && errno != EAGAIN && errno != ETIMEDOUT && errno != EINTR)
      bed->no_waitv = true;
  }
  return slept < 0 && errno == EINTR ? -EINTR : 0;
}

static int check_sizes(const struct place *places, unsigned count) {
  int result = 0;
  for (unsigned i = 0; i < count && result == 0; i++)
    result = check_size(places[i].ring);
  return result;
}

int wait_at(const struct place *places, unsigned count, struct waiting *waiting, int64_t deadline) {
  struct bed bed;
  int64_t poll_ns = FIRST_POLL_NS;
  int result = waiting->look(waiting->context, true);
  if (result != -EAGAIN)
    return result;
  if (deadline == 0 || (deadline != INT64_MAX && deadline <= monotonic_ns()))
    return -ETIMEDOUT;
  if (waiting->policy != RINGBUS_WAIT_BLOCK) {
    result = spin(waiting, SPINS / count, deadline);
    if (result != -EAGAIN)
      return result;
  }
  bed.no_membarrier = bed.no_waitv = false;
  for (;;) {
    waiting->moved = false;
    make_bed(places, count, &bed);
    if (bed.count) {
      result = waiting->look(waiting->context, true);
      if (result != -EAGAIN)
        return result;
      if (waiting->moved)
        continue; /* it is somebody else now who can end this */
    }
    int64_t most = bed.polls ? poll_ns : waiting->look_ns;
    if (deadline != INT64_MAX) {
      int64_t left = deadline - monotonic_ns();
      if (left <= 0)
        return -ETIMEDOUT;
      most = left < most ? left : most;
    }
    result = sleep_in(&bed, most);
    if (result == 0)
      result = check_sizes(places, count);
    if (result == 0)
      result = waiting->look(waiting->context, true);
    if (result != -EAGAIN)
      return result;
    if (bed.polls && poll_ns < POLL_NS)
      poll_ns = 2 * poll_ns < POLL_NS ? 2 * poll_ns : POLL_NS;
  }
}

int wait_until(const ringbus_ring *ring, struct waiting *waiting, int64_t timeout_ns) {
  struct place place = {ring, waiting->waiters};
  return wait_at(&place, 1, waiting, deadline_after(timeout_ns));
}

int ringbus_ring_wait_for(ringbus_ring *ring, enum ringbus_role role, int64_t timeout_ns) {
  if (!ring || (role != RINGBUS_PRODUCER && role != RINGBUS_CONSUMER))
    return fail(-EINVAL, "wait for RINGBUS_PRODUCER or RINGBUS_CONSUMER");
  if (ring->forked)
    return fail(-ECHILD, NULL);
  int64_t started = timeout_ns > 0 ? monotonic_ns() : 0;
  for (;;) {
    int result = check_size(ring);
    if (result != 0)
      return result;
    uint32_t presence = shared_load32(&ring->header->signals.presence);
    if (shared_load32(&ring->header->signals.state) & RINGBUS_STATE_RETIRED)
      return fail(-ESTALE, NULL);
    if (count_alive(ring, (uint32_t)role))
      return 0;
    int64_t most = DEFAULT_LOOK_NS;
    if (timeout_ns >= 0) {
      int64_t left = timeout_ns ? timeout_ns - (monotonic_ns() - started) : 0;
      if (left <= 0)
        return -ETIMEDOUT;
      most = left < most ? left : most;
    }
    /* Attaching changes the word and wakes; a mapping without write permission may wait, too. */
    struct timespec timeout = timespec_of(most);
    if (futex(&ring->header->signals.presence, FUTEX_WAIT, presence, &timeout) != 0 &&
        errno == EINTR)
      return -EINTR;
  }
}
