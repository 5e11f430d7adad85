/* SPDX-License-Identifier: MIT */
/* recovery.c - rings with many producers, some of which die with a claim open: who skips it, who is
 * blamed, who may be evicted. Deaths are at chosen places here; all instructions are tried by the
 * programs under tests/kill.
 *
 * From the table of bugs that such rings have had ("Death"):
 *   "dead claim at index 0, or last before the wrap, never skipped; one out-of-bounds read":
 *     a_dead_claim_is_skipped_wherever_it_is
 *   "write pointer stored, mark not yet: reader gets an error for ever": there is no pointer beside the
 *     word; deaths just before and after its swap are tests/kill's
 *   "claim word read before the death verdict, committed message thrown away": the swap that gives a
 *     claim up fails if the word has changed; the order of the looks is tests/kill's (pause)
 *   "a paused participant declared dead by timeout, wakes up and overwrites": who_is_stopped_is_waited_for
 *   "pid reuse, PID namespaces": claims_are_recovered_across_pid_namespaces, eviction_is_refused_...
 *   "a forked child keeps the parent's OFD lock": a_claim_is_recovered_though_the_dead_ones_child_lives
 *   "a core dump of 2 GiB keeps the lock for 9 s": who_dumps_core_is_waited_for_until_that_is_done
 *   "a reused slot brings the dead predecessor's claim back to life": the_next_holder_of_a_slot_...
 *   "a resumed process stores into bytes that were reused after it was evicted by force": eviction ends
 *     the process and waits until the kernel says so; else nothing is taken from it */
#include "suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/ucontext.h>

static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 960, (UINT64_C(1) << 63) - 2048,
                                  UINT64_MAX - 1023};
#define STARTS (sizeof starts / sizeof starts[0])
#define CAPACITY 4096u

static ringbus_ring *ring;
static ringbus_producer *producer;
static ringbus_consumer *consumer;

