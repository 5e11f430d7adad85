/* SPDX-License-Identifier: MIT */
/* descriptors.c - rings without a name, passed from process to process as descriptors; locks, and what
 * fork, other descriptors and other people's locks do to them; files that are cut while in use.
 *
 * From the table of bugs that such rings have had ("Death", as far as descriptors go, and "Files"):
 *   "fcntl(F_SETLK) lock dropped when the process closes any descriptor of the file"
 *   "a forked child keeps the parent's OFD lock; so does an inherited mapping"
 *   "a description received by SCM_RIGHTS is shared: two owners of one lock byte"
 *   "a read-only opener takes a lock on a slot's byte and looks alive"
 *   "a peer shrinks the file"
 *   "pid reuse, PID namespaces": in_another_pid_namespace_...; a pid decides nothing here.
 *   "a core dump of 2 GiB keeps the lock for 9 s": the_ring_is_left_out_of_core_dumps
 *   "struct.pack_into zero-fills first": about writers in other languages, none here. */
#include "suite.h"

#include "internal.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static const struct ringbus_create_options small = {.capacity = 4096};

static void send_descriptor(int over, int fd) {
  char control[CMSG_SPACE(sizeof fd)] = {0}, byte = 'f';
  struct iovec one = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &one, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  REQUIRE(sendmsg(over, &message, 0) == 1);
}

static int receive_descriptor(int over) {
  char control[CMSG_SPACE(sizeof(int))], byte;
  struct iovec one = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &one, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  int fd;
  REQUIRE(recvmsg(over, &message, MSG_CMSG_CLOEXEC) == 1);
  REQUIRE(CMSG_FIRSTHDR(&message));
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

static struct ringbus_participant participant_of(ringbus_ring *ring, enum ringbus_role role) {
  struct ringbus_participant found;
  for (uint32_t slot = 1; slot <= 63; slot++)
    if (ringbus_ring_participant(ring, slot, &found) == 0 && found.role == role)
      return found;
  return (struct ringbus_participant){0};
}

/* ---------------------------------------------------------------- rings without a name */

Test(descriptors, an_anonymous_ring_is_sealed_and_reserved) {
  ringbus_ring *ring, *again;
  struct ringbus_ring_info info;
  struct stat status;
  int fd, seals;
  cr_result(ringbus_ring_create_anonymous(&small, &ring), 0);
  cr_result(ringbus_ring_fd(ring, &fd), 0);
  seals = fcntl(fd, F_GET_SEALS);
  cr_assert((seals & F_SEAL_SHRINK) && (seals & F_SEAL_GROW) && (seals & F_SEAL_SEAL));
  cr_assert_neq(ftruncate(fd, 0), 0);
  cr_assert_neq(ftruncate(fd, 1 << 24), 0);
  cr_assert_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  cr_assert_eq(fstat(fd, &status), 0);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq((uint64_t)status.st_size, info.file_bytes);
  cr_assert_geq((uint64_t)status.st_blocks * 512, info.file_bytes);
  cr_result(ringbus_ring_open_fd(fd, NULL, &again), 0);
  cr_result(ringbus_producer_send(test_producer(ring), "x", 1, 0), 0);
  cr_result(ringbus_consumer_recv(test_consumer(again, NULL), (char[8]){0}, 8, NULL), 0);
}

static int publish_through_a_socket(struct test_child *self, void *context) {
  int fd = receive_descriptor(*(int *)context);
  ringbus_ring *ring = NULL;
  ringbus_producer *producer, *second = NULL;
  ringbus_consumer *consumer;
  char buffer[16];
  REQUIRE_RESULT(ringbus_ring_open_fd(fd, NULL, &ring), 0);
  close(fd); /* it is not needed any more */
  REQUIRE_RESULT(ringbus_producer_attach(ring, NULL, &second), -EBUSY); /* the sender has it */
  test_child_say(self, 'b');
  REQUIRE(test_child_hear(self) == 'l'); /* it has left */
  producer = test_producer(ring);
  consumer = test_consumer(ring, "theirs");
  for (int i = 0; i < 1000; i++) {
    int result;
    while ((result = ringbus_producer_send(producer, &i, sizeof i, 0)) == -EAGAIN)
      REQUIRE_RESULT(ringbus_producer_wait(producer, sizeof i, 0, RINGBUS_FOREVER), 0);
    REQUIRE_RESULT(result, 0);
    REQUIRE_RESULT(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
  }
  REQUIRE_RESULT(ringbus_producer_finish(producer), 0);
  test_child_say(self, 'd');
  test_child_hear(self);
  return 0;
}

/* The description that came through the socket is the sender's own: a lock on it would be both's. */
Test(descriptors, a_ring_passed_through_a_socket_is_used_on_both_ends_with_one_owner_per_slot,
     .timeout = 60) {
  ringbus_ring *ring;
  ringbus_producer *producer, *none = NULL;
  ringbus_consumer *consumer;
  struct test_child child;
  struct ringbus_ring_info info;
  int sockets[2], fd, number, result;
  cr_result(ringbus_ring_create_anonymous(&small, &ring), 0);
  cr_result(ringbus_ring_fd(ring, &fd), 0);
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  producer = test_producer(ring);
  consumer = test_consumer(ring, "mine");
  child = test_child_start(publish_through_a_socket, &sockets[1]);
  send_descriptor(sockets[0], fd);
  cr_assert_eq(test_child_hear(&child), 'b');
  cr_result(ringbus_producer_detach(producer), 0);
  test_child_say(&child, 'l');
  for (int i = 0; i < 1000; i++) {
    while ((result = ringbus_consumer_recv(consumer, &number, sizeof number, NULL)) == -EAGAIN)
      cr_result(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), 0);
    cr_result(result, 0);
    cr_assert_eq(number, i);
  }
  cr_assert_eq(test_child_hear(&child), 'd');
  cr_result(ringbus_producer_attach(ring, NULL, &none), -EBUSY);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.participants, 3);
  test_child_kill(&child);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.participants, 1, "its death is seen through the descriptor both have");
}

