"""Weights as 8-bit integers, one number after another."""

from __future__ import annotations


def quantize_row(row):
    """Whole numbers from -127 to 127 and the scale: the largest magnitude of the row becomes 127."""
    largest = max(abs(value) for value in row)
    scale = largest / 127 if largest else 1.0
    return [round(value / scale) for value in row], scale


def dequantize_row(numbers, scale):
    """The values that the numbers stand for."""
    return [number * scale for number in numbers]
