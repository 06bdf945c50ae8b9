"""Metrics, scores of regions, and scoring of configs and checkpoints."""
