"""A user's JSON lines and CSV files as SeqIO sources; a bad row is named in a sentence.

A file is read and checked as a whole before its first row is yielded, and then read
again: an error within tf.data cannot tell which row of which file caused it.
"""

import codecs
import csv
import gzip
import itertools
import json
import math
import os
import reprlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import seqio
import tensorflow as tf

CHUNK_ROWS = 1024  # rows that go from Python to tf.data at once
LONGEST = 2**26  # characters of a line or cell: a whole file would be one by mistake
# The library refuses cells of more than 131,072 characters, which a long document has.
csv.field_size_limit(LONGEST)

Row = dict[str, str]
Path = str | os.PathLike
Paths = Mapping[str, Path | Sequence[Path]]
Classes = Mapping[str, Iterable[str]]
# A place such as "train.csv, line 3", and its content.
Places = Iterator[tuple[str, Any]]


def json_rows(
    files: Paths, fields: Iterable[str], classes: Classes | None = None
) -> seqio.FileDataSource:
    """Read files with a JSON object in every line; empty lines are left out.

    Rows have texts only: numbers, true and false come as JSON writes them. A field is
    missing where it is absent, null or NaN; fields not named are not looked at.

    Args:
      files: of each split a path, or several, or a pattern such as "train-*.jsonl";
        a name that ends with .gz is decompressed.
      fields: those that rows have.
      classes: further fields of rows, with the texts that each may have.

    Raises:
      ValueError: by `get_dataset`, where a file has no rows or a bad one. It names the
        file, the line and the field.
    """
    return _RowSource(files, _json_objects, list(fields), classes or {})


def csv_rows(
    files: Paths,
    fields: Iterable[str],
    classes: Classes | None = None,
    delimiter: str = ",",
    quoted: bool | None = None,
) -> seqio.FileDataSource:
    """Read CSV files whose first line names the columns; empty lines are left out.

    A field is missing where its cell is empty; columns not named are not looked at.

    Args:
      files: see `json_rows`.
      fields: see `json_rows`.
      classes: see `json_rows`.
      delimiter: between columns, a tab for TSV.
      quoted: whether texts may be quoted, and then hold delimiters and line ends.
        Otherwise a quotation mark is a character as any other. By default CSV is
        quoted and TSV, as most programs write it, is not.

    Raises:
      ValueError: see `json_rows`.
    """
    names, classes = list(fields), classes or {}
    may_quote = delimiter != "\t" if quoted is None else quoted
    quoting = csv.QUOTE_MINIMAL if may_quote else csv.QUOTE_NONE

    def records(file: str) -> Places:
        cells = _csv_cells(file, delimiter, quoting)
        return _csv_records(cells, delimiter, [*names, *classes])

    return _RowSource(files, records, names, classes)


class _RowSource(seqio.FileDataSource):
    def __init__(
        self,
        files: Paths,
        read: Callable[[str], Places],
        fields: Sequence[str],
        classes: Classes,
    ):
        known = {name: tuple(map(_plain, texts)) for name, texts in classes.items()}
        names = [*fields, *known]
        signature = {name: tf.TensorSpec([None], tf.string) for name in names}
        # For code that needs the fields of a row before there is any file.
        self.element_spec = {name: tf.TensorSpec([], tf.string) for name in names}

        def rows(file: str) -> Iterator[Row]:
            for place, record in read(file):
                yield {n: _text(place, record, n, known.get(n)) for n in names}

        def chunks(file: bytes) -> Iterator[dict[str, list[bytes]]]:
            left = rows(file.decode())
            while chunk := list(itertools.islice(left, CHUNK_ROWS)):
                yield {name: [row[name].encode() for row in chunk] for name in names}

        def dataset(file: tf.Tensor) -> tf.data.Dataset:
            chunked = tf.data.Dataset.from_generator(
                chunks, output_signature=signature, args=(file,)
            )
            return chunked.unbatch()

        lists = {
            split: [paths] if isinstance(paths, Path) else paths
            for split, paths in files.items()
        }
        super().__init__(
            dataset, {s: [os.fspath(p) for p in paths] for s, paths in lists.items()}
        )
        self._rows = rows

    def list_shards(self, split: str) -> Sequence[str]:
        """List the files of a split; an existing path is not a pattern."""
        patterns = self._split_to_filepattern[split]
        if all(map(os.path.isfile, patterns)):
            return list(patterns)
        return super().list_shards(split)

    def get_dataset(
        self, split: str = "train", *args: Any, **kwargs: Any
    ) -> tf.data.Dataset:
        """Check the files of a split, then read them.

        Raises:
          ValueError: see `json_rows`.
        """
        for file in self.list_shards(split):
            if sum(1 for _ in self._rows(file)) == 0:
                raise ValueError(f"{file} has no rows")
        return super().get_dataset(split, *args, **kwargs)


