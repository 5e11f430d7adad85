/* SPDX-License-Identifier: MIT */
/* pause_many.c - stopped at every instruction, while others go on: many producers, shared groups, rings
 * that overwrite.
 *
 * As pause.c. The judge is two producers, a and b, two groups that are waited for, r and s, which read
 * whatever there is, and where there is a shared group two of its members. What r reads is the log: every
 * other reader must see the same messages in the same order. While the actor stands, several laps go by,
 * unless it holds something that others must wait for. Scenarios named "killed" end the actor there, or
 * a few stores into the file later, under the eyes of the living.
 *
 *   pause_many [scenario [layout]]    those whose names contain these words
 *   RINGBUS_TEST_SCALE=full           every instruction in every layout, else a sample of both */
#include "crowd.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OURS = ENTRIES / 2 }; /* entries from here on are the judge's */
#define UNKNOWN UINT16_MAX

struct partner {
  ringbus_ring *ring;
  struct ringbus_ring_info info;
  ringbus_producer *a, *b;
  ringbus_consumer *r, *s, *j;
  ringbus_consumer *m[2];
  uint64_t made;         /* entries [OURS, OURS + made) */
  uint16_t log[ENTRIES]; /* by count of messages before it; UNKNOWN where r was lapped */
  uint64_t logged;
  bool lossy; /* r may be lapped, and others, too */
  uint64_t r_next, s_next, j_next;
  uint8_t delivered[ENTRIES], again[ENTRIES];
  bool hands_off;                  /* the members take nothing for now */
  struct ringbus_message held[64]; /* by m[holder] */
  size_t holding;
  unsigned holder;
  bool killed; /* the actor was */
  pid_t rival;
};
static struct partner partner;

struct pause_scenario {
  struct crowd_scenario actor;
  bool (*before)(void);       /* before there is an actor */
  bool (*prepared)(void);     /* when it is about to begin its region */
  bool (*while_paused)(void); /* at each instruction of its region */
  bool (*afterwards)(void);   /* while it goes on, or has been killed */
  bool killed;
  bool closely;        /* at every instruction always */
  bool (*again)(void); /* a second pause, at each instruction after the floor has moved */
};

#define wrong(...) return harness_bad(__VA_ARGS__), false

/* ---------------------------------------------------------------- the judge reads */

static bool read_by(ringbus_consumer *consumer, const char *name, uint64_t *next) {
  struct partner *p = &partner;
  struct ringbus_message message;
  for (;;) {
    uint64_t lost_before, lost;
    ringbus_consumer_lost(consumer, &lost_before, NULL);
    int result = ringbus_consumer_borrow(consumer, &message);
    if (result == -EAGAIN && ringbus_consumer_wait(consumer, 0) == 0)
      continue; /* behind what the dead have claimed */
    if (result == -EAGAIN || result == -EPIPE)
      return true;
    if (result == -EOVERFLOW && p->lossy) {
      ringbus_consumer_lost(consumer, &lost, NULL);
      for (; lost_before < lost; lost_before++, ++*next)
        if (*next == p->logged && p->logged < ENTRIES)
          p->log[p->logged++] = UNKNOWN;
      continue;
    }
    if (result != 0)
      wrong("group %s, message %llu: %s", name, (unsigned long long)*next,
            ringbus_strerror(result));
    uint64_t index = identify(&message);
    if (index == ENTRIES || !verify_entry(&message, &book->entries[index], index)) {
      if (p->lossy && ringbus_consumer_still_valid(consumer) != 0)
        continue;
      wrong("group %s, message %llu (number %llu): not what was sent", name,
            (unsigned long long)*next, (unsigned long long)index);
    }
    if (*next == p->logged && p->logged < ENTRIES)
      p->log[p->logged++] = (uint16_t)index;
    else if (*next < p->logged && p->log[*next] != index && p->log[*next] != UNKNOWN)
      wrong("group %s sees number %llu as message %llu, r saw %u", name, (unsigned long long)index,
            (unsigned long long)*next, p->log[*next]);
    ++*next;
    result = ringbus_consumer_release(consumer);
    if (result != 0)
      wrong("release in %s: %s", name, ringbus_strerror(result));
  }
}

static bool check_message(const struct ringbus_message *message) {
  uint64_t index = identify(message);
  if (index == ENTRIES || !verify_entry(message, &book->entries[index], index))
    wrong("a member gets number %llu: not what was sent", (unsigned long long)index);
  return true;
}

static bool note_delivered(const struct ringbus_message *message) {
  struct partner *p = &partner;
  if (!check_message(message))
    return false;
  uint64_t index = identify(message);
  if (p->delivered[index]++)
    wrong("message number %llu is delivered twice", (unsigned long long)index);
  p->again[index] = message->redelivered;
  return true;
}

static bool members_read(void) {
  struct partner *p = &partner;
  struct ringbus_message messages[4];
  for (unsigned idle = 0, turn = 0; idle < 2; turn++) {
    ringbus_consumer *member = p->m[turn % 2];
    size_t count = 0;
    if (!member || p->hands_off || (turn % 2 == p->holder && p->holding)) {
      idle++;
      continue;
    }
    int result = ringbus_consumer_borrow_batch(member, messages, 1 + turn % 4, &count);
    if (result == -EAGAIN && ringbus_consumer_wait(member, 0) == 0)
      result = 0;
    if (result != 0 && result != -EAGAIN && result != -EPIPE)
      wrong("member %u: %s", turn % 2, ringbus_strerror(result));
    idle = result == 0 ? 0 : idle + 1;
    for (size_t i = 0; i < count; i++)
      if (!note_delivered(&messages[i]))
        return false;
    result = ringbus_consumer_release(member);
    if (result != 0)
      wrong("release: %s", ringbus_strerror(result));
  }
  return true;
}

static bool all_read(void) {
  struct partner *p = &partner;
  return (!p->r || read_by(p->r, "r", &p->r_next)) && (!p->s || read_by(p->s, "s", &p->s_next)) &&
         members_read();
}

/* r is to be read first: it makes the log. */
static bool j_reads(void) {
  struct partner *p = &partner;
  return all_read() && (!p->j || read_by(p->j, "j", &p->j_next));
}

/* ---------------------------------------------------------------- the judge publishes */

static uint64_t plan(char *bytes, uint32_t length) {
  uint64_t index = OURS + partner.made;
  book->entries[index] = (struct entry){.length = length, .tag = length < 8 ? index_tag(index) : 0};
  fill_entry(bytes, &book->entries[index], index);
  return index;
}

/* 0, or -EAGAIN if somebody else must go on first. */
static int send(ringbus_producer *producer, uint32_t length) {
  char bytes[LARGE];
  struct entry *entry = &book->entries[plan(bytes, length)];
  int result = ringbus_producer_send(producer, bytes, length, entry->tag);
  if (result == -EAGAIN) {
    if (!all_read())
      return -EILSEQ;
    if (ringbus_producer_wait(producer, length, entry->tag, 0) == 0)
      result = ringbus_producer_send(producer, bytes, length, entry->tag);
  }
  if (result == 0) {
    entry->published = DONE;
    partner.made++;
  }
  return result;
}

