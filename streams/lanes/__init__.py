"""Lanes: handlers that wait run ahead of `step`, beside each other, the records of a key in their order."""
