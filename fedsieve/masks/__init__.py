"""Sparse masks as torch parametrizations."""
