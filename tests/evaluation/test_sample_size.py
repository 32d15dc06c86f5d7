import pytest

from il7ml.errors import InputError
from il7ml.evaluation.sample_size import sample_size


@pytest.mark.parametrize(("parameters", "required"), [(3, 323), (5, 400), (10, 800)])
def test_patients_needed_at_thirty_percent_events(parameters, required):
    assert sample_size(1000, 300, parameters).required == required


@pytest.mark.parametrize(("parameters", "shrinkage"), [(3, 0.80), (5, 0.71), (10, 0.56)])
def test_shrinkage_to_expect_with_109_patients(parameters, shrinkage):
    # 33 events are 30.3 %, a little more than the 30 % of the published figures.
    assert sample_size(109, 33, parameters).expected_shrinkage == pytest.approx(shrinkage, abs=0.006)


def test_the_chagas_example_of_riley_and_colleagues():
    # Cox-Snell R2 0.288 at 17.4 % events is a Nagelkerke R2 of 0.478; 24 parameters need 623, 662 and 221 patients.
    result = sample_size(1000, 174, 24, nagelkerke_r2=0.288 / 0.60327)
    assert (result.required_shrinkage, result.required_optimism, result.required_prevalence) == (623, 662, 221)
    assert result.required * 0.174 / 24 == pytest.approx(4.8, abs=0.01)


def test_the_shrinkage_criterion_is_met_exactly_at_its_own_sample_size():
    needed = sample_size(1000, 300, 5).required_shrinkage
    assert sample_size(needed * 10, needed * 3, 50).expected_shrinkage == pytest.approx(0.9, abs=0.001)


def test_the_table_says_what_is_met():
    table = sample_size(350, 105, 3).frame().set_index("criterion")
    assert table["met"].all()
    assert sample_size(350, 105, 3).sufficient
    few = sample_size(109, 33, 3)
    assert few.frame().set_index("criterion")["met"].to_dict() == {
        "shrinkage": False,
        "optimism": True,
        "prevalence": False,
    }
    assert not few.sufficient
    assert few.events_per_parameter == 11


def test_a_hopeless_ratio_of_parameters_still_has_an_answer():
    assert 0 < sample_size(20, 6, 500).expected_shrinkage < 0.15


@pytest.mark.parametrize("arguments", [(100, 0, 3), (100, 100, 3), (100, 30, 0)])
def test_what_is_refused(arguments):
    with pytest.raises(InputError):
        sample_size(*arguments)
