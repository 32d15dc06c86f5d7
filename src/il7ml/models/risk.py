"""Prognostic models fitted to both arms, with the arm as an unpenalised main effect, predicting without treatment.

A model fitted to the control arm alone would learn that arm's noise and turn it into false heterogeneity when both
arms are compared with it (Abadie, Chingos and West, Rev Econ Stat 2018;100:567, doi 10.1162/rest_a_00732).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from il7ml.errors import InputError, nearest
from il7ml.family import Family, Kind, family_of
from il7ml.features.columns import Columns, as_frame, infer_variables, take, to_columns
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.arrays import arm_vector, exposure_vector, outcome_vector, weight_vector
from il7ml.models.firth import fit_firth
from il7ml.models.fitted import Fitted, FittedLinear, FittedTrees
from il7ml.models.glm import fit_glm
from il7ml.schema import Variable

Floats = NDArray[np.float64]

#: Shallow and shrunken: at a few hundred patients the library's defaults lose to the event rate.
TREE_SETTINGS: dict[str, Any] = {
    "max_depth": 2,
    "eta": 0.05,
    "lambda": 10.0,
    "min_child_weight": 1.0,
    "tree_method": "hist",
}
_OBJECTIVES = {"binary": "binary:logistic", "count": "count:poisson", "continuous": "reg:squarederror"}
_NEUTRAL = {"binary": 0.5, "count": 1.0, "continuous": 0.0}  # a base score that is 0 on the link scale


def bearable_rounds(kind: Kind, y: Floats, weight: Floats) -> int:
    """Return ten times the square root of the number of events, 10 to 200: a number of trees that the data bear.

    Each round adds a step towards the training patients, so that few events are fitted exactly long before 200. Events
    are those of the rarer outcome, or patients where the outcome is continuous.

    Examples
    --------
    >>> import numpy as np
    >>> bearable_rounds("binary", np.repeat([0.0, 1.0], [73, 36]), np.ones(109))
    60
    """
    events = {"binary": min((weight * y).sum(), (weight * (1 - y)).sum()), "count": (weight * y).sum()}
    return int(np.clip(round(10 * float(np.sqrt(events.get(kind, weight.sum())))), 10, 200))


class Training(NamedTuple):
    """Checked arrays of the patients that a model is fitted to."""

    columns: Columns
    y: Floats
    treatment: Floats
    weight: Floats
    exposure: Floats | None

    def rows(self, rows: NDArray[np.bool_]) -> Training:
        """Return the given patients."""
        exposure = None if self.exposure is None else self.exposure[rows]
        return Training(take(self.columns, rows), self.y[rows], self.treatment[rows], self.weight[rows], exposure)

    def arguments(self) -> dict[str, Any]:
        """Return what `fit` takes beside the frame."""
        return {
            "y": self.y,
            "treatment": self.treatment,
            "sample_weight": self.weight,
            "exposure": self.exposure,
        }


class PrognosticModel(BaseEstimator):  # type: ignore[misc]
    """What all prognostic models share: checks at the door, prediction from `fitted_`.

    Columns are found by name, in whatever order; those of an array are called x0, x1, and so on. Values may be missing.
    Patients of one arm alone (or with outcomes known in one arm alone) say nothing of the other: the arm effect is 0
    then, and both arms are predicted alike.
    """

    outcome: Kind
    variables: Mapping[str, Variable] | None
    fitted_: Fitted
    variables_: dict[str, Variable]
    feature_names_in_: NDArray[np.object_]
    n_features_in_: int
    range_: tuple[float, float] = (-np.inf, np.inf)

    @property
    def family(self) -> Family:
        """The outcome's family."""
        return family_of(self.outcome)

    def linear_predictor(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the linear predictor without treatment, shape (n,).

        Raises
        ------
        InputError
            If a column that the model was fitted to is missing, or holds what it cannot; or X is an array, and the
            model was fitted to other columns than as many without names.
        """
        frame = self._frame(X)
        return self.fitted_.linear_predictor(to_columns(frame, self.variables_), len(frame))

    def predict(self, X: pd.DataFrame | ArrayLike, treatment: ArrayLike = 0) -> Floats:
        """Return each patient's risk, rate or mean under the given arm (0: without treatment), shape (n,).

        Linear predictors are kept within those of the training patients: with a log link one rare combination would
        else be given a rate that nobody ever had.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, k)
        treatment : 0, 1 or array-like of shape (n,) of these

        Raises
        ------
        InputError
            As in `linear_predictor`; or if `treatment` is anything but 0 and 1.
        """
        linear = self._kept_linear_predictor(X)
        given = np.full(linear.size, treatment) if np.ndim(treatment) == 0 else treatment
        return self.family.mean(linear + self.fitted_.arm_effect * arm_vector(given, linear.size))

    def predict_arms(self, X: pd.DataFrame | ArrayLike) -> tuple[Floats, Floats]:
        """Return what `predict` does without and with treatment, at the cost of one."""
        linear = self._kept_linear_predictor(X)
        return self.family.mean(linear), self.family.mean(linear + self.fitted_.arm_effect)

    def _kept_linear_predictor(self, X: pd.DataFrame | ArrayLike) -> Floats:
        return np.clip(self.linear_predictor(X), *self.range_)

    def contributions(self, X: pd.DataFrame | ArrayLike) -> tuple[float, pd.DataFrame]:
        """Return base and each variable's contribution on the link scale; they add up to `linear_predictor`."""
        frame = self._frame(X)
        base, parts = self.fitted_.contributions(to_columns(frame, self.variables_), len(frame))
        return base, pd.DataFrame(parts, index=frame.index)

    def _frame(self, X: pd.DataFrame | ArrayLike) -> pd.DataFrame:
        check_is_fitted(self)
        frame = as_frame(X)
        if isinstance(X, pd.DataFrame):
            return frame
        names = self.feature_names_in_
        if list(frame.columns) != list(names):
            raise InputError(
                f"X: expected the {len(names)} columns that the model was fitted to, got an array of {frame.shape[1]} "
                "without names. Pass a frame with their names."
            )
        return frame

    def refit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> Fitted:
        """Return what other patients make of this model, such as a bootstrap sample; the model itself stays as it is.

        Linear parts keep the design of the patients that the model was fitted to, so that a bundle needs only one.
        Parameters and errors are those of `fit`.
        """
        check_is_fitted(self)
        other: PrognosticModel = clone(self).fit(X, y, treatment, sample_weight=sample_weight, exposure=exposure)
        return other.fitted_

    def _start(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        sample_weight: ArrayLike | None,
        exposure: ArrayLike | None,
    ) -> tuple[pd.DataFrame, Training]:
        """Take note of the variables, and return patients and arrays that can be learned from."""
        frame = as_frame(X)
        self.variables_ = dict(self.variables) if self.variables is not None else infer_variables(frame)
        self.feature_names_in_ = np.array(list(map(str, frame.columns.tolist())), dtype=object)
        self.n_features_in_ = frame.shape[1]
        self._check_settings()
        return frame, self._checked(frame, y, treatment, sample_weight, exposure)

    def _check_settings(self) -> None:
        settings = self.get_params(deep=False)
        for name in settings.get("spline", ()):
            if name not in self.variables_:
                raise InputError(f"spline: {name!r} is not among the variables.{nearest(name, self.variables_)}")
        for name, least in (("folds", 2), ("rounds", 1), ("depth", 1), ("trials", 1)):
            value = settings.get(name)
            if value is not None and value < least:
                raise InputError(f"{name}: expected {least} or more, got {value}. Construct the model with another.")

    def _checked(
        self,
        frame: pd.DataFrame,
        y: ArrayLike,
        treatment: ArrayLike,
        sample_weight: ArrayLike | None,
        exposure: ArrayLike | None,
    ) -> Training:
        n = len(frame)
        if n == 0:
            raise InputError("X: expected patients, none came. Pass at least one.")
        arm, weight = arm_vector(treatment, n), weight_vector(sample_weight, n)
        known = arm[weight > 0]
        return Training(
            to_columns(frame, self.variables_),
            outcome_vector(y, n, self.family.kind),
            arm if known.min() < known.max() else np.zeros(n),
            weight,
            exposure_vector(exposure, n, self.family.kind),
        )


