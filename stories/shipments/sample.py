"""Made-up shipments, written in the format of the published file, odd cells and all."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from random import Random

from stories.files import write
from stories.shipments.load import MONTHS, SHIPMENTS

SHIPMENT_COUNT = 500
FIRST_DAY = date(2012, 1, 2)

# Every column of the published file in its order, with the text of those that the story does not read.
COLUMNS: Mapping[str, str] = {
    "ID": "",
    "Project Code": "",
    "PQ #": "Pre-PQ Process",
    "PO / SO #": "SCMS-4",
    "ASN/DN #": "ASN-8",
    "Country": "",
    "Managed By": "PMO - US",
    "Fulfill Via": "Direct Drop",
    "Vendor INCO Term": "EXW",
    "Shipment Mode": "",
    "PQ First Sent to Client Date": "Pre-PQ Process",
    "PO Sent to Vendor Date": "Date Not Captured",
    "Scheduled Delivery Date": "",
    "Delivered to Client Date": "",
    "Delivery Recorded Date": "Date Not Captured",
    "Product Group": "",
    "Sub Classification": "Adult",
    "Vendor": "",
    "Item Description": "",
    "Molecule/Test Type": "Nevirapine",
    "Brand": "Generic",
    "Dosage": "N/A",
    "Dosage Form": "Tablet",
    "Unit of Measure (Per Pack)": "60",
    "Line Item Quantity": "",
    "Line Item Value": "",
    "Pack Price": "6.2",
    "Unit Price": "0.1",
    "Manufacturing Site": "Aurobindo Unit III, India",
    "First Line Designation": "Yes",
    "Weight (Kilograms)": "",
    "Freight Cost (USD)": "",
    "Line Item Insurance (USD)": "",
}
PROJECTS = (
    ("100-CI-T01", "Côte d'Ivoire"),
    ("102-NG-T30", "Nigeria"),
    ("103-ZW-T30", "Zimbabwe"),
    ("108-VN-T30", "Vietnam"),
    ("111-MZ-T30", "Mozambique"),
    ("116-ZA-T30", "South Africa"),
)
VENDORS = ("SCMS from RDC", "Orgenics, Ltd", "Cipla Limited", "Abbott GmbH & Co. KG")
MODES = ("Air", "Air", "Air", "Truck", "Truck", "Air Charter", "Ocean", "N/A")
ITEMS = (
    ("ARV", "Nevirapine 200mg, tablets, 60 Tabs"),
    ("ARV", "Lamivudine/Zidovudine 150/300mg, tablets, 60 Tabs"),
    ("HRDT", "HIV 1/2, Determine Complete HIV Kit, 100 Tests"),
    ("ACT", 'Artemether "20mg", blister'),
)
ODD_WEIGHTS = ("Weight Captured Separately", "See DN-304 (ID#:10589)", "1,250")
ODD_FREIGHTS = ("Freight Included in Commodity Cost", "Invoiced Separately", "See ASN-93 (ID#:1281)")
ODD = 0.3  # the part of cells that hold no number; in the published file it is four in ten
LATE = 0.15


def write_sample(directory: Path, seed: int) -> None:
    """Write a file of 500 shipments and some lines that do not parse; the same seed makes the same bytes."""
    random = Random(seed)  # noqa: S311 - a sample has to be repeatable, not secret
    rows = [_line(_shipment(random, number).values()) for number in range(1, SHIPMENT_COUNT + 1)]
    for bad in _bad_lines(_shipment(random, SHIPMENT_COUNT + 1)):
        rows.insert(random.randint(0, len(rows)), bad)
    write(directory / SHIPMENTS, b"\r".join([_line(COLUMNS), *rows]))


def _shipment(random: Random, number: int) -> dict[str, str]:
    project, country = random.choice(PROJECTS)
    group, description = random.choice(ITEMS)
    promised = FIRST_DAY + timedelta(days=random.randint(0, 700))
    late = random.randint(1, 60) if random.random() < LATE else -random.randint(0, 9)
    quantity = random.randint(1, 20_000)
    weight, freight = str(random.randint(1, 30_000)), _amount(random.randint(75, 2_000_000))
    return {
        **COLUMNS,
        "ID": str(number),
        "Project Code": project,
        "Country": country,
        "Vendor": random.choice(VENDORS),
        "Shipment Mode": random.choice(MODES),
        "Scheduled Delivery Date": _day(promised),
        "Delivered to Client Date": _day(promised + timedelta(days=late)),
        "Product Group": group,
        "Item Description": description,
        "Line Item Quantity": str(quantity),
        "Line Item Value": _amount(quantity * random.randint(4, 9_000)),
        "Weight (Kilograms)": random.choice(ODD_WEIGHTS) if random.random() < ODD else weight,
        "Freight Cost (USD)": random.choice(ODD_FREIGHTS) if random.random() < ODD else freight,
    }


def _bad_lines(cells: Mapping[str, str]) -> list[bytes]:
    whole = _line(cells.values())
    return [
        b"\t".join(whole.split(b"\t")[:9]),
        _line({**cells, "ID": ""}.values()),
        _line({**cells, "Scheduled Delivery Date": "Date Not Captured"}.values()),
        _line({**cells, "Delivered to Client Date": "31-Feb-13"}.values()),
        _line({**cells, "Country": "Réunion"}.values()).replace("é".encode(), b"\xe9"),  # latin-1, not UTF-8
        whole + b'"left open',
    ]


def _line(cells: Iterable[str]) -> bytes:
    return "\t".join(map(_cell, cells)).encode()


def _cell(text: str) -> str:
    """Quote a cell that holds a comma, as the published file does although tabs separate it."""
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text


def _day(day: date) -> str:
    return f"{day.day}-{MONTHS[day.month - 1]}-{day:%y}"


def _amount(cents: int) -> str:
    """Write an amount as the file does: without zeros that say nothing."""
    return f"{cents // 100}.{cents % 100:02}".rstrip("0").rstrip(".")
