"""A training curve of 1,000 points as our own SVG and by plotting libraries: bytes in the page, processor time to draw.

python benchmarks/charts.py     (each in a fresh process; a library that is not installed is left out:
                                 pip install matplotlib plotly altair vl-convert-python)
"""

import subprocess
import sys

POINTS = "import math; xs = list(range(1000)); ys = [2 / (1 + x / 80) + 0.1 * math.sin(x) for x in xs]"
DRAW = {
    "bactrian/report/charts.py, SVG": """
from bactrian.report.charts import curve
page = str(curve([("a", list(zip(xs, ys)))]))""",
    "matplotlib, SVG": """
import io, matplotlib; matplotlib.use("svg")
from matplotlib.figure import Figure
figure, buffer = Figure(figsize=(3.6, 1.76)), io.StringIO()
figure.subplots().plot(xs, ys)
figure.savefig(buffer, format="svg"); page = buffer.getvalue()""",
    "plotly, HTML with its script": """
import plotly.graph_objects as go
page = go.Figure(go.Scatter(x=xs, y=ys)).to_html(include_plotlyjs=True, full_html=False)""",
    "altair, SVG by vl-convert": """
import altair, io
rows = altair.Data(values=[{"x": x, "y": y} for x, y in zip(xs, ys)])
buffer = io.StringIO()
altair.Chart(rows).mark_line().encode(x="x:Q", y="y:Q").save(buffer, format="svg"); page = buffer.getvalue()""",
    "altair, HTML with its script": """
import altair, io
rows = altair.Data(values=[{"x": x, "y": y} for x, y in zip(xs, ys)])
buffer = io.StringIO()
altair.Chart(rows).mark_line().encode(x="x:Q", y="y:Q").save(buffer, format="html", inline=True)
page = buffer.getvalue()""",
}
REPORT = """
import re, time
forbidden = [what for what, found in {
    "style attributes or elements": re.search(r"<style|\\sstyle=", page),
    "scripts": "<script" in page,
    "eval": "new Function" in page or "Function(" in page,
}.items() if found]
print(f"{len(page.encode()):>12,} bytes {time.process_time():6.2f} s   {', '.join(forbidden)}")
"""


def main() -> None:
    print(f"{'':<34} {'size':>18} {'time':>8}   what our pages' content policy refuses")
    for name, code in DRAW.items():
        done = subprocess.run([sys.executable, "-c", f"{POINTS}\n{code}\n{REPORT}"], capture_output=True, text=True)
        print(f"{name:<34} {done.stdout.rstrip() or done.stderr.splitlines()[-1]}")


if __name__ == "__main__":
    main()
