"""Reads, rewrites and writes models: containers, operators and the arithmetic of numbers."""
