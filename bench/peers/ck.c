/* SPDX-License-Identifier: MIT */
/* ck.c - Concurrency Kit's ck_ring, for one producer and one consumer: slots of the message's size, the
 * number of which is a power of two. It has no batches. */
#include "../sides.h"

#include <ck_ring.h>

/* In each direction's memory. */
struct ring {
  struct ck_ring ring;
  alignas(BENCH_LINE) char slots[];
};

static struct ring *ring(const struct bench *bench, unsigned way) {
  return (struct ring *)(void *)bench->memory[way];
}

/* The functions that are made for a type, for each size. */
#define MESSAGE(size)                                                                              \
  struct message_##size {                                                                          \
    char bytes[size];                                                                              \
  };                                                                                               \
  CK_RING_PROTOTYPE(size, message_##size)
MESSAGE(8)
MESSAGE(64)
MESSAGE(256)
MESSAGE(1024)
MESSAGE(4096)
MESSAGE(65536)

/* size is a constant: one case is left. */
#define OF_SIZE(call, to, message, size)                                                           \
  ((size) == 8      ? call##_8(&(to)->ring, (void *)(to)->slots, (void *)(message))                \
   : (size) == 64   ? call##_64(&(to)->ring, (void *)(to)->slots, (void *)(message))               \
   : (size) == 256  ? call##_256(&(to)->ring, (void *)(to)->slots, (void *)(message))              \
   : (size) == 1024 ? call##_1024(&(to)->ring, (void *)(to)->slots, (void *)(message))             \
   : (size) == 4096 ? call##_4096(&(to)->ring, (void *)(to)->slots, (void *)(message))             \
                    : call##_65536(&(to)->ring, (void *)(to)->slots, (void *)(message)))

INLINE unsigned put_ck(struct bench *bench, uint32_t size, uint64_t number) {
  struct ring *out = ring(bench, way_out(bench));
  bench_number(bench->out, size, number);
  while (!OF_SIZE(ck_ring_enqueue_spsc, out, bench->out, size))
    bench_idle(bench);
  return 1;
}

INLINE bool get_ck(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct ring *in = ring(bench, way_in(bench));
  while (!OF_SIZE(ck_ring_dequeue_spsc, in, bench->in, size))
    bench_idle(bench);
  return check(bench, size, expected);
}

static void open_rings(struct bench *bench, uint32_t size) {
  for (unsigned way = 0; bench->leads && way < BENCH_WAYS; way++)
    ck_ring_init(&ring(bench, way)->ring, (unsigned)(bench->memory_bytes / size));
}

SIDES(ck, ck)

static const struct bench_contender contenders[] = {
    THROUGHPUT("ck_ring", ck, ck, BENCH_MEMORY, &bench_peer_ck),
    PINGPONG("ck_ring", ck, ck, BENCH_MEMORY, &bench_peer_ck),
    PACED("ck_ring", ck, ck, BENCH_MEMORY, &bench_peer_ck),
};
const struct bench_peer bench_peer_ck = PEER(contenders, false, NULL, open_rings);
