/* SPDX-License-Identifier: MIT */
/* calls.c - a hostile peer at the granularity of calls. An input chooses a ring, and is then a list of hot
 * calls on handles that are attached to it, and of what somebody with write permission stores in between.
 *
 * Everything is put back by memcpy before each input, handles and all, so that no system call is made
 * but those that the input asks for (waking a sleeper that is not there). What no hot call may look at is
 * poisoned: the identity, the gaps, the page behind the last view is inaccessible anyway. */
#include "fuzz.h"

#include <malloc.h>
#include <sanitizer/asan_interface.h>

enum { CAPACITY = 4096, CONSUMERS = 4, MOST_CALLS = 64, PARTS = 12 };

/* A part of the memory as it is before each input. */
struct part {
  void *at, *kept;
  size_t bytes;
};

/* A ring and the handles on it. */
static struct world {
  ringbus_ring *ring;
  ringbus_producer *producer;
  ringbus_consumer *consumers[CONSUMERS]; /* gating, lapped, two members of a shared group */
  unsigned consumer_count;
  ringbus_observer *observer;
  struct part parts[PARTS];
  unsigned part_count;
} worlds[] = {{0}, {0}, {0}, {0}};
enum { WORLDS = sizeof worlds / sizeof worlds[0] };

/* As callers have them; AddressSanitizer sees a byte too many. */
static char small_buffer[48], large_buffer[CAPACITY], payload[CAPACITY];

/* ---------------------------------------------------------------- before each input */

static void keep(struct world *world, void *at, size_t bytes) {
  struct part part = {at, malloc(bytes), bytes};
  REQUIRE(part.kept && world->part_count < PARTS);
  memcpy(part.kept, at, bytes);
  world->parts[world->part_count++] = part;
}

static void keep_handle(struct world *world, void *handle) {
  keep(world, handle, malloc_usable_size(handle));
}

static void put_back(const struct world *world) {
  for (const struct part *part = world->parts; part < world->parts + world->part_count; part++)
    memcpy(part->at, part->kept, part->bytes);
}

static void attach(struct world *world, const struct ringbus_consumer_options *options) {
  ringbus_consumer **consumer = &world->consumers[world->consumer_count++];
  REQUIRE_RESULT(ringbus_consumer_attach(world->ring, options, consumer), 0);
}

/* A ring in the midst of its life: messages read, borrowed, taken and not read. */
static void live(struct world *world) {
  struct ringbus_message messages[3];
  size_t got;
  for (uint32_t n = 0; n < 12; n++)
    REQUIRE_RESULT(ringbus_producer_send(world->producer, payload, 10 + 40 * (n % 4), n % 2), 0);
  for (unsigned n = 0; n < world->consumer_count; n++) {
    REQUIRE_RESULT(ringbus_consumer_recv(world->consumers[n], large_buffer, CAPACITY, NULL), 0);
    REQUIRE_RESULT(ringbus_consumer_borrow_batch(world->consumers[n], messages, 3, &got), 0);
  }
  REQUIRE_RESULT(ringbus_observer_recv(world->observer, large_buffer, CAPACITY, NULL), 0);
}

static void make_world(struct world *world, bool many, bool overwrite, uint64_t start) {
  struct ringbus_create_options options = {.capacity = CAPACITY,
                                           .max_participants = 7,
                                           .max_groups = 4,
                                           .many_producers = many,
                                           .overwrite = overwrite};
  REQUIRE_RESULT(ringbus_ring_create_anonymous(&options, &world->ring), 0);
  struct ringbus_header *header = world->ring->header;
  const struct geometry *geometry = &world->ring->geometry;
  header->tail.position = header->floor.position = start;
  REQUIRE_RESULT(ringbus_producer_attach(world->ring, NULL, &world->producer), 0);
  REQUIRE_RESULT(ringbus_observer_attach(world->ring, NULL, &world->observer), 0);
  attach(world, &(struct ringbus_consumer_options){.group = "gating"});
  attach(world, &(struct ringbus_consumer_options){.group = "lapped", .policy = RINGBUS_LAPPED});
  if (!overwrite)
    for (int member = 0; member < 2; member++)
      attach(world, &(struct ringbus_consumer_options){.group = "shared", .shared = true});
  live(world);

  char *base = (char *)header;
  size_t table_end = geometry->groups_offset + geometry->group_count * sizeof(struct ringbus_group);
  keep(world, &header->signals,
       offsetof(struct ringbus_header, reserved) - offsetof(struct ringbus_header, signals));
  keep(world, base + geometry->slots_offset, table_end - geometry->slots_offset);
  if (many)
    keep(world, base + geometry->words_offset, geometry->words_bytes);
  keep(world, base + geometry->data_offset, CAPACITY);
  ASAN_POISON_MEMORY_REGION(base, offsetof(struct ringbus_header, signals));
  ASAN_POISON_MEMORY_REGION(base + offsetof(struct ringbus_header, reserved),
                            sizeof header->reserved);
  size_t words_end = many ? geometry->words_offset + geometry->words_bytes : table_end;
  ASAN_POISON_MEMORY_REGION(base + words_end, geometry->data_offset - words_end);

  keep_handle(world, world->producer);
  keep_handle(world, world->observer);
  for (unsigned n = 0; n < world->consumer_count; n++)
    keep_handle(world, world->consumers[n]);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  make_world(&worlds[0], false, false, UINT64_MAX - 1023);
  make_world(&worlds[1], true, false, (UINT64_C(1) << 63) - 1024);
  make_world(&worlds[2], false, true, (UINT64_C(1) << 32) - 1024);
  make_world(&worlds[3], true, true, 0);
  return 0;
}

