"""The narrowest separator of a graph: the lightest nodes that every path passes through."""

import math
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def narrowest_separator(
    edges: Mapping[Node, set[Node]],
    weights: Mapping[Node, float],
    source: Node,
    sink: Node,
    *,
    near_source: bool = True,
) -> tuple[float, set[Node]]:
    """Finds nodes of the least total weight that lie on every path from source to sink.

    Source and sink count as any other node.

    Args:
      edges: the successors of each node.
      weights: of each node, at least 0; infinity for one that must not be used.
      source: where the paths begin.
      sink: where they end.
      near_source: of several equally light sets, the one closest to the source; False for the one
        closest to the sink.

    Returns:
      The total weight, and the nodes; infinity and no nodes if no set without infinite weights
      separates them.

    Reference: Ford and Fulkerson, maximal flow through a network (1956), with each node split into
    an entry and an exit; the paths of Edmonds and Karp (1972).

    >>> diamond = {"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": {"e"}, "e": set()}
    >>> weights = {"a": 9.0, "b": 2.0, "c": 3.0, "d": 7.0, "e": 8.0}
    >>> total, nodes = narrowest_separator(diamond, weights, "a", "e")
    >>> total, sorted(nodes)
    (5.0, ['b', 'c'])
    """
    left: dict = defaultdict(dict)  # what can still flow along each arc
    for node, successors in edges.items():
        left[node, "in"][node, "out"] = weights[node]
        left[node, "out"].setdefault((node, "in"), 0)
        for successor in successors:
            left[node, "out"][successor, "in"] = math.inf
            left[successor, "in"].setdefault((node, "out"), 0)
    start, end = (source, "in"), (sink, "out")
    total = 0
    while True:
        reached = _reachable(left, start, end)
        if end not in reached:
            break
        path = [end]
        while path[-1] != start:
            path.append(reached[path[-1]])
        arcs = list(zip(path[1:], path[:-1], strict=True))
        amount = min(left[tail][head] for tail, head in arcs)
        if amount == math.inf:
            return math.inf, set()
        for tail, head in arcs:
            left[tail][head] -= amount
            left[head][tail] += amount
        total += amount
    if near_source:
        return total, {n for n in edges if (n, "in") in reached and (n, "out") not in reached}
    backward: dict = defaultdict(dict)
    for tail, heads in left.items():
        for head, amount in heads.items():
            backward[head][tail] = amount
    reaches = _reachable(backward, end, start)
    return total, {n for n in edges if (n, "out") in reaches and (n, "in") not in reaches}


def _reachable(left: Mapping, start: Hashable, end: Hashable) -> dict:
    """Returns, for what can be reached until `end` is, where each was first reached from."""
    reached = {start: start}
    queue = deque([start])
    while queue and end not in reached:
        here = queue.popleft()
        for there, amount in left[here].items():
            if amount > 0 and there not in reached:
                reached[there] = here
                queue.append(there)
    return reached
