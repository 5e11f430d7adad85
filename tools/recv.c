/* SPDX-License-Identifier: MIT */
/* recv.c - `ringbus recv`: write messages to standard output or a file.
 *
 *   borrow a batch -> write all of it -> release it
 *
 * A message is released only after its last byte was written, so that whatever ends this process
 * before (a signal, a full disk, a closed pipe, SIGKILL) leaves the batch unread in a durable group.
 * Groups that may be lapped hold nothing back: their messages are copied out of the ring first, which
 * releases them; what cannot be written is gone back to, as far as it is still in the ring. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "Usage: ringbus recv NAME [OPTIONS]\n"
    "Write messages to standard output, each followed by a newline. Done when the stream was "
    "closed, or\n"
    "no living producer is left, and all has been read.\n"
    "\n"
    "  --framing HOW             line (default); nul: each followed by a NUL byte; length: each\n"
    "                            behind its length (4 bytes, the lowest first); raw: back to back\n"
    "  --raw                     the same as --framing raw\n"
    "  --json                    each as a JSON object a line, as 'ringbus dump --json' does; of\n"
    "                            shared groups without count, but with redelivered (true or "
    "false)\n"
    "  -o, --output FILE         write to a new file; one that exists is refused, unless\n"
    "      --append              it may be appended to, or\n"
    "      --overwrite           replaced\n"
    "  --group GROUP             read as this group, which remembers where it stands; without it,\n"
    "                            as a group that ends with this process\n"
    "  --shared                  with others of this group: each message goes to one of them. What "
    "a\n"
    "                            member had taken and not written when it died, others get again\n"
    "  --at-most-once            with --shared: rather lost than twice, if this member dies\n"
    "  --policy POLICY           of a new group: gate (default: the producer waits for it),\n"
    "                            gate-while-attached, or lapped (never waited for)\n"
    "  --max-lag SIZE            of a new group: lapped when it is this many bytes behind\n"
    "  --from WHERE              resume (default: where the group stands; if new, at the oldest),\n"
    "                            oldest, newest, or a position\n"
    "  --count N                 stop after N messages\n"
    "  --follow                  wait for the next producer when the last one has gone\n"
    "  --wait                    wait for the ring, if there is none yet\n"
    "  --timeout SECONDS         wait at most this long each time: for the ring, for a message\n"
    "                            (default: for ever; fractions allowed)\n"
    "  --progress, -q, --quiet   show messages and rate always, or never (default: if standard "
    "error\n"
    "                            is a terminal and the messages go elsewhere)\n"
    "\n"
    "A message counts as read when it has been written. SIGINT (Ctrl-C) and SIGTERM finish the "
    "batch at\n"
    "hand; what a kill, a full disk or a closed pipe left unwritten, the group gets again: at most "
    "one\n"
    "batch twice. A group that may be lapped gets it again as far as it is still in the ring, and "
    "not\n"
    "after a kill; what it missed is counted on standard error, as in shared ones what others had\n"
    "already.\n"
    "\n"
    "Examples\n"
    "  ringbus recv log --follow --group archive -o log.txt --append\n"
    "  ringbus recv backup --raw --wait | tar x\n"
    "  ringbus recv jobs --group workers --shared | xargs -n 1 echo\n"
    "  ringbus recv quotes --count 1 --timeout 5 --json | jq -r .payload\n";

enum {
  COPIES = 256 * 1024, /* room for copied messages; grows if one message needs more */
  COPY_BELOW =
      4 * 1024, /* shorter messages are cheaper to copy than to hand to writev one by one */
  AROUND = FRAME_BEFORE + FRAME_AFTER,
  BATCH_BYTES = 1024 * 1024, /* of the ring at most held by one batch */
  RECORD_BYTES = 16,         /* at most taken in the ring besides the message */
  SHARED_BATCH =
      16, /* messages one member takes at once: the others get some, too, and few again */
  PARTS = IOV_MAX
};

