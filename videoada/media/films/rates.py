"""Frame rates: exact fractions of the numbers that people write, and the rate that a film's times follow."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

NTSC = Fraction(1000, 1001)
ROUNDED = 0.001  # how far 23.976 and 29.97 are from the rates that they are written for


def exact_rate(fps: float | Fraction) -> Fraction:
    """The fraction that a number of frames a second stands for: 23.976 and 23.98 are 24000/1001, 12.5 is 25/2."""
    if isinstance(fps, Fraction):
        return fps
    if float(fps).is_integer():
        return Fraction(int(fps))
    television = round(fps / NTSC) * NTSC
    if abs(float(television) - fps) <= max(ROUNDED, 0.0002 * fps):
        return television
    return Fraction(fps).limit_denominator(1001)


def as_number(rate: Fraction | float) -> float:
    """A whole number as an int, so that records say 8 and not 8.0."""
    return int(rate) if float(rate).is_integer() else float(rate)


def constant_rate(ticks: Sequence[int], tick: Fraction, known: Sequence[Fraction]) -> Fraction | None:
    """The rate that times in units of `tick` seconds follow, up to their rounding; None where it varies.

    `known` are what the file says, tried first.
    """
    if len(ticks) < 2:
        return known[0] if known else Fraction(8)
    fitted = mean_rate(ticks, tick)
    for rate in (*known, Fraction(round(fitted) or 1), round(fitted / NTSC) * NTSC or NTSC, fitted):
        step = 1 / (rate * tick)  # in ticks
        from_second = (abs(at - ticks[1] - i * step) <= 1 for i, at in enumerate(ticks[1:]))
        # the first frame of a trimmed film may be shown for a part of its time
        if ticks[1] - ticks[0] <= step + 1 and all(from_second) and (len(ticks) > 2 or ticks[1] - ticks[0] > step - 1):
            return rate
    return None


def mean_rate(ticks: Sequence[int], tick: Fraction) -> Fraction:
    """Frames a second from the first to the last time; 8 where there is no span."""
    span = (ticks[-1] - ticks[0]) * tick if ticks else Fraction(0)
    return (len(ticks) - 1) / span if span > 0 else Fraction(8)
