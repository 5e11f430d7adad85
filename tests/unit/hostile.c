/* SPDX-License-Identifier: MIT */
/* hostile.c - a peer with write permission scribbles over everything that is shared. Messages may be
 * lost or forged and the ring may stop; nobody reads or writes outside the mapping, loops for ever,
 * crashes, or answers with something that is not an error of the table.
 *
 * From the table of bugs that such rings have had:
 *   "length read twice, checked once": words_are_flipped_while_they_are_read, and under AddressSanitizer
 *     here, as everything; each word is loaded once (shared.h, inline.h).
 *   "used > capacity taken for huge free space": cursors_that_are_nearly_right. */
#include "suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "consumer.h"

static ringbus_ring *ring;
static ringbus_producer *producer;
static ringbus_consumer *gating, *lapped, *limited;
static ringbus_observer *observer;
static volatile unsigned char *bytes; /* the attacker's own mapping */
static struct ringbus_header *header;
static size_t file_bytes;
static uint64_t random_state;
static unsigned char *buffer;

static uint64_t below(uint64_t limit) { return test_random(&random_state) % limit; }

/* ---------------------------------------------------------------- the victims */

static bool is_known(int result) {
  static const int known[] = {0,        -EAGAIN, -EMSGSIZE, -EPIPE,  -ESTALE,    -EOVERFLOW,
                              -EBADMSG, -EINVAL, -EBUSY,    -ENOSPC, -ETIMEDOUT, -ENOENT};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (known[i] == result)
      return true;
  return false;
}

