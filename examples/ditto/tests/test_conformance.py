"""The algorithm keeps the promises that every algorithm of FedSieve keeps: each is a test of its own."""

from fedsieve.testing import conformance

test_conformance = conformance("ditto")
