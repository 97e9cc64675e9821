"""What annotators said, as tables on the terminal: how far they agree, and whether a judge may stand in for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click
from rich.box import SIMPLE
from rich.table import Table

from bactrian.cli.tables import open_console, plain
from bactrian.judge.people.agreement import AgreementBeyondChance
from bactrian.judge.people.alt_test import EPSILON, FEWEST_FOR_T, AltTest, Expertise, alt_test
from bactrian.judge.people.desk import agreements, annotator_facts
from bactrian.judge.people.hand_rows import read_judge
from bactrian.judge.people.pairs_by_hand import PairByHand
from bactrian.judge.people.record import HandVerdict, labels_of
from bactrian.judge.people.study import HeadToHead, hand_study


def print_agreement(
    pairs: Sequence[PairByHand], verdicts: Sequence[HandVerdict], judge: Path | None, instead_of: str
) -> None:
    """Each annotator, then every coefficient; with a judge's file, the alt-test.

    Raises:
        BactrianError: the judge's file cannot be read, or two annotators share no pairs with it.
    """
    facts = [annotator_facts(name, verdicts, pairs) for name in dict.fromkeys(each.annotator for each in verdicts)]
    heads = ["annotator", "done", "skipped", "ties", "both bad", "left preferred", "seconds a pair", "attention"]
    lines = [
        [
            each["name"],
            f"{each['done']} of {len(pairs)}",
            *(str(each[name]) for name in ("skipped", "ties", "both_bad")),
            _percent(each["left"]),
            _number(each["seconds"], 0),
            f"{each['right']} of {each['attention']}" if each["attention"] else "–",
        ]
        for each in facts
    ]
    print_table("annotators", heads, lines)
    heads = ["coefficient", "value", "95 % interval", "pairs labelled twice", "equal labels"]
    print_table("agreement", heads, [[name, *_cells(found)] for name, found in agreements(verdicts, pairs)])
    if judge is not None:
        groups = {each.pair.id: each.pair.group for each in pairs if not each.attention}
        people = labels_of(each for each in verdicts if each.pair in groups)
        epsilon = EPSILON[cast(Expertise, instead_of)]
        print_alt_test(alt_test(people, read_judge(judge, pairs), epsilon, groups))


def print_alt_test(found: AltTest) -> None:
    """The answer in words below the comparisons that it rests on."""
    heads = ["left out", "n", "judge agrees", "annotator agrees", "test", "p", "p (BY)", "judge"]
    lines = [
        [
            each.annotator,
            str(each.n),
            _percent(each.judge),
            _percent(each.person),
            each.test,
            f"{each.p:.2g}",
            f"{each.adjusted:.2g}",
            "wins" if each.won else "does not win",
        ]
        for each in found.annotators
    ]
    print_table(f"alt-test, ε = {found.epsilon:g}", heads, lines)
    verdict = "may replace an annotator" if found.passes else "may not replace an annotator"
    click.echo(
        f"The judge {verdict}: winning rate {found.winning_rate:.2f} (0.5 is needed), mean advantage "
        f"probability {found.advantage:.2f}."
    )
    if found.without_judge:
        click.echo(f"Left out: {found.without_judge} pairs on which the judge gives no label.")
    few = min(each.n for each in found.annotators)
    if len(found.annotators) < 3 or few < FEWEST_FOR_T:
        click.echo(
            f"Do not rely on it: expected three annotators and {FEWEST_FOR_T} pairs each, found "
            f"{len(found.annotators)} annotators, and {few} pairs of one."
        )


def print_study(pairs: Sequence[PairByHand], verdicts: Sequence[HandVerdict]) -> None:
    """Ratings, every two models head to head, and how many answers would do.

    Raises:
        BactrianError: the pairs do not name their models.
    """
    found = hand_study(pairs, verdicts)
    lines = [
        [each.model, f"{each.rating:.0f}", f"{each.interval[0]:.0f} to {each.interval[1]:.0f}", f"{each.games:,}"]
        for each in found.ratings.ratings
    ]
    print_table("ratings (Bradley-Terry)", ["model", "rating", "95 % interval", "comparisons"], lines)
    heads = ["first", "second", "wins", "losses", "ties", "prompts", "share", "design", "more to separate them"]
    print_table("head to head", heads, [_head_to_head_line(each) for each in found.pairs])
    if found.acceptable:
        lines = [
            [each.model, f"{each.answers:,}", _percent(each.share), " to ".join(map(_percent, each.interval))]
            for each in found.acceptable
        ]
        print_table("acceptable answers", ["model", "answers", "share", "95 % interval"], lines)
    click.echo(
        "Share: wins, and half of the ties. Design: how many verdicts tell as much as one on a prompt of its own. "
        "More: further comparisons that would find the share seen so far not to be a half (5 %, power 80 %)."
    )
    if found.unnamed:
        click.echo(f"Left out: {found.unnamed:,} verdicts on pairs whose two models the file does not name.")


def _head_to_head_line(each: HeadToHead) -> list[str]:
    further = each.separation.further
    more = "equal so far" if further is None else f"{further:,}" if further else "none"
    counts = (each.wins, each.losses, each.ties, each.prompts)
    return [
        each.first,
        each.second,
        *(f"{number:,}" for number in counts),
        _percent(each.separation.share),
        f"{each.design:.1f}",
        more,
    ]


def print_table(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """One table on standard output."""
    table = Table(*heads, box=SIMPLE, title=title, title_justify="left")
    for line in lines:
        table.add_row(*map(plain, line))
    open_console().print(table)


def _cells(found: AgreementBeyondChance) -> list[str]:
    interval = "–" if found.interval is None else f"{found.interval[0]:.2f} to {found.interval[1]:.2f}"
    return [_number(found.value, 2), interval, str(found.items), _percent(found.observed)]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
