// SPDX-License-Identifier: MIT
// boost.cpp - boost::lockfree::spsc_queue in shared memory, one message a call and in batches: slots of the
// message's size. And Boost.Interprocess' message_queue, which sleeps on a mutex and condition variables.
#include "../sides.h"

#include <memory>
#include <new>
#include <string>
#include <unistd.h>

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

namespace {

template <uint32_t size> struct message { char bytes[size]; };

constexpr uint64_t ring_bytes(uint32_t size) { return size > 4096 ? BENCH_LARGE_RING : BENCH_RING; }

// ---------------------------------------------------------------- spsc_queue

template <uint32_t size>
using spsc =
    boost::lockfree::spsc_queue<message<size>, boost::lockfree::capacity<ring_bytes(size) / size>>;

template <uint32_t size> spsc<size> &spsc_at(const struct bench *bench, unsigned way) {
  static_assert(sizeof(spsc<size>) <= BENCH_MEMORY_BYTES);
  return *reinterpret_cast<spsc<size> *>(bench->memory[way]);
}

template <uint32_t size> void make_spsc(struct bench *bench) {
  for (unsigned way = 0; way < BENCH_WAYS; way++)
    new (bench->memory[way]) spsc<size>;
}

template <uint32_t size> INLINE void push(struct bench *bench, unsigned count) {
  auto &out = spsc_at<size>(bench, way_out(bench));
  auto *messages = reinterpret_cast<const message<size> *>(bench->out);
  for (size_t done = 0, pushed; done < count; done += pushed)
    if ((pushed = count == 1 ? out.push(*messages) : out.push(messages + done, count - done)) == 0)
      bench_idle(bench);
}

template <uint32_t size> INLINE size_t pop(struct bench *bench, unsigned most) {
  auto &in = spsc_at<size>(bench, way_in(bench));
  auto *messages = reinterpret_cast<message<size> *>(bench->in);
  size_t popped;
  while ((popped = most == 1 ? in.pop(*messages) : in.pop(messages, most)) == 0)
    bench_idle(bench);
  return popped;
}

INLINE unsigned put_spsc(struct bench *bench, uint32_t size, uint64_t number) {
  bench_number(bench->out, size, number);
  OF_SIZE(push, size, (bench, 1));
  return 1;
}

INLINE bool get_spsc(struct bench *bench, uint32_t size, uint64_t *expected) {
  OF_SIZE(pop, size, (bench, 1));
  return check(bench, size, expected);
}

INLINE unsigned put_spsc_batch(struct bench *bench, uint32_t size, uint64_t number) {
  const unsigned count = number_batch(bench, size, number);
  OF_SIZE(push, size, (bench, count));
  return count;
}

INLINE bool get_spsc_batch(struct bench *bench, uint32_t size, uint64_t *expected) {
  size_t count = OF_SIZE(pop, size, (bench, batch_of(size)));
  return check_batch(bench, size, count, expected);
}

// ---------------------------------------------------------------- message_queue

using boost::interprocess::message_queue;

// A queue has slots of one size. Its name is there for an instant; both processes inherit the mapping.
std::unique_ptr<message_queue> queues[BENCH_SIZES][BENCH_WAYS];
message_queue *out, *in;

void make_queues() {
  const std::string name = "ringbus-bench." + std::to_string(getpid());
  for (unsigned i = 0; i < BENCH_SIZES; i++)
    for (auto &queue : queues[i])
      try {
        queue = std::make_unique<message_queue>(boost::interprocess::create_only, name.c_str(),
                                                ring_bytes(bench_size[i]) / bench_size[i],
                                                bench_size[i]);
        message_queue::remove(name.c_str());
      } catch (const boost::interprocess::interprocess_exception &error) {
        message_queue::remove(name.c_str());
        bench_fail("making a message_queue of Boost", -error.get_native_error());
      }
}

INLINE unsigned put_queue(struct bench *bench, uint32_t size, uint64_t number) {
  bench_number(bench->out, size, number);
  out->send(bench->out, size, 0);
  return 1;
}

INLINE bool get_queue(struct bench *bench, uint32_t size, uint64_t *expected) {
  message_queue::size_type got;
  unsigned priority;
  in->receive(bench->in, size, got, priority);
  if (got != size)
    bench_fail("receiving from a message_queue of Boost", -EBADMSG);
  return check(bench, size, expected);
}

// ---------------------------------------------------------------- both

void open(struct bench *bench, uint32_t size) {
  if (bench->leads)
    OF_SIZE(make_spsc, size, (bench));
  out = queues[index_of(size)][way_out(bench)].get();
  in = queues[index_of(size)][way_in(bench)].get();
}

SIDES(spsc, spsc)
SIDES(spsc_batch, spsc_batch)
SIDES(queue, queue)

const struct bench_contender contenders[] = {
    THROUGHPUT("boost spsc_queue", spsc, spsc, BENCH_MEMORY, &bench_peer_boost),
    THROUGHPUT("boost spsc batches", spsc_batch, spsc_batch, BENCH_MEMORY, &bench_peer_boost),
    THROUGHPUT("boost message_queue", queue, queue, BENCH_NAMED, &bench_peer_boost),
    PINGPONG("boost spsc_queue", spsc, spsc, BENCH_MEMORY, &bench_peer_boost),
    PINGPONG("boost message_queue", queue, queue, BENCH_NAMED, &bench_peer_boost),
    PACED("boost spsc_queue", spsc, spsc, BENCH_MEMORY, &bench_peer_boost),
    PACED("boost message_queue", queue, queue, BENCH_NAMED, &bench_peer_boost),
    WAKEUP("boost message_queue", queue, queue, BENCH_NAMED, &bench_peer_boost),
};

} // namespace

const struct bench_peer bench_peer_boost = PEER(contenders, false, make_queues, open);
