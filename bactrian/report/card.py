"""A model card, README.md as the Hub shows it: written from manifests, and nothing in it is believed from elsewhere.

Texts of recipes, data and results are other people's: in Markdown every character that could mean something is escaped,
and the header is YAML whose values are JSON strings, which YAML reads as they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from bactrian.report.formatting import (
    count,
    date,
    duration,
    interval,
    number,
    p_value,
    shorten,
    visible,
)
from bactrian.report.model_facts import Evaluated, ModelFacts
from bactrian.report.scores import changed, shown
from bactrian.store.manifest import Licence, Manifest

LONGEST = 300
HASH = 16
_MEANS_SOMETHING = re.compile(r"([\\`*_{}\[\]<>()#+|~&@$!\"^]|(?<!\d):|:(?!\d)|^=)")  # 16:09 and p = 0.3 mean nothing
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_NOT_IN_YAML = re.compile("[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_TERMS = re.compile(r"[a-z0-9][a-z0-9.+-]{0,48}")


def md(value: object) -> str:
    """A text as one line of Markdown that shows it, and does nothing."""
    text = shorten(" ".join(visible(str(value)).split()), LONGEST)
    escaped = _MEANS_SOMETHING.sub(r"\\\1", text)
    return re.sub(r"^(\d*)([-.)])(?=\s|$)", r"\1\\\2", escaped)  # a list's mark at the beginning


def fenced(text: str, language: str = "") -> str:
    """A block of code that its content cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible(text).rstrip()}\n{fence}"


def header(values: dict[str, Any]) -> str:
    """YAML between two lines of dashes."""
    return "\n".join(["---", *(f"{name}: {_yaml(value)}" for name, value in values.items() if value), "---", ""])


def _yaml(value: Any) -> str:
    """Lists and texts as JSON, which is YAML; characters that YAML does not take become "?"."""
    return _NOT_IN_YAML.sub("?", json.dumps(value, ensure_ascii=False))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown, without the columns in which no row says anything."""
    found = [[md(cell) for cell in row] for row in rows]
    kept = [place for place in range(len(heads)) if any(row[place] for row in found)]
    lines = [[heads[place] for place in kept], *([row[place] for place in kept] for row in found)]
    head, *rest = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, f"|{'---|' * len(kept)}", *rest])


def card(facts: ModelFacts, *, adapter: bool = False, files: Sequence[str] = (), note: str = "") -> str:
    """The whole card.

    Args:
        adapter: what it lies beside is a peft adapter.
        files: GGUF files beside it.
        note: how the weights beside it differ from the artifact's (another dtype).
    """
    parts = [
        header(_header(facts, adapter, files)) + f"# {md(facts.name)}",
        _opening(facts, adapter, note),
        _use(adapter, files),
        _section("Scores", _scores(facts)),
        _section("Looks at unseen suites", _looks(facts)),
        _section("Licences", _licences(facts)),
        _section("Decontamination", _decontamination(facts)),
        _section("How it was made", _making(facts)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(facts: ModelFacts, adapter: bool, files: Sequence[str]) -> dict[str, Any]:
    terms, name = terms_of(facts.licences)
    reward = facts.made is not None and facts.made.stage in ("reward", "process_reward")
    kinds = ["bactrian", *([facts.made.stage] if facts.made else []), *(["gguf"] if files else [])]
    return {
        "license": terms,
        "license_name": name,
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-classification" if reward else "text-generation",
        "base_model": _hub_ids(facts.bases if facts.made else ()),
        "datasets": _hub_ids(facts.data),
        "tags": kinds,
    }


def _hub_ids(refs: Iterable[str]) -> list[str]:
    """Those that can be ids of the Hub, without the revision; a path of this machine is nobody else's business."""
    return [ref.partition("@")[0] for ref in refs if _HUB_ID.fullmatch(ref) and not ref.startswith("embedded:")]


def terms_of(licences: Iterable[Licence]) -> tuple[str, str]:
    """The Hub's (license, license_name): the one that all share, else "other", and "unknown" where one is unclear."""
    found = list(licences)
    names = sorted({each.licence.strip().lower().replace(" ", "-") for each in found})
    if not found or any("unclear" in each.marks for each in found):
        return "unknown", ""
    if len(names) == 1 and _TERMS.fullmatch(names[0]):
        return names[0], ""
    return "other", "several, see the table of licences"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _opening(facts: ModelFacts, adapter: bool, note: str) -> str:
    what = "A low-rank adapter" if adapter else "A model"
    if facts.made is None:
        said = f"{what}, exported by Bactrian, which did not make it: of its training nothing is known here."
    else:
        bases = f" It began with {md(', '.join(map(_shown, facts.bases)))}." if facts.bases else ""
        said = (
            f"{what} made by Bactrian: step {md(facts.made.step)}, stage {md(facts.made.stage)}, "
            f"{md(date(facts.made.started))}.{bases}"
        )
    return f"{said} {note}".strip()


