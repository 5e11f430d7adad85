# SPDX-License-Identifier: MIT
"""Rings, and messages by copy, in one process."""
import array
import errno
import os
import stat
import threading
import time

import pytest

import ringbus


@pytest.fixture
def ring():
    with ringbus.create(None, 1 << 16) as ring:
        yield ring


@pytest.fixture
def ends(ring):
    with ring.producer() as producer, ring.consumer() as consumer:
        yield producer, consumer


def test_messages_come_in_order_with_tag_and_position(ends):
    producer, consumer = ends
    producer.send(b"one")
    producer.send(b"two", 7)
    producer.send(b"three", tag=2**32 - 1)
    seen = [(consumer.recv(), consumer.tag, consumer.position) for _ in range(3)]
    assert [data for data, _, _ in seen] == [b"one", b"two", b"three"]
    assert [tag for _, tag, _ in seen] == [0, 7, 2**32 - 1]
    assert seen[0][2] == 0 < seen[1][2] < seen[2][2] < consumer.tell()[0] == producer.tell()[0]
    assert consumer.tell()[1] == producer.tell()[1] == 3
    assert not consumer.redelivered


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_every_length_arrives_whole(many, overwrite):
    with ringbus.create(None, 4096, many_producers=many, overwrite=overwrite) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            for length in [*range(0, 300), ring.max_message - 1, ring.max_message]:
                data = os.urandom(length)
                producer.send(data)
                assert consumer.recv() == data
            for too_long in (ring.max_message + 1, 1 << 20):
                with pytest.raises(ringbus.TooLong) as error:
                    producer.send(bytes(too_long))
                assert isinstance(error.value, (ValueError, OSError))
                assert error.value.errno == errno.EMSGSIZE


def test_any_buffer_can_be_sent(ends):
    producer, consumer = ends
    numpy = pytest.importorskip("numpy")
    matrix = numpy.arange(24, dtype="<i4").reshape(4, 6)
    for thing in (b"abc", bytearray(b"abc"), memoryview(b"abc"), array.array("d", [1, 2]), matrix,
                  matrix.T, matrix[::2, 1::2], memoryview(b"abcdef")[::2], matrix[1:1]):
        producer.send(thing)
        assert consumer.recv() == memoryview(thing).tobytes()
        producer.send_batch([thing, b"-", thing])
        assert consumer.recv_batch() == [memoryview(thing).tobytes(), b"-",
                                         memoryview(thing).tobytes()]


@pytest.mark.parametrize("wrong", ["text", 5, None, [b"a"], 1.5, object()])
def test_wrong_types_are_type_errors(ends, wrong):
    producer, consumer = ends
    for call in (lambda: producer.send(wrong), lambda: producer.send_batch([b"ok", wrong]),
                 lambda: producer.send_records(wrong), lambda: consumer.recv_into(wrong),
                 lambda: consumer.recv_records_into(wrong)):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ringbus.Empty):
        consumer.recv(timeout=0)


