#!/bin/bash
# The tests under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#     bash tests/sanitize.sh [TESTS or OPTIONS]                  build, then run
#     bash tests/sanitize.sh --build FOLDER                      build into a new folder, for later runs
#     bash tests/sanitize.sh --built FOLDER [TESTS or OPTIONS]   run what is built there
#
# Builds the package with LSTM_SANITIZE from a copy of the source, in a new virtual environment, and runs it
# with the stock Python, into which GCC's libasan is preloaded. Exit status 0: all tests passed and no
# sanitizer reported, in the tests' own process or one they started.
# PYTHON names another Python, CC another GCC. TESTS go to pytest in place of the choice below, options as well
# as it. Several runs may share a folder at the same time.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
export CC=${CC:-gcc}
case "${1-}" in
    --build | --built)
        task=$1
        folder=$2
        shift 2
        ;;
    *)
        task=all
        folder=$(mktemp -d)
        trap 'rm -rf "$folder"' EXIT
        ;;
esac

# Everything but: what reads sources or runs compilers (house, test_build, test_c_sources, test_other_systems);
# what starts a Python a test, which takes seconds each here, or compares speeds, and reaches the kernel as other
# tests do (commands, comparison, docs); and Keras's files, whose tests end a process by SIGSEGV on purpose, which
# AddressSanitizer would report.
tests=(tests --ignore=tests/house --ignore=tests/commands --ignore=tests/comparison --ignore=tests/docs
    --ignore=tests/kernel/test_build.py --ignore=tests/kernel/test_c_sources.py
    --ignore=tests/kernel/test_other_systems.py
    --ignore-glob='tests/gradients/*_docs.py' --ignore-glob='tests/formats/test_keras*')
case "${1-}" in
    "") ;;
    -*) tests+=("$@") ;;
    *) tests=("$@") ;;
esac

# Tests that count memory or limit it skip where LSTM_SANITIZE is set.
export LSTM_SANITIZE=address,undefined

build() {
    mkdir -p "$folder/source"
    tar -C "$root" --exclude=./.git --exclude=./build --exclude=./dist --exclude='*.so' \
        --exclude='__pycache__' --exclude='.*_cache' --exclude='./lstm/*.c' -cf - . | tar -C "$folder/source" -xf -
    "$python" -m venv "$folder/venv"
    local pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet)
    "${pip[@]}" install 'setuptools>=77' 'Cython>=3.1' 'numpy>=2' 'pytest>=8' 'hypothesis>=6.100' \
        'safetensors>=0.4' 'onnx>=1.16' 'h5py>=3.10' # of all formats, for damaged files
    CFLAGS="-fno-omit-frame-pointer" "${pip[@]}" install --no-build-isolation --no-deps -e "$folder/source"
    local symbol
    for symbol in __asan_report __ubsan_handle; do
        if ! grep -qr --include='*.so' "$symbol" "$folder/source/lstm"; then
            echo "sanitize.sh: the kernel was built without the sanitizer of $symbol" >&2
            exit 1
        fi
    done
}

# CPython leaves memory to the system at its exit, which LeakSanitizer would report. AddressSanitizer writes
# into files, so that a process which a test starts is heard too; UndefinedBehaviorSanitizer knows stderr
# only, hence the capture of sys.stderr alone, and ends the process.
run() {
    local reports=$folder/reports-of-$$
    local status=0
    mkdir "$reports"
    cd "$folder/source"
    export ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1:log_path=$reports/asan"
    export UBSAN_OPTIONS="print_stacktrace=1"
    LD_PRELOAD="$($CC -print-file-name=libasan.so)" "$folder/venv/bin/pytest" -q -rs \
        -p no:cacheprovider -p no:faulthandler --capture=sys "${tests[@]}" || status=$?
    if [ -n "$(ls "$reports")" ]; then
        cat "$reports"/*
        status=1
    fi
    if [ "$status" -ne 0 ]; then
        echo "sanitize.sh: failed" >&2
        exit "$status"
    fi
    echo "sanitize.sh: no report"
}

[ "$task" = --built ] || build
[ "$task" = --build ] || run
