"""Check custom labels before anything is scored: what is wrong with them is known in seconds, not at the end.

Labels of the catalogue's data sets are read when their image is scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stage1_sam_cache.data.images import read_size
from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.errors import GoodSAMError
from stage2_distill.data.pipeline_steps import built_steps
from stage2_distill.data.transforms import LoadLabel
from stage2_distill.errors import ConfigError


def check_labels(dataset: Any) -> None:
    """Read all labels of a data set, and the sizes of their images.

    Args:
        dataset: ``CatalogueDataset`` whose pipeline has ``LoadLabel``; without it nothing is read.

    Raises:
        ConfigError: If labels can't be used, with the first and how many; or if no pixel of any label is to be scored.
    """
    read = next((step.read for step in built_steps(dataset.pipeline.transforms) if isinstance(step, LoadLabel)), None)
    if read is None:
        return
    problems: list[GoodSAMError] = []
    scored = 0
    for index in tqdm(range(len(dataset)), desc='reading labels', unit='image', leave=False, delay=2):
        entry = dataset.get_data_info(index)
        try:
            rows, columns = read_size(Path(entry['img_path']))
            pixels = np.broadcast_to(np.uint8(0), (rows, columns, 3))
            scored += bool((read(Path(entry['seg_map_path']), pixels) != IGNORE).any())
        except GoodSAMError as problem:
            problems.append(problem)
    if problems:
        many = f'{len(problems)} of {len(dataset)} labels cannot be used; the first: ' if problems[1:] else ''
        raise ConfigError(f'{many}{problems[0].problem}', problems[0].remedy)
    if not scored:
        raise ConfigError(*nothing_to_score(len(dataset)))


def nothing_to_score(labels: int) -> tuple[str, str]:
    """Return problem and remedy of labels without a pixel to score."""
    return (
        f'all {labels} labels ignore every pixel (255, or ids without a class), so there is nothing to score',
        'compare their ids with those of the label space: docs/usage.md, own labels',
    )
