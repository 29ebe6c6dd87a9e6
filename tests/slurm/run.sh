#!/usr/bin/env bash
# Installs Slurm from Debian's packages where it is missing, then runs the tests on a cluster of its own. Where that
# cannot be done it says why in one line, and fails only where CI is set: there it must be done.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages="slurm-wlm slurmdbd munge mariadb-server"

cannot() {
  echo "test-slurm: not run: $1"
  exit "$([ -n "${CI:-}" ] && echo 1 || echo 0)"
}

installed() {
  PATH=$PATH:/usr/sbin
  for program in sbatch slurmctld slurmd slurmdbd munged mariadbd; do
    command -v $program >/dev/null || return 1
  done
}

[ "$(id -u)" = 0 ] || cannot "a Slurm of its own needs root (jobs change user, devices are made)"
if ! installed; then
  command -v apt-get >/dev/null || cannot "Slurm is not installed ($packages), and there is no apt-get"
  echo "test-slurm: installing $packages"
  export DEBIAN_FRONTEND=noninteractive
  # policy-rc.d keeps the packages from starting services of their own: the tests start theirs
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && trap "rm -f $policy" EXIT; }
  log=$(mktemp)
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } >"$log" 2>&1 ||
    { tail -n 20 "$log"; cannot "apt-get could not install $packages"; }
fi
.venv/bin/python -m pytest -m slurm tests/slurm
