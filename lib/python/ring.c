/* SPDX-License-Identifier: MIT */
/* ring.c - Ring: create, open, describe. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "module.h"

/* ---------------------------------------------------------------- create and open */

/* The absolute path of a ring that was named so, as str: it can be opened again by it from anywhere. */
static PyObject *absolute(const char *name) {
  char directory[PATH_MAX];
  if (*name == '/')
    return PyUnicode_DecodeFSDefault(name);
  if (strchr(name, '/')) {
    if (!getcwd(directory, sizeof directory))
      return PyErr_SetFromErrno(PyExc_OSError);
  } else {
    int result = ringbus_bus_directory(directory, sizeof directory);
    if (result != 0)
      return raise_detail(result, NEITHER);
  }
  PyObject *before = PyUnicode_DecodeFSDefault(directory), *after = PyUnicode_DecodeFSDefault(name);
  PyObject *path = before && after ? PyUnicode_FromFormat("%U/%U", before, after) : NULL;
  Py_XDECREF(before);
  Py_XDECREF(after);
  return path;
}

/* Takes over the handle, whatever happens. name: NULL if there is none. */
static PyObject *new_ring(ringbus_ring *handle, const char *name) {
  struct ringbus_ring_info info;
  PyObject *path = name ? absolute(name) : Py_NewRef(Py_None);
  Ring *ring = path ? new_handle(ring_type, sizeof *ring, "ring", NULL) : NULL;
  int result = ring ? ringbus_ring_info(handle, &info) : RAISED;
  if (!ring) {
    Py_XDECREF(path);
    ringbus_ring_close(handle);
    return NULL;
  }
  ring->base.handle = handle;
  ring->path = path;
  if (result != 0) {
    raise_detail(result, NEITHER);
    Py_DECREF(ring);
    return NULL;
  }
  ring->capacity = info.capacity;
  ring->max_message = info.max_message;
  ring->read_only = info.read_only;
  ring->many_producers = info.many_producers;
  return (PyObject *)ring;
}

const char ring_create_doc[] =
    "create(name, capacity=1048576, *, exist_ok=False, many_producers=False, overwrite=False,\n"
    "       participants=63, groups=16, no_group='hold', wake='membarrier', mode=0o600, gid=None)\n"
    "--\n\n"
    "Make a ring and open it.\n\n"
    "name: a path if there is a '/' in it, else a name in directory(); None: without a name, to "
    "be\n"
    "passed on as a descriptor (Ring.fileno).\n"
    "capacity: bytes for messages, rounded up to a power of two of at least 4096; the longest "
    "message\n"
    "has 16 less.\n"
    "exist_ok: a ring that is there is opened, whatever its own options; else that is Exists.\n"
    "many_producers: several may send at once. overwrite: nobody is waited for, the oldest "
    "messages\n"
    "make way for new ones. participants, groups: how many at a time. no_group: 'hold' what is "
    "sent\n"
    "while nobody reads, or 'drop' the oldest. wake: 'membarrier', 'fence' or 'never'.\n"
    "mode, gid: the file's permissions, whatever the umask, and its group.\n\n"
    "All of its space is reserved now: a full disk is an Error (ENOSPC) here, and never a signal "
    "later.";

