"""A run over many records, of which some fail for ever, while workers are killed, join and leave: all are conserved."""
