"""FedSieve from Python: what `fedsieve.run`, `open`, `partition` and `sweep` are."""
