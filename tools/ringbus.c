/* SPDX-License-Identifier: MIT */
/* ringbus.c - the `ringbus` command: finds the verb and holds what all verbs share (command.h). */
#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct verb {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *summary;
  const char *help;
};

static const struct verb verbs[] = {
    {"create", create_run, "make a ring", create_help},
    {"info", info_run, "show a ring, who is attached, and where its groups stand", info_help},
    {"dump", dump_run, "print all that is in a ring, or in a copy of its file", dump_help},
    {"send", send_run, "publish files or standard input", send_help},
    {"recv", recv_run, "write messages to standard output or a file", recv_help},
    {"repair", repair_run, "clear away what the dead have left, or end whoever blocks",
     repair_help},
    {"rm", rm_run, "remove rings", rm_help},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

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

static void print_prefix(void) {
  fprintf(stderr, "ringbus%s%s: ", *verb_name ? " " : "", verb_name);
}

void usage_error(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_prefix();
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, ": see 'ringbus%s%s --help'\n", *verb_name ? " " : "", verb_name);
  exit(COMMAND_USAGE);
}

void usage_error_option(int found, char **argv) {
  /* Unknown letters are in optopt; of long options only the word itself is known. */
  const char *word = argv[optind - 1];
  if (found == ':')
    usage_error("'%s' expects a value", word);
  if (optopt != 0 && optopt <= 255 && isprint(optopt))
    usage_error("'-%c' is no option", optopt);
  if (strchr(word, '=') != NULL && optopt != 0)
    usage_error("'%s': this option takes no value", word);
  usage_error("'%s' is no option, or short for several", word);
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

int failed_call(const char *ring_name, int error) {
  const char *detail = ringbus_error_detail();
  return failed_because(ring_name, error, "%s", *detail ? detail : ringbus_strerror(error));
}

int failed_because(const char *subject, int error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_prefix();
  fprintf(stderr, "%s: ", subject);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  return exit_code_of(error);
}

void notice(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_prefix();
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

/* ---------------------------------------------------------------- values of options */

/* Digits only: no sign, no space, no other base. False if there are none or they overflow. */
static bool read_digits(const char *text, uint64_t *value, const char **end) {
  uint64_t result = 0;
  const char *at = text;
  for (; isdigit((unsigned char)*at); at++) {
    uint64_t digit = (uint64_t)(*at - '0');
    if (result > (UINT64_MAX - digit) / 10)
      return false;
    result = result * 10 + digit;
  }
  *value = result;
  *end = at;
  return at != text;
}

uint64_t parse_number(const char *option, const char *text, uint64_t least, uint64_t most) {
  uint64_t value;
  const char *end;
  if (!read_digits(text, &value, &end) || *end != '\0' || value < least || value > most) {
    usage_error("%s '%s': expected a number from %llu to %llu", option, text,
                (unsigned long long)least, (unsigned long long)most);
  }
  return value;
}

static bool read_size(const char *text, uint64_t *size) {
  const char *end;
  if (!read_digits(text, size, &end))
    return false;
  if (*end == '\0')
    return true;
  static const char suffixes[] = "KMGT";
  const char *suffix = strchr(suffixes, toupper((unsigned char)*end));
  if (suffix == NULL || end[1] != '\0')
    return false;
  unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);
  if (*size > UINT64_MAX >> shift)
    return false;
  *size <<= shift;
  return true;
}

uint64_t parse_size(const char *option, const char *text) {
  uint64_t size;
  if (!read_size(text, &size) || size == 0) {
    usage_error("%s '%s': expected a number of bytes, such as 65536 or 64K (K, M, G, T)", option,
                text);
  }
  return size;
}

static uint64_t nearest_capacity(uint64_t size) {
  const uint64_t least = UINT64_C(1) << 12, most = UINT64_C(1) << 40;
  uint64_t below = least;
  while (below < most && below <= size / 2)
    below *= 2;
  return below < most && size > below && size - below > 2 * below - size ? 2 * below : below;
}

uint64_t parse_capacity(const char *option, const char *text) {
  uint64_t size;
  if (!read_size(text, &size))
    usage_error("%s '%s': expected a power of two from 4K to 1T, such as 4M", option, text);
  uint64_t nearest = nearest_capacity(size);
  if (nearest != size) {
    unsigned power = 0;
    while (power < 4 && nearest % 1024 == 0) {
      nearest /= 1024;
      power++;
    }
    usage_error("%s '%s': expected a power of two from 4K to 1T; the nearest is %llu%c", option,
                text, (unsigned long long)nearest, " KMGT"[power]);
  }
  return size;
}

int64_t parse_seconds(const char *option, const char *text) {
  char *end = NULL;
  double seconds = isdigit((unsigned char)*text) || *text == '.' ? strtod(text, &end) : -1;
  /* Below 2^63 ns (292 years), which also refuses infinity. */
  if (!(seconds >= 0 && seconds <= 9e9) || *end != '\0')
    usage_error("%s '%s': expected seconds, such as 10 or 0.5", option, text);
  return (int64_t)(seconds * 1e9 + 0.5);
}

int parse_choice(const char *option, const char *text, const char *const *names) {
  char expected[128] = "";
  for (int index = 0; names[index] != NULL; index++) {
    if (strcmp(text, names[index]) == 0)
      return index;
    size_t used = strlen(expected);
    const char *separator = index == 0 ? "" : names[index + 1] == NULL ? " or " : ", ";
    snprintf(expected + used, sizeof expected - used, "%s%s", separator, names[index]);
  }
  usage_error("%s '%s': expected %s", option, text, expected);
}

enum framing parse_framing(const char *option, const char *text) {
  static const char *const names[] = {"line", "nul", "raw", NULL};
  return (enum framing)parse_choice(option, text, names);
}

char framing_delimiter(enum framing framing) { return framing == FRAMING_NUL ? '\0' : '\n'; }

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

static void report_truncation(int signal_number) {
  (void)signal_number;
  static const char text[] =
      "ringbus: the ring's file was cut short while it was mapped: it is damaged, remove it\n";
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

/* ---------------------------------------------------------------- rings */

int open_ring(const struct ring_request *request, ringbus_ring **ring) {
  struct deadline deadline = deadline_in(request->timeout_ns);
  for (;;) {
    int error;
    if (request->create) {
      struct ringbus_create_options options = {.capacity = request->create_capacity,
                                               .many_producers = request->many_producers,
                                               .open_existing = true};
      error = ringbus_ring_create(request->name, &options, ring);
    } else {
      error = ringbus_ring_open(request->name, NULL, ring);
    }
    if (error == 0)
      return COMMAND_OK;
    /* A ring that is being removed is retired first and loses its name then. */
    if (!request->wait && error == -ENOENT)
      return failed_because(request->name, error,
                            "%s: 'ringbus create' makes it, --wait waits for it",
                            ringbus_error_detail());
    if (!request->wait || (error != -ENOENT && error != -ESTALE))
      return failed_call(request->name, error);
    if (stop_code() != 0)
      return stop_code();
    if (deadline_left(&deadline) == 0) {
      return failed_because(
          request->name, -ETIMEDOUT,
          "still no such ring: 'ringbus create' makes one, --timeout waits longer");
    }
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  }
}

/* A copy that came through a pipe, in memory of this process's own. Returns a descriptor, or -1 after
 * reporting, with its exit code. */
static int read_image(int *code) {
  int image = memfd_create("ringbus", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ssize_t got = 0, put = image < 0 ? -1 : 0;
  static char block[65536];
  while (put >= 0 && (got = read(STDIN_FILENO, block, sizeof block)) > 0)
    for (ssize_t done = 0; done < got && put >= 0; done += put)
      put = write(image, block + done, (size_t)(got - done));
  if (put >= 0 && got == 0 && fcntl(image, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0)
    return image;
  *code =
      failed_because("standard input", -errno, "cannot read it into memory: %s", strerror(errno));
  if (image >= 0)
    close(image);
  return -1;
}

int open_to_look(const char *name, ringbus_ring **ring) {
  const struct ringbus_open_options options = {.read_only = true};
  if (strcmp(name, "-") == 0) {
    int code = COMMAND_OK;
    int image = read_image(&code);
    if (image < 0)
      return code;
    int error = ringbus_ring_open_fd(image, &options, ring);
    close(image);
    return error == 0 ? COMMAND_OK : failed_call("standard input", error);
  }
  int error = ringbus_ring_open(name, &options, ring);
  if (error == 0)
    return COMMAND_OK;
  const char *detail = ringbus_error_detail();
  if (error == -ENOENT && strchr(name, '/') == NULL && access(name, R_OK) == 0)
    return failed_because(name, error, "%s: for the file here write ./%s", detail, name);
  if (error == -EOPNOTSUPP || error == -EPERM || error == -ELOOP)
    return failed_because(name, error, "%s: a copy can be read through standard input, as '-'",
                          detail);
  return failed_call(name, error);
}

/* ---------------------------------------------------------------- main */

int verb_help(const char *help) {
  fputs(help, stdout);
  fputs(exit_codes_help, stdout);
  return COMMAND_OK;
}

static int command_help(void) {
  fputs("Usage: ringbus VERB ...\n"
        "Messages between processes through a ring buffer in one memory-mapped file.\n"
        "\n",
        stdout);
  for (size_t index = 0; index < VERBS; index++)
    printf("  %-8s %s\n", verbs[index].name, verbs[index].summary);
  fputs("\n"
        "  ringbus VERB --help   options and examples\n"
        "  ringbus --version\n"
        "\n"
        "A ring is named by a path (with a '/'), or by a name in the bus directory: $RINGBUS_DIR, "
        "or\n"
        "a private one of this user under /dev/shm.\n"
        "\n"
        "Example\n"
        "  ringbus create numbers\n"
        "  ringbus recv numbers &\n"
        "  seq 10 | ringbus send numbers --close\n"
        "  ringbus rm numbers\n",
        stdout);
  fputs(exit_codes_help, stdout);
  return COMMAND_OK;
}

static int run_verb(int argc, char **argv) {
  if (argc < 2)
    usage_error("expected a verb");
  const char *word = argv[1];
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
    return command_help();
  if (strcmp(word, "--version") == 0) {
    printf("ringbus %s\n", ringbus_version());
    return COMMAND_OK;
  }
  for (size_t index = 0; index < VERBS; index++) {
    if (strcmp(word, verbs[index].name) == 0) {
      verb_name = verbs[index].name;
      return verbs[index].run(argc - 1, argv + 1);
    }
  }
  usage_error("'%s' is no verb: expected create, info, dump, send, recv, repair or rm", word);
}

int main(int argc, char **argv) {
  struct sigaction truncation = {.sa_handler = report_truncation};
  sigemptyset(&truncation.sa_mask);
  sigaction(SIGBUS, &truncation, NULL);

  int code = run_verb(argc, argv);
  if (fflush(stdout) != 0 && code == COMMAND_OK)
    code = failed_because("standard output", -errno, "%s", strerror(errno));
  return code > COMMAND_SIGNALLED ? end_by_signal(code - COMMAND_SIGNALLED) : code;
}
