"""Whether XGBoost can compute on the device that a config names: it would otherwise fall back to the processor."""

from __future__ import annotations

import json
import warnings

import numpy as np

from il7ml.config import Device
from il7ml.errors import InputError


def check_device(device: Device) -> None:
    """Refuse a device that XGBoost cannot use here.

    Raises
    ------
    InputError
        If a GPU is asked for and there is none, or this XGBoost was built without support for it.

    Examples
    --------
    >>> check_device("cpu")
    """
    if device == "cpu":
        return
    import xgboost

    # The library says so in a warning only, and goes on; which device it took stands in the model.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            data = xgboost.DMatrix(np.zeros((2, 1), dtype=np.float32), label=np.array([0.0, 1.0]), nthread=1)
            booster = xgboost.train({"device": device, "tree_method": "hist"}, data, num_boost_round=1)
            used = str(json.loads(booster.save_config())["learner"]["generic_param"]["device"])
        except xgboost.core.XGBoostError:
            used = "cpu"
    if not used.startswith(device):
        raise InputError(
            f"device: expected a GPU that XGBoost can use for {device!r}, found none on this machine. "
            "Set device: cpu, or run where there is one (nvidia-smi lists it)."
        )
