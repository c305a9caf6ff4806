"""left_out(): which films and pairs an evaluation was given and did not measure, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from videoada.evaluation.result import VideoResult

LISTED = ("left out", "not paired", "not compared")  # what lines begin with whose details the result lists elsewhere


def left_out(
    not_read: Sequence[str], skipped: Sequence[Mapping[str, str]], unpaired: Mapping[str, Sequence[str]],
    rows: Sequence[VideoResult],
) -> list[str]:  # fmt: skip
    """Lines for a result's `not_used`: what lies in the folders and was not read, videos that could not be used, and
    of those without a partner of their own how many there are and the first."""
    lines = [*not_read, *(f"left out: {video['reason']}" for video in skipped)]
    lines += [f"not paired, {side}: {len(videos)}; first: {videos[0]}" for side, videos in unpaired.items() if videos]
    if different := [row for row in rows if row.not_compared]:
        lines.append(f"not compared: {len(different)}; first: {different[0].video}, {different[0].not_compared}")
    return lines
