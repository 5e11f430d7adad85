/* SPDX-License-Identifier: MIT */
/* storm.c - processes of every role are killed at random moments, stopped and continued, and started
 * again: producers, consumers of groups that are waited for, members of shared groups, observers, those
 * that come and go, and one that repairs. Every message is looked at.
 *
 *   storm [KILLS [SEED]]
 *
 * What each process has done is kept in a log outside of it and of the ring:
 *   - An author numbers its messages. Before it sends some it notes how far they go, afterwards how many
 *     were sent. If it is killed in between, these are in doubt: they may be in the ring or not.
 *   - A consumer of a group that is waited for notes, before each release, what it will expect after it.
 *     Its successor must stand at one of its two last notes, and see each author's numbers from there on
 *     without a gap, but for those in doubt.
 *   - All such groups must see the same message at the same position with the same count before it.
 *   - A shared group must see each message that the others see; again only if it says so.
 *   - A shared group of members that want nothing twice must see nothing twice.
 *
 * Each round has a ring of its own: another size, wake mode, number of slots; many producers, one, or a
 * ring that overwrites. A storm proves little ("a random SIGKILL storm passed a ring with three known
 * bugs: 1,557 kills, 46 M messages"): all instructions are tried by the programs under tests/kill. It is
 * here for what those do not try: many processes at once, in every mixture of states. Of the table of
 * bugs that such rings have had it would see, sooner or later:
 *   "a cleaner kills or aborts live peers during start-up": those that come and go, and the repairer
 *   "a paused participant declared dead by timeout, wakes up and overwrites": the stopped ones
 *   "killed between commit and wake: the sleeper sleeps for ever": the storm would stand still */
#include "../support.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>

#define PRODUCERS 3
#define VISITORS 2 /* come and go, as producers or consumers */
#define AUTHORS (PRODUCERS + VISITORS)
#define GROUPS 2
#define SHARED 3  /* members of the shared group */
#define AT_MOST 2 /* members of the one that wants nothing twice */
#define BATCH 16
#define MOST_IN_DOUBT 20000u
#define MOST_GRANULES (UINT64_C(1) << 33) /* that a round may publish */
#define LEDGER UINT64_C(65536)            /* more messages than are ever in a ring */
#define KILLS_OF_A_ROUND UINT64_C(1000)
#define PATIENCE_S 60

/* ---------------------------------------------------------------- what is kept outside */

struct doubt {
  uint64_t from, to;
};

struct author {
  uint64_t intended;  /* all numbers before this may have been sent */
  uint64_t committed; /* all numbers before this were sent, or are in doubt */
  uint64_t doubts;
  struct doubt doubt[MOST_IN_DOUBT];
};

struct expectation {
  uint64_t count;
  uint64_t next[AUTHORS];
};

struct reader {
  struct expectation noted[2];
  uint64_t newer; /* which of them was noted last */
};

static struct logs {
  uint64_t stop, bad;
  uint64_t read[GROUPS + 2]; /* messages, with those that came again */
  struct author authors[AUTHORS];
  struct reader readers[GROUPS];
  uint64_t ledger[LEDGER]; /* of a count: its message, marked with the count's lap */
} * logs;
/* One bit for each granule ever published: a message that begins there was seen. */
static unsigned char *seen[GROUPS + 2];
enum { OF_SHARED = GROUPS, OF_AT_MOST };

static uint64_t load(uint64_t *note) { return __atomic_load_n(note, __ATOMIC_SEQ_CST); }
static void store(uint64_t *note, uint64_t value) {
  __atomic_store_n(note, value, __ATOMIC_SEQ_CST);
}

__attribute__((format(printf, 1, 2))) static void bad(const char *format, ...) {
  uint64_t number = __atomic_fetch_add(&logs->bad, 1, __ATOMIC_SEQ_CST);
  if (number >= 20)
    return;
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "bad: %s\n", text);
}

/* ---------------------------------------------------------------- the round */

static struct round {
  struct ringbus_create_options options;
  uint64_t start;
  unsigned long number;
} round_;

static bool is_one_producer(void) { return !round_.options.many_producers; }
static bool overwrites(void) { return round_.options.overwrite; }
static uint64_t granule_of(uint64_t position) {
  return (position - round_.start) >> (is_one_producer() ? 3 : 6);
}