#define TRY(call)                                                                                  \
  do {                                                                                             \
    int tried_ = (call);                                                                           \
    if (!is_known(tried_)) {                                                                       \
      fprintf(stderr, "%s = %d (%s)\n", #call, tried_, ringbus_strerror(tried_));                  \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

/* A borrowed message is inside the data, all of it, whatever its word says. */
static void look_at(const struct ringbus_message *message) {
  const char *data = message->data, *first = ring->view.data;
  volatile unsigned char sum = 0;
  REQUIRE(data >= first && data - first < (ptrdiff_t)ring->geometry.capacity + 8);
  REQUIRE(message->length <= ring->geometry.capacity);
  for (uint32_t i = 0; i < message->length; i++)
    sum = (unsigned char)(sum + (unsigned char)data[i]);
}

static void attach_all(void) {
  struct ringbus_consumer_options options = {.group = "lapped", .policy = RINGBUS_LAPPED};
  if (!producer)
    TRY(ringbus_producer_attach(ring, NULL, &producer));
  if (!lapped)
    TRY(ringbus_consumer_attach(ring, &options, &lapped));
  options = (struct ringbus_consumer_options){.group = "limited", .max_lag = 1000};
  if (!limited)
    TRY(ringbus_consumer_attach(ring, &options, &limited));
  options =
      (struct ringbus_consumer_options){.group = "gating", .start = (enum ringbus_start)below(4)};
  if (!gating)
    TRY(ringbus_consumer_attach(ring, &options, &gating));
  if (!observer)
    TRY(ringbus_observer_attach(ring, NULL, &observer));
}

static void detach_some(void) {
  if (below(3) == 0) {
    TRY(ringbus_producer_detach(producer));
    producer = NULL;
  }
  if (below(3) == 0) {
    TRY(ringbus_consumer_detach(gating));
    gating = NULL;
  }
  if (below(3) == 0) {
    TRY(ringbus_consumer_detach(lapped));
    lapped = NULL;
  }
  if (below(3) == 0) {
    TRY(ringbus_consumer_detach(limited));
    limited = NULL;
  }
  if (below(3) == 0) {
    TRY(ringbus_observer_detach(observer));
    observer = NULL;
  }
}

static void consume(ringbus_consumer *consumer) {
  struct ringbus_message message, messages[16];
  uint64_t position = 0, count;
  size_t got = 0;
  if (!consumer)
    return;
  for (int i = 0; i < 4; i++) {
    int result = ringbus_consumer_borrow(consumer, &message);
    TRY(result);
    if (result == 0)
      look_at(&message);
    TRY(ringbus_consumer_recv(consumer, buffer, 4096, &message));
  }
  TRY(ringbus_consumer_borrow_batch(consumer, messages, 16, &got));
  REQUIRE(got <= 16);
  for (size_t i = 0; i < got; i++)
    look_at(&messages[i]);
  TRY(ringbus_consumer_still_valid(consumer));
  TRY(ringbus_consumer_release(consumer));
  TRY(ringbus_consumer_tell(consumer, &position, &count));
  TRY(ringbus_consumer_seek(consumer, (enum ringbus_start)(1 + below(3)),
                            position - below(64) * 8));
  TRY(ringbus_consumer_wait(consumer, 0));
  TRY(ringbus_consumer_lost(consumer, &position, &count));
}

static void use_all(void) {
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  struct ringbus_participant participant;
  struct iovec batch[3] = {{buffer, 5}, {buffer, 0}, {buffer, 333}};
  size_t sent;
  void *data;
  if (producer) {
    for (int i = 0; i < 6; i++)
      TRY(ringbus_producer_send(producer, test_content(random_state), below(700),
                                (uint32_t)below(2)));
    TRY(ringbus_producer_send_batch(producer, batch, 3, 0, below(2), &sent));
    if (ringbus_producer_claim(producer, 500, 1, &data) == 0) {
      REQUIRE((char *)data > ring->view.data &&
              (char *)data - ring->view.data <= (ptrdiff_t)ring->geometry.capacity);
      memset(data, 0x77, 500);
      TRY(ringbus_producer_commit(producer, below(501)));
    }
    TRY(ringbus_producer_wait(producer, 3000, 0, 0));
    TRY(ringbus_producer_drain(producer, 0));
  }
  consume(gating);
  consume(lapped);
  consume(limited);
  if (observer) {
    for (int i = 0; i < 20; i++)
      TRY(ringbus_observer_recv(observer, buffer, 4096, NULL));
    TRY(ringbus_observer_seek(observer, (enum ringbus_start)(1 + below(3)), below(65536) * 8));
    TRY(ringbus_observer_wait(observer, 0));
  }
  TRY(ringbus_ring_info(ring, &info));
  for (uint32_t slot = 0; slot <= 64; slot++)
    if (ringbus_ring_participant(ring, slot, &participant) == 0) {
      REQUIRE(strnlen(participant.name, sizeof participant.name) < sizeof participant.name);
      REQUIRE(strnlen(participant.group, sizeof participant.group) < sizeof participant.group);
    }
  for (uint32_t index = 0; index <= 16; index++)
    if (ringbus_ring_group(ring, index, &group) == 0)
      REQUIRE(strnlen(group.name, sizeof group.name) < sizeof group.name);
  if (below(10) == 0)
    TRY(ringbus_ring_remove_group(ring, "gating"));
}

static void begin(uint64_t seed) {
  static const struct ringbus_create_options options = {.capacity = 4096, .max_participants = 63};
  int fd;
  ring = test_ring_starting_at("ring", &options, test_starts[seed % test_start_count]);
  file_bytes = ring->geometry.file_bytes;
  fd = open(test_path("ring"), O_RDWR | O_CLOEXEC);
  bytes = mmap(NULL, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  REQUIRE(bytes != MAP_FAILED);
  close(fd);
  header = (struct ringbus_header *)(uintptr_t)bytes;
  buffer = malloc(4096); /* exactly: AddressSanitizer sees a byte too many */
  random_state = seed;
  attach_all();
  use_all();
}

static void end(void) {
  ringbus_producer_detach(producer);
  ringbus_consumer_detach(gating);
  ringbus_consumer_detach(lapped);
  ringbus_consumer_detach(limited);
  ringbus_observer_detach(observer);
  producer = NULL;
  gating = lapped = limited = NULL;
  observer = NULL;
  cr_result(ringbus_ring_close(ring), 0);
  munmap((void *)(uintptr_t)bytes, file_bytes);
  unlink(test_path("ring"));
  free(buffer);
}

/* ---------------------------------------------------------------- the attacks */

static uint64_t *word_of(size_t offset) { return (uint64_t *)(uintptr_t)(bytes + offset); }

static void scribble_anywhere(void) {
  size_t at = sizeof(struct ringbus_identity) + below(file_bytes - sizeof(struct ringbus_identity));
  for (uint64_t n = 1 + below(16); n && at < file_bytes; n--, at++)
    bytes[at] = (unsigned char)test_random(&random_state);
}

/* A word of the data that is current for some position, and says anything else. */
static void forge_a_word(void) {
  uint64_t tail = header->tail.position & ~UINT64_C(7);
  uint64_t position = tail - 4096 + below(1024) * 8;
  uint64_t forged = ringbus_word_head(&ring->view, position, below(8) ? 2 : below(4)) |
                    (test_random(&random_state) & ((UINT64_C(1) << ring->view.state_shift) - 1));
  *word_of(ring->geometry.data_offset + (position & 4095)) = forged;
}

/* A position that is nearly right: off by a little, a lap, or in the other half of all positions. */
static void shift_a_position(void) {
  uint64_t *fields[] = {
      &header->tail.position,
      &header->floor.position,
      word_of(ring->geometry.groups_offset + below(4) * sizeof(struct ringbus_group) +
              offsetof(struct ringbus_group, cursor)),
  };
  static const uint64_t shifts[] = {1,
                                    2,
                                    4,
                                    8,
                                    16,
                                    4088,
                                    4096,
                                    4104,
                                    8192,
                                    UINT64_C(1) << 32,
                                    UINT64_C(1) << 62,
                                    UINT64_C(1) << 63,
                                    UINT64_C(3) << 62};
  uint64_t *field = fields[below(3)], shift = shifts[below(sizeof shifts / sizeof shifts[0])];
  *field += below(2) ? shift : -shift;
}

static void change_a_group(void) {
  struct ringbus_group *group =
      (struct ringbus_group *)word_of(ring->geometry.groups_offset) + below(16);
  switch (below(8)) {
  case 0:
    memset(group->name, (int)below(256), sizeof group->name);
    break;
  case 1:
    group->policy = (uint32_t)below(6);
    break;
  case 2:
    group->flags = (uint32_t)test_random(&random_state);
    break;
  case 3:
    group->member = test_random(&random_state);
    break;
  case 4:
    group->member = below(70);
    break;
  case 5:
    group->max_lag = below(2) ? below(10000) : test_random(&random_state);
    break;
  case 6:
    group->gating = below(3);
    break;
  default:
    header->join.groups ^= UINT64_C(1) << below(64);
  }
}

static void change_a_slot(void) {
  struct ringbus_slot *slot =
      (struct ringbus_slot *)word_of(ring->geometry.slots_offset) + below(64);
  switch (below(4)) {
  case 0:
    slot->state = test_random(&random_state);
    break;
  case 1:
    slot->state = (slot->state & ~UINT64_C(0xff)) | below(4);
    break;
  case 2:
    slot->group = (uint32_t)test_random(&random_state);
    break;
  default:
    memset(slot->name, 1 + (int)below(255), sizeof slot->name);
  }
}

static void change_a_signal(void) {
  switch (below(6)) {
  case 0:
    header->signals.state ^= 1u << below(32);
    break;
  case 1:
    header->signals.state = (uint32_t)below(4);
    break;
  case 2:
    header->signals.data_waiters = (uint32_t)below(3);
    break;
  case 3:
    header->signals.room_waiters = (uint32_t)below(3);
    break;
  case 4:
    header->signals.presence = (uint32_t)test_random(&random_state);
    break;
  default:
    header->signals.state = 0;
  }
}

static void attack(void) {
  switch (below(7)) {
  case 0:
    scribble_anywhere();
    break;
  case 1:
  case 2:
    forge_a_word();
    break;
  case 3:
    shift_a_position();
    break;
  case 4:
    change_a_group();
    break;
  case 5:
    change_a_slot();
    break;
  default:
    change_a_signal();
  }
}

Test(hostile, everything_shared_may_be_scribbled_over, .timeout = 300) {
  for (uint64_t seed = 1; seed <= test_scaled(120, 5000); seed++) {
    begin(seed);
    for (int round = 0; round < 60; round++) {
      for (uint64_t n = below(4); n; n--)
        attack();
      if (below(8) == 0)
        detach_some();
      if (below(4) == 0)
        header->signals.state = 0; /* or nothing but -ESTALE would be seen */
      attach_all();
      use_all();
    }
    end();
  }
}

static void repeat(void (*one_attack)(void), uint64_t seeds, int rounds) {
  for (uint64_t seed = 1; seed <= seeds; seed++) {
    begin(seed);
    for (int round = 0; round < rounds; round++) {
      one_attack();
      if (below(10) == 0)
        detach_some();
      attach_all();
      use_all();
    }
    end();
  }
}

Test(hostile, words_that_are_current_and_say_anything, .timeout = 300) {
  repeat(forge_a_word, test_scaled(40, 1000), 200);
}

Test(hostile, cursors_that_are_nearly_right, .timeout = 300) {
  repeat(shift_a_position, test_scaled(150, 3000), 30);
}

Test(hostile, groups_that_contradict_themselves, .timeout = 300) {
  repeat(change_a_group, test_scaled(60, 2000), 60);
}

static void fill_with_one_byte(void) {
  memset((void *)(uintptr_t)(bytes + 512), (int)below(256), file_bytes - 512);
  header->signals.state = 0;
}

Test(hostile, the_same_byte_everywhere, .timeout = 300) {
  repeat(fill_with_one_byte, test_scaled(10, 100), 60);
}

/* ---------------------------------------------------------------- while they run */

static int stop_flipping;

static void *flip(void *context) {
  uint64_t state = *(uint64_t *)context;
  while (!__atomic_load_n(&stop_flipping, __ATOMIC_RELAXED)) {
    size_t at = 512 + test_random(&state) % (file_bytes - 512);
    uint64_t tail = __atomic_load_n(&header->tail.position, __ATOMIC_RELAXED) & ~UINT64_C(7);
    uint64_t position = tail - test_random(&state) % 64 * 8;
    uint64_t *word = word_of(ring->geometry.data_offset + (position & 4095));
    switch (test_random(&state) % 4) {
    case 0:
      bytes[at] ^= (unsigned char)(1u << test_random(&state) % 8);
      break;
    case 1: /* the length of a record that is being read, back and forth */
      for (int i = 0; i < 50; i++)
        __atomic_fetch_xor(word, test_random(&state) & 0x7fff8, __ATOMIC_RELAXED);
      break;
    case 2:
      __atomic_store_n(&header->signals.state, 0, __ATOMIC_RELAXED);
      break;
    default: {
      uint64_t forged = ringbus_word_head(&ring->view, position, 2) |
                        (test_random(&state) & ((UINT64_C(1) << ring->view.state_shift) - 1));
      __atomic_store_n(word, forged, __ATOMIC_RELAXED);
    }
    }
  }
  return NULL;
}

Test(hostile, words_are_flipped_while_they_are_read, .timeout = 300) {
  for (uint64_t seed = 1; seed <= test_scaled(25, 500); seed++) {
    pthread_t flipper;
    begin(seed);
    stop_flipping = 0;
    REQUIRE(pthread_create(&flipper, NULL, flip, &seed) == 0);
    for (int round = 0; round < 400; round++) {
      if (below(20) == 0)
        detach_some();
      attach_all();
      use_all();
    }
    __atomic_store_n(&stop_flipping, 1, __ATOMIC_RELAXED);
    pthread_join(flipper, NULL);
    end();
  }
}

/* ---------------------------------------------------------------- single cases */

Test(hostile, names_from_the_file_are_ended_and_printable) {
  struct ringbus_participant participant;
  struct ringbus_group_info group;
  uint32_t slots = 0;
  begin(1);
  for (int fill = 1; fill < 256; fill++) {
    for (int slot = 1; slot < 64; slot++)
      memset(((struct ringbus_slot *)word_of(ring->geometry.slots_offset))[slot].name, fill, 64);
    for (int index = 0; index < 16; index++)
      memset(((struct ringbus_group *)word_of(ring->geometry.groups_offset))[index].name, fill, 64);
    for (uint32_t slot = 1; slot < 64; slot++)
      if (ringbus_ring_participant(ring, slot, &participant) == 0) {
        slots++;
        for (size_t i = 0; i < sizeof participant.name; i++) {
          cr_assert(!participant.name[i] || (unsigned char)participant.name[i] >= ' ');
          cr_assert(!participant.group[i] || (unsigned char)participant.group[i] >= ' ');
        }
        cr_assert(!participant.name[63] && !participant.group[63]);
      }
    for (uint32_t index = 0; index < 16; index++)
      if (ringbus_ring_group(ring, index, &group) == 0) {
        cr_assert_eq(group.name[63], 0);
        for (size_t i = 0; i < sizeof group.name; i++)
          cr_assert(!group.name[i] || (unsigned char)group.name[i] >= ' ');
      }
  }
  cr_assert_geq(slots, 255 * 4);
  end();
}

/* A cursor outside the ring is not waited for, and blamed. */
Test(hostile, a_broken_cursor_does_not_stop_the_ring_and_is_counted) {
  static const uint64_t broken[] = {8, 4104,           UINT64_C(1) << 32, UINT64_C(1) << 63,
                                    6, (uint64_t)-8192};
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    struct ringbus_ring_info info;
    ringbus_producer *with;
    ringbus_consumer *good;
    struct ringbus_group *group;
    uint64_t tail;
    ring = test_ring_starting_at("ring", NULL, test_starts[i % test_start_count]);
    file_bytes = ring->geometry.file_bytes;
    with = test_producer(ring);
    test_consumer(ring, "bad");
    good = test_consumer(ring, "good");
    group = ring_group(ring, 0);
    cr_result(ringbus_producer_tell(with, &tail, NULL), 0);
    group->cursor = tail + broken[i];
    for (int n = 0; n < 500; n++) {
      int result = ringbus_producer_send(with, test_content((uint64_t)n), 200, 0);
      cr_result(result, 0);
      cr_result(ringbus_consumer_recv(good, (char[256]){0}, 256, NULL), 0);
      group->cursor = tail + broken[i] + (uint64_t)(n + 1) * 208;
    }
    cr_result(ringbus_ring_info(ring, &info), 0);
    cr_assert_gt(info.broken_cursors, 0);
    cr_assert_eq(ring->header->counters.broken_group, 1);
    while (ringbus_producer_send(with, "x", 1, 0) == 0)
      ; /* the good one is still waited for */
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
}

/* Nobody who may only read counts it, or believes it. */
Test(hostile, a_broken_cursor_is_not_blamed_by_a_reader) {
  struct ringbus_blame blame;
  ring = test_ring("ring", NULL);
  ringbus_producer *with = test_producer(ring);
  test_consumer(ring, "bad");
  cr_result(ringbus_producer_send(with, "x", 1, 0), 0);
  ringbus_ring *reader = test_open_read_only("ring");
  cr_result(ringbus_ring_blame(reader, RINGBUS_PRODUCER, &blame), 0);
  ring_group(ring, 0)->cursor = 6;
  cr_result(ringbus_ring_blame(reader, RINGBUS_PRODUCER, &blame), -ENOENT);
  cr_assert_eq(ring->header->counters.broken_cursors, 0);
}

/* A claim by a slot that nobody has ever had, or that there is none of. */
Test(hostile, a_claim_of_nobody_is_blamed_on_nobody) {
  static const uint64_t owners[] = {0, 7, 63, 64, 1023};
  const struct ringbus_create_options many = {.capacity = 4096, .many_producers = true};
  ring = test_ring("ring", &many);
  ringbus_producer *with = test_producer(ring);
  for (size_t i = 0; i < sizeof owners / sizeof owners[0]; i++) {
    struct ringbus_blame blame;
    volatile AO_t *word = ringbus_word_at(&ring->view, 0);
    *word = record_word(&ring->view, 0, RINGBUS_WORD_CLAIMED, 64, owners[i]);
    cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), 0);
    cr_assert(blame.slot == 0 && blame.position == 0 && blame.bytes == 64);
  }
  cr_result(ringbus_ring_repair(ring, NULL), 0); /* nobody has it in a slot */
  cr_result(ringbus_consumer_wait(test_consumer(ring, NULL), 0), -ETIMEDOUT);
  cr_result(ringbus_producer_send(with, "x", 1, 0), 0);
}

Test(hostile, nobody_begins_at_a_tail_or_floor_that_no_record_has) {
  for (int many = 0; many < 2; many++) {
    const struct ringbus_create_options options = {.capacity = 4096, .many_producers = many};
    const uint64_t odd[] = {1, 4, 8, 32, 8192 + 64};
    ring = test_ring("ring", &options);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
      for (int which = 0; which < 2; which++) {
        ringbus_producer *none = NULL;
        ringbus_observer *nobody = NULL;
        uint64_t *field = which ? &ring->header->tail.position : &ring->header->floor.position;
        if (!many && (odd[i] == 1 || (odd[i] % 8 == 0 && odd[i] < 4096)))
          continue; /* there that may be a record's, and which of the two counts is its */
        *field = odd[i];
        cr_result(ringbus_producer_attach(ring, NULL, &none), -EBADMSG);
        if (!which && odd[i] < 64 && many)
          cr_result(ringbus_observer_attach(ring, NULL, &nobody), odd[i] < 8 ? 0 : -EBADMSG);
        cr_result(ringbus_observer_detach(nobody), 0);
        *field = 0;
      }
    cr_result(ringbus_ring_close(ring), 0);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  }
}

/* Damage is said as damage, and stays where it is: the other groups read on. */
Test(hostile, a_damaged_record_is_bad_message_and_reading_does_not_pass_it) {
  struct ringbus_message message;
  ringbus_producer *with;
  ringbus_consumer *consumer;
  ringbus_observer *watcher;
  uint64_t position, *word;
  ring = test_ring("ring", NULL);
  with = test_producer(ring);
  consumer = test_consumer(ring, "g");
  watcher = test_observer(ring);
  cr_result(ringbus_producer_send(with, "first", 5, 0), 0);
  cr_result(ringbus_producer_tell(with, &position, NULL), 0);
  cr_result(ringbus_producer_send(with, "second", 6, 0), 0);
  cr_result(ringbus_producer_send(with, "third", 5, 0), 0);
  word = (uint64_t *)(void *)(ring->view.data + position);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
  *word ^= UINT64_C(1) << 40; /* another lap */
  for (int i = 0; i < 3; i++) {
    cr_result(ringbus_consumer_borrow(consumer, &message), -EBADMSG);
    cr_result(ringbus_consumer_recv(consumer, (char[8]){0}, 8, NULL), -EBADMSG);
    cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
  }
  cr_result(ringbus_observer_recv(watcher, (char[8]){0}, 8, NULL), 0);
  cr_result(ringbus_observer_recv(watcher, (char[8]){0}, 8, NULL), -EBADMSG);
  *word ^= UINT64_C(1) << 40;
  *word |= RINGBUS_WORD_UNUSED_MASK << RINGBUS_WORD_UNUSED_SHIFT; /* more unused than there is */
  cr_result(ringbus_consumer_borrow(consumer, &message), -EBADMSG);
  cr_result(ringbus_observer_recv(watcher, (char[8]){0}, 8, NULL), -EBADMSG);
  *word &= ~(uint64_t)(RINGBUS_WORD_UNUSED_MASK << RINGBUS_WORD_UNUSED_SHIFT);
  *word |= RINGBUS_WORD_FLAG_TAG; /* a tag without room for it */
  cr_result(ringbus_consumer_borrow(consumer, &message), -EBADMSG);
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_NEWEST, 0), 0); /* the way past it */
  cr_result(ringbus_producer_send(with, "fourth", 6, 0), 0);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
}

