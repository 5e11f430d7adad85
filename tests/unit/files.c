/* SPDX-License-Identifier: MIT */
/* files.c - the life of the file: names, creation, space, permissions, what may have been planted, races
 * of creators, removal. What is inside the file is attach_checks.c's matter, descriptors descriptors.c's.
 *
 * From the table of bugs that such rings have had ("Files and security"):
 *   "ftruncate on a full tmpfs succeeds, the first write is SIGBUS": a_full_filesystem_is_refused_...
 *   "predictable name, symlink followed": what_is_planted_under_the_name_...
 *   "remove or recreate under live users: both sides on an orphan": recreated_under_load_...
 *   "world-writable segment": the_mode_is_what_was_asked_for_under_any_umask
 *   "a second creator resets head and tail under a live reader; a half-made header stalls all":
 *     creators_race_... and a_killed_creator_leaves_nothing: the file has no name until it is whole. */
#include "suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct ringbus_create_options small = {.capacity = 4096};

static void use_once(ringbus_ring *ring) {
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  char buffer[8];
  REQUIRE_RESULT(ringbus_producer_send(producer, "used", 4, 0), 0);
  REQUIRE_RESULT(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
  REQUIRE(memcmp(buffer, "used", 4) == 0);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
}

static int entries_of(const char *directory) {
  DIR *stream = opendir(directory);
  int count = 0;
  cr_assert(stream);
  while (readdir(stream))
    count++;
  closedir(stream);
  return count - 2;
}

/* A mount that nobody else sees and that ends with this process; otherwise the test is skipped. */
static void mount_privately(const char *type, const char *target, const char *options) {
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
    cr_skip_test("no mount namespace of its own: needs CAP_SYS_ADMIN");
  if (mkdir(target, 0755) != 0)
    cr_assert_eq(errno, EEXIST);
  if (mount(type, target, type, 0, options) != 0)
    cr_skip_test("this kernel does not mount %s here", type);
}

/* ---------------------------------------------------------------- names */

Test(files, names_are_looked_up_in_the_bus_directory_and_paths_are_not) {
  char bus[256], path[300];
  ringbus_ring *by_name, *by_path;
  struct stat status;
  test_directory();
  cr_result(ringbus_bus_directory(bus, sizeof bus), 0);
  cr_assert_str_eq(bus, test_directory());
  cr_result(ringbus_ring_create("by-name", &small, &by_name), 0);
  snprintf(path, sizeof path, "%s/by-name", bus);
  cr_assert_eq(stat(path, &status), 0);
  cr_result(ringbus_ring_open(path, NULL, &by_path), 0);
  use_once(by_path);
  cr_result(ringbus_ring_close(by_path), 0);
  cr_result(ringbus_ring_close(by_name), 0);
  cr_assert_eq(chdir(bus), 0);
  cr_result(ringbus_ring_open("./by-name", NULL, &by_path), 0);
  cr_result(ringbus_ring_close(by_path), 0);
  cr_result(ringbus_ring_remove("by-name", false), 0);
  cr_result(ringbus_ring_open("by-name", NULL, &by_path), -ENOENT);
  cr_assert_str_not_empty(ringbus_error_detail());
}

Test(files, bad_names_are_refused) {
  char longest[202], too_long_path[5000];
  ringbus_ring *ring = NULL;
  const char *bad[] = {NULL, "", ".", "..", ".hidden", longest};
  test_directory();
  memset(longest, 'a', 201);
  longest[201] = 0;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    cr_result(ringbus_ring_create(bad[i], &small, &ring), -EINVAL);
    cr_result(ringbus_ring_open(bad[i], NULL, &ring), -EINVAL);
    cr_result(ringbus_ring_remove(bad[i], true), -EINVAL);
  }
  longest[200] = 0;
  cr_result(ringbus_ring_create(longest, &small, &ring), 0);
  cr_result(ringbus_ring_close(ring), 0);
  memset(too_long_path, '/', sizeof too_long_path);
  too_long_path[sizeof too_long_path - 1] = 0;
  cr_assert(ringbus_ring_create(too_long_path, &small, &ring) < 0);
  cr_assert(ringbus_ring_open(too_long_path, NULL, &ring) < 0);
  cr_assert(ringbus_ring_create(test_path(""), &small, &ring) < 0);
  cr_result(ringbus_ring_create(test_path("no-such-directory/ring"), &small, &ring), -ENOENT);
  cr_assert_eq(entries_of(test_directory()), 1);
}

