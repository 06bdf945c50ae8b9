"""Lists of images: those of any folder, or those that a list file names; names never lead out of the folder.

Every image gets an id, its path below the image folder without extension. What is refused (links that leave the folder,
two files of one id, formats that are not read, list entries that name nothing) is returned with the reason, and the
others go on.
"""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from stage1_sam_cache.data.image_formats import IMAGE_EXTENSIONS, UNREAD_EXTENSIONS
from stage1_sam_cache.data.refusals import AllRefusedError, Refused, RefusedLink
from stage1_sam_cache.errors import DatasetError

_LISTED = 'a link to a folder that is listed already'
_CIRCLE = 'a link that leads back to itself, or to a folder that it lies in; remove it'


@dataclass(frozen=True)
class Sample:
    """One image; ``id`` is its POSIX path below the image folder, without extension, in Unicode NFC."""

    id: str
    image: Path
    label: Path | None


class Listing(NamedTuple):
    """The images below the image folder ``root``, in natural order or in the order of a list."""

    samples: list[Sample]
    refused: list[Refused]
    root: Path


def list_folder(folder: str | Path, list_file: str | Path | None = None, follow_links: bool = False) -> Listing:
    """List all images of any folder, searched recursively; hidden files and folders are skipped.

    Args:
        folder: The image folder.
        list_file: As for ``list_dataset``.
        follow_links: As for ``list_dataset``.

    Returns:
        The samples, all without labels, what was refused, and ``folder``.

    Raises:
        DatasetError: If the folder is missing, is a file or holds no image, and for a list that can't be read or
            yields no image; AllRefusedError if there is nothing else.
    """
    folder = Path(folder)
    if not is_folder(folder):
        raise DatasetError(f'{folder} is not a folder that exists and can be read', 'give a folder of images')
    listing = scan(folder, IMAGE_EXTENSIONS, ('**',), follow_links)
    if not listing.samples and not listing.refused:
        raise DatasetError(
            f'{folder} holds no images{_what_instead(folder)}', f'give a folder with {" ".join(IMAGE_EXTENSIONS)} files'
        )
    return require_samples(listing if list_file is None else choose(listing, Path(list_file)))


def _what_instead(folder: Path) -> str:
    """Say what a folder without images holds, by extension, most frequent first."""
    found = Counter(
        Path(name).suffix.lower() or 'files without extension'
        for _, _, names in os.walk(folder)
        for name in names
        if not name.startswith('.')
    )
    kinds = ', '.join(f'{count} {kind}' for kind, count in found.most_common(5))
    more = ', ...' if len(found) > 5 else ''
    return f', but {kinds}{more}' if found else '; it is empty'


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False if that can't be read."""
    try:
        return path.is_dir()
    except OSError:  # such as a parent that may not be searched
        return False


def require_samples(listing: Listing) -> Listing:
    """Return a listing that holds at least one image.

    Raises:
        AllRefusedError: If it holds none.
    """
    if not listing.samples:
        raise AllRefusedError(listing.root, listing.refused)
    return listing


def link_problem(path: Path, root: Path, follow_links: bool, name: str) -> Refused | None:
    """Refuse a path that may not be opened as a file below root, by its name; None if it may."""
    try:
        target = path.resolve(strict=True)
    except RuntimeError:  # before Python 3.13
        return Refused(name, _CIRCLE)
    except OSError as problem:
        return Refused(name, _CIRCLE if problem.errno == errno.ELOOP else 'a link that leads nowhere')
    if follow_links or target.is_relative_to(root.resolve()):
        return None
    return RefusedLink(name, f'a link that leads out of {root}')


