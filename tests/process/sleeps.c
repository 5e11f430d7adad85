/* SPDX-License-Identifier: MIT */
/* sleeps.c - two processes that sleep for each other, again and again, and pause for random times before they
 * publish, release, or go to sleep, so that one often does the former while the other is about to do the latter.
 *
 *   answers   a message there, a message back: each sleeps until the other has answered
 *   room      one message fills the ring: one sleeps for a message, the other for room
 *
 * Whoever sleeps looks by itself only once an hour: a lost wake-up stops everything, and is reported.
 *
 *   sleeps [ROUNDS]    for each of four kinds */
#include "../support.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define AN_HOUR (INT64_C(3600) * 1000000000)
#define PATIENCE_S 60

static const struct kind {
  const char *name;
  struct ringbus_create_options options;
  bool answers;
} kinds[] = {
    {"answers, membarrier", {.capacity = 4096}, true},
    {"answers, fence", {.capacity = 4096, .wake = RINGBUS_WAKE_BY_FENCE}, true},
    {"room, membarrier", {.capacity = 4096}, false},
    {"room, fence, many",
     {.capacity = 4096, .wake = RINGBUS_WAKE_BY_FENCE, .many_producers = true},
     false},
};

static uint64_t rounds, random_, *progress;

static ringbus_producer *producer_of(const char *name) {
  struct ringbus_producer_options options = {.wait = RINGBUS_WAIT_BLOCK, .look_ns = AN_HOUR};
  ringbus_producer *producer;
  REQUIRE_RESULT(ringbus_producer_attach(test_open(name), &options, &producer), 0);
  return producer;
}

static ringbus_consumer *consumer_of(const char *name) {
  struct ringbus_consumer_options options = {.wait = RINGBUS_WAIT_BLOCK, .look_ns = AN_HOUR};
  ringbus_consumer *consumer;
  REQUIRE_RESULT(ringbus_consumer_attach(test_open(name), &options, &consumer), 0);
  return consumer;
}

/* About as long as it takes to fall asleep, or to be woken; now and then much longer, or not at all. */
static void pause_at_random(void) {
  uint64_t random = test_random(&random_);
  if (random % 1024 == 0)
    sched_yield();
  for (volatile uint64_t spins = random % 4 ? (random >> 10) % 4096 : 0; spins > 0; spins--)
    ;
}

static void publish(ringbus_producer *producer, const void *bytes, size_t length) {
  for (;;) {
    pause_at_random();
    int result = ringbus_producer_send(producer, bytes, length, 0);
    if (result == 0)
      return;
    REQUIRE_RESULT(result, -EAGAIN);
    pause_at_random();
    REQUIRE_RESULT(ringbus_producer_wait(producer, length, 0, RINGBUS_FOREVER), 0);
  }
}

static uint64_t receive(ringbus_consumer *consumer) {
  struct ringbus_message message;
  uint64_t number;
  int result;
  while ((result = ringbus_consumer_borrow(consumer, &message)) == -EAGAIN) {
    pause_at_random();
    REQUIRE_RESULT(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
  }
  REQUIRE_RESULT(result, 0);
  memcpy(&number, message.data, sizeof number);
  pause_at_random();
  REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
  return number;
}

static int begin(struct test_child *self, void *context) {
  const struct kind *kind = context;
  static unsigned char bytes[3900];
  ringbus_producer *producer = producer_of("there");
  ringbus_consumer *consumer = kind->answers ? consumer_of("back") : NULL;
  random_ = 1;
  test_child_say(self, 'a');
  REQUIRE(test_child_hear(self) == 'g');
  for (uint64_t number = 0; number < rounds; number++) {
    memcpy(bytes, &number, sizeof number);
    publish(producer, bytes, kind->answers ? sizeof number : sizeof bytes);
    if (kind->answers)
      REQUIRE(receive(consumer) == number);
  }
  return 0;
}

static int answer(struct test_child *self, void *context) {
  const struct kind *kind = context;
  ringbus_consumer *consumer = consumer_of("there");
  ringbus_producer *producer = kind->answers ? producer_of("back") : NULL;
  random_ = 2;
  test_child_say(self, 'a');
  for (uint64_t number = 0; number < rounds; number++) {
    REQUIRE(receive(consumer) == number);
    if (kind->answers)
      publish(producer, &number, sizeof number);
    __atomic_store_n(progress, number + 1, __ATOMIC_RELAXED);
  }
  return 0;
}

/* How often the children have slept. */
static uint64_t sleeps(void) {
  struct rusage usage;
  REQUIRE(getrusage(RUSAGE_CHILDREN, &usage) == 0);
  return (uint64_t)usage.ru_nvcsw;
}

static void go(const struct kind *kind) {
  struct kind copy = *kind;
  uint64_t last = 0, slept_before = sleeps();
  *progress = 0;
  const char *const names[] = {"there", "back"};
  for (int i = 0; i < 2; i++)
    REQUIRE_RESULT(ringbus_ring_close(test_ring(names[i], &kind->options)), 0);
  struct test_child two[] = {test_child_start(answer, &copy), test_child_start(begin, &copy)};
  for (int i = 0; i < 2; i++)
    REQUIRE(test_child_hear(&two[i]) == 'a');
  test_child_say(&two[1], 'g');
  for (int waited_ms = 0; !test_child_has_ended(&two[0]) || !test_child_has_ended(&two[1]);) {
    test_sleep_us(10000);
    uint64_t now = __atomic_load_n(progress, __ATOMIC_RELAXED);
    waited_ms = now == last ? waited_ms + 10 : 0;
    last = now;
    if (waited_ms > PATIENCE_S * 1000) {
      printf("bad: %s: everybody sleeps, in round %llu\n", kind->name, (unsigned long long)now);
      exit(1); /* the children end with it */
    }
  }
  for (int i = 0; i < 2; i++)
    REQUIRE(test_child_status(&two[i]) == 0);
  for (int i = 0; i < 2; i++)
    REQUIRE_RESULT(ringbus_ring_remove(test_path(names[i]), false), 0);
  printf("%s: %llu rounds, slept %llu times\n", kind->name, (unsigned long long)last,
         (unsigned long long)(sleeps() - slept_before));
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  rounds = argc > 1 ? strtoull(argv[1], NULL, 0) : test_scaled(4000, 2500000);
  progress =
      mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(progress != MAP_FAILED);
  test_directory();
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    go(&kinds[i]);
  printf("figure: no lost wake-up | %llu rounds, slept %llu times, woken by the other each time\n",
         (unsigned long long)(rounds * sizeof kinds / sizeof kinds[0]),
         (unsigned long long)sleeps());
  return 0;
}
