#!/usr/bin/env bash
# Makes sure that the servers and the browser which the tests start as child processes are here.
set -euo pipefail

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v chromium >/dev/null || missing+=(chromium)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
((${#missing[@]})) || exit 0

if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then
  echo "The tests need ${missing[*]}. On Debian, as root: apt-get install --no-install-recommends ${missing[*]}"
  exit 1
fi
echo "Installing ${missing[*]} through apt-get"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The tests run clusters of their own: Debian's default one must not start.
mkdir -p /etc/postgresql-common
grep -qs '^create_main_cluster' /etc/postgresql-common/createcluster.conf || echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
