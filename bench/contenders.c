/* SPDX-License-Identifier: MIT */
/* contenders.c - how each contender passes a message, and what is done with that.
 *
 * A contender is a pair of functions, put and get:
 *   put  sends one burst of messages, numbered from number, and returns how many; BENCH_END
 *        instead of a number ends the slice (a block is filled with it, all else sends one message)
 *   get  receives a burst, checks it, adds to *expected; false after BENCH_END
 * The two sides of each bench are made of them:
 *   throughput  produce: put, put, ...            consume: get, get, ...
 *   pingpong    go: put, get, how long?           echo: get, put
 *   paced       pace: put when it is due          arrive: get, how long since it was due?
 * All of it is made once for each message size: it is a constant to the compiler, for all of them alike.
 * (A ring's consumer is told the length by the message and copies as many bytes, as it must.) */
#include "bench.h"

#include <linux/futex.h>
#include <mqueue.h>
#include <sys/syscall.h>
#include <unistd.h>

const uint32_t bench_size[BENCH_SIZES] = {8, 64, 256, 1024, 4096, 65536};

#define INLINE static inline __attribute__((always_inline))

/* ---------------------------------------------------------------- what is checked */

enum { WHOLLY = 1024 }; /* one of so many messages is checked wholly */

/* Between the numbers at both ends, word i of a message is i times this. */
#define PATTERN UINT64_C(0x9e3779b97f4a7c15)

void bench_prepare(struct bench *bench, uint32_t size) {
  for (uint32_t i = 0; i < BENCH_BUFFER / 8; i++) {
    const uint64_t word = i % (size / 8) * PATTERN;
    memcpy(bench->out + (size_t)i * 8, &word, sizeof word);
  }
  memset(bench->in, 0, size);
}

/* The middle of a message in the consumer's buffer: as it was sent? Then it is cleared before the next
 * that is checked wholly is copied there, or what was not copied would pass. */
INLINE void check_middle(struct bench *bench, uint32_t size, uint64_t number) {
  if (size <= 16)
    return;
  if (RINGBUS_UNLIKELY(number % WHOLLY == 0) &&
      memcmp(bench->in + 8, bench->out + 8, size - 16) != 0)
    bench_bad_message(bench, number, number);
  if (RINGBUS_UNLIKELY(number % WHOLLY == WHOLLY - 1))
    memset(bench->in + 8, 0, size - 16);
}

/* Check the message in the consumer's buffer. */
INLINE bool check(struct bench *bench, uint32_t size, uint64_t *expected) {
  const uint64_t number = bench_numbered(bench, bench->in, size);
  if (RINGBUS_UNLIKELY(number != *expected)) {
    if (number != BENCH_END)
      bench_bad_message(bench, *expected, number);
    return false;
  }
  check_middle(bench, size, number);
  ++*expected;
  return true;
}

/* ---------------------------------------------------------------- ringbus, one message per call */

