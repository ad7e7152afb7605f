"""The README stays true: its code runs, its commands parse, its figures are the recorded ones."""

import importlib
import json
import math
import re
import shlex
import textwrap
from pathlib import Path

import jax.numpy as jnp
import pytest
import tyro

from scripts.bench import tables
from signsal_jax import cli
from signsal_jax.evaluations.entry import Explained
from signsal_jax.study import StudyConfig
from train.config import TrainConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SCRIPTS = {
    "scripts/reproduce_paper.py": ("reproduce_paper", "Reproduce"),
    "scripts/benchmark.py": ("benchmark", "Benchmark"),
    "scripts/precision_study.py": ("precision_study", "PrecisionStudy"),
    "scripts/cifar10_study.py": ("cifar10_study", "Cifar10Study"),
    "scripts/kill_study.py": ("kill_study", "KillStudy"),
    "scripts/published_accuracy.py": ("published_accuracy", "PublishedAccuracy"),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    return [shlex.split(line) for line in lines]


def load_script(name: str):
    return importlib.import_module(f"scripts.{name}")


def recorded(name: str):
    return json.loads((ROOT / "scripts" / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    if "print(" in code:
        assert capsys.readouterr().out == "(2, 4) (2, 4, 8, 8, 3)\n" * 3


def test_every_command_is_known_and_parses():
    """Each kind of command is run elsewhere in the suite; here the README's own arguments parse."""
    assert len(commands()) >= 8
    for words in commands():
        match words:
            case ["bash", script]:
                assert (ROOT / script).is_file()
            case ["pip", "install", "-e", requirement]:
                assert requirement == ".[all,prepare]"
            case ["signsal", *arguments]:
                tyro.extras.subcommand_cli_from_dict(cli.COMMANDS, args=arguments)
            case ["python", "-m", "train", *arguments]:
                tyro.cli(TrainConfig, args=arguments)
            case ["python", "scripts/plan_table.py"]:
                pass  # run by the test of its table
            case ["python", script, *arguments]:
                name, settings = SCRIPTS[script]
                tyro.cli(getattr(load_script(name), settings), args=arguments)
            case _:
                pytest.fail(f"the README names a command that no test knows: {words}")


def test_results_tables_are_the_recorded_ones():
    found = re.findall(r"<!-- results (\S+) -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert found
    for name, table in found:
        assert table.strip() == load_script("reproduce_paper").table(name).strip()


@pytest.mark.parametrize(
    ("marker", "table"),
    [
        ("plans", lambda: load_script("plan_table").table()),
        ("benchmark", lambda: tables.overview(recorded("benchmark"))),
        ("precision", lambda: load_script("precision_study").table(recorded("precision"))),
        (
            "published",
            lambda: load_script("published_accuracy").table(recorded("published_accuracy")),
        ),
        ("study", lambda: load_script("cifar10_study").table(recorded("cifar10_study"))),
    ],
)
def test_tables_are_the_recorded_ones(marker, table):
    found = re.search(rf"<!-- {marker} -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert found is not None
    assert found[1].strip() == table().strip()


def test_figures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file(), picture


def test_the_entry_of_contributing_computes_what_it_says():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(compile(textwrap.dedent(code), "CONTRIBUTING.md", "exec"), names)
    logits = jnp.asarray([[0.0, 0.0, 0.0, 0.0]])
    found = names["ENTRY"].of_image(Explained(StudyConfig("any"), logits, None, None))
    assert float(found["entropy"][0]) == pytest.approx(math.log(4))
