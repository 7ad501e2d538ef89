"""What the social and shipments stories must come to, computed from their files and nothing else.

It shares no code with the toolkit, the processors or the loaders, so that agreement with it means something.
Run it as `python -m stories.expected --data DIR` to print the figures as JSON.
"""

import argparse
import csv
import gzip
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

FEED_LENGTH = 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = 253_402_300_799_999  # the end of the year 9999
MODES = {"Air": "AIR", "Air Charter": "AIR_CHARTER", "Ocean": "OCEAN", "Truck": "TRUCK"}

Row = Mapping[str, Any]
Post = tuple[str | int, ...]


class FanOut:
    """Who received each post, without holding every receiver: a count and a sum of 64-bit hashes per post.

    Two of them agree exactly where every post has the same multiset of receivers, but for a chance of 2**-64.
    """

    def __init__(self) -> None:
        self.posts: dict[Post, tuple[int, int]] = {}

    def add(self, post: Post, user_ids: Collection[str]) -> None:
        """Count receivers of a post; a post is a tuple of whatever the record says of it."""
        count, total = self.posts.get(post, (0, 0))
        self.posts[post] = count + len(user_ids), total + sum(map(_mark, user_ids))

    @property
    def total(self) -> int:
        """The number of receivers over all posts."""
        return sum(count for count, _ in self.posts.values())

    def differences(self, other: "FanOut") -> Iterator[str]:
        """Say for each post on which the two disagree how many receivers it has here and there."""
        for post in sorted(self.posts.keys() | other.posts.keys(), key=str):
            here, there = self.posts.get(post, (0, 0)), other.posts.get(post, (0, 0))
            if here[0] != there[0]:
                yield f"{post}: {here[0]} receivers, not {there[0]}"
            elif here != there:
                yield f"{post}: {here[0]} receivers, but not the same ones"


class Social(NamedTuple):
    """What the social story must leave behind.

    A post is (post_id, kind) in `notifications` and (post_id, author_id, posted_at in ms) in `feed_items`.
    `feeds` holds (posted_at in ms, post_id, author_id), newest first. `statistics` maps (author_id, day) to
    (posts, words); `updates` are all records (author_id, day, posts, words) on the way there, where each
    author's posts arrive in the order of the file. `refused` counts the lines that do not parse.
    """

    posts: int
    people: int
    refused: Counter[bytes]
    notifications: FanOut
    feed_items: FanOut
    feeds: dict[str, list[tuple[int, str, str]]]
    statistics: dict[tuple[str, str], tuple[int, int]]
    updates: Counter[tuple[str, str, int, int]]


class Shipments(NamedTuple):
    """What the shipments story must leave behind.

    `topics` maps a topic to the multiset of its records, `tables` maps a table to its last row of each key,
    both as canonical JSON. `refused` counts the lines that do not parse.
    """

    rows: int
    refused: Counter[bytes]
    topics: dict[str, Counter[str]]
    tables: dict[str, dict[str, str]]


