/* SPDX-License-Identifier: MIT */
/* send.c - `ringbus send`: publish files or standard input, message by message.
 *
 *   line, nul, length
 *               read into a buffer, find the messages in it, send them in batches
 *   raw         claim room in the ring and read(2) the file straight into it: no copy in between,
 *               unless the ring is full, or has many producers: readers would wait behind the claim
 *               for as long as the file lets us wait */
#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "Usage: ringbus send NAME [OPTIONS] [FILE...]\n"
    "Publish files, or standard input (no FILE, or -), as messages, in order. Waits while the ring "
    "is\n"
    "full. Each line is a message, without its newline; 'recv' writes the newline again, also "
    "where\n"
    "the last line of a file had none (--raw passes every bit as it is).\n"
    "\n"
    "  --framing HOW             line (default); nul: messages end with a NUL byte; length: each\n"
    "                            behind its length (4 bytes, the lowest first); raw: blocks\n"
    "  --raw[=SIZE]              raw, in blocks of at most SIZE bytes: what one read(2) returned\n"
    "                            (default 64K, less in a small ring)\n"
    "  --tag N                   tag every message with this number, 0 to 4294967295\n"
    "  --count N                 stop after N messages; of a pipe, more may have been read\n"
    "  --wait                    wait for the ring, if there is none yet\n"
    "  --create[=CAPACITY]       make the ring, if there is none yet (as 'ringbus create' does)\n"
    "  --wait-consumer           wait for a living consumer before the first message\n"
    "  --multi                   insist on a ring to which several may send at once, as 'ringbus\n"
    "                            create --many-producers' makes them; with --create, make such a "
    "one\n"
    "  --close                   end the stream afterwards, for all who send to it: readers that "
    "have\n"
    "                            read all are done\n"
    "  --drain                   wait at the end until every group that is waited for has read "
    "all\n"
    "  --timeout SECONDS         wait at most this long each time: for the ring, a consumer, "
    "room,\n"
    "                            the end of --drain (default: for ever; fractions allowed)\n"
    "  --progress, -q, --quiet   show messages and rate always, or never (default: if standard "
    "error\n"
    "                            is a terminal)\n"
    "  --json                    print a JSON object at the end, however it ends: name, messages "
    "and\n"
    "                            bytes that were sent, closed (true or false)\n"
    "\n"
    "SIGINT (Ctrl-C) and SIGTERM stop it between two messages; what was sent stays sent. To a ring "
    "of\n"
    "one producer only one sends at a time (exit code 4 tells who does).\n"
    "\n"
    "Examples\n"
    "  tail -F app.log | ringbus send log --create\n"
    "  ringbus send backup --create=16M --raw --close archive.tar\n"
    "  ls /etc | ringbus send jobs --create --multi\n"
    "  find . -print0 | ringbus send paths --framing nul --wait --timeout 10\n";

enum {
  DEFAULT_BLOCK = 64 * 1024,
  FIRST_BUFFER = 256 * 1024,
  BATCH = 256, /* messages in one call; bounds the array, not what can be sent */
  TAG_BYTES = 4
};

struct sender {
  struct ring_request request;
  enum framing framing;
  uint64_t block; /* raw: the most bytes of one message; 0: the default */
  uint32_t tag;
  uint64_t count; /* messages still to be sent at most */
  bool wait_consumer, close, drain, json;
  enum progress_choice progress_choice;

  ringbus_producer *producer;
  bool many;          /* the ring has many producers */
  size_t max_message; /* with this tag */
  bool closed;
  struct progress progress;
};

/* The functions below return COMMAND_OK, or an exit code after reporting. */

/* ---------------------------------------------------------------- errors and waiting */

/* failed_to_send: after a hot call or a wait, which leave no detail. -EINTR: asked to stop. */
static int failed_to_send(const struct sender *sender, int error) {
  const char *name = sender->request.name;
  switch (error) {
  case -EINTR:
    return stop_code();
  case -EPIPE:
    return failed_because(name, error,
                          "its stream has been closed: remove it and create a new one");
  case -ESTALE:
    return failed_because(name, error, "the ring was removed meanwhile: create it again");
  default:
    return failed_because(name, error, "%s", ringbus_strerror(error));
  }
}

