"""From a bundle and a patient to a careful answer. Never sees training, scikit-learn or MLflow (given a folder)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from il7ml import texts
from il7ml.answer import Beside, Interval, Prediction, Reason, answer_columns
from il7ml.bundle import Bundle, CardBeside, CardVariable, Estimate, load_bundle
from il7ml.errors import InputError
from il7ml.family import FAMILIES, Family, Kind
from il7ml.features.columns import DERIVED, Columns, complete
from il7ml.models.fitted import Floats
from il7ml.models.together import together
from il7ml.patient import is_missing, parse_patient, parse_table

if TYPE_CHECKING:
    import pandas as pd

_REASONS = 5
_NEGLIGIBLE = 1e-9  # contribution below which a variable is no reason
_UNUSUAL = 97.5
_DRAWS = 50  # values tried in place of each missing one
_AT_ONCE = 20_000  # rows that a model is asked about at once, of patients times values tried
_POSSIBLE: dict[Kind, tuple[float, float]] = {
    "binary": (0.0, 1.0),
    "count": (0.0, math.inf),
    "continuous": (-math.inf, math.inf),
}
_CHUNK = 100_000  # rows of a table scored at once, so that memory stays bounded


@dataclass(frozen=True)
class _Scores:
    """Vectorised answer for n patients."""

    untreated: Floats  # (3, n): value, low, high
    treated: Floats
    benefit: Floats
    individual: Floats | None
    percentile: Floats


class _Record(NamedTuple):
    """One patient's record, checked."""

    patient_id: str | None
    columns: Columns
    unused: tuple[str, ...]


class _Gaps(NamedTuple):
    """What a model says of the patients with gaps for each value tried in place of what is missing."""

    rows: NDArray[np.intp]
    values: Floats  # (draws, rows)

    def variance(self, n: int) -> Floats:
        """Return the variance between values tried, 0 for patients without gaps, shape (n,)."""
        variance = np.zeros(n)
        variance[self.rows] = self.values.var(axis=0, ddof=1)
        return variance


