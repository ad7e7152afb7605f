"""Writes the paper's results table with our figures beside the paper's, in Markdown and LaTeX.

    python scripts/paper_tables.py

Reads the results that scripts/reproduce_paper.py keeps and writes paper_table.md and
paper_table.tex next to them. The LaTeX table needs the packages booktabs and graphicx.
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any

from scripts.reproduce_paper import COLUMNS, PAPER_SEED, RESULTS
from signsal_jax import PAPER_CURVES, _files

# In the paper's order. For columns without results, `REASONS` says why.
TITLES = {
    "cifar10-cnn": "CIFAR-10, Basic CNN",
    "cifar10-resnet18": "CIFAR-10, ResNet-18",
    "imagenette-cnn": "Imagenette, Basic CNN",
    "imagenette-resnet18": "Imagenette, ResNet-18",
    "imagenette-resnet18-pretrained": "Imagenette, ResNet-18 pretrained",
    "imagenette-convnext_tiny": "Imagenette, ConvNeXt-Tiny pretrained",
}
_NO_WEIGHTS = "no ImageNet weights were available"
REASONS = {"imagenette-resnet18-pretrained": _NO_WEIGHTS, "imagenette-convnext_tiny": _NO_WEIGHTS}
Results = dict[str, dict[str, Any] | None]


def read(folder: Path) -> Results:
    """The recorded test results of every column of the paper, None if there are none."""
    files = {name: folder / f"{name}-test.json" for name in TITLES}
    return {
        name: json.loads(file.read_text()) if file.exists() else None
        for name, file in files.items()
    }


def wilson(share: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share measured on this many images (Wilson 1927)."""
    z = 1.959964
    center = share + z**2 / (2 * images)
    half = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    scale = 1 + z**2 / images
    return (center - half) / scale, (center + half) / scale


def _figure(content: dict[str, Any], key: Any) -> tuple[float, float, float]:
    """Our figure and its 95 % interval."""
    results = content["results"]
    if key == "accuracy":
        return results["accuracy"], *wilson(results["accuracy"], results["images"])
    area = next(c for c in results["curves"] if (c["fill"], c["map"]) == key)["auc"]
    return area["mean"], area["low"], area["high"]


def rows(results: Results) -> list[list[str]]:
    """The table's cells; the first row is the head."""
    table = [["", *TITLES.values()]]
    for key in ("accuracy", *PAPER_CURVES):
        title, digits = (key, 4) if isinstance(key, str) else (f"{key[0]} AUC, {key[1]}", 2)
        paper, ours, difference = [f"{title}: paper"], ["ours (95 % interval)"], ["ours - paper"]
        for name, content in results.items():
            published = (COLUMNS[name].paper or {})[key]
            paper.append(f"{published:.{digits}f}")
            if content is None:
                ours.append("not run")
                difference.append("")
                continue
            mean, low, high = _figure(content, key)
            ours.append(f"{mean:.4f} ({low:.4f} to {high:.4f})")
            difference.append(f"{mean - published:+.{max(digits, 3)}f}")
        table += [paper, ours, difference]
    return table + _conditions(results)


def _conditions(results: Results) -> list[list[str]]:
    """The images, epochs and data behind our figures."""
    described = {
        "test images (ours)": lambda c: f"{c['results']['images']:,}",
        "training images (ours)": lambda c: f"{c['network'].get('train_images', 0):,}",
        "epochs (ours; paper: 50)": lambda c: str(c["network"].get("epochs", "")),
        "data (ours)": lambda c: c["dataset"]["name"],
    }
    return [
        [title, *("" if content is None else cell(content) for content in results.values())]
        for title, cell in described.items()
    ]


