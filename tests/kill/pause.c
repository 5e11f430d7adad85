/* SPDX-License-Identifier: MIT */
/* pause.c - stopped at every instruction, while others go on.
 *
 * Each scenario is run again and again; the actor is stopped one instruction later each time. While it
 * stands there, alive, the judge takes the other roles on the same live file: joins, seeks back, or
 * publishes more than a lap. Then the actor goes on to its end, and everybody's books are held against
 * each other: no message that somebody may still read was overwritten, none lost, none twice. In the
 * scenarios named "killed" the actor does not go on, but is killed there under the eyes of the living.
 *
 *   pause [scenario [layout]]    those whose names contain these words
 *   RINGBUS_TEST_SCALE=full      every instruction in every layout, else a sample of both */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MORE_THAN_A_LAP (CAPACITY + CAPACITY / 2)

/* The judge's side. "r" is a durable group that is always drained, so that the ring can move on;
 * "j" is the one that comes at a bad moment. */
struct partner {
  ringbus_ring *ring;
  ringbus_producer *producer;
  ringbus_consumer *r, *j;
  uint64_t r_next, j_next;
  uint64_t j_lost; /* what it was told at attach */
  struct plan *plan;
};

struct pause_scenario {
  struct scenario actor;
  bool (*before)(struct partner *);       /* before there is an actor */
  bool (*prepared)(struct partner *);     /* when it is about to begin its region */
  bool (*while_paused)(struct partner *); /* at each instruction of its region */
  bool (*afterwards)(struct partner *);   /* while it goes on, or has been killed */
  bool killed;
  uint64_t (*until)(void); /* killed later than that: when this has just changed */
};

#define wrong(...) return harness_bad(__VA_ARGS__), false

/* ---------------------------------------------------------------- both sides */

/* Publish so many bytes of messages, reading in one group that must not be in the way, until done or
 * until somebody else holds the producer back. */
static int publish_and_read(ringbus_producer *producer, ringbus_consumer *reader,
                            uint64_t *reader_next, struct plan *plan, uint64_t bytes) {
  uint64_t published = 0;
  while (published < bytes) {
    uint64_t sequence;
    ringbus_producer_tell(producer, NULL, &sequence);
    uint32_t length = varied_length(sequence);
    int result = publish_planned(producer, plan, length, 0);
    if (result == -EAGAIN) {
      result = reader ? drain_group(reader, plan, UINT64_MAX, reader_next) : 0;
      if (result == 0)
        result = ringbus_producer_wait(producer, length, 0, 0); /* looks for the dead, too */
      if (result == -ETIMEDOUT)
        return 0;
      if (result == 0)
        result = publish_planned(producer, plan, length, 0);
    }
    if (result != 0)
      return result;
    published += record_bytes(length, 0);
  }
  return 0;
}

/* ---------------------------------------------------------------- the actor publishes */

static uint64_t actor_next; /* in group "r" */

static void attach_producer(struct actor *a) {
  int result = ringbus_producer_attach(a->ring, NULL, &a->producer);
  actor_expect(a, result == 0, result);
}

static void attach_consumer(struct actor *a, int i, const char *group, enum ringbus_policy policy,
                            enum ringbus_start start) {
  struct ringbus_consumer_options options = {
      .group = group, .policy = policy, .start = start, .hand_back = RINGBUS_HAND_BACK_STORE};
  int result = ringbus_consumer_attach(a->ring, &options, &a->consumer[i]);
  actor_expect(a, result == 0, result);
}

/* The bytes of the next message, made beforehand. */
static void make(struct actor *a, int i, uint32_t length) {
  if (i == 0)
    ringbus_producer_tell(a->producer, &a->position, &a->sequence);
  fill_message(a->buffer[i], length, a->sequence, a->position);
  a->control->plan[a->sequence++] = (struct plan){length, 0};
  a->position += record_bytes(length, 0);
  a->length[i] = length;
}

static void fill_the_ring(struct actor *a) {
  for (int i = 0; i < 63; i++) {
    int result = publish_planned(a->producer, a->control->plan, 56, 0);
    actor_expect(a, result == 0, result);
  }
  make(a, 0, 100);
}

/* A full ring, read in group "r", which the producer does not know yet: the next claim refreshes. */
static void prepare_full(struct actor *a) {
  attach_producer(a);
  attach_consumer(a, 0, "r", RINGBUS_GATE, RINGBUS_OLDEST);
  fill_the_ring(a);
  int result = drain_group(a->consumer[0], a->control->plan, UINT64_MAX, &actor_next);
  actor_expect(a, result == 0, result);
}

static void prepare_full_of_dropped(struct actor *a) {
  attach_producer(a);
  fill_the_ring(a);
}

static void region_send(struct actor *a) {
  int result = ringbus_producer_send(a->producer, a->buffer[0], a->length[0], 0);
  actor_expect(a, result == 0 || result == -EAGAIN, result);
}

static void rest_publish(struct actor *a) {
  int result =
      publish_and_read(a->producer, a->consumer[0], &actor_next, a->control->plan, MORE_THAN_A_LAP);
  actor_expect(a, result == 0, result);
  result = ringbus_producer_detach(a->producer);
  actor_expect(a, result == 0, result);
  if (a->consumer[0])
    ringbus_consumer_detach(a->consumer[0]);
}