Test(files, the_default_bus_directory_is_private_or_refused) {
  char path[64], wanted[64];
  ringbus_ring *ring = NULL;
  struct stat status;
  test_directory();
  mount_privately("tmpfs", "/dev/shm", "size=16m");
  cr_assert_eq(chmod("/dev/shm", 01777), 0);
  unsetenv("RINGBUS_DIR");
  snprintf(wanted, sizeof wanted, "/dev/shm/ringbus-%u", (unsigned)geteuid());

  umask(0);
  cr_result(ringbus_ring_create("ring", &small, &ring), 0);
  cr_result(ringbus_bus_directory(path, sizeof path), 0);
  cr_assert_str_eq(path, wanted);
  cr_assert_eq(stat(wanted, &status), 0);
  cr_assert_eq(status.st_mode & 07777, 0700);
  cr_result(ringbus_ring_close(ring), 0);
  cr_result(ringbus_bus_directory(path, 5), -ENAMETOOLONG);
  cr_result(ringbus_ring_remove("ring", false), 0);

  cr_assert_eq(chmod(wanted, 0777), 0); /* anybody may write into it */
  cr_result(ringbus_bus_directory(path, sizeof path), -EPERM);
  cr_result(ringbus_ring_create("ring", &small, &ring), -EPERM);
  cr_assert_eq(chmod(wanted, 0700), 0);
  cr_assert_eq(chown(wanted, 12345, 12345), 0); /* somebody else made it first */
  cr_result(ringbus_bus_directory(path, sizeof path), -EPERM);
  cr_assert_eq(rmdir(wanted), 0);
  cr_assert_eq(mkdir("/dev/shm/elsewhere", 0700), 0);
  cr_assert_eq(symlink("/dev/shm/elsewhere", wanted), 0);
  cr_result(ringbus_bus_directory(path, sizeof path), -EPERM);
  cr_assert_str_not_empty(ringbus_error_detail());
  cr_assert_eq(entries_of("/dev/shm/elsewhere"), 0);
}

static int count_visits(const char *name, void *context) {
  char *seen = context;
  strcat(seen, name);
  strcat(seen, " ");
  return strcmp(name, "stop") == 0 ? 77 : 0;
}

Test(files, list_names_the_rings_and_nothing_else) {
  char seen[256] = "";
  int fd;
  ringbus_ring_close(test_ring("one", NULL));
  ringbus_ring_close(test_ring("two", NULL));
  fd = open(test_path("not-a-ring"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  cr_assert_eq(write(fd, "hello, I am a text", 18), 18);
  close(fd);
  cr_assert_eq(mkdir(test_path("directory"), 0700), 0);
  cr_assert_eq(mkfifo(test_path("fifo"), 0600), 0);
  cr_assert_eq(symlink(test_path("one"), test_path("link")), 0);
  cr_result(ringbus_bus_list(NULL, count_visits, seen), 0);
  cr_assert(strstr(seen, "one ") && strstr(seen, "two "), "%s", seen);
  cr_assert_eq(strlen(seen), 8, "%s", seen);
  ringbus_ring_close(test_ring("stop", NULL));
  seen[0] = 0;
  cr_result(ringbus_bus_list(test_directory(), count_visits, seen), 77);
  cr_result(ringbus_bus_list("/no/such/directory", count_visits, seen), -ENOENT);
}

/* ---------------------------------------------------------------- creation */

Test(files, bad_options_are_refused_and_nothing_is_left) {
  static const struct ringbus_create_options bad[] = {
      {.capacity = 1},
      {.capacity = 2048},
      {.capacity = 4095},
      {.capacity = 4097},
      {.capacity = 12288},
      {.capacity = UINT64_C(1) << 41},
      {.capacity = UINT64_MAX},
      {.capacity = UINT64_C(1) << 63},
      {.capacity = 4096, .max_participants = 1024},
      {.capacity = 4096, .max_participants = UINT32_MAX},
      {.capacity = 4096, .max_groups = 65},
      {.capacity = 4096, .max_groups = UINT32_MAX},
      {.capacity = 4096, .no_group = (enum ringbus_no_group)2},
      {.capacity = 4096, .wake = (enum ringbus_wake)3},
      {.capacity = 4096, .wake = (enum ringbus_wake) - 1},
  };
  ringbus_ring *ring = NULL;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    cr_result(ringbus_ring_create(test_path("ring"), &bad[i], &ring), -EINVAL);
    cr_assert_str_not_empty(ringbus_error_detail());
    cr_result(ringbus_ring_create_anonymous(&bad[i], &ring), -EINVAL);
  }
  cr_assert_null(ring);
  cr_assert_eq(entries_of(test_directory()), 0);
}

Test(files, defaults_are_what_the_header_says) {
  ringbus_ring *ring;
  struct ringbus_ring_info info;
  struct stat status;
  cr_result(ringbus_ring_create(test_path("ring"), NULL, &ring), 0);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.capacity, 1 << 20);
  cr_assert_eq(info.max_participants, 63);
  cr_assert_eq(info.max_groups, 16);
  cr_assert_eq(info.max_message, (1 << 20) - 16);
  cr_assert(info.no_group == RINGBUS_HOLD && info.wake == RINGBUS_WAKE_BY_MEMBARRIER);
  cr_assert(!info.closed && !info.retired && !info.read_only);
  cr_assert(info.tail == 0 && info.oldest == 0 && info.tail_count == 0);
  cr_assert_str_eq(info.library_version, ringbus_version());
  cr_assert_eq(stat(test_path("ring"), &status), 0);
  cr_assert_eq((uint64_t)status.st_size, info.file_bytes);
  cr_assert_geq((uint64_t)status.st_blocks * 512, info.file_bytes, "its space is reserved");
  cr_assert_eq(status.st_nlink, 1);
}

