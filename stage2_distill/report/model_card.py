"""The card of an exported student in the format of Hugging Face's hub: what it is made of, and how it scores."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.fileio import dump

from stage2_distill.errors import ConfigError
from stage2_distill.report.provenance import Provenance

_FIRST_LINE = '---\n'  # of a card: the hub's YAML header
_LIBRARY = 'mmsegmentation'
_METRICS = {'mIoU': 'mean_iou', 'mAcc': 'mean_accuracy', 'aAcc': 'overall_accuracy'}  # the hub's names
_TASK = {'type': 'image-segmentation', 'name': 'Panoramic semantic segmentation'}


def model_card(
    name: str,
    provenance: Provenance,
    classes: Sequence[str],
    parameters: int,
    licence: str | None = None,
    repo: str | None = None,
) -> str:
    """Write the card.

    Args:
        name: Of the student's files, without their endings.
        provenance: What it was made of.
        classes: In the order of their ids.
        parameters: Number of trainable ones.
        licence: The hub's short name of the licence that the student is given, such as ``apache-2.0``; None: the card
            says that none was chosen, because what went in may forbid one.
        repo: ``ORG/NAME`` of the hub, for a card that lies there.

    Returns:
        Markdown with the hub's YAML header.
    """
    title = repo or name
    parts = [f'{_FIRST_LINE}{_yaml(_header(title, provenance, licence))}---\n', f'# {title}\n']
    parts += [_summary(provenance, classes, parameters), _use(name, repo)]
    parts += [_ingredients(provenance, licence), _score_table(provenance)]
    listed = ', '.join(f'{number} {label}' for number, label in enumerate(classes))
    parts.append(f'## Classes\n\n{listed}\n')
    versions = ', '.join(f'{package} {number}' for package, number in provenance.versions.items())
    fence = '````'  # longer than any run of backquotes that a config has
    parts.append(f'## Config\n\nWritten with {versions}.\n\n{fence}python\n{provenance.config.strip()}\n{fence}\n')
    return '\n'.join(parts)


def check_card(path: Path) -> None:
    """Check, before anything is written, that a card may take this name.

    Raises:
        ConfigError: If a file of that name is no card, such as somebody's README.md.
    """
    if not path.exists():
        return
    try:
        text = path.read_text(encoding='utf-8')
        is_card = text.startswith(_FIRST_LINE) and f'\nlibrary_name: {_LIBRARY}\n' in text
    except (OSError, UnicodeDecodeError):
        is_card = False
    if not is_card:
        raise ConfigError(f'{path} exists and is no model card, which would replace it', 'give another --out')


def _header(name: str, provenance: Provenance, licence: str | None) -> dict[str, Any]:
    """The YAML header, by the hub's keys."""
    head: dict[str, Any] = {'license': licence or 'other'}
    if licence is None:
        head['license_name'] = 'see-what-went-in'
    head |= {
        'library_name': _LIBRARY,
        'pipeline_tag': 'image-segmentation',
        'tags': ['panorama', '360', 'semantic-segmentation', 'segformer', 'goodsam'],
    }
    results = [_result(row) for row in provenance.scores]
    if results:
        head['model-index'] = [{'name': name, 'results': results}]
    return head


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of scores as the hub has it."""
    dataset = {'type': str(row.get('dataset') or 'unknown'), 'name': str(row.get('dataset') or 'unknown')}
    if row.get('split'):
        dataset['split'] = str(row['split'])
    metrics = [
        {'type': kind, 'name': f'{metric}, {row["mode"]}', 'value': round(float(row[metric]), 2)}
        for metric, kind in _METRICS.items()
        if metric in row
    ]
    return {'task': _TASK, 'dataset': dataset, 'metrics': metrics}


def _yaml(content: Mapping[str, Any]) -> str:
    text = io.StringIO()
    dump(content, text, file_format='yaml', sort_keys=False, allow_unicode=True)
    return text.getvalue()


def _summary(provenance: Provenance, classes: Sequence[str], parameters: int) -> str:
    how = {
        True: 'It was trained without labels of panoramas, as a student in GoodSAM (CVPR 2024).',
        False: 'It was trained with labels.',
        None: 'The files that it was exported from do not say how it was trained; a card beside them may.',
    }
    seed = f', seed {provenance.seed}' if provenance.seed is not None else ''
    when = (
        '' if provenance.iteration is None else f' Its weights are those after iteration {provenance.iteration}{seed}.'
    )
    return (
        f'A network for semantic segmentation: {parameters / 1e6:.1f} M parameters, {len(classes)} '
        f'classes. {how[provenance.distilled]}{when}\n'
    )


def _use(name: str, repo: str | None) -> str:
    fetch = f'hf download {repo} --local-dir {name} && cd {name}\n' if repo else ''
    return (
        '## Use\n\n'
        'Images are RGB, of any size; one that shows 360 degrees is closed around its seam with `--wrap`.\n\n'
        f'```sh\n{fetch}'
        f'tools/predict.py {name}.py {name}.safetensors --images photos --out labels --wrap\n'
        '```\n\n'
        'With MMSegmentation alone, without GoodSAM:\n\n'
        '```python\n'
        'from mmseg.apis import inference_model, init_model\n\n'
        f"model = init_model('{name}_mmseg.py', '{name}.pth', device='cpu')\n"
        "labels = inference_model(model, 'panorama.jpg').pred_sem_seg.data[0]\n"
        '```\n'
    )


def _ingredients(provenance: Provenance, licence: str | None) -> str:
    lines = [f'| {_cell(one.role)} | {_cell(one.name)} | {_cell(one.licence)} |' for one in provenance.ingredients]
    chosen = (
        f'The student itself is published under {licence}.' if licence else 'No licence was chosen for the student.'
    )
    return (
        '## What went in\n\n| | what | licence |\n|---|---|---|\n' + '\n'.join(lines) + '\n\n'
        f'{chosen} A student learns from its teacher assistant and its images: what their licences forbid may hold for '
        'it too.\n'
    )


def _score_table(provenance: Provenance) -> str:
    if not provenance.scores:
        return '## Scores\n\nThis checkpoint has not been scored, or its scores do not lie beside it.\n'
    lines = [
        ' | '.join(
            [
                f'| {_cell(row.get("dataset") or "unknown")} {_cell(row.get("split") or "")}'.rstrip(),
                str(row.get('images') or ''),
                _cell(row['mode']),
                *(f'{row[metric]:.2f}' if metric in row else '' for metric in _METRICS),
            ]
        )
        + ' |'
        for row in provenance.scores
    ]
    head = '| images | number | mode | ' + ' | '.join(_METRICS) + ' |\n|---|---|---|' + '---|' * len(_METRICS)
    return f'## Scores\n\nIn per cent.\n\n{head}\n' + '\n'.join(lines) + '\n'


def _cell(text: object) -> str:
    """Text that stays within a cell of a table."""
    return ' '.join(str(text).split()).replace('|', '\\|')
