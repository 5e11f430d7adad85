/* SPDX-License-Identifier: MIT */
/* durable.c - rings on a disk: flush, and what a reboot leaves.
 *
 * Pages reach a disk in any order, so after a reboot nothing in the file can be trusted but what a
 * flush has hashed: the records between floor and tail at that moment. If they are still as they were,
 * they are offered again; if anything was overwritten since, all is discarded. On tmpfs nothing
 * survives a reboot, and nothing here applies. */
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define FLUSH_LOCK offsetof(struct ringbus_header, flushed)
/* If nothing is kept, positions that may have been used before are not given out again. */
#define SKIP_AFTER_REBOOT (UINT64_C(1) << 52)

bool read_boot_id(uint8_t boot_id[16]) {
  char text[64] = "";
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0)
    close(fd);
  memset(boot_id, 0, 16);
  int nibbles = 0;
  for (ssize_t i = 0; i < got && nibbles < 32; i++) {
    char c = text[i];
    int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0)
      continue;
    boot_id[nibbles / 2] = (uint8_t)(boot_id[nibbles / 2] << 4 | value);
    nibbles++;
  }
  return nibbles == 32;
}

/* FNV-1a over 8-byte words of the data, and those beside it; positions are multiples of a granule. */
static uint64_t hash_content(const struct ringbus_view *view, uint64_t floor, uint64_t tail) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (uint64_t at = 0; at < tail - floor; at += 8)
    hash = (hash ^ racy_data(view, floor + at)) * UINT64_C(0x100000001b3);
  for (uint64_t at = 0; !view->in_band && at < tail - floor; at += 64)
    hash = (hash ^ racy_word(view, floor + at)) * UINT64_C(0x100000001b3);
  return hash;
}

/* Nobody else is there. Where there are many writers the bank stays 0. */
static void set_counted(const ringbus_ring *ring, uint64_t *field, struct counted pair) {
  if (ring_has_many_producers(ring)) {
    shared_store(field + 1, pair.count);
    shared_store(field, pair.position);
  } else {
    counted_store(field, pair);
  }
}

static uint64_t hash_record(const struct ringbus_flushed *flushed) {
  return hash_bytes(flushed, offsetof(struct ringbus_flushed, check));
}

/* The end of what will not change any more: before the first claim of a producer that lives. */
static bool find_settled_end(ringbus_ring *ring, struct counted *end) {
  do {
    if (!find_gap(ring, end))
      return false;
  } while (claim_is_open(&ring->view, end->position) && claim_recover(ring, end->position));
  return true;
}

int ringbus_ring_flush(ringbus_ring *ring) {
  if (!ring)
    return fail(-EINVAL, "no ring");
  struct visitor visitor;
  int result = check_may_change(ring);
  if (result != 0)
    return result;
  result = visitor_enter(&visitor, ring);
  /* One flush at a time. Not under the table lock: a disk may take seconds. */
  if (result == 0)
    result = lock_patiently(visitor.handle.lock_fd, FLUSH_LOCK, 60, "flush record");
  if (result != 0)
    goto leave;
  struct counted floor, tail;
  struct ringbus_flushed flushed;
  if (!counted_load(&ring->header->floor.position, &floor) || !find_settled_end(ring, &tail) ||
      tail.position - floor.position > ring->geometry.capacity ||
      !position_is_sound(&ring->view, floor.position | tail.position)) {
    result = fail(-EAGAIN, "the ring is being written too fast to be flushed");
    goto unlock;
  }
  memset(&flushed, 0, sizeof flushed);
  flushed.tail = tail.position;
  flushed.tail_count = tail.count;
  flushed.floor = floor.position;
  flushed.floor_count = floor.count;
  flushed.content = hash_content(&ring->view, floor.position, tail.position);
  flushed.flushed_ns = realtime_ns();
  flushed.check = hash_record(&flushed);
  if (ringbus_floor_has_passed(shared_word(&ring->header->floor.position), floor.position)) {
    result = fail(-EAGAIN, "the producer overwrote what was to be flushed");
    goto unlock;
  }
  /* Content first, then the record that vouches for it. */
  if (fdatasync(ring->fd) != 0) {
    result = fail_system("cannot write the ring's content to the disk");
    goto unlock;
  }
  shared_write(&ring->header->flushed, &flushed, sizeof flushed);
  if (fdatasync(ring->fd) != 0)
    result = fail_system("cannot write the ring's header to the disk");
unlock:
  unlock_byte(visitor.handle.lock_fd, FLUSH_LOCK);
leave:
  visitor_leave(&visitor);
  return result;
}

