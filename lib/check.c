/* SPDX-License-Identifier: MIT */
/* check.c - is this file a sound ring? Everything is read from the file into private memory first,
 * then judged; nothing of the geometry is ever read again from the file. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

uint64_t hash_bytes(const void *bytes, size_t count) {
  const unsigned char *byte = bytes;
  uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
  for (size_t i = 0; i < count; i++)
    hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
  return hash;
}

static uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/* layout_plan: where things stand, from capacity and the two counts. */
void layout_plan(struct geometry *geometry, uint64_t data_alignment) {
  geometry->slots_offset = sizeof(struct ringbus_header);
  geometry->groups_offset = geometry->slots_offset +
                            round_up((uint64_t)geometry->slot_count * sizeof(struct ringbus_slot),
                                     sizeof(struct ringbus_group));
  geometry->words_offset = round_up(geometry->groups_offset + (uint64_t)geometry->group_count *
                                                                  sizeof(struct ringbus_group),
                                    RINGBUS_LINE);
  bool many = geometry->producers == RINGBUS_PRODUCERS_MANY;
  geometry->granule_shift = many ? 6 : 3;
  geometry->word_shift = many ? 3 : 0;
  geometry->words_bytes = many ? geometry->capacity >> geometry->word_shift : 0;
  geometry->data_offset = round_up(geometry->words_offset + geometry->words_bytes, data_alignment);
  if (!many)
    geometry->words_offset = geometry->data_offset;
  geometry->file_bytes = geometry->data_offset + geometry->capacity;
}

static bool geometry_is_sound(const struct ringbus_identity *identity, struct geometry *planned) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  if (identity->capacity < RINGBUS_MIN_CAPACITY || identity->capacity > RINGBUS_MAX_CAPACITY ||
      (identity->capacity & (identity->capacity - 1)) != 0 || identity->capacity < page ||
      identity->slot_count < 2 || identity->slot_count > RINGBUS_MAX_SLOTS ||
      identity->group_count < 1 || identity->group_count > RINGBUS_MAX_GROUPS ||
      identity->slot_bytes != sizeof(struct ringbus_slot) ||
      identity->group_bytes != sizeof(struct ringbus_group) ||
      identity->identity_bytes != sizeof(struct ringbus_identity) ||
      (identity->producers != RINGBUS_PRODUCERS_SINGLE &&
       identity->producers != RINGBUS_PRODUCERS_MANY) ||
      (identity->policy != RINGBUS_POLICY_RELIABLE &&
       identity->policy != RINGBUS_POLICY_OVERWRITE) ||
      (identity->no_group != RINGBUS_NO_GROUP_HOLD &&
       identity->no_group != RINGBUS_NO_GROUP_DROP) ||
      identity->wake < RINGBUS_WAKE_ASYMMETRIC || identity->wake > RINGBUS_WAKE_NONE)
    return false;
  planned->capacity = identity->capacity;
  planned->slot_count = identity->slot_count;
  planned->group_count = identity->group_count;
  planned->producers = identity->producers;
  planned->policy = identity->policy;
  planned->no_group = identity->no_group;
  planned->wake = identity->wake;
  layout_plan(planned, RINGBUS_DATA_ALIGNMENT);
  if (identity->data_offset != planned->data_offset)
    layout_plan(planned, UINT64_C(2) << 20);
  return identity->granule_shift == planned->granule_shift &&
         identity->word_shift == planned->word_shift &&
         identity->words_offset == planned->words_offset &&
         identity->words_bytes == planned->words_bytes &&
         identity->slots_offset == planned->slots_offset &&
         identity->groups_offset == planned->groups_offset &&
         identity->data_offset == planned->data_offset;
}

int check_size(const ringbus_ring *ring) {
  struct stat status;
  if (fstat(ring->fd, &status) != 0)
    return fail_system("cannot stat the ring");
  if ((uint64_t)status.st_size != ring->geometry.file_bytes)
    return fail(-EBADMSG, "somebody has changed the size of the ring to %lld bytes",
                (long long)status.st_size);
  return 0;
}

int check_may_change(const ringbus_ring *ring) {
  if (ring->forked)
    return fail(-ECHILD, NULL);
  if (ring->read_only)
    return fail(-EPERM, "the ring is open read-only");
  int result = check_size(ring);
  if (result != 0)
    return result;
  return shared_load32(&ring->header->signals.state) & RINGBUS_STATE_RETIRED
             ? fail(-ESTALE, "the ring was retired: open its successor")
             : 0;
}

int check_file(int fd, bool read_only, struct geometry *geometry) {
  struct ringbus_identity identity;
  struct stat status;
  if (fstat(fd, &status) != 0)
    return fail_system("cannot stat the file");
  memset(&identity, 0, sizeof identity);
  ssize_t got = pread(fd, &identity, sizeof identity, 0);
  if (got < 0)
    return fail_system("cannot read the file");
  if (got >= 8 && identity.magic == RINGBUS_MAGIC_SWAPPED)
    return fail(-EPROTONOSUPPORT, "the ring was made by a machine of the other byte order");
  if (got < 8 || identity.magic != RINGBUS_MAGIC)
    return fail(-EBADMSG, "this file is not a ring");
  if ((size_t)got < sizeof identity)
    return fail(-EBADMSG, "the ring is cut short: %lld bytes", (long long)status.st_size);
  if (identity.layout_version == 0)
    return fail(-EPROTONOSUPPORT,
                "the ring was made by a library from before the format was frozen "
                "(layout version 0): make a new one");
  if (identity.layout_version != RINGBUS_LAYOUT_VERSION)
    return fail(-EPROTONOSUPPORT,
                "the ring has layout version %u, this library knows %u: it takes a later library",
                identity.layout_version, RINGBUS_LAYOUT_VERSION);
  size_t hashed_from = offsetof(struct ringbus_identity, layout_version);
  if (identity.checksum != hash_bytes((const char *)&identity + hashed_from,
                                      offsetof(struct ringbus_identity, checksum) - hashed_from))
    return fail(-EBADMSG, "the ring's identity is damaged (checksum)");
  if (identity.features_required & ~RINGBUS_FEATURES_REQUIRED)
    return fail(-EPROTONOSUPPORT, "the ring needs features %#llx that this library does not know",
                (unsigned long long)(identity.features_required & ~RINGBUS_FEATURES_REQUIRED));
  if (!read_only && (identity.features_read & ~RINGBUS_FEATURES_READ))
    return fail(-EPROTONOSUPPORT,
                "the ring has features %#llx that this library can only read: open it read-only",
                (unsigned long long)(identity.features_read & ~RINGBUS_FEATURES_READ));
  if (!geometry_is_sound(&identity, geometry))
    return fail(-EBADMSG, "the ring's geometry contradicts itself");
  if (status.st_size < 0 || (uint64_t)status.st_size != geometry->file_bytes)
    return fail(-EBADMSG, "the ring should have %llu bytes but has %lld",
                (unsigned long long)geometry->file_bytes, (long long)status.st_size);
  if (!read_only && (uint64_t)status.st_blocks * 512 < geometry->file_bytes) {
    /* A sparse copy: a full disk is an error here, not a signal later. */
    int error = posix_fallocate(fd, 0, status.st_size);
    if (error != 0)
      return fail(-error, "cannot reserve the ring's %lld bytes", (long long)status.st_size);
  }
  return 0;
}