/* ---------------------------------------------------------------- what the peer writes */

static uint64_t producer_position(const struct world *world) {
  return ((const struct ringbus_producer_hot *)(const void *)world->producer)->tail;
}

static uint64_t consumer_position(const struct world *world, unsigned which) {
  return ((const struct ringbus_consumer_hot *)(const void *)world->consumers[which])->position;
}

/* Somewhere around where somebody reads or writes. */
static uint64_t take_position(const struct world *world, struct input *input) {
  uint32_t from = take_below(input, 1 + CONSUMERS);
  int64_t away = (int8_t)take(input, 1);
  uint64_t position = from == 0 ? producer_position(world)
                                : consumer_position(world, (from - 1) % world->consumer_count);
  return position + ((uint64_t)away << world->ring->view.granule_shift);
}

/* A word that is current for a position, or for one a lap away, and says anything. */
static void forge_word(struct world *world, struct input *input) {
  const struct ringbus_view *view = &world->ring->view;
  uint64_t position = take_position(world, input), kind = take(input, 1);
  uint64_t low_bits = take(input, 4) & ((UINT64_C(1) << view->state_shift) - 1);
  uint64_t lap = position + CAPACITY * (kind >> 2 & 1);
  *(uint64_t *)(uintptr_t)ringbus_word_at(view, position) =
      ringbus_word_head(view, lap, kind & 3) | low_bits;
}

static uint64_t *take_field(struct world *world, struct input *input) {
  struct ringbus_header *header = world->ring->header;
  struct ringbus_group *group = ring_group(world->ring, take_below(input, 4));
  struct ringbus_slot *slot = ring_slot(world->ring, take_below(input, 8));
  uint64_t *fields[] = {&header->tail.position,
                        &header->tail.count[0],
                        &header->floor.position,
                        &header->floor.count[0],
                        &header->join.groups,
                        &group->cursor,
                        &group->count[0],
                        &group->max_lag,
                        &group->gating,
                        &group->held,
                        &group->take[0],
                        &group->take[1],
                        &group->moves,
                        &slot->state,
                        &slot->claim,
                        &slot->taken_to,
                        &slot->taken[0],
                        &slot->taken[1]};
  return fields[take_below(input, sizeof fields / sizeof fields[0])];
}

/* A field that is nearly right, or a position, or anything. */
static void change_field(struct world *world, struct input *input) {
  uint64_t *field = take_field(world, input);
  switch (take_below(input, 4)) {
  case 0:
    *field += (uint64_t)(int64_t)(int8_t)take(input, 1);
    break;
  case 1:
    *field += UINT64_C(1) << take(input, 1) % 64;
    break;
  case 2:
    *field = take_position(world, input) | (take(input, 1) & 7);
    break;
  default:
    *field = take(input, 8);
  }
}

static void change_signal(struct world *world, struct input *input) {
  struct ringbus_signals *signals = &world->ring->header->signals;
  uint32_t *fields[] = {&signals->state, &signals->data_waiters, &signals->room_waiters,
                        &signals->presence, &signals->had_producer};
  uint32_t *field = fields[take_below(input, 5)];
  *field = (uint32_t)take(input, 1);
}

/* Some bytes, anywhere that hot calls look. */
static void scribble(struct world *world, struct input *input) {
  const struct part *part = &world->parts[take_below(input, world->ring->view.in_band ? 3 : 4)];
  size_t at = take(input, 2) % part->bytes, bytes = 1 + take(input, 1) % 8;
  uint64_t value = take(input, 8);
  if (bytes > part->bytes - at)
    bytes = part->bytes - at;
  memcpy((char *)part->at + at, &value, bytes);
}

/* ---------------------------------------------------------------- calls */

