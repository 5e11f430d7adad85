/* SPDX-License-Identifier: MIT */
/* polling.c - waiting for many consumers at once, by a poller or in an event loop. As in waiting.c,
 * sleepers here look only once an hour unless a test is about the looks: a lost wake-up makes it run
 * into its time limit. No result depends on how long things take. */
#include "suite.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define AN_HOUR (INT64_C(3600) * 1000000000)
#define RINGS 4
#define MESSAGES 300
#define MOST 128 /* consumers in a poller */

static const enum ringbus_wake wakes[] = {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAKE_BY_FENCE,
                                          RINGBUS_WAKE_NEVER};
static const enum ringbus_wait waits[] = {RINGBUS_WAIT_ADAPTIVE, RINGBUS_WAIT_SPIN,
                                          RINGBUS_WAIT_BLOCK};

static const char *name_of(unsigned number) {
  static char names[8][32];
  static unsigned next;
  char *name = names[next++ % 8];
  snprintf(name, sizeof names[0], "ring-%u", number);
  return name;
}

static ringbus_ring *make(unsigned number, enum ringbus_wake wake) {
  struct ringbus_create_options options = {.capacity = 4096, .max_groups = 64, .wake = wake};
  return test_ring(name_of(number), &options);
}

static ringbus_consumer *consumer_of(ringbus_ring *ring, bool ending) {
  struct ringbus_consumer_options options = {.end_without_producer = ending, .look_ns = AN_HOUR};
  ringbus_consumer *consumer;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &consumer), 0);
  return consumer;
}

static ringbus_poller *poller_with(enum ringbus_wait wait, int64_t look_ns) {
  struct ringbus_poller_options options = {wait, look_ns};
  ringbus_poller *poller = NULL;
  REQUIRE_RESULT(ringbus_poller_create(&options, &poller), 0);
  return poller;
}

static void send(ringbus_producer *producer) {
  REQUIRE_RESULT(ringbus_producer_send(producer, "x", 1, 0), 0);
}

static int receive(ringbus_consumer *consumer) {
  char byte;
  return ringbus_consumer_recv(consumer, &byte, 1, NULL);
}

/* Which consumer is ready; its context says. */
static uintptr_t who(ringbus_poller *poller, int expected) {
  struct ringbus_ready ready;
  REQUIRE_RESULT(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), 0);
  REQUIRE_RESULT(ready.result, expected);
  return (uintptr_t)ready.context;
}

/* ---------------------------------------------------------------- what a poller is told */

Test(polling, what_cannot_be_is_refused) {
  ringbus_ring *rings[3];
  ringbus_consumer *consumers[MOST + 1];
  ringbus_poller *poller = NULL, *other;
  struct ringbus_poller_options bad_wait = {(enum ringbus_wait)3, 0}, bad_look = {.look_ns = -1};
  struct ringbus_ready ready;
  cr_result(ringbus_poller_create(&bad_wait, &poller), -EINVAL);
  cr_result(ringbus_poller_create(&bad_look, &poller), -EINVAL);
  cr_result(ringbus_poller_create(NULL, NULL), -EINVAL);
  cr_assert_null(poller);
  cr_result(ringbus_poller_create(NULL, &poller), 0);
  cr_result(ringbus_poller_create(NULL, &other), 0);
  cr_result(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), -ENOENT);
  cr_result(ringbus_poller_wait_until(poller, 0, &ready), -ENOENT);
  for (unsigned i = 0; i < 3; i++)
    rings[i] = make(i, wakes[i]);
  for (unsigned i = 0; i <= MOST; i++)
    consumers[i] = consumer_of(rings[i / 60], false); /* several of one ring are as good */
  cr_result(ringbus_poller_remove(poller, consumers[0]), -ENOENT);
  for (unsigned i = 0; i < MOST; i++)
    cr_result(ringbus_poller_add(poller, consumers[i], &consumers[i]), 0);
  cr_result(ringbus_poller_add(poller, consumers[5], NULL), -EEXIST);
  cr_result(ringbus_poller_add(other, consumers[5], NULL), -EBUSY);
  cr_result(ringbus_poller_remove(other, consumers[5]), -ENOENT);
  cr_result(ringbus_poller_add(poller, consumers[MOST], NULL), -ENOSPC);
  cr_assert(strstr(ringbus_error_detail(), "128"), "%s", ringbus_error_detail());
  cr_result(ringbus_poller_wait(poller, 1000000, &ready), -ETIMEDOUT);
  cr_result(ringbus_poller_remove(poller, consumers[5]), 0);
  cr_result(ringbus_poller_add(poller, consumers[MOST], NULL), 0);
  cr_result(ringbus_poller_add(other, consumers[5], NULL), 0);
  cr_result(ringbus_poller_add(NULL, consumers[5], NULL), -EINVAL);
  cr_result(ringbus_poller_add(other, NULL, NULL), -EINVAL);
  cr_result(ringbus_poller_remove(other, NULL), -EINVAL);
  cr_result(ringbus_poller_remove(NULL, consumers[5]), -EINVAL);
  cr_result(ringbus_poller_wait(NULL, 0, &ready), -EINVAL);
  cr_result(ringbus_poller_wait(other, 0, NULL), -EINVAL);
  cr_result(ringbus_poller_destroy(NULL), 0);
  cr_result(ringbus_poller_destroy(poller), 0);
  cr_result(ringbus_poller_destroy(other), 0);
  cr_result(ringbus_poller_create(NULL, &poller), 0);
  for (unsigned i = 0; i <= MOST; i++) { /* its poller's end has set each free */
    cr_result(ringbus_poller_add(poller, consumers[i], NULL), 0);
    cr_result(ringbus_consumer_detach(consumers[i]), 0);
  }
  cr_result(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), -ENOENT);
  cr_result(ringbus_poller_destroy(poller), 0);
  for (unsigned i = 0; i < 3; i++)
    cr_result(ringbus_ring_close(rings[i]), 0);
}

