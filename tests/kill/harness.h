/* SPDX-License-Identifier: MIT */
/* harness.h - stopping a process at every instruction.
 *
 *   this process (the judge)                       child (the actor), stepped with ptrace
 *     live ring file, own plain mapping   <------->  attached through the public API
 *     control page: plan and log          <-------   what it is about to do, what has returned
 *     scratch ring file = copy of the live bytes on which nobody holds a lock:
 *       the world in which the actor was killed right now
 *
 * step.c and step_many.c kill the actor at every instruction, by making that copy; and, asked for sigkill,
 * truly, at those where it meets others. pause.c and
 * pause_many.c stop it at every instruction and let others work on the live file before it goes on.
 * The first of each is about rings with one producer, the second about the rest, for which crowd.h
 * says what a message is. pairs.c has two actors.
 *
 * In rings with one producer every message is known in advance: its sequence number is the count of
 * messages published before it, its length and tag stand in the plan, and its bytes follow from
 * sequence number and position. They are chosen to deceive: each 8 bytes of a message spell the word of
 * a committed record one lap later, so that whoever takes old payload for a record's word is found out.
 *
 * All state is in one static place (harness), since a test is one judge and one actor at a time: where
 * there are two, all calls are about one of them, and actor_switch makes it the other. */
#ifndef RINGBUS_TESTS_KILL_HARNESS_H
#define RINGBUS_TESTS_KILL_HARNESS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <ringbus/layout.h>
#include <ringbus/ringbus.h>

enum {
  CAPACITY = 4096, /* the smallest ring: a full lap is cheap, and every edge is near */
  LONGEST = CAPACITY - 16,
  GROUPS = 3,
  PARTICIPANTS = 5,
  MESSAGES = 1024 /* more than any scenario and its check publish */
};

/* smallest_ring: with one producer, of CAPACITY. */
struct ringbus_create_options smallest_ring(enum ringbus_no_group no_group);

/* Where the counters of the ring stand before anybody attaches, and how sleepers are woken. */
struct layout {
  const char *name;
  uint64_t start;
  enum ringbus_wake wake;
};
extern const struct layout layouts[];
extern const size_t layout_count;

struct plan {
  uint32_t length;
  uint32_t tag;
};

/* What is promised of a group if the actor dies now. */
struct group_promise {
  char name[8]; /* "" unused */
  uint32_t must_exist;
  uint32_t may_exist;
  uint32_t policy;  /* enum ringbus_policy */
  uint64_t before;  /* its next message, by count: this ... */
  uint64_t after;   /* ... or this (the call that changes it is under way), nothing else ... */
  uint32_t between; /* ... or, for calls of many steps, anything between the two */
  uint32_t lapped;  /* 1: it may have been lapped and then stands at the oldest */
};

struct promise {
  uint64_t done;  /* messages 0 .. done - 1: their calls have returned 0 */
  uint64_t begun; /* messages done .. begun - 1: may be there, in order, up to any of them ... */
  uint32_t all_or_none; /* ... or all of them or none of them */
  uint32_t drops;       /* messages that no group has read may be gone (no gate) */
  uint32_t closing;     /* finish has been called ... */
  uint32_t closed;      /* ... and has returned */
  struct group_promise groups[GROUPS];
};

/* The page that actor and judge share beside the ring. */
struct control {
  struct promise promise;
  volatile uint32_t region_ended;
  volatile uint32_t stop_at_end; /* the actor is to stop once more behind its region */
  volatile uint32_t turn;        /* whose turn it is, behind a region */
  volatile uint32_t waiting;     /* it has stopped because the other actor is in its way: pairs.c */
  volatile uint32_t failed_line; /* a check of the actor's own that failed, and what it saw */
  volatile int64_t failed_value;
  volatile uint64_t report[4];
  struct plan plan[MESSAGES];
};

/* What the actor holds. */
struct actor {
  ringbus_ring *ring;
  ringbus_producer *producer;
  ringbus_consumer *consumer[GROUPS];
  ringbus_observer *observer;
  struct control *control;
  uint64_t position; /* where the next message will stand, kept by prepare_message */
  uint64_t sequence;
  char buffer[8][CAPACITY]; /* messages made before the region begins */
  uint32_t length[8], tag[8];
  struct ringbus_message message, messages[64];
  int result;
  char copy[CAPACITY];
};

struct harness {
  char directory[64];
  char live_path[96], scratch_path[96];
  char new_path[96];    /* for a ring that the actor makes */
  char *live, *scratch; /* plain mappings of the two files */
  size_t file_bytes;
  struct part {
    uint64_t offset, bytes;
  } parts[3];  /* header, slots and groups; words; data: all that is ever used */
  char *fresh; /* the live file as it was before anybody attached */
  char *last;  /* as it was when it was last looked at */
  struct control *control;
  void *beside; /* shared by actor and judge, too: as many bytes as harness_begin was asked for */
  size_t beside_bytes;
  const struct layout *layout;
  const char *scenario;
  uint64_t instruction; /* within the scenario */
  uint64_t instructions, states, bad;
  uint64_t missed;   /* places of a trace to which the actor did not come again */
  uint64_t bad_here; /* in this scenario: only the first few are told */
  pid_t actor, other_actor;
  struct control *other_control;
  bool full;                               /* RINGBUS_TEST_SCALE=full */
  bool sigkill;                            /* the command line begins with "sigkill" */
  const char *only_scenario, *only_layout; /* and goes on with substrings */
};
extern struct harness harness;

/* harness_begin: the temporary directory and the signals that clean it up, and so many bytes of shared
 * memory beside the control page. harness_end: prints the totals, as the figure of this claim with the
 * states called so (NULL: nothing, in one of several processes), and returns the exit status. */