/* The boundary a group resumes at: its own cursor, if that is a record in [floor, tail]. */
static struct counted surviving_cursor(const ringbus_ring *ring, uint32_t index,
                                       struct counted floor, struct counted tail) {
  struct counted cursor = floor;
  uint64_t position = position_of(shared_load(&ring_group(ring, index)->cursor));
  struct counted gate;
  if (group_is_shared(ring, index) && share_gate(ring, index, tail_told(ring), &gate))
    position = gate.position;
  if (distance(position, tail.position) < 0)
    return tail;
  if (distance(floor.position, position) > 0)
    walk_records(&ring->view, &cursor, position);
  return cursor.position == position ? cursor : floor;
}

static void recover(ringbus_ring *ring) {
  struct ringbus_header *header = ring->header;
  struct ringbus_flushed flushed;
  shared_read(&flushed, &header->flushed, sizeof flushed);
  struct counted floor = {flushed.floor, flushed.floor_count};
  struct counted tail = {flushed.tail, flushed.tail_count};
  bool flushed_ever =
      flushed.flushed_ns != 0 && flushed.check == hash_record(&flushed) &&
      position_is_sound(&ring->view, floor.position | tail.position) &&
      ((floor.position | tail.position) & 1) == 0 &&
      tail.position - floor.position <= ring->geometry.capacity - ring->view.in_band;
  struct counted walked = floor;
  walk_records(&ring->view, &walked, tail.position);
  bool intact = flushed_ever && walked.position == tail.position &&
                flushed.content == hash_content(&ring->view, floor.position, tail.position);
  if (!intact) {
    struct counted on_disk;
    counted_load(ring_has_many_producers(ring) ? &header->floor.position : &header->tail.position,
                 &on_disk);
    tail = flushed_ever ? tail : on_disk;
    tail.position = (tail.position & ~ring->view.mask) + SKIP_AFTER_REBOOT;
    floor = tail;
  }
  uint64_t groups = shared_load(&header->join.groups);
  for (uint32_t index = 0; index < ring->geometry.group_count; index++) {
    struct ringbus_group *group = ring_group(ring, index);
    if (!(groups >> index & 1))
      continue;
    if (!(shared_load32(&group->flags) & RINGBUS_GROUP_DURABLE)) {
      shared_clear_bits(&header->join.groups, UINT64_C(1) << index);
      continue;
    }
    struct counted survives = surviving_cursor(ring, index, floor, tail);
    counted_store(&group->cursor, survives);
    if (group_is_shared(ring, index)) {
      share_forget_runs(ring, index);
      share_begin(ring, index, survives);
    }
    shared_store(&group->member, 0);
    if (shared_load32(&group->policy) == RINGBUS_GROUP_GATE_WHILE_ATTACHED)
      shared_store(&group->gating, RINGBUS_GATING_NONE);
    else if (shared_load32(&group->policy) == RINGBUS_GROUP_GATE)
      shared_store(&group->gating, RINGBUS_GATING_SETTLED);
  }
  word_clear(&ring->view, tail.position);
  /* Words beside the data may have reached the disk although they were never flushed. */
  for (uint64_t at = tail.position;
       !ring->view.in_band && at != floor.position + ring->geometry.capacity; at += 64)
    word_clear(&ring->view, at);
  set_counted(ring, &header->floor.position, floor);
  set_counted(ring, &header->tail.position, tail);
  shared_store32(&header->signals.data_waiters, 0);
  shared_store32(&header->signals.room_waiters, 0);
  shared_store(&header->life.epoch, shared_load(&header->life.epoch) + 1);
  fail(0, intact ? "the machine was restarted: what was published after the last flush is discarded"
                 : "the machine was restarted: the ring's content was not flushed, or overwritten "
                   "since, and is discarded");
}

int recover_after_reboot(ringbus_ring *ring) {
  struct statfs filesystem;
  uint64_t boot_id[2], in_file[2];
  struct visitor visitor;
  static const uint64_t unknown[2];
  if (!read_boot_id((uint8_t *)boot_id))
    return 0;
  shared_read(in_file, ring->header->life.boot_id, sizeof in_file);
  if (memcmp(boot_id, in_file, sizeof boot_id) == 0)
    return 0;
  if (fstatfs(ring->fd, &filesystem) != 0)
    return fail_system("cannot tell the ring's filesystem");
  if (filesystem.f_type == TMPFS_MAGIC || filesystem.f_type == RAMFS_MAGIC ||
      filesystem.f_type == HUGETLBFS_MAGIC)
    return 0;
  int result = visitor_enter(&visitor, ring);
  /* Containers may have boot ids of their own: only if nobody is attached, and nobody can attach. */
  if (result == 0 && slots_lock(ring, visitor.handle.lock_fd) == 0) {
    shared_read(in_file, ring->header->life.boot_id, sizeof in_file);
    if (memcmp(boot_id, in_file, sizeof boot_id) != 0) {
      if (memcmp(in_file, unknown, sizeof unknown) != 0)
        recover(ring);
      shared_write(ring->header->life.boot_id, boot_id, sizeof boot_id); /* last: then it is done */
    }
  }
  visitor_leave(&visitor);
  return result;
}
