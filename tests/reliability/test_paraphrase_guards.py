"""A paraphrase is as long as the original, in other words, and no refusal."""

import pytest

from bactrian.data.synth.paraphrases import ParaphraseGuards
from bactrian.verify.final_answer import declines

ORIGINAL = (
    "In the spring of that year the miller of Arden sold all of his geese to a weaver who lived beyond the hills."
)
GOOD = (
    "That year, when winter was over, every goose of Arden's miller went to some weaver from the far side of the "
    "mountains."
)
RUN = "Once, they say, the miller of Arden sold all of his geese, and a stranger from afar took them home."
REFUSAL = "I'm sorry, but I can't help with rewriting this text, as it may be under somebody's copyright, or so."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, None),
        (ORIGINAL, "copy"),
        (ORIGINAL.upper().replace(",", ""), "copy"),
        ("A weaver bought geese.", "too short"),
        (f"{GOOD} {GOOD} {GOOD}", "too long"),
        (REFUSAL, "refusal"),
        (RUN, "8 words"),
        ("…", "no words"),
    ],
)
def test_guards(text: str, reason: str | None) -> None:
    flaw = ParaphraseGuards().flaw(ORIGINAL, text, declines)
    assert flaw is None if reason is None else flaw is not None and reason in flaw.reason


def test_any_run_may_be_shared_where_that_is_said() -> None:
    assert ParaphraseGuards(shared=None).flaw(ORIGINAL, RUN, declines) is None
