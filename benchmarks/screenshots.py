"""Photograph the page for the documentation: form, answer and comparison, on a desktop and a tablet.

Needs chromium and the package playwright. The pictures in docs/img are of the model and patient of docs/clinician.md:

    il7ml train configs/il7_trial.yaml
    python benchmarks/screenshots.py --model RUN
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import threading
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from il7ml.app.current_model import CurrentModel
from il7ml.app.service import create_app
from il7ml.app.serving import configure, listen

ROOT = Path(__file__).parents[1]
SIZES = {"desktop": (1280, 800), "tablet": (768, 1024)}
_COLOURS = 64  # enough for text and bars; a fifth of the bytes


def fill(page: Page, patient: dict[str, object]) -> None:
    """Enter a patient; what the model does not ask for is left out."""
    for name, value in patient.items():
        for control in page.locator(f"main [name={name}]").all():
            if control.evaluate("control => control.tagName") == "SELECT":
                control.select_option(str(value))
            else:
                control.fill(str(value))


def photograph(page: Page, path: Path) -> None:
    """Write the visible part of the page as a PNG of few colours."""
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    image = Image.open(io.BytesIO(page.screenshot()))
    image.convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")


def main() -> None:
    """Photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="champion", help="as for il7ml serve")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img")
    given = parser.parse_args()
    patient = json.loads((ROOT / "data" / "il7_trial" / "patient.json").read_text(encoding="utf-8"))
    current = CurrentModel(Path(given.model) if Path(given.model).is_dir() else given.model)
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(configure(create_app(current)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for size, (width, height) in SIZES.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(address)
                fill(page, patient)
                photograph(page, given.out / f"page-form-{size}.png")
                page.get_by_role("button", name="Show the answer").click()
                photograph(page, given.out / f"page-answer-{size}.png")
                page.get_by_role("button", name="Compare with similar patients").click()
                photograph(page, given.out / f"page-comparison-{size}.png")
            browser.close()
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
