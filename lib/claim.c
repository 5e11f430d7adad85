/* SPDX-License-Identifier: MIT */
/* claim.c - claims that nobody will commit, who blocks whom, and eviction.
 *
 *   CLAIMED by X ──lock of slot X is free, asked after the word was loaded: CAS──▶ PAD
 *
 * DEATH: the claimer held the lock of slot X from before its claim until it commits, gives up or dies.
 * So if that lock is free after the word was loaded, this claim's owner is dead, whoever may hold the
 * slot next; and if it was committed in between, the word has changed and the swap fails. The next
 * holder of the slot gives up its predecessor's claim before it makes one of its own. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

static bool claim_owner(const struct ringbus_view *view, uint64_t word, uint64_t position,
                        uint32_t *owner) {
  *owner = (uint32_t)(word & RINGBUS_WORD_OWNER_MASK);
  return ringbus_word_is(view, word, position, RINGBUS_WORD_CLAIMED);
}

static void turn_into_pad(ringbus_ring *ring, uint64_t position, uint64_t word) {
  struct ringbus_view *view = &ring->view;
  uint64_t pad = record_word(view, position, RINGBUS_WORD_PAD, ringbus_word_bytes(view, word), 0);
  if (!word_swap(view, position, word, pad)) /* DEATH */
    return;
  shared_add(&ring->header->counters.recovered, 1);
  shared_fence(); /* SLEEP */
  if (shared_load32(&ring->header->signals.data_waiters))
    ringbus_slow_wake(&ring->header->signals.data_waiters);
}

uint64_t claim_of_the_dead(const ringbus_ring *ring, uint64_t position, uint32_t *owner) {
  *owner = 0;
  if (ring->view.in_band)
    return 0;
  uint64_t word = word_load(&ring->view, position); /* before the kernel is asked */
  if (!claim_owner(&ring->view, word, position, owner))
    return 0;
  bool held = *owner != 0 && *owner < ring->geometry.slot_count && slot_is_held(ring, *owner);
  return !held && word_load(&ring->view, position) == word ? word : 0;
}

bool claim_recover(ringbus_ring *ring, uint64_t position) {
  uint32_t owner;
  uint64_t word = claim_of_the_dead(ring, position, &owner);
  if (word)
    turn_into_pad(ring, position, word);
  return !claim_is_open(&ring->view, position);
}

void claims_recover(ringbus_ring *ring) {
  for (uint32_t slot = 1; !ring->view.in_band && slot < ring->geometry.slot_count; slot++) {
    uint64_t position = shared_load(&ring_slot(ring, slot)->claim);
    if (position_is_sound(&ring->view, position))
      claim_recover(ring, position);
  }
}

void claim_resolve(ringbus_ring *ring, uint32_t slot) {
  uint64_t position = shared_load(&ring_slot(ring, slot)->claim);
  uint32_t owner;
  if (ring->view.in_band || !position_is_sound(&ring->view, position))
    return;
  uint64_t word = word_load(&ring->view, position);
  if (claim_owner(&ring->view, word, position, &owner) && owner == slot)
    turn_into_pad(ring, position, word);
}

/* ---------------------------------------------------------------- who blocks whom */

void claim_note_blocked(ringbus_ring *ring, uint64_t position) {
  struct ringbus_counters *counters = &ring->header->counters;
  if (shared_load(&counters->blocked_at) == (position | 1))
    return;
  shared_store(&counters->blocked_ns, realtime_ns());
  shared_store(&counters->blocked_at, position | 1);
}

/* The first claim whose owner lives; or, as those of the dead will soon be given up, the first of all. */
static int blame_claim(const ringbus_ring *ring, struct ringbus_blame *blame) {
  struct counted at;
  uint64_t capacity = ring->geometry.capacity;
  if (!ring_has_many_producers(ring) || !find_gap(ring, &at))
    return -ENOENT;
  bool any = false;
  for (uint64_t from = at.position; at.position - from < capacity;) {
    uint32_t owner;
    uint64_t dead = claim_of_the_dead(ring, at.position, &owner);
    uint64_t word = dead ? dead : word_load(&ring->view, at.position);
    if (!ringbus_word_is(&ring->view, word, at.position, RINGBUS_WORD_CLAIMED))
      break;
    if (!any || !dead) {
      any = true;
      blame->position = at.position;
      blame->bytes = ringbus_word_bytes(&ring->view, word);
      blame->slot = (uint32_t)(word & RINGBUS_WORD_OWNER_MASK);
    }
    if (!dead)
      break;
    at.position += ringbus_word_bytes(&ring->view, word);
    walk_records(&ring->view, &at, from + capacity);
  }
  struct ringbus_counters *counters = &ring->header->counters;
  if (any && shared_load(&counters->blocked_at) == (blame->position | 1))
    blame->since_ns = shared_load(&counters->blocked_ns);
  return any ? 0 : -ENOENT;
}

