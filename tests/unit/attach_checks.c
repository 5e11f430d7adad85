/* SPDX-License-Identifier: MIT */
/* attach_checks.c - files that are not, or not quite, rings: each is refused with the right error, or is
 * harmless. The checks are staged: magic and byte order, version, checksum, features, geometry, size.
 *
 * From the table of bugs that such rings have had ("Files and security"):
 *   "mask and capacity both trusted from the header": every_byte_of_the_identity_...; there is no mask in
 *     the file, it is made from the checked capacity.
 *   "signed 32-bit size from a shared header": hostile_geometry_...; sizes are unsigned and 64-bit.
 *   "a half-made header stalls all": every_short_file_is_refused; the magic is written last, and before
 *     the file has a name.
 *   "32-bit counters, 64-bit values torn on 32-bit peers" (Lapping): inline.h does not compile where a
 *     word has not 64 bits.
 *   "producer and consumer fields on one line because the struct base was unaligned" (Performance):
 *     layout.h asserts each offset, and mappings begin at a page. */
#include "internal.h"

#include "suite.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct ringbus_identity original;

static void make(void) {
  cr_result(ringbus_ring_close(test_ring("ring", NULL)), 0);
  test_read_file("ring", 0, &original, sizeof original);
  cr_assert_eq(original.checksum, test_checksum(&original));
}

static void put(const struct ringbus_identity *identity) {
  test_write_file("ring", 0, identity, sizeof *identity);
}

static int try_to_open(bool read_only) {
  struct ringbus_open_options options = {.read_only = read_only};
  ringbus_ring *ring = NULL;
  int result = ringbus_ring_open(test_path("ring"), &options, &ring);
  if (result == 0) {
    cr_result(ringbus_ring_close(ring), 0);
  } else {
    cr_assert_null(ring);
    cr_assert_str_not_empty(ringbus_error_detail());
  }
  return result;
}

/* Open what was changed; if it opens, everything in it must work as in any ring. */
static int try_to_use(void) {
  ringbus_ring *ring = NULL;
  int result = ringbus_ring_open(test_path("ring"), NULL, &ring);
  unsigned char buffer[4096];
  struct ringbus_ring_info info;
  if (result == 0) {
    ringbus_producer *producer = test_producer(ring);
    ringbus_consumer *consumer = test_consumer(ring, NULL);
    cr_result(ringbus_consumer_seek(consumer, RINGBUS_NEWEST, 0), 0); /* it was used before */
    cr_result(ringbus_ring_info(ring, &info), 0);
    cr_assert_eq(info.capacity, 4096);
    for (int i = 0; i < 5; i++) {
      cr_result(ringbus_producer_send(producer, test_content(1), 3000, 0), 0);
      cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
      cr_assert_arr_eq(buffer, test_content(1), 3000);
    }
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_result(ringbus_producer_detach(producer), 0);
    cr_result(ringbus_ring_close(ring), 0);
  }
  return result;
}

Test(attach_checks, every_byte_of_the_identity_changed_to_every_value_is_refused, .timeout = 300) {
  make();
  for (size_t at = 0; at < sizeof original; at++)
    for (unsigned change = 1; change <= 255; change++) {
      struct ringbus_identity changed = original;
      int result;
      ((unsigned char *)&changed)[at] ^= (unsigned char)change;
      put(&changed);
      result = try_to_open(change & 1);
      cr_assert(result == -EBADMSG || result == -EPROTONOSUPPORT, "byte %zu changed by %#x: %s", at,
                change, ringbus_strerror(result));
    }
  put(&original);
  cr_result(try_to_use(), 0);
  printf("figure: a header's identity, each byte damaged | %zu bytes, each of 255 other values, "
         "all refused\n",
         sizeof original);
  fflush(stdout);
}

