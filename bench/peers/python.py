#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""python.py MEMORY SOCKET OUT IN - a plain mmap and struct: one side of the peer "Python mmap" of
ringbus-bench, which starts it (peers/python.c) and tells it each slice through the socket.

Each direction has a count of bytes written, one of bytes read, and records between them: a length, the
message. That the count is seen after the record is nobody's promise; it is so on x86."""
import array
import mmap
import os
import socket
import struct
import sys
import time

WRITTEN, READ, DATA = 0, 128, 4096
WAY_BYTES = DATA + (1 << 24)
END = (1 << 64) - 1
WHOLLY = 1024  # one of so many messages is compared wholly
SKIP = (1 << 32) - 1  # instead of a length: the next record is at the beginning

COMMAND = struct.Struct("=IIQQ")  # 1: throughput, 2: round trips, 4: leads, 8: yields; size, ring, ns
number_of = struct.Struct("<Q")
length_of = struct.Struct("<I")
now = time.perf_counter_ns

memory = mmap.mmap(int(sys.argv[1]), 2 * WAY_BYTES)
# pack_into clears what it is to write first, which the other side might see.
counts = memoryview(memory).cast("Q")
bench = socket.socket(fileno=int(sys.argv[2]))
out, into = (int(way) * WAY_BYTES for way in sys.argv[3:5])


def pattern(size):
    """What the bench's own messages have between their two numbers does not matter, but that it arrives."""
    return bytearray(i * 7 & 255 for i in range(size))


def make_put(size, ring, idle):
    message, step = pattern(size), (size + 4 + 7) & ~7
    written_at, read_at = (out + WRITTEN) // 8, (out + READ) // 8
    written = read = 0

    def put(number):
        nonlocal written, read
        number_of.pack_into(message, 0, number)
        if size >= 16:
            number_of.pack_into(message, size - 8, number ^ END)
        at = written % ring
        skipped = ring - at if ring - at < step else 0
        while written + skipped + step - read > ring:
            read = counts[read_at]
            if written + skipped + step - read > ring:
                idle()
        if skipped:
            length_of.pack_into(memory, out + DATA + at, SKIP)
            written += skipped
            at = 0
        at += out + DATA
        length_of.pack_into(memory, at, size)
        memory[at + 4 : at + 4 + size] = message
        written += step
        counts[written_at] = written

    return put


def make_get(size, ring, idle):
    expected, middle, written, read = 0, bytes(pattern(size)[8 : size - 8]), 0, 0
    written_at, read_at = (into + WRITTEN) // 8, (into + READ) // 8

    def get():
        """Whether this was not the end."""
        nonlocal expected, written, read
        while read == written:
            written = counts[written_at]
            if read == written:
                idle()
        at = into + DATA + read % ring
        length = length_of.unpack_from(memory, at)[0]
        if length == SKIP:
            read += ring - read % ring
            at = into + DATA
            length = length_of.unpack_from(memory, at)[0]
        message = memory[at + 4 : at + 4 + length]
        read += (length + 4 + 7) & ~7
        counts[read_at] = read
        number = number_of.unpack_from(message)[0]
        if (
            length != size
            or (number != expected and number != END)
            or (size >= 16 and number_of.unpack_from(message, size - 8)[0] != number ^ END)
            or (number % WHOLLY == 0 and message[8 : size - 8] != middle)
        ):
            sys.exit(f"Python mmap: message {expected} is lost, torn, repeated or out of order")
        expected += number != END
        return number != END

    return get


def wait():
    pass


while True:
    command = bench.recv(COMMAND.size)
    if not command:
        break
    what, size, ring, ns = COMMAND.unpack(command)
    idle = os.sched_yield if what & 8 else wait
    put, get, number, latencies = make_put(size, ring, idle), make_get(size, ring, idle), 0, array.array("q")
    bursts = 1 if size > 4096 else 64  # between two looks at the clock
    bench.send(b"r")  # ready: what was made is not part of the slice
    if not bench.recv(1):
        break
    end = now() + ns
    if what & 1 and what & 4:
        while now() < end:
            for _ in range(bursts):
                put(number)
                number += 1
        put(END)
    elif what & 1:
        while get():
            number += 1
    elif what & 4:
        before = now()
        while before < end:
            put(number)
            get()
            number += 1
            after = now()
            latencies.append(after - before)
            before = after
        put(END)
    else:
        while get():
            put(number)
            number += 1
    bench.sendall(struct.pack("=QQ", number, len(latencies)) + latencies.tobytes())
