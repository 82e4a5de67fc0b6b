#!/bin/sh
# Installs what the tests run for real, from Debian's packages: PostgreSQL, MariaDB, OpenSSH, Dovecot,
# restic, a browser, a spreadsheet and a C compiler.
# Their daemons are not started and no cluster is created: tests raise private ones (tests/servers.py).
# Does nothing when all is there. Needs root when something is missing.
set -eu

PACKAGES="gcc libc6-dev postgresql mariadb-server openssh-server dovecot-imapd dovecot-lmtpd swaks chromium openssl restic libreoffice-calc-nogui libreoffice-base-drivers"

missing=""
for package in $PACKAGES; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "The tests need these Debian packages:$missing" >&2
    echo "Install them as root: sudo sh tests/install-servers.sh" >&2
    exit 1
fi

# Debian asks policy-rc.d before it starts a daemon; 101 forbids it. The machine's own is put back.
policy=/usr/sbin/policy-rc.d
kept=$policy.muara-kept
restore() {
    rm -f "$policy"
    [ ! -e "$kept" ] || mv "$kept" "$policy"
}
trap restore EXIT
trap 'exit 130' HUP INT TERM
# a kept one from a run that was killed is the machine's own; what stands in its place is ours
[ -e "$kept" ] || [ ! -e "$policy" ] || mv "$policy" "$kept"
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

clusters=/etc/postgresql-common/createcluster.conf
setting='create_main_cluster = false'
mkdir -p "${clusters%/*}"
grep -qsx "$setting" "$clusters" || echo "$setting" >>"$clusters"

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # one word per package
apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold $missing
