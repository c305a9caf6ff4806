"""A request as the arguments of a pipeline's own call: what it takes, by the names that its signature has for it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from videoada.config.run import GenerationConfig
from videoada.errors import ConfigError, ModelError, counted
from videoada.media.pictures import as_rgb
from videoada.models.catalogue import known_model
from videoada.models.denoisers import denoisers_of
from videoada.models.images import cover, read_image
from videoada.models.source_videos import read_source_video

UNET_SIDE = 8  # latents: the multiple that UNets take
FRAMES_APART = 50  # steps for which Text2Video-Zero's call says between which two of them frames move apart
REAL_SAMPLE_SIZE = 32  # I2VGen-XL's configuration says 32 latents (256 pixels), its pipeline generates 704×1280
# A request's field, and what pipelines call it; the first name that a signature has is taken.
NAMES = {
    "prompt": ("prompt",), "negative_prompt": ("negative_prompt",), "image": ("image",), "video": ("video",),
    "strength": ("strength",), "num_inference_steps": ("num_inference_steps",),
    "guidance_scale": ("guidance_scale", "max_guidance_scale"), "num_frames": ("num_frames", "video_length", "frames"),
    "fps": ("frame_rate", "fps"), "height": ("height",), "width": ("width",), "target_fps": ("target_fps",),
}  # fmt: skip
ONE_A_CALL = (  # parts of names of classes whose call takes one prompt, image or video, or mixes up several
    "VideoToVideoSD", "TextToVideoZero", "WanVACE", "WanImageToVideo", "WanAnimate", "SkyReelsV2ImageToVideo",
    "SkyReelsV2DiffusionForcingImageToVideo", "SanaImageToVideo", "HunyuanVideoImageToVideo", "HunyuanVideo15",
    "ChronoEdit",
)  # fmt: skip
EDITORS = ("WanVACE", "LucyEdit")  # parts of names: each frame of the video again, and a number of frames is taken, too
# What no request can give: pipelines that generate from it are called by hand, inside `skip_steps`.
NOT_REQUESTED = {"ConsisID": "embeddings of a face", "WanAnimate": "videos of a pose and a face"}


def names_of(pipe: Any) -> dict[str, str]:
    """The fields of a request that a pipeline, or pipelines of a class, take, and what their call names them."""
    return dict(_names_of(_class_of(pipe)))


def _class_of(pipe: Any) -> Any:
    return pipe if isinstance(pipe, type) else type(pipe)


@functools.lru_cache(maxsize=64)
def _parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__call__).parameters


@functools.lru_cache(maxsize=64)
def _names_of(kind: type) -> tuple[tuple[str, str], ...]:
    parameters = _parameters(kind)
    found = {field: next((n for n in names if n in parameters), None) for field, names in NAMES.items()}
    return tuple((field, name) for field, name in found.items() if name is not None)


def default_of(pipe: Any, name: str) -> Any:
    """The default of a parameter of the pipeline's call; None where it has none, or there is no such parameter."""
    parameter = _parameters(_class_of(pipe)).get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def is_required(pipe: Any, name: str) -> bool:
    """Whether the pipeline's call has a parameter of that name without a default."""
    parameter = _parameters(_class_of(pipe)).get(name)
    return parameter is not None and parameter.default is parameter.empty


def takes_image(pipe: Any) -> bool:
    """Whether the pipeline takes an image."""
    return "image" in names_of(pipe)


def generates_videos(pipe: Any) -> bool:
    """Whether a pipeline, or those of a class, generate videos: their call takes a number of frames, or a video."""
    return bool({"num_frames", "video"} & names_of(pipe).keys())


def needs(pipe: Any, field: str) -> bool:
    """Whether a pipeline, or those of a class, generate from that field (`image` or `video`), and not without it."""
    kind, names = _class_of(pipe), names_of(pipe)
    if field not in names:
        return False
    marks = {"image": ("I2V", "ImageToVideo", "Image2Video", "StableVideoDiffusion"), "video": ("VideoToVideo", "V2V")}
    return is_required(kind, names[field]) or any(mark in kind.__name__ for mark in marks[field])


def edits_video(pipe: Any) -> bool:
    """Whether a pipeline generates each frame of its input video again; others go on from it."""
    names = names_of(pipe)
    return "video" in names and ("num_frames" not in names or any(part in type(pipe).__name__ for part in EDITORS))


def one_a_call(pipe: Any) -> bool:
    """Whether the pipeline generates one video a call."""
    return any(part in type(pipe).__name__ for part in ONE_A_CALL)