static void prepare_three(struct actor *a) {
  attach_producer(a);
  make(a, 0, 40);
  make(a, 1, 0);
  make(a, 2, 133);
}
static void region_three_sends(struct actor *a) {
  for (int i = 0; i < 3; i++) {
    int result = ringbus_producer_send(a->producer, a->buffer[i], a->length[i], 0);
    actor_expect(a, result == 0, result);
    a->control->promise.done++;
  }
}
static void send_three(struct actor *a, bool all_at_once) {
  struct iovec messages[3];
  for (int i = 0; i < 3; i++)
    messages[i] = (struct iovec){a->buffer[i], a->length[i]};
  int result = ringbus_producer_send_batch(a->producer, messages, 3, 0, all_at_once, NULL);
  actor_expect(a, result == 0, result);
  a->control->promise.done = 3;
}
static void region_batch(struct actor *a) { send_three(a, false); }
static void region_batch_at_once(struct actor *a) {
  a->control->promise.all_or_none = 1;
  send_three(a, true);
}

/* ---------------------------------------------------------------- the actor consumes */

static void prepare_nothing(struct actor *a) { (void)a; }

static void region_join_at_oldest(struct actor *a) {
  attach_consumer(a, 0, "j", RINGBUS_GATE, RINGBUS_OLDEST);
}
static void region_join(struct actor *a) {
  attach_consumer(a, 0, "j", RINGBUS_GATE, RINGBUS_RESUME);
}
static void region_join_at_newest(struct actor *a) {
  attach_consumer(a, 0, "j", RINGBUS_GATE, RINGBUS_NEWEST);
}
static void region_join_ephemeral(struct actor *a) {
  attach_consumer(a, 0, NULL, RINGBUS_GATE, RINGBUS_OLDEST);
}
static void region_join_at_second(struct actor *a) {
  struct ringbus_consumer_options options = {.group = "j",
                                             .start = RINGBUS_POSITION,
                                             .position = harness.layout->start +
                                                         record_bytes(varied_length(0), 0)};
  int result = ringbus_consumer_attach(a->ring, &options, &a->consumer[0]);
  actor_expect(a, result == 0 || result == -EINVAL, result);
}

static void prepare_left_behind(struct actor *a) {
  attach_consumer(a, 0, "j", RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_OLDEST);
  ringbus_consumer_detach(a->consumer[0]);
}
static void region_resume(struct actor *a) {
  uint64_t next, lost;
  attach_consumer(a, 0, "j", RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_RESUME);
  ringbus_consumer_tell(a->consumer[0], NULL, &next);
  ringbus_consumer_lost(a->consumer[0], &lost, NULL);
  actor_expect(a, next == lost, next);
}

static void prepare_read_all(struct actor *a) {
  uint64_t next = 0;
  attach_consumer(a, 0, "j", RINGBUS_GATE, RINGBUS_OLDEST);
  int result = drain_group(a->consumer[0], a->control->plan, UINT64_MAX, &next);
  actor_expect(a, result == 0, result);
}
static void region_seek_back(struct actor *a) {
  int result = ringbus_consumer_seek(a->consumer[0], RINGBUS_OLDEST, 0);
  actor_expect(a, result == 0 || result == -EOVERFLOW, result);
}

static void prepare_join(struct actor *a) {
  attach_consumer(a, 0, "j", RINGBUS_GATE, RINGBUS_OLDEST);
}
/* What was read is looked at later: the region is to be no longer than the calls. */
static void region_borrow_and_release(struct actor *a) {
  size_t count;
  int result = ringbus_consumer_borrow_batch(a->consumer[0], a->messages, 3, &count);
  actor_expect(a, result == 0 && count == 3, result);
  for (int i = 0; i < 3; i++) {
    memcpy(a->buffer[i], a->messages[i].data, a->messages[i].length);
    a->messages[i].data = a->buffer[i];
  }
  result = ringbus_consumer_release(a->consumer[0]);
  actor_expect(a, result == 0, result);
}
static void prepare_borrow_all(struct actor *a) {
  size_t count;
  prepare_join(a);
  int result = ringbus_consumer_borrow_batch(a->consumer[0], a->messages, 64, &count);
  actor_expect(a, result == 0, result);
  for (size_t i = 0; i < count; i++)
    actor_expect(a, verify_message(&a->messages[i], i, a->control->plan), i);
}
static void region_release(struct actor *a) {
  int result = ringbus_consumer_release(a->consumer[0]);
  actor_expect(a, result == 0, result);
}
static void region_recv(struct actor *a) {
  for (int i = 0; i < 3; i++) {
    int result = ringbus_consumer_recv(a->consumer[0], a->buffer[i], CAPACITY, &a->messages[i]);
    actor_expect(a, result == 0, result);
  }
}

