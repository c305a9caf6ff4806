"""The page as Gradio lays it out: the form on the left, what becomes of it on the right.

No event of it generates anything: an event puts a video into the queue and returns. What the queue holds is shown by
the page's own script, which asks what changed and leaves alone what did not, so that no video begins again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from videoada.config.run import DEFAULT_MODEL
from videoada.config.settings import RunSettings
from videoada.errors import VideoAdaError, counted
from videoada.models.catalogue import KNOWN, is_cached, known_model
from videoada.models.understanding import understand
from videoada.rendering.queue.queue import RenderQueue
from videoada.ui.form import (
    AMOUNTS,
    DEFAULT_AMOUNT,
    EXACTLY,
    PANELS,
    SPEED,
    Entered,
    Field,
    entered_of,
    fields,
    is_of,
    runs_of,
)
from videoada.ui.uploads import Uploads
from videoada.ui.videos import Videos
from videoada.ui.words import example_of, prompt_with, words_html

# Gives the page's own script an HTML component's element, and what triggers its events here.
LISTEN = """
const begin = () => window.videoada ? window.videoada.PART(element, trigger) : setTimeout(begin, 20);
begin();
"""
# Ids of what was uploaded for the next video, and the calibration of the video whose settings are used again.
NOTHING: dict[str, Any] = {"image": None, "file": None, "calibration": None}
NUMBERS = itertools.count()
FORM = ("prompts", "model", "amount", "number", "speed", "seed", "image", "file")
PROMPT_HINT = "What the video shows. Several prompts, one a line, become several videos."
MOST_SAID, MOST_READ = 3, 50  # lines on what models do not know of prompts; prompts that are looked at for that


def make_page(
    queue: RenderQueue, videos: Videos, uploads: Uploads, *, model: str, local: bool, after: Callable[[], None]
) -> Any:
    """The page of a queue, a `gradio.Blocks`; its form begins with `model`, and `local` is as in `form.fields`."""
    more = fields(local)

    def tools_html(model: str, kept: dict[str, Any]) -> str:
        return _tools(videos, uploads, model or "", kept)

    static = videos.environment.get_template
    with gr.Blocks(title="videoada", analytics_enabled=False, fill_width=False) as page:
        gr.HTML(static("head.html").render(), padding=False, js_on_load=None, apply_default_css=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320, elem_id="form"):
                prompt = gr.Textbox(
                    label="Prompt", info=PROMPT_HINT, lines=2, max_lines=12, elem_id="prompt",
                    placeholder=example_of(model),
                )  # fmt: skip
                generate = gr.Button("Generate", variant="primary", elem_id="generate")
                notice = gr.HTML("", elem_id="notice", js_on_load=None, apply_default_css=False)
                tools = gr.HTML(
                    tools_html(model, NOTHING), elem_id="tools", js_on_load=LISTEN.replace("PART", "tools"),
                    apply_default_css=False,
                )  # fmt: skip
                controls = [prompt, *_main_controls(model, local)]
                folded = [_panel(panel, [field for field in more if field.panel == panel]) for panel in PANELS]
            with gr.Column(scale=3, min_width=320):
                shown = gr.HTML(
                    static("videos.html").render(), elem_id="videos", js_on_load=LISTEN.replace("PART", "videos"),
                    apply_default_css=False,
                )  # fmt: skip
        extra = [control for group in folded for control in group]
        picked = gr.State(NOTHING)
        names = [field.name for panel in PANELS for field in more if field.panel == panel]

        def add(kept: dict[str, Any], *values: Any) -> str:
            entered = Entered(
                **dict(zip(FORM, values[: len(controls)], strict=False)), **kept,
                more=dict(zip(names, values[len(controls) :], strict=True)),
            )  # fmt: skip
            try:
                if not local and known_model(entered.model) is None:
                    return _said("bad", "name one of the models of the list")
                runs = runs_of(entered, uploads)
                with videos.libraries:
                    ids = queue.add(runs)
            except VideoAdaError as error:
                return _said("bad", videos.plain(error))
            videos.look(now=True)
            after()
            lines = [("good", _added(len(ids), queue.repeated(ids))), *(("warn", line) for line in _unknown(runs))]
            return "".join(_said(kind, line) for kind, line in lines)

        def happened(kept: dict[str, Any], model: str, prompts: str, event: gr.EventData) -> Any:
            """Something in the tools was chosen: a word, an image, a prompt file, or none of the last two."""
            what = event._data or {}
            if what.get("do") == "word":
                return kept, prompt_with(model, prompts, str(what.get("part")), str(what.get("word"))), gr.skip()
            for name, known in (("image", uploads.pictures), ("file", uploads.lists), ("calibration", {})):
                if name in what:
                    kept = {**kept, name: what[name] if what[name] in known else None}
            return kept, gr.skip(), tools_html(model, kept)

        def use(event: gr.EventData) -> Any:
            """A video's settings back in the form."""
            entry = videos.entry(str((event._data or {}).get("id")))
            if entry is None:
                return (
                    *(gr.skip() for _ in range(len(controls) + len(extra) + 2)),
                    _said("bad", "there is no such video"),
                )
            found = entered_of(entry.settings, uploads, local)
            kept = {"image": found.image, "file": None, "calibration": found.calibration}
            first = [getattr(found, field) for field in FORM[: len(controls)]]
            rest = [(found.more or {})[field] or None for field in names]
            note = _said("good", "its settings are in the form")
            return (*first, *rest, kept, tools_html(found.model, kept), note)

        private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        everything = [picked, *controls, *extra]
        for asked in (generate.click, prompt.submit):  # Shift and Enter in the prompt
            asked(add, everything, notice, **{**private, "show_progress": "minimal"})
        chosen = controls[1]
        tools.click(happened, [picked, chosen, prompt], [picked, prompt, tools], **private)
        shown.click(use, None, [*controls, *extra, picked, tools, notice], **private)
        chosen.change(tools_html, [chosen, picked], tools, **private)
        chosen.change(lambda model: gr.update(placeholder=example_of(model)), chosen, prompt, **private)
        controls[2].change(
            lambda amount: (gr.update(visible=amount == EXACTLY), gr.update(visible=amount == SPEED)), controls[2],
            [controls[3], controls[4]], **private,
        )  # fmt: skip
    return page


