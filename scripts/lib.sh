# Shared by setup, demo, test and bench; sourced, never run. The caller stands
# in the project's top folder.
# shellcheck shell=bash

KERNEL_DIR=${LIFEBOAT_KERNEL_DIR:-/var/cache/lifeboat/kernel}
export LIFEBOAT_KERNEL_DIR=$KERNEL_DIR
BIN=$PWD/target/release

BASE_PACKAGES=(qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients libvirt-dev ovmf
  pkg-config gcc libc6-dev iproute2 kmod procps ca-certificates)
GUEST_PACKAGES=(mmdebstrap grub-pc-bin fdisk e2fsprogs zstd cpio debian-archive-keyring)
TEST_PACKAGES=(chromium restic postgresql shellcheck busybox-static strace curl git systemd-journal-remote libwin-hivex-perl mtools ntfs-3g xorriso xfsprogs)
BENCH_PACKAGES=(virt-v2v nbdkit systemd-journal-remote)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
wrong_use() { printf 'error: %s\n' "$*" >&2; exit 2; }

need_root() {
  [ "$(id -u)" = 0 ] || fail "root is needed (packages, libvirt, network namespaces): run it with sudo"
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

codename() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# packages_for PART...: what these parts need, a name a line.
packages_for() {
  printf '%s\n' "${BASE_PACKAGES[@]}"
  local part
  for part in "$@"; do
    case $part in
      demo) printf '%s\n' "${GUEST_PACKAGES[@]}" ;;
      test) printf '%s\n' "${GUEST_PACKAGES[@]}" "${TEST_PACKAGES[@]}" ;;
      bench) printf '%s\n' "${GUEST_PACKAGES[@]}" "${BENCH_PACKAGES[@]}" ;;
      *) wrong_use "unknown part '$part'" ;;
    esac
  done
}