Test(polling, time_limits_end_every_wait) {
  static const int64_t limits[] = {0, 1, 1000, 2000000};
  struct ringbus_ready ready = {NULL, NULL, 4711};
  for (size_t wait = 0; wait < 3; wait++)
    for (unsigned count = 1; count <= 3; count++) {
      ringbus_poller *poller = poller_with(waits[wait], AN_HOUR);
      ringbus_ring *rings[3];
      ringbus_producer *producer = NULL;
      for (unsigned i = 0; i < count; i++) {
        rings[i] = make(i, wakes[(i + wait) % 3]);
        producer = test_producer(rings[i]);
        cr_result(ringbus_poller_add(poller, consumer_of(rings[i], false), NULL), 0);
      }
      for (size_t limit = 0; limit < 4; limit++) {
        uint64_t before = test_now_ns();
        cr_result(ringbus_poller_wait(poller, limits[limit], &ready), -ETIMEDOUT);
        cr_assert_geq(test_now_ns() - before, (uint64_t)limits[limit]);
        before = test_now_ns();
        cr_result(ringbus_poller_wait_until(poller, (int64_t)before + limits[limit], &ready),
                  -ETIMEDOUT);
        cr_assert_geq(test_now_ns(), before + (uint64_t)limits[limit]);
        cr_result(ringbus_poller_wait_until(poller, limits[limit], &ready), -ETIMEDOUT);
        cr_assert(ready.result == 4711 && !ready.consumer);
      }
      send(producer);
      for (size_t limit = 0; limit < 4; limit++) {
        cr_result(ringbus_poller_wait(poller, limits[limit], &ready), 0);
        cr_result(ringbus_poller_wait_until(poller, limits[limit], &ready), 0);
        cr_result(ringbus_poller_wait_until(poller, RINGBUS_FOREVER, &ready), 0);
        cr_result(ringbus_poller_wait_until(poller, INT64_MAX, &ready), 0);
        ready.result = 4711, ready.consumer = NULL;
      }
      for (unsigned i = 0; i < count; i++)
        cr_result(ringbus_ring_remove(test_path(name_of(i)), true), 0);
    }
}

/* ---------------------------------------------------------------- whose turn it is */

Test(polling, a_busy_ring_does_not_starve_the_others) {
  ringbus_poller *poller = poller_with(RINGBUS_WAIT_ADAPTIVE, 0);
  ringbus_producer *producers[RINGS];
  ringbus_consumer *consumers[RINGS];
  for (uintptr_t i = 0; i < RINGS; i++) {
    ringbus_ring *ring = make((unsigned)i, wakes[i % 3]);
    producers[i] = test_producer(ring);
    consumers[i] = test_consumer(ring, NULL);
    cr_result(ringbus_poller_add(poller, consumers[i], (void *)i), 0);
  }
  for (unsigned busy = 0; busy < RINGS; busy++)
    for (unsigned seldom = 0; seldom < RINGS; seldom++) {
      unsigned calls = 0;
      if (seldom == busy)
        continue;
      send(producers[seldom]);
      for (uintptr_t turn = RINGS; turn != seldom;) {
        if (ringbus_consumer_wait(consumers[busy], 0) == -ETIMEDOUT)
          send(producers[busy]); /* it has always more */
        turn = who(poller, 0);
        cr_assert(turn == busy || turn == seldom);
        cr_result(receive(consumers[turn]), 0);
        cr_assert_leq(++calls, 2);
      }
      while (receive(consumers[busy]) == 0)
        ;
    }
  /* All ready: each in its turn. */
  for (unsigned i = 0; i < RINGS; i++)
    for (unsigned n = 0; n < 5; n++)
      send(producers[i]);
  uintptr_t first = who(poller, 0);
  for (unsigned n = 1; n < 5 * RINGS; n++)
    cr_assert_eq(who(poller, 0), (first + n) % RINGS);
}

Test(polling, nobody_loses_its_turn_when_others_come_and_go) {
  ringbus_poller *poller = poller_with(RINGBUS_WAIT_ADAPTIVE, 0);
  ringbus_consumer *consumers[6];
  uint64_t random = 1;
  unsigned waited[6] = {0}, inside = 6;
  bool is_in[6];
  for (uintptr_t i = 0; i < 6; i++) {
    ringbus_ring *ring = make((unsigned)i, RINGBUS_WAKE_BY_MEMBARRIER);
    send(test_producer(ring));
    consumers[i] = test_consumer(ring, NULL);
    cr_result(ringbus_poller_add(poller, consumers[i], (void *)i), 0);
    is_in[i] = true;
  }
  for (int round = 0; round < 20000; round++) {
    unsigned other = (unsigned)(test_random(&random) % 6);
    if (is_in[other] && inside > 1) {
      cr_result(ringbus_poller_remove(poller, consumers[other]), 0);
      inside--;
      is_in[other] = false;
    } else if (!is_in[other]) {
      cr_result(ringbus_poller_add(poller, consumers[other], (void *)(uintptr_t)other), 0);
      inside++;
      is_in[other] = true;
      waited[other] = 0;
    }
    uintptr_t turn = who(poller, 0);
    cr_assert(is_in[turn]);
    waited[turn] = 0;
    /* New ones stand at the end, and whoever was before stays before: five others at most once each,
     * and once more each that left and came back behind. */
    for (unsigned i = 0; i < 6; i++)
      if (i != turn && is_in[i])
        cr_assert_leq(++waited[i], 12);
  }
}

