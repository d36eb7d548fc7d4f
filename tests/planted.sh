#!/bin/bash
# The teeth of the simulation: plants one known bug after the other in a copy of the tree, and says
# after how many seeds the scenarios of tests/sim.rs notice it. Fails if one is not noticed.
#
#   tests/planted.sh [NAME]...      all of tests/planted/*.patch, or those named
#   SEEDS=2000 tests/planted.sh     seeds of each scenario before it counts as unnoticed
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"
seeds="${SEEDS:-1000}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# One copy and one folder of build results for all: only what a patch changes is compiled again.
mkdir "$work/tree"
git ls-files -z | xargs -0 tar c | tar x -C "$work/tree"
export CARGO_TARGET_DIR="${PLANTED_TARGET_DIR:-$work/target}" CARGO_TERM_COLOR=never RUST_BACKTRACE=0
cd "$work/tree"

# Builds the scenarios; sets `binary`.
build() {
    binary="$(cargo test --quiet --profile sim --features sim,hub,digest --test sim --no-run --message-format=json 2>"$work/errors" |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)"
    [[ -n "$binary" ]] || { cat "$work/errors" >&2; exit 1; }
}

# The tests that run under many seeds. The others say nothing about how many it takes.
scenarios() {
    "$binary" --list --format terse 2>/dev/null | sed -n 's/: test$//p' | grep -vE '^(exploring|witness)::'
}

names=("$@")
if ((${#names[@]} == 0)); then
    for patch in "$root"/tests/planted/*.patch; do
        names+=("$(basename "$patch" .patch)")
    done
fi

missed=0
printf '%-36s %-8s %-10s %s\n' planted seeds problem scenario
for name in "${names[@]}"; do
    patch --quiet --strip=1 <"$root/tests/planted/$name.patch"
    build
    best=""
    # A few seeds of every scenario first, then more: what is noticed early costs little. Once one
    # has noticed it, another one only counts if it takes fewer.
    for ((most = 10; ; most *= 10)); do
        ((most < seeds)) || most=$seeds
        limit=$most
        for scenario in $(scenarios); do
            ((limit > 0)) || break
            # A bug may make a run endless: that it does is noticed as well.
            status=0
            WINDLASS_SEEDS="$limit" timeout $((60 + limit / 4)) "$binary" --exact "$scenario" >"$work/out" 2>&1 || status=$?
            case $status in
            0) continue ;;
            124) unnamed=endless ;;
            *) unnamed=other ;;
            esac
            seed="$(sed -n 's/^WINDLASS_SEED=//p' "$work/out" | head -n 1)"
            problem="$(grep -oE '^(Stall|Spin|LostBytes|Close|Limit|Deadline|Leak|Timeout|Check|Panic|Chance) after' "$work/out" |
                head -n 1 | cut -d' ' -f1)" || problem=$unnamed
            # What names no seed was noticed after all of them at the earliest.
            found=$((${seed:-$((limit - 1))} + 1))
            if [[ -z "$best" ]] || ((found < ${best%% *})); then
                best="$found $problem $scenario"
                limit=$((found <= limit ? found - 1 : limit))
            fi
        done
        if ((most == seeds)) || [[ -n "$best" ]] && ((${best%% *} <= most)); then
            break
        fi
    done
    if [[ -n "$best" ]]; then
        read -r count problem scenario <<<"$best"
        printf '%-36s %-8s %-10s %s\n' "$name" "$count" "$problem" "$scenario"
    else
        printf '%-36s NOT NOTICED in %s seeds of each scenario\n' "$name" "$seeds"
        missed=$((missed + 1))
    fi
    patch --quiet --strip=1 --reverse <"$root/tests/planted/$name.patch"
done
((missed == 0)) || exit 1
