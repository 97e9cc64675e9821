"""How answers are compared, by the family of their task: each family's way is the one that agrees best with people.

HREF [Lyu et al. 2024, arXiv 2412.15524] has eleven families of tasks, a person's answer to each prompt, and people's
preferences on a development half, which say which way is best for which family. Its choices are not taken over: they
hold for its judges and its prompts. They are made here, from whatever labelled pairs are given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bactrian.data.io.files import stream_rows
from bactrian.errors import BactrianError
from bactrian.judge.calibration.disjoint import check_disjoint
from bactrian.judge.labelled import label_of, read_pair
from bactrian.judge.opinions import FIRST, AnswerPair, Opinion
from bactrian.judge.winrates.logistic import ClusterDraws, percentile_interval
from bactrian.verify.text.spans import squad, token_f1

MethodName = Literal["exact", "words", "meaning", "judge", "judge_reference"]
METHODS: Mapping[MethodName, str] = {
    "exact": "the same as the person's answer, after SQuAD's normalisation",
    "words": "words in common with the person's answer (SQuAD's F1)",
    "meaning": "cosine of sentence embeddings with the person's answer",
    "judge": "the judge, which sees the two answers alone",
    "judge_reference": "the judge, which sees the person's answer too",
}
"""Ways to compare two answers, cheap ones first: of two that agree alike with people, the first is taken."""
ASKS: frozenset[MethodName] = frozenset({"judge", "judge_reference"})
FAMILIES: Mapping[str, tuple[MethodName, ...]] = {
    "brainstorm": ("meaning", "judge", "judge_reference"),
    "open_qa": ("words", "meaning", "judge", "judge_reference"),
    "closed_qa": ("exact", "words", "meaning", "judge", "judge_reference"),
    "extraction": ("exact", "words", "meaning", "judge", "judge_reference"),
    "generation": ("meaning", "judge", "judge_reference"),
    "rewriting": ("words", "meaning", "judge", "judge_reference"),
    "summarisation": ("words", "meaning", "judge", "judge_reference"),
    "classification": ("exact", "words", "meaning", "judge", "judge_reference"),
    "numerical_reasoning": ("exact", "words", "meaning", "judge", "judge_reference"),
    "multi_document_synthesis": ("words", "meaning", "judge", "judge_reference"),
    "fact_checking": ("exact", "words", "meaning", "judge", "judge_reference"),
}
"""HREF's families, and the ways that are tried for each; any other family is tried with all of them."""
Encode = Callable[[Sequence[str]], NDArray[Any]]
"""Texts → unit vectors, [texts, d]."""
Outcomes = Sequence[float | None]
"""How likely the first answer of each pair is the better one; 0.5: neither; None: no verdict."""
Compare = Callable[[Sequence[AnswerPair]], Outcomes]


@dataclass(frozen=True)
class TaskPair:
    """A pair of one family of tasks. label: which answer people prefer; None where that is not known."""

    task: str
    pair: AnswerPair
    label: int | None = None


@dataclass(frozen=True)
class TaskMethod:
    """What was chosen for a family: the method, and how often it agrees with people, prompts alike.

    agreements: of every method that was tried; the chosen one's is flattered a little, as it won on these very pairs.
    labels: prompts with a label. pooled: the family has too few of its own, so the best over all families was taken.
    """

    task: str
    method: MethodName
    agreement: float
    interval: tuple[float, float]
    agreements: dict[str, float]
    labels: int
    pooled: bool


def family(name: str) -> str:
    """A family's name as it is looked up.

    >>> family("Closed QA"), family("multi-document synthesis")
    ('closed_qa', 'multi_document_synthesis')
    """
    return "_".join(name.lower().replace("-", " ").split())


def methods_for(task: str, allowed: Sequence[MethodName]) -> list[MethodName]:
    """The ways that are tried for a family, cheap ones first."""
    tried = FAMILIES.get(family(task), tuple(METHODS))
    return [name for name in METHODS if name in allowed and name in tried]


def read_task_pairs(path: Path, column: str) -> list[TaskPair]:
    """Labelled pairs with their family, from a file of any layout of labels; ties are left out.

    Raises:
        BactrianError: a row has no family, or is none of these layouts; no row has a label.
    """
    found = []
    for row, where in stream_rows(path):
        read = read_pair(row, where)
        if (label := label_of(row, read, where)) is not None:
            found.append(TaskPair(task_of(row, column, where), read.pair, label))
    if not found:
        raise BactrianError(f"{path}: no row says which answer is preferred")
    return found


def task_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """The family that a row names.

    Raises:
        BactrianError: it names none.
    """
    found = row.get(column)
    if not isinstance(found, str) or not found.strip():
        raise BactrianError(f"{where}: {column}: found {found!r:.60}, expected the family of the task")
    return found


def reference_methods(encode: Encode | None) -> dict[MethodName, Compare]:
    """The ways that need no judge; `meaning` where there is an encoder."""
    found: dict[MethodName, Compare] = {
        "exact": lambda pairs: [_nearer(each, lambda a, b: float(squad(a) == squad(b))) for each in pairs],
        "words": lambda pairs: [_nearer(each, token_f1) for each in pairs],
    }
    if encode is not None:
        found["meaning"] = lambda pairs: _by_meaning(pairs, encode)
    return found


def judge_methods(ask: Callable[[Sequence[AnswerPair]], Sequence[Opinion]]) -> dict[MethodName, Compare]:
    """The ways that ask a judge, without the person's answer and with it."""

    def outcomes(pairs: Sequence[AnswerPair]) -> Outcomes:
        return [None if each.fault else each.probabilities[FIRST] for each in ask(pairs)]

    def shown(pairs: Sequence[AnswerPair]) -> Outcomes:
        _need_references(pairs, "judge_reference")
        return outcomes(pairs)

    return {"judge": lambda pairs: outcomes([replace(each, reference="") for each in pairs]), "judge_reference": shown}


