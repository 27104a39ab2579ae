"""What the tests of an algorithm need: the promises that every algorithm keeps, as tests, and a small graph.

It needs pytest, the extra `testing`.
"""

from fedsieve.testing.graphs import write_graph
from fedsieve.testing.suite import conformance

__all__ = ["conformance", "write_graph"]
