/* SPDX-License-Identifier: MIT */
/* litmus.c - each labelled pair of include/ringbus/inline.h as a litmus test, in every execution that
 * C11 allows for relaxed, release and acquire accesses and fences.
 *
 * What is explored
 *   The view machine of Kang, Hur, Lahav, Vafeiadis, Dreyer, "A promising semantics for
 *   relaxed-memory concurrency" (POPL 2017), without promises. Every location has a list of messages
 *   in modification order. A thread's view says, of each location, which is the oldest it may read.
 *     load    any message from there on. Acquire: the message's view is joined; else set aside
 *     store   a message anywhere behind the thread's view (the order of two writers' stores need not
 *             be that of time). Its view is the thread's if it releases, else what the thread's view
 *             was at its last release fence
 *     RMW     right behind the message that it reads, nothing comes between; passes its view on. A swap
 *             that finds another value than it expects is a load
 *     fence   acquire: what was set aside is joined. Release: the view is kept for later stores.
 *             Full: both, and joins, and is joined into, one view that all full fences share
 *     membarrier    a full fence in all threads at one instant (with two threads, as here, as good as
 *             one after the other)
 *   Plain variables have vector clocks besides: an access that another thread's did not happen before
 *   is a data race, and counts as the forbidden outcome.
 *
 * What is not
 *   Load buffering, a load that returns what follows from it: wants promises. RC11 forbids it (Lahav,
 *   Vafeiadis, Kang, Hur, Dreyer, "Repairing sequential consistency in C/C++11", PLDI 2017), C11 and
 *   some machines do not. Where it would matter here (RELEASE) it shows as a race of what is read.
 *   Orders that are there but not used: seq_cst accesses count as acquire and release; dependencies as
 *   nothing; release sequences go on through RMWs only, as in C++20 (C11 and RC11 order more). So what
 *   is sound here is sound there. What a test leaves out of the code would only order more.
 *   The racy copy of lapped readers, and what it races with, are relaxed accesses. Old bytes of a
 *   record are a location's value at first. Each role runs once; nobody dies but in DEATH and TAKE (the
 *   models beside this have more of it); who would look again ends instead, where a second look is not
 *   what a test is about.
 *
 * What is checked
 *   Each test as the code is: the forbidden outcome is in no execution. Then in turn with each ordered
 *   access relaxed, each fence dropped, each step WITHOUT which it is broken left out: it is in some.
 *   SPARE marks an order that is there but that this test does not need: it stays in none. Before
 *   them, the explorer itself with tests from the literature, whose verdicts under RC11 are known.
 *
 * usage: litmus [part of a test's name]    with a name, executions with the forbidden outcome, too */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCATIONS 8
#define MESSAGES 6
#define THREADS 5
#define STEPS 24
#define MOST_STATES 4096

/* ---------------------------------------------------------------- the machine */

struct view {
  uint8_t at[LOCATIONS];  /* the oldest message that may be read */
  uint8_t clock[THREADS]; /* plain accesses of each thread that happened before */
};

struct message {
  uint8_t value;
  uint8_t is_rmw; /* nothing may come between this message and the one before */
  struct view view;
};

struct location {
  uint8_t count;
  uint8_t read[THREADS], written[THREADS]; /* clock of each thread's last plain access */
  struct message messages[MESSAGES];
};

/* Where a thread is follows from what its accesses have returned: its body is run again with that. */
struct thread {
  uint8_t steps;
  uint8_t results[STEPS];
  struct view current, acquired, fenced;
};

struct state { /* of bytes only, so that states can be compared as memory */
  struct thread threads[THREADS];
  struct view full_fences;
  uint8_t raced;
  struct location locations[LOCATIONS];
};

enum order { NO_ORDER, ACQUIRES = 1, RELEASES = 2, FULL_FENCE = 4 };
struct ordering {
  enum order order;
  const char *label; /* weakened by this name */
  bool needed;
};
#define RELAXED ((struct ordering){NO_ORDER, NULL, false})
#define ACQUIRE(label) ((struct ordering){ACQUIRES, label, true})
#define RELEASE(label) ((struct ordering){RELEASES, label, true})
#define BOTH(label) ((struct ordering){ACQUIRES | RELEASES, label, true})
#define FULL(label) ((struct ordering){ACQUIRES | RELEASES | FULL_FENCE, label, true})
#define SPARE(ordering) spare(ordering)

enum kind { NOTHING, LOADS, STORES, ADDS, SWAPS, FENCES, BARS_ALL, READS, WRITES };
struct access {
  enum kind kind;
  int value;
  const char *location;
  struct ordering ordering;
  int from; /* SWAPS: only if this is there */
};

struct test {
  const char *name;
  struct {
    const char *name;
    void (*body)(void);
  } threads[THREADS];
  struct {
    const char *name;
    int value;
  } initial[LOCATIONS]; /* of locations that do not begin as 0 */
};

static const struct test *test;
static const char *weakened;                  /* label, or NULL */
static const char *location_names[LOCATIONS]; /* in the order of their first use */
static size_t location_count;

static struct {
  const char *label;
  bool needed;
} twins[32];
static size_t twin_count;

/* While a body runs. */
static const struct state *now;
static unsigned self, replayed;
static struct access pending[THREADS];
static bool violated;
static bool others_ended; /* those before self */
static int ignored;       /* what a store returns */

static _Noreturn void give_up(const char *what) {
  fprintf(stderr, "litmus: %s: %s\n", test->name, what);
  exit(2);
}

static struct ordering spare(struct ordering ordering) {
  ordering.needed = false;
  return ordering;
}

/* A twin of the test; whether it is the one that is explored now. */
static bool is_weakened(const char *label, bool needed) {
  size_t i;
  if (!label)
    return false;
  for (i = 0; i < twin_count && strcmp(twins[i].label, label) != 0; i++)
    ;
  if (i == twin_count) {
    if (twin_count == sizeof twins / sizeof twins[0])
      give_up("too many twins");
    twins[twin_count].label = label;
    twins[twin_count++].needed = needed;
  }
  return weakened && strcmp(weakened, label) == 0;
}

/* What a body is written with. An access that was not made yet ends it for now. */
static bool perform(int *result, struct access access) {
  const struct thread *thread = &now->threads[self];
  if (replayed == thread->steps) {
    if (is_weakened(access.ordering.label, access.ordering.needed))
      access.ordering.order = NO_ORDER;
    pending[self] = access;
    return false;
  }
  *result = thread->results[replayed++];
  return true;
}

#define PERFORM(...)                                                                               \
  do {                                                                                             \
    if (!perform(__VA_ARGS__))                                                                     \
      return;                                                                                      \
  } while (0)
#define LOAD(to, location, ordering)                                                               \
  PERFORM(&(to), (struct access){LOADS, 0, location, ordering, 0})
#define STORE(location, value, ordering)                                                           \
  PERFORM(&ignored, (struct access){STORES, value, location, ordering, 0})
#define ADD(to, location, value, ordering)                                                         \
  PERFORM(&(to), (struct access){ADDS, value, location, ordering, 0})
/* found is from if it was swapped. */
#define SWAP(found, location, from, to, ordering)                                                  \
  PERFORM(&(found), (struct access){SWAPS, to, location, ordering, from})
#define FENCE(ordering) PERFORM(&ignored, (struct access){FENCES, 0, NULL, ordering, 0})
#define MEMBARRIER(ordering) PERFORM(&ignored, (struct access){BARS_ALL, 0, NULL, ordering, 0})
#define READ(to, location) PERFORM(&(to), (struct access){READS, 0, location, RELAXED, 0})
#define WRITE(location, value)                                                                     \
  PERFORM(&ignored, (struct access){WRITES, value, location, RELAXED, 0})
#define FORBID(condition) (violated = violated || (condition))
/* A step that is no ordered access: left out, or done otherwise, in the twin of this name. */
#define WITHOUT(label) is_weakened(label, true)

