/* SPDX-License-Identifier: MIT */
/* ends.c - what messages go through: shared memory, rings, pipes, sockets, message queues. */
#include "bench.h"

#include <fcntl.h>
#include <malloc.h>
#include <mqueue.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

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

void bench_handle_bytes(size_t bytes[3]) {
  const struct ringbus_create_options options = {.capacity = 4096};
  const struct bench bench = {.hand_back = RINGBUS_HAND_BACK_DEFAULT};
  const int fd = bench_make_ring(&options);
  ringbus_ring *ring = open_ring(fd);
  ringbus_producer *producer = bench_produce_in(fd);
  ringbus_consumer *consumer =
      bench_consume_from(fd, (struct ringbus_consumer_options){.group = NULL}, &bench);
  bytes[0] = malloc_usable_size(ring);
  bytes[1] = malloc_usable_size(producer);
  bytes[2] = malloc_usable_size(consumer);
  (void)ringbus_consumer_detach(consumer);
  (void)ringbus_producer_detach(producer);
  (void)ringbus_ring_close(ring);
  (void)close(fd);
}

/* What every user may have, unless the system allows less. */
enum { QUEUE_MESSAGES = 10, QUEUE_BYTES = 8192 };

static long limited(const char *path, long value) {
  long limit;
  FILE *file = fopen(path, "re");
  if (file && fscanf(file, "%ld", &limit) == 1 && limit > 0 && limit < value)
    value = limit;
  if (file)
    (void)fclose(file);
  return value;
}

/* -1 if there are none to be had. */
static int make_queue(uint32_t *largest) {
  struct mq_attr attributes = {.mq_maxmsg = limited("/proc/sys/fs/mqueue/msg_max", QUEUE_MESSAGES),
                               .mq_msgsize =
                                   limited("/proc/sys/fs/mqueue/msgsize_max", QUEUE_BYTES)};
  char name[32];
  (void)snprintf(name, sizeof name, "/ringbus-bench.%d", (int)getpid());
  int queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
  if (queue >= 0)
    (void)mq_unlink(name);
  if (queue < 0)
    *largest = 0;
  else if (attributes.mq_msgsize < *largest)
    *largest = (uint32_t)attributes.mq_msgsize;
  return queue;
}

/* Whether so many GiB of memory are free: several times as many as a ring takes, so that it harms nobody. */
static bool has_memory(long gib) {
  long available = 0;
  char line[256];
  FILE *file = fopen("/proc/meminfo", "re");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "MemAvailable: %ld", &available) == 1) // NOLINT(cert-err34-c)
      break;
  if (file)
    (void)fclose(file);
  return available >= gib * 1024 * 1024; /* KiB */
}

/* What would not fit there later would be a signal. */
static bool has_room_for_names(void) {
  struct statvfs shm;
  return statvfs("/dev/shm", &shm) == 0 && shm.f_bavail * shm.f_frsize >= UINT64_C(256) << 20;
}

void bench_open_channels(struct bench *bench, struct bench_channels *channels) {
  const int wanted = (int)BENCH_RING; /* or as much as the system allows */
  int bytes;
  socklen_t size = sizeof bytes;
  for (unsigned i = 0; i < BENCH_CHANNELS; i++)
    bench->largest[i] = BENCH_MAX_MESSAGE;
  if (!has_memory(4))
    bench->largest[BENCH_LARGE_RINGS] = 0;
  if (!has_memory(32))
    bench->largest[BENCH_HUGE_RINGS] = 0;
  if (!has_room_for_names())
    bench->largest[BENCH_NAMED] = 0;
  for (unsigned way = 0; way < BENCH_WAYS; way++) {
    if (pipe2(channels->pipe[way], O_CLOEXEC) != 0)
      bench_fail("making a pipe", -errno);
    (void)fcntl(channels->pipe[way][1], F_SETPIPE_SZ, wanted);
    channels->queue[way] = make_queue(&bench->largest[BENCH_QUEUES]);
  }
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channels->socket) != 0)
    bench_fail("making a socket", -errno);
  for (unsigned end = 0; end < 2; end++)
    (void)setsockopt(channels->socket[end], SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted);
  if (getsockopt(channels->socket[0], SOL_SOCKET, SO_SNDBUF, &bytes, &size) != 0)
    bench_fail("asking a socket", -errno);
  if (bytes < (int)BENCH_MAX_MESSAGE + 64) /* some of it is the kernel's own */
    bench->largest[BENCH_SOCKETS] = bytes > 64 ? (uint32_t)bytes - 64 : 0;
}
