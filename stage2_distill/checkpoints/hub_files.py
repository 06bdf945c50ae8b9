"""Files of Hugging Face's hub and of folders laid out like it: a network's weights, and beside them ``config.json``.

``hf:ORG/NAME`` and ``hf:ORG/NAME@REVISION`` name a repository wherever a checkpoint can be named. It is looked for in
the folder of ``--weights-dir``, then by huggingface_hub, which keeps what it fetches, works offline with
``HF_HUB_OFFLINE=1`` and asks the address in ``HF_ENDPOINT``.
"""

from __future__ import annotations

import json
import re
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

from stage1_sam_cache.system.digests import sha256_of
from stage1_sam_cache.system.weight_sources import own_folder
from stage2_distill.errors import CheckpointError

SCHEME = 'hf:'
CONFIG = 'config.json'
WEIGHTS = ('model.safetensors', 'pytorch_model.bin')  # in the order in which they are taken
_ADDRESS = re.compile(r'hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?')
_DIGEST = re.compile(r'[0-9a-f]{64}')


def weights_in_folder(folder: Path) -> Path | None:
    """The weights in a folder as the hub has it; None if there are none."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def class_names(file: Path) -> list[str] | None:
    """The classes of a network by their ids, as ``id2label`` of the config beside its weights has them.

    Args:
        file: The weights.

    Returns:
        None if there is no config, or none with classes.

    Raises:
        CheckpointError: If it can't be read, or its ids are not 0, 1, 2, ...
    """
    path = file.with_name(CONFIG)
    if not path.is_file():
        return None
    try:
        labels = json.loads(path.read_text(encoding='utf-8')).get('id2label')
        if not labels:
            return None
        names = {int(number): str(name) for number, name in labels.items()}
        return [names[number] for number in range(len(names))]
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as problem:
        raise CheckpointError(
            f'{path} is damaged or no config of a network ({type(problem).__name__}: {problem})'
        ) from problem


def find_in_hub(address: str) -> Path:
    """The weights of a repository, with its config in the same folder.

    Raises:
        CheckpointError: If the address is none, huggingface_hub is not installed, or there is no such network; one
            line says what was tried.
    """
    named = _ADDRESS.fullmatch(address)
    if named is None:
        raise CheckpointError(
            f'checkpoint {address} is no repository of Hugging Face', 'write hf:ORG/NAME, or hf:ORG/NAME@REVISION'
        )
    tried, folder = [], own_folder()
    if folder is not None:
        own = folder / address.removeprefix(SCHEME)
        if found := weights_in_folder(own):
            return found
        tried.append(f'{own} (no {" or ".join(WEIGHTS)} there)')
    try:
        import huggingface_hub
    except ModuleNotFoundError as missing:
        tried.append(f'{missing.name} (not installed)')
        raise CheckpointError(
            f'checkpoint {address} is not there; tried: {", ".join(tried)}',
            'pip install huggingface_hub, or put the files of the repository into a folder and give that',
        ) from missing
    tried.append(huggingface_hub.constants.ENDPOINT)
    try:
        file = _download(huggingface_hub, named['repo'], named['revision'])
    except Exception as problem:  # what its many layers raise has no common base
        raise CheckpointError(
            f'checkpoint {address} is not there; tried: {", ".join(tried)} ({_gist(problem)})',
            'put the files of the repository into a folder and give that, or name its parent with --weights-dir',
        ) from problem
    _check_digest(file, address)
    return file


def _download(hub: Any, repo: str, revision: str | None) -> Path:
    """Download weights and config, or take them from huggingface_hub's folder.

    Raises:
        Exception: Whatever huggingface_hub raises.
    """
    absent: list[Exception] = []
    unreachable = False  # the hub, which huggingface_hub has tried for a while; then its folder alone is left

    def get(name: str) -> Path:
        return Path(hub.hf_hub_download(repo, name, revision=revision, local_files_only=unreachable))

    for name in WEIGHTS:
        try:
            file = get(name)
            break
        except hub.errors.EntryNotFoundError as problem:  # in the repository, or, offline, in the folder
            absent.append(problem)
            unreachable = unreachable or isinstance(problem, hub.errors.LocalEntryNotFoundError)
    else:
        raise absent[0 if unreachable else -1]
    with suppress(hub.errors.EntryNotFoundError):  # the caller says that the order of classes is not known
        get(CONFIG)
    return file


def _check_digest(file: Path, address: str) -> None:
    """Compare a large file with its published SHA-256, under which huggingface_hub keeps it.

    Raises:
        CheckpointError: If it is another one.
    """
    published = file.resolve().name
    if not _DIGEST.fullmatch(published):
        return
    digest = sha256_of(file)
    if digest != published:
        raise CheckpointError(
            f'checkpoint {address}: {file.resolve()} has the SHA-256 {digest[:8]}..., published is {published[:8]}...',
            'delete that file to have it fetched again',
        )


def _gist(problem: Exception) -> str:
    """The first line of an error that has a text, of the one that caused it where that says more."""
    told = problem.__cause__ or problem
    return textwrap.shorten((str(told).strip().splitlines() or [type(told).__name__])[0], 160, placeholder=' ...')
