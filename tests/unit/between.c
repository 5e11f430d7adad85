/* SPDX-License-Identifier: MIT */
/* between.c - what others do between two instructions of a call. A page of the ring is taken away from this
 * process, so that each access to it is noticed; it is made one by one, and after the one that a test has named something
 * is done through another mapping. That is how calls are met that look again, and how far a hostile peer gets
 * that changes something after each look: every loop has an end.
 *
 * Elsewhere: others who are stopped at every instruction of theirs (kill/), hostile bytes without timing
 * (hostile.c). */
#include "suite.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "internal.h"

#define CAPACITY 4096u

static ringbus_ring *ring;
static ringbus_producer *producer;
static char *file; /* the other mapping */
static struct ringbus_header *header;

#ifdef __x86_64__

/* ---------------------------------------------------------------- one access after the other */

static struct watched {
  char *page;
  size_t bytes;
  size_t offset; /* of the 8 bytes that are watched */
  /* the so-manieth access of them, from 1, and each so-manieth behind it, but no more than these */
  unsigned from, every, most;
  unsigned seen, done;
  void (*act)(void);
  char *accessed;
  bool was_write, done_behind_write;
} watched;

enum { TRAP_FLAG = 0x100 };

static void noticed(int number, siginfo_t *info, void *context) {
  ucontext_t *at = context;
  char *accessed = info->si_addr;
  if (!watched.page || accessed < watched.page || accessed >= watched.page + watched.bytes) {
    signal(number, SIG_DFL);
    return;
  }
  watched.accessed = accessed;
  watched.was_write = (at->uc_mcontext.gregs[REG_ERR] & 2) != 0;
  REQUIRE(mprotect(watched.page, watched.bytes, PROT_READ | PROT_WRITE) == 0);
  at->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void accessed(int number, siginfo_t *info, void *context) {
  ucontext_t *at = context;
  (void)number, (void)info;
  at->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
  if ((size_t)(watched.accessed - (char *)ring->header) / 8 == watched.offset / 8 &&
      ++watched.seen >= watched.from && (watched.seen - watched.from) % watched.every == 0 &&
      watched.done < watched.most) {
    watched.done++;
    watched.done_behind_write = watched.was_write;
    watched.act();
  }
  if (watched.page)
    REQUIRE(mprotect(watched.page, watched.bytes, PROT_NONE) == 0);
}

static void unwatch(void) {
  if (watched.page)
    REQUIRE(mprotect(watched.page, watched.bytes, PROT_READ | PROT_WRITE) == 0);
  watched.page = NULL;
}

/* After access number from of the word at an offset of the file, and each so-manieth behind it, act; so often at most. */
static void watch(size_t offset, unsigned from, unsigned every, unsigned most, void (*act)(void)) {
  struct sigaction fault = {.sa_sigaction = noticed, .sa_flags = SA_SIGINFO},
                   step = {.sa_sigaction = accessed, .sa_flags = SA_SIGINFO};
  REQUIRE(sigaction(SIGSEGV, &fault, NULL) == 0 && sigaction(SIGTRAP, &step, NULL) == 0);
  watched = (struct watched){.page = (char *)ring->header + offset / 4096 * 4096,
                             .bytes = 4096,
                             .offset = offset,
                             .from = from,
                             .every = every,
                             .most = most,
                             .act = act};
  REQUIRE(mprotect(watched.page, watched.bytes, PROT_NONE) == 0);
}

#else /* one instruction at a time is this processor's */
static struct {
  unsigned done;
  bool done_behind_write;
} watched;
static void unwatch(void) {}
static void watch(size_t offset, unsigned from, unsigned every, unsigned most, void (*act)(void)) {
  (void)offset, (void)from, (void)every, (void)most, (void)act;
  cr_skip_test("only on x86-64");
}
#endif

static void watch_once(size_t offset, unsigned from, void (*act)(void)) {
  watch(offset, from, 1, 1, act);
}

enum { ALWAYS = INT32_MAX, LOOKS = 2000 /* two for each try of counted_load and pair_load */ };

/* ---------------------------------------------------------------- rings */

static void make(struct ringbus_create_options options) {
  options.capacity = CAPACITY;
  ring = test_ring("ring", &options);
  int fd = open(test_path("ring"), O_RDWR | O_CLOEXEC);
  file = mmap(NULL, ring->geometry.file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  REQUIRE(file != MAP_FAILED);
  close(fd);
  header = (struct ringbus_header *)(void *)file;
  producer = test_producer(ring);
}

static void make_many(void) { make((struct ringbus_create_options){.many_producers = true}); }

static size_t word_offset(uint64_t position) {
  return ring->geometry.words_offset +
         (size_t)((position & ring->view.word_mask) >> ring->view.word_shift);
}

static uint64_t *at(size_t offset) { return (uint64_t *)(void *)(file + offset); }

static struct ringbus_group *group(uint32_t index) {
  return (struct ringbus_group *)(void *)(file + ring->geometry.groups_offset) + index;
}

static size_t in_group(uint32_t index, size_t field) {
  return ring->geometry.groups_offset + index * sizeof(struct ringbus_group) + field;
}

static size_t in_slot(uint32_t slot, size_t field) {
  return ring->geometry.slots_offset + slot * sizeof(struct ringbus_slot) + field;
}

static void send(unsigned count) {
  while (count-- > 0)
    cr_result(ringbus_producer_send(producer, "message", 7, 0), 0);
}

#define FLOOR offsetof(struct ringbus_header, floor.position)
#define TAIL offsetof(struct ringbus_header, tail.position)

static int die_in_claim(struct test_child *self, void *context) {
  ringbus_producer *dying = test_producer(test_open("ring"));
  void *data;
  (void)self, (void)context;
  REQUIRE_RESULT(ringbus_producer_claim(dying, 8, 0, &data), 0);
  raise(SIGKILL);
  return 1;
}

static void somebody_dies_in_a_claim(void) {
  struct test_child child = test_child_start(die_in_claim, NULL);
  cr_assert_eq(test_child_status(&child), -SIGKILL);
}

/* ---------------------------------------------------------------- a claim that is not given up */

static void commit_first(void) {
  *at(word_offset(0)) =
      record_word(&ring->view, 0, RINGBUS_WORD_COMMITTED, 64, 64u << RINGBUS_WORD_UNUSED_SHIFT);
}

/* The owner is dead, but somebody else has resolved its claim before the swap. */
Test(between, a_claim_that_has_changed_since_it_was_judged_is_left_alone) {
  struct ringbus_message message;
  uint64_t recovered;
  make_many();
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  somebody_dies_in_a_claim();
  watch_once(word_offset(0), 2, commit_first);
  cr_result(ringbus_ring_repair(ring, &recovered), 0);
  unwatch();
  cr_assert(watched.done == 1 && recovered == 0);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
}

/* ---------------------------------------------------------------- a floor that never stands still */

/* To the next record, as if producers went round and round. */
static void run_on(void) {
  header->floor.position += 64;
  header->floor.count[0]++;
}

static void stand_still(void) {
  unwatch();
  header->floor.position = header->floor.count[0] = 0;
}

/* Each walk begins at the floor, which is loaded in two looks, and has moved before the third, with which a
 * walk ends. */
#define WHILE_THE_FLOOR_RUNS(from, call, expected)                                                 \
  do {                                                                                             \
    watch(FLOOR, from, 3, ALWAYS, run_on);                                                         \
    int answer_ = (call);                                                                          \
    stand_still();                                                                                 \
    cr_result(answer_, expected);                                                                  \
    cr_assert_gt(watched.done, 30);                                                                \
  } while (0)

Test(between, who_looks_for_the_end_behind_a_floor_that_runs_gives_up, .timeout = 60) {
  struct ringbus_blame blame;
  struct ringbus_observer_options newest = {.start = RINGBUS_NEWEST},
                                  there = {.start = RINGBUS_POSITION, .position = 64 * 1000};
  ringbus_observer *observer = NULL;
  make_many();
  test_consumer(ring, "g");
  send(20);
  WHILE_THE_FLOOR_RUNS(2, ringbus_producer_tell(producer, NULL, NULL), -EAGAIN);
  WHILE_THE_FLOOR_RUNS(2, ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame), -ENOENT);
  WHILE_THE_FLOOR_RUNS(2, ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), -ENOENT);
  WHILE_THE_FLOOR_RUNS(4, ringbus_ring_flush(ring), -EAGAIN);
  WHILE_THE_FLOOR_RUNS(4, ringbus_observer_attach(ring, &newest, &observer), 0); /* at last */
  there.position = 64 * 64;
  WHILE_THE_FLOOR_RUNS(2, ringbus_observer_attach(ring, &there, &observer), -EINVAL);
}

