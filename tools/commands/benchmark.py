"""Measures each fast path against a plain reference, both in the same run.

    tools/benchmark.py all --json benchmark.json
    tools/benchmark.py stage1 --model vit_b --points 16     # mask generation: stock, exact, fp32-fast, bf16
    tools/benchmark.py step --full                          # a training step at 400x2048
    tools/benchmark.py cache --cache cache/densepass        # with this cache's masks
    tools/benchmark.py gpu --json gpu.json                  # the whole table of a GPU within 8 minutes

Each figure is printed with its reference; quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system.devices import choose_device
from stage1_sam_cache.system.memory import keep_freed_memory
from stage2_distill.libraries import import_libraries

if TYPE_CHECKING:
    from benchmarks.common import Measurement

TITLES = {
    'stage1': "Mask generation: segment_anything's generator against each level",
    'fusion': 'Fusion: a loop over masks against atoms',
    'boundary': 'Boundary refinement: a loop over boundary pixels against running maxima',
    'cache': 'Storage: dense masks with gzip against the cache, which holds scores, boundary maps and digests as well',
    'networks': "SegFormers alone: mmseg's own against this project's, which have the same weights",
    'step': 'Training step: both networks alone against GoodSAM',
    'scale': 'Many processes, many panoramas',
    'student': "Labelling images: mmseg's own inference against this project's, in PyTorch and in ONNX Runtime",
    'adapt': "Memory of a step of SAM's adaptation, counted: activations kept against computed again",
    'counts': 'What a device is asked for, counted: kernels, bytes moved without arithmetic, waits for its answers',
}


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=[*TITLES, 'all', 'gpu'], help='what to measure; all: without gpu')
    parser.add_argument(
        '--times', type=int, default=5, help='number of repeats; the median is reported (default: %(default)s)'
    )
    parser.add_argument('--device', default='auto', help='cpu, cuda, ... (default: a GPU where there is one)')
    parser.add_argument(
        '--json', '--out', type=Path, metavar='FILE', help='also write the figures to a file; gpu: after each row'
    )
    parser.add_argument('--model', help='stage1, gpu: vit_h, vit_l, vit_b (default: vit_b, and vit_h for gpu)')
    parser.add_argument('--points', type=int, help='stage1, gpu: points per side (default: 16, and 32 for gpu)')
    parser.add_argument(
        '--minutes', type=float, default=8, help='gpu: time for all rows; what no longer fits is named (default: 8)'
    )
    parser.add_argument('--small', action='store_true', help='gpu: tiny sizes, to try the code out, on a CPU too')
    parser.add_argument('--points-per-batch', type=int, default=64, help='stage1 (default: %(default)s)')
    parser.add_argument('--full', action='store_true', help='networks, step: 400x2048 instead of half the size')
    parser.add_argument('--no-amp', action='store_true', help='networks (on a GPU), step: float32 networks')
    parser.add_argument('--panoramas', type=int, default=2000, help='scale (default: %(default)s)')
    parser.add_argument(
        '--cache', type=flag_values.named_path, metavar='DIR', help='cache: measure these masks instead of drawn ones'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark, or all."""
    parser = build_parser()
    args = parser.parse_args(argv)
    args.model = args.model or ('vit_h' if args.what == 'gpu' else 'vit_b')
    args.points = (32 if args.what == 'gpu' else 16) if args.points is None else args.points
    if args.times < 1 or args.panoramas < 10 or args.points < 1:
        parser.error('--times and --points need at least 1, --panoramas at least 10')
    if args.what == 'gpu':
        return _gpu(args)
    import_libraries()  # PyTorch and what uses it, which takes seconds
    from benchmarks import adapt, cache, counts, fusion, networks, scale, stage1, step, student
    from benchmarks.common import hardware, markdown

    device = choose_device(args.device, os.environ)
    if device.type == 'cpu':
        keep_freed_memory()  # as train.py and cache_sam.py do
    benchmarks: dict[str, Callable[[], list[Measurement]]] = {
        'stage1': lambda: stage1.measure(args.model, args.points, args.times, device, args.points_per_batch),
        'fusion': lambda: fusion.measure_fusion(args.times, device),
        'boundary': lambda: fusion.measure_boundary(args.times, device),
        'cache': lambda: cache.measure(args.times, args.cache),
        'networks': lambda: networks.measure(
            args.times, device, 400 if args.full else 200, not args.no_amp and device.type == 'cuda'
        ),
        'step': lambda: step.measure(args.times, device, not args.full, not args.no_amp),
        'scale': lambda: scale.measure(args.panoramas),
        'student': lambda: student.measure(args.times, device),
        'adapt': adapt.measure,
        'counts': lambda: [*counts.measure(args.model, args.points, device), *_compiled(args.points)],
    }
    machine = hardware(device)
    print(', '.join(f'{name} {value}' for name, value in machine.items()))
    measured = {}
    for name in TITLES if args.what == 'all' else [args.what]:
        cli.report(f'measuring {name}; stage1 takes a quarter of an hour on a CPU, the others minutes')
        rows = benchmarks[name]()
        measured[name] = [row.as_json() for row in rows]
        print(f'\n{markdown(TITLES[name], rows)}', flush=True)
        if args.json:
            args.json.write_text(json.dumps({'machine': machine, 'measured': measured}, indent=1))
    return 0


def _compiled(points: int) -> list[Measurement]:
    from benchmarks import compiled_counts  # imports PyTorch's compiler, which no other part needs

    return compiled_counts.measure(points)


def _gpu(args: argparse.Namespace) -> int:
    """Measure the GPU table, which needs MMSegmentation for two of its rows alone."""
    from benchmarks import gpu

    device = choose_device(args.device, os.environ)
    good = gpu.measure(args.model, args.points, args.times, device, args.small, args.minutes, args.json)
    return 0 if good else 1