@pytest.mark.parametrize("call, error", [
    (lambda p, c: p.send(), TypeError), (lambda p, c: p.send(b"", 1, 2), TypeError),
    (lambda p, c: p.send(b"", data=b""), TypeError), (lambda p, c: p.send(b"", colour=1), TypeError),
    (lambda p, c: p.send(b"", 2**32), ValueError), (lambda p, c: p.send(b"", -1), ValueError),
    (lambda p, c: p.send(b"", timeout=-1), ValueError), (lambda p, c: c.recv(float("nan")), ValueError),
    (lambda p, c: c.recv("1"), TypeError), (lambda p, c: c.recv_batch(0), ValueError),
    (lambda p, c: c.recv_batch(-1), ValueError), (lambda p, c: c.seek("resume"), ValueError),
    (lambda p, c: c.seek("somewhere"), ValueError), (lambda p, c: c.seek(12345), ValueError),
    (lambda p, c: c.seek(1.5), TypeError), (lambda p, c: c.recv_into(b"read-only"), BufferError),
    (lambda p, c: p.claim(-1), ValueError), (lambda p, c: p.claim("1"), TypeError),
    (lambda p, c: p.ring.wait_for("nobody"), ValueError), (lambda p, c: p.ring.blame(1), TypeError),
    (lambda p, c: p.ring.consumer(policy="x"), ValueError),
    (lambda p, c: p.ring.consumer(look=0), ValueError),
    (lambda p, c: p.ring.consumer(max_lag=-1), ValueError),
    (lambda p, c: p.ring.consumer("g", shared=True, policy="lapped"), ValueError),
    (lambda p, c: ringbus.create(None, 2**64 - 1), ValueError),
    (lambda p, c: ringbus.create(None, 2**40 + 1), ValueError),
    (lambda p, c: ringbus.create(None, 0), ValueError),
    (lambda p, c: ringbus.create(None, participants=0), ValueError),
    (lambda p, c: ringbus.create(None, participants=2**32 + 5), ValueError),
    (lambda p, c: ringbus.create(None, groups=-1), ValueError),
    (lambda p, c: ringbus.create(None, mode=0o1777), ValueError),
    (lambda p, c: ringbus.create(None, wake="up"), ValueError),
    (lambda p, c: ringbus.create("a\0b"), ValueError), (lambda p, c: ringbus.create(""), ValueError),
    (lambda p, c: ringbus.create("x", gid=-1), ValueError),
    (lambda p, c: ringbus.open("x", owner=2**40), ValueError),
    (lambda p, c: type(p)(), TypeError), (lambda p, c: type(c)(), TypeError),
    (lambda p, c: ringbus.Ring(), TypeError), (lambda p, c: ringbus.Message(), TypeError)])
def test_wrong_arguments_are_refused(ends, call, error):
    with pytest.raises(error):
        call(*ends)


@pytest.mark.parametrize("call, error, words", [
    (lambda p, c: p.send(bytes(1 << 17)), ringbus.TooLong, "max_message"),
    (lambda p, c: p.claim(4).commit(5), ringbus.TooLong, "than were claimed"),
    (lambda p, c: (p.send(b"four"), c.recv_into(bytearray(3))), ringbus.TooLong, "needed"),
    (lambda p, c: c.arm(), ValueError, "call fileno first"),
    (lambda p, c: c.recv_records("u1", 0), ValueError, "max: at least 1"),
    (lambda p, c: (p.send(b"a"), [s.borrow() for s in [p.ring.consumer("s", shared=True)] * 2]),
     ringbus.Busy, "release it first")])
def test_errors_say_what_to_do(ends, call, error, words):
    with pytest.raises(error, match=words):
        call(*ends)


def test_a_buffer_is_not_resized_while_it_is_used(ends):
    producer, consumer = ends

    def resize_during(buffer, call, end):
        thread = threading.Thread(target=call, args=(buffer,))
        thread.start()
        with pytest.raises(BufferError, match="re-sized"):
            while True:
                buffer.append(0)
                buffer.pop()
        end()
        thread.join()

    producer.send(bytes(40000))
    resize_during(bytearray(40000), producer.send, consumer.recv)  # there is no room for both
    consumer.seek("newest")
    buffer = bytearray(5)
    resize_during(buffer, consumer.recv_into, lambda: producer.send(b"five!"))
    assert buffer[:5] == b"five!"


@pytest.mark.parametrize("look", [0, 5e9, float("inf")])
def test_how_often_to_look_is_said_within_bounds(ring, look):
    with pytest.raises(ValueError, match="less than 4e9 seconds"):
        ring.consumer(look=look)