def _main_controls(model: str, local: bool) -> list[Any]:
    """Model, how much is computed and the seed, in the order of `FORM`."""
    names = []
    for name, known in KNOWN.items():
        kind = " (small, embedded)" if known.embedded else ", not downloaded" if not is_cached(known) else ""
        names.append((f"{name}: {known.task}{kind}", name))
    if model not in KNOWN:
        names.insert(0, (model, model))
    chosen = gr.Dropdown(
        names, value=model or DEFAULT_MODEL, label="Model", allow_custom_value=local, elem_id="model",
        info="One of these" + (", a diffusers folder, or a hub id" if local else ""),
    )  # fmt: skip
    amount = gr.Radio(
        list(AMOUNTS),
        value=DEFAULT_AMOUNT,
        label="How much is computed",
        elem_id="amount",
        info="How close to the full run; or how many noise predictions; or how many times as fast.",
    )
    number = gr.Number(20, label="Noise predictions for each video", precision=0, visible=False, elem_id="number")
    speed = gr.Number(
        2.5, label="Times as fast as the full run", visible=False, elem_id="speed",
        info="In network calls, from the model's calibration.",
    )  # fmt: skip
    seed = gr.Textbox(
        "0", label="Seed", elem_id="seed", max_lines=1,
        info="A number, or random; the next prompt takes the next one. The same seed gives the same video.",
    )  # fmt: skip
    return [chosen, amount, number, speed, seed]


def _panel(panel: str, shown: list[Field]) -> list[Any]:
    """The folded controls of a panel of settings."""
    with gr.Accordion(panel, open=False, elem_classes="panel"):
        return [_control(field) for field in shown]


def _control(field: Field) -> Any:
    default = f" Default: {field.shown}." if field.shown else ""
    common: dict[str, Any] = {"label": field.label, "info": f"{field.text}{default}", "elem_id": f"set-{field.name}"}
    if field.choices:
        return gr.Dropdown([("", ""), *field.choices], value="", **common)
    return gr.Textbox(value="", placeholder=field.shown, max_lines=1, **common)


def _tools(videos: Videos, uploads: Uploads, model: str, kept: dict[str, Any]) -> str:
    """What can be chosen for a model beside the form, as HTML: an image, a prompt file, words that it knows."""
    known = known_model(model)
    image = kept["image"] if kept["image"] in uploads.pictures else None
    file = uploads.lists.get(kept["file"] or "")
    own = kept["calibration"] is not None and is_of(kept["calibration"], model)
    html: str = videos.environment.get_template("tools.html").render(
        model=known.name if known else model, takes_image=known is None or known.task.startswith("image"), image=image,
        image_name=uploads.pictures[image][1] if image else "", file=file is not None,
        file_name=file.name if file else "", count=counted(len(file.entries), "prompt") if file else "",
        not_used=file.not_used if file else (), calibration=own,
        words=words_html(videos.environment, model, ""),
    )  # fmt: skip
    return html


def _added(count: int, repeated: Sequence[str]) -> str:
    """That so many videos were added, and whether some will be the same as others."""
    if not repeated:
        return f"added {counted(count, 'video')}"
    which = "" if count == 1 else "all " if len(repeated) == count else f"{len(repeated)} of them "
    return f"added {counted(count, 'video')}, {which}the same as before: another seed gives another video"


def _unknown(runs: Sequence[RunSettings]) -> list[str]:
    """What the models do not know of the prompts, a line each, the first few."""
    found: dict[str, None] = {}
    for run in runs[:MOST_READ]:
        if run.prompt and (line := understand(run.model, run.prompt).warning):
            if len(found) == MOST_SAID:
                return [*found, "and of others, too"]
            found[line.replace("`", "")] = None
    return list(found)


def _said(kind: str, message: str) -> str:
    """A line beside the button, numbered so that the same one again is another for a browser."""
    role = "alert" if kind == "bad" else "status"
    return str(Markup('<p class="{}" role="{}" data-number="{}">{}</p>').format(kind, role, next(NUMBERS), message))