INLINE unsigned put_send(struct bench *bench, uint32_t size, uint64_t number) {
  int result;
  bench_number(bench->out, size, number);
  while ((result = ringbus_producer_send(bench->producer, bench->out, size, 0)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0)
    bench_fail("send", result);
  return 1;
}

INLINE bool get_recv(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct ringbus_message message;
  int result;
  while ((result = ringbus_consumer_recv(bench->consumer, bench->in, BENCH_MAX_MESSAGE,
                                         &message)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0 || message.length != size)
    bench_fail("recv", result ? result : -EBADMSG);
  return check(bench, size, expected);
}

/* The same, but who finds nothing sleeps. */
INLINE bool get_wait(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct ringbus_message message;
  int result;
  while ((result = ringbus_consumer_recv(bench->consumer, bench->in, BENCH_MAX_MESSAGE,
                                         &message)) == -EAGAIN)
    if ((result = ringbus_consumer_wait(bench->consumer, RINGBUS_FOREVER)) != 0 && result != -EINTR)
      bench_fail("wait", result);
  if (result != 0 || message.length != size)
    bench_fail("recv", result ? result : -EBADMSG);
  return check(bench, size, expected);
}

/* ---------------------------------------------------------------- ringbus, batches */

INLINE unsigned put_batch(struct bench *bench, uint32_t size, uint64_t number) {
  /* The end is a batch of one: what the consumer left of it would open the next slice. */
  const unsigned batch = number == BENCH_END ? 1 : size > 4096 ? 4 : BENCH_BATCH;
  struct iovec messages[BENCH_BATCH];
  size_t done = 0;
  for (unsigned i = 0; i < batch; i++) {
    messages[i].iov_base = bench->out + (size_t)i * size;
    messages[i].iov_len = size;
    bench_number(messages[i].iov_base, size, number + i);
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
    memcpy(bench->in, messages[i].data, size);
    more &= check(bench, size, expected);
  }
  result = ringbus_consumer_release(bench->consumer);
  if (result != 0)
    bench_fail("release", result);
  return more;
}

/* ---------------------------------------------------------------- ringbus, in place */

INLINE unsigned put_in_place(struct bench *bench, uint32_t size, uint64_t number) {
  void *claimed;
  int result;
  while ((result = ringbus_producer_claim(bench->producer, size, 0, &claimed)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0)
    bench_fail("claim", result);
  uint64_t *words = claimed;
  for (uint32_t i = 0; i < size / 8; i++)
    words[i] = number + i;
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
    bench_fail("borrow", result ? result : -EBADMSG);
  const uint64_t *words = message.data;
  first = words[0];
  for (uint32_t i = 0; i < size / 8; i++)
    different |= words[i] ^ (first + i);
  if (different || (first != *expected && first != BENCH_END))
    bench_bad_message(bench, *expected, first);
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

INLINE unsigned put_block(struct bench *bench, uint32_t size, uint64_t number) {
  const uint32_t count = block_bytes(size) / size;
  uint64_t published = bench->shared->published; /* this process alone writes it */
  char *block = bench->blocks + published * block_bytes(size) % bench->blocks_bytes;
  while (published - bench_load(&bench->shared->consumed) ==
         bench->blocks_bytes / block_bytes(size))
    bench_idle(bench);
  for (uint32_t i = 0; i < count; i++) {
    bench_number(bench->out, size, number == BENCH_END ? BENCH_END : number + i);
    memcpy(block + (size_t)i * size, bench->out, size);
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
    memcpy(bench->in, block + (size_t)i * size, size);
    more &= check(bench, size, expected);
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

/* ---------------------------------------------------------------- pipe, socket, message queue */

INLINE unsigned put_descriptor(struct bench *bench, int fd, uint32_t size, uint64_t number) {
  bench_number(bench->out, size, number);
  for (uint32_t done = 0; done < size;) {
    ssize_t written = write(fd, bench->out + done, size - done);
    if (written < 0 && errno != EINTR)
      bench_fail("writing", -errno);
    done += written > 0 ? (uint32_t)written : 0;
  }
  return 1;
}

INLINE unsigned put_pipe(struct bench *bench, uint32_t size, uint64_t number) {
  return put_descriptor(bench, bench->pipe_out, size, number);
}

INLINE unsigned put_socket(struct bench *bench, uint32_t size, uint64_t number) {
  return put_descriptor(bench, bench->socket, size, number);
}

INLINE unsigned put_queue(struct bench *bench, uint32_t size, uint64_t number) {
  bench_number(bench->out, size, number);
  while (mq_send(bench->queue_out, bench->out, size, 0) != 0)
    if (errno != EINTR)
      bench_fail("mq_send", -errno);
  return 1;
}

INLINE bool get_pipe(struct bench *bench, uint32_t size, uint64_t *expected) {
  for (uint32_t done = 0; done < size;) {
    ssize_t got = read(bench->pipe_in, bench->in + done, size - done);
    if (got == 0 || (got < 0 && errno != EINTR))
      bench_fail("reading from the pipe", got ? -errno : -EPIPE);
    done += got > 0 ? (uint32_t)got : 0;
  }
  return check(bench, size, expected);
}

INLINE bool get_socket(struct bench *bench, uint32_t size, uint64_t *expected) {
  ssize_t got;
  while ((got = read(bench->socket, bench->in, BENCH_MAX_MESSAGE)) < 0 && errno == EINTR)
    ;
  if (got != (ssize_t)size)
    bench_fail("reading from the socket", got < 0 ? -errno : -EBADMSG);
  return check(bench, size, expected);
}

INLINE bool get_queue(struct bench *bench, uint32_t size, uint64_t *expected) {
  ssize_t got;
  while ((got = mq_receive(bench->queue_in, bench->in, BENCH_MAX_MESSAGE, NULL)) < 0 &&
         errno == EINTR)
    ;
  if (got != (ssize_t)size)
    bench_fail("mq_receive", got < 0 ? -errno : -EBADMSG);
  return check(bench, size, expected);
}

/* ---------------------------------------------------------------- what latencies are measured against */

/* Nothing but a number is passed, whatever the size. Who is slow sees the last of several numbers.
 *
 * One line both ways, for round trips: 2 * (number + 1), odd on the way back. */
INLINE unsigned put_token(struct bench *bench, uint32_t size, uint64_t number) {
  (void)size;
  if (number != BENCH_END) {
    bench_store(&bench->shared->token, 2 * (number + 1) + !bench->leads);
    return 1;
  }
  bench_store(&bench->shared->token, BENCH_END - 1);
  while (bench_load(&bench->shared->token) != 0) /* or the probe would overwrite it */
    bench_idle(bench);
  return 1;
}

INLINE bool get_token(struct bench *bench, uint32_t size, uint64_t *expected) {
  uint64_t token;
  (void)size;
  while ((token = bench_load(&bench->shared->token)) == 0 || (token & 1) != bench->leads)
    bench_idle(bench);
  if (token == BENCH_END - 1) {
    bench_store(&bench->shared->token, 0);
    return false;
  }
  if (token / 2 != ++*expected)
    bench_bad_message(bench, *expected - 1, token / 2 - 1);
  return true;
}

/* One line, one way. */
#define LINE_END (UINT64_C(1) << 63)

INLINE unsigned put_line(struct bench *bench, uint32_t size, uint64_t number) {
  (void)size;
  bench_store(&bench->shared->published,
              number == BENCH_END ? bench->shared->published | LINE_END : number + 1);
  return 1;
}

INLINE bool get_line(struct bench *bench, uint32_t size, uint64_t *expected) {
  uint64_t published;
  (void)size;
  while ((published = bench_load(&bench->shared->published)) == *expected)
    bench_idle(bench);
  *expected = published & ~LINE_END;
  return !(published & LINE_END);
}

/* One word each way, and whoever finds nothing new says so in it and sleeps: number + 1, two flags. */
enum { FUTEX_SLEEPS = 1, FUTEX_END = 2, FUTEX_SHIFT = 2 };

INLINE unsigned put_futex(struct bench *bench, uint32_t size, uint64_t number) {
  uint32_t *word = &bench->shared->futex[bench->leads ? BENCH_THERE : BENCH_BACK].word;
  uint32_t next = number == BENCH_END ? (__atomic_load_n(word, __ATOMIC_RELAXED) | FUTEX_END) &
                                            ~(uint32_t)FUTEX_SLEEPS
                                      : (uint32_t)(number + 1) << FUTEX_SHIFT;
  (void)size;
  if (__atomic_exchange_n(word, next, __ATOMIC_ACQ_REL) & FUTEX_SLEEPS)
    (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
  return 1;
}

INLINE bool get_futex(struct bench *bench, uint32_t size, uint64_t *expected) {
  uint32_t *word = &bench->shared->futex[bench->leads ? BENCH_BACK : BENCH_THERE].word;
  uint32_t seen = (uint32_t)*expected << FUTEX_SHIFT, found;
  (void)size;
  while (((found = __atomic_load_n(word, __ATOMIC_ACQUIRE)) & ~(uint32_t)FUTEX_SLEEPS) == seen) {
    uint32_t idle = seen;
    if (__atomic_compare_exchange_n(word, &idle, seen | FUTEX_SLEEPS, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE) ||
        idle == (seen | FUTEX_SLEEPS))
      (void)syscall(SYS_futex, word, FUTEX_WAIT, seen | FUTEX_SLEEPS, NULL, NULL, 0);
  }
  *expected += (found - seen) >> FUTEX_SHIFT;
  return !(found & FUTEX_END);
}

/* ---------------------------------------------------------------- the two sides of each bench */

typedef unsigned put_function(struct bench *bench, uint32_t size, uint64_t number);
typedef bool get_function(struct bench *bench, uint32_t size, uint64_t *expected);

INLINE uint64_t produce(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  const int64_t end = bench_now() + bench->slice_ns;
  const unsigned bursts = size > 4096 ? 1 : 64; /* between two looks at the clock */
  uint64_t number = 0;
  (void)get;
  while (bench_now() < end)
    for (unsigned i = 0; i < bursts; i++)
      number += put(bench, size, number);
  (void)put(bench, size, BENCH_END);
  return number;
}

INLINE uint64_t consume(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  uint64_t expected = 0;
  (void)put;
  while (get(bench, size, &expected))
    ;
  return expected;
}

INLINE uint64_t go(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  const int64_t end = bench_now() + bench->slice_ns;
  int64_t before = bench_now(), after;
  uint64_t number = 0, expected = 0;
  do {
    (void)put(bench, size, number++);
    (void)get(bench, size, &expected);
    after = bench_now();
    bench_record(&bench->shared->latency, after - before);
    before = after;
  } while (after < end && expected == number);
  (void)put(bench, size, BENCH_END);
  return number;
}

INLINE uint64_t echo(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  uint64_t expected = 0;
  while (get(bench, size, &expected))
    (void)put(bench, size, expected - 1);
  return expected;
}

/* When a message is due. */
INLINE int64_t due(const struct bench *bench, uint64_t number) {
  return bench->shared->start + (int64_t)((double)number * (1e9 / bench->row->rate));
}

INLINE uint64_t pace(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  int64_t now = bench_now(), end = now + bench->slice_ns;
  uint64_t number = 0;
  (void)get;
  bench->shared->start = now; /* told by the first message */
  for (; now < end && due(bench, number) < end; number++) {
    while ((now = bench_now()) < due(bench, number))
      if (bench->shares_core)
        bench_idle(bench);
    bench_record(&bench->shared->late, now - due(bench, number));
    (void)put(bench, size, number);
  }
  (void)put(bench, size, BENCH_END);
  return number;
}

INLINE uint64_t arrive(struct bench *bench, uint32_t size, put_function *put, get_function *get) {
  uint64_t expected = 0, number = 0;
  bool more = true;
  (void)put;
  while (more) {
    more = get(bench, size, &expected);
    for (const int64_t now = bench_now(); number < expected; number++)
      bench_record(&bench->shared->latency, now - due(bench, number));
  }
  return expected;
}

/* ---------------------------------------------------------------- all of them */

/*    name, bench, sides, put, get, channel */
#define CONTENDERS(make)                                                                           \
  make("ringbus send, recv", THROUGHPUT, produce, consume, send, recv,                             \
       MEMORY) make("ringbus batches", THROUGHPUT, produce, consume, batch, batch, MEMORY)         \
      make("ringbus in place", THROUGHPUT, produce, consume, in_place, in_place, MEMORY) make(     \
          "floor, only read", THROUGHPUT, produce, consume, block, block_reading,                  \
          MEMORY) make("floor, stored back", THROUGHPUT, produce, consume, block, block_storing,   \
                       MEMORY) make("pipe", THROUGHPUT, produce, consume, pipe, pipe, PIPES)       \
          make("seqpacket socket", THROUGHPUT, produce, consume, socket, socket,                   \
               SOCKETS) make("POSIX mq", THROUGHPUT, produce, consume, queue, queue,               \
                             QUEUES) make("bare line", PINGPONG, go, echo, token, token, MEMORY)   \
              make("ringbus, polling", PINGPONG, go, echo, send, recv,                             \
                   MEMORY) make("bare futex", PINGPONG, go, echo, futex, futex, MEMORY)            \
                  make("ringbus, sleeping", PINGPONG, go, echo, send, wait,                        \
                       MEMORY) make("pipe", PINGPONG, go, echo, pipe, pipe, PIPES)                 \
                      make("seqpacket socket", PINGPONG, go, echo, socket, socket,                 \
                           SOCKETS) make("POSIX mq", PINGPONG, go, echo, queue, queue, QUEUES)     \
                          make("bare line", PACED, pace, arrive, line, line, MEMORY)               \
                              make("ringbus, polling", PACED, pace, arrive, send, recv, MEMORY)    \
                                  make("bare futex", PACED, pace, arrive, futex, futex, MEMORY)    \
                                      make("ringbus, sleeping", PACED, pace, arrive, send, wait,   \
                                           MEMORY)                                                 \
                                          make("pipe", PACED, pace, arrive, pipe, pipe, PIPES)     \
                                              make("seqpacket socket", PACED, pace, arrive,        \
                                                   socket, socket, SOCKETS)                        \
                                                  make("POSIX mq", PACED, pace, arrive, queue,     \
                                                       queue, QUEUES)

#define SIDE(side, put, get, size)                                                                 \
  static uint64_t side##_##put##_##get##_##size(struct bench *bench) {                             \
    return side(bench, size, put_##put, get_##get);                                                \
  }
#define SIDES(side, put, get)                                                                      \
  SIDE(side, put, get, 8)                                                                          \
  SIDE(side, put, get, 64)                                                                         \
  SIDE(side, put, get, 256)                                                                        \
  SIDE(side, put, get, 1024) SIDE(side, put, get, 4096) SIDE(side, put, get, 65536)
#define FUNCTIONS(name, kind, lead, follow, put, get, channel)                                     \
  SIDES(lead, put, get)                                                                            \
  SIDES(follow, put, get)

#define NAMES(side, put, get)                                                                      \
  {                                                                                                \
    side##_##put##_##get##_8, side##_##put##_##get##_64, side##_##put##_##get##_256,               \
        side##_##put##_##get##_1024, side##_##put##_##get##_4096, side##_##put##_##get##_65536     \
  }
#define ENTRY(name, kind, lead, follow, put, get, channel)                                         \
  {name, BENCH_##kind, BENCH_##channel, NAMES(lead, put, get), NAMES(follow, put, get)},

CONTENDERS(FUNCTIONS)

const struct bench_contender bench_contenders[] = {CONTENDERS(ENTRY)};
const unsigned bench_contender_count = sizeof bench_contenders / sizeof *bench_contenders;
