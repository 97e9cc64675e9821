"""`annotate-by-hand` in a real browser, and its server against what is not its own page."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, Chromium, Tab

from bactrian.judge.people.desk import Desk
from bactrian.judge.people.pairs_by_hand import read_pairs
from bactrian.judge.people.record import HandRecord
from bactrian.report.annotate.hand_server import HandServer
from bactrian.report.html import HERE

HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>[a](javascript:hit)\u202e **b** {{7*7}}'
PAIRS = [
    {
        "id": f"model-x-{n}",
        "prompt": f"Question {n}: {HOSTILE}",
        "first": f"one {n} {HOSTILE}",
        "second": f"two {n} " + "long\n" * (60 * (n % 2)),
        "first_model": "model-x",
        "license": "MIT",
    }
    for n in range(12)
]
with_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to show the page in")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chrome")) as browser:
        yield browser


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return path


class ServedHand:
    """A server in a thread, and the desk behind it."""

    def __init__(self, pairs_file: Path, acceptability: bool) -> None:
        pairs = read_pairs(pairs_file)
        self.record = HandRecord(pairs_file.with_name("said.sqlite"), pairs)
        self.record.add_annotators(["ann", "<b>bert</b>"])
        self.desk = Desk(pairs, self.record, 7, acceptability)
        self.tokens = self.record.annotators()
        self.server = HandServer(self.desk, self.tokens, self.record.lead())

    def link(self, name: str) -> str:
        return self.server.link(self.tokens[name])

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, dict[str, str], str]:
        """A request as any program could make it."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        connection.putrequest(method, path, skip_host="Host" in headers)
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(data)
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        connection.close()
        return found


@contextmanager
def serving(pairs_file: Path, acceptability: bool = False) -> Iterator[ServedHand]:
    served = ServedHand(pairs_file, acceptability)
    thread = threading.Thread(target=served.server.serve)
    thread.start()
    try:
        yield served
    finally:
        served.server.server.should_exit = True
        thread.join()
        served.record.close()


@pytest.fixture
def served(pairs_file: Path) -> Iterator[ServedHand]:
    with serving(pairs_file) as served:
        yield served


# --- who may ask, and what


def test_only_the_page_s_own_origin_may_write(served: ServedHand) -> None:
    token, port = served.tokens["ann"], served.server.port
    said = {"place": 0, "choice": "left", "seconds": 1, "comment": "", "sent": "12345678"}
    own = {"Origin": f"http://127.0.0.1:{port}", "Content_Type": "application/json"}
    for headers in (
        {**own, "Origin": "http://evil.example"},
        {**own, "Origin": f"https://127.0.0.1:{port}"},
        {**own, "Origin": f"http://localhost:{port}"},  # another origin than the Host's
        {**own, "Origin": "null"},
        {"Content_Type": "application/json"},
        {**own, "Sec_Fetch_Site": "cross-site"},
        {**own, "Sec_Fetch_Site": "same-site"},
        {**own, "Host": f"evil.example:{port}"},
        {**own, "Host": "127.0.0.1"},
    ):
        assert served.ask(f"/{token}/answer", "POST", said, **headers)[0] == 403, headers
    assert served.ask(f"/{token}/answer", "POST", said, **{**own, "Content_Type": "text/plain"})[0] == 415
    assert served.ask(f"/{token}/answer", "POST", b"x" * 70_000, **own)[0] == 413
    assert served.ask(f"/{token}/answer", "POST", b"[" * 40_000, **own)[0] == 400
    assert served.ask(f"/{token}/answer", "POST", [1], **own)[0] == 400
    assert served.ask(f"/{token}/answer", "POST", {}, **own)[0] == 400
    assert served.ask(f"/{token}/answer", "GET")[0] == 405 and served.ask(f"/{token}/state", "PUT", **own)[0] == 405
    assert not served.record.standing()
    assert served.ask(f"/{token}/answer", "POST", said, **own)[0] == 200 and len(served.record.standing()) == 1


