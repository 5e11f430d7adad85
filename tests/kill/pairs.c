/* SPDX-License-Identifier: MIT */
/* pairs.c - two processes, two preemptions, the full grid.
 *
 *   A runs to one of its instructions, then B to one of its own, then A to its end, then B to its end.
 *
 * Each is in one of the roles below. Only instructions at which they meet count (see trace_meets_other in
 * harness.h): the grid is each of these in A, with each of those that B then comes by, which depends on
 * where A stands. Whoever waits for a lock that the other one holds is preempted there, and goes on when the
 * other is at its end. At last both are killed, and the judge, who had been there before, reads on in
 * group "r": what that sees is the log, against which everything that the two were told is held.
 *
 *   pairs [A's role, B's role: "send, join" [layout]]    those whose names contain these words
 *   RINGBUS_TEST_SCALE=full     all pairs of roles, else the grids of a few */
#include "crowd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OURS = ENTRIES / 2, RINGFUL = SMALL / GRANULE, GROUPS_HERE = 6 };

static int role_of_this; /* in an actor: 0 A, 1 B */

/* The library waits for a lock in short sleeps: here that is where the other one gets its turn. */
int nanosleep(const struct timespec *time, struct timespec *rest) {
  (void)time, (void)rest;
  if (crew.actor) {
    crew.actor->control->waiting = 1;
    raise(SIGSTOP);
  }
  return 0;
}

/* ---------------------------------------------------------------- roles */

static struct entry *made(int i) { return &book->entries[crew.index[i]]; }

static void sent(int i, int result) {
  made(i)->published = result == 0 ? DONE : ABSENT;
  expect(result == 0 || result == -EAGAIN || (result == -EPIPE && book->closing), result);
}

static void make_three(void) {
  make(0, 40, 0);
  make(1, 200, 0);
  make(2, 64, 0);
}
static void prepare_producer(void) {
  attach_producer(&crew.p);
  make_three();
}
static void region_send(void) {
  for (int i = 0; i < 2; i++)
    sent(i, ringbus_producer_send(crew.p, crew.buffer[i], made(i)->length, 0));
}
static void region_batch(void) {
  struct iovec messages[3];
  size_t count;
  for (int i = 0; i < 3; i++)
    messages[i] = (struct iovec){crew.buffer[i], made(i)->length};
  int result = ringbus_producer_send_batch(crew.p, messages, 3, 0, true, &count);
  for (int i = 0; i < 3; i++)
    sent(i, (size_t)i < count ? 0 : result);
}
static void region_claim(void) {
  void *data;
  int result = ringbus_producer_claim(crew.p, 500, 0, &data);
  if (result == 0) {
    memcpy(data, crew.buffer[1], made(1)->length);
    result = ringbus_producer_commit(crew.p, made(1)->length);
  }
  sent(1, result);
}
static void region_attach(void) {
  int result = ringbus_producer_attach(crew.ring, NULL, &crew.p);
  if (result == 0)
    result = ringbus_producer_send(crew.p, crew.buffer[0], made(0)->length, 0);
  sent(0, result);
}
/* Its claim of 300 bytes is given up, or not made where there is no room. */
static void prepare_claim(void) {
  void *data;
  attach_producer(&crew.p);
  int result = ringbus_producer_claim(crew.p, 300, 0, &data);
  expect(result == 0 || result == -EAGAIN, result);
}
static void region_leave_producer(void) { leave_producer(&crew.p); }
static void region_close(void) {
  book->closing = 1;
  int result = ringbus_producer_finish(crew.p);
  expect(result == 0, result);
  book->closed = 1;
}
static void life_claim(ringbus_ring *ring) {
  ringbus_producer *producer;
  void *data;
  (void)ring;
  attach_producer(&producer);
  (void)ringbus_producer_claim(producer, 300, 0, &data);
}
static void prepare_repair(void) { die(life_claim); }
static void region_repair(void) {
  int result = ringbus_ring_repair(crew.ring, NULL);
  expect(result == 0, result);
}

