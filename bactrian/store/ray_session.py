"""The Ray cluster that this process works with: the one that RAY_ADDRESS names, or else one started on this machine."""

import logging
import os
from typing import Any

from bactrian.store.extras import lacks


def ray_session(what: str) -> Any:
    """The module `ray`, connected.

    Args:
        what: needs it, for the message: a setting.

    Raises:
        BactrianError: Ray is not installed, or no cluster answers.
    """
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
