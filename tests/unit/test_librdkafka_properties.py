"""The list of properties that pass through is the installed client's."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from streams.settings import OURS, librdkafka_properties


def known(client: type, name: str) -> bool:
    """Ask the client, which without an address connects to nothing."""
    base = {"group.id": "g", "log_level": "0"} if client is Consumer else {"log_level": "0"}
    try:
        client({**base, name: "impossible"})
    except KafkaException as raised:
        error = raised.args[0]
        assert error.code() == KafkaError._INVALID_ARG
        return "No such configuration property" not in error.str()
    except (TypeError, ValueError):  # a callback: known, and wants a function
        return True
    return True


def test_every_listed_property_is_known_to_the_installed_client() -> None:
    listed = librdkafka_properties()
    print(f"compared {len(listed)} properties")
    assert len(listed) > 150
    assert set(listed.values()) == {"C", "P", "*"}
    unknown = [name for name in listed if not known(Consumer if listed[name] == "C" else Producer, name)]
    assert unknown == []


def test_the_check_can_fail() -> None:
    assert not known(Producer, "linger.sm")


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_is_ours_is_a_property_at_all(name: str) -> None:
    assert name in librdkafka_properties()
