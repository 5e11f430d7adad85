/* SPDX-License-Identifier: MIT */
/* poller.c - Poller: many consumers at once.
 *
 * A poller keeps its consumers alive; they know it, but do not: who goes first takes the other's mention
 * of itself away. It and all of them count their calls together: see begin_use. */
#include "module.h"

typedef struct {
  Handle base;
  Handle **consumers;
  size_t count, room;
} Poller;

/* No longer among the poller's. */
void poller_drop(Handle *consumer) {
  Poller *poller = (Poller *)consumer->poller;
  size_t i = 0;
  while (poller->consumers[i] != consumer)
    i++;
  poller->consumers[i] = poller->consumers[--poller->count];
  ringbus_poller_remove(poller->base.handle, consumer->handle);
  consumer->poller = NULL;
  Py_DECREF((PyObject *)consumer);
}

static bool add(Poller *poller, PyObject *object) {
  Handle *consumer = (Handle *)object;
  if (!Py_IS_TYPE(object, consumer_type)) {
    PyErr_Format(PyExc_TypeError, "a poller waits for consumers, not %R",
                 (PyObject *)Py_TYPE(object));
    return false;
  }
  if (!usable(&poller->base) || !usable(consumer))
    return false;
  if (poller->count == poller->room) {
    size_t room = poller->room ? 2 * poller->room : 8;
    Handle **consumers = PyMem_Realloc(poller->consumers, room * sizeof(Handle *));
    if (!consumers) {
      PyErr_NoMemory();
      return false;
    }
    poller->consumers = consumers;
    poller->room = room;
  }
  int result = ringbus_poller_add(poller->base.handle, consumer->handle, consumer);
  if (result == 0) {
    consumer->poller = &poller->base;
    poller->consumers[poller->count++] = (Handle *)Py_NewRef(object);
  } else if (result == -EEXIST) {
    PyErr_SetString(PyExc_ValueError, "the consumer is in this poller already");
  } else {
    raise_detail(result, NEITHER);
  }
  return result == 0;
}

static PyObject *poller_close(PyObject *self, PyObject *unused) {
  Poller *poller = (Poller *)self;
  (void)unused;
  if (is_in_use(&poller->base))
    return raise_in_use(&poller->base);
  while (poller->count)
    poller_drop(poller->consumers[poller->count - 1]);
  ringbus_poller_destroy(poller->base.handle);
  poller->base.handle = NULL;
  return Py_NewRef(Py_None);
}

static void poller_dealloc(PyObject *self) {
  Poller *poller = (Poller *)self;
  while (poller->count)
    poller_drop(poller->consumers[poller->count - 1]);
  ringbus_poller_destroy(poller->base.handle);
  PyMem_Free(poller->consumers);
  free_object(self);
}

static PyObject *poller_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  static char *names[] = {"consumers", "wait", "look", NULL};
  struct ringbus_poller_options options = {0};
  PyObject *consumers = NULL, *wait_word = NULL, *look = NULL, *consumer;
  ringbus_poller *handle;
  int wait = 0;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O$OO:Poller", names, &consumers, &wait_word,
                                   &look) ||
      !choose("wait", wait_word, wait_choices, &wait) || !look_from(look, &options.look_ns))
    return NULL;
  options.wait = (enum ringbus_wait)wait;
  Poller *poller = new_handle(type, sizeof *poller, "poller", NULL);
  if (!poller)
    return NULL;
  int result = ringbus_poller_create(&options, &handle);
  if (result != 0) {
    Py_DECREF((PyObject *)poller);
    return raise_error(result, NEITHER);
  }
  poller->base.handle = handle;
  PyObject *all = consumers ? PyObject_GetIter(consumers) : NULL;
  while (all && (consumer = PyIter_Next(all))) {
    bool added = add(poller, consumer);
    Py_DECREF(consumer);
    if (!added)
      break;
  }
  Py_XDECREF(all);
  if (PyErr_Occurred())
    Py_CLEAR(poller);
  return (PyObject *)poller;
}

static PyObject *poller_add(PyObject *self, PyObject *consumer) {
  return add((Poller *)self, consumer) ? Py_NewRef(Py_None) : NULL;
}

static int poller_contains(PyObject *self, PyObject *object) {
  return Py_IS_TYPE(object, consumer_type) && ((Handle *)object)->poller == (Handle *)self;
}

static PyObject *poller_remove(PyObject *self, PyObject *consumer) {
  if (!usable((Handle *)self))
    return NULL;
  if (poller_contains(self, consumer)) {
    poller_drop((Handle *)consumer);
    return Py_NewRef(Py_None);
  }
  PyErr_SetString(PyExc_ValueError, "that is no consumer in this poller");
  return NULL;
}

static Py_ssize_t poller_length(PyObject *self) { return (Py_ssize_t)((Poller *)self)->count; }

/* ---------------------------------------------------------------- waiting */

