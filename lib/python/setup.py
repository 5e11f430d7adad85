# SPDX-License-Identifier: MIT
"""The extension module, against an installed libringbus; the rest stands in pyproject.toml."""
import subprocess

from setuptools import Extension, setup


def pkg_config(*what):
    try:
        return subprocess.run(["pkg-config", *what, "ringbus"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit("setup.py: pkg-config does not find ringbus: install the library first, or set "
                         "PKG_CONFIG_PATH to the pkgconfig directory below its prefix")


library = pkg_config("--variable=libdir")
setup(
    version=pkg_config("--modversion")[0],
    ext_modules=[Extension(
        "ringbus._ringbus", ["module.c", "ring.c", "producer.c", "reader.c", "poller.c", "ndarray.c"],
        depends=["module.h"], py_limited_api=True, define_macros=[("_GNU_SOURCE", None)],
        extra_compile_args=["-std=c11", *pkg_config("--cflags")], extra_link_args=pkg_config("--libs"),
        # where it is installed, if that is not where the system looks
        runtime_library_dirs=library)],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
