import ast
import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from stories import expected
from stories.files import BadLine
from stories.shipments.load import COLUMNS, shipments
from stories.social.load import FollowersRow, PostRow, followers, posts

FRIENDSHIPS = b"1 2\n2 3\n3 2\nbroken\n"
POSTS = [
    {"post_id": "b", "author": 2, "posted_at": 86_400_000, "text": "two  words"},
    {"post_id": "a", "author": 2, "posted_at": 86_400_000, "text": "and\u00a0three more"},
    {"post_id": "c", "author": 3, "posted_at": 86_399_999, "text": ""},
    {"post_id": "d", "author": 9, "posted_at": 0, "text": "nobody reads this"},
]
SHIPMENTS = [
    ("1", "100-CI", "Chad", "Cipla", "Air", "2-Jun-06", "4-Jun-06", "ARV", "Pills", "19", "551.5", "13", "7"),
    (
        "2",
        "100-CI",
        "Chad",
        "Cipla",
        "Air",
        "2-Jun-06",
        "1-Jun-06",
        "ARV",
        "Pills",
        "many",
        "1.234",
        "0.5",
        "?",
    ),
    (
        "3",
        "116-ZA",
        "Chad",
        "Cipla",
        "N/A",
        "2-Jun-06",
        "2-Jun-06",
        "ARV",
        "Pills",
        "1",
        "1",
        "See DN-304",
        "7",
    ),
]


