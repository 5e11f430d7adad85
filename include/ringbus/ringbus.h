/* SPDX-License-Identifier: MIT */
/* ringbus.h - a lock-free message bus in one memory-mapped file: the whole API.
 *
 *    producer ──send──▶ ┌──────────── ring (one mapped file) ────────────┐ ──recv──▶ consumer, group "a"
 *                       │ header │ participants │ groups │ ... messages  │ ──recv──▶ consumer, group "b"
 *                       └────────────────────────────────────────────────┘ ──recv──▶ observer (read-only)
 *
 * A ring is a file of fixed size. Processes open it by path, by name in the bus directory, or by
 * descriptor, and attach to it as
 *   producer  publishes messages (one per ring, or many, as chosen when the ring is made);
 *   consumer  belongs to a group; a group has one cursor, every group sees every message, and a
 *             gating group is waited for: nothing it has not released is overwritten. A group has one
 *             consumer, or is shared by several, each message going to one of them;
 *   observer  maps the ring read-only, takes no slot, holds nobody back and may be lapped.
 *
 * Conventions
 *   Every function that can fail returns 0 or a negative errno; errno itself is not touched by the
 *   calls marked "hot". Data only comes through out-parameters, which are written on success alone
 *   unless said otherwise. Slow calls leave a sentence about the last failure of this thread in
 *   ringbus_error_detail(). Hot calls make no system call unless somebody sleeps who must be woken; but
 *   one that is kept back for the 1024th time in a row by what may be a dead participant's (a claim not
 *   committed, messages taken and not released) asks the kernel once.
 *   Times are in nanoseconds; a timeout is relative, 0 means "look once", RINGBUS_FOREVER and any other
 *   negative value no limit.
 *   Option structures: NULL or all zero means the defaults written beside each field.
 *
 * Errors, the same everywhere (ringbus_strerror has the sentences)
 *   -EAGAIN           nothing to read now / no room now
 *   -EMSGSIZE         the message cannot fit: this ring (claim, send), this buffer (recv)
 *   -EPIPE            end of stream: closed and drained; or, if so chosen, no producer is left. To those
 *                     who publish: closed, nothing can be published any more
 *   -ESTALE           the ring was retired (removed): open the new one
 *   -EOVERFLOW        this reader was lapped: messages are lost, counted exactly, reading goes on
 *   -EBADMSG          the file contradicts itself: damaged, truncated, or written by a hostile peer. Any
 *                     call that looks at the file may say so
 *   -EPROTONOSUPPORT  a format, feature or byte order that this library does not know
 *   -ECHILD           the handle was inherited through fork: open and attach again in the child
 *   -EBUSY            somebody else has that role, group or ring; the detail says who
 *   -ETIMEDOUT, -EINTR, -EINVAL, and what the system answers (-ENOENT, -EEXIST, -ENOSPC, -EACCES ...)
 *
 * Threads: a handle belongs to one thread at a time; a process may hold many handles. A ring may be
 * shared: attach from any thread. Hot calls are async-signal-safe on a handle of their own.
 *
 * Death: a producer that is killed loses at most the message it has not committed; the next producer
 * continues behind the last committed one, and others go on. A consumer that is killed gets at most the
 * batch that it had not released once more; in a shared group another member gets it. Nobody is ever
 * declared dead by a timeout.
 *
 * Read on: layout.h (the file), inline.h (the hot path inlined, and the ordering argument).
 */
#ifndef RINGBUS_RINGBUS_H
#define RINGBUS_RINGBUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define RINGBUS_VERSION_MAJOR 0
#define RINGBUS_VERSION_MINOR 1
#define RINGBUS_VERSION_PATCH 0

#if defined(__GNUC__)
#define RINGBUS_API __attribute__((visibility("default")))
#else
#define RINGBUS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ringbus_ring ringbus_ring;
typedef struct ringbus_producer ringbus_producer;
typedef struct ringbus_consumer ringbus_consumer;
typedef struct ringbus_observer ringbus_observer;
typedef struct ringbus_poller ringbus_poller;

#define RINGBUS_FOREVER INT64_C(-1)

/* ringbus_version: "major.minor.patch" of the library that is linked. */
RINGBUS_API const char *ringbus_version(void);

/* ringbus_strerror: one sentence for a return value of this library (0 or negative). Never NULL. */
RINGBUS_API const char *ringbus_strerror(int error);

/* ringbus_error_detail: what exactly went wrong in this thread's last failed slow call and what to do
 * about it, in one line; "" if nothing. After a successful ringbus_ring_open it may say what a reboot
 * has cost. Set by calls that create, open, remove, list, attach or describe; valid until the next. */
RINGBUS_API const char *ringbus_error_detail(void);

/* ------------------------------------------------------------------ rings: create, open, remove */

/* Where a ring lives: a string with a '/' is a path. Any other string is a name in the bus directory,
 * which is $RINGBUS_DIR (must exist) or a private one of this user under /dev/shm (made when first
 * needed). Names: 1 to 200 bytes, no '/', not beginning with '.'. */

