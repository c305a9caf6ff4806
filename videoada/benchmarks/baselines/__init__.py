"""Other people's accelerators, from their papers' formulas: what the project's own skipping is measured against."""
