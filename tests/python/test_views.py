# SPDX-License-Identifier: MIT
"""Memory of the ring that is lent: claims and borrowed messages, their views, their end."""
import gc
import signal
import sys
import threading
import time
import tracemalloc

import pytest

import ringbus
from conftest import WAIT, in_child


@pytest.fixture
def ends():
    with ringbus.create(None, 1 << 16) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            yield producer, consumer


def test_a_claim_is_filled_in_place(ends):
    producer, consumer = ends
    with producer.claim(10, tag=4) as claim:
        assert len(claim) == 10 and repr(claim) == "<ringbus.Claim of 10 bytes>"
        claim.view[:5] = b"hello"
        with pytest.raises(ringbus.TooLong):
            claim.commit(11)
        claim.commit(5)
        assert repr(claim) == "<ringbus.Claim of 10 bytes, done>"
    assert (consumer.recv(), consumer.tag) == (b"hello", 4)
    with producer.claim(3) as claim:
        claim.view[:] = b"all"
    assert consumer.recv() == b"all"
    with producer.claim(0):
        pass
    assert consumer.recv() == b""


def test_a_claim_is_given_up_when_its_work_fails(ends):
    producer, consumer = ends
    with pytest.raises(ZeroDivisionError):
        with producer.claim(5) as claim:
            1 / 0
    with pytest.raises(ZeroDivisionError):
        with producer.claim(5) as claim:
            view = claim.view
            1 / 0
    with pytest.raises(BufferError):
        producer.send(b"the view still stands")
    del view, claim
    with producer.claim(5) as claim:
        claim.abort()
        with pytest.raises(ValueError, match="already"):
            claim.commit()
    producer.claim(5)  # and forgotten
    producer.send(b"only this")
    assert consumer.recv_batch() == [b"only this"]


def test_a_claim_that_is_viewed_is_neither_committed_nor_overwritten(ends):
    producer, consumer = ends
    claim = producer.claim(5)
    view = claim.view[1:3]
    for call in (claim.commit, claim.abort, producer.close, lambda: producer.send(b"x"),
                 lambda: producer.send_batch([b"x"]), lambda: producer.claim(1), producer.wait,
                 producer.drain, producer.finish, lambda: claim.__exit__(None, None, None)):
        with pytest.raises(BufferError):
            call()
    view.release()
    claim.view[:] = b"whole"
    claim.commit()
    for call in (claim.commit, claim.abort, lambda: claim.view, lambda: memoryview(claim)):
        with pytest.raises(ValueError, match="already"):
            call()
    assert consumer.recv_batch() == [b"whole"]


def test_closing_gives_an_open_claim_up(ends):
    producer, consumer = ends
    claim = producer.claim(5)
    ring = producer.ring
    producer.close()
    with pytest.raises(ValueError):
        claim.commit()
    with ring.producer() as successor:
        successor.send(b"next")
    assert consumer.recv_batch() == [b"next"]


def test_a_borrowed_message_is_not_copied_and_not_released_while_it_is_viewed(ends):
    producer, consumer = ends
    producer.send(b"in the ring", 9)
    with consumer.borrow() as message:
        assert (bytes(message), len(message), message.tag) == (b"in the ring", 11, 9)
        assert repr(message) == "<ringbus.Message of 11 bytes>"
        assert message.position == 0 and not message.redelivered
        view = message.view
        assert view.readonly and view == b"in the ring"
        with pytest.raises(TypeError):
            view[0] = 0
        part = view[3:6]
        del view
        for call in (message.release, consumer.release, consumer.close, consumer.recv, consumer.latest,
                     consumer.recv_batch, consumer.skip_to_newest, lambda: consumer.seek("oldest"),
                     lambda: next(consumer), lambda: consumer.recv_into(bytearray(50)),
                     lambda: message.__exit__(None, None, None)):
            with pytest.raises(BufferError, match="views"):
                call()
        assert part == b"the"
        del part
    for call in (message.release, lambda: message.view, lambda: bytes(message)):
        with pytest.raises(ValueError, match="released already"):
            call()
    assert repr(message) == "<ringbus.Message of 11 bytes, released>"
    with pytest.raises(ringbus.Empty):
        consumer.recv(0)


