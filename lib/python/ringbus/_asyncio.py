# SPDX-License-Identifier: MIT
"""`async for message in consumer`, by the descriptor that the library makes for event loops."""
from ringbus import _ringbus


def _wake(future):
    if not future.done():
        future.set_result(None)


async def recv_async(self):
    """The next message, as bytes, in an asyncio event loop; with a timeout: asyncio.wait_for. Nothing is
    lost if it is cancelled. One task at a time (Busy). Raises as recv."""
    import asyncio
    while True:
        try:
            return self.recv(0)
        except _ringbus.Empty:
            pass
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        descriptor = self._await_begin()
        try:
            loop.add_reader(descriptor, _wake, future)
            try:
                await future
            finally:
                loop.remove_reader(descriptor)
        finally:
            self._await_end()


def __aiter__(self):
    """`async for message in consumer`: bytes, until the end of the stream."""
    return self


async def __anext__(self):
    try:
        return await recv_async(self)
    except _ringbus.EndOfStream:
        raise StopAsyncIteration from None
