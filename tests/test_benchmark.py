"""The benchmark's own arithmetic, and a tiny comparison with PyTorch where it is installed."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scripts.bench import agreement, cases, flops, growth, streamed, tables, timing, workloads
from scripts.bench.workloads import Workload
from signsal_jax import models

ROOT = Path(__file__).parents[1]
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed (extra `bench`)"
)


@pytest.fixture(scope="module")
def benchmark():
    path = ROOT / "scripts" / "benchmark.py"
    spec = importlib.util.spec_from_file_location("benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    yield module
    del sys.modules["benchmark"]


def layers_of(network, size):
    graph, variables = nnx.split(nnx.eval_shape(lambda: models.create(network, 10)))

    def apply_fn(variables, images):
        model = nnx.merge(graph, variables)
        model.eval()
        return model(images)

    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return flops.layer_flops(apply_fn, variables, images)


class TestFlops:
    def test_basic_cnn_layer_by_layer(self):
        """(output pixels, taps, channels in, channels out) of the paper's network at 32x32."""
        layers = [
            (16**2, 49, 3, 32),
            *[(8**2, 9, 32, 32), (4**2, 9, 32, 32), (4**2, 9, 32, 32)],
            *[(4**2, 9, 32, 64), (2**2, 9, 64, 64), (2**2, 9, 64, 64)],
            *[(2**2, 9, 64, 128), (1, 9, 128, 128), (1, 9, 128, 128)],
            (1, 1, 128, 10),
        ]
        assert layers_of("cnn", 32) == [2 * math.prod(layer) for layer in layers]

    def test_resnet18_has_the_published_count(self):
        """1.814 billion multiply-adds at 224x224 (He et al. round to 1.8), and the head's."""
        assert sum(layers_of("resnet18", 224)) == 2 * (1_814_073_344 + 1000 * 10)

    def test_cases_from_layers(self):
        layers = [100, 20, 3]
        assert flops.jacobian_flops(layers, classes=10) == 11 * 123
        assert flops.deletion_flops(layers, curves=6, fractions=12) == 73 * 123
        assert flops.training_flops(layers) == 3 * 123 - 100

    def test_control_flow_is_not_miscounted(self):
        def loop(x):
            return jax.lax.scan(lambda carry, _: (carry @ carry, None), x, None, length=3)[0]

        with pytest.raises(NotImplementedError, match="got scan"):
            flops.layer_flops(loop, jnp.eye(2))


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


class TestAgreement:
    def test_equal_results_agree(self):
        assert agreement.compare_logits(normal(2, 3), normal(2, 3)) == 0
        assert agreement.compare_gradients(normal(2, 3), normal(2, 3)) == 0
        assert agreement.compare_losses(2.0, 2.0) == 0

    def test_rounding_agrees(self):
        logits = normal(2, 3)
        assert 0 < agreement.compare_logits(logits * np.float32(1 + 1e-6), logits) < 2e-6

    @pytest.mark.parametrize("compare", [agreement.compare_logits, agreement.compare_gradients])
    def test_differences_are_caught(self, compare):
        values = normal(4, 3, 8)
        for wrong in (values[:, ::-1], 1.02 * values, values * np.nan, -values):
            with pytest.raises(agreement.MismatchError, match="expected at most"):
                compare(wrong, values)
        with pytest.raises(agreement.MismatchError, match="shape"):
            compare(values[:1], values)

    def test_maps(self):
        maps = np.linspace(0, 1, 200, dtype=np.float32).reshape(2, 10, 10)
        wrong = maps.copy()
        wrong[0, 0, :2] += 0.5
        assert agreement.compare_maps(wrong, maps) == 0.01
        wrong[0, 0, 2] += 0.5
        with pytest.raises(agreement.MismatchError, match=r"got 0\.015"):
            agreement.compare_maps(wrong, maps)

    def test_a_constant_map_is_theirs_nan_and_our_zeros(self):
        constant = np.full((1, 2, 2), np.nan)
        assert agreement.compare_maps(np.zeros((1, 2, 2)), constant) == 0
        with pytest.raises(agreement.MismatchError):
            agreement.compare_maps(np.ones((1, 2, 2)), constant)

    def test_predictions(self):
        agreements = np.ones((20, 10), bool)
        wrong = agreements.copy()
        wrong[0, :2] = False
        assert agreement.compare_agreements(wrong, agreements) == 0.01
        wrong[1, 0] = False
        with pytest.raises(agreement.MismatchError):
            agreement.compare_agreements(wrong, agreements)

    def test_losses(self):
        assert agreement.compare_losses(2.0001, 2.0) < 1e-4
        with pytest.raises(agreement.MismatchError, match="loss"):
            agreement.compare_losses(2.001, 2.0)


