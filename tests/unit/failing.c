/* SPDX-License-Identifier: MIT */
/* failing.c - calls of the system that fail once, and what others do at just that moment. The linker leads the
 * library's calls through this program (--wrap, see CMakeLists.txt), and a test says which of them is to
 * fail, or what happens before it. Elsewhere: what a kernel or a sandbox refuses each time
 * (process/faults.c), what happens before a sleep or a wake-up (sleeping.c). */
#include "suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>

#include "internal.h"

/* ---------------------------------------------------------------- in the place of the system */

/* At the so-manieth such call from now on, beginning with 1: it fails with this error, or, if there is something to
 * be done meanwhile, that is done first. 0: at each of them. */
static struct plan {
  const char *call;
  unsigned at, seen;
  int error;
  void (*meanwhile)(void);
  bool done;
} plan;

static void plan_fault(const char *call, unsigned at, int error) {
  plan = (struct plan){.call = call, .at = at, .error = error};
}

static void plan_meanwhile(const char *call, unsigned at, void (*meanwhile)(void)) {
  plan = (struct plan){.call = call, .at = at, .meanwhile = meanwhile};
}

static void plan_nothing(void) { plan = (struct plan){0}; }

static bool is_to_fail(const char *call) {
  if (!plan.call || strcmp(call, plan.call) != 0 || (++plan.seen != plan.at && plan.at != 0))
    return false;
  void (*meanwhile)(void) = plan.meanwhile;
  plan.done = true;
  if (meanwhile)
    meanwhile();
  else
    errno = plan.error;
  return !meanwhile;
}

#define WRAP(type, call, parameters, arguments, failed)                                            \
  type __real_##call parameters;                                                                   \
  type __wrap_##call parameters;                                                                   \
  type __wrap_##call parameters { return is_to_fail(#call) ? failed : __real_##call arguments; }

WRAP(void *, calloc, (size_t count, size_t size), (count, size), NULL)
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size), NULL)
WRAP(int, fstat, (int fd, struct stat *status), (fd, status), -1)
WRAP(int, lstat, (const char *path, struct stat *status), (path, status), -1)
WRAP(int, fdatasync, (int fd), (fd), -1)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
WRAP(int, eventfd, (unsigned count, int flags), (count, flags), -1)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
WRAP(int, fchown, (int fd, uid_t owner, gid_t group), (fd, owner, group), -1)
WRAP(int, unlink, (const char *path), (path), -1)
WRAP(int, linkat, (int at, const char *from, int to_at, const char *to, int flags),
     (at, from, to_at, to, flags), -1)
WRAP(int, faccessat, (int at, const char *path, int mode, int flags), (at, path, mode, flags), -1)
WRAP(int, madvise, (void *start, size_t length, int advice), (start, length, advice), -1)
WRAP(int, mlock, (const void *start, size_t length), (start, length), -1)
WRAP(void *, mmap, (void *start, size_t length, int protection, int flags, int fd, off_t offset),
     (start, length, protection, flags, fd, offset), MAP_FAILED)
WRAP(ssize_t, pread, (int fd, void *buffer, size_t size, off_t at), (fd, buffer, size, at), -1)
WRAP(ssize_t, getrandom, (void *buffer, size_t size, unsigned flags), (buffer, size, flags), -1)
WRAP(int, posix_fallocate, (int fd, off_t from, off_t length), (fd, from, length), plan.error)
WRAP(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left), -1)
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *), void *context),
     (thread, attributes, start, context), plan.error)

/* Where fstatfs is to tell of huge pages, of this size. */
static size_t huge_page;
int __real_fstatfs(int fd, struct statfs *status);
int __wrap_fstatfs(int fd, struct statfs *status);
int __wrap_fstatfs(int fd, struct statfs *status) {
  if (is_to_fail("fstatfs"))
    return -1;
  int result = __real_fstatfs(fd, status);
  if (huge_page) {
    status->f_type = HUGETLBFS_MAGIC;
    status->f_bsize = (__fsword_t)huge_page;
  }
  return result;
}

/* What making a directory is to answer, if it is not to be made. */
static int mkdir_error;
int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode) {
  errno = mkdir_error;
  return mkdir_error ? -1 : __real_mkdir(path, mode);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0;
  va_end(list);
  return is_to_fail("open") ? -1 : __real_open(path, flags, mode);
}