/* A position with bits that no position has is not walked from: what ends at an equal position has no end. */
Test(hostile, a_shared_group_at_an_odd_position_does_not_keep_a_flush_for_ever, .timeout = 60) {
  const struct ringbus_create_options many = {.capacity = 4096, .many_producers = true};
  const struct ringbus_consumer_options shared = {.group = "shared", .shared = true};
  struct ringbus_group_info info;
  ringbus_consumer *member;
  ring = test_ring("ring", &many);
  cr_result(ringbus_consumer_attach(ring, &shared, &member), 0);
  ringbus_producer *with = test_producer(ring);
  for (int n = 0; n < 8; n++)
    cr_result(ringbus_producer_send(with, "12345678", 8, 0), 0);
  for (uint64_t odd = 1; odd < 8; odd++) {
    ring_group(ring, 0)->take[0] = 4 * 64 + odd;
    cr_result(ringbus_ring_flush(ring), 0);
    cr_result(ringbus_ring_group(ring, 0, &info), 0);
    cr_assert_eq(info.cursor, 4 * 64);
  }
}

/* The bit by which a handle knows that it was inherited is nothing that a file can say. */
static bool gives_up;

static void *give_up_all_the_time(void *producer) {
  void *data;
  while (__atomic_load_n(&gives_up, __ATOMIC_RELAXED))
    if (ringbus_producer_claim(producer, 100, 0, &data) == 0)
      (void)ringbus_producer_abort(producer);
  return NULL;
}