static void join(struct view *view, const struct view *other) {
  for (size_t i = 0; i < LOCATIONS; i++)
    if (view->at[i] < other->at[i])
      view->at[i] = other->at[i];
  for (size_t i = 0; i < THREADS; i++)
    if (view->clock[i] < other->clock[i])
      view->clock[i] = other->clock[i];
}

static void fence(struct state *state, struct thread *thread, enum order order) {
  if (order & ACQUIRES)
    join(&thread->current, &thread->acquired);
  if (order & FULL_FENCE) {
    /* No clocks: full fences alone do not order plain accesses. */
    join(&thread->current, &state->full_fences);
    memcpy(state->full_fences.at, thread->current.at, sizeof state->full_fences.at);
    join(&thread->acquired, &thread->current);
  }
  if (order & RELEASES)
    thread->fenced = thread->current;
}

static int read_message(struct state *state, struct thread *thread, size_t location, size_t index,
                        enum order order) {
  const struct message *message = &state->locations[location].messages[index];
  thread->current.at[location] = (uint8_t)index;
  join(&thread->acquired, &message->view);
  if (order & ACQUIRES)
    join(&thread->current, &message->view);
  return message->value;
}

static void make_way(struct view *view, size_t location, size_t index) {
  view->at[location] = (uint8_t)(view->at[location] + (view->at[location] >= index));
}

static struct message *put_message(struct state *state, struct thread *thread, size_t location,
                                   size_t index, int value, enum order order) {
  struct location *at = &state->locations[location];
  struct message *message = &at->messages[index];
  if (at->count == MESSAGES)
    give_up("too many stores to one location");
  for (size_t l = 0; l < LOCATIONS; l++)
    for (size_t m = 0; m < state->locations[l].count; m++)
      make_way(&state->locations[l].messages[m].view, location, index);
  for (size_t t = 0; t < THREADS; t++) {
    make_way(&state->threads[t].current, location, index);
    make_way(&state->threads[t].acquired, location, index);
    make_way(&state->threads[t].fenced, location, index);
  }
  make_way(&state->full_fences, location, index);
  memmove(message + 1, message, (at->count++ - index) * sizeof *message);
  thread->current.at[location] = (uint8_t)index;
  join(&thread->acquired, &thread->current);
  message->value = (uint8_t)value;
  message->is_rmw = false;
  message->view = order & RELEASES ? thread->current : thread->fenced;
  message->view.at[location] = (uint8_t)index;
  return message;
}

/* A plain access: every other thread's plain store, and for a store every load, must have happened
 * before. */
static int touch(struct state *state, unsigned number, size_t location, bool stores, int value) {
  struct thread *thread = &state->threads[number];
  struct location *at = &state->locations[location];
  for (unsigned other = 0; other < THREADS; other++)
    if (other != number && (thread->current.clock[other] < at->written[other] ||
                            (stores && thread->current.clock[other] < at->read[other])))
      state->raced = true;
  thread->acquired.clock[number] = ++thread->current.clock[number];
  (stores ? at->written : at->read)[number] = thread->current.clock[number];
  if (stores)
    put_message(state, thread, location, at->count, value, NO_ORDER);
  return read_message(state, thread, location, at->count - 1u, NO_ORDER);
}

/* ---------------------------------------------------------------- all executions */

/* States in the order they were found, each with the one it came from and who moved. So few that they
 * can be searched through. */
static struct {
  struct state state;
  size_t from;
  unsigned thread;
} found[MOST_STATES];
static size_t found_count;

static void add_state(const struct state *state, size_t from, unsigned thread) {
  size_t i = 0;
  while (i < found_count && memcmp(&found[i].state, state, sizeof *state) != 0)
    i++;
  if (i < found_count)
    return;
  if (found_count == MOST_STATES)
    give_up("too many states");
  found[found_count].state = *state;
  found[found_count].from = from;
  found[found_count++].thread = thread;
}

static size_t location_named(const char *name) {
  size_t i = 0;
  while (i < location_count && strcmp(location_names[i], name) != 0)
    i++;
  if (i == LOCATIONS)
    give_up("too many locations");
  if (i == location_count)
    location_names[location_count++] = name;
  return i;
}

/* Run all bodies up to the access that comes next. */
static void look_ahead(const struct state *state) {
  now = state;
  violated = state->raced;
  others_ended = true;
  for (self = 0; self < THREADS && test->threads[self].body; self++) {
    replayed = 0;
    pending[self].kind = NOTHING;
    test->threads[self].body();
    others_ended = others_ended && pending[self].kind == NOTHING;
  }
}

/* One state further by one choice of one thread. False: there is no such choice. */
static bool move(struct state *next, unsigned number, const struct access *access, size_t choice) {
  struct thread *thread = &next->threads[number];
  enum order order = access->ordering.order;
  size_t at = access->location ? location_named(access->location) : 0;
  size_t count = next->locations[at].count;
  const struct message *messages = next->locations[at].messages;
  int result = 0;
  if (thread->steps == STEPS)
    give_up("too many steps");
  if (access->kind == LOADS || access->kind == STORES || access->kind == ADDS ||
      access->kind == SWAPS) {
    choice += thread->current.at[at];
    if (choice >= count)
      return false;
  } else if (choice > 0) {
    return false;
  }
  bool swaps = access->kind == SWAPS && messages[choice].value == access->from;
  if ((access->kind == STORES || access->kind == ADDS || swaps) && choice + 1 < count &&
      messages[choice + 1].is_rmw)
    return true; /* not behind this message, perhaps behind a later one */
  switch (access->kind) {
  case LOADS:
    result = read_message(next, thread, at, choice, order);
    break;
  case STORES:
    put_message(next, thread, at, choice + 1, access->value, order);
    break;
  case ADDS:
  case SWAPS: {
    result = read_message(next, thread, at, choice, order);
    if (access->kind == SWAPS && !swaps)
      break;
    int value = swaps ? access->value : result + access->value;
    struct message *message = put_message(next, thread, at, choice + 1, value, order);
    message->is_rmw = true;
    join(&message->view, &messages[choice].view);
    break;
  }
  case FENCES:
    fence(next, thread, order);
    break;
  case BARS_ALL:
    fence(next, thread, order);
    for (unsigned other = 0; other < THREADS && test->threads[other].body; other++)
      fence(next, &next->threads[other], order);
    fence(next, thread, order);
    break;
  case READS:
  case WRITES:
    result = touch(next, number, at, access->kind == WRITES, access->value);
    break;
  case NOTHING:
    return false;
  }
  thread->results[thread->steps++] = (uint8_t)result;
  return true;
}

/* Whether the forbidden outcome is reached; then *last is the state. */
static bool explore(const char *twin, size_t *last) {
  struct state next;
  weakened = twin;
  memset(&next, 0, sizeof next);
  location_count = 0;
  for (size_t i = 0; i < LOCATIONS; i++)
    next.locations[i].count = 1;
  for (size_t i = 0; i < LOCATIONS && test->initial[i].name; i++)
    next.locations[location_named(test->initial[i].name)].messages[0].value =
        (uint8_t)test->initial[i].value;
  found_count = 0;
  add_state(&next, 0, 0);
  for (*last = 0; *last < found_count; ++*last) {
    const struct state *from = &found[*last].state;
    look_ahead(from);
    if (violated)
      return true;
    for (unsigned thread = 0; thread < THREADS && test->threads[thread].body; thread++) {
      next = *from;
      for (size_t choice = 0; move(&next, thread, &pending[thread], choice); choice++) {
        if (next.threads[thread].steps != from->threads[thread].steps)
          add_state(&next, *last, thread);
        next = *from;
      }
    }
  }
  return false;
}

