"""Files are whole or absent, also on a full disk."""

import concurrent.futures
import errno
import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest

import signsal_jax
from signsal_jax import _files, _provenance


def test_what_is_written_is_there_and_alone(tmp_path):
    path = _files.write_text(tmp_path / "new" / "folder" / "a.txt", "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_the_temporary_file_lies_beside_and_has_the_suffix(tmp_path):
    seen = []
    _files.write_atomically(tmp_path / "figure.png", lambda temporary: seen.append(temporary))
    assert seen[0].parent == tmp_path
    assert seen[0].suffix == ".png"
    assert seen[0].name != "figure.png"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_an_error_halfway_leaves_the_old_file_whole(tmp_path, error):
    path = _files.write_text(tmp_path / "a.txt", "old")

    def write(temporary):
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise error

    with pytest.raises(type(error)):
        _files.write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_at_the_last_moment_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Where a file system that writes late says that it is full.
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        _files.write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hard_links", [True, False])
def test_of_many_writers_one_creates(tmp_path, monkeypatch, hard_links):
    def no_link(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not hard_links:
        monkeypatch.setattr(os, "link", no_link)
    path, barrier = tmp_path / "new" / "a.txt", threading.Barrier(8)

    def create(number):
        barrier.wait()
        return _files.create_text(path, str(number))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(8)))
    assert sum(created) == 1
    assert path.read_text() == str(created.index(True))
    assert list(path.parent.iterdir()) == [path]


FULL_DISK = """
    import pathlib, resource, signal, sys
    import numpy as np
    from signsal_jax import _files, report
    from signsal_jax.report import Example
    from signsal_jax.maps import METHODS

    folder = pathlib.Path(sys.argv[1])
    image = np.random.default_rng(0).random((64, 64, 3))
    example = Example(image, "noise", {method: image[..., 0] for method in METHODS})
    # Every write past 4 KiB of a file now fails, as on a full disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    for write in (
        lambda: _files.write_text(folder / "old.txt", "x" * 100_000),
        lambda: _files.write_json(folder / "new.json", list(range(100_000))),
        lambda: _files.write_atomically(folder / "new.npz", lambda file: np.savez(file, image)),
        lambda: report.maps_figure([example], folder / "new.png"),
    ):
        try:
            write()
        except OSError as error:
            print(error.strerror)
"""


def test_a_full_disk_leaves_the_old_file_whole_and_no_new_one(tmp_path):
    pytest.importorskip("resource", reason="the file size limit is a POSIX one")
    old = tmp_path / "old.txt"
    old.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.splitlines() == ["File too large"] * 4
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        _files.write_text(tmp_path / "file" / "a.txt", "text")
    assert (tmp_path / "file").read_text() == "mine"


def test_json_keeps_every_digit(tmp_path):
    value = {"third": 1 / 3, "tiny": 5e-324, "list": [0.1 + 0.2], "name": "größer", "none": None}
    path = _files.write_json(tmp_path / "a.json", value)
    assert json.loads(path.read_text()) == value
    assert path.read_text().endswith("\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_nan(tmp_path, value):
    path = _files.write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        _files.write_json(path, {"auc": [0.5, value]})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_versions_are_those_that_ran():
    import jax

    versions = _provenance.versions()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["jax"] == jax.__version__
    assert versions["signsal_jax"] == signsal_jax.__version__


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_the_mode_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = _files.write_text(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "a." + "b" * 253, "." + "c" * 254])
def test_a_name_as_long_as_the_file_system_takes(tmp_path, name):
    assert _files.write_text(tmp_path / name, "new").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == [name]
