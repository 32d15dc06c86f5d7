"""Whether the data suffice for the models."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.evaluation.sample_size import sample_size
from il7ml.features.columns import Columns
from il7ml.features.design import LinearDesign
from il7ml.models.catalog import Setting
from il7ml.models.crossfit import Sample

Floats = NDArray[np.float64]


def sample_size_verdict(setting: Setting, sample: Sample, columns: Columns) -> tuple[str, pd.DataFrame]:
    """Return a sentence on whether the data suffice for the full regression model, and the criteria's table."""
    known = sample.weight > 0
    if setting.outcome != "binary":
        return "not assessed: the criteria used are for yes-or-no outcomes.", pd.DataFrame()
    design = LinearDesign.learn(columns, setting.variables, spline=setting.spline)
    size = sample_size(int(known.sum()), int(sample.y[known].sum()), len(design.owners))
    text = (
        f"{'sufficient' if size.sufficient else 'too small'}: {size.n} patients with {size.events} events for "
        f"{size.parameters} parameters, {size.required} needed (expected shrinkage {size.expected_shrinkage:.2f})."
    )
    return text, size.frame()
