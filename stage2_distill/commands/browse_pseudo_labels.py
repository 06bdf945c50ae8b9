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
from stage1_sam_cache.system.nearest import known
from stage2_distill.commands.flags import add_config_flag, add_trust_flag, add_weights_flag, use_refusal_flags
from stage2_distill.errors import ConfigError
from stage2_distill.libraries import import_libraries

PANELS = ('image', 'masks', 'assistant', 'ensemble', 'weight', 'boundaries', 'before', 'student', 'confidence', 'truth')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a GoodSAM config')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        type=flag_values.given_text,
        help='checkpoint of its training run (default: the initial weights)',
    )
    parser.add_argument(
        '--split', choices=('train', 'val'), default='train', help="the config's images (default: train)"
    )
    parser.add_argument('--cache', metavar='DIR', help="masks of these images (default: the config's, for train)")
    parser.add_argument('--id', nargs='+', metavar='ID', help='panoramas by their path without extension')
    parser.add_argument(
        '--count', type=int, default=1, help='number of panoramas, from the first (default: %(default)s)'
    )
    parser.add_argument(
        '--panels',
        nargs='+',
        choices=PANELS,
        default=[name for name in PANELS if name != 'before'],
        help='what is drawn, in this order; before: the student with its initial weights (default: all but that)',
    )
    parser.add_argument('--columns', type=int, default=1, help='columns of panels (default: %(default)s)')
    parser.add_argument(
        '--out', type=flag_values.picture_path, default=Path('pseudo_labels.png'), help='default: %(default)s'
    )
    cli.add_refusal_flags(parser)
    add_config_flag(parser)
    add_trust_flag(parser)
    add_weights_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Draw the panels of every panorama, below each other, and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/browse_pseudo_labels.py', os.environ)
    if args.columns < 1:
        parser.error('--columns needs at least 1')
    import_libraries()
    from stage2_distill.commands.label_panels import arrange, build_dataset, build_model, draw, stack
    from stage2_distill.training.experiment import plain_errors, read_config

    config = read_config(args.config, args.cfg_options)
    if config.model.type != 'GoodSAM':
        raise ConfigError(f'{args.config} is not a GoodSAM config')
    for loader in filter(None, (config.train_dataloader, config.val_dataloader, config.test_dataloader)):
        use_refusal_flags(loader.dataset, args)
    with cli.remedies_by_flags():
        dataset = build_dataset(config, args.split, args.cache)
    model = build_model(config, args.checkpoint, args.trust_checkpoint)
    initial = build_model(config, None, args.trust_checkpoint) if 'before' in args.panels else model
    names = [dataset.get_data_info(i)['image_id'] for i in range(len(dataset))]
    for name in args.id or []:
        if name not in names:
            raise ConfigError(f'there is no panorama {name!r}', known(name, names))
    sheets = []
    with plain_errors():
        for name in args.id or names[: args.count]:
            panels = draw(model, initial, dataset, names.index(name))
            sheets.append(arrange([panels[panel] for panel in args.panels if panel in panels], args.columns))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    stack(sheets).save(args.out)
    print(f'{len(sheets)} panoramas in {args.out}')
    return 0
