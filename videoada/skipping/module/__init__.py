"""Skipping for a denoiser module that has no pipeline round it."""
