"""Comments and docstrings point to what there is: files that exist, names that the code has."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("converter", "quant", "native", "tools", "qat", "python", "tests", "benchmarks", "fuzz")
SOURCES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".cc", ".h", ".def", ".inc")
]
TEXTS = {path: path.read_text(encoding="utf-8") for path in SOURCES}
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    ROOT / "Makefile",
    ROOT / "CMakeLists.txt",
    ROOT / "pyproject.toml",
]
# Files of other projects and of what a command is given.
FOREIGN = {"tools/versioning/op_version.cc", "fixedpoint/fixedpoint.h", "malloc.h", "evalpack.py"}
QUOTED = r"`[^`\n]*`"


def words_of(path):
    """The comments and docstrings of a file, as text."""
    text = TEXTS[path]
    if path.suffix != ".py":
        return "\n".join(re.findall(r"//[^\n]*", text))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(t.string for t in tokens if t.type == tokenize.COMMENT or t.string.startswith(('"""', 'r"""')))


WORDS = {path: words_of(path) for path in SOURCES}
UNQUOTED = re.sub(QUOTED, "", "\n".join((*TEXTS.values(), *(page.read_text(encoding="utf-8") for page in PAGES))))
NAMES = set(re.findall(r"\w+", UNQUOTED))
NAMES |= {path.stem for path in SOURCES}


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_that_comments_name_exist(folder):
    known = [f"/{path.relative_to(ROOT).as_posix()}" for path in SOURCES]
    lost = []
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] != folder:
            continue
        for name in re.findall(r"(?<![\w./<>{*-])((?:[\w-]+/)*[\w-]{2,}\.(?:py|cc|h|def|inc))\b", WORDS[path]):
            if name not in FOREIGN and not any(file.endswith(f"/{name}") for file in known):
                lost.append(f"{path.relative_to(ROOT)}: {name}")
    assert not lost


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_that_comments_quote_occur_in_code_or_docs(folder):
    lost = []
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] == folder:
            quoted = re.findall(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)`", WORDS[path])
            strange = [name for name in quoted if not NAMES.issuperset(name.split("."))]
            lost += [f"{path.relative_to(ROOT)}: {name}" for name in strange]
    assert not lost
