"""A made-up social graph with its posts, written in the format of the real files."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from stories.files import write
from stories.social.load import FRIENDSHIPS, POSTS

PEOPLE = 300
POST_COUNT = 1_000
FRIENDS_OF_A_NEWCOMER = 16
FIRST_POST_MS = 1_700_000_000_000
MEAN_GAP_MS = 5 * 60 * 1000  # so that many an author posts more than once a day
MAX_DELAY_MS = 60 * 60 * 1000
DELAYED = 0.1  # the part of posts that stand in the file later than they were published

TALK = (
    "coffee rain finally deploy green build train late again lovely morning release notes the a we is "
    "it broke fixed why nobody told me river walk dinner at eight ✓ naïve café #kafka #news #garden "
    "https://example.com/story"
)
GAPS = (" ", " ", " ", "  ", "\n", "\u00a0")  # white space between words is not always one blank

BAD_POSTS = (
    b'{"post_id": "x1", "author": 3, "posted_at": 1700000000000, "text": "cut o',
    b'{"post_id": "x2", "author": "somebody", "posted_at": 1700000000000, "text": "no number"}',
    b'{"post_id": "x3", "author": 4, "text": "no time"}',
    b'{"post_id": "x4", "author": 5, "posted_at": 1700000000000, "text": "\xff\xfe"}',
    b"not json at all",
)
BAD_FRIENDSHIPS = (b"17", b"4 4", b"12 somebody", b"1 2 3")


def write_sample(directory: Path, seed: int) -> None:
    """Write the files of 300 people and 1,000 posts; the same seed makes the same bytes.

    A few lines do not parse, on purpose. The graph is uneven, as real ones are: a newcomer befriends those
    who have friends already, and the well-connected post more.
    """
    random = Random(seed)  # noqa: S311 - a sample has to be repeatable, not secret
    friendships = list(_friendships(random))
    write(directory / FRIENDSHIPS, _lines(random, [b"%d %d" % pair for pair in friendships], BAD_FRIENDSHIPS))
    write(directory / POSTS, _lines(random, list(_posts(random, friendships)), BAD_POSTS))


def _friendships(random: Random) -> Iterator[tuple[int, int]]:
    known = list(range(FRIENDS_OF_A_NEWCOMER))  # one entry per friendship end, so it weighs by popularity
    for newcomer in range(FRIENDS_OF_A_NEWCOMER, PEOPLE):
        friends = sorted({random.choice(known) for _ in range(FRIENDS_OF_A_NEWCOMER)})
        for friend in friends:
            yield friend, newcomer
        known.extend(friends)
        known.extend([newcomer] * len(friends))


def _posts(random: Random, friendships: list[tuple[int, int]]) -> Iterator[bytes]:
    ends = [person for pair in friendships for person in pair]
    now = FIRST_POST_MS
    for number in range(POST_COUNT):
        now += int(random.expovariate(1 / MEAN_GAP_MS))
        delay = random.randint(0, MAX_DELAY_MS) if random.random() < DELAYED else 0
        post = {
            "post_id": f"p{number:06}",
            "author": random.choice(ends),
            "posted_at": now - delay,
            "text": random.choice(GAPS).join(random.choices(TALK.split(), k=random.randint(1, 18))),
        }
        yield json.dumps(post, ensure_ascii=False).encode()


def _lines(random: Random, good: list[bytes], bad: tuple[bytes, ...]) -> bytes:
    for line in bad:
        good.insert(random.randint(0, len(good)), line)
    return b"\n".join(good) + b"\n"
