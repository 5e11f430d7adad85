/* SPDX-License-Identifier: MIT */
/* faults.c - what the machine may refuse: limits of the process, a full disk, holes that a peer punches, and
 * system calls that an old kernel or a sandbox does not have. Each is answered by the error that
 * ringbus.h promises, with what to do, and leaves nothing behind; or there is a way around it.
 *
 * Elsewhere: a full tmpfs and sparse copies (unit/files.c), files that are cut (unit/descriptors.c, polling.c),
 * no membarrier and no futex_waitv (unit/waiting.c, polling.c), in the command (process/verbs.sh). */
#include "../support.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifdef __SANITIZE_ADDRESS__ /* which locks nothing, and says that it has */
static const bool mlock_is_real = false;
#else
static const bool mlock_is_real = true;
#endif

static unsigned cases;

/* ---------------------------------------------------------------- in a child, which alone is limited */

static const void *given;
static int (*body)(void);

static int call_body(struct test_child *self, void *context) {
  (void)self, (void)context;
  return body();
}

/* Returns what the child does: 0, or SKIPPED. Anything else fails. */
enum { SKIPPED = 77 };
static int in_child(int (*what)(void), const void *with) {
  given = with;
  body = what;
  struct test_child child = test_child_start(call_body, NULL);
  int status = test_child_status(&child);
  REQUIRE(status == 0 || status == SKIPPED);
  cases++;
  return status;
}

static unsigned entries_of(const char *directory) {
  unsigned count = 0;
  DIR *stream = opendir(directory);
  REQUIRE(stream);
  for (struct dirent *entry; (entry = readdir(stream));)
    count += entry->d_name[0] != '.';
  closedir(stream);
  return count;
}

static unsigned open_descriptors(void) { return entries_of("/proc/self/fd"); }

static void limit(__rlimit_resource_t resource, rlim_t value) {
  struct rlimit limits;
  REQUIRE(getrlimit(resource, &limits) == 0);
  limits.rlim_cur = value;
  REQUIRE(setrlimit(resource, &limits) == 0);
}

/* All roles, one message each way; the ring is left as it was. */
static void use(ringbus_ring *ring) {
  char buffer[16];
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  ringbus_producer *producer = test_producer(ring);
  ringbus_observer *observer = test_observer(ring);
  REQUIRE_RESULT(ringbus_producer_send(producer, "message", 7, 0), 0);
  REQUIRE_RESULT(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
  REQUIRE_RESULT(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), 0);
  REQUIRE_RESULT(ringbus_observer_detach(observer), 0);
  REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
}

/* ---------------------------------------------------------------- limits */

