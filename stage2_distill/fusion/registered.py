"""The fusions that a config can name: CTCF and the two baselines of Table 5, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmseg.registry import MODELS

from stage2_distill.fusion import ctcf, sepl, ssa
from stage2_distill.fusion.ensemble import Fused

Fusion = Callable[..., Fused]  # (masks, logits, predicted=None), as ctcf.fuse


def _with_settings(fuse: Fusion, settings: dict[str, Any]) -> Fusion:
    """Bind the settings, after one pixel has shown that they are known."""
    fuse(torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(2, 1, 1), **settings)
    return partial(fuse, **settings)


@MODELS.register_module(name='CTCF')
def build_ctcf(**settings: Any) -> Fusion:
    """The paper's fusion (Eq. 3): ``ctcf.fuse`` with these keywords."""
    return _with_settings(ctcf.fuse, settings)


@MODELS.register_module(name='SSAFusion')
def build_ssa(**settings: Any) -> Fusion:
    """Majority vote in every mask: ``ssa.fuse`` with these keywords."""
    return _with_settings(ssa.fuse, settings)


@MODELS.register_module(name='SEPLFusion')
def build_sepl(**settings: Any) -> Fusion:
    """Every class takes the masks that fit it: ``sepl.fuse`` with these keywords."""
    return _with_settings(sepl.fuse, settings)
