"""SHAP values on the outcome's scale (risk, rate): interventional, exact where that can be afforded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray

from il7ml.explanation.additive import Explanation, checked
from il7ml.family import Family
from il7ml.features.columns import Columns
from il7ml.models.fitted import Additive, FittedLinear, FittedStack
from il7ml.models.shapley import product_shares

Floats = NDArray[np.float64]

#: Patients and reference patients whom refits are explained on at most.
REFIT_PATIENTS, REFIT_REFERENCES = 30, 20
#: Largest distance of base and values from the predicted risk or rate; trees answer in single precision.
TOLERANCE = 1e-4
# Predictions that may be asked for; a coalition, patient and reference patient need one.
_BUDGET = 1_500_000
# The logistic curve as a sum of waves: its repetitions lie this far beyond the predictions, where they add less than
# 1e-7, and waves of weight below 1e-10 are left out.
_MARGIN = 17.0
_NEGLIGIBLE = 25.0


def explain_outcome(
    model: Additive,
    family: Family,
    columns: Columns,
    n: int,
    background: Columns,
    m: int,
    rng: np.random.Generator,
    *,
    note: str = "",
) -> Explanation:
    """Explain predicted risks or rates: what a variable's value adds on average over orders and reference patients.

    A coalition's value is the mean prediction over reference patients who are given the patient's values of its
    variables. Where the linear predictor is a sum of the variables' terms, risks are sums of waves and rates are
    products, whose Shapley values are known in closed form: they are exact for any number of variables. Other models
    are asked for every coalition where this can be afforded, and for random orders with their reverses where not.

    Parameters
    ----------
    model : Additive
    family : Family
        Binary or count.
    columns : dict of str to ndarray of shape (n,)
        Patients to explain, derived features included.
    n : int
    background : dict of str to ndarray of shape (m,)
        Reference patients, taken whole: what goes together in them stays together.
    m : int
    rng : numpy.random.Generator
        For the random orders.
    note : str
        A caveat that goes with every table and figure.

    Raises
    ------
    ArithmeticError
        If values and base do not add up to the predictions.

    References
    ----------
    Lundberg and Lee, NeurIPS 2017, arXiv 1705.07874; Janzing et al., AISTATS 2020, arXiv 1910.13413 (interventional);
    Mitchell et al., J Mach Learn Res 2022;23(43), arXiv 2104.12199 (orders with their reverses).
    """
    terms, others = model.contributions(columns, n)[1], model.contributions(background, m)[1]
    players = [name for name in terms if np.any(terms[name]) or np.any(others[name])]
    std_error, method = 0.0, "exact"
    if adds_up(model):
        base = float(model.linear_predictor(background, m)[0] - sum(others[name][0] for name in players))
        inner = np.column_stack([np.zeros((n, 0)), *(terms[name] for name in players)])
        outer = np.column_stack([np.zeros((m, 0)), *(others[name] for name in players)])
        shares = _of_sums(family, base, inner, outer)
    else:

        def value(known: NDArray[np.bool_], rows: NDArray[np.intp], typical: NDArray[np.intp]) -> Floats:
            """Return predictions for patients `rows` whose variables not `known` are those of patients `typical`."""
            mixed = {name: columns[name][rows] for name in columns}
            mixed |= {
                name: np.where(known[:, k], columns[name][rows], background[name][typical])
                for k, name in enumerate(players)
            }
            return family.mean(model.linear_predictor(mixed, rows.size))

        if n * m * 2 ** len(players) <= _BUDGET:
            shares = _of_coalitions(value, n, m, len(players))
        else:
            shares, std_error, orders = _of_orders(value, n, m, len(players), rng)
            method = f"{orders} random orders"
    start = float(family.mean(model.linear_predictor(background, m)).mean())
    parts = {name: shares[:, k] for k, name in enumerate(players)}
    predicted = family.mean(model.linear_predictor(columns, n))
    return checked(start, parts, columns, predicted, TOLERANCE)._replace(
        scale=family.measure, note=note, method=method, std_error=std_error
    )


def refit_outcome_values(
    refits: Sequence[Additive], family: Family, explanation: Explanation, background: Columns, m: int
) -> list[Floats]:
    """Return each refit's SHAP values on the outcome's scale, of the explanation's first 30 patients, shape (30, k).

    Only models whose linear predictor is a sum of terms are explained, exactly; of others, each of which would have to
    be asked as often as the model itself, there are none.

    Parameters
    ----------
    refits : sequence of Additive
    family : Family
    explanation : Explanation
        Of the model, by `explain_outcome`.
    background : dict of str to ndarray of shape (m,)
        Reference patients, of whom the first 20 are used.
    m : int
    """
    n, m = min(len(explanation.data), REFIT_PATIENTS), min(m, REFIT_REFERENCES)
    columns: Columns = {str(name): column.to_numpy()[:n] for name, column in explanation.data.items()}
    typical = {name: column[:m] for name, column in background.items()}
    unused = np.random.default_rng(0)  # exact explanations draw nothing
    return [
        explain_outcome(refit, family, columns, n, typical, m, unused).values[list(explanation.values)].to_numpy()
        for refit in refits
        if adds_up(refit)
    ]


def adds_up(model: Additive) -> bool:
    """Return whether the linear predictor is a sum of terms of one variable each."""
    if isinstance(model, FittedStack):
        return all(adds_up(part) for part in model.parts)
    return isinstance(model, FittedLinear)


def _of_sums(family: Family, base: float, terms: Floats, others: Floats) -> Floats:
    """Return Shapley values of the mean of `base` + sums of terms (n, k), those unknown taken from `others` (m, k)."""
    if family.kind == "count":
        frequency, weight = np.array([-1j]), np.array([np.exp(base) + 0j])
    else:
        reach = (
            abs(base) + np.maximum(np.abs(terms).max(axis=0, initial=0), np.abs(others).max(axis=0, initial=0)).sum()
        )
        half = reach + _MARGIN
        frequency = (2 * np.arange(int(np.ceil(_NEGLIGIBLE * half / (2 * np.pi**2)))) + 1) * np.pi / half
        # The density of the logistic distribution, repeated with changing sign, as a Fourier series, integrated.
        weight = -2j * np.pi / (half * np.sinh(np.pi * frequency)) * np.exp(1j * frequency * base)
    factors = np.exp(1j * terms[:, :, None] * frequency)
    shares = np.zeros_like(terms)
    for reference in np.exp(1j * others[:, :, None] * frequency):
        shares += product_shares(factors, reference, weight)
    return shares / len(others)


_Value = Callable[[NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]], Floats]


def _of_coalitions(value: _Value, n: int, m: int, k: int) -> Floats:
    """Return Shapley values from all coalitions of k variables, shape (n, k)."""
    rows, typical = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    members = (np.arange(2**k)[:, None] >> np.arange(k)) & 1 == 1
    worth = [value(np.broadcast_to(some, (n * m, k)), rows, typical).reshape(n, m).mean(axis=1) for some in members]
    shares = np.zeros((n, k))
    for number, some in enumerate(members):
        for player in np.flatnonzero(~some):
            weight = 1 / (k * comb(k - 1, int(some.sum())))
            shares[:, player] += weight * (worth[number + 2**player] - worth[number])
    return shares


def _of_orders(value: _Value, n: int, m: int, k: int, rng: np.random.Generator) -> tuple[Floats, float, int]:
    """Return Shapley values from random orders and their reverses, their largest standard error, and the orders.

    Every reference patient takes part equally often, so that values add up to the prediction less the mean one, and
    only the spread between orders makes for error.
    """
    repeats = max(2, _BUDGET // (2 * n * (k + 1) * m))
    rows = np.tile(np.arange(n), k + 1)
    shares, variance = np.zeros((n, k)), np.zeros((n, k))
    for reference in range(m):
        typical = np.full(rows.size, reference, dtype=np.intp)
        gains = np.zeros((repeats, n, k))
        for repeat in range(repeats):
            order = rng.permutation(k)
            for direction in (order, order[::-1]):
                # Row p of `known` has the first p variables of the order.
                known = np.arange(k + 1)[:, None] > np.argsort(direction)
                worth = value(np.repeat(known, n, axis=0), rows, typical).reshape(k + 1, n)
                gains[repeat][:, direction] += np.diff(worth, axis=0).T / 2
        shares += gains.mean(axis=0) / m
        variance += gains.var(axis=0, ddof=1) / (repeats * m**2)
    return shares, float(np.sqrt(variance.max(initial=0.0))), 2 * repeats * m
