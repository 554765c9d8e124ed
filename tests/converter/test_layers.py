"""The order of the layers, read from the import statements; and what starting up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("converter", "native", "quant", "tools")
"""From bottom to top: a layer imports from itself and from those before it."""

HEAVY = {"onnx", "onnxruntime", "scipy", "PIL", "cv2", "rich", "tflite", "flatbuffers", "ai_edge_litert", "torch"}
"""Imported only inside the functions that need them."""

SOURCES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


def imported(path: Path, everywhere: bool) -> set[str]:
    """The modules that a file names, as "bitlite.converter.ir.graph"; only those loaded with it unless `everywhere`."""
    package = ("bitlite", *path.relative_to(ROOT).parent.parts)
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            found.update((module, *(f"{module}.{alias.name}" for alias in node.names)))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not everywhere:
            continue
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not everywhere:
            pending += node.orelse
        else:
            pending += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_no_import_runs_upward(layer):
    above = {f"bitlite.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :]}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / layer).rglob("*.py"))
        for name in sorted(imported(path, everywhere=True))
        if ".".join(name.split(".")[:2]) in above
    ]
    assert not wrong


def test_heavy_modules_wait_until_they_are_needed():
    early = {path: {name.split(".")[0] for name in imported(path, everywhere=False)} for path in SOURCES}
    assert not {str(path.relative_to(ROOT)): names & HEAVY for path, names in early.items() if names & HEAVY}


def test_imports_inside_the_tree_are_relative():
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "bitlite"
    ]
    assert not wrong


@pytest.mark.parametrize(
    "statement",
    [
        "import bitlite",
        "from bitlite.tools.converter_lite import main; main(['--help'])",
        "from bitlite.tools.benchmark import main; main(['--help'])",
    ],
)
def test_what_answers_at_once_loads_no_numpy(statement):
    code = f"import sys; {statement}; sys.exit('loaded' if 'numpy' in sys.modules else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
