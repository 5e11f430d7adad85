/* SPDX-License-Identifier: MIT */
/* shared.pml - the members of a shared group, their deaths, and what a producer keeps for them, for SPIN.
 * The names are those of lib/share.c, where the argument stands that is checked here.
 *
 * What is modelled
 *   A message is one unit; a producer publishes them in order, as far as its limit goes. Every load,
 *   store and swap of group.take, a note (slot.taken), slot.taken_to, group.moves and of a lock is a step of
 *   its own in program order; what is private is done with the step before. Pairs are loaded whole.
 *   members    take (confirm_last_taker, note, the swap of take, confirm one's own), release,
 *              take_over (share_judge, judge_note, take_over_from), share_attach. Killed at any step, even
 *              while they attach; another comes, and gets any slot that nobody holds, and what was left
 *              in it.
 *   producer   share_gate: moves, take, the slots in order, moves again.
 * What is not: counts, groups that come and go, a run released in parts, at most once (then what would
 *   be taken over is dropped), records that were given up, orders weaker than the program's.
 *
 * What is checked
 *   twice        a message is delivered only if nobody alive has it in hand and nobody has released it
 *   overwritten  what is written over has been released
 *   damaged      no gate is more than a lap behind the tail
 *   lost, stuck  no end state but that all messages were published, delivered and released
 *
 * Bounds: MEMBERS members in as many slots, a ring of CAPACITY messages, MESSAGES in all, runs of up to RUN,
 *   DEATHS deaths. The producer looks when there is room, and LOOKS times else.
 *
 * Twins, in each of which an error must be found:
 *   ALWAYS_TAKEN     a dead member's note is taken for a run, whatever take says
 *   NEVER_TAKEN      a dead member's note that it did not confirm itself is dropped
 *   UNCONFIRMED      take is moved on without the last taker's note being confirmed
 *   HELD_AT_ONCE     the note says HELD before take was swapped
 *   SLOTS_FIRST      the producer looks at take behind the slots
 *   NOT_COMING       a run is taken over without being noted before its old note goes
 *   COMING_AS_NOTED  the note of a run that is taken over looks like that of one that is being taken
 *   NO_MOVES         the producer does not look again after a run has moved
 *   MOVES_LATE       moves is counted up behind the old note's going
 *   LAG_OF_TAKE      a note is called old by its distance from take, not from the tail
 *   COMING_LEFT      a note that is COMING is left to its slot's new holder, who has not locked the table
 *   NOTE_FIRST       the note to take over is loaded before it is asked whether its holder is dead */

#ifndef MEMBERS
#define MEMBERS 2
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef RUN
#define RUN 2
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef LOOKS
#define LOOKS 1
#endif

#define NOTHING 0
#define NOTED 1
#define HELD 2
#define COMING 3
#define NOTE(from, state, slot) ((from)*16 + (slot)*4 + (state)) /* slot: only of COMING */
#define STATE(note) ((note) % 4)
#define SOURCE(note) ((note) / 4 % 4)
#define FROM(note) ((note) / 16)

/* ---------------------------------------------------------------- shared */

byte published;
byte take, last; /* group.take: the position, and the last taker's slot */
byte taken[MEMBERS + 1];
byte taken_to[MEMBERS + 1];
bool lock[MEMBERS + 1]; /* of the slots */
bool table;             /* its lock */

/* ---------------------------------------------------------------- what is only known here */

#define UNTAKEN 0
#define TAKEN 1
#define IN_HAND 2
#define RELEASED 3
byte messages[MESSAGES];
byte released; /* how many of them */
byte deaths;
bool looking; /* the producer, and ... */
bool moved;   /* group.moves has been counted up since: in place of the number, which never recurs */

mtype = {
  ATTACH, TABLE_LOCK, INHERIT, TABLE_TRY,
  IDLE, CONFIRM, CONFIRM_TO, CONFIRM_SWAP, NOTE_TO, NOTE_FROM, SWAP, DROP, CONFIRM_OWN, RELEASE,
  JUDGE, JUDGE_NOTE, JUDGE_TAKE, JUDGE_TO, JUDGE_SOURCE, JUDGE_SWAP,
  FIND, FIND_DEAD, FIND_NOTE, FIND_TO, COME_TO, COME, MOVE, CLEAR, HOLD, TABLE_UNLOCK,
  LOOK, LOOK_TAKE, LOOK_SLOT, LOOK_AGAIN, PUBLISH, WAIT
};

