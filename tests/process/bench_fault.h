/* SPDX-License-Identifier: MIT */
/* bench_fault.h - included before each source of ringbus-bench in the variant that tests use: one message
 * is not passed on as it should be, and the benchmark must notice. BENCH_FAULT says which: CALL:FAULT:N,
 * of the calls send, commit, write or mq_send the Nth, from 0, in the first slice that makes them; lose,
 * repeat, or first, middle, last: a byte is changed there. The call number is the bench's own, by which every
 * contender's message gets its number before it is passed on: of it only the last three.
 */
#ifndef RINGBUS_TESTS_BENCH_FAULT_H
#define RINGBUS_TESTS_BENCH_FAULT_H

#include <mqueue.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../bench/bench.h"

static char bench_fault_copy[65536];
static void *bench_fault_claimed;

/* How often this message is to be passed on; *data: what is to be passed on. */
static inline unsigned bench_fault(const char *call, const void **data, size_t length) {
  static unsigned long calls;
  const char *fault = getenv("BENCH_FAULT");
  const size_t name = strlen(call);
  if (!fault || strncmp(fault, call, name) != 0 || fault[name] != ':' ||
      calls++ != strtoul(strrchr(fault, ':') + 1, NULL, 10))
    return 1;
  fault += name + 1;
  if (strncmp(fault, "lose", 4) == 0)
    return 0;
  if (strncmp(fault, "repeat", 6) == 0)
    return 2;
  memcpy(bench_fault_copy, *data, length);
  bench_fault_copy[*fault == 'f' ? 0 : *fault == 'm' ? length / 2 : length - 1] ^= 1;
  *data = bench_fault_copy;
  return 1;
}

static inline int bench_fault_send(ringbus_producer *producer, const void *data, size_t length,
                                   uint32_t tag) {
  int result = 0;
  for (unsigned times = bench_fault("send", &data, length); times-- > 0;)
    while ((result = ringbus_producer_send(producer, data, length, tag)) == -EAGAIN)
      ;
  return result;
}

static inline int bench_fault_claim(ringbus_producer *producer, size_t length, uint32_t tag,
                                    void **data) {
  int result = ringbus_producer_claim(producer, length, tag, data);
  bench_fault_claimed = *data;
  return result;
}

static inline int bench_fault_commit(ringbus_producer *producer, size_t length) {
  const void *data = bench_fault_claimed;
  if (bench_fault("commit", &data, length) == 0)
    return ringbus_producer_abort(producer);
  memmove(bench_fault_claimed, data, length);
  return ringbus_producer_commit(producer, length);
}

static inline ssize_t bench_fault_write(int fd, const void *data, size_t length) {
  ssize_t result = (ssize_t)length;
  for (unsigned times = bench_fault("write", &data, length); times-- > 0;)
    result = write(fd, data, length);
  return result;
}

static inline int bench_fault_mq_send(mqd_t queue, const char *data, size_t length,
                                      unsigned priority) {
  int result = 0;
  const void *passed = data;
  for (unsigned times = bench_fault("mq_send", &passed, length); times-- > 0;)
    result = mq_send(queue, (const char *)passed, length, priority);
  return result;
}

static inline void bench_fault_number(char *message, uint32_t size, uint64_t number) {
  const void *data = message;
  bench_number(message, size, number);
  (void)bench_fault("number", &data, size);
  if (data != message)
    memcpy(message, data, size);
}

#define bench_number bench_fault_number
#ifndef __cplusplus /* these names are those of too much else there */
#define ringbus_producer_send bench_fault_send
#define ringbus_producer_claim bench_fault_claim
#define ringbus_producer_commit bench_fault_commit
#define write bench_fault_write
#define mq_send bench_fault_mq_send
#endif

#endif
