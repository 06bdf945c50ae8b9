"""OmniSAM: a semantic network on SAM 2's image encoder, with SAM 2's memory along the windows of a panorama.

It is the only room of stage 2 that uses SAM 2, and nothing else of stage 2 imports it: a config that needs it names it
in ``custom_imports``. SAM 2 itself is built by stage 1 (``sam/sam2_networks.py``).
"""
