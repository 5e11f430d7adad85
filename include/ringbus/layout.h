/* SPDX-License-Identifier: MIT */
/* layout.h - every byte of a ring file. Read this to write a peer in another language.
 *
 * A ring is one file. It is mapped shared by every participant. This is format 1, and it is frozen.
 *
 *   0          slots_offset   groups_offset   words_offset    data_offset
 *              (4096)
 *   +----------+--------------+---------------+---------------+-------------+
 *   | identity,| participant  | groups and    | words (only   | byte ring   |
 *   | counters | slots        | their cursors | if many       | (capacity   |
 *   | (a page) |              |               |  producers)   |  bytes)     |
 *   +----------+--------------+---------------+---------------+-------------+
 *
 * The data is mapped twice, back to back, so that a record is always contiguous:
 *
 *   [ header ... ][ data ][ data again ][ PROT_NONE ]
 *
 * Words (all integers native-endian; the magic refuses a file of the other byte order):
 *
 *   position   64-bit count of bytes ever claimed. Free-running, wraps at 2^64, compared by
 *              difference only. Its place in the data is position & (capacity - 1).
 *   counted    three words {position | bank, count[2]}: a position that is a record boundary, and
 *   position   the number of messages ever published before it. Positions are multiples of 8, so
 *              bit 0 is free: it says which of the two counts belongs to this position. The writer
 *              stores count[!bank] and then, with release, position | !bank: whoever dies between
 *              the two leaves the old pair whole. A reader loads the position, count[bank] and the
 *              position again; equal positions make an exact pair. Where there are many writers (the
 *              floor of a ring with many producers) bank is always 0, and position and count[0] change
 *              together by one 16-byte compare-and-swap; readers do the same as above.
 *   run        the messages [from, to) that one member of a shared group has taken and not released.
 *   word       one 64-bit word describes one record (see "The word" below).
 *
 * A record of a single-producer ring (granule 8 bytes) is: word, message, padding to 8 bytes.
 * A record of a ring with many producers (granule 64 bytes) is: message, padding to 64 bytes; its word
 * stands in the words area, 8 bytes for each granule of the data. Only the word of a record's first
 * granule means anything. A tag, if the message has one, is in the last 4 bytes of the padded record.
 *
 * There are no functions here. What may be read when, and what breaks otherwise, is argued in
 * inline.h under the labels given in the "pair" column.
 *
 * How to attach, and to publish or release, beside what inline.h argues
 *
 *   - One producer: its slot is 1, and consumers take theirs from 2 on. That the lock of slot 1 can be held once
 *     is all that makes it the only one. Many producers: everybody takes any slot.
 *   - tail in the file lags with one producer, too: in a batch, and if it died before it told of it. A successor
 *     walks on from there over current words, clears the word it comes to, stores the tail, and writes nothing
 *     before it has looked at the groups itself (JOIN).
 *   - wake 1: a process that publishes or releases may leave its fence out only once
 *     membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) has succeeded in it; whoever goes to sleep calls
 *     MEMBARRIER_CMD_GLOBAL_EXPEDITED between its ticket and its look. The futexes are shared ones, without
 *     FUTEX_PRIVATE_FLAG. To wake is one FUTEX_WAKE_OP, which clears the word and wakes all; or, where that is
 *     forbidden, to clear the word and then to wake.
 *   - Many producers: floor changes by a 16-byte compare-and-swap of position and count[0], tail by a
 *     compare-and-swap of the position alone; the bank of both is always 0.
 *
 * How the format may grow
 *
 * What a file of version 1 says, it says to every later library as well, and each of them goes on to
 * read it and write into it. (tests/golden/ has such files of every kind, and holds the library to
 * that.) A reader may rely on all that stands here: offsets, sizes, meanings and the checksum; and on
 * zeroes in whatever is called reserved or not mentioned: bytes, lines, bits of flags and of words. (Not
 * in the padding of records, where anything may be.)
 *
 * What a file is and can do is said in its identity when it is made, and never changes. So new things
 * come with new files, by a feature bit:
 *
 *   who does not know it ...                      | bit of            | and then
 *   ----------------------------------------------+-------------------+-----------------------------
 *   would misread records, positions or groups    | features_required | must not open the file
 *   reads all of it right, but would break it by  | features_read     | must map it read-only, and
 *   attaching: a field that every participant has |                   | take no slot (observers)
 *   to keep, another rule for who overwrites what |                   |
 *   does no harm, whenever it comes and goes:     | features_optional | need not look
 *   a counter, a hint, something for people       |                   |
 *
 * Reserved bytes and bits get a meaning only together with such a bit. Without it they are zero, and
 * whoever does not know the bit leaves them as they are. Under an optional feature zero must mean "not
 * told", since some participants will not tell; nor do they clear what the last holder of their slot, or
 * the last group in the same place, has told. A bit, once given, never means anything else. New
 * values of the identity's enumerations (producers, policy, no_group, wake), of group.policy, of a
 * word's state, other sizes of slots or groups: these go with a required bit.
 *
 * The version number changes only if a reader could not find out even that much: if the identity's first
 * 40 bytes, or where its checksum is, are to be different. What every version will have: the magic at
 * 0, the version at 8. A library reads all versions up to its own, from 1 on (files of version 0 were
 * made while this was worked on, and are refused).
 *
 * So a peer in another language:
 *   - checks magic, version, checksum; then, before anything else, the feature words: a bit of
 *     features_required that it does not know: refuse; of features_read: only read; features_optional:
 *     go on.
 *   - takes a value of an enumeration, or a size, that is not in this file for damage, and refuses.
 *   - writes 0 into bits that it does not know when it makes a word, slot or group of its own; changes
 *     only its own bits where others have theirs (state, groups, flags); ignores bits it does not know in
 *     flags (of words, slots and groups), and takes them in signals.state for damage.
 *   - leaves reserved bytes alone, and does not check that they are zero.
 */