/* ---------------------------------------------------------------- several producers, one reader */

struct stream {
  unsigned number;
  enum ringbus_wake wake;
};

static int produce_stream(struct test_child *self, void *context) {
  const struct stream *stream = context;
  ringbus_ring *ring = test_open(name_of(stream->number));
  struct ringbus_producer_options options = {.look_ns = AN_HOUR};
  ringbus_producer *producer;
  uint64_t random = stream->number;
  int result;
  REQUIRE_RESULT(ringbus_producer_attach(ring, &options, &producer), 0);
  test_child_say(self, 'a');
  test_child_hear(self);
  for (uint64_t next = 0; next < MESSAGES; next++) {
    const unsigned char *content = test_content(next * RINGS + stream->number);
    while ((result = ringbus_producer_send(producer, content, next % 200, 0)) == -EAGAIN)
      REQUIRE_RESULT(ringbus_producer_wait(producer, next % 200, 0, RINGBUS_FOREVER), 0);
    REQUIRE_RESULT(result, 0);
    if (test_random(&random) % 16 == 0)
      test_sleep_us(300); /* so that the reader sleeps now and then */
  }
  REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return 0;
}

/* Everything of every ring, each in its order; then all are at their end. */
static void merge_streams(enum ringbus_wait wait) {
  ringbus_poller *poller = poller_with(wait, AN_HOUR);
  ringbus_ring *rings[RINGS];
  uint64_t next[RINGS] = {0};
  struct ringbus_ready ready;
  unsigned char buffer[256];
  unsigned ended = 0;
  int result;
  for (uintptr_t i = 0; i < RINGS; i++) {
    rings[i] = test_open(name_of((unsigned)i));
    REQUIRE_RESULT(ringbus_poller_add(poller, consumer_of(rings[i], false), (void *)i), 0);
  }
  while ((result = ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready)) == 0) {
    uintptr_t from = (uintptr_t)ready.context;
    struct ringbus_message message;
    REQUIRE(from < RINGS);
    if (ready.result == -EPIPE) {
      REQUIRE_RESULT(ringbus_consumer_recv(ready.consumer, buffer, sizeof buffer, NULL), -EPIPE);
      REQUIRE_RESULT(ringbus_consumer_detach(ready.consumer), 0);
      REQUIRE(next[from] == MESSAGES);
      ended++;
      continue;
    }
    REQUIRE_RESULT(ready.result, 0);
    result = ringbus_consumer_recv(ready.consumer, buffer, sizeof buffer, &message);
    REQUIRE_RESULT(result, 0); /* ready means that it is not -EAGAIN */
    REQUIRE(message.length == next[from] % 200);
    REQUIRE(memcmp(buffer, test_content(next[from] * RINGS + from), message.length) == 0);
    next[from]++;
  }
  REQUIRE_RESULT(result, -ENOENT);
  REQUIRE(ended == RINGS);
  REQUIRE_RESULT(ringbus_poller_destroy(poller), 0);
  for (unsigned i = 0; i < RINGS; i++)
    REQUIRE_RESULT(ringbus_ring_close(rings[i]), 0);
}

/* A system call that this process will be refused from now on, as sandboxes and old kernels do. */
static void refuse(unsigned number, unsigned error) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

struct sandbox {
  unsigned refused, error;
};
static const struct sandbox sandboxes[] = {
    {0, 0},
    {SYS_futex_waitv, ENOSYS},
    {SYS_futex_waitv, EPERM},
    {SYS_membarrier, EPERM},
    {SYS_membarrier, ENOSYS},
};
#define SANDBOXES (sizeof sandboxes / sizeof sandboxes[0])

struct merging {
  enum ringbus_wait wait;
  const struct sandbox *sandbox;
};

static int merge_in_child(struct test_child *self, void *context) {
  const struct merging *merging = context;
  if (merging->sandbox->error)
    refuse(merging->sandbox->refused, merging->sandbox->error);
  (void)self;
  merge_streams(merging->wait);
  return 0;
}

Test(polling, streams_of_several_processes_are_merged_in_every_sandbox, .timeout = 120) {
  for (size_t round = 0; round < 3 * SANDBOXES; round++) {
    struct merging merging = {waits[round % 3], &sandboxes[round / 3]};
    struct test_child producers[RINGS], reader;
    for (unsigned i = 0; i < RINGS; i++) {
      struct stream stream = {i,
                              wakes[round % 4 < 3 ? (i + round) % 3 : 0]}; /* mixed, or all alike */
      cr_result(ringbus_ring_close(make(i, stream.wake)), 0);
      producers[i] = test_child_start(produce_stream, &stream);
      cr_assert_eq(test_child_hear(&producers[i]), 'a');
    }
    reader = test_child_start(merge_in_child, &merging);
    for (unsigned i = 0; i < RINGS; i++)
      test_child_say(&producers[i], 'g');
    for (unsigned i = 0; i < RINGS; i++)
      cr_assert_eq(test_child_status(&producers[i]), 0);
    cr_assert_eq(test_child_status(&reader), 0);
    for (unsigned i = 0; i < RINGS; i++)
      cr_result(ringbus_ring_remove(test_path(name_of(i)), false), 0);
  }
}

