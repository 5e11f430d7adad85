/* SPDX-License-Identifier: MIT */
/* reader.c - Consumer and Observer, which read in the same way, and Message: one that is borrowed.
 *
 *   consumer.borrow() ──▶ borrowed ──release of the last one that is borrowed, or of the consumer──▶ released
 *                            │            and what reads or seeks: recv, latest, skip_to_newest, seek
 *                            └── views of it exist: all of these raise BufferError
 *
 * A release of the library is one of everything borrowed so far; it is done when the last message says
 * that it is no longer needed. A message that is just forgotten is not released by that: its work may
 * not have been done. */
#include <string.h>

#include "module.h"

typedef struct {
  Handle base;                        /* a ringbus_consumer, or a ringbus_observer */
  uint64_t told_messages, told_bytes; /* lost, of which Lapped has told */
  uint64_t borrows;   /* a release begins the next; messages of earlier ones are invalid */
  size_t borrowed;    /* not released */
  Py_ssize_t exports; /* views of what is borrowed */
  int pending;        /* -EOVERFLOW that was met behind the last message of a batch */
  bool awaited;       /* an event loop polls its descriptor */
  bool shared;        /* a member of a shared group */
  bool may_lap;       /* its group is not always waited for */
  /* of the message that was received last */
  bool redelivered;
  uint32_t tag;
  uint64_t position;
} Reader;

typedef struct {
  PyObject base;
  Reader *reader;
  const char *data;
  size_t length;
  uint64_t borrows; /* the reader's, when this was borrowed */
  Py_ssize_t exports;
  uint64_t position;
  uint32_t tag;
  bool redelivered, released;
} Message;

/* ---------------------------------------------------------------- attach */

static const struct choice start_choices[] = {
    {"resume", RINGBUS_RESUME}, {"oldest", RINGBUS_OLDEST}, {"newest", RINGBUS_NEWEST}, {NULL, 0}};

/* A word, or a position. */
static bool start_from(PyObject *object, enum ringbus_start *start, uint64_t *position) {
  int value = (int)*start;
  size_t number;
  if (object && PyLong_Check(object)) {
    if (!size_from(object, "position", &number))
      return false;
    *start = RINGBUS_POSITION;
    *position = number;
    return true;
  }
  if (!choose("where to start", object, start_choices, &value))
    return false;
  *start = (enum ringbus_start)value;
  return true;
}

/* Whether a group may be lapped: an existing one keeps its own policy. */
static bool group_may_be_lapped(const ringbus_ring *ring,
                                const struct ringbus_consumer_options *options) {
  struct ringbus_ring_info info;
  struct ringbus_group_info group;
  if (ringbus_ring_info(ring, &info) != 0 || info.overwrite)
    return true;
  for (uint32_t i = 0; options->group && i < info.max_groups; i++)
    if (ringbus_ring_group(ring, i, &group) == 0 && strcmp(group.name, options->group) == 0)
      return group.policy == RINGBUS_LAPPED || group.max_lag != 0;
  return options->policy == RINGBUS_LAPPED || options->max_lag != 0;
}

const char consumer_attach_doc[] =
    "consumer($self, group=None, *, policy='gate', shared=False, at_most_once=False, max_lag=0,\n"
    "         start='resume', end_without_producer=False, name=None, wait='adaptive', look=None)\n"
    "--\n\n"
    "Become the consumer of a group, which is made if need be: Consumer.\n\n"
    "group: a named one keeps its place when its consumer leaves or dies; None: one of its own, "
    "which\n"
    "ends with it. policy, of a new group: 'gate' (always waited for), 'gate-while-attached', "
    "'lapped'\n"
    "(never). shared: several consumers attach to it, each message goes to one of them. "
    "at_most_once:\n"
    "what a dead member had borrowed is lost rather than delivered again. max_lag: bytes; further\n"
    "behind it is lapped instead of waited for; 0: no limit. start: 'resume' (where the group "
    "stands; a\n"
    "new one at the oldest message), 'oldest', 'newest' (only what comes from now on), or a "
    "position.\n"
    "end_without_producer: the end has come, too, when no living producer is left and all is "
    "read.\n"
    "name, wait, look: as for Ring.producer.\n\n"
    "Raises Busy (the group has a living consumer: the text names it), Stale, Denied (read-only),\n"
    "Damaged, Forked, ValueError, Error (ENOSPC: all slots or groups are in use).";

PyObject *consumer_attach(PyObject *self, PyObject *args, PyObject *keywords) {
  static const struct choice policies[] = {{"gate", RINGBUS_GATE},
                                           {"gate-while-attached", RINGBUS_GATE_WHILE_ATTACHED},
                                           {"lapped", RINGBUS_LAPPED},
                                           {NULL, 0}};
  static char *names[] = {"group",
                          "policy",
                          "shared",
                          "at_most_once",
                          "max_lag",
                          "start",
                          "end_without_producer",
                          "name",
                          "wait",
                          "look",
                          NULL};
  struct ringbus_consumer_options options = {0};
  PyObject *policy_word = NULL, *max_lag = NULL, *start = NULL, *wait_word = NULL, *look = NULL;
  int policy = 0, shared = 0, at_most_once = 0, end = 0, wait = 0, result;
  size_t lag = 0;
  Handle *ring = (Handle *)self;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|z$OppOOpzOO:consumer", names, &options.group,
                                   &policy_word, &shared, &at_most_once, &max_lag, &start, &end,
                                   &options.name, &wait_word, &look) ||
      !choose("policy", policy_word, policies, &policy) ||
      !choose("wait", wait_word, wait_choices, &wait) || !look_from(look, &options.look_ns) ||
      (max_lag && !size_from(max_lag, "max_lag", &lag)) ||
      !start_from(start, &options.start, &options.position))
    return NULL;
  options.policy = (enum ringbus_policy)policy;
  options.shared = shared;
  options.at_most_once = at_most_once;
  options.max_lag = lag;
  options.end_without_producer = end;
  options.wait = (enum ringbus_wait)wait;
  Reader *reader = new_handle(consumer_type, sizeof *reader, "consumer", (Ring *)self);
  ringbus_consumer *handle = NULL;
  if (!reader || !is_open(ring)) {
    Py_XDECREF((PyObject *)reader);
    return NULL;
  }
  begin_use(ring);
  Py_BEGIN_ALLOW_THREADS;
  result = ringbus_consumer_attach(ring->handle, &options, &handle);
  Py_END_ALLOW_THREADS;
  end_use(ring);
  if (result != 0) {
    raise_detail(result, READING);
    Py_DECREF((PyObject *)reader);
    return NULL;
  }
  reader->base.handle = handle;
  reader->shared = shared;
  reader->may_lap = group_may_be_lapped(ring->handle, &options);
  ringbus_consumer_lost(handle, &reader->told_messages, &reader->told_bytes);
  return (PyObject *)reader;
}

