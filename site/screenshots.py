"""The pictures of docs/images: board, answers, card and site, as a reader's Chromium shows them.

    make docs && python site/screenshots.py STORE        # STORE: with a run of recipes/nano.yaml, for example

Each is 1,240 × 800 points and in 128 colours, so that it is small. Needs chromium and pillow.
"""

import argparse
import html
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.chromium import Chromium, Tab  # noqa: E402

IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1240, 800
MOST = 150_000
"""Bytes of a picture."""
CARD = """<!doctype html><meta charset="utf-8"><title>card</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; color: #1f2328; }
table { border-collapse: collapse; } td, th { border: 1px solid #d0d7de; padding: 4px 10px; }
h1, h2 { border-bottom: 1px solid #d0d7de; padding-bottom: 6px; }
code, pre { background: #f6f8fa; font-size: 90%; } pre { padding: 1em; overflow: auto; }
</style>"""
TICK = """document.querySelectorAll("details.run").forEach((run) => {
  run.open = true;
  const boxes = [...run.querySelectorAll("li")].filter((step) => step.innerText.startsWith("rlvr"));
  boxes.map((step) => step.querySelector("input")).filter((box) => box && !box.checked).forEach((box) => box.click());
})"""
"""Both policies' curves, over one another."""
GAINED = """[...document.querySelectorAll("button")].find((each) => each.innerText.startsWith("gained")).click()"""


def shoot(tab: Tab, name: str, *, dark: bool = False, width: int = WIDTH, height: int = HEIGHT) -> None:
    """What the tab shows, as docs/images/NAME.png."""
    from base64 import b64decode

    from PIL import Image

    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    tab.call("Emulation.setEmulatedMedia", features=features)
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
    tab.run("new Promise((done) => setTimeout(done, 1200))")
    told = tab.call("Page.captureScreenshot", format="png")
    IMAGES.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(b64decode(told["data"]))).convert("RGB")
    path = IMAGES / f"{name}.png"
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
    assert path.stat().st_size <= MOST, path


@contextmanager
def board(store: Path) -> Iterator[str]:
    """The board's address; its page is made as one file, which needs no server."""
    from bactrian.report.board.board_page import export

    with tempfile.TemporaryDirectory() as folder:
        yield f"file://{export(store, Path(folder) / 'board.html')}"


def card_page(store: Path, run: str, step: str, folder: Path) -> Path:
    """The card of a step's model, as a site that shows Markdown would."""
    import markdown

    import bactrian as bt

    model = bt.load(step, run=run, store=store)
    assert isinstance(model, bt.Model)
    text = (model.export(folder / step, name=step) / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    page = CARD + f"<pre>{html.escape(header)}</pre>" + markdown.markdown(body, extensions=["tables", "fenced_code"])
    (folder / "card.html").write_text(page)
    return folder / "card.html"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("store", type=Path)
    options.add_argument("--run", default="nano")
    options.add_argument("--site", type=Path, default=ROOT / "build" / "site", help="what `make docs` made")
    options.add_argument("--only", default="", help="a picture's name")
    given = options.parse_args()
    os.environ["BACTRIAN_NO_REEXEC"] = "1"
    with tempfile.TemporaryDirectory() as place, Chromium(Path(place) / "chromium") as browser:
        tab = browser.tab()
        with board(given.store) as address:
            if given.only in ("", "board"):
                tab.open(address)
                tab.wait("document.querySelectorAll('svg').length > 1")
                tab.run(TICK)
                shoot(tab, "board")
                shoot(tab, "board-phone", dark=True, width=390, height=760)
            if given.only in ("", "answers"):
                tab.open(f"{address}#{answers(given.store, given.run)}")
                tab.wait("document.body.innerText.includes('right answer')")
                tab.run(GAINED)
                shoot(tab, "answers")
        if given.only in ("", "card"):
            tab.open(f"file://{card_page(given.store, given.run, 'rlvr', Path(place))}")
            shoot(tab, "card")
        if given.only in ("", "site"):
            tab.open(f"file://{given.site / 'stages' / 'sft.html'}")
            shoot(tab, "site")


def answers(store: Path, run: str) -> str:
    """The part of the board's address that lays two models of the last evaluation side by side."""
    (step,) = (path for path in (store / run).iterdir() if (path / "questions.parquet").is_file())
    return f"samples={step.resolve().name}&model=1&beside=0&row="


if __name__ == "__main__":
    main()
