/* SPDX-License-Identifier: MIT */
/* module.c - arguments, errors, waiting, functions without a ring, the module itself: see module.h. */
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "module.h"

PyTypeObject *ring_type, *producer_type, *claim_type, *consumer_type, *observer_type, *message_type,
    *poller_type;
PyTypeObject *ring_info_type, *participant_type, *group_type, *blame_type;

/* ---------------------------------------------------------------- errors */

static PyObject *error_base, *error_timeout, *error_empty, *error_full, *error_end, *error_finished;
PyObject *error_lapped;

/* One exception for each kind of failure, which is also the built-in one that users of files know. */
static struct kind {
  int error;
  const char *name;
  PyObject **builtin; /* a second base, or NULL */
  const char *doc;
  PyObject *type;
} kinds[] = {
    {ESTALE, "Stale", NULL, "The ring was removed or retired: open its successor.", NULL},
    {EBADMSG, "Damaged", NULL, "Not a ring, or the file contradicts itself.", NULL},
    {EPROTONOSUPPORT, "Unsupported", NULL, "A format or feature that this version does not know.",
     NULL},
    {EMSGSIZE, "TooLong", &PyExc_ValueError,
     "The message never fits: longer than Ring.max_message, or than the buffer it is to be "
     "received "
     "into (then nothing was consumed, and `needed` says how many bytes it has).",
     NULL},
    {EBUSY, "Busy", NULL,
     "Somebody else has that role, group or ring, as the text says; or another thread is in the "
     "midst of a call of the same handle.",
     NULL},
    {ECHILD, "Forked", &PyExc_ChildProcessError,
     "The object was inherited through fork: open the ring and attach again in the child.", NULL},
    {ENOENT, "NotFound", &PyExc_FileNotFoundError, "There is no such ring, group or file.", NULL},
    {EEXIST, "Exists", &PyExc_FileExistsError, "There is such a ring already.", NULL},
    {EACCES, "Denied", &PyExc_PermissionError, "Not permitted, as the text says.", NULL},
    {EPERM, "Denied", &PyExc_PermissionError, NULL, NULL},
    {0, NULL, NULL, NULL, NULL},
};

static PyObject *type_of_error(int error, enum side side) {
  if (error == EAGAIN || error == ETIMEDOUT)
    return side == READING ? error_empty : side == SENDING ? error_full : error_timeout;
  if (error == EPIPE)
    return side == READING ? error_end : error_finished;
  if (error == EINVAL)
    return PyExc_ValueError;
  if (error == EOVERFLOW)
    return error_lapped;
  for (const struct kind *kind = kinds; kind->name; kind++)
    if (kind->error == error)
      return kind->type;
  return error_base;
}

PyObject *raise_text(int error, enum side side, const char *text) {
  if (error == RAISED)
    return NULL;
  if (error == -ENOMEM)
    return PyErr_NoMemory();
  PyObject *type = type_of_error(-error, side);
  PyObject *sentence = PyUnicode_DecodeFSDefault(text);
  if (!sentence)
    return NULL;
  if (type == PyExc_ValueError) {
    PyErr_SetObject(type, sentence);
  } else {
    PyObject *arguments = Py_BuildValue("(iO)", -error, sentence);
    if (arguments)
      PyErr_SetObject(type, arguments);
    Py_XDECREF(arguments);
  }
  Py_DECREF(sentence);
  return NULL;
}

PyObject *raise_error(int error, enum side side) {
  if (error == -EAGAIN || error == -ETIMEDOUT)
    return raise_text(error, side,
                      side == READING   ? "nothing has come in that time"
                      : side == SENDING ? "no room in that time: 'ringbus info' shows who is behind"
                                        : "that time is over");
  if (error == -EPIPE && side == SENDING)
    return raise_text(
        error, side,
        "the stream has ended, and nothing can be sent in this ring any more: remove it "
        "and create another one");
  if (error == -EMSGSIZE && side == SENDING)
    return raise_text(error, side,
                      "longer than the longest message of this ring, of which Ring.max_message has "
                      "the bytes: create one of a larger capacity");
  return raise_text(error, side, error == RAISED ? "" : ringbus_strerror(error));
}

PyObject *raise_detail(int error, enum side side) {
  const char *detail = ringbus_error_detail();
  return *detail && error < 0 && error != -EPIPE ? raise_text(error, side, detail)
                                                 : raise_error(error, side);
}

