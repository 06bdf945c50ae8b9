"""Adapter files: low-rank updates of SAM's image encoder, bound to the weights that they were trained on.

A safetensors file with ``blocks.<i>.attn.qkv.{q,v}.{a,b}`` in float32 and notes that say what it is and what it was
trained with. It holds neither times nor paths, so equal training runs give equal bytes. Merging adds the updates to the
weights; the SAM has the layers and the speed that it had before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors import safe_open
from safetensors.torch import save
from segment_anything.modeling import Sam
from torch import Tensor, nn

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.content_digest import content_digest
from stage1_sam_cache.system.digests import sha256_of

FORMAT = 1
LAYER = re.compile(r'blocks\.\d+\.attn\.qkv\.[qv]\.[ab]')
_ENTRY = 'adapter'  # the only entry of the metadata: safetensors writes several in an order that changes


def updated_rows(qkv: nn.Linear) -> dict[str, slice]:
    """Rows of a fused layer that have updates: queries and values; its rows are queries, keys, values."""
    width = qkv.out_features // 3
    return {'q': slice(0, width), 'v': slice(2 * width, 3 * width)}


@dataclass(frozen=True)
class PromptSource:
    """Where the prompts of an adaptation came from; ``dataset`` and ``split`` are empty for a folder of images."""

    cache: str  # fingerprint of the mask cache
    generator: str  # name of what made its masks
    dataset: str = ''
    split: str = ''


@dataclass(frozen=True)
class AdapterNotes:
    """What an adapter is, and what it was trained with.

    Attributes:
        model: The SAM that it adapts, such as ``vit_h``.
        base_sha256: Hex digest of the file of the weights that it adapts.
        rank: Of each update.
        steps, seed: Of the adaptation.
        prompts: Where its prompts came from.
        weak_labels: Whether labels of the images were used, for prompts for example.
        method: Name of the method.
        settings: Its settings, JSON values without NaN.
        format: Of the file.
    """

    model: str
    base_sha256: str
    rank: int
    steps: int
    seed: int
    prompts: PromptSource
    weak_labels: bool
    method: str = 'wesam'
    settings: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True)
class Adapter:
    """An adapter file that was read.

    Attributes:
        path: Its name in messages.
        sha256: Hex digest of the file.
        notes: What it says of itself.
        updates: Tensors float32 by name; their values are finite.
    """

    path: Path
    sha256: str
    notes: AdapterNotes
    updates: dict[str, Tensor]

    @property
    def identity(self) -> dict[str, Any]:
        """What a cache's identity says of the adapter, as JSON values."""
        return {
            'sha256': self.sha256,
            'prompts': asdict(self.notes.prompts),
            'weak_labels': self.notes.weak_labels,
        }

    def check_model(self, model: str) -> None:
        """Check that this adapts a model of that name, which needs no weights.

        Raises:
            WeightsError: If it adapts another one.
        """
        if self.notes.model != model:
            raise WeightsError(
                f'{self.path}: adapts SAM {self.notes.model}, not {model}', f'give --sam {self.notes.model}'
            )

    @torch.no_grad()
    def merge(self, sam: Sam, model: str, base_sha256: str) -> None:
        """Add the updates to a SAM's weights, in place and in float32.

        Args:
            sam: The model with float32 weights.
            model: What it is called, such as ``vit_h``.
            base_sha256: Hex digest of its weights' file.

        Raises:
            WeightsError: If the adapter is of another model or of other weights, or its tensors do not fit; the SAM is
                then unchanged.
        """
        self.check_model(model)
        if self.notes.base_sha256 != base_sha256:
            raise WeightsError(
                f'{self.path}: adapts weights of SHA-256 {self.notes.base_sha256}; these have {base_sha256}',
                'give the weights that it was trained on with --checkpoint',
            )
        layers = {f'blocks.{i}.attn.qkv': block.attn.qkv for i, block in enumerate(sam.image_encoder.blocks)}
        self._check_shapes(layers)
        for name, layer in layers.items():
            for part, rows in updated_rows(layer).items():
                layer.weight[rows] += self.updates[f'{name}.{part}.b'] @ self.updates[f'{name}.{part}.a']

    def _check_shapes(self, layers: Mapping[str, nn.Linear]) -> None:
        rank, needed = self.notes.rank, {}
        for name, layer in layers.items():
            for part, rows in updated_rows(layer).items():
                needed[f'{name}.{part}.a'] = (rank, layer.in_features)
                needed[f'{name}.{part}.b'] = (rows.stop - rows.start, rank)
        for name in sorted(needed.keys() ^ self.updates.keys()):
            state = 'is missing' if name in needed else 'belongs to no layer of the model'
            raise WeightsError(f'{self.path}: does not fit SAM {self.notes.model}: {name} {state}')
        for name, shape in needed.items():
            found = tuple(self.updates[name].shape)
            if found != shape:
                raise WeightsError(
                    f'{self.path}: does not fit SAM {self.notes.model}: {name} has shape {found}, not {shape}'
                )


