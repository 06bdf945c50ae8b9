"""Adapts SAM's image encoder to panoramas before stage 1 (WeSAM); docs/wesam.md says whether that helps.

    tools/cache_sam.py --dataset densepass                                    # SAM's own masks place the prompts
    tools/adapt_sam.py --dataset densepass --prompts cache/densepass
    tools/cache_sam.py --dataset densepass --adapter work_dirs/adapt_vit_h/adapter.safetensors

No labels are used unless the prompts come from some. It can be killed at any moment; --resume continues, and gives the
adapter that an uninterrupted run gives.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from stage1_sam_cache.adaptation.settings import AdaptSettings
from stage1_sam_cache.cache.reader import MaskCache, open_cache
from stage1_sam_cache.commands import cli, flag_values, sam_flags, shared_flags
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.listing import Listing
from stage1_sam_cache.system import folder_lock
from stage1_sam_cache.system.launched import require_one_process
from stage1_sam_cache.system.memory import keep_freed_memory
from stage2_distill.commands.flags import warn_of_slow_bfloat16
from stage2_distill.libraries import import_libraries

if TYPE_CHECKING:
    from stage1_sam_cache.adaptation.window_dataset import WindowDataset

# Caches of these generators hold true masks, and prompts that they place are weak labels; imported masks may.
_TRUE, _IMPORTED = ('truth', 'simulated'), 'imported'


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared_flags.add_image_flags(parser)
    prompts = parser.add_argument_group('prompts')
    prompts.add_argument(
        '--prompts', type=flag_values.named_path, required=True, metavar='CACHE', help='mask cache of these images'
    )
    prompts.add_argument(
        '--weak-labels',
        action=argparse.BooleanOptionalAction,
        help='whether imported masks were made by people, which the adapter then says',
    )
    sam_flags.add_sam_flags(parser.add_argument_group('model'))
    shared_flags.add_settings_flags(parser, AdaptSettings, 'settings, which are kept in the adapter')
    run = parser.add_argument_group('run')
    run.add_argument(
        '--work-dir', type=flag_values.named_path, help='logs, checkpoints, adapters (default: work_dirs/adapt_<SAM>)'
    )
    run.add_argument('--seed', type=flag_values.seed, default=0, help='default: %(default)s')
    run.add_argument(
        '--keep',
        type=int,
        nargs='*',
        default=[100, 300, 1000],
        metavar='STEPS',
        help='after which steps an adapter is written, besides the last (default: 100 300 1000)',
    )
    run.add_argument(
        '--checkpoint-interval', type=flag_values.positive, default=100, help='in steps (default: %(default)s)'
    )
    run.add_argument('--resume', action='store_true', help='continue from the latest checkpoint in --work-dir')
    run.add_argument('--amp', action='store_true', help='bfloat16 for the networks')
    run.add_argument('--workers', type=int, default=0, help='processes that load windows (default: %(default)s)')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Adapt, and write the adapters."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/adapt_sam.py', os.environ)
    settings = shared_flags.make_settings(parser, AdaptSettings, shared_flags.given_settings(args, AdaptSettings))
    if args.workers < 0 or min(args.keep, default=0) < 0:
        parser.error('--workers and --keep need at least 0')
    cache = open_cache(args.prompts)
    weak_labels = _uses_labels(parser, args, cache)
    listing = shared_flags.list_images(parser, args)
    if status := shared_flags.report_refused(listing.refused, args.skip_refused):
        return status
    import_libraries()
    from stage2_distill.training.experiment import plain_errors
    from stage2_distill.training.resuming import nothing_to_resume

    if args.amp:
        warn_of_slow_bfloat16()
    work_dir = args.work_dir or Path('work_dirs') / f'adapt_{sam_flags.model_of(args)}'
    if args.resume and not work_dir.is_dir():
        raise nothing_to_resume(work_dir)
    with plain_errors(), folder_lock.hold(work_dir):
        _adapt(args, settings, cache, weak_labels, listing, work_dir)
    file = work_dir / 'adapter.safetensors'
    chosen = [f'--{name} {value} ' for name in ('sam', 'checkpoint') if (value := getattr(args, name))]
    print(f'adapter in {file}; make masks with it: tools/cache_sam.py ... {"".join(chosen)}--adapter {file}')
    return 0


def _uses_labels(parser: argparse.ArgumentParser, args: argparse.Namespace, cache: MaskCache) -> bool:
    """Whether the prompts are weak labels: the cache knows, unless its masks were imported."""
    generator = cache.fingerprint.settings['generator']['name']
    if generator == _IMPORTED:
        if args.weak_labels is None:
            parser.error(f'{cache.path} holds imported masks: say with --weak-labels or --no-weak-labels what they are')
        return bool(args.weak_labels)
    if args.weak_labels is not None:
        parser.error(f'--weak-labels is for imported masks; those of {cache.path} were made by {generator}')
    return generator in _TRUE


def _adapt(
    args: argparse.Namespace,
    settings: AdaptSettings,
    cache: MaskCache,
    weak_labels: bool,
    listing: Listing,
    work_dir: Path,
) -> None:
    """Build the run and train."""
    import torch

    from stage1_sam_cache.adaptation.adaptation import Adaptation
    from stage1_sam_cache.adaptation.window_dataset import WindowDataset
    from stage1_sam_cache.sam.adapter import AdapterNotes, PromptSource
    from stage1_sam_cache.system.devices import choose_device
    from stage2_distill.checkpoints.fit import check_fit
    from stage2_distill.checkpoints.safe_checkpoints import use_safe_loaders
    from stage2_distill.training.resuming import find_latest, has_resumable, nothing_to_resume
    from stage2_distill.wesam.runner import keep_record, make_runner

    use_safe_loaders(args.trust_checkpoint)
    if args.resume and not has_resumable(work_dir, args.trust_checkpoint):
        raise nothing_to_resume(work_dir)
    if not args.resume and (old := find_latest(work_dir)) is not None:
        cli.report(f'warning: {old} is of an earlier run, and this one begins anew; --resume would continue it')
    if not torch.cuda.is_available():
        keep_freed_memory()
    sam, digest = sam_flags.load_chosen_sam(args)
    sam.to(choose_device('auto', os.environ))
    split = (args.split or DATASETS[args.dataset].default_split) if args.dataset else ''
    generator = cache.fingerprint.settings['generator']['name']
    notes = AdapterNotes(
        model=sam_flags.model_of(args),
        base_sha256=digest,
        rank=settings.rank,
        steps=0,
        seed=args.seed,
        prompts=PromptSource(cache.fingerprint.key, generator, args.dataset or '', split),
        weak_labels=weak_labels,
        settings=asdict(settings),
    )
    sides = sam.image_encoder.img_size, sam.prompt_encoder.mask_input_size[0]
    dataset = WindowDataset(listing.samples, cache, settings, *sides)
    _describe(dataset)
    # The number of steps may grow when a run is continued.
    lasting = {**asdict(settings), 'steps': None}
    record = {**asdict(notes), 'settings': lasting, 'windows': len(dataset), 'amp': args.amp}
    keep_record(work_dir, record, args.resume)
    runner = make_runner(
        Adaptation(sam, settings, args.seed),
        dataset,
        notes,
        work_dir,
        kept=args.keep,
        amp=args.amp,
        workers=args.workers,
        checkpoint_interval=args.checkpoint_interval,
        resume=args.resume,
    )
    if args.resume:
        check_fit(runner.model, str(find_latest(work_dir)), args.trust_checkpoint)
    runner.train()


def _describe(dataset: WindowDataset) -> None:
    """Print what is trained on, and report what is not."""
    print(f'{len(dataset)} windows and overlaps of {len(dataset.samples)} panoramas', flush=True)
    if dataset.empty:
        cli.report(f'{dataset.empty} windows have no mask that can be asked for and are left out')
    if dataset.not_cached:
        count, first = len(dataset.not_cached), dataset.not_cached[0]
        cli.report(f'{count} panoramas are not in {dataset.cache.path} and are left out, such as {first}')
