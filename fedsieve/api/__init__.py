"""FedSieve from Python: what `fedsieve.run`, `fedsieve.open` and `fedsieve.sweep` are."""
