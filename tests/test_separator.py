"""The narrowest separator of small graphs, against all sets of nodes."""

import itertools
import math

import numpy as np
import pytest

from signsal_jax.gradients._separator import narrowest_separator


def reaches(edges, source, sink, removed):
    """The nodes on the way from the source that are not removed, by search."""
    if source in removed:
        return False
    seen, left = {source}, [source]
    while left:
        for node in edges[left.pop()] - seen - removed:
            seen.add(node)
            left.append(node)
    return sink in seen


def random_graph(seed):
    rng = np.random.default_rng(seed)
    edges = {node: set() for node in range(8)}
    for first, second in itertools.combinations(range(8), 2):
        if rng.random() < 0.4 or second == first + 1:
            edges[first].add(second)
    weights = {node: float(rng.integers(1, 6)) for node in edges}
    weights[int(rng.integers(8))] = math.inf
    return edges, weights


@pytest.mark.parametrize("near_source", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_no_set_is_lighter(seed, near_source):
    edges, weights = random_graph(seed)
    sets = [
        {*nodes} for count in range(9) for nodes in itertools.combinations(sorted(edges), count)
    ]
    separating = [nodes for nodes in sets if not reaches(edges, 0, 7, nodes)]
    least = min(sum(weights[node] for node in nodes) for nodes in separating)
    total, found = narrowest_separator(edges, weights, 0, 7, near_source=near_source)
    assert total == least == sum(weights[node] for node in found)
    assert found in separating


def test_no_separator_of_finite_weight():
    assert narrowest_separator({0: {1}, 1: set()}, {0: math.inf, 1: math.inf}, 0, 1) == (
        math.inf,
        set(),
    )
