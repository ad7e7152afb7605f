"""Own data: folders of pictures, npz files, sequences; their classes among a network's."""

import dataclasses
import io
import os

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from signsal_jax import data, models, sharding
from signsal_jax.data.photos import read_image
from signsal_jax.study import StudyConfig, open_study, run_study

SHAPE = (8, 8, 3)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def color(value, mode="RGB", size=(12, 10)):
    return Image.new(mode, size, value)


@pytest.fixture
def pets(tmp_path):
    """Two classes of pictures of many kinds, one of them broken, and files that do not count."""
    root = tmp_path / "pets"
    save(root / "cat" / "a.jpg", color("red"), quality=95)
    save(root / "cat" / "b.txt", color("red"), format="PNG")  # a wrong name
    save(root / "cat" / "c.jpg", color((0, 255, 255, 0), "CMYK"), quality=95)  # red
    (root / "cat" / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    halves = Image.fromarray(np.repeat(np.uint8([[[0] * 3], [[255] * 3]]), 6, 0).repeat(12, 1))
    save(root / "dog" / "e.jpg", halves, quality=95, exif=exif)
    save(root / "dog" / "f.png", Image.fromarray(np.full((9, 9), 65535, np.uint16)))
    save(root / "dog" / "deep" / "g.gif", color("white"))
    (root / "dog" / ".hidden").write_text("passed over")
    (root / "README").write_text("beside the classes")
    return root


def loaded(path, **arguments):
    return data.load(str(path), "test", image_size=SHAPE[:2], **arguments)


def test_a_folder_with_a_subfolder_per_class(pets):
    dataset = loaded(pets)
    assert (dataset.name, dataset.split, len(dataset)) == ("pets", "all", 7)
    assert (dataset.class_names, dataset.image_shape) == (("cat", "dog"), SHAPE)
    (rows,) = data.read_ahead(dataset, [range(7)])
    assert rows.labels.tolist() == [0, 0, 0, -1, 1, 1, 1]  # in the order of the names
    # Wrong name, CMYK, EXIF orientation, 16 bits, GIF: all are read, the broken one is named.
    assert rows.readable.tolist() == [True, True, True, False, True, True, True]
    (problem,) = rows.problems
    assert problem.startswith(os.path.join("cat", "d.png"))
    np.testing.assert_allclose(rows.images[:3, 4, 4], [[1, 0, 0]] * 3, atol=0.02)
    # Black above white, turned by a quarter: black is on the right.
    assert rows.images[4, :, 1].min() > 0.9
    assert rows.images[4, :, -2].max() < 0.1
    assert (rows.images[5:] == 1).all()


def test_pictures_of_a_folder_are_read_as_the_network_expects_them(pets):
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    path = save(pets / "cat" / "a.png", Image.fromarray(noise))
    photos = {"crop": 0.875, "interpolation": "bicubic"}
    image, _ = loaded(pets, photos=photos)[1]
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(data.to_float(image), read_image(path, SHAPE, **photos))
    assert loaded(pets, channels=1)[0][0].shape == (8, 8, 1)


def test_a_folder_without_classes_has_no_labels(tmp_path):
    for name in ("b.png", "a.png"):
        save(tmp_path / "photos" / name, color("white"))
    dataset = loaded(tmp_path / "photos")
    assert (dataset.class_names, dataset.labelled, len(dataset)) == ((), False, 2)
    assert dataset[0][1] == dataset[1][1] == -1
    assert data.match_classes(dataset, ["cat", "dog"]) is dataset


def test_the_fingerprint_of_a_folder_notices_a_touched_file_and_another_crop(pets):
    one = loaded(pets).fingerprint
    assert one["files"] == 7
    assert loaded(pets).fingerprint == one
    assert loaded(pets, photos={"crop": 0.5}).fingerprint != one
    os.utime(pets / "cat" / "a.jpg", (1, 1))
    assert loaded(pets).fingerprint != one


def test_paths_that_hold_no_data_say_so(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nothing: no such file or folder"):
        loaded(tmp_path / "nothing")
    with pytest.raises(ValueError, match="expected pictures, got none"):
        loaded(tmp_path)
    with pytest.raises(ValueError, match=r"many sizes: give one with --image-size"):
        data.load(str(tmp_path), "test")
    with pytest.raises(ValueError, match=r"split: .* has one split, test; got 'train'"):
        data.load(str(tmp_path), "train", image_size=(8, 8))


def test_a_prepared_set_goes_before_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photos" / "a.png", color("white"))
    assert len(loaded("photos")) == len(loaded("./photos")) == 1
    (tmp_path / "prepared" / "photos").mkdir(parents=True)
    with pytest.raises(ValueError, match="expected mnist5k, cifar10"):
        loaded("photos", data_dir=tmp_path / "prepared")


# Through a study.


def brightness(variables, images):
    """Three classes, one per color: the brighter, the likelier."""
    return jnp.square(images).sum((1, 2)) * variables


COLORS = models.Model(brightness, jnp.ones(()), ("cat", "fox", "dog"), SHAPE, {})


def study(dataset, out, model=COLORS, **fields):
    fields = {"store": ("logits", "norm"), "chunk": 2, **fields}
    config = StudyConfig(dataset=dataset.name, **fields)
    summary = run_study(config, model, [dataset], str(out), mesh=sharding.make_mesh())
    return summary, open_study(str(out))


def test_a_folder_goes_through_a_study_without_its_broken_picture(pets, tmp_path):
    summary, store = study(loaded(pets), tmp_path / "study")
    # Red is a cat's color; white and gray fall to the first of equals, which is wrong for a dog.
    assert (summary["images"], summary["valid"], summary["accuracy"]) == (7, 6, 0.5)
    assert store.arrays()["label"][:].tolist() == [0, 0, 0, -1, 2, 2, 2]
    assert store.arrays()["valid"][:].tolist() == [True, True, True, False, True, True, True]
    (number,) = store.unreadable()
    assert (number, store.unreadable()[number].partition(":")[0]) == (3, "cat/d.png")
    (sound,) = data.read_ahead(loaded(pets), [range(7)])
    valid = sound.readable
    norms = np.linalg.norm((2 * sound.images).reshape(7, -1, 3), axis=1)  # of each class's gradient
    assert np.isfinite(summary["mean"]["norm"]).all()
    np.testing.assert_allclose(summary["mean"]["norm"], norms[valid].mean(0), rtol=1e-5)
    assert store.commits()[0]["read"]["sha256"] == (
        next(data.read_ahead(loaded(pets), [range(2)])).sha256
    )


def test_a_folder_without_labels_has_no_accuracy(tmp_path):
    save(tmp_path / "photos" / "a.png", color("white"))
    dataset = loaded(tmp_path / "photos")
    summary, _ = study(dataset, tmp_path / "study")
    assert (summary["images"], summary["valid"], summary["accuracy"]) == (1, 1, None)
    with pytest.raises(ValueError, match=r"target: .*photos has no labels"):
        study(dataset, tmp_path / "other", target="label")
    assert not (tmp_path / "other").exists()


def test_a_study_of_classes_that_are_not_the_networks_is_refused_at_once(pets, tmp_path):
    model = COLORS._replace(class_names=("cat", "fox", "dogs"))
    with pytest.raises(ValueError, match=r"1 of 2 are not: 'dog' \(similar: 'dogs'\)"):
        study(loaded(pets), tmp_path / "study", model)
    with pytest.raises(ValueError, match="expected 3 channels like the network, got 1"):
        study(loaded(pets, channels=1), tmp_path / "study")
    assert not (tmp_path / "study").exists()


# npz files.


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_npz_of_images_and_labels(dtype, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3))
    stored = images.astype(np.uint8) if dtype == np.uint8 else images / 255
    path = npz(tmp_path / "own.npz", images=stored, labels=[0, 1, 1, 0], class_names=["a", "b"])
    dataset = loaded(path)
    assert (dataset.name, dataset.class_names, dataset.image_shape) == ("own", ("a", "b"), SHAPE)
    (rows,) = data.read_ahead(dataset, [range(4)])
    np.testing.assert_allclose(rows.images, images / 255, atol=1e-7)
    assert rows.labels.tolist() == [0, 1, 1, 0]
    assert dataset.fingerprint["kind"] == "arrays"
    np.testing.assert_array_equal(
        data.load(str(path), "test", image_size=(4, 4))[0][0],
        data.resize(dataset[0][0], (4, 4)),
    )


def test_npz_without_labels_or_names(tmp_path):
    images = np.zeros((3, 8, 8), np.uint8)
    dataset = loaded(npz(tmp_path / "a.npz", images=images))
    assert (dataset.labelled, dataset.image_shape, dataset[0][1]) == (False, (8, 8, 1), -1)
    dataset = loaded(npz(tmp_path / "b.npz", images=images, labels=[0, 2, 1]))
    # The labels are then indices of the network's classes.
    matched = data.match_classes(dataset, ["ant", "bee", "cat", "dog"])
    assert [matched[row][1] for row in range(3)] == [0, 2, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((1, 2, 2))}, "expected the keys images and labels, got x"),
        ({"images": np.zeros((2, 2))}, r"expected images \[h, w, c\]"),
        ({"images": np.zeros((1, 2, 2), int)}, "expected uint8 or floating images, got int64"),
        ({"images": np.full((1, 2, 2), 255.0)}, r"in \[0, 1\], got 255.0 to 255.0 .*divide by 255"),
        ({"images": np.zeros((2, 2, 2)), "labels": [1]}, "expected 2 integer labels"),
        ({"images": np.zeros((1, 2, 2)), "labels": [0.5]}, "expected 1 integer labels, got float"),
        (
            {"images": np.zeros((1, 2, 2)), "labels": [2], "class_names": ["a", "b"]},
            r"expected labels in \[0, 1\], got 2 to 2",
        ),
        ({"images": np.array([None])}, "expected a readable npz file"),
    ],
)
def test_npz_files_that_do_not_fit(arrays, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        loaded(npz(tmp_path / "own.npz", **arrays))


def test_a_damaged_npz_file_is_named(tmp_path):
    file = io.BytesIO()
    np.savez_compressed(file, images=np.zeros((4, 8, 8), np.uint8))
    content = file.getvalue()
    for damaged in (content[:-30], content[:60] + b"\xff" * 9 + content[69:], b""):
        (tmp_path / "torn.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"torn.npz: expected a readable npz file"):
            loaded(tmp_path / "torn.npz")


# Sequences.


def test_a_sequence_of_arrays_and_pictures_of_many_sizes():
    white = np.full((6, 4, 3), 255, np.uint8)
    elements = [(white, 1), (color("white"), 0), (np.ones((3, 5, 3)), 1)]
    dataset = data.from_sequence(elements, class_names=["a", "b"])
    assert (dataset.image_shape, len(dataset)) == ((6, 4, 3), 3)
    (rows,) = data.read_ahead(dataset, [range(3)])
    assert rows.labels.tolist() == [1, 0, 1]
    assert (rows.images == 1).all()
    assert data.from_sequence(elements, image_size=(2, 2)).image_shape == (2, 2, 3)
    assert data.from_sequence([image for image, _ in elements])[2][1] == -1


def test_elements_that_are_no_images_cost_themselves_only():
    class Elements:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            if index == 1:
                raise OSError("disk on fire")
            shapes = {2: (2, 2), 3: (2, 2, 3, 1)}
            return np.zeros(shapes.get(index, (2, 2, 3)), np.uint8)

    (rows,) = data.read_ahead(data.from_sequence(Elements(), name="mine"), [range(5)])
    assert rows.readable.tolist() == [True, False, False, False, True]
    assert rows.problems[0] == "mine[1]: disk on fire"
    assert "3 channels like the first, got 1" in rows.problems[1]
    with pytest.raises(ValueError, match=r"mine\[0\]: expected images"):
        data.from_sequence([np.zeros(3)], name="mine")
    with pytest.raises(ValueError, match="at least one image"):
        data.from_sequence([])


def test_sequences_are_asked_for_one_element_at_a_time():
    class Fragile:
        def __init__(self):
            self.inside = 0

        def __len__(self):
            return 40

        def __getitem__(self, index):
            self.inside += 1
            os.sched_yield()
            assert self.inside == 1
            self.inside -= 1
            return np.full((4, 4, 1), index, np.uint8)

    dataset = data.from_sequence(Fragile())
    (rows,) = data.read_ahead(dataset, [range(40)])
    np.testing.assert_allclose(rows.images[:, 0, 0, 0] * 255, np.arange(40), rtol=1e-6)
    assert dataset.fingerprint["length"] == 40


# Classes.

IMAGENET = models.pretrained._class_names(1000)


def named(*class_names):
    count = len(class_names)
    source = data.Arrays(np.zeros((count, *SHAPE), np.uint8), np.arange(count))
    return data.Dataset("own", "all", class_names, SHAPE, source)


def matched(class_names, network):
    dataset = data.match_classes(named(*class_names), network)
    assert dataset.class_names == tuple(network)
    return [dataset[row][1] for row in range(len(dataset))]


def test_wordnet_ids_are_those_of_the_networks_classes():
    names = data.wordnet_names()
    assert list(names) == sorted(names)  # ImageNet's order
    assert tuple(names.values()) == IMAGENET
    # As published: https://github.com/fastai/imagenette.
    imagenette = {
        "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player",
        "n03000684": "chain saw", "n03028079": "church", "n03394916": "French horn",
        "n03417042": "garbage truck", "n03425413": "gas pump", "n03445777": "golf ball",
        "n03888257": "parachute",
    }  # fmt: skip
    assert {key: names[key] for key in imagenette} == imagenette


@pytest.mark.parametrize(
    ("class_names", "network", "expected"),
    [
        (("dog", "cat"), ("cat", "cow", "dog"), [2, 0]),
        (("Guinea_Pig", "polar-bear"), ("polar bear", "guinea pig"), [1, 0]),
        (("n03888257", "n01440764"), IMAGENET, [701, 0]),
        (("tench", "n02102040-springer"), IMAGENET, [0, 217]),
        (("golf ball",), ("n01440764", "n03445777"), [1]),
        (("0", "3"), ("a", "b", "c", "d"), [0, 3]),
        (("cat", "dog"), ("0", "1"), [0, 1]),
    ],
)
def test_classes_are_matched_by_name_id_or_number(class_names, network, expected):
    assert matched(class_names, network) == expected


def test_classes_that_do_not_match_are_listed():
    with pytest.raises(ValueError, match=r"own: .*network's 3 classes.* 2 of 3 are not") as raised:
        matched(("dog", "elefant", "cow"), ("dog", "elephant", "dog house"))
    assert "'elefant' (similar: 'elephant'), 'cow'" in str(raised.value)
    with pytest.raises(ValueError, match=r"'dog' \(several of this name: 0, 1\)"):
        matched(("dog",), ("dog", "Dog"))
    with pytest.raises(ValueError, match=r"expected 3 classes like the network.*got 2"):
        matched(("dog", "cow"), ("0", "1", "2"))
    with pytest.raises(ValueError, match=r"15 of 15 are not.*and 5 more"):
        matched([f"thing {letter}" for letter in "abcdefghijklmno"], ("dog", "cow"))


def test_relabelled_data_is_the_same_data_with_other_labels(pets):
    dataset = loaded(pets)
    relabelled = data.match_classes(dataset, ("fox", "dog", "cat"))
    (rows,) = data.read_ahead(relabelled, [range(7)])
    assert rows.labels.tolist() == [2, 2, 2, -1, 1, 1, 1]
    assert relabelled.fingerprint == {**dataset.fingerprint, "classes": [2, 1]}
    assert dataclasses.replace(relabelled, source=dataset.source, class_names=("cat", "dog")) == (
        dataset
    )


def test_display_names():
    assert data.display_name("n03888257") == "parachute"
    assert data.display_name("n00000000") == "n00000000"
    assert data.display_name("nothing") == "nothing"
