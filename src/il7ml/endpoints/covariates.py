"""Baseline covariates as a matrix to adjust for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.errors import InputError

Floats = NDArray[np.float64]


def adjustment_matrix(covariates: pd.DataFrame | None, n: int) -> Floats:
    """Return pre-specified baseline covariates as the columns of a regression.

    Numbers are centred, missing ones replaced by the mean: under randomisation that leaves the treatment effect
    unbiased and loses no patient. Other columns become indicators of all levels but the most frequent; missing is a
    level of its own.

    Parameters
    ----------
    covariates : DataFrame of shape (n, k), or None
    n : int
        Patients.

    Returns
    -------
    ndarray of shape (n, p)
        Without an intercept; p = 0 without covariates.

    Raises
    ------
    InputError
        If the length differs, a column is the same for all patients, or columns say the same.

    References
    ----------
    White and Thompson, Stat Med 2005;24:993, doi 10.1002/sim.1981 (missing baseline values).

    Examples
    --------
    >>> adjustment_matrix(pd.DataFrame({"age": [50.0, 60.0, None], "site": ["uk", "fr", "uk"]}), 3).tolist()
    [[-5.0, 0.0], [5.0, 1.0], [0.0, 0.0]]
    """
    if covariates is None or covariates.shape[1] == 0:
        return np.empty((n, 0))
    if len(covariates) != n:
        raise InputError(f"covariates: expected {n} rows, one a patient; {len(covariates)} came.")
    columns = [_columns(str(name), column) for name, column in covariates.items()]
    matrix = np.hstack(columns)
    if np.linalg.matrix_rank(np.column_stack([np.ones(n), matrix / matrix.std(axis=0)])) < 1 + matrix.shape[1]:
        raise InputError("covariates: some columns say the same as others together. Leave one of them out.")
    return matrix


def _columns(name: str, column: pd.Series) -> Floats:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        if np.isinf(values).any():
            raise InputError(f"covariate {name!r}: expected finite or missing values; infinite ones came. Mend them.")
        known = values[~np.isnan(values)]
        _require_variation(name, np.unique(known).size)
        return np.where(np.isnan(values), 0.0, values - known.mean())[:, None]
    codes, levels = pd.factorize(column.to_numpy(dtype=object), use_na_sentinel=False)
    _require_variation(name, len(levels))
    counts = np.bincount(codes)
    others = [level for level in range(len(levels)) if level != counts.argmax()]
    return np.asarray(codes[:, None] == np.array(others), dtype=float)


def _require_variation(name: str, levels: int) -> None:
    if levels < 2:
        raise InputError(f"covariate {name!r}: expected values that differ; all patients have the same. Leave it out.")