struct loss {
  uint64_t messages, bytes; /* of the ring */
};

struct receiver {
  struct ring_request request;
  struct ringbus_consumer_options options;
  struct shape shape;
  const char *output; /* NULL or "-": standard output */
  bool append, overwrite;
  struct where from;
  uint64_t count; /* messages still to be written at most */
  enum progress_choice progress_choice;

  ringbus_consumer *consumer;
  bool lappable;
  int fd;
  bool created; /* the output file, by us */
  struct progress progress;
  struct loss unwritten; /* and overwritten before it could be gone back to */
  uint64_t reported_lost;
  int64_t reported_lost_ns;
  uint64_t redelivered; /* messages that another member had taken before */

  /* The batch: parts in order; those that were copied point into copies. */
  struct iovec parts[PARTS];
  size_t part_count;
  char *copies;
  size_t copies_size, copies_used;
  struct text text; /* --json: all of the batch */
  /* Of a group that may be lapped: where it begins, and what was lost before. */
  uint64_t begin, begin_count;
  struct loss lost_before;
  uint64_t batch_limit; /* of ring_bytes */
  uint64_t batch_messages, batch_bytes,
      ring_bytes; /* bytes of messages; with what surrounds them */
};

/* The functions below return COMMAND_OK, or an exit code after reporting, unless said otherwise. */

/* ---------------------------------------------------------------- errors */

static const char *output_name(const struct receiver *receiver) {
  return receiver->output == NULL ? "standard output" : receiver->output;
}

/* failed_to_receive: after a hot call or a wait, which leave no detail. -EINTR: asked to stop. */
static int failed_to_receive(const struct receiver *receiver, int error) {
  const char *name = receiver->request.name;
  switch (error) {
  case -EINTR:
    return stop_code();
  case -ESTALE:
    return failed_because(name, error,
                          "the ring was removed meanwhile: 'recv --wait' waits for a new one");
  case -ETIMEDOUT:
    return failed_because(name, error, "timed out: no message has come");
  default:
    return failed_because(name, error, "%s", ringbus_strerror(error));
  }
}

static int failed_to_write(const struct receiver *receiver, int system_error) {
  if (system_error == EPIPE)
    return COMMAND_SIGNALLED + SIGPIPE; /* whoever read our output has enough */
  return failed_because(
      output_name(receiver), -system_error, "cannot write: %s: %s", strerror(system_error),
      receiver->options.at_most_once    ? "what was taken and not written is lost (--at-most-once)"
      : receiver->options.group == NULL ? "with --group, what was not written can be read again"
      : receiver->lappable
          ? "what was not written and is still in the ring stays unread in the group"
          : "what was not written stays unread in the group");
}

static struct loss lost_so_far(const struct receiver *receiver) {
  struct loss lost = {0, 0};
  ringbus_consumer_lost(receiver->consumer, &lost.messages, &lost.bytes);
  lost.messages += receiver->unwritten.messages;
  lost.bytes += receiver->unwritten.bytes;
  return lost;
}

/* report_losses: what was missed so far, at most once a second unless this is the last time. */
static void report_losses(struct receiver *receiver, bool last) {
  struct loss lost = lost_so_far(receiver);
  if (lost.messages == receiver->reported_lost)
    return;
  int64_t now = now_ns();
  if (!last && receiver->reported_lost != 0 && now - receiver->reported_lost_ns < 1000000000)
    return;
  notice("%s: lapped: lost %" PRIu64 " messages, %" PRIu64 " bytes so far", receiver->request.name,
         lost.messages, lost.bytes);
  receiver->reported_lost = lost.messages;
  receiver->reported_lost_ns = now;
}

/* ---------------------------------------------------------------- the output file */

