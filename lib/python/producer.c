/* SPDX-License-Identifier: MIT */
/* producer.c - Producer, and Claim: a message that is made in place.
 *
 *   producer.claim(n) ──▶ open ──commit(n), leaving `with`──▶ done: the message is there
 *                          │
 *                          └──abort, leaving `with` by an exception, nobody refers to it──▶ done: never was
 *
 * While a claim is open the producer sends nothing else: its memory would be the next message's. */
#include <string.h>

#include "module.h"

typedef struct {
  Handle base;
  struct Claim *claim; /* open; not counted as a reference: it takes itself out */
} Producer;

typedef struct Claim {
  PyObject base;
  Producer *producer; /* NULL: done */
  char *data;
  size_t length;
  Py_ssize_t exports; /* views of it */
} Claim;

const char producer_attach_doc[] =
    "producer($self, *, name=None, wait='adaptive', look=None)\n--\n\n"
    "Become the producer of this ring, or one of its many: Producer.\n\n"
    "name: shown to people. wait: 'adaptive' (spin some microseconds, then sleep),\n"
    "'spin' or 'block'. look: seconds between looks for the dead while asleep (0.05).\n\n"
    "Raises Busy (there is a living producer: the text names it), Finished, Stale,\n"
    "Denied (read-only), Damaged, Forked, Error (ENOSPC: all slots are in use).";

PyObject *producer_attach(PyObject *self, PyObject *args, PyObject *keywords) {
  static char *names[] = {"name", "wait", "look", NULL};
  struct ringbus_producer_options options = {0};
  PyObject *wait_word = NULL, *look = NULL;
  ringbus_producer *handle = NULL;
  Handle *ring = (Handle *)self;
  int wait = 0, result;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$zOO:producer", names, &options.name,
                                   &wait_word, &look) ||
      !choose("wait", wait_word, wait_choices, &wait) || !look_from(look, &options.look_ns))
    return NULL;
  options.wait = (enum ringbus_wait)wait;
  Producer *producer = new_handle(producer_type, sizeof *producer, "producer", (Ring *)self);
  if (!producer || !is_open(ring)) {
    Py_XDECREF((PyObject *)producer);
    return NULL;
  }
  begin_use(ring);
  Py_BEGIN_ALLOW_THREADS;
  result = ringbus_producer_attach(ring->handle, &options, &handle);
  Py_END_ALLOW_THREADS;
  end_use(ring);
  if (result != 0) {
    raise_detail(result, SENDING);
    Py_CLEAR(producer);
  } else {
    producer->base.handle = handle;
  }
  return (PyObject *)producer;
}

static void producer_dealloc(PyObject *self) {
  Handle *producer = (Handle *)self;
  ringbus_producer_detach(producer->handle); /* no claim is open: it would refer to this */
  Py_DECREF((PyObject *)producer->ring);
  free_object(self);
}

/* Whether it may publish now; raises. */
static bool can_send(const Producer *producer) {
  if (!usable(&producer->base))
    return false;
  if (producer->claim)
    PyErr_SetString(PyExc_BufferError, "a claim is open: commit or abort it first");
  return !producer->claim;
}

/* What is to be published, or claimed. */
struct offer {
  Producer *producer;
  size_t length; /* for which there must be room */
  uint32_t tag;
  const void *data;
  void *claimed;
  const struct iovec *messages; /* of a batch */
  size_t count, sent;
  bool all_at_once;
};

static int wait_for_room(void *context, int64_t timeout_ns) {
  const struct offer *offer = context;
  return ringbus_producer_wait(offer->producer->base.handle, offer->length, offer->tag, timeout_ns);
}

/* 0: there may be room now; -errno; RAISED. */
static int await_room(struct offer *offer, int64_t timeout_ns) {
  int result = wait_in_slices(wait_for_room, offer, timeout_ns, &offer->producer->base);
  /* a signal's handler may have used it */
  return result == 0 && !can_send(offer->producer) ? RAISED : result;
}

/* attempt, and wait for room, until it answers something else than -EAGAIN (another producer may have been
 * faster), or time is over. */