static void note_group(const char *name) {
  strcpy(book->left[role_of_this].group, name);
  ringbus_consumer_tell(crew.consumer[0], NULL, &book->left[role_of_this].next);
}
/* Each of the two has a group of its own. */
static const char *own_group(void) { return role_of_this ? "b" : "a"; }
static void attach_consumer(const char *group, enum ringbus_start start) {
  struct ringbus_consumer_options options = {
      .group = group, .start = start, .hand_back = RINGBUS_HAND_BACK_STORE};
  int result = ringbus_consumer_attach(crew.ring, &options, &crew.consumer[0]);
  expect(result == 0, result);
}
static void note_read(const struct ringbus_message *message, uint64_t count) {
  uint64_t index = identify(message);
  expect(index < ENTRIES && verify_entry(message, &book->entries[index], index), index);
  book->read[book->reads].index = (uint16_t)index;
  book->read[book->reads++].count = (uint16_t)count;
}
static void prepare_consumer(void) {
  attach_consumer(own_group(), RINGBUS_OLDEST);
  note_group(own_group());
}
static void region_consume(void) {
  for (int i = 0; i < 2; i++) {
    uint64_t count;
    ringbus_consumer_tell(crew.consumer[0], NULL, &count);
    int result = ringbus_consumer_borrow(crew.consumer[0], &crew.message);
    if (result == 0)
      note_read(&crew.message, count);
    expect(result == 0 || result == -EAGAIN || (result == -EPIPE && book->closing), result);
    result = ringbus_consumer_release(crew.consumer[0]);
    expect(result == 0, result);
  }
  note_group(own_group());
}
static void region_join(void) {
  attach_consumer(own_group(), RINGBUS_OLDEST);
  note_group(own_group());
}
static void prepare_seek(void) {
  prepare_consumer();
  int result = ringbus_consumer_seek(crew.consumer[0], RINGBUS_NEWEST, 0);
  expect(result == 0, result);
}
static void region_seek(void) {
  int result = ringbus_consumer_seek(crew.consumer[0], RINGBUS_OLDEST, 0);
  expect(result == 0 || result == -EOVERFLOW, result);
  note_group(own_group());
}
static void prepare_ephemeral(void) { attach_consumer(NULL, RINGBUS_OLDEST); }
static void region_leave(void) {
  int result = ringbus_consumer_detach(crew.consumer[0]);
  expect(result == 0, result);
}
static void prepare_remove(void) {
  attach_consumer(own_group(), RINGBUS_OLDEST);
  region_leave();
}
static void region_remove(void) {
  int result = ringbus_ring_remove_group(crew.ring, own_group());
  expect(result == 0, result);
}
static void prepare_member(void) { join_shared(&crew.member, false); }
static void region_take(void) {
  int result = ringbus_consumer_borrow_batch(crew.member, crew.messages, 3, &crew.count);
  expect(result == 0 || result == -EAGAIN || (result == -EPIPE && book->closing), result);
  for (size_t i = 0; i < crew.count; i++) {
    uint64_t index = identify(&crew.messages[i]);
    expect(index < ENTRIES, index);
    expect(verify_entry(&crew.messages[i], &book->entries[index], index), index);
    expect(book->entries[index].shared == FRESH || crew.messages[i].redelivered, index);
    book->entries[index].shared = TAKEN;
  }
}
static void region_take_and_release(void) {
  region_take();
  int result = ringbus_consumer_release(crew.member);
  expect(result == 0, result);
  for (size_t i = 0; i < crew.count; i++)
    book->entries[identify(&crew.messages[i])].shared = GONE;
}
static void region_become_member(void) {
  prepare_member();
  region_take();
}
static void prepare_holding(void) {
  prepare_member();
  region_take();
}
static void region_leave_holding(void) {
  int result = ringbus_consumer_detach(crew.member);
  expect(result == 0, result);
}
static void prepare_observer(void) {
  int result = ringbus_observer_attach(crew.ring, NULL, &crew.observer);
  expect(result == 0, result);
}
static void region_observe(void) {
  uint64_t count;
  ringbus_observer_tell(crew.observer, NULL, &count);
  int result = ringbus_observer_recv(crew.observer, crew.copy, sizeof crew.copy, &crew.message);
  if (result == 0)
    note_read(&crew.message, count);
  expect(result == 0 || result == -EAGAIN || result == -EOVERFLOW, result);
}
static void prepare_nothing(void) {}
static void prepare_attach(void) { make_three(); }

