/* SPDX-License-Identifier: MIT */
/* waiting.c - the wait calls, presence, draining and the end of the stream, in every wake mode and with
 * every wait policy. Sleepers here look only once an hour (look_ns), so that what wakes them is the
 * wake-up: a lost one makes the test run into its time limit. No result depends on how long things take.
 *
 * "A system call on every send though nobody sleeps" and "killed between commit and wake" are tried by
 * the programs that count system calls and that stop a process at every instruction. */
#include "suite.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define AN_HOUR (INT64_C(3600) * 1000000000)
#define MESSAGES 300

static const enum ringbus_wake wakes[] = {RINGBUS_WAKE_BY_MEMBARRIER, RINGBUS_WAKE_BY_FENCE,
                                          RINGBUS_WAKE_NEVER};
static const enum ringbus_wait waits[] = {RINGBUS_WAIT_ADAPTIVE, RINGBUS_WAIT_SPIN,
                                          RINGBUS_WAIT_BLOCK};

static ringbus_ring *make(enum ringbus_wake wake) {
  static int number;
  struct ringbus_create_options options = {.capacity = 4096, .wake = wake};
  char name[32];
  snprintf(name, sizeof name, "ring-%d", number++);
  return test_ring(name, &options);
}

static ringbus_consumer *consumer_with(ringbus_ring *ring, enum ringbus_wait wait) {
  struct ringbus_consumer_options options = {.wait = wait, .look_ns = AN_HOUR};
  ringbus_consumer *consumer = NULL;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &consumer), 0);
  return consumer;
}

static ringbus_producer *producer_with(ringbus_ring *ring, enum ringbus_wait wait) {
  struct ringbus_producer_options options = {.wait = wait, .look_ns = AN_HOUR};
  ringbus_producer *producer = NULL;
  REQUIRE_RESULT(ringbus_producer_attach(ring, &options, &producer), 0);
  return producer;
}

/* ---------------------------------------------------------------- threads that do one thing */

struct job {
  pthread_t thread;
  ringbus_ring *ring;
  ringbus_producer *producer;
  ringbus_consumer *consumer;
  ringbus_observer *observer;
  int result;
  volatile int done;
};

static void run(struct job *job, void *(*body)(void *)) {
  job->done = 0;
  REQUIRE(pthread_create(&job->thread, NULL, body, job) == 0);
}

static int result_of(struct job *job) {
  REQUIRE(pthread_join(job->thread, NULL) == 0);
  return job->result;
}

static void *wait_for_data(void *context) {
  struct job *job = context;
  job->result = ringbus_consumer_wait(job->consumer, RINGBUS_FOREVER);
  __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
  return NULL;
}

static void *wait_for_room(void *context) {
  struct job *job = context;
  job->result = ringbus_producer_wait(job->producer, 4000, 0, RINGBUS_FOREVER);
  __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
  return NULL;
}

static void *wait_for_drain(void *context) {
  struct job *job = context;
  job->result = ringbus_producer_drain(job->producer, RINGBUS_FOREVER);
  __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
  return NULL;
}

static void *wait_for_producer(void *context) {
  struct job *job = context;
  job->result = ringbus_ring_wait_for(job->ring, RINGBUS_PRODUCER, RINGBUS_FOREVER);
  __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
  return NULL;
}

static void *wait_as_observer(void *context) {
  struct job *job = context;
  job->result = ringbus_observer_wait(job->observer, RINGBUS_FOREVER);
  __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
  return NULL;
}

/* Let the others get as far as they do: any result is right, but the test is about the sleeper. */
static void let_it_sleep(void) { test_sleep_us(3000); }

/* ---------------------------------------------------------------- messages from side to side */

struct exchange {
  ringbus_ring *ring;
  enum ringbus_wait wait;
};

static void *consume_all(void *context) {
  struct exchange *exchange = context;
  ringbus_consumer *consumer = consumer_with(exchange->ring, exchange->wait);
  unsigned char buffer[256];
  struct ringbus_message message;
  uint64_t next = 0;
  int result;
  for (;;) {
    result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message);
    if (result == -EAGAIN) {
      result = ringbus_consumer_wait(consumer, RINGBUS_FOREVER);
      if (result == 0)
        continue;
    }
    if (result == -EPIPE)
      break;
    REQUIRE_RESULT(result, 0);
    REQUIRE(message.length == next % 200);
    REQUIRE(memcmp(buffer, test_content(next), message.length) == 0);
    next++;
    if (next % 50 == 0)
      test_sleep_us(200); /* so that the other side fills the ring and sleeps */
  }
  REQUIRE(next == MESSAGES);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return NULL;
}

