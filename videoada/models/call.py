"""call_pipeline(): one call for a batch of videos, each with its own random generator and its own image."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoada.config.run import GenerationConfig
from videoada.errors import ConfigError, ModelError, ResourceError
from videoada.media.video import Video
from videoada.models.conditioning import encode_prompt, image_conditions
from videoada.models.denoisers import denoisers_of, device_of
from videoada.models.images import cover, read_image
from videoada.models.pipelines import model_info
from videoada.models.placement import ran_out_of_memory
from videoada.models.understanding import understand
from videoada.patching import replaced

REAL_SAMPLE_SIZE = 32  # I2VGen-XL's configuration says 32 latents (256 pixels), its pipeline generates 704×1280


def takes_image(pipe: Any) -> bool:
    """Whether the pipeline takes an image."""
    return "image" in inspect.signature(type(pipe).__call__).parameters


def check_request(pipe: Any, request: GenerationConfig) -> None:
    """Raises ConfigError if this pipeline can't run the request, ModelError if it generates no videos."""
    parameters = inspect.signature(type(pipe).__call__).parameters
    name = type(pipe).__name__
    if not {"prompt", "num_frames"} <= set(parameters):
        raise ModelError(f"{name} does not generate videos from prompts; use a text-to-video model")
    if request.image is not None and "image" not in parameters:
        raise ConfigError(
            f"{name} generates from text alone; leave the image out, or use an image-to-video model such as tiny-i2v"
        )
    if request.image is None and "image" in parameters:
        raise ConfigError(f"{name} generates from an image and a prompt; give it an `image`")
    if request.target_fps is not None and "target_fps" not in parameters:
        raise ConfigError(f"{name} has no `target_fps`; it is a condition of I2VGen-XL")
    factor = getattr(pipe, "vae_scale_factor", 8)
    for side, value in (("height", request.height), ("width", request.width)):
        if value is not None and value % factor:
            raise ConfigError(f"{side} {value} is not a multiple of {factor}, which the model's VAE needs")


def _first_denoiser(pipe: Any) -> Any:
    """Or None: a pipeline of another kind may have none."""
    return next(iter(denoisers_of(pipe)), None)


def video_size(pipe: Any, request: GenerationConfig) -> tuple[int | None, int | None]:
    """(height, width) that the request asks for; where it does not, the model's own, or None for the pipeline's."""
    own: tuple[int | None, int | None] = None, None
    sample_size = getattr(getattr(_first_denoiser(pipe), "config", None), "sample_size", None)
    if takes_image(pipe) and isinstance(sample_size, int) and sample_size != REAL_SAMPLE_SIZE:
        own = (sample_size * pipe.vae_scale_factor,) * 2
    elif takes_image(pipe):
        parameters = inspect.signature(type(pipe).__call__).parameters
        height, width = (getattr(parameters.get(side), "default", None) for side in ("height", "width"))
        own = height, width
    return request.height or own[0], request.width or own[1]


def given_prompt(pipe: Any, prompt: str, negative: bool = False) -> str:
    """What the pipeline is given for a prompt: an embedded model's in the wording it was trained on, where all words
    are known; as it is otherwise."""
    info = model_info(pipe)
    return understand(info.name, prompt, negative).prompt if info.embedded else prompt


def call_pipeline(pipe: Any, batch: Sequence[GenerationConfig]) -> tuple[list[Video], float]:
    """The videos of one call for requests that differ only in prompts, image and seed, and the seconds that it took.

    The pipeline is called as it is, with what `given_prompt` makes of the prompts; the seconds are from the prompt to
    the decoded frames. Raises ResourceError when memory ran out, ImageError for an image that can't be read,
    ConfigError where the network's numbers overflowed.
    """
    began = time.perf_counter()
    request, alone = batch[0], len(batch) == 1
    generators = [torch.Generator("cpu").manual_seed(r.seed) for r in batch]
    height, width = video_size(pipe, request)
    prompts = [given_prompt(pipe, r.prompt) for r in batch]
    negatives = [given_prompt(pipe, r.negative_prompt or "", negative=True) for r in batch]
    options: dict[str, Any] = {
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "num_frames": request.num_frames,
        "height": height,
        "width": width,
        "generator": generators[0] if alone else generators,
        "output_type": "np",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_memory_errors(pipe, request))
        if hasattr(_first_denoiser(pipe), "image_latents_proj_in"):  # an I2VGenXLPipeline
            assert height is not None  # the pipeline's own, where the request names none
            assert width is not None
            images = [_as_image(r.image) for r in batch]
            stack.enter_context(image_conditions(pipe, images, generators, height, width))
            options |= encode_prompt(pipe, prompts, negatives)
            options |= {"image": cover(images[0], width, height), "target_fps": request.target_fps or 16}
        else:
            options["prompt"] = prompts[0] if alone else prompts
            options["negative_prompt"] = (request.negative_prompt and negatives[0]) if alone else negatives
            if takes_image(pipe):
                images = [_as_image(r.image) for r in batch]
                options["image"] = images[0] if alone else images
        if request.decode_chunk_size:
            if "decode_chunk_size" in inspect.signature(type(pipe).__call__).parameters:
                options["decode_chunk_size"] = request.decode_chunk_size
            else:
                stack.enter_context(decoding_in_chunks(pipe, request.decode_chunk_size))
        output = pipe(**options)
    if not all(np.isfinite(frames).all() for frames in output.frames):
        raise ConfigError("the frames are not numbers (NaN): lower `guidance_scale`, or take another `dtype`")
    return [Video.from_float(frames, request.fps) for frames in output.frames], time.perf_counter() - began


def _as_image(image: Any) -> Any:
    return read_image(image) if isinstance(image, str) else image


@contextlib.contextmanager
def decoding_in_chunks(pipe: Any, size: int) -> Iterator[None]:
    """Inside the block, a pipeline that decodes all frames at once decodes `size` frames at a time."""

    def decode(inherited: Callable[..., Tensor], pipe: Any, latents: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # (B, C, F, h, w) → (B, 3, F, H, W)
        return torch.cat([inherited(chunk, *args, **kwargs) for chunk in latents.split(size, dim=2)], dim=2)

    # others decode inside their `__call__`, all at once
    with replaced(pipe, "decode_latents", decode) if hasattr(pipe, "decode_latents") else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _memory_errors(pipe: Any, request: GenerationConfig) -> Iterator[None]:
    """Out of memory, on a GPU or a CPU, as one line that names what would help."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        on_gpu, denoiser, vae = device_of(pipe).type == "cuda", _first_denoiser(pipe), getattr(pipe, "vae", None)
        advice = [
            *(["`offload=model` (or sequential)"] if on_gpu and not hasattr(denoiser, "_hf_hook") else []),
            *(["`decode_chunk_size=1`"] if (request.decode_chunk_size or 2) > 1 else []),
            *(["`vae_slicing`", "`vae_tiling`"] if not getattr(vae, "use_tiling", False) else []),
            *(["`dtype=float16`"] if on_gpu and getattr(denoiser, "dtype", None) == torch.float32 else []),
            "a smaller `batch_size`, fewer `num_frames` or a smaller `height` and `width`",
        ]
        raise ResourceError(f"memory ran out while generating; what needs less: {', '.join(advice)}") from None
