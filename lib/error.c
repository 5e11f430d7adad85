/* SPDX-License-Identifier: MIT */
/* error.c - one table of errors, and the sentence about the last failure of this thread. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static __thread char detail[PATH_MAX + 512]; /* a sentence, with a path in it */

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *ringbus_version(void) {
  return VERSION_TEXT(RINGBUS_VERSION_MAJOR, RINGBUS_VERSION_MINOR, RINGBUS_VERSION_PATCH);
}

static const struct {
  int error;
  const char *text;
} table[] = {
    {0, "success"},
    {EAGAIN, "nothing to read, or no room, right now"},
    {EMSGSIZE, "the message does not fit"},
    {EPIPE, "end of stream: nothing will be published any more"},
    {ESTALE, "the ring was retired: open its successor"},
    {EOVERFLOW, "this reader was lapped: messages are lost, reading goes on at the oldest"},
    {EBADMSG, "not a ring, or damaged: the file contradicts itself"},
    {EPROTONOSUPPORT, "a format or feature that this version does not know"},
    {ECHILD, "the handle was inherited through fork: open and attach again in the child"},
    {EBUSY,
     "somebody else has that role, group or ring; or a batch of this member is not released yet"},
    {ETIMEDOUT, "timed out"},
    {EINTR, "interrupted by a signal"},
    {EINVAL, "invalid argument"},
    {ENOENT, "no such ring, group, participant or consumer"},
    {EEXIST, "it exists already, or is there already"},
    {ENOSPC, "no space: the disk, the participant slots, the groups or the poller are full"},
    {EOPNOTSUPP, "this filesystem cannot hold a ring"},
    {EPERM, "not permitted"},
    {ELOOP, "the name is a symbolic link, which is not followed"},
};

const char *ringbus_strerror(int error) {
  if (error > 0)
    return "not an error";
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (-table[i].error == error)
      return table[i].text;
  const char *text = error > -4096 ? strerrordesc_np(-error) : NULL; /* errno is less than that */
  return text ? text : "unknown error";
}

const char *ringbus_error_detail(void) { return detail; }

int fail(int error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (format)
    vsnprintf(detail, sizeof detail, format, arguments);
  else
    detail[0] = '\0';
  va_end(arguments);
  return error;
}

int fail_system(const char *format, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(detail, sizeof detail, format, arguments);
  va_end(arguments);
  if (length >= 0 && (size_t)length < sizeof detail)
    snprintf(detail + length, sizeof detail - (size_t)length, ": %s", strerrordesc_np(error));
  return -error;
}