/* ---------------------------------------------------------------- threads that wait */

struct job {
  pthread_t thread;
  ringbus_poller *poller;
  struct ringbus_ready ready;
  int result;
  int done;
};

static void *wait_for_any(void *context) {
  struct job *job = context;
  job->result = ringbus_poller_wait(job->poller, RINGBUS_FOREVER, &job->ready);
  __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
  return NULL;
}

static void run(struct job *job) {
  job->done = 0;
  REQUIRE(pthread_create(&job->thread, NULL, wait_for_any, job) == 0);
  test_sleep_us(3000); /* any result is right, but the tests are about sleepers */
}

/* What a poller found in a run that has begun. */
static int result_of(struct job *job, const ringbus_consumer *expected) {
  REQUIRE(pthread_join(job->thread, NULL) == 0);
  REQUIRE_RESULT(job->result, 0);
  REQUIRE(job->ready.consumer == expected);
  return job->ready.result;
}

static void on_signal(int signal) { (void)signal; }

Test(polling, a_signal_ends_a_sleep, .timeout = 60) {
  struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
  cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
  for (unsigned count = 1; count <= 2; count++) {
    struct job job = {.poller = poller_with(RINGBUS_WAIT_BLOCK, AN_HOUR)};
    for (unsigned i = 0; i < count; i++)
      cr_result(
          ringbus_poller_add(job.poller, consumer_of(make(10 * count + i, wakes[i]), false), NULL),
          0);
    run(&job);
    while (!__atomic_load_n(&job.done, __ATOMIC_ACQUIRE)) { /* one may come before it sleeps */
      pthread_kill(job.thread, SIGUSR1);
      test_sleep_us(1000);
    }
    cr_assert_eq(pthread_join(job.thread, NULL), 0);
    cr_result(job.result, -EINTR);
  }
}

Test(polling, each_of_many_wakes_the_sleeper, .timeout = 60) {
  static ringbus_producer *producers[MOST];
  static ringbus_consumer *consumers[MOST];
  for (size_t wake = 0; wake < 3; wake++) { /* by one mode, or one after the other */
    struct job job = {.poller = poller_with(RINGBUS_WAIT_BLOCK, AN_HOUR)};
    for (unsigned i = 0; i < MOST; i++) {
      ringbus_ring *ring = make((unsigned)wake * MOST + i, wakes[wake < 2 ? wake : i % 2]);
      producers[i] = test_producer(ring);
      consumers[i] = consumer_of(ring, false);
      cr_result(ringbus_ring_close(ring), 0);
      cr_result(ringbus_poller_add(job.poller, consumers[i], NULL), 0);
    }
    for (unsigned i = 0; i < MOST; i += i < 4 || i > 122 ? 1 : 17) {
      run(&job);
      send(producers[i]);
      cr_result(result_of(&job, consumers[i]), 0);
      cr_result(receive(consumers[i]), 0);
      cr_result(receive(consumers[i]), -EAGAIN);
    }
    for (unsigned i = 0; i < MOST; i++) {
      cr_result(ringbus_consumer_detach(consumers[i]), 0);
      cr_result(ringbus_producer_detach(producers[i]), 0);
    }
    cr_result(ringbus_poller_destroy(job.poller), 0);
  }
}

