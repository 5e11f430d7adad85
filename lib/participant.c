/* SPDX-License-Identifier: MIT */
/* participant.c - slots, locks, liveness, fork.
 *
 *   slot:   free ──lock byte, raise generation, write who──▶ held ──leave: role NONE, unlock──▶ free
 *                                                              │
 *                                                              └─ death: the kernel drops the lock;
 *                                                                 the slot still says who it was
 *
 * The evidence of life is an OFD write lock on the slot's first byte, held through a description that
 * is opened for this alone and never mapped (a mapping would keep the description, and with it the
 * lock, alive after every close). A dead or departed participant is known by (slot, generation):
 * either the lock is free, or the slot has a later generation. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define PRODUCER_SLOT 1u       /* of a single-producer ring: its lock is what makes it single */
#define FIRST_CONSUMER_SLOT 2u /* of a single-producer ring */

/* ---------------------------------------------------------------- fork */

/* What an inherited handle's state pointer points to: no call goes on to touch the mapping, which the
 * child does not have. */
static volatile unsigned forked_state = RINGBUS_STATE_FORKED;

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct handle *all_handles;
static ringbus_ring *all_rings;

static void before_fork(void) { pthread_mutex_lock(&registry); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&registry); }

/* The child shares the parent's lock descriptions: while it has them open, the parent would look
 * alive after its death. */
static void after_fork_in_child(void) {
  for (struct handle **link = &all_handles; *link;) {
    struct handle *handle = *link;
    *handle->state = &forked_state;
    if (handle->lock_fd >= 0)
      close(handle->lock_fd);
    if (handle->event_fd >= 0) /* the parent's event loop would go on with it after a close */
      close(handle->event_fd);
    handle->lock_fd = handle->event_fd = -1;
    if (handle->is_visitor) { /* now, while its stack is as it was */
      handle->ring->references--;
      *link = handle->next;
    } else {
      link = &handle->next;
    }
  }
  for (ringbus_ring *ring = all_rings; ring; ring = ring->next) {
    ring->forked = true;
    close(ring->fd);
    if (ring->fresh_fd >= 0)
      close(ring->fresh_fd);
    ring->fd = ring->fresh_fd = -1;
  }
  pthread_mutex_unlock(&registry);
}

static void register_fork_handlers(void) {
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void registry_add_ring(ringbus_ring *ring) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, register_fork_handlers);
  pthread_mutex_lock(&registry);
  ring->references = 1;
  ring->next = all_rings;
  all_rings = ring;
  pthread_mutex_unlock(&registry);
}

void registry_drop_ring(ringbus_ring *ring) {
  pthread_mutex_lock(&registry);
  bool last = --ring->references == 0;
  if (last) {
    ringbus_ring **link = &all_rings;
    while (*link != ring)
      link = &(*link)->next;
    *link = ring->next;
  }
  pthread_mutex_unlock(&registry);
  if (!last)
    return;
  if (!ring->forked) { /* in a child the address range may be somebody else's by now */
    unmap_ring(ring);
    if (ring->fresh_fd >= 0)
      close(ring->fresh_fd);
    close(ring->fd);
  }
  free(ring);
}

void handle_register(struct handle *handle, ringbus_ring *ring, volatile unsigned **state) {
  handle->ring = ring;
  handle->state = state;
  handle->lock_fd = handle->event_fd = -1;
  pthread_mutex_lock(&registry);
  ring->references++;
  handle->next = all_handles;
  all_handles = handle;
  pthread_mutex_unlock(&registry);
}

void handle_unregister(struct handle *handle) {
  pthread_mutex_lock(&registry);
  struct handle **link = &all_handles;
  while (*link && *link != handle)
    link = &(*link)->next;
  if (!*link) { /* a visitor, in the midst of which its own thread has forked */
    pthread_mutex_unlock(&registry);
    return;
  }
  *link = handle->next;
  /* A description that was promised to be unshared is the only one there will be: keep it. */
  if (handle->lock_fd >= 0 && handle->ring->keeps_fresh_fd && handle->ring->fresh_fd < 0)
    handle->ring->fresh_fd = handle->lock_fd;
  else if (handle->lock_fd >= 0)
    close(handle->lock_fd);
  if (handle->event_fd >= 0)
    close(handle->event_fd);
  pthread_mutex_unlock(&registry);
  registry_drop_ring(handle->ring);
}