PyObject *raise_in_use(const Handle *self) {
  char text[128];
  PyOS_snprintf(text, sizeof text,
                "another thread is in the midst of a call of this %s%s: use one for each thread",
                self->what, self->poller ? ", or of its poller" : "");
  return raise_text(-EBUSY, NEITHER, text);
}

void add_object(const char *name, PyObject *object) {
  PyObject *type, *error, *traceback;
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  if (!object || !error || PyObject_SetAttrString(error, name, object) != 0)
    PyErr_Clear();
  PyErr_Restore(type, error, traceback);
}

void add_number(const char *name, uint64_t number) {
  PyObject *type, *error, *traceback;
  PyErr_Fetch(&type, &error, &traceback); /* which making a number would meet */
  PyObject *value = PyLong_FromUnsignedLongLong(number);
  PyErr_Restore(type, error, traceback);
  add_object(name, value);
  Py_XDECREF(value);
}

int raise_lapped(uint64_t messages, uint64_t bytes, const char *text) {
  raise_text(-EOVERFLOW, READING, text);
  add_number("messages", messages);
  add_number("bytes", bytes);
  return RAISED;
}

/* ---------------------------------------------------------------- arguments */

bool take_arguments(const struct signature *signature, PyObject *const *args, Py_ssize_t count,
                    PyObject *keywords, PyObject **values) {
  Py_ssize_t named = keywords ? PyTuple_Size(keywords) : 0;
  int known = 0;
  while (known < 6 && signature->names[known])
    values[known++] = NULL;
  if (count > signature->positional) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments (%zd given)",
                 signature->function, signature->positional, count);
    return false;
  }
  for (Py_ssize_t i = 0; i < count; i++)
    values[i] = args[i];
  for (Py_ssize_t i = 0; i < named; i++) {
    PyObject *name = PyTuple_GetItem(keywords, i);
    int at = 0;
    while (at < known && PyUnicode_CompareWithASCIIString(name, signature->names[at]) != 0)
      at++;
    if (at == known) {
      PyErr_Format(PyExc_TypeError, "%s() has no argument %R", signature->function, name);
      return false;
    }
    if (values[at]) {
      PyErr_Format(PyExc_TypeError, "%s() was given %R twice", signature->function, name);
      return false;
    }
    values[at] = args[count + i];
  }
  for (int i = 0; i < signature->required; i++)
    if (!values[i]) {
      PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", signature->function,
                   signature->names[i]);
      return false;
    }
  return true;
}

const struct choice wait_choices[] = {{"adaptive", RINGBUS_WAIT_ADAPTIVE},
                                      {"spin", RINGBUS_WAIT_SPIN},
                                      {"block", RINGBUS_WAIT_BLOCK},
                                      {NULL, 0}};
const struct choice role_choices[] = {
    {"producer", RINGBUS_PRODUCER}, {"consumer", RINGBUS_CONSUMER}, {NULL, 0}};

bool choose(const char *what, PyObject *object, const struct choice *choices, int *value) {
  char words[128] = "";
  if (!object)
    return true;
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s must be a str, not %R", what, (PyObject *)Py_TYPE(object));
    return false;
  }
  for (const struct choice *choice = choices; choice->word; choice++) {
    if (PyUnicode_CompareWithASCIIString(object, choice->word) == 0) {
      *value = choice->value;
      return true;
    }
    size_t used = strlen(words);
    PyOS_snprintf(words + used, sizeof words - used, "%s'%s'", used ? ", " : "", choice->word);
  }
  PyErr_Format(PyExc_ValueError, "%s must be one of %s, not %R", what, words, object);
  return false;
}

#define MOST_SECONDS 4e9 /* which have room; more than a century is for ever */

static bool nanoseconds_from(PyObject *object, const char *what, int64_t *nanoseconds) {
  double seconds = PyFloat_AsDouble(object);
  if (seconds == -1 && PyErr_Occurred())
    return false;
  if (isnan(seconds) || seconds < 0) {
    PyErr_Format(PyExc_ValueError, "%s: seconds, not negative, not %R", what, object);
    return false;
  }
  *nanoseconds = seconds < MOST_SECONDS ? (int64_t)(seconds * 1e9) : RINGBUS_FOREVER;
  if (*nanoseconds == 0 && seconds > 0)
    *nanoseconds = 1;
  return true;
}

bool timeout_from(PyObject *object, int64_t *nanoseconds) {
  *nanoseconds = RINGBUS_FOREVER;
  return !object || object == Py_None || nanoseconds_from(object, "timeout", nanoseconds);
}

