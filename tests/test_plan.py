"""The planner. What needs the TPU compiler skips without libtpu; all else runs on any machine."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from signsal_jax import cli
from signsal_jax.cli.plan import plan_lines
from signsal_jax.plan import _compile, _plan as plan
from signsal_jax.plan._chips import CHIPS
from signsal_jax.plan._fleet import stored_objects
from signsal_jax.plan._hlo_cost import Cost
from signsal_jax.study import StudyConfig

ROOT = Path(__file__).parents[1]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="compiles for a TPU: needs libtpu, pip install 'signsal_jax[plan]'",
)


# Estimates.


@pytest.mark.parametrize("name", CHIPS)
def test_the_table_of_chips(name):
    chip = CHIPS[name]
    assert 16 <= chip.hbm_bytes / 1e9 <= 100
    assert 100 < chip.bf16_flops / 1e12 < 1200
    assert chip.source.endswith(f"/{name}")


def test_time_is_passes_over_what_the_chip_is_assumed_to_reach():
    cost = Cost(10**12, 6 * 10**12, {})
    assert plan.step_seconds(cost, CHIPS["v5e"], 0.5) == pytest.approx(6 / (197 * 0.5))
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match=r"utilization: expected a share in \(0, 1\]"):
            plan.step_seconds(cost, CHIPS["v5e"], share)


def workload(store=("maps", "logits"), class_chunk=2, **fields):
    config = StudyConfig("", store=store, class_chunk=class_chunk)
    given = {"topology": "v5e:4x4", "model": "cnn", "classes": 4, "image_size": 3} | fields
    return plan.Workload(config=config, **given)


def test_storage_is_that_of_the_arrays():
    found = plan.storage_bytes(workload(("maps", "logits", "norm"), images=1000, image_size=10))
    # Five maps in float16; logits, norms; label, predicted, target, valid, and which are empty.
    assert found == {
        "maps": 1000 * 5 * 100 * 2,
        "statistics": 1000 * (2 * 4 * 4 + 3 * 4 + 1 + 5),
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": 0}, "images: expected at least 1, got 0"),
        ({"batch_per_device": 0}, "batch_per_device: expected at least 1, got 0"),
        ({"batch_per_device": 3, "class_devices": 2}, "expected a multiple of class_devices, 2"),
    ],
)
def test_a_workload_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        workload(**fields)


@pytest.mark.parametrize("fixed", [0, 50, -50])
def test_the_search_ends_at_the_largest_that_fits(fixed):
    """Memory a line, below and above the one through the origin."""
    tried = []

    def needs(value):
        tried.append(value)
        return 10 * value + fixed

    found = plan.largest_fitting(needs, 8, 80 + fixed, limit=10**6, available=1000, tries=4)
    assert found == (1000 - fixed) // 10
    assert len(tried) <= 4
    assert plan.largest_fitting(needs, 8, 80 + fixed, limit=20, available=1000, tries=4) == 20


def test_the_search_survives_what_does_not_compile():
    found = plan.largest_fitting(
        lambda value: value if value <= 40 else None, 8, 8, limit=64, available=100, tries=6
    )
    assert 8 < found <= 40


def test_hours_of_preempted_workers_are_those_of_a_simulation():
    fleet = {"workers": 5, "preemptions": 0.8, "restart": 0.25}
    expected = plan.expected_hours(12, 0.5, **fleet)
    rng = np.random.default_rng(0)
    # Of a worker: times until its next preemption, until a chunk is finished in one go.
    lifetimes = rng.exponential(1 / fleet["preemptions"], (20_000, 60))
    fails = np.cumsum(lifetimes >= 0.5, axis=1) == 0
    assert not fails[:, -1].any()
    each = (fails * (lifetimes + fleet["restart"])).sum(1) + 0.5
    assert expected == pytest.approx(3 * each.mean(), rel=0.02)
    assert plan.expected_hours(12, 0.5, workers=5, preemptions=0.0, restart=9.0) == 1.5


@pytest.mark.parametrize(
    ("fleet", "message"),
    [
        ({"workers": 0}, "workers: expected at least 1, got 0"),
        ({"preemptions": -1.0}, "preemptions: expected a number of at least 0, got -1.0"),
        ({"restart": float("nan")}, "restart: expected a number of at least 0, got nan"),
        ({"preemptions": 1e6}, "preemptions: expected at most some per chunk of 2 hours"),
    ],
)
def test_a_fleet_that_cannot_be(fleet, message):
    with pytest.raises(ValueError, match=message):
        plan.expected_hours(1, 2.0, **{"workers": 1, "preemptions": 0.0, "restart": 0.0, **fleet})


# A plan, for this machine's devices in place of a pod's.


class Linear(nnx.Module):
    def __init__(self, num_classes, pixels):
        self.kernel = nnx.Param(jnp.zeros((pixels, num_classes)))

    def __call__(self, images):
        return images.reshape(len(images), -1) @ self.kernel[...]


@pytest.fixture
def linear(monkeypatch):
    """A network whose products are known: 27 pixels to every class."""
    monkeypatch.setattr(
        _compile, "create_backbone", lambda _, classes, in_features: Linear(classes, 27)
    )


def local_chips(devices, **changes):
    return lambda _: (CHIPS["v5e"]._replace(**changes), jax.devices()[:devices])


def test_a_plan_counts_the_study_step(linear, monkeypatch):
    plans = {}
    for devices in (1, 2, 8):
        monkeypatch.setattr(plan, "topology_devices", local_chips(devices))
        plans[devices] = plan.make_plan(workload(images=1001), utilization=0.5, compilations=1)
    # One forward and four pullbacks of eight images, each one product with the weights.
    flops = (1 + 4) * 2 * 8 * 27 * 4
    for devices, found in plans.items():
        assert found["flops_per_chip_and_step"] == flops
        assert found["flops_per_image"] == flops / 8
        assert found["collectives_per_step"] == {}
        time = found["time"]
        steps = -(-1001 // (8 * devices))
        assert time["chip_hours"] * 3600 == pytest.approx(
            steps * devices * 6 * flops / 197e12 / 0.5, rel=1e-12, abs=0
        )
        assert time["hours"] * devices == pytest.approx(time["chip_hours"])
        memory = found["memory_bytes_per_chip"]
        assert memory["arguments"] >= 4 * (27 * 4 + 8 * 27 + 8)
        assert memory["total"] == sum(size for name, size in memory.items() if name != "total")
    assert plans[1]["largest_that_fit"] is None


def test_classes_over_chips_exchange_images_not_jacobians(linear, monkeypatch):
    monkeypatch.setattr(plan, "topology_devices", local_chips(8))
    found = plan.make_plan(workload(class_devices=2), utilization=1.0, compilations=1)
    assert found["flops_per_chip_and_step"] == (1 + 2) * 2 * 8 * 27 * 4
    assert set(found["collectives_per_step"]) == {"all-reduce"}
    # A gradient of each of eight images; several may travel as one.
    assert found["collectives_per_step"]["all-reduce"]["largest_bytes"] <= 8 * (8 * 27 * 4)


class Narrow(nnx.Module):
    """Two features of 27 pixels, and classes of these."""

    def __init__(self, num_classes):
        self.body, self.head = nnx.Param(jnp.zeros((27, 2))), nnx.Param(jnp.zeros((2, num_classes)))

    def __call__(self, images):
        return jnp.tanh(images.reshape(len(images), -1) @ self.body[...]) @ self.head[...]


@pytest.mark.parametrize("class_devices", [1, 2])
def test_a_plan_through_the_features_is_bounded_by_the_width(monkeypatch, class_devices):
    """Two pullbacks of the body and one product, of which devices along `class` share the pixels.

    Of the features of an image they exchange two gradients, and never those of the classes.
    """
    monkeypatch.setattr(
        _compile, "create_backbone", lambda _, classes, in_features: Narrow(classes)
    )
    monkeypatch.setattr(plan, "topology_devices", local_chips(8))
    settings = {"classes": 600, "class_devices": class_devices, "images": 1000}
    work = workload(("logits", "shares", "gram"), **settings)
    work = dataclasses.replace(work, config=dataclasses.replace(work.config, through="features"))
    found = plan.make_plan(work, utilization=1.0, compilations=1, workers=2, preemptions=0.1)
    assert found["through"] == {"way": "features", "width": 2}
    product = 2 * 8 * 2 * 600 * 27 / class_devices
    # Padding of pixels for two devices, and of classes to whole blocks.
    assert product <= found["flops_per_chip_and_step"] < 1.5 * product
    moved = found["collectives_per_step"]
    # Some images' features, extrema and their classes, and the logits.
    assert sum(kind["largest_bytes"] for kind in moved.values()) < 4 * 8 * (6 * 27 + 600 + 100)
    assert ("all-to-all" in moved) == (class_devices > 1)
    assert found["storage_bytes"]["statistics"] < 1000 * 4 * (600 + 600)
    # The work of a chip does not grow with their number.
    monkeypatch.setattr(plan, "topology_devices", local_chips(2))
    few = plan.make_plan(work, utilization=1.0, compilations=1)
    assert few["flops_per_chip_and_step"] == found["flops_per_chip_and_step"]
    chunks = -(-1000 // (8 * 8 // class_devices))
    arrays = {"label", "predicted", "target", "valid", "logits", "shares", "feature_gram"}
    fleet = found["fleet"]
    assert fleet["objects"] == chunks * (len(arrays) + 1) + len(arrays) + 2 + 3
    hours = plan.expected_hours(
        chunks, found["time"]["seconds_per_step"] / 3600, workers=2, preemptions=0.1, restart=1 / 6
    )
    assert fleet["expected_hours"] == pytest.approx(hours)


def test_the_largest_batch_and_chunk_are_compiled(linear, monkeypatch):
    compiled = []

    def step(work, devices):
        compiled.append((work.config.class_chunk, work.batch_per_device))
        used = 1000 * work.config.class_chunk * work.batch_per_device
        return plan.CompiledStep(0, 0, used, 0, Cost(1, 1, {}))

    monkeypatch.setattr(plan, "compile_step", step)
    monkeypatch.setattr(plan, "topology_devices", local_chips(4, hbm_bytes=100_000))
    found = plan.make_plan(workload(classes=10), utilization=1.0, compilations=5)
    assert found["largest_that_fit"] == {"class_chunk": 10, "batch_per_device": 50}
    assert compiled == [(2, 8), (10, 8), (2, 50)]
    monkeypatch.setattr(plan, "topology_devices", local_chips(4, hbm_bytes=10_000))
    with pytest.raises(plan.DoesNotFitError, match=r"expected at most 0 GB per chip, got 0\.00 GB"):
        plan.make_plan(workload(classes=10), utilization=1.0, compilations=5)


# The command.


@pytest.fixture
def signsal(monkeypatch):
    monkeypatch.setattr(cli, "enable_compilation_cache", lambda: None)
    cached = jax.config.values["jax_enable_compilation_cache"]
    environment = dict(os.environ)
    yield lambda *arguments: cli.main(["plan", *(str(argument) for argument in arguments)])
    jax.config.update("jax_enable_compilation_cache", cached)
    os.environ.clear()
    os.environ.update(environment)


COMMAND = ("--topology", "v5e:4x4", "--model", "cnn", "--classes", "4", "--image-size", "3")


def test_the_command_prints_and_stores(signsal, linear, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "libtpu", pytest)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.2.3")
    monkeypatch.setattr(plan, "topology_devices", local_chips(4))
    out = tmp_path / "new" / "plan.json"
    arguments = ("--images", "1e3", "--class-chunk", 2, "--store", "maps", "logits", "--out", out)
    assert signsal(*COMMAND, *arguments) == 0
    shown = capsys.readouterr().out
    stored = json.loads(out.read_text())
    assert stored.pop("versions")["libtpu"] == "1.2.3"
    assert shown.splitlines() == plan_lines(stored)
    assert stored["workload"]["store"] == ["maps", "logits"]
    assert stored["workload"]["images"] == 1000
    assert re.search(r"utilization +40%, assumed", shown)
    assert re.search(r"6 passes for float32 at precision highest", shown)
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "0.5"), "--images: expected a whole number, got 0.5"),
        (("--compilations", "0"), "--compilations: expected at least 1, got 0"),
        (("--batch-per-device", "0"), "batch_per_device: expected at least 1, got 0"),
    ],
)
def test_mistakes_are_one_line(signsal, capsys, arguments, message):
    assert signsal(*COMMAND, *arguments) == 1
    assert capsys.readouterr().err == f"signsal: {message}\n"


def test_without_libtpu_the_extra_is_named(signsal, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    assert signsal(*COMMAND) == 1
    assert "pip install 'signsal_jax[plan]'" in capsys.readouterr().err


def test_an_unknown_chip_is_named():
    with pytest.raises(
        ValueError, match=r"expected a chip of v4, v5e, v5p, v6e, tpu7x .* got 'v9:4x4'"
    ):
        plan.topology_devices("v9:4x4")


# What was recorded: ImageNet-1k on two pods, and with the classes of an image on two chips.


def recorded(name):
    return json.loads((ROOT / "scripts" / "results" / f"plan-{name}.json").read_text())


def resnet18_flops():
    """One forward of ResNet-18 at 224 pixels: two for each tap that meets a pixel."""

    def convolution(size, inputs, features, window, strides):
        pad = window // 2
        outputs = (size + 2 * pad - window) // strides + 1
        places = (o * strides + tap - pad for o in range(outputs) for tap in range(window))
        taps = sum(0 <= place < size for place in places)
        return outputs, 2 * inputs * features * taps**2

    size, total = convolution(224, 3, 64, 7, 2)
    size, inputs = size // 2, 64
    for features, strides in ((64, 1), (128, 2), (256, 2), (512, 2)):
        if strides > 1:
            total += convolution(size, inputs, features, 1, strides)[1]
        for step in (strides, 1, 1, 1):
            size, flops = convolution(size, inputs, features, 3, step)
            total, inputs = total + flops, features
    return total + 2 * 512 * 1000


@pytest.mark.parametrize("model", ["resnet18", "convnext_tiny"])
def test_imagenet_fits_and_chips_do_the_same_work_on_16_and_256(model):
    small, large = recorded(f"{model}-v5e-4x4"), recorded(f"{model}-v5e-16x16")
    for found, chips in ((small, 16), (large, 256)):
        assert found["chip"]["chips"] == chips
        work = found["workload"]
        assert (work["classes"], work["image_size"], work["images"]) == (1000, 224, 1_280_000)
        assert found["memory_bytes_per_chip"]["total"] < 16e9
        assert found["collectives_per_step"] == {}
    assert small["flops_per_chip_and_step"] == large["flops_per_chip_and_step"]
    for part in ("arguments", "outputs", "temporary"):
        assert small["memory_bytes_per_chip"][part] == large["memory_bytes_per_chip"][part]


def test_large_studies_have_objects_by_groups_of_chunks():
    """1,024 chunks are 512 groups of two; each is a commit and a file of each array."""
    work = workload(("logits",), images=8 * 1024)
    arrays = ("label", "predicted", "target", "valid", "logits")
    expected = 512 * (len(arrays) + 1) + len(arrays) + 3
    assert stored_objects(work, 8) == expected
    one = dataclasses.replace(work, config=dataclasses.replace(work.config, group=1))
    assert stored_objects(one, 8) == 1024 * (len(arrays) + 1) + len(arrays) + 3


def test_the_recorded_flops_are_those_of_the_method():
    """A forward, a pullback a class, and the deletions of every fraction but 0.

    The convolutions are real ones: those rewritten for the CPU would count differently.
    """
    config = StudyConfig("")
    deletions = len(config.curves) * sum(fraction > 0 for fraction in config.fractions)
    expected = (1 + 1000 + deletions) * resnet18_flops()
    assert recorded("resnet18-v5e-4x4")["flops_per_image"] == expected


def test_the_recorded_flops_through_features_are_those_of_the_method():
    """A pullback of the body per feature, and products of all classes in every pixel."""
    found = recorded("resnet18-v5e-16x16-features")
    assert found["through"] == {"way": "features", "width": 512}
    config = StudyConfig("")
    deletions = len(config.curves) * sum(fraction > 0 for fraction in config.fractions)
    values = 3 * 224**2
    # Chunks of at most 50 features are filled up to 47 in each of eleven; classes up to 4 of 256.
    pullbacks = 11 * 47 * (resnet18_flops() - 2 * 512 * 1000)
    products = 2 * 1024 * 512 * values + 2 * 512**2 * values  # of classes; of norms
    expected = (1 + deletions) * resnet18_flops() + pullbacks + products
    assert found["flops_per_image"] == pytest.approx(expected, rel=1e-3)
    assert found["flops_per_image"] < recorded("resnet18-v5e-16x16")["flops_per_image"] / 1.6


def test_21841_classes_fit_a_pod():
    """By classes it would be 21,841 pullbacks of 32.8 GFLOP each: 717 TFLOP."""
    found = recorded("vit_b_16-21841-v5e-16x16")
    assert found["chip"]["chips"] == 256
    assert found["through"] == {"way": "features", "width": 768}
    assert found["memory_bytes_per_chip"]["total"] < 16e9
    assert found["collectives_per_step"] == {}
    assert found["flops_per_image"] < 40e12


def test_classes_over_chips_gather_no_jacobian():
    found = recorded("resnet18-v5e-4x4-class-devices-2")
    collectives = found["collectives_per_step"]
    assert collectives.get("all-gather", {"largest_bytes": 0})["largest_bytes"] <= 4096
    # The target's gradient, two extrema and their classes, of a batch of images, and some logits:
    # not the thousand gradients of each.
    batch = 4 * 224 * 224 * 3 * found["workload"]["batch_per_device"]
    assert 5 * batch < sum(kind["bytes"] for kind in collectives.values()) < 6 * batch


# With the TPU compiler.


def in_a_process(*arguments, **environment):
    """As on a machine with libtpu and no TPU, nothing set that would hide it."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TPU_", "JAX_", "ALLOW_MULTIPLE"))
    }
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT, env=inherited | environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@needs_libtpu
def test_everything_else_runs_quietly_on_the_cpu(tmp_path):
    devices = "import jax, signsal_jax; print(jax.devices()[0].platform)"
    assert in_a_process("-c", devices).stdout == "cpu\n"
    picture, out = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(picture)
    code = "import sys; from signsal_jax import cli; sys.exit(cli.main(sys.argv[1:]))"
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    result = in_a_process("-c", code, "explain", str(picture), "--out", str(out), **cache)
    assert result.returncode == 0, result.stderr
    assert not re.search("TPU|WARN|Logging|Error", result.stderr)


