"""Weights alone: WeightQuant and DynamicQuant."""
