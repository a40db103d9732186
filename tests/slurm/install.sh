#!/usr/bin/env bash
# Install what the Slurm of the tests is made of, and leave none of its services running. Needs root on Debian or Ubuntu.
set -euo pipefail
mapfile -t packages < "$(dirname "$0")/packages.txt"

states=$(dpkg-query --show --showformat '${db:Status-Status}\n' "${packages[@]}" 2> /dev/null || true)
[ "$(grep --count --line-regexp installed <<< "$states")" -eq "${#packages[@]}" ] && exit

scratch=$(mktemp --directory)
policy=/usr/sbin/policy-rc.d  # asked before any service is started
[ -e "$policy" ] || fresh_policy=$policy
trap 'rm -rf "$scratch" ${fresh_policy:+"$fresh_policy"}' EXIT
if [ -n "${fresh_policy:-}" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
fi
fresh_services=()
for service in munge slurmctld slurmd slurmdbd; do
    [ -e "/lib/systemd/system/$service.service" ] || fresh_services+=("$service")
done

install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    apt-get install --yes --no-install-recommends "${packages[@]}"
}
install &> "$scratch/log" || { cat "$scratch/log" >&2; exit 1; }
if [ -d /run/systemd/system ]; then  # nor are they at the next boot
    systemctl --quiet disable "${fresh_services[@]}"
fi
