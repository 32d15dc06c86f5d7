"""The demonstration: two models trained, promoted and asked about a patient, by the same commands that a user types."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

from il7ml.errors import InputError

_CONFIGS = ("configs/cgd.yaml", "configs/il7_trial.yaml")
_PATIENT = Path("data/il7_trial/patient.json")
_FAST = (
    "validation.repeats=2",
    "validation.bootstrap=200",
    "validation.refits=20",
    "effect.repeats=2",
    "effect.permutations=500",
    "refits=20",
)


def demo(*, fast: bool = False) -> None:
    """Train, promote and predict; the model of the IL-7 trial is promoted last and becomes the default.

    Raises
    ------
    InputError
        If it is not run from the project's folder.
    """
    # The faces meet here only: everything goes through the command line's own door.
    from il7ml.config import RunConfig
    from il7ml.predictor import load_predictor
    from il7ml.progress import report
    from il7ml.tracking import promote
    from il7ml.training import train

    if missing := [path for path in (*_CONFIGS, str(_PATIENT)) if not Path(path).is_file()]:
        raise InputError(f"demo: {missing[0]} is not here. Run it in the project's folder (make demo).")
    for path in _CONFIGS:
        start = time.perf_counter()
        _say("il7ml", "train", path)
        config = RunConfig.from_file(path, _FAST if fast else ())
        run = train(config, steps=report, root=Path.cwd())
        result = run.result
        print(f"{result.title}: {result.endpoint_title}")
        for note in result.notes:
            print(f"  {note}")
        print(f"  risk model: {result.selected}. {result.selection_reason}")
        average = result.metrics["ate"]
        print(f"  average effect: {average.value:+.3f} ({average.low:+.3f} to {average.high:+.3f})")
        print(f"  heterogeneity: {result.evidence}. {result.evidence_reason}")
        print(f"  run {run.run_id} in {time.perf_counter() - start:.0f} s")
        _say("il7ml", "promote", run.run_id)
        model = promote(run.run_id, force=True, reason="demonstration")
        print(f"champion: {model.name} version {model.version}")
    _say("il7ml", "predict", "--patient", str(_PATIENT))
    patient = json.loads(_PATIENT.read_text(encoding="utf-8"))
    print(load_predictor().predict(patient).to_text())
    print("\nLook at the runs: .venv/bin/il7ml ui")


def _say(*command: str) -> None:
    print(f"\n$ {shlex.join(command)}", flush=True)
