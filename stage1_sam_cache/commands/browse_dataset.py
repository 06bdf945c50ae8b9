"""Draws images of a data set with their labels laid over them, and a legend, into one picture.

tools/browse_dataset.py --dataset toypass --split val --out look.png
tools/browse_dataset.py --dataset cityscapes --split val --ids frankfurt/frankfurt_000000_000294_leftImg8bit
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stage1_sam_cache.commands import cli, flag_values, shared_flags
from stage1_sam_cache.data.catalog import DATASETS
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.data.label_spaces import IGNORE, LabelSpace
from stage1_sam_cache.data.labels import LabelReader
from stage1_sam_cache.data.listing import Sample
from stage1_sam_cache.errors import DatasetError
from stage1_sam_cache.system.launched import require_one_process
from stage1_sam_cache.system.nearest import known

_MARGIN, _LINE = 6, 24
_WIDEST = 8192  # pixels of one image in the picture, whose memory grows with their square


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group('images')
    group.add_argument('--dataset', choices=sorted(DATASETS), required=True, help='a data set of the catalogue')
    group.add_argument('--split', help='split of the data set (default: the unlabelled or training images)')
    group.add_argument('--data-root', type=flag_values.named_path, metavar='DIR', help='default: data/<Name>')
    group.add_argument(
        '--list', type=flag_values.named_path, metavar='FILE', help='text file of image names, one per line'
    )
    shared_flags.add_refusal_flags(group)
    parser.add_argument('--ids', nargs='+', help='images by their path without extension (default: spread evenly)')
    parser.add_argument('--count', type=int, default=6, help='how many images (default: %(default)s)')
    parser.add_argument('--columns', type=int, default=0, help='images beside each other (default: by their shape)')
    parser.add_argument('--width', type=int, default=1024, help='of one image in the picture (default: %(default)s)')
    parser.add_argument('--opacity', type=float, default=0.6, help='of the labels, 0 to 1 (default: %(default)s)')
    parser.add_argument('--out', type=flag_values.picture_path, default=Path('browse.png'), help='default: %(default)s')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Draw the picture and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/browse_dataset.py', os.environ)
    if args.count < 1 or args.columns < 0 or not 64 <= args.width <= _WIDEST or not 0 <= args.opacity <= 1:
        parser.error(f'--count needs at least 1, --width 64 to {_WIDEST}, --opacity 0 to 1')
    cli.make_parent(args.out, '--out')
    args.images = None
    dataset = DATASETS[args.dataset]
    listing = shared_flags.list_images(parser, args)
    samples = choose(listing.samples, args.ids, args.count)
    read_label = LabelReader(dataset, listing.root)
    cells = [cell(sample, read_label, args.width, args.opacity) for sample in samples]
    columns = args.columns or (1 if cells[0].width > 2 * cells[0].height else 2)
    sheet = compose(cells, columns, read_label.space)
    sheet.save(args.out)
    print(f'{len(samples)} images of {args.dataset} in {args.out}')
    return shared_flags.report_refused(listing.refused, args.skip_refused)


def choose(samples: list[Sample], ids: list[str] | None, count: int) -> list[Sample]:
    """Return the samples that were asked for, or ``count`` of them spread evenly.

    Raises:
        DatasetError: If an id is unknown.
    """
    if not ids:
        return [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int))]
    by_id = {sample.id: sample for sample in samples}
    for image_id in ids:
        if image_id not in by_id:
            raise DatasetError(f'there is no image {image_id!r}', known(image_id, by_id))
    return [by_id[image_id] for image_id in ids]


def cell(sample: Sample, read_label: LabelReader, width: int, opacity: float) -> Image.Image:
    """Draw the image, below it the image with its label laid over it, and the id as a caption."""
    pixels = read_rgb(sample.image).pixels
    label = None if sample.label is None else read_label(sample.label, pixels)
    panels = [Image.fromarray(pixels)]
    if label is not None:
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(read_label.space.palette)] = read_label.space.palette
        painted = palette[label] * opacity + pixels * (1 - opacity)
        panels.append(Image.fromarray(painted.astype(np.uint8)))
    height = round(width * pixels.shape[0] / pixels.shape[1])
    result = Image.new('RGB', (width, _LINE + len(panels) * height), 'white')
    caption = sample.id if label is not None else f'{sample.id} (no label)'
    ImageDraw.Draw(result).text((2, 2), caption, 'black', ImageFont.load_default(15))
    for i, panel in enumerate(panels):
        result.paste(panel.resize((width, height), Image.Resampling.LANCZOS), (0, _LINE + i * height))
    return result


def compose(cells: list[Image.Image], columns: int, space: LabelSpace) -> Image.Image:
    """Draw the cells row by row, and the legend."""
    columns = min(columns, len(cells))
    width = columns * (cells[0].width + _MARGIN) + _MARGIN
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    tops = np.cumsum([_MARGIN] + [max(item.height for item in row) + _MARGIN for row in rows])
    per_line = max(1, width // 150)
    entries = [*zip(space.classes, space.palette, strict=True), (f'ignored ({IGNORE})', (0, 0, 0))]
    lines = -(-len(entries) // per_line)
    sheet = Image.new('RGB', (width, int(tops[-1]) + lines * _LINE + _MARGIN), 'white')
    for row, top in zip(rows, tops, strict=False):
        for i, item in enumerate(row):
            sheet.paste(item, (_MARGIN + i * (item.width + _MARGIN), int(top)))
    draw = ImageDraw.Draw(sheet)
    for i, (name, colour) in enumerate(entries):
        x, y = _MARGIN + i % per_line * 150, int(tops[-1]) + i // per_line * _LINE
        draw.rectangle((x, y + 2, x + 16, y + 18), fill=colour)
        draw.text((x + 21, y + 2), name, 'black', ImageFont.load_default(14))
    return sheet
