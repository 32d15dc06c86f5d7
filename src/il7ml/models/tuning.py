"""XGBoost with settings found by inner cross-validation: as far as the data bear, no further.

With 109 patients and 36 events, five inner folds hold seven events each, and the best of many settings is the luckiest.
On simulated trials of that size the grid below gained nothing over the fixed, shrunken settings (docs/python.md), which
are therefore the default; a search is made from 500 events on. What the ridge penalty of the regression should be is
settled by a criterion on all patients (see `glm`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from il7ml.errors import InputError
from il7ml.family import Kind
from il7ml.models.fitted import FittedTrees
from il7ml.models.inner_folds import inner_folds
from il7ml.models.risk import BoostedRiskModel, PrognosticModel, Training, bearable_rounds
from il7ml.parallel import spawn
from il7ml.schema import Variable

Floats = NDArray[np.float64]

#: Events (patients, for continuous outcomes) from which a search can tell its candidates apart.
ENOUGH_EVENTS = 500


class TreeSettings(NamedTuple):
    """Settings of `BoostedRiskModel`: its `rounds`, `depth`, `rate` and `penalty`."""

    rounds: int
    depth: int = 2
    rate: float = 0.05
    penalty: float = 10.0


def grid(rounds: int) -> tuple[TreeSettings, ...]:
    """Return the settings to compare: the fixed ones first, since ties go to the earlier, then those around them."""
    return (
        TreeSettings(rounds),
        TreeSettings(rounds // 2),
        TreeSettings(2 * rounds),
        TreeSettings(rounds, depth=1),
        TreeSettings(2 * rounds, depth=1),
        TreeSettings(rounds, depth=3),
    )


class TunedRiskModel(PrognosticModel):
    """`BoostedRiskModel` with the settings whose out-of-fold loss inside the training patients is smallest.

    Parameters
    ----------
    outcome, variables, harmful
        As in `BoostedRiskModel`.
    method : {'grid', 'optuna'}
        Compare the settings of `grid`, or search with Optuna. A search among fewer than 500 events would pick the
        luckiest setting, so the grid is compared instead.
    trials : int, default 30
        Settings that a search tries, the fixed ones first.
    folds : int, default 5
        Inner folds; copies of a patient, as a bootstrap sample has them, share one.
    state : Path, optional
        Folder in which a search keeps what it has tried. A search of the same patients goes on from there, with the
        result that an undisturbed one would have had.
    random_state : int, default 0
        Deals the folds and starts the search.
    device : str, default 'cpu'
        XGBoost's device.

    Attributes
    ----------
    fitted_ : FittedTrees
    settings_ : TreeSettings
        The settings chosen.
    method_ : {'grid', 'optuna'}
        What was done.
    search_ : DataFrame
        A row a setting tried: rounds, depth, rate, penalty, loss (out of fold, mean of the patients).

    References
    ----------
    Varma and Simon, BMC Bioinformatics 2006;7:91, doi 10.1186/1471-2105-7-91 (tuning belongs inside the validation).
    Akiba et al., KDD 2019, doi 10.1145/3292500.3330701 (Optuna).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"age": rng.normal(60, 10, 120)})
    >>> y = rng.binomial(1, np.where(X["age"] > 60, 0.6, 0.2))
    >>> model = TunedRiskModel(method="grid").fit(X, y, np.arange(120) % 2)
    >>> len(model.search_), round(float(model.search_["loss"].min()), 1)
    (6, 0.6)
    """

    fitted_: FittedTrees

    def __init__(
        self,
        outcome: Kind = "binary",
        variables: Mapping[str, Variable] | None = None,
        harmful: bool = True,
        method: Literal["grid", "optuna"] = "grid",
        trials: int = 30,
        folds: int = 5,
        state: Path | None = None,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.outcome = outcome
        self.variables = variables
        self.harmful = harmful
        self.method = method
        self.trials = trials
        self.folds = folds
        self.state = state
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
        """Choose the settings and fit with them to all patients of both arms.

        Parameters and errors are those of `BoostedRiskModel.fit`.

        Raises
        ------
        InputError
            Also if a search is asked for and Optuna is not installed, or its state cannot be written.
        """
        frame, training = self._start(X, y, treatment, sample_weight, exposure)
        known = training.weight > 0  # nothing can be learned from the others, not even how to deal the folds
        inner_X, inner = frame[known], training.rows(known)
        rng = np.random.default_rng(self.random_state)
        fold = inner_folds(inner_X, inner.y, inner.treatment, inner.exposure, self.outcome, self.folds, rng)

        def loss(settings: TreeSettings) -> float:
            return self._loss(settings, inner_X, inner, fold)

        fixed = TreeSettings(bearable_rounds(self.outcome, inner.y, inner.weight))
        if self.method == "optuna":
            _import_optuna()  # whoever asks for it without having it should not learn so from the first large study
        searched = self.method == "optuna" and _events(inner, self.outcome) >= ENOUGH_EVENTS
        self.method_ = "optuna" if searched else "grid"
        if searched:
            tried = _search(
                loss, fixed, self.trials, self.random_state, _storage(self.state, self._digest(inner_X, inner))
            )
        else:
            tried = [(settings, loss(settings)) for settings in grid(fixed.rounds)]
        self.search_ = pd.DataFrame([{**settings._asdict(), "loss": value} for settings, value in tried])
        self.settings_ = tried[int(np.argmin([value for _, value in tried]))][0]
        chosen = self._with(self.settings_).fit(frame, **training.arguments())
        self.fitted_ = chosen.fitted_
        return self

    def refit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> FittedTrees:
        """Return the trees of other patients with the settings chosen here."""
        check_is_fitted(self)
        other = self._with(self.settings_).fit(X, y, treatment, sample_weight=sample_weight, exposure=exposure)
        return other.fitted_

    def _with(self, settings: TreeSettings) -> BoostedRiskModel:
        return BoostedRiskModel(self.outcome, self.variables, self.harmful, **settings._asdict(), device=self.device)

    def _loss(self, settings: TreeSettings, X: pd.DataFrame, training: Training, fold: NDArray[np.intp]) -> float:
        """Return the out-of-fold loss under the arm that each patient was in."""
        predicted = np.empty(len(X))
        for held in np.unique(fold):
            inside, outside = fold != held, fold == held
            model = self._with(settings).fit(X[inside], **training.rows(inside).arguments())
            predicted[outside] = model.predict(X[outside], training.treatment[outside])
        losses = self.family.loss(training.y, predicted, training.exposure)
        return float(np.average(losses, weights=training.weight))

    def _digest(self, X: pd.DataFrame, training: Training) -> str:
        """Return what tells this search from others: patients and task. A digest of rows is not a patient's data."""
        task = (self.outcome, self.harmful, self.folds, self.random_state, list(X), self.variables_)
        found = hashlib.sha256(repr(task).encode())
        for array in (pd.util.hash_pandas_object(X, index=False).to_numpy(), *training[1:]):
            found.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:16]


