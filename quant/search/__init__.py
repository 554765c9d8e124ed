"""The form of a quantized model that a user's goals ask for: bits of layers and islands of float, found by trials."""