static void show_execution(size_t last) {
  static const char *const verbs[] = {"",      "load",       "store", "add",  "swap",
                                      "fence", "membarrier", "read",  "write"};
  if (last == 0)
    return;
  show_execution(found[last].from);
  unsigned mover = found[last].thread;
  const struct thread *thread = &found[last].state.threads[mover];
  look_ahead(&found[found[last].from].state);
  const struct access *access = &pending[mover];
  printf("      %-10s %s %s", test->threads[mover].name, verbs[access->kind],
         access->location ? access->location : "");
  if (access->kind == SWAPS)
    printf(", %d for %d", access->value, access->from);
  if (access->kind == STORES || access->kind == WRITES || access->kind == ADDS)
    printf(", %d", access->value);
  if (access->kind == LOADS || access->kind == READS || access->kind == ADDS ||
      access->kind == SWAPS)
    printf(" = %d", thread->results[thread->steps - 1]);
  if (access->ordering.order)
    printf(access->ordering.order & ACQUIRES ? " (acquire)" : " (release)");
  printf("\n");
}

static unsigned bad, done;

static void check(const char *what, const char *twin, bool expected, bool shown) {
  size_t last;
  bool reached = explore(twin, &last);
  bool as_expected = reached == expected;
  printf("%s %-26s %6zu states, %s%s%s\n", as_expected ? "ok " : "BAD", test->name, found_count,
         what, twin ? ": " : "", twin ? twin : "");
  if (reached && (shown || !as_expected))
    show_execution(last);
  done++;
  bad += !as_expected;
}

static void check_test(const struct test *chosen, bool allowed, bool shown) {
  test = chosen;
  twin_count = 0;
  check(allowed ? "allowed" : "sound", NULL, allowed, shown);
  for (size_t i = 0; i < twin_count; i++)
    check(twins[i].needed ? "broken without" : "sound even without", twins[i].label,
          twins[i].needed, shown);
}

/* ---------------------------------------------------------------- what is known of the explorer */

/* Accesses of the locations x, y and z: Wx1 stores 1, Rx loads, Ax1 adds 1, Cx01 swaps 0 for 1; with + it
 * releases, acquires, or both. Fa, Fr, F: acquire, release, full fence; M: membarrier. px, qx1: plain load and
 * store. ? ends a thread whose last load returned 0, ! one where it did not. The outcome: what the
 * loads return, thread by thread, then the values that come last, as x1; or a race, if -. */
struct classic {
  const char *name, *scripts[THREADS - 1], *outcome;
  bool allowed;
};

static const struct classic *classic;
static char loaded[THREADS * STEPS];
static size_t loaded_count;

static void run_script(void) {
  if (self == 0)
    loaded_count = 0;
  int result = -1;
  for (const char *word = classic->scripts[self]; *word; word += strcspn(word, " ")) {
    word += *word == ' ';
    if ((*word == '?' && result == 0) || (*word == '!' && result != 0))
      return;
    if (*word == '?' || *word == '!')
      continue;
    const char *location = word[1] == 'x' ? "x" : word[1] == 'y' ? "y" : "z";
    int value = word[1] && word[2] ? word[2] - '0' : 0;
    result = -1;
    bool ordered = word[strcspn(word, " ") - 1] == '+';
    struct ordering acquire = ordered ? ACQUIRE(NULL) : RELAXED;
    struct ordering release = ordered ? RELEASE(NULL) : RELAXED;
    switch (*word) {
    case 'W':
      STORE(location, value, release);
      break;
    case 'R':
      LOAD(result, location, acquire);
      break;
    case 'A':
      ADD(result, location, value, ordered ? BOTH(NULL) : RELAXED);
      break;
    case 'C':
      SWAP(result, location, word[2] - '0', word[3] - '0', ordered ? BOTH(NULL) : RELAXED);
      break;
    case 'F':
      FENCE(word[1] == 'a' ? ACQUIRE(NULL) : word[1] == 'r' ? RELEASE(NULL) : FULL(NULL));
      break;
    case 'M':
      MEMBARRIER(FULL(NULL));
      break;
    case 'p':
      READ(result, location);
      break;
    default:
      WRITE(location, value);
    }
    if (result >= 0)
      loaded[loaded_count++] = (char)('0' + result);
  }
}

static void judge_script(void) {
  const char *rest = classic->outcome + loaded_count;
  if (!others_ended || *classic->outcome == '-' ||
      strncmp(classic->outcome, loaded, loaded_count) != 0)
    return;
  for (; *rest; rest += 2) {
    const struct location *at = &now->locations[location_named(*rest == 'x' ? "x" : "y")];
    if (at->messages[at->count - 1].value != rest[1] - '0')
      return;
  }
  FORBID(true);
}

static const struct classic classics[] = {
    {"MP", {"Wx1 Wy1+", "Ry+ Rx"}, "10", false},
    {"MP, relaxed store", {"Wx1 Wy1", "Ry+ Rx"}, "10", true},
    {"MP, relaxed load", {"Wx1 Wy1+", "Ry Rx"}, "10", true},
    {"MP, fences", {"Wx1 Fr Wy1", "Ry Fa Rx"}, "10", false},
    {"MP, one fence", {"Wx1 Fr Wy1", "Ry Rx"}, "10", true},
    {"MP, plain", {"qx1 Wy1+", "Ry+ ? px"}, "-", false},
    {"MP, plain, relaxed store", {"qx1 Wy1", "Ry+ ? px"}, "-", true},
    {"MP, plain, relaxed load", {"qx1 Wy1+", "Ry ? px"}, "-", true},
    {"MP, plain, fences", {"qx1 F Wy1", "Ry ? F px"}, "-", false},
    {"MP, plain, only full fences", {"qx1 F Rz ! Wy1", "Wz1 F Ry ? px"}, "-", true},
    {"MP, by an RMW between", {"Wx1 Wy1+", "Ay1", "Ry+ Rx"}, "120", false},
    {"MP, by a store between", {"Wx1 Wy1+ Wy2", "Ry+ Rx"}, "20", true},
    {"MP, another store before", {"Wx1", "Wx2 Wy1+", "Ry+ Rx"}, "11x2", false},
    {"MP, another store after", {"Wx1", "Wx2 Wy1+", "Ry+ Rx"}, "11x1", true},
    {"SB", {"Wx1+ Ry+", "Wy1+ Rx+"}, "00", true},
    {"SB, fences", {"Wx1 F Ry", "Wy1 F Rx"}, "00", false},
    {"SB, one fence", {"Wx1 F Ry", "Wy1 Rx"}, "00", true},
    {"SB, membarrier", {"Wx1 M Ry", "Wy1 Rx"}, "00", false},
    {"SB, RMWs of one location", {"Wx1 Az1+ Ry", "Wy1 Az1+ Rx"}, "0010", false},
    {"LB", {"Rx Wy1", "Ry Wx1"}, "11", false},
    {"IRIW", {"Wx1+", "Wy1+", "Rx+ Ry+", "Ry+ Rx+"}, "1010", true},
    {"IRIW, fences", {"Wx1", "Wy1", "Rx F Ry", "Ry F Rx"}, "1010", false},
    {"WRC", {"Wx1", "Rx Wy1+", "Ry+ Rx"}, "110", false},
    {"WRC, relaxed", {"Wx1", "Rx Wy1", "Ry+ Rx"}, "110", true},
    {"2+2W", {"Wx1+ Wy2+", "Wy1+ Wx2+"}, "x1y1", true},
    {"2+2W, fences", {"Wx1 F Wy2", "Wy1 F Wx2"}, "x1y1", false},
    {"R", {"Wx1+ Wy1+", "Wy2+ Rx+"}, "0y2", true},
    {"R, fences", {"Wx1 F Wy1", "Wy2 F Rx"}, "0y2", false},
    {"S", {"Wx2 Wy1+", "Ry+ Wx1"}, "1x2", false},
    {"S, relaxed", {"Wx2 Wy1", "Ry+ Wx1"}, "1x2", true},
    {"CoRR", {"Wx1", "Rx Rx"}, "10", false},
    {"CoRR, two writers", {"Wx1", "Wx2", "Rx Rx", "Rx Rx"}, "1221", false},
    {"CoWR", {"Wx1 Rx", "Wx2"}, "2x1", false},
    {"RMWs are atomic", {"Ax1", "Ax1"}, "00", false},
    {"RMW, a store beside it", {"Ax1", "Wx3"}, "0x3", true},
    {"swaps exclude each other", {"Cx01", "Cx02"}, "00", false},
    {"swaps in turn", {"Cx01", "Cx12"}, "01x2", true},
    {"a swap that fails stores nothing", {"Wx1", "Cx23"}, "1x3", false},
    {"a swap that fails may be late", {"Wx1 Wy1", "Ry Cx23"}, "10", true},
    {"MP, swaps", {"Wx1 Cy01+", "Cy12+ Rx"}, "010", false},
    {"MP, swaps, relaxed", {"Wx1 Cy01", "Cy12+ Rx"}, "010", true},
    {"SB, swaps are no fences", {"Cx01+ Ry+", "Cy01+ Rx+"}, "0000", true},
    {"stores at once", {"qx1", "qx2"}, "-", true},
    {"plain load, then store", {"px Wy1+", "Ry+ ? qx1"}, "-", false},
    {"plain load, then store, relaxed", {"px Wy1", "Ry+ ? qx1"}, "-", true},
};

