"""The results of a trial in plain sentences, generated from the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from il7ml.endpoints.result import RATIOS
from il7ml.report.effect import Effect, change, effects, every, numbers_of
from il7ml.report.rounding import estimate_text, number, p_phrase, p_text, percent
from il7ml.report.scales import scale_name


class _Arms(NamedTuple):
    """What the arms are called, and the confidence level."""

    control: str
    treated: str
    level: float

    @property
    def alpha(self) -> float:
        """A P value below it shows a difference."""
        # Rounded, since 1 - 0.95 is a little more than 0.05.
        return round(1 - self.level, 12)

    @property
    def interval(self) -> str:
        """What intervals are called."""
        return f"{100 * self.level:g} % CI"


def trial_words(
    headline: pd.DataFrame,
    subgroups: pd.DataFrame,
    control_label: str,
    treated_label: str,
    *,
    table: pd.DataFrame | None = None,
    level: float = 0.95,
) -> tuple[str, ...]:
    """Say what a trial found: each endpoint, what holds once all are counted, and each modifier's interaction.

    A difference is called one only where its P value is below one minus the level; otherwise the sentence gives what
    the interval leaves possible. Subgroups are judged by their interaction alone.

    Parameters
    ----------
    headline, subgroups : DataFrame
        See `TrialResult`. Endpoints with `p_hierarchical` are those of the stated order.
    control_label, treated_label : str
    table : DataFrame, optional
        `TrialResult.table`, for what stands beside a headline that shows a difference: risk difference, number needed
        to treat, probability of more days.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    tuple of str
        Short runs of sentences, each on one thing.

    References
    ----------
    Altman and Bland, BMJ 1995;311:485, doi 10.1136/bmj.311.7003.485 (absence of evidence); Altman, BMJ 1998;317:1309,
    doi 10.1136/bmj.317.7168.1309 (number needed to treat); Wang et al., N Engl J Med 2007;357:2189,
    doi 10.1056/NEJMsr077003 (subgroups).

    Examples
    --------
    >>> headline = pd.DataFrame(
    ...     {"endpoint": ["infection"], "title": ["Infection"], "kind": ["binary"], "measure": ["risk"], "unit": [""],
    ...      "harmful": [True], "control": ["26/55"], "treated": ["12/54"], "method": ["unadjusted"],
    ...      "scale": ["ratio"], "estimate": [0.47], "low": [0.27], "high": [0.83], "p_value": [0.01],
    ...      "p_hierarchical": [0.01], "p_holm": [0.01], "p_benjamini_hochberg": [0.01]})
    >>> print(*trial_words(headline, pd.DataFrame(), "placebo", "IL-7"))  # doctest: +NORMALIZE_WHITESPACE
    Infection: 12/54 with IL-7, 26/55 with placebo. The risk with IL-7 was 53 % lower (risk ratio 0.47, 95 % CI 0.27 to
    0.83, P = 0.01), in favour of IL-7.
    """
    arms = _Arms(control_label, treated_label, level)
    rows = list(effects(headline))
    inside = [row for row in rows if row.is_ordered]
    outside = [row for row in rows if not row.is_ordered]
    return (
        *(_endpoint(row, arms, table) for row in inside),
        *_multiplicity(inside, arms),
        *_outside(outside, arms, table),
        *_subgroups(rows, subgroups, arms),
    )


def _endpoint(row: Effect, arms: _Arms, table: pd.DataFrame | None) -> str:
    """Return one endpoint's sentences: what was seen, and what the comparison says."""
    seen = f"{row.title}: {row.treated} with {arms.treated}, {row.control} with {arms.control}."
    if not row.is_known:
        return f"{seen} The arms could not be compared."
    if not _is_shown(row, arms):
        return f"{seen} No credible difference was shown ({numbers_of(row, arms.interval)}){_possible(row, arms)}."
    favour = "" if row.scale == "chi_square" else f", in favour of {_better(row, arms)}"
    beside = "".join(f"; {part}" for part in _beside(row, arms, table))
    return f"{seen} {_shown(row, arms)} ({numbers_of(row, arms.interval)}){favour}{beside}.{_caveat(row, arms)}"


def _is_shown(row: Effect, arms: _Arms) -> bool:
    return row.is_known and row.p_value < arms.alpha


