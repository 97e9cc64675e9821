"""Every test that takes `isolation` runs under each tool that works on this machine."""

import warnings
from collections.abc import Iterator

import pytest
from sandbox.walls import NONE, WORKING

from bactrian.errors import BactrianError
from bactrian.sandbox import Isolation
from bactrian.sandbox.attacks.siege import mounts
from bactrian.sandbox.choice import strongest


@pytest.fixture(autouse=True)
def nothing_is_mounted() -> Iterator[None]:
    """Whatever a test does, the machine's own mounts are the same afterwards."""
    before = mounts()
    yield
    assert mounts() == before


@pytest.fixture(params=WORKING or [None], ids=lambda each: each.name.split()[0] if each else "none")
def isolation(request: pytest.FixtureRequest) -> Isolation:
    if request.param is None:
        warnings.warn(NONE, stacklevel=1)
        pytest.skip(NONE)
    return request.param


@pytest.fixture
def strong() -> Isolation:
    """The one isolation that stages would use."""
    try:
        return strongest()
    except BactrianError as error:
        pytest.skip(f"{NONE}: {error}")
