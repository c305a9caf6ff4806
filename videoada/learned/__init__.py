"""The two learned parts: early exit, number of steps."""
