# shellcheck shell=bash
# shellcheck disable=SC2153 # BED is not BEDS
# What every script of the bed begins with; BED is the folder tests/bed.

FIGURE4=$(cd "$BED/../figure4" && pwd)
# shellcheck source=../../figure4/lib/messages.sh
source "$FIGURE4/lib/messages.sh"
# shellcheck source=../../figure4/lib/mirror.sh
source "$FIGURE4/lib/mirror.sh"
# shellcheck source=../../figure4/lib/confined.sh
source "$FIGURE4/lib/confined.sh"
# shellcheck source=../../figure4/lib/install.sh
source "$FIGURE4/lib/install.sh"
# shellcheck source=base.sh
source "$BED/lib/base.sh"
# shellcheck source=topology.sh
source "$BED/lib/topology.sh"
# shellcheck source=process.sh
source "$BED/lib/process.sh"
# shellcheck source=network.sh
source "$BED/lib/network.sh"
# shellcheck source=hosts.sh
source "$BED/lib/hosts.sh"
# shellcheck source=beds.sh
source "$BED/lib/beds.sh"
# shellcheck source=provision.sh
source "$BED/lib/provision.sh"
# shellcheck source=damage.sh
source "$BED/lib/damage.sh"
