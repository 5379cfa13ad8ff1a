#!/bin/sh
# Installs the Afkobling agent on a Linux device, brings it to another version, or takes it away.
#
#   sudo sh install-edge.sh --from WHEEL     install, or change to the version in this wheel (a folder or a name works too)
#   sudo sh install-edge.sh --back           go back to the version before
#   sudo sh install-edge.sh --remove         take the programs away; readings, certificate and configuration stay
#
# Programs live below /opt/afkobling-edge, each version in a folder of its own; what belongs to this device lives in
# /var/lib/afkobling-edge: edge.yaml, the certificate and its key, and the outbox, which every change of version keeps.
# Packages come from whatever index this machine's pip is set to.
set -eu

programs=/opt/afkobling-edge
state=/var/lib/afkobling-edge
units=/etc/systemd/system
account=afkobling-edge
python=${PYTHON:-python3}
extras=edge
from='' action='' constraint='' with_service=yes

say() { echo "install-edge: $*" >&2; }
fail() { say "$*"; exit 1; }

usage() {
    sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//'
    cat <<'END'
  --extras LIST       more drivers: opcua, gpio, as in opcua,gpio
  --constraint FILE   the versions of libraries to take
  --prefix DIR        install below DIR, without a service: to try it, or to make an image
END
}

while [ $# -gt 0 ]; do
    case $1 in
        --from) [ $# -ge 2 ] || fail "--from needs a wheel, a folder or a name"; from=$2; action=install; shift ;;
        --back) action=back ;;
        --remove) action=remove ;;
        --extras) [ $# -ge 2 ] || fail "--extras needs a list"; extras="edge,$2"; shift ;;
        --constraint) [ $# -ge 2 ] || fail "--constraint needs a file"; constraint=$2; shift ;;
        --prefix)
            [ $# -ge 2 ] || fail "--prefix needs a folder"
            programs=$2$programs state=$2$state units=$2$units with_service=no
            shift ;;
        --print-unit) action=print ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "there is no option $1" ;;
    esac
    shift
done

print_unit() {
    cat <<'END'
[Unit]
Description=Afkobling agent: reads meters and publishes what they say
# Readings are kept without a network and dated with the machine's clock.
Wants=network-online.target time-sync.target
After=network-online.target time-sync.target
ConditionPathExists=/var/lib/afkobling-edge/edge.yaml

[Service]
Type=exec
User=afkobling-edge
Group=afkobling-edge
# Serial ports belong to this group on Debian.
SupplementaryGroups=dialout
ExecStart=/opt/afkobling-edge/current/bin/afkobling edge run --config /var/lib/afkobling-edge/edge.yaml
WorkingDirectory=/var/lib/afkobling-edge
StateDirectory=afkobling-edge
StateDirectoryMode=0750
UMask=0027
Restart=always
RestartSec=5
# The agent drains its outbox for some seconds and then ends; what is not confirmed stays in the file.
TimeoutStopSec=30
MemoryMax=256M
TasksMax=128

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
# Meters on serial adapters, serial ports and GPIO pins; no other device.
DevicePolicy=closed
DeviceAllow=char-ttyUSB rw
DeviceAllow=char-ttyACM rw
DeviceAllow=char-ttyS rw
DeviceAllow=char-ttyAMA rw
DeviceAllow=char-gpiochip rw

[Install]
WantedBy=multi-user.target
END
}

running() { [ "$with_service" = yes ] && systemctl is-active --quiet afkobling-edge; }
stop_agent() { if running; then say "stopping the agent"; systemctl stop afkobling-edge; fi; }

start_agent() {
    [ "$with_service" = yes ] || return 0
    if [ ! -f "$state/edge.yaml" ]; then
        say "next: cd $state && sudo -u $account $programs/current/bin/afkobling edge init, then systemctl start afkobling-edge"
        return 0
    fi
    systemctl start afkobling-edge
    # One that can't begin ends within seconds, and is started again for ever.
    sleep 10
    systemctl is-active --quiet afkobling-edge
}

# The newest format of the outbox that a version knows.
format_of() {
    "$1/bin/python" -I -c 'import edge.outbox_file as f; print(getattr(f, "FORMAT", None) or getattr(f, "_FORMAT"))'
}

# fit_outbox FROM TO: an older version reads only the outbox of its own format; what is in it comes along.
fit_outbox() {
    [ -f "$state/edge.yaml" ] || return 0
    ours=$(format_of "$1") theirs=$(format_of "$2")
    if [ "$theirs" -lt "$ours" ]; then
        say "bringing the outbox to format $theirs"
        as_account "$1/bin/afkobling" edge outbox --config "$state/edge.yaml" --to-format "$theirs"
    fi
}

