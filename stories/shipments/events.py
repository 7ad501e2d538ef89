"""Made by `streams schema generate`. Do not edit: rules of your own go into a subclass."""

# ruff: noqa
from __future__ import annotations

import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field, NaiveDatetime

from streams.avro.model import AvroModel, FrozenDict, FrozenMap, Int, Long


class CustomerNoticeKind(StrEnum):
    'What a customer is told; `UNKNOWN` is what an older reader sees of a newer kind.'

    __avro_name__ = 'shipping.CustomerNoticeKind'

    UNKNOWN = 'UNKNOWN'
    PROMISED = 'PROMISED'
    DELIVERED = 'DELIVERED'
    LATE = 'LATE'


class CustomerNotice(AvroModel):
    'Tells a customer of a shipment.'

    __avro_name__: ClassVar[str] = 'shipping.CustomerNotice'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"CustomerNotice","namespace":"shipping","doc":"Tells a customer of a shipmen'
        't.","fields":[{"name":"customer_id","type":"string","doc":"Who is told; the topic\'s key."},{"name":"'
        'shipment_id","type":"string","doc":"The shipment\'s id."},{"name":"kind","type":{"type":"enum","name"'
        ':"CustomerNoticeKind","doc":"What a customer is told; `UNKNOWN` is what an older reader sees of a ne'
        'wer kind.","symbols":["UNKNOWN","PROMISED","DELIVERED","LATE"],"default":"UNKNOWN"},"doc":"PROMISED,'
        ' then DELIVERED in time or LATE."},{"name":"description","type":"string","doc":"The item as the orde'
        'r names it."},{"name":"promised_on","type":{"type":"int","logicalType":"date"},"doc":"The day that w'
        'as promised."},{"name":"delivered_on","type":["null",{"type":"int","logicalType":"date"}],"doc":"The'
        ' day it arrived; null until it did.","default":null},{"name":"days_late","type":"int","doc":"Days fr'
        'om the promised day to the delivery; 0 where it was in time or is still to come.","default":0}]}',
    )

    customer_id: str
    "Who is told; the topic's key."
    shipment_id: str
    "The shipment's id."
    kind: CustomerNoticeKind
    'PROMISED, then DELIVERED in time or LATE.'
    description: str
    'The item as the order names it.'
    promised_on: datetime.date
    'The day that was promised.'
    delivered_on: datetime.date | None = None
    'The day it arrived; null until it did.'
    days_late: Int = 0
    'Days from the promised day to the delivery; 0 where it was in time or is still to come.'


class Mode(StrEnum):
    'How goods travel; `UNKNOWN` where nobody wrote it down, and what an older reader sees of a newer mode.'

    __avro_name__ = 'shipping.Mode'

    UNKNOWN = 'UNKNOWN'
    AIR = 'AIR'
    AIR_CHARTER = 'AIR_CHARTER'
    OCEAN = 'OCEAN'
    TRUCK = 'TRUCK'


class DeliveryOrder(AvroModel):
    'Books freight: what a delivery service has to carry where, and by when.'

    __avro_name__: ClassVar[str] = 'shipping.DeliveryOrder'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"DeliveryOrder","namespace":"shipping","doc":"Books freight: what a delivery'
        ' service has to carry where, and by when.","fields":[{"name":"destination","type":"string","doc":"Th'
        'e country that it goes to; the topic\'s key."},{"name":"shipment_id","type":"string","doc":"The shipm'
        'ent\'s id."},{"name":"mode","type":{"type":"enum","name":"Mode","doc":"How goods travel; `UNKNOWN` wh'
        'ere nobody wrote it down, and what an older reader sees of a newer mode.","symbols":["UNKNOWN","AIR"'
        ',"AIR_CHARTER","OCEAN","TRUCK"],"default":"UNKNOWN"},"doc":"How it travels.","default":"UNKNOWN"},{"'
        'name":"due_on","type":{"type":"int","logicalType":"date"},"doc":"The day that the customer was promi'
        'sed."},{"name":"weight_kg","type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"sc'
        'ale":3}],"doc":"The weight in kilograms, where it is known.","default":null},{"name":"freight_usd","'
        'type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}],"doc":"The freight '
        'that is booked, in US dollars, where it is known.","default":null}]}',
    )

    destination: str
    "The country that it goes to; the topic's key."
    shipment_id: str
    "The shipment's id."
    mode: Mode = Mode.UNKNOWN
    'How it travels.'
    due_on: datetime.date
    'The day that the customer was promised.'
    weight_kg: Annotated[Decimal, Field(max_digits=12, decimal_places=3)] | None = None
    'The weight in kilograms, where it is known.'
    freight_usd: Annotated[Decimal, Field(max_digits=12, decimal_places=2)] | None = None
    'The freight that is booked, in US dollars, where it is known.'