class Predictor:
    """A loaded model. Immutable, hence safe to use from several threads.

    Parameters
    ----------
    bundle : Bundle
    version : str, optional
        Registry version, where there is one.
    """

    def __init__(self, bundle: Bundle, version: str | None = None) -> None:
        self._bundle = bundle
        self._version = version
        entries = bundle.card.variables
        self._variables = {name: entry.variable for name, entry in entries.items()}
        self._inputs = {name: entry for name, entry in entries.items() if name not in DERIVED}
        drawn = [_training_values(entry, place) for place, entry in enumerate(self._inputs.values())]
        self._drawn = np.array(drawn).reshape(len(self._inputs), _DRAWS)
        self._influential = _influential(bundle)
        self._is_influential = np.array([name in self._influential for name in self._inputs], dtype=bool)
        self._refits = together(bundle.refits.models)
        self._beside = tuple(map(_beside, bundle.card.beside))

    @property
    def bundle(self) -> Bundle:
        """The model's parts."""
        return self._bundle

    @property
    def simulated(self) -> bool:
        """Whether the model was trained on simulated patients."""
        return self._bundle.card.simulated

    @property
    def notice(self) -> str:
        """What every answer begins with; empty for a model trained on real patients."""
        return texts.SIMULATED if self.simulated else ""

    @property
    def inputs(self) -> dict[str, CardVariable]:
        """What can be asked of a patient: variables by canonical name."""
        return dict(self._inputs)

    def predict(self, patient: Mapping[str, Any]) -> Prediction:
        """Answer for one patient.

        Parameters
        ----------
        patient : mapping
            Canonical variable names to values in canonical units; ``patient_id`` may stand beside them.
            A missing optional value is left out or None.

        Raises
        ------
        InputError
            For an unknown variable, an impossible value, a value that looks like another unit, or a missing
            required one. Values are not repeated in the message.
        """
        return self._answers([self._parse(patient)])[0]

    def predict_each(self, patients: Iterable[Mapping[str, Any]]) -> list[Prediction | InputError]:
        """Answer for several patients at once, which takes a fraction of the time of one after the other.

        Parameters
        ----------
        patients : iterable of mapping
            Each as for `predict`.

        Returns
        -------
        list of Prediction or InputError
            In order; the error for a record that `predict` would refuse, which spoils no other.
        """
        records: list[_Record | InputError] = []
        for patient in patients:
            try:
                records.append(self._parse(patient))
            except InputError as error:
                records.append(error)
        answers = iter(self._answers([record for record in records if isinstance(record, _Record)]))
        return [next(answers) if isinstance(record, _Record) else record for record in records]

    def _parse(self, patient: Mapping[str, Any]) -> _Record:
        values = dict(patient)
        patient_id = values.pop("patient_id", None)
        columns, unused = parse_patient(values, self._inputs)
        return _Record(None if patient_id is None else str(patient_id), columns, unused)

    def predict_table(self, table: pd.DataFrame) -> pd.DataFrame:
        """Answer for a table of patients: same order, a status for each row; a bad row spoils no other.

        Parameters
        ----------
        table : DataFrame
            One row a patient, columns by canonical name, optionally ``patient_id``.

        Returns
        -------
        DataFrame
            ``patient_id, status, <measure>_untreated, ..., benefit_high, evidence, warnings, message, notice``.

        Raises
        ------
        InputError
            If a column looks like a misspelt variable or a required one is missing. Other columns are left aside.
        """
        parsed = parse_table(table, self._inputs)
        ids = table["patient_id"] if "patient_id" in table.columns else None
        good = np.array([not problem for problem in parsed.problems], dtype=bool)
        rows = np.flatnonzero(good)
        result = self._empty_answers(len(table), ids)
        for start in range(0, rows.size, _CHUNK):
            some = rows[start : start + _CHUNK]
            self._fill_answers(result, {name: column[some] for name, column in parsed.columns.items()}, some)
        result["message"] = parsed.problems
        return result

    def predict_file(self, source: Path, target: Path) -> dict[str, int]:
        """Answer for a table in a file, writing another; the target appears complete or not at all.

        Returns
        -------
        dict of str to int
            Number of rows by status.

        Raises
        ------
        InputError
            If a file cannot be read or written, or the table as a whole is wrong.
        """
        from il7ml.data.tables import read_table, write_table

        if source.resolve() == target.resolve():
            raise InputError("--out: expected another file than --in. The patients' table is not overwritten.")
        answers = self.predict_table(read_table(source, text=("patient_id",)))
        write_table(answers, target)
        counts = answers["status"].value_counts()
        return {str(status): int(count) for status, count in counts.items()}

    def predict_folder(self, source: Path, target: Path) -> dict[str, int]:
        """Answer for a folder of Parquet files, writing a folder with a file for each; see `map_parquet`.

        Returns
        -------
        dict of str to int
            Number of rows by status.

        Raises
        ------
        InputError
            If a file cannot be read or written, or a table as a whole is wrong.
        """
        import pandas as pd

        from il7ml.data.partitions import map_parquet

        def choose(names: list[str]) -> list[str]:
            parse_table(pd.DataFrame(columns=names), self._inputs)
            return [name for name in names if name in self._inputs or name == "patient_id"]

        def answer(frame: pd.DataFrame, file: str, start: int) -> pd.DataFrame:
            if "patient_id" not in frame:
                frame = frame.assign(patient_id=[f"{file}:{start + row}" for row in range(1, len(frame) + 1)])
            return self.predict_table(frame)

        files = map_parquet(source, target, answer, choose=choose, key=self._bundle.digest)
        counts: dict[str, int] = {}
        for file in files:
            for status, count in pd.read_parquet(file, columns=["status"])["status"].value_counts().items():
                counts[str(status)] = counts.get(str(status), 0) + int(count)
        return counts

    def _empty_answers(self, n: int, ids: pd.Series | None) -> pd.DataFrame:
        import pandas as pd

        card = self._bundle.card
        columns = answer_columns(FAMILIES[card.kind].measure, card.simulated)
        frame = pd.DataFrame({name: np.full(n, np.nan if kind is float else "") for name, kind in columns.items()})
        if card.simulated:
            frame["notice"] = texts.SIMULATED
        frame["patient_id"] = ["" if is_missing(k) else str(k) for k in (range(1, n + 1) if ids is None else ids)]
        frame["status"] = "error"
        frame["evidence"] = card.evidence
        frame["model"] = card.model_name
        frame["model_digest"] = self._bundle.digest
        frame["intended_use"] = texts.INTENDED_USE
        return frame

    def _fill_answers(self, result: pd.DataFrame, columns: Columns, rows: NDArray[np.intp]) -> None:
        # A table has no column for an exploratory estimate, which takes most of the time where records have gaps.
        scores = self._score(columns, rows.size, exploratory=False)
        measure = FAMILIES[self._bundle.card.kind].measure
        # Most records share their warnings with many others, so each sort is put into words once.
        outside, others = self._flags(columns)
        flags = np.packbits(np.column_stack([outside, others]), axis=1)  # eight in a byte: an eighth to sort
        _, first, sort = np.unique(flags, axis=0, return_index=True, return_inverse=True)
        eligible = ~outside.any(axis=1)
        result.loc[rows, "status"] = np.where(eligible, "ok", "out_of_scope")
        for name, values in (
            ("untreated", scores.untreated),
            ("treated", scores.treated),
            ("benefit", scores.benefit),
        ):
            column = name if name == "benefit" else f"{measure}_{name}"
            for part, end in enumerate(("", "_low", "_high")):
                keep = values[part] if name == "untreated" else np.where(eligible, values[part], np.nan)
                result.loc[rows, f"{column}{end}"] = keep
        sentences = [self._warnings(columns, row, self._outside_eligibility(columns, row)) for row in first]
        warnings = np.array(["; ".join(each) for each in sentences], dtype=object)[sort]
        for row in np.flatnonzero(scores.percentile >= _UNUSUAL):
            unusual = _unusual(float(scores.percentile[row]))
            warnings[row] = "; ".join((*sentences[sort[row]], *unusual))
        result.loc[rows, "warnings"] = warnings

    def _score(self, columns: Columns, n: int, exploratory: bool = True) -> _Scores:
        bundle, card = self._bundle, self._bundle.card
        family = FAMILIES[card.kind]
        filled = complete(columns, self._variables)
        z = float(ndtri(0.5 + card.level / 2))
        eta = bundle.risk.linear_predictor(filled, n)
        refits = self._refits.linear_predictors(filled, n)
        gaps = self._drawn_in_gaps(columns, bundle.risk.linear_predictor)
        shift = bundle.refits.theta[:, None]
        # Variances between refits, and between plausible values of what is missing, add up (Rubin, Multiple Imputation
        # for Nonresponse in Surveys, 1987, doi 10.1002/9780470316696), so that a gap never narrows an interval.
        missing = gaps.variance(n)
        untreated = _around(family, eta, z * np.sqrt(refits.var(axis=0, ddof=1) + missing))
        treated = _around(family, eta + card.theta, z * np.sqrt((refits + shift).var(axis=0, ddof=1) + missing))
        sign = 1.0 if card.harmful else -1.0
        benefit = sign * (untreated[0] - treated[0])
        differences = family.mean(refits) - family.mean(refits + shift)
        drawn = gaps._replace(values=family.mean(gaps.values) - family.mean(gaps.values + card.theta))
        half = z * np.sqrt(differences.var(axis=0, ddof=1) + drawn.variance(n))
        answer = np.array([benefit, benefit - half, benefit + half])
        if card.kind == "binary":
            answer = np.clip(answer, -1, 1)
        individual = None
        if card.evidence == "credible" or (card.evidence == "suggestive" and exploratory):
            individual, individually_treated = self._individual(columns, n, untreated[0], sign, z)
            if card.evidence == "credible":
                answer, treated, individual = individual, individually_treated, None
        return _Scores(untreated, treated, answer, individual, self._percentiles(filled, n))

    def _drawn_in_gaps(self, columns: Columns, model: Callable[[Columns, int], Floats]) -> _Gaps:
        """Ask a model about the patients with gaps, with values of the training patients in place of what is missing.

        Gaps in what no answer depends on change nothing, so they are left.
        """
        given = np.array([columns[name] for name in self._inputs]).reshape(len(self._inputs), -1)
        gaps = np.isnan(given) & self._is_influential[:, None]
        rows = np.flatnonzero(gaps.any(axis=0))
        values = np.empty((_DRAWS, rows.size))
        for start in range(0, rows.size, _AT_ONCE // _DRAWS):
            some = rows[start : start + _AT_ONCE // _DRAWS]
            drawn = np.where(gaps[:, None, some], self._drawn[:, :, None], given[:, None, some])
            tried = dict(zip(self._inputs, drawn.reshape(len(self._inputs), -1), strict=True))
            answers = model(complete(tried, self._variables), _DRAWS * some.size)
            values[:, start : start + some.size] = answers.reshape(_DRAWS, some.size)
        return _Gaps(rows, values)

    def _individual(self, columns: Columns, n: int, untreated: Floats, sign: float, z: float) -> tuple[Floats, Floats]:
        """Return the effect model's benefit and the outcome under treatment that goes with it, each (3, n)."""
        effect = self._bundle.effect
        mean, variance = effect.effect(complete(columns, self._variables), n)
        value = -sign * mean
        half = z * np.sqrt(variance + self._drawn_in_gaps(columns, effect.linear_predictor).variance(n))
        # The limits of the benefit and of the treated outcome change places where a benefit is a fall.
        order = [0, 2, 1] if sign > 0 else [0, 1, 2]
        benefit = np.array([value, value - half, value + half])
        treated = np.clip(untreated - sign * benefit[order], *_POSSIBLE[self._bundle.card.kind])
        return sign * (untreated - treated)[order], treated

    def _percentiles(self, columns: Columns, n: int) -> Floats:
        """Return where each patient's distance from the training centre lies among the training patients' (0-100)."""
        matrix = self._bundle.reference.matrix(columns, n)
        distance = np.einsum("ij,jk,ik->i", matrix, self._bundle.precision, matrix)
        quantiles = self._bundle.card.distance_quantiles
        return np.asarray(np.interp(distance, quantiles, np.linspace(0, 100, len(quantiles))))

    def _answers(self, records: Sequence[_Record]) -> list[Prediction]:
        if not records:
            return []
        columns = {name: np.concatenate([record.columns[name] for record in records]) for name in self._inputs}
        scores, reasons = self._score(columns, len(records)), self._reasons(columns, len(records))
        return [self._answer(record, columns, scores, reasons[row], row) for row, record in enumerate(records)]

    def _answer(
        self, record: _Record, columns: Columns, scores: _Scores, reasons: tuple[Reason, ...], row: int
    ) -> Prediction:
        card = self._bundle.card
        outside = self._outside_eligibility(columns, row)
        individual = scores.individual
        return Prediction(
            patient_id=record.patient_id,
            status="out_of_scope" if outside else "ok",
            measure=FAMILIES[card.kind].measure,
            unit="" if card.kind == "binary" else card.unit,
            untreated=_interval(scores.untreated, row),
            treated=None if outside else _interval(scores.treated, row),
            benefit=None if outside else _interval(scores.benefit, row),
            individual_benefit=None if outside or individual is None else _interval(individual, row),
            evidence=card.evidence,
            evidence_sentence=texts.EVIDENCE[card.evidence],
            reasons=reasons,
            reasons_sentence=texts.REASONS if reasons else texts.NO_REASONS,
            beside=() if outside else self._beside,
            imputed=tuple(name for name in self._inputs if np.isnan(columns[name][row])),
            warnings=(
                *self._warnings(columns, row, outside),
                *_unusual(float(scores.percentile[row])),
                *([texts.UNUSED.format(names=", ".join(record.unused))] if record.unused else []),
            ),
            notice=self.notice,
            intended_use=texts.INTENDED_USE,
            outcome=card.endpoint_title,
            arms=(card.control_label, card.treated_label),
            model=self.describe(),
        )

    def describe(self) -> dict[str, Any]:
        """Return name, version, digest, origin and validation of the model."""
        card = self._bundle.card
        return {
            "name": card.model_name,
            "version": self._version,
            "digest": self._bundle.digest,
            "data": "simulated" if card.simulated else "real",
            "study": card.study_title,
            "risk_model": card.risk_model,
            "training_patients": card.n,
            "training_events": card.events,
            "validation": {name: estimate.model_dump() for name, estimate in card.validation.items()},
            "average_effect": card.average_effect.model_dump(),
            "il7ml": card.il7ml_version,
        }

    def _outside_eligibility(self, columns: Columns, row: int) -> list[str]:
        return [name for name, limits in self._bundle.card.eligibility.items() if _beyond(columns[name][row], limits)]

    def _flags(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return what eligibility each record misses, and what of it is missing or outside the training range."""
        none = np.zeros((next(iter(columns.values())).size, 0), dtype=bool)
        outside = [_beyond(columns[name], limits) for name, limits in self._bundle.card.eligibility.items()]
        others = [
            flags
            for name, entry in self._inputs.items()
            for flags in (np.isnan(columns[name]), _beyond(columns[name], (entry.low, entry.high)))
        ]
        return np.column_stack([none, *outside]), np.column_stack([none, *others])

    def _warnings(self, columns: Columns, row: int, outside: list[str]) -> tuple[str, ...]:
        card = self._bundle.card
        found: list[str] = []
        missing: list[str] = []
        if outside:
            labels = ", ".join(card.variables[name].variable.term.lower() for name in outside)
            found.append(texts.OUT_OF_SCOPE.format(variables=labels))
        for name in self._inputs:
            entry, value = card.variables[name], columns[name][row]
            if np.isnan(value):
                missing.append(name)
            elif _beyond(value, (entry.low, entry.high)):
                unit = f" {entry.variable.unit}" if entry.variable.unit else ""
                found.append(
                    texts.EXTRAPOLATION.format(label=entry.variable.term, low=entry.low, high=entry.high, unit=unit)
                )
        sentences = []
        for sentence, influential in ((texts.IMPUTED, True), (texts.WITHOUT_INFLUENCE, False)):
            terms = [self._variables[name].term for name in missing if (name in self._influential) == influential]
            if terms:
                sentences.append(sentence.format(labels=", ".join(terms)))
        if sentences:
            found.append(" ".join(sentences))
        return tuple(found)

    def _reasons(self, columns: Columns, n: int) -> list[tuple[Reason, ...]]:
        card = self._bundle.card
        family = FAMILIES[card.kind]
        filled = complete(columns, self._variables)
        base, parts = self._bundle.risk.contributions(filled, n)
        names = list(parts)
        shares = np.array([parts[name] for name in names]).reshape(len(names), n)
        totals = base + shares.sum(axis=0)
        # What was not given is no reason: its share is that of the value which training put in its place.
        given = np.array([~np.isnan(filled[name]) for name in names]).reshape(len(names), n)
        sizes = np.where(given, np.abs(shares), 0.0)
        ranked = np.argsort(-sizes, axis=0, kind="stable")[:_REASONS]
        return [
            tuple(
                self._reason(names[k], float(shares[k, row]), float(filled[names[k]][row]), family, float(totals[row]))
                for k in ranked[:, row]
                if sizes[k, row] > _NEGLIGIBLE
            )
            for row in range(n)
        ]

    def _reason(self, name: str, share: float, value: float, family: Family, total: float) -> Reason:
        variable = self._bundle.card.variables[name].variable
        points = float(family.mean(total) - family.mean(total - share))
        shown: float | str | None = None if math.isnan(value) else value
        if shown is not None and variable.kind == "categorical":
            shown = variable.levels[int(value)]
        elif shown is not None and variable.kind == "binary":
            shown = "yes" if value else "no"
        return Reason(name, variable.term, shown, variable.unit, texts.DIRECTION[1 if share > 0 else -1], share, points)


def load_predictor(model: str | Path = "champion", *, uri: str | None = None) -> Predictor:
    """Load a model by registry alias, run id or bundle folder.

    Parameters
    ----------
    model : str or Path
        ``champion`` (the store's default model), a run id, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a
        folder. Only a folder works without MLflow.
    uri : str, optional
        Tracking store; by default the project's own.

    Raises
    ------
    InputError
        If the model is not known.
    BundleRefusedError
        If the bundle was altered or is of another version.
    """
    folder = Path(model)
    if isinstance(model, Path) or folder.is_dir():
        return Predictor(load_bundle(folder))
    from il7ml.tracking import resolve_model

    found = resolve_model(str(model), uri)
    return Predictor(load_bundle(found.folder), version=found.version)


def predict(patient: Mapping[str, Any], model: str | Path = "champion", *, uri: str | None = None) -> Prediction:
    """Answer for one patient with the given model; see `Predictor.predict` and `load_predictor`."""
    return load_predictor(model, uri=uri).predict(patient)


class _PyfuncModel:
    """The face that MLflow shows: a frame in, a frame out."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return `Predictor.predict_table` of the frame."""
        return self._predictor.predict_table(model_input)


def _load_pyfunc(path: str) -> _PyfuncModel:
    """MLflow's entry point (``loader_module``): `path` is the bundle folder."""
    return _PyfuncModel(load_predictor(Path(path)))


def _beside(entry: CardBeside) -> Beside:
    change = entry.difference
    if entry.harmful:
        change = Estimate(value=-change.value, low=-change.high, high=-change.low)
    control, treated, benefit = (Interval(**part.model_dump()) for part in (entry.control, entry.treated, change))
    return Beside(entry.title, control, treated, benefit)


def _influential(bundle: Bundle) -> frozenset[str]:
    """Return the inputs that the answer depends on: the risk model's, and the effect model's where it is used."""
    # What a model sees shows in its contributions, whatever its form.
    empty = {name: np.empty(0) for name in bundle.card.variables}
    names = set(bundle.risk.contributions(empty, 0)[1])
    if bundle.card.evidence != "none":
        names |= set(bundle.effect.variables)
    return frozenset(source for name in names for source in (DERIVED[name].sources if name in DERIVED else (name,)))


def _beyond(values: Floats, limits: tuple[float | None, float | None]) -> NDArray[np.bool_]:
    """Return which values lie below or above limits; a missing value does not."""
    low, high = limits
    return np.asarray((values < (-math.inf if low is None else low)) | (values > (math.inf if high is None else high)))


def _unusual(percentile: float) -> tuple[str, ...]:
    return (texts.UNUSUAL.format(percentile=percentile),) if percentile >= _UNUSUAL else ()


def _around(family: Family, centre: Floats, half: Floats) -> Floats:
    """Return value, low and high on the outcome's scale from a half-width on the link scale, shape (3, n)."""
    return np.array([family.mean(centre), family.mean(centre - half), family.mean(centre + half)])


def _training_values(entry: CardVariable, place: int) -> Floats:
    """Return values spread evenly over a variable's training distribution, in an order of its own.

    Together the variables' values are a Latin hypercube (McKay, Beckman and Conover, Technometrics 1979;21:239, doi
    10.1080/00401706.1979.10489755). The order is always the same, so that the same patient gets the same answer.
    """
    u = (np.random.default_rng(place).permutation(_DRAWS) + 0.5) / _DRAWS
    if entry.shares:
        levels = np.searchsorted(np.cumsum(entry.shares), u)
        return np.minimum(levels, len(entry.shares) - 1).astype(float)
    return np.interp(u, np.linspace(0.05, 0.95, len(entry.quantiles)), entry.quantiles)


def _interval(scores: NDArray[np.float64], row: int) -> Interval:
    value, low, high = (float(scores[part, row]) for part in range(3))
    return Interval(value, low, high)


__all__ = ["Prediction", "Predictor", "Reason", "load_predictor", "predict"]
