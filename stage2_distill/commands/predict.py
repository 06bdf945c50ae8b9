"""Labels panoramas with a student: label PNGs of class ids, and the panoramas with the labels laid over them.

    tools/predict.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth --images my_panoramas
    tools/predict.py student.py student.safetensors --images a.jpg 'photos/*/*.jpg' ride.mp4 --out labels --wrap
    tools/predict.py student.py student.safetensors --images my_panoramas --views cube --mask-classes person car
    tools/predict.py student.py student.safetensors --images my_panoramas --confidence --format png coco cvat
    torchrun --nproc-per-node 4 --no-python tools/predict.py student.py student.safetensors --images my_panoramas

It can be killed at any moment and run again: it keeps what the same student made of the same image with the same flags,
and makes the rest. Its own output is never labelled.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stage1_sam_cache.build.shards import Shard, shard_of_environment, worst_status
from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.commands.shard_flag import add_shard_flag
from stage1_sam_cache.errors import DatasetError
from stage2_distill.commands import format_flags, view_flags
from stage2_distill.commands.flags import add_weights_group
from stage2_distill.deployment.own_output import OwnOutput
from stage2_distill.deployment.plans import MODES, WINDOW, Mode
from stage2_distill.deployment.sources import Source, Sources, find_sources
from stage2_distill.deployment.views import View
from stage2_distill.errors import ConfigError
from stage2_distill.exchange.formats import FORMATS
from stage2_distill.libraries import import_libraries

if TYPE_CHECKING:
    from stage2_distill.deployment.prediction_run import Run
    from stage2_distill.deployment.predictor import Labeller
    from stage2_distill.deployment.sequence_labeller import SequenceLabeller
    from stage2_distill.exchange.prediction_files import PredictionFiles

_SEVERAL = (
    'folders, searched recursively; images; globs; videos (frames are named by their number); text files with one of '
    'these per line'
)
_LARGEST_SCALE = 1000
NOTES = f"""
modes: 'whole' shows the student the whole image, 'slide' windows whose outputs are averaged where they overlap, 'tile'
windows side by side. An image of at most one window is labelled whole in each mode. 'auto' takes the whole image if
the free memory suffices for that, else windows of {WINDOW[0]}x{WINDOW[1]}, else smaller ones. Where memory runs out all
the same, the next smaller windows are tried; a warning says so.

