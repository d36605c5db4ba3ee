#!/usr/bin/env bash
# Builds the image. Usage: build.sh NAME:TAG     NODE, BASE: what the Dockerfile begins with. NPMRC: a file, where packages come from a mirror.
# Same inputs, same layers: no time of building is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1
version=$(node -p "require('./package.json').version")
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
args=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
[ -z "${NODE:-}" ] || args+=(--build-arg "NODE=$NODE")
[ -z "${BASE:-}" ] || args+=(--build-arg "BASE=$BASE")
[ -z "${NPMRC:-}" ] || args+=(--secret "id=npmrc,src=$NPMRC")
for tool in docker podman buildah; do
  command -v "$tool" >/dev/null || continue
  case $tool in
    docker) SOURCE_DATE_EPOCH=0 exec docker buildx build "${args[@]}" --output "type=docker,name=$name,rewrite-timestamp=true" . ;;
    *) exec "$tool" build "${args[@]}" --timestamp 0 --tag "$name" . ;;
  esac
done
echo 'needs docker (with buildx), podman or buildah' >&2
exit 1
