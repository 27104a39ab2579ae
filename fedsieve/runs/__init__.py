"""The run folder: its layout, records, history and checkpoints, and the one reader of it."""
