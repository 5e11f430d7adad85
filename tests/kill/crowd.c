/* SPDX-License-Identifier: MIT */
#include "crowd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct crew crew;
struct book *book;

#define KIND(...)                                                                                  \
  {                                                                                                \
    .max_participants = CROWD_PARTICIPANTS, .max_groups = CROWD_GROUPS, .many_producers = true,    \
    __VA_ARGS__                                                                                    \
  }
const struct kind kinds[KINDS] = {
    {"gated", KIND(.capacity = LARGE)},
    {"gated, small", KIND(.capacity = SMALL)},
    {"dropping", KIND(.capacity = LARGE, .no_group = RINGBUS_DROP)},
    {"overwriting", KIND(.capacity = LARGE, .overwrite = true)},
};

/* Many scenarios publish three messages of one granule each beforehand: "fourth" is the one behind. */
const struct layout *crowd_layout(const struct kind *kind, size_t index) {
  static const struct {
    const char *name;
    uint64_t base;
    int laps, granules;
    enum ringbus_wake wake;
  } table[CROWD_LAYOUTS] = {
      {"mid-ring", 0, 5, 17, RINGBUS_WAKE_BY_MEMBARRIER},
      {"fourth is last before the wrap", 0, 9, -4, RINGBUS_WAKE_BY_FENCE},
      {"fourth wraps at 2^64", 0, 0, -3, RINGBUS_WAKE_BY_MEMBARRIER},
      {"index 0", 0, 0, 0, RINGBUS_WAKE_NEVER},
      {"first is last before the wrap", 0, 7, -1, RINGBUS_WAKE_BY_FENCE},
      {"fourth at index 0", 0, 9, -3, RINGBUS_WAKE_NEVER},
      {"first wraps at 2^64", 0, 0, -1, RINGBUS_WAKE_BY_FENCE},
      {"near 2^64", 0, 0, -2, RINGBUS_WAKE_BY_MEMBARRIER},
      {"near 2^32", UINT64_C(1) << 32, 0, -3, RINGBUS_WAKE_BY_MEMBARRIER},
      {"near 2^63", UINT64_C(1) << 63, 0, -3, RINGBUS_WAKE_BY_FENCE},
      {"a lap before 2^64", 0, -1, 9, RINGBUS_WAKE_BY_FENCE},
  };
  static struct layout layout;
  layout.name = table[index].name;
  layout.wake = table[index].wake;
  layout.start =
      table[index].base + (uint64_t)((int64_t)table[index].laps * (int64_t)kind->options.capacity +
                                     table[index].granules * (int64_t)GRANULE);
  return &layout;
}

/* ---------------------------------------------------------------- messages */

#define IN_BYTES UINT64_C(0x5eed)
#define IN_TAG 0xc0de0000u

uint32_t index_tag(uint64_t index) { return IN_TAG | (uint32_t)index; }

uint64_t crowd_bytes(uint32_t length, uint32_t tag) {
  uint64_t bytes = ((uint64_t)length + (tag ? sizeof tag : 0) + GRANULE - 1) / GRANULE * GRANULE;
  return bytes ? bytes : GRANULE;
}

void fill_entry(char *bytes, const struct entry *entry, uint64_t index) {
  for (uint32_t i = 0; i < entry->length; i += 8) {
    uint64_t word = IN_BYTES << 48 | index << 32 | i;
    memcpy(bytes + i, &word, entry->length - i < 8 ? entry->length - i : 8);
  }
}

bool verify_entry(const struct ringbus_message *message, const struct entry *entry,
                  uint64_t index) {
  char expected[LARGE];
  if (message->length != entry->length || message->tag != entry->tag)
    return false;
  fill_entry(expected, entry, index);
  return memcmp(expected, message->data, entry->length) == 0;
}

uint64_t identify(const struct ringbus_message *message) {
  uint64_t word = 0;
  if (message->length >= 8)
    memcpy(&word, message->data, 8);
  if (word >> 48 == IN_BYTES && (word >> 32 & 0xffff) < ENTRIES)
    return word >> 32 & 0xffff;
  if ((message->tag & 0xffff0000u) == IN_TAG && (message->tag & 0xffff) < ENTRIES)
    return message->tag & 0xffff;
  return ENTRIES;
}

/* ---------------------------------------------------------------- a scenario begins */

static const struct crowd_scenario *current;

static void prepare_current(struct actor *actor) {
  crew.actor = actor;
  crew.ring = actor->ring;
  current->prepare();
}
static void region_of_current(struct actor *actor) {
  (void)actor;
  current->region();
}
static void rest_of_current(struct actor *actor) {
  (void)actor;
  if (current->rest)
    current->rest();
}

bool crowd_start(const struct crowd_scenario *scenario) {
  current = scenario;
  memset(&crew, 0, sizeof crew); /* the actor has a copy */
  struct scenario plain = {.name = scenario->name,
                           .prepare = prepare_current,
                           .region = region_of_current,
                           .rest = rest_of_current};
  return actor_start(&plain);
}

void crowd_begin(int argc, char **argv) {
  harness_begin(argc, argv, sizeof *book);
  book = harness.beside;
}

/* ---------------------------------------------------------------- producers */

void attach_producer(ringbus_producer **producer) {
  int result = ringbus_producer_attach(crew.ring, NULL, producer);
  expect(result == 0, result);
}

void leave_producer(ringbus_producer **producer) {
  int result = ringbus_producer_detach(*producer);
  expect(result == 0, result);
  *producer = NULL;
}

