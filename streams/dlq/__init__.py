"""Dead letters and what waits, for the person on call: read, choose by a filter, hand back or give up."""