def choose_methods(
    labelled: Sequence[TaskPair], compare: Mapping[MethodName, Compare], least: int = 20, seed: int = 0
) -> dict[str, TaskMethod]:
    """Family → the way that agrees with people most often. A tie agrees half, a failure not at all.

    Args:
        compare: the ways that may be taken.
        least: prompts with a label that a family needs for a choice of its own.

    Raises:
        BactrianError: there is nothing to choose from, or a pair lacks what a way needs.
    """
    by_task: dict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(labelled):
        by_task[each.task].append(place)
    if bare := sorted(task for task in by_task if not methods_for(task, [*compare])):
        raise BactrianError(
            f"task methods: found {', '.join(compare)}, none of which is tried for {bare[0]}; expected one of "
            f"{', '.join(methods_for(bare[0], [*METHODS]))}, or labels without that family"
        )
    agreed: dict[MethodName, dict[int, float]] = {}
    for method in METHODS:
        tried = [
            place for task, places in by_task.items() if method in methods_for(task, [*compare]) for place in places
        ]
        if tried:
            said = compare[method]([labelled[place].pair for place in tried])
            rates = [_agrees(value, labelled[place].label) for place, value in zip(tried, said, strict=True)]
            agreed[method] = dict(zip(tried, rates, strict=True))
    if not agreed:
        raise BactrianError(
            f"task methods: found {', '.join(compare) or 'none'}, expected some of {', '.join(METHODS)}"
        )
    prompts = [each.pair.group for each in labelled]
    overall = {name: _mean_by_prompt(rates, prompts) for name, rates in agreed.items()}
    return {
        task: _chosen(task, places, methods_for(task, [*agreed]), agreed, overall, prompts, least, seed)
        for task, places in by_task.items()
    }


def compared(
    pairs: Sequence[TaskPair], chosen: Mapping[str, TaskMethod], compare: Mapping[MethodName, Compare]
) -> list[float | None]:
    """Each pair by its family's way.

    Raises:
        BactrianError: a family has no labelled pair, or a pair has no person's answer where its way needs one.
    """
    if unknown := sorted({each.task for each in pairs} - set(chosen)):
        raise BactrianError(
            f"task methods: found no labelled pair of {', '.join(unknown)}, expected some of each family; labelled are "
            f"{', '.join(sorted(chosen))}"
        )
    found: list[float | None] = [None] * len(pairs)
    for method in METHODS:
        places = [place for place, each in enumerate(pairs) if chosen[each.task].method == method]
        if places:
            for place, value in zip(places, compare[method]([pairs[each].pair for each in places]), strict=True):
                found[place] = value
    return found


def check_unseen(labelled: Sequence[TaskPair], pairs: Sequence[AnswerPair]) -> None:
    """
    Raises:
        BactrianError: methods would be chosen on prompts that they then score.
    """
    try:
        check_disjoint([each.pair for each in labelled], pairs, "prompts to score")
    except BactrianError as error:
        raise BactrianError(f"task methods: {str(error).replace('demonstrations', 'labelled pairs')}") from None


def _agrees(outcome: float | None, label: int | None) -> float:
    if outcome is None:
        return 0.0
    return 0.5 if outcome == 0.5 else float((outcome > 0.5) == (label == FIRST))


def _chosen(
    task: str,
    places: Sequence[int],
    tried: Sequence[MethodName],
    agreed: Mapping[MethodName, Mapping[int, float]],
    overall: Mapping[MethodName, float],
    prompts: Sequence[str],
    least: int,
    seed: int,
) -> TaskMethod:
    own = {name: _mean_by_prompt({p: agreed[name][p] for p in places}, prompts) for name in tried}
    few = len({prompts[place] for place in places}) < least
    best = max(tried, key=lambda name: (overall if few else own)[name])  # of equal ones the first, which is cheapest
    values = np.array([agreed[best][place] for place in places])
    draws = ClusterDraws.of([prompts[place] for place in places])
    drawn = draws.refitted(lambda times: np.array([np.average(values, weights=times)]), 500, seed)
    labels, agreements = len({prompts[place] for place in places}), {str(name): rate for name, rate in own.items()}
    return TaskMethod(task, best, own[best], percentile_interval(drawn[:, 0]), agreements, labels, few)


def _mean_by_prompt(rates: Mapping[int, float], prompts: Sequence[str]) -> float:
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for place, rate in rates.items():
        by_prompt[prompts[place]].append(rate)
    return float(np.mean([np.mean(mine) for mine in by_prompt.values()]))


def _nearer(pair: AnswerPair, likeness: Callable[[str, str], float]) -> float:
    _need_references([pair], "a comparison with it")
    first, second = likeness(pair.first, pair.reference), likeness(pair.second, pair.reference)
    return 0.5 if first == second else float(first > second)


def _by_meaning(pairs: Sequence[AnswerPair], encode: Encode) -> list[float]:
    _need_references(pairs, "meaning")
    texts = list(dict.fromkeys(text for each in pairs for text in (each.first, each.second, each.reference)))
    places, vectors = {text: place for place, text in enumerate(texts)}, encode(texts)

    def cosine(text: str, reference: str) -> float:
        return float(vectors[places[text]] @ vectors[places[reference]])

    return [_nearer(each, cosine) for each in pairs]


def _need_references(pairs: Sequence[AnswerPair], method: str) -> None:
    """
    Raises:
        BactrianError: naming the first pair without a person's answer.
    """
    for each in pairs:
        if not each.reference.strip():
            raise BactrianError(f"pair {each.id}: reference: found none, expected a person's answer, for {method}")