/* Loads of the pair fail, until they do not. */
Test(between, who_cannot_load_the_floor_looks_again, .timeout = 60) {
  uint64_t position = 1, count;
  ringbus_observer *observer = NULL;
  make_many();
  test_consumer(ring, "g");
  send(20);
  watch(FLOOR, 1, 1, LOOKS, run_on);
  int result = ringbus_producer_tell(producer, &position, &count);
  stand_still();
  cr_result(result, 0);
  watch(FLOOR, 1, 1, LOOKS, run_on);
  result = ringbus_observer_attach(ring, NULL, &observer);
  stand_still();
  cr_result(result, 0);
  cr_result(ringbus_producer_tell(producer, &position, &count), 0);
  cr_assert(position == 20 * 64 && count == 20);
}

static void overwrite(void) { header->floor.position += 64; }

/* The content that was hashed is not what there is any more. */
Test(between, what_is_overwritten_while_it_is_flushed_is_not_vouched_for) {
  make((struct ringbus_create_options){0});
  send(20);
  watch_once(FLOOR, 2, overwrite);
  int result = ringbus_ring_flush(ring);
  unwatch();
  cr_result(result, -EAGAIN);
  cr_assert(strstr(ringbus_error_detail(), "overwrote"), "%s", ringbus_error_detail());
  cr_assert_eq(header->flushed.flushed_ns, 0);
}