exit status: 0 all labelled, 1 some images were refused or failed, 2 bad input or nowhere to write, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, epilog=NOTES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the training run, or of an exported student')
    parser.add_argument('checkpoint', help='checkpoint of that run, or an exported student')
    shared_flags.add_image_flags(parser, several=_SEVERAL)
    shared_flags.add_max_pixels_flag(parser)
    parser.add_argument('--out', type=flag_values.named_path, default=Path('predictions'), help='default: %(default)s')
    parser.add_argument('--opacity', type=float, default=0.6, help='of the labels, 0 to 1 (default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='make and replace everything, whatever made it')
    format_flags.add_format_flags(parser)
    way = parser.add_argument_group('how images are labelled')
    way.add_argument('--mode', choices=MODES, default='auto', help='see below (default: %(default)s)')
    way.add_argument(
        '--window',
        type=flag_values.pixel_pair,
        metavar='HxW',
        help=f"default: {WINDOW[0]}x{WINDOW[1]}; of OmniSAM, the config's",
    )
    way.add_argument(
        '--stride', type=flag_values.pixel_pair, metavar='HxW', help='of slide (default: 3/4 of the window)'
    )
    way.add_argument('--wrap', action='store_true', help='let the student see across the 0/360 degree seam')
    way.add_argument(
        '--level',
        action='store_true',
        help='level tilted panoramas (GPano pitch and roll) before the student sees them',
    )
    way.add_argument('--scale', type=float, default=1.0, help='resize images before the student sees them')
    view_flags.add_view_flags(parser)
    run = parser.add_argument_group('run')
    run.add_argument('--device', default='auto', help='cpu, cuda, cuda:1, ... (default: a GPU where there is one)')
    add_shard_flag(run)
    add_weights_group(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Label every image and return the exit status, 1 if some could not be labelled."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not 0 < args.scale <= _LARGEST_SCALE or not 0 <= args.opacity <= 1:
        parser.error(f'--scale has to be above 0 and at most {_LARGEST_SCALE}, --opacity from 0 to 1')
    mode = shared_flags.make_settings(
        parser, Mode, {'name': args.mode, 'window': args.window or WINDOW, 'stride': args.stride, 'wrap': args.wrap}
    )
    views = view_flags.chosen_views(parser, args)
    shard = args.shard or shard_of_environment(os.environ)
    sources, own = choose_sources(parser, args)
    if own and shard.index == 0:
        folders = ', '.join(sorted(map(str, set(own))))
        cli.report(f'left out: {len(own)} files that tools/predict.py has written, in {folders}')
    # What the listing refused is reported by the first shard only.
    refused = sources.refused if shard.index == 0 else []
    refusals = shared_flags.report_refused(refused, args.skip_refused, count=100)
    view_flags.report_odd_panoramas(sources.images, args, shard)
    run, others = make_run(args, mode, shard, views)
    try:
        label(run, sources, shard)
    except BaseException:
        report_counts(run, len(refused), shard, args.out)
        cli.report('stopped early: run the same command again to continue from here')
        raise
    report_counts(run, len(refused), shard, args.out)
    if run.counts.done:
        format_flags.report_old_files(others)
    whole = format_flags.put_together(others, run.note)
    return worst_status(refusals if whole and not run.counts.failed else cli.FAILED, os.environ)


def choose_sources(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[Sources, list[Path]]:
    """Return what the flags ask for, and for each file of it that this tool has written itself the output folder.

    Raises:
        DatasetError: If there is nothing to label.
    """
    if args.images and not args.list:
        if args.split or args.data_root:
            parser.error('--split and --data-root go with --dataset, not with --images')
        with shared_flags.remedies_by_flags():
            sources = find_sources([str(path) for path in args.images], args.follow_links)
    else:
        if args.images and len(args.images) > 1:
            parser.error('--list chooses images of one folder; give one folder with --images')
        args.images = args.images[0] if args.images else None
        listing = shared_flags.list_images(parser, args)
        images = [Source(sample.id, sample.image) for sample in listing.samples]
        sources = Sources(images, [], list(listing.refused))
        if args.dataset:
            return sources, []
    recognise = OwnOutput(args.out)
    homes = [(image, recognise.folder_of(image.path)) for image in sources.images]
    sources.images = [image for image, home in homes if home is None]
    own = [home for _, home in homes if home is not None]
    if own and not sources.images and not sources.videos:
        raise DatasetError(
            f'all {len(own)} images are the output of tools/predict.py, in {own[0]}', 'give other images'
        )
    return sources, own


def make_run(
    args: argparse.Namespace, mode: Mode, shard: Shard, views: Sequence[View] = ()
) -> tuple[Run, PredictionFiles]:
    """Load the student and return the run and the files of other tools.

    What it needs is imported here, because PyTorch takes seconds.

    Raises:
        GoodSAMError: If student, device or output folder can't be used.
    """
    import_libraries()
    from stage1_sam_cache.system.devices import choose_device
    from stage2_distill.deployment.enlarge import CONFIDENCE_SCALE
    from stage2_distill.deployment.outputs import Predictions
    from stage2_distill.deployment.prediction_run import Run
    from stage2_distill.exchange.label_map import LabelSet
    from stage2_distill.exchange.prediction_files import PredictionFiles

    device = choose_device(args.device, os.environ)
    labeller, student_id = load_labeller(args, mode)
    student = labeller.student
    if len(student.classes) > 256:
        raise ConfigError(f'{args.config} has {len(student.classes)} classes; a label of 8 bits can name 256')
    formats = [name for name in FORMATS if name in args.format]
    others = PredictionFiles(args.out, formats, LabelSet(student.classes, student.palette, student_id, args.image_url))
    student.to(device)
    predictions = Predictions(
        args.out, student.palette, args.opacity, args.overwrite, format_flags.PNG in args.format, args.confidence
    )
    derived = view_flags.derived_files(args, views, predictions, student.classes)
    if shard.index == 0:
        print(f'{student.parameter_count / 1e6:.1f} M parameters, on {device}')
        print('classes: ' + ', '.join(f'{i} {name}' for i, name in enumerate(student.classes)), flush=True)
    predictions.describe(
        {
            'classes': student.classes,
            'palette': student.palette,
            'config': args.config,
            'checkpoint': args.checkpoint,
            'student': student_id,
            **labeller.mode.to_json(),
            'scale': args.scale,
            **({'probability_1_is': CONFIDENCE_SCALE} if args.confidence else {}),
        }
    )
    return Run(labeller, predictions, student_id, shard, others.add, derived, args.level), others


def load_labeller(args: argparse.Namespace, mode: Mode) -> tuple[Labeller | SequenceLabeller, str]:
    """Load the network that the flags name, and return what labels images with it, and its identity.

    Raises:
        GoodSAMError: If config or checkpoint can't be used, or the flags do not go with such a network.
    """
    from stage2_distill.deployment import sequence_labeller as sequences
    from stage2_distill.deployment.predictor import Labeller, identity
    from stage2_distill.deployment.student import Student
    from stage2_distill.models.dry_run import needed_bytes
    from stage2_distill.training.experiment import read_config

    if sequences.sees_sequences(read_config(args.config)):
        if args.mode != 'auto' or args.scale != 1 or (args.stride and not args.window):
            raise ConfigError(
                f'{args.config} is of a network that sees an image as a sequence of windows',
                'leave out --mode and --scale; --window, with --stride, replaces the windows of the config',
            )
        windows = {'window': list(mode.window), 'stride': list(mode.first_stride)} if args.window else None
        chosen = sequences.SequenceMode(windows, args.wrap)
        network = sequences.SequenceNetwork.load(args.config, args.checkpoint, chosen, args.trust_checkpoint)
        labels = sequences.SequenceLabeller(network, chosen, args.max_pixels, confidence=args.confidence)
        return labels, network.identity
    student = Student.load(args.config, args.checkpoint, args.trust_checkpoint)
    if args.mode in ('slide', 'tile'):
        needed_bytes(student.network, mode.window)  # refuses windows that are too small for the student
    labeller = Labeller(student, mode, args.scale, args.max_pixels, confidence=args.confidence)
    return labeller, identity(student, args.config)


def label(run: Run, sources: Sources, shard: Shard) -> None:
    """Label this shard's images and frames behind a progress bar."""
    from tqdm import tqdm

    images = shard.of(sources.images)
    total = run.planned = len(images) + sum(run.expected_frames(video) for video in sources.videos)
    show = sys.stderr is not None
    pause = 0.1 if show and sys.stderr.isatty() else 30  # in a log file a line every half minute is enough
    title = 'labelling' if shard.count == 1 else f'labelling {shard.index}/{shard.count}'
    with tqdm(total=total, desc=title, unit='image', disable=not show, mininterval=pause, smoothing=0.1) as bar:

        def on_window(done: int, of: int) -> None:
            bar.set_postfix_str(f'window {done}/{of}' if done < of else '', refresh=done < of)

        def on_report(text: str) -> None:
            bar.clear()
            cli.report(text)

        progress: Any = run.progress
        progress.advance, progress.window, progress.report = bar.update, on_window, on_report
        run.images(images)
        run.videos(sources.videos)


def report_counts(run: Run, refused: int, shard: Shard, out: Path) -> None:
    """Print what was done, of how many."""
    counts = run.counts
    finished = counts.done + counts.already_there
    more = [
        f'{number} {what}'
        for number, what in (
            (counts.already_there, 'already there'),
            (len(counts.failed), 'failed'),
            (refused, 'refused'),
            (counts.own, 'left out, as tools/predict.py has made them'),
        )
        if number
    ]
    # A video may declare more frames than it has, or none.
    images = refused + max(run.planned - counts.own, finished + len(counts.failed))
    part = '' if shard.count == 1 else f'shard {shard.index}/{shard.count} ({shard.source}): '
    held = {'labels': 'ids', 'overlays': 'pictures', 'confidence': 'their probabilities'}
    places = ''.join(f'{text} in {out}/{name}, ' for name, text in held.items() if name in run.predictions.folders)
    print(
        f'{part}{finished} of {images} images' + (f' ({", ".join(more)})' if more else '') + f': {places}'
        f'{"".join(f"{path}, " for path in run.derived_folders)}what they mean in {out}/predictions.json',
        flush=True,
    )
