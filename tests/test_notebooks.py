"""Every notebook of examples/notebooks runs from its first cell to its last, on a tiny model and in an empty folder."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests import notebooks
from tests.notebooks import FOLDER, NOTEBOOKS

SMALL: dict[str, dict[str, Any]] = {
    "own_data": {"EPOCHS": 1, "NEW_TOKENS": 4},
    "own_reward": {"STEPS": 2, "NEW_TOKENS": 8},
    "two_models": {"PRACTICE": 32, "UNSEEN": 12, "NEW_TOKENS": 4},
    "decontaminate": {},
}
"""Values of the parameters, by notebook: less of everything."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.model.gguf_models import write_model

    folder = tmp_path_factory.mktemp("notebooks") / "model"
    write_model(folder, context=1024)
    return folder


def given(notebook: Path, model: Path) -> dict[str, Any]:
    small = SMALL[notebook.stem]
    return {**small, "MODEL": str(model)} if small else {}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = [value for _, value in notebooks.run(notebook, given(notebook, model)) if value is not None]
    assert shown
    for value in shown:
        page = value._repr_html_()
        assert page.startswith("<table>") and "<script" not in page
    assert list((tmp_path / "runs").glob("*/*/manifest.json"))


def test_there_is_one_of_each_kind_and_the_readme_names_it() -> None:
    assert {path.stem for path in NOTEBOOKS} == SMALL.keys()
    told = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert not [path.name for path in NOTEBOOKS if f"notebooks/{path.name}" not in told]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_its_links_lead_somewhere(notebook: Path) -> None:
    found = notebooks.read(notebook)
    assert found["nbformat"] == 4 and found["cells"][0]["cell_type"] == "markdown"
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None]
    assert len({cell["id"] for cell in found["cells"]}) == len(found["cells"])
    assert sum(cell.parameters for cell in notebooks.cells(notebook)) == 1
    told = "".join("".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#]+)", told):
        assert (FOLDER / target).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_kernel(
    notebook: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Jupyter's kernel and its client are installed: what is shown, and the bars."""
    pytest.importorskip("ipykernel")
    client, form = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    monkeypatch.setitem(os.environ, "BACTRIAN_NO_REEXEC", "1")
    book = form.read(notebook, as_version=4)
    for cell in book.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in given(notebook, model).items())
    client.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [out for cell in book.cells if cell.cell_type == "code" for out in cell.outputs]
    assert [out for out in outputs if out.output_type == "execute_result" and "<table" in out.data["text/html"]]
    if SMALL[notebook.stem]:
        bars = [out for out in outputs if out.output_type == "display_data" and "<progress" in out.data["text/html"]]
        assert bars and not [out for out in outputs if out.get("name") == "stderr" and "· took " in out.text]
