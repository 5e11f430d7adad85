/* SPDX-License-Identifier: MIT */
/* dump.c - `ringbus dump` and `ringbus tail`: what is in a ring, and what comes, read as an observer:
 * nobody notices, nobody waits for it, and nobody need be alive.
 *
 *   oldest ...... newest | published meanwhile, and later
 *   ◀───── dump ────────▶  at most a capacity behind the oldest, where the ring ended at the latest
 *           ◀─── tail ─────────────────────────────── ... until the stream is closed */
#include "command.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char dump_help[] =
    "Usage: ringbus dump NAME [OPTIONS]\n"
    "Print every message that is in a ring, oldest first, and end at the newest. Changes nothing "
    "and is\n"
    "not noticed; read permission is enough. Works on living rings, post mortem, and on copies of "
    "a\n"
    "ring's file (a path has a '/'); a NAME of - is a copy on standard input.\n"
    "\n"
    "Each message is a line: its number (how many were published before it), position, length, "
    "tag,\n"
    "and its bytes in quotes, with escapes as in C; \"...\" behind them: there are more.\n"
    "\n"
    "  --bytes N           show this many bytes of each message, or all (default 64)\n"
    "  --json              as one JSON object a line: count (the number), position, length, tag,\n"
    "                      and payload; or payload_base64, if it is not UTF-8 or has control\n"
    "                      characters\n"
    "  --framing HOW       only the messages themselves, whole: line (each followed by a "
    "newline),\n"
    "                      nul, length (each behind its length: 4 bytes, the lowest first), or\n"
    "                      raw (back to back)\n"
    "  --raw               the same as --framing raw\n"
    "  --from WHERE        oldest (default), or the first message at or behind a position\n"
    "  --count N           stop after N messages\n"
    "\n"
    "If messages are overwritten before they can be read, their number is told on standard error.\n"
    "What a producer has begun and, dead, will never commit is passed over.\n"
    "\n"
    "Examples\n"
    "  ringbus dump quotes\n"
    "  ringbus dump quotes --json | tail -n 1\n"
    "  ringbus dump ./post-mortem.ring --bytes all --count 10\n"
    "  gzip -dc post-mortem.ring.gz | ringbus dump - --raw\n";

static const char tail_help[] =
    "Usage: ringbus tail NAME [OPTIONS]\n"
    "Write messages to standard output as they are published, each followed by a newline, without "
    "taking\n"
    "part: nobody notices, nobody waits for it, and no reader of the ring gets less. Begins with "
    "what is\n"
    "published from now on. Done when the stream was closed; producers come and go meanwhile.\n"
    "\n"
    "  -n, --last N        begin with the last N messages that are in the ring\n"
    "  --from WHERE        begin at newest (default), at oldest, or with the first message at or\n"
    "                      behind a position\n"
    "  --framing HOW       line (default); nul: each followed by a NUL byte; length: each behind\n"
    "                      its length (4 bytes, the lowest first); raw: back to back\n"
    "  --raw               the same as --framing raw\n"
    "  --json              each as a JSON object a line, as 'ringbus dump --json' does\n"
    "  --count N           stop after N messages\n"
    "  --wait              wait for the ring, if there is none yet\n"
    "  --timeout SECONDS   wait at most this long each time: for the ring, for a message\n"
    "                      (default: for ever; fractions allowed)\n"
    "\n"
    "Whoever is not waited for may come too late: how many messages were overwritten before they "
    "could\n"
    "be read is told on standard error. A ring that is removed ends it with exit code 6; with "
    "--wait it\n"
    "can be started again at once. It looks for new messages every millisecond.\n"
    "\n"
    "Examples\n"
    "  ringbus tail quotes\n"
    "  ringbus tail quotes --last 10 --count 10\n"
    "  ringbus tail quotes --from oldest --json --count 1 | jq -r .payload\n";

enum {
  DEFAULT_BYTES = 64,
  FIRST_BUFFER = 64 * 1024,
  FRUITLESS = 1000 /* looks in a row without a message: then the file contradicts itself */
};
static const int64_t PATIENCE_NS = 100000000; /* with a message that is being written */
static const int64_t SLICE_NS =
    1000000000; /* of a wait: then whoever reads our output may have gone */

static struct {
  struct ring_request request;
  struct shape shape;
  bool follows; /* tail */
  bool as_text; /* dump, if nothing else is asked for */
  bool bytes_given, from_given;
  uint64_t bytes; /* of each message, as text */
  struct where from;
  uint64_t last;  /* begin with so many; 0: as from says */
  uint64_t count; /* messages still to be written at most */

