#!/usr/bin/env bash
# Builds the two base images of the Dockerfile from Debian and npm packages, without an image registry:
# localhost/keyferry-base (glibc, libstdc++) and localhost/keyferry-node (the same with Node, npm and a
# shell for the build). Their tag is the platform.
# Usage: base.sh amd64|arm64     Needs: root, buildah, apt, npm.
set -euo pipefail
arch=$1
case $arch in amd64) node_arch=x64 ;; arm64) node_arch=arm64 ;; esac
node_version=24.22.3
npm_version=11.6.2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Its own package lists, so that those of the machine do not change.
mkdir -p lists/partial debs base node
chmod 755 . debs
apt=(apt-get -qq -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o Dir::State::Lists="$work/lists" -o Dir::State::status=/dev/null)
"${apt[@]}" update
(cd debs && "${apt[@]}" download libc6 libgcc-s1 libstdc++6 busybox-static)
for name in libc6 libgcc-s1 libstdc++6; do dpkg-deb -x debs/"${name}"_*.deb base; done
rm -rf base/usr/share/doc base/usr/share/lintian base/usr/share/gdb
mkdir -p base/tmp base/etc
echo 'root:x:0:0::/root:/sbin/nologin' >base/etc/passwd

# Unpacked, not installed: the packages' install scripts would choose the platform of this machine.
pack() { npm pack --silent "$1" >/dev/null && tar xzf ./*.tgz && rm ./*.tgz; }
cp -a base/. node/
mkdir -p node/usr/local/bin node/usr/local/lib/node_modules node/bin node/usr/bin node/root
dpkg-deb -x debs/busybox-static_*.deb node
for name in sh env mkdir rm; do ln -sf /bin/busybox "node/bin/$name"; done
ln -sf /bin/busybox node/usr/bin/env
pack "node-linux-$node_arch@$node_version"
install -m 755 package/bin/node node/usr/local/bin/node
install -m 644 package/LICENSE node/usr/local/LICENSE
rm -rf package
pack "npm@$npm_version"
mv package node/usr/local/lib/node_modules/npm
ln -s ../lib/node_modules/npm/bin/npm-cli.js node/usr/local/bin/npm
# The CA certificates of this machine, for the package registry. Node has its own.
install -D -m 644 /etc/ssl/certs/ca-certificates.crt node/etc/ssl/certs/ca-certificates.crt

for name in base node; do
  container=$(buildah from --arch "$arch" scratch)
  buildah copy --quiet "$container" "$name" / >/dev/null
  buildah config --arch "$arch" --env PATH=/usr/local/bin:/usr/bin:/bin "$container"
  buildah commit --quiet --timestamp 0 "$container" "localhost/keyferry-$name:$arch" >/dev/null
  buildah rm "$container" >/dev/null
done
