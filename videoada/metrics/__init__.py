"""Measurements on videos. Never imports diffusers."""

from videoada.metrics.paired import Fidelity, paired_fidelity

__all__ = ["Fidelity", "paired_fidelity"]