bool look_from(PyObject *object, int64_t *nanoseconds) {
  *nanoseconds = 0;
  if (!object || object == Py_None)
    return true;
  if (!nanoseconds_from(object, "look", nanoseconds))
    return false;
  if (*nanoseconds > 0)
    return true;
  PyErr_Format(PyExc_ValueError, "look: more than 0 and less than 4e9 seconds, or None; not %R",
               object);
  return false;
}

bool size_from(PyObject *object, const char *what, size_t *size) {
  PyObject *index = PyNumber_Index(object);
  if (!index)
    return false;
  *size = PyLong_AsSize_t(index);
  Py_DECREF(index);
  if (*size != (size_t)-1 || !PyErr_Occurred())
    return true;
  PyErr_Format(PyExc_ValueError, "%s is out of range: %R", what, object);
  return false;
}

bool number_from(PyObject *object, const char *what, uint32_t *number) {
  size_t value = *number;
  if (object && !size_from(object, what, &value))
    return false;
  if (value > UINT32_MAX) {
    PyErr_Format(PyExc_ValueError, "%s is out of range: %R", what, object);
    return false;
  }
  *number = (uint32_t)value;
  return true;
}

bool tag_from(PyObject *object, uint32_t *tag) {
  *tag = 0;
  return number_from(object, "a tag, of 32 bits,", tag);
}

bool contiguous(PyObject *object, Py_buffer *view) {
  if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) == 0)
    return true;
  /* numpy says ValueError where the protocol has BufferError */
  if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_ValueError))
    return false;
  PyErr_Clear();
  PyObject *copy = PyMemoryView_GetContiguous(object, PyBUF_READ, 'C');
  if (!copy)
    return false;
  int result = PyObject_GetBuffer(copy, view, PyBUF_SIMPLE);
  Py_DECREF(copy);
  return result == 0;
}

/* ---------------------------------------------------------------- waiting */

#define SLICE_NS INT64_C(50000000) /* no more often than the library looks for the dead */

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct patience patience_of(int64_t timeout_ns) {
  return (struct patience){timeout_ns, timeout_ns > 0 ? now_ns() : 0};
}

int64_t time_left(const struct patience *patience) {
  if (patience->timeout_ns <= 0)
    return patience->timeout_ns;
  int64_t left = patience->timeout_ns - (now_ns() - patience->begin);
  return left > 0 ? left : 0;
}

static Handle *counted(const Handle *self) {
  return self->poller ? self->poller : (Handle *)(uintptr_t)self;
}

Handle *begin_use(Handle *self) {
  Handle *of = counted(self);
  Py_INCREF((PyObject *)of);
  of->in_use++;
  return of;
}

void end_use(Handle *of) {
  of->in_use--;
  Py_DECREF((PyObject *)of);
}

int wait_in_slices(int (*wait)(void *context, int64_t timeout_ns), void *context,
                   int64_t timeout_ns, Handle *self) {
  struct patience patience = patience_of(timeout_ns);
  for (int64_t left = timeout_ns;;) {
    int64_t slice = left < 0 || left > SLICE_NS ? SLICE_NS : left;
    int result;
    Handle *of = begin_use(self);
    Py_BEGIN_ALLOW_THREADS;
    result = wait(context, slice);
    Py_END_ALLOW_THREADS;
    end_use(of);
    if (PyErr_CheckSignals() != 0)
      return RAISED;
    if (!(Py_IS_TYPE((PyObject *)self, ring_type) ? is_open(self) : usable(self)))
      return RAISED;
    if (result != -ETIMEDOUT && result != -EINTR)
      return result;
    left = time_left(&patience);
    if (left == 0)
      return -ETIMEDOUT;
  }
}

/* ---------------------------------------------------------------- handles */

static unsigned forks; /* that this process came through */

static void count_fork(void) { forks++; }

void *new_object(PyTypeObject *type, size_t size) {
  PyObject *object = PyObject_New(PyObject, type);
  if (object)
    memset((char *)object + sizeof *object, 0, size - sizeof *object);
  return object;
}

