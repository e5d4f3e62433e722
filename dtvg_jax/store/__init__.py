"""Learned prompts on disk, with metadata; import and export of prompts."""
