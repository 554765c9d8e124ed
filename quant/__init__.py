"""Decides which tensor gets which type."""
