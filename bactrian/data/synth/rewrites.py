"""What a rewrite of a seed must be to count: not the seed again, of like length, and a request where one is wanted.

A generator that is shown a question and told to rewrite it often answers it instead, or repeats it. Both would be kept
as new prompts by a filter of form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bactrian.data.curate.quality import Flaw
from bactrian.data.synth.same_meaning import KEPT, Kept, meaning_flaw

WORD = re.compile(r"\w+")
ANSWERING = re.compile(
    r"\W*(?:sure|certainly|absolutely|of course|here(?:['’]s| is| are)|the (?:correct |right |short )?answer|answer:"
    r"|yes\b|no,|as an ai\b|i(?:['’]m| am) (?:sorry|happy|glad))",
    re.IGNORECASE,
)
"""How answers begin, and requests do not."""
VERBS = (
    "add analyse analyze answer argue arrange ask assume brainstorm build calculate categorise categorize change "
    "check choose classify code combine come compare complete compose compute consider construct contrast convert "
    "correct count create debug decide define derive describe design detect determine develop devise discuss "
    "draft draw edit estimate evaluate examine expand explain explore express extract fill find fix formulate "
    "generate give group guess help identify illustrate imagine implement improve infer interpret invent justify "
    "label let list look make match modify name offer order organise organize outline paraphrase pick plan point "
    "predict prepare present produce propose prove provide put rank read recall recommend reformulate rephrase "
    "replace report research respond review revise rewrite say select show shorten simplify simulate sketch solve "
    "sort specify state suggest summarise summarize take talk teach tell think transform translate try turn use "
    "verify walk write"
)
ASKING = re.compile(
    rf"\?|(?:\A|[.!:;,\n]\s*|\b(?:please|then|and|to|would you|could you|can you)\s+)(?:{'|'.join(VERBS.split())})\b"
    r"|\bi(?:['’]d| would) like\b|\bi (?:want|need|wonder)\b|\bplease\b|\blet me know\b",
    re.IGNORECASE,
)
"""A question mark, or a verb or phrase with which something is asked for."""
HELD = 20
"""Characters of a seed's own answer from which a rewrite that holds it gives it away."""


@dataclass(frozen=True)
class RewriteGuard:
    """What a rewrite must keep to.

    of: the variable of the template that is rewritten. shortest, longest: words, over those of the seed; `slack` more
    are allowed. asks: a request is wanted, not an answer. quotes: of so many words of the seed in a row a rewrite that
    holds them only quotes; 0: it may. keeps: what must be the same in both, by `same_meaning`.
    """

    of: str
    shortest: float
    longest: float
    slack: int = 0
    asks: bool = True
    quotes: int = 0
    keeps: tuple[Kept, ...] = ()


REWRITES: Mapping[str, RewriteGuard] = {
    "paraphrase": RewriteGuard("question", 0.5, 2.0, 5, keeps=KEPT),
    "paraphrase-text": RewriteGuard("text", 0.5, 2.0, 5, asks=False, keeps=KEPT),
    "evolve-deeper": RewriteGuard("question", 0.8, 1.0, 40),
    "evolve-broader": RewriteGuard("question", 0.25, 3.0, 20),
    "instruction-for-text": RewriteGuard("text", 0.0, 1.0, 30, quotes=12),
}
"""Of the shipped templates that rewrite. Lengths of a paraphrase as for ParaPO's pairs."""


def rewrite_flaw(made: str, seed: str, answer: str, guard: RewriteGuard) -> Flaw | None:
    """Why a rewrite does not count, or None.

    Args:
        made, seed: the rewrite, and what was rewritten.
        answer: the seed's own answer, where it has one.
    """
    new, old = _words(made), _words(seed)
    if new == old or " ".join(made.split()).casefold() == " ".join(seed.split()).casefold():
        return Flaw("a rewrite that is its seed again")
    if guard.quotes and _shares_run(new, old, guard.quotes):
        return Flaw("a rewrite that quotes its seed", f"{guard.quotes} words in a row")
    if guard.asks and (flaw := _answer_flaw(made, seed, answer, guard.of == "question")):
        return flaw
    if len(new) < guard.shortest * len(old):
        return Flaw("a rewrite that is too short", f"{len(new):,} words of {len(old):,}")
    if len(new) > guard.longest * len(old) + guard.slack:
        return Flaw("a rewrite that is too long", f"{len(new):,} words of {len(old):,}")
    return meaning_flaw(seed, made, guard.keeps)


def _answer_flaw(made: str, seed: str, answer: str, asked: bool) -> Flaw | None:
    """Where a request is wanted: a text that holds the seed's answer, begins as answers do, or asks for nothing.

    asked: the seed is a request itself; of one that does not seem to ask none is wanted that does.
    """
    reason = "an answer in place of a request"
    held, said = (" ".join(_words(text)) for text in (answer, made))
    if held and (said in held or (len(held) >= HELD and held in said)):
        return Flaw(reason, "the seed's own")
    if (opens := ANSWERING.match(made)) and not ANSWERING.match(seed):
        return Flaw(reason, repr(opens[0].strip()))
    if (not asked or ASKING.search(seed)) and not ASKING.search(made):
        return Flaw(reason, "it asks for nothing")
    return None


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _shares_run(new: list[str], old: list[str], length: int) -> bool:
    runs = {tuple(old[at : at + length]) for at in range(len(old) - length + 1)}
    return any(tuple(new[at : at + length]) in runs for at in range(len(new) - length + 1))