static int with_little_locked_memory(void) {
  const struct ringbus_open_options lock = {.lock_memory = true};
  ringbus_ring *ring, *locked = NULL;
  int fd;
  if (geteuid() == 0) /* who is not limited */
    REQUIRE(setresuid(65534, 65534, 65534) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
  REQUIRE_RESULT(ringbus_ring_create_anonymous(NULL, &ring), 0);
  REQUIRE_RESULT(ringbus_ring_fd(ring, &fd), 0);
  for (rlim_t bytes = 4096; bytes + 1 > 0; bytes -= 4096) {
    unsigned before = open_descriptors();
    limit(RLIMIT_MEMLOCK, bytes);
    REQUIRE_RESULT(ringbus_ring_open_fd(fd, &lock, &locked), bytes ? -ENOMEM : -EPERM);
    REQUIRE(strstr(ringbus_error_detail(), "RLIMIT_MEMLOCK"));
    REQUIRE(open_descriptors() == before && !locked);
    if (bytes == 0)
      break;
  }
  use(ring);
  return 0;
}

/* However many descriptors are left: a call has all that it needs, or leaves none open. */
static int with_few_descriptors(void) {
  ringbus_ring *ring = test_ring("few", NULL), *another;
  for (rlim_t more = 0, succeeded = 0; succeeded < 6; more++) {
    ringbus_producer *producer = NULL;
    ringbus_consumer *consumer = NULL;
    struct ringbus_group_info info;
    int fd, results[6], count = 0;
    unsigned before = open_descriptors();
    REQUIRE(more < 64);
    limit(RLIMIT_NOFILE, 3 + more);
    results[count++] = ringbus_ring_open(test_path("few"), NULL, &another);
    if (results[0] == 0)
      REQUIRE_RESULT(ringbus_ring_close(another), 0);
    results[count++] = ringbus_ring_create_anonymous(NULL, &another);
    if (results[1] == 0)
      REQUIRE_RESULT(ringbus_ring_close(another), 0);
    results[count++] = ringbus_consumer_attach(ring, NULL, &consumer);
    results[count++] = consumer ? ringbus_consumer_event_fd(consumer, &fd) : -EMFILE;
    results[count++] = ringbus_producer_attach(ring, NULL, &producer);
    results[count++] = ringbus_ring_flush(ring);
    REQUIRE_RESULT(ringbus_ring_group(ring, 0, &info), consumer ? 0 : -ENOENT);
    REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
    REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
    succeeded = 0;
    for (int index = 0; index < count; index++) {
      REQUIRE(results[index] == 0 || results[index] == -EMFILE);
      succeeded += results[index] == 0;
    }
    REQUIRE(more > 0 || succeeded == 0);
    limit(RLIMIT_NOFILE, 200);
    REQUIRE(open_descriptors() == before);
  }
  use(ring);
  return 0;
}

static int with_small_files_only(void) {
  ringbus_ring *ring = NULL, *old = test_ring("old", NULL);
  unsigned before = open_descriptors();
  REQUIRE(signal(SIGXFSZ, SIG_DFL) != SIG_ERR); /* which would be the end */
  limit(RLIMIT_FSIZE, 65536);
  REQUIRE_RESULT(ringbus_ring_create(test_path("new"), NULL, &ring), -EFBIG);
  REQUIRE(strstr(ringbus_error_detail(), "ulimit -f"));
  REQUIRE_RESULT(ringbus_ring_create_anonymous(NULL, &ring), -EFBIG);
  REQUIRE(access(test_path("new"), F_OK) != 0 && open_descriptors() == before);
  use(old);
  REQUIRE_RESULT(ringbus_ring_flush(old), 0);
  REQUIRE_RESULT(ringbus_ring_open(test_path("old"), NULL, &ring), 0);
  use(ring);
  return 0;
}

/* ---------------------------------------------------------------- a full disk */

/* A filesystem of 4 MiB in a file, seen by this process alone. */
static int on_a_full_disk(void) {
  char command[1024], path[300], second[300];
  const char *directory = test_path("disk");
  const struct ringbus_create_options large = {.capacity = 1 << 20}, small = {.capacity = 65536};
  ringbus_ring *ring = NULL, *none = NULL;
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
    return SKIPPED;
  snprintf(command, sizeof command,
           "cd %s && exec 2>/dev/null && mkdir disk && truncate -s 4M image && "
           "PATH=$PATH:/usr/sbin:/sbin && mkfs.ext4 -q image && mount -o loop image disk",
           test_directory());
  if (system(command) != 0)
    return SKIPPED;
  snprintf(path, sizeof path, "%s/ring", directory);
  snprintf(second, sizeof second, "%s/second", directory);
  REQUIRE_RESULT(ringbus_ring_create(path, &large, &ring), 0);
  unsigned before = entries_of(directory);
  for (int times = 0; times < 5; times++) { /* the space of the failures has not leaked away */
    REQUIRE_RESULT(
        ringbus_ring_create(second, &(struct ringbus_create_options){.capacity = 4 << 20}, &none),
        -ENOSPC);
    REQUIRE(strstr(ringbus_error_detail(), "full") && entries_of(directory) == before);
  }
  snprintf(command, sizeof command, "cat /dev/zero >%s/rest 2>/dev/null", directory);
  REQUIRE(system(command) != 0);
  REQUIRE_RESULT(ringbus_ring_create(second, &small, &none), -ENOSPC);
  ringbus_producer *producer = test_producer(ring); /* each byte of it has its place already */
  ringbus_consumer *consumer = test_consumer(ring, "g");
  for (uint64_t number = 0; number < 4000; number++) {
    REQUIRE_RESULT(ringbus_producer_send(producer, test_content(number), 1000, 0), 0);
    REQUIRE_RESULT(ringbus_consumer_recv(consumer, (char[1000]){0}, 1000, NULL), 0);
  }
  REQUIRE_RESULT(ringbus_ring_flush(ring), 0);
  return 0;
}

/* ---------------------------------------------------------------- holes */

/* Whoever may write may also forget: pages come back as zeroes. Calls answer, and the ring can be removed. */
static int with_holes(void) {
  const struct ringbus_create_options *options = given;
  static const size_t starts[] = {0, 4096, 65536};
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  struct ringbus_message message;
  char buffer[64];
  for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
    ringbus_ring *ring = test_ring("holes", options), *late = NULL;
    ringbus_producer *producer = test_producer(ring);
    ringbus_consumer *consumer = test_consumer(ring, "g");
    ringbus_observer *observer = test_observer(ring);
    for (int n = 0; n < 20; n++)
      REQUIRE_RESULT(ringbus_producer_send(producer, "12345678", 8, 0), 0);
    REQUIRE_RESULT(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
    int fd = open(test_path("holes"), O_RDWR | O_CLOEXEC);
    REQUIRE(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)starts[i],
                      (off_t)(1 << 20)) == 0);
    close(fd);
    for (int n = 0; n < 40; n++) {
      int result = ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message);
      REQUIRE(result == 0 || result == -EAGAIN || result == -EBADMSG);
      result = ringbus_observer_recv(observer, buffer, sizeof buffer, &message);
      REQUIRE(result == 0 || result == -EAGAIN || result == -EBADMSG || result == -EOVERFLOW);
      result = ringbus_producer_send(producer, "12345678", 8, 0);
      REQUIRE(result == 0 || result == -EAGAIN);
    }
    REQUIRE_RESULT(ringbus_ring_info(ring, &info), 0);
    REQUIRE_RESULT(ringbus_ring_group(ring, 0, &group), starts[i] == 0 ? -ENOENT : 0);
    int result = ringbus_ring_flush(ring);
    REQUIRE(result == 0 || result == -EAGAIN);
    REQUIRE_RESULT(ringbus_ring_open(test_path("holes"), NULL, &late),
                   starts[i] == 0 ? -EBADMSG : 0);
    REQUIRE_RESULT(ringbus_ring_close(late), 0);
    REQUIRE_RESULT(ringbus_observer_detach(observer), 0);
    REQUIRE_RESULT(ringbus_consumer_detach(consumer), 0);
    REQUIRE_RESULT(ringbus_producer_detach(producer), 0);
    REQUIRE_RESULT(ringbus_ring_close(ring), 0);
    REQUIRE(unlink(test_path("holes")) == 0);
  }
  return 0;
}

