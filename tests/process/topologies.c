/* SPDX-License-Identifier: MIT */
/* topologies.c - who may write to and read from one ring, as processes of their own, more of them than
 * there are cores: one or several producers; one or several groups; shared groups of two and of four
 * members; rings that overwrite. In each wake mode, with each way to wait, around small rings many times
 * and around larger ones.
 *
 * Every byte is looked at. Groups that are waited for see every message, each author's in its order, and
 * all in the same order. Shared groups see each message once. Where messages may be lost, what was seen
 * and what was lost is all there was, and what two readers have both seen they have seen at the same
 * place.
 *
 * From the table of bugs that such rings have had:
 *   "lost wake-up: waiters flag and tail cross in the store buffers": a run would not end
 *   "used > capacity taken for huge free space", "producer position loaded before consumer position": a
 *     message would be missing, torn, or come twice */
#include "../support.h"

#include <sched.h>
#include <sys/mman.h>

#define MOST_AUTHORS 4
#define MOST_GROUPS 4
#define MOST_MEMBERS 4
#define MOST_BYTES 700u

enum reading { ALONE, SHARED, LAPPED, OBSERVING };

struct topology {
  int authors, groups, members; /* members: of each group that is shared */
  enum reading reading;
  bool overwrite;
};

struct run {
  struct topology topology;
  enum ringbus_wake wake;
  enum ringbus_wait wait;
  uint64_t capacity, start, messages; /* of each author */
};

/* What the processes tell the test, outside of the ring. */
#define MOST_MESSAGES UINT64_C(4000000)
static struct result {
  uint64_t hash[MOST_GROUPS]; /* of all (author, number) in the order seen */
  uint64_t seen[MOST_GROUPS], lost[MOST_GROUPS], end[MOST_GROUPS];
  uint64_t ordinal[MOST_MESSAGES];                 /* which message has this count before it, + 1 */
  unsigned char times[MOST_GROUPS][MOST_MESSAGES]; /* that a shared group's members had it */
} * result;

struct part {
  const struct run *run;
  int number, member;
};

static size_t length_of(uint64_t author, uint64_t number) {
  return 16 + (number * 37 + author * 101) % (MOST_BYTES - 16);
}

static uint32_t tag_of(uint64_t author, uint64_t number) {
  return number % 3 ? (uint32_t)(number * 4 + author) : 0;
}

static uint64_t index_of(const struct run *run, uint64_t author, uint64_t number) {
  return author * run->messages + number;
}

/* Who wrote which; all of the rest belongs to that. */
static void fill(void *data, uint64_t author, uint64_t number) {
  memcpy(data, test_content(number * 4 + author), length_of(author, number));
  memcpy(data, &author, 8);
  memcpy((char *)data + 8, &number, 8);
}

static void check(const struct run *run, const struct ringbus_message *message, uint64_t *author,
                  uint64_t *number) {
  REQUIRE(message->length >= 16);
  memcpy(author, message->data, 8);
  memcpy(number, (const char *)message->data + 8, 8);
  REQUIRE(*author < (uint64_t)run->topology.authors && *number < run->messages);
  REQUIRE(message->length == length_of(*author, *number));
  REQUIRE(message->tag == tag_of(*author, *number));
  REQUIRE(memcmp((const char *)message->data + 16, test_content(*number * 4 + *author) + 16,
                 message->length - 16) == 0);
}

/* ---------------------------------------------------------------- authors */

/* One after the other: sent, claimed and committed (some shorter than claimed, some after a claim that
 * is given up), and in batches. */
