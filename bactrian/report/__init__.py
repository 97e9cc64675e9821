"""The page a person reads: one self-contained HTML file for a run."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_report"]


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run's folder, from its `run.json` and the artifacts that this names.

    Of each `scaling` step the plot is written as a file too, `scaling-STEP.svg`.

    What is missing (a step not made yet, an artifact deleted since, an empty metrics file) is said on the page. Only an
    absent or unreadable `run.json` is an error.

    Args:
        run_folder: `runs/<recipe name>`.

    Returns:
        The path of the page.

    Raises:
        BactrianError: `run.json` is missing or is not a run's record.
    """
    from bactrian.report.load import load_run
    from bactrian.report.page import render_page
    from bactrian.report.scaling_plot import drawings
    from bactrian.store.artifact import write_atomically

    run = load_run(run_folder)
    target = run_folder / "report.html"
    write_atomically(target, render_page(run))
    for name, drawing in drawings(run):
        write_atomically(run_folder / name, drawing)
    return target
