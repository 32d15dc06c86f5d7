"""The configuration of a sweep: a training's config, and the keys that vary."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from il7ml.config import read_yaml
from il7ml.errors import InputError
from il7ml.schema import Closed, explain

#: What tells studies, stores and machines apart, not candidates.
_FIXED = ("study", "endpoint", "tracking", "workers")
#: What decides how a candidate is measured: the best of such a sweep would be the luckiest measurement.
_MEASURING = ("seed", "validation")
_MOST = 1000


class Range(Closed):
    """What a key may be in a search: numbers from `low` to `high`, whole ones if both are whole, or `choices`.

    Attributes
    ----------
    low, high : int or float
    log : bool
        Whether small numbers are searched as finely as large ones.
    choices : tuple
    """

    low: Any = None
    high: Any = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if self.choices:
            if self.low is not None or self.high is not None:
                raise ValueError("give either choices, or low and high")
            return self
        for limit in (self.low, self.high):
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
                raise ValueError("low and high must be numbers; or give choices")
        if not self.low < self.high:
            raise ValueError("low must be smaller than high")
        if self.log and self.low <= 0:
            raise ValueError("with log, low must be above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The choices, or both limits."""
        return self.choices or (self.low, self.high)


class SearchConfig(Closed):
    """A search with Optuna.

    Attributes
    ----------
    ranges : dict of str to Range
        Config keys and what they may be.
    trials : int
        Candidates that are proposed.
    seed : int
        Of the search; the trainings have their config's.
    """

    ranges: dict[str, Range] = Field(min_length=1)
    trials: int = Field(default=20, ge=2, le=_MOST)
    seed: int = Field(default=0, ge=0)


class SweepConfig(Closed):
    """Trainings that differ in some keys.

    Attributes
    ----------
    base : Path
        Training config, relative to the sweep's file.
    grid : dict of str to tuple
        Config keys (``tuning.method``) and their values; every combination is a candidate.
    search : SearchConfig or None
        Instead of a grid.
    metric : str or None
        Figure by which candidates are compared; None for the corrected loss of the chosen risk model.
    workers : int
        Worker processes; 0 means all cores. Has no influence on results.

    Examples
    --------
    >>> sweep = SweepConfig(base="cgd.yaml", grid={"tuning.method": ["none", "grid"], "refits": [20, 50]})
    >>> len(sweep.combinations), sweep.combinations[1]
    (4, {'tuning.method': 'none', 'refits': 50})
    """

    base: Path
    grid: dict[str, tuple[Any, ...]] = Field(default={})
    search: SearchConfig | None = None
    metric: str | None = None
    workers: int = Field(default=0, ge=0, exclude=True)

    @model_validator(mode="after")
    def _varies(self) -> SweepConfig:
        if bool(self.grid) == (self.search is not None):
            raise ValueError("give either a grid or a search")
        for key, values in self.grid.items():
            if not values or len({repr(value) for value in values}) < len(values):
                raise ValueError(f"grid.{key} must list one value or several, each once")
        if math.prod(map(len, self.grid.values())) > _MOST:
            raise ValueError(f"the grid has more than {_MOST} combinations")
        for key in self.keys:
            if key.split(".")[0] in _FIXED:
                raise ValueError(f"{key} cannot vary within a sweep. Set it in the base config, one sweep each")
        if self.search is not None and self.measuring:
            raise ValueError(
                f"{', '.join(self.measuring)} decides how candidates are measured, so a search would find the luckiest "
                "measurement. Set it in the base config, or use a grid, which then names no best"
            )
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """The config keys that vary."""
        return tuple(self.grid if self.search is None else self.search.ranges)

    @property
    def measuring(self) -> tuple[str, ...]:
        """Those of them that decide how a candidate is measured."""
        return tuple(key for key in self.keys if key.split(".")[0] in _MEASURING)

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """The grid's candidates, the last key varying fastest."""
        found: list[dict[str, Any]] = [{}]
        for key, values in self.grid.items():
            found = [{**each, key: value} for each in found for value in values]
        return found

    @classmethod
    def from_file(cls, path: str | Path) -> SweepConfig:
        """Read a YAML file.

        Raises
        ------
        InputError
            If the file is missing or not YAML, or a key or value is not allowed.
        """
        path = Path(path)
        raw = read_yaml(path, "sweep config")
        if isinstance(raw.get("base"), str):
            raw["base"] = str(path.parent / raw["base"])
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise InputError(explain(error, path.name, cls)) from None