@needs_libtpu
def test_a_plan_for_a_pod(tmp_path):
    """In its own process: libtpu, once loaded, would stay in this one."""
    code = "import sys; from signsal_jax import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = ("plan", "--model", "cnn", "--classes", "10", "--image-size", "16", "--class-chunk",
               "5", "--store", "maps", "logits", "--topology")  # fmt: skip
    plans = []
    for topology in ("v5e:4x4", "v5e:16x16"):
        out = tmp_path / "plan.json"
        result = in_a_process("-c", code, *command, topology, "--out", str(out))
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        plans.append(json.loads(out.read_text()))
    assert [found["chip"]["chips"] for found in plans] == [16, 256]
    small, large = plans
    assert small["flops_per_chip_and_step"] == large["flops_per_chip_and_step"] > 0
    # Float32 products at full precision: no one has fallen back to a single pass.
    assert small["bf16_flops_per_chip_and_step"] == 6 * small["flops_per_chip_and_step"]
    for found in plans:
        gathers = found["collectives_per_step"].get("all-gather", {"largest_bytes": 0})
        assert gathers["largest_bytes"] <= 4096
    result = in_a_process("-c", code, *command, "v5e:3x5")
    assert result.returncode == 1
    assert result.stderr.startswith("signsal: topology: expected a shape that v5e comes in")
