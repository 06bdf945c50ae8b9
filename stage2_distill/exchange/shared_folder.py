"""A folder that several processes write to, of which one at a time puts together what lies there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stage1_sam_cache.errors import FolderInUseError
from stage1_sam_cache.system.atomic_file import remove_abandoned
from stage1_sam_cache.system.folder_lock import hold

_WAIT_S = 0.5


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs, after those that hold it; remove temporaries of killed processes.

    Raises:
        WriteError: If the folder can't be made or written.
    """
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(hold(folder))
                break
            except FolderInUseError:
                time.sleep(_WAIT_S)
        for part in [folder, *(path for path in folder.rglob('*') if path.is_dir())]:
            remove_abandoned(part)
        yield
