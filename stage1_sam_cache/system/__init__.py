"""Processes, signals, memory and files: the base of both stages."""
