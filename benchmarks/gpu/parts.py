"""One part of run.py: `parts.py NAME --device cuda --out FILE [--toy] [--seconds S]`; each row is written at once."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Bench:
    """What a part is asked for, and where its rows go. seconds: it should take."""

    device: str
    toy: bool
    seconds: float
    file: Path
    began: float = field(default_factory=time.monotonic)

    def row(self, what: str, **values: Any) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps({"what": what, **values}) + "\n")

    def check(self, what: str, value: float, allowed: float) -> None:
        """A number that must not be above another."""
        self.row(what, value=value, allowed=allowed, ok=bool(value <= allowed))

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.began)


def find(name: str) -> Callable[[Bench], None]:
    """The function of a part; what it needs is imported only now."""
    if name in ("machine", "parity"):
        import checks

        return {"machine": checks.machine, "parity": checks.parity}[name]
    if name.startswith("trl-"):
        import peer

        kind, shape = name.removeprefix("trl-").split("-", 1)
        return lambda bench: peer.KINDS[kind](bench, shape)
    if name.startswith(("grpo-", "sampling-")):
        import sampled

        kind, shape, *how = name.split("-")
        return lambda bench: sampled.KINDS[kind](bench, shape, *how)
    import tuned

    kind, shape, *how = name.split("-")
    return lambda bench: tuned.KINDS[kind](bench, shape, *how)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("part")
    options.add_argument("--device", default="cuda")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--toy", action="store_true")
    asked = options.parse_args()
    if asked.device == "cuda" and not asked.part.startswith("trl-"):  # as stages have it (run/prepare.py)
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    find(asked.part)(Bench(asked.device, asked.toy, asked.seconds, asked.out))


if __name__ == "__main__":
    main()
