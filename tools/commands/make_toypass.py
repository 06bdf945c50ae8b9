"""Makes ToyPASS: labelled street scenes of a pinhole camera (source) and panoramas of the same world (target).

    tools/make_toypass.py --out data/ToyPASS --preset demo --workers 8

No download, no licence: everything is drawn from the seed, and the same seed gives identical files with any number of
workers. The tool can be killed at any time and run again: existing files are kept. All settings are in
tools/toypass/knobs.py and are written to toypass.json in the data folder.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import embreex  # noqa: F401
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.data.label_spaces import IGNORE, LABEL_SPACES
from stage1_sam_cache.system.launched import require_one_process
from toypass.dataset.description import prepare
from toypass.dataset.jobs import DOMAINS, DatasetPlan, jobs
from toypass.dataset.making import make_all, statistics
from toypass.knobs import LOOKS, PRESETS, Knobs, preset


def _width(text: str) -> int:
    width = int(text)
    if width < 64 or width & (width - 1):
        raise argparse.ArgumentTypeError(f'{width} is not a power of two of at least 64')
    return width


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {name: (k.counts, k.pinhole, k.panorama) for name, k in PRESETS.items()}
    text = '; '.join(
        f'{name}: {c.source_train}+{c.source_val} pinhole {s.height}x{s.width}, '
        f'{c.target_train}+{c.target_val} panoramas {t.height}x{t.width}'
        for name, (c, s, t) in sizes.items()
    )
    parser.add_argument('--out', type=flag_values.named_path, default=Path('data/ToyPASS'), help='default: %(default)s')
    parser.add_argument('--preset', choices=list(PRESETS), default='demo', help=f'train+val images; {text}')
    parser.add_argument(
        '--domain', nargs='+', choices=DOMAINS, default=DOMAINS, help='make only source or target (default: both)'
    )
    parser.add_argument('--seed', type=flag_values.seed, default=0, help='default: %(default)s')
    parser.add_argument(
        '--workers',
        type=flag_values.positive,
        default=os.cpu_count() or 1,
        help='processes (default: one per core, here %(default)s)',
    )
    parser.add_argument(
        '--look',
        choices=list(LOOKS),
        default='mild',
        help="the target's look; 'source' leaves the gap of the geometry alone (default: %(default)s)",
    )
    parser.add_argument(
        '--panorama-width',
        type=_width,
        metavar='W',
        help='columns of a panorama, a power of two; sets its pixels per degree',
    )
    parser.add_argument(
        '--source-pixels-per-degree', type=float, metavar='P', help='resizes the pinhole images (at 75 degrees of view)'
    )
    parser.add_argument('--depth', action='store_true', help='write depth maps too, 16-bit PNG in centimetres')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Make what is missing and print the class statistics."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/make_toypass.py', os.environ)
    if args.source_pixels_per_degree is not None and not 0.5 <= args.source_pixels_per_degree <= 60:
        parser.error('--source-pixels-per-degree must lie between 0.5 and 60')
    knobs = preset(args.preset, args.look, args.source_pixels_per_degree, args.panorama_width)
    plan = DatasetPlan(args.out, knobs, args.seed, args.depth)
    prepare(plan)
    total, begun = len(jobs(knobs, args.domain)), time.perf_counter()
    with tqdm(total=total, unit='image', dynamic_ncols=True, desc='ToyPASS') as bar:
        made = []
        for result in make_all(plan, min(args.workers, total), args.domain):
            made.append(result)
            bar.update()
    seconds = time.perf_counter() - begun
    missing = print_statistics(statistics(made))
    _print_scale(knobs)
    for name in ('source train', 'target train', 'target val'):
        times = [m.seconds for m in made if m.seconds is not None and f'{m.job.domain} {m.job.split}' == name]
        if times:
            print(f'{name}: {np.mean(times):.2f} s per image and process' + ', in two looks' * (name == 'target val'))
    print(f'{total} scenes in {seconds:.0f} s with {args.workers} workers, in {args.out}')
    for split, names in missing.items():
        cli.report(f'warning: {split} shows no {", ".join(names)}')
    return 0


def print_statistics(counts: dict[str, dict[str, NDArray[np.int64]]]) -> dict[str, list[str]]:
    """Print the share of pixels, and of images, of each class and split.

    Args:
        counts: As ``statistics`` returns them.

    Returns:
        The classes that a split lacks, by split; splits that have all are not in it.
    """
    names = [*LABEL_SPACES['cityscapes19'].classes, 'void']
    ids = [*range(len(names) - 1), IGNORE]
    order = sorted(counts)
    print('share of pixels in %, in brackets share of images that show the class')
    print(f'{"":14}' + ''.join(f'{split:>20}' for split in order))
    missing: dict[str, list[str]] = {}
    for name, label in zip(names, ids, strict=True):
        cells = []
        for split in order:
            pixels, images = counts[split]['pixels'], counts[split]['images']
            # Road and buildings are in every image, so the largest count is the number of images.
            cells.append(f'{100 * pixels[label] / pixels.sum():12.3f} ({100 * images[label] / images.max():4.0f})')
            if not pixels[label] and label != IGNORE:
                missing.setdefault(split, []).append(name)
        print(f'{name:14}' + ''.join(f'{cell:>20}' for cell in cells))
    return missing


def _print_scale(knobs: Knobs) -> None:
    low, high = knobs.pinhole.pixels_per_degree()
    print(f'pixels per degree: source {low:.1f} to {high:.1f}, target {knobs.panorama.pixels_per_degree():.1f}')
