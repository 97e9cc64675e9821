"""Budget forcing keeps its promises by construction, counts every token, and forwards none twice."""

import io
from pathlib import Path
from typing import Any

import pytest
from chain import thinker

from bactrian.chat import FORMATS, ChatTemplate, ThinkingFormat, literal_ids, prompt_ids, thinking_format
from bactrian.cli.think_console import think_aloud
from bactrian.errors import BactrianError
from bactrian.generate.decode_kernels import kernels
from bactrian.generate.engine import Completion, Continuation, Request
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel
from bactrian.think.forcing import Forcing, ThinkingQuestion, opened_prompt, request, think
from bactrian.think.markers import Markers
from bactrian.think.thought import Budget, Thought
from tests.model.tiny import write_tiny

FORMS = {"tags": FORMATS["tags"], "think": FORMATS["think"], "s1": FORMATS["s1"]}
ASKED = [{"role": "user", "content": "ab?"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return thinker(tmp_path_factory.mktemp("chain"))


@pytest.fixture(params=["native", "plain"])
def native(request: pytest.FixtureRequest) -> bool:
    if request.param == "native" and kernels() is None:
        pytest.skip("no C compiler on this machine")
    return bool(request.param == "native")


class CountedForcing(Forcing):
    """Forcing that also counts how often tokens were taken back, and how often none were put in their place."""

    takes = empty = 0

    def on_finish(self, request: int, sample: int, completion: Completion) -> Continuation | None:
        more = super().on_finish(request, sample, completion)
        if more is not None and more.drop:
            self.takes += 1
            self.empty += not more.ids
        return more


def questions(engine: LocalEngine, form: ThinkingFormat, n: int = 24) -> list[ThinkingQuestion]:
    return [ThinkingQuestion(opened_prompt(ASKED, engine.template, form), n, seed=1, temperature=1.0)]


def check(thought: Thought, markers: Markers, budget: Budget, limit: int) -> None:
    """All that is promised of one thought."""
    ids, form = thought.ids, markers.form
    assert thought.thinking_tokens <= limit
    assert thought.answer_tokens >= 1 and ids[len(ids) - thought.answer_tokens] not in markers.no_answer
    assert len(thought.waits) <= budget.waits
    for start in thought.waits:
        assert ids[start : start + len(markers.plain(budget.extension))] == markers.plain(budget.extension)
    closing = ids[thought.thinking_tokens : len(ids) - thought.answer_tokens]
    said = markers.template.tokenizer.decode(closing)
    final = budget.final if thought.ended == "budget" else ""
    if thought.ended == "itself":
        assert (form.delimiter + form.header).endswith(said) and said.endswith(form.header)
    elif limit:  # else all of that is in the prompt
        assert said == form.closing + final
        assert thought.ended == "turn" or thought.thinking_tokens > limit - 8
    assert form.delimiter not in thought.thinking and not set(ids[: thought.thinking_tokens]) & markers.ends
    forced = [i for start, stop in thought.forced for i in range(start, stop)]
    assert len(forced) == len(set(forced)) == thought.forced_tokens
    assert thought.sampled == len(ids) - len(forced) + thought.taken_back


@pytest.mark.parametrize(
    ("native", "name"),
    [("native", "tags"), ("plain", "tags"), ("native", "s1"), ("plain", "think")],
    indirect=["native"],
)
@pytest.mark.parametrize(
    "budget",
    [
        Budget(0, answer=8),
        Budget(1, answer=8),
        Budget(20, final="", answer=8),
        Budget(50, waits=2, answer=8),
        Budget(30, waits=3, extension="", answer=8),
        Budget(40, waits=1, greedy_answer=False, answer=5),
    ],
    ids=["none", "one", "no final", "wait 2", "no string 3", "sampled"],
)
def test_control_is_perfect_and_no_token_is_forwarded_twice(
    model: LanguageModel, native: bool, name: str, budget: Budget
) -> None:
    engine, form = LocalEngine(model, native=native), FORMS[name]
    markers = Markers(engine.template, form, budget.final)
    asked = questions(engine, form)
    limit = budget.thinking or 0
    forcing = CountedForcing(markers, budget, [limit] * len(asked))
    requests = [request(each, limit, markers, budget) for each in asked]
    engine.generate(requests, on_finish=forcing.on_finish)
    thoughts = list(forcing.thoughts.values())
    assert len(thoughts) == 24
    for thought in thoughts:
        check(thought, markers, budget, limit)
    generated, forced = (sum(t.sampled for t in thoughts), sum(t.forced_tokens for t in thoughts))
    # the last token of a completion, and of what is taken back, was never forwarded; without an extension one is again
    unseen = len(thoughts) + forcing.takes - forcing.empty
    assert engine.forwarded == sum(len(r.prompt) for r in requests) + generated + forced - unseen
    if budget.waits and budget.extension:
        assert max(len(t.waits) for t in thoughts) == budget.waits


def test_every_way_to_end_is_met(model: LanguageModel) -> None:
    engine = LocalEngine(model)
    thoughts = think(engine, questions(engine, FORMS["tags"], 60), FORMS["tags"], Budget(12, answer=8))[0]
    assert {t.ended for t in thoughts} == {"itself", "turn", "budget"}
    shared = [t for t in thoughts if t.ended == "itself" and t.thinking.endswith(".")]
    assert shared  # the full stop that is one token with the delimiter's "</" stays in the thinking
    assert not any(t.thinking.endswith(("<", "</")) for t in thoughts if t.ended == "itself")


def test_a_delimiter_that_was_cut_in_half_is_written_once(model: LanguageModel) -> None:
    engine, budget = LocalEngine(model), Budget(9, final="", answer=4)
    groups = think(engine, questions(engine, FORMS["tags"], 400), FORMS["tags"], budget)
    for thought in (t for g in groups for t in g if t.ended == "budget"):
        whole = engine.template.tokenizer.decode(thought.ids)
        assert not thought.thinking.endswith(("</", "</think"))
        assert "</</" not in whole and "</think</" not in whole


@pytest.mark.parametrize("waits", [0, 2])
def test_equals_asking_anew_for_every_piece(tmp_path: Path, native: bool, waits: int) -> None:
    """Greedily, against a loop that knows nothing of caches: the published algorithm on whole prompts."""
    engine = LocalEngine(LanguageModel.load(write_tiny(tmp_path / "m")), native=native)
    prompt = tuple(prompt_ids([{"role": "user", "content": "the cat sat"}], engine.template))
    free = engine.generate([Request(prompt, max_new_tokens=30, temperature=0)])[0][0]
    delimiter = engine.model.tokenizer.decode([free.ids[6]])
    form = ThinkingFormat("", delimiter, "", "\n")
    budget = Budget(24, waits, extension=" yes no", final="Answer :", answer=6)
    markers = Markers(engine.template, form, budget.final)
    (thought,) = think(engine, [ThinkingQuestion(prompt)], form, budget)[0]

    ids: tuple[int, ...] = ()
    extension, left = markers.plain(budget.extension), waits
    while True:
        piece = engine.generate(
            [Request(prompt + ids, max_new_tokens=24 - len(ids), temperature=0, stop_ids=markers.stop_ids)]
        )[0][0]
        ids += piece.ids
        if piece.finish == "stop" and left and len(ids) - 1 + len(extension) < 24:
            ids, left = ids[:-1] + extension, left - 1
            continue
        break
    ids += literal_ids(engine.template, form.header) if piece.finish == "stop" else markers.closing + markers.final
    answer = engine.generate(
        [Request(prompt + ids, max_new_tokens=6, temperature=0, banned=markers.no_answer, stop_ids=markers.stop_ids)]
    )[0][0]
    assert thought.ids == ids + answer.ids


def test_samples_do_not_depend_on_their_neighbours(model: LanguageModel) -> None:
    form, budget = FORMS["tags"], Budget(30, 1, answer=8)
    engine = LocalEngine(model)
    together = think(engine, questions(engine, form), form, budget)
    alone = [think(LocalEngine(model, rows=2), [q], form, budget)[0] for q in questions(engine, form)]
    assert [[t.ids for t in g] for g in together] == [[t.ids for t in g] for g in alone]
    fewer = think(engine, questions(engine, form, 5), form, budget)
    assert [[t.ids for t in g[:5]] for g in together] == [[t.ids for t in g] for g in fewer]


def test_without_a_budget_it_is_what_the_context_leaves(model: LanguageModel) -> None:
    engine, form = LocalEngine(model), FORMS["s1"]
    budget = Budget(None, waits=5, answer=10)
    (thought,) = think(engine, [ThinkingQuestion(opened_prompt(ASKED, engine.template, form), seed=3)], form, budget)[0]
    assert len(thought.ids) + len(opened_prompt(ASKED, engine.template, form)) <= engine.longest
    assert thought.loop is not None  # greedily, this model says the same for ever
    with pytest.raises(BactrianError, match=r"question 0: .* context of 512; the budget may be 396 at most"):
        think(engine, [ThinkingQuestion(opened_prompt(ASKED, engine.template, form))], form, Budget(511))


def test_a_delimiter_of_text_and_control_tokens_is_refused(model: LanguageModel) -> None:
    with pytest.raises(BactrianError, match="expected a single token or plain text"):
        Markers(model.template, ThinkingFormat("", "<|im_start|>answer"))


THINKING = "{{ '<think>' + m.reasoning_content + '</think>\n' if m.reasoning_content is defined else '' }}"
TURNS = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content + '\n' }}{% else %}{{ '>' }}"
    + THINKING
    + "{{ m.content + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '>' }}{% endif %}"
)