#define HAS_NOTE_OF_THE_DEAD(slot) (slot != own && taken[slot] != NOTHING && !lock[slot])
#if MEMBERS == 2
#define ANY_NOTE_OF_THE_DEAD (HAS_NOTE_OF_THE_DEAD(1) || HAS_NOTE_OF_THE_DEAD(2))
#define KEEPS(position) (KEPT_BY(1, position) || KEPT_BY(2, position))
#else
#define ANY_NOTE_OF_THE_DEAD                                                                       \
  (HAS_NOTE_OF_THE_DEAD(1) || HAS_NOTE_OF_THE_DEAD(2) || HAS_NOTE_OF_THE_DEAD(3))
#define KEEPS(position) (KEPT_BY(1, position) || KEPT_BY(2, position) || KEPT_BY(3, position))
#endif

/* ---------------------------------------------------------------- members */

inline all_become(what) {
  i = from;
  do
  :: i < to -> messages[i] = what; i++
  :: else -> i = 0; break
  od
}

/* begin_run: the run goes to the caller. */
inline deliver() {
  i = from;
  do
  :: i < to -> assert(messages[i] == TAKEN); messages[i] = IN_HAND; i++ /* twice */
  :: else -> i = 0; break
  od;
  has_run = true
}

#define IS_FINDING (next == FIND || next == FIND_DEAD || next == FIND_NOTE)

/* On to the next slot that share_judge, or take_over, looks at. */
inline next_slot() {
  note = 0;
  took = false;
  now = 0;
  now_last = 0;
  slot++;
  if
  :: !has_table -> next = INHERIT
  :: has_table && slot > MEMBERS && (IS_FINDING || attaching) -> next = TABLE_UNLOCK
  :: has_table && slot > MEMBERS && !IS_FINDING && !attaching -> slot = 1; next = FIND
  :: has_table && slot <= MEMBERS -> next = (IS_FINDING -> FIND : JUDGE)
  fi;
  slot = (next == INHERIT || next == TABLE_UNLOCK -> 0 : slot)
}

