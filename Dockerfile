# One JavaScript file, and Node to run it. You can replace the base images:
# NODE has Node 24 with npm. BASE has glibc and libstdc++ and needs nothing else.
# BUILDER is NODE for the platform of the building machine, if the platforms differ.
# Node older than 24.22.3 can abort when a driver disconnects (docs/adr/0014). deploy/README.md says how to pin NODE by digest.
ARG NODE=docker.io/library/node:24.22.3-bookworm-slim
ARG BUILDER=${NODE}
# The image index of cc-debian12:latest of 2026-09-16, so it holds for all platforms.
ARG BASE=gcr.io/distroless/cc-debian12@sha256:e5d81ddde149641e2a9ba55be4545bc125c67de07508b03ba4c22e6eb0ded5aa

# The bundle is the same for every platform, so it is built on the builder's platform.
FROM --platform=$BUILDPLATFORM ${BUILDER} AS build
WORKDIR /keyferry
COPY package.json package-lock.json ./
# For a mirror of the registry use --secret id=npmrc,src=$HOME/.npmrc. The secret does not stay in the image.
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --no-audit --no-fund --ignore-scripts
COPY scripts scripts
COPY src src
RUN node scripts/build.mjs

FROM ${NODE} AS node

FROM ${BASE} AS keyferry
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Keyferry" \
      org.opencontainers.image.description="One Secrets Store CSI driver provider for many secret stores" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=node --chmod=0755 /usr/local/bin/node /usr/bin/node
COPY --from=node --chmod=0644 /usr/local/LICENSE /licenses/node
COPY --chmod=0644 LICENSE /licenses/keyferry
COPY --from=build --chmod=0644 /keyferry/dist/keyferry.js.LEGAL.txt /licenses/dependencies
COPY --from=build --chmod=0644 /keyferry/dist/keyferry.js /keyferry.js
COPY --chmod=0755 scripts/image/keyferry /usr/bin/keyferry
# An unprivileged user. The DaemonSet runs the image as root without capabilities, because root owns the
# directory of the sockets: see deploy/README.md.
USER 65532:65532
# A small heap, whose young generation one thread collects. No Maglev compiler, which would take 40 MiB (docs/adr/0013).
# malloc returns free memory to the node.
ENV MALLOC_TRIM_THRESHOLD_=131072
ENTRYPOINT ["/usr/bin/node", "--max-semi-space-size=4", "--max-old-space-size=64", "--no-maglev", "--no-parallel-scavenge", "/keyferry.js"]
CMD ["serve"]

# The agent of `docker dso`: make image-docker, after make shim. It mounts a tmpfs, so it runs as root;
# `docker dso system setup --container` starts it with the rights that it needs and no others.
FROM keyferry AS docker-agent
ARG TARGETARCH
LABEL org.opencontainers.image.description="The agent of docker dso: secrets for Compose applications"
COPY --from=build --chmod=0755 /keyferry/dist/docker-dso /docker-dso
COPY --chmod=0755 scripts/image/dso /usr/bin/dso
COPY --chmod=0755 dist/shim/mount-linux-${TARGETARCH} /usr/bin/mount
COPY --chmod=0755 dist/shim/dso-shim-linux-${TARGETARCH} /shim/
USER 0:0
CMD ["docker-agent"]

# The last stage is what is built by default.
FROM keyferry
