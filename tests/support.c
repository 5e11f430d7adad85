/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

static void remove_at_exit(void);

static _Noreturn void stop(void) {
  remove_at_exit();
  abort();
}

_Noreturn void test_fail(const char *file, int line, const char *condition) {
  fprintf(stderr, "%s:%d: not so: %s (last error detail: \"%s\")\n", file, line, condition,
          ringbus_error_detail());
  stop();
}

void test_require_result(const char *file, int line, const char *call, int result, int expected) {
  if (result == expected)
    return;
  fprintf(stderr, "%s:%d: %s = %d (%s), not %d (%s); detail: \"%s\"\n", file, line, call, result,
          ringbus_strerror(result), expected, ringbus_strerror(expected), ringbus_error_detail());
  stop();
}

/* ---------------------------------------------------------------- where rings live */

static char directory[64];
static pid_t directory_owner;

static void remove_at_exit(void) {
  if (getpid() == directory_owner)
    test_remove_directory();
}

const char *test_directory(void) {
  const char *inherited;
  if (directory[0])
    return directory;
  inherited = getenv("RINGBUS_TEST_DIRECTORY");
  if (inherited) { /* of a Criterion runner, which removes it: one of this test's own inside it */
    snprintf(directory, sizeof directory, "%s/%d", inherited, (int)getpid());
    REQUIRE(mkdir(directory, 0700) == 0);
  } else {
    snprintf(directory, sizeof directory, "/dev/shm/ringbus-test.XXXXXX");
    REQUIRE(mkdtemp(directory));
    directory_owner = getpid();
    atexit(remove_at_exit);
  }
  REQUIRE(setenv("RINGBUS_DIR", directory, 1) == 0);
  return directory;
}

static void remove_tree(int parent, const char *name) {
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *open_directory = fd >= 0 ? fdopendir(fd) : NULL;
  struct dirent *entry;
  while (open_directory && (entry = readdir(open_directory)))
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
        unlinkat(fd, entry->d_name, 0) != 0)
      remove_tree(fd, entry->d_name);
  if (open_directory)
    closedir(open_directory);
  unlinkat(parent, name, AT_REMOVEDIR);
}

void test_remove_directory(void) {
  if (directory[0])
    remove_tree(AT_FDCWD, directory);
  directory[0] = 0;
}

const char *test_path(const char *name) {
  static char paths[16][256];
  static unsigned next;
  char *path = paths[next++ % 16];
  snprintf(path, sizeof paths[0], "%s/%s", test_directory(), name);
  return path;
}

uint64_t test_scaled(uint64_t normal, uint64_t full) {
  const char *scale = getenv("RINGBUS_TEST_SCALE");
  return scale && strcmp(scale, "full") == 0 ? full : normal;
}

/* ---------------------------------------------------------------- rings */

ringbus_ring *test_ring(const char *name, const struct ringbus_create_options *options) {
  static const struct ringbus_create_options small = {.capacity = 4096};
  ringbus_ring *ring = NULL;
  REQUIRE_RESULT(ringbus_ring_create(test_path(name), options ? options : &small, &ring), 0);
  return ring;
}

ringbus_ring *test_open(const char *name) {
  ringbus_ring *ring = NULL;
  REQUIRE_RESULT(ringbus_ring_open(test_path(name), NULL, &ring), 0);
  return ring;
}

ringbus_ring *test_open_read_only(const char *name) {
  static const struct ringbus_open_options read_only = {.read_only = true};
  ringbus_ring *ring = NULL;
  REQUIRE_RESULT(ringbus_ring_open(test_path(name), &read_only, &ring), 0);
  return ring;
}

void test_restart_at(const char *name, uint64_t start) {
  struct ringbus_header header;
  struct stat status;
  char *zero;
  test_read_file(name, 0, &header, sizeof header);
  memset(&header.signals, 0, sizeof header.signals);
  memset(&header.tail, 0, sizeof header.tail);
  memset(&header.floor, 0, sizeof header.floor);
  memset(&header.join, 0, sizeof header.join);
  memset(&header.counters, 0, sizeof header.counters);
  header.tail.position = start;
  header.floor.position = start;
  REQUIRE(stat(test_path(name), &status) == 0);
  zero = calloc(1, (size_t)status.st_size);
  REQUIRE(zero);
  test_write_file(name, sizeof header, zero, (size_t)status.st_size - sizeof header);
  test_write_file(name, 0, &header, sizeof header);
  free(zero);
}

ringbus_ring *test_ring_starting_at(const char *name, const struct ringbus_create_options *options,
                                    uint64_t start) {
  REQUIRE_RESULT(ringbus_ring_close(test_ring(name, options)), 0);
  test_write_file(name, offsetof(struct ringbus_header, tail), &start, sizeof start);
  test_write_file(name, offsetof(struct ringbus_header, floor), &start, sizeof start);
  return test_open(name);
}

ringbus_producer *test_producer(ringbus_ring *ring) {
  ringbus_producer *producer = NULL;
  REQUIRE_RESULT(ringbus_producer_attach(ring, NULL, &producer), 0);
  return producer;
}

ringbus_consumer *test_consumer(ringbus_ring *ring, const char *group) {
  struct ringbus_consumer_options options = {.group = group};
  ringbus_consumer *consumer = NULL;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &consumer), 0);
  return consumer;
}

ringbus_observer *test_observer(ringbus_ring *ring) {
  ringbus_observer *observer = NULL;
  REQUIRE_RESULT(ringbus_observer_attach(ring, NULL, &observer), 0);
  return observer;
}

