/* SPDX-License-Identifier: MIT */
/* golden.c - the library reads files of format 1, everything in them, and goes on with them. The files are
 * those that make.c once made; they are only ever copied. What is expected of them is written here and in
 * "messages" in numbers. */
#include "../unit/suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "frozen.h"

#define HERE RINGBUS_SOURCE_DIR "/tests/golden/"
#define TIME UINT64_C(1700000000000000000)
#define MOST_FILES 64

/* A page must not be larger than the ring; and numbers are as they are on most machines. */
static void check_machine(void) {
  if (sysconf(_SC_PAGESIZE) > 4096 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
    cr_skip_test("the golden files are little-endian, and have rings of 4096 bytes");
}

TestSuite(golden, .init = check_machine, .timeout = 60);

/* ---------------------------------------------------------------- the files */

static size_t files(char names[MOST_FILES][64]) {
  size_t count = 0;
  DIR *stream = opendir(HERE);
  cr_assert_not_null(stream);
  for (struct dirent *entry; (entry = readdir(stream));) {
    char *end = strstr(entry->d_name, ".ring");
    if (!end || end[5])
      continue;
    cr_assert_lt(count, MOST_FILES);
    snprintf(names[count++], 64, "%.*s", (int)(end - entry->d_name), entry->d_name);
  }
  closedir(stream);
  return count;
}

/* The bytes of a file; free() them. */
static unsigned char *bytes_of(const char *name, size_t *size) {
  char path[512], line[256];
  unsigned char *bytes = NULL;
  snprintf(path, sizeof path, HERE "%s.ring", name);
  FILE *text = fopen(path, "r");
  cr_assert_not_null(text, "%s", path);
  *size = 0;
  while (fgets(line, sizeof line, text)) {
    char *digit;
    if (*line == '#')
      continue;
    if (!bytes) {
      cr_assert_eq(sscanf(line, "size %zu", size), 1, "%s", path);
      bytes = calloc(1, *size);
      cr_assert_not_null(bytes);
      continue;
    }
    size_t at = strtoull(line, &digit, 16);
    cr_assert_eq(*digit, ':', "%s", path);
    for (digit++; *digit != '\n'; digit += 2) {
      unsigned value;
      digit += *digit == ' ';
      cr_assert(at < *size && sscanf(digit, "%2x", &value) == 1, "%s", path);
      bytes[at++] = (unsigned char)value;
    }
  }
  fclose(text);
  return bytes;
}

static void copy_to(const char *name, const char *path) {
  size_t size;
  unsigned char *bytes = bytes_of(name, &size);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  cr_assert_geq(fd, 0);
  cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
  close(fd);
  free(bytes);
}

static ringbus_ring *copy_and_open(const char *name) {
  copy_to(name, test_path(name));
  return test_open(name);
}

/* ---------------------------------------------------------------- what is in them */

static struct listed {
  char file[32], begin[32];
  uint64_t position, count, hash, bytes;
  uint32_t length, tag, claimed_by;
} listed[256];
static size_t listed_count;

static void read_list(void) {
  char line[256];
  FILE *text = fopen(HERE "messages", "r");
  cr_assert_not_null(text);
  while (fgets(line, sizeof line, text)) {
    struct listed *l = &listed[listed_count];
    unsigned long long position, count, number;
    char length[16], quoted[40];
    if (*line == '#')
      continue;
    cr_assert_lt(++listed_count, sizeof listed / sizeof *listed);
    cr_assert_eq(sscanf(line, "%31s %llu %llu %15s %u \"%39[^\"\n]\" %llx", l->file, &position,
                        &count, length, &l->tag, quoted, &number) == 7 ||
                     sscanf(line, "%31s %llu %llu %15s %u \"\" %llx", l->file, &position, &count,
                            length, &l->tag, &number) == 6,
                 1, "%s", line);
    if (strstr(line, "\"\""))
      quoted[0] = '\0';
    l->position = position;
    l->count = count;
    if (*length == '-') {
      cr_assert_eq(sscanf(quoted, "claimed by slot %u", &l->claimed_by), 1);
      l->bytes = strtoull(strrchr(line, ' '), NULL, 10);
    } else {
      l->length = (uint32_t)strtoul(length, NULL, 10);
      l->hash = number;
      snprintf(l->begin, sizeof l->begin, "%.31s", quoted);
    }
  }
  fclose(text);
}

static const struct listed *find_listed(const char *file, uint64_t count) {
  if (listed_count == 0)
    read_list();
  for (const struct listed *l = listed; l < listed + listed_count; l++)
    if (!l->claimed_by && strcmp(l->file, file) == 0 && l->count == count)
      return l;
  return NULL;
}

static void expect_message(const struct ringbus_message *message, const char *file,
                           uint64_t count) {
  const struct listed *l = find_listed(file, count);
  const unsigned char *byte = message->data;
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  cr_assert_not_null(l, "%s has no message %llu", file, (unsigned long long)count);
  for (uint32_t i = 0; i < message->length; i++)
    hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
  cr_assert(message->position == l->position && message->length == l->length &&
                message->tag == l->tag && hash == l->hash &&
                memcmp(message->data, l->begin, strlen(l->begin)) == 0,
            "%s, message %llu at %llu", file, (unsigned long long)count,
            (unsigned long long)message->position);
}

/* Polls long enough for the kernel to be asked about the dead. */
static int recv_patiently(ringbus_observer *observer, void *buffer,
                          struct ringbus_message *message) {
  int result = -EAGAIN;
  for (int polls = 0; polls < 2048 && result == -EAGAIN; polls++)
    result = ringbus_observer_recv(observer, buffer, 4096, message);
  return result;
}

Test(golden, every_message_is_there) {
  char names[MOST_FILES][64], buffer[4096];
  size_t count = files(names), seen = 0;
  struct ringbus_message message;
  find_listed("", 0);
  cr_assert_eq(count, 20);
  for (size_t i = 0; i < count; i++) {
    if (strcmp(names[i], "retired") == 0)
      continue;
    copy_to(names[i], test_path(names[i]));
    ringbus_ring *ring = test_open_read_only(names[i]);
    ringbus_observer *observer = test_observer(ring);
    for (;;) {
      uint64_t position, number;
      cr_result(ringbus_observer_tell(observer, &position, &number), 0);
      int result = recv_patiently(observer, buffer, &message);
      if (result != 0) {
        cr_result(result, strcmp(names[i], "closed") == 0 ? -EPIPE : -EAGAIN);
        break;
      }
      expect_message(&message, names[i], number);
      seen++;
    }
    cr_result(ringbus_observer_detach(observer), 0);
    cr_result(ringbus_ring_close(ring), 0);
  }
  cr_assert_eq(seen, 111);
  cr_assert_eq(listed_count, seen + 2, "and one in a retired ring, and a claim");
}

Test(golden, the_longest_and_the_shortest_have_every_byte) {
  static const char *const names[] = {"single-longest", "many-longest"};
  char buffer[4096];
  struct ringbus_message message;
  for (size_t i = 0; i < 2; i++) {
    ringbus_ring *ring = copy_and_open(names[i]);
    cr_result(ringbus_observer_recv(test_observer(ring), buffer, sizeof buffer, &message), 0);
    cr_assert_eq(message.length, 4080);
    for (size_t at = 0; at < 4080; at++)
      cr_assert_eq(buffer[at], (char)('a' + at % 26), "%s, byte %zu", names[i], at);
  }
  ringbus_ring *ring = copy_and_open("single");
  ringbus_observer *observer = test_observer(ring);
  static const struct {
    const char *text;
    uint32_t tag;
  } first[] = {{"", 0},        {"", 7},         {"a", 0},
               {"1234567", 0}, {"12345678", 0}, {"123456789", 4294967295u}};
  for (size_t i = 0; i < 6; i++) {
    cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), 0);
    cr_assert_eq(message.length, strlen(first[i].text));
    cr_assert_eq(message.tag, first[i].tag);
    cr_assert_arr_eq(buffer, first[i].text, message.length);
  }
}

