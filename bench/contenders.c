/* SPDX-License-Identifier: MIT */
/* contenders.c - how each contender that needs no library but ringbus and the system passes a message: the
 * functions put and get of sides.h. (Like its peers' users, who copies out of a batch knows the length; recv
 * does not.) The others are in peers/. */
#include "sides.h"

#include <linux/futex.h>
#include <mqueue.h>
#include <sys/syscall.h>
#include <unistd.h>

const uint32_t bench_size[BENCH_SIZES] = {8, 64, 256, 1024, 4096, 65536};

/* Between the numbers at both ends, word i of a message is i times this. */
#define PATTERN UINT64_C(0x9e3779b97f4a7c15)

void bench_prepare(struct bench *bench, uint32_t size) {
  for (uint32_t i = 0; i < BENCH_BUFFER / 8; i++) {
    const uint64_t word = i % (size / 8) * PATTERN;
    memcpy(bench->out + (size_t)i * 8, &word, sizeof word);
  }
  memset(bench->in, 0, size);
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
  const unsigned batch = number_batch(bench, size, number);
  struct iovec messages[BENCH_BATCH];
  size_t done = 0;
  for (unsigned i = 0; i < batch; i++)
    messages[i] = (struct iovec){.iov_base = bench->out + (size_t)i * size, .iov_len = size};
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

/* Not much more than a KiB (see ringbus.h), but more messages than one. */
INLINE size_t batch_to_borrow(uint32_t size) {
  return size <= 32 ? BENCH_BATCH : size <= 256 ? 1024 / size : 4;
}

INLINE bool get_batch(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct ringbus_message messages[BENCH_BATCH];
  size_t count;
  int result;
  bool more = true;
  while ((result = ringbus_consumer_borrow_batch(bench->consumer, messages, batch_to_borrow(size),
                                                 &count)) == -EAGAIN)
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

/* What is between the numbers at both ends of a message that is made where it is. */
INLINE uint64_t filling(uint64_t number) { return (number & 0xff) * UINT64_C(0x0101010101010101); }

INLINE void fill(char *message, uint32_t size, uint64_t number) {
  size_t middle = size > 16 ? size - 16 : 0;
  if (size >
      256) /* of a length that the compiler knows it would make "rep stos", which is slower */
    __asm__("" : "+r"(middle));
  memset(message + 8, (int)(number & 0xff), middle);
  bench_number(message, size, number);
}

/* Reads each line of a message; one of some is read wholly. */
INLINE uint64_t filled(struct bench *bench, const char *message, uint32_t size) {
  const uint64_t number = bench_numbered(bench, message, size);
  const uint32_t step = number % WHOLLY ? 64 : 8;
  uint64_t different = 0;
  for (uint32_t at = 8; at + 8 < size; at += step) {
    uint64_t word;
    memcpy(&word, message + at, sizeof word);
    different |= word ^ filling(number);
  }
  if (different)
    bench_bad_message(bench, number, number);
  return number;
}

INLINE unsigned put_in_place(struct bench *bench, uint32_t size, uint64_t number) {
  void *claimed;
  int result;
  while ((result = ringbus_producer_claim(bench->producer, size, 0, &claimed)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0)
    bench_fail("claim", result);
  fill(claimed, size, number);
  result = ringbus_producer_commit(bench->producer, size);
  if (result != 0)
    bench_fail("commit", result);
  return 1;
}

INLINE bool get_in_place(struct bench *bench, uint32_t size, uint64_t *expected) {
  struct ringbus_message message;
  int result;
  while ((result = ringbus_consumer_borrow(bench->consumer, &message)) == -EAGAIN)
    bench_idle(bench);
  if (result != 0 || message.length != size)
    bench_fail("borrow", result ? result : -EBADMSG);
  const uint64_t number = filled(bench, message.data, size);
  if (number != *expected && number != BENCH_END)
    bench_bad_message(bench, *expected, number);
  result = ringbus_consumer_release(bench->consumer);
  if (result != 0)
    bench_fail("release", result);
  *expected += number != BENCH_END;
  return number != BENCH_END;
}

/* ---------------------------------------------------------------- floor: plain copies of blocks */

/* No messages, no protocol: blocks of 4 KiB (or one message) and one counter each way. This is what
 * the machine charges for moving the bytes. */
INLINE uint32_t block_bytes(uint32_t size) { return size > 4096 ? size : 4096; }

INLINE unsigned put_block(struct bench *bench, uint32_t size, uint64_t number) {
  const uint32_t count = block_bytes(size) / size;
  uint64_t published = bench->shared->published; /* this process alone writes it */
  char *block = bench->memory[BENCH_THERE] + published * block_bytes(size) % bench->memory_bytes;
  while (published - bench_load(&bench->shared->consumed) ==
         bench->memory_bytes / block_bytes(size))
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
  char *block = bench->memory[BENCH_THERE] + consumed * block_bytes(size) % bench->memory_bytes;
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

/* ---------------------------------------------------------------- all of them */

SIDES(send, recv)
SIDES(send, wait)
SIDES(batch, batch)
SIDES(in_place, in_place)
SIDES(block, block_reading)
SIDES(block, block_storing)
SIDES(pipe, pipe)
SIDES(socket, socket)
SIDES(queue, queue)
SIDES(token, token)
SIDES(line, line)
SIDES(futex, futex)

static const struct bench_contender own[] = {
    THROUGHPUT("ringbus send, recv", send, recv, BENCH_MEMORY, NULL),
    THROUGHPUT("ringbus batches", batch, batch, BENCH_MEMORY, NULL),
    THROUGHPUT("ringbus in place", in_place, in_place, BENCH_MEMORY, NULL),
    THROUGHPUT("floor, only read", block, block_reading, BENCH_MEMORY, NULL),
    THROUGHPUT("floor, stored back", block, block_storing, BENCH_MEMORY, NULL),
    THROUGHPUT("pipe", pipe, pipe, BENCH_PIPES, NULL),
    THROUGHPUT("seqpacket socket", socket, socket, BENCH_SOCKETS, NULL),
    THROUGHPUT("POSIX mq", queue, queue, BENCH_QUEUES, NULL),
    PINGPONG("bare line", token, token, BENCH_MEMORY, NULL),
    PINGPONG("ringbus, polling", send, recv, BENCH_MEMORY, NULL),
    PINGPONG("bare futex", futex, futex, BENCH_MEMORY, NULL),
    PINGPONG("ringbus, sleeping", send, wait, BENCH_MEMORY, NULL),
    PINGPONG("pipe", pipe, pipe, BENCH_PIPES, NULL),
    PINGPONG("seqpacket socket", socket, socket, BENCH_SOCKETS, NULL),
    PINGPONG("POSIX mq", queue, queue, BENCH_QUEUES, NULL),
    PACED("bare line", line, line, BENCH_MEMORY, NULL),
    PACED("ringbus, polling", send, recv, BENCH_MEMORY, NULL),
    PACED("bare futex", futex, futex, BENCH_MEMORY, NULL),
    PACED("ringbus, sleeping", send, wait, BENCH_MEMORY, NULL),
    PACED("pipe", pipe, pipe, BENCH_PIPES, NULL),
    PACED("seqpacket socket", socket, socket, BENCH_SOCKETS, NULL),
    PACED("POSIX mq", queue, queue, BENCH_QUEUES, NULL),
    WAKEUP("bare futex", futex, futex, BENCH_MEMORY, NULL),
    WAKEUP("ringbus, sleeping", send, wait, BENCH_MEMORY, NULL),
    WAKEUP("pipe", pipe, pipe, BENCH_PIPES, NULL),
    WAKEUP("seqpacket socket", socket, socket, BENCH_SOCKETS, NULL),
    WAKEUP("POSIX mq", queue, queue, BENCH_QUEUES, NULL),
};

/* ---------------------------------------------------------------- ringbus as it waits by default */

/* It looks for some microseconds before it sleeps; the rings above have consumers that sleep at once. */
static int default_ring[BENCH_WAYS];

static void make_default(void) {
  const struct ringbus_create_options options = {.capacity = BENCH_RING};
  for (unsigned way = 0; way < BENCH_WAYS; way++)
    default_ring[way] = bench_make_ring(&options);
}

static void open_default(struct bench *bench, uint32_t size) {
  static ringbus_producer *producer;
  static ringbus_consumer *consumer;
  (void)size;
  if (!producer) {
    producer = bench_produce_in(default_ring[way_out(bench)]);
    consumer = bench_consume_from(default_ring[way_in(bench)],
                                  (struct ringbus_consumer_options){.group = NULL}, bench);
  }
  bench->producer = producer;
  bench->consumer = consumer;
}

static const struct bench_peer by_default;
static const struct bench_contender own_by_default[] = {
    PINGPONG("ringbus, default wait", send, wait, BENCH_MEMORY, &by_default),
    PACED("ringbus, default wait", send, wait, BENCH_MEMORY, &by_default),
};
static const struct bench_peer by_default = PEER(own_by_default, false, make_default, open_default);

/* ---------------------------------------------------------------- all of them */

/* Those that are not built, for want of their library, are no symbols; some want something at run time. */
static const struct {
  const char *package;
  const struct bench_peer *peer;
} peers[] = {
    {"libck-dev", &bench_peer_ck},       {"libdpdk-dev", &bench_peer_dpdk},
    {"libqb-dev", &bench_peer_libqb},    {"libatomic-queue-dev", &bench_peer_atomic_queue},
    {"libboost-dev", &bench_peer_boost}, {"libzmq3-dev", &bench_peer_zmq},
    {"libnng-dev", &bench_peer_nng},     {"libiceoryx-posh-dev libacl1-dev", &bench_peer_iceoryx},
    {"python3", &bench_peer_python},
};

const struct bench_contender *bench_contender[BENCH_MAX_CONTENDERS];
unsigned bench_contender_count;

static void add_all(const struct bench_contender *contenders, unsigned count) {
  if (bench_contender_count + count > BENCH_MAX_CONTENDERS)
    bench_fail("listing the contenders", -ENOBUFS);
  for (unsigned i = 0; i < count; i++)
    bench_contender[bench_contender_count++] = &contenders[i];
}

char bench_missing[160];

void bench_list_contenders(void) {
  size_t length = 0;
  add_all(own, sizeof own / sizeof *own);
  add_all(own_by_default, by_default.contenders);
  for (unsigned i = 0; i < bench_alone_count; i++)
    add_all(bench_alone[i].contender, bench_alone[i].contenders);
  for (unsigned i = 0; i < sizeof peers / sizeof *peers; i++)
    if (peers[i].peer && (!peers[i].peer->is_there || peers[i].peer->is_there()))
      add_all(peers[i].peer->contender, peers[i].peer->contenders);
    else
      length += (size_t)snprintf(bench_missing + length, sizeof bench_missing - length, " %s",
                                 peers[i].package);
}