const char observer_attach_doc[] =
    "observer($self, *, start='oldest')\n--\n\n"
    "Read along without being noticed, also in a ring that is opened read_only, or\n"
    "whose processes are all dead: Observer. It is waited for by nobody, and so may be\n"
    "lapped. start: 'oldest', 'newest' or a position. Raises Stale, Damaged, Forked,\n"
    "ValueError.";

PyObject *observer_attach(PyObject *self, PyObject *args, PyObject *keywords) {
  static char *names[] = {"start", NULL};
  struct ringbus_observer_options options = {0};
  PyObject *start = NULL;
  ringbus_observer *handle = NULL;
  Handle *ring = (Handle *)self;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$O:observer", names, &start) ||
      !start_from(start, &options.start, &options.position))
    return NULL;
  Reader *reader = new_handle(observer_type, sizeof *reader, "observer", (Ring *)self);
  if (!reader)
    return NULL;
  int result = is_open(ring) ? ringbus_observer_attach(ring->handle, &options, &handle) : RAISED;
  if (result != 0) {
    raise_detail(result, READING);
    Py_CLEAR(reader);
  } else {
    reader->base.handle = handle;
  }
  return (PyObject *)reader;
}

static bool is_observer(const Reader *reader) {
  return Py_TYPE((PyObject *)(uintptr_t)reader) == observer_type;
}

/* Leaves; without the interpreter's lock. */
static void detach(void *handle, bool observer) {
  if (observer)
    ringbus_observer_detach(handle);
  else
    ringbus_consumer_detach(handle);
}

static void reader_dealloc(PyObject *self) {
  Handle *reader = (Handle *)self;
  detach(reader->handle, is_observer((Reader *)self));
  Py_DECREF((PyObject *)reader->ring);
  free_object(self);
}

/* ---------------------------------------------------------------- the library's calls */

static int call_recv(const Reader *reader, void *buffer, size_t size,
                     struct ringbus_message *message) {
  return is_observer(reader) ? ringbus_observer_recv(reader->base.handle, buffer, size, message)
                             : ringbus_consumer_recv(reader->base.handle, buffer, size, message);
}

static int call_tell(const Reader *reader, uint64_t *position, uint64_t *count) {
  return is_observer(reader) ? ringbus_observer_tell(reader->base.handle, position, count)
                             : ringbus_consumer_tell(reader->base.handle, position, count);
}

static int call_seek(const Reader *reader, enum ringbus_start start, uint64_t position) {
  return is_observer(reader) ? ringbus_observer_seek(reader->base.handle, start, position)
                             : ringbus_consumer_seek(reader->base.handle, start, position);
}

static int call_lost(const Reader *reader, uint64_t *messages, uint64_t *bytes) {
  return is_observer(reader) ? ringbus_observer_lost(reader->base.handle, messages, bytes)
                             : ringbus_consumer_lost(reader->base.handle, messages, bytes);
}

/* ---------------------------------------------------------------- what may be done with it now */

/* What is borrowed may stay so. */
static bool ready(Reader *reader) { return usable(&reader->base); }

static bool not_viewed(Py_ssize_t exports) {
  if (exports)
    PyErr_Format(PyExc_BufferError,
                 "%zd views of borrowed messages exist: delete or release them first", exports);
  return exports == 0;
}

/* 0, -errno, or RAISED: Lapped, if what was borrowed may have been overwritten while it was looked at. */
static int still_valid(const Reader *reader) {
  int valid = ringbus_consumer_still_valid(reader->base.handle);
  return valid == -EOVERFLOW
             ? raise_lapped(0, 0, "what was borrowed was overwritten meanwhile: do not believe it")
             : valid;
}

/* The same, and it is released. */
static int release_all(Reader *reader) {
  int valid = still_valid(reader);
  int result = ringbus_consumer_release(reader->base.handle);
  reader->borrows++;
  reader->borrowed = 0;
  return valid == RAISED ? RAISED : result;
}

/* For what cannot be done while anything is borrowed, and so releases it first. Raises. */
static bool settled(Reader *reader) {
  if (!ready(reader) || !not_viewed(reader->exports))
    return false;
  if (!reader->borrowed)
    return true;
  int result = release_all(reader);
  if (result != 0)
    raise_error(result, READING);
  return result == 0;
}

/* ---------------------------------------------------------------- waiting */

static int call_wait(void *context, int64_t timeout_ns) {
  const Reader *reader = context;
  return is_observer(reader) ? ringbus_observer_wait(reader->base.handle, timeout_ns)
                             : ringbus_consumer_wait(reader->base.handle, timeout_ns);
}

/* The exception for a result; returns NULL. */
static PyObject *raise_result(Reader *reader, int result) {
  uint64_t messages, bytes;
  if (result == -EBUSY)
    return raise_text(result, READING,
                      "a member of a shared group borrows one message or batch at a time: release "
                      "it first");
  if (result != -EOVERFLOW || call_lost(reader, &messages, &bytes) != 0)
    return raise_error(result, READING);
  uint64_t more = messages - reader->told_messages, more_bytes = bytes - reader->told_bytes;
  reader->told_messages = messages;
  reader->told_bytes = bytes;
  char text[160];
  PyOS_snprintf(
      text, sizeof text,
      "this reader was lapped: lost %llu messages, %llu bytes; reading goes on at the oldest",
      (unsigned long long)more, (unsigned long long)more_bytes);
  raise_lapped(more, more_bytes, text);
  return NULL;
}

