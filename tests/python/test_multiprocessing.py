# SPDX-License-Identifier: MIT
"""Rings are pickled by name, and opened again in the child."""
import os
import pickle
import sys

import pytest

import ringbus
from conftest import WAIT

PROGRAM = """
import multiprocessing, ringbus, sys

def square(ring, ring_read_only, results):
    assert ring_read_only.read_only and not ring.read_only
    with ring.consumer("workers", shared=True) as consumer, results.producer() as producer:
        for message in consumer:
            producer.send(b"%d" % int(message) ** 2)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    ring, results = ringbus.open("numbers"), ringbus.open("results")
    reader = ringbus.open("numbers", read_only=True)
    workers = [multiprocessing.Process(target=square, args=(ring, reader, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_rings_are_arguments_of_processes(start, tmp_path, bus, method):
    (tmp_path / "program.py").write_text(PROGRAM)
    with ringbus.create("numbers") as ring, \
            ringbus.create("results", many_producers=True) as results:
        with ring.producer() as producer, results.consumer() as consumer:
            producer.send_batch(b"%d" % i for i in range(1000))
            producer.finish()
            program = start(sys.executable, tmp_path / "program.py", method, stdout=None)
            assert program.wait(WAIT) == 0
            assert sorted(map(int, consumer.recv_batch(2000))) == [i * i for i in range(1000)]
    assert sorted(os.listdir(bus)) == ["numbers", "results"]  # no resource tracker has removed them


def test_a_pickled_ring_is_the_same_one_or_none():
    with ringbus.create("r", 4096) as ring:
        pickled = pickle.dumps(ring)
        with pickle.loads(pickled) as same:
            assert same.info().ring_id == ring.info().ring_id
    ringbus.remove("r")
    with pytest.raises(ringbus.NotFound):
        pickle.loads(pickled)
    with ringbus.create("r", 4096), pytest.raises(ringbus.Stale, match="another ring"):
        pickle.loads(pickled)


def test_a_ring_of_a_trusted_owner_is_pickled_with_the_trust():
    with ringbus.create("r", 4096) as ring:
        if os.getuid() == 0:
            os.chown(ring.path, 12345, -1)
    with ringbus.open("r", owner=12345) as ring, pickle.loads(pickle.dumps(ring)) as same:
        assert same.info().ring_id == ring.info().ring_id
        assert same.__reduce__() == ring.__reduce__() and 12345 in ring.__reduce__()[1]


def test_what_cannot_be_pickled_says_so():
    with ringbus.create(None, 4096) as ring, ring.producer() as producer, ring.consumer() as consumer:
        with pytest.raises(TypeError, match="descriptor"):
            pickle.dumps(ring)
        for thing in (producer, consumer, ring.observer(), producer.claim(1)):
            with pytest.raises(TypeError, match="cannot pickle"):
                pickle.dumps(thing)
    with ringbus.create("r", 4096) as ring:
        pass
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(ring)