#ifndef RINGBUS_LAYOUT_H
#define RINGBUS_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define RINGBUS_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define RINGBUS_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#define RINGBUS_LAYOUT_VERSION 1u
/* "RINGBUS\0" when stored by a little-endian machine. Written last at creation. */
#define RINGBUS_MAGIC UINT64_C(0x005355424e474952)
#define RINGBUS_MAGIC_SWAPPED UINT64_C(0x5249474e42555300)

#define RINGBUS_LINE 128u             /* two cache lines: adjacent-line prefetch takes both */
#define RINGBUS_DATA_ALIGNMENT 65536u /* of data_offset; 2 MiB on hugetlbfs */
#define RINGBUS_MIN_CAPACITY 4096u    /* and at least one page */
#define RINGBUS_MAX_CAPACITY (UINT64_C(1) << 40)
#define RINGBUS_MAX_LENGTH 0x7fffffffu /* of a message; also at most capacity - 16 */
#define RINGBUS_MAX_SLOTS 1024u        /* the owner field of a claim word has 10 bits */
#define RINGBUS_MAX_GROUPS 64u         /* one bit each in join.groups */
#define RINGBUS_NAME_BYTES 64u         /* of a participant or group, with its final NUL */

/* Feature bits. Required: a library that does not know one refuses the file. Read: a library that
 * does not know one may only observe. Optional: may be ignored. So far there are none. */
#define RINGBUS_FEATURES_REQUIRED UINT64_C(0)
#define RINGBUS_FEATURES_READ UINT64_C(0)

