"""How an image can be labelled, from most to least memory: whole, then in windows of falling size."""

from __future__ import annotations

from dataclasses import dataclass

from stage1_sam_cache.geometry.windows import WindowSettings

MODES = ('auto', 'whole', 'slide', 'tile')
WINDOW = (1024, 1024)  # with 3/4 of it as stride: as in SegFormer's published Cityscapes configs
_LEAST_WINDOW = 128  # smaller ones save nothing that matters


@dataclass(frozen=True)
class Mode:
    """What the user asks for; sizes in pixels of the image that the student sees.

    Args:
        name: One of ``MODES``.
        window: Rows and columns of windows.
        stride: Of windows; None is 3/4 of the window, or the window itself where the mode is ``tile``.
        wrap: Whether images show 360 degrees, so that their left and right border meet.

    Raises:
        ValueError: If the name is unknown, a size is not positive, or the stride would leave gaps.
    """

    name: str = 'auto'
    window: tuple[int, int] = WINDOW
    stride: tuple[int, int] | None = None
    wrap: bool = False

    def __post_init__(self) -> None:
        if self.name not in MODES:
            raise ValueError(f'mode {self.name!r} is none of {", ".join(MODES)}')
        if self.name == 'tile' and self.stride not in (None, self.window):
            raise ValueError('tiles lie side by side; a stride is for slide')
        WindowSettings(self.window, self.first_stride, self.wrap)

    @property
    def first_stride(self) -> tuple[int, int]:
        """Stride of the largest windows."""
        if self.stride is not None:
            return self.stride
        down, across = self.window
        return self.window if self.name == 'tile' else (max(1, down * 3 // 4), max(1, across * 3 // 4))

    def plans(self, size: tuple[int, int]) -> list[WindowSettings | None]:
        """Return the ways to label an image, the preferred one first.

        Args:
            size: Its rows and columns.

        Returns:
            Windows, or None for the whole image. An image of at most one window is labelled whole in every mode.
        """
        found: list[WindowSettings | None] = [None] if self.name in ('auto', 'whole') else []
        window, stride = self.window, self.first_stride
        while True:
            fits = window[0] >= size[0] and window[1] >= size[1]
            plan = None if fits else WindowSettings(window, stride, self.wrap)
            if plan not in found:
                found.append(plan)
            smaller = _halved(window[0]), _halved(window[1])
            if smaller == window:
                return found
            down, across = (old * new // side for old, new, side in zip(stride, smaller, window, strict=True))
            window, stride = smaller, (max(1, down), max(1, across))

    def to_json(self) -> dict[str, object]:
        """Return all that the labels of an image depend on beside the student."""
        return {'mode': self.name, 'window': list(self.window), 'stride': list(self.first_stride), 'wrap': self.wrap}


def describe(plan: WindowSettings | None) -> str:
    """Return a plan in words."""
    if plan is None:
        return 'whole'
    (height, width), (down, across) = plan.window, plan.strides
    return f'in windows of {height}x{width} with stride {down}x{across}'


def _halved(side: int) -> int:
    return side // 2 if side >= 2 * _LEAST_WINDOW else side
