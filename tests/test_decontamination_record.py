"""Whether training rows were held against test items is written into everything made from them."""

import json
from pathlib import Path
from typing import Annotated, ClassVar

import fake_stages
import pytest
from pydantic import Field

from bactrian import stages
from bactrian.cli.tables import print_manifest
from bactrian.data.io.files import write_rows
from bactrian.recipe import recipe
from bactrian.recipe.recipe import load
from bactrian.report.load import load_run
from bactrian.report.trust import checks
from bactrian.run.runner import run
from bactrian.stages.data.decontaminate import Decontaminate
from bactrian.stages.stage import DataRef, HeldOutRef, ModelRef, Reference, Stage
from bactrian.store.artifact import Input, Store, Workspace
from bactrian.store.manifest import Decontamination, Kind, Licence, Manifest

RECIPE = """
name: r
steps:
  rows: {stage: lines, letter: one two three four five six seven eight nine}
  tests: {stage: lines, letter: zero, licence: CC-BY-NC-4.0}
  clean: {stage: decontaminate, data: [rows], against: [gsm8k_test.jsonl], action: report}
  first: {stage: fit, data: [clean], unlike: [tests]}
  second: {stage: fit, model: first, data: [rows]}
  third: {stage: fit, data: [raw.jsonl, clean]}
  names: {stage: compare, models: [first, second]}
"""


class Lines(fake_stages.Letters):
    """Data: a text, as often as there are to be letters."""

    name: ClassVar[str] = "lines"

    def run(self, workspace: Workspace) -> None:
        """Write data.parquet."""
        write_rows([{"text": self.letter, "id": str(i)} for i in range(self.count)], workspace.output)
        workspace.add_licence(Licence.of("the alphabet", self.licence))


class Fit(Stage):
    """A model, of data and perhaps another model."""

    name: ClassVar[str] = "fit"
    makes: ClassVar[Kind] = Kind.MODEL

    data: list[DataRef]
    model: ModelRef | None = None
    unlike: list[HeldOutRef] = Field(default_factory=list)

    def run(self, workspace: Workspace) -> None:
        """Write something."""
        (workspace.output / "weights.txt").write_text(" ".join(self.data))


@pytest.fixture
def manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Manifest]:
    monkeypatch.chdir(tmp_path)
    known = fake_stages.FAKES | {"fit": Fit, "lines": Lines, "decontaminate": Decontaminate}
    for module in (stages, recipe):
        monkeypatch.setattr(module, "all_stages", lambda: known)
    Path("gsm8k_test.jsonl").write_text(json.dumps({"question": "Two three four five six seven eight nine"}))
    Path("raw.jsonl").write_text(json.dumps({"text": "raw"}))
    Path("r.yaml").write_text(RECIPE)
    records = run(load(Path("r.yaml")), Store(Path("runs")))
    return {record.name: Manifest.read(Path("runs") / str(record.path)) for record in records}


def test_it_is_carried_from_data_to_models(manifests: dict[str, Manifest]) -> None:
    never = Decontamination(data="rows")
    clean = Decontamination(
        data="rows", against=("gsm8k",), rule="50% of an item's words in shared 8-grams of one row", left=1.0
    )
    found = {name: set(manifest.decontamination) for name, manifest in manifests.items()}
    assert found == {
        "rows": {never},
        "tests": {Decontamination(data="tests")},
        "clean": {clean},
        "first": {clean},
        "second": {never, clean},
        "third": {clean, Decontamination(data="raw.jsonl")},
        "names": set(),
    }


def test_what_is_only_compared_with_passes_nothing_on(manifests: dict[str, Manifest]) -> None:
    for name in ("clean", "first"):
        licences = {licence.licence for licence in manifests[name].licences}
        assert "CC-BY-4.0" in licences and "CC-BY-NC-4.0" not in licences


def test_an_artifact_taken_by_its_path_keeps_its_record(manifests: dict[str, Manifest]) -> None:
    from bactrian.recipe.references import resolve

    folder = Store(Path("runs")).folder("decontaminate", manifests["clean"].key)
    given: Input = resolve(str(folder), Kind.DATA, Path()).input()
    assert given.decontamination == manifests["clean"].decontamination


def test_the_report_and_show_say_so(manifests: dict[str, Manifest], capsys: pytest.CaptureFixture[str]) -> None:
    said = [check for check in checks(load_run(Path("runs/r"))) if "econtaminated" in check.title]
    assert [(check.level, check.title) for check in said] == [("look", "Not decontaminated")]
    assert "third was trained on rows that were never held against benchmarks: raw.jsonl" in said[0].text
    print_manifest(Path("x"), manifests["third"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "raw.jsonl: not decontaminated" in printed and "at most 100.0% of one is left" in printed


def test_held_out_marks_are_found_in_annotations() -> None:
    stage = Fit(data=["a"], unlike=["b"])
    assert [(found.ref, found.held_out) for found in stage.references()] == [("a", False), ("b", True)]
    assert HeldOutRef == Annotated[str, Reference(Kind.DATA, held_out=True)]
