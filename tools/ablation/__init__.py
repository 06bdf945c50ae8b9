"""The ablation tables on ToyPASS: their rows, the training runs and scores behind them, and the report."""