static int after_wait(const struct sender *sender, int error, const char *when_timed_out) {
  if (error == -ETIMEDOUT)
    return failed_because(sender->request.name, error, "timed out: %s", when_timed_out);
  return error == 0 ? COMMAND_OK : failed_to_send(sender, error);
}

/* The library's waits also end early after signals that do not ask us to stop. */
static bool wait_again(int error) { return error == -EINTR && stop_code() == 0; }

static int wait_for_room(struct sender *sender, size_t length) {
  struct deadline deadline = deadline_in(sender->request.timeout_ns);
  int error;
  do {
    error = ringbus_producer_wait(sender->producer, length, sender->tag, deadline_left(&deadline));
  } while (wait_again(error));
  return after_wait(sender, error, "no room: 'ringbus info' shows who is behind");
}

static int wait_for_consumer(struct sender *sender, ringbus_ring *ring) {
  struct deadline deadline = deadline_in(sender->request.timeout_ns);
  int error;
  do {
    error = ringbus_ring_wait_for(ring, RINGBUS_CONSUMER, deadline_left(&deadline));
  } while (wait_again(error));
  return after_wait(sender, error, "no consumer has come");
}

static int wait_for_drain(struct sender *sender) {
  struct deadline deadline = deadline_in(sender->request.timeout_ns);
  int error;
  do {
    error = ringbus_producer_drain(sender->producer, deadline_left(&deadline));
  } while (wait_again(error));
  return after_wait(sender, error, "all is sent, but a group has not read it all");
}

static void count_sent(struct sender *sender, uint64_t messages, uint64_t bytes) {
  sender->count -= messages;
  progress_add(&sender->progress, messages, bytes);
}

static int failed_to_read(const char *file, int system_error) {
  return failed_because(file, -system_error, "cannot read: %s", strerror(system_error));
}

/* ---------------------------------------------------------------- messages out of a file */

/* A file that is being cut into messages:   buffer [ done | message begun | room to read into ]
 *                                                         begin           end             size
 * scanned: of the message begun, so much is known to have no delimiter. number: its own, from 1. */
struct input {
  const char *name;
  int fd;
  char *buffer;
  size_t size, begin, scanned, end;
  uint64_t number;
};

static int too_long(const struct sender *sender, const struct input *input, size_t length) {
  const char *name = sender->request.name;
  if (sender->framing == FRAMING_LENGTH)
    return failed_because(name, -EMSGSIZE,
                          "%s: message %" PRIu64 " has a length of %zu before it, the longest of "
                          "this ring is %zu bytes: is it --framing length at all?",
                          input->name, input->number, length, sender->max_message);
  return failed_because(name, -EMSGSIZE,
                        "%s: %s %" PRIu64 " is longer than %zu bytes, the longest message of this "
                        "ring: create it with a larger --capacity, or send --raw",
                        input->name, sender->framing == FRAMING_NUL ? "message" : "line",
                        input->number, sender->max_message);
}

static int send_batch(struct sender *sender, const struct iovec *messages, size_t count) {
  const struct iovec *next = messages, *end = messages + count;
  while (next < end) {
    if (stop_code() != 0)
      return stop_code();
    size_t sent = 0;
    int error = ringbus_producer_send_batch(sender->producer, next, (size_t)(end - next),
                                            sender->tag, false, &sent);
    uint64_t bytes = 0;
    for (const struct iovec *rest = next + sent; next < rest && next < end; next++)
      bytes += next->iov_len;
    count_sent(sender, sent, bytes);
    if (error == -EAGAIN && next < end) {
      int code = wait_for_room(sender, next->iov_len);
      if (code != COMMAND_OK)
        return code;
    } else if (error != 0) {
      return failed_to_send(sender, error);
    }
  }
  return COMMAND_OK;
}

