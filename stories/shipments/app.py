"""A shipment changes its status; customers, warehouse managers and delivery services each learn of it."""

from decimal import Decimal

from stories.shipments.events import (
    CustomerNotice,
    CustomerNoticeKind,
    DeliveryOrder,
    DestinationWeight,
    LateShipment,
    ModeWeight,
    Shipment,
    ShipmentEvent,
    Status,
    WarehouseNotice,
    WarehouseNoticeKind,
)
from streams import App, Context

app = App("shipments")

events = app.topic("shipments.events", ShipmentEvent, key="shipment_id")
customer_notices = app.topic("shipments.customer-notices", CustomerNotice, key="customer_id")
warehouse_notices = app.topic("shipments.warehouse-notices", WarehouseNotice, key="vendor")
delivery_orders = app.topic("shipments.delivery-orders", DeliveryOrder, key="destination")
late_shipments = app.topic("shipments.late-shipments", LateShipment, key="shipment_id")

shipments = app.store("shipments", str, Shipment, topic="shipments.shipments")
weights = app.store("weights", str, DestinationWeight, topic="shipments.destination-weights")

NO_WEIGHT = Decimal(0)


@app.processor(events, to=customer_notices)
def tell_customer(event: ShipmentEvent, _ctx: Context) -> CustomerNotice:
    """Tell the customer what is promised, that it arrived, or that it arrived late by so many days."""
    late = max(_days_late(event), 0)
    if event.status is Status.SCHEDULED:
        kind = CustomerNoticeKind.PROMISED
    else:
        kind = CustomerNoticeKind.LATE if late else CustomerNoticeKind.DELIVERED
    return CustomerNotice(
        customer_id=event.customer_id,
        shipment_id=event.shipment_id,
        kind=kind,
        description=event.product.description,
        promised_on=event.promised_on,
        delivered_on=event.delivered_on,
        days_late=late,
    )


@app.processor(events, to=warehouse_notices)
def tell_warehouse(event: ShipmentEvent, _ctx: Context) -> WarehouseNotice:
    """Tell the vendor's warehouse managers what to prepare, and when they are done with it."""
    prepare = event.status is Status.SCHEDULED
    return WarehouseNotice(
        vendor=event.vendor,
        shipment_id=event.shipment_id,
        kind=WarehouseNoticeKind.PREPARE if prepare else WarehouseNoticeKind.CLOSE,
        product=event.product,
        due_on=event.promised_on,
        weight_kg=event.weight_kg,
        freight_usd=event.freight_usd,
    )


@app.processor(events, to=delivery_orders)
def book_freight(event: ShipmentEvent, _ctx: Context) -> DeliveryOrder | None:
    """Book the freight of a shipment that was scheduled."""
    if event.status is not Status.SCHEDULED:
        return None
    return DeliveryOrder(
        destination=event.destination,
        shipment_id=event.shipment_id,
        mode=event.mode,
        due_on=event.promised_on,
        weight_kg=event.weight_kg,
        freight_usd=event.freight_usd,
    )


@app.processor(delivery_orders)
def weigh(order: DeliveryOrder, ctx: Context) -> None:
    """Add up what goes to each destination by each mode."""
    before = ctx.get(weights, order.destination)
    modes = {weight.mode: weight for weight in before.modes} if before else {}
    old = modes.get(order.mode) or ModeWeight(mode=order.mode, shipments=0, unweighed=0, weight_kg=NO_WEIGHT)
    modes[order.mode] = ModeWeight(
        mode=order.mode,
        shipments=old.shipments + 1,
        unweighed=old.unweighed + (order.weight_kg is None),
        weight_kg=old.weight_kg + (order.weight_kg or NO_WEIGHT),
    )
    by_name = tuple(modes[mode] for mode in sorted(modes))
    ctx.put(weights, order.destination, DestinationWeight(destination=order.destination, modes=by_name))


@app.processor(events)
def track(event: ShipmentEvent, ctx: Context) -> None:
    """Keep every shipment as it stands."""
    shipment = Shipment(
        shipment_id=event.shipment_id,
        status=event.status,
        customer_id=event.customer_id,
        destination=event.destination,
        promised_on=event.promised_on,
        delivered_on=event.delivered_on,
    )
    ctx.put(shipments, event.shipment_id, shipment)


@app.processor(events, to=late_shipments)
def find_late(event: ShipmentEvent, _ctx: Context) -> LateShipment | None:
    """Find the shipments that arrived after the promised day."""
    days_late = _days_late(event)
    if event.delivered_on is None or days_late <= 0:
        return None
    return LateShipment(
        shipment_id=event.shipment_id,
        customer_id=event.customer_id,
        destination=event.destination,
        vendor=event.vendor,
        mode=event.mode,
        promised_on=event.promised_on,
        delivered_on=event.delivered_on,
        days_late=days_late,
    )


def _days_late(event: ShipmentEvent) -> int:
    """Days from the promised day to the delivery: below 0 if it was early, 0 if it is still to come."""
    return (event.delivered_on - event.promised_on).days if event.delivered_on else 0
