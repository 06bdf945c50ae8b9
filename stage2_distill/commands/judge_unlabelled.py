"""Judges assistant, ensemble labels and student on panoramas without labels, by what can be counted there.

    tools/judge_unlabelled.py mmseg_configs/goodsam_b0_own.py work_dirs/goodsam_b0_own/iter_40000.pth \\
        --images unseen_panoramas --cache cache/unseen_panoramas

Agreement with the assistant and with the ensemble labels (pixels, and mean IoU as if those were true); the pixels near
the 0/360 degree seam that keep their label when the panorama is rolled by half and the seam lies elsewhere; the
boundary pixels of labels that lie on an edge of the image (Canny), and how many would by chance. None of it says that a
label is right. Pixels that the config leaves out (LeaveOut) are not counted.
"""

from __future__ import annotations

import argparse
import json
import os

from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_config_flag, add_weights_group
from stage2_distill.libraries import import_libraries


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a GoodSAM config')
    parser.add_argument('checkpoint', help='checkpoint of its training run')
    parser.add_argument('--images', required=True, metavar='DIR', help='panoramas, best such as were not trained on')
    shared_flags.add_refusal_flags(parser)
    parser.add_argument('--cache', required=True, metavar='DIR', help='their masks, of tools/cache_sam.py')
    parser.add_argument('--wrap', action='store_true', help='let the student see across the 0/360 degree seam')
    parser.add_argument('--out', type=flag_values.named_path, metavar='FILE', help='also write the figures as JSON')
    add_config_flag(parser)
    add_weights_group(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Judge all images, print the table and return the exit status."""
    args = build_parser().parse_args(argv)
    require_one_process('tools/judge_unlabelled.py', os.environ)
    import_libraries()
    from stage2_distill.commands.unlabelled_figures import judge_all
    from stage2_distill.training.experiment import read_config

    config = read_config(args.config, args.cfg_options)
    with shared_flags.remedies_by_flags():
        table, coverage = judge_all(config, args)
    print(f'{coverage.scored} panoramas of {args.images}; percent')
    names = list(table['student'])
    print('\n'.join(f'{row:>18} ' + ' '.join(f'{cell:>14}' for cell in cells) for row, cells in _cells(table, names)))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        commit(args.out, json.dumps(table, indent=1).encode(), replace=True)
    print(coverage.line)
    return 0


def _cells(table: dict[str, dict[str, float]], names: list[str]) -> list[tuple[str, list[str]]]:
    rows = [
        (
            row,
            [
                ('-' if scores[name] != scores[name] else f'{scores[name]:.1f}') if name in scores else ''
                for name in names
            ],
        )
        for row, scores in table.items()
    ]
    return [('', names), *rows]