/* Locks are not refused to be given back. */
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  bool unlocks = command == F_OFD_SETLK && ((const struct flock *)argument)->l_type == F_UNLCK;
  return !unlocks && is_to_fail(command == F_OFD_GETLK ? "query" : "fcntl")
             ? -1
             : __real_fcntl(fd, command, argument);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
  long given[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++)
    given[i] = va_arg(list, long);
  va_end(list);
  const char *name = number == SYS_pidfd_open          ? "pidfd_open"
                     : number == SYS_pidfd_send_signal ? "pidfd_send_signal"
                     : number == SYS_membarrier        ? "membarrier"
                                                       : "";
  return is_to_fail(name)
             ? -1
             : __real_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

/* ---------------------------------------------------------------- each call, once */

static unsigned entries_of(const char *directory) {
  unsigned count = 0;
  DIR *stream = opendir(directory);
  cr_assert(stream);
  for (struct dirent *entry; (entry = readdir(stream));)
    count += entry->d_name[0] != '.';
  closedir(stream);
  return count;
}

/* Lines about files of this test, or without a name. */
static unsigned mapped_files(void) {
  unsigned count = 0;
  char line[512];
  FILE *maps = fopen("/proc/self/maps", "re");
  cr_assert(maps);
  while (fgets(line, sizeof line, maps))
    count += strstr(line, test_directory()) || strstr(line, "memfd:ringbus");
  fclose(maps);
  return count;
}

/* What failed says why, and succeeds when it is tried again. */
#define TWICE(call)                                                                                \
  do {                                                                                             \
    bool done_ = plan.done;                                                                        \
    int tried_ = (call);                                                                           \
    if (tried_ != 0 && plan.done && !done_) {                                                      \
      cr_assert(tried_ == -plan.error, "%s = %d, not %d", #call, tried_, -plan.error);             \
      cr_assert(plan.error == ENOMEM || ringbus_error_detail()[0], "%s says nothing", #call);      \
      tried_ = (call);                                                                             \
    }                                                                                              \
    cr_result(tried_, 0);                                                                          \
  } while (0)

static int count_ring(const char *name, void *context) {
  (void)name;
  ++*(unsigned *)context;
  return 0;
}

/* Everything that asks the system for something. */
static void use_all(bool many) {
  const struct ringbus_create_options options = {
      .capacity = 4096, .many_producers = many, .set_group = true, .group = getegid()};
  const struct ringbus_open_options locked = {.lock_memory = true, .huge_pages = true},
                                    fresh = {.fresh_description = true};
  const struct ringbus_consumer_options shared = {.group = "shared", .shared = true};
  ringbus_ring *ring = NULL, *again = NULL;
  ringbus_producer *producer = NULL;
  ringbus_consumer *consumer = NULL, *member = NULL;
  ringbus_observer *observer = NULL;
  ringbus_poller *poller = NULL;
  struct ringbus_ready ready;
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  struct ringbus_participant participant;
  unsigned listed = 0;
  int fd, own;
  char path[64];
  TWICE(ringbus_ring_create(test_path("ring"), &options, &ring));
  TWICE(ringbus_ring_open(test_path("ring"), &locked, &again));
  cr_result(ringbus_ring_close(again), 0);
  TWICE(ringbus_ring_fd(ring, &fd));
  TWICE(ringbus_ring_open_fd(fd, NULL, &again));
  cr_result(ringbus_ring_close(again), 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  own = __real_open(path, O_RDWR | O_CLOEXEC);
  TWICE(ringbus_ring_open_fd(own, &fresh, &again));
  close(own);
  TWICE(ringbus_producer_attach(again, NULL, &producer));
  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_ring_close(again), 0);
  TWICE(ringbus_ring_create_anonymous(&options, &again));
  cr_result(ringbus_ring_close(again), 0);
  TWICE(ringbus_producer_attach(ring, NULL, &producer));
  TWICE(ringbus_consumer_attach(ring, NULL, &consumer));
  TWICE(ringbus_consumer_attach(ring, &shared, &member));
  TWICE(ringbus_observer_attach(ring, NULL, &observer));
  TWICE(ringbus_consumer_event_fd(consumer, &fd));
  TWICE(ringbus_consumer_event_arm(consumer));
  TWICE(ringbus_poller_create(NULL, &poller));
  TWICE(ringbus_poller_add(poller, member, NULL));
  cr_result(ringbus_producer_send(producer, "message", 7, 0), 0);
  cr_result(ringbus_poller_wait(poller, RINGBUS_FOREVER, &ready), 0);
  TWICE(ringbus_ring_info(ring, &info));
  TWICE(ringbus_ring_group(ring, 0, &group));
  TWICE(ringbus_ring_participant(ring, 1, &participant));
  TWICE(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, 0));
  TWICE(ringbus_ring_flush(ring));
  TWICE(ringbus_ring_repair(ring, NULL));
  cr_result(ringbus_poller_destroy(poller), 0);
  cr_result(ringbus_observer_detach(observer), 0);
  cr_result(ringbus_consumer_detach(member), 0);
  TWICE(ringbus_ring_remove_group(ring, "shared"));
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_ring_close(ring), 0);
  TWICE(ringbus_bus_list(test_directory(), count_ring, &listed));
  cr_assert(listed == 1 || plan.done, "what cannot be read is passed over");
  TWICE(ringbus_ring_remove(test_path("ring"), false));
}