void make(int i, uint32_t length, uint32_t tag) {
  uint64_t index = book->made++;
  expect(index < ENTRIES / 2, index);
  book->entries[index] = (struct entry){.length = length, .tag = tag};
  crew.index[i] = index;
  fill_entry(crew.buffer[i], &book->entries[index], index);
}

void publish(ringbus_producer *producer, uint32_t length, uint32_t tag) {
  make(0, length, tag);
  int result = ringbus_producer_send(producer, crew.buffer[0], length, tag);
  expect(result == 0, result);
  book->entries[crew.index[0]].published = DONE;
}

void publish_full(ringbus_producer *producer) {
  struct ringbus_ring_info info;
  ringbus_ring_info(crew.ring, &info);
  for (uint64_t bytes = 0; bytes < info.capacity; bytes += GRANULE)
    publish(producer, 40, 0);
}

void claim_forever(ringbus_producer *producer, uint32_t length) {
  void *data;
  int result = ringbus_producer_claim(producer, length, 0, &data);
  expect(result == 0, result);
  memset(data, 0x55, length);
}

void claim_and_abort(ringbus_producer *producer, uint32_t length) {
  claim_forever(producer, length);
  int result = ringbus_producer_abort(producer);
  expect(result == 0, result);
}

/* ---------------------------------------------------------------- consumers */

static struct group_line *expect_group(int g, const char *name, enum ringbus_policy policy,
                                       uint64_t next) {
  struct group_line *line = &book->groups[g];
  snprintf(line->name, sizeof line->name, "%s", name);
  line->policy = policy;
  line->must_exist = line->may_exist = 1;
  line->before = line->after = next;
  return line;
}

/* The entry that follows so many published messages. */
static uint64_t index_of(uint64_t count) {
  uint64_t index = 0;
  for (; count > 0 && index < book->made; index++)
    count -= book->entries[index].published == DONE;
  return index;
}

void join(int g, const char *name, enum ringbus_policy policy) {
  struct ringbus_consumer_options options = {
      .group = name, .policy = policy, .hand_back = RINGBUS_HAND_BACK_STORE};
  uint64_t count;
  int result = ringbus_consumer_attach(crew.ring, &options, &crew.consumer[g]);
  expect(result == 0, result);
  ringbus_consumer_tell(crew.consumer[g], NULL, &count);
  if (name)
    expect_group(g, name, policy, index_of(count));
}

void read_some(int g, uint64_t messages) {
  uint64_t count;
  for (; messages > 0; messages--) {
    int result = ringbus_consumer_borrow(crew.consumer[g], &crew.message);
    expect(result == 0, result);
    result = ringbus_consumer_release(crew.consumer[g]);
    expect(result == 0, result);
  }
  ringbus_consumer_tell(crew.consumer[g], NULL, &count);
  book->groups[g].before = book->groups[g].after = index_of(count);
}

void leave(int g) {
  int result = ringbus_consumer_detach(crew.consumer[g]);
  expect(result == 0, result);
  crew.consumer[g] = NULL;
}

void join_shared(ringbus_consumer **member, bool at_most_once) {
  struct ringbus_consumer_options options = {
      .group = "s", .shared = true, .at_most_once = at_most_once};
  int result = ringbus_consumer_attach(crew.ring, &options, member);
  expect(result == 0, result);
  expect_group(0, "s", RINGBUS_GATE, 0)->shared = 1;
}

uint64_t next_untaken(void) {
  uint64_t index = book->made;
  while (index > 0 && book->entries[index - 1].shared == FRESH)
    index--;
  return index;
}

void mark_shared(uint64_t from, uint64_t to, enum shared as) {
  for (; from < to; from++)
    book->entries[from].shared = (uint8_t)as;
}

void take_some(ringbus_consumer *member, size_t messages, enum shared as) {
  int result = ringbus_consumer_borrow_batch(member, crew.messages, messages, &crew.count);
  expect(result == 0 && crew.count == messages, result);
  for (size_t i = 0; i < messages; i++) {
    uint64_t index = identify(&crew.messages[i]);
    expect(index < ENTRIES, index);
    book->entries[index].shared = (uint8_t)as;
  }
}

void release_all(ringbus_consumer *member) {
  int result = ringbus_consumer_release(member);
  expect(result == 0, result);
  for (uint64_t i = 0; i < book->made; i++)
    if (book->entries[i].shared == TAKEN)
      book->entries[i].shared = GONE;
}

/* ---------------------------------------------------------------- others, who are dead by now */

void die(void (*life)(ringbus_ring *ring)) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    ringbus_ring *ring;
    if (ringbus_ring_open(harness.live_path, NULL, &ring) != 0)
      _exit(1);
    crew.ring = ring;
    life(ring);
    _exit(0);
  }
  waitpid(child, &status, 0);
  expect(child > 0 && status == 0, status);
}

struct ringbus_header *live_header(void) {
  return (struct ringbus_header *)(void *)harness.live;
}

struct ringbus_slot *live_slot(uint32_t slot) {
  return (struct ringbus_slot *)(void *)(harness.live + live_header()->identity.slots_offset) +
         slot;
}

struct ringbus_group *live_group(uint32_t index) {
  return (struct ringbus_group *)(void *)(harness.live + live_header()->identity.groups_offset) +
         index;
}

uint32_t slot_with_note(int n) {
  for (uint32_t slot = 1; slot <= CROWD_PARTICIPANTS; slot++)
    if ((live_slot(slot)->taken[0] & RINGBUS_TAKEN_MASK) && n-- == 0)
      return slot;
  return 0;
}