static void *produce_all(void *context) {
  struct exchange *exchange = context;
  ringbus_producer *producer = producer_with(exchange->ring, exchange->wait);
  int result;
  for (uint64_t next = 0; next < MESSAGES; next++) {
    while ((result = ringbus_producer_send(producer, test_content(next), next % 200, 0)) == -EAGAIN)
      REQUIRE_RESULT(ringbus_producer_wait(producer, next % 200, 0, RINGBUS_FOREVER), 0);
    REQUIRE_RESULT(result, 0);
    if (next % 37 == 0)
      test_sleep_us(200); /* so that the other side runs dry and sleeps */
  }
  REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  REQUIRE_RESULT(ringbus_producer_drain(producer, RINGBUS_FOREVER), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return NULL;
}

Test(waiting, both_sides_wake_each_other_in_every_mode_and_policy_between_threads, .timeout = 120) {
  for (size_t wake = 0; wake < 3; wake++)
    for (size_t mine = 0; mine < 3; mine++)
      for (size_t theirs = 0; theirs < 3; theirs++) {
        ringbus_ring *ring = make(wakes[wake]);
        struct exchange consuming = {ring, waits[mine]}, producing = {ring, waits[theirs]};
        pthread_t consumer, producer;
        REQUIRE(pthread_create(&consumer, NULL, consume_all, &consuming) == 0);
        REQUIRE(pthread_create(&producer, NULL, produce_all, &producing) == 0);
        pthread_join(producer, NULL);
        pthread_join(consumer, NULL);
        cr_result(ringbus_ring_close(ring), 0);
      }
}

static int consume_in_child(struct test_child *self, void *context) {
  struct exchange exchange = *(struct exchange *)context;
  exchange.ring = test_open("between");
  test_child_say(self, 'a');
  consume_all(&exchange);
  return 0;
}

Test(waiting, both_sides_wake_each_other_in_every_mode_and_policy_between_processes,
     .timeout = 120) {
  for (size_t wake = 0; wake < 3; wake++)
    for (size_t mine = 0; mine < 3; mine++) {
      struct ringbus_create_options options = {.capacity = 4096, .wake = wakes[wake]};
      struct exchange exchange = {test_ring("between", &options), waits[mine]};
      struct test_child child = test_child_start(consume_in_child, &exchange);
      cr_assert_eq(test_child_hear(&child), 'a');
      produce_all(&exchange);
      cr_assert_eq(test_child_status(&child), 0);
      cr_result(ringbus_ring_close(exchange.ring), 0);
      cr_result(ringbus_ring_remove(test_path("between"), false), 0);
    }
}

/* ---------------------------------------------------------------- no membarrier here */

/* A sandbox that answers EPERM to membarrier(2): it is not there, like on an old kernel. */
static void refuse_membarrier(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static int consume_without_membarrier(struct test_child *self, void *context) {
  refuse_membarrier();
  return consume_in_child(self, context);
}

Test(waiting, a_sleeper_without_membarrier_misses_nothing, .timeout = 60) {
  for (size_t wait = 0; wait < 3; wait++) {
    struct exchange exchange = {test_ring("between", NULL), waits[wait]};
    struct test_child child = test_child_start(consume_without_membarrier, &exchange);
    cr_assert_eq(test_child_hear(&child), 'a');
    produce_all(&exchange);
    cr_assert_eq(test_child_status(&child), 0);
    cr_result(ringbus_ring_close(exchange.ring), 0);
    cr_result(ringbus_ring_remove(test_path("between"), false), 0);
  }
}

static int produce_without_membarrier(struct test_child *self, void *context) {
  struct exchange exchange = *(struct exchange *)context;
  refuse_membarrier();
  exchange.ring = test_open("between");
  test_child_say(self, 'a');
  produce_all(&exchange);
  return 0;
}

Test(waiting, a_publisher_without_membarrier_wakes_everybody, .timeout = 60) {
  for (size_t wait = 0; wait < 3; wait++) {
    struct exchange exchange = {test_ring("between", NULL), waits[wait]};
    struct test_child child = test_child_start(produce_without_membarrier, &exchange);
    cr_assert_eq(test_child_hear(&child), 'a');
    consume_all(&exchange);
    cr_assert_eq(test_child_status(&child), 0);
    cr_result(ringbus_ring_close(exchange.ring), 0);
    cr_result(ringbus_ring_remove(test_path("between"), false), 0);
  }
}

/* ---------------------------------------------------------------- time limits and signals */

Test(waiting, time_limits_end_every_wait) {
  static const int64_t limits[] = {0, 1, 1000, 2000000};
  for (size_t wake = 0; wake < 3; wake++)
    for (size_t wait = 0; wait < 3; wait++)
      for (size_t limit = 0; limit < 4; limit++) {
        ringbus_ring *ring = make(wakes[wake]);
        ringbus_consumer *consumer = consumer_with(ring, waits[wait]);
        ringbus_producer *producer;
        ringbus_observer *observer = test_observer(ring);
        cr_result(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, limits[limit]), -ETIMEDOUT);
        producer = producer_with(ring, waits[wait]);
        cr_result(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, limits[limit]), 0);
        cr_result(ringbus_ring_wait_for(ring, RINGBUS_CONSUMER, limits[limit]), 0);
        cr_result(ringbus_consumer_wait(consumer, limits[limit]), -ETIMEDOUT);
        cr_result(ringbus_observer_wait(observer, limits[limit]), -ETIMEDOUT);
        cr_result(ringbus_producer_wait(producer, 4000, 0, limits[limit]), 0);
        cr_result(ringbus_producer_drain(producer, limits[limit]), 0);
        cr_result(ringbus_producer_send(producer, test_content(0), 4000, 0), 0);
        cr_result(ringbus_producer_wait(producer, 4000, 0, limits[limit]), -ETIMEDOUT);
        cr_result(ringbus_producer_drain(producer, limits[limit]), -ETIMEDOUT);
        cr_result(ringbus_consumer_wait(consumer, limits[limit]), 0);
        cr_result(ringbus_observer_wait(observer, limits[limit]), 0);
        ringbus_observer_detach(observer);
        ringbus_consumer_detach(consumer);
        ringbus_producer_detach(producer);
        cr_result(ringbus_ring_close(ring), 0);
      }
}