/* Whoever changes the checksum, too, is not damage but an enemy. */
Test(attach_checks, every_byte_changed_with_a_right_checksum_is_refused_or_harmless,
     .timeout = 300) {
  unsigned step = (unsigned)test_scaled(11, 1);
  uint64_t opened = 0, refused = 0;
  make();
  for (size_t at = 8; at < offsetof(struct ringbus_identity, checksum); at++)
    for (unsigned change = 1; change <= 255; change += step) {
      struct ringbus_identity changed = original;
      int result;
      ((unsigned char *)&changed)[at] ^= (unsigned char)change;
      changed.checksum = test_checksum(&changed);
      put(&changed);
      result = try_to_use();
      cr_assert(result == 0 || result == -EBADMSG || result == -EPROTONOSUPPORT,
                "byte %zu changed by %#x: %s", at, change, ringbus_strerror(result));
      opened += result == 0;
      refused += result != 0;
    }
  printf("figure: a header's identity, each byte changed by an enemy | %llu values, %llu refused, "
         "none "
         "does harm\n",
         (unsigned long long)(opened + refused), (unsigned long long)refused);
  fflush(stdout);
  cr_assert(opened > 0 && refused > 0);
}

/* A call may find the damage, or answer what a file may say that is right: two errors. */
static bool answers(int result, int error, int another) {
  cr_assert(result == 0 || result == -EBADMSG || (error && result == error) ||
                (another && result == another),
            "%d (%s): \"%s\"", result, ringbus_strerror(result), ringbus_error_detail());
  return result == 0;
}

/* Each bit; at full length each value of each byte. */
Test(attach_checks, every_byte_of_the_header_behind_the_identity_may_be_changed, .timeout = 3000) {
  struct ringbus_header header;
  unsigned char *bytes = (unsigned char *)&header;
  unsigned values = 0;
  make();
  test_read_file("ring", 0, &header, sizeof header);
  for (size_t at = sizeof original; at < sizeof header; at++)
    for (unsigned change = 1; change < 256; change += (unsigned)test_scaled(change, 1)) {
      ringbus_ring *ring = NULL;
      ringbus_observer *observer = NULL;
      ringbus_producer *producer = NULL;
      ringbus_consumer *consumer = NULL;
      struct ringbus_ring_info info;
      char buffer[64];
      if (at >= offsetof(struct ringbus_header, reserved) && change != 1u << at % 8)
        continue; /* nobody reads these: one bit of each will do */
      values++;
      bytes[at] ^= (unsigned char)change;
      test_write_file("ring", 0, &header, sizeof header);
      bytes[at] ^= (unsigned char)change;
      if (answers(ringbus_ring_open(test_path("ring"), NULL, &ring), -ESTALE, 0)) {
        answers(ringbus_ring_info(ring, &info), 0, 0);
        if (answers(ringbus_observer_attach(ring, NULL, &observer), 0, 0))
          answers(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), -EAGAIN, -EPIPE);
        answers(ringbus_consumer_attach(ring, NULL, &consumer), -ENOSPC, 0);
        if (answers(ringbus_producer_attach(ring, NULL, &producer), -EPIPE, 0))
          answers(ringbus_producer_send(producer, "x", 1, 0), -EAGAIN, 0);
        if (consumer)
          answers(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -EAGAIN, -EPIPE);
        ringbus_observer_detach(observer);
        ringbus_consumer_detach(consumer);
        ringbus_producer_detach(producer);
        cr_result(ringbus_ring_close(ring), 0);
      }
      test_write_file("ring", 0, &header, sizeof header);
    }
  printf("figure: a header's other bytes, each changed | %u values, none crashes or hangs\n",
         values);
  fflush(stdout);
}

Test(attach_checks, every_short_file_is_refused, .timeout = 60) {
  struct stat status;
  unsigned sizes = 0;
  make();
  cr_assert_eq(stat(test_path("ring"), &status), 0);
  for (off_t size = status.st_size - 1; size >= 0; sizes++) {
    cr_assert_eq(truncate(test_path("ring"), size), 0);
    cr_result(try_to_open(size & 1), -EBADMSG);
    size -= size > 5000 ? (off_t)test_scaled(997, 1) : 1;
  }
  printf("figure: files that are too short | %u sizes refused\n", sizes);
  fflush(stdout);
}