Test(polling, two_groups_of_one_ring_are_two_consumers, .timeout = 60) {
  ringbus_ring *ring = make(0, RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *one = consumer_of(ring, false), *two = consumer_of(ring, false);
  struct job job = {.poller = poller_with(RINGBUS_WAIT_BLOCK, AN_HOUR)};
  cr_result(ringbus_poller_add(job.poller, one, NULL), 0);
  cr_result(ringbus_poller_add(job.poller, two, NULL), 0);
  run(&job);
  send(producer);
  cr_result(result_of(&job, one), 0);
  run(&job);
  cr_result(result_of(&job, two), 0);
  cr_result(receive(one), 0);
  run(&job);
  cr_result(result_of(&job, two), 0);
}

/* ---------------------------------------------------------------- ends */

Test(polling, ends_are_ready_and_say_so, .timeout = 60) {
  for (unsigned wake = 0; wake < 3; wake++)
    for (unsigned count = 1; count <= 2; count++) { /* alone, or beside another one */
      struct job job = {.poller = poller_with(RINGBUS_WAIT_BLOCK, AN_HOUR)};
      unsigned number = (2 * wake + count) * 10;
      ringbus_ring *finished = make(number, wakes[wake]), *retired = make(number + 1, wakes[wake]);
      ringbus_ring *left = make(number + 2, wakes[wake]);
      ringbus_producer *finishes = test_producer(finished), *leaves = test_producer(left);
      ringbus_consumer *consumer;
      if (count == 2)
        cr_result(
            ringbus_poller_add(job.poller, consumer_of(make(number + 3, wakes[0]), false), NULL),
            0);
      consumer = consumer_of(finished, false);
      cr_result(ringbus_poller_add(job.poller, consumer, NULL), 0);
      run(&job);
      cr_result(ringbus_producer_finish(finishes), 0);
      cr_result(result_of(&job, consumer), -EPIPE);
      run(&job);
      cr_result(result_of(&job, consumer), -EPIPE); /* it stays so */
      cr_result(ringbus_consumer_detach(consumer), 0);

      consumer = consumer_of(retired, false);
      cr_result(ringbus_poller_add(job.poller, consumer, NULL), 0);
      run(&job);
      cr_result(ringbus_ring_remove(test_path(name_of(number + 1)), true), 0);
      cr_result(result_of(&job, consumer), -ESTALE);
      cr_result(ringbus_consumer_detach(consumer), 0);

      consumer = consumer_of(left, true);
      cr_result(ringbus_poller_add(job.poller, consumer, NULL), 0);
      run(&job);
      send(leaves);
      cr_result(result_of(&job, consumer), 0);
      cr_result(receive(consumer), 0);
      run(&job);
      cr_result(ringbus_producer_detach(leaves), 0);
      cr_result(result_of(&job, consumer), -EPIPE);
      cr_result(ringbus_consumer_detach(consumer), 0);
      cr_result(ringbus_poller_destroy(job.poller), 0);
    }
}

static int be_the_producer(struct test_child *self, void *context) {
  ringbus_producer *producer = test_producer(test_open(context));
  test_child_say(self, 'p');
  test_child_hear(self);
  (void)producer;
  return 0;
}

Test(polling, the_death_of_the_last_producer_is_seen_though_others_are_busy, .timeout = 60) {
  struct ringbus_consumer_options ending = {.end_without_producer = true};
  struct test_child child;
  ringbus_poller *poller = poller_with(RINGBUS_WAIT_ADAPTIVE, 2000000);
  ringbus_consumer *mourner, *busy[2];
  uintptr_t turn;
  cr_result(ringbus_consumer_attach(make(0, RINGBUS_WAKE_BY_MEMBARRIER), &ending, &mourner), 0);
  child = test_child_start(be_the_producer, (void *)(uintptr_t)name_of(0));
  cr_assert_eq(test_child_hear(&child), 'p');
  for (uintptr_t i = 0; i < 2; i++) { /* these are always ready */
    ringbus_ring *ring = make((unsigned)i + 1, RINGBUS_WAKE_BY_MEMBARRIER);
    send(test_producer(ring));
    busy[i] = test_consumer(ring, NULL);
    cr_result(ringbus_poller_add(poller, busy[i], (void *)i), 0);
  }
  cr_result(ringbus_poller_add(poller, mourner, (void *)2), 0);
  for (int i = 0; i < 10000; i++)
    cr_assert_neq(who(poller, 0), 2);
  test_child_kill(&child);
  do { /* at one of the looks */
    struct ringbus_ready ready;
    cr_result(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), 0);
    turn = (uintptr_t)ready.context;
    cr_result(ready.result, turn == 2 ? -EPIPE : 0);
  } while (turn != 2);
}

Test(polling, the_death_of_the_last_producer_ends_a_sleep, .timeout = 60) {
  struct ringbus_consumer_options ending = {.end_without_producer = true};
  struct job job = {.poller = poller_with(RINGBUS_WAIT_ADAPTIVE, 0)};
  ringbus_consumer *consumer;
  struct test_child child;
  cr_result(ringbus_consumer_attach(make(0, RINGBUS_WAKE_BY_FENCE), &ending, &consumer), 0);
  cr_result(ringbus_poller_add(job.poller, consumer, NULL), 0);
  cr_result(
      ringbus_poller_add(job.poller, consumer_of(make(1, RINGBUS_WAKE_BY_MEMBARRIER), false), NULL),
      0);
  child = test_child_start(be_the_producer, (void *)(uintptr_t)name_of(0));
  cr_assert_eq(test_child_hear(&child), 'p');
  run(&job);
  test_child_kill(&child);
  cr_result(result_of(&job, consumer), -EPIPE);
}

Test(polling, a_truncated_file_is_told_and_not_read, .timeout = 60) {
  ringbus_poller *poller = poller_with(RINGBUS_WAIT_BLOCK, 2000000);
  ringbus_ring *cut = make(1, RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_consumer *consumer = test_consumer(cut, NULL);
  struct job job = {.poller = poller};
  cr_result(ringbus_poller_add(poller, test_consumer(make(0, RINGBUS_WAKE_BY_FENCE), NULL), NULL),
            0);
  cr_result(ringbus_poller_add(poller, consumer, NULL), 0);
  run(&job);
  /* Only its last byte: the pages that the library reads meanwhile are there. */
  size_t length;
  free(test_read_whole(name_of(1), &length));
  cr_assert_eq(truncate(test_path(name_of(1)), (off_t)length - 1), 0);
  cr_result(result_of(&job, consumer), -EBADMSG);
}

/* ---------------------------------------------------------------- fork */

static int use_inherited(struct test_child *self, void *context) {
  ringbus_poller *poller = *(ringbus_poller **)context, *fresh;
  ringbus_consumer *consumer = ((ringbus_consumer **)context)[1];
  struct ringbus_ready ready;
  int fd;
  (void)self;
  REQUIRE_RESULT(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_event_fd(consumer, &fd), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_event_arm(consumer), -ECHILD);
  fd = (int)(intptr_t)((void **)context)[2];
  REQUIRE(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
  REQUIRE_RESULT(ringbus_poller_remove(poller, consumer), 0);
  REQUIRE_RESULT(ringbus_poller_add(poller, consumer, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), -ENOENT);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), -ECHILD);
  REQUIRE_RESULT(ringbus_poller_destroy(poller), 0);
  /* What it makes itself is its own. */
  ringbus_ring *ring = test_open(name_of(0));
  consumer = test_consumer(ring, NULL);
  fresh = poller_with(RINGBUS_WAIT_BLOCK, AN_HOUR);
  REQUIRE_RESULT(ringbus_poller_add(fresh, consumer, (void *)7), 0);
  REQUIRE_RESULT(ringbus_consumer_event_fd(consumer, &fd), 0);
  REQUIRE(poll(&(struct pollfd){fd, POLLIN, 0}, 1, -1) == 1);
  REQUIRE(who(fresh, 0) == 7);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  REQUIRE_RESULT(ringbus_poller_destroy(fresh), 0);
  return 0;
}

