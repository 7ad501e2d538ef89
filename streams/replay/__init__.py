"""Reading again: where a group goes on (`reset`), and the same handler over past records beside it (`rerun`)."""
