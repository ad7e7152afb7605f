"""The code of the guides runs as it stands there."""

import re
from pathlib import Path

import pytest

GUIDES = sorted((Path(__file__).parents[1] / "docs" / "guides").glob("*.md"))


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_the_code_runs(path):
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(), flags=re.M | re.S)
    assert blocks
    exec(compile("\n".join(blocks), str(path), "exec"), {"__name__": "guide"})
