/* SPDX-License-Identifier: MIT */
/* zmq.c - ZeroMQ over its ipc transport: a PUSH and a PULL socket for each direction, which may each hold
 * as many messages as the rings. Its own thread in each process gathers them into batches. */
#include "../sides.h"

#include <unistd.h>
#include <zmq.h>

static void *sockets[BENCH_SIZES][BENCH_WAYS], *out, *in;

static void *make_socket(void *context, const struct bench *bench, unsigned index, unsigned way) {
  const int none = 0, soon = 1 /* ms */, most = (int)(bench->memory_bytes / bench_size[index]);
  char address[64];
  void *socket = zmq_socket(context, way == way_out(bench) ? ZMQ_PUSH : ZMQ_PULL);
  /* An abstract address leaves no file. */
  (void)snprintf(address, sizeof address, "ipc://@ringbus-bench.%d.%u.%u",
                 bench->leads ? getpid() : getppid(), index, way);
  if (!socket || zmq_setsockopt(socket, ZMQ_SNDHWM, &most, sizeof most) != 0 ||
      zmq_setsockopt(socket, ZMQ_RCVHWM, &most, sizeof most) != 0 ||
      zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none) != 0 ||
      zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &soon, sizeof soon) != 0 ||
      (bench->leads ? zmq_bind(socket, address) : zmq_connect(socket, address)) != 0)
    bench_fail("a socket of ZeroMQ", -zmq_errno());
  return socket;
}

static void open_sockets(struct bench *bench, uint32_t size) {
  static void *context;
  const unsigned index = index_of(size);
  if (!context && !(context = zmq_ctx_new()))
    bench_fail("starting ZeroMQ", -zmq_errno());
  for (unsigned way = 0; way < BENCH_WAYS; way++)
    if (!sockets[index][way])
      sockets[index][way] = make_socket(context, bench, index, way);
  out = sockets[index][way_out(bench)];
  in = sockets[index][way_in(bench)];
}

INLINE unsigned put_zmq(struct bench *bench, uint32_t size, uint64_t number) {
  bench_number(bench->out, size, number);
  while (zmq_send(out, bench->out, size, 0) < 0)
    if (zmq_errno() != EINTR)
      bench_fail("zmq_send", -zmq_errno());
  return 1;
}

INLINE bool get_zmq(struct bench *bench, uint32_t size, uint64_t *expected) {
  int got;
  while ((got = zmq_recv(in, bench->in, BENCH_MAX_MESSAGE, 0)) < 0)
    if (zmq_errno() != EINTR)
      bench_fail("zmq_recv", -zmq_errno());
  if (got != (int)size)
    bench_fail("zmq_recv", -EBADMSG);
  return check(bench, size, expected);
}

SIDES(zmq, zmq)

static const struct bench_contender contenders[] = {
    THROUGHPUT("ZeroMQ ipc", zmq, zmq, BENCH_MEMORY, &bench_peer_zmq),
    PINGPONG("ZeroMQ ipc", zmq, zmq, BENCH_MEMORY, &bench_peer_zmq),
    PACED("ZeroMQ ipc", zmq, zmq, BENCH_MEMORY, &bench_peer_zmq),
    WAKEUP("ZeroMQ ipc", zmq, zmq, BENCH_MEMORY, &bench_peer_zmq),
};
const struct bench_peer bench_peer_zmq = PEER(contenders, true, NULL, open_sockets);
