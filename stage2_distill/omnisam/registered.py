"""Import what OmniSAM's configs name, so that it is registered; they list it in ``custom_imports``.

The package ``sam2`` is not imported: only building the network needs it.
"""

from stage2_distill.omnisam import omnisam, order_seed, patch_steps  # noqa: F401
