"""From a model's name to a pipeline, and one call of it."""
