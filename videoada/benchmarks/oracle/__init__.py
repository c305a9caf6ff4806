"""When to skip, found by a greedy search, and how policies compare with it."""
