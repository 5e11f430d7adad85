/* SPDX-License-Identifier: MIT */
/* ringbus.c - the `ringbus` command: finds the verb; errors, signals, the end. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct verb *const verbs[] = {
    &create_verb, &ls_verb,   &info_verb, &check_verb, &repair_verb, &rm_verb, &group_verb,
    &send_verb,   &recv_verb, &tail_verb, &dump_verb,  &bench_verb,  NULL,
};

static const char exit_codes_help[] =
    "\n"
    "Exit codes\n"
    "  0  done                     4  busy: somebody else holds that role, group or ring\n"
    "  1  an error                 5  damaged, or not a ring\n"
    "  2  wrong usage              6  stale: the ring was removed meanwhile\n"
    "  3  timed out                130, 143, 141  ended in order after SIGINT, SIGTERM, a closed "
    "pipe\n";

/* What stands before every error; main adds the verb. */
static const char *verb_name = "";

/* ---------------------------------------------------------------- errors */

/* print_error: a line, in which nothing of what names and files say may control a terminal. end follows. */
__attribute__((format(printf, 2, 0))) static void
print_error(const char *subject, const char *format, va_list arguments, const char *end) {
  char *who = strdup(subject), *what;
  if (vasprintf(&what, format, arguments) < 0)
    what = NULL;
  fprintf(stderr, "ringbus%s%s: %s%s%s%s\n", *verb_name ? " " : "", verb_name,
          who != NULL ? make_printable(who) : "", *subject ? ": " : "",
          what != NULL ? make_printable(what) : strerror(ENOMEM), end);
  free(who);
  free(what);
}

void usage_error(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char end[64];
  snprintf(end, sizeof end, ": see 'ringbus%s%s --help'", *verb_name ? " " : "", verb_name);
  print_error("", format, arguments, end);
  va_end(arguments);
  exit(COMMAND_USAGE);
}

static int exit_code_of(int error) {
  switch (error) {
  case -ETIMEDOUT:
    return COMMAND_TIMEOUT;
  case -EBUSY:
    return COMMAND_BUSY;
  case -EBADMSG:
  case -EPROTONOSUPPORT:
  case -EFAULT: /* the kernel found no bytes behind the mapping: the file was cut */
    return COMMAND_DAMAGED;
  case -ESTALE:
    return COMMAND_STALE;
  default:
    return COMMAND_ERROR;
  }
}

const char *reason_of(int error) {
  const char *detail = ringbus_error_detail();
  return *detail ? detail : ringbus_strerror(error);
}

int failed_call(const char *ring_name, int error) {
  return failed_because(ring_name, error, "%s", reason_of(error));
}

static char *last_error; /* NULL: none, or no memory for it */

const char *error_told(void) { return last_error != NULL ? last_error : strerror(ENOMEM); }

int failed_because(const char *subject, int error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_error(subject, format, arguments, "");
  va_end(arguments);
  va_start(arguments, format);
  free(last_error);
  if (vasprintf(&last_error, format, arguments) < 0)
    last_error = NULL;
  va_end(arguments);
  return exit_code_of(error);
}

int failed_output(int system_error) {
  if (system_error == EPIPE)
    return COMMAND_SIGNALLED + SIGPIPE; /* whoever read our output has enough */
  return failed_because("standard output", -system_error, "cannot write: %s",
                        strerror(system_error));
}

int out_of_memory(const char *subject) {
  return failed_because(subject, -ENOMEM, "%s", strerror(ENOMEM));
}

void notice(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_error("", format, arguments, "");
  va_end(arguments);
}

/* ---------------------------------------------------------------- signals and time */

static volatile sig_atomic_t stop_signal;    /* the first one */
static volatile sig_atomic_t stop_reminders; /* signals and alarms since */

static void remember_stop(int signal_number) {
  if (stop_signal == 0)
    stop_signal = signal_number;
  else if (stop_reminders < 2)
    stop_reminders = stop_reminders + 1;
  alarm(1);
}

static void report_missing_bytes(int signal_number) {
  (void)signal_number;
  static const char text[] = "ringbus: the ring's file was cut short, or got holes, while it was "
                             "mapped: it is damaged, remove it\n";
  ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
  (void)ignored;
  _exit(COMMAND_DAMAGED);
}