proctype member(byte own) {
  byte slot, note, now, now_last, from, to, i;
  bool attaching, has_table, has_run, held, took;
  mtype next = IDLE;
  do
  :: atomic { next == ATTACH -> /* slot_take */
       if
       :: !lock[1] -> own = 1
       :: !lock[2] -> own = 2
#if MEMBERS > 2
       :: !lock[3] -> own = 3
#endif
       fi;
       lock[own] = true;
       attaching = true;
       next = TABLE_LOCK
     }
  :: atomic { next == TABLE_LOCK && !table -> /* group_join */
       table = true;
       has_table = true;
       slot = 1;
       next = JUDGE
     }

  /* share_judge, judge_note. While the table is locked no new holder of a slot becomes a member; so once
   * it is known that a member is dead, nobody but the holder of the lock changes its note, except to confirm
   * it. And a note that is COMING was left by somebody who died holding the lock. */
  :: atomic { next == JUDGE -> held = lock[slot]; next = JUDGE_NOTE }
  :: atomic { next == JUDGE_NOTE ->
       note = taken[slot];
       if
       :: STATE(note) == NOTED && !held -> next = JUDGE_TAKE
#ifdef COMING_LEFT
       :: STATE(note) == COMING && !held -> next = JUDGE_SOURCE
#else
       :: STATE(note) == COMING -> next = JUDGE_SOURCE
#endif
       :: else -> next_slot()
       fi;
       held = false
     }
  :: atomic { next == JUDGE_TAKE -> now = take; now_last = last; next = JUDGE_TO }
  :: atomic { next == JUDGE_TO ->
       took = (taken_to[slot] == now && now_last == slot);
#ifdef ALWAYS_TAKEN
       took = true;
#endif
#ifdef NEVER_TAKEN
       took = false;
#endif
       next = JUDGE_SWAP
     }
  :: atomic { next == JUDGE_SOURCE ->
       took = (taken[SOURCE(note)] != NOTE(FROM(note), HELD, 0));
       next = JUDGE_SWAP
     }
  :: atomic { next == JUDGE_SWAP ->
       if
       :: taken[slot] == note -> taken[slot] = (took -> NOTE(FROM(note), HELD, 0) : NOTHING)
       :: else
       fi;
       next_slot()
     }

  /* share_attach, the table being unlocked again */
  :: atomic { next == INHERIT ->
       note = taken[own];
       slot = own;
       if
       :: STATE(note) == HELD ->
          from = FROM(note);
          to = taken_to[own];
          deliver();
          next = RELEASE
       :: STATE(note) == NOTHING -> next = IDLE
       :: STATE(note) == NOTED -> next = JUDGE_TAKE
       :: STATE(note) == COMING ->
#ifdef COMING_LEFT
          next = JUDGE_SOURCE
#else
          assert(false)
#endif
       fi;
       attaching = (next == JUDGE_TAKE || next == JUDGE_SOURCE);
       note = (attaching -> note : 0);
       slot = (attaching -> slot : 0)
     }

  /* take_over, the table being locked */
  :: atomic { next == IDLE && ANY_NOTE_OF_THE_DEAD -> next = TABLE_TRY }
  :: atomic { next == TABLE_TRY && table -> next = IDLE }
  :: atomic { next == TABLE_TRY && !table ->
       table = true;
       has_table = true;
       slot = 1;
       next = JUDGE
     }
#ifdef NOTE_FIRST
  :: atomic { next == FIND ->
       note = taken[slot];
       if
       :: STATE(note) == HELD && slot != own -> next = FIND_DEAD
       :: else -> next_slot()
       fi
     }
  :: atomic { next == FIND_DEAD ->
       if
       :: lock[slot] -> next_slot()
       :: else -> next = FIND_TO
       fi
     }
#else
  :: atomic { next == FIND ->
       if
       :: slot == own || lock[slot] -> next_slot()
       :: else -> next = FIND_NOTE
       fi
     }
  :: atomic { next == FIND_NOTE ->
       note = taken[slot];
       if
       :: STATE(note) == HELD -> next = FIND_TO
       :: else -> next_slot()
       fi
     }
#endif
  :: atomic { next == FIND_TO ->
       from = FROM(note);
       to = taken_to[slot];
       next = COME_TO
     }
  :: atomic { next == COME_TO -> taken_to[own] = to;
#ifdef NOT_COMING
       next = CLEAR
#else
       next = COME
#endif
     }
  :: atomic { next == COME ->
#ifdef COMING_AS_NOTED
       taken[own] = NOTE(from, NOTED, 0);
#else
       taken[own] = NOTE(from, COMING, slot);
#endif
#ifdef MOVES_LATE
       next = CLEAR
#else
       next = MOVE
#endif
     }
  :: atomic { next == MOVE -> moved = looking;
#ifdef MOVES_LATE
       next = HOLD
#else
       next = CLEAR
#endif
     }
  :: atomic { next == CLEAR ->
       if
       :: taken[slot] == note -> taken[slot] = NOTHING;
#ifdef MOVES_LATE
          next = MOVE
#else
          next = HOLD
#endif
       :: else -> next = DROP
       fi;
       note = 0
     }
  :: atomic { next == HOLD ->
       taken[own] = NOTE(from, HELD, 0);
       slot = 0;
       deliver();
       next = TABLE_UNLOCK
     }
  :: atomic { next == TABLE_UNLOCK ->
       table = false;
       has_table = false;
       next = (attaching -> INHERIT : (has_run -> RELEASE : IDLE))
     }

  /* take */
  :: atomic { next == IDLE && take < published ->
       now = take;
       now_last = last;
       from = take;
       to = from + 1;
       if
       :: RUN > 1 && to < published -> to++
       :: skip
       fi;
       next = (last == 0 || last == own -> NOTE_TO : CONFIRM);
#ifdef UNCONFIRMED
       next = NOTE_TO
#endif
     }
  :: atomic { next == CONFIRM ->
       note = taken[now_last];
       next = (STATE(note) == NOTED -> CONFIRM_TO : NOTE_TO);
       note = (next == NOTE_TO -> 0 : note)
     }
  :: atomic { next == CONFIRM_TO ->
       next = (taken_to[now_last] == now -> CONFIRM_SWAP : NOTE_TO);
       note = (next == NOTE_TO -> 0 : note)
     }
  :: atomic { next == CONFIRM_SWAP ->
       taken[now_last] = (taken[now_last] == note -> NOTE(FROM(note), HELD, 0) : taken[now_last]);
       note = 0;
       next = NOTE_TO
     }
  :: atomic { next == NOTE_TO -> taken_to[own] = to; next = NOTE_FROM }
  :: atomic { next == NOTE_FROM ->
#ifdef HELD_AT_ONCE
       taken[own] = NOTE(from, HELD, 0);
#else
       taken[own] = NOTE(from, NOTED, 0);
#endif
       next = SWAP
     }
  :: atomic { next == SWAP ->
       if
       :: take == now && last == now_last ->
          take = to;
          last = own;
          assert(messages[from] == UNTAKEN && messages[to - 1] == UNTAKEN); /* twice */
          all_become(TAKEN);
          next = CONFIRM_OWN
       :: else -> next = DROP
       fi;
       now = 0;
       now_last = 0
     }
  :: atomic { next == DROP ->
       taken[own] = NOTHING;
       from = 0;
       to = 0;
       slot = 0;
       next = (has_table -> TABLE_UNLOCK : IDLE)
     }
  :: atomic { next == CONFIRM_OWN ->
       taken[own] = (taken[own] == NOTE(from, NOTED, 0) -> NOTE(from, HELD, 0) : taken[own]);
       deliver();
       next = RELEASE
     }
  :: atomic { next == RELEASE -> /* share_release */
       taken[own] = NOTHING;
       released = released + to - from;
       all_become(RELEASED);
       has_run = false;
       from = 0;
       to = 0;
       next = IDLE
     }
  :: next == IDLE && released == MESSAGES -> break
  :: atomic { next != ATTACH && deaths < DEATHS ->
       deaths++;
       if
       :: has_run -> all_become(TAKEN) /* again, by somebody else */
       :: else
       fi;
       lock[own] = false;
       table = table && !has_table;
       own = 0; slot = 0; note = 0; now = 0; now_last = 0; from = 0; to = 0;
       attaching = false; has_table = false; has_run = false; held = false; took = false;
       next = ATTACH
     }
  od
}