class TestTiming:
    def test_runs_take_turns(self, monkeypatch):
        monkeypatch.setattr(timing, "_PAUSE", 0)
        calls = []
        runs = {name: lambda name=name: calls.append(name) for name in "abc"}
        seconds = timing.interleave(runs, 3)
        assert "".join(calls) == "abcbcacab"
        assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}

    def test_spread(self):
        assert timing.spread([4, 1, 2, 3, 5]) == {"median": 3, "low": 2, "high": 4}
        assert timing.spread([7]) == {"median": 7, "low": 7, "high": 7}

    @pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured on Linux only")
    def test_measured_memory_is_the_rise_of_one_run(self):
        # In a process of its own, as the benchmark does: in this one, others free memory meanwhile.
        program = """
import numpy as np
from scripts.bench.streamed import measured_bytes
for megabytes in (128, 64):
    print(measured_bytes(lambda: np.ones(megabytes * 2**20, np.uint8)))
"""
        command = [sys.executable, "-c", program]
        ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found = [int(line) / 2**20 for line in ran.stdout.split()]
        assert 0.9 * 128 < found[0] < 1.3 * 128
        assert 0.9 * 64 < found[1] < 1.3 * 64


class TestWorkloads:
    def test_the_same_every_time_and_in_range(self):
        workload = Workload("cnn", 3, 30)
        images, labels = workloads.images_and_labels(workload)
        assert images.shape == (3, 30, 30, 3)
        assert images.min() >= 0
        assert images.max() <= 1
        np.testing.assert_array_equal(images, workloads.images_and_labels(workload)[0])
        assert labels.shape == (3,)

    def test_the_network_has_the_seeded_weights(self):
        network, arrays = workloads.seeded_network(Workload("resnet18", 1, 32))
        found = nnx.to_pure_dict(nnx.state(network))
        np.testing.assert_array_equal(found["head"]["kernel"], arrays["head.kernel"])
        np.testing.assert_array_equal(
            found["backbone"]["blocks"][7]["bn2"]["var"], arrays["backbone.blocks.7.bn2.var"]
        )


def case_result():
    return {
        "kind": "jacobian",
        "workload": "cnn 2×32×32",
        "ours": {"median": 0.05},
        "theirs": {"slow": {"median": 0.4}, "fast": {"median": 0.125}},
        "fastest": "fast",
        "ratio": {"median": 2.5, "low": 2.25, "high": 3.0, "best": 2.75},
        "share_of_peak": 0.347,
        "compile_seconds": 1.24,
    }


def results():
    return {
        "machine": {"cpu": "A CPU", "threads": 2, "versions": {"jax": "1.2.3"}},
        "matrix_product": {"flops_per_second": 95.4e9, "size": 1024},
        "repeats": 15,
        "quick": False,
        "cases": [case_result()],
        "failed": {},
    }


