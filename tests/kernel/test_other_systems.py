"""The C for systems that this machine is not: compiled by clang, with just enough of their headers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import ROOT

CSRC = ROOT / "csrc"
SOURCES = sorted(CSRC.glob("*.c"))
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
LIBRARY = {
    "math.h": """
        float fmaf(float, float, float), sqrtf(float), fabsf(float), copysignf(float, float);
        double fma(double, double, double), sqrt(double), fabs(double), copysign(double, double);
        #define INFINITY __builtin_inff()
        #define NAN __builtin_nanf("")
    """,
    "string.h": """
        #include <stddef.h>
        void *memcpy(void *, const void *, size_t), *memset(void *, int, size_t);
        void *memmove(void *, const void *, size_t);
    """,
    "stdlib.h": """
        #include <stddef.h>
        void *malloc(size_t), *calloc(size_t, size_t);
        void free(void *);
        int posix_memalign(void **, size_t, size_t);
    """,
}
HEADERS = {
    "pc-windows-msvc": {
        **LIBRARY,
        "time.h": "",
        "malloc.h": """
            #include <stddef.h>
            void *_aligned_malloc(size_t, size_t);
            void _aligned_free(void *);
        """,
        "windows.h": """
            typedef unsigned long DWORD;
            typedef void *HANDLE;
            #define NTAPI __stdcall
            typedef struct { void *Ptr; } SRWLOCK;
            #define SRWLOCK_INIT {0}
            void NTAPI AcquireSRWLockExclusive(SRWLOCK *);
            void NTAPI ReleaseSRWLockExclusive(SRWLOCK *);
            typedef void(NTAPI *PFLS_CALLBACK_FUNCTION)(void *);
            #define FLS_OUT_OF_INDEXES 0xFFFFFFFFUL
            DWORD NTAPI FlsAlloc(PFLS_CALLBACK_FUNCTION);
            void *NTAPI FlsGetValue(DWORD);
            int NTAPI FlsSetValue(DWORD, void *);
            typedef union { long long QuadPart; } LARGE_INTEGER;
            int NTAPI QueryPerformanceCounter(LARGE_INTEGER *);
            int NTAPI QueryPerformanceFrequency(LARGE_INTEGER *);
            typedef struct { DWORD dwLowDateTime, dwHighDateTime; } FILETIME;
            int NTAPI GetThreadTimes(HANDLE, FILETIME *, FILETIME *, FILETIME *, FILETIME *);
            HANDLE NTAPI GetCurrentThread(void);
        """,
    },
    "apple-macosx11": {
        **LIBRARY,
        "time.h": """
            typedef long time_t;
            struct timespec { time_t tv_sec; long tv_nsec; };
            typedef enum { CLOCK_REALTIME, CLOCK_MONOTONIC = 6, CLOCK_THREAD_CPUTIME_ID = 16 } clockid_t;
            int clock_gettime(clockid_t, struct timespec *);
        """,
        "sys/mman.h": """
            #include <stddef.h>
            enum { PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x1000 };
            #define MAP_FAILED ((void *)-1)
            void *mmap(void *, size_t, int, int, int, long long);
            int munmap(void *, size_t);
        """,
        "signal.h": """
            typedef unsigned sigset_t;
            enum { SIG_SETMASK = 3 };
            int sigfillset(sigset_t *);
        """,
        "pthread.h": """
            #include <signal.h>
            #include <time.h>
            typedef struct { long sig; char opaque[56]; } pthread_mutex_t, pthread_cond_t, pthread_attr_t;
            typedef struct thread *pthread_t;
            typedef unsigned long pthread_key_t;
            #define PTHREAD_MUTEX_INITIALIZER {0x32AAABA7, {0}}
            #define PTHREAD_COND_INITIALIZER {0x3CB0B1BB, {0}}
            enum { PTHREAD_CREATE_DETACHED = 2 };
            int pthread_mutex_lock(pthread_mutex_t *), pthread_mutex_unlock(pthread_mutex_t *);
            int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *);
            int pthread_cond_broadcast(pthread_cond_t *);
            int pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
            int pthread_attr_init(pthread_attr_t *), pthread_attr_destroy(pthread_attr_t *);
            int pthread_attr_setdetachstate(pthread_attr_t *, int);
            int pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
            int pthread_sigmask(int, const sigset_t *, sigset_t *);
            int pthread_key_create(pthread_key_t *, void (*)(void *));
            int pthread_setspecific(pthread_key_t, const void *);
            void *pthread_getspecific(pthread_key_t);
            int pthread_atfork(void (*)(void), void (*)(void), void (*)(void));
        """,
    },
}
BUILD = """
import json, sys, types
import setuptools
from distutils.core import run_setup
from setuptools.command.build_ext import build_ext

