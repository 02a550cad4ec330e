# shellcheck shell=bash
# Sourced: real text from the distribution's own packages.

DICTIONARY_PACKAGES=(dict-foldoc dict-jargon)

# fetch_dictionaries DIR: the files of the Free On-line Dictionary of Computing (GFDL) and of the Jargon File
# (public domain) in DIR, as the packages ship them (.dict.dz, which gzip and pivot read). The packages
# are unpacked, not installed: their dictionary server is not needed. Returns 1 when none can be had.
fetch_dictionaries() {
  local dir=$1 work package
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  mkdir -p "$dir" || return 1
  work=$(mktemp -d) || return 1
  for package in "${DICTIONARY_PACKAGES[@]}"; do
    (cd "$work" && apt-get download -qq "$package" >/dev/null 2>&1) && continue
    # The lists of packages may be missing or old.
    [ -e "$work/updated" ] || as_root apt-get update -qq >/dev/null 2>&1 || true
    touch "$work/updated"
    (cd "$work" && apt-get download -qq "$package" >/dev/null 2>&1) ||
      echo "package $package cannot be downloaded" >&2
  done
  for package in "$work"/*.deb; do
    [ -e "$package" ] || continue
    dpkg-deb -x "$package" "$work/unpacked" || continue
    basename "$package" .deb >>"$work/packages"
  done
  local found=1 file
  for file in "$work"/unpacked/usr/share/dictd/*.dict.dz; do
    [ -e "$file" ] || continue
    cp "$file" "$dir/" && found=0
  done
  [ $found -ne 0 ] || cp "$work/packages" "$dir/PACKAGES"
  rm -rf "$work"
  return $found
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else return 1
  fi
}