static void make(struct ringbus_create_options options, uint64_t start) {
  if (ring) {
    ringbus_consumer_detach(consumer);
    ringbus_producer_detach(producer);
    cr_result(ringbus_ring_close(ring), 0);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
  options.many_producers = true;
  options.capacity = CAPACITY;
  ring = test_ring_starting_at("ring", &options, start);
  consumer = test_consumer(ring, "g");
  producer = test_producer(ring);
}

static void start_at(uint64_t start) { make((struct ringbus_create_options){0}, start); }

static uint64_t recovered(void) {
  struct ringbus_ring_info info;
  cr_result(ringbus_ring_info(ring, &info), 0);
  return info.recovered;
}

/* Whoever holds the slot now. */
static int evict_slot(ringbus_ring *ring, uint32_t slot, int64_t timeout_ns) {
  struct ringbus_participant whom;
  int result = ringbus_ring_participant(ring, slot, &whom);
  return result ? result : ringbus_ring_evict(ring, &whom, timeout_ns);
}

/* ---------------------------------------------------------------- processes that die */

static void claim(ringbus_producer *with, size_t length) {
  void *data;
  REQUIRE_RESULT(ringbus_producer_claim(with, length, 0, &data), 0);
  memset(data, 0xff, length);
}

static int die_in_claim(struct test_child *self, void *context) {
  struct ringbus_producer_options options = {.name = "the dead one"};
  ringbus_producer *dying;
  (void)self;
  REQUIRE_RESULT(ringbus_producer_attach(test_open("ring"), &options, &dying), 0);
  claim(dying, *(size_t *)context);
  raise(SIGKILL);
  return 1;
}

static void somebody_dies_in_a_claim_of(size_t length) {
  struct test_child child = test_child_start(die_in_claim, &length);
  cr_assert_eq(test_child_status(&child), -SIGKILL);
}

/* 'c' when it has a claim open; told 'g' it commits it. */
static int claim_and_wait(struct test_child *self, void *context) {
  ringbus_producer *own = test_producer(test_open("ring"));
  claim(own, *(size_t *)context);
  test_child_say(self, 'c');
  if (test_child_hear(self) != 'g')
    return 0;
  REQUIRE_RESULT(ringbus_producer_commit(own, 1), 0);
  test_child_say(self, 'd');
  test_child_hear(self);
  return 0;
}

static struct test_child somebody_claims(size_t length) {
  struct test_child child = test_child_start(claim_and_wait, &length);
  cr_assert_eq(test_child_hear(&child), 'c');
  return child;
}

static void send(uint64_t number) {
  cr_result(ringbus_producer_send(producer, &number, sizeof number, 0), 0);
}

static void expect(uint64_t number) {
  uint64_t got;
  cr_result(ringbus_consumer_recv(consumer, &got, sizeof got, NULL), 0);
  cr_assert_eq(got, number, "got %llu, not %llu", (unsigned long long)got,
               (unsigned long long)number);
}

static void expect_nothing(void) {
  cr_result(ringbus_consumer_recv(consumer, NULL, 0, NULL), -EAGAIN);
}

static int forever(ringbus_consumer *by, int look(ringbus_consumer *)) {
  int result;
  while ((result = look(by)) == -EAGAIN)
    ;
  return result;
}

static int look_by_borrowing(ringbus_consumer *by) {
  struct ringbus_message message;
  return ringbus_consumer_borrow(by, &message);
}

static int look_by_batch(ringbus_consumer *by) {
  struct ringbus_message messages[4];
  size_t count;
  return ringbus_consumer_borrow_batch(by, messages, 4, &count);
}

static int look_by_recv(ringbus_consumer *by) {
  return ringbus_consumer_recv(by, (char[8]){0}, 8, NULL);
}

static int (*const looks[])(ringbus_consumer *) = {look_by_borrowing, look_by_batch, look_by_recv};

/* ---------------------------------------------------------------- who skips it */

Test(recovery, a_dead_claim_is_skipped_wherever_it_is, .timeout = 120) {
  for (size_t start = 0; start < STARTS; start++) {
    start_at(starts[start]);
    for (uint64_t offset = 0; offset < CAPACITY; offset += 64)
      for (int longest = 0; longest < 2; longest++) {
        uint64_t before = recovered(), position;
        cr_result(ringbus_producer_tell(producer, &position, NULL), 0);
        for (; (position & (CAPACITY - 1)) != offset; position += 64) {
          send(1);
          expect(1);
        }
        somebody_dies_in_a_claim_of(longest ? CAPACITY - 64 : 1);
        send(offset);
        expect_nothing(); /* hot calls do not ask the kernel each time */
        cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
        expect(offset);
        expect_nothing();
        cr_assert_eq(recovered(), before + 1);
        for (int i = 0; i < 64; i++) /* and its room is used again */
          send(7);
        for (int i = 0; i < 64; i++)
          expect(7);
      }
  }
}

Test(recovery, whoever_only_polls_gets_past_a_dead_claim_too, .timeout = 60) {
  for (size_t start = 0; start < STARTS; start++)
    for (size_t how = 0; how < 3; how++) {
      start_at(starts[start]);
      somebody_dies_in_a_claim_of(100);
      send(1);
      cr_result(forever(consumer, looks[how]), 0);
    }
}

Test(recovery, whoever_only_polls_in_a_group_that_can_be_lapped_gets_past_a_dead_claim_too,
     .timeout = 60) {
  for (int overwrite = 0; overwrite < 2; overwrite++)
    for (size_t how = 0; how < 3; how++) {
      struct ringbus_consumer_options options = {.policy = RINGBUS_LAPPED};
      ringbus_consumer *lapped;
      make((struct ringbus_create_options){.overwrite = overwrite}, starts[3]);
      cr_result(ringbus_consumer_attach(ring, &options, &lapped), 0);
      somebody_dies_in_a_claim_of(100);
      send(1);
      cr_result(forever(lapped, looks[how]), 0);
      cr_result(ringbus_consumer_detach(lapped), 0);
    }
}

Test(recovery, an_observer_passes_over_a_dead_claim_and_changes_nothing, .timeout = 60) {
  for (int waits = 0; waits < 2; waits++) {
    ringbus_ring *read_only;
    ringbus_observer *observer;
    unsigned char *before, *after;
    size_t length;
    uint64_t number, count;
    int result;
    start_at(starts[3]);
    send(1);
    for (int i = 0; i < 3; i++)
      somebody_dies_in_a_claim_of(100);
    send(2);
    before = test_read_whole("ring", &length);
    read_only = test_open_read_only("ring");
    observer = test_observer(read_only);
    cr_result(ringbus_observer_recv(observer, &number, sizeof number, NULL), 0);
    cr_result(ringbus_observer_recv(observer, &number, sizeof number, NULL), -EAGAIN);
    if (waits)
      cr_result(ringbus_observer_wait(observer, RINGBUS_FOREVER), 0);
    while ((result = ringbus_observer_recv(observer, &number, sizeof number, NULL)) == -EAGAIN)
      cr_assert_not(waits);
    cr_result(result, 0);
    cr_assert_eq(number, 2);
    cr_result(ringbus_observer_tell(observer, NULL, &count), 0);
    cr_assert_eq(count, 2);
    after = test_read_whole("ring", &length);
    cr_assert_arr_eq(before, after, length);
    free(before);
    free(after);
    ringbus_observer_detach(observer);
    ringbus_ring_close(read_only);
  }
}

/* The reader that is waited for never looks: the producer that waits for it gives the claim up. */
Test(recovery, a_producer_that_waits_for_room_gives_up_the_claim_its_readers_wait_for) {
  struct ringbus_message message;
  start_at(starts[1]);
  somebody_dies_in_a_claim_of(100);
  while (ringbus_producer_send(producer, "x", 1, 0) == 0)
    ;
  cr_assert_eq(recovered(), 0);
  cr_result(ringbus_producer_wait(producer, 1, 0, 0), -ETIMEDOUT);
  cr_assert_eq(recovered(), 1);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
}

/* Where nobody is waited for, whoever sends gives it up when it is in the way, and never waits. */
Test(recovery, producers_that_only_send_get_past_a_dead_claim_where_nobody_is_waited_for,
     .timeout = 60) {
  for (int overwrite = 0; overwrite < 2; overwrite++)
    for (size_t start = 0; start < STARTS; start++) {
      uint64_t sent = 0, refused = 0;
      make((struct ringbus_create_options){.overwrite = overwrite, .no_group = RINGBUS_DROP},
           starts[start]);
      cr_result(ringbus_consumer_detach(consumer), 0);
      cr_result(ringbus_ring_remove_group(ring, "g"), 0);
      for (int i = 0; i < 20; i++)
        somebody_dies_in_a_claim_of(10);
      while (sent < 200) {
        int result = ringbus_producer_send(producer, "x", 1, 0);
        sent += result == 0;
        refused += result == -EAGAIN;
        cr_assert(result == 0 || result == -EAGAIN);
      }
      cr_assert_gt(refused, 0);
      cr_assert_eq(recovered(), 20);
      consumer = test_consumer(ring, "g");
    }
}

Test(recovery, repair_gives_up_every_dead_claim_at_once) {
  uint64_t count = 99;
  start_at(starts[3]);
  cr_result(ringbus_ring_repair(ring, &count), 0);
  cr_assert_eq(count, 0);
  { /* at the same time: else each would have its predecessor's slot, and give up its claim */
    struct test_child children[5];
    for (int i = 0; i < 5; i++) {
      children[i] = somebody_claims(100);
      send((uint64_t)i);
    }
    for (int i = 0; i < 5; i++)
      test_child_kill(&children[i]);
  }
  cr_result(ringbus_ring_repair(ring, &count), 0);
  cr_assert_eq(count, 5);
  for (uint64_t i = 0; i < 5; i++)
    expect(i);
  expect_nothing();
  cr_result(ringbus_ring_repair(ring, NULL), 0);
  cr_result(ringbus_ring_repair(ring, &count), 0);
  cr_assert_eq(count, 0);
  cr_result(ringbus_ring_repair(NULL, &count), -EINVAL);
  cr_result(ringbus_ring_repair(test_open_read_only("ring"), &count), -EPERM);
}

Test(recovery, repair_leaves_claims_of_the_living_alone) {
  uint64_t count;
  start_at(0);
  struct test_child child = somebody_claims(100);
  ringbus_producer *own = test_producer(ring);
  claim(own, 50);
  cr_result(ringbus_ring_repair(ring, &count), 0);
  cr_result(ringbus_ring_repair(test_open("ring"), &count), 0);
  cr_assert_eq(count, 0);
  test_child_say(&child, 'g');
  cr_assert_eq(test_child_hear(&child), 'd');
  cr_result(ringbus_producer_commit(own, 1), 0);
  cr_result(ringbus_consumer_recv(consumer, (char[8]){0}, 8, NULL), 0);
  cr_result(ringbus_consumer_recv(consumer, (char[8]){0}, 8, NULL), 0);
  test_child_kill(&child);
  ringbus_producer_detach(own);
}

/* ... and its own claim there is its own. */
Test(recovery, the_next_holder_of_a_slot_gives_up_what_the_last_one_had_claimed) {
  for (int reader = 0; reader < 2; reader++) {
    struct ringbus_create_options options = {.max_participants = 3};
    ringbus_producer *next = NULL;
    ringbus_consumer *next_reader = NULL;
    uint64_t number = 5;
    make(options, starts[2]);
    somebody_dies_in_a_claim_of(100);
    send(1);
    cr_assert_eq(recovered(), 0);
    if (reader)
      cr_result(ringbus_consumer_attach(ring, NULL, &next_reader), 0);
    else
      cr_result(ringbus_producer_attach(ring, NULL, &next), 0);
    cr_assert_eq(recovered(), 1);
    expect(1);
    if (next) {
      claim(next, 100);
      send(2);
      cr_result(ringbus_ring_repair(ring, NULL), 0);
      cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT);
      cr_result(ringbus_producer_commit(next, 0), 0);
      cr_result(ringbus_consumer_recv(consumer, &number, sizeof number, NULL), 0);
      expect(2);
    }
    ringbus_producer_detach(next);
    ringbus_consumer_detach(next_reader);
  }
}

