/* SPDX-License-Identifier: MIT */
/* contenders.c - how each contender passes a message. Each is a pair of functions, put and get,
 * made once for each message size: the size is a constant to the compiler for all of them alike.
 *   put  sends one burst of messages, numbered from sequence, and returns how many; BENCH_END
 *        instead of a number ends the slice (a block is filled with it, all else sends one message)
 *   get  receives a burst, checks it, adds to *expected; false after BENCH_END */
#include "bench.h"

#include <stdlib.h>
#include <unistd.h>

const uint32_t bench_size[BENCH_SIZES] = {8, 64, 1024, 65536};

#define INLINE static inline __attribute__((always_inline))

/* Number a message in the producer's buffer. */
INLINE void number(char *message, uint64_t sequence) {
  memcpy(message, &sequence, sizeof sequence);
  bench_touch(message);
}

/* Check the number of a message in the consumer's buffer. */
INLINE bool check(char *message, uint64_t *expected) {
  uint64_t sequence;
  bench_touch(message);
  memcpy(&sequence, message, sizeof sequence);
  if (sequence == *expected) {
    ++*expected;
    return true;
  }
  if (sequence != BENCH_END)
    bench_fail("a message is lost, torn or repeated", -EBADMSG);
  return false;
}

/* ---------------------------------------------------------------- ringbus, one message per call */

