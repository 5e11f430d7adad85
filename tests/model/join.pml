/* SPDX-License-Identifier: MIT */
/* join.pml - JOIN, ANNOUNCE and succession, for SPIN. The names are those of lib/producer.c, lib/group.c
 * and lib/consumer.c, the argument that is checked here is in include/ringbus/inline.h.
 *
 * What is modelled
 *   One unit is 8 bytes, and every record is one unit, an empty message: it takes capacity units to
 *   lap, and, as in the code, room is wanted for a record and the cleared word behind it. Every shared
 *   load and store is a step of its own in program order; what is private is done with the step before.
 *   producer   succeed, make_room (scan, announce, scan again), gate_load, boundary_at_least (any
 *              boundary from needed to the slowest cursor), CLEAR, PUBLISH. Killed once, at any step,
 *              and succeeded. While it waits it reaps (look_for_room).
 *   group G    a settled gating group that consumes, or is not there.
 *   group J    ephemeral, GATE, or GATE_WHILE_ATTACHED (POLICY); absent at first, or (the last)
 *              existing, not gating, its cursor up to more than a lap behind. Its consumers come one
 *              after the other: the first joins, consumes, seeks back, leaves, or is killed at any
 *              step; the next joins and consumes all. Either it or the producer, while that waits,
 *              finishes what the first left half-way; if the group is not GATE, it may never come.
 *   The ring holds or drops when it has no group. gate_load gives up after any number of tries.
 *   With STORE_BUFFERS the stores of the producer's floor and of all of J pass through store buffers
 *   (first in, first out, as on x86), which the fences wait for. shared_set_bits is a full fence in
 *   itself: where NO_FENCE_JOINER takes the fence away, it is taken for a plain store.
 * What is not: BANK (a counted position is one value), SLEEP (who waits is woken by any change), groups
 *   that can be lapped, damaged files, weaker orders than x86's between other pairs (those have acquire
 *   and release; litmus.c), a table lock that is given up after 5 s.
 *
 * What is checked
 *   overwritten  at each CLEAR: not one unit at or after a cursor that its consumer, or whoever
 *                finished the join, believes settled; and at each settling: all from there on is intact
 *   damaged      no settled cursor is seen outside the ring
 *   lost         the cursor of a settled group that was left or died does not move by itself, and a
 *                seek back ends no further than where it began, whoever finishes it
 *   stuck        no end state but that everything was published and consumed (a ring that holds and
 *                has no group may be full). Nobody spins: who waits is blocked.
 *
 * Bounds: CAPACITY 3 units (two records and the cleared word); the ring is full at first, then MESSAGES
 *   more are sent, each of which wants the floor raised; DEATHS deaths in all, of the producer or of J's
 *   first consumer, or both; one seek back. The tail begins one lap up, so that a stale cursor can be
 *   more than a lap behind. One announcement and what it overwrites is all that a join can miss: the
 *   scan before the next announcement begins after it, and finds the group.
 *
 * Twins, in each of which an error must be found:
 *   NO_RESCAN         the producer does not look for joiners after it has announced
 *   NO_FLOOR          the joiner does not look at the floor after it has become visible
 *   NO_FENCE_PRODUCER, NO_FENCE_JOINER    with STORE_BUFFERS: one of JOIN's fences is missing
 *   EXCLUDE_JOINING   a joining cursor that is far behind is not waited for
 *   SETTLED_AT_ONCE   a cursor counts as settled before the floor is looked at
 *   RESUME_CLAMPED    a settled group that is resumed moves up to the floor
 *   TRUST_PREDECESSOR the successor writes up to its predecessor's floor without a scan of its own
 *   NO_REAPER         the producer does not finish what the dead have begun
 *   SEEK_TO_FLOOR     a seek back ends at the floor, even if that is announced above where it began */

#ifndef CAPACITY
#define CAPACITY 3
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif

#define FIRST (CAPACITY + 1)           /* the tail at first */
#define OLDEST (FIRST - CAPACITY + 1)  /* the floor at first: the ring is full */
#define LAST (FIRST + MESSAGES)        /* the tail at last */

#define NONE 0
#define JOINING 1
#define SETTLED 2
#define BACK 3

#define EPHEMERAL 0
#define GATE 1
#define GATE_WHILE_ATTACHED 2

#define NOBODY 0 /* members and lock holders: J's consumers are 1 and 2 */
#define PRODUCER 3

/* ---------------------------------------------------------------- shared words */

byte floor = OLDEST;
bool group_g, group_j; /* join.groups */
byte cursor_g = OLDEST, cursor_j;
byte gating; /* of J: its state. joins makes each word stored there a new one, so in place of the count: */
bool gating_stored; /* since the producer loaded it last */
byte held;   /* where J's cursor stood before it was moved back */
byte member; /* of J */
byte policy; /* of J */
bool hold;   /* identity.no_group */
byte table;  /* who holds the table lock */
byte published = FIRST; /* what a walk over the records comes to */

/* ---------------------------------------------------------------- what is only known here */

byte written = FIRST + 1; /* behind the highest unit ever written to */
bool settled;             /* J's cursor is believed to be ... */
byte settled_at;
bool owed;                /* J has been waited for since, and nothing from settled_at on may be lost */
bool alive = true;        /* J's present consumer */
bool changed;             /* since the producer began to look */
bool producer_died;
byte deaths;
bool nobody_comes;  /* J's consumers are all gone */

#define IS_DEAD (member == NOBODY || !alive)

#define IS_REAPABLE                                                                                \
  (group_j && IS_DEAD &&                                                                           \
   (policy == EPHEMERAL || gating == JOINING || gating == BACK ||                                   \
    (policy == GATE_WHILE_ATTACHED && gating != NONE)))

/* ---------------------------------------------------------------- stores and fences */

mtype = { FLOOR, GATING, CURSOR, GROUPS };

inline apply(what, value) {
  if
  :: what == FLOOR -> floor = value
  :: what == GATING -> gating = value; gating_stored = true
  :: what == CURSOR -> cursor_j = value
  :: what == GROUPS -> group_j = (value != 0)
  fi;
  if
  :: what == FLOOR
  :: else -> changed = true
  fi
}

#ifdef STORE_BUFFERS
chan producer_buffer = [6] of { mtype, byte };
chan joiner_buffer = [6] of { mtype, byte };
#define STORE(buffer, what, value) buffer!what(value)
#define FENCE(buffer) empty(buffer)

active proctype producer_stores() {
  mtype what;
  byte value;
end:
  do
  :: atomic { producer_buffer?what(value) -> d_step { apply(what, value); what = FLOOR; value = 0 } }
  od
}

active proctype joiner_stores() {
  mtype what;
  byte value;
end:
  do
  :: atomic { joiner_buffer?what(value) -> d_step { apply(what, value); what = FLOOR; value = 0 } }
  od
}
#else
#define producer_buffer 0
#define joiner_buffer 0
#define STORE(buffer, what, value) apply(what, value)
#define FENCE(buffer) true
#endif

#ifdef NO_FENCE_PRODUCER
#define PRODUCER_FENCE true
#else
#define PRODUCER_FENCE FENCE(producer_buffer)
#endif
#ifdef NO_FENCE_JOINER
#define JOINER_FENCE(buffer) true
#else
#define JOINER_FENCE(buffer) FENCE(buffer)
#endif

/* ---------------------------------------------------------------- groups */

/* What somebody does next. Each step is one load or store, with all that is decided by itself then. */
mtype = {
  CLEAR, PUBLISH, SCAN, SCAN_G, SCAN_J, LOAD_CURSOR, LOAD_AGAIN, FENCED, WAIT,   /* the producer */
  LOCK, FIND, ATTACHED, LEAVE, LEFT,                                             /* a consumer */
  JOIN, JOIN_CURSOR, JOIN_GROUPS, JOIN_FLOOR, JOIN_UP, JOINED, FORGOTTEN, UNLOCK /* both */
};