#define HOLD RINGBUS_HOLD
#define DROP RINGBUS_DROP
#define NEAR_END UINT64_C(18446744073709551584) /* 2^64 - 32 */

static const struct {
  const char *name;
  uint32_t participants, groups_at_most, groups;
  bool many, overwrite;
  enum ringbus_no_group no_group;
  enum ringbus_wake wake;
  uint64_t oldest, oldest_count, tail, tail_count, full_events, max_lag, dropped;
} infos[] = {
    {"new", 2, 1, 0, false, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 0, 0, 0, 0, 0, 0, 0},
    {"new-many", 2, 1, 0, true, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 0, 0, 0, 0, 0, 0, 0},
    {"single", 3, 2, 1, false, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 3000, 40, 4168, 49, 0, 0,
     0},
    {"single-longest", 2, 1, 0, false, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 8, 0, 4096, 1, 0, 0,
     0},
    {"many", 4, 2, 1, true, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 3840, 40, 4992, 52, 0, 64, 0},
    {"many-longest", 2, 1, 0, true, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 64, 0, 4160, 1, 0, 0,
     0},
    {"claim", 4, 1, 1, true, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 128, 0, 384, 2, 0, 64, 0},
    {"overwrite", 3, 1, 1, false, true, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 1248, 4, 5304, 17, 0, 0,
     4},
    {"overwrite-many", 3, 1, 1, true, true, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 1600, 5, 5440, 17, 0,
     0, 5},
    {"drop-fenced", 2, 1, 0, false, false, DROP, RINGBUS_WAKE_BY_FENCE, 312, 1, 4368, 14, 0, 0, 1},
    {"hold-never", 2, 1, 0, false, false, HOLD, RINGBUS_WAKE_NEVER, 0, 0, 4032, 8, 1, 4032, 0},
    {"groups", 9, 8, 8, false, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 0, 0, 1872, 6, 0, 0, 0},
    {"shared", 12, 1, 1, true, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 0, 0, 448, 7, 0, 0, 0},
    {"shared-single", 4, 1, 1, false, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 0, 0, 192, 6, 0, 0,
     0},
    {"edge", 3, 1, 1, false, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, NEAR_END, UINT64_MAX - 1, 88,
     3, 0, 0, 0},
    {"edge-many", 4, 1, 1, true, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER,
     UINT64_C(18446744073709551488), UINT64_C(90071992547409918), 256, UINT64_C(90071992547409924),
     0, 0, 0},
    {"closed", 3, 1, 1, false, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 0, 0, 40, 2, 0, 0, 0},
    {"flushed", 3, 1, 1, false, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 0, 0, 120, 4, 0, 0, 0},
    {"flushed-many", 3, 1, 1, true, false, HOLD, RINGBUS_WAKE_BY_MEMBARRIER, 0, 0, 256, 4, 0, 0, 0},
};
#define INFO_COUNT (sizeof infos / sizeof *infos)

