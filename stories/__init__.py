"""The stories of the design as runnable apps."""