bool state_is_forked(const volatile unsigned *state) { return state == &forked_state; }

bool handle_is_forked(const struct handle *handle) { return state_is_forked(*handle->state); }

/* Asked by hot calls, which may have interrupted whoever holds the registry's lock. */
static bool is_own_slot(const ringbus_ring *ring, uint32_t slot) {
  return shared_load((uint64_t *)(uintptr_t)&ring->own_slots[slot / 64]) >> slot % 64 & 1;
}

bool slot_is_held(const ringbus_ring *ring, uint32_t slot) {
  return is_own_slot(ring, slot) || lock_is_held(ring->fd, slot_lock_offset(ring, slot));
}

/* A participant of this very process: known without asking the kernel, which says "free" about locks
 * of the description that is asked through. */
static bool is_own(const ringbus_ring *ring, uint64_t member) {
  bool own = false;
  pthread_mutex_lock(&registry);
  for (struct handle *handle = all_handles; handle && !own; handle = handle->next)
    own = handle->ring == ring && handle->slot != 0 && handle_member(handle) == member;
  pthread_mutex_unlock(&registry);
  return own;
}

/* ---------------------------------------------------------------- locks */

/* Opened under the registry's lock: a child that is forked by another thread meanwhile would keep the
 * description, and the locks, without knowing of it. */
int locks_open(struct handle *handle) {
  ringbus_ring *ring = handle->ring;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", ring->fd);
  pthread_mutex_lock(&registry);
  if (ring->fresh_fd >= 0) {
    handle->lock_fd = ring->fresh_fd;
    ring->fresh_fd = -1;
  } else {
    handle->lock_fd = above_standard(open(path, O_RDWR | O_CLOEXEC));
  }
  int error = handle->lock_fd < 0 ? -errno : 0;
  pthread_mutex_unlock(&registry);
  return error ? fail(error,
                      "cannot reopen the ring through %s for its locks (is /proc mounted, may "
                      "this user write the file?)",
                      path)
               : 0;
}

int event_fd_open(struct handle *handle) {
  pthread_mutex_lock(&registry);
  handle->event_fd = above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  int error = handle->event_fd < 0 ? -errno : 0;
  pthread_mutex_unlock(&registry);
  return error ? fail(error, "cannot make an eventfd") : 0;
}

int visitor_enter(struct visitor *visitor, ringbus_ring *ring) {
  visitor->handle = (struct handle){0};
  visitor->state = ring->view.state;
  visitor->handle.is_visitor = true;
  handle_register(&visitor->handle, ring, &visitor->state);
  return locks_open(&visitor->handle);
}

void visitor_leave(struct visitor *visitor) { handle_unregister(&visitor->handle); }

static struct flock byte_lock(short type, uint64_t offset) {
  struct flock lock;
  memset(&lock, 0, sizeof lock);
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = (off_t)offset;
  lock.l_len = 1;
  return lock;
}

