"""Judging: whether skipped videos are close enough to their full runs, by limits that a user sets."""
