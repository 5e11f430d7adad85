/* SPDX-License-Identifier: MIT */
/* libqb.c - libqb's ring buffer: messages of any length, copied in and out. It polls, as all rings here do:
 * without its semaphore, which would cost a system call for each message. */
#include "../sides.h"

#include <qb/qbrb.h>
#include <stdlib.h>
#include <unistd.h>

enum { SMALL, LARGE, SIZES };
static qb_ringbuffer_t *made[SIZES][BENCH_WAYS], *out, *in;

/* Its files have names, for an instant; both processes inherit the mapping. */
static qb_ringbuffer_t *make_ring(const char *directory, uint64_t bytes) {
  char name[64], file[80];
  (void)snprintf(name, sizeof name, "%s/ring", directory);
  qb_ringbuffer_t *ring = qb_rb_open(
      name, bytes, QB_RB_FLAG_CREATE | QB_RB_FLAG_SHARED_PROCESS | QB_RB_FLAG_NO_SEMAPHORE, 0);
  const int error = errno;
  (void)snprintf(file, sizeof file, "%s-data", name);
  (void)unlink(file);
  (void)snprintf(file, sizeof file, "%s-header", name);
  (void)unlink(file);
  if (!ring) {
    (void)rmdir(directory);
    bench_fail("making a ring of libqb", -error);
  }
  return ring;
}

static void make(void) {
  char directory[] = "/dev/shm/ringbus-bench.XXXXXX";
  if (!mkdtemp(directory))
    bench_fail("a directory in /dev/shm for libqb", -errno);
  for (unsigned way = 0; way < BENCH_WAYS; way++) {
    made[SMALL][way] = make_ring(directory, BENCH_RING);
    made[LARGE][way] = make_ring(directory, BENCH_LARGE_RING);
  }
  (void)rmdir(directory);
}

static void choose(struct bench *bench, uint32_t size) {
  (void)size;
  const unsigned which = bench->memory_bytes == BENCH_RING ? SMALL : LARGE;
  out = made[which][way_out(bench)];
  in = made[which][way_in(bench)];
}

INLINE unsigned put_qb(struct bench *bench, uint32_t size, uint64_t number) {
  ssize_t written;
  bench_number(bench->out, size, number);
  while ((written = qb_rb_chunk_write(out, bench->out, size)) == -EAGAIN)
    bench_idle(bench);
  if (written != (ssize_t)size)
    bench_fail("qb_rb_chunk_write", written < 0 ? (int)written : -EBADMSG);
  return 1;
}

INLINE bool get_qb(struct bench *bench, uint32_t size, uint64_t *expected) {
  ssize_t got;
  while ((got = qb_rb_chunk_read(in, bench->in, BENCH_MAX_MESSAGE, 0)) == -EAGAIN ||
         got == -ETIMEDOUT)
    bench_idle(bench);
  if (got != (ssize_t)size)
    bench_fail("qb_rb_chunk_read", got < 0 ? (int)got : -EBADMSG);
  return check(bench, size, expected);
}

SIDES(qb, qb)

static const struct bench_contender contenders[] = {
    THROUGHPUT("libqb", qb, qb, BENCH_NAMED, &bench_peer_libqb),
    PINGPONG("libqb", qb, qb, BENCH_NAMED, &bench_peer_libqb),
    PACED("libqb", qb, qb, BENCH_NAMED, &bench_peer_libqb),
};
const struct bench_peer bench_peer_libqb = PEER(contenders, false, make, choose);
