"""Slow, literal readings of the paper's rules, written without a look at the code that they check."""