def check_request(pipe: Any, request: GenerationConfig) -> None:
    """Raises ConfigError if a pipeline, or those of a class, can't run the request, ModelError if they generate no
    videos."""
    names, kind = names_of(pipe), _class_of(pipe).__name__
    if not generates_videos(pipe):
        raise ModelError(f"{kind} does not generate videos from prompts; use a text-to-video model")
    if what := next((what for part, what in NOT_REQUESTED.items() if part in kind), None):
        raise ConfigError(f"{kind} generates from {what}, which a request has not: call the pipeline in `skip_steps`")
    if "prompt" in names:
        _check_prompt(pipe, request)
    _check_pictures(pipe, request)
    if request.strength is not None and "strength" not in names:
        raise ConfigError(f"{kind} has no `strength`; it is of video-to-video pipelines")
    _check_frames(pipe, request)
    factor = spatial_factor(pipe) * _patch_size(pipe)
    for side, value in (("height", request.height), ("width", request.width)):
        if value is not None and side not in names and request.video is None:
            raise ConfigError(f"{kind} has no `{side}`: leave it out")
        if value is not None and value % factor:
            raise ConfigError(f"{side} {value} is not a multiple of {factor}, which the model needs")


def _check_prompt(pipe: Any, request: GenerationConfig) -> None:
    """Raises ConfigError for an empty prompt, or a pipeline that has nothing to read one with."""
    kind = _class_of(pipe).__name__
    if not request.prompt.strip():
        raise ConfigError(f"the prompt is empty, and {kind} generates from one: give it a `prompt`")
    parts = {} if isinstance(pipe, type) else pipe.components
    tokenizers = [part for name, part in parts.items() if name.startswith("tokenizer")]
    if tokenizers and all(part is None for part in tokenizers):
        raise ConfigError(f"this {kind} has no tokenizer, and can't read a `prompt`: load a folder that has one")


def _check_pictures(pipe: Any, request: GenerationConfig) -> None:
    """Raises ConfigError for an image or a video that the pipeline does not take, or needs and is not given."""
    names, kind = names_of(pipe), _class_of(pipe).__name__
    if request.image is not None and "image" not in names:
        raise ConfigError(
            f"{kind} generates from text alone; leave the image out, or use an image-to-video model such as tiny-i2v"
            if "video" not in names
            else f"{kind} takes no image: leave `image` out"
        )
    if request.image is None and needs(pipe, "image"):
        raise ConfigError(
            f"{kind} generates from an image{' and a prompt' if 'prompt' in names else ''}; give it an `image`"
        )
    if request.video is not None and "video" not in names:
        raise ConfigError(f"{kind} takes no video: leave `video` out, or use a video-to-video pipeline")
    if request.video is None and needs(pipe, "video"):
        raise ConfigError(f"{kind} generates from a video; give it a `video`, a file or a folder of frames")


def _check_frames(pipe: Any, request: GenerationConfig) -> None:
    """Raises ConfigError for frames that the network has no positions for (AnimateDiff, Latte), or no step of a
    video."""
    most = _of_network(pipe, "motion_max_seq_length")
    if most and (request.num_frames or 0) > most and not getattr(pipe, "free_noise_enabled", False):
        raise ConfigError(f"this model generates up to {counted(most, 'frame')}: give `num_frames={most}` or less")
    fixed = _of_network(pipe, "video_length")
    if fixed and request.num_frames not in (None, fixed):
        raise ConfigError(
            f"this model generates {counted(fixed, 'frame')}, neither more nor fewer: give `num_frames={fixed}`"
        )
    if request.video is not None and needs(pipe, "video") and request.num_inference_steps is not None:
        share = request.strength or default_of(pipe, "strength")
        if share and int(request.num_inference_steps * share) < 1:
            raise ConfigError(
                f"a `strength` of {share:g} leaves none of {counted(request.num_steps, 'step')} to run: give more of "
                "either"
            )


def _of_network(pipe: Any, name: str) -> Any:
    """A value of the first denoiser's configuration; None where it has none, or the pipeline is not there yet."""
    return getattr(getattr(next(iter(denoisers_of(pipe)), None), "config", None), name, None)


def _patch_size(pipe: Any) -> int:
    """Latents of a frame's side for each of a DiT's tokens; 1 of a UNet."""
    size = _of_network(pipe, "patch_size") or 1
    return int(size[-1] if isinstance(size, (list, tuple)) else size)


def spatial_factor(pipe: Any) -> int:
    """Pixels of a frame's side for each of its latents."""
    factor = getattr(pipe, "vae_scale_factor_spatial", None) or getattr(pipe, "vae_scale_factor", None) or 8
    return int(factor)


def video_multiple(pipe: Any) -> int:
    """Pixels, a multiple of which an input video's sides are cut to: a DiT takes its patches, a UNet halves its latents
    three times."""
    return spatial_factor(pipe) * (_patch_size(pipe) if _of_network(pipe, "patch_size") else UNET_SIDE)


def video_size(pipe: Any, request: GenerationConfig) -> tuple[int | None, int | None]:
    """(height, width) that the request asks for; where it does not, the model's own, or None for the pipeline's."""
    own: tuple[int | None, int | None] = None, None
    sample_size = _of_network(pipe, "sample_size")
    if is_i2vgen(pipe) and isinstance(sample_size, int) and sample_size != REAL_SAMPLE_SIZE:
        own = (sample_size * pipe.vae_scale_factor,) * 2
    elif takes_image(pipe):
        own = default_of(pipe, "height"), default_of(pipe, "width")
    return request.height or own[0], request.width or own[1]


