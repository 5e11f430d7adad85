#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""compare.py - how fast messages go from one Python process to another, by ringbus and by others, in one
run: messages of 64 bytes, frames of 6 MB, round trips. Each between two processes on a core of its own,
where there are two.

    PYTHONPATH=build/release/python python3 bench/python/compare.py [seconds for each figure]

Compare only figures of one run: the machine's state changes them by several times. Nothing is checked
but the number of messages. The bare map is what is possible without any protection: one slot, a counter
beside it, both sides spinning, which only happens to work on x86."""
import mmap
import multiprocessing
import multiprocessing.shared_memory
import os
import struct
import sys
import tempfile
import time

import numpy

import ringbus

SLICES = 20  # the best one counts: on a busy machine others take the rest
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
context = multiprocessing.get_context("spawn")
FRAME = (1080, 1920, 3)
FRAME_BYTES = 1080 * 1920 * 3
BATCH = 256


def pin(core):
    os.sched_setaffinity(0, range(os.cpu_count()))  # a child inherits its parent's one core
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


# Each way is a class: open(place) makes its two ends' common thing, picklable or opened by name;
# sender() gives a function that sends until it is killed; receiver() one that receives some and returns
# how many.


class Ringbus:
    capacity = 1 << 20

    def __init__(self, place):
        self.ring = ringbus.create(f"{place}/ring", self.capacity)

    def send(self):
        send, data = self.ring.producer().send, bytes(64)
        while True:
            send(data)

    def receiver(self):
        self.consumer = self.ring.consumer()
        recv = self.consumer.recv

        def receive():
            for _ in range(1000):
                recv()
            return 1000
        return receive


class RingbusBatch(Ringbus):
    def send(self):
        send, data = self.ring.producer().send_batch, [bytes(64)] * BATCH
        while True:
            send(data)

    def receiver(self):
        self.consumer = self.ring.consumer()
        return lambda: len(self.consumer.recv_batch(BATCH))


class RingbusRecords(Ringbus):
    def send(self):
        send, data = self.ring.producer().send_records, numpy.zeros((BATCH, 8))
        while True:
            send(data)

    def receiver(self):
        self.consumer = self.ring.consumer()
        room = numpy.empty((BATCH, 8))
        return lambda: self.consumer.recv_records_into(room)


class RingbusFrames(Ringbus):
    capacity = 1 << 25

    def send(self):
        producer, frame = self.ring.producer(), numpy.zeros(FRAME, "u1")
        while True:
            producer.send_array(frame)

    def receiver(self):
        self.consumer = self.ring.consumer()

        def receive():
            with self.consumer.borrow() as message:
                assert message.array().shape == FRAME
            return 1
        return receive


class RingbusFramesInPlace(RingbusFrames):
    def send(self):  # as a camera would that writes into the ring; here nobody writes more than a byte
        producer = self.ring.producer()
        while True:
            with producer.claim(FRAME_BYTES) as claim:
                claim.view[0] = 1

    def receiver(self):
        self.consumer = self.ring.consumer()

        def receive():
            with self.consumer.borrow() as message:
                assert numpy.frombuffer(message, "u1").reshape(FRAME)[0, 0, 0] == 1
            return 1
        return receive


class Queue:
    size = 64

    def __init__(self, place):
        self.queue = context.Queue(100)

    def data(self):
        return bytes(64) if self.size == 64 else numpy.zeros(FRAME, "u1")

    def send(self):
        put, data = self.queue.put, self.data()
        while True:
            put(data)

    def receiver(self):
        get = self.queue.get
        return lambda: get() is not None


class Pipe(Queue):
    def __init__(self, place):
        self.reader, self.writer = context.Pipe(duplex=False)

    def send(self):
        send, data = self.writer.send_bytes, self.data().tobytes() if self.size != 64 else bytes(64)
        while True:
            send(data)

    def receiver(self):
        recv = self.reader.recv_bytes
        return lambda: recv() is not None


class SharedMemory(Queue):
    """A ring of slots in multiprocessing.shared_memory, with a lock; who finds nothing tries again."""
    slots = 64

    def __init__(self, place):
        self.bytes = 64 if self.size == 64 else FRAME_BYTES
        self.memory = multiprocessing.shared_memory.SharedMemory(
            create=True, size=16 + self.slots * self.bytes)
        self.lock = context.Lock()

    def send(self):
        data, buffer, sent = bytes(self.bytes), self.memory.buf, 0
        while True:
            with self.lock:
                if sent - struct.unpack_from("=Q", buffer, 8)[0] < self.slots:
                    at = 16 + sent % self.slots * self.bytes
                    buffer[at:at + self.bytes] = data
                    sent += 1
                    struct.pack_into("=Q", buffer, 0, sent)

    def receiver(self):
        buffer, got = self.memory.buf, 0

        def receive():
            nonlocal got
            with self.lock:
                if got == struct.unpack_from("=Q", buffer, 0)[0]:
                    return 0
                at = 16 + got % self.slots * self.bytes
                bytes(buffer[at:at + self.bytes])
                got += 1
                struct.pack_into("=Q", buffer, 8, got)
            return 1
        return receive

    def close(self):
        self.memory.close()
        self.memory.unlink()


class Zmq(Queue):
    def __init__(self, place):
        self.address = f"ipc://{place}/zmq"

    def send(self):
        import zmq
        socket = zmq.Context().socket(zmq.PUSH)
        socket.connect(self.address)
        data = self.data()
        while True:
            socket.send(data, copy=self.size == 64)

    def receiver(self):
        import zmq
        socket = zmq.Context.instance().socket(zmq.PULL)
        socket.bind(self.address)
        self.socket = socket
        return lambda: socket.recv(copy=self.size == 64) is not None

    def close(self):
        self.socket.close(0)


class BareMap(Queue):
    def __init__(self, place):
        self.path = f"{place}/map"
        with open(self.path, "wb") as file:
            file.truncate(16 + (64 if self.size == 64 else FRAME_BYTES))

    def words(self):
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        return numpy.frombuffer(self.map, "u8", 2), memoryview(self.map)[16:]

    def send(self):
        counters, room = self.words()
        data, sent = bytes(len(room)), 0
        while True:
            while counters[1] != sent:
                pass
            room[:] = data
            sent += 1
            counters[0] = sent

    def receiver(self):
        counters, room = self.words()
        got = 0

        def receive():
            nonlocal got
            while counters[0] == got:
                pass
            bytes(room)
            got += 1
            counters[1] = got
            return 1
        return receive


def frames_of(way):
    return type(way.__name__ + "Frames", (way,),
                {"size": FRAME_BYTES, "slots": 4, "__module__": __name__})


# named, so that they can be pickled
QueueFrames, PipeFrames, SharedMemoryFrames, ZmqFrames, BareMapFrames = map(
    frames_of, (Queue, Pipe, SharedMemory, Zmq, BareMap))


def run_sender(way):
    pin(1)
    way.send()


def rate(kind):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        way = kind(place)
        receive = way.receiver()
        consumer, way.consumer = getattr(way, "consumer", None), None  # of this process alone
        socket, way.socket = getattr(way, "socket", None), None
        sender = context.Process(target=run_sender, args=(way,), daemon=True)
        way.map = None
        sender.start()
        way.consumer, way.socket = consumer, socket
        while not receive():
            pass
        best = 0
        for _ in range(SLICES):
            got, begin = 0, time.perf_counter()
            while time.perf_counter() - begin < SECONDS / SLICES:
                got += receive()
            best = max(best, got / (time.perf_counter() - begin))
        sender.kill()
        sender.join()
        if hasattr(way, "close"):
            way.close()
        return best


def echo(there, back, how):
    pin(1)
    if how == "ring":
        consumer, producer = there.consumer(), back.producer()
        for message in consumer:
            producer.send(message)
    while True:
        back.send_bytes(there.recv_bytes())


def round_trip(how):
    """In microseconds: a tenth is faster than this, and the median."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        if how == "ring":
            there, back = ringbus.create(f"{place}/there"), ringbus.create(f"{place}/back")
            peer = context.Process(target=echo, args=(there, back, how), daemon=True)
            send, recv = there.producer().send, back.consumer().recv
        else:
            (here, there), (back, answer) = context.Pipe(False), context.Pipe(False)
            peer = context.Process(target=echo, args=(here, answer, how), daemon=True)
            send, recv = there.send_bytes, back.recv_bytes
        peer.start()
        data, times = bytes(64), []
        send(data), recv()
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or not times:
            begin = time.perf_counter_ns()
            send(data)
            recv()
            times.append(time.perf_counter_ns() - begin)
        peer.kill()
        peer.join()
        times.sort()
        return times[len(times) // 10] / 1000, times[len(times) // 2] / 1000


if __name__ == "__main__":
    pin(0)
    others = {"multiprocessing.Queue": "Queue", "multiprocessing.Pipe": "Pipe",
              "shared_memory and a lock": "SharedMemory", "pyzmq, ipc": "Zmq", "a bare map": "BareMap"}
    try:
        import zmq
    except ImportError:
        print("python3-zmq is not installed: left out")
        del others["pyzmq, ipc"]
    print("messages of 64 bytes: million/s")
    for title, kind in [("ringbus, one by one", Ringbus), ("ringbus, batches of bytes", RingbusBatch),
                        ("ringbus, records of an array", RingbusRecords),
                        *((title, globals()[name]) for title, name in others.items())]:
        print(f"  {title:32}{rate(kind) / 1e6:10.3f}", flush=True)
    print("frames of 6 MB: frames/s")
    for title, kind in [("ringbus, in place", RingbusFramesInPlace),
                        ("ringbus, send_array, borrow", RingbusFrames),
                        *((title, globals()[name + "Frames"]) for title, name in others.items())]:
        print(f"  {title:32}{rate(kind):10.0f}", flush=True)
    print("round trip of 64 bytes: microseconds; a tenth is faster than, median")
    for title, how in (("ringbus", "ring"), ("multiprocessing.Pipe", "pipe")):
        tenth, median = round_trip(how)
        print(f"  {title:32}{tenth:10.2f}{median:10.2f}", flush=True)
