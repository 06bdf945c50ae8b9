"""The demo: the whole method on ToyPASS, from nothing to a table and pictures; a quarter of an hour on two CPU cores.

    tools/demo.py --out demo
    tools/demo.py --out demo --masks felzenszwalb                # masks of a method that needs no weights, faster
    tools/demo.py --out demo_large --preset demo --iterations 600

Panoramas are drawn, masks are cached, a student (SegFormer-B0) learns from them and from a frozen teacher assistant
(SegFormer-B2), and student, assistant and ensemble are scored. The masks are a toy SAM's or Felzenszwalb's, not SAM's,
and the networks start from the small weights that come with the project. Existing results are reused.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ablation.rows import MASKS
from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system import folder_lock
from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.errors import ConfigError

TOOLS = Path(__file__).resolve().parents[1]
CONFIG = TOOLS.parent / 'mmseg_configs/goodsam_b0_toypass.py'
PANELS = ('image', 'before', 'student', 'truth', 'masks', 'assistant', 'ensemble')
PREDICTORS = ('student', 'ta_tile', 'ta_slide', 'ensemble')
NAMES = {
    'student': 'student, whole panoramas',
    'ta_tile': 'teacher assistant, tiled windows',
    'ta_slide': 'teacher assistant, sliding windows',
    'ensemble': 'ensemble labels (CTCF)',
}
# Half-size panoramas with windows of the paper's proportions: all rows, a quarter of the columns, half overlapping.
WINDOWS = ('--window', '200x256', '--stride', '128', '--wrap')
ORACLE = 64.74  # of docs/ablations.md, a row of run_ablation.py controls
WARM_UP = 20  # iterations, of the config
ITERATIONS = 300
SOURCES = {'toy-sam': "a toy SAM's", 'felzenszwalb': "Felzenszwalb's"}  # of masks


def run(times: dict[str, float], part: str, tool: str, *arguments: str | Path, processes: int = 1) -> None:
    """Print a command, run it as a user would, and add its time to that of its part."""
    words = [str(word) for word in arguments]
    launcher = ['torchrun', f'--nproc-per-node={processes}'] if processes > 1 else []
    print('\n$ ' + ' '.join([*launcher, f'tools/{tool}', *words]), flush=True)
    module = ['-m', 'torch.distributed.run', *launcher[1:]] if launcher else []
    begun = time.perf_counter()
    subprocess.run([sys.executable, *module, str(TOOLS / tool), *words], check=True)
    times[part] = times.get(part, 0.0) + time.perf_counter() - begun


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=flag_values.named_path, default=Path('demo'), help='folder for all results')
    parser.add_argument(
        '--preset', choices=('tiny', 'quick', 'demo'), default='quick', help='preset of ToyPASS (default: %(default)s)'
    )
    parser.add_argument(
        '--masks', choices=SOURCES, default='toy-sam', help='source of the masks (default: %(default)s)'
    )
    parser.add_argument('--iterations', type=int, default=ITERATIONS, help='of the training run (default: %(default)s)')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the demo and return the exit status; that of the first tool that fails."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/demo.py', os.environ)
    if args.iterations <= WARM_UP:
        parser.error(f'--iterations needs more than the {WARM_UP} of the warm-up')
    try:
        with folder_lock.hold(args.out / args.masks):
            demonstrate(args)
    except subprocess.CalledProcessError as failure:
        if failure.returncode > 0:
            return failure.returncode
        tool = next(word for word in failure.cmd if word.startswith(f'{TOOLS}/'))
        ended = signal.Signals(-failure.returncode).name
        cli.report(f'error: tools/{Path(tool).name} was ended by {ended}; SIGKILL most often means that memory ran out')
        return cli.FAILED
    return 0


def demonstrate(args: argparse.Namespace) -> None:
    """Make panoramas, cache masks, train, score and show.

    Raises:
        CalledProcessError: If one of the tools fails; it has said why.
    """
    import torch

    from stage2_distill.training.bfloat16 import bfloat16_is_fast
    from stage2_distill.training.resuming import find_latest

    processes = 1 if torch.cuda.is_available() else min(os.cpu_count() or 1, 4)
    world, out = args.out / 'ToyPASS', args.out / args.masks
    work = out / 'work'
    settings = keep_settings(out, args)
    caches = {split: out / 'cache' / split for split in ('train', 'val')}
    tool, *flags = MASKS[args.masks]
    times: dict[str, float] = {}
    size = ('--preset', args.preset, '--panorama-width', '1024')
    run(times, 'panoramas', 'make_toypass.py', '--out', world, *size, '--domain', 'target')
    for split, cache in caches.items():
        images = ('--dataset', 'toypass', '--split', split, '--data-root', world)
        # One process per core, each with one thread: threads that wait for each other lose more on a busy machine.
        run(times, 'masks', tool, *images, *flags, *WINDOWS, '--out', cache, processes=processes)
    run(times, 'masks', 'inspect_cache.py', 'stats', caches['train'])

    options = [f'{loader}_dataloader.dataset.root={world}' for loader in ('train', 'val', 'test')]
    options += [f'train_dataloader.dataset.cache={caches["train"]}']
    # Without a checkpoint, the networks are scored with their initial weights.
    scored = ('--cache', caches['val'], '--work-dir', work)
    before, after = out / 'before.json', out / 'after.json'
    # What they are of is kept in the file: training changes none of it.
    made_of = {key: value for key, value in settings.items() if key != 'iterations'}
    if read_json(before).get('made_of') != made_of:
        run(times, 'scoring', 'test.py', CONFIG, *scored, '--out', before, '--cfg-options', *options)
        commit(before, json.dumps({**read_json(before), 'made_of': made_of}, indent=2).encode(), replace=True)
    else:
        print(f'\nscores before training exist: {before}')
    # The demo scores once, at the end.
    training = [*options, *(f'val_{part}=None' for part in ('cfg', 'dataloader', 'evaluator'))]
    training += ['default_hooks.checkpoint.save_best=None']
    training += [f'train_cfg.max_iters={args.iterations}']
    amp = ('--amp',) if bfloat16_is_fast() else ()
    print(f'\ntraining in {"mixed precision" if amp else "float32: this CPU has no instructions for bfloat16"}')
    trained = ('--resume-or-start', '--work-dir', work, '--cfg-options', *training)
    run(times, 'training', 'train.py', CONFIG, *amp, *trained)
    weights = str(find_latest(work))
    # The assistant is frozen: its scores, and those of the ensemble, are as before.
    student = ('--predictor', 'student', '--work-dir', work, '--out', after)
    run(times, 'scoring', 'test.py', CONFIG, weights, *student, '--cfg-options', *options)
    picture = out / 'panorama.png'
    shown = ('--split', 'val', '--cache', caches['val'], '--panels', *PANELS, '--out', picture)
    run(times, 'pictures', 'browse_pseudo_labels.py', CONFIG, weights, *shown, '--cfg-options', *options)
    print_table(scores(before), scores(after), SOURCES[args.masks])
    print('\n' + ', '.join(f'{part} {seconds:.0f} s' for part, seconds in times.items()))
    print(f'Look at {picture}')


def keep_settings(out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the results in a folder depend on, apart from the code, and write it there.

    Raises:
        ConfigError: If the folder has a training run of other settings, which would be continued with these.
    """
    from mmengine.config import Config

    from stage2_distill.training.resuming import find_latest

    settings = {
        'preset': args.preset,
        'masks': [*MASKS[args.masks], *WINDOWS],
        'config': Config.fromfile(CONFIG).pretty_text,
        'iterations': args.iterations,
    }
    file = out / 'settings.json'
    earlier = read_json(file)
    other = [name for name, value in settings.items() if earlier.get(name) != value]
    if other and (out / 'work').is_dir() and find_latest(out / 'work') is not None:
        raise ConfigError(
            f'{out / "work"} is a run of other settings than these, or of an older demo: {", ".join(other)}',
            'remove that folder or give another --out',
        )
    commit(file, json.dumps(settings, indent=1).encode(), replace=True)
    return settings


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file; empty if it is missing or damaged, so that it is made again."""
    with suppress(OSError, ValueError):
        content = json.loads(file.read_text())
        return content if isinstance(content, dict) else {}
    return {}


def scores(file: Path) -> dict[str, float]:
    """Read the mIoU of each predictor, in percent."""
    rows: list[dict[str, Any]] = json.loads(file.read_text())['scores']
    return {row['mode']: row['mIoU'] for row in rows}


def print_table(before: dict[str, float], after: dict[str, float], source: str) -> None:
    """Print the scores as Markdown; what is frozen has none of its own after training."""
    print(f"\nmIoU in %, labelled panoramas of ToyPASS; the masks are {source}, not SAM's\n")
    print('| | before | after |\n|---|---|---|')
    for name in PREDICTORS:
        trained = f'**{after[name]:.2f}** ({after[name] - before[name]:+.2f})' if name in after else 'frozen'
        print(f'| {NAMES[name]} | {before[name]:.2f} | {trained} |')
    print(
        f'\nA student of the true labels has {ORACLE} (docs/ablations.md: all 160 panoramas of preset demo, 600 '
        'iterations, scored on its 60)'
    )