struct turn {
  Poller *poller;
  struct ringbus_ready ready;
};

static int call_wait(void *context, int64_t timeout_ns) {
  struct turn *turn = context;
  return ringbus_poller_wait(turn->poller->base.handle, timeout_ns, &turn->ready);
}

/* The next that is ready: a new reference in *consumer; or why there is none, of which one if it is one's
 * own end. That one is no longer in the poller then. */
static int next_ready(Poller *poller, int64_t timeout_ns, PyObject **consumer) {
  struct turn turn = {.poller = poller};
  const struct patience patience = patience_of(timeout_ns);
  *consumer = NULL;
  if (!usable(&poller->base))
    return RAISED;
  if (is_forked(&poller->base))
    return -ECHILD;
  for (int64_t left = timeout_ns;; left = time_left(&patience)) {
    int result = call_wait(&turn, 0);
    if (result == -ETIMEDOUT || result == -EINTR)
      result = wait_in_slices(call_wait, &turn, left, &poller->base);
    if (result != 0)
      return result;
    Handle *found = NULL; /* a signal's handler may have removed it, and closed it */
    for (size_t i = 0; i < poller->count && !found; i++)
      if (poller->consumers[i] == turn.ready.context)
        found = poller->consumers[i];
    if (!found)
      continue;
    *consumer = Py_NewRef((PyObject *)found);
    if (turn.ready.result != 0)
      poller_drop(found);
    return turn.ready.result;
  }
}

static PyObject *poller_wait(PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *keywords) {
  static const struct signature signature = {"wait", {"timeout"}, 0, 1};
  PyObject *values[1], *consumer;
  int64_t timeout_ns;
  if (!take_arguments(&signature, args, count, keywords, values) ||
      !timeout_from(values[0], &timeout_ns))
    return NULL;
  int result = next_ready((Poller *)self, timeout_ns, &consumer);
  if (result == 0)
    return consumer;
  if (result == -ENOENT)
    raise_text(-EPIPE, READING, "no consumer is left in the poller");
  else
    raise_error(result, READING);
  if (result != RAISED)
    add_object("consumer", consumer ? consumer : Py_None);
  Py_XDECREF(consumer);
  return NULL;
}

static PyObject *poller_next(PyObject *self) {
  PyObject *consumer;
  int result;
  while ((result = next_ready((Poller *)self, RINGBUS_FOREVER, &consumer)) == -EPIPE)
    Py_DECREF(consumer);
  if (result == 0)
    return consumer;
  if (result != -ENOENT) {
    raise_error(result, READING);
    if (consumer)
      add_object("consumer", consumer);
  }
  Py_XDECREF(consumer);
  return NULL;
}

static PyObject *poller_exit(PyObject *self, PyObject *args) {
  return exit_closing(self, args, poller_close);
}

static PyObject *poller_repr(PyObject *self) {
  const Poller *poller = (Poller *)self;
  return PyUnicode_FromFormat("<ringbus.Poller of %zu consumers%s>", poller->count,
                              poller->base.handle ? "" : ", closed");
}

/* ---------------------------------------------------------------- the type */

static PyMethodDef methods[] = {
    {"add", poller_add, METH_O,
     "add($self, consumer, /)\n--\n\n"
     "From now on wait for this consumer, too, and keep it. ValueError: it is in this\n"
     "poller already; Busy: in another one; Error (ENOSPC): no more than 128."},
    {"remove", poller_remove, METH_O,
     "remove($self, consumer, /)\n--\n\n"
     "No longer wait for it; closing it does the same. ValueError if it is not there."},
    {"wait", WITH_KEYWORDS(poller_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "A consumer that has a message (in a shared group another member may still be\n"
     "faster). Each that has gets its turn, however busy the others are.\n\n"
     "Raises Empty; EndOfStream, Stale, Damaged, when that is what has come of one: it is\n"
     "removed, and is the exception's `consumer`; EndOfStream with None if no consumer is\n"
     "left; Forked."},
    {"close", poller_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "The consumers stay attached. Closing twice is allowed."},
    {"__enter__", enter_self, METH_NOARGS, NULL},
    {"__exit__", poller_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {CLOSED_PROPERTY, {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     (void *)"Poller(consumers=(), *, wait='adaptive', look=None)\n--\n\n"
             "Waits for many consumers at once, of any rings. Iterating gives one that has a\n"
             "message, again and again, until the streams of all have ended. It and all its\n"
             "consumers are for one thread at a time. wait, look: as for Ring.producer."},
    {Py_tp_new, (void *)poller_new},
    {Py_tp_dealloc, (void *)poller_dealloc},
    {Py_tp_repr, (void *)poller_repr},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)poller_next},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_sq_length, (void *)poller_length},
    {Py_sq_contains, (void *)poller_contains},
    {0, NULL},
};
PyType_Spec poller_spec = {"ringbus.Poller", sizeof(Poller), 0, Py_TPFLAGS_DEFAULT, slots};
