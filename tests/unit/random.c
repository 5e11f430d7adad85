/* SPDX-License-Identifier: MIT */
/* random.c - random operations of one producer, three named groups of each policy, an ephemeral one
 * and an observer, each answer compared with a reference: the log of all messages ever published and,
 * for each reader, an index into it. The seed of each run is in the failure's text. */
#include "suite.h"

#define CAPACITY 4096u
#define OPERATIONS 6000u
#define GROUPS 4 /* one per policy, and one that is ephemeral */

struct logged {
  uint64_t position; /* relative to the start, so that it does not wrap */
  uint32_t length, tag;
};

struct reader {
  bool exists; /* the group */
  bool lapped, while_attached;
  uint64_t released;                  /* index of the next message that was not released */
  uint64_t next;                      /* ... that was not borrowed */
  uint64_t lost_messages, lost_bytes; /* of this handle */
  ringbus_consumer *handle;
};

static struct logged log_[OPERATIONS * 8];
static uint64_t published, start, oldest; /* oldest: index */
static uint64_t seed, random_state, step;
static struct reader readers[GROUPS], watcher;
static const char *const group_names[GROUPS] = {"gate", "while-attached", "lapped", NULL};
static const enum ringbus_policy policies[GROUPS] = {RINGBUS_GATE, RINGBUS_GATE_WHILE_ATTACHED,
                                                     RINGBUS_LAPPED, RINGBUS_GATE};
static ringbus_ring *ring;
static ringbus_producer *producer;
static ringbus_observer *observer;
static bool drops;
static uint64_t times_lapped, times_full; /* that both came up often is asserted at the end */
static unsigned char buffer[CAPACITY];

