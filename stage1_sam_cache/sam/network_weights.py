"""Published weights of any network: finding a file, its digest, and its tensors without running code in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.torch_files import find_damage
from stage1_sam_cache.system.weight_files import UnreadableFileError, missing_from, read_weights_only, sets_for
from stage1_sam_cache.system.weight_sources import NotFoundError, find_file

SHIPPED = Path(__file__).parent.with_name('weights')
Builders = Mapping[str, Callable[[], nn.Module]]


class PublishedWeights(NamedTuple):
    """File name, address (None for weights that come with the project) and SHA-256 of weights.

    The SHA-256 is None where the publisher states none. That of a file which is fetched is then kept beside it, in
    ``<file>.sha256``, and required from then on.
    """

    file: str
    url: str | None
    sha256: str | None


def find_published(published: PublishedWeights, label: str, folder: Path) -> Path:
    """Return the file of published weights, downloaded if it is nowhere (``weight_sources`` says where it is sought).

    Args:
        published: The weights.
        label: What they are, in messages.
        folder: Where downloaded weights are kept; created if it does not exist.

    Raises:
        WeightsError: If the file is missing and no address has it.
    """
    if published.url is None:
        return SHIPPED / published.file
    kept = folder / published.file
    had = kept.exists()
    try:
        path = find_file(published.url, kept, published.sha256)
    except (NotFoundError, OSError) as problem:
        known = f'; its SHA-256 is {published.sha256}' if published.sha256 else ''
        raise WeightsError(
            f'{label} weights {kept} are missing and cannot be fetched; tried: {problem}',
            f'download that file elsewhere and put it there, or into a folder that --weights-dir names{known}',
        ) from problem
    if published.sha256 is None and path == kept and not had:
        _keep_digest(path, label)
    return path


def _keep_digest(path: Path, label: str) -> None:
    """Keep the digest of a file that was just fetched, unless its transfer broke off.

    Raises:
        WeightsError: If it is damaged; it is deleted.
    """
    damage = find_damage(path)
    if damage:
        path.unlink()
        raise WeightsError(f'{label} weights {path} were damaged when they arrived: {damage}', 'run the command again')
    commit(digest_file(path), f'{_sha256(path)}  {path.name}\n'.encode(), replace=True)


def digest_file(path: Path) -> Path:
    """Return the file beside weights that keeps their digest, as ``sha256sum`` writes it."""
    return path.with_name(f'{path.name}.sha256')


def check_digest(path: Path, published: PublishedWeights | None) -> str:
    """Return the SHA-256 (hex) of a file of weights.

    Args:
        path: The file.
        published: Requires the published digest, or the one that was kept when the file was fetched; None for custom
            weights, which may be any.

    Raises:
        WeightsError: If the file can't be read or is another one.
    """
    digest = _sha256(path)
    if published is None:
        return digest
    expected, source = published.sha256, 'published is'
    remedy = 'delete it to have it downloaded again' if published.url else 'restore it from the repository'
    if expected is None and digest_file(path).exists():
        kept = digest_file(path)
        expected, source = kept.read_text(errors='replace').partition(' ')[0].strip(), f'{kept.name} says'
        remedy = f'delete it and {kept.name} to have it downloaded again'
    if expected not in (None, digest):
        raise WeightsError(
            f'{path}: SHA-256 is {digest}, {source} {expected}: a damaged or other file',
            f'{remedy}, or give --checkpoint {path} if you mean this one',
        )
    return digest


def read_content(path: Path, verified: bool, trusted: bool) -> Any:
    """Return what a file holds, whether written by PyTorch or as safetensors.

    Args:
        path: The file.
        verified: Its digest is the published one, so that damage need not be looked for.
        trusted: The user vouches for the file, which may run code.

    Raises:
        WeightsError: If it is damaged, is no such file, or holds code and is not trusted.
    """
    if path.suffix == '.safetensors':
        try:
            return load_file(str(path))
        except Exception as problem:  # damaged files make the library raise almost anything
            raise WeightsError(f'{path}: damaged or no safetensors file ({_first_line(problem)})') from problem
    damage = None if verified else find_damage(path)
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


def tensors_for(network: nn.Module, label: str, content: Any, path: Path, others: Builders) -> dict[str, Tensor]:
    """Return the tensors of a network among what a file holds.

    Args:
        network: Its ``state_dict`` says what is needed.
        label: What the network is called in messages.
        content: What the file holds.
        path: The file.
        others: Networks whose weights it may hold instead, by their names for ``--sam``.

    Raises:
        WeightsError: If some are missing or have other shapes, or several sets of them may be meant.
    """
    needed = network.state_dict()
    sets = sets_for(content, needed)
    whole = [one for one in sets if needed.keys() <= one.weights.keys()]
    if not whole:
        best = sets[0].weights if sets else {}
        absent = [name for name in needed if name not in best]
        raise WeightsError(
            f'{path}: weights of another model: it has {len(needed) - len(absent)} of the {len(needed)} tensors of '
            f'{label}, and not {absent[0]}',
            _fitting_model(content, others),
        )
    chosen = whole[0]
    if not chosen.is_main and len(whole) > 1:
        raise WeightsError(
            f'{path}: holds several sets of weights of {label}, below {" and ".join(one.place for one in whole)}',
            'save the one that you mean in a file by itself',
        )
    parts = {name.split('.')[0] for name in needed}
    more = [name for name in chosen.weights if name.split('.')[0] in parts and name not in needed]
    wrong = missing_from(chosen.weights, needed)
    if more:
        raise WeightsError(
            f'{path}: weights of another model than {label}: it has {len(more)} tensors more, such as {more[0]}'
        )
    if wrong:
        raise WeightsError(
            f'{path}: weights of another model than {label}: their shapes differ, such as that of {wrong[0]}',
            _fitting_model(content, others),
        )
    return {name: chosen.weights[name] for name in needed}


def _fitting_model(content: Any, others: Builders) -> str:
    """The remedy where a file has the weights of another network that is known; else empty."""
    for name, build in others.items():
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
