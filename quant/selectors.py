"""How a user names parts of a model: by node name, regular expression, operator type, or a stretch of the graph.

conv1                 the node (or the tensor) of that name
type:Softmax          every node of that operator type, as bitlite or (where it has none of the name) the file names it
re:block_1[0-9]/.*    every node whose whole name matches; /block_1[0-9]/ finds it anywhere in the name
from a to b           every node on a path from a to b, both included
from a                a and everything behind it, up to the outputs
to b                  b and everything before it, from the inputs on
!…                    not what any of these means: taken out of what stands before it in the list
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..converter.text import unquote

_STRETCH = re.compile(r"from\s+(?P<first>\S.*?)(?:\s+to\s+(?P<last>\S.*))?|to\s+(?P<only>\S.*)")


class Selector(NamedTuple):
    """A parsed selection: `kind` is "name", "type", "regex" or "stretch" (from `first` to `last`, "" = open end).

    excluded: what it means is taken out of a selection.
    """

    kind: str
    first: str
    last: str = ""
    excluded: bool = False

    def matches(self, name: str, op: str = "") -> bool:
        """True when one node is meant by itself; a stretch needs the graph and never matches here."""
        if self.kind == "name":
            return name == self.first
        if self.kind == "type":
            return _plain(op) == _plain(self.first)
        return self.kind == "regex" and re.search(self.first, name) is not None

    def __str__(self) -> str:
        shown = {"type": f"type:{self.first}", "regex": f"/{self.first}/"}.get(self.kind, self.first)
        if self.kind == "stretch":
            shown = " ".join(
                part for part in (self.first and f"from {self.first}", self.last and f"to {self.last}") if part
            )
        return "!" * self.excluded + shown


def parse_selector(text: str) -> Selector:
    """Parses one selection; a text that is none of the forms is a node name.

    Raises:
        ValueError: a regular expression that does not compile, an empty type.
    """
    text = unquote(text)
    if not text:
        raise ValueError("is empty")
    if text.startswith("!"):
        return parse_selector(text[1:])._replace(excluded=True)
    if text.startswith("type:"):
        if not text[5:].strip():
            raise ValueError("must name an operator type after 'type:'")
        return Selector("type", text[5:].strip())
    if text.startswith("re:"):
        return Selector("regex", _compiled(f"^(?:{text[3:]})$"))
    if len(text) > 2 and text[0] == text[-1] == "/":
        return Selector("regex", _compiled(text[1:-1]))
    stretch = _STRETCH.fullmatch(text)
    if stretch:
        return Selector("stretch", stretch["first"] or "", stretch["last"] or stretch["only"] or "")
    return Selector("name", text)


def _plain(op: str) -> str:
    """DEPTHWISE_CONV_2D and DepthwiseConv2D are one operator."""
    return op.lower().replace("_", "")


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern
