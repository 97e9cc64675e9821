"""Verifiers of short answers in words: SQuAD's exact match and F1, DROP's F1, FLAN's and BBH's."""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from bactrian.verify.final_answer import declines
from bactrian.verify.registry import register
from bactrian.verify.verdict import Example, Outcome, Problem, Verdict, unparsable

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
LEAD = re.compile(r"\A\W*(?:the\s+)?(?:final\s+)?answer(?:\s+is|:)\s*:?\s*", re.IGNORECASE)
PHRASES = (
    re.compile(r"\bthe answer is:?", re.IGNORECASE),
    re.compile(r"\banswer(?:\s+is)?\s*:", re.IGNORECASE),
)
DROP_WORDS = re.compile(r"[ \-]")
ITEMS_LIMIT = 12
"""Spans that are aligned; an answer of more is compared as one span."""


def squad(text: str) -> str:
    """Lower case, without punctuation, without articles, white space as one space each."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def golds(ground_truth: str) -> list[str]:
    """Accepted answers: the ground truth, or where it is a JSON list of texts, each of them."""
    if ground_truth.lstrip().startswith("["):
        try:
            listed: list[str] = json.loads(ground_truth)
        except ValueError:
            return [ground_truth]
        if listed and all(isinstance(each, str) for each in listed):
            return listed
    return [ground_truth]


def answer_line(completion: str) -> str:
    """The first line with something in it, without "The answer is"; without a full stop at its end."""
    lines = [line.strip() for line in completion.splitlines() if line.strip()]
    return LEAD.sub("", lines[0]).removesuffix(".").strip() if lines else ""


def token_f1(given: str, gold: str) -> float:
    """2PR/(P + R) of the words as multisets, normalised as SQuAD's; of two empty ones 1."""
    mine, its = squad(given).split(), squad(gold).split()
    if not mine or not its:
        return float(mine == its)
    shared = sum((Counter(mine) & Counter(its)).values())
    return 2 * shared / (len(mine) + len(its))


def scored(given: str, gold: Sequence[str], score: Callable[[str, str], float]) -> Verdict:
    """The best score over the accepted answers; right if it is 1."""
    if not squad(given):
        return unparsable("an empty answer")
    best = max(gold, key=lambda each: score(given, each))
    reached = score(given, best)
    outcome: Outcome = "right" if reached == 1.0 else "refused" if reached == 0.0 and declines(given) else "wrong"
    return Verdict(reached, outcome, given[:500], f"{reached:g} against {best[:60]!r}")


def drop_tokens(span: str) -> list[str]:
    """Words of a span, split at spaces and hyphens; numbers as floats, others without punctuation and articles."""
    words = []
    for word in DROP_WORDS.split(span.lower()):
        number = as_number(word) or as_number(word.strip(string.punctuation.replace("-", "")))
        plain = number or squad(word)
        words += [plain] if plain else []
    return words


def as_number(word: str) -> str | None:
    try:
        return str(float(word.replace(",", ""))) if re.fullmatch(r"-?[\d,]*\.?\d+", word, re.ASCII) else None
    except ValueError:
        return None


def drop_pair(given: str, gold: str) -> float:
    """F1 of two spans as sets of words; 0 if the gold span has numbers and the given one shares none of them."""
    mine, its = set(drop_tokens(given)), set(drop_tokens(gold))
    numbers = {word for word in its if as_number(word)}
    if numbers and not numbers & mine:
        return 0.0
    shared = len(mine & its)
    return 2 * shared / (len(mine) + len(its)) if shared else float(mine == its)


def spans(text: str) -> list[str]:
    """The spans of an answer that lists several: between commas (not thousands), semicolons, "and"."""
    parts = [part.strip() for part in re.split(r",(?!\d{3}\b)|;|\band\b", text) if part.strip()]
    return parts if len(parts) <= ITEMS_LIMIT else [text]


def drop_f1(given: str, gold: Sequence[str]) -> float:
    """Mean F1 of the best one-to-one alignment of spans over the larger number of them, rounded to 2 decimals.

    A single gold span is compared with the whole answer.
    """
    from scipy.optimize import linear_sum_assignment

    mine = spans(given) if len(gold) > 1 else [given]
    table = [[drop_pair(a, b) for b in gold] for a in mine]
    if len(mine) == len(gold) == 1:
        return round(table[0][0], 2)
    rows, columns = linear_sum_assignment(table, maximize=True)
    total: float = sum(table[row][column] for row, column in zip(rows.tolist(), columns.tolist(), strict=True))
    return round(total / max(len(mine), len(gold)), 2)