@pytest.fixture
def tiny(tmp_path):
    lines = [*map(json.dumps, POSTS), "{"]
    table = ["\t".join(row) for row in (COLUMNS, *SHIPMENTS, ("broken",))]
    (tmp_path / "follows.txt.gz").write_bytes(gzip.compress(FRIENDSHIPS))
    (tmp_path / "posts.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "scms_deliveries.tsv.gz").write_bytes(gzip.compress("\r".join(table).encode()))
    return tmp_path


def fan_out(deliveries):
    fan = expected.FanOut()
    for post, user_id in deliveries:
        fan.add(post, [user_id])
    return fan


def test_it_imports_the_standard_library_alone():
    tree = ast.parse(Path(expected.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert len(names) > 5
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_social_by_hand(tiny):
    result = expected.social(tiny)
    assert (result.posts, result.people) == (4, 3)
    assert result.refused == Counter([b"broken", b"{"])
    kinds = [
        (("b", "post"), "1"),
        (("b", "post"), "3"),
        (("a", "post"), "1"),
        (("a", "post"), "3"),
        (("c", "post"), "2"),
    ]
    assert list(result.notifications.differences(fan_out(kinds))) == []
    first, second, third = ("b", "2", 86_400_000), ("a", "2", 86_400_000), ("c", "3", 86_399_999)
    items = [(first, "1"), (first, "3"), (second, "1"), (second, "3"), (third, "2")]
    assert list(result.feed_items.differences(fan_out(items))) == []
    newest_first = [(86_400_000, "b", "2"), (86_400_000, "a", "2")]
    assert result.feeds == {"1": newest_first, "3": newest_first, "2": [(86_399_999, "c", "3")]}
    assert result.statistics == {
        ("2", "1970-01-02"): (2, 5),
        ("3", "1970-01-01"): (1, 0),
        ("9", "1970-01-01"): (1, 3),
    }
    assert result.updates == Counter(
        [
            ("2", "1970-01-02", 1, 2),
            ("2", "1970-01-02", 2, 5),
            ("3", "1970-01-01", 1, 0),
            ("9", "1970-01-01", 1, 3),
        ]
    )


def records(result, topic):
    return [json.loads(text) for text in sorted(result.topics[f"shipments.{topic}"].elements())]


def rows(result, table):
    return {key: json.loads(text) for key, text in result.tables[f"shipments.{table}"].items()}


def test_shipments_by_hand(tiny):
    result = expected.shipments(tiny)
    assert result.rows == 3
    assert result.refused == Counter([b"broken"])
    told = Counter(
        (notice["shipment_id"], notice["kind"], notice["days_late"]) for notice in records(result, "customer-notices")
    )
    assert told == Counter(
        [
            ("1", "PROMISED", 0),
            ("1", "LATE", 2),
            ("2", "PROMISED", 0),
            ("2", "DELIVERED", 0),
            ("3", "PROMISED", 0),
            ("3", "DELIVERED", 0),
        ]
    )
    [late] = records(result, "late-shipments")
    assert late == {
        "shipment_id": "1",
        "customer_id": "100-CI",
        "destination": "Chad",
        "vendor": "Cipla",
        "mode": "AIR",
        "promised_on": "2006-06-02",
        "delivered_on": "2006-06-04",
        "days_late": 2,
    }
    orders = {order["shipment_id"]: order for order in records(result, "delivery-orders")}
    assert orders["2"] == {
        "destination": "Chad",
        "shipment_id": "2",
        "mode": "AIR",
        "due_on": "2006-06-02",
        "weight_kg": "0.500",
        "freight_usd": None,
    }
    assert {row["delivered_on"] for row in rows(result, "shipments").values()} == {
        "2006-06-04",
        "2006-06-01",
        "2006-06-02",
    }
    assert rows(result, "destination-weights") == {
        "Chad": {
            "destination": "Chad",
            "modes": [
                {"mode": "AIR", "shipments": 2, "unweighed": 0, "weight_kg": "13.500"},
                {"mode": "UNKNOWN", "shipments": 1, "unweighed": 1, "weight_kg": "0.000"},
            ],
        }
    }


def test_a_warehouse_prepares_and_closes(tiny):
    notices = records(expected.shipments(tiny), "warehouse-notices")
    assert Counter((n["shipment_id"], n["kind"]) for n in notices) == Counter(
        (shipment, kind) for shipment in "123" for kind in ("PREPARE", "CLOSE")
    )
    assert next(n["product"] for n in notices if n["shipment_id"] == "2") == {
        "group": "ARV",
        "description": "Pills",
        "quantity": None,
        "quantity_raw": "many",
        "value_usd": None,
        "value_raw": "1.234",
    }


@pytest.mark.parametrize(
    ("delivered", "difference"),
    [
        ([("p", "1"), ("p", "2")], []),
        ([("p", "1")], ["('p',): 2 receivers, not 1"]),
        ([("p", "1"), ("p", "2"), ("p", "2")], ["('p',): 2 receivers, not 3"]),
        ([("p", "1"), ("p", "3")], ["('p',): 2 receivers, but not the same ones"]),
        ([("p", "1"), ("p", "2"), ("q", "2")], ["('q',): 0 receivers, not 1"]),
    ],
)
def test_a_lost_doubled_or_exchanged_receiver_is_seen(delivered, difference):
    right = fan_out([(("p",), "1"), (("p",), "2")])
    assert list(right.differences(fan_out([((post,), user) for post, user in delivered]))) == difference


def test_the_loaders_read_what_it_reads(data):
    loaded_posts, loaded_people = list(posts(data)), list(followers(data))
    friends = {row.user_id: row.friend_ids for row in loaded_people if isinstance(row, FollowersRow)}
    talk, goods = expected.social(data), expected.shipments(data)
    items = expected.FanOut()
    for post in loaded_posts:
        if isinstance(post, PostRow) and post.author_id in friends:
            items.add((post.post_id, post.author_id, post.posted_at_ms), friends[post.author_id])
    assert items.total > 10_000
    assert list(talk.feed_items.differences(items)) == []
    refused = Counter(row.raw for row in [*loaded_posts, *loaded_people] if isinstance(row, BadLine))
    assert refused == talk.refused
    loaded_shipments = list(shipments(data))
    assert Counter(row.raw for row in loaded_shipments if isinstance(row, BadLine)) == goods.refused
    assert sum(not isinstance(row, BadLine) for row in loaded_shipments) == goods.rows


@pytest.mark.realdata
def test_the_known_figures_of_the_real_data(real_data):
    command = [sys.executable, "-m", "stories.expected", "--data", str(real_data)]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert figures == {
        "social": {
            "posts": 14_012,
            "people": 4_039,
            "notifications": 4_039_766,
            "feed items": 4_039_766,
            "feeds": 4_038,
            "feed entries": 372_997,
            "author-days": 12_171,
            "words": 120_090,
            "refused lines": 0,
        },
        "shipments": {
            "events": 20_648,
            "shipments": 10_324,
            "customer-notices": 20_648,
            "warehouse-notices": 20_648,
            "delivery-orders": 10_324,
            "late-shipments": 1_186,
            "destinations": 43,
            "refused lines": 0,
        },
    }