class ModeWeight(AvroModel):
    'The part of one mode.'

    __avro_name__: ClassVar[str] = 'shipping.ModeWeight'

    mode: Mode = Mode.UNKNOWN
    'How it travels.'
    shipments: Long
    'Shipments.'
    unweighed: Long = 0
    'Those of them whose weight is not known.'
    weight_kg: Annotated[Decimal, Field(max_digits=15, decimal_places=3)]
    'The known weights together, in kilograms.'


class DestinationWeight(AvroModel):
    'What delivery services were asked to carry to one destination so far.'

    __avro_name__: ClassVar[str] = 'shipping.DestinationWeight'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"DestinationWeight","namespace":"shipping","doc":"What delivery services wer'
        'e asked to carry to one destination so far.","fields":[{"name":"destination","type":"string","doc":"'
        'The country; the table\'s key."},{"name":"modes","type":{"type":"array","items":{"type":"record","nam'
        'e":"ModeWeight","doc":"The part of one mode.","fields":[{"name":"mode","type":{"type":"enum","name":'
        '"Mode","doc":"How goods travel; `UNKNOWN` where nobody wrote it down, and what an older reader sees '
        'of a newer mode.","symbols":["UNKNOWN","AIR","AIR_CHARTER","OCEAN","TRUCK"],"default":"UNKNOWN"},"do'
        'c":"How it travels.","default":"UNKNOWN"},{"name":"shipments","type":"long","doc":"Shipments."},{"na'
        'me":"unweighed","type":"long","doc":"Those of them whose weight is not known.","default":0},{"name":'
        '"weight_kg","type":{"type":"bytes","logicalType":"decimal","precision":15,"scale":3},"doc":"The know'
        'n weights together, in kilograms."}]}},"doc":"One entry for each mode used so far, ordered by the mo'
        'de\'s name.","default":[]}]}',
    )

    destination: str
    "The country; the table's key."
    modes: tuple[ModeWeight, ...] = Field(default_factory=lambda: ())
    "One entry for each mode used so far, ordered by the mode's name."


class LateShipment(AvroModel):
    'A shipment arrived after the day that was promised.'

    __avro_name__: ClassVar[str] = 'shipping.LateShipment'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"LateShipment","namespace":"shipping","doc":"A shipment arrived after the da'
        'y that was promised.","fields":[{"name":"shipment_id","type":"string","doc":"The shipment\'s id; the '
        'topic\'s key."},{"name":"customer_id","type":"string","doc":"The customer: the code of the project th'
        'at ordered."},{"name":"destination","type":"string","doc":"The country that it goes to."},{"name":"v'
        'endor","type":"string","doc":"Whose stock it left."},{"name":"mode","type":{"type":"enum","name":"Mo'
        'de","doc":"How goods travel; `UNKNOWN` where nobody wrote it down, and what an older reader sees of '
        'a newer mode.","symbols":["UNKNOWN","AIR","AIR_CHARTER","OCEAN","TRUCK"],"default":"UNKNOWN"},"doc":'
        '"How it travelled.","default":"UNKNOWN"},{"name":"promised_on","type":{"type":"int","logicalType":"d'
        'ate"},"doc":"The day that was promised."},{"name":"delivered_on","type":{"type":"int","logicalType":'
        '"date"},"doc":"The day it arrived."},{"name":"days_late","type":"int","doc":"Days from the promised '
        'day to the delivery, at least 1."}]}',
    )

    shipment_id: str
    "The shipment's id; the topic's key."
    customer_id: str
    'The customer: the code of the project that ordered.'
    destination: str
    'The country that it goes to.'
    vendor: str
    'Whose stock it left.'
    mode: Mode = Mode.UNKNOWN
    'How it travelled.'
    promised_on: datetime.date
    'The day that was promised.'
    delivered_on: datetime.date
    'The day it arrived.'
    days_late: Int
    'Days from the promised day to the delivery, at least 1.'


class Status(StrEnum):
    'What became of a shipment. No default: a status that a reader does not know must be refused, not guessed.'

    __avro_name__ = 'shipping.Status'

    SCHEDULED = 'SCHEDULED'
    DELIVERED = 'DELIVERED'