static int until(struct offer *offer, const struct patience *patience,
                 int (*attempt)(struct offer *offer)) {
  int result = attempt(offer);
  for (int64_t left = patience->timeout_ns; result == -EAGAIN; left = time_left(patience)) {
    result = await_room(offer, left);
    if (result != 0)
      break;
    result = attempt(offer);
    if (left == 0)
      break;
  }
  return result;
}

/* ---------------------------------------------------------------- send */

static int attempt_send(struct offer *offer) {
  return ringbus_producer_send(offer->producer->base.handle, offer->data, offer->length,
                               offer->tag);
}

static PyObject *producer_send(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
  static const struct signature signature = {"send", {"data", "tag", "timeout"}, 1, 2};
  Producer *producer = (Producer *)self;
  PyObject *values[3] = {NULL, NULL, NULL};
  int64_t timeout_ns = RINGBUS_FOREVER;
  uint32_t tag = 0;
  Py_buffer view;
  int result = RAISED;
  if (count == 1 && !keywords)
    values[0] = args[0];
  else if (!take_arguments(&signature, args, count, keywords, values) ||
           !tag_from(values[1], &tag) || !timeout_from(values[2], &timeout_ns))
    return NULL;
  if (!contiguous(values[0], &view))
    return NULL;
  if (can_send(producer)) {
    const struct patience patience = patience_of(timeout_ns);
    struct offer offer = {
        .producer = producer, .data = view.buf, .length = (size_t)view.len, .tag = tag};
    result = until(&offer, &patience, attempt_send);
  }
  PyBuffer_Release(&view);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, SENDING);
}

/* The length of one message that takes as much room as all of these together; or the longest. */
static size_t length_of_all(const Ring *ring, const struct iovec *messages, size_t count,
                            uint32_t tag) {
  size_t granule = ring->many_producers ? 64 : 8;
  size_t overhead = (ring->many_producers ? 0 : 8) + (tag ? sizeof tag : 0);
  size_t all = 0;
  for (size_t i = 0; i < count && all <= ring->max_message; i++) {
    size_t bytes = (messages[i].iov_len + overhead + granule - 1) / granule * granule;
    all += bytes ? bytes : granule;
  }
  all = all > overhead ? all - overhead : 0;
  return all < ring->max_message - sizeof tag ? all : ring->max_message - sizeof tag;
}

static int attempt_batch(struct offer *offer) {
  size_t done = 0;
  int result = ringbus_producer_send_batch(
      offer->producer->base.handle, offer->messages + offer->sent, offer->count - offer->sent,
      offer->tag, offer->all_at_once, &done);
  offer->sent += done;
  if (result == -EAGAIN && !offer->all_at_once)
    offer->length = offer->messages[offer->sent].iov_len;
  return result;
}

static int send_many(Producer *producer, const struct iovec *messages, size_t count, uint32_t tag,
                     bool all_at_once, const struct patience *patience, size_t *sent) {
  struct offer offer = {.producer = producer,
                        .messages = messages,
                        .count = count,
                        .tag = tag,
                        .all_at_once = all_at_once};
  if (all_at_once)
    offer.length = length_of_all(producer->base.ring, messages, count, tag);
  int result = until(&offer, patience, attempt_batch);
  *sent = offer.sent;
  return result;
}

/* The messages of a batch, and what holds them. */
struct batch {
  PyObject *items; /* tuple */
  struct iovec *messages;
  Py_buffer *views;
  size_t count, held;
};

static bool batch_open(struct batch *batch, PyObject *messages) {
  memset(batch, 0, sizeof *batch);
  batch->items = PySequence_Tuple(messages);
  if (!batch->items)
    return false;
  batch->count = (size_t)PyTuple_Size(batch->items);
  batch->messages = PyMem_Malloc((batch->count + 1) * sizeof *batch->messages);
  if (!batch->messages) {
    PyErr_NoMemory();
    return false;
  }
  for (size_t i = 0; i < batch->count; i++) {
    PyObject *item = PyTuple_GetItem(batch->items, (Py_ssize_t)i);
    if (PyBytes_CheckExact(item)) { /* which never moves, and needs no view */
      batch->messages[i] = (struct iovec){PyBytes_AsString(item), (size_t)PyBytes_Size(item)};
      continue;
    }
    if (!batch->views)
      batch->views = PyMem_Malloc(batch->count * sizeof *batch->views);
    if (!batch->views) {
      PyErr_NoMemory();
      return false;
    }
    Py_buffer *view = &batch->views[batch->held];
    if (!contiguous(item, view))
      return false;
    batch->held++;
    batch->messages[i] = (struct iovec){view->buf, (size_t)view->len};
  }
  return true;
}

