"""The house that Dockyard's modules make: rooms, floors and imports, computed from the source, and their picture.

`python -m tests.house` writes docs/explanation/house.svg, which docs/explanation/architecture.md shows.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dockyard"
PICTURE = ROOT / "docs" / "explanation" / "house.svg"
GROUND = "foundations"
"""The room of the modules that stand at the top of the package, in no folder."""

UPWARD: set[str] = set()
"""Modules that still import from a higher floor: each is to be moved or mended, and none may be added."""

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Module:
    """One module by its dotted name below the package: what it imports of the package, and what it is made of."""

    name: str
    lines: int
    package: bool
    imports: frozenset[str]
    functions: frozenset[str]
    foreign: frozenset[str]

    @property
    def room(self) -> str:
        """The folder at the top of the package that holds it."""
        return self.name.partition(".")[0] if "." in self.name or self.package else GROUND


@dataclass(frozen=True)
class House:
    """All modules of the package by name."""

    modules: Mapping[str, Module]

    @cached_property
    def imports(self) -> Graph:
        """Which modules each module imports, inside functions too."""
        return {name: module.imports for name, module in self.modules.items()}

    @cached_property
    def place(self) -> dict[str, str]:
        """The room of each module; one at the top that imports a room has a room of its own, as a door."""
        found = {name: module.room for name, module in self.modules.items()}
        doors = [name for name in self.imports if found[name] == GROUND and self.enters(name)]
        return {**found, **{name: name for name in doors}}

    def enters(self, name: str) -> bool:
        """Tell whether a module imports a room."""
        return any(self.modules[imported].room != GROUND for imported in self.imports[name])

    @cached_property
    def rooms(self) -> Graph:
        """Which rooms each room imports."""
        found: dict[str, set[str]] = {room: set() for room in self.place.values()}
        for name, imports in self.imports.items():
            if name not in UPWARD:
                found[self.place[name]] |= {self.place[imported] for imported in imports} - {self.place[name]}
        return {room: frozenset(imported) for room, imported in found.items()}

    @cached_property
    def floors(self) -> list[list[str]]:
        """The rooms of each floor, from the ground up: a room stands on the highest that it imports."""
        heights: dict[str, int] = {}
        for circle in order_circles(self.rooms):
            below = [heights[name] for room in circle for name in self.rooms[room] if name not in circle]
            heights |= dict.fromkeys(circle, 1 + max(below, default=0))
        return [
            sorted(room for room in heights if heights[room] == floor) for floor in range(1, max(heights.values()) + 1)
        ]

    @property
    def circles(self) -> list[list[str]]:
        """Modules that import each other, by whatever way round."""
        return [circle for circle in order_circles(self.imports) if len(circle) > 1]


def order_circles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components of a graph, each after those that it leads to (Tarjan)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        numbers[node] = lowest[node] = len(numbers)
        path.append(node)
        for target in sorted(graph[node]):
            if target not in numbers:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in path:
                lowest[node] = min(lowest[node], numbers[target])
        if lowest[node] == numbers[node]:
            circle = path[path.index(node) :]
            del path[path.index(node) :]
            found.append(sorted(circle))

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return found


def read_house(source: Path = SOURCE) -> House:
    """Read every module below a package's folder."""
    paths = {name_module(path, source): path for path in sorted(source.rglob("*.py"))}
    return House({name: read_module(name, path, frozenset(paths), source.name) for name, path in paths.items()})


def name_module(path: Path, source: Path) -> str:
    """Return a module's dotted name below the package; the package itself is `__init__`."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def read_module(name: str, path: Path, known: frozenset[str], package: str) -> Module:
    """Read one module."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    here = f"{package}.{name}" if path.name == "__init__.py" else f"{package}.{name}".rpartition(".")[0]
    wanted = set(find_imports(tree, here))
    own: set[str] = set()
    for module, attribute in wanted:
        below = module.removeprefix(package).removeprefix(".")
        if module == package or module.startswith(f"{package}."):
            inner = ".".join(part for part in (below, attribute) if part)
            own |= {next((found for found in (inner, below) if found in known), "__init__")}
    return Module(
        name,
        len(text.splitlines()),
        path.name == "__init__.py" and name != "__init__",
        frozenset(own - {name, "__init__"}),
        frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef)),
        frozenset(module.partition(".")[0] for module, _ in wanted) - {package},
    )


