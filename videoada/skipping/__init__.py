"""Training-free caching of noise predictions: which ones are computed, and what approximates the skipped ones."""