static void batch_close(struct batch *batch) {
  for (size_t i = 0; i < batch->held; i++)
    PyBuffer_Release(&batch->views[i]);
  PyMem_Free(batch->views);
  PyMem_Free(batch->messages);
  Py_XDECREF(batch->items);
}

static PyObject *producer_send_batch(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                     PyObject *keywords) {
  static const struct signature signature = {
      "send_batch", {"messages", "tag", "all_at_once", "timeout"}, 1, 2};
  Producer *producer = (Producer *)self;
  PyObject *values[4];
  struct batch batch;
  struct patience patience;
  int64_t timeout_ns;
  uint32_t tag;
  size_t sent = 0;
  int all_at_once = 0, result = RAISED;
  if (!take_arguments(&signature, args, count, keywords, values) || !tag_from(values[1], &tag) ||
      !timeout_from(values[3], &timeout_ns))
    return NULL;
  if (values[2] && (all_at_once = PyObject_IsTrue(values[2])) < 0)
    return NULL;
  patience = patience_of(timeout_ns);
  if (batch_open(&batch, values[0]) && can_send(producer))
    result = send_many(producer, batch.messages, batch.count, tag, all_at_once, &patience, &sent);
  batch_close(&batch);
  if (result == 0)
    return Py_NewRef(Py_None);
  raise_error(result, SENDING);
  add_number("sent", sent);
  return NULL;
}

static PyObject *producer_send_records(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                       PyObject *keywords) {
  static const struct signature signature = {"send_records", {"records", "tag", "timeout"}, 1, 2};
  Producer *producer = (Producer *)self;
  PyObject *values[3];
  struct iovec messages[256];
  int64_t timeout_ns;
  uint32_t tag;
  Py_buffer view;
  size_t sent = 0;
  int result = RAISED;
  if (!take_arguments(&signature, args, count, keywords, values) || !tag_from(values[1], &tag) ||
      !timeout_from(values[2], &timeout_ns) ||
      PyObject_GetBuffer(values[0], &view, PyBUF_CONTIG_RO) != 0)
    return NULL;
  struct patience patience = patience_of(timeout_ns);
  size_t all = view.ndim > 0 ? (size_t)view.shape[0] : 0;
  size_t size = all ? (size_t)view.len / all : 0;
  if (view.ndim == 0)
    PyErr_SetString(PyExc_ValueError, "an array of records has a dimension: send one with send");
  else if (can_send(producer))
    result = 0;
  while (result == 0 && sent < all) {
    size_t now = all - sent < 256 ? all - sent : 256, done;
    for (size_t i = 0; i < now; i++)
      messages[i] = (struct iovec){(char *)view.buf + (sent + i) * size, size};
    result = send_many(producer, messages, now, tag, false, &patience, &done);
    sent += done;
  }
  PyBuffer_Release(&view);
  if (result == 0)
    return Py_NewRef(Py_None);
  raise_error(result, SENDING);
  add_number("sent", sent);
  return NULL;
}

/* ---------------------------------------------------------------- claim */

static int attempt_claim(struct offer *offer) {
  return ringbus_producer_claim(offer->producer->base.handle, offer->length, offer->tag,
                                &offer->claimed);
}

