"""The digest of tensors and of the text beside them, for file formats without a checksum of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def content_digest(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    """SHA-256 (hex) of names, types, shapes and values of tensors on the CPU, and of the text beside them."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f'\n{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
