"""A calibrated stack: penalised regression and shallow trees, weighted by what they foretell of patients held out.

The regression catches straight trends with few patients, the trees bends and thresholds with many. Which to trust is
learned on the link scale, where both are sums of contributions, so that the stack is one too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from sklearn.utils.validation import check_is_fitted

from il7ml.family import Family, Kind
from il7ml.features.columns import as_frame
from il7ml.models.fitted import Fitted, FittedStack
from il7ml.models.inner_folds import inner_folds
from il7ml.models.relative_effect import constant_shift
from il7ml.models.risk import BoostedRiskModel, LinearRiskModel, PrognosticModel, Training
from il7ml.schema import Variable

Floats = NDArray[np.float64]

#: What the weights are before any patient is seen, and how sure that is: half each, give or take a quarter.
PRIOR_WEIGHT = 0.5
PRIOR_SD = 0.25
_LEVELS = (-30.0, 30.0)  # of a link scale on which an arm without events has no finite level


def stack_weights(
    family: Family,
    held_out: Floats,
    y: Floats,
    treatment: Floats,
    weight: Floats,
    exposure: Floats | None = None,
) -> Floats:
    """Return the non-negative weights with which held-out linear predictors foretell the outcome best.

    Their sum is the calibration slope of the stack and their ratio the trust in each part; both are shrunk towards
    equal weights with sum 1. A hundred patients hardly move them, some thousand decide. Each arm has its own level.

    Parameters
    ----------
    family : Family
    held_out : ndarray of shape (parts, n)
        Each part's linear predictor without treatment, for patients that it was fitted without.
    y, treatment, weight : ndarray of shape (n,)
    exposure : ndarray of shape (n,), optional

    Returns
    -------
    ndarray of shape (parts,)

    References
    ----------
    Wolpert, Neural Netw 1992;5:241, doi 10.1016/S0893-6080(05)80023-1. Breiman, Mach Learn 1996;24:49,
    doi 10.1007/BF00117832 (non-negative weights). Naimi and Balzer, Eur J Epidemiol 2018;33:459,
    doi 10.1007/s10654-018-0390-z. Cox, Biometrika 1958;45:562, doi 10.1093/biomet/45.3-4.562 (calibration slope).

    Examples
    --------
    >>> import numpy as np
    >>> from il7ml.family import CONTINUOUS
    >>> truth, noise = np.random.default_rng(0).normal(size=(2, 4000))
    >>> arm = np.arange(4000) % 2.0
    >>> stack_weights(CONTINUOUS, np.array([truth, noise]), truth + arm, arm, np.ones(4000)).round(2).tolist()
    [1.0, 0.0]
    """
    parts, n = held_out.shape
    arms = np.array([1 - treatment, treatment])
    time = np.ones(n) if exposure is None else exposure
    start = np.full(parts, PRIOR_WEIGHT)
    levels = np.array([_level(family, start @ held_out, y, weight * arm, time) for arm in arms])
    variance = 1.0
    if family.kind == "continuous":
        residual = y - start @ held_out - levels @ arms
        variance = max(float(np.average(residual**2, weights=weight)), 1e-300)
    design = np.vstack([arms, held_out])

    def objective(theta: Floats) -> tuple[float, Floats]:
        rate = family.mean(theta @ design)
        loss = family.loss(y, rate, exposure) * (0.5 if family.kind == "continuous" else 1.0)
        distance = np.concatenate([np.zeros(2), (theta[2:] - PRIOR_WEIGHT) / PRIOR_SD])
        value = (weight * loss).sum() / variance + (distance**2).sum() / 2
        slope = design @ (weight * (time * rate - y)) / variance + distance / PRIOR_SD
        return float(value / n), np.asarray(slope / n)

    found = minimize(
        objective,
        np.concatenate([levels, start]),
        jac=True,
        method="L-BFGS-B",
        bounds=[*([(None, None) if family.kind == "continuous" else _LEVELS] * 2), *([(0.0, None)] * parts)],
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
    )
    return np.asarray(found.x[2:], dtype=float)


class StackedRiskModel(PrognosticModel):
    """Ridge regression and shallow XGBoost, weighted by inner cross-validation and calibrated in each arm.

    The parts are fitted to all patients and to all but a fold's; the latter give the weights (see `stack_weights`). The
    arm is a main effect: with the weighted sum as offset, each arm's level is the one that gives its event rate.

    Parameters
    ----------
    outcome : {'binary', 'count', 'continuous'}
    variables : mapping of str to Variable, optional
        As in `LinearRiskModel`; at least one.
    spline : tuple of str
        Variables that enter the regression as restricted cubic splines.
    harmful : bool, default True
        As in `BoostedRiskModel`.
    folds : int, default 5
        Inner folds; copies of a patient, as a bootstrap sample has them, share one.
    random_state : int, default 0
        Deals the inner folds.
    device : str, default 'cpu'
        XGBoost's device.

    Attributes
    ----------
    fitted_ : FittedStack
        Regression, then trees.
    weights_ : ndarray of shape (2,)
        Their weights.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"age": rng.normal(60, 10, 200)})
    >>> y = rng.binomial(1, np.where(X["age"] > 60, 0.6, 0.2))
    >>> model = StackedRiskModel().fit(X, y, np.arange(200) % 2)
    >>> bool((model.weights_ >= 0).all())
    True
    >>> bool(np.isclose(model.predict(X, np.arange(200) % 2).mean(), y.mean()))
    True
    """

    fitted_: FittedStack

    def __init__(
        self,
        outcome: Kind = "binary",
        variables: Mapping[str, Variable] | None = None,
        spline: tuple[str, ...] = (),
        harmful: bool = True,
        folds: int = 5,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.outcome = outcome
        self.variables = variables
        self.spline = spline
        self.harmful = harmful
        self.folds = folds
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> Self:
        """Fit to both arms. Parameters and errors are those of `BoostedRiskModel.fit`."""
        frame, training = self._start(X, y, treatment, sample_weight, exposure)
        self.parts_ = self._unfitted()
        for part in self.parts_:
            part.fit(frame, **training.arguments())
        self.fitted_ = self._combined(frame, training, [part.fitted_ for part in self.parts_])
        self.weights_ = self.fitted_.weights
        trained = self.fitted_.linear_predictor(training.columns, training.y.size)
        self.range_ = (float(trained.min()), float(trained.max()))
        return self

    def refit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> FittedStack:
        """Return the stack of other patients, weights learned anew; the regression keeps this one's design."""
        check_is_fitted(self)
        frame = as_frame(X)
        training = self._checked(frame, y, treatment, sample_weight, exposure)
        return self._combined(frame, training, [part.refit(frame, **training.arguments()) for part in self.parts_])

    def _unfitted(self) -> tuple[LinearRiskModel, BoostedRiskModel]:
        return (
            LinearRiskModel(self.outcome, self.variables, self.spline),
            BoostedRiskModel(self.outcome, self.variables, self.harmful, rounds=None, device=self.device),
        )

    def _combined(self, X: pd.DataFrame, training: Training, parts: Sequence[Fitted]) -> FittedStack:
        """Return the stack of parts fitted to all of these patients."""
        _, y, treatment, weight, exposure = training
        n = y.size
        known = weight > 0  # nothing can be learned from the others, not even how to deal the folds
        weights = self._weights(X[known], training.rows(known))
        stack = FittedStack(tuple(parts), weights, 0.0)
        linear = stack.linear_predictor(training.columns, n)
        time = np.ones(n) if exposure is None else exposure
        levels = [_level(self.family, linear, y, weight * (treatment == arm), time) for arm in (0, 1)]
        # Where an arm has nobody, nothing is known of its level, and the other's stands for it.
        control, treated = (levels[arm] if known[treatment == arm].any() else levels[1 - arm] for arm in (0, 1))
        return replace(stack, intercept=control, arm_effect=treated - control)

    def _weights(self, X: pd.DataFrame, training: Training) -> Floats:
        """Return the weights of the parts, learned from patients that they were fitted without."""
        _, y, treatment, weight, exposure = training
        rng = np.random.default_rng(self.random_state)
        fold = inner_folds(X, y, treatment, exposure, self.outcome, self.folds, rng)
        held_out = np.empty((2, len(X)))
        for held in np.unique(fold):
            inside, outside = fold != held, fold == held
            for number, part in enumerate(self._unfitted()):
                part.fit(X[inside], **training.rows(inside).arguments())
                # A fold's own level says nothing about its patients: it was set by the others' event rate.
                level = part.linear_predictor(X[inside]).mean()
                held_out[number, outside] = np.clip(part.linear_predictor(X[outside]), *part.range_) - level
        return stack_weights(self.family, held_out, y, treatment, weight, exposure)


def _level(family: Family, linear: Floats, y: Floats, weight: Floats, time: Floats) -> float:
    """Return what must be added to the linear predictor for the event rate of the patients that have a weight."""
    total = weight * time
    if not total.any():
        return 0.0
    observed = float((weight * y).sum() / total.sum())
    return constant_shift(family, linear, observed - float(np.average(family.mean(linear), weights=total)), total)
