"""Stage 2 of GoodSAM: distils SAM's cached masks and the teacher assistant into the student.

It reads the cache that stage 1 wrote and never needs SAM itself.
"""