/* what a ring does with messages while it has no group */
enum ringbus_no_group {
  RINGBUS_HOLD = 0, /* keep them: it fills up, then -EAGAIN; the first group begins at the oldest */
  RINGBUS_DROP = 1  /* give up the oldest for new ones */
};

enum ringbus_wake {
  RINGBUS_WAKE_BY_MEMBARRIER = 0, /* publishing costs no fence; whoever goes to sleep pays */
  RINGBUS_WAKE_BY_FENCE = 1,      /* both sides fence */
  RINGBUS_WAKE_NEVER = 2          /* nobody is ever woken: waiting is polling */
};

struct ringbus_create_options {
  uint64_t capacity; /* bytes of data: a power of two, 4 KiB (one page) to 1 TiB; 0: 1 MiB */
  /* attached at the same time: 2 to 1023; 0: 63. With one producer one of the places is kept for it */
  uint32_t max_participants;
  uint32_t max_groups; /* 1 to 64; 0: 16 */
  enum ringbus_no_group no_group;
  enum ringbus_wake wake;
  /* several producers at once, in one order that all readers see. Records take multiples of 64 bytes,
   * and publishing costs a locked instruction for each message or batch */
  bool many_producers;
  /* nobody is waited for: the oldest messages make way for new ones (flight recorder); every group can
   * be lapped, whatever its policy */
  bool overwrite;
  /* permissions of the file (0777 at most), whatever the umask; 0: 0600. Who may read it can see all,
   * and can keep others from attaching by read locks; who may write it can stop it and forge messages */
  mode_t mode;
  bool set_group; /* give the file to this group (with a mode that lets it in) */
  gid_t group;
  bool open_existing; /* a ring that is already there is opened instead of -EEXIST */
};

struct ringbus_open_options {
  bool read_only;   /* for observers and tools: nothing in the file can be changed */
  bool lock_memory; /* mlock(2) the mapping */
  bool prefault;    /* touch every page now, not during the first lap */
  bool huge_pages;  /* advise transparent huge pages for the data */
  bool allow_owner; /* besides this user and root, accept this owner of the file */
  uid_t owner;
  /* open_fd: nobody else has or will have this open file description (close the descriptor at once),
   * so it may be used for locks where reopening is impossible; one attached handle at a time */
  bool fresh_description;
};

/* ringbus_ring_create: make a new ring and open it. The file gets its name only when it is whole, and
 * its space is reserved: a full disk is -ENOSPC here, never a signal later. Creators may race: one
 * wins, the others get -EEXIST (or the winner's ring with open_existing, whatever its options).
 * Returns 0, -EINVAL, -EEXIST, -ENOSPC, -EOPNOTSUPP (a filesystem without coherent shared mappings,
 * locks, or nameless files), -EACCES and others from the system; with open_existing also what
 * ringbus_ring_open returns. */
RINGBUS_API int ringbus_ring_create(const char *name, const struct ringbus_create_options *options,
                                    ringbus_ring **ring);

/* ringbus_ring_create_anonymous: a ring without a name (memfd, sealed against resizing), to be passed
 * on as a descriptor: ringbus_ring_fd, SCM_RIGHTS or inheritance, then ringbus_ring_open_fd. */
RINGBUS_API int ringbus_ring_create_anonymous(const struct ringbus_create_options *options,
                                              ringbus_ring **ring);

/* ringbus_ring_open: open an existing ring. The file must be regular, have one link, be owned by this
 * user, root or options->owner, and be whole and consistent: every byte of its identity is checked.
 * Returns 0, -ENOENT, -EACCES, -EPERM (owner, kind or links), -ELOOP (a symbolic link), -EBADMSG (not
 * a ring, or damaged), -EPROTONOSUPPORT, -ESTALE (retired), -EOPNOTSUPP, ... */
RINGBUS_API int ringbus_ring_open(const char *name, const struct ringbus_open_options *options,
                                  ringbus_ring **ring);

/* ringbus_ring_open_fd: open a ring from a descriptor, which stays the caller's and may be closed
 * afterwards. A file without a name must be a memfd sealed against shrinking and growing (-EPERM). Returns as
 * above. */
RINGBUS_API int ringbus_ring_open_fd(int fd, const struct ringbus_open_options *options,
                                     ringbus_ring **ring);

/* ringbus_ring_fd: the ring's own descriptor, to pass on or to fstat; do not close it. Returns 0,
 * -ECHILD (in a forked child), -EPERM (opened with fresh_description: it must not be shared). */
RINGBUS_API int ringbus_ring_fd(const ringbus_ring *ring, int *fd);

/* ringbus_ring_close: drop this reference. The mapping goes when the last attached handle has gone.
 * Returns 0, -ECHILD. NULL is allowed. */
RINGBUS_API int ringbus_ring_close(ringbus_ring *ring);

/* ringbus_ring_remove: retire a ring (every call that publishes, reads, waits or attaches answers -ESTALE,
 * sleepers wake) and unlink its name. Refuses with -EBUSY while anybody is attached, unless forced; and before
 * anything is changed where the directory does not let this user take the name away (-EACCES, -EPERM, -EROFS).
 * Never removes a file that is not a ring (-EBADMSG, -EPROTONOSUPPORT), even if forced.
 * Returns 0, -EBUSY, -ENOENT (also if somebody else has removed it meanwhile), -EPERM, -EACCES, and what else
 * ringbus_ring_open returns. */
