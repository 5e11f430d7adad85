/* SPDX-License-Identifier: MIT */
/* support.h - what the tests share: a private bus directory, rings whose counters start anywhere,
 * message contents that can be checked, the reference queue, and child processes. */
#ifndef RINGBUS_TESTS_SUPPORT_H
#define RINGBUS_TESTS_SUPPORT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ringbus/layout.h>
#include <ringbus/ringbus.h>

/* REQUIRE: end the program with the place and the condition. For plain programs, child processes and
 * helpers; Criterion takes the abort for a failed test. */
#define REQUIRE(condition)                                                                         \
  do {                                                                                             \
    if (!(condition))                                                                              \
      test_fail(__FILE__, __LINE__, #condition);                                                   \
  } while (0)
/* REQUIRE_RESULT: the same for return values of the library, which are shown. */
#define REQUIRE_RESULT(call, expected)                                                             \
  test_require_result(__FILE__, __LINE__, #call, call, expected)
_Noreturn void test_fail(const char *file, int line, const char *condition);
void test_require_result(const char *file, int line, const char *call, int result, int expected);

/* ---------------------------------------------------------------- where rings live */

/* test_directory: a directory of this test run below /dev/shm, $RINGBUS_DIR points to it. It is
 * removed when the process that asked first (or the Criterion runner) ends. */
const char *test_directory(void);
void test_remove_directory(void);

/* test_path: directory/name, in one of sixteen static buffers. */
const char *test_path(const char *name);

/* test_scaled: a number of rounds; larger if $RINGBUS_TEST_SCALE is "full". */
uint64_t test_scaled(uint64_t normal, uint64_t full);

/* ---------------------------------------------------------------- rings */

/* test_ring: a new ring of this name, which must not exist; NULL options: 4096 bytes. */
ringbus_ring *test_ring(const char *name, const struct ringbus_create_options *options);
ringbus_ring *test_open(const char *name);
ringbus_ring *test_open_read_only(const char *name);

/* test_ring_starting_at: a new ring whose counters begin at this position (a multiple of 8). */
ringbus_ring *test_ring_starting_at(const char *name, const struct ringbus_create_options *options,
                                    uint64_t start);
/* test_restart_at: bring the file of a ring that nobody uses back to the state after creation, with
 * other counters: no groups, no participants, no data. */
void test_restart_at(const char *name, uint64_t start);

ringbus_producer *test_producer(ringbus_ring *ring);
/* test_consumer: of a named (durable) group, or of its own if group is NULL; gates; at oldest. */
ringbus_consumer *test_consumer(ringbus_ring *ring, const char *group);
ringbus_observer *test_observer(ringbus_ring *ring);

void test_read_file(const char *name, uint64_t offset, void *bytes, size_t length);
void test_write_file(const char *name, uint64_t offset, const void *bytes, size_t length);
/* test_read_whole: the file's bytes; free() them. */
unsigned char *test_read_whole(const char *name, size_t *length);
/* test_checksum: the identity block's checksum, as layout.h defines it. */
uint64_t test_checksum(const void *identity);

/* The starts from which counters are to be tried: 0, and little before they pass 2^32, 2^63, 2^64. */
extern const uint64_t test_starts[];
extern const size_t test_start_count;

/* ---------------------------------------------------------------- contents */

#define TEST_CONTENT_MAX 65536u
/* test_content: TEST_CONTENT_MAX bytes that belong to a seed; neighbouring seeds differ in nearly
 * every byte, also when shifted. */
const unsigned char *test_content(uint64_t seed);

/* test_random: the next of a reproducible sequence. */
uint64_t test_random(uint64_t *state);

/* ---------------------------------------------------------------- the reference */

/* What a ring does, in its simplest form: a queue. A message takes 8 bytes, its length and 4 for a
 * tag, rounded up to 8; and 8 bytes of the capacity always stay free. */
struct reference_message {
  uint64_t position, count, seed;
  uint32_t length, tag;
};
#define REFERENCE_MESSAGES 1024u
struct reference {
  uint64_t capacity, tail, head, tail_count, head_count;
  struct reference_message messages[REFERENCE_MESSAGES]; /* message n at n % REFERENCE_MESSAGES */
};
uint64_t reference_bytes(size_t length, uint32_t tag);
void reference_start(struct reference *queue, uint64_t capacity, uint64_t start);
bool reference_put(struct reference *queue, size_t length, uint32_t tag, uint64_t seed);
bool reference_get(struct reference *queue, struct reference_message *message);

/* test_same: whether a message is the one that the reference has. */
bool test_same(const struct ringbus_message *message, const struct reference_message *expected);

/* ---------------------------------------------------------------- child processes */

struct test_child {
  pid_t pid;
  int from, to; /* pipes: what the child says, what it is told */
};
/* test_child_start: fork; the child runs body and ends with its result as exit status. */
struct test_child test_child_start(int (*body)(struct test_child *self, void *context),
                                   void *context);
/* One byte to the other side, and from it; both directions, both sides. */
void test_child_say(const struct test_child *child, char word);
char test_child_hear(const struct test_child *child); /* 0: the other side has ended */
/* test_child_status: wait for its end. The exit status, or -signal. */
int test_child_status(struct test_child *child);
/* test_count_coverage: by a child that was forked otherwise, before it ends by _exit. */
void test_count_coverage(void);
bool test_child_has_ended(const struct test_child *child); /* its status can still be asked for */
void test_child_kill(struct test_child *child);

/* test_sleep_us: for a test that wants another thread to get on; no result may depend on it. */
void test_sleep_us(unsigned microseconds);
uint64_t test_now_ns(void);

#endif
