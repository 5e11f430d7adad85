/* SPDX-License-Identifier: MIT */
/* random_many.c - random operations of several producers with claims of their own, two groups that are
 * waited for, one that is lapped, and an observer, each answer compared with a reference: the log of all
 * records ever claimed, in the order of their claims, and, for each reader, an index into it. In rings
 * that are gated, that drop, and that overwrite. The seed of each run is in the failure's text. */
#include "suite.h"

#define CAPACITY 4096u
#define OPERATIONS 4000u
#define PRODUCERS 4
#define GROUPS 3

enum kind { CLAIMED, COMMITTED, GIVEN_UP };

struct record {
  uint64_t position; /* relative to the start, so that it does not wrap */
  uint64_t bytes, seed;
  uint32_t length, tag;
  enum kind kind;
};

struct author {
  ringbus_producer *handle;
  unsigned char *data; /* of the open claim */
  uint64_t claim;      /* its record */
  uint32_t length;
  bool has_claim;
};

struct reader {
  bool exists; /* the group */
  bool lapped;
  uint64_t released, next; /* positions */
  uint64_t lost_messages;
  ringbus_consumer *handle;
};

static const uint64_t starts[] = {0, (UINT64_C(1) << 32) - 960, (UINT64_C(1) << 63) - 2048,
                                  UINT64_MAX - 1023};
#define STARTS (sizeof starts / sizeof starts[0])

static struct record records[OPERATIONS * 8];
static uint64_t record_count, settled;      /* the first record that is still claimed, or the end */
static uint64_t counts[OPERATIONS * 8 + 1]; /* messages before a record; known up to settled */
static uint64_t oldest;                     /* record index */
static uint64_t start, seed, random_state, step;
static struct author authors[PRODUCERS];
static struct reader readers[GROUPS], watcher;
static const char *const group_names[GROUPS] = {"first", "second", "lapped"};
static ringbus_ring *ring;
static ringbus_observer *observer;
static enum mode { GATED, DROPS, OVERWRITES } mode;
static uint64_t times_lapped, times_full, times_blocked;
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

static uint64_t record_bytes(uint64_t length, uint32_t tag) {
  uint64_t bytes = (length + (tag ? 4 : 0) + 63) / 64 * 64;
  return bytes ? bytes : 64;
}

static uint64_t end(void) {
  return record_count ? records[record_count - 1].position + records[record_count - 1].bytes : 0;
}

static uint64_t position_of(uint64_t index) {
  return index < record_count ? records[index].position : end();
}

/* The record at, or that ends at, this position. */
static uint64_t index_of(uint64_t position) {
  uint64_t low = 0, high = record_count;
  while (low < high) {
    uint64_t middle = (low + high) / 2;
    if (records[middle].position < position)
      low = middle + 1;
    else
      high = middle;
  }
  AGREE(position_of(low) == position);
  return low;
}

static uint64_t count_at(uint64_t position) { return counts[index_of(position)]; }

static void settle(void) {
  for (; settled < record_count && records[settled].kind != CLAIMED; settled++)
    counts[settled + 1] = counts[settled] + (records[settled].kind == COMMITTED);
}

static uint64_t add(uint64_t length, uint32_t tag, uint64_t bytes, enum kind kind) {
  records[record_count] = (struct record){.position = end(),
                                          .bytes = bytes,
                                          .seed = record_count,
                                          .length = (uint32_t)length,
                                          .tag = tag,
                                          .kind = kind};
  record_count++;
  settle();
  return record_count - 1;
}

/* Where the floor can be moved to: nobody gets past an open claim; or a reader that is waited for. */
static uint64_t furthest_floor(void) {
  uint64_t furthest = position_of(settled);
  bool any = false, gated = false;
  for (int i = 0; i < GROUPS; i++)
    any = any || readers[i].exists;
  for (int i = 0; i < GROUPS && mode != OVERWRITES; i++)
    if (readers[i].exists && !readers[i].lapped) {
      gated = true;
      if (readers[i].released < furthest)
        furthest = readers[i].released;
    }
  return any || gated || mode != GATED ? furthest : position_of(oldest);
}

