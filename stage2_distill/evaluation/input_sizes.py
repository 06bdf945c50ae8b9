"""Inputs that are too small for a network are refused in one line, before the first of their size is computed."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from torch import nn

from stage1_sam_cache.errors import InputSizeError
from stage2_distill.models.dry_run import needed_bytes
from stage2_distill.models.names import NETWORKS


def refuse_small_inputs(model: nn.Module) -> None:
    """Let a model raise ``InputSizeError`` when one of its networks is given an image or a window that is too small.

    Args:
        model: ``GoodSAM`` or an mmseg ``EncoderDecoder``; networks that are no ``EncoderDecoder`` are not checked.
    """
    networks = [getattr(model, name) for name in NETWORKS if hasattr(model, name)] or [model]
    for network in networks:
        network = getattr(network, 'module', network)
        if isinstance(getattr(network, 'backbone', None), nn.Module):
            check = _Check(network)
            model.register_forward_pre_hook(check.remember, with_kwargs=True)
            network.backbone.register_forward_pre_hook(check)


class _Check:
    def __init__(self, network: Any) -> None:
        self._image = ''
        self._check = lru_cache(maxsize=1024)(partial(needed_bytes, network))

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        image = inputs[0]
        if image.device.type != 'meta':  # which is the check's own run
            rows, columns = image.shape[-2:]
            try:
                self._check((rows, columns))
            except InputSizeError as problem:
                raise InputSizeError(f'{self._image}{problem.problem}', problem.remedy) from None

    def remember(self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Remember which image is next, which the network itself does not know."""
        samples = named.get('data_samples')
        if samples:  # not in the check's own run
            self._image = f'{samples[0].img_path}: ' if 'img_path' in samples[0] else ''