Test(files, the_mode_is_what_was_asked_for_under_any_umask) {
  static const mode_t umasks[] = {0, 022, 077, 0777};
  static const mode_t modes[] = {0, 0600, 0640, 0660, 0666, 0644, 0400 | 0200};
  for (size_t mask = 0; mask < 4; mask++)
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
      struct ringbus_create_options options = {.capacity = 4096, .mode = modes[i]};
      ringbus_ring *ring;
      struct stat status;
      test_directory();
      umask(umasks[mask]);
      ring = test_ring("ring", &options);
      cr_assert_eq(stat(test_path("ring"), &status), 0);
      cr_assert_eq(status.st_mode & 07777, modes[i] ? modes[i] : 0600, "mode %o under umask %o",
                   status.st_mode & 07777, umasks[mask]);
      use_once(ring);
      cr_result(ringbus_ring_close(ring), 0);
      cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
    }
}

Test(files, mode_and_group_let_a_group_in) {
  struct ringbus_create_options options = {.capacity = 4096, .mode = 0660, .set_group = true};
  struct ringbus_open_options trusting = {.allow_owner = true, .owner = 11111};
  struct stat status;
  pid_t pid;
  int result;
  if (geteuid() != 0)
    cr_skip_test("only root can give a file to any group and become somebody else");
  options.group = 54321;
  ringbus_ring_close(test_ring("ring", &options));
  cr_assert_eq(stat(test_path("ring"), &status), 0);
  cr_assert(status.st_gid == 54321 && (status.st_mode & 07777) == 0660);
  cr_assert_eq(chown(test_path("ring"), 11111, 54321), 0);
  cr_assert_eq(chmod(test_directory(), 0755), 0);
  cr_assert_eq(chmod(getenv("RINGBUS_TEST_DIRECTORY"), 0755), 0);
  pid = fork();
  if (pid == 0) {
    ringbus_ring *ring = NULL;
    REQUIRE(setgid(54321) == 0 && setuid(22222) == 0);
    REQUIRE_RESULT(ringbus_ring_open(test_path("ring"), NULL, &ring), -EPERM); /* whose is it? */
    trusting.owner = 33333;
    REQUIRE_RESULT(ringbus_ring_open(test_path("ring"), &trusting, &ring), -EPERM);
    trusting.owner = 11111;
    REQUIRE_RESULT(ringbus_ring_open(test_path("ring"), &trusting, &ring), 0);
    use_once(ring);
    _exit(0);
  }
  cr_assert_eq(waitpid(pid, &result, 0), pid);
  cr_assert(WIFEXITED(result) && WEXITSTATUS(result) == 0);
}

Test(files, a_full_filesystem_is_refused_at_create_and_nothing_is_left) {
  struct ringbus_create_options too_large = {.capacity = 2 << 20}, fits = {.capacity = 256 << 10};
  const char *directory = test_path("tmpfs");
  char path[300], second[300];
  ringbus_ring *ring = NULL;
  test_directory();
  mount_privately("tmpfs", directory, "size=1m");
  snprintf(path, sizeof path, "%s/ring", directory);
  snprintf(second, sizeof second, "%s/second", directory);
  for (int i = 0; i < 20; i++) { /* the space of the failures has not leaked away */
    cr_result(ringbus_ring_create(path, &too_large, &ring), -ENOSPC);
    cr_assert_str_not_empty(ringbus_error_detail());
    cr_assert_eq(entries_of(directory), 0);
  }
  cr_result(ringbus_ring_create(path, &fits, &ring), 0);
  use_once(ring);
  for (int i = 0; i < 20; i++)
    cr_result(
        ringbus_ring_create(second, &(struct ringbus_create_options){.capacity = 1 << 20}, &ring),
        -ENOSPC);
  cr_assert_eq(entries_of(directory), 1);
}