RINGBUS_API int ringbus_ring_remove(const char *name, bool force);

/* ringbus_ring_flush: for rings on a disk: make what is published so far survive a reboot. After a
 * reboot the content that was flushed is offered again if it is intact; all else is discarded.
 * Returns 0, -EAGAIN (the producer overwrote it meanwhile: call again), -EBUSY (another flush has gone on for
 * 60 s), -EPERM (read-only), -ESTALE, -EBADMSG, -ECHILD, -EINVAL, -EIO ... */
RINGBUS_API int ringbus_ring_flush(ringbus_ring *ring);

/* ringbus_bus_directory: the directory in which names are looked up; made if it is the default one.
 * Returns 0, -ENAMETOOLONG (size too small), -EPERM (somebody else's), ... */
RINGBUS_API int ringbus_bus_directory(char *path, size_t size);

/* ringbus_bus_list: call visit for each ring in a directory (NULL: the bus directory), in no order;
 * a non-zero answer ends the walk and is returned. Files that are not rings are passed over. */
RINGBUS_API int ringbus_bus_list(const char *directory,
                                 int (*visit)(const char *name, void *context), void *context);

/* ------------------------------------------------------------------ what there is to see */

struct ringbus_ring_info {
  uint64_t capacity;
  uint64_t max_message; /* bytes: the longest message without a tag */
  uint64_t file_bytes;
  uint64_t oldest, tail;             /* positions: everything in between is still in the ring */
  uint64_t oldest_count, tail_count; /* messages ever published before them */
  uint64_t epoch;
  uint64_t created_ns;
  uint64_t full_events, max_lag, broken_cursors, dropped; /* counters for people, see layout.h */
  uint64_t recovered;                                     /* claims of the dead given up */
  uint32_t layout_version;
  uint32_t max_participants, max_groups;
  uint32_t participants; /* alive now */
  uint32_t groups;       /* existing now */
  enum ringbus_no_group no_group;
  enum ringbus_wake wake;
  bool many_producers, overwrite;
  bool closed, retired, read_only;
  /* nobody can be woken (wake never, or no membarrier for this process): waiting in this process is
   * polling, every millisecond */
  bool sleepers_poll;
  uint8_t ring_id[16];
  char library_version[32]; /* of the creator */
};

enum ringbus_role { RINGBUS_PRODUCER = 1, RINGBUS_CONSUMER = 2 };

struct ringbus_participant {
  uint32_t slot;
  uint64_t generation; /* which of the slot's holders, one after the other */
  enum ringbus_role role;
  bool alive;           /* the kernel's answer, not a guess */
  uint32_t pid;         /* in its own PID namespace; for people only */
  bool pid_is_local;    /* that namespace is the caller's */
  uint64_t attached_ns; /* CLOCK_REALTIME */
  char name[64];
  char group[64]; /* consumer: its group's name */
};

enum ringbus_policy {
  RINGBUS_GATE = 0, /* always waited for, even while nobody is attached */
  /* waited for while its consumer lives; else lapped, losses counted */
  RINGBUS_GATE_WHILE_ATTACHED = 1,
  RINGBUS_LAPPED = 2 /* never waited for */
};

struct ringbus_group_info {
  char name[64];
  enum ringbus_policy policy;
  bool durable;
  bool gating; /* it holds the producer back now */
  bool shared;
  bool attached;    /* its consumer, or any member, is alive */
  uint32_t members; /* alive */
  uint32_t slot;    /* of its consumer; 0 none, or shared */
  uint64_t max_lag;
  uint64_t cursor, cursor_count;
  uint64_t lag_bytes, lag_messages; /* behind the tail */
  uint64_t lost_messages, lost_bytes;
  uint64_t redelivered; /* times that a member took over what another had taken */
};

/* who keeps others waiting */
struct ringbus_blame {
  uint32_t slot; /* 0: nobody who is attached, but a group whose consumer is not there */
  struct ringbus_participant participant; /* if slot */
  char group[64];                         /* the group that is waited for; "" a claim */
  uint64_t position;                      /* of the claim, or the cursor */
  uint64_t bytes;                         /* of the claim; behind the tail */
  uint64_t since_ns; /* CLOCK_REALTIME; when a waiting reader first saw it; 0 nobody has */
};

/* ringbus_ring_info: a snapshot. The fields are each right at some instant of the call. Works on
 * retired rings and on rings whose processes are dead. Returns 0, -ECHILD, -EINVAL, -EBADMSG (truncated). */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* the structure has the same name */
#endif
RINGBUS_API int ringbus_ring_info(const ringbus_ring *ring, struct ringbus_ring_info *info);
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* ringbus_ring_participant: slot 1 .. max_participants. Returns 0, -ENOENT (never used or orderly
 * left), -EINVAL (no such slot), -ECHILD, -EBADMSG. */