static int blame_cursor(ringbus_ring *ring, struct ringbus_blame *blame) {
  struct counted tail;
  if (!find_tail(ring, &tail))
    return -ENOENT;
  struct slowest slowest = find_slowest(ring, tail, true, 0);
  if (!slowest.gated || distance(slowest.at.position, tail.position) <= 0)
    return -ENOENT;
  struct ringbus_group group = group_copy(ring, slowest.group);
  memcpy(blame->group, group.name, sizeof blame->group);
  blame->position = slowest.at.position;
  blame->bytes = tail.position - slowest.at.position;
  if (!group_is_shared(ring, slowest.group)) {
    if (participant_alive(ring, group.member))
      blame->slot = (uint32_t)(group.member & 0xffff);
    return 0;
  }
  for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++) /* who holds the oldest run */
    if (shared_load32(&ring_slot(ring, slot)->group) == slowest.group &&
        (shared_load(&ring_slot(ring, slot)->taken[0]) & ~(uint64_t)RINGBUS_TAKEN_MASK) ==
            slowest.at.position &&
        (shared_load(&ring_slot(ring, slot)->taken[0]) & RINGBUS_TAKEN_MASK))
      blame->slot = slot;
  return 0;
}

int ringbus_ring_blame(const ringbus_ring *ring, enum ringbus_role waiting,
                       struct ringbus_blame *blame) {
  if (!ring || !blame || (waiting != RINGBUS_PRODUCER && waiting != RINGBUS_CONSUMER))
    return fail(-EINVAL, "who waits: RINGBUS_PRODUCER or RINGBUS_CONSUMER");
  if (ring->forked)
    return fail(-ECHILD, NULL);
  int result = check_size(ring);
  if (result != 0)
    return result;
  struct ringbus_blame found;
  memset(&found, 0, sizeof found);
  result = waiting == RINGBUS_CONSUMER ? blame_claim(ring, &found)
                                       : blame_cursor((ringbus_ring *)(uintptr_t)ring, &found);
  if (result != 0)
    return fail(result, NULL);
  if (found.slot && ringbus_ring_participant(ring, found.slot, &found.participant) != 0)
    found.slot = 0;
  *blame = found;
  return 0;
}

/* ---------------------------------------------------------------- eviction */

/* Whether a process has this ring's file open: a file may say any pid, and an innocent process must not
 * be ended for it. */
static bool process_has_ring_open(const ringbus_ring *ring, uint32_t pid) {
  struct stat wanted, status;
  char path[64];
  if (fstat(ring->fd, &wanted) != 0)
    return false;
  snprintf(path, sizeof path, "/proc/%u/fd", pid);
  DIR *stream = opendir(path);
  bool found = false;
  for (struct dirent *entry; stream && !found && (entry = readdir(stream));)
    found = fstatat(dirfd(stream), entry->d_name, &status, 0) == 0 &&
            status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino;
  if (stream)
    closedir(stream);
  return found;
}

static int wait_for_lock(const ringbus_ring *ring, uint64_t member, int64_t timeout_ns) {
  int64_t started = monotonic_ns();
  while (participant_alive(ring, member)) {
    if (timeout_ns >= 0 && monotonic_ns() - started >= timeout_ns)
      return fail(-ETIMEDOUT, "the process was sent SIGKILL, but still holds its slot's lock");
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  return 0;
}

int ringbus_ring_evict(ringbus_ring *ring, const struct ringbus_participant *whom,
                       int64_t timeout_ns) {
  if (!ring || !whom)
    return fail(-EINVAL, "whom?");
  if (ring->forked)
    return fail(-ECHILD, NULL);
  if (ring->read_only)
    return fail(-EPERM, "the ring is open read-only");
  if (whom->slot == 0 || whom->slot >= ring->geometry.slot_count)
    return fail(-EINVAL, "this ring has slots 1 to %u", ring->geometry.slot_count - 1);
  int result = check_size(ring);
  if (result != 0)
    return result;
  uint64_t member = whom->generation << 16 | whom->slot;
  if (!participant_alive(ring, member))
    return 0;
  if (!whom->pid_is_local)
    return fail(-ESRCH, "slot %u is held in another PID namespace: evict from there", whom->slot);
  if (whom->pid == (uint32_t)getpid())
    return fail(-EINVAL, "slot %u is this process's own: detach", whom->slot);
  int pidfd = (int)syscall(SYS_pidfd_open, whom->pid, 0);
  if (pidfd < 0)
    result = fail_system("cannot reach process %u, which holds slot %u", whom->pid, whom->slot);
  else if (!process_has_ring_open(ring, whom->pid))
    result = fail(-ESRCH, "process %u does not have the ring open, whatever slot %u says",
                  whom->pid, whom->slot);
  /* The holder is alive, so its pid is its own, if the file tells the truth: hence the second look. */
  if (!participant_alive(ring, member))
    result = 0;
  else if (result == 0 && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0 &&
           errno != ESRCH) /* it has ended by itself */
    result = fail_system("cannot end process %u, which holds slot %u", whom->pid, whom->slot);
  if (pidfd >= 0)
    close(pidfd);
  return result == 0 ? wait_for_lock(ring, member, timeout_ns) : result;
}

/* ---------------------------------------------------------------- repair */

int ringbus_ring_repair(ringbus_ring *ring, uint64_t *recovered) {
  struct visitor visitor;
  if (!ring)
    return fail(-EINVAL, "no ring");
  int result = check_may_change(ring);
  if (result != 0)
    return result;
  uint64_t before = shared_load(&ring->header->counters.recovered);
  claims_recover(ring);
  result = visitor_enter(&visitor, ring);
  if (result == 0)
    groups_reap(ring, visitor.handle.lock_fd);
  visitor_leave(&visitor);
  wake_producers(ring);
  if (recovered)
    *recovered = shared_load(&ring->header->counters.recovered) - before;
  return result;
}
