"""`videoada` and `python -m videoada`: Ctrl-C ends in exit code 130 also while Python is still importing."""

import os
import signal
import sys
from typing import Any


def main() -> None:
    """The console script."""
    interrupted = False

    def on_interrupt(number: int, frame: Any) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # left alone where it is ignored
        signal.signal(signal.SIGINT, on_interrupt)
    try:
        from videoada.cli import main as run

        run()
    except BaseException as error:  # an import or a C extension may have made something else of the interrupt
        if not interrupted:
            raise
        if not (isinstance(error, SystemExit) and error.code == 130):
            print("interrupted; nothing half-written was left", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # Python would end by the signal if the interrupt fell into code that an extension ran


if __name__ == "__main__":
    main()
