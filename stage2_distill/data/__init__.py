"""Panoramas with their cached masks: data set, transforms, order of samples."""
