import os
import signal
import threading

import numpy as np
import pytest

from il7ml import parallel
from il7ml.errors import InputError
from il7ml.parallel import available_cores, run_tasks, spawn


def draw(seed, size):
    return np.random.default_rng(seed).normal(size=size)


def fail(number):
    if number == 2:
        raise ValueError("task two")
    return number


def test_results_come_in_order_and_do_not_depend_on_workers():
    tasks = [(seed, size) for size, seed in enumerate(spawn(5, 6), start=1)]
    here, there = run_tasks(draw, tasks, workers=1), run_tasks(draw, tasks, workers=2)
    assert [part.size for part in here] == [1, 2, 3, 4, 5, 6]
    for left, right in zip(here, there, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_told_after_each_task(workers):
    seen = []
    run_tasks(pow, [(2, 1), (2, 2), (2, 3)], workers=workers, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_task_reaches_the_caller(workers):
    with pytest.raises(ValueError, match="task two"):
        run_tasks(fail, [(1,), (2,), (3,)], workers=workers)


def end_once(folder, number):
    """End the first process that takes the third task."""
    if number == 3:
        try:
            (folder / "ended").touch(exist_ok=False)
        except FileExistsError:
            return number
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def end_always(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_process_changes_nothing(tmp_path):
    seen = []
    results = run_tasks(
        end_once, [(tmp_path, k) for k in range(8)], workers=2, progress=lambda done, total: seen.append(done)
    )
    assert results == list(range(8))
    assert seen == list(range(1, 9))
    assert (tmp_path / "ended").exists()


def test_who_stops_half_way_is_told_nothing_more():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # and warnings are errors
        run_tasks(pow, [(2, k) for k in range(50)], workers=2, progress=stop)
    assert run_tasks(pow, [(2, 1), (2, 2)], workers=2) == [2, 4]


def test_only_the_thread_of_the_workers_dies_quietly(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))
    with parallel._dying_quietly():
        for name in (parallel._MANAGER, "another"):
            thread = threading.Thread(target=[].pop, name=name)
            thread.start()
            thread.join()
    assert [type(error) for error in told] == [IndexError]


def test_a_task_that_always_ends_its_process_is_said():
    with pytest.raises(InputError, match=r"ended from outside.*Set fewer workers"):
        run_tasks(end_always, [(k,) for k in range(6)], workers=2)
    assert run_tasks(pow, [(2, 1), (2, 2)], workers=2) == [2, 4]


def test_no_tasks_give_no_results():
    assert run_tasks(pow, [], workers=2) == []


def test_one_worker_stays_in_this_process():
    assert run_tasks(os.getpid, [(), ()], workers=1) == [os.getpid()] * 2
    assert os.getpid() not in run_tasks(os.getpid, [(), ()], workers=2)


def test_spawn_is_reproducible_and_its_seeds_are_independent():
    first, again = spawn(3, 4), spawn(3, 4)
    draws = [np.random.default_rng(seed).integers(2**60) for seed in first]
    assert draws == [np.random.default_rng(seed).integers(2**60) for seed in again]
    assert len(set(draws)) == 4
    # More seeds do not change the first ones, so that adding repeats keeps the earlier ones.
    assert draws == [np.random.default_rng(seed).integers(2**60) for seed in spawn(3, 9)[:4]]


def test_spawn_leaves_the_sequence_it_is_given_alone():
    parent = np.random.SeedSequence(3)
    once, twice = spawn(parent, 2), spawn(parent, 2)
    assert [seed.spawn_key for seed in once] == [seed.spawn_key for seed in twice]
    children = [spawn(seed, 1)[0].generate_state(1)[0] for seed in once]
    assert children[0] != children[1]


def test_available_cores_are_those_of_the_process():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