/* Opened before anything is missing: opening reserves again. */
static int send_where_it_is_missing(struct test_child *self, void *context) {
  signal(SIGBUS, SIG_DFL); /* a sanitizer has a handler of its own */
  ringbus_ring *ring;
  REQUIRE_RESULT(ringbus_ring_open(context, NULL, &ring), 0);
  ringbus_producer *producer = test_producer(ring);
  test_child_say(self, 'o');
  test_child_hear(self);
  REQUIRE_RESULT(ringbus_producer_send(producer, test_content(0), 60000, 0), 0);
  return 0;
}

/* Whoever may write a ring may give its space away: where that is gone when it is touched, that is a signal. */
Test(files, holes_on_a_full_filesystem_are_a_signal_as_readme_says) {
  static char rest[65536];
  struct ringbus_create_options fits = {.capacity = 256 << 10};
  const char *directory = test_path("tmpfs");
  char path[300], other[300];
  ringbus_ring *ring = NULL;
  struct ringbus_ring_info info;
  test_directory();
  mount_privately("tmpfs", directory, "size=1m");
  snprintf(path, sizeof path, "%s/ring", directory);
  snprintf(other, sizeof other, "%s/rest", directory);
  cr_result(ringbus_ring_create(path, &fits, &ring), 0);
  struct test_child child = test_child_start(send_where_it_is_missing, path);
  cr_assert_eq(test_child_hear(&child), 'o');
  int fd = open(path, O_RDWR | O_CLOEXEC);
  cr_assert_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 256 << 10), 0);
  close(fd);
  fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  while (write(fd, rest, sizeof rest) > 0)
    ;
  close(fd);
  cr_result(ringbus_ring_info(ring, &info), 0); /* whose header is there */
  test_child_say(&child, 's');
  cr_assert_eq(test_child_status(&child), -SIGBUS);
  cr_assert_eq(unlink(other), 0);
  use_once(ring); /* now there is space again */
}

/* A copy with holes in it would be a signal at its first message. */
Test(files, a_sparse_copy_on_a_full_filesystem_is_refused_at_open) {
  struct ringbus_create_options large = {.capacity = 2 << 20};
  const char *directory = test_path("tmpfs");
  struct ringbus_header header;
  struct stat status;
  char path[300];
  ringbus_ring *ring = NULL;
  int fd;
  ringbus_ring_close(test_ring("ring", &large));
  test_read_file("ring", 0, &header, sizeof header);
  cr_assert_eq(stat(test_path("ring"), &status), 0);
  mount_privately("tmpfs", directory, "size=1m");
  snprintf(path, sizeof path, "%s/copy", directory);
  fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  cr_assert_eq(pwrite(fd, &header, sizeof header, 0), (ssize_t)sizeof header);
  cr_assert_eq(ftruncate(fd, status.st_size), 0);
  cr_assert_eq(close(fd), 0);
  cr_result(ringbus_ring_open(path, NULL, &ring), -ENOSPC);
  cr_assert_null(ring);
}

Test(files, filesystems_without_coherent_mappings_are_refused) {
  char options[1000];
  const char *lower = test_path("lower"), *upper = test_path("upper"), *work = test_path("work"),
             *merged = test_path("merged");
  char path[300];
  ringbus_ring *ring = NULL;
  cr_assert(mkdir(lower, 0755) == 0 && mkdir(upper, 0755) == 0 && mkdir(work, 0755) == 0);
  ringbus_ring_close(test_ring("lower/ring", NULL));
  snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
  mount_privately("overlay", merged, options);
  snprintf(path, sizeof path, "%s/new", merged);
  cr_result(ringbus_ring_create(path, &small, &ring), -EOPNOTSUPP);
  cr_assert_str_not_empty(ringbus_error_detail());
  snprintf(path, sizeof path, "%s/ring", merged);
  cr_result(ringbus_ring_open(path, NULL, &ring), -EOPNOTSUPP);
  cr_assert(strstr(ringbus_error_detail(), "overlay"), "%s", ringbus_error_detail());
  cr_assert(ringbus_ring_remove(path, true) != 0);
  cr_assert_null(ring);
}
/* 9p, NFS and FUSE need a server to mount: they are known by the same number as overlay. */

/* ---------------------------------------------------------------- what may have been planted */

struct planted {
  const char *name;
  int open_error;
};

