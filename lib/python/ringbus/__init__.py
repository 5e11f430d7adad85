# SPDX-License-Identifier: MIT
"""A lock-free message bus in one memory-mapped file, between processes on one host.

    # one process                                   # another
    import ringbus                                  import ringbus
    with ringbus.create("greetings") as ring, \\     with ringbus.open("greetings") as ring, \\
            ring.producer() as producer:                    ring.consumer() as consumer:
        producer.send(b"hello")                         for message in consumer:
        producer.finish()                                   print(message)

A message is any bytes, 0 to Ring.max_message, and is always in one piece. What is said of rings, groups
and errors in ringbus.h holds here, too; times are in seconds, and a timeout of None is none.

A Producer, Consumer or Observer is for one thread at a time (others get Busy), and does not survive
fork (Forked). All of them, and Ring, are context managers; after close() they raise ValueError.
"""
from ringbus._ringbus import (
    Blame, Busy, Claim, Consumer, Damaged, Denied, Empty, EndOfStream, Error, Exists, Finished, Forked,
    Full, Group, Lapped, Message, NotFound, Observer, Participant, Producer, Ring, RingInfo, Stale,
    Timeout, TooLong, Unsupported, __version__, create, directory, open, remove, rings)

__all__ = [
    "Blame", "Busy", "Claim", "Consumer", "Damaged", "Denied", "Empty", "EndOfStream", "Error", "Exists",
    "Finished", "Forked", "Full", "Group", "Lapped", "Message", "NotFound", "Observer", "Participant",
    "Producer", "Ring", "RingInfo", "Stale", "Timeout", "TooLong", "Unsupported", "create", "directory",
    "open", "remove", "rings"]


def _recv_records(self, dtype, max=1024, timeout=None, *, shape=()):
    """As many of the next messages as are there, up to max, but at least one: a numpy array of this
    dtype (and, if each message is several of them, shape (number of messages, *shape)). Each has the
    size of an element; the batch ends before one that has another, which is a ValueError if it is the
    next one. Not in groups that are shared or may be lapped (ValueError). Raises as recv."""
    import numpy
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    records = numpy.empty((max, *shape), dtype)
    if records.dtype.hasobject:
        raise ValueError("Python objects cannot be received")
    # as bytes: not every dtype has a buffer format
    got = self.recv_records_into(records.reshape(max, -1).view("u1"), timeout)
    return records[:got]


_recv_records.__name__ = "recv_records"
_recv_records.__qualname__ = "Consumer.recv_records"
Consumer.recv_records = _recv_records
