"""The text form of COCO's run lengths, letter by letter (pycocotools' writes past its buffer beyond 30 bits)."""

from __future__ import annotations


def text_of(counts):
    """Five bits a letter, the lowest first; from the fourth number on, the difference to the one two places before."""
    letters = []
    for i, count in enumerate(counts):
        x = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            five = x & 31
            x >>= 5
            more = x != (-1 if five & 16 else 0)
            letters.append(chr((five | (32 if more else 0)) + 48))
    return ''.join(letters).encode()
