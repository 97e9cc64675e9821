"""Stage `counterfactuals`: pairs that a judge confirms and that moved one attribute only; the rest is counted."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.io.files import read_rows
from bactrian.data.io.writer import RowWriter
from bactrian.data.synth.asking.request_rows import requests
from bactrian.data.synth.asking.requests import UnderspecifiedRequest
from bactrian.data.synth.attributes import attribute_set, shipped_sets
from bactrian.errors import BactrianError
from bactrian.judge.attribute_questions import read_comparison, read_ranking
from bactrian.judge.counterfactual_pairs import DISAGREES, MOVED, PAIRS, UNREAD, AttributeOpinion, pair_fates
from bactrian.stages.reliability.counterfactuals import Counterfactuals
from bactrian.store.artifact import Workspace
from bactrian.verify.text.question_levels import levels
from tests.synth.mock import dropped, generator, workspace

LEVELS = ["none", "little", "some", "much", "all"]
OWN = [
    {
        "name": name,
        "group": group,
        "definition": f"how {name}",
        "levels": LEVELS,
        "enhanced": f"more {name}",
        "corrupted": f"less {name}",
    }
    for name, group in (("warm", "tone"), ("short", "form"))
]
TEXTS = {"original": "o", "enhanced": "e", "corrupted": "c"}
AGREED = {"enhanced": 0, "original": 1, "corrupted": 2}


def asked_rows(folder: Path, count: int = 40) -> Workspace:
    work = workspace(folder, [])
    with RowWriter(folder / "seeds", "# Rows") as writer:
        for row in requests(3, count, "conversation", (0, 2), "train"):
            writer.write(row)
    (folder / "seeds.jsonl").unlink()
    (folder / "seeds").rename(folder / "seeds.jsonl")
    return work


def test_by_program_every_pair_moves_its_attribute_and_no_other(tmp_path: Path) -> None:
    work = asked_rows(tmp_path)
    Counterfactuals(data="seeds.jsonl", attributes="requests", program="requests").run(work)
    rows = read_rows(work.output, "pair")
    cases = {row["id"]: row for row in requests(3, 40, "conversation", (0, 2), "train")}
    assert {row["attribute"] for row in rows} == {each.name for each in attribute_set("requests").attributes}
    for row in rows:
        truth = UnderspecifiedRequest.read(cases[row["made_by"]["seed"]]["case"]).truth()
        chosen, rejected = (levels(truth, row[side][0]["content"]) for side in ("chosen", "rejected"))
        assert chosen[row["attribute"]] > rejected[row["attribute"]]
        assert all(chosen[name] == rejected[name] for name in chosen if name != row["attribute"])
        assert row["license"] == "Apache-2.0"
    account = json.loads((work.output / "rows.json").read_text())
    kept = Counter(row["attribute"] for row in rows)
    for name, told in account["attributes"].items():
        assert told["kept"] == kept[name] and told["local_rate"] == 1.0
        assert told["drop_rate"] == 1 - told["kept"] / told["pairs"]
    assert account["funnel"]["rewrites asked for"] == 40 * 6 * 2


def test_coarse_pairs_are_better_or_worse_in_all(tmp_path: Path) -> None:
    work = asked_rows(tmp_path)
    Counterfactuals(data="seeds.jsonl", attributes="overall", program="requests").run(work)
    rows = read_rows(work.output, "pair")
    assert len(rows) == len({row["id"] for row in rows}) and {row["attribute"] for row in rows} == {"quality"}
    assert len([row for row in rows if row["pair"] == "enhanced > corrupted"]) == 40


def test_train_and_dev_share_no_source_and_a_part_leaves_out_attributes(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data": "seeds.jsonl", "attributes": "requests", "program": "requests"}
    found = {}
    for part in ("train", "dev"):
        work = asked_rows(tmp_path / part)
        Counterfactuals(**settings, part=part, dev_share=0.3).run(work)
        found[part] = {row["made_by"]["seed"] for row in read_rows(work.output)}
    assert found["train"] and found["dev"] and not found["train"] & found["dev"]
    stage = Counterfactuals(**settings)
    names = [part[0] for part in stage.parts()]
    general = [number for number, part in enumerate(stage.parts()) if "general" in part]
    assert stage.keeping(general).only == names[:3] == ["clarity", "focus", "answerability"]
    assert stage.keeping(general).keeping([1]).only == ["focus"]


def test_generators_rewrite_and_judges_verify(tmp_path: Path) -> None:
    """A model that rewrites "warm" well but makes the text longer too; for "short" it does as it is told."""

    def answer(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        if asked.startswith("What came before"):
            word = re.search(r"so that it is (more|less) (\w+)\.", asked)
            assert word is not None
            extra = " and long" if word[2] == "warm" else ""
            return f"How are you feeling, {word[1]} {word[2]}{extra}?"
        versions = dict(re.findall(r"<question ([ABC]) \w+>\n(.*?)\n</question", asked, re.DOTALL))
        if "Rank the versions" in asked:
            worth = {letter: ("more" in text) - ("less" in text) for letter, text in versions.items()}
            return "They differ. Ranking: " + " > ".join(sorted(worth, key=lambda letter: -worth[letter]))
        names = re.findall(r"^- (\w+): how", asked, re.MULTILINE)
        longer = next((letter for letter, text in versions.items() if "long" in text), "SAME")
        return "\n".join(f"{name}: {longer if name == 'short' else 'SAME'}" for name in names)

    talk = [{"role": "user", "content": "I am ill."}, {"role": "assistant", "content": "How are you?"}]
    rows = [{"id": f"r{n}", "messages": talk, "source": "ours", "license": "CC0-1.0"} for n in range(3)]
    with generator(answer) as (settings, handler):
        work = workspace(tmp_path, rows)
        stage = Counterfactuals(data="seeds.jsonl", attributes=OWN, generators=[settings], judges=[settings])
        stage.run(work)
        asked, kept = len(handler.bodies), read_rows(work.output, "pair")
        account = json.loads((work.output / "rows.json").read_text())["attributes"]
        drops = dropped(work)
        Counterfactuals(**{**stage.model_dump(), "locality": "count"}).run(work)
        assert len(handler.bodies) == asked  # another rule asks nobody again
        assert len(read_rows(work.output)) == 18
    assert {row["attribute"] for row in kept} == {"short"} and len(kept) == 3 * 3
    assert all(row["license"] == "CC0-1.0 + MIT" or row["pair"].startswith("original") for row in kept)
    assert account["warm"]["reasons"] == {MOVED: 9} and account["warm"]["local_rate"] == 0.0
    assert account["warm"]["moved"] == {"short": 6} and account["short"]["drop_rate"] == 0.0
    assert {each["detail"] for each in drops} == {"short"}


def test_what_becomes_of_a_pair() -> None:
    local = {"enhanced": (), "corrupted": ()}
    assert [fate.reason for fate in pair_fates(TEXTS, [AttributeOpinion(AGREED, local)])] == ["", "", ""]
    level = {"enhanced": 0, "original": 0, "corrupted": 1}
    assert [fate.reason for fate in pair_fates(TEXTS, [AttributeOpinion(level, local)])] == [DISAGREES, "", ""]
    both = [AttributeOpinion(AGREED, local), AttributeOpinion(level, local)]
    assert [fate.reason for fate in pair_fates(TEXTS, both)] == [DISAGREES, "", ""]
    moved = AttributeOpinion(AGREED, {"enhanced": ("focus",), "corrupted": ()})
    assert [fate.reason for fate in pair_fates(TEXTS, [moved])] == [MOVED, MOVED, ""]
    assert [fate.reason for fate in pair_fates(TEXTS, [moved], "count")] == ["", "", ""]
    assert [fate.reason for fate in pair_fates(TEXTS, [AttributeOpinion(None)])] == [UNREAD] * 3
    assert [fate.reason for fate in pair_fates(TEXTS, [AttributeOpinion(AGREED)])] == [UNREAD] * 3
    assert [fate.reason for fate in pair_fates(TEXTS, None)] == ["", "", ""]
    one = {side: text for side, text in TEXTS.items() if side != "corrupted"}
    assert [(fate.chosen, fate.rejected) for fate in pair_fates(one, None)] == [PAIRS[0]]


@pytest.mark.parametrize(
    ("said", "ranks"),
    [
        ("Ranking: A > B > C", [0, 1, 2]),
        ("ranking: c = a > b", [0, 1, 0]),
        ("Ranking: A > B > C. No: **Ranking:** C > B > A", [2, 1, 0]),
        ("Ranking: A > A > B", None),
        ("Ranking: A > B", None),
        ("A > B > C", None),
        ("", None),
    ],
)
def test_rankings_are_read_or_not(said: str, ranks: list[int] | None) -> None:
    assert read_ranking(said) == ranks


def test_comparisons_are_read_whole_or_not_at_all() -> None:
    names = ["clarity", "focus"]
    assert read_comparison("clarity: SAME\nfocus: b", names) == {"clarity": "SAME", "focus": "B"}
    assert read_comparison("clarity: SAME", names) is None
    assert read_comparison("clarity: A\nclarity: B\nfocus: A", names) is None
    assert read_comparison("clarity: Accurate\nfocus: A", names) is None


def test_shipped_sets_have_two_directions_and_five_levels() -> None:
    assert {"clinical", "requests", "overall"} <= set(shipped_sets())
    for name in shipped_sets():
        for each in attribute_set(name).attributes:
            assert len(set(each.levels)) == 5 and each.enhanced != each.corrupted
    names = [each.name for each in attribute_set("clinical").attributes]
    assert names == ["clarity", "focus", "answerability", "accuracy", "relevance", "openness"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attributes": "clinicle"}, 'did you mean "clinical"'),
        ({"attributes": [*OWN, OWN[0]]}, "found two called 'warm'"),
        ({"attributes": OWN, "only": ["cold"]}, "only: found 'cold'"),
        ({"attributes": OWN, "program": None}, "expected generators"),
        ({"attributes": [{**OWN[0], "levels": LEVELS[:4]}]}, "at least 5"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Counterfactuals(**{"data": "d", "program": "requests", **settings})


def test_a_program_says_what_rows_it_knows(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Sort it."}, {"role": "assistant", "content": "How?"}]
    work = workspace(tmp_path, [{"id": "r", "messages": talk}])
    with pytest.raises(BactrianError, match=r"row r: program: expected a row of `cases`"):
        Counterfactuals(data="seeds.jsonl", attributes="requests", program="requests").run(work)
    with pytest.raises(BactrianError, match="found the attribute 'warm'"):
        Counterfactuals(data="seeds.jsonl", attributes=OWN, program="requests").run(work)
