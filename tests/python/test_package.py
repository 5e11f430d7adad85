# SPDX-License-Identifier: MIT
"""What the package promises of itself: stubs, docstrings, names."""
import inspect
import os
import pathlib
import subprocess
import sys

import pytest

import ringbus


def test_the_stub_says_what_there_is(tmp_path):
    """Names, parameters, which of them go by position, what may be subclassed: as mypy's stubtest has it."""
    pytest.importorskip("mypy", reason="python3-mypy is not installed")
    (tmp_path / "mypy.ini").write_text("[mypy]\ndisallow_any_generics = True\n"
                                       "[mypy-ringbus._arrays,ringbus._asyncio,ringbus._pickling]\n"
                                       "ignore_errors = True\n")  # which have no types, nor need any
    # CPython's from 3.12 on, and before for type checkers alone; CPython's alone
    (tmp_path / "allowed").write_text(r"ringbus\.(Claim|Message)\.__buffer__" "\n" r".*\.__match_args__")
    package = pathlib.Path(ringbus.__file__).parent
    checked = subprocess.run([sys.executable, "-m", "mypy.stubtest", "--concise", "--mypy-config-file",
                              "mypy.ini", "--allowlist", "allowed", "--ignore-unused-allowlist", "ringbus"],
                             cwd=tmp_path, env={**os.environ, "MYPYPATH": str(package.parent)}, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (checked.stdout, checked.returncode) == ("", 0)
    assert set(ringbus.__all__) == {name for name in dir(ringbus) if not name.startswith("_")}


def test_everything_is_explained():
    for name in ringbus.__all__:
        thing = getattr(ringbus, name)
        assert thing.__doc__, name
        if inspect.isclass(thing) and not issubclass(thing, (BaseException, tuple)):
            for member, value in vars(thing).items():
                assert member.startswith("_") or value.__doc__, f"{name}.{member}"


def test_errors_are_those_that_users_of_files_know():
    for error, builtin in ((ringbus.Error, OSError), (ringbus.Timeout, TimeoutError),
                           (ringbus.Empty, ringbus.Timeout), (ringbus.Full, ringbus.Timeout),
                           (ringbus.EndOfStream, EOFError), (ringbus.Finished, BrokenPipeError),
                           (ringbus.NotFound, FileNotFoundError), (ringbus.Exists, FileExistsError),
                           (ringbus.Denied, PermissionError), (ringbus.Forked, ChildProcessError),
                           (ringbus.TooLong, ValueError)):
        assert issubclass(error, builtin)
    for name in ringbus.__all__:
        thing = getattr(ringbus, name)
        if inspect.isclass(thing) and issubclass(thing, BaseException):
            assert issubclass(thing, ringbus.Error)
