"""Rows of the social story's files: posts, and for every person whom their posts reach."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stories.files import BadLine, Line, bad, lines

POSTS = "posts.jsonl.gz"
FRIENDSHIPS = "follows.txt.gz"
MAX_POSTED_AT_MS = 253_402_300_799_999  # the end of the year 9999, the last that a datetime can hold


class PostRow(NamedTuple):
    """A post and the line that it came from; `posted_at_ms` is in milliseconds since the epoch."""

    post_id: str
    author_id: str
    posted_at_ms: int
    text: str
    line_number: int


class FollowersRow(NamedTuple):
    """A person and everybody whom their posts reach, in ascending order."""

    user_id: str
    friend_ids: list[str]


def posts(directory: Path) -> Iterator[PostRow | BadLine]:
    """Read the posts in the order of the file.

    Raises:
        UsageError: The file cannot be read.
    """
    for line in lines(directory / POSTS):
        try:
            yield _post(line)
        except (ValueError, RecursionError) as error:
            yield bad(line, error)


def followers(directory: Path) -> Iterator[FollowersRow | BadLine]:
    """Read the friendships, refused lines first, then one row per person; a friendship goes both ways.

    Raises:
        UsageError: The file cannot be read.
    """
    friends: dict[int, set[int]] = {}
    for line in lines(directory / FRIENDSHIPS):
        try:
            one, other = _friendship(line.raw)
        except ValueError as error:
            yield bad(line, error)
            continue
        friends.setdefault(one, set()).add(other)
        friends.setdefault(other, set()).add(one)
    for person in sorted(friends):
        yield FollowersRow(str(person), [str(friend) for friend in sorted(friends[person])])


def _post(line: Line) -> PostRow:
    match json.loads(line.raw.decode("utf-8")):
        case {
            "post_id": str(post_id),
            "author": int(author),
            "posted_at": int(posted_at),
            "text": str(text),
        } if bool not in {type(author), type(posted_at)}:
            pass
        case _:
            raise ValueError("not an object with post_id, author, posted_at (ms) and text")
    if not post_id:
        raise ValueError("post_id is empty")
    if author < 0:
        raise ValueError(f"author {author} is not a person's number")
    if not 0 <= posted_at <= MAX_POSTED_AT_MS:
        raise ValueError(f"posted_at {posted_at} is not a time in milliseconds since the epoch")
    # JSON can name half a surrogate pair, which UTF-8 cannot hold: refused here and not by a producer later.
    (post_id + text).encode("utf-8")
    return PostRow(post_id, str(author), posted_at, text, line.number)


def _friendship(raw: bytes) -> tuple[int, int]:
    cells = raw.split()
    if len(cells) != 2:
        raise ValueError(f"a friendship has 2 people, this line has {len(cells)} words")
    one, other = (_person(cell) for cell in cells)
    if one == other:
        raise ValueError(f"{one} is a friend of themselves")
    return one, other


def _person(cell: bytes) -> int:
    if not cell.isdigit():
        raise ValueError(f"{cell!r} is not a person's number")
    return int(cell)
