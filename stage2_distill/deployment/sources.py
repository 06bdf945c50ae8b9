"""What ``--images`` names: folders, files, globs, lists of these, and videos, as one list with an id for each."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stage1_sam_cache.data.image_formats import IMAGE_EXTENSIONS
from stage1_sam_cache.data.listing import is_folder, link_problem, list_folder, scan
from stage1_sam_cache.data.refusals import AllRefusedError, Refused, RefusedLink
from stage1_sam_cache.errors import DatasetError

VIDEO_EXTENSIONS = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv')
LIST_EXTENSIONS = ('.txt', '.lst')


class Source(NamedTuple):
    """One image or video; ``id`` is its path below the common folder, of an image without extension."""

    id: str
    path: Path
    is_video: bool = False


@dataclass
class Sources:
    """Everything to label, and everything that was refused, with the reason."""

    images: list[Source] = field(default_factory=list)
    videos: list[Source] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


class _Found(NamedTuple):
    path: Path
    root: Path  # the folder that was named, or that holds the file


def find_sources(values: Sequence[str], follow_links: bool = False) -> Sources:
    """Find all images and videos that the values name.

    Args:
        values: Each a folder, searched recursively; an image or a video; a glob such as ``photos/*/*.jpg``; or a text
            file with one of these per line, relative to the current folder or else to the text file's.
        follow_links: Take what is behind links that lead out of a folder.

    Returns:
        Images and videos. Ids are paths below the folder that was named; below the deepest common folder of all, if
        several were.

    Raises:
        DatasetError: If nothing was found at all; AllRefusedError if all was refused.
    """
    sources = Sources()
    found = [each for value in values for each in _expand(value, follow_links, sources.refused, depth=0)]
    by_id: dict[str, dict[str, Source]] = defaultdict(dict)
    roots = {os.path.abspath(each.root) for each in found}  # noqa: PTH100 - Path.resolve would follow links
    common = Path(os.path.commonpath(roots)) if roots else Path()
    for each in found:
        absolute = Path(os.path.abspath(each.path))  # noqa: PTH100
        name = absolute.relative_to(common).as_posix()
        if name != name.encode('utf-8', 'ignore').decode():
            shown = name.encode('utf-8', 'backslashreplace').decode()
            sources.refused.append(Refused(shown, 'its name is not UTF-8'))
            continue
        is_video = _is_video(absolute)
        source_id = unicodedata.normalize('NFC', name if is_video else name.removesuffix(absolute.suffix))
        by_id[source_id].setdefault(str(absolute), Source(source_id, each.path, is_video))
    for source_id, same in by_id.items():
        if len(same) > 1:
            for path in same:
                others = ', '.join(ascii(other) for other in same if other != path)
                sources.refused.append(
                    Refused(path, f'has the same id as {others}: {source_id!r}; rename or remove one')
                )
            continue
        (source,) = same.values()
        (sources.videos if source.is_video else sources.images).append(source)
    if not sources.images and not sources.videos:
        _nothing(values, follow_links, sources.refused)
    return sources


def _nothing(values: Sequence[str], follow_links: bool, refused: list[Refused]) -> None:
    """Raise what says best why there is nothing to label."""
    if refused:
        raise AllRefusedError(Path(values[0]), refused)
    for value in values:
        if not is_folder(Path(value)):  # a list
            raise DatasetError(
                f'{value} names no images', 'write one path per line; lines that begin with # are comments'
            )
        list_folder(value, None, follow_links)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_EXTENSIONS


def _expand(value: str, follow_links: bool, refused: list[Refused], depth: int) -> Iterator[_Found]:
    """Yield the images and videos that one value names; add what it names and can't be used to ``refused``."""
    path = Path(value)
    if '\0' in value or not value:
        refused.append(Refused(repr(value), 'is no path'))
    elif is_folder(path):
        # Separately, because an image and a video of one name do not get in each other's way.
        images = scan(path, IMAGE_EXTENSIONS, ('**',), follow_links)
        videos = scan(path, VIDEO_EXTENSIONS, ('**',), follow_links, whole_names=True)
        # What is no video is among the refused images already.
        both = [*images.refused, *(entry for entry in videos.refused if _is_video(Path(entry.name)))]
        refused += [type(entry)(f'{path / entry.name}', entry.reason) for entry in both]
        yield from (_Found(sample.image, path) for sample in (*images.samples, *videos.samples))
    elif _exists(path):
        if path.suffix.lower() in LIST_EXTENSIONS and depth == 0:
            for entry in _read_list(path, refused):
                yield from _expand(entry, follow_links, refused, depth + 1)
        else:
            yield _Found(path, path.parent)
    elif glob.has_magic(value):
        matches = sorted(glob.glob(value, recursive=True))  # noqa: PTH207 - a pattern may be absolute
        if not matches:
            refused.append(Refused(value, 'no file matches'))
        fixed = Path(*_fixed_parts(path))
        refused_links: set[Path] = set()
        for match in matches:
            link = _matched_link(Path(match), fixed)
            if problem := _link_problem(link, fixed, follow_links):
                refused += [problem] if link not in refused_links else []
                refused_links.add(link)
                continue
            for each in _expand(match, follow_links, refused, depth + 1):
                yield _Found(each.path, fixed)
    else:
        refused.append(Refused(value, _why_no_file(path)))


def _matched_link(match: Path, fixed: Path) -> Path:
    """Return the first link on the way from a folder to what a glob matched below it; the match if there is none."""
    below = [*reversed(match.parents), match][len(fixed.parents) + (fixed != Path()) :]
    return next((path for path in below if path.is_symlink()), match)


def _link_problem(link: Path, root: Path, follow_links: bool) -> Refused | None:
    """Refuse a link that a glob matched as one in a folder is refused; None for what is no link, or may be taken."""
    if not link.is_symlink():
        return None
    if not is_folder(link):
        return link_problem(link, root, follow_links, str(link))
    if link.parent.resolve().is_relative_to(link.resolve()):
        return Refused(str(link), 'a link to a folder that holds it')
    return None if follow_links else RefusedLink(str(link), 'a link to a folder')


def _why_no_file(path: Path) -> str:
    """Say why a path is neither a folder nor a file that can be opened."""
    try:
        path.stat()
    except OSError as problem:
        if os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises for a name that is too long
            return 'a link that leads nowhere'
        return 'does not exist' if isinstance(problem, FileNotFoundError) else f"can't be read: {problem.strerror}"
    return 'not a regular file'


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _fixed_parts(path: Path) -> Iterator[str]:
    """Yield the folders of a glob before its first wildcard; ``[*]`` and the like are no wildcards."""
    for part in path.parts[:-1]:
        literal = re.sub(r'\[([*?[])\]', r'\1', part)
        if part not in (literal, glob.escape(literal)) or (part == literal and glob.has_magic(part)):
            return
        yield literal


def _read_list(path: Path, refused: list[Refused]) -> Iterator[str]:
    """Yield the entries of a list, as paths that can be opened from here; lines that begin with # are comments."""
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        refused.append(Refused(str(path), f'is no list that can be read ({problem})'))
        return
    for line in lines:
        entry = line.strip()
        if not entry or entry.startswith('#'):
            continue
        beside = f'{glob.escape(str(path.parent))}/{entry}' if glob.has_magic(entry) else str(path.parent / entry)
        yield entry if _names_something(entry) or not _names_something(beside) else beside


def _names_something(entry: str) -> bool:
    """Whether there is a file or folder of this name, or one that matches this glob."""
    path = Path(entry)
    return _exists(path) or is_folder(path) or (glob.has_magic(entry) and bool(glob.glob(entry)))  # noqa: PTH207
