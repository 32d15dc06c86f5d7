"""What a user sees while work goes on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from il7ml.parallel import Progress

_STEPS = 4


@contextmanager
def report(label: str) -> Iterator[Progress]:
    """Yield a progress callback that draws a bar on a terminal and writes a line every quarter elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=0, desc=label, leave=False, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}") as bar:

            def draw(done: int, total: int, /) -> None:
                bar.total = total
                bar.n = done
                bar.refresh()

            yield draw
        return

    said = [0]

    def say(done: int, total: int, /) -> None:
        step = _STEPS * done // max(total, 1)
        if step > said[0]:
            said[0] = step
            sys.stderr.write(f"{label}: {100 * done // total} %\n")
            sys.stderr.flush()

    yield say
