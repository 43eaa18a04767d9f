"""The one compiled module; all else is in pyproject.toml.

LSTM_SANITIZE=address,undefined builds with these sanitizers, LSTM_DEBUG=1 with symbols, LSTM_ABI3=1 a module
for CPython 3.11 and all later ones; docs/building.md says more.
"""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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
    # Lines are what reports need; with all of -g kernels_avx512.c took 271 s to compile instead of 184.
    compile_args += ["-g1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined"]
    link_args += [f"-fsanitize={sanitizers}"]


class Build(build_ext):
    """Compiles several files at a time, on Windows by clang-cl.

    setuptools would take cl of Visual Studio there, which lacks what the C needs.
    """

    def build_extensions(self):
        """Build all of them."""
        if self.compiler.compiler_type == "msvc":
            clang = shutil.which("clang-cl")
            if clang is None:
                raise SystemExit(
                    "lstm is built on Windows by clang-cl, which is not on the PATH: install the component "
                    "'C++ Clang tools for Windows' of Visual Studio, or LLVM"
                )
            self.compiler.initialize()
            self.compiler.cc = clang
            for extension in self.extensions:
                extension.extra_compile_args = [clang_cl(flag) for flag in extension.extra_compile_args]
                extension.extra_link_args = []
        super().build_extensions()

    def build_extension(self, extension):
        """Build one of them, as many files at a time as `build_ext --parallel N` says, or one a CPU."""
        compile_one = self.compiler.compile
        number = None if self.parallel is True else self.parallel

        def compile_side_by_side(sources, **options):
            with ThreadPoolExecutor(number or os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_one([source], **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_side_by_side
        try:
            super().build_extension(extension)
        finally:
            self.compiler.compile = compile_one


def clang_cl(flag):
    """A flag of clang as clang-cl takes it."""
    return f"/clang:{flag}"


macros = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
is_abi3 = os.environ.get("LSTM_ABI3") == "1"
if is_abi3:
    macros += [("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")]

setup(
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if is_abi3 else {},
    ext_modules=[
        Extension(
            "lstm._kernel.kernel",
            ["lstm/_kernel/kernel.pyx", *files("csrc/*.c")],
            depends=[*files("lstm/**/*.px[di]"), *files("csrc/*.h")],
            include_dirs=["csrc", numpy.get_include()],
            define_macros=macros,
            py_limited_api=is_abi3,
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ],
)