/* group_gate, the end of group_forget, and the unlocking of the table. cursor is private; then: the
 * step after. */
#ifdef SETTLED_AT_ONCE
#define FIRST_STATE SETTLED
#else
#define FIRST_STATE JOINING
#endif
#ifdef SEEK_TO_FLOOR
#define LEAST floor
#else
#define LEAST (back && held < floor -> held : floor)
#endif
#ifdef NO_FLOOR
#define HAS_TO_MOVE_UP(cursor) (floor < 0)
#else
#define HAS_TO_MOVE_UP(cursor) (cursor < LEAST)
#endif
#define FORGET_PLACE settled_at = (owed -> settled_at : 0)
#define GROUP_STEPS(buffer, cursor)                                                                \
  :: atomic { next == JOIN -> settled = false; FORGET_PLACE;                                       \
       STORE(buffer, GATING, (back -> BACK : FIRST_STATE));                                        \
       next = JOIN_CURSOR }                                                                        \
  :: atomic { next == JOIN_CURSOR -> STORE(buffer, CURSOR, cursor); next = JOIN_GROUPS }           \
  :: atomic { next == JOIN_GROUPS -> STORE(buffer, GROUPS, true); next = JOIN_FLOOR }              \
  :: atomic { next == JOIN_FLOOR && JOINER_FENCE(buffer) ->                                        \
       next = (HAS_TO_MOVE_UP(cursor) -> JOIN_UP : JOINED);                                        \
       cursor = (HAS_TO_MOVE_UP(cursor) -> LEAST : cursor) }                                       \
  :: atomic { next == JOIN_UP -> STORE(buffer, CURSOR, cursor); next = JOINED }                    \
  :: atomic { next == JOINED -> STORE(buffer, GATING, SETTLED);                                    \
       assert(!owed || cursor <= settled_at); /* lost */                                           \
       settled = true; settled_at = cursor; owed = (policy == GATE);                               \
       assert(written - cursor <= CAPACITY); /* overwritten */                                     \
       back = false; next = then; then = 0 }                                                       \
  :: atomic { next == FORGOTTEN -> member = NOBODY; next = then; then = 0 }                        \
  :: atomic { next == UNLOCK && FENCE(buffer) -> table = NOBODY; changed = true;         \
       next = after; after = 0; then = 0 }

/* The group's claim to be waited for ends. */
inline group_release_gate(buffer) {
  settled = false;
  owed = false;
  settled_at = 0;
  STORE(buffer, GATING, NONE)
}

inline group_forget() {
  settled = false;
  owed = false;
  settled_at = 0;
  group_j = false;
  changed = true;
  next = FORGOTTEN
}

/* groups_reap_locked, the lock being taken */
inline reap(buffer, cursor) {
  if
  :: policy == EPHEMERAL -> group_forget()
  :: policy == GATE_WHILE_ATTACHED -> group_release_gate(buffer); next = then
  :: policy == GATE -> cursor = cursor_j; back = (gating == BACK); next = JOIN
  fi
}

/* ---------------------------------------------------------------- J's consumers */

