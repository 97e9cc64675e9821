"""Reward models as verifiers, and what a judge reads of messages. The seam is verify/model_verifiers.py."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bactrian.verify.verdict import Problem, Verdict

if TYPE_CHECKING:
    from bactrian.model.reward_model import Scorer

Messages = Sequence[Any]
READ = "what the reward model reads"
PROMPTS_AT_ONCE = 64


class RewardJudge:
    """A reward model's view: score σ(reward), right from the row's `right_from`."""

    def __init__(self, model: "Scorer", micro_tokens: int = 4096) -> None:
        self.model, self.micro_tokens = model, micro_tokens

    def judge(self, asked: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        turns = [
            ([*problem.earlier, turn("user", problem.prompt)], [turn("assistant", answer)]) for problem, answer in asked
        ]
        rewards = rewards_of_answers(self.model, turns, [READ] * len(turns), self.micro_tokens)
        return [reward_verdict(problem, reward or 0.0) for (problem, _), reward in zip(asked, rewards, strict=True)]


def spoken(messages: Sequence[Mapping[str, Any]]) -> str:
    """What a judge reads of a prompt or answer: its one turn; of several all of them, each under its role."""
    if len(messages) == 1 and not messages[0].get("tool_calls"):
        return str(messages[0]["content"])
    return "\n\n".join(f"[{message['role']}]\n{_said(message)}" for message in messages)


def _said(message: Mapping[str, Any]) -> str:
    calls = [f"{call['name']} {call['arguments']}" for call in message.get("tool_calls", ())]
    return "\n".join([*filter(None, [message["content"]]), *calls])


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def rewards_of_answers(
    model: "Scorer",
    asked: Sequence[tuple[Messages, Messages]],
    names: Sequence[str],
    micro_tokens: int,
    longest: int | None = None,
    on_done: Callable[[int], None] = lambda answers: None,
) -> list[float | None]:
    """The reward of each (prompt, answer turns); None for one of more than `longest` tokens. A prompt is read once.

    `names`: of each, for messages. `on_done` hears how many answers were just scored.
    """
    from bactrian.chat import prompt_ids, render_answer
    from bactrian.model.packing import Group
    from bactrian.model.reward_model import rewards_of

    by_prompt: dict[tuple[int, ...], list[int]] = {}
    answers: list[tuple[int, ...]] = []
    for place, ((prompt, answer), name) in enumerate(zip(asked, names, strict=True)):
        before = tuple(prompt_ids(prompt, model.template, name))
        whole = render_answer(prompt, answer, model.template, name).ids
        answers.append(tuple(whole[len(before) :]))
        if longest is None or len(whole) <= longest:
            by_prompt.setdefault(before, []).append(place)
    found: list[float | None] = [None] * len(asked)
    prompts = list(by_prompt.items())
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        some = prompts[start : start + PROMPTS_AT_ONCE]
        groups = [Group(prompt, tuple(answers[place] for place in places)) for prompt, places in some]
        for (_, places), rewards in zip(some, rewards_of(model, groups, micro_tokens), strict=True):
            for place, reward in zip(places, rewards, strict=True):
                found[place] = reward
            on_done(len(places))
    return found


def reward_verdict(problem: Problem, reward: float) -> Verdict:
    if not math.isfinite(reward):
        return Verdict(0.0, "crashed", None, f"the reward model gave {reward}")
    score = 1 / (1 + math.exp(-max(-50.0, min(50.0, reward))))
    right = score >= problem.settings["right_from"]
    return Verdict(score, "right" if right else "wrong", None, f"reward {reward:.3g}")
