"""Caches ToyPASS's true instances as masks, for the upper bound in the tables; nothing else trains on them.

    tools/cache_truth.py --split train --out cache/truth
    tools/cache_truth.py --split val --kinds instances parts --out cache/truth_val
    tools/cache_truth.py --split val --merge 0.3 --erode 2 --out cache/simulated_val
    tools/cache_truth.py --domain source --split val --out cache/source_truth

With any of the last group of flags the instances are damaged by these amounts, to learn how good masks must be. The
cache then calls its generator 'simulated', and the amounts belong to its identity.

--domain source takes the pinhole images in place of the panoramas, as prompts for a control of WeSAM (docs/wesam.md).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from stage1_sam_cache.build.panorama import make_masks
from stage1_sam_cache.build.settings import CacheSettings
from stage1_sam_cache.cache.writer import CacheWriter
from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.data.images import RgbImage, read_rgb
from stage1_sam_cache.errors import DatasetError
from stage1_sam_cache.geometry.windows import WindowSettings
from stage1_sam_cache.system.launched import require_one_process
from toypass.truth.simulated_masks import DamageSettings, SimulatedMaskGenerator
from toypass.truth.truth_files import SPLITS, TruthFiles
from toypass.truth.truth_masks import KINDS, TruthMaskGenerator, encode

_DATASETS = {'target': 'toypass', 'source': 'toypass_source'}


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--data-root', type=flag_values.named_path, default=Path('data/ToyPASS'), help='default: %(default)s'
    )
    parser.add_argument('--domain', choices=tuple(_DATASETS), default='target', help='default: %(default)s')
    parser.add_argument('--split', choices=SPLITS, default='train', help='default: %(default)s')
    parser.add_argument('--out', type=flag_values.named_path, required=True, help='folder of the cache')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=['instances'], help='default: instances')
    shared_flags.add_window_flags(parser, WindowSettings((200, 256), 128))
    shared_flags.add_refusal_flags(parser)
    shared_flags.add_settings_flags(parser, DamageSettings, 'damage')
    return parser


def make_generator(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> TruthMaskGenerator | SimulatedMaskGenerator:
    """Make the generator that the flags ask for."""
    damage = shared_flags.given_settings(args, DamageSettings)
    if not damage:
        return TruthMaskGenerator(tuple(args.kinds))
    if args.kinds != ['instances']:
        parser.error(f'--{next(iter(damage))} is for --kinds instances')
    return SimulatedMaskGenerator(shared_flags.make_settings(parser, DamageSettings, damage))


def main(argv: list[str] | None = None) -> int:
    """Cache what is missing and seal the cache."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/cache_truth.py', os.environ)
    args.dataset, args.images, args.list = _DATASETS[args.domain], None, None
    if args.wrap and args.domain == 'source':
        parser.error('--wrap: source images do not show 360 degrees, their borders do not join')
    values = {'window': args.window, 'stride': args.stride, 'wrap': args.wrap}
    settings = shared_flags.make_settings(parser, CacheSettings, values)
    generator = make_generator(parser, args)
    writer = CacheWriter(args.out, settings.fingerprint(generator))
    listing = shared_flags.list_images(parser, args)
    samples = listing.samples
    truth = TruthFiles(args.data_root, args.domain, args.split)
    made = 0
    for sample in tqdm(samples, desc='caching truth', unit='image'):
        sha256 = read_rgb(sample.image).sha256
        if writer.is_done(sample.id, sha256):
            continue
        files = [truth.file(sample.id, kind) for kind in args.kinds]
        for file in files:
            if not file.is_file():
                raise DatasetError(
                    f'{file} does not exist', f'make it with tools/make_toypass.py --out {args.data_root}'
                )
        image = RgbImage(encode([np.asarray(Image.open(file)) for file in files]), sha256)
        made += bool(writer.commit(make_masks(sample.id, image, settings, generator)))
    status = shared_flags.report_refused(listing.refused, args.skip_refused)
    sealed = 'not sealed, images were refused:' if status else f'all {writer.seal()} panoramas are'
    print(f'{made} done, {len(samples) - made} already there; {sealed} in {writer.path}')
    return status
