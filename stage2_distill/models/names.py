"""Names of GoodSAM's networks and predictors; importing them loads no PyTorch, so that ``--help`` is quick."""

from __future__ import annotations

NETWORKS = ('teacher_assistant', 'student')
SEQUENCE = 'sequence'  # test_cfg.mode of a network that sees an image as a sequence of its own windows
PREDICTORS = ('student', 'ta_whole', 'ta_tile', 'ta_slide', 'ensemble')