/* identity.producers */
#define RINGBUS_PRODUCERS_SINGLE 1u
#define RINGBUS_PRODUCERS_MANY 2u
/* identity.policy */
#define RINGBUS_POLICY_RELIABLE 1u
#define RINGBUS_POLICY_OVERWRITE 2u /* nobody is waited for: every group is lapped */
/* identity.no_group: what happens to messages while the ring has no group at all */
#define RINGBUS_NO_GROUP_HOLD 1u /* kept until the ring is full; the first group starts at oldest */
#define RINGBUS_NO_GROUP_DROP 2u /* the oldest records are given up for new ones */
/* identity.wake */
#define RINGBUS_WAKE_ASYMMETRIC 1u
#define RINGBUS_WAKE_FENCED 2u
#define RINGBUS_WAKE_NONE 3u
/* signals.state */
#define RINGBUS_STATE_CLOSED 1u /* end of stream: nothing will ever be published again */
/* every call that publishes, reads, waits or attaches answers -ESTALE; nothing in the file is reused */
#define RINGBUS_STATE_RETIRED 2u
/* slot.state role byte */
#define RINGBUS_ROLE_NONE 0u
#define RINGBUS_ROLE_PRODUCER 1u
#define RINGBUS_ROLE_CONSUMER 2u
/* group.policy */
#define RINGBUS_GROUP_GATE 1u
#define RINGBUS_GROUP_GATE_WHILE_ATTACHED 2u
#define RINGBUS_GROUP_LAPPED 3u
/* group.gating, low two bits; the rest counts joins, so that no two of them look alike */
#define RINGBUS_GATING_MASK 3u
#define RINGBUS_GATING_NONE 0u
#define RINGBUS_GATING_JOINING 1u /* the cursor may still move up to the floor */
#define RINGBUS_GATING_BACK 3u    /* seeking back: as JOINING, but not further up than held */
#define RINGBUS_GATING_SETTLED 2u /* nothing at or after the cursor has been overwritten */
/* group.flags */
#define RINGBUS_GROUP_DURABLE 1u
#define RINGBUS_GROUP_SHARED 2u /* several consumers, each message to one of them */
/* slot.taken, low three bits */
#define RINGBUS_TAKEN_MASK 7u
#define RINGBUS_TAKEN_NOTHING 0u
#define RINGBUS_TAKEN_NOTED 1u  /* tries to take this run: it has if group.take says so */
#define RINGBUS_TAKEN_HELD 2u   /* has taken it */
#define RINGBUS_TAKEN_COMING 3u /* takes it over: it has if the note it comes from is gone */
/* slot.taken and group.take, second word: low bits, and the count of the messages before it above. The
 * low bits of group.take are the last taker's slot; of taken the group's index, of a run that is COMING
 * the slot it comes from. */
#define RINGBUS_TAKE_SLOT_MASK 1023u
#define RINGBUS_TAKE_COUNT_SHIFT 10u
/* slot.flags */
#define RINGBUS_SLOT_AT_MOST_ONCE                                                                  \
  1u /* what this member holds when it dies is not delivered again */

/* The word that describes one record. n = log2(capacity) - granule_shift.
 *
 *   63            12+n 11+n   10+n 9+n             10 9                            0
 *   +-----------------+-----------+------------------+------------------------------+
 *   | lap             | state     | granules - 1     | CLAIMED: owner slot          |
 *   | position >> log2| 2 bits    | n bits           | COMMITTED: unused 7, flags 3 |
 *   +-----------------+-----------+------------------+------------------------------+
 *
 * A word is current for position p if its lap is that of p (cut to the field) and its state is not
 * FREE. It stands at words + ((p & (capacity - 1)) >> word_shift); in a single-producer ring that is
 * the first 8 bytes of the record itself (word_shift 0, granule_shift 3, words at data_offset).
 * length of the message = granules << granule_shift, less the word if it is in band, less unused. */
#define RINGBUS_WORD_STATE_SHIFT(n) (10u + (n))
#define RINGBUS_WORD_LAP_SHIFT(n) (12u + (n))
#define RINGBUS_WORD_FREE 0u
#define RINGBUS_WORD_CLAIMED 1u
#define RINGBUS_WORD_COMMITTED 2u
#define RINGBUS_WORD_PAD 3u
#define RINGBUS_WORD_GRANULES_SHIFT 10u
#define RINGBUS_WORD_UNUSED_SHIFT 3u
#define RINGBUS_WORD_UNUSED_MASK 127u
#define RINGBUS_WORD_FLAG_TAG                                                                      \
  1u /* the last 4 bytes of the record, which count as unused, are the user's tag; else it is 0 */
#define RINGBUS_WORD_OWNER_MASK 1023u

/* | offset | size | field             | written by              | read by          | pair    |
 * |--------|------|-------------------|-------------------------|------------------|---------|
 * |      0 |    8 | magic             | creator, last           | attach           | CREATE  |
 * |      8 |  496 | the rest, see struct | creator              | attach, once     | CREATE  |
 * |    504 |    8 | checksum          | creator                 | attach, once     | CREATE  |
 * CREATE: the file has no name until it is whole; link(2) publishes it. All of it is immutable.
 * checksum: 64-bit FNV-1a over bytes 8..503. */