built = run_setup("setup.py", stop_after="init")
command = built.cmdclass["build_ext"](built)
command.extensions = built.ext_modules
command.compiler = types.SimpleNamespace(compiler_type="msvc", initialize=lambda: None)
build_ext.build_extensions = lambda self: None
command.build_extensions()
extension, = command.extensions
print(json.dumps([command.compiler.cc, extension.extra_compile_args, extension.extra_link_args]))
"""

needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="no clang here")


def folder_of(headers: dict[str, str], folder: Path) -> Path:
    folder.mkdir()
    for name, text in headers.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"#pragma once\n{text}\n")
    return folder


@needs_clang
@pytest.mark.parametrize(
    ("cpu", "system"),
    [("x86_64", "pc-windows-msvc"), ("aarch64", "pc-windows-msvc"), ("aarch64", "apple-macosx11")],
)
def test_every_source_compiles_with_all_isas(cpu: str, system: str, tmp_path: Path) -> None:
    """What has no name of POSIX left where there is none; clang's own headers are all that it adds."""
    told = subprocess.run(["clang", "-print-resource-dir"], capture_output=True, text=True, check=True)
    includes = [CSRC, folder_of(HEADERS[system], tmp_path / "headers"), Path(told.stdout.strip()) / "include"]
    options = [word for folder in includes for word in ("-isystem" if folder != CSRC else "-I", str(folder))]
    command = ["clang", f"--target={cpu}-{system}", "-std=c11", "-O0", "-ffreestanding", "-nostdinc"]
    command += [*options, *WARNINGS, "-ffp-contract=off"]
    for source in SOURCES:
        target = tmp_path / f"{source.stem}.o"
        call = [*command, "-c", str(source), "-o", str(target)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    names = (tmp_path / "isas.o").read_bytes()
    expected = {"x86_64": (b"lstm_isa_avx2", b"lstm_isa_avx512"), "aarch64": (b"lstm_isa_neon",)}[cpu]
    for isa in (b"lstm_isa_generic", *expected):
        assert isa in names
    if "windows" in system:
        exported = (tmp_path / "thread_pool.o").read_bytes()
        assert b"EXPORT:lstm_get_num_threads" in exported
        assert b"EXPORT:lstm_set_num_threads" in exported


@needs_clang
@pytest.mark.parametrize(
    ("definition", "words"),
    [("__MINGW32__", "fmaf of MinGW rounds twice"), ("_MSC_VER", "build it with clang-cl")],
)
def test_a_compiler_of_other_bits_is_refused(definition: str, words: str, tmp_path: Path) -> None:
    command = ["clang", "-std=c11", f"-D{definition}=1", "-U__clang__", "-fsyntax-only", "-I", str(CSRC)]
    for source in SOURCES:
        done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert words in done.stderr


def test_visual_studio_builds_with_clang_cl_or_is_told_of_it(tmp_path: Path) -> None:
    pytest.importorskip("Cython")
    call = [sys.executable, "-c", BUILD]
    nowhere = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(call, cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "C++ Clang tools for Windows" in done.stderr
    clang = tmp_path / "clang-cl"
    clang.write_text("")
    clang.chmod(0o755)
    done = subprocess.run(call, cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    compiler, flags, linked = json.loads(done.stdout)
    assert (compiler, linked) == (str(clang), [])
    assert {"/clang:-ffp-contract=off", "/clang:-std=c11"} < set(flags)
    assert all(flag.startswith("/clang:") for flag in flags)


STABLE = """
import json
import setuptools
from distutils.core import run_setup

built = run_setup("setup.py", stop_after="init")
(extension,) = built.ext_modules
option = built.get_option_dict("bdist_wheel").get("py_limited_api", (None, None))[1]
print(json.dumps([extension.py_limited_api, option, dict(extension.define_macros).get("Py_LIMITED_API")]))
"""


@pytest.mark.parametrize(
    ("wish", "expected"), [("0", [False, None, None]), ("1", [True, "cp311", "0x030B0000"])]
)
def test_a_module_for_many_pythons_is_built_if_asked_for(wish: str, expected: list[object]) -> None:
    """What is built is run by `.ci/run`."""
    pytest.importorskip("Cython")
    call = [sys.executable, "-c", STABLE]
    done = subprocess.run(
        call, cwd=ROOT, env={**os.environ, "LSTM_ABI3": wish}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_wheels_are_tested_by_files_that_exist() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["cibuildwheel"]
    named = re.findall(r"{project}/(\S+)", settings["test-command"])
    assert named
    assert all((ROOT / name).is_file() for name in named)
