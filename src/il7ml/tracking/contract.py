"""When a model may take another's place: the same questions answered from the same variables, and no worse."""

from __future__ import annotations

from il7ml.bundle import Card
from il7ml.family import Kind

#: What both models must have in common, and what it is called.
_SAME = {
    "endpoint": "endpoint",
    "kind": "kind of outcome",
    "horizon": "horizon",
    "unit": "unit of the outcome",
    "harmful": "direction of harm",
    "control_label": "control arm",
    "treated_label": "treated arm",
    "simulated": "kind of data (simulated or real)",
}
#: Validated loss, smaller is better: comparable between models of the same patients.
_LOSS: dict[Kind, str] = {"binary": "log_loss", "count": "poisson_deviance", "continuous": "rmse"}
#: Share of the outcome's variation that is explained, larger is better: also comparable where the patients differ.
_EXPLAINED: dict[Kind, str] = {"binary": "scaled_brier", "count": "scaled_deviance", "continuous": "r2"}
_ROUNDING = 1e-9


def objections(challenger: Card, champion: Card) -> list[str]:
    """Return what speaks against a challenger taking the champion's place; nothing where it may.

    It must keep the data contract: whoever asks the champion gets an answer to the same question from the challenger
    for the same record. And it must not be worse by its validated score out of fold, the choice of the model included:
    log loss, Poisson deviance or root mean squared error. These depend on the patients (a rarer
    event has a smaller log loss), so that between models of different data the share of variation explained is
    compared: scaled Brier score, share of deviance or of variance.

    Parameters
    ----------
    challenger, champion : Card

    Returns
    -------
    list of str
        Plain words, without a full stop.
    """
    found = [
        f"another {what}" for field, what in _SAME.items() if getattr(challenger, field) != getattr(champion, field)
    ]
    return found + _variables(challenger, champion) + _score(challenger, champion)


def _variables(challenger: Card, champion: Card) -> list[str]:
    new, old = set(challenger.variables), set(champion.variables)
    found = []
    if new - old:
        found.append(f"it asks for {', '.join(sorted(new - old))}, which the champion does not know")
    if old - new:
        found.append(f"it does not know {', '.join(sorted(old - new))}")
    for name in sorted(new & old):
        ours, theirs = challenger.variables[name], champion.variables[name]
        for field in ("kind", "unit", "levels"):
            if getattr(ours.variable, field) != getattr(theirs.variable, field):
                found.append(f"{name} has another {field}" if field != "levels" else f"{name} has other levels")
        if ours.required and not theirs.required:
            found.append(f"it cannot do without {name}, as the champion can")
    return found


def _score(challenger: Card, champion: Card) -> list[str]:
    same = challenger.data_digest == champion.data_digest
    if challenger.kind != champion.kind:
        return []
    base = (_LOSS if same else _EXPLAINED)[champion.kind]
    if base not in challenger.validation or base not in champion.validation:
        return [f"without a validated {base} of both they cannot be compared"]
    ours, theirs = challenger.validation[base].value, champion.validation[base].value
    excess = ours - theirs if same else theirs - ours
    # Written so that a NaN, which compares with nothing, counts against it.
    if not excess <= _ROUNDING * max(1.0, abs(theirs)):
        where = "on the same data" if same else "each on its own data"
        return [f"its validated {base} is {ours:.6g}, the champion's {theirs:.6g} ({where})"]
    return []
