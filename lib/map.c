/* SPDX-License-Identifier: MIT */
/* map.c - the only file that makes mapping system calls.
 *
 *   [ header, slots, groups ][ data ][ data again ][ PROT_NONE ]
 *
 * The address range is reserved first, so the second view stands right behind the first and nothing
 * else of the process can be reached by running over the end. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define GUARD_BYTES 65536u /* at least one page on every machine */
#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)

int map_ring(ringbus_ring *ring, const struct ringbus_open_options *options) {
  const struct geometry *geometry = &ring->geometry;
  int protection = PROT_READ | (ring->read_only ? 0 : PROT_WRITE);
  int flags = MAP_SHARED | MAP_FIXED | (options->prefault ? MAP_POPULATE : 0);
  uint64_t views = geometry->file_bytes + geometry->capacity;
  /* Aligned to a huge page when the data is, which hugetlbfs demands. */
  uint64_t alignment = geometry->data_offset % HUGE_PAGE_BYTES == 0 ? HUGE_PAGE_BYTES : 1;
  uint64_t reserved = views + GUARD_BYTES + alignment;
  char *area = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED)
    return fail_system("cannot reserve %llu bytes of address space", (unsigned long long)reserved);
  char *base = (char *)(((uintptr_t)area + alignment - 1) & ~(uintptr_t)(alignment - 1));
  if (base > area)
    munmap(area, (size_t)(base - area));
  ring->mapped_bytes = reserved - (size_t)(base - area);
  ring->header = (struct ringbus_header *)(void *)base;

  char *data = base + geometry->data_offset;
  char *again = data + geometry->capacity;
  if (mmap(base, geometry->file_bytes, protection, flags, ring->fd, 0) == MAP_FAILED ||
      mmap(again, geometry->capacity, protection, flags, ring->fd, (off_t)geometry->data_offset) ==
          MAP_FAILED) {
    int error = -errno;
    unmap_ring(ring);
    return fail(error, "cannot map the ring's %llu bytes",
                (unsigned long long)geometry->file_bytes);
  }
  /* A child of fork must not touch the ring with its parent's identity, and a core dump of a large
   * ring would keep the participant's lock for as long as it is written. */
  if (madvise(base, views, MADV_DONTFORK) != 0 || madvise(base, views, MADV_DONTDUMP) != 0) {
    int error = -errno;
    unmap_ring(ring);
    return fail(error, "madvise(MADV_DONTFORK, MADV_DONTDUMP) is refused here");
  }
  if (options->huge_pages) /* advice: where there are none, small pages do */
    madvise(data, 2 * geometry->capacity, MADV_HUGEPAGE);
  if (options->lock_memory && mlock(base, views) != 0) {
    int error = -errno;
    unmap_ring(ring);
    return fail(error, "cannot lock %llu bytes in memory: raise RLIMIT_MEMLOCK (ulimit -l)",
                (unsigned long long)views);
  }
  return 0;
}

/* Through a mapping, since hugetlbfs has no write(2). */
int write_start(int fd, const void *bytes, size_t count, size_t mapped_bytes) {
  void *start = mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED)
    return fail_system("cannot map the new ring");
  memcpy(start, bytes, count);
  munmap(start, mapped_bytes);
  return 0;
}

void unmap_ring(ringbus_ring *ring) {
  if (ring->header)
    munmap(ring->header, ring->mapped_bytes);
  ring->header = NULL;
}
