"""The integer semantics and the codecs of stored numbers."""
