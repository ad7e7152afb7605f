import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from signsal_jax.study import Store, StudyError, open_study

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
    found = arrays(store.rows(chunk))
    sums = {"images": len(found["empty"]), "valid": len(found["empty"]), "correct": 1}
    store.write(chunk, found, {**sums, "logits": found["logits"].sum(0).tolist()})


@pytest.fixture
def whole(tmp_path):
    store = Store.create(tmp_path / "study", MANIFEST)
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


def test_a_commit_appears_whole_and_after_its_data(tmp_path, monkeypatch):
    store, seen = Store.create(tmp_path / "study", MANIFEST), []
    replace = Path.replace

    def renamed(source, target):
        seen.append((target.name, json.loads(source.read_text())["bytes"]))
        sizes = {
            name: (tmp_path / "study" / "arrays.zarr" / name / "c" / place).stat().st_size
            for name, place in (("logits", "1/0"), ("empty", "1"))
        }
        assert seen[-1][1] == sizes
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", renamed)
    write(store, 1)
    assert [name for name, _ in seen] == ["00000001.json"]


def test_an_unfinished_study_opens_and_does_not_merge(tmp_path):
    store = Store.create(tmp_path / "study", MANIFEST)
    write(store, 1)
    opened = open_study(tmp_path / "study")
    assert opened.committed() == [1]
    values = np.asarray(opened.arrays()["logits"])
    assert np.isnan(values[:4]).all()
    assert np.isfinite(values[4:8]).all()
    with pytest.raises(StudyError, match="2 of 3 chunks are missing, the first is 0"):
        opened.merge()


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
        Store.create(whole.root, other)
    assert Store.create(whole.root, MANIFEST).committed() == [0, 1, 2]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StudyError, match="expected a new or empty folder or a study"):
        Store.create(tmp_path, MANIFEST)
    with pytest.raises(StudyError, match="expected a folder made by signsal study"):
        open_study(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "absent"])
def test_a_damaged_chunk_costs_only_itself(whole, damage):
    file = Path(whole.root) / "arrays.zarr" / "logits" / "c" / "1" / "0"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-3])
    else:
        file.unlink()
    with pytest.raises(StudyError, match=r"c/1/0: expected \d+ bytes, got \d+. Delete (.*) and"):
        whole.merge()
    if damage == "truncated":
        with pytest.raises(ValueError, match=r"Error reading local file .*logits/c/1/0"):
            np.asarray(open_study(whole.root).arrays()["logits"])
    (Path(whole.root) / "commits" / "00000001.json").unlink()
    resumed = Store.create(whole.root, MANIFEST)
    assert resumed.committed() == [0, 2]
    write(resumed, 1)
    assert resumed.merge()["images"] == 10


def test_a_flipped_bit_is_an_error_where_it_is_read(whole):
    file = Path(whole.root) / "arrays.zarr" / "logits" / "c" / "1" / "0"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="Digest mismatch"):
        np.asarray(open_study(whole.root).arrays()["logits"])


def test_a_corrupt_manifest_is_named_and_made_anew(whole):
    path = Path(whole.root) / "manifest.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(StudyError, match=r"manifest.json: expected whole JSON.*move it away"):
        open_study(whole.root)
    path.unlink()
    with pytest.raises(StudyError, match="chunks of a study with another configuration"):
        Store.create(whole.root, {**MANIFEST, "versions": {"jax": "2"}})
    assert Store.create(whole.root, MANIFEST).committed() == [0, 1, 2]


def test_a_corrupt_or_wrong_commit_is_named(whole):
    commit = Path(whole.root) / "commits" / "00000001.json"
    content = commit.read_text()
    commit.write_text(content.replace('"start": 4', '"start": 0'))
    with pytest.raises(StudyError, match=r"expected images 4 to 8, got 0 to 8. Delete"):
        whole.merge()
    commit.write_text(content[:20])
    with pytest.raises(StudyError, match=r"00000001.json: expected whole JSON.*only this chunk"):
        whole.merge()


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
        store = Store.create(tmp_path / "study", MANIFEST)
        write(store, 0)
        ballast = tmp_path / "ballast"
        with pytest.raises(OSError, match="No space left"):
            fill(ballast)
        with pytest.raises(OSError, match=r"no space left while writing chunk 1. Free some"):
            write(store, 1)
        assert store.committed() == [0]
        ballast.unlink()
        resumed = Store.create(tmp_path / "study", MANIFEST)
        for chunk in (1, 2):
            write(resumed, chunk)
        assert resumed.merge()["images"] == 10
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
