import fcntl
import json
import os
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from signsal_jax.study import StudyError, _manifest, _store, _writer, open_study, status_lines
from signsal_jax.study._bucket import Bucket
from signsal_jax.study._folder import LocalFolder, open_folder
from signsal_jax.study._leases import Leases
from signsal_jax.study._table import chunks_per_group
from signsal_jax.study._workers import Worker
from signsal_jax.study._writer import Writer

ARRAYS = {
    "logits": {"dtype": "float32", "dimensions": ["class"], "shape": [3]},
    "empty": {"dtype": "bool", "dimensions": [], "shape": []},
}
MANIFEST = {
    "config": {"chunk": 4, "dataset": "toys"},
    "images": 10,
    "arrays": ARRAYS,
    "names": {"class": ["a", "b", "c"]},
    "versions": {"jax": "1"},
}


def arrays(rows):
    logits = np.arange(30, dtype=np.float32).reshape(10, 3)[rows.start : rows.stop]
    return {"logits": logits, "empty": np.zeros(len(rows), bool)}


def write(store, chunk):
    found = arrays(store.layout.rows(chunk))
    sums = {"images": len(found["empty"]), "valid": len(found["empty"]), "correct": 1}
    store.write(chunk, found, {**sums, "logits": found["logits"].sum(0).tolist()})


@pytest.fixture
def whole(tmp_path):
    store = Writer(tmp_path / "study", MANIFEST)
    for chunk in (2, 0, 1):
        write(store, chunk)
    return store


def test_what_is_written_is_read_and_merged(whole):
    store = open_study(whole.root)
    everything = np.arange(30, dtype=np.float32).reshape(10, 3)
    np.testing.assert_array_equal(store.arrays()["logits"], everything)
    assert store.committed() == [0, 1, 2]
    summary = store.merge()
    assert (summary["images"], summary["correct"], summary["accuracy"]) == (10, 3, 0.3)
    assert summary["mean"]["logits"] == everything.mean(0).tolist()
    assert json.loads((store.root / "summary.json").read_text()) == summary


def test_one_that_sleeps_while_it_writes_holds_up_no_other(tmp_path):
    store = Writer(tmp_path / "study", MANIFEST)
    lock = store.root / "arrays.zarr" / "logits" / "c" / "0" / "0.__lock"
    lock.parent.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool, lock.open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        pool.submit(write, store, 0).result(timeout=60)
    assert store.committed() == [0]


def test_a_commit_appears_whole_and_after_its_data(tmp_path, monkeypatch):
    store, seen = Writer(tmp_path / "study", MANIFEST), []
    link = os.link

    def linked(source, target):
        seen.append((target.name, json.loads(source.read_text())["crc32c"]))
        ends = {
            name: (tmp_path / "study" / "arrays.zarr" / name / "c" / place).read_bytes()[-4:].hex()
            for name, place in (("logits", "1/0"), ("empty", "1"))
        }
        assert seen[-1][1] == ends
        return link(source, target)

    monkeypatch.setattr(os, "link", linked)
    write(store, 1)
    assert [name for name, _ in seen] == ["00000001.json"]


def test_an_unfinished_study_gives_what_it_has_and_does_not_merge(tmp_path):
    store = Writer(tmp_path / "study", MANIFEST)
    write(store, 1)
    opened = open_study(tmp_path / "study")
    assert opened.committed() == [1]
    assert opened.available().tolist() == [4, 5, 6, 7]
    logits = opened.arrays()["logits"]
    np.testing.assert_array_equal(logits[opened.available()], arrays(range(4, 8))["logits"])
    with pytest.raises(StudyError, match=r"group 0 \(images 0 to 3\) is not committed: run"):
        np.asarray(logits)
    with pytest.raises(StudyError, match="2 of 3 groups are missing, the first is 0"):
        opened.merge()


EVERYTHING = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.mark.parametrize(
    "index",
    [
        *(0, -1, np.int64(3), slice(None), slice(2, 9, 3), slice(None, None, -1), slice(-2, None)),
        *(slice(5, 5), [7, 0, 7], [], np.array([[9], [-10]]), np.arange(10) % 3 == 0, ..., None),
        *((0, 2), (slice(1, 9), -1), ([1, 8], [0, 2]), (..., 1), (3, ...), (None, 2), ([5], None)),
    ],
    ids=repr,
)
def test_indexing_is_that_of_numpy(whole, index):
    found = open_study(whole.root).arrays()["logits"][index]
    np.testing.assert_array_equal(found, EVERYTHING[index])
    assert np.shape(found) == np.shape(EVERYTHING[index])
    assert found.dtype == np.float32


