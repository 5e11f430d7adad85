/* SPDX-License-Identifier: MIT */
/* files.c - files of which nothing is known. An input is a ring of some kind with patches, its checksum
 * made right again or not, its size changed or not; or any bytes at all. The file is opened, everybody
 * attaches, calls all there is and leaves; `ringbus check` looks at it, too. */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../../tools/command.h"

enum { CAPACITY = 4096, KINDS = 6, MOST_PATCHES = 16, CALLS = 6, MOST_BYTES = 1 << 18 };

/* A ring's file, without the gap that is all zero: the tables, words included, and the data. */
static struct kind {
  unsigned char *bytes;
  size_t count, tables_end, data_offset;
} kinds[KINDS];

static char path[256];
static char buffer[CAPACITY];
static unsigned char file[MOST_BYTES];
static size_t file_count;

/* ---------------------------------------------------------------- sound rings to begin with */

static void keep(struct kind *kind, const char *name, const struct geometry *geometry) {
  kind->bytes = test_read_whole(name, &kind->count);
  kind->data_offset = geometry->data_offset;
  kind->tables_end =
      geometry->words_bytes
          ? geometry->words_offset + geometry->words_bytes
          : geometry->groups_offset + geometry->group_count * sizeof(struct ringbus_group);
  REQUIRE(kind->count <= MOST_BYTES);
}

/* As it is in the midst of its life; the copy is of a machine on which all of them have died. */
static void make_kind(struct kind *kind, bool many, bool overwrite, bool shared, uint64_t start) {
  struct ringbus_create_options options = {.capacity = CAPACITY,
                                           .max_participants = 7,
                                           .max_groups = 4,
                                           .many_producers = many,
                                           .overwrite = overwrite};
  ringbus_ring *ring = test_ring_starting_at("kind", &options, start);
  struct ringbus_consumer_options first = {.group = "first", .shared = shared},
                                  second = {.group = "second", .policy = RINGBUS_LAPPED};
  ringbus_consumer *consumers[2];
  ringbus_producer *producer = test_producer(ring);
  struct ringbus_message messages[3];
  size_t got;
  void *data;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &first, &consumers[0]), 0);
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &second, &consumers[1]), 0);
  for (uint32_t n = 0; n < 16; n++)
    REQUIRE_RESULT(ringbus_producer_send(producer, test_content(n), 10 + 40 * (n % 4), n % 2), 0);
  for (int n = 0; n < 2; n++) {
    REQUIRE_RESULT(ringbus_consumer_recv(consumers[n], buffer, CAPACITY, NULL), 0);
    REQUIRE_RESULT(ringbus_consumer_borrow_batch(consumers[n], messages, 3, &got), 0);
  }
  REQUIRE_RESULT(ringbus_producer_claim(producer, 300, 0, &data), 0);
  REQUIRE_RESULT(ringbus_ring_flush(ring), 0);
  if (kind == &kinds[KINDS - 1])
    REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  keep(kind, "kind", &ring->geometry);
  if (kind == &kinds[KINDS - 2]) /* of another boot: what is not flushed is discarded */
    kind->bytes[offsetof(struct ringbus_header, life.boot_id)] ^= 1;
  ringbus_consumer_detach(consumers[0]);
  ringbus_consumer_detach(consumers[1]);
  ringbus_producer_detach(producer);
  ringbus_ring_close(ring);
  REQUIRE(unlink(test_path("kind")) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  make_kind(&kinds[0], false, false, false, UINT64_MAX - 1023);
  make_kind(&kinds[1], true, false, false, 0);
  make_kind(&kinds[2], false, true, false, (UINT64_C(1) << 63) - 1024);
  make_kind(&kinds[3], true, false, true, 0);
  make_kind(&kinds[4], false, false, false, 0);
  make_kind(&kinds[5], true, false, false, 0);
  snprintf(path, sizeof path, "%s", test_path("ring"));
  check_verb.options[0].set(&check_verb.options[0], NULL); /* --json */
  REQUIRE(freopen("/dev/null", "w", stdout));
  return 0;
}

/* ---------------------------------------------------------------- files */

static void patch(const struct kind *kind, struct input *input) {
  static const size_t starts[] = {0, 512, 4096, 0};
  uint32_t where = take_below(input, 4);
  size_t at = where < 3 ? starts[where] + take(input, 2) % (kind->tables_end - starts[where])
                        : kind->data_offset + take(input, 2) % CAPACITY;
  size_t bytes = 1 + take_below(input, 8);
  uint64_t value = take(input, bytes);
  memcpy(file + at, &value, bytes);
}

