"""The signed Jacobian and the streamed extrema against `jacrev`, and how they compose."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import PartitionSpec

import signsal_jax
from signsal_jax._vma import varying_over
from signsal_jax.gradients import _chunks, _running
from tests import toys

# batch, height, width, channels, classes: gray and color, both orientations, a batch of one.
SHAPES = [(3, 9, 6, 3, 2), (1, 6, 9, 1, 3), (2, 8, 7, 3, 10), (2, 5, 6, 1, 1000)]
FUNCTIONS = [signsal_jax.signed_jacobian, signsal_jax.class_extrema]


@pytest.fixture
def as_on_an_accelerator(monkeypatch):
    """The order of classes that CPU replaces by its own."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, default, **_: default(*args))


@pytest.fixture(params=["cpu", "accelerator"])
def every_order(request):
    """Both orders of classes, on the CPU of the test."""
    if request.param == "accelerator":
        request.getfixturevalue("as_on_an_accelerator")


def setup_cnn(shape):
    *image_shape, num_classes = shape
    variables = toys.cnn_variables(0, num_classes, image_shape[3])
    return variables, toys.random_images(1, tuple(image_shape))


def setup_mlp(num_classes, batch=2, dtype=jnp.float32):
    variables, images = (
        toys.mlp_variables(0, num_classes, 12),
        toys.random_images(1, (batch, 2, 3, 2)),
    )
    return jax.tree.map(lambda leaf: leaf.astype(dtype), (variables, images))


def jitted(function, apply_fn, **options):
    return jax.jit(functools.partial(function, apply_fn, **options))


def extrema_of(jacobian, target):
    """The highest and lowest gradient of the other classes, from the whole Jacobian."""
    others = [np.delete(image, t, axis=0) for image, t in zip(jacobian, target, strict=True)]
    return np.stack([o.max(0) for o in others]), np.stack([o.min(0) for o in others])


def assert_extrema(extrema, jacobian, target, tolerance=1e-5):
    highest, lowest = extrema_of(jacobian, target)
    np.testing.assert_array_equal(extrema.target, target)
    toys.assert_close(extrema.gradient, jacobian[np.arange(len(target)), target], tolerance)
    toys.assert_close(extrema.highest, highest, tolerance)
    toys.assert_close(extrema.lowest, lowest, tolerance)
    # A near tie may name either class, so look at the gradient of the class that is named.
    for values, classes in (
        (extrema.highest, np.asarray(extrema.highest_class)),
        (extrema.lowest, np.asarray(extrema.lowest_class)),
    ):
        assert (classes != np.asarray(target)[:, None, None, None]).all()
        named = np.take_along_axis(jacobian, classes[:, None], axis=1)[:, 0]
        toys.assert_close(values, named, tolerance)


@pytest.mark.usefixtures("every_order")
@pytest.mark.parametrize("shape", SHAPES)
def test_jacobian_and_extrema_are_the_oracles(shape):
    variables, images = setup_cnn(shape)
    expected_logits = toys.cnn(variables, images)
    expected = np.asarray(toys.oracle_jacobian(toys.cnn, variables, images))

    logits, jacobian = jitted(signsal_jax.signed_jacobian, toys.cnn)(variables, images)
    toys.assert_close(logits, expected_logits)
    toys.assert_close(jacobian, expected)

    extrema = jitted(signsal_jax.class_extrema, toys.cnn, class_chunk=64)(variables, images)
    toys.assert_close(extrema.logits, expected_logits)
    assert_extrema(extrema, expected, np.asarray(expected_logits).argmax(1))


def test_same_outside_jit():
    variables, images = setup_mlp(3)
    expected = np.asarray(toys.oracle_jacobian(toys.mlp, variables, images))
    _, jacobian = signsal_jax.signed_jacobian(toys.mlp, variables, np.asarray(images))
    toys.assert_close(jacobian, expected)
    extrema = signsal_jax.class_extrema(toys.mlp, variables, images, target=[0, 2])
    assert_extrema(extrema, expected, [0, 2])