@pytest.mark.parametrize("index", [10, -11, [0, 10], np.zeros(9, bool), (0, 3), (0, 0, 0), 1.5])
def test_an_index_that_numpy_refuses_is_refused(whole, index):
    with pytest.raises(IndexError):
        open_study(whole.root).arrays()["logits"][index]


def test_only_the_chunks_of_an_index_are_read(whole):
    (Path(whole.root) / "arrays.zarr" / "logits" / "c" / "1" / "0").unlink()
    logits = open_study(whole.root).arrays()["logits"]
    np.testing.assert_array_equal(logits[[9, 0]], EVERYTHING[[9, 0]])
    with pytest.raises(StudyError, match="c/1/0"):
        logits[3:5]


def test_the_format_is_plain_zarr(whole):
    """Opened without any of this package's knowledge but the driver's name."""
    root = Path(whole.root) / "arrays.zarr"
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/logits/"}}
    plain = tensorstore.open(spec).result()
    assert plain.domain.labels == ("image", "class")
    assert plain.chunk_layout.write_chunk.shape == (4, 3)
    assert json.loads((root / "zarr.json").read_text())["node_type"] == "group"
    zarr = pytest.importorskip("zarr", reason="zarr-python is not installed")
    group = zarr.open_group(str(root), mode="r")
    np.testing.assert_array_equal(group["logits"][:], np.asarray(plain))


def test_another_configuration_is_refused_by_field(whole):
    other = {**MANIFEST, "config": {"chunk": 4, "dataset": "other"}, "versions": {"jax": "2"}}
    with pytest.raises(StudyError, match=r"config\.dataset: 'toys' there, 'other' now; versions"):
        Writer(whole.root, other)
    assert Writer(whole.root, MANIFEST).committed() == [0, 1, 2]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StudyError, match="expected a new or empty folder or a study"):
        Writer(tmp_path, MANIFEST)
    with pytest.raises(StudyError, match="expected a folder made by signsal study"):
        open_study(tmp_path)


def chunk_file(root, chunk=1):
    return Path(root) / "arrays.zarr" / "logits" / "c" / str(chunk) / "0"


def damage(root, kind):
    file = chunk_file(root)
    content = bytearray(file.read_bytes())
    if kind == "absent":
        file.unlink()
    elif kind == "copied":
        shutil.copy(chunk_file(root, 0), file)
    elif kind == "array gone":
        shutil.rmtree(file.parents[1])
    else:
        place = {"flipped": len(content) // 2, "checksum flipped": -1}.get(kind)
        if place is None:
            content = content[:-3]
        else:
            content[place] ^= 1
        file.write_bytes(content)


@pytest.mark.parametrize(
    "kind", ["truncated", "absent", "copied", "flipped", "checksum flipped", "array gone"]
)
def test_a_damaged_chunk_is_named_and_costs_only_itself(whole, kind):
    damage(whole.root, kind)
    store = open_study(whole.root)
    named = r"logits/c/1/0: .* Delete .*commits/00000001.json and run .* only group 1 is"
    with pytest.raises(StudyError, match=named):
        store.arrays()["logits"][5]
    if kind != "array gone":
        np.testing.assert_array_equal(store.arrays()["logits"][:4], EVERYTHING[:4])
        with pytest.raises(StudyError, match=named):
            np.asarray(store.arrays()["logits"])
    np.testing.assert_array_equal(store.arrays()["empty"], np.zeros(10, bool))
    problems = store.verify()
    assert len(problems) == (3 if kind == "array gone" else 1)
    assert any("logits/c/1/0" in problem for problem in problems)
    if kind != "flipped":  # that one only a whole read can find
        with pytest.raises(StudyError, match=r"logits/c/\d/0: "):
            store.merge()
    for chunk in (0, 1, 2) if kind == "array gone" else (1,):
        (Path(whole.root) / "commits" / f"0000000{chunk}.json").unlink()
    resumed = Writer(whole.root, MANIFEST)
    for chunk in sorted({0, 1, 2} - set(resumed.committed())):
        write(resumed, chunk)
    assert resumed.merge()["images"] == 10
    assert resumed.verify() == []


def listing(root):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [root, *root.rglob("*")]
    }


