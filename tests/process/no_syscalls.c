/* SPDX-License-Identifier: MIT */
/* no_syscalls.c - the calls marked "hot" make no system call, whatever the ring and its topology.
 *
 * Producers, consumers, members of shared groups and observers are processes that attach and then ask the
 * kernel to be killed on any system call at all. Millions of messages go from one to the others; producers
 * find the ring full on the way (or lap everybody) and readers find it empty. Nobody can even exit: when
 * all have said in a shared page that they are through, they are killed.
 *
 * The one exception that ringbus.h names is kept out of the way: whoever is blocked by a claim, or has
 * nothing to take, asks the kernel after 1024 polls in a row. So here nobody polls again before those who
 * were in a call have left it, and something has been published since.
 *
 * A check that cannot fail proves nothing: three controls, one that sleeps by itself, one that waits for a
 * message, and one that polls at an open claim as long as it takes, must die of the filter. */
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

/* On one core each side has the core for some milliseconds while the other cannot move: a ring that
 * takes that much keeps such a machine quick as well. */
#define RING_BYTES (UINT64_C(16) << 20)
#define PATIENCE_S 200
#define MOST_ROLES 6
#define PRODUCERS 2
#define MOST_MESSAGES 1000000 /* of each producer */

enum kind { PRODUCER, TWO_PRODUCERS, CONSUMER, LAPPED, MEMBER, OBSERVER };
struct role {
  enum kind kind;
  const char *name; /* of a reader: its group */
};

/* Each message of a topology goes to every group and observer. */
static const struct topology {
  const char *name;
  struct ringbus_create_options ring;
  uint64_t messages;             /* of each producer */
  struct role roles[MOST_ROLES]; /* the producers first */
} topologies[] = {
    {"one producer",
     {.wake = RINGBUS_WAKE_BY_MEMBARRIER},
     MOST_MESSAGES,
     {{PRODUCER, "producer"}, {CONSUMER, "files"}, {OBSERVER, "observer"}}},
    {"one producer, several groups, woken by fence",
     {.wake = RINGBUS_WAKE_BY_FENCE},
     MOST_MESSAGES / 2,
     {{PRODUCER, "producer"}, {CONSUMER, "files"}, {CONSUMER, "screen"}, {LAPPED, "lapped"}}},
    {"one producer, a shared group, never woken",
     {.wake = RINGBUS_WAKE_NEVER},
     MOST_MESSAGES / 2,
     {{PRODUCER, "producer"}, {MEMBER, "workers"}, {MEMBER, "workers"}}},
    {"one producer that overwrites",
     {.wake = RINGBUS_WAKE_BY_FENCE, .overwrite = true},
     MOST_MESSAGES,
     {{PRODUCER, "producer"}, {LAPPED, "lapped"}, {OBSERVER, "observer"}}},
    {"many producers, several groups",
     {.wake = RINGBUS_WAKE_BY_MEMBARRIER, .many_producers = true},
     MOST_MESSAGES / 2,
     {{PRODUCER, "producer"},
      {TWO_PRODUCERS, "two producers"},
      {CONSUMER, "files"},
      {LAPPED, "lapped"},
      {OBSERVER, "observer"}}},
    {"many producers, a shared group and another, woken by fence",
     {.wake = RINGBUS_WAKE_BY_FENCE, .many_producers = true},
     MOST_MESSAGES / 2,
     {{PRODUCER, "producer"},
      {TWO_PRODUCERS, "two producers"},
      {CONSUMER, "files"},
      {MEMBER, "workers"},
      {MEMBER, "workers"}}},
    {"many producers that overwrite, never woken",
     {.wake = RINGBUS_WAKE_NEVER, .many_producers = true, .overwrite = true},
     MOST_MESSAGES / 2,
     {{PRODUCER, "producer"},
      {TWO_PRODUCERS, "two producers"},
      {LAPPED, "lapped"},
      {OBSERVER, "observer"}}},
};

static const struct topology *topology;
static unsigned producers, roles;