static void check_classic(const struct classic *chosen, bool shown) {
  struct test made = {chosen->name, {{NULL, NULL}}, {{NULL, 0}}};
  size_t i;
  classic = chosen;
  for (i = 0; i < THREADS - 1 && chosen->scripts[i]; i++) {
    made.threads[i].name = chosen->scripts[i];
    made.threads[i].body = run_script;
  }
  made.threads[i].body = judge_script;
  check_test(&made, chosen->allowed, shown);
}

/* ---------------------------------------------------------------- the labelled pairs */

#define OLD 9 /* a record's bytes where a word will be, a lap or a holder before */

/* PUBLISH: send or commit; borrow or recv. */
static void publish(void) {
  WRITE("message", 1);
  STORE("word(tail)", 1, RELEASE("PUBLISH: store of word(tail)"));
}

static void borrow(void) {
  int word, message;
  LOAD(word, "word(tail)", ACQUIRE("PUBLISH: load of word(position)"));
  if (word)
    READ(message, "message");
}

/* PUBLISH: ringbus_send_all_at_once; borrow, twice. */
static void publish_all_at_once(void) {
  WRITE("message 1", 1);
  WRITE("message 2", 1);
  STORE("word(second)", 1, RELAXED);
  STORE("word(first)", 1, RELEASE("PUBLISH: store of the first word"));
}

static void borrow_batch(void) {
  int word, message;
  LOAD(word, "word(first)", ACQUIRE("PUBLISH: load of the first word"));
  if (!word)
    return;
  READ(message, "message 1");
  LOAD(word, "word(second)", SPARE(ACQUIRE("PUBLISH: load of the second word")));
  FORBID(word == 0); /* all at once or nothing */
  READ(message, "message 2");
}

/* CLEAR: two messages one after the other, the second where the word of an older lap's message was. */
static void clear_and_publish_two(void) {
  if (!WITHOUT("CLEAR: store of word(next)"))
    STORE("word(next)", 0, RELAXED);
  STORE("word(tail)", 1, RELEASE("PUBLISH: store that CLEAR goes before"));
  WRITE("message 2", 1);
  STORE("word(next)", 1, RELEASE("PUBLISH: store of word(next)"));
}

static void borrow_two(void) {
  int word, message;
  LOAD(word, "word(tail)", ACQUIRE("PUBLISH: load after which CLEAR is seen"));
  if (!word)
    return;
  LOAD(word, "word(next)", ACQUIRE("PUBLISH: load of word(next)"));
  FORBID(word == OLD);
  if (word)
    READ(message, "message 2");
}

/* A counted position: position * 2 | bank, and as many messages; its two counts.
 * ringbus_counted_store; counted_load, with the second look. */
#define COUNTED(n, bank) ((n) << 1 | (bank))
#define COUNT_OF(bank) ((bank) ? "count[1]" : "count[0]")
#define COUNTED_STORE(where, n, bank, count_ordering, position_ordering)                           \
  do {                                                                                             \
    STORE(COUNT_OF(bank), n, count_ordering);                                                      \
    STORE(where, COUNTED(n, bank), position_ordering);                                             \
  } while (0)
#define COUNTED_LOAD(before, count, after, where, position_ordering, count_ordering,               \
                     look_ordering)                                                                \
  do {                                                                                             \
    LOAD(before, where, position_ordering);                                                        \
    LOAD(count, COUNT_OF((before)&1), count_ordering);                                             \
    LOAD(after, where, look_ordering);                                                             \
  } while (0)

/* BANK: positions that only grow. */
static void store_counted(void) {
  for (int n = 1; n <= 4; n++) {
    int bank = WITHOUT("BANK: the other bank") ? 0 : n & 1;
    COUNTED_STORE("position", n, bank, RELEASE("BANK: store of count"),
                  RELEASE("BANK: store of position"));
  }
}

static void load_counted(void) {
  int before, count, after;
  COUNTED_LOAD(before, count, after, "position", ACQUIRE("BANK: load of position"),
               ACQUIRE("BANK: load of count"), SPARE(ACQUIRE("BANK: second look at position")));
  if (after == before || WITHOUT("BANK: the second look at position"))
    FORBID(count != before >> 1);
}

/* gating of a group: joins * 4 + state. */
#define NONE 0
#define JOINING 1
#define SETTLED 2
#define BACK 3
#define GATING(joins, state) ((joins) << 2 | (state))

/* BANK: a cursor that is released three times and then moved back to where it was (group_gate);
 * gate_load, which must not take it for exact then. */
static void release_and_seek_back(void) {
  for (int n = 2; n <= 4; n++)
    COUNTED_STORE("cursor", n, n & 1, RELEASE("BANK: store of count"),
                  RELEASE("BANK: store of cursor"));
  STORE("gating", GATING(1, BACK), RELEASE("JOIN: store of gating, BACK"));
  COUNTED_STORE("cursor", 1, 1, RELEASE("BANK: store of count"), RELEASE("BANK: store of cursor"));
  STORE("gating", GATING(1, SETTLED), RELEASE("JOIN: store of gating, SETTLED"));
}

static void load_gate(void) {
  int gating, raw, before, count, after, again;
  LOAD(gating, "gating", ACQUIRE("JOIN: load of gating"));
  LOAD(raw, "cursor", SPARE(ACQUIRE("the load of the raw cursor")));
  (void)raw;
  COUNTED_LOAD(before, count, after, "cursor", ACQUIRE("BANK: load of cursor"),
               ACQUIRE("BANK: load of count"), ACQUIRE("BANK: second look at cursor"));
  LOAD(again, "gating", SPARE(ACQUIRE("JOIN: second load of gating")));
  if (after == before && (again == gating || WITHOUT("JOIN: the second look at gating")))
    FORBID(count != before >> 1);
}

/* TAIL: publish and announce; somebody who starts at the tail. */
static void publish_and_announce(void) {
  WRITE("message", 1);
  STORE("word(next)", 0, RELAXED);
  STORE("word(tail)", 1, SPARE(RELEASE("PUBLISH: store of word(tail)")));
  COUNTED_STORE("tail.position", 1, 1, SPARE(RELEASE("BANK: store of count")),
                RELEASE("TAIL: store of tail.position"));
}

static void start_at_tail(void) {
  int before, count, after, word, message;
  COUNTED_LOAD(before, count, after, "tail.position", ACQUIRE("TAIL: loads of tail.position"),
               SPARE(ACQUIRE("BANK: load of count")), ACQUIRE("TAIL: loads of tail.position"));
  (void)count;
  if (after != before || before >> 1 == 0)
    return;
  LOAD(word, "word(next)", SPARE(ACQUIRE("PUBLISH: load of word(position)")));
  FORBID(word == OLD);
  READ(message, "message");
}