Test(failing, each_call_fails_once_and_leaves_nothing_behind, .timeout = 120) {
  static const struct {
    const char *call;
    int error;
  } calls[] = {
      {"calloc", ENOMEM},  {"aligned_alloc", ENOMEM}, {"fstat", EIO},      {"lstat", EIO},
      {"fdatasync", EIO},  {"memfd_create", EMFILE},  {"eventfd", EMFILE}, {"fchmod", EIO},
      {"fchown", EPERM},   {"unlink", EIO},           {"linkat", ENOSPC},  {"faccessat", EIO},
      {"madvise", ENOMEM}, {"mlock", ENOMEM},         {"mmap", ENOMEM},    {"pread", EIO},
      {"getrandom", EIO},  {"posix_fallocate", EIO},  {"fstatfs", EIO},    {"open", EMFILE},
      {"fcntl", ENOLCK},   {"pthread_create", EAGAIN}};
  test_directory();
  use_all(false); /* what the C library keeps open is open from now on */
  unsigned before = entries_of("/proc/self/fd");
  for (int many = 0; many < 2; many++)
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
      for (unsigned at = 1;; at++) {
        plan_fault(calls[i].call, at, calls[i].error);
        use_all(many);
        bool ended = !plan.done;
        plan_nothing();
        cr_assert_eq(entries_of("/proc/self/fd"), before, "%s, %u", calls[i].call, at);
        cr_assert_eq(entries_of(test_directory()), 0, "%s, %u", calls[i].call, at);
        cr_assert_eq(mapped_files(), 0, "%s, %u", calls[i].call, at);
        cr_assert(!ended || at > 1, "%s is never called", calls[i].call);
        if (ended)
          break;
      }
}

/* ---------------------------------------------------------------- errors with an answer of their own */

static ringbus_ring *ring;

Test(failing, the_bus_directory_cannot_be_made_or_looked_at) {
  char path[300];
  unsetenv("RINGBUS_DIR");
  mkdir_error = EIO;
  cr_result(ringbus_bus_directory(path, sizeof path), -EIO);
  cr_assert(strstr(ringbus_error_detail(), "cannot make"));
  cr_result(ringbus_bus_list(NULL, count_ring, NULL), -EIO);
  mkdir_error = EEXIST;
  plan_fault("lstat", 1, EIO);
  cr_result(ringbus_bus_directory(path, sizeof path), -EIO);
  cr_assert(strstr(ringbus_error_detail(), "cannot stat"));
}

/* The pages of the filesystem, the capacity: what does not go together is said before anything is reserved. */
Test(failing, what_huge_pages_cannot_hold_is_refused) {
  struct ringbus_create_options options = {.capacity = 1 << 20};
  huge_page = 2 << 20;
  cr_result(ringbus_ring_create(test_path("ring"), &options, &ring), -EINVAL);
  huge_page = 1 << 30;
  options.capacity = 4 << 20;
  cr_result(ringbus_ring_create(test_path("ring"), &options, &ring), -EINVAL);
  cr_assert(strstr(ringbus_error_detail(), "2 MiB"), "%s", ringbus_error_detail());
  huge_page = 2 << 20;
  cr_result(ringbus_ring_create(test_path("ring"), &options, &ring), 0);
  cr_assert_eq((uintptr_t)ring->header % huge_page, 0);
  cr_assert_eq((uintptr_t)ring->view.data % huge_page, 0);
  cr_result(ringbus_ring_close(ring), 0);
  huge_page = 0; /* what it says of itself is enough */
  ring = test_open("ring");
  cr_assert_eq((uintptr_t)ring->view.data % (2 << 20), 0);
  cr_result(ringbus_producer_send(test_producer(ring), "message", 7, 0), 0);
  cr_result(ringbus_consumer_recv(test_consumer(ring, NULL), (char[8]){0}, 8, NULL), 0);
}