static struct shared {
  volatile uint32_t attached[MOST_ROLES]; /* under the filter from here on */
  volatile uint32_t begun; /* readers wait until the ring has been found full, or was lapped */
  volatile uint32_t through[MOST_ROLES];
  volatile int64_t wrong[MOST_ROLES]; /* 0, or line * 1000 - result */
  volatile uint64_t messages[MOST_ROLES], full, empty, lapped;
  volatile uint32_t calls[PRODUCERS]; /* odd: in a call, or with a claim open */
  uint64_t worked;                    /* by all members together */
  unsigned char work[PRODUCERS][MOST_MESSAGES];
} * shared;

static char ring_path[64];
static unsigned self; /* the role that this process has */

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
static void through(int64_t wrong) {
  shared->wrong[self] = wrong;
  shared->through[self] = 1;
  while (shared->through[self])
    spin();
}

#define expect(condition, result)                                                                  \
  do {                                                                                             \
    if (!(condition))                                                                              \
      through(__LINE__ *INT64_C(1000) - (result));                                                 \
  } while (0)

static void under_the_filter(void) {
  forbid_system_calls();
  shared->attached[self] = 1;
}

/* ---------------------------------------------------------------- messages */

/* Message number n of a producer: 8 to 71 bytes, all of them n's. */
static uint32_t length_of(uint64_t n) { return 8 + (uint32_t)(n * 13 % 64); }
static uint32_t tag_of(uint64_t n) { return n % 7 == 0 ? 77 : 0; }
static uint64_t begin_of(uint64_t producer, uint64_t n) { return producer << 48 | n; }

static bool is_message(const struct ringbus_message *message, uint64_t *producer, uint64_t *n) {
  uint64_t words[9] = {0};
  if (message->length < 8 || message->length > sizeof words)
    return false;
  memcpy(words, message->data, message->length);
  *producer = words[0] >> 48;
  *n = words[0] & ((UINT64_C(1) << 48) - 1);
  if (*producer >= producers || *n >= topology->messages || message->length != length_of(*n) ||
      message->tag != tag_of(*n))
    return false;
  for (uint32_t i = 0; i < message->length / 8; i++)
    if (words[i] != words[0] + i)
      return false;
  return true;
}

static void fill(void *data, uint64_t producer, uint64_t n) {
  uint64_t words[9];
  for (uint32_t i = 0; i < 9; i++)
    words[i] = begin_of(producer, n) + i;
  memcpy(data, words, length_of(n));
}

static uint64_t published(void) {
  uint64_t all = 0;
  for (unsigned p = 0; p < producers; p++)
    all += shared->messages[p];
  return all;
}

/* Whoever was in a call has left it. */
static void let_producers_leave(void) {
  for (unsigned p = 0; p < producers; p++) {
    uint32_t call = shared->calls[p];
    while ((call & 1) && shared->calls[p] == call)
      spin();
  }
}

/* ---------------------------------------------------------------- publishing */

/* One message or several, in one of the ways there are. Returns how many, or why not. */
static int publish(ringbus_producer *producer, uint64_t n) {
  char bytes[4][72];
  struct iovec batch[4];
  size_t sent = 0;
  void *data;
  int result;
  if (n % 7 == 1 && n + 4 <= topology->messages) { /* the next four have no tag */
    for (uint64_t i = 0; i < 4; i++) {
      fill(bytes[i], self, n + i);
      batch[i] = (struct iovec){bytes[i], length_of(n + i)};
    }
    result = ringbus_producer_send_batch(producer, batch, 4, 0, n % 2 == 0, &sent);
    return sent ? (int)sent : result;
  }
  if (n % 3) {
    fill(bytes[0], self, n);
    result = ringbus_producer_send(producer, bytes[0], length_of(n), tag_of(n));
    return result == 0 ? 1 : result;
  }
  result = ringbus_producer_claim(producer, n % 2 ? 72 : 300, tag_of(n), &data);
  if (result == 0 && n % 5 == 0) {
    expect(ringbus_producer_abort(producer) == 0, 0);
    result = ringbus_producer_claim(producer, 72, tag_of(n), &data);
  }
  if (result != 0)
    return result;
  fill(data, self, n);
  result = ringbus_producer_commit(producer, length_of(n));
  return result == 0 ? 1 : result;
}