PyObject *ring_create(PyObject *module, PyObject *args, PyObject *keywords) {
  static const struct choice no_group[] = {
      {"hold", RINGBUS_HOLD}, {"drop", RINGBUS_DROP}, {NULL, 0}};
  static const struct choice wake[] = {{"membarrier", RINGBUS_WAKE_BY_MEMBARRIER},
                                       {"fence", RINGBUS_WAKE_BY_FENCE},
                                       {"never", RINGBUS_WAKE_NEVER},
                                       {NULL, 0}};
  static char *names[] = {"name",      "capacity",     "exist_ok", "many_producers",
                          "overwrite", "participants", "groups",   "no_group",
                          "wake",      "mode",         "gid",      NULL};
  struct ringbus_create_options options = {0};
  PyObject *name_object, *name = NULL, *gid = Py_None, *no_group_word = NULL, *wake_word = NULL;
  PyObject *capacity_object = NULL, *participants_object = NULL, *groups_object = NULL,
           *mode_object = NULL;
  int exist_ok = 0, many = 0, overwrite = 0, no_group_value = 0, wake_value = 0;
  uint32_t participants = 63, groups = 16, mode = 0600;
  size_t capacity = 1 << 20, gid_value;
  ringbus_ring *handle = NULL;
  int result;
  (void)module;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O$pppOOOOOO:create", names, &name_object,
                                   &capacity_object, &exist_ok, &many, &overwrite,
                                   &participants_object, &groups_object, &no_group_word, &wake_word,
                                   &mode_object, &gid) ||
      !number_from(participants_object, "participants", &participants) ||
      !number_from(groups_object, "groups", &groups) || !number_from(mode_object, "mode", &mode) ||
      (capacity_object && !size_from(capacity_object, "capacity", &capacity)) ||
      !choose("no_group", no_group_word, no_group, &no_group_value) ||
      !choose("wake", wake_word, wake, &wake_value))
    return NULL;
  /* which the library would take for its defaults */
  if (capacity == 0 || participants == 0 || groups == 0 || mode == 0) {
    PyErr_SetString(PyExc_ValueError, "capacity, participants, groups and mode are not 0");
    return NULL;
  }
  if (gid != Py_None) {
    if (!size_from(gid, "gid", &gid_value))
      return NULL;
    options.set_group = true;
    options.group = (gid_t)gid_value;
    if (options.group != gid_value) {
      PyErr_Format(PyExc_ValueError, "no gid: %R", gid);
      return NULL;
    }
  }
  options.capacity = 4096;
  while (options.capacity < capacity && options.capacity <= SIZE_MAX / 2)
    options.capacity *= 2;
  options.max_participants = participants;
  options.max_groups = groups;
  options.no_group = (enum ringbus_no_group)no_group_value;
  options.wake = (enum ringbus_wake)wake_value;
  options.many_producers = many;
  options.overwrite = overwrite;
  options.mode = mode;
  options.open_existing = exist_ok;
  if (name_object != Py_None && !PyUnicode_FSConverter(name_object, &name))
    return NULL;
  const char *text = name ? PyBytes_AsString(name) : NULL;
  Py_BEGIN_ALLOW_THREADS;
  result = text ? ringbus_ring_create(text, &options, &handle)
                : ringbus_ring_create_anonymous(&options, &handle);
  Py_END_ALLOW_THREADS;
  PyObject *ring = result == 0 ? new_ring(handle, text) : raise_detail(result, NEITHER);
  Py_XDECREF(name);
  return ring;
}

const char ring_open_doc[] =
    "open(name, *, read_only=False, lock_memory=False, prefault=False, huge_pages=False, "
    "owner=None,\n"
    "     fresh_description=False)\n--\n\n"
    "Open a ring by its path, its name in directory(), or a descriptor (int, which\n"
    "stays yours).\n\n"
    "read_only: for observers; nothing in the file can be changed. lock_memory,\n"
    "prefault, huge_pages: of the mapping. owner: a uid that is trusted besides this\n"
    "user's and root's. fresh_description: nobody else has this open file description\n"
    "(see ringbus.h).\n\n"
    "Raises NotFound, Denied, Damaged (not a ring), Stale (removed meanwhile),\n"
    "Unsupported, Error.";