def test_without_room_and_without_messages_time_runs_out():
    with ringbus.create(None, 4096) as ring, ring.producer() as producer:
        for timeout in (0, 0.01):
            with pytest.raises(ringbus.Full) as full:
                while True:
                    producer.send(bytes(1000), timeout=timeout)
            assert isinstance(full.value, TimeoutError)
        for send in (producer.send_batch, producer.send_records):
            before = producer.tell()[1]
            with pytest.raises(ringbus.Full) as full:
                send(memoryview(bytes(400)).cast("B", (50, 8)) if send == producer.send_records
                     else [b"1", bytes(1000)], timeout=0)
            assert full.value.sent == producer.tell()[1] - before > 0
        with ring.consumer() as consumer:
            assert len(consumer.recv_batch(100)) == producer.tell()[1]
            for call in (consumer.recv, consumer.recv_batch, consumer.borrow, consumer.latest,
                         consumer.borrow_batch, consumer.wait, lambda timeout:
                         consumer.recv_into(bytearray(9), timeout)):
                for timeout in (0, 0.01):
                    with pytest.raises(ringbus.Empty) as empty:
                        call(timeout=timeout)
                assert isinstance(empty.value, TimeoutError)
                assert isinstance(empty.value, ringbus.Error)


@pytest.mark.parametrize("many", [False, True])
def test_all_at_once_is_all_or_none(many):
    with ringbus.create(None, 4096, many_producers=many) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            producer.send(bytes(2000))
            with pytest.raises(ringbus.Full) as full:
                producer.send_batch([bytes(100)] * 25, all_at_once=True, timeout=0.01)
            assert full.value.sent == 0
            assert producer.tell()[1] == 1
            consumer.recv()
            producer.send_batch([bytes(100)] * 25, all_at_once=True, timeout=0.01)
            assert consumer.recv_batch(99) == [bytes(100)] * 25
            with pytest.raises(ringbus.TooLong):
                producer.send_batch([bytes(100)] * 100, all_at_once=True)
            # exactly what has room once the first of two is read: nothing more is waited for
            most = [bytes(64)] * 62 if many else [bytes(48)] * 71
            producer.send_batch([bytes(100)] * 2)
            reader = threading.Thread(target=lambda: (time.sleep(0.05), consumer.recv()))
            reader.start()
            producer.send_batch(most, all_at_once=True, timeout=10)
            reader.join()
            assert consumer.recv_batch(99) == [bytes(100)] + most


def test_the_end_of_the_stream(ends):
    producer, consumer = ends
    producer.send_batch([b"a", b"b"])
    producer.finish()
    with pytest.raises(ringbus.Finished) as finished:
        producer.send(b"c")
    assert isinstance(finished.value, BrokenPipeError)
    assert list(consumer) == [b"a", b"b"]
    for call in (consumer.recv, consumer.borrow, consumer.latest, consumer.recv_batch, consumer.wait):
        with pytest.raises(EOFError) as end:
            call()
        assert isinstance(end.value, ringbus.EndOfStream)
    assert list(consumer) == []


def test_batches_end_where_messages_end(ends):
    producer, consumer = ends
    producer.send_batch(str(i).encode() for i in range(600))
    assert consumer.recv_batch(3) == [b"0", b"1", b"2"]
    assert len(consumer.recv_batch()) == 256
    assert len(consumer.recv_batch(1000)) == 600 - 259
    producer.send_batch([])
    producer.send_batch([], all_at_once=True)
    with pytest.raises(ringbus.Empty):
        consumer.recv_batch(timeout=0)
    producer.send_batch([b"a", b"b"], 1)
    last = producer.tell()[0]
    producer.send(b"c", 2)
    assert consumer.recv_batch() == [b"a", b"b", b"c"] and (consumer.tag, consumer.position) == (2, last)


def test_receiving_into_a_buffer(ends):
    producer, consumer = ends
    producer.send(b"hello")
    room = bytearray(4)
    with pytest.raises(ringbus.TooLong) as error:
        consumer.recv_into(room)
    assert error.value.needed == 5
    room = bytearray(8)
    assert consumer.recv_into(room) == 5
    assert room == b"hello\0\0\0"


