"""README and documentation stay true: code runs, commands parse, figures are the recorded ones."""

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
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
# The build of the documentation adds pages of its own, from files that are checked where they are.
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    if not {"_made", "_build"} & set(path.parts)
}
SCRIPTS = {
    "scripts/reproduce_paper.py": ("reproduce_paper", "Reproduce"),
    "scripts/benchmark.py": ("benchmark", "Benchmark"),
    "scripts/precision_study.py": ("precision_study", "PrecisionStudy"),
    "scripts/cifar10_study.py": ("cifar10_study", "Cifar10Study"),
    "scripts/explorer_figures.py": ("explorer_figures", "Figures"),
    "scripts/kill_study.py": ("kill_study", "KillStudy"),
    "scripts/package_weights.py": ("package_weights", "Package"),
    "scripts/published_accuracy.py": ("published_accuracy", "PublishedAccuracy"),
    "scripts/sign_figure.py": ("sign_figure", "SignFigure"),
    "scripts/verdict.py": ("verdict", "Verdict"),
    "scripts/verdict_networks.py": ("verdict_networks", "Networks"),
}


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    lines = "".join(blocks("bash", text)).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def load_script(name: str):
    return importlib.import_module(f"scripts.{name}")


def recorded(name: str):
    return json.loads((ROOT / "scripts" / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("code", blocks("python", README))
def test_python_blocks_run(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    if "print(" in code:
        assert capsys.readouterr().out == "(2, 4) (2, 4, 8, 8, 3)\n" * 3


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if commands(text)])
def test_every_command_is_known_and_parses(page):
    """Each kind of command is run elsewhere in the suite; here a page's own arguments parse."""
    for words in commands(PAGES[page]):
        match words:
            case ["bash", script]:
                assert (ROOT / script).is_file()
            case ["pip", "install", "-e", requirement]:
                assert requirement in (".[all,prepare]", ".[all,demo]")
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
                pytest.fail(f"{page} names a command that no test knows: {words}")


def test_results_tables_are_the_recorded_ones():
    marked = re.compile(r"<!-- results (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
    found = [match for text in PAGES.values() for match in marked.findall(text)]
    assert {name for name, _ in found} >= {"cifar10-cnn", "imagenette-cnn"}
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
    marked = re.compile(rf"<!-- {marker} -->\n(.*?)<!-- end -->", re.DOTALL)
    (found,) = [match for text in PAGES.values() for match in marked.findall(text)]
    assert found.strip() == table().strip()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_exists(page):
    """Where the page stands in the repository; scripts/docs.sh checks the pages that it builds."""
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", text):
        assert ((ROOT / page).parent / link).exists(), link


def test_the_readme_is_short_and_begins_with_the_sign():
    assert len(README.splitlines()) <= 130
    assert re.findall(r"!\[.*?\]\((.*?)\)", README)[0] == "docs/figures/sign.png"


def test_the_entry_of_contributing_computes_what_it_says():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(compile(textwrap.dedent(code), "CONTRIBUTING.md", "exec"), names)
    logits = jnp.asarray([[0.0, 0.0, 0.0, 0.0]])
    found = names["ENTRY"].of_image(Explained(StudyConfig("any"), logits, None, None))
    assert float(found["entropy"][0]) == pytest.approx(math.log(4))