#define AGREE(condition)                                                                           \
  cr_assert(condition, "seed %llu, step %llu: not so: %s", (unsigned long long)seed,               \
            (unsigned long long)step, #condition)
#define AGREE_RESULT(call, expected)                                                               \
  do {                                                                                             \
    int got_ = (call), wanted_ = (expected);                                                       \
    cr_assert(got_ == wanted_, "seed %llu, step %llu: %s = %s, expected %s; detail \"%s\"",        \
              (unsigned long long)seed, (unsigned long long)step, #call, ringbus_strerror(got_),   \
              ringbus_strerror(wanted_), ringbus_error_detail());                                  \
  } while (0)

static uint64_t below(uint64_t limit) { return test_random(&random_state) % limit; }

/* ---------------------------------------------------------------- the reference */

static uint64_t position_of_index(uint64_t index) {
  return index == 0 ? 0
                    : log_[index - 1].position +
                          reference_bytes(log_[index - 1].length, log_[index - 1].tag);
}

static bool gates(const struct reader *reader) {
  return reader->exists && !reader->lapped && (!reader->while_attached || reader->handle);
}

/* Where the slowest gate stands; if there is none, the tail, or on a ring that holds the floor. */
static uint64_t slowest(void) {
  uint64_t least = published;
  bool any = false;
  for (int i = 0; i < GROUPS; i++) {
    any = any || readers[i].exists;
    if (gates(&readers[i]) && readers[i].released < least)
      least = readers[i].released;
  }
  return any || drops ? least : oldest;
}

static bool fits(uint64_t bytes) {
  return position_of_index(published) - position_of_index(slowest()) + bytes + 8 <= CAPACITY;
}

static void note(uint32_t length, uint32_t tag) {
  log_[published] = (struct logged){position_of_index(published), length, tag};
  published++;
}

static bool is_message(const struct ringbus_message *message, uint64_t index) {
  return message->position == start + log_[index].position &&
         message->length == log_[index].length && message->tag == log_[index].tag &&
         memcmp(message->data, test_content(index), message->length) == 0;
}

/* The floor is the library's to choose, within limits; the reference follows it. */
static void check_ring(void) {
  struct ringbus_ring_info info;
  uint64_t was = oldest;
  AGREE_RESULT(ringbus_ring_info(ring, &info), 0);
  AGREE(info.tail == start + position_of_index(published));
  AGREE(info.tail_count == published);
  oldest = info.oldest_count;
  AGREE(oldest >= was);
  AGREE(info.oldest == start + position_of_index(oldest));
  AGREE(info.tail - info.oldest <= CAPACITY - 8);
  for (int i = 0; i < GROUPS; i++)
    AGREE(!gates(&readers[i]) || readers[i].released >= oldest);
}

/* ---------------------------------------------------------------- publishing */

static uint32_t some_length(void) {
  switch (below(4)) {
  case 0:
    return (uint32_t)below(9);
  case 1:
    return (uint32_t)below(200);
  case 2:
    return (uint32_t)below(1000);
  default:
    return below(10) ? (uint32_t)below(60) : (uint32_t)(CAPACITY - 16 - below(40));
  }
}

static uint32_t some_tag(void) { return below(2) ? 0 : (uint32_t)test_random(&random_state); }

static void send_one(void) {
  uint32_t length = some_length(), tag = some_tag();
  int expected = length > CAPACITY - 16 - (tag ? 4 : 0) ? -EMSGSIZE
                 : fits(reference_bytes(length, tag))   ? 0
                                                        : -EAGAIN;
  AGREE_RESULT(ringbus_producer_send(producer, test_content(published), length, tag), expected);
  if (expected == 0)
    note(length, tag);
  times_full += expected == -EAGAIN;
}

static void claim_and_commit(void) {
  uint32_t length = some_length(), tag = some_tag(), commits = (uint32_t)below(length + 1);
  void *data = NULL;
  int expected = length > CAPACITY - 16 - (tag ? 4 : 0) ? -EMSGSIZE
                 : fits(reference_bytes(length, tag))   ? 0
                                                        : -EAGAIN;
  AGREE_RESULT(ringbus_producer_claim(producer, length, tag, &data), expected);
  if (expected != 0)
    return;
  memset(data, (int)below(256), length);
  if (below(3) == 0) {
    AGREE_RESULT(ringbus_producer_abort(producer), 0);
    return;
  }
  memcpy(data, test_content(published), commits);
  AGREE_RESULT(ringbus_producer_commit(producer, commits), 0);
  note(commits, tag);
}

static void send_batch(void) {
  struct iovec batch[6];
  uint32_t tag = some_tag();
  size_t count = 1 + below(6), sent = 99, will = 0;
  bool all_at_once = below(2);
  uint64_t bytes = 0, total = 0;
  for (size_t i = 0; i < count; i++) {
    batch[i].iov_len = below(400);
    batch[i].iov_base = (void *)(uintptr_t)test_content(published + i);
    total += reference_bytes(batch[i].iov_len, tag);
  }
  while (will < count && fits(bytes + reference_bytes(batch[will].iov_len, tag)))
    bytes += reference_bytes(batch[will++].iov_len, tag);
  if (all_at_once && will < count)
    will = 0;
  AGREE_RESULT(ringbus_producer_send_batch(producer, batch, count, tag, all_at_once, &sent),
               total == 0 || will == count ? 0 : -EAGAIN);
  AGREE(sent == will);
  for (size_t i = 0; i < will; i++)
    note((uint32_t)batch[i].iov_len, tag);
}

static void succeed_producer(void) {
  uint64_t position, count;
  AGREE_RESULT(ringbus_producer_detach(producer), 0);
  producer = test_producer(ring);
  AGREE_RESULT(ringbus_producer_tell(producer, &position, &count), 0);
  AGREE(position == start + position_of_index(published) && count == published);
}

/* ---------------------------------------------------------------- consuming */

/* What the next read will answer; a lapped reader is moved to the oldest, as it will be. */
static int next_answer(struct reader *reader) {
  if (reader->next < oldest) {
    reader->lost_messages += oldest - reader->next;
    reader->lost_bytes += position_of_index(oldest) - position_of_index(reader->next);
    if (reader->released == reader->next)
      reader->released = oldest;
    reader->next = oldest; /* what was borrowed stays so, invalid, until it is released */
    times_lapped++;
    return -EOVERFLOW;
  }
  return reader->next == published ? -EAGAIN : 0;
}

static void join(struct reader *reader, int which) {
  struct ringbus_consumer_options options = {
      .group = group_names[which],
      .policy = policies[which],
      .hand_back = (enum ringbus_hand_back)below(4),
      .start = (enum ringbus_start)below(4),
  };
  uint64_t from = reader->exists ? reader->released : oldest;
  uint64_t index = oldest + below(published - oldest + 1);
  uint64_t resumed_at = from > oldest ? from : oldest;
  if (!reader->exists) {
    *reader = (struct reader){.exists = true,
                              .lapped = policies[which] == RINGBUS_LAPPED,
                              .while_attached = policies[which] == RINGBUS_GATE_WHILE_ATTACHED};
    resumed_at = oldest;
  }
  reader->lost_messages = resumed_at - from;
  reader->lost_bytes = position_of_index(resumed_at) - position_of_index(from);
  options.position = start + position_of_index(index);
  AGREE_RESULT(ringbus_consumer_attach(ring, &options, &reader->handle), 0);
  reader->next = reader->released = options.start == RINGBUS_OLDEST     ? oldest
                                    : options.start == RINGBUS_NEWEST   ? published
                                    : options.start == RINGBUS_POSITION ? index
                                                                        : resumed_at;
}

static void leave(struct reader *reader, int which) {
  AGREE_RESULT(ringbus_consumer_detach(reader->handle), 0);
  reader->handle = NULL;
  if (!group_names[which])
    reader->exists = false;
}

static void recv_some(struct reader *reader) {
  for (uint64_t n = 1 + below(below(3) ? 12 : 200); n; n--) {
    struct ringbus_message message;
    uint64_t index = reader->next;
    int expected = next_answer(reader);
    if (expected == 0 && log_[index].length && below(10) == 0) {
      AGREE_RESULT(
          ringbus_consumer_recv(reader->handle, buffer, below(log_[index].length), &message),
          -EMSGSIZE);
      AGREE(message.length == log_[index].length);
    }
    AGREE_RESULT(ringbus_consumer_recv(reader->handle, buffer, sizeof buffer, &message), expected);
    if (expected == 0) {
      AGREE(is_message(&message, index));
      reader->released = ++reader->next;
    } else if (expected == -EAGAIN) {
      break;
    }
  }
}

static void borrow_some(struct reader *reader) {
  struct ringbus_message messages[10];
  size_t max = 1 + below(10), count = 99, expected_count = 0;
  int expected = next_answer(reader);
  if (expected == 0)
    expected_count = published - reader->next < max ? published - reader->next : max;
  AGREE_RESULT(ringbus_consumer_borrow_batch(reader->handle, messages, max, &count), expected);
  AGREE(count == expected_count);
  for (size_t i = 0; i < count; i++)
    AGREE(is_message(&messages[i], reader->next + i));
  reader->next += count;
}

static void release(struct reader *reader) {
  bool valid = reader->released >= oldest || !reader->lapped;
  AGREE_RESULT(ringbus_consumer_still_valid(reader->handle), valid ? 0 : -EOVERFLOW);
  AGREE_RESULT(ringbus_consumer_release(reader->handle), 0);
  reader->released = reader->next;
}

static uint64_t a_wrong_position(void) {
  uint64_t index = oldest + below(published - oldest);
  switch (below(4)) {
  case 0:
    return start + position_of_index(index) + 1 + below(7);
  case 1:
    return start + position_of_index(oldest) - 8 * (1 + below(1000));
  case 2:
    return start + position_of_index(published) + 8 * (1 + below(1000));
  default: /* inside a record, if it is large enough */
    return start + position_of_index(index) + (log_[index].length > 8 ? 8 : 4);
  }
}

static void seek(struct reader *reader) {
  enum ringbus_start where = (enum ringbus_start)(1 + below(3));
  uint64_t index = oldest + below(published - oldest + 1);
  if (published > oldest && below(4) == 0) {
    AGREE_RESULT(ringbus_consumer_seek(reader->handle, RINGBUS_POSITION, a_wrong_position()),
                 -EINVAL);
    return; /* and nothing moved, as the next reads show */
  }
  AGREE_RESULT(ringbus_consumer_seek(reader->handle, where, start + position_of_index(index)), 0);
  reader->next = reader->released = where == RINGBUS_OLDEST   ? oldest
                                    : where == RINGBUS_NEWEST ? published
                                                              : index;
}

static void tell(struct reader *reader) {
  uint64_t position, count, messages, bytes;
  AGREE_RESULT(ringbus_consumer_tell(reader->handle, &position, &count), 0);
  AGREE(position == start + position_of_index(reader->next));
  AGREE(count == reader->next);
  AGREE_RESULT(ringbus_consumer_lost(reader->handle, &messages, &bytes), 0);
  AGREE(messages == reader->lost_messages && bytes == reader->lost_bytes);
}

static void do_something_with(struct reader *reader, int which) {
  if (!reader->handle) {
    if (reader->exists && below(6) == 0) {
      AGREE_RESULT(ringbus_ring_remove_group(ring, group_names[which]), 0);
      reader->exists = false;
    } else {
      join(reader, which);
    }
    return;
  }
  switch (below(16)) {
  case 0:
    leave(reader, which);
    break;
  case 1:
    seek(reader);
    break;
  case 2:
    tell(reader);
    break;
  case 3:
  case 4:
  case 5:
    borrow_some(reader);
    break;
  case 6:
  case 7:
  case 8:
    release(reader);
    break;
  default:
    recv_some(reader);
  }
}

static void watch(void) {
  for (uint64_t n = below(30); n; n--) {
    struct ringbus_message message;
    uint64_t index = watcher.next, messages, bytes;
    int expected = next_answer(&watcher);
    AGREE_RESULT(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), expected);
    if (expected == -EAGAIN)
      break;
    if (expected == 0) {
      AGREE(is_message(&message, index));
      watcher.next++;
    }
    AGREE_RESULT(ringbus_observer_lost(observer, &messages, &bytes), 0);
    AGREE(messages == watcher.lost_messages && bytes == watcher.lost_bytes);
  }
}

