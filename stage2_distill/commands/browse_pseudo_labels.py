"""Draws what one panorama teaches: image, masks, assistant, ensemble, weights, refined boundaries, student, confidence.

tools/browse_pseudo_labels.py mmseg_configs/goodsam_b0.py --id Amsterdam/1 --out look.png     # initial weights
tools/browse_pseudo_labels.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/iter_40000.pth --count 3
tools/browse_pseudo_labels.py CONFIG CHECKPOINT --panels image assistant ensemble before student truth --columns 2
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_config_flag, add_panorama_flags, add_run_arguments, add_weights_group
from stage2_distill.errors import ConfigError
from stage2_distill.libraries import import_libraries

PANELS = ('image', 'masks', 'assistant', 'ensemble', 'weight', 'boundaries', 'before', 'student', 'confidence', 'truth')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    add_panorama_flags(parser.add_argument_group('panoramas'), count=1)
    picture = parser.add_argument_group('picture')
    picture.add_argument(
        '--panels',
        nargs='+',
        choices=PANELS,
        default=[name for name in PANELS if name != 'before'],
        help='what is drawn, in this order; before: the student with its initial weights (default: all but that)',
    )
    picture.add_argument('--columns', type=int, default=1, help='columns of panels (default: %(default)s)')
    picture.add_argument(
        '--out', type=flag_values.picture_path, default=Path('pseudo_labels.png'), help='default: %(default)s'
    )
    add_weights_group(parser)
    add_config_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Draw the panels of every panorama, below each other, and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/browse_pseudo_labels.py', os.environ)
    if args.columns < 1:
        parser.error('--columns needs at least 1')
    import_libraries()
    from stage2_distill.commands.label_panels import arrange, build_model, choose, draw, stack
    from stage2_distill.training.experiment import plain_errors, read_config

    config = read_config(args.config, args.cfg_options)
    if config.model.type != 'GoodSAM':
        raise ConfigError(f'{args.config} is not a GoodSAM config')
    dataset, chosen = choose(config, args)
    model = build_model(config, args.checkpoint, args.trust_checkpoint)
    initial = build_model(config, None, args.trust_checkpoint) if 'before' in args.panels else model
    sheets = []
    with plain_errors():
        for index in chosen:
            panels = draw(model, initial, dataset, index)
            sheets.append(arrange([panels[panel] for panel in args.panels if panel in panels], args.columns))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    stack(sheets).save(args.out)
    print(f'{len(sheets)} panoramas in {args.out}')
    return 0