def test_records_of_a_structured_array(ends):
    numpy = pytest.importorskip("numpy")
    producer, consumer = ends
    ticks = numpy.zeros(1000, dtype=[("time", "<u8"), ("price", "<f4"), ("name", "S5")])
    ticks["time"] = range(1000)
    ticks["name"] = b"abc"
    producer.send_records(ticks, tag=3)
    producer.send(b"something else")
    producer.send_records(ticks[:10])
    assert consumer.recv() == ticks[:1].tobytes()
    got = consumer.recv_records(ticks.dtype, 100)
    assert (got == ticks[1:101]).all() and got.dtype == ticks.dtype and consumer.tag == 3
    got = consumer.recv_records(ticks.dtype, 2000)
    assert (got == ticks[101:]).all() and len(got) == 899
    with pytest.raises(ValueError, match="14 bytes, a record 17"):
        consumer.recv_records(ticks.dtype)
    assert consumer.recv() == b"something else"
    assert len(consumer.recv_records(ticks.dtype)) == 10
    producer.send_records(numpy.arange(12, dtype="u2").reshape(3, 4))
    assert consumer.recv_records("u2", timeout=0, shape=4).tolist() == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(ringbus.Empty):
        consumer.recv_records("u2", timeout=0)
    for wrong in (numpy.int32(5), ticks[::2]):
        with pytest.raises((ValueError, BufferError)):
            producer.send_records(wrong)
    producer.send_records(ticks[:0])
    with pytest.raises(ringbus.Empty):
        consumer.recv(timeout=0)


def test_the_newest_message_alone(ends):
    producer, consumer = ends
    producer.send_batch([b"1", b"2", b"3"])
    assert consumer.latest() == (b"3", 2)
    producer.send(b"4")
    assert consumer.latest() == (b"4", 0)
    producer.send_batch([b"5", b"6", b"7"])
    assert consumer.skip_to_newest() == 2
    assert consumer.skip_to_newest() == 0
    assert consumer.recv() == b"7"
    assert consumer.skip_to_newest() == 0
    with pytest.raises(ringbus.Empty):
        consumer.latest(timeout=0)
    producer.send(b"8")
    producer.finish()
    assert consumer.latest() == (b"8", 0)
    with pytest.raises(ringbus.EndOfStream):
        consumer.latest()


def test_the_newest_message_counts_lost_ones_as_skipped():
    with ringbus.create(None, 4096, overwrite=True) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            for i in range(1000):
                producer.send(b"%04d" % i * 10)
            assert consumer.latest() == (b"0999" * 10, 999)
            producer.send(b"last")
            assert consumer.recv() == b"last"


def test_a_loss_on_the_way_to_no_newest_message_is_told_by_the_next_call():
    with ringbus.create(None, 4096, overwrite=True) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            for what in ("recv", "latest"):
                producer.send_batch([b"a", b"b", b"c"])
                with producer.claim(ring.max_message):  # for which all others make way
                    with pytest.raises(ringbus.Empty):
                        consumer.latest(timeout=0)
                if what == "latest":
                    data, skipped = consumer.latest()
                    assert (len(data), skipped) == (ring.max_message, 3)
                else:
                    with pytest.raises(ringbus.Lapped) as lapped:
                        consumer.recv(timeout=0)
                    assert lapped.value.messages == 3
                    assert len(consumer.recv(timeout=0)) == ring.max_message


def test_a_shared_group_has_no_newest(ring):
    with ring.consumer("workers", shared=True) as consumer:
        for call in (consumer.latest, consumer.skip_to_newest, lambda: consumer.seek("newest"),
                     lambda: consumer.recv_records_into(bytearray(5))):
            with pytest.raises(ValueError, match="shared"):
                call()