def _natural(text: str) -> tuple[list[str | int], str]:
    """Sort key that puts Amsterdam/2 before Amsterdam/10; every second part is a number."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split('([0-9]+)', text))], text


def fits(parts: tuple[str, ...], glob: str, is_folder: bool = False) -> bool:
    """Whether a path matches a glob or, for a folder, whether something in it could."""
    patterns = glob.split('/')
    for part, pattern in zip(parts, patterns, strict=False):
        if pattern == '**':
            return True
        if not fnmatchcase(part, pattern):
            return False
    return len(parts) < len(patterns) if is_folder else len(parts) == len(patterns)


def scan(
    root: Path, extensions: tuple[str, ...], globs: tuple[str, ...], follow_links: bool, whole_names: bool = False
) -> Listing:
    """List all images below root whose path without extension fits a glob, without labels, in natural order.

    With ``whole_names`` ids keep the extension, so that ``a.mp4`` and ``a.avi`` differ.
    """
    by_id: dict[str, list[Path]] = defaultdict(list)
    refused, unread = [], []
    for parts, problem in _walk(root, extensions, globs, follow_links):
        name = '/'.join(parts)
        if name != name.encode('utf-8', 'ignore').decode():
            refused.append(Refused(name.encode('utf-8', 'backslashreplace').decode(), 'its name is not UTF-8'))
        elif problem:
            refused.append(problem)
        elif name.lower().endswith(extensions):
            by_id[_image_id(f'{name}.' if whole_names else name)].append(root.joinpath(*parts))
        else:
            unread.append(name)
    for name in unread:
        if _image_id(name) not in by_id:
            kind = name.rpartition('.')[2].lower()
            refused.append(Refused(name, f'.{kind} images are not read; convert them to PNG or JPEG'))
    samples = []
    for image_id, paths in by_id.items():
        if len(paths) == 1:
            samples.append(Sample(image_id, paths[0], None))
            continue
        names = [path.relative_to(root).as_posix() for path in paths]
        for name in names:
            # Names that differ only in how an accent is encoded look the same, so the second is shown in ASCII.
            others = ', '.join(ascii(other) for other in names if other != name)
            refused.append(Refused(name, f'has the same id as {others}: {image_id!r}; rename or remove one'))
    samples.sort(key=lambda sample: _natural(sample.id))
    refused.sort(key=lambda entry: _natural(entry.name))
    return Listing(samples, refused, root)


def _image_id(name: str) -> str:
    """Return the image id of a POSIX path below the image folder."""
    return unicodedata.normalize('NFC', name.rpartition('.')[0])


def _walk(
    root: Path, extensions: tuple[str, ...], globs: tuple[str, ...], follow_links: bool
) -> Iterator[tuple[tuple[str, ...], Refused | None]]:
    """Yield (path below root, why it is refused or None) of images and of links to folders; hidden names never.

    Each folder is read once, links to folders last, so that loops of links end and no link hides a real folder.
    """
    real_root = root.resolve()
    known = {*extensions, *UNREAD_EXTENSIONS}
    seen = set()
    folders: list[tuple[str, ...]] = [()]
    links: list[tuple[str, ...]] = []
    while folders or links:
        parts = folders.pop() if folders else links.pop(0)
        folder = root.joinpath(*parts)
        real = folder.resolve()
        if real in seen or (parts and real_root.is_relative_to(real)):
            yield parts, Refused('/'.join(parts), _never_listed(folder, real_root, globs) or _LISTED)
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as iterator:
                entries = sorted(iterator, key=lambda entry: entry.name)
        except OSError as error:
            yield parts, Refused('/'.join(parts) or '.', f"a folder that can't be read: {error.strerror}")
            continue
        for entry in entries:
            path = (*parts, entry.name)
            stem, extension = os.path.splitext(entry.name)  # noqa: PTH122 - works on the name alone
            if entry.name.startswith('.'):
                continue
            # DirEntry.is_dir raises for a link that leads to itself.
            if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and is_folder(Path(entry.path))):
                if any(fits(path, glob, is_folder=True) for glob in globs):
                    if not entry.is_symlink():
                        folders.append(path)
                    elif follow_links:
                        links.append(path)
                    elif reason := _never_listed(Path(entry.path), real_root, globs):
                        yield path, Refused('/'.join(path), reason)
                    else:
                        yield path, RefusedLink('/'.join(path), 'a link to a folder')
            elif extension.lower() in known and any(fits((*parts, stem), glob) for glob in globs):
                name = '/'.join(path)
                problem = link_problem(Path(entry.path), root, follow_links, name) if entry.is_symlink() else None
                yield path, problem or (None if entry.is_file() else Refused(name, 'not a regular file'))


def _never_listed(link: Path, real_root: Path, globs: tuple[str, ...]) -> str:
    """Why a link to a folder would not be listed if links were followed; empty if it would."""
    target = link.resolve()
    if link.parent.resolve().is_relative_to(target):
        return _CIRCLE
    if not ('**' in globs and target.is_relative_to(real_root)):
        return ''
    hidden = any(part.startswith('.') for part in target.relative_to(real_root).parts)
    return '' if hidden else _LISTED


def choose(listing: Listing, list_file: Path, split: str = '') -> Listing:
    """Return the samples that a list names, in its order; see ``list_dataset`` for what a line may look like."""
    try:
        lines = list_file.read_text(encoding='utf-8-sig').split('\n')
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        what = 'is not UTF-8 text' if isinstance(error, UnicodeDecodeError) else f"can't be read: {error}"
        raise DatasetError(f'image list {list_file} {what}', 'give a text file with one image name per line') from error
    by_id = {sample.id: sample for sample in listing.samples}
    by_refused_id = {_image_id(entry.name): entry for entry in listing.refused}
    first_line: dict[str, int] = {}
    samples, refused = [], []
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry or entry.startswith('#'):
            continue
        image_id, kind, reason = None, Refused, _entry_problem(entry)
        if not reason:
            candidates = list(_candidates(entry, listing.root, split))
            image_id = next((c for c in candidates if c in by_id), None)
            known = next((by_refused_id[c] for c in candidates if c in by_refused_id), None)
            reason = known.reason if known else f'no such image in {listing.root}'
            kind = type(known) if known else Refused
        if image_id is None:
            refused.append(kind(entry, f'line {number} of {list_file}: {reason}'))
        elif image_id in first_line:
            refused.append(Refused(entry, f'line {number} of {list_file}: named in line {first_line[image_id]} before'))
        else:
            first_line[image_id] = number
            samples.append(by_id[image_id])
    if not samples and not refused:
        raise DatasetError(f'image list {list_file} is empty', 'write one image name per line')
    return Listing(samples, refused, listing.root)


def _entry_problem(entry: str) -> str:
    """Return why a list entry must not be looked up; empty if it may. Only files that were listed are opened anyway."""
    if '\0' in entry:
        return 'holds a NUL character'
    if '..' in re.split(r'[\\/\t,]', entry):
        return "holds '..'; names must stay inside the image folder"
    if re.match(r'[\\/]*[A-Za-z]:', entry):
        return 'names a drive; names must be relative to the image folder'
    return ''


def _candidates(entry: str, root: Path, split: str) -> Iterator[str]:
    """Yield the ids that a list entry may mean, best first."""
    for text in dict.fromkeys((entry, re.split('[\t,]', entry)[0].strip())):
        parts = [part for part in unicodedata.normalize('NFC', text).split('/') if part not in ('', '.')]
        starts = [parts]
        for known in [*(root.absolute().parts[-n:] for n in (3, 2, 1)), (split,), ('cs',)]:
            starts += [start[len(known) :] for start in starts if tuple(start[: len(known)]) == known]
        for start in filter(None, starts):
            for path in ('/'.join(start), '/'.join(['cs', *start])):
                if path.lower().endswith((*IMAGE_EXTENSIONS, *UNREAD_EXTENSIONS)):
                    yield path.rpartition('.')[0]
                yield path
