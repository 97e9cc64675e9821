"""The steps of Self-Instruct [Wang et al. 2023] that need no model: what is asked, how it is read, what is refused.

The procedure is the paper's; the words of the prompts are ours, and made for models that follow instructions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from random import Random
from typing import Any

from bactrian.data.curate.quality import Flaw
from bactrian.data.io.problem_rows import questions_of
from bactrian.data.io.texts import answer_text
from bactrian.errors import BactrianError

HUMAN, MACHINE = 6, 2
"""Instructions shown in one prompt: of people, and of those made so far (people's, while there are none)."""
LAST_ITEM = 16
"""The list is to be continued up to this number."""
LIST_ENDS = (f"\n{LAST_ITEM + 1}.", f"\n{LAST_ITEM + 1})")
"""What ends an answer: a further item, which nobody asked for."""
LEAST_WORDS, MOST_WORDS = 4, 150
UNSEEN = re.compile(r"\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)
"""Words that ask for more than text."""
CLASSIFICATIONS, OTHERS = 12, 19
"""Seeds shown as examples of what is a classification task and what is not [paper, table 6]."""
EXAMPLES_SHOWN = 3
"""Seeds whose instances are shown before an instruction's own are asked for."""
MOST_INSTANCES = 5
LONGEST_INSTANCE = 4_000
"""Characters of an input or an output."""
ITEM = re.compile(r"^[ \t]*(\d{1,3})[.)][ \t]*", re.MULTILINE)
HEADING = re.compile(r"^[ \t*#]*example[ \t]*\d*[ \t*:.]*$", re.IGNORECASE | re.MULTILINE)
PART = re.compile(r"^[ \t*]*(input|output|label)[ \t*]*:[ \t*]*", re.IGNORECASE | re.MULTILINE)
NO_INPUT = re.compile(r"\A[<(\[]?\s*(?:no input|none|n/a|not needed|empty)\s*[>)\]]?\.?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class TaskInstance:
    """An input, which may be empty, and its output."""

    input: str
    output: str


@dataclass(frozen=True)
class SeedTask:
    """A task by a person. classification: one of few labels is its answer."""

    instruction: str
    instances: tuple[TaskInstance, ...] = ()
    classification: bool = False


@dataclass
class AcceptedTask:
    """A task by a model that passed; origin: how it was made; nearest: (place in the pool, ROUGE-L), highest first."""

    instruction: str
    origin: Mapping[str, Any]
    nearest: list[tuple[int, float]] = field(default_factory=list)
    classification: bool = False


def seed_task(row: Mapping[str, Any], where: str) -> SeedTask:
    """From the published layout (instruction, instances, is_classification), or from a conversation.

    Raises:
        BactrianError: naming the row, where it is neither.
    """
    instruction = row.get("instruction") or next(iter(questions_of(row)[-1:]), None)
    if not isinstance(instruction, str) or not instruction.strip():
        raise BactrianError(f"{where}: found the fields {', '.join(row)}, expected instruction, or messages")
    given = row.get("instances") or [{"input": "", "output": answer_text(row)}]
    try:
        given = json.loads(given) if isinstance(given, str) else given  # as `source` keeps a column of lists
        instances = tuple(TaskInstance(str(each.get("input") or ""), str(each["output"])) for each in given)
    except (TypeError, KeyError, AttributeError, ValueError):
        raise BactrianError(f"{where}, field 'instances': expected a list of {{input, output}}") from None
    return SeedTask(tidy(instruction), instances, row.get("is_classification") is True)


def tidy(text: str) -> str:
    """White space collapsed, the first letter a capital."""
    text = " ".join(text.split())
    return text[:1].upper() + text[1:]


def shown(seeds: Sequence[str], made: Sequence[str], draw: Random) -> list[str]:
    """The instructions of one prompt: HUMAN and MACHINE, shuffled."""
    machine = draw.sample(list(made), min(MACHINE, len(made)))
    human = draw.sample(list(seeds), min(HUMAN + MACHINE - len(machine), len(seeds)))
    chosen = [*human, *machine]
    draw.shuffle(chosen)
    return chosen


def more_instructions(instructions: Sequence[str]) -> str:
    """The prompt that asks for a continued list."""
    listed = "\n".join(f"{number}. {text}" for number, text in enumerate(instructions, 1))
    first = len(instructions) + 1
    return (
        f"Tasks for an assistant that reads and writes text:\n\n{listed}\n\n"
        f"Continue the list with the numbers {first} to {LAST_ITEM}. Each new task is unlike all others in subject, "
        "kind and wording; some ask for a label, most for free text; an assistant without eyes, hands or a network can "
        "do it. One task to a line, and nothing but the numbered list."
    )


def listed_instructions(text: str, cut: bool) -> list[str]:
    """The items of a continued list, tidied; it ends at LAST_ITEM, or where its numbers no longer rise.

    cut: the answer ended at its limit, so that the last item is not whole if the list goes on until there.
    """
    found = _split(ITEM, text)
    numbers = [int(start[1]) for start, _ in found]
    rising = (before < after <= LAST_ITEM for before, after in pairwise((0, *numbers)))
    items = [said for (_, said), more in zip(found, takewhile(bool, rising), strict=False)]
    if cut and len(items) == len(found):
        items = items[:-1]
    return [tidy(item.partition("\n\n")[0]) for item in items if item.strip()]


def instruction_flaw(text: str) -> Flaw | None:
    """What of the paper's rules an instruction breaks first."""
    words = len(text.split())
    if words < LEAST_WORDS:
        return Flaw(f"fewer than {LEAST_WORDS} words")
    if words > MOST_WORDS:
        return Flaw(f"more than {MOST_WORDS} words", f"{words:,}")
    if found := UNSEEN.search(text):
        return Flaw("asks for more than text", found[0])
    if text.lower().startswith("write a program"):
        return Flaw("begins with 'Write a program'")
    if not text[0].isascii():
        return Flaw("begins with no ASCII character", text[:1])
    if not text[0].isalnum():
        return Flaw("begins with punctuation", text[:1])
    return None


def is_classification(seeds: Sequence[SeedTask], instruction: str, draw: Random) -> str:
    """The prompt that asks whether a task is one of classification, after examples among the seeds."""
    kinds = {True: CLASSIFICATIONS, False: OTHERS}
    chosen: list[SeedTask] = []
    for kind, count in kinds.items():
        there = [seed for seed in seeds if seed.classification is kind]
        chosen += draw.sample(there, min(count, len(there)))
    draw.shuffle(chosen)
    listed = "\n".join(f"Task: {seed.instruction}\n{'Yes' if seed.classification else 'No'}\n" for seed in chosen)
    return (
        "Is the answer to a task always one of a few labels that the task gives or implies? Say Yes or No.\n\n"
        f"{listed}\nTask: {instruction}\nSay Yes or No, and nothing else."
    )


def said_yes(text: str) -> bool | Flaw:
    """The answer to `is_classification`."""
    word = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return word[1].lower() == "yes" if word else Flaw("neither yes nor no", repr(text[:40]))


def instances_wanted(seeds: Sequence[SeedTask], instruction: str, classification: bool, draw: Random) -> str:
    """The prompt that asks for instances: inputs first; for a classification the labels first, against their bias."""
    there = [seed for seed in seeds if seed.classification is classification and seed.instances]
    examples = draw.sample(there, min(EXAMPLES_SHOWN, len(there)))
    if classification:
        how = (
            f"Name the labels that the task can have as its answer, at most {MOST_INSTANCES}, and for each write an "
            "input to which it is the right answer. The form is a line with `Label:` and then one with `Input:`."
        )
    else:
        how = (
            f"Write examples of this task, at most {MOST_INSTANCES}: first an input, then its output. Each begins with "
            "a line `Example 1` (2, …), then `Input:` and `Output:`. A task that needs no input has one example, with "
            "`Input: none`. Inputs are real texts and numbers, not descriptions of such."
        )
    written = "\n\n".join(f"Task: {seed.instruction}\n{_written(seed)}" for seed in examples)
    return f"{how}\n\n{written}\n\nTask: {instruction}"


def _written(seed: SeedTask) -> str:
    lines = []
    for number, each in enumerate(seed.instances[:MOST_INSTANCES], 1):
        if seed.classification:
            lines.append(f"Label: {each.output}\nInput: {each.input or 'none'}")
        else:
            lines.append(f"Example {number}\nInput: {each.input or 'none'}\nOutput: {each.output}")
    return "\n".join(lines)


def read_instances(text: str, classification: bool, cut: bool) -> list[TaskInstance]:
    """The instances in an answer; what is not in the form asked for is none. cut: the last one is not whole."""
    parts = _parts(text)
    first, second = ("label", "input") if classification else ("input", "output")
    pairs = [(a, b) for (name, a), (other, b) in pairwise(parts) if (name, other) == (first, second)]
    if cut:
        pairs = pairs[:-1]
    found = [TaskInstance(b, a) if classification else TaskInstance(a, b) for a, b in pairs]
    clean = (TaskInstance("" if NO_INPUT.match(each.input) else each.input, each.output) for each in found)
    return list(clean)[:MOST_INSTANCES]


def _parts(text: str) -> list[tuple[str, str]]:
    """(input, output or label; what stands there), in order; headings of examples are no part of it."""
    return [(start[1].lower(), said.strip()) for start, said in _split(PART, HEADING.sub("", text))]


def _split(pattern: re.Pattern[str], text: str) -> list[tuple[re.Match[str], str]]:
    """Each match, and what stands between it and the next one."""
    starts = list(pattern.finditer(text))
    ends = [each.start() for each in starts[1:]] + [len(text)]
    return [(start, text[start.end() : end]) for start, end in zip(starts, ends, strict=False)]


def instance_flaws(instances: Sequence[TaskInstance]) -> Iterator[Flaw | None]:
    """What is wrong with each of an instruction's instances, by the paper's filters; None: nothing."""
    outputs: dict[str, set[str]] = {}
    for each in instances:
        outputs.setdefault(each.input, set()).add(each.output)
    seen: set[TaskInstance] = set()
    for each in instances:
        if not each.output:
            yield Flaw("an empty output")
        elif each.output == each.input:
            yield Flaw("an output that is its input")
        elif len(outputs[each.input]) > 1:
            yield Flaw("an input with several outputs")
        elif max(len(each.input), len(each.output)) > LONGEST_INSTANCE:
            yield Flaw("an instance that is too long")
        elif each in seen:
            yield Flaw("an instance that came before")
        else:
            yield None
        seen.add(each)


def instance_prompt(instruction: str, given: TaskInstance) -> str:
    """What the user says: the instruction, and the input below it where there is one."""
    return f"{instruction}\n\n{given.input}" if given.input else instruction


def known_instructions(seeds: Iterable[SeedTask]) -> list[str]:
    """The instructions of seeds, each once, in order."""
    return list(dict.fromkeys(seed.instruction for seed in seeds))