class Shipment(AvroModel):
    'A shipment as it stands: one row per shipment, the last one holds.'

    __avro_name__: ClassVar[str] = 'shipping.Shipment'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"Shipment","namespace":"shipping","doc":"A shipment as it stands: one row pe'
        'r shipment, the last one holds.","fields":[{"name":"shipment_id","type":"string","doc":"The shipment'
        '\'s id; the table\'s key."},{"name":"status","type":{"type":"enum","name":"Status","doc":"What became '
        'of a shipment. No default: a status that a reader does not know must be refused, not guessed.","symb'
        'ols":["SCHEDULED","DELIVERED"]},"doc":"What became of it last."},{"name":"customer_id","type":"strin'
        'g","doc":"The customer: the code of the project that ordered."},{"name":"destination","type":"string'
        '","doc":"The country that it goes to."},{"name":"promised_on","type":{"type":"int","logicalType":"da'
        'te"},"doc":"The day that the customer was promised."},{"name":"delivered_on","type":["null",{"type":'
        '"int","logicalType":"date"}],"doc":"The day it arrived; null until it did.","default":null}]}',
    )

    shipment_id: str
    "The shipment's id; the table's key."
    status: Status
    'What became of it last.'
    customer_id: str
    'The customer: the code of the project that ordered.'
    destination: str
    'The country that it goes to.'
    promised_on: datetime.date
    'The day that the customer was promised.'
    delivered_on: datetime.date | None = None
    'The day it arrived; null until it did.'


class Product(AvroModel):
    'The goods of a shipment.'

    __avro_name__: ClassVar[str] = 'shipping.Product'

    group: str
    'The group of goods, such as ARV.'
    description: str
    'The item as the order names it.'
    quantity: Long | None = None
    'How many packs; null where the cell is not a number.'
    quantity_raw: str
    'The cell of the quantity as it was written.'
    value_usd: Annotated[Decimal, Field(max_digits=12, decimal_places=2)] | None = None
    'The value in US dollars; null where the cell is not a number.'
    value_raw: str
    'The cell of the value as it was written.'


class ShipmentEvent(AvroModel):
    'A shipment changed its status.'

    __avro_name__: ClassVar[str] = 'shipping.ShipmentEvent'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"ShipmentEvent","namespace":"shipping","doc":"A shipment changed its status.'
        '","fields":[{"name":"shipment_id","type":"string","doc":"The shipment\'s id; the topic\'s key."},{"nam'
        'e":"status","type":{"type":"enum","name":"Status","doc":"What became of a shipment. No default: a st'
        'atus that a reader does not know must be refused, not guessed.","symbols":["SCHEDULED","DELIVERED"]}'
        ',"doc":"What became of it."},{"name":"customer_id","type":"string","doc":"The customer: the code of '
        'the project that ordered."},{"name":"destination","type":"string","doc":"The country that it goes to'
        '."},{"name":"vendor","type":"string","doc":"Whose stock it leaves."},{"name":"mode","type":{"type":"'
        'enum","name":"Mode","doc":"How goods travel; `UNKNOWN` where nobody wrote it down, and what an older'
        ' reader sees of a newer mode.","symbols":["UNKNOWN","AIR","AIR_CHARTER","OCEAN","TRUCK"],"default":"'
        'UNKNOWN"},"doc":"How it travels.","default":"UNKNOWN"},{"name":"promised_on","type":{"type":"int","l'
        'ogicalType":"date"},"doc":"The day that the customer was promised."},{"name":"delivered_on","type":['
        '"null",{"type":"int","logicalType":"date"}],"doc":"The day it arrived; null until it did.","default"'
        ':null},{"name":"product","type":{"type":"record","name":"Product","doc":"The goods of a shipment.","'
        'fields":[{"name":"group","type":"string","doc":"The group of goods, such as ARV."},{"name":"descript'
        'ion","type":"string","doc":"The item as the order names it."},{"name":"quantity","type":["null","lon'
        'g"],"doc":"How many packs; null where the cell is not a number.","default":null},{"name":"quantity_r'
        'aw","type":"string","doc":"The cell of the quantity as it was written."},{"name":"value_usd","type":'
        '["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}],"doc":"The value in US do'
        'llars; null where the cell is not a number.","default":null},{"name":"value_raw","type":"string","do'
        'c":"The cell of the value as it was written."}]},"doc":"What it carries."},{"name":"weight_kg","type'
        '":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":3}],"doc":"The weight in ki'
        'lograms; null where the cell is not a number.","default":null},{"name":"weight_raw","type":"string",'
        '"doc":"The cell of the weight as it was written."},{"name":"freight_usd","type":["null",{"type":"byt'
        'es","logicalType":"decimal","precision":12,"scale":2}],"doc":"The cost of freight in US dollars; nul'
        'l where the cell is not a number.","default":null},{"name":"freight_raw","type":"string","doc":"The '
        'cell of the freight cost as it was written."}]}',
    )

    shipment_id: str
    "The shipment's id; the topic's key."
    status: Status
    'What became of it.'
    customer_id: str
    'The customer: the code of the project that ordered.'
    destination: str
    'The country that it goes to.'
    vendor: str
    'Whose stock it leaves.'
    mode: Mode = Mode.UNKNOWN
    'How it travels.'
    promised_on: datetime.date
    'The day that the customer was promised.'
    delivered_on: datetime.date | None = None
    'The day it arrived; null until it did.'
    product: Product
    'What it carries.'
    weight_kg: Annotated[Decimal, Field(max_digits=12, decimal_places=3)] | None = None
    'The weight in kilograms; null where the cell is not a number.'
    weight_raw: str
    'The cell of the weight as it was written.'
    freight_usd: Annotated[Decimal, Field(max_digits=12, decimal_places=2)] | None = None
    'The cost of freight in US dollars; null where the cell is not a number.'
    freight_raw: str
    'The cell of the freight cost as it was written.'