/* So many bytes, or until somebody else is in the way. */
static bool publish_bytes(uint64_t bytes, bool unhindered) {
  struct partner *p = &partner;
  uint64_t done = 0;
  while (done < bytes && p->made < OURS) {
    uint32_t length = varied_length(p->made);
    int result = send(p->made % 2 ? p->a : p->b, length);
    if (result == -EAGAIN && !unhindered)
      return all_read();
    if (result == -EAGAIN)
      wrong("held back after %llu bytes, by nobody", (unsigned long long)done);
    if (result != 0)
      return result == -EILSEQ ? false : (harness_bad("send: %s", ringbus_strerror(result)), false);
    done += crowd_bytes(length, 0);
    if (p->lossy && !all_read())
      return false;
  }
  return all_read();
}

static bool laps(void) { return publish_bytes(partner.info.capacity * 5 / 2, false); }
/* A word in each granule. */
static bool laps_of_granules(void) {
  uint64_t granules = partner.info.capacity / GRANULE * 5 / 2;
  while (granules-- > 0) {
    int result = send(granules % 2 ? partner.a : partner.b, 40);
    if (result != 0)
      return result == -EAGAIN;
  }
  return all_read();
}
static bool more_than_a_lap(void) { return publish_bytes(partner.info.capacity * 3 / 2, false); }
static bool lap_unhindered(void) { return publish_bytes(partner.info.capacity * 3 / 2, true); }