Test(attach_checks, every_long_file_is_refused) {
  static const off_t more[] = {1, 7, 8, 511, 4096, 65536, 1 << 20};
  struct stat status;
  make();
  cr_assert_eq(stat(test_path("ring"), &status), 0);
  for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
    cr_assert_eq(truncate(test_path("ring"), status.st_size + more[i]), 0);
    cr_result(try_to_open(i & 1), -EBADMSG);
  }
  cr_assert_eq(truncate(test_path("ring"), status.st_size), 0);
  cr_result(try_to_use(), 0);
}

Test(attach_checks, the_other_byte_order_is_not_supported) {
  struct ringbus_identity changed;
  make();
  changed = original;
  changed.magic = RINGBUS_MAGIC_SWAPPED;
  put(&changed);
  cr_result(try_to_open(false), -EPROTONOSUPPORT);
  cr_result(try_to_open(true), -EPROTONOSUPPORT);
  changed.layout_version = __builtin_bswap32(original.layout_version);
  changed.capacity = __builtin_bswap64(original.capacity);
  changed.checksum = __builtin_bswap64(test_checksum(&changed));
  put(&changed);
  cr_result(try_to_open(false), -EPROTONOSUPPORT);
  cr_assert_eq(__builtin_bswap64(RINGBUS_MAGIC), RINGBUS_MAGIC_SWAPPED);
}

Test(attach_checks, unknown_versions_are_not_supported) {
  static const uint32_t versions[] = {0, 2, 3, 255, 65536, UINT32_MAX};
  make();
  for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++)
    for (int right = 0; right <= 1; right++) { /* a later format may hash otherwise */
      struct ringbus_identity changed = original;
      changed.layout_version = versions[i];
      if (right)
        changed.checksum = test_checksum(&changed);
      put(&changed);
      cr_result(try_to_open(false), -EPROTONOSUPPORT);
      cr_result(try_to_open(true), -EPROTONOSUPPORT);
      cr_assert(strstr(ringbus_error_detail(),
                       versions[i] ? "it takes a later library" : "before the format was frozen"),
                "\"%s\"", ringbus_error_detail());
    }
}

Test(attach_checks, unknown_features_are_refused_read_only_or_ignored_as_they_say) {
  make();
  for (unsigned bit = 0; bit < 64; bit++) {
    struct ringbus_identity changed = original;
    changed.features_required = UINT64_C(1) << bit;
    changed.checksum = test_checksum(&changed);
    put(&changed);
    cr_result(try_to_open(false), -EPROTONOSUPPORT);
    cr_result(try_to_open(true), -EPROTONOSUPPORT);

    changed.features_required = 0;
    changed.features_read = UINT64_C(1) << bit;
    changed.checksum = test_checksum(&changed);
    put(&changed);
    cr_result(try_to_open(false), -EPROTONOSUPPORT);
    cr_result(try_to_open(true), 0);
    cr_assert(ringbus_ring_remove(test_path("ring"), true) == -EPROTONOSUPPORT);

    changed.features_read = 0;
    changed.features_optional = UINT64_C(1) << bit;
    changed.checksum = test_checksum(&changed);
    put(&changed);
    cr_result(try_to_use(), 0);
  }
}

Test(attach_checks, the_kind_of_a_ring_must_fit_its_geometry) {
  struct ringbus_identity changed;
  make();
  changed = original;
  changed.producers = RINGBUS_PRODUCERS_MANY; /* has words of its own beside the data */
  changed.checksum = test_checksum(&changed);
  put(&changed);
  cr_result(try_to_open(false), -EBADMSG);
  changed.producers = RINGBUS_PRODUCERS_MANY + 1;
  changed.checksum = test_checksum(&changed);
  put(&changed);
  cr_result(try_to_open(false), -EBADMSG);
  changed = original;
  changed.policy = RINGBUS_POLICY_OVERWRITE + 1;
  changed.checksum = test_checksum(&changed);
  put(&changed);
  cr_result(try_to_open(false), -EBADMSG);
  changed.policy = RINGBUS_POLICY_OVERWRITE; /* the same shape */
  changed.checksum = test_checksum(&changed);
  put(&changed);
  cr_result(try_to_open(false), 0);
}

