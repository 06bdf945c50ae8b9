"""Scores a checkpoint by mIoU.

    tools/test.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth
    tools/test.py mmseg_configs/goodsam_b0.py best.pth --cache cache/densepass_val       # the ensemble too
    tools/test.py mmseg_configs/goodsam_b0.py best.pth --images my_panoramas --labels my_labels
    tools/test.py mmseg_configs/source/segformer_b0_toypass.py best.pth
    tools/test.py mmseg_configs/source/segformer_b0_toypass.py best.pth --dataset toypass --split val \\
        --mode whole slide tile --input-scale 1 2 3

For a GoodSAM config it scores the student on whole panoramas, the teacher assistant in windows side by side (ta_tile)
and averaged (ta_slide), and, with the masks of the scored images, the ensemble labels. For any other network it scores
whole images, or windows (--mode, --window, --stride): 'slide' averages them, 'tile' lays them side by side. Windows are
given in pixels of the unscaled image and grow with the input scale; predictions are always scored at the label's size.

Own labels (--images, --labels) are PNGs of one class id per pixel, under the path of their image: street/7.jpg has
street/7.png or street/7_labelTrainIds.png. Ids are those of the classes of --label-space, unless --label-ids names
another encoding, or a JSON file such as {"3": "road", "4": "car", "9": "ignore"}; 255 is ignored. Images without a
label are not scored. The last line says how many images the scores are of.

With --regions a second table has boundary IoU, and for panoramas the mIoU near the 0/360 degree seam and in the upper,
middle and lower third of the rows; stage2_distill/evaluation/region_scores.py says how they are counted.
"""

from __future__ import annotations

import argparse
import os

from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.commands.flags import SCALES, add_config_flag, add_launcher_flags, add_weights_group
from stage2_distill.evaluation.region_scores import RegionSettings
from stage2_distill.libraries import import_libraries
from stage2_distill.models.names import PREDICTORS

MODES = ('whole', 'slide', 'tile')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one of the project')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        type=flag_values.given_text,
        help='weights, a file or an address; without one the initial weights of a GoodSAM config are scored',
    )
    add_data_flags(parser)
    way = parser.add_argument_group('how images are scored')
    way.add_argument('--mode', nargs='+', choices=MODES, help="(default: the config's)")
    way.add_argument(
        '--window',
        type=flag_values.pixel_pair,
        metavar='HxW',
        help='window of slide and tile (default: all rows, 1/4 of the columns)',
    )
    way.add_argument(
        '--stride', type=flag_values.pixel_pair, metavar='HxW', help='stride of slide (default: half a window across)'
    )
    way.add_argument(
        '--input-scale',
        type=float,
        nargs='+',
        metavar='S',
        help="how much images, or the assistant's windows, are enlarged (default: 1, or the config's)",
    )
    way.add_argument(
        '--cache',
        type=flag_values.given_text,
        metavar='DIR',
        help='masks of the scored images, for the ensemble of GoodSAM',
    )
    way.add_argument('--predictor', nargs='+', choices=PREDICTORS, help="predictors of GoodSAM (default: the config's)")
    way.add_argument('--wrap', action='store_true', help='let the student see across the 0/360 degree seam')
    way.add_argument('--regions', action='store_true', help='also score contours, the seam and bands of latitude')
    shared_flags.add_settings_flags(parser, RegionSettings, 'settings of --regions')
    run = parser.add_argument_group('run')
    run.add_argument(
        '--work-dir', type=flag_values.given_text, help='where logs and results go (default: work_dirs/<config>)'
    )
    run.add_argument(
        '--out',
        type=flag_values.given_text,
        metavar='FILE',
        help='JSON file of the scores (default: <work dir>/scores.json)',
    )
    run.add_argument(
        '--show-dir', type=flag_values.given_text, metavar='DIR', help='write pictures of the predictions there'
    )
    add_weights_group(parser)
    add_config_flag(run)
    add_launcher_flags(run)
    return parser


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose the scored images and say what their labels are."""
    group = parser.add_argument_group("images and labels (default: the config's)")
    source = group.add_mutually_exclusive_group()
    source.add_argument('--dataset', choices=sorted(DATASETS), help='a data set of the catalogue')
    source.add_argument(
        '--images', type=flag_values.named_path, metavar='DIR', help='any folder of panoramas, with --labels'
    )
    group.add_argument('--split', help='split of --dataset (default: val)')
    group.add_argument(
        '--data-root', type=flag_values.given_text, metavar='DIR', help='folder of --dataset (default: data/<Name>)'
    )
    group.add_argument('--labels', type=flag_values.named_path, metavar='DIR', help='labels of --images')
    group.add_argument(
        '--label-space',
        choices=sorted(LABEL_SPACES),
        help="score these classes (default: --dataset's; cityscapes19 for --images)",
    )
    group.add_argument(
        '--label-ids', metavar='NAME|FILE', help='what the ids in --labels are (default: those of the label space)'
    )
    group.add_argument('--limit', type=int, metavar='N', help='score only the first N images')
    shared_flags.add_refusal_flags(group)


def main(argv: list[str] | None = None) -> int:
    """Score every combination of mode or predictor and input scale, and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_flags(parser, args)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    import_libraries()
    from stage2_distill.commands.score_rows import score_rows

    with shared_flags.remedies_by_flags():
        score_rows(parser, args)
    return 0


def check_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, and replace ``args.regions`` by the settings of --regions or None."""
    if not all(SCALES[0] <= scale <= SCALES[1] for scale in args.input_scale or ()):
        parser.error(f'--input-scale must be above 0: from {SCALES[0]} to {SCALES[1]}')
    modes = set(args.mode or ())
    if modes and args.stride and 'slide' not in modes:
        parser.error('--stride goes with --mode slide; tiles lie side by side')
    if modes and args.window and not modes & {'slide', 'tile'}:
        parser.error('--window goes with --mode slide or tile')
    if (args.split or args.data_root) and not args.dataset:
        parser.error('--split and --data-root go with --dataset')
    if args.label_space and not (args.dataset or args.images):
        parser.error('--label-space goes with --dataset or --images')
    if bool(args.images) != bool(args.labels):
        parser.error('--images and --labels go together')
    if args.label_ids and not args.labels:
        parser.error('--label-ids goes with --labels')
    if args.limit is not None and args.limit < 1:
        parser.error('--limit has to be at least 1')
    region_values = shared_flags.given_settings(args, RegionSettings)
    if region_values and not args.regions:
        parser.error(f'--{next(iter(region_values)).replace("_", "-")} goes with --regions')
    args.regions = shared_flags.make_settings(parser, RegionSettings, region_values) if args.regions else None