def test_numpy_arrays_are_views_too(ends):
    numpy = pytest.importorskip("numpy")
    producer, consumer = ends
    producer.send(numpy.arange(10, dtype="<u4"))
    message = consumer.borrow()
    numbers = numpy.frombuffer(message, "<u4")[2:4]
    assert numbers.tolist() == [2, 3] and not numbers.flags.writeable
    with pytest.raises(BufferError):
        consumer.close()
    del numbers
    message.release()
    with producer.claim(8) as claim:
        numpy.frombuffer(claim, "<f4")[:] = 1.5
    assert numpy.frombuffer(consumer.recv(), "<f4").tolist() == [1.5, 1.5]


def test_what_is_borrowed_is_released_when_the_last_one_is(ends):
    producer, consumer = ends
    ring = producer.ring
    producer.send_batch([b"a", b"b", b"c", b"d"])
    first, second = consumer.borrow(), consumer.borrow()
    third, = consumer.borrow_batch(1)
    view = memoryview(second)
    third.release()
    first.release()
    assert ring.groups()[0].lag_messages == 4
    view.release()
    second.release()
    assert ring.groups()[0].lag_messages == 1
    fourth, = consumer.borrow_batch()
    consumer.release()
    with pytest.raises(ValueError):
        fourth.release()
    assert ring.groups()[0].lag_messages == 0


def test_a_message_that_was_not_released_comes_again():
    with ringbus.create(None, 4096) as ring, ring.producer() as producer:
        producer.send_batch([b"work", b"more"])
        with ring.consumer("named") as consumer:
            with pytest.raises(ZeroDivisionError):
                with consumer.borrow():
                    1 / 0
            assert bytes(consumer.borrow()) == b"more"  # forgotten, which does not release either
        with ring.consumer("named") as consumer:
            assert consumer.recv_batch() == [b"work", b"more"]


def test_closing_within_a_borrow_says_so(ends):
    producer, consumer = ends
    producer.send(b"a")
    with pytest.raises(ValueError, match="the consumer is closed"):
        with consumer.borrow():
            consumer.close()


def test_nobody_finds_a_batch_before_it_is_there(ends):
    producer, consumer = ends
    got = []
    thread = threading.Thread(target=lambda: got.extend(consumer.borrow_batch()))
    thread.start()
    with pytest.raises(ringbus.Busy):
        while True:
            consumer.tell()
    found = [thing for thing in gc.get_objects()
             if type(thing) is list and thing and type(thing[0]) is ringbus.Message]
    producer.send(b"a")
    thread.join()
    assert found == [] and [bytes(message) for message in got] == [b"a"] and gc.is_tracked(got)


def test_the_error_within_with_is_the_one_to_see(ends):
    producer, consumer = ends
    ring = producer.ring
    producer.send_batch([b"a", b"b"])
    with pytest.raises(ZeroDivisionError) as error:
        with ring.consumer() as another, ring.consumer() as third:
            view = another.borrow().view
            third.borrow()
            1 / 0
    assert view == b"a" and third.closed and not another.closed
    with pytest.raises(BufferError):
        with another:
            pass
    del view, error
    another.close()
    with pytest.raises(ZeroDivisionError), ring.consumer():
        1 / 0


def test_a_signal_handler_may_borrow_and_claim_behind_a_wait():
    with ringbus.create(None, 4096) as ring, ring.producer() as producer, ring.consumer() as consumer:
        held = []

        def borrow(*_):
            producer.send_batch([b"first", b"second"])
            held.append(consumer.borrow().view)

        def claim(*_):
            consumer.recv()
            held.append(producer.claim(5))

        before = signal.signal(signal.SIGALRM, borrow)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(BufferError, match="views"):
                consumer.recv(WAIT)
            held.pop().release()
            consumer.release()
            assert consumer.recv() == b"second"
            producer.send(bytes(3000))
            signal.signal(signal.SIGALRM, claim)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(BufferError, match="claim is open"):
                producer.send(bytes(3000), timeout=WAIT)
            held.pop().abort()
        finally:
            signal.signal(signal.SIGALRM, before)


def test_receiving_releases_what_is_borrowed(ends):
    producer, consumer = ends
    producer.send_batch([b"a", b"b"])
    message = consumer.borrow()
    assert consumer.recv() == b"b"
    with pytest.raises(ValueError, match="released already"):
        memoryview(message)


