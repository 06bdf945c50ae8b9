"""The student by itself: loaded, exported, run over images."""