static bool fits(uint64_t bytes) { return end() + bytes <= furthest_floor() + CAPACITY; }

static int answer(uint64_t length, uint64_t bytes) {
  int result = length > CAPACITY - 16 ? -EMSGSIZE : fits(bytes) ? 0 : -EAGAIN;
  times_full += result == -EAGAIN;
  times_blocked += result == -EAGAIN && settled < record_count;
  return result;
}

static bool is_record(const struct ringbus_message *message, uint64_t index) {
  const struct record *record = &records[index];
  return message->position == start + record->position && message->length == record->length &&
         message->tag == record->tag &&
         memcmp(message->data, test_content(record->seed), message->length) == 0;
}

/* The floor is the library's to choose, within limits; the reference follows it. */
static void check_ring(void) {
  struct ringbus_ring_info info;
  uint64_t was = oldest;
  AGREE_RESULT(ringbus_ring_info(ring, &info), 0);
  AGREE(info.tail == start + position_of(settled));
  AGREE(info.tail_count == counts[settled]);
  oldest = index_of(info.oldest - start);
  AGREE(oldest >= was && info.oldest_count == counts[oldest]);
  AGREE(end() - position_of(oldest) <= CAPACITY);
  AGREE(mode == GATED || info.dropped <= info.oldest_count);
  for (int i = 0; i < GROUPS && mode != OVERWRITES; i++)
    AGREE(!readers[i].exists || readers[i].lapped || readers[i].released >= position_of(oldest));
}

/* ---------------------------------------------------------------- authors */

static uint32_t some_length(void) {
  switch (below(4)) {
  case 0:
    return (uint32_t)below(70);
  case 1:
    return (uint32_t)below(300);
  case 2:
    return (uint32_t)below(1000);
  default:
    return below(20) ? (uint32_t)below(130) : (uint32_t)(CAPACITY - 16 - below(60));
  }
}

static uint32_t some_tag(void) { return below(2) ? 0 : (uint32_t)test_random(&random_state); }

/* Whatever an author does next ends its open claim. */
static void give_up(struct author *author) {
  if (author->has_claim)
    records[author->claim].kind = GIVEN_UP;
  author->has_claim = false;
  settle();
}

static void send_one(struct author *author) {
  uint32_t length = some_length(), tag = some_tag();
  give_up(author);
  int expected = answer(length, record_bytes(length, tag));
  AGREE_RESULT(ringbus_producer_send(author->handle, test_content(record_count), length, tag),
               expected);
  if (expected == 0)
    add(length, tag, record_bytes(length, tag), COMMITTED);
}

static void claim(struct author *author) {
  uint32_t length = some_length(), tag = some_tag();
  void *data = NULL;
  give_up(author);
  int expected = answer(length, record_bytes(length, tag));
  AGREE_RESULT(ringbus_producer_claim(author->handle, length, tag, &data), expected);
  if (expected != 0)
    return;
  memset(data, (int)below(256), length);
  author->data = data;
  author->length = length;
  author->has_claim = true;
  author->claim = add(length, tag, record_bytes(length, tag), CLAIMED);
}

static void end_claim(struct author *author) {
  struct record *record = &records[author->claim];
  if (!author->has_claim) {
    AGREE_RESULT(ringbus_producer_commit(author->handle, 0), -EINVAL);
    AGREE_RESULT(ringbus_producer_abort(author->handle), -EINVAL);
    return;
  }
  if (below(3) == 0) {
    AGREE_RESULT(ringbus_producer_abort(author->handle), 0);
    give_up(author);
    return;
  }
  uint32_t length = below(2) ? author->length : (uint32_t)below(author->length + 1u);
  uint64_t bytes = record_bytes(length, record->tag), rest = record->bytes - bytes;
  AGREE_RESULT(ringbus_producer_commit(author->handle, (size_t)author->length + 1), -EMSGSIZE);
  memcpy(author->data, test_content(record->seed), length);
  AGREE_RESULT(ringbus_producer_commit(author->handle, length), 0);
  author->has_claim = false;
  record->length = length;
  record->bytes = bytes;
  record->kind = COMMITTED;
  if (rest) { /* another record, given up, behind it */
    memmove(record + 2, record + 1, (record_count - author->claim - 1) * sizeof *record);
    record[1] =
        (struct record){.position = record->position + bytes, .bytes = rest, .kind = GIVEN_UP};
    record_count++;
    for (int i = 0; i < PRODUCERS; i++)
      authors[i].claim += authors[i].has_claim && authors[i].claim > author->claim;
    if (oldest > author->claim)
      oldest++;
  }
  settle();
}

