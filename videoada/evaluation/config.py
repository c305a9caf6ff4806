"""What an evaluation is asked for: metrics, protocols, which frames, and what to do with bad videos."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from videoada.config.frozen import FrozenConfig, one_of
from videoada.config.run import MOST
from videoada.config.seeds import Seed
from videoada.errors import ConfigError
from videoada.evaluation.set_metrics import SETS
from videoada.evaluation.tables import PAIRS, VIDEOS
from videoada.media.clips import Sampling
from videoada.metrics.coherence import CoherenceLimits

DEFAULT_METRICS = ("fvd", "kvd", "psnr", "ssim", "tof", "agreement", "coherence")
PROTOCOLS = {  # StyleGAN-V's (arXiv 2112.14683): 2048 videos a side, one clip of each: frames, stride
    "fvd2048_16f": (16, 1),
    "fvd2048_128f": (128, 1),
    "fvd2048_128f_subsample8f": (16, 8),
}


class EvaluationConfig(FrozenConfig):
    """What to measure, on which frames. `num_frames` None takes whole videos; a `protocol` fixes frames and stride.

    With `recursive` the folders below are read, too, as those of classes. `pair_by` says whose partner a video is: by
    run `record` (prompt, seed, image), or by `name`, equal but for its ending, for videos without records. `bad_videos`
    says what to do with a video that can't be read or is too short: `fail`, or `skip` and list it. Sets of other sizes,
    frame rates or lossy codecs are refused, unless all are resized (`match_size`, "128x96") or taken at one rate
    (`match_fps`, not above any video's own), or codecs are not to matter (`any_codec`).
    """

    metrics: tuple[str, ...] = DEFAULT_METRICS
    extractor: str = "tiny-shapes-v1"
    protocol: str | None = None
    num_frames: int | None = Field(default=None, ge=1, le=4096)
    stride: int = Field(default=1, ge=1, le=1024)
    clips_per_video: int = Field(default=1, ge=1, le=1024)
    recursive: bool = False
    pair_by: Literal["record", "name"] = "record"
    bad_videos: Literal["fail", "skip"] = "fail"
    workers: int | None = Field(default=None, ge=1, le=256)
    batch_size: int = Field(default=16, ge=1, le=MOST)
    device: str = "cpu"
    seed: Seed = 0
    limits: CoherenceLimits | None = None
    match_size: str | None = Field(default=None, pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")
    match_fps: float | None = Field(default=None, gt=0, le=1000)
    any_codec: bool = False

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        metrics = (*SETS, *PAIRS, *VIDEOS)
        if not value:
            raise ValueError(f"there is no metric; choose from {', '.join(metrics)}")
        return tuple(one_of("metric", name, metrics) for name in value)

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, value: str | None) -> str | None:
        return value if value is None else one_of("protocol", value, tuple(PROTOCOLS))

    @model_validator(mode="before")
    @classmethod
    def _protocol_fixes_frames(cls, values: Any) -> Any:
        if (given := cls.values_given(values)) is None:
            return values
        values = given
        if values.get("clips_per_video", 1) != 1 and values.get("num_frames") is None:
            raise ValueError("`clips_per_video` needs `num_frames`: without it a clip is the whole video")
        if isinstance(protocol := values.get("protocol"), str) and protocol in PROTOCOLS:
            for name in ("num_frames", "stride", "clips_per_video"):
                if name in values:
                    raise ValueError(f"protocol '{protocol}' fixes `{name}`; leave it out")
            values["num_frames"], values["stride"] = PROTOCOLS[protocol]
        return values

    @property
    def most_videos(self) -> int | None:
        """Videos of each side that the protocol takes."""
        return 2048 if self.protocol else None

    def sampling(self) -> Sampling:
        return Sampling(self.num_frames, self.stride, self.clips_per_video, self.match_fps)

    @property
    def width_and_height(self) -> tuple[int, int] | None:
        """What all frames are resized to."""
        if self.match_size is None:
            return None
        width, _, height = self.match_size.partition("x")
        return int(width), int(height)

    def sampling_as_dict(self) -> dict[str, Any]:
        matched = {"match_size": self.match_size, "match_fps": self.match_fps}
        return {
            "protocol": self.protocol, "num_frames": self.num_frames, "stride": self.stride,
            "clips_per_video": self.clips_per_video,
        } | {name: value for name, value in matched.items() if value is not None}  # fmt: skip

    def wanted(self, generated: bool, paired: bool, statistics: bool) -> set[str]:
        """The metrics that can be measured with what there is; those asked for by name must be.

        Raises ConfigError for one of the others.
        """
        of_partners = {*PAIRS, *(name for name, metric in SETS.items() if metric.of_partners)}
        possible = set(VIDEOS) if generated else set()
        if generated and (paired or statistics):
            possible |= set(SETS) - of_partners
        if generated and paired:
            possible |= of_partners
        if "metrics" in self.model_fields_set and generated and (missing := set(self.metrics) - possible):
            needs = "a `reference` folder" if missing & of_partners else "a `reference`"
            raise ConfigError(f"{', '.join(sorted(missing))}: needs {needs}")
        return set(self.metrics) & possible