def _better(row: Effect, arms: _Arms) -> str:
    return arms.treated if row.treated_is_better else arms.control


def _shown(row: Effect, arms: _Arms) -> str:
    """Return direction and size of a difference that was shown."""
    if row.scale == "chi_square":
        return "The arms differed"
    if row.scale == "number_needed":
        return f"With {arms.treated} there was {every(row)}"
    if row.scale == "probability":
        return f"Values with {arms.treated} tended to be {'higher' if row.estimate > 0.5 else 'lower'}"
    were = "were" if row.compared == "odds" else "was"
    return f"The {row.compared} with {arms.treated} {were} {change(row, row.estimate)}"


def _possible(row: Effect, arms: _Arms) -> str:
    """Return what the interval leaves possible."""
    limits = (row.low, row.high)
    # A ratio may be without upper limit, a difference is not.
    known = not any(map(math.isnan, limits)) if row.scale in RATIOS else all(map(math.isfinite, limits))
    if not known or row.scale not in {*RATIOS, "difference"}:
        return ""
    low, high = change(row, row.low), change(row, row.high)
    return f": the {row.compared} with {arms.treated} may be anything from {low} to {high}"


def _caveat(row: Effect, arms: _Arms) -> str:
    """Return what the stated order leaves of a P value below the limit."""
    if not row.is_ordered or row.p_hierarchical < arms.alpha:
        return ""
    return f" In the stated order of tests this does not count as shown (adjusted {p_phrase(row.p_hierarchical)})."


def _beside(row: Effect, arms: _Arms, table: pd.DataFrame | None) -> Iterator[str]:
    """Yield the absolute numbers that go with a relative one, and the chance of more days."""
    if table is None:
        return
    if row.scale in RATIOS and row.measure == "risk":
        if (difference := _other_scale(row, table, "difference", row.method)) is not None:
            yield numbers_of(difference, arms.interval)
        needed = _other_scale(row, table, "number_needed", row.method)
        # Limits of different sign run through infinity; beside a difference that was shown they would confuse.
        if needed is not None and needed.low * needed.high > 0:
            few, many = sorted((abs(needed.low), abs(needed.high)))
            yield f"{every(needed)} ({arms.interval} {number(few, 1)} to {number(many, 1)})"
    if row.kind == "days" and (chance := _other_scale(row, table, "probability")) is not None:
        limits = f"{percent(chance.estimate)}, {arms.interval} {percent(chance.low)} to {percent(chance.high)}"
        yield f"a patient given {arms.treated} has more days with a probability of {limits} (ties counted half)"


def _other_scale(row: Effect, table: pd.DataFrame, scale: str, method: str | None = None) -> Effect | None:
    """Return the endpoint's result on another scale, by the given method; without a P value of its own."""
    chosen = (table["endpoint"] == row.endpoint) & (table["scale"] == scale) & table["estimate"].notna()
    if method is not None:
        chosen &= table["method"] == method
    for estimate, low, high in table.loc[chosen, ["estimate", "low", "high"]].itertuples(index=False):
        return row._replace(scale=scale, estimate=estimate, low=low, high=high, p_value=math.nan)
    return None


def _multiplicity(inside: Sequence[Effect], arms: _Arms) -> Iterator[str]:
    """Yield which endpoints hold once all of the stated order are counted."""
    if len(inside) < 2:
        return
    alpha = arms.alpha
    sequence = [row.title for row in inside if row.p_hierarchical < alpha]
    stop = next((row.title for row in inside if not row.p_hierarchical < alpha), None)
    end = "" if stop is None else f"; testing stops at {stop}"
    holm = [row.title for row in inside if row.p_holm < alpha]
    rate = [row.title for row in inside if row.p_benjamini_hochberg < alpha]
    yield (
        f"Of the {len(inside)} endpoints tested in the stated order, the arms are shown to differ in "
        f"{_listed(sequence)}{end}. After Holm's adjustment, which needs no order: {_listed(holm)}. With a false "
        f"discovery rate of {percent(alpha)} (Benjamini-Hochberg): {_listed(rate)}."
    )


