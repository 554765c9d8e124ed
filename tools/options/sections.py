"""Sections of a config file, and the groups of the help page."""

from __future__ import annotations

# Sections of a config file; "" is the flat file of MindSpore Lite r1.x.
FLAT = ""
COMMON = "common_quant_param"
MIXED = "mixed_bit_weight_quant_param"
FULL = "full_quant_param"
WEIGHT = "weight_quant_param"
DATA = "data_preprocess_param"
DYNAMIC = "dynamic_quant_param"
TRANSFORM = "transform_quant_param"
REGISTRY = "registry"
MICRO = "micro_param"
MODEL, QUANT, CALIB, IMAGE, GRAPH, RUN = "Model", "Quantization", "Calibration", "Images", "Graph", "Run and report"
