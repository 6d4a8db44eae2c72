#!/usr/bin/env bash
# Prints the path of a nats-server that supermq can use (2.11 or newer). Looked for in this order:
#   1. $NATS_SERVER_BIN, which is final: too old or not runnable is an error
#   2. nats-server on PATH, when it is new enough
#   3. a copy fetched earlier, under ${XDG_CACHE_HOME:-$HOME/.cache}/supermq
#   4. on Debian and its kin: the package of a newer Debian suite, fetched by apt with this machine's own
#      sources and keys and unpacked into that cache. Nothing is installed and root is not needed.
# Only the path goes to standard output. Everything that fails ends with one sentence on standard error and exit 1.
set -euo pipefail

readonly OLDEST=2.11.0
readonly SUITE=forky

fail() {
  echo "get-nats-server: $*" >&2
  exit 1
}

# The version of the nats-server $1, such as 2.11.3; nothing when it does not run.
version_of() {
  "$1" --version 2>/dev/null | sed -nE 's/^nats-server: v?([0-9]+\.[0-9]+\.[0-9]+).*/\1/p' || true
}

# Whether version $1 is $OLDEST or newer.
new_enough() {
  [ -n "$1" ] && [ "$(printf '%s\n' "$OLDEST" "$1" | sort -V | head -n 1)" = "$OLDEST" ]
}

# The newest usable copy in the cache; nothing when there is none.
cached() {
  local candidate
  for candidate in "$cache"/nats-[0-9]*/usr/sbin/nats-server; do
    if [ -x "$candidate" ] && new_enough "$(version_of "$candidate")"; then printf '%s\n' "$candidate"; fi
  done | sort -V | tail -n 1
}

# The machine's own Debian archive as a one-line source for $SUITE, from deb822 files.
source_from_deb822() {
  awk -v suite="$SUITE" '
    function flush() {
      if (types ~ /(^|[ \t])deb([ \t]|$)/ && uris != "" && enabled !~ /no|false/ && uris !~ /security/ &&
          suites ~ /(^|[ \t])(bookworm|trixie|forky|sid|stable|testing|unstable)([ \t]|$)/) {
        split(uris, uri, /[ \t]+/)
        print "deb " (key ~ /^\// ? "[signed-by=" key "] " : "") uri[1] " " suite " main"
        found = 1
        exit
      }
      types = uris = suites = key = enabled = ""
    }
    function value() { sub(/^[^:]*:[ \t]*/, ""); sub(/[ \t\r]+$/, ""); return $0 }
    /^#/ { next }
    /^[ \t]*$/ { flush(); next }
    tolower($0) ~ /^types:/ { types = value() }
    tolower($0) ~ /^uris:/ { uris = value() }
    tolower($0) ~ /^suites:/ { suites = value() }
    tolower($0) ~ /^signed-by:/ { key = value() }
    tolower($0) ~ /^enabled:/ { enabled = tolower(value()) }
    END { if (!found) flush() }' "$1"
}

# The same from a file with one source a line.
source_from_list() {
  sed -nE "s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+)[[:space:]]+(bookworm|trixie|forky|sid|stable|testing|unstable)[[:space:]](.*[[:space:]])?main([[:space:]].*)?$/deb \1\2 $SUITE main/p" "$1" |
    grep -v security | head -n 1 || true
}

debian_source() {
  local file line
  for file in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -r "$file" ] || continue
    case $file in
      *.sources) line=$(source_from_deb822 "$file") ;;
      *) line=$(source_from_list "$file") ;;
    esac
    [ -z "$line" ] || break
  done
  printf '%s' "${line:-}"
}

# Fetches the package into the cache. Runs under the lock; every file of apt's is in $work.
fetch() {
  local line deb version staged
  line=$(debian_source)
  [ -n "$line" ] || fail "no Debian archive among this machine's apt sources. $advice"
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/deb" "$work/tree"
  printf '%s\n' "$line" >"$work/debian.list"
  local apt=(apt-get -qq -o Dir::Etc::sourcelist="$work/debian.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o APT::Default-Release=
    -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=)
  "${apt[@]}" update >&2 || fail "apt could not read the package list of Debian $SUITE. $advice"
  (cd "$work/deb" && "${apt[@]}" download nats-server >&2) || fail "apt could not fetch nats-server. $advice"
  deb=$(find "$work/deb" -name 'nats-server_*.deb' | head -n 1)
  dpkg -x "$deb" "$work/tree"
  version=$(version_of "$work/tree/usr/sbin/nats-server")
  [ -n "$version" ] || fail "the nats-server of Debian $SUITE does not run on this machine. $advice"
  new_enough "$version" || fail "Debian $SUITE has nats-server $version, $OLDEST or newer is needed. $advice"
  # Into place in one step, so that nobody sees half a folder.
  staged=$cache/nats-$version
  rm -rf "$staged"
  mv "$work/tree" "$staged"
}

readonly advice="Install nats-server $OLDEST or newer, or set NATS_SERVER_BIN to its path."

if [ -n "${NATS_SERVER_BIN:-}" ]; then
  version=$(version_of "$NATS_SERVER_BIN")
  [ -n "$version" ] || fail "NATS_SERVER_BIN is $NATS_SERVER_BIN, which does not run as a nats-server."
  new_enough "$version" || fail "NATS_SERVER_BIN is nats-server $version, $OLDEST or newer is needed."
  printf '%s\n' "$NATS_SERVER_BIN"
  exit 0
fi

on_path=$(command -v nats-server || true)
if [ -n "$on_path" ] && new_enough "$(version_of "$on_path")"; then
  printf '%s\n' "$on_path"
  exit 0
fi

[ -n "${XDG_CACHE_HOME:-}${HOME:-}" ] || fail "neither XDG_CACHE_HOME nor HOME is set. $advice"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/supermq
found=$(cached)
if [ -z "$found" ]; then
  for tool in apt-get dpkg flock; do
    command -v "$tool" >/dev/null || fail "no nats-server found, and without $tool none can be fetched. $advice"
  done
  mkdir -p "$cache" || fail "cannot write to $cache. $advice"
  exec 9>"$cache/nats.lock"
  flock 9
  # Another run may have fetched it while this one waited for the lock.
  found=$(cached)
  if [ -z "$found" ]; then
    # On the cache's own file system, for the rename at the end.
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    fetch
    found=$(cached)
  fi
fi
[ -n "$found" ] || fail "no usable nats-server in $cache after fetching. $advice"
printf '%s\n' "$found"
