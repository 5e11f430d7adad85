/* SPDX-License-Identifier: MIT */
/* many.pml - claims among several producers, their deaths, and the floor, for SPIN. The names are those of
 * lib/many.c and lib/claim.c, where the argument stands that is checked here.
 *
 * What is modelled
 *   One unit is a granule, and records are one or two. Every load, store and swap of a word, the tail,
 *   the floor, a cursor or slot.claim is a step of its own in program order; what is private is done with
 *   the step before. The payload of a record is one step between its claim and its commit.
 *   producers  Two, in slots 1 and 2: find_true_tail (A1 to A3), refresh (its first look, the walk, the swap
 *              of the floor, its second look), claim_bytes (slot.claim, A5), commit of the whole, of the
 *              first granule (the rest given up), of two records at once, abort. They send until the true
 *              tail is at LAST. Killed at any step; then the slot has a new holder (slot_take,
 *              claim_resolve), or never again.
 *   consumer   of group 0, durable, settled, GATE: next_gated, release of one or several records,
 *              pass_over, claim_recover. Killed at any step, and followed by another.
 *   JOINER     group 1, which joins at the floor (group_gate), and reads on.
 *   OVERWRITE  instead of the groups: nobody is waited for, producers recover what blocks the floor, and
 *              a reader that can be lapped looks at word, payload, floor, in this order.
 * What is not: counts, SLEEP, STATE, groups that come and go (join.pml), orders weaker than the program's
 *   (litmus.c), eviction, and a lap field that is cut (2^58 bytes). find_true_tail does not give up.
 *
 * What is checked
 *   order        a claim is made at the end of what was claimed so far, and nowhere else
 *   torn         every granule read belongs to the record that its word describes
 *   overwritten  nothing that a settled group has not released is written to; nor an open claim
 *   lost, twice  each message that was committed is read once, but for what a dead consumer had not released
 *   stuck        no end state but that everything was published and read. Nobody spins: who waits is
 *                blocked until there is room, or until a word or a lock has changed.
 *
 * Bounds: a ring of CAPACITY granules; LAPS laps; ABORTS aborts and DEATHS deaths in all. The tail is told
 *   every STRIPE granules. With two laps a word returns to the index, with three a word of the same
 *   granules and state. Both producers are alike: the first to die is the one in slot 1.
 *
 * Twins, in each of which an error must be found:
 *   TAIL_FIRST       the shared tail is swapped before the word: who dies in between leaves a hole
 *   NO_LAP           words do not say of which lap they are
 *   LAP_OF_ONE_BIT   they only say whether it is an odd one
 *   HINT_FIRST       the tail is loaded before the word (A2 before A1)
 *   HINT_BEHIND      (STRIPE 2) a claim of nearly a lap does not move the tail first
 *   DEAD_FIRST       it is asked who is dead before the word is loaded
 *   UNRESOLVED       a slot's new holder leaves its predecessor's claim alone
 *   NOTED_LATE       slot.claim is stored behind the swap
 *   PAD_HELD         a consumer that finds only what was given up does not release it
 *   NO_RESCAN        (JOINER) no look for gates behind the swap of the floor
 *   NO_SCAN          (JOINER) nor by a producer that finds the floor raised by another
 *   TRUSTED_LIMIT    (JOINER) a new producer writes up to the floor it finds
 *   WALK_OVER_CLAIMS (OVERWRITE) the floor is raised above open claims
 *   UNCHECKED_COPY   (OVERWRITE) the reader believes its copy without looking at the floor again */

#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef STRIPE
#define STRIPE 1
#endif
#ifndef LAPS
#define LAPS 3
#endif
#ifndef LARGEST
#define LARGEST 2
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef ABORTS
#define ABORTS 0
#endif

#define LAST (LAPS * CAPACITY)

#define FREE 0
#define CLAIMED 1
#define COMMITTED 2
#define PAD 3

#if defined(NO_LAP)
#define LAP(position) 0
#elif defined(LAP_OF_ONE_BIT)
#define LAP(position) ((position) / CAPACITY % 2)
#else
#define LAP(position) ((position) / CAPACITY)
#endif
#define WORD(position, state, bytes, owner)                                                        \
  (LAP(position) * 64 + (state) * 16 + ((bytes)-1) * 4 + (owner))
