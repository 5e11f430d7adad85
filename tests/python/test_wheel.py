# SPDX-License-Identifier: MIT
"""The package as a wheel, as pip has it made, against an installed library."""
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile


def test_a_wheel_is_made_against_an_installed_library(tmp_path):
    package = pathlib.Path(os.environ["RINGBUS_PYTHON_README"]).parent
    run = lambda *words, **options: subprocess.run(list(map(str, words)), check=True, text=True,
                                                   stdout=subprocess.PIPE, **options).stdout
    run("cmake", "--install", os.environ["RINGBUS_BUILD"], "--prefix", tmp_path / "prefix")
    shutil.copytree(package, tmp_path / "source")
    pc, = (tmp_path / "prefix").rglob("ringbus.pc")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent), "CFLAGS": "-O0 -Werror"}
    build = [sys.executable, "-c", f"import backend; print(backend.build_wheel({str(tmp_path)!r}))"]
    wheel = tmp_path / run(*build, env=environment, cwd=tmp_path / "source").strip()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        names = {name for name in archive.namelist() if name.startswith("ringbus/")}
        record = archive.read(next(n for n in archive.namelist() if n.endswith("/RECORD"))).decode()
    assert names == {"ringbus/_ringbus.abi3.so", *(f"ringbus/{path.name}" for path in
                                                   (package / "ringbus").iterdir() if path.is_file())}
    assert [line.split(",")[0] for line in record.splitlines()] == archive.namelist()
    environment["PYTHONPATH"] = str(tmp_path / "site")
    out = run(sys.executable, "-c", "import ringbus; print(ringbus.__file__); ringbus.create(None).close()",
              env=environment)
    assert out == f"{tmp_path}/site/ringbus/__init__.py\n"
    without = subprocess.run(build, cwd=tmp_path / "source", stderr=subprocess.PIPE, text=True,
                             env={**environment, "PKG_CONFIG_LIBDIR": "/nowhere", "PKG_CONFIG_PATH": ""})
    assert without.returncode != 0 and "install it first" in without.stderr
