"""Names and text of a user's model in C: identifiers that any compiler takes, comments that cannot end early."""

from __future__ import annotations

import re

from ...text import printable

_KEYWORDS = frozenset(
    [
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        "asm",
        "main",
        "memory",
        "math",
        "string",
        "stdint",
        "stddef",
        "stdio",
        "int8_t",
        "uint8_t",
        "int16_t",
        "int32_t",
        "uint32_t",
        "int64_t",
        "size_t",
        "NULL",
        "INFINITY",
        "memcpy",
        "memset",
    ]
)
_STEP = re.compile(r"step_\d+")  # what the generated code calls its own
_LONGEST = 48  # of the 63 characters of an identifier that C99 tells apart, some are for a number


def identifier(name: str) -> str:
    """A C identifier like `name`: letters, digits and single underscores, not a word of C."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:_LONGEST].rstrip("_") or "x"
    if word[0].isdigit():
        return f"n{word}"
    return f"{word}_" if word in _KEYWORDS or _STEP.fullmatch(word) else word


class Identifiers:
    """Identifiers of one file, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wish: str, prefix: str = "") -> str:
        """`identifier(wish)` behind the prefix, with a number where that is taken; names that differ in case alone are
        too much alike."""
        word = base = f"{prefix}{identifier(wish)}"
        number = 1
        while word.lower() in self._taken:
            number += 1
            word = f"{base}_{number}"
        self._taken.add(word.lower())
        return word


def comment(text: str) -> str:
    """Text for a comment, on one line of ASCII: nothing in it ends the comment, joins lines or is a trigraph."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in printable(text))
    plain = plain.replace("\\", "/").replace("??", "? ?")
    while "*/" in plain or "/*" in plain:
        plain = plain.replace("*/", "* /").replace("/*", "/ *")
    return plain
