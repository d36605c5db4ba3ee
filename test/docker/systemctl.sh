#!/bin/bash
# systemctl as far as `docker dso` and its guides use it, for the one unit dso-agent. It starts the
# ExecStart of the real unit, with its EnvironmentFile. $STATE is a directory of its own.
set -euo pipefail
unit=/etc/systemd/system/dso-agent.service
words=()
for word; do case $word in --quiet | --now | --property=*) ;; *) words+=("$word") ;; esac; done
pid() { cat "$STATE/pid" 2>/dev/null || echo none; }
is_active() { kill -0 "$(pid)" 2>/dev/null; }

stop() {
  is_active || return 0
  kill "$(pid)"
  while is_active; do sleep 0.05; done
}

start() {
  local words variables=()
  read -ra words < <(sed -n 's/^ExecStart=//p' "$unit")
  [ ! -e /etc/dso/environment ] || mapfile -t variables </etc/dso/environment
  rm -f /run/docker/plugins/dso.sock
  env -i PATH="$PATH" "${variables[@]}" setsid "${words[@]}" >>"$STATE/log" 2>&1 </dev/null &
  echo $! >"$STATE/pid"
  for _ in $(seq 600); do
    [ ! -S /run/docker/plugins/dso.sock ] || return 0
    is_active || { tail -n 3 "$STATE/log" >&2; return 1; }
    sleep 0.1
  done
  return 1
}

case ${words[0]} in
  daemon-reload) ;;
  enable) touch "$STATE/enabled" ;;
  disable)
    rm -f "$STATE/enabled"
    stop
    ;;
  is-enabled) [ -e "$STATE/enabled" ] ;;
  is-active) is_active ;;
  restart | start)
    stop
    start
    ;;
  stop) stop ;;
  show)
    [ ! -e "$unit" ] || echo LoadState=loaded
    [ ! -e "$STATE/enabled" ] || echo UnitFileState=enabled
    grep '^Before=' "$unit" || true
    ;;
  *) echo "systemctl: this stand-in does not know ${words[*]}" >&2; exit 1 ;;
esac
