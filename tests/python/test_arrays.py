# SPDX-License-Identifier: MIT
"""numpy arrays as messages, from and to C, and what nobody should send."""
import os
import random
import struct

import pytest

import ringbus
from conftest import WAIT, in_child

numpy = pytest.importorskip("numpy")
PEER = os.environ["RINGBUS_ARRAY_PEER"]
HEADER = struct.Struct("=IHBcIcBHQ8Q8q")  # as in ndarray.h
MAGIC = int.from_bytes(b"RBND", "little")


@pytest.fixture
def ends():
    with ringbus.create(None, 1 << 20) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            yield producer, consumer


def header(magic=MAGIC, version=1, kind=b"u", size=1, order=b"|", reserved=0, text=0, first=192,
           shape=(4, 6), strides=(6, 1), dimensions=None):
    return HEADER.pack(magic, version, len(shape) if dimensions is None else dimensions, kind, size, order,
                       reserved, text, first, *(list(shape) + [0] * 8)[:8],
                       *(list(strides) + [0] * 8)[:8]).ljust(192, b"\0")


base = numpy.arange(120).reshape(2, 3, 4, 5)
ARRAYS = [
    base, base.astype(">i2"), base.astype("f4")[::2, :, ::-1], base.T, numpy.asfortranarray(base),
    base > 60, base.astype("c16"), numpy.float16(2.5), numpy.array(7, "u1"), base[:0], base[:, :0, :0],
    numpy.array([b"ab", b"abcde"]), numpy.array(["grün", "x"]), numpy.zeros((1,) * 8),
    numpy.array(["2026-11-28T12", "NaT"], "M8[h]"), numpy.array([5], "m8[ns]"), numpy.longdouble([1, 2]),
    numpy.array([(1, 2.5, [1, 2])], [("a", "<u2"), ("b", ">f8"), ("c", "i4", 2)]),
    numpy.zeros(3, numpy.dtype([("a", "u1"), ("b", "f8")], align=True)), numpy.zeros(2, "V7"),
    numpy.zeros(2, [("length in \u20ac", "u1"), ("\xe4", [("b", "<M8[25ms]"), ("c", "S3", (2, 1))])]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}-{a.shape}")
def test_arrays_arrive_with_type_and_shape(ends, array):
    producer, consumer = ends
    producer.send_array(array, tag=5)
    with consumer.borrow() as message:
        there = message.array()
        assert message.tag == 5
        assert there.dtype == array.dtype and there.shape == array.shape
        assert there.tobytes() == array.tobytes()
        assert not there.flags.writeable and there.flags.owndata is False
        part = there[..., None]
        del there
        with pytest.raises(BufferError):
            message.release()
        del part
    producer.send_array(array)
    copied = consumer.recv_array()
    assert copied.dtype == array.dtype and copied.tobytes() == array.tobytes()


def test_what_cannot_be_sent_is_said(ends):
    producer, consumer = ends
    for wrong in (numpy.array([object()]), numpy.zeros((1,) * 9), numpy.zeros(2, "V0"),
                  numpy.zeros(1, {"names": ["a", "b"], "formats": ["u4", "u2"], "offsets": [0, 0]})):
        with pytest.raises((TypeError, ValueError)):
            producer.send_array(wrong)
    with pytest.raises(ringbus.TooLong):
        producer.send_array(numpy.zeros(1 << 20))
    producer.send_array([[1, 2], [3, 4]])
    assert consumer.recv_array().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("call", ["recv_array", "latest_array"])
def test_without_numpy_no_message_is_lost(start, call):
    code = f"""
import sys
sys.modules["numpy"] = None
import ringbus
ring = ringbus.create(None)
producer, consumer = ring.producer(), ring.consumer()
producer.send(b"precious")
try:
    consumer.{call}()
except ImportError:
    print(consumer.recv(0))
"""
    assert start(python=code).communicate(timeout=WAIT)[0] == "b'precious'\n"


def test_an_exception_keeps_nothing_of_the_ring(ends, monkeypatch):
    producer, consumer = ends
    producer.send(header(kind=b"V", text=8) + bytes(24))
    message = consumer.borrow()
    with pytest.raises(ValueError, match="unknown type") as kept:
        message.array()
    message.release()

    def fail(*arguments):
        del arguments  # this frame is not to be what keeps them
        raise ZeroDivisionError

    monkeypatch.setattr(numpy, "ndarray", fail)
    with pytest.raises(ZeroDivisionError) as kept_too:
        producer.send_array([1])
    producer.send(b"next")
    assert consumer.recv() == b"next" and kept.tb and kept_too.tb


def test_the_newest_frame_alone(ends):
    producer, consumer = ends
    for i in range(5):
        producer.send_array(numpy.full((3, 3), i, "u1"))
    frame, skipped = consumer.latest_array()
    assert (frame == 4).all() and skipped == 4


def test_c_writes_an_image_and_python_shows_it(start):
    with ringbus.create("image") as ring, ring.consumer() as consumer:
        writer = start(PEER, "write", "image", 5, 4)
        image = consumer.recv_array(timeout=WAIT)
        assert writer.wait(WAIT) == 0
        y, x, c = numpy.indices((4, 5, 3))
        assert image.dtype == "u1" and (image == y * 50 + x * 3 + c).all()
        assert image.strides == (-16, 3, 1)


@pytest.mark.parametrize("turned", [False, True])
def test_python_writes_an_image_and_c_reads_it(start, turned):
    image = numpy.random.default_rng(5).integers(0, 256, (30, 40), "u1")
    image = image.T if turned else image
    with ringbus.create("image") as ring, ring.producer() as producer:
        producer.send_array(image)
        out = start(PEER, "read", "image").communicate(timeout=WAIT)[0]
    total = int((image.astype("u8").ravel() * numpy.arange(1, image.size + 1)).sum())
    assert out.split() == [str(image.shape[0]), str(image.shape[1]), str(total)]


MOST = 2**64 - 1
BAD = {
    "too short": header()[:151], "empty": b"", "another magic": header(magic=1),
    "another version": header(version=2), "other byte order": header(magic=int.from_bytes(b"RBND", "big")),
    "too many dimensions": header(dimensions=9), "more than said": header(dimensions=1),
    "no kind": header(kind=b"\0"), "objects": header(kind=b"O", size=8), "unknown kind": header(kind=b"x"),
    "unknown order": header(order=b"="), "no size": header(size=0), "odd size": header(kind=b"f", size=3),
    "reserved": header(reserved=1), "begins in header": header(first=100, shape=(1,), strides=(1,)),
    "begins outside": header(first=217), "begins far outside": header(first=MOST),
    "one too many": header(shape=(5, 6)), "longer steps": header(strides=(7, 1)),
    "back into the header": header(strides=(-59, 1), first=210, shape=(2, 1)),
    "back before it": header(strides=(-(2**63), 1)), "huge": header(shape=(MOST, MOST)),
    "huge and empty steps": header(shape=(2**40,), strides=(0,)),
    "overflow": header(shape=(2**62, 8), strides=(8, 8)), "overflow 2": header(shape=(3, 3), strides=(2**62,) * 2),
    "overflow of signs": header(shape=(2, 2), strides=(2**63 - 1, -(2**63))),
    "size beyond": header(shape=(1,), strides=(1,), size=25, kind=b"S"), "text beyond": header(text=65535),
    "text": header(kind=b"V", text=24, first=192, size=8, shape=(1,), strides=(8,)),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_headers_raise(ends, what):
    producer, consumer = ends
    assert ringbus.array(header() + bytes(24)).shape == (4, 6)
    message = BAD[what] + bytes(24) if len(BAD[what]) == 192 else BAD[what]
    with pytest.raises(ValueError):
        ringbus.array(message)
    producer.send(message)
    with pytest.raises(ValueError) as error:
        consumer.recv_array()
    assert error.value.data == message


@pytest.mark.parametrize("text", [
    b"'|O'", b"[('a', '|O')]", b"__import__('os')", b"[('a', '<i4')]", b"(" * 5000, b"[" * 60000, b"'<f8'",
    b"\xff\xfe", b"[('a', 'V999999999999')]", b"[('a','<f8'),('a','<f8')]", b"()", b"'" + b"(2,)" * 3 + b"f4'",
    b"{'names': ['a']}", b"1" * 50000])
def test_bad_descriptions_of_types_raise(text):
    first = (152 + len(text) + 63) // 64 * 64
    begin = header(kind=b"V", size=8, text=len(text), first=first, shape=(1,), strides=(8,))
    with pytest.raises(ValueError, match="unknown type"):
        ringbus.array((begin[:152] + text).ljust(first + 8, b"\0"))


@pytest.mark.parametrize("text", ["'<M8[s/0]'", "('<i8', '<M8[s/0]')", "[('a', '<M8[s/0]')]",
                                  "[('a', '<i8', '<M8[s/0]')]", "[('a', ('<i8', ('<M8[s/0]',)))]"])
def test_a_type_that_numpy_would_die_of_is_refused(text):
    first = (152 + len(text) + 63) // 64 * 64
    begin = header(kind=b"M", size=8, order=b"<", text=len(text), first=first, shape=(), strides=())
    message = (begin[:152] + text.encode()).ljust(first + 8, b"\0")

    def receive():
        with pytest.raises(ValueError, match="unknown type"):
            ringbus.array(message)

    assert in_child(receive)


def is_inside(length, size, first, shape, strides):
    """What ndarray.h promises, in numbers without end."""
    elements, low, high = 1, 0, 0
    for extent, stride in zip(shape, strides):
        elements *= extent
        low += min(0, (extent - 1) * stride)
        high += max(0, (extent - 1) * stride)
    return 152 <= first <= length and (elements == 0 or (
        152 <= first + low and first + high + size <= length and elements * size <= length))


def test_headers_are_believed_if_all_is_inside_and_only_then():
    random.seed(1)
    numbers = [0, 1, 1, 2, 2, 3, 4, 6, 7, 24, 2**31, 2**32, 2**62, 2**63 - 1]
    firsts = [151, 152, 153, 180, 191, 192, 193, 214, 215, 216, 217, 2**63, 2**64 - 1]
    believed = refused = 0
    for _ in range(20000):
        size, first = random.choice([1, 1, 2, 4, 8, 2**32 - 1]), random.choice(firsts)
        shape = [random.choice(numbers) for _ in range(random.randrange(4))]
        strides = [random.choice(numbers) * random.choice([1, -1]) for _ in shape]
        message = header(size=size, first=first, shape=shape, strides=strides) + bytes(24)
        try:
            there = ringbus._ringbus._array_header(message)
        except ValueError:
            there = None
        inside = is_inside(216, size, first, shape, strides)
        assert (there is not None) == inside, (size, first, shape, strides)
        if there:
            assert there == ("u", "|", size, tuple(shape), tuple(strides), first, 152, 0)
        believed += inside
        refused += not inside
    assert believed > 1000 and refused > 1000
