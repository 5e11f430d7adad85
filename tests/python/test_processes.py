# SPDX-License-Identifier: MIT
"""Several processes, in Python and in C (the `ringbus` command), in each role; killed, interrupted."""
import os
import signal
import subprocess
import time

import pytest

import ringbus
from conftest import COMMAND, WAIT

SEND_LINES = """
import ringbus, sys
with ringbus.open(sys.argv[1]) as ring, ring.producer() as producer:
    for line in sys.stdin.buffer:
        producer.send(line.rstrip(b"\\n"), 7)
    producer.finish()
"""
RECV_LINES = """
import ringbus, sys
with ringbus.open(sys.argv[1]) as ring, ring.consumer(*sys.argv[2:]) as consumer:
    for message in consumer:
        sys.stdout.buffer.write(message + b"\\n")
"""
OBSERVE_LINES = """
import ringbus, sys
with ringbus.open(sys.argv[1], read_only=True) as ring, ring.observer() as observer:
    for message in observer:
        sys.stdout.buffer.write(message + b"\\n")
"""
LINES = "".join(f"line {i} {'.' * (i % 90)}\n" for i in range(5000))


def senders(name):
    return {"python": dict(python=SEND_LINES, arguments=[name]),
            "C": dict(arguments=[COMMAND, "send", name, "--close", "--quiet"])}


def receivers(name):
    return {"python": dict(python=RECV_LINES, arguments=[name, "readers"]),
            "C": dict(arguments=[COMMAND, "recv", name, "--group", "readers", "--quiet"]),
            "python observer": dict(python=OBSERVE_LINES, arguments=[name])}


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("sender, receiver", [
    ("python", "python"), ("python", "C"), ("C", "python"), ("C", "python observer"),
    ("python", "python observer")])
def test_both_languages_in_each_role(start, tmp_path, sender, receiver, many):
    # observers are not waited for: all of it has room at once
    capacity = 1 << 21 if "observer" in receiver else 8192
    with ringbus.create("lines", capacity, many_producers=many) as ring, \
            open(tmp_path / "received", "w+") as received:
        how = receivers("lines")[receiver]
        reader = start(*how.pop("arguments"), stdout=received, **how)
        if "observer" not in receiver:
            ring.wait_for("consumer", timeout=WAIT)
        how = senders("lines")[sender]
        writer = start(*how.pop("arguments"), **how)
        writer.communicate(LINES, timeout=WAIT)
        reader.wait(WAIT)
        received.seek(0)
        assert received.read() == LINES
        assert (writer.returncode, reader.returncode) == (0, 0)


def test_a_python_consumer_killed_gets_again_what_it_had_not_released(start):
    code = """
import ringbus, sys, time
consumer = ringbus.open("work").consumer("workers")
for i in range(10):
    assert consumer.recv() == b"%d" % i
message = consumer.borrow()
view = message.view
print("holding", flush=True)
sys.stdin.read()
"""
    with ringbus.create("work", 4096) as ring, ring.producer() as producer:
        with ring.consumer("workers"):
            pass
        producer.send_batch(b"%d" % i for i in range(20))
        holder = start(python=code)
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(ringbus.Busy):
            ring.consumer("workers")
        holder.kill()
        holder.wait()
        with ring.consumer("workers") as consumer:
            assert consumer.recv_batch() == [b"%d" % i for i in range(10, 20)]


@pytest.mark.parametrize("many", [False, True])
def test_a_python_producer_killed_loses_only_its_claim(start, many):
    code = """
import ringbus, sys
producer = ringbus.open("feed").producer()
producer.send(b"sent")
with producer.claim(100) as claim:
    claim.view[:4] = b"torn"
    print("holding", flush=True)
    sys.stdin.read()
"""
    with ringbus.create("feed", 8192, many_producers=many) as ring, ring.consumer() as consumer:
        holder = start(python=code)
        assert holder.stdout.readline() == "holding\n"
        if many:  # readers wait for the claim of the living
            with ring.producer() as producer:
                producer.send(b"behind it")
            assert consumer.recv() == b"sent"
            with pytest.raises(ringbus.Empty):
                consumer.recv(timeout=0.1)
            assert ring.blame("consumer").participant.pid == holder.pid
        holder.kill()
        holder.wait()
        if not many:
            assert consumer.recv() == b"sent"
        with ring.producer() as producer:
            producer.send(b"goes on")
        assert list(consumer.recv() for _ in range(1 + many)) == [b"behind it"] * many + [b"goes on"]


def test_a_living_producer_may_be_waited_for_and_then_none_is_left(start):
    with ringbus.create("feed") as ring:
        with ring.consumer(end_without_producer=True) as consumer:
            sender = start(COMMAND, "send", "feed", "--quiet")
            ring.wait_for("producer", timeout=WAIT)
            sender.communicate("a\nb\n", timeout=WAIT)
            assert list(consumer) == [b"a", b"b"]


@pytest.mark.parametrize("waits", [
    "ring.consumer().recv()", "ring.consumer(wait='spin').recv()", "next(ring.observer())",
    "ring.consumer(wait='block').borrow()", "ring.wait_for('producer')",
    "ringbus.Poller([ring.consumer()]).wait()",
    "[p.send(bytes(500)) for p in [ring.producer()] for c in [ring.consumer()] for _ in range(99)]"])
