"""The command that writes a sweep's report."""

import click

from espalier.sweeps.cli.completion import offered_sweeps
from espalier.sweeps.cli.options import home_option, json_option, server_option
from espalier.sweeps.cli.output import print_json
from espalier.sweeps.cli.remote import chosen_origin


@click.command(short_help="Write the report: one page with all of it.")
@click.argument("sweep", shell_complete=offered_sweeps)
@click.option("--out", metavar="FILE", help="The file (default: report-ID.html in this folder).")
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
@json_option
@server_option
@home_option
def report(sweep: str, out: str | None, opened: bool, as_json: bool, server: str | None, home: str | None) -> None:
    """Write the report of SWEEP as one HTML file: the answer, the figures, the table of trials. It needs no network.

    Of a running sweep it shows what is known so far.

    \b
    Example:
      sweep report names --open
    """
    from espalier.sweeps.cli.browser import open_in_browser
    from espalier.sweeps.report.document import Document
    from espalier.sweeps.report.writing import write_report
    from espalier.sweeps.spec.paths import argument

    stored = chosen_origin(server, home).read(sweep)
    document = Document.of(stored.material())
    file = write_report(document, argument(out) if out else None)
    if as_json:
        answer = list(document.subject.answer.sentences)
        print_json({"sweep": stored.id, "file": str(file.absolute()), "answer": answer})
    else:
        click.echo(f"{file}: the report of {stored.id}" + ("" if opened else "; open it in a browser"))
    if opened and not open_in_browser(file):
        click.echo(f"no browser was found here; the report is at {file.absolute()}", err=True)