RINGBUS_API int ringbus_ring_participant(const ringbus_ring *ring, uint32_t slot,
                                         struct ringbus_participant *participant);

/* ringbus_ring_group: index 0 .. max_groups - 1. Returns 0, -ENOENT, -EINVAL, -ECHILD, -EBADMSG. */
RINGBUS_API int ringbus_ring_group(const ringbus_ring *ring, uint32_t index,
                                   struct ringbus_group_info *group);

/* ringbus_ring_blame: whom readers (RINGBUS_CONSUMER) wait for: the producer of the first claim that is
 * not committed, behind which nothing can be read. Or whom producers (RINGBUS_PRODUCER) wait for, or
 * will: the slowest group that is waited for, if it has not read everything.
 * Returns 0, -ENOENT (nobody), -EINVAL, -ECHILD, -EBADMSG. */
RINGBUS_API int ringbus_ring_blame(const ringbus_ring *ring, enum ringbus_role waiting,
                                   struct ringbus_blame *blame);

/* ringbus_ring_evict: end the process of a participant, as ringbus_ring_participant or ringbus_ring_blame
 * told of it (SIGKILL through a pidfd, after making sure that it has this ring open), and wait until the
 * kernel has dropped its lock. Who holds the slot by now is left alone. A process that cannot be ended
 * keeps its place: then nothing helps but ringbus_ring_remove by force, which retires the ring.
 * Returns 0 (also if it was dead already, or has left), -ETIMEDOUT, -ESRCH (it is in another PID
 * namespace, or the file does not tell the truth), -EPERM, -EINVAL (oneself, no such slot), -ECHILD, -EBADMSG. */
RINGBUS_API int ringbus_ring_evict(ringbus_ring *ring, const struct ringbus_participant *whom,
                                   int64_t timeout_ns);

/* ringbus_ring_repair: do now what waiting participants do by and by: give up the claims of dead
 * producers, forget dead consumers of groups that do not outlive them, wake who sleeps for room.
 * *recovered (may be NULL): claims given up. Safe at any time. Returns 0, -ESTALE, -EPERM, -ECHILD,
 * -EBADMSG, -EINVAL ... */
RINGBUS_API int ringbus_ring_repair(ringbus_ring *ring, uint64_t *recovered);

/* ringbus_ring_remove_group: forget a group, so that an owner who is gone for good does not stop the
 * ring for good. Returns 0, -ENOENT, -EBUSY (its consumer is alive; or somebody has been changing groups for
 * 5 s), -EPERM (read-only), -ESTALE, -EBADMSG, -ECHILD, -EINVAL. */
RINGBUS_API int ringbus_ring_remove_group(ringbus_ring *ring, const char *group);

/* ringbus_ring_wait_for: wait until at least one producer or consumer is attached and alive.
 * Returns 0, -ETIMEDOUT, -EINTR, -ESTALE, -EBADMSG, -ECHILD, -EINVAL (no such role). */
RINGBUS_API int ringbus_ring_wait_for(ringbus_ring *ring, enum ringbus_role role,
                                      int64_t timeout_ns);

/* ------------------------------------------------------------------ messages */

struct ringbus_message {
  const void *data; /* in the ring (borrow) or the caller's buffer (recv) */
  uint32_t length;
  uint32_t tag; /* the user's; 0 if none was given */
  /* shared group: another member has had this message, and died or left before it released it */
  bool redelivered;
  /* unique as long as the ring lives; on a disk, with ring_info.epoch, which a reboot raises: what was
   * published after the last flush is forgotten then, and its positions may be used again */
  uint64_t position;
};

/* how a wait call waits */
enum ringbus_wait {
  RINGBUS_WAIT_ADAPTIVE = 0, /* spin some microseconds, then sleep */
  RINGBUS_WAIT_SPIN = 1,     /* never sleep: lowest latency, takes a core, heeds no signal */
  RINGBUS_WAIT_BLOCK = 2     /* sleep at once */
};

/* ------------------------------------------------------------------ producer */

struct ringbus_producer_options {
  const char *name; /* shown to people; NULL: the program's name */
  enum ringbus_wait wait;
  int64_t look_ns; /* a sleep is cut into looks of at most this; 0: 50 ms */
};

/* ringbus_producer_attach: become the producer of this ring, or one of its many. The claim of a dead
 * predecessor is given up and publishing goes on behind its last committed message.
 * Returns 0, -EBUSY (one producer: there is a living one; the detail names it), -ENOSPC (many: all slots
 * are in use; the detail names their holders), -EPIPE (closed), -ESTALE, -EPERM (read-only), -EBADMSG
 * (damaged), -ECHILD, -EINVAL (bad option), -ENOMEM, -EMFILE, ... */
RINGBUS_API int ringbus_producer_attach(ringbus_ring *ring,
                                        const struct ringbus_producer_options *options,
                                        ringbus_producer **producer);