def canonical(row: Row) -> str:
    """Write a row so that equal rows are equal texts; dates are ISO, decimals are texts of their scale."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False)


def social(directory: Path) -> Social:
    """Compute the social story from `posts.jsonl.gz` and `follows.txt.gz` of a folder."""
    refused: Counter[bytes] = Counter()
    friends = _friends(directory, refused)
    posts = _posts(directory, refused)
    notifications, feed_items = FanOut(), FanOut()
    by_author: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for post_id, author, posted_at, _ in posts:
        by_author[author].append((posted_at, post_id, author))
        if reached := friends.get(author):
            notifications.add((post_id, "post"), reached)
            feed_items.add((post_id, author, posted_at), reached)
    statistics, updates = _statistics(posts)
    return Social(
        posts=len(posts),
        people=len(friends),
        refused=refused,
        notifications=notifications,
        feed_items=feed_items,
        feeds=_feeds(friends, by_author),
        statistics=statistics,
        updates=updates,
    )


def shipments(directory: Path) -> Shipments:
    """Compute the shipments story from `scms_deliveries.tsv.gz` of a folder."""
    refused: Counter[bytes] = Counter()
    rows = _shipments(directory, refused)
    topics = {
        "shipments.customer-notices": [notice for row in rows for notice in _customer_notices(row)],
        "shipments.warehouse-notices": [notice for row in rows for notice in _warehouse_notices(row)],
        "shipments.delivery-orders": [_delivery_order(row) for row in rows],
        "shipments.late-shipments": [_late_shipment(row) for row in rows if _days_late(row) > 0],
    }
    return Shipments(
        rows=len(rows),
        refused=refused,
        topics={name: Counter(map(canonical, records)) for name, records in topics.items()},
        tables={
            "shipments.shipments": {row["shipment_id"]: canonical(_shipment(row)) for row in rows},
            "shipments.destination-weights": {row["destination"]: canonical(row) for row in _weights(rows)},
        },
    )


def summary(directory: Path) -> dict[str, dict[str, int]]:
    """Return the figures of both stories."""
    talk, goods = social(directory), shipments(directory)
    return {
        "social": {
            "posts": talk.posts,
            "people": talk.people,
            "notifications": talk.notifications.total,
            "feed items": talk.feed_items.total,
            "feeds": len(talk.feeds),
            "feed entries": sum(map(len, talk.feeds.values())),
            "author-days": len(talk.statistics),
            "words": sum(words for _, words in talk.statistics.values()),
            "refused lines": talk.refused.total(),
        },
        "shipments": {
            "events": 2 * goods.rows,
            "shipments": len(goods.tables["shipments.shipments"]),
            **{name.removeprefix("shipments."): rows.total() for name, rows in goods.topics.items()},
            "destinations": len(goods.tables["shipments.destination-weights"]),
            "refused lines": goods.refused.total(),
        },
    }


@cache
def _mark(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _friends(directory: Path, refused: Counter[bytes]) -> dict[str, set[str]]:
    friends: dict[str, set[str]] = defaultdict(set)
    for line in filter(None, _read(directory / "follows.txt.gz").splitlines()):
        pair = re.fullmatch(rb"\s*([0-9]+)\s+([0-9]+)\s*", line)
        if pair is None or int(pair[1]) == int(pair[2]):
            refused[line] += 1
            continue
        a, b = str(int(pair[1])), str(int(pair[2]))
        friends[a].add(b)
        friends[b].add(a)
    return friends


def _posts(directory: Path, refused: Counter[bytes]) -> list[tuple[str, str, int, str]]:
    posts = []
    for line in filter(None, _read(directory / "posts.jsonl.gz").splitlines()):
        try:
            posts.append(_post(json.loads(line.decode("utf-8"))))
        except (ValueError, TypeError, KeyError, RecursionError):
            refused[line] += 1
    return posts


def _post(post: Any) -> tuple[str, str, int, str]:
    post_id, author, posted_at, text = (post[name] for name in ("post_id", "author", "posted_at", "text"))
    if [type(post_id), type(author), type(posted_at), type(text)] != [str, int, int, str]:
        raise TypeError
    if not post_id.encode() or author < 0 or not 0 <= posted_at <= LAST_MS:
        raise ValueError
    text.encode()
    return post_id, str(author), posted_at, text


def _feeds(
    friends: Mapping[str, set[str]], by_author: Mapping[str, list[tuple[int, str, str]]]
) -> dict[str, list[tuple[int, str, str]]]:
    # Of one author no feed can hold more than the newest 100.
    newest = {author: sorted(items, reverse=True)[:FEED_LENGTH] for author, items in by_author.items()}
    feeds = {}
    for person, others in friends.items():
        if items := [item for other in others for item in newest.get(other, ())]:
            feeds[person] = sorted(items, reverse=True)[:FEED_LENGTH]
    return feeds


def _statistics(
    posts: list[tuple[str, str, int, str]],
) -> tuple[dict[tuple[str, str], tuple[int, int]], Counter[tuple[str, str, int, int]]]:
    statistics: dict[tuple[str, str], tuple[int, int]] = {}
    updates: Counter[tuple[str, str, int, int]] = Counter()
    for _, author, posted_at, text in posts:
        day = (EPOCH + timedelta(milliseconds=posted_at)).date().isoformat()
        count, words = statistics.get((author, day), (0, 0))
        statistics[author, day] = count + 1, words + len(text.split())
        updates[(author, day, *statistics[author, day])] += 1
    return statistics, updates


def _shipments(directory: Path, refused: Counter[bytes]) -> list[Row]:
    header, *body = filter(None, _read(directory / "scms_deliveries.tsv.gz").splitlines())
    names = header.decode("utf-8").split("\t")
    rows = []
    for line in body:
        try:
            (cells,) = csv.reader([line.decode("utf-8")], dialect="excel-tab", strict=True)
            rows.append(_row(dict(zip(names, cells, strict=True))))
        except (ValueError, csv.Error):
            refused[line] += 1
    return rows


def _row(cells: dict[str, str]) -> Row:
    if not all(cells[name] for name in ("ID", "Project Code", "Country", "Vendor")):
        raise ValueError
    return {
        "shipment_id": cells["ID"],
        "customer_id": cells["Project Code"],
        "destination": cells["Country"],
        "vendor": cells["Vendor"],
        "mode": MODES.get(cells["Shipment Mode"], "UNKNOWN"),
        "promised_on": _day(cells["Scheduled Delivery Date"]),
        "delivered_on": _day(cells["Delivered to Client Date"]),
        "product": {
            "group": cells["Product Group"],
            "description": cells["Item Description"],
            "quantity": _whole(cells["Line Item Quantity"]),
            "quantity_raw": cells["Line Item Quantity"],
            "value_usd": _fixed(cells["Line Item Value"], whole=10, places=2),
            "value_raw": cells["Line Item Value"],
        },
        "weight_kg": _fixed(cells["Weight (Kilograms)"], whole=9, places=3),
        "freight_usd": _fixed(cells["Freight Cost (USD)"], whole=10, places=2),
    }


def _customer_notices(row: Row) -> Iterator[Row]:
    notice = {name: row[name] for name in ("customer_id", "shipment_id", "promised_on")}
    notice["description"] = row["product"]["description"]
    yield notice | {"kind": "PROMISED", "delivered_on": None, "days_late": 0}
    late = max(_days_late(row), 0)
    kind = "LATE" if late else "DELIVERED"
    yield notice | {"kind": kind, "delivered_on": row["delivered_on"], "days_late": late}


def _warehouse_notices(row: Row) -> Iterator[Row]:
    notice = {name: row[name] for name in ("vendor", "shipment_id", "product", "weight_kg", "freight_usd")}
    for kind in ("PREPARE", "CLOSE"):
        yield notice | {"kind": kind, "due_on": row["promised_on"]}


def _delivery_order(row: Row) -> Row:
    order = {name: row[name] for name in ("destination", "shipment_id", "mode", "weight_kg", "freight_usd")}
    return order | {"due_on": row["promised_on"]}


def _late_shipment(row: Row) -> Row:
    names = ("shipment_id", "customer_id", "destination", "vendor", "mode", "promised_on", "delivered_on")
    return {name: row[name] for name in names} | {"days_late": _days_late(row)}


def _shipment(row: Row) -> Row:
    names = ("shipment_id", "customer_id", "destination", "promised_on", "delivered_on")
    return {name: row[name] for name in names} | {"status": "DELIVERED"}


def _weights(rows: list[Row]) -> Iterator[Row]:
    weights: dict[str, dict[str, list[str | None]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        weights[row["destination"]][row["mode"]].append(row["weight_kg"])
    for destination, modes in weights.items():
        yield {"destination": destination, "modes": [_weight(mode, modes[mode]) for mode in sorted(modes)]}


def _weight(mode: str, weights: list[str | None]) -> Row:
    known = [Decimal(weight) for weight in weights if weight is not None]
    return {
        "mode": mode,
        "shipments": len(weights),
        "unweighed": len(weights) - len(known),
        "weight_kg": str(sum(known, Decimal("0.000"))),
    }


def _day(cell: str) -> str:
    return datetime.strptime(cell, "%d-%b-%y").replace(tzinfo=UTC).date().isoformat()


def _days_late(row: Row) -> int:
    return (datetime.fromisoformat(row["delivered_on"]) - datetime.fromisoformat(row["promised_on"])).days


def _whole(cell: str) -> int | None:
    return int(cell) if re.fullmatch("[0-9]{1,18}", cell) else None


def _fixed(cell: str, *, whole: int, places: int) -> str | None:
    """Return the number with all its places, or None where the cell holds none that fits."""
    integer, dot, fraction = cell.partition(".")
    if not re.fullmatch("[0-9]+", integer + fraction) or not integer or (dot and not fraction):
        return None
    if len(integer) > whole or len(fraction) > places:
        return None
    return f"{Decimal(cell):.{places}f}"


def _read(path: Path) -> bytes:
    with gzip.open(path) as file:
        return file.read()


def main() -> None:
    """Print the figures of a folder."""
    parser = argparse.ArgumentParser(description="Compute what the stories must come to, from their files alone.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of the files")
    sys.stdout.write(json.dumps(summary(parser.parse_args().data), indent=2) + "\n")


if __name__ == "__main__":
    main()
