"""The ClientApp, and what it keeps of a run between messages."""