#define SET(field, value)                                                                          \
  { offsetof(struct ringbus_identity, field), sizeof original.field, value, #field " = " #value }

Test(attach_checks, hostile_geometry_with_a_right_checksum_is_refused) {
  static const struct {
    size_t offset, size;
    uint64_t value;
    const char *text;
  } hostile[] = {
      SET(capacity, 0),
      SET(capacity, 1),
      SET(capacity, 8),
      SET(capacity, 2048),
      SET(capacity, 4095),
      SET(capacity, 4097),
      SET(capacity, 4096 * 3),
      SET(capacity, 8192), /* a power of two, but not what the file has */
      SET(capacity, UINT64_C(1) << 31),
      SET(capacity, UINT64_C(1) << 32),
      SET(capacity, UINT64_C(1) << 40),
      SET(capacity, UINT64_C(1) << 41),
      SET(capacity, UINT64_C(1) << 63),
      SET(capacity, UINT64_MAX),
      SET(capacity, UINT64_MAX - 4095),
      SET(capacity, (uint64_t)-4096),
      SET(data_offset, 0),
      SET(data_offset, 4096),
      SET(data_offset, 1),
      SET(data_offset, 65535),
      SET(data_offset, 65536 + 8),
      SET(data_offset, 131072),
      SET(data_offset, UINT64_MAX),
      SET(data_offset, UINT64_MAX - 65535),
      SET(data_offset, UINT64_C(1) << 63),
      SET(data_offset, (uint64_t)-65536),
      SET(words_offset, 0),
      SET(words_offset, 4096),
      SET(words_offset, UINT64_MAX),
      SET(words_offset, UINT64_MAX - 7),
      SET(words_bytes, 8),
      SET(words_bytes, 4096),
      SET(words_bytes, UINT64_MAX),
      SET(granule_shift, 0),
      SET(granule_shift, 2),
      SET(granule_shift, 4),
      SET(granule_shift, 63),
      SET(granule_shift, 64),
      SET(granule_shift, UINT32_MAX),
      SET(word_shift, 1),
      SET(word_shift, 3),
      SET(word_shift, 64),
      SET(word_shift, UINT32_MAX),
      SET(producers, 0),
      SET(producers, 3),
      SET(producers, UINT32_MAX),
      SET(policy, 0),
      SET(policy, 3),
      SET(no_group, 0),
      SET(no_group, 3),
      SET(no_group, UINT32_MAX),
      SET(wake, 0),
      SET(wake, 4),
      SET(wake, UINT32_MAX),
      SET(slots_offset, 0),
      SET(slots_offset, 512),
      SET(slots_offset, 4095),
      SET(slots_offset, 8192),
      SET(slots_offset, UINT64_MAX),
      SET(slots_offset, (uint64_t)-128),
      SET(slot_count, 0),
      SET(slot_count, 1),
      SET(slot_count, 1024),
      SET(slot_count, 1025),
      SET(slot_count, 65536),
      SET(slot_count, 0x80000000),
      SET(slot_count, UINT32_MAX),
      SET(slot_bytes, 0),
      SET(slot_bytes, 64),
      SET(slot_bytes, 256),
      SET(slot_bytes, UINT32_MAX),
      SET(groups_offset, 0),
      SET(groups_offset, 4096),
      SET(groups_offset, UINT64_MAX),
      SET(groups_offset, (uint64_t)-256),
      SET(group_count, 0),
      SET(group_count, 65),
      SET(group_count, 0x01000001),
      SET(group_count, UINT32_MAX),
      SET(group_bytes, 0),
      SET(group_bytes, 128),
      SET(group_bytes, UINT32_MAX),
      SET(identity_bytes, 0),
      SET(identity_bytes, 511),
      SET(identity_bytes, 513),
      SET(identity_bytes, UINT32_MAX),
  };
  make();
  for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
    struct ringbus_identity changed = original;
    uint32_t narrow = (uint32_t)hostile[i].value;
    const void *value = hostile[i].size == 4 ? (const void *)&narrow : &hostile[i].value;
    memcpy((char *)&changed + hostile[i].offset, value, hostile[i].size);
    changed.checksum = test_checksum(&changed);
    put(&changed);
    for (int read_only = 0; read_only <= 1; read_only++) {
      int result = try_to_open(read_only);
      cr_assert_eq(result, -EBADMSG, "%s: %s", hostile[i].text, ringbus_strerror(result));
    }
    cr_assert_eq(ringbus_ring_remove(test_path("ring"), true), -EBADMSG, "%s", hostile[i].text);
  }
}

