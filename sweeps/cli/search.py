"""Commands that search: run or resume a sweep, check its task, find its range of learning rates."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from espalier.core.errors import BadInput
from espalier.sweeps.cli.completion import offered_specs, offered_sweeps
from espalier.sweeps.cli.errors import ends_on_ctrl_c
from espalier.sweeps.cli.options import (
    changed_option,
    check_id,
    home_option,
    json_at_end_option,
    json_option,
    server_option,
    set_option,
    wait_option,
)
from espalier.sweeps.cli.output import print_json, print_lines, print_said, print_summary
from espalier.sweeps.cli.remote import chosen_origin, follow_remote, remote_of

if TYPE_CHECKING:
    from espalier.sweeps.answer.closing import Summary
    from espalier.sweeps.origins.origin import Origin


@click.command(short_help="Run the sweep that a spec describes.")
@click.argument("spec", shell_complete=offered_specs)
@set_option
@json_at_end_option
@click.option("--address", metavar="ADDRESS", help="Run on a Ray cluster that is there: auto, or 127.0.0.1:6379.")
@click.option("--id", "sweep", metavar="ID", callback=check_id, help="The id of the sweep; one that exists goes on.")
@changed_option
@home_option
@ends_on_ctrl_c
def run(
    spec: str,
    assignments: tuple[str, ...],
    as_json: bool,
    address: str | None,
    sweep: str | None,
    changed: bool,
    home: str | None,
) -> None:
    """Run the sweep that SPEC describes: a file, `-` for standard input, or a ready sweep (names, line, digits ...).

    \b
    Example:
      sweep run names --set trials=16 --set budget.steps=500
    """
    from espalier.sweeps.home import Home
    from espalier.sweeps.spec.spec import load_spec

    loaded, where = load_spec(spec, assignments), Home.at(home)
    from espalier.sweeps.running.here import run_here

    print_summary(run_here(loaded, where, address, sweep, changed), where, as_json)


@click.command(short_help="Continue one after an interrupt or a crash.")
@click.argument("sweep", shell_complete=offered_sweeps)
@json_at_end_option
@click.option("--address", metavar="ADDRESS", help="Run on an existing Ray cluster.")
@changed_option
@wait_option
@server_option
@home_option
@ends_on_ctrl_c
def resume(
    sweep: str,
    as_json: bool,
    address: str | None,
    changed: bool,
    wait: bool,
    server: str | None,
    home: str | None,
) -> None:
    """Continue SWEEP (an id, or a name: its latest sweep) after an interrupt or a crash.

    \b
    Example:
      sweep resume names
    """
    _train_on(sweep, lambda origin: origin.resume(sweep, changed, address, progress=True), wait, as_json, server, home)


def _train_on(
    sweep: str,
    ask: "Callable[[Origin], Summary | None]",
    wait: bool,
    as_json: bool,
    server: str | None,
    home: str | None,
) -> None:
    """Have a sweep train on, in this process or on a service's cluster, and print how it ends. wait: for a service."""
    from espalier.sweeps.home import Home

    remote = remote_of(server, home)
    if not wait and remote is None:
        raise BadInput("--no-wait: a sweep of a home trains in this process; leave it out, or end the command with &")
    origin = chosen_origin(server, home, reading=False)
    if (summary := ask(origin)) is not None:
        print_summary(summary, Home.at(home), as_json)
    elif remote is not None:
        queued = origin.read(sweep)
        if not wait:
            click.echo(f"{queued.id}: {queued.state}", err=True)
        follow_remote(remote, queued.id, wait, as_json)


@click.command(short_help="Give one that has ended more to train.")
@click.argument("sweep", shell_complete=offered_sweeps)
@click.option("--trials", type=float, metavar="N", help="So many more trials.")
@click.option("--trainings", type=float, metavar="N", help="So many more trainings, for a budget in trainings.")
@click.option("--hours", type=float, metavar="N", help="So many more hours, for a budget in hours.")
@click.option("--gpu-hours", type=float, metavar="N", help="So many more hours of GPUs, for a budget in these.")
@json_at_end_option
@click.option("--address", metavar="ADDRESS", help="Run on an existing Ray cluster.")
@changed_option
@wait_option
@server_option
@home_option
@ends_on_ctrl_c
def extend(
    sweep: str,
    as_json: bool,
    address: str | None,
    changed: bool,
    wait: bool,
    server: str | None,
    home: str | None,
    **amounts: float | None,
) -> None:
    """Give SWEEP (an id, or a name: its latest sweep) more to train than its spec says, and train it.

    Its trials so far stay as they are, with their numbers and records; MLflow has all in one run. `sweep show` says who
    extended it, when and by how much. Stopped meanwhile, it goes on by `sweep resume`.

    \b
    Example:
      sweep extend names --trials 8
    """
    from espalier.sweeps.search.extension import More

    more = More(**amounts)
    _train_on(
        sweep, lambda origin: origin.extend(sweep, more, changed, address, progress=True), wait, as_json, server, home
    )