Test(golden, what_a_ring_says_of_itself) {
  for (size_t i = 0; i < INFO_COUNT; i++) {
    const char *name = infos[i].name;
    struct ringbus_ring_info info;
    copy_to(name, test_path(name));
    ringbus_ring *ring = test_open_read_only(name);
    cr_result(ringbus_ring_info(ring, &info), 0);
    cr_expect_eq(info.layout_version, 1, "%s", name);
    cr_expect_eq(info.capacity, 4096, "%s", name);
    cr_expect_eq(info.max_message, 4080, "%s", name);
    cr_expect_eq(info.file_bytes, 69632, "%s", name);
    cr_expect_eq(info.max_participants, infos[i].participants, "%s", name);
    cr_expect_eq(info.max_groups, infos[i].groups_at_most, "%s", name);
    cr_expect_eq(info.participants, 0, "%s", name);
    cr_expect_eq(info.groups, infos[i].groups, "%s", name);
    cr_expect_eq(info.many_producers, infos[i].many, "%s", name);
    cr_expect_eq(info.overwrite, infos[i].overwrite, "%s", name);
    cr_expect_eq(info.no_group, infos[i].no_group, "%s", name);
    cr_expect_eq(info.wake, infos[i].wake, "%s", name);
    cr_expect_eq(info.closed, strcmp(name, "closed") == 0, "%s", name);
    cr_expect_not(info.retired, "%s", name);
    cr_expect_eq(info.oldest, infos[i].oldest, "%s", name);
    cr_expect_eq(info.oldest_count, infos[i].oldest_count, "%s", name);
    cr_expect_eq(info.tail, infos[i].tail, "%s: %llu", name, (unsigned long long)info.tail);
    cr_expect_eq(info.tail_count, infos[i].tail_count, "%s", name);
    cr_expect_eq(info.full_events, infos[i].full_events, "%s", name);
    cr_expect_eq(info.max_lag, infos[i].max_lag, "%s: %llu", name,
                 (unsigned long long)info.max_lag);
    cr_expect_eq(info.dropped, infos[i].dropped, "%s: %llu", name,
                 (unsigned long long)info.dropped);
    cr_expect_eq(info.broken_cursors, 0, "%s", name);
    cr_expect_eq(info.recovered, 0, "%s", name);
    cr_expect_eq(info.epoch, 0, "%s", name);
    cr_expect_eq(info.created_ns, TIME, "%s", name);
    cr_expect_arr_eq(info.ring_id, "a golden ring id", 16, "%s", name);
    cr_expect_str_eq(info.library_version, "0.1.0", "%s", name);
    cr_result(ringbus_ring_close(ring), 0);
  }
}

