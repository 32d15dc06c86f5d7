"""Internal-external validation: each site predicted by a model that never saw it, and what to expect of a new site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from il7ml.errors import InputError
from il7ml.evaluation.checks import check_level
from il7ml.evaluation.influence import BACK, Scale, auroc, average, mean, observed_expected
from il7ml.evaluation.outcome import Outcome, as_outcome, as_repeats
from il7ml.evaluation.performance_groups import SMALLEST_GROUP
from il7ml.evaluation.random_effects import random_effects
from il7ml.evaluation.weighted_glm import fit_weighted
from il7ml.family import FAMILIES, Kind

Floats = NDArray[np.float64]

#: Measures of each kind of outcome, with the scale on which sites are summarised.
_SCALES: dict[Kind, dict[str, Scale]] = {
    "binary": {"auroc": "logit", "observed_expected": "log", "calibration_slope": "identity"},
    "count": {"observed_expected": "log", "calibration_slope": "identity"},
    "continuous": {"observed_minus_predicted": "identity", "calibration_slope": "identity"},
}
_NONE = (np.nan, np.nan)


class InternalExternal(NamedTuple):
    """Performance in sites left out, and its summary.

    Attributes
    ----------
    sites : DataFrame
        A row a site and metric: site, n, events (NaN for continuous outcomes), metric, scale, estimate and std_error
        (both on that scale), value, low, high (on the metric's own). Sites of fewer than 10 patients show no number.
    summary : DataFrame
        A row a metric: metric, sites (that gave a figure), sites_left_out, estimate, low, high (Hartung-Knapp),
        prediction_low, prediction_high (a new site), tau2, i2. Estimates and limits are on the metric's own scale, tau2
        on the one named in `sites`. NaN where fewer than two sites gave a figure (three for the prediction interval).
    """

    sites: pd.DataFrame
    summary: pd.DataFrame


def internal_external(
    y: ArrayLike,
    predicted: ArrayLike,
    site: Sequence[object] | NDArray[np.object_],
    kind: Kind,
    *,
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    level: float = 0.95,
) -> InternalExternal:
    """Measure predictions site by site and summarise them by a random-effects model.

    A site gives no figure where it has fewer than 10 patients, where nobody has or lacks the outcome, or where its
    prediction is perfect or constant; the summary says how many sites are left out. The standard error of the slope is
    the model's own, since the robust one is too small in sites with few events.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome; may be NaN where `weight` is 0.
    predicted : array-like of shape (n,) or (repeats, n)
        Each patient's risk, rate per unit of exposure or mean by the models fitted without that patient's site.
    site : sequence of shape (n,)
        Site labels.
    kind : {'binary', 'count', 'continuous'}
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.
    exposure : array-like of shape (n,), optional
        Time at risk, for counts.
    level : float
        Level of all intervals.

    Returns
    -------
    InternalExternal

    Raises
    ------
    InputError
        If there are fewer than two sites, or the arrays do not fit together.

    References
    ----------
    Steyerberg and Harrell, J Clin Epidemiol 2016;69:245, doi 10.1016/j.jclinepi.2015.04.005. Debray et al., Stat
    Methods Med Res 2019;28:2768, doi 10.1177/0962280218785504. Snell et al., Stat Methods Med Res 2018;27:3505,
    doi 10.1177/0962280217705678 (scales).

    Examples
    --------
    >>> import numpy as np
    >>> y, risk = np.tile([0, 0, 1, 0, 1, 0], 10), np.tile([0.1, 0.2, 0.6, 0.5, 0.4, 0.2], 10)
    >>> result = internal_external(y, risk, np.repeat(["A", "B"], 30), "binary")
    >>> result.summary[["metric", "sites", "estimate"]].values.tolist()[0]
    ['auroc', 2, 0.875]
    """
    outcome = as_outcome(y, kind, weight, exposure)
    repeats = as_repeats(predicted, outcome.y.size, kind=kind)
    check_level(level)
    labels = np.asarray(site, dtype=object)
    if labels.shape != outcome.y.shape or pd.isna(labels).any():
        raise InputError(
            f"site: expected a label for each of {outcome.y.size} patients, got shape {labels.shape}, or some missing. "
            "Pass one label a patient."
        )
    names = sorted(set(labels.tolist()), key=str)
    if len(names) < 2:
        raise InputError(f"site: leaving a site out needs at least 2 sites, got {len(names)}. Use cross-validation.")
    rows = []
    for name in names:
        members = (labels == name) & (outcome.weight > 0)
        part = Outcome(*(column[members] for column in outcome))
        n, events = int(part.y.size), np.nan if kind == "continuous" else float(part.y.sum())
        if n < SMALLEST_GROUP:
            rows += [(name, np.nan, np.nan, metric, scale, np.nan, np.nan) for metric, scale in _SCALES[kind].items()]
            continue
        figures = _figures(kind, part, repeats[:, members])
        rows += [(name, n, events, metric, _SCALES[kind][metric], *figure) for metric, figure in figures.items()]
    sites = pd.DataFrame(rows, columns=["site", "n", "events", "metric", "scale", "estimate", "std_error"])
    summary = [
        _summary(metric, scale, sites[sites["metric"] == metric], level) for metric, scale in _SCALES[kind].items()
    ]
    return InternalExternal(_with_limits(sites, level), pd.DataFrame(summary))


def _figures(kind: Kind, outcome: Outcome, repeats: Floats) -> dict[str, tuple[float, float]]:
    """Return estimate and standard error of each measure on its scale, in the order of `_SCALES`."""
    figures = {}
    # Where the ranking is perfect, or nobody has or lacks the outcome, the slope has no finite estimate either.
    finite = True
    if kind == "binary":
        figures["auroc"] = average([auroc(outcome, risk) for risk in repeats]).on("logit")
        finite = not np.isnan(figures["auroc"][0])
    if kind == "continuous":
        shift = average([mean(outcome.y - predicted, outcome.weight) for predicted in repeats])
        figures["observed_minus_predicted"] = shift.on("identity")
    else:
        ratio = average([observed_expected(outcome, predicted) for predicted in repeats])
        figures["observed_expected"] = ratio.on("log")
    return figures | {"calibration_slope": _slope(kind, outcome, repeats) if finite else _NONE}


def _slope(kind: Kind, outcome: Outcome, repeats: Floats) -> tuple[float, float]:
    """Return the calibration slope with its model-based standard error, averaged over repeats."""
    family = FAMILIES[kind]
    found = []
    for predicted in repeats:
        linear = family.link(predicted)
        if np.ptp(linear) < 1e-9 or np.ptp(outcome.y) == 0:
            return _NONE
        design = np.column_stack([np.ones(linear.size), linear - linear.mean()])
        beta = fit_weighted(family, design, outcome, outcome.weight[None, :])[0]
        expected = family.mean(design @ beta)
        variance = family.variance(expected) * outcome.exposure
        bread = np.linalg.inv((design.T * (outcome.weight * variance)) @ design)
        meat = (design.T * (outcome.weight**2 * variance)) @ design
        squares = (outcome.y - expected * outcome.exposure) ** 2 / variance
        dispersion = float(np.average(squares, weights=outcome.weight)) * linear.size / (linear.size - 2)
        if kind != "continuous":
            dispersion = 1.0 if kind == "binary" else max(dispersion, 1.0)
        found.append((beta[1], dispersion * (bread @ meat @ bread)[1, 1]))
    slope, square = np.mean(found, axis=0)
    return float(slope), float(np.sqrt(square))


def _with_limits(sites: pd.DataFrame, level: float) -> pd.DataFrame:
    half = float(ndtri(0.5 + level / 2)) * sites["std_error"]
    back = [BACK[scale] for scale in sites["scale"]]
    columns = {"value": sites["estimate"], "low": sites["estimate"] - half, "high": sites["estimate"] + half}
    return sites.assign(
        **{name: [own(value) for own, value in zip(back, column, strict=True)] for name, column in columns.items()}
    )


def _summary(metric: str, scale: Scale, rows: pd.DataFrame, level: float) -> dict[str, object]:
    known = rows[rows["estimate"].notna() & (rows["std_error"] > 0)]
    row: dict[str, object] = {"metric": metric, "sites": len(known), "sites_left_out": len(rows) - len(known)}
    names = ("estimate", "low", "high", "prediction_low", "prediction_high")
    if len(known) < 2:
        return row | dict.fromkeys((*names, "tau2", "i2"), np.nan)
    result = random_effects(known["estimate"], known["std_error"], level=level)
    return row | {name: BACK[scale](getattr(result, name)) for name in names} | {"tau2": result.tau2, "i2": result.i2}