Test(recovery, dead_and_living_claims_one_behind_the_other, .timeout = 60) {
  start_at(starts[3]);
  for (unsigned pattern = 0; pattern < 16; pattern++) {
    struct test_child children[4];
    for (uint64_t i = 0; i < 4; i++) {
      children[i] = somebody_claims(1 + i * 100);
      send(i);
    }
    for (unsigned i = 0; i < 4; i++)
      if (pattern >> i & 1)
        test_child_kill(&children[i]);
    for (unsigned i = 0; i < 4; i++) {
      if (!(pattern >> i & 1)) { /* it is waited for */
        cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT);
        test_child_say(&children[i], 'g');
        cr_assert_eq(test_child_hear(&children[i]), 'd');
        cr_result(ringbus_consumer_recv(consumer, (char[8]){0}, 8, NULL), 0);
        test_child_kill(&children[i]);
      }
      cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
      expect(i);
    }
  }
}

Test(recovery, who_is_stopped_is_waited_for) {
  struct ringbus_blame blame;
  struct test_child child;
  start_at(0);
  child = somebody_claims(100);
  send(1);
  kill(child.pid, SIGSTOP);
  cr_result(ringbus_consumer_wait(consumer, 20000000), -ETIMEDOUT);
  for (int i = 0; i < 5000; i++)
    expect_nothing();
  cr_result(ringbus_ring_repair(ring, NULL), 0);
  expect_nothing();
  cr_assert_eq(recovered(), 0);
  cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), 0);
  cr_assert_eq(blame.participant.pid, (uint32_t)child.pid);
  cr_assert(blame.participant.alive && blame.since_ns);
  kill(child.pid, SIGCONT);
  test_child_say(&child, 'g');
  cr_assert_eq(test_child_hear(&child), 'd');
  cr_result(ringbus_consumer_recv(consumer, (char[8]){0}, 8, NULL), 0);
  expect(1);
  test_child_kill(&child);
}