ANSWERS = (
    Example("Paris", "Paris", "right"),
    Example("The answer is: the Eiffel Tower.", '["Eiffel Tower", "La Tour"]', "right"),
    Example("London", "Paris", "wrong"),
    Example("the", "Paris", "unparsable"),
    Example("I'm sorry, but I can't answer that.", "Paris", "refused"),
)


@register("squad_em", examples=(*ANSWERS, Example("Paris, France", "Paris", "wrong")))
def squad_em(problem: Problem, completion: str) -> Verdict:
    """Exact match after SQuAD's normalisation, of the first line, with any of the accepted answers."""
    accepted = golds(problem.ground_truth)
    return scored(answer_line(completion), accepted, lambda given, gold: float(squad(given) == squad(gold)))


@register("squad_f1", examples=(*ANSWERS, Example("Paris France", "Paris", "wrong")))
def squad_f1(problem: Problem, completion: str) -> Verdict:
    """Word F1 as the score; right only at 1."""
    return scored(answer_line(completion), golds(problem.ground_truth), token_f1)


@register(
    "drop",
    examples=(
        Example("50.6", "50.6|49.7", "right"),
        Example("49.70", "50.6|49.7", "right"),
        Example("51", "50.6|49.7", "wrong"),
        Example("White, Smith and Jones", '["Smith", "Jones", "White"]', "right"),
        Example("Smith and Jones", '["Smith", "Jones", "White"]', "wrong"),
        Example("", "5", "unparsable"),
        Example("5 yards", "5-yard", "wrong"),
        Example("the 5 yards", "5 yards", "right"),
    ),
)
def drop(problem: Problem, completion: str) -> Verdict:
    """DROP's F1. Annotations are parted by "|", as in the common file; each is a text, or a JSON list of spans."""
    gold = problem.ground_truth
    annotations = [golds(each) for each in ([gold] if gold.lstrip().startswith("[") else gold.split("|"))]
    given = answer_line(completion)
    if not given:
        return unparsable("an empty answer")
    score = max(drop_f1(given, each) for each in annotations)
    return Verdict(score, "right" if score == 1.0 else "wrong", given[:500], f"F1 {score:g}")


def after_phrase(completion: str) -> str | None:
    """What follows the last "the answer is" (or, without it, "answer:"), to the end of the line, no full stop."""
    for phrase in PHRASES:
        parts = phrase.split(completion)
        if len(parts) > 1:
            line = parts[-1].strip().split("\n")[0].strip().strip("*").strip()
            return line.removesuffix(".").strip()
    return None


PHRASED = (
    Example("He is tall. So the answer is (B).", "(B)", "right"),
    Example("The answer is: No", "no", "right"),
    Example("The answer is no. The answer is yes.", "yes", "right"),
    Example("So the answer is (A).", "(B)", "wrong"),
    Example("I think (B)", "(B)", "unparsable"),
)


@register("flan", examples=PHRASED)
def flan(problem: Problem, completion: str) -> Verdict:
    """What follows "The answer is", equal to the ground truth after SQuAD's normalisation."""
    given = after_phrase(completion)
    if given is None or not given:
        return unparsable("no 'The answer is …'")
    same = any(squad(given) == squad(gold) for gold in golds(problem.ground_truth))
    return Verdict(float(same), "right" if same else "wrong", given[:500], f"against {problem.ground_truth[:60]!r}")


@register(
    "bbh",
    examples=(
        *PHRASED,
        Example("So the answer is ] ) }.", "] ) }", "right"),
        Example("So the answer is ] }.", "] ) }", "wrong"),
    ),
)
def bbh(problem: Problem, completion: str) -> Verdict:
    """As `flan`, but with punctuation: answers such as "] ) }" consist of it. Of "(B)" the letter is compared."""
    given = after_phrase(completion)
    if given is None or not given:
        return unparsable("no 'The answer is …'")
    mine, gold = (" ".join(text.lower().split()) for text in (given, problem.ground_truth))
    if re.fullmatch(r"\([a-z]\)", gold):
        chosen = re.match(r"\(?([a-z])\)?(?![\w'])", mine)
        mine = f"({chosen[1]})" if chosen else mine
    right = mine == gold
    return Verdict(float(right), "right" if right else "wrong", given[:500], f"against {problem.ground_truth[:60]!r}")