def test_a_shared_group_borrows_one_batch_and_members_take_over():
    with ringbus.create(None, 1 << 16) as ring, ring.producer() as producer:
        one, two = (ring.consumer("workers", shared=True) for _ in range(2))
        producer.send_batch([b"a", b"b", b"c"])
        message = one.borrow()
        with pytest.raises(ringbus.Busy):
            one.borrow()
        assert two.recv() == b"b"
        view = message.view
        with pytest.raises(BufferError):
            one.recv(0)
        view.release()
        one.close()  # without releasing
        rest = {(two.recv(timeout=60), two.redelivered) for _ in range(2)}
        assert rest == {(b"a", True), (b"c", False)}
        two.close()


def test_a_borrowed_message_that_was_overwritten_is_not_believed():
    with ringbus.create(None, 4096, overwrite=True) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            producer.send(b"early")
            message = consumer.borrow()
            for _ in range(100):
                producer.send(bytes(100))
            with pytest.raises(ringbus.Lapped):
                message.release()


def test_each_message_that_was_overwritten_is_said_to_be():
    with ringbus.create(None, 4096, overwrite=True) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            producer.send_batch([b"early", b"earlier"])
            messages = consumer.borrow_batch()
            for _ in range(100):
                producer.send(bytes(100))
            for message in messages:
                with pytest.raises(ringbus.Lapped, match="overwritten"):
                    message.release()


def test_views_keep_alive_what_they_need(ends):
    producer, _ = ends
    consumer = producer.ring.consumer()
    producer.send(b"kept")
    view = memoryview(consumer.borrow())
    del consumer
    gc.collect()
    assert view == b"kept" and len(producer.ring.groups()) == 2
    del view
    gc.collect()
    assert len(producer.ring.groups()) == 1
    ring = ringbus.create(None, 4096)
    view = ring.producer().claim(4).view
    view[:] = b"kept"
    del ring
    gc.collect()
    assert view == b"kept"


def test_a_handle_inherited_by_fork_raises_and_says_so(ends):
    producer, consumer = ends
    ring = producer.ring
    observer = ring.observer()
    producer.send(b"for the parent")
    message, claim = consumer.borrow(), producer.claim(5)

    def child():
        for call in (lambda: claim.commit(), consumer.recv, consumer.borrow, observer.recv,
                     lambda: producer.send(b"x"), ring.info, ring.producer, ring.consumer,
                     lambda: consumer.wait(1), consumer.tell, ring.fileno):
            with pytest.raises(ringbus.Forked, match="fork") as error:
                call()
            assert isinstance(error.value, ChildProcessError)
        for thing in (producer, consumer, observer, ring):
            thing.close()

    assert in_child(child)
    claim.abort()
    producer.send(b"still well")
    message.release()
    assert consumer.recv() == b"still well"
    observer.close()


@pytest.mark.parametrize("many", [False, True])
def test_a_new_view_in_a_forked_child_raises(many):
    with ringbus.create(None, 4096, many_producers=many) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            producer.send(b"there")
            message, claim = consumer.borrow(), producer.claim(5)

            def child():
                for make in (lambda: memoryview(message), lambda: message.view, lambda: bytes(message),
                             lambda: memoryview(claim), lambda: claim.view):
                    with pytest.raises(ringbus.Forked, match="fork"):
                        make()

            assert in_child(child)
            claim.view[:] = b"still"
            claim.commit()
            assert message.view == b"there"


def test_a_call_that_another_thread_was_in_at_a_fork_is_not_the_childs():
    with ringbus.create(None, 4096) as ring, ring.producer() as producer, ring.consumer() as consumer, \
            ring.consumer("slow") as slow, ringbus.create(None, 4096) as other:
        producer.send(b"to be drained")
        consumer.recv()
        threads = [threading.Thread(target=wait, args=arguments) for wait, *arguments in
                   ((other.wait_for, "producer"), (consumer.recv,), (producer.drain,))]
        for thread in threads:
            thread.start()
        for handle in (consumer, producer):
            with pytest.raises(ringbus.Busy):
                while True:
                    handle.tell()

        def child():
            for call in (consumer.recv, lambda: producer.send(b"x"), consumer.tell, producer.tell):
                with pytest.raises(ringbus.Forked):
                    call()
            for thing in (consumer, producer, other):
                thing.close()

        assert in_child(child)
        slow.recv()
        threads[2].join()
        producer.send(b"the end")
        with other.producer():
            for thread in threads:
                thread.join()


