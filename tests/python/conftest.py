# SPDX-License-Identifier: MIT
"""What the tests of the Python package share: a bus of their own, and other processes."""
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

COMMAND = os.environ["RINGBUS_COMMAND"]  # the C side
WAIT = 60  # seconds: no test asserts time, but none waits for ever


@pytest.fixture(autouse=True)
def bus(monkeypatch):
    directory = tempfile.mkdtemp(dir="/dev/shm", prefix="ringbus-python.")
    monkeypatch.setenv("RINGBUS_DIR", directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def start():
    """start(arguments...) starts a program, start(python=code, ...) a Python program; what still runs
    in the end is killed."""
    started = []

    def start(*arguments, python=None, **options):
        program = [sys.executable, "-c", python] if python else []
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **options}
        process = subprocess.Popen([*program, *map(str, arguments)], **options)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def in_child(check):
    """Runs check() in a forked child; whether nothing was raised there."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0
