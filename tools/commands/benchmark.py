"""Measures each fast path against a plain reference, both in the same run.

    tools/benchmark.py all --json benchmark.json
    tools/benchmark.py stage1 --model vit_b --points 16     # mask generation: stock, exact, fp32-fast, bf16
    tools/benchmark.py step --full                          # a training step at 400x2048
    tools/benchmark.py cache --cache cache/densepass        # with this cache's masks

Each figure is printed with its reference; quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stage1_sam_cache.commands import cli
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
    'step': 'Training step: both networks alone against GoodSAM',
    'scale': 'Many processes, many panoramas',
    'student': "Labelling images: mmseg's own inference against this project's, in PyTorch and in ONNX Runtime",
    'counts': 'What a device is asked for, counted: kernels, bytes moved without arithmetic, waits for its answers',
}


def build_parser() -> argparse.ArgumentParser:
    """Define all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=[*TITLES, 'all'], help='what to measure')
    parser.add_argument(
        '--times', type=int, default=5, help='number of repeats; the median is reported (default: %(default)s)'
    )
    parser.add_argument('--device', default='auto', help='cpu, cuda, ... (default: a GPU where there is one)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures to a file')
    parser.add_argument('--model', default='vit_b', help='stage1: vit_h, vit_l, vit_b (default: %(default)s)')
    parser.add_argument('--points', type=int, default=16, help='stage1: points per side (default: %(default)s)')
    parser.add_argument('--points-per-batch', type=int, default=64, help='stage1 (default: %(default)s)')
    parser.add_argument('--full', action='store_true', help='step: 400x2048 instead of half the size')
    parser.add_argument('--no-amp', action='store_true', help='step: float32 networks')
    parser.add_argument('--panoramas', type=int, default=2000, help='scale (default: %(default)s)')
    parser.add_argument(
        '--cache', type=cli.named_path, metavar='DIR', help='cache: measure these masks instead of drawn ones'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark, or all."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.times < 1 or args.panoramas < 10 or args.points < 1:
        parser.error('--times and --points need at least 1, --panoramas at least 10')
    import_libraries()  # PyTorch and what uses it, which takes seconds
    from benchmarks import cache, counts, fusion, scale, stage1, step, student
    from benchmarks.common import hardware, markdown

    device = choose_device(args.device, os.environ)
    if device.type == 'cpu':
        keep_freed_memory()  # as train.py and cache_sam.py do
    benchmarks: dict[str, Callable[[], list[Measurement]]] = {
        'stage1': lambda: stage1.measure(args.model, args.points, args.times, device, args.points_per_batch),
        'fusion': lambda: fusion.measure_fusion(args.times, device),
        'boundary': lambda: fusion.measure_boundary(args.times, device),
        'cache': lambda: cache.measure(args.times, args.cache),
        'step': lambda: step.measure(args.times, device, not args.full, not args.no_amp),
        'scale': lambda: scale.measure(args.panoramas),
        'student': lambda: student.measure(args.times, device),
        'counts': lambda: counts.measure(args.model, args.points, device),
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