/* RELEASE: borrow, hand_back, release; gate_load and what is written then. */
static void read_and_release(void) {
  int message;
  READ(message, "message");
  WRITE("message", message);
  COUNTED_STORE("cursor", 1, 1, SPARE(RELEASE("BANK: store of count")),
                RELEASE("RELEASE: store of cursor"));
}

static void gate_and_overwrite(void) {
  int raw, before, count, after;
  LOAD(raw, "cursor", SPARE(ACQUIRE("the load of the raw cursor")));
  (void)raw;
  COUNTED_LOAD(before, count, after, "cursor", ACQUIRE("RELEASE: loads of cursor"),
               SPARE(ACQUIRE("BANK: load of count")), ACQUIRE("RELEASE: loads of cursor"));
  (void)count;
  if (after == before && before >> 1 == 1)
    WRITE("message", 2);
}

/* ANNOUNCE: a message, and a lap later the bytes of another, which look like a word where its word
 * was; lapped_recv. The fences after the word (racy_word) and before the floor are one here: between
 * them is only the copy of a tag. */
#define LOOKS_LIKE_A_WORD 2
static void publish_and_overwrite(void) {
  STORE("bytes", 1, RELAXED);
  STORE("word(position)", 1, RELEASE("PUBLISH: store of word(tail)"));
  STORE("floor", 1, SPARE(RELEASE("TAIL: store of floor")));
  FENCE(FULL("ANNOUNCE: fence of the producer"));
  STORE("bytes", 2, RELAXED);
  STORE("word(position)", LOOKS_LIKE_A_WORD, RELAXED);
}

static void copy_out(void) {
  int word, copy, floor;
  LOAD(word, "word(position)", RELAXED);
  FENCE(ACQUIRE("PUBLISH, ANNOUNCE: fence between word and floor"));
  if (!WITHOUT("ANNOUNCE: the look at the floor before the word is believed")) {
    LOAD(floor, "floor", RELAXED);
    if (floor > 0)
      return;
  }
  FORBID(word == LOOKS_LIKE_A_WORD);
  if (word == 0)
    return;
  LOAD(copy, "bytes", RELAXED);
  FENCE(ACQUIRE("ANNOUNCE: fence between copy and floor"));
  if (!WITHOUT("ANNOUNCE: the look at the floor after the copy")) {
    LOAD(floor, "floor", RELAXED);
    if (floor > 0)
      return;
  }
  FORBID(copy != 1);
}

/* JOIN, a new group (group_create): record 0 may be overwritten once the floor is 1 and no cursor
 * stands at 0; whoever starts at the floor finds the word there. make_room, in its second scan. */
static void announce_scan_overwrite(void) {
  int groups = 0, gating, cursor, again;
  STORE("word(1)", 1, SPARE(RELEASE("PUBLISH: store of word(tail)")));
  STORE("floor", 1, RELEASE("TAIL: store of floor"));
  FENCE(FULL("JOIN: fence of the producer"));
  if (!WITHOUT("JOIN: the scan after the floor is announced"))
    LOAD(groups, "groups", SPARE(ACQUIRE("JOIN: load of groups")));
  if (groups) {
    LOAD(gating, "gating", SPARE(ACQUIRE("JOIN: load of gating")));
    if (gating != GATING(0, NONE)) {
      LOAD(cursor, "cursor", SPARE(ACQUIRE("RELEASE: load of cursor")));
      LOAD(again, "gating", SPARE(ACQUIRE("JOIN: second load of gating")));
      if (again != gating || cursor < 1)
        return;
    }
  }
  WRITE("record 0", 2);
}

static void join_new_group(void) {
  int cursor, floor, result, groups;
  LOAD(cursor, "floor", SPARE(ACQUIRE("TAIL: load of floor, the start")));
  STORE("gating", GATING(1, JOINING), SPARE(RELEASE("JOIN: store of gating, JOINING")));
  STORE("cursor", cursor, SPARE(RELEASE("RELEASE: store of cursor")));
  ADD(groups, "groups", 1, SPARE(BOTH("JOIN: RMW of groups")));
  (void)groups;
  FENCE(FULL("JOIN: fence of the joiner"));
  if (!WITHOUT("JOIN: the look at the floor after becoming visible")) {
    LOAD(floor, "floor", ACQUIRE("TAIL: load of floor, after the fence"));
    if (floor > cursor) {
      cursor = floor;
      STORE("cursor", cursor, SPARE(RELEASE("RELEASE: store of cursor, moved up")));
    }
  }
  STORE("gating", GATING(1, SETTLED), SPARE(RELEASE("JOIN: store of gating, SETTLED")));
  if (cursor == 0)
    READ(result, "record 0");
  else
    LOAD(result, "word(1)", RELAXED);
  FORBID(cursor == 1 && result == OLD);
}

/* JOIN, seeking back: a settled cursor at 1 goes back to record 0, while the producer announces 1 as
 * the floor, overwrites, and scans for room once more. A settled cursor at 0 would be called damaged
 * then. */
static void overwrite_and_scan_again(void) {
  int gating, cursor, again;
  STORE("floor", 1, SPARE(RELEASE("TAIL: store of floor")));
  FENCE(FULL("JOIN: fence of the producer"));
  for (int scan = 0; scan < 2; scan++) {
    LOAD(gating, "gating", ACQUIRE("JOIN: load of gating"));
    LOAD(cursor, "cursor", ACQUIRE("RELEASE: load of cursor"));
    LOAD(again, "gating", SPARE(ACQUIRE("JOIN: second load of gating")));
    if (again != gating && !WITHOUT("JOIN: the second look at gating"))
      return;
    FORBID(scan == 1 && cursor == 0 && (gating & 3) == SETTLED);
    if (cursor < 1)
      return;
    if (scan == 0)
      WRITE("record 0", 2);
  }
}

static void seek_back(void) {
  int floor, groups, message;
  LOAD(floor, "floor", SPARE(ACQUIRE("TAIL: load of floor")));
  if (floor > 0)
    return;
  STORE("gating", GATING(1, BACK), SPARE(RELEASE("JOIN: store of gating, BACK")));
  STORE("cursor", 0, RELEASE("RELEASE: store of cursor"));
  ADD(groups, "groups", 0, SPARE(BOTH("JOIN: RMW of groups")));
  (void)groups;
  FENCE(FULL("JOIN: fence of the joiner"));
  LOAD(floor, "floor", SPARE(ACQUIRE("TAIL: load of floor, after the fence")));
  if (floor > 0)
    STORE("cursor", 1, SPARE(RELEASE("RELEASE: store of cursor, moved up")));
  STORE("gating", GATING(1, SETTLED), RELEASE("JOIN: store of gating, SETTLED"));
  if (floor == 0)
    READ(message, "record 0");
}

/* JOIN, a group's entry used again: the one that was there before was settled where the ring has
 * moved on from since. A producer that sees the new group must not call that cursor damaged. */
static void scan_groups(void) {
  int groups, gating, cursor, again;
  LOAD(groups, "groups", ACQUIRE("JOIN: load of groups"));
  if (!groups)
    return;
  LOAD(gating, "gating", ACQUIRE("JOIN: load of gating"));
  LOAD(cursor, "cursor", SPARE(ACQUIRE("RELEASE: load of cursor")));
  LOAD(again, "gating", SPARE(ACQUIRE("JOIN: second load of gating")));
  FORBID(again == gating && (gating & 3) == SETTLED && cursor == 0);
}

static void join_in_used_entry(void) {
  int groups;
  STORE("gating", GATING(1, JOINING), SPARE(RELEASE("JOIN: store of gating, JOINING")));
  STORE("cursor", 0, SPARE(RELEASE("RELEASE: store of cursor")));
  ADD(groups, "groups", 1, BOTH("JOIN: RMW of groups"));
  (void)groups;
  STORE("cursor", 1, SPARE(RELEASE("RELEASE: store of cursor, moved up")));
  STORE("gating", GATING(1, SETTLED), RELEASE("JOIN: store of gating, SETTLED"));
}