/* ringbus_producer_claim: hot. Reserve room for a message of up to length bytes and get a pointer into
 * the ring (8-byte aligned). One claim at a time: a second one replaces the first. Nobody sees
 * anything before commit. tag: 0 costs no room, any other value may cost up to 8 bytes.
 * Many producers: claims are in one order, which is that of the messages, and readers wait at the first
 * that is not committed: commit soon, and do not sleep in between. Nobody's claim waits for another's.
 * Whenever a call finds the ring full it may look on for some 16 us, 32 at most, as long as the slowest consumer
 * gets ahead: room in one piece is worth more than for one message.
 * Many producers: a call that came too late for its claim, because another was faster, may leave it to the others
 * for about 2 us, if this producer has made eight since it lost one last, and as long as trying has shown that all
 * of them together get on faster so. A batch claims once for each 4 KiB, and both rests are for a claim.
 * Returns 0, -EAGAIN (no room now), -EMSGSIZE (never: longer than capacity - 16 or 2 GiB - 1; in a ring
 * with one producer, with a tag 4 bytes less), -EPIPE (closed), -ESTALE, -EBADMSG, -ECHILD. A claim that is
 * refused gives up the one before, too. */
RINGBUS_API int ringbus_producer_claim(ringbus_producer *producer, size_t length, uint32_t tag,
                                       void **data);

/* ringbus_producer_commit: hot. Publish the claimed message with its first length bytes; length may be
 * less than claimed. Once this returns 0 the message survives the death of this process.
 * Returns 0, -EINVAL (nothing claimed), -EMSGSIZE (longer than claimed; the claim stays), -ESTALE,
 * -EPIPE, -EBADMSG, -ECHILD. */
RINGBUS_API int ringbus_producer_commit(ringbus_producer *producer, size_t length);

/* ringbus_producer_abort: hot. Give the claim up; nobody ever sees it. Returns 0, -EINVAL, -ECHILD. */
RINGBUS_API int ringbus_producer_abort(ringbus_producer *producer);

/* ringbus_producer_send: hot. Claim, copy, commit. An open claim is replaced; but a send that is refused may
 * leave it open (with one producer it does): abort it. Returns as claim. */
RINGBUS_API int ringbus_producer_send(ringbus_producer *producer, const void *data, size_t length,
                                      uint32_t tag);

/* ringbus_producer_send_batch: hot. Send count messages, one per iovec, all with the same tag. Readers
 * see a prefix in order at any time; all_at_once makes them visible in one instant, or none if they do
 * not fit together. *sent (may be NULL) is always written: how many were sent.
 * Returns 0 (all sent), or why the next one was not: as claim. */
RINGBUS_API int ringbus_producer_send_batch(ringbus_producer *producer,
                                            const struct iovec *messages, size_t count,
                                            uint32_t tag, bool all_at_once, size_t *sent);

/* ringbus_producer_tell: the position of the next message, and how many were ever published before it
 * (many producers: of the first that is not committed yet, counted record by record). Either may be NULL.
 * Returns 0, -ECHILD; many producers: -EAGAIN (the others are too fast to be counted). */
RINGBUS_API int ringbus_producer_tell(const ringbus_producer *producer, uint64_t *position,
                                      uint64_t *count);

/* ringbus_producer_wait: wait until a message of this length (and tag) has room. While it waits it
 * looks for consumers that have died and, where their group's policy says so, stops waiting for them;
 * claim alone never does that. Returns 0, -ETIMEDOUT, -EINTR, -EMSGSIZE, -EPIPE (closed), -ESTALE, -EBADMSG, -ECHILD;
 * many producers: -EINVAL with a claim open, past which nobody could read. */
RINGBUS_API int ringbus_producer_wait(ringbus_producer *producer, size_t length, uint32_t tag,
                                      int64_t timeout_ns);

/* ringbus_producer_drain: wait until every gating group has released everything published so far.
 * Returns 0, -ETIMEDOUT, -EINTR, -ESTALE, -EBADMSG, -ECHILD; many producers: -EINVAL with a claim open. */
RINGBUS_API int ringbus_producer_drain(ringbus_producer *producer, int64_t timeout_ns);

/* ringbus_producer_finish: end of stream: readers get -EPIPE once they have read everything, and nobody
 * can publish in this ring again: what others have claimed, their commit answers -EPIPE.
 * Returns 0, -ESTALE, -ECHILD. */
RINGBUS_API int ringbus_producer_finish(ringbus_producer *producer);

/* ringbus_producer_detach: leave, without ending the stream; an open claim is given up; the handle is
 * freed whatever is returned. Returns 0, -ECHILD. NULL is allowed. */
RINGBUS_API int ringbus_producer_detach(ringbus_producer *producer);

/* ------------------------------------------------------------------ consumer */

/* where a reader begins */
enum ringbus_start {
  /* consumer: where its group stands; a new group, an observer: at the oldest */
  RINGBUS_RESUME = 0,
  RINGBUS_OLDEST = 1, /* the oldest message still in the ring */
  RINGBUS_NEWEST = 2, /* behind the newest: only what is published from now on */
  /* at a given position, which must be that of a message still in the ring, or the tail */
  RINGBUS_POSITION = 3
};

