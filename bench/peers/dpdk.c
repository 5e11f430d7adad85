/* SPDX-License-Identifier: MIT */
/* dpdk.c - DPDK's rte_ring, for one producer and one consumer: slots of the message's size, the number of
 * which is a power of two; one message a call, or bursts. It needs neither DPDK's start nor its memory. */
#include "../sides.h"

#include <rte_ring.h>
#include <rte_ring_elem.h>

static struct rte_ring *ring(const struct bench *bench, unsigned way) {
  return (struct rte_ring *)(void *)bench->memory[way];
}

INLINE unsigned put_single(struct bench *bench, uint32_t size, uint64_t number) {
  struct rte_ring *out = ring(bench, way_out(bench));
  bench_number(bench->out, size, number);
  while (rte_ring_sp_enqueue_elem(out, bench->out, size) != 0)
    bench_idle(bench);
  return 1;
}

INLINE bool get_single(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct rte_ring *in = ring(bench, way_in(bench));
  while (rte_ring_sc_dequeue_elem(in, bench->in, size) != 0)
    bench_idle(bench);
  return check(bench, size, expected);
}

INLINE unsigned put_burst(struct bench *bench, uint32_t size, uint64_t number) {
  struct rte_ring *out = ring(bench, way_out(bench));
  const unsigned count = number_batch(bench, size, number);
  for (unsigned done = 0, sent; done < count; done += sent)
    if ((sent = rte_ring_sp_enqueue_burst_elem(out, bench->out + (size_t)done * size, size,
                                               count - done, NULL)) == 0)
      bench_idle(bench);
  return count;
}

INLINE bool get_burst(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct rte_ring *in = ring(bench, way_in(bench));
  unsigned count;
  while ((count = rte_ring_sc_dequeue_burst_elem(in, bench->in, size, batch_of(size), NULL)) == 0)
    bench_idle(bench);
  return check_batch(bench, size, count, expected);
}

static void open_rings(struct bench *bench, uint32_t size) {
  for (unsigned way = 0; bench->leads && way < BENCH_WAYS; way++)
    if (rte_ring_init(ring(bench, way), "bench", (unsigned)(bench->memory_bytes / size),
                      RING_F_SP_ENQ | RING_F_SC_DEQ) != 0)
      bench_fail("rte_ring_init", -EINVAL);
}

SIDES(single, single)
SIDES(burst, burst)

static const struct bench_contender contenders[] = {
    THROUGHPUT("rte_ring", single, single, BENCH_MEMORY, &bench_peer_dpdk),
    THROUGHPUT("rte_ring bursts", burst, burst, BENCH_MEMORY, &bench_peer_dpdk),
    PINGPONG("rte_ring", single, single, BENCH_MEMORY, &bench_peer_dpdk),
    PACED("rte_ring", single, single, BENCH_MEMORY, &bench_peer_dpdk),
};
const struct bench_peer bench_peer_dpdk = PEER(contenders, false, NULL, open_rings);