static void expect_dead(ringbus_ring *ring, uint32_t slot, enum ringbus_role role, const char *name,
                        const char *group) {
  struct ringbus_participant who;
  cr_result(ringbus_ring_participant(ring, slot, &who), 0);
  cr_assert_not(who.alive);
  cr_assert_eq(who.slot, slot);
  cr_assert_eq(who.role, role);
  cr_assert_eq(who.pid, 4000 + slot);
  cr_assert_eq(who.attached_ns, TIME + slot);
  cr_assert_str_eq(who.name, name);
  cr_assert_str_eq(who.group, group);
}

static void expect_blame(ringbus_ring *ring, enum ringbus_role waiting,
                         const struct ringbus_blame *expected) {
  struct ringbus_blame blame;
  cr_result(ringbus_ring_blame(ring, waiting, &blame), 0);
  cr_assert_eq(blame.slot, expected->slot);
  cr_assert_eq(blame.position, expected->position);
  cr_assert_eq(blame.bytes, expected->bytes, "%llu", (unsigned long long)blame.bytes);
  cr_assert_eq(blame.since_ns, expected->since_ns);
  cr_assert_str_eq(blame.group, expected->group);
}

Test(golden, who_was_attached_and_who_waits_for_whom) {
  struct ringbus_participant who;
  struct ringbus_blame blame;
  ringbus_ring *ring = copy_and_open("single");
  expect_dead(ring, 1, RINGBUS_PRODUCER, "writes", "");
  expect_dead(ring, 2, RINGBUS_CONSUMER, "reads", "reader");
  cr_result(ringbus_ring_participant(ring, 3, &who), -ENOENT);
  expect_blame(ring, RINGBUS_PRODUCER,
               &(struct ringbus_blame){.group = "reader", .position = 3024, .bytes = 1144});
  cr_result(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), -ENOENT);

  ring = copy_and_open("claim");
  expect_dead(ring, 1, RINGBUS_PRODUCER, "one", "");
  expect_dead(ring, 2, RINGBUS_PRODUCER, "two", "");
  expect_dead(ring, 3, RINGBUS_CONSUMER, "reads", "reader");
  expect_blame(
      ring, RINGBUS_CONSUMER,
      &(struct ringbus_blame){.slot = 2, .position = 192, .bytes = 128, .since_ns = TIME + 200});

  ring = copy_and_open("shared");
  expect_blame(ring, RINGBUS_PRODUCER,
               &(struct ringbus_blame){.slot = 2, .group = "workers", .position = 0, .bytes = 448});

  ring = copy_and_open("groups");
  expect_dead(ring, 4, RINGBUS_CONSUMER, "h", "joining");
  expect_dead(ring, 8, RINGBUS_CONSUMER, "g", "back");
  expect_blame(ring, RINGBUS_PRODUCER,
               &(struct ringbus_blame){.group = "joining", .position = 0, .bytes = 1872});
}

/* ---------------------------------------------------------------- nothing else is in them */

static void expect_zero(const char *name, const void *bytes, size_t count) {
  for (size_t i = 0; i < count; i++)
    cr_assert_eq(((const unsigned char *)bytes)[i], 0, "%s: a reserved byte is used", name);
}
#define EXPECT_ZERO(field) expect_zero(names[i], &(field), sizeof(field))

