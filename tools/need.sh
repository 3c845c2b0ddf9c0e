#!/bin/sh
# Says what is missing to build flashmoe, with the command that installs it. POSIX sh: nothing else is
# certain to be there. Usage: tools/need.sh node|compiler|python ...; exit 69 when something is missing.
set -u

os=$(uname -s)
missing=0

can() { command -v "$1" >/dev/null 2>&1; }

# lack WHAT COMMAND
lack() {
  [ "$missing" = 0 ] || echo >&2
  missing=1
  printf '%s\n\nhint: %s\n' "$1" "$2" >&2
}

# The command that installs PACKAGE (Debian) or FORMULA (Homebrew) here.
install_with() {
  root=sudo; [ "$(id -u)" = 0 ] && root=
  if can apt-get; then echo "${root:+$root }apt-get install -y $1"
  elif can dnf; then echo "${root:+$root }dnf install -y ${3:-$1}"
  elif can pacman; then echo "${root:+$root }pacman -S --needed ${4:-$1}"
  elif can brew || [ "$os" = Darwin ]; then echo "brew install $2"
  else echo "install $2 with this system's package manager"
  fi
}

need_node() {
  if can node && node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null; then
    can npm || lack "npm is missing, and the dependencies come through it" "$(install_with npm node npm npm)"
    return
  fi
  if can node; then found="found $(node --version)"; else found="found none"; fi
  what="Node.js 20.19 or newer is needed, $found"
  if can apt-get && ! apt-cache policy nodejs 2>/dev/null | grep -Eq 'Candidate: ([0-9]+:)?(20\.(19|[2-9][0-9])|2[1-9]|[3-9][0-9])'; then
    # This release's own package is too old; n installs the current one below /usr/local.
    root=sudo; [ "$(id -u)" = 0 ] && root=
    lack "$what, and this system's own package is older" \
      "$(install_with npm) && ${root:+$root }npm install -g n && ${root:+$root }n lts"
  else
    # Debian packages npm apart from node; other sources of nodejs bring it and conflict with npm.
    packages='nodejs npm'
    can apt-cache && apt-cache show nodejs 2>/dev/null | grep -q '^Conflicts:.*npm' && packages=nodejs
    lack "$what" "$(install_with "$packages" node 'nodejs npm' 'nodejs npm')"
  fi
}

# Having a path is not enough: after a macOS upgrade the compiler is there and its SDK is not.
need_compiler() {
  dir=$(mktemp -d) || exit 1
  trap 'rm -rf "$dir"' EXIT
  echo '#include <vector>
int main() { return static_cast<int>(std::vector<int>{}.size()); }' >"$dir/line.cpp"
  if ! ${CXX:-c++} -std=c++20 -c "$dir/line.cpp" -o "$dir/line.o" 2>"$dir/said"; then
    if can "${CXX:-c++}"; then why="the C++ compiler does not compile one line: $(head -1 "$dir/said")"
    else why="a C++20 compiler is needed to build the engine, found none"; fi
    if [ "$os" = Darwin ]; then lack "$why" "xcode-select --install"
    else lack "$why" "$(install_with 'g++ make' gcc 'gcc-c++ make' 'gcc make')"; fi
    return
  fi
  can make || lack "make is needed to build the engine" \
    "$([ "$os" = Darwin ] && echo xcode-select --install || install_with make make)"
}

need_python() {
  can python3 && python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && return
  if [ "$os" = Darwin ]; then lack "Python 3.8 or newer is needed by node-gyp" "xcode-select --install"
  else lack "Python 3.8 or newer is needed by node-gyp" "$(install_with python3 python python3 python)"; fi
}

for tool in "$@"; do
  case $tool in
    node) need_node ;;
    compiler) need_compiler ;;
    python) need_python ;;
    *) echo "need.sh: unknown tool $tool" >&2; exit 64 ;;
  esac
done
[ "$missing" = 0 ] || exit 69