static void produce(struct world *world, struct input *input, unsigned call) {
  ringbus_producer *producer = world->producer;
  const struct ringbus_view *view = &world->ring->view;
  size_t sent, length = take(input, 1); /* mostly short, for speed */
  if (length >= 240)
    length = take(input, 2) % (CAPACITY + 8);
  uint32_t tag = length & 1;
  void *data;
  switch (call) {
  case 0:
    ANSWERS(ringbus_producer_send(producer, payload, length % CAPACITY, tag), EAGAIN, EMSGSIZE,
            EPIPE, ESTALE);
    break;
  case 1:
    if (ANSWERS(ringbus_producer_claim(producer, length, tag, &data), EAGAIN, EMSGSIZE, EPIPE,
                ESTALE) == 0) {
      REQUIRE((uint64_t)((char *)data - view->data) <= view->mask + view->in_band);
      REQUIRE(length <= CAPACITY);
      memset(data, 0x77, length);
    }
    break;
  case 2:
    ANSWERS(ringbus_producer_commit(producer, length), EINVAL, EMSGSIZE, EPIPE, ESTALE);
    break;
  case 3:
    ANSWERS(ringbus_producer_abort(producer), EINVAL);
    break;
  case 4: {
    struct iovec batch[3] = {{payload, length % 512}, {NULL, 0}, {payload, length / 8}};
    ANSWERS(ringbus_producer_send_batch(producer, batch, 1 + length % 3, tag, length & 8, &sent),
            EAGAIN, EMSGSIZE, EPIPE, ESTALE);
    REQUIRE(sent <= 3);
    break;
  }
  default: {
    uint64_t position, count;
    ANSWERS(ringbus_producer_tell(producer, &position, &count), EAGAIN);
  }
  }
}

static void consume(struct world *world, struct input *input, unsigned call) {
  const struct ringbus_view *view = &world->ring->view;
  ringbus_consumer *consumer = world->consumers[take_below(input, world->consumer_count)];
  struct ringbus_message message, messages[8];
  size_t got = 0;
  switch (call) {
  case 0:
    if (ANSWERS(ringbus_consumer_borrow(consumer, &message), EAGAIN, EPIPE, EOVERFLOW, EBUSY,
                ESTALE) == 0)
      expect_inside(view, &message);
    break;
  case 1: {
    size_t most = take_below(input, 8);
    ANSWERS(ringbus_consumer_borrow_batch(consumer, messages, most, &got), EAGAIN, EPIPE, EOVERFLOW,
            EBUSY, ESTALE, EINVAL);
    REQUIRE(got <= most);
    while (got > 0)
      expect_inside(view, &messages[--got]);
    break;
  }
  case 2:
    ANSWERS(ringbus_consumer_release(consumer), ESTALE);
    break;
  case 3:
  case 4: {
    size_t size = call == 3 ? sizeof small_buffer : sizeof large_buffer;
    char *buffer = call == 3 ? small_buffer : large_buffer;
    int result = ANSWERS(ringbus_consumer_recv(consumer, buffer, size, &message), EAGAIN, EMSGSIZE,
                         EPIPE, EOVERFLOW, EBUSY, ESTALE);
    if (result == 0)
      REQUIRE(message.data == buffer && message.length <= size);
    if (result == -EMSGSIZE)
      REQUIRE(message.length > size && message.length <= CAPACITY);
    break;
  }
  default:
    ANSWERS(ringbus_consumer_still_valid(consumer), EOVERFLOW, ESTALE);
  }
}

static void observe(struct world *world) {
  struct ringbus_message message;
  int result =
      ANSWERS(ringbus_observer_recv(world->observer, small_buffer, sizeof small_buffer, &message),
              EAGAIN, EMSGSIZE, EPIPE, EOVERFLOW, ESTALE);
  if (result == 0)
    REQUIRE(message.length <= sizeof small_buffer);
  if (result == -EMSGSIZE)
    REQUIRE(message.length > sizeof small_buffer && message.length <= CAPACITY);
}

/* Not hot, but from where all reading goes on. */
static void seek(struct world *world, struct input *input) {
  uint32_t who = take_below(input, 1 + CONSUMERS);
  enum ringbus_start start = (enum ringbus_start)(1 + take_below(input, 3));
  uint64_t position = take_position(world, input);
  if (who == 0)
    ANSWERS(ringbus_observer_seek(world->observer, start, position), EINVAL, EOVERFLOW, ESTALE);
  else
    ANSWERS(
        ringbus_consumer_seek(world->consumers[(who - 1) % world->consumer_count], start, position),
        EINVAL, EOVERFLOW, ESTALE);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  struct input input = {bytes, bytes + count};
  struct world *world = &worlds[take_below(&input, WORLDS)];
  put_back(world);
  for (int calls = 0; calls < MOST_CALLS && input_is_left(&input); calls++) {
    uint32_t what = take_below(&input, 20);
    errno = 12345;
    if (what < 6)
      produce(world, &input, what);
    else if (what < 12)
      consume(world, &input, what - 6);
    else if (what < 14)
      observe(world);
    REQUIRE(errno == 12345);
    if (what == 14)
      seek(world, &input);
    else if (what == 15)
      scribble(world, &input);
    else if (what == 16)
      change_signal(world, &input);
    else if (what == 17)
      change_field(world, &input);
    else if (what > 17)
      forge_word(world, &input);
  }
  return 0;
}
