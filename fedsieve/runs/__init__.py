"""A run on disk: its layout, its records, its checkpoints, and the one reader of its folder."""