/* ---------------------------------------------------------------- old kernels and sandboxes */

/* A system call that is refused if an argument is this. */
struct refusal {
  const char *what;
  unsigned number, argument, mask, value, error;
  int (*call)(void);
  int answer;
  const char *detail; /* words of it */
};

static void refuse(const struct refusal *refusal) {
  uint32_t argument = (uint32_t)offsetof(struct seccomp_data, args) + 8 * refusal->argument;
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->number, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument), /* its low half */
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refusal->mask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->value, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refusal->error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static ringbus_ring *ring_before; /* made before anything was refused */

static int create_named(void) {
  ringbus_ring *ring;
  return ringbus_ring_create(test_path("new"), NULL, &ring);
}
static int create_anonymous(void) {
  ringbus_ring *ring;
  return ringbus_ring_create_anonymous(NULL, &ring);
}
static int open_again(void) {
  ringbus_ring *ring;
  return ringbus_ring_open(test_path("before"), NULL, &ring);
}
static int attach_producer(void) {
  ringbus_producer *producer;
  return ringbus_producer_attach(ring_before, NULL, &producer);
}
static int attach_consumer(void) {
  ringbus_consumer *consumer;
  return ringbus_consumer_attach(ring_before, NULL, &consumer);
}
/* A sleeper in another process: it hears of each message, however it has to be woken. */
static int wake_a_sleeper(void) {
  ringbus_producer *producer = test_producer(ring_before);
  for (uint64_t number = 0; number < 200; number++) {
    while (ringbus_producer_send(producer, "message", 7, 0) == -EAGAIN)
      REQUIRE_RESULT(ringbus_producer_wait(producer, 7, 0, RINGBUS_FOREVER), 0);
    if (number % 8 == 0)
      test_sleep_us(500); /* it goes to sleep */
  }
  REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  return 0;
}