/* SLEEP: two messages (or releases), each with its look for sleepers; wait_until, until it sleeps.
 * Who is asleep on a futex has entered the kernel's queue, under its lock, and seen 1 there. */
static int asleep_as, woken_up_to; /* places in that queue */

static void publish_and_wake(bool by_membarrier) {
  woken_up_to = 0;
  for (int n = 1; n <= 2; n++) {
    int waiters, queued;
    STORE(n == 1 ? "word 1" : "word 2", 1, SPARE(RELEASE("PUBLISH: store of word(tail)")));
    if (!by_membarrier)
      FENCE(FULL("SLEEP: fence of the waker"));
    LOAD(waiters, "waiters", RELAXED);
    if (!waiters)
      continue;
    bool late = WITHOUT("SLEEP: waiters cleared before waking, not after");
    if (!late)
      STORE("waiters", 0, SPARE(RELEASE("SLEEP: store of waiters, 0")));
    ADD(queued, "futex queue", 0, BOTH(NULL));
    woken_up_to = queued;
    if (late)
      STORE("waiters", 0, RELAXED);
  }
}

static void look_and_sleep(bool by_membarrier) {
  int next = 1, word, waiters, queued = 0;
  asleep_as = 0;
  for (int tries = 0; tries < 2; tries++) {
    STORE("waiters", 1, SPARE(RELEASE("SLEEP: store of waiters, 1")));
    struct ordering full = FULL("SLEEP: fence of the sleeper");
    FENCE(by_membarrier ? SPARE(full) : full);
    if (by_membarrier)
      MEMBARRIER(FULL("SLEEP: membarrier of the sleeper"));
    LOAD(word, next == 1 ? "word 1" : "word 2", RELAXED);
    if (word && ++next > 2)
      return;
    if (word)
      continue;
    ADD(queued, "futex queue", 1, BOTH(NULL));
    LOAD(waiters, "waiters", RELAXED);
    if (waiters == 1) {
      asleep_as = queued + 1;
      return;
    }
  }
}

static void publish_and_wake_fenced(void) { publish_and_wake(false); }
static void look_and_sleep_fenced(void) { look_and_sleep(false); }
static void publish_and_wake_asymmetric(void) { publish_and_wake(true); }
static void look_and_sleep_asymmetric(void) { look_and_sleep(true); }

/* By then everything is published. */
static void nobody_sleeps_beside_a_message(void) {
  FORBID(others_ended && asleep_as > woken_up_to);
}

/* STATE: the last message, then finish; borrow: the hot path, and slow_borrow once state is not 0. */
static void publish_and_finish(void) {
  int state;
  WRITE("message", 1);
  STORE("word(tail)", 1, RELEASE("PUBLISH: store of word(tail)"));
  ADD(state, "state", 1, BOTH("STATE: RMW of state"));
  (void)state;
}

static void borrow_or_end(void) {
  int state, word, message;
  LOAD(state, "state", RELAXED);
  if (state == 0) {
    LOAD(word, "word(tail)", ACQUIRE("PUBLISH: load of word(position), hot"));
  } else {
    LOAD(state, "state", ACQUIRE("STATE: load of state"));
    LOAD(word, "word(tail)", SPARE(ACQUIRE("PUBLISH: load of word(position), slow")));
    FORBID(word == 0); /* -EPIPE */
  }
  if (word)
    READ(message, "message");
}

/* SLOT: slot_take, where somebody was before; ringbus_ring_participant. */
#define SLOT_STATE(generation, role) ((generation) << 1 | (role))
static void attach(void) {
  STORE("state", SLOT_STATE(2, 0), SPARE(RELEASE("SLOT: store of state, no role")));
  STORE("name", 2, RELAXED);
  STORE("state", SLOT_STATE(2, 1), RELEASE("SLOT: store of state"));
}

static void look_at_slot(void) {
  int state, name;
  LOAD(state, "state", ACQUIRE("SLOT: load of state"));
  if (state != SLOT_STATE(2, 1))
    return;
  LOAD(name, "name", RELAXED);
  FORBID(name == OLD);
}

/* TAIL, many producers: a ring of two places. One producer claims place 0 in lap 0, and in lap 1, before
 * which somebody moves the tail to within a lap of that (A3); then one that was stopped since lap 0
 * looks for the true tail from 0 on (find_true_tail, claim_bytes). */
#define LAP_0 1
#define LAP_1 2
static void claim_two_laps(void) {
  int found, tail;
  SWAP(found, "word(0)", 0, LAP_0, SPARE(BOTH("A5: swap of the word in lap 0")));
  if (found != 0)
    return;
  if (!WITHOUT("A3: the tail moved before the claim a lap later")) {
    LOAD(tail, "tail", SPARE(ACQUIRE("A2: load of tail, in lap 0")));
    if (tail == 0)
      SWAP(tail, "tail", 0, 1, SPARE(BOTH("A3: swap of tail")));
  }
  SWAP(found, "word(0)", LAP_0, LAP_1, BOTH("A5: swap of the word in lap 1"));
}

static void move_tail(void) {
  int word, tail;
  LOAD(word, "word(0)", SPARE(ACQUIRE("A1: load of the word, by another")));
  if (word == LAP_0)
    SWAP(tail, "tail", 0, 1, SPARE(BOTH("A3: swap of tail, by another")));
  (void)tail;
}

static void claim_late(void) {
  int word = 0, tail, found;
  bool reversed = WITHOUT("A2: the look at the tail after the word");
  if (!reversed)
    LOAD(word, "word(0)", ACQUIRE("A1: load of the word"));
  LOAD(tail, "tail", SPARE(ACQUIRE("A2: load of tail")));
  if (reversed)
    LOAD(word, "word(0)", ACQUIRE(NULL));
  if (word == LAP_0 || tail > 0)
    return; /* further on */
  SWAP(found, "word(0)", word, 3, SPARE(BOTH("A5: swap of the word, late")));
  FORBID(found == word && word == LAP_1);
}

/* JOIN, many producers: the floor was raised by another, who has not looked for joiners yet. */
static void raise_floor(void) {
  int found;
  STORE("word(1)", 1, SPARE(RELEASE("PUBLISH: store of word(tail)")));
  SWAP(found, "floor", 0, 1, BOTH("JOIN, TAIL: swap of floor"));
  (void)found;
}

static void find_floor_scan_overwrite(void) {
  int floor, groups = 0, gating, cursor, again;
  LOAD(floor, "floor", SPARE(ACQUIRE("ANNOUNCE: load of floor")));
  if (floor == 0)
    return;
  FENCE(FULL("JOIN: fence of a producer that has not raised the floor itself"));
  if (!WITHOUT("JOIN: the scan by a producer that has not raised the floor itself"))
    LOAD(groups, "groups", SPARE(ACQUIRE("JOIN: load of groups")));
  if (groups) {
    LOAD(gating, "gating", SPARE(ACQUIRE("JOIN: load of gating")));
    LOAD(cursor, "cursor", SPARE(ACQUIRE("RELEASE: load of cursor")));
    LOAD(again, "gating", SPARE(ACQUIRE("JOIN: second load of gating")));
    if (again != gating || cursor < 1)
      return;
  }
  WRITE("record 0", 2);
}

/* STATE, many producers: one publishes while another finishes. Who believes in the end (state_before_words)
 * has looked at the word behind a fence, who believes to have published at the state. */
static bool has_published;

static void publish_unless_finished(void) {
  int found, state;
  has_published = false;
  SWAP(found, "word(tail)", 0, 1, SPARE(BOTH("A5: swap of word(T)")));
  (void)found;
  FENCE(FULL("STATE: fence between a claim and the look at the state"));
  LOAD(state, "state", SPARE(ACQUIRE("STATE: load of state")));
  if (state != 0 && !WITHOUT("STATE: the look at the state before a commit"))
    return;
  STORE("word(tail)", 2, SPARE(RELEASE("PUBLISH: store of word(tail)")));
  has_published = true;
}