void test_read_file(const char *name, uint64_t offset, void *bytes, size_t length) {
  int fd = open(test_path(name), O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  REQUIRE(pread(fd, bytes, length, (off_t)offset) == (ssize_t)length);
  close(fd);
}

void test_write_file(const char *name, uint64_t offset, const void *bytes, size_t length) {
  int fd = open(test_path(name), O_WRONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  REQUIRE(pwrite(fd, bytes, length, (off_t)offset) == (ssize_t)length);
  close(fd);
}

unsigned char *test_read_whole(const char *name, size_t *length) {
  struct stat status;
  unsigned char *bytes;
  REQUIRE(stat(test_path(name), &status) == 0);
  *length = (size_t)status.st_size;
  bytes = malloc(*length);
  REQUIRE(bytes);
  test_read_file(name, 0, bytes, *length);
  return bytes;
}

uint64_t test_checksum(const void *identity) {
  const unsigned char *bytes = identity;
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t at = offsetof(struct ringbus_identity, layout_version);
       at < offsetof(struct ringbus_identity, checksum); at++)
    hash = (hash ^ bytes[at]) * UINT64_C(0x100000001b3);
  return hash;
}

/* 1000 and 2024: so near that the first lap of a 4096-byte ring passes the edge, once in a record. */
const uint64_t test_starts[] = {0, (UINT64_C(1) << 32) - 1000, (UINT64_C(1) << 63) - 2024,
                                UINT64_MAX - 999};
const size_t test_start_count = sizeof test_starts / sizeof test_starts[0];

/* ---------------------------------------------------------------- contents */

uint64_t test_random(uint64_t *state) { /* splitmix64 */
  uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);
  mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
  return mixed ^ mixed >> 31;
}

#define POOL_BYTES (2 * TEST_CONTENT_MAX)
static unsigned char pool[POOL_BYTES];

/* Before main, so that threads need no lock. */
__attribute__((constructor)) static void fill_pool(void) {
  uint64_t state = 1;
  for (size_t at = 0; at < POOL_BYTES; at += 8) {
    uint64_t random = test_random(&state);
    memcpy(pool + at, &random, sizeof random);
  }
}

const unsigned char *test_content(uint64_t seed) {
  /* An odd factor: each of TEST_CONTENT_MAX consecutive seeds has its own place in the pool. */
  return pool + seed * 40503 % TEST_CONTENT_MAX;
}

/* ---------------------------------------------------------------- the reference */

uint64_t reference_bytes(size_t length, uint32_t tag) {
  return (8 + length + (tag ? 4 : 0) + 7) / 8 * 8;
}

void reference_start(struct reference *queue, uint64_t capacity, uint64_t start) {
  queue->capacity = capacity;
  queue->tail = queue->head = start;
  queue->tail_count = queue->head_count = 0;
}

bool reference_put(struct reference *queue, size_t length, uint32_t tag, uint64_t seed) {
  uint64_t bytes = reference_bytes(length, tag);
  if (queue->tail - queue->head + bytes + 8 > queue->capacity)
    return false;
  queue->messages[queue->tail_count % REFERENCE_MESSAGES] =
      (struct reference_message){queue->tail, queue->tail_count, seed, (uint32_t)length, tag};
  queue->tail += bytes;
  queue->tail_count++;
  return true;
}

bool reference_get(struct reference *queue, struct reference_message *message) {
  if (queue->head_count == queue->tail_count)
    return false;
  *message = queue->messages[queue->head_count++ % REFERENCE_MESSAGES];
  queue->head += reference_bytes(message->length, message->tag);
  return true;
}

bool test_same(const struct ringbus_message *message, const struct reference_message *expected) {
  return message->position == expected->position && message->length == expected->length &&
         message->tag == expected->tag &&
         memcmp(message->data, test_content(expected->seed), message->length) == 0;
}

/* ---------------------------------------------------------------- child processes */

#ifdef TEST_COVERAGE /* what a child has reached is reached */
void __gcov_dump(void);
void test_count_coverage(void) { __gcov_dump(); }
#else
void test_count_coverage(void) {}
#endif

struct test_child test_child_start(int (*body)(struct test_child *self, void *context),
                                   void *context) {
  struct test_child child;
  int up[2], down[2];
  test_directory(); /* so that both know the same one */
  REQUIRE(pipe(up) == 0 && pipe(down) == 0);
  fflush(NULL);
  child.pid = fork();
  REQUIRE(child.pid >= 0);
  if (child.pid == 0) {
    struct test_child self = {getppid(), down[0], up[1]};
    close(up[0]);
    close(down[1]);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no children behind */
    int result = body(&self, context);
    test_count_coverage();
    _exit(result); /* not exit(): the parent's handlers are none of its business */
  }
  close(up[1]);
  close(down[0]);
  child.from = up[0];
  child.to = down[1];
  return child;
}

void test_child_say(const struct test_child *child, char word) {
  REQUIRE(write(child->to, &word, 1) == 1);
}

char test_child_hear(const struct test_child *child) {
  char word = 0;
  ssize_t got;
  do
    got = read(child->from, &word, 1);
  while (got < 0 && errno == EINTR);
  return got == 1 ? word : 0;
}

int test_child_status(struct test_child *child) {
  int status = 0;
  pid_t ended;
  do
    ended = waitpid(child->pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  REQUIRE(ended == child->pid);
  close(child->from);
  close(child->to);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool test_child_has_ended(const struct test_child *child) {
  siginfo_t ended = {0};
  REQUIRE(waitid(P_PID, (id_t)child->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0);
  return ended.si_pid == child->pid;
}

void test_child_kill(struct test_child *child) {
  int status;
  kill(child->pid, SIGKILL);
  status = test_child_status(child);
  REQUIRE(status == -SIGKILL);
}

void test_sleep_us(unsigned microseconds) {
  struct timespec time = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};
  nanosleep(&time, NULL);
}

uint64_t test_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
