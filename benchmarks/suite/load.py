"""Sends posts at a fixed rate, whoever is late: `python -m benchmarks.suite.load JOB`. Prints what it sent."""

from __future__ import annotations

import json
import sys
import time

from confluent_kafka import Producer

from benchmarks.programs.wire import Contract
from benchmarks.suite.inputs import frames
from benchmarks.suite.workloads import Input

POOL = 20_000  # posts, sent again and again
TICK = 0.002  # seconds


def main() -> None:
    job = json.loads(sys.argv[1])
    contract = Contract(job["source"]["schema"], job["source"]["id"])
    pool = [
        (frame, key, partition, post is not None and post["audience"] == "PUBLIC")
        for partition, key, _, frame, post in frames(Input(), POOL, contract)
    ]
    producer = Producer({**job["client"], "linger.ms": 5})  # at 1 the requests alone take a core of the broker
    produce, topic, rate = producer.produce, job["source"]["topic"], job["rate"]
    total = int(rate * job["seconds"])
    began, sent, public, late = time.time(), 0, 0, 0.0
    while sent < total:
        due = min(total, int((time.time() - began) * rate))
        late = max(late, time.time() - began - sent / rate)
        for number in range(sent, due):
            frame, key, partition, is_public = pool[number % POOL]
            produce(topic, frame, key, partition, None, None, round((began + number / rate) * 1000))
            public += is_public
        sent = due
        producer.poll(0)
        time.sleep(TICK)
    producer.flush(30)
    print(json.dumps({"sent": sent, "public": public, "began_ms": began * 1000, "late_ms": round(late * 1000)}))


if __name__ == "__main__":
    main()
