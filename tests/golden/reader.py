#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""reader.py FILE.ring... - lists the messages in golden files, in the form of the file "messages" (see
make.c). Written from include/ringbus/layout.h alone, with nothing but the standard library: what is
said there is enough to read a ring in another language."""
import os
import struct
import sys

FREE, CLAIMED, COMMITTED, PAD = range(4)
TAG = 1


def load(path):
    """The bytes of a ring from its text: "size N", then "offset: bytes"; what is left out is zero."""
    for line in open(path, encoding="ascii"):
        if line.startswith("size "):
            file = bytearray(int(line.split()[1]))
        elif not line.startswith("#"):
            at, digits = line.split(":")
            row = bytes.fromhex(digits)
            file[int(at, 16) : int(at, 16) + len(row)] = row
    return bytes(file)


def fnv1a(content):
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def messages(file):
    magic, version, identity_bytes, required = struct.unpack_from("=QIIQ", file, 0)
    assert magic == 0x005355424E474952, "not a ring, or of the other byte order"
    assert version == 1 and identity_bytes == 512, "a format that is not known here"
    assert struct.unpack_from("=Q", file, 504)[0] == fnv1a(file[8:504]), "damaged"
    assert required == 0, "features that are not known here"
    capacity, data, words = struct.unpack_from("=3Q", file, 40)
    granule_shift, word_shift, producers = struct.unpack_from("=3I", file, 72)
    assert data + capacity == len(file) and producers in (1, 2)
    position, *count = struct.unpack_from("=3Q", file, 896)  # the floor
    count, position = count[position & 1], position & ~1
    in_band = 8 if producers == 1 else 0
    shift = capacity.bit_length() - 1
    n = shift - granule_shift
    twice = file[data:] * 2  # as it is mapped
    end = position + capacity
    while position < end:
        at = position % capacity
        (word,) = struct.unpack_from("=Q", file, words + (at >> word_shift))
        state = word >> (10 + n) & 3
        if word >> (12 + n) != position % 2**64 >> shift & 2 ** (52 - n) - 1 or state == FREE:
            return
        size = ((word >> 10 & 2**n - 1) + 1) << granule_shift
        record = twice[at : at + size]
        if state == CLAIMED:
            yield position % 2**64, count, f'- 0 "claimed by slot {word & 1023}" {size}'
        elif state == COMMITTED:
            content = record[in_band : size - (word >> 3 & 127)]
            tag = struct.unpack("=I", record[-4:])[0] if word & TAG else 0
            begin = content[:23].split(b"\0")[0].decode("ascii")
            yield position % 2**64, count, f'{len(content)} {tag} "{begin}" {fnv1a(content):016x}'
            count = (count + 1) % 2**64
        position += size


for path in sys.argv[1:]:
    for position, count, what in messages(load(path)):
        print(os.path.basename(path).removesuffix(".ring"), position, count, what)
