import sys

import pytest

from il7ml.errors import InputError
from il7ml.sweep_config import Range
from il7ml.sweep_search import Trial, propose, settings_at

RANGES = {
    "rate": Range(low=0.01, high=1.0, log=True),
    "depth": Range(low=1, high=6),
    "models": Range(choices=[["a"], ["a", "b"]]),
}


@pytest.fixture(autouse=True)
def optuna():
    return pytest.importorskip("optuna")


def search(maximize, value, rounds=10):
    trials = []
    for _ in range(rounds):
        places = propose(RANGES, trials, 4, 3, maximize=maximize)
        trials += [Trial(place, value(place)) for place in places]
    return trials


def test_proposals_lie_in_their_ranges():
    for place in propose(RANGES, (), 30, 1, maximize=False):
        found = settings_at(RANGES, place)
        assert 0.01 <= found["rate"] <= 1
        assert found["depth"] in range(1, 7)
        assert found["models"] in (["a"], ["a", "b"])


def test_proposals_depend_on_seed_and_earlier_results_alone():
    first = search(False, lambda place: place["rate"], 4)
    assert search(False, lambda place: place["rate"], 4) == first
    assert propose(RANGES, first, 4, 3, maximize=False) == propose(RANGES, first, 4, 3, maximize=False)
    assert propose(RANGES, first, 4, 3, maximize=False) != propose(RANGES, first, 4, 4, maximize=False)
    assert propose(RANGES, (), 2, 3, maximize=False) == propose(RANGES, (), 4, 3, maximize=False)[:2]


@pytest.mark.parametrize("maximize", [True, False])
def test_the_search_goes_where_it_is_good(maximize):
    trials = search(maximize, lambda place: abs(place["depth"] - 2) + place["models"])
    late = [trial.value for trial in trials[20:]]
    early = [trial.value for trial in trials[:8]]
    gain = sum(late) / len(late) - sum(early) / len(early)
    assert gain > 0.5 if maximize else gain < -0.5


def test_what_could_not_be_measured_is_passed_over():
    unmeasured = [Trial(place, float("nan")) for place in propose(RANGES, (), 4, 3, maximize=False)]
    assert len(propose(RANGES, unmeasured, 4, 3, maximize=False)) == 4


def test_without_optuna_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'il7ml\[tuning\]'"):
        propose(RANGES, (), 1, 0, maximize=False)
