/* SPDX-License-Identifier: MIT */
/* ndarray.c - the header of arrays, as ndarray.h has it, for the part that is written in Python. */
#include <ringbus/ndarray.h>

#include "module.h"

static PyObject *numbers(const void *from, unsigned count, bool is_signed) {
  PyObject *tuple = PyTuple_New((Py_ssize_t)count);
  for (unsigned i = 0; tuple && i < count; i++) {
    PyObject *number = is_signed ? PyLong_FromLongLong(((const int64_t *)from)[i])
                                 : PyLong_FromUnsignedLongLong(((const uint64_t *)from)[i]);
    if (!number || PyTuple_SetItem(tuple, (Py_ssize_t)i, number) != 0)
      Py_CLEAR(tuple);
  }
  return tuple;
}

/* (kind, order, bytes of an element, shape, strides, first, bytes of the header, of the text) */
PyObject *array_header(PyObject *module, PyObject *object) {
  struct ringbus_ndarray array;
  Py_buffer view;
  (void)module;
  if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) != 0)
    return NULL;
  int result = ringbus_ndarray_check(view.buf, (size_t)view.len, &array);
  PyBuffer_Release(&view);
  if (result != 0) {
    PyErr_SetString(PyExc_ValueError, result == -EPROTONOSUPPORT
                                          ? "an array of another version, or of another machine"
                                          : "not an array, or its header contradicts the message");
    return NULL;
  }
  return Py_BuildValue(
      "(CCINNKII)", array.kind, array.order, (unsigned)array.item_bytes,
      numbers(array.shape, array.dimensions, false), numbers(array.strides, array.dimensions, true),
      (unsigned long long)array.first, (unsigned)sizeof array, (unsigned)array.type_bytes);
}

/* The bytes of a header, and of the gap behind it up to the first element. */
PyObject *array_begin(PyObject *module, PyObject *args) {
  struct ringbus_ndarray array = {.magic = RINGBUS_NDARRAY_MAGIC,
                                  .version = RINGBUS_NDARRAY_VERSION};
  PyObject *shape, *strides;
  const char *text;
  Py_ssize_t text_bytes;
  int kind, order;
  (void)module;
  if (!PyArg_ParseTuple(args, "CCIO!O!y#", &kind, &order, &array.item_bytes, &PyTuple_Type, &shape,
                        &PyTuple_Type, &strides, &text, &text_bytes))
    return NULL;
  Py_ssize_t dimensions = PyTuple_Size(shape);
  if (dimensions > RINGBUS_NDARRAY_DIMENSIONS || text_bytes > UINT16_MAX) {
    PyErr_SetString(PyExc_ValueError, "an array that is sent has at most 8 dimensions, and 65535 "
                                      "bytes of description of its type");
    return NULL;
  }
  array.kind = (char)kind;
  array.order = (char)order;
  array.dimensions = (uint8_t)dimensions;
  array.type_bytes = (uint16_t)text_bytes;
  array.first = (sizeof array + array.type_bytes + 63) / 64 * 64;
  for (Py_ssize_t i = 0; i < dimensions; i++) {
    array.shape[i] = PyLong_AsUnsignedLongLong(PyTuple_GetItem(shape, i));
    array.strides[i] = PyLong_AsLongLong(PyTuple_GetItem(strides, i));
  }
  PyObject *bytes =
      PyErr_Occurred() ? NULL : PyBytes_FromStringAndSize(NULL, (Py_ssize_t)array.first);
  if (!bytes)
    return NULL;
  char *to = PyBytes_AsString(bytes);
  memset(to, 0, array.first);
  memcpy(to, &array, sizeof array);
  memcpy(to + sizeof array, text, (size_t)text_bytes);
  return bytes;
}
