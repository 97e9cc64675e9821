"""The board's page: what its scripts may do, what its numbers are, and in a real browser what a reader sees."""

import base64
import gzip
import json
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fabricate import write_run
from test_board import serving
from test_report import HOSTILE, Page, poison

from bactrian.chat.folding import bare
from bactrian.cli.main import invoke
from bactrian.evaluate.statistics import clustered_wilson, mcnemar, wilson
from bactrian.report import write_report
from bactrian.report.board.board_page import SCRIPTS, export
from bactrian.report.formatting import visible
from bactrian.report.html import HERE

CODE = {name: (HERE / name).read_text() for name in SCRIPTS}
NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium") or shutil.which("chromium-browser")
with_node = pytest.mark.skipif(NODE is None, reason="no node here to run the page's functions")


def test_no_script_can_make_markup_or_code_of_a_text() -> None:
    for name, code in CODE.items():
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            ".style.cssText",
        ):
            assert way not in code, (name, way)
        assert not re.search(r"setTimeout\(\s*[\"'`]", code), name
        assert "</script" not in code.lower() and "<!--" not in code


def pieces(page: str) -> dict[str, Any]:
    found = re.findall(r'<script type="text/plain" data-piece="([^"]*)">([A-Za-z0-9+/=]*)</script>', page)
    return {name: json.loads(gzip.decompress(base64.b64decode(packed))) for name, packed in found}


def test_the_file_holds_every_answer_and_asks_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "store")
    assert invoke(["board", "--store", str(run.parent), "--export", str(tmp_path / "page.html")]) == 0
    assert "page.html" in capsys.readouterr().out
    source = (tmp_path / "page.html").read_text()
    held = pieces(source)
    assert "connect-src" not in source and len(held["runs"]["runs"]) == 1
    (name,) = (each for each in held if each.startswith("samples:"))
    rows = pq.read_table(run.parent / "artifacts" / name.partition(":")[2] / "questions.parquet").to_pylist()
    told = [row for number in range(100) for row in held.get(name.replace("samples", "texts") + f":{number}", [])]
    prompts = held[name.replace("samples", "prompts")]["prompts"]
    assert [row["completion"] for row in told] == [row["completion"] for row in rows]
    assert [prompts[row["p"]] for row in told] == [row["prompt"] for row in rows]
    assert sum(each.startswith("curves:") for each in held) == 3
    assert invoke(["board", "--store", str(run.parent), "--export", str(tmp_path / "none" / "page.html")]) == 2


def test_hostile_text_in_the_file_is_packed(tmp_path: Path) -> None:
    poison(write_run(tmp_path / "store"))
    source = export(tmp_path / "store", tmp_path / "page.html").read_text()
    assert "alert(1)" not in source and Page(source).count("img") == 0
    assert any(HOSTILE[:20] in row["completion"] for row in next(v for k, v in pieces(source).items() if "texts:" in k))