struct ringbus_identity {
  uint64_t magic;
  uint32_t layout_version;
  uint32_t identity_bytes; /* 512 */
  uint64_t features_required;
  uint64_t features_read;
  uint64_t features_optional;
  uint64_t capacity; /* bytes of data; a power of two */
  uint64_t data_offset;
  uint64_t words_offset; /* equal to data_offset if the words are in band */
  uint64_t words_bytes;  /* 0 if the words are in band */
  uint32_t granule_shift;
  uint32_t word_shift;
  uint32_t producers;
  uint32_t policy;
  uint32_t no_group;
  uint32_t wake;
  uint64_t slots_offset;
  uint32_t slot_count; /* with slot 0, which is never used */
  uint32_t slot_bytes; /* 128 */
  uint64_t groups_offset;
  uint32_t group_count;
  uint32_t group_bytes; /* 384 */
  uint8_t ring_id[16];  /* random */
  uint64_t created_ns;  /* CLOCK_REALTIME, for people */
  uint32_t creator_pid; /* for people */
  uint32_t creator_uid; /* for people */
  char library_version[32];
  uint8_t reserved[312]; /* zero */
  uint64_t checksum;
};

/* | offset | size | field      | written by                    | read by              | pair      |
 * |    512 |    8 | epoch      | recovery after a reboot       | people               | -         |
 * |    520 |   16 | boot_id    | creator; recovery             | attach               | -         |  */
struct ringbus_life {
  uint64_t epoch;
  uint8_t boot_id[16];
  uint8_t reserved[104];
};

/* |    640 |    4 | state        | finish, retire (RMW, bits only ever set)  | every call | STATE     |
 * |    644 |    4 | data_waiters | sleeping consumers: a ticket; publisher: 0 | publisher | SLEEP     |
 * |    648 |    4 | room_waiters | sleeping producers: a ticket; releaser: 0 | releaser   | SLEEP     |
 * |    652 |    4 | presence     | attach, detach, finish, retire (RMW)      | peer waits | -         |
 * |    656 |    4 | had_producer | producers, when they attach: 1            | readers    | -         |
 * |    660 |    4 | sleeps       | whoever goes to sleep (RMW)               | itself     | SLEEP     |
 * The waiters and presence are futex words. A ticket is sleeps << 1 | 1, taken by the first to go to
 * sleep after a wake-up (compare and swap, from 0), and shared by those who find one there: each
 * sleeps while the word is still that ticket. So it never looks as it did before a wake-up. */
struct ringbus_signals {
  uint32_t state;
  uint32_t data_waiters;
  uint32_t room_waiters;
  uint32_t presence;
  uint32_t had_producer;
  uint32_t sleeps;
  uint8_t reserved[104];
};

/* |    768 |   24 | tail       | producer                       | joiners, observers, tools | TAIL     |
 * |    896 |   24 | floor      | producer                       | joiners, lapped readers   | ANNOUNCE |
 * tail, many producers: a record boundary at or before the true tail, which the words show; any
 * producer moves it forward (CAS), count and bank stay 0.
 * floor: no byte of a record at or after floor has been overwritten; bytes before it may be at any
 * time. It is a record boundary, it never moves back, and no producer writes at or above
 * floor + capacity. */
struct ringbus_counted_line {
  uint64_t position; /* | bank */
  uint64_t count[2];
  uint8_t reserved[104];
};

/* |   1024 |    8 | groups     | attach, remove, reaper (RMW, holding the table lock) | producer, attach | JOIN |
 * groups: bit g set = group g exists. One bit, so that a group comes into being, cursor and all, in
 * one instant.
 * OFD lock bytes: a slot's first byte, its holder; 1024, while groups change; 1280, while flushing;
 * 0, while the ring is removed; all slots, while nobody may attach (removal, recovery). */
struct ringbus_join {
  uint64_t groups;
  uint8_t reserved[120];
};

