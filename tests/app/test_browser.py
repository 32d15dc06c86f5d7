"""The page in a real browser, without and with script: chromium, driven by playwright."""

import contextlib
import shutil

import pytest
from tests.app.running import model_of, running
from tests.small_bundles import PATIENT, make, with_card

from il7ml import texts

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine: the page was not tried in a browser", allow_module_level=True)
playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

KNOWN = {**PATIENT, "antiviral_at_randomisation": 0, "corticosteroid_at_randomisation": 1}
COUNT = "absolute_lymphocyte_count"
DESKTOP, TABLET = {"width": 1280, "height": 800}, {"width": 768, "height": 1024}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Return the address of a service whose model was trained on simulated patients."""
    bundle = with_card(make(treatments=True).bundle, simulated=True)
    with running(model_of(bundle, tmp_path_factory.mktemp("model"))) as service:
        yield f"http://127.0.0.1:{service.port}/"


@pytest.fixture(scope="module")
def browser():
    # Debian's chromium has no sandbox for root, which is what containers run as; the page is our own.
    with playwright_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(request, browser, address):
    """Return the form, without script unless asked for; the test fails if the page complains or asks anybody else."""
    scripted = getattr(request, "param", False)
    with contextlib.closing(browser.new_context(java_script_enabled=scripted, viewport=DESKTOP)) as context:
        found = context.new_page()
        complaints = []
        found.on("console", lambda message: complaints.append(message.text))
        found.on("pageerror", lambda error: complaints.append(str(error)))
        found.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith(address) else None)
        found.goto(address)
        yield found
        # A refused entry comes with status 422, which the browser notes in its console.
        assert [text for text in complaints if "status of 422" not in text and "favicon" not in text] == []


def fill(page, **changes):
    for name, value in {**KNOWN, **changes}.items():
        if name in ("respiratory_support", "diabetes") or name.endswith(("randomisation", "__unit")):
            page.select_option(f"[name={name}]", str(value))
        else:
            page.fill(f"[name={name}]", str(value))


@pytest.mark.parametrize("page", [False, True], ids=["no script", "script"], indirect=True)
def test_fill_and_submit(page):
    fill(page)
    page.get_by_role("button", name="Show the answer").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Invented outcome"
    assert page.get_by_role("row", name="With Placebo").is_visible()
    assert page.locator("rect.treated").bounding_box()["width"] < page.locator("rect.untreated").bounding_box()["width"]
    assert page.get_by_text("Number needed to treat").is_visible()
    assert page.get_by_label("Age").input_value() == "62"


def test_the_banner_stays_in_sight_at_the_end_of_a_long_page(page):
    fill(page)
    page.get_by_role("button", name="Show the answer").click()
    page.get_by_role("button", name="Show the answer").scroll_into_view_if_needed()
    banner = page.get_by_role("note")
    assert banner.inner_text() == texts.SIMULATED
    assert page.evaluate("scrollY") > 500
    assert banner.bounding_box()["y"] == 0


def test_a_value_in_another_unit_is_refused_and_then_read_in_it(page):
    fill(page, **{COUNT: "500"})
    page.get_by_role("button", name="Show the answer").click()
    assert page.title().startswith("Error: ")
    page.get_by_role("alert").get_by_role("link", name="Absolute lymphocyte count").click()
    assert page.evaluate("location.hash") == f"#{COUNT}"
    page.get_by_label("Unit of absolute lymphocyte count").select_option("cells/uL")
    page.get_by_role("button", name="Show the answer").click()
    row = page.get_by_role("row", name="Absolute lymphocyte count 500 cells/uL")
    assert "0.5 10^9/L" in row.inner_text()


def test_a_missing_value_is_asked_for_and_the_others_are_kept(page):
    fill(page, age="")
    page.get_by_role("button", name="Show the answer").click()
    assert "1 entry needs to be changed" in page.get_by_role("alert").inner_text()
    assert page.locator("[name=age]").get_attribute("aria-invalid") == "true"
    assert page.locator(f"[name={COUNT}]").input_value() == "0.5"
    page.get_by_label("Age").fill("62")
    page.get_by_role("button", name="Show the answer").click()
    assert page.get_by_role("row", name="With IL-7").is_visible()


@pytest.mark.parametrize("page", [False, True], ids=["no script", "script"], indirect=True)
def test_comparison_and_back(page):
    fill(page)
    page.get_by_role("button", name="Compare with similar patients").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Patients like this one but with ..."
    label = "differences between patients, not effects of changing a treatment; only IL-7 was randomised"
    assert page.get_by_text(label).is_visible()
    assert page.get_by_role("table").first.get_by_role("row").count() == 5
    page.get_by_role("textbox", name="Absolute lymphocyte count").fill("0.9")
    page.get_by_label("Antiviral at randomisation").select_option("")
    page.get_by_role("button", name="Compare again").click()
    assert page.get_by_role("row", name="Absolute lymphocyte count 0.9 10^9/L").is_visible()
    assert page.get_by_role("table").first.get_by_role("row").count() == 4
    page.get_by_role("button", name="Back to this patient's answer").click()
    assert page.get_by_role("row", name="Absolute lymphocyte count 0.5 10^9/L 0.5 10^9/L").is_visible()


def test_on_paper_are_the_answer_and_the_notice_but_no_form(page):
    fill(page)
    page.get_by_role("button", name="Show the answer").click()
    page.emulate_media(media="print")
    assert page.get_by_text(texts.SIMULATED).is_visible()
    assert page.get_by_role("row", name="With Placebo").is_visible()
    assert page.get_by_text(texts.INTENDED_USE).is_visible()
    assert not page.get_by_role("button").first.is_visible()
    assert page.pdf().startswith(b"%PDF-")


def test_the_keyboard_alone_suffices_and_goes_in_the_order_of_the_page(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    places = []
    for _ in range(page.locator("main :is(input, select, button, a)").count()):
        page.keyboard.press("Tab")
        places.append(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert places == sorted(set(places))
    # Backwards, where the banner that stays on top could hide what has the focus (WCAG 2.2, success criterion 2.4.11).
    banner = page.get_by_role("note").bounding_box()["height"]
    for _ in places:
        assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= banner
        page.keyboard.press("Shift+Tab")
    page.get_by_label("Age").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    fill(page)
    page.get_by_label("Age").press("Enter")
    assert page.get_by_role("row", name="With Placebo").is_visible()


@pytest.mark.parametrize("size", [DESKTOP, TABLET, {"width": 320, "height": 640}], ids=["desktop", "tablet", "phone"])
def test_targets_are_large_enough_and_nothing_runs_off_the_page(page, size):
    """WCAG 2.2, success criteria 2.5.8 (24 pixels) and 1.4.10 (no scrolling sideways at a width of 320 pixels)."""
    page.set_viewport_size(size)
    fill(page)
    for button in ("", "Show the answer", "Compare with similar patients"):
        if button:
            page.get_by_role("button", name=button).first.click()
        for target in page.locator("main :is(input:not([type=hidden]), select, button, a.button)").all():
            box = target.bounding_box()
            assert min(box["width"], box["height"]) >= 24
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