class LinearRiskModel(PrognosticModel):
    """Penalised logistic, Poisson or linear regression on a standardised design.

    Where a variable separates the outcomes, the usual coefficients are infinite. Ridge keeps them finite, the more so
    the stronger its penalty; Firth's likelihood keeps them finite without one, but takes no account of the number of
    columns and suits a few predictors that were named beforehand.

    Parameters
    ----------
    outcome : {'binary', 'count', 'continuous'}
    variables : mapping of str to Variable, optional
        Variables used. An empty mapping gives the event rate of each arm: the baseline to beat.
        By default all columns, described by their dtypes.
    spline : tuple of str
        Variables that enter as restricted cubic splines.
    penalties : tuple of float, optional
        Candidates, see `fit_glm`.
    firth : bool, default False
        Firth's penalised likelihood with the intercept that gives the event rate, instead of ridge; see `fit_firth`.

    Attributes
    ----------
    fitted_ : FittedLinear
    penalty_ : float
        The ridge penalty chosen; 0 with `firth`.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> X = pd.DataFrame({"age": np.arange(40.0)})
    >>> y = np.tile([0, 1, 1, 0], 10)
    >>> arm = np.repeat([0, 1], 20)
    >>> LinearRiskModel(variables={}).fit(X, y, arm).predict(X.head(1)).round(2).tolist()
    [0.5]
    """

    fitted_: FittedLinear

    def __init__(
        self,
        outcome: Kind = "binary",
        variables: Mapping[str, Variable] | None = None,
        spline: tuple[str, ...] = (),
        penalties: tuple[float, ...] | None = None,
        firth: bool = False,
    ) -> None:
        self.outcome = outcome
        self.variables = variables
        self.spline = spline
        self.penalties = penalties
        self.firth = firth

    def fit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> Self:
        """Fit to both arms.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, k)
            Baseline variables by canonical name.
        y : array-like of shape (n,)
        treatment : array-like of shape (n,)
            1 for treated, 0 for control.
        sample_weight, exposure : array-like of shape (n,), optional

        Raises
        ------
        InputError
            If there is no patient, a column is missing, an array is not finite, not of n values or outside what it can
            be, or a setting names no variable or cannot be.
        """
        _, training = self._start(X, y, treatment, sample_weight, exposure)
        design = LinearDesign.learn(training.columns, self.variables_, spline=self.spline, weight=training.weight)
        self.fitted_, self.penalty_ = self._fit_on(design, training)
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
    ) -> FittedLinear:
        """Return the model of other patients on this one's design; the penalty is chosen anew."""
        check_is_fitted(self)
        return self._fit_on(self.fitted_.design, self._checked(as_frame(X), y, treatment, sample_weight, exposure))[0]

    def _fit_on(self, design: LinearDesign, training: Training) -> tuple[FittedLinear, float]:
        """Return the model on a given design, and its ridge penalty."""
        matrix, arm = design.matrix(training.columns, training.y.size), training.treatment[:, None]
        weight, exposure = training.weight, training.exposure
        if self.firth:
            fit = fit_firth(self.family, matrix, training.y, free=arm, weight=weight, exposure=exposure)
            intercept, coefficients, penalty = fit.calibrated_intercept, fit.coefficients, 0.0
        else:
            intercept, coefficients, penalty, _, _ = fit_glm(
                self.family, matrix, training.y, free=arm, weight=weight, exposure=exposure, penalties=self.penalties
            )
        return FittedLinear(design, coefficients[1:], intercept, float(coefficients[0])), penalty


