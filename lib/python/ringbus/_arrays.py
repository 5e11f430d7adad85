# SPDX-License-Identifier: MIT
"""numpy arrays as messages (ringbus/ndarray.h has the header), and many messages as one array."""
import ast
import re

from ringbus import _ringbus


def _check_type(description, *shape):
    """Raises unless it is as numpy's dtype_to_descr writes it. numpy takes more, in the place of a shape,
    too, and not all of it ends well: it divides by the 0 of 'M8[s/0]'."""
    if isinstance(description, str):
        if not re.fullmatch(r"[<>|]?[?a-zA-Z][0-9]*(\[([1-9][0-9]*)?[a-zA-Z]+\])?", description):
            raise ValueError
    elif isinstance(description, tuple):
        _check_type(*description)
    else:
        for _, *of_field in description:
            _check_type(*of_field)
    for extents in shape:
        if not all(isinstance(n, int) for n in (extents if isinstance(extents, tuple) else [extents])):
            raise ValueError


def array(buffer, /):
    """The numpy array in a message that was sent by send_array, or from C with ringbus/ndarray.h: of
    bytes, or of a Message. It is a view of them, without a copy, and read-only if they are: as long as
    one of a Message exists, that is not released (BufferError). What is no such array, or says that its
    elements are outside the message, is a ValueError."""
    import numpy
    kind, order, size, shape, strides, first, text_begin, text_bytes = _ringbus._array_header(buffer)
    data = numpy.frombuffer(buffer, numpy.uint8)
    try:
        try:
            if text_bytes:
                text = bytes(data[text_begin:text_begin + text_bytes]).decode("latin-1")
                description = ast.literal_eval(text)
                _check_type(description)
                dtype = numpy.lib.format.descr_to_dtype(description)
            else:
                dtype = numpy.dtype(f"{order}{kind}{size // 4 if kind == 'U' else size}")
        except Exception:  # whatever a text that nobody vouches for leads to
            dtype = None
        if dtype is None or dtype.itemsize != size or dtype.kind != kind or dtype.hasobject:
            raise ValueError("an array of unknown type")
        return numpy.ndarray(shape, dtype, data, first, strides)
    finally:
        del data  # which an exception's traceback would keep, and the message with it


def message_array(self):
    """The numpy array in this message, where it is, without a copy, read-only: see ringbus.array. As
    long as it or any view of it exists the message is not released (BufferError)."""
    return array(self)


def send_array(self, array, tag=0, *, timeout=None):
    """Send a numpy array with its dtype and shape, of any dtype but Python objects and of at most 8
    dimensions. It is copied once, into the ring, whatever its strides are. Raises as send; TypeError,
    ValueError for other arrays, among them those whose elements have no bytes, or fields that overlap or
    are not in the order of their offsets."""
    import numpy
    array = numpy.asanyarray(array)
    dtype = array.dtype
    if dtype.hasobject:
        raise TypeError("an array of Python objects cannot be sent")
    if dtype.itemsize == 0:
        raise ValueError("an array whose elements have no bytes cannot be sent")
    text = b""
    if dtype.kind in "VmM":
        text = ascii(numpy.lib.format.dtype_to_descr(dtype)).encode("ascii")
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    strides, step = [0] * array.ndim, dtype.itemsize
    for i in range(array.ndim) if fortran else reversed(range(array.ndim)):
        strides[i] = step
        step *= array.shape[i]
    begin = _ringbus._array_begin(dtype.kind, dtype.str[0], dtype.itemsize, array.shape,
                                  tuple(strides), text)
    with self.claim(len(begin) + array.nbytes, tag, timeout=timeout) as claim:
        data = numpy.frombuffer(claim, numpy.uint8)
        try:
            data[:len(begin)] = numpy.frombuffer(begin, numpy.uint8)
            numpy.ndarray(array.shape, dtype, data, len(begin), strides)[...] = array
        finally:
            del data  # which an exception's traceback would keep, and the claim with it


def recv_array(self, timeout=None):
    """The next message as a numpy array, read-only: see array. A message that is none is a ValueError,
    whose `data` are its bytes. Raises as recv."""
    import numpy  # or nothing is received
    return _array_of(self.recv(timeout))


def latest_array(self, timeout=None):
    """(array, skipped): as latest and recv_array."""
    import numpy  # or nothing is received
    data, skipped = self.latest(timeout)
    return _array_of(data), skipped


def _array_of(data):
    try:
        return array(data)
    except ValueError as error:
        error.data = data
        raise


def recv_records(self, dtype, max=1024, timeout=None, *, shape=()):
    """As many of the next messages as are there, up to max, but at least one: a numpy array of this
    dtype (and, if each message is several of them, shape (number of messages, *shape)). Each has the
    size of an element; the batch ends before one that has another, which is a ValueError if it is the
    next one. Not in groups that are shared or may be lapped (ValueError). Raises as recv."""
    import numpy
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if max < 1:
        raise ValueError("max: at least 1")
    records = numpy.empty((max, *shape), dtype)
    if records.dtype.hasobject:
        raise TypeError("Python objects cannot be received")
    # as bytes: not every dtype has a buffer format
    got = self.recv_records_into(records.reshape(max, -1).view("u1"), timeout)
    return records[:got]


array.__module__ = "ringbus"
