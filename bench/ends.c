/* SPDX-License-Identifier: MIT */
/* ends.c - shared memory, rings, and attaching to them. */
#include "bench.h"

#include <fcntl.h>
#include <sys/mman.h>

void *bench_map_shared(size_t size) {
  void *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED)
    bench_fail("shared memory", -errno);
  return memory;
}

int bench_make_ring(const struct ringbus_create_options *options) {
  ringbus_ring *ring;
  int fd = -1;
  int result = ringbus_ring_create_anonymous(options, &ring);
  if (result == 0)
    result = ringbus_ring_fd(ring, &fd);
  if (result == 0 && (fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
    result = -errno;
  if (result == 0)
    result = ringbus_ring_close(ring);
  if (result != 0)
    bench_fail("making a ring", result);
  return fd;
}

static ringbus_ring *open_ring(int fd) {
  struct ringbus_open_options options = {.prefault = true};
  ringbus_ring *ring;
  int result = ringbus_ring_open_fd(fd, &options, &ring);
  if (result != 0)
    bench_fail("opening a ring", result);
  return ring;
}

ringbus_producer *bench_produce_in(int ring_fd) {
  struct ringbus_producer_options options = {.name = "bench"};
  ringbus_ring *ring = open_ring(ring_fd);
  ringbus_producer *producer;
  int result = ringbus_producer_attach(ring, &options, &producer);
  if (result == 0)
    result = ringbus_ring_close(ring);
  if (result != 0)
    bench_fail("attaching a producer", result);
  return producer;
}

ringbus_consumer *bench_consume_from(int ring_fd, struct ringbus_consumer_options options,
                                     const struct bench *bench) {
  ringbus_ring *ring = open_ring(ring_fd);
  ringbus_consumer *consumer;
  options.name = "bench";
  options.hand_back = bench->hand_back;
  int result = ringbus_consumer_attach(ring, &options, &consumer);
  if (result == 0)
    result = ringbus_ring_close(ring);
  if (result != 0)
    bench_fail("attaching a consumer", result);
  return consumer;
}
