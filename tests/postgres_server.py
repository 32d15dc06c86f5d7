"""A PostgreSQL server of the tests' own: started in a folder, on a socket, and removed with all it holds."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "correct-horse"  # of a server that nobody else can reach, and that is gone after the tests


def missing() -> str | None:
    """Return why no server can be started here, None if one can."""
    absent = [name for name in ("initdb", "pg_ctl") if shutil.which(name) is None]
    if absent:
        return f"PostgreSQL is not installed: no {' and no '.join(absent)} on the path"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL does not run as root, and there is no account postgres or nobody"
    return None


@contextmanager
def running() -> Iterator[str]:
    """Start a server and yield the URL of its database, with the password in it."""
    account = _account() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="il7pg"))  # a socket's path must be short
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    if account is not None:
        for path in (folder, secret):
            shutil.chown(path, account)
    data, log = folder / "data", folder / "log"

    def run(*command: str | Path) -> None:
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, user=account, cwd=folder)

    try:
        run("initdb", "-D", data, "-U", "il7", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://il7:{PASSWORD}@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def _account() -> str | None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)
