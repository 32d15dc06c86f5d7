"""Photograph MLflow's pages for the documentation: the runs, runs compared along parallel axes, one run, one model.

Needs chromium and the package playwright. The pictures in docs/img are of a sweep and two trainings in one store:

    il7ml sweep configs/sweep_il7_trial.yaml
    il7ml train configs/il7_trial.yaml
    il7ml train configs/cgd.yaml
    il7ml promote RUN
    python benchmarks/screenshots_mlflow.py
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from mlflow.tracking import MlflowClient
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from il7ml.tracking.location import resolve_uri, ui_command

ROOT = Path(__file__).parents[1]
_SIZE = (1500, 950)
_COLOURS = 96  # enough for text and lines; a fifth of the bytes
_START_S = 120
#: What unfolds the candidates of the first run.
_CANDIDATES = "[role=gridcell] button >> visible=true"


def free_port() -> int:
    """Return a port that nobody listens to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(address: str) -> None:
    """Return once a server answers."""
    for _ in range(_START_S):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise SystemExit(f"MLflow's pages did not come up within {_START_S} seconds.")


def tidy(page: Page, address: str) -> None:
    """Choose the view of model training and close what covers the pages: the assistant and the registry's greeting."""
    page.goto(f"{address}/#/models")
    for name in ("Try it now", "Model training"):
        page.get_by_text(name, exact=True).first.click(timeout=60_000)
    assistant = page.get_by_text("MLflow Assistant").first
    assistant.wait_for(timeout=60_000)
    assistant.locator("xpath=ancestor::*[.//button][1]").get_by_role("button").last.click()


def photograph(page: Page, address: str, path: Path, *unfold: str) -> None:
    """Open an address, click on what unfolds it and write what is visible as a PNG of few colours."""
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_timeout(4000)  # the pages load their parts one after the other
    for each in unfold:
        page.locator(each).first.click(timeout=60_000)
        page.wait_for_timeout(2000)
    image = Image.open(io.BytesIO(page.screenshot()))
    image.convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")


def main() -> None:
    """Photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uri", help="tracking store (default: the project's)")
    parser.add_argument("--experiment", default="il7_trial")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img")
    given = parser.parse_args()
    uri, port = resolve_uri(given.uri), free_port()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(given.experiment)
    if experiment is None:
        raise SystemExit(f"No experiment {given.experiment!r} in this store.")
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    trainings = [run for run in runs if "log_loss" in run.data.metrics and "risk_model" in run.data.tags]
    first = next(run.info.run_id for run in trainings if "mlflow.parentRunId" not in run.data.tags)
    several = [run.info.run_id for run in trainings if "mlflow.parentRunId" in run.data.tags][:6]
    home = f"http://127.0.0.1:{port}/#"
    within = f"{home}/experiments/{experiment.experiment_id}"
    asked = urllib.parse.urlencode({"runs": json.dumps(several), "experiments": json.dumps([experiment.experiment_id])})
    command, environment = ui_command(uri, "127.0.0.1", port)
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}")
            with sync_playwright() as play:
                browser = play.chromium.launch(executable_path=shutil.which("chromium"))
                page = browser.new_page(viewport={"width": _SIZE[0], "height": _SIZE[1]})
                tidy(page, f"http://127.0.0.1:{port}")
                photograph(page, f"{within}/runs", given.out / "mlflow-runs.png", _CANDIDATES)
                photograph(page, f"{within}/runs/{first}", given.out / "mlflow-run.png", "text=Show more")
                photograph(page, f"{home}/compare-runs?{asked}", given.out / "mlflow-compare.png")
                photograph(page, f"{home}/models", given.out / "mlflow-models.png")
                browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