/* send_framed: send all messages in the buffer that are complete. */
static int send_framed(struct sender *sender, struct input *input) {
  struct iovec batch[BATCH];
  size_t in_batch;
  do {
    struct framed found = {.length = 0};
    for (in_batch = 0; in_batch < BATCH && in_batch < sender->count; in_batch++) {
      found = unframe(sender->framing, input->buffer + input->begin, input->end - input->begin,
                      input->scanned);
      input->scanned = found.whole ? 0 : found.scanned;
      if (!found.whole || found.length > sender->max_message)
        break;
      batch[in_batch] = (struct iovec){input->buffer + input->begin + found.begin, found.length};
      input->begin += found.used;
      input->number++;
    }
    uint64_t before = sender->progress.messages;
    int code = send_batch(sender, batch, in_batch);
    uint64_t sent = sender->progress.messages - before;
    if (code != COMMAND_OK && sent < in_batch)
      input->begin = (size_t)((char *)batch[sent].iov_base - input->buffer) -
                     frame(sender->framing, 0).before_bytes;
    if (code != COMMAND_OK)
      return code;
    if (found.length > sender->max_message)
      return too_long(sender, input, found.length);
  } while (in_batch == BATCH);
  return COMMAND_OK;
}

/* read_more: append to the message that has begun. *ended: there is nothing more. */
static int read_more(struct input *input, bool *ended) {
  if (input->begin > 0) {
    memmove(input->buffer, input->buffer + input->begin, input->end - input->begin);
    input->end -= input->begin;
    input->begin = 0;
  }
  if (input->end == input->size) {
    /* Bounded: a message that has outgrown the ring was refused before. */
    char *larger = realloc(input->buffer, 2 * input->size);
    if (larger == NULL)
      return failed_to_read(input->name, ENOMEM);
    input->buffer = larger;
    input->size *= 2;
  }
  for (;;) {
    if (stop_code() != 0)
      return stop_code();
    ssize_t got = read(input->fd, input->buffer + input->end, input->size - input->end);
    if (got >= 0) {
      input->end += (size_t)got;
      *ended = got == 0;
      return COMMAND_OK;
    }
    if (!try_again(input->fd, POLLIN))
      return failed_to_read(input->name, errno);
  }
}

/* send_rest: what the file ends with. */
static int send_rest(struct sender *sender, struct input *input) {
  size_t rest = input->end - input->begin;
  if (sender->framing == FRAMING_LENGTH)
    return failed_because(input->name, -EINVAL,
                          "it ends in the midst of message %" PRIu64 ": %zu bytes of it, with its "
                          "length, are there and were not sent",
                          input->number, rest);
  return send_batch(sender, &(struct iovec){input->buffer + input->begin, rest}, 1);
}

static int send_messages(struct sender *sender, const char *file, int fd) {
  struct input input = {.name = file, .fd = fd, .size = FIRST_BUFFER, .number = 1};
  input.buffer = malloc(input.size);
  if (input.buffer == NULL)
    return failed_to_read(file, ENOMEM);
  bool ended = false;
  int code = COMMAND_OK;
  while (code == COMMAND_OK && !ended && sender->count > 0) {
    code = read_more(&input, &ended);
    if (code == COMMAND_OK)
      code = send_framed(sender, &input);
  }
  if (code == COMMAND_OK && sender->count > 0 && input.begin < input.end)
    code = send_rest(sender, &input);
  else if (input.begin < input.end) /* whoever reads on from the same file gets what was not sent */
    lseek(fd, -(off_t)(input.end - input.begin), SEEK_CUR);
  free(input.buffer);
  return code;
}

/* ---------------------------------------------------------------- raw blocks */

/* read_block: into the ring if it has room for a whole block and nobody waits behind the claim, else
 * into spare: how much room is needed, and whether any, is known after reading. *got: 0 at the end of
 * the file. */
static int read_block(struct sender *sender, int fd, void *spare, bool *in_ring, ssize_t *got) {
  void *block = NULL;
  int error = sender->many
                  ? -EAGAIN
                  : ringbus_producer_claim(sender->producer, sender->block, sender->tag, &block);
  if (error != 0 && error != -EAGAIN)
    return error;
  *in_ring = error == 0;
  *got = read(fd, *in_ring ? block : spare, sender->block);
  int system_error = errno;
  if (*in_ring && *got <= 0)
    ringbus_producer_abort(sender->producer);
  errno = system_error;
  return 0;
}

