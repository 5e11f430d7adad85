/* SPDX-License-Identifier: MIT */
/* nng.c - nng over its ipc transport: a pair of sockets, which may hold as many messages as the rings, but
 * 8192, which is the most. Its own threads carry them. */
#include "../sides.h"

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <unistd.h>

static nng_socket pair;

static void check_result(const char *what, int result) {
  if (result != 0) {
    (void)fprintf(stderr, "ringbus-bench: %s: %s\n", what, nng_strerror(result));
    _exit(1);
  }
}

static nng_socket make_pair(const struct bench *bench, unsigned index) {
  const uint64_t slots = bench->memory_bytes / bench_size[index];
  const int most = slots < 8192 ? (int)slots : 8192;
  char address[64];
  nng_socket made = NNG_SOCKET_INITIALIZER;
  /* An abstract address leaves no file. */
  (void)snprintf(address, sizeof address, "abstract://ringbus-bench.%d.%u",
                 bench->leads ? getpid() : getppid(), index);
  check_result("a socket of nng", nng_pair0_open(&made));
  check_result("a socket of nng", nng_socket_set_int(made, NNG_OPT_SENDBUF, most));
  check_result("a socket of nng", nng_socket_set_int(made, NNG_OPT_RECVBUF, most));
  check_result("a socket of nng", nng_socket_set_ms(made, NNG_OPT_RECONNMINT, 1));
  if (bench->leads)
    check_result("listening with nng", nng_listen(made, address, NULL, 0));
  else
    check_result("connecting with nng", nng_dial(made, address, NULL, NNG_FLAG_NONBLOCK));
  return made;
}

static void open_pair(struct bench *bench, uint32_t size) {
  static nng_socket pairs[BENCH_SIZES];
  const unsigned index = index_of(size);
  if (pairs[index].id == 0)
    pairs[index] = make_pair(bench, index);
  pair = pairs[index];
}

INLINE unsigned put_nng(struct bench *bench, uint32_t size, uint64_t number) {
  bench_number(bench->out, size, number);
  check_result("nng_send", nng_send(pair, bench->out, size, 0));
  return 1;
}

INLINE bool get_nng(struct bench *bench, uint32_t size, uint64_t *expected) {
  size_t got = BENCH_MAX_MESSAGE;
  check_result("nng_recv", nng_recv(pair, bench->in, &got, 0));
  if (got != size)
    bench_fail("nng_recv", -EBADMSG);
  return check(bench, size, expected);
}

SIDES(nng, nng)

static const struct bench_contender contenders[] = {
    THROUGHPUT("nng ipc", nng, nng, BENCH_MEMORY, &bench_peer_nng),
    PINGPONG("nng ipc", nng, nng, BENCH_MEMORY, &bench_peer_nng),
    PACED("nng ipc", nng, nng, BENCH_MEMORY, &bench_peer_nng),
    WAKEUP("nng ipc", nng, nng, BENCH_MEMORY, &bench_peer_nng),
};
const struct bench_peer bench_peer_nng = PEER(contenders, true, NULL, open_pair);