as_account() {
    if [ "$with_service" = yes ]; then runuser -u "$account" -- "$@"; else "$@"; fi
}

# `current` and `previous` are links; each changes in one step.
point() { ln -s "$2" "$programs/.$1.new" && mv -T "$programs/.$1.new" "$programs/$1"; }

switch_to() {
    new=$1
    old=$(readlink "$programs/current" 2>/dev/null || true)
    if [ -n "$old" ] && [ "$old" != "$new" ]; then
        stop_agent
        fit_outbox "$programs/$old" "$programs/$new"
        point previous "$old"
    fi
    point current "$new"
    if ! start_agent; then
        say "the agent does not stay up with this version; its last words:"
        journalctl -u afkobling-edge -n 20 --no-pager >&2 || true
        [ -n "$old" ] && [ "$old" != "$new" ] || fail "mend what it says, then: systemctl start afkobling-edge"
        systemctl stop afkobling-edge || true
        fit_outbox "$programs/$new" "$programs/$old"
        point current "$old"
        start_agent || true
        fail "gone back to the version before; nothing is lost"
    fi
}

version_of() { "$1/bin/python" -I -c 'from importlib.metadata import version; print(version("afkobling"))'; }

prepare() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "Python 3.11 or newer is needed (Debian 12 has it): apt-get install python3; or set PYTHON"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python can't make virtual environments: apt-get install python3-venv"
    if [ "$with_service" = yes ]; then
        [ "$(id -u)" = 0 ] || fail "run it with sudo, or with --prefix to try it without"
        command -v systemctl >/dev/null || fail "there is no systemd here; use --prefix, or the container image"
        getent passwd "$account" >/dev/null ||
            useradd --system --home-dir "$state" --shell /usr/sbin/nologin "$account"
    fi
    mkdir -p "$programs" "$state"
    [ "$with_service" = no ] || { chown "$account:$account" "$state" && chmod 0750 "$state"; }
}

install_version() {
    prepare
    place=$(date -u +%Y%m%dT%H%M%SZ)
    while [ -e "$programs/$place" ]; do sleep 1; place=$(date -u +%Y%m%dT%H%M%SZ); done
    say "making $programs/$place"
    # A try that fails leaves what runs alone, and nothing else behind.
    trap 'rm -rf "$programs/$place"' EXIT INT TERM
    "$python" -m venv "$programs/$place" || fail "$python could not make $programs/$place"
    set -- install --quiet --disable-pip-version-check
    [ -z "$constraint" ] || set -- "$@" --constraint "$constraint"
    "$programs/$place/bin/python" -m pip "$@" "$from[$extras]" || fail "pip could not install $from; see above"
    "$programs/$place/bin/afkobling" edge run --help >/dev/null || fail "what was installed does not start"
    trap - EXIT INT TERM
    if [ "$with_service" = yes ]; then
        print_unit >"$units/afkobling-edge.service"
        if getent group gpio >/dev/null; then
            mkdir -p "$units/afkobling-edge.service.d"
            printf '[Service]\nSupplementaryGroups=gpio\n' >"$units/afkobling-edge.service.d/gpio.conf"
        fi
        systemctl daemon-reload
        systemctl enable --quiet afkobling-edge
        ln -sf "$programs/current/bin/afkobling" /usr/local/bin/afkobling
    fi
    switch_to "$place"
    forget_older
    say "Afkobling $(version_of "$programs/current") is in place; readings and configuration: $state"
}

# Two versions stay: the one in use and the one to go back to.
forget_older() {
    for one in "$programs"/2*Z; do
        case ${one##*/} in
            "$(readlink "$programs/current")" | "$(readlink "$programs/previous" 2>/dev/null)") ;;
            *) rm -rf "$one" ;;
        esac
    done
}

case $action in
    install) install_version ;;
    back)
        before=$(readlink "$programs/previous" 2>/dev/null) || fail "there is no version before to go back to"
        switch_to "$before"
        say "back to Afkobling $(version_of "$programs/current")" ;;
    remove)
        stop_agent
        if [ "$with_service" = yes ]; then
            systemctl disable --quiet afkobling-edge 2>/dev/null || true
            rm -rf "$units/afkobling-edge.service" "$units/afkobling-edge.service.d"
            [ "$(readlink /usr/local/bin/afkobling)" != "$programs/current/bin/afkobling" ] || rm /usr/local/bin/afkobling
            systemctl daemon-reload
        fi
        rm -rf "$programs"
        say "removed; $state stays, with what was not sent yet: delete it by hand if nobody needs it" ;;
    print) print_unit ;;
    *) usage >&2; exit 2 ;;
esac
