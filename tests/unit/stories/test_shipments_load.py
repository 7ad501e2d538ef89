import gzip
from datetime import date
from decimal import Decimal

import pytest

from stories.files import BadLine
from stories.shipments.load import ShipmentRow, shipments
from streams.errors import UsageError

CELLS = {
    "ID": "86",
    "Project Code": "116-ZA-T30",
    "Country": "Côte d'Ivoire",
    "Vendor": "Cipla",
    "Shipment Mode": "Air",
    "Scheduled Delivery Date": "2-Jun-06",
    "Delivered to Client Date": "14-Nov-06",
    "Product Group": "ARV",
    "Item Description": '"Nevirapine, 60 ""Tabs"""',
    "Line Item Quantity": "19",
    "Line Item Value": "551.5",
    "Weight (Kilograms)": "13",
    "Freight Cost (USD)": "780.34",
}


def load(folder, *changes):
    rows = ["\t".join((CELLS | change).values()) for change in changes]
    (folder / "scms_deliveries.tsv.gz").write_bytes(gzip.compress("\r".join(["\t".join(CELLS), *rows]).encode()))
    return list(shipments(folder))


def test_a_shipment_is_read_whole(tmp_path):
    assert load(tmp_path, {}) == [
        ShipmentRow(
            shipment_id="86",
            customer_id="116-ZA-T30",
            destination="Côte d'Ivoire",
            vendor="Cipla",
            mode="AIR",
            promised_on=date(2006, 6, 2),
            delivered_on=date(2006, 11, 14),
            product_group="ARV",
            description='Nevirapine, 60 "Tabs"',
            quantity=19,
            quantity_raw="19",
            value_usd=Decimal("551.5"),
            value_raw="551.5",
            weight_kg=Decimal(13),
            weight_raw="13",
            freight_usd=Decimal("780.34"),
            freight_raw="780.34",
        )
    ]


@pytest.mark.parametrize(
    "cell",
    [
        "Freight Included in Commodity Cost",
        "See DN-304 (ID#:10589)",
        "",
        "NaN",
        "1e3",
        "-5",
        "1,250",
        "1.",
        "1.2345",
        "1" * 19,
        "٣",
    ],
)
@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("Line Item Quantity", "quantity"),
        ("Line Item Value", "value"),
        ("Weight (Kilograms)", "weight"),
        ("Freight Cost (USD)", "freight"),
    ],
)
def test_a_cell_that_holds_no_number_is_null_beside_its_text(tmp_path, column, field, cell):
    [row] = load(tmp_path, {column: cell})
    number = {
        "quantity": row.quantity,
        "value": row.value_usd,
        "weight": row.weight_kg,
        "freight": row.freight_usd,
    }
    assert number[field] is None
    assert getattr(row, f"{field}_raw") == cell


@pytest.mark.parametrize(
    ("cell", "mode"),
    [
        ("Air Charter", "AIR_CHARTER"),
        ("Ocean", "OCEAN"),
        ("Truck", "TRUCK"),
        ("N/A", "UNKNOWN"),
        ("Mule", "UNKNOWN"),
    ],
)
def test_modes(tmp_path, cell, mode):
    [row] = load(tmp_path, {"Shipment Mode": cell})
    assert row.mode == mode


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ID": ""}, "ID is empty"),
        ({"Country": "", "Vendor": ""}, "Country, Vendor is empty"),
        ({"Scheduled Delivery Date": "Date Not Captured"}, "'Date Not Captured' is not a day"),
        ({"Delivered to Client Date": "31-Feb-06"}, "day"),
        ({"Delivered to Client Date": "2-jun-06"}, "'2-jun-06' is not a day"),
        ({"Freight Cost (USD)": '"13'}, "unexpected end of data"),
        ({"Freight Cost (USD)": "13\t14"}, "14 cells under 13 columns"),
    ],
)
def test_a_line_that_does_not_parse_is_refused_and_the_next_is_read(tmp_path, change, reason):
    refused, row = load(tmp_path, change, {})
    assert isinstance(refused, BadLine)
    assert (refused.file, refused.line_number) == ("scms_deliveries.tsv.gz", 2)
    assert refused.raw == "\t".join((CELLS | change).values()).encode()
    assert reason in refused.reason
    assert isinstance(row, ShipmentRow)


@pytest.mark.parametrize("content", [b"", b"ID\tCountry\r1\tNigeria"])
def test_a_header_without_the_columns_is_a_clear_error(tmp_path, content):
    (tmp_path / "scms_deliveries.tsv.gz").write_bytes(gzip.compress(content))
    with pytest.raises(UsageError, match=r"lacks the columns .*Weight"):
        list(shipments(tmp_path))
