/* SPDX-License-Identifier: MIT */
/* interface.c - version, errors, and what every function says about missing arguments. Hot calls do not
 * check their handles for NULL (inline.h): only what the header allows is tried. */
#include "suite.h"

#include <limits.h>
#include <pthread.h>

Test(interface, version_is_that_of_the_header) {
  char expected[32];
  snprintf(expected, sizeof expected, "%d.%d.%d", RINGBUS_VERSION_MAJOR, RINGBUS_VERSION_MINOR,
           RINGBUS_VERSION_PATCH);
  cr_assert_str_eq(ringbus_version(), expected);
}

Test(interface, every_error_of_the_table_has_its_own_sentence) {
  static const int errors[] = {0,         EAGAIN,  EMSGSIZE,  EPIPE,           ESTALE,
                               EOVERFLOW, EBADMSG, EBUSY,     EPROTONOSUPPORT, ECHILD,
                               EINVAL,    EINTR,   ETIMEDOUT, ENOENT,          EEXIST,
                               ENOSPC,    EACCES,  EPERM,     ELOOP,           EOPNOTSUPP,
                               ENOMEM,    EMFILE,  EIO,       ENAMETOOLONG};
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    const char *text = ringbus_strerror(-errors[i]);
    cr_assert(text && strlen(text) > 3, "%d", errors[i]);
    cr_assert(!strstr(text, "nknown"), "%d: %s", errors[i], text);
    for (size_t other = 0; other < i; other++)
      cr_assert_str_neq(text, ringbus_strerror(-errors[other]));
  }
}

Test(interface, strerror_is_never_null) {
  static const int edges[] = {INT_MIN, INT_MIN + 1, -100000, -134,   -133,
                              1,       2,           133,     100000, INT_MAX};
  for (int error = -4096; error <= 4096; error++)
    cr_assert(ringbus_strerror(error) && *ringbus_strerror(error));
  for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
    cr_assert(ringbus_strerror(edges[i]) && *ringbus_strerror(edges[i]));
}

static void *look_at_detail(void *context) {
  (void)context;
  cr_assert_str_empty(ringbus_error_detail());
  return NULL;
}

Test(interface, detail_is_one_line_of_this_thread) {
  ringbus_ring *ring = NULL;
  pthread_t thread;
  cr_assert_str_empty(ringbus_error_detail());
  cr_result(ringbus_ring_open(test_path("none"), NULL, &ring), -ENOENT);
  cr_assert(strstr(ringbus_error_detail(), "none"), "%s", ringbus_error_detail());
  cr_assert(!strchr(ringbus_error_detail(), '\n'));
  cr_assert_eq(pthread_create(&thread, NULL, look_at_detail, NULL), 0);
  pthread_join(thread, NULL);
  cr_assert_str_not_empty(ringbus_error_detail());
}

Test(interface, detail_of_a_hostile_name_is_short_enough) {
  char name[4000];
  ringbus_ring *ring = NULL;
  memset(name, 'x', sizeof name);
  memcpy(name, "/dev/shm/%s%n%d", 15);
  name[sizeof name - 1] = 0;
  cr_assert(ringbus_ring_open(name, NULL, &ring) < 0);
  cr_assert_lt(strlen(ringbus_error_detail()), sizeof name + 512);
}

