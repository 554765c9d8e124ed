"""LSTM, GRU, RNN and SVDF: their rows, and what they become in each container."""
