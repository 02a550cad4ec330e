# Sourced by quickstart.sh and test.sh: the packages Pivot is built from, on Debian and Ubuntu.

PIVOT_BUILD_PACKAGES=(
  g++ cmake ninja-build pkg-config git
  libopenblas-dev libhdf5-dev libsentencepiece-dev nlohmann-json3-dev libcli11-dev
  libtomlplusplus-dev libspdlog-dev libfmt-dev libzstd-dev zlib1g-dev libxxhash-dev libpcre2-dev libutf8proc-dev
)
PIVOT_TEST_PACKAGES=(catch2 python3)

# install_packages NAME...: installs those that are missing; does nothing when none is.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null; then
    echo "These packages (Debian names) are needed and cannot be installed here: ${missing[*]}" >&2
    return 1
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Run as root or install sudo, or install yourself: ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
