"""Draw docs/architecture.svg: the rooms of the package, and what imports what, from the source.

    python docs/draw_architecture.py

Parses every import of ``src/maam``, lazy ones too. ``tests/test_architecture.py`` holds the order.
"""

from __future__ import annotations

import ast
import textwrap
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "maam"
OUTPUT = Path(__file__).with_name("architecture.svg")

# The order of imports: a room imports from the rows above its own, never from its own or below.
ROWS = (
    ("core",),
    ("data", "models", "native", "report"),
    ("training", "deploy"),
    ("mindspore", "torch", "paper"),
    ("cli",),
)
PURPOSES = {
    "core": "errors, files, options, run folders, scores",
    "data": "pixels, labels, splits",
    "models": "registry, agents, folding, weights",
    "native": "C++ operators",
    "report": "cards, tables, plots",
    "training": "options to a finished run",
    "deploy": "a finished run on a device",
    "mindspore": "networks, loop, export",
    "torch": "the same in PyTorch",
    "paper": "the paper reproduced",
    "cli": "one file a verb",
}

# The way of data, module by module.
FLOWS = {
    "maam train FOLDER": (
        "cli.train",
        "training.options",
        "data.sources.folder",
        "training.setup",
        "mindspore.loop",
        "training.finalize",
        "report.card",
    ),
    "maam predict RUN PHOTO": (
        "cli.predict",
        "deploy.prediction",
        "core.run_folder",
        "deploy.inputs",
        "data.files.decoding",
        "deploy.onnx",
        "deploy.formats",
    ),
}

WIDTH, HEIGHT, WIDE, TALL, GREY = 1180, 870, 226, 86, "#5b6b7b"


def module_name(path: Path) -> str:
    """``src/maam/core/files.py`` -> ``maam.core.files``."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, known: set[str]) -> set[str]:
    """The modules that a file names in its imports, wherever in the file.

    Args:
        path: the file.
        known: all modules of maam, to tell ``from package import module`` from a name in it.
    """
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.level:
                raise ValueError(f"{path}:{node.lineno}: a relative import")
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                imported.add(full if full in known else node.module)
    return imported


def graph() -> dict[str, set[str]]:
    """Every module of maam -> the modules that it imports."""
    files = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
    return {name: imports_of(path, set(files)) for name, path in files.items()}


def room(module: str) -> str:
    """``maam.core.files`` -> ``core``; the package itself has no room."""
    parts = module.split(".")
    return parts[1] if parts[0] == "maam" and len(parts) > 1 and parts[1] in PURPOSES else ""


def arrows() -> Counter[tuple[str, str]]:
    """(importing room, imported room) -> number of imports."""
    counted: Counter[tuple[str, str]] = Counter()
    for module, imports in graph().items():
        for imported in imports:
            pair = room(module), room(imported)
            if all(pair) and pair[0] != pair[1]:
                counted[pair] += 1
    return counted


def draw() -> str:
    """The picture as SVG: the rooms, and below them the way of data through their modules."""
    counts, known = arrows(), graph()
    level = {name: row for row, rooms in enumerate(ROWS) for name in rooms}
    positions = {
        name: (WIDTH * (column + 1) / (len(rooms) + 1), 20 + row * 128)
        for row, rooms in enumerate(ROWS)
        for column, name in enumerate(rooms)
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="Helvetica, Arial, sans-serif">',
        "<title>The rooms of maam, their imports, and the way of data through them</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{GREY}"/></marker></defs>',
    ]
    for (importing, imported), count in sorted(counts.items()):
        if level[importing] - level[imported] == 1:  # those over several rows stand in the boxes
            (x1, y1), (x2, y2) = positions[importing], positions[imported]
            parts.append(_arrow(x1, y1, x2, y2 + TALL, 1 + min(count, 30) / 15))
    for name, (x, y) in positions.items():
        used = {target: n for (source, target), n in counts.items() if source == name}
        imports = ", ".join(
            f"{target} {n}" for target, n in sorted(used.items(), key=lambda u: (-u[1], u[0]))
        )
        lines = [
            PURPOSES[name],
            *textwrap.wrap(f"imports {imports}" if used else "imports nothing", 40),
        ]
        parts += _box(x - WIDE / 2, y, WIDE, TALL, name, lines)
    for number, (command, modules) in enumerate(FLOWS.items()):
        top = 20 + len(ROWS) * 128 + number * 92
        wide = (WIDTH - 40) / len(modules) - 18
        parts.append(_text(20, top + 4, command, 14, "start", bold=True))
        for column, module in enumerate(modules):
            if f"maam.{module}" not in known:
                raise ValueError(f"FLOWS names {module}, which there is not")
            left = 20 + column * (wide + 18)
            parts += _box(left, top + 14, wide, 44, module, [], size=12)
            if column:
                parts.append(_arrow(left - 17, top + 36, left - 1, top + 36, 1.4))
    total = sum(counts.values())
    note = f"{total} imports between rooms, all towards core; none goes back, and there is no cycle"
    parts.append(_text(WIDTH - 16, HEIGHT - 10, note, 12, "end"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(
    x: float, y: float, wide: float, tall: float, name: str, lines: list[str], size: int = 16
) -> list[str]:
    middle, first = x + wide / 2, y + (22 if lines else tall / 2 + 4)
    return [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{tall}" rx="8" '
        'fill="#e8f1fa" stroke="#0072b2" stroke-width="1.5"/>',
        _text(middle, first, name, size, "middle", bold=True),
        *(_text(middle, first + 17 + 14 * n, line, 11, "middle") for n, line in enumerate(lines)),
    ]


def _text(x: float, y: float, text: str, size: int, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}"{weight} '
        f'fill="#12293d">{text}</text>'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float, wide: float) -> str:
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="{GREY}" '
        f'stroke-width="{wide:.1f}" marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    OUTPUT.write_text(draw(), encoding="utf-8")
    print(f"{OUTPUT}: {sum(arrows().values())} imports between rooms")