static const struct crowd_scenario roles[] = {
    {"send", prepare_producer, region_send, NULL, GATED_SMALL},
    {"batch", prepare_producer, region_batch, NULL, GATED_SMALL},
    {"claim", prepare_producer, region_claim, NULL, GATED_SMALL},
    {"attach", prepare_attach, region_attach, NULL, GATED_SMALL},
    {"give up", prepare_claim, region_leave_producer, NULL, GATED_SMALL},
    {"close", prepare_producer, region_close, NULL, GATED_SMALL},
    {"repair", prepare_repair, region_repair, NULL, GATED_SMALL},
    {"consume", prepare_consumer, region_consume, NULL, GATED_SMALL},
    {"join", prepare_nothing, region_join, NULL, GATED_SMALL},
    {"seek", prepare_seek, region_seek, NULL, GATED_SMALL},
    {"leave", prepare_ephemeral, region_leave, NULL, GATED_SMALL},
    {"remove", prepare_remove, region_remove, NULL, GATED_SMALL},
    {"take", prepare_member, region_take_and_release, NULL, GATED_SMALL},
    {"become a member", prepare_nothing, region_become_member, NULL, GATED_SMALL},
    {"leave holding", prepare_holding, region_leave_holding, NULL, GATED_SMALL},
    {"observe", prepare_observer, region_observe, NULL, GATED_SMALL},
};
enum { ROLES = sizeof roles / sizeof roles[0] };

/* ---------------------------------------------------------------- the judge */

static struct {
  ringbus_ring *ring;
  ringbus_producer *producer;
  ringbus_consumer *r, *member;
  ringbus_consumer *left[2]; /* in the groups that the two have left */
  uint64_t left_next[2];
  uint64_t made;
  uint16_t log[ENTRIES];
  uint64_t logged;
  uint8_t delivered[ENTRIES], again[ENTRIES];
} judge;

#define wrong(...) return harness_bad(__VA_ARGS__), false

static bool is_over(int result) { return result == -EAGAIN || result == -EPIPE; }

/* All that there is for group r, which makes the log, or for one that has to agree with it. */
static bool read_all(ringbus_consumer *consumer, const char *name, uint64_t *next) {
  struct ringbus_message message;
  for (;;) {
    int result = ringbus_consumer_borrow(consumer, &message);
    if (result == -EAGAIN && ringbus_consumer_wait(consumer, 0) == 0)
      continue; /* behind what the dead have claimed */
    if (is_over(result))
      return true;
    if (result != 0)
      wrong("group %s: %s", name, ringbus_strerror(result));
    uint64_t index = identify(&message);
    if (index == ENTRIES || !verify_entry(&message, &book->entries[index], index))
      wrong("group %s, message %llu: not what was sent", name, (unsigned long long)*next);
    if (consumer == judge.r)
      judge.log[judge.logged++] = (uint16_t)index;
    else if (*next >= judge.logged || judge.log[*next] != index)
      wrong("group %s sees number %llu as message %llu", name, (unsigned long long)index,
            (unsigned long long)*next);
    ++*next;
    result = ringbus_consumer_release(consumer);
    if (result != 0)
      wrong("release in %s: %s", name, ringbus_strerror(result));
  }
}

static bool member_reads(uint64_t most) {
  struct ringbus_message message;
  while (most-- > 0) {
    int result = ringbus_consumer_borrow(judge.member, &message);
    if (result == -EAGAIN && ringbus_consumer_wait(judge.member, 0) == 0)
      continue;
    if (is_over(result))
      return true;
    uint64_t index = result == 0 ? identify(&message) : ENTRIES;
    if (index == ENTRIES || !verify_entry(&message, &book->entries[index], index))
      wrong("a member: %s", result ? ringbus_strerror(result) : "not what was sent");
    if (judge.delivered[index]++)
      wrong("number %llu is delivered twice", (unsigned long long)index);
    judge.again[index] = message.redelivered;
    result = ringbus_consumer_release(judge.member);
    if (result != 0)
      wrong("a member's release: %s", ringbus_strerror(result));
  }
  return true;
}