/* open_output: the file is not truncated yet, so that a refused attach leaves it as it was. */
static int open_output(struct receiver *receiver) {
  const char *path = receiver->output;
  if (path == NULL || strcmp(path, "-") == 0) {
    receiver->output = NULL;
    receiver->fd = STDOUT_FILENO;
    return COMMAND_OK;
  }
  receiver->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  receiver->created = receiver->fd >= 0;
  if (receiver->created)
    return COMMAND_OK;
  struct stat status;
  if (errno != EEXIST || stat(path, &status) != 0)
    return failed_because(path, -errno, "cannot write: %s", strerror(errno));
  /* Devices and pipes have nothing that could be lost. */
  bool refused = S_ISREG(status.st_mode) && !receiver->append && !receiver->overwrite;
  if (refused)
    return failed_because(path, -EEXIST, "the file exists: --append or --overwrite");
  receiver->fd = open(path, O_WRONLY | O_CLOEXEC | (receiver->append ? O_APPEND : 0));
  if (receiver->fd < 0) {
    return stop_code() != 0 ? stop_code()
                            : failed_because(path, -errno, "cannot write: %s", strerror(errno));
  }
  return COMMAND_OK;
}

/* output_is_other: than the ring, which must not be written to like this. */
static bool output_is_other(const struct receiver *receiver, const ringbus_ring *ring) {
  struct stat output, file;
  int fd;
  return ringbus_ring_fd(ring, &fd) != 0 || fstat(fd, &file) != 0 ||
         fstat(receiver->fd, &output) != 0 || output.st_dev != file.st_dev ||
         output.st_ino != file.st_ino;
}

static int truncate_output(const struct receiver *receiver) {
  struct stat status;
  if (!receiver->overwrite || receiver->created || receiver->output == NULL)
    return COMMAND_OK;
  if (fstat(receiver->fd, &status) != 0 ||
      (S_ISREG(status.st_mode) && ftruncate(receiver->fd, 0) != 0))
    return failed_because(receiver->output, -errno, "cannot overwrite: %s", strerror(errno));
  return COMMAND_OK;
}

static int close_output(const struct receiver *receiver) {
  if (receiver->output != NULL && close(receiver->fd) != 0 && errno != EINTR)
    return failed_because(receiver->output, -errno, "cannot write: %s", strerror(errno));
  return COMMAND_OK;
}

/* take_back: what was written of a batch that cannot be finished, from the end of a file, where a torn
 * message would stay, and the next one be appended to it. */