/* Who was lapped cannot say by how much, and says that there is nothing yet. */
Test(between, a_lapped_reader_that_cannot_load_the_floor_tries_again, .timeout = 60) {
  const struct ringbus_consumer_options lapped = {.policy = RINGBUS_LAPPED};
  struct ringbus_message message;
  ringbus_consumer *consumer;
  uint64_t lost;
  make((struct ringbus_create_options){.overwrite = true});
  cr_result(ringbus_consumer_attach(ring, &lapped, &consumer), 0);
  send(1000);
  const uint64_t floor = header->floor.position;
  watch(FLOOR, 2, 1, LOOKS, overwrite);
  int result = ringbus_consumer_borrow(consumer, &message);
  unwatch();
  header->floor.position = floor;
  cr_result(result, -EAGAIN);
  cr_result(ringbus_consumer_borrow(consumer, &message), -EOVERFLOW);
  cr_result(ringbus_consumer_lost(consumer, &lost, NULL), 0);
  cr_assert_eq(lost, header->floor.count[floor & 1]);
}

static void floor_passes(void) { header->floor.position += 64 * 5; }

/* The floor goes by between the look for the oldest and the join: that is what is lost. */
Test(between, the_oldest_may_be_overwritten_while_a_group_goes_back_to_it) {
  const struct ringbus_consumer_options newest = {.group = "g", .start = RINGBUS_NEWEST},
                                        oldest = {.group = "g", .start = RINGBUS_OLDEST};
  ringbus_consumer *consumer;
  uint64_t bytes;
  make_many();
  send(20);
  cr_result(ringbus_consumer_attach(ring, &newest, &consumer), 0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  watch_once(FLOOR, 4, floor_passes);
  int result = ringbus_consumer_attach(ring, &oldest, &consumer);
  unwatch();
  cr_result(result, 0);
  cr_assert_eq(watched.done, 1);
  cr_result(ringbus_consumer_lost(consumer, NULL, &bytes), 0);
  cr_assert_eq(bytes, 64 * 5);
}

/* ---------------------------------------------------------------- room among many producers */

static void fill(void) {
  int result;
  while ((result = ringbus_producer_send(producer, "message", 7, 0)) == 0)
    ;
  cr_result(result, -EAGAIN);
}

static void make_one_that_drops(void) {
  make((struct ringbus_create_options){.many_producers = true, .no_group = RINGBUS_DROP});
  send(CAPACITY / 64);
}

static void somebody_joins(void) {
  group(0)->gating = 4 | RINGBUS_GATING_JOINING;
  group(0)->policy = RINGBUS_GROUP_GATE;
  group(0)->cursor = 0;
  header->join.groups = 1;
}

/* It is not seen before the floor is announced, and has not seen that floor: it is waited for. */
Test(between, who_joins_while_the_floor_is_announced_is_waited_for) {
  make_one_that_drops();
  watch_once(FLOOR, 3, somebody_joins);
  int result = ringbus_producer_send(producer, "message", 7, 0);
  unwatch();
  cr_assert(watched.done == 1 && header->floor.position > 0);
  cr_result(result, -EAGAIN);
  group(0)->cursor = header->floor.position;
  send(1);
}

static void floor_counts(void) { header->floor.count[0]++; }

/* Others change the floor all the time, which then is not what it was when this one has looked. */
Test(between, who_is_never_the_one_to_raise_the_floor_gives_up, .timeout = 60) {
  make_one_that_drops();
  watch(FLOOR, 2, 1, ALWAYS, floor_counts);
  int result = ringbus_producer_send(producer, "message", 7, 0);
  unwatch();
  cr_result(result, -EAGAIN);
  cr_assert_geq(watched.done, 100);
  watch(FLOOR, 1, 1, LOOKS, run_on); /* which cannot be loaded, at first */
  result = ringbus_producer_send(producer, "message", 7, 0);
  unwatch();
  cr_result(result, 0);
}

static void tail_runs(void) { header->tail.position += 64; }

Test(between, who_never_finds_the_tail_gives_up) {
  make_many();
  watch(TAIL, 1, 1, ALWAYS, tail_runs);
  int sent = ringbus_producer_send(producer, "message", 7, 0);
  int waited = ringbus_producer_wait(producer, 7, 0, 0);
  unwatch();
  cr_result(sent, -EAGAIN);
  cr_result(waited, -ETIMEDOUT);
}

static void somebody_finishes(void) { header->signals.state = RINGBUS_STATE_CLOSED; }

/* Between the claim and the commit: who has seen the end must not miss a message that was sent. */
Test(between, what_is_claimed_when_the_stream_ends_is_not_sent) {
  const struct iovec two[] = {{"one", 3}, {"two", 3}};
  void *data;
  for (int how = 0; how < 3; how++) {
    size_t sent = 1;
    make_many();
    watch_once(word_offset(0), 2, somebody_finishes);
    int result = how == 0   ? ringbus_producer_send_batch(producer, two, 2, 0, true, &sent)
                 : how == 1 ? ringbus_producer_send_batch(producer, two, 2, 0, false, &sent)
                            : ringbus_producer_send(producer, "one", 3, 0);
    unwatch();
    cr_result(result, -EPIPE);
    cr_assert(watched.done == 1 && (how == 2 || sent == 0));
    cr_assert_eq(word_state(&ring->view, *at(word_offset(0))), RINGBUS_WORD_PAD);
    cr_result(ringbus_producer_claim(producer, 1, 0, &data), -EPIPE);
    cr_result(ringbus_producer_detach(producer), 0);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
}

/* ---------------------------------------------------------------- gates that change while they are looked at */

static void stop_gating(void) { group(0)->gating = (group(0)->gating | 3) + 1; }
static void move_a_run(void) { group(0)->moves++; }

Test(between, a_group_that_changes_while_it_is_looked_at_is_looked_at_again) {
  const struct ringbus_consumer_options shared = {.group = "shared", .shared = true};
  ringbus_consumer *member;
  make_many();
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  fill();
  /* Two looks whether to rest, and then one at where it stands between two at whether it is waited for. */
  watch_once(in_group(0, offsetof(struct ringbus_group, gating)), 3, stop_gating);
  int result = ringbus_producer_send(producer, "message", 7, 0);
  unwatch();
  cr_assert_eq(watched.done, 1);
  cr_result(result, 0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_consumer_attach(ring, &shared, &member), 0);
  fill();
  watch(in_group(0, offsetof(struct ringbus_group, moves)), 1, 1, 20, move_a_run);
  result = ringbus_producer_send(producer, "message", 7, 0);
  unwatch();
  cr_assert_eq(watched.done, 20);
  cr_result(result, -EAGAIN);
  struct ringbus_message message;
  cr_result(ringbus_consumer_borrow(member, &message), 0);
  cr_result(ringbus_consumer_release(member), 0);
  send(1);
}

/* ---------------------------------------------------------------- members of a shared group */

static ringbus_ring *other_ring;
static ringbus_consumer *member, *other;

static ringbus_consumer *join(ringbus_ring *with) {
  const struct ringbus_consumer_options shared = {.group = "shared", .shared = true};
  ringbus_consumer *joined = NULL;
  REQUIRE_RESULT(ringbus_consumer_attach(with, &shared, &joined), 0);
  return joined;
}

/* Two members, the other one with a mapping of its own. */
static void make_shared(unsigned messages, bool many) {
  make((struct ringbus_create_options){.many_producers = many});
  other_ring = test_open("ring");
  member = join(ring);
  other = join(other_ring);
  send(messages);
}

static uint64_t note_of(uint32_t slot) {
  return *at(in_slot(slot, offsetof(struct ringbus_slot, taken)));
}

#define TAKE offsetof(struct ringbus_group, take)

static void other_takes(void) {
  struct ringbus_message message;
  REQUIRE_RESULT(ringbus_consumer_borrow(other, &message), 0);
}

static void expect(ringbus_consumer *with, uint64_t position) {
  struct ringbus_message message;
  cr_result(ringbus_consumer_borrow(with, &message), 0);
  cr_assert_eq(message.position, position, "%llu", (unsigned long long)message.position);
  cr_assert_not(message.redelivered);
}

/* Its note is a loser's then, and goes. */
Test(between, who_is_overtaken_in_taking_takes_the_next) {
  for (int many = 0; many < 2; many++) {
    make_shared(2, many);
    watch_once(in_group(0, TAKE), 2, other_takes);
    expect(member, many ? 64 : 16);
    unwatch();
    cr_assert_eq(watched.done, 1);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
}

static void other_takes_and_confirms(void) {
  const uint32_t slot = 2; /* the member's */
  other_takes();
  cr_assert_eq(note_of(slot) & RINGBUS_TAKEN_MASK, RINGBUS_TAKEN_HELD);
}

/* The one has swapped, and not confirmed that yet, when the other comes: that confirms it. */
Test(between, who_takes_confirms_the_taker_before) {
  for (int many = 0; many < 2; many++) {
    make_shared(2, many);
    watch_once(in_group(0, TAKE), 3, other_takes_and_confirms);
    expect(member, 0);
    unwatch();
    cr_assert_eq(watched.done, 1);
    cr_assert_eq(group(0)->take[0], many ? 128 : 32);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
}

static void take_moves(void) { group(0)->take[0] += 64; }
static void take_counts(void) { group(0)->take[1] += 1u << RINGBUS_TAKE_COUNT_SHIFT; }

Test(between, who_finds_nothing_where_others_have_taken_meanwhile_looks_again) {
  struct ringbus_message message;
  make_shared(0, true);
  watch_once(in_group(0, TAKE), 2, take_moves);
  int result = ringbus_consumer_borrow(member, &message);
  unwatch();
  cr_assert_eq(watched.done, 1);
  cr_result(result, -EAGAIN);
}

Test(between, who_is_always_overtaken_gives_up) {
  struct ringbus_message message;
  make_shared(1, true);
  watch(in_group(0, TAKE), 2, 3, ALWAYS, take_counts);
  int result = ringbus_consumer_borrow(member, &message);
  unwatch();
  cr_assert_geq(watched.done, 1000);
  cr_result(result, -EAGAIN);
  cr_assert_eq(ring_slot(other_ring, 2)->taken[0] & RINGBUS_TAKEN_MASK, 0, "nor does a note stay");
}

/* What is told then is right as long as there were less than 2^54 messages. */
Test(between, what_a_member_tells_while_the_floor_runs_is_short_of_ten_bits) {
  uint64_t position, count;
  make_shared(5, true);
  for (int n = 0; n < 5; n++) {
    expect(member, 64u * (unsigned)n);
    cr_result(ringbus_consumer_release(member), 0);
  }
  watch(FLOOR, 1, 1, ALWAYS, run_on);
  int result = ringbus_consumer_tell(member, &position, &count);
  stand_still();
  cr_result(result, 0);
  cr_assert(position == 5 * 64 && count == 5);
}

/* ---------------------------------------------------------------- notes of the dead */

/* A slot that nobody holds says that its last holder was a member of this group, and what it had. */
static void leave_note(uint32_t slot, uint64_t from, uint64_t to, unsigned state, uint32_t low) {
  struct ringbus_slot *dead =
      (struct ringbus_slot *)(void *)(file + ring->geometry.slots_offset) + slot;
  dead->group = 0;
  dead->flags = 0;
  dead->taken_to = to;
  dead->taken[1] = (from / 64) << RINGBUS_TAKE_COUNT_SHIFT | low;
  dead->taken[0] = from | state;
}

static void take_away_note(void) { *at(in_slot(40, offsetof(struct ringbus_slot, taken))) = 0; }

enum { DEAD = 40, GONE = 41 };

/* Three messages, taken by the dead. */
static void make_dead(unsigned state, uint32_t low) {
  make_shared(3, true);
  leave_note(DEAD, 0, 3 * 64, state, low);
  group(0)->take[0] = 3 * 64;
  group(0)->take[1] = 3 << RINGBUS_TAKE_COUNT_SHIFT | DEAD;
}

static void expect_again(ringbus_consumer *with, uint64_t position) {
  struct ringbus_message message;
  cr_result(ringbus_consumer_borrow(with, &message), 0);
  cr_assert(message.position == position && message.redelivered);
}

Test(between, a_note_that_the_last_take_proves_is_a_run_of_the_dead) {
  make_dead(RINGBUS_TAKEN_NOTED, 0);
  cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), 0);
  expect_again(member, 0);
}

/* The word that proves it does not stand still: the note is judged by the next who looks. */
Test(between, a_note_is_not_judged_by_a_word_that_runs, .timeout = 60) {
  make_dead(RINGBUS_TAKEN_NOTED, 0);
  watch(in_group(0, TAKE), 1, 1, ALWAYS, take_moves);
  int result = ringbus_ring_repair(ring, NULL);
  unwatch();
  cr_result(result, 0);
  cr_assert_eq(note_of(DEAD), RINGBUS_TAKEN_NOTED);
  group(0)->take[0] = 3 * 64;
  cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), 0);
  expect_again(member, 0);
}

