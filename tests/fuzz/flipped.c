/* SPDX-License-Identifier: MIT */
/* flipped.c - a thread that flips shared bytes while everybody else is at work: producers, consumers of each
 * kind, an observer, and somebody who looks and repairs, each a thread of its own. What calls.c shows between
 * two calls is shown here within one: that no word is loaded twice and believed once.
 *
 * Built with AddressSanitizer. Every so often the ring gets its sound beginning back, in one more reckless
 * write, or nothing but errors would be seen. */
#include "fuzz.h"

#include <pthread.h>

enum { CAPACITY = 4096, MOST_THREADS = 16, STUCK_SECONDS = 120 };

static ringbus_ring *ring;
static struct ringbus_create_options layout;
static int stopping;

/* A thread and what it does again and again. */
struct role {
  const char *name;
  void (*work)(struct role *role);
  struct ringbus_consumer_options options; /* of a consumer */
  void *handle;
  uint64_t random, rounds, successes;
  pthread_t thread;
};

static uint64_t below(struct role *role, uint64_t limit) {
  return test_random(&role->random) % limit;
}

static bool done(struct role *role, int result) {
  if (result == 0)
    role->successes++;
  return result == 0;
}

/* ---------------------------------------------------------------- who flips */

/* Where one of the consumers reads, for its words to be hit. It may be changing, or of one that has left. */
static uint64_t reading_now[4];
static uint64_t reading_at(uint64_t reader) {
  return __atomic_load_n(&reading_now[reader], __ATOMIC_RELAXED);
}

static void flip(struct role *role) {
  struct ringbus_header *header = ring->header;
  static unsigned char *sound;
  unsigned char *bytes = (unsigned char *)header;
  const size_t first = offsetof(struct ringbus_header, signals);
  const size_t tables = ring->geometry.groups_offset +
                        ring->geometry.group_count * sizeof(struct ringbus_group) - first;
  uint64_t tail = __atomic_load_n(&header->tail.position, __ATOMIC_RELAXED) & ~UINT64_C(63);
  uint64_t position = below(role, 4) ? reading_at(below(role, 4)) : tail - below(role, 64) * 64;
  uint64_t bits;
  volatile AO_t *word = ringbus_word_at(&ring->view, position);
  const uint64_t word_bits = (UINT64_C(1) << ring->view.state_shift) - 1;
  if (role->rounds == 0) {
    sound = realloc(sound, tables);
    REQUIRE(sound);
    memcpy(sound, bytes + first, tables);
  }
  switch (below(role, 8)) {
  case 0:
    bytes[first + below(role, tables)] ^= (unsigned char)(1u << below(role, 8));
    break;
  case 1:
    ring->view.data[below(role, CAPACITY)] = (char)below(role, 256);
    break;
  case 2: /* a length that is being read, back and forth */
    bits = below(role, word_bits + 1);
    for (int i = 0; i < 400; i++)
      __atomic_fetch_xor(word, bits, __ATOMIC_RELAXED);
    break;
  case 3:
    __atomic_store_n(word, below(role, word_bits + 1) | ringbus_word_head(&ring->view, position, 2),
                     __ATOMIC_RELAXED);
    break;
  case 4: /* positions that are nearly right */
    __atomic_fetch_add(&ring_group(ring, (uint32_t)below(role, 4))->cursor, below(role, 130) - 65,
                       __ATOMIC_RELAXED);
    break;
  case 5:
    __atomic_fetch_add(&header->floor.position, 64 * below(role, 5) - 128, __ATOMIC_RELAXED);
    break;
  default:
    __atomic_store_n(&header->signals.state, 0, __ATOMIC_RELAXED);
  }
  if (role->rounds % 2000 == 1999)
    memcpy(bytes + first, sound, tables);
  if (role->rounds % 64 == 0)
    test_sleep_us(100); /* the others have to get on */
  role->successes++;
}

/* ---------------------------------------------------------------- the others */

static void produce(struct role *role) {
  static const char bytes[700];
  ringbus_producer *producer = role->handle;
  struct iovec batch[3] = {
      {(void *)(uintptr_t)bytes, 5}, {NULL, 0}, {(void *)(uintptr_t)bytes, 333}};
  size_t sent;
  void *data;
  if (!producer) {
    if (done(role,
             ANSWERS(ringbus_producer_attach(ring, NULL, &producer), EBUSY, ENOSPC, EPIPE, ESTALE)))
      role->handle = producer;
    return;
  }
  done(role,
       ANSWERS(ringbus_producer_send(producer, bytes, below(role, 700), (uint32_t)below(role, 2)),
               EAGAIN, EMSGSIZE, EPIPE, ESTALE));
  ANSWERS(ringbus_producer_send_batch(producer, batch, 3, 0, below(role, 2), &sent), EAGAIN,
          EMSGSIZE, EPIPE, ESTALE);
  if (ANSWERS(ringbus_producer_claim(producer, 500, 1, &data), EAGAIN, EMSGSIZE, EPIPE, ESTALE) ==
      0) {
    uint64_t at = (uint64_t)((char *)data - ring->view.data);
    REQUIRE(at <= CAPACITY + ring->view.in_band);
    memset(data, 0x77, 500);
    ANSWERS(ringbus_producer_commit(producer, below(role, 501)), EINVAL, EMSGSIZE, EPIPE, ESTALE);
  }
  ANSWERS(ringbus_producer_wait(producer, 600, 0, 100000), ETIMEDOUT, EPIPE, ESTALE);
  if (below(role, 50) == 0) {
    ANSWERS(ringbus_producer_detach(producer), 0);
    role->handle = NULL;
  }
}

