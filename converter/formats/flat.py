"""Flatbuffers without generated code: bytes → Records by a schema, and back. What .tflite and .ms are made of.

    model = decode(map_file("m.tflite"), tflite_schema.SCHEMA, file="m.tflite")   # Record "Model", see Record
    model.subgraphs[0].tensors[3].shape                        # numpy int32 view of the file, None when absent
    model.subgraphs[0].operators[0].builtin_options.table      # "Conv2DOptions": a union's member is its Record's name
    graph.allTensors[5].quantParams["scale"]                   # tables in `rows` are one structured array
    with write_atomic("m.ms") as out:
        write(out, record, ms_schema.SCHEMA)                   # or encode(record, SCHEMA) → list of bytes-like

`decode` checks every offset, length, vtable and string before use; numeric vectors are zero-copy views. What a file
reaches twice is decoded once and is the same object. In an honest file objects do not overlap, so the bytes of all that
is decoded never exceed the file; more than that, or more than 1,000,000 tables (the official verifier's limit), is
refused, so that a small hostile file cannot expand without bound. Alignment is not assumed. Every refusal is a
ModelError with the file, the path (`Model.subgraphs[0].tensors[12].shape`) and the byte.

`encode` and `write` take Records, or dicts for any table, `(table, dict)` for a union. Scalars that equal their default
are omitted, as are fields that are None; `force` names the fields ("Tensor.type") that are written all the same. Enum
fields take numbers or member names. A vector takes an ndarray, a list, or bytes; `[ubyte]` takes an array of any dtype
as raw bytes, aligned to its itemsize. Equal parts (vtables, strings, vectors, whole tables) are stored once. Large
arrays are not copied: they stand behind the structure and are streamed. The same input gives the same bytes. A value
that does not fit its field, and a file of 2 GiB or more, is an OutputError.
"""

from __future__ import annotations

from .flat_decode import decode, file_slice
from .flat_encode import encode, write
from .flat_schema import Enum, Field, Record, Schema, dump, same

__all__ = ["Enum", "Field", "Record", "Schema", "decode", "dump", "encode", "file_slice", "same", "write"]
