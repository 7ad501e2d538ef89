"""A story run in memory: one partition for each topic, the real tasks, codecs and stores, and no broker."""

from collections import defaultdict
from itertools import count

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.record import Record, TopicPartition
from streams.state.backend import Backend
from streams.state.task_state import TaskState
from streams.task import Task

BATCH = 5_000  # records from one commit to the next


class Memory:
    """Stands where a story's publisher and topic reader stand."""

    def __init__(self):
        self.topics = defaultdict(list)
        self._ids = defaultdict(count(1).__next__)

    def codec(self, model):
        codec = Codec(model, self._ids[schema_of(model).text])
        for text, schema_id in self._ids.items():
            codec.learn(schema_id, text)
        return codec

    def send(self, topic, values):
        listed = list(values)
        keys, frames = map(topic.key_of(), listed), self.codec(topic.model).encode(listed)
        self.send_raw(Record(topic.name, key, frame, 0) for key, frame in zip(keys, frames, strict=True))

    def send_raw(self, records):
        for record in records:
            log = self.topics[record.topic]
            log.append(record._replace(partition=0, offset=len(log)))

    def raw(self, topic):
        yield self.topics[topic]

    def values(self, topic, model):
        records = self.topics[topic]
        yield list(zip(records, self.codec(model).decode([record.value for record in records]), strict=True))

    def run(self, processor, folder):
        """Run a processor over all that its input holds."""
        state = self._state(processor, folder)
        outputs = [processor.source, *processor.outputs.values()]
        task = Task(processor, {topic.name: self.codec(topic.model) for topic in outputs}, state)
        records = self.topics[processor.source.name]
        done = 0
        while done < len(records):
            step = task.step(records[done : done + BATCH], lambda: False, 0)
            self.send_raw(step.outputs)
            self._commit(state)
            done += step.consumed

    def _state(self, processor, folder):
        behind = {declared: topic for declared, topic in processor.state().items() if declared is not processor.waiting}
        sources = {declared: TopicPartition(topic, 0) for declared, topic in behind.items()}
        models = {store: store.model for store in processor.stores}
        models |= {table: table.topic.model for table in processor.tables}
        codecs = {declared: self.codec(model) for declared, model in models.items()}
        backend = Backend(folder / processor.name, behind.values())
        state = TaskState(backend, sources, codecs)
        for table in processor.tables:
            rows = self.topics[table.name]
            state.follow(sources[table], rows, len(rows))
        return state

    def _commit(self, state):
        changes = state.changes()
        for _, changelog, rows in changes:
            self.send_raw(Record(changelog.topic, key, value, 0) for key, value in rows)
        state.committed(changes, {change.name: 0 for change in changes})