Test(golden, whatever_is_reserved_is_zero) {
  char names[MOST_FILES][64];
  size_t count = files(names), size;
  for (size_t i = 0; i < count; i++) {
    unsigned char *file = bytes_of(names[i], &size);
    struct ringbus_header *header = (void *)file;
    struct ringbus_identity *identity = &header->identity;
    struct ringbus_slot *slot = (void *)(file + identity->slots_offset);
    struct ringbus_group *group = (void *)(file + identity->groups_offset);
    cr_assert_eq(identity->checksum, test_checksum(identity));
    EXPECT_ZERO(identity->features_required);
    EXPECT_ZERO(identity->features_read);
    EXPECT_ZERO(identity->features_optional);
    EXPECT_ZERO(identity->reserved);
    EXPECT_ZERO(header->life.reserved);
    EXPECT_ZERO(header->signals.reserved);
    EXPECT_ZERO(header->tail.reserved);
    EXPECT_ZERO(header->floor.reserved);
    EXPECT_ZERO(header->join.reserved);
    EXPECT_ZERO(header->counters.reserved);
    EXPECT_ZERO(header->flushed.reserved);
    EXPECT_ZERO(header->reserved);
    EXPECT_ZERO(slot[0]);
    expect_zero(names[i], slot + identity->slot_count,
                (size_t)((char *)group - (char *)(slot + identity->slot_count)));
    for (uint32_t g = 0; g < identity->group_count; g++) {
      EXPECT_ZERO(group[g].reserved0);
      EXPECT_ZERO(group[g].reserved1);
      EXPECT_ZERO(group[g].reserved2);
    }
    unsigned char *words = file + identity->words_offset + identity->words_bytes;
    if (identity->producers == RINGBUS_PRODUCERS_SINGLE)
      words = (unsigned char *)(group + identity->group_count);
    expect_zero(names[i], words, (size_t)(file + identity->data_offset - words));
    free(file);
  }
}

/* What is written, not only what is read. */
Test(golden, a_new_ring_is_written_like_the_golden_one) {
  for (int many = 0; many <= 1; many++) {
    struct ringbus_create_options options = {
        .capacity = 4096, .max_participants = 2, .max_groups = 1, .many_producers = many};
    size_t sizes[2];
    cr_result(ringbus_ring_close(test_ring(many ? "made-many" : "made", &options)), 0);
    unsigned char *files_[2] = {bytes_of(many ? "new-many" : "new", &sizes[0]),
                                test_read_whole(many ? "made-many" : "made", &sizes[1])};
    cr_assert_eq(sizes[0], sizes[1]);
    for (int i = 0; i < 2; i++) {
      struct ringbus_header *header = (void *)files_[i];
      struct ringbus_identity *identity = &header->identity;
      cr_assert_eq(identity->checksum, test_checksum(identity));
      memset(identity->ring_id, 0, sizeof identity->ring_id);
      memset(identity->library_version, 0, sizeof identity->library_version);
      memset(header->life.boot_id, 0, sizeof header->life.boot_id);
      identity->created_ns = identity->creator_pid = identity->creator_uid = 0;
      identity->checksum = 0;
    }
    cr_assert_arr_eq(files_[0], files_[1], sizes[0]);
    free(files_[0]);
    free(files_[1]);
  }
}

/* ---------------------------------------------------------------- going on */

#define MOST_READERS 8

/* Some laps of the ring, by a producer and all these readers; of a shared group each message goes to one. */
static void go_on(ringbus_ring *ring, ringbus_consumer **readers, size_t count, bool shared) {
  ringbus_producer *producer = test_producer(ring);
  unsigned char buffer[600];
  struct ringbus_message message;
  for (unsigned n = 0; n < 100; n++) {
    size_t length = n * 37 % 600, got = 0;
    uint32_t tag = n % 3 ? n : 0;
    cr_result(ringbus_producer_send(producer, test_content(n), length, tag), 0);
    for (size_t i = 0; i < count; i++) {
      int result = ringbus_consumer_recv(readers[i], buffer, sizeof buffer, &message);
      if (shared && result == -EAGAIN)
        continue;
      cr_result(result, 0);
      cr_assert_eq(message.length, length);
      cr_assert_eq(message.tag, tag);
      cr_assert_arr_eq(buffer, test_content(n), length);
      cr_assert_not(message.redelivered);
      got++;
    }
    cr_assert_eq(got, shared ? 1 : count);
    for (size_t i = 0; i < count; i++)
      cr_result(ringbus_consumer_recv(readers[i], buffer, sizeof buffer, &message), -EAGAIN);
  }
  cr_result(ringbus_producer_detach(producer), 0);
}

static int recv_by_and_by(ringbus_consumer *consumer, void *buffer,
                          struct ringbus_message *message) {
  int result = -EAGAIN;
  for (int polls = 0; polls < 2048 && result == -EAGAIN; polls++)
    result = ringbus_consumer_recv(consumer, buffer, 4096, message);
  return result;
}

static void expect_all(const char *file, ringbus_consumer *consumer, uint64_t first,
                       uint64_t behind) {
  char buffer[4096];
  struct ringbus_message message;
  uint64_t count;
  for (; first != behind; first++) {
    cr_result(ringbus_consumer_tell(consumer, NULL, &count), 0);
    cr_assert_eq(count, first, "%s: %llu", file, (unsigned long long)count);
    cr_result(recv_by_and_by(consumer, buffer, &message), 0);
    expect_message(&message, file, first);
    cr_assert_not(message.redelivered);
  }
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), -EAGAIN);
}

