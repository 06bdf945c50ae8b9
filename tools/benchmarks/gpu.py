"""All rows of the GPU table, the most important first; on a CPU the same code at sizes that take seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks import fusion, peers
from benchmarks.common import Measurement, hardware
from benchmarks.gpu_stage1 import (
    Scene,
    decoder,
    encoder,
    many_panoramas,
    networks_alone,
    parts,
    profile_of_windows,
    whole_window,
)
from benchmarks.gpu_table import Figure, Missing, Row, run
from benchmarks.random_sam import TINY
from stage1_sam_cache.errors import GoodSAMError
from stage2_distill.libraries import import_libraries

SCHEMA = 1  # of the JSON file
_HEIGHT = 400  # of the panorama of a training step
_SMALL_HEIGHT = 50
_STEP_GOAL = 5.0  # % of a step that is neither network


def measure(
    model: str, points: int, times: int, device: torch.device, small: bool, minutes: float, out: Path | None
) -> bool:
    """Print the table, a row as soon as it is measured.

    Args:
        model: A key of ``ARCHITECTURES``.
        points: Points per side of a window.
        times: Repeats of what is measured in turns.
        device: A GPU, or any device for small sizes.
        small: A tiny network and tiny images, which try the code out and say nothing about speed.
        minutes: For all rows.
        out: JSON file, complete after each row; or None.

    Returns:
        Whether no row failed.

    Raises:
        GoodSAMError: If there is no GPU and the sizes are not small.
        WriteError: If the file can't be written.
    """
    if device.type == 'cpu' and not small:
        raise GoodSAMError(
            'the GPU table would take hours on a CPU',
            'give --device cuda on a machine with a GPU, or --device cpu --small to try the code out',
        )
    scene = Scene(device, model, points)
    if small:
        scene = Scene(device, TINY, min(points, 4), (48, 64), (48, 96), panoramas=2, seconds=0.02)
    about: dict[str, Any] = {
        'schema': SCHEMA,
        'small': small,
        'model': scene.model,
        'points_per_side': scene.points,
        'machine': {**hardware(device), **_driver(device)},
        'absent': peers.absent(),
    }
    print(', '.join(f'{name} {value}' for name, value in about['machine'].items()))
    said = f'{scene.model}, windows of {scene.window[0]}x{scene.window[1]}, {scene.points}x{scene.points} points'
    print(f'{said}{"; tiny sizes, whose figures say nothing about speed" if small else ""}', flush=True)
    if about['absent']:
        print(f'not installed, so not in this table: {", ".join(peers.absent())}', flush=True)
    # Tiny networks need no compiling, which takes minutes on a CPU.
    with torch.compiler.set_stance('force_eager' if small else 'default'):
        return run(rows(scene, times, small), minutes, about, out)


def _driver(device: torch.device) -> dict[str, str]:
    if device.type != 'cuda':
        return {}
    free, total = torch.cuda.mem_get_info(device)
    major, minor = torch.cuda.get_device_capability(device)
    return {
        'cuda': str(torch.version.cuda),
        'driver': _driver_version(),
        'capability': f'{major}.{minor}',
        'memory': f'{total / 2**30:.0f} GiB, {free / 2**30:.0f} free',
    }


def _driver_version() -> str:
    try:
        return Path('/sys/module/nvidia/version').read_text().strip()
    except OSError:
        return 'unknown'


def rows(scene: Scene, times: int, small: bool) -> list[Row]:
    """All rows; the seconds are rough ones of an H100 with ViT-H."""

    def row(name: str, seconds: float, function: Any, *args: Any, **options: Any) -> Row:
        return Row(name, seconds / 100 if small else seconds, partial(function, *args, **options))

    listed = [
        row('window, stock', 15, whole_window, scene, 'stock'),
        row('window, bf16', 12, whole_window, scene, 'bf16'),
        row('parts of a window, bf16', 6, parts, scene, 'bf16'),
        row('encoder, bf16', 8, encoder, scene, 'bf16'),
        row('profile of windows, bf16', 12, profile_of_windows, scene, 'bf16'),
        row('many panoramas, bf16', 60, many_panoramas, scene, 'bf16'),
        row('training step, assistant frozen', 30, training_step, scene.device, times, small, True),
        row('training step, assistant trained', 30, training_step, scene.device, times, small, False),
        row('SegFormers alone', 20, segformers, scene.device, times, small),
        row('window, fp16', 12, whole_window, scene, 'fp16'),
        row('window, fp32-fast', 15, whole_window, scene, 'fp32-fast'),
        row('window, exact', 15, whole_window, scene, 'exact'),
        row('parts of a window, stock', 8, parts, scene, 'stock'),
        row('parts of a window, fp16', 6, parts, scene, 'fp16'),
        row('parts of a window, fp32-fast', 6, parts, scene, 'fp32-fast'),
        row('encoder, fp16', 8, encoder, scene, 'fp16'),
        row('encoder, fp32-fast', 10, encoder, scene, 'fp32-fast'),
        row('encoder, stock', 12, encoder, scene, 'stock'),
        row('CTCF', 20, ctcf, scene, times),
    ]
    for peer in peers.PEERS:
        if peer.installed:
            listed.append(row(f'{peer.name}, networks alone', 60, against_peer, scene, peer))
    return [
        *listed,
        # Kernels of the first two rows come from inductor's cache in the third.
        row('decoder, bf16, compiled', 75, decoder, scene, 'bf16'),
        row('encoder, bf16, compiled', 75, encoder, scene, 'bf16', compiled=True),
        row('window, bf16, compiled', 75, whole_window, scene, 'bf16', compiled=True),
    ]


def _part_with_mmsegmentation(name: str) -> Any:
    """Import a module of this folder that needs MMSegmentation."""
    try:
        import_libraries()
        return import_module(f'benchmarks.{name}')
    except ImportError as missing:
        raise Missing(f'MMSegmentation is needed, and there is none: {missing}') from missing


def training_step(device: torch.device, times: int, small: bool, frozen: bool) -> list[Figure]:
    """A step of GoodSAM at 400x2048 and its networks alone, in turns."""
    step = _part_with_mmsegmentation('step')
    height = _SMALL_HEIGHT if small else _HEIGHT
    found = step.measure_one(1 if small else times, device, height, amp=device.type == 'cuda', frozen=frozen)
    return [Figure('step', found.fast)] + [
        Figure(
            name.split(',')[0],
            value,
            name.split(',')[1].strip(),
            most=_STEP_GOAL if name.startswith('neither network') and '%' in name else None,
        )
        for name, value in found.notes.items()
        if not name.startswith('all else')  # with the copy that labels, which is a network
    ]


def segformers(device: torch.device, times: int, small: bool) -> list[Figure]:
    """SegFormers on a panorama of 400x2048 as this project computes them, and as mmseg does."""
    networks = _part_with_mmsegmentation('networks')
    height = _SMALL_HEIGHT if small else _HEIGHT
    figures = []
    for one in networks.measure(1 if small else times, device, height, amp=device.type == 'cuda'):
        figures += [Figure(one.what, one.fast), Figure(f"{one.what}, mmseg's", one.plain, note=f'{one.ratio:.2f}x')]
    return figures


def ctcf(scene: Scene, times: int) -> list[Figure]:
    """CTCF of a window and of a panorama against the plain loop, and the atoms that a loader's worker makes."""
    found: Sequence[Measurement] = fusion.measure_fusion(min(times, 3), scene.device, scene.window)
    figures = []
    for one in found:
        figures.append(Figure(one.what.removeprefix('CTCF, '), one.fast, note=one.agreement))
        figures.append(Figure('plain loop', one.plain, note=f'{one.ratio:.0f} times as long'))
    return [*figures, Figure('atoms of a window, on the CPU', found[0].notes['atoms in a worker, ms'])]


def against_peer(scene: Scene, peer: peers.Peer) -> list[Figure]:
    """A peer's networks and filters, and those of level bf16."""
    settings, image = scene.settings('bf16'), scene.image()
    theirs = peer.build(scene.model, scene.points, settings.points_per_batch, scene.device)
    ours = scene.generator('bf16')
    calls: list[tuple[str, Callable[[], object]]] = [
        (f'{peer.name} ({peer.about})', partial(theirs, image)),
        ('bf16', partial(ours.generate, image)),
    ]
    return networks_alone(scene, calls)
