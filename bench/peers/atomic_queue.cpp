// SPDX-License-Identifier: MIT
// atomic_queue.cpp - atomic_queue's AtomicQueue2 for one producer and one consumer: slots of the message's
// size, and a byte for the state of each. It has no batches.
#include "../sides.h"

#include <new>

#include <atomic_queue/atomic_queue.h>

namespace {

template <uint32_t size> struct message { char bytes[size]; };

template <uint32_t size>
constexpr unsigned slots = (size > 4096 ? BENCH_LARGE_RING : BENCH_RING) / size;

// As its authors measure it with one producer and one consumer.
template <uint32_t size>
using queue = atomic_queue::AtomicQueue2<message<size>, slots<size>, true, true, false, true>;

template <uint32_t size> queue<size> &queue_at(const struct bench *bench, unsigned way) {
  static_assert(sizeof(queue<size>) <= BENCH_MEMORY_BYTES);
  return *reinterpret_cast<queue<size> *>(bench->memory[way]);
}

template <uint32_t size> INLINE void push(struct bench *bench) {
  auto &out = queue_at<size>(bench, way_out(bench));
  while (!out.try_push(*reinterpret_cast<const message<size> *>(bench->out)))
    bench_idle(bench);
}

template <uint32_t size> INLINE void pop(struct bench *bench) {
  auto &in = queue_at<size>(bench, way_in(bench));
  while (!in.try_pop(*reinterpret_cast<message<size> *>(bench->in)))
    bench_idle(bench);
}

template <uint32_t size> void make_queues(struct bench *bench) {
  for (unsigned way = 0; way < BENCH_WAYS; way++)
    new (bench->memory[way]) queue<size>;
}

void open_queues(struct bench *bench, uint32_t size) {
  if (bench->leads)
    OF_SIZE(make_queues, size, (bench));
}

INLINE unsigned put_queue(struct bench *bench, uint32_t size, uint64_t number) {
  bench_number(bench->out, size, number);
  OF_SIZE(push, size, (bench));
  return 1;
}

INLINE bool get_queue(struct bench *bench, uint32_t size, uint64_t *expected) {
  OF_SIZE(pop, size, (bench));
  return check(bench, size, expected);
}

SIDES(queue, queue)

const struct bench_contender contenders[] = {
    THROUGHPUT("atomic_queue", queue, queue, BENCH_MEMORY, &bench_peer_atomic_queue),
    PINGPONG("atomic_queue", queue, queue, BENCH_MEMORY, &bench_peer_atomic_queue),
    PACED("atomic_queue", queue, queue, BENCH_MEMORY, &bench_peer_atomic_queue),
};

} // namespace

const struct bench_peer bench_peer_atomic_queue = PEER(contenders, false, nullptr, open_queues);