/* ---------------------------------------------------------------- receiving */

/* attempt, and wait, until it answers something else than -EAGAIN (of a shared group another member may
 * have been faster), or time is over; as long as the reader is as `allowed` says: settled, or ready. */
static int until(Reader *reader, PyObject *timeout, bool (*allowed)(Reader *),
                 int (*attempt)(Reader *, void *), void *context) {
  int64_t timeout_ns;
  if (!timeout_from(timeout, &timeout_ns) || !allowed(reader))
    return RAISED;
  int result = reader->pending;
  reader->pending = 0;
  if (result == 0)
    result = attempt(reader, context);
  if (result != -EAGAIN)
    return result;
  const struct patience patience = patience_of(timeout_ns);
  for (int64_t left = timeout_ns; result == -EAGAIN; left = time_left(&patience)) {
    result = wait_in_slices(call_wait, reader, left, &reader->base);
    if (result != 0)
      return result;
    if (!allowed(reader)) /* a signal's handler may have used it */
      return RAISED;
    result = attempt(reader, context);
    if (left == 0)
      break;
  }
  return result;
}

static void note(Reader *reader, const struct ringbus_message *message) {
  reader->tag = message->tag;
  reader->position = message->position;
  reader->redelivered = message->redelivered;
}

/* Whether what is borrowed stays as it is, and can be put back by a seek. */
static bool is_plain(const Reader *reader) {
  return !is_observer(reader) && !reader->may_lap && !reader->shared;
}

#define MOST_BORROWED 256 /* at once */

/* For plain consumers: as many of the next messages as are there, up to max, are borrowed, taken (which
 * looks at them but once), and released; from the one that take refuses on they are put back. *got
 * grows. Returns 0 if that was all, or why not: what the library or take has said. */
static int take_batch(Reader *reader, size_t max, size_t *got,
                      int (*take)(void *context, const struct ringbus_message *message),
                      void *context) {
  struct ringbus_message found[MOST_BORROWED];
  int result = 0;
  while (result == 0 && *got < max) {
    size_t most = max - *got, count, i = 0;
    result = ringbus_consumer_borrow_batch(reader->base.handle, found,
                                           most < MOST_BORROWED ? most : MOST_BORROWED, &count);
    while (result == 0 && i < count)
      if ((result = take(context, &found[i])) == 0)
        i++;
    *got += i;
    if (i)
      note(reader, &found[i - 1]);
    int left = i < count
                   ? ringbus_consumer_seek(reader->base.handle, RINGBUS_POSITION, found[i].position)
               : count ? ringbus_consumer_release(reader->base.handle)
                       : 0;
    if (result == 0)
      result = left;
  }
  return result;
}

static int take_bytes(void *out, const struct ringbus_message *message) {
  PyObject *bytes = PyBytes_FromStringAndSize(message->data, (Py_ssize_t)message->length);
  *(PyObject **)out = bytes;
  return bytes ? 0 : RAISED;
}

/* The next message as bytes, in *out. Where it may be overwritten, or could not be put back, it is asked
 * for its length, copied, and then released. */
static int attempt_bytes(Reader *reader, void *out) {
  struct ringbus_message message;
  PyObject *bytes = NULL;
  char nothing; /* an address, where an empty message may be copied to */
  if (is_plain(reader)) {
    size_t got = 0;
    return take_batch(reader, 1, &got, take_bytes, out);
  }
  int result = call_recv(reader, &nothing, 0, &message);
  while (result == -EMSGSIZE) { /* again if it was another one the second time */
    size_t size = message.length;
    Py_XDECREF(bytes);
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!bytes)
      return RAISED;
    result = call_recv(reader, PyBytes_AsString(bytes), size, &message);
    if (result == 0 && message.length < size) {
      PyObject *whole = bytes;
      bytes = PyBytes_FromStringAndSize(PyBytes_AsString(whole), message.length);
      Py_DECREF(whole);
      if (!bytes)
        return RAISED;
    }
  }
  if (result != 0) {
    Py_XDECREF(bytes);
    return result;
  }
  if (!bytes && !(bytes = PyBytes_FromStringAndSize(NULL, 0)))
    return RAISED;
  note(reader, &message);
  *(PyObject **)out = bytes;
  return 0;
}

static PyObject *reader_recv(PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *keywords) {
  static const struct signature signature = {"recv", {"timeout"}, 0, 1};
  PyObject *values[1] = {NULL}, *bytes;
  if ((count || keywords) && !take_arguments(&signature, args, count, keywords, values))
    return NULL;
  int result = until((Reader *)self, values[0], settled, attempt_bytes, &bytes);
  return result == 0 ? bytes : raise_result((Reader *)self, result);
}

static PyObject *reader_next(PyObject *self) {
  PyObject *bytes;
  int result = until((Reader *)self, NULL, settled, attempt_bytes, &bytes);
  if (result == -EPIPE)
    return NULL;
  return result == 0 ? bytes : raise_result((Reader *)self, result);
}

struct list {
  PyObject *list;
  size_t max, got;
};

/* What ended a batch that is not empty: said by the next call, which for all but this says it itself. */
static int end_batch(Reader *reader, size_t got, int result) {
  if (got == 0)
    return result;
  if (result == RAISED) /* no memory for one more */
    PyErr_Clear();
  else if (result == -EOVERFLOW)
    reader->pending = result;
  return 0;
}

static int append(PyObject *list, PyObject *bytes) {
  int result = PyList_Append(list, bytes);
  Py_DECREF(bytes);
  return result == 0 ? 0 : RAISED;
}

static int take_into_list(void *list, const struct ringbus_message *message) {
  PyObject *bytes;
  int result = take_bytes(&bytes, message);
  return result == 0 ? append(list, bytes) : result;
}

