"""SeqIO tasks. `import tasks.all` registers them; this package imports nothing."""
