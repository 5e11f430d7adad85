/* SPDX-License-Identifier: MIT */
/* command.h - what the verbs of the `ringbus` command share.
 *
 *   ringbus.c    main, the verbs, errors, signals
 *   options.c    tables of options, their values, and what a shell may complete
 *   rings.c      opening rings, and copies of them
 *   message.c    messages as bytes of a file (framing), as text and as JSON
 *   describe.c   participants, groups and rings as text and as JSON
 *   progress.c   the line that tells a person how far it is
 *   create.c ls.c info.c check.c repair.c rm.c group.c send.c recv.c bench.c   one verb each
 *   dump.c       two: dump and tail, which read as observers
 *
 * A verb is a struct verb: its help, its table of options, and run. Mistakes in the options end the
 * process at once (nothing has been opened then); every later error is printed where it happens and
 * passed up as its exit code, so that handles are detached in order. */
#ifndef RINGBUS_TOOLS_COMMAND_H
#define RINGBUS_TOOLS_COMMAND_H

#include <ringbus/ringbus.h>

/* Exit codes, as `--help` tells them. Above 128: ended by signal code - 128, after cleaning up. */
enum {
  COMMAND_OK = 0,
  COMMAND_ERROR = 1,
  COMMAND_USAGE = 2,
  COMMAND_TIMEOUT = 3,
  COMMAND_BUSY = 4,
  COMMAND_DAMAGED = 5,
  COMMAND_STALE = 6,
  COMMAND_SIGNALLED = 128
};

/* ---------------------------------------------------------------- errors: one line on stderr each */

/* usage_error: "ringbus VERB: <format>: see 'ringbus VERB --help'", then exit with COMMAND_USAGE. */
_Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* reason_of: what a slow call of the library that has just answered this error has to say of it. */
const char *reason_of(int error);

/* failed_call: report what a slow call of the library answered about this ring. Returns the exit code. */
int failed_call(const char *ring_name, int error);

/* failed_because: report an error in the caller's words: what is wrong, then what to do. Returns the
 * exit code that belongs to error. */
