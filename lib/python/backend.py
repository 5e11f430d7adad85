# SPDX-License-Identifier: MIT
"""What pip calls (PEP 517) to make a wheel of the package, against a libringbus that is installed: compiles
the extension module with the C compiler and packs it. With no more than Python's own library, so that it
works in a new virtual environment, without a network."""
import base64
import hashlib
import os
import pathlib
import shlex
import subprocess
import sysconfig
import tempfile
import zipfile

HERE = pathlib.Path(__file__).parent
SOURCES = ["module.c", "ring.c", "producer.c", "reader.c", "poller.c", "ndarray.c"]


def pkg_config(*what):
    try:
        return subprocess.run(["pkg-config", *what, "ringbus"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit("ringbus: pkg-config does not find the library: install it first, or set "
                         "PKG_CONFIG_PATH to the pkgconfig directory below its prefix") from None


def compile_module(to):
    include = sysconfig.get_path("include")
    if not os.path.exists(f"{include}/Python.h"):
        raise SystemExit(f"ringbus: there is no {include}/Python.h: install Python's headers (Debian: "
                         "python3-dev)")
    compiler, flags = (shlex.split(os.environ.get(*what)) for what in (("CC", "cc"), ("CFLAGS", "-O2")))
    library, = pkg_config("--variable=libdir")  # where it is found, if the system does not look there
    subprocess.run([*compiler, "-std=c11", "-D_GNU_SOURCE", "-fPIC", "-shared", *flags,
                    f"-I{include}", *pkg_config("--cflags"), "-o", to, *(HERE / name for name in SOURCES),
                    *pkg_config("--libs"), f"-Wl,-rpath,{library}"], check=True)


def build_wheel(directory, config_settings=None, metadata_directory=None):
    version, = pkg_config("--modversion")
    tag = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    about = f"ringbus-{version}.dist-info"
    name = f"ringbus-{version}-{tag}.whl"
    records = []
    with tempfile.TemporaryDirectory() as built, \
            zipfile.ZipFile(pathlib.Path(directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        def add(path, data):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            records.append(f"{path},sha256={digest},{len(data)}\n")
            wheel.writestr(path, data)

        module = pathlib.Path(built, "_ringbus.abi3.so")
        compile_module(module)
        for file in [module, *(HERE / "ringbus").iterdir()]:
            if file.is_file():
                add(f"ringbus/{file.name}", file.read_bytes())
        add(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: ringbus\nVersion: {version}\n"
            "Summary: A lock-free message bus in one memory-mapped file\nLicense: MIT\n"
            "Requires-Python: >=3.11\n".encode())
        add(f"{about}/WHEEL", f"Wheel-Version: 1.0\nGenerator: ringbus\nRoot-Is-Purelib: false\nTag: {tag}\n"
            .encode())
        wheel.writestr(f"{about}/RECORD", "".join([*records, f"{about}/RECORD,,\n"]))
    return name