static int attempt_list(Reader *reader, void *context) {
  struct list *list = context;
  int result = 0;
  if (is_plain(reader))
    result = take_batch(reader, list->max, &list->got, take_into_list, list->list);
  else
    while (result == 0 && list->got < list->max) {
      PyObject *bytes;
      result = attempt_bytes(reader, &bytes);
      if (result == 0)
        result = append(list->list, bytes);
      if (result == 0)
        list->got++;
    }
  return end_batch(reader, list->got, result);
}

static bool max_from(PyObject *object, size_t *max) {
  if (object && !size_from(object, "max", max))
    return false;
  if (*max == 0)
    PyErr_SetString(PyExc_ValueError, "max: at least 1");
  return *max > 0;
}

static PyObject *reader_recv_batch(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                   PyObject *keywords) {
  static const struct signature signature = {"recv_batch", {"max", "timeout"}, 0, 2};
  struct list list = {NULL, 256, 0};
  PyObject *values[2];
  if (!take_arguments(&signature, args, count, keywords, values) || !max_from(values[0], &list.max))
    return NULL;
  list.list = PyList_New(0);
  if (!list.list)
    return NULL;
  int result = until((Reader *)self, values[1], settled, attempt_list, &list);
  if (result == 0)
    return list.list;
  Py_DECREF(list.list);
  return raise_result((Reader *)self, result);
}

struct into {
  Py_buffer view;
  uint32_t length;
};

static int attempt_into(Reader *reader, void *context) {
  struct into *into = context;
  struct ringbus_message message;
  int result = call_recv(reader, into->view.buf, (size_t)into->view.len, &message);
  if (result == 0) {
    note(reader, &message);
    into->length = message.length;
  } else if (result == -EMSGSIZE) {
    raise_text(result, READING,
               "the buffer is shorter than the message, which needs `needed` bytes");
    add_number("needed", message.length);
    return RAISED;
  }
  return result;
}

static PyObject *reader_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *keywords) {
  static const struct signature signature = {"recv_into", {"buffer", "timeout"}, 1, 2};
  Reader *reader = (Reader *)self;
  PyObject *values[2];
  struct into into;
  if (!take_arguments(&signature, args, count, keywords, values) ||
      PyObject_GetBuffer(values[0], &into.view, PyBUF_WRITABLE) != 0)
    return NULL;
  int result = until(reader, values[1], settled, attempt_into, &into);
  PyBuffer_Release(&into.view);
  return result == 0 ? PyLong_FromUnsignedLong(into.length) : raise_result(reader, result);
}

/* ---------------------------------------------------------------- the rest of a reader's life */

static PyObject *reader_wait(PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *keywords) {
  static const struct signature signature = {"wait", {"timeout"}, 0, 1};
  Reader *reader = (Reader *)self;
  PyObject *values[1];
  int64_t timeout_ns;
  if (!take_arguments(&signature, args, count, keywords, values) ||
      !timeout_from(values[0], &timeout_ns) || !ready(reader))
    return NULL;
  int result = reader->pending ? 0 : wait_in_slices(call_wait, reader, timeout_ns, &reader->base);
  return result == 0 ? Py_NewRef(Py_None) : raise_result(reader, result);
}

static PyObject *pair(uint64_t one, uint64_t two) {
  return Py_BuildValue("(KK)", (unsigned long long)one, (unsigned long long)two);
}

static PyObject *reader_tell(PyObject *self, PyObject *unused) {
  Reader *reader = (Reader *)self;
  uint64_t position, count;
  (void)unused;
  if (!ready(reader))
    return NULL;
  int result = call_tell(reader, &position, &count);
  return result == 0 ? pair(position, count) : raise_result(reader, result);
}

static PyObject *reader_lost(PyObject *self, PyObject *unused) {
  Reader *reader = (Reader *)self;
  uint64_t messages, bytes;
  (void)unused;
  if (!ready(reader))
    return NULL;
  int result = call_lost(reader, &messages, &bytes);
  return result == 0 ? pair(messages, bytes) : raise_result(reader, result);
}

static PyObject *reader_seek(PyObject *self, PyObject *where) {
  Reader *reader = (Reader *)self;
  enum ringbus_start start = RINGBUS_RESUME;
  uint64_t position = 0;
  if (!start_from(where, &start, &position) || !settled(reader))
    return NULL;
  if (start == RINGBUS_RESUME) {
    PyErr_SetString(PyExc_ValueError, "seek to 'oldest', 'newest' or a position");
    return NULL;
  }
  int result = call_seek(reader, start, position);
  if (result == 0 || result == -EOVERFLOW)
    reader->pending = 0;
  if (result == -EOVERFLOW)
    return raise_result(reader, result);
  if (result == -EINVAL) /* the others are told of by a hot call, without a detail */
    return raise_detail(result, READING);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, READING);
}

static PyObject *reader_close(PyObject *self, PyObject *unused) {
  Reader *reader = (Reader *)self;
  bool observer = is_observer(reader);
  (void)unused;
  if (is_in_use(&reader->base))
    return raise_in_use(&reader->base);
  if (reader->awaited && !is_forked(&reader->base))
    return raise_text(-EBUSY, READING, "a task awaits a message of this consumer: cancel it first");
  if (!not_viewed(reader->exports))
    return NULL;
  if (reader->base.poller)
    poller_drop(&reader->base);
  void *handle = reader->base.handle;
  reader->base.handle = NULL;
  Py_BEGIN_ALLOW_THREADS;
  /* -ECHILD in a forked child, where there is nothing to leave */
  detach(handle, observer);
  Py_END_ALLOW_THREADS;
  return Py_NewRef(Py_None);
}

static PyObject *reader_exit(PyObject *self, PyObject *args) {
  return exit_closing(self, args, reader_close);
}

static PyObject *get_tag(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLong(((Reader *)self)->tag);
}

static PyObject *get_position(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(((Reader *)self)->position);
}

static PyObject *get_redelivered(PyObject *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(((Reader *)self)->redelivered);
}

