"""The names of engines, checked before anything runs: no torch here."""

from typing import Any

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.store.plugins import Plugins

LOCAL, VLLM = "local", "vllm"
OWN = (LOCAL, VLLM)
PLUGINS: Plugins[Any] = Plugins("bactrian.engines", "engine", "a function that makes an engine", callable)
"""Entry points of `bactrian.engines` name an `engines.Maker`; the entry point's name is the engine's."""


def check_engine(name: str) -> None:
    """
    Raises:
        BactrianError: no engine has this name, or two have it.
    """
    others = PLUGINS.names(own=OWN)
    if name not in (*OWN, *others):
        meant = nearest(name, [*OWN, *others])
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise BactrianError(
            f'hardware, field "engine": found {name!r}, expected {LOCAL!r} or an engine that an installed package '
            f"registers ({', '.join(others) or 'none does'}){hint}"
        )
