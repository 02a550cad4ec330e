#!/usr/bin/env bash
# Packs what a bare GPU machine lacks to build and run Pivot, from the Debian packages installed here:
# headers, shared libraries with what they need, CMake and pkg-config files, pkgconf itself, and
# NVIDIA's headers (no NVIDIA library). The result is one file, .deps/sysroot.tar.gz; together with
# .deps/cudnn-frontend it goes to the machine, where scripts/gpu_check.sh unpacks and uses it.
#   scripts/gpu_deps.sh
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=packages.sh
. scripts/packages.sh

ROOT=.deps/sysroot
ARCHIVE=.deps/sysroot.tar.gz
LIB=usr/lib/x86_64-linux-gnu
LIMIT_MIB=55 # of .deps, so that it can be copied quickly
# libopenblas-dev only depends on these.
OPENBLAS_PACKAGES=(libopenblas-pthread-dev libopenblas0-pthread)
TOOLS=" g++ cmake ninja-build pkg-config git "

install_packages "${PIVOT_BUILD_PACKAGES[@]}" "${PIVOT_TEST_PACKAGES[@]}"
[ "$(uname -m)" = x86_64 ] || { echo "gpu_deps: made for x86-64 machines" >&2; exit 1; }
rm -rf $ROOT $ARCHIVE
mkdir -p $ROOT/$LIB $ROOT/bin

# files_of PACKAGE: what a build reads; no archives where a shared library is, no documentation, of HDF5
# the C library alone.
files_of() {
  dpkg -L "$1" | grep -E '^/usr/(include|lib|share/(cmake|pkgconfig))/' |
    grep -vE '/(libhdf5.*(_cpp|_fortran|_hl|hl_fortran)|libblas|liblapack|blas-|lapack-)[^/]*$' |
    grep -vE '/include/(unsupported|.*\.mod$)|/lib/(.*/)?(libopenblas|libhdf5|libsentencepiece|libz|libzstd|libxxhash)[^/]*\.a$' |
    grep -vE '/include/hdf5/(openmpi|mpich)/' || true
}

for package in "${PIVOT_BUILD_PACKAGES[@]}" "${OPENBLAS_PACKAGES[@]}" catch2; do
  [[ $TOOLS == *" $package "* ]] && continue
  while read -r file; do
    if [ -L "$file" ] || [ -f "$file" ]; then
      mkdir -p "$ROOT$(dirname "$file")"
      cp -a "$file" "$ROOT$file"
    fi
  done < <(files_of "$package")
done

# needed FILE...: shared libraries they load, but for those of the C and C++ compilers, which every
# machine that compiles has in its own version.
needed() {
  ldd "$@" | awk '/=> \// { print $3 }' | sort -u |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv|libstdc\+\+|libgcc_s)\.so'
}

# Links NAME.so become links to the library under the name it is loaded by.
while read -r link; do
  real=$(readlink -f "/${link#"$ROOT"/}")
  [ -f "$real" ] || { rm "$link"; continue; }
  soname=$(objdump -p "$real" | awk '$1 == "SONAME" { print $2 }')
  [ -n "$soname" ] || continue
  rm "$link"
  [ -e "$(dirname "$link")/$soname" ] || cp "$real" "$(dirname "$link")/$soname"
  # CMake's files name the library by its full version.
  for name in "$(basename "$link")" "$(basename "$real")"; do
    [ -e "$(dirname "$link")/$name" ] || ln -s "$soname" "$(dirname "$link")/$name"
  done
done < <(find $ROOT/usr/lib -name '*.so*' -type l)
# cmake looks for a library called hdf5 and for its headers in the folders of all headers.
ln -sf libhdf5_serial.so $ROOT/$LIB/libhdf5.so
if [ -d $ROOT/usr/include/hdf5/serial ]; then
  mv $ROOT/usr/include/hdf5/serial/* $ROOT/usr/include/
  rm -rf $ROOT/usr/include/hdf5 $ROOT/$LIB/hdf5
fi
# The package's own file has a copy under the name it is loaded by.
find $ROOT/$LIB/openblas-pthread -name 'libopenblasp-*' -type f -delete
mapfile -t libraries < <(find $ROOT/usr/lib -name '*.so*' -type f)
while read -r library; do
  name=$(basename "$library")
  [ -n "$(find $ROOT/usr/lib -name "$name")" ] || cp -L "$library" $ROOT/$LIB/
done < <(needed "${libraries[@]}" "$(command -v pkgconf)")

# pkg-config files name their folders from where they lie.
while read -r file; do
  up=$(dirname "${file#"$ROOT"/usr/}" | sed 's#[^/]\+#..#g')
  sed -i -e "s#/usr\(/\|\$\)#\${pcfiledir}/$up\1#g" -e '/^URL/d' "$file"
done < <(find $ROOT/usr -name '*.pc')
cp -L "$(command -v pkgconf)" $ROOT/bin/pkgconf
cat >$ROOT/bin/pkg-config <<'SH'
#!/bin/sh
# pkgconf with the library it came with.
here=$(cd "$(dirname "$0")" && pwd)
lib=$here/../usr/lib
PKG_CONFIG_PATH=$lib/x86_64-linux-gnu/pkgconfig:$lib/x86_64-linux-gnu/openblas-pthread/pkgconfig:$here/../usr/share/pkgconfig:$PKG_CONFIG_PATH
export PKG_CONFIG_PATH
LD_LIBRARY_PATH=$lib/x86_64-linux-gnu exec "$here/pkgconf" "$@"
SH
chmod +x $ROOT/bin/pkg-config

# NVIDIA's headers, for machines whose toolkit is the compiler alone.
for toolkit in "${CUDA_HOME:-}" /usr/local/cuda /usr/lib/cuda; do
  [ -n "$toolkit" ] && [ -e "$toolkit/include/cuda_runtime_api.h" ] || continue
  mkdir -p $ROOT/nvidia/include
  find "$toolkit/include/" -maxdepth 1 \( -name 'cudnn*.h' -o -name 'cublas*.h' -o -name 'nccl*.h' -o -name 'nvrtc.h' \) \
    -exec cp -L {} $ROOT/nvidia/include/ \;
  break
done
[ -d $ROOT/nvidia ] || echo "gpu_deps: no CUDA toolkit here: NVIDIA's headers are not in the file"

strip --strip-unneeded $ROOT/bin/pkgconf
find $ROOT/usr/lib -name '*.so*' -type f -exec strip --strip-unneeded {} +
size=$(du -sm $ROOT | cut -f1)
tar -C $ROOT -czf $ARCHIVE .
rm -rf $ROOT
total=$(du -sm .deps | cut -f1)
echo "gpu_deps: $ARCHIVE, $(du -sm $ARCHIVE | cut -f1) MiB ($size unpacked); .deps is $total MiB"
[ "$total" -le $LIMIT_MIB ] || { echo "gpu_deps: more than $LIMIT_MIB MiB" >&2; exit 1; }
