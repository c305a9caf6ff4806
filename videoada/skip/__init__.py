"""When to skip (policies) and what to use instead (predictors): pure functions of tensors and numbers."""