proctype joiner(byte self) {
  byte released;
  bool back;
  bool has_sought = (self == 2);
  mtype next = LOCK, then, after;
  do
  :: atomic { next == LOCK && table == NOBODY -> /* group_join */
       table = self;
       then = FIND;
       if
       :: IS_REAPABLE -> reap(joiner_buffer, released)
       :: else -> next = FIND
       fi
     }
  :: atomic { next == FIND && FENCE(joiner_buffer) ->
       then = UNLOCK;
       after = ATTACHED;
       member = self;
       alive = true;
       next = JOIN;
       if
       :: group_j -> /* group_resume */
          released = cursor_j;
          if
#ifndef RESUME_CLAMPED
          :: policy == GATE && gating == SETTLED -> /* held */
             next = UNLOCK;
             settled = true;
             settled_at = released;
             assert(written - released <= CAPACITY) /* overwritten */
#endif
          :: else
          fi
       :: else -> released = floor /* group_create */
       fi
     }
  :: atomic { next == ATTACHED && released < published -> /* RELEASE */
       released++;
       settled_at = released;
       STORE(joiner_buffer, CURSOR, released)
     }
  :: atomic { next == ATTACHED && !has_sought && released > floor -> /* move_to, back */
       has_sought = true;
       held = released; /* stored before the state that makes others look at it */
       back = true;
       released--;
       do
       :: released > floor -> released-- /* RINGBUS_POSITION; at the floor: RINGBUS_OLDEST */
       :: break
       od;
       then = ATTACHED;
       next = JOIN
     }
  :: atomic { next == ATTACHED && (self == 1 || released == LAST) && table == NOBODY &&
       FENCE(joiner_buffer) ->
       table = self; /* group_leave */
       released = 0;
       has_sought = true;
       then = UNLOCK;
       after = LEFT;
       next = LEAVE
     }
  :: atomic { next == LEAVE ->
       next = FORGOTTEN;
       if
       :: policy == EPHEMERAL -> group_forget()
       :: policy == GATE_WHILE_ATTACHED -> group_release_gate(joiner_buffer)
       :: policy == GATE
       fi
     }
  GROUP_STEPS(joiner_buffer, released)
  :: atomic { (next == LEFT || (self == 1 && deaths < DEATHS)) && FENCE(joiner_buffer) ->
       deaths = deaths + (next != LEFT);
       /* Gone. If it died, the kernel drops its locks. */
       alive = alive && member != self;
       table = (table == self -> NOBODY : table);
       changed = true;
       released = 0;
       if
       :: self == 1 -> run joiner(2)
       :: self == 2 || policy != GATE -> nobody_comes = true
       fi;
       break
     }
  od
}

/* ---------------------------------------------------------------- G's consumer */

active proctype consumer_g() {
end:
  do
  :: atomic { group_g && cursor_g < published -> cursor_g++; changed = true }
  od
}

/* ---------------------------------------------------------------- the producer */

/* The unit at position is written to: what was there a lap before is gone. */
inline overwrite(position) {
  written = position + 1;
  assert(!group_g || written - cursor_g <= CAPACITY); /* overwritten */
  assert(!(settled || owed) || written - settled_at <= CAPACITY) /* overwritten */
}

/* find_slowest: one more cursor. */
inline slower(cursor, is_exact) {
  if
  :: !gated || cursor < at -> at = cursor; exact = is_exact
  :: else
  fi;
  gated = true
}

#define needed (hot_tail + 2 - CAPACITY) /* where the floor must be */

/* make_room, after find_slowest. */
inline decide() {
  if
  :: !announced && (at < needed || !exact) -> next = WAIT
  :: !announced && at >= needed && exact && own_floor < needed ->
     own_floor = needed; /* boundary_at_least */
     do
     :: own_floor < at -> own_floor++
     :: break
     od;
     STORE(producer_buffer, FLOOR, own_floor);
     next = FENCED
  :: else ->
     hot_limit = CAPACITY + (gated && at < own_floor -> at : own_floor);
     next = (hot_tail + 2 <= hot_limit -> CLEAR : WAIT)
  fi;
  at = 0; gated = false; exact = false; again = NONE; cursor = 0;
  announced = (next == FENCED);
  changed = changed || next == CLEAR
}

