"""What image-to-video generation is conditioned on, made for each video by itself.

I2VGenXLPipeline's own ways fail or differ: its text encoding asks for an attribute that transformers 5.6 removed, a
list of images is cut by the first one's size, several videos of a prompt mix up the images, and the noise of the image
latents ignores the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from videoada.models.denoisers import device_of
from videoada.models.images import cover
from videoada.patching import replaced

if TYPE_CHECKING:
    from PIL.Image import Image


@torch.no_grad()
def encode_prompt(
    pipe: Any,
    prompt: str | Sequence[str],
    negative_prompt: str | list[str] | tuple[str, ...] | None = None,
    clip_skip: int = 1,
) -> dict[str, Tensor]:
    """`prompt_embeds` and `negative_prompt_embeds` for I2VGenXLPipeline, (B, tokens, width), as it means to make them.

    The text encoder's hidden state before its last `clip_skip` layers, through its final layer norm. Pass them on:
    `pipe(image=image, **encode_prompt(pipe, "…"))`. Each prompt is encoded alone, so that a batch changes nothing.
    """
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    negatives = (
        [negative_prompt or ""] * len(prompts) if not isinstance(negative_prompt, (list, tuple)) else (negative_prompt)
    )
    return {
        "prompt_embeds": torch.cat([_hidden_state(pipe, text, clip_skip) for text in prompts]),
        "negative_prompt_embeds": torch.cat([_hidden_state(pipe, text or "", clip_skip) for text in negatives]),
    }


def _hidden_state(pipe: Any, text: str, clip_skip: int) -> Tensor:
    tokenizer, encoder, device = pipe.tokenizer, pipe.text_encoder, device_of(pipe)
    tokens = tokenizer(
        text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    masked = getattr(encoder.config, "use_attention_mask", False)
    mask = tokens.attention_mask.to(device) if masked else None
    states = encoder(tokens.input_ids.to(device), attention_mask=mask, output_hidden_states=True).hidden_states
    normalise = getattr(encoder, "text_model", encoder).final_layer_norm  # transformers < 5.6 keeps it one level down
    return normalise(states[-(clip_skip + 1)]).to(encoder.dtype)


@contextmanager
def image_conditions(
    pipe: Any, images: Sequence[Image], generators: Sequence[torch.Generator], height: int, width: int
) -> Iterator[None]:
    """I2VGenXLPipeline with one image and one generator for each video, for the length of the block.

    Each image is cut by itself, and the noise of its latents comes from its own generator, before the initial noise.
    For a single video on a CPU that is what plain diffusers does after `torch.manual_seed` with that seed and no
    generator. Only this pipeline object is touched, and it is as before when the block is left.
    """

    def encode_image(
        inherited: Callable[..., Tensor], pipe: Any, image: Any, device: Any, num_videos_per_prompt: int
    ) -> Tensor:
        """(B, 1, width), under guidance (2B, 1, width) with zeros first."""
        crop = pipe.feature_extractor.crop_size
        size = crop["width"], crop["height"]
        rows = [own.resize(size, _bilinear()) for own in (cover(image, width, width) for image in images)]
        return _halves_together([inherited(row, device, 1) for row in rows])

    def prepare_image_latents(
        inherited: Callable[..., Tensor], pipe: Any, image: Any, device: Any, num_frames: int,
        num_videos_per_prompt: int,
    ) -> Tensor:  # fmt: skip
        """(B, C, F, h, w): each image's latents, then each later frame's position in the clip; twice under guidance."""
        dtype = next(pipe.image_encoder.parameters()).dtype
        rows = []
        for own, generator in zip(images, generators, strict=True):
            pixels = pipe.video_processor.preprocess(cover(own, width, height)).to(device=device, dtype=dtype)
            latents = pipe.vae.encode(pixels).latent_dist.sample(generator) * pipe.vae.config.scaling_factor
            positions = [torch.ones_like(latents) * ((k + 1) / (num_frames - 1)) for k in range(num_frames - 1)]
            rows.append(torch.stack([latents, *positions], 2))
        latents = torch.cat(rows)
        return torch.cat([latents, latents]) if pipe.do_classifier_free_guidance else latents

    with (
        replaced(pipe, "_encode_image", encode_image),
        replaced(pipe, "prepare_image_latents", prepare_image_latents),
    ):
        yield


def _halves_together(rows: Sequence[Tensor]) -> Tensor:
    """Rows of one video each, [uncond, cond] under guidance or [cond] without → [uncond …, cond …]."""
    return torch.cat([torch.cat(half) for half in zip(*(row.split(1) for row in rows), strict=True)])


def _bilinear() -> Any:
    from PIL import Image

    return Image.Resampling.BILINEAR
