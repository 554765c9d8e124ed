"""LSTM, GRU, RNN and SVDF: their rows, what they become in each container, and their steps where it has none of them.

`rnn.py`, `sequence_lstm.py`, `dynamic_lstm.py` and `svdf.py` hold the rows; `tflite.py`, `onnx.py` and `ms.py` the
containers; `parts.py`, `cells.py`, `steps.py`, `sequence_steps.py` and `simpler.py` emit a layer as other operators.
"""
