"""TensorBoard's event files, written where they are asked for.

tensorboardX's own SummaryWriter writes in a thread of its own: where the disk is full,
that thread dies with a traceback, and the program waits for it for ever.
"""

import importlib
import os
import pathlib
import time

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.summary import scalar

from dtvg_jax import files

# Protocol buffers make their classes when they are imported: types do not know them.
event_pb2 = importlib.import_module("tensorboardX.proto.event_pb2")


def open_events(folder: pathlib.Path, step: int, others: int) -> EventsWriter:
    """Opens a new file; TensorBoard forgets what the `others` say from `step` on."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.naming(folder):
        # Files are named by the second they were opened in: a number keeps two apart.
        writer = EventsWriter(os.path.join(folder, "events"), f".{others}")
        if others:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            writer.write_event(event_pb2.Event(step=step, file_version="brain.Event:2"))
            writer.write_event(event_pb2.Event(step=step, session_log=start))
    return writer


def write_scalar(writer: EventsWriter, tag: str, value: float, step: int) -> None:
    """Appends a point of a curve; an error of the system names the file."""
    summary, now = scalar(tag, value), time.time()
    point = event_pb2.Event(summary=summary, step=step, wall_time=now)
    with files.naming(writer._file_name):
        writer.write_event(point)
