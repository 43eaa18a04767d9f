"""Lets threadpoolctl limit the threads of this package, whichever of the two is imported first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import util
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ._version import __version__

NAME = "threadpoolctl"


def announce() -> None:
    """Register with threadpoolctl if it is imported, or as soon as it is; it is not imported for that."""
    if NAME in sys.modules:
        _register(sys.modules[NAME])
    else:
        sys.meta_path.insert(0, _Watch())


def _register(threadpoolctl: Any) -> None:
    class LSTMController(threadpoolctl.LibController):  # type: ignore[misc]
        """The threads of lstm, for ``threadpool_limits`` and ``threadpool_info``."""

        user_api = "lstm"
        internal_api = "lstm"
        filename_prefixes = ("kernel",)  # of the extension module; the symbols tell it from others
        check_symbols = ("lstm_get_num_threads", "lstm_set_num_threads")

        def get_num_threads(self) -> int:
            return int(self.dynlib.lstm_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.lstm_set_num_threads(num_threads)

        def get_version(self) -> str:
            return __version__

    threadpoolctl.register(LSTMController)


class _Watch(MetaPathFinder):
    """Waits for the import of threadpoolctl, which is then done as without it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        sys.meta_path.remove(self)
        spec = util.find_spec(NAME)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            _register(module)

        loader.exec_module = execute_and_register
        return spec