/* Reads on from wherever it stands, after the judge has published as much as it was let. */
static void rest_read(struct actor *a) {
  uint64_t next;
  a->control->report[0] = 1;
  if (a->consumer[0])
    ringbus_consumer_tell(a->consumer[0], NULL, &next);
  turn_over_to_judge();
  if (!a->consumer[0])
    return;
  int result = drain_group(a->consumer[0], a->control->plan, UINT64_MAX, &next);
  a->control->report[1] = next;
  actor_expect(a, result == 0, result);
  ringbus_consumer_detach(a->consumer[0]);
}

static void rest_look_and_read(struct actor *a) {
  for (uint64_t i = 0; i < 3; i++)
    actor_expect(a, verify_message(&a->messages[i], i, a->control->plan), i);
  rest_read(a);
}

static void prepare_join_ephemeral(struct actor *a) {
  attach_consumer(a, 0, NULL, RINGBUS_GATE, RINGBUS_OLDEST);
}
static void prepare_join_while_attached(struct actor *a) {
  attach_consumer(a, 0, "j", RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_OLDEST);
}
static void region_leave(struct actor *a) {
  int result = ringbus_consumer_detach(a->consumer[0]);
  a->consumer[0] = NULL;
  actor_expect(a, result == 0, result);
}

/* Readers that may be lapped: what they do get is whole, and what they lost is counted exactly. */
static void prepare_join_lapped(struct actor *a) {
  attach_consumer(a, 0, "j", RINGBUS_LAPPED, RINGBUS_OLDEST);
}
static void prepare_observe(struct actor *a) {
  int result = ringbus_observer_attach(a->ring, NULL, &a->observer);
  actor_expect(a, result == 0, result);
}
static void tell_lapped(struct actor *a, uint64_t *next, uint64_t *lost) {
  if (a->observer) {
    ringbus_observer_tell(a->observer, NULL, next);
    ringbus_observer_lost(a->observer, lost, NULL);
  } else {
    ringbus_consumer_tell(a->consumer[0], NULL, next);
    ringbus_consumer_lost(a->consumer[0], lost, NULL);
  }
}
static int recv_lapped(struct actor *a) {
  return a->observer ? ringbus_observer_recv(a->observer, a->copy, sizeof a->copy, &a->message)
                     : ringbus_consumer_recv(a->consumer[0], a->copy, sizeof a->copy, &a->message);
}
static void region_recv_lapped(struct actor *a) { a->result = recv_lapped(a); }
/* What a call has done, of which a->result is the answer. */
static void check_lapped(struct actor *a, uint64_t sequence, uint64_t lost_before) {
  uint64_t next, lost;
  tell_lapped(a, &next, &lost);
  actor_expect(a, a->result == 0 || a->result == -EOVERFLOW || a->result == -EAGAIN, a->result);
  if (a->result == 0)
    actor_expect(a, verify_message(&a->message, sequence, a->control->plan), sequence);
  actor_expect(a, next == sequence + lost - lost_before + (a->result == 0), next);
}
static void rest_read_lapped(struct actor *a) {
  uint64_t next, lost;
  check_lapped(a, 0, 0);
  turn_over_to_judge();
  do {
    tell_lapped(a, &next, &lost);
    a->result = recv_lapped(a);
    check_lapped(a, next, lost);
  } while (a->result != -EAGAIN);
  a->control->report[0] = 1;
  a->control->report[1] = next;
}

/* ---------------------------------------------------------------- the judge consumes */