def write_adapter(path: Path, updates: Mapping[str, Tensor], notes: AdapterNotes) -> None:
    """Write an adapter file, complete or not at all; the same values give the same bytes.

    Raises:
        WriteError: If it can't be written.
    """
    kept = {name: value.detach().to('cpu', torch.float32).contiguous() for name, value in updates.items()}
    text = _text(asdict(notes))
    entry = _text({'content_sha256': content_digest(kept, text), 'notes': asdict(notes)})
    path.parent.mkdir(parents=True, exist_ok=True)
    commit(path, save(kept, {_ENTRY: entry}), replace=True)


def read_adapter(path: Path) -> Adapter:
    """Read an adapter file and check every byte; nothing in it can run code.

    Raises:
        WeightsError: If it can't be read, is damaged, is no adapter file or of another format, or a value is not
            finite.
    """
    try:
        sha256 = sha256_of(path)
    except OSError as problem:
        raise WeightsError(f'{path}: cannot be read ({problem.strerror})') from problem
    try:
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
            updates = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as problem:  # damaged files make the library raise almost anything
        gist = ' '.join(str(problem).split()) or type(problem).__name__
        raise WeightsError(f'{path}: damaged or no safetensors file ({gist})') from problem
    if _ENTRY not in metadata:
        raise WeightsError(f'{path}: no adapter file: it lacks the notes of one', 'SAM weights go to --checkpoint')
    notes = _notes(metadata[_ENTRY], updates, path)
    for name, value in updates.items():
        if value.dtype != torch.float32 or not value.isfinite().all():
            raise WeightsError(f'{path}: {name} is not float32 or holds NaN or infinity', 'adapt again')
    return Adapter(path, sha256, notes, updates)


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, allow_nan=False)


def _notes(entry: str, updates: Mapping[str, Tensor], path: Path) -> AdapterNotes:
    """The notes of a file, after its digest was compared."""
    try:
        record = json.loads(entry)
        values = record['notes']
        sound = entry == _text(record) and record['content_sha256'] == content_digest(updates, _text(values))
        version = values['format']
    except (ValueError, KeyError, TypeError) as problem:
        raise WeightsError(f'{path}: damaged: its notes cannot be read') from problem
    if not sound:
        raise WeightsError(f'{path}: damaged: what it holds does not match its SHA-256')
    if version != FORMAT:
        raise WeightsError(f'{path}: adapter format {version}, this version reads {FORMAT}')
    try:
        return AdapterNotes(**_typed({**values, 'prompts': PromptSource(**values['prompts'])}))
    except (KeyError, TypeError) as problem:
        raise WeightsError(f'{path}: its notes are not those of an adapter ({problem})') from problem


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """Check the types of the notes' plain values.

    Raises:
        TypeError: If one has another type.
    """
    hints = get_type_hints(AdapterNotes)
    for item in fields(AdapterNotes):
        if hints[item.name] in (str, int, bool) and type(values.get(item.name, '')) is not hints[item.name]:
            raise TypeError(f'{item.name} is {values.get(item.name)!r}')
    return values