void free_object(PyObject *self) {
  PyObject *type = (PyObject *)Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

void *new_handle(PyTypeObject *type, size_t size, const char *what, Ring *ring) {
  Handle *self = new_object(type, size);
  if (!self)
    return NULL;
  self->what = what;
  self->ring = (Ring *)Py_XNewRef((PyObject *)ring);
  self->forks = forks;
  return self;
}

bool is_forked(const Handle *self) { return self->forks != forks; }

bool is_in_use(const Handle *self) { return counted(self)->in_use && !is_forked(self); }

bool is_open(const Handle *self) {
  if (!self->handle)
    PyErr_Format(PyExc_ValueError, "the %s is closed", self->what);
  return self->handle;
}

bool usable(const Handle *self) {
  if (!is_in_use(self))
    return is_open(self);
  raise_in_use(self);
  return false;
}

PyObject *get_ring(PyObject *self, void *unused) {
  (void)unused;
  return Py_NewRef((PyObject *)((Handle *)self)->ring);
}

PyObject *get_closed(PyObject *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(!((Handle *)self)->handle);
}

PyObject *handle_repr(PyObject *self) {
  const Handle *handle = (Handle *)self;
  PyObject *type = PyType_GetName(Py_TYPE(self));
  PyObject *text = type ? PyUnicode_FromFormat("<ringbus.%U of %R%s>", type, handle->ring->path,
                                               handle->handle ? "" : ", closed")
                        : NULL;
  Py_XDECREF(type);
  return text;
}

PyObject *enter_self(PyObject *self, PyObject *unused) {
  (void)unused;
  return Py_NewRef(self);
}

PyObject *exit_closing(PyObject *self, PyObject *args,
                       PyObject *(*close)(PyObject *self, PyObject *unused)) {
  PyObject *type, *value, *traceback;
  if (!PyArg_ParseTuple(args, "OOO:__exit__", &type, &value, &traceback))
    return NULL;
  PyObject *closed = close(self, NULL);
  if (!closed && type != Py_None && PyErr_ExceptionMatches(PyExc_BufferError)) {
    PyErr_Clear();
    return Py_NewRef(Py_None);
  }
  return closed;
}

/* ---------------------------------------------------------------- functions without a ring */

static PyObject *module_remove(PyObject *module, PyObject *args, PyObject *keywords) {
  static char *names[] = {"name", "force", NULL};
  PyObject *name = NULL;
  int force = 0, result;
  (void)module;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|$p:remove", names, PyUnicode_FSConverter,
                                   &name, &force))
    return NULL;
  const char *text = PyBytes_AsString(name);
  Py_BEGIN_ALLOW_THREADS;
  result = ringbus_ring_remove(text, force);
  Py_END_ALLOW_THREADS;
  if (result != 0)
    raise_detail(result, NEITHER);
  Py_DECREF(name);
  return result == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *module_directory(PyObject *module, PyObject *unused) {
  char path[4096];
  (void)module, (void)unused;
  int result = ringbus_bus_directory(path, sizeof path);
  return result == 0 ? PyUnicode_DecodeFSDefault(path) : raise_detail(result, NEITHER);
}

static int append_name(const char *name, void *list) {
  PyObject *text = PyUnicode_DecodeFSDefault(name);
  int result = text ? PyList_Append(list, text) : -1;
  Py_XDECREF(text);
  return result == 0 ? 0 : RAISED;
}

static PyObject *module_rings(PyObject *module, PyObject *args) {
  PyObject *object = Py_None, *directory = NULL;
  (void)module;
  if (!PyArg_ParseTuple(args, "|O:rings", &object) ||
      (object != Py_None && !PyUnicode_FSConverter(object, &directory)))
    return NULL;
  PyObject *list = PyList_New(0);
  int result = RAISED;
  if (list)
    result = ringbus_bus_list(directory ? PyBytes_AsString(directory) : NULL, append_name, list);
  if (result != 0) {
    raise_detail(result, NEITHER);
    Py_CLEAR(list);
  }
  Py_XDECREF(directory);
  return list;
}