Test(interface, missing_arguments_are_refused_where_that_is_promised) {
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  struct ringbus_participant participant;
  ringbus_ring *ring = test_ring("ring", NULL), *none = NULL;
  struct ringbus_blame blame;
  ringbus_producer *producer;
  ringbus_consumer *consumer;
  ringbus_observer *observer;
  int fd;
  cr_result(ringbus_ring_create(test_path("x"), NULL, NULL), -EINVAL);
  cr_result(ringbus_ring_create(NULL, NULL, &none), -EINVAL);
  cr_result(ringbus_ring_create_anonymous(NULL, NULL), -EINVAL);
  cr_result(ringbus_ring_open(NULL, NULL, &none), -EINVAL);
  cr_result(ringbus_ring_open(test_path("ring"), NULL, NULL), -EINVAL);
  cr_result(ringbus_ring_open_fd(0, NULL, NULL), -EINVAL);
  cr_result(ringbus_ring_remove(NULL, true), -EINVAL);
  cr_result(ringbus_ring_info(NULL, &info), -EINVAL);
  cr_result(ringbus_ring_info(ring, NULL), -EINVAL);
  cr_result(ringbus_ring_group(ring, 16, &group), -EINVAL);
  cr_result(ringbus_ring_group(ring, UINT32_MAX, &group), -EINVAL);
  cr_result(ringbus_ring_group(ring, 0, &group), -ENOENT);
  cr_result(ringbus_ring_participant(ring, 0, &participant), -EINVAL);
  cr_result(ringbus_ring_participant(ring, 64, &participant), -EINVAL);
  cr_result(ringbus_ring_participant(ring, UINT32_MAX, &participant), -EINVAL);
  cr_result(ringbus_ring_participant(ring, 63, &participant), -ENOENT);
  cr_result(ringbus_ring_wait_for(ring, (enum ringbus_role)0, 0), -EINVAL);
  cr_result(ringbus_ring_fd(ring, &fd), 0);
  cr_assert(access(test_path("x"), F_OK) != 0 && !none);
  cr_result(ringbus_ring_group(ring, 0, NULL), -EINVAL);
  cr_result(ringbus_ring_fd(NULL, &fd), -EINVAL);
  cr_result(ringbus_ring_flush(NULL), -EINVAL);
  cr_result(ringbus_ring_repair(NULL, NULL), -EINVAL);
  cr_result(ringbus_ring_remove_group(ring, NULL), -EINVAL);
  cr_result(ringbus_ring_blame(NULL, RINGBUS_PRODUCER, &blame), -EINVAL);
  cr_result(ringbus_ring_evict(ring, NULL, 0), -EINVAL);
  cr_result(ringbus_ring_evict(ring, &(struct ringbus_participant){.slot = 0}, 0), -EINVAL);
  cr_result(ringbus_ring_evict(ring, &(struct ringbus_participant){.slot = 64}, 0), -EINVAL);
  cr_result(ringbus_bus_list(NULL, NULL, NULL), -EINVAL);
  cr_result(ringbus_producer_attach(NULL, NULL, &producer), -EINVAL);
  cr_result(ringbus_consumer_attach(NULL, NULL, &consumer), -EINVAL);
  cr_result(ringbus_observer_attach(NULL, NULL, &observer), -EINVAL);
  cr_result(
      ringbus_observer_attach(ring, &(struct ringbus_observer_options){.start = 4}, &observer),
      -EINVAL);
  cr_result(ringbus_observer_attach(ring, NULL, &observer), 0);
  cr_result(ringbus_observer_seek(observer, RINGBUS_RESUME, 0), -EINVAL);
  cr_result(ringbus_observer_seek(observer, (enum ringbus_start)4, 0), -EINVAL);
  cr_result(
      ringbus_ring_create(test_path("x"), &(struct ringbus_create_options){.mode = 04755}, &none),
      -EINVAL);
  cr_result(
      ringbus_ring_create_anonymous(&(struct ringbus_create_options){.open_existing = true}, &none),
      -EINVAL);
  /* NULL handles may be left, so that error paths are simple */
  cr_result(ringbus_producer_detach(NULL), 0);
  cr_result(ringbus_consumer_detach(NULL), 0);
  cr_result(ringbus_observer_detach(NULL), 0);
  cr_result(ringbus_producer_attach(ring, NULL, &producer), 0);
  cr_result(ringbus_producer_tell(producer, NULL, NULL), 0);
  cr_result(ringbus_ring_participant(ring, 1, &participant), 0);
  cr_assert_str_not_empty(participant.name, "the program's name is the default");
}

static int publish_with_inherited(struct test_child *self, void *context) {
  void *data;
  (void)self;
  REQUIRE_RESULT(ringbus_producer_abort(context), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_claim(context, 1, 0, &data), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_commit(context, 1), -ECHILD);
  REQUIRE_RESULT(ringbus_producer_send(context, "x", 1, 0), -ECHILD);
  return 0;
}

