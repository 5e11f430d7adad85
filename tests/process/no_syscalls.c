/* SPDX-License-Identifier: MIT */
/* no_syscalls.c - the calls marked "hot" make no system call.
 *
 * Producer, consumer and observer are processes that attach and then ask the kernel to be killed on
 * any system call at all. Three million messages go from one to the others; the producer finds the
 * ring full on the way and the readers find it empty. Nobody can even exit: when all have said in a
 * shared page that they are through, they are killed.
 *
 * A check that cannot fail proves nothing: two controls, one that sleeps by itself and one that waits
 * for a message, must die of the filter. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ringbus/ringbus.h>

#define MESSAGES UINT64_C(3000000)
/* On one core each side has the core for some milliseconds while the other cannot move: a ring that
 * takes that much keeps such a machine quick as well. */
#define RING_BYTES (UINT64_C(16) << 20)
#define PATIENCE_S 100

enum role { PRODUCER, CONSUMER, OBSERVER, ROLES };

static struct shared {
  volatile uint32_t attached[ROLES]; /* under the filter from here on */
  volatile uint32_t begun;           /* the consumer waits until the ring has been found full */
  volatile uint32_t through[ROLES];
  volatile int64_t wrong[ROLES]; /* 0, or line * 1000 - result */
  volatile uint64_t messages[ROLES], full, empty;
} * shared;

static char ring_path[64];

