"""Coverage-guided fuzzing of the flatbuffer decoder:  pip install atheris; python fuzz/fuzz_flat.py CORPUS_FOLDER

Whatever the bytes, `decode` returns Records or raises ModelError, and what it returned can be dumped and written again.
The first byte of an input chooses the schema; the rest is the file.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from bitlite.converter.errors import ModelError, OutputError
    from bitlite.converter.formats import ms_schema, tflite_schema
    from bitlite.converter.formats.flat import decode, dump, encode


def one_input(data: bytes) -> None:
    schema = ms_schema.SCHEMA if data[:1] < b"\x80" else tflite_schema.SCHEMA
    try:
        model = decode(data[1:], schema, identifier=b"")
        dump(model)
        encode(model, schema)
    except (ModelError, OutputError):
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
