# SPDX-License-Identifier: MIT
"""One poller for the consumers of many rings."""
import errno
import gc
import signal
import threading

import pytest

import ringbus
from conftest import COMMAND, WAIT, in_child


@pytest.fixture
def rings():
    rings = [ringbus.create(None, 4096) for _ in range(3)]
    yield rings
    for ring in rings:
        ring.close()


def test_streams_of_many_processes_are_merged(start):
    names = ["python", "c", "many"]
    rings = [ringbus.create(name, 4096, many_producers=name == "many") for name in names]
    consumers = {ring.consumer(): name for name, ring in zip(names, rings)}
    code = """
import ringbus, sys
with ringbus.open(sys.argv[1]) as ring, ring.producer() as producer:
    for i in range(1000):
        producer.send(b"%d" % i)
    producer.finish()
"""
    start("python", python=code)
    start("many", python=code)
    sender = start(COMMAND, "send", "c", "--close", "--quiet")
    threading.Thread(target=sender.communicate,
                     args=("".join(f"{i}\n" for i in range(1000)),)).start()
    seen = {name: [] for name in names}
    with ringbus.Poller(consumers) as poller:
        assert len(poller) == 3
        for consumer in poller:
            seen[consumers[consumer]] += consumer.recv_batch(10, 0)
        assert len(poller) == 0
        with pytest.raises(ringbus.EndOfStream, match="no consumer is left") as error:
            poller.wait()
        assert error.value.consumer is None
    assert all(messages == [b"%d" % i for i in range(1000)] for messages in seen.values())
    assert not any(consumer.closed for consumer in consumers)


def test_each_that_is_ready_has_its_turn(rings):
    producers = [ring.producer() for ring in rings]
    consumers = [ring.consumer() for ring in rings]
    for producer in producers:
        producer.send_batch([b"a"] * 9)
    poller = ringbus.Poller(consumers, wait="block", look=0.01)
    turns = [poller.wait(0) for _ in range(9)]
    assert all(turns.count(consumer) == 3 for consumer in consumers)
    for consumer in consumers[1:]:
        consumer.recv_batch()
    assert [poller.wait() for _ in range(3)] == [consumers[0]] * 3


def test_who_has_ended_is_told_and_removed():
    ring, removed, quiet = (ringbus.create(name, 4096) for name in ("ended", "removed", "quiet"))
    consumers = ended, stale, waiting = [ring.consumer() for ring in (ring, removed, quiet)]
    poller = ringbus.Poller(consumers)
    with pytest.raises(ringbus.Empty):
        poller.wait(0)
    with pytest.raises(ringbus.Empty):
        poller.wait(timeout=0.01)
    with ring.producer() as producer:
        producer.send(b"last")
        producer.finish()
    assert poller.wait() is ended and ended.recv(0) == b"last"
    ringbus.remove("removed", force=True)
    errors = {}
    for _ in range(2):
        with pytest.raises((ringbus.EndOfStream, ringbus.Stale)) as error:
            poller.wait(0)
        errors[type(error.value)] = error.value.consumer
    assert errors == {ringbus.EndOfStream: ended, ringbus.Stale: stale}
    assert len(poller) == 1 and waiting in poller and ended not in poller
    # iterating passes over those whose stream has ended, and over nothing else
    poller.add(ended)
    poller.add(stale)
    with pytest.raises(ringbus.Stale) as error:
        next(poller)
    assert error.value.consumer is stale
    waiting.close()
    assert list(poller) == []


def test_what_is_in_it_and_what_cannot_be(rings):
    one, two = (ring.consumer() for ring in rings[:2])
    with ringbus.Poller() as poller, ringbus.Poller([two]) as other:
        assert len(poller) == 0 and one not in poller
        poller.add(one)
        assert len(poller) == 1 and one in poller and two not in poller and 7 not in poller
        for call, error in ((lambda: poller.add(one), ValueError), (lambda: poller.add(two), ringbus.Busy),
                            (lambda: poller.add(rings[0]), TypeError),
                            (lambda: poller.add(rings[0].observer()), TypeError),
                            (lambda: poller.remove(two), ValueError),
                            (lambda: poller.remove(None), ValueError),
                            (lambda: ringbus.Poller([rings[2].consumer(), two]), ringbus.Busy),
                            (lambda: ringbus.Poller(5), TypeError),
                            (lambda: ringbus.Poller(wait="never"), ValueError),
                            (lambda: ringbus.Poller(look=0), ValueError),
                            (lambda: poller.wait(-1), ValueError)):
            with pytest.raises(error):
                call()
        poller.remove(one)
        assert len(poller) == 0
        other.add(one)
        one.close()
        assert len(other) == 1
        with pytest.raises(ValueError, match="closed"):
            poller.add(one)
    for call in (poller.wait, lambda: poller.add(two), lambda: poller.remove(two), lambda: next(poller)):
        with pytest.raises(ValueError, match="the poller is closed"):
            call()
    assert poller.closed and not two.closed and "closed" in repr(poller)
    poller.close()
    with rings[1].producer() as producer:
        producer.send(b"still attached")
    assert two.recv() == b"still attached"


