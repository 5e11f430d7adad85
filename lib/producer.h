/* SPDX-License-Identifier: MIT */
/* producer.h - what a producer's handle is, for producer.c and many.c. */
#ifndef RINGBUS_PRODUCER_H
#define RINGBUS_PRODUCER_H

#include "internal.h"

/* A ring has so many stripes. There are more marks, so that the oldest useful one is never lost. */
#define STRIPES 16u
#define MARKS 32u

struct ringbus_producer {
  struct ringbus_producer_hot hot;
  struct handle handle;
  enum ringbus_wait wait;
  int64_t look_ns;
  uint64_t full_at; /* where the slowest consumer stood when there was no room last */
  /* One producer: */
  struct counted floor; /* as last announced; this producer is its only writer */
  /* Record boundaries this producer has passed, about one in each stripe of the ring, oldest first:
   * the floor moves to one of them without walking over records whose lines the consumers hold. */
  struct counted marks[MARKS];
  unsigned oldest_mark, next_mark;
  uint64_t stripe_end; /* of the stripe that tail was in when a boundary was noted last */
  uint64_t room_end;   /* floor + capacity, or a cursor's + capacity */
  /* Many producers: */
  uint64_t claim_position, claim_bytes; /* of the open claim; 0 bytes: none */
  struct blocked blocked;               /* see ask_whether_dead */
  uint64_t run;                         /* claims since one was lost to another last */
  struct trial giving_way;              /* to it; a step is a look whether to rest */
};

/* pace_collision (pace.c): another producer has claimed where this one would have; try again afterwards. */
void pace_collision(ringbus_producer *producer);

/* many_attach: where a producer among many begins. many_leave: gives up its open claim. */
int many_attach(ringbus_producer *producer);
void many_leave(ringbus_producer *producer);
/* many_room: is there room for a record of so many bytes? thorough: claims of the dead are given up.
 * Returns 0, -EAGAIN, -EMSGSIZE. */
int many_room(ringbus_producer *producer, uint64_t bytes, bool thorough);
/* many_record_bytes: of a message of this length. */
uint64_t many_record_bytes(size_t length, uint32_t tag);

#endif