static void take_back(const struct receiver *receiver, uint64_t written) {
  struct stat status;
  off_t end = lseek(receiver->fd, 0, SEEK_CUR);
  if (written == 0 || fstat(receiver->fd, &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_size != end)
    return;
  off_t begin = end - (off_t)written;
  if (ftruncate(receiver->fd, begin) == 0)
    lseek(receiver->fd, begin, SEEK_SET);
}

/* go_back: to where the batch began, in a group that may be lapped, whose messages are released when they are
 * received. What has been overwritten since is lost, and counted. */
static void go_back(struct receiver *receiver) {
  uint64_t position = 0, count = 0;
  if (!receiver->lappable)
    return;
  if (ringbus_consumer_seek(receiver->consumer, RINGBUS_POSITION, receiver->begin) == -EINVAL)
    ringbus_consumer_seek(receiver->consumer, RINGBUS_OLDEST, 0);
  ringbus_consumer_tell(receiver->consumer, &position, &count);
  struct loss told = lost_so_far(receiver); /* part of which the library knows of */
  receiver->unwritten.messages =
      count - receiver->begin_count - (told.messages - receiver->lost_before.messages);
  receiver->unwritten.bytes =
      position - receiver->begin - (told.bytes - receiver->lost_before.bytes);
}

/* write_parts: all of the batch. A signal to stop lets it be finished, unless it blocks for a second
 * or the signal is repeated. */
static int write_parts(struct receiver *receiver) {
  struct iovec *part = receiver->parts;
  struct iovec *end = part + receiver->part_count;
  uint64_t all = 0;
  while (part < end) {
    ssize_t written = writev(receiver->fd, part, (int)(end - part));
    if (written < 0) {
      int error = errno;
      bool again = try_again(receiver->fd, POLLOUT);
      if (again && !stop_urgent())
        continue;
      take_back(receiver, all);
      go_back(receiver);
      return again ? stop_code() : failed_to_write(receiver, error);
    }
    all += (uint64_t)written;
    size_t rest = (size_t)written;
    for (; part < end && rest >= part->iov_len; part++)
      rest -= part->iov_len;
    if (part < end) {
      part->iov_base = (char *)part->iov_base + rest;
      part->iov_len -= rest;
    }
  }
  return COMMAND_OK;
}

/* ---------------------------------------------------------------- the batch */

static void clear_batch(struct receiver *receiver) {
  receiver->part_count = 0;
  receiver->copies_used = receiver->text.used = 0;
  receiver->batch_messages = receiver->batch_bytes = receiver->ring_bytes = 0;
}

/* Room for one more message at the end of the batch: what is before it, in place, what is after it, and
 * to be copied. */
static bool batch_is_full(const struct receiver *receiver) {
  return receiver->part_count + 3 > PARTS ||
         receiver->copies_size - receiver->copies_used < COPY_BELOW + AROUND ||
         receiver->ring_bytes >= receiver->batch_limit ||
         receiver->batch_messages == receiver->count;
}

static void add_part(struct receiver *receiver, const void *data, size_t length) {
  struct iovec *last = receiver->parts + receiver->part_count - 1;
  if (length > 0 && receiver->part_count > 0 && (char *)last->iov_base + last->iov_len == data)
    last->iov_len += length;
  else if (length > 0)
    receiver->parts[receiver->part_count++] = (struct iovec){(void *)(uintptr_t)data, length};
}

static void add_copy(struct receiver *receiver, const void *data, size_t length) {
  char *copy = receiver->copies + receiver->copies_used;
  memcpy(copy, data, length);
  receiver->copies_used += length;
  add_part(receiver, copy, length);
}

/* add_framed: the message, and what the framing puts around it. */
static void add_framed(struct receiver *receiver, const struct ringbus_message *message) {
  struct frame around = frame(receiver->shape.framing, message->length);
  add_copy(receiver, around.before, around.before_bytes);
  if (receiver->lappable) {
    receiver->copies_used += message->length; /* received there */
    add_part(receiver, message->data, message->length);
  } else if (message->length < COPY_BELOW) {
    add_copy(receiver, message->data, message->length);
  } else {
    add_part(receiver, message->data, message->length);
  }
  add_copy(receiver, around.after, around.after_bytes);
}

/* add_message: count: how many were published before it; only for --json, and not of shared groups. */
static void add_message(struct receiver *receiver, const struct ringbus_message *message,
                        uint64_t count) {
  if (receiver->shape.json)
    add_message_json(&receiver->text, message, count, receiver->options.shared);
  else
    add_framed(receiver, message);
  receiver->batch_messages++;
  receiver->batch_bytes += message->length;
  receiver->ring_bytes += (uint64_t)message->length + RECORD_BYTES;
}

/* receive_copy: the next message of a group that may be lapped, into copies, behind the place of what is
 * before it. Returns as ringbus_consumer_recv; also -ENOMEM. */
static int receive_copy(struct receiver *receiver, struct ringbus_message *message) {
  for (;;) {
    size_t before = frame(receiver->shape.framing, 0).before_bytes;
    char *to = receiver->copies + receiver->copies_used + before;
    size_t room = receiver->copies_size - receiver->copies_used - AROUND;
    int error = ringbus_consumer_recv(receiver->consumer, to, room, message);
    if (error != -EMSGSIZE)
      return error;
    if (receiver->batch_messages > 0)
      return -EAGAIN; /* write what there is, then it has all the room */
    char *larger = realloc(receiver->copies, (size_t)message->length + COPY_BELOW + AROUND);
    if (larger == NULL)
      return -ENOMEM;
    receiver->copies = larger;
    receiver->copies_size = (size_t)message->length + COPY_BELOW + AROUND;
  }
}

/* messages_before: the one that is read next. */
static uint64_t messages_before(const struct receiver *receiver) {
  uint64_t count = 0;
  ringbus_consumer_tell(receiver->consumer, NULL, &count);
  return count;
}

/* take_shared: a member of a shared group takes a whole batch at once, which is then its own. */
static int take_shared(struct receiver *receiver) {
  struct ringbus_message messages[SHARED_BATCH];
  size_t most = receiver->count < SHARED_BATCH ? (size_t)receiver->count : SHARED_BATCH;
  size_t count;
  int error = ringbus_consumer_borrow_batch(receiver->consumer, messages, most, &count);
  for (size_t index = 0; index < count; index++) {
    add_message(receiver, &messages[index], 0);
    receiver->redelivered += messages[index].redelivered;
  }
  return error;
}

/* take_one: the next message, in place or copied. Returns as ringbus_consumer_borrow. */
static int take_one(struct receiver *receiver) {
  struct ringbus_message message;
  int error = receiver->lappable ? receive_copy(receiver, &message)
                                 : ringbus_consumer_borrow(receiver->consumer, &message);
  if (error == 0)
    add_message(receiver, &message, receiver->shape.json ? messages_before(receiver) - 1 : 0);
  return error;
}

/* take_batch: messages that are there now. Returns 0 if there is at least one, else why not: as
 * ringbus_consumer_borrow; also -ENOMEM. */
static int take_batch(struct receiver *receiver) {
  int error = 0;
  clear_batch(receiver);
  if (receiver->lappable) {
    ringbus_consumer_tell(receiver->consumer, &receiver->begin, &receiver->begin_count);
    receiver->lost_before = lost_so_far(receiver);
  }
  if (receiver->options.shared)
    error = take_shared(receiver);
  while (!receiver->options.shared && error == 0 && !batch_is_full(receiver))
    error = take_one(receiver);
  if (error == -EOVERFLOW && !receiver->lappable)
    clear_batch(receiver); /* what was borrowed may have been overwritten since */
  if (receiver->text.failed) {
    go_back(receiver);
    return -ENOMEM;
  }
  add_part(receiver, receiver->text.bytes, receiver->text.used);
  return receiver->batch_messages > 0 ? 0 : error;
}

static int write_and_release(struct receiver *receiver) {
  int code = write_parts(receiver);
  if (code != COMMAND_OK)
    return code;
  int error = ringbus_consumer_release(receiver->consumer);
  receiver->count -= receiver->batch_messages;
  progress_add(&receiver->progress, receiver->batch_messages, receiver->batch_bytes);
  return error == 0 ? COMMAND_OK : failed_to_receive(receiver, error);
}

/* ---------------------------------------------------------------- the whole */

/* wait_for_message: returns 0 or -errno; -EINTR only if asked to stop. */
static int wait_for_message(struct receiver *receiver) {
  struct deadline deadline = deadline_in(receiver->request.timeout_ns);
  int error;
  do {
    error = ringbus_consumer_wait(receiver->consumer, deadline_left(&deadline));
  } while (error == -EINTR && stop_code() == 0);
  return error;
}

static int receive_all(struct receiver *receiver) {
  while (receiver->count > 0) {
    if (stop_code() != 0)
      return stop_code();
    int error = take_batch(receiver);
    if (error == 0) {
      int code = write_and_release(receiver);
      if (code != COMMAND_OK)
        return code;
      if (receiver->lappable)
        report_losses(receiver, false);
      continue;
    }
    if (error == -EAGAIN)
      error = wait_for_message(receiver);
    if (error == -EPIPE)
      return COMMAND_OK;
    if (error == -EOVERFLOW)
      report_losses(receiver, false);
    else if (error != 0)
      return failed_to_receive(receiver, error);
  }
  return COMMAND_OK;
}

/* group_may_be_lapped: an existing group keeps its own policy, whatever our options say. */
static bool group_may_be_lapped(const struct receiver *receiver, const ringbus_ring *ring,
                                const struct ringbus_ring_info *info) {
  const struct ringbus_consumer_options *options = &receiver->options;
  struct ringbus_group_info group;
  if (info->overwrite)
    return true;
  if (options->group != NULL && find_group(ring, options->group, &group) == 0)
    return group.policy == RINGBUS_LAPPED || group.max_lag != 0;
  return options->policy == RINGBUS_LAPPED || options->max_lag != 0;
}

/* The stream ends in order when its producers leave; that one died is worth a word. */
static void warn_of_dead_producer(const struct receiver *receiver, const ringbus_ring *ring) {
  struct ringbus_ring_info info;
  if (ringbus_ring_info(ring, &info) != 0 || info.closed)
    return;
  struct ringbus_participant participant;
  for (uint32_t slot = 1; slot <= info.max_participants; slot++) {
    if (ringbus_ring_participant(ring, slot, &participant) == 0 &&
        participant.role == RINGBUS_PRODUCER && !participant.alive) {
      char who[DESCRIPTION_BYTES];
      notice("%s: a producer died without closing the stream, which may be incomplete: %s",
             receiver->request.name, describe_participant(&participant, who));
      return;
    }
  }
}

static int receive_from(struct receiver *receiver, const ringbus_ring *ring) {
  struct ringbus_ring_info info;
  int error = ringbus_ring_info(ring, &info);
  if (error != 0)
    return failed_call(receiver->request.name, error);
  receiver->lappable = group_may_be_lapped(receiver, ring, &info);
  /* A batch of nearly the whole ring would make both sides take turns. */
  receiver->batch_limit = info.capacity / 4 < BATCH_BYTES ? info.capacity / 4 : BATCH_BYTES;
  receiver->copies_size = COPIES;
  receiver->copies = malloc(COPIES);
  if (receiver->copies == NULL)
    return out_of_memory(receiver->request.name);

  progress_begin(&receiver->progress, receiver->progress_choice, isatty(receiver->fd) == 0);
  report_losses(receiver, false);
  int code = receive_all(receiver);
  progress_end(&receiver->progress);
  report_losses(receiver, true);
  if (receiver->redelivered > 0)
    notice("%s: %" PRIu64 " messages again, of members that died or left", receiver->request.name,
           receiver->redelivered);
  bool quiet = receiver->progress_choice == PROGRESS_NEVER;
  if (code == COMMAND_OK && receiver->count > 0 && !quiet) {
    warn_of_dead_producer(receiver, ring);
  } else if (code != COMMAND_OK && code != COMMAND_SIGNALLED + SIGPIPE && !quiet) {
    notice("%s: ended after %" PRIu64 " messages, %" PRIu64 " bytes were written",
           receiver->request.name, receiver->progress.messages, receiver->progress.bytes);
  }
  free(receiver->copies);
  free(receiver->text.bytes);
  return code;
}

/* check_group: what its consumer has to say of it, and has not. */
static int check_group(const struct receiver *receiver, const ringbus_ring *ring) {
  const char *name = receiver->options.group;
  struct ringbus_group_info group;
  if (name != NULL && !receiver->options.shared && find_group(ring, name, &group) == 0 &&
      group.shared)
    return failed_because(receiver->request.name, -EINVAL,
                          "group '%s' is a shared one: --shared joins it", name);
  return COMMAND_OK;
}

static int attach_and_receive(struct receiver *receiver, ringbus_ring *ring) {
  int code = check_group(receiver, ring);
  if (code == COMMAND_OK)
    code = open_output(receiver);
  if (code != COMMAND_OK)
    return code;
  if (!output_is_other(receiver, ring)) {
    close_output(receiver);
    return failed_because(output_name(receiver), -EINVAL,
                          "the output is the ring itself: write to another file");
  }
  int error = ringbus_consumer_attach(ring, &receiver->options, &receiver->consumer);
  if (error != 0) {
    code = failed_call(receiver->request.name, error);
    if (receiver->created)
      unlink(receiver->output);
  } else {
    code = truncate_output(receiver);
    if (code == COMMAND_OK)
      code = receive_from(receiver, ring);
    ringbus_consumer_detach(receiver->consumer);
  }
  int close_code = close_output(receiver);
  return code == COMMAND_OK ? close_code : code;
}

static struct receiver receiver = {
    .request = {.can_wait = true, .timeout_ns = RINGBUS_FOREVER},
    .options = {.name = "ringbus recv", .end_without_producer = true},
    .count = UINT64_MAX,
};

static void set_follow(const struct verb_option *option, const char *text) {
  (void)option, (void)text;
  receiver.options.end_without_producer = false;
}

static const char *const policy_names[] = {"gate", "gate-while-attached", "lapped", NULL};
static const char *const from_names[] = {"resume", "oldest", "newest", "a position", NULL};

static const struct verb_option options[] = {
    OPTIONS_SHAPE(&receiver.shape),
    {.name = "output",
     .letter = 'o',
     .takes = TAKES_VALUE,
     .set = set_text,
     .to = &receiver.output,
     .value = WORD_FILE},
    {.name = "append", .set = set_flag, .to = &receiver.append},
    {.name = "overwrite", .set = set_flag, .to = &receiver.overwrite},
    {.name = "group",
     .takes = TAKES_VALUE,
     .set = set_text,
     .to = &receiver.options.group,
     .value = WORD_GROUP},
    {.name = "shared", .set = set_flag, .to = &receiver.options.shared},
    {.name = "at-most-once", .set = set_flag, .to = &receiver.options.at_most_once},
    {.name = "policy",
     .takes = TAKES_VALUE,
     .set = set_choice,
     .to = &receiver.options.policy,
     .choices = policy_names,
     .value = WORD_CHOICE},
    {.name = "max-lag", .takes = TAKES_VALUE, .set = set_size, .to = &receiver.options.max_lag},
    {.name = "from",
     .takes = TAKES_VALUE,
     .set = set_where,
     .to = &receiver.from,
     .choices = from_names,
     .value = WORD_CHOICE},
    OPTION_COUNT(&receiver.count),
    {.name = "follow", .set = set_follow},
    OPTION_WAIT(&receiver.request.wait),
    OPTION_TIMEOUT(&receiver.request.timeout_ns),
    OPTIONS_PROGRESS(&receiver.progress_choice),
    OPTIONS_END,
};

static int run(int count, char **operands) {
  receiver.request.name = not_a_copy(one_name(count, operands));
  if (receiver.append && receiver.overwrite)
    usage_error("--append and --overwrite exclude each other");
  if ((receiver.append || receiver.overwrite) && receiver.output == NULL)
    usage_error("--append and --overwrite are for an --output FILE");
  check_shape(&receiver.shape);
  struct ringbus_consumer_options *wanted = &receiver.options;
  if (wanted->shared && wanted->group == NULL)
    usage_error("--shared expects --group GROUP: who shares it names it");
  if (wanted->shared && (wanted->policy != RINGBUS_GATE || wanted->max_lag != 0))
    usage_error("--shared: such a group is always waited for: no --max-lag, no --policy but gate");
  if (wanted->at_most_once && !wanted->shared)
    usage_error("--at-most-once is for members of a group with --shared");
  wanted->start = receiver.from.start;
  wanted->position = receiver.from.position;

  catch_stop_signals();
  ringbus_ring *ring;
  int code = open_ring(&receiver.request, &ring);
  if (code == COMMAND_OK) {
    code = attach_and_receive(&receiver, ring);
    ringbus_ring_close(ring);
  }
  return code;
}

const struct verb recv_verb = {
    .name = "recv",
    .summary = "write messages to standard output or a file",
    .help = help,
    .options = options,
    .run = run,
    .operands = {WORD_RING},
};