#ifdef __x86_64__
/* The processor stops after each instruction while this flag of it is set, and in_between is called. */
enum { TRAP_FLAG = 0x100 };
#define FLAGS(change)                                                                              \
  __asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n " change                                     \
                   ", (%%rsp)\n popfq\n lea 128(%%rsp), %%rsp" ::                                  \
                       : "memory", "cc")
static uint64_t steps, steps_to_claim;
#if defined(__clang__) || defined(__SANITIZE_ADDRESS__)
enum { STRIDE = 61 }; /* ten times as many instructions, and that squared */
#else
enum { STRIDE = 1 };
#endif

static void in_between(int signal_number, siginfo_t *info, void *context) {
  (void)signal_number;
  (void)info;
  if (steps++ != steps_to_claim)
    return;
  REQUIRE_RESULT(ringbus_producer_claim(producer, 1000, 0, &(void *){NULL}), 0);
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

/* A claim comes into being after any instruction of the question who blocks: whose it is and how long it
 * is are told of one and the same. Where it is made there are the remains of another one's, a lap ago. */
Test(recovery, blame_never_mixes_two_claims, .timeout = 100) {
  struct sigaction action = {.sa_sigaction = in_between, .sa_flags = SA_SIGINFO};
  struct ringbus_blame blame;
  uint32_t slot = 0;
  unsigned blamed = 0;
  start_at(starts[1]);
  ringbus_producer *other = test_producer(ring);
  cr_assert_eq(sigaction(SIGTRAP, &action, NULL), 0);
  for (steps_to_claim = 0;; steps_to_claim += STRIDE) {
    for (uint64_t sent = 0; sent < CAPACITY; sent += 64) {
      cr_result(ringbus_producer_send(other, "x", 1, 0), 0);
      cr_result(ringbus_consumer_recv(consumer, (char[1]){0}, 1, NULL), 0);
    }
    steps = 0;
    FLAGS("orq $0x100");
    int result = ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame);
    FLAGS("andq $~0x100");
    if (steps <= steps_to_claim)
      break;
    if (result == 0) {
      slot = slot ? slot : blame.slot;
      cr_assert_eq(blame.slot, slot, "after %lu instructions", steps_to_claim);
      cr_assert_eq(blame.bytes, 1024);
      blamed++;
    } else {
      cr_result(result, -ENOENT);
    }
    cr_result(ringbus_producer_abort(producer), 0);
  }
  cr_assert(blamed > 10 && blamed < steps_to_claim, "%u of %lu", blamed, steps_to_claim);
  ringbus_producer_detach(other);
}
#endif