int lock_byte(int lock_fd, uint64_t offset) {
  struct flock lock = byte_lock(F_WRLCK, offset);
  return fcntl(lock_fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

void unlock_byte(int lock_fd, uint64_t offset) {
  struct flock lock = byte_lock(F_UNLCK, offset);
  fcntl(lock_fd, F_OFD_SETLK, &lock);
}

bool lock_is_held(int lock_fd, uint64_t offset) {
  /* Asked as a reader: only a write lock answers, and those need a writable descriptor. */
  struct flock lock = byte_lock(F_RDLCK, offset);
  int saved = errno; /* hot calls come here, and leave errno alone */
  bool held = fcntl(lock_fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
  errno = saved;
  return held;
}

int slots_lock(const ringbus_ring *ring, int lock_fd) {
  struct flock lock = byte_lock(F_WRLCK, ring->geometry.slots_offset);
  lock.l_len = (off_t)(ring->geometry.slot_count * sizeof(struct ringbus_slot));
  if (fcntl(lock_fd, F_OFD_SETLK, &lock) == 0)
    return 0;
  if (errno != EAGAIN && errno != EACCES)
    return -errno;
  /* A mere reader's lock keeps attachers out of the slots that it is on just as well, and is not allowed to
   * keep us out: the others are locked one by one. */
  for (uint32_t slot = 0; slot < ring->geometry.slot_count; slot++) {
    const uint64_t offset = ring->geometry.slots_offset + slot * sizeof(struct ringbus_slot);
    if (lock_byte(lock_fd, offset) != 0 && lock_is_held(lock_fd, offset)) {
      lock.l_type = F_UNLCK;
      fcntl(lock_fd, F_OFD_SETLK, &lock);
      return -EAGAIN;
    }
  }
  return 0;
}

uint64_t slot_lock_offset(const ringbus_ring *ring, uint32_t slot) {
  return ring->geometry.slots_offset + (uint64_t)slot * sizeof(struct ringbus_slot);
}

int lock_patiently(int lock_fd, uint64_t offset, int seconds, const char *what) {
  for (int waited_ms = 0;; waited_ms++) {
    int result = lock_byte(lock_fd, offset);
    if (result == 0)
      return 0;
    if (result != -EAGAIN && result != -EACCES && result != -EINTR)
      return fail(result, "cannot lock the ring's %s", what);
    if (waited_ms == seconds * 1000)
      return fail(-EBUSY,
                  "another process has held the lock of the ring's %s for %d s: is it stopped?",
                  what, seconds);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
}

int table_lock(int lock_fd) {
  return lock_patiently(lock_fd, offsetof(struct ringbus_header, join), 5, "group table");
}

int table_try_lock(int lock_fd) {
  return lock_byte(lock_fd, offsetof(struct ringbus_header, join));
}

bool table_is_locked(const ringbus_ring *ring) {
  return lock_is_held(ring->fd, offsetof(struct ringbus_header, join));
}

void table_unlock(int lock_fd) { unlock_byte(lock_fd, offsetof(struct ringbus_header, join)); }

/* ---------------------------------------------------------------- slots */

static void copy_name(char to[RINGBUS_NAME_BYTES], const char *name) {
  memset(to, 0, RINGBUS_NAME_BYTES);
  for (size_t i = 0; i < RINGBUS_NAME_BYTES - 1 && name[i]; i++)
    to[i] = (unsigned char)name[i] < ' ' || name[i] == 127 ? '?' : name[i];
}

/* A private copy of a slot, its name fit to be shown. */
static struct ringbus_slot slot_copy(const ringbus_ring *ring, uint32_t slot) {
  struct ringbus_slot copy, shown;
  shared_read(&copy, ring_slot(ring, slot), sizeof copy);
  shown = copy;
  copy_name(shown.name, copy.name);
  return shown;
}

static uint32_t pid_namespace(void) {
  struct stat status;
  return stat("/proc/self/ns/pid", &status) == 0 ? (uint32_t)status.st_ino : 0;
}

/* Who holds the slots, for a message; cut short. */
static void describe_holders(const ringbus_ring *ring, uint32_t first, char *text, size_t size) {
  size_t length = 0;
  text[0] = '\0';
  for (uint32_t slot = first; slot < ring->geometry.slot_count && length + 1 < size; slot++) {
    struct ringbus_slot copy = slot_copy(ring, slot);
    int more = snprintf(text + length, size - length, "%s%s %u", length ? ", " : "",
                        copy.name[0] ? copy.name : "unnamed", copy.pid);
    length += more > 0 ? (size_t)more : 0;
  }
  if (length + 1 >= size && size > 4)
    memcpy(text + size - 4, "...", 4);
}

int slot_take(struct handle *handle, uint32_t role, const char *name, const char *shared_group) {
  ringbus_ring *ring = handle->ring;
  uint32_t first = 1, last = ring->geometry.slot_count - 1;
  char holder[160];
  if (!ring_has_many_producers(ring)) {
    first = role == RINGBUS_ROLE_PRODUCER ? PRODUCER_SLOT : FIRST_CONSUMER_SLOT;
    last = role == RINGBUS_ROLE_PRODUCER ? PRODUCER_SLOT : last;
  }
  int result = locks_open(handle);
  if (result != 0)
    return result;
  /* First the slots that nobody has left a run in, then all: those runs may be gone by then. */
  for (uint32_t i = 0; i < 2 * (last - first + 1); i++) {
    uint32_t slot = first + i % (last - first + 1);
    bool left_a_run = shared_load(&ring_slot(ring, slot)->taken[0]) & RINGBUS_TAKEN_MASK;
    if (left_a_run && i <= last - first)
      continue;
    result = lock_byte(handle->lock_fd, slot_lock_offset(ring, slot));
    if (result == -EAGAIN || result == -EACCES)
      continue;
    if (result != 0)
      return fail(result, "cannot lock slot %u: does the filesystem have OFD locks?", slot);
    struct ringbus_slot *entry = ring_slot(ring, slot);
    /* Before anything is written about the new holder: what the old one, who is gone, had open. */
    claim_resolve(ring, slot);
    bool inherits = false;
    if (!share_slot_is_free(ring, slot) &&
        !(inherits = share_can_inherit(ring, slot, shared_group))) {
      unlock_byte(handle->lock_fd, slot_lock_offset(ring, slot));
      continue;
    }
    pthread_mutex_lock(&registry); /* is_own reads them */
    handle->slot = slot;
    handle->generation = (shared_load(&entry->state) >> 16) + 1;
    shared_set_bits(&ring->own_slots[slot / 64], UINT64_C(1) << slot % 64);
    pthread_mutex_unlock(&registry);
    /* With the lock held and a generation of its own, nothing can take this participant for its
     * predecessor or the reverse. */
    shared_store(&entry->state, handle->generation << 16 | RINGBUS_ROLE_NONE);
    struct ringbus_slot who = {.pid = (uint32_t)getpid(),
                               .group = UINT32_MAX,
                               .pid_namespace = pid_namespace(),
                               .attached_ns = realtime_ns()};
    if (inherits) { /* they go with the run */
      who.group = shared_load32(&entry->group);
      who.flags = shared_load32(&entry->flags);
    }
    copy_name(who.name, name ? name : program_invocation_short_name);
    shared_write(&entry->pid, &who.pid,
                 offsetof(struct ringbus_slot, claim) - offsetof(struct ringbus_slot, pid));
    shared_store(&entry->state, handle->generation << 16 | role); /* SLOT */
    return 0;
  }
  if (shared_load32(&ring->header->signals.state) & RINGBUS_STATE_RETIRED)
    return fail(-ESTALE, "the ring was retired: open its successor");
  if (role == RINGBUS_ROLE_PRODUCER && !ring_has_many_producers(ring)) {
    if (!is_own_slot(ring, PRODUCER_SLOT) &&
        !lock_is_held(ring->fd, slot_lock_offset(ring, PRODUCER_SLOT)))
      return fail(-EBUSY,
                  "there is no living producer, but somebody who may only read the ring keeps "
                  "a read lock on the producer's slot: take the read permission away");
    describe_slot(ring, PRODUCER_SLOT, holder, sizeof holder);
    return fail(-EBUSY, "the ring has a living producer: %s", holder);
  }
  describe_holders(ring, first, holder, sizeof holder);
  return fail(-ENOSPC,
              "all %u slots are in use (%s); make the ring with more participants, or, if the dead "
              "of a shared group left messages, let a member of it take them over",
              last - first + 1, holder);
}

void slot_leave(struct handle *handle) {
  ringbus_ring *ring = handle->ring;
  uint32_t slot = handle->slot;
  shared_store(&ring_slot(ring, slot)->state, handle->generation << 16 | RINGBUS_ROLE_NONE);
  pthread_mutex_lock(&registry); /* from here on this process, too, sees that it has left */
  handle->slot = 0;
  shared_clear_bits(&ring->own_slots[slot / 64], UINT64_C(1) << slot % 64);
  pthread_mutex_unlock(&registry);
  unlock_byte(handle->lock_fd, slot_lock_offset(ring, slot));
  notify_presence(ring);
}

bool participant_alive(const ringbus_ring *ring, uint64_t member) {
  uint32_t slot = (uint32_t)(member & 0xffff);
  if (slot == 0 || slot >= ring->geometry.slot_count)
    return false;
  if (shared_load(&ring_slot(ring, slot)->state) >> 16 != member >> 16)
    return false; /* the slot has had another holder since */
  return is_own(ring, member) || lock_is_held(ring->fd, slot_lock_offset(ring, slot));
}

void describe_slot(const ringbus_ring *ring, uint32_t slot, char *text, size_t size) {
  struct ringbus_slot copy = slot_copy(ring, slot);
  snprintf(text, size, "%s, pid %u%s, slot %u", copy.name[0] ? copy.name : "unnamed", copy.pid,
           copy.pid_namespace == pid_namespace() ? "" : " of another PID namespace", slot);
}

unsigned count_alive(const ringbus_ring *ring, uint32_t role) {
  unsigned alive = 0;
  for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++) {
    uint64_t state = shared_load(&ring_slot(ring, slot)->state);
    uint32_t has = (uint32_t)(state & 0xff);
    /* A consumer that attaches is none before it has its group. */
    if (role == RINGBUS_ROLE_CONSUMER && has == role &&
        shared_load32(&ring_slot(ring, slot)->group) >= ring->geometry.group_count)
      continue;
    if (has != RINGBUS_ROLE_NONE && (role == RINGBUS_ROLE_NONE || has == role) &&
        participant_alive(ring, (state >> 16) << 16 | slot))
      alive++;
  }
  return alive;
}

bool producer_has_gone(const ringbus_ring *ring) {
  if (ring_has_many_producers(ring)) {
    if (!shared_load32(&ring->header->signals.had_producer))
      return false;
    for (uint32_t slot = 1; slot < ring->geometry.slot_count; slot++) {
      uint64_t role = shared_load(&ring_slot(ring, slot)->state) & 0xff;
      /* Whoever attaches has no role yet. */
      if (role != RINGBUS_ROLE_CONSUMER && slot_is_held(ring, slot))
        return false;
    }
    return true;
  }
  uint64_t state = shared_load(&ring_slot(ring, PRODUCER_SLOT)->state);
  if (state >> 16 == 0)
    return false; /* there never was one */
  /* The lock is taken before anything is written about its holder. */
  return !slot_is_held(ring, PRODUCER_SLOT);
}

void notify_presence(ringbus_ring *ring) {
  shared_increment32(&ring->header->signals.presence);
  wake_all(&ring->header->signals.presence);
}

int ringbus_ring_participant(const ringbus_ring *ring, uint32_t slot,
                             struct ringbus_participant *participant) {
  if (!ring || !participant || slot == 0)
    return fail(-EINVAL, "slots are numbered from 1");
  if (ring->forked)
    return fail(-ECHILD, NULL);
  if (slot >= ring->geometry.slot_count)
    return fail(-EINVAL, "this ring has slots 1 to %u", ring->geometry.slot_count - 1);
  int result = check_size(ring);
  if (result != 0)
    return result;
  uint64_t state = shared_load(&ring_slot(ring, slot)->state); /* SLOT */
  uint32_t role = (uint32_t)(state & 0xff);
  if (role != RINGBUS_ROLE_PRODUCER && role != RINGBUS_ROLE_CONSUMER)
    return fail(-ENOENT, NULL);
  struct ringbus_slot copy = slot_copy(ring, slot);
  memset(participant, 0, sizeof *participant);
  participant->slot = slot;
  participant->generation = state >> 16;
  participant->role = role == RINGBUS_ROLE_PRODUCER ? RINGBUS_PRODUCER : RINGBUS_CONSUMER;
  participant->alive = participant_alive(ring, (state >> 16) << 16 | slot);
  participant->pid = copy.pid;
  participant->pid_is_local = copy.pid_namespace == pid_namespace();
  participant->attached_ns = copy.attached_ns;
  memcpy(participant->name, copy.name, sizeof copy.name);
  if (role == RINGBUS_ROLE_CONSUMER && copy.group < ring->geometry.group_count) {
    struct ringbus_group group = group_copy(ring, copy.group);
    memcpy(participant->group, group.name, sizeof group.name);
  }
  return 0;
}