static int publish(ringbus_producer *producer, uint64_t author, uint64_t number, uint64_t end,
                   uint64_t *random, size_t *sent) {
  static unsigned char bytes[8][MOST_BYTES];
  struct iovec batch[8];
  size_t length = length_of(author, number), count = 0;
  uint32_t tag = tag_of(author, number);
  void *data;
  int done;
  *sent = 0;
  switch (test_random(random) % 4) {
  case 0:
    done = ringbus_producer_claim(producer, length + test_random(random) % 100, tag, &data);
    if (done != 0)
      return done;
    if (test_random(random) % 4 == 0)
      return ringbus_producer_abort(producer);
    fill(data, author, number);
    if (test_random(random) % 50 == 0)
      sched_yield(); /* the others go on behind an open claim */
    done = ringbus_producer_commit(producer, length);
    *sent = done == 0;
    return done;
  case 1: /* those of a batch have one tag */
    while (count < 8 && number + count < end && tag_of(author, number + count) == tag) {
      fill(bytes[count], author, number + count);
      batch[count] = (struct iovec){bytes[count], length_of(author, number + count)};
      count++;
    }
    return ringbus_producer_send_batch(producer, batch, count, tag, test_random(random) % 2, sent);
  default:
    fill(bytes[0], author, number);
    done = ringbus_producer_send(producer, bytes[0], length, tag);
    *sent = done == 0;
    return done;
  }
}