def test_no_more_than_can_be_slept_on_at_once():
    rings = [ringbus.create(None, 4096, groups=64, participants=65) for _ in range(3)]
    poller = ringbus.Poller()
    with pytest.raises(ringbus.Error, match="second one") as error:
        for i in range(150):
            poller.add(rings[i % 3].consumer())
    assert error.value.errno == errno.ENOSPC and len(poller) == 128


def test_it_keeps_its_consumers_and_they_it_only_in_use(rings):
    poller = ringbus.Poller(ring.consumer() for ring in rings)
    gc.collect()
    with rings[0].producer() as producer:
        producer.send(b"kept")
        consumer = poller.wait()
        assert consumer.recv() == b"kept"
        del poller
        assert [len(ring.groups()) for ring in rings] == [1, 0, 0]
        producer.send(b"well")
        assert consumer.recv() == b"well"
        ringbus.Poller([consumer]).add(rings[1].consumer())
    assert len(rings[1].groups()) == 0


def test_a_poller_and_its_consumers_are_for_one_thread(rings):
    consumer, other = (ring.consumer() for ring in rings[:2])
    poller = ringbus.Poller([consumer, other])
    producer = rings[0].producer()
    for wait, calls in ((poller.wait, [consumer.tell, other.close, poller.close, lambda: poller.wait(0),
                                       lambda: poller.remove(other),
                                       lambda: poller.add(rings[2].consumer())]),
                        (consumer.recv, [lambda: poller.wait(0), other.tell, lambda: poller.remove(consumer),
                                         poller.close])):
        thread = threading.Thread(target=wait)
        thread.start()
        with pytest.raises(ringbus.Busy, match="poller"):
            while True:
                other.tell()
        for call in calls:
            with pytest.raises(ringbus.Busy):
                call()
        producer.send(b"done")
        thread.join()
        consumer.seek("newest")
    assert len(poller) == 2


def test_the_poller_of_a_waiting_consumer_may_go(rings):
    consumer = rings[0].consumer()
    pollers = [ringbus.Poller([consumer, rings[1].consumer()])]
    thread = threading.Thread(target=consumer.recv)
    thread.start()
    with pytest.raises(ringbus.Busy):
        while True:
            consumer.tell()
    pollers.clear()  # its last mention, but for the call's own
    with pytest.raises(ringbus.Busy):
        while True:
            consumer.tell()
    with rings[0].producer() as producer:
        producer.send(b"done")
        thread.join()
        assert len(rings[1].groups()) == 0
        producer.send(b"free")
        assert consumer.recv() == b"free"


def test_a_signal_handler_may_close_what_is_in_it(rings):
    consumers = [ring.consumer() for ring in rings]
    poller = ringbus.Poller(consumers)
    producer = rings[1].producer()

    def handler(*_):
        consumers[0].close()
        poller.remove(consumers[2])
        producer.send(b"there")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert poller.wait(WAIT) is consumers[1] and len(poller) == 1
        consumers[1].recv()
        signal.signal(signal.SIGALRM, lambda *_: poller.close())
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(ValueError, match="closed"):
            poller.wait(WAIT)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_forked_child_is_told(rings):
    consumer = rings[0].consumer()
    poller, empty = ringbus.Poller([consumer]), ringbus.Poller()

    def child():
        for call in (lambda: poller.wait(0), poller.wait, lambda: next(poller), lambda: empty.wait(0)):
            with pytest.raises(ringbus.Forked):
                call()
        with ringbus.Poller() as new, pytest.raises(ringbus.Forked):
            new.add(free)
        consumer.close()
        poller.close()
        empty.close()

    free = rings[1].consumer()
    assert in_child(child)
    with rings[0].producer() as producer:
        producer.send(b"in the parent")
        assert poller.wait() is consumer
