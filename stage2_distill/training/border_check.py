"""Whether panoramas whose left and right border are taken to meet show 360 degrees, by their metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stage1_sam_cache.data.odd_panoramas import find_odd_panoramas
from stage2_distill.errors import ConfigError


def check_borders(entries: Sequence[Mapping[str, Any]], setting: str, remedy: str = '') -> list[str]:
    """Refuse cropped panoramas where a setting joins borders, and say which panoramas are not level.

    Args:
        entries: Of a data set, with ``img_path``; the headers of the files are read.
        setting: What joins the left and right border, such as ``model.grid.wrap=True``; empty if nothing does.
        remedy: What to do then.

    Returns:
        Warnings, a line each.

    Raises:
        ConfigError: With the name of the first cropped panorama.
    """
    odd = find_odd_panoramas([Path(entry['img_path']) for entry in entries])
    if setting and odd.cropped:
        raise ConfigError(f'{setting}, but {odd.cropped}', remedy)
    warnings = [f'{odd.tilted}; tools/level_panoramas.py writes level copies'] if odd.tilted else []
    return warnings + ([f'metadata not used: {odd.unused}'] if odd.unused else [])


def entries_of(dataset: Any) -> list[Mapping[str, Any]]:
    """Return the entries of a data set of MMSegmentation."""
    return [dataset.get_data_info(index) for index in range(len(dataset))]
