"""The provenance graph: a layered drawing of steps and outside sources, left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from bactrian.report.formatting import shorten, visible
from bactrian.report.svg import coordinate, tag

BOX_WIDTH, BOX_HEIGHT, ROW_GAP = 132.0, 56.0, 20.0
LANE_HEIGHT = 8.0  # what an edge that passes a column takes there
PREFERRED_WIDTH = 1060.0


@dataclass
class Node:
    """A box, or (when `name` is empty) the place where a long edge crosses a column."""

    name: str
    caption: str = ""
    kind: str = ""
    detail: str = ""
    full: str = ""
    column: int = 0
    middle: float = 0.0
    before: list[Node] = field(default_factory=list)
    after: list[Node] = field(default_factory=list)

    @property
    def height(self) -> float:
        return BOX_HEIGHT if self.name else LANE_HEIGHT


@dataclass(frozen=True)
class Box:
    """What the graph knows of a step: its inputs are names of earlier boxes, or outside sources."""

    name: str
    caption: str
    kind: str
    detail: str
    inputs: tuple[str, ...]


def draw(boxes: Sequence[Box]) -> Markup:
    """The graph of `boxes`, which come in the order in which they were made."""
    nodes = _nodes(boxes)
    edges = [(source, target) for target in nodes for source in target.before]
    columns = _columns(nodes, edges)
    _arrange(columns)
    height = max(node.middle + node.height / 2 for column in columns for node in column) + 6
    gap = min(64.0, max(26.0, (PREFERRED_WIDTH - len(columns) * BOX_WIDTH) / max(1, len(columns) - 1)))
    width = len(columns) * (BOX_WIDTH + gap) - gap + 4
    parts = [_edge(source, target, gap) for source, target in edges]
    parts += [_box(node, gap) for node in nodes]
    scale = max(0.85, min(1.0, PREFERRED_WIDTH / width))  # a little too wide is drawn smaller; much too wide scrolls
    view = f"0 0 {width:.0f} {height:.0f}"
    size: dict[str, str | float] = {"viewBox": view, "width": scale * width, "height": scale * height}
    return tag("svg", size | {"class": "graph", "role": "img", "aria-label": "what was made from what"}, *parts)


def _nodes(boxes: Sequence[Box]) -> list[Node]:
    """Steps and, before their first use, sources; each in a column to the right of all of its inputs."""
    steps: dict[str, Node] = {}
    sources: dict[str, Node] = {}
    for box in boxes:
        node = Node(box.name, box.caption, box.kind, box.detail)
        for name in dict.fromkeys(box.inputs):
            given = steps.get(name) or sources.setdefault(name, _source(name))
            node.before.append(given)
            given.after.append(node)
        node.column = max((given.column + 1 for given in node.before), default=0)
        steps[box.name] = node
    for source in sources.values():
        source.column = min(node.column for node in source.after) - 1
    return [*sources.values(), *steps.values()]


def _source(name: str) -> Node:
    """An outside source (`embedded:…`, a path, a Hub id): the last part as name, what stands before it as caption."""
    cut = max(name.rstrip("/").rfind("/"), name.find(":"))
    short, origin = name[cut + 1 :], name[:cut]
    return Node(short or name, origin[-20:] or "from outside", "source", full=name)


def _columns(nodes: list[Node], edges: list[tuple[Node, Node]]) -> list[list[Node]]:
    """Nodes by column. Edges across several columns get a lane in each, and are linked through them."""
    columns: list[list[Node]] = [[] for _ in range(1 + max(node.column for node in nodes))]
    for node in nodes:
        columns[node.column].append(node)
        node.before, node.after = [], []
    for source, target in edges:
        last = source
        for column in range(source.column + 1, target.column):
            lane = Node("", column=column)
            columns[column].append(lane)
            _link(last, lane)
            last = lane
        _link(last, target)
    return columns


def _link(source: Node, target: Node) -> None:
    source.after.append(target)
    target.before.append(source)


def _arrange(columns: list[list[Node]]) -> None:
    """Order within columns by the neighbours' mean height, then pull every node towards its neighbours."""
    for column in columns:
        _stack(column)
    for sweep in range(12):
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            wanted = {id(node): _mean(node.before if forward else node.after, node.middle) for node in column}
            column.sort(key=lambda node: wanted[id(node)])
            for node in column:
                node.middle = wanted[id(node)]
            _stack(column)
    top = min(node.middle - node.height / 2 for column in columns for node in column)
    for column in columns:
        for node in column:
            node.middle += 4 - top


def _mean(neighbours: list[Node], otherwise: float) -> float:
    return sum(node.middle for node in neighbours) / len(neighbours) if neighbours else otherwise


def _stack(column: list[Node]) -> None:
    """Move nodes apart, keeping their order and the column's centre of gravity."""
    centre = sum(node.middle for node in column) / len(column)
    floor = float("-inf")
    for node in column:
        node.middle = max(node.middle, floor + node.height / 2)
        floor = node.middle + node.height / 2 + ROW_GAP
    shift = centre - sum(node.middle for node in column) / len(column)
    for node in column:
        node.middle += shift


def _left(node: Node, gap: float) -> float:
    return 2 + node.column * (BOX_WIDTH + gap)


def _edge(source: Node, target: Node, gap: float) -> Markup:
    """A smooth line from the right side of a box through its lanes to the left side of another."""
    path = [(_left(source, gap) + BOX_WIDTH, source.middle)]
    for lane in _lanes(source, target):
        path += [(_left(lane, gap), lane.middle), (_left(lane, gap) + BOX_WIDTH, lane.middle)]
    path.append((_left(target, gap) - 5, target.middle))
    d = f"M{_pair(*path[0])}"
    for index in range(0, len(path), 2):
        (x0, y0), (x1, y1) = path[index], path[index + 1]
        bend = (x1 - x0) / 2
        d += f"C{_pair(x0 + bend, y0)} {_pair(x1 - bend, y1)} {_pair(x1, y1)}"
        if index + 2 < len(path):
            d += f"L{_pair(*path[index + 2])}"
    tip = tag("path", {"class": "tip", "d": f"M{_pair(x1, y1 - 4)}l5.5 4l-5.5 4Z"})
    line = tag("path", {"class": "edge", "d": d}, tag("title", {}, f"{source.full or source.name} → {target.name}"))
    return tag("g", {"class": f"from {source.kind}"}, line, tip)


def _lanes(source: Node, target: Node) -> list[Node]:
    """The lanes that link two boxes."""
    for first in source.after:
        lanes, node = [], first
        while not node.name:
            lanes.append(node)
            node = node.after[0]
        if node is target:
            return lanes
    raise AssertionError("an edge without lanes")


def _box(node: Node, gap: float) -> Markup:
    left, top = _left(node, gap), node.middle - BOX_HEIGHT / 2
    parts = [
        tag("title", {}, f"{node.full or node.name} · {node.caption} {node.detail}".strip()),
        tag("rect", {"x": left, "y": top, "width": BOX_WIDTH, "height": BOX_HEIGHT, "rx": 7}),
        tag("text", {"x": left + 12, "y": top + 20, "class": "name"}, shorten(visible(node.name), 14)),
        tag("text", {"x": left + 12, "y": top + 35}, shorten(visible(node.caption), 18)),
    ]
    if node.detail:
        parts.append(tag("text", {"x": left + 12, "y": top + 49, "class": "detail"}, shorten(visible(node.detail), 20)))
    return tag("g", {"class": f"box {node.kind}"}, *parts)


def _pair(x: float, y: float) -> str:
    return f"{coordinate(x)} {coordinate(y)}"