static void read_all(const struct ringbus_message *message) {
  volatile unsigned char sum = 0;
  expect_inside(&ring->view, message);
  for (uint32_t i = 0; i < message->length; i++)
    sum = (unsigned char)(sum + ((const volatile unsigned char *)message->data)[i]);
}

static void consume(struct role *role) {
  ringbus_consumer *consumer = role->handle;
  struct ringbus_message message, messages[8];
  char buffer[600];
  size_t got = 0;
  uint64_t position, count;
  int fd;
  if (!consumer) {
    if (done(role, ANSWERS(ringbus_consumer_attach(ring, &role->options, &consumer), EBUSY, ENOSPC,
                           EINVAL, ESTALE)))
      role->handle = consumer;
    return;
  }
  for (int i = 0; i < 4; i++) {
    if (ringbus_consumer_tell(consumer, &position, &count) == 0)
      __atomic_store_n(&reading_now[role->random % 4], position, __ATOMIC_RELAXED);
    if (done(role, ANSWERS(ringbus_consumer_borrow(consumer, &message), EAGAIN, EPIPE, EOVERFLOW,
                           EBUSY, ESTALE)))
      read_all(&message);
    if (done(role, ANSWERS(ringbus_consumer_recv(consumer, buffer, sizeof buffer, &message), EAGAIN,
                           EMSGSIZE, EPIPE, EOVERFLOW, EBUSY, ESTALE)))
      REQUIRE(message.length <= sizeof buffer);
  }
  ANSWERS(ringbus_consumer_borrow_batch(consumer, messages, 8, &got), EAGAIN, EPIPE, EOVERFLOW,
          EBUSY, ESTALE);
  REQUIRE(got <= 8);
  while (got > 0)
    read_all(&messages[--got]);
  ANSWERS(ringbus_consumer_still_valid(consumer), EOVERFLOW, ESTALE);
  ANSWERS(ringbus_consumer_release(consumer), ESTALE);
  ANSWERS(ringbus_consumer_tell(consumer, &position, &count), 0);
  if (below(role, 4) == 0)
    ANSWERS(ringbus_consumer_seek(consumer, (enum ringbus_start)(1 + below(role, 3)), position),
            EINVAL, EOVERFLOW, ESTALE);
  ANSWERS(ringbus_consumer_wait(consumer, 100000), ETIMEDOUT, EPIPE, ESTALE);
  if (below(role, 100) == 0) {
    ANSWERS(ringbus_consumer_event_fd(consumer, &fd), EAGAIN);
    ANSWERS(ringbus_consumer_event_arm(consumer), EPIPE, ESTALE);
  }
  if (below(role, 50) == 0) {
    ANSWERS(ringbus_consumer_detach(consumer), 0);
    role->handle = NULL;
  }
}

static void observe(struct role *role) {
  ringbus_observer *observer = role->handle;
  struct ringbus_message message;
  char buffer[600];
  if (!observer) {
    if (done(role, ANSWERS(ringbus_observer_attach(ring, NULL, &observer), ESTALE)))
      role->handle = observer;
    return;
  }
  for (int i = 0; i < 20; i++)
    if (done(role, ANSWERS(ringbus_observer_recv(observer, buffer, sizeof buffer, &message), EAGAIN,
                           EMSGSIZE, EPIPE, EOVERFLOW, ESTALE)))
      REQUIRE(message.length <= sizeof buffer);
  ANSWERS(ringbus_observer_seek(observer, (enum ringbus_start)(1 + below(role, 2)), 0), EINVAL,
          EOVERFLOW, ESTALE);
  ANSWERS(ringbus_observer_wait(observer, 0), ETIMEDOUT, EPIPE, ESTALE);
}

static void look(struct role *role) {
  struct ringbus_ring_info info;
  struct ringbus_participant participant;
  struct ringbus_group_info group;
  struct ringbus_blame blame;
  uint64_t recovered;
  done(role, ANSWERS(ringbus_ring_info(ring, &info), 0));
  for (uint32_t slot = 1; slot <= info.max_participants; slot++)
    if (ANSWERS(ringbus_ring_participant(ring, slot, &participant), ENOENT) == 0)
      REQUIRE(!participant.name[63] && !participant.group[63]);
  for (uint32_t index = 0; index < info.max_groups; index++)
    if (ANSWERS(ringbus_ring_group(ring, index, &group), ENOENT) == 0)
      REQUIRE(!group.name[63]);
  ANSWERS(ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame), ENOENT);
  ANSWERS(ringbus_ring_blame(ring, RINGBUS_PRODUCER, &blame), ENOENT);
  ANSWERS(ringbus_ring_repair(ring, &recovered), EBUSY, ESTALE);
  ANSWERS(ringbus_ring_flush(ring), EAGAIN, EBUSY, ESTALE);
  if (below(role, 20) == 0)
    ANSWERS(ringbus_ring_remove_group(ring, "gating"), ENOENT, EBUSY, ESTALE);
  test_sleep_us(1000);
}

