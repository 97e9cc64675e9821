"""An original, its rewrites in one attribute, and what is asked about them, for stage `counterfactuals`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from bactrian.data.curate.quality import Flaw
    from bactrian.data.synth.attributes import Attribute, AttributeSet
    from bactrian.generate.chat_request import ChatReply, ChatRequest
    from bactrian.judge.counterfactual_pairs import AttributeOpinion, Side

Row = dict[str, Any]
CHARACTERS_A_TOKEN = 12
PROGRAM = "bactrian/requests"
OVERALL = "quality"
"""The attribute of the shipped set `overall`: a program moves all that it knows."""


class Sampled(Protocol):
    """How rewrites are sampled."""

    @property
    def temperature(self) -> float: ...
    @property
    def top_p(self) -> float: ...
    @property
    def max_new_tokens(self) -> int: ...


@dataclass
class Triple:
    """texts: the original and the rewrites that there are. writers: who wrote each, and on what terms."""

    row: Row
    attribute: "Attribute"
    context: list[Row]
    texts: "dict[Side, str]"
    writers: "dict[Side, tuple[str, str]]" = field(default_factory=dict)
    flaws: "dict[Side, Flaw]" = field(default_factory=dict)
    asked: "dict[Side, str]" = field(default_factory=dict)

    @classmethod
    def of(cls, row: Row, attribute: "Attribute") -> "Triple":
        """
        Raises:
            BactrianError: the row does not end with an answer.
        """
        *context, last = row["messages"]
        if last["role"] != "assistant" or not context or not str(last["content"]).strip():
            raise BactrianError(f"counterfactuals: row {row['id']}: expected a conversation that ends with an answer")
        return cls(row, attribute, context, {"original": str(last["content"]).strip()})

    @property
    def before(self) -> str:
        """What came before the text, as who rewrites or judges reads it."""
        from bactrian.judge.models import spoken

        return spoken(self.context)

    def keep(self, side: "Side", text: str, writer: str, licence: str) -> None:
        """Take a rewrite, unless it says what the original says."""
        from bactrian.data.curate.quality import Flaw

        if " ".join(text.split()).casefold() == " ".join(self.texts["original"].split()).casefold():
            self.flaws[side] = Flaw("the rewrite changes nothing")
        else:
            self.texts[side], self.writers[side] = text, (writer, licence)

    def take(
        self, side: "Side", reply: "ChatReply", request: "ChatRequest", writer: str, licence: str, most: int
    ) -> None:
        """Take what a generator answered, unless something is wrong with it."""
        from bactrian.data.curate.quality import Flaw
        from bactrian.data.synth.replies import text_flaw

        asked = str(request.messages[-1]["content"])
        self.asked[side] = sha256(asked.encode()).hexdigest()[:16]
        if reply.fault:
            self.flaws[side] = Flaw("refused by the server", reply.fault[:120])
        elif reply.finish == "length":
            self.flaws[side] = Flaw("cut at the limit", f"{most:,} tokens")
        elif " ".join(reply.text.split()) == " ".join(self.texts["original"].split()):
            self.flaws[side] = Flaw("the rewrite changes nothing")
        elif flaw := text_flaw(reply.text, asked, most * CHARACTERS_A_TOKEN):
            self.flaws[side] = flaw
        else:
            self.keep(side, reply.text.strip(), writer, licence)

    def pair(self, chosen: "Side", rejected: "Side") -> Row:
        """A pair row; `made_by` says who rewrote what."""
        from bactrian.data.synth.made_rows import joined_licence

        used = [self.writers[side] for side in (chosen, rejected) if side in self.writers]
        source = str(self.row["source"])
        return {
            "id": f"{self.row['id']}-{self.attribute.name}-{chosen[0]}{rejected[0]}",
            "prompt": self.context,
            "chosen": [{"role": "assistant", "content": self.texts[chosen]}],
            "rejected": [{"role": "assistant", "content": self.texts[rejected]}],
            "chosen_model": self.writers.get(chosen, (source, ""))[0],
            "rejected_model": self.writers.get(rejected, (source, ""))[0],
            "attribute": self.attribute.name,
            "attribute_group": self.attribute.group,
            "pair": f"{chosen} > {rejected}",
            "source": f"{source}, rewritten",
            "license": joined_licence(str(self.row["license"]), *(licence for _, licence in used)),
            "made_by": {
                "seed": str(self.row["id"]),
                "prompts": " ".join(self.asked[side] for side in (chosen, rejected) if side in self.asked),
            },
        }


def in_part(row: Row, column: str, part: str, share: float) -> bool:
    """Whether a row's source belongs to a part; by the hash of what it has in a column.

    Raises:
        BactrianError: it has no such column.
    """
    if part == "all":
        return True
    if row.get(column) is None:
        raise BactrianError(f"counterfactuals: row {row['id']}: no {column}, by which train and dev part")
    digest = int(sha256(f"source/{row[column]}".encode()).hexdigest()[:12], 16) / 16**12
    return (digest < share) == (part == "dev")


def rewriting_request(triple: Triple, side: "Side", given: "AttributeSet", seed: int, how: Sampled) -> "ChatRequest":
    """What a generator is asked for one rewrite."""
    from bactrian.generate.chat_request import ChatRequest
    from bactrian.judge.attribute_questions import rewrite_question

    assert side != "original"
    others = [each.name for each in given.attributes if each.name != triple.attribute.name]
    text = rewrite_question(
        triple.attribute, side, given.text, triple.before, triple.texts["original"], others, given.wording
    )
    name = f"counterfactuals: row {triple.row['id']}, {triple.attribute.name}, {side}"
    drawn = int(sha256(f"{seed}/{name}".encode()).hexdigest()[:8], 16) % 2**31
    return ChatRequest(
        ({"role": "user", "content": text},), name, drawn, how.max_new_tokens, how.temperature, how.top_p
    )


def shuffled(triple: Triple, sides: "Iterable[Side]", seed: int, what: str) -> "list[Side]":
    """The order in which a judge sees these sides."""
    from random import Random

    order = [side for side in sides if side in triple.texts]
    Random(f"counterfactuals/{seed}/{triple.row['id']}/{triple.attribute.name}/{what}").shuffle(order)
    return order


def judging_requests(
    triple: Triple, given: "AttributeSet", seed: int, compare: bool, most: int
) -> "dict[str, ChatRequest]":
    """What a judge is asked about a triple: "rank", and for each rewrite, with `compare`, the other attributes."""
    from bactrian.generate.chat_request import ChatRequest
    from bactrian.judge.attribute_questions import comparing_question, ranking_question
    from bactrian.judge.counterfactual_pairs import SIDES

    def request(text: str, what: str, tokens: int) -> "ChatRequest":
        name = f"counterfactuals: row {triple.row['id']}, {triple.attribute.name}, {what}"
        return ChatRequest(({"role": "user", "content": text},), name, 0, tokens, 0.0)

    order = shuffled(triple, SIDES, seed, "rank")
    if len(order) < 2:
        return {}
    seen = [triple.texts[side] for side in order]
    found = {"rank": request(ranking_question(triple.attribute, given.text, triple.before, seen), "rank", most)}
    others = _others(triple, given)
    for side in order if compare and others else []:
        if side != "original":
            pair = [triple.texts[each] for each in shuffled(triple, ("original", side), seed, side)]
            question = comparing_question(others, given.text, triple.before, pair)
            found[side] = request(question, f"{side} against original", most + 16 * len(others))
    return found


def read_opinion(
    triple: Triple, given: "AttributeSet", seed: int, replies: "Mapping[str, ChatReply]", before: str
) -> "AttributeOpinion":
    """What a judge said of a triple, in the replies whose keys are `before` and what was asked."""
    from bactrian.judge.attribute_questions import SAME, read_comparison, read_ranking
    from bactrian.judge.counterfactual_pairs import SIDES, AttributeOpinion

    order, said = shuffled(triple, SIDES, seed, "rank"), replies.get(f"{before}rank")
    ranks = read_ranking(said.text, len(order)) if said is not None and not said.fault else None
    names = [each.name for each in _others(triple, given)]
    moved: dict[Side, Sequence[str]] = {}
    for side in order:
        told = replies.get(f"{before}{side}")
        if side != "original" and not names:
            moved[side] = ()
        elif (
            side != "original"
            and told is not None
            and not told.fault
            and (found := read_comparison(told.text, names)) is not None
        ):
            moved[side] = [name for name, more in found.items() if more != SAME]
    return AttributeOpinion(dict(zip(order, ranks, strict=True)) if ranks else None, moved)


def _others(triple: Triple, given: "AttributeSet") -> "list[Attribute]":
    return [each for each in given.attributes if each.name != triple.attribute.name]


def rewritten_by_program(triple: Triple, directions: "Iterable[Side]") -> None:
    """Rewrites of a question about one of our own requests.

    Raises:
        BactrianError: the row is none, or the attribute is not one that the program knows.
    """
    from bactrian.data.synth.asking.questions import ATTRIBUTES, HIGH, LOW, QuestionPlan, moved, written
    from bactrian.data.synth.asking.requests import UnderspecifiedRequest
    from bactrian.data.synth.procedural import LICENSE

    name, row = triple.attribute.name, triple.row
    if name not in (*ATTRIBUTES, OVERALL):
        raise BactrianError(
            f"counterfactuals: program: found the attribute {name!r}, expected {', '.join(ATTRIBUTES)} or {OVERALL}"
        )
    try:
        request, plan = UnderspecifiedRequest.read(str(row["case"])), QuestionPlan.read(str(row["plan"]))
    except (KeyError, ValueError) as error:
        raise BactrianError(
            f"counterfactuals: row {row['id']}: program: expected a row of `cases` with case and plan ({error})"
        ) from None
    for side in directions:
        level = HIGH if side == "enhanced" else LOW
        text = written(moved(plan, request, ATTRIBUTES if name == OVERALL else [name], level), request)
        triple.keep(side, text, PROGRAM, LICENSE)


def judged_by_program(triple: Triple) -> "AttributeOpinion":
    """Ranks and moves by the levels that the verifier `asking` reads off the texts themselves."""
    from bactrian.data.synth.asking.requests import UnderspecifiedRequest
    from bactrian.judge.attribute_questions import moved_by
    from bactrian.judge.counterfactual_pairs import AttributeOpinion
    from bactrian.verify.text.question_levels import levels

    truth = UnderspecifiedRequest.read(str(triple.row["case"])).truth()
    found = {side: levels(truth, text) for side, text in triple.texts.items()}
    if not all(found.values()):
        return AttributeOpinion(None)
    name = triple.attribute.name
    worth = {side: sum(each.values()) if name == OVERALL else each[name] for side, each in found.items()}
    order = sorted(set(worth.values()), reverse=True)
    moves: dict[Side, Sequence[str]] = {
        side: () if name == OVERALL else moved_by(each, found["original"], name)
        for side, each in found.items()
        if side != "original"
    }
    return AttributeOpinion({side: order.index(value) for side, value in worth.items()}, moves)