def order(name: str, content: dict[str, Any]) -> list[str]:
    """Lines about the pairs of maps that the paper has in the opposite order."""
    paper, lines = COLUMNS[name].paper or {}, []
    for first, second in itertools.combinations(PAPER_CURVES, 2):
        if first[0] != second[0]:
            continue
        low, high = sorted((first, second), key=lambda key: paper[key])
        ours = _figure(content, low)[0], _figure(content, high)[0]
        if paper[low] < paper[high] and ours[0] > ours[1]:
            lines.append(
                f"{TITLES[name]}, {low[0]}: the paper has {low[1]} below {high[1]} "
                f"({paper[low]:.2f}, {paper[high]:.2f}), here it is above "
                f"({ours[0]:.4f}, {ours[1]:.4f})."
            )
    return lines


def seeds(folder: Path) -> str | None:
    """Compares the paper's difference of positive and active with that between two trainings."""
    name = "cifar10-cnn"
    files = {PAPER_SEED: folder / f"{name}-test.json"} | {
        int(file.stem.split("-")[2].removeprefix("seed")): file
        for file in sorted(folder.glob(f"{name}-seed*-test.json"))
    }
    contents = {seed: json.loads(file.read_text()) for seed, file in files.items() if file.exists()}
    if len(contents) < 2:
        return None
    areas = {
        key: [_figure(content, key)[0] for content in contents.values()]
        for key in (("black", "positive"), ("black", "active"))
    }
    spread = max(max(values) - min(values) for values in areas.values())
    paper = COLUMNS[name].paper or {}
    difference = abs(paper["black", "active"] - paper["black", "positive"])
    ranges = ", ".join(
        f"{key[1]} {min(values):.4f} to {max(values):.4f}" for key, values in areas.items()
    )
    verdict = "larger" if difference > spread else "not larger"
    return (
        f"{TITLES[name]}, seeds {', '.join(map(str, contents))}: black AUC, {ranges}. The paper's "
        f"difference between positive and active, {difference:.2f}, is {verdict} than the largest "
        f"between two seeds, {spread:.4f}."
    )


def notes(results: Results, folder: Path) -> list[str]:
    """The notes below the table."""
    lines = []
    for name, content in results.items():
        if content is None:
            command = f"python scripts/reproduce_paper.py --columns {name}"
            weights = " --weights FILE" if name in REASONS else ""
            reason = f": {REASONS[name]}" if name in REASONS else ""
            lines.append(f"{TITLES[name]}: not run{reason}; `{command}{weights}` makes it.")
    known = [(name, content) for name, content in results.items() if content is not None]
    lines += [
        f"{TITLES[name]}, data: {content['dataset']['note']}"
        for name, content in known
        if content["dataset"]["note"]
    ]
    lines += [line for name, content in known for line in order(name, content)]
    return lines + [line for line in [seeds(folder)] if line]


def markdown(results: Results, folder: Path) -> str:
    """The table and its notes in Markdown."""
    head, *body = rows(results)
    lines = [head, ["---"] * len(head), *body]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    listed = "\n".join(f"- {line}" for line in notes(results, folder))
    return f"{table}\n\n{listed}\n"


def _tex(text: str) -> str:
    for plain, escaped in (("%", r"\%"), ("_", r"\_"), ("`", ""), ("&", r"\&"), ("#", r"\#")):
        text = text.replace(plain, escaped)
    return text


def latex(results: Results, folder: Path) -> str:
    """The table and its notes in LaTeX."""
    head, *body = [[_tex(cell) for cell in cells] for cells in rows(results)]
    lines = [" & ".join(cells) + r" \\" for cells in body]
    # A rule after the three rows of each figure.
    figures = 3 * (1 + len(PAPER_CURVES))
    for index in range(figures, 0, -3):
        lines.insert(index, r"\midrule")
    columns = "l" + "r" * (len(head) - 1)
    listed = "\n\n".join(_tex(line) for line in notes(results, folder))
    return "\n".join(
        [
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            "",
            listed,
            "",
        ]
    )


def main() -> None:
    results = read(RESULTS)
    _files.write_text(RESULTS / "paper_table.md", markdown(results, RESULTS))
    _files.write_text(RESULTS / "paper_table.tex", latex(results, RESULTS))


if __name__ == "__main__":
    main()
