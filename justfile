# Short names for the commands of the README; each works without `just` as well.

# everything in one process, nothing to install
run:
    cargo run

# all tests, on the embedded side and on the engines
test *filter:
    tests/run {{filter}}

# the embedded side only
test-fast *filter:
    tests/run --fast {{filter}}

# the three services and the engines in containers, inbox for texts
up:
    test -e .env || deploy/compose/make-env
    docker compose up --build --wait

# the sign-in journey in containers
compose *args:
    tests/compose/run {{args}}

lint:
    .ci/run lint

ci:
    .ci/run
