"""Data sets: where images and labels lie, how they are read, and what the labels mean."""