static void run(uint64_t from, bool dropping) {
  struct ringbus_create_options options = {.capacity = CAPACITY,
                                           .no_group = dropping ? RINGBUS_DROP : RINGBUS_HOLD};
  ring = test_ring_starting_at("ring", &options, from);
  random_state = seed;
  start = from;
  drops = dropping;
  published = oldest = 0;
  memset(readers, 0, sizeof readers);
  memset(&watcher, 0, sizeof watcher);
  producer = test_producer(ring);
  observer = test_observer(ring);
  for (step = 0; step < OPERATIONS; step++) {
    int which = (int)below(GROUPS);
    switch (below(10)) {
    case 0:
      claim_and_commit();
      break;
    case 1:
      send_batch();
      break;
    case 2:
      if (below(20) == 0)
        succeed_producer();
      watch();
      break;
    case 3:
    case 4:
    case 5:
      send_one();
      break;
    default:
      do_something_with(&readers[which], which);
      if (below(4) == 0) /* else the slowest of three gates stops the ring most of the time */
        for (int i = 0; i < GROUPS; i++)
          if (gates(&readers[i]) && readers[i].handle && below(8))
            recv_some(&readers[i]);
    }
    check_ring();
  }
  for (int i = 0; i < GROUPS; i++)
    ringbus_consumer_detach(readers[i].handle);
  ringbus_observer_detach(observer);
  ringbus_producer_detach(producer);
  AGREE_RESULT(ringbus_ring_close(ring), 0);
  AGREE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
}

/* Fixed seeds, so that a run can be repeated; $RINGBUS_TEST_SEED begins elsewhere. */
Test(random, operations_agree_with_the_reference, .timeout = 300) {
  const char *chosen = getenv("RINGBUS_TEST_SEED");
  uint64_t first = chosen ? strtoull(chosen, NULL, 0) : 1;
  uint64_t rounds = test_scaled(40, 1000);
  for (uint64_t round = 0; round < rounds; round++)
    for (size_t from = 0; from < test_start_count; from++) {
      seed = (first + round) * 4 + from;
      run(test_starts[from], round % 2);
    }
  cr_assert_gt(times_lapped, rounds * 20);
  cr_assert_gt(times_full, rounds * 100);
}
