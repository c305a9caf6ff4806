"""Methods against each other: frontier, timing, calibration, the oracle."""