  ringbus_ring *ring;
  ringbus_observer *observer;
  uint64_t first_count; /* of the first message to be written, unless from a position */
  uint64_t next_count;  /* of the one expected next */
  uint64_t lost;        /* of those that were to be written */
  int64_t lost_told_ns; /* 0: never */
  uint64_t lost_told;
  uint64_t end; /* dump: what stands here or behind was published meanwhile */
  char *buffer;
  size_t size;
  struct text text;
} reader = {
    .request = {.look = true, .timeout_ns = RINGBUS_FOREVER},
    .bytes = DEFAULT_BYTES,
    .count = UINT64_MAX,
};

/* The functions below return COMMAND_OK, or an exit code after reporting, unless said otherwise. */

/* ---------------------------------------------------------------- output */

/* flush_output: not through stdio, which forgets what it could not write at once. A signal to stop lets it
 * be finished, unless it blocks for a second or the signal is repeated. */
static int flush_output(void) {
  const char *next = reader.text.bytes;
  size_t left = reader.text.used;
  reader.text.used = 0;
  while (left > 0) {
    ssize_t written = write(STDOUT_FILENO, next, left);
    if (written < 0 && !try_again(STDOUT_FILENO, POLLOUT))
      return failed_output(errno);
    if (written < 0 && stop_urgent())
      return stop_code();
    next += written > 0 ? written : 0;
    left -= written > 0 ? (size_t)written : 0;
  }
  return COMMAND_OK;
}

static int write_message(const struct ringbus_message *message, uint64_t count) {
  struct frame around = frame(reader.shape.framing, message->length);
  if (reader.as_text)
    add_message_text(&reader.text, message, count, reader.bytes);
  else if (reader.shape.json)
    add_message_json(&reader.text, message, count, false);
  if (!reader.as_text && !reader.shape.json) {
    text_add(&reader.text, around.before, around.before_bytes);
    text_add(&reader.text, message->data, message->length);
    text_add(&reader.text, around.after, around.after_bytes);
  }
  if (reader.text.failed)
    return out_of_memory(reader.request.name);
  return reader.text.used < FIRST_BUFFER ? COMMAND_OK : flush_output();
}

/* tell_losses: what was overwritten before it could be written, at most once a second unless this is the
 * last time. */
static void tell_losses(bool at_the_end) {
  if (reader.lost == reader.lost_told ||
      (!at_the_end && (!reader.follows ||
                       (reader.lost_told_ns != 0 && now_ns() - reader.lost_told_ns < SLICE_NS))))
    return;
  notice("%s: lapped: %" PRIu64 " messages were overwritten before they could be read",
         reader.request.name, reader.lost);
  reader.lost_told = reader.lost;
  reader.lost_told_ns = now_ns();
}

/* ---------------------------------------------------------------- one message */

/* more_to_come: nothing can be read now. Whether something can, after what the dead have left open, or
 * what is being written at this moment. */
static bool more_to_come(void) {
  if (ringbus_observer_wait(reader.observer, 0) == 0)
    return true;
  struct ringbus_blame blame;
  uint64_t position;
  if (ringbus_ring_blame(reader.ring, RINGBUS_CONSUMER, &blame) != 0 || !blame.slot ||
      ringbus_observer_tell(reader.observer, &position, NULL) != 0 || position != blame.position)
    return false;
  if (ringbus_observer_wait(reader.observer, PATIENCE_NS) == 0)
    return true;
  char who[DESCRIPTION_BYTES];
  notice("%s: ends before position %" PRIu64 ", where a message was begun and is not committed: %s",
         reader.request.name, position, describe_participant(&blame.participant, who));
  return false;
}

/* wait_for_more: tail has written all there is. Returns 0, or a negative errno: -ETIMEDOUT; -EINTR: asked
 * to stop; -EIO: the output cannot be written, *code says more. */
