#!/bin/bash
# bash tests/neon.sh: the kernels of 64-bit Arm, run on x86-64 by qemu.
#
# Cross-compiles the module with Debian's GCC for the Python of Debian's arm64 packages, which are unpacked into
# a temporary folder; compares the digest of a fixed set of nets on each of its instruction sets with this
# machine's; and runs there what holds tiles, rows, parity and the bits of gradients, on NEON alone. It needs
# Debian, root for apt-get where qemu or the compiler is missing, and a Python with the package installed and
# its extra "test": PYTHON names it. Arguments go to pytest in place of all this: files below source/tests.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

if ! command -v qemu-aarch64 >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross >/dev/null
fi

# Packages of another architecture, of Debian's sources alone, without telling the system's dpkg of them.
sources=/etc/apt/sources.list.d/debian.sources
[ -e "$sources" ] || sources=/etc/apt/sources.list
mkdir -p apt/lists/partial apt/cache/archives/partial arm
touch apt/status
cat >apt/apt.conf <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
Dir::State "$folder/apt";
Dir::State::status "$folder/apt/status";
Dir::Cache "$folder/apt/cache";
Dir::Etc::sourcelist "$sources";
Dir::Etc::sourceparts "/dev/null";
APT::Sandbox::User "root";
END
export APT_CONFIG=$folder/apt/apt.conf
apt-get update -qq
apt-get install -qq -y --download-only --no-install-recommends libstdc++6 libpython3-dev python3-minimal >/dev/null
unset APT_CONFIG
for package in apt/cache/archives/*.deb; do
    dpkg-deb -x "$package" arm
done
arm_python=$(ls arm/usr/bin/python3.[0-9]* | head -n 1)
version=${arm_python##*/python}
"$python" -m pip --disable-pip-version-check --quiet install --target site --python-version "$version" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
    --only-binary=:all: numpy pytest hypothesis

# What the Arm Python says of itself tells setuptools how to name and link the module.
mkdir source facts
tar -C "$root" --exclude=./.git --exclude=./build --exclude=./dist --exclude='*.so' --exclude='__pycache__' \
    --exclude='.*_cache' --exclude='./lstm/_kernel/kernel.c' -cf - . | tar -C source -xf -
cp "arm/usr/lib/python$version/_sysconfigdata__aarch64-linux-gnu.py" facts
(
    cd source
    export _PYTHON_HOST_PLATFORM=linux-aarch64 PYTHONPATH=$folder/facts
    export _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu
    export CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared"
    export CFLAGS="-I$folder/arm/usr/include/python$version -I$folder/arm/usr/include"
    "$python" setup.py -q build_ext --inplace
)

emulated=(qemu-aarch64 -L arm -E "PYTHONPATH=$folder/source:$folder/site" -E OPENBLAS_NUM_THREADS=1 "$arm_python")
run() { "${emulated[@]}" -m pytest -q -p no:cacheprovider -c source/pyproject.toml --rootdir source "$@"; }

if [ $# -gt 0 ]; then
    run "$@"
    exit
fi

# Two at a time. Tests that start a Python would start an Arm one, which this machine does not run by itself.
choice=(-k "not generic and not software_fma")
run source/tests/kernel/test_{rows,tiles,int8_tiles}.py "${choice[@]}" >tiles 2>&1 &
tiles=$!
"${emulated[@]}" source/tests/digest.py >of_arm
"$python" "$root/tests/digest.py" >of_this_machine
cat of_this_machine of_arm
if ! grep -q '^neon ' of_arm || [ "$(cut -d' ' -f2 of_this_machine of_arm | sort -u | wc -l)" -ne 1 ]; then
    echo "neon.sh: the digests differ, or NEON has none" >&2
    exit 1
fi
run source/tests/core/test_parity.py source/tests/gradients/test_gradients_bits.py "${choice[@]}"
status=0
wait "$tiles" || status=$?
cat tiles
exit "$status"
