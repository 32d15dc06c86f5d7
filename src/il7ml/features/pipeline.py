"""Feature designs as scikit-learn transformers, for use in any pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from il7ml.features.columns import infer_variables, to_columns
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.schema import Variable


class LinearFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Baseline variables to a standardised linear design.

    Log-normal variables enter on the log scale, those named in `spline` as restricted cubic splines, missing values
    as the training median beside an indicator. Fit it inside the resampling, as part of the pipeline.

    Parameters
    ----------
    variables : mapping of str to Variable, optional
        Dictionary entries; by default they are inferred from the frame's dtypes.
    spline : tuple of str
        Variables that enter as curves.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": [40.0, 50.0, 60.0, None]})
    >>> LinearFeatures().fit(frame).get_feature_names_out().tolist()
    ['age', 'age[missing]']
    """

    def __init__(self, variables: Mapping[str, Variable] | None = None, spline: tuple[str, ...] = ()) -> None:
        self.variables = variables
        self.spline = spline

    def fit(self, X: pd.DataFrame, y: Any = None, *, sample_weight: Any = None) -> LinearFeatures:
        """Learn medians, knots and scales from a frame of shape (n, k)."""
        self.variables_ = dict(self.variables) if self.variables is not None else infer_variables(X)
        self.feature_names_in_ = np.array(list(map(str, X.columns)), dtype=object)
        self.n_features_in_ = X.shape[1]
        self.design_ = LinearDesign.learn(
            to_columns(X, self.variables_), self.variables_, spline=self.spline, weight=sample_weight
        )
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the design matrix of shape (n, p).

        Raises
        ------
        InputError
            If a column is missing or holds an unknown category; columns are found by name, not by place.
        """
        check_is_fitted(self)
        return self.design_.matrix(to_columns(X, self.variables_), len(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the design's columns."""
        check_is_fitted(self)
        return np.array(self.design_.names, dtype=object)


class TreeFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Baseline variables to a matrix for trees: raw values, gaps as NaN, one 0/1 column a category.

    Parameters
    ----------
    variables : mapping of str to Variable, optional
        Dictionary entries; by default they are inferred from the frame's dtypes.
    """

    def __init__(self, variables: Mapping[str, Variable] | None = None) -> None:
        self.variables = variables

    def fit(self, X: pd.DataFrame, y: Any = None) -> TreeFeatures:
        """Lay out the columns."""
        self.variables_ = dict(self.variables) if self.variables is not None else infer_variables(X)
        self.feature_names_in_ = np.array(list(map(str, X.columns)), dtype=object)
        self.n_features_in_ = X.shape[1]
        self.design_ = TreeDesign.learn(self.variables_)
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.float32]:
        """Return the matrix of shape (n, p)."""
        check_is_fitted(self)
        return self.design_.matrix(to_columns(X, self.variables_), len(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the matrix's columns."""
        check_is_fitted(self)
        names = [
            f"{name}[{level}]" if levels else name
            for name, levels in self.design_.variables
            for level in range(max(levels, 1))
        ]
        return np.array(names, dtype=object)
