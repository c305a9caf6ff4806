"""Tables about adapting to the prompt: masks at equal predictions, and what a video shows of its own error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generators.tables import models_of, read, table


def adaptivity(folder: Path) -> str:
    """For each model, every family of masks at the predictions of own decisions: PSNR, worst prompt, difference."""
    return "\n".join(_at_equal_predictions(path) for path in models_of(folder))


def adaptivity_needs(name: Path) -> str:
    """For each family of masks, what share of the rows 95 % of each model's prompts take to be within 40 or 45 dB."""
    found = {path.stem: read(path)["needs"] for path in models_of(name.parent / "adaptivity")}
    levels = list(dict.fromkeys(need["level"] for every in found.values() for need in every))
    shares = {
        (need["family"], model, need["level"]): need["one_setting"] for model, every in found.items() for need in every
    }
    heads = [f"{model}, {level:g} dB" for model in found for level in levels]
    rows = [
        " | ".join((family, *(_share(shares.get((family, model, level))) for model in found for level in levels)))
        for family in dict.fromkeys(family for family, _, _ in shares)
    ]
    return table(" | ".join(("masks", *heads)), rows)


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"


def _at_equal_predictions(path: Path) -> str:
    figures = read(path)
    by_tolerance: dict[float, dict[str, dict[str, Any]]] = {}
    for compared in figures["comparisons"]:
        by_tolerance.setdefault(compared["tolerance"], {})[compared["family"]] = compared
    own = {tolerance: next(iter(found.values()))["predictions"] for tolerance, found in by_tolerance.items()}
    heads = (f"{own[t]:.1f} predictions (tolerance {t:g})" for t in by_tolerance)
    families = dict.fromkeys(family for found in by_tolerance.values() for family in found)
    rows = [
        " | ".join((family, *(_against_own(found.get(family), own[t]) for t, found in by_tolerance.items())))
        for family in families
    ]
    return f"{figures['model']}:\n\n{table(' | '.join(('masks', *heads)), rows)}"


def _against_own(compared: dict[str, Any] | None, predictions: float) -> str:
    if compared is None:
        return "—"
    text = f"{compared['psnr']:.1f} · {compared['worst']:.1f}"
    if abs(compared["predictions"] - predictions) > 0.05:
        text += f", at {compared['predictions']:.1f}"
    low, high = compared["difference_interval"]
    return text if low == high == 0 else f"{text} · {compared['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def error_signs(path: Path) -> str:
    """Rank correlations with the error of the final video, of every sign and of the same video's other runs."""
    found = read(path)["models"]
    rows = [
        " | ".join((name, *(_interval(model["alone"][name]) for model in found.values())))
        for name in next(iter(found.values()))["alone"]
    ]
    rows += [
        " | ".join(("all together", *(_interval(model["together"]) for model in found.values()))),
        " | ".join((
            "mean error of that prediction (of a constant), dB",
            *(f"{m['mean_error']:.1f} ({m['mean_error_of_a_constant']:.1f})" for m in found.values()),
        )),
    ]  # fmt: skip
    rows += [
        " | ".join(
            (f"the video's error under {name}", *(_interval(model["hardness"][name]) for model in found.values()))
        )
        for name in next(iter(found.values()))["hardness"]
    ]
    heads = (f"{name}, {m['videos']} videos, {m['psnr'][0]:.1f} ± {m['psnr'][1]:.1f} dB" for name, m in found.items())
    return table(" | ".join(("sign", *heads)), rows)


def _interval(value: list[float]) -> str:
    own, low, high = value
    return f"{own:+.2f} ({low:+.2f} to {high:+.2f})"


def variants(path: Path) -> str:
    """Other predictors and correctors at the same calls: the difference in mean and in worst PSNR, model by model."""
    found = read(path)["models"]
    return "\n\n".join(_variants_of(name, model["differences"]) for name, model in found.items())


def _variants_of(name: str, differences: Any) -> str:
    heads = []
    for tolerance, each in differences.items():
        mean, worst = each["line"]
        heads.append(f"{name} at {tolerance} ({each['predictions']:.1f} predictions, {mean:.1f} · {worst:.1f})")
    [first, *_] = differences.values()
    rows = [
        " | ".join((variant, *(_beside_line(each["variants"][variant]) for each in differences.values())))
        for variant in first["variants"]
    ]
    return table(" | ".join(("in place of the line", *heads)), rows)


def _beside_line(value: list[float]) -> str:
    difference, error, worst = value
    return f"{difference:+.2f} ± {error:.2f} · {worst:+.1f}"
