from collections import Counter

from stories import expected
from stories.files import BadLine
from stories.shipments import sample as shipments_sample
from stories.shipments.load import shipments
from stories.social import sample as social_sample
from stories.social.load import followers, posts


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write(folder, seed):
    folder.mkdir()
    social_sample.write_sample(folder, seed)
    shipments_sample.write_sample(folder, seed)
    return contents(folder)


def test_a_seed_makes_the_same_bytes_and_another_seed_makes_others(tmp_path):
    first = write(tmp_path / "a", seed=1)
    again = write(tmp_path / "b", seed=1)
    other = write(tmp_path / "c", seed=2)
    assert first == again
    assert all(first[name] != other[name] for name in first)
    assert len(first) == 3
    assert {whole[4:8] for whole in first.values()} == {bytes(4)}  # no time of writing in the header


def test_the_sample_has_what_the_real_data_has(sample):
    talk, goods = expected.social(sample), expected.shipments(sample)
    assert (talk.posts, talk.people) == (1_000, 300)
    assert 20_000 < talk.notifications.total < 60_000
    assert max(map(len, talk.feeds.values())) == 100
    assert min(map(len, talk.feeds.values())) < 100
    assert len(talk.statistics) < talk.posts
    assert goods.rows == 500
    assert 0 < goods.topics["shipments.late-shipments"].total() < 250


def test_the_sample_has_lines_that_do_not_parse_and_odd_cells(sample):
    loaded = [*posts(sample), *followers(sample), *shipments(sample)]
    files = Counter(row.file for row in loaded if isinstance(row, BadLine))
    assert files == {"posts.jsonl.gz": 5, "follows.txt.gz": 4, "scms_deliveries.tsv.gz": 6}
    rows = [row for row in shipments(sample) if not isinstance(row, BadLine)]
    assert {row.mode for row in rows} == {"AIR", "AIR_CHARTER", "OCEAN", "TRUCK", "UNKNOWN"}
    assert {row.weight_kg is None for row in rows} == {row.freight_usd is None for row in rows} == {True, False}