def _shown(ref: str) -> str:
    """A reference without the folders of this machine."""
    return ref.rstrip("/").rsplit("/", 1)[-1] if ref.startswith(("/", "~", "./", "../")) else ref


def _use(adapter: bool, files: Sequence[str]) -> str:
    kind, package = ("AutoPeftModelForCausalLM", "peft") if adapter else ("AutoModelForCausalLM", "transformers")
    code = [
        f"from {package} import {kind}",
        "from transformers import AutoTokenizer",
        "",
        'folder = "."  # of this card',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {kind}.from_pretrained(folder)",
    ]
    if package == "transformers":
        code[:2] = ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
    gguf = f"\n\nFor llama.cpp: {md(', '.join(files))}." if files else ""
    return _section("Use", fenced("\n".join(code), "python") + gguf)


def _scores(facts: ModelFacts) -> str:
    if not facts.evaluations:
        return "No evaluation of these weights is in the store that they come from."
    intro = (
        "Each with its 95 % interval, from the evaluations of these very weights in the store that they come from. "
        "`bactrian scores` and `bactrian compare` show them by question."
    )
    heads = ["task", "metric", "mode", "score", "95 % interval", "questions", "evaluation", "flags"]
    rows = [row for each in facts.evaluations for row in _score_rows(each)]
    tests = [row for each in facts.evaluations for row in _test_rows(each)]
    paired = (
        "\n\nPaired tests against what it was compared with, on the same questions:\n\n"
        + table(["task", "against", "difference", "95 % interval", "p", "test"], tests)
        if tests
        else ""
    )
    return f"{intro}\n\n{table(heads, rows)}{paired}"


def _score_rows(each: Evaluated) -> Iterator[list[str]]:
    for score in each.scores:
        show = shown(score)
        yield [
            _shown(score.task),
            score.metric or "right",
            score.mode,
            show(score.score),
            interval(list(score.interval) if score.interval else None, show),
            count(score.questions),
            each.artifact,
            ", ".join(flag.name for flag in score.flags),
        ]


def _test_rows(each: Evaluated) -> Iterator[list[str]]:
    metrics = {score.task: score.metric for score in each.scores}
    for test in each.comparisons:
        show = partial(changed, metrics.get(test.task, ""))
        yield [
            _shown(test.task),
            _shown(test.before),
            show(test.difference),
            interval(list(test.interval) if test.interval else None, show),
            p_value(test.p),
            test.test,
        ]


def _looks(facts: ModelFacts) -> str:
    if facts.made is None:
        return ""
    if not facts.looks:
        return "None is recorded: no unseen suite was asked with these weights."
    rows = [
        [str(look.get("task", "")), date(str(look.get("when", ""))), str(look.get("reason", ""))]
        for look in facts.looks
    ]
    return table(["task", "when", "why"], rows)


def _licences(facts: ModelFacts) -> str:
    found = facts.licences
    if not found:
        return "None is known, of the base or of the data."
    unclear = any("unclear" in each.marks for each in found)
    rows = [[_shown(each.source), each.licence, ", ".join(each.marks)] for each in found]
    warning = "\n\n*Unclear* means that no licence could be found: ask before you publish." if unclear else ""
    return table(["source", "licence", "marks"], rows) + warning


def _decontamination(facts: ModelFacts) -> str:
    if facts.made is None:
        return ""
    records = facts.made.decontamination
    if not records:
        return "Nothing is recorded of the data that it was trained on."
    named = (record.model_copy(update={"data": _shown(record.data)}) for record in records)
    return "\n".join(f"- {md(record)}" for record in named)


def _making(facts: ModelFacts) -> str:
    made = facts.made
    if made is None:
        return ""
    heads = ["step", "stage", "seed", "took", "content"]
    rows = [[m.step, m.stage, m.seed, duration(m.seconds), m.content_hash[:HASH]] for m in facts.lineage]
    parts = [table(heads, rows)]
    if facts.gone:
        parts.append(f"No longer in the store: {md(', '.join(facts.gone))}.")
    parts += [f"Settings of {md(made.step)}:", table(["setting", "value"], _settings(made))]
    if made.metrics:
        parts += ["What it measured:", table(["metric", "value"], [[n, number(v)] for n, v in made.metrics.items()])]
    parts.append(table(["", ""], _facts(made)))
    if facts.recipe:
        parts += ["The recipe:", fenced(facts.recipe, "yaml")]
    return "\n\n".join(parts)


def _settings(made: Manifest) -> list[list[str]]:
    return [
        [name, _shown(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]
        for name, value in made.settings.items()
        if value is not None
    ]


def _facts(made: Manifest) -> list[list[str]]:
    hardware = ", ".join(f"{name} {value}" for name, value in made.hardware.items() if value is not None)
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items())
    code = ", ".join(f"{name} {value}" for name, value in made.code.items() if value)
    return [
        ["content hash", made.content_hash],
        ["key", made.key],
        ["code", code],
        ["hardware", hardware],
        ["packages", packages],
    ]
