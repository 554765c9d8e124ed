"""The site has every page of docs/, and its reference names what there is."""

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_page_stands_in_the_navigation_once():
    named = re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    docs = ROOT / "docs"
    assert sorted(named) == sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))


def test_the_reference_has_every_public_name():
    import bitlite
    import bitlite.surgery

    named = {
        line.rpartition(".")[2]
        for line in re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(), re.M)
    }
    public = {name for face in (bitlite, bitlite.surgery) for name in face.__all__}
    errors = {name for name in public if name.endswith("Error")}
    assert public - errors - named <= {"Graph", "__version__"}


def test_the_reference_names_what_there_is():
    for name in re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(), re.M):
        module, _, item = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert getattr(importlib.import_module(module), item).__doc__, name
