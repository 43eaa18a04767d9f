"""Rows of different lengths as lists in a Parquet file, read and written by pyarrow (extra ``arrow``).

Shapes: N rows, T_n steps of row n, S steps of all together, I input, H hidden, O features of h, K outputs,
L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import arrow
from ..formats import FormatError
from ..formats.reading import open_plain
from .blocks import Piece, Work, steps_of_block
from .rows import run_rows

if TYPE_CHECKING:
    from ..model import LSTM


class ParquetRows(Work):
    """Rows (T_n, I): lists of steps in one column, or lists of numbers in one column for every feature."""

    is_flat = True
    unit = "rows"
    lengths = None  # they are known row by row

    def __init__(
        self, net: LSTM, path: str, columns: Sequence[str] | None, block: int | None, keeps_steps: bool
    ) -> None:
        self._arrow = arrow.pyarrow()
        self.net, self.source, self.keeps_steps = net, path, keeps_steps
        self._bytes = open_plain(path)
        try:
            self._file = self._arrow.parquet.ParquetFile(self._bytes)
            self._columns = self._checked_columns(columns)
        except FormatError:
            self._bytes.close()
            raise
        except (self._arrow.ArrowException, OSError) as error:
            self._bytes.close()
            raise FormatError(f"{path} is no Parquet file: {_first_line(error)}") from error
        metadata = self._file.metadata
        self.batch = self.total = metadata.num_rows
        self._groups = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        kind = self._file.schema_arrow.field(self._columns[0]).type
        while arrow.is_list(kind):
            kind = kind.value_type
        self.dtype = str(kind)
        self.rows = self._rows_of_block(block)
        self.steps = 0  # of the longest block so far
        self.blocks = sum(-(-rows // self.rows) for rows in self._groups)
        self._tables = self._read()

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()

    def _checked_columns(self, names: Sequence[str] | None) -> list[str]:
        """The columns to read; FormatError if they are not there, or hold something else."""
        schema = self._file.schema_arrow
        lists = [field.name for field in schema if arrow.depth(field.type)]
        if names is None:
            if len(lists) != 1:
                raise FormatError(
                    f"{self.source} has {'the' if lists else 'no'} columns of lists{': ' * bool(lists)}"
                    f"{', '.join(lists)}; name those of X by --columns"
                )
            names = lists
        size = self.net.input_size
        depth = 1 if len(names) > 1 or size == 1 else 2
        for name in names:
            if schema.get_field_index(name) < 0:
                raise FormatError(
                    f"{self.source} has no column {name!r}, but {', '.join(map(repr, schema.names))}"
                )
            kind = schema.field(name).type
            found = arrow.depth(kind)
            if found != depth and not (found == 2 and len(names) == 1):
                wanted = arrow.told(depth, size)
                raise FormatError(f"{self.source}: column {name!r} is of {kind}, but must be of {wanted}")
        if len(names) not in (1, size):
            raise FormatError(
                f"--columns names {len(names)}, but this LSTM takes input_size={size}: a column for each "
                "feature, or one of lists of steps"
            )
        return list(names)

    def _rows_of_block(self, block: int | None) -> int:
        """So many rows have about `block` steps together, or what BLOCK_BYTES hold."""
        steps = block or steps_of_block(self.net, 8, self.keeps_steps)
        wanted = {self._file.schema_arrow.get_field_index(name) for name in self._columns}
        names = {self._file.schema_arrow.names[k] for k in wanted}
        values = 0
        for group in range(len(self._groups)):
            for k in range(self._file.metadata.num_columns):
                column = self._file.metadata.row_group(group).column(k)
                if column.path_in_schema.partition(".")[0] in names:
                    values += column.num_values
        mean = max(1.0, values / max(1, self.net.input_size * sum(self._groups)))
        return max(1, int(steps / mean))

    @property
    def steps_shape(self) -> None:
        """How many steps there are is not known before all is read."""
        return None

    def pieces(self) -> Iterator[Piece]:
        """Rows of one row group each."""
        first = 0
        for rows in self._groups:
            for start in range(first, first + rows, self.rows):
                yield Piece(slice(start, min(start + self.rows, first + rows)), slice(0, 0), True)
            first += rows

    def amount(self, piece: Piece) -> int:
        """Rows."""
        return int(piece.rows.stop - piece.rows.start)

    def _read(self) -> Iterator[Any]:
        """Tables of the pieces, one after the other."""
        for group, rows in enumerate(self._groups):
            batches = self._file.iter_batches(
                self.rows, row_groups=[group], columns=self._columns, use_threads=False
            )
            table = None
            for start in range(0, rows, self.rows):
                count = min(self.rows, rows - start)
                while table is None or table.num_rows < count:
                    batch = self._arrow.Table.from_batches([next(batches)])
                    table = batch if table is None else self._arrow.concat_tables([table, batch])
                yield table.slice(0, count)
                table = table.slice(count)

    def skip(self, piece: Piece) -> None:
        """Pass over a piece."""
        self._next()

    def _next(self) -> Any:
        try:
            return next(self._tables)
        except (self._arrow.ArrowException, OSError, StopIteration) as error:
            raise FormatError(f"{self.source} is damaged: {_first_line(error)}") from error

    def compute(self, piece: Piece, h: np.ndarray, C: np.ndarray) -> np.ndarray | None:
        """h (L D, N, O) and C (L D, N, H) in and out: Y (1, S, D O), if it is wanted."""
        table = self._next()
        columns = [table.column(name) for name in self._columns]
        try:
            X, self.piece_lengths = arrow.flat(columns, self.net.input_size, piece.rows.start)
        except (TypeError, ValueError) as error:
            named = ", ".join(self._columns)
            raise FormatError(f"{self.source}, {named}: {error}") from error
        self.steps = max(self.steps, len(X))
        return run_rows(self.net, X, np.cumsum(self.piece_lengths)[:-1], h, C, self.keeps_steps)

    def check_end(self) -> None:
        """All is read as the file says."""

    def too_large(self, piece: Piece) -> str:
        """Say what there is not enough memory for, and what helps."""
        return f"there is not enough memory for {self.rows} rows; a smaller --block needs less"


class ParquetOutputs:
    """A Parquet file with a column h: a list of numbers for every row, or a list of them for every step."""

    def __init__(self, path: str, work: Work, is_last: bool) -> None:
        self._arrow = arrow.pyarrow()
        self._work, self._is_last = work, is_last
        kind = self._arrow.list_(self._arrow.from_numpy_dtype(work.net.dtype))
        kind = kind if is_last else self._arrow.list_(kind)
        self._schema = self._arrow.schema([self._arrow.field("h", kind)])
        # Floats do not compress, and every reader reads what is not compressed.
        self._file = self._arrow.parquet.ParquetWriter(path, self._schema, compression="none")

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def write(self, rows: slice, steps: slice, block: np.ndarray) -> None:
        """Take (1, N, K) or (1, S, K) of the piece that has just been computed."""
        lengths = None
        if not self._is_last:
            assert isinstance(self._work, ParquetRows)
            lengths = self._work.piece_lengths
        column = arrow.lists(block[0], lengths)
        self._file.write_table(self._arrow.Table.from_arrays([column], schema=self._schema))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
