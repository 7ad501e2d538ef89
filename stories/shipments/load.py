"""Rows of the shipments story's file, which is read as it was published."""

import csv
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from stories.files import BadLine, Line, bad, lines
from streams.errors import UsageError

SHIPMENTS = "scms_deliveries.tsv.gz"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MODES = {"Air": "AIR", "Air Charter": "AIR_CHARTER", "Ocean": "OCEAN", "Truck": "TRUCK"}

# What the contracts can hold, so that no number is ever rounded; any other text stays in the raw field alone.
WHOLE = re.compile(r"\d{1,18}", re.ASCII)
MONEY = re.compile(r"\d{1,10}(\.\d{1,2})?", re.ASCII)
WEIGHT = re.compile(r"\d{1,9}(\.\d{1,3})?", re.ASCII)
DAY = re.compile(r"(\d{1,2})-([A-Z][a-z]{2})-(\d{2})", re.ASCII)

FILLED = ("ID", "Project Code", "Country", "Vendor")  # keys of topics: a record without one has no place
COLUMNS = (
    *FILLED,
    "Shipment Mode",
    "Scheduled Delivery Date",
    "Delivered to Client Date",
    "Product Group",
    "Item Description",
    "Line Item Quantity",
    "Line Item Value",
    "Weight (Kilograms)",
    "Freight Cost (USD)",
)


class ShipmentRow(NamedTuple):
    """One line of the file. A numeric cell that holds no number is None beside its text (`…_raw`)."""

    shipment_id: str
    customer_id: str
    destination: str
    vendor: str
    mode: str
    promised_on: date
    delivered_on: date
    product_group: str
    description: str
    quantity: int | None
    quantity_raw: str
    value_usd: Decimal | None
    value_raw: str
    weight_kg: Decimal | None
    weight_raw: str
    freight_usd: Decimal | None
    freight_raw: str


def shipments(directory: Path) -> Iterator[ShipmentRow | BadLine]:
    """Read the shipments in the order of the file.

    Raises:
        UsageError: The file cannot be read, or its header lacks a column.
    """
    table = lines(directory / SHIPMENTS)
    header = next(table, None)
    names = _header(header, directory / SHIPMENTS)
    for line in table:
        try:
            yield _shipment(_cells(line.raw, names))
        except (ValueError, csv.Error) as error:
            yield bad(line, error)


def _header(line: Line | None, path: Path) -> list[str]:
    names = line.raw.decode("utf-8", errors="replace").split("\t") if line else []
    if missing := [column for column in COLUMNS if column not in names]:
        raise UsageError(
            f"the first line of {path.name} lacks the columns {', '.join(missing)}",
            where=str(path),
            fix="use the file as it was published: tab-separated, with its header",
        )
    return names


def _cells(raw: bytes, names: list[str]) -> dict[str, str]:
    # strict: an unterminated quote is an error, not a cell that swallowed the rest of the line.
    cells = next(csv.reader([raw.decode("utf-8")], delimiter="\t", strict=True))
    if len(cells) != len(names):
        raise ValueError(f"{len(cells)} cells under {len(names)} columns")
    return dict(zip(names, cells, strict=True))


def _shipment(cells: dict[str, str]) -> ShipmentRow:
    if empty := [column for column in FILLED if not cells[column]]:
        raise ValueError(f"{', '.join(empty)} is empty")
    quantity, value = cells["Line Item Quantity"], cells["Line Item Value"]
    weight, freight = cells["Weight (Kilograms)"], cells["Freight Cost (USD)"]
    return ShipmentRow(
        shipment_id=cells["ID"],
        customer_id=cells["Project Code"],
        destination=cells["Country"],
        vendor=cells["Vendor"],
        mode=MODES.get(cells["Shipment Mode"], "UNKNOWN"),
        promised_on=_day(cells["Scheduled Delivery Date"]),
        delivered_on=_day(cells["Delivered to Client Date"]),
        product_group=cells["Product Group"],
        description=cells["Item Description"],
        quantity=int(quantity) if WHOLE.fullmatch(quantity) else None,
        quantity_raw=quantity,
        value_usd=_decimal(value, MONEY),
        value_raw=value,
        weight_kg=_decimal(weight, WEIGHT),
        weight_raw=weight,
        freight_usd=_decimal(freight, MONEY),
        freight_raw=freight,
    )


def _day(cell: str) -> date:
    """Read a day such as 2-Jun-06, whatever the locale."""
    if not (match := DAY.fullmatch(cell)) or match[2] not in MONTHS:
        raise ValueError(f"{cell!r} is not a day such as 2-Jun-06")
    return date(2000 + int(match[3]), 1 + MONTHS.index(match[2]), int(match[1]))


def _decimal(cell: str, shape: re.Pattern[str]) -> Decimal | None:
    return Decimal(cell) if shape.fullmatch(cell) else None