@pytest.mark.usefixtures("every_order")
def test_extrema_classes_are_exact_and_ties_go_to_the_lowest_index():
    weights = jnp.asarray([[1, 5, 0], [2, 2, 0], [2, 1, 0], [-1, 1, 0]], jnp.float32)
    variables = (weights[:, None, :, None], jnp.zeros(4))
    images = jnp.ones((2, 1, 3, 1))
    extrema = signsal_jax.class_extrema(toys.linear, variables, images, target=[0, 2])
    # The others of class 0, column by column: (2 2 -1), (2 1 1), (0 0 0); those of class 2:
    # (1 2 -1), (5 2 1), (0 0 0).
    assert extrema.highest[:, 0, :, 0].tolist() == [[2, 2, 0], [2, 5, 0]]
    assert extrema.highest_class[:, 0, :, 0].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert extrema.lowest[:, 0, :, 0].tolist() == [[-1, 1, 0], [-1, 1, 0]]
    assert extrema.lowest_class[:, 0, :, 0].tolist() == [[3, 2, 1], [3, 3, 0]]


@pytest.mark.parametrize("chunk", [1, 4, 20])
def test_the_first_nan_is_the_extremum_for_any_chunk(chunk):
    """Of the update alone: in a network, a NaN weight reaches the gradients of all classes."""
    gradients = jnp.ones((20, 1, 1, 2, 1)).at[jnp.asarray([3, 7, 19]), 0, 0, 1].set(jnp.nan)
    extrema = _running.no_extrema(gradients[0])
    for start in range(0, 20, chunk):
        classes = jnp.arange(start, start + chunk, dtype=jnp.int32)
        extrema = _running.with_classes(
            extrema, classes, gradients[start : start + chunk], jnp.asarray([0]), 20
        )
    for values, classes in (
        (extrema.highest, extrema.highest_class),
        (extrema.lowest, extrema.lowest_class),
    ):
        np.testing.assert_array_equal(values.ravel(), [1, np.nan])
        assert classes.ravel().tolist() == [1, 3]


@pytest.mark.usefixtures("every_order")
@pytest.mark.parametrize("chunk", [1, 3, 20, None])
def test_a_tie_has_the_derivative_of_the_lowest_index_for_any_chunk(chunk):
    def highest(weights):
        variables = (weights, jnp.zeros(20))
        return signsal_jax.class_extrema(
            toys.linear, variables, jnp.ones((1, 1, 1, 1)), target=[0], class_chunk=chunk
        ).highest.sum()

    weights = jnp.ones((20, 1, 1, 1)).at[jnp.asarray([5, 8])].set(2.0)
    assert jax.grad(highest)(weights).ravel().tolist() == [float(k == 5) for k in range(20)]


def test_extrema_of_softmax_are_the_oracles():
    variables, images = setup_mlp(4)

    def scores(variables, images):
        return jax.nn.softmax(toys.mlp(variables, images))

    extrema = jitted(signsal_jax.class_extrema, toys.mlp, target=1, output="softmax")(
        variables, images
    )
    toys.assert_close(extrema.logits, toys.mlp(variables, images))
    assert_extrema(extrema, np.asarray(toys.oracle_jacobian(scores, variables, images)), [1, 1])


@pytest.mark.usefixtures("every_order")
@pytest.mark.parametrize(
    ("num_classes", "chunk"),
    [(6, 1), (6, 3), (6, 4), (6, 100), (41, 20), (41, 17), (41, None)],
)
def test_any_chunk_is_unchunked(num_classes, chunk):
    variables, images = setup_mlp(num_classes)

    @functools.partial(jax.jit, static_argnums=0)
    def both(class_chunk):
        return [f(toys.mlp, variables, images, class_chunk=class_chunk) for f in FUNCTIONS]

    (logits, jacobian), extrema = both(chunk)
    expected = toys.oracle_jacobian(toys.mlp, variables, images)
    toys.assert_close(jacobian, expected, 2e-6)
    assert_extrema(extrema, np.asarray(expected), np.asarray(logits).argmax(1), 2e-6)


