"""Masks over weights, pruning, and the code in which masks travel."""