def in_node(scripts: Sequence[str], expression: str) -> Any:
    assert NODE
    code = "\n".join(CODE[f"board/{name}.js"] for name in scripts) + f"\nconsole.log(JSON.stringify({expression}));"
    done = subprocess.run([NODE, "-"], input=code, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@with_node
def test_the_page_s_intervals_and_tests_are_those_of_the_library() -> None:
    draw = random.Random(3)
    shares = [(right, n) for n in (1, 2, 7, 300, 5000) for right in {0, 1, n // 3, n}]
    means = [[draw.randrange(5) / 4 for _ in range(n)] for n in (1, 2, 50, 400)] + [[1.0] * 9, [0.0] * 4]
    pairs = [
        ([draw.randrange(2) for _ in range(n)], [draw.randrange(3) // 2 for _ in range(n)]) for n in (1, 5, 80, 900)
    ]
    pairs += [([0, 1], [0, 1]), ([0] * 2000, [1] * 2000)]
    told = in_node(
        ["stats"],
        f"[{json.dumps(shares)}.map(([r, n]) => wilson(r, n)), {json.dumps(means)}.map((m) => clusteredWilson(m, 4)), "
        f"{json.dumps(pairs)}.map(([a, b]) => paired(a, b))]",
    )
    for found, (right, n) in zip(told[0], shares, strict=True):
        assert found == pytest.approx(wilson(right, n), abs=1e-12)
    for found, each in zip(told[1], means, strict=True):
        assert found == pytest.approx(clustered_wilson(each, 4), abs=1e-12)
    for found, (before, after) in zip(told[2], pairs, strict=True):
        right = mcnemar([bool(x) for x in before], [bool(x) for x in after])
        assert found["interval"] == pytest.approx(right.interval, abs=1e-12)
        assert found["p"] == pytest.approx(right.p, rel=1e-6, abs=1e-300)
        assert (found["gained"], found["lost"], found["difference"]) == (right.gained, right.lost, right.difference)


@with_node
def test_the_normal_s_tail_and_a_paired_test_of_part_marks() -> None:
    from scipy.stats import norm

    at = [0.0, 0.3, 1.0, 1.96, 2.999, 3.0, 5.0, 9.0]
    assert in_node(["stats"], f"{at}.map(upperTail)") == pytest.approx(norm.sf(at).tolist(), rel=1e-9)
    found = in_node(["stats"], "paired([0.5, 0, 1, 0.25], [1, 0.5, 1, 0.5])")
    change = [0.5, 0.5, 0.0, 0.25]
    error = (sum((x - 0.3125) ** 2 for x in change) / 3 / 4) ** 0.5
    assert found["test"] == "paired z" and found["p"] == pytest.approx(2 * norm.sf(0.3125 / error))


@with_node
def test_changes_of_bits_per_byte_are_told_in_bits_and_less_is_better() -> None:
    asked = "[changeOf(1.2, 0.9, true), changeOf(0.9, 0.8, true), changeOf(1, 1, true), changeOf(0.2, 0.9, false), "
    asked += "differenceText(-0.1, true), differenceText(0.00001, true), differenceText(0.387, false)]"
    found = in_node(["dom", "stats"], asked)
    assert found == ["gained", "gained", "same", "gained", "−0.100", "0.000", "+38.7"]


@with_node
def test_texts_are_made_visible_and_bare_as_python_does_it() -> None:
    texts = [HOSTILE, "a\x00b\u202ec\r\nd\te", "\ud800 \U000e0041 \ufeff", "plain é 漢 👍", "\x7f\x9f\xad\u2066\ufffe"]
    assert in_node(["dom"], f"{json.dumps(texts)}.map(visible)") == [visible(text) for text in texts]
    prompts = [
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        "[INST] Why? [/INST]",
        "<|user|>\nWhy?\n<|assistant|>\n",
        "a<b|>c",
    ]
    assert in_node(["source"], f"{json.dumps(prompts)}.map(bare)") == [bare(prompt) for prompt in prompts]


@with_node
def test_differences_put_together_are_the_texts_again() -> None:
    draw = random.Random(1)
    words = ["a ", "b ", "c. ", "d\n", "é", "12"]
    texts = [["".join(draw.choice(words) for _ in range(draw.randrange(40))) for _ in range(2)] for _ in range(60)]
    texts += [["", ""], ["x " * 4000, "y " * 4000], ["same", "same"]]
    for (first, second), (left, right) in zip(
        texts, in_node(["detail"], f"{json.dumps(texts)}.map(([a, b]) => differences(a, b))"), strict=True
    ):
        assert "".join(piece for piece, _ in left) == first and "".join(piece for piece, _ in right) == second
        kept = ["".join(piece for piece, shared in side if shared) for side in (left, right)]
        assert kept[0] == kept[1]
        assert (first != second) or all(shared for _, shared in [*left, *right])


def seen(address: str, folder: Path) -> str:
    """The document as Chromium has it after the page's scripts have run."""
    if CHROMIUM is None:
        pytest.skip("no chromium here to show the page in")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [
        f"--user-data-dir={folder}",
        "--window-size=1200,900",
        "--virtual-time-budget=8000",
        "--dump-dom",
        address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert "<html" in done.stdout, done.stderr[-2000:]
    return done.stdout


def many_answers(path: Path, many: int) -> None:
    numbers = range(many)
    columns = {
        "model": ["base" if n % 2 else "tuned" for n in numbers],
        "task": ["t"] * many,
        "mode": ["greedy"] * many,
        "question": [str(n // 2) for n in numbers],
        "sample": [0] * many,
        "prompt": [f"{HOSTILE}\n\nQ: number {n // 2} {HOSTILE}\nA:" for n in numbers],
        "completion": [f"It is {n}. {HOSTILE}" for n in numbers],
        "ground_truth": [HOSTILE] * many,
        "extracted": [HOSTILE] * many,
        "score": [float(n % 3 == 0) for n in numbers],
        "outcome": ["right" if n % 3 == 0 else "wrong" for n in numbers],
        "tokens": [n % 90 for n in numbers],
        "finish": ["stop"] * many,
    }
    pq.write_table(pa.table(columns), path)


@pytest.mark.slow
def test_a_browser_shows_fifty_thousand_hostile_answers_and_keeps_few_in_the_document(tmp_path: Path) -> None:
    run = write_run(tmp_path / "store")
    poison(run)
    (folder,) = (each.parent for each in run.parent.glob("artifacts/*/questions.parquet"))
    many_answers(folder / "questions.parquet", 50_000)
    before, after = ([n % 3 == 0 for n in range(first, 50_000, 2)] for first in (0, 1))
    right = mcnemar(before, after)
    with serving(run.parent) as server:
        words = f"samples={folder.name}&model=1&beside=0&row="
        document = seen(f"{server.address}#{words}", tmp_path / "chrome")
    found = Page(document)
    assert 'aria-setsize="25000"' in document and document.count('role="option"') < 60
    assert found.count("img") == 0 and "<script>alert(1)</script>" in found.text and "⟨U+202E⟩" in found.text
    assert f"{abs(100 * right.difference):.1f} points" in found.text and "McNemar, exact" in found.text
    assert f"{right.gained:,} up, {right.lost:,} down" in found.text
    assert "What stands before the question" in found.text


@pytest.mark.slow
def test_a_browser_shows_the_file_without_a_server(tmp_path: Path) -> None:
    run = write_run(tmp_path / "store")
    page = export(run.parent, tmp_path / "page.html")
    assert "Reward and its parts" in Page(seen(f"file://{page}", tmp_path / "chrome")).text
    (folder,) = (each.parent for each in run.parent.glob("artifacts/*/questions.parquet"))
    found = Page(seen(f"file://{page}#samples={folder.name}&words=caravan+salt", tmp_path / "chrome"))
    assert "A caravan carries" in found.text and "Wilson, by question" in found.text and "right answer" in found.text


@pytest.mark.slow
def test_no_table_of_the_report_is_wider_than_its_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "store")
    (path,) = run.parent.glob("artifacts/*/results.json")
    results = json.loads(path.read_text())
    for score in results["scores"]:
        score["counts"] = dict.fromkeys(score["counts"], 1234)
        score["pass_at_k"] = {"1": 0.2, "4": 0.789}
    path.write_text(json.dumps(results))
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", write_report(run).read_text())
    gap = "t.scrollWidth - t.parentElement.clientWidth"
    asked = f"document.title = [...document.querySelectorAll('table')].map((t) => {gap})"
    (tmp_path / "measured.html").write_text(source + f"<script>{asked}</script>")
    title = re.search(r"<title>(.*?)</title>", seen(f"file://{tmp_path}/measured.html", tmp_path / "chrome"))
    assert title and len(title[1].split(",")) > 4
    assert max(int(each) for each in title[1].split(",")) <= 0, title[1]


USED = """
setTimeout(async () => {
  const made = {bubbles: true, cancelable: true};
  const press = (target, key) => target.dispatchEvent(new KeyboardEvent("keydown", {key, ...made}));
  const settled = () => new Promise((done) => setTimeout(done, 400));
  const list = document.querySelector(".rows"), at = () => list.getAttribute("aria-activedescendant"), told = {};
  told.first = at();
  press(document.body, "j"); await settled(); told.next = at();
  press(list, "End"); await settled(); told.end = at();
  press(list, "Home"); await settled(); told.home = at();
  document.querySelector(".chip.right").click(); await settled();
  told.others = document.querySelectorAll(".item i.mark:not(.right)").length;
  told.listed = Number(document.querySelector(".item").getAttribute("aria-setsize"));
  told.hash = location.hash;
  press(document.body, "/"); told.search = document.activeElement.type;
  press(document.querySelector("input[type=search]"), "Escape"); told.back = document.activeElement === list;
  document.getElementById("tab-runs").click(); await settled();
  const chart = document.querySelector("svg.curve"), values = chart.closest("figure").querySelector(".values");
  press(chart, "ArrowRight"); told.key = values.textContent;
  const box = chart.getBoundingClientRect();
  const middle = {clientX: box.left + box.width / 2, clientY: box.top + 40};
  chart.dispatchEvent(new PointerEvent("pointermove", middle)); told.pointer = values.textContent;
  told.cursors = document.querySelectorAll(".cursor[visibility=visible]").length;
  document.querySelectorAll("input[data-step]")[0].click(); await settled();
  told.overlaid = document.querySelector(".swatch.c1") !== null;
  document.title = JSON.stringify(told);
}, 3000);
"""


@pytest.mark.slow
def test_the_page_is_used_by_keys_and_pointer(tmp_path: Path) -> None:
    run = write_run(tmp_path / "store")
    (folder,) = (each.parent for each in run.parent.glob("artifacts/*/questions.parquet"))
    source = export(run.parent, tmp_path / "page.html").read_text()
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source) + f"<script>{USED}</script>"
    (tmp_path / "page.html").write_text(source)
    title = re.search(
        r"<title>(.*?)</title>", seen(f"file://{tmp_path}/page.html#samples={folder.name}", tmp_path / "chrome")
    )
    assert title and title[1].startswith("{"), title
    told = json.loads(unescape(title[1]))
    rows = [row for row in pq.read_table(folder / "questions.parquet").to_pylist() if row["model"] == "rlvr"]
    rows = [row for row in rows if (row["task"], row["mode"]) == ("sums", "greedy")]
    right = sum(row["outcome"] == "right" for row in rows)
    assert (told["first"], told["next"], told["end"], told["home"]) == (
        "row-0",
        "row-1",
        f"row-{len(rows) - 1}",
        "row-0",
    )
    assert told["others"] == 0 and told["listed"] == right and "outcomes=right" in told["hash"]
    assert told["search"] == "search" and told["back"]
    assert "step 1" in told["key"] and "step 27" in told["pointer"] and told["cursors"] > 5
    assert told["overlaid"]