static void send_batch(struct author *author) {
  struct iovec batch[6];
  uint32_t tag = some_tag();
  size_t count = 1 + below(6), sent = 99, will = 0;
  bool all_at_once = below(2);
  uint64_t bytes = 0, total = 0;
  give_up(author);
  for (size_t i = 0; i < count; i++) {
    batch[i].iov_len = below(below(3) ? 100 : 900);
    batch[i].iov_base = (void *)(uintptr_t)test_content(record_count + i);
    total += record_bytes(batch[i].iov_len, tag);
  }
  while (will < count && fits(bytes + record_bytes(batch[will].iov_len, tag)))
    bytes += record_bytes(batch[will++].iov_len, tag);
  /* Where nobody is waited for, the first messages may make way for the last ones. */
  if (!all_at_once && will < count && settled == record_count && mode == OVERWRITES)
    will = count;
  if (all_at_once && will < count)
    will = 0;
  AGREE_RESULT(ringbus_producer_send_batch(author->handle, batch, count, tag, all_at_once, &sent),
               will == count                     ? 0
               : all_at_once && total > CAPACITY ? -EMSGSIZE
                                                 : -EAGAIN);
  AGREE(sent == will);
  for (size_t i = 0; i < will; i++)
    add(batch[i].iov_len, tag, record_bytes(batch[i].iov_len, tag), COMMITTED);
}

static void come_and_go(struct author *author) {
  give_up(author);
  AGREE_RESULT(ringbus_producer_detach(author->handle), 0);
  author->handle = test_producer(ring);
}

static void wait_for_room(struct author *author) {
  uint32_t length = some_length(), tag = some_tag();
  int expected = length > CAPACITY - 16            ? -EMSGSIZE
                 : author->has_claim               ? -EINVAL
                 : fits(record_bytes(length, tag)) ? 0
                                                   : -ETIMEDOUT;
  AGREE_RESULT(ringbus_producer_wait(author->handle, length, tag, 0), expected);
}

static void write_something(void) {
  struct author *author = &authors[below(PRODUCERS)];
  uint64_t position, count;
  switch (below(10)) {
  case 0:
  case 1:
    claim(author);
    break;
  case 2:
  case 3:
  case 4:
    end_claim(author);
    break;
  case 5:
    send_batch(author);
    break;
  case 6:
    if (below(8) == 0)
      come_and_go(author);
    wait_for_room(author);
    AGREE_RESULT(ringbus_producer_tell(author->handle, &position, &count), 0);
    AGREE(position == start + position_of(settled) && count == counts[settled]);
    break;
  default:
    send_one(author);
  }
  /* A claim open for long stops everybody: that is for other tests. */
  for (int i = 0; i < PRODUCERS; i++)
    if (authors[i].has_claim && below(6) == 0)
      end_claim(&authors[i]);
}

/* ---------------------------------------------------------------- readers */

/* What the next read will answer. Records that were given up are passed over on the way, and released if
 * nothing is borrowed (where that holds somebody back, or there is nothing else); a reader that was lapped
 * is moved to the oldest, as it will be. */
static int next_answer(struct reader *reader, uint64_t *index) {
  bool nothing_borrowed = reader->released == reader->next;
  if (reader->lapped && reader->next < position_of(oldest)) {
    reader->lost_messages += counts[oldest] - count_at(reader->next);
    reader->next = position_of(oldest);
    if (nothing_borrowed)
      reader->released = reader->next;
    times_lapped++;
    return -EOVERFLOW;
  }
  for (*index = index_of(reader->next); *index < settled && records[*index].kind == GIVEN_UP;)
    ++*index;
  reader->next = position_of(*index);
  if (nothing_borrowed && (!reader->lapped || *index == settled))
    reader->released = reader->next;
  return *index == settled ? -EAGAIN : 0;
}