/* The group "reader", which is new in some of the rings. */
Test(golden, a_reader_goes_on_behind_what_was_released) {
  static const struct {
    const char *name;
    uint64_t first, behind, lost, lost_bytes, recovered;
  } cases[] = {
      {"new", 0, 0, 0, 0, 0},
      {"new-many", 0, 0, 0, 0, 0},
      {"single", 42, 49, 0, 0, 0},
      {"single-longest", 0, 1, 0, 0, 0},
      {"many", 42, 52, 0, 0, 0},
      {"many-longest", 0, 1, 0, 0, 0},
      {"claim", 1, 2, 0, 0, 1},
      {"overwrite", 4, 17, 2, 624, 0},
      {"overwrite-many", 5, 17, 3, 960, 0},
      {"drop-fenced", 1, 14, 0, 0, 0},
      {"hold-never", 0, 8, 0, 0, 0},
      {"edge", UINT64_MAX, 3, 0, 0, 0},
      {"flushed", 2, 4, 0, 0, 0},
      {"flushed-many", 2, 4, 0, 0, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *name = cases[i].name;
    struct ringbus_ring_info info;
    uint64_t lost, lost_bytes;
    ringbus_ring *ring = copy_and_open(name);
    ringbus_consumer *consumer = test_consumer(ring, "reader");
    cr_result(ringbus_consumer_lost(consumer, &lost, &lost_bytes), 0);
    cr_assert_eq(lost, cases[i].lost, "%s", name);
    cr_assert_eq(lost_bytes, cases[i].lost_bytes, "%s", name);
    expect_all(name, consumer, cases[i].first, cases[i].behind);
    cr_result(ringbus_ring_info(ring, &info), 0);
    cr_assert_eq(info.recovered, cases[i].recovered, "%s", name);
    go_on(ring, &consumer, 1, false);
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_result(ringbus_ring_close(ring), 0);
  }
}

/* The next publisher wakes nobody in vain twice. */
Test(golden, who_died_asleep_is_forgotten) {
  struct ringbus_signals signals;
  ringbus_ring *ring = copy_and_open("claim");
  test_read_file("claim", 640, &signals, sizeof signals);
  cr_assert_eq(signals.data_waiters, 3);
  ringbus_producer *producer = test_producer(ring);
  test_read_file("claim", 640, &signals, sizeof signals);
  cr_assert_eq(signals.data_waiters, 0);
  cr_assert_eq(signals.sleeps, 2);
  cr_result(ringbus_producer_send(producer, "x", 1, 0), 0);
}

Test(golden, an_end_is_an_end) {
  char buffer[64];
  ringbus_producer *producer;
  ringbus_ring *ring = copy_and_open("closed");
  ringbus_consumer *consumer = test_consumer(ring, "reader");
  struct ringbus_message message;
  cr_result(ringbus_producer_attach(ring, NULL, &producer), -EPIPE);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), 0);
  expect_message(&message, "closed", 1);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), -EPIPE);

  copy_to("retired", test_path("retired"));
  cr_result(ringbus_ring_open(test_path("retired"), NULL, &ring), -ESTALE);
  cr_result(ringbus_ring_remove(test_path("retired"), false), 0);
}

/* ---------------------------------------------------------------- groups */

static const struct {
  const char *name;
  enum ringbus_policy policy;
  bool durable, gating, shared;
  uint64_t max_lag, cursor, count, lag_bytes, lag_messages;
} groups[] = {
    {"archive", RINGBUS_GATE, true, true, false, 0, 312, 1, 1560, 5},
    {"screen", RINGBUS_GATE_WHILE_ATTACHED, true, true, false, 0, 624, 2, 1248, 4},
    {"left", RINGBUS_GATE_WHILE_ATTACHED, true, false, false, 0, 936, 3, 936, 3},
    {"watch", RINGBUS_LAPPED, true, false, false, 0, 1248, 4, 624, 2},
    {"limited", RINGBUS_GATE, true, true, false, 1000, 312, 1, 1560, 5},
    {"#7.1", RINGBUS_GATE, false, true, false, 0, 1560, 5, 312, 1},
    {"back", RINGBUS_GATE, true, true, false, 0, 312, 1, 1560, 5},
    {"joining", RINGBUS_GATE, true, true, false, 0, 0, 0, 1872, 6},
};

