"""The command line in processes of their own, which can be killed, interrupted or kept from writing.

They are forked from the server of `other_processes`, which imports this file and hence all that a command needs.
"""

import os
import resource
import signal
import sys
import time
from typing import NamedTuple

from il7ml.cli import main

#: For ``python -c``: the command line with Ctrl-C as at a terminal. Tests that run in the background ignore it, and so
#: would what they start.
AT_A_TERMINAL = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from il7ml.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Ended(NamedTuple):
    """How a command ended: its exit code, or minus the signal that ended it, and what it said."""

    code: int
    out: str
    err: str
    seconds: float


def run(arguments, folder, *, after=None, send=signal.SIGKILL, largest_file=None, before=None):
    """Run a command to its end.

    Parameters
    ----------
    arguments : sequence
    folder : Path
        For what it says.
    after : float or callable, optional
        Seconds after which, or a condition upon which, the whole process group is sent the signal.
    send : signal
    largest_file : int, optional
        Bytes beyond which no file can be written: the process meets what it would on a full disk.
    before : callable, optional
        Called in the process before the command.
    """
    from tests.tracking.other_processes import start

    folder.mkdir(parents=True, exist_ok=True)
    texts = [folder / "stdout", folder / "stderr"]
    begin = time.perf_counter()
    process = start(_command, [str(argument) for argument in arguments], texts, largest_file, before)
    if after is not None:
        while process.is_alive() and not (after() if callable(after) else time.perf_counter() - begin >= after):
            process.join(0.002)
        if process.is_alive():
            _send(process.pid, send)
    process.join()
    return Ended(process.exitcode, *(text.read_text() for text in texts), time.perf_counter() - begin)


def _send(pid, number):
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # ended, or has no group of its own yet
        if number == signal.SIGKILL:
            os.kill(pid, number)


def _command(arguments, texts, largest_file, before):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, text in enumerate(texts, start=1):
        os.dup2(os.open(text, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if before is not None:
        before()
    sys.exit(main(arguments))
