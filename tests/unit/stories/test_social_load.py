import gzip
import json

import pytest

from stories.files import BadLine
from stories.social.load import FollowersRow, PostRow, followers, posts
from streams.errors import UsageError

POST = {"post_id": "p1", "author": 7, "posted_at": 1_312_242_084_000, "text": "Initial  checkin ✓"}


def write(folder, name, content):
    (folder / name).write_bytes(gzip.compress(content))
    return folder


def load_posts(folder, *documents):
    return list(posts(write(folder, "posts.jsonl.gz", "\n".join(documents).encode())))


def test_a_post_is_read_with_its_line_number(tmp_path):
    rows = load_posts(tmp_path, "", json.dumps(POST))
    assert rows == [PostRow("p1", "7", 1_312_242_084_000, "Initial  checkin ✓", 2)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"author": "7"}, "not an object"),
        ({"author": True}, "not an object"),
        ({"posted_at": False}, "not an object"),
        ({"posted_at": 1.5}, "not an object"),
        ({"text": None}, "not an object"),
        ({"author": -1}, "author -1"),
        ({"posted_at": -1}, "posted_at -1"),
        ({"posted_at": 10**15}, "posted_at 1000"),
        ({"post_id": ""}, "post_id is empty"),
        ({"text": "\ud800"}, "surrogates"),
    ],
)
def test_a_post_with_a_wrong_field_is_refused(tmp_path, change, reason):
    line = json.dumps(POST | change)
    [refused] = load_posts(tmp_path, line)
    assert isinstance(refused, BadLine)
    assert (refused.file, refused.line_number, refused.raw) == ("posts.jsonl.gz", 1, line.encode())
    assert reason in refused.reason


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"post_id": "p1"', "[" * 100_000, " ", '"text"', "NaN"])
def test_a_line_that_is_no_post_is_refused_and_the_next_is_read(tmp_path, line):
    refused, row = load_posts(tmp_path, line, json.dumps(POST))
    assert isinstance(refused, BadLine)
    assert refused.raw == line.encode()
    assert isinstance(row, PostRow)


def test_bytes_that_are_not_utf8_are_kept_as_they_were(tmp_path):
    line = b'{"text": "\xff\x85"}'
    [refused] = posts(write(tmp_path, "posts.jsonl.gz", line + b"\r\n"))
    assert refused.raw == line


def test_a_friendship_goes_both_ways_and_counts_once(tmp_path):
    write(tmp_path, "follows.txt.gz", b"9 10\n10 9\n9 10\n2 10\n")
    assert list(followers(tmp_path)) == [
        FollowersRow("2", ["10"]),
        FollowersRow("9", ["10"]),
        FollowersRow("10", ["2", "9"]),
    ]


@pytest.mark.parametrize("line", [b"1", b"1 2 3", b"1 x", b"4 4", b"4 04", b"-1 2", "\uff11 2".encode()])
def test_a_line_that_is_no_friendship_is_refused(tmp_path, line):
    write(tmp_path, "follows.txt.gz", b"1 2\n" + line + b"\n2 3\n")
    refused, *rows = followers(tmp_path)
    assert (refused.line_number, refused.raw) == (2, line)
    assert [row.user_id for row in rows] == ["1", "2", "3"]


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(UsageError, match="cannot read posts"):
        list(posts(tmp_path))


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-9], lambda whole: whole[20:], lambda whole: whole[:10] + b"\xff" * 20]
)
def test_a_damaged_file_is_a_clear_error(tmp_path, damage):
    (tmp_path / "posts.jsonl.gz").write_bytes(damage(gzip.compress(json.dumps(POST).encode() * 9)))
    with pytest.raises(UsageError, match="cannot read posts"):
        list(posts(tmp_path))