static void spin(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void forbid_system_calls(void) {
  struct sock_filter kill_always = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  struct sock_fprog program = {1, &kill_always};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
    _exit(3);
}

/* Under the filter there is no way out but this. (Not declared noreturn: AddressSanitizer makes a
 * system call before such calls.) */
static void through(enum role role, int64_t wrong) {
  shared->wrong[role] = wrong;
  shared->through[role] = 1;
  while (shared->through[role])
    spin();
}

#define expect(role, condition, result)                                                            \
  do {                                                                                             \
    if (!(condition))                                                                              \
      through(role, __LINE__ *INT64_C(1000) - (result));                                           \
  } while (0)

/* Message number n: 8 to 71 bytes, all of them n's. */
static uint32_t length_of(uint64_t n) { return 8 + (uint32_t)(n * 13 % 64); }

static bool is_message(const struct ringbus_message *message, uint64_t n) {
  uint64_t words[9] = {0};
  if (message->length != length_of(n) || message->tag != (n % 7 == 0 ? 77 : 0))
    return false;
  memcpy(words, message->data, message->length);
  for (uint32_t i = 0; i < message->length / 8; i++)
    if (words[i] != n + i)
      return false;
  return true;
}

static void fill(void *data, uint64_t n) {
  uint64_t words[9];
  for (uint32_t i = 0; i < 9; i++)
    words[i] = n + i;
  memcpy(data, words, length_of(n));
}

static void produce(ringbus_ring *ring) {
  ringbus_producer *producer;
  uint64_t n = 0;
  if (ringbus_producer_attach(ring, NULL, &producer) != 0)
    _exit(2);
  forbid_system_calls();
  shared->attached[PRODUCER] = 1;
  while (n < MESSAGES) {
    char bytes[4][72];
    struct iovec batch[4];
    uint32_t tag = n % 7 == 0 ? 77 : 0;
    size_t sent = 0;
    void *data;
    int result;
    if (n % 7 == 1 && n + 4 <= MESSAGES) { /* the next four have no tag */
      for (uint64_t i = 0; i < 4; i++) {
        fill(bytes[i], n + i);
        batch[i] = (struct iovec){bytes[i], length_of(n + i)};
      }
      result = ringbus_producer_send_batch(producer, batch, 4, 0, n % 2 == 0, &sent);
    } else if (n % 3 == 0) {
      result = ringbus_producer_claim(producer, 72, tag, &data);
      if (result == 0 && n % 5 == 0) {
        expect(PRODUCER, ringbus_producer_abort(producer) == 0, 0);
        result = ringbus_producer_claim(producer, 72, tag, &data);
      }
      if (result == 0) {
        fill(data, n);
        result = ringbus_producer_commit(producer, length_of(n));
        sent = 1;
      }
    } else {
      fill(bytes[0], n);
      result = ringbus_producer_send(producer, bytes[0], length_of(n), tag);
      sent = result == 0;
    }
    n += sent;
    shared->messages[PRODUCER] = n;
    if (result == -EAGAIN) {
      shared->full++;
      shared->begun = 1;
      spin();
    } else {
      expect(PRODUCER, result == 0, result);
    }
  }
  shared->begun = 1;
  through(PRODUCER, 0);
}

static void consume(ringbus_ring *ring) {
  static const struct ringbus_consumer_options options = {.group = "files"};
  ringbus_consumer *consumer;
  struct ringbus_message messages[32];
  char bytes[72];
  uint64_t n = 0;
  size_t count;
  if (ringbus_consumer_attach(ring, &options, &consumer) != 0)
    _exit(2);
  forbid_system_calls();
  expect(CONSUMER, ringbus_consumer_borrow(consumer, messages) == -EAGAIN, 0);
  expect(CONSUMER, ringbus_consumer_recv(consumer, bytes, sizeof bytes, NULL) == -EAGAIN, 0);
  shared->empty = 1;
  shared->attached[CONSUMER] = 1;
  while (!shared->begun)
    spin();
  while (n < MESSAGES) {
    int result;
    if (n % 3 == 0) {
      result = ringbus_consumer_recv(consumer, bytes, sizeof bytes, messages);
      count = result == 0;
    } else if (n % 3 == 1) {
      result = ringbus_consumer_borrow(consumer, messages);
      count = result == 0;
    } else {
      result = ringbus_consumer_borrow_batch(consumer, messages, 32, &count);
    }
    for (size_t i = 0; i < count; i++)
      expect(CONSUMER, is_message(&messages[i], n++), 0);
    shared->messages[CONSUMER] = n;
    if (result == -EAGAIN) {
      shared->empty++;
      spin();
      continue;
    }
    expect(CONSUMER, result == 0, result);
    expect(CONSUMER, ringbus_consumer_still_valid(consumer) == 0, 0);
    expect(CONSUMER, ringbus_consumer_release(consumer) == 0, 0);
  }
  through(CONSUMER, 0);
}

static void watch(ringbus_ring *ring) {
  ringbus_observer *observer;
  struct ringbus_message message;
  char bytes[72];
  uint64_t n = 0, lost = 0;
  if (ringbus_observer_attach(ring, NULL, &observer) != 0)
    _exit(2);
  forbid_system_calls();
  shared->attached[OBSERVER] = 1;
  while (n < MESSAGES) {
    int result = ringbus_observer_recv(observer, bytes, sizeof bytes, &message);
    if (result == 0) {
      expect(OBSERVER, is_message(&message, n), 0);
      n++;
    } else if (result == -EOVERFLOW) {
      uint64_t lost_now;
      ringbus_observer_lost(observer, &lost_now, NULL);
      expect(OBSERVER, lost_now > lost, 0);
      n += lost_now - lost;
      lost = lost_now;
    } else {
      expect(OBSERVER, result == -EAGAIN, result);
      spin();
    }
    shared->messages[OBSERVER] = n;
  }
  through(OBSERVER, 0);
}

static pid_t start(void (*run)(ringbus_ring *)) {
  pid_t child = fork();
  if (child == 0) {
    ringbus_ring *ring;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ringbus_ring_open(ring_path, NULL, &ring) != 0)
      _exit(4);
    run(ring);
    _exit(0);
  }
  return child;
}

static void sleep_by_itself(ringbus_ring *ring) {
  (void)ring;
  forbid_system_calls();
  nanosleep(&(struct timespec){0, 1000}, NULL);
}