def _events(training: Training, kind: Kind) -> float:
    if kind == "binary":
        return float(min(training.y.sum(), (1 - training.y).sum()))
    return float(training.y.sum()) if kind == "count" else float(training.y.size)


def _search(
    loss: Callable[[TreeSettings], float], fixed: TreeSettings, trials: int, seed: int, storage: Any
) -> list[tuple[TreeSettings, float]]:
    """Return the settings tried and their losses, the fixed settings first, then what Optuna proposes."""
    optuna = _import_optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(study_name="tuning", storage=storage, load_if_exists=True)
    finally:
        optuna.logging.set_verbosity(verbosity)
    integer, real = optuna.distributions.IntDistribution, optuna.distributions.FloatDistribution
    space = {
        "rounds": integer(10, 1000, log=True),
        "depth": integer(1, 6),
        "rate": real(0.01, 0.2, log=True),
        "penalty": real(0.1, 100.0, log=True),
    }
    complete = (optuna.trial.TrialState.COMPLETE,)
    while (done := len(study.get_trials(states=complete))) < trials:
        if not done:
            study.add_trial(optuna.trial.create_trial(params=fixed._asdict(), distributions=space, value=loss(fixed)))
            continue
        # Seeded by what is complete, so that a search that was stopped goes on as if it had not been.
        study.sampler = optuna.samplers.TPESampler(seed=int(spawn(seed, done)[-1].generate_state(1)[0]))
        trial = study.ask(space)
        study.tell(trial, loss(TreeSettings(**trial.params)))
    return [(TreeSettings(**trial.params), trial.value) for trial in study.get_trials(states=complete)[:trials]]


def _storage(state: Path | None, digest: str) -> Any:
    """Return a store in a file of its own, so that parallel folds do not wait for each other; None: in memory."""
    if state is None:
        return None
    optuna = _import_optuna()
    try:
        state.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(str(state / f"tuning-{digest}.log"))
    except OSError as error:
        raise InputError(f"{state} cannot be written: {error.strerror}. Choose another state folder.") from None
    return optuna.storages.JournalStorage(backend)


def _import_optuna() -> Any:
    try:
        return import_module("optuna")
    except ImportError:
        raise InputError(
            "tuning.method: 'optuna' needs Optuna, which is not installed. Run pip install 'il7ml[tuning]', or choose "
            "'grid'."
        ) from None
