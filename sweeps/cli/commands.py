"""The command `sweep`: a thin skin over functions. Heavy imports wait until a command needs them."""

import atexit
import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from espalier.core.errors import BadInput, brief
from espalier.sweeps.address import UI_PORT
from espalier.sweeps.results.decimals import decimals

if TYPE_CHECKING:
    from espalier.sweeps.client.service import Remote

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
home_option = click.option("--home", metavar="DIR", help="Where state lies (default: $SWEEP_HOME, else ./sweep-data).")


server_option = click.option(
    "--server", metavar="URL", help="Ask a sweep service (default: $SWEEP_SERVER, or the config file's)."
)


def spoken(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print bad input as one line and exit with code 2; exit with code 130 on Ctrl-C."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except BadInput as error:
            click.echo(f"sweep: {error}", err=True)
            sys.exit(2)
        except OSError as error:
            from espalier.sweeps.home import NO_ROOM, full

            if error.errno not in NO_ROOM:
                raise
            click.echo(f"sweep: {full(error, 'give the command again')}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("sweep: stopped", err=True)
            sys.exit(130)
        except EOFError as error:  # of which click says "Aborted!", and no more
            raise RuntimeError("a file or a stream ended too early") from error

    return guarded


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Have a process beside this one see to it that Ctrl-C ends it, whatever the code of a task does."""

    @wraps(command)
    def with_guard(*args: Any, **kwargs: Any) -> Any:
        from espalier.sweeps import guard

        with guard.guarded():
            return command(*args, **kwargs)

    return with_guard


def _checked_id(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", value):
        raise click.BadParameter(
            f"'{brief(value)}'; an id begins with a letter, and has letters, digits, - and _; at most 63"
        )
    return value


changed_option = click.option(
    "--changed", is_flag=True, help="Go on although the task's code or the data have changed, and record it."
)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="espalier", prog_name="sweep")
def main() -> None:
    """Find the learning rate of a PyTorch model: many trials side by side, recorded in MLflow.

    \b
    sweep run sweeps/library/names.yaml      search
    sweep ui                                 browse the result
    sweep best names > best.yaml             pull the best configuration
    sweep rerun best.yaml                    train it again, to the same number
    """


@main.command()
@click.argument("spec")
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Override a field of the spec; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout at the end.")
@click.option("--address", metavar="ADDRESS", help="Run on an existing Ray cluster, e.g. auto or 127.0.0.1:6379.")
@click.option("--id", "sweep", metavar="ID", callback=_checked_id, help="The id of the sweep; one that exists goes on.")
@changed_option
@home_option
@spoken
@guarded
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
    from espalier.sweeps.spec.header import header
    from espalier.sweeps.spec.spec import load_spec

    loaded = load_spec(spec, assignments)
    place = Home.at(home)

    def say_header() -> None:
        for line in [header(loaded), *(f"note: {note}" for note in loaded.notes())]:
            click.echo(line, err=True)

    from espalier.sweeps.garbage import gc_paused
    from espalier.sweeps.running.machine import RaySession, ToStderr

    with redirect_stdout(ToStderr()), RaySession(address) as session:
        with gc_paused():
            session.start()
            from espalier.sweeps.running import driver
            from espalier.sweeps.running.display import shown

        summary = driver.start(loaded, place, shown, session, sweep, changed, say_header)
    _tell(summary, place, as_json, home)


@main.command()
@click.argument("sweep")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout at the end.")
@click.option("--address", metavar="ADDRESS", help="Run on an existing Ray cluster.")
@changed_option
@server_option
@home_option
@spoken
@guarded
def resume(sweep: str, as_json: bool, address: str | None, changed: bool, server: str | None, home: str | None) -> None:
    """Continue SWEEP (an id, or a name: its latest sweep) after an interrupt or a crash.

    \b
    Example:
      sweep resume names
    """
    if remote := _remote(server, home):
        _follow_remote(remote, remote.resume(remote.find(sweep), changed)["id"], True, as_json)
        return
    from espalier.sweeps.home import Home
    from espalier.sweeps.running import driver
    from espalier.sweeps.running.display import shown
    from espalier.sweeps.running.machine import RaySession, ToStderr

    place = Home.at(home)
    with redirect_stdout(ToStderr()), RaySession(address) as session:
        summary = driver.resume(sweep, place, shown, session, changed)
    _tell(summary, place, as_json, home)


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--state", help="Of a service: only those queued, running, stopped, finished or failed.")
@server_option
@home_option
@spoken
def list_(as_json: bool, state: str | None, server: str | None, home: str | None) -> None:
    """List the sweeps of this home, the oldest first, or those of a service, the newest first.

    \b
    Example:
      sweep list
    """
    if remote := _remote(server, home):
        _list_remote(remote, as_json, state)
        return
    from espalier.sweeps.home import Home
    from espalier.sweeps.results.overview import overview

    rows = overview(Home.at(home, reading=True))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("no sweep here yet; start one: sweep run sweeps/library/names.yaml")
    for row in rows if not as_json else []:
        if row["state"] in ("unreadable", "lost"):
            click.echo(f"{row['sweep']:<32} {row['state']:<12} why: sweep show {row['sweep']}")
            continue
        best = "-" if row["best"] is None else f"{row['metric']} {decimals(row['best'])} (trial {row['best_trial']})"
        click.echo(f"{row['sweep']:<32} {row['state']:<12} {row['ended']:>4} of {row['wanted']:<5} best {best}")


@main.command()
@click.argument("sweep")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--top", default=10, show_default=True, help="How many trials to list.")
@server_option
@home_option
@spoken
def show(sweep: str, as_json: bool, top: int, server: str | None, home: str | None) -> None:
    """Show SWEEP: its state, its best trials, where its data lie.

    \b
    Example:
      sweep show names
    """
    if remote := _remote(server, home):
        _show_remote(remote, sweep, as_json, top)
        return
    from espalier.sweeps.home import Home
    from espalier.sweeps.results.overview import details

    found = details(Home.at(home, reading=True), sweep)
    if as_json:
        click.echo(json.dumps(found.document(), indent=2))
        return
    for line in found.lines():
        click.echo(line)
    _table(found.trials, found.spec, top, err=False)
    for line in found.evidence(top):
        click.echo(line)


@main.command()
@click.argument("sweep")
@click.option("--trial", type=int, help="Another trial than the best.")
@server_option
@home_option
@spoken
def best(sweep: str, trial: int | None, server: str | None, home: str | None) -> None:
    """Print the best configuration of SWEEP as a file that `sweep rerun` takes.

    \b
    Example:
      sweep best names > best.yaml
    """
    if remote := _remote(server, home):
        click.echo(remote.best(remote.find(sweep), trial), nl=False)
        return
    from espalier.sweeps.home import Home
    from espalier.sweeps.results.overview import best_of

    click.echo(best_of(Home.at(home, reading=True), sweep, trial), nl=False)


@main.command()
@click.argument("spec")
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Override a field of the spec; repeatable."
)
@click.option(
    "--code",
    metavar="FOLDER",
    help="Send all of this folder. Without it the task's file goes along, with the files that it imports.",
)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="How long it may run.")
@click.option("--wait/--no-wait", default=True, help="Follow it until it is over, or only hand it in.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout at the end.")
@server_option
@spoken
def submit(
    spec: str,
    assignments: tuple[str, ...],
    code: str | None,
    hours: float | None,
    wait: bool,
    as_json: bool,
    server: str | None,
) -> None:
    """Hand the sweep that the file SPEC describes to a service, and follow it. Ctrl-C detaches; the sweep goes on.

    Exit code 0: finished; 1: failed, or no trial is complete; 130: stopped.

    \b
    Example:
      sweep submit sweeps/library/names.yaml --server http://127.0.0.1:8080
    """
    from espalier.sweeps.client.desk import handed_in

    remote = _must_be_remote(server)
    taken = handed_in(remote, spec, assignments, code, hours)
    click.echo(f"{taken['id']}: {taken['state']}", err=True)
    _follow_remote(remote, taken["id"], wait, as_json)


@main.command()
@click.argument("sweep")
@click.option("--follow", is_flag=True, help="Go on until the sweep is over.")
@server_option
@spoken
def logs(sweep: str, follow: bool, server: str | None) -> None:
    """Print what the driver of SWEEP wrote on a service's cluster.

    \b
    Example:
      sweep logs names --server http://127.0.0.1:8080
    """
    remote = _must_be_remote(server)
    found = remote.find(sweep)
    if not follow:
        click.echo(remote.logs(found), nl=False)
        return
    try:
        for kind, text in remote.follow(found, "logs"):
            click.echo(text if kind == "log" else "", nl=False)
    except KeyboardInterrupt:
        return


@main.command()
@click.argument("sweep")
@click.option("--wait", is_flag=True, help="Wait until it has stopped.")
@server_option
@spoken
def stop(sweep: str, wait: bool, server: str | None) -> None:
    """Stop SWEEP on a service's cluster: it writes its checkpoints, and `sweep resume` goes on from there.

    \b
    Example:
      sweep stop names --server http://127.0.0.1:8080
    """
    from espalier.sweeps.client.desk import follow, state_line

    remote = _must_be_remote(server)
    view = remote.stop(remote.find(sweep))
    if wait:
        view = follow(remote, view["id"], lambda line: None)
    click.echo(state_line(view["id"], view), err=True)


@main.command()
@click.argument("file")
@click.option("--register", metavar="NAME", help="Keep the trained weights in MLflow, as the champion of model NAME.")
@home_option
@spoken
@guarded
def rerun(file: str, register: str | None, home: str | None) -> None:
    """Train the trial of the best file FILE again and compare every number. Exit code 0: the same to the last bit.

    With --register its weights become a version of a model in MLflow's registry, if every number is the same.

    \b
    Example:
      sweep rerun best.yaml --register names-model
    """
    from espalier.sweeps.home import Home
    from espalier.sweeps.repeat.rerun import read_best
    from espalier.sweeps.repeat.rerun import rerun as train_again

    loaded, spec = read_best(file)
    click.echo(f"training trial {loaded.trial} of {loaded.sweep} again: {spec.budget.steps:,} steps", err=True)
    if register:
        from espalier.sweeps.repeat.champion import crown

        outcome, version = crown(file, loaded, spec, register, Home.at(home))
    else:
        outcome, version = train_again(loaded, spec), None
    if outcome.reproduced:
        click.echo(f"reproduced: {outcome.metric} {decimals(outcome.value)}, bit for bit")
        if version:
            click.echo(f"registered: {register} version {version}, the champion; fetch it: sweep pull {register}")
        return
    click.echo(f"not reproduced: {outcome.difference}")
    for line in outcome.surroundings or ["versions, device, data and code are the same"]:
        click.echo(f"  {line}")
    sys.exit(1)


@main.command()
@click.argument("model")
@click.option("--to", metavar="DIR", help="The folder for the files (default: ./NAME).")
@home_option
@spoken
def pull(model: str, to: str | None, home: str | None) -> None:
    """Download MODEL, which is NAME or NAME@ALIAS (default: @champion): its weights and its best file.

    The weights are a state dict: model.load_state_dict(torch.load("NAME/weights.pt", weights_only=True)).

    \b
    Example:
      sweep pull names-model
    """
    from espalier.sweeps.home import Home
    from espalier.sweeps.repeat.champion import pull as fetch
    from espalier.sweeps.spec.paths import argument

    files, said = fetch(model, argument(to or model.partition("@")[0]), Home.at(home))
    click.echo(said, err=True)
    for file in files:
        click.echo(str(file))


@main.command()
@click.argument("spec")
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Override a field of the spec; repeatable."
)
@click.option("--lsuv", is_flag=True, help="Also say what layer-sequential unit-variance initialisation would give.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
@spoken
@guarded
def check(spec: str, assignments: tuple[str, ...], lsuv: bool, as_json: bool, home: str | None) -> None:
    """Look at the task of SPEC before hours are spent on it: a page of plain sentences. Exit code 1: something fails.

    The first loss, every layer's activations and gradients, its initialisation, one batch learned by heart, whether
    every parameter moves, whether the loss falls against the gradient, the update ratio at three exponents, and a
    forecast of the sweep's time and memory. Page and figures are recorded in MLflow.

    \b
    Example:
      sweep check sweeps/library/names.yaml
    """
    from espalier.sweeps.checks import checkup
    from espalier.sweeps.home import Home
    from espalier.sweeps.spec.spec import load_spec

    loaded, place = load_spec(spec, assignments), Home.at(home)
    found, forecast = checkup.examine(loaded, lsuv)
    run = checkup.record_check(loaded, found, forecast, place)
    if as_json:
        click.echo(json.dumps(checkup.document(found, forecast) | {"mlflow_run": run}, indent=2))
    for line in [] if as_json else checkup.lines(found):
        click.echo(line)
    if not found.passed:
        sys.exit(1)


@main.command("lr-range")
@click.argument("spec")
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Override a field of the spec; repeatable."
)
@click.option("--low", default=-6.0, show_default=True, help="The first exponent.")
@click.option("--high", default=1.5, show_default=True, help="The last exponent.")
@click.option("--steps", default=400, show_default=True, help="Steps from the first to the last.")
@click.option("--seeds", default=16, show_default=True, help="Lanes, each of another seed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--figure", metavar="FILE", help="Also write the figure to a PNG file.")
@home_option
@spoken
@guarded
def lr_range(
    spec: str,
    assignments: tuple[str, ...],
    low: float,
    high: float,
    steps: int,
    seeds: int,
    as_json: bool,
    figure: str | None,
    home: str | None,
) -> None:
    """Find which exponents are worth searching for the task of SPEC, with error bars, beside every published rule.

    The rate rises exponentially in one lane for each seed; nothing else is touched. `lr_exponent: auto` in a spec does
    this first. Exit code 1: no interval can be given.

    \b
    Example:
      sweep lr-range sweeps/library/names.yaml --seeds 8
    """
    from espalier.sweeps.checks import lr_range as ranges
    from espalier.sweeps.home import Home
    from espalier.sweeps.spec.spec import load_spec

    loaded, place = load_spec(spec, assignments), Home.at(home)
    click.echo(f"range test of {loaded.name}: {seeds} seeds, {steps} steps, exponents {low:g} ... {high:g}", err=True)
    test = ranges.run_test(loaded, low, high, steps, seeds)
    run = ranges.record_test(loaded, test, place)
    if figure:
        from espalier.sweeps.results.figures import range_figure
        from espalier.sweeps.spec.paths import argument

        range_figure(test, loaded.name, argument(figure))
    if as_json:
        click.echo(json.dumps(ranges.document(test) | {"mlflow_run": run}, indent=2))
    for line in [] if as_json else ranges.lines(test):
        click.echo(line)
    if test.interval is None:
        sys.exit(1)


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=UI_PORT, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@home_option
@spoken
def ui(port: int, host: str, home: str | None) -> None:
    """Open MLflow's page on the data of this home: that of its latest sweep.

    \b
    Example:
      sweep ui --port 5000
    """
    from espalier.sweeps.address import open_port
    from espalier.sweeps.home import Home
    from espalier.sweeps.recording.record import STORE, check_reachable, default_uri
    from espalier.sweeps.results.overview import latest_page

    place = Home.at(home, reading=True)
    if not (place.path / STORE).is_file():  # MLflow makes one
        place = Home.at(home)
    check_reachable(default_uri(place.path), reading=True)
    try:
        open_port(host, port).close()
    except OSError as error:
        raise BadInput(f"--port {port}: {host}:{port} cannot be had ({error.strerror}); give another --port") from error
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        default_uri(place.path),
        "--workers",
        "1",
        "--default-artifact-root",
        (place.path / "mlartifacts").as_uri(),
        "--host",
        host,
        "--port",
        str(port),
    ]
    click.echo(f"MLflow on {latest_page(place, f'http://{host}:{port}')} (Ctrl-C ends it)", err=True)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    sys.stderr.flush()
    os.execv(sys.executable, command)


@main.command()
@spoken
def schema() -> None:
    """Print the JSON Schema of the spec, for editors.

    \b
    Example:
      sweep schema > spec.schema.json
    """
    from espalier.sweeps.spec.spec import SweepSpec

    click.echo(json.dumps(SweepSpec.model_json_schema(), indent=2))


def _remote(server: str | None, home: str | None) -> "Remote | None":
    """Return the service that is meant; None where this machine's own home is."""
    from espalier.sweeps.client.service import Remote, server_of

    if server and home:
        raise BadInput("--home and --server: keep one of them")
    address = None if home else server_of(server)
    return Remote(address) if address else None


def _must_be_remote(server: str | None) -> "Remote":
    remote = _remote(server, None)
    if remote is None:
        raise BadInput("--server: missing; give the service's address, or set SWEEP_SERVER")
    return remote


def _follow_remote(remote: "Remote", sweep: str, wait: bool, as_json: bool) -> None:
    from espalier.sweeps.client.desk import exit_code, follow

    try:
        view = follow(remote, sweep, lambda line: click.echo(line, err=True)) if wait else remote.sweep(sweep)
    except KeyboardInterrupt:
        click.echo(f"\ndetached; {sweep} goes on: sweep show {sweep} --server {remote.server}", err=True)
        return
    if as_json:
        click.echo(json.dumps(view))
    elif wait and view["best"]:
        click.echo(f"pull it: sweep best {sweep} --server {remote.server} > best.yaml", err=True)
    if wait:
        sys.exit(exit_code(view))


def _list_remote(remote: "Remote", as_json: bool, state: str | None) -> None:
    from espalier.sweeps.client.desk import table

    views = list(remote.sweeps(state))
    if as_json:
        click.echo(json.dumps(views, indent=2))
        return
    for line in table(views):
        click.echo(line)
    if not views and state:
        click.echo(f"no sweep is {state} there")
    elif not views:
        click.echo(f"no sweep there yet; hand one in: sweep submit SPEC --server {remote.server}")


def _show_remote(remote: "Remote", wanted: str, as_json: bool, top: int) -> None:
    from espalier.sweeps.client.desk import show_lines

    view = remote.sweep(remote.find(wanted))
    trials = remote.trials(view["id"])
    if as_json:
        click.echo(json.dumps(view | {"trials": trials}, indent=2))
        return
    for line in show_lines(view, trials, top):
        click.echo(line)


def _table(trials: Any, spec: Any, top: int, err: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from espalier.sweeps.results.figures import point_text
    from espalier.sweeps.results.results import ranked

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", spec.objective.metric, "state", "configuration", "verdict"):
        table.add_column(name, justify="right" if name in ("trial", spec.objective.metric) else "left", overflow="fold")
    for t in ranked(trials, spec.objective.mode)[:top]:
        spread = f" ± {decimals(t.spread)}" if t.spread is not None else ""
        value = f"{decimals(t.value)}{spread}"
        table.add_row(str(t.number), value, t.state, point_text(t.params, spec), t.verdict)
    Console(stderr=err, width=None if sys.stdout.isatty() else 110).print(table)


def _tell(summary: Any, place: Any, as_json: bool, home: str | None) -> None:
    """Say how a sweep ended and which commands come next."""

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    at = f" --home {shlex.quote(home)}" if home else ""
    if as_json:
        click.echo(json.dumps(summary.document()))
    else:
        _table(summary.trials, summary.spec, 8, err=False)
    for line in summary.closing_lines(at):
        say(line)
    if not summary.recorded:
        say(
            f"MLflow did not take everything; the rest waits in {place.sweep(summary.sweep)}. "
            f"Send it: sweep resume {summary.sweep}{at}"
        )
    if summary.halted:
        sys.exit(2)
    if summary.interrupted:
        sys.exit(130)
    if summary.best is None:
        sys.exit(1)


def command() -> None:
    """Be the command of a process, and end it at once: to take its modules apart would take Python two seconds."""
    codes: list[int] = []
    _show_warnings()
    atexit.register(_end, codes)  # before what others register, and so called after it
    try:
        main(prog_name="sweep")
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        machine = sys.modules.get("espalier.sweeps.running.machine")
        if machine and machine.starting():  # nothing can hurry it, and its processes die with the one that started them
            _end(codes)
        raise


def _show_warnings() -> None:
    """Show warnings where PYTHONWARNINGS=error or -W would raise them: Ray and MLflow warn, and would not start."""
    filters: Any = warnings.filters  # a list, which resetwarnings() empties
    others = [kind for kind in filters if kind[0] != "error"]
    warnings.resetwarnings()
    filters.extend(others)
    if wishes := os.environ.pop("PYTHONWARNINGS", ""):  # which Ray's processes obey
        actions = {wish: wish.partition(":")[0].strip() for wish in wishes.split(",")}
        if others := [wish for wish, action in actions.items() if not (action and "error".startswith(action))]:
            os.environ["PYTHONWARNINGS"] = ",".join(others)


def _end(codes: list[int]) -> None:
    """End the process with a code; without one (an error that was not foreseen) leave that to Python."""
    if codes:
        if logging := sys.modules.get("logging"):
            logging.shutdown()
        with suppress(OSError):  # nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(codes[0])


if __name__ == "__main__":
    command()
