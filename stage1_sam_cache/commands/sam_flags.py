"""The flags that choose SAM's weights, and the SAM that they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stage1_sam_cache.commands import flag_values, shared_flags
from stage1_sam_cache.errors import WeightsError
from stage1_sam_cache.sam.sam2_sizes import NAMES

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


def add_sam_flags(parser: argparse._ActionsContainer, sam2: bool = False) -> None:
    """Add the flags that choose SAM's weights; ``sam2`` tells whether the command takes SAM 2 as well."""
    parser.add_argument(
        '--sam',
        metavar='MODEL',
        help='vit_h (default), vit_l, vit_b; toy: a small one for ToyPASS, see tools/train_toy_sam.py'
        + (f'; SAM 2, from small to large: {", ".join(NAMES)} (docs/omnisam.md)' if sam2 else ''),
    )
    parser.add_argument(
        '--checkpoint', type=flag_values.named_path, help='custom SAM weights instead of the published ones'
    )
    shared_flags.add_trust_flag(parser)
    shared_flags.add_weights_flag(parser)
    parser.add_argument(
        '--checkpoint-dir',
        type=Path,
        default=Path('checkpoints'),
        help='where weights are looked for next, and kept when they are fetched (default: checkpoints)',
    )


def model_of(args: argparse.Namespace) -> str:
    """Return the name of the SAM that the flags choose."""
    return args.sam or 'vit_h'


def load_chosen_sam(args: argparse.Namespace) -> tuple[Sam, str]:
    """Return the SAM that the flags choose, on the CPU and in evaluation mode, and the SHA-256 of its weights' file.

    Raises:
        WeightsError: If its weights are missing, damaged or of another model.
    """
    # Imported here because PyTorch takes seconds, which other errors need not wait for.
    from stage1_sam_cache.sam.weights import find_weights, load_sam

    model = model_of(args)
    if model in NAMES:
        raise WeightsError(f'--sam {model}: this command takes SAM, not SAM 2', 'name one of vit_h, vit_l, vit_b, toy')
    path = find_weights(model, args.checkpoint_dir, args.checkpoint)
    return load_sam(model, path, official=args.checkpoint is None, trusted=args.trust_checkpoint)
