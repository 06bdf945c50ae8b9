"""Reserved for OmniSAM: SAM 2 with memory along the panorama. Empty so far.

It is the only room of stage 2 that may import a SAM package.
"""