static PyObject *producer_claim(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *keywords) {
  static const struct signature signature = {"claim", {"length", "tag", "timeout"}, 1, 2};
  Producer *producer = (Producer *)self;
  PyObject *values[3];
  int64_t timeout_ns;
  struct offer offer = {.producer = producer};
  if (!take_arguments(&signature, args, count, keywords, values) ||
      !size_from(values[0], "length", &offer.length) || !tag_from(values[1], &offer.tag) ||
      !timeout_from(values[2], &timeout_ns))
    return NULL;
  Claim *claim = new_object(claim_type, sizeof *claim);
  if (!claim)
    return NULL;
  const struct patience patience = patience_of(timeout_ns);
  int result = can_send(producer) ? until(&offer, &patience, attempt_claim) : RAISED;
  if (result != 0) {
    Py_DECREF((PyObject *)claim);
    return raise_error(result, SENDING);
  }
  claim->data = offer.claimed;
  claim->length = offer.length;
  claim->producer = (Producer *)Py_NewRef(self);
  producer->claim = claim;
  return (PyObject *)claim;
}

/* Done, in whichever way; the library knows already. */
static void claim_end(Claim *claim) {
  Producer *producer = claim->producer;
  claim->producer = NULL;
  producer->claim = NULL;
  Py_DECREF((PyObject *)producer);
}

static void claim_dealloc(PyObject *self) {
  Claim *claim = (Claim *)self;
  if (claim->producer) {
    ringbus_producer_abort(claim->producer->base.handle);
    claim_end(claim);
  }
  free_object(self);
}

static bool claim_is_open(const Claim *claim) {
  if (!claim->producer)
    PyErr_SetString(PyExc_ValueError, "the claim was committed or given up already");
  return claim->producer && usable(&claim->producer->base);
}

static bool claim_is_not_viewed(const Claim *claim) {
  if (claim->exports)
    PyErr_Format(PyExc_BufferError, "%zd views of the claim exist: delete or release them first",
                 claim->exports);
  return claim->exports == 0;
}

static PyObject *commit(Claim *claim, size_t length) {
  if (!claim_is_open(claim) || !claim_is_not_viewed(claim))
    return NULL;
  int result = ringbus_producer_commit(claim->producer->base.handle, length);
  if (result == -EMSGSIZE) /* it stays */
    return raise_text(result, SENDING, "more bytes than were claimed");
  claim_end(claim);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, SENDING);
}

static PyObject *claim_commit(PyObject *self, PyObject *args) {
  Claim *claim = (Claim *)self;
  PyObject *object = NULL;
  size_t length = claim->length;
  if (!PyArg_ParseTuple(args, "|O:commit", &object) ||
      (object && object != Py_None && !size_from(object, "length", &length)))
    return NULL;
  return commit(claim, length);
}

static PyObject *claim_abort(PyObject *self, PyObject *unused) {
  Claim *claim = (Claim *)self;
  (void)unused;
  if (!claim_is_open(claim) || !claim_is_not_viewed(claim))
    return NULL;
  int result = ringbus_producer_abort(claim->producer->base.handle);
  claim_end(claim);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, SENDING);
}

static PyObject *claim_exit(PyObject *self, PyObject *args) {
  Claim *claim = (Claim *)self;
  PyObject *type, *value, *traceback;
  if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &value, &traceback))
    return NULL;
  if (!claim->producer)
    return Py_NewRef(Py_None);
  if (type == Py_None)
    return commit(claim, claim->length);
  /* The traceback may keep views alive: then it is given up with the last reference. */
  return claim->exports ? Py_NewRef(Py_None) : claim_abort(self, NULL);
}

static int claim_get_buffer(PyObject *self, Py_buffer *view, int flags) {
  Claim *claim = (Claim *)self;
  view->obj = NULL;
  if (!claim_is_open(claim))
    return -1;
  if (is_forked(&claim->producer->base)) { /* where its memory is not there */
    raise_error(-ECHILD, SENDING);
    return -1;
  }
  if (PyBuffer_FillInfo(view, self, claim->data, (Py_ssize_t)claim->length, 0, flags) != 0)
    return -1;
  claim->exports++;
  return 0;
}

static void claim_release_buffer(PyObject *self, Py_buffer *view) {
  (void)view;
  ((Claim *)self)->exports--;
}

