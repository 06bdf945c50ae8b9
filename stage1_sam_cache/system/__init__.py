"""Processes, signals, memory and files: what every part of both stages stands on."""