struct inherited {
  ringbus_ring *ring;
  struct stat file;
};

static int close_inherited(struct test_child *self, void *context) {
  struct inherited *inherited = context;
  struct stat status;
  (void)self;
  for (int fd = 0; fd < 64; fd++) /* closed already, the one for its locks, too */
    REQUIRE(fstat(fd, &status) != 0 || status.st_ino != inherited->file.st_ino ||
            status.st_dev != inherited->file.st_dev);
  REQUIRE_RESULT(ringbus_ring_close(inherited->ring), -ECHILD);
  return 0;
}

/* Without /proc there is no second description, unless the sender has made one and says so. */
Test(descriptors, a_fresh_description_is_used_for_locks_as_it_is) {
  struct ringbus_open_options fresh = {.fresh_description = true};
  ringbus_ring *ring, *through;
  ringbus_producer *producer = NULL, *second = NULL;
  char path[64];
  int fd, own;
  cr_result(ringbus_ring_create_anonymous(&small, &ring), 0);
  cr_result(ringbus_ring_fd(ring, &fd), 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  own = open(path, O_RDWR | O_CLOEXEC);
  cr_assert_geq(own, 0);
  cr_result(ringbus_ring_open_fd(own, &fresh, &through), 0);
  close(own);
  struct inherited inherited = {.ring = through};
  cr_assert_eq(fstat(fd, &inherited.file), 0);
  struct test_child child = test_child_start(close_inherited, &inherited);
  cr_assert_eq(test_child_status(&child), 0);
  for (int i = 0; i < 3; i++) { /* the one description can be used again */
    cr_result(ringbus_producer_attach(through, NULL, &producer), 0);
    cr_result(ringbus_producer_attach(ring, NULL, &second), -EBUSY);
    cr_assert(participant_of(ring, RINGBUS_PRODUCER).alive);
    cr_assert(participant_of(through, RINGBUS_PRODUCER).alive);
    cr_result(ringbus_producer_send(producer, "x", 1, 0), 0);
    cr_result(ringbus_producer_detach(producer), 0);
    cr_assert_eq(participant_of(ring, RINGBUS_PRODUCER).slot, 0);
  }
  cr_result(ringbus_producer_attach(ring, NULL, &second), 0);
  cr_result(ringbus_producer_attach(through, NULL, &producer), -EBUSY);
  cr_result(ringbus_ring_fd(through, &fd), -EPERM); /* or its locks would be somebody else's, too */
  cr_result(ringbus_ring_open(test_path("x"), &fresh, &through), -EINVAL);
  own = memfd_create("text", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  cr_assert_eq(fcntl(own, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  cr_result(ringbus_ring_open_fd(own, &fresh, &through), -EBADMSG);
}

Test(descriptors, what_is_not_a_sealed_ring_is_refused) {
  static const unsigned too_few[] = {0, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL,
                                     F_SEAL_SHRINK | F_SEAL_SEAL};
  ringbus_ring *ring = NULL, *named = test_ring("ring", NULL);
  size_t length;
  unsigned char *image = test_read_whole("ring", &length);
  int fd, pipe_ends[2];
  (void)named;
  for (size_t i = 0; i < sizeof too_few / sizeof too_few[0]; i++) {
    fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_eq(write(fd, image, length), (ssize_t)length);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, too_few[i]), 0);
    cr_result(ringbus_ring_open_fd(fd, NULL, &ring), -EPERM);
    cr_assert_str_not_empty(ringbus_error_detail());
    close(fd);
  }
  fd = memfd_create("unsealable", MFD_CLOEXEC);
  cr_assert_eq(write(fd, image, length), (ssize_t)length);
  cr_result(ringbus_ring_open_fd(fd, NULL, &ring), -EPERM);
  close(fd);
  fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  cr_assert_eq(write(fd, image, length), (ssize_t)length);
  cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  cr_result(ringbus_ring_open_fd(fd, NULL, &ring), 0);
  cr_result(ringbus_ring_close(ring), 0);
  cr_assert_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC, "it stays the caller's");
  close(fd);

  cr_result(ringbus_ring_open_fd(fd, NULL, &ring), -EBADF);
  cr_result(ringbus_ring_open_fd(-1, NULL, &ring), -EBADF);
  cr_assert_eq(pipe(pipe_ends), 0);
  cr_result(ringbus_ring_open_fd(pipe_ends[0], NULL, &ring), -EPERM);
  fd = open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  cr_result(ringbus_ring_open_fd(fd, NULL, &ring), -EPERM);
  fd = memfd_create("text", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  cr_assert_eq(write(fd, "hello", 5), 5);
  cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  cr_result(ringbus_ring_open_fd(fd, NULL, &ring), -EBADMSG);
  free(image);
}

/* Which filesystem it was on makes no difference; some know of seals. */
Test(descriptors, a_file_that_has_lost_its_name_is_refused) {
  static const char *const places[] = {"/dev/shm", "/var/tmp", "/tmp", "."};
  struct ringbus_open_options read_only = {.read_only = true};
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    ringbus_ring *ring = NULL, *again = NULL;
    char path[300];
    int fd;
    snprintf(path, sizeof path, "%s/ringbus-test-nameless.%d", places[i], (int)getpid());
    if (ringbus_ring_create(path, &small, &ring) != 0)
      continue; /* no filesystem for rings */
    cr_assert_eq(unlink(path), 0);
    cr_result(ringbus_ring_fd(ring, &fd), 0);
    cr_result(ringbus_ring_open_fd(fd, NULL, &again), -EPERM);
    cr_assert(strstr(ringbus_error_detail(), "no name"), "%s", ringbus_error_detail());
    cr_result(ringbus_ring_open_fd(fd, &read_only, &again), -EPERM);
    cr_result(ringbus_ring_close(ring), 0);
  }
}

Test(descriptors, a_ring_of_somebody_else_is_refused_by_descriptor_too) {
  struct ringbus_open_options trusting = {.allow_owner = true, .owner = 11111};
  ringbus_ring *ring = test_ring("ring", NULL), *again = NULL;
  int fd;
  if (geteuid() != 0)
    cr_skip_test("only root can give a file away");
  cr_result(ringbus_ring_fd(ring, &fd), 0);
  cr_assert_eq(fchown(fd, 11111, (gid_t)-1), 0);
  cr_result(ringbus_ring_open_fd(fd, NULL, &again), -EPERM);
  cr_assert(strstr(ringbus_error_detail(), "11111"), "%s", ringbus_error_detail());
  cr_result(ringbus_ring_open_fd(fd, &trusting, &again), 0);
}

Test(descriptors, a_named_ring_can_be_opened_by_descriptor) {
  ringbus_ring *named = test_ring("ring", NULL), *ring = NULL;
  struct ringbus_open_options read_only = {.read_only = true};
  int fd = open(test_path("ring"), O_RDWR | O_CLOEXEC);
  cr_result(ringbus_ring_open_fd(fd, NULL, &ring), 0);
  close(fd);
  cr_result(ringbus_producer_send(test_producer(ring), "x", 1, 0), 0);
  cr_result(ringbus_consumer_recv(test_consumer(named, NULL), (char[8]){0}, 8, NULL), 0);
  fd = open(test_path("ring"), O_RDONLY | O_CLOEXEC);
  cr_result(ringbus_ring_open_fd(fd, &read_only, &ring), 0);
  cr_result(ringbus_observer_recv(test_observer(ring), (char[8]){0}, 8, NULL), 0);
  cr_result(ringbus_ring_remove(test_path("ring"), true), 0);
  cr_assert(ringbus_ring_open_fd(fd, &read_only, &ring) < 0, "what was removed is not opened");
}

/* ---------------------------------------------------------------- locks */

Test(descriptors, closing_other_descriptors_of_the_file_drops_no_lock) {
  ringbus_ring *ring = test_ring("ring", NULL), *other;
  ringbus_producer *producer = test_producer(ring), *second = NULL;
  for (int i = 0; i < 10; i++) {
    int fd = open(test_path("ring"), i & 1 ? O_RDONLY : O_RDWR);
    close(fd);
    other = test_open("ring");
    cr_result(ringbus_ring_close(other), 0);
    other = test_open("ring");
    cr_assert(participant_of(ring, RINGBUS_PRODUCER).alive);
    cr_assert(participant_of(other, RINGBUS_PRODUCER).alive);
    cr_result(ringbus_producer_attach(other, NULL, &second), -EBUSY);
    cr_result(ringbus_ring_close(other), 0);
  }
  cr_result(ringbus_producer_send(producer, "x", 1, 0), 0);
}

static int attach_and_wait(struct test_child *self, void *context) {
  ringbus_ring *ring = test_open("ring");
  (void)context;
  test_producer(ring);
  test_consumer(ring, "g");
  test_child_say(self, 'a');
  test_child_hear(self);
  return 0;
}

Test(descriptors, a_read_lock_does_not_look_alive) {
  ringbus_ring *ring = test_ring("ring", NULL);
  struct test_child child = test_child_start(attach_and_wait, NULL);
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
  struct ringbus_ring_info info;
  ringbus_producer *producer = NULL;
  int fd = open(test_path("ring"), O_RDONLY | O_CLOEXEC);
  cr_assert_eq(test_child_hear(&child), 'a');
  test_child_kill(&child);
  cr_assert_eq(fcntl(fd, F_OFD_SETLK, &lock), 0, "the whole file");
  cr_assert(!participant_of(ring, RINGBUS_PRODUCER).alive);
  cr_assert(!participant_of(ring, RINGBUS_CONSUMER).alive);
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.participants, 0);
  cr_result(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, 0), -ETIMEDOUT);
  /* It can be in the way of newcomers, as whoever may read the file can, but not of who has force. */
  cr_assert(ringbus_producer_attach(ring, NULL, &producer) < 0);
  cr_assert(ringbus_ring_remove(test_path("ring"), false) == 0 ||
                ringbus_ring_remove(test_path("ring"), true) == 0,
            "%s", ringbus_error_detail());
  close(fd);
}