static PyObject *claim_repr(PyObject *self) {
  const Claim *claim = (Claim *)self;
  return PyUnicode_FromFormat("<ringbus.Claim of %zu bytes%s>", claim->length,
                              claim->producer ? "" : ", done");
}

static PyObject *claim_view(PyObject *self, void *unused) {
  (void)unused;
  return PyMemoryView_FromObject(self);
}

static Py_ssize_t claim_length(PyObject *self) { return (Py_ssize_t)((Claim *)self)->length; }

static PyMethodDef claim_methods[] = {
    {"commit", claim_commit, METH_VARARGS,
     "commit($self, length=None, /)\n--\n\n"
     "Publish the first `length` bytes (None: all). BufferError while views exist;\n"
     "TooLong if it is more than was claimed (the claim stays open); Finished, Stale."},
    {"abort", claim_abort, METH_NOARGS,
     "abort($self)\n--\n\n"
     "Give it up: nobody ever sees it. BufferError while views exist."},
    {"__enter__", enter_self, METH_NOARGS, NULL},
    {"__exit__", claim_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef claim_properties[] = {
    {"view", claim_view, NULL, "a new writable memoryview of the claim's bytes", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot claim_slots[] = {
    {Py_tp_doc,
     (void *)"Room in the ring, to be filled in place: a writable buffer of bytes (whose content\n"
             "means nothing at first). Leaving `with` commits all of it, or gives it up if there "
             "was "
             "an\nexception."},
    {Py_tp_dealloc, (void *)claim_dealloc},
    {Py_tp_repr, (void *)claim_repr},
    {Py_tp_methods, claim_methods},
    {Py_tp_getset, claim_properties},
    {Py_sq_length, (void *)claim_length},
    {Py_bf_getbuffer, (void *)claim_get_buffer},
    {Py_bf_releasebuffer, (void *)claim_release_buffer},
    {0, NULL},
};
PyType_Spec claim_spec = {"ringbus.Claim", sizeof(Claim), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, claim_slots};

/* ---------------------------------------------------------------- the rest of a producer's life */

static PyObject *producer_wait(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
  static const struct signature signature = {"wait", {"length", "tag", "timeout"}, 0, 2};
  Producer *producer = (Producer *)self;
  PyObject *values[3];
  int64_t timeout_ns;
  struct offer offer = {.producer = producer};
  if (!take_arguments(&signature, args, count, keywords, values) ||
      (values[0] && !size_from(values[0], "length", &offer.length)) ||
      !tag_from(values[1], &offer.tag) || !timeout_from(values[2], &timeout_ns) ||
      !can_send(producer))
    return NULL;
  int result = await_room(&offer, timeout_ns);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, SENDING);
}

static int wait_for_drain(void *producer, int64_t timeout_ns) {
  return ringbus_producer_drain(producer, timeout_ns);
}

static PyObject *producer_drain(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *keywords) {
  static const struct signature signature = {"drain", {"timeout"}, 0, 1};
  Producer *producer = (Producer *)self;
  PyObject *values[1];
  int64_t timeout_ns;
  if (!take_arguments(&signature, args, count, keywords, values) ||
      !timeout_from(values[0], &timeout_ns) || !can_send(producer))
    return NULL;
  int result = wait_in_slices(wait_for_drain, producer->base.handle, timeout_ns, &producer->base);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, NEITHER);
}

static PyObject *producer_tell(PyObject *self, PyObject *unused) {
  Handle *producer = (Handle *)self;
  uint64_t position, count;
  (void)unused;
  if (!usable(producer))
    return NULL;
  int result = ringbus_producer_tell(producer->handle, &position, &count);
  return result == 0
             ? Py_BuildValue("(KK)", (unsigned long long)position, (unsigned long long)count)
             : raise_error(result, NEITHER);
}

static PyObject *producer_finish(PyObject *self, PyObject *unused) {
  Producer *producer = (Producer *)self;
  (void)unused;
  if (!can_send(producer))
    return NULL;
  int result = ringbus_producer_finish(producer->base.handle);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, SENDING);
}

static PyObject *producer_close(PyObject *self, PyObject *unused) {
  Producer *producer = (Producer *)self;
  Claim *claim = producer->claim;
  (void)unused;
  if (is_in_use(&producer->base))
    return raise_in_use(&producer->base);
  if (claim && !claim_is_not_viewed(claim))
    return NULL;
  ringbus_producer *handle = producer->base.handle;
  producer->base.handle = NULL;
  if (claim) /* the library gives it up when it detaches */
    claim_end(claim);
  Py_BEGIN_ALLOW_THREADS;
  /* -ECHILD in a forked child, where there is nothing to leave */
  ringbus_producer_detach(handle);
  Py_END_ALLOW_THREADS;
  return Py_NewRef(Py_None);
}

static PyObject *producer_exit(PyObject *self, PyObject *args) {
  return exit_closing(self, args, producer_close);
}

static PyGetSetDef properties[] = {RING_PROPERTY, CLOSED_PROPERTY, {NULL, NULL, NULL, NULL, NULL}};

static PyMethodDef methods[] = {
    {"send", WITH_KEYWORDS(producer_send), METH_FASTCALL | METH_KEYWORDS,
     "send($self, data, tag=0, *, timeout=None)\n--\n\n"
     "Send the bytes of any buffer as one message (an array that is not C-contiguous is\n"
     "copied first). tag: 32 bits that go with it. timeout: seconds to wait for room,\n"
     "None: as long as it takes, 0: not at all.\n\n"
     "Raises Full, TooLong, Finished, Stale, Forked; BufferError while a claim is open."},
    {"send_batch", WITH_KEYWORDS(producer_send_batch), METH_FASTCALL | METH_KEYWORDS,
     "send_batch($self, messages, tag=0, *, all_at_once=False, timeout=None)\n--\n\n"
     "Send each of an iterable of buffers as a message, all with the same tag. Readers\n"
     "see a prefix at any time, or with all_at_once either none or all of them.\n\n"
     "Raises as send; `sent` of the exception says how many were sent before it."},
    {"send_records", WITH_KEYWORDS(producer_send_records), METH_FASTCALL | METH_KEYWORDS,
     "send_records($self, records, tag=0, *, timeout=None)\n--\n\n"
     "Send each element along the first dimension of a C-contiguous array as a message:\n"
     "those of a structured numpy array, the rows of a matrix. The reverse is\n"
     "Consumer.recv_records.\n\n"
     "Raises as send_batch."},
    {"claim", WITH_KEYWORDS(producer_claim), METH_FASTCALL | METH_KEYWORDS,
     "claim($self, length, tag=0, *, timeout=None)\n--\n\n"
     "Room for a message of up to `length` bytes, to be filled in place: Claim. One at a\n"
     "time; in a ring for many producers readers wait for it, so be quick. Raises as\n"
     "send."},
    {"wait", WITH_KEYWORDS(producer_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($self, length=0, tag=0, *, timeout=None)\n--\n\n"
     "Wait until a message of this length has room. Raises Full, TooLong, Finished,\n"
     "Stale."},
    {"drain", WITH_KEYWORDS(producer_drain), METH_FASTCALL | METH_KEYWORDS,
     "drain($self, timeout=None)\n--\n\n"
     "Wait until every group that is waited for has read everything. Raises Timeout,\n"
     "Stale."},
    {"tell", producer_tell, METH_NOARGS,
     "tell($self)\n--\n\n"
     "(position, count): of the next message, and how many were ever published before\n"
     "it."},
    {"finish", producer_finish, METH_NOARGS,
     "finish($self)\n--\n\n"
     "End of stream: readers get EndOfStream (`for` ends) once they have read\n"
     "everything, and nobody can send in this ring again."},
    {"close", producer_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "Leave, without ending the stream; an open claim is given up. BufferError while\n"
     "views of it exist. Closing twice is allowed."},
    {"__enter__", enter_self, METH_NOARGS, NULL},
    {"__exit__", producer_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)"Publishes messages: see Ring.producer. For one thread at a time."},
    {Py_tp_dealloc, (void *)producer_dealloc},
    {Py_tp_repr, (void *)handle_repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};
PyType_Spec producer_spec = {"ringbus.Producer", sizeof(Producer), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
