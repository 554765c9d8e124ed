"""The commands and the pipeline behind them."""
