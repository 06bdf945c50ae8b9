"""SAM's weights: where they are, their published digests, and loading them without running code in them."""

from __future__ import annotations

import fcntl
import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from tqdm import tqdm

from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.sam.toy_sam import NAME as TOY
from stage1_sam_cache.sam.toy_sam import build_toy_sam
from stage1_sam_cache.system.torch_files import find_damage

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
    """Return the file with a model's weights, downloaded from the official address if it is not in the folder.

    Args:
        model: A key of ``ARCHITECTURES``.
        folder: Where weights are kept; created if it does not exist.
        checkpoint: Custom weights, which are returned unchecked.

    Raises:
        WeightsError: If there is no such model, or the file is missing and can't be downloaded, or what was downloaded
            is not the published file.
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
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(published.url, published.sha256, path)
        except (URLError, OSError) as problem:
            reason = getattr(problem, 'reason', None) or problem
            raise WeightsError(
                f'SAM weights {path} are missing and {published.url} cannot be fetched ({reason})',
                f'download that file elsewhere and put it there; its SHA-256 is {published.sha256}',
            ) from problem
        except RuntimeError as problem:  # the digest
            raise WeightsError(
                f'{published.url}: the download is not the published file (SHA-256 {published.sha256} expected)',
                'nothing was kept: try again or download it elsewhere',
            ) from problem
    return path


def _fetch(url: str, sha256: str, path: Path) -> None:
    """Download a file once, however many processes of this host ask for it at the same time."""
    lock_file = path.with_name(f'.{path.name}.lock')
    with lock_file.open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                # Downloads to a temporary file with a progress bar, compares the digest, and renames it only then.
                torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256)
        finally:
            lock_file.unlink(missing_ok=True)


def load_sam(model: str, path: Path, official: bool = True) -> tuple[Sam, str]:
    """Build a SAM and load weights into it, on the CPU, in evaluation mode.

    Args:
        model: A key of ``ARCHITECTURES``.
        path: The checkpoint; opened with ``weights_only=True``, so that code in it is refused, not run.
        official: Require the published digest, which is checked before the file is opened.

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
    damage = None if official else find_damage(path)
    if damage:
        raise WeightsError(f'{path}: damaged: {damage}')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # one line about odd files is enough
            weights = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as problem:
        raise WeightsError(
            f'{path}: is not a plain file of weights (it is damaged, not a PyTorch file, or holds code, which is never '
            'run)'
        ) from problem
    except Exception as problem:  # damaged files make PyTorch raise almost anything
        raise WeightsError(f'{path}: damaged or not a PyTorch file ({_first_line(problem)})') from problem
    sam = ARCHITECTURES[model]()
    expected = sam.state_dict()
    if not isinstance(weights, dict) or set(weights) != set(expected):
        count = len(set(weights) & set(expected)) if isinstance(weights, dict) else 0
        raise WeightsError(
            f'{path}: weights of another model: it has {count} of the {len(expected)} tensors of SAM {model}'
        )
    try:
        sam.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as problem:
        raise WeightsError(f'{path}: weights of another model than SAM {model}: their shapes differ') from problem
    return sam.eval(), digest


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
