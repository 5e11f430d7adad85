/* SPDX-License-Identifier: MIT */
/* dump.c - `ringbus dump`: all that is in a ring, oldest first, read as an observer: nobody notices, and
 * nobody need be alive.
 *
 *   oldest ...... newest | published meanwhile
 *   ◀─── printed ───────▶   at most a capacity behind the oldest, where the ring ended at the latest
 *                           when it was opened */
#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char dump_help[] =
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
    "                      nul, or raw (back to back)\n"
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

enum { OPTION_BYTES = 256, OPTION_JSON, OPTION_FRAMING, OPTION_RAW, OPTION_FROM, OPTION_COUNT };

static const struct option long_options[] = {
    {"bytes", required_argument, NULL, OPTION_BYTES},
    {"json", no_argument, NULL, OPTION_JSON},
    {"framing", required_argument, NULL, OPTION_FRAMING},
    {"raw", no_argument, NULL, OPTION_RAW},
    {"from", required_argument, NULL, OPTION_FROM},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

enum {
  DEFAULT_BYTES = 64,
  FIRST_BUFFER = 64 * 1024,
  FRUITLESS = 1000 /* looks in a row without a message: then the file contradicts itself */
};
static const int64_t PATIENCE_NS = 100000000; /* with a message that is being written */

struct dumper {
  const char *name;
  enum { AS_TEXT, AS_JSON, AS_FRAMES } format;
  enum framing framing;
  uint64_t bytes; /* of each message, as text */
  bool from_position;
  uint64_t from;
  uint64_t count; /* messages still to be printed at most */

  ringbus_observer *observer;
  uint64_t end; /* what stands here or behind was published meanwhile */
  char *buffer; /* with room for a NUL behind the message */
  size_t size;
};

/* ---------------------------------------------------------------- one message */

static void print_byte(unsigned char byte) {
  static const char letters[] = "\"\"\\\\\nn\tt\rr";
  for (size_t index = 0; index + 1 < sizeof letters; index += 2) {
    if ((unsigned char)letters[index] == byte) {
      printf("\\%c", letters[index + 1]);
      return;
    }
  }
  printf("\\x%02x", byte);
}

static void print_quoted(const char *data, size_t length, uint64_t most) {
  size_t at = 0;
  putchar('"');
  while (at < length && at < most) {
    size_t whole = printable_bytes(data + at, length - at);
    if (whole == 0 || data[at] == '"' || data[at] == '\\')
      print_byte((unsigned char)data[at]);
    else
      fwrite(data + at, 1, whole, stdout);
    at += whole == 0 ? 1 : whole;
  }
  fputs(at < length ? "\"...\n" : "\"\n", stdout);
}

static bool is_plain_text(const char *data, size_t length) {
  for (size_t at = 0; at < length;) {
    size_t whole = printable_bytes(data + at, length - at);
    if (whole == 0)
      return false;
    at += whole;
  }
  return true;
}

/* encode_base64: RFC 4648. The caller frees it; NULL if there is no memory. */
static char *encode_base64(const char *data, size_t length) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char *text = malloc((length + 2) / 3 * 4 + 1), *to = text;
  for (size_t at = 0; text != NULL && at < length; at += 3) {
    uint32_t group = 0;
    for (size_t index = at; index < at + 3; index++)
      group = group << 8 | (index < length ? (unsigned char)data[index] : 0);
    for (size_t index = 0; index < 4; index++)
      *to++ = at + index <= length ? digits[group >> (18 - 6 * index) & 63] : '=';
  }
  if (text != NULL)
    *to = '\0';
  return text;
}

/* print_json: returns false if there is no memory. */
static bool print_json(const struct ringbus_message *message, uint64_t number, char *data) {
  bool plain = is_plain_text(data, message->length);
  char *encoded = plain ? NULL : encode_base64(data, message->length);
  cJSON *object = cJSON_CreateObject();
  add_whole(object, "count", number);
  add_whole(object, "position", message->position);
  add_whole(object, "length", message->length);
  add_whole(object, "tag", message->tag);
  data[message->length] = '\0';
  bool whole = cJSON_AddStringToObject(object, plain ? "payload" : "payload_base64",
                                       plain ? data : encoded) != NULL;
  char *text = whole ? cJSON_PrintUnformatted(object) : NULL;
  cJSON_Delete(object);
  free(encoded);
  if (text == NULL)
    return false;
  puts(text);
  cJSON_free(text);
  return true;
}

/* print_message: returns COMMAND_OK, or an exit code after reporting. */
static int print_message(struct dumper *dumper, const struct ringbus_message *message) {
  uint64_t number = 0;
  ringbus_observer_tell(dumper->observer, NULL, &number);
  number--; /* of the one before the next */
  if (dumper->format == AS_TEXT) {
    printf("%" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32 " ", number, message->position,
           message->length, message->tag);
    print_quoted(dumper->buffer, message->length, dumper->bytes);
  } else if (dumper->format == AS_FRAMES) {
    fwrite(dumper->buffer, 1, message->length, stdout);
    if (dumper->framing != FRAMING_RAW)
      putchar(framing_delimiter(dumper->framing));
  } else if (!print_json(message, number, dumper->buffer)) {
    return failed_because(dumper->name, -ENOMEM, "%s", strerror(ENOMEM));
  }
  return ferror(stdout) ? failed_because("standard output", -errno, "%s", strerror(errno))
                        : COMMAND_OK;
}

/* ---------------------------------------------------------------- all of them */

/* more_to_come: nothing can be read now. Whether something can, after what the dead have left open, or
 * what is being written at this moment. */