static int wait_for_more(int *code) {
  struct deadline deadline = deadline_in(reader.request.timeout_ns);
  *code = flush_output();
  for (int error = *code == COMMAND_OK ? -ETIMEDOUT : -EIO;;) {
    struct pollfd output = {.fd = STDOUT_FILENO};
    int64_t left = deadline_left(&deadline);
    if (error == -EIO || stop_code() != 0)
      return error == -EIO ? -EIO : -EINTR;
    error = ringbus_observer_wait(reader.observer,
                                  left == RINGBUS_FOREVER || left > SLICE_NS ? SLICE_NS : left);
    if (error != -ETIMEDOUT && error != -EINTR)
      return error;
    if (poll(&output, 1, 0) == 1 && (output.revents & POLLERR)) {
      *code = failed_output(EPIPE);
      return -EIO;
    }
    if (error == -ETIMEDOUT && deadline_left(&deadline) == 0)
      return error;
  }
}

/* next_message: into the buffer. Returns as ringbus_observer_recv, save that -EPIPE is any end and -EAGAIN
 * none, and as wait_for_more; also -ENOMEM. */
static int next_message(struct ringbus_message *message, int *code) {
  for (int fruitless = 0; fruitless < FRUITLESS; fruitless += !reader.follows) {
    if (reader.follows && stop_code() != 0)
      return -EINTR;
    int error = ringbus_observer_recv(reader.observer, reader.buffer, reader.size, message);
    if (error == -EMSGSIZE) {
      char *larger = realloc(reader.buffer, message->length);
      if (larger == NULL)
        return -ENOMEM;
      reader.buffer = larger;
      reader.size = message->length;
    } else if (error == -EAGAIN && reader.follows) {
      tell_losses(false);
      error = wait_for_more(code);
      if (error != 0)
        return error;
    } else if (error == -EAGAIN && !more_to_come()) {
      return -EPIPE;
    } else if (error != -EAGAIN && error != -EOVERFLOW) {
      return error;
    }
  }
  return -EBADMSG;
}

/* is_wanted: whether this message is to be written, or stands before the first one. Counts what is missing
 * before it. */
static bool is_wanted(const struct ringbus_message *message, uint64_t count) {
  if (reader.from.start == RINGBUS_POSITION &&
      (int64_t)(message->position - reader.from.position) < 0) {
    reader.first_count = count + 1;
    return false;
  }
  if ((int64_t)(count - reader.first_count) < 0)
    return false;
  uint64_t expected = reader.next_count;
  if ((int64_t)(reader.first_count - expected) > 0)
    expected = reader.first_count;
  if ((int64_t)(count - expected) > 0)
    reader.lost += count - expected;
  reader.next_count = count + 1;
  return true;
}

/* ---------------------------------------------------------------- all of them */

static int read_messages(void) {
  while (reader.count > 0) {
    struct ringbus_message message;
    int code = COMMAND_OK, error = next_message(&message, &code);
    if (error == -EPIPE)
      return COMMAND_OK;
    if (error == -EIO)
      return code;
    if (error == -EINTR)
      return stop_code();
    if (error == -ETIMEDOUT)
      return failed_because(reader.request.name, error, "timed out: no message has come");
    if (error == -ESTALE)
      return failed_because(reader.request.name, error,
                            "the ring was removed meanwhile: --wait waits for a new one");
    if (error == -EBADMSG)
      return failed_because(reader.request.name, error,
                            "it contradicts itself: damaged, or copied while somebody wrote to it");
    if (error != 0)
      return failed_because(reader.request.name, error, "%s", ringbus_strerror(error));
    uint64_t count = 0;
    ringbus_observer_tell(reader.observer, NULL, &count);
    count--; /* of the one before the next */
    bool wanted = is_wanted(&message, count);
    if (!reader.follows && (int64_t)(message.position - reader.end) >= 0)
      return COMMAND_OK;
    if (!wanted)
      continue;
    reader.count--;
    code = write_message(&message, count);
    if (code != COMMAND_OK)
      return code;
    tell_losses(false);
  }
  return COMMAND_OK;
}

/* attach: an observer that stands at or before the first message to be written. */
static int attach(const struct ringbus_ring_info *info) {
  bool from_the_end = reader.from.start == RINGBUS_NEWEST && reader.last == 0;
  const struct ringbus_observer_options options = {.start = from_the_end ? RINGBUS_NEWEST
                                                                         : RINGBUS_OLDEST};
  if (reader.from.start == RINGBUS_POSITION && reader.from.position - info->oldest > info->capacity)
    return failed_because(reader.request.name, -EINVAL,
                          "--from %" PRIu64 ": the oldest message is at %" PRIu64
                          ", the next one will be at %" PRIu64,
                          reader.from.position, info->oldest, info->tail);
  int error = ringbus_observer_attach(reader.ring, &options, &reader.observer);
  if (error != 0)
    return failed_call(reader.request.name, error);
  ringbus_observer_tell(reader.observer, NULL, &reader.next_count);
  reader.first_count = reader.next_count;
  uint64_t there = info->tail_count - reader.next_count;
  if (reader.last != 0 && (int64_t)there > 0 && reader.last < there)
    reader.first_count = info->tail_count - reader.last;
  return COMMAND_OK;
}