static bool attach(ringbus_producer **producer) {
  int result = ringbus_producer_attach(partner.ring, NULL, producer);
  if (result != 0)
    wrong("producer_attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  return true;
}

static bool join_as(ringbus_consumer **consumer, const char *group, enum ringbus_policy policy,
                    enum ringbus_start start, uint64_t *next) {
  struct ringbus_consumer_options options = {
      .group = group, .policy = policy, .start = start, .hand_back = RINGBUS_HAND_BACK_STORE};
  int result = ringbus_consumer_attach(partner.ring, &options, consumer);
  if (result != 0)
    wrong("joining as %s: %s: %s", group, ringbus_strerror(result), ringbus_error_detail());
  ringbus_consumer_tell(*consumer, NULL, next);
  return true;
}

static bool join_member(int m) {
  struct ringbus_consumer_options options = {.group = "s", .shared = true};
  int result = ringbus_consumer_attach(partner.ring, &options, &partner.m[m]);
  if (result != 0)
    wrong("joining as member: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  return true;
}

/* ---------------------------------------------------------------- before */

static bool two_readers(void) {
  struct partner *p = &partner;
  return join_as(&p->r, "r", RINGBUS_GATE, RINGBUS_OLDEST, &p->r_next) &&
         join_as(&p->s, "t", RINGBUS_GATE, RINGBUS_OLDEST, &p->s_next);
}
static bool crowd(void) { return attach(&partner.a) && attach(&partner.b) && two_readers(); }
static bool crowd_at_work(void) { return crowd() && publish_bytes(1000, true); }
/* Where nobody is waited for r is a reader that may be lapped, and looks after each message. */
static bool lossy_crowd(void) {
  struct partner *p = &partner;
  p->lossy = true;
  return attach(&p->a) && attach(&p->b) &&
         join_as(&p->r, "r", RINGBUS_LAPPED, RINGBUS_OLDEST, &p->r_next);
}
static bool crowd_of_members(void) { return crowd() && join_member(0) && join_member(1); }
/* There is something to take. */
static bool leave_some(void) {
  partner.hands_off = true;
  bool fine = publish_bytes(1500, true);
  partner.hands_off = false;
  return fine;
}
static bool crowd_and_member(void) { return crowd() && join_member(0); }
static bool something_for_members(void) { return crowd_and_member() && leave_some(); }

/* ---------------------------------------------------------------- afterwards */

/* What is still in the ring is what the log says. */
static bool look_back(void) {
  ringbus_observer *observer;
  struct ringbus_message message;
  char copy[LARGE];
  uint64_t count;
  bool fine = true;
  int result = ringbus_observer_attach(partner.ring, NULL, &observer);
  if (result != 0)
    wrong("observer_attach: %s", ringbus_strerror(result));
  ringbus_observer_tell(observer, NULL, &count);
  for (; fine && (result = ringbus_observer_recv(observer, copy, sizeof copy, &message)) == 0;
       count++) {
    uint64_t index = identify(&message);
    fine = index < ENTRIES && verify_entry(&message, &book->entries[index], index) &&
           count < partner.logged && (partner.log[count] == index || partner.log[count] == UNKNOWN);
  }
  ringbus_observer_detach(observer);
  if (!fine || result != -EAGAIN || count != partner.logged)
    wrong("looking back, message %llu of %llu: %s", (unsigned long long)count,
          (unsigned long long)partner.logged, fine ? ringbus_strerror(result) : "another one");
  return true;
}

/* Everything is in the log once, in the order of its producer. */
static bool check_log(void) {
  struct partner *p = &partner;
  struct ringbus_ring_info info;
  uint64_t next[2] = {0, OURS}, end[2] = {book->made, OURS + p->made};
  if (!j_reads())
    return false;
  for (uint64_t i = 0; i < p->logged; i++) {
    uint64_t index = p->log[i];
    if (index == UNKNOWN)
      continue;
    int whose = index >= OURS;
    for (; next[whose] < index; next[whose]++)
      if (!p->lossy && book->entries[next[whose]].published == DONE)
        wrong("number %llu is not in the log before number %llu", (unsigned long long)next[whose],
              (unsigned long long)index);
    if (index < next[whose])
      wrong("number %llu is in the log again, or behind a later one", (unsigned long long)index);
    if (book->entries[index].published == ABSENT)
      wrong("number %llu was never published", (unsigned long long)index);
    next[whose]++;
  }
  for (int whose = 0; whose < 2; whose++)
    for (; next[whose] < end[whose] && !p->lossy; next[whose]++)
      if (book->entries[next[whose]].published == DONE)
        wrong("number %llu is lost", (unsigned long long)next[whose]);
  if ((p->s && p->s_next != p->logged) || (p->j && p->j_next != p->logged))
    wrong("%llu messages were read, by s %llu, by j %llu", (unsigned long long)p->logged,
          (unsigned long long)p->s_next, (unsigned long long)p->j_next);
  ringbus_ring_info(p->ring, &info);
  if (info.tail_count != p->logged)
    wrong("%llu messages are told, %llu were read", (unsigned long long)info.tail_count,
          (unsigned long long)p->logged);
  for (uint64_t i = 0; i < book->reads; i++)
    if (book->read[i].count < p->logged && p->log[book->read[i].count] != book->read[i].index &&
        p->log[book->read[i].count] != UNKNOWN)
      wrong("the actor read number %u as message %u, r saw %u", book->read[i].index,
            book->read[i].count, p->log[book->read[i].count]);
  return look_back();
}

static bool check_members(void) {
  struct partner *p = &partner;
  uint64_t missing = 0, taking = 0;
  if (!p->m[0])
    return true;
  for (uint64_t i = 0; i < p->logged; i++) {
    uint64_t index = p->log[i];
    const struct entry *entry = &book->entries[index];
    unsigned times = p->delivered[index];
    if ((entry->shared == GONE && times) || (entry->shared == TAKEN && !p->killed && times))
      wrong("number %llu is delivered to two who live", (unsigned long long)index);
    if (entry->shared == TAKEN && p->killed && times && !p->again[index])
      wrong("number %llu, which the dead held, is delivered as new", (unsigned long long)index);
    if (entry->shared == TAKEN && p->killed && !times && !book->receiving)
      wrong("number %llu, which the dead held, is never delivered", (unsigned long long)index);
    if (entry->shared == FRESH && times && p->again[index])
      taking++;
    if ((entry->shared == FRESH || (entry->shared == TAKEN && p->killed)) && !times)
      missing++;
  }
  if (taking > (p->killed ? book->taking : 0))
    wrong("%llu messages are delivered again that nobody had", (unsigned long long)taking);
  if (missing > (p->killed ? book->receiving : 0))
    wrong("%llu messages are never delivered", (unsigned long long)missing);
  return true;
}

static bool lags(void) {
  struct ringbus_group_info info;
  struct ringbus_ring_info ring;
  ringbus_ring_info(partner.ring, &ring);
  if (ring.broken_cursors)
    wrong("%llu cursors were taken for damaged", (unsigned long long)ring.broken_cursors);
  for (uint32_t i = 0; i < CROWD_GROUPS; i++)
    if (ringbus_ring_group(partner.ring, i, &info) == 0 && !partner.j && info.lag_messages)
      wrong("everything is read, yet group %s lags by %llu messages", info.name,
            (unsigned long long)info.lag_messages);
  return true;
}

static bool go_on_and_check(void) {
  return lap_unhindered() && check_log() && check_members() && lags();
}

static bool actor_ended(void) { return partner.killed || actor_finish(); }

static bool finish_and_check(void) { return actor_ended() && go_on_and_check(); }

/* What the actor publishes behind its region it does while we read. */
static bool read_and_check(void) {
  if (!partner.killed && turn_of_judge()) {
    if (!more_than_a_lap())
      return false;
    turn_over_to_actor();
  }
  return finish_and_check();
}

static bool unhindered_and_check(void) {
  bool fine = turn_of_judge() && lap_unhindered();
  turn_over_to_actor();
  return actor_ended() && fine && go_on_and_check();
}

/* j came while the actor stood, and has not read yet: it holds everybody back until it does. */
static bool joiner_reads_all(void) {
  struct partner *p = &partner;
  if (!actor_ended())
    return false;
  if (!p->a && !(attach(&p->a) && attach(&p->b)))
    return false;
  return more_than_a_lap() && j_reads() && more_than_a_lap() && j_reads() && check_log();
}

/* ---------------------------------------------------------------- the actor: producers */

static struct entry *made(int i) { return &book->entries[crew.index[i]]; }

static void send_if_room(ringbus_producer *producer, int i) {
  made(i)->published = MAYBE;
  int result = ringbus_producer_send(producer, crew.buffer[i], made(i)->length, made(i)->tag);
  made(i)->published = result == 0 ? DONE : ABSENT;
  expect(result == 0 || result == -EAGAIN, result);
}

static void prepare_sends(void) {
  attach_producer(&crew.p);
  publish(crew.p, 20, 0);
  publish(crew.p, 20, 0);
  make(0, 40, 0);
  make(1, 0, index_tag(crew.index[0] + 1));
  make(2, 333, 0);
}
static void region_three_sends(void) {
  for (int i = 0; i < 3; i++)
    send_if_room(crew.p, i);
}
static void region_one_send(void) { send_if_room(crew.p, 0); }
static void rest_sends(void) {
  for (int i = 0; i < 20; i++) {
    make(0, varied_length((uint64_t)i) + 8, 0);
    send_if_room(crew.p, 0);
  }
  leave_producer(&crew.p);
}

static void claim_if_room(int i, uint32_t claimed, bool commits) {
  void *data;
  int result = ringbus_producer_claim(crew.p, claimed, made(i)->tag, &data);
  expect(result == 0 || result == -EAGAIN, result);
  if (result != 0)
    return;
  memcpy(data, crew.buffer[i], made(i)->length);
  if (!commits)
    return;
  made(i)->published = MAYBE;
  result = ringbus_producer_commit(crew.p, made(i)->length);
  made(i)->published = DONE;
  expect(result == 0, result);
}
static void region_claims(void) {
  claim_if_room(0, 700, true);
  claim_if_room(1, 64, false);
  claim_if_room(2, 333, true);
}
static void region_abort(void) {
  claim_if_room(0, 700, false);
  ringbus_producer_abort(crew.p);
  send_if_room(crew.p, 2);
}
static void send_batch(bool all_at_once) {
  struct iovec messages[3];
  size_t sent;
  for (int i = 0; i < 3; i++) {
    messages[i] = (struct iovec){crew.buffer[i], made(i)->length};
    made(i)->published = MAYBE;
  }
  int result = ringbus_producer_send_batch(crew.p, messages, 3, 0, all_at_once, &sent);
  for (int i = 0; i < 3; i++)
    made(i)->published = (size_t)i < sent ? DONE : ABSENT;
  expect(result == 0 || result == -EAGAIN, result);
}
static void prepare_batch(void) {
  attach_producer(&crew.p);
  for (int i = 0; i < 3; i++)
    make(i, (uint32_t)(100 + 200 * i), 0);
}
static void region_batch(void) { send_batch(false); }
static void region_batch_at_once(void) { send_batch(true); }

/* The shared tail is one granule behind the true one, and so is the actor's own. */
static bool one_more(void) { return send(partner.b, 40) == 0 && all_read(); }
/* Words in the middle of a claim of the whole ring. */
static bool claim_the_ring(bool commit_shorter) {
  struct partner *p = &partner;
  char bytes[2][LARGE];
  int result;
  uint32_t longest = (uint32_t)p->info.capacity - 2 * GRANULE;
  if (!all_read())
    return false;
  uint64_t first = plan(bytes[0], commit_shorter ? longest : longest - 64);
  if (commit_shorter) {
    void *data;
    result = ringbus_producer_claim(p->b, p->info.max_message, 0, &data);
    if (result == -EAGAIN)
      return true; /* the actor's claim is in the way */
    if (result == 0) {
      memcpy(data, bytes[0], longest);
      result = ringbus_producer_commit(p->b, longest);
    }
    if (result == 0)
      partner.made++;
  } else {
    partner.made++;
    uint64_t second = plan(bytes[1], 64);
    struct iovec messages[] = {{bytes[0], book->entries[first].length}, {bytes[1], 64}};
    partner.made--;
    /* capacity - 64 and 64: the second stands where the first of a lap before did */
    messages[0].iov_len = (size_t)p->info.capacity - GRANULE - 16;
    book->entries[first].length = (uint32_t)messages[0].iov_len;
    fill_entry(bytes[0], &book->entries[first], first);
    result = ringbus_producer_send_batch(p->b, messages, 2, 0, true, NULL);
    if (result == -EAGAIN)
      return true;
    if (result == 0) {
      book->entries[second].published = DONE;
      partner.made += 2;
    }
  }
  if (result != 0)
    wrong("a claim of the whole ring: %s", ringbus_strerror(result));
  book->entries[first].published = DONE;
  return true;
}
static bool claim_the_ring_shorter(void) { return claim_the_ring(true); }
static bool batch_the_ring(void) { return claim_the_ring(false); }

static void prepare_full(void) {
  attach_producer(&crew.p);
  publish_full(crew.p);
  make(0, 100, 0);
}
static bool drained(void) { return all_read(); }
static bool join_at(enum ringbus_start start) {
  struct partner *p = &partner;
  return join_as(&p->j, "j", RINGBUS_GATE, start, &p->j_next);
}
static bool j_joins_at_oldest(void) { return join_at(RINGBUS_OLDEST); }
static bool j_joins_at_newest(void) { return join_at(RINGBUS_NEWEST); }
static bool two_readers_and_j(void) { return two_readers() && join_at(RINGBUS_OLDEST); }
static bool j_drained(void) { return j_reads(); }
static bool j_seeks_back(void) {
  struct partner *p = &partner;
  int result = ringbus_consumer_seek(p->j, RINGBUS_OLDEST, 0);
  if (result != 0 && result != -EOVERFLOW)
    wrong("seek: %s", ringbus_strerror(result));
  ringbus_consumer_tell(p->j, NULL, &p->j_next);
  return true;
}
static bool one_sends_and_j_joins(void) {
  int result = send(partner.a, 40);
  if (result != 0 && result != -EAGAIN)
    return false;
  return j_joins_at_oldest();
}
static bool j_joins_and_laps(void) { return j_joins_at_oldest() && more_than_a_lap(); }

static void prepare_nothing(void) {}
static void region_attach(void) {
  attach_producer(&crew.p);
  make(0, 40, 0);
  send_if_room(crew.p, 0);
}
static void region_leave_with_claim(void) {
  claim_if_room(0, 700, false);
  leave_producer(&crew.p);
}
static void life_claim(ringbus_ring *ring) {
  ringbus_producer *producer;
  (void)ring;
  attach_producer(&producer);
  claim_forever(producer, 300);
}
static void prepare_dead_claim(void) { die(life_claim); }

/* ---------------------------------------------------------------- the actor: consumers */

static void read_and_note(ringbus_consumer *consumer) {
  uint64_t count;
  for (;;) {
    ringbus_consumer_tell(consumer, NULL, &count);
    int result = ringbus_consumer_recv(consumer, crew.copy, sizeof crew.copy, &crew.message);
    if (result == -EAGAIN && ringbus_consumer_wait(consumer, 0) == 0)
      continue;
    if (result == -EAGAIN)
      return;
    if (result == -EOVERFLOW)
      continue;
    uint64_t index = identify(&crew.message);
    expect(result == 0, result);
    expect(index < ENTRIES && verify_entry(&crew.message, &book->entries[index], index), index);
    expect(book->reads < ENTRIES, book->reads);
    book->read[book->reads].index = (uint16_t)index;
    book->read[book->reads++].count = (uint16_t)count;
  }
}

static void rest_read(void) {
  turn_over_to_judge();
  if (!crew.consumer[0])
    return;
  read_and_note(crew.consumer[0]);
  int result = ringbus_consumer_detach(crew.consumer[0]);
  expect(result == 0, result);
  result = ringbus_ring_remove_group(crew.ring, "j");
  expect(result == 0 || result == -ENOENT, result);
}

static void join_j(enum ringbus_policy policy, enum ringbus_start start, const char *name) {
  struct ringbus_consumer_options options = {.group = name, .policy = policy, .start = start};
  int result = ringbus_consumer_attach(crew.ring, &options, &crew.consumer[0]);
  expect(result == 0, result);
}
static void region_join_at_oldest(void) { join_j(RINGBUS_GATE, RINGBUS_OLDEST, "j"); }
static void region_join_at_newest(void) { join_j(RINGBUS_GATE, RINGBUS_NEWEST, "j"); }
static void region_join_ephemeral(void) { join_j(RINGBUS_GATE, RINGBUS_OLDEST, NULL); }
static void prepare_read_all(void) {
  region_join_at_oldest();
  read_and_note(crew.consumer[0]);
}
static void region_seek_back(void) {
  int result = ringbus_consumer_seek(crew.consumer[0], RINGBUS_OLDEST, 0);
  expect(result == 0 || result == -EOVERFLOW, result);
}
static void region_borrow(void) {
  int result = ringbus_consumer_borrow_batch(crew.consumer[0], crew.messages, 2, &crew.count);
  expect(result == 0, result);
}
/* What was borrowed is still there, however much was published since. */
static void rest_look_and_read(void) {
  for (size_t i = 0; i < crew.count; i++) {
    uint64_t index = identify(&crew.messages[i]);
    expect(index < ENTRIES && verify_entry(&crew.messages[i], &book->entries[index], index), index);
  }
  int result = ringbus_consumer_release(crew.consumer[0]);
  expect(result == 0, result);
  rest_read();
}
static void prepare_borrowed(void) {
  region_join_at_oldest();
  int result = ringbus_consumer_borrow_batch(crew.consumer[0], crew.messages, 64, &crew.count);
  expect(result == 0, result);
}
static void region_release(void) {
  int result = ringbus_consumer_release(crew.consumer[0]);
  expect(result == 0, result);
}
/* Gaps among what there is to read. */
static bool crowd_with_gaps(void) {
  struct partner *p = &partner;
  void *data;
  if (!crowd())
    return false;
  for (int i = 0; i < 4; i++)
    if (send(p->a, 40 + 60 * (uint32_t)i) != 0 || ringbus_producer_claim(p->b, 90, 0, &data) != 0 ||
        ringbus_producer_abort(p->b) != 0)
      wrong("cannot publish");
  return all_read();
}

static void prepare_lapped(void) { join_j(RINGBUS_LAPPED, RINGBUS_OLDEST, "j"); }
static void region_recv_lapped(void) {
  uint64_t count, lost, lost_before;
  ringbus_consumer_tell(crew.consumer[0], NULL, &count);
  ringbus_consumer_lost(crew.consumer[0], &lost_before, NULL);
  int result = ringbus_consumer_recv(crew.consumer[0], crew.copy, sizeof crew.copy, &crew.message);
  expect(result == 0 || result == -EAGAIN || result == -EOVERFLOW, result);
  if (result == 0) {
    uint64_t index = identify(&crew.message);
    expect(index < ENTRIES && verify_entry(&crew.message, &book->entries[index], index), index);
    book->read[book->reads].index = (uint16_t)index;
    book->read[book->reads++].count = (uint16_t)count;
  }
  ringbus_consumer_lost(crew.consumer[0], &lost, NULL);
  uint64_t told;
  ringbus_consumer_tell(crew.consumer[0], NULL, &told);
  expect(told == count + (lost - lost_before) + (result == 0), told);
}
static void prepare_observer(void) {
  int result = ringbus_observer_attach(crew.ring, NULL, &crew.observer);
  expect(result == 0, result);
}
static void region_observe(void) {
  uint64_t count;
  ringbus_observer_tell(crew.observer, NULL, &count);
  int result = ringbus_observer_recv(crew.observer, crew.copy, sizeof crew.copy, &crew.message);
  expect(result == 0 || result == -EAGAIN || result == -EOVERFLOW, result);
  if (result != 0)
    return;
  uint64_t index = identify(&crew.message);
  expect(index < ENTRIES && verify_entry(&crew.message, &book->entries[index], index), index);
  book->read[book->reads].index = (uint16_t)index;
  book->read[book->reads++].count = (uint16_t)count;
}

/* Somebody has claimed, and then died; or commits and leaves while the actor wonders. */
static bool rival_claims(void) {
  struct partner *p = &partner;
  char bytes[LARGE];
  if (!crowd())
    return false;
  uint64_t index = plan(bytes, 300);
  p->made++;
  p->rival = fork();
  if (p->rival == 0) {
    ringbus_ring *ring;
    ringbus_producer *producer;
    void *data;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ringbus_ring_open(harness.live_path, NULL, &ring) != 0 ||
        ringbus_producer_attach(ring, NULL, &producer) != 0 ||
        ringbus_producer_claim(producer, 300, 0, &data) != 0)
      _exit(1);
    memcpy(data, bytes, 300);
    book->done = 1;
    while (!book->told)
      sched_yield();
    if (book->told == 1)
      _exit(0);
    if (ringbus_producer_commit(producer, 300) != 0)
      _exit(1);
    book->entries[index].published = DONE;
    _exit(0);
  }
  while (!book->done)
    sched_yield();
  return publish_bytes(500, false);
}
static bool rival_ends(uint32_t how) {
  struct partner *p = &partner;
  int status = 0;
  if (!p->rival)
    return true;
  book->told = how;
  waitpid(p->rival, &status, 0);
  p->rival = 0;
  if (status != 0)
    wrong("the rival ended with %d", status);
  return true;
}
static bool rival_commits_and_dies(void) { return rival_ends(2); }
static bool rival_is_dead(void) { return rival_ends(1); }
static bool somebody_in_its_place(void) {
  ringbus_producer *producer;
  char bytes[LARGE];
  if (!attach(&producer))
    return false;
  uint64_t index = plan(bytes, 100);
  int result = ringbus_producer_send(producer, bytes, 100, 0);
  if (result == 0) {
    book->entries[index].published = DONE;
    partner.made++;
  }
  ringbus_producer_detach(producer);
  if (result != 0 && result != -EAGAIN)
    wrong("send in the place of the dead: %s", ringbus_strerror(result));
  return laps();
}
/* And then a ring full of what nobody has read yet. */
static bool laps_and_a_full_ring(void) {
  struct partner *p = &partner;
  char bytes[LARGE];
  int result;
  if (!somebody_in_its_place())
    return false;
  do {
    struct entry *entry = &book->entries[plan(bytes, 40)];
    result = ringbus_producer_send(p->a, bytes, 40, 0);
    if (result == 0) {
      entry->published = DONE;
      p->made++;
    }
  } while (result == 0);
  if (result != -EAGAIN)
    wrong("send: %s", ringbus_strerror(result));
  return true;
}
static void region_wait(void) {
  int result = ringbus_consumer_wait(crew.consumer[0], 0);
  expect(result == 0 || result == -ETIMEDOUT, result);
}
static void region_repair(void) {
  int result = ringbus_ring_repair(crew.ring, NULL);
  expect(result == 0, result);
}
static void prepare_wait_for_room(void) {
  attach_producer(&crew.p);
  make(0, 100, 0);
}
static void region_wait_for_room(void) {
  int result = ringbus_producer_wait(crew.p, 4000, 0, 0);
  expect(result == 0 || result == -ETIMEDOUT, result);
}
static bool fill_up(void) {
  struct partner *p = &partner;
  while (send(p->a, 40) == 0)
    ;
  return rival_is_dead();
}
static bool fill_up_only(void) {
  struct partner *p = &partner;
  while (send(p->a, 40) == 0)
    ;
  return true;
}

/* ---------------------------------------------------------------- the actor: members */

static uint64_t deliver(const struct ringbus_message *message) {
  uint64_t index = identify(message);
  expect(index < ENTRIES && verify_entry(message, &book->entries[index], index), index);
  book->entries[index].delivered++;
  book->entries[index].shared = TAKEN;
  return index;
}
static void release_delivered(void) {
  for (size_t i = 0; i < crew.count; i++)
    book->entries[crew.index[i]].shared = RELEASING;
  int result = ringbus_consumer_release(crew.member);
  expect(result == 0, result);
  for (size_t i = 0; i < crew.count; i++)
    book->entries[crew.index[i]].shared = GONE;
  crew.count = 0;
}
static void look_and_release(void) {
  for (size_t i = 0; i < crew.count; i++) { /* the bytes must still be there */
    uint64_t index = crew.index[i];
    expect(verify_entry(&crew.messages[i], &book->entries[index], index), index);
  }
  if (crew.count)
    release_delivered();
}
static void rest_member(void) {
  look_and_release();
  int result = ringbus_consumer_detach(crew.member);
  expect(result == 0, result);
}
/* It stays for a while, and is in nobody's way. */
static void rest_idle_member(void) {
  look_and_release();
  turn_over_to_judge();
  rest_member();
}
static void prepare_member(void) { join_shared(&crew.member, false); }
static void region_take(void) {
  book->taking = 3;
  int result = ringbus_consumer_borrow_batch(crew.member, crew.messages, 3, &crew.count);
  expect(result == 0 || result == -EAGAIN, result);
  for (size_t i = 0; i < crew.count; i++)
    crew.index[i] = deliver(&crew.messages[i]);
  book->taking = 0;
}
static void region_take_twice(void) {
  region_take();
  release_delivered();
  region_take();
}
static void region_recv_shared(void) {
  for (int i = 0; i < 2; i++) {
    book->taking = book->receiving = 1;
    int result = ringbus_consumer_recv(crew.member, crew.copy, sizeof crew.copy, &crew.message);
    if (result == 0) {
      book->entries[deliver(&crew.message)].shared = GONE;
    }
    book->taking = book->receiving = 0;
    expect(result == 0 || result == -EAGAIN, result);
  }
}
static void prepare_holding(void) {
  prepare_member();
  region_take();
}
static void region_release_held(void) { release_delivered(); }
static void region_leave_holding(void) {
  int result = ringbus_consumer_detach(crew.member);
  expect(result == 0, result);
}
/* The same to the rest as being killed. */
static bool left_and_check(void) {
  if (!actor_ended())
    return false;
  partner.killed = true;
  return go_on_and_check();
}

static void life_take(ringbus_ring *ring) {
  ringbus_consumer *member;
  (void)ring;
  join_shared(&member, false);
  take_some(member, 3, FRESH);
}
static void prepare_dead_member(void) {
  prepare_member();
  die(life_take);
}
static void region_take_over(void) {
  book->taking = 3;
  int result = ringbus_consumer_wait(crew.member, 0);
  crew.count = 0;
  if (result == 0)
    result = ringbus_consumer_borrow_batch(crew.member, crew.messages, 3, &crew.count);
  expect(result == 0 || result == -EAGAIN || result == -ETIMEDOUT, result);
  for (size_t i = 0; i < crew.count; i++)
    crew.index[i] = deliver(&crew.messages[i]);
  book->taking = 0;
}
/* The first three are delivered again, to whom ever: nothing else is, unless its taker was killed. */
static bool check_deliveries(void) {
  struct partner *p = &partner;
  for (uint64_t i = 0; i < p->logged; i++) {
    const struct entry *entry = &book->entries[p->log[i]];
    unsigned by_actor = entry->delivered, by_us = p->delivered[p->log[i]];
    if (by_actor + by_us == 0 && !(p->killed && book->receiving))
      wrong("number %u is never delivered", p->log[i]);
    if (by_actor + by_us > (p->killed ? 2u : 1u))
      wrong("number %u is delivered %u times", p->log[i], by_actor + by_us);
    if (by_actor && by_us && entry->shared == GONE)
      wrong("number %u was released, and is delivered again", p->log[i]);
    if (p->again[p->log[i]] && i >= 3 && !by_actor && !p->killed)
      wrong("number %u is flagged", p->log[i]);
  }
  return true;
}
static bool check_over(void) {
  return actor_ended() && lap_unhindered() && check_log() && check_deliveries() && lags();
}

static void note_by_hand(uint32_t slot, uint64_t from, uint64_t state, uint64_t to, uint64_t count,
                         uint32_t low) {
  live_slot(slot)->taken_to = to;
  live_slot(slot)->taken[1] = count << RINGBUS_TAKE_COUNT_SHIFT | low;
  live_slot(slot)->taken[0] = from | state;
}
static void fill_slots(void) {
  uint32_t notes = 0, living = 0;
  struct ringbus_ring_info info;
  while (slot_with_note((int)notes))
    notes++;
  ringbus_ring_info(crew.ring, &info);
  for (living = info.participants; living + notes < CROWD_PARTICIPANTS; living++) {
    ringbus_producer *producer;
    attach_producer(&producer);
  }
}
static void prepare_inherit(void) {
  die(life_take);
  fill_slots();
}
/* The source stands in a later slot, so that a new member gets the one to which it is coming. */
static void life_take_from_behind(ringbus_ring *ring) {
  ringbus_producer *producer;
  attach_producer(&producer);
  life_take(ring);
}
static void prepare_inherit_coming(void) {
  die(life_take_from_behind);
  uint32_t from = slot_with_note(0), to = from - 1;
  const struct ringbus_slot *source = live_slot(from);
  live_slot(to)->group = source->group;
  live_slot(to)->state = UINT64_C(9) << 16 | RINGBUS_ROLE_CONSUMER;
  note_by_hand(to, source->taken[0] & ~(uint64_t)RINGBUS_TAKEN_MASK, RINGBUS_TAKEN_COMING,
               source->taken_to, source->taken[1] >> RINGBUS_TAKE_COUNT_SHIFT, from);
  fill_slots();
}
static void region_inherit(void) {
  join_shared(&crew.member, false);
  region_take();
}
static bool others_wait(void) { return members_read(); }

/* The run of somebody dead moves to m[0] while a producer looks who is in the way. */
static void prepare_full_behind_the_dead(void) {
  attach_producer(&crew.p);
  publish_full(crew.p);
  die(life_take);
  make(0, 100, 0);
}
/* m[1] has the first slot, m[0] the next, and the dead one will have a later one. */
static bool two_members(void) { return two_readers() && join_member(1) && join_member(0); }
/* m[1] takes all that the dead has not, and leaves that alone. */
static bool all_but_the_dead(void) {
  struct partner *p = &partner;
  struct ringbus_message messages[64];
  size_t count;
  p->hands_off = true;
  if (!all_read())
    return false;
  while (ringbus_consumer_borrow_batch(p->m[1], messages, 64, &count) == 0) {
    for (size_t i = 0; i < count; i++)
      if (!note_delivered(&messages[i]))
        return false;
    ringbus_consumer_release(p->m[1]);
  }
  p->hands_off = false;
  return true;
}
static bool takes_over(unsigned m) {
  struct partner *p = &partner;
  int result = ringbus_consumer_wait(p->m[m], 0);
  if (result != 0)
    wrong("wait: %s", ringbus_strerror(result));
  result = ringbus_consumer_borrow_batch(p->m[m], p->held, 64, &p->holding);
  if (result != 0)
    wrong("taking over: %s", ringbus_strerror(result));
  p->holder = m;
  for (size_t i = 0; i < p->holding; i++)
    if (!note_delivered(&p->held[i]))
      return false;
  return true;
}
static bool first_takes_over(void) { return takes_over(0); }
/* m[0] leaves with what it has, and m[1] takes it over. */
static bool second_takes_over(void) {
  struct partner *p = &partner;
  for (size_t i = 0; i < p->holding; i++)
    p->delivered[identify(&p->held[i])] = 0;
  ringbus_consumer_detach(p->m[0]);
  p->m[0] = NULL;
  return takes_over(1);
}
static bool holder_still_holds(void) {
  struct partner *p = &partner;
  if (!actor_ended() || !attach(&p->a) || !attach(&p->b) || !more_than_a_lap())
    return false;
  for (size_t i = 0; i < p->holding; i++)
    if (!check_message(&p->held[i]))
      return false;
  p->holding = 0;
  int result = ringbus_consumer_release(p->m[p->holder]);
  if (result != 0)
    wrong("release: %s", ringbus_strerror(result));
  return lap_unhindered() && check_log() && check_deliveries() && lags();
}

/* ---------------------------------------------------------------- scenarios */

static const struct pause_scenario scenarios[] = {
    {.actor = {"send, laps", prepare_sends, region_three_sends, rest_sends, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"send once, laps", prepare_sends, region_one_send, rest_sends, GATED},
     .before = crowd,
     .while_paused = laps_of_granules,
     .afterwards = finish_and_check,
     .closely = true},
    {.actor = {"claim and commit, laps", prepare_sends, region_claims, rest_sends, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"abort, laps", prepare_sends, region_abort, rest_sends, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"batch, laps", prepare_batch, region_batch, rest_sends, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"batch, all at once, laps", prepare_batch, region_batch_at_once, rest_sends, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"send, others claim the ring", prepare_sends, region_one_send, rest_sends, GATED},
     .before = crowd,
     .prepared = one_more,
     .while_paused = claim_the_ring_shorter,
     .afterwards = finish_and_check},
    {.actor = {"send, others batch the ring", prepare_sends, region_one_send, rest_sends, GATED},
     .before = crowd,
     .prepared = one_more,
     .while_paused = batch_the_ring,
     .afterwards = finish_and_check},
    {.actor = {"attach, laps", prepare_nothing, region_attach, rest_sends, GATED},
     .before = crowd_at_work,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"attach where the dead have claimed, laps", prepare_dead_claim, region_attach,
               rest_sends, GATED},
     .before = crowd_at_work,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"leave with a claim, laps", prepare_sends, region_leave_with_claim, NULL, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"refresh, join at the oldest", prepare_full, region_one_send, rest_sends, GATED},
     .before = two_readers,
     .prepared = drained,
     .while_paused = j_joins_at_oldest,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, join at the newest", prepare_full, region_one_send, rest_sends, GATED},
     .before = two_readers,
     .prepared = drained,
     .while_paused = j_joins_at_newest,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, seek back", prepare_full, region_one_send, rest_sends, GATED},
     .before = two_readers_and_j,
     .prepared = j_drained,
     .while_paused = j_seeks_back,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, others raise the floor, join", prepare_full, region_one_send, rest_sends,
               GATED},
     .before = crowd,
     .prepared = drained,
     .while_paused = one_sends_and_j_joins,
     .afterwards = joiner_reads_all},
    {.actor = {"refresh, join, others publish", prepare_full, region_one_send, rest_sends, GATED},
     .before = crowd,
     .prepared = drained,
     .while_paused = j_joins_and_laps,
     .afterwards = joiner_reads_all},
    {.actor = {"drop the oldest, laps", prepare_full, region_one_send, rest_sends, DROPPING},
     .before = lossy_crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"claim where others drop, laps", prepare_sends, region_claims, rest_sends, DROPPING},
     .before = lossy_crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"overwrite, laps", prepare_full, region_one_send, rest_sends, OVERWRITING},
     .before = lossy_crowd,
     .while_paused = laps,
     .afterwards = finish_and_check},

    {.actor = {"join at the oldest, laps", prepare_nothing, region_join_at_oldest, rest_read,
               GATED},
     .before = crowd_at_work,
     .while_paused = laps,
     .afterwards = read_and_check},
    {.actor = {"join at the newest, laps", prepare_nothing, region_join_at_newest, rest_read,
               GATED},
     .before = crowd_at_work,
     .while_paused = laps,
     .afterwards = read_and_check},
    {.actor = {"join, ephemeral, laps", prepare_nothing, region_join_ephemeral, rest_read, GATED},
     .before = crowd_at_work,
     .while_paused = laps,
     .afterwards = read_and_check},
    {.actor = {"seek back, laps", prepare_read_all, region_seek_back, rest_read, GATED},
     .before = crowd_at_work,
     .while_paused = laps,
     .afterwards = read_and_check},
    {.actor = {"borrow over gaps, laps", region_join_at_oldest, region_borrow, rest_look_and_read,
               GATED},
     .before = crowd_with_gaps,
     .while_paused = laps,
     .afterwards = read_and_check},
    {.actor = {"release over gaps, laps", prepare_borrowed, region_release, rest_read, GATED},
     .before = crowd_with_gaps,
     .while_paused = laps,
     .afterwards = read_and_check},
    {.actor = {"recv in an overwriting ring, laps", prepare_lapped, region_recv_lapped, rest_read,
               OVERWRITING},
     .before = lossy_crowd,
     .prepared = more_than_a_lap,
     .while_paused = laps,
     .afterwards = read_and_check},
    {.actor = {"observe an overwriting ring, laps", prepare_observer, region_observe, NULL,
               OVERWRITING},
     .before = lossy_crowd,
     .prepared = more_than_a_lap,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"wait where the dead have claimed, another in its place", prepare_read_all,
               region_wait, rest_read, GATED},
     .before = rival_claims,
     .prepared = rival_is_dead,
     .while_paused = somebody_in_its_place,
     .afterwards = read_and_check},
    {.actor = {"wait for a claim that is committed", prepare_read_all, region_wait, rest_read,
               GATED},
     .before = rival_claims,
     .while_paused = rival_commits_and_dies,
     .afterwards = read_and_check},
    {.actor = {"wait for room behind a claim that is committed", prepare_wait_for_room,
               region_wait_for_room, rest_sends, GATED},
     .before = rival_claims,
     .prepared = fill_up_only,
     .while_paused = rival_commits_and_dies,
     .afterwards = finish_and_check},
    {.actor = {"wait for room behind the dead, another in its place", prepare_wait_for_room,
               region_wait_for_room, rest_sends, GATED},
     .before = rival_claims,
     .prepared = fill_up,
     .while_paused = somebody_in_its_place,
     .afterwards = finish_and_check},
    {.actor = {"repair, another in the place of the dead", prepare_nothing, region_repair, NULL,
               GATED},
     .before = rival_claims,
     .prepared = rival_is_dead,
     .while_paused = laps_and_a_full_ring,
     .afterwards = finish_and_check},
    {.actor = {"repair, a claim is committed", prepare_nothing, region_repair, NULL, GATED},
     .before = rival_claims,
     .while_paused = rival_commits_and_dies,
     .afterwards = finish_and_check},

    {.actor = {"share, take, laps", prepare_member, region_take, rest_idle_member, GATED},
     .before = crowd_of_members,
     .prepared = leave_some,
     .while_paused = laps,
     .afterwards = unhindered_and_check},
    {.actor = {"share, take twice, laps", prepare_member, region_take_twice, rest_member, GATED},
     .before = crowd_and_member,
     .prepared = leave_some,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"share, recv, laps", prepare_member, region_recv_shared, rest_member, GATED},
     .before = crowd_of_members,
     .prepared = leave_some,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"share, release, laps", prepare_holding, region_release_held, rest_member, GATED},
     .before = something_for_members,
     .while_paused = laps,
     .afterwards = finish_and_check},
    {.actor = {"share, leave holding, laps", prepare_holding, region_leave_holding, NULL, GATED},
     .before = something_for_members,
     .while_paused = laps,
     .afterwards = left_and_check},
    {.actor = {"share, take over, others do", prepare_dead_member, region_take_over, rest_member,
               GATED},
     .before = something_for_members,
     .while_paused = others_wait,
     .afterwards = check_over},
    {.actor = {"share, inherit, others take over", prepare_inherit, region_inherit, rest_member,
               GATED},
     .before = something_for_members,
     .while_paused = others_wait,
     .afterwards = check_over},
    {.actor = {"share, inherit what is coming, others take over", prepare_inherit_coming,
               region_inherit, rest_member, GATED},
     .before = something_for_members,
     .while_paused = others_wait,
     .afterwards = check_over},
    {.actor = {"share, send, a run moves", prepare_full_behind_the_dead, region_one_send,
               rest_sends, GATED},
     .before = two_members,
     .prepared = all_but_the_dead,
     .while_paused = first_takes_over,
     .afterwards = holder_still_holds},
    {.actor = {"share, send, a run moves twice", prepare_full_behind_the_dead, region_one_send,
               rest_sends, GATED},
     .before = two_members,
     .prepared = all_but_the_dead,
     .while_paused = first_takes_over,
     .afterwards = holder_still_holds,
     .again = second_takes_over},

    {.actor = {"send, laps, killed", prepare_sends, region_three_sends, NULL, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check,
     .killed = true},
    {.actor = {"claim and commit, killed", prepare_sends, region_claims, NULL, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check,
     .killed = true},
    {.actor = {"batch, killed", prepare_batch, region_batch, NULL, GATED},
     .before = crowd,
     .while_paused = laps,
     .afterwards = finish_and_check,
     .killed = true},
    {.actor = {"refresh, join at the oldest, killed", prepare_full, region_one_send, NULL, GATED},
     .before = two_readers,
     .prepared = drained,
     .while_paused = j_joins_at_oldest,
     .afterwards = joiner_reads_all,
     .killed = true},
    {.actor = {"wait where the dead have claimed, killed", prepare_read_all, region_wait, NULL,
               GATED},
     .before = rival_claims,
     .while_paused = rival_commits_and_dies,
     .afterwards = joiner_reads_all,
     .killed = true},
    {.actor = {"share, take, killed", prepare_member, region_take, NULL, GATED},
     .before = crowd_of_members,
     .prepared = leave_some,
     .while_paused = laps,
     .afterwards = finish_and_check,
     .killed = true},
    {.actor = {"share, recv, killed", prepare_member, region_recv_shared, NULL, GATED},
     .before = crowd_of_members,
     .prepared = leave_some,
     .while_paused = laps,
     .afterwards = finish_and_check,
     .killed = true},
    {.actor = {"share, release, killed", prepare_holding, region_release_held, NULL, GATED},
     .before = something_for_members,
     .while_paused = laps,
     .afterwards = check_over,
     .killed = true},
    {.actor = {"share, take over, killed", prepare_dead_member, region_take_over, NULL, GATED},
     .before = something_for_members,
     .afterwards = check_over,
     .killed = true},
    {.actor = {"share, inherit, killed", prepare_inherit, region_inherit, NULL, GATED},
     .before = something_for_members,
     .afterwards = check_over,
     .killed = true},
};

/* ---------------------------------------------------------------- pausing */

/* Everybody up to the actor's region. */
static bool set_out(const struct pause_scenario *scenario) {
  struct partner *p = &partner;
  harness_reset();
  alarm(300);
  harness.scenario = scenario->actor.name;
  int result = ringbus_ring_open(harness.live_path, NULL, &p->ring);
  if (result != 0)
    wrong("ring_open: %s", ringbus_strerror(result));
  ringbus_ring_info(p->ring, &p->info);
  return (!scenario->before || scenario->before()) && crowd_start(&scenario->actor) &&
         (!scenario->prepared || scenario->prepared());
}

static void part(void) {
  struct partner *p = &partner;
  if (harness.actor)
    actor_kill();
  if (p->rival > 0) {
    kill(p->rival, SIGKILL);
    waitpid(p->rival, NULL, 0);
  }
  ringbus_producer_detach(p->a);
  ringbus_producer_detach(p->b);
  ringbus_consumer *consumers[] = {p->r, p->s, p->j, p->m[0], p->m[1]};
  for (size_t i = 0; i < sizeof consumers / sizeof consumers[0]; i++)
    ringbus_consumer_detach(consumers[i]);
  ringbus_ring_close(p->ring);
  memset(p, 0, sizeof *p);
}

/* So many changes of the file further on. */
static void go_on_for(uint64_t changes) {
  harness_file_changed();
  while (changes > 0 && harness.actor && !harness.control->region_ended && actor_step())
    changes -= harness_file_changed();
}

/* So many instructions behind the next change of the floor. False if it does not come there. */
static bool go_on_behind_the_floor(uint64_t instructions) {
  const volatile uint64_t *floor = &live_header()->floor.position;
  for (uint64_t before = *floor; *floor == before;)
    if (!actor_step() || harness.control->region_ended)
      return false;
  while (instructions-- > 0)
    if (!actor_step() || harness.control->region_ended)
      return false;
  return true;
}

/* further: changes until it is killed, or instructions until the second pause; false if there is none. */
static bool pause_at(const struct pause_scenario *scenario, uint64_t instruction,
                     uint64_t further) {
  bool there = set_out(scenario) && trace_go_to(instruction);
  bool fine = there && (!scenario->while_paused || scenario->while_paused());
  harness.states += there;
  if (fine && scenario->again)
    fine = there = go_on_behind_the_floor(further) && scenario->again();
  if (fine) {
    if (!scenario->killed)
      actor_continue();
    else
      go_on_for(further);
    if (scenario->killed && harness.actor)
      actor_kill();
    partner.killed = scenario->killed;
    scenario->afterwards();
  }
  part();
  return there;
}

/* At every instruction; or at a sample of about so many, and before each that changes the file. Who is
 * killed in the end is killed there, or goes on for a change or two after the pause. */
static void pause_everywhere(const struct pause_scenario *scenario, uint64_t sample) {
  harness.bad_here = 0;
  trace_begin();
  if (set_out(scenario))
    trace_region();
  part();
  uint64_t states = harness.states;
  for (uint64_t k = 0; k < trace_length(); k++) {
    if (!trace_is_wanted(k, scenario->closely ? UINT64_MAX : sample))
      continue;
    if (scenario->again)
      for (uint64_t further = 0; pause_at(scenario, k, further);)
        further += harness.full ? 1 : 5;
    else if (!scenario->killed)
      pause_at(scenario, k, 0);
    else if (!harness.full)
      pause_at(scenario, k, harness.states % 3);
    else
      for (uint64_t further = 0; further < 3; further++)
        pause_at(scenario, k, further);
  }
  if (harness.states == states)
    harness_bad("paused nowhere");
}

int main(int argc, char **argv) {
  crowd_begin(argc, argv);
  size_t most = harness.full || *harness.only_layout ? CROWD_LAYOUTS : 1;
  for (int kind = 0; kind < KINDS; kind++)
    for (size_t l = 0; l < most; l++) {
      const struct layout *layout = crowd_layout(&kinds[kind], l);
      harness_ring(layout, kinds[kind].options);
      for (size_t s = 0; s < sizeof scenarios / sizeof scenarios[0]; s++)
        if (scenarios[s].actor.kind == kind && harness_wants(scenarios[s].actor.name, layout))
          pause_everywhere(&scenarios[s], 40);
      harness_drop();
    }
  return harness_end("pauses, many producers", "paused, others go on for some laps");
}
