# SPDX-License-Identifier: MIT
"""What the package's README shows: its programs, each a process of its own, and each line of its table."""
import os
import pathlib
import re
import struct
import sys

import pytest

import ringbus
from conftest import WAIT

numpy = pytest.importorskip("numpy")
README = pathlib.Path(os.environ["RINGBUS_PYTHON_README"]).read_text()
PROGRAMS = {block.split()[1]: block for block in re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)}
ROWS = [[cell.strip() for cell in line.split(" | ")] for line in
        README.split("## From mmap")[1].split("\n\n## ")[0].splitlines() if line.startswith("| ")][1:]


@pytest.fixture
def run(start, tmp_path):
    """run(program, ...): one of the README's, as a file of its own."""
    def run(name, *arguments):
        (tmp_path / name).write_text(PROGRAMS[name])
        return start(sys.executable, tmp_path / name, *arguments, stdin=None)

    return run


@pytest.fixture
def bmp(tmp_path):
    """(path, pixels) of a real BMP file, of an odd width: its rows are padded, the last comes first."""
    pixels = numpy.random.default_rng(1).integers(0, 256, (35, 47, 3), "u1")
    row = (47 * 3 + 3) // 4 * 4
    rows = numpy.zeros((35, row), "u1")
    rows[:, :47 * 3] = pixels.reshape(35, 47 * 3)
    data = rows[::-1].tobytes()
    path = tmp_path / "image.bmp"
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) +
                     struct.pack("<IiiHHIIiiII", 40, 47, 35, 1, 24, 0, len(data), 2835, 2835, 0, 0) + data)
    return path, pixels


def test_every_program_is_tested():
    here = pathlib.Path(__file__).read_text()
    assert len(PROGRAMS) == 10
    assert all(f'"{name}"' in here for name in PROGRAMS)


def test_text_goes_from_one_program_to_another(run, bus):
    for _ in range(2):  # and so again
        assert run("hello_writer.py").wait(WAIT) == 0
        assert run("hello_reader.py").communicate(timeout=WAIT)[0] == "hello\n"
        assert os.listdir(bus) == []


def test_many_rings_are_merged(run):
    for name in "abc":
        with ringbus.create(name) as ring, ring.producer() as producer:
            producer.send_batch([b"%s %d" % (name.encode(), i) for i in range(3)])
            producer.finish()
    program = run("merge.py", *"abc")
    assert sorted(program.communicate(timeout=WAIT)[0].splitlines()) == [
        f"{name} {i}" for name in "abc" for i in range(3)] and program.returncode == 0


@pytest.mark.parametrize("kind", ["bmp", "array"])
def test_an_image_goes_from_one_program_to_another(run, bmp, tmp_path, kind):
    path, pixels = bmp
    if kind == "array":
        path = tmp_path / "image.npy"
        numpy.save(path, pixels[:, ::-1])  # not contiguous
        pixels = pixels[:, ::-1]
    with ringbus.create("images") as ring:
        reader = run(f"{kind}_reader.py", tmp_path / "out.npy")
        ring.wait_for("consumer", timeout=WAIT)
        writer = run({"bmp": "bmp_writer.py", "array": "array_writer.py"}[kind], path)
        assert (writer.wait(WAIT), reader.wait(WAIT)) == (0, 0)
    assert (numpy.load(tmp_path / "out.npy") == pixels).all()
    assert {"bmp_reader.py", "array_reader.py"} <= set(PROGRAMS)


def test_opencv_reads_and_writes(run, bmp, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="python3-opencv is not installed")
    path, pixels = bmp
    with ringbus.create("images") as ring:
        reader = run("cv_reader.py", tmp_path / "out.bmp")
        ring.wait_for("consumer", timeout=WAIT)
        assert run("cv_writer.py", path).wait(WAIT) == 0
        assert reader.wait(WAIT) == 0
    assert (cv2.imread(str(tmp_path / "out.bmp")) == pixels).all()


def test_a_viewer_sees_the_newest_frame(run):
    with ringbus.create("images") as ring, ring.producer() as producer:
        for i in range(3):
            producer.send_array(numpy.zeros((i, 2)))
        assert run("viewer.py").communicate(timeout=WAIT)[0] == "(2, 2) 2\n"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("| `"))
def test_each_line_of_the_table(row, bus, monkeypatch):
    monkeypatch.chdir(bus)
    with ringbus.create("images") as ring:
        producer, consumer = ring.producer(), ring.consumer()
        producer.send_batch([b"hello", b"x marks", b"again"])
        names = {"ringbus": ringbus, "numpy": numpy, "struct": struct, "ring": ring, "producer": producer,
                 "consumer": consumer, "data": b"data"}
        snippets = re.findall(r"`([^`]+)`", row[1])
        for code in snippets:
            exec(code, names)
        expected = {"`m.write(data)`": b"data", "`m.write_byte(7)`": b"\x07", '`m[0:5] = b"hello"`': b"hello",
                    "`m.move(to, from, n)`": b"hello"}.get(row[0].lstrip("| "))
        if expected is not None:
            with ring.observer() as observer:
                assert observer.recv_batch()[-1] == expected
    assert snippets or row[0].lstrip("| ") in ("flags: MAP_SHARED", "offset")


def test_the_table_has_what_mmap_has():
    import mmap
    table = " ".join(row[0] for row in ROWS)
    for name in dir(mmap.mmap):
        if not name.startswith("_") and name not in ("madvise", "closed", "rfind"):
            assert name in table, name
