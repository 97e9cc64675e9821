"""All verifiers, by the name that stands in a problem row's `dataset`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bactrian.errors import BactrianError
from bactrian.verify import gsm8k, gym
from bactrian.verify.verdict import Example, Verdict


@dataclass(frozen=True)
class Verifier:
    """`check(completion, ground_truth)`; `slow` if it must run where it can be killed; `examples` to check it on."""

    check: Callable[[str, str], Verdict]
    examples: tuple[Example, ...]
    slow: bool = False


VERIFIERS = {
    "gsm8k": Verifier(gsm8k.numeric, gsm8k.NUMERIC_EXAMPLES),
    "gsm8k_strict": Verifier(gsm8k.strict, gsm8k.STRICT_EXAMPLES),
    "reasoning_gym": Verifier(gym.reasoning_gym, gym.EXAMPLES, slow=True),
}


def verifier(dataset: str) -> Verifier:
    """The verifier of this name. Raises BactrianError with the nearest right name if there is none."""
    if dataset not in VERIFIERS:
        near = get_close_matches(dataset, VERIFIERS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BactrianError(f"no verifier is called {dataset!r}; expected one of {', '.join(VERIFIERS)}{hint}")
    return VERIFIERS[dataset]


def verify(dataset: str, completion: str, ground_truth: str) -> Verdict:
    """One verdict, in this process, however long it takes. Raises BactrianError for an unknown `dataset`."""
    return verifier(dataset).check(completion, ground_truth)


def check_verifiers(rows: Iterable[Mapping[str, Any]], where: str) -> None:
    """Let every verifier that problem rows name check itself. `where`: the rows' file, for messages.

    Raises BactrianError naming the first row of a verifier that is unknown or fails.
    """
    first: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        first.setdefault(row["dataset"], number)
    for dataset, number in first.items():
        try:
            self_check(dataset)
        except BactrianError as error:
            raise BactrianError(f"{where}, row {number}, field 'dataset': {error}") from None


def self_check(dataset: str) -> None:
    """Verify the verifier on its gold answers and hard negatives. Raises BactrianError naming the first it misses."""
    for example in verifier(dataset).examples:
        verdict = verify(dataset, example.completion, example.ground_truth)
        if verdict.outcome != example.outcome:
            raise BactrianError(
                f"the verifier {dataset} fails its self-check on {example.completion[:80]!r} with ground truth "
                f"{example.ground_truth[:80]!r}: found {verdict.outcome} ({verdict.reason}), expected {example.outcome}"
            )