PyObject *ring_open(PyObject *module, PyObject *args, PyObject *keywords) {
  static char *names[] = {"name",       "read_only", "lock_memory",       "prefault",
                          "huge_pages", "owner",     "fresh_description", NULL};
  struct ringbus_open_options options = {0};
  PyObject *name_object, *name = NULL, *owner = Py_None;
  int read_only = 0, lock_memory = 0, prefault = 0, huge_pages = 0, fresh = 0, fd = -1, result;
  size_t uid;
  ringbus_ring *handle = NULL;
  (void)module;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|$ppppOp:open", names, &name_object,
                                   &read_only, &lock_memory, &prefault, &huge_pages, &owner,
                                   &fresh))
    return NULL;
  if (owner != Py_None) {
    if (!size_from(owner, "owner", &uid))
      return NULL;
    options.allow_owner = true;
    options.owner = (uid_t)uid;
    if (options.owner != uid) {
      PyErr_Format(PyExc_ValueError, "no uid: %R", owner);
      return NULL;
    }
  }
  options.read_only = read_only;
  options.lock_memory = lock_memory;
  options.prefault = prefault;
  options.huge_pages = huge_pages;
  options.fresh_description = fresh;
  if (PyLong_Check(name_object)) {
    fd = PyObject_AsFileDescriptor(name_object);
    if (fd < 0)
      return NULL;
  } else if (!PyUnicode_FSConverter(name_object, &name)) {
    return NULL;
  }
  const char *text = name ? PyBytes_AsString(name) : NULL;
  Py_BEGIN_ALLOW_THREADS;
  result = text ? ringbus_ring_open(text, &options, &handle)
                : ringbus_ring_open_fd(fd, &options, &handle);
  Py_END_ALLOW_THREADS;
  PyObject *ring = result == 0 ? new_ring(handle, text) : raise_detail(result, NEITHER);
  Py_XDECREF(name);
  if (ring) {
    ((Ring *)ring)->has_owner = options.allow_owner;
    ((Ring *)ring)->owner = options.owner;
  }
  return ring;
}

static void ring_dealloc(PyObject *self) {
  Ring *ring = (Ring *)self;
  ringbus_ring_close(ring->base.handle);
  Py_DECREF(ring->path);
  free_object(self);
}

static PyObject *ring_close(PyObject *self, PyObject *unused) {
  Handle *ring = (Handle *)self;
  (void)unused;
  if (is_in_use(ring))
    return raise_in_use(ring);
  ringbus_ring *handle = ring->handle;
  ring->handle = NULL;
  ringbus_ring_close(handle); /* -ECHILD in a forked child, where there is nothing to close */
  return Py_NewRef(Py_None);
}

static PyObject *ring_exit(PyObject *self, PyObject *args) {
  return exit_closing(self, args, ring_close);
}

static PyObject *ring_repr(PyObject *self) {
  const Ring *ring = (Ring *)self;
  return PyUnicode_FromFormat(
      "<ringbus.Ring %R, %llu bytes%s%s>", ring->path, (unsigned long long)ring->capacity,
      ring->read_only ? ", read-only" : "", ring->base.handle ? "" : ", closed");
}

/* ---------------------------------------------------------------- what there is to see */

/* Values into a struct sequence, in the order of its fields. Takes over value. */
static void put(PyObject *record, Py_ssize_t *at, PyObject *value) {
  if (value)
    PyStructSequence_SetItem(record, (*at)++, value);
}

static void put_number(PyObject *record, Py_ssize_t *at, uint64_t value) {
  put(record, at, PyLong_FromUnsignedLongLong(value));
}

static void put_truth(PyObject *record, Py_ssize_t *at, bool value) {
  put(record, at, PyBool_FromLong(value));
}

static void put_text(PyObject *record, Py_ssize_t *at, const char *text, size_t size) {
  put(record, at, PyUnicode_DecodeFSDefaultAndSize(text, (Py_ssize_t)strnlen(text, size)));
}

static void put_seconds(PyObject *record, Py_ssize_t *at, uint64_t nanoseconds) {
  put(record, at, PyFloat_FromDouble((double)nanoseconds / 1e9));
}

static PyObject *finished_record(PyObject *record) {
  if (record && PyErr_Occurred())
    Py_CLEAR(record);
  return record;
}