def test_who_was_lapped_is_told_how_much_it_lost():
    with ringbus.create(None, 4096, overwrite=True) as ring, ring.observer() as observer:
        with ring.producer() as producer, ring.consumer() as consumer:
            for reader in (consumer, observer):
                begin = producer.tell()[1]
                for i in range(100):
                    producer.send(bytes([i]) * 100)
                if reader is observer:
                    begin = 0
                with pytest.raises(ringbus.Lapped) as lapped:
                    reader.recv(timeout=0)
                assert lapped.value.errno == errno.EOVERFLOW
                rest = list(reader.recv_batch(1000))
                assert rest and rest[-1] == bytes([99]) * 100
                assert lapped.value.messages == producer.tell()[1] - begin - len(rest)
                assert lapped.value.bytes > 0
                assert reader.lost() == (lapped.value.messages, lapped.value.bytes)
            with pytest.raises(ringbus.Lapped):
                while True:
                    for i in range(50):
                        producer.send(bytes(100))
                    next(consumer)


def test_seek_goes_back_and_forth(ring):
    with ring.producer() as producer, ring.consumer("named") as consumer:
        producer.send_batch([b"a", b"b", b"c"])
        assert consumer.recv() == b"a"
        second = consumer.tell()[0]
        assert consumer.recv() == b"b"
        consumer.seek(second)
        assert consumer.recv() == b"b"
        consumer.seek("oldest")
        assert consumer.recv() == b"a"
        consumer.seek("newest")
        with pytest.raises(ringbus.Empty):
            consumer.recv(0)
        consumer.seek("oldest")
    with ring.consumer("named") as consumer:
        assert consumer.recv_batch() == [b"a", b"b", b"c"]
    with ring.consumer(start="newest") as consumer, pytest.raises(ringbus.Empty):
        consumer.recv(0)
    with ring.observer(start=second) as observer:
        assert observer.recv() == b"b"


# ---------------------------------------------------------------- rings


def test_a_ring_is_made_once_and_found_by_name_path_and_descriptor(bus):
    with pytest.raises(FileNotFoundError) as error:
        ringbus.open("images")
    assert isinstance(error.value, ringbus.NotFound) and "images" in str(error.value)
    with ringbus.create("images", 8192, mode=0o640) as ring, ring.producer() as producer:
        assert ring.path == bus + "/images" and ring.capacity == 8192
        assert stat.S_IMODE(os.stat(ring.path).st_mode) == 0o640
        with pytest.raises(FileExistsError):
            ringbus.create("images")
        assert ringbus.rings() == ringbus.rings(bus) == ["images"] and ringbus.directory() == bus
        producer.send(b"here")
        for again in (ringbus.create("images", exist_ok=True), ringbus.open(ring.path),
                      ringbus.open(ring.fileno()), ringbus.open("images", read_only=True)):
            with again, again.observer() as observer:
                assert observer.recv() == b"here"
                assert again.info().ring_id == ring.info().ring_id
        with pytest.raises(ringbus.Busy):
            ringbus.remove("images")
        ringbus.remove("images", force=True)
        with pytest.raises(ringbus.Stale):
            producer.send(b"")
        assert ring.info().retired
    assert os.listdir(bus) == []
    with pytest.raises(ringbus.Damaged):
        with open(bus + "/other", "wb") as file:
            file.write(bytes(10000))
        os.chmod(bus + "/other", 0o600)
        ringbus.open("other")


def test_relative_paths_are_remembered_as_absolute_ones(bus, monkeypatch):
    monkeypatch.chdir(bus)
    with ringbus.create("./here", 4096) as ring:
        monkeypatch.chdir("/")
        with ringbus.open(ring.path) as same:
            assert same.info().ring_id == ring.info().ring_id


def test_read_only_rings_have_observers_alone():
    with ringbus.create("r", 4096) as ring, ring.producer() as producer:
        producer.send(b"seen")
        with ringbus.open("r", read_only=True) as same:
            assert same.read_only
            for attach in (same.producer, same.consumer):
                with pytest.raises(PermissionError):
                    attach()
            with same.observer() as observer:
                assert [observer.recv(), observer.tag] == [b"seen", 0]
                with pytest.raises(ringbus.Empty):
                    observer.recv(timeout=0.01)
                producer.send(b"more")
                producer.finish()
                assert list(observer) == [b"more"]