@pytest.mark.usefixtures("every_order")
@pytest.mark.parametrize(("convert", "chunk"), [(list, None), (np.asarray, 2), (jnp.asarray, 2)])
def test_classes_pick_rows_of_the_jacobian(convert, chunk):
    variables, images = setup_mlp(10)
    whole = toys.oracle_jacobian(toys.mlp, variables, images)
    _, shared = signsal_jax.signed_jacobian(
        toys.mlp, variables, images, classes=convert([7, 0, 7]), class_chunk=chunk
    )
    toys.assert_close(shared, whole[:, jnp.asarray([7, 0, 7])])
    own = convert([[9, 1, 4], [0, 3, 2]])
    _, picked = signsal_jax.signed_jacobian(
        toys.mlp, variables, images, classes=own, class_chunk=chunk
    )
    toys.assert_close(picked[0], whole[0, jnp.asarray([9, 1, 4])])
    toys.assert_close(picked[1], whole[1, jnp.asarray([0, 3, 2])])


@pytest.mark.usefixtures("every_order")
def test_class_out_of_range_inside_jit_gives_zeros():
    variables, images = setup_mlp(4)
    _, jacobian = jitted(signsal_jax.signed_jacobian, toys.mlp)(
        variables, images, classes=jnp.asarray([4, 1, -1])
    )
    assert jacobian.any((0, 2, 3, 4)).tolist() == [False, True, False]


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_exactly_one_forward_and_no_retrace(function, chunk):
    variables, images = setup_mlp(5)
    apply_fn, counts = toys.counted(toys.mlp)
    step = jitted(function, apply_fn, class_chunk=chunk)
    # The choice between scores and features looks at the number of classes first.
    traces = 2 if function is signsal_jax.class_extrema else 1
    for call, scale in enumerate((1.0, 0.5, 0.25), 1):
        jax.block_until_ready(step(variables, images * scale))
        jax.effects_barrier()
        assert counts == [traces, call]


@pytest.mark.usefixtures("x64")
def test_jacobian_is_the_numerical_derivative():
    variables, images = setup_mlp(3, dtype=jnp.float64)
    _, jacobian = signsal_jax.signed_jacobian(toys.mlp, variables, images, class_chunk=2)
    assert jacobian.dtype == jnp.float64
    step = 1e-5
    for place in np.ndindex(*images.shape[1:]):
        shift = np.zeros(images.shape)
        shift[(slice(None), *place)] = step
        difference = toys.mlp(variables, images + shift) - toys.mlp(variables, images - shift)
        found = jacobian[(slice(None), slice(None), *place)]
        np.testing.assert_allclose(found, difference / (2 * step), atol=1e-9)


@pytest.mark.usefixtures("x64")
def test_extrema_are_numerically_differentiable_twice():
    variables, images = setup_mlp(3, batch=1, dtype=jnp.float64)
    rng = np.random.default_rng(0)
    direction, other = (jnp.asarray(rng.standard_normal(images.shape)) for _ in range(2))
    step = 1e-5

    def loss(images):
        extrema = signsal_jax.class_extrema(toys.mlp, variables, images, target=0, class_chunk=1)
        return jnp.tanh(extrema.gradient - extrema.highest + 2 * extrema.lowest).sum()

    @jax.jit
    def values(images):
        """The loss, its derivative along one direction, and that one's along the other."""

        def slope(images):
            value, gradient = jax.value_and_grad(loss)(images)
            return jnp.vdot(gradient, direction), value

        (first, value), curvature = jax.value_and_grad(slope, has_aux=True)(images)
        return value, first, jnp.vdot(curvature, other)

    def numerical(index, along):
        above, below = values(images + step * along), values(images - step * along)
        return (above[index] - below[index]) / (2 * step)

    _, first, second = values(images)
    assert abs(first) > 0.01
    assert abs(second) > 0.01
    np.testing.assert_allclose(first, numerical(0, direction), rtol=1e-6)
    np.testing.assert_allclose(second, numerical(1, other), rtol=1e-6)


def test_second_derivative_in_closed_form():
    weights = toys.random_images(0, (3, 2, 4, 1))
    images = toys.random_images(1, (2, 2, 4, 1))

    def loss(images):
        return (signsal_jax.signed_jacobian(toys.quadratic, weights, images)[1] ** 2).sum() / 2

    # J_c = w_c x, so the loss is sum_c w_c² x² / 2.
    curvature = (weights**2).sum(0)[None]
    toys.assert_close(jax.jit(jax.grad(loss))(images), curvature * images)
    second = jax.jit(jax.grad(lambda x: jax.grad(loss)(x).sum()))(images)
    toys.assert_close(second, jnp.broadcast_to(curvature, images.shape))


