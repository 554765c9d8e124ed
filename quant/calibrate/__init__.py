"""Calibration: data, what is observed on them, thresholds."""