class BoostedRiskModel(PrognosticModel):
    """Shallow, shrunken XGBoost beside an arm main effect that the trees cannot split on.

    Parameters
    ----------
    outcome : {'binary', 'count', 'continuous'}
    variables : mapping of str to Variable, optional
        As in `LinearRiskModel`.
    harmful : bool, default True
        Whether a higher outcome is worse; turns the dictionary's directions into monotone constraints.
    rounds : int or None, default 200
        Number of trees; None: as many as the events bear, see `bearable_rounds`.
    depth : int, default 2
        Most splits on the way to a leaf: how many variables can act together.
    rate : float, default 0.05
        Share of each tree's step that is taken.
    penalty : float, default 10
        Ridge penalty on the leaves.
    device : str, default 'cpu'
        XGBoost's device.
    """

    fitted_: FittedTrees

    def __init__(
        self,
        outcome: Kind = "binary",
        variables: Mapping[str, Variable] | None = None,
        harmful: bool = True,
        rounds: int | None = 200,
        depth: int = 2,
        rate: float = 0.05,
        penalty: float = 10.0,
        device: str = "cpu",
    ) -> None:
        self.outcome = outcome
        self.variables = variables
        self.harmful = harmful
        self.rounds = rounds
        self.depth = depth
        self.rate = rate
        self.penalty = penalty
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
        """Fit to both arms: intercept and arm effect first, then trees on what they leave.

        Parameters and errors are those of `LinearRiskModel.fit`; here at least one variable is needed.
        """
        import xgboost

        _, (columns, y, treatment, weight, exposure) = self._start(X, y, treatment, sample_weight, exposure)
        n = y.size
        if not columns:
            raise InputError(
                "BoostedRiskModel: expected at least one variable, none came. "
                "For the event rate alone use LinearRiskModel(variables={})."
            )
        start = fit_glm(self.family, np.empty((n, 0)), y, free=treatment[:, None], weight=weight, exposure=exposure)
        margin = start.intercept + start.coefficients[0] * treatment
        design = TreeDesign.learn(self.variables_)
        data = xgboost.DMatrix(
            design.matrix(columns, n),
            label=y,
            weight=weight,
            base_margin=margin if exposure is None else margin + np.log(exposure),
            nthread=1,
        )
        settings = self.settings(design, self.variables_)
        rounds = bearable_rounds(self.outcome, y, weight) if self.rounds is None else self.rounds
        # The rounds of `xgboost.train` without what it does around them, which takes a small trial as long again.
        booster = xgboost.Booster(settings, [data])
        for number in range(rounds):
            booster.update(data, number)
        booster.set_param({"device": "cpu"})  # what it predicts from is in the processor's memory
        self.fitted_ = FittedTrees(design, booster, start.intercept, float(start.coefficients[0]))
        return self

    def settings(self, design: TreeDesign, variables: Mapping[str, Variable]) -> dict[str, Any]:
        """Return what XGBoost is told, directions of the variables included."""
        sign = 1 if self.harmful else -1
        constraints = tuple(
            0 if variables[owner].kind == "categorical" else sign * variables[owner].direction
            for owner in design.owners
        )
        return {
            **TREE_SETTINGS,
            "max_depth": self.depth,
            "eta": self.rate,
            "lambda": self.penalty,
            "objective": _OBJECTIVES[self.outcome],
            "base_score": _NEUTRAL[self.outcome],
            "monotone_constraints": constraints,
            "device": self.device,
            "nthread": 1,
            "seed": 0,
        }