/* |   1152 |   56 | counters   | producers, readers that wait   | people, tools             | -        | */
struct ringbus_counters {
  uint64_t full_events;    /* claims refused for want of room */
  uint64_t max_lag;        /* bytes: the largest tail - slowest gating cursor seen by a refresh */
  uint64_t broken_cursors; /* cursors outside the ring, excluded from gating */
  uint64_t broken_group;   /* 1 + index of the last group so excluded; 0 none */
  uint64_t dropped;        /* messages given up by a ring that nobody gates */
  uint64_t recovered;      /* claims of the dead that were given up */
  uint64_t
      blocked_at; /* | 1; position of the claim that readers were seen to wait for, 0 none ... */
  uint64_t blocked_ns; /* ... and since when (CLOCK_REALTIME) */
  uint8_t reserved[64];
};

/* |   1280 |   64 | flush      | ringbus_ring_flush             | recovery after a reboot   | -        | */
struct ringbus_flushed {
  uint64_t tail; /* content of [floor, tail) had reached the disk ... */
  uint64_t tail_count;
  uint64_t floor;
  uint64_t floor_count;
  uint64_t content;    /* ... and hashed to this (64-bit FNV-1a over 8-byte words) */
  uint64_t flushed_ns; /* 0: never flushed */
  uint64_t check;      /* 64-bit FNV-1a over the six words above */
  uint8_t reserved[72];
};

struct ringbus_header {
  struct ringbus_identity identity;
  struct ringbus_life life;
  struct ringbus_signals signals;
  struct ringbus_counted_line tail;
  struct ringbus_counted_line floor;
  struct ringbus_join join;
  struct ringbus_counters counters;
  struct ringbus_flushed flushed;
  uint8_t reserved[2688];
};

/* A slot: one participant. Its OFD lock byte is its own first byte in the file; the kernel's answer
 * about that lock is the only evidence that the participant lives.
 * |  +0 |    8 | state       | holder of the slot's lock      | everybody  | SLOT |
 * |  +8 |   88 | the rest    | holder, before state           | people     | SLOT |
 * |  +96|    8 | claim       | holder, before its claim's CAS  | next holder| DEATH |
 * | +104|    8 | taken_to    | holder, before taken           | members    | TAKE |
 * | +112|   16 | taken       | holder; members (CAS) if it has died or to confirm it | members, producers | TAKE |
 * claim: where the holder has, or last had, an open claim (many producers). taken, taken_to: the run
 * that the holder has taken from a shared group, {from | state, count << 10 | group or slot}. A slot whose
 * holder died with a run is used again only by a new member of that group, who inherits it, or when the
 * run has been taken over or the group is gone. */
struct ringbus_slot {
  uint64_t state;         /* generation << 16 | role; a new holder raises the generation */
  uint32_t pid;           /* in the holder's own PID namespace; for people only */
  uint32_t group;         /* consumer: index of its group; UINT32_MAX none yet */
  uint64_t attached_ns;   /* CLOCK_REALTIME */
  uint32_t pid_namespace; /* inode of /proc/self/ns/pid; 0 unknown */
  uint32_t flags;
  char name[RINGBUS_NAME_BYTES];
  uint64_t claim;
  uint64_t taken_to;
  uint64_t taken[2];
};

/* A group: consumers that share one cursor.
 * |   +0 |  128 | description | attach, holding the table lock, before join.groups | people, attach | JOIN    |
 * | +128 |   24 | cursor      | its consumer; shared: whoever made it, once        | producer       | RELEASE |
 * | +152 |    8 | member      | attach, detach, reaper, holding the table lock     | attach, reaper | -       |
 * | +160 |    8 | max_lag     | creator of the group                               | producer       | JOIN    |
 * | +168 |    8 | gating      | attach, detach, reaper, holding the table lock     | producer       | JOIN    |
 * | +176 |   24 | held        | its consumer, before gating BACK                   | reaper         | JOIN    |
 * | +256 |   16 | take        | shared: members (CAS)                              | members, producer | TAKE |
 * | +272 |    8 | moves       | shared: whoever moves a run from slot to slot (RMW) | producer      | TAKE    |
 * take: {position, count << 10 | slot of the last taker}: everything before position has been taken. A
 * settled shared group gates with the least of take and of the runs of all slots of this group. */
