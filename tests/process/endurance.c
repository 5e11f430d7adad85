/* SPDX-License-Identifier: MIT */
/* endurance.c - all topologies at full load, side by side, for a long time: every message is looked at, its
 * latency is logged by the minute, and at the end no process has more memory or descriptors than after its first
 * while. Beside each ring somebody comes and goes all the time, as producer, consumer or observer.
 *
 *   endurance [SECONDS]
 *
 * Latency is from just before a message is sent to when it has been read, on a machine with more processes than
 * cores: it is logged, and nothing depends on it. */
#include "../support.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mman.h>

enum { AUTHORS = 3, READERS = 4, MINUTE = 60, BUCKETS = 64 * 8, PROCESSES = 64, SLACK_KB = 256 };

static const struct topology {
  const char *name;
  struct ringbus_create_options options;
  int authors, readers;
  bool shared, observing;
} topologies[] = {
    {"one to one", {.capacity = 65536}, 1, 1, false, false},
    {"one to four groups", {.capacity = 65536}, 1, 4, false, false},
    {"many to one", {.capacity = 65536, .many_producers = true}, AUTHORS, 1, false, false},
    {"many to four groups", {.capacity = 65536, .many_producers = true}, AUTHORS, 4, false, false},
    {"one to a shared group", {.capacity = 65536}, 1, 4, true, false},
    {"many to a shared group",
     {.capacity = 65536, .many_producers = true, .wake = RINGBUS_WAKE_BY_FENCE},
     AUTHORS,
     4,
     true,
     false},
    {"overwriting",
     {.capacity = 65536, .many_producers = true, .overwrite = true},
     AUTHORS,
     2,
     false,
     false},
    {"observers", {.capacity = 65536, .no_group = RINGBUS_DROP}, 1, 2, false, true},
};
enum { TOPOLOGIES = sizeof topologies / sizeof topologies[0] };

static struct shared {
  uint64_t stop;
  uint64_t sent, received;
  uint64_t
      latency[BUCKETS]; /* of messages read since the last look, by quarters of powers of two */
} * shared;

struct part {
  const struct topology *topology;
  int number; /* of the author or reader */
};

static struct test_child children[PROCESSES];
static int child_count;