static void finish_stream(void) {
  int state;
  ADD(state, "state", 1, SPARE(BOTH("STATE: RMW of state")));
  (void)state;
}

static bool has_seen_the_end;

static void believe_in_the_end(void) {
  int state, word;
  has_seen_the_end = false;
  LOAD(state, "state", SPARE(ACQUIRE("STATE: load of state, by the reader")));
  if (state == 0)
    return;
  FENCE(FULL("STATE: fence between the state and the word"));
  LOAD(word, "word(tail)", SPARE(ACQUIRE("PUBLISH: load of word(position), slow")));
  has_seen_the_end = word == 0;
}

static void nothing_is_published_after_the_end(void) {
  FORBID(others_ended && has_published && has_seen_the_end);
}

/* DEATH: a slot's lock, as the kernel knows it. Whoever dies does so at any step: a thread of its own says
 * when. The kernel orders what a process did before its death, and what the next holder does. */
#define FREE 0
#define CLAIMED 1
#define COMMITTED 2
#define PAD 3
#define DIE_HERE(then)                                                                             \
  do {                                                                                             \
    int fate;                                                                                      \
    LOAD(fate, "fate", RELAXED);                                                                   \
    if (fate) {                                                                                    \
      then;                                                                                        \
      return;                                                                                      \
    }                                                                                              \
  } while (0)
#define UNLOCK(lock) STORE(lock, 0, RELEASE(NULL))

static void fate_strikes(void) { STORE("fate", 1, RELAXED); }

/* The slot's holder died long ago; its next one lives and claims (slot_take, claim_bytes, publish) ... */
static void take_slot_and_claim(void) {
  int found;
  ADD(found, "lock", 1, BOTH(NULL));
  SWAP(found, "word", FREE, CLAIMED, BOTH("DEATH: swap of the word to CLAIMED"));
  (void)found;
  STORE("word", COMMITTED, SPARE(RELEASE("PUBLISH: store of the word")));
}

/* ... while somebody is blocked by that claim (claim_recover). */
static void recover_claim(void) {
  int word = 0, lock, found;
  bool reversed = WITHOUT("DEATH: the word loaded before the kernel is asked");
  if (!reversed)
    LOAD(word, "word", ACQUIRE("DEATH: load of the word"));
  LOAD(lock, "lock", ACQUIRE(NULL));
  if (reversed)
    LOAD(word, "word", ACQUIRE(NULL));
  if (word != CLAIMED || lock)
    return;
  SWAP(found, "word", CLAIMED, PAD, SPARE(BOTH("DEATH: swap of the word to PAD")));
  FORBID(found == CLAIMED); /* its owner lives */
}

/* A claimer that dies at any step; the slot's next holder resolves what it left (claim_resolve). The claims of
 * a slot are at places 1, before, and 2. */
static void claim_and_die(void) {
  int found;
  bool late = WITHOUT("DEATH: slot.claim stored before the claim");
  DIE_HERE(UNLOCK("lock"));
  if (!late)
    STORE("slot.claim", 2, SPARE(RELEASE("DEATH: store of slot.claim")));
  DIE_HERE(UNLOCK("lock"));
  SWAP(found, "word", FREE, CLAIMED, SPARE(BOTH("DEATH: swap of the word to CLAIMED")));
  (void)found;
  DIE_HERE(UNLOCK("lock"));
  if (late)
    STORE("slot.claim", 2, RELEASE(NULL));
  STORE("word", COMMITTED, SPARE(RELEASE("PUBLISH: store of the word")));
  UNLOCK("lock");
}

static bool is_next_holder;

static void resolve_claim(void) {
  int lock, claim, word, found;
  is_next_holder = false;
  SWAP(lock, "lock", 0, 2, BOTH(NULL));
  if (lock != 0)
    return;
  LOAD(claim, "slot.claim", SPARE(ACQUIRE("DEATH: load of slot.claim")));
  if (claim == 2) {
    LOAD(word, "word", SPARE(ACQUIRE("DEATH: load of the word")));
    if (word == CLAIMED && !WITHOUT("DEATH: the predecessor's claim given up"))
      SWAP(found, "word", CLAIMED, PAD, SPARE(BOTH("DEATH: swap of the word to PAD")));
    (void)found;
  }
  is_next_holder = true;
}

static int latest(const char *location) {
  const struct location *at = &now->locations[location_named(location)];
  return at->messages[at->count - 1].value;
}

static void no_claim_passes_to_the_next_holder(void) {
  FORBID(others_ended && is_next_holder && latest("word") == CLAIMED);
}

/* TAKE, the gate: a member takes the message, reads and releases it (take, share_release); a producer
 * that wants its room (share_gate, gate_load). */
#define NOTED 1
#define HELD 2
#define COMING 3
static void take_read_release(void) {
  int found, message;
  bool late = WITHOUT("TAKE: the note before the swap");
  if (!late)
    STORE("taken", NOTED, SPARE(RELEASE("TAKE: store of the note")));
  SWAP(found, "take", 0, 1, BOTH("TAKE: swap of take"));
  (void)found;
  if (late)
    STORE("taken", NOTED, RELEASE(NULL));
  SWAP(found, "taken", NOTED, HELD, SPARE(BOTH("TAKE: swap of the note, confirmed")));
  READ(message, "message");
  (void)message;
  STORE("taken", 0, RELEASE("TAKE: store of taken, released"));
}

static void gate_by_notes(void) {
  int take, taken = 0;
  bool reversed = WITHOUT("TAKE: take looked at before the notes");
  if (reversed)
    LOAD(taken, "taken", ACQUIRE(NULL));
  LOAD(take, "take", ACQUIRE("TAKE: load of take"));
  if (!reversed)
    LOAD(taken, "taken", ACQUIRE("TAKE: load of the note"));
  if (take == 1 && taken == 0)
    WRITE("message", 2);
}

/* TAKE, part of a run: a member that holds two messages releases the first (share_release). */
#define HOLDS_BOTH 4
#define HOLDS_SECOND 5
static void read_and_release_part(void) {
  int message, found;
  READ(message, "message");
  (void)message;
  SWAP(found, "taken", HOLDS_BOTH, HOLDS_SECOND, BOTH("TAKE: swap of taken, released in part"));
  (void)found;
}

static void gate_by_part(void) {
  int taken;
  LOAD(taken, "taken", ACQUIRE("TAKE: load of the note"));
  if (taken == HOLDS_SECOND)
    WRITE("message", 2);
}

/* RELEASE, what is given up: one producer writes into its claim and gives it up (give_up), a reader passes
 * over it (pass_over), another producer wants the room. */
static void write_and_give_up(void) {
  WRITE("bytes", 1);
  STORE("word", PAD, RELEASE("PUBLISH: store of the word, PAD"));
}

static void pass_over_and_release(void) {
  int word;
  LOAD(word, "word", ACQUIRE("PUBLISH: load of the word, PAD"));
  if (word == PAD)
    STORE("cursor", 1, RELEASE("RELEASE: store of cursor"));
}

static void write_where_it_was(void) {
  int cursor;
  LOAD(cursor, "cursor", ACQUIRE("RELEASE: load of cursor"));
  if (cursor == 1)
    WRITE("bytes", 2);
}

/* TAKE, moves: a member takes over the run of a dead one, whose slot comes after its own in the look of the
 * producer (take_over_from, share_gate). */
static void take_over_and_read(void) {
  int found, message;
  bool late = WITHOUT("TAKE: moves counted before the old note goes");
  STORE("taken by me", COMING, SPARE(RELEASE("TAKE: store of the note, COMING")));
  if (!late)
    ADD(found, "moves", 1, BOTH("TAKE: RMW of moves"));
  SWAP(found, "taken by the dead", HELD, 0, BOTH("TAKE: swap of the dead one's note"));
  if (found != HELD)
    return;
  if (late)
    ADD(found, "moves", 1, BOTH(NULL));
  SWAP(found, "taken by me", COMING, HELD, SPARE(BOTH("TAKE: swap of the note, HELD")));
  READ(message, "message");
  (void)message;
}

