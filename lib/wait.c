/* SPDX-License-Identifier: MIT */
/* wait.c - spinning, sleeping, waking.
 *
 *   sleeper                                        waker
 *     waiters = 1                                    publish (or release)
 *     membarrier or full fence      (SLEEP)          full fence, unless membarrier stands in for it
 *     look again                                     waiters != 0 ?
 *     futex wait while waiters == 1                    waiters = 0; futex wake
 *
 * The waker clears the word before it wakes: a sleeper that arrives in between finds 0 and looks again,
 * and one that died asleep costs a single system call. Whoever is killed between publishing and waking
 * notifies nobody; therefore a sleep is cut into looks. Among the living no wake-up depends on that. */
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

/* The sleeper's side of SLEEP. False: there is no way to be sure of being woken. */
static bool sleeper_fence(const ringbus_ring *ring) {
  shared_fence();
  return ring->geometry.wake != RINGBUS_WAKE_ASYMMETRIC ||
         membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
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
  shared_store32(word, 0); /* SLEEP */
  wake_all(word);
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

static int spin(const struct waiting *waiting, int64_t deadline) {
  int64_t next_thorough = monotonic_ns() + waiting->look_ns;
  for (unsigned spins = 1;; spins++) {
    int result = waiting->look(waiting->context, false);
    if (result != -EAGAIN)
      return result;
    if (waiting->policy != RINGBUS_WAIT_SPIN && spins == SPINS)
      return -EAGAIN;
    spin_pause();
    if (spins % SPINS_PER_CLOCK)
      continue;
    int64_t now = monotonic_ns();
    if (now >= next_thorough) {
      result = waiting->look(waiting->context, true);
      if (result != -EAGAIN)
        return result;
      next_thorough = now + waiting->look_ns;
    }
    if (deadline != INT64_MAX && now >= deadline)
      return -ETIMEDOUT;
  }
}

int wait_until(const ringbus_ring *ring, const struct waiting *waiting, int64_t timeout_ns) {
  int64_t started = timeout_ns > 0 ? monotonic_ns() : 0;
  int64_t deadline =
      timeout_ns < 0 || timeout_ns > INT64_MAX - started ? INT64_MAX : started + timeout_ns;
  int64_t poll_ns = FIRST_POLL_NS;
  bool polls = !waiting->waiters || ring->geometry.wake == RINGBUS_WAKE_NONE;
  int result = waiting->look(waiting->context, true);
  if (result != -EAGAIN)
    return result;
  if (timeout_ns == 0)
    return -ETIMEDOUT;
  if (waiting->policy != RINGBUS_WAIT_BLOCK) {
    result = spin(waiting, deadline);
    if (result != -EAGAIN)
      return result;
  }
  for (;;) {
    uint32_t *waiters = waiting->waiters;
    if (!polls) {
      shared_store32(waiters, 1); /* SLEEP */
      polls = !sleeper_fence(ring);
      result = waiting->look(waiting->context, true);
      if (result != -EAGAIN)
        return result;
      if (waiting->waiters != waiters)
        continue; /* it is somebody else now who can end this */
    }
    int64_t most = polls ? poll_ns : waiting->look_ns;
    if (deadline != INT64_MAX) {
      int64_t left = deadline - monotonic_ns();
      if (left <= 0)
        return -ETIMEDOUT;
      most = left < most ? left : most;
    }
    struct timespec timeout = timespec_of(most);
    long slept = polls ? nanosleep(&timeout, NULL) : futex(waiters, FUTEX_WAIT, 1, &timeout);
    if (slept != 0 && errno == EINTR)
      return -EINTR;
    result = check_size(ring);
    if (result != 0)
      return result;
    result = waiting->look(waiting->context, true);
    if (result != -EAGAIN)
      return result;
    if (polls && poll_ns < POLL_NS)
      poll_ns = 2 * poll_ns < POLL_NS ? 2 * poll_ns : POLL_NS;
  }
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
