/* SPDX-License-Identifier: MIT */
/* fuzz.h - what the fuzzers share: reading an input, and what is asked of every call.
 *
 *   calls.c   handles on a sound ring; an input is a list of calls, and of what a hostile peer writes
 *             between them. Hundreds of thousands of inputs a second.
 *   files.c   an input is a file: a sound ring with patches, or any bytes. It is opened, and everything
 *             is called that there is.
 *   flipped.c no input: a thread writes at random while others are in their calls.
 *
 * Whatever the input: no crash, no byte touched outside the mapping, an end, and an answer that ringbus.h
 * names for that call. How they are run: CMakeLists.txt; bugs that they must find: tests/mutants. */
#ifndef RINGBUS_TESTS_FUZZ_H
#define RINGBUS_TESTS_FUZZ_H

#include "../support.h"

#include "internal.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* What is left of an input; behind its end there are zeroes. */
struct input {
  const uint8_t *next, *end;
};

static inline bool input_is_left(const struct input *input) { return input->next < input->end; }

static inline uint64_t take(struct input *input, size_t bytes) {
  uint64_t value = 0;
  size_t left = (size_t)(input->end - input->next);
  size_t taken = bytes < left ? bytes : left;
  memcpy(&value, input->next, taken);
  input->next += taken;
  return value;
}

static inline uint32_t take_below(struct input *input, uint32_t limit) {
  return (uint32_t)take(input, 1) % limit;
}

/* ANSWERS: the result of a call is 0 or one of these errors, which ringbus.h promises for it, or -EBADMSG,
 * which it promises for all. */
#define ANSWERS(call, ...) answers(#call, call, (const int[]){EBADMSG, __VA_ARGS__, 0})
static inline int answers(const char *call, int result, const int *errors) {
  if (result == 0)
    return result;
  for (; *errors; errors++)
    if (result == -*errors)
      return result;
  fprintf(stderr, "%s = %d (%s)\n", call, result, ringbus_strerror(result));
  abort();
}

/* expect_inside: a message that was handed out in place is inside the two views of the data. */
static inline void expect_inside(const struct ringbus_view *view,
                                 const struct ringbus_message *message) {
  uint64_t capacity = view->mask + 1;
  uint64_t at = (uint64_t)((const char *)message->data - view->data);
  const volatile char *bytes = message->data;
  REQUIRE(at <= capacity + view->in_band && message->length <= capacity);
  REQUIRE(at + message->length <= 2 * capacity);
  if (message->length)
    (void)(bytes[0] + bytes[message->length - 1]);
}

#endif