def _text_tokens(pipe: Any) -> int | None:
    """The length of its texts (CogVideoX, tiny-wan), where the call has by itself that of the released models."""
    from videoada.models.pipelines import model_info  # which imports diffusers

    known = known_model(model_info(pipe).name)
    own: int | None = _of_network(pipe, "max_text_seq_length") or getattr(known, "text_tokens", None)
    return own


def is_i2vgen(pipe: Any) -> bool:
    """Whether it is an I2VGenXLPipeline, whose conditions are made in models/conditioning.py."""
    return hasattr(next(iter(denoisers_of(pipe)), None), "image_latents_proj_in")


def call_arguments(pipe: Any, batch: Sequence[GenerationConfig]) -> dict[str, Any]:
    """The arguments of one call for requests that differ only in prompts, image, video and seed, but for generators.

    What is None is left to the pipeline. A pipeline that takes one image or video for its call gets a list of them for
    several requests. Raises ImageError and OutputError for files that can't be read.
    """
    names, request, alone = names_of(pipe), batch[0], len(batch) == 1
    height, width = video_size(pipe, request)
    more: dict[str, Any] = {}
    values: dict[str, Any] = {
        "num_inference_steps": request.num_inference_steps, "guidance_scale": request.guidance_scale,
        "num_frames": request.num_frames, "fps": request.fps, "height": height, "width": width,
        "strength": request.strength, "target_fps": request.target_fps,
    }  # fmt: skip
    if "prompt" in names:
        values["prompt"] = request.prompt if alone else [r.prompt for r in batch]
        negatives = [r.negative_prompt or "" for r in batch]
        values["negative_prompt"] = request.negative_prompt if alone else negatives if any(negatives) else None
    if "max_sequence_length" in _parameters(_class_of(pipe)) and (length := _text_tokens(pipe)) is not None:
        more["max_sequence_length"] = length
    if (late := default_of(pipe, "t1")) is not None and request.num_steps < FRAMES_APART:  # Text2Video-Zero
        more |= {"t0": default_of(pipe, "t0") * request.num_steps // FRAMES_APART,
                 "t1": late * request.num_steps // FRAMES_APART}  # fmt: skip
    if request.image is not None:
        images = [as_image(r.image) for r in batch]
        if height and width:
            images = [cover(image, width, height) for image in images]
        values["image"] = images[0] if alone else images
    if request.video is not None:
        needed = request.num_frames if edits_video(pipe) else None
        videos = [read_source_video(r.video, needed, height, width, video_multiple(pipe)) for r in batch]
        videos = [video[: request.num_frames] for video in videos]
        values["video"] = videos[0] if alone else videos
        if edits_video(pipe):
            values["num_frames"] = len(videos[0])
        first = videos[0][0]
        values["height"], values["width"] = first.height, first.width
    return more | {names[field]: value for field, value in values.items() if value is not None and field in names}


def ignored(pipe: Any, request: GenerationConfig) -> list[str]:
    """What a request asks for and this pipeline's call has no parameter for, as texts for a record's `not_used`."""
    names = names_of(pipe)
    asked: Mapping[str, Any] = {
        "prompt": request.prompt or None, "negative_prompt": request.negative_prompt,
        "guidance_scale": request.guidance_scale,
        "num_frames": None if request.video is not None else request.num_frames,
    }  # fmt: skip
    kind = type(pipe).__name__
    unused = [
        f"`{field}`: {kind} takes none" for field, value in asked.items() if value is not None and field not in names
    ]
    if request.target_fps is not None and "target_fps" not in names:
        unused.append(f"`target_fps`: {kind} has no such condition, I2VGen-XL has; `fps` is the rate of the file")
    if request.negative_prompt and "true_cfg_scale" in _parameters(_class_of(pipe)):
        unused.append(f"`negative_prompt`: {kind} has its guidance inside the network, which knows none")
    if request.decode_chunk_size and not decodes_in_chunks(pipe):
        unused.append(f"`decode_chunk_size`: {kind} decodes all frames inside its call; `vae_tiling` needs less memory")
    return unused


def decodes_in_chunks(pipe: Any) -> bool:
    """Whether the pipeline decodes some frames at a time, or can be made to."""
    return takes_chunk_size(pipe) or _decodes_frame_by_frame(pipe)


def takes_chunk_size(pipe: Any) -> bool:
    """Whether the pipeline's own call has a number of frames to decode at once."""
    return "decode_chunk_size" in _parameters(_class_of(pipe))


def _decodes_frame_by_frame(pipe: Any) -> bool:
    """Whether it decodes all frames (B, C, F, h, w) at once with a VAE of pictures; a video's depend on each other."""
    of_pictures = type(getattr(pipe, "vae", None)).__name__ == "AutoencoderKL"
    return of_pictures and hasattr(pipe, "decode_latents") and "TextToVideoZero" not in type(pipe).__name__


def as_image(image: Any) -> Any:
    """A picture, read where a path is given."""
    return read_image(image) if isinstance(image, str) else as_rgb(image)