@pytest.mark.parametrize("missing", [None, "arrays.zarr/logits", "arrays.zarr/logits/zarr.json"])
def test_reading_writes_nothing(whole, missing):
    whole.merge()
    root = Path(whole.root)
    if missing:
        gone = root / missing
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    before = listing(root)
    store = open_study(root)
    assert store.committed() == [0, 1, 2]
    assert store.strays() == []
    assert bool(store.verify()) == bool(missing)
    for name in ("logits", "empty"):
        if missing and name == "logits":
            with pytest.raises(StudyError, match="missing"):
                store.arrays()[name][0]
        else:
            np.asarray(store.arrays()[name])
    if not missing:
        assert store.merge()["images"] == Writer(root, MANIFEST).merge()["images"] == 10
    assert listing(root) == before


def test_a_finished_study_on_a_read_only_file_system(whole, tmp_path):
    whole.merge()
    seen = tmp_path / "mounted"
    seen.mkdir()
    mount = ["mount", "--bind", str(whole.root), str(seen)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(seen)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (seen / "x").touch()
        store = open_study(seen)
        np.testing.assert_array_equal(store.arrays()["logits"], EVERYTHING)
        assert store.verify() == []
        assert Writer(seen, MANIFEST).merge() == whole.summary()
    finally:
        subprocess.run(["umount", "-l", str(seen)], check=True)


def test_damaged_metadata_are_named_and_made_anew(whole):
    path = Path(whole.root) / "arrays.zarr" / "logits" / "zarr.json"
    path.write_text(path.read_text().replace("NaN", "0"))
    with pytest.raises(StudyError, match=r"logits/zarr.json: missing or damaged. Delete it and"):
        open_study(whole.root).arrays()["logits"][0]
    assert "logits/zarr.json" in open_study(whole.root).verify()[0]
    with pytest.raises(StudyError, match=r"logits/zarr.json: missing or damaged. Delete it and"):
        Writer(whole.root, MANIFEST)
    path.unlink()
    np.testing.assert_array_equal(Writer(whole.root, MANIFEST).arrays()["logits"], EVERYTHING)


def test_a_corrupt_manifest_is_named_and_made_anew(whole):
    path = Path(whole.root) / "manifest.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(StudyError, match=r"manifest.json: expected whole JSON.*move it away"):
        open_study(whole.root)
    path.unlink()
    with pytest.raises(StudyError, match="chunks of a study with another configuration"):
        Writer(whole.root, {**MANIFEST, "versions": {"jax": "2"}})
    assert Writer(whole.root, MANIFEST).committed() == [0, 1, 2]


@pytest.mark.parametrize(
    ("place", "content", "reason"),
    [
        (1, lambda text: text.replace('"start": 4', '"start": 0'), "damaged"),
        (1, lambda text: text.replace('"correct": 1', '"correct": 2'), "damaged"),
        (1, lambda text: text[:20], "damaged"),
        (1, lambda text: "[" * 100_000, "damaged"),
        (1, lambda text: "", "damaged"),
        (2, lambda text: text, "a copy of the commit of group 1"),
        (3, lambda text: text, "the study has only 3 groups"),
        ("0001", lambda text: text, "not the name of a commit"),
        ("backup", lambda text: text, "not the name of a commit"),
    ],
)
def test_a_file_that_is_no_commit_is_named_and_ignored(whole, place, content, reason):
    folder = Path(whole.root) / "commits"
    text = (folder / "00000001.json").read_text()
    name = f"{place:08}.json" if isinstance(place, int) else f"{place}.json"
    (folder / name).write_text(content(text))
    store = open_study(whole.root)
    assert len(store.strays()) == 1
    assert f"commits/{name}: {reason}" in store.strays()[0]
    assert store.verify() == store.strays()
    assert store.committed() == [chunk for chunk in range(3) if chunk != place]
    resumed = Writer(whole.root, MANIFEST)
    if place in (1, 2):
        with pytest.raises(StudyError, match=rf"the first is {place}.*{name}: {reason}"):
            store.merge()
        write(resumed, place)
        assert resumed.strays() == []
    assert resumed.merge()["correct"] == 3


def test_a_commit_of_another_study_is_named_and_ignored(whole, tmp_path):
    other = Writer(tmp_path / "other", {**MANIFEST, "versions": {"jax": "2"}})
    write(other, 1)
    shutil.copy(tmp_path / "other" / "commits" / "00000001.json", Path(whole.root) / "commits")
    store = open_study(whole.root)
    assert store.committed() == [0, 2]
    assert "00000001.json: of a study with another manifest" in store.strays()[0]


def test_a_changed_manifest_makes_no_data_its_own(whole):
    path = Path(whole.root) / "manifest.json"
    path.write_text(path.read_text().replace("toys", "cats"))
    store = open_study(whole.root)
    assert store.committed() == []
    assert len(store.strays()) == 4
    assert "manifest.json: no commit belongs to it" in store.strays()[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"images": 10', '"images": -1'),
        ('"images": 10', '"images": "10"'),
        ("bool", "bolo"),
        ('"chunk": 4', '"chunk": true'),
        ("arrays", "errays"),
        ('"format": 3', '"format": 4'),
    ],
)
def test_a_manifest_that_makes_no_sense_is_named(whole, old, new):
    path = Path(whole.root) / "manifest.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StudyError, match=r"manifest.json: expected"):
        open_study(whole.root)