# Any Node that is there and new enough will do, with the npm beside it.
# Debian's packages conflict with those of others, so they are not asked for then.
NODE_LEAST=18.19
node_is_new_enough() {
  command -v npm >/dev/null && command -v node >/dev/null || return 1
  local have
  have=$(node --version 2>/dev/null) || return 1
  [ "$(printf '%s\n%s\n' "$NODE_LEAST" "${have#v}" | sort -V | head -n 1)" = "$NODE_LEAST" ]
}

# install_missing YES PART...: packages and the Rust toolchain; asks once, for
# all of it, before anything is changed.
install_missing() {
  local yes=$1 package missing=()
  shift
  # Here, because wrong use inside a substitution would end only that.
  packages_for "$@" >/dev/null
  while read -r package; do
    is_installed "$package" || missing+=("$package")
  done < <(packages_for "$@" | sort -u)
  node_is_new_enough || missing+=(nodejs npm)
  find_rust
  local wanted="${missing[*]}"
  rust_is_new_enough || wanted="${wanted:+$wanted, and }a Rust toolchain of at least $(wanted_rust) by rustup"
  [ -n "$wanted" ] || return 0
  say "missing: $wanted"
  ask "$yes" "install it?"
  [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
  rust_is_new_enough || install_rust
}

ask() {
  [ "$1" = yes ] && return 0
  [ -t 0 ] || fail "this needs your consent, and there is no terminal to ask on: give --yes"
  local answer
  read -r -p "$2 [y/N] " answer
  case $answer in y | Y | yes) ;; *) fail "nothing was installed" ;; esac
}

# Debian 12's own libvirt and QEMU are too old and do not stand beside the newer
# qemu-utils: there both come from backports.
apt_install() {
  local release=()
  if [ "$(codename)" = bookworm ]; then
    enable_backports bookworm
    release=(-t bookworm-backports)
  fi
  apt_get update -qq
  local package others=()
  for package in "$@"; do
    [ "$package" = systemd-journal-remote ] || others+=("$package")
  done
  # virt-v2v is only in the plain release, and apt chooses it there by itself.
  [ ${#others[@]} -eq 0 ] ||
    apt_get install -y -qq --no-install-recommends "${release[@]}" "${others[@]}" ||
    fail "apt could not install: ${others[*]}"
  [ ${#others[@]} -eq $# ] || install_journal_writer
}

# It shares a library with systemd and must be of the very same version, which
# is known only once everything else is installed.
install_journal_writer() {
  local systemd
  systemd=$(dpkg-query -W -f '${Version}' libsystemd0)
  apt_get install -y -qq --no-install-recommends "systemd-journal-remote=$systemd" ||
    say "systemd-journal-remote $systemd cannot be installed: what needs real journals is skipped"
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@" >&2; }

# enable_backports CODENAME: from the mirror that this machine uses already.
enable_backports() {
  apt-cache policy 2>/dev/null | grep -q "n=$1-backports" && return 0
  local mirror
  # shellcheck disable=SC2016 # apt's own variables
  mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 2>/dev/null |
    awk -v c="$1" '$1 == c { print $2; exit }')
  [ -n "$mirror" ] || fail "no mirror of Debian $1 is configured in apt: add one, then start again"
  printf 'Types: deb\nURIs: %s\nSuites: %s-backports\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" "$1" >/etc/apt/sources.list.d/lifeboat-backports.sources
}

# Where rustup puts it, also for a shell that does not know yet.
find_rust() {
  [ ! -d "${HOME:-/root}/.cargo/bin" ] || PATH=${HOME:-/root}/.cargo/bin:$PATH
  export PATH
}

wanted_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

rust_is_new_enough() {
  command -v cargo >/dev/null || return 1
  local have want
  have=$(rustc --version 2>/dev/null | awk '{print $2}')
  want=$(wanted_rust)
  [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" = "$want" ]
}

install_rust() {
  if [ -n "$(apt-cache search --names-only '^rustup$')" ]; then
    apt_install rustup
  else
    is_installed curl || apt_install curl
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none
    PATH=${HOME:-/root}/.cargo/bin:$PATH
  fi
  rustup toolchain install >&2 || rustup default stable >&2
  rust_is_new_enough || fail "no Rust toolchain that is new enough could be installed"
}

# What the micro-VM is made of: a distribution's kernel and a kit of tools for
# storage, unpacked, not installed, so that this machine stays as it is. What is
# there already is left alone; a directory without the kit gets it.
fetch_kernel() {
  compgen -G "$KERNEL_DIR/boot/vmlinuz-*" >/dev/null || fetch_kernel_alone
  kit_is_complete || fetch_kit
}

fetch_kernel_alone() {
  say "fetching the kernel of the micro-VM"
  local meta work modules
  local packages=()
  meta=$(kernel_package)
  work=$(mktemp -d)
  mapfile -t packages < <(kernel_packages "$meta")
  unpack_packages "$work" "${packages[@]}"
  rm -rf "$KERNEL_DIR.part"
  mkdir -p "$KERNEL_DIR.part/lib"
  mv "$work/tree/boot" "$KERNEL_DIR.part/"
  # Newer releases keep modules under /usr.
  for modules in "$work/tree/lib/modules" "$work/tree/usr/lib/modules"; do
    [ ! -d "$modules" ] || mv "$modules" "$KERNEL_DIR.part/lib/"
  done
  depmod_kernel "$KERNEL_DIR.part"
  mv "$KERNEL_DIR.part" "$KERNEL_DIR"
  rm -rf "$work"
}

# unpack_packages WORK PACKAGE...: into WORK/tree.
unpack_packages() {
  local work=$1 package file
  shift
  # apt drops its rights while it downloads. Nobody else may get at what dpkg
  # unpacks as root.
  mkdir -m 700 "$work/packages"
  chmod 711 "$work"
  if [ "$(id -u)" -eq 0 ] && id -u _apt >/dev/null 2>&1; then
    chown _apt "$work/packages"
  fi
  for package in "$@"; do
    (cd "$work/packages" && apt-get download -qq "$package" >/dev/null 2>"$work/log") ||
      fail "apt cannot download $package: $(cat "$work/log")"
  done
  for file in "$work"/packages/*.deb; do dpkg-deb -x "$file" "$work/tree"; done
}

# The kit: each program with the libraries it loads and their own loader, so
# that it runs in the micro-VM whatever this machine is. GPL programs are run as
# they are, never linked.
KIT_PACKAGES=(lvm2 mdadm ntfs-3g e2fsprogs xfsprogs btrfs-progs)
KIT_PROGRAMS=(lvm mdadm ntfs-3g ntfs-3g.probe ntfsrecover e2fsck xfs_repair btrfs)

# A kit of an earlier version may lack a program, or what says what it needs.
kit_is_complete() {
  tar -tf "$KERNEL_DIR/kit.tar" "${KIT_PROGRAMS[@]/#/./bin/}" "${KIT_PROGRAMS[@]/#/./needs/}" >/dev/null 2>&1
}

fetch_kit() {
  say "fetching the micro-VM's kit of storage tools"
  apt-cache show "${KIT_PACKAGES[@]}" >/dev/null 2>&1 || apt_get update -qq
  local work program found
  local packages=()
  mapfile -t packages < <(kit_packages "${KIT_PACKAGES[@]}")
  work=$(mktemp -d)
  unpack_packages "$work" "${packages[@]}"
  mkdir -p "$work/kit/bin" "$work/kit/lib" "$work/kit/needs"
  for program in "${KIT_PROGRAMS[@]}"; do
    found=$(kit_program "$work/tree" "$program")
    cp -L "$found" "$work/kit/bin/$program"
    kit_libraries "$work/tree" "$found" | while read -r library; do
      cp -Ln "$library" "$work/kit/lib/"
      basename "$library" >>"$work/kit/needs/$program"
    done
  done
  for program in "$work"/packages/*.deb; do dpkg-deb -W "$program"; done >"$work/kit/packages"
  tar -C "$work/kit" --sort=name --owner=0 --group=0 --numeric-owner -cf "$KERNEL_DIR/kit.tar.part" .
  mv "$KERNEL_DIR/kit.tar.part" "$KERNEL_DIR/kit.tar"
  rm -rf "$work"
}

# The packages and all libraries below them.
kit_packages() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    awk -v wanted="$*" '
      /^[^ ]/ { package = $1 }
      /Depends:/ && $2 ~ /^lib/ { needs[package] = needs[package] " " $2 }
      END {
        count = split(wanted, queue, " ")
        for (next_one = 1; next_one <= count; next_one++) {
          if (seen[queue[next_one]]++) continue
          print queue[next_one]
          more = split(needs[queue[next_one]], names, " ")
          for (each = 1; each <= more; each++) queue[++count] = names[each]
        }
      }'
}

kit_program() {
  local folder
  for folder in usr/sbin sbin usr/bin bin; do
    [ ! -x "$1/$folder/$2" ] || { echo "$1/$folder/$2"; return; }
  done
  fail "the packages ${KIT_PACKAGES[*]} hold no program $2"
}

# What the loader of the same packages finds, the loader included.
kit_libraries() {
  local loader path list
  loader=$(find "$1" -name 'ld-linux-x86-64.so.2' -print -quit)
  [ -n "$loader" ] || fail "no loader was found among the packages of the micro-VM's kit"
  path=$(find "$1" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
  list=$("$loader" --inhibit-cache --library-path "$path" --list "$2") || fail "$2 cannot be put into the micro-VM's kit: $list"
  case $list in *'not found'*) fail "a library of $2 is missing: $list" ;; esac
  echo "$loader"
  awk '$2 == "=>" { print $3 }' <<<"$list"
}

kernel_package() {
  local name
  for name in linux-image-cloud-amd64 linux-image-virtual; do
    [ -n "$(apt-cache policy "$name" | awk '/Candidate:/ && $2 != "(none)"')" ] && { echo "$name"; return; }
  done
  apt_get update -qq
  for name in linux-image-cloud-amd64 linux-image-virtual; do
    [ -n "$(apt-cache policy "$name" | awk '/Candidate:/ && $2 != "(none)"')" ] && { echo "$name"; return; }
  done
  fail "apt knows neither linux-image-cloud-amd64 nor linux-image-virtual: its package lists may be empty"
}

# The image and, on Ubuntu, the modules that it keeps apart.
kernel_packages() {
  apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces "$1" |
    awk '/Depends:/ { print $2 }' | grep -E '^linux-(image|modules)-[0-9]' |
    while read -r image; do
      echo "$image"
      apt-cache depends "$image" | awk '/Depends:/ { print $2 }' | grep -E '^linux-modules-[0-9]' || true
    done | sort -u
}

depmod_kernel() {
  local version
  for version in "$1"/lib/modules/*; do depmod -b "$1" "$(basename "$version")"; done
}

libvirt_answers() { virsh -q -c qemu:///system version >/dev/null 2>&1; }

STARTED=()
start_by_hand() {
  pgrep -x "$1" >/dev/null && return 0
  "$1" -d --pid-file "/run/$1.pid" 2>"/run/$1.start.log" || return 0
  STARTED+=("$1")
}

start_libvirt() {
  libvirt_answers && return 0
  [ -d /run/systemd/system ] || say "no service manager: starting virtlogd and libvirtd"
  local left=150
  until libvirt_answers; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "libvirt does not answer on qemu:///system; $(cat /run/libvirtd.start.log 2>/dev/null || true)"
    # Each time: one that was just ending when we looked is gone now.
    start_daemons
    sleep 0.2
  done
}

start_daemons() {
  if [ -d /run/systemd/system ]; then
    systemctl start libvirtd
  else
    mkdir -p /run/libvirt
    start_by_hand virtlogd
    start_by_hand libvirtd
  fi
}

# The web console, which the daemon's binary takes in: built again only when
# something that it is made of changed.
build_console() {
  local sum
  sum=$(console_sum)
  if [ -f console/dist/index.html ] && [ "$(cat console/node_modules/.built 2>/dev/null)" = "$sum" ]; then return 0; fi
  node_is_new_enough || fail "the web console needs Node $NODE_LEAST or newer with npm, and $(node --version 2>/dev/null || echo none) is here: install nodejs and npm"
  say "building the web console"
  install_console_parts
  npm --prefix console run --silent build >&2 || fail "the web console could not be built: see above"
  printf '%s\n' "$sum" >console/node_modules/.built
}

install_console_parts() {
  local sum
  sum=$(sha256sum <console/package-lock.json)
  [ "$(cat console/node_modules/.installed 2>/dev/null)" != "$sum" ] || return 0
  # No browser is fetched: the tests use Debian's.
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm --prefix console ci --no-audit --no-fund >&2 ||
    fail "npm could not fetch what the web console is made of: see above"
  printf '%s\n' "$sum" >console/node_modules/.installed
}

console_sum() {
  find console/src console/public console/*.json console/index.html console/vite.config.ts -type f ! -name schema.d.ts \
    -print0 | sort -z | xargs -0 sha256sum | sha256sum
}

# The image reader is left out of the workspace build: its parsers and the
# dependencies of the others cannot be built together, and the daemon is not to
# contain them. The injector runs inside the micro-VM, where there are no
# libraries: it is linked statically and put beside the others.
build_all() {
  build_console
  say "building (the first time takes some minutes)"
  cargo build --release --locked --workspace --bins >&2
  cargo build --release --locked -p lifeboat-images --features reader --bin lifeboat-image-reader >&2
  local target=x86_64-unknown-linux-gnu
  # These run elsewhere: in the micro-VM, and on protected machines of any age.
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" \
    -p lifeboat-drivers --no-default-features --bin lifeboat-injector >&2
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" \
    -p lifeboat-agent --bin lifeboat-agent >&2
  install -m 755 "target/$target/release/lifeboat-injector" "target/$target/release/lifeboat-agent" "$BIN/"
}

# Runs a command as a child that gets the terminal's interrupt and is waited
# for, so that its own clean-up finishes before ours begins.
in_foreground() {
  trap : INT TERM HUP
  local status=0
  "$@" || status=$?
  trap - INT TERM HUP
  return "$status"
}

# libvirt that we started ends with us, after those who use it; a user's own
# goes on.
stop_what_we_started() {
  [ ${#STARTED[@]} -gt 0 ] || return 0
  local left=100 index pid
  while pgrep -x lifeboat >/dev/null && [ "$left" -gt 0 ]; do
    left=$((left - 1))
    sleep 0.2
  done
  # libvirtd before the virtlogd that it writes through.
  for ((index = ${#STARTED[@]} - 1; index >= 0; index--)); do
    pid=$(cat "/run/${STARTED[index]}.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || continue
    left=50
    while [ -d "/proc/$pid" ] && [ "$left" -gt 0 ]; do
      left=$((left - 1))
      sleep 0.1
    done
  done
}

install_cargo_deny() {
  command -v cargo-deny >/dev/null && return 0
  say "building cargo-deny (once)"
  cargo install --quiet --locked cargo-deny
}
