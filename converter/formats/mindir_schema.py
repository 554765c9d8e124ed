"""The messages of a .mindir file, as far as inference needs them. Facts: mindspore's mind_ir.proto (proto2)."""

from __future__ import annotations

import functools
from typing import Any

from .protobuf import messages

_TABLE = {
    "ModelProto": "ir_version@1:string producer_name@2:string producer_version@3:string model_version@5:string"
    " graph@7:GraphProto functions@8:GraphProto* little_endian@10:bool primitives@12:PrimitiveProto*"
    " mind_ir_version@13:int64",
    "GraphProto": "node@1:NodeProto* name@2:string parameter@3:TensorProto* input@5:ValueInfoProto*"
    " output@6:ValueInfoProto* map_parameter@10:Opaque*",
    "NodeProto": "input@1:string* output@2:string* name@3:string op_type@4:string attribute@5:AttributeProto*"
    " domain@7:string",
    "PrimitiveProto": "name@1:string op_type@2:string attribute@3:AttributeProto* instance_name@4:string",
    "ValueInfoProto": "name@1:string tensor@2:TensorProto* denotation@4:string attr_info@5:AttributeProto",
    "AttributeProto": "name@1:string f@2:float i@3:int64 d@4:double s@5:bytes t@6:TensorProto floats@8:float*"
    " doubles@9:double* ints@10:int64* strings@11:bytes* tensors@12:TensorProto* ref_attr_name@15:string"
    " type@16:int32 values@17:AttributeProto*",
    "TensorProto": "dims@1:int64* data_type@2:int32 name@7:string raw_data@9:bytes external_data@12:ExternalDataProto"
    " compression_type@16:int32 quant_params@17:QuantParamProto*",
    "ExternalDataProto": "location@1:string offset@2:int64 length@3:int64",
    "QuantParamProto": "quant_algo_name@1:string attribute@2:AttributeProto*",
    "Opaque": "name@1:string",
}


@functools.cache
def model_proto() -> Any:
    """The class of a whole file's message."""
    return messages("bitlite_mindir", _TABLE)["ModelProto"]


# AttributeProto.type
FLOAT, DOUBLE, STRING, BOOL = 1, 11, 8, 9
TENSOR, TENSORS, TUPLE, LIST, UMONAD, IOMONAD, NONE = 17, 19, 20, 21, 23, 24, 25
INTEGERS = frozenset((2, 3, 4, 5, 6, 7, 12, 13))
STORAGE = {
    1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8", 12: "u4", 13: "u8",
    16: "u2", 17: "f8",
}  # fmt: skip
"""TensorProto.DataType → numpy's type of raw_data; of bfloat16 (16) the upper half of a float32."""
BFLOAT16 = 16
DTYPES = {**STORAGE, BFLOAT16: "f4"}
TYPE_IDS = {
    30: "?", 32: "i1", 33: "i2", 34: "i4", 35: "i8", 37: "u1", 38: "u2", 39: "u4", 40: "u8", 42: "f2", 43: "f4",
    44: "f8",
}  # fmt: skip
"""mindspore's TypeId, as operators take it, → numpy's type."""
EDGES = {0: "pad", 1: "same", 2: "valid"}
"""mindspore's PadMode, as operators take it."""
ENCRYPTED = {0x7F3A5ED8: "AES-GCM", 0x7F3A5ED9: "AES-CBC", 0x7F3A5EDA: "SM4-CBC"}
"""The first word of an encrypted file (little-endian) → its cipher."""
