"""Columns of the paper's table, from training to results, and what is said of them."""

import json

import pytest

from scripts import reproduce_paper
from scripts.reproduce_paper import COLUMNS, Reproduce, run_column
from scripts.reproduced_verdict import to_random, verdict
from signsal_jax import data
from tests import tiny_training


def curve(name, high, end, deleted):
    return {
        "fill": "black",
        "map": name,
        "auc_minus_vanilla": {"high": high},
        "fidelity": [1.0, end],
        "deleted": [0.0, deleted],
    }


def results(*signed):
    return {"fractions": [0.0, 0.9], "curves": [curve("vanilla", 0.0, 0.2, 0.9), *signed]}


def test_every_map_is_better():
    kept = {"test": results(curve("positive", -0.01, 0.1, 0.8), curve("active", -0.02, 0.2, 0.3))}
    assert verdict(kept).endswith("below vanilla, also by the interval of the paired difference.")


def test_an_interval_that_holds_zero_is_no_improvement():
    better, worse = curve("positive", -0.01, 0.1, 0.8), curve("active", 0.0, 0.1, 0.3)
    kept = {"test": results(better, worse), "train": results(worse, better)}
    assert verdict(kept) == (
        "Not shown to be better than vanilla: active (black, test), active (black, train)."
    )


def test_the_end_of_a_curve_is_told():
    kept = {"test": results(curve("active", -0.01, 0.3, 0.25))}
    assert verdict(kept).endswith(
        "where 90% is to be deleted and sparse maps delete less, vanilla's fidelity is below that "
        "of active (black, test: 25% deleted)."
    )


def test_every_map_is_compared_with_a_random_order():
    def against(name, low, high):
        difference = {"mean": (low + high) / 2, "low": low, "high": high}
        return {"fill": "black", "map": name, "auc_minus_random": difference}

    kept = {
        "test": {
            "curves": [against("vanilla", 0.25, 0.75), against("positive", -0.75, -0.25)],
            "controls": [against("random_0", 0.0, 0.0), against("laplace", -0.25, 0.5)],
        }
    }
    assert to_random(kept) == (
        "Against a random order, below it: positive (black, test: -0.5000); not distinguished from "
        "it: laplace (black, test: +0.1250); above it: vanilla (black, test: +0.5000)."
    )
    assert to_random({"test": results(curve("active", -0.01, 0.3, 0.25))}) == ""


def test_a_pretrained_column_from_weights_on_disk(tmp_path, monkeypatch, no_compilation_cache):
    """Random weights, few layers, small images; everything else as in a real run."""
    monkeypatch.setattr(data, "load", tiny_training.load_two_tones)
    tiny_training.make_resnet18_shallow(monkeypatch)
    monkeypatch.setattr(reproduce_paper, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    weights = tmp_path / "resnet18.safetensors"
    tiny_training.write_resnet18(weights)
    name = "imagenette-resnet18-pretrained"
    command = Reproduce((name,), runs=tmp_path / "runs", weights=weights, epochs=16)
    run_column(command, name, 42)
    kept = json.loads((tmp_path / "results" / f"{name}-test.json").read_text())
    assert kept["network"]["freeze"]
    assert kept["network"]["weights_origin"]["weights"] == weights.name
    assert kept["results"]["images"] == 24
    assert (tmp_path / "results" / f"{name}-test-curves.png").exists()
    assert "| accuracy | 0.9733 |" in reproduce_paper.table(name)


@pytest.mark.parametrize("name", ["imagenette-resnet18-pretrained", "imagenette-convnext_tiny"])
def test_pretrained_columns_are_the_papers_protocol(name, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(reproduce_paper, "train", trained.append)
    monkeypatch.setattr(reproduce_paper.cli, "main", lambda arguments: 1)
    command = Reproduce((name,), runs=tmp_path, weights=tmp_path / "weights.pth")
    with pytest.raises(SystemExit):
        run_column(command, name, 43)
    [config] = trained
    assert (config.dataset, config.model) == (COLUMNS[name].dataset, COLUMNS[name].model)
    assert config.freeze
    assert not config.preprocess  # raw pixels, as the paper feeds them
    assert config.weights == str(tmp_path / "weights.pth")
    assert (config.seed, config.out.name) == (43, f"{name}-seed43")
    with pytest.raises(ValueError, match=f"--weights: expected a file for {name}"):
        run_column(Reproduce((name,), runs=tmp_path), name, 42)
