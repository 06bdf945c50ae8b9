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
        import huggingface_hub
    except ModuleNotFoundError as missing:
        raise ConfigError(f'--push needs {missing.name}', 'pip install huggingface_hub') from missing
    try:
        huggingface_hub.utils.validate_repo_id(name)
    except huggingface_hub.utils.HFValidationError as problem:
        raise ConfigError(f'--push {name}: {str(problem).rstrip(".")}', 'choose another name') from problem


def upload(folder: Path, repo: str, private: bool) -> str:
    """Create the repository unless it is there, and upload all files of a folder to it.

    Who uploads is known by ``hf auth login`` or the variable ``HF_TOKEN``; ``HF_ENDPOINT`` is another hub's address.

    Args:
        folder: What to upload; files of other names that the repository has are left.
        repo: ``ORG/NAME``.
        private: Of a repository that is created; one that is there has to be private then.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: If the hub refuses or does not answer, or what shall be private would be public.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi(endpoint=huggingface_hub.constants.ENDPOINT)
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.repo_info(repo).private:
            raise ConfigError(
                f'--private, but {repo} is there and public: nothing was uploaded',
                'make it private in its settings, give another name, or leave --private away',
            )
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message='Student exported from GoodSAM')
    except ConfigError:
        raise
    except Exception as problem:  # what its many layers raise has no common base
        gist = textwrap.shorten(str(problem), 400) or type(problem).__name__
        raise ConfigError(
            f'{huggingface_hub.constants.ENDPOINT} did not take {repo} ({gist})',
            f'{_remedy(problem)}; then run the same command',
        ) from problem
    return str(address)


def _remedy(problem: Exception) -> str:
    """What helps against an error of huggingface_hub."""
    from huggingface_hub.errors import LocalTokenNotFoundError

    status = getattr(getattr(problem, 'response', None), 'status_code', None)
    if status in (401, 403, 404) or isinstance(problem, LocalTokenNotFoundError):
        return 'log in with `hf auth login`, or set HF_TOKEN to a token that may write to it'
    if status is None and not isinstance(problem, ValueError):
        return 'check the network, and HF_ENDPOINT if it is set'
    return 'change what it names'