Test(recovery, blame_names_the_dead_until_the_claim_is_given_up) {
  struct ringbus_blame blame;
  start_at(0);
  somebody_dies_in_a_claim_of(500);
  cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), 0);
  cr_assert_str_eq(blame.participant.name, "the dead one");
  cr_assert(!blame.participant.alive);
  cr_assert_eq(blame.bytes, 512);
  cr_result(ringbus_ring_blame(test_open_read_only("ring"), RINGBUS_CONSUMER, &blame), 0);
  cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT);
  cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), -ENOENT);
}

Test(recovery, a_dead_claim_does_not_hide_the_end_of_the_stream, .timeout = 60) {
  for (int polls = 0; polls < 2; polls++) {
    ringbus_observer *observer;
    start_at(starts[1]);
    observer = test_observer(ring);
    somebody_dies_in_a_claim_of(100);
    cr_result(ringbus_producer_finish(producer), 0);
    expect_nothing();
    cr_result(ringbus_observer_recv(observer, NULL, 0, NULL), -EAGAIN);
    cr_result(ringbus_observer_wait(observer, RINGBUS_FOREVER), -EPIPE);
    if (polls)
      cr_result(forever(consumer, look_by_borrowing), -EPIPE);
    else
      cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), -EPIPE);
    cr_result(ringbus_consumer_recv(consumer, NULL, 0, NULL), -EPIPE);
    ringbus_observer_detach(observer);
  }
}

/* ---------------------------------------------------------------- fork, core dumps */

struct orphan_pipes {
  int pid[2], life[2]; /* the test holds the end that the orphan lives by */
};

static int claim_and_leave_a_child(struct test_child *self, void *context) {
  struct orphan_pipes *pipes = context;
  ringbus_producer *own = test_producer(test_open("ring"));
  claim(own, 100);
  pid_t orphan = fork();
  if (orphan == 0) {
    char none;
    close(self->from);
    close(self->to);
    close(pipes->life[1]);
    orphan = getpid(); /* told by itself: now fork's handlers have run here */
    REQUIRE(write(pipes->pid[1], &orphan, sizeof orphan) == sizeof orphan);
    _exit(read(pipes->life[0], &none, 1) != 0);
  }
  test_child_say(self, 'c');
  test_child_hear(self);
  return 0;
}