def test_a_study_whose_manifest_is_replaced_stops(whole):
    path = Path(whole.root) / "manifest.json"
    path.write_text(path.read_text().replace("toys", "cats"))
    with pytest.raises(StudyError, match="removed or replaced while the study ran"):
        write(whole, 1)


# Whose folder it is.


def test_of_two_configurations_that_both_find_no_manifest_one_gets_the_folder(
    tmp_path, monkeypatch
):
    """The other one claims the folder between the first look and the write."""
    other = {**MANIFEST, "versions": {"jax": "2"}}
    create = LocalFolder.create

    def overtaken(folder, name, text):
        monkeypatch.setattr(LocalFolder, "create", create)
        write(Writer(folder.root, other), 0)
        create(folder, name, text)

    monkeypatch.setattr(LocalFolder, "create", overtaken)
    with pytest.raises(StudyError, match=r"versions.jax: '2' there, '1' now"):
        Writer(tmp_path / "study", MANIFEST)
    assert open_study(tmp_path / "study").manifest["versions"] == {"jax": "2"}
    assert open_study(tmp_path / "study").committed() == [0]
    assert open_study(tmp_path / "study").strays() == []


# Several chunks in one object.

GROUPED = {**MANIFEST, "config": {"chunk": 2, "dataset": "toys"}, "group": 3}


@pytest.fixture
def grouped(tmp_path):
    """Groups of images 0 to 5 and 6 to 9: the second lacks a chunk."""
    store = Writer(tmp_path / "grouped", GROUPED)
    for group in (1, 0):
        rows = store.layout.images_of(group)
        sums = {"images": len(rows), "valid": len(rows), "correct": 1}
        store.write(group, arrays(rows), sums)
    return store


def test_a_group_is_one_object_of_each_array(grouped):
    store, root = open_study(grouped.root), Path(grouped.root)
    assert (store.layout.chunks, store.layout.groups, store.committed()) == (5, 2, [0, 1])
    assert [list(store.layout.chunks_of(group)) for group in (0, 1)] == [[0, 1, 2], [3, 4]]
    files = sorted(path.name for path in (root / "arrays.zarr" / "logits" / "c").glob("*/0"))
    assert len(files) == len(list((root / "commits").iterdir())) == 2
    np.testing.assert_array_equal(store.arrays()["logits"], EVERYTHING)
    np.testing.assert_array_equal(store.arrays()["logits"][[9, 0, 4]], EVERYTHING[[9, 0, 4]])
    assert store.merge()["images"] == 10
    assert store.verify() == []


def test_shards_open_in_plain_zarr_and_xarray(grouped):
    root = str(Path(grouped.root) / "arrays.zarr")
    zarr, xarray = pytest.importorskip("zarr"), pytest.importorskip("xarray")
    logits = zarr.open_group(root, mode="r")["logits"]
    assert (logits.shards, logits.chunks) == ((6, 3), (2, 3))
    np.testing.assert_array_equal(logits[:], EVERYTHING)
    dataset = xarray.open_zarr(root, consolidated=False, chunks=None)
    assert dataset["logits"].dims == ("image", "class")
    np.testing.assert_array_equal(dataset["logits"][7], EVERYTHING[7])