static int read_ring(void) {
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(reader.ring, &info);
  if (error != 0)
    return failed_call(reader.request.name, error);
  reader.end = info.oldest + info.capacity;
  reader.size = FIRST_BUFFER;
  reader.buffer = malloc(reader.size);
  if (reader.buffer == NULL)
    return out_of_memory(reader.request.name);
  int code = attach(&info);
  if (code == COMMAND_OK) {
    code = read_messages();
    int flushed = flush_output();
    code = code == COMMAND_OK ? flushed : code;
    tell_losses(true);
    ringbus_observer_detach(reader.observer);
  }
  free(reader.text.bytes);
  free(reader.buffer);
  return code;
}

static int read_named(int count, char **operands) {
  reader.request.name = one_name(count, operands);
  int code = open_ring(&reader.request, &reader.ring);
  if (code != COMMAND_OK)
    return code;
  code = read_ring();
  ringbus_ring_close(reader.ring);
  return code;
}

/* ---------------------------------------------------------------- dump */

static void set_bytes(const struct verb_option *option, const char *text) {
  reader.bytes_given = true;
  if (strcmp(text, "all") == 0)
    reader.bytes = UINT64_MAX;
  else
    set_number(option, text);
}

static const char *const all_bytes[] = {"all", NULL};
static const char *const dump_from[] = {"oldest", "a position", NULL};

static const struct verb_option dump_options[] = {
    {.name = "bytes",
     .takes = TAKES_VALUE,
     .set = set_bytes,
     .to = &reader.bytes,
     .most = UINT32_MAX,
     .choices = all_bytes,
     .value = WORD_CHOICE},
    OPTIONS_SHAPE(&reader.shape),
    {.name = "from",
     .takes = TAKES_VALUE,
     .set = set_where,
     .to = &reader.from,
     .choices = dump_from,
     .value = WORD_CHOICE},
    OPTION_COUNT(&reader.count),
    OPTIONS_END,
};

static int run_dump(int count, char **operands) {
  if (reader.bytes_given + reader.shape.json + reader.shape.framed > 1)
    usage_error("--bytes, --json, and --framing or --raw exclude each other");
  check_shape(&reader.shape);
  reader.as_text = !reader.shape.json && !reader.shape.framed;
  return read_named(count, operands);
}

const struct verb dump_verb = {
    .name = "dump",
    .summary = "print all that is in a ring, or in a copy of its file",
    .help = dump_help,
    .options = dump_options,
    .run = run_dump,
    .operands = {WORD_RING},
};

/* ---------------------------------------------------------------- tail */

static void set_from(const struct verb_option *option, const char *text) {
  reader.from_given = true;
  set_where(option, text);
}

static const char *const tail_from[] = {"newest", "oldest", "a position", NULL};

static const struct verb_option tail_options[] = {
    {.name = "last",
     .letter = 'n',
     .takes = TAKES_VALUE,
     .set = set_number,
     .to = &reader.last,
     .most = UINT64_MAX},
    {.name = "from",
     .takes = TAKES_VALUE,
     .set = set_from,
     .to = &reader.from,
     .choices = tail_from,
     .value = WORD_CHOICE},
    OPTIONS_SHAPE(&reader.shape),
    OPTION_COUNT(&reader.count),
    OPTION_WAIT(&reader.request.wait),
    OPTION_TIMEOUT(&reader.request.timeout_ns),
    OPTIONS_END,
};

static int run_tail(int count, char **operands) {
  if (reader.from_given && reader.last != 0)
    usage_error("--last and --from exclude each other");
  check_shape(&reader.shape);
  not_a_copy(one_name(count, operands));
  if (!reader.from_given)
    reader.from.start = RINGBUS_NEWEST;
  reader.follows = reader.request.can_wait = true;
  catch_stop_signals();
  return read_named(count, operands);
}

const struct verb tail_verb = {
    .name = "tail",
    .summary = "write messages as they come, without taking part",
    .help = tail_help,
    .options = tail_options,
    .run = run_tail,
    .operands = {WORD_RING},
};
