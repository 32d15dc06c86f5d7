"""Whether the data suffice for the models."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.evaluation.sample_size import sample_size
from il7ml.features.columns import Columns
from il7ml.features.design import LinearDesign
from il7ml.models.catalog import Setting
from il7ml.models.sample import Sample

Floats = NDArray[np.float64]


class SizeVerdict(NamedTuple):
    """Whether the data suffice for a regression on all features and the treatment arm.

    Attributes
    ----------
    text : str
        A sentence that begins with the verdict.
    table : DataFrame
        The criteria; empty where none apply.
    far_too_small : bool
        Whether less than half of the patients needed are there.
    """

    text: str
    table: pd.DataFrame
    far_too_small: bool


def sample_size_verdict(setting: Setting, sample: Sample, columns: Columns) -> SizeVerdict:
    """Hold the data against the criteria for a regression on all features and the treatment arm.

    Parameters
    ----------
    setting : Setting
    sample : Sample
    columns : mapping of str to ndarray
        The features of all patients.
    """
    known = sample.weight > 0
    if setting.outcome != "binary":
        return SizeVerdict("not assessed: the criteria used are for yes-or-no outcomes.", pd.DataFrame(), False)
    design = LinearDesign.learn(columns, setting.variables, spline=setting.spline)
    size = sample_size(int(known.sum()), int(sample.y[known].sum()), len(design.owners) + 1)
    text = (
        f"{'sufficient' if size.sufficient else 'too small'}: {size.n} patients with {size.events} events for "
        f"{size.parameters} parameters (the treatment arm is one), "
        f"{size.required} needed (expected shrinkage {size.expected_shrinkage:.2f})."
    )
    return SizeVerdict(text, size.frame(), size.required > 2 * size.n)
