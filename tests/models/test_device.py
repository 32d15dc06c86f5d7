import re
import subprocess

import numpy as np
import pandas as pd
import pytest
import xgboost

from il7ml.config import TuningConfig
from il7ml.errors import InputError
from il7ml.features.columns import infer_variables
from il7ml.models.catalog import Setting, make_effect_learner, make_risk_model
from il7ml.models.device import check_device


def has_gpu():
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).stdout.startswith(b"GPU")
    except FileNotFoundError:
        return False


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_clear_message():
    with pytest.raises(InputError, match=re.escape("found none on this machine. Set device: cpu")):
        check_device("cuda")


@pytest.mark.skipif(not has_gpu(), reason="no GPU")
def test_a_gpu_gives_the_risks_that_the_processor_gives():
    check_device("cuda")
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=2000), "b": rng.normal(size=2000)})
    arm = rng.integers(0, 2, 2000)
    y = rng.binomial(1, 1 / (1 + np.exp(-X["a"] + 0.5 * arm)))
    risks = [
        make_risk_model("xgboost", Setting("binary", infer_variables(X), None, True, device=device))
        .fit(X, y, arm)
        .predict(X)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(*risks, atol=0.01)


@pytest.mark.parametrize("name", ["xgboost", "stack", "tuned"])
def test_risk_models_hand_the_device_to_every_training(name, monkeypatch):
    X = pd.DataFrame({"a": np.random.default_rng(0).normal(size=60)})
    tuning = TuningConfig(method="grid" if name == "tuned" else "none")
    setting = Setting("binary", infer_variables(X), None, True, tuning, device="cuda")
    asked = devices_asked_for(monkeypatch)
    make_risk_model("stack" if name == "stack" else "xgboost", setting).fit(
        X, np.arange(60) % 3 == 0, np.arange(60) % 2
    )
    assert asked
    assert set(asked) == {"cuda"}


@pytest.mark.parametrize("name", ["effect_model", "s_learner", "x_learner", "r_learner"])
def test_effect_learners_hand_the_device_to_every_training(name, monkeypatch):
    X = pd.DataFrame({"a": np.random.default_rng(0).normal(size=400)})
    setting = Setting("binary", infer_variables(X), None, True, device="cuda")
    asked = devices_asked_for(monkeypatch)
    learner = make_effect_learner(name, setting, seed=0)
    learner.fit(X, np.arange(400) % 3 == 0, np.arange(400) % 2, propensity=np.full(400, 0.5))
    assert asked
    assert set(asked) == {"cuda"}


def devices_asked_for(monkeypatch):
    """Note what XGBoost is asked for, and let it compute where it can."""
    asked = []

    def noting(train):
        def noted(params, *arguments, **keywords):
            asked.append(params.get("device"))
            return train({**params, "device": "cpu"}, *arguments, **keywords)

        return noted

    class Noting(xgboost.Booster):
        def __init__(self, params=None, *arguments, **keywords):
            if params:
                asked.append(params.get("device"))
                params = {**params, "device": "cpu"}
            super().__init__(params, *arguments, **keywords)

    monkeypatch.setattr(xgboost, "train", noting(xgboost.train))
    monkeypatch.setattr(xgboost, "Booster", Noting)
    monkeypatch.setattr("xgboost.sklearn.train", noting(xgboost.sklearn.train))
    return asked