@click.command(short_help="Add points to one that has not ended.")
@click.argument("sweep", shell_complete=offered_sweeps)
@click.argument("points", nargs=-1, metavar="[POINT]...")
@click.option("--from", "other", metavar="OTHER", help="Add the best point of another sweep beside it.")
@click.option("--top", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many of its best points.")
@click.option("--extended", hidden=True, help="Of a service: {unit: how much in all}, which its job is to come to.")
@json_option
@server_option
@home_option
def enqueue(
    sweep: str,
    points: tuple[str, ...],
    other: str | None,
    top: int,
    extended: str | None,
    as_json: bool,
    server: str | None,
    home: str | None,
) -> None:
    """Add points to SWEEP (an id, or a name: its latest sweep), which runs or was stopped, for its next trials.

    A POINT is written as in a spec: '{lr: 0.001, momentum: 0.9}'. What it leaves out, the sampler proposes. A sweep
    that runs takes it when it next asks for a trial, one that was stopped when it is resumed. One that asks for no more
    trials is refused.

    \b
    Example:
      sweep enqueue names '{lr: 0.001}'
    """
    from espalier.sweeps.spec.yaml12 import read

    parsed = [read(text, f"point {k}") for k, text in enumerate(points, 1)]
    if extended:
        from espalier.sweeps.home import Home
        from espalier.sweeps.search.adding import add_points

        lines: Sequence[str] = add_points(Home.at(home), sweep, parsed, other or "", top, read(extended, "--extended"))
    else:
        lines = chosen_origin(server, home, reading=False).enqueue(sweep, parsed, other or "", top)
    print_said(sweep, lines, as_json)


@click.command(short_help="Look at a task before hours are spent on it.")
@click.argument("spec", shell_complete=offered_specs)
@set_option
@click.option("--lsuv", is_flag=True, help="Also try layer-sequential unit-variance initialisation (LSUV).")
@json_option
@home_option
@ends_on_ctrl_c
def check(spec: str, assignments: tuple[str, ...], lsuv: bool, as_json: bool, home: str | None) -> None:
    """Look at the task of SPEC before hours are spent on it: a page of plain sentences. Exit code 1: something fails.

    It shows the first loss, and activations, gradients and initialisation of every layer. It learns one batch by heart,
    and sees whether every parameter moves and whether a step against the gradient lowers the loss. It measures the
    update ratio at three exponents, and forecasts the sweep's time and memory. MLflow gets the page and its figures.

    A function or a command is run for some steps, and again with each hyperparameter moved: does it change anything?

    \b
    Example:
      sweep check names
    """
    from espalier.sweeps.checks.here import check_here
    from espalier.sweeps.home import Home
    from espalier.sweeps.spec.spec import load_spec

    check = check_here(load_spec(spec, assignments), Home.at(home), lsuv)
    if as_json:
        print_json(check.document)
    else:
        print_lines(check.lines)
    if not check.passed:
        sys.exit(1)


@click.command("lr-range", short_help="Find which rates are worth searching.")
@click.argument("spec", shell_complete=offered_specs)
@set_option
@click.option("--low", default=-6.0, show_default=True, help="The first exponent: the rate is 10 to its power.")
@click.option("--high", default=1.5, show_default=True, help="The last exponent.")
@click.option("--steps", default=400, show_default=True, help="Steps from the first to the last.")
@click.option("--seeds", default=16, show_default=True, help="How many seeds train side by side.")
@json_option
@click.option("--figure", metavar="FILE", help="Also write the figure to a PNG file.")
@home_option
@ends_on_ctrl_c
def lr_range(
    spec: str,
    assignments: tuple[str, ...],
    as_json: bool,
    figure: str | None,
    home: str | None,
    **ramp: float,
) -> None:
    """Find which exponents are worth searching for the task of SPEC, with error bars, beside every published rule.

    The rate rises exponentially while some models train side by side, one for each seed. `lr_exponent: auto` in a spec
    does this first. Exit code 1: no interval can be given.

    \b
    Example:
      sweep lr-range names --seeds 8
    """
    from espalier.sweeps.checks.here import lr_range_here
    from espalier.sweeps.home import Home
    from espalier.sweeps.spec.spec import load_spec

    loaded, place = load_spec(spec, assignments), Home.at(home)
    low, high, steps, seeds = ramp["low"], ramp["high"], int(ramp["steps"]), int(ramp["seeds"])
    click.echo(f"range test of {loaded.name}: {seeds} seeds, {steps} steps, exponents {low:g} ... {high:g}", err=True)
    measured = lr_range_here(loaded, place, low, high, steps, seeds)
    if figure:
        from espalier.sweeps.results.figures import range_figure
        from espalier.sweeps.spec.paths import argument

        range_figure(measured.test, loaded.name, argument(figure))
    if as_json:
        print_json(measured.document())
    else:
        print_lines(measured.lines())
    if measured.test.interval is None:
        sys.exit(1)
