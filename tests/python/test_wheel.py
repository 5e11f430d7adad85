# SPDX-License-Identifier: MIT
"""The package as a project of its own, against an installed library."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("setuptools")


def test_the_extension_builds_against_an_installed_library(tmp_path):
    package = pathlib.Path(os.environ["RINGBUS_PYTHON_README"]).parent
    run = lambda *words, **options: subprocess.run(list(map(str, words)), check=True, text=True,
                                                   stdout=subprocess.PIPE, **options).stdout
    run("cmake", "--install", os.environ["RINGBUS_BUILD"], "--prefix", tmp_path / "prefix")
    shutil.copytree(package, tmp_path / "source")
    pc, = (tmp_path / "prefix").rglob("ringbus.pc")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent), "CFLAGS": "-O0 -Werror"}
    run(sys.executable, "setup.py", "-q", "build", "--build-lib", tmp_path / "built", env=environment,
        cwd=tmp_path / "source")
    environment["PYTHONPATH"] = str(tmp_path / "built")
    out = run(sys.executable, "-c", "import ringbus; print(ringbus.__file__); ringbus.create(None).close()",
              env=environment)
    assert out == f"{tmp_path}/built/ringbus/__init__.py\n"
    without = subprocess.run([sys.executable, "setup.py", "-q", "build"], cwd=tmp_path / "source",
                             env={**environment, "PKG_CONFIG_LIBDIR": "/nowhere", "PKG_CONFIG_PATH": ""},
                             stderr=subprocess.PIPE, text=True)
    assert without.returncode != 0 and "install the library first" in without.stderr