def test_without_a_token_there_is_nothing_and_nobody_else_s_pages_are_read(served: ServedHand) -> None:
    token, port = served.tokens["ann"], served.server.port
    for path in ("/", "//", f"/{token[:-1]}/", f"/{token}x/state", "/state", f"/{token}/../", f"/{token}"):
        assert served.ask(path)[0] in (404, 405), path
    for headers in ({"Host": f"evil.example:{port}"}, {"Host": ""}, {"Sec_Fetch_Site": "cross-site"}):
        assert served.ask(f"/{token}/state", **headers)[0] == 403
    status, headers, body = served.ask(f"/{token}/")
    policy = headers["content-security-policy"]
    assert status == 200 and "<script>" in body and "model-x" not in body and token not in body
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff" and "set-cookie" not in headers and "server" not in headers
    assert served.ask(f"/{served.record.lead()}/state")[0] == 404  # the lead judges nothing
    status, headers, body = served.ask(f"/{served.record.lead()}/")
    assert status == 200 and "&lt;b&gt;bert" in body and "<b>bert" not in body


def test_the_page_s_script_makes_no_markup_of_a_text() -> None:
    code = (HERE / "annotate" / "hand_page.js").read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "href"):
        assert way not in code
    assert "</script" not in code.lower()


# --- in a browser


def opened(browser: Chromium, link: str) -> Tab:
    tab = browser.tab()
    tab.open(link)
    tab.wait("document.querySelector('#work')?.dataset.place !== undefined")
    return tab


def judge(tab: Tab, key: str) -> None:
    """Press the key as soon as the page listens, and wait for the next pair."""
    done = tab.wait("!busy && performance.now() > deafUntil && [now.done]")[0]
    tab.press(key)
    tab.wait(f"!busy && now.done !== {done}")


@with_chromium
def test_the_keyboard_alone_suffices(pairs_file: Path, browser: Chromium) -> None:
    with serving(pairs_file, acceptability=True) as served:
        tab = opened(browser, served.link("ann"))
        tab.wait("!busy && performance.now() > deafUntil")
        tab.press("1")
        assert "First say" in tab.run("document.querySelector('#notice').innerText")
        tab.press("q")
        tab.press("p")
        tab.press("c")
        tab.type("b u t: typed, not judged")
        tab.press("Escape")
        left = tab.run("now.left")
        judge(tab, "1")
        (said,) = served.record.standing()
        assert said.choice == ("first" if left.startswith("one") else "second") and 0 < said.seconds < 60
        assert said.comment == "b u t: typed, not judged"
        assert said.acceptable == ((True, False) if left.startswith("one") else (False, True))
        judge(tab, "u")
        assert tab.run("document.querySelector('textarea').value") == "b u t: typed, not judged"
        assert tab.run("document.querySelectorAll('[aria-pressed=true]').length") == 2
        judge(tab, "t")
        judge(tab, "s")
        for key in "2b" + "1" * 8:
            tab.press("w")
            tab.press("o")
            judge(tab, key)
        choices = [each.choice for each in served.record.standing()]
        assert choices[:2] == ["tie", "skip"] and choices[3] == "both_bad" and len(choices) == len(PAIRS)
        assert "All done" in tab.run("document.body.innerText")
        judge(tab, "u")
        assert tab.run("now.done") == len(PAIRS) - 1
        assert tab.run("document.activeElement === document.body || document.activeElement.tagName === 'BUTTON'")


@with_chromium
def test_hostile_text_is_shown_and_does_nothing(served: ServedHand, browser: Chromium) -> None:
    tab = opened(browser, served.link("ann"))
    assert tab.run("document.querySelectorAll('main img, main script, main a, main strong').length") == 0
    shown = tab.run("document.querySelector('main').textContent")
    assert HOSTILE.replace("\u202e", "⟨U+202E⟩") in shown and "49" not in shown
    assert tab.run("window.hit === undefined") and "model-x" not in tab.run("document.documentElement.outerHTML")
    for width in (360, 1200):
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
        assert tab.run("document.documentElement.scrollWidth <= window.innerWidth"), width
    last = "document.querySelector('.both').getBoundingClientRect().bottom"
    tab.run("window.scrollTo(0, 1e6)")
    assert tab.run(f"{last} <= document.querySelector('#choices').getBoundingClientRect().top")  # all can be read