def _json_objects(file: str) -> Places:
    for number, line in enumerate(_lines(file), 1):
        if line.strip():
            place = f"{file}, line {number}"
            yield place, _json_object(place, line)


def _json_object(place: str, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        _check_utf8(place, line)
        why = error
        if isinstance(error, json.JSONDecodeError):
            why = f"{error.msg} at column {error.colno}"
        raise ValueError(f"{place}: this is not JSON: {why}") from None
    if not isinstance(found, dict):
        raise ValueError(
            f"{place}: this is {reprlib.repr(found)}, it must be a JSON object, "
            'such as {"text": "..."}'
        )
    return found


def _csv_records(rows: Places, delimiter: str, fields: Sequence[str]) -> Places:
    for place, header in itertools.islice(rows, 1):
        for name in fields:
            if header.count(name) != 1:
                columns = ", ".join(map(repr, header))
                raise ValueError(
                    f"{place}: the field {name!r} must be the name of one column, the "
                    f"columns are {columns}"
                )
        for place, cells in rows:
            if len(cells) < len(header):
                raise ValueError(
                    f"{place}: the field {header[len(cells)]!r} is missing: the row "
                    f"has {len(cells)} of {len(header)} columns"
                )
            if len(cells) > len(header):
                raise ValueError(
                    f"{place}: the row has {len(cells)} columns, the header "
                    f"{len(header)}, {header[-1]!r} the last: quote a text that has "
                    f"{delimiter!r} in it"
                )
            named = zip(header, cells, strict=True)
            yield place, {name: cell or None for name, cell in named}


def _csv_cells(file: str, delimiter: str, quoting: Any) -> Places:
    lines = _lines(file, newline="")
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        place = f"{file}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{place}: this is not CSV: {error}") from None
        if cells is None:
            return
        if cells:
            yield place, cells


def _text(
    place: str, record: Mapping[str, Any], name: str, classes: Sequence[str] | None
) -> str:
    value, where = record.get(name), f"{place}: the field {name!r}"
    if value is None:
        raise ValueError(f"{where} is missing")
    if isinstance(value, list | dict):
        raise ValueError(f"{where} is {reprlib.repr(value)}: it must be a text")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is too large a number")
    text = _plain(value)
    _check_utf8(where, text)
    if "\0" in text:
        raise ValueError(f"{where} has a NUL character: it is not text")
    if classes is not None and text not in classes:
        raise ValueError(
            f"{where} is {reprlib.repr(text)}: it must be one of "
            f"{', '.join(map(repr, classes))}"
        )
    return text


def _plain(value: Any) -> str:
    """Write a number, true or false as JSON does; a text stays as it is."""
    return value if isinstance(value, str) else json.dumps(value)


def _lines(file: str, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file, none longer than LONGEST."""
    try:
        with _open(file, newline) as lines:
            for number in itertools.count(1):
                line = lines.readline(LONGEST + 1)
                if len(line) > LONGEST:
                    raise ValueError(
                        f"{file}, line {number}: the line has more than {LONGEST:,} "
                        "characters"
                    )
                if not line:
                    return
                yield line
    except (OSError, EOFError, zlib.error) as error:  # the last two of gzip
        raise ValueError(f"{file} cannot be read: {error}") from None


def _open(file: str, newline: str | None = None) -> IO[str]:
    """Open a text file, compressed or not; a byte order mark is left out.

    A byte that is not UTF-8 is kept as half a surrogate pair until it is known which
    field has it.
    """
    opener = gzip.open if file.endswith(".gz") else open
    with opener(file, "rb") as raw:
        if raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(f"{file} is UTF-16: save it as UTF-8")
    return opener(
        file, "rt", encoding="utf-8-sig", errors="surrogateescape", newline=newline
    )


def _check_utf8(where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} is not UTF-8 at character {error.start + 1}: save the file in "
            "that encoding"
        ) from None