static void on_signal(int signal) { (void)signal; }

static void interrupt_until_done(struct job *job) {
  struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
  REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
  while (!__atomic_load_n(&job->done, __ATOMIC_ACQUIRE)) { /* one may come before it sleeps */
    pthread_kill(job->thread, SIGUSR1);
    test_sleep_us(1000);
  }
  cr_result(result_of(job), -EINTR);
}

Test(waiting, a_signal_ends_a_sleep, .timeout = 60) {
  for (size_t wake = 0; wake < 2; wake++) {
    ringbus_ring *ring = make(wakes[wake]);
    struct job job = {.ring = ring};
    struct sigaction action = {.sa_handler = on_signal};
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    run(&job, wait_for_producer);
    interrupt_until_done(&job);
    job.producer = producer_with(ring, RINGBUS_WAIT_BLOCK);
    job.consumer = consumer_with(ring, RINGBUS_WAIT_BLOCK);
    run(&job, wait_for_data);
    interrupt_until_done(&job);
    cr_result(ringbus_producer_send(job.producer, test_content(0), 4000, 0), 0);
    run(&job, wait_for_room);
    interrupt_until_done(&job);
    run(&job, wait_for_drain);
    interrupt_until_done(&job);
  }
}

/* ---------------------------------------------------------------- what wakes a sleeper */

Test(waiting, a_sleeping_consumer_wakes_when_the_stream_ends, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++) {
    ringbus_ring *ring = make(wakes[wake]);
    struct job job = {.ring = ring, .consumer = consumer_with(ring, RINGBUS_WAIT_BLOCK)};
    ringbus_producer *producer = test_producer(ring);
    run(&job, wait_for_data);
    let_it_sleep();
    cr_result(ringbus_producer_finish(producer), 0);
    cr_result(result_of(&job), -EPIPE);
  }
}

