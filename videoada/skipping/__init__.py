"""Leaving out noise predictions: the product."""
