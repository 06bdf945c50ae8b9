"""Whether the classes of a foreign network are those of one of this project's label spaces, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from stage1_sam_cache.data.label_spaces import LABEL_SPACES, LabelSpace

CLASSIFIER = 'decode_head.conv_seg.'


def space_with(names: Sequence[str]) -> LabelSpace | None:
    """The label space that has exactly these classes, in whatever order; None if there is none."""
    wanted = sorted(map(_plain, names))
    return next((space for space in LABEL_SPACES.values() if sorted(map(_plain, space.classes)) == wanted), None)


def in_order_of(space: LabelSpace, names: Sequence[str], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an mmseg network with its classes in another order.

    Args:
        space: The order that is wanted; it has exactly these classes.
        names: The classes as the network has them.
        weights: By name; the first axis of those of ``decode_head.conv_seg`` is classes.

    Raises:
        ValueError: If the network does not have one output per name.
    """
    places = {_plain(name): place for place, name in enumerate(names)}
    order = [places[_plain(name)] for name in space.classes]
    outputs = {len(value) for name, value in weights.items() if name.startswith(CLASSIFIER)}
    if outputs - {len(order)}:
        raise ValueError(f'it has {outputs.pop()} outputs and names {len(order)} classes')
    return {name: value[order] if name.startswith(CLASSIFIER) else value for name, value in weights.items()}


def is_order_of(space: LabelSpace, names: Sequence[str]) -> bool:
    """Whether these are the classes of a space in its order."""
    return [_plain(name) for name in names] == [_plain(name) for name in space.classes]


def difference(names: Sequence[str], space: LabelSpace) -> str:
    """What makes classes other than those of a label space, in one line."""
    if len(names) != len(space.classes):
        return f'it has {len(names)} classes ({", ".join(names[:3])}, ...), {space.name} has {len(space.classes)}'
    known = {_plain(name) for name in space.classes}
    places = [place for place, name in enumerate(names) if _plain(name) not in known]
    places = places or [place for place, name in enumerate(names) if _plain(name) != _plain(space.classes[place])]
    shown = ', '.join(f'{place} is {names[place]} and not {space.classes[place]}' for place in places[:3])
    return f'{len(places)} of its {len(names)} classes are not those of {space.name}: {shown}'


def _plain(name: str) -> str:
    """A name without what differs between spellings of it: capitals, blanks, hyphens, underscores."""
    return ''.join(letter for letter in name.casefold() if letter.isalnum())