/* how a consumer gives the lines it has read back to the producer's core */
enum ringbus_hand_back {
  /* STORE at first and as long as trying, now and then, shows that it is faster by an eighth, else NEVER; in
   * shared groups STORE. In groups that can be lapped it is always NEVER, whatever is asked for */
  RINGBUS_HAND_BACK_DEFAULT = 0,
  RINGBUS_HAND_BACK_NEVER = 1,
  RINGBUS_HAND_BACK_STORE = 2, /* one same-value store into each line read */
  RINGBUS_HAND_BACK_LOCKED = 3 /* "lock or 0" into each line read */
};

struct ringbus_consumer_options {
  const char *name; /* shown to people; NULL: the program's name */
  /* a named group keeps its cursor when its consumer leaves or dies (durable); NULL: a group of its own
   * that ends with this consumer */
  const char *group;
  enum ringbus_policy policy; /* of a new group; an existing one keeps its own */
  /* several consumers attach to the same group, and each message goes to one of them. The group has a
   * name and policy RINGBUS_GATE. A member holds one borrow or batch at a time */
  bool shared;
  /* member of a shared group: if it dies, what it had borrowed is lost rather than delivered again */
  bool at_most_once;
  /* the group is not made: -ENOENT if there is none, or it has just been removed */
  bool must_exist;
  /* of a new group, bytes: if a claim would put it further behind than this it is lapped instead of
   * waited for; 0: no limit */
  uint64_t max_lag;
  enum ringbus_start start; /* RINGBUS_RESUME, or move the group's cursor there first */
  uint64_t position;        /* for RINGBUS_POSITION */
  /* no living producer and nothing left to read: wait answers -EPIPE instead of waiting for the next
   * one (the first one is waited for) */
  bool end_without_producer;
  enum ringbus_wait wait;
  int64_t look_ns; /* a sleep is cut into looks of at most this; 0: 50 ms */
  enum ringbus_hand_back hand_back;
};

/* ringbus_consumer_attach: become the consumer of a group, which is made if it does not exist (see must_exist).
 * Nothing at or after the position it starts at is overwritten from then on (gating groups). A group
 * that was lapped meanwhile begins at the oldest message and ringbus_consumer_lost says what it missed.
 * A shared group is joined by any number of members; only the one that makes it says where it starts.
 * Returns 0, -EBUSY (the group has a living consumer; the detail names it; or somebody has been changing groups
 * for 5 s), -ENOSPC (all slots or groups in use; the detail says which), -EINVAL (bad option, a group that is
 * shared and not asked for as such or the reverse, or a position that is no message in the ring), -EPERM
 * (read-only), -ENOENT (must_exist), -ESTALE, -EBADMSG, -ECHILD, -ENOMEM, -EMFILE ... */
RINGBUS_API int ringbus_consumer_attach(ringbus_ring *ring,
                                        const struct ringbus_consumer_options *options,
                                        ringbus_consumer **consumer);

/* ringbus_consumer_borrow: hot. The next message, in place, without a copy. The pointer is good until
 * release. Borrow again for the one after it; but a member of a shared group holds one borrow or batch at a
 * time, and gets -EBUSY until it has released it. In a group that can be lapped (policy LAPPED, or with
 * max_lag, or on a ring that overwrites) the bytes may be overwritten while they are looked at: ask
 * ringbus_consumer_still_valid after use, before acting on them.
 * A call that is the first to find nothing may rest for 16 us before it looks again and answers: now and
 * then to try it, and always as long as trying has shown that messages come through faster so, by a quarter.
 * Returns 0, -EAGAIN, -EPIPE, -EOVERFLOW (lapped: now at the oldest; call again), -EBUSY, -ESTALE, -EBADMSG,
 * -ECHILD. */
RINGBUS_API int ringbus_consumer_borrow(ringbus_consumer *consumer,
                                        struct ringbus_message *message);

/* ringbus_consumer_borrow_batch: hot. As many of the next messages as are there, up to max (1 or more).
 * *count is always written. A batch of more than some KiB may be slower than several smaller ones: all its
 * lines are asked for before the first is read. Returns 0 if *count > 0, else as borrow. */
RINGBUS_API int ringbus_consumer_borrow_batch(ringbus_consumer *consumer,
                                              struct ringbus_message *messages, size_t max,
                                              size_t *count);

/* ringbus_consumer_release: hot. Done with everything borrowed so far: the producer may overwrite it,
 * and a successor of this consumer will not get it again. Returns 0, -ESTALE, -EBADMSG, -ECHILD. */
RINGBUS_API int ringbus_consumer_release(ringbus_consumer *consumer);

/* ringbus_consumer_still_valid: hot. 0: nothing borrowed so far has been overwritten. -EOVERFLOW: some of it may
 * have been, which in a group that cannot be lapped never is. Else -ESTALE, -EBADMSG, -ECHILD. */
RINGBUS_API int ringbus_consumer_still_valid(const ringbus_consumer *consumer);

/* ringbus_consumer_recv: hot. Copy the next message into buffer, then release it (and everything
 * borrowed before). The copy is safe from producers that nobody trusts. message (may be NULL) tells
 * length, tag and position; data is buffer.
 * Returns 0, -EMSGSIZE (size too small: message->length says what is needed, nothing is consumed), else
 * as borrow. */
