"""The commands of ``lstm``: one file each, which imports what it works with once it runs."""

from ..startup import let_signals_end_command

let_signals_end_command()