def find_imports(tree: ast.AST, here: str) -> Iterator[tuple[str, str]]:
    """Yield what a module imports, as module and attribute; what only a type checker imports does not count."""
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(here.split(".")[: len(here.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (above, node.module or "") if part)
            yield from ((module, alias.name) for alias in node.names)


WIDTH, MARGIN, SPACE = 1160, 16, 12
LINE, LETTER = 15, 6.1
"""Pixels: the height of a line of names and the width of a letter."""
HEAD, GAP = 44, 34
STYLE = """
text { font: 11px ui-monospace, monospace; fill: #1f2328 }
.name { font: 600 14px system-ui, sans-serif }
.note { font: 11px system-ui, sans-serif; fill: #59636e }
rect { fill: #f6f8fa; stroke: #afb8c1 }
path { fill: none; stroke: #0969da; stroke-opacity: .45; stroke-width: 1.5 }
.sheet { fill: #ffffff; stroke: none }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  rect { fill: #151b23; stroke: #3d444d }
  path { stroke: #4493f8 }
  .sheet { fill: #0d1117 }
}
"""


@dataclass(frozen=True)
class Box:
    """A room as it is drawn: where it stands, and the lines of names in it."""

    room: str
    x: float
    y: float
    width: float
    height: float
    names: tuple[str, ...]

    @property
    def middle(self) -> float:
        """The middle between left and right."""
        return self.x + self.width / 2


def draw_house(house: House) -> str:
    """Return the picture: rooms on their floors, the ground at the bottom, a line to each room that one stands on."""
    boxes: dict[str, Box] = {}
    y = float(MARGIN)
    for floor in reversed(house.floors):
        row = arrange_floor(house, floor, y)
        boxes |= {box.room: box for box in row}
        y = max(box.y + box.height for box in row) + GAP
    lines = [
        draw_line(boxes[room], boxes[lower]) for room in boxes for lower in sorted(reduce_imports(house.rooms, room))
    ]
    height = y - GAP + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
        f' aria-label="The rooms of src/dockyard on their floors, each with its modules and what it imports">\n'
        f'<style>{STYLE}</style>\n<rect class="sheet" width="{WIDTH}" height="{height:.0f}"/>\n'
        f"{''.join(lines)}{''.join(draw_box(box, house) for box in boxes.values())}</svg>\n"
    )


def arrange_floor(house: House, floor: list[str], y: float) -> list[Box]:
    """Place the rooms of a floor side by side, each as wide as its part of the floor's names asks for."""
    names = {room: name_modules(house, room) for room in floor}
    free = WIDTH - 2 * MARGIN - SPACE * (len(floor) - 1)
    least = 150.0
    shares = {room: sum(map(len, names[room])) + 1 for room in floor}
    spare = free - least * len(floor)
    boxes, x = [], float(MARGIN)
    for room in floor:
        width = least + spare * shares[room] / sum(shares.values())
        wrapped = tuple(wrap_names(names[room], width - 20))
        boxes.append(Box(room, x, y, width, 0, wrapped))
        x += width + SPACE
    height = HEAD + LINE * max(len(box.names) for box in boxes) + 8
    return [replace(box, height=height) for box in boxes]


def name_modules(house: House, room: str) -> list[str]:
    """Return the names of a room's modules as they are shown in it."""
    names = [name for name, place in house.place.items() if place == room and not house.modules[name].package]
    return sorted(name.removeprefix(f"{room}.") for name in names if name not in ("__init__", room))


def wrap_names(names: list[str], width: float) -> Iterator[str]:
    """Yield lines of names that fit into a width."""
    line = ""
    for name in names:
        longer = f"{line}  {name}" if line else name
        if line and len(longer) * LETTER * 1.09 > width:
            yield line
            longer = name
        line = longer
    yield line


def reduce_imports(rooms: Graph, room: str) -> set[str]:
    """Return the rooms that a room imports, without those that another of them leads to anyway."""

    def reach(start: str) -> set[str]:
        return {start, *(found for lower in rooms[start] for found in reach(lower))}

    return {lower for lower in rooms[room] if not any(lower in reach(other) for other in rooms[room] - {lower})}


def draw_line(upper: Box, lower: Box) -> str:
    """Draw an import between two rooms; a room on the way hides it."""
    top, bottom = upper.y + upper.height, lower.y
    bend = GAP * 0.8
    return (
        f'<path d="M{upper.middle:.0f} {top:.0f}C{upper.middle:.0f} {top + bend:.0f}'
        f' {lower.middle:.0f} {bottom - bend:.0f} {lower.middle:.0f} {bottom:.0f}"/>\n'
    )


def draw_box(box: Box, house: House) -> str:
    """Draw a room with its name, what it imports, and its modules."""
    on = ", ".join(sorted(house.rooms[box.room] - {GROUND}))
    parts = [f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="6"/>']
    parts.append(draw_text(box.x + 10, box.y + 20, box.room, "name"))
    parts.append(draw_text(box.x + 10, box.y + 36, f"on {on}" if on else "", "note"))
    parts += [draw_text(box.x + 10, box.y + HEAD + 12 + LINE * at, line) for at, line in enumerate(box.names)]
    return "\n".join(part for part in parts if part) + "\n"


def draw_text(x: float, y: float, words: str, kind: str = "") -> str:
    """Draw a line of words."""
    style = f' class="{kind}"' if kind else ' xml:space="preserve"'
    return f'<text{style} x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>' if words else ""


if __name__ == "__main__":
    PICTURE.write_text(draw_house(read_house()), encoding="utf-8")
