"""What a real call says of the error estimate before it.

The estimate of `error_controlled` is the next term of Newton's polynomial, before the call is made. Once it is made,
the true error of the approximation that would have been used instead is known. Scaled back over the steps that
were skipped as the estimate is, it is what the estimate should have said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.linalg import vector_norm

from videoada.skipping.rules.error_controlled import weight
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction

FACTOR = 10.0  # times the tolerance


def contradiction(past: Sequence[Prediction], real: Prediction, x0: Tensor, schedule: Sequence[Level]) -> Tensor | None:
    """The error of the steps skipped since the last call, in units of the noise (variance 1), by the call at `real`
    that would have been approximated as `x0` (N,): a number on its device. None where two calls are not known yet.

    `past` are the predictions before `real`, oldest first.
    """
    if len(past) < 2:
        return None
    (z2, z3), z = (p.level.log_snr for p in past[-2:]), real.level.log_snr
    gap = abs((z - z2) * (z - z3))
    if gap == 0:
        return None
    error = vector_norm(real.x0 - x0) / math.sqrt(x0.numel())
    return error / gap * weight(past, real.step - 1, schedule)
