"""The bootstrap over patients as a matrix of weights: metrics of many resamples then are a few array operations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from il7ml.evaluation.checks import check_count, check_level

Floats = NDArray[np.float64]

#: Elements of a block of weights: small enough for a processor's cache, and for memory whatever the number of patients.
_BLOCK = 2**18


def resampling_counts(n: int, bootstrap: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each patient is drawn in each resample, in blocks of shape (b, n) that make up `bootstrap` rows.

    A block holds about 260,000 numbers, or one resample where n is larger. Memory therefore grows with n only; time
    grows with ``bootstrap * n``.

    Raises
    ------
    InputError
        If `bootstrap` is not a whole number above 0.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, doi 10.1201/9780429246593.

    Examples
    --------
    >>> import numpy as np
    >>> blocks = list(resampling_counts(5, 3, np.random.default_rng(0)))
    >>> np.vstack(blocks).sum(axis=1).tolist()
    [5.0, 5.0, 5.0]
    """
    check_count(bootstrap, 1, "bootstrap")
    rows = max(1, _BLOCK // n)
    for start in range(0, bootstrap, rows):
        b = min(rows, bootstrap - start)
        drawn = rng.integers(0, n, (b, n)) + n * np.arange(b)[:, None]
        yield np.bincount(drawn.ravel(), minlength=b * n).reshape(b, n).astype(float)


def percentile_interval(samples: Floats, level: float) -> Floats:
    """Return the lower and upper percentile limits of each column, shape (2, columns); NaN rows are left out.

    A resample has no value where it lacks what the metric needs, such as patients with the outcome.

    Examples
    --------
    >>> import numpy as np
    >>> percentile_interval(np.arange(101.0)[:, None], 0.9).ravel().round(6).tolist()
    [5.0, 95.0]
    """
    check_level(level)
    limits = np.full((2, samples.shape[1]), np.nan)
    for column, values in enumerate(samples.T):
        finite = values[np.isfinite(values)]
        if finite.size:
            limits[:, column] = np.quantile(finite, [0.5 - level / 2, 0.5 + level / 2])
    return limits
