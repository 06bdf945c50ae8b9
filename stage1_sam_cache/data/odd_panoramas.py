"""Which panoramas of a list are cropped, or not level, by their metadata; each kind as one line that names a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stage1_sam_cache.data.gpano import PanoramaFacts, read_all_facts
from stage1_sam_cache.data.images import MAX_PIXELS


class OddPanoramas(NamedTuple):
    """What is special in a list of panoramas; each line is empty if there is nothing to say.

    Attributes:
        cropped: Panoramas that show less than 360 degrees, so that their left and right border do not meet.
        tilted: Panoramas whose camera was not level.
        unused: Panoramas whose metadata are not used, and why.
    """

    cropped: str
    tilted: str
    unused: str


def find_odd_panoramas(paths: Sequence[Path], max_pixels: int = MAX_PIXELS, limit_name: str = '') -> OddPanoramas:
    """Read the metadata of panoramas; those that can't be read are skipped, as they are refused where they are used.

    Args:
        paths: The images.
        max_pixels, limit_name: As for ``images.read_rgb``.
    """
    facts = read_all_facts(paths, max_pixels, limit_name)
    return name_odd_panoramas([(str(path), fact) for path, fact in zip(paths, facts, strict=True) if fact])


def name_odd_panoramas(panoramas: Sequence[tuple[str, PanoramaFacts]]) -> OddPanoramas:
    """Say what is special in panoramas, given as names and what is known of them."""
    return OddPanoramas(
        _line([f'{name} {cropped_text(facts)}' for name, facts in panoramas if not facts.is_closed]),
        _line([f'{name} {tilted_text(facts)}' for name, facts in panoramas if not facts.is_level]),
        _line([f'{name}: {facts.problem}' for name, facts in panoramas if facts.problem]),
    )


def cropped_text(facts: PanoramaFacts) -> str:
    """Say of a cropped panorama how wide it is, after its name."""
    return f'shows {facts.degrees:.0f} of 360 degrees, so its left and right border do not meet'


def tilted_text(facts: PanoramaFacts) -> str:
    """Say of a tilted panorama by how much, after its name."""
    return f'is not level (pitch {facts.pitch:g}, roll {facts.roll:g} degrees)'


def _line(texts: list[str]) -> str:
    if len(texts) < 2:
        return ''.join(texts)
    others = 'one other is' if len(texts) == 2 else f'{len(texts) - 1} others are'
    return f'{texts[0]}; {others} of this kind too'