static void produce(ringbus_ring *ring) {
  ringbus_producer *handles[2];
  unsigned count = topology->roles[self].kind == TWO_PRODUCERS ? 2 : 1;
  for (unsigned i = 0; i < count; i++)
    if (ringbus_producer_attach(ring, NULL, &handles[i]) != 0)
      _exit(2);
  under_the_filter();
  for (uint64_t n = 0; n < topology->messages;) {
    shared->calls[self]++;
    int sent = publish(handles[n % count], n);
    shared->calls[self]++;
    if (sent == -EAGAIN) {
      shared->full++;
      shared->begun = 1;
      let_producers_leave();
      spin();
      continue;
    }
    expect(sent > 0, sent);
    n += (uint64_t)sent;
    shared->messages[self] = n;
    if (topology->ring.overwrite && n == topology->messages / 2)
      shared->begun = 1; /* that is more than a lap */
  }
  shared->begun = 1;
  through(0);
}

/* ---------------------------------------------------------------- reading */

static uint64_t all_messages(void) { return producers * topology->messages; }

static void in_order(const struct ringbus_message *message, uint64_t next[PRODUCERS],
                     bool gapless) {
  uint64_t producer = 0, n = 0;
  expect(is_message(message, &producer, &n), 0);
  expect(gapless ? n == next[producer] : n >= next[producer], 0);
  next[producer] = n + 1;
}

/* After an -EAGAIN; before: what had been published when the call was made. */
static void wait_for_more(uint64_t before, const volatile uint64_t *done) {
  shared->empty++;
  while (published() == before && *done < all_messages())
    spin();
  let_producers_leave();
}

/* One message or several, borrowed or copied, and released. Returns how many, or why not. */
static int read_some(ringbus_consumer *consumer, uint64_t n, struct ringbus_message *messages,
                     char bytes[72]) {
  size_t count = 1;
  int result;
  if (n % 3 == 0)
    result = ringbus_consumer_recv(consumer, bytes, 72, messages);
  else if (n % 3 == 1)
    result = ringbus_consumer_borrow(consumer, messages);
  else
    result = ringbus_consumer_borrow_batch(consumer, messages, 32, &count);
  return result == 0 ? (int)count : result;
}

static ringbus_consumer *attach(ringbus_ring *ring) {
  const struct role *role = &topology->roles[self];
  struct ringbus_consumer_options options = {.group = role->name,
                                             .policy = role->kind == LAPPED ? RINGBUS_LAPPED
                                                                            : RINGBUS_GATE,
                                             .shared = role->kind == MEMBER};
  struct ringbus_message message;
  ringbus_consumer *consumer;
  char bytes[72];
  if (ringbus_consumer_attach(ring, &options, &consumer) != 0)
    _exit(2);
  under_the_filter();
  expect(ringbus_consumer_borrow(consumer, &message) == -EAGAIN, 0);
  expect(ringbus_consumer_recv(consumer, bytes, sizeof bytes, NULL) == -EAGAIN, 0);
  shared->empty = 1;
  while (!shared->begun)
    spin();
  return consumer;
}

static void consume(ringbus_ring *ring) {
  ringbus_consumer *consumer = attach(ring);
  struct ringbus_message messages[32];
  char bytes[72];
  uint64_t next[PRODUCERS] = {0}, n = 0;
  while (n < all_messages()) {
    uint64_t before = published();
    int count = read_some(consumer, n, messages, bytes);
    if (count == -EAGAIN) {
      wait_for_more(before, &shared->messages[self]);
      continue;
    }
    expect(count > 0, count);
    for (int i = 0; i < count; i++)
      in_order(&messages[i], next, true);
    shared->messages[self] = n += (uint64_t)count;
    expect(ringbus_consumer_still_valid(consumer) == 0, 0);
    expect(ringbus_consumer_release(consumer) == 0, 0);
  }
  through(0);
}

