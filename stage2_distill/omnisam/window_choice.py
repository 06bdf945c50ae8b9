"""Which windows are laid over an image: a network that learns on one data set may be used on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stage1_sam_cache.errors import InputSizeError
from stage1_sam_cache.geometry.windows import WindowGrid, WindowSettings
from stage2_distill.errors import ConfigError


class WindowChoice:
    """Windows for images of several heights.

    Args:
        grid: Keywords of ``WindowSettings``, or a list of them: of several, an image gets those that are as high as it.

    Raises:
        ConfigError: If settings make no windows, or two of them have one height.
    """

    def __init__(self, grid: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        given: Any = [grid] if isinstance(grid, Mapping) else grid
        try:
            self.settings = [WindowSettings.from_json(each) for each in given]
        except (TypeError, ValueError) as problem:
            raise ConfigError(f'model.grid={grid}: {problem}', 'give window, stride and wrap') from None
        self._by_rows = {each.window[0]: each for each in self.settings}
        if not given or len(self._by_rows) < len(given):
            raise ConfigError(f'model.grid={grid}', 'give windows, and only one size for each height of images')

    def over(self, height: int, width: int, closed: bool = True) -> WindowGrid:
        """Return the windows over an image.

        Args:
            height: Rows of the image.
            width: Columns.
            closed: False for an image whose left and right border do not meet: no window crosses the seam.

        Raises:
            InputSizeError: If there are none for such an image.
        """
        settings = self._by_rows.get(height) if len(self.settings) > 1 else self.settings[0]
        if settings is None:
            raise InputSizeError(
                f'model.grid has windows for images of {" or ".join(map(str, self._by_rows))} rows, not of {height}',
                'add such windows to model.grid of the config, or give them to tools/test.py and tools/predict.py as '
                '--window and --stride',
            )
        try:
            return (settings if closed else replace(settings, wrap=False)).over(height, width)
        except ValueError as problem:  # a closed panorama that is narrower than a window
            raise InputSizeError(str(problem), 'choose narrower windows, or set wrap=False') from None