/* As descriptors.c does for the inlined calls. */
Test(interface, hot_calls_in_a_forked_child_say_so) {
  ringbus_producer *producer = test_producer(test_ring("ring", NULL));
  void *data;
  cr_result(ringbus_producer_claim(producer, 1, 0, &data), 0);
  struct test_child child = test_child_start(publish_with_inherited, producer);
  cr_assert_eq(test_child_status(&child), 0);
  cr_result(ringbus_producer_commit(producer, 1), 0);
}

/* As hostile.c does for the inlined calls. */
Test(interface, a_word_that_contradicts_itself_is_bad_message) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  struct ringbus_ring_info info;
  struct ringbus_message message;
  uint64_t sound, word;
  size_t count;
  cr_result(ringbus_producer_send(test_producer(ring), "12345678", 8, 0), 0);
  cr_result(ringbus_ring_info(ring, &info), 0);
  const uint64_t at = info.file_bytes - info.capacity;
  test_read_file("ring", at, &sound, sizeof sound);
  const uint64_t wrong[] = {
      sound | RINGBUS_WORD_FLAG_TAG,                                 /* without room for one */
      sound | RINGBUS_WORD_UNUSED_MASK << RINGBUS_WORD_UNUSED_SHIFT, /* more unused than there is */
      ~sound};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    word = wrong[i];
    test_write_file("ring", at, &word, sizeof word);
    cr_result(ringbus_consumer_borrow(consumer, &message), -EBADMSG);
    cr_result(ringbus_consumer_borrow_batch(consumer, &message, 1, &count), -EBADMSG);
    cr_result(ringbus_consumer_recv(consumer, &word, sizeof word, NULL), -EBADMSG);
  }
  test_write_file("ring", at, &sound, sizeof sound);
  cr_result(ringbus_consumer_borrow(consumer, &message), 0);
}

/* Hot calls leave errno alone, also when they wake somebody. */
Test(interface, hot_calls_do_not_touch_errno) {
  ringbus_ring *ring = test_ring("ring", NULL);
  ringbus_producer *producer = test_producer(ring);
  ringbus_consumer *consumer = test_consumer(ring, NULL);
  ringbus_observer *observer = test_observer(ring);
  struct ringbus_message message;
  uint32_t waiters = 1;
  void *data;
  for (int round = 0; round < 3; round++) {
    test_write_file("ring", offsetof(struct ringbus_header, signals.data_waiters), &waiters, 4);
    test_write_file("ring", offsetof(struct ringbus_header, signals.room_waiters), &waiters, 4);
    errno = 4711;
    ringbus_producer_send(producer, test_content(0), 2000, 0);
    ringbus_producer_send(producer, test_content(0), 4000, 0);
    ringbus_producer_send(producer, test_content(0), 5000, 0);
    ringbus_producer_claim(producer, 5, 0, &data);
    ringbus_producer_commit(producer, 6);
    ringbus_producer_abort(producer);
    ringbus_consumer_borrow(consumer, &message);
    ringbus_consumer_still_valid(consumer);
    ringbus_consumer_release(consumer);
    ringbus_consumer_recv(consumer, NULL, 0, NULL);
    ringbus_observer_recv(observer, NULL, 0, NULL);
    cr_assert_eq(errno, 4711);
  }
}

/* The last failure's sentence is not left over from an earlier one. */
Test(interface, detail_is_about_the_last_call_that_failed) {
  ringbus_ring *ring = NULL;
  ringbus_producer *producer;
  char first[512];
  cr_result(ringbus_ring_open(test_path("none"), NULL, &ring), -ENOENT);
  strncpy(first, ringbus_error_detail(), sizeof first - 1);
  ring = test_ring("ring", NULL);
  cr_result(ringbus_ring_remove_group(ring, "none"), -ENOENT);
  cr_assert_str_neq(ringbus_error_detail(), first);
  cr_result(ringbus_ring_close(ring), 0);
  ring = test_open_read_only("ring");
  cr_result(ringbus_producer_attach(ring, NULL, &producer), -EPERM);
  cr_assert(strstr(ringbus_error_detail(), "read-only"), "%s", ringbus_error_detail());
}
