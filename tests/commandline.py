"""The command line in this process."""

from __future__ import annotations

import pytest

from videoada.cli import main

PROMPT = "a blue square moving left slowly on a gray background"
QUICK = ["generate", "--prompt", PROMPT, "--steps", "6", "--num-frames", "4", "--seed", "3"]


def run(capsys, *args):
    with pytest.raises(SystemExit) as stopped:
        main(list(args))
    out, err = capsys.readouterr()
    return stopped.value.code, out, err
