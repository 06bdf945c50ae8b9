#!/usr/bin/env python3
"""The demo: makes a little of ToyPASS, caches masks of its panoramas and writes pictures of all that.

    tools/demo.py --out demo

It needs no weights and no data. The masks are Felzenszwalb's, not SAM's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
# Half-size panoramas with windows of the paper's proportions: all rows, a quarter of the columns, half overlapping.
PANORAMAS = ('--preset', 'tiny', '--panorama-width', '1024')
WINDOWS = ('--window', '200x256', '--stride', '128', '--wrap')


def run(tool: str, *arguments: str | Path) -> None:
    """Runs one of the tools as a reader would, after printing the command."""
    words = [str(word) for word in arguments]
    print(f'\n$ tools/{tool} {" ".join(words)}', flush=True)
    subprocess.run([sys.executable, str(TOOLS / tool), *words], check=True)


def main() -> None:
    """Makes, shows, caches, shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('demo'), help='folder for all that is made')
    out = parser.parse_args().out
    world, cache = out / 'ToyPASS', out / 'cache'
    run('make_toypass.py', '--out', world, *PANORAMAS)
    pictures = {'toypass': out / 'panoramas.png', 'toypass_source': out / 'source.png'}
    for name, picture in pictures.items():
        run('browse_dataset.py', '--dataset', name, '--split', 'val', '--data-root', world, '--out', picture)
    images = ('--dataset', 'toypass', '--data-root', world)
    run('cache_sam.py', *images, '--generator', 'felzenszwalb', *WINDOWS, '--out', cache)
    run('inspect_cache.py', 'verify', cache, '--full')
    run('inspect_cache.py', 'stats', cache)
    masks = out / 'masks.png'
    run('inspect_cache.py', 'show', cache, *images, '--id', 'Elmira/1', '--out', masks)
    print(f'\nLook at {", ".join(str(path) for path in (*pictures.values(), masks))}')


if __name__ == '__main__':
    try:
        main()
    except subprocess.CalledProcessError as failure:
        sys.exit(failure.returncode)
