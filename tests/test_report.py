"""The report: self-contained, escaped, read by a real browser with a keyboard."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cases import small_image, small_mask
from firenet import SubsampledFourier
from firenet.audit import Audit, Settings, audit
from firenet.audit.model import Model
from firenet.audit.report import compared, render, write_report
from firenet.audit.report_curves import COLOURS, curve
from firenet.audit.report_text import EXPLAINED
from firenet.errors import BadInput
from firenet.images import ellipses
from firenet.models.firenets import firenet_model
from firenet.sensing.masks import nested

SIDE = 32
MASK = small_mask(SIDE)
HOSTILE = "<script>document.title='gotcha'</script>\"'&"
CHROMIUM = Path("/usr/bin/chromium")
browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium")


@pytest.fixture(scope="module")
def made() -> Audit:
    settings = Settings(budgets=(0.003, 0.01), steps=3, starts=1, contrasts=(0.5, 0.1), noise=(0.02, 0.05))
    models = [
        Model("adjoint", lambda sensing: lambda y: sensing.adjoint(y).real, {"kind": HOSTILE}),
        Model(HOSTILE, lambda sensing: lambda y: 3 * sensing.adjoint(y).real.detach(), {}),
        Model("broken", lambda sensing: lambda y: (_ for _ in ()).throw(ValueError(HOSTILE)), {}),
        firenet_model("tv", 2, 4),
    ]
    x = small_image(SIDE)
    others = {HOSTILE: ellipses(SIDE, torch.Generator().manual_seed(0))}
    sweep = {r: SubsampledFourier(m) for r, m in nested(MASK, (0.2, 0.6)).items()}
    return audit(models, SubsampledFourier(MASK), {"s1045": x}, settings=settings, others=others, sweep=sweep)


@pytest.fixture(scope="module")
def path(made: Audit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "audit.html"
    size = write_report(path, [made, replace(made, title="Second " + HOSTILE)], command=f"firenet '{HOSTILE}'")
    assert size == path.stat().st_size < 10_000_000
    return path


def test_nothing_is_loaded_and_nothing_is_unescaped(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "<script>document" not in text
    assert len(re.findall("<script", text)) == 1
    assert not re.findall(r"""(?:src|href)=["'](?!data:image/png;base64,|#)""", text)
    assert "http" not in text.lower().replace("http-equiv", "")
    assert not re.findall(r"\son\w+=|javascript:", text)
    assert "default-src 'none'" in text


