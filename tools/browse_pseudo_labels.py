#!/usr/bin/env python3
"""Draw what one panorama teaches: masks, assistant, ensemble, weight map, boundaries, student.

    tools/browse_pseudo_labels.py mmseg_configs/goodsam_b0.py --id Amsterdam/1 --out look.png

The code is in stage2_distill/commands/browse_pseudo_labels.py.
"""

import sys

try:
    from stage1_sam_cache.commands.entry import run
except ModuleNotFoundError as missing:
    sys.exit(f'error: {missing}; run `make venv` and `source .venv/bin/activate` first')

if __name__ == '__main__':
    run('stage2_distill.commands.browse_pseudo_labels')