static PyStructSequence_Field ring_info_fields[] = {
    {"capacity", "bytes for messages"},
    {"max_message", "bytes: the longest message without a tag"},
    {"file_bytes", "bytes of the file"},
    {"oldest", "position of the oldest message still in the ring"},
    {"tail", "position of the next message"},
    {"oldest_count", "messages ever published before the oldest"},
    {"tail_count", "messages ever published"},
    {"epoch", "raised by a reboot"},
    {"created", "seconds since 1970"},
    {"full_events", "times that a producer found no room"},
    {"max_lag", "bytes: how far behind a group has been"},
    {"broken_cursors", "cursors that were found outside the ring"},
    {"dropped", "messages given up while there was no group"},
    {"recovered", "claims of the dead given up"},
    {"layout_version", "of the file"},
    {"max_participants", "attached at the same time"},
    {"max_groups", "existing at the same time"},
    {"participants", "alive now"},
    {"groups", "existing now"},
    {"many_producers", "several may send at once"},
    {"overwrite", "nobody is waited for"},
    {"closed", "the stream has ended"},
    {"retired", "removed: every call raises Stale"},
    {"read_only", "opened so"},
    {"sleepers_poll", "nobody can be woken: waiting is polling, every millisecond"},
    {"ring_id", "16 random bytes"},
    {NULL, NULL},
};
PyStructSequence_Desc ring_info_desc = {"ringbus.RingInfo", "What Ring.info tells.",
                                        ring_info_fields, 26};

static PyObject *ring_info(PyObject *self, PyObject *unused) {
  struct ringbus_ring_info info;
  Py_ssize_t at = 0;
  (void)unused;
  PyObject *record = PyStructSequence_New(ring_info_type);
  if (!record || !is_open((Handle *)self))
    goto failed;
  int result = ringbus_ring_info(((Handle *)self)->handle, &info);
  if (result != 0) {
    raise_detail(result, NEITHER);
    goto failed;
  }
  put_number(record, &at, info.capacity);
  put_number(record, &at, info.max_message);
  put_number(record, &at, info.file_bytes);
  put_number(record, &at, info.oldest);
  put_number(record, &at, info.tail);
  put_number(record, &at, info.oldest_count);
  put_number(record, &at, info.tail_count);
  put_number(record, &at, info.epoch);
  put_seconds(record, &at, info.created_ns);
  put_number(record, &at, info.full_events);
  put_number(record, &at, info.max_lag);
  put_number(record, &at, info.broken_cursors);
  put_number(record, &at, info.dropped);
  put_number(record, &at, info.recovered);
  put_number(record, &at, info.layout_version);
  put_number(record, &at, info.max_participants);
  put_number(record, &at, info.max_groups);
  put_number(record, &at, info.participants);
  put_number(record, &at, info.groups);
  put_truth(record, &at, info.many_producers);
  put_truth(record, &at, info.overwrite);
  put_truth(record, &at, info.closed);
  put_truth(record, &at, info.retired);
  put_truth(record, &at, info.read_only);
  put_truth(record, &at, info.sleepers_poll);
  put(record, &at, PyBytes_FromStringAndSize((const char *)info.ring_id, sizeof info.ring_id));
  return finished_record(record);
failed:
  Py_XDECREF(record);
  return NULL;
}

static PyStructSequence_Field participant_fields[] = {
    {"slot", "place in the ring's table"},
    {"role", "'producer' or 'consumer'"},
    {"alive", "the kernel's answer, not a guess"},
    {"pid", "in its own PID namespace"},
    {"attached", "seconds since 1970"},
    {"name", "as it was given, or the program's"},
    {"group", "of a consumer"},
    {NULL, NULL},
};
PyStructSequence_Desc participant_desc = {"ringbus.Participant", "Who is attached to a ring.",
                                          participant_fields, 7};

static PyObject *new_participant(const struct ringbus_participant *participant) {
  Py_ssize_t at = 0;
  PyObject *record = PyStructSequence_New(participant_type);
  if (!record)
    return NULL;
  put_number(record, &at, participant->slot);
  put(record, &at,
      PyUnicode_FromString(participant->role == RINGBUS_PRODUCER ? "producer" : "consumer"));
  put_truth(record, &at, participant->alive);
  put_number(record, &at, participant->pid);
  put_seconds(record, &at, participant->attached_ns);
  put_text(record, &at, participant->name, sizeof participant->name);
  put_text(record, &at, participant->group, sizeof participant->group);
  return finished_record(record);
}

