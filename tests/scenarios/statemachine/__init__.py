"""Random faults over the cluster in memory: run as `python -m tests.scenarios.statemachine --runs 200 --json`."""
