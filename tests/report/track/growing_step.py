"""A step of a store, written as the runner and the loop write it."""

from pathlib import Path

from bactrian.store import step_attempt
from bactrian.store.artifact import Store, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind, Manifest

KEY = "0123456789abcdef" * 4


class GrowingStep:
    """A step of a store, written as the runner and the loop write it."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.folder, self.partial = self.store.folder("rlvr", KEY), self.store.partial("rlvr", KEY)

    def begin(self) -> Workspace:
        for part in ("output", "scratch"):
            (self.partial / part).mkdir(parents=True, exist_ok=True)
        self.attempt = step_attempt.begin(self.partial)
        return Workspace(self.partial / "output", self.partial / "scratch", 0, Hardware(), {}, self.store)

    def commit(self, kind: Kind = Kind.MODEL) -> None:
        self.store.commit(
            self.partial,
            Manifest(
                kind=kind,
                stage="rlvr",
                step="rl",
                key=KEY,
                content_hash="",
                inputs={},
                settings={},
                seed=0,
                code={},
                packages={},
                hardware={},
                licences=(),
                making=self.attempt.making,
                started=self.attempt.started,
                seconds=3.0,
                attempts=self.attempt.attempts,
                metrics={"loss": 0.5, "gone": None},
                files={},
            ),
        )
