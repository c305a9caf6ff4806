"""Records of schema 1, which listed a run's settings one by one, as records of schema 2."""

from __future__ import annotations

from typing import Any

REQUEST = ("prompt", "negative_prompt", "guidance_scale", "num_frames", "height", "width", "fps", "seed", "scheduler",
           "target_fps")  # fmt: skip
GONE = ("prompt", "negative_prompt", "guidance_scale", "fps", "seed", "scheduler", "target_fps", "image", "policy",
        "predictor")  # fmt: skip


def upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a schema 1 record under schema 2's names; what is no such record is left to be refused as it is."""
    policy, predictor, exits = (values.get(name) for name in ("policy", "predictor", "early_exit"))
    if not isinstance(policy, dict) or not isinstance(predictor, dict) or not isinstance(exits, (dict, type(None))):
        return values
    request = {name: values[name] for name in REQUEST if name in values}
    request["num_inference_steps"] = values.get("num_inference_steps")
    request["image"] = values.get("image")
    if request["image"] == "in memory":  # a picture given as an object
        request["image"] = f"sha256:{values.get('image_sha256')}"
    skip = {name: value for name, value in policy.items() if name != "name"}
    skip |= {"policy": policy.get("name"), "predictor": predictor.get("name"), "damping": predictor.get("damping")}
    skip["corrector"] = bool(predictor.get("corrector"))
    if exits:
        skip |= {"early_exit": True, "exit_threshold": exits.get("threshold"), "exit_heads": exits.get("heads")}
    kept = {name: value for name, value in values.items() if name not in GONE}
    return kept | {"schema_version": 2, "request": request, "skip": skip}
