/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of the library know of each other.
 *
 *   error.c        error table and detail        map.c       the only mapping system calls
 *   check.c        is this file a sound ring     ring.c      create, open, remove, list
 *   participant.c  slots, locks, liveness, fork  group.c     groups, cursors, seeking
 *   producer.c     attach, succession, room      consumer.c  attach, slow reading
 *   many.c         several producers             share.c     shared groups
 *   room.c         gates: what must be kept      claim.c     claims of the dead, blame, eviction
 *   reader.c       readers that can be lapped    observer.c  the read-only one
 *   wait.c         spinning, sleeping, waking    poll.c      waiting for many consumers at once
 *   event.c        a descriptor for event loops  durable.c   flush, and what a reboot leaves
 *   info.c         what there is to see          hot.c       the hot path as exported symbols
 *   pace.c         who rests, and what pays
 * producer.h and consumer.h: what such a handle is, for the files that work on it.
 */
#ifndef RINGBUS_INTERNAL_H
#define RINGBUS_INTERNAL_H

#include <pthread.h>

#include <ringbus/layout.h>
#include <ringbus/ringbus.h>

#include "shared.h"

/* ---------------------------------------------------------------- error.c */

/* fail: note a sentence for ringbus_error_detail and return error. NULL: no detail. */
int fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* fail_system: the same with errno, whose meaning is added to the sentence. Returns -errno. */
int fail_system(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* above_standard: a descriptor that was just made, or -1 with errno: moved to 3 or above, for a program may
 * run with its standard ones closed, and what it prints must not go into a ring. Returns it, or -1 with
 * errno. (ring.c) */
int above_standard(int fd);

/* ---------------------------------------------------------------- the ring object */

/* A private copy of what the identity says, checked. */
struct geometry {
  uint64_t capacity;
  uint64_t data_offset;
  uint64_t words_offset; /* equal to data_offset if the words are in band */
  uint64_t words_bytes;  /* 0 if the words are in band */
  uint64_t slots_offset;
  uint64_t groups_offset;
  uint64_t file_bytes;
  uint32_t slot_count;
  uint32_t group_count;
  uint32_t granule_shift;
  uint32_t word_shift;
  uint32_t no_group;
  uint32_t wake;
  uint32_t producers;
  uint32_t policy;
};

struct ringbus_ring {
  struct geometry geometry;
  struct ringbus_view view;
  struct ringbus_header *header; /* the mapping */
  size_t mapped_bytes;
  int fd;              /* mapped from, and reopened for locks; never locked itself */
  int fresh_fd;        /* a description the caller promised to be unshared, or -1 */
  unsigned references; /* the caller's and one per handle; under the registry's lock */
  uint64_t own_slots[RINGBUS_MAX_SLOTS / 64]; /* one bit each: held by a handle of this object */
  bool keeps_fresh_fd;
  bool read_only;
  bool forked; /* this is a forked child's copy: the mapping is not there */
  struct ringbus_ring *next;
};

static inline struct ringbus_slot *ring_slot(const ringbus_ring *ring, uint32_t slot) {
  char *base = (char *)ring->header + ring->geometry.slots_offset;
  return (struct ringbus_slot *)(void *)(base + (size_t)slot * sizeof(struct ringbus_slot));
}

static inline struct ringbus_group *ring_group(const ringbus_ring *ring, uint32_t group) {
  char *base = (char *)ring->header + ring->geometry.groups_offset;
  return (struct ringbus_group *)(void *)(base + (size_t)group * sizeof(struct ringbus_group));
}

static inline bool ring_has_many_producers(const ringbus_ring *ring) {
  return ring->geometry.producers == RINGBUS_PRODUCERS_MANY;
}

static inline bool ring_overwrites(const ringbus_ring *ring) {
  return ring->geometry.policy == RINGBUS_POLICY_OVERWRITE;
}

/* aligned_alloc wants whole lines. */
static inline size_t sizeof_aligned(size_t size) {
  return (size + RINGBUS_LINE - 1) & ~(size_t)(RINGBUS_LINE - 1);
}

/* ---------------------------------------------------------------- map.c */

int map_ring(ringbus_ring *ring, const struct ringbus_open_options *options);
void unmap_ring(ringbus_ring *ring);
/* write_start: the first count bytes of a file whose space is reserved; mapped_bytes: at least so
 * many, a multiple of its page size. */
int write_start(int fd, const void *bytes, size_t count, size_t mapped_bytes);

/* ---------------------------------------------------------------- check.c */

uint64_t hash_bytes(const void *bytes, size_t count);
void layout_plan(struct geometry *geometry, uint64_t data_alignment);
/* check_file: the identity of an open file, from the file to private memory, and its soundness. */
int check_file(int fd, bool read_only, struct geometry *geometry);
/* check_size: the file still has its size: -EBADMSG instead of a SIGBUS where there is time to look. */
int check_size(const ringbus_ring *ring);
/* check_may_change: what every call that changes a ring without being attached begins with: -ECHILD,
 * -EPERM, -EBADMSG, -ESTALE. */
int check_may_change(const ringbus_ring *ring);

/* ---------------------------------------------------------------- participant.c */

/* What every attached handle has, for locks and for fork. */
struct handle {
  ringbus_ring *ring;
  volatile unsigned **state; /* -> view.state of the handle */
  int lock_fd;               /* own open file description; -1: observers, and after fork */
  int event_fd;              /* of a consumer that was asked for one; else, and after fork: -1 */
  uint32_t slot;             /* 0: none */
  uint64_t generation;
  bool is_visitor; /* it is on the stack of a thread, which a forked child does not have */
  struct handle *next;
};

void registry_add_ring(ringbus_ring *ring);
void registry_drop_ring(ringbus_ring *ring);
void handle_register(struct handle *handle, ringbus_ring *ring, volatile unsigned **state);
void handle_unregister(struct handle *handle);
bool handle_is_forked(const struct handle *handle);
bool state_is_forked(const volatile unsigned *state);

/* locks_open: the handle's own description for locks. The handle is registered: a fork at any moment
 * finds it. */
int locks_open(struct handle *handle);
/* event_fd_open: the same for the eventfd. Both are closed when the handle is unregistered. */
int event_fd_open(struct handle *handle);
int lock_byte(int lock_fd, uint64_t offset);
void unlock_byte(int lock_fd, uint64_t offset);
/* lock_is_held: somebody else holds a write lock on this byte. */
bool lock_is_held(int lock_fd, uint64_t offset);
/* slots_lock: all slots at once: nobody is attached and nobody can attach. -EAGAIN if somebody is. */
int slots_lock(const ringbus_ring *ring, int lock_fd);
uint64_t slot_lock_offset(const ringbus_ring *ring, uint32_t slot);

/* lock_patiently: -EBUSY if somebody else holds the byte for so many seconds. */
int lock_patiently(int lock_fd, uint64_t offset, int seconds, const char *what);
/* Only while groups change. */
int table_lock(int lock_fd);
int table_try_lock(int lock_fd);
bool table_is_locked(const ringbus_ring *ring);
void table_unlock(int lock_fd);

/* slot_take: a slot whose last holder's claim has been given up, and whose run, if there is one, belongs
 * to this shared group (NULL: none). */
int slot_take(struct handle *handle, uint32_t role, const char *name, const char *shared_group);
void slot_leave(struct handle *handle);
/* slot_is_held: somebody lives who holds this slot. */
bool slot_is_held(const ringbus_ring *ring, uint32_t slot);
/* participant_alive: does the holder of this slot in this generation live? member as in
 * ringbus_group.member. */
bool participant_alive(const ringbus_ring *ring, uint64_t member);
void describe_slot(const ringbus_ring *ring, uint32_t slot, char *text, size_t size);
unsigned count_alive(const ringbus_ring *ring, uint32_t role);
void notify_presence(ringbus_ring *ring);
/* producer_has_gone: there was a producer, and none is alive. */
bool producer_has_gone(const ringbus_ring *ring);

/* Somebody who is not attached and needs a lock for a moment. */
struct visitor {
  struct handle handle;
  volatile unsigned *state;
};
int visitor_enter(struct visitor *visitor, ringbus_ring *ring);
void visitor_leave(struct visitor *visitor);

static inline uint64_t handle_member(const struct handle *handle) {
  return handle->generation << 16 | handle->slot;
}

/* ---------------------------------------------------------------- group.c */

int group_join(struct handle *handle, const struct ringbus_consumer_options *options,
               uint32_t *index, bool *created, struct counted *start, struct counted *lost);
/* group_leave: forget: the group ends even if it is durable. */
void group_leave(struct handle *handle, uint32_t index, bool forget);
/* A private copy of a group's description, its name fit to be shown. */
struct ringbus_group group_copy(const ringbus_ring *ring, uint32_t index);
/* group_is_shared: as its flags say. A member of it: any slot whose group it is. */
bool group_is_shared(const ringbus_ring *ring, uint32_t index);
bool group_exists(const ringbus_ring *ring, uint32_t index);
/* group_gate: JOIN. Make cursor visible as gating; on return it is where nothing will be
 * overwritten, at or after where it was asked for. held: where the cursor stands now, if that is ahead
 * and gates; it ends up no further. NULL: it does not gate yet. */
void group_gate(ringbus_ring *ring, uint32_t index, struct counted *cursor,
                const struct counted *held);
/* wake_producers: there may be room now. */
void wake_producers(ringbus_ring *ring);
/* groups_reap: forget the dead members of groups that do not outlive them. */
void groups_reap(ringbus_ring *ring, int lock_fd);
void groups_reap_locked(ringbus_ring *ring); /* the caller holds the table lock */

/* ---------------------------------------------------------------- room.c */

/* The slowest gating cursor. */
struct slowest {
  struct counted at;
  bool gated;  /* some cursor gates; otherwise at is the tail */
  bool exact;  /* at.count belongs to at.position */
  bool groups; /* the ring has groups, gating or not */
  uint32_t group;
};
/* find_slowest: the slowest of the cursors that gate a claim of so many bytes at tail (JOIN, RELEASE).
 * told: that tail may be behind the true one, and so behind a cursor, which is no lag then. */
struct slowest find_slowest(ringbus_ring *ring, struct counted tail, bool told, uint64_t bytes);

/* tail_told: a boundary at or before the true tail. */
static inline uint64_t tail_told(const ringbus_ring *ring) {
  return position_of(shared_load(&ring->header->tail.position));
}

/* ring_holds: nobody gates, and yet nothing is given up: the first group is waited for. */
static inline bool ring_holds(const ringbus_ring *ring, bool groups) {
  return !groups && !ring_overwrites(ring) && ring->geometry.no_group == RINGBUS_NO_GROUP_HOLD;
}

/* ---------------------------------------------------------------- claim.c */

/* claim_of_the_dead: the word of the record at this position if it is claimed by a participant that is
 * dead, else 0. *owner: the claim's, if there is a claim. */
uint64_t claim_of_the_dead(const ringbus_ring *ring, uint64_t position, uint32_t *owner);
/* claim_recover: the record at this position is claimed by a participant that is dead: give it up
 * (PAD). True if there is no such claim any more. */
bool claim_recover(ringbus_ring *ring, uint64_t position);
/* claims_recover: all that the dead have open. */
void claims_recover(ringbus_ring *ring);
/* ask_whether_dead: hot calls make no system call, but whoever only polls and is blocked by a dead
 * participant's claim or note must not poll for ever: after every 1024 polls in a row that have not got
 * past the same position they ask. */
struct blocked {
  uint64_t position;
  unsigned polls;
};
static inline bool ask_whether_dead(struct blocked *blocked, uint64_t position, bool thorough) {
  if (blocked->position != position)
    *blocked = (struct blocked){position, 0};
  return thorough || ++blocked->polls % 1024 == 0;
}
/* claim_resolve: the holder of the slot's lock gives up what its predecessor had claimed (DEATH). */
void claim_resolve(ringbus_ring *ring, uint32_t slot);
/* claim_note_blocked: somebody waits for the claim at this position. */
void claim_note_blocked(ringbus_ring *ring, uint64_t position);

/* ---------------------------------------------------------------- share.c */

/* share_gate: the least position that a member of a settled shared group still needs. tail: at or before
 * the true one, as late as the caller knows. False if it could not be had whole. */
bool share_gate(const ringbus_ring *ring, uint32_t index, uint64_t tail, struct counted *gate);
/* share_begin: everything from here on is to be taken. Before the group is settled; or while it has no
 * member, holding the table lock. */
void share_begin(ringbus_ring *ring, uint32_t index, struct counted start);
/* share_settle: the join of a group has come to this position: nothing before it is to be taken. */
void share_settle(ringbus_ring *ring, uint32_t index, struct counted start);
/* share_forget_runs: of a group that ends or begins and has no member; the caller holds the table lock. */
void share_forget_runs(ringbus_ring *ring, uint32_t index);
/* share_slot_is_free: whether its holder's run, if any, is gone. The caller holds the slot's lock. */
bool share_slot_is_free(ringbus_ring *ring, uint32_t slot);
/* share_can_inherit: a new member of that group may have the slot, and the run with it. */
bool share_can_inherit(const ringbus_ring *ring, uint32_t slot, const char *group);
/* share_judge: the notes of the dead, as far as they are not runs to be delivered again; the caller holds
 * the table lock. share_has_unjudged: whether there are any. */
bool share_has_unjudged(const ringbus_ring *ring, uint32_t index);
void share_judge(ringbus_ring *ring, uint32_t index);
unsigned share_living_members(const ringbus_ring *ring, uint32_t index);

/* ---------------------------------------------------------------- consumer.c */

/* consumer_look: what ringbus_consumer_wait would answer to a consumer of this group that stands at a
 * position, or -EAGAIN; 0 also if there is nothing to read but a record that was given up. thorough: the
 * kernel is asked for the dead. Changes nothing of the consumer, and reads only what stays as it is while
 * it is attached, so any thread may ask. */
int consumer_look(const ringbus_consumer *consumer, uint64_t position, bool thorough);
/* consumer_look_here: the same where it stands, by its own thread: it moves over records that were given
 * up, and takes over what a dead member of its group had taken. */
int consumer_look_here(ringbus_consumer *consumer, bool thorough);

/* ---------------------------------------------------------------- poll.c */

/* poller_forget: a consumer that leaves. */
void poller_forget(ringbus_consumer *consumer);

/* ---------------------------------------------------------------- event.c */

/* event_end: a consumer that leaves; its helper thread has ended on return. */
void event_end(ringbus_consumer *consumer);

/* ---------------------------------------------------------------- reader.c */

/* What a reader needs to notice that it was lapped. */
struct lapped_reader {
  const struct ringbus_view *view;
  uint64_t *floor;
  struct counted *at; /* the next message to read */
  struct counted *lost;
};

/* racy_word: a word that may have become somebody's payload, with what load_acquire would order. */
uint64_t racy_word(const struct ringbus_view *view, uint64_t position);
/* racy_data: 8 bytes of the data that somebody may be writing. */
uint64_t racy_data(const struct ringbus_view *view, uint64_t position);
/* lapped_next, lapped_recv: -EOVERFLOW says that the reader was lapped; then catch up. */
int lapped_next(const struct lapped_reader *reader, struct ringbus_message *message,
                uint64_t *bytes);
int lapped_recv(const struct lapped_reader *reader, void *buffer, size_t size,
                struct ringbus_message *message);
/* lapped_catch_up: to the oldest message, counting what was lost. Returns -EOVERFLOW, or -EAGAIN if
 * the floor could not be had. */
int lapped_catch_up(const struct lapped_reader *reader);
/* walk_records: from a record boundary over published and given-up records up to limit or to the first
 * position without one, at most a lap. */
void walk_records(const struct ringbus_view *view, struct counted *at, uint64_t limit);
/* claim_is_open: the record at this position is claimed and not committed. */
bool claim_is_open(const struct ringbus_view *view, uint64_t position);
/* find_tail: the end of what has been published without a gap but for claims of the dead, which nobody
 * will ever commit. Asks the kernel about those. False if it could not be had. */
bool find_tail(const ringbus_ring *ring, struct counted *tail);
/* find_gap: the same, but claims of the dead are gaps, too: what readers cannot get past as it is. */
bool find_gap(const ringbus_ring *ring, struct counted *gap);
/* find_start: the position and count that a start option means, read without gating. */
int find_start(const ringbus_ring *ring, enum ringbus_start start, uint64_t position,
               struct counted *found);

/* ---------------------------------------------------------------- pace.c */

/* A choice, made by trying, whether to do something: not, unless whoever does it gets on enough faster. */
struct trial_terms {
  unsigned tried;        /* a try is so many steps (2 at least: the first begins it), */
  unsigned settling;     /* behind so many that do not count, */
  unsigned learning;     /* and, if it is a try of doing it, so many more */
  double enough;         /* so many times the speed without it makes it worth it */
  bool costs_latency;    /* so it does if it is wrong: it is tried less often, and left sooner */
  unsigned kept_longest; /* windows between two series of tries */
};
extern const struct trial_terms trial_of_resting, trial_of_handing_back, trial_of_giving_way;

struct trial {
  const struct trial_terms *terms;
  bool chosen;
  bool trying;    /* what is not chosen */
  unsigned won;   /* in this series of tries, so much more often than not */
  unsigned tries; /* of it, so far */
  unsigned all_tries;
  unsigned windows, kept;  /* since the choice; to come between choices */
  unsigned unlike;         /* so many in a row of another speed */
  unsigned left, measured; /* steps of this window; in the last so many the speed is measured */
  uint64_t since, from;    /* time and position at which measuring began */
  double speed;            /* of what is chosen, when it was or in front of the last series */
  double beside;           /* and beside the try */
  double last;             /* and in the window before this one; 0: there was none */
  double chosen_at; /* in front of the series that led to the choice; 0: it has been proven since */
  unsigned kept_before; /* it: windows between choices */
};

void trial_begin(struct trial *trial, const struct trial_terms *terms, bool chosen);
/* trial_step: one step, at this position; whether to do it until the next. */
bool trial_step(struct trial *trial, uint64_t position);

/* pace_full: a producer has no room for so many bytes behind tail, as far as it knows (told: as find_slowest);
 * look again afterwards. full_at: its own, kept between calls. */
void pace_full(ringbus_ring *ring, struct counted tail, bool told, uint64_t bytes,
               uint64_t *full_at);

/* ---------------------------------------------------------------- wait.c */

struct waiting {
  enum ringbus_wait policy;
  int64_t look_ns;
  uint32_t *waiters;                         /* futex word that others clear; NULL: poll only */
  int (*look)(void *context, bool thorough); /* 0: done; -EAGAIN: not yet; else the answer */
  void *context;
  bool moved; /* a look says that the place's waiters are to be others */
};

int wait_until(const ringbus_ring *ring, struct waiting *waiting, int64_t timeout_ns);

/* Where one of several things is waited for. */
struct place {
  const ringbus_ring *ring;
  uint32_t *waiters; /* as above */
};
#define MOST_PLACES 128u /* FUTEX_WAITV_MAX */
/* wait_at: 1 to MOST_PLACES places at once, whatever their rings' wake modes; waiting->waiters is not
 * used. deadline: CLOCK_MONOTONIC; INT64_MAX none. */
int wait_at(const struct place *places, unsigned count, struct waiting *waiting, int64_t deadline);
int64_t deadline_after(int64_t timeout_ns);
/* publisher_needs_fence: register this process for membarrier if the ring wants it. */
bool publisher_needs_fence(const ringbus_ring *ring);
/* sleepers_poll: nobody can be woken here. */
bool sleepers_poll(const ringbus_ring *ring);
void wake_all(uint32_t *word);
int wait_options(enum ringbus_wait wait, int64_t look_ns, struct waiting *waiting);
int64_t monotonic_ns(void);
uint64_t realtime_ns(void);

/* ---------------------------------------------------------------- durable.c */

/* recover_after_reboot: if the file has not been used since the machine started and nobody is
 * attached, keep what was flushed and is intact, discard the rest. */
int recover_after_reboot(ringbus_ring *ring);
/* read_boot_id: false, and all zero, where /proc does not tell. */
bool read_boot_id(uint8_t boot_id[16]);

#endif
