# SPDX-License-Identifier: MIT
"""A lock-free message bus in one memory-mapped file, between processes on one host.

    # one process                                   # another
    import ringbus                                  import ringbus
    with ringbus.create("greetings") as ring, \\     with ringbus.open("greetings") as ring, \\
            ring.producer() as producer:                    ring.consumer() as consumer:
        producer.send(b"hello")                         for message in consumer:
        producer.finish()                                   print(message)
                                                    ringbus.remove("greetings", force=True)

A message is any bytes, 0 to Ring.max_message, and is always in one piece. What is said of rings, groups
and errors in ringbus.h holds here, too; times are in seconds, and a timeout of None is none.

A Producer, Consumer, Observer or Poller is for one thread at a time (others get Busy), and does not
survive fork (Forked; but a view that was made before must not be touched in the child, where its memory is
not there). All of them, and Ring, are context managers; after close() they raise ValueError.
"""
from ringbus._ringbus import (
    Blame, Busy, Claim, Consumer, Damaged, Denied, Empty, EndOfStream, Error, Exists, Finished, Forked,
    Full, Group, Lapped, Message, NotFound, Observer, Participant, Poller, Producer, Ring, RingInfo,
    Stale, Timeout, TooLong, Unsupported, __version__, create, directory, open, remove, rings)

__all__ = [
    "Blame", "Busy", "Claim", "Consumer", "Damaged", "Denied", "Empty", "EndOfStream", "Error", "Exists",
    "Finished", "Forked", "Full", "Group", "Lapped", "Message", "NotFound", "Observer", "Participant",
    "Poller", "Producer", "Ring", "RingInfo", "Stale", "Timeout", "TooLong", "Unsupported", "array", "create",
    "directory", "open", "remove", "rings"]

from ringbus import _arrays, _asyncio, _pickling
from ringbus._arrays import array

# What needs numpy, which is imported when it is first used.
Consumer.recv_records = _arrays.recv_records
Consumer.latest_array = _arrays.latest_array
Consumer.recv_array = Observer.recv_array = _arrays.recv_array
Producer.send_array = _arrays.send_array
Message.array = _arrays.message_array

Consumer.recv_async = _asyncio.recv_async
Consumer.__aiter__ = _asyncio.__aiter__
Consumer.__anext__ = _asyncio.__anext__

Ring.__reduce__ = _pickling.reduce
