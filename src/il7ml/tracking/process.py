"""Which process writes a run, and whether it still lives: host, process id and the moment it started."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
#: Place of the start time and of the state among the fields of /proc/PID/stat that follow the name (proc(5)).
_START, _STATE = 19, 0


class ProcessMark(NamedTuple):
    """A process, told apart from a later one that was given the same number.

    Attributes
    ----------
    host : str
        The machine's name, and on Linux the process namespace: in another container the same number is another process.
    pid : str
    started : str
        When it started, in the system's own form; empty where the system does not say.
    """

    host: str
    pid: str
    started: str


def this_process() -> ProcessMark:
    """Return the mark of the running process.

    Examples
    --------
    >>> is_gone(this_process())
    False
    """
    pid = os.getpid()
    return ProcessMark(_host(), str(pid), _started(pid) or "")


def is_gone(mark: ProcessMark) -> bool:
    """Return whether a process of this host has ended.

    False for a process of another host or one without a start time, of which nothing can be known.
    """
    if not mark.started or not mark.pid.isdigit() or mark.host != _host():
        return False
    return _started(int(mark.pid)) != mark.started


def _host() -> str:
    try:
        return f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str | None:
    """Return when a process started; None where there is none, it has ended, or the system does not say."""
    if (_PROC / "self" / "stat").exists():
        return _started_linux(pid)
    if os.name != "posix":
        return None
    try:
        found = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return " ".join(found.stdout.split()) or None


def _started_linux(pid: int) -> str | None:
    try:
        # The name, in brackets, may itself hold blanks and brackets.
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # A zombie has ended and waits for its parent to take note. Ticks count from boot, so the boot belongs to them.
    return None if fields[_STATE] in "ZX" else f"{fields[_START]} of boot {boot}"