#define READER_PROPERTIES                                                                          \
  RING_PROPERTY, CLOSED_PROPERTY,                                                                  \
      {"tag", get_tag, NULL, "of the message received last: its tag, 0 if it has none", NULL}, {   \
    "position", get_position, NULL,                                                                \
        "of the message received last: unique as long as the ring lives", NULL                     \
  }

#define READER_METHODS                                                                             \
  {"recv", WITH_KEYWORDS(reader_recv), METH_FASTCALL | METH_KEYWORDS,                              \
   "recv($self, timeout=None)\n--\n\n"                                                             \
   "The next message, as bytes. timeout: seconds, None: as long as it takes, 0: not at\n"          \
   "all.\n\n"                                                                                      \
   "Raises Empty, EndOfStream, Lapped, Stale, Damaged, Forked; BufferError while views\n"          \
   "of borrowed messages exist (others that are borrowed are released)."},                         \
      {"recv_batch", WITH_KEYWORDS(reader_recv_batch), METH_FASTCALL | METH_KEYWORDS,              \
       "recv_batch($self, max=256, timeout=None)\n--\n\n"                                          \
       "As many of the next messages as are there, up to max, but at least one: a list of\n"       \
       "bytes. Raises as recv."},                                                                  \
      {"recv_into", WITH_KEYWORDS(reader_recv_into), METH_FASTCALL | METH_KEYWORDS,                \
       "recv_into($self, buffer, timeout=None)\n--\n\n"                                            \
       "The next message into a writable buffer; returns its length in bytes. TooLong,\n"          \
       "whose `needed` says how long it is, consumes nothing. Raises as recv."},                   \
      {"wait", WITH_KEYWORDS(reader_wait), METH_FASTCALL | METH_KEYWORDS,                          \
       "wait($self, timeout=None)\n--\n\n"                                                         \
       "Wait until there is a message. Raises Empty, EndOfStream, Stale."},                        \
      {"tell", reader_tell, METH_NOARGS,                                                           \
       "tell($self)\n--\n\n"                                                                       \
       "(position, count): of the next message, and how many were ever published before\n"         \
       "it."},                                                                                     \
      {"seek", reader_seek, METH_O,                                                                \
       "seek($self, where, /)\n--\n\n"                                                             \
       "Go to 'oldest', 'newest' (behind the newest: what comes from now on), or a\n"              \
       "position that is a message's in the ring. What is borrowed is released. Raises\n"          \
       "ValueError, Lapped."},                                                                     \
      {"lost", reader_lost, METH_NOARGS,                                                           \
       "lost($self)\n--\n\n"                                                                       \
       "(messages, bytes) missed by being lapped, exactly."},                                      \
      {"close", reader_close, METH_NOARGS,                                                         \
       "close($self)\n--\n\n"                                                                      \
       "Leave. BufferError while views of borrowed messages exist. Closing twice is\n"             \
       "allowed."},                                                                                \
      {"__enter__", enter_self, METH_NOARGS, NULL}, {"__exit__", reader_exit, METH_VARARGS, NULL}, \
  {                                                                                                \
    NULL, NULL, 0, NULL                                                                            \
  }

/* ---------------------------------------------------------------- consumer: records */

struct records {
  Py_buffer *view;
  size_t size, max, taken, got;
  uint32_t other; /* the size of one that is no such record */
};

static int take_record(void *context, const struct ringbus_message *message) {
  struct records *records = context;
  if (message->length != records->size) {
    records->other = message->length;
    return -EMSGSIZE;
  }
  memcpy((char *)records->view->buf + records->taken++ * records->size, message->data,
         records->size);
  return 0;
}

static int attempt_records(Reader *reader, void *context) {
  struct records *records = context;
  int result = take_batch(reader, records->max, &records->got, take_record, records);
  if (result != -EMSGSIZE || records->got)
    return end_batch(reader, records->got, result);
  PyErr_Format(PyExc_ValueError,
               "the next message has %u bytes, a record %zu: receive it with recv",
               (unsigned)records->other, records->size);
  return RAISED;
}

static PyObject *consumer_recv_records_into(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                            PyObject *keywords) {
  static const struct signature signature = {"recv_records_into", {"records", "timeout"}, 1, 2};
  Reader *reader = (Reader *)self;
  struct records records = {0};
  PyObject *values[2];
  Py_buffer view;
  int result = RAISED;
  if (!take_arguments(&signature, args, count, keywords, values) ||
      PyObject_GetBuffer(values[0], &view, PyBUF_CONTIG) != 0)
    return NULL;
  if (!is_plain(reader)) { /* where what does not fit could not be put back */
    PyErr_SetString(PyExc_ValueError, "records can be received by a consumer whose group is always "
                                      "waited for and not shared: use recv_batch");
  } else if (view.ndim > 0 && view.len > 0) {
    records.view = &view;
    records.max = (size_t)view.shape[0];
    records.size = (size_t)view.len / records.max;
    result = until(reader, values[1], settled, attempt_records, &records);
  } else {
    PyErr_SetString(PyExc_ValueError, "there is no room for a record");
  }
  PyBuffer_Release(&view);
  return result == 0 ? PyLong_FromSize_t(records.got) : raise_result(reader, result);
}

/* ---------------------------------------------------------------- consumer: the newest message */

/* Messages that are passed over with the interpreter's lock held, and without it, which takes
 * longer, before signals are looked for. */
#define FEW_SKIPPED 256
#define MANY_SKIPPED 65536

/* On to the last of the next messages, `most` at most, which will be the next. Returns 0, or, if it is the
 * newest, -EAGAIN or -EPIPE; *position is its own, or as it was if there is none. */
static int skip_some(ringbus_consumer *consumer, size_t most, uint64_t *position) {
  struct ringbus_message message;
  int result = 0;
  size_t seen = 0;
  while (seen < most && (result = ringbus_consumer_borrow(consumer, &message)) == 0)
    seen++;
  if (seen == 0 || result == -EOVERFLOW)
    return result;
  *position = message.position;
  int moved = ringbus_consumer_seek(consumer, RINGBUS_POSITION, message.position);
  return moved == -EINVAL ? -EOVERFLOW /* it was overwritten just now */ : moved ? moved : result;
}

