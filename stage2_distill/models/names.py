"""Names of GoodSAM's networks and predictors; importing them loads no PyTorch, so that ``--help`` is quick."""

from __future__ import annotations

NETWORKS = ('teacher_assistant', 'student')
PREDICTORS = ('student', 'ta_whole', 'ta_tile', 'ta_slide', 'ensemble')
