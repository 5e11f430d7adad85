/* SPDX-License-Identifier: MIT */
/* python.c - what a Python program can do by itself, with mmap and struct: python.py. Beside each of the bench's
 * two processes one that runs it, on the same core, and passes the messages of a slice while that one waits. */
#include "../sides.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATA = 4096, WAY_BYTES = DATA + BENCH_LARGE_RING };
enum { THROUGHPUT_SLICE = 1, PINGPONG_SLICE = 2, LEADS = 4, YIELDS = 8 };

static int memory = -1, script = -1;
static char *mapped;

static bool find_python(void) {
#if defined(__x86_64__) /* elsewhere nobody promises the order of its stores */
  char path[4096];
  if (access(BENCH_PYTHON_PEER, R_OK) != 0)
    return false;
  for (const char *at = getenv("PATH"); at; at = strchr(at, ':')) {
    at += *at == ':';
    (void)snprintf(path, sizeof path, "%.*s/python3", (int)strcspn(at, ":"), at);
    if (access(path, X_OK) == 0)
      return true;
  }
#endif
  return false;
}

static void make_memory(void) {
  if ((memory = memfd_create("ringbus-bench", 0)) < 0 ||
      ftruncate(memory, 2 * (off_t)WAY_BYTES) != 0 ||
      (mapped = mmap(NULL, 2 * (size_t)WAY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                     memory, 0)) == MAP_FAILED)
    bench_fail("memory for Python", -errno);
}

static void start_python(struct bench *bench) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    bench_fail("a socket for Python", -errno);
  if ((bench->helper = bench_fork()) == 0) {
    char number[4][16];
    const int own = dup(ends[1]);
    (void)snprintf(number[0], sizeof number[0], "%d", memory);
    (void)snprintf(number[1], sizeof number[1], "%d", own);
    (void)snprintf(number[2], sizeof number[2], "%u", way_out(bench));
    (void)snprintf(number[3], sizeof number[3], "%u", way_in(bench));
    (void)execlp("python3", "python3", "-I", BENCH_PYTHON_PEER, number[0], number[1], number[2],
                 number[3], (char *)NULL);
    bench_fail("starting python3", -errno);
  }
  (void)close(ends[1]);
  script = ends[0];
}

static void open_python(struct bench *bench, uint32_t size) {
  (void)size;
  if (script < 0)
    start_python(bench);
  if (bench->leads)
    for (unsigned way = 0; way < BENCH_WAYS; way++)
      memset(mapped + way * (size_t)WAY_BYTES, 0, DATA);
}

static void read_all(void *into, size_t length) {
  for (size_t done = 0; done < length;) {
    const ssize_t got = read(script, (char *)into + done, length - done);
    if (got == 0 || (got < 0 && errno != EINTR))
      bench_fail("Python", got ? -errno : -EPIPE);
    done += got > 0 ? (size_t)got : 0;
  }
}

static uint64_t run(struct bench *bench, uint32_t what) {
  struct {
    uint32_t what, size;
    uint64_t ring, ns;
  } command = {what | (bench->leads ? LEADS : 0) | (bench->shares_core ? YIELDS : 0),
               bench_size[bench->row->size], bench->memory_bytes, (uint64_t)bench->slice_ns};
  uint64_t counts[2];
  char ready;
  if (send(script, &command, sizeof command, MSG_NOSIGNAL) != sizeof command)
    bench_fail("Python", -errno);
  read_all(&ready, 1);
  if (send(script, &ready, 1, MSG_NOSIGNAL) != 1)
    bench_fail("Python", -errno);
  read_all(counts, sizeof counts);
  for (uint64_t i = 0; i < counts[1]; i++) {
    int64_t ns;
    read_all(&ns, sizeof ns);
    bench_record(&bench->shared->latency, ns);
  }
  return counts[0];
}

static uint64_t throughput(struct bench *bench) { return run(bench, THROUGHPUT_SLICE); }
static uint64_t pingpong(struct bench *bench) { return run(bench, PINGPONG_SLICE); }

#define ALL_SIZES(side)                                                                            \
  { side, side, side, side, side, side }
static const struct bench_contender contenders[] = {
    {"Python mmap", BENCH_THROUGHPUT, BENCH_MEMORY, &bench_peer_python, ALL_SIZES(throughput),
     ALL_SIZES(throughput)},
    {"Python mmap", BENCH_PINGPONG, BENCH_MEMORY, &bench_peer_python, ALL_SIZES(pingpong),
     ALL_SIZES(pingpong)},
};

const struct bench_peer bench_peer_python = {contenders,  2,           true,
                                             make_memory, open_python, find_python};
