"""The one compiled module; all else is in pyproject.toml.

LSTM_SANITIZE=address,undefined builds with these sanitizers, LSTM_DEBUG=1 with symbols.
"""

import os
import sys
from pathlib import Path

import numpy
from setuptools import Extension, setup

HERE = Path(__file__).parent


def files(pattern):
    """The project's files of this pattern, named as setuptools wants them."""
    return sorted(path.relative_to(HERE).as_posix() for path in HERE.glob(pattern))


# Contraction would fuse a product and a sum on one ISA and not on another: other bits.
compile_args = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]
# The loops over k are shorter than a cache line, and slower where they lie across two.
compile_args += ["-falign-loops=64"]
link_args = ["-pthread"]
if os.environ.get("LSTM_DEBUG") == "1":
    compile_args += ["-g"]
else:
    compile_args += ["-g0"]
    link_args += ["-Wl,-s"] if sys.platform == "linux" else []
if sanitizers := os.environ.get("LSTM_SANITIZE"):
    compile_args += ["-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined"]
    link_args += [f"-fsanitize={sanitizers}"]

setup(
    ext_modules=[
        Extension(
            "lstm._kernel.kernel",
            ["lstm/_kernel/kernel.pyx", *files("csrc/*.c")],
            depends=[*files("lstm/**/*.pxd"), *files("csrc/*.h")],
            include_dirs=["csrc", numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ]
)
