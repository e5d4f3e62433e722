"""A job: settings, plan, folder, both stages, results; the same from Python."""