static PyStructSequence_Field group_fields[] = {
    {"name", "'' for a group of its own"},
    {"policy", "'gate', 'gate-while-attached' or 'lapped'"},
    {"durable", "stays when its consumer leaves"},
    {"gating", "it is waited for now"},
    {"shared", "each message goes to one of its members"},
    {"attached", "its consumer, or any member, is alive"},
    {"members", "alive"},
    {"max_lag", "bytes; 0: no limit"},
    {"cursor", "position of its next message"},
    {"cursor_count", "messages before that"},
    {"lag_bytes", "behind the tail"},
    {"lag_messages", "behind the tail"},
    {"lost_messages", "by being lapped"},
    {"lost_bytes", "by being lapped"},
    {"redelivered", "times that a member took over what another had taken"},
    {NULL, NULL},
};
PyStructSequence_Desc group_desc = {"ringbus.Group", "A group of a ring.", group_fields, 15};

static const struct choice policies[] = {{"gate", RINGBUS_GATE},
                                         {"gate-while-attached", RINGBUS_GATE_WHILE_ATTACHED},
                                         {"lapped", RINGBUS_LAPPED},
                                         {NULL, 0}};

static PyObject *new_group(const struct ringbus_group_info *group) {
  Py_ssize_t at = 0;
  PyObject *record = PyStructSequence_New(group_type);
  if (!record)
    return NULL;
  put_text(record, &at, group->name, sizeof group->name);
  put(record, &at,
      PyUnicode_FromString((unsigned)group->policy <= RINGBUS_LAPPED ? policies[group->policy].word
                                                                     : "unknown"));
  put_truth(record, &at, group->durable);
  put_truth(record, &at, group->gating);
  put_truth(record, &at, group->shared);
  put_truth(record, &at, group->attached);
  put_number(record, &at, group->members);
  put_number(record, &at, group->max_lag);
  put_number(record, &at, group->cursor);
  put_number(record, &at, group->cursor_count);
  put_number(record, &at, group->lag_bytes);
  put_number(record, &at, group->lag_messages);
  put_number(record, &at, group->lost_messages);
  put_number(record, &at, group->lost_bytes);
  put_number(record, &at, group->redelivered);
  return finished_record(record);
}

/* All that `get` finds, from `from` up to `to` (its -ENOENT are passed over). */
static PyObject *list_all(PyObject *self, uint32_t from, uint32_t to,
                          int (*get)(const ringbus_ring *, uint32_t, PyObject **)) {
  PyObject *list = PyList_New(0);
  for (uint32_t i = from; list && i <= to; i++) {
    PyObject *record = NULL;
    /* making a list may run anything: look each time */
    Handle *ring = (Handle *)self;
    int result = is_open(ring) ? get(ring->handle, i, &record) : RAISED;
    if (result == -ENOENT)
      continue;
    if (result != 0)
      raise_detail(result, NEITHER);
    if (!record || PyList_Append(list, record) != 0)
      Py_CLEAR(list);
    Py_XDECREF(record);
  }
  return list;
}

static int get_participant(const ringbus_ring *ring, uint32_t slot, PyObject **record) {
  struct ringbus_participant participant;
  int result = ringbus_ring_participant(ring, slot, &participant);
  if (result == 0 && !(*record = new_participant(&participant)))
    return RAISED;
  return result;
}

static int get_group(const ringbus_ring *ring, uint32_t index, PyObject **record) {
  struct ringbus_group_info group;
  int result = ringbus_ring_group(ring, index, &group);
  if (result == 0 && !(*record = new_group(&group)))
    return RAISED;
  return result;
}

static bool limits_of(PyObject *self, struct ringbus_ring_info *info) {
  Handle *ring = (Handle *)self;
  int result = is_open(ring) ? ringbus_ring_info(ring->handle, info) : RAISED;
  if (result != 0)
    raise_detail(result, NEITHER);
  return result == 0;
}

static PyObject *ring_participants(PyObject *self, PyObject *unused) {
  struct ringbus_ring_info info;
  (void)unused;
  return limits_of(self, &info) ? list_all(self, 1, info.max_participants, get_participant) : NULL;
}

static PyObject *ring_groups(PyObject *self, PyObject *unused) {
  struct ringbus_ring_info info;
  (void)unused;
  return limits_of(self, &info) ? list_all(self, 0, info.max_groups - 1, get_group) : NULL;
}

