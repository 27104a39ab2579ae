"""What the two halves of an algorithm share, one algorithm per file: its keys, and what travels between them.

Nothing here imports torch, so that keys are validated at once.
"""
