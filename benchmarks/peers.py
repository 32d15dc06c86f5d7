"""Effect estimators of other libraries, run by effects.py in an environment of their own.

Reads lines "ESTIMATOR SEED FILE.npz" and writes its answer into the same file. Knows nothing of il7ml: the environments
share no package. The estimators get what a careful user would give them: shallow, shrunken trees, penalised regressions
for the means, and a model of the allocation that gives everybody the share of treated patients, since it is random.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Data(NamedTuple):
    """A trial, new patients, and a seed."""

    X: Floats
    y: Floats
    treatment: NDArray[np.int_]
    propensity: Floats
    new: Floats
    seed: int


class Found(NamedTuple):
    """Effects of the new patients, their 95 % limits, and the average effect with its limits where there are any."""

    effect: Floats
    limits: tuple[Floats, Floats] | None = None
    average: tuple[float, float, float] = (np.nan, np.nan, np.nan)


def _allocation() -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


def _ridge(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    penalties = np.logspace(-3, 0, 5)
    return make_pipeline(
        StandardScaler(), LogisticRegressionCV(Cs=penalties, cv=5, scoring="neg_log_loss", random_state=seed)
    )


def _boosted(kind: str, seed: int, n: int) -> Any:
    import xgboost

    learner = {"classifier": xgboost.XGBClassifier, "regressor": xgboost.XGBRegressor}[kind]
    return learner(
        n_estimators=200 if n >= 1000 else 100,
        max_depth=2,
        learning_rate=0.05,
        reg_lambda=10,
        subsample=0.8,
        n_jobs=1,
        random_state=seed,
    )


def _econml(estimator: Any, data: Data, interval: bool = True) -> Found:
    estimator.fit(data.y, data.treatment, X=data.X)
    effect = np.ravel(estimator.effect(data.new))
    if not interval:
        return Found(effect)
    low, high = (np.ravel(limit) for limit in estimator.effect_interval(data.new, alpha=0.05))
    return Found(effect, (low, high))


def econml_causal_forest(data: Data) -> Found:
    """Causal forest on residuals, intervals by bootstrap of little bags."""
    from econml.dml import CausalForestDML

    return _econml(
        CausalForestDML(
            model_y=_ridge(data.seed),
            model_t=_allocation(),
            discrete_outcome=True,
            discrete_treatment=True,
            n_estimators=500,
            cv=5,
            n_jobs=1,
            random_state=data.seed,
        ),
        data,
    )


def _doubly_robust(data: Data) -> dict[str, Any]:
    return {
        "model_propensity": _allocation(),
        "model_regression": _ridge(data.seed),
        "discrete_outcome": True,
        "cv": 5,
        "random_state": data.seed,
    }


def econml_forest_dr(data: Data) -> Found:
    """Forest on doubly-robust scores, intervals by bootstrap of little bags."""
    from econml.dr import ForestDRLearner

    return _econml(ForestDRLearner(**_doubly_robust(data), n_estimators=500, n_jobs=1), data)


def econml_linear_dr(data: Data) -> Found:
    """Linear regression of doubly-robust scores, intervals from its robust standard errors."""
    from econml.dr import LinearDRLearner

    return _econml(LinearDRLearner(**_doubly_robust(data)), data)


def econml_dr_lasso(data: Data) -> Found:
    """Lasso on doubly-robust scores, penalty by cross-validation; no intervals."""
    from econml.dr import DRLearner
    from sklearn.linear_model import LassoCV

    return _econml(DRLearner(**_doubly_robust(data), model_final=LassoCV(cv=5)), data, interval=False)


def econml_dr_boosted(data: Data) -> Found:
    """Boosted trees on doubly-robust scores; no intervals."""
    from econml.dr import DRLearner

    final = _boosted("regressor", data.seed, len(data.y))
    return _econml(DRLearner(**_doubly_robust(data), model_final=final), data, interval=False)


def causalml_x_boosted(data: Data) -> Found:
    """X-learner with boosted trees; its bootstrap intervals would take hundreds of fits."""
    from causalml.inference.meta import BaseXClassifier

    n = len(data.y)
    learner = BaseXClassifier(
        outcome_learner=_boosted("classifier", data.seed, n), effect_learner=_boosted("regressor", data.seed, n)
    )
    learner.fit(data.X, data.treatment, data.y, p=data.propensity)
    return Found(np.ravel(learner.predict(data.new, p=np.full(len(data.new), data.propensity.mean()))))


def _bcf(data: Data, probit: bool) -> Found:
    from scipy.special import ndtr
    from stochtree import BCFModel, OutcomeModel

    outcome = OutcomeModel(outcome="binary", link="probit") if probit else OutcomeModel()
    model = BCFModel()
    model.sample(
        X_train=data.X,
        Z_train=data.treatment.astype(float),
        y_train=data.y,
        propensity_train=data.propensity,
        num_gfr=10,
        num_burnin=50,
        num_mcmc=200,
        general_params={"random_seed": data.seed, "outcome_model": outcome, "num_threads": 1},
    )
    terms = ["mu", "tau"] if probit else ["tau"]
    found = model.predict(
        X=data.new,
        Z=np.ones(len(data.new)),
        propensity=np.full(len(data.new), data.propensity.mean()),
        terms=terms,
    )
    # Means without treatment and what treatment adds to them, on the probit scale where there is one.
    draws = ndtr(found["mu_hat"] + found["tau_hat"]) - ndtr(found["mu_hat"]) if probit else found
    low, high = np.quantile(draws, [0.025, 0.975], axis=1)
    average = draws.mean(axis=0)
    average_low, average_high = np.quantile(average, [0.025, 0.975])
    return Found(draws.mean(axis=1), (low, high), (float(average.mean()), float(average_low), float(average_high)))


def bcf(data: Data) -> Found:
    """Bayesian causal forest of the outcome as a number, credible intervals."""
    return _bcf(data, probit=False)


def bcf_probit(data: Data) -> Found:
    """Bayesian causal forest with a probit link, turned into risk differences."""
    return _bcf(data, probit=True)


ESTIMATORS: dict[str, Callable[[Data], Found]] = {
    function.__name__: function
    for function in (
        econml_causal_forest,
        econml_forest_dr,
        econml_linear_dr,
        econml_dr_lasso,
        econml_dr_boosted,
        causalml_x_boosted,
        bcf,
        bcf_probit,
    )
}


def _installed() -> str:
    found = []
    for package in ("econml", "causalml", "stochtree"):
        try:
            found.append(f"{package}={version(package)}")
        except PackageNotFoundError:
            continue
    return " ".join(found)


def main() -> None:
    """Answer requests until there are no more."""
    # The libraries print at their will; only answers may reach the caller.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    print(_installed(), file=answers)
    for line in sys.stdin:
        name, seed, path = line.split(maxsplit=2)
        with np.load(path.strip()) as given:
            arrays = {key: given[key] for key in given}
        data = Data(**{**arrays, "treatment": arrays["treatment"].astype(int)}, seed=int(seed))
        # Imports and what is compiled on the first call are no part of an estimator's time.
        start = time.process_time()
        found = ESTIMATORS[name](data)
        seconds = time.process_time() - start
        none = np.full(len(data.new), np.nan)
        low, high = found.limits or (none, none)
        np.savez(path.strip(), effect=found.effect, low=low, high=high, numbers=[*found.average, seconds])
        print("done", file=answers)


if __name__ == "__main__":
    main()