static bool judge_joins(struct partner *p, enum ringbus_policy policy, enum ringbus_start start,
                        uint64_t position) {
  struct ringbus_consumer_options options = {
      .group = "j", .policy = policy, .start = start, .position = position};
  int result = ringbus_consumer_attach(p->ring, &options, &p->j);
  if (result == -EINVAL && start == RINGBUS_POSITION)
    return true; /* just overwritten */
  if (result != 0)
    wrong("joining: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  ringbus_consumer_tell(p->j, NULL, &p->j_next);
  ringbus_consumer_lost(p->j, &p->j_lost, NULL);
  return true;
}
static bool join_at_oldest(struct partner *p) {
  return judge_joins(p, RINGBUS_GATE, RINGBUS_OLDEST, 0);
}
static bool join_at_newest(struct partner *p) {
  return judge_joins(p, RINGBUS_GATE, RINGBUS_NEWEST, 0);
}
static bool join_at_tenth(struct partner *p) {
  return judge_joins(p, RINGBUS_GATE, RINGBUS_POSITION, harness.layout->start + 9 * 64);
}

/* Group "j", gating while attached, stood at the first message and has left. */
static bool leave_behind(struct partner *p) {
  bool fine = judge_joins(p, RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_OLDEST, 0);
  if (fine)
    ringbus_consumer_detach(p->j);
  p->j = NULL;
  return fine;
}
static bool resume_where_left(struct partner *p) {
  if (!judge_joins(p, RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_RESUME, 0))
    return false;
  if (p->j_next != p->j_lost)
    wrong("resumes at message %llu, told that %llu are lost", (unsigned long long)p->j_next,
          (unsigned long long)p->j_lost);
  return true;
}

static bool judge_reads(struct partner *p) {
  int result = drain_group(p->j, p->plan, UINT64_MAX, &p->j_next);
  if (result != 0)
    wrong("group j, message %llu: %s", (unsigned long long)p->j_next,
          result == -EILSEQ ? "not what was sent" : ringbus_strerror(result));
  return true;
}
static bool seek_back(struct partner *p) {
  int result = ringbus_consumer_seek(p->j, RINGBUS_OLDEST, 0);
  if (result != 0 && result != -EOVERFLOW)
    wrong("seek: %s", ringbus_strerror(result));
  ringbus_consumer_tell(p->j, NULL, &p->j_next);
  return true;
}
static bool leave_and_return(struct partner *p) {
  ringbus_consumer_detach(p->j);
  p->j = NULL;
  uint64_t next = p->j_next;
  if (!judge_joins(p, RINGBUS_GATE, RINGBUS_RESUME, 0))
    return false;
  if (p->j_next != next || p->j_lost != 0)
    wrong("left at message %llu, came back at %llu with %llu lost", (unsigned long long)next,
          (unsigned long long)p->j_next, (unsigned long long)p->j_lost);
  return true;
}
static bool another_group_in_its_place(struct partner *p) {
  ringbus_consumer_detach(p->j);
  p->j = NULL;
  int result = ringbus_ring_remove_group(p->ring, "j");
  if (result != 0)
    wrong("remove_group: %s", ringbus_strerror(result));
  return join_at_oldest(p);
}

/* j has 1000 bytes of patience: lapped then, with exact books. */
static bool join_impatient(struct partner *p) {
  struct ringbus_consumer_options options = {.group = "j", .max_lag = 1000};
  int result = ringbus_consumer_attach(p->ring, &options, &p->j);
  if (result != 0)
    wrong("joining: %s", ringbus_strerror(result));
  return true;
}
static bool read_impatient(struct partner *p) {
  for (;;) {
    struct ringbus_message message;
    char copy[CAPACITY];
    uint64_t lost_before, lost, next;
    ringbus_consumer_lost(p->j, &lost_before, NULL);
    int result = ringbus_consumer_recv(p->j, copy, sizeof copy, &message);
    ringbus_consumer_lost(p->j, &lost, NULL);
    ringbus_consumer_tell(p->j, NULL, &next);
    if (result == -EAGAIN)
      return true;
    if (result == 0 && !verify_message(&message, p->j_next, p->plan))
      wrong("group j, message %llu: not what was sent", (unsigned long long)p->j_next);
    if (result != 0 && result != -EOVERFLOW)
      wrong("group j, message %llu: %s", (unsigned long long)p->j_next, ringbus_strerror(result));
    p->j_next += lost - lost_before + (result == 0);
    if (next != p->j_next)
      wrong("group j tells message %llu, should be %llu", (unsigned long long)next,
            (unsigned long long)p->j_next);
  }
}

static bool check_all_read(struct partner *p) {
  struct ringbus_ring_info info;
  ringbus_ring_info(p->ring, &info);
  if (p->j_next != info.tail_count)
    wrong("group j has read up to message %llu of %llu", (unsigned long long)p->j_next,
          (unsigned long long)info.tail_count);
  return true;
}

/* ---------------------------------------------------------------- the judge publishes */

static bool succeed(struct partner *p) {
  int result = ringbus_producer_attach(p->ring, NULL, &p->producer);
  if (result != 0)
    wrong("producer_attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  return true;
}

static bool read_beside(struct partner *p) {
  struct ringbus_consumer_options options = {.group = "r"};
  int result = ringbus_consumer_attach(p->ring, &options, &p->r);
  if (result != 0)
    wrong("joining as r: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  ringbus_consumer_tell(p->r, NULL, &p->r_next);
  return true;
}

static bool publish(struct partner *p, uint64_t bytes) {
  int result = publish_and_read(p->producer, p->r, &p->r_next, p->plan, bytes);
  if (result != 0)
    wrong("publishing: %s",
          result == -EILSEQ ? "group r reads what was not sent" : ringbus_strerror(result));
  return true;
}
static bool publish_more_than_a_lap(struct partner *p) { return publish(p, MORE_THAN_A_LAP); }

static bool publish_some(struct partner *p) {
  return succeed(p) && read_beside(p) && publish(p, 1500);
}

/* Nobody may be in the way any more. */
static bool publish_unhindered(struct partner *p) {
  uint64_t before, after;
  ringbus_producer_tell(p->producer, &before, NULL);
  if (!publish_more_than_a_lap(p))
    return false;
  ringbus_producer_tell(p->producer, &after, NULL);
  if (after - before < MORE_THAN_A_LAP)
    wrong("held back after %llu bytes, by nobody", (unsigned long long)(after - before));
  return true;
}

/* ---------------------------------------------------------------- afterwards */

/* The actor has published until the joiner held it back, and has left. The joiner leaves and comes
 * back, a successor publishes until it is held back, and everything is still there to be read. */
static bool joiner_reads_all(struct partner *p) {
  if (!actor_finish())
    return false;
  if (!p->j)
    return true;
  if (!read_beside(p) || !succeed(p) || !publish_more_than_a_lap(p))
    return false;
  struct ringbus_group_info info;
  bool gates_always = false;
  for (uint32_t i = 0; i < GROUPS; i++)
    if (ringbus_ring_group(p->ring, i, &info) == 0 && strcmp(info.name, "j") == 0)
      gates_always = info.policy == RINGBUS_GATE;
  if (gates_always && !leave_and_return(p))
    return false;
  return publish_more_than_a_lap(p) && judge_reads(p) && check_all_read(p) &&
         publish_more_than_a_lap(p) && judge_reads(p) && check_all_read(p);
}

/* The same when the producer has been killed at that moment, perhaps between announcing what it would
 * overwrite and looking who is there. */
static bool joiner_meets_successor(struct partner *p) {
  return !p->j || (read_beside(p) && succeed(p) && publish_more_than_a_lap(p) && judge_reads(p) &&
                   check_all_read(p));
}

static bool joiner_returns_and_reads_all(struct partner *p) {
  if (!actor_finish())
    return false;
  return !p->j || (leave_and_return(p) && judge_reads(p) && check_all_read(p));
}

static bool impatient_reads_all(struct partner *p) {
  return actor_finish() && read_impatient(p) && check_all_read(p);
}

/* The actor, a consumer, has arrived somewhere. Publish until it holds us back; then it must be able
 * to read everything. */
static bool actor_reads_all(struct partner *p) {
  uint64_t published;
  if (turn_of_judge()) {
    if (!publish_more_than_a_lap(p))
      return false;
    turn_over_to_actor();
  }
  if (!actor_finish())
    return false;
  ringbus_producer_tell(p->producer, NULL, &published);
  if (harness.control->report[0] && harness.control->report[1] &&
      harness.control->report[1] != published)
    wrong("the actor has read up to message %llu of %llu",
          (unsigned long long)harness.control->report[1], (unsigned long long)published);
  return true;
}

static bool actor_has_left(struct partner *p) { return actor_finish() && publish_unhindered(p); }

/* Killed as a consumer: its group resumes where it stood or is not in the way. */
static bool resume_for_the_dead(struct partner *p) {
  if (!judge_joins(p, RINGBUS_GATE, RINGBUS_RESUME, 0))
    return false;
  if (p->j_lost != 0)
    wrong("a gating group has lost %llu messages", (unsigned long long)p->j_lost);
  return judge_reads(p) && check_all_read(p) && publish_more_than_a_lap(p) && judge_reads(p) &&
         check_all_read(p);
}
/* It died while it was joining or going back, and may have been passed by the floor meanwhile. */
static bool resume_moved_by_the_dead(struct partner *p) {
  return judge_joins(p, RINGBUS_GATE, RINGBUS_RESUME, 0) && judge_reads(p) && check_all_read(p) &&
         publish_more_than_a_lap(p) && judge_reads(p) && check_all_read(p);
}
static bool resume_left_by_the_dead(struct partner *p) {
  if (!publish_unhindered(p))
    return false;
  return judge_joins(p, RINGBUS_GATE_WHILE_ATTACHED, RINGBUS_RESUME, 0) && judge_reads(p) &&
         check_all_read(p);
}
static bool publish_after_the_dead(struct partner *p) { return publish_unhindered(p); }

/* Killed as a producer, before the eyes of a reader that had read everything there was. */
static bool reader_meets_successor(struct partner *p) {
  uint64_t count;
  if (!succeed(p) || !judge_reads(p))
    return false;
  ringbus_producer_tell(p->producer, NULL, &count);
  const struct promise *promise = &harness.control->promise;
  if (count != p->j_next || count < promise->done || count > 3 ||
      (promise->all_or_none && count % 3 != 0))
    wrong("%llu messages survive, %llu were read, %llu had been sent", (unsigned long long)count,
          (unsigned long long)p->j_next, (unsigned long long)promise->done);
  return publish_more_than_a_lap(p) && judge_reads(p) && check_all_read(p);
}
static bool read_to_the_end(struct partner *p) {
  if (!actor_finish() || !judge_reads(p))
    return false;
  return check_all_read(p);
}
static bool read_and_look_back(struct partner *p) {
  ringbus_observer *observer;
  struct ringbus_message message;
  char copy[CAPACITY];
  uint64_t seen = 0;
  if (!judge_reads(p))
    return false;
  int result = ringbus_observer_attach(p->ring, NULL, &observer);
  if (result != 0)
    wrong("observer_attach: %s", ringbus_strerror(result));
  while ((result = ringbus_observer_recv(observer, copy, sizeof copy, &message)) == 0)
    if (!verify_message(&message, seen++, p->plan)) {
      ringbus_observer_detach(observer);
      wrong("the observer's message %llu is not what was sent", (unsigned long long)seen - 1);
    }
  ringbus_observer_detach(observer);
  if (result != -EAGAIN || seen != p->j_next)
    wrong("the observer sees %llu messages, the reader %llu: %s", (unsigned long long)seen,
          (unsigned long long)p->j_next, ringbus_strerror(result));
  return true;
}

/* ---------------------------------------------------------------- two want the same place */

static pid_t rival_process;

static void wait_without_end(void) {
  for (;;)
    pause();
}

/* The rival may have to wait for a lock that the stopped actor holds, so it is a process of its own,
 * and the actor goes on when the rival has got its answer or has had time to begin waiting. */
static bool rival(bool as_producer) {
  harness.control->report[2] = 0;
  rival_process = fork();
  if (rival_process == 0) {
    ringbus_ring *ring;
    ringbus_producer *producer;
    ringbus_consumer *consumer;
    struct ringbus_consumer_options options = {.group = "j"};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int result = ringbus_ring_open(harness.live_path, NULL, &ring);
    if (result == 0)
      result = as_producer ? ringbus_producer_attach(ring, NULL, &producer)
                           : ringbus_consumer_attach(ring, &options, &consumer);
    harness.control->report[3] = (uint64_t)(int64_t)result;
    harness.control->report[2] = 1;
    wait_without_end();
  }
  for (int i = 0; i < 30 && !harness.control->report[2]; i++)
    usleep(100);
  return true;
}
static bool rival_producer(struct partner *p) {
  (void)p;
  return rival(true);
}
static bool rival_consumer(struct partner *p) {
  (void)p;
  return rival(false);
}

static void region_compete_as_producer(struct actor *a) {
  a->control->report[0] = (uint64_t)(int64_t)ringbus_producer_attach(a->ring, NULL, &a->producer);
}
static void region_compete_as_consumer(struct actor *a) {
  struct ringbus_consumer_options options = {.group = "j"};
  a->control->report[0] =
      (uint64_t)(int64_t)ringbus_consumer_attach(a->ring, &options, &a->consumer[0]);
}
static void rest_stay(struct actor *a) {
  (void)a;
  turn_over_to_judge();
}

static bool one_has_won(struct partner *p) {
  (void)p;
  bool turn = turn_of_judge();
  for (int i = 0; i < 80000 && !harness.control->report[2]; i++)
    usleep(100);
  turn_over_to_actor();
  kill(rival_process, SIGKILL);
  waitpid(rival_process, NULL, 0);
  int64_t actor = (int64_t)harness.control->report[0], rival = (int64_t)harness.control->report[3];
  if (!actor_finish() || !turn)
    return false;
  if (!((actor == 0 && rival == -EBUSY) || (actor == -EBUSY && rival == 0)))
    wrong("the actor's answer is %lld, the rival's %lld", (long long)actor, (long long)rival);
  return true;
}

/* ---------------------------------------------------------------- instants */

static const struct ringbus_header *live_header(void) {
  return (const struct ringbus_header *)(const void *)harness.live;
}
static uint64_t floor_now(void) {
  return *(const volatile uint64_t *)&live_header()->floor.position;
}
static uint64_t groups_now(void) { return *(const volatile uint64_t *)&live_header()->join.groups; }
static uint64_t cursor_of_j_now(void) { /* r came first */
  const struct ringbus_group *groups =
      (const struct ringbus_group *)(const void *)(harness.live +
                                                   live_header()->identity.groups_offset);
  return *(const volatile uint64_t *)&groups[1].cursor;
}

/* ---------------------------------------------------------------- scenarios */

static bool drained(struct partner *p) { return judge_reads(p); }

static const struct pause_scenario scenarios[] = {
    /* A producer finds room while somebody joins: the first messages of the joiner stay. */
    {.actor = {"refresh, join at the oldest", prepare_full, region_send, rest_publish,
               RINGBUS_HOLD},
     .while_paused = join_at_oldest,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, join at the oldest, leave, return", prepare_full, region_send,
               rest_publish, RINGBUS_HOLD},
     .while_paused = join_at_oldest,
     .afterwards = joiner_returns_and_reads_all},
    {.actor = {"refresh, join at the newest", prepare_full, region_send, rest_publish,
               RINGBUS_HOLD},
     .while_paused = join_at_newest,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, join at a position", prepare_full, region_send, rest_publish,
               RINGBUS_HOLD},
     .while_paused = join_at_tenth,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, resume a group left behind", prepare_full, region_send, rest_publish,
               RINGBUS_HOLD},
     .before = leave_behind,
     .while_paused = resume_where_left,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, seek back", prepare_full, region_send, rest_publish, RINGBUS_HOLD},
     .before = join_at_oldest,
     .prepared = drained,
     .while_paused = seek_back,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, seek back, leave, return", prepare_full, region_send, rest_publish,
               RINGBUS_HOLD},
     .before = join_at_oldest,
     .prepared = drained,
     .while_paused = seek_back,
     .afterwards = joiner_returns_and_reads_all},
    {.actor = {"refresh, another group in a group's place", prepare_full, region_send, rest_publish,
               RINGBUS_HOLD},
     .before = join_at_oldest,
     .prepared = drained,
     .while_paused = another_group_in_its_place,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, read what holds it back", prepare_full, region_send, rest_publish,
               RINGBUS_HOLD},
     .before = join_at_oldest,
     .while_paused = drained,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, read where lag is limited", prepare_full, region_send, rest_publish,
               RINGBUS_HOLD},
     .before = join_impatient,
     .while_paused = read_impatient,
     .afterwards = impatient_reads_all},
    {.actor = {"drop the oldest, join at the oldest", prepare_full_of_dropped, region_send,
               rest_publish, RINGBUS_DROP},
     .while_paused = join_at_oldest,
     .afterwards = joiner_reads_all},
    {.actor = {"drop the oldest, join at a position", prepare_full_of_dropped, region_send,
               rest_publish, RINGBUS_DROP},
     .while_paused = join_at_tenth,
     .afterwards = joiner_reads_all},

    /* A consumer comes, moves or goes while more than a lap is published. */
    {.actor = {"join a new group, lap", prepare_nothing, region_join, rest_read, RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"join at the oldest, lap", prepare_nothing, region_join_at_oldest, rest_read,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"join at the newest, lap", prepare_nothing, region_join_at_newest, rest_read,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"join at a position, lap", prepare_nothing, region_join_at_second, rest_read,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"join, ephemeral, lap", prepare_nothing, region_join_ephemeral, rest_read,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"resume a group left behind, lap", prepare_left_behind, region_resume, rest_read,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"seek back, lap", prepare_read_all, region_seek_back, rest_read, RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"borrow and release, lap", prepare_join, region_borrow_and_release,
               rest_look_and_read, RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"release everything, lap", prepare_borrow_all, region_release, rest_read,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"recv, lap", prepare_join, region_recv, rest_look_and_read, RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"recv in a lapped group, lap", prepare_join_lapped, region_recv_lapped,
               rest_read_lapped, RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"observe, lap", prepare_observe, region_recv_lapped, rest_read_lapped, RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_reads_all},
    {.actor = {"leave, ephemeral, lap", prepare_join_ephemeral, region_leave, NULL, RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_has_left},
    {.actor = {"leave, gating while attached, lap", prepare_join_while_attached, region_leave, NULL,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = actor_has_left},

    /* Others look while a producer publishes. */
    {.actor = {"send, read", prepare_three, region_three_sends, NULL, RINGBUS_HOLD},
     .before = join_at_oldest,
     .while_paused = read_and_look_back,
     .afterwards = read_to_the_end},
    {.actor = {"batch, read", prepare_three, region_batch, NULL, RINGBUS_HOLD},
     .before = join_at_oldest,
     .while_paused = read_and_look_back,
     .afterwards = read_to_the_end},
    {.actor = {"send, join at the newest", prepare_three, region_three_sends, NULL, RINGBUS_HOLD},
     .while_paused = join_at_newest,
     .afterwards = read_to_the_end},

    /* Killed among the living. */
    {.actor = {"send, killed", prepare_three, region_three_sends, NULL, RINGBUS_HOLD},
     .before = join_at_oldest,
     .while_paused = drained,
     .afterwards = reader_meets_successor,
     .killed = true},
    {.actor = {"batch, killed", prepare_three, region_batch, NULL, RINGBUS_HOLD},
     .before = join_at_oldest,
     .while_paused = drained,
     .afterwards = reader_meets_successor,
     .killed = true},
    {.actor = {"batch, all at once, killed", prepare_three, region_batch_at_once, NULL,
               RINGBUS_HOLD},
     .before = join_at_oldest,
     .while_paused = drained,
     .afterwards = reader_meets_successor,
     .killed = true},
    {.actor = {"refresh, join at the oldest, killed", prepare_full, region_send, NULL,
               RINGBUS_HOLD},
     .while_paused = join_at_oldest,
     .afterwards = joiner_meets_successor,
     .killed = true},
    {.actor = {"refresh, join at the oldest, announce, killed", prepare_full, region_send, NULL,
               RINGBUS_HOLD},
     .while_paused = join_at_oldest,
     .afterwards = joiner_meets_successor,
     .killed = true,
     .until = floor_now},
    {.actor = {"refresh, seek back, announce, killed", prepare_full, region_send, NULL,
               RINGBUS_HOLD},
     .before = join_at_oldest,
     .prepared = drained,
     .while_paused = seek_back,
     .afterwards = joiner_meets_successor,
     .killed = true,
     .until = floor_now},
    {.actor = {"refresh, seek back, killed", prepare_full, region_send, NULL, RINGBUS_HOLD},
     .before = join_at_oldest,
     .prepared = drained,
     .while_paused = seek_back,
     .afterwards = joiner_meets_successor,
     .killed = true},
    {.actor = {"join, killed", prepare_nothing, region_join_at_oldest, NULL, RINGBUS_HOLD},
     .before = publish_some,
     .afterwards = resume_for_the_dead,
     .killed = true},
    {.actor = {"join after a lap, killed", prepare_nothing, region_join_at_oldest, NULL,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = resume_for_the_dead,
     .killed = true},
    {.actor = {"join, lap, appear, killed", prepare_nothing, region_join, NULL, RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .until = groups_now,
     .afterwards = resume_moved_by_the_dead,
     .killed = true},
    {.actor = {"seek back, lap, move, killed", prepare_read_all, region_seek_back, NULL,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .until = cursor_of_j_now,
     .afterwards = resume_moved_by_the_dead,
     .killed = true},
    {.actor = {"join, ephemeral, killed", prepare_nothing, region_join_ephemeral, NULL,
               RINGBUS_HOLD},
     .before = publish_some,
     .afterwards = publish_after_the_dead,
     .killed = true},
    {.actor = {"resume, gating while attached, killed", prepare_left_behind, region_resume, NULL,
               RINGBUS_HOLD},
     .before = publish_some,
     .afterwards = resume_left_by_the_dead,
     .killed = true},
    {.actor = {"leave, ephemeral, killed", prepare_join_ephemeral, region_leave, NULL,
               RINGBUS_HOLD},
     .before = publish_some,
     .afterwards = publish_after_the_dead,
     .killed = true},
    {.actor = {"borrow and release, killed", prepare_join, region_borrow_and_release, NULL,
               RINGBUS_HOLD},
     .before = publish_some,
     .afterwards = resume_for_the_dead,
     .killed = true},
    {.actor = {"seek back after a lap, killed", prepare_read_all, region_seek_back, NULL,
               RINGBUS_HOLD},
     .before = publish_some,
     .while_paused = publish_more_than_a_lap,
     .afterwards = resume_for_the_dead,
     .killed = true},

    /* Two want the same place: one gets it. */
    {.actor = {"two producers attach", prepare_nothing, region_compete_as_producer, rest_stay,
               RINGBUS_HOLD},
     .while_paused = rival_producer,
     .afterwards = one_has_won},
    {.actor = {"two consumers attach to a group", prepare_nothing, region_compete_as_consumer,
               rest_stay, RINGBUS_HOLD},
     .while_paused = rival_consumer,
     .afterwards = one_has_won},
};

/* ---------------------------------------------------------------- pausing */

static struct partner partner;

/* Everybody up to the actor's region. */
static bool set_out(const struct pause_scenario *scenario) {
  struct partner *p = &partner;
  harness_reset();
  alarm(300);
  harness.scenario = scenario->actor.name;
  p->plan = harness.control->plan;
  int result = ringbus_ring_open(harness.live_path, NULL, &p->ring);
  if (result != 0)
    wrong("ring_open: %s", ringbus_strerror(result));
  return (!scenario->before || scenario->before(p)) && actor_start(&scenario->actor) &&
         (!scenario->prepared || scenario->prepared(p));
}

static void part(void) {
  if (harness.actor)
    actor_kill();
  ringbus_producer_detach(partner.producer);
  ringbus_consumer_detach(partner.r);
  ringbus_consumer_detach(partner.j);
  ringbus_ring_close(partner.ring);
  memset(&partner, 0, sizeof partner);
}

/* Stepping there from afar would take long: run to where it happened when nobody interfered. Those who
 * interfere may send it another way, but not always. */
static uint64_t it_happened;
static void go_on_until(const struct pause_scenario *scenario, uint64_t happened) {
  uint64_t before = scenario->until();
  trace_run_to(happened);
  while (harness.actor && scenario->until() == before && !harness.control->region_ended &&
         actor_step())
    ;
  it_happened += scenario->until() != before;
}

static void pause_at(const struct pause_scenario *scenario, uint64_t instruction,
                     uint64_t happened) {
  struct partner *p = &partner;
  if (set_out(scenario) && trace_go_to(instruction)) {
    harness.states++;
    if (!scenario->while_paused || scenario->while_paused(p)) {
      if (scenario->until)
        go_on_until(scenario, happened);
      if (scenario->killed)
        actor_kill();
      else
        actor_continue();
      scenario->afterwards(p);
    }
  }
  part();
}

/* At every instruction; or at a sample of about so many, and before each that changes the file. */
static void pause_everywhere(const struct pause_scenario *scenario, uint64_t sample) {
  uint64_t happened = 0; /* the first one behind the change that the scenario waits for */
  harness.bad_here = 0;
  trace_begin();
  if (set_out(scenario)) {
    uint64_t before = scenario->until ? scenario->until() : 0;
    do {
      trace_note();
      if (scenario->until && !happened && scenario->until() != before)
        happened = trace_length() - 1;
    } while (actor_step() && !harness.control->region_ended);
  }
  part();
  uint64_t states = harness.states;
  it_happened = 0;
  for (uint64_t k = 0; k < trace_length(); k++)
    if (trace_is_wanted(k, sample))
      pause_at(scenario, k, happened);
  if (harness.states == states)
    harness_bad("paused nowhere");
  if (scenario->until && it_happened == 0)
    harness_bad("what is waited for never happened");
}

int main(int argc, char **argv) {
  harness_begin(argc, argv, 0);
  size_t most = harness.full || *harness.only_layout ? layout_count : 2;
  for (size_t l = 0; l < most; l++)
    for (int no_group = RINGBUS_HOLD; no_group <= RINGBUS_DROP; no_group++) {
      harness_ring(&layouts[l], smallest_ring((enum ringbus_no_group)no_group));
      for (size_t s = 0; s < sizeof scenarios / sizeof scenarios[0]; s++)
        if (scenarios[s].actor.no_group == (enum ringbus_no_group)no_group &&
            harness_wants(scenarios[s].actor.name, &layouts[l]))
          pause_everywhere(&scenarios[s], 40);
      harness_drop();
    }
  return harness_end("pauses, one producer", "paused, others go on for more than a lap");
}
