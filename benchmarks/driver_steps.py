"""What a step of the driver in memory costs: one post into the social story, worked off by its four processors.

    python benchmarks/driver_steps.py [--json] [--steps N] [--friends N]

A step is one `send`: encoded, appended, polled, decoded, handled, encoded, produced and committed by every processor
that it reaches, state and changelogs included. Time is that of the steps alone; the verdicts come after it.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from datetime import UTC, datetime, timedelta

import structlog

from stories.social.app import app, feed_items, followers, posts
from stories.social.events import Followers, PostPublished

PEOPLE = 200
START = datetime(2024, 1, 1, tzinfo=UTC)


def measure(steps: int, friends: int) -> dict[str, float]:
    """Run the steps, and hold what they left against what it has to be."""
    rng = random.Random(1)
    with app.test() as driver:
        for person in range(PEOPLE):
            reached = tuple(sorted({str(rng.randrange(PEOPLE)) for _ in range(friends)}))
            driver.send(followers, Followers(user_id=str(person), friend_ids=reached))
        made = [_post(number, str(rng.randrange(PEOPLE))) for number in range(steps)]
        wall, cpu = time.perf_counter(), time.process_time()
        for post in made:
            driver.send(posts, post)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        compared = driver.assert_no_loss() + driver.assert_no_duplicates() + driver.assert_order_per_key()
        records = steps + 2 * len(driver.published(feed_items)) + steps
    return {
        "steps": steps,
        "records": records,
        "compared": compared,
        "seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "us_per_step": round(wall / steps * 1e6),
    }


def _post(number: int, author: str) -> PostPublished:
    at = START + timedelta(seconds=number)
    return PostPublished(post_id=f"p{number}", author_id=author, posted_at=at, text="rain again")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--friends", type=int, default=3)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    figures = measure(chosen.steps, chosen.friends)
    print(json.dumps(figures) if chosen.json else "\n".join(f"{name:12} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
