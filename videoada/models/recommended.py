"""Settings recommended for a model: what a run takes where nothing is said.

Of the known models they are the catalogue's, of others the defaults of the pipeline's own call, with the scheduler as
the checkpoint has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videoada.config.run import GenerationConfig
from videoada.config.settings import RunSettings
from videoada.models.arguments import default_of, edits_video, is_required, names_of
from videoada.models.catalogue import known_model
from videoada.models.source_videos import source_length, source_rate

FRAMES, STEPS, FPS = 16, 50, 8  # of a pipeline whose call has no such default
# Frames a second of families whose call does not take a rate: as diffusers' examples and their model cards export them.
RATES = {"Wan": 16, "SkyReels": 24, "HunyuanVideo": 15, "Mochi": 30, "Allegro": 15, "Sana": 16, "Kandinsky5": 24,
         "Motif": 24, "Helios": 24, "Lucy": 24, "AnyFlow": 16}  # fmt: skip
SETTINGS = ("num_inference_steps", "guidance_scale", "num_frames", "fps", "scheduler", "height", "width")


def recommended_for(model: str) -> dict[str, Any]:
    """Fields of a GenerationConfig for a model of the catalogue; {} for another, whose pipeline has to be loaded."""
    if (known := known_model(model)) is None:
        return {}
    return {
        "num_inference_steps": known.num_inference_steps, "guidance_scale": known.guidance_scale,
        "num_frames": known.num_frames, "fps": known.fps, "scheduler": known.scheduler, "height": known.height,
        "width": known.width,
    }  # fmt: skip


def recommended_of(pipe: Any) -> dict[str, Any]:
    """Fields of a GenerationConfig for a loaded pipeline. `scheduler` None is the pipeline's own, as it is."""
    from videoada.models.pipelines import model_info  # with torch, which planning a render goes without

    if known := recommended_for(model_info(pipe).name):
        return known
    own = {field: default_of(pipe, name) for field, name in names_of(pipe).items()}
    if is_required(pipe, names_of(pipe).get("num_frames", "")):
        own["num_frames"] = FRAMES
    kind = type(pipe).__name__
    rate = own.get("fps") or next((fps for mark, fps in RATES.items() if kind.startswith(mark)), FPS)
    return {
        "num_inference_steps": own.get("num_inference_steps") or STEPS,
        "guidance_scale": own.get("guidance_scale"),
        "num_frames": own.get("num_frames"),  # None: as many as its network was trained on
        "fps": round(rate),
        "scheduler": None,
    }


def with_recommended(pipe: Any, requests: Sequence[GenerationConfig]) -> list[GenerationConfig]:
    """The requests with what they leave at None filled in: by the model's own settings, of an input video by its rate
    and, where all of it is generated again, its number of frames. Raises ImageError for a video that can't be read."""
    own = recommended_of(pipe)
    return [
        request.model_copy(update={n: v for n, v in (own | _of_video(pipe, request)).items() if n in left_out(request)})
        for request in requests
    ]


def _of_video(pipe: Any, request: GenerationConfig) -> dict[str, int | float]:
    """What follows from a request's input video: its rate, and its number of frames where each is generated again."""
    if request.video is None or "video" not in names_of(pipe):
        return {}
    found: dict[str, int | float] = {}
    if request.num_frames is None and edits_video(pipe):
        found["num_frames"] = source_length(request.video)
    if request.fps is None and (rate := source_rate(request.video)) is not None:
        found["fps"] = rate
    return found


def left_out(request: GenerationConfig) -> list[str]:
    """The settings that a request leaves open."""
    return [name for name in SETTINGS if getattr(request, name) is None]


def left_to_model(pipe: Any, request: GenerationConfig) -> list[str]:
    """The settings that a request leaves open, and that are the model's own; an input video brings some."""
    own, of_video = recommended_of(pipe), _of_video(pipe, request)
    return [name for name in left_out(request) if own.get(name) is not None and name not in of_video]


def filled(settings: RunSettings, pipe: Any = None) -> RunSettings:
    """Settings with what they leave out filled in: of the loaded pipeline, or of the catalogue without it."""
    own = filled_in(settings.model, pipe)
    return settings.model_copy(update={n: v for n, v in own.items() if getattr(settings, n) is None})


def filled_in(model: str, pipe: Any = None) -> dict[str, Any]:
    """The recommended settings by the names of RunSettings; without a pipeline, {} for a model not in the catalogue."""
    own = recommended_for(model) if pipe is None else recommended_of(pipe)
    return {{"num_inference_steps": "steps"}.get(name, name): value for name, value in own.items()}