Test(failing, a_memfd_of_huge_pages_is_refused) {
  int fd;
  cr_result(ringbus_ring_create_anonymous(NULL, &ring), 0);
  cr_result(ringbus_ring_fd(ring, &fd), 0);
  huge_page = 2 << 20;
  cr_result(ringbus_ring_open_fd(fd, NULL, &ring), -EOPNOTSUPP);
  cr_assert(strstr(ringbus_error_detail(), "huge pages"));
}

/* One keeps other removers away, the other whoever would attach. */
Test(failing, a_ring_is_not_removed_without_locks) {
  ring = test_ring("ring", NULL);
  for (unsigned lock = 1; lock <= 2; lock++) {
    plan_fault("fcntl", lock, ENOLCK);
    cr_result(ringbus_ring_remove(test_path("ring"), false), -ENOLCK);
    cr_assert(strstr(ringbus_error_detail(), "cannot lock"), "%s", ringbus_error_detail());
  }
  plan_nothing();
  cr_assert_eq(ring->header->signals.state, 0);
  cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
}

/* Whether it has lost its memory is asked before it is used; if that cannot be told it is not used. */
Test(failing, a_filesystem_that_does_not_tell_its_kind_after_a_reboot_is_refused) {
  static const char other[16] = "another boot id";
  cr_result(ringbus_ring_close(test_ring("ring", NULL)), 0);
  test_write_file("ring", offsetof(struct ringbus_header, life.boot_id), other, sizeof other);
  plan_fault("fstatfs", 2, EIO);
  cr_result(ringbus_ring_open(test_path("ring"), NULL, &ring), -EIO);
  cr_result(ringbus_ring_open(test_path("ring"), NULL, &ring), 0);
}

/* ---------------------------------------------------------------- who keeps a lock and stands still */

static int lock_elsewhere(uint64_t offset, short type) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = 1};
  int fd = __real_open(test_path("ring"), O_RDWR | O_CLOEXEC);
  cr_assert(fd >= 0 && __real_fcntl(fd, F_OFD_SETLK, &lock) == 0);
  return fd;
}

/* Waited for are seconds; here they pass at once. */
Test(failing, who_is_stopped_while_groups_change_is_waited_for_and_then_named, .timeout = 60) {
  const struct ringbus_consumer_options shared = {.group = "shared", .shared = true};
  struct ringbus_group_info info;
  ringbus_consumer *consumer, *member, *late = NULL;
  ring = test_ring("ring", NULL);
  consumer = test_consumer(ring, NULL);
  cr_result(ringbus_consumer_attach(ring, &shared, &member), 0);
  plan_fault("nanosleep", 0, EINTR);
  int fd = lock_elsewhere(offsetof(struct ringbus_header, join), F_WRLCK);
  cr_result(ringbus_consumer_attach(ring, NULL, &late), -EBUSY);
  cr_assert(strstr(ringbus_error_detail(), "group table"), "%s", ringbus_error_detail());
  cr_result(ringbus_ring_remove_group(ring, "shared"), -EBUSY);
  cr_result(ringbus_ring_repair(ring, NULL), 0);
  /* Whoever leaves does not stay for that: it leaves as the dead do. */
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_ring_group(ring, 0, &info), 0);
  cr_assert(!info.attached && !info.durable);
  close(fd);
  cr_result(ringbus_consumer_attach(ring, NULL, &late), 0);
  cr_result(ringbus_ring_group(ring, 0, &info), 0);
  cr_assert(info.attached, "its place is taken by the next");
  fd = lock_elsewhere(offsetof(struct ringbus_header, flushed), F_WRLCK);
  cr_result(ringbus_ring_flush(ring), -EBUSY);
  cr_assert(strstr(ringbus_error_detail(), "flush record"));
  close(fd);
  fd = lock_elsewhere(0, F_WRLCK);
  cr_result(ringbus_ring_remove(test_path("ring"), true), -EBUSY);
  close(fd);
  cr_result(ringbus_ring_flush(ring), 0);
}