static int send_blocks(struct sender *sender, const char *file, int fd, void *spare) {
  while (sender->count > 0) {
    if (stop_code() != 0)
      return stop_code();
    bool in_ring;
    ssize_t got;
    int error = read_block(sender, fd, spare, &in_ring, &got);
    if (error != 0)
      return failed_to_send(sender, error);
    if (got == 0)
      return COMMAND_OK;
    if (got < 0 && !try_again(fd, POLLIN))
      return failed_to_read(file, errno);
    if (got < 0)
      continue;
    if (!in_ring) {
      int code = send_batch(sender, &(struct iovec){spare, (size_t)got}, 1);
      if (code != COMMAND_OK) {
        lseek(fd, -got, SEEK_CUR);
        return code;
      }
      continue;
    }
    error = ringbus_producer_commit(sender->producer, (size_t)got);
    if (error != 0)
      return failed_to_send(sender, error);
    count_sent(sender, 1, (uint64_t)got);
  }
  return COMMAND_OK;
}

static int send_raw(struct sender *sender, const char *file, int fd) {
  void *spare = malloc(sender->block);
  if (spare == NULL)
    return failed_to_read(file, ENOMEM);
  int code = send_blocks(sender, file, fd, spare);
  free(spare);
  return code;
}

/* ---------------------------------------------------------------- files */

/* check_files: what can be seen to fail is refused before anything is sent. */
static int check_files(char **files) {
  for (; *files != NULL; files++) {
    if (strcmp(*files, "-") == 0)
      continue;
    struct stat status;
    if (access(*files, R_OK) != 0 || stat(*files, &status) != 0)
      return failed_to_read(*files, errno);
    if (S_ISDIR(status.st_mode))
      return failed_to_read(*files, EISDIR);
  }
  return COMMAND_OK;
}

static int send_file(struct sender *sender, const char *file) {
  bool standard_input = strcmp(file, "-") == 0;
  const char *shown_name = standard_input ? "standard input" : file;
  int fd = standard_input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return stop_code() != 0 ? stop_code() : failed_to_read(shown_name, errno);
  int code = sender->framing == FRAMING_RAW ? send_raw(sender, shown_name, fd)
                                            : send_messages(sender, shown_name, fd);
  if (!standard_input)
    close(fd);
  return code;
}

static int send_files(struct sender *sender, char **files) {
  if (*files == NULL)
    return send_file(sender, "-");
  int code = COMMAND_OK;
  for (; *files != NULL && code == COMMAND_OK && sender->count > 0; files++)
    code = send_file(sender, *files);
  return code;
}

/* ---------------------------------------------------------------- the whole */

/* fit_to_ring: what the ring's kind and size mean for the messages. */
static int fit_to_ring(struct sender *sender, const ringbus_ring *ring) {
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(ring, &info);
  if (error != 0)
    return failed_call(sender->request.name, error);
  sender->many = info.many_producers;
  sender->max_message = info.max_message - (sender->tag == 0 ? 0 : TAG_BYTES);
  if (sender->block > sender->max_message) {
    return failed_because(sender->request.name, -EMSGSIZE,
                          "--raw=%" PRIu64 ": the longest message of this ring is %zu bytes",
                          sender->block, sender->max_message);
  }
  if (sender->block == 0) {
    /* A block of nearly the whole ring would make both sides take turns. */
    sender->block = info.capacity / 4 < DEFAULT_BLOCK ? info.capacity / 4 : DEFAULT_BLOCK;
  }
  return COMMAND_OK;
}

static int send_all(struct sender *sender, ringbus_ring *ring, char **files) {
  int code = fit_to_ring(sender, ring);
  if (code == COMMAND_OK && sender->wait_consumer)
    code = wait_for_consumer(sender, ring);
  if (code != COMMAND_OK)
    return code;
  progress_begin(&sender->progress, sender->progress_choice, true);
  code = send_files(sender, files);
  if (code == COMMAND_OK && sender->close) {
    int error = ringbus_producer_finish(sender->producer);
    sender->closed = error == 0;
    code = error == 0 ? COMMAND_OK : failed_to_send(sender, error);
  }
  if (code == COMMAND_OK && sender->drain)
    code = wait_for_drain(sender);
  progress_end(&sender->progress);
  if (code != COMMAND_OK && sender->progress_choice != PROGRESS_NEVER) {
    notice("%s: ended after %" PRIu64 " messages, %" PRIu64 " bytes were sent",
           sender->request.name, sender->progress.messages, sender->progress.bytes);
  }
  return code;
}