struct ringbus_group {
  char name[RINGBUS_NAME_BYTES];
  uint32_t policy;
  uint32_t flags;
  uint64_t created_ns;
  uint64_t lost_messages; /* by lapping, as its consumers found out */
  uint64_t lost_bytes;
  uint64_t reserved0[4];
  uint64_t cursor; /* | bank */
  uint64_t count[2];
  uint64_t member;  /* generation << 16 | slot; 0 none */
  uint64_t max_lag; /* bytes; a cursor further behind no longer gates; 0: no limit */
  uint64_t gating;  /* joins << 2 | NONE, JOINING, SETTLED or BACK */
  uint64_t held;    /* | bank; where the cursor stood before it was moved back */
  uint64_t held_count[2];
  uint64_t reserved1[7];
  uint64_t take[2];
  uint64_t moves;
  uint64_t redelivered; /* runs that one member took over from another; for people */
  uint64_t reserved2[12];
};

#define RINGBUS_ASSERT_OFFSET(type, field, offset)                                                 \
  RINGBUS_STATIC_ASSERT(offsetof(struct type, field) == (offset), #type "." #field)
RINGBUS_ASSERT_OFFSET(ringbus_identity, magic, 0);
RINGBUS_ASSERT_OFFSET(ringbus_identity, layout_version, 8);
RINGBUS_ASSERT_OFFSET(ringbus_identity, identity_bytes, 12);
RINGBUS_ASSERT_OFFSET(ringbus_identity, features_required, 16);
RINGBUS_ASSERT_OFFSET(ringbus_identity, features_read, 24);
RINGBUS_ASSERT_OFFSET(ringbus_identity, features_optional, 32);
RINGBUS_ASSERT_OFFSET(ringbus_identity, capacity, 40);
RINGBUS_ASSERT_OFFSET(ringbus_identity, data_offset, 48);
RINGBUS_ASSERT_OFFSET(ringbus_identity, words_offset, 56);
RINGBUS_ASSERT_OFFSET(ringbus_identity, words_bytes, 64);
RINGBUS_ASSERT_OFFSET(ringbus_identity, granule_shift, 72);
RINGBUS_ASSERT_OFFSET(ringbus_identity, word_shift, 76);
RINGBUS_ASSERT_OFFSET(ringbus_identity, producers, 80);
RINGBUS_ASSERT_OFFSET(ringbus_identity, policy, 84);
RINGBUS_ASSERT_OFFSET(ringbus_identity, no_group, 88);
RINGBUS_ASSERT_OFFSET(ringbus_identity, wake, 92);
RINGBUS_ASSERT_OFFSET(ringbus_identity, slots_offset, 96);
RINGBUS_ASSERT_OFFSET(ringbus_identity, slot_count, 104);
RINGBUS_ASSERT_OFFSET(ringbus_identity, slot_bytes, 108);
RINGBUS_ASSERT_OFFSET(ringbus_identity, groups_offset, 112);
RINGBUS_ASSERT_OFFSET(ringbus_identity, group_count, 120);
RINGBUS_ASSERT_OFFSET(ringbus_identity, group_bytes, 124);
RINGBUS_ASSERT_OFFSET(ringbus_identity, ring_id, 128);
RINGBUS_ASSERT_OFFSET(ringbus_identity, created_ns, 144);
RINGBUS_ASSERT_OFFSET(ringbus_identity, creator_pid, 152);
RINGBUS_ASSERT_OFFSET(ringbus_identity, creator_uid, 156);
RINGBUS_ASSERT_OFFSET(ringbus_identity, library_version, 160);
RINGBUS_ASSERT_OFFSET(ringbus_identity, reserved, 192);
RINGBUS_ASSERT_OFFSET(ringbus_identity, checksum, 504);
RINGBUS_ASSERT_OFFSET(ringbus_header, life, 512);
RINGBUS_ASSERT_OFFSET(ringbus_header, life.boot_id, 520);
RINGBUS_ASSERT_OFFSET(ringbus_header, signals, 640);
RINGBUS_ASSERT_OFFSET(ringbus_header, signals.data_waiters, 644);
RINGBUS_ASSERT_OFFSET(ringbus_header, signals.room_waiters, 648);
RINGBUS_ASSERT_OFFSET(ringbus_header, signals.presence, 652);
RINGBUS_ASSERT_OFFSET(ringbus_header, signals.had_producer, 656);
RINGBUS_ASSERT_OFFSET(ringbus_header, signals.sleeps, 660);
RINGBUS_ASSERT_OFFSET(ringbus_header, tail, 768);
RINGBUS_ASSERT_OFFSET(ringbus_header, tail.count, 776);
RINGBUS_ASSERT_OFFSET(ringbus_header, floor, 896);
RINGBUS_ASSERT_OFFSET(ringbus_header, floor.count, 904);
RINGBUS_ASSERT_OFFSET(ringbus_header, join, 1024);
RINGBUS_ASSERT_OFFSET(ringbus_header, counters, 1152);
RINGBUS_ASSERT_OFFSET(ringbus_header, counters.max_lag, 1160);
RINGBUS_ASSERT_OFFSET(ringbus_header, counters.broken_cursors, 1168);
RINGBUS_ASSERT_OFFSET(ringbus_header, counters.broken_group, 1176);
RINGBUS_ASSERT_OFFSET(ringbus_header, counters.dropped, 1184);
RINGBUS_ASSERT_OFFSET(ringbus_header, counters.recovered, 1192);
RINGBUS_ASSERT_OFFSET(ringbus_header, counters.blocked_at, 1200);
RINGBUS_ASSERT_OFFSET(ringbus_header, counters.blocked_ns, 1208);
RINGBUS_ASSERT_OFFSET(ringbus_header, flushed, 1280);
RINGBUS_ASSERT_OFFSET(ringbus_header, flushed.content, 1312);
RINGBUS_ASSERT_OFFSET(ringbus_header, flushed.flushed_ns, 1320);
RINGBUS_ASSERT_OFFSET(ringbus_header, flushed.check, 1328);
RINGBUS_ASSERT_OFFSET(ringbus_header, reserved, 1408);
RINGBUS_STATIC_ASSERT(sizeof(struct ringbus_header) == 4096, "the header is one page");
RINGBUS_ASSERT_OFFSET(ringbus_slot, state, 0);
RINGBUS_ASSERT_OFFSET(ringbus_slot, pid, 8);
RINGBUS_ASSERT_OFFSET(ringbus_slot, group, 12);
RINGBUS_ASSERT_OFFSET(ringbus_slot, attached_ns, 16);
RINGBUS_ASSERT_OFFSET(ringbus_slot, pid_namespace, 24);
RINGBUS_ASSERT_OFFSET(ringbus_slot, flags, 28);
RINGBUS_ASSERT_OFFSET(ringbus_slot, name, 32);
RINGBUS_ASSERT_OFFSET(ringbus_slot, claim, 96);
RINGBUS_ASSERT_OFFSET(ringbus_slot, taken_to, 104);
RINGBUS_ASSERT_OFFSET(ringbus_slot, taken, 112);
RINGBUS_STATIC_ASSERT(sizeof(struct ringbus_slot) == 128, "a slot stands alone on its line");
RINGBUS_ASSERT_OFFSET(ringbus_group, name, 0);
RINGBUS_ASSERT_OFFSET(ringbus_group, policy, 64);
RINGBUS_ASSERT_OFFSET(ringbus_group, flags, 68);
RINGBUS_ASSERT_OFFSET(ringbus_group, created_ns, 72);
RINGBUS_ASSERT_OFFSET(ringbus_group, lost_messages, 80);
RINGBUS_ASSERT_OFFSET(ringbus_group, lost_bytes, 88);
RINGBUS_ASSERT_OFFSET(ringbus_group, cursor, 128);
RINGBUS_ASSERT_OFFSET(ringbus_group, count, 136);
RINGBUS_ASSERT_OFFSET(ringbus_group, member, 152);
RINGBUS_ASSERT_OFFSET(ringbus_group, max_lag, 160);
RINGBUS_ASSERT_OFFSET(ringbus_group, gating, 168);
RINGBUS_ASSERT_OFFSET(ringbus_group, held, 176);
RINGBUS_ASSERT_OFFSET(ringbus_group, take, 256);
RINGBUS_ASSERT_OFFSET(ringbus_group, moves, 272);
RINGBUS_ASSERT_OFFSET(ringbus_group, redelivered, 280);
RINGBUS_STATIC_ASSERT(sizeof(struct ringbus_group) == 384,
                      "cursor and take stand on lines of their own");

#endif