void harness_begin(int argc, char **argv, size_t beside_bytes);
int harness_end(const char *claim, const char *states);
bool harness_wants(const char *scenario, const struct layout *layout);

/* harness_ring: make the live and the scratch ring, for this layout, which also says how they wake.
 * harness_reset: the live file as it was before anybody attached, and an empty control page.
 * harness_world: the path of a ring in which the actor has been killed just now: the live one if that is
 * so, else the scratch one, as the live one is now. harness_drop: remove both. */
void harness_ring(const struct layout *layout, struct ringbus_create_options options);
void harness_reset(void);
const char *harness_world(void);
void harness_drop(void);

/* harness_file_changed: does the live file differ from what it was at the last call? */
bool harness_file_changed(void);

/* harness_bad: one wrong thing. */
__attribute__((format(printf, 1, 2))) void harness_bad(const char *format, ...);

/* actor_start: fork an actor that runs prepare, stops, runs region, says so, and then runs rest (may
 * be NULL). Returns false if it did not get to its stop. */
struct scenario {
  const char *name;
  void (*prepare)(struct actor *);
  void (*region)(struct actor *);
  void (*rest)(struct actor *);
  enum ringbus_no_group no_group;
};
bool actor_start(const struct scenario *scenario);
/* actor_step: one instruction. False if it has died, waits, or stopped for a signal of its own. */
bool actor_step(void);
/* actor_run_to: let it run until it is about to execute the instruction at address, having come by there
 * so many times. False if it does not come there in its region, or on another processor than x86-64. */
bool actor_run_to(uint64_t address, uint64_t times);
/* actor_continue: let it run freely. actor_kill: SIGKILL, and wait until it is gone.
 * actor_finish: wait for its orderly end; reports its failed checks. */
void actor_continue(void);
void actor_kill(void);
bool actor_finish(void);
/* actor_end_region: let it run to the end of its region, where it stands still. False if it waits, or has
 * failed, which is told and leaves no actor. */
bool actor_end_region(void);
/* actor_switch: from now on all is about the other actor, and its trace. */
void actor_switch(void);
uint64_t actor_instruction_pointer(void);

/* Taking turns behind a region. turn_over_to_judge: in the actor; returns when it is its turn again.
 * turn_of_judge: wait for that; false if the actor is gone: actor_finish will say why. */
void turn_over_to_judge(void);
bool turn_of_judge(void);
void turn_over_to_actor(void);

/* The instructions of a region in the order in which they are executed when nobody interferes, or always in
 * the same way. trace_note: the actor is about to execute the next one; trace_region: all of them, of an actor
 * that has just been started. trace_go_to: bring a new actor to instruction number k; false if it went another
 * way this time. trace_run_to: as fast as can be to where that instruction stood first, if it is still ahead.
 * trace_is_near: it meets others, as below, and an actor gets there in few steps, and it is not one of many
 * rounds of a loop, of which only the first few are, and every 64th. */
void trace_begin(void);
void trace_note(void);
void trace_region(void);
uint64_t trace_length(void);
/* trace_is_wanted, asked for k = 0, 1, 2 ...: pause there? Only before instructions that meet others, that
 * is, touch memory that others map, or enter the kernel: a pause before any other one is the same as a
 * pause before the next that does, or at the end of the region. In full mode before all of these; else at a
 * sample of about so many, and before each that changes the file. */
bool trace_is_wanted(uint64_t k, uint64_t sample);
bool trace_go_to(uint64_t k);
/* trace_kill_at_each: true SIGKILLs at the instructions of a scenario that are wanted, each of a new actor, which
 * start starts; judge finds the file as the dead left it, and is told how many there have been. */
void trace_kill_at_each(bool (*start)(const void *scenario), const void *scenario,
                        void (*judge)(uint64_t number));
void trace_run_to(uint64_t k);
bool trace_is_near(uint64_t k);

/* Of two actors. trace_meets_other: it enters the kernel, or it reads in a line of the file (128 bytes) that the
 * other one writes to, or writes where the other one reads or writes: in any of the traces that were made of that
 * one since trace_forget_lines. */
void trace_forget_lines(void);
bool trace_changes_something(uint64_t k); /* in the file or, it may be, in the kernel */
bool trace_meets_other(uint64_t k);

/* actor_expect: a check in the actor. */
#define actor_expect(actor, condition, value)                                                      \
  do {                                                                                             \
    if (!(condition))                                                                              \
      actor_failed(actor, __LINE__, (int64_t)(value));                                             \
  } while (0)
__attribute__((noreturn)) void actor_failed(struct actor *actor, int line, int64_t value);

/* fill_message, verify_message: the bytes of message number sequence at a position. */
void fill_message(char *bytes, uint32_t length, uint64_t sequence, uint64_t position);
bool verify_message(const struct ringbus_message *message, uint64_t sequence,
                    const struct plan *plan);
/* record_bytes: see layout.h. */
uint64_t record_bytes(uint32_t length, uint32_t tag);
/* varied_length: a mix of short, long and empty messages. */
uint32_t varied_length(uint64_t sequence);

/* For the judge's part: publish one message by the plan; read everything there is in a group. */
int publish_planned(ringbus_producer *producer, struct plan *plan, uint32_t length, uint32_t tag);
/* drain_group: read and release up to max messages; *next counts them. Returns 0 when nothing is
 * left or max is reached, else what is wrong (a message that is not as planned: -EILSEQ). */
int drain_group(ringbus_consumer *consumer, const struct plan *plan, uint64_t max, uint64_t *next);

#endif