Test(waiting, everybody_who_sleeps_wakes_when_the_ring_is_retired, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++) {
    struct ringbus_create_options options = {.capacity = 4096, .wake = wakes[wake]};
    ringbus_ring *ring = test_ring("retired", &options);
    struct job consuming = {.ring = ring, .consumer = consumer_with(ring, RINGBUS_WAIT_BLOCK)};
    struct job producing = {.ring = ring, .producer = producer_with(ring, RINGBUS_WAIT_BLOCK)};
    struct job observing = {.ring = ring, .observer = test_observer(ring)};
    struct job present = {.ring = ring};
    ringbus_consumer *lazy = test_consumer(ring, "lazy"); /* for its sake there is no room */
    static char buffer[4096];
    cr_result(ringbus_producer_send(producing.producer, test_content(0), 4000, 0), 0);
    cr_result(ringbus_observer_recv(observing.observer, buffer, sizeof buffer, NULL), 0);
    cr_result(ringbus_consumer_recv(consuming.consumer, buffer, sizeof buffer, NULL), 0);
    run(&consuming, wait_for_data);
    run(&producing, wait_for_room);
    run(&observing, wait_as_observer);
    let_it_sleep();
    cr_result(ringbus_ring_remove(test_path("retired"), false), -EBUSY);
    cr_result(ringbus_ring_remove(test_path("retired"), true), 0);
    cr_result(result_of(&consuming), -ESTALE);
    cr_result(result_of(&producing), -ESTALE);
    cr_result(result_of(&observing), -ESTALE);
    run(&present, wait_for_producer);
    cr_result(result_of(&present), -ESTALE);
    cr_result(ringbus_consumer_detach(lazy), 0);
    cr_result(ringbus_producer_detach(producing.producer), 0);
    cr_result(ringbus_consumer_detach(consuming.consumer), 0);
    cr_result(ringbus_observer_detach(observing.observer), 0);
    cr_result(ringbus_ring_close(ring), 0);
  }
}

Test(waiting, a_producer_that_waits_for_room_wakes_when_the_slow_group_leaves_or_is_removed,
     .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++) {
    ringbus_ring *ring = make(wakes[wake]);
    struct job job = {.ring = ring, .producer = producer_with(ring, RINGBUS_WAIT_BLOCK)};
    ringbus_consumer *slow = test_consumer(ring, NULL), *keeps = test_consumer(ring, "keeps");
    cr_result(ringbus_producer_send(job.producer, test_content(0), 4000, 0), 0);
    cr_result(ringbus_consumer_recv(keeps, (char[4096]){0}, 4096, NULL), 0);
    run(&job, wait_for_room);
    let_it_sleep();
    cr_result(ringbus_consumer_detach(slow), 0);
    cr_result(result_of(&job), 0);

    slow = test_consumer(ring, "slow");
    cr_result(ringbus_producer_send(job.producer, test_content(0), 4000, 0), 0);
    cr_result(ringbus_consumer_recv(keeps, (char[4096]){0}, 4096, NULL), 0);
    cr_result(ringbus_consumer_detach(slow), 0);
    run(&job, wait_for_room);
    let_it_sleep();
    cr_result(ringbus_ring_remove_group(ring, "slow"), 0);
    cr_result(result_of(&job), 0);

    slow = test_consumer(ring, "slow");
    cr_result(ringbus_producer_send(job.producer, test_content(0), 4000, 0), 0);
    cr_result(ringbus_consumer_recv(keeps, (char[4096]){0}, 4096, NULL), 0);
    run(&job, wait_for_drain);
    let_it_sleep();
    cr_result(ringbus_consumer_seek(slow, RINGBUS_NEWEST, 0), 0);
    cr_result(result_of(&job), 0);
    ringbus_consumer_detach(slow);
    ringbus_consumer_detach(keeps);
    ringbus_producer_detach(job.producer);
    cr_result(ringbus_ring_close(ring), 0);
  }
}

Test(waiting, an_observer_sees_by_polling_what_others_are_woken_for, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++) {
    ringbus_ring *ring = make(wakes[wake]);
    struct job job = {.ring = ring, .observer = test_observer(ring)};
    ringbus_producer *producer = test_producer(ring);
    run(&job, wait_as_observer);
    let_it_sleep();
    cr_result(ringbus_producer_send(producer, "x", 1, 0), 0);
    cr_result(result_of(&job), 0);
    cr_result(ringbus_observer_recv(job.observer, (char[8]){0}, 8, NULL), 0);
    run(&job, wait_as_observer);
    let_it_sleep();
    cr_result(ringbus_producer_finish(producer), 0);
    cr_result(result_of(&job), -EPIPE);
  }
}

/* ---------------------------------------------------------------- presence */