static void set_round(unsigned long number) {
  static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 1024000, (UINT64_C(1) << 63) - 1024000,
                                    UINT64_MAX - 1023999};
  static const uint64_t capacities[] = {4096, 8192, 16384, 65536};
  static const uint32_t participants[] = {PRODUCERS + VISITORS + GROUPS + SHARED + AT_MOST, 16, 63};
  memset(&round_, 0, sizeof round_);
  round_.number = number;
  round_.start = starts[(number + number / 4) % 4];
  round_.options.capacity = capacities[number * 7 / 4 % 4];
  round_.options.wake = (enum ringbus_wake)(number % 3);
  round_.options.max_participants = participants[number / 2 % 3];
  round_.options.many_producers = number % 4 != 2;
  round_.options.overwrite = number % 4 == 3;
}

/* ---------------------------------------------------------------- messages */

struct head {
  uint64_t number;
  uint32_t author, tag;
};

static uint64_t mixed(uint64_t a, uint64_t b) {
  uint64_t state = a * 31 + b;
  return test_random(&state);
}

static size_t length_of(uint32_t author, uint64_t number) {
  uint64_t random = mixed(author, number);
  uint64_t most = random % 100 == 0  ? round_.options.capacity / 4
                  : random % 10 == 0 ? round_.options.capacity / 8
                                     : 250;
  return sizeof(struct head) + (random >> 8) % most;
}

static void fill(void *data, uint32_t author, uint64_t number, uint32_t tag) {
  struct head head = {number, author, tag};
  memcpy(data, &head, sizeof head);
  memcpy((char *)data + sizeof head, test_content(number * 16 + author),
         length_of(author, number) - sizeof head);
}

static bool is_right(const struct ringbus_message *message, struct head *head) {
  if (message->length < sizeof *head)
    return false;
  memcpy(head, message->data, sizeof *head);
  return head->author < AUTHORS && head->tag == message->tag &&
         message->length == length_of(head->author, head->number) &&
         memcmp((const char *)message->data + sizeof *head,
                test_content(head->number * 16 + head->author),
                message->length - sizeof *head) == 0;
}

/* False: it had been marked before. */
static bool mark(int group, uint64_t position) {
  uint64_t granule = granule_of(position);
  unsigned char bit = (unsigned char)(1u << granule % 8);
  REQUIRE(granule < MOST_GRANULES);
  return !(__atomic_fetch_or(&seen[group][granule / 8], bit, __ATOMIC_SEQ_CST) & bit);
}

