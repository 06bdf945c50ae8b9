"""SAM's weights: where they are, their published digests, and loading them without running code in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor
from tqdm import tqdm

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.sam.toy_sam import NAME as TOY
from stage1_sam_cache.sam.toy_sam import build_toy_sam
from stage1_sam_cache.system.torch_files import find_damage
from stage1_sam_cache.system.weight_files import UnreadableFileError, missing_from, read_weights_only, sets_for
from stage1_sam_cache.system.weight_sources import NotFoundError, find_file

_SHIPPED = Path(__file__).parent.with_name('weights')
_ADDRESS = 'https://dl.fbaipublicfiles.com/segment_anything/'


class PublishedWeights(NamedTuple):
    """File name, address (None for weights that come with the project) and SHA-256 of weights."""

    file: str
    url: str | None
    sha256: str


def _official(file: str, sha256: str) -> PublishedWeights:
    return PublishedWeights(file, _ADDRESS + file, sha256)


PUBLISHED = {
    'vit_h': _official('sam_vit_h_4b8939.pth', 'a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e'),
    'vit_l': _official('sam_vit_l_0b3195.pth', '3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622'),
    'vit_b': _official('sam_vit_b_01ec64.pth', 'ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912'),
    TOY: PublishedWeights('toy_sam.pth', None, '40c85cb79735108a201e450d47029ce9b1270404b45b467568f092e291499f4d'),
}
_SAM = ('vit_h', 'vit_l', 'vit_b')
ARCHITECTURES: dict[str, Callable[[], Sam]] = {name: sam_model_registry[name] for name in _SAM} | {TOY: build_toy_sam}


def find_weights(model: str, folder: str | Path = 'checkpoints', checkpoint: str | Path | None = None) -> Path:
    """Return the file with a model's weights, downloaded if it is nowhere (``weight_sources`` says where it is sought).

    Args:
        model: A key of ``ARCHITECTURES``.
        folder: Where downloaded weights are kept; created if it does not exist.
        checkpoint: Custom weights, which are returned unchecked.

    Raises:
        WeightsError: If there is no such model, or the file is missing and no address has the published file.
    """
    if model not in ARCHITECTURES:
        raise WeightsError(f'no SAM is called {model!r}; known: {", ".join(sorted(ARCHITECTURES))}')
    if checkpoint is not None:
        return Path(checkpoint)
    if model not in PUBLISHED:
        raise WeightsError(f'SAM {model} has no published weights', 'give a file with --checkpoint')
    published = PUBLISHED[model]
    if published.url is None:
        return _SHIPPED / published.file
    path = Path(folder) / published.file
    try:
        return find_file(published.url, path, published.sha256)
    except (NotFoundError, OSError) as problem:
        raise WeightsError(
            f'SAM weights {path} are missing and cannot be fetched; tried: {problem}',
            'download that file elsewhere and put it there, or into a folder that --weights-dir names; its SHA-256 is '
            f'{published.sha256}',
        ) from problem


def load_sam(model: str, path: Path, official: bool = True, trusted: bool = False) -> tuple[Sam, str]:
    """Build a SAM and load weights into it, on the CPU, in evaluation mode.

    Args:
        model: A key of ``ARCHITECTURES``.
        path: The checkpoint, as PyTorch or safetensors files; SAM's tensors may be below ``model``, ``state_dict`` or
            another key or prefix. Code in it is refused, not run.
        official: Require the published digest, which is checked before the file is opened.
        trusted: The user vouches for the file, which may run code.

    Returns:
        The model and the SHA-256 (hex) of its weights' file.

    Raises:
        WeightsError: If the file can't be read, has the wrong digest, is damaged, holds code, or fits another model.
    """
    digest = _sha256(path)
    if official and digest != PUBLISHED[model].sha256:
        again = 'delete it to have it downloaded again' if PUBLISHED[model].url else 'restore it from the repository'
        raise WeightsError(
            f'{path}: SHA-256 is {digest}, published is {PUBLISHED[model].sha256}: a damaged or other file',
            f'{again}, or give --checkpoint {path} if you mean this one',
        )
    content = _read(path, official, trusted)
    sam = ARCHITECTURES[model]()
    sam.load_state_dict(_weights_of(sam, model, content, path))
    return sam.eval(), digest


def _read(path: Path, official: bool, trusted: bool) -> Any:
    """What a file holds, or why it can't be used."""
    if path.suffix == '.safetensors':
        try:
            return load_file(str(path))
        except Exception as problem:  # damaged files make the library raise almost anything
            raise WeightsError(f'{path}: damaged or no safetensors file ({_first_line(problem)})') from problem
    damage = None if official else find_damage(path)
    if damage:
        raise WeightsError(f'{path}: damaged: {damage}')
    try:
        return read_weights_only(path, trusted=trusted)
    except UnreadableFileError as problem:
        if problem.trusting:
            raise WeightsError(
                f'{path}: holds more than weights, or is damaged or no PyTorch file ({problem}); code in it is not run',
                'if you trust where it comes from, add --trust-checkpoint, which lets it run code',
            ) from problem
        raise WeightsError(f'{path}: damaged or not a PyTorch file ({problem})') from problem


def _weights_of(sam: Sam, model: str, content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a SAM among what a file holds.

    Raises:
        WeightsError: If some are missing or have other shapes, or several sets of them may be meant.
    """
    needed = sam.state_dict()
    sets = sets_for(content, needed)
    whole = [one for one in sets if needed.keys() <= one.weights.keys()]
    if not whole:
        best = sets[0].weights if sets else {}
        absent = [name for name in needed if name not in best]
        raise WeightsError(
            f'{path}: weights of another model: it has {len(needed) - len(absent)} of the {len(needed)} tensors of SAM '
            f'{model}, and not {absent[0]}',
            _fitting_model(content),
        )
    chosen = whole[0]
    if not chosen.is_main and len(whole) > 1:
        raise WeightsError(
            f'{path}: holds several sets of weights of SAM {model}, below {" and ".join(one.place for one in whole)}',
            'save the one that you mean in a file by itself',
        )
    parts = {name.split('.')[0] for name in needed}
    more = [name for name in chosen.weights if name.split('.')[0] in parts and name not in needed]
    wrong = missing_from(chosen.weights, needed)
    if more:
        raise WeightsError(
            f'{path}: weights of another model than SAM {model}: it has {len(more)} tensors more, such as {more[0]}'
        )
    if wrong:
        raise WeightsError(
            f'{path}: weights of another model than SAM {model}: their shapes differ, such as that of {wrong[0]}',
            _fitting_model(content),
        )
    return {name: chosen.weights[name] for name in needed}


def _fitting_model(content: Any) -> str:
    """The remedy where a file has the weights of another SAM that is known; else empty."""
    for name, build in ARCHITECTURES.items():
        with torch.device('meta'):
            needed = build().state_dict()
        if any(not missing_from(one.weights, needed) for one in sets_for(content, needed)):
            return f'these are the weights of --sam {name}'
    return ''


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        with (
            path.open('rb') as file,
            tqdm(
                total=size, desc=f'checking {path.name}', unit='B', unit_scale=True, leave=False, disable=size < 2**28
            ) as bar,
        ):
            while block := file.read(2**24):
                digest.update(block)
                bar.update(len(block))
    except OSError as problem:
        raise WeightsError(f'{path}: cannot be read ({problem.strerror})') from problem
    return digest.hexdigest()


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]