int failed_because(const char *subject, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* error_told: the last error that was reported, without its subject, for --json. Good until the next one. */
const char *error_told(void);

/* failed_output: report that standard output cannot be written. Returns the exit code; after EPIPE, without
 * a word, that of SIGPIPE. */
int failed_output(int system_error);

/* out_of_memory: the same for want of memory. */
int out_of_memory(const char *subject);

/* notice: "ringbus VERB: <format>" on stderr, for what is worth knowing but is no error. */
void notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* finish: the end of the process, with all output written, or that said. */
_Noreturn void finish(int code);

/* ---------------------------------------------------------------- verbs and options */

/* How messages lie in a file: each followed by a newline, each followed by a NUL byte, each behind its
 * length (4 bytes, little-endian), or back to back without anything in between. */
enum framing { FRAMING_LINE, FRAMING_NUL, FRAMING_LENGTH, FRAMING_RAW };
extern const char *const framing_names[];

/* How a verb writes messages. */
struct shape {
  enum framing framing;
  bool framed; /* it was said how */
  bool json;
};
/* check_shape: ends with a usage error if more than one shape is asked for. */
void check_shape(struct shape *shape);

/* What may stand in a place of the command line. */
enum word {
  WORD_NOTHING, /* that a shell could know */
  WORD_NUMBER,  /* may be a word of its own behind an option that MAY_TAKE_VALUE */
  WORD_CHOICE,
  WORD_RING,
  WORD_GROUP, /* of the ring that the line names */
  WORD_FILE,
  WORD_DIRECTORY
};

enum takes { TAKES_NOTHING, TAKES_VALUE, MAY_TAKE_VALUE };

/* An option of a verb. set is called with the value, NULL if there is none; it stores to *to, or ends
 * with a usage error that names the option and says what was expected. */
struct verb_option {
  const char *name; /* without "--" */
  char letter;      /* 0: none */
  enum takes takes;
  void (*set)(const struct verb_option *option, const char *text);
  void *to;
  uint64_t least, most;       /* set_number, set_number32; least: set_constant */
  const char *const *choices; /* NULL behind the last */
  enum word value;            /* for shells */
};

struct verb {
  const char *name;
  const char *summary;
  const char *help;
  const struct verb_option *options; /* a name of NULL behind the last; NULL: run gets all words */
  int (*run)(int count, char **operands);
  const char *const *choices; /* the first operand, if that is WORD_CHOICE */
  enum word operands[4];      /* the last one may be repeated */
};

extern const struct verb create_verb, ls_verb, info_verb, check_verb, repair_verb, rm_verb,
    group_verb, send_verb, recv_verb, tail_verb, dump_verb, bench_verb;

/* parse_options: hands each option to its set, and answers --help. Returns how many operands there are:
 * the first ones of argv afterwards, with a NULL behind. */
int parse_options(const struct verb *verb, int argc, char **argv);

/* verb_help: print a verb's help and the exit codes, and finish. */
_Noreturn void verb_help(const struct verb *verb);

/* complete: print what the last of these words, of a line that begins with `ringbus`, may become. ":files"
 * or ":directories": names of such. */
void complete(const struct verb *const *verbs, int count, char **words);

/* one_name: the only operand. */
const char *one_name(int count, char **operands);

/* not_a_copy: the name, of a ring that is to be used: "-" is not. */
const char *not_a_copy(const char *name);

void set_flag(const struct verb_option *option, const char *text);     /* bool */
void set_constant(const struct verb_option *option, const char *text); /* unsigned or an enum */
void set_text(const struct verb_option *option, const char *text);     /* const char * */
void set_number(const struct verb_option *option, const char *text);   /* uint64_t */
void set_number32(const struct verb_option *option, const char *text); /* uint32_t */
void set_size(const struct verb_option *option, const char *text);     /* uint64_t, of bytes */
void set_capacity(const struct verb_option *option, const char *text); /* uint64_t; one of a ring */
void set_seconds(const struct verb_option *option, const char *text);  /* int64_t, to nanoseconds */
void set_choice(const struct verb_option *option, const char *text);   /* unsigned or an enum */

/* Where to read from. */
struct where {
  enum ringbus_start start;
  uint64_t position;
};
void set_where(const struct verb_option *option, const char *text); /* struct where */
struct where parse_where(const char *name, const char *text, const char *const *choices);

void set_framing(const struct verb_option *option, const char *text); /* struct shape; NULL: raw */

/* Each returns the value, or ends with a usage error. name: as it is written, with "--". */
uint64_t parse_number(const char *name, const char *text, uint64_t least, uint64_t most);
unsigned parse_choice(const char *name, const char *text, const char *const *choices);

/* Options that several verbs have. */
#define OPTION_JSON(target)                                                                        \
  { .name = "json", .set = set_flag, .to = (target) }
#define OPTION_WAIT(target)                                                                        \
  { .name = "wait", .set = set_flag, .to = (target) }
#define OPTION_COUNT(target)                                                                       \
  {                                                                                                \
    .name = "count", .takes = TAKES_VALUE, .set = set_number, .to = (target), .least = 1,          \
    .most = UINT64_MAX                                                                             \
  }
#define OPTION_TIMEOUT(target)                                                                     \
  { .name = "timeout", .takes = TAKES_VALUE, .set = set_seconds, .to = (target) }
/* How messages are written. */
#define OPTIONS_SHAPE(target)                                                                      \
  {.name = "framing",                                                                              \
   .takes = TAKES_VALUE,                                                                           \
   .set = set_framing,                                                                             \
   .to = (target),                                                                                 \
   .choices = framing_names,                                                                       \
   .value = WORD_CHOICE},                                                                          \
      {.name = "raw", .set = set_framing, .to = (target)}, OPTION_JSON(&(target)->json)
#define OPTIONS_PROGRESS(target)                                                                   \
  {.name = "progress", .set = set_constant, .to = (target), .least = PROGRESS_ALWAYS}, {           \
    .name = "quiet", .letter = 'q', .set = set_constant, .to = (target), .least = PROGRESS_NEVER   \
  }
#define OPTIONS_END                                                                                \
  { .name = NULL }

/* ---------------------------------------------------------------- signals and time */

/* catch_stop_signals: from now on SIGINT and SIGTERM end blocking calls with EINTR and are remembered.
 * A signal can come just before a call blocks; therefore an alarm follows every second until the
 * process ends. SIGPIPE is ignored: writing answers EPIPE. */
void catch_stop_signals(void);

/* stop_code: 0, or the exit code of the signal that asked to stop. */
int stop_code(void);

/* stop_urgent: asked to stop, and a second has passed since, or asked again. */
bool stop_urgent(void);

/* try_again: after read or write has failed with errno. Whether it was only interrupted, or the descriptor
 * does not block (O_NONBLOCK): then once there may be something (events: POLLIN or POLLOUT), or a second
 * later. */
bool try_again(int fd, short events);

/* The end of a wait, from a timeout in nanoseconds or RINGBUS_FOREVER. */
struct deadline {
  bool never;
  int64_t at_ns;
};
int64_t now_ns(void);
struct deadline deadline_in(int64_t timeout_ns);
int64_t deadline_left(const struct deadline *deadline); /* 0 when it has passed */

/* ---------------------------------------------------------------- rings */

struct ring_request {
  const char *name;
  bool look;                /* read-only; "-" is a copy of a ring's file on standard input */
  bool can_wait;            /* the verb has --wait */
  bool wait;                /* for a ring that is not there yet */
  bool create;              /* if it is not there */
  bool many_producers;      /* of a ring that is created */
  uint64_t create_capacity; /* 0: the library's default */
  int64_t timeout_ns;       /* of wait */
};

/* open_ring: returns COMMAND_OK, or an exit code after reporting. */
int open_ring(const struct ring_request *request, ringbus_ring **ring);

/* failed_to_open: report why the library has not opened it. Returns the exit code. */
int failed_to_open(const struct ring_request *request, int error);

/* kind_of_file: what it is, if it is no file that could be a ring; else NULL. */
const char *kind_of_file(mode_t mode);

/* open_to_look: the same, read-only. */
int open_to_look(const char *name, ringbus_ring **ring);

/* read_image: a file in memory of this process's own; no more of it than a ring has. Returns a
 * descriptor, or -1 after reporting, with its exit code. */
int read_image(int from, const char *subject, int *code);

/* path_of_ring: where the library looks for it. Returns 0 or a negative errno. */
int path_of_ring(const char *name, char *path, size_t size);

/* find_group: by its name. Returns 0, -ENOENT or another negative errno. */
int find_group(const ringbus_ring *ring, const char *name, struct ringbus_group_info *group);

/* find_blocker: whose claim stays open while we look, for a second. One that ends sooner blocks nobody. */
bool find_blocker(const ringbus_ring *ring, struct ringbus_blame *blame);

/* ---------------------------------------------------------------- messages */

/* frame: what surrounds a message of this length. */
enum { FRAME_BEFORE = 4, FRAME_AFTER = 1 };
struct frame {
  unsigned char before[FRAME_BEFORE], after[FRAME_AFTER];
  size_t before_bytes, after_bytes;
};
struct frame frame(enum framing framing, uint32_t length);

/* unframe: the first message of what was read. Not for FRAMING_RAW. scanned: bytes in which there is no
 * delimiter, known from before. */
struct framed {
  bool whole; /* all of it is there: message, length, and used, with what surrounds it */
  size_t begin, length;
  size_t used;
  size_t scanned;
};
struct framed unframe(enum framing framing, const char *bytes, size_t count, size_t scanned);

/* Text that grows; failed once there was no memory for it. */
struct text {
  char *bytes;
  size_t used, size;
  bool failed;
};
void text_add(struct text *text, const void *bytes, size_t count);
void text_print(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* add_message_json: a message as one JSON object and a newline. count: how many were published before
 * it; members of a shared group do not know that, but whether another had it before. */
void add_message_json(struct text *text, const struct ringbus_message *message, uint64_t count,
                      bool shared);

/* add_message_text: the same for people, with at most so many of its bytes. */
void add_message_text(struct text *text, const struct ringbus_message *message, uint64_t count,
                      uint64_t most);

/* ---------------------------------------------------------------- what others have written */

/* printable_bytes: how many bytes the character at text has, of at most room (1 or more); 0 if it is
 * not well-formed UTF-8, or controls terminals. */
size_t printable_bytes(const char *text, size_t room);

/* make_printable: a name from the file must not control a terminal: such bytes become '?'. Returns name. */
const char *make_printable(char *name);

/* local_time: a CLOCK_REALTIME, for people. Returns text. */
const char *local_time(uint64_t realtime_ns, char text[24]);

/* short_size: "1M" where that is exact, else bytes. Returns text. */
const char *short_size(uint64_t bytes, char text[24]);

/* describe_participant: name, pid, slot and since when, in one line. Returns text. */
enum { DESCRIPTION_BYTES = 256 };
const char *describe_participant(const struct ringbus_participant *participant,
                                 char text[DESCRIPTION_BYTES]);

const char *state_name(const struct ringbus_ring_info *info);
const char *role_name(enum ringbus_role role);
const char *policy_name(enum ringbus_policy policy);
const char *no_group_name(enum ringbus_no_group no_group);
const char *wake_name(enum ringbus_wake wake);

/* ---------------------------------------------------------------- JSON */

struct cJSON;

/* add_whole: a number to a JSON object. cJSON keeps numbers as doubles, which would round 64 bits. */
void add_whole(struct cJSON *object, const char *key, uint64_t value);

/* add_name: a string from a file or from the command line; NULL: null. Control characters are escaped, what is
 * not UTF-8 becomes '?'. */
void add_name(struct cJSON *object, const char *key, const char *name);

struct cJSON *participant_object(const struct ringbus_participant *participant);
struct cJSON *group_object(const struct ringbus_group_info *group);

/* print_ring_json: all there is to see of a ring. Returns COMMAND_OK, or an exit code after reporting. */
int print_ring_json(const char *name, const ringbus_ring *ring);

/* print_line: an object as one line on standard output, and its end. Returns as above. */
int print_line(struct cJSON *object);

/* ---------------------------------------------------------------- progress */

struct progress {
  bool shown, on_terminal;
  uint64_t messages, bytes;
  int64_t started_ns, last_ns;
};

enum progress_choice { PROGRESS_IF_TERMINAL, PROGRESS_ALWAYS, PROGRESS_NEVER };

/* progress_begin: PROGRESS_IF_TERMINAL shows it if stderr is a terminal and screen_is_free: the
 * messages themselves are not written to a terminal. */
void progress_begin(struct progress *progress, enum progress_choice choice, bool screen_is_free);
void progress_add(struct progress *progress, uint64_t messages, uint64_t bytes);
void progress_end(struct progress *progress);

#endif
