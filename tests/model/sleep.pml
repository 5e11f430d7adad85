/* SPDX-License-Identifier: MIT */
/* sleep.pml - SLEEP, for SPIN. The names are those of lib/wait.c and include/ringbus/inline.h. Nobody
 * looks after some time here: what wakes a sleeper is the wake-up.
 *
 * What is modelled
 *   RINGS rings, each with one futex word. Publishers send MESSAGES in all on each ring, PUBLISHERS of
 *   them per ring, and wake as ringbus_announce and ringbus_slow_wake do. A publication may stay in its
 *   publisher's store buffer until a fence, or until a sleeper's membarrier.
 *   SLEEPERS consumers each read all messages of all rings. They look, take a ticket of each ring,
 *   fence, look again, and sleep on all words as futex_waitv does: queued on one after the other, each
 *   queueing together with the comparison, and up again if one does not compare or has woken it.
 *   Whoever releases and whoever waits for room do the same with another word.
 *   With STOPS, the first publisher of the first ring may be stopped for good anywhere, if there is still
 *   something to be published after that: whoever does that wakes the sleepers.
 * What is not: deaths (the looks are for them), time limits, tickets that recur after 2^31 sleeps, the
 *   reads of a sleeper being done out of order (they are behind its full fence), positions (any message
 *   is as good as the next).
 *
 * What is checked: stuck. No end state but that everybody has read everything.
 *
 * Twins, in each of which an error must be found:
 *   SAME_TICKET    every ticket is 1
 *   ADOPT_STORES   who finds a ticket stores it, too
 *   NO_LOOK        no look after the ticket is taken
 *   NO_FENCE       neither does the publisher fence nor the sleeper use membarrier
 *   WAKE_FIRST     the publisher wakes, then clears the word
 *   CLEAR_FIRST    the publisher clears the word, then wakes (as it does where FUTEX_WAKE_OP is
 *                  forbidden): sound, but not with STOPS */

#ifndef RINGS
#define RINGS 1
#endif
#ifndef SLEEPERS
#define SLEEPERS 2
#endif
#ifndef PUBLISHERS
#define PUBLISHERS 1
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif

byte visible[RINGS];          /* messages that everybody sees */
byte buffered[RINGS * PUBLISHERS]; /* and those in the store buffer of each publisher */
byte to_send[RINGS];          /* not begun */
byte waiters[RINGS];
byte sleeps;
bool queued[RINGS * SLEEPERS]; /* in the kernel: ring * SLEEPERS + sleeper */

inline wake(ring) {
  d_step {
    i = 0;
    do :: i < SLEEPERS -> queued[ring * SLEEPERS + i] = false; i++ :: else -> break od
  }
}

inline may_stop(ring, me) {
#ifdef STOPS
  if
  :: atomic { me == 0 && to_send[ring] > 0 -> goto stopped }
  :: true
  fi
#else
  skip
#endif
}

inline flush(buffer) {
  visible[(buffer) / PUBLISHERS] = visible[(buffer) / PUBLISHERS] + buffered[buffer];
  buffered[buffer] = 0
}

proctype publisher(byte ring, me) {
  byte i;
  do
  :: atomic { to_send[ring] > 0 -> to_send[ring]--; buffered[me]++ } /* PUBLISH */
#if !defined(MEMBARRIER) && !defined(NO_FENCE)
     atomic { flush(me) } /* SLEEP */
#endif
     may_stop(ring, me);
     if
     :: waiters[ring] != 0 ->
        may_stop(ring, me);
#if defined(WAKE_FIRST)
        wake(ring);
        waiters[ring] = 0
#elif defined(CLEAR_FIRST)
        waiters[ring] = 0;
        may_stop(ring, me);
        wake(ring)
#else
        atomic { waiters[ring] = 0; wake(ring) } /* under the kernel's lock */
#endif
     :: else
     fi
  :: atomic { to_send[ring] == 0 -> break }
  od;
stopped:
  skip
}

/* A store buffer drains by itself at some time. */
proctype drain(byte buffer) {
end:
  do
  :: atomic { buffered[buffer] > 0 -> flush(buffer) }
  od
}

inline look() {
  ring = 0;
  found = false;
  do
  :: ring < RINGS && !found ->
     if
     :: visible[ring] > seen[ring] -> found = true; seen[ring]++
     :: else -> ring++
     fi
  :: else -> break
  od
}

inline take_tickets() {
  ring = 0;
  do
  :: ring < RINGS ->
     ticket[ring] = waiters[ring];
     if
#ifdef ADOPT_STORES
     :: ticket[ring] != 0 -> waiters[ring] = ticket[ring]
#else
     :: ticket[ring] != 0
#endif
     :: else ->
#ifdef SAME_TICKET
        ticket[ring] = 1;
        waiters[ring] = 1
#else
        d_step { sleeps++; ticket[ring] = sleeps };
        atomic {
          if
          :: waiters[ring] == 0 -> waiters[ring] = ticket[ring]
          :: else -> again = true
          fi
        }
        if
        :: again -> again = false;
           atomic { if :: waiters[ring] != 0 -> ticket[ring] = waiters[ring] :: else fi }
        :: else
        fi
#endif
     fi;
     ring++
  :: else -> break
  od;
  ring = 0
}

inline futex_waitv() {
  ring = 0;
  slept = true;
  do
  :: ring < RINGS && slept ->
     atomic {
       if
       :: waiters[ring] == ticket[ring] -> queued[ring * SLEEPERS + me] = true
       :: else -> slept = false
       fi;
       ring++
     }
  :: else -> break
  od;
  if
  :: slept ->
     atomic {
#if RINGS == 1
       !queued[me];
#else
       !queued[me] || !queued[SLEEPERS + me];
#endif
       ring = 0
     }
  :: else
  fi;
  d_step { ring = 0; do :: ring < RINGS -> queued[ring * SLEEPERS + me] = false; ring++ :: else -> break od; ring = 0 }
}

proctype sleeper(byte me) {
  byte ring, seen[RINGS], ticket[RINGS], left = RINGS * MESSAGES;
  bool found, slept, again;
  do
  :: left == 0 -> break
  :: else ->
     look();
     if
     :: found -> left--
     :: else ->
        take_tickets();
#ifdef MEMBARRIER
        atomic { /* SLEEP */
          ring = 0;
          do :: ring < RINGS * PUBLISHERS -> flush(ring); ring++ :: else -> break od;
          ring = 0
        }
#endif
#ifndef NO_LOOK
        look();
#endif
        if
        :: found -> left--
        :: else -> futex_waitv()
        fi
     fi
  od
}

init {
  byte i, n;
  atomic {
    i = 0;
    do
    :: i < RINGS ->
       to_send[i] = MESSAGES;
       n = 0;
       do
       :: n < PUBLISHERS ->
          run drain(i * PUBLISHERS + n);
          run publisher(i, i * PUBLISHERS + n);
          n++
       :: else -> break
       od;
       i++
    :: else -> break
    od;
    i = 0;
    do :: i < SLEEPERS -> run sleeper(i); i++ :: else -> break od
  }
}