static const struct refusal refusals[] = {
    {"no nameless files", SYS_openat, 2, O_TMPFILE, O_TMPFILE, EISDIR, create_named, -EOPNOTSUPP,
     "O_TMPFILE"},
    {"nor on this filesystem", SYS_openat, 2, O_TMPFILE, O_TMPFILE, EOPNOTSUPP, create_named,
     -EOPNOTSUPP, "O_TMPFILE"},
    {"no memfd", SYS_memfd_create, 0, 0, 0, ENOSYS, create_anonymous, -ENOSYS, "memfd"},
    {"no seals", SYS_fcntl, 1, UINT32_MAX, F_ADD_SEALS, EINVAL, create_anonymous, -EINVAL, "seal"},
    {"no random numbers", SYS_getrandom, 0, 0, 0, ENOSYS, create_named, -EIO, "random"},
    {"the disk does not reserve", SYS_fallocate, 0, 0, 0, EIO, create_named, -EIO, "reserve"},
    {"mode not to be set", SYS_fchmod, 0, 0, 0, EPERM, create_named, -EPERM, "mode"},
    {"no names for the nameless", SYS_linkat, 0, 0, 0, EPERM, create_named, -EPERM, "name"},
    {"no advice", SYS_madvise, 2, UINT32_MAX, MADV_DONTDUMP, EINVAL, open_again, -EINVAL,
     "MADV_DONTDUMP"},
    {"no mapping", SYS_mmap, 3, MAP_FIXED | MAP_SHARED, MAP_FIXED | MAP_SHARED, ENOMEM, open_again,
     -ENOMEM, "cannot map"},
    {"no locks of descriptions", SYS_fcntl, 1, UINT32_MAX, F_OFD_SETLK, EINVAL, attach_producer,
     -EINVAL, "OFD locks"},
    {"nor for consumers", SYS_fcntl, 1, UINT32_MAX, F_OFD_SETLK, EINVAL, attach_consumer, -EINVAL,
     "OFD locks"},
    {"descriptions not to be opened again", SYS_openat, 0, 0, 0, EACCES, attach_producer, -EACCES,
     "/proc"},
    {"filesystem not to be told", SYS_fstatfs, 0, 0, 0, ENOSYS, open_again, -ENOSYS, "filesystem"},
    {"no size", SYS_newfstatat, 0, 0, 0, EIO, open_again, -EIO, "stat"},
    {"waking in one step: not in this kernel", SYS_futex, 1, 127, FUTEX_WAKE_OP, ENOSYS,
     wake_a_sleeper, 0, ""},
    {"or not for this word", SYS_futex, 1, 127, FUTEX_WAKE_OP, EINVAL, wake_a_sleeper, 0, ""},
    {"or not in this sandbox", SYS_futex, 1, 127, FUTEX_WAKE_OP, EPERM, wake_a_sleeper, 0, ""},
};

static int refused(void) {
  const struct refusal *refusal = given;
  ring_before = test_open("before");
  (void)open_descriptors(); /* what it needs is loaded */
  unsigned before = open_descriptors();
  if (refusal->number == SYS_newfstatat && refusal->mask == 0 && refusal->value == 0)
    before = 0; /* then nothing can be counted, either */
  refuse(refusal);
  REQUIRE_RESULT(refusal->call(), refusal->answer);
  REQUIRE(strstr(ringbus_error_detail(), refusal->detail));
  REQUIRE(access(test_path("new"), F_OK) != 0);
  if (refusal->answer != 0 && refusal->number != SYS_openat && before)
    REQUIRE(open_descriptors() == before);
  return 0;
}

static int receive_all(struct test_child *self, void *context) {
  ringbus_ring *ring = test_open("before");
  struct ringbus_consumer_options options = {
      .group = "g", .wait = RINGBUS_WAIT_BLOCK, .look_ns = INT64_C(60000000000)};
  ringbus_consumer *consumer;
  uint64_t count = 0;
  int result;
  (void)context;
  REQUIRE_RESULT(ringbus_consumer_attach(ring, &options, &consumer), 0);
  test_child_say(self, 'a');
  while ((result = ringbus_consumer_wait(consumer, RINGBUS_FOREVER)) == 0)
    while (ringbus_consumer_recv(consumer, (char[16]){0}, 16, NULL) == 0)
      count++;
  REQUIRE_RESULT(result, -EPIPE);
  REQUIRE(count == 200);
  return 0;
}

static void refuse_each(void) {
  for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
    const struct refusal *refusal = &refusals[i];
    struct test_child sleeper = {0};
    REQUIRE_RESULT(ringbus_ring_close(test_ring("before", NULL)), 0);
    if (refusal->call == wake_a_sleeper) {
      sleeper = test_child_start(receive_all, NULL);
      REQUIRE(test_child_hear(&sleeper) == 'a');
    }
    fprintf(stderr, "refused: %s\n", refusal->what);
    in_child(refused, refusal);
    if (refusal->call == wake_a_sleeper)
      REQUIRE(test_child_status(&sleeper) == 0);
    REQUIRE(unlink(test_path("before")) == 0);
  }
}

int main(void) {
  if (mlock_is_real)
    in_child(with_little_locked_memory, NULL);
  in_child(with_few_descriptors, NULL);
  in_child(with_small_files_only, NULL);
  if (in_child(on_a_full_disk, NULL) == SKIPPED)
    puts("skipped: a full ext4 in a file, which takes root, a loop device and mkfs.ext4");
  in_child(with_holes, &(struct ringbus_create_options){.capacity = 4096});
  in_child(with_holes, &(struct ringbus_create_options){.capacity = 4096, .many_producers = true});
  in_child(with_holes, &(struct ringbus_create_options){.capacity = 4096, .overwrite = true});
  refuse_each();
  printf("figure: faults | %u cases of limits, full disks, holes and refused calls\n", cases);
  test_remove_directory();
  return 0;
}
