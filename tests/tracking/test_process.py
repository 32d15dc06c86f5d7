import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from il7ml.tracking import process
from il7ml.tracking.process import ProcessMark, is_gone, this_process


@pytest.fixture
def sleeper():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def mark_of(pid):
    here = this_process()
    return ProcessMark(here.host, str(pid), process._started(pid) or "")


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_living_process_is_not_gone(sleeper):
    assert not is_gone(this_process())
    assert not is_gone(mark_of(sleeper.pid))


def test_an_ended_process_is_gone_before_and_after_its_parent_takes_note(sleeper):
    mark = mark_of(sleeper.pid)
    sleeper.kill()
    assert wait_until(lambda: is_gone(mark))
    sleeper.wait()
    assert is_gone(mark)


def test_another_process_with_the_same_number_is_told_apart(sleeper):
    assert is_gone(mark_of(sleeper.pid)._replace(started=f"earlier {this_process().started}"))


def test_of_another_host_or_without_a_start_nothing_is_known(sleeper):
    mark = mark_of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert is_gone(mark)
    assert not is_gone(mark._replace(host="elsewhere"))
    assert not is_gone(mark._replace(started=""))
    assert not is_gone(mark._replace(pid=""))


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")
def test_where_there_is_no_proc_ps_is_asked(sleeper, monkeypatch):
    monkeypatch.setattr(process, "_PROC", Path("/nowhere"))
    mark = mark_of(sleeper.pid)
    assert mark.started
    assert not is_gone(mark)
    sleeper.kill()
    sleeper.wait()
    assert is_gone(mark)
