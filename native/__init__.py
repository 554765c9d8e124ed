"""Runs an IR: the plan, and the C++ kernels behind it."""