Test(polling, a_child_has_neither_poller_nor_event_descriptor_of_its_parent, .timeout = 60) {
  ringbus_ring *ring = make(0, RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_consumer *consumer = consumer_of(ring, false);
  ringbus_producer *producer = test_producer(ring);
  ringbus_poller *poller = poller_with(RINGBUS_WAIT_BLOCK, AN_HOUR);
  struct test_child child;
  int fd;
  send(producer);
  cr_result(ringbus_poller_add(poller, consumer, (void *)8), 0);
  cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
  /* The thread is under way: AddressSanitizer holds locks while one begins, which a child would inherit. */
  cr_assert_eq(poll(&(struct pollfd){fd, POLLIN, 0}, 1, -1), 1);
  child = test_child_start(use_inherited, (void *[]){poller, consumer, (void *)(intptr_t)fd});
  cr_assert_eq(test_child_status(&child), 0);
  cr_assert_eq(who(poller, 0), 8);
  cr_result(receive(consumer), 0);
  cr_result(ringbus_consumer_event_arm(consumer), 0);
  send(producer);
  cr_assert_eq(poll(&(struct pollfd){fd, POLLIN, 0}, 1, -1), 1);
  cr_result(ringbus_consumer_detach(consumer), 0);
}

/* ---------------------------------------------------------------- event descriptors */

static bool is_readable(int fd, int timeout_ms) {
  int ready = poll(&(struct pollfd){fd, POLLIN, 0}, 1, timeout_ms);
  REQUIRE(ready >= 0);
  return ready == 1;
}

/* Asked a good while after whatever there is could have made it readable. */
static bool stays_silent(int fd) { return !is_readable(fd, 20); }

static unsigned threads(void) {
  unsigned count = 0;
  char line[256];
  FILE *status = fopen("/proc/self/status", "r");
  REQUIRE(status);
  while (fgets(line, sizeof line, status))
    if (sscanf(line, "Threads: %u", &count) == 1)
      break;
  fclose(status);
  return count;
}

Test(polling, an_event_descriptor_lives_from_the_first_call_to_detach, .timeout = 60) {
  ringbus_ring *ring = make(0, RINGBUS_WAKE_BY_MEMBARRIER);
  for (int round = 0; round < 3; round++) {
    ringbus_consumer *consumer = consumer_of(ring, false);
    unsigned before = threads();
    int fd = -1, again = -1;
    cr_result(ringbus_consumer_event_arm(consumer), -EINVAL);
    cr_result(ringbus_consumer_event_fd(consumer, NULL), -EINVAL);
    cr_result(ringbus_consumer_event_fd(NULL, &fd), -EINVAL);
    cr_assert_eq(threads(), before);
    cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
    cr_result(ringbus_consumer_event_fd(consumer, &again), 0);
    cr_assert_eq(fd, again);
    cr_assert_eq(threads(), before + 1);
    cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    if (round == 1)
      test_sleep_us(3000); /* asleep, or not yet */
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_assert(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
    while (threads() != before) /* who was joined is counted for a moment more */
      test_sleep_us(1000);
  }
}

Test(polling, an_event_descriptor_is_readable_from_the_first_message_until_it_is_armed,
     .timeout = 60) {
  for (unsigned wake = 0; wake < 3; wake++) {
    ringbus_ring *ring = make(wake, wakes[wake]);
    ringbus_consumer *consumer = consumer_of(ring, false);
    ringbus_producer *producer = test_producer(ring);
    int fd;
    cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
    cr_assert(stays_silent(fd));
    send(producer);
    send(producer);
    cr_assert(is_readable(fd, -1));
    cr_result(receive(consumer), 0);
    cr_result(ringbus_consumer_event_arm(consumer), 0); /* there is one more */
    cr_assert(is_readable(fd, 0));
    cr_result(receive(consumer), 0);
    cr_result(receive(consumer), -EAGAIN);
    cr_assert(is_readable(fd, 0));
    for (int twice = 0; twice < 2; twice++) {
      cr_result(ringbus_consumer_event_arm(consumer), 0);
      cr_assert(stays_silent(fd));
    }
    /* Read on without having been told: what comes later is told all the same. */
    send(producer);
    cr_result(receive(consumer), 0);
    cr_result(ringbus_consumer_event_arm(consumer), 0);
    send(producer);
    cr_assert(is_readable(fd, -1));
    cr_result(receive(consumer), 0);
    cr_result(ringbus_consumer_event_arm(consumer), 0);
    cr_assert(stays_silent(fd));
    /* A seek moves it, in both directions. */
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_OLDEST, 0), 0);
    cr_result(ringbus_consumer_event_arm(consumer), 0);
    cr_assert(is_readable(fd, 0));
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_NEWEST, 0), 0);
    cr_result(ringbus_consumer_event_arm(consumer), 0);
    cr_assert(stays_silent(fd));
    send(producer);
    cr_assert(is_readable(fd, -1));
    cr_result(ringbus_consumer_detach(consumer), 0);
  }
}

