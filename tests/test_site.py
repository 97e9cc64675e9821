"""The documentation site builds without a warning, and has every stage with every setting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bactrian.stages import all_stages

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "-f",
        str(ROOT / "site/mkdocs.yml"),
        "-d",
        str(folder),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_each_stage_has_a_page_with_its_settings(site: Path) -> None:
    for name, stage in all_stages().items():
        page = (site / "stages" / f"{name}.html").read_text(encoding="utf-8")
        missing = [field for field in stage.model_fields if field != "stage" and f"<code>{field}</code>" not in page]
        groups = [field for field in missing if f'id="{field}"' not in page]
        assert not groups, f"{name}: {groups}"


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text, page


@pytest.mark.slow
def test_a_link_out_of_the_pages_must_lead_somewhere() -> None:
    sys.path.insert(0, str(ROOT / "site"))
    try:
        import hooks
    finally:
        sys.path.pop(0)
    from mkdocs.exceptions import PluginError

    class Config:
        docs_dir = str(ROOT / "docs")

    class Source:
        src_path = "faq.md"

    class Page:
        file = Source

    def written(text: str) -> str:
        return hooks.on_page_markdown(text, Page, Config, None)

    assert written("[nano](../recipes/nano.yaml)") == "nano (`recipes/nano.yaml` in the repository)"
    assert written("[a](rl.md#x)") == "[a](rl.md#x)"
    with pytest.raises(PluginError, match=r"faq\.md: the link to \.\./recipes/gone\.yaml leads nowhere"):
        written("[gone](../recipes/gone.yaml)")
