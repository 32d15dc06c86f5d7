import pytest
import yaml
from pydantic import ValidationError

from il7ml.errors import InputError
from il7ml.sweep_config import Range, SweepConfig


@pytest.fixture
def read(tmp_path):
    def write_and_read(**keys):
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({"base": "run.yaml", **keys}, sort_keys=False), encoding="utf-8")
        return SweepConfig.from_file(path)

    return write_and_read


def test_the_base_lies_beside_the_sweep(read, tmp_path):
    assert read(grid={"refits": [10]}).base == tmp_path / "run.yaml"


def test_every_combination_is_a_candidate(read):
    found = read(grid={"refits": [10, 20], "models": [["prevalence"], ["prevalence", "firth"]]})
    assert [(each["refits"], len(each["models"])) for each in found.combinations] == [
        (10, 1),
        (10, 2),
        (20, 1),
        (20, 2),
    ]
    assert found.keys == ("refits", "models")


def test_keys_of_measurement_are_known(read):
    assert read(grid={"refits": [10], "validation.folds": [2, 3], "seed": [1]}).measuring == (
        "validation.folds",
        "seed",
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "give either a grid or a search"),
        ({"grid": {"refits": [10]}, "search": {"ranges": {"refits": {"low": 10, "high": 50}}}}, "either a grid or"),
        ({"grid": {"refits": []}}, "grid.refits must list one value or several, each once"),
        ({"grid": {"refits": [10, 10]}}, "each once"),
        ({"grid": {"refits": list(range(1001))}}, "more than 1000 combinations"),
        ({"grid": {"endpoint": ["a", "b"]}}, "endpoint cannot vary within a sweep"),
        ({"grid": {"tracking.experiment": ["a"]}}, "tracking.experiment cannot vary"),
        ({"search": {"ranges": {"study": {"choices": ["a"]}}}}, "study cannot vary"),
        ({"search": {"ranges": {"seed": {"low": 1, "high": 9}}}}, "seed decides how candidates are measured"),
        ({"search": {"ranges": {}}}, "search.ranges"),
        ({"search": {"ranges": {"refits": {"low": 10, "high": 50}}, "trails": 5}}, "Did you mean 'trials'"),
        ({"gird": {"refits": [10]}}, "unknown key 'gird'. Did you mean 'grid'"),
        ({"grid": {"refits": [10]}, "workers": -1}, "workers"),
    ],
)
def test_what_is_wrong_is_said(read, keys, message):
    with pytest.raises(InputError, match=message):
        read(**keys)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "must be numbers"),
        ({"low": 1}, "must be numbers"),
        ({"low": "1", "high": 2}, "must be numbers"),
        ({"low": True, "high": 2}, "must be numbers"),
        ({"low": 1, "high": float("inf")}, "must be numbers"),
        ({"low": 2, "high": 2}, "smaller than high"),
        ({"low": 0, "high": 2, "log": True}, "above 0"),
        ({"low": 0, "high": 2, "choices": [1]}, "either choices"),
    ],
)
def test_a_range_has_limits_or_choices(limits, message):
    with pytest.raises(ValidationError, match=message):
        Range(**limits)


def test_whole_limits_mean_whole_numbers():
    assert Range(low=1, high=5).whole
    assert not Range(low=1.0, high=5).whole
    assert Range(choices=["a", "b"]).ends == ("a", "b")