Test(failing, a_reader_who_locks_the_producers_place_is_told_from_a_producer) {
  ringbus_producer *producer = NULL;
  ring = test_ring("ring", NULL);
  int fd = lock_elsewhere(ring->geometry.slots_offset + sizeof(struct ringbus_slot), F_RDLCK);
  cr_result(ringbus_producer_attach(ring, NULL, &producer), -EBUSY);
  cr_assert(strstr(ringbus_error_detail(), "read lock"), "%s", ringbus_error_detail());
  close(fd);
  cr_result(ringbus_producer_attach(ring, NULL, &producer), 0);
}

/* ---------------------------------------------------------------- meanwhile */

static struct test_child victim;
static bool is_gone;

static int attach_and_stay(struct test_child *self, void *context) {
  (void)context;
  test_producer(test_open("ring"));
  test_child_say(self, 'a');
  test_child_hear(self);
  return 0;
}

static void end_victim(void) {
  if (!is_gone)
    test_child_kill(&victim);
  is_gone = true;
}

/* A process that ends by itself while it is to be ended: whatever call notices that, it is gone. */
Test(failing, who_ends_while_it_is_evicted_is_evicted, .timeout = 60) {
  static const char *const calls[] = {"pidfd_open", "pidfd_send_signal", "query"};
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
    for (unsigned at = 1; at <= (i == 2 ? 3 : 1); at++) {
      struct ringbus_participant whom;
      ring = test_ring("ring", NULL);
      is_gone = false;
      victim = test_child_start(attach_and_stay, NULL);
      cr_assert_eq(test_child_hear(&victim), 'a');
      cr_result(ringbus_ring_participant(ring, 1, &whom), 0);
      plan_meanwhile(calls[i], at, end_victim);
      cr_result(ringbus_ring_evict(ring, &whom, INT64_C(60000000000)), 0);
      plan_nothing();
      end_victim();
      cr_result(ringbus_ring_close(ring), 0);
      cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
    }
}

Test(failing, who_cannot_be_ended_keeps_its_place, .timeout = 60) {
  static const char *const calls[] = {"pidfd_open", "pidfd_send_signal"};
  ring = test_ring("ring", NULL);
  victim = test_child_start(attach_and_stay, NULL);
  cr_assert_eq(test_child_hear(&victim), 'a');
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    struct ringbus_participant whom;
    cr_result(ringbus_ring_participant(ring, 1, &whom), 0);
    plan_fault(calls[i], 1, EPERM);
    cr_result(ringbus_ring_evict(ring, &whom, INT64_C(60000000000)), -EPERM);
    cr_assert(strstr(ringbus_error_detail(), "holds slot 1"), "%s", ringbus_error_detail());
    cr_result(ringbus_ring_participant(ring, 1, &whom), 0);
    cr_assert(whom.alive);
  }
  struct ringbus_participant whom;
  cr_result(ringbus_ring_participant(ring, 1, &whom), 0);
  plan_fault("fstat", 2,
             EIO); /* behind the file's size: which file a process would have to have open */
  cr_result(ringbus_ring_evict(ring, &whom, INT64_C(60000000000)), -ESRCH);
  cr_result(ringbus_ring_participant(ring, 1, &whom), 0);
  cr_assert(whom.alive);
  end_victim();
}

static void take_the_name(void) {
  plan_nothing();
  cr_result(
      ringbus_ring_close(test_ring("ring", &(struct ringbus_create_options){.capacity = 8192})), 0);
}

Test(failing, who_is_overtaken_in_making_a_ring_opens_the_winners) {
  const struct ringbus_create_options options = {.capacity = 4096, .open_existing = true};
  struct ringbus_ring_info info;
  plan_meanwhile("linkat", 1, take_the_name);
  cr_result(ringbus_ring_create(test_path("ring"), &options, &ring), 0);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.capacity, 8192);
}

static void remove_the_name(void) {
  plan_nothing();
  cr_assert_eq(unlink(test_path("ring")), 0);
}

Test(failing, who_is_overtaken_in_removing_a_ring_is_told_so) {
  ring = test_ring("ring", NULL);
  plan_meanwhile("lstat", 1, remove_the_name);
  cr_result(ringbus_ring_remove(test_path("ring"), false), -ENOENT);
  cr_assert(strstr(ringbus_error_detail(), "somebody else"));
}

/* Somebody who leaves between two looks of a remover: it may try again. */
static ringbus_producer *leaving;
static void leave(void) {
  plan_nothing();
  cr_result(ringbus_producer_detach(leaving), 0);
}

