"""A service's sweep as lines of text: as it runs, in a list, in full."""

from collections.abc import Callable, Iterator, Sequence

from espalier.sweeps.client.answers import SweepAnswer, TrialAnswer
from espalier.sweeps.client.service import Remote
from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.noise import Noise, Ties, noise_line
from espalier.sweeps.results.reference_result import ReferenceResult, reference_lines
from espalier.sweeps.results.trial_result import TrialResult, health_line, ranked
from espalier.sweeps.spec.parts import UNITS


def follow(remote: Remote, sweep: str, print_line: Callable[[str], None]) -> SweepAnswer:
    """Print a sweep's events until it ends; return its last state."""
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
    """Return one trial as a line, with its searched hyperparameters."""
    params = params_text(trial["params"], searched)
    value = decimals(trial["value"])
    return f"  trial {trial['number']:>4}  {trial['state']:<9} {value:>9}  {params}"


def state_line(sweep: str, answer: SweepAnswer) -> str:
    """Return the state of a sweep as a line."""
    ahead = answer.get("position")
    waits = f", {ahead} before it" if ahead else ""
    reason = f" ({answer['reason']})" if answer.get("reason") else ""
    trials = answer["trials"]
    ended = f"{trials['ended']} of {trials['wanted']} trials ended"
    return f"{sweep}: {answer['state']}{reason}{waits}; {ended}{best_text(answer)}"


def best_text(answer: SweepAnswer) -> str:
    """Return the best value so far, as the end of a line."""
    best = answer.get("best")
    return f"; best {best['metric']} {decimals(best['value'])} (trial {best['trial']})" if best else ""


def table(answers: Sequence[SweepAnswer]) -> Iterator[str]:
    """Yield a line for each sweep."""
    for answer in answers:
        ended, wanted = answer["trials"]["ended"], answer["trials"]["wanted"]
        best = best_text(answer).removeprefix("; ") or "-"
        yield f"{answer['id']:<36} {answer['owner']:<12} {answer['state']:<9} {ended:>4} of {wanted:<5} {best}"


def show_lines(answer: SweepAnswer, trials: Sequence[TrialAnswer], top: int, told: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines of one sweep: its best trials with verdicts and evidence, and those that did not complete.

    told: the answer in sentences, where there is a best trial; empty: what the service says beside the best.
    """
    yield state_line(answer["id"], answer)
    yield f"  owner    {answer['owner']}"
    for unit, amount in (answer.get("extended") or {}).items():
        yield f"  extended to {amount:g} {UNITS[unit]}"
    yield f"  ran      {answer['seconds']:.0f} s of at most {answer['hours']:g} h, attempt {answer['attempt'] + 1}"
    if page := answer["mlflow"].get("page"):
        yield f"  MLflow   {page}"
    counted = ", ".join(
        f"{n} {state}" for state, n in answer["trials"].items() if n and state not in ("wanted", "ended")
    )
    yield f"  trials   {counted or 'none yet'}, of {answer['trials']['wanted']}"
    by_number = {trial["number"]: trial for trial in trials}
    results = [
        TrialResult(t["number"], t["state"], t["value"], t["params"], confirms=t.get("confirms")) for t in trials
    ]
    shown = [by_number[result.number] for result in ranked(results, answer["mode"])[:top]]
    for trial in shown:
        yield f"{trial_line(trial, answer['searched'])}  {trial['verdict']}".rstrip()
    yield from told or beside_the_best(answer)
    for trial in shown:
        if trial["evidence"]:
            yield health_line(trial["number"], trial["verdict"] or trial["state"], trial["evidence"])


def beside_the_best(answer: SweepAnswer) -> Iterator[str]:
    """Yield which trials are ties with the best, and what tuning gained over the references; nothing without a best."""
    if not (best := answer.get("best")):
        return
    if (noise := answer.get("noise")) and (ties := answer.get("ties")):
        yield noise_line(Noise(**noise), Ties(best["trial"], **ties))
    references = [ReferenceResult.from_json(reference) for reference in answer.get("references", ())]
    yield from reference_lines(references, best["value"], 1.0 if answer["mode"] == "min" else -1.0)


def exit_code(answer: SweepAnswer) -> int:
    """Return the exit code for a sweep's end: 0 finished, 1 failed or no complete trial, 130 stopped."""
    if answer["state"] == "stopped":
        return 130
    return 0 if answer["state"] == "finished" and answer["best"] else 1
