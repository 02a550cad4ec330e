#!/usr/bin/env bash
# Takes the libraries Pivot is built from to a GPU machine that has none and no network.
#   scripts/gpu_deps.sh collect    on Debian with the packages of scripts/packages.sh: writes .deps/sysroot.tar.gz
#   scripts/gpu_deps.sh install    there, as root: unpacks it into / and leaves alone every file that exists
# The GPU machine needs a distribution of the same layout and no older C library (Debian 12 or later, Ubuntu 24.04).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

archive=.deps/sysroot.tar.gz

# Compilers and tools of the build, which a GPU machine with a toolkit has.
is_there() {
  case "$1" in
    g++* | gcc* | cpp* | cmake* | ninja-build | git* | python3* | libc6* | libc-* | libstdc++* | libgcc* | linux-libc-dev) return 0 ;;
    binutils* | libpython3* | perl* | liberror-perl | media-types | base-files | dpkg | debconf | tar) return 0 ;;
    libasan* | libtsan* | liblsan* | libubsan* | libitm* | libgomp* | libatomic* | libjsoncpp* | librhash* | libuv1*) return 0 ;;
  esac
  return 1
}

# The packages and everything they depend on, each once.
closure() {
  local queue=("$@") seen=' ' package
  while [ ${#queue[@]} -gt 0 ]; do
    package=${queue[0]}
    queue=("${queue[@]:1}")
    case "$seen" in *" $package "*) continue ;; esac
    seen="$seen$package "
    is_there "$package" && continue
    dpkg-query -s "$package" >/dev/null 2>&1 || continue
    echo "$package"
    while read -r dependency; do queue+=("$dependency"); done < <(
      dpkg-query -W -f='${Depends}, ${Pre-Depends}\n' "$package" | tr ',|' '\n\n' | sed 's/^ *//; s/[ :(].*//' | grep . || true)
  done
}

collect() {
  local list
  mkdir -p .deps
  list=$(mktemp)
  closure "${PIVOT_BUILD_PACKAGES[@]}" "${PIVOT_TEST_PACKAGES[@]}" pkgconf pkgconf-bin | while read -r package; do
    dpkg-query -L "$package" 2>/dev/null || true
  done | grep -E '^/(usr/)?(include|lib|share/(cmake|pkgconfig|nlohmann|pkgconf)|bin/pkg)' | grep -vE '\.a$|/python3|/perl|/gconv/' |
    while read -r file; do
      # Links that packages' scripts made (alternatives) come along.
      [ -d "$file" ] || [ ! -e "$file" ] || echo "$file"
    done >"$list"
  # What alternatives point to.
  find /usr/lib/x86_64-linux-gnu /usr/include/x86_64-linux-gnu -maxdepth 1 \( -name 'libopenblas*' -o -name 'libblas*' -o -name 'openblas*.h' \) >>"$list"
  find /usr/lib/x86_64-linux-gnu/pkgconfig -name '*blas*' >>"$list"
  find /etc/alternatives -name '*openblas*' >>"$list"
  sort -u "$list" | tar --create --absolute-names --no-recursion --files-from=- | gzip -6 >"$archive"
  rm "$list"
  echo "gpu_deps: $archive, $(du -h "$archive" | cut -f1)"
}

install() {
  [ -e "$archive" ] || { echo "gpu_deps: no $archive; make it with 'scripts/gpu_deps.sh collect' on Debian" >&2; exit 2; }
  [ "$(id -u)" -eq 0 ] || { echo "gpu_deps: install needs root" >&2; exit 2; }
  tar --extract --gzip --absolute-names --skip-old-files --file "$archive"
  ldconfig
  echo "gpu_deps: installed"
}

case "${1-}" in
  collect) collect ;;
  install) install ;;
  *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