proctype producer() {
  byte hot_tail, hot_limit, own_floor; /* hot.tail, hot.limit, floor */
  byte at, cursor, again;
  bool gated, exact, announced, seen_j, back;
  mtype next, then, after;
  atomic { /* succeed */
    hot_tail = published;
    own_floor = floor;
#ifdef TRUST_PREDECESSOR
    hot_limit = floor + CAPACITY;
#else
    hot_limit = hot_tail;
#endif
    next = (hot_tail == LAST -> LEFT : (hot_tail + 2 <= hot_limit -> CLEAR : SCAN))
  };
  do
  :: atomic { next == CLEAR && FENCE(producer_buffer) ->
       overwrite(hot_tail + 1);
       next = PUBLISH
     }
  :: atomic { next == PUBLISH ->
       hot_tail++;
       published = hot_tail;
       next = (hot_tail == LAST -> LEFT : (hot_tail + 2 <= hot_limit -> CLEAR : SCAN))
     }
  :: atomic { next == SCAN -> /* find_slowest: which groups are there? */
       changed = changed && announced;
       cursor = 0;
       seen_j = group_j;
       at = hot_tail;
       exact = true;
       if
       :: group_g -> next = SCAN_G
       :: !group_g && seen_j -> next = SCAN_J
       :: !group_g && !seen_j ->
          if
          :: hold && !announced -> gated = true; at = own_floor
          :: else
          fi;
          decide()
       fi
     }
  :: atomic { next == SCAN_G ->
       slower(cursor_g, true);
       if
       :: seen_j -> next = SCAN_J
       :: else -> decide()
       fi
     }
  :: atomic { next == SCAN_J -> /* gate_load */
       again = gating;
       gating_stored = false;
       if
       :: again == NONE -> decide()
       :: else -> next = LOAD_CURSOR
       fi
     }
  :: atomic { next == LOAD_CURSOR ->
       cursor = cursor_j;
       next = LOAD_AGAIN
     }
  :: atomic { next == LOAD_AGAIN ->
       if
       :: gating_stored && gating == NONE -> decide()
       :: gating_stored && gating != NONE -> again = gating; next = LOAD_CURSOR
       :: gating_stored -> slower(hot_tail - CAPACITY, false); decide() /* too many tries */
       :: !gating_stored && hot_tail - cursor <= CAPACITY -> slower(cursor, true); decide()
       :: !gating_stored && hot_tail - cursor > CAPACITY ->
          assert(again != SETTLED); /* damaged */
#ifndef EXCLUDE_JOINING
          slower(hot_tail - CAPACITY, false);
#endif
          decide()
       fi;
       gating_stored = false
     }
  :: atomic { next == FENCED && PRODUCER_FENCE ->
#ifdef NO_RESCAN
       at = hot_tail;
       exact = true;
       decide()
#else
       next = SCAN
#endif
     }
  :: atomic { next == WAIT && changed -> next = SCAN } /* look_for_room */
#ifndef NO_REAPER
  :: atomic { next == WAIT && table == NOBODY && IS_REAPABLE && FENCE(producer_buffer) ->
       table = PRODUCER;
       then = UNLOCK;
       after = SCAN;
       reap(producer_buffer, cursor)
     }
  GROUP_STEPS(producer_buffer, cursor)
#endif
  :: next == WAIT && hold && !group_g && !group_j && nobody_comes -> break /* full */
  :: next == LEFT -> break
  :: atomic { next != LEFT && !producer_died && deaths < DEATHS && FENCE(producer_buffer) ->
       /* Killed: the kernel drops its locks, and another comes. */
       producer_died = true;
       deaths++;
       table = (table == PRODUCER -> NOBODY : table);
       run producer();
       break
     }
  od
}

init {
  atomic {
#ifdef POLICY
    policy = POLICY;
#else
    if
    :: policy = EPHEMERAL
    :: policy = GATE
    :: policy = GATE_WHILE_ATTACHED
    fi;
#endif
    if
    :: policy == GATE_WHILE_ATTACHED ->
       group_j = true;
       if
       :: cursor_j = 0
       :: cursor_j = FIRST - CAPACITY
       fi
    :: true
    fi;
    if
    :: group_g = true
    :: hold = true
    :: skip
    fi;
    run producer();
    run joiner(1)
  }
}