/* Size: as it should be, or cut, or longer. */
static void make_file(struct input *input, bool sealed, bool resized) {
  uint32_t which = take_below(input, KINDS + 2);
  if (which < KINDS) {
    const struct kind *kind = &kinds[which];
    memcpy(file, kind->bytes, kind->count);
    file_count = kind->count;
    size_t resized_to = resized ? take(input, 3) % MOST_BYTES : file_count;
    for (int patches = 0; patches < MOST_PATCHES && input_is_left(input); patches++)
      patch(kind, input);
    if (resized_to > file_count)
      memset(file + file_count, 0, resized_to - file_count);
    file_count = resized_to;
  } else {
    memset(file, 0, sizeof file);
    file_count = which == KINDS ? (size_t)(input->end - input->next) : kinds[0].count;
    memcpy(file, input->next, (size_t)(input->end - input->next));
  }
  if (sealed) {
    uint64_t checksum = test_checksum(file);
    memcpy(file + offsetof(struct ringbus_identity, checksum), &checksum, sizeof checksum);
  }
}

/* Holes stay holes: that is a matter of speed. */
static void write_file(void) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  REQUIRE(fd >= 0 && ftruncate(fd, (off_t)file_count) == 0);
  for (size_t at = 0; at < file_count; at += 4096) {
    static const unsigned char zeroes[4096];
    size_t bytes = file_count - at < 4096 ? file_count - at : 4096;
    if (memcmp(file + at, zeroes, bytes) != 0)
      REQUIRE(pwrite(fd, file + at, bytes, (off_t)at) == (ssize_t)bytes);
  }
  close(fd);
}

/* ---------------------------------------------------------------- calls */

static void look(ringbus_ring *ring) {
  struct ringbus_ring_info info;
  struct ringbus_participant participant;
  struct ringbus_group_info group;
  struct ringbus_blame blame;
  int unused[] = {RINGBUS_PRODUCER, RINGBUS_CONSUMER};
  ANSWERS(ringbus_ring_info(ring, &info), EBADMSG);
  for (uint32_t slot = 1; slot <= info.max_participants && slot < 12; slot++)
    if (ANSWERS(ringbus_ring_participant(ring, slot, &participant), ENOENT) == 0)
      REQUIRE(!participant.name[63] && !participant.group[63]);
  for (uint32_t index = 0; index < info.max_groups && index < 8; index++)
    if (ANSWERS(ringbus_ring_group(ring, index, &group), ENOENT) == 0)
      REQUIRE(!group.name[63]);
  for (size_t n = 0; n < 2; n++)
    if (ANSWERS(ringbus_ring_blame(ring, (enum ringbus_role)unused[n], &blame), ENOENT) == 0)
      REQUIRE(!blame.group[63]);
}

static void observe(ringbus_ring *ring) {
  ringbus_observer *observer;
  struct ringbus_message message;
  uint64_t position, count;
  if (ANSWERS(ringbus_observer_attach(ring, NULL, &observer), ESTALE) != 0)
    return;
  for (int calls = 0; calls < CALLS; calls++)
    if (ANSWERS(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), EAGAIN, EPIPE,
                EOVERFLOW, EMSGSIZE, ESTALE) == 0)
      REQUIRE(message.length <= sizeof buffer);
  ANSWERS(ringbus_observer_tell(observer, &position, &count), 0);
  ANSWERS(ringbus_observer_seek(observer, RINGBUS_POSITION, position), EINVAL, EOVERFLOW, ESTALE);
  ANSWERS(ringbus_observer_seek(observer, RINGBUS_NEWEST, 0), EINVAL, EOVERFLOW, ESTALE);
  ANSWERS(ringbus_observer_wait(observer, 0), ETIMEDOUT, EPIPE, ESTALE);
  ANSWERS(ringbus_observer_lost(observer, &position, &count), 0);
  ANSWERS(ringbus_observer_detach(observer), 0);
}

