"""The ServerApp and what a run leaves on disk."""
