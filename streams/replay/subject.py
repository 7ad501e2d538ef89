"""Which group a command is about: what it reads, and where its state lies."""

from __future__ import annotations

from typing import NamedTuple

from streams.errors import UsageError
from streams.kafka.admin import Admin
from streams.topology import Processor


class Subject(NamedTuple):
    """A consumer group with the topics that it reads, the changelogs of its state and the topic of waiting records.

    These need not exist. `complete` says that it has no other state: found by the group's name alone, stores whose
    changelog has a public name are not among them. `main` says that `topics` are its input, from which its state comes.
    """

    group: str
    topics: tuple[str, ...]
    changelogs: tuple[str, ...]
    waiting: str
    complete: bool
    main: bool = True


def subject_of(processor: Processor) -> Subject:
    """Return the group of a processor; its re-driven records stay where they are."""
    changelogs = tuple(processor.changelog(store) for store in processor.kept)
    return Subject(processor.group, (processor.source.name,), changelogs, _waiting(processor.group), complete=True)


def subject_named(admin: Admin, group: str) -> Subject:
    """Return a group by what lies in Kafka under its name.

    Raises:
        UsageError: there is no such group, or it has committed nothing.
    """
    admin.group(group)
    read = {tp.topic for tp in admin.committed(group)} - {f"{group}.redrive"}
    if not read:
        raise UsageError(
            f"group {group} has committed nothing, so its topics are not known", fix="name MODULE:APP instead"
        )
    found = (name for name in admin.topics() if name.startswith(f"{group}.") and name.endswith(".changelog"))
    return Subject(group, tuple(sorted(read)), tuple(sorted(found)), _waiting(group), complete=False)


def aside(admin: Admin, subject: Subject, topic: str) -> Subject:
    """Return the same group for a topic that is not its input, as that of its re-driven records.

    Raises:
        UsageError: the group does not read it.
    """
    if topic not in {f"{subject.group}.redrive", *(tp.topic for tp in admin.committed(subject.group))}:
        raise UsageError(
            f"group {subject.group} does not read topic {topic}",
            fix=f"use {', '.join(subject.topics)}, or leave it out",
        )
    return subject._replace(topics=(topic,), main=False)


def _waiting(group: str) -> str:
    return f"{group}.waiting"
