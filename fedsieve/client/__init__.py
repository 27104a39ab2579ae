"""Client halves: one algorithm, one file; the one ClientApp; client state."""