static PyMethodDef functions[] = {
    {"create", WITH_KEYWORDS(ring_create), METH_VARARGS | METH_KEYWORDS, ring_create_doc},
    {"open", WITH_KEYWORDS(ring_open), METH_VARARGS | METH_KEYWORDS, ring_open_doc},
    {"remove", WITH_KEYWORDS(module_remove), METH_VARARGS | METH_KEYWORDS,
     "remove(name, *, force=False)\n--\n\n"
     "Retire a ring and unlink its name. Busy while anybody is attached, unless forced;\n"
     "then every call on it raises Stale, and sleepers wake. What is not a ring is never\n"
     "removed (Damaged)."},
    {"directory", module_directory, METH_NOARGS,
     "directory()\n--\n\n"
     "Where names are looked up: $RINGBUS_DIR, or a private directory under /dev/shm,\n"
     "made if need be."},
    {"rings", module_rings, METH_VARARGS,
     "rings(directory=None, /)\n--\n\n"
     "The names of the rings in a directory (None: directory()), in no order."},
    {"_array_header", array_header, METH_O, NULL},
    {"_array_begin", array_begin, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---------------------------------------------------------------- the module */

static bool add_to(PyObject *module, const char *name, PyObject *object) {
  return object && PyModule_AddObjectRef(module, name, object) == 0;
}

static PyObject *new_error(PyObject *module, const char *name, PyObject *base, PyObject *builtin,
                           const char *doc) {
  char full_name[64];
  PyOS_snprintf(full_name, sizeof full_name, "ringbus.%s", name);
  PyObject *bases = builtin ? PyTuple_Pack(2, base, builtin) : PyTuple_Pack(1, base);
  PyObject *error = bases ? PyErr_NewExceptionWithDoc(full_name, doc, bases, NULL) : NULL;
  Py_XDECREF(bases);
  return add_to(module, name, error) ? error : NULL;
}

static bool add_errors(PyObject *module) {
  error_base = new_error(module, "Error", PyExc_OSError, NULL,
                         "What all errors of rings have in common; errno as in ringbus.h.");
  if (!error_base)
    return false;
  error_timeout = new_error(module, "Timeout", error_base, PyExc_TimeoutError,
                            "It has not come about within the timeout.");
  error_lapped = new_error(
      module, "Lapped", error_base, NULL,
      "This reader was slower than its ring is large and is not waited for. `messages` and\n"
      "`bytes` are lost, exactly; reading goes on at the oldest message, with the next call.");
  error_end = new_error(module, "EndOfStream", error_base, PyExc_EOFError,
                        "Everything was read, and nothing will ever come again.");
  error_finished = new_error(module, "Finished", error_base, PyExc_BrokenPipeError,
                             "The stream has ended: nothing can be sent in this ring any more.");
  if (!error_timeout || !error_lapped || !error_end || !error_finished)
    return false;
  error_empty =
      new_error(module, "Empty", error_timeout, NULL, "Nothing to read within the timeout.");
  error_full =
      new_error(module, "Full", error_timeout, NULL,
                "No room within the timeout. Of a batch, `sent` says how many were sent before.");
  if (!error_empty || !error_full)
    return false;
  for (struct kind *kind = kinds; kind->name; kind++) {
    if (kind->doc)
      kind->type = new_error(module, kind->name, error_base, kind->builtin ? *kind->builtin : NULL,
                             kind->doc);
    else /* another errno of the one before */
      kind->type = kind[-1].type;
    if (!kind->type)
      return false;
  }
  return true;
}

static bool add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type) {
  PyObject *made = PyType_FromSpec(spec);
  *type = (PyTypeObject *)made;
  return add_to(module, strrchr(spec->name, '.') + 1, made);
}

static bool add_record(PyObject *module, PyStructSequence_Desc *desc, PyTypeObject **type) {
  *type = PyStructSequence_NewType(desc);
  return add_to(module, strrchr(desc->name, '.') + 1, (PyObject *)*type);
}

PyMODINIT_FUNC PyInit__ringbus(void);

PyMODINIT_FUNC PyInit__ringbus(void) {
  static struct PyModuleDef definition = {
      .m_base = PyModuleDef_HEAD_INIT,
      .m_name = "ringbus._ringbus",
      .m_doc = "The part of the package ringbus that is written in C.",
      .m_size = -1,
      .m_methods = functions,
  };
  if (pthread_atfork(NULL, NULL, count_fork) != 0)
    return PyErr_NoMemory();
  PyObject *module = PyModule_Create(&definition);
  if (module && !(add_errors(module) && add_type(module, &ring_spec, &ring_type) &&
                  add_type(module, &producer_spec, &producer_type) &&
                  add_type(module, &claim_spec, &claim_type) &&
                  add_type(module, &consumer_spec, &consumer_type) &&
                  add_type(module, &observer_spec, &observer_type) &&
                  add_type(module, &message_spec, &message_type) &&
                  add_type(module, &poller_spec, &poller_type) &&
                  add_record(module, &ring_info_desc, &ring_info_type) &&
                  add_record(module, &participant_desc, &participant_type) &&
                  add_record(module, &group_desc, &group_type) &&
                  add_record(module, &blame_desc, &blame_type) &&
                  PyModule_AddStringConstant(module, "__version__", ringbus_version()) == 0))
    Py_CLEAR(module);
  return module;
}