def test_one_handle_in_two_threads_is_refused_while_one_waits(ends):
    producer, consumer = ends
    waiting = threading.Event()
    got = []

    def wait():
        waiting.set()
        got.append(consumer.recv())

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    refused = 0
    while not refused:  # until it waits indeed
        try:
            consumer.recv(timeout=0)
        except ringbus.Busy:
            refused = 1
        except ringbus.Empty:
            pass
    for call in (consumer.close, consumer.borrow, consumer.tell, consumer.release):
        with pytest.raises(ringbus.Busy, match="thread"):
            call()
    producer.send(b"done")  # which a thread that kept the interpreter's lock would not get
    thread.join()
    assert got == [b"done"]


def test_skipping_much_lets_other_threads_run():
    ticks, done = [0], threading.Event()

    def tick():
        while not done.is_set():
            ticks[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=tick)
    interval = sys.getswitchinterval()
    with ringbus.create(None, 1 << 21) as ring, ring.producer() as producer, ring.consumer() as consumer:
        sys.setswitchinterval(1000)  # nobody has to give the interpreter's lock away
        thread.start()
        try:
            for _ in range(50):  # on a loaded machine it may not get a processor in that time
                producer.send_batch([b""] * 200000)
                before = ticks[0]
                skipped = consumer.skip_to_newest()
                ran = ticks[0] != before
                assert skipped == 199999 and consumer.recv_batch() == [b""]
                if ran:
                    break
        finally:
            sys.setswitchinterval(interval)
            done.set()
            thread.join()
    assert ran


