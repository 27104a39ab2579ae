"""Client halves: one algorithm, one file, and what all of them do alike."""