static bool all_read(void) {
  uint64_t next = judge.logged;
  if (!read_all(judge.r, "r", &next))
    return false;
  for (int i = 0; i < 2; i++)
    if (judge.left[i] && !read_all(judge.left[i], book->left[i].group, &judge.left_next[i]))
      return false;
  return member_reads(UINT64_MAX);
}

static int send_next(uint32_t length) {
  char bytes[LARGE];
  uint64_t index = OURS + judge.made;
  struct entry *entry = &book->entries[index];
  *entry = (struct entry){.length = length};
  fill_entry(bytes, entry, index);
  int result = ringbus_producer_send(judge.producer, bytes, length, 0);
  if (result == 0) {
    entry->published = DONE;
    judge.made++;
  }
  return result;
}

static bool join_shared_group(void) {
  struct ringbus_consumer_options options = {.group = "s", .shared = true};
  int result = ringbus_consumer_attach(judge.ring, &options, &judge.member);
  if (result != 0)
    wrong("joining as member: %s", ringbus_strerror(result));
  return true;
}

/* A full ring, read by r and by half in the shared group: the next who sends must look who is in the way. */
static bool set_the_stage(void) {
  struct ringbus_consumer_options options = {.group = "r"};
  uint64_t next = 0;
  int result = ringbus_ring_open(harness.live_path, NULL, &judge.ring);
  if (result == 0)
    result = ringbus_producer_attach(judge.ring, NULL, &judge.producer);
  if (result == 0)
    result = ringbus_consumer_attach(judge.ring, &options, &judge.r);
  if (result != 0 || !join_shared_group())
    wrong("cannot begin: %s", ringbus_strerror(result));
  for (int i = 0; i < RINGFUL && result == 0; i++)
    result = send_next(40);
  if (result != 0)
    wrong("cannot fill the ring: %s", ringbus_strerror(result));
  if (!read_all(judge.r, "r", &next) || !member_reads(RINGFUL / 2))
    return false;
  ringbus_consumer_detach(judge.member);
  judge.member = NULL;
  return true;
}

/* Their groups are taken up where they were told that these stand. */
static bool take_up_groups(void) {
  for (int i = 0; i < 2; i++) {
    struct ringbus_consumer_options options = {.group = book->left[i].group};
    if (!options.group[0])
      continue;
    int result = ringbus_consumer_attach(judge.ring, &options, &judge.left[i]);
    if (result != 0)
      wrong("resuming as %s: %s", options.group, ringbus_strerror(result));
    ringbus_consumer_tell(judge.left[i], NULL, &judge.left_next[i]);
    if (judge.left_next[i] != book->left[i].next)
      wrong("group %s is at message %llu, was told %llu", options.group,
            (unsigned long long)judge.left_next[i], (unsigned long long)book->left[i].next);
  }
  return join_shared_group();
}

/* Nobody is in the way any more. */
static bool publish_a_lap(void) {
  if (book->closed)
    return send_next(40) == -EPIPE || (harness_bad("it was closed, and is open"), false);
  for (uint64_t bytes = 0; bytes < SMALL * 5 / 4;) {
    uint32_t length = varied_length(judge.made) % 1000 + 8;
    int result = send_next(length);
    if (result == -EAGAIN) {
      if (!all_read())
        return false;
      ringbus_producer_wait(judge.producer, length, 0, 0);
      result = send_next(length);
    }
    if (result != 0) {
      struct ringbus_blame blame = {0};
      ringbus_ring_blame(judge.ring, RINGBUS_PRODUCER, &blame);
      wrong("nobody should be in the way, but group '%s', slot %u at message %llu is: %s",
            blame.group, blame.slot, (unsigned long long)blame.position, ringbus_strerror(result));
    }
    bytes += crowd_bytes(length, 0);
  }
  return true;
}

