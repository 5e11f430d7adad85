/* SPDX-License-Identifier: MIT */
/* crowd.h - rings with many producers, shared groups, rings that overwrite: who is there, and what they
 * have been promised.
 *
 *   crew   what the actor process holds: producers p and q, consumers, members of a shared group
 *   book   in memory that actor and judge share: each message, and how far its calls have come
 *
 * A message is known by its index in the book. Its bytes say the index and their place in the message,
 * 8 by 8, so that a mixture of two messages is found out; a message that is too short for that says it
 * in its tag, or else is known by its place in the order. Where the order of messages is known in
 * advance (step_many.c) it is that of the indices. */
#ifndef RINGBUS_TESTS_KILL_CROWD_H
#define RINGBUS_TESTS_KILL_CROWD_H

#include "harness.h"

enum {
  SMALL = 4096, /* here a stripe of the tail is one granule, so the tail never lags */
  LARGE = 8192,
  GRANULE = 64,
  CROWD_GROUPS = 3,
  CROWD_PARTICIPANTS = 8,
  CROWD_BUFFERS = 8,
  ENTRIES = 4096
};

/* A kind of ring, and the layouts for it: positions are multiples of a granule there. */
struct kind {
  const char *name;
  struct ringbus_create_options options;
};
enum { GATED, GATED_SMALL, DROPPING, OVERWRITING, KINDS };
extern const struct kind kinds[KINDS];
enum { CROWD_LAYOUTS = 11 };
/* crowd_layout: valid until the next call. */
const struct layout *crowd_layout(const struct kind *kind, size_t index);

/* ---------------------------------------------------------------- the book */

/* What is promised of a message. */
enum published {
  ABSENT, /* not published, and if it never is that is well, too */
  MAYBE,  /* the call that publishes it is under way */
  DONE    /* it has returned */
};

/* What is promised of a message to the members of the shared group that survive. */
enum shared {
  FRESH,     /* gets delivered once, as new */
  TAKING,    /* once: the call that takes it is under way, it may be new or again */
  TAKEN,     /* once, again: somebody has it who may have looked at it */
  RELEASING, /* once, again, or never; all of these or none */
  RECEIVING, /* any of these: taken and released by one call */
  SKIPPING,  /* once, as new, or never */
  GONE       /* never */
};

struct entry {
  uint32_t length;
  uint32_t tag;
  uint8_t published; /* enum published */
  uint8_t shared;    /* enum shared */
  uint8_t delivered; /* to the actor */
};

struct group_line {
  char name[8]; /* "" unused */
  uint32_t must_exist;
  uint32_t may_exist;
  uint32_t policy;  /* enum ringbus_policy */
  uint32_t shared;  /* its members' promises stand in the entries */
  uint64_t before;  /* its next message is this one ... */
  uint64_t after;   /* ... or this one ... */
  uint32_t between; /* ... or, for calls of many steps, anything between the two */
  uint32_t lapped;  /* it may have been lapped, and then stands at the oldest */
};

struct book {
  struct entry entries[ENTRIES];
  uint64_t made; /* entries [0, made) are the actor's */
  uint32_t all_or_none;
  uint32_t drops; /* messages that no group has read may be gone (no gate) */
  uint32_t closing;
  uint32_t closed;
  struct group_line groups[CROWD_GROUPS];
  /* pause_many.c; what was read, pairs.c, too: */
  uint32_t
      taking; /* a member's call is under way that may take so many, of which it is not known which */
  uint32_t receiving;           /* and releases them, too */
  volatile uint32_t told, done; /* to another process, and by it */
  uint64_t reads;               /* what the actor has read, if it reads: the message ... */
  struct {
    uint16_t index;
    uint16_t count; /* ... and how many were published before it */
  } read[ENTRIES];
  /* pairs.c: */
  uint64_t
      made_by_first; /* entries [0, here) are the first one's, the rest of the actors' the second's */
  struct {
    char group[8]; /* that outlives it, "" none */
    uint64_t next; /* what that group reads next, by count */
  } left[2];       /* behind by each of the two */
};
extern struct book *book; /* harness.beside */

