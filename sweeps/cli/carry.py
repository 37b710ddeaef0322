"""Commands that carry a sweep to another machine: export, unpack."""

from dataclasses import asdict

import click

from espalier.sweeps.cli.completion import offered_sweeps
from espalier.sweeps.cli.options import home_option, json_option, server_option
from espalier.sweeps.cli.output import print_json, print_lines
from espalier.sweeps.cli.remote import chosen_origin


@click.command(short_help="Write one as a zip that opens elsewhere.")
@click.argument("sweep", shell_complete=offered_sweeps)
@click.option("--out", metavar="PLACE", help="A new zip (names.zip), or a new folder (default: ID.zip).")
@json_option
@server_option
@home_option
def export(sweep: str, out: str | None, as_json: bool, server: str | None, home: str | None) -> None:
    """Write SWEEP into a zip or a folder that opens on another machine: its spec, its trials, its best file, its code,
    its figures, and its records for MLflow. Addresses in it have no logins. Checkpoints do not go along.

    \b
    Example:
      sweep export names --out names.zip
    """
    written = chosen_origin(server, home).export(sweep, out)
    for note in written.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        print_json(asdict(written))
        return
    open_it = f"sweep unpack {written.path}" if written.path.endswith(".zip") else f"sweep show {written.sweep}"
    more = "" if written.path.endswith(".zip") else f" --home {written.path}"
    print_lines(
        [
            f"wrote {written.path}: {written.sweep}, {written.files} files, {written.size_bytes / 2**20:.1f} MiB",
            f"open it: {open_it}{more}",
        ]
    )


@click.command(short_help="Check an exported zip, and unpack it.")
@click.argument("file")
@click.option("--to", metavar="DIR", help="The new folder (default: the name of the file, without .zip).")
@json_option
def unpack(file: str, to: str | None, as_json: bool) -> None:
    """Unpack FILE, a zip that `sweep export` wrote, into a new folder that other commands take as --home.

    Every file is compared with its checksum first; a damaged one is refused, and nothing is written.

    \b
    Example:
      sweep unpack names.zip
    """
    from espalier.sweeps.browse.unpack import unpack_sweep

    sweep, place = unpack_sweep(file, to)
    if as_json:
        print_json({"sweep": sweep, "home": str(place)})
    else:
        print_lines([f"unpacked {sweep}", f"look at it: sweep show {sweep} --home {place}"])