@pytest.mark.parametrize("kind", ["truncated", "absent", "copied", "flipped"])
def test_a_damaged_shard_is_named(grouped, kind):
    damage(grouped.root, kind)
    store = open_study(grouped.root)
    with pytest.raises(StudyError, match=r"logits/c/1/0: .* only group 1 is computed again"):
        np.asarray(store.arrays()["logits"])
    np.testing.assert_array_equal(store.arrays()["logits"][:6], EVERYTHING[:6])
    assert len(store.verify()) == 1


def test_a_part_is_read_by_whoever_takes_the_group_over(grouped, tmp_path):
    found, record = arrays(range(2)), {"sha256": "ab", "unreadable": {"1": "torn"}}
    grouped.parts.write(0, found, record)
    kept, read = open_study(grouped.root).parts.read(0)
    assert read == record
    assert kept.keys() == found.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(kept[name], values, strict=True)
    file = Path(grouped.root) / "parts" / "00000000.npz"
    shutil.copy(file, file.with_name("00000001.npz"))
    (file.parent / "00000002.npz").write_bytes(file.read_bytes()[:-40])
    other = Writer(tmp_path / "other", {**GROUPED, "versions": {"jax": "2"}})
    (Path(other.root) / "parts").mkdir()
    shutil.copy(file, Path(other.root) / "parts")
    assert grouped.parts.kept() == {0, 1, 2}
    for parts, chunk in ((grouped.parts, 1), (grouped.parts, 2), (grouped.parts, 3)):
        assert parts.read(chunk) is None
    assert other.parts.read(0) is None
    grouped.merge()
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("chunks", "mebibytes", "group"), [(1, 1, 1), (512, 1, 1), (20_000, 1, 40), (20_000, 100, 10)]
)
def test_groups_are_some_hundred_and_fit_in_memory(chunks, mebibytes, group):
    assert chunks_per_group(chunks, mebibytes * 2**20) == group


# More images of the same data.


GROWN = {**MANIFEST, "images": 14}


def test_a_study_grows_by_what_is_new(whole):
    """Its full chunks stay; the last one, which had two images, is computed again with four."""
    whole.merge()
    before = {path: path.read_bytes() for path in Path(whole.root).glob("commits/*.json")}
    store = Writer(whole.root, GROWN)
    assert store.uncommitted() == open_study(whole.root).uncommitted() == [2, 3]
    assert store.strays() == []
    np.testing.assert_array_equal(store.arrays()["logits"][:8], EVERYTHING[:8])
    with pytest.raises(StudyError, match=r"group 2 \(images 8 to 11\) is not committed"):
        store.arrays()["logits"][9]
    more = np.arange(42, dtype=np.float32).reshape(14, 3)
    for chunk in (2, 3):
        rows = store.layout.rows(chunk)
        found = {"logits": more[rows.start : rows.stop], "empty": np.zeros(len(rows), bool)}
        store.write(chunk, found, {"images": len(rows), "valid": len(rows), "correct": 0})
    grown = open_study(whole.root)
    np.testing.assert_array_equal(grown.arrays()["logits"], more)
    assert grown.merge()["images"] == 14
    assert grown.verify() == []
    after = {path: path.read_bytes() for path in before}
    assert [path.name for path in before if after[path] != before[path]] == ["00000002.json"]


def test_a_study_does_not_shrink(whole):
    with pytest.raises(StudyError, match=r"of 10 images, got 9: a study can grow, but not shrink"):
        Writer(whole.root, {**MANIFEST, "images": 9})
    assert Writer(whole.root, MANIFEST).committed() == [0, 1, 2]


