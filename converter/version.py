"""The version, which stands in every file that is written."""

__version__ = "0.1.0"
