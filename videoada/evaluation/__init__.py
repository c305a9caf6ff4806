"""Folders of videos, measured and reported."""