Test(golden, groups_are_as_they_were_left) {
  struct ringbus_group_info info;
  ringbus_ring *ring = copy_and_open("groups");
  for (uint32_t i = 0; i < 8; i++) {
    cr_result(ringbus_ring_group(ring, i, &info), 0);
    cr_assert_str_eq(info.name, groups[i].name);
    cr_expect_eq(info.policy, groups[i].policy, "%s", info.name);
    cr_expect_eq(info.durable, groups[i].durable, "%s", info.name);
    cr_expect_eq(info.gating, groups[i].gating, "%s", info.name);
    cr_expect_not(info.shared, "%s", info.name);
    cr_expect_not(info.attached, "%s", info.name);
    cr_expect_eq(info.members, 0, "%s", info.name);
    cr_expect_eq(info.max_lag, groups[i].max_lag, "%s", info.name);
    cr_expect_eq(info.cursor, groups[i].cursor, "%s", info.name);
    cr_expect_eq(info.cursor_count, groups[i].count, "%s", info.name);
    cr_expect_eq(info.lag_bytes, groups[i].lag_bytes, "%s", info.name);
    cr_expect_eq(info.lag_messages, groups[i].lag_messages, "%s", info.name);
    cr_expect_eq(info.lost_messages, 0, "%s", info.name);
    cr_expect_eq(info.lost_bytes, 0, "%s", info.name);
    cr_expect_eq(info.redelivered, 0, "%s", info.name);
  }
}

/* A join and a seek that were cut short are finished; who is waited for only while attached is not. */
Test(golden, groups_of_the_dead_are_put_in_order) {
  static const uint64_t gating[] = {RINGBUS_GATING_SETTLED, RINGBUS_GATING_NONE,
                                    RINGBUS_GATING_NONE,    RINGBUS_GATING_NONE,
                                    RINGBUS_GATING_SETTLED, 0,
                                    RINGBUS_GATING_SETTLED, RINGBUS_GATING_SETTLED};
  struct ringbus_group_info info;
  ringbus_ring *ring = copy_and_open("groups");
  cr_result(ringbus_ring_repair(ring, NULL), 0);
  for (uint32_t i = 0; i < 8; i++) {
    struct ringbus_group group;
    if (!groups[i].durable) {
      cr_result(ringbus_ring_group(ring, i, &info), -ENOENT);
      continue;
    }
    cr_result(ringbus_ring_group(ring, i, &info), 0);
    cr_assert_eq(info.cursor, groups[i].cursor, "%s", info.name);
    cr_assert_eq(info.cursor_count, groups[i].count, "%s", info.name);
    test_read_file("groups", 4096 + 1536 + i * sizeof group, &group, sizeof group);
    cr_assert_str_eq(group.name, groups[i].name);
    cr_assert_eq(group.gating & RINGBUS_GATING_MASK, gating[i], "%s", info.name);
  }
}

Test(golden, every_group_goes_on_where_it_stood) {
  ringbus_ring *ring = copy_and_open("groups");
  ringbus_consumer *readers[MOST_READERS];
  size_t count = 0;
  for (uint32_t i = 0; i < 8; i++)
    if (groups[i].durable) {
      struct ringbus_consumer_options options = {.group = groups[i].name};
      cr_result(ringbus_consumer_attach(ring, &options, &readers[count]), 0);
      expect_all("groups", readers[count++], groups[i].count, 6);
    }
  go_on(ring, readers, count, false);
}

/* What is delivered again, and what for the first time: bits of the messages' numbers. */
static void expect_work(const char *file, uint64_t base, unsigned again, unsigned fresh) {
  struct ringbus_consumer_options options = {.group = "workers", .shared = true};
  ringbus_ring *ring = copy_and_open(file);
  ringbus_consumer *members[2];
  struct ringbus_message message;
  char buffer[4096];
  unsigned got[2] = {0, 0};
  for (size_t i = 0; i < 2; i++)
    cr_result(ringbus_consumer_attach(ring, &options, &members[i]), 0);
  for (unsigned turn = 0, idle = 0; idle < 2; turn++) {
    uint64_t number = base;
    int result = recv_by_and_by(members[turn % 2], buffer, &message);
    idle = result == 0 ? 0 : idle + 1;
    if (result == -EAGAIN)
      continue;
    cr_result(result, 0);
    while (find_listed(file, number) && find_listed(file, number)->position != message.position)
      number++;
    expect_message(&message, file, number);
    cr_assert_eq((got[0] | got[1]) >> (number - base) & 1, 0, "%s: %llu comes twice", file,
                 (unsigned long long)number);
    got[message.redelivered] |= 1u << (number - base);
  }
  cr_assert_eq(got[1], again, "%s: %#x", file, got[1]);
  cr_assert_eq(got[0], fresh, "%s: %#x", file, got[0]);
  go_on(ring, members, 2, true);
}

