"""What a prediction says: frozen records with one JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from il7ml import notebook, texts


def answer_columns(measure: str, simulated: bool) -> dict[str, type]:
    """Return names and types of the columns of a table of answers, in their order.

    Parameters
    ----------
    measure : {'risk', 'rate', 'mean'}
        What is predicted.
    simulated : bool
        Whether each row begins with the notice of a model trained on simulated patients.

    Examples
    --------
    >>> list(answer_columns("risk", simulated=False))[:4]
    ['patient_id', 'status', 'risk_untreated', 'risk_untreated_low']
    """
    numbers = [
        f"{name}{end}"
        for name in (f"{measure}_untreated", f"{measure}_treated", "benefit")
        for end in ("", "_low", "_high")
    ]
    texts = ["evidence", "warnings", "message", "model", "model_digest", "intended_use"]
    first = ["notice"] if simulated else []
    return {
        **dict.fromkeys([*first, "patient_id", "status"], str),
        **dict.fromkeys(numbers, float),
        **dict.fromkeys(texts, str),
    }


def _short(number: float, sign: str = "") -> str:
    """Return a number with three digits, or all those before the point."""
    return f"{number:{sign}.3g}" if abs(number) < 999.5 else f"{number:{sign}.0f}"


def _printable(text: str) -> str:
    """Return text that a terminal shows and does not obey: control signs and lone surrogates are written as escapes."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def validation_sentence(validation: Mapping[str, Mapping[str, float]]) -> str:
    """Return a model's most telling figures in patients it was not fitted to; empty where there are none.

    Parameters
    ----------
    validation : mapping
        Figures by name, each with ``value``, ``low`` and ``high``, as in `Prediction.model`.

    Examples
    --------
    >>> validation_sentence({"auroc": {"value": 0.69, "low": 0.658, "high": 0.7215}, "brier": {"value": 0.2}})
    'Cross-validated: AUROC 0.69 (0.66 to 0.72).'
    """
    shown = [
        f"{label} {validation[name]['value']:.2f} ({validation[name]['low']:.2f} to {validation[name]['high']:.2f})"
        for name, label in texts.VALIDATION.items()
        if name in validation
    ]
    return f"Cross-validated: {', '.join(shown)}." if shown else ""