@with_chromium
def test_another_site_in_the_same_browser_can_write_nothing(
    served: ServedHand, browser: Chromium, tmp_path: Path
) -> None:
    said = json.dumps({"place": 0, "choice": "left", "seconds": 1, "comment": "", "sent": "12345678"})
    (tmp_path / "evil.html").write_text(
        f"<form method=post action='{served.link('ann')}answer' enctype='text/plain'>"
        f"<input name='{said[:-1]},\"x\":\"' value='\"}}'></form>"
    )
    tab = browser.tab()
    tab.open(f"file://{tmp_path}/evil.html")
    tab.wait("document.forms.length")
    send = f"fetch('{served.link('ann')}answer', {{method: 'POST', body: JSON.stringify({said}), HOW}})"
    simple = send.replace("HOW", "mode: 'no-cors'")
    asked = send.replace("HOW", "headers: {'Content-Type': 'application/json'}")
    for way in (simple, asked):
        assert tab.run(f"{way}.then((r) => r.type, () => 'refused')") in ("opaque", "refused")
    tab.run("document.forms[0].submit()")
    tab.wait("document.body !== null && document.body.innerText.includes('for the browser that was given it')")
    assert not served.record.standing()


@with_chromium
def test_two_annotators_at_once(served: ServedHand, browser: Chromium) -> None:
    tabs = {name: opened(browser, served.link(name)) for name in served.tokens}
    assert tabs["ann"].run("now.prompt[0].content") != "" and len(tabs) == 2
    for _ in range(4):
        for tab in tabs.values():
            tab.wait("!busy && performance.now() > deafUntil")
        for tab in tabs.values():  # both answers are on their way at once
            tab.press("1")
    for tab in tabs.values():
        tab.wait("!busy && now.done === 4")
    counts = [len(served.record.standing(name)) for name in served.tokens]
    assert counts == [4, 4]
    second = opened(browser, served.link("ann"))  # another window of the same person
    judge(second, "2")
    tabs["ann"].press("1")  # still shows the pair that the other window has judged
    tabs["ann"].wait("!busy && now.done === 5")
    assert len(served.record.standing("ann")) == 5
    assert [each.choice for each in served.record.standing("ann")][-1] in ("first", "second")
    lead = browser.tab()
    lead.open(served.server.link(served.record.lead()))
    assert lead.wait("document.querySelectorAll('tbody tr').length") >= 2
    assert "5 of 12" in lead.run("document.body.innerText")


def command(pairs_file: Path, *more: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """The real command, and the links that it prints."""
    line = [sys.executable, "-m", "bactrian", "annotate-by-hand", str(pairs_file), *more]
    process = subprocess.Popen(line, cwd=pairs_file.parent, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout
    found: dict[str, str] = {}
    while "lead" not in found and (told := process.stdout.readline()):
        name, link = told.split()
        found[name] = link
    return process, found


@with_chromium
def test_a_kill_in_the_middle_loses_nothing_and_doubles_nothing(pairs_file: Path, browser: Chromium) -> None:
    process, links = command(pairs_file, "--annotator", "ann", "--annotator", "bert")
    try:
        tab = opened(browser, links["ann"])
        for _ in range(3):
            judge(tab, "1")
        fourth = tab.run("now.left")
        tab.wait("performance.now() > deafUntil")
        tab.press("2")
        process.send_signal(signal.SIGKILL)  # while the fourth answer is on its way, or written and not confirmed
        process.wait()
        tab.wait("busy ? !document.querySelector('#notice').hidden : now.done === 4")
        process, again = command(pairs_file)
        assert again == links  # the same port and tokens: the page that is open goes on
        tab.wait("!busy && now.done === 4")
        judge(tab, "t")
        with sqlite3.connect(pairs_file.parent / "pairs.jsonl.annotations.sqlite") as database:
            said = database.execute("SELECT pair, choice FROM said ORDER BY number").fetchall()
        assert len(said) == len({pair for pair, _ in said}) == 5 and said[4][1] == "tie"
        assert said[3][1] == ("second" if fourth.startswith("one") else "first")
        assert opened(browser, links["ann"]).run("now.done") == 5
        assert opened(browser, links["bert"]).run("now.done") == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()
