"""SeqIO tasks. `import tasks.all` registers them; this package itself imports nothing."""