/* A name is not a ring if it can lead elsewhere: nothing is followed, opened for longer, or changed. */
Test(files, what_is_planted_under_the_name_is_refused_and_stays_untouched, .timeout = 30) {
  struct stat before, after;
  ringbus_ring *ring = NULL, *real = test_ring("real", NULL);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  static const struct planted planted[] = {
      {"symlink", -ELOOP},   {"dangling", -ELOOP}, {"fifo", -EPERM},   {"directory", 0},
      {"hard-link", -EPERM}, {"socket", 0},        {"text", -EBADMSG}, {"empty", -EBADMSG},
  };
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ringbus_ring_close(test_ring("linked", NULL));
  cr_assert_eq(symlink(test_path("real"), test_path("symlink")), 0);
  cr_assert_eq(symlink(test_path("nowhere"), test_path("dangling")), 0);
  cr_assert_eq(mkfifo(test_path("fifo"), 0600), 0);
  cr_assert_eq(mkdir(test_path("directory"), 0700), 0);
  cr_assert_eq(link(test_path("linked"), test_path("hard-link")), 0);
  snprintf(address.sun_path, sizeof address.sun_path, "%s", test_path("socket"));
  cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  fd = open(test_path("text"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  for (int i = 0; i < 500; i++)
    cr_assert_eq(write(fd, "precious data of somebody\n", 26), 26);
  fd = open(test_path("empty"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

  for (size_t i = 0; i < sizeof planted / sizeof planted[0]; i++) {
    const char *path = test_path(planted[i].name);
    struct ringbus_create_options existing = {.capacity = 4096, .open_existing = true};
    struct ringbus_open_options read_only = {.read_only = true};
    int result;
    cr_assert_eq(lstat(path, &before), 0);
    cr_result(ringbus_ring_create(path, &small, &ring), -EEXIST);
    result = ringbus_ring_open(path, NULL, &ring);
    cr_assert(planted[i].open_error ? result == planted[i].open_error : result < 0, "%s: %s",
              planted[i].name, ringbus_strerror(result));
    cr_assert_str_not_empty(ringbus_error_detail());
    cr_assert(ringbus_ring_open(path, &read_only, &ring) < 0, "%s", planted[i].name);
    cr_assert(ringbus_ring_create(path, &existing, &ring) < 0, "%s", planted[i].name);
    cr_assert(ringbus_ring_remove(path, false) < 0, "%s", planted[i].name);
    cr_assert(ringbus_ring_remove(path, true) < 0, "%s: even by force", planted[i].name);
    cr_assert_eq(lstat(path, &after), 0, "%s was removed", planted[i].name);
    cr_assert(before.st_ino == after.st_ino && before.st_size == after.st_size &&
              before.st_mode == after.st_mode && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    cr_assert_null(ring);
  }
  cr_assert_neq(access(test_path("nowhere"), F_OK), 0, "the dangling link was not followed");
  use_once(real);
}

Test(files, another_owners_file_is_refused_unless_that_owner_is_named) {
  struct ringbus_open_options trusting = {.allow_owner = true, .owner = 11111};
  struct ringbus_create_options open_to_all = {.capacity = 4096, .mode = 0666};
  ringbus_ring *ring = NULL;
  pid_t pid;
  int status;
  if (geteuid() != 0)
    cr_skip_test("only root can give files away");
  ringbus_ring_close(test_ring("ring", NULL));
  cr_assert_eq(chown(test_path("ring"), 11111, 11111), 0);
  cr_result(ringbus_ring_open(test_path("ring"), NULL, &ring), -EPERM);
  cr_assert(strstr(ringbus_error_detail(), "11111"), "%s", ringbus_error_detail());
  cr_assert(ringbus_ring_remove(test_path("ring"), true) < 0);
  cr_assert_eq(access(test_path("ring"), F_OK), 0);
  cr_result(ringbus_ring_open(test_path("ring"), &trusting, &ring), 0);
  use_once(ring);
  ringbus_ring_close(test_ring("roots", &open_to_all)); /* root is trusted by everybody */
  cr_assert_eq(chmod(test_directory(), 0755), 0);
  cr_assert_eq(chmod(getenv("RINGBUS_TEST_DIRECTORY"), 0755), 0);
  pid = fork();
  if (pid == 0) {
    REQUIRE(setgid(22222) == 0 && setuid(22222) == 0);
    use_once(test_open("roots"));
    _exit(0);
  }
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---------------------------------------------------------------- creators racing */

#define CREATORS 8

struct race {
  bool open_existing;
};

static int create_at_the_word(struct test_child *self, void *context) {
  struct ringbus_create_options options = {
      .capacity = 4096, .open_existing = ((struct race *)context)->open_existing};
  for (;;) {
    ringbus_ring *ring = NULL;
    int result;
    if (test_child_hear(self) != 'g')
      return 0;
    result = ringbus_ring_create(test_path("ring"), &options, &ring);
    REQUIRE(result == 0 || (result == -EEXIST && !options.open_existing));
    if (result == 0) {
      struct ringbus_ring_info info;
      REQUIRE_RESULT(ringbus_ring_info(ring, &info), 0);
      test_child_say(self, (char)(1 + info.ring_id[0] % 100));
      test_child_hear(self);
      REQUIRE_RESULT(ringbus_ring_close(ring), 0);
      test_child_say(self, 'c');
    } else {
      test_child_say(self, 'e');
      test_child_hear(self);
      test_child_say(self, 'c');
    }
  }
}

static void race_creators(bool open_existing) {
  struct race race = {open_existing};
  struct test_child creators[CREATORS];
  test_directory();
  for (int i = 0; i < CREATORS; i++)
    creators[i] = test_child_start(create_at_the_word, &race);
  for (uint64_t round = 0; round < test_scaled(60, 2000); round++) {
    int winners = 0, others = 0;
    char id = 0;
    for (int i = 0; i < CREATORS; i++)
      test_child_say(&creators[i], 'g');
    for (int i = 0; i < CREATORS; i++) {
      char said = test_child_hear(&creators[i]);
      cr_assert_neq(said, 0);
      if (said == 'e' && !open_existing) {
        others++;
      } else {
        winners++;
        cr_assert(id == 0 || id == said, "all have the same ring");
        id = said;
      }
    }
    cr_assert_eq(winners, open_existing ? CREATORS : 1);
    cr_assert_eq(winners + others, CREATORS);
    use_once(test_open("ring"));
    for (int i = 0; i < CREATORS; i++) {
      test_child_say(&creators[i], 'n');
      cr_assert_eq(test_child_hear(&creators[i]), 'c');
    }
    cr_assert_eq(entries_of(test_directory()), 1);
    cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
  }
  for (int i = 0; i < CREATORS; i++)
    test_child_kill(&creators[i]);
}

Test(files, creators_race_and_exactly_one_wins, .timeout = 120) { race_creators(false); }

Test(files, creators_race_and_the_others_open_the_winners_ring, .timeout = 120) {
  race_creators(true);
}

static int create_and_remove_for_ever(struct test_child *self, void *context) {
  struct ringbus_create_options options = {.capacity = 1 << 20};
  (void)context;
  test_child_say(self, 's');
  for (;;) {
    ringbus_ring *ring;
    REQUIRE_RESULT(ringbus_ring_create(test_path("ring"), &options, &ring), 0);
    REQUIRE_RESULT(ringbus_ring_close(ring), 0);
    REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), false), 0);
  }
  return 0;
}

Test(files, a_killed_creator_leaves_nothing, .timeout = 120) {
  uint64_t random = 1, rounds = test_scaled(150, 3000);
  for (uint64_t round = 0; round < rounds; round++) {
    struct test_child child = test_child_start(create_and_remove_for_ever, NULL);
    ringbus_ring *ring = NULL;
    int result;
    cr_assert_eq(test_child_hear(&child), 's');
    test_sleep_us((unsigned)(test_random(&random) % 2000));
    test_child_kill(&child);
    result = ringbus_ring_open(test_path("ring"), NULL, &ring);
    if (result == 0) { /* whole: it had its name */
      use_once(ring);
      cr_result(ringbus_ring_close(ring), 0);
    } else if (result != -ENOENT) { /* killed in remove, between retiring and unlinking */
      cr_result(result, -ESTALE);
    }
    if (result != -ENOENT)
      cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
    cr_assert_eq(entries_of(test_directory()), 0, "nothing half-made has any name");
  }
}

/* ---------------------------------------------------------------- removal */

Test(files, remove_refuses_while_anybody_is_attached_and_says_who) {
  struct ringbus_producer_options options = {.name = "still-here"};
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_producer *producer;
  ringbus_consumer *consumer;
  cr_result(ringbus_producer_attach(ring, &options, &producer), 0);
  cr_result(ringbus_ring_remove(test_path("ring"), false), -EBUSY);
  cr_assert(strstr(ringbus_error_detail(), "still-here"), "%s", ringbus_error_detail());
  consumer = test_consumer(ring, NULL);
  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_ring_remove(test_path("ring"), false), -EBUSY);
  cr_assert_eq(access(test_path("ring"), F_OK), 0);
  use_once(ring);
  cr_result(ringbus_consumer_detach(consumer), 0);
  test_observer(ring); /* observers hold nothing back */
  cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
  cr_assert_neq(access(test_path("ring"), F_OK), 0);
  cr_result(ringbus_ring_remove(test_path("ring"), false), -ENOENT);
}

static int may_not_remove(struct test_child *self, void *context) {
  const int *expected = context;
  (void)self;
  if (geteuid() == 0)
    REQUIRE(setgid(54321) == 0 && setuid(22222) == 0);
  for (int force = 0; force < 2; force++) {
    REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), force), *expected);
    REQUIRE(strstr(ringbus_error_detail(), "nothing is changed"));
  }
  return 0;
}

