"""Writes one HTML page of a training run: curves, scores, and a few panoramas to look around in.

    tools/report.py work_dirs/goodsam_b0
    tools/report.py work_dirs/goodsam_b0 --split val --cache cache/densepass_val --id cs/1 --out report.html
    tools/report.py work_dirs/goodsam_b0 --count 0      # curves and scores alone, in seconds

The page is one file that loads nothing from elsewhere: image, masks, assistant, ensemble, student and confidence are
layers of a view of 360 degrees, with a slider.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_config_flag, add_panorama_flags, add_weights_group
from stage2_distill.errors import ConfigError
from stage2_distill.libraries import import_libraries

LAYERS = ('image', 'masks', 'assistant', 'ensemble', 'weight', 'student', 'confidence', 'truth')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir', type=Path, metavar='WORK_DIR', help='work dir of a training run')
    parser.add_argument('--out', type=Path, metavar='FILE', help='default: report.html in the work dir')
    panoramas = parser.add_argument_group('panoramas')
    panoramas.add_argument(
        '--checkpoint', type=flag_values.given_text, metavar='FILE', help="default: the run's latest"
    )
    add_panorama_flags(panoramas, count=4)
    add_config_flag(parser)
    add_weights_group(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the page and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/report.py', os.environ)
    if args.count < 0:
        parser.error('--count needs at least 0')
    from stage2_distill.report.run_files import config_file, read_curves, read_scores

    config_path = config_file(args.work_dir)
    out = args.out or args.work_dir / 'report.html'
    cli.make_parent(out, '--out')
    import_libraries()
    from stage1_sam_cache.system.atomic_file import commit
    from stage2_distill.report.curves import draw_curves
    from stage2_distill.report.page import make_page
    from stage2_distill.training.experiment import read_config
    from stage2_distill.training.resuming import folder_of, latest_in

    config = read_config(str(config_path), args.cfg_options)
    config.work_dir = str(args.work_dir)
    curves, scores = read_curves(args.work_dir), read_scores(args.work_dir)
    checkpoint = args.checkpoint or latest_in(args.work_dir, folder_of(config))
    facts = {'work dir': str(args.work_dir), 'config': config_path.name, 'checkpoint': str(checkpoint or 'none')}
    panoramas = []
    if args.id or args.count:
        if config.model.type != 'GoodSAM':
            raise ConfigError(f'{config_path} is not a GoodSAM config, so it has no masks and labels', 'add --count 0')
        if checkpoint is None:
            raise ConfigError(f'{args.work_dir} holds no checkpoint', 'give --checkpoint FILE, or --count 0')
        panoramas = _panoramas(config, str(checkpoint), args)
    if curves:
        facts['iterations logged'] = str(max(points[-1][0] for points in curves.values()))
    page = make_page(f'{config_path.stem}: training run', facts, draw_curves(curves), scores, panoramas)
    commit(out, page.encode(), replace=True)
    print(f'{out}  {out.stat().st_size / 2**20:.1f} MiB, {len(panoramas)} panoramas, {len(scores)} score files')
    return 0


def _panoramas(config: Any, checkpoint: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The layers of every panorama that is asked for."""
    from tqdm import tqdm

    from stage2_distill.commands.label_panels import build_model, choose, draw
    from stage2_distill.report.layers import as_layers
    from stage2_distill.training.experiment import plain_errors

    dataset, chosen = choose(config, args)
    model = build_model(config, checkpoint, args.trust_checkpoint)
    made = []
    with plain_errors():
        for index in tqdm(chosen, desc='panoramas', unit='panorama'):
            panels = draw(model, model, dataset, index)
            layers = {layer: panels[layer] for layer in LAYERS if layer in panels}
            made.append(as_layers(dataset.get_data_info(index)['image_id'], layers))
    return made