INLINE unsigned put_send(struct bench *bench, uint32_t size, uint64_t sequence) {
  int result;
  number(bench->buffer, sequence);
  while ((result = ringbus_producer_send(bench->producer, bench->buffer, size, 0)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0)
    bench_fail("send", result);
  return 1;
}

INLINE bool get_recv(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct ringbus_message message;
  int result;
  while ((result = ringbus_consumer_recv(bench->consumer, bench->buffer, BENCH_MAX_MESSAGE,
                                         &message)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0 || message.length != size)
    bench_fail("recv", result);
  return check(bench->buffer, expected);
}

/* ---------------------------------------------------------------- ringbus, batches */

INLINE unsigned put_batch(struct bench *bench, uint32_t size, uint64_t sequence) {
  /* The end is a batch of one: what the consumer left of it would open the next slice. */
  const unsigned batch = sequence == BENCH_END ? 1 : size > 4096 ? 4 : BENCH_BATCH;
  struct iovec messages[BENCH_BATCH];
  size_t done = 0;
  for (unsigned i = 0; i < batch; i++) {
    messages[i].iov_base = bench->buffer + (size_t)i * size;
    messages[i].iov_len = size;
    number(messages[i].iov_base, sequence + i);
  }
  while (done < batch) {
    size_t sent;
    int result = ringbus_producer_send_batch(bench->producer, messages + done, batch - done, 0,
                                             false, &sent);
    done += sent;
    if (result == -EAGAIN)
      bench_idle(bench);
    else if (result != 0)
      bench_fail("send_batch", result);
  }
  return batch;
}

INLINE bool get_batch(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct ringbus_message messages[BENCH_BATCH];
  size_t count;
  int result;
  bool more = true;
  while ((result = ringbus_consumer_borrow_batch(bench->consumer, messages, BENCH_BATCH, &count)) ==
         -EAGAIN)
    bench_idle(bench);
  if (result != 0)
    bench_fail("borrow_batch", result);
  for (size_t i = 0; i < count; i++) {
    if (messages[i].length != size)
      bench_fail("borrow_batch", -EBADMSG);
    memcpy(bench->buffer, messages[i].data, size);
    more &= check(bench->buffer, expected);
  }
  result = ringbus_consumer_release(bench->consumer);
  if (result != 0)
    bench_fail("release", result);
  return more;
}

/* ---------------------------------------------------------------- ringbus, in place */

INLINE unsigned put_in_place(struct bench *bench, uint32_t size, uint64_t sequence) {
  void *claimed;
  int result;
  while ((result = ringbus_producer_claim(bench->producer, size, 0, &claimed)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0)
    bench_fail("claim", result);
  uint64_t *words = claimed;
  for (uint32_t i = 0; i < size / 8; i++)
    words[i] = sequence + i;
  result = ringbus_producer_commit(bench->producer, size);
  if (result != 0)
    bench_fail("commit", result);
  return 1;
}

INLINE bool get_in_place(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct ringbus_message message;
  uint64_t first, different = 0;
  int result;
  while ((result = ringbus_consumer_borrow(bench->consumer, &message)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0 || message.length != size)
    bench_fail("borrow", result);
  const uint64_t *words = message.data;
  first = words[0];
  for (uint32_t i = 0; i < size / 8; i++)
    different |= words[i] ^ (first + i);
  if (different || (first != *expected && first != BENCH_END))
    bench_fail("a message is lost, torn or repeated", -EBADMSG);
  result = ringbus_consumer_release(bench->consumer);
  if (result != 0)
    bench_fail("release", result);
  *expected += first != BENCH_END;
  return first != BENCH_END;
}

/* ---------------------------------------------------------------- floor: plain copies of blocks */

/* No messages, no protocol: blocks of 4 KiB (or one message) and one counter each way. This is what
 * the machine charges for moving the bytes. */
INLINE uint32_t block_bytes(uint32_t size) { return size > 4096 ? size : 4096; }

INLINE unsigned put_block(struct bench *bench, uint32_t size, uint64_t sequence) {
  const uint32_t count = block_bytes(size) / size;
  uint64_t published = bench->shared->published; /* this process alone writes it */
  char *block = bench->blocks + published * block_bytes(size) % bench->blocks_bytes;
  while (published - bench_load(&bench->shared->consumed) ==
         bench->blocks_bytes / block_bytes(size))
    bench_idle(bench);
  for (uint32_t i = 0; i < count; i++) {
    number(bench->buffer, sequence == BENCH_END ? BENCH_END : sequence + i);
    memcpy(block + (size_t)i * size, bench->buffer, size);
  }
  bench_store(&bench->shared->published, published + 1);
  return count;
}

INLINE bool get_block(struct bench *bench, uint32_t size, uint64_t *expected, bool hand_back) {
  const uint32_t count = block_bytes(size) / size;
  uint64_t consumed = bench->shared->consumed;
  char *block = bench->blocks + consumed * block_bytes(size) % bench->blocks_bytes;
  bool more = true;
  while (bench_load(&bench->shared->published) == consumed)
    bench_idle(bench);
  for (uint32_t i = 0; i < count; i++) {
    memcpy(bench->buffer, block + (size_t)i * size, size);
    more &= check(bench->buffer, expected);
  }
  for (uint32_t line = 0; hand_back && line < block_bytes(size); line += 64) {
    volatile uint64_t *word = (volatile uint64_t *)(void *)(block + line);
    *word = *word;
  }
  bench_store(&bench->shared->consumed, consumed + 1);
  return more;
}

INLINE bool get_block_reading(struct bench *bench, uint32_t size, uint64_t *expected) {
  return get_block(bench, size, expected, false);
}

INLINE bool get_block_storing(struct bench *bench, uint32_t size, uint64_t *expected) {
  return get_block(bench, size, expected, true);
}

/* ---------------------------------------------------------------- a pipe */

INLINE unsigned put_pipe(struct bench *bench, uint32_t size, uint64_t sequence) {
  number(bench->buffer, sequence);
  for (uint32_t done = 0; done < size;) {
    ssize_t written = write(bench->pipe, bench->buffer + done, size - done);
    if (written < 0 && errno != EINTR)
      bench_fail("writing to the pipe", -errno);
    done += written > 0 ? (uint32_t)written : 0;
  }
  return 1;
}

INLINE bool get_pipe(struct bench *bench, uint32_t size, uint64_t *expected) {
  for (uint32_t done = 0; done < size;) {
    ssize_t got = read(bench->pipe, bench->buffer + done, size - done);
    if (got == 0 || (got < 0 && errno != EINTR))
      bench_fail("reading from the pipe", got ? -errno : -EPIPE);
    done += got > 0 ? (uint32_t)got : 0;
  }
  return check(bench->buffer, expected);
}

/* ---------------------------------------------------------------- one function per message size */

#define PRODUCE(put, size)                                                                         \
  static void put##_##size(struct bench *bench, uint64_t *sent) {                                  \
    const int64_t end = bench_now() + bench->slice_ns;                                             \
    const unsigned bursts = (size) >= 4096 ? 1 : 64; /* between two looks at the clock */          \
    uint64_t sequence = 0;                                                                         \
    while (bench_now() < end)                                                                      \
      for (unsigned i = 0; i < bursts; i++)                                                        \
        sequence += put(bench, size, sequence);                                                    \
    (void)put(bench, size, BENCH_END);                                                             \
    *sent = sequence;                                                                              \
  }
#define CONSUME(get, size)                                                                         \
  static void get##_##size(struct bench *bench, uint64_t *received) {                              \
    *received = 0;                                                                                 \
    while (get(bench, size, received))                                                             \
      ;                                                                                            \
  }
#define EACH_SIZE(make, function)                                                                  \
  make(function, 8) make(function, 64) make(function, 1024) make(function, 65536)
#define NAMES(function)                                                                            \
  { function##_8, function##_64, function##_1024, function##_65536 }

EACH_SIZE(PRODUCE, put_send)
EACH_SIZE(CONSUME, get_recv)
EACH_SIZE(PRODUCE, put_batch)
EACH_SIZE(CONSUME, get_batch)
EACH_SIZE(PRODUCE, put_in_place)
EACH_SIZE(CONSUME, get_in_place)
EACH_SIZE(PRODUCE, put_block)
EACH_SIZE(CONSUME, get_block_reading)
EACH_SIZE(CONSUME, get_block_storing)
EACH_SIZE(PRODUCE, put_pipe)
EACH_SIZE(CONSUME, get_pipe)

const struct bench_contender bench_contenders[] = {
    {"ringbus send, recv", NAMES(put_send), NAMES(get_recv)},
    {"ringbus batches", NAMES(put_batch), NAMES(get_batch)},
    {"ringbus in place", NAMES(put_in_place), NAMES(get_in_place)},
    {"block copy, only read", NAMES(put_block), NAMES(get_block_reading)},
    {"block copy, stored back", NAMES(put_block), NAMES(get_block_storing)},
    {"pipe", NAMES(put_pipe), NAMES(get_pipe)},
};
const unsigned bench_contender_count = sizeof bench_contenders / sizeof *bench_contenders;

/* ---------------------------------------------------------------- round trips */

static void go_ringbus(struct bench *bench, uint64_t sequence) {
  uint64_t answer = sequence;
  int result;
  number(bench->buffer, sequence);
  result = ringbus_producer_send(bench->there, bench->buffer, BENCH_MESSAGE, 0);
  if (result == 0 && sequence != BENCH_END)
    while ((result = ringbus_consumer_recv(bench->back, bench->buffer, BENCH_MAX_MESSAGE, NULL)) ==
           -EAGAIN)
      if (bench->shares_core)
        bench_idle(bench);
  if (result != 0)
    bench_fail("round trip", result);
  if (sequence != BENCH_END && !check(bench->buffer, &answer))
    bench_fail("round trip", -EBADMSG);
}

static uint64_t echo_ringbus(struct bench *bench) {
  uint64_t sequence;
  int result;
  while ((result = ringbus_consumer_recv(bench->back, bench->buffer, BENCH_MAX_MESSAGE, NULL)) ==
         -EAGAIN)
    if (bench->shares_core)
      bench_idle(bench);
  bench_touch(bench->buffer);
  memcpy(&sequence, bench->buffer, sizeof sequence);
  if (result == 0 && sequence != BENCH_END)
    result = ringbus_producer_send(bench->there, bench->buffer, BENCH_MESSAGE, 0);
  if (result != 0)
    bench_fail("echo", result);
  return sequence;
}

/* One line, one word: odd on the way there, even on the way back. */
static void go_token(struct bench *bench, uint64_t sequence) {
  uint64_t there = sequence == BENCH_END ? BENCH_END : 2 * sequence + 1;
  bench_store(&bench->shared->token, there);
  while (bench_load(&bench->shared->token) == there)
    if (bench->shares_core)
      bench_idle(bench);
}

static uint64_t echo_token(struct bench *bench) {
  uint64_t token;
  while (!((token = bench_load(&bench->shared->token)) & 1))
    if (bench->shares_core)
      bench_idle(bench);
  bench_store(&bench->shared->token, token == BENCH_END ? 0 : token + 1);
  return token == BENCH_END ? BENCH_END : token / 2;
}

const struct bench_round_trip bench_round_trips[] = {
    {"bare token", go_token, echo_token},
    {"ringbus send, recv", go_ringbus, echo_ringbus},
};
const unsigned bench_round_trip_count = sizeof bench_round_trips / sizeof *bench_round_trips;
