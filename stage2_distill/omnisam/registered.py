"""Import what OmniSAM's configs name, so that it is registered; they list it in ``custom_imports``.

The package ``sam2`` is not imported: only building the network needs it.
"""

from stage2_distill.omnisam import (  # noqa: F401
    adaptation,
    adaptation_runner,
    hooks,
    omnisam,
    order_seed,
    paired_dataset,
    patch_steps,
    pseudo_labels,
)
