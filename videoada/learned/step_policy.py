"""How many steps a prompt gets: a light policy over its text embedding, asked before the run.

After Zhang et al., "AdaDiff: Adaptive Step Selection for Fast Diffusion Models", AAAI 2025, arXiv 2311.14768: a
categorical choice among numbers of steps, trained by policy gradient on quality − λ·steps/T with the diffusion model
frozen. The network and the constants here are ours; the paper does not give its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoada.config.run import GenerationConfig
from videoada.config.settings import SHIPPED
from videoada.errors import ModelError
from videoada.learned.parts import STEP_POLICY, check_trained_for, read_part, write_part
from videoada.models.call import given_prompt
from videoada.models.denoisers import device_of
from videoada.models.pipelines import model_info

FORMAT = "videoada-step-policy-1"
COUNTS = (10, 15, 20, 25, 30, 40, 50)


class StepPolicy(nn.Module):
    """Prompt embedding (N, dim) → logits (N, K) over `counts`, the numbers of steps that may be chosen."""

    def __init__(self, dim: int, counts: Sequence[int] = COUNTS, width: int = 64):
        super().__init__()
        self.config = {"dim": dim, "counts": list(counts), "width": width}
        self.counts = tuple(counts)
        self.layers = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width), nn.SiLU(), nn.Linear(width, len(counts)))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.model: dict[str, Any] = {}  # of `trained_for`: what it was trained for

    def forward(self, embedding: Tensor) -> Tensor:
        return self.layers(embedding)

    def choose(self, embedding: Tensor) -> list[int]:
        """The most probable number of steps for each prompt."""
        with torch.no_grad():
            return [self.counts[i] for i in self(embedding).argmax(-1).tolist()]

    def save(self, path: str | Path) -> None:
        """As safetensors, with what it is for."""
        write_part(path, self.state_dict(), {"format": FORMAT, "config": self.config, "model": self.model})

    @classmethod
    def load(cls, path: str | Path, encoder: Any, weights_sha256: str | None = None) -> StepPolicy:
        """A policy for this text encoder. Raises ModelError for what is no such file, or is of another model."""
        tensors, about = read_part(path, FORMAT, "a step policy")
        try:
            if about["config"]["dim"] != 2 * encoder.config.hidden_size:
                raise ModelError(
                    f"the step policy in {path} is of another model: its text embeddings have another width"
                )
            check_trained_for(about["model"], encoder, weights_sha256, f"the step policy in {path} is")
            policy = cls(**about["config"])
            policy.load_state_dict(tensors)
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise ModelError(f"can't read a step policy from {path}: {' '.join(str(error).split())[:200]}") from None
        policy.model = about["model"]
        policy.eval().requires_grad_(False)
        return policy


def prompt_embedding(pipe: Any, prompts: Sequence[str]) -> Tensor:
    """(N, 2·D) float32 on the CPU: mean and maximum over each prompt's own tokens of the text encoder's answer.

    Raises ModelError for a pipeline without a tokenizer and a text encoder.
    """
    tokenizer, encoder = getattr(pipe, "tokenizer", None), getattr(pipe, "text_encoder", None)
    if tokenizer is None or encoder is None:
        raise ModelError(f"{type(pipe).__name__} has no text encoder that a step policy could use")
    device = device_of(pipe)
    ids = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").to(device)
    with torch.no_grad():
        hidden = encoder(ids.input_ids)[0].float().cpu()
    own = ids.attention_mask.bool().cpu()[..., None]
    mean = (hidden * own).sum(1) / own.sum(1)
    return torch.cat([mean, hidden.masked_fill(~own, -torch.inf).amax(1)], dim=1)


def find_policy(pipe: Any, path: str | Path | None = None) -> StepPolicy:
    """The policy of a file, or the one shipped for this model; read once for each encoder. Raises ModelError."""
    encoder = getattr(pipe, "text_encoder", None)
    if encoder is None:
        raise ModelError(f"{type(pipe).__name__} has no text encoder that a step policy could use")
    weights = model_info(pipe).weights_sha256
    return STEP_POLICY.find(pipe, encoder, path, lambda file: StepPolicy.load(file, encoder, weights))


def choose_steps(pipe: Any, prompts: Sequence[str], path: str | Path | None = None) -> list[int]:
    """The number of steps for each prompt, by the policy of a file or the one shipped. Raises ModelError."""
    return find_policy(pipe, path).choose(prompt_embedding(pipe, prompts))


def with_max_steps(pipe: Any, requests: Sequence[GenerationConfig]) -> list[GenerationConfig]:
    """The requests of the full run: with a step policy, `num_inference_steps` is the most that it can choose."""
    most = {
        policy: max(find_policy(pipe, _file(policy)).counts)
        for policy in {r.step_policy for r in requests if r.step_policy is not None}
    }
    return [r.model_copy(update={"num_inference_steps": most[r.step_policy]}) if r.step_policy else r for r in requests]


def _file(step_policy: str) -> str | None:
    return None if step_policy == SHIPPED else step_policy


def with_chosen_steps(pipe: Any, requests: Sequence[GenerationConfig]) -> list[GenerationConfig]:
    """The requests with the number of steps that their step policy chooses, where they have one."""
    chosen = list(requests)
    for policy in {request.step_policy for request in requests if request.step_policy is not None}:
        indices = [i for i, request in enumerate(requests) if request.step_policy == policy]
        prompts = [given_prompt(pipe, requests[i].prompt) for i in indices]
        for i, count in zip(indices, choose_steps(pipe, prompts, _file(policy)), strict=True):
            chosen[i] = requests[i].model_copy(update={"num_inference_steps": count})
    return chosen