class TestReport:
    def test_a_row_says_times_ratio_and_spread(self):
        lines = tables.render(results()).splitlines()
        figures = "50.0 ms | 125 ms | fast | 2.50 (2.25 to 3.00) | 2.75 | 35% | 1.2 s"
        assert f"| jacobian, cnn 2×32×32 | {figures} |" in lines
        assert "| jacobian, cnn 2×32×32 | slow | 400 ms |" in lines
        assert any("A CPU, 2 threads on both sides; jax 1.2.3" in line for line in lines)

    def test_a_quick_run_says_so(self):
        assert "quick run" not in tables.render(results())
        assert "quick run" in tables.render(results() | {"quick": True})

    def test_a_case_that_disagrees_is_named(self):
        text = tables.render(results() | {"failed": {"maps-cnn-32": "logits: expected ..."}})
        assert "**maps-cnn-32: not timed, logits: expected ...**" in text

    def test_memory_and_growth(self):
        memory = {"streamed": {"planned_bytes": 2**20, "measured_bytes": 3 * 2**20}}
        thousand = {
            "workload": "resnet18 4×224×224",
            "classes": 1000,
            "class_chunk": 10,
            "memory": memory | {"at once": {"planned_bytes": 2**30}},
            "seconds_per_class": {"10": 0.14, "1000": 0.12},
            "compile_seconds": 3.0,
        }
        points = [{"images": 8, "seconds": 1.0}, {"images": 16, "seconds": 2.0}]
        curve = {"points": points, "exponents": growth.exponents([8, 16], [1.0, 2.0])}
        grown = {"batch": 4, "size": 32, "class_chunk": 10, "curves": {"images": {"cnn": curve}}}
        text = tables.render(results() | {"streamed": thousand, "growth": grown})
        assert "| streamed | 1 MiB | 3 MiB |\n| at once | 1,024 MiB | not run |" in text
        assert "140.0 ms at 10 classes, 120.0 ms at 1000 classes" in text
        assert "| images | cnn | 8: 1,000 ms, 16: 2,000 ms | 1.00 |" in text

    def test_exponents(self):
        assert growth.exponents([1, 2, 8], [3.0, 3.0, 48.0]) == [0, 2]


class TestCommand:
    def test_cases_by_kind_and_by_name(self, benchmark):
        selected = benchmark.Benchmark(cases=("training", "jacobian-cnn-224")).selected()
        training = ["training-cnn-32", "training-resnet18-32", "training-cnn-224"]
        assert selected == ["jacobian-cnn-224", *training]
        assert benchmark.Benchmark().selected() == [*cases.names(), streamed.NAME]

    def test_an_unknown_case_lists_the_known(self, benchmark):
        with pytest.raises(ValueError, match=r"streamed.*jacobian-cnn-32.*got 'jacobian-cnn'"):
            benchmark.Benchmark(cases=("jacobian-cnn",)).selected()

    def test_without_torch_the_error_names_the_extra(self, benchmark, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.delitem(sys.modules, "scripts.bench.peer", raising=False)
        with pytest.raises(ImportError, match=r"signsal_jax\[bench\]"):
            benchmark.run(benchmark.Benchmark(quick=True, out=tmp_path))
        assert not list(tmp_path.iterdir())


@needs_torch
class TestWithTorch:
    def test_a_tiny_case_from_end_to_end(self, benchmark, tmp_path):
        result = benchmark.run_case("jacobian-cnn-32", 1e11, quick=True, repeats=2)
        ways = ("loop of backwards", "batched backwards", "vmap(jacrev)")
        settings = [f"{way}{layout}" for way in ways for layout in ("", ", channels_last")]
        assert list(result["theirs"]) == settings
        assert result["fastest"] in result["theirs"]
        assert max(result["agreement"].values()) < 1e-4
        tables.render(results() | {"cases": [result]})

    def test_other_weights_are_caught(self, monkeypatch):
        from scripts.bench import torch_networks

        build = torch_networks.build

        def another(name, num_classes, arrays):
            return build(name, num_classes, arrays | {"stem.bias": arrays["stem.bias"] + 0.1})

        monkeypatch.setattr(torch_networks, "build", another)
        with pytest.raises(agreement.MismatchError, match="logits"):
            cases.forward(Workload("cnn", 2, 32), compiled=False)

    def test_a_case_that_disagrees_fails_the_run_but_not_the_others(
        self, benchmark, monkeypatch, tmp_path
    ):
        def run_case(name, peak, *, quick, repeats):
            if name == "training-cnn-32":
                raise agreement.MismatchError("loss: expected ...")
            return case_result()

        monkeypatch.setattr(benchmark, "run_case", run_case)
        command = benchmark.Benchmark(cases=("training",), quick=True, out=tmp_path)
        found = benchmark.run(command)
        assert found["failed"] == {"training-cnn-32": "loss: expected ..."}
        assert found["cases"] == [case_result()] * 2
        assert "not timed" in (tmp_path / "benchmark.md").read_text()

    def test_resnet18_computes_the_same(self):
        found = cases.forward(Workload("resnet18", 2, 32), compiled=False).agreement
        assert list(found) == ["logits, forward", "logits, forward, channels_last"]
        assert max(found.values()) < 1e-4