/* A program's event loop, as the header has it. */
static void run_loop(unsigned number) {
  ringbus_ring *ring = test_open(name_of(number));
  ringbus_consumer *consumer = consumer_of(ring, false);
  struct epoll_event event = {.events = EPOLLIN};
  int loop = epoll_create1(EPOLL_CLOEXEC), fd, result = 0;
  unsigned char buffer[256];
  struct ringbus_message message;
  uint64_t next = 0, rounds = 0;
  REQUIRE_RESULT(ringbus_consumer_event_fd(consumer, &fd), 0);
  REQUIRE(loop >= 0 && epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0);
  while (result == 0) {
    REQUIRE(epoll_wait(loop, &event, 1, -1) == 1);
    rounds++;
    for (int most = 8; most > 0 && result == 0; most--) { /* other work is to be done, too */
      result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message);
      if (result == 0) {
        REQUIRE(message.length == next % 200);
        REQUIRE(memcmp(buffer, test_content(next * RINGS + number), message.length) == 0);
        next++;
      }
    }
    if (result == -EAGAIN)
      result = ringbus_consumer_event_arm(consumer);
  }
  REQUIRE_RESULT(result, -EPIPE);
  REQUIRE(next == MESSAGES);
  REQUIRE(rounds <= 2 * MESSAGES + 2); /* told once for each message at most, and once in vain */
  REQUIRE(epoll_ctl(loop, EPOLL_CTL_DEL, fd, NULL) == 0);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  close(loop);
}

static int run_loop_in_child(struct test_child *self, void *context) {
  const struct sandbox *sandbox = context;
  (void)self;
  if (sandbox->error)
    refuse(sandbox->refused, sandbox->error);
  run_loop(0);
  return 0;
}

Test(polling, an_event_loop_misses_nothing_in_every_mode_and_sandbox, .timeout = 120) {
  for (size_t round = 0; round < 3 * SANDBOXES; round++) {
    struct stream stream = {0, wakes[round % 3]};
    struct test_child producer, reader;
    cr_result(ringbus_ring_close(make(0, stream.wake)), 0);
    producer = test_child_start(produce_stream, &stream);
    cr_assert_eq(test_child_hear(&producer), 'a');
    reader = test_child_start(run_loop_in_child, (void *)(uintptr_t)&sandboxes[round / 3]);
    test_child_say(&producer, 'g');
    cr_assert_eq(test_child_status(&producer), 0);
    cr_assert_eq(test_child_status(&reader), 0);
    cr_result(ringbus_ring_remove(test_path(name_of(0)), false), 0);
  }
}

Test(polling, ends_make_an_event_descriptor_readable, .timeout = 60) {
  for (unsigned wake = 0; wake < 3; wake++) {
    ringbus_ring *finished = make(3 * wake, wakes[wake]), *left = make(3 * wake + 1, wakes[wake]);
    ringbus_ring *retired = make(3 * wake + 2, wakes[wake]);
    ringbus_producer *finishes = test_producer(finished), *leaves = test_producer(left);
    ringbus_consumer *consumer = consumer_of(finished, false);
    int fd;
    cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
    cr_assert(stays_silent(fd));
    cr_result(ringbus_producer_finish(finishes), 0);
    cr_assert(is_readable(fd, -1));
    cr_result(receive(consumer), -EPIPE);
    cr_result(ringbus_consumer_event_arm(consumer), -EPIPE);
    cr_assert(is_readable(fd, 0));
    cr_result(ringbus_consumer_detach(consumer), 0);

    consumer = consumer_of(retired, false);
    cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
    cr_assert(stays_silent(fd));
    cr_result(ringbus_ring_remove(test_path(name_of(3 * wake + 2)), true), 0);
    cr_assert(is_readable(fd, -1));
    cr_result(receive(consumer), -ESTALE);
    cr_result(ringbus_consumer_event_arm(consumer), -ESTALE);
    cr_assert(is_readable(fd, 0));
    cr_result(ringbus_consumer_detach(consumer), 0);

    consumer = consumer_of(left, true);
    cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
    cr_assert(stays_silent(fd));
    cr_result(ringbus_producer_detach(leaves), 0);
    cr_assert(is_readable(fd, -1));
    cr_result(receive(consumer),
              -EAGAIN); /* another one might come; who chose to end is told so: */
    cr_result(ringbus_consumer_event_arm(consumer), -EPIPE);
    leaves = test_producer(left);
    cr_result(ringbus_consumer_event_arm(consumer), 0);
    cr_assert(stays_silent(fd));
    send(leaves);
    cr_assert(is_readable(fd, -1));
    cr_result(ringbus_consumer_detach(consumer), 0);
  }
}

