"""Results in the forms of other tools, read back by those tools."""

import jax
import numpy as np
import pytest

import signsal_jax
from signsal_jax import bridges
from tests import toys

CLASSES = 4
SHAPE = (3, 6, 5, 2)


@pytest.fixture(scope="module")
def result():
    variables, images = toys.mlp_variables(0, CLASSES, 60), toys.random_images(1, SHAPE)
    explain = jax.jit(lambda v, x: signsal_jax.saliency_maps(toys.mlp, v, x, target=2))
    # The second image is not valid.
    broken = images.at[1, 0, 0, 0].set(np.nan)
    return explain(variables, broken), broken


def test_channels_first():
    images = np.asarray(toys.random_images(1, SHAPE))
    assert (bridges.channels_first(images)[1, 0] == images[1, ..., 0]).all()
    assert bridges.channels_first(images[..., 0]).shape == (3, 1, 6, 5)
    with pytest.raises(ValueError, match=r"expected maps .* got \(3, 6\)"):
        bridges.channels_first(images[:, :, 0, 0])


def test_to_quantus(result):
    saliency, images = result
    batches = bridges.to_quantus(saliency, images, "active")
    assert {name: array.shape for name, array in batches.items()} == {
        "x_batch": (2, 2, 6, 5),
        "y_batch": (2,),
        "a_batch": (2, 1, 6, 5),
    }
    assert np.isfinite(batches["a_batch"]).all()
    assert (batches["y_batch"] == 2).all()
    np.testing.assert_array_equal(batches["a_batch"][1, 0], saliency.maps["active"][2])
    with pytest.raises(ValueError, match=r"method: expected one of vanilla, .*, got 'best'"):
        bridges.to_quantus(saliency, images, "best")
    with pytest.raises(ValueError, match="images: expected 3 as in the result, got 2"):
        bridges.to_quantus(saliency, images[:2], "active")


def gini(values):
    """By definition: mean absolute difference over twice the mean."""
    values = np.ravel(values).astype(float)
    return np.abs(values[:, None] - values).mean() / (2 * values.mean())


def test_a_metric_of_quantus(result):
    quantus = pytest.importorskip("quantus", reason="needs quantus, which needs OpenCV")
    batches = bridges.to_quantus(*result, "vanilla")
    scores = quantus.Sparseness(disable_warnings=True)(model=None, **batches)
    # Quantus' estimate is that of n - 1 degrees of freedom.
    expected = [gini(one) for one in batches["a_batch"]]
    np.testing.assert_allclose(scores, expected, rtol=0.05)


def test_to_torch():
    torch = pytest.importorskip("torch", reason="needs the extra bench")
    images = np.asarray(toys.random_images(1, SHAPE))
    tensor = bridges.to_torch(images)
    assert tensor.shape == (3, 2, 6, 5)
    assert tensor.dtype == torch.float32


def test_to_xarray(result):
    saliency, _ = result
    data = bridges.to_xarray(saliency, list("abcd"))
    assert dict(data.sizes) == {
        **{"image": 3, "class": 4, "kind": 5, "row": 6, "column": 5, "compared": 2}
    }
    for method, values in saliency.maps.items():
        np.testing.assert_array_equal(data["map"].sel(kind=method), values)
    runner_up = data["runner_up"].sel(compared="inactive")
    np.testing.assert_array_equal(runner_up, saliency.runner_up["inactive"])
    assert data["valid"].values.tolist() == [True, False, True]
    with pytest.raises(ValueError, match="class_names: expected 4, got 3"):
        bridges.to_xarray(saliency, list("abc"))


def test_the_layout_of_virelay(result, tmp_path):
    h5py = pytest.importorskip("h5py")
    saliency, images = result
    attributions = toys.random_images(3, SHAPE)
    path = bridges.write_virelay(
        tmp_path / "maps.h5", attributions, saliency.logits, saliency.target, index=[4, 0, 7]
    )
    with h5py.File(path) as file:
        assert set(file) == {"attribution", "prediction", "label", "index"}
        found = np.moveaxis(file["attribution"][:], 1, -1)
        np.testing.assert_array_equal(found, attributions)
        assert file["label"][:].tolist() == [[0, 0, 1, 0]] * 3
        assert file["index"][:].tolist() == [4, 0, 7]
        assert file["prediction"].shape == (3, 4)
    inputs = bridges.write_virelay_images(tmp_path / "images.h5", images, [1, 2, 3])
    with h5py.File(inputs) as file:
        assert file["data"].shape == (3, 2, 6, 5)
        assert file["label"][:].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"expected as many of each, got .*'label': 2"):
        bridges.write_virelay_images(path, images, [1, 2])
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["images.h5", "maps.h5"]
