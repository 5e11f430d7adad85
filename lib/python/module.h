/* SPDX-License-Identifier: MIT */
/* module.h - what the parts of the Python module share.
 *
 *   module.c    arguments, errors, waiting, functions without a ring, the module itself
 *   ring.c      Ring: create, open, describe
 *   producer.c  Producer, Claim
 *   reader.c    Consumer, Observer, Message
 *   ndarray.c   the header of arrays
 *   ringbus/    the package: what is written in Python, and the type stubs
 *
 * Only the stable ABI of CPython 3.11 is used, so one build serves that version and all later ones.
 *
 * What every method keeps to:
 *   - Between the last look at a handle and the library's call nothing runs that could run Python code
 *     (and close the handle): arguments are converted and lists are made before, bytes and messages,
 *     which the garbage collector does not look after, may be made in between.
 *   - The interpreter's lock is dropped only where the library may wait or ask the system. While it is,
 *     the handle is marked as in use, and who comes along with the same one gets Busy.
 *   - Memory of the ring is lent through the buffer protocol alone, and who lends counts: what would
 *     take it away (release, commit, close, the next message) raises BufferError as long as views exist.
 */
#ifndef RINGBUS_PYTHON_MODULE_H
#define RINGBUS_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>

#include <ringbus/ringbus.h>

/* beside 0 and -errno: a Python exception is set already */
#define RAISED 1

typedef struct {
  PyObject base;
  ringbus_ring *handle; /* NULL: closed */
  PyObject *path;       /* absolute, str; None if it was made or opened without a name */
  uint64_t capacity, max_message;
  unsigned in_use; /* calls that run without the interpreter's lock */
  bool read_only, many_producers;
  bool has_owner; /* opened so: this uid was trusted */
  uid_t owner;
} Ring;

typedef struct {
  PyObject base;
  ringbus_producer *handle; /* NULL: closed */
  Ring *ring;
  struct Claim *claim; /* open; not counted as a reference: it takes itself out */
  unsigned in_use;
} Producer;

extern PyTypeObject *ring_type, *producer_type, *claim_type, *consumer_type, *observer_type,
    *message_type;

/* ---------------------------------------------------------------- errors */

extern PyObject *error_lapped;

/* raise_error, raise_detail, raise_text: the exception for -errno; the second with
 * ringbus_error_detail, for slow calls; the third with a sentence of one's own. RAISED is passed over. All return NULL. READING: -EPIPE is the end of what there is to read,
 * -EAGAIN and -ETIMEDOUT mean that there is nothing; SENDING: that nothing more can be sent, and that
 * there is no room. */
enum side { READING, SENDING, NEITHER };
PyObject *raise_error(int error, enum side side);
PyObject *raise_detail(int error, enum side side);
PyObject *raise_text(int error, enum side side, const char *text);
PyObject *raise_closed(const char *what);
PyObject *raise_in_use(const char *what);
/* Gives the exception that is set an attribute. */
void add_number(const char *name, uint64_t number);
/* Always RAISED. */
int raise_lapped(uint64_t messages, uint64_t bytes, const char *text);

/* ---------------------------------------------------------------- arguments */

/* The arguments of a vectorcall, by name: values[i] is borrowed, or NULL if it was not given. The first
 * `positional` may be given by position, the first `required` must be given. */
struct signature {
  const char *function;
  const char *names[6];
  int required, positional;
};
bool take_arguments(const struct signature *signature, PyObject *const *args, Py_ssize_t count,
                    PyObject *keywords, PyObject **values);

/* One of some words. */
struct choice {
  const char *word;
  int value;
};
bool choose(const char *what, PyObject *object, const struct choice *choices, int *value);
extern const struct choice wait_choices[], role_choices[];

/* Seconds; NULL or None: RINGBUS_FOREVER. */
bool timeout_from(PyObject *object, int64_t *nanoseconds);
/* Seconds, more than 0, or None: 0, the default. */
bool look_from(PyObject *object, int64_t *nanoseconds);
bool size_from(PyObject *object, const char *what, size_t *size);
bool tag_from(PyObject *object, uint32_t *tag);

/* A buffer of bytes in one piece: the object's own, or that of a copy. */
bool contiguous(PyObject *object, Py_buffer *view);

/* ---------------------------------------------------------------- waiting */

/* wait_in_slices: call wait(context, ns) without the interpreter's lock until it answers something else
 * than that time is over, or timeout_ns is over. It is cut into slices in which signals are looked for,
 * since they may be delivered to another thread, and a spinning wait heeds none. *handle may be
 * closed by a signal's handler, or (one_thread: which is for one thread at a time) be in use by another
 * thread that ran meanwhile: then RAISED, and `what` says what is closed or in use. */
int wait_in_slices(int (*wait)(void *context, int64_t timeout_ns), void *context,
                   int64_t timeout_ns, void *const *handle, unsigned *in_use, bool one_thread,
                   const char *what);
int64_t now_ns(void);

/* ---------------------------------------------------------------- types */

extern PyType_Spec ring_spec, producer_spec, claim_spec, consumer_spec, observer_spec, message_spec;
extern PyStructSequence_Desc ring_info_desc, participant_desc, group_desc, blame_desc;
extern PyTypeObject *ring_info_type, *participant_type, *group_type, *blame_type;

PyObject *ring_create(PyObject *module, PyObject *args, PyObject *keywords);
PyObject *ring_open(PyObject *module, PyObject *args, PyObject *keywords);
PyObject *producer_attach(PyObject *ring, PyObject *args, PyObject *keywords);
PyObject *consumer_attach(PyObject *ring, PyObject *args, PyObject *keywords);
PyObject *observer_attach(PyObject *ring, PyObject *args, PyObject *keywords);
PyObject *array_header(PyObject *module, PyObject *buffer);
PyObject *array_begin(PyObject *module, PyObject *args);
extern const char ring_create_doc[], ring_open_doc[], producer_attach_doc[], consumer_attach_doc[],
    observer_attach_doc[];

/* The ring's handle for a call that runs without the interpreter's lock; NULL: raised. */
ringbus_ring *ring_handle(Ring *ring);

#define WITH_KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

/* `with`: entering gives the object itself. */
PyObject *enter_self(PyObject *self, PyObject *unused);

#endif
