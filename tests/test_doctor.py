"""`bactrian doctor`: what is looked at, and that what is wrong is said with what to do."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bactrian.cli import main as cli
from bactrian.run import doctor
from bactrian.run.doctor import MachineCheck


class Metadata:
    """Of a package with one requirement, one that its extra `far` adds, and one that both name."""

    def get_all(self, name: str) -> Sequence[str]:
        return {
            "Provides-Extra": ["far", "near"],
            "Requires-Dist": [
                "click>=8",
                'no-such-package>=2; extra == "far"',
                'click>=999; extra == "far"',
                'click>=8; extra == "near"',
            ],
        }[name]


def test_an_extra_is_missing_where_a_package_is_absent_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "metadata", lambda _: Metadata())
    far, near = doctor.extras()
    assert far.state == "missing" and far.advice == 'pip install "bactrian[far]"'
    assert far.found == "without no-such-package>=2, click>=999"
    assert near == MachineCheck("extra near", "good", "click")


@pytest.mark.parametrize(
    ("text", "slow"), [("50000 100000\n", True), ("max 100000\n", False), ("800000 1000\n", False)]
)
def test_a_container_with_less_than_its_cores(
    text: str, slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(doctor, "CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(doctor, "cores", lambda: 2)
    found = list(doctor._threads())
    assert [each.state for each in found] == ["slow"] * slow
    assert all("threads: 1" in each.advice for each in found)


def test_a_store_that_cannot_be_written_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor._store(tmp_path / "not" / "yet").state in ("good", "slow")
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    found = doctor._store(tmp_path / "not" / "yet")
    assert found.state == "broken" and str(tmp_path) in found.found and "--store" in found.advice


def test_the_quicker_number_type_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "measure_speed", lambda hardware: 1e9 if hardware.dtype == "float32" else 1e11)
    found = doctor._number_type()
    assert (found.state == "slow") == ("auto is float32" in found.found)
    assert found.state == "good" or "dtype: bfloat16" in found.advice


def test_a_machine_without_a_compiler_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bactrian.generate.decode_kernels.kernels", lambda: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    monkeypatch.delenv("BACTRIAN_NATIVE", raising=False)
    found = doctor._compiler()
    assert (found.state, found.found) == ("slow", "no cc, gcc or clang") and "apt install gcc" in found.advice


def test_the_command_looks_at_everything_and_runs_fail_where_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.invoke(["doctor"]) == 0
    said = capsys.readouterr().out
    for what in (
        "Python",
        "torch",
        "processor",
        "memory",
        "GPU",
        "numbers",
        "compiler",
        "sandbox",
        "extra math",
        "store",
    ):
        assert what in said
    monkeypatch.setattr(doctor, "measure_speed", lambda hardware: 1e9)  # once is enough
    monkeypatch.setattr(doctor, "_store", lambda _: MachineCheck("store", "broken", "gone", "another"))
    assert cli.invoke(["doctor"]) == 1
    assert "→ another" in capsys.readouterr().out
