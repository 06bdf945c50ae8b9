"""What gives the masks that the flags ask for: SAM, Felzenszwalb's method, or files of other tools."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from stage1_sam_cache.commands import cli, shared_flags
from stage1_sam_cache.commands.sam_flags import load_chosen_sam, model_of
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.listing import Listing
from stage1_sam_cache.exchange.import_folder import read_folder
from stage1_sam_cache.exchange.import_settings import ImportSettings
from stage1_sam_cache.exchange.imported_masks import ImportedMasks
from stage1_sam_cache.sam.felzenszwalb import FelzenszwalbMaskGenerator, FelzenszwalbSettings
from stage1_sam_cache.sam.mask_generator import MaskSource
from stage1_sam_cache.sam.sam2_sizes import NAMES
from stage1_sam_cache.sam.settings import TOY_SETTINGS, Sam2Options, Sam2Settings, SamSettings
from stage1_sam_cache.system.devices import choose_device
from stage1_sam_cache.system.memory import keep_freed_memory

if TYPE_CHECKING:
    from stage1_sam_cache.sam.adapter import Adapter

_SAM_FLAGS = ('sam', 'checkpoint', 'adapter', 'trust_checkpoint', 'device', 'level', 'encoder_batch', 'compile')


def make_source(parser: argparse.ArgumentParser, args: argparse.Namespace, listing: Listing) -> MaskSource:
    """Return the source of masks that the flags ask for; flags of other sources are a usage error.

    Args:
        parser, args: Of the command.
        listing: The panoramas.

    Raises:
        WeightsError: If SAM's weights are missing, damaged or can't be fetched, or an adapter does not fit them.
        Stage1Error: If the folder of imported masks has none or can't be read.
    """
    source = '--import' if args.imported else f'--generator {args.generator}'
    given = {
        '--generator sam': [
            *(name for name in _SAM_FLAGS if getattr(args, name)),
            *shared_flags.given_settings(args, Sam2Settings),
        ],
        '--generator felzenszwalb': list(shared_flags.given_settings(args, FelzenszwalbSettings)),
        '--import': [
            *(['import_name'] if args.import_name else []),
            *shared_flags.given_settings(args, ImportSettings),
        ],
    }
    for owner, names in given.items():
        if names and owner != source:
            parser.error(f'--{names[0].replace("_", "-")} is for {owner}')
    if args.imported:
        return _read_imported(parser, args, listing)
    if args.generator == 'felzenszwalb':
        if args.order == 'score':
            parser.error('--order score needs the scores of --generator sam')
        values = shared_flags.given_settings(args, FelzenszwalbSettings)
        return FelzenszwalbMaskGenerator(shared_flags.make_settings(parser, FelzenszwalbSettings, values))
    if model_of(args) in NAMES:
        return _make_sam2(parser, args)
    if foreign := list(shared_flags.given_settings(args, Sam2Options)):
        parser.error(f'--{foreign[0].replace("_", "-")} is for SAM 2: --sam {", ".join(NAMES)}')
    return _make_sam(parser, args, shared_flags.given_settings(args, SamSettings))


def _read_imported(parser: argparse.ArgumentParser, args: argparse.Namespace, listing: Listing) -> ImportedMasks:
    """Return the masks of a folder; those of images that ``--list`` leaves out are not reported."""
    if not args.import_name:
        parser.error('--import needs --import-name, the tool that made the masks, such as sam2')
    values = shared_flags.given_settings(args, ImportSettings)
    settings = shared_flags.make_settings(parser, ImportSettings, values)
    if args.list:
        listing = shared_flags.list_images(parser, argparse.Namespace(**{**vars(args), 'list': None}))
    folder = read_folder(args.imported, [sample.id for sample in listing.samples], listing.root)
    return ImportedMasks(folder, args.import_name, settings, needs_scores=args.order == 'score')


def _make_sam(parser: argparse.ArgumentParser, args: argparse.Namespace, sam_values: dict[str, Any]) -> MaskSource:
    """Return SAM's mask generator with its weights loaded, on its device."""
    model, level = model_of(args), args.level or 'exact'
    if level in ('stock', 'exact') and (args.encoder_batch or args.compile):
        parser.error(
            f'--encoder-batch and --compile change rounding; they need --level fp32-fast, bf16 or fp16, not {level}'
        )
    if args.encoder_batch is not None and args.encoder_batch < 1:
        parser.error('--encoder-batch has to be at least 1')
    defaults = asdict(TOY_SETTINGS if model == 'toy' else SamSettings())
    settings = shared_flags.make_settings(parser, SamSettings, {**defaults, **sam_values})
    # Imported here because PyTorch takes seconds, which other generators and errors need not wait for.
    from stage1_sam_cache.sam.adapter import read_adapter
    from stage1_sam_cache.sam.fast_generation import points_that_fit
    from stage1_sam_cache.sam.sam_generator import SamMaskGenerator

    device = choose_device(args.device or 'auto', os.environ)
    if device.type == 'cpu':
        keep_freed_memory()
    if level not in ('stock', 'exact') and 'points_per_batch' not in sam_values:
        settings = replace(settings, points_per_batch=points_that_fit(device, level))
    adapter = read_adapter(args.adapter) if args.adapter else None
    if adapter:
        adapter.check_model(model)
        _warn_of_prompts(adapter, args)
    sam, digest = load_chosen_sam(args)
    return SamMaskGenerator(sam, model, digest, settings, device, level, args.encoder_batch or 1, args.compile, adapter)


def _make_sam2(parser: argparse.ArgumentParser, args: argparse.Namespace) -> MaskSource:
    """Return SAM 2's mask generator with its weights loaded, on its device."""
    if args.level not in (None, 'stock'):
        parser.error(f'--sam {args.sam} has --level stock alone, not {args.level}')
    for name in ('adapter', 'encoder_batch', 'compile'):
        if getattr(args, name):
            parser.error(f'--{name.replace("_", "-")} is for SAM, not for --sam {args.sam}')
    settings = shared_flags.make_settings(parser, Sam2Settings, shared_flags.given_settings(args, Sam2Settings))
    from stage1_sam_cache.sam.sam2_networks import require_sam2

    require_sam2()
    from stage1_sam_cache.sam.sam2_generator import Sam2MaskGenerator
    from stage1_sam_cache.sam.sam2_weights import find_sam2_weights, load_sam2

    device = choose_device(args.device or 'auto', os.environ)
    if device.type == 'cpu':
        keep_freed_memory()
    path = find_sam2_weights(args.sam, args.checkpoint_dir, args.checkpoint)
    official, trusted = args.checkpoint is None, args.trust_checkpoint
    sam2, digest = load_sam2(args.sam, path, official, trusted, settings.stable_masks)
    return Sam2MaskGenerator(sam2, args.sam, digest, settings, device)


def _warn_of_prompts(adapter: Adapter, args: argparse.Namespace) -> None:
    """Warn where an adapter was trained on the evaluation images that it now makes masks of."""
    if not args.dataset:
        return
    prompts, dataset = adapter.notes.prompts, DATASETS[args.dataset]
    split = args.split or dataset.default_split
    if (prompts.dataset, prompts.split) == (args.dataset, split) and dataset.splits[split].evaluation:
        labels = ' and their labels' if adapter.notes.weak_labels else ''
        cli.report(
            f'warning: {adapter.path} was adapted to {args.dataset} {split}{labels}; scores of these masks say '
            'nothing about other images'
        )
