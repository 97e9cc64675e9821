"""The Ray cluster that this process works with: the one that RAY_ADDRESS names, or else one started on this machine."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bactrian.stopping import SIGNALS
from bactrian.store.extras import lacks


def ray_session(what: str) -> Any:
    """The module `ray`, connected.

    Args:
        what: needs it, for the message: a setting.

    Raises:
        BactrianError: Ray is not installed, or no cluster answers.
    """
    with _signals_as_they_were():
        try:
            import ray
        except ImportError:
            raise lacks(what, "ray") from None
        if not ray.is_initialized():
            # without an address Ray joins whatever cluster another process has on this machine, and goes down with it
            where = os.environ.get("RAY_ADDRESS") or "local"
            ray.init(address=where, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)  # the stage has its own bar
    return ray


@contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """Ray ends a process at SIGTERM; here a step is finished first, and a checkpoint written."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