/* ---------------------------------------------------------------- all together */

static void *work(void *context) {
  struct role *role = context;
  while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
    role->work(role);
    __atomic_store_n(&role->rounds, role->rounds + 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

/* For so many milliseconds; a thread that gets nowhere for minutes has met a call without an end. */
static void run(struct role *roles, size_t count, uint64_t milliseconds) {
  uint64_t before[MOST_THREADS] = {0}, waited = 0;
  stopping = 0;
  for (size_t i = 0; i < count; i++)
    REQUIRE(pthread_create(&roles[i].thread, NULL, work, &roles[i]) == 0);
  for (uint64_t passed = 0; passed < milliseconds; passed += 10) {
    bool all_moved = true;
    test_sleep_us(10000);
    for (size_t i = 0; i < count; i++) {
      bool moved = __atomic_load_n(&roles[i].rounds, __ATOMIC_RELAXED) != before[i];
      all_moved = all_moved && moved;
      if (!moved && waited > STUCK_SECONDS * 100) {
        fprintf(stderr, "%s is in a call without an end\n", roles[i].name);
        abort();
      }
    }
    waited = all_moved ? 0 : waited + 1;
    for (size_t i = 0; all_moved && i < count; i++)
      before[i] = roles[i].rounds;
  }
  __atomic_store_n(&stopping, 1, __ATOMIC_RELAXED);
  for (size_t i = 0; i < count; i++)
    pthread_join(roles[i].thread, NULL);
}

static void with_layout(bool many, bool overwrite, uint64_t start, uint64_t milliseconds) {
  struct role roles[] = {
      {.name = "flipper", .work = flip},
      {.name = "producer", .work = produce},
      {.name = "gating", .work = consume, .options = {.group = "gating"}},
      {.name = "lapped", .work = consume, .options = {.policy = RINGBUS_LAPPED}},
      {.name = "limited", .work = consume, .options = {.group = "limited", .max_lag = 1000}},
      {.name = "observer", .work = observe},
      {.name = "looker", .work = look},
      {.name = "member", .work = consume, .options = {.group = "shared", .shared = true}},
      {.name = "another member", .work = consume, .options = {.group = "shared", .shared = true}},
      {.name = "another producer", .work = produce},
  };
  size_t count = 0;
  for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
    if (!(overwrite && roles[i].options.shared) &&
        (many || strcmp(roles[i].name, "another producer") != 0))
      roles[count++] = roles[i];
  layout = (struct ringbus_create_options){.capacity = CAPACITY,
                                           .max_participants = 12,
                                           .max_groups = 5,
                                           .many_producers = many,
                                           .overwrite = overwrite};
  ring = test_ring_starting_at("ring", &layout, start);
  for (size_t i = 0; i < count; i++) /* in one thread, so that there is something to flip */
    if (roles[i].work != flip)
      roles[i].work(&roles[i]);
  for (size_t i = 0; i < count; i++)
    roles[i].random = i + 1;
  run(roles, count, milliseconds);
  printf("%s producers%s:", many ? "many" : "single", overwrite ? ", overwriting" : "");
  for (size_t i = 0; i < count; i++) {
    printf(" %s %llu", roles[i].name, (unsigned long long)roles[i].successes);
    REQUIRE(roles[i].successes > 0);
    if (roles[i].work == produce)
      ringbus_producer_detach(roles[i].handle);
    else if (roles[i].work == consume)
      ringbus_consumer_detach(roles[i].handle);
    else if (roles[i].work == observe)
      ringbus_observer_detach(roles[i].handle);
  }
  puts("");
  REQUIRE_RESULT(ringbus_ring_close(ring), 0);
  REQUIRE(unlink(test_path("ring")) == 0);
}

int main(int argc, char **argv) {
  uint64_t milliseconds = argc > 1 ? 1000 * strtoull(argv[1], NULL, 10) : 1000;
  with_layout(false, false, UINT64_MAX - 1023, milliseconds);
  with_layout(true, false, 0, milliseconds);
  with_layout(false, true, (UINT64_C(1) << 63) - 1024, milliseconds);
  with_layout(true, true, (UINT64_C(1) << 32) - 1024, milliseconds);
  printf("figure: a thread that flips bytes | %llu s in each of 4 layouts, beside up to 9 roles\n",
         (unsigned long long)(milliseconds / 1000));
  return 0;
}
