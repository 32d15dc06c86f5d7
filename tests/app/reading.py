"""Reads the service's pages for the tests."""

import itertools
from collections import Counter

from tests.report.reading import Document


def read(reply):
    """Return the page, held against what every page must keep to."""
    page = Document(reply.text)
    assert page.faults == []
    assert page.open == []
    assert page.of("html")[0].attributes["lang"] == "en"
    assert page.of("script", "style", "iframe", "object") == []
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
    assert [link.attributes["href"] for link in page.of("link")] == ["/style.css"]
    identifiers = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert [name for name, count in Counter(identifiers).items() if count > 1] == []
    for link in page.of("a"):
        assert link.attributes["href"] == "/" or link.attributes["href"][1:] in identifiers
    levels = [int(element.tag[1]) for element in page.of("h1", "h2", "h3")]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    labelled = {label.attributes["for"] for label in page.of("label")}
    shown = [control for control in page.of("input", "select") if control.attributes.get("type") != "hidden"]
    for control in shown:
        assert control.attributes.get("id") in labelled or control.attributes.get("aria-label")
        assert set(control.attributes.get("aria-describedby", "").split()) <= set(identifiers)
    for element in page.elements:
        if "aria-labelledby" in element.attributes:
            assert element.attributes["aria-labelledby"] in identifiers
    assert all(drawing.attributes["aria-label"] for drawing in page.of("svg"))
    assert all("scope" in head.attributes for head in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))
    return page
