"""start_worker(): a worker as a process that outlives whoever started it.

The lock of the one worker is taken before the process is started, which inherits it: importing takes seconds, in which
nobody starts another.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from videoada.errors import VideoAdaError
from videoada.files import check_folder
from videoada.rendering.folder import HIDDEN, QUEUE, RenderFolder, output_errors
from videoada.rendering.locks import INHERITED, NameLocks
from videoada.rendering.queue.jobs import LIVE, LOG, WORKER

IDLE_MINUTES = 10  # after which a worker that finds nothing to do lets its model go


def start_worker(path: str | Path) -> subprocess.Popen[bytes] | None:
    """Start a process that works the queue of the folder off; None where one is at work already.

    It is no child that ends with this process, its terminal or a browser: it ends by itself when there was nothing to
    do for ten minutes. What it says is in `.videoada/queue/worker.log`. Raises OutputError where the folder can't be
    written to.
    """
    folder = RenderFolder(check_folder(path))
    try:
        (folder.path / QUEUE).mkdir(exist_ok=True)
        if not folder.locks.acquire(WORKER):
            return None
        (folder.path / LIVE).unlink(missing_ok=True)  # of a worker that was killed
        own = folder.locks.file
        command = [sys.executable, "-m", __name__, str(folder.path.absolute()), str(own)]
        with output_errors(f"can't write to the folder {folder.path}"), (folder.path / LOG).open("wb") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(own,)
            )  # fmt: skip
    finally:
        os.close(folder.locks.file)  # the process that was started has it still


def main(path: str, lock: str) -> None:
    """What that process runs."""
    from videoada.rendering.queue.work import work_on_queue

    locks = NameLocks(Path(path) / HIDDEN / "lock", int(lock), WORKER) if INHERITED else None
    say = functools.partial(print, flush=True)
    try:
        work_on_queue(path, idle_seconds=60 * IDLE_MINUTES, on_message=say, locks=locks)
    except VideoAdaError as error:
        say(f"error: {error}")
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