static void join(struct reader *reader, int which) {
  struct ringbus_consumer_options options = {
      .group = group_names[which],
      .policy = which == 2 ? RINGBUS_LAPPED : RINGBUS_GATE,
      .hand_back = (enum ringbus_hand_back)below(4),
      .start = (enum ringbus_start)below(3),
  };
  uint64_t first = position_of(oldest), from = reader->exists ? reader->released : first;
  uint64_t resumed_at = from > first ? from : first;
  if (!reader->exists)
    *reader = (struct reader){.exists = true, .lapped = which == 2 || mode == OVERWRITES};
  reader->lost_messages = count_at(resumed_at) - count_at(from);
  AGREE_RESULT(ringbus_consumer_attach(ring, &options, &reader->handle), 0);
  reader->next = reader->released = options.start == RINGBUS_OLDEST   ? first
                                    : options.start == RINGBUS_NEWEST ? position_of(settled)
                                                                      : resumed_at;
  /* Who gates is never moved up beyond where the group stood. */
  if (!reader->lapped && options.start == RINGBUS_OLDEST && from < first)
    reader->next = reader->released = from;
}

static void recv_some(struct reader *reader) {
  for (uint64_t n = 1 + below(below(3) ? 8 : 100); n; n--) {
    struct ringbus_message message;
    uint64_t index = 0;
    int expected = next_answer(reader, &index);
    AGREE_RESULT(ringbus_consumer_recv(reader->handle, buffer, sizeof buffer, &message), expected);
    if (expected == -EAGAIN)
      break;
    if (expected == 0) {
      AGREE(is_record(&message, index));
      reader->released = reader->next = position_of(index + 1);
    }
  }
}

static void borrow_some(struct reader *reader) {
  for (uint64_t n = 1 + below(8); n; n--) {
    struct ringbus_message message;
    uint64_t index = 0;
    int expected = next_answer(reader, &index);
    AGREE_RESULT(ringbus_consumer_borrow(reader->handle, &message), expected);
    if (expected == -EAGAIN)
      break;
    if (expected == 0) {
      AGREE(is_record(&message, index));
      reader->next = position_of(index + 1);
    }
  }
}

static void release(struct reader *reader) {
  bool valid = reader->released >= position_of(oldest) || !reader->lapped;
  AGREE_RESULT(ringbus_consumer_still_valid(reader->handle), valid ? 0 : -EOVERFLOW);
  AGREE_RESULT(ringbus_consumer_release(reader->handle), 0);
  reader->released = reader->next;
}

static void seek(struct reader *reader) {
  enum ringbus_start where = (enum ringbus_start)(1 + below(3));
  uint64_t index = oldest + below(settled - oldest + 1), first = position_of(oldest);
  uint64_t position = position_of(index);
  if (index < settled && records[index].bytes > 64 && below(3) == 0) { /* into a record */
    AGREE_RESULT(ringbus_consumer_seek(reader->handle, RINGBUS_POSITION, start + position + 64),
                 -EINVAL);
    return;
  }
  if (!reader->lapped && reader->released < first)
    first = reader->released;
  AGREE_RESULT(ringbus_consumer_seek(reader->handle, where, start + position), 0);
  reader->next = reader->released = where == RINGBUS_OLDEST   ? first
                                    : where == RINGBUS_NEWEST ? position_of(settled)
                                                              : position;
}

static void tell(struct reader *reader) {
  uint64_t position, count, messages;
  AGREE_RESULT(ringbus_consumer_tell(reader->handle, &position, &count), 0);
  AGREE(position == start + reader->next && count == count_at(reader->next));
  AGREE_RESULT(ringbus_consumer_lost(reader->handle, &messages, NULL), 0);
  AGREE(messages == reader->lost_messages);
  for (uint32_t index = 0; index < 16; index++) {
    struct ringbus_group_info info;
    if (ringbus_ring_group(ring, index, &info) != 0 ||
        strcmp(info.name, group_names[reader - readers]) != 0)
      continue;
    AGREE(info.cursor == start + reader->released);
    AGREE(info.cursor_count == count_at(reader->released));
    AGREE(info.lag_bytes == position_of(settled) - reader->released);
    AGREE(info.lag_messages == counts[settled] - info.cursor_count);
  }
}