static bool stopping(void) { return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED); }
static void count(uint64_t *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

/* ---------------------------------------------------------------- latency */

static unsigned bucket_of(uint64_t ns) {
  if (ns < 8)
    return (unsigned)ns;
  unsigned power = 63u - (unsigned)__builtin_clzll(ns);
  return (power - 2) * 8 + (unsigned)(ns >> (power - 3) & 7);
}

static uint64_t top_of(unsigned bucket) {
  return bucket < 8 ? bucket : ((uint64_t)(8 + bucket % 8 + 1) << (bucket / 8 - 1)) - 1;
}

static double quantile_us(const uint64_t *latency, double quantile) {
  uint64_t all = 0, seen = 0;
  unsigned last = 0;
  for (unsigned i = 0; i < BUCKETS; i++)
    all += latency[i];
  for (unsigned i = 0; i < BUCKETS && (double)seen < quantile * (double)all; i++) {
    seen += latency[i];
    last = latency[i] ? i : last;
  }
  return (double)top_of(last) / 1000;
}

/* ---------------------------------------------------------------- the roles */

/* How a message begins; the rest follows from it. */
struct head {
  uint32_t author, length;
  uint64_t number, sent_at;
};

static uint32_t length_of(uint64_t author, uint64_t number) {
  return (uint32_t)(sizeof(struct head) + (number * 37 + author * 101) % 300);
}

static int write_on(struct test_child *self, void *context) {
  const struct part *part = context;
  ringbus_producer *producer = test_producer(test_open(part->topology->name));
  uint32_t author = (uint32_t)part->number;
  (void)self;
  for (uint64_t number = 0; !stopping(); number++) {
    struct head head = {author, length_of(author, number), number, 0};
    void *data;
    int result;
    while ((result = ringbus_producer_claim(producer, head.length, 0, &data)) == -EAGAIN &&
           !stopping()) {
      result = ringbus_producer_wait(producer, head.length, 0, 100000000);
      REQUIRE(result == 0 || result == -ETIMEDOUT);
    }
    if (result == -EAGAIN)
      break;
    REQUIRE_RESULT(result, 0);
    head.sent_at = test_now_ns();
    memcpy(data, &head, sizeof head);
    memcpy((char *)data + sizeof head, test_content(number * 4 + author),
           head.length - sizeof head);
    REQUIRE_RESULT(ringbus_producer_commit(producer, head.length), 0);
    count(&shared->sent);
  }
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return 0;
}

/* What an author's next message is for this reader: exactly, or at least, where some may be lost or go to others. */
static void look_at(const void *data, uint32_t length, uint64_t next[AUTHORS], bool all) {
  struct head head;
  REQUIRE(length >= sizeof head);
  memcpy(&head, data, sizeof head);
  REQUIRE(head.author < AUTHORS && head.length == length);
  REQUIRE(length == length_of(head.author, head.number));
  REQUIRE(memcmp((const char *)data + sizeof head, test_content(head.number * 4 + head.author),
                 length - sizeof head) == 0);
  REQUIRE(all ? head.number == next[head.author] : head.number >= next[head.author]);
  next[head.author] = head.number + 1;
  count(&shared->latency[bucket_of(test_now_ns() - head.sent_at)]);
  count(&shared->received);
}

static int read_on(struct test_child *self, void *context) {
  static const char *const names[READERS] = {"a", "b", "c", "d"};
  const struct part *part = context;
  const struct topology *topology = part->topology;
  struct ringbus_consumer_options options = {.group = topology->shared ? "s" : names[part->number],
                                             .shared = topology->shared};
  bool may_lose = topology->options.overwrite;
  ringbus_consumer *consumer;
  struct ringbus_message message;
  uint64_t next[AUTHORS] = {0};
  char copy[1024];
  REQUIRE_RESULT(ringbus_consumer_attach(test_open(topology->name), &options, &consumer), 0);
  test_child_say(self, 'a');
  for (;;) {
    int result = may_lose ? ringbus_consumer_recv(consumer, copy, sizeof copy, &message)
                          : ringbus_consumer_borrow(consumer, &message);
    if (result == 0) {
      REQUIRE(!message.redelivered);
      look_at(may_lose ? copy : message.data, message.length, next, !may_lose && !topology->shared);
      REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
    } else if (result == -EAGAIN) {
      if (stopping() && ringbus_consumer_wait(consumer, 0) == -ETIMEDOUT)
        break;
      result = ringbus_consumer_wait(consumer, 100000000);
      REQUIRE(result == 0 || result == -ETIMEDOUT);
    } else {
      REQUIRE(result == -EOVERFLOW && may_lose);
    }
  }
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return 0;
}

static int observe_on(struct test_child *self, void *context) {
  const struct part *part = context;
  ringbus_observer *observer = test_observer(test_open_read_only(part->topology->name));
  struct ringbus_message message;
  uint64_t next[AUTHORS] = {0};
  char copy[1024];
  test_child_say(self, 'a');
  while (!stopping()) {
    int result = ringbus_observer_recv(observer, copy, sizeof copy, &message);
    if (result == 0)
      look_at(copy, message.length, next, false);
    else if (result == -EAGAIN)
      result = ringbus_observer_wait(observer, 100000000);
    REQUIRE(result == 0 || result == -EOVERFLOW || result == -ETIMEDOUT);
  }
  REQUIRE_RESULT(ringbus_observer_detach(observer), 0);
  return 0;
}

/* Comes and goes, at all rings, in what it holds up nobody. */
static int come_and_go(struct test_child *self, void *context) {
  uint64_t random = 1;
  struct ringbus_message message;
  char copy[1024];
  (void)self, (void)context;
  for (uint64_t turn = 0; !stopping(); turn++) {
    const struct topology *topology = &topologies[turn % TOPOLOGIES];
    struct ringbus_consumer_options options = {.policy = RINGBUS_LAPPED, .start = RINGBUS_NEWEST};
    ringbus_ring *ring = test_open(topology->name);
    ringbus_consumer *consumer;
    ringbus_observer *observer;
    ringbus_producer *producer;
    void *data;
    REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &consumer), 0);
    ringbus_consumer_recv(consumer, copy, sizeof copy, &message);
    REQUIRE_RESULT(ringbus_observer_attach(ring, NULL, &observer), 0);
    ringbus_observer_recv(observer, copy, sizeof copy, &message);
    if (topology->options.many_producers) {
      REQUIRE_RESULT(ringbus_producer_attach(ring, NULL, &producer), 0);
      ringbus_producer_claim(producer, test_random(&random) % 500, 0, &data); /* and gives it up */
      REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
    }
    REQUIRE_RESULT(ringbus_observer_detach(observer), 0);
    REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
    REQUIRE_RESULT(ringbus_ring_close(ring), 0);
    test_sleep_us(2000);
  }
  return 0;
}

