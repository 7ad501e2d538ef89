"""Who takes part, in which environment, with what work and which settings.

`missing` names the work that a contender cannot do, with the reason: a row of n/a, never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.suite.environments import Environment, JavaEnvironment, Own, PythonEnvironment
from benchmarks.suite.workloads import EXACTLY_ONCE, Guarantee, Kind, Workload

OURS, HANDWRITTEN, KAFKA_STREAMS = "ours", "handwritten", "kafka_streams"
FASTAVRO = "fastavro==1.13.1"  # the same codec for every contender in Python that brings none


@dataclass(frozen=True)
class Contender:
    """`reads` names the settings of the job that it takes (settings.py).

    `share` is the part of a tier's records that it gets: who is slow would take hours, and a rate needs no more; the
    JVM's compilers need more of them until they are done. With `columns` it groups by columns, else record by record.
    """

    name: str
    title: str
    environment: Environment
    program: str
    reads: tuple[str, ...]
    guarantees: Mapping[Guarantee, str] = field(default_factory=dict)
    missing: Mapping[Kind, str] = field(default_factory=dict)
    share: float = 1.0
    columns: bool = False

    def kind_of(self, kind: Kind) -> Kind:
        """Return the work that its program is asked for."""
        return "count" if kind == "group" and not self.columns else kind

    def not_available(self, workload: Workload) -> str | None:
        """Return why it has no row for a workload, None if it has one."""
        return self.guarantees.get(workload.guarantee) or self.missing.get(workload.kind)


_OWN = Own(("confluent-kafka", "fastavro", "pydantic", "pyarrow", "pyruhvro"))
_CONTENDERS = (
    Contender(
        OURS,
        "the toolkit: an app with typed models, run by its worker",
        _OWN,
        "ours",
        ("toolkit", "consumer", "producer"),
        columns=True,
    ),
    Contender(
        HANDWRITTEN,
        "a loop by hand: confluent-kafka, fastavro, dicts",
        _OWN,
        "handwritten",
        ("consumer", "producer"),
        columns=True,
    ),
    Contender(
        KAFKA_STREAMS,
        "Kafka Streams (Java): one thread",
        JavaEnvironment(
            "kafka-streams",
            ("org.apache.kafka:kafka-streams:4.3.1", "org.apache.avro:avro:1.12.1"),
            compiler="org.eclipse.jdt:ecj:3.44.0",
            options=("-Xms256m", "-Xmx1g"),
        ),
        "KafkaStreamsWork",
        ("java",),
        share=2,
    ),
    Contender(
        "quix",
        "Quix Streams: a StreamingDataFrame over bytes",
        PythonEnvironment("quix", ("quixstreams==3.28.1", "confluent-kafka==2.12.2", FASTAVRO)),
        "quix",
        ("fetch", "send"),
        share=0.5,
    ),
    Contender(
        "bytewax",
        "bytewax: a dataflow with one worker and a recovery store",
        PythonEnvironment("bytewax", ("bytewax[kafka]==0.21.1", "confluent-kafka==2.16.1", FASTAVRO)),
        "bytewax_flow",
        ("fetch", "send"),
        {EXACTLY_ONCE: "its Kafka sink has no transactions"},
    ),
    Contender(
        "faust",
        "Faust (faust-streaming): an agent",
        PythonEnvironment("faust", ("faust-streaming==0.15.3", "aiokafka[lz4]==0.14.0", FASTAVRO)),
        "faust_app",
        ("send",),
        share=0.1,
    ),
    Contender(
        "faststream",
        "FastStream over confluent-kafka: a batch subscriber",
        PythonEnvironment("faststream", ("faststream[confluent]==0.7.8", "confluent-kafka==2.16.1", FASTAVRO)),
        "faststream_app",
        ("fetch", "send"),
        {EXACTLY_ONCE: "it does not put outputs and offsets into one transaction"},
        {"count": "it keeps no state", "group": "it keeps no state"},
        share=0.5,
    ),
)
CONTENDERS: Mapping[str, Contender] = {contender.name: contender for contender in _CONTENDERS}
