"""What an error's line says."""

import pytest
from bitlite.converter.errors import ModelError, UsageError


@pytest.mark.parametrize(
    ("message", "file", "line"),
    [
        ("is empty", "m.ms", "m.ms: is empty"),
        ("m.ms: is empty", "m.ms", "m.ms: is empty"),
        ("is a directory", "dir", "dir: is a directory"),
        ("is empty", "", "is empty"),
    ],
)
def test_the_file_stands_in_front_unless_the_message_names_it(message, file, line):
    assert str(ModelError(message, file=file)) == line


def test_the_hint_follows():
    assert str(UsageError("--bits=9: not in 1..8", hint="--bits=8")) == "--bits=9: not in 1..8; try --bits=8"