/* ---------------------------------------------------------------- what they use */

struct use {
  uint64_t memory_kb, descriptors;
};

static struct use use_of(pid_t pid) {
  char path[64], line[256];
  struct use use = {0, 0};
  snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  FILE *status = fopen(path, "re");
  REQUIRE(status);
  while (fgets(line, sizeof line, status))
    if (strncmp(line, "VmRSS:", 6) == 0)
      use.memory_kb = strtoull(line + 6, NULL, 10);
  fclose(status);
  snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
  DIR *directory = opendir(path);
  REQUIRE(directory);
  while (readdir(directory))
    use.descriptors++;
  closedir(directory);
  return use;
}

static void start(int (*body)(struct test_child *, void *), const struct topology *topology,
                  int number, bool says) {
  struct part part = {topology, number};
  REQUIRE(child_count < PROCESSES);
  children[child_count] = test_child_start(body, &part);
  if (says)
    REQUIRE(test_child_hear(&children[child_count]) == 'a');
  child_count++;
}

static uint64_t take(uint64_t *counter) {
  return __atomic_exchange_n(counter, 0, __ATOMIC_RELAXED);
}

int main(int argc, char **argv) {
  uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : test_scaled(3, 1800);
  /* Until then each has met every part of its ring, and all that it will ever do. */
  uint64_t settled_at = seconds >= 2 * MINUTE ? MINUTE : seconds / 2;
  struct use settled[PROCESSES] = {{0, 0}}, now;
  uint64_t sent = 0, received = 0, grown_kb = 0, other_descriptors = 0;
  double worst_us = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  for (const struct topology *t = topologies; t < topologies + TOPOLOGIES; t++) {
    REQUIRE_RESULT(ringbus_ring_close(test_ring(t->name, &t->options)), 0);
    for (int i = 0; i < t->readers; i++)
      start(t->observing ? observe_on : read_on, t, i, true);
    for (int i = 0; i < t->authors; i++)
      start(write_on, t, i, false);
  }
  start(come_and_go, NULL, 0, false);
  for (uint64_t second = 1; second <= seconds; second++) {
    test_sleep_us(1000000);
    for (int i = 0; i < child_count; i++) {
      if (test_child_has_ended(&children[i]))
        return 1; /* it has said why */
      now = use_of(children[i].pid);
      if (second == settled_at)
        settled[i] = now;
      if (second <= settled_at)
        continue;
      uint64_t more =
          now.memory_kb > settled[i].memory_kb ? now.memory_kb - settled[i].memory_kb : 0;
      grown_kb = more > grown_kb ? more : grown_kb;
      /* Who comes and goes is met in the middle of it; the others have what they had. */
      other_descriptors += i + 1 < child_count && now.descriptors != settled[i].descriptors;
    }
    if (second % MINUTE && second != seconds)
      continue;
    uint64_t latency[BUCKETS], of_minute = take(&shared->received);
    for (unsigned i = 0; i < BUCKETS; i++)
      latency[i] = take(&shared->latency[i]);
    sent += take(&shared->sent);
    received += of_minute;
    double max_us = quantile_us(latency, 1);
    worst_us = max_us > worst_us ? max_us : worst_us;
    printf("after %llu s: %llu messages read, latency p50 %.1f p99 %.1f max %.0f us, memory grown "
           "by at most "
           "%llu KB\n",
           (unsigned long long)second, (unsigned long long)of_minute, quantile_us(latency, 0.5),
           quantile_us(latency, 0.99), max_us, (unsigned long long)grown_kb);
  }
  shared->stop = 1;
  for (int i = 0; i < child_count; i++)
    REQUIRE(test_child_status(&children[i]) == 0);
  sent += take(&shared->sent);
  received += take(&shared->received);
  printf("figure: long run | %llu s, %d topologies by %d processes, %llu messages sent, %llu read, "
         "worst latency "
         "%.0f us, each process grown by at most %llu KB and %llu descriptors\n",
         (unsigned long long)seconds, TOPOLOGIES, child_count, (unsigned long long)sent,
         (unsigned long long)received, worst_us, (unsigned long long)grown_kb,
         (unsigned long long)other_descriptors);
  REQUIRE(sent > 0 && received > 0 && other_descriptors == 0 && grown_kb <= SLACK_KB);
  return 0;
}