Test(descriptors, a_read_lock_on_one_slot_does_not_open_the_others) {
  ringbus_ring *ring = test_ring("ring", NULL);
  const off_t third = (off_t)(ring->geometry.slots_offset + 3 * sizeof(struct ringbus_slot));
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = third, .l_len = 1};
  ringbus_producer *producer = NULL;
  ringbus_consumer *consumer = NULL;
  int reader = open(test_path("ring"), O_RDONLY | O_CLOEXEC);
  int all = open(test_path("ring"), O_RDWR | O_CLOEXEC);
  cr_assert_eq(fcntl(reader, F_OFD_SETLK, &lock), 0);
  cr_result(slots_lock(ring, all), 0);
  cr_assert(ringbus_producer_attach(ring, NULL, &producer) < 0);
  cr_assert(ringbus_consumer_attach(ring, NULL, &consumer) < 0);
  close(all);
  cr_result(ringbus_consumer_attach(ring, NULL, &consumer), 0);
  all = open(test_path("ring"), O_RDWR | O_CLOEXEC);
  cr_result(slots_lock(ring, all), -EAGAIN);
  cr_result(ringbus_producer_attach(ring, NULL, &producer), 0); /* nothing stays locked */
  cr_result(ringbus_producer_detach(producer), 0);
  cr_result(ringbus_consumer_detach(consumer), 0);
  close(all);
  close(reader);
  cr_result(ringbus_ring_close(ring), 0);
}

