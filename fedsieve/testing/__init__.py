"""What the tests of a plug-in need: the promises of algorithms and of families of masks, as tests, and a small graph.

It needs pytest, the extra `testing`.
"""

from fedsieve.testing.families import mask_conformance
from fedsieve.testing.graphs import write_graph
from fedsieve.testing.suite import conformance

__all__ = ["conformance", "mask_conformance", "write_graph"]
