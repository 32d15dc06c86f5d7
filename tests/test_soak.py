"""A short version of `make soak`."""

import pytest
from tests.soak import SHARES, soak, table


@pytest.mark.slow
def test_killed_commands_leave_everything_whole_and_can_be_run_again(tmp_path):
    found = soak(tmp_path / "soak", 5)
    assert set(found["command"]) == set(SHARES)
    assert found[["store", "output", "again"]].all(axis=None), table(found)
    assert soak(tmp_path / "soak", 5).equals(found)  # goes on from its record