def test_a_worker_of_before_stops_and_leaves_what_is_new(whole):
    before = Writer(whole.root, MANIFEST)
    store = Writer(whole.root, GROWN)
    message = "extended from 10 to 14 images while this worker ran. Start it again with --images 14"
    for work in (lambda: write(before, 2), lambda: write(before, 0), before.merge):
        with pytest.raises(StudyError, match=message):
            work()
    rows = store.layout.rows(2)
    found = {"logits": np.ones((4, 3), np.float32), "empty": np.zeros(4, bool)}
    sums = {"images": len(rows), "valid": len(rows), "correct": 0}
    assert store.write(2, found, sums)
    # It looked just before the study grew, and commits just after: the larger commit stays.
    assert not before._commits.write(2, {"sums": sums, "finished": 1.0})
    assert open_study(whole.root).committed() == [0, 1, 2]


def test_of_two_that_extend_a_study_at_once_the_larger_wins(whole, monkeypatch):
    replace = LocalFolder.replace

    def overtaken(folder, *arguments):
        monkeypatch.setattr(LocalFolder, "replace", replace)
        Writer(folder.root, {**MANIFEST, "images": 20})
        return replace(folder, *arguments)

    monkeypatch.setattr(LocalFolder, "replace", overtaken)
    with pytest.raises(StudyError, match="of 20 images, got 14"):
        Writer(whole.root, GROWN)
    monkeypatch.setattr(LocalFolder, "replace", replace)
    store = Writer(whole.root, {**MANIFEST, "images": 21})
    assert (store.images, store.layout.chunks, store.committed()) == (21, 6, [0, 1])


# Where it lies.

