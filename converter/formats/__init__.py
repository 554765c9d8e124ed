"""Readers and writers, one container a file."""