#define STATE(word) ((word) / 16 % 4)
#define BYTES(word) ((word) / 4 % 4 + 1)
#define OWNER(word) ((word) % 4)
#define IS_CURRENT(word, position) ((word) / 64 == LAP(position) && STATE(word) != FREE)
#define AT(position) ((position) % CAPACITY)

/* ---------------------------------------------------------------- shared */

short words[CAPACITY];
byte data[CAPACITY]; /* each granule says where it was written to */
byte tail;
byte floor;
byte cursor[2];
bool visible[2]; /* join.groups */
byte claim[3];   /* slot.claim */
bool lock[3];    /* of the slots */

/* ---------------------------------------------------------------- what is only known here */

byte true_tail;
byte written;   /* behind the highest granule ever written to */
bool settled;   /* group 1 */
byte owed;      /* messages published and not yet read by group 0 */
byte deaths;
byte aborts;
byte working = 2; /* producers that will send more */

mtype = {
  ATTACH, RESOLVE, RESOLVE_WORD, RESOLVE_SWAP, SUCCEED,
  A1, A2, A3, NOTE, A5, NOTE_LATE, A5_WORD, WRITE, COMMIT, COMMIT_FIRST,
  REFRESH, SCAN, SCAN_JOINER, WALK, RAISE, WAIT, SENT,
  JOIN, JOIN_CURSOR, JOIN_GROUPS, JOIN_FLOOR, JOIN_UP, JOINED,
  READ, BLOCKED, RECOVER, RELEASE, COPY, CHECK
};

/* What is not needed any more, or cannot be told apart, is made equal. */
#ifdef NOTED_LATE
#define FIRST_STEP_OF_CLAIM A5
#else
#define FIRST_STEP_OF_CLAIM (deaths < DEATHS -> NOTE : A5) /* else nobody will look there any more */
#endif

inline advance(to) {
  T = to;
  limit = (limit < T -> T : limit);
  next = (T >= LAST -> SENT : A1)
}

/* claim_recover, claim_resolve: the swap */
inline give_up(position) {
  if
  :: words[AT(position)] == w -> words[AT(position)] = WORD(position, PAD, BYTES(w), 0)
  :: else
  fi;
  w = 0
}

#ifdef OVERWRITE
#define COUNTS 0
#define HAS_ROOM(end) (words[AT(at)] != w || !lock[OWNER(w)])
#else
#define COUNTS 1
#define HAS_ROOM(end)                                                                              \
  (cursor[0] + CAPACITY >= (end) && (!visible[1] || cursor[1] + CAPACITY >= (end)))
#endif

/* ---------------------------------------------------------------- producers */

/* refresh, after find_gate. */
inline decide() {
  if
  :: announced ->
     limit = CAPACITY + (gate < own_floor -> gate : own_floor);
     limit = (limit < T -> T : limit);
     next = (T + bytes <= limit -> A1 : WAIT);
     bytes = (next == WAIT -> bytes : 0);
     own_floor = 0;
     announced = false
  :: !announced && gate + CAPACITY < T + bytes -> next = WAIT; own_floor = 0
  :: else -> at = own_floor; next = WALK
  fi;
  gate = (next == WALK -> gate : 0)
}

