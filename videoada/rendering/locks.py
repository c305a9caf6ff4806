"""Locks by name in one file that processes, also of several machines on a shared folder, have open.

Each name is one byte, locked by the kernel: who dies, by whatever signal, holds nothing any more, and nothing has to be
swept up. On Linux the locks are those of the open file (two in one process exclude each other as well).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
from pathlib import Path

from videoada.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
INHERITED = hasattr(fcntl, "F_OFD_SETLK")  # locks are the open file's, and go with it into a child
LOCK = "hhqqi4x"  # struct flock of Linux on 64 bits
PRESENT = 0  # the byte that everyone shares who has the file open, so that nobody removes it meanwhile


class NameLocks:
    """Open, or make, the file of locks at `path`. `supported` turns False where the file system has none.

    Given `file`, a descriptor of it that was inherited with the name `inherited`, it goes on with that. Raises
    OutputError on Windows.
    """

    def __init__(self, path: str | Path, file: int | None = None, inherited: str = "") -> None:
        if fcntl is None:
            raise OutputError(
                "rendering prompt files needs the file locks of Linux or macOS; on Windows, run it in WSL"
            )
        self.path = Path(path)
        self.supported = True
        self.held: set[int] = set()
        if file is not None:
            self.file = file
            self.held.add(byte_of(inherited))
            return
        while True:
            self.path.parent.mkdir(exist_ok=True)
            try:
                self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # its folder went away with the last who used it
                continue
            try:
                if self._lock(PRESENT, shared=True) and os.stat(self.path).st_ino == os.fstat(self.file).st_ino:
                    return
            except FileNotFoundError:
                pass
            os.close(self.file)  # its last user is removing it, or has

    def share(self, name: str) -> None:
        """Hold a name together with others who share it."""
        self._lock(byte_of(name), shared=True)

    def alone(self, name: str) -> bool:
        """Whether nobody else shares the name now, which this object shares."""
        found = self._lock(byte_of(name))
        if found:
            self._lock(byte_of(name), shared=True)
        return found

    def acquire(self, name: str | int) -> bool:
        """Whether the name (or its byte) is this object's now; at once."""
        if byte_of(name) in self.held or not self._lock(byte_of(name)):
            return False
        self.held.add(byte_of(name))
        return True

    def taken(self, name: str | int) -> bool:
        """Whether anyone holds the name now, this object or another. On Linux nobody notices the question."""
        if byte_of(name) in self.held:
            return True
        ask = getattr(fcntl, "F_OFD_GETLK", None)
        if not self.supported:
            return False
        if ask is None:
            if free := self.acquire(name):
                self.release(name)
            return not free
        lock = struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, byte_of(name), 1, 0)
        found: int = struct.unpack(LOCK, fcntl.fcntl(self.file, ask, lock))[0]
        return found != fcntl.F_UNLCK

    def release(self, name: str | int) -> None:
        self.held.discard(byte_of(name))
        self._lock(byte_of(name), unlock=True)

    def close(self) -> bool:
        """Release everything. The last one to do so removes the file, and its folder if empty, and returns True."""
        if alone := self._lock(PRESENT):
            self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()
        os.close(self.file)
        self.held.clear()
        return alone

    def _lock(self, start: int, *, shared: bool = False, unlock: bool = False) -> bool:
        if not self.supported:
            return True
        kind = fcntl.F_UNLCK if unlock else fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        own_file = getattr(fcntl, "F_OFD_SETLK", None)
        command = fcntl.F_SETLK if own_file is None else own_file
        try:
            if own_file is not None:
                fcntl.fcntl(self.file, command, struct.pack(LOCK, kind, os.SEEK_SET, start, 1, 0))
            else:
                flag = {fcntl.F_UNLCK: fcntl.LOCK_UN, fcntl.F_RDLCK: fcntl.LOCK_SH}.get(kind, fcntl.LOCK_EX)
                fcntl.lockf(self.file, flag | (0 if unlock else fcntl.LOCK_NB), 1, start)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno in NO_LOCKS:
                self.supported = False
                return True
            raise
        return True


def byte_of(name: str | int) -> int:
    """The byte that is locked for a name, from 1 to 2⁶²; an int is such a byte already."""
    if isinstance(name, int):
        return name
    return 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % (2**62 - 1)