Test(recovery, a_claim_is_recovered_though_the_dead_ones_child_lives, .timeout = 60) {
  struct orphan_pipes pipes;
  pid_t orphan;
  start_at(starts[2]);
  cr_assert(pipe(pipes.pid) == 0 && pipe(pipes.life) == 0);
  struct test_child child = test_child_start(claim_and_leave_a_child, &pipes);
  cr_assert_eq(read(pipes.pid[0], &orphan, sizeof orphan), (ssize_t)sizeof orphan);
  cr_assert_eq(test_child_hear(&child), 'c');
  send(1);
  cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT);
  test_child_kill(&child);
  cr_assert_eq(kill(orphan, 0), 0);
  cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
  expect(1);
  cr_assert_eq(kill(orphan, SIGKILL), 0);
}

static void *ask_for_a_group_that_is_not_there(void *context) {
  (void)context;
  REQUIRE_RESULT(ringbus_ring_remove_group(ring, "none"), -ENOENT);
  return NULL;
}

/* Over the stacks of threads that were. */
static void *scribble(void *context) {
  volatile char stack[60000];
  (void)context;
  for (size_t i = 0; i < sizeof stack; i++)
    stack[i] = (char)0xff;
  return NULL;
}

Test(recovery, a_fork_beside_a_call_without_a_handle_takes_nothing_of_it_along, .timeout = 60) {
  struct flock table = {.l_type = F_WRLCK,
                        .l_whence = SEEK_SET,
                        .l_start = offsetof(struct ringbus_header, join),
                        .l_len = 1};
  pthread_t asking, scribbling;
  int status;
  start_at(starts[0]);
  int fd = open(test_path("ring"), O_RDWR | O_CLOEXEC);
  cr_assert_eq(fcntl(fd, F_OFD_SETLK, &table), 0); /* the call waits for it, for seconds */
  cr_assert_eq(pthread_create(&asking, NULL, ask_for_a_group_that_is_not_there, NULL), 0);
  test_sleep_us(50000);
  pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 4; i++)
      if (pthread_create(&scribbling, NULL, scribble, NULL) != 0 ||
          pthread_join(scribbling, NULL) != 0)
        _exit(2);
    pid_t grandchild = fork();
    if (grandchild == 0)
      _exit(0);
    _exit(grandchild < 0 || waitpid(grandchild, &status, 0) < 0 || status != 0);
  }
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_expect_eq(status, 0);
  close(fd);
  cr_assert_eq(pthread_join(asking, NULL), 0);
}

#define HEAP (UINT64_C(64) << 20)

static int dump_core_in_claim(struct test_child *self, void *context) {
  struct rlimit limit;
  ringbus_producer *own = test_producer(test_open("ring"));
  char *heap = malloc(HEAP);
  (void)context;
  REQUIRE(heap && chdir(test_directory()) == 0); /* where the core will be removed */
  for (size_t at = 0; at < HEAP; at += 4096)
    heap[at] = (char)at;
  claim(own, 100);
  test_child_say(self, 'c');
  getrlimit(RLIMIT_CORE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_CORE, &limit);
  signal(SIGABRT, SIG_DFL);
  abort();
}

/* The kernel drops a process's locks when its core has been written. Until then it counts as alive,
 * however long that takes, and its claim is waited for. */
Test(recovery, who_dumps_core_is_waited_for_until_that_is_done, .timeout = 120) {
  start_at(0);
  struct test_child child = test_child_start(dump_core_in_claim, NULL);
  cr_assert_eq(test_child_hear(&child), 'c');
  send(1);
  cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
  expect(1);
  cr_assert_eq(recovered(), 1);
  cr_assert_eq(test_child_status(&child), -SIGABRT);
}

/* Runs in fork, while the library has its own lock: just so, a signal handler may have interrupted an
 * attach. Hot calls on a handle of its own are safe there, also those that ask about the dead. */
static bool polls_before_fork;

static void poll_before_fork(void) {
  if (!polls_before_fork)
    return;
  REQUIRE(forever(consumer, look_by_borrowing) == 0);
  polls_before_fork = false;
}