Test(failing, who_leaves_while_a_ring_is_removed_is_not_named) {
  ring = test_ring("ring", NULL);
  leaving = test_producer(ring);
  plan_meanwhile("query", 2, leave); /* the first one is about its place, then all are asked for */
  cr_result(ringbus_ring_remove(test_path("ring"), false), -EBUSY);
  cr_assert(strstr(ringbus_error_detail(), "has left"), "%s", ringbus_error_detail());
  cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
}

/* A program's signal handler may fork, and both go on where they were. */
static void remove_it(void) {
  plan_nothing();
  cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
}

Test(failing, a_ring_that_is_removed_while_it_is_opened_is_stale) {
  ring = test_ring("ring", NULL);
  plan_meanwhile("fstat", 1, remove_it);
  cr_result(ringbus_ring_open(test_path("ring"), NULL, &ring), -ESTALE);
  cr_assert(strstr(ringbus_error_detail(), "was removed"), "%s", ringbus_error_detail());
}

static pid_t forked;
static void fork_here(void) {
  plan_nothing();
  forked = fork();
}

Test(failing, a_child_comes_out_of_the_call_in_which_it_was_forked, .timeout = 60) {
  int status;
  ring = test_ring("ring", NULL);
  plan_meanwhile("fdatasync", 2, fork_here);
  int result = ringbus_ring_flush(ring);
  if (forked == 0) {
    REQUIRE_RESULT(result, -EBADF); /* its descriptor is closed */
    REQUIRE_RESULT(ringbus_ring_flush(ring), -ECHILD);
    REQUIRE_RESULT(ringbus_ring_close(ring), -ECHILD);
    test_count_coverage();
    _exit(0);
  }
  cr_result(result, 0);
  cr_assert(waitpid(forked, &status, 0) == forked && status == 0, "%x", status);
  cr_result(ringbus_ring_flush(ring), 0);
  cr_result(ringbus_ring_close(ring), 0);
}

/* The file has its size again before it is asked which of them it was. */
Test(failing, a_poller_that_cannot_look_at_a_file_once_waits_on, .timeout = 60) {
  const struct ringbus_poller_options options = {.wait = RINGBUS_WAIT_BLOCK, .look_ns = 1000000};
  struct ringbus_ready ready;
  ringbus_poller *poller;
  ring = test_ring("ring", NULL);
  cr_result(ringbus_poller_create(&options, &poller), 0);
  cr_result(ringbus_poller_add(poller, test_consumer(ring, NULL), NULL), 0);
  plan_fault("fstat", 1, EIO);
  cr_result(ringbus_poller_wait(poller, 20000000, &ready), -ETIMEDOUT);
  cr_assert(plan.done);
}

/* ---------------------------------------------------------------- another one to wait for */

static ringbus_producer *claimer;
static ringbus_consumer *arriving;

static void let_it_go(void) {
  struct ringbus_message message;
  plan_nothing();
  cr_result(ringbus_producer_commit(claimer, 8), 0);
  while (ringbus_consumer_borrow(arriving, &message) == 0)
    ;
  cr_result(ringbus_consumer_release(arriving), 0);
}

static void arrive(void) {
  plan_nothing();
  arriving = test_consumer(ring, "late");
  plan_meanwhile("membarrier", 1, let_it_go);
}

/* A producer goes to bed before an open claim, but by then a group has come to be waited for: it lies down
 * again where that group wakes it. */
Test(failing, who_goes_to_bed_for_a_claim_gets_up_for_a_group, .timeout = 20) {
  const struct ringbus_create_options options = {
      .capacity = 4096, .many_producers = true, .no_group = RINGBUS_DROP};
  const struct ringbus_producer_options block = {.wait = RINGBUS_WAIT_BLOCK,
                                                 .look_ns = INT64_C(3600000000000)};
  ringbus_producer *sleeper;
  void *data;
  ring = test_ring("ring", &options);
  claimer = test_producer(ring);
  cr_result(ringbus_producer_attach(ring, &block, &sleeper), 0);
  cr_result(ringbus_producer_claim(claimer, 8, 0, &data), 0);
  while (ringbus_producer_send(sleeper, "message", 7, 0) == 0)
    ;
  plan_meanwhile("membarrier", 1, arrive);
  cr_result(ringbus_producer_wait(sleeper, 7, 0, RINGBUS_FOREVER), 0);
  cr_assert_null(plan.call);
  cr_assert_eq(ring->header->signals.room_waiters, 0, "it was there that it lay");
}