static void gate_while_runs_move(void) {
  int moves, mine, dead, again;
  LOAD(moves, "moves", ACQUIRE("TAKE: load of moves"));
  LOAD(mine, "taken by me", SPARE(ACQUIRE("TAKE: load of a note")));
  LOAD(dead, "taken by the dead", ACQUIRE("TAKE: load of the dead one's note"));
  LOAD(again, "moves", SPARE(ACQUIRE("TAKE: second load of moves")));
  if (again != moves && !WITHOUT("TAKE: the second look at moves"))
    return;
  if (mine == 0 && dead == 0)
    WRITE("message", 2);
}

/* TAKE, judging: one member takes, or loses, or dies before either; another takes after it, or instead of it;
 * the note of the dead is judged (take, confirm_last_taker, judge_note). take: by whom the message
 * and the one after it were taken. */
#define BY_FIRST 1
#define BY_FIRST_THEN_OTHER 2
#define BY_OTHER 3
static int taken_by_first;

static void take_and_die(void) {
  int found;
  taken_by_first = false;
  STORE("taken", NOTED, SPARE(RELEASE("TAKE: store of the note")));
  DIE_HERE(UNLOCK("lock"));
  SWAP(found, "take", 0, BY_FIRST, BOTH("TAKE: swap of take"));
  taken_by_first = found == 0;
  UNLOCK("lock");
}

static void confirm_and_take(void) {
  int take, taken, found;
  LOAD(take, "take", ACQUIRE("TAKE: load of take"));
  if (take == BY_FIRST && !WITHOUT("TAKE: the last taker's note confirmed before take moves on")) {
    LOAD(taken, "taken", SPARE(ACQUIRE("TAKE: load of the last taker's note")));
    if (taken == NOTED)
      SWAP(found, "taken", NOTED, HELD, SPARE(BOTH("TAKE: swap of the note, confirmed")));
  }
  SWAP(found, "take", take, take == BY_FIRST ? BY_FIRST_THEN_OTHER : BY_OTHER,
       SPARE(BOTH("TAKE: swap of take, after the confirmation")));
  (void)found;
}

static void judge_the_dead(void) {
  int taken, lock, take = 0, found;
  bool early = WITHOUT("TAKE: take loaded after the kernel is asked");
  LOAD(taken, "taken", SPARE(ACQUIRE("TAKE: load of the note, by its judge")));
  if (taken != NOTED)
    return;
  if (early)
    LOAD(take, "take", ACQUIRE(NULL));
  LOAD(lock, "lock", ACQUIRE(NULL));
  if (lock)
    return;
  if (!early)
    LOAD(take, "take", SPARE(ACQUIRE("TAKE: load of take, by the judge")));
  SWAP(found, "taken", NOTED, take == BY_FIRST ? HELD : 0, SPARE(BOTH("TAKE: swap of the note")));
  (void)found;
}

static void what_was_taken_is_held(void) {
  FORBID(others_ended && taken_by_first && latest("taken") == 0);
  FORBID(others_ended && !taken_by_first && latest("taken") == HELD);
}

static const struct test tests[] = {
    {"PUBLISH", {{"producer", publish}, {"reader", borrow}}, {{NULL, 0}}},
    {"PUBLISH, all at once",
     {{"producer", publish_all_at_once}, {"reader", borrow_batch}},
     {{NULL, 0}}},
    {"CLEAR", {{"producer", clear_and_publish_two}, {"reader", borrow_two}}, {{"word(next)", OLD}}},
    {"TAIL",
     {{"producer", publish_and_announce}, {"joiner", start_at_tail}},
     {{"word(next)", OLD}, {"count[1]", OLD}}},
    {"BANK", {{"writer", store_counted}, {"reader", load_counted}}, {{"count[1]", OLD}}},
    {"BANK, seeking back",
     {{"consumer", release_and_seek_back}, {"producer", load_gate}},
     {{"gating", GATING(0, SETTLED)}, {"cursor", COUNTED(1, 1)}, {"count[1]", 1}}},
    {"RELEASE",
     {{"consumer", read_and_release}, {"producer", gate_and_overwrite}},
     {{"count[1]", OLD}}},
    {"ANNOUNCE", {{"producer", publish_and_overwrite}, {"reader", copy_out}}, {{NULL, 0}}},
    {"JOIN, a new group",
     {{"producer", announce_scan_overwrite}, {"joiner", join_new_group}},
     {{"word(1)", OLD}, {"cursor", 1}}},
    {"JOIN, seeking back",
     {{"producer", overwrite_and_scan_again}, {"consumer", seek_back}},
     {{"groups", 1}, {"gating", GATING(0, SETTLED)}, {"cursor", 1}}},
    {"JOIN, an entry used again",
     {{"producer", scan_groups}, {"joiner", join_in_used_entry}},
     {{"gating", GATING(0, SETTLED)}}},
    {"SLEEP, fenced",
     {{"waker", publish_and_wake_fenced},
      {"sleeper", look_and_sleep_fenced},
      {NULL, nobody_sleeps_beside_a_message}},
     {{NULL, 0}}},
    {"SLEEP, by membarrier",
     {{"waker", publish_and_wake_asymmetric},
      {"sleeper", look_and_sleep_asymmetric},
      {NULL, nobody_sleeps_beside_a_message}},
     {{NULL, 0}}},
    {"STATE", {{"producer", publish_and_finish}, {"reader", borrow_or_end}}, {{NULL, 0}}},
    {"TAIL, many producers",
     {{"producer", claim_two_laps}, {"another", move_tail}, {"late", claim_late}},
     {{NULL, 0}}},
    {"JOIN, many producers",
     {{"raiser", raise_floor}, {"producer", find_floor_scan_overwrite}, {"joiner", join_new_group}},
     {{"word(1)", OLD}, {"cursor", 1}}},
    {"STATE, many producers",
     {{"producer", publish_unless_finished},
      {"another", finish_stream},
      {"reader", believe_in_the_end},
      {NULL, nothing_is_published_after_the_end}},
     {{NULL, 0}}},
    {"DEATH, the living",
     {{"claimer", take_slot_and_claim}, {"blocked", recover_claim}},
     {{NULL, 0}}},
    {"DEATH, the next holder",
     {{"claimer", claim_and_die},
      {"fate", fate_strikes},
      {"next holder", resolve_claim},
      {NULL, no_claim_passes_to_the_next_holder}},
     {{"lock", 1}, {"slot.claim", 1}}},
    {"TAKE, the gate", {{"member", take_read_release}, {"producer", gate_by_notes}}, {{NULL, 0}}},
    {"TAKE, part of a run",
     {{"member", read_and_release_part}, {"producer", gate_by_part}},
     {{"taken", HOLDS_BOTH}}},
    {"RELEASE, what is given up",
     {{"producer", write_and_give_up},
      {"reader", pass_over_and_release},
      {"another", write_where_it_was}},
     {{NULL, 0}}},
    {"TAKE, a run that moves",
     {{"member", take_over_and_read}, {"producer", gate_while_runs_move}},
     {{"taken by the dead", HELD}}},
    {"TAKE, judging the dead",
     {{"member", take_and_die},
      {"fate", fate_strikes},
      {"other", confirm_and_take},
      {"judge", judge_the_dead},
      {NULL, what_was_taken_is_held}},
     {{"lock", 1}}},
    {"SLOT",
     {{"attacher", attach}, {"anybody", look_at_slot}},
     {{"state", SLOT_STATE(1, 0)}, {"name", OLD}}},
};

int main(int count, char **arguments) {
  const char *only = count > 1 ? arguments[1] : "";
  for (size_t i = 0; i < sizeof classics / sizeof classics[0]; i++)
    if (strstr(classics[i].name, only))
      check_classic(&classics[i], count > 1);
  for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
    if (strstr(tests[i].name, only))
      check_test(&tests[i], false, count > 1);
  printf("%u of %u as expected\n", done - bad, done);
  return bad || !done;
}