/* On to the newest message, which will be the next. Returns 0 if there is one. */
static int skip_to_newest(Reader *reader) {
  int result = -EOVERFLOW;
  for (int tries = 0; tries < 100 && result == -EOVERFLOW; tries++) {
    uint64_t first = UINT64_MAX, last = UINT64_MAX; /* no message's */
    result = skip_some(reader->base.handle, FEW_SKIPPED, &last);
    first = last;
    /* a lap is enough for one call */
    while (result == 0 && last - first <= reader->base.ring->capacity) {
      Handle *of = begin_use(&reader->base);
      Py_BEGIN_ALLOW_THREADS;
      result = skip_some(reader->base.handle, MANY_SKIPPED, &last);
      Py_END_ALLOW_THREADS;
      end_use(of);
      if (PyErr_CheckSignals() != 0 || !settled(reader))
        return RAISED;
    }
    if ((result == -EAGAIN || result == -EPIPE) && last != UINT64_MAX)
      return 0;
  }
  return result;
}

/* What was lost on the way is among what was skipped, and need not be told of again. */
static void told_of_lost(Reader *reader) {
  call_lost(reader, &reader->told_messages, &reader->told_bytes);
  reader->pending = 0;
}

/* Nothing was skipped: a loss that nobody was told of, met by this call or by the batch before it, is the
 * next call's to tell. Returns NULL. */
static PyObject *raise_not_skipped(Reader *reader, int result) {
  uint64_t lost;
  bool mine =
      reader->base.handle && !is_in_use(&reader->base); /* still, behind a signal's handler */
  if (mine && result != -EOVERFLOW && call_lost(reader, &lost, NULL) == 0 &&
      lost != reader->told_messages)
    reader->pending = -EOVERFLOW;
  return raise_result(reader, result);
}

/* Raises, or tells how many messages were published before the next one, or before what was lost and not
 * told of yet. */
static bool can_skip(Reader *reader, uint64_t *count) {
  uint64_t lost;
  if (!settled(reader))
    return false;
  if (reader->shared) {
    PyErr_SetString(PyExc_ValueError,
                    "where a shared group stands is not for one of its members to say");
    return false;
  }
  int result = call_tell(reader, NULL, count);
  if (result == 0)
    result = call_lost(reader, &lost, NULL);
  if (result == 0)
    *count -= lost - reader->told_messages;
  else
    raise_result(reader, result);
  return result == 0;
}

static PyObject *consumer_skip_to_newest(PyObject *self, PyObject *unused) {
  Reader *reader = (Reader *)self;
  uint64_t before, after;
  (void)unused;
  if (!can_skip(reader, &before))
    return NULL;
  int result = skip_to_newest(reader);
  if (result == 0 || result == -EAGAIN || result == -EPIPE)
    result = call_tell(reader, NULL, &after);
  if (result != 0)
    return raise_not_skipped(reader, result);
  told_of_lost(reader);
  return PyLong_FromUnsignedLongLong(after - before);
}

static int attempt_latest(Reader *reader, void *out) {
  int result = -EOVERFLOW;
  for (int tries = 0; tries < 100 && result == -EOVERFLOW; tries++) {
    result = skip_to_newest(reader);
    if (result == 0)
      result = attempt_bytes(reader, out);
  }
  return result;
}

static PyObject *consumer_latest(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                 PyObject *keywords) {
  static const struct signature signature = {"latest", {"timeout"}, 0, 1};
  Reader *reader = (Reader *)self;
  PyObject *values[1], *bytes = NULL;
  uint64_t before, after;
  if (!take_arguments(&signature, args, count, keywords, values) || !can_skip(reader, &before))
    return NULL;
  reader->pending = 0; /* the loss is among what will be skipped */
  int result = until(reader, values[0], settled, attempt_latest, &bytes);
  if (result == 0)
    result = call_tell(reader, NULL, &after);
  if (result != 0) {
    Py_XDECREF(bytes);
    return raise_not_skipped(reader, result);
  }
  told_of_lost(reader);
  return Py_BuildValue("(NK)", bytes, (unsigned long long)(after - before - 1));
}

/* ---------------------------------------------------------------- consumer: borrowing */

static Message *new_message(void) { return new_object(message_type, sizeof(Message)); }

static void lend(Reader *reader, Message *message, const struct ringbus_message *found) {
  message->reader = (Reader *)Py_NewRef((PyObject *)reader);
  message->data = found->data;
  message->length = found->length;
  message->borrows = reader->borrows;
  message->position = found->position;
  message->tag = found->tag;
  message->redelivered = found->redelivered;
  reader->borrowed++;
  note(reader, found);
}

static int attempt_borrow(Reader *reader, void *message) {
  struct ringbus_message found;
  int result = ringbus_consumer_borrow(reader->base.handle, &found);
  if (result == 0)
    lend(reader, message, &found);
  return result;
}

static PyObject *consumer_borrow(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                 PyObject *keywords) {
  static const struct signature signature = {"borrow", {"timeout"}, 0, 1};
  PyObject *values[1];
  if (!take_arguments(&signature, args, count, keywords, values))
    return NULL;
  Message *message = new_message();
  if (!message)
    return NULL;
  int result = until((Reader *)self, values[0], ready, attempt_borrow, message);
  if (result == 0)
    return (PyObject *)message;
  Py_DECREF((PyObject *)message);
  return raise_result((Reader *)self, result);
}

/* Into messages that are there already, so that nothing can fail once something is borrowed. */
static int attempt_borrow_list(Reader *reader, void *context) {
  struct list *list = context;
  struct ringbus_message found[MOST_BORROWED];
  int result = ringbus_consumer_borrow_batch(reader->base.handle, found, list->max, &list->got);
  for (size_t i = 0; result == 0 && i < list->got; i++)
    lend(reader, (Message *)PyList_GetItem(list->list, (Py_ssize_t)i), &found[i]);
  return result;
}

