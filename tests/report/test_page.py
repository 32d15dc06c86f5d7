import base64
import re
import struct
import zlib
from importlib.resources import files

import pytest
from tests.report.reading import check_page

from il7ml.report.page import (
    Bullets,
    Column,
    Facts,
    Group,
    Page,
    Paragraph,
    Picture,
    Section,
    Source,
    Table,
    Verdict,
    render,
)

EVIL = "<script>alert('&\"')</script>"


def png():
    """Return a picture of one white point."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head, data = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0), zlib.compress(b"\x00\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


PARTS = (
    Paragraph("A sentence, P = 0.04."),
    Bullets(("One.", "Two.")),
    Facts((("Seed", "7"),)),
    Verdict("Evidence", "none", "Because."),
    Table(
        "Effects",
        (Column("Endpoint"), Column("Estimate", True)),
        (Group("First", (("death", "0.50"), ("infection", "0.40"))), Group("", (("other", "-"),))),
        "A note.",
    ),
    Table("Behind", (Column("Day"),), (Group("", (("1",),)),), is_folded=True),
    Picture("A caption", "What it shows", png()),
    Source("Configuration", "seed: 7\nlist:\n  - a"),
)
PAGE = Page("A trial", "A against B", "Simulated: not real.", (Section("Results", PARTS), Section("Empty", ())))


def test_a_page_with_every_kind_of_part_is_well_formed_and_accessible():
    page = check_page(render(PAGE))
    assert page.text_of("h1") == ["A trial"]
    assert page.text_of("h2") == ["Results"]  # nothing is said under an empty heading
    assert page.text_of("li") == ["Results", "One.", "Two."]
    assert page.text_of("dt", "dd") == ["Seed", "7"]
    assert page.rows("Effects") == [
        ["Endpoint", "Estimate"],
        ["First"],
        ["death", "0.50"],
        ["infection", "0.40"],
        ["other", "-"],
    ]
    scopes = [element.attributes["scope"] for element in page.of("th")]
    assert scopes[:6] == ["col", "col", "rowgroup", "row", "row", "row"]
    assert [element.attributes.get("class") for element in page.of("td")] == ["number"] * 3
    assert page.text_of("summary") == ["Table: Behind", "Configuration"]


def test_a_picture_is_held_in_the_page_byte_for_byte():
    [image] = check_page(render(PAGE)).of("img")
    assert base64.b64decode(image.attributes["src"].partition(",")[2]) == png()
    assert image.attributes["alt"] == "What it shows"


def test_source_text_keeps_its_lines():
    assert '<pre tabindex="0">seed: 7\nlist:\n  - a</pre>' in render(PAGE)


def test_the_notice_comes_first_stays_and_heads_printed_pages():
    html = render(PAGE)
    page = check_page(html)
    body = page.text
    assert body.index("Simulated: not real.") < body.index("A trial")
    assert re.search(r"\.notice \{\s*position: sticky; top: 0;", html)
    assert '@page { margin-top: 2cm; @top-center { content: "Simulated: not real."' in html


def test_without_notice_there_is_none():
    html = render(PAGE._replace(notice=""))
    check_page(html)
    assert 'class="notice"' not in html
    assert "@top-center" not in html


def test_all_text_is_escaped():
    parts = (
        Paragraph(EVIL),
        Bullets((EVIL,)),
        Facts(((EVIL, EVIL),)),
        Verdict(EVIL, EVIL, EVIL),
        Table(EVIL, (Column(EVIL), Column(EVIL)), (Group(EVIL, ((EVIL, EVIL),)),), EVIL),
        Picture(EVIL, EVIL, png()),
        Source(EVIL, EVIL),
    )
    html = render(Page(EVIL, EVIL, EVIL, (Section(EVIL, parts),)))
    page = check_page(html)
    assert "<script" not in html
    assert page.of("img")[0].attributes["alt"] == EVIL
    style = html[html.index("<style>") + len("<style>") : html.index("</style>")]
    # In the style sheet the notice is a CSS string, in which neither tags nor quotes may stand.
    assert "alert" in style
    assert "<" not in style
    assert "alert('" not in style


def test_numbers_stay_on_a_line_with_their_signs():
    assert "P\u00a0=\u00a00.04" in render(PAGE)


def luminance(colour):
    """Return the relative luminance of a colour as WCAG 2 defines it."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_of_contrast_gives_the_published_ends():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["light", "dark", "print"])
@pytest.mark.parametrize(
    ("front", "back"),
    [("text", "ground"), ("text", "panel"), ("muted", "ground"), ("muted", "panel"), ("link", "ground"),
     ("link", "panel"), ("notice", "notice-ground")],
)  # fmt: skip
def test_text_stands_out_from_its_ground(place, front, back):
    style = (files("il7ml.report") / "templates" / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    assert len(blocks) == 3
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[place]))
    assert contrast(colours[front], colours[back]) >= 4.5  # WCAG 2.2, success criterion 1.4.3, level AA
