/* SPDX-License-Identifier: MIT */
/* module.h - what the parts of the Python module share.
 *
 *   module.c    arguments, errors, waiting, functions without a ring, the module itself
 *   ring.c      Ring: create, open, describe
 *   producer.c  Producer, Claim
 *   reader.c    Consumer, Observer, Message
 *   poller.c    Poller: many consumers at once
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

struct Ring;

/* What rings, producers, consumers, observers and pollers have in common. */
typedef struct Handle {
  PyObject base;
  void *handle;          /* the library's; NULL: closed */
  const char *what;      /* for people */
  struct Ring *ring;     /* it belongs to; NULL: a ring, a poller */
  struct Handle *poller; /* a consumer's, with which it is for one thread at a time; or NULL */
  unsigned in_use;       /* calls that run without the interpreter's lock */
  unsigned forks;        /* that had been when it was made */
} Handle;

typedef struct Ring {
  Handle base;
  PyObject *path; /* absolute, str; None if it was made or opened without a name */
  uint64_t capacity, max_message;
  bool read_only, many_producers;
  bool has_owner; /* opened so: this uid was trusted */
  uid_t owner;
} Ring;

extern PyTypeObject *ring_type, *producer_type, *claim_type, *consumer_type, *observer_type,
    *message_type, *poller_type;

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
PyObject *raise_in_use(const Handle *self);
/* Gives the exception that is set an attribute. */
void add_object(const char *name, PyObject *object);
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
/* 32 bits; *number stays if the object is NULL. */
bool number_from(PyObject *object, const char *what, uint32_t *number);
bool tag_from(PyObject *object, uint32_t *tag);

/* A buffer of bytes in one piece: the object's own, or that of a copy. */
bool contiguous(PyObject *object, Py_buffer *view);

/* ---------------------------------------------------------------- waiting */

/* How long may be waited, and since when; 0 is left at the end of it. */
struct patience {
  int64_t timeout_ns, begin;
};
struct patience patience_of(int64_t timeout_ns);
int64_t time_left(const struct patience *patience);

/* Around what runs without the interpreter's lock. A consumer in a poller is in use when the poller is,
 * and the reverse: begin_use returns which one counts, and keeps it. */
Handle *begin_use(Handle *self);
void end_use(Handle *counted);

/* wait_in_slices: call wait(context, ns) without the interpreter's lock until it answers something else
 * than that time is over, or timeout_ns is over. It is cut into slices in which signals are looked for,
 * since they may be delivered to another thread, and a spinning wait heeds none. The handle may be
 * closed by a signal's handler, or (but for rings, which any thread may use) be in use by another thread
 * that ran meanwhile: then RAISED. */
int wait_in_slices(int (*wait)(void *context, int64_t timeout_ns), void *context,
                   int64_t timeout_ns, Handle *self);

/* ---------------------------------------------------------------- handles */

/* A new object of that type and size, all zero. */
void *new_object(PyTypeObject *type, size_t size);
/* Its memory, and its type's reference. */
void free_object(PyObject *self);
/* The same for a handle of this ring (or NULL). */
void *new_handle(PyTypeObject *type, size_t size, const char *what, struct Ring *ring);

/* Whether it was inherited through fork. */
bool is_forked(const Handle *self);
/* Whether another thread is in the midst of a call. One whose call was under way at a fork is not in the
 * child. */
bool is_in_use(const Handle *self);
/* Whether it is open; raises. */
bool is_open(const Handle *self);
/* The same, and not in use. */
bool usable(const Handle *self);

/* What handles have in common for Python. */
PyObject *get_ring(PyObject *self, void *unused);
PyObject *get_closed(PyObject *self, void *unused);
PyObject *handle_repr(PyObject *self);
PyObject *enter_self(PyObject *self, PyObject *unused);
/* Leaving `with`: closes it. With views still in a traceback that comes when they have gone, and their
 * error is the one to see. */
PyObject *exit_closing(PyObject *self, PyObject *args,
                       PyObject *(*close)(PyObject *self, PyObject *unused));
#define RING_PROPERTY                                                                              \
  { "ring", get_ring, NULL, "the ring it belongs to", NULL }
#define CLOSED_PROPERTY                                                                            \
  { "closed", get_closed, NULL, "close was called", NULL }

/* ---------------------------------------------------------------- types */

extern PyType_Spec ring_spec, producer_spec, claim_spec, consumer_spec, observer_spec, message_spec,
    poller_spec;
extern PyStructSequence_Desc ring_info_desc, participant_desc, group_desc, blame_desc;
extern PyTypeObject *ring_info_type, *participant_type, *group_type, *blame_type;

PyObject *ring_create(PyObject *module, PyObject *args, PyObject *keywords);
PyObject *ring_open(PyObject *module, PyObject *args, PyObject *keywords);
PyObject *producer_attach(PyObject *ring, PyObject *args, PyObject *keywords);
PyObject *consumer_attach(PyObject *ring, PyObject *args, PyObject *keywords);
PyObject *observer_attach(PyObject *ring, PyObject *args, PyObject *keywords);
void poller_drop(Handle *consumer);
PyObject *array_header(PyObject *module, PyObject *buffer);
PyObject *array_begin(PyObject *module, PyObject *args);
extern const char ring_create_doc[], ring_open_doc[], producer_attach_doc[], consumer_attach_doc[],
    observer_attach_doc[];

#define WITH_KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

#endif
