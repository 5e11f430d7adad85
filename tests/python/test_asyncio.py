# SPDX-License-Identifier: MIT
"""Consumers in an asyncio event loop."""
import asyncio
import threading

import pytest

import ringbus
from conftest import WAIT


@pytest.fixture
def ends():
    with ringbus.create(None, 1 << 16) as ring:
        with ring.producer() as producer, ring.consumer() as consumer:
            yield producer, consumer


def test_async_for_receives_everything_while_other_tasks_go_on(ends):
    producer, consumer = ends
    turn = threading.Semaphore(0)
    ticks = 0

    def produce():
        for i in range(100):
            if i % 10 == 0:
                turn.acquire()  # the loop has gone to sleep, or is about to
            producer.send(b"%d" % i)
        producer.finish()

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            turn.release()
            await asyncio.sleep(0.001)

    async def main():
        ticking = asyncio.create_task(tick())
        seen = [message async for message in consumer]
        ticking.cancel()
        return seen

    thread = threading.Thread(target=produce)
    thread.start()
    assert asyncio.run(asyncio.wait_for(main(), WAIT)) == [b"%d" % i for i in range(100)]
    thread.join()
    assert ticks >= 10


def test_several_consumers_in_one_loop():
    async def drain(consumer):
        return [message async for message in consumer]

    async def send(producers):
        for i in range(50):
            for producer in producers:
                producer.send(b"%d" % i)
            await asyncio.sleep(0)
        for producer in producers:
            producer.finish()

    async def main():
        rings = [ringbus.create(None, 1 << 16) for _ in range(5)]
        consumers = [ring.consumer() for ring in rings]
        *seen, _ = await asyncio.gather(*map(drain, consumers), send([r.producer() for r in rings]))
        assert seen == [[b"%d" % i for i in range(50)]] * 5
        for consumer in consumers:
            consumer.close()

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_waiting_can_be_cancelled_and_loses_nothing(ends):
    producer, consumer = ends

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(consumer.recv_async(), 0.02)
        producer.send(b"later")
        assert await consumer.recv_async() == b"later"
        task = asyncio.create_task(consumer.recv_async())
        await asyncio.sleep(0.01)
        for call in (consumer.close, consumer._await_begin):
            with pytest.raises(ringbus.Busy, match="task"):
                call()
        with pytest.raises(ringbus.Busy, match="task"):
            await consumer.recv_async()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        consumer.close()
        with pytest.raises(ValueError, match="closed"):
            await consumer.recv_async()

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_the_end_and_the_removal_wake_the_loop(bus):
    async def main():
        for end, error in ((lambda: producer.finish(), ringbus.EndOfStream),
                           (lambda: ringbus.remove("r", force=True), ringbus.Stale)):
            ring = ringbus.create("r", 4096)
            producer, consumer = ring.producer(), ring.consumer()
            task = asyncio.create_task(consumer.recv_async())
            await asyncio.sleep(0.01)
            end()
            with pytest.raises(error):
                await task
            if error is ringbus.EndOfStream:
                assert [message async for message in consumer] == []
            producer.close()
            consumer.close()
            if error is not ringbus.Stale:
                ringbus.remove("r")

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_a_descriptor_for_select(ends):
    import select
    producer, consumer = ends
    poll = select.poll()
    poll.register(consumer, select.POLLIN)  # by its fileno
    assert poll.poll(0) == []
    producer.send(b"there")
    assert poll.poll(WAIT * 1000)
    assert consumer.recv(0) == b"there"
    consumer.arm()
    assert poll.poll(0) == []
    producer.finish()
    assert poll.poll(WAIT * 1000)
    with pytest.raises(ringbus.EndOfStream):
        consumer.arm()
