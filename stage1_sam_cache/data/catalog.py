"""The only list of data sets: where their images and labels are, and what the labels mean.

A data set has splits, a split has layouts: the folder trees in which public releases and well-known code store the same
images. ``list_dataset`` searches the layouts in order and takes the first that holds images. A new data set
is an entry of ``DATASETS``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stage1_sam_cache.data.image_formats import IMAGE_EXTENSIONS
from stage1_sam_cache.data.listing import (
    Listing,
    Sample,
    choose,
    fits,
    is_folder,
    link_problem,
    require_samples,
    scan,
)
from stage1_sam_cache.data.refusals import Refused
from stage1_sam_cache.errors import DatasetError


@dataclass(frozen=True)
class Layout:
    """One place where a release stores a split; folders are relative to the data set's folder.

    Args:
        images: The image folder; ids are relative to it.
        labels: The label folder, None without labels.
        rename: (pattern, replacement) of ``re.sub`` that turns an image's id into its label's name; ``.png`` is added.
        files: Globs; an id must match at least one; ``*`` stays within a folder, a final ``**`` matches all below.
    """

    images: str
    labels: str | None = None
    rename: tuple[str, str] = ('', '')
    files: tuple[str, ...] = ('**',)


@dataclass(frozen=True)
class Split:
    """Layouts in the order in which they are tried; ``evaluation`` marks labelled images used for scoring.

    ``pinhole`` marks perspective images in a data set of panoramas: their left and right borders do not join.
    """

    layouts: tuple[Layout, ...]
    evaluation: bool = False
    pinhole: bool = False


@dataclass(frozen=True)
class Dataset:
    """One data set.

    Args:
        folder: Its folder by default.
        label_space: Key of ``label_spaces.LABEL_SPACES`` in which it is scored.
        label_encoding: The ids in its label files, a source of ``label_spaces.convert_labels``; 'stanford_instances'
            needs ``label_spaces.decode_stanford2d3d`` first.
        closed: True if the left and right border of its panoramas join (0 and 360 degrees).
        remedy: What to do if it is missing; the second half of the error.
    """

    name: str
    folder: str
    label_space: str
    label_encoding: str
    splits: Mapping[str, Split]
    default_split: str = 'train'
    closed: bool = True
    remedy: str = 'get the data set, or give its folder (--data-root; in a config, root of each of its data sets)'


def _stanford2d3d() -> dict[str, Split]:
    areas = ('1', '2', '3', '4', '5a', '5b', '6')
    folds = {'': ('5a', '5b'), 'fold2_': ('2', '4'), 'fold3_': ('1', '3', '6'), 'pinhole_': ('5a', '5b')}  # validation
    splits = {}
    for prefix, held_out in folds.items():
        kind = 'data' if prefix == 'pinhole_' else 'pano'
        for name in ('train', 'val'):
            chosen = [area for area in areas if (area in held_out) == (name == 'val')]
            files = tuple(f'area_{area}/{kind}/rgb/*_rgb' for area in chosen)
            # The label's path is the image's with 'rgb' replaced everywhere below the data set's folder.
            layout = Layout('', '', ('rgb', 'semantic'), files)
            splits[prefix + name] = Split((layout,), evaluation=name == 'val', pinhole=kind == 'data')
    return splits


# Some copies of DensePASS name an image '100_.png'; its label never has that last underscore.
_TRAIN_IDS = (r'^(.*?)_?$', r'\1_labelTrainIds')
_FINE_TRAIN_IDS = (r'^(.*?)(_leftImg8bit)?$', r'\1_gtFine_labelTrainIds')
_DENSEPASS = {
    # The training images are also published as a folder of their own, which ends up in the data set's or beside it.
    'train': Split(
        tuple(map(Layout, ('leftImg8bit/train', 'DensePASStrain/leftImg8bit', '../DensePASStrain/leftImg8bit')))
    ),
    'val': Split((Layout('leftImg8bit/val', 'gtFine/val', _TRAIN_IDS),), evaluation=True),
}
_WILDPASS = {
    'train': Split(tuple(map(Layout, ('leftImg8bit/train', 'WildPASS2K', '../WildPASS2K')))),
    'val': Split((Layout('leftImg8bit/val', 'gtFine/val'),), evaluation=True),
}
_SYNPASS = {  # img/<weather>/<split>/<place>/<number>.jpg
    s: Split((Layout('img', 'semantic', ('$', '_trainID'), (f'*/{s}/**',)),), evaluation=s != 'train')
    for s in ('train', 'val', 'test')
}
_CITYSCAPES = {
    s: Split(
        (
            Layout(f'leftImg8bit/{s}', f'gtFine/{s}', _FINE_TRAIN_IDS),
            Layout(f'images/{s}', f'segmentation/{s}', _FINE_TRAIN_IDS),
        ),
        evaluation=s == 'val',
    )
    for s in ('train', 'val')
}
# Made by tools/make_toypass.py, in the layouts of DensePASS and Cityscapes. The ground truth of its training panoramas
# is stored elsewhere and is not a label here.
_MAKE_IT = (
    'make it in the checkout with tools/make_toypass.py --out data/ToyPASS --preset demo, or give its folder '
    '(--data-root, of some tools --data; in a config, root of each of its data sets)'
)
_TOYPASS = {
    'train': Split((Layout('leftImg8bit/train'),)),
    **{
        s: Split((Layout(f'leftImg8bit/{s}', f'gtFine/{s}', _TRAIN_IDS),), evaluation=True)
        for s in ('val', 'val_source_look')
    },
}
_TOYPASS_SOURCE = {
    s: Split((Layout(f'leftImg8bit/{s}', f'gtFine/{s}', _FINE_TRAIN_IDS),), evaluation=s == 'val')
    for s in ('train', 'val')
}
_ALL = (
    Dataset('densepass', 'data/DensePASS', 'cityscapes19', 'cityscapes19', _DENSEPASS),
    Dataset('wildpass', 'data/WildPASS', 'wildpass6', 'wildpass25', _WILDPASS),
    Dataset('synpass', 'data/SynPASS', 'synpass22', 'synpass_raw', _SYNPASS),
    Dataset('stanford2d3d', 'data/Stanford2D3D', 'stanford13', 'stanford_instances', _stanford2d3d()),
    Dataset('cityscapes', 'data/Cityscapes', 'cityscapes19', 'cityscapes19', _CITYSCAPES, closed=False),
    Dataset('toypass', 'data/ToyPASS/target', 'cityscapes19', 'cityscapes19', _TOYPASS, remedy=_MAKE_IT),
    Dataset(
        'toypass_source',
        'data/ToyPASS/source',
        'cityscapes19',
        'cityscapes19',
        _TOYPASS_SOURCE,
        closed=False,
        remedy=_MAKE_IT,
    ),
)
DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}


def list_dataset(
    name: str,
    split: str | None = None,
    root: str | Path | None = None,
    list_file: str | Path | None = None,
    follow_links: bool = False,
) -> Listing:
    """List the images of a data set's split with their labels.

    Args:
        name: Key of ``DATASETS``.
        split: Key of its splits; None takes the default, the training images.
        root: The data set's folder, or a folder that holds it under its own name; None takes ``data/<Name>``.
        list_file: UTF-8 text, one image per line, that chooses and orders the images. Blank lines and lines that start
            with '#' are skipped. Leading slashes, another or no extension, a leading folder that is the split's or the
            end of the image folder's path, an additional or missing 'cs', and text after a tab or comma are ignored,
            because public lists differ in them.
        follow_links: Accept files, folders and labels behind links that leave the image or label folder.

    Returns:
        The samples, what was refused, and the image folder. ``label`` is None where there is no label file.

    Raises:
        DatasetError: For an unknown data set or split, if no layout holds an image, and for a list that can't be
            read or yields no image.
    """
    if name not in DATASETS:
        raise DatasetError(f'unknown data set {name!r}; known: {", ".join(DATASETS)}')
    dataset = DATASETS[name]
    split = dataset.default_split if split is None else split
    if split not in dataset.splits:
        raise DatasetError(f'{name} has no split {split!r}; known: {", ".join(dataset.splits)}')
    folder = Path(dataset.folder if root is None else root)
    layouts = dataset.splits[split].layouts
    for layout in layouts:
        # The second: the archive was unpacked one folder deeper, or root holds several data sets.
        for base in (folder, folder / Path(dataset.folder).name):
            image_root = Path(os.path.normpath(base / layout.images))
            if not is_folder(image_root):
                continue
            listing = scan(image_root, IMAGE_EXTENSIONS, layout.files, follow_links)
            if not listing.samples and not listing.refused:
                continue
            if list_file is not None:
                listing = choose(listing, Path(list_file), split)
            listing = require_samples(listing)
            if layout.labels is None:
                return listing
            labelled = _with_labels(listing, layout, base / layout.labels, follow_links)
            if list_file is None:
                labelled.refused.extend(_labels_alone(labelled, layout, base / layout.labels))
            return labelled
    searched = ', '.join(f'{layout.images}/{files}'.lstrip('/') for layout in layouts for files in layout.files)
    raise DatasetError(
        f'{name} has no images of split {split!r} in {folder}; searched there and in its subfolder '
        f'{Path(dataset.folder).name}: {searched}',
        dataset.remedy,
    )


def _with_labels(listing: Listing, layout: Layout, label_root: Path, follow_links: bool) -> Listing:
    """Add the label files that exist; those behind links that may not be followed are refused."""
    samples, refused = [], list(listing.refused)
    for sample in listing.samples:
        # The name on disk, not the id: the id is normalised.
        stem = sample.image.relative_to(listing.root).with_suffix('').as_posix()
        name = re.sub(*layout.rename, stem) + '.png'
        label = label_root / name
        problem = link_problem(label, label_root, follow_links, name) if label.is_file() else None
        if problem:
            refused.append(problem._replace(reason=f'label of {sample.id}: {problem.reason}'))
        samples.append(Sample(sample.id, sample.image, label if label.is_file() and not problem else None))
    return Listing(samples, refused, listing.root)


def _labels_alone(listing: Listing, layout: Layout, label_root: Path) -> list[Refused]:
    """Labels without an image: images that are missing, so that a score would be of fewer than the split has.

    Only where a label's name has an ending by which it is told from other files in its folder.
    """
    ending = re.sub(*layout.rename, 'x').removeprefix('x') + '.png'
    if ending == '.png' or label_root == listing.root:
        return []
    names = [sample.image.relative_to(listing.root).with_suffix('').as_posix() for sample in listing.samples]
    names += [entry.name.rpartition('.')[0] for entry in listing.refused]
    known = {re.sub(*layout.rename, name) + '.png' for name in names}
    found = scan(label_root, ('.png',), ('**',), False).samples
    alone = (sample.image.relative_to(label_root).as_posix() for sample in found)
    return [
        Refused(name, 'a label without an image')
        for name in alone
        if name.endswith(ending)
        and name not in known
        and any(fits(tuple(name.removesuffix(ending).split('/')), glob) for glob in layout.files)
    ]