static PyStructSequence_Field blame_fields[] = {
    {"participant", "who it is, or None: a group whose consumer is not there"},
    {"group", "the group that is waited for; '': a claim"},
    {"position", "of the claim, or the group's"},
    {"bytes", "of the claim, or behind the tail"},
    {"since", "seconds since 1970: when a waiting reader first saw it; 0: nobody has"},
    {NULL, NULL},
};
PyStructSequence_Desc blame_desc = {"ringbus.Blame", "Who keeps others waiting.", blame_fields, 5};

static PyObject *ring_blame(PyObject *self, PyObject *role_word) {
  struct ringbus_blame blame;
  Py_ssize_t at = 0;
  int role = 0;
  if (!choose("role", role_word, role_choices, &role) || !is_open((Handle *)self))
    return NULL;
  int result = ringbus_ring_blame(((Handle *)self)->handle, (enum ringbus_role)role, &blame);
  if (result == -ENOENT)
    return Py_NewRef(Py_None);
  if (result != 0)
    return raise_detail(result, NEITHER);
  PyObject *record = PyStructSequence_New(blame_type);
  if (!record)
    return NULL;
  put(record, &at, blame.slot ? new_participant(&blame.participant) : Py_NewRef(Py_None));
  put_text(record, &at, blame.group, sizeof blame.group);
  put_number(record, &at, blame.position);
  put_number(record, &at, blame.bytes);
  put_seconds(record, &at, blame.since_ns);
  return finished_record(record);
}

/* ---------------------------------------------------------------- what can be done */

/* A call that may take its time. */
static PyObject *without_lock(PyObject *self, int (*call)(ringbus_ring *, void *), void *context) {
  Handle *ring = (Handle *)self;
  int result;
  if (!is_open(ring))
    return NULL;
  begin_use(ring);
  Py_BEGIN_ALLOW_THREADS;
  result = call(ring->handle, context);
  Py_END_ALLOW_THREADS;
  end_use(ring);
  return result == 0 ? Py_NewRef(Py_None) : raise_detail(result, NEITHER);
}

static int call_flush(ringbus_ring *ring, void *unused) {
  (void)unused;
  return ringbus_ring_flush(ring);
}

static PyObject *ring_flush(PyObject *self, PyObject *unused) {
  (void)unused;
  return without_lock(self, call_flush, NULL);
}

static int call_repair(ringbus_ring *ring, void *recovered) {
  return ringbus_ring_repair(ring, recovered);
}

static PyObject *ring_repair(PyObject *self, PyObject *unused) {
  uint64_t recovered = 0;
  (void)unused;
  PyObject *done = without_lock(self, call_repair, &recovered);
  if (!done)
    return NULL;
  Py_DECREF(done);
  return PyLong_FromUnsignedLongLong(recovered);
}

static int call_remove_group(ringbus_ring *ring, void *group) {
  return ringbus_ring_remove_group(ring, group);
}

static PyObject *ring_remove_group(PyObject *self, PyObject *group) {
  PyObject *text = NULL;
  if (!PyUnicode_FSConverter(group, &text))
    return NULL;
  PyObject *done = without_lock(self, call_remove_group, PyBytes_AsString(text));
  Py_DECREF(text);
  return done;
}

struct presence {
  ringbus_ring *ring;
  enum ringbus_role role;
};

static int wait_for_presence(void *context, int64_t timeout_ns) {
  const struct presence *presence = context;
  return ringbus_ring_wait_for(presence->ring, presence->role, timeout_ns);
}

static PyObject *ring_wait_for(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
  static const struct signature signature = {"wait_for", {"role", "timeout"}, 1, 2};
  Handle *ring = (Handle *)self;
  PyObject *values[2];
  int64_t timeout_ns;
  int role = 0;
  if (!take_arguments(&signature, args, count, keywords, values) ||
      !choose("role", values[0], role_choices, &role) || !timeout_from(values[1], &timeout_ns) ||
      !is_open(ring))
    return NULL;
  struct presence presence = {ring->handle, (enum ringbus_role)role};
  int result = wait_in_slices(wait_for_presence, &presence, timeout_ns, ring);
  return result == 0 ? Py_NewRef(Py_None) : raise_error(result, NEITHER);
}

