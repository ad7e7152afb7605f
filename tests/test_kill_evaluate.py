"""An evaluation killed at any moment ends with the results of one left alone."""

import json
import random
import sys
from pathlib import Path

import pytest

from scripts import kill_evaluate

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def one_device(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def command(out):
    return [sys.executable, "-m", "tests.study_worker", str(out), "--evaluate", "--seconds", "0.1"]


def test_killed_at_random_moments_it_ends_with_the_same_results(tmp_path):
    histories, different = kill_evaluate.trial(command, tmp_path, 1, random.Random(0))
    assert sum(map(len, histories)) == 1
    assert different == []
    results = json.loads((tmp_path / "undisturbed" / "results.json").read_text())["results"]
    assert (results["images"], results["complete"]) == (22, True)