/* A pair of fields that agree with each other, and even with the size of the file. */
Test(attach_checks, geometry_that_only_agrees_with_itself_is_refused) {
  struct ringbus_identity changed;
  struct stat status;
  make();
  cr_assert_eq(stat(test_path("ring"), &status), 0);
  changed = original;
  changed.data_offset = changed.words_offset = original.data_offset + 4096;
  changed.checksum = test_checksum(&changed);
  put(&changed);
  cr_assert_eq(truncate(test_path("ring"), status.st_size + 4096), 0);
  cr_result(try_to_open(false), -EBADMSG);
  changed = original;
  changed.capacity = (uint64_t)status.st_size; /* with the data over the header */
  changed.data_offset = changed.words_offset = 0;
  changed.checksum = test_checksum(&changed);
  put(&changed);
  cr_result(try_to_open(false), -EBADMSG);
  for (uint64_t capacity = 4096 - 8; capacity <= 3 * 4096; capacity += 8)
    if ((capacity & (capacity - 1)) != 0) { /* no power of two, in a file of just that size */
      changed = original;
      changed.capacity = capacity;
      changed.checksum = test_checksum(&changed);
      put(&changed);
      cr_assert_eq(truncate(test_path("ring"), (off_t)(original.data_offset + capacity)), 0);
      cr_result(try_to_open(capacity & 8), -EBADMSG);
    }
  changed = original;
  changed.slots_offset = 0; /* slots over the identity */
  changed.groups_offset = 512;
  changed.checksum = test_checksum(&changed);
  put(&changed);
  cr_assert_eq(truncate(test_path("ring"), status.st_size), 0);
  cr_result(try_to_open(false), -EBADMSG);
  for (int more = 0; more < 2;
       more++) { /* slots than a word can name, groups than a bit is for; all else fits */
    struct geometry planned = {.capacity = original.capacity,
                               .slot_count = more ? original.slot_count : RINGBUS_MAX_SLOTS + 1,
                               .group_count = more ? RINGBUS_MAX_GROUPS + 1 : original.group_count,
                               .producers = original.producers};
    layout_plan(&planned, RINGBUS_DATA_ALIGNMENT);
    changed = original;
    changed.slot_count = planned.slot_count;
    changed.group_count = planned.group_count;
    changed.groups_offset = planned.groups_offset;
    changed.words_offset = planned.words_offset;
    changed.data_offset = planned.data_offset;
    changed.checksum = test_checksum(&changed);
    put(&changed);
    cr_assert_eq(truncate(test_path("ring"), (off_t)planned.file_bytes), 0);
    cr_result(try_to_open(false), -EBADMSG);
  }
}

/* The geometry is taken once: what a peer writes into the identity afterwards changes nothing. */
Test(attach_checks, an_identity_changed_after_open_changes_nothing) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  struct ringbus_ring_info info;
  unsigned char garbage[512], buffer[4096];
  memset(garbage, 0xff, sizeof garbage);
  test_write_file("ring", 0, garbage, sizeof garbage);
  for (int i = 0; i < 100; i++) {
    cr_result(ringbus_producer_send(producer, test_content((uint64_t)i), 1000, 0), 0);
    cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
    cr_assert_arr_eq(buffer, test_content((uint64_t)i), 1000);
  }
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert(info.capacity == 4096 && info.max_participants == 63 && info.max_groups == 16);
  cr_assert_eq(strnlen(info.library_version, sizeof info.library_version), 31);
  cr_result(ringbus_producer_detach(producer), 0);
  producer = test_producer(ring);
  cr_result(ringbus_producer_send(producer, "x", 1, 0), 0);
}