RINGBUS_API int ringbus_consumer_recv(ringbus_consumer *consumer, void *buffer, size_t size,
                                      struct ringbus_message *message);

/* ringbus_consumer_wait: wait until the next borrow or recv will not answer -EAGAIN; in a shared group
 * another member may still be faster.
 * Returns 0, -ETIMEDOUT, -EINTR, -EPIPE (nothing will ever come again), -ESTALE, -EBADMSG (damaged, or its file
 * was truncated: do not read), -ECHILD. */
RINGBUS_API int ringbus_consumer_wait(ringbus_consumer *consumer, int64_t timeout_ns);

/* ringbus_consumer_event_fd: a descriptor for epoll, poll, libuv, asyncio and the like: readable when
 * ringbus_consumer_wait would not wait: there is a message, or the end. Made by the first call, with
 * all that it needs (an eventfd, and a thread which blocks all signals and sleeps in this consumer's
 * stead); later calls give the same one. Publishers do nothing else than for ringbus_consumer_wait.
 *
 *    the loop says: readable ──▶ recv (or borrow, release) until -EAGAIN ──▶ ringbus_consumer_event_arm
 *            ▲                                                                      │ 0         │ else
 *            └──────────────────────────────────────────────────────────────────────┘           ▼
 *                                                                              the end: -EPIPE, -ESTALE ...
 *
 * Once readable it stays so until it is armed: reading only some of the messages and going back to the
 * loop is right, too. It is armed when it is made. Only poll it: do not read or close it, and take it
 * out of the loop before ringbus_consumer_detach, which closes it. It is closed on exec, and in a forked
 * child at once. Returns 0, -ECHILD, -EINVAL, and what the system answers: -EMFILE, -ENFILE, -ENOMEM, -EAGAIN (no
 * thread to be had). */
RINGBUS_API int ringbus_consumer_event_fd(ringbus_consumer *consumer, int *fd);

/* ringbus_consumer_event_arm: not readable until there is something at the position where this consumer
 * stands now; if there is already, readable at once. No wake-up is lost between the last recv and this,
 * nor after it. Call it before going back to the loop whenever recv or borrow answered -EAGAIN, and
 * after a seek. Nothing is consumed.
 * Returns 0 (go back to the loop), -EPIPE (nothing will ever come again), -ESTALE, -EBADMSG (damaged,
 * or its file was truncated: do not read), -EINVAL (no ringbus_consumer_event_fd before), -ECHILD. */
RINGBUS_API int ringbus_consumer_event_arm(ringbus_consumer *consumer);

/* ringbus_consumer_tell: the position of the next message to read, and how many were ever published
 * before it. Either may be NULL. Returns 0, -ECHILD. */
RINGBUS_API int ringbus_consumer_tell(const ringbus_consumer *consumer, uint64_t *position,
                                      uint64_t *count);

/* ringbus_consumer_seek: go to RINGBUS_OLDEST, RINGBUS_NEWEST or RINGBUS_POSITION; whatever was borrowed is
 * released. Going back is possible as long as the messages are in the ring.
 * Returns 0, -EINVAL (not the position of a message in the ring, nor the tail; a shared group; nothing has
 * changed), -EOVERFLOW (it was there, but is being overwritten: now at the next that is not, at most where the
 * group stood before), -ESTALE, -ECHILD. */
RINGBUS_API int ringbus_consumer_seek(ringbus_consumer *consumer, enum ringbus_start start,
                                      uint64_t position);

/* ringbus_consumer_lost: what this handle has missed by being lapped since it attached (and its group, while nobody was
 * attached, at attach). Either may be NULL. Returns 0, -ECHILD. */
RINGBUS_API int ringbus_consumer_lost(const ringbus_consumer *consumer, uint64_t *messages,
                                      uint64_t *bytes);

/* ringbus_consumer_detach: leave; what was not released will be delivered again in a durable group; the
 * handle is freed whatever is returned, it is taken out of its poller, and its event descriptor is
 * closed. Returns 0, -ECHILD. NULL is allowed. */
RINGBUS_API int ringbus_consumer_detach(ringbus_consumer *consumer);

/* ------------------------------------------------------------------ poller: many consumers at once */

/* A poller waits for at least one of many consumers, of any rings, whatever their wake modes. With one
 * ring for each producer and a poller over all of them it merges streams: the order of each ring is
 * kept, between rings there is none.
 *
 *    struct ringbus_ready ready;
 *    while ((result = ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready)) == 0)
 *      if (ready.result == 0)
 *        result = ringbus_consumer_recv(ready.consumer, ...);          one, some, or all until -EAGAIN
 *      else
 *        ringbus_consumer_detach(ready.consumer);                      its end; out of the poller, too
 *    -ENOENT: all have ended
 *
 * Threads: a poller and all consumers in it belong to one thread at a time. */

struct ringbus_poller_options {
  enum ringbus_wait wait;
  int64_t look_ns; /* a sleep is cut into looks of at most this; 0: 50 ms */
};

