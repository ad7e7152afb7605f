"""Writes the paper's tables with our recorded figures beside the paper's, into scripts/results.

    python scripts/paper_tables.py

The same as `signsal report scripts/results --paper --out scripts/results`, run from any folder.
"""

from scripts.reproduce_paper import RESULTS
from signsal_jax import report


def main() -> None:
    evaluated, left_out = report.read_evaluations([RESULTS])
    report.write_paper(evaluated, RESULTS)
    print(*left_out, sep="\n")


if __name__ == "__main__":
    main()