Test(recovery, a_hot_call_that_asks_about_the_dead_takes_no_lock_of_its_process, .timeout = 60) {
  REQUIRE(pthread_atfork(poll_before_fork, NULL, NULL) == 0); /* the first one is called last */
  start_at(0);
  somebody_dies_in_a_claim_of(100);
  send(1);
  polls_before_fork = true;
  pid_t pid = fork();
  if (pid == 0)
    _exit(0);
  cr_assert_not(polls_before_fork);
  cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* ---------------------------------------------------------------- eviction */

static uint32_t slot_of(pid_t pid) {
  struct ringbus_participant participant;
  for (uint32_t slot = 1; slot <= 63; slot++)
    if (ringbus_ring_participant(ring, slot, &participant) == 0 && participant.pid == (uint32_t)pid)
      return slot;
  cr_assert_fail("process %d has no slot", (int)pid);
  return 0;
}

Test(recovery, a_stopped_process_with_a_claim_open_can_be_evicted, .timeout = 60) {
  start_at(starts[3]);
  struct test_child child = somebody_claims(100);
  uint32_t slot = slot_of(child.pid);
  send(1);
  kill(child.pid, SIGSTOP);
  cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT);
  cr_result(evict_slot(ring, slot, RINGBUS_FOREVER), 0);
  cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
  expect(1);
  cr_result(evict_slot(ring, slot, 0), 0); /* it was dead already */
  cr_assert_eq(test_child_status(&child), -SIGKILL);
  cr_result(evict_slot(ring, slot, 0), 0);
}

static int consume_and_wait(struct test_child *self, void *context) {
  (void)context;
  test_consumer(test_open("ring"), "theirs");
  test_child_say(self, 'c');
  test_child_hear(self);
  return 0;
}

Test(recovery, a_consumer_can_be_evicted_and_its_group_stays, .timeout = 60) {
  start_at(0);
  struct test_child child = test_child_start(consume_and_wait, NULL);
  cr_assert_eq(test_child_hear(&child), 'c');
  send(1);
  cr_result(ringbus_consumer_attach(ring, &(struct ringbus_consumer_options){.group = "theirs"},
                                    &(ringbus_consumer *){NULL}),
            -EBUSY);
  cr_result(evict_slot(ring, slot_of(child.pid), RINGBUS_FOREVER), 0);
  ringbus_consumer *next = test_consumer(ring, "theirs");
  cr_result(ringbus_consumer_recv(next, (char[8]){0}, 8, NULL), 0);
  cr_assert_eq(test_child_status(&child), -SIGKILL);
}

Test(recovery, eviction_is_refused_for_oneself_and_for_slots_that_nobody_has) {
  start_at(0);
  ringbus_producer *leaves = test_producer(ring);
  cr_result(evict_slot(ring, slot_of(getpid()), 0), -EINVAL);
  cr_result(evict_slot(test_open("ring"), 2, 0), -EINVAL);
  cr_result(evict_slot(test_open_read_only("ring"), 2, 0), -EPERM);
  cr_result(evict_slot(ring, 0, 0), -EINVAL);
  cr_result(evict_slot(ring, 64, 0), -EINVAL);
  cr_result(evict_slot(ring, 63, 0), -ENOENT);
  cr_result(evict_slot(NULL, 1, 0), -EINVAL);
  cr_result(ringbus_producer_detach(leaves), 0);
  cr_result(evict_slot(ring, 3, 0), -ENOENT);
}

static int live_and_wait(struct test_child *self, void *context) {
  (void)context;
  test_child_say(self, 'l');
  return test_child_hear(self) == 'e' ? 42 : 1;
}

static void forge_pid(uint32_t slot, uint32_t pid) {
  struct ringbus_identity identity;
  test_read_file("ring", 0, &identity, sizeof identity);
  test_write_file("ring",
                  identity.slots_offset + slot * sizeof(struct ringbus_slot) +
                      offsetof(struct ringbus_slot, pid),
                  &pid, sizeof pid);
}

