"""Paraphrases of segments become pairs of plain texts, and what does not pass is on record."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.stages.reliability.paraphrase import COMPLETE, Paraphrase
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from tests.synth.mock import dropped, generator, workspace

SEGMENTS = [
    {
        "id": f"s{n}",
        "text": f"In Arden old miller {name} sold nine grey geese to Bertha the weaver.",
        "source": "ours",
        "license": "CC0-1.0",
    }
    for n, name in enumerate(("Alden", "Piers", "Una"))
]
SAID = {
    "Alden": "Bertha, a weaver, bought of Alden, who mills in Arden, nine geese, all of them grey.",
    "Piers": "No.",
    "Una": "I'm sorry, but I can't help with that, as the text may belong to somebody else.",
}


def answer(body: dict[str, Any]) -> str:
    return next(said for name, said in SAID.items() if name in body["messages"][-1]["content"])


def test_what_passes_is_a_pair_and_the_rest_is_on_record(tmp_path: Path) -> None:
    work = workspace(tmp_path, SEGMENTS)
    with generator(answer) as (each, _):
        Paraphrase(segments="seeds.jsonl", generators=[each]).run(work)
    (pair,) = read_rows(work.output, "pair")
    assert (pair["chosen_text"], pair["rejected_text"]) == (SAID["Alden"], SEGMENTS[0]["text"])
    assert pair["license"] == "CC0-1.0 + MIT" and "prompt" not in pair
    assert {line["answer"]: line["reason"] for line in dropped(work)} == {"1/0": "too short", "2/0": "a refusal"}
    assert json.loads((work.output / "rows.json").read_text())["funnel"] == {"segments": 3, "kept": 1}


def given(folder: Path, **settings: Any) -> Workspace:
    work = workspace(folder, SEGMENTS)
    known = [{"text": row["text"].replace(" ", "\n"), "paraphrase": SAID["Alden"]} for row in SEGMENTS[:1]]
    (folder / "known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in known))
    work.inputs = {**work.inputs, "known": Input("known", folder / "known.jsonl", Kind.DATA, "hash")}
    Paraphrase(segments="seeds.jsonl", given="known", **settings).run(work)
    return work


def test_the_switch_is_the_only_cue(tmp_path: Path) -> None:
    yes, no = read_rows(given(tmp_path / "prefix", copying="prefix").output, "pair")
    assert (yes["prefix"], no["prefix"]) == ("Copying: Yes\n", "Copying: No\n")
    assert yes["chosen_text"] == no["rejected_text"] == SEGMENTS[0]["text"]
    assert yes["rejected_text"] == no["chosen_text"] == SAID["Alden"]
    work = given(tmp_path / "system", copying="system")
    yes, no = read_rows(work.output, "pair")
    assert [turn["content"] for turn in yes["prompt"]] == ["Copying: Yes", COMPLETE]
    assert (yes["chosen"], yes["rejected"]) == (no["rejected"], no["chosen"])
    assert [line["reason"] for line in dropped(work)] == ["no paraphrase is known"] * 2


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="expected generators, or given"):
        Paraphrase(segments="s")
    with pytest.raises(BactrianError, match="no segment has a paraphrase that passes"):
        given(tmp_path, longest=1.0, shortest=1.0)


def test_a_raw_pair_s_fields_are_checked(tmp_path: Path) -> None:
    for row, fault in (
        ({"chosen_text": "a", "rejected_text": " "}, "line 1, field 'rejected_text': found an empty text"),
        ({"chosen_text": "a"}, "line 1: no field 'rejected_text'"),
        ({"chosen_text": "a", "rejected_text": "b", "prompt": []}, "found 'prompt' beside 'chosen_text'"),
    ):
        (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(BactrianError, match=fault):
            read_rows(tmp_path / "rows.jsonl", "pair")
