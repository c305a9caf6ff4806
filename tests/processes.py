"""Processes of the tests that are to be interrupted."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """A child's `preexec_fn`: Python in it answers Ctrl-C also where this process ignores it.

    A background job of a shell ignores SIGINT, its children inherit that, and Python then installs no handler.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
