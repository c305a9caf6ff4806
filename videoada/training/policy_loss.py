"""What a step policy learns from: the policy gradient of its choices."""

from __future__ import annotations

from torch import Tensor


def policy_loss(logits: Tensor, actions: Tensor, rewards: Tensor, baseline: Tensor, entropy_weight: float) -> Tensor:
    """REINFORCE (Williams 1992) with a baseline and an entropy bonus. Logits (N, K), the others (N,)."""
    log_probabilities = logits.log_softmax(-1)
    chosen = log_probabilities.gather(-1, actions[:, None])[:, 0]
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
    return -((rewards - baseline) * chosen + entropy_weight * entropy).mean()
