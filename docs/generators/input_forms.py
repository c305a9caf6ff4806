"""The page of the forms of input: prompt files and their columns, videos and pictures, settings as YAML keys,
configurations that ship."""

from __future__ import annotations

from collections.abc import Iterable

from generators.tables import table

from videoada.config.columns import COLUMNS, OTHER_NAMES, SAMPLERS
from videoada.config.prompt_forms import BENCHMARKS, FORMS
from videoada.config.settings import RunSettings, kind_of, said_of
from videoada.config.shipped import read_shipped, shipped_names
from videoada.media.kinds import forms
from videoada.media.outputs import CODECS, FILM_FORMATS
from videoada.media.outputs import FORMATS as OUTPUTS
from videoada.media.pictures import FORMATS

TOP = """# Forms of input

<!-- Written by docs/write_reference.py from videoada/config: edit that. -->

## Prompt files

`videoada render`, `benchmark`, `calibrate`, `analyse` and `train` read prompts from a file; its ending says its form:

"""
EXAMPLES = """
The same row three times, as `.csv`, as `.jsonl` and in a `.json` list:

```text
prompt,seed,size
"a red circle moving right, on a black background",7,64x64
```

```json
{"prompt": "a red circle moving right, on a black background", "seed": 7, "size": "64x64"}
```

```json
[{"prompt_en": "a red circle moving right, on a black background", "seed": 7, "width": 64, "height": 64}]
```

Text is UTF-8, or UTF-16 or UTF-32 with a byte-order mark; UTF-16 of Latin letters is known without one. What a row does
not name, or leaves empty (also pandas' `NaN`), comes from the command's flags. `42.0` is the whole number 42; a number
that could be meant in two ways is an error with its line, as `7,5`. Names of columns count in any case, and hyphens and
spaces in them as `_`. Paths in `image` start at the folder that `--images` names, or at the file's own folder; URLs are
not fetched. What is not used is listed before anything is generated, and in `summary.json` as `not_used`: columns with
other names, as VBench's `dimension`, comments, empty rows. A name that looks like a misspelt known one is an error with
its line, where the row does not have the known one.

### Benchmarks

These files are read as they are; the benchmark's other files of prompts have one of the same forms.

"""
VBENCH = """
`videoada render VBench_full_info.json --out vbench/ --naming vbench` names videos as VBench looks for them,
`{prompt}-{index}.mp4`; of a prompt that is too long for a file's name, its first 180 characters, as VBench-2.0 does.
Before anything is generated, the folder's file system is asked which names it can hold and which it tells apart:
prompts that differ by case alone need one that tells case apart.
"""
COLUMNS_TOP = """
### Columns

Beside these, a row may have an `id`, which names its video, and a `size`, as `64x64`: width and height at once. The
columns from `quality` on, which say how much to skip, are for `render`; other commands refuse a file
that has them.

"""
NAMES = """
### Other names of columns

What other tools call the same thing. Of several names for the prompt, the first of `prompt` and these is taken, and the
others are listed as not used; other columns of one thing must agree.

"""
SCHEDULERS = """
Schedulers also go by other tools' names, in any case and with any spaces and hyphens:

"""
VIDEOS = """
## Films, animations and pictures

What `evaluate`, `check` and `--video` read. In a folder, files are known by these endings; a file that is named is read
by what it holds, whatever its ending. A folder that holds nothing but PNG, JPEG or WebP pictures is one video.

"""
PICTURES = """
`--image` reads these, turned as their EXIF says, in sRGB, on white where they are transparent:

"""
WRITTEN = """
Videos are written in these formats; the first codec is the format's own:

"""
SETTINGS = """
## Settings

`--config FILE` reads any of these keys from a YAML file; flags win over it. `--print-config` prints such a file. Each
key but `calibration` is also a flag: `guidance_scale` is `--guidance-scale`. An unknown key is an error.

```yaml
prompt: a red circle moving right on a black background
steps: 50
quality: high
seed: 7
```

"""
SHIPPED = """
## Configurations that ship

`--config NAME` also takes these names. `coherence` is for `videoada check`, `verdict` for `videoada verdict`; the
others are settings of a run, which `--print-config` prints.

"""
KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
OWN_KINDS = {
    "mask": "text of 0 and 1, a list, or a file", "steps": "whole number or auto", "calibration": "mapping",
    "seed": "whole number or random", "skip_from": "10% or 0.1", "skip_to": "95% or 0.95", "lora": "text, or a list",
}  # fmt: skip


def page() -> str:
    """The whole page."""
    names = list(RunSettings.model_fields)
    columns = [name for name in names if COLUMNS.get(name) == name]
    others = [f"`{other}` | `{name}`" for other, name in OTHER_NAMES.items() if other != name]
    return "".join((
        TOP, table("ending | what it holds", [f"`{ending}` | {form.holds}" for ending, form in FORMS.items()]),
        EXAMPLES, table("benchmark | files | what they hold | the prompt", benchmarks()), VBENCH,
        COLUMNS_TOP, settings(columns),
        NAMES, table("name | stands for", others),
        SCHEDULERS, table("name | stands for", [f"`{name}` | `{own}`" for name, own in SAMPLERS.items()]),
        VIDEOS, table("kind | name | endings", [f"{kind} | {name} | {ticked(ends)}" for kind, name, ends in forms()]),
        PICTURES, table("format | endings | needs", pictures()),
        WRITTEN, table("format | codecs", written()),
        SETTINGS, settings(names),
        SHIPPED, table("name | its keys", shipped()),
    ))  # fmt: skip


def ticked(words: Iterable[str]) -> str:
    """Words as code, with commas."""
    return ", ".join(f"`{word}`" for word in words)


def benchmarks() -> list[str]:
    """A row for each file of a benchmark whose layout the tests hold."""
    return [
        f"{name} | {ticked(files.split(', '))} | {holds} | {f'`{column}`' if column else ''}"
        for name, files, holds, column in BENCHMARKS
    ]


def pictures() -> list[str]:
    """A row for each format of input images."""
    needs = {"HEIF": "`pip install 'videoada[heic]'`"}
    return [f"{name} | {ticked(endings)} | {needs.get(name, '')}" for name, endings in FORMATS.items()]


def written() -> list[str]:
    """A row for each format that is written, with its codecs and the range of `--crf`."""

    def codec(name: str) -> str:
        made = CODECS[name]
        return f"`{name}` ({'lossless' if made.crf is None else f'crf 0 to {made.worst}, {made.crf} if none is named'})"

    rows = [f"`{ending}` | {', '.join(map(codec, names))}" for ending, names in FILM_FORMATS.items()]
    rows += [f"`{ending}` | " for ending in OUTPUTS if ending not in FILM_FORMATS]
    return [*rows, "a folder of PNG frames | "]


def settings(names: list[str]) -> str:
    """A table of settings: name, type, default in words, description."""
    rows = []
    for name in names:
        text = (RunSettings.model_fields[name].description or "").replace("|", "\\|")
        rows.append(
            f"`{name}` | {OWN_KINDS.get(name) or KINDS[kind_of(name)]} | {said_of(name).get('shown') or ''} | {text}"
        )
    return table("key | type | default | what", rows)


def shipped() -> list[str]:
    """A row for each configuration that ships: its name and its keys."""
    names = [name for name in shipped_names() if name != "quality"]
    return [f"`{name}` | {', '.join(f'`{key}`' for key in read_shipped(name))}" for name in names]
