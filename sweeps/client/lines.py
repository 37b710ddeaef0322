"""A sweep of a service in lines for a person: as it runs, in a list, in full."""

from collections.abc import Callable, Iterator, Sequence

from espalier.sweeps.client.answers import SweepAnswer, TrialAnswer
from espalier.sweeps.client.service import Remote
from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.trial_result import TrialResult, ranked


def follow(remote: Remote, sweep: str, print_line: Callable[[str], None]) -> SweepAnswer:
    """Print what happens to a sweep until it is over; return it as it is then."""
    state, searched = "", remote.sweep(sweep)["searched"]
    for kind, data in remote.follow(sweep, "events"):
        if kind == "trial":
            print_line(trial_line(data, searched))
            continue
        now = state_line(sweep, data)
        if now != state:
            state = now
            print_line(now)
    return remote.sweep(sweep)


def trial_line(trial: TrialAnswer, searched: Sequence[str]) -> str:
    """Return one trial on a line, with those of its hyperparameters that were searched."""
    params = params_text(trial["params"], searched)
    value = decimals(trial["value"])
    return f"  trial {trial['number']:>4}  {trial['state']:<9} {value:>9}  {params}"


def state_line(sweep: str, answer: SweepAnswer) -> str:
    """Return where a sweep is on a line."""
    ahead = answer.get("position")
    waits = f", {ahead} before it" if ahead else ""
    reason = f" ({answer['reason']})" if answer.get("reason") else ""
    trials = answer["trials"]
    ended = f"{trials['ended']} of {trials['wanted']} trials ended"
    return f"{sweep}: {answer['state']}{reason}{waits}; {ended}{best_text(answer)}"


def best_text(answer: SweepAnswer) -> str:
    """Return the best so far, as the end of a line."""
    best = answer.get("best")
    return f"; best {best['metric']} {decimals(best['value'])} (trial {best['trial']})" if best else ""


def table(answers: Sequence[SweepAnswer]) -> Iterator[str]:
    """Yield a line for each sweep."""
    for answer in answers:
        ended, wanted = answer["trials"]["ended"], answer["trials"]["wanted"]
        best = best_text(answer).removeprefix("; ") or "-"
        yield f"{answer['id']:<36} {answer['owner']:<12} {answer['state']:<9} {ended:>4} of {wanted:<5} {best}"


def show_lines(answer: SweepAnswer, trials: Sequence[TrialAnswer], top: int) -> Iterator[str]:
    """Yield one sweep, its best trials with their verdicts, those that did not complete, and why each verdict holds."""
    yield state_line(answer["id"], answer)
    yield f"  owner    {answer['owner']}"
    yield f"  ran      {answer['seconds']:.0f} s of at most {answer['hours']:g} h, attempt {answer['attempt'] + 1}"
    if page := answer["mlflow"].get("page"):
        yield f"  MLflow   {page}"
    counted = ", ".join(
        f"{n} {state}" for state, n in answer["trials"].items() if n and state not in ("wanted", "ended")
    )
    yield f"  trials   {counted or 'none yet'}, of {answer['trials']['wanted']}"
    by_number = {trial["number"]: trial for trial in trials}
    results = [TrialResult(t["number"], t["state"], t["value"], t["params"]) for t in trials]
    shown = [by_number[result.number] for result in ranked(results, answer["mode"])[:top]]
    for trial in shown:
        yield f"{trial_line(trial, answer['searched'])}  {trial['verdict']}".rstrip()
    for trial in shown:
        if trial["evidence"]:
            yield f"trial {trial['number']} {trial['verdict'] or trial['state']}: {trial['evidence']}"


def exit_code(answer: SweepAnswer) -> int:
    """Return what a script learns of how a sweep ended: 0 finished, 1 failed or nothing to show, 130 stopped."""
    if answer["state"] == "stopped":
        return 130
    return 0 if answer["state"] == "finished" and answer["best"] else 1