Test(polling, the_death_of_the_last_producer_makes_an_event_descriptor_readable, .timeout = 60) {
  struct ringbus_consumer_options ending = {.end_without_producer = true};
  ringbus_consumer *consumer;
  struct test_child child;
  int fd;
  cr_result(ringbus_consumer_attach(make(0, RINGBUS_WAKE_BY_FENCE), &ending, &consumer), 0);
  child = test_child_start(be_the_producer, (void *)(uintptr_t)name_of(0));
  cr_assert_eq(test_child_hear(&child), 'p');
  cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
  cr_assert(stays_silent(fd));
  test_child_kill(&child);
  cr_assert(is_readable(fd, -1)); /* at one of the looks */
  cr_result(ringbus_consumer_event_arm(consumer), -EPIPE);
}

/* A lapped group is told, too; what it is told of may be the loss. */
Test(polling, an_event_descriptor_of_a_lapped_group_says_so, .timeout = 60) {
  struct ringbus_consumer_options options = {.policy = RINGBUS_LAPPED, .look_ns = AN_HOUR};
  ringbus_ring *ring = make(0, RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer;
  char buffer[2000];
  int fd, result;
  cr_result(ringbus_consumer_attach(ring, &options, &consumer), 0);
  cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < 10; i++)
      cr_result(ringbus_producer_send(producer, test_content(0), 1000, 0), 0);
    cr_assert(is_readable(fd, -1));
    do {
      result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL);
    } while (result == 0 || result == -EOVERFLOW);
    cr_result(result, -EAGAIN);
    cr_result(ringbus_consumer_event_arm(consumer), 0);
    cr_assert(!is_readable(fd, 0));
  }
}

static int take_all_and_die(struct test_child *self, void *context) {
  const struct ringbus_consumer_options shared = {.group = "shared", .shared = true};
  struct ringbus_message messages[4];
  ringbus_consumer *member;
  size_t count;
  REQUIRE_RESULT(ringbus_consumer_attach(test_open(context), &shared, &member), 0);
  test_child_say(self, 'a');
  test_child_hear(self);
  REQUIRE_RESULT(ringbus_consumer_borrow_batch(member, messages, 4, &count), 0);
  raise(SIGKILL);
  return 1;
}

/* What the dead had is there to be read, too; the helper may only look. */
Test(polling, what_a_dead_member_had_makes_an_event_descriptor_readable, .timeout = 60) {
  const struct ringbus_consumer_options shared = {
      .group = "shared", .shared = true, .look_ns = 1000000};
  ringbus_ring *ring = make(0, RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *member;
  struct ringbus_message message;
  int fd;
  cr_result(ringbus_consumer_attach(ring, &shared, &member), 0);
  struct test_child child = test_child_start(take_all_and_die, (void *)(uintptr_t)name_of(0));
  cr_assert_eq(test_child_hear(&child), 'a');
  send(producer);
  test_child_say(&child, 't');
  cr_assert_eq(test_child_status(&child), -SIGKILL);
  cr_result(ringbus_consumer_event_fd(member, &fd), 0);
  cr_assert(is_readable(fd, -1));
  int result;
  do { /* whoever polls takes it over by and by */
    result = ringbus_consumer_borrow(member, &message);
  } while (result == -EAGAIN);
  cr_result(result, 0);
  cr_assert(message.redelivered);
  cr_result(ringbus_consumer_release(member), 0);
  cr_result(ringbus_consumer_event_arm(member), 0);
  cr_assert(!is_readable(fd, 0));
}

static volatile sig_atomic_t signals_taken;

static void take_signal(int signal) {
  (void)signal;
  signals_taken++;
}

Test(polling, the_helper_thread_takes_no_signal, .timeout = 60) {
  struct sigaction action = {.sa_handler = take_signal};
  ringbus_consumer *consumer = consumer_of(make(0, RINGBUS_WAKE_BY_MEMBARRIER), false);
  sigset_t set, pending;
  int fd;
  cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
  cr_assert_eq(sigaction(SIGUSR2, &action, NULL), 0);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  cr_assert_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0); /* who called is as it was before */
  cr_assert_eq(kill(getpid(), SIGUSR2), 0);
  cr_assert(stays_silent(fd));
  cr_assert_eq(signals_taken, 0);
  cr_assert_eq(sigpending(&pending), 0);
  cr_assert(sigismember(&pending, SIGUSR2));
  cr_assert_eq(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
  cr_assert_eq(signals_taken, 1);
  cr_result(ringbus_consumer_detach(consumer), 0);
}

/* A consumer may be in a poller and have an event descriptor, and still be waited for by itself. */
Test(polling, all_ways_to_wait_go_together, .timeout = 60) {
  ringbus_ring *ring = make(0, RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer = consumer_of(ring, false);
  struct job job = {.poller = poller_with(RINGBUS_WAIT_BLOCK, AN_HOUR)};
  int fd;
  cr_result(ringbus_poller_add(job.poller, consumer, NULL), 0);
  cr_result(ringbus_consumer_event_fd(consumer, &fd), 0);
  for (int round = 0; round < 20; round++) {
    run(&job);
    cr_assert(!is_readable(fd, 0));
    send(producer);
    cr_result(result_of(&job, consumer), 0);
    cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
    cr_assert(is_readable(fd, -1));
    cr_result(receive(consumer), 0);
    cr_result(ringbus_consumer_wait(consumer, 1000000), -ETIMEDOUT);
    cr_result(ringbus_consumer_event_arm(consumer), 0);
  }
}
