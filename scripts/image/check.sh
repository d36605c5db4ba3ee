#!/usr/bin/env bash
# Checks the image without an image registry: builds it twice from packages, and runs it with runc as
# the kubelet does for the DaemonSet. Prints the result of each check, then the table for
# deploy/README.md. Takes two to ten minutes, mostly for packages.
# Needs: root on Debian, and its packages buildah, runc, qemu-user-static; Go.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=scripts/image
missing=()
[ "$(id -u)" = 0 ] || missing+=(root)
for tool in buildah runc qemu-aarch64-static dpkg-deb npm go; do command -v "$tool" >/dev/null || missing+=("$tool"); done
[ ${#missing[@]} = 0 ] || { echo "cannot check the image here; missing: ${missing[*]}" >&2; exit 1; }

work=$(mktemp -d)
state=$work/runc
declare -a containers=() mounted=()
finish() {
  for name in "${containers[@]}"; do runc --root "$state" delete --force "$name" 2>/dev/null || true; done
  for name in "${mounted[@]}"; do buildah rm "$name" >/dev/null 2>&1 || true; done
  rm -rf "$work"
}
trap finish EXIT
failed=0
pass() { echo "passed: $1"; }
fail() { echo "FAILED: $1" >&2; failed=1; }
check() { local what=$1; shift; if "$@" >"$work/out" 2>&1; then pass "$what"; else fail "$what"; sed 's/^/        /' "$work/out" >&2; fi; }
check_denied() { local what=$1 reason=$2; shift 2; if "$@" >"$work/out" 2>&1; then fail "$what"; elif grep -q "$reason" "$work/out"; then pass "$what: $(grep -m1 -o "[^\"]*$reason[^\"]*" "$work/out" | cut -c1-200)"; else fail "$what, for another reason"; cat "$work/out" >&2; fi; }

# --- the same Dockerfile, built twice on base images from packages
{ cat ~/.npmrc 2>/dev/null || true; echo cafile=/etc/ssl/certs/ca-certificates.crt; } >"$work/npmrc"
mkdir "$work/context"
cp -r Dockerfile .dockerignore LICENSE package.json package-lock.json proto scripts src "$work/context"
make -s shim
mkdir "$work/context/dist" && cp -r dist/shim "$work/context/dist"
# build PLATFORM NAME [STAGE]
build() {
  # The base images set the platform. With --platform, buildah of Debian 12 uses the platform of one
  # stage for the next one too.
  buildah build --quiet --isolation chroot --no-cache --pull=never --timestamp 0 --secret "id=npmrc,src=$work/npmrc" \
    --build-arg BUILDER=localhost/keyferry-node:amd64 \
    --build-arg "NODE=localhost/keyferry-node:$1" --build-arg "BASE=localhost/keyferry-base:$1" ${3:+--target "$3"} --tag "$2" "$work/context" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log" >&2; exit 1; }
}
digest() { buildah inspect --type image --format '{{.FromImageDigest}}' "$1"; }
"$here/base.sh" amd64 2>/dev/null
"$here/base.sh" arm64 2>/dev/null
build amd64 localhost/keyferry:one
build amd64 localhost/keyferry:two
check "two builds have one digest, $(digest localhost/keyferry:one)" [ "$(digest localhost/keyferry:one)" = "$(digest localhost/keyferry:two)" ]
buildah push --quiet localhost/keyferry:one "oci:$work/oci" >/dev/null 2>&1
packed=$(du -sm "$work/oci/blobs" | cut -f1)
mount_of() { local name; name=$(buildah from --arch "$2" "$1"); mounted+=("$name"); root=$(buildah mount "$name"); }
mount_of localhost/keyferry:one amd64
size=$(du -sm "$root" | cut -f1)
check 'it has no shell and no package manager' bash -c "! find '$root' \\( -name sh -o -name bash -o -name dash -o -name busybox -o -name apt -o -name dpkg -o -name npm \\) -not -type d | grep ."

# --- the files of a node: the driver's directory, a store, a grant, a class
keyferry() { "$root/usr/bin/node" "$root/keyferry.js" "$@"; }
mkdir -p "$work"/{providers,owned,local,grants,health-one,health-two,volume}
chmod 755 "$work" "$work/providers"
chown 65532:65532 "$work/owned"
printf 'grants:\n  - {provider: local, namespaces: [default], serviceAccounts: ["*"], names: ["local/**"]}\n' >"$work/grants/grants.yaml"
keyferry local --store "$work/local/store.age" --key "$work/local/store.key" init >/dev/null
printf s3cret | keyferry local --store "$work/local/store.age" --key "$work/local/store.key" set db >/dev/null
cat >"$work/class.yaml" <<'CLASS'
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: web}
spec:
  provider: local
  parameters: {objects: '- objectName: db'}
CLASS
chmod -R a+rX "$work/local" "$work/grants"

# container NAME UID PROVIDERS-DIR HEALTH-DIR MORE-OPTIONS: as in the DaemonSet, with hostNetwork
port=$((20000 + RANDOM % 10000))
container() {
  local name=$1 uid=$2 providers=$3 health=$4 more=${5:-'{}'} bundle=$work/bundle-$1
  mkdir -p "$bundle" "$health"
  chown "$uid" "$health"
  node -e '
    const [rootfs, uid, providers, health, local, grants, port, more] = process.argv.slice(1);
    const args = ["/usr/bin/node", "--max-semi-space-size=4", "--max-old-space-size=64", "--no-maglev", "--no-parallel-scavenge", "/keyferry.js", "serve", "--providers=local", "--shared-identity-grants=/etc/keyferry/grants/grants.yaml"];
    console.log(JSON.stringify({ rootfs, args, uid: Number(uid), env: ["KEYFERRY_HEALTH_ADDRESS=unix:/run/keyferry/health.sock,127.0.0.1:" + port],
      writable: { "/var/run/secrets-store-csi-providers": providers, "/run/keyferry": health }, readable: { "/var/lib/keyferry": local, "/etc/keyferry/grants": grants }, ...JSON.parse(more) }));
  ' "$root" "$uid" "$providers" "$health" "$work/local" "$work/grants" "$port" "$more" >"$bundle/options"
  node "$here/runc-config.mjs" "$(cat "$bundle/options")" >"$bundle/config.json"
  containers+=("$name")
  runc --root "$state" run --detach --bundle "$bundle" --pid-file "$bundle/pid" "$name" </dev/null >"$bundle/log" 2>&1 || { cat "$bundle/log"; return 1; }
}
until_true() { local end=$((SECONDS + 10)); until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.02; done; }
inside() { runc --root "$state" exec "$@"; }
ready() { inside "$1" /usr/bin/node /keyferry.js health; }
end() { runc --root "$state" delete --force "$1"; }
mounts() { rm -rf "$work/volume"; keyferry mount -f "$work/class.yaml" --socket "$1/local.sock" --out "$work/volume" && [ "$(cat "$work/volume/db")" = s3cret ]; }

# --- as root without capabilities
began=$(date +%s%3N)
container one 0 "$work/providers" "$work/health-one"
until_true grep -q '"msg":"serving"' "$work/bundle-one/log"
start=$(($(date +%s%3N) - began))
check 'root without capabilities: it is ready for the probe of the chart' until_true ready one
check 'root without capabilities: a driver can mount' mounts "$work/providers"
check 'it has keyferry in its PATH' inside one keyferry health
pid=$(cat "$work/bundle-one/pid")
check 'it has no capability, a seccomp filter, and no way to new privileges' bash -c "grep -qP 'CapEff:\t0+$' /proc/$pid/status && grep -qP 'CapBnd:\t0+$' /proc/$pid/status && grep -qP 'Seccomp:\t2' /proc/$pid/status && grep -qP 'NoNewPrivs:\t1' /proc/$pid/status"
write() { inside one /usr/bin/node -e "require('fs').writeFileSync('$1', '')"; }
for place in / /tmp /etc /etc/keyferry/grants /var/lib/keyferry; do check_denied "it cannot write to $place" EROFS write "$place/x"; done
check_denied 'it cannot give a file to another user' EPERM inside one /usr/bin/node -e "require('fs').chownSync('/var/run/secrets-store-csi-providers', 1, 1)"
rss=$(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status")

# --- a rollout with hostNetwork: two pods, one port
check 'hostNetwork: the old pod has the port' until_true bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
container two 0 "$work/providers" "$work/health-two"
check 'hostNetwork: the new pod is ready beside it' until_true ready two
(while [ ! -e "$work/stop" ]; do mounts "$work/providers" >/dev/null 2>&1 && echo ok || echo lost; done >"$work/mounts") &
looper=$!
sleep 0.5
runc --root "$state" kill one TERM
check 'hostNetwork: the old pod ends' until_true bash -c "runc --root '$state' state one | grep -q stopped"
sleep 1
touch "$work/stop"; wait "$looper"
check "hostNetwork: no mount was lost meanwhile ($(grep -c ok "$work/mounts") mounts)" bash -c "grep -q ok '$work/mounts' && ! grep lost '$work/mounts'"
check 'hostNetwork: the new pod has the port now' until_true bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
end two

# --- as another user
check_denied 'another user cannot listen in a directory of root' EACCES bash -c "$(declare -f container inside); containers=(); $(declare -p work state root here port); container other 65532 '$work/providers' '$work/health-other'; sleep 2; cat '$work/bundle-other/log'; false"
end other 2>/dev/null || true
cp -r "$work/local" "$work/local-owned" && chown -R 65532 "$work/local-owned"
container owner 65532 "$work/owned" "$work/health-owner" "{\"readable\": {\"/var/lib/keyferry\": \"$work/local-owned\", \"/etc/keyferry/grants\": \"$work/grants\"}}"
check 'uid 65532 in a directory of its own: it is ready' until_true ready owner
check 'uid 65532 in a directory of its own: a driver can mount' mounts "$work/owned"
end owner
container mapped 0 "$work/providers" "$work/health-mapped" '{"userNamespace": true}' >"$work/out" 2>&1 || true
sleep 1
echo "not checked: a user namespace (hostUsers: false). runc here: $(cat "$work/out" "$work/bundle-mapped/log" | tail -n 1 | grep -o '[a-z ]*permission denied\|[^:]*$' | tail -n 1)"
end mapped 2>/dev/null || true

# --- arm64: built, and run in an emulator
build arm64 localhost/keyferry:arm64
mount_of localhost/keyferry:arm64 arm64
arm() { qemu-aarch64-static -L "$root" "$root/usr/bin/node" "$root/keyferry.js" "$@"; }
check "arm64: it is for arm64, and prints its version in qemu-user" bash -c "file() { od -An -tx2 -j18 -N2 \"\$1\"; }; [ \"\$(file '$root/usr/bin/node')\" = ' 00b7' ] && qemu-aarch64-static -L '$root' '$root/usr/bin/node' '$root/keyferry.js' --version"
check 'arm64: it mounts in qemu-user' arm mount -f "$work/class.yaml" --local-store "$work/local/store.age" --local-key "$work/local/store.key" --shared-identity-grants "$work/grants/grants.yaml"
echo 'not checked: a kernel for arm64, a registry, a kubelet'

# --- the image of the agent of docker dso
build amd64 localhost/keyferry:docker docker-agent
mount_of localhost/keyferry:docker amd64
check 'docker-agent: it has dso in its PATH' chroot "$root" /usr/bin/dso --version
check 'docker-agent: it has the shim of its processor' bash -c "'$root/shim/dso-shim-linux-amd64' --version"
check 'docker-agent: it can mount a tmpfs' unshare --mount chroot "$root" /usr/bin/mount -t tmpfs -o mode=0700,nosuid,nodev dso /tmp

printf '\n| | |\n|---|---|\n| size, unpacked | %s MiB |\n| size, packed | %s MiB |\n| container start to serving | %s ms |\n| resident memory, just started | %s MiB |\n' "$size" "$packed" "$start" "$rss"
exit $failed