/* Removing retires a ring before it takes its name away, so what does not let it do that is looked for first: the
 * directory's mode; or, as root sets it up here, its sticky bit. */
Test(files, a_ring_whose_name_may_not_be_removed_is_not_retired) {
  const struct ringbus_create_options open_to_all = {.capacity = 4096, .mode = 0666};
  const bool is_root = geteuid() == 0;
  ringbus_ring *ring = test_ring("ring", &open_to_all);
  struct ringbus_ring_info info;
  if (is_root)
    cr_assert_eq(chmod(getenv("RINGBUS_TEST_DIRECTORY"), 0755), 0);
  for (int sticky = 0; sticky <= is_root; sticky++) {
    int expected = sticky ? -EPERM : -EACCES;
    cr_assert_eq(chmod(test_directory(), sticky ? 01777 : 0555), 0);
    struct test_child child = test_child_start(may_not_remove, &expected);
    cr_assert_eq(test_child_status(&child), 0);
    cr_result(ringbus_ring_info(ring, &info), 0);
    cr_assert_not(info.retired);
  }
  cr_assert_eq(chmod(test_directory(), 0700), 0);
  cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
}

Test(files, every_call_on_a_retired_ring_is_stale) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_producer *producer = test_producer(ring), *no_producer = NULL;
  ringbus_consumer *consumer = test_consumer(ring, "g"), *no_consumer = NULL;
  ringbus_observer *observer = test_observer(ring), *no_observer = NULL;
  struct ringbus_message message;
  struct ringbus_ring_info info;
  struct iovec one = {"x", 1};
  char buffer[64];
  size_t count;
  void *data;
  for (int i = 0; i < 3; i++)
    cr_result(ringbus_producer_send(producer, "message", 7, 0), 0);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
  cr_result(ringbus_producer_claim(producer, 10, 0, &data), 0);
  cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  cr_assert_neq(access(test_path("ring"), F_OK), 0);

  cr_result(ringbus_producer_commit(producer, 10), -ESTALE);
  cr_result(ringbus_producer_claim(producer, 10, 0, &data), -ESTALE);
  cr_result(ringbus_producer_send(producer, "x", 1, 0), -ESTALE);
  cr_result(ringbus_producer_send_batch(producer, &one, 1, 0, false, &count), -ESTALE);
  cr_result(ringbus_producer_send_batch(producer, &one, 1, 0, true, &count), -ESTALE);
  cr_result(ringbus_producer_wait(producer, 1, 0, RINGBUS_FOREVER), -ESTALE);
  cr_result(ringbus_producer_drain(producer, RINGBUS_FOREVER), -ESTALE);
  cr_result(ringbus_producer_finish(producer), -ESTALE);
  cr_result(ringbus_consumer_borrow(consumer, &message), -ESTALE);
  cr_result(ringbus_consumer_borrow_batch(consumer, &message, 1, &count), -ESTALE);
  cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -ESTALE);
  cr_result(ringbus_consumer_release(consumer), -ESTALE);
  cr_result(ringbus_consumer_still_valid(consumer), -ESTALE);
  cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), -ESTALE);
  cr_result(ringbus_consumer_seek(consumer, RINGBUS_OLDEST, 0), -ESTALE);
  cr_result(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), -ESTALE);
  cr_result(ringbus_observer_wait(observer, RINGBUS_FOREVER), -ESTALE);
  cr_result(ringbus_observer_seek(observer, RINGBUS_OLDEST, 0), -ESTALE);
  cr_result(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, RINGBUS_FOREVER), -ESTALE);
  cr_result(ringbus_ring_remove_group(ring, "g"), -ESTALE);
  cr_result(ringbus_ring_flush(ring), -ESTALE);
  cr_result(ringbus_producer_attach(ring, NULL, &no_producer), -ESTALE);
  cr_result(ringbus_consumer_attach(ring, NULL, &no_consumer), -ESTALE);
  cr_result(ringbus_observer_attach(ring, NULL, &no_observer), -ESTALE);
  cr_assert(!no_producer && !no_consumer && !no_observer);
  cr_result(ringbus_ring_info(ring, &info), 0); /* what there was can still be seen */
  cr_assert(info.retired && info.tail_count == 3);

  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  cr_result(ringbus_observer_detach(observer), 0);
  cr_result(ringbus_producer_attach(ring, NULL, &no_producer), -ESTALE);
  cr_result(ringbus_ring_close(ring), 0);
  test_ring("ring", NULL); /* its name is free */
}