def test_every_test_is_explained_with_its_source(made: Audit, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for row in made.rows:
        title, _, source = EXPLAINED[row.test]
        assert title in text
        assert source
    assert made.images["s1045"]["sha256"] in text
    assert "seed" in text
    assert "has no gradient" in text


def test_ratios_are_those_of_the_rows(made: Audit) -> None:
    (own,), (other,) = made.of("FIRENET", "worst"), made.of("adjoint", "worst")
    a, b = own.numbers["amplification"][1], other.numbers["amplification"][1]
    (said,) = compared(made)
    assert f"FIRENET {a:.2f}" in said
    assert f"adjoint {b:.2f} ({b / a:.2f} times" in said
    assert compared(made, "nobody") == []


def test_one_that_is_too_large_goes_without_pictures(
    made: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firenet.audit import report

    with_pictures = len(render([made], command="", title="x"))
    without = len(render([made], command="", title="x", pictured=0))
    assert without < with_pictures
    monkeypatch.setattr(report, "MOST_BYTES", (without + with_pictures) // 2)
    assert write_report(tmp_path / "x.html", [made], command="") < with_pictures
    monkeypatch.setattr(report, "MOST_BYTES", 1000)
    with pytest.raises(BadInput, match="at most 1000 bytes"):
        write_report(tmp_path / "y.html", [made], command="")
    with pytest.raises(BadInput, match="html"):
        write_report(tmp_path / "y.pdf", [made], command="")
    assert [p.name for p in tmp_path.iterdir()] == ["x.html"]


@pytest.mark.parametrize("log", [False, True])
def test_curves_of_odd_numbers(log: bool) -> None:
    at = [0.0, 0.1, 0.2] if not log else [0.05, 0.1, 0.2]
    for line in ([1.0, None, 2.0], [float("inf")] * 3, [0.0, 0.0, 0.0], [float("nan"), 1.0, 1.0], [1.0, 1.0, 1.0]):
        text = curve([(HOSTILE, line, None, False), ("b, random", line, line, True)], at, "x", "y", log=log)
        assert text.startswith("<svg")
        assert "nan" not in text
        assert "inf" not in re.sub("infinite|No finite", "", text)
        assert "<script" not in text


def luminance(colour: str) -> float:
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
def test_lines_have_a_contrast_of_text(colour: str) -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast(colour, "#ffffff") >= 4.5


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert shutil.which(str(CHROMIUM))
    with sync_playwright() as p:
        running = p.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(chromium: Any, path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    width = getattr(request, "param", 1100)
    context = chromium.new_context(viewport={"width": width, "height": 800}, offline=True)
    opened = context.new_page()
    opened.set_default_timeout(300_000)  # a busy machine is no fault of the page
    opened.errors = []
    opened.on("console", lambda m: opened.errors.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda e: opened.errors.append(str(e)))
    opened.on("request", lambda r: opened.errors.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    opened.goto(path.as_uri())
    yield opened
    assert opened.errors == []
    context.close()


@browser
@pytest.mark.parametrize("page", [1100, 400], indirect=True)
def test_it_is_read_on_a_desk_and_on_a_phone(page: Any) -> None:
    assert page.title() == "Stability audit"
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # only tables scroll sideways
    first = page.locator("h3").first
    assert first.inner_text() == "Verdict"
    assert page.locator(".mark").count() > 10
    assert page.locator("img").evaluate_all("es => es.every(e => e.complete && e.naturalWidth > 0 && e.alt)")
    picture = np.asarray(image(page.screenshot(full_page=True)))
    assert picture.shape[0] > 3000
    assert picture.std() > 5
    # nothing large is empty: of every screenful some part is drawn
    for top in range(0, picture.shape[0] - 800, 800):
        assert picture[top : top + 800].std() > 1
    for section in page.locator(".curve svg").all():
        drawn = np.asarray(image(section.screenshot()))
        assert drawn.std() > 5


def image(data: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(data)).convert("L")


@browser
def test_the_slider_the_blink_and_the_zoom_by_keyboard(page: Any) -> None:
    figure = page.locator("[data-compare]").first
    figure.scroll_into_view_if_needed()
    slider, over = figure.locator("input"), figure.locator(".over")
    slider.focus()
    assert page.evaluate("document.activeElement.type") == "range"
    before = over.evaluate("e => getComputedStyle(e).clipPath")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert slider.input_value() == "60"
    after = over.evaluate("e => getComputedStyle(e).clipPath")
    assert (before, after) == ("inset(0px 0px 0px 50%)", "inset(0px 0px 0px 60%)")
    page.keyboard.press("Home")
    with_ = figure.locator(".pair").screenshot()
    page.keyboard.press("End")
    without = figure.locator(".pair").screenshot()
    assert with_ != without
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Blink"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.locator(".blinking.second").first.wait_for(state="attached")
    page.keyboard.press("Enter")
    assert figure.get_attribute("class") == "compare"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert "zoomed" in figure.get_attribute("class")
    wide = figure.locator(".pair").evaluate("e => e.clientWidth / e.parentElement.clientWidth")
    assert wide > 2.5
    page.keyboard.press("Space")
    assert "zoomed" not in figure.get_attribute("class")


@browser
def test_the_numbers_behind_a_curve_open_with_the_keyboard(page: Any) -> None:
    details = page.locator(".curve details").first
    summary = details.locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert details.evaluate("e => e.open")
    assert details.locator("tbody tr").count() > 3


@browser
def test_contrast_names_and_order_are_accessible(page: Any) -> None:
    """WCAG 2.1: contrast of every text of 4.5, names for all that is operated, headings without gaps, a language."""
    pairs = page.evaluate("""() => [...document.querySelectorAll('body *')].filter(e =>
        [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length
    ).map(e => {
        let ground = e;
        while (ground && getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
        const svg = e.closest('svg');
        return [svg ? getComputedStyle(e).fill : getComputedStyle(e).color,
                ground ? getComputedStyle(ground).backgroundColor : 'rgb(255, 255, 255)'];
    })""")
    assert len(pairs) > 100
    for pair in set(map(tuple, pairs)):
        a, b = ("#" + "".join(f"{int(v):02x}" for v in re.findall(r"\d+", c)[:3]) for c in pair)
        assert contrast(a, b) >= 4.5, pair
    assert page.locator("html").get_attribute("lang") == "en"
    levels = page.locator("h1, h2, h3").evaluate_all("es => es.map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert page.locator("button").evaluate_all("es => es.every(e => e.textContent.trim())")
    assert page.locator("input").evaluate_all("es => es.every(e => e.getAttribute('aria-label'))")
    assert page.locator("[id]").evaluate_all("es => new Set(es.map(e => e.id)).size === es.length")
    targets = page.locator("a[href^='#']").evaluate_all("es => es.every(e => document.querySelector(e.hash))")
    assert targets


@browser
def test_it_prints(page: Any) -> None:
    page.emulate_media(media="print")
    assert not page.locator("button").first.is_visible()
    data = page.pdf(width="210mm", height="297mm")
    assert data.startswith(b"%PDF")
    assert len(data) > 20_000
