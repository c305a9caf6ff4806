"""call_pipeline(): one call for a batch of videos, each with its own random generator and its own image."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from traceback import walk_tb
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoada.config.run import GenerationConfig
from videoada.devices import is_gpu
from videoada.errors import ConfigError, ResourceError, VideoAdaError
from videoada.media.video import Video
from videoada.models.arguments import as_image, call_arguments, decodes_in_chunks, is_i2vgen, takes_chunk_size
from videoada.models.conditioning import encode_prompt, image_conditions
from videoada.models.denoisers import denoisers_of, device_of
from videoada.models.images import cover
from videoada.models.pipelines import model_info
from videoada.models.placement import ran_out_of_memory
from videoada.models.recommended import with_recommended
from videoada.models.understanding import understand
from videoada.patching import replaced

OURS, THEIRS = "videoada", ("diffusers", "transformers")  # packages whose frames a traceback of a call has
FEW_BITS = 32  # of a seed that torch's CPU generator looks at
STATE = slice(24, 24 + 624 * 8)  # bytes of its state that hold the Mersenne Twister's words, as 64-bit numbers


def generator_of(seed: int) -> torch.Generator:
    """A CPU generator for a seed from 0 to 2⁶⁴ − 1.

    Below 2³² it is `torch.Generator().manual_seed(seed)`. That looks at the last 32 bits alone, so that 2³² + 7 would
    give the video of 7: from 2³² on the Mersenne Twister begins with all 64, by its own `init_by_array`.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    if seed >> FEW_BITS == 0:
        return generator
    words = np.random.RandomState([seed & 0xFFFFFFFF, seed >> FEW_BITS]).get_state(legacy=False)["state"]["key"]
    state = generator.get_state()
    state[STATE] = torch.from_numpy(np.asarray(words, dtype=np.int64)).view(torch.uint8)
    generator.set_state(state)
    return generator


def given_prompt(pipe: Any, prompt: str, negative: bool = False) -> str:
    """What the pipeline is given for a prompt: an embedded model's in the wording it was trained on, where all words
    are known; as it is otherwise."""
    info = model_info(pipe)
    return understand(info.name, prompt, negative).prompt if info.embedded else prompt


def _as_given(pipe: Any, request: GenerationConfig) -> GenerationConfig:
    negative = request.negative_prompt and given_prompt(pipe, request.negative_prompt, negative=True)
    return request.model_copy(update={"prompt": given_prompt(pipe, request.prompt), "negative_prompt": negative})


def call_pipeline(pipe: Any, batch: Sequence[GenerationConfig]) -> tuple[list[Video], float]:
    """The videos of one call for requests that differ only in prompts, image and seed, and the seconds that it took.

    The pipeline is called as it is, with what `given_prompt` makes of the prompts; the seconds are from the prompt to
    the decoded frames. Raises ResourceError when memory ran out, ImageError for an image that can't be read,
    ConfigError where the network's numbers overflowed.
    """
    began = time.perf_counter()
    batch = [_as_given(pipe, request) for request in with_recommended(pipe, batch)]
    request, alone = batch[0], len(batch) == 1
    generators = [generator_of(r.seed) for r in batch]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_memory_errors(pipe, request))
        stack.enter_context(_refused(pipe))
        options = call_arguments(pipe, batch)
        options |= {"generator": generators[0] if alone else generators, "output_type": "np"}
        if is_i2vgen(pipe):
            height, width = options["height"], options["width"]  # the pipeline's own, where the request names none
            images = [as_image(r.image) for r in batch]
            stack.enter_context(image_conditions(pipe, images, generators, height, width))
            for name in ("prompt", "negative_prompt"):
                options.pop(name, None)
            options |= encode_prompt(pipe, [r.prompt for r in batch], [r.negative_prompt or "" for r in batch])
            options |= {"image": cover(images[0], width, height), "target_fps": request.target_fps or 16}
        if request.decode_chunk_size and takes_chunk_size(pipe):
            options["decode_chunk_size"] = request.decode_chunk_size
        elif request.decode_chunk_size and decodes_in_chunks(pipe):
            stack.enter_context(decoding_in_chunks(pipe, request.decode_chunk_size))
        output = pipe(**options)
    videos = output.frames if hasattr(output, "frames") else [output.images]  # Text2Video-Zero names them so
    if not all(np.isfinite(frames).all() for frames in videos):
        raise ConfigError("the frames are not numbers (NaN): lower `guidance_scale`, or take another `dtype`")
    assert request.fps is not None
    return [Video.from_float(frames, request.fps) for frames in videos], time.perf_counter() - began


@contextlib.contextmanager
def decoding_in_chunks(pipe: Any, size: int) -> Iterator[None]:
    """Inside the block, a pipeline that decodes all frames at once decodes `size` frames at a time."""

    def decode(inherited: Callable[..., Tensor], pipe: Any, latents: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # (B, C, F, h, w) → (B, 3, F, H, W)
        return torch.cat([inherited(chunk, *args, **kwargs) for chunk in latents.split(size, dim=2)], dim=2)

    with replaced(pipe, "decode_latents", decode):
        yield


@contextlib.contextmanager
def _refused(pipe: Any) -> Iterator[None]:
    """What the pipeline, or a part of it, can't do as one line, with the exception as its cause.

    An exception is the pipeline's where a frame of diffusers or transformers is further in than any of ours: they call
    us back at each step and network call, so that what we raise, or what we were given raises, comes from further in.
    """
    try:
        yield
    except Exception as error:
        packages = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
        innermost = next((name for name in reversed(packages) if name in (OURS, *THEIRS)), OURS)
        if innermost == OURS or isinstance(error, VideoAdaError) or ran_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:300]
        if isinstance(error, (ValueError, NotImplementedError)) and said:  # raised to be read
            raise ConfigError(f"{type(pipe).__name__} refuses the request: {said}") from error
        raise ConfigError(f"{type(pipe).__name__} failed on this request: {type(error).__name__}: {said}") from error


@contextlib.contextmanager
def _memory_errors(pipe: Any, request: GenerationConfig) -> Iterator[None]:
    """Out of memory, on a GPU or a CPU, as one line that names what would help."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        on_gpu, denoiser = is_gpu(device_of(pipe)), next(iter(denoisers_of(pipe)), None)
        vae = getattr(pipe, "vae", None)
        advice = [
            *(["`offload=model` (or sequential)"] if on_gpu and not hasattr(denoiser, "_hf_hook") else []),
            *(["`decode_chunk_size=1`"] if (request.decode_chunk_size or 2) > 1 and decodes_in_chunks(pipe) else []),
            *(["`vae_slicing`", "`vae_tiling`"] if not getattr(vae, "use_tiling", False) else []),
            *(["`dtype=float16`"] if on_gpu and getattr(denoiser, "dtype", None) == torch.float32 else []),
            "a smaller `batch_size`, fewer `num_frames` or a smaller `height` and `width`",
        ]
        raise ResourceError(f"memory ran out while generating; what needs less: {', '.join(advice)}") from None