def test_jacobian_penalty_has_the_oracles_gradient_in_the_weights():
    variables, images = setup_mlp(4)

    def penalty(variables):
        return (signsal_jax.signed_jacobian(toys.mlp, variables, images)[1] ** 2).sum()

    def oracle(variables):
        return (toys.oracle_jacobian(toys.mlp, variables, images) ** 2).sum()

    found, expected = jax.jit(jax.grad(penalty))(variables), jax.grad(oracle)(variables)
    jax.tree.map(toys.assert_close, found, expected)


@pytest.mark.usefixtures("every_order")
def test_vmap_over_an_ensemble():
    _, images = setup_mlp(4)
    members = [toys.mlp_variables(seed, 4, 12) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    extrema = functools.partial(
        signsal_jax.class_extrema, toys.mlp, images=images, target=2, class_chunk=2
    )
    together = jax.jit(jax.vmap(lambda variables: extrema(variables)))(stacked)
    for index, member in enumerate(members):
        jacobian = np.asarray(toys.oracle_jacobian(toys.mlp, member, images))
        assert_extrema(jax.tree.map(lambda leaf: leaf[index], together), jacobian, [2, 2])  # noqa: B023


@pytest.mark.usefixtures("every_order")
def test_shard_map_over_devices():
    variables, images = setup_mlp(5, batch=16)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    data, replicated = PartitionSpec("data"), PartitionSpec()

    def both(variables, images):
        return [f(toys.mlp, variables, images, class_chunk=3) for f in FUNCTIONS]

    sharded = jax.shard_map(both, mesh=mesh, in_specs=(replicated, data), out_specs=data)
    (logits, jacobian), extrema = jax.jit(sharded)(variables, images)
    assert len(jacobian.sharding.device_set) == 8
    expected = np.asarray(toys.oracle_jacobian(toys.mlp, variables, images))
    toys.assert_close(jacobian, expected)
    assert_extrema(extrema, expected, np.asarray(logits).argmax(1))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_different_classifiers_on_the_same_images_inside_shard_map(function):
    """Their images must be said to differ, or the gradients of all devices would be summed."""
    _, images = setup_mlp(4)
    members = [toys.mlp_variables(seed, 4, 12) for seed in range(8)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    mesh = jax.make_mesh((8,), ("member",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = PartitionSpec("member"), PartitionSpec()

    def explain(mark, variables, images):
        one = jax.tree.map(lambda leaf: leaf[0], variables)
        found = function(toys.mlp, one, mark(images))
        return (found[1] if isinstance(found, tuple) and len(found) == 2 else found.highest)[None]

    def sharded(mark):
        mapped = jax.shard_map(
            functools.partial(explain, mark), mesh=mesh, in_specs=(split, whole), out_specs=split
        )
        return jax.jit(mapped)(stacked, images)

    with pytest.raises(ValueError, match="images: expected to differ between devices along member"):
        sharded(lambda images: images)
    found = sharded(lambda images: varying_over(images, "member"))
    for index, member in enumerate(members):
        toys.assert_close(
            found[index], explain(lambda x: x, jax.tree.map(lambda v: v[None], member), images)[0]
        )


def test_different_classes_of_the_same_images_inside_shard_map():
    variables, images = setup_mlp(8)
    mesh = jax.make_mesh((8,), ("class",), axis_types=(jax.sharding.AxisType.Auto,))
    whole = PartitionSpec()
    ways = (
        (lambda v, x, c: signsal_jax.signed_jacobian(toys.mlp, v, x, classes=c)[1], "classes"),
        (lambda v, x, c: signsal_jax.class_extrema(toys.mlp, v, x, target=c[0]).highest, "target"),
    )
    for function, name in ways:
        mapped = jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(whole, whole, PartitionSpec("class")),
            out_specs=PartitionSpec(None, "class"),
        )
        with pytest.raises(ValueError, match=f"differ between devices along class like the {name}"):
            jax.jit(mapped)(variables, images, jnp.arange(8))


def test_pooling_over_devices_inside_shard_map():
    """Logits are the same on all devices, the images of each another part."""
    variables = toys.mlp_variables(0, 4, 12)
    images = toys.random_images(1, (2, 16, 3, 2))
    mesh = jax.make_mesh((8,), ("space",), axis_types=(jax.sharding.AxisType.Auto,))

    def pooled(variables, images):
        return jax.lax.psum(toys.mlp(variables, images), "space")

    def both(variables, images):
        jacobian = signsal_jax.signed_jacobian(pooled, variables, images)[1]
        return jacobian, signsal_jax.class_extrema(pooled, variables, images, target=0).highest

    by_height = PartitionSpec(None, None, "space"), PartitionSpec(None, "space")
    sharded = jax.shard_map(
        both, mesh=mesh, in_specs=(PartitionSpec(), by_height[1]), out_specs=by_height
    )
    jacobian, highest = jax.jit(sharded)(variables, images)

    def whole(variables, images):
        return sum(toys.mlp(variables, part) for part in jnp.split(images, 8, axis=1))

    expected = toys.oracle_jacobian(whole, variables, images)
    toys.assert_close(jacobian, expected)
    toys.assert_close(highest, expected[:, 1:].max(1))


def test_an_explicit_mesh_is_an_error_that_says_what_to_do():
    variables, images = setup_mlp(4, batch=8)
    explicit = (jax.sharding.AxisType.Explicit,)
    with jax.set_mesh(jax.make_mesh((8,), ("data",), axis_types=explicit)):
        images = jax.device_put(images, PartitionSpec("data"))
        for function in FUNCTIONS:
            with pytest.raises(ValueError, match="images: expected a mesh whose axes are Auto"):
                jitted(function, toys.mlp)(variables, images)


@pytest.mark.usefixtures("every_order")
@pytest.mark.parametrize("budget", [1, 4 * 5 * 7 * 6 * 4, 2**30])
def test_automatic_chunk_gives_the_same(monkeypatch, budget):
    monkeypatch.setattr(_chunks, "AUTO_BYTES", budget)
    variables, images = setup_mlp(23)
    expected = np.asarray(toys.oracle_jacobian(toys.mlp, variables, images))
    logits, jacobian = jitted(signsal_jax.signed_jacobian, toys.mlp, class_chunk="auto")(
        variables, images
    )
    toys.assert_close(jacobian, expected, 2e-6)
    extrema = jitted(signsal_jax.class_extrema, toys.mlp, class_chunk="auto")(variables, images)
    assert_extrema(extrema, expected, np.asarray(logits).argmax(1), 2e-6)


@pytest.mark.usefixtures("as_on_an_accelerator")
def test_automatic_chunk_bounds_memory(monkeypatch):
    """Twice the budget, since the compiler holds more than two arrays a class here and there."""
    variables = toys.mlp_variables(0, 400, 48 * 48 * 3)
    images = toys.random_images(1, (2, 48, 48, 3))

    def temporary_bytes(budget):
        monkeypatch.setattr(_chunks, "AUTO_BYTES", budget)
        step = jitted(signsal_jax.class_extrema, toys.mlp, class_chunk="auto")
        return step.lower(variables, images).compile().memory_analysis().temp_size_in_bytes

    image_bytes = images.size * 4
    alone = temporary_bytes(1)
    for classes in (10, 40):
        budget = 2 * classes * image_bytes
        # Older JAX holds one more image.
        most = alone + 2 * budget + 2 * image_bytes
        assert classes * image_bytes < temporary_bytes(budget) < most


def test_an_unknown_chunk_name():
    with pytest.raises(TypeError, match="class_chunk: expected None, auto or a positive"):
        signsal_jax.signed_jacobian(toys.mlp, *setup_mlp(3), class_chunk="largest")


@pytest.mark.usefixtures("as_on_an_accelerator")
def test_streamed_memory_does_not_depend_on_the_number_of_classes():
    def temporary_bytes(num_classes, class_chunk):
        variables = toys.mlp_variables(0, num_classes, 48 * 48 * 3)
        images = toys.random_images(1, (2, 48, 48, 3))
        step = jitted(
            signsal_jax.class_extrema, toys.mlp, class_chunk=class_chunk, through="scores"
        )
        return step.lower(variables, images).compile().memory_analysis().temp_size_in_bytes

    streamed_50, streamed_500 = temporary_bytes(50, 10), temporary_bytes(500, 10)
    assert streamed_500 < 1.05 * streamed_50
    # The measurement does see classes: all at once, they weigh at least as much as the Jacobian.
    assert temporary_bytes(500, None) > 500 * 2 * 48 * 48 * 3 * 4


def test_cpu_streams_in_the_memory_of_two_classes():
    def temporary_bytes(num_classes):
        variables = toys.mlp_variables(0, num_classes, 48 * 48 * 3)
        images = toys.random_images(1, (2, 48, 48, 3))
        step = jitted(signsal_jax.class_extrema, toys.mlp, through="scores")
        return step.lower(variables, images).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(500) < 1.05 * temporary_bytes(50)
    assert temporary_bytes(500) < 20 * 2 * 48 * 48 * 3 * 4


def test_forward_over_reverse_is_the_oracles():
    """`jax.jacfwd` and `jax.hessian`, of which the latter is forward over reverse over reverse."""
    variables, images = setup_mlp(3, batch=1)

    def found(images):
        jacobian = signsal_jax.signed_jacobian(toys.mlp, variables, images)[1]
        extrema = signsal_jax.class_extrema(toys.mlp, variables, images, target=0)
        maps = signsal_jax.saliency_maps(
            toys.mlp, variables, images, target=0, methods=["positive"], normalize=False
        ).maps
        return jacobian, extrema.gradient - extrema.highest * extrema.lowest, maps["positive"]

    def oracle(images):
        jacobian = toys.oracle_jacobian(toys.mlp, variables, images)
        own, others = jacobian[:, 0], jacobian[:, 1:]
        return jacobian, own - others.max(1) * others.min(1), jax.nn.relu(own).max(-1)

    def loss(function):
        return lambda images: sum((values**2).sum() for values in function(images))

    derivatives = [jax.jit(jax.jacfwd(f))(images) for f in (found, oracle)]
    jax.tree.map(toys.assert_close, *derivatives)
    toys.assert_close(*(jax.jit(jax.hessian(loss(f)))(images) for f in (found, oracle)))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "uint32"])
def test_indices_of_any_type_name_one_class(dtype):
    weights = toys.random_images(0, (1000, 1, 2, 1))
    variables, images = (weights, jnp.zeros(1000)), jnp.ones((1, 1, 2, 1))
    index = jnp.asarray([5], dtype)
    _, jacobian = signsal_jax.signed_jacobian(toys.linear, variables, images, classes=index)
    toys.assert_close(jacobian[:, 0], weights[5:6])
    saliency = signsal_jax.saliency_maps(
        toys.linear, variables, images, target=index, methods=["positive"], normalize=False
    )
    assert saliency.target.tolist() == [5]
    toys.assert_close(saliency.maps["positive"], weights[5:6, :, :, 0])


def test_an_index_beyond_int32_names_no_class():
    variables, images = setup_mlp(4)
    classes = jnp.asarray([2**32 - 1, 1], jnp.uint32)
    _, jacobian = signsal_jax.signed_jacobian(toys.mlp, variables, images, classes=classes)
    assert jacobian.any((0, 2, 3, 4)).tolist() == [False, True]
    with jax.enable_x64(True):
        wide = jnp.asarray([2**32 + 1, -(2**32) + 1, 1])
        _, jacobian = signsal_jax.signed_jacobian(toys.mlp, variables, images, classes=wide)
        assert jacobian.any((0, 2, 3, 4)).tolist() == [False, False, True]


def test_automatic_chunk_of_a_symbolic_batch_exports():
    variables, images = setup_mlp(4, batch=3)
    extrema = jax.jit(
        lambda x: signsal_jax.class_extrema(toys.mlp, variables, x, class_chunk="auto")
    )
    (batch,) = export.symbolic_shape("b")
    symbolic = jax.ShapeDtypeStruct((batch, *images.shape[1:]), images.dtype)
    exported = export.export(extrema)(symbolic)
    jacobian = np.asarray(toys.oracle_jacobian(toys.mlp, variables, images))
    target = np.asarray(toys.mlp(variables, images)).argmax(1)
    assert_extrema(type(extrema(images))(*exported.call(images)), jacobian, target)