/* Each message once, and in the order of who sent it; and so say all. */
static bool check_log(void) {
  uint64_t next[] = {0, book->made_by_first, OURS};
  const uint64_t end[] = {book->made_by_first, book->made, OURS + judge.made};
  struct ringbus_ring_info info;
  for (uint64_t i = 0; i < judge.logged; i++) {
    uint64_t index = judge.log[i];
    int whose = index >= OURS ? 2 : index >= book->made_by_first;
    for (; next[whose] < index; next[whose]++)
      if (book->entries[next[whose]].published == DONE)
        wrong("number %llu is lost, or behind a later one", (unsigned long long)next[whose]);
    if (index < next[whose] || book->entries[index].published != DONE)
      wrong("number %llu is there again, or was not published", (unsigned long long)index);
    next[whose]++;
    const struct entry *entry = &book->entries[index];
    if (judge.delivered[index] != (entry->shared != GONE))
      wrong("number %llu is delivered %u times", (unsigned long long)index, judge.delivered[index]);
    if (judge.again[index] != (entry->shared == TAKEN))
      wrong("number %llu: redelivered %u", (unsigned long long)index, judge.again[index]);
  }
  for (int whose = 0; whose < 3; whose++)
    for (; next[whose] < end[whose]; next[whose]++)
      if (book->entries[next[whose]].published == DONE)
        wrong("number %llu is lost", (unsigned long long)next[whose]);
  for (uint64_t i = 0; i < book->reads; i++)
    if (judge.log[book->read[i].count] != book->read[i].index)
      wrong("number %u was read as message %u, r saw %u", book->read[i].index, book->read[i].count,
            judge.log[book->read[i].count]);
  for (int i = 0; i < 2; i++)
    if (judge.left[i] && judge.left_next[i] != judge.logged)
      wrong("group %s has read up to message %llu of %llu", book->left[i].group,
            (unsigned long long)judge.left_next[i], (unsigned long long)judge.logged);
  int result = ringbus_ring_info(judge.ring, &info);
  if (result != 0 || info.tail_count != judge.logged || info.broken_cursors ||
      info.closed != (book->closed != 0))
    wrong("info: %d, %llu messages, closed %d", result, (unsigned long long)info.tail_count,
          info.closed);
  return true;
}

static bool judge_all(void) {
  struct ringbus_ring_info info;
  if (!take_up_groups() || !all_read() || !publish_a_lap() || !all_read() || !check_log())
    return false;
  ringbus_ring_info(judge.ring, &info);
  uint32_t ours = 3u + (judge.left[0] != NULL) + (judge.left[1] != NULL);
  if (info.participants != ours)
    wrong("%u participants, should be %u", info.participants, ours);
  return true;
}

/* ---------------------------------------------------------------- the grid */

static char pair[64]; /* the names of A's role and B's */

/* Both are about to begin their regions; A is the one that all is about. */
static bool set_out(const struct crowd_scenario *a, const struct crowd_scenario *b) {
  harness_reset();
  alarm(300);
  if (!set_the_stage())
    return false;
  role_of_this = 0;
  if (!crowd_start(a))
    return false;
  book->made_by_first = book->made;
  actor_switch();
  role_of_this = 1;
  bool fine = crowd_start(b);
  actor_switch();
  harness.scenario = pair;
  return fine;
}

static void part(void) {
  for (int i = 0; i < 2; i++, actor_switch())
    if (harness.actor)
      actor_kill();
  ringbus_producer_detach(judge.producer);
  ringbus_consumer *consumers[] = {judge.r, judge.member, judge.left[0], judge.left[1]};
  for (size_t i = 0; i < sizeof consumers / sizeof consumers[0]; i++)
    ringbus_consumer_detach(consumers[i]);
  ringbus_ring_close(judge.ring);
  memset(&judge, 0, sizeof judge);
}

/* A to its end, then B; if one waits for the other, that one first. Then they are gone, and are judged. */
static void end_and_judge(void) {
  bool ended[2] = {false, false};
  for (int turn = 0; turn < 4; turn++, actor_switch())
    if (!ended[turn % 2] && harness.actor)
      ended[turn % 2] = actor_end_region();
  harness.states++;
  for (int i = 0; i < 2; i++, actor_switch()) {
    if (harness.actor && !ended[i])
      harness_bad("they wait for each other");
    if (harness.actor)
      actor_kill();
    else
      ended[i] = false;
  }
  if (ended[0] && ended[1])
    judge_all();
}

/* A at its instruction i: then B steps to its end, which says by which instructions it comes. */
static bool trace_second(const struct crowd_scenario *a, const struct crowd_scenario *b,
                         uint64_t i) {
  bool there = set_out(a, b) && trace_go_to(i);
  if (there) {
    actor_switch();
    trace_region();
    actor_switch();
    end_and_judge();
  }
  part();
  return there;
}