static int use_inherited_handles(ringbus_ring *ring, ringbus_producer *producer,
                                 ringbus_consumer *consumer, ringbus_observer *observer) {
  struct ringbus_message message;
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  struct ringbus_participant participant;
  struct iovec one = {"x", 1};
  uint64_t position;
  size_t count;
  void *data;
  int fd;
  char buffer[8];
  ringbus_producer *no_producer = NULL;
  ringbus_consumer *no_consumer = NULL;
  ringbus_observer *no_observer = NULL;
  REQUIRE_RESULT(ringbus_producer_claim(producer, 1, 0, &data), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_commit(producer, 1), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_abort(producer), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_send(producer, "x", 1, 0), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_send_batch(producer, &one, 1, 0, false, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_send_batch(producer, &one, 1, 0, true, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_tell(producer, &position, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_wait(producer, 1, 0, RINGBUS_FOREVER), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_wait(producer, SIZE_MAX, 0, RINGBUS_FOREVER), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_drain(producer, RINGBUS_FOREVER), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_finish(producer), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_borrow(consumer, &message), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_borrow_batch(consumer, &message, 1, &count), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_release(consumer), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_still_valid(consumer), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_wait(consumer, RINGBUS_FOREVER), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_tell(consumer, &position, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_seek(consumer, RINGBUS_OLDEST, 0), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_lost(consumer, &position, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_observer_recv(observer, buffer, sizeof buffer, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_observer_wait(observer, RINGBUS_FOREVER), -ECHILD);
  REQUIRE_RESULT(ringbus_observer_tell(observer, &position, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_observer_seek(observer, RINGBUS_OLDEST, 0), -ECHILD);
  REQUIRE_RESULT(ringbus_observer_lost(observer, &position, NULL), -ECHILD);
  REQUIRE_RESULT(ringbus_ring_info(ring, &info), -ECHILD);
  REQUIRE_RESULT(ringbus_ring_group(ring, 0, &group), -ECHILD);
  REQUIRE_RESULT(ringbus_ring_participant(ring, 1, &participant), -ECHILD);
  REQUIRE_RESULT(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, RINGBUS_FOREVER), -ECHILD);
  REQUIRE_RESULT(ringbus_ring_remove_group(ring, "g"), -ECHILD);
  REQUIRE_RESULT(ringbus_ring_flush(ring), -ECHILD);
  REQUIRE_RESULT(ringbus_ring_fd(ring, &fd), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_attach(ring, NULL, &no_producer), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_attach(ring, NULL, &no_consumer), -ECHILD);
  REQUIRE_RESULT(ringbus_observer_attach(ring, NULL, &no_observer), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_detach(producer), -ECHILD);
  REQUIRE_RESULT(ringbus_consumer_detach(consumer), -ECHILD);
  REQUIRE_RESULT(ringbus_observer_detach(observer), -ECHILD);
  REQUIRE_RESULT(ringbus_ring_close(ring), -ECHILD);
  return 0;
}

Test(descriptors, inherited_handles_answer_in_the_child_and_its_end_harms_nobody) {
  ringbus_ring *ring = test_ring("ring", NULL);
  for (int round = 0; round < 20; round++) {
    ringbus_producer *producer = test_producer(ring), *second = NULL;
    ringbus_consumer *consumer = test_consumer(ring, "g");
    ringbus_observer *observer = test_observer(ring);
    char buffer[8];
    void *data;
    int status;
    pid_t pid;
    cr_result(ringbus_producer_claim(producer, 1, 0, &data), 0);
    pid = fork();
    if (pid == 0) {
      ringbus_ring *own;
      if (round % 4 == 1)
        _exit(0);
      use_inherited_handles(ring, producer, consumer, observer);
      own = test_open("ring"); /* a child that wants to take part opens for itself */
      REQUIRE_RESULT(ringbus_producer_attach(own, NULL, &producer), -EBUSY);
      consumer = test_consumer(own, NULL);
      test_count_coverage();
      if (round % 4 == 2)
        raise(SIGKILL);
      _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(round % 4 == 2 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_result(ringbus_producer_commit(producer, 1), 0);
    cr_result(ringbus_consumer_recv(consumer, buffer, sizeof buffer, NULL), 0);
    cr_result(ringbus_observer_wait(observer, 0), 0);
    cr_assert(participant_of(ring, RINGBUS_PRODUCER).alive);
    {
      ringbus_ring *other = test_open("ring");
      cr_assert(participant_of(other, RINGBUS_PRODUCER).alive);
      cr_result(ringbus_producer_attach(other, NULL, &second), -EBUSY);
      cr_result(ringbus_ring_close(other), 0);
    }
    ringbus_producer_detach(producer);
    ringbus_consumer_detach(consumer);
    ringbus_observer_detach(observer);
  }
}

struct orphan_pipes {
  int pid[2];
  int life[2]; /* the test holds the writing end: the orphan does not outlive it */
};

/* Attached, forked, killed; its child lives on with everything it has inherited. */
static int die_and_leave_a_child(struct test_child *self, void *context) {
  ringbus_ring *ring = test_open("ring");
  struct orphan_pipes *pipes = context;
  int *pid_pipe = pipes->pid;
  pid_t grandchild;
  test_producer(ring);
  test_consumer(ring, "g");
  grandchild = fork();
  if (grandchild == 0) {
    char none;
    close(self->from);
    close(self->to); /* only the parent's end is to be heard of */
    close(pipes->life[1]);
    /* Only now is it sure that fork's handlers have run here; until then it holds the locks, too. */
    grandchild = getpid();
    REQUIRE(write(pid_pipe[1], &grandchild, sizeof grandchild) == sizeof grandchild);
    _exit(read(pipes->life[0], &none, 1) != 0);
  }
  test_child_say(self, 'a');
  test_child_hear(self);
  return 0;
}

Test(descriptors, a_parent_killed_while_its_child_lives_is_seen_dead) {
  ringbus_ring *ring = test_ring("ring", NULL);
  struct test_child child;
  struct ringbus_ring_info info;
  struct orphan_pipes pipes;
  pid_t grandchild;
  cr_assert(pipe(pipes.pid) == 0 && pipe(pipes.life) == 0);
  child = test_child_start(die_and_leave_a_child, &pipes);
  cr_assert_eq(read(pipes.pid[0], &grandchild, sizeof grandchild), (ssize_t)sizeof grandchild);
  cr_assert_eq(test_child_hear(&child), 'a');
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.participants, 2);
  test_child_kill(&child);
  cr_assert_eq(kill(grandchild, 0), 0, "the child of the dead one lives");
  cr_result(ringbus_ring_info(ring, &info), 0);
  cr_assert_eq(info.participants, 0);
  cr_assert(!participant_of(ring, RINGBUS_PRODUCER).alive);
  test_producer(ring);
  test_consumer(ring, "g");
  cr_assert_eq(kill(grandchild, SIGKILL), 0);
}

static int attach_elsewhere(struct test_child *self, void *context) {
  ringbus_ring *ring;
  (void)context;
  ring = test_open("ring");
  REQUIRE(getpid() == 1);
  test_producer(ring);
  test_child_say(self, 'a');
  test_child_hear(self);
  return 0;
}

/* Two processes that both are "PID 1" to themselves: only the kernel's lock says who lives. */
Test(descriptors, in_another_pid_namespace_life_and_death_are_seen) {
  ringbus_ring *ring = test_ring("ring", NULL);
  struct test_child child;
  struct ringbus_participant participant;
  ringbus_producer *producer = NULL;
  if (unshare(CLONE_NEWPID) != 0)
    cr_skip_test("no PID namespace of its own: needs CAP_SYS_ADMIN");
  child = test_child_start(attach_elsewhere, NULL);
  cr_assert_eq(test_child_hear(&child), 'a');
  participant = participant_of(ring, RINGBUS_PRODUCER);
  cr_assert(participant.alive && participant.pid == 1 && !participant.pid_is_local);
  cr_result(ringbus_producer_attach(ring, NULL, &producer), -EBUSY);
  test_child_kill(&child);
  cr_assert(!participant_of(ring, RINGBUS_PRODUCER).alive, "though there is a PID 1 here, too");
  cr_result(ringbus_producer_attach(ring, NULL, &producer), 0);
}

Test(descriptors, the_ring_is_left_out_of_core_dumps_and_forks) {
  char line[512], flags[512] = "";
  bool inside = false;
  int views = 0;
  FILE *maps;
  cr_result(ringbus_ring_close(test_ring("ring", NULL)), 0);
  test_open("ring"); /* its creator's mapping is of a file that had no name */
  maps = fopen("/proc/self/smaps", "re");
  cr_assert(maps);
  while (fgets(line, sizeof line, maps)) {
    if (strstr(line, "/ring\n"))
      inside = true;
    if (inside && strncmp(line, "VmFlags:", 8) == 0) {
      strcpy(flags, line);
      cr_assert(strstr(flags, " dd") && strstr(flags, " dc"), "%s", flags);
      inside = false;
      views++;
    }
  }
  fclose(maps);
  cr_assert_geq(views, 1);
}

Test(descriptors, nothing_is_left_open_or_mapped_after_the_last_close) {
  char before[64], after[64];
  for (int round = 0; round < 3; round++) {
    char *name = round ? after : before;
    ringbus_ring *ring = NULL, *none = NULL;
    ringbus_producer *producer, *second = NULL;
    ringbus_consumer *consumer;
    int fd;
    FILE *maps;
    char line[512];
    cr_result(ringbus_ring_create(test_path("ring"), &small, &ring), 0);
    producer = test_producer(ring);
    consumer = test_consumer(ring, NULL);
    cr_result(ringbus_producer_attach(ring, NULL, &second), -EBUSY);
    cr_result(ringbus_ring_create(test_path("ring"), &small, &none), -EEXIST);
    cr_result(ringbus_ring_open(test_path("none"), NULL, &none), -ENOENT);
    cr_result(ringbus_ring_close(ring), 0); /* handles keep it */
    cr_result(ringbus_producer_send(producer, "x", 1, 0), 0);
    cr_result(ringbus_consumer_recv(consumer, (char[8]){0}, 8, NULL), 0);
    cr_result(ringbus_producer_detach(producer), 0);
    cr_result(ringbus_consumer_detach(consumer), 0);
    cr_result(ringbus_ring_remove(test_path("ring"), false), 0);
    maps = fopen("/proc/self/maps", "re");
    while (fgets(line, sizeof line, maps))
      cr_assert(!strstr(line, test_path("ring")), "%s", line);
    fclose(maps);
    fd = dup(0); /* the lowest free number is the same each time */
    snprintf(name, sizeof before, "%d", fd);
    close(fd);
  }
  cr_assert_str_eq(before, after);
}

/* A program may be started with its standard descriptors closed. What it prints then must not go into the
 * ring, nor what it reads come out of it. */
static int use_rings_without_standard_descriptors(struct test_child *self, void *context) {
  ringbus_ring *ring = NULL, *opened = NULL, *nameless = NULL, *passed = NULL;
  ringbus_producer *producer = NULL;
  ringbus_consumer *consumer = NULL;
  int fd, event_fd;
  (void)self, (void)context;
  for (fd = 0; fd <= 2; fd++)
    close(fd);
  if (ringbus_ring_create(test_path("ring"), &small, &ring) != 0 ||
      ringbus_ring_open(test_path("ring"), NULL, &opened) != 0 ||
      ringbus_ring_create_anonymous(&small, &nameless) != 0 ||
      ringbus_ring_fd(nameless, &fd) != 0 || ringbus_ring_open_fd(fd, NULL, &passed) != 0 ||
      ringbus_producer_attach(opened, NULL, &producer) != 0 ||
      ringbus_consumer_attach(opened, NULL, &consumer) != 0 ||
      ringbus_consumer_event_fd(consumer, &event_fd) != 0)
    return 1;
  for (fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) >= 0)
      return 10 + fd;
  return 0;
}

Test(descriptors, a_ring_never_takes_the_place_of_a_closed_standard_descriptor) {
  struct test_child child = test_child_start(use_rings_without_standard_descriptors, NULL);
  cr_assert_eq(test_child_status(&child), 0);
}

/* ---------------------------------------------------------------- files that are cut in use */

/* Whoever may write the file may cut it; then loads beyond its end are SIGBUS, and only a sealed memfd
 * is safe from that. Promised is this: slow calls look at the size first and answer. */
static int use_a_cut_file(struct test_child *self, void *context) {
  off_t size = *(off_t *)context;
  ringbus_ring *ring = test_open("ring"), *another = NULL;
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  struct ringbus_participant participant;
  struct ringbus_blame blame;
  ringbus_producer *producer = NULL;
  ringbus_consumer *consumer = NULL;
  ringbus_observer *observer = NULL;
  (void)self;
  REQUIRE(truncate(test_path("ring"), size) == 0);
  REQUIRE_RESULT(ringbus_ring_open(test_path("ring"), NULL, &another), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_remove(test_path("ring"), true), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_info(ring, &info), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_group(ring, 0, &group), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_participant(ring, 1, &participant), -EBADMSG);
  REQUIRE_RESULT(ringbus_producer_attach(ring, NULL, &producer), -EBADMSG);
  REQUIRE_RESULT(ringbus_consumer_attach(ring, NULL, &consumer), -EBADMSG);
  REQUIRE_RESULT(ringbus_observer_attach(ring, NULL, &observer), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_remove_group(ring, "g"), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_flush(ring), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_wait_for(ring, RINGBUS_PRODUCER, 0), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_evict(ring, &(struct ringbus_participant){.slot = 1}, 0), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_repair(ring, NULL), -EBADMSG);
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  return 0;
}

Test(descriptors, slow_calls_on_a_file_that_a_peer_has_cut_answer) {
  static const off_t sizes[] = {0, 100, 4096, 8192, 65536};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    off_t size = sizes[i];
    struct test_child child;
    test_ring("ring", NULL);
    child = test_child_start(use_a_cut_file, &size);
    cr_assert_eq(test_child_status(&child), 0, "cut to %lld bytes", (long long)size);
    cr_assert_eq(unlink(test_path("ring")), 0);
  }
}