/* A reader that rests as long as it may, and finds records that were given up after each rest. */
Test(hostile, who_gives_up_one_record_after_the_other_does_not_keep_a_reader, .timeout = 60) {
  const struct ringbus_create_options many = {.capacity = 4096, .many_producers = true};
  ringbus_ring *ring = test_ring("ring", &many);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  struct ringbus_message messages[4];
  pthread_t thread;
  size_t count;
  gives_up = true;
  cr_assert_eq(pthread_create(&thread, NULL, give_up_all_the_time, producer), 0);
  for (int passed = 0; passed < 500;) {
    const uint64_t before = consumer->hot.position;
    struct trial *resting = &consumer->resting[consumer->hot.hand_back == RINGBUS_HAND_BACK_STORE];
    trial_begin(resting, &trial_of_resting, true);
    const unsigned left = resting->left;
    cr_result(passed % 2 ? ringbus_consumer_borrow(consumer, messages)
                         : ringbus_consumer_borrow_batch(consumer, messages, 4, &count),
              -EAGAIN);
    cr_assert_leq(left - resting->left, 1, "a rest comes once a call");
    passed += consumer->hot.position != before;
  }
  __atomic_store_n(&gives_up, false, __ATOMIC_RELAXED);
  cr_assert_eq(pthread_join(thread, NULL), 0);
  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_ring_close(ring), 0);
}

