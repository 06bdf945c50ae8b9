"""The ablation tables: their rows are the paper's, and the tool runs, stops, goes on and draws."""

import json

import pytest
from mmengine.config import Config
from PIL import Image

from toypass.ablations import BASE, TABLES, difference, paper_row, table3

SMALL = ('model.grid.window=(100,128)', 'model.grid.stride=64')
SMALL += tuple(
    f'{name}_dataloader.{key}' for name in ('train', 'test') for key in ('num_workers=0', 'persistent_workers=False')
)


@pytest.mark.parametrize('table', TABLES)
def test_the_rows_of_every_table_have_names_of_their_own_and_fit_the_config(table):
    rows = TABLES[table]()
    assert len({row.name for row in rows}) == len(rows) > 2
    for row in rows:
        config = Config.fromfile(row.config)
        config.merge_from_dict(row.changes)
        assert row.config != BASE or config.model.student.type == 'EncoderDecoder'


def test_a_difference_merged_gives_the_other_config():
    old = {'a': 1, 'b': {'type': 'X', 'c': 2, 'd': 3}, 'e': {'f': 4}}
    new = {'a': 1, 'b': {'type': 'Y', 'c': 2}, 'e': {'f': 5}}
    changes = difference(new, old)
    assert changes == {'b': {'type': 'Y', 'c': 2, '_delete_': True}, 'e': {'f': 5}}
    merged = Config(old)
    merged.merge_from_dict(changes)
    assert merged.to_dict() == new


def test_table_3_has_the_terms_of_the_papers_rows():
    rows = {row.name.split(':')[0]: row for row in table3()}
    assert set('12345678') <= set(rows)
    for number in range(4, 9):
        changes = {**paper_row(f'table3_row{number}'), 'update_ta': True}
        assert rows[str(number)].changes['model'] == changes
    assert 'ensemble_student' in rows['6'].changes['model']['mka_head']
    assert 'mka_head' not in rows['8'].changes['model']


def test_a_table_is_made_and_made_again_from_what_is_there(tiny_toypass, run_tool, tmp_path):
    data, _ = tiny_toypass
    flags = ('--data', data, '--out', tmp_path, '--iterations', '1')
    rows = ('--rows', '2:', '3:', 'eq 4, 5, a')
    options = ('--cfg-options', *SMALL)
    first = run_tool('run_ablation.py', 'table3', *flags, *rows, *options)
    assert first.returncode == 0, first.stdout + first.stderr[-2000:]
    assert '3 rows, 3 runs, 0 of them done before' in first.stdout
    table = (tmp_path / 'table3/table.md').read_text()
    assert table.strip() in first.stdout
    head, _, *lines = table.strip().splitlines()
    assert head.startswith('| | ensemble | assistant, windows | student | student, boundary |')
    assert [line.split(' | ')[0] for line in lines] == ['| 2: windows', '| 3: CTCF', '| eq 4, 5, assistant frozen']
    scores = json.loads((tmp_path / 'table3/3-ctcf/seed0/scores.json').read_text())['scores']
    found = {score['mode']: score['mIoU'] for score in scores}
    assert lines[1].startswith(
        f'| 3: CTCF | {found["ensemble"]:.2f} | {found["ta_tile"]:.2f} | {found["student"]:.2f} |'
    )
    with Image.open(tmp_path / 'table3/plot.png') as picture:
        assert min(picture.size) > 100

    # The same again, with another seed: only that is run, and the table says how far the two are apart.
    more = run_tool('run_ablation.py', 'table3', *flags, '--seeds', '0', '1', *rows, *options)
    assert more.returncode == 0, more.stderr[-2000:]
    assert '3 rows, 4 runs, 3 of them done before' in more.stdout
    assert more.stdout.count(' ± ') >= 1
    other = run_tool(
        'run_ablation.py', 'table3', '--data', data, '--out', tmp_path, '--iterations', '2', *rows, *options
    )
    assert other.returncode == 2
    assert (
        other.stderr.strip().splitlines()[-1].endswith('was made with other settings; remove it or give another --out')
    )


def test_a_run_that_fails_is_told_in_one_line(tiny_toypass, run_tool, tmp_path):
    none = run_tool('run_ablation.py', 'table3', '--rows', 'row 9', '--out', tmp_path)
    assert none.returncode == 2
    assert 'no row of table3 contains row 9' in none.stderr
    failed = run_tool('run_ablation.py', 'table3', '--rows', '2:', '--data', tmp_path / 'nothing', '--out', tmp_path)
    assert failed.returncode == 2
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith('error: tools/test.py stopped with status 2: error: toypass has no images')
