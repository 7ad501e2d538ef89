"""Sending the shipments story's file: each line is two events, SCHEDULED and DELIVERED."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stories.publish import publish
from stories.shipments.app import app, events
from stories.shipments.events import Mode, Product, ShipmentEvent, Status
from stories.shipments.load import ShipmentRow, shipments
from streams import Publisher


def publish_tables(directory: Path, publisher: Publisher) -> int:
    """Send nothing: the story follows no table."""
    del directory, publisher
    return 0


def publish_events(directory: Path, publisher: Publisher) -> int:
    """Send the events in the order of the file; return how many lines were refused."""
    return publish(publisher, app.name, shipments(directory), events, _events)


def _events(row: ShipmentRow) -> Iterator[ShipmentEvent]:
    for status, delivered_on in ((Status.SCHEDULED, None), (Status.DELIVERED, row.delivered_on)):
        yield ShipmentEvent(
            shipment_id=row.shipment_id,
            status=status,
            customer_id=row.customer_id,
            destination=row.destination,
            vendor=row.vendor,
            mode=Mode(row.mode),
            promised_on=row.promised_on,
            delivered_on=delivered_on,
            product=Product(
                group=row.product_group,
                description=row.description,
                quantity=row.quantity,
                quantity_raw=row.quantity_raw,
                value_usd=row.value_usd,
                value_raw=row.value_raw,
            ),
            weight_kg=row.weight_kg,
            weight_raw=row.weight_raw,
            freight_usd=row.freight_usd,
            freight_raw=row.freight_raw,
        )
