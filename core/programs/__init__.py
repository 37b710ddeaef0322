"""Programs: the ways in which a cohort's lanes take their steps. `program.Program` says what one is.

PROGRAMS is the only list of them. To add one, write its file and name it here; a person's own is `file.py:Class`.
Nothing here imports torch before a class is asked for.
"""

from typing import TYPE_CHECKING

from espalier.core.loading.registry import Registry

if TYPE_CHECKING:
    from espalier.core.programs.program import Program

PROGRAMS: "Registry[Program]" = Registry(
    "resources.program",
    "core.programs.program:Program",
    {
        "plain": "core.programs.plain:PlainProgram",
        "native": "core.programs.machine_code:NativeProgram",
        "vmap": "core.programs.vmap:VmapProgram",
        "compiled": "core.programs.compiled:CompiledProgram",
        "captured": "core.programs.captured:CapturedProgram",
    },
    "program",
)
