# shellcheck shell=bash
# Where Debian packages come from: whatever this machine's apt already uses, else
# what mmdebstrap takes by itself.

: "${FIGURE4_KEYRING:=/usr/share/keyrings/debian-archive-keyring.gpg}"

# Asks apt itself, so that one-line and deb822 sources are both understood.
configured_debian_mirror() {
    # shellcheck disable=SC2016 # the fields are apt's to fill in
    apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
        awk '$1 == "Packages" && $3 == "main" &&
             $2 ~ /^(bookworm|trixie|forky|sid|stable|testing|unstable|oldstable)$/ &&
             $4 ~ /^https?:/ && !found { sub(/\/$/, "", $4); print $4; found = 1 }'
}

# Empty when this machine's apt knows none.
debian_mirror() {
    local mirror=${FIGURE4_MIRROR:-}
    [[ -n $mirror ]] || mirror=$(configured_debian_mirror)
    echo "$mirror"
}

# The source of a suite's packages as mmdebstrap's argument; nothing for its own default.
package_source() {
    local suite=$1 mirror
    mirror=$(debian_mirror)
    [[ -z $mirror ]] || echo "deb $mirror $suite main"
}

# Proxy and validity settings of this machine's apt, as mmdebstrap options.
apt_options() {
    apt-config dump |
        grep -Ei '^Acquire::(https?::Proxy|Check-Valid-Until|Check-Date|https::(CaInfo|Verify-))' |
        sed 's/^/--aptopt=/' || true
}

require_keyring() {
    [[ -r $FIGURE4_KEYRING ]] ||
        die "no Debian archive keyring at $FIGURE4_KEYRING: install debian-archive-keyring or set FIGURE4_KEYRING"
}
