# Short names for the commands in the README. Each command also works without `just`.

# run everything in one process, with nothing to install
run:
    cargo run

# run all tests, on embedded and real engines
test *filter:
    tests/run {{filter}}

# run the tests on embedded engines only
test-fast *filter:
    tests/run --fast {{filter}}

# run the three services and the engines in containers, with messages in the inbox
up:
    test -e .env || deploy/compose/make-env
    docker compose up --build --wait

# run the sign-in journey in containers
compose *args:
    tests/compose/run {{args}}

lint:
    .ci/run lint

ci:
    .ci/run

# measure what a sign-in costs: ten minutes; with --short two
bench *args:
    bench/run {{args}}
