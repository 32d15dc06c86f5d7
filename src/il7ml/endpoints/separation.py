"""What covariates predict without error: found, and left out of a regression's likelihood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from il7ml.errors import InputError
from il7ml.family import Family

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ZERO = 1e-7


def estimable_part(family: Family, y: Floats, design: Floats, column: int) -> tuple[Bools, Bools]:
    """Return the patients and columns that say something about one coefficient of a logistic or log-linear model.

    Where covariates separate outcomes, as a site without events does, some coefficients go to infinity and the patients
    concerned are fitted without error. The others' coefficients and errors are those of the model without these
    patients and the columns that are then superfluous.

    Parameters
    ----------
    family : Family
        Binary or count.
    y : ndarray of shape (n,)
    design : ndarray of shape (n, p)
    column : int
        The coefficient in question.

    Returns
    -------
    patients : ndarray of bool of shape (n,)
    columns : ndarray of bool of shape (p,)

    Raises
    ------
    InputError
        If that coefficient has no finite estimate.

    References
    ----------
    Albert and Anderson, Biometrika 1984;71:1, doi 10.1093/biomet/71.1.1 (separation). Konis, Linear programming
    algorithms for detecting separated data in binary logistic regression models, DPhil thesis, Oxford, 2007. Correia et
    al., arXiv 1903.01633, 2019 (counts).

    Examples
    --------
    >>> from il7ml.family import BINARY
    >>> arm, site = np.array([0, 1, 0, 1, 0, 1.0]), np.array([0, 0, 0, 0, 1, 1.0])
    >>> design = np.column_stack([np.ones(6), arm, site])
    >>> patients, columns = estimable_part(BINARY, np.array([1, 0, 0, 1, 0, 0.0]), design, column=1)
    >>> patients.tolist(), columns.tolist()
    ([True, True, True, True, False, False], [True, True, False])
    """
    scaled = design / np.abs(design).max(axis=0)
    direction = _separating_direction(family, y, scaled)
    patients = np.abs(scaled @ direction) < _ZERO
    columns = _independent(scaled[patients], column)
    if not columns[column]:
        raise InputError(
            "the effect is not estimable: a value of a covariate has no events, or nothing else, in an arm, or columns "
            "say the same. Leave out the modifier, or adjust for fewer covariates."
        )
    return patients, columns


def hazard_part(x: Floats, event: Floats) -> tuple[Bools, Bools]:
    """Return the patients and columns that say something about the first coefficient of a Cox model.

    Where all events have the lowest or the highest value of a covariate, as with a site without events, its coefficient
    goes to infinity and patients with other values weigh nothing in the risk sets: the other coefficients and errors
    are those without them.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Covariates of patients, or of intervals of time at risk.
    event : ndarray of shape (n,)

    Returns
    -------
    rows : ndarray of bool of shape (n,)
    columns : ndarray of bool of shape (p,)
        The first one always, others where they still vary.

    References
    ----------
    Heinze and Schemper, Biometrics 2001;57:114, doi 10.1111/j.0006-341X.2001.00114.x (monotone likelihood).

    Examples
    --------
    >>> arm, site = np.array([0, 1, 0, 1, 0, 1.0]), np.array([0, 0, 0, 0, 1, 1.0])
    >>> rows, columns = hazard_part(np.column_stack([arm, site]), np.array([1, 1, 0, 1, 0, 0.0]))
    >>> rows.tolist(), columns.tolist()
    ([True, True, True, True, False, False], [True, False])
    """
    rows, columns = np.ones(len(x), dtype=bool), np.ones(x.shape[1], dtype=bool)
    for column in range(1, x.shape[1]):
        value = x[event > 0, column]
        one_sided = value.max() in (x[:, column].min(), x[:, column].max())
        if one_sided and value.min() == value.max():
            rows &= x[:, column] == value[0]
    columns[1:] = np.ptp(x[rows, 1:], axis=0) > 0
    return rows, columns


def _separating_direction(family: Family, y: Floats, design: Floats) -> Floats:
    """Return the change of coefficients, none above 1, that improves the fit for ever for most patients; 0 if none."""
    towards = np.where(y > 0, 1.0, -1.0)[:, None] * design
    # A count above 0 is fitted worse on either side, so its linear predictor must stay.
    fixed = y > 0 if family.kind == "count" else np.zeros(y.size, dtype=bool)
    found = linprog(
        -towards[~fixed].sum(axis=0),
        A_ub=-towards[~fixed],
        b_ub=np.zeros((~fixed).sum()),
        A_eq=towards[fixed],
        b_eq=np.zeros(fixed.sum()),
        bounds=(-1, 1),
    )
    return np.asarray(found.x, dtype=float)


def _independent(design: Floats, column: int) -> Bools:
    """Return the columns that are not combinations of others, the one in question being the first to go."""
    kept = np.zeros(design.shape[1], dtype=bool)
    for each in [*np.delete(np.arange(design.shape[1]), column), column]:
        kept[each] = True
        kept[each] = design.size > 0 and np.linalg.matrix_rank(design[:, kept], tol=_ZERO) == kept.sum()
    return kept
