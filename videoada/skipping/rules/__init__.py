"""When to skip and what to use instead: tensors and numbers only."""