NAMES = [
    *("[ab]", "a*", "a?", "back\\slash", "a b", "größer", "日本", "100%", "a%20b", "#1", "a#b?c=d"),
    *("new\nline", "~", "$HOME", "{x}", "x.__lock", "..x", "-", "'\"", "n" * 255, "ü" * 127),
    os.fsdecode(b"\xff\xfe not UTF-8"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_folder_name_works(tmp_path, name):
    root = tmp_path / name
    store = Writer(root, MANIFEST)
    # Neighbors that a pattern or an escape would take for it.
    for neighbor in ("a", "ab", "b", "a b"):
        if neighbor != name:
            Writer(tmp_path / neighbor, {**MANIFEST, "versions": {"jax": "2"}})
    for chunk in range(3):
        write(store, chunk)
    assert sorted(os.listdir(tmp_path)) == sorted({name, "a", "ab", "b", "a b"})
    opened = open_study(os.fspath(root))
    np.testing.assert_array_equal(opened.arrays()["logits"], EVERYTHING)
    assert opened.merge()["images"] == 10
    assert sorted(os.listdir(root)) == ["arrays.zarr", "commits", "manifest.json", "summary.json"]
    assert sorted(os.listdir(root / "arrays.zarr")) == ["empty", "logits", "zarr.json"]
    assert open_study(tmp_path / ("b" if name == "a" else "a")).committed() == []
    str(opened.folder).encode()


def test_relative_paths_are_those_of_the_start(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    store = Writer("../study", MANIFEST)
    write(store, 0)
    monkeypatch.chdir(tmp_path / "there")
    write(store, 1)
    (tmp_path / "link").symlink_to("study")
    for path in ("../study", "./../there/../study", tmp_path / "link", Path("..") / "study"):
        opened = open_study(path)
        assert opened.committed() == [0, 1]
        np.testing.assert_array_equal(opened.arrays()["logits"][:8], EVERYTHING[:8])
    assert sorted(os.listdir(tmp_path)) == ["here", "link", "study", "there"]
    assert os.listdir(tmp_path / "here") == os.listdir(tmp_path / "there") == []


def test_what_cannot_be_a_folder_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    deep = tmp_path.joinpath(*["d" * 200] * 18)
    for path, message in ((tmp_path / "file", "got the file"), (deep, "at most 3500 bytes")):
        with pytest.raises(StudyError, match=message):
            Writer(path, MANIFEST)
    assert os.listdir(tmp_path) == ["file"]


def test_a_bucket_holds_what_a_folder_does(tmp_path, monkeypatch):
    """The bucket's code over TensorStore's driver for files, which has conditional writes too."""
    base = {"driver": "file", "path": f"{tmp_path}/bucket/study/"}
    for module in (_store, _writer):
        monkeypatch.setattr(module, "open_folder", lambda root: Bucket(root, base))
    store = Writer("gs://bucket/study", MANIFEST)
    for chunk in range(2):
        write(store, chunk)
    assert open_study("gs://bucket/study").committed() == [0, 1]
    with pytest.raises(StudyError, match="is not committed"):
        np.asarray(open_study("gs://bucket/study").arrays()["logits"])
    write(store, 2)
    opened = open_study("gs://bucket/study")
    np.testing.assert_array_equal(opened.arrays()["logits"], EVERYTHING)
    assert opened.merge()["images"] == 10
    assert opened.verify() == []
    with pytest.raises(StudyError, match=r"gs://bucket/study holds a study with another"):
        Writer("gs://bucket/study", {**MANIFEST, "versions": {"jax": "2"}})
    chunk_file(tmp_path / "bucket" / "study").unlink()
    with pytest.raises(StudyError, match=r"gs://.*logits/c/1/0: the file is missing"):
        np.asarray(opened.arrays()["logits"])


def test_a_bucket_creates_for_one_of_two(tmp_path):
    bucket = Bucket("gs://b", {"driver": "file", "path": f"{tmp_path}/b/"})
    read = bucket._objects.read

    class Overtaken:
        """Between the look and the write, another process writes."""

        def read(self, name, **options):
            found = read(name, **options)
            found.result()
            Bucket("gs://b", bucket._base).write(name, "other")
            return found

        def __getattr__(self, name):
            return getattr(objects, name)

    objects, bucket._objects = bucket._objects, Overtaken()
    bucket.create("manifest.json", "mine")
    assert (tmp_path / "b" / "manifest.json").read_text() == "other"


def test_addresses_of_buckets():
    spec = open_folder("gs://name/a/[b] c/").kvstore("arrays.zarr/x")
    assert spec == {"driver": "gcs", "bucket": "name", "path": "a/[b] c/arrays.zarr/x/"}
    assert open_folder("gs://name").kvstore("x")["path"] == "x/"


def fill(path):
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)


def test_a_full_disk_is_named_and_loses_nothing(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        store = Writer(tmp_path / "study", MANIFEST)
        write(store, 0)
        ballast = tmp_path / "ballast"
        with pytest.raises(OSError, match="No space left"):
            fill(ballast)
        with pytest.raises(OSError, match=r"no space left while writing group 1. Free some"):
            write(store, 1)
        assert store.committed() == [0]
        ballast.unlink()
        resumed = Writer(tmp_path / "study", MANIFEST)
        for chunk in (1, 2):
            write(resumed, chunk)
        assert resumed.merge()["images"] == 10
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_status_says_who_works_on_what(tmp_path, monkeypatch):
    store = Writer(tmp_path / "study", MANIFEST)
    write(store, 1)
    with pytest.raises(OSError, match="full"), Worker(store.folder):
        raise OSError("the disk is full")
    with (
        Worker(store.folder) as worker,
        Leases(store.folder, worker, store.uncommitted, store.is_committed) as leases,
    ):
        assert list(leases.claims(lambda: False)) == [0, 2]
        lines = status_lines(open_study(store.root))
        assert lines[0] == "1 of 3 chunks, 4 of 10 images (40.0%)"
        place = f"worker pid {os.getpid()} on {socket.gethostname()}: "
        assert sorted(lines[1:]) == [
            f"{place}at work, on groups 0, 2",
            f"{place}failed with OSError: the disk is full",
        ]
        monkeypatch.setattr(_manifest, "GONE_SECONDS", -1)
        assert f"{place}no sign for 0 minutes, if the clocks agree, on groups 0, 2" in status_lines(
            store
        )
    for chunk in (0, 2):
        write(store, chunk)
    store.merge()
    assert len(status_lines(store)) == 2  # what the dead left is gone


def test_a_chunk_is_committed_once(tmp_path):
    """Two workers computed it, the second on another kind of device, say."""
    store = Writer(tmp_path / "study", MANIFEST)
    found = arrays(store.layout.rows(0))
    sums = {"images": 4, "valid": 4, "correct": 1, "logits": [0.0, 0.0, 0.0]}
    assert store.write(0, found, sums)
    commit = (store.root / "commits" / "00000000.json").read_bytes()
    assert not store.write(0, found, {**sums, "correct": 2})
    assert (store.root / "commits" / "00000000.json").read_bytes() == commit
    (store.root / "commits" / "00000000.json").write_text("{")
    assert Writer(store.root, MANIFEST).write(0, found, sums)
    assert open_study(store.root).committed() == [0]