def test_every_thread_with_handles_of_its_own():
    with ringbus.create(None, 4096, many_producers=True) as ring:
        consumers = [ring.consumer() for _ in range(2)]
        sums = []

        def produce(which):
            with ring.producer() as producer:
                for i in range(1000):
                    producer.send(b"%d %d" % (which, i))

        def consume(consumer):
            seen = [consumer.recv() for _ in range(3000)]
            sums.append(seen)

        threads = [threading.Thread(target=produce, args=(i,)) for i in range(3)]
        threads += [threading.Thread(target=consume, args=(c,)) for c in consumers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sums[0] == sums[1]  # one order, which all see
        for which in range(3):
            mine = [m for m in sums[0] if m.startswith(b"%d " % which)]
            assert mine == [b"%d %d" % (which, i) for i in range(1000)]


@pytest.mark.parametrize("many", [False, True])
def test_nothing_crashes_whatever_is_done_by_several_threads_and_a_signal_handler(start, many):
    code = """
import faulthandler, gc, random, ringbus, signal, sys, threading

faulthandler.enable()
sys.setswitchinterval(1e-5)
rings = [ringbus.create(None, 8192, many_producers=MANY, overwrite=i == 2) for i in range(3)]
things = {name: [] for name in ("producer", "consumer", "observer", "poller", "claim", "message", "view")}

def one(name):
    return random.choice(things[name])  # IndexError if there is none

def keep(name, *new):
    things[name] += new
    del things[name][:-5]

def soon():
    return random.choice([0, 0.0001, 0.002])

def data():
    return random.choice([b"", bytes(500), bytearray(3000)])

actions = [
    lambda: keep("producer", random.choice(rings).producer()),
    lambda: keep("consumer", random.choice(rings).consumer(random.choice([None, "group"]))),
    lambda: keep("consumer", random.choice(rings).consumer("shared", shared=True)),
    lambda: keep("observer", random.choice(rings).observer()),
    lambda: keep("poller", ringbus.Poller()),
    lambda: one("poller").add(one("consumer")), lambda: one("poller").add(one("consumer")),
    lambda: one("poller").remove(one("consumer")), lambda: one("poller").wait(soon()),
    lambda: one("poller").wait(soon()), lambda: one("producer").send(data(), timeout=soon()),
    lambda: one("producer").send_batch([data(), data()], timeout=soon()),
    lambda: keep("claim", one("producer").claim(random.randrange(2000), timeout=soon())),
    lambda: keep("view", one("claim").view), lambda: one("claim").commit(), lambda: one("claim").abort(),
    lambda: one("producer").drain(soon()), lambda: one("consumer").recv(soon()),
    lambda: one("consumer").recv_batch(5, soon()), lambda: one("consumer").latest(soon()),
    lambda: one("consumer").recv_into(bytearray(900), soon()), lambda: one("consumer").seek("oldest"),
    lambda: keep("message", one("consumer").borrow(soon())), lambda: keep("view", one("message").view),
    lambda: keep("message", *one("consumer").borrow_batch(3, soon())), lambda: one("message").release(),
    lambda: bytes(one("view")), lambda: one("view").release(), lambda: one("consumer").release(),
    lambda: one("consumer").fileno(), lambda: one("consumer").arm(), lambda: one("observer").recv(soon()),
    lambda: one(random.choice(["producer", "consumer", "observer", "poller"])).close(),
    lambda: things[random.choice(list(things))].clear(), gc.collect]
done = 0

def act(times):
    global done
    for _ in range(times):
        try:
            random.choice(actions)()
            done += 1
        except (IndexError, ringbus.Error, ValueError, BufferError):
            pass

signal.signal(signal.SIGALRM, lambda *_: act(3))
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
threads = [threading.Thread(target=act, args=(1500,)) for _ in range(3)]
for thread in threads:
    thread.start()
act(1500)
signal.setitimer(signal.ITIMER_REAL, 0)
for thread in threads:
    thread.join()
assert done > 500
""".replace("MANY", str(many))
    assert start(python=code).wait(WAIT) == 0


def test_nothing_is_left_behind_by_many_rounds():
    numpy = pytest.importorskip("numpy")

    def attempt(call, *arguments):
        try:
            call(*arguments)
        except (OSError, ValueError, TypeError, BufferError):
            pass

    def round_of_everything():
        with ringbus.create(None, 4096) as ring, ring.producer() as producer:
            with ring.consumer(), ring.consumer("g") as consumer, ring.observer() as observer:
                producer.send(b"x" * 100)
                producer.send_batch([b"a", bytearray(b"b"), numpy.arange(8)[::2]])
                producer.send_records(numpy.arange(3))
                with producer.claim(9) as claim:
                    claim.view[:2] = b"ab"
                attempt(producer.send, "text")
                attempt(producer.send_batch, [b"a", bytearray(5), "text"])
                attempt(producer.send_batch, [bytes(1000)] * 5, 0, True)
                attempt(lambda: producer.send(bytes(3000), timeout=0))
                attempt(producer.send, bytes(5000))
                with consumer.borrow() as message:
                    view = message.view
                    attempt(message.release)
                    attempt(consumer.close)
                    view.release()
                consumer.borrow_batch(2)
                consumer.release()
                consumer.recv()
                consumer.recv_records("i8", timeout=0)
                attempt(consumer.recv_records, "i8")
                attempt(consumer.recv_into, bytearray(3))
                consumer.latest()
                with ringbus.Poller([consumer]) as poller:
                    attempt(poller.wait, 0)
                    attempt(poller.add, consumer)
                    attempt(ringbus.Poller, [consumer])
                attempt(consumer.recv, 0)
                attempt(consumer.fileno)
                observer.recv_batch()
                ring.info(), ring.groups(), ring.participants(), ring.blame("producer")
                attempt(ring.producer)
                attempt(ringbus.open, "nothing")

    types = [ringbus.Ring, ringbus.Producer, ringbus.Consumer, ringbus.Observer, ringbus.Claim,
             ringbus.Message, ringbus.Poller, ringbus.RingInfo, ringbus.Group, ringbus.Empty, ringbus.TooLong]
    for _ in range(20):
        round_of_everything()
    gc.collect()
    counts = [sys.getrefcount(kind) for kind in types]
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for _ in range(200):
        round_of_everything()
    gc.collect()
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    assert [sys.getrefcount(kind) for kind in types] == counts
    # 200 rounds: what is lost in each, be it one object, is more than this
    grown = [line for line in after.compare_to(before, "lineno")
             if line.count_diff >= 100 and "tracemalloc" not in str(line.traceback)]
    assert not grown
