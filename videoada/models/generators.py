"""generator_of(): the random numbers of a seed, on the CPU whatever the device."""

from __future__ import annotations

import numpy as np
import torch

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
