"""Server halves: one algorithm, one file, each a Flower Strategy; and their pure mathematics."""
