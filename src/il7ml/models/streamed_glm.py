"""The penalised regression of `glm` for patients on disk: Newton's method on sums that are added up block by block."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.family import Family
from il7ml.features.columns import Columns
from il7ml.features.design import LinearDesign
from il7ml.features.stored_columns import StoredColumns
from il7ml.models.glm import FREE, GlmFit, bearable_penalties, column_information, corrected_aic
from il7ml.models.newton import Sums, descend, effective_df, sums_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Patients of a block: some ten megabytes of a design, whatever the tables' parts are.
BLOCK = 2**16
# Beyond this many patients the weakest bearable penalty does what the choice among eight does (see `nuisance`).
_LARGE = 100_000


class StoredPatients(NamedTuple):
    """Patients whose features lie on disk, and groups of them to which the same model is fitted.

    Attributes
    ----------
    columns : StoredColumns
    y, treatment, weight : ndarray of shape (n,)
    exposure : ndarray of shape (n,) or None
    groups : ndarray of bool of shape (groups, n)
    """

    columns: StoredColumns
    y: Floats
    treatment: Floats
    weight: Floats
    exposure: Floats | None
    groups: Bools

    def blocks(self) -> Iterator[tuple[slice, Columns]]:
        """Yield all patients, `BLOCK` at a time: where they stand, and their columns."""
        for start in range(0, self.y.size, BLOCK):
            stop = min(start + BLOCK, self.y.size)
            yield slice(start, stop), self.columns.rows(start, stop)


def fit_streamed_glm(family: Family, design: LinearDesign, patients: StoredPatients) -> list[GlmFit]:
    """Fit both arms of each group with every penalty and keep the one with the smallest corrected Akaike criterion.

    Results are those of `fit_glm` with the arm as free column, on the same design; each pass over the patients serves
    all groups. Beyond 100,000 patients only the weakest bearable penalty is tried.

    Parameters
    ----------
    family : Family
    design : LinearDesign
    patients : StoredPatients

    Returns
    -------
    list of GlmFit
        One a group: coefficient of the arm, then of the design.

    Raises
    ------
    InputError
        If Newton's method does not come to an end.

    References
    ----------
    As for `fit_glm`.
    """
    groups, width = patients.groups, len(design.owners) + 2
    coefficients = np.zeros((len(groups), width))
    candidates, sizes = [], []
    for place, group in enumerate(groups):
        known = group & (patients.weight > 0)
        y, weight = patients.y[known], patients.weight[known]
        exposure = None if patients.exposure is None else patients.exposure[known]
        information = column_information(family, y, weight, exposure)
        penalties = sorted(bearable_penalties(family, information), reverse=True) if width > 2 else [1.0]
        candidates.append([(each, each * information) for each in (penalties if y.size <= _LARGE else penalties[-1:])])
        sizes.append(float(weight.sum()))
        time = weight.sum() if exposure is None else (weight * exposure).sum()
        coefficients[place, 0] = family.link(float((weight * y).sum() / time))
    best: list[GlmFit | None] = [None] * len(groups)
    for step in range(max(map(len, candidates))):
        active = [place for place in range(len(groups)) if step < len(candidates[place])]
        strength = np.array([candidates[place][step][1] for place in active])
        shares = np.concatenate([[0.0, 1 / FREE**2], np.ones(width - 2)]) * strength[:, None]
        add_up = partial(_add_up, family, design, patients, active)
        coefficients[active], sums = descend(family, add_up, coefficients[active], shares)
        for row, place in enumerate(active):
            df = effective_df(sums.hessian[row], shares[row, 1:])
            deviance = 2 * float(sums.loss[row])
            fit = GlmFit(
                float(coefficients[place, 0]),
                coefficients[place, 1:].copy(),
                candidates[place][step][0],
                corrected_aic(family, deviance, df, sizes[place]),
                df,
            )
            found = best[place]
            if found is None or fit.criterion < found.criterion:
                best[place] = fit
    return [fit for fit in best if fit is not None]


def _add_up(
    family: Family, design: LinearDesign, patients: StoredPatients, active: list[int], coefficients: Floats
) -> Sums:
    width = coefficients.shape[1]
    loss = np.zeros(len(active))
    gradient, hessian = np.zeros((len(active), width)), np.zeros((len(active), width, width))
    for rows, columns in patients.blocks():
        n = rows.stop - rows.start
        matrix = np.hstack([np.ones((n, 1)), patients.treatment[rows, None], design.matrix(columns, n)])
        for place, group in enumerate(active):
            inside = patients.groups[group, rows] & (patients.weight[rows] > 0)
            time = None if patients.exposure is None else patients.exposure[rows][inside]
            part = sums_of(
                family,
                matrix[inside],
                patients.y[rows][inside],
                patients.weight[rows][inside],
                time,
                coefficients[place],
            )
            loss[place] += part[0]
            gradient[place] += part[1]
            hessian[place] += part[2]
    return Sums(loss, gradient, hessian)