static int write_all(struct test_child *self, void *context) {
  const struct part *part = context;
  const struct run *run = part->run;
  struct ringbus_producer_options options = {.wait = run->wait};
  ringbus_producer *producer;
  uint64_t author = (uint64_t)part->number, number = 0, random = author + 1;
  REQUIRE_RESULT(ringbus_producer_attach(test_open("ring"), &options, &producer), 0);
  test_child_say(self, 'a');
  REQUIRE(test_child_hear(self) == 'g');
  while (number < run->messages) {
    size_t sent;
    int done = publish(producer, author, number, run->messages, &random, &sent);
    number += sent;
    if (done == -EAGAIN)
      REQUIRE_RESULT(ringbus_producer_wait(producer, MOST_BYTES + 100, 1, RINGBUS_FOREVER), 0);
    else
      REQUIRE_RESULT(done, 0);
    if (test_random(&random) % 200 == 0)
      sched_yield();
  }
  REQUIRE_RESULT(ringbus_producer_drain(producer, RINGBUS_FOREVER), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  return 0;
}

/* ---------------------------------------------------------------- readers */

/* For each reader: each author's numbers ascend, without a gap where nothing may be lost. */
struct seen {
  uint64_t next[MOST_AUTHORS], hash, count;
};

static void see(const struct part *part, struct seen *seen, const struct ringbus_message *message,
                uint64_t count) {
  const struct run *run = part->run;
  uint64_t author, number, before;
  check(run, message, &author, &number);
  REQUIRE(number >= seen->next[author]);
  if (run->topology.reading == ALONE && !run->topology.overwrite)
    REQUIRE(number == seen->next[author]);
  seen->next[author] = number + 1;
  seen->hash = (seen->hash ^ (index_of(run, author, number) + 1)) * UINT64_C(0x100000001b3);
  seen->count++;
  if (run->topology.reading == SHARED) {
    REQUIRE(!message->redelivered);
    REQUIRE(__atomic_fetch_add(&result->times[part->number][index_of(run, author, number)], 1,
                               __ATOMIC_SEQ_CST) == 0);
    return;
  }
  before = __atomic_exchange_n(&result->ordinal[count], index_of(run, author, number) + 1,
                               __ATOMIC_SEQ_CST);
  REQUIRE(before == 0 || before == index_of(run, author, number) + 1);
}

/* One in place, the next in batches, the next by copy. */
static int read_some(ringbus_consumer *consumer, int way, uint64_t *random,
                     struct ringbus_message *messages, void *buffer, size_t *count) {
  *count = 1;
  if (way % 3 == 0)
    return ringbus_consumer_borrow(consumer, messages);
  if (way % 3 == 1)
    return ringbus_consumer_borrow_batch(consumer, messages, 1 + test_random(random) % 16, count);
  return ringbus_consumer_recv(consumer, buffer, MOST_BYTES, messages);
}

/* What may be overwritten while it is looked at is copied first, and believed afterwards. */
static bool keep(ringbus_consumer *consumer, struct ringbus_message *messages, size_t count) {
  static unsigned char copies[16][65536];
  for (size_t i = 0; i < count; i++)
    messages[i].data = memcpy(copies[i], messages[i].data, messages[i].length);
  return ringbus_consumer_still_valid(consumer) == 0;
}

static int read_all(struct test_child *self, void *context) {
  static const char *const names[MOST_GROUPS] = {"a", "b", "c", "d"};
  const struct part *part = context;
  const struct topology *topology = &part->run->topology;
  bool may_lose = topology->overwrite || topology->reading == LAPPED;
  struct ringbus_consumer_options options = {.group = names[part->number],
                                             .shared = topology->reading == SHARED,
                                             .policy = topology->reading == LAPPED ? RINGBUS_LAPPED
                                                                                   : RINGBUS_GATE,
                                             .wait = part->run->wait};
  struct ringbus_message messages[16];
  unsigned char buffer[MOST_BYTES];
  struct seen seen = {.hash = UINT64_C(0xcbf29ce484222325)};
  ringbus_consumer *consumer;
  uint64_t random = (uint64_t)(part->number * 10 + part->member), lost, end;
  REQUIRE_RESULT(ringbus_consumer_attach(test_open("ring"), &options, &consumer), 0);
  test_child_say(self, 'a');
  for (;;) {
    size_t count;
    uint64_t at;
    int way = part->number + part->member;
    int done = read_some(consumer, way, &random, messages, buffer, &count);
    if (done == -EPIPE)
      break;
    if (done == -EAGAIN) {
      done = ringbus_consumer_wait(consumer, RINGBUS_FOREVER);
      REQUIRE(done == 0 || done == -EPIPE);
      continue;
    }
    if (done == -EOVERFLOW && may_lose)
      continue;
    REQUIRE_RESULT(done, 0);
    REQUIRE_RESULT(ringbus_consumer_tell(consumer, NULL, &at), 0);
    if (may_lose && way % 3 != 2 && !keep(consumer, messages, count)) {
      seen.count += count; /* seen too late to be believed */
    } else {
      for (size_t i = 0; i < count; i++)
        see(part, &seen, &messages[i], at - count + i);
    }
    REQUIRE_RESULT(ringbus_consumer_release(consumer), 0);
  }
  REQUIRE_RESULT(ringbus_consumer_lost(consumer, &lost, NULL), 0);
  REQUIRE_RESULT(ringbus_consumer_tell(consumer, NULL, &end), 0);
  result->hash[part->number] = seen.hash;
  result->lost[part->number] = lost;
  result->end[part->number] = end;
  __atomic_fetch_add(&result->seen[part->number], seen.count, __ATOMIC_SEQ_CST);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  return 0;
}

static int observe_all(struct test_child *self, void *context) {
  const struct part *part = context;
  unsigned char buffer[MOST_BYTES];
  struct ringbus_message message;
  struct seen seen = {.hash = 0};
  ringbus_observer *observer = test_observer(test_open_read_only("ring"));
  uint64_t count, lost;
  test_child_say(self, 'a');
  for (;;) {
    int done = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
    if (done == -EPIPE)
      break;
    if (done == -EAGAIN) {
      done = ringbus_observer_wait(observer, RINGBUS_FOREVER);
      REQUIRE(done == 0 || done == -EPIPE);
    } else if (done == 0) {
      REQUIRE_RESULT(ringbus_observer_tell(observer, NULL, &count), 0);
      see(part, &seen, &message, count - 1);
    } else {
      REQUIRE_RESULT(done, -EOVERFLOW);
    }
  }
  REQUIRE_RESULT(ringbus_observer_lost(observer, &lost, NULL), 0);
  REQUIRE_RESULT(ringbus_observer_tell(observer, NULL, &count), 0);
  result->seen[part->number] = seen.count;
  result->lost[part->number] = lost;
  result->end[part->number] = count;
  REQUIRE_RESULT(ringbus_observer_detach(observer), 0);
  return 0;
}

/* ---------------------------------------------------------------- the run */

static void check_results(const struct run *run) {
  const struct topology *topology = &run->topology;
  uint64_t total = run->messages * (uint64_t)topology->authors;
  for (int group = 0; group < topology->groups; group++) {
    if (topology->reading == SHARED) {
      REQUIRE(result->seen[group] == total);
      continue;
    }
    REQUIRE(result->end[group] == total);
    REQUIRE(result->seen[group] + result->lost[group] == total);
    if (topology->reading == ALONE && !topology->overwrite) {
      REQUIRE(result->lost[group] == 0);
      REQUIRE(result->hash[group] == result->hash[0]);
    }
  }
}

static void go(const struct run *run) {
  const struct topology *topology = &run->topology;
  struct ringbus_create_options options = {
      .capacity = run->capacity,
      .wake = run->wake,
      .many_producers = topology->authors > 1,
      .overwrite = topology->overwrite,
      .no_group = topology->reading == OBSERVING ? RINGBUS_DROP : RINGBUS_HOLD};
  ringbus_ring *ring = test_ring_starting_at("ring", &options, run->start);
  struct test_child authors[MOST_AUTHORS], readers[MOST_GROUPS * MOST_MEMBERS];
  struct ringbus_ring_info info;
  int reader_count = 0;
  uint64_t total = run->messages * (uint64_t)topology->authors;
  struct part part = {run, 0, 0};
  REQUIRE(total <= MOST_MESSAGES);
  result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(result != MAP_FAILED);
  for (part.number = 0; part.number < topology->groups; part.number++)
    for (part.member = 0; part.member < (topology->reading == SHARED ? topology->members : 1);
         part.member++) {
      readers[reader_count] =
          test_child_start(topology->reading == OBSERVING ? observe_all : read_all, &part);
      REQUIRE(test_child_hear(&readers[reader_count]) == 'a');
      reader_count++;
    }
  for (part.number = 0; part.number < topology->authors; part.number++) {
    authors[part.number] = test_child_start(write_all, &part);
    REQUIRE(test_child_hear(&authors[part.number]) == 'a');
  }
  for (int i = 0; i < topology->authors; i++)
    test_child_say(&authors[i], 'g');
  for (int i = 0; i < topology->authors; i++)
    REQUIRE(test_child_status(&authors[i]) == 0);
  ringbus_producer *last = test_producer(ring);
  REQUIRE_RESULT(ringbus_producer_finish(last), 0);
  REQUIRE_RESULT(ringbus_producer_detach(last), 0);
  for (int i = 0; i < reader_count; i++)
    REQUIRE(test_child_status(&readers[i]) == 0);
  REQUIRE_RESULT(ringbus_ring_info(ring, &info), 0);
  REQUIRE(info.participants == 0 && info.tail_count == total && info.recovered == 0);
  check_results(run);
  munmap(result, sizeof *result);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
}

int main(void) {
  static const struct topology topologies[] = {
      {1, 1, 0, ALONE, false},     {4, 1, 0, ALONE, false},   {1, 4, 0, ALONE, false},
      {4, 4, 0, ALONE, false},     {1, 1, 2, SHARED, false},  {1, 1, 4, SHARED, false},
      {4, 1, 2, SHARED, false},    {4, 2, 4, SHARED, false},  {1, 2, 0, LAPPED, false},
      {4, 2, 0, LAPPED, false},    {1, 4, 0, ALONE, true},    {4, 4, 0, ALONE, true},
      {1, 2, 0, OBSERVING, false}, {4, 2, 0, OBSERVING, true}};
  static const uint64_t capacities[] = {4096, 16384, 1 << 20, 8192};
  static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 128000, (UINT64_C(1) << 63) - 128000,
                                    UINT64_MAX - 127999};
  uint64_t runs = 0, messages = 0;
  /* In 36 rounds each topology meets each wake mode with each way to wait, and with each capacity. */
  for (uint64_t round = 0; round < test_scaled(2, 36); round++)
    for (size_t i = 0; i < sizeof topologies / sizeof topologies[0]; i++) {
      struct run run = {topologies[i],
                        (enum ringbus_wake)((i + round) % 3),
                        (enum ringbus_wait)((i / 3 + round / 3) % 3),
                        capacities[(i + round) % 4],
                        starts[(i / 4 + round) % 4],
                        test_scaled(4000, 50000) / (uint64_t)topologies[i].authors};
      if (run.wait == RINGBUS_WAIT_SPIN) /* many that spin on two cores take turns by time slice */
        run.messages /= 50;
      go(&run);
      messages += run.messages * (uint64_t)run.topology.authors;
      runs++;
    }
  printf("figure: topologies | %llu runs, %llu messages, every byte looked at\n",
         (unsigned long long)runs, (unsigned long long)messages);
  return 0;
}