def test_the_format_is_read_off_the_template(model: LanguageModel) -> None:
    def of(name: str) -> ThinkingFormat:
        return thinking_format(ChatTemplate.load(model.tokenizer, name))

    assert of("think") == FORMATS["think"]
    assert of("tulu") == FORMATS["tags"]  # writes no reasoning
    assert of(TURNS) == ThinkingFormat("<think>", "</think>", "", "\n", "")
    assert thinking_format(model.template, "s1") == FORMATS["s1"]
    with pytest.raises(BactrianError, match="expected auto or one of tags, think, s1"):
        thinking_format(model.template, "S1")


def test_a_thought_is_what_training_would_have_rendered(model: LanguageModel) -> None:
    template = ChatTemplate.load(model.tokenizer, "think")
    form = thinking_format(template)
    engine = LocalEngine(LanguageModel(model.network, model.tokenizer, template))
    prompt = opened_prompt(ASKED, template, form)
    (thought,) = think(engine, [ThinkingQuestion(prompt, seed=5, temperature=1.0)], form, Budget(15, final=""))[0]
    said = template.tokenizer.decode(thought.ids[: thought.thinking_tokens])
    assert said.strip() == thought.thinking
    turn = {"role": "assistant", "content": "x", "reasoning_content": said}
    start = (*prompt, *thought.ids[: len(thought.ids) - thought.answer_tokens])
    assert template.write([*ASKED, turn], False).startswith(template.tokenizer.decode(start))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\na\n</think>\n\nb", ("a", "b")),
        ("a</think>b", ("a", "b")),
        ("just an answer", ("", "just an answer")),
        ("<think>\nnever done", ("never done", None)),
        ("<think>a</think>b</think>c", ("a</think>b", "c")),
    ],
)
def test_thinking_and_answer_are_told_apart(text: str, parts: tuple[str, str | None]) -> None:
    assert FORMATS["tags"].split(text) == parts


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("settings", [{"thinking": 0}, {"thinking": 14}, {"thinking": 60, "waits": 2}])
def test_the_terminal_shows_all_of_it_and_what_was_forced(
    model: LanguageModel, name: str, settings: dict[str, Any]
) -> None:
    form, budget = FORMS[name], Budget(**settings, greedy_answer=False, answer=8)
    for seed in range(3):
        engine, out, notes = LocalEngine(model), io.StringIO(), list[str]()
        thought = think_aloud(engine, ASKED, form, budget, temperature=1.0, seed=seed, target=out, note=notes.append)
        (expected,) = think(
            LocalEngine(model),
            [ThinkingQuestion(opened_prompt(ASKED, engine.template, form), 1, seed, 1.0)],
            form,
            budget,
        )[0]
        assert thought == expected
        shown = out.getvalue()
        assert "\x1b" not in shown
        assert shown.count("⟦Wait⟧") == len(thought.waits)
        free = "".join(piece.partition("⟧")[2] if i else piece for i, piece in enumerate(shown.split("⟦")))
        mine = thought.thinking.replace("Wait", "") + thought.answer.removeprefix("Final Answer:")
        assert "".join(free.split()) == "".join(mine.split())
        assert f"forwarded {engine.forwarded}" in notes[-1]