Test(recovery, an_innocent_process_is_not_ended_whatever_the_file_says) {
  start_at(0);
  struct test_child innocent = test_child_start(live_and_wait, NULL);
  struct test_child child = somebody_claims(100);
  uint32_t slot = slot_of(child.pid);
  cr_assert_eq(test_child_hear(&innocent), 'l');
  forge_pid(slot, (uint32_t)innocent.pid);
  cr_result(evict_slot(ring, slot, 0), -ESRCH);
  cr_assert(strstr(ringbus_error_detail(), "does not have the ring open"), "%s",
            ringbus_error_detail());
  forge_pid(slot, (uint32_t)getpid());
  cr_result(evict_slot(ring, slot, 0), -EINVAL);
  forge_pid(slot, 0); /* to kill(2) that would be this process's group */
  cr_assert(evict_slot(ring, slot, 0) < 0);
  forge_pid(slot, UINT32_MAX); /* ... and that everybody */
  cr_assert(evict_slot(ring, slot, 0) < 0);
  test_child_say(&innocent, 'e');
  cr_assert_eq(test_child_status(&innocent), 42);
  forge_pid(slot, (uint32_t)innocent.pid); /* of somebody who is gone */
  cr_result(evict_slot(ring, slot, 0), -ESRCH);
  test_child_say(&child, 'g');
  cr_assert_eq(test_child_hear(&child), 'd');
  test_child_kill(&child);
}

/* ---------------------------------------------------------------- PID namespaces */

static int be_pid_1_with_a_claim(struct test_child *self, void *context) {
  REQUIRE(getpid() == 1);
  return claim_and_wait(self, context);
}

/* Waits for somebody out there, and sees that one's death. */
static int be_pid_1_and_wait(struct test_child *self, void *context) {
  uint32_t outside = *(uint32_t *)context;
  ringbus_ring *own = test_open("ring");
  ringbus_consumer *reader = test_consumer(own, "inside");
  struct ringbus_participant participant;
  uint64_t number;
  REQUIRE(getpid() == 1);
  REQUIRE_RESULT(ringbus_ring_participant(own, outside, &participant), 0);
  REQUIRE(participant.alive && !participant.pid_is_local);
  REQUIRE_RESULT(evict_slot(own, outside, 0), -ESRCH);
  REQUIRE_RESULT(ringbus_consumer_wait(reader, 0), -ETIMEDOUT);
  test_child_say(self, 'w');
  REQUIRE_RESULT(ringbus_consumer_wait(reader, RINGBUS_FOREVER), 0);
  REQUIRE_RESULT(ringbus_consumer_recv(reader, &number, sizeof number, NULL), 0);
  REQUIRE(number == 1);
  return 0;
}

Test(recovery, claims_are_recovered_across_pid_namespaces, .timeout = 60) {
  start_at(starts[3]);
  struct test_child outside = somebody_claims(100), inside;
  uint32_t slot = slot_of(outside.pid);
  if (unshare(CLONE_NEWPID) != 0) {
    test_child_kill(&outside);
    cr_skip_test("no PID namespace of its own: needs CAP_SYS_ADMIN");
  }
  inside = test_child_start(be_pid_1_and_wait, &slot);
  cr_assert_eq(test_child_hear(&inside), 'w');
  send(1);
  test_child_kill(&outside);
  cr_assert_eq(test_child_status(&inside), 0);
  expect(1);
}

Test(recovery, nobody_is_evicted_from_another_pid_namespace, .timeout = 60) {
  struct ringbus_participant participant;
  struct test_child inside;
  size_t length = 100;
  uint32_t slot = 0;
  start_at(starts[1]);
  if (unshare(CLONE_NEWPID) != 0)
    cr_skip_test("no PID namespace of its own: needs CAP_SYS_ADMIN");
  inside = test_child_start(be_pid_1_with_a_claim, &length);
  cr_assert_eq(test_child_hear(&inside), 'c');
  for (uint32_t other = 1; other <= 63; other++)
    if (ringbus_ring_participant(ring, other, &participant) == 0 && !participant.pid_is_local)
      slot = other;
  cr_assert_neq(slot, 0);
  send(1);
  cr_result(evict_slot(ring, slot, 0), -ESRCH);
  cr_assert(strstr(ringbus_error_detail(), "namespace"), "%s", ringbus_error_detail());
  cr_result(ringbus_consumer_wait(consumer, 0), -ETIMEDOUT); /* it lives */
  cr_assert_eq(recovered(), 0);
  test_child_kill(&inside);
  cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER),
            0); /* though there is a PID 1 here, too */
  expect(1);
  cr_assert_eq(recovered(), 1);
}
