"""Mask generators: SAM, faster networks for it, the toy SAM, and Felzenszwalb's method, behind one protocol."""
