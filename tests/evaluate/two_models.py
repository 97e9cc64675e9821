"""Two made-up models and what they answer, by problems and by tasks: input whose scores are on record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from bactrian.chat import ChatTemplate
from bactrian.data.synth.procedural import sums
from bactrian.generate.engine import Completion, Request

SKILL = {"weak": 0.25, "middle": 0.5, "strong": 0.7}
"""Model → share of its answers that are right, about."""
SUMS = list(sums(0, 40, split="dev"))
SPANS: list[dict[str, Any]] = [
    {
        "id": f"span{i}",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"Who was there at {i} o'clock?"},
        ],
        "ground_truth": '["the red fox"]' if i % 3 else '["a blue bird", "bird"]',
        "dataset": "squad_f1",
        "source": "made up",
        "license": "MIT",
    }
    for i in range(25)
]
ASKED = {row["messages"][-1]["content"]: row for row in (*SUMS, *SPANS)}


def draw(*names: object) -> Random:
    return Random(hashlib.sha256("/".join(map(str, names)).encode()).hexdigest())


@dataclass
class Fake:
    """Answers problems from a table: right, half right, wrong, unreadable or cut, by chance but always the same."""

    name: str
    template: ChatTemplate
    schedules: bool = False

    def generate(
        self,
        requests: Sequence[Request],
        on_tokens: Callable[[int], None] | None = None,
        on_finish: Callable[[int, int, Completion], Any] | None = None,
    ) -> list[list[Completion]]:
        answers = [[self.answer(request, sample) for sample in range(request.n)] for request in requests]
        for number, mine in enumerate(answers):
            for sample, completion in enumerate(mine):
                if on_finish is not None:
                    on_finish(number, sample, completion)
        return answers

    def answer(self, request: Request, sample: int) -> Completion:
        text = self.template.tokenizer.decode(request.prompt)
        (question,) = (q for q in ASKED if f"{q}\n" in text)
        chance = draw(self.name, question, request.temperature, request.seed if request.temperature else 0, sample)
        truth = ASKED[question]["ground_truth"]
        good = truth if ASKED[question]["dataset"] == "gsm8k" else truth.split('"')[1]
        half = "the fox and some others" if good != truth else "12345"
        said = good if chance.random() < SKILL[self.name] else chance.choice([half, half, "no idea", ""])
        thought = "<think>\nhm, 7 or 8?\n</think>\n\n" if chance.random() < 0.2 else ""
        text = f"{thought}Answer: {said}" if good == truth else f"{thought}{said}"
        ids = tuple(self.template.encoder.text(text)) or (1,)
        return Completion(ids, text, (), "length" if chance.random() < 0.15 else "stop")


GROUPS, CLUSTERS = "aabbbc", ("p", "p", "q", "", "q", "")


def truths(count: int) -> list[str]:
    return [str(3 * number + 1) for number in range(count)]


def texts(model: str, task: str, count: int, samples: int = 1) -> list[list[str]]:
    """What a model wrote to each question of a task whose truths are `truths`."""
    found = []
    for number, truth in enumerate(truths(count)):
        chance = draw(model, task, number)
        rights = [chance.random() < SKILL[model] for _ in range(samples)]
        found.append(["Answer: " + (truth if right else chance.choice(["0", "x", "9 9"])) for right in rights])
    return found


def logprobs(model: str, task: str, count: int, options: int) -> list[list[float]]:
    """Log-probabilities of each question's options; option number % options is the right one."""
    found = []
    for number in range(count):
        chance = draw(model, task, number, "rank")
        lls = [chance.uniform(-9, -1) for _ in range(options)]
        if chance.random() < SKILL[model]:
            lls[number % options] = -0.5
        found.append(lls)
    return found
