"""Reads a report's HTML for the tests, and holds it against what every page must keep to."""

import itertools
from collections import Counter
from html.parser import HTMLParser
from typing import NamedTuple

VOID = {"meta", "img", "br", "link", "input"}


class Element(NamedTuple):
    tag: str
    attributes: dict
    inside: tuple[str, ...]


class Document(HTMLParser):
    """Elements in order, the text of each, and whether tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.open, self.open_places, self.faults = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append(Element(tag, dict(attrs), tuple(self.open)))
        self.texts.append("")
        if tag not in VOID:
            self.open.append(tag)
            self.open_places.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
            return
        self.open.pop()
        self.open_places.pop()

    def handle_data(self, data):
        for place in self.open_places:
            self.texts[place] += data

    def of(self, *tags):
        return [element for element in self.elements if element.tag in tags]

    def text_of(self, *tags):
        return [
            " ".join(text.split())
            for element, text in zip(self.elements, self.texts, strict=True)
            if element.tag in tags
        ]

    @property
    def text(self):
        return self.text_of("body")[0]

    def rows(self, caption):
        """Return the cells of the table with this caption, a list a row, the head first."""
        found = []
        for place, element in enumerate(self.elements):
            if element.tag == "table" and " ".join(self.texts[place].split()).startswith(caption):
                for follower, text in zip(self.elements[place + 1 :], self.texts[place + 1 :], strict=True):
                    if follower.tag == "table":
                        break
                    if follower.tag == "tr":
                        found.append([])
                    elif follower.tag in {"td", "th"} and "table" in follower.inside:
                        found[-1].append(" ".join(text.split()))
                break
        return found


def check_page(html):
    """Assert that a page stands alone, is well formed and accessible; return it for further looks."""
    page = Document(html)
    assert page.faults == []
    assert page.open == []
    assert page.of("html")[0].attributes["lang"] == "en"
    assert page.of("script", "link", "iframe", "object") == []
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), "no scripts"
            if name == "src":
                assert value.startswith("data:image/png;base64,")
            if name == "href":
                assert value.startswith("#")
    assert "url(" not in html
    assert "@import" not in html
    levels = [int(element.tag[1]) for element in page.of("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    identifiers = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert [name for name, count in Counter(identifiers).items() if count > 1] == []
    for element in page.of("a"):
        assert element.attributes["href"][1:] in identifiers
    for element in page.elements:
        if "aria-labelledby" in element.attributes:
            assert element.attributes["aria-labelledby"] in identifiers
    assert len(page.of("caption")) == len(page.of("table"))
    assert all(page.text_of("caption"))
    assert all("scope" in element.attributes for element in page.of("th"))
    assert all(element.attributes.get("alt") for element in page.of("img"))
    assert page.of("a")[0].attributes == {"class": "skip", "href": "#content"}
    assert page.of("main")[0].attributes["id"] == "content"
    return page
