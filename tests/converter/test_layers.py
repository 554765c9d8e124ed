"""The order of the layers, read from the import statements; and what starting up may load."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("converter", "native", "quant", "tools", "qat")
"""From bottom to top: a layer imports from itself and from those before it."""

ROOMS = (
    "text",
    "errors",
    "version",
    "numeric",
    "ir",
    "schema",
    "execute",
    "ops",
    "examples",
    "formats",
    "passes",
    "surgery",
)
"""Of the converter, from bottom to top: a room imports from itself and from those before it."""

HEAVY = {
    "onnx", "onnxruntime", "scipy", "PIL", "cv2", "rich", "tflite", "flatbuffers", "ai_edge_litert", "torch", "dask",
    "distributed", "fsspec",
}  # fmt: skip
"""Imported only inside the functions that need them."""

SOURCES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


def imported(path: Path, everywhere: bool) -> set[str]:
    """The modules that a file names, as "bitlite.converter.ir.graph"; only those loaded with it unless `everywhere`."""
    package = ("bitlite", *path.relative_to(ROOT).parent.parts)
    modules: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            modules.update((module, *(f"{module}.{alias.name}" for alias in node.names)))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not everywhere:
            continue
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not everywhere:
            pending += node.orelse
        else:
            pending += ast.iter_child_nodes(node)
    return modules


def module_of(path: Path) -> str:
    parts = ("bitlite", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts).replace("bitlite.python.bitlite", "bitlite")


MODULES = {module_of(path): path for path in (*SOURCES, *sorted((ROOT / "python").rglob("*.py")))}


def named_modules(call: ast.Call, package: str) -> set[str]:
    """What a call of import_module may load: all that begins with the constant part of the name."""
    name = call.args[0]
    part = name.values[0] if isinstance(name, ast.JoinedStr) else name
    if not isinstance(part, ast.Constant):  # the families, one after the other, or a package of somebody else
        return {m for m in MODULES if m.startswith(f"{package}.")} if package.endswith(".ops") else set()
    for _ in range(len(part.value) - len(part.value.lstrip(".")) - 1):
        package = package.rpartition(".")[0]
    whole = f"{package}.{part.value.lstrip('.')}" if part.value.startswith(".") else part.value
    return {m for m in MODULES if (m.startswith(whole) if part is not name else m == whole)}


def needs(module: str) -> set[str]:
    """The modules of the tree that a module imports anywhere: in functions, for the type checker, by import_module."""
    path, modules = MODULES[module], set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            modules |= named_modules(node, package)
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parts = package.split(".")
        base = ".".join((*parts[: len(parts) + 1 - node.level], *([node.module] if node.module else [])))
        for alias in node.names:
            if f"{base}.{alias.name}" != "bitlite._native":
                modules.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base)
    return modules - {module}


NEEDS = {module: needs(module) for module in MODULES}


def test_imports_have_no_circle():
    assert (
        len(NEEDS["bitlite.converter.ops"]) > 60
        and "bitlite.converter.formats.ms" in NEEDS["bitlite.converter.formats"]
    )
    try:
        graphlib.TopologicalSorter(NEEDS).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_the_converter_import_from_those_below(room):
    rank = {f"bitlite.converter.{name}": k for k, name in enumerate(ROOMS)}

    def room_of(module: str) -> str:
        return ".".join(module.split(".")[:3])

    assert {room_of(m) for m in MODULES if m.startswith("bitlite.converter.")} == set(rank)
    here = f"bitlite.converter.{room}"
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if room_of(module) == here
        for name in NEEDS[module]
        if rank[room_of(name)] > rank[here]
    ]
    assert not wrong


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
    heavy = {path: names & (HEAVY - {"torch"} if path.parts[len(ROOT.parts)] == "qat" else HEAVY)
             for path, names in early.items()}  # fmt: skip
    assert not {str(path.relative_to(ROOT)): names for path, names in heavy.items() if names}


def test_only_training_knows_torch():
    rooms = {
        path.parts[len(ROOT.parts)] for path in SOURCES if "torch" in {n.split(".")[0] for n in imported(path, True)}
    }
    assert rooms == {"qat"}


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
