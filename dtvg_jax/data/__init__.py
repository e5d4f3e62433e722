"""From a SeqIO task to token tables, and from these to the rows of a step."""
