import pytest

from il7ml.errors import (
    BundleRefusedError,
    DataError,
    Il7mlError,
    InputError,
    OutOfScopeError,
    Problem,
    nearest,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [(Il7mlError, 1), (InputError, 2), (DataError, 2), (OutOfScopeError, 3), (BundleRefusedError, 4)],
)
def test_each_error_carries_the_exit_code_of_its_kind(error, code):
    assert error.exit_code == code
    assert issubclass(error, Il7mlError)


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem("labs.csv", "day", "not a number", 1, "Mend it."), "labs.csv: day: not a number (1 row). Mend it."),
        (Problem("labs.csv", "day", "negative", 3, "Mend it."), "labs.csv: day: negative (3 rows). Mend it."),
        (Problem("labs.csv", "", "no rows", 0, "Fill it."), "labs.csv: no rows. Fill it."),
    ],
)
def test_problem_reads_as_one_line(problem, line):
    assert str(problem) == line


def test_data_error_shows_all_problems_at_once():
    problems = [Problem("a.csv", "age", "negative", 2, "Mend it."), Problem("b.csv", "", "empty", 0, "Fill it.")]
    error = DataError(problems)
    assert error.problems == tuple(problems)
    assert str(error).splitlines() == [
        "2 problems in the data:",
        "  - a.csv: age: negative (2 rows). Mend it.",
        "  - b.csv: empty. Fill it.",
    ]
    assert str(DataError(problems[:1])).startswith("1 problem in the data:")


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("foldz", ["repeats", "folds"], " Did you mean 'folds'?"),
        ("xyz", ["repeats", "folds"], " Known: folds, repeats."),
        ("xyz", [], ""),
        ("foldz", (word for word in ("repeats", "folds")), " Did you mean 'folds'?"),
    ],
)
def test_nearest_names_one_known_name_or_all(name, known, hint):
    assert nearest(name, known) == hint
