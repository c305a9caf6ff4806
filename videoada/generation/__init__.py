"""Requests in, videos with records out."""
