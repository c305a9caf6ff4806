"""The command line in this process, for it takes seconds to start another."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest

from videoada.cli import main

PROMPT = "a blue square moving left slowly on a gray background"
QUICK = ["generate", "--prompt", PROMPT, "--steps", "6", "--num-frames", "4", "--seed", "3"]


def run(capsys, *args):
    with pytest.raises(SystemExit) as stopped:
        main(list(args))
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


def command(*args, code=0):
    """`returncode`, `stdout` and `stderr` of a call that must exit with `code`; needs no capsys."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        main([str(a) for a in args])
    done = SimpleNamespace(returncode=left.value.code, stdout=out.getvalue(), stderr=err.getvalue())
    assert done.returncode == code, done
    return done