static PyObject *consumer_borrow_batch(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                       PyObject *keywords) {
  static const struct signature signature = {"borrow_batch", {"max", "timeout"}, 0, 2};
  struct list list = {NULL, MOST_BORROWED, 0};
  PyObject *values[2];
  if (!take_arguments(&signature, args, count, keywords, values) || !max_from(values[0], &list.max))
    return NULL;
  if (list.max > MOST_BORROWED)
    list.max = MOST_BORROWED;
  list.list = PyList_New(0);
  int result = list.list ? 0 : RAISED;
  if (list.list) /* by whose list of objects another thread could find it, and change it, meanwhile */
    PyObject_GC_UnTrack(list.list);
  for (size_t i = 0; i < list.max && result == 0; i++) {
    PyObject *message = (PyObject *)new_message();
    if (!message || PyList_Append(list.list, message) != 0)
      result = RAISED;
    Py_XDECREF(message);
  }
  if (result == 0)
    result = until((Reader *)self, values[1], ready, attempt_borrow_list, &list);
  if (result == 0 && PyList_SetSlice(list.list, (Py_ssize_t)list.got, PY_SSIZE_T_MAX, NULL) == 0) {
    PyObject_GC_Track(list.list);
    return list.list;
  }
  Py_XDECREF(list.list);
  return result == 0 ? NULL : raise_result((Reader *)self, result);
}

static PyObject *consumer_release(PyObject *self, PyObject *unused) {
  Reader *reader = (Reader *)self;
  (void)unused;
  if (!ready(reader) || !not_viewed(reader->exports))
    return NULL;
  int result = release_all(reader);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, READING);
}

static PyObject *consumer_fileno(PyObject *self, PyObject *unused) {
  Reader *reader = (Reader *)self;
  int fd;
  (void)unused;
  if (!ready(reader))
    return NULL;
  int result = ringbus_consumer_event_fd(reader->base.handle, &fd);
  return result == 0 ? PyLong_FromLong(fd) : raise_error(result, READING);
}

static PyObject *consumer_arm(PyObject *self, PyObject *unused) {
  Reader *reader = (Reader *)self;
  (void)unused;
  if (!ready(reader))
    return NULL;
  int result = ringbus_consumer_event_arm(reader->base.handle);
  if (result == -EINVAL)
    return raise_text(result, READING, "there is no descriptor to arm: call fileno first");
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, READING);
}

/* For event loops, in Python: the descriptor, armed; until await_end the consumer is not closed, since
 * that would close it behind the loop's back. */
static PyObject *consumer_await_begin(PyObject *self, PyObject *unused) {
  Reader *reader = (Reader *)self;
  int fd;
  (void)unused;
  if (!ready(reader))
    return NULL;
  if (reader->awaited)
    return raise_text(-EBUSY, READING, "another task awaits a message of this consumer");
  int result = ringbus_consumer_event_fd(reader->base.handle, &fd);
  if (result == 0)
    result = ringbus_consumer_event_arm(reader->base.handle);
  if (result != 0)
    return raise_error(result, READING);
  reader->awaited = true;
  return PyLong_FromLong(fd);
}

static PyObject *consumer_await_end(PyObject *self, PyObject *unused) {
  (void)unused;
  ((Reader *)self)->awaited = false;
  return Py_NewRef(Py_None);
}

/* ---------------------------------------------------------------- message */

static void message_dealloc(PyObject *self) {
  Py_XDECREF((PyObject *)((Message *)self)->reader);
  free_object(self);
}

static bool message_is_borrowed(const Message *message) {
  const Reader *reader = message->reader;
  if (!message->released && message->borrows == reader->borrows)
    return is_open(&reader->base);
  PyErr_SetString(PyExc_ValueError, "the message was released already");
  return false;
}

static PyObject *message_release(PyObject *self, PyObject *unused) {
  Message *message = (Message *)self;
  Reader *reader = message->reader;
  (void)unused;
  if (!message_is_borrowed(message) || !ready(reader) || !not_viewed(message->exports))
    return NULL;
  message->released = true;
  int result = --reader->borrowed ? still_valid(reader) : release_all(reader);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, READING);
}

static PyObject *message_exit(PyObject *self, PyObject *args) {
  const Message *message = (Message *)self;
  PyObject *type, *value, *traceback;
  if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &value, &traceback))
    return NULL;
  if (message->released || message->borrows != message->reader->borrows)
    return Py_NewRef(Py_None);
  /* After an exception it is not released: the work was not done. */
  return type == Py_None ? message_release(self, NULL) : Py_NewRef(Py_None);
}

static int message_get_buffer(PyObject *self, Py_buffer *view, int flags) {
  Message *message = (Message *)self;
  view->obj = NULL;
  if (!message_is_borrowed(message) || !ready(message->reader))
    return -1;
  if (is_forked(&message->reader->base)) { /* where its memory is not there */
    raise_error(-ECHILD, READING);
    return -1;
  }
  if (PyBuffer_FillInfo(view, self, (void *)(uintptr_t)message->data, (Py_ssize_t)message->length,
                        1, flags) != 0)
    return -1;
  message->exports++;
  message->reader->exports++;
  return 0;
}

static void message_release_buffer(PyObject *self, Py_buffer *view) {
  Message *message = (Message *)self;
  (void)view;
  message->exports--;
  message->reader->exports--;
}

static Py_ssize_t message_length(PyObject *self) { return (Py_ssize_t)((Message *)self)->length; }

static PyObject *message_repr(PyObject *self) {
  const Message *message = (Message *)self;
  return PyUnicode_FromFormat(
      "<ringbus.Message of %zu bytes%s>", message->length,
      message->released || message->borrows != message->reader->borrows ? ", released" : "");
}

static PyObject *message_view(PyObject *self, void *unused) {
  (void)unused;
  return PyMemoryView_FromObject(self);
}

static PyObject *message_tag(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLong(((Message *)self)->tag);
}

static PyObject *message_position(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(((Message *)self)->position);
}

