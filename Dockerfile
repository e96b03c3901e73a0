# The connector as one static program in an otherwise empty image.
#
#   docker build -t sysdig-scc .
#   docker run --rm -p 8080:8080 -v sysdig-scc:/data --read-only --env-file .env sysdig-scc
#
# The compiler's version is the one in rust-toolchain.toml, which is not copied: it asks for lint tools that a build
# does not need.
FROM rust:1.95.0-bookworm AS builder
WORKDIR /src
# glibc linked in, so that the last stage needs no C library. A target has to be named for this, or build scripts and
# procedural macros would get the flag too.
ENV RUSTFLAGS="-C target-feature=+crt-static" CARGO_TERM_COLOR=never CARGO_NET_RETRY=5
RUN rustc -vV | sed -n 's/^host: //p' >/target

# The dependencies, built against an empty program: a layer that stays valid until Cargo.toml or Cargo.lock change.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY benches benches
RUN mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
 && cargo fetch --locked --target "$(cat /target)" \
 && cargo build --release --locked --offline --target "$(cat /target)" --bin sysdig-scc

# The program itself. Touched, because the copied files may be older than the empty ones.
COPY src src
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --offline --target "$(cat /target)" --bin sysdig-scc \
 && install -D -m 0755 "target/$(cat /target)/release/sysdig-scc" /image/sysdig-scc

# What a static program still reads: the authorities it trusts, and how names are looked up.
RUN install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && echo 'hosts: files dns' >/image/etc/nsswitch.conf \
 && mkdir -p /volume/data

FROM scratch
COPY --from=builder /image/ /
# The folder /data itself must belong to the numeric user below, who writes the ledger; therefore it is copied as a
# member of its parent (only what is copied changes its owner, not where it is copied to).
COPY --from=builder --chown=65532:65532 /volume/ /
ENV LISTEN_ADDRESS=0.0.0.0 \
    PORT=8080 \
    OUTBOX_URL=sqlite:/data/outbox.db \
    STATE_URL=sqlite:/data/state.db \
    LOG_FORMAT=json \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    SQLITE_TMPDIR=/data
# Everything that must survive a restart. Nothing else is ever written, so the root may be read-only.
VOLUME /data
WORKDIR /data
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/sysdig-scc", "health"]
ENTRYPOINT ["/sysdig-scc"]
CMD ["serve"]
