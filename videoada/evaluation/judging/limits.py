"""What a skipped set may differ from its full runs at most: the limits of a verdict, and those that ship."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import Field

from videoada.config.frozen import FrozenConfig
from videoada.config.merging import of_file
from videoada.config.settings import read_settings
from videoada.config.shipped import VERDICT, read_shipped
from videoada.errors import ConfigError

EXTRACTOR = "tiny-shapes-v1"


class VerdictLimits(FrozenConfig):
    """`mean` limits are of the mean over all pairs, `worst` ones of the single pair that is the farthest off.

    PSNR in dB, SSIM in [-1, 1], ratios ÷ the full run's (1 is equal), colour shifts in grey levels of 255. None leaves
    a limit out. Raises ConfigError for unknown keys.
    """

    min_mean_psnr: float | None = Field(default=None, ge=0, le=100)
    min_worst_psnr: float | None = Field(default=None, ge=0, le=100)
    min_mean_ssim: float | None = Field(default=None, ge=-1, le=1)
    min_worst_ssim: float | None = Field(default=None, ge=-1, le=1)
    min_mean_sharpness: float | None = Field(default=None, ge=0)
    max_mean_sharpness: float | None = Field(default=None, ge=0)
    min_worst_sharpness: float | None = Field(default=None, ge=0)
    max_worst_sharpness: float | None = Field(default=None, ge=0)
    min_mean_motion: float | None = Field(default=None, ge=0)
    max_mean_motion: float | None = Field(default=None, ge=0)
    min_worst_motion: float | None = Field(default=None, ge=0)
    max_worst_motion: float | None = Field(default=None, ge=0)
    max_mean_colour_shift: float | None = Field(default=None, ge=0, le=255)
    max_worst_colour_shift: float | None = Field(default=None, ge=0, le=255)
    max_lost_coherence: float | None = Field(default=None, ge=0, le=1)  # share of videos that lose a check
    max_fvd: float | None = Field(default=None, ge=0)  # of the upper end of its 95 % interval
    extractor: str = EXTRACTOR  # whose features FVD compares

    def given(self) -> dict[str, float]:
        """The limits that are set, by name."""
        found: dict[str, float] = self.model_dump(exclude_none=True, exclude={"extractor"})
        return found


@functools.cache
def shipped_limits() -> VerdictLimits:
    """The limits that come with the package, `verdict.yaml`."""
    return VerdictLimits(**read_shipped(VERDICT[0]))


def read_limits(path: str | Path) -> VerdictLimits:
    """The shipped limits with those of a YAML file over them; null leaves a limit out.

    Raises ConfigError, naming the file, for unknown keys and values out of range.
    """
    given = read_settings(path, VERDICT)
    try:
        return VerdictLimits(**(shipped_limits().model_dump() | given))
    except ConfigError as error:
        raise ConfigError(of_file(path, error)) from None