/* attach: become a producer of this ring, which is of the kind that was asked for. */
static int attach(struct sender *sender, ringbus_ring *ring) {
  const char *name = sender->request.name;
  const char *how = "'ringbus create --many-producers' makes a ring to which several can at once";
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(ring, &info);
  if (error != 0)
    return failed_call(name, error);
  if (sender->request.many_producers && !info.many_producers)
    return failed_because(name, -EINVAL, "--multi: only one can send to this ring at a time: %s",
                          how);
  const struct ringbus_producer_options options = {.name = "ringbus send"};
  error = ringbus_producer_attach(ring, &options, &sender->producer);
  if (error == -EBUSY)
    return failed_because(name, error, "%s: only one can send to this ring at a time: %s",
                          ringbus_error_detail(), how);
  return error == 0 ? COMMAND_OK : failed_call(name, error);
}

static int attach_and_send(struct sender *sender, char **files) {
  ringbus_ring *ring;
  int code = open_ring(&sender->request, &ring);
  if (code != COMMAND_OK)
    return code;
  code = attach(sender, ring);
  if (code == COMMAND_OK) {
    code = send_all(sender, ring, files);
    ringbus_producer_detach(sender->producer);
  }
  ringbus_ring_close(ring);
  return code;
}

static int print_sent(const struct sender *sender) {
  cJSON *object = cJSON_CreateObject();
  add_name(object, "name", sender->request.name);
  add_whole(object, "messages", sender->progress.messages);
  add_whole(object, "bytes", sender->progress.bytes);
  cJSON_AddBoolToObject(object, "closed", sender->closed);
  return print_line(object);
}

static struct sender sender = {
    .request = {.can_wait = true, .timeout_ns = RINGBUS_FOREVER},
    .count = UINT64_MAX,
};

static void set_raw(const struct verb_option *option, const char *text) {
  sender.framing = FRAMING_RAW;
  if (text != NULL)
    set_size(option, text);
}

static void set_create(const struct verb_option *option, const char *text) {
  sender.request.create = true;
  if (text != NULL)
    set_capacity(option, text);
}

static const struct verb_option options[] = {
    {.name = "framing",
     .takes = TAKES_VALUE,
     .set = set_choice,
     .to = &sender.framing,
     .choices = framing_names,
     .value = WORD_CHOICE},
    {.name = "raw", .takes = MAY_TAKE_VALUE, .set = set_raw, .to = &sender.block},
    {.name = "tag",
     .takes = TAKES_VALUE,
     .set = set_number32,
     .to = &sender.tag,
     .most = UINT32_MAX},
    OPTION_COUNT(&sender.count),
    OPTION_WAIT(&sender.request.wait),
    {.name = "create",
     .takes = MAY_TAKE_VALUE,
     .set = set_create,
     .to = &sender.request.create_capacity},
    {.name = "multi", .set = set_flag, .to = &sender.request.many_producers},
    {.name = "wait-consumer", .set = set_flag, .to = &sender.wait_consumer},
    {.name = "close", .set = set_flag, .to = &sender.close},
    {.name = "drain", .set = set_flag, .to = &sender.drain},
    OPTION_TIMEOUT(&sender.request.timeout_ns),
    OPTIONS_PROGRESS(&sender.progress_choice),
    OPTION_JSON(&sender.json),
    OPTIONS_END,
};

static int run(int count, char **operands) {
  if (count == 0)
    usage_error("expected the NAME of a ring");
  if (sender.request.wait && sender.request.create)
    usage_error("--wait and --create exclude each other");
  if (sender.block != 0 && sender.framing != FRAMING_RAW)
    usage_error("--raw=SIZE and --framing %s exclude each other", framing_names[sender.framing]);
  sender.request.name = not_a_copy(operands[0]);
  char **files = operands + 1;

  catch_stop_signals();
  int code = check_files(files);
  if (code == COMMAND_OK)
    code = attach_and_send(&sender, files);
  int printed = sender.json ? print_sent(&sender) : COMMAND_OK;
  return code == COMMAND_OK ? printed : code;
}

const struct verb send_verb = {
    .name = "send",
    .summary = "publish files or standard input",
    .help = help,
    .options = options,
    .run = run,
    .operands = {WORD_RING, WORD_FILE, WORD_FILE, WORD_FILE},
};
