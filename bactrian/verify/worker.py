"""A worker process: reads one item a line from stdin, writes one verdict a line. Started by `pool.py`."""

import importlib
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from typing import TextIO

from bactrian.errors import BactrianError
from bactrian.verify import guard
from bactrian.verify.registry import VERIFIERS, names, verify
from bactrian.verify.verdict import Verdict

MEMORY_LIMIT = 4 << 30


def main() -> None:
    """Serve until stdin ends. What a scorer prints goes nowhere; an alarm ends a worker that its parent left behind."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    for name in sorted(name for name in names() if VERIFIERS[name].place == "worker"):
        example = VERIFIERS[name].examples[0]
        verify(name, example.completion, example.ground_truth, example.settings)
    guard.deny()
    answer(replies, {"ready": True})
    for line in sys.stdin:
        item = json.loads(line)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, item.pop("alarm"))
        try:
            find(item.pop("module"))
            reply: dict[str, object] = asdict(verify(**item))
        except BactrianError as error:
            reply = {"error": str(error)}
        except BaseException as error:
            reply = asdict(Verdict(0.0, "crashed", None, f"the verifier raised {error!r}"[:300]))
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answer(replies, reply)


def find(module: str) -> None:
    """Import a module that registers a verifier. Raises BactrianError if a worker cannot."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise BactrianError(
            f"the module {module}, which registers a verifier that runs in workers, cannot be imported there: {error}"
        ) from None


def answer(replies: TextIO, message: dict[str, object]) -> None:
    print(json.dumps(message), file=replies, flush=True)


if __name__ == "__main__":
    main()
