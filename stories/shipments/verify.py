"""Reading the shipments story's topics back and holding them against what they must come to."""

from __future__ import annotations

from collections import Counter
from typing import Any

from stories.expected import Shipments, canonical
from stories.read import TopicReader, dead_letters
from stories.shipments.app import (
    app,
    customer_notices,
    delivery_orders,
    late_shipments,
    shipments,
    warehouse_notices,
    weights,
)
from stories.verdict import Difference, Verdict, compare, compare_rows
from streams import Store, Topic


def verify(expected: Shipments, reader: TopicReader) -> Verdict:
    """Compare every output topic and public table with the expectation, record by record."""
    outputs = (customer_notices, warehouse_notices, delivery_orders, late_shipments)
    topics = {topic.name: _records(reader, topic) for topic in outputs}
    tables = {store.topic or store.name: _rows(reader, store) for store in (shipments, weights)}
    refused = Counter(record.value or b"" for batch in reader.raw(f"{app.name}.load.dlq") for record in batch)
    dead = dead_letters(reader, app)
    differences = [compare(expected.topics[name], records) for name, records in topics.items()]
    differences += [compare_rows(expected.tables[name], rows) for name, rows in tables.items()]
    differences += [compare(expected.refused, refused), Difference(lost=dead)]
    figures = {
        "shipments": len(tables["shipments.shipments"]),
        "late": topics[late_shipments.name].total(),
        "customer_notices": topics[customer_notices.name].total(),
        "warehouse_notices": topics[warehouse_notices.name].total(),
        "delivery_orders": topics[delivery_orders.name].total(),
        "destinations": len(tables["shipments.destination-weights"]),
        "refused_lines": refused.total(),
        "dead_letters": dead,
    }
    return Verdict(figures, sum(differences, Difference()))


def _records(reader: TopicReader, topic: Topic[Any]) -> Counter[str]:
    return Counter(
        canonical(value.model_dump(mode="json"))
        for batch in reader.values(topic.name, topic.model)
        for _, value in batch
    )


def _rows(reader: TopicReader, store: Store[Any, Any]) -> dict[str, str]:
    """Return a public table: the last record of each key."""
    rows: dict[str, str] = {}
    for batch in reader.values(store.topic or "", store.model):
        rows.update({(record.key or b"").decode(): canonical(value.model_dump(mode="json")) for record, value in batch})
    return rows