void catch_stop_signals(void) {
  struct sigaction stop = {.sa_handler = remember_stop}; /* without SA_RESTART */
  sigemptyset(&stop.sa_mask);
  sigaction(SIGALRM, &stop, NULL);
  static const int signals[] = {SIGINT, SIGTERM};
  for (size_t index = 0; index < sizeof signals / sizeof signals[0]; index++) {
    /* A signal that the parent had us ignore (a shell's background job, nohup) stays ignored. */
    struct sigaction before;
    if (sigaction(signals[index], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
      sigaction(signals[index], &stop, NULL);
  }
  signal(SIGPIPE, SIG_IGN);
}

int stop_code(void) { return stop_signal == 0 ? COMMAND_OK : COMMAND_SIGNALLED + stop_signal; }

bool stop_urgent(void) { return stop_reminders > 0; }

bool try_again(int fd, short events) {
  if (errno != EAGAIN && errno != EINTR)
    return false;
  if (errno == EAGAIN)
    poll(&(struct pollfd){.fd = fd, .events = events}, 1, 1000);
  return true;
}

/* The parent shall see that a signal ended us, so that a script around us ends as well. */
static int end_by_signal(int signal_number) {
  signal(signal_number, SIG_DFL);
  raise(signal_number);
  return COMMAND_SIGNALLED + signal_number;
}

int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct deadline deadline_in(int64_t timeout_ns) {
  if (timeout_ns == RINGBUS_FOREVER || timeout_ns > INT64_MAX - now_ns())
    return (struct deadline){.never = true};
  return (struct deadline){.at_ns = now_ns() + timeout_ns};
}

int64_t deadline_left(const struct deadline *deadline) {
  if (deadline->never)
    return RINGBUS_FOREVER;
  int64_t left = deadline->at_ns - now_ns();
  return left > 0 ? left : 0;
}

/* ---------------------------------------------------------------- main */

void verb_help(const struct verb *verb) {
  fputs(verb->help, stdout);
  fputs(exit_codes_help, stdout);
  finish(COMMAND_OK);
}

void finish(int code) {
  errno = 0;
  bool failed = fflush(stdout) != 0;
  if ((failed || ferror(stdout)) && code == COMMAND_OK)
    code = failed_output(errno == 0 ? EIO : errno); /* 0: it failed before */
  exit(code > COMMAND_SIGNALLED ? end_by_signal(code - COMMAND_SIGNALLED) : code);
}

static void print_help(void) {
  fputs("Usage: ringbus VERB ...\n"
        "Messages between processes through a ring buffer in one memory-mapped file.\n"
        "\n",
        stdout);
  for (const struct verb *const *verb = verbs; *verb != NULL; verb++)
    printf("  %-8s %s\n", (*verb)->name, (*verb)->summary);
  fputs("\n"
        "  ringbus VERB --help   options and examples\n"
        "  ringbus --version\n"
        "\n"
        "A ring is named by a path (with a '/'), or by a name in the bus directory: $RINGBUS_DIR, "
        "or\n"
        "a private one of this user under /dev/shm.\n"
        "\n"
        "Examples\n"
        "  ringbus create numbers\n"
        "  ringbus recv numbers &\n"
        "  seq 10 | ringbus send numbers --close\n"
        "  wait\n"
        "  ringbus rm numbers\n",
        stdout);
  fputs(exit_codes_help, stdout);
}

static int run_verb(const struct verb *verb, int argc, char **argv) {
  verb_name = verb->name;
  int count = argc - 1;
  if (verb->options != NULL)
    count = parse_options(verb, argc, argv);
  return verb->run(count, verb->options != NULL ? argv : argv + 1);
}

static int run(int argc, char **argv) {
  const char *word = argc < 2 ? "" : argv[1];
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
    print_help();
    return COMMAND_OK;
  }
  if (strcmp(word, "--version") == 0) {
    printf("ringbus %s\n", ringbus_version());
    return COMMAND_OK;
  }
  if (strcmp(word, "--complete") == 0) {
    complete(verbs, argc - 2, argv + 2);
    return COMMAND_OK;
  }
  for (const struct verb *const *verb = verbs; *verb != NULL; verb++)
    if (strcmp(word, (*verb)->name) == 0)
      return run_verb(*verb, argc - 1, argv + 1);
  char names[256] = "";
  for (const struct verb *const *verb = verbs; *verb != NULL; verb++) {
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, "%s%s",
             verb == verbs     ? ""
             : verb[1] == NULL ? " or "
                               : ", ",
             (*verb)->name);
  }
  if (argc < 2)
    usage_error("expected a verb: %s", names);
  usage_error("'%s' is no verb: expected %s", word, names);
}

/* hold_standard_descriptors: nothing that we open must become our input or output. What was closed shall
 * still answer that it cannot be read or written. */
static void hold_standard_descriptors(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
      exit(COMMAND_ERROR); /* without a word, for which there is no place */
}

int main(int argc, char **argv) {
  hold_standard_descriptors();
  struct sigaction truncation = {.sa_handler = report_missing_bytes};
  sigemptyset(&truncation.sa_mask);
  sigaction(SIGBUS, &truncation, NULL);
  finish(run(argc, argv));
}
