"""Savings inside one denoiser call."""