static void wait_for_a_message(ringbus_ring *ring) {
  static const struct ringbus_consumer_options options = {.wait = RINGBUS_WAIT_BLOCK};
  ringbus_consumer *consumer;
  if (ringbus_consumer_attach(ring, &options, &consumer) != 0)
    _exit(2);
  forbid_system_calls();
  ringbus_consumer_wait(consumer, 1000000);
}

static bool control_dies(const char *what, void (*run)(ringbus_ring *)) {
  int status;
  pid_t child = start(run);
  waitpid(child, &status, 0);
  bool fine = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
  printf("%s: a control that %s %s\n", fine ? "ok" : "bad", what,
         fine ? "dies of the filter" : "does not die of the filter");
  return fine;
}

static bool settled(const volatile uint32_t *flags, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!flags[i])
      return false;
  return true;
}

/* Wait until all have raised their flag, one has died, or patience is over. */
static bool wait_for(const volatile uint32_t *flags, size_t count, const pid_t *children,
                     size_t child_count) {
  for (int i = 0; i < PATIENCE_S * 1000; i++) {
    if (settled(flags, count))
      return true;
    for (size_t c = 0; c < child_count; c++) {
      siginfo_t event = {0};
      if (waitid(P_PID, (id_t)children[c], &event, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          event.si_pid != 0)
        return false;
    }
    usleep(1000);
  }
  return false;
}

static bool messages_pass(void) {
  static void (*const run[ROLES])(ringbus_ring *) = {produce, consume, watch};
  static const char *const names[ROLES] = {"producer", "consumer", "observer"};
  pid_t children[ROLES];
  size_t started = 0;
  /* The readers first: they are to find the ring empty, and to see everything. */
  bool fine = true;
  for (int role = OBSERVER; role >= PRODUCER && fine; role--) {
    children[started++] = start(run[role]);
    fine = wait_for(&shared->attached[role], 1, children, started);
  }
  fine = fine && wait_for(shared->through, ROLES, children, started);
  for (size_t i = 0; i < started; i++) {
    int status, role = OBSERVER - (int)i;
    kill(children[i], SIGKILL);
    waitpid(children[i], &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || shared->wrong[role] ||
        shared->messages[role] != MESSAGES) {
      fine = false;
      printf("bad: %s: %llu messages, wait status %#x, line and result %lld\n", names[role],
             (unsigned long long)shared->messages[role], (unsigned)status,
             (long long)shared->wrong[role]);
    }
  }
  if (!shared->full || !shared->empty) {
    printf("bad: the ring was found full %llu times and empty %llu times\n",
           (unsigned long long)shared->full, (unsigned long long)shared->empty);
    fine = false;
  }
  printf("%s: %llu messages without a system call\n", fine ? "ok" : "bad",
         (unsigned long long)shared->messages[CONSUMER]);
  return fine;
}

int main(void) {
  struct ringbus_create_options options = {.capacity = RING_BYTES};
  ringbus_ring *ring;
  char directory[] = "/dev/shm/ringbus-no-syscalls-XXXXXX";
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGPIPE, SIG_IGN); /* whoever reads along may go; the files are removed all the same */
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || !mkdtemp(directory)) {
    perror("temporary directory");
    return 2;
  }
  snprintf(ring_path, sizeof ring_path, "%s/ring", directory);
  int result = ringbus_ring_create(ring_path, &options, &ring);
  if (result != 0) {
    printf("bad: cannot make a ring: %s: %s\n", ringbus_strerror(result), ringbus_error_detail());
    rmdir(directory);
    return 2;
  }
  ringbus_ring_close(ring);
  bool fine = messages_pass();
  fine = control_dies("sleeps", sleep_by_itself) && fine;
  /* The last one: whoever dies asleep costs the next publisher one call. */
  fine = control_dies("waits for a message", wait_for_a_message) && fine;
  unlink(ring_path);
  rmdir(directory);
  return fine ? 0 : 1;
}