/* Whoever knows the count before a message agrees with all others about which message that is. */
static void compare(const char *who, uint64_t count, uint64_t position, const struct head *head) {
  uint64_t *entry = &logs->ledger[count % LEDGER];
  uint64_t mine =
      mixed(mixed(position, head->number), head->author) << 16 | (count / LEDGER & 0xffff);
  uint64_t there = load(entry);
  while ((there & 0xffff) != (mine & 0xffff) || there == 0) {
    if ((int16_t)(mine - there) < 0)
      return; /* this process was stopped so long that nobody else remembers */
    if (__atomic_compare_exchange_n(entry, &there, mine, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return;
  }
  if (there != mine)
    bad("round %lu: %s: not the message that others saw, count %llu position %llu", round_.number,
        who, (unsigned long long)count, (unsigned long long)position);
}

static bool all_in_doubt(uint32_t author, uint64_t from, uint64_t to) {
  struct author *log = &logs->authors[author];
  while (from < to) {
    uint64_t at = load(&log->doubts);
    while (at > 0 && !(log->doubt[at - 1].from <= from && from < log->doubt[at - 1].to) &&
           log->doubt[at - 1].to > from)
      at--;
    if (at == 0 || !(log->doubt[at - 1].from <= from && from < log->doubt[at - 1].to))
      return false;
    from = log->doubt[at - 1].to;
  }
  return true;
}

/* ---------------------------------------------------------------- authors */

static struct ringbus_message batch_[BATCH];
static unsigned char buffer_[BATCH][65536];
static uint64_t random_;

static uint64_t below(uint64_t limit) { return test_random(&random_) % limit; }

static bool stopping(void) { return load(&logs->stop); }

static enum ringbus_wait some_wait(void) {
  return below(4) == 0 ? RINGBUS_WAIT_BLOCK : RINGBUS_WAIT_ADAPTIVE;
}

/* One way or another. Returns as send; *sent: how many. */
static int send_some(ringbus_producer *producer, uint32_t author, uint64_t number, size_t count,
                     size_t *sent) {
  struct iovec messages[BATCH];
  uint32_t tag = (uint32_t)below(3);
  size_t length = length_of(author, number);
  void *data;
  int result;
  *sent = 0;
  if (count > 1) {
    for (size_t i = 0; i < count; i++) {
      fill(buffer_[i], author, number + i, tag);
      messages[i] = (struct iovec){buffer_[i], length_of(author, number + i)};
    }
    return ringbus_producer_send_batch(producer, messages, count, tag, below(2), sent);
  }
  switch (below(3)) {
  case 0:
    result = ringbus_producer_claim(producer, length + below(200), tag, &data);
    if (result != 0)
      return result;
    if (below(4) == 0) { /* given up, in one of two ways */
      if (below(2))
        ringbus_producer_abort(producer);
      return -EAGAIN;
    }
    fill(data, author, number, tag);
    if (below(8) == 0)
      sched_yield(); /* to be killed here, or to be waited for */
    result = ringbus_producer_commit(producer, length);
    break;
  default:
    fill(buffer_[0], author, number, tag);
    result = ringbus_producer_send(producer, buffer_[0], length, tag);
  }
  *sent = result == 0;
  return result;
}

/* Until told to stop, or so many. */
static void write_some(ringbus_producer *producer, uint32_t author, uint64_t most) {
  struct author *log = &logs->authors[author];
  uint64_t number = load(&log->committed), polls = 0;
  while (most > 0 && !stopping()) {
    size_t count = below(3) ? 1 : 1 + below(4), sent;
    store(&log->intended, number + count);
    int result = send_some(producer, author, number, count, &sent);
    number += sent;
    store(&log->committed, number);
    most -= sent < most ? sent : most;
    if (result == -EAGAIN && sent == 0 && ++polls % (1 + below(2000)) == 0) {
      ringbus_producer_abort(producer);
      result = ringbus_producer_wait(producer, length_of(author, number) + 200, 1, 100000000);
      if (result != 0 && result != -ETIMEDOUT)
        bad("wait for room: %s", ringbus_strerror(result));
    } else if (result != 0 && result != -EAGAIN && result != -EMSGSIZE) {
      bad("send: %s", ringbus_strerror(result));
      return;
    }
    if (below(64) == 0)
      sched_yield();
  }
}

/* The slots may all be taken by the dead, or, in a ring with one producer, by a living one. */
static bool try_again(int result) {
  if (result != -ENOSPC && result != -EBUSY && result != 0)
    bad("attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  if (result == -ENOSPC || result == -EBUSY)
    test_sleep_us(500);
  return result != 0 && !stopping();
}

static ringbus_producer *attach_author(ringbus_ring *ring) {
  struct ringbus_producer_options options = {.wait = some_wait()};
  ringbus_producer *producer = NULL;
  while (try_again(ringbus_producer_attach(ring, &options, &producer)))
    ;
  return producer;
}

static int be_producer(struct test_child *self, void *context) {
  uint32_t author = (uint32_t) * (int *)context;
  ringbus_producer *producer = attach_author(test_open("ring"));
  (void)self;
  if (!producer)
    return 0;
  write_some(producer, author, UINT64_MAX);
  ringbus_producer_detach(producer);
  return 0;
}

/* ---------------------------------------------------------------- readers */

/* The next messages, in place or, if that may be, by copy; waits, or looks again and again. (recv releases
 * before its caller can note anything: whoever must not miss a message after a death does not use it.) */
static int read_some(ringbus_consumer *consumer, size_t *count, bool *copied) {
  for (uint64_t polls = below(2) ? 0 : below(3000);; polls--) {
    int result;
    *count = 1;
    *copied = overwrites() && below(4) == 0;
    if (*copied)
      result = ringbus_consumer_recv(consumer, buffer_[0], sizeof buffer_[0], batch_);
    else
      result = ringbus_consumer_borrow_batch(consumer, batch_, 1 + below(BATCH), count);
    if (result != -EAGAIN)
      return result;
    if (polls == 0) {
      result = ringbus_consumer_wait(consumer, RINGBUS_FOREVER);
      if (result != 0)
        return result;
      polls = 1;
    }
  }
}

static ringbus_consumer *attach_reader(ringbus_ring *ring,
                                       const struct ringbus_consumer_options *options) {
  ringbus_consumer *consumer = NULL;
  int result;
  do {
    result = ringbus_consumer_attach(ring, options, &consumer);
    if (result == -ENOSPC || result == -EBUSY)
      test_sleep_us(500);
  } while (result == -ENOSPC || result == -EBUSY);
  if (result != 0)
    bad("attach: %s: %s", ringbus_strerror(result), ringbus_error_detail());
  return consumer;
}

static void note(struct reader *log, const struct expectation *expected) {
  struct expectation *noted = &log->noted[load(&log->newer) ^ 1];
  store(&noted->count, UINT64_MAX);
  for (int author = 0; author < AUTHORS; author++)
    store(&noted->next[author], expected->next[author]);
  store(&noted->count, expected->count);
  store(&log->newer, load(&log->newer) ^ 1);
}

static bool resume(struct reader *log, uint64_t count, struct expectation *expected) {
  for (int i = 0; i < 2; i++) {
    const struct expectation *noted = &log->noted[(load(&log->newer) ^ (uint64_t)i) & 1];
    if (noted->count == count) {
      *expected = *noted;
      return true;
    }
  }
  return false;
}

static void check_next(int group, const struct ringbus_message *message,
                       struct expectation *expected) {
  struct head head;
  if (!is_right(message, &head)) {
    bad("round %lu: group %d: content at %llu", round_.number, group,
        (unsigned long long)message->position);
    return;
  }
  uint64_t *next = &expected->next[head.author];
  if (head.number < *next)
    bad("round %lu: group %d: author %u: number %llu after %llu", round_.number, group, head.author,
        (unsigned long long)head.number, (unsigned long long)*next - 1);
  if (!overwrites() && !all_in_doubt(head.author, *next, head.number))
    bad("round %lu: group %d: author %u: %llu to %llu missing", round_.number, group, head.author,
        (unsigned long long)*next, (unsigned long long)head.number - 1);
  *next = head.number + 1;
  compare("group", expected->count, message->position, &head);
  expected->count++;
  mark(group, message->position);
}

static int be_consumer(struct test_child *self, void *context) {
  static const char *const names[GROUPS] = {"first", "second"};
  int group = *(int *)context;
  struct ringbus_consumer_options options = {
      .group = names[group], .wait = some_wait(), .hand_back = (enum ringbus_hand_back)below(4)};
  ringbus_consumer *consumer = attach_reader(test_open("ring"), &options);
  struct expectation expected;
  uint64_t count, lost = 0;
  int result;
  (void)self;
  REQUIRE_RESULT(ringbus_consumer_tell(consumer, NULL, &count), 0);
  ringbus_consumer_lost(consumer, &lost, NULL);
  if (!resume(&logs->readers[group], count, &expected)) {
    if (!overwrites())
      bad("round %lu: group %d resumes at count %llu, not %llu or %llu", round_.number, group,
          (unsigned long long)count, (unsigned long long)logs->readers[group].noted[0].count,
          (unsigned long long)logs->readers[group].noted[1].count);
    expected = (struct expectation){.count = count};
  }
  for (;;) {
    size_t got;
    bool copied;
    result = read_some(consumer, &got, &copied);
    if (result == -EPIPE)
      break;
    if (result == -EOVERFLOW && overwrites()) {
      REQUIRE_RESULT(ringbus_consumer_tell(consumer, NULL, &expected.count), 0);
      continue;
    }
    if (result != 0) {
      bad("group %d: %s", group, ringbus_strerror(result));
      break;
    }
    if (overwrites()) { /* the bytes may be overwritten while they are looked at */
      for (size_t i = 0; i < got && !copied; i++)
        if (batch_[i].length <= sizeof buffer_[i])
          batch_[i].data = memcpy(buffer_[i], batch_[i].data, batch_[i].length);
      if (!copied && ringbus_consumer_still_valid(consumer) != 0) {
        ringbus_consumer_release(consumer);
        expected.count += got;
        continue;
      }
    }
    for (size_t i = 0; i < got; i++)
      check_next(group, &batch_[i], &expected);
    __atomic_fetch_add(&logs->read[group], got, __ATOMIC_SEQ_CST);
    note(&logs->readers[group], &expected);
    ringbus_consumer_release(consumer);
  }
  ringbus_consumer_detach(consumer);
  return result != -EPIPE;
}

static int be_member(struct test_child *self, void *context) {
  int group = *(int *)context;
  struct ringbus_consumer_options options = {.group =
                                                 group == OF_SHARED ? "shared" : "at most once",
                                             .shared = true,
                                             .at_most_once = group == OF_AT_MOST,
                                             .wait = some_wait()};
  ringbus_consumer *consumer = attach_reader(test_open("ring"), &options);
  int result;
  (void)self;
  for (;;) {
    size_t got;
    bool copied;
    result = read_some(consumer, &got, &copied);
    if (result != 0)
      break;
    for (size_t i = 0; i < got; i++) {
      struct head head;
      if (!is_right(&batch_[i], &head))
        bad("round %lu: member of %d: content at %llu", round_.number, group,
            (unsigned long long)batch_[i].position);
      if (group == OF_AT_MOST && batch_[i].redelivered)
        bad("round %lu: delivered again although nobody wants that", round_.number);
      if (!mark(group, batch_[i].position) && !batch_[i].redelivered)
        bad("round %lu: shared group %d: author %u number %llu came twice", round_.number, group,
            head.author, (unsigned long long)head.number);
    }
    __atomic_fetch_add(&logs->read[group], got, __ATOMIC_SEQ_CST);
    result = ringbus_consumer_release(consumer);
    if (result != 0)
      break;
  }
  if (result != -EPIPE)
    bad("member of %d: %s", group, ringbus_strerror(result));
  ringbus_consumer_detach(consumer);
  return result != -EPIPE;
}

/* Somebody who may miss messages: none that it sees is wrong, and it is told what it missed. */
struct onlooker {
  uint64_t next[AUTHORS];
};

static void look_at(struct onlooker *onlooker, const char *who, uint64_t count,
                    const struct ringbus_message *message) {
  struct head head;
  if (!is_right(message, &head)) {
    bad("round %lu: %s: content at %llu", round_.number, who,
        (unsigned long long)message->position);
    return;
  }
  if (head.number < onlooker->next[head.author])
    bad("round %lu: %s: author %u: number %llu after %llu", round_.number, who, head.author,
        (unsigned long long)head.number, (unsigned long long)onlooker->next[head.author] - 1);
  onlooker->next[head.author] = head.number + 1;
  compare(who, count, message->position, &head);
}

static int be_observer(struct test_child *self, void *context) {
  struct ringbus_observer_options options = {.start = below(2) ? RINGBUS_OLDEST : RINGBUS_NEWEST};
  ringbus_observer *observer;
  struct onlooker onlooker = {{0}};
  int result;
  (void)self;
  (void)context;
  result = ringbus_observer_attach(below(2) ? test_open_read_only("ring") : test_open("ring"),
                                   &options, &observer);
  if (result != 0) {
    bad("observer: %s", ringbus_strerror(result));
    return 1;
  }
  do {
    uint64_t count;
    result = ringbus_observer_recv(observer, buffer_[0], sizeof buffer_[0], batch_);
    if (result == 0) {
      REQUIRE_RESULT(ringbus_observer_tell(observer, NULL, &count), 0);
      look_at(&onlooker, "observer", count - 1, batch_);
    } else if (result == -EAGAIN) {
      result = ringbus_observer_wait(observer, RINGBUS_FOREVER);
    } else if (result == -EOVERFLOW) {
      result = 0;
    }
  } while (result == 0);
  if (result != -EPIPE)
    bad("observer: %s", ringbus_strerror(result));
  ringbus_observer_detach(observer);
  return result != -EPIPE;
}

static void read_for_a_while(ringbus_ring *ring) {
  struct ringbus_consumer_options options = {.policy = (enum ringbus_policy)below(3),
                                             .start = (enum ringbus_start)below(3),
                                             .max_lag = below(3) ? 0 : 1024};
  ringbus_consumer *consumer = attach_reader(ring, &options);
  struct onlooker onlooker = {{0}};
  for (uint64_t n = below(100); n && !stopping(); n--) {
    uint64_t count;
    int result = ringbus_consumer_recv(consumer, buffer_[0], sizeof buffer_[0], batch_);
    if (result == -EAGAIN)
      result = ringbus_consumer_wait(consumer, 1000000);
    else if (result == 0 && ringbus_consumer_tell(consumer, NULL, &count) == 0)
      look_at(&onlooker, "visitor", count - 1, batch_);
    if (result != 0 && result != -ETIMEDOUT && result != -EOVERFLOW)
      bad("visitor: %s", ringbus_strerror(result));
  }
  if (below(2))
    ringbus_consumer_borrow(consumer, batch_); /* left behind */
  ringbus_consumer_detach(consumer);
}

static int be_visitor(struct test_child *self, void *context) {
  uint32_t author = (uint32_t) * (int *)context;
  ringbus_ring *ring = test_open("ring");
  (void)self;
  while (!stopping()) {
    if (is_one_producer() || below(2)) {
      read_for_a_while(ring);
    } else {
      ringbus_producer *producer = attach_author(ring);
      void *data;
      if (!producer)
        break;
      write_some(producer, author, below(50));
      if (below(2))
        ringbus_producer_claim(producer, below(300), 0, &data);
      ringbus_producer_detach(producer);
    }
    if (below(4) == 0) {
      ringbus_ring_close(ring);
      ring = test_open("ring");
    }
  }
  return 0;
}

static int be_repairer(struct test_child *self, void *context) {
  ringbus_ring *ring = test_open("ring");
  (void)self;
  (void)context;
  while (!stopping()) {
    int result = ringbus_ring_repair(ring, NULL);
    /* -EBUSY: somebody stopped holds the table's lock */
    if (result != 0 && result != -EBUSY)
      bad("repair: %s: %s", ringbus_strerror(result), ringbus_error_detail());
    test_sleep_us((unsigned)below(3000));
  }
  return 0;
}

/* ---------------------------------------------------------------- the storm */

enum { ACTORS = PRODUCERS + VISITORS + GROUPS + SHARED + AT_MOST + 2 };

static struct actor {
  int (*be)(struct test_child *, void *);
  int number; /* of the author, or the group */
  bool writes, plays;
  struct test_child child;
} actors[ACTORS];

static int act(struct test_child *self, void *context) {
  struct actor *actor = context;
  return actor->be(self, &actor->number);
}

static void start(struct actor *actor) {
  random_ = mixed(random_, 1); /* of the child's, so that no two lives are alike */
  actor->child = test_child_start(act, actor);
}

static void cast(void) {
  struct actor *next = actors;
  for (int i = 0; i < PRODUCERS; i++)
    *next++ = (struct actor){
        .be = be_producer, .number = i, .writes = true, .plays = i == 0 || !is_one_producer()};
  for (int i = 0; i < VISITORS; i++)
    *next++ =
        (struct actor){.be = be_visitor, .number = PRODUCERS + i, .writes = true, .plays = true};
  for (int i = 0; i < GROUPS; i++)
    *next++ = (struct actor){.be = be_consumer, .number = i, .plays = true};
  for (int i = 0; i < SHARED; i++)
    *next++ = (struct actor){.be = be_member, .number = OF_SHARED, .plays = !overwrites()};
  for (int i = 0; i < AT_MOST; i++)
    *next++ = (struct actor){.be = be_member, .number = OF_AT_MOST, .plays = !overwrites()};
  *next++ = (struct actor){.be = be_observer, .plays = true};
  *next++ = (struct actor){.be = be_repairer, .plays = true};
}

/* What the dead author was about to send. */
static void note_doubt(int author) {
  struct author *log = &logs->authors[author];
  uint64_t intended = load(&log->intended), committed = load(&log->committed);
  if (intended <= committed)
    return;
  REQUIRE(log->doubts < MOST_IN_DOUBT);
  log->doubt[log->doubts] = (struct doubt){committed, intended};
  store(&log->doubts, log->doubts + 1);
  store(&log->committed, intended);
}

static void kill_and_start_again(struct actor *actor) {
  kill(actor->child.pid, SIGKILL);
  int status = test_child_status(&actor->child);
  if (status != -SIGKILL) {
    bad("round %lu: actor %d ended with %d before it was killed", round_.number,
        (int)(actor - actors), status);
    exit(1);
  }
  if (actor->writes)
    note_doubt(actor->number);
  start(actor);
}

static struct actor *some_actor(void) {
  struct actor *actor;
  do
    actor = &actors[below(ACTORS)];
  while (!actor->plays);
  return actor;
}

static _Noreturn void stands_still(ringbus_ring *ring, const char *what) {
  struct ringbus_blame blame;
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  ringbus_ring_info(ring, &info);
  fprintf(stderr, "round %lu: %s stands still; oldest %llu tail %llu\n", round_.number, what,
          (unsigned long long)info.oldest, (unsigned long long)info.tail);
  for (int role = RINGBUS_PRODUCER; role <= RINGBUS_CONSUMER; role++)
    if (ringbus_ring_blame(ring, (enum ringbus_role)role, &blame) == 0)
      fprintf(stderr, "  role %d waits for slot %u group \"%s\" at %llu\n", role, blame.slot,
              blame.group, (unsigned long long)blame.position);
  for (uint32_t index = 0; index < info.max_groups; index++)
    if (ringbus_ring_group(ring, index, &group) == 0)
      fprintf(stderr, "  group \"%s\" policy %d gating %d members %u cursor %llu lag %llu\n",
              group.name, (int)group.policy, group.gating, group.members,
              (unsigned long long)group.cursor, (unsigned long long)group.lag_bytes);
  if (getenv("RINGBUS_TEST_STAY")) /* to look at it */
    pause();
  bad("it stands still");
  exit(1);
}

static int reading_groups(void) { return overwrites() ? GROUPS : GROUPS + 2; }

/* All groups have read on since they were looked at last. */
static void expect_progress(ringbus_ring *ring, uint64_t read_before[GROUPS + 2]) {
  for (int group = 0; group < reading_groups(); group++) {
    for (int waited = 0; load(&logs->read[group]) == read_before[group]; waited++) {
      if (waited > PATIENCE_S * 1000)
        stands_still(ring, group < GROUPS ? "a group" : "a shared group");
      test_sleep_us(1000);
    }
    read_before[group] = load(&logs->read[group]);
  }
}

static void end_stream(ringbus_ring *ring) {
  ringbus_producer *producer = NULL;
  int result;
  for (int waited = 0;; waited++) {
    result = ringbus_producer_attach(ring, NULL, &producer);
    if (result == 0)
      break;
    if (waited > PATIENCE_S * 1000)
      stands_still(ring, "the end");
    test_sleep_us(1000);
  }
  REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
}

static void wait_for_actors(ringbus_ring *ring, bool writers) {
  for (int i = 0; i < ACTORS; i++) {
    struct actor *actor = &actors[i];
    bool ends_by_itself = actor->writes || actor->be == be_repairer;
    if (!actor->plays || ends_by_itself != writers)
      continue;
    for (int waited = 0; !test_child_has_ended(&actor->child); waited++) {
      if (waited > PATIENCE_S * 1000)
        stands_still(ring, writers ? "a writer" : "a reader at the end");
      test_sleep_us(1000);
    }
    int status = test_child_status(&actor->child);
    if (status != 0)
      bad("round %lu: actor %d ended with %d", round_.number, i, status);
  }
}

/* What the groups have seen in all. */
static uint64_t compare_groups(ringbus_ring *ring) {
  struct ringbus_ring_info info;
  uint64_t messages = 0;
  REQUIRE_RESULT(ringbus_ring_info(ring, &info), 0);
  if (overwrites())
    return info.tail_count;
  for (uint64_t byte = 0; byte <= granule_of(info.tail) / 8; byte++) {
    messages += (uint64_t)__builtin_popcount(seen[0][byte]);
    if (seen[1][byte] != seen[0][byte])
      bad("round %lu: the second group has not seen what the first has", round_.number);
    if (seen[OF_SHARED][byte] != seen[0][byte])
      bad("round %lu: the shared group has missed a message, near granule %llu", round_.number,
          (unsigned long long)byte * 8);
    if (seen[OF_AT_MOST][byte] & ~seen[0][byte])
      bad("round %lu: a message that nobody else has seen", round_.number);
  }
  if (messages != info.tail_count)
    bad("round %lu: %llu messages seen, %llu published", round_.number,
        (unsigned long long)messages, (unsigned long long)info.tail_count);
  return messages;
}

static void make_groups(ringbus_ring *ring) {
  struct ringbus_consumer_options shared = {.shared = true};
  ringbus_consumer *consumer;
  REQUIRE_RESULT(ringbus_consumer_detach(test_consumer(ring, "first")), 0);
  REQUIRE_RESULT(ringbus_consumer_detach(test_consumer(ring, "second")), 0);
  for (int i = 0; i < 2 && !overwrites(); i++) {
    shared.group = i ? "at most once" : "shared";
    REQUIRE_RESULT(ringbus_consumer_attach(ring, &shared, &consumer), 0);
    REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  }
}

static void *zeroed(void *at, size_t bytes) {
  if (at)
    munmap(at, bytes);
  at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(at != MAP_FAILED);
  return at;
}

static uint64_t storm(unsigned long number, uint64_t kills) {
  uint64_t read_before[GROUPS + 2] = {0}, messages;
  struct actor *stopped = NULL;
  ringbus_ring *ring;
  uint64_t bad_before = logs ? logs->bad : 0;
  set_round(number);
  logs = zeroed(logs, sizeof *logs);
  logs->bad = bad_before;
  for (int group = 0; group < GROUPS + 2; group++)
    seen[group] = zeroed(seen[group], MOST_GRANULES / 8);
  ring = test_ring_starting_at("ring", &round_.options, round_.start);
  make_groups(ring);
  cast();
  for (int i = 0; i < ACTORS; i++)
    if (actors[i].plays)
      start(&actors[i]);
  for (uint64_t n = 0; n < kills && load(&logs->bad) == 0; n++) {
    struct actor *victim = some_actor();
    if (below(3))
      test_sleep_us((unsigned)below(below(10) ? 1000 : 5000));
    kill_and_start_again(victim);
    if (stopped == victim)
      stopped = NULL; /* killed while it was stopped */
    if (stopped && below(4) == 0) {
      kill(stopped->child.pid, SIGCONT);
      stopped = NULL;
    } else if (!stopped && below(10) == 0) {
      stopped = some_actor();
      kill(stopped->child.pid, SIGSTOP);
    }
    if (!stopped && below(20) == 0)
      expect_progress(ring, read_before);
  }
  if (stopped)
    kill(stopped->child.pid, SIGCONT);
  expect_progress(ring, read_before);
  store(&logs->stop, 1);
  wait_for_actors(ring, true);
  end_stream(ring);
  wait_for_actors(ring, false);
  messages = compare_groups(ring);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
  return messages;
}

int main(int argc, char **argv) {
  uint64_t kills = argc > 1 ? strtoull(argv[1], NULL, 0) : test_scaled(400, 100000);
  uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
  uint64_t done = 0, messages = 0, per_round = kills / 12 + 1;
  if (per_round > KILLS_OF_A_ROUND)
    per_round = KILLS_OF_A_ROUND;
  random_ = first;
  for (unsigned long number = 0; done < kills && (!logs || logs->bad == 0); number++) {
    uint64_t now = kills - done < per_round ? kills - done : per_round;
    messages += storm(number, now);
    done += now;
  }
  printf("figure: random SIGKILLs of all roles | %llu kills, %llu messages, %llu bad\n",
         (unsigned long long)done, (unsigned long long)messages, (unsigned long long)logs->bad);
  return logs->bad != 0;
}
