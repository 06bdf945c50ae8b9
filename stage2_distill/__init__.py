"""Stage 2 of GoodSAM: distils SAM's cached masks and the teacher assistant into the student.

It reads the cache that stage 1 wrote and never needs SAM itself. The names below are the public API; each is imported
when it is first asked for, so that importing the package stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stage2_distill.boundaries.label_boundary import hard_boundary, soft_boundary
    from stage2_distill.boundaries.refinement import refine
    from stage2_distill.deployment.export import export_student
    from stage2_distill.deployment.student import Student
    from stage2_distill.fusion.ctcf import fuse
    from stage2_distill.fusion.ensemble import Fused
    from stage2_distill.fusion.mask_atoms import MaskAtoms
    from stage2_distill.fusion.pixelwise import PixelPrediction, margins, predict_pixels
    from stage2_distill.losses.boundary import boundary_loss, network_boundary
    from stage2_distill.losses.consistency import consistency_loss
    from stage2_distill.losses.knowledge_adaptation import ensemble_loss, whole_image_loss

_HOMES = {
    'Fused': 'fusion.ensemble',
    'MaskAtoms': 'fusion.mask_atoms',
    'PixelPrediction': 'fusion.pixelwise',
    'Student': 'deployment.student',
    'boundary_loss': 'losses.boundary',
    'consistency_loss': 'losses.consistency',
    'ensemble_loss': 'losses.knowledge_adaptation',
    'export_student': 'deployment.export',
    'fuse': 'fusion.ctcf',
    'hard_boundary': 'boundaries.label_boundary',
    'margins': 'fusion.pixelwise',
    'network_boundary': 'losses.boundary',
    'predict_pixels': 'fusion.pixelwise',
    'refine': 'boundaries.refinement',
    'soft_boundary': 'boundaries.label_boundary',
    'whole_image_loss': 'losses.knowledge_adaptation',
}
__all__ = [
    'Fused',
    'MaskAtoms',
    'PixelPrediction',
    'Student',
    'boundary_loss',
    'consistency_loss',
    'ensemble_loss',
    'export_student',
    'fuse',
    'hard_boundary',
    'margins',
    'network_boundary',
    'predict_pixels',
    'refine',
    'soft_boundary',
    'whole_image_loss',
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
