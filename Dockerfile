# The two images of hoft. Each holds one static program, the public certificate authorities and the licence; no shell,
# no package manager, nobody's user but 65532.
#
#   docker build --target sidecar  -t hoft-sidecar:0.1.0 .
#   docker build --target operator -t hoft-operator:0.1.0 .
#
# Whoever has the programs already gives a folder in place of the first stage; it holds out/hoft, out/hoft-operator and
# out/ca-certificates.crt, and nothing is compiled:
#
#   buildah bud --target sidecar --build-context build=FOLDER -t hoft-sidecar:0.1.0 .

FROM docker.io/library/rust:1.95.0-bookworm AS build
ARG TARGETARCH
# The image's own toolchain is the one that rust-toolchain.toml pins; without this rustup fetches its extra components.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates cmake musl-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# One stage builds for the machine it runs on (`--platform` chooses it): C code for musl is compiled by that machine's
# own musl-gcc.
RUN set -eu; \
    case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
      amd64) target=x86_64-unknown-linux-musl ;; \
      arm64) target=aarch64-unknown-linux-musl ;; \
      *) echo "hoft is built for amd64 and arm64, not for ${TARGETARCH}" >&2; exit 1 ;; \
    esac; \
    rustup target add "$target"; \
    cargo build --locked --release --target "$target" --bin hoft --bin hoft-operator; \
    mkdir /out; \
    strip -o /out/hoft "target/$target/release/hoft"; \
    strip -o /out/hoft-operator "target/$target/release/hoft-operator"; \
    cp /etc/ssl/certs/ca-certificates.crt /out/

FROM scratch AS operator
LABEL org.opencontainers.image.title="hoft-operator" \
      org.opencontainers.image.description="Makes what a TunnelPeering asks for, and shows how it is" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /licenses/hoft/LICENSE
COPY --from=build --chmod=0644 /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chmod=0755 /out/hoft-operator /hoft-operator
USER 65532:65532
ENTRYPOINT ["/hoft-operator"]

# Last, so that it is what a build without a target gives.
FROM scratch AS sidecar
LABEL org.opencontainers.image.title="hoft-sidecar" \
      org.opencontainers.image.description="HTTP calls between networks that only exchange files" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /licenses/hoft/LICENSE
COPY --from=build --chmod=0644 /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chmod=0755 /out/hoft /hoft
USER 65532:65532
ENTRYPOINT ["/hoft"]
