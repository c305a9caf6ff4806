"""The page of the forms of input: prompt files and their columns, settings as YAML keys, configurations that ship."""

from __future__ import annotations

from generators.tables import table

from videoada.config.prompts import COLUMNS, ENDINGS, OTHER_NAMES
from videoada.config.settings import RunSettings, kind_of, said_of
from videoada.config.shipped import read_shipped, shipped_names

TOP = """# Forms of input

<!-- Written by docs/write_reference.py from videoada/config: edit that. -->

## Prompt files

`videoada render`, `benchmark`, `calibrate`, `analyse` and `train` read prompts from a file; its ending says its form:

"""
FORMS = {
    ".txt": "A prompt a line; empty lines count for nothing.",
    ".csv": "A header with the columns, one of them `prompt` or `prompt_en`, then a row a line; commas in quotes.",
    ".jsonl": "An object a line, its keys as columns, or a string, which is a prompt.",
    ".json": "A list of such objects or strings, as VBench, VBench-I2V, EvalCrafter and T2V-CompBench have them.",
}
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

Files are UTF-8. What a row does not name, or leaves empty, comes from the command's flags. Columns with other names, as
VBench's `dimension`, are not read; a name that looks like a misspelt known one is an error with its line. Hyphens and
spaces in names count as `_`. Paths in `image` start at the folder that `--images` names, or at the file's own folder.

### Columns

Beside these, a row may have an `id`, which names its video, and a `size`, as `64x64`: width and height at once.

"""
NAMES = """
### Other names of columns

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

`--config NAME` also takes these names. `coherence` is for `videoada check`, the others are settings of a run, which
`--print-config` prints.

"""
KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
OWN_KINDS = {"mask": "text of 0 and 1, a list, or a file", "steps": "whole number or auto", "calibration": "mapping"}


def page() -> str:
    """The whole page."""
    if set(FORMS) != set(ENDINGS):
        raise ValueError(f"the forms of prompt files are {', '.join(ENDINGS)}, and {', '.join(FORMS)} are described")
    names = list(RunSettings.model_fields)
    columns = [name for name in names if COLUMNS.get(name) == name]
    others = [f"`{other}` | `{name}`" for other, name in OTHER_NAMES.items() if other != name]
    return "".join((
        TOP, table("ending | what it holds", [f"`{ending}` | {text}" for ending, text in FORMS.items()]),
        EXAMPLES, settings(columns),
        NAMES, table("name | stands for", others),
        SETTINGS, settings(names),
        SHIPPED, table("name | its keys", shipped()),
    ))  # fmt: skip


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
