/* SPDX-License-Identifier: MIT */
/* command.h - what the verbs of the `ringbus` command share.
 *
 *   ringbus.c    main, the verb table, errors, values of options, signals, opening rings
 *   text.c       what others have written, fit for a terminal and for JSON
 *   progress.c   the line that tells a person how far it is
 *   create.c info.c dump.c send.c recv.c repair.c rm.c   one verb each: <verb>_run and <verb>_help
 *
 * A verb parses its options with getopt_long, does its work and returns an exit code. Mistakes in the
 * options end the process at once (nothing has been opened then); every later error is printed where
 * it happens and passed up as its exit code, so that handles are detached in order. */
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

/* usage_error_option: what getopt_long has just refused; found is its answer, '?' or ':'. */
_Noreturn void usage_error_option(int found, char **argv);

/* failed_call: report what a slow call of the library answered about this ring. Returns the exit code. */
int failed_call(const char *ring_name, int error);

/* failed_because: report an error in the caller's words: what is wrong, then what to do. Returns the
 * exit code that belongs to error. */
int failed_because(const char *subject, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* notice: "ringbus VERB: <format>" on stderr, for what is worth knowing but is no error. */
void notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---------------------------------------------------------------- values of options */

/* Each returns the value, or ends with a usage error that says what was expected. */
uint64_t parse_number(const char *option, const char *text, uint64_t least, uint64_t most);
uint64_t parse_size(const char *option, const char *text); /* bytes, or with K, M, G, T (binary) */
uint64_t parse_capacity(const char *option, const char *text); /* a size that a ring can have */
int64_t parse_seconds(const char *option, const char *text); /* to nanoseconds; fractions allowed */
int parse_choice(const char *option, const char *text, const char *const *names); /* its index */

/* How messages lie in a file: each followed by a newline, each followed by a NUL byte, or back to
 * back without anything in between. */
enum framing { FRAMING_LINE, FRAMING_NUL, FRAMING_RAW };
enum framing parse_framing(const char *option, const char *text);
char framing_delimiter(enum framing framing); /* not for FRAMING_RAW */

/* ---------------------------------------------------------------- signals and time */

/* catch_stop_signals: from now on SIGINT and SIGTERM end blocking calls with EINTR and are remembered.
 * A signal can come just before a call blocks; therefore an alarm follows every second until the
 * process ends. SIGPIPE is ignored: writing answers EPIPE. */
void catch_stop_signals(void);

/* stop_code: 0, or the exit code of the signal that asked to stop. */
int stop_code(void);

/* stop_urgent: asked to stop, and a second has passed since, or asked again. */
bool stop_urgent(void);

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
  bool wait;                /* for a ring that is not there yet */
  bool create;              /* if it is not there */
  bool many_producers;      /* of a ring that is created */
  uint64_t create_capacity; /* 0: the library's default */
  int64_t timeout_ns;       /* of wait */
};

/* open_ring: open the ring for reading and writing. Returns COMMAND_OK, or an exit code after
 * reporting. */
int open_ring(const struct ring_request *request, ringbus_ring **ring);

/* open_to_look: open a ring read-only; "-" is a copy of a ring's file on standard input. Returns
 * COMMAND_OK, or an exit code after reporting. */
int open_to_look(const char *name, ringbus_ring **ring);

/* ---------------------------------------------------------------- text */

/* printable_bytes: how many bytes the character at text has, of at most room (1 or more); 0 if it is
 * not well-formed UTF-8, or controls terminals. */
size_t printable_bytes(const char *text, size_t room);

/* make_printable: a name from the file must not control a terminal or break JSON: such bytes become
 * '?'. Returns name. */
const char *make_printable(char *name);

/* local_time: a CLOCK_REALTIME, for people. Returns text. */
const char *local_time(uint64_t realtime_ns, char text[24]);

/* describe_participant: name, pid, slot and since when, in one line. Returns text. */
enum { DESCRIPTION_BYTES = 256 };
const char *describe_participant(const struct ringbus_participant *participant,
                                 char text[DESCRIPTION_BYTES]);

/* add_whole: a number to a JSON object. cJSON keeps numbers as doubles, which would round 64 bits. */
struct cJSON;
void add_whole(struct cJSON *object, const char *key, uint64_t value);

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

/* ---------------------------------------------------------------- verbs */

int create_run(int argc, char **argv);
int info_run(int argc, char **argv);
int dump_run(int argc, char **argv);
int send_run(int argc, char **argv);
int recv_run(int argc, char **argv);
int repair_run(int argc, char **argv);
int rm_run(int argc, char **argv);

extern const char create_help[], info_help[], dump_help[], send_help[], recv_help[], repair_help[],
    rm_help[];

/* verb_help: print a verb's help and the exit codes to stdout. Returns COMMAND_OK. */
int verb_help(const char *help);

#endif
