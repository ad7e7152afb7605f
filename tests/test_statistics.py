import jax
import numpy as np
import pytest

from signsal_jax import class_extrema, sharding, statistics
from tests import toys

IMAGES = np.asarray(toys.random_images(0, (8, 5, 4, 2)))
VARIABLES = toys.mlp_variables(1, 7, 40)


def expected(jacobian):
    rows = np.asarray(jacobian, np.float64).reshape(len(jacobian), 7, -1)
    signs = np.sign(rows)
    return {
        "norm": np.linalg.norm(rows, axis=2),
        "gram": rows @ rows.transpose(0, 2, 1),
        "sign_agreement": signs @ signs.transpose(0, 2, 1) / rows.shape[2],
    }


@pytest.mark.parametrize(
    ("devices", "class_devices", "class_chunk"), [(1, 1, None), (1, 1, 3), (8, 2, None), (8, 4, 1)]
)
def test_statistics_are_those_of_the_jacobian(devices, class_devices, class_chunk):
    mesh = sharding.make_mesh(jax.devices()[:devices], class_devices=class_devices)
    found = jax.jit(
        lambda variables, images: statistics.jacobian_statistics(
            toys.mlp, variables, images, mesh=mesh, class_chunk=class_chunk
        )
    )(VARIABLES, IMAGES)
    wanted = expected(toys.oracle_jacobian(toys.mlp, VARIABLES, IMAGES))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        toys.assert_close(found[name], value)


def test_only_what_is_asked_for():
    mesh = sharding.make_mesh(jax.devices()[:1])
    found = statistics.jacobian_statistics(
        toys.mlp, VARIABLES, IMAGES, mesh=mesh, statistics=["norm"]
    )
    assert set(found) == {"norm"}
    with pytest.raises(ValueError, match=r"expected one of norm, gram, sign_agreement; got 'rank'"):
        statistics.jacobian_statistics(toys.mlp, VARIABLES, IMAGES, mesh=mesh, statistics=["rank"])


def test_shares_and_rivals_are_counted_as_defined():
    jacobian = np.asarray(toys.oracle_jacobian(toys.mlp, VARIABLES, IMAGES))
    extrema = class_extrema(toys.mlp, VARIABLES, IMAGES)
    shares = np.asarray(statistics.pixel_shares(extrema))
    rivals = np.asarray(statistics.rival_pixels(extrema))
    for image, target in enumerate(np.asarray(extrema.target)):
        own = jacobian[image, target]
        others = np.delete(jacobian[image], target, axis=0)
        kept = [own > 0, own < 0, own > others.max(0), own < others.min(0)]
        np.testing.assert_allclose(shares[image], [k.any(-1).mean() for k in kept], rtol=1e-6)
        names = np.delete(np.arange(7), target)
        for row, margins in enumerate((own - others, others - own)):
            counts = np.zeros(7)
            for pixel in np.ndindex(own.shape[:2]):
                closest = margins[(slice(None), *pixel)].min(0)
                channel = closest.argmax()
                if closest[channel] > 0:
                    counts[names[margins[(slice(None), *pixel, channel)].argmin()]] += 1
            np.testing.assert_array_equal(rivals[image, row], counts)