/* Which lines each of them touches, as the first and as the second one. */
static void trace_one_after_the_other(const struct crowd_scenario *a,
                                      const struct crowd_scenario *b, bool second_first) {
  if (set_out(a, b)) {
    for (int i = 0; i < 2; i++) {
      if (i == 0 && second_first)
        actor_switch();
      trace_region();
      actor_switch();
    }
    if (second_first)
      actor_switch();
    end_and_judge();
  }
  part();
}

static void go_through_grid(const struct crowd_scenario *a, const struct crowd_scenario *b) {
  trace_forget_lines();
  trace_one_after_the_other(a, b, true);
  trace_one_after_the_other(a, b, false);
  bool traced = false;
  for (uint64_t i = 0; i < trace_length(); i++) {
    /* B comes by the same instructions as at the last i, unless there is something new for it to see. */
    traced = traced && !(i > 0 && trace_changes_something(i - 1));
    if (!trace_meets_other(i) || !(traced || trace_second(a, b, i)))
      continue;
    traced = true;
    actor_switch();
    uint64_t length = trace_length();
    for (uint64_t j = 0; j < length && harness.bad_here < 3; j++) { /* more are not told anyway */
      if (!trace_meets_other(j))
        continue;
      actor_switch();
      if (set_out(a, b) && trace_go_to(i)) {
        actor_switch();
        bool there = trace_go_to(j);
        actor_switch();
        if (there)
          end_and_judge();
      }
      part();
      actor_switch();
    }
    actor_switch();
  }
}

/* Those without which a run would say little: who publishes against who comes, seeks, takes, repairs. */
static bool is_among_the_few(void) {
  static const char *const few[] = {"send, send",    "send, join",    "join, send",  "attach, send",
                                    "claim, repair", "take, take",    "seek, send",  "batch, send",
                                    "batch, batch",  "consume, join", "join, batch", "batch, join",
                                    "take, send",    "attach, batch", "take, join",  "send, take"};
  for (size_t i = 0; i < sizeof few / sizeof few[0]; i++)
    if (strcmp(pair, few[i]) == 0)
      return true;
  return false;
}

/* Every so many-th pair, beginning with this one. */
static void go_through_pairs(unsigned first, unsigned every) {
  struct ringbus_create_options options = kinds[GATED_SMALL].options;
  const struct layout *layout = crowd_layout(&kinds[GATED_SMALL], 0);
  options.max_groups = GROUPS_HERE;
  harness_ring(layout, options);
  for (unsigned number = first; number < ROLES * ROLES; number += every) {
    const struct crowd_scenario *a = &roles[number / ROLES], *b = &roles[number % ROLES];
    snprintf(pair, sizeof pair, "%s, %s", a->name, b->name);
    if (!harness_wants(pair, layout) ||
        !(*harness.only_scenario || harness.full || is_among_the_few()))
      continue;
    uint64_t before = harness.states;
    harness.bad_here = 0;
    go_through_grid(a, b);
    printf("%s: %llu schedules\n", pair, (unsigned long long)(harness.states - before));
  }
  harness_drop();
}

/* Where there is much to do each core has its share, and a process. */
int main(int argc, char **argv) {
  const char *scale = getenv("RINGBUS_TEST_SCALE");
  unsigned workers = scale && strcmp(scale, "full") == 0 ? (unsigned)get_nprocs() : 1;
  struct harness *done =
      mmap(NULL, workers * sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int status, failed = 0;
  for (unsigned worker = 0; worker < workers; worker++)
    if (fork() == 0) {
      crowd_begin(argc, argv);
      prctl(PR_SET_PDEATHSIG, SIGTERM); /* which tells it to clean up */
      go_through_pairs(worker, workers);
      done[worker] = harness;
      return harness_end(NULL, NULL);
    }
  while (wait(&status) > 0)
    failed |= status != 0;
  for (unsigned worker = 0; worker < workers; worker++) {
    harness.instructions += done[worker].instructions;
    harness.states += done[worker].states;
    harness.missed += done[worker].missed;
    harness.bad += done[worker].bad;
  }
  return harness_end("two processes, two preemptions", "schedules judged") || failed;
}
