# mxtrunk in an image of its own: the program and what it is linked to. `docker compose up` builds it for a whole site.
FROM rust:1.95-bookworm AS build
# The toolchain that is there: for rust-toolchain.toml rustup would fetch clippy and rustfmt, which build nothing.
ENV RUSTUP_TOOLCHAIN=$RUST_VERSION
RUN apt-get update && apt-get install --yes --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package mxtrunk --bin mxtrunk && sh dist/image.sh target/release/mxtrunk /image

FROM scratch
COPY --from=build /image /
USER 10001:10001
WORKDIR /var/lib/mxtrunk
VOLUME /var/lib/mxtrunk
STOPSIGNAL SIGTERM
# Asks the running gateway, over its socket, whether it still moves.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/usr/bin/mxtrunk", "health", "--live", "--config", "/etc/mxtrunk/gateway.toml"]
ENTRYPOINT ["/usr/bin/mxtrunk"]
CMD ["run", "--config", "/etc/mxtrunk/gateway.toml"]