/* what a poller has found */
struct ringbus_ready {
  ringbus_consumer *consumer;
  void *context; /* given with it to ringbus_poller_add */
  /* what ringbus_consumer_wait would have returned for it: 0 (the next borrow or recv will not answer
   * -EAGAIN), -EPIPE (nothing will ever come again), -ESTALE, -EBADMSG (damaged, or its file was
   * truncated: do not read). Other than 0 it comes again with every turn until the consumer is removed
   * or detached */
  int result;
};

/* ringbus_poller_create: an empty poller. Returns 0, -EINVAL (bad option), -ENOMEM. */
RINGBUS_API int ringbus_poller_create(const struct ringbus_poller_options *options,
                                      ringbus_poller **poller);

/* ringbus_poller_add: from now on wait for this consumer, too. It can be in one poller at a time; its
 * own calls go on as before, waiting included. Returns 0, -EEXIST (it is in this poller already), -EBUSY
 * (it is in another one), -ENOSPC (128 are in it, and no more can be slept on at once: make a second
 * poller for another thread, or give each consumer a ringbus_consumer_event_fd), -ECHILD, -EINVAL. */
RINGBUS_API int ringbus_poller_add(ringbus_poller *poller, ringbus_consumer *consumer,
                                   void *context);

/* ringbus_poller_remove: no longer wait for this consumer, which stays attached. Detaching removes it,
 * too. Returns 0, -ENOENT (it is not in this poller), -EINVAL. */
RINGBUS_API int ringbus_poller_remove(ringbus_poller *poller, ringbus_consumer *consumer);

/* ringbus_poller_wait: wait until a consumer is ready, and say which. Nothing is consumed: it is ready
 * until everything is read. The search begins behind the one that was ready last, so each that is ready
 * has its turn within as many calls as there are consumers, however busy the others are. A call that
 * finds somebody ready makes no system call, unless end_without_producer has the kernel asked for the
 * dead, for each consumer once in look_ns.
 * Where the kernel cannot sleep on several words (futex_waitv: Linux 5.16, some sandboxes), and for rings
 * whose sleepers poll, it looks every millisecond.
 * Returns 0, -ETIMEDOUT, -EINTR (after a handler with SA_RESTART it may wait on), -ENOENT (the poller
 * is empty), -ECHILD (a consumer in it was inherited through fork), -EINVAL. */
RINGBUS_API int ringbus_poller_wait(ringbus_poller *poller, int64_t timeout_ns,
                                    struct ringbus_ready *ready);

/* ringbus_poller_wait_until: the same, with a deadline in nanoseconds of CLOCK_MONOTONIC, or
 * RINGBUS_FOREVER. A deadline in the past looks once. Returns as ringbus_poller_wait. */
RINGBUS_API int ringbus_poller_wait_until(ringbus_poller *poller, int64_t deadline_ns,
                                          struct ringbus_ready *ready);

/* ringbus_poller_destroy: the consumers in it stay attached. Returns 0. NULL is allowed. */
RINGBUS_API int ringbus_poller_destroy(ringbus_poller *poller);

/* ------------------------------------------------------------------ observer */

struct ringbus_observer_options {
  enum ringbus_start start; /* RINGBUS_RESUME means RINGBUS_OLDEST here */
  uint64_t position;
};

/* ringbus_observer_attach: read what is in the ring without being noticed, also post mortem. Needs no more than read
 * permission. Observers cannot be woken (they write nothing): waiting is polling with back-off.
 * Returns 0, -EINVAL, -ESTALE, -EBADMSG, -ECHILD, -ENOMEM. */
RINGBUS_API int ringbus_observer_attach(ringbus_ring *ring,
                                        const struct ringbus_observer_options *options,
                                        ringbus_observer **observer);

/* ringbus_observer_recv: hot. Copy the next message out; what is returned was whole and not overwritten
 * while it was copied. Returns 0, -EAGAIN, -EPIPE, -EOVERFLOW (lapped: now at the oldest; call again),
 * -EMSGSIZE (as consumer_recv), -ESTALE, -EBADMSG, -ECHILD. */
RINGBUS_API int ringbus_observer_recv(ringbus_observer *observer, void *buffer, size_t size,
                                      struct ringbus_message *message);

/* ringbus_observer_wait, _tell, _seek, _lost: as for the consumer. */
RINGBUS_API int ringbus_observer_wait(ringbus_observer *observer, int64_t timeout_ns);
RINGBUS_API int ringbus_observer_tell(const ringbus_observer *observer, uint64_t *position,
                                      uint64_t *count);
RINGBUS_API int ringbus_observer_seek(ringbus_observer *observer, enum ringbus_start start,
                                      uint64_t position);
RINGBUS_API int ringbus_observer_lost(const ringbus_observer *observer, uint64_t *messages,
                                      uint64_t *bytes);

/* ringbus_observer_detach: the handle is freed. Returns 0, -ECHILD. NULL is allowed. */
RINGBUS_API int ringbus_observer_detach(ringbus_observer *observer);

#ifdef __cplusplus
}
#endif

#endif