static bool more_to_come(const struct dumper *dumper, const ringbus_ring *ring) {
  if (ringbus_observer_wait(dumper->observer, 0) == 0)
    return true;
  struct ringbus_blame blame;
  uint64_t position;
  if (ringbus_ring_blame(ring, RINGBUS_CONSUMER, &blame) != 0 || !blame.slot ||
      ringbus_observer_tell(dumper->observer, &position, NULL) != 0 || position != blame.position)
    return false;
  if (ringbus_observer_wait(dumper->observer, PATIENCE_NS) == 0)
    return true;
  char who[DESCRIPTION_BYTES];
  notice("%s: ends before position %" PRIu64 ", where a message was begun and is not committed: %s",
         dumper->name, position, describe_participant(&blame.participant, who));
  return false;
}

/* next_message: into the buffer. Returns as ringbus_observer_recv, save that -EPIPE is any end; also
 * -ENOMEM. */
static int next_message(struct dumper *dumper, const ringbus_ring *ring,
                        struct ringbus_message *message) {
  for (int fruitless = 0; fruitless < FRUITLESS; fruitless++) {
    int error = ringbus_observer_recv(dumper->observer, dumper->buffer, dumper->size - 1, message);
    if (error == -EMSGSIZE) {
      char *larger = realloc(dumper->buffer, (size_t)message->length + 1);
      if (larger == NULL)
        return -ENOMEM;
      dumper->buffer = larger;
      dumper->size = (size_t)message->length + 1;
    } else if (error == -EAGAIN && !more_to_come(dumper, ring)) {
      return -EPIPE;
    } else if (error != -EAGAIN && error != -EOVERFLOW) {
      return error;
    }
  }
  return -EBADMSG;
}

static int dump_messages(struct dumper *dumper, const ringbus_ring *ring) {
  while (dumper->count > 0) {
    struct ringbus_message message;
    int error = next_message(dumper, ring, &message);
    if (error == -EPIPE || (error == 0 && (int64_t)(message.position - dumper->end) >= 0))
      return COMMAND_OK;
    if (error == -EBADMSG)
      return failed_because(dumper->name, error,
                            "it contradicts itself: damaged, or copied while somebody wrote to it");
    if (error != 0)
      return failed_because(dumper->name, error, "%s", ringbus_strerror(error));
    if (dumper->from_position && (int64_t)(message.position - dumper->from) < 0)
      continue;
    dumper->count--;
    int code = print_message(dumper, &message);
    if (code != COMMAND_OK)
      return code;
  }
  return COMMAND_OK;
}

static int dump_ring(struct dumper *dumper, ringbus_ring *ring) {
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(ring, &info);
  if (error == 0)
    error = ringbus_observer_attach(ring, NULL, &dumper->observer);
  if (error != 0)
    return failed_call(dumper->name, error);
  dumper->end = info.oldest + info.capacity;
  int code = COMMAND_OK;
  dumper->size = FIRST_BUFFER;
  dumper->buffer = malloc(dumper->size);
  if (dumper->from_position && dumper->from - info.oldest > info.capacity)
    code = failed_because(dumper->name, -EINVAL,
                          "--from %" PRIu64 ": the oldest message is at %" PRIu64
                          ", the next one will be at %" PRIu64,
                          dumper->from, info.oldest, info.tail);
  else if (dumper->buffer == NULL)
    code = failed_because(dumper->name, -ENOMEM, "%s", strerror(ENOMEM));
  else
    code = dump_messages(dumper, ring);
  uint64_t messages, bytes;
  if (ringbus_observer_lost(dumper->observer, &messages, &bytes) == 0 && messages > 0)
    notice("%s: lapped: %" PRIu64 " messages, %" PRIu64
           " bytes were overwritten before they could be read",
           dumper->name, messages, bytes);
  free(dumper->buffer);
  ringbus_observer_detach(dumper->observer);
  return code;
}

int dump_run(int argc, char **argv) {
  static const char *const starts[] = {"oldest", "a position", NULL};
  struct dumper dumper = {.bytes = DEFAULT_BYTES, .count = UINT64_MAX};
  bool bytes_given = false, json = false, frames = false;
  int found;
  while ((found = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    switch (found) {
    case OPTION_BYTES:
      bytes_given = true;
      dumper.bytes =
          strcmp(optarg, "all") == 0 ? UINT64_MAX : parse_number("--bytes", optarg, 0, UINT32_MAX);
      break;
    case OPTION_JSON:
      json = true;
      break;
    case OPTION_FRAMING:
      frames = true;
      dumper.framing = parse_framing("--framing", optarg);
      break;
    case OPTION_RAW:
      frames = true;
      dumper.framing = FRAMING_RAW;
      break;
    case OPTION_FROM:
      dumper.from_position = *optarg >= '0' && *optarg <= '9';
      if (dumper.from_position)
        dumper.from = parse_number("--from", optarg, 0, UINT64_MAX);
      else
        parse_choice("--from", optarg, starts);
      break;
    case OPTION_COUNT:
      dumper.count = parse_number("--count", optarg, 1, UINT64_MAX);
      break;
    case 'h':
      return verb_help(dump_help);
    default:
      usage_error_option(found, argv);
    }
  }
  if (argc - optind != 1)
    usage_error("expected one NAME, got %d", argc - optind);
  if (bytes_given + json + frames > 1)
    usage_error("--bytes, --json, and --framing or --raw exclude each other");
  dumper.format = json ? AS_JSON : frames ? AS_FRAMES : AS_TEXT;
  dumper.name = argv[optind];

  ringbus_ring *ring;
  int code = open_to_look(dumper.name, &ring);
  if (code != COMMAND_OK)
    return code;
  code = dump_ring(&dumper, ring);
  ringbus_ring_close(ring);
  return code;
}
