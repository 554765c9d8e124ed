"""What an operator row is, how nodes are made of rows, and what rows read from and write to."""