def test_ctrl_c_ends_any_wait(start, waits):
    code = """
import ringbus, sys
ring = ringbus.create(None, 4096)
try:
    print("waiting", flush=True)
    {}
except KeyboardInterrupt:
    print("interrupted")
""".format(waits)
    waiter = start(python=code)
    assert waiter.stdout.readline() == "waiting\n"
    time.sleep(0.2)  # most likely it has come to the wait, too
    waiter.send_signal(signal.SIGINT)
    assert waiter.communicate(timeout=WAIT)[0] == "interrupted\n"


def test_a_signal_handler_may_close_what_is_waited_for(start):
    code = """
import ringbus, signal
ring = ringbus.create(None, 4096)
for make, wait in ((ring.consumer, "recv"), (ring.observer, "recv"), (ring.consumer, "borrow"),
                   (ring.consumer, "latest")):
    reader = make()
    signal.signal(signal.SIGALRM, lambda *_: reader.close())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        getattr(reader, wait)()
    except ValueError as error:
        print(error)
producer, consumer = ring.producer(), ring.consumer()
signal.signal(signal.SIGALRM, lambda *_: producer.close())
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    while True:
        producer.send(bytes(500))
except ValueError as error:
    print(error)
"""
    out = start(python=code).communicate(timeout=WAIT)[0]
    assert out.splitlines() == ["the consumer is closed", "the observer is closed",
                                "the consumer is closed", "the consumer is closed", "the producer is closed"]


def test_a_thread_that_a_signal_handler_lets_run_may_be_the_one_that_uses_the_handle(start):
    code = """
import ringbus, signal, threading, time
ring = ringbus.create(None, 4096)
producer, consumer = ring.producer(), ring.consumer()
thread = threading.Thread(target=lambda: print(consumer.recv()))

def handler(*_):
    thread.start()
    try:
        while True:  # until it waits
            consumer.tell()
            time.sleep(0.001)
    except ringbus.Busy:
        pass

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    consumer.recv(timeout=5)
except ringbus.Error as error:
    print(error)
producer.send(b"for the other")
thread.join()
"""
    out = start(python=code).communicate(timeout=WAIT)[0].splitlines()
    assert "another thread" in out[0] and out[1:] == ["b'for the other'"]


def test_a_batch_never_hides_a_gap(start):
    code = """
import ringbus
producer = ringbus.open("flood").producer()
number = 0
while True:
    producer.send_batch(b"%500d" % i for i in range(number, number + 10))
    number += 10
"""
    with ringbus.create("flood", 4096, overwrite=True) as ring, ring.consumer() as consumer:
        flood = start(python=code)
        expected = gaps = batches = 0
        while gaps < 200 or batches < 1000:
            try:
                batch = consumer.recv_batch(1000, timeout=WAIT)
            except ringbus.Lapped as lapped:
                expected += lapped.messages
                gaps += 1
                continue
            assert batch == [b"%500d" % i for i in range(expected, expected + len(batch))]
            expected += len(batch)
            batches += 1
        flood.kill()
        flood.wait()


@pytest.mark.parametrize("skip", ["latest", "skip_to_newest"])
def test_a_gap_behind_a_batch_is_among_what_is_skipped(start, skip):
    code = """
import ringbus
producer = ringbus.open("flood").producer()
batch = [bytes(40)] * 500
while True:
    producer.send_batch(batch)
"""
    with ringbus.create("flood", 4096, overwrite=True) as ring, ring.consumer() as consumer:
        flood = start(python=code)
        expected = gaps = 0
        while gaps < 2:
            try:
                expected += len(consumer.recv_batch(1000, timeout=WAIT))
                if consumer.tell()[1] != expected:
                    expected += consumer.latest(WAIT)[1] + 1 if skip == "latest" else consumer.skip_to_newest()
                    gaps += 1
            except ringbus.Lapped:
                expected = consumer.tell()[1]
            assert consumer.tell()[1] == expected
        flood.kill()
        flood.wait()


def test_nothing_is_left_at_interpreter_exit(start, bus):
    code = """
import ringbus, threading
ring = ringbus.create("kept", 4096)
producer, consumer, observer = ring.producer(), ring.consumer("group"), ring.observer()
producer.send_batch([b"a", b"b"])
message = consumer.borrow()
view = memoryview(message)
claim = producer.claim(10)
claim_view = claim.view
consumer.fileno()
cycle = [view, ring]
cycle.append(cycle)
threading.Thread(target=ring.consumer(start="newest").recv, daemon=True).start()
"""
    ended = start(python=code, stderr=subprocess.PIPE)
    assert ended.communicate(timeout=WAIT)[1] == "" and ended.returncode == 0
    assert os.listdir(bus) == ["kept"]  # nobody else's business to remove
    with ringbus.open("kept") as ring, ring.consumer("group") as consumer:
        assert all(not who.alive or who.pid == os.getpid() for who in ring.participants())
        assert consumer.recv_batch() == [b"a", b"b"]


def test_a_ring_without_a_name_is_inherited_as_a_descriptor(start):
    code = """
import ringbus, sys
with ringbus.open(int(sys.argv[1])) as ring, ring.producer() as producer:
    producer.send(b"from the child")
"""
    with ringbus.create(None, 4096) as ring, ring.consumer() as consumer:
        fd = ring.fileno()
        child = start(fd, python=code, pass_fds=[fd])
        assert consumer.recv(timeout=WAIT) == b"from the child"
        assert child.wait(WAIT) == 0