def _outside(outside: Sequence[Effect], arms: _Arms, table: pd.DataFrame | None) -> Iterator[str]:
    """Yield the exploratory endpoints: a sentence for each difference, and the others in one."""
    shown = [row for row in outside if _is_shown(row, arms)]
    unclear = [row for row in outside if row.is_known and not _is_shown(row, arms)]
    unknown = [row.title for row in outside if not row.is_known]
    if outside:
        several = f"{len(outside)} further endpoints are" if len(outside) > 1 else "One further endpoint is"
        yield (
            f"{several} outside the stated order and not adjusted for their number, so what follows is exploratory: "
            f"P is below {arms.alpha:g} for {len(shown)}, where chance alone would do this for about "
            f"{number(arms.alpha * len(outside), 1)}."
        )
    yield from (_endpoint(row, arms, table) for row in shown)
    if unclear:
        listed = "; ".join(f"{row.title} ({numbers_of(row._replace(p_value=math.nan), '')})" for row in unclear)
        yield f"No credible difference was shown in (with {arms.interval}): {listed}."
    if unknown:
        yield f"Could not be compared: {'; '.join(unknown)}."


def _subgroups(rows: Sequence[Effect], subgroups: pd.DataFrame, arms: _Arms) -> Iterator[str]:
    """Yield one sentence a modifier, from the interaction P values alone."""
    if not len(subgroups):
        return
    headlines = {row.endpoint: row for row in rows}
    tests = 0
    for (_, label), part in subgroups.groupby(["modifier", "label"], sort=False):
        compared = [
            _on_headline_scale(frame, headlines[str(endpoint)])
            for endpoint, frame in part.groupby("endpoint", sort=False)
            if endpoint in headlines
        ]
        known = [frame for frame in compared if frame["interaction_p"].notna().any()]
        tests += len(known)
        unprotected = "" if part["protected"].all() else _UNPROTECTED
        yield f"{label}: {_interaction(known, headlines, arms)}{unprotected}"
    if tests > 1:
        yield (
            f"The {tests} interaction P values are not adjusted for their number; chance alone would bring about "
            f"{number(arms.alpha * tests, 1)} of them below {arms.alpha:g}. An effect that is shown in one subgroup "
            "and not in another is no evidence that they differ."
        )


_UNPROTECTED = (
    " It is known only after randomisation and may depend on the arm, so randomisation does not protect this "
    "comparison."
)


def _on_headline_scale(frame: pd.DataFrame, row: Effect) -> pd.DataFrame:
    """Return the subgroups on the scale of the endpoint's headline, else on the first one."""
    same = frame[frame["scale"] == row.scale]
    return same if len(same) else frame[frame["scale"] == frame["scale"].iloc[0]]


def _interaction(known: Sequence[pd.DataFrame], headlines: dict[str, Effect], arms: _Arms) -> str:
    """Return what a modifier's interaction tests say."""
    if not known:
        return "the subgroups could not be compared."
    p_values = [float(frame["interaction_p"].iloc[0]) for frame in known]
    differing = [
        _by_subgroup(frame, headlines[str(frame["endpoint"].iloc[0])], p_value)
        for frame, p_value in zip(known, p_values, strict=True)
        if p_value < arms.alpha
    ]
    others = [p_value for p_value in p_values if not p_value < arms.alpha]
    if not differing:
        return f"no credible difference of the effect between subgroups was shown ({_p_range(others)})."
    rest = f"; on the others none was shown ({_p_range(others)})" if others else ""
    return f"the effect differed between subgroups on {'; on '.join(differing)}{rest}."


def _by_subgroup(frame: pd.DataFrame, row: Effect, p_value: float) -> str:
    """Return an endpoint's effects by subgroup, with the P value of their differing."""
    columns = frame[["subgroup", "estimate", "low", "high"]].itertuples(index=False)
    texts = ", ".join(f"{subgroup}: {estimate_text(*numbers)}" for subgroup, *numbers in columns)
    name = scale_name(str(frame["scale"].iloc[0]), row.measure)
    return f"{row.title} (P for interaction {p_text(p_value)}; {name} by subgroup, {texts})"


def _p_range(p_values: Sequence[float]) -> str:
    low, high = p_text(min(p_values)), p_text(max(p_values))
    if len(p_values) == 1:
        return f"P for interaction {low}"
    return f"P for interaction {low} to {high} on {len(p_values)} endpoints"


def _listed(titles: Sequence[str]) -> str:
    return "; ".join(titles) if titles else "none"
