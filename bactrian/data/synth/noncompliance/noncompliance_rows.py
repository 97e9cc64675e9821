"""Rows of requests that should not simply be met, by kind: made by rules from patterns, or read from others' rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from bactrian.data.io.problem_rows import Split, distinct, question_hash
from bactrian.data.synth.noncompliance.patterns import CONTRASTS, GAPS, PATTERNS, RequestPattern
from bactrian.data.synth.noncompliance.taxonomy import (
    CONTRAST,
    KINDS,
    OTHERS,
    NoncomplianceKind,
    kind_named,
    rubric_name,
)
from bactrian.errors import BactrianError

Row = dict[str, Any]
SOURCE, LICENSE = "bactrian/noncompliance", "Apache-2.0"
DATASET = "noncompliance"
"""The verifier of problems made here."""
MODALITY = "modality limitations"
"""What others call the contrasts of both modalities together."""


def made_requests(seed: int, per_kind: int, split: Split = "train", contrast: bool = False) -> Iterator[Row]:
    """`per_kind` distinct requests of each kind that has patterns: {id, kind, prompt, answer, source, license}.

    Contrasts also have `rejected`, an answer that turns the request away. The split is of the request's own hash.

    Raises:
        BactrianError: a kind's patterns allow fewer.
    """
    for kind, patterns in (CONTRASTS if contrast else PATTERNS).items():
        name = f"noncompliance{'/contrast' if contrast else ''}/{kind}"
        for row in distinct(name, seed, per_kind, split, partial(_filled, patterns)):
            asked = row.pop("messages")[0]["content"]
            yield {**row, "kind": kind, "prompt": asked, "source": SOURCE, "license": LICENSE}


def _filled(patterns: Sequence[RequestPattern], random: Random) -> Row:
    pattern = random.choice(patterns)
    chosen = {gap: random.choice(words) for gap, words in GAPS.items()}
    texts = {
        name: text.format(**chosen)
        for name, text in (("answer", pattern.answer), ("rejected", pattern.rejected))
        if text
    }
    prompt = pattern.request.format(**chosen)
    prompt = prompt[:1].upper() + prompt[1:] if prompt.endswith(("?", ".")) else prompt
    return {"id": question_hash(prompt), "messages": [{"role": "user", "content": prompt}], **texts}


def given_requests(row: Mapping[str, Any], where: str) -> Iterator[Row]:
    """The requests of a row that somebody gives: {kind, prompt, …}; kind "" for published ones of OTHERS.

    A row is a request (`prompt` or `messages`, with `kind` or `subcategory`), or a category of seeds as published:
    {category, subcategories: [{subcategory, prompts: [[text, …], …]}]}.

    Raises:
        BactrianError: it is neither, or names no kind.
    """
    if isinstance(row.get("subcategories"), Sequence):
        for part in row["subcategories"]:
            kind = seed_kind(str(part.get("subcategory", "")), where)
            for texts in part.get("prompts", ()):
                turns = [texts] if isinstance(texts, str) else list(texts)  # of several turns, the last asks
                yield {"kind": kind, "prompt": str(turns[-1]).strip()}
        return
    name = row.get("kind") or row.get("subcategory")
    prompt = row.get("prompt")
    if not isinstance(prompt, str):
        turns = prompt or row.get("messages") or [{}]
        prompt = turns[-1].get("content") if turns[-1].get("role") == "user" else turns[0].get("content")
    if not isinstance(name, str) or not isinstance(prompt, str) or not prompt.strip():
        raise BactrianError(
            f"{where}: found the fields {', '.join(row)}, expected prompt or messages, and kind or subcategory"
        )
    kept = {key: row[key] for key in ("id", "source", "license", "answer", "rejected") if row.get(key)}
    yield {**kept, "kind": seed_kind(name, where), "prompt": prompt.strip()}


def seed_kind(name: str, where: str) -> str:
    """The kind that data of others mean; contrasts of both modalities count as of the first. "" for OTHERS.

    Raises:
        BactrianError: there is none of that name.
    """
    if name.casefold() in OTHERS:
        return ""
    return "input modality" if name.casefold() == MODALITY else kind_named(name, where).name


def as_problem(request: Mapping[str, Any], contrast: bool) -> Row:
    """A request as a problem: the verifier, its rubric and the right label; what its kind is, for templates.

    A made answer goes along as the worked solution.
    """
    kind = KINDS[request["kind"]]
    row: Row = {
        **_told(request, kind),
        "messages": [{"role": "user", "content": request["prompt"]}],
        "dataset": DATASET,
        "ground_truth": "COMPLIANCE" if contrast else "ACCEPTABLE",
        "settings": {"rubric": rubric_name(CONTRAST if contrast else kind.name)},
        "means": kind.means,
        "desired": kind.desired,
    }
    return row | ({"solution": request["answer"]} if request.get("answer") else {})


def as_conversation(request: Mapping[str, Any]) -> Row:
    """A request with its answer, to be trained on."""
    turns = [("user", request["prompt"]), ("assistant", request["answer"])]
    return {**_told(request, KINDS[request["kind"]]), "messages": [{"role": r, "content": text} for r, text in turns]}


def as_pair(request: Mapping[str, Any]) -> Row:
    """A contrast as a preference pair: meeting it before turning it away."""
    return {
        **_told(request, KINDS[request["kind"]]),
        "prompt": [{"role": "user", "content": request["prompt"]}],
        "chosen": [{"role": "assistant", "content": request["answer"]}],
        "rejected": [{"role": "assistant", "content": request["rejected"]}],
    }


def _told(request: Mapping[str, Any], kind: NoncomplianceKind) -> Row:
    return {
        "id": str(request.get("id") or question_hash(request["prompt"])),
        "kind": kind.name,
        "category": kind.category,
        "source": str(request.get("source") or SOURCE),
        "license": str(request.get("license") or "unknown"),
    }


def few_shot(requests: Sequence[Mapping[str, Any]], seed: int, per_kind: int, shown: int) -> Iterator[Row]:
    """Seeds for a template that asks for more of a kind: `per_kind` rows a kind, each with examples drawn anew.

    Columns: kind, category, means, desired, examples (texts), and `text`, the kind's name.

    Raises:
        BactrianError: a kind has no request to show.
    """
    members: dict[str, list[Mapping[str, Any]]] = {}
    for request in requests:
        members.setdefault(request["kind"], []).append(request)
    if not members:
        raise BactrianError("noncompliance_prompts: found no request to show as an example")
    for name, mine in members.items():
        kind, licences = KINDS[name], sorted({str(each.get("license") or "unknown") for each in mine})
        for number in range(per_kind):
            drawn = Random(f"few_shot/{seed}/{name}/{number}").sample(mine, min(shown, len(mine)))
            yield {
                "id": f"{name}/{number}",
                "kind": name,
                "category": kind.category,
                "means": kind.means,
                "desired": kind.desired,
                "examples": [each["prompt"] for each in drawn],
                "text": name,
                "source": SOURCE,
                "license": " + ".join(licences),
            }