@dataclass(frozen=True)
class Reason:
    """Why the risk differs from the average training patient's.

    Attributes
    ----------
    contribution : float
        Share of the linear predictor (log-odds for a risk); all shares add up.
    points : float
        Change of the untreated risk, rate or mean when this share is left out.
    """

    variable: str
    label: str
    value: float | str | None
    unit: str
    direction: str
    contribution: float
    points: float

    def sentence(self, measure: str) -> str:
        """Return the reason in words, the change in percentage points for a risk."""
        value = "missing" if self.value is None else self.value if isinstance(self.value, str) else _short(self.value)
        unit = f" {self.unit}" if self.unit and self.value is not None else ""
        change = f"{100 * self.points:+.1f} percentage points" if measure == "risk" else _short(self.points, "+")
        return f"{self.label} {value}{unit} {self.direction} it ({change})"


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval."""

    value: float
    low: float
    high: float


def _percent(interval: Interval) -> str:
    value, low, high = (100 * part for part in (interval.value, interval.low, interval.high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Beside:
    """Another outcome's risks in the trial as a whole.

    Attributes
    ----------
    untreated, treated : Interval
        Of the arms.
    benefit : Interval
        Positive: fewer bad (more good) outcomes under treatment.
    """

    outcome: str
    untreated: Interval
    treated: Interval
    benefit: Interval


@dataclass(frozen=True)
class Prediction:
    """The answer for one patient.

    Attributes
    ----------
    status : {'ok', 'out_of_scope'}
    measure : {'risk', 'rate', 'mean'}
        What `untreated` and `treated` are; names the keys of `to_dict`, such as ``risk_untreated``.
    unit : str
        What a rate is per, or the unit of a mean; empty for a risk, which is a probability.
    untreated, treated, benefit : Interval or None
        Outcome without and with treatment, and the absolute benefit (positive: helped). Out of scope only the first
        is given.
    individual_benefit : Interval or None
        Exploratory individual estimate, at evidence level "suggestive" only.
    evidence, evidence_sentence : str
        How credible individual differences of the effect are.
    reasons : tuple of Reason
        The strongest, by contribution; empty where the model knows no covariate.
    reasons_sentence : str
        What the reasons are about, or why there are none.
    beside : tuple of Beside
        Other outcomes, such as death, in the trial as a whole; nothing out of scope.
    imputed, warnings : tuple of str
    notice : str
        First thing to show; not empty for a model trained on simulated patients.
    model : dict
        Name, digest, training size, validation.
    """

    patient_id: str | None
    status: str
    measure: str
    unit: str
    untreated: Interval
    treated: Interval | None
    benefit: Interval | None
    individual_benefit: Interval | None
    evidence: str
    evidence_sentence: str
    reasons: tuple[Reason, ...]
    reasons_sentence: str
    beside: tuple[Beside, ...]
    imputed: tuple[str, ...]
    warnings: tuple[str, ...]
    notice: str
    intended_use: str
    outcome: str
    arms: tuple[str, str]
    model: dict[str, Any] = field(default_factory=dict)

    @property
    def risk_untreated(self) -> float:
        """Outcome without treatment."""
        return self.untreated.value

    @property
    def risk_treated(self) -> float | None:
        """Outcome with treatment."""
        return self.treated.value if self.treated else None

    @property
    def number_needed_to_treat(self) -> float | None:
        """Patients to treat for one to be helped; None where there is no benefit or the outcome is not a risk."""
        if self.measure != "risk" or self.benefit is None or self.benefit.value <= 0:
            return None
        return 1 / self.benefit.value

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; ``notice`` comes first for a model trained on simulated patients."""
        answer: dict[str, Any] = {"notice": self.notice} if self.notice else {}
        answer |= {"patient_id": self.patient_id, "status": self.status, "outcome": self.outcome, "unit": self.unit}
        for name, interval in (
            (f"{self.measure}_untreated", self.untreated),
            (f"{self.measure}_treated", self.treated),
            ("benefit", self.benefit),
            ("individual_benefit", self.individual_benefit),
        ):
            answer[name] = interval.value if interval else None
            answer[f"{name}_low"] = interval.low if interval else None
            answer[f"{name}_high"] = interval.high if interval else None
        answer |= {
            "number_needed_to_treat": self.number_needed_to_treat,
            "evidence": self.evidence,
            "evidence_sentence": self.evidence_sentence,
            "reasons": [dict(vars(reason)) for reason in self.reasons],
            "reasons_sentence": self.reasons_sentence,
            "beside": [asdict(each) for each in self.beside],
            "imputed": list(self.imputed),
            "warnings": list(self.warnings),
            "arms": {"untreated": self.arms[0], "treated": self.arms[1]},
            "model": self.model,
            "intended_use": self.intended_use,
        }
        return answer

    def __str__(self) -> str:
        """Return the answer as text."""
        return self.to_text()

    def _repr_html_(self) -> str:
        """Return the answer for a notebook."""
        _, *lines = self.to_text().split("\n") if self.notice else ["", *self.to_text().split("\n")]
        return "".join(
            (
                notebook.paragraph(self.notice, strong=True),
                notebook.heading(lines[0]),
                notebook.items(line.removeprefix("! ").strip() for line in lines[1:-1]),
                notebook.paragraph(lines[-1]),
            )
        )

    def to_text(self) -> str:
        """Return the answer as plain text for a terminal or a printout."""
        lines = [self.notice] if self.notice else []
        lines.append(f"{self.outcome}{f' (patient {_printable(self.patient_id)})' if self.patient_id else ''}")
        if self.measure == "risk":
            plain, points = " %", " percentage points"
        else:
            per = "per " if self.measure == "rate" else ""
            plain = points = f" {per}{self.unit}" if self.unit else ""
        rows = [
            (f"with {self.arms[0]}", self.untreated, plain),
            (f"with {self.arms[1]}", self.treated, plain),
            ("benefit", self.benefit, points),
            ("individual estimate, exploratory", self.individual_benefit, points),
        ]
        shown = [(label, interval, unit) for label, interval, unit in rows if interval is not None]
        width = max(*(len(label) for label, _, _ in shown), len("number needed to treat"))
        lines += [f"  {label:<{width}}  {self._amount(interval)}{unit}" for label, interval, unit in shown]
        if (need := self.number_needed_to_treat) is not None:
            lines.append(f"  {'number needed to treat':<{width}}  {need:.1f}")
        if self.benefit is not None:
            lines.append(self.evidence_sentence)
        lines.append(self.reasons_sentence)
        lines += [f"  {reason.sentence(self.measure)}" for reason in self.reasons]
        if self.beside:
            lines.append(texts.BESIDE)
        lines += [f"  {self._beside(each)}" for each in self.beside]
        lines += [f"! {warning}" for warning in self.warnings]
        return "\n".join([*lines, self._origin(), self.intended_use])

    def _beside(self, other: Beside) -> str:
        risks = ", ".join(
            f"with {arm} {_percent(risk)} %"
            for arm, risk in zip(self.arms, (other.untreated, other.treated), strict=True)
        )
        return f"{other.outcome}: {risks}, benefit {_percent(other.benefit)} percentage points"

    def _origin(self) -> str:
        model = self.model
        version = f" version {model['version']}" if model.get("version") else ""
        events = "" if self.measure == "mean" else f" with {model.get('training_events')} events"
        validation = validation_sentence(model.get("validation", {}))
        return (
            f"Model {model.get('name')}{version} ({model.get('digest', '')[:12]}), trained on "
            f"{model.get('training_patients')} {model.get('data')} patients{events}. {validation}"
        ).rstrip()

    def _amount(self, interval: Interval) -> str:
        if self.measure == "risk":
            return _percent(interval)
        return f"{_short(interval.value)} ({_short(interval.low)} to {_short(interval.high)})"