/* A group that is not waited for. What it borrowed may be gone before it was looked at. */
static void consume_lapped(ringbus_ring *ring) {
  ringbus_consumer *consumer = attach(ring);
  struct ringbus_message messages[32];
  char bytes[72], copies[32][72];
  uint64_t next[PRODUCERS] = {0}, got = 0, lost = 0;
  while (got + lost < all_messages()) {
    uint64_t before = published();
    int count = read_some(consumer, got, messages, bytes);
    if (count > 0) {
      for (int i = 0; i < count; i++)
        if (messages[i].data != bytes && messages[i].length <= 72)
          messages[i].data = memcpy(copies[i], messages[i].data, messages[i].length);
      bool valid = ringbus_consumer_still_valid(consumer) == 0 || messages[0].data == bytes;
      for (int i = 0; valid && i < count; i++)
        in_order(&messages[i], next, false);
      got += (uint64_t)count;
      expect(ringbus_consumer_release(consumer) == 0, 0);
    } else if (count == -EAGAIN) {
      wait_for_more(before, &shared->messages[self]);
    } else {
      expect(count == -EOVERFLOW, count);
      shared->lapped++;
    }
    expect(ringbus_consumer_lost(consumer, &lost, NULL) == 0, 0);
    shared->messages[self] = got + lost;
  }
  through(0);
}

static void work(ringbus_ring *ring) {
  ringbus_consumer *consumer = attach(ring);
  struct ringbus_message messages[32];
  char bytes[72];
  uint64_t n = 0;
  volatile uint64_t *worked = &shared->worked;
  while (*worked < all_messages()) {
    uint64_t before = published(), producer = 0, number = 0;
    int count = read_some(consumer, n, messages, bytes);
    if (count == -EAGAIN) {
      wait_for_more(before, worked);
      continue;
    }
    expect(count > 0, count);
    for (int i = 0; i < count; i++) {
      expect(is_message(&messages[i], &producer, &number), 0);
      expect(!messages[i].redelivered, 0);
      expect(__atomic_exchange_n(&shared->work[producer][number], 1, __ATOMIC_RELAXED) == 0, 0);
    }
    n += (uint64_t)count;
    expect(ringbus_consumer_release(consumer) == 0, 0);
    __atomic_fetch_add(&shared->worked, (uint64_t)count, __ATOMIC_RELAXED);
  }
  shared->messages[self] = all_messages();
  through(0);
}

static void watch(ringbus_ring *ring) {
  ringbus_observer *observer;
  struct ringbus_message message;
  char bytes[72];
  uint64_t next[PRODUCERS] = {0}, got = 0, lost = 0;
  if (ringbus_observer_attach(ring, NULL, &observer) != 0)
    _exit(2);
  under_the_filter();
  while (got + lost < all_messages()) {
    uint64_t before = published();
    int result = ringbus_observer_recv(observer, bytes, sizeof bytes, &message);
    if (result == 0) {
      in_order(&message, next, false);
      got++;
    } else if (result == -EOVERFLOW) {
      expect(ringbus_observer_lost(observer, &lost, NULL) == 0, 0);
    } else {
      expect(result == -EAGAIN, result);
      wait_for_more(before, &shared->messages[self]);
    }
    shared->messages[self] = got + lost;
  }
  through(0);
}

/* ---------------------------------------------------------------- the processes */

static void run_role(ringbus_ring *ring) {
  static void (*const run[])(ringbus_ring *) = {produce,        produce, consume,
                                                consume_lapped, work,    watch};
  run[topology->roles[self].kind](ring);
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

static void poll_at_a_claim(ringbus_ring *ring) {
  static const struct ringbus_consumer_options options = {.group = "polls"};
  ringbus_producer *producer;
  ringbus_consumer *consumer;
  struct ringbus_message message;
  void *data;
  pid_t child = fork(); /* the claim of another process: one's own are known without the kernel */
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ringbus_ring_open(ring_path, NULL, &ring) != 0 ||
        ringbus_producer_attach(ring, NULL, &producer) != 0 ||
        ringbus_producer_claim(producer, 8, 0, &data) != 0)
      _exit(2);
    shared->attached[0] = 1;
    pause();
  }
  while (!shared->attached[0])
    spin();
  if (ringbus_consumer_attach(ring, &options, &consumer) != 0)
    _exit(2);
  forbid_system_calls();
  for (int polls = 0; polls < 1023; polls++)
    if (ringbus_consumer_borrow(consumer, &message) != -EAGAIN)
      _exit(2);           /* which it cannot */
  shared->through[0] = 1; /* so far without */
  ringbus_consumer_borrow(consumer, &message);
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