static void read_something(int which) {
  struct reader *reader = &readers[which];
  if (!reader->handle) {
    if (reader->exists && below(6) == 0) {
      AGREE_RESULT(ringbus_ring_remove_group(ring, group_names[which]), 0);
      reader->exists = false;
    } else {
      join(reader, which);
    }
    return;
  }
  switch (below(14)) {
  case 0:
    AGREE_RESULT(ringbus_consumer_detach(reader->handle), 0);
    reader->handle = NULL;
    break;
  case 1:
    seek(reader);
    break;
  case 2:
    tell(reader);
    break;
  case 3:
  case 4:
    borrow_some(reader);
    break;
  case 5:
  case 6:
  case 7:
    release(reader);
    break;
  default:
    recv_some(reader);
  }
}

static void watch(void) {
  for (uint64_t n = below(30); n; n--) {
    struct ringbus_message message;
    uint64_t index = 0, messages, count;
    int expected = next_answer(&watcher, &index);
    AGREE_RESULT(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), expected);
    if (expected == 0) {
      AGREE(is_record(&message, index));
      watcher.released = watcher.next = position_of(index + 1);
    }
    AGREE_RESULT(ringbus_observer_lost(observer, &messages, NULL), 0);
    AGREE(messages == watcher.lost_messages);
    AGREE_RESULT(ringbus_observer_tell(observer, NULL, &count), 0);
    AGREE(count == count_at(watcher.next));
    if (expected == -EAGAIN)
      break;
  }
}

static void run(uint64_t from, enum mode as) {
  struct ringbus_create_options options = {.capacity = CAPACITY,
                                           .many_producers = true,
                                           .overwrite = as == OVERWRITES,
                                           .no_group = as == DROPS ? RINGBUS_DROP : RINGBUS_HOLD};
  ring = test_ring_starting_at("ring", &options, from);
  random_state = seed;
  start = from;
  mode = as;
  record_count = settled = oldest = counts[0] = 0;
  memset(readers, 0, sizeof readers);
  memset(authors, 0, sizeof authors);
  watcher = (struct reader){.lapped = true};
  for (int i = 0; i < PRODUCERS; i++)
    authors[i].handle = test_producer(ring);
  observer = test_observer(ring);
  for (step = 0; step < OPERATIONS; step++) {
    if (below(2))
      write_something();
    else if (below(8) == 0)
      watch();
    else
      read_something((int)below(GROUPS));
    check_ring();
    if (below(4) == 0) /* else the slower of two gates stops the ring most of the time */
      for (int i = 0; i < 2; i++)
        if (readers[i].handle && below(8))
          recv_some(&readers[i]);
  }
  for (int i = 0; i < GROUPS; i++)
    ringbus_consumer_detach(readers[i].handle);
  ringbus_observer_detach(observer);
  for (int i = 0; i < PRODUCERS; i++)
    ringbus_producer_detach(authors[i].handle);
  AGREE_RESULT(ringbus_ring_close(ring), 0);
  AGREE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
}

/* Fixed seeds, so that a run can be repeated; $RINGBUS_TEST_SEED begins elsewhere. */
Test(random_many, operations_agree_with_the_reference, .timeout = 1200) {
  const char *chosen = getenv("RINGBUS_TEST_SEED");
  uint64_t first = chosen ? strtoull(chosen, NULL, 0) : 1, rounds = test_scaled(15, 200);
  for (uint64_t round = 0; round < rounds; round++)
    for (size_t from = 0; from < STARTS; from++)
      for (int as = GATED; as <= OVERWRITES; as++) {
        seed = ((first + round) * STARTS + from) * 3 + (uint64_t)as;
        run(starts[from], (enum mode)as);
      }
  cr_assert_gt(times_lapped, rounds * 50);
  cr_assert_gt(times_full, rounds * 100);
  cr_assert_gt(times_blocked, rounds * 50);
}
