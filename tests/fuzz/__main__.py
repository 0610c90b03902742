"""python -m tests.fuzz --seed=0 --cases=2000 [--kinds=run,npz]

Prints every failure, with what repeats it, and a table of what became of all. Exit status: 0 none
failed, 1 some did.
"""

import collections
import sys

from absl import app, flags

from tests.fuzz.kinds import KINDS
from tests.fuzz.pool import Case, cases_of, run_cases

_SEED = flags.DEFINE_integer("seed", 0, "Of all damage.")
_CASES = flags.DEFINE_integer("cases", 100, "How many.", lower_bound=1)
_KINDS = flags.DEFINE_list("kinds", list(KINDS), "Which kinds of input.")
_NUMBER = flags.DEFINE_integer("number", None, "This case of each kind alone.")


def main(argv: list[str]) -> None:
    """Runs the cases."""
    del argv
    cases = cases_of(_SEED.value, _CASES.value, _KINDS.value)
    if _NUMBER.value is not None:
        cases = [Case(kind, _SEED.value, _NUMBER.value) for kind in _KINDS.value]
    tally = collections.defaultdict(collections.Counter)
    for result in run_cases(cases):
        case = result.case
        tally[case.kind]["failed" if result.failed else result.outcome] += 1
        if result.failed or _NUMBER.value is not None:
            again = f"--seed={case.seed} --kinds='{case.kind}' --number={case.number}"
            print(f"{result.outcome}: {again}: {result.told}", flush=True)
    outcomes = ("read", "refused", "failed")
    print(f"| input | {' | '.join(outcomes)} |\n| --- | ---: | ---: | ---: |")
    for kind, counts in tally.items():
        print(f"| {kind} | {' | '.join(str(counts[outcome]) for outcome in outcomes)} |")
    sys.exit(any(counts["failed"] for counts in tally.values()))


if __name__ == "__main__":
    app.run(main)