class WarehouseNoticeKind(StrEnum):
    'What a warehouse is told; `UNKNOWN` is what an older reader sees of a newer kind.'

    __avro_name__ = 'shipping.WarehouseNoticeKind'

    UNKNOWN = 'UNKNOWN'
    PREPARE = 'PREPARE'
    CLOSE = 'CLOSE'


class WarehouseNotice(AvroModel):
    'Tells the warehouse managers of a vendor what to prepare and what is done with.'

    __avro_name__: ClassVar[str] = 'shipping.WarehouseNotice'
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        '{"type":"record","name":"WarehouseNotice","namespace":"shipping","doc":"Tells the warehouse managers'
        ' of a vendor what to prepare and what is done with.","fields":[{"name":"vendor","type":"string","doc'
        '":"Whose stock it leaves; the topic\'s key."},{"name":"shipment_id","type":"string","doc":"The shipme'
        'nt\'s id."},{"name":"kind","type":{"type":"enum","name":"WarehouseNoticeKind","doc":"What a warehouse'
        ' is told; `UNKNOWN` is what an older reader sees of a newer kind.","symbols":["UNKNOWN","PREPARE","C'
        'LOSE"],"default":"UNKNOWN"},"doc":"PREPARE the goods, or CLOSE the order because they arrived."},{"n'
        'ame":"product","type":{"type":"record","name":"Product","doc":"The goods of a shipment.","fields":[{'
        '"name":"group","type":"string","doc":"The group of goods, such as ARV."},{"name":"description","type'
        '":"string","doc":"The item as the order names it."},{"name":"quantity","type":["null","long"],"doc":'
        '"How many packs; null where the cell is not a number.","default":null},{"name":"quantity_raw","type"'
        ':"string","doc":"The cell of the quantity as it was written."},{"name":"value_usd","type":["null",{"'
        'type":"bytes","logicalType":"decimal","precision":12,"scale":2}],"doc":"The value in US dollars; nul'
        'l where the cell is not a number.","default":null},{"name":"value_raw","type":"string","doc":"The ce'
        'll of the value as it was written."}]},"doc":"The goods."},{"name":"due_on","type":{"type":"int","lo'
        'gicalType":"date"},"doc":"The day that the customer was promised."},{"name":"weight_kg","type":["nul'
        'l",{"type":"bytes","logicalType":"decimal","precision":12,"scale":3}],"doc":"The weight in kilograms'
        ', where it is known.","default":null},{"name":"freight_usd","type":["null",{"type":"bytes","logicalT'
        'ype":"decimal","precision":12,"scale":2}],"doc":"The freight that is booked, in US dollars, where it'
        ' is known.","default":null}]}',
    )

    vendor: str
    "Whose stock it leaves; the topic's key."
    shipment_id: str
    "The shipment's id."
    kind: WarehouseNoticeKind
    'PREPARE the goods, or CLOSE the order because they arrived.'
    product: Product
    'The goods.'
    due_on: datetime.date
    'The day that the customer was promised.'
    weight_kg: Annotated[Decimal, Field(max_digits=12, decimal_places=3)] | None = None
    'The weight in kilograms, where it is known.'
    freight_usd: Annotated[Decimal, Field(max_digits=12, decimal_places=2)] | None = None
    'The freight that is booked, in US dollars, where it is known.'