/* ---------------------------------------------------------------- recreated under load */

static int publish_through_generations(struct test_child *self, void *context) {
  uint64_t generations = 0;
  (void)self;
  for (uint64_t wanted = *(uint64_t *)context; generations < wanted; generations++) {
    ringbus_ring *ring;
    ringbus_producer *producer;
    int result;
    while ((result = ringbus_ring_open(test_path("ring"), NULL, &ring)) != 0)
      REQUIRE(result == -ENOENT || result == -ESTALE);
    result = ringbus_producer_attach(ring, NULL, &producer);
    if (result == 0) {
      while ((result = ringbus_producer_send(producer, "message", 7, 0)) == 0 || result == -EAGAIN)
        if (result == -EAGAIN)
          ringbus_producer_wait(producer, 7, 0, RINGBUS_FOREVER);
      REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
    }
    REQUIRE_RESULT(result, -ESTALE); /* told, not left alone */
    REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  }
  return 0;
}

static int consume_through_generations(struct test_child *self, void *context) {
  uint64_t generations = 0;
  (void)self;
  for (uint64_t wanted = *(uint64_t *)context; generations < wanted; generations++) {
    struct ringbus_consumer_options options = {.look_ns = INT64_C(3600) * 1000000000};
    ringbus_ring *ring;
    ringbus_consumer *consumer;
    char buffer[8];
    int result;
    while ((result = ringbus_ring_open(test_path("ring"), NULL, &ring)) != 0)
      REQUIRE(result == -ENOENT || result == -ESTALE);
    result = ringbus_consumer_attach(ring, &options, &consumer);
    if (result == 0) {
      while ((result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL)) == 0 ||
             result == -EAGAIN)
        if (result == -EAGAIN)
          ringbus_consumer_wait(consumer, RINGBUS_FOREVER);
      REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
    }
    REQUIRE_RESULT(result, -ESTALE);
    REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  }
  return 0;
}