proctype producer(byte me) {
  byte T, limit, bytes, told; /* hot.tail, hot.limit */
  byte own_floor, at, gate;
  byte records;
  short w;
  bool announced;
  mtype next = SUCCEED;
  do
  :: atomic { next == ATTACH && !lock[me] ->
       lock[me] = true;
#ifdef UNRESOLVED
       next = SUCCEED
#else
       next = RESOLVE
#endif
     }
  :: atomic { next == RESOLVE -> T = claim[me]; next = RESOLVE_WORD }
  :: atomic { next == RESOLVE_WORD ->
       w = words[AT(T)];
       if
       :: IS_CURRENT(w, T) && STATE(w) == CLAIMED && OWNER(w) == me -> next = RESOLVE_SWAP
       :: else -> w = 0; next = SUCCEED
       fi
     }
  :: atomic { next == RESOLVE_SWAP -> give_up(T); next = SUCCEED }
  :: atomic { next == SUCCEED -> /* many_attach */
       limit = 0;
       advance(tail);
#ifdef TRUSTED_LIMIT
       limit = floor + CAPACITY
#endif
     }

  /* find_true_tail */
#ifdef HINT_FIRST
  :: atomic { next == A1 -> told = tail; next = A2 }
  :: atomic { next == A2 ->
       w = words[AT(T)];
       if
       :: IS_CURRENT(w, T) -> advance(T + BYTES(w)); w = 0; told = 0
       :: else ->
#else
  :: atomic { next == A1 ->
       w = words[AT(T)];
       if
       :: IS_CURRENT(w, T) -> advance(T + BYTES(w)); w = 0
       :: else -> next = A2
       fi
     }
  :: atomic { next == A2 ->
       told = tail;
       if
       :: true ->
#endif
          if
          :: bytes = 1
          :: LARGEST > 1 -> bytes = 2
          fi;
          if
          :: told > T -> advance(told); told = 0; w = 0; bytes = 0
#ifdef TAIL_FIRST
          :: told <= T && told < T -> next = A3; bytes = 0; w = 0
#elif defined(HINT_BEHIND)
          :: told <= T && T - told >= STRIPE -> next = A3; bytes = 0; w = 0
#else
          :: told <= T && (T - told >= STRIPE || T + bytes - told > CAPACITY) ->
             next = A3; bytes = 0; w = 0
#endif
          :: else -> /* A4 */
             told = 0;
             next = (T + bytes > limit -> REFRESH : FIRST_STEP_OF_CLAIM);
             w = (next == REFRESH -> 0 : w)
          fi
       fi
     }
  :: atomic { next == A3 ->
       tail = (tail == told -> T : tail);
       told = 0;
       next = A1
     }

  /* claim_bytes */
  :: atomic { next == NOTE -> claim[me] = T; next = A5 }
#ifdef TAIL_FIRST
  :: atomic { next == A5 ->
       if
       :: tail == T -> tail = T + bytes; true_tail = tail; next = A5_WORD
       :: else -> bytes = 0; next = A1
       fi;
       w = 0
     }
  :: atomic { next == A5_WORD -> words[AT(T)] = WORD(T, CLAIMED, bytes, me); next = WRITE }
#else
  :: atomic { next == A5 ->
       if
       :: words[AT(T)] == w ->
          words[AT(T)] = WORD(T, CLAIMED, bytes, me);
          assert(T == true_tail); /* order */
          true_tail = T + bytes;
#ifdef NOTED_LATE
          next = NOTE_LATE
#else
          next = WRITE
#endif
       :: else -> bytes = 0; next = A1
       fi;
       w = 0
     }
#endif
  :: atomic { next == NOTE_LATE -> claim[me] = T; next = WRITE }
  :: atomic { next == WRITE ->
#ifndef OVERWRITE
       assert(T + bytes - cursor[0] <= CAPACITY);             /* overwritten */
       assert(!settled || T + bytes - cursor[1] <= CAPACITY); /* overwritten */
#endif
       data[AT(T)] = T;
       data[AT(T + bytes - 1)] = T + bytes - 1;
#ifdef JOINER
       written = (T + bytes > written -> T + bytes : written);
#endif
       next = COMMIT
     }

  /* publish, give_up, send_chunk */
  :: atomic { next == COMMIT ->
       assert(words[AT(T)] == WORD(T, CLAIMED, bytes, me)); /* overwritten, or taken for dead */
       if
       :: words[AT(T)] = WORD(T, COMMITTED, bytes, 0);
          owed = owed + COUNTS;
          advance(T + bytes);
          bytes = 0
       :: aborts < ABORTS ->
          aborts++;
          words[AT(T)] = WORD(T, PAD, bytes, 0);
          advance(T + bytes);
          bytes = 0
#ifndef WHOLE
       :: bytes > 1 ->
          words[AT(T + 1)] = WORD(T + 1, PAD, bytes - 1, 0);
          records = 1;
          next = COMMIT_FIRST
       :: bytes > 1 ->
          words[AT(T + 1)] = WORD(T + 1, COMMITTED, bytes - 1, 0);
          records = 2;
          next = COMMIT_FIRST
#endif
       fi
     }
  :: atomic { next == COMMIT_FIRST ->
       assert(words[AT(T)] == WORD(T, CLAIMED, bytes, me)); /* overwritten, or taken for dead */
       words[AT(T)] = WORD(T, COMMITTED, 1, 0);
       owed = owed + records * COUNTS;
       records = 0;
       advance(T + bytes);
       bytes = 0
     }

  /* refresh */
  :: atomic { next == REFRESH ->
       own_floor = floor;
       announced = (own_floor + CAPACITY >= T + bytes); /* then the first look decides nothing */
#ifdef NO_SCAN
       if
       :: announced -> gate = own_floor; decide()
       :: else -> next = SCAN
       fi
#elif defined(OVERWRITE)
       gate = T;
       decide()
#else
       next = SCAN
#endif
     }
  :: atomic { next == SCAN ->
       gate = cursor[0];
#ifdef JOINER
       next = SCAN_JOINER
#else
       decide()
#endif
     }
  :: atomic { next == SCAN_JOINER ->
       gate = (visible[1] && cursor[1] < gate -> cursor[1] : gate);
       decide()
     }
  :: atomic { next == WALK -> /* boundary_at_least */
       w = words[AT(at)];
       if
#ifdef WALK_OVER_CLAIMS
       :: IS_CURRENT(w, at) ->
#else
       :: IS_CURRENT(w, at) && STATE(w) != CLAIMED ->
#endif
          at = at + BYTES(w);
          w = 0;
          if
          :: at + CAPACITY >= T + bytes -> next = RAISE; gate = 0
          :: at < gate
          fi
       :: else ->
          gate = 0;
          if
          :: floor != own_floor -> next = REFRESH; own_floor = 0; at = 0; w = 0
          :: else ->
#ifdef OVERWRITE
             assert(IS_CURRENT(w, at)); /* stuck */
             own_floor = 0;
             next = (lock[OWNER(w)] -> WAIT : RECOVER)
#else
             assert(false) /* a consumer would have passed an open claim */
#endif
          fi
       fi
     }
  :: atomic { next == RECOVER -> give_up(at); at = 0; next = REFRESH }
  :: atomic { next == RAISE ->
       if
       :: floor == own_floor ->
          floor = at;
          own_floor = at;
          announced = true;
#if defined(NO_RESCAN)
          gate = own_floor;
          decide()
#elif defined(OVERWRITE)
          gate = T;
          decide()
#else
          next = SCAN
#endif
       :: else -> own_floor = 0; next = REFRESH
       fi;
       at = 0
     }
  :: atomic { next == WAIT && HAS_ROOM(T + bytes) -> bytes = 0; at = 0; w = 0; next = A1 }

  :: atomic { next == SENT -> working--; break }
  :: atomic { next != SENT && lock[me] && deaths < DEATHS && (me == 1 || deaths > 0) ->
       deaths++;
       lock[me] = false;
       T = 0; limit = 0; bytes = 0; told = 0; own_floor = 0; at = 0; gate = 0; records = 0; w = 0;
       announced = false;
       if
       :: next = ATTACH
       :: working--; break
       fi
     }
  od
}

/* ---------------------------------------------------------------- consumers */

#ifdef PAD_HELD
#define COUNTS_UNRELEASED 1
#define HAS_BORROWED unreleased > 0
#else
#define COUNTS_UNRELEASED (deaths < DEATHS)
#define HAS_BORROWED true
#endif

proctype consumer(byte group) {
  byte position, unreleased;
  short w;
  bool slot_1_is_dead;
  mtype next = (group == 1 -> JOIN : READ);
  do
  :: atomic { next == JOIN -> position = floor; next = JOIN_CURSOR } /* group_create, group_gate */
  :: atomic { next == JOIN_CURSOR -> cursor[1] = position; next = JOIN_GROUPS }
  :: atomic { next == JOIN_GROUPS -> visible[1] = true; next = JOIN_FLOOR }
  :: atomic { next == JOIN_FLOOR ->
       next = (floor > position -> JOIN_UP : JOINED);
       position = (floor > position -> floor : position)
     }
  :: atomic { next == JOIN_UP -> cursor[1] = position; next = JOINED }
  :: atomic { next == JOINED ->
       settled = true;
       assert(written - position <= CAPACITY); /* overwritten */
       next = READ
     }

#ifdef DEAD_FIRST
  :: atomic { next == READ && !lock[1] && !slot_1_is_dead -> slot_1_is_dead = true }
#endif
  :: atomic { next == READ && IS_CURRENT(words[AT(position)], position) -> /* next_gated */
       w = words[AT(position)];
       if
       :: STATE(w) == COMMITTED ->
          assert(data[AT(position)] == position);                               /* torn */
          assert(data[AT(position + BYTES(w) - 1)] == position + BYTES(w) - 1); /* torn */
          if
          :: group == 0 ->
             assert(owed > 0); /* twice */
             owed--;
             unreleased = unreleased + COUNTS_UNRELEASED
          :: else
          fi;
          position = position + BYTES(w);
          w = 0;
          next = RELEASE;
#ifndef WHOLE
          if
          :: next = READ
          :: skip
          fi
#endif
       :: STATE(w) == PAD ->
#ifndef PAD_HELD
          next = (position == cursor[group] -> RELEASE : READ); /* pass_over */
#endif
          position = position + BYTES(w);
          w = 0
       :: STATE(w) == CLAIMED && position != cursor[group] -> w = 0; next = RELEASE
       :: STATE(w) == CLAIMED && position == cursor[group] ->
          next = (slot_1_is_dead && OWNER(w) == 1 -> RECOVER : BLOCKED)
       fi
     }
  :: atomic { next == READ && !IS_CURRENT(words[AT(position)], position) &&
       position != cursor[group] && HAS_BORROWED ->
       next = RELEASE
     }
  :: atomic { next == RELEASE -> cursor[group] = position; unreleased = 0; next = READ }
  :: atomic { next == BLOCKED && words[AT(position)] != w -> w = 0; next = READ }
  :: atomic { next == BLOCKED && !lock[OWNER(w)] -> next = RECOVER } /* claim_recover */
  :: atomic { next == RECOVER -> give_up(position); next = READ }
  :: atomic { next == READ && working == 0 && position == true_tail && cursor[group] == position ->
       assert(group != 0 || owed == 0); /* lost */
       break
     }
  :: atomic { group == 0 && deaths < DEATHS ->
       deaths++;
       position = cursor[0];
       owed = owed + unreleased;
       unreleased = 0;
       w = 0;
       slot_1_is_dead = false;
       next = READ
     }
  od
}

/* lapped_recv */
proctype reader() {
  byte position, bytes;
  short w;
  bool intact = true;
  mtype next = READ;
  do
  :: atomic { next == READ && floor > position -> next = CHECK } /* whatever the word says */
  :: atomic { next == READ && IS_CURRENT(words[AT(position)], position) ->
       w = words[AT(position)];
       if
       :: STATE(w) == COMMITTED -> bytes = BYTES(w); next = COPY
       :: STATE(w) == PAD -> bytes = BYTES(w); next = CHECK
       :: STATE(w) == CLAIMED -> next = BLOCKED
       fi;
       w = (next == BLOCKED -> w : 0)
     }
  :: atomic { next == BLOCKED && (words[AT(position)] != w || floor > position) -> w = 0; next = READ }
  :: atomic { next == COPY ->
       intact = (data[AT(position)] == position &&
                 data[AT(position + bytes - 1)] == position + bytes - 1);
       next = CHECK
     }
  :: atomic { next == CHECK ->
#ifdef UNCHECKED_COPY
       assert(intact); /* torn */
#endif
       if
       :: floor > position -> position = floor
       :: else ->
          assert(intact); /* torn */
          position = position + bytes
       fi;
       bytes = 0;
       intact = true;
       next = READ
     }
  :: working == 0 && (next == READ || next == BLOCKED) -> break
  od
}

init {
  atomic {
    lock[1] = true;
    lock[2] = true;
    visible[0] = true;
    run producer(1);
    run producer(2);
#ifdef OVERWRITE
#ifndef NO_READER
    run reader();
#endif
#else
    run consumer(0);
#endif
#ifdef JOINER
    run consumer(1)
#endif
  }
}