static void produce(ringbus_ring *ring) {
  ringbus_producer *producer;
  struct iovec batch[2] = {{buffer, 100}, {buffer, 30}};
  size_t sent;
  void *data;
  if (ANSWERS(ringbus_producer_attach(ring, NULL, &producer), EBUSY, ENOSPC, EPIPE, ESTALE) != 0)
    return;
  for (uint32_t calls = 0; calls < CALLS; calls++)
    ANSWERS(ringbus_producer_send(producer, buffer, 200 * calls, calls & 1), EAGAIN, EMSGSIZE,
            EPIPE, ESTALE);
  if (ANSWERS(ringbus_producer_claim(producer, 77, 3, &data), EAGAIN, EMSGSIZE, EPIPE, ESTALE) ==
      0) {
    memset(data, 1, 77);
    ANSWERS(ringbus_producer_commit(producer, 70), EINVAL, EMSGSIZE, EPIPE, ESTALE);
  }
  ANSWERS(ringbus_producer_send_batch(producer, batch, 2, 0, true, &sent), EAGAIN, EMSGSIZE, EPIPE,
          ESTALE);
  ANSWERS(ringbus_producer_wait(producer, 1000, 0, 0), ETIMEDOUT, EMSGSIZE, EPIPE, ESTALE);
  ANSWERS(ringbus_producer_drain(producer, 0), ETIMEDOUT, ESTALE);
  ANSWERS(ringbus_producer_detach(producer), 0);
}

static void consume(ringbus_ring *ring, const struct ringbus_consumer_options *options) {
  ringbus_consumer *consumer;
  struct ringbus_message message, messages[4];
  size_t got;
  uint64_t position, count;
  if (ANSWERS(ringbus_consumer_attach(ring, options, &consumer), EBUSY, ENOSPC, EINVAL, ESTALE) !=
      0)
    return;
  for (int calls = 0; calls < CALLS; calls++) {
    if (ANSWERS(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), EAGAIN, EPIPE,
                EOVERFLOW, EMSGSIZE, EBUSY, ESTALE) == 0)
      REQUIRE(message.length <= sizeof buffer);
    ANSWERS(ringbus_consumer_wait(consumer, 0), ETIMEDOUT, EPIPE, ESTALE);
  }
  ANSWERS(ringbus_consumer_borrow_batch(consumer, messages, 4, &got), EAGAIN, EPIPE, EOVERFLOW,
          EBUSY, ESTALE);
  while (got > 0)
    expect_inside(&ring->view, &messages[--got]);
  ANSWERS(ringbus_consumer_tell(consumer, &position, &count), 0);
  ANSWERS(ringbus_consumer_seek(consumer, RINGBUS_OLDEST, 0), EINVAL, EOVERFLOW, ESTALE);
  ANSWERS(ringbus_consumer_seek(consumer, RINGBUS_POSITION, position), EINVAL, EOVERFLOW, ESTALE);
  ANSWERS(ringbus_consumer_release(consumer), ESTALE);
  ANSWERS(ringbus_consumer_lost(consumer, &position, &count), 0);
  ANSWERS(ringbus_consumer_detach(consumer), 0);
}

static int open_ring_somehow(bool by_descriptor, const struct ringbus_open_options *options,
                             ringbus_ring **ring) {
  if (!by_descriptor)
    return ringbus_ring_open(path, options, ring);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  int result = ringbus_ring_open_fd(fd, options, ring);
  close(fd);
  return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  struct input input = {bytes, bytes + (count < MOST_BYTES ? count : MOST_BYTES)};
  uint64_t flags = take(&input, 1), roles = take(&input, 1), recovered;
  const struct ringbus_open_options options = {.read_only = flags & 4};
  ringbus_ring *ring;
  make_file(&input, flags & 1, flags & 2);
  write_file();
  if (roles & 128) {
    int code = check_verb.run(1, (char *[]){path, NULL});
    REQUIRE(code == COMMAND_OK || code == COMMAND_DAMAGED);
  }
  if (ANSWERS(open_ring_somehow(flags & 8, &options, &ring), EPROTONOSUPPORT, ESTALE) != 0) {
    ANSWERS(ringbus_ring_remove(path, true), EPROTONOSUPPORT);
    return 0;
  }
  look(ring);
  observe(ring);
  if (!options.read_only) {
    if (roles & 1)
      ANSWERS(ringbus_ring_repair(ring, &recovered), ESTALE);
    if (roles & 2)
      produce(ring);
    if (roles & 4)
      consume(ring, &(struct ringbus_consumer_options){.group = "first"});
    if (roles & 8)
      consume(ring, &(struct ringbus_consumer_options){.group = "second"});
    if (roles & 16)
      consume(ring, &(struct ringbus_consumer_options){.group = "first", .shared = true});
    if (roles & 32)
      consume(ring, NULL);
    if (roles & 64)
      ANSWERS(ringbus_ring_remove_group(ring, "first"), ENOENT, ESTALE);
    if (flags & 16)
      ANSWERS(ringbus_ring_flush(ring), EAGAIN, ESTALE);
    look(ring);
  }
  ANSWERS(ringbus_ring_close(ring), 0);
  if (flags & 32)
    ANSWERS(ringbus_ring_remove(path, true), EPROTONOSUPPORT);
  return 0;
}