static int be_the_producer(struct test_child *self, void *context) {
  ringbus_producer *producer;
  (void)context;
  test_child_hear(self);
  producer = test_producer(test_open("ring"));
  REQUIRE_RESULT(ringbus_producer_send(producer, "last words", 10, 0), 0);
  test_child_say(self, 'p');
  test_child_hear(self);
  return 0;
}

Test(waiting, presence_of_a_peer_is_waited_for_and_its_death_is_seen, .timeout = 60) {
  for (size_t wake = 0; wake < 3; wake++) {
    struct ringbus_create_options options = {.capacity = 4096, .wake = wakes[wake]};
    ringbus_ring *ring = test_ring("ring", &options);
    struct test_child child = test_child_start(be_the_producer, NULL);
    struct ringbus_participant participant;
    struct ringbus_ring_info info;
    struct job job = {.ring = ring};
    cr_result(ringbus_ring_wait_for(ring, RINGBUS_CONSUMER, 0), -ETIMEDOUT);
    run(&job, wait_for_producer);
    let_it_sleep();
    test_child_say(&child, 'g');
    cr_result(result_of(&job), 0);
    cr_assert_eq(test_child_hear(&child), 'p');
    cr_result(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, 0), 0);
    cr_result(ringbus_ring_info(ring, &info), 0);
    cr_assert_eq(info.participants, 1);
    cr_result(ringbus_ring_participant(ring, 1, &participant), 0);
    cr_assert(participant.alive && participant.role == RINGBUS_PRODUCER);
    cr_assert_eq(participant.pid, (uint32_t)child.pid);
    cr_assert(participant.pid_is_local && participant.attached_ns != 0);

    cr_assert_eq(kill(child.pid, SIGSTOP), 0); /* stopped is alive, however long */
    test_sleep_us(20000);
    cr_result(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, 0), 0);
    test_child_kill(&child);

    cr_result(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, 0), -ETIMEDOUT);
    cr_result(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, 2000000), -ETIMEDOUT);
    cr_result(ringbus_ring_participant(ring, 1, &participant), 0);
    cr_assert(!participant.alive);
    cr_result(ringbus_ring_info(ring, &info), 0);
    cr_assert_eq(info.participants, 0);
    cr_result(ringbus_ring_close(ring), 0);
    cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
  }
}

Test(waiting, a_reader_may_end_when_its_last_producer_is_dead, .timeout = 60) {
  struct ringbus_consumer_options ending = {.end_without_producer = true};
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_consumer *consumer, *patient = test_consumer(ring, NULL);
  struct job job;
  struct test_child child;
  char buffer[16];
  cr_result(ringbus_consumer_attach(ring, &ending, &consumer), 0);
  cr_result(ringbus_consumer_wait(consumer, 5000000), -ETIMEDOUT); /* never had one: waited for */
  child = test_child_start(be_the_producer, NULL);
  test_child_say(&child, 'g');
  cr_assert_eq(test_child_hear(&child), 'p');
  cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
  cr_result(ringbus_consumer_wait(consumer, 5000000), -ETIMEDOUT); /* it lives */
  job = (struct job){.ring = ring, .consumer = consumer};
  run(&job, wait_for_data); /* asleep when the producer dies: seen at one of the looks */
  let_it_sleep();
  test_child_kill(&child);
  cr_result(result_of(&job), -EPIPE);
  cr_result(ringbus_consumer_recv(patient, buffer, sizeof buffer, NULL), 0);
  cr_result(ringbus_consumer_wait(patient, 5000000), -ETIMEDOUT); /* it did not choose to end */
  {
    ringbus_producer *next = test_producer(ring);
    cr_result(ringbus_consumer_wait(consumer, 5000000), -ETIMEDOUT); /* a successor: goes on */
    cr_result(ringbus_producer_send(next, "more", 4, 0), 0);
    cr_result(ringbus_producer_detach(next), 0);
    cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0); /* what is left comes first */
    cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
    cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), -EPIPE);
  }
}

Test(waiting, a_sleeping_reader_that_may_end_wakes_when_its_producer_leaves, .timeout = 60) {
  struct ringbus_consumer_options ending = {
      .end_without_producer = true, .wait = RINGBUS_WAIT_BLOCK, .look_ns = AN_HOUR};
  for (size_t wake = 0; wake < 3; wake++) {
    ringbus_ring *ring = make(wakes[wake]);
    ringbus_producer *producer = test_producer(ring);
    struct job job = {.ring = ring};
    cr_result(ringbus_consumer_attach(ring, &ending, &job.consumer), 0);
    run(&job, wait_for_data);
    let_it_sleep();
    cr_result(ringbus_producer_detach(producer), 0);
    cr_result(result_of(&job), -EPIPE);
  }
}

/* ---------------------------------------------------------------- the end of the stream */

Test(waiting, the_end_comes_after_the_last_message) {
  ringbus_ring *ring = make(RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_producer *producer = test_producer(ring), *late = NULL;
  ringbus_consumer *consumer = test_consumer(ring, "g");
  struct ringbus_message message, messages[4];
  struct ringbus_ring_info info;
  size_t count;
  void *data;
  char buffer[64];
  for (int i = 0; i < 6; i++)
    cr_result(ringbus_producer_send(producer, test_content(1), 20, 0), 0);
  cr_result(ringbus_producer_claim(producer, 20, 0, &data), 0);
  cr_result(ringbus_producer_finish(producer), 0);
  cr_result(ringbus_producer_finish(producer), 0);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert(info.closed && !info.retired && info.tail_count == 6);
  cr_result(ringbus_producer_commit(producer, 20), -EPIPE);
  cr_result(ringbus_producer_claim(producer, 20, 0, &data), -EPIPE);
  cr_result(ringbus_producer_send(producer, "x", 1, 0), -EPIPE);
  cr_result(ringbus_producer_send_batch(producer, &(struct iovec){buffer, 1}, 1, 0, false, NULL),
            -EPIPE);
  cr_result(ringbus_producer_wait(producer, 1, 0, RINGBUS_FOREVER), -EPIPE);
  cr_result(ringbus_producer_drain(producer, 0), -ETIMEDOUT);

  cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), 0);
  cr_result(ringbus_consumer_recv(consumer, buffer, 5, &message), -EMSGSIZE);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
  cr_result(ringbus_consumer_borrow_batch(consumer, messages, 4, &count), 0);
  cr_assert_eq(count, 4);
  cr_result(ringbus_consumer_borrow(consumer, &message), -EPIPE);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -EPIPE);
  cr_result(ringbus_consumer_borrow_batch(consumer, messages, 4, &count), -EPIPE);
  cr_assert_eq(count, 0);
  cr_result(ringbus_consumer_wait(consumer, 0), -EPIPE);
  cr_result(ringbus_producer_drain(producer, 0), -ETIMEDOUT);
  cr_result(ringbus_consumer_release(consumer), 0);
  cr_result(ringbus_producer_drain(producer, RINGBUS_FOREVER), 0);
  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_producer_attach(ring, NULL, &late), -EPIPE);
  cr_assert_null(late);
  cr_result(ringbus_consumer_detach(consumer), 0);
  consumer = test_consumer(ring, "late"); /* what is still there can be read by newcomers */
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_OLDEST, 0), 0);
  cr_result(ringbus_consumer_wait(consumer, 0), 0);
}

Test(waiting, leaving_is_not_the_end) {
  ringbus_ring *ring = make(RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer = test_consumer(ring, "g");
  char buffer[8];
  cr_result(ringbus_producer_send(producer, "one", 3, 0), 0);
  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -EAGAIN);
  producer = test_producer(ring);
  cr_result(ringbus_producer_send(producer, "two", 3, 0), 0);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
}

Test(waiting, drain_waits_for_gating_groups_only) {
  ringbus_ring *ring = make(RINGBUS_WAKE_BY_MEMBARRIER);
  ringbus_producer *producer = test_producer(ring);
  struct ringbus_consumer_options lapped_options = {.group = "l", .policy = RINGBUS_LAPPED};
  ringbus_consumer *gate, *lapped;
  char buffer[8];
  cr_result(ringbus_producer_send(producer, "one", 3, 0), 0);
  cr_result(ringbus_producer_drain(producer, 0), 0); /* there is nobody to wait for */
  cr_result(ringbus_consumer_attach(ring, &lapped_options, &lapped), 0);
  cr_result(ringbus_producer_drain(producer, 0), 0);
  gate = test_consumer(ring, "g");
  cr_result(ringbus_producer_drain(producer, 0), -ETIMEDOUT);
  cr_result(ringbus_consumer_recv(gate, buffer, sizeof buffer, NULL), 0);
  cr_result(ringbus_producer_drain(producer, 0), 0);
}
