"""The installed packages that programs and their tests may import in the sandbox, beside Python's own library."""

import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

OFFERED = ("numpy",)
"""By the name of their folder. What one of them needs must stand here too."""
INSIDE = "/packages"
"""Where they lie in a sandbox with a root of its own."""


@cache
def folders() -> tuple[Path, ...]:
    """The folders of what is offered and installed here: of each package its own, and its shared libraries'.

    Nothing is imported to find them, and nothing else that is installed beside them is shown.
    """
    specs = [importlib.util.find_spec(name) for name in OFFERED]
    own = [Path(spec.origin).resolve().parent for spec in specs if spec is not None and spec.origin]
    return tuple(path for folder in own for path in (folder, folder.with_name(f"{folder.name}.libs")) if path.is_dir())


_LINKS: list[tempfile.TemporaryDirectory[str]] = []


@cache
def linked() -> str:
    """A folder of links to them, for a program without a root of its own; gone when this process ends."""
    _LINKS.append(tempfile.TemporaryDirectory(prefix="bactrian-packages-"))
    place = Path(_LINKS[-1].name)
    place.chmod(0o755)
    for folder in folders():
        (place / folder.name).symlink_to(folder)
    return str(place)


@cache
def versions() -> Mapping[str, str]:
    """Version of each package that is offered and installed: a verdict may depend on them."""
    there = {path.name for path in folders()}
    return {name: importlib.metadata.version(name) for name in OFFERED if name in there}
