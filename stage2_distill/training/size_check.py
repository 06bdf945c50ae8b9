"""Whether all panoramas of a list can be trained on together: their sizes against the batch, flips and rolls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmseg.registry import TRANSFORMS

from stage1_sam_cache.data.image_sizes import name_sizes, read_sizes
from stage1_sam_cache.data.images import MAX_PIXELS
from stage1_sam_cache.errors import ImageError
from stage1_sam_cache.geometry.windows import WindowGrid, WindowSettings
from stage2_distill.data.cached_masks import can_mirror, can_roll
from stage2_distill.data.pipeline_steps import running_steps
from stage2_distill.data.transforms import (
    FlipPanorama,
    LoadCachedMasks,
    LoadLabel,
    LoadPanorama,
    PackPanorama,
    RollPanorama,
)
from stage2_distill.errors import ConfigError
from stage2_distill.training.cache_command import cache_command

_MOVES: dict[type, tuple[str, Callable[[WindowGrid], bool]]] = {
    FlipPanorama: ('mirrored', can_mirror),
    RollPanorama: ('rolled', can_roll),
}
_LOADER = 'train_dataloader'  # the only one that moves panoramas
_KEEP_SIZES = (LoadPanorama, LoadCachedMasks, LoadLabel, PackPanorama)  # other steps may bring images to one size


class _Move(NamedTuple):
    """A step of the pipeline that mirrors or rolls: its place in the config, and which grids it can be used on."""

    place: str
    what: str
    allows: Callable[[WindowGrid], bool]
    where_possible: bool


def check_sizes(settings: dict[str, Any], entries: Sequence[Mapping[str, Any]], batch_size: int = 1) -> list[str]:
    """Check the sizes of all images, before anything is computed.

    Args:
        settings: Config of a ``CatalogueDataset`` with ``expect``, best the settings of the cache that was found.
        entries: Its images.
        batch_size: Of its loader.

    Returns:
        Warnings: which panoramas are not mirrored or rolled.

    Raises:
        ImageError: If images can't be read.
        ConfigError: If a batch would have several sizes, or a step mirrors or rolls windows that can't be.
    """
    sizes = read_sizes([Path(entry['img_path']) for entry in entries], _max_pixels(settings))
    if sizes.problems:
        first = next(iter(sizes.problems.values()))
        raise ImageError(
            f'{len(sizes.problems)} of {len(entries)} images cannot be read, the first is {first.problem}',
            first.remedy or 'put a sound file there, or remove it',
        )
    names = [entry['image_id'] for entry in entries]
    if batch_size > 1 and len(sizes.images) > 1:
        more = ', or bring all images to one size and cache their masks again, in another folder'
        raise _several_sizes(_LOADER, batch_size, sizes.images, names, more)
    moves = list(_moves(settings))
    return [note for move in moves if (note := _check_move(move, moves, settings, sizes.images, names))]


def check_scored_batches(config: Config, dataset_of: Callable[[dict[str, Any]], Any]) -> None:
    """Check that batches of validation and test have images of one size each.

    Args:
        config: Its loaders.
        dataset_of: Returns the data set that was built of a loader's settings.

    Raises:
        ConfigError: If a batch could have several sizes.
    """
    if (config.model.get('data_preprocessor') or {}).get('test_cfg'):
        return  # which pads
    for loader in ('val_dataloader', 'test_dataloader'):
        batch = (config.get(loader) or {}).get('batch_size') or 1
        settings = config[loader]['dataset'] if batch > 1 else {}
        steps = [_kind(step) for _, step in running_steps(settings.get('pipeline') or [])]
        if not steps or not all(step in _KEEP_SIZES for step in steps):
            continue
        dataset = dataset_of(settings)
        entries = [dataset.get_data_info(index) for index in range(len(dataset))]
        sizes = read_sizes([Path(entry['img_path']) for entry in entries], _max_pixels(settings)).images
        if len(sizes) > 1:
            names = [entry.get('image_id', entry['img_path']) for entry in entries]
            raise _several_sizes(loader, batch, sizes, names)


def _several_sizes(
    loader: str, batch: int, sizes: Mapping[tuple[int, int], Sequence[int]], names: Sequence[str], more: str = ''
) -> ConfigError:
    return ConfigError(
        f'{loader}.batch_size={batch}, and a batch needs images of one size, but there are {len(sizes)} sizes: '
        f'{name_sizes(sizes, names)}',
        f'take one image at a time with --cfg-options {loader}.batch_size=1{more}',
    )


def _kind(step: Mapping[str, Any]) -> type | None:
    kind = step.get('type')
    return TRANSFORMS.get(kind) if isinstance(kind, str) else kind


def _moves(settings: dict[str, Any]) -> Iterator[_Move]:
    for place, step in running_steps(settings.get('pipeline') or []):
        for base, (what, allows) in _MOVES.items():
            if issubclass(_kind(step) or object, base):
                yield _Move(f'{_LOADER}.dataset.{place}', what, allows, bool(step.get('where_possible')))


def _max_pixels(settings: dict[str, Any]) -> int:
    steps = (step for _, step in running_steps(settings.get('pipeline') or []))
    limits = (step.get('max_pixels') for step in steps if _kind(step) is LoadPanorama)
    return max((limit for limit in limits if limit), default=MAX_PIXELS)


def _check_move(
    move: _Move,
    moves: Sequence[_Move],
    settings: dict[str, Any],
    sizes: Mapping[tuple[int, int], Sequence[int]],
    names: Sequence[str],
) -> str:
    """Return a warning where panoramas are left as they are; empty if all can be moved."""
    windows = WindowSettings.from_json(settings['expect']['grid'])
    bad = {size: places for size, places in sizes.items() if not move.allows(windows.over(*size))}
    if not bad:
        return ''
    problem = (
        f'{sum(map(len, bad.values()))} of {len(names)} panoramas cannot be {move.what} with windows of '
        f'{windows.window[1]} columns every {windows.strides[1]}, wrap={windows.wrap}: {name_sizes(bad, names)}'
    )
    again = _other_windows(windows, list(sizes), moves, settings)
    if move.where_possible:
        return f'{problem}. They are trained on as they are.' + (
            f' All can be {move.what} with {again}' if again else ''
        )
    ways = (
        f'leave them as they are with --cfg-options {move.place}.where_possible=True, or all with {move.place}.prob=0'
    )
    raise ConfigError(problem, f'{ways}, or take {again}' if again else ways)


def _other_windows(
    windows: WindowSettings, sizes: Sequence[tuple[int, int]], moves: Sequence[_Move], settings: dict[str, Any]
) -> str:
    """Name the nearest stride with which every move suits all sizes, and what to do; empty if it would be too small."""
    (_, columns), (row_stride, stride) = windows.window, windows.strides
    by_width = {width: (height, width) for height, width in sizes}.values()  # moves are across only
    for other in sorted(range(max(1, columns // 4), columns + 1), key=lambda other: abs(other - stride)):
        changed = WindowSettings(windows.window, (row_stride, other), windows.wrap)
        if all(move.allows(changed.over(*size)) for move in moves for size in by_width):
            grid = changed.to_json()
            option = f'model.grid.stride={other}'
            if row_stride != windows.window[0]:
                option = f'"model.grid.stride=[{row_stride},{other}]"'
            command = cache_command({**settings, 'expect': {**settings['expect'], 'grid': grid}})
            return f'windows every {other} columns: --cfg-options {option} with the masks of {command}'
    return ''
