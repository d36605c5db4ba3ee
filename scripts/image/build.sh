#!/usr/bin/env bash
# Builds the image with buildah, podman or docker: the first that works. Usage: build.sh NAME:TAG
# NODE, BASE: the base images. NPMRC: an .npmrc file, if packages come from a mirror. TARGET: a stage of the Dockerfile.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1
version=$(node -p "require('./package.json').version")
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
args=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "$name")
[ -z "${NODE:-}" ] || args+=(--build-arg "NODE=$NODE")
[ -z "${BASE:-}" ] || args+=(--build-arg "BASE=$BASE")
[ -z "${TARGET:-}" ] || args+=(--target "$TARGET")
[ -z "${NPMRC:-}" ] || args+=(--secret "id=npmrc,src=$NPMRC")
for tool in buildah podman docker; do
  "$tool" info >/dev/null 2>&1 || continue
  # Reproducible: the same inputs give the same layers, without a build time. BuildKit does this only
  # when it pushes to a registry; see deploy/README.md.
  case $tool in docker) docker build "${args[@]}" . ;; *) "$tool" build --timestamp 0 "${args[@]}" . ;; esac
  # Each tool has its own image store, so another tool cannot push the image.
  echo "built by $tool; to push it: $tool push $name"
  exit
done
echo 'needs buildah, podman or docker' >&2
exit 1
