import pytest
from tests.tracking.logged_runs import ITEMS, logged

from il7ml.errors import InputError
from il7ml.tracking.items import Metric, Text
from il7ml.tracking.record import config_of_run, report_of_run
from il7ml.tracking.store import open_run

CONFIG = next(item.content for item in ITEMS if isinstance(item, Text) and item.name == "config.yaml")


def test_a_run_says_how_it_is_repeated(uri):
    run_id, _ = logged(uri)
    record = config_of_run(run_id, uri)
    assert record == (run_id, "il7ml train", CONFIG, "d" * 64, {"auroc": 0.7, "auroc_low": 0.6}, "")


@pytest.mark.parametrize("run", ["nowhere", "0" * 32, "a' OR '1'='1", "models:/model/1"])
def test_an_unknown_run(uri, run):
    logged(uri)
    with pytest.raises(InputError, match="is not in the store"):
        config_of_run(run, uri)


def test_a_run_that_did_not_finish_or_was_no_training(uri):
    def stopped():
        with open_run(uri, "trials", "a run", {}) as run:
            ids.append(run.run_id)
            run.log(ITEMS)
            raise ValueError("stopped")

    ids = []
    with pytest.raises(ValueError, match="stopped"):
        stopped()
    with pytest.raises(InputError, match=r"expected a finished training.*found one that is failed"):
        config_of_run(ids[0], uri)
    with open_run(uri, "trials", "a run", {}) as other:
        other.log([Metric("auroc", 0.5)])
    with pytest.raises(InputError, match="expected a finished training"):
        config_of_run(other.run_id, uri)


def test_the_report_of_a_run_is_had_again(uri):
    def reported():
        with open_run(uri, "trials", "a run", {}) as run:
            run.log([*ITEMS, Text("report.html", "<html>ä</html>")])
            return run.run_id

    assert report_of_run(reported(), uri) == "<html>ä</html>"
    with pytest.raises(InputError, match="is not in the store"):
        report_of_run("0" * 32, uri)
    without, _ = logged(uri)
    with pytest.raises(InputError, match="has no report"):
        report_of_run(without, uri)
