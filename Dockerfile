# One image with one program, `latchkey`. There are two ways to build it:
#   docker build --target runtime .                 compiles the program in the image (the default)
#   docker build --target prebuilt -f Dockerfile D  copies it from the folder D, which is faster (tests/compose/run)
# The targets fake-twilio and prebuilt-fake-twilio build the fake Twilio for the profile `test`.
# In production, pin the two base images by digest.

FROM debian:trixie-slim AS base
# libssl: the Twilio client in sms-worker links OpenSSL.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3t64 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/latchkey --shell /usr/sbin/nologin latchkey \
 # A named volume inherits the owner of the folder that it is first mounted on.
 && install -d -o latchkey -g latchkey -m 700 /var/lib/latchkey /var/lib/latchkey/keys /var/lib/latchkey/certificates \
 # The services' former programs: under each of these names, latchkey is the command of that name.
 && for service in gateway otp-worker sms-worker; do ln -s latchkey /usr/local/bin/$service; done
# In production, so that it says what it needs instead of running open to everybody; compose sets development for a trial.
ENV LATCHKEY_ENV=production
# The loopback of a container is unreachable from outside; compose publishes only on the host's loopback.
ENV LATCHKEY_LISTEN=0.0.0.0:8080 LATCHKEY_OPS_LISTEN=0.0.0.0:9090
WORKDIR /var/lib/latchkey
USER latchkey
EXPOSE 8080
CMD ["latchkey"]

FROM base AS prebuilt
COPY latchkey /usr/local/bin/

FROM base AS prebuilt-fake-twilio
COPY fake-twilio /usr/local/bin/

FROM rust:1-slim-trixie AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends pkg-config libssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies only: this layer is rebuilt only if a manifest or the lock file changes.
COPY Cargo.toml Cargo.lock ./
COPY common/accounts/Cargo.toml common/accounts/
COPY common/bus/Cargo.toml common/bus/
COPY common/config/Cargo.toml common/config/
COPY common/domain/Cargo.toml common/domain/
COPY common/guard/Cargo.toml common/guard/
COPY common/ledger/Cargo.toml common/ledger/
COPY common/passwords/Cargo.toml common/passwords/
COPY common/service/Cargo.toml common/service/
COPY common/sql/Cargo.toml common/sql/
COPY common/store/Cargo.toml common/store/
COPY common/testkit/Cargo.toml common/testkit/
COPY common/texts/Cargo.toml common/texts/
COPY common/traces/Cargo.toml common/traces/
COPY gateway/Cargo.toml gateway/
COPY otp-worker/Cargo.toml otp-worker/
COPY sms-worker/Cargo.toml sms-worker/
COPY bench/Cargo.toml bench/
COPY fake-twilio/Cargo.toml fake-twilio/
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    for crate in . common/* gateway otp-worker sms-worker bench fake-twilio; do \
      mkdir -p $crate/src && echo 'fn main() {}' >$crate/src/main.rs && : >$crate/src/lib.rs; \
    done \
 && rm src/lib.rs common/*/src/main.rs \
 && cargo build --release --locked --package latchkey \
 # The output of the empty crates must not be mistaken for the real ones, whose files are older.
 && cargo clean --release --workspace \
 && find . -path ./target -prune -o -name '*.rs' -exec rm {} +
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked --package latchkey \
 && install -D -t /out target/release/latchkey

FROM build AS build-fake-twilio
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked --package fake-twilio \
 && install -D -t /out/fake target/release/fake-twilio

FROM base AS fake-twilio
COPY --from=build-fake-twilio /out/fake/ /usr/local/bin/

# `docker build .` builds the last stage.
FROM base AS runtime
COPY --from=build /out/ /usr/local/bin/
