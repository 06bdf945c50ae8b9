"""Upload of a folder to Hugging Face's hub, by huggingface_hub."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from stage2_distill.errors import ConfigError

_REPO = re.compile(r'[\w.-]+/[\w.-]+')


def check_repo(name: str) -> None:
    """Check, before anything is computed, that the name is one of a repository and that the library is there.

    Raises:
        ConfigError: If not.
    """
    if not _REPO.fullmatch(name):
        raise ConfigError(f'--push {name}: a repository is named ORG/NAME', 'for example --push me/my-student')
    try:
        import huggingface_hub  # noqa: F401
    except ModuleNotFoundError as missing:
        raise ConfigError(f'--push needs {missing.name}', 'pip install huggingface_hub') from missing


def upload(folder: Path, repo: str, private: bool) -> str:
    """Create the repository unless it is there, and upload all files of a folder to it.

    Who uploads is known by ``hf auth login`` or the variable ``HF_TOKEN``; ``HF_ENDPOINT`` is another hub's address.

    Args:
        folder: What to upload; files of other names that the repository has are left.
        repo: ``ORG/NAME``.
        private: Of a repository that is created; one that is there keeps its state.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: If the hub refuses or does not answer.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi(endpoint=huggingface_hub.constants.ENDPOINT)
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message='Student exported from GoodSAM')
    except Exception as problem:  # what its many layers raise has no common base
        gist = next(iter(str(problem).strip().splitlines()), type(problem).__name__)
        raise ConfigError(
            f'{huggingface_hub.constants.ENDPOINT} did not take {repo} ({textwrap.shorten(gist, 200)})',
            'log in with `hf auth login`, or set HF_TOKEN to a token that may write; then run the same command',
        ) from problem
    return str(address)