static PyObject *message_redelivered(PyObject *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(((Message *)self)->redelivered);
}

static PyMethodDef message_methods[] = {
    {"release", message_release, METH_NOARGS,
     "release($self)\n--\n\n"
     "Done with this message. When all that is borrowed is released, it may be\n"
     "overwritten and will not come again. BufferError while views of it exist; Lapped\n"
     "if it was overwritten while it was borrowed, which happens in groups that are not\n"
     "waited for."},
    {"__enter__", enter_self, METH_NOARGS, NULL},
    {"__exit__", message_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef message_properties[] = {
    {"view", message_view, NULL, "a new read-only memoryview of the message's bytes", NULL},
    {"tag", message_tag, NULL, "the sender's 32 bits, 0 if none were given", NULL},
    {"position", message_position, NULL, "unique as long as the ring lives", NULL},
    {"redelivered", message_redelivered, NULL,
     "another member of the shared group has had it, and died before it released it", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot message_slots[] = {
    {Py_tp_doc,
     (void *)"A message that is still in the ring: a read-only buffer of bytes, without a copy.\n"
             "Leaving `with` releases it, unless there was an exception."},
    {Py_tp_dealloc, (void *)message_dealloc},
    {Py_tp_repr, (void *)message_repr},
    {Py_tp_methods, message_methods},
    {Py_tp_getset, message_properties},
    {Py_sq_length, (void *)message_length},
    {Py_bf_getbuffer, (void *)message_get_buffer},
    {Py_bf_releasebuffer, (void *)message_release_buffer},
    {0, NULL},
};
PyType_Spec message_spec = {"ringbus.Message", sizeof(Message), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, message_slots};

/* ---------------------------------------------------------------- the types */

static PyMethodDef consumer_methods[] = {
    {"borrow", WITH_KEYWORDS(consumer_borrow), METH_FASTCALL | METH_KEYWORDS,
     "borrow($self, timeout=None)\n--\n\n"
     "The next message where it is, without a copy: Message. Several may be borrowed; a\n"
     "member of a shared group borrows one, or one batch. Raises as recv, but whatever\n"
     "is borrowed stays so."},
    {"borrow_batch", WITH_KEYWORDS(consumer_borrow_batch), METH_FASTCALL | METH_KEYWORDS,
     "borrow_batch($self, max=256, timeout=None)\n--\n\n"
     "As many as are there, at most 256 at once: a list of Message. Raises as borrow."},
    {"release", consumer_release, METH_NOARGS,
     "release($self)\n--\n\n"
     "Done with everything borrowed so far. BufferError while views of it exist; Lapped\n"
     "as for Message.release."},
    {"recv_records_into", WITH_KEYWORDS(consumer_recv_records_into), METH_FASTCALL | METH_KEYWORDS,
     "recv_records_into($self, records, timeout=None)\n--\n\n"
     "As many of the next messages as are there into the elements along the first\n"
     "dimension of a C-contiguous array, whose size each must have; returns how many, at\n"
     "least 1. Ends before a message of another size, which is a ValueError if it is the\n"
     "next one. Not in groups that are shared or may be lapped (ValueError). Raises as\n"
     "recv."},
    {"skip_to_newest", consumer_skip_to_newest, METH_NOARGS,
     "skip_to_newest($self)\n--\n\n"
     "Go on to the newest message, so that it is the next one, and whatever is borrowed\n"
     "is released. Returns how many were skipped, lost ones included. Raises Lapped if it\n"
     "is overwritten again and again before it is reached."},
    {"latest", WITH_KEYWORDS(consumer_latest), METH_FASTCALL | METH_KEYWORDS,
     "latest($self, timeout=None)\n--\n\n"
     "(bytes, skipped): the newest message, waiting for one if need be, and how many\n"
     "older ones were passed over, lost ones included. Raises as recv."},
    {"fileno", consumer_fileno, METH_NOARGS,
     "fileno($self)\n--\n\n"
     "A descriptor for select, epoll and event loops: readable when there is a message,\n"
     "or the end. Only poll it; call arm when recv(timeout=0) has raised Empty, and go\n"
     "back to the loop."},
    {"arm", consumer_arm, METH_NOARGS,
     "arm($self)\n--\n\n"
     "The descriptor of fileno becomes readable with the next message, or at once if it\n"
     "is there already. Raises EndOfStream, Stale, Damaged."},
    {"_await_begin", consumer_await_begin, METH_NOARGS, NULL},
    {"_await_end", consumer_await_end, METH_NOARGS, NULL},
    READER_METHODS,
};

static PyGetSetDef consumer_properties[] = {
    READER_PROPERTIES,
    {"redelivered", get_redelivered, NULL,
     "of the message received last: another member of the shared group has had it, and died", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot consumer_slots[] = {
    {Py_tp_doc,
     (void *)"Reads for a group: see Ring.consumer. Iterating receives bytes until the end of the\n"
             "stream. For one thread at a time."},
    {Py_tp_dealloc, (void *)reader_dealloc},
    {Py_tp_repr, (void *)handle_repr},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)reader_next},
    {Py_tp_methods, consumer_methods},
    {Py_tp_getset, consumer_properties},
    {0, NULL},
};
PyType_Spec consumer_spec = {"ringbus.Consumer", sizeof(Reader), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             consumer_slots};

static PyMethodDef observer_methods[] = {READER_METHODS};

static PyGetSetDef observer_properties[] = {READER_PROPERTIES, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot observer_slots[] = {
    {Py_tp_doc,
     (void *)"Reads along unnoticed: see Ring.observer. Iterating receives bytes until the end of\n"
             "the stream. For one thread at a time."},
    {Py_tp_dealloc, (void *)reader_dealloc},
    {Py_tp_repr, (void *)handle_repr},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)reader_next},
    {Py_tp_methods, observer_methods},
    {Py_tp_getset, observer_properties},
    {0, NULL},
};
PyType_Spec observer_spec = {"ringbus.Observer", sizeof(Reader), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             observer_slots};
