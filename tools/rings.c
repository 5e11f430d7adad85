/* SPDX-License-Identifier: MIT */
/* rings.c - opening rings by name, and copies of them that come through standard input. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <ringbus/layout.h>

enum { GROUPS = RINGBUS_MAX_GROUPS, LOOKS = 20, LOOK_NS = 50000000, PAUSE_NS = 20000000 };

/* ---------------------------------------------------------------- a copy on standard input */

/* How much of what begins like this to read: what does not begin like a ring is told from its
 * beginning, and what goes on behind a ring is too long with its first byte. */
static uint64_t image_bytes(const struct ringbus_identity *identity) {
  uint64_t end = identity->data_offset + identity->capacity + 1;
  return identity->magic == RINGBUS_MAGIC && end > sizeof *identity &&
                 identity->capacity <= RINGBUS_MAX_CAPACITY
             ? end
             : sizeof *identity;
}

/* write_image: zeroes take no memory. */
static ssize_t write_image(int image, const char *block, size_t count) {
  static const char zeroes[65536];
  if (count <= sizeof zeroes && memcmp(block, zeroes, count) == 0)
    return lseek(image, (off_t)count, SEEK_CUR) < 0 ? -1 : (ssize_t)count;
  return write(image, block, count);
}

int read_image(int from, const char *subject, int *code) {
  static char block[65536];
  union {
    struct ringbus_identity identity;
    char bytes[sizeof(struct ringbus_identity)];
  } begin = {.identity = {.magic = 0}};
  int image = memfd_create("ringbus", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  uint64_t total = 0, most = sizeof begin;
  ssize_t got = 0, put = image < 0 ? -1 : 0;
  while (put >= 0 && total < most) {
    uint64_t wanted = most - total;
    do
      got = read(from, block, wanted < sizeof block ? (size_t)wanted : sizeof block);
    while (got < 0 && stop_code() == 0 && try_again(from, POLLIN));
    if (got <= 0)
      break;
    if (total < sizeof begin)
      memcpy(begin.bytes + total, block, (size_t)got);
    for (ssize_t done = 0; done < got && put >= 0; done += put)
      put = write_image(image, block + done, (size_t)(got - done));
    total += (uint64_t)got;
    if (total == sizeof begin)
      most = image_bytes(&begin.identity);
  }
  if (put >= 0 && got >= 0 && ftruncate(image, (off_t)total) == 0 &&
      fcntl(image, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0 && lseek(image, 0, SEEK_SET) == 0)
    return image;
  *code = failed_because(subject, -errno, "cannot read it into memory: %s", strerror(errno));
  if (image >= 0)
    close(image);
  return -1;
}

/* ---------------------------------------------------------------- opening */

int path_of_ring(const char *name, char *path, size_t size) {
  char directory[PATH_MAX] = "";
  if (strchr(name, '/') == NULL) {
    int error = ringbus_bus_directory(directory, sizeof directory);
    if (error != 0)
      return error;
  }
  int length = snprintf(path, size, "%s%s%s", directory, *directory ? "/" : "", name);
  return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

/* One try. Returns 0 or a negative errno; or 1 after reporting, with the exit code. */
static int try_to_open(const struct ring_request *request, ringbus_ring **ring, int *code) {
  const struct ringbus_open_options look = {.read_only = true};
  if (request->look && strcmp(request->name, "-") == 0) {
    int image = read_image(STDIN_FILENO, "standard input", code);
    if (image < 0)
      return 1;
    int error = ringbus_ring_open_fd(image, &look, ring);
    close(image);
    if (error == 0)
      return 0;
    *code = failed_call("standard input", error);
    return 1;
  }
  if (request->create) {
    const struct ringbus_create_options options = {.capacity = request->create_capacity,
                                                   .many_producers = request->many_producers,
                                                   .open_existing = true};
    return ringbus_ring_create(request->name, &options, ring);
  }
  return ringbus_ring_open(request->name, request->look ? &look : NULL, ring);
}

const char *kind_of_file(mode_t mode) {
  return S_ISDIR(mode)    ? "a directory"
         : S_ISFIFO(mode) ? "a FIFO"
         : S_ISSOCK(mode) ? "a socket"
         : S_ISCHR(mode)  ? "a character device"
         : S_ISBLK(mode)  ? "a block device"
                          : NULL;
}

int failed_to_open(const struct ring_request *request, int error) {
  const char *name = request->name, *detail = ringbus_error_detail();
  char path[PATH_MAX];
  struct stat status;
  bool found =
      *name != '\0' && path_of_ring(name, path, sizeof path) == 0 && lstat(path, &status) == 0;
  if (found && kind_of_file(status.st_mode) != NULL)
    return failed_because(name, -EBADMSG, "it is %s, not a ring", kind_of_file(status.st_mode));
  if (error == -ELOOP)
    return failed_because(name, error, "%s: name the file itself", detail);
  if (found && error == -EPERM && status.st_nlink > 1) /* which no ring has */
    return failed_because(name, -EBADMSG, "%s", detail);
  if (request->look && error == -ENOENT && strchr(name, '/') == NULL && access(name, R_OK) == 0)
    return failed_because(name, error, "%s: for the file here write ./%s", detail, name);
  if (found && error == -EPERM && status.st_uid != geteuid() && status.st_uid != 0)
    return failed_because(name, error,
                          "it belongs to user %u, who is not trusted: run this as that user%s",
                          (unsigned)status.st_uid,
                          request->look ? ", or read a copy through standard input, as '-'" : "");
  if (request->look && error == -EOPNOTSUPP)
    return failed_because(name, error, "%s: a copy can be read through standard input, as '-'",
                          detail);
  if (error == -ENOSPC) /* what is used has its space reserved, a copy as well */
    return failed_because(name, error, "%s: the filesystem is full", detail);
  if (request->can_wait && error == -ENOENT)
    return failed_because(name, error, "%s: 'ringbus create' makes it, --wait waits for it",
                          detail);
  return failed_call(name, error);
}

int open_ring(const struct ring_request *request, ringbus_ring **ring) {
  struct deadline deadline = deadline_in(request->timeout_ns);
  for (;;) {
    int code = COMMAND_OK, error = try_to_open(request, ring, &code);
    if (error == 0)
      return COMMAND_OK;
    if (error > 0)
      return code;
    /* A ring that is being removed is retired first and loses its name then. */
    if (!request->wait || (error != -ENOENT && error != -ESTALE))
      return failed_to_open(request, error);
    if (stop_code() != 0)
      return stop_code();
    if (deadline_left(&deadline) == 0) {
      return failed_because(
          request->name, -ETIMEDOUT,
          "still no such ring: 'ringbus create' makes one, --timeout waits longer");
    }
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
  }
}

int open_to_look(const char *name, ringbus_ring **ring) {
  const struct ring_request request = {.name = name, .look = true};
  return open_ring(&request, ring);
}

/* ---------------------------------------------------------------- what is in them */

int find_group(const ringbus_ring *ring, const char *name, struct ringbus_group_info *group) {
  for (uint32_t index = 0; index < GROUPS; index++) {
    int error = ringbus_ring_group(ring, index, group);
    if (error == 0 && strcmp(group->name, name) == 0)
      return 0;
    if (error != 0 && error != -ENOENT && error != -EINVAL)
      return error;
  }
  return -ENOENT;
}

bool find_blocker(const ringbus_ring *ring, struct ringbus_blame *blame) {
  if (ringbus_ring_blame(ring, RINGBUS_CONSUMER, blame) != 0)
    return false;
  uint64_t position = blame->position;
  for (int looks = 0; looks < LOOKS; looks++) {
    nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    if (ringbus_ring_blame(ring, RINGBUS_CONSUMER, blame) != 0 || blame->position != position)
      return false;
  }
  return blame->slot != 0;
}