/* Both sides follow through every generation: whoever stayed on a removed file would never end. */
Test(files, recreated_under_load_nobody_stays_on_an_orphan, .timeout = 120) {
  uint64_t generations = test_scaled(40, 500);
  struct test_child producing, consuming;
  int ended = 0;
  test_directory();
  producing = test_child_start(publish_through_generations, &generations);
  consuming = test_child_start(consume_through_generations, &generations);
  while (ended < 2) {
    ringbus_ring *ring = NULL;
    cr_result(ringbus_ring_create(test_path("ring"), &small, &ring), 0);
    test_sleep_us(2000);
    cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
    cr_result(ringbus_ring_close(ring), 0);
    ended = test_child_has_ended(&producing) + test_child_has_ended(&consuming);
  }
  cr_assert_eq(test_child_status(&producing), 0);
  cr_assert_eq(test_child_status(&consuming), 0);
}

/* Several removers and creators at once: a ring that has lost its name has been retired. */
static int create_and_remove_by_force(struct test_child *self, void *context) {
  (void)self;
  for (uint64_t round = 0; round < *(uint64_t *)context; round++) {
    ringbus_ring *ring = NULL;
    struct ringbus_ring_info info;
    struct stat status;
    int fd, result = ringbus_ring_create(test_path("ring"), &small, &ring);
    REQUIRE(result == 0 || result == -EEXIST || result == -ESTALE); /* removed as soon as named */
    if (result == 0) {
      sched_yield();
      REQUIRE_RESULT(ringbus_ring_fd(ring, &fd), 0);
      REQUIRE(fstat(fd, &status) == 0);
      REQUIRE_RESULT(ringbus_ring_info(ring, &info), 0);
      if (status.st_nlink == 0 && !info.retired)
        return 2;
      REQUIRE_RESULT(ringbus_ring_close(ring), 0);
    }
    result = ringbus_ring_remove(test_path("ring"), true);
    REQUIRE(result == 0 || result == -ENOENT || result == -ESTALE || result == -EBUSY);
  }
  return 0;
}

Test(files, removed_under_its_creator_a_ring_is_retired_first, .timeout = 120) {
  uint64_t rounds = test_scaled(1500, 50000);
  struct test_child children[6];
  test_directory();
  for (int i = 0; i < 6; i++)
    children[i] = test_child_start(create_and_remove_by_force, &rounds);
  for (int i = 0; i < 6; i++)
    cr_assert_eq(test_child_status(&children[i]), 0);
}