static void expect_shared_group(const char *file, uint64_t cursor, uint64_t count, uint64_t bytes,
                                uint64_t messages, uint64_t redelivered) {
  struct ringbus_group_info info;
  ringbus_ring *ring;
  copy_to(file, test_path("looked-at"));
  ring = test_open_read_only("looked-at");
  cr_result(ringbus_ring_group(ring, 0, &info), 0);
  cr_assert_str_eq(info.name, "workers");
  cr_assert(info.shared && info.durable && info.gating && !info.attached);
  cr_assert_eq(info.cursor, cursor);
  cr_assert_eq(info.cursor_count, count);
  cr_assert_eq(info.lag_bytes, bytes);
  cr_assert_eq(info.lag_messages, messages);
  cr_assert_eq(info.redelivered, redelivered);
}

Test(golden, a_shared_group_gets_what_its_dead_members_held) {
  expect_shared_group("shared", 0, 0, 448, 7, 0);
  /* Held; coming, and come; not come, so with whom it was; noted, and taken: those who lost the race for
   * it, and who wanted nothing twice, leave nothing. */
  expect_work("shared", 0, 1u << 0 | 1u << 1 | 1u << 2 | 1u << 4, 1u << 5 | 1u << 6);
}

Test(golden, a_shared_group_gets_the_rest_of_a_run_that_was_taken_over) {
  expect_shared_group("shared-single", 32, 1, 160, 5, 1);
  expect_work("shared-single", 0, 1u << 1 | 1u << 2, 1u << 3 | 1u << 4 | 1u << 5);
}

Test(golden, a_shared_group_goes_on_over_the_edge_of_positions_and_counts) {
  uint64_t base = UINT64_C(90071992547409918);
  expect_shared_group("edge-many", UINT64_C(18446744073709551552), base + 1, 320, 5, 0);
  expect_work("edge-many", base, 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4, 1u << 5);
}

/* ---------------------------------------------------------------- after a reboot */

static char disk_path[300];

static bool copy_to_a_disk(const char *name) {
  static const char *const places[] = {"/var/tmp", "/tmp", "."};
  struct stat place, memory;
  ringbus_ring *ring;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(disk_path, sizeof disk_path, "%s/ringbus-test-golden.%d", places[i], (int)getpid());
    if (stat(places[i], &place) != 0 || stat(test_directory(), &memory) != 0 ||
        place.st_dev == memory.st_dev || ringbus_ring_create(disk_path, NULL, &ring) != 0)
      continue; /* rings cannot be everywhere */
    cr_result(ringbus_ring_close(ring), 0);
    unlink(disk_path);
    copy_to(name, disk_path);
    return true;
  }
  return false;
}

static void remove_from_disk(void) { unlink(disk_path); }

/* The files have the boot id of another day. */
Test(golden, after_a_reboot_what_was_flushed_is_offered_again, .fini = remove_from_disk) {
  static const struct {
    const char *name;
    uint64_t tail;
  } cases[] = {{"flushed", 96}, {"flushed-many", 192}};
  for (size_t i = 0; i < 2; i++) {
    struct ringbus_ring_info info;
    ringbus_ring *ring;
    if (!copy_to_a_disk(cases[i].name))
      cr_skip_test("no disk here on which a ring may be created");
    cr_result(ringbus_ring_open(disk_path, NULL, &ring), 0);
    cr_assert(strstr(ringbus_error_detail(), "published after the last flush is discarded"));
    cr_result(ringbus_ring_info(ring, &info), 0);
    cr_assert_eq(info.epoch, 1);
    cr_assert_eq(info.tail, cases[i].tail);
    cr_assert_eq(info.tail_count, 3);
    ringbus_consumer *consumer = test_consumer(ring, "reader");
    expect_all(cases[i].name, consumer, 2, 3);
    go_on(ring, &consumer, 1, false);
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_result(ringbus_ring_close(ring), 0);
    remove_from_disk();
  }
}