static PyObject *ring_fileno(PyObject *self, PyObject *unused) {
  int fd;
  (void)unused;
  Handle *ring = (Handle *)self;
  int result = is_open(ring) ? ringbus_ring_fd(ring->handle, &fd) : RAISED;
  return result == 0 ? PyLong_FromLong(fd) : raise_detail(result, NEITHER);
}

/* ---------------------------------------------------------------- the type */

static PyObject *get_path(PyObject *self, void *unused) {
  (void)unused;
  return Py_NewRef(((Ring *)self)->path);
}

static PyObject *get_capacity(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(((Ring *)self)->capacity);
}

static PyObject *get_max_message(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(((Ring *)self)->max_message);
}

static PyObject *get_read_only(PyObject *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(((Ring *)self)->read_only);
}

/* To open it again, elsewhere. */
static PyObject *get_owner(PyObject *self, void *unused) {
  const Ring *ring = (Ring *)self;
  (void)unused;
  return ring->has_owner ? PyLong_FromUnsignedLong(ring->owner) : Py_NewRef(Py_None);
}

static PyGetSetDef properties[] = {
    {"path", get_path, NULL, "absolute path, or None: made or opened without a name", NULL},
    {"capacity", get_capacity, NULL, "bytes for messages", NULL},
    {"max_message", get_max_message, NULL, "bytes: the longest message without a tag", NULL},
    {"read_only", get_read_only, NULL, "opened so", NULL},
    CLOSED_PROPERTY,
    {"_owner", get_owner, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"producer", WITH_KEYWORDS(producer_attach), METH_VARARGS | METH_KEYWORDS, producer_attach_doc},
    {"consumer", WITH_KEYWORDS(consumer_attach), METH_VARARGS | METH_KEYWORDS, consumer_attach_doc},
    {"observer", WITH_KEYWORDS(observer_attach), METH_VARARGS | METH_KEYWORDS, observer_attach_doc},
    {"info", ring_info, METH_NOARGS,
     "info($self)\n--\n\n"
     "A snapshot, also of a removed ring: RingInfo."},
    {"participants", ring_participants, METH_NOARGS,
     "participants($self)\n--\n\n"
     "Who is attached, or has died attached: a list of Participant."},
    {"groups", ring_groups, METH_NOARGS,
     "groups($self)\n--\n\n"
     "A list of Group."},
    {"blame", ring_blame, METH_O,
     "blame($self, waiting, /)\n--\n\n"
     "Whom readers ('consumer') or producers ('producer') wait for: Blame, or None:\n"
     "nobody."},
    {"wait_for", WITH_KEYWORDS(ring_wait_for), METH_FASTCALL | METH_KEYWORDS,
     "wait_for($self, role, timeout=None)\n--\n\n"
     "Wait until a living 'producer' or 'consumer' is attached. Raises Timeout, Stale."},
    {"flush", ring_flush, METH_NOARGS,
     "flush($self)\n--\n\n"
     "For rings on a disk: make what is published so far survive a reboot. Raises\n"
     "Timeout (the producer overwrote it meanwhile: call again), Denied (read-only),\n"
     "Error."},
    {"repair", ring_repair, METH_NOARGS,
     "repair($self)\n--\n\n"
     "Clear up after the dead, which waiting participants do by and by. Returns claims\n"
     "given up."},
    {"remove_group", ring_remove_group, METH_O,
     "remove_group($self, group, /)\n--\n\n"
     "Forget a group, which is no longer waited for. Raises NotFound, Busy (its consumer\n"
     "is alive)."},
    {"fileno", ring_fileno, METH_NOARGS,
     "fileno($self)\n--\n\n"
     "The ring's descriptor, to be passed on to open(); not to be closed."},
    {"close", ring_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "Done with this object; those attached go on. Closing twice is allowed."},
    {"__enter__", enter_self, METH_NOARGS, NULL},
    {"__exit__", ring_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)"A ring that is open: see create and open. Any thread may attach to it."},
    {Py_tp_dealloc, (void *)ring_dealloc},
    {Py_tp_repr, (void *)ring_repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};
PyType_Spec ring_spec = {"ringbus.Ring", sizeof(Ring), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
