"""Conversations: the best questioner is the best, a dull one is caught, and patients only say what is so."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.curate.quality import Flaw
from bactrian.data.io.files import read_rows
from bactrian.data.io.tally import Tally
from bactrian.data.synth.asking.patient_cases import patient_case_row, patient_case_rows
from bactrian.data.synth.asking.questions import drawn_plan, moved, written
from bactrian.data.synth.asking.requests import UnderspecifiedRequest
from bactrian.errors import BactrianError
from bactrian.evaluate.interaction import interaction_summary as summary
from bactrian.evaluate.interaction.dialogue import CANNOT, Decision, Dialogue, simulate
from bactrian.evaluate.interaction.patients import (
    ASK,
    WEIGH,
    PatientCase,
    PatientSimulator,
    facts_by_words,
    patient_messages,
    read_decision,
    read_numbers,
    weighed_decision,
    words_of,
)
from bactrian.evaluate.interaction.reported import asking_rows
from bactrian.evaluate.interaction.request_simulator import (
    BestQuestioner,
    RequestSimulator,
    fewest_questions,
    gaps,
    left,
)
from bactrian.evaluate.reliability import write_rows
from bactrian.stages.reliability.cases import Cases
from bactrian.stages.reliability.interact import Interact
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "mediq_imedqa_dev.dev.jsonl"
CASE = PatientCase(
    ("She has had a fever for two days.", "She takes metformin.", "Her left knee is swollen."),
    "A woman of 40 feels ill.",
    "What is likeliest?",
    {"A": "An infected knee with fever", "B": "A broken arm"},
)


class Dull:
    """Asks the same every time."""

    def __init__(self, text: str) -> None:
        self.text = text

    def ask(self, dialogues: Sequence[Dialogue[Any]]) -> list[tuple[str, int]]:
        return [(self.text, 1)] * len(dialogues)


class Drawn:
    """Asks as somebody does who asks neither well nor badly, or with one attribute at its lowest."""

    def __init__(self, worse: str = "") -> None:
        self.worse = worse

    def ask(self, dialogues: Sequence[Dialogue[UnderspecifiedRequest]]) -> list[tuple[str, int]]:
        found = []
        for each in dialogues:
            now = each.case.telling(tuple(each.told()))
            plan = drawn_plan(now, Random(f"{each.id}/{len(each.exchanges)}"))
            found.append((written(moved(plan, now, [self.worse], 1) if self.worse else plan, now), 1))
        return found


def conversations(count: int = 150) -> list[Dialogue[UnderspecifiedRequest]]:
    random, found = Random(5), list[Dialogue[UnderspecifiedRequest]]()
    while len(found) < count:
        case = UnderspecifiedRequest.drawn(random, (0, 1))
        if not case.table().decided:
            found.append(Dialogue(f"c{len(found)}", case, case.answer))
    return found


def held(questioner: Any, most: int, count: int = 150) -> list[Dialogue[UnderspecifiedRequest]]:
    dialogues = conversations(count)
    simulate(dialogues, questioner, RequestSimulator(), most)
    return dialogues


def share_right(dialogues: Sequence[Dialogue[UnderspecifiedRequest]]) -> float:
    return sum(each.correct for each in dialogues) / len(dialogues)


def test_the_best_questioner_is_always_understood_and_right() -> None:
    best = held(BestQuestioner(), 15)
    assert all(each.correct and each.unanswerable == 0 and left(each).decided for each in best)
    fewest = {each.id: fewest_questions(each.case) for each in best}
    numbers = summary.interaction_numbers(best, fewest, gaps)
    assert numbers["gap_bits"]["mean"] == 0 and numbers["unanswerable"]["mean"] == 0
    assert abs(numbers["questions_beyond_best"]["mean"]) < 0.35  # greedy is not quite the best policy
    assert share_right(held(BestQuestioner(), 2)) < 1


def test_dull_and_ordinary_questions_are_worth_less() -> None:
    best, usual, dull = (held(each, 4) for each in (BestQuestioner(), Drawn(), Dull("Tell me more.")))
    assert share_right(best) > share_right(usual) > share_right(dull)
    assert all(each.unanswerable == 1 and len(each.exchanges) == 4 for each in dull)
    assert all(reply.reply.text == CANNOT for each in dull for reply in each.exchanges)
    saved = summary.error_reduction(usual, best, 0)
    assert saved is not None and saved["interval"][0] <= saved["reduction"] <= saved["interval"][1] <= 1
    assert saved["reduction"] > 0.3
    assert summary.error_reduction(best, best, 0) is None or share_right(best) < 1


@pytest.mark.parametrize("attribute", ["clarity", "focus", "answerability", "accuracy", "relevance", "openness"])
def test_every_attribute_matters(attribute: str) -> None:
    usual, worse = held(Drawn(), 4), held(Drawn(attribute), 4)
    told = [sum(len(each.told()) for each in dialogues) for dialogues in (usual, worse)]
    assert share_right(worse) < share_right(usual) or told[1] < told[0]


def test_the_same_conversation_goes_the_same_way() -> None:
    one, other = held(Drawn(), 6), held(Drawn(), 6)
    assert [each.transcript() for each in one] == [each.transcript() for each in other]


def test_a_patient_says_facts_and_nothing_else() -> None:
    dialogue = Dialogue("d", CASE, "A")
    simulator = PatientSimulator()
    (fever,) = simulator.reply([dialogue], ["Do you have a fever, and since when?"])
    assert fever.answered and fever.text == CASE.facts[0]
    (nothing,) = simulator.reply([dialogue], ["Any allergies?"])
    assert not nothing.answered and nothing.text == CANNOT and not nothing.fault
    told = PatientSimulator(patient=lambda asked: ["1, 3", "NONE", "7", "I feel terrible, doctor"])
    replies = told.reply([dialogue] * 4, ["?"] * 4)
    assert [each.answered for each in replies] == [True, False, False, False]
    assert [bool(each.fault) for each in replies] == [False, False, True, True]
    assert replies[0].text == f"{CASE.facts[0]} {CASE.facts[2]}"
    assert facts_by_words(CASE, "knees") == [2] and words_of("The patient reports a fever") == {"fever"}
    assert read_numbers("2", 2) == [1] and read_numbers("3", 2) is None and read_numbers("", 2) is None


def test_a_decision_is_read_or_is_none() -> None:
    dialogue = Dialogue("d", CASE, "A")
    assert read_decision(dialogue, "Sure: 5\nAnswer: a", 4) == read_decision(dialogue, "sure 4, answer: A", 4)
    assert read_decision(dialogue, "Sure: 3\nAnswer: B", 4).confident is False
    assert read_decision(dialogue, "Sure: 5\nAnswer: Z", 4).answer is None
    options = list(CASE.options.items())
    letter, text = options[0]
    for said in (letter, f"{letter}. {text}", text.upper(), f"({letter}) {text}."):
        assert read_decision(dialogue, said, 1).answer == letter and not read_decision(dialogue, said, 1).confident
    listed = "\n".join(f"{a}. {b}" for a, b in options)
    assert read_decision(dialogue, f"{listed}\n\nThe answer is B. A", 4).answer == "B"
    for said in (
        listed,
        "The answer is a fever.",
        f"Not {letter}. {text}",
        "I am no doctor.",
        "",
        f"{letter}. {options[1][1]}",
    ):
        assert read_decision(dialogue, said, 1).answer is None, said
    assert read_decision(dialogue, "Sure: 5", 4).confident is False and read_decision(dialogue, "", 4).answer is None


def test_patients_are_asked_till_the_decision_is_sure() -> None:
    sure = PatientSimulator(
        decider=lambda asked: ["Sure: 5\nAnswer: A" if "fever" in p else "Sure: 1\nAnswer: B" for p, _ in asked]
    )
    dialogue = Dialogue("d", CASE, "A")
    plain = PatientCase(CASE.facts, CASE.first, CASE.inquiry, {"A": "Yes", "B": "No"})
    dialogue.case = plain
    simulate([dialogue], Dull("Do you have a fever?"), sure, 15)
    assert len(dialogue.exchanges) == 1 and dialogue.correct
    assert "nothing in it is medical advice" in patient_messages(dialogue)[0]["content"]
    never = Dialogue("e", plain, "A")
    simulate([never], Dull("Any allergies?"), sure, 3)
    assert len(never.exchanges) == 3 and not never.correct and never.unanswerable == 1
    assert "- Any allergies?" in patient_messages(never)[0]["content"]


def test_decisions_that_cannot_be_read_are_counted_turn_by_turn() -> None:
    said = iter(["Sure: 2\nAnswer: A", "I am no doctor.", "Answer: B"])
    dialogue = Dialogue("d", PatientCase(CASE.facts, CASE.first, CASE.inquiry, {"A": "Yes", "B": "No"}), "A")
    simulate([dialogue], Dull("Do you smoke?"), PatientSimulator(decider=lambda asked: [next(said)]), 2)
    found = summary.interaction_numbers([dialogue], {}, gaps)
    assert (found["decisions"], found["unread_decisions"], found["unrated_decisions"]) == (3, 1, 2)
    dialogue.decision = dialogue.decisions[1]
    assert dialogue.transcript().endswith("Decision: none that could be read off:\nI am no doctor.")
    assert "1 of 3 decisions" in summary.summary_lines({"m": found}, {})[0]


def test_results_have_the_form_of_an_evaluation() -> None:
    sides = {"plain": held(Drawn(), 3), "best": held(BestQuestioner(), 3)}
    records = {
        label: {
            "": summary.outcome_records(mine, lambda each: each.case.text()),
            "attributes": summary.attribute_records(mine),
        }
        for label, mine in sides.items()
    }
    made = summary.results_of("toy", records, {"max_new_tokens": 9, "n": 150}, "plain", 0)
    assert list(made["tasks"]) == ["toy", "toy: attributes"] and json.dumps(made)
    accuracy = {each["model"]: each for each in made["scores"] if each["task"] == "toy"}
    assert accuracy["best"]["score"] == share_right(sides["best"])
    assert {name: n for name, (_, n) in accuracy["best"]["groups"].items()} == {}
    levels = {each["model"]: each for each in made["scores"] if each["task"] == "toy: attributes"}
    assert levels["best"]["score"] == 1.0 and set(levels["plain"]["groups"]) == set(summary.LEVELS)
    difference = {each["task"]: each for each in made["comparisons"]}
    assert difference["toy"]["test"] == "clustered z" and difference["toy: attributes"]["difference"] > 0.2


def test_cases_of_patients_are_read_or_refused() -> None:
    row = {"id": 1, "question": "What?", "context": ["She is ill."], "options": {"A": "x", "B": "y"}, "answer_idx": "B"}
    made = patient_case_row({**row, "facts": ["1. She is ill.", "12) She coughs."]}, "here", "mediQ", "CC BY 4.0")
    assert not isinstance(made, Flaw)
    assert PatientCase.read(made["case"]).facts == ("She is ill.", "She coughs.") and made["ground_truth"] == "B"
    for wrong, said in (
        ({}, "no case of MediQ's layout"),
        ({"facts": 3}, "no case of MediQ's layout"),
        ({"facts": ["f"], "answer_idx": "C"}, "one of the options A, B"),
    ):
        with pytest.raises(BactrianError, match=said):
            patient_case_row({**row, **wrong}, "here", "s", "l")
    with pytest.raises(ValueError, match="no case of a patient"):
        PatientCase.read("{}")


@pytest.mark.skipif(not SHARED.is_file(), reason="third-party data are not at hand")
def test_real_cases_by_rules() -> None:
    """Every case of MediQ is read; asking for what a fact says has the patient say that fact, or a likelier one."""
    rows = [json.loads(line) for line in SHARED.read_text().splitlines()]
    tally = Tally()
    made = patient_case_rows(
        ((row, f"line {number}") for number, row in enumerate(rows, 1)), "mediQ", "CC BY 4.0", tally
    )
    cases = [PatientCase.read(row["case"]) for row in made]
    assert len(cases) == tally.kept == 616 and len(tally.dropped) == 1  # one is no patient, and has no facts
    asked = [(case, place) for case in cases[:60] for place in range(len(case.facts))]
    found = [place in (facts_by_words(case, f"Is it so: {case.facts[place]}") or []) for case, place in asked]
    assert sum(found) / len(found) > 0.95


PATIENTS = (
    (
        "What is the likeliest cause?",
        {"A": "Pneumonia", "B": "Gout"},
        "A",
        ["He has coughed for a week.", "He smokes."],
    ),
    ("Which drug helps?", {"A": "Colchicine", "B": "Amoxicillin"}, "A", ["Her toe hurts.", "She drinks wine daily."]),
)
"""Made up, as everything here: question, options, the right one, atomic facts."""


def test_patients_of_a_file_in_mediq_s_layout_are_asked_the_same_way_every_time(tmp_path: Path) -> None:
    file = tmp_path / "patients.jsonl"
    rows = [
        {"id": n, "question": asked, "context": facts, "options": options, "answer_idx": right, "facts": facts}
        for n, (asked, options, right, facts) in enumerate(PATIENTS)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    workspace = Workspace.temporary(tmp_path / "cases", {"d": Input("d", file, Kind.DATA, "")})
    Cases(source="mediq", data="d").run(workspace)
    made = read_rows(workspace.output, "problem")
    assert [(row["ground_truth"], row["license"]) for row in made] == [("A", "CC BY 4.0")] * 2

    class Named:
        """Asks for facts by words of theirs, the first first."""

        def ask(self, dialogues: Sequence[Dialogue[PatientCase]]) -> list[tuple[str, int]]:
            return [(f"Is it so: {each.case.facts[len(each.exchanges) % 2]}", 1) for each in dialogues]

    def told(questioner: Any, most: int) -> list[Dialogue[PatientCase]]:
        found = [Dialogue(row["id"], PatientCase.read(row["case"]), row["ground_truth"]) for row in made]
        simulate(found, questioner, PatientSimulator(), most)
        return found

    known = told(Named(), 15)
    assert [sorted(each.told()) for each in known] == [["0", "1"]] * 2  # every fact, and then no further question
    assert all(each.decision and each.decision.confident and len(each.exchanges) <= 2 for each in known)
    assert [each.transcript() for each in told(Named(), 15)] == [each.transcript() for each in known]
    vague = told(Dull("Anything else?"), 3)
    assert [(len(each.exchanges), each.unanswerable, each.told()) for each in vague] == [(3, 1.0, {})] * 2


def test_conversations_leave_rows_for_the_page_on_reliability(tmp_path: Path) -> None:
    mine = {"usual": held(Drawn(), 4, 40), "best": held(BestQuestioner(), 4, 40)}
    fewest = {each.id: fewest_questions(each.case) for each in mine["best"]}
    records = {
        label: {"": summary.outcome_records(each, lambda _: ""), "attributes": summary.attribute_records(each)}
        for label, each in mine.items()
    }
    numbers = {label: summary.interaction_numbers(each, fewest, gaps) for label, each in mine.items()}
    saved = {"best": summary.error_reduction(mine["usual"], mine["best"], 0)}
    write_rows(tmp_path, asking_rows("unseen", records, numbers, saved))
    rows = json.loads((tmp_path / "reliability.json").read_text())["rows"]
    assert {row["study"] for row in rows} == {"alfa"} and {row["model"] for row in rows} == set(mine)
    found = {(row["model"], row["measure"], row["group"]): row for row in rows}
    assert len(found) == len(rows)
    right = found["best", "right in the end", ""]
    assert right["value"] == share_right(mine["best"]) and right["n"] == 40
    assert {group for _, _, group in found} == {"", *summary.LEVELS}
    assert found["best", "short of the best question", ""]["unit"] == "bits"
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert found["best", "errors fewer than the baseline's", ""]["value"] > 0


def test_settings_of_an_interaction() -> None:
    assert Interact(models=["m"], data="d").questions == 15
    with pytest.raises(ValidationError, match="less than or equal to 15"):
        Interact(models=["m"], data="d", questions=16)
    with pytest.raises(ValidationError, match="baseline: found 'x'"):
        Interact(models={"a": "m"}, data="d", baseline="x")


def test_a_model_s_letters_are_weighed_and_the_stage_says_what_it_decided(tmp_path: Path) -> None:
    from bactrian.model.blank import new_model, word_tokenizer

    said = " ".join(" ".join((text, *options.values(), *facts)) for text, options, _, facts in PATIENTS)
    tokenizer = word_tokenizer([f"{said} {ASK} {WEIGH} Answer : A B user assistant"], 512)
    sizes: dict[str, Any] = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 16, "context": 512}
    new_model(tokenizer, architecture="llama", folder=tmp_path / "model", **sizes)
    file = tmp_path / "patients.jsonl"
    rows = [
        {"id": n, "question": asked, "context": facts, "options": options, "answer_idx": right, "facts": facts}
        for n, (asked, options, right, facts) in enumerate(PATIENTS)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = {"d": Input("d", file, Kind.DATA, "")}
    cases = Workspace.temporary(tmp_path / "cases", inputs)
    Cases(source="mediq", data="d").run(cases)
    model = Input("m", tmp_path / "model", Kind.MODEL, "hash")
    workspace = Workspace.temporary(tmp_path / "talk", {"m": model, "d": Input("d", cases.output, Kind.DATA, "")})
    stage = Interact(models=["m"], data="d", questions=2, decision={"model": "m"}, weighed=True, max_new_tokens=2)
    stage.run(workspace)
    found = json.loads((workspace.output / "results.json").read_text())
    (about,) = found["interaction"]["models"].values()
    assert found["interaction"]["weighed"] and about["unread_decisions"] == about["unrated_decisions"] == 0
    assert sum(score["counts"]["unparsable"] for score in found["scores"]) == 0
    kept = len((workspace.scratch / "decisions.jsonl").read_text().splitlines())
    assert 2 <= kept <= about["decisions"], "each state of knowledge is weighed once"


def test_weighed_decisions_are_final_from_their_fifth_on() -> None:
    assert weighed_decision("AB", (0.2, 0.8), 5) == Decision("B", True)
    assert weighed_decision("AB", (0.41, 0.59), 4) == Decision("B", False)
    assert weighed_decision("AB", (), 1) == Decision(None, False, False)
    simulator = PatientSimulator(confident=3, weigher=lambda asked: [(0.45, 0.55) for _ in asked])
    dialogue = Dialogue("d", CASE, "B")
    simulate([dialogue], Dull("Any allergies?"), simulator, 15)
    assert dialogue.correct and not dialogue.exchanges
    with pytest.raises(ValidationError, match="weighed: expected a decision"):
        Interact(models=["m"], data="d", weighed=True)