/* Who took it over died as well: its source tells how far it got. */
Test(between, what_the_dead_took_over_from_the_dead_is_delivered_once) {
  for (int came = 0; came < 2; came++) {
    struct ringbus_message message;
    make_dead(RINGBUS_TAKEN_COMING, GONE);
    if (!came)
      leave_note(GONE, 0, 3 * 64, RINGBUS_TAKEN_HELD, 0);
    cr_result(ringbus_consumer_wait(member, RINGBUS_FOREVER), 0);
    expect_again(member, 0);
    cr_assert(note_of(DEAD) == 0 && note_of(GONE) == 0);
    cr_result(ringbus_consumer_borrow(other, &message), -EAGAIN);
    cr_result(ringbus_consumer_wait(other, 0), -ETIMEDOUT);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
}

/* A run without an end, or of more than there is: nobody takes that over. */
Test(between, a_run_that_cannot_be_is_not_taken_over) {
  static const uint64_t ends[] = {0, UINT64_MAX - 63, CAPACITY + 64, UINT64_C(1) << 63};
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    make_dead(RINGBUS_TAKEN_HELD, 0);
    leave_note(DEAD, 0, ends[i], RINGBUS_TAKEN_HELD, 0);
    cr_result(ringbus_consumer_wait(member, 0), -ETIMEDOUT);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
}

/* Released just before its holder left, and noted as coming by then. */
Test(between, a_run_that_is_gone_when_it_is_to_be_taken_over_is_not) {
  make_dead(RINGBUS_TAKEN_HELD, 0);
  for (unsigned look = 1;; look++) { /* the last one is the swap that takes it */
    watch_once(in_slot(DEAD, offsetof(struct ringbus_slot, taken)), look, take_away_note);
    int result = ringbus_consumer_wait(member, 0);
    unwatch();
    cr_assert_eq(watched.done, 1);
    if (result == 0) {
      cr_assert(watched.done_behind_write && look > 6);
      break;
    }
    cr_result(result, -ETIMEDOUT);
    for (uint32_t slot = 1; slot < 64; slot++)
      cr_assert_eq(note_of(slot), 0);
    leave_note(DEAD, 0, 3 * 64, RINGBUS_TAKEN_HELD, 0);
  }
  expect_again(member, 0);
}

/* ---------------------------------------------------------------- notes that are inherited */

/* One place, whose last holder has left this. */
static void make_heir(unsigned state, uint64_t to, uint32_t low) {
  make((struct ringbus_create_options){.many_producers = true, .max_participants = 2});
  cr_result(ringbus_consumer_detach(join(ring)), 0);
  send(3);
  leave_note(2, 0, to, state, low);
  group(0)->take[0] = 3 * 64;
  group(0)->take[1] = 3 << RINGBUS_TAKE_COUNT_SHIFT | 2;
  member = join(ring);
}

static void let_go(void) {
  cr_result(ringbus_consumer_detach(member), 0);
  cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
}

Test(between, whoever_inherits_a_note_judges_it) {
  struct ringbus_message message;
  make_heir(RINGBUS_TAKEN_NOTED, 3 * 64, 0); /* as the last take proves */
  expect_again(member, 0);
  let_go();
  make_heir(RINGBUS_TAKEN_NOTED, 2 * 64, 0); /* a loser's */
  cr_result(ringbus_consumer_borrow(member, &message), -EAGAIN);
  cr_assert_eq(note_of(2), 0);
  let_go();
  make_heir(RINGBUS_TAKEN_HELD, 3 * 64, 7); /* of a group that had this name */
  cr_result(ringbus_consumer_borrow(member, &message), -EAGAIN);
  cr_assert_eq(note_of(2), 0);
  let_go();
  make_heir(RINGBUS_TAKEN_HELD, CAPACITY * 2, 0); /* which nobody can have */
  cr_result(ringbus_consumer_borrow(member, &message), -EAGAIN);
  cr_assert_eq(note_of(2), 0);
  let_go();
  make_heir(RINGBUS_TAKEN_COMING, 3 * 64, 77);
  expect_again(member, 0);
  let_go();
}

/* ---------------------------------------------------------------- a batch that needs more than there is */

static ringbus_consumer *sleeper;
static unsigned rests;

/* As a consumer that sleeps, or that was woken and reads. */
static void read_if_awake(void) {
  struct ringbus_message message;
  if (header->signals.data_waiters != 0)
    return;
  rests++;
  cr_assert_eq(header->tail.position & ~UINT64_C(1), 16 + 4 * 1008, "told as far as it is sent");
  while (ringbus_consumer_borrow(sleeper, &message) == 0)
    ;
  cr_result(ringbus_consumer_release(sleeper), 0);
}

/* Before the producer looks for room, and rests for it, the consumer that is to make room is awake. */
Test(between, who_is_to_make_room_for_a_batch_is_woken_before_its_producer_rests) {
  struct iovec batch[5];
  size_t sent;
  make((struct ringbus_create_options){0});
  other_ring = test_open("ring");
  sleeper = test_consumer(other_ring, "g");
  for (int n = 0; n < 5; n++)
    batch[n] = (struct iovec){(void *)(uintptr_t)test_content(0), 1000};
  send(1);
  header->signals.data_waiters = 1; /* it sleeps */
  watch_once(offsetof(struct ringbus_header, join.groups), 1, read_if_awake);
  int result = ringbus_producer_send_batch(producer, batch, 5, 0, false, &sent);
  unwatch();
  cr_result(result, 0);
  cr_assert(watched.done == 1 && rests == 1 && sent == 5);
}

/* ---------------------------------------------------------------- who spins */

static struct test_child victim;
static void end_victim(void) { test_child_kill(&victim); }

static int claim_and_stay(struct test_child *self, void *context) {
  ringbus_producer *own = test_producer(test_open("ring"));
  void *data;
  (void)context;
  REQUIRE_RESULT(ringbus_producer_claim(own, 8, 0, &data), 0);
  test_child_say(self, 'c');
  test_child_hear(self);
  return 0;
}

/* Long after the first look, which asks the kernel: one who only spins asks now and then. */
Test(between, who_spins_sees_a_death, .timeout = 60) {
  const struct ringbus_consumer_options spinning = {.wait = RINGBUS_WAIT_SPIN, .look_ns = 1};
  ringbus_consumer *consumer;
  make_many();
  cr_result(ringbus_consumer_attach(ring, &spinning, &consumer), 0);
  victim = test_child_start(claim_and_stay, NULL);
  cr_assert_eq(test_child_hear(&victim), 'c');
  send(1);
  watch_once(offsetof(struct ringbus_header, signals.state), 100, end_victim);
  int result = ringbus_consumer_wait(consumer, RINGBUS_FOREVER);
  unwatch();
  cr_result(result, 0);
  cr_assert_eq(watched.done, 1);
}