Test(hostile, a_state_with_every_bit_is_damage_and_not_a_forked_child) {
  for (int kind = 0; kind < 2; kind++) {
    const struct ringbus_create_options options = {.capacity = 4096, .many_producers = kind == 1};
    ring = test_ring(kind ? "many" : "single", &options);
    ringbus_producer *with = test_producer(ring);
    void *data;
    cr_result(ringbus_producer_claim(with, 8, 0, &data), 0);
    ring->header->signals.state = 0x80000000;
    cr_result(ringbus_producer_commit(with, 8), -EBADMSG);
    cr_result(ringbus_producer_send(with, "x", 1, 0), -EBADMSG);
    cr_result(ringbus_producer_claim(with, 8, 0, &data), -EBADMSG);
    cr_result(ringbus_producer_wait(with, 8, 0, 0), -EBADMSG);
    ring->header->signals.state = 0;
    cr_result(ringbus_producer_send(with, "x", 1, 0), 0);
  }
}

/* Room is where the floor is, and where nobody gates that is found by a walk over old records: one that seems to
 * end beyond the tail must not make more room than the ring has. A batch that is to appear at once would believe in
 * it, and write messages that it has not looked at, of any length. */
Test(hostile, a_forged_record_makes_no_more_room_than_there_is) {
  const struct ringbus_create_options options = {.capacity = 65536, .overwrite = true};
  const size_t longest = 65536 - 16, too_long = 10 * 65536;
  char *many_bytes = calloc(1, too_long);
  const struct iovec messages[] = {
      {many_bytes, longest}, {many_bytes, 100}, {many_bytes, too_long}};
  size_t sent;
  void *claimed;
  ring = test_ring("ring", &options);
  ringbus_producer *with = test_producer(ring);
  for (int i = 0; i < 64; i++)
    cr_result(ringbus_producer_send(with, many_bytes, 1000, 0), 0);
  cr_result(ringbus_producer_detach(with), 0);
  with = test_producer(ring); /* who has not passed any of these records */
  uint64_t *word = (uint64_t *)(void *)ring->view.data;
  *word |= ring->view.granules_mask << RINGBUS_WORD_GRANULES_SHIFT;
  cr_result(ringbus_producer_claim(with, 2000, 0, &claimed), 0);
  cr_result(ringbus_producer_abort(with), 0);
  cr_result(ringbus_producer_send_batch(with, messages, 3, 0, true, &sent), -EMSGSIZE);
  cr_expect_eq(sent, 0);
  cr_result(ringbus_producer_detach(with), 0);
  cr_result(ringbus_ring_close(ring), 0);
  free(many_bytes);
}
