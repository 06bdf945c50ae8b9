"""Trains a toy SAM 2 on ToyPASS's pinhole images, for `mmseg_configs/omnisam/source_toypass.py`.

    tools/train_toy_sam2.py --data data/ToyPASS
    tools/train_toy_sam2.py --data data/ToyPASS --resume     # continues where it was interrupted

Two runs of tools/train.py, one after the other: single patches (toy_sam2_patches.py of mmseg_configs/omnisam), then
sequences with memory (toy_sam2_sequences.py). Image encoder and memory are written at the end, rounded to 8 bits and
under SAM 2's names. Its prompt encoder and mask decoder are not trained: this is no mask generator.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_config_flag
from stage2_distill.libraries import import_libraries

PARTS = ('patches', 'sequences')
CONFIG = 'omnisam/toy_sam2_{}.py'
NAME = 'toy_sam2.safetensors'


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--data', type=flag_values.named_path, default=Path('data/ToyPASS'), help='default: %(default)s'
    )
    parser.add_argument(
        '--work-dir', type=flag_values.named_path, default=Path('work_dirs/toy_sam2'), help='default: %(default)s'
    )
    parser.add_argument(
        '--iterations', nargs=2, type=int, metavar='N', help='of the two parts (default: those of the configs)'
    )
    parser.add_argument('--seed', type=flag_values.seed, default=0, help='default: %(default)s')
    parser.add_argument('--workers', type=int, default=2, help='processes that load images (default: %(default)s)')
    parser.add_argument('--amp', action='store_true', help='mixed precision, as tools/train.py')
    parser.add_argument('--resume', action='store_true', help='continue from the last checkpoints in --work-dir')
    add_config_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Train both parts and write the weights."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/train_toy_sam2.py', os.environ)
    if args.iterations and min(args.iterations) < 1:
        parser.error('--iterations needs at least 1')
    if args.workers < 0:
        parser.error('--workers needs at least 0')
    import_libraries()
    from stage2_distill.commands import train
    from stage2_distill.training.resuming import latest_in, nothing_to_resume

    folders = [args.work_dir / part for part in PARTS]
    if args.resume and latest_in(folders[0]) is None:
        raise nothing_to_resume(folders[0])
    start: list[str] = []
    for number, (part, folder) in enumerate(zip(PARTS, folders, strict=True)):
        flags = ['--work-dir', str(folder), '--seed', str(args.seed), *start, *(['--amp'] if args.amp else [])]
        options = train_options(args, args.iterations[number] if args.iterations else None)
        resume = ['--resume-or-start'] if args.resume else []
        train.main([CONFIG.format(part), *flags, *resume, '--cfg-options', *options])
        start = ['--load-from', str(latest_in(folder))]
    file = args.work_dir / NAME
    write_weights(str(folders[-1]), str(latest_in(folders[-1])), file)
    print(f'weights in {file}, {file.stat().st_size / 1e6:.1f} MB; train with them:')
    print(f'tools/train.py mmseg_configs/omnisam/source_toypass.py --cfg-options model.weights={file}')
    return 0


def train_options(args: argparse.Namespace, iterations: int | None) -> list[str]:
    """Return the changes to a config that the flags ask for."""
    options = []
    for loader in ('train', 'val'):
        options += [f'{loader}_dataloader.dataset.root={args.data}', f'{loader}_dataloader.num_workers={args.workers}']
    options += [f'test_dataloader.dataset.root={args.data}']
    options += [] if iterations is None else [f'train_cfg.max_iters={iterations}']
    return options + [f'{key}={value}' for key, value in (args.cfg_options or {}).items()]


def write_weights(folder: str, checkpoint: str, file: Path) -> None:
    """Write what the network of a checkpoint has of SAM 2.

    Args:
        folder: Of the second part, with its config.
        checkpoint: Of it.
        file: Gets tensors of 8 bits (``int8_weights``) under SAM 2's names; it is atomic, complete or absent.
    """
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    from stage2_distill.checkpoints.fit import weights_in
    from stage2_distill.checkpoints.int8_weights import quantize
    from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint
    from stage2_distill.checkpoints.safetensors_files import save_safetensors
    from stage2_distill.omnisam.initial_weights import as_sam2_weights
    from stage2_distill.training.experiment import read_config

    config = read_config(str(Path(folder, Path(CONFIG.format(PARTS[-1])).name)))
    init_default_scope('mmseg')
    model = MODELS.build(config.model)
    model.load_state_dict(weights_in(check_checkpoint(checkpoint)))
    rounded = quantize(as_sam2_weights(model, model.sam2_names))
    save_safetensors(rounded, {'model': 'sam2_toy'}, file, half=True)
