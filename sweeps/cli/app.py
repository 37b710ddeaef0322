"""The command `sweep`: its commands, grouped under headings."""

import click

from espalier.sweeps.cli import agents, carry, explain, look, report, reuse, search, service, shell, starting
from espalier.sweeps.cli.sections import SectionedGroup

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
SERVICE = "Service"  # the heading that the administrator's commands share


@click.group(cls=SectionedGroup, context_settings=CONTEXT)
@click.version_option(package_name="espalier", prog_name="sweep")
def main() -> None:
    """Find the learning rate of a PyTorch model: many trials side by side, recorded in MLflow.

    \b
    sweep run names                          search
    sweep ui                                 browse the result
    sweep best names > best.yaml             pull the best configuration
    sweep rerun best.yaml                    train it again, to the same number
    """


main.add_section("Begin", [starting.init, starting.import_])
main.add_section(
    "Search", [search.run, search.resume, service.stop, search.extend, search.enqueue, search.check, search.lr_range]
)
main.add_section("Look", [look.list_, look.show, explain.explain, report.report, look.compare, look.ui, look.delete])
main.add_section("Reuse", [reuse.best, reuse.rerun, reuse.pull, carry.export, carry.unpack])
main.add_section(SERVICE, [service.submit, service.logs])
main.add_section("Shell, editor and agents", [shell.schema, shell.completion, agents.mcp])
