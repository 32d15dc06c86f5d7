"""A risk model written out, so that its predictions can be worked out by hand where that is possible at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from il7ml.family import Family
from il7ml.features.design import LinearTerm
from il7ml.models.fitted import Fitted, FittedLinear, FittedStack, FittedTrees
from il7ml.report.page import Column, Facts, Group, Paragraph, Part, Table
from il7ml.schema import Variable

_SCALE = {"binary": "log odds", "count": "log rate", "continuous": "mean"}
_SPLINE = (
    "A spline's further terms, with knots k1 < ... < km of x and (z)+ for the larger of z and 0: "
    "[(x - kj)+^3 - ((x - k(m-1))+^3 (km - kj) - (x - km)+^3 (k(m-1) - kj)) / (km - k(m-1))] / (km - k1)^2."
)


def full_model(fitted: Fitted, variables: Mapping[str, Variable], family: Family, treatment: float) -> Iterator[Part]:
    """Yield intercept, treatment effect and coefficients of a regression, or what a model of trees is made of.

    Parameters
    ----------
    fitted : Fitted
    variables : mapping of str to Variable
    family : Family
    treatment : float
        What predictions add to the linear predictor of the treated.
    """
    scale = _SCALE[family.kind]
    if isinstance(fitted, FittedLinear):
        rows, shift = _rows(fitted, variables)
        yield Facts((("Intercept", _exact(fitted.intercept - shift)), ("Treatment", _exact(treatment))))
        yield Paragraph(
            f"The {scale} of a patient is the intercept, plus the sum of each term times its coefficient, plus the "
            "treatment's number for the treated. Linear predictors are kept within those of the training patients."
            if rows
            else f"The {scale} of every patient is the intercept, plus the treatment's number for the treated."
        )
        if rows:
            columns = (Column("Term"), Column("Enters as"), Column("A gap counts as"), Column("Coefficient", True))
            note = _SPLINE if any(term.knots for term in fitted.design.terms) else ""
            yield Table("The regression in full", columns, (Group("", tuple(rows)),), note)
    elif isinstance(fitted, FittedTrees):
        yield Facts(
            (
                ("Intercept", _exact(fitted.intercept)),
                ("Treatment", _exact(treatment)),
                ("Boosted trees", str(fitted.booster.num_boosted_rounds())),
            )
        )
        yield Paragraph(
            f"The {scale} of a patient is the intercept, plus the values of the leaves that he ends in, plus the "
            "treatment's number for the treated. The trees are too many to print; they stand in the model's files."
        )
    elif isinstance(fitted, FittedStack):
        yield Paragraph(
            f"The {scale} of a patient is {_exact(fitted.intercept)}, plus the weighted sum of the parts below, plus "
            f"{_exact(treatment)} for the treated."
        )
        for number, (part, weight) in enumerate(zip(fitted.parts, fitted.weights, strict=True), start=1):
            yield Paragraph(f"Part {number}, weight {_exact(float(weight))}:")
            yield from full_model(part, variables, family, 0.0)


def _rows(fitted: FittedLinear, variables: Mapping[str, Variable]) -> tuple[list[tuple[str, ...]], float]:
    """Return a row a term, its coefficient being that of the value as it enters, and what centring takes away."""
    design = fitted.design
    raw = fitted.coefficients * design.scale
    rows: list[tuple[str, ...]] = []
    place = 0
    for term in design.terms:
        for name, how, gap in _columns(term, variables[term.variable]):
            if raw[place] != 0:
                rows.append((name, how, gap, _exact(float(raw[place]))))
            place += 1
    return rows, float(raw @ design.centre)


def _columns(term: LinearTerm, variable: Variable) -> Iterator[tuple[str, str, str]]:
    """Yield each design column of a term: its name, how the value enters, and what a gap counts as."""
    label = variable.term
    if term.levels:
        for level in variable.levels[1 : term.levels]:
            yield f"{label}: {level.replace('_', ' ')}", "1 if so, else 0", "0"
    else:
        in_unit = f" in {variable.unit}" if variable.unit else ""
        is_log = not np.isnan(term.floor)
        value = "1 if yes, 0 if no" if variable.kind == "binary" else f"value{in_unit}"
        if is_log:
            value = f"natural logarithm of the value{in_unit}, at least {_exact(term.floor)}"
        gap = _exact(float(np.exp(term.fill)) if is_log else term.fill)
        yield label, value, gap
        knots = ", ".join(_exact(knot) for knot in term.knots)
        for number in range(1, max(len(term.knots) - 1, 1)):
            yield f"{label}, spline {number}", f"term {number} of the spline with knots {knots}", "as above"
    if term.indicator:
        yield f"{label}: not known", "1 if so, else 0", "1"


def _exact(value: float) -> str:
    """Return a number with the digits that a calculation by hand needs."""
    return f"{value:.6g}"