/* ---------------------------------------------------------------- the producer */

#define KEPT_BY(slot, position)                                                                    \
  (taken[slot] != NOTHING && FROM(taken[slot]) <= position &&                                      \
   published - FROM(taken[slot]) <= CAPACITY)

proctype producer() {
  byte gate, slot, limit, looks;
  mtype next = LOOK;
  do
  :: atomic { next == LOOK -> /* share_gate */
       looking = true;
       moved = false;
       slot = 1;
#ifdef SLOTS_FIRST
       gate = MESSAGES;
       next = LOOK_SLOT
#else
       next = LOOK_TAKE
#endif
     }
  :: atomic { next == LOOK_TAKE ->
       gate = take;
       next = LOOK_SLOT
     }
  :: atomic { next == LOOK_SLOT ->
       if
#ifdef LAG_OF_TAKE
       :: taken[slot] != NOTHING && FROM(taken[slot]) < gate && take - FROM(taken[slot]) <= CAPACITY ->
#else
       :: taken[slot] != NOTHING && FROM(taken[slot]) < gate &&
          published - FROM(taken[slot]) <= CAPACITY ->
#endif
          gate = FROM(taken[slot])
       :: else
       fi;
       slot++;
       if
       :: slot > MEMBERS -> slot = 0; next = LOOK_AGAIN
       :: else
       fi
     }
  :: atomic { next == LOOK_AGAIN ->
       if
#ifndef NO_MOVES
       :: moved -> next = LOOK
#endif
       :: else ->
#ifdef SLOTS_FIRST
          gate = (take < gate -> take : gate);
#endif
          assert(published - gate <= CAPACITY); /* damaged */
          limit = (gate + CAPACITY > limit -> gate + CAPACITY : limit);
          next = (limit > published -> PUBLISH : WAIT)
       fi;
       gate = 0;
       looking = false;
       moved = false
     }
  :: atomic { next == PUBLISH ->
       assert(published < CAPACITY || messages[published - CAPACITY] == RELEASED); /* overwritten */
       published++;
       if
       :: published == MESSAGES -> limit = 0; break
       :: published < MESSAGES && published == limit -> limit = 0; next = WAIT
       :: else
       fi
     }
  :: atomic { next == WAIT && take + CAPACITY > published && !KEEPS(published - CAPACITY) ->
       next = LOOK
     }
  :: atomic { (next == PUBLISH || next == WAIT) && looks < LOOKS -> looks++; next = LOOK }
  od
}

init {
  atomic {
    run producer();
    lock[1] = true;
    run member(1);
    lock[2] = true;
    run member(2);
#if MEMBERS > 2
    lock[3] = true;
    run member(3)
#endif
  }
}