static int make_ring(const struct ringbus_create_options *given) {
  struct ringbus_create_options options = *given;
  ringbus_ring *ring;
  options.capacity = RING_BYTES;
  int result = ringbus_ring_create(ring_path, &options, &ring);
  if (result != 0)
    printf("bad: cannot make a ring: %s: %s\n", ringbus_strerror(result), ringbus_error_detail());
  else
    ringbus_ring_close(ring);
  return result;
}

static bool messages_pass(const struct topology *given) {
  pid_t children[MOST_ROLES];
  uint64_t began = (uint64_t)time(NULL);
  size_t started = 0;
  bool fine = true;
  topology = given;
  producers = roles = 0;
  for (; roles < MOST_ROLES && topology->roles[roles].name; roles++)
    producers += topology->roles[roles].kind <= TWO_PRODUCERS;
  memset(shared, 0, sizeof *shared);
  if (make_ring(&topology->ring) != 0)
    return false;
  /* The readers first: they are to find the ring empty, and to see everything. */
  for (size_t i = 0; i < roles && fine; i++) {
    self = roles - 1 - (unsigned)i;
    children[started++] = start(run_role);
    fine = wait_for(&shared->attached[self], 1, children, started);
  }
  fine = fine && wait_for(shared->through, roles, children, started);
  for (size_t i = 0; i < started; i++) {
    int status;
    size_t role = roles - 1 - i;
    uint64_t expected = role < producers ? topology->messages : all_messages();
    kill(children[i], SIGKILL);
    waitpid(children[i], &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || shared->wrong[role] ||
        shared->messages[role] != expected) {
      fine = false;
      printf("bad: %s: %llu messages, wait status %#x, line and result %lld\n",
             topology->roles[role].name, (unsigned long long)shared->messages[role],
             (unsigned)status, (long long)shared->wrong[role]);
    }
  }
  if (fine && (!shared->empty || !(topology->ring.overwrite ? shared->lapped : shared->full))) {
    printf("bad: the ring was found full %llu times and empty %llu times, and lapped somebody %llu "
           "times\n",
           (unsigned long long)shared->full, (unsigned long long)shared->empty,
           (unsigned long long)shared->lapped);
    fine = false;
  }
  unlink(ring_path);
  printf("%s: %s: %llu messages without a system call, %llu s\n", fine ? "ok" : "bad",
         topology->name, (unsigned long long)all_messages(),
         (unsigned long long)((uint64_t)time(NULL) - began));
  return fine;
}

int main(int count, char **arguments) {
  static const struct ringbus_create_options many = {.many_producers = true};
  const char *only = count > 1 ? arguments[1] : "";
  char directory[] = "/dev/shm/ringbus-no-syscalls-XXXXXX";
  bool fine = true;
  uint64_t messages = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGPIPE, SIG_IGN); /* whoever reads along may go; the files are removed all the same */
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || !mkdtemp(directory)) {
    perror("temporary directory");
    return 2;
  }
  snprintf(ring_path, sizeof ring_path, "%s/ring", directory);
  for (size_t i = 0; i < sizeof topologies / sizeof *topologies; i++)
    if (strstr(topologies[i].name, only)) {
      fine = messages_pass(&topologies[i]) && fine;
      messages += all_messages();
    }
  memset(shared, 0, sizeof *shared);
  self = 0;
  fine = make_ring(&many) == 0 && fine;
  fine = control_dies("sleeps", sleep_by_itself) && fine;
  fine = control_dies("polls at an open claim", poll_at_a_claim) && shared->through[0] && fine;
  fine = control_dies("waits for a message", wait_for_a_message) && fine;
  unlink(ring_path);
  rmdir(directory);
  printf("figure: no system call on the hot path | %llu messages under a filter that kills\n",
         (unsigned long long)messages);
  return fine ? 0 : 1;
}
