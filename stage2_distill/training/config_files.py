"""Where config files are found: at a path, or by name among those that come with the package.

``.mim/configs/goodsam`` in this package is ``mmseg_configs`` of the checkout, by a link there and as a copy in a wheel.
MMEngine looks for a package's configs at that place, see ``register_configs``.
"""

from __future__ import annotations

from pathlib import Path

from mmengine.config import utils as config_utils

from stage1_sam_cache.system.nearest import nearest
from stage2_distill.errors import ConfigError

PACKAGE = 'stage2_distill'
CONFIGS = (Path(__file__).parent.parent / '.mim/configs/goodsam').resolve()
_CHECKOUT_FOLDER = 'mmseg_configs'


def find_config(path: str) -> Path:
    """Find a config file.

    Args:
        path: A file, else the name of one of the project's own: ``goodsam_b0.py``, ``ablations/table3_row1.py``, or
            with the folder that holds them in a checkout, ``mmseg_configs/goodsam_b0.py``.

    Raises:
        ConfigError: If there is no such file; the message lists where it was looked for.
    """
    given = Path(path)
    places = [given]
    if not given.is_absolute():
        parts = given.parts[1:] if given.parts[:1] == (_CHECKOUT_FOLDER,) else given.parts
        places.append(CONFIGS.joinpath(*parts))
    for place in places:
        if place.is_file():
            return place
    looked = ' and '.join(dict.fromkeys(str(place.absolute()) for place in places))
    own = sorted(file.relative_to(CONFIGS).as_posix() for file in CONFIGS.rglob('*.py'))
    near = [name for name in own if Path(name).name == given.name] or nearest(given.name, own, count=3, likeness=0.6)
    meant = f'; did you mean {" or ".join(near)}?' if near else ''
    raise ConfigError(
        f'config {path} does not exist; looked for {looked}', f'those of the project are in {CONFIGS}{meant}'
    )


def register_configs() -> None:
    """Let MMEngine find the project's configs by name, as it finds mmseg's.

    Afterwards ``mmengine.hub.get_config('stage2_distill::goodsam/goodsam_b0.py')`` works. Without it MMEngine refuses,
    because it has a fixed table of the packages with configs; this adds a line to that table for the whole process.
    """
    config_utils.MODULE2PACKAGE[PACKAGE] = PACKAGE