def test_what_is_asked_for_is_what_the_ring_is():
    with ringbus.create("o", 16384, many_producers=True, overwrite=True, participants=5, groups=3,
                        no_group="drop", wake="fence") as ring:
        info = ring.info()
        assert (info.capacity, info.many_producers, info.overwrite) == (16384, True, True)
        assert (info.max_participants, info.max_groups) == (5, 3)
        with ring.producer(name="camera"), ring.consumer("viewer", name="screen", policy="lapped"):
            assert [(who.role, who.name, who.group, who.alive, who.pid)
                    for who in ring.participants()] == [
                        ("producer", "camera", "", True, os.getpid()),
                        ("consumer", "screen", "viewer", True, os.getpid())]
            with pytest.raises(ringbus.Busy):
                ring.remove_group("viewer")
            ring.wait_for("producer", timeout=0)
        with pytest.raises(ringbus.Timeout):
            ring.wait_for("consumer", timeout=0.01)
        group, = ring.groups()
        assert (group.name, group.policy, group.durable) == ("viewer", "lapped", True)
        ring.remove_group("viewer")
        with pytest.raises(ringbus.NotFound):
            ring.remove_group("viewer")
        assert ring.groups() == ring.participants() == [] and ring.repair() == 0


def test_the_capacity_is_rounded_up():
    for asked, given in ((1, 4096), (4096, 4096), (4097, 8192), (6_000_000, 1 << 23)):
        with ringbus.create(None, asked) as ring:
            assert ring.capacity == given


def test_blame_names_who_is_waited_for(ring):
    assert ring.blame("producer") is None and ring.blame("consumer") is None
    with ring.producer() as producer, ring.consumer("slow", name="snail"):
        producer.send(b"12345678")
        blame = ring.blame("producer")
        assert (blame.group, blame.participant.name, blame.bytes) == ("slow", "snail", 16)
        with pytest.raises(ringbus.Timeout):
            producer.drain(timeout=0.01)


def test_one_producer_and_one_consumer_of_a_group(ring):
    with ring.producer(name="first"), ring.consumer("g", name="other"):
        with pytest.raises(ringbus.Busy, match="first"):
            ring.producer()
        with pytest.raises(ringbus.Busy, match="other"):
            ring.consumer("g")


def test_after_close_everything_raises_and_nothing_crashes():
    ring = ringbus.create(None, 4096)
    producer, consumer, observer = ring.producer(), ring.consumer(), ring.observer()
    poller = ringbus.Poller([consumer])
    for thing in (ring, producer, consumer, observer, poller):
        assert not thing.closed
        thing.close()
        thing.close()
        assert thing.closed and "closed" in repr(thing)
        with thing:
            pass
    zero, one = (), (b"x",)
    arguments = {"send": one, "send_batch": (one,), "send_records": one, "claim": (1,),
                 "recv_into": (bytearray(5),), "recv_records_into": (bytearray(5),), "seek": ("oldest",),
                 "recv_records": ("u1",), "blame": ("producer",), "wait_for": ("producer",),
                 "remove_group": ("x",), "send_array": (1,), "add": (consumer,), "remove": (consumer,)}
    calls = 0
    for thing in (ring, producer, consumer, observer, poller):
        for name in dir(thing):
            method = getattr(thing, name)
            if name.startswith("_") or not callable(method) or name in ("close", "recv_async"):
                continue
            with pytest.raises(ValueError, match="closed"):
                method(*arguments.get(name, zero))
            calls += 1
    assert calls > 30
    with pytest.raises(ValueError, match="closed"):
        next(consumer)


def test_a_closed_ring_leaves_those_attached_at_work():
    with ringbus.create(None, 4096) as ring:
        producer, consumer = ring.producer(), ring.consumer()
    producer.send(b"still")
    assert consumer.recv() == b"still" and producer.ring is ring is consumer.ring