/* ---------------------------------------------------------------- messages */

void fill_entry(char *bytes, const struct entry *entry, uint64_t index);
/* verify_entry: is this message that entry? */
bool verify_entry(const struct ringbus_message *message, const struct entry *entry, uint64_t index);
/* identify: the index a message gives itself; ENTRIES if it is too short to tell. */
uint64_t identify(const struct ringbus_message *message);
/* index_tag: a tag that says the index of a message of any length. */
uint32_t index_tag(uint64_t index);
uint64_t crowd_bytes(uint32_t length, uint32_t tag);

/* ---------------------------------------------------------------- the crew */

struct crew {
  struct actor *actor;
  ringbus_ring *ring;
  ringbus_producer *p, *q;
  ringbus_consumer *consumer[CROWD_GROUPS];
  ringbus_consumer *member, *other; /* of a shared group */
  ringbus_observer *observer;
  uint64_t
      index[CROWD_BUFFERS]; /* of the messages made before the region begins, and their bytes */
  char buffer[CROWD_BUFFERS][LARGE];
  struct ringbus_message message, messages[64];
  size_t count;
  int result;
  char copy[LARGE];
};
extern struct crew crew;

#define expect(condition, value) actor_expect(crew.actor, condition, value)

/* A scenario of a crew. It is handed to the harness through crowd_start. */
struct crowd_scenario {
  const char *name;
  void (*prepare)(void);
  void (*region)(void);
  void (*rest)(void);
  int kind;
};
bool crowd_start(const struct crowd_scenario *scenario);
/* crowd_begin: as harness_begin. */
void crowd_begin(int argc, char **argv);

void attach_producer(ringbus_producer **producer);
void leave_producer(ringbus_producer **producer);
/* make: the next message in the book, kept in buffer i. */
void make(int i, uint32_t length, uint32_t tag);
/* publish: make and send it, now. publish_full: in all a ring of messages of one granule each. */
void publish(ringbus_producer *producer, uint32_t length, uint32_t tag);
void publish_full(ringbus_producer *producer);
/* claim_forever: and never commit. claim_and_abort: leaves a record that was given up. */
void claim_forever(ringbus_producer *producer, uint32_t length);
void claim_and_abort(ringbus_producer *producer, uint32_t length);
/* join: as group number g of the book; name NULL: ephemeral, of which nothing is promised. */
void join(int g, const char *name, enum ringbus_policy policy);
void read_some(int g, uint64_t messages);
void leave(int g);
/* join_shared: a member of the shared group "s", which is number 0 of the book. */
void join_shared(ringbus_consumer **member, bool at_most_once);
/* take_some: as many messages, in one run, whose entries become as. release_all: and they are gone. */
void take_some(ringbus_consumer *member, size_t messages, enum shared as);
void release_all(ringbus_consumer *member);
/* next_untaken: the first entry that no member has taken. */
uint64_t next_untaken(void);
void mark_shared(uint64_t from, uint64_t to, enum shared as);

/* die: another process opens the ring, lives so, and is killed. */
void die(void (*life)(ringbus_ring *ring));

/* The file, where a scenario begins as if somebody had been killed half-way. */
struct ringbus_header *live_header(void);
struct ringbus_slot *live_slot(uint32_t slot);
struct ringbus_group *live_group(uint32_t index);
/* slot_with_note: the n-th slot (from 0) with a note in it; 0 none. */
uint32_t slot_with_note(int n);

/* ---------------------------------------------------------------- survivors.c */

/* In which order those come who find the file as the dead have left it. */
enum order {
  PRODUCERS_FIRST,
  GROUPS_FIRST,
  REPAIR_FIRST,
  POLLING, /* nobody ever calls wait */
  ORDERS,
  LAP_BEFORE_GROUPS = ORDERS
};
/* survive: copy the live file, and see whether all that is promised in the book is kept there. */
bool survive(enum order order);

#endif
