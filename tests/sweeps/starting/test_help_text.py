"""Options in help texts as other versions of the libraries write them; the scripts of test_commands ask those here."""

import pytest

from espalier.sweeps.starting.arguments import Argument
from espalier.sweeps.starting.help_text import options

ARGPARSE_313 = """
usage: train.py [-h] --data DATA [--fp16 [FP16]] [-b, --batch N]

options:
  -h, --help            show this help message and exit
  --data DATA
  --fp16 [FP16]         mixed precision (default: False)
  -b, --batch N         examples per step, a text that goes on and mentions
                        --epochs in its second line (default: 64)
  --lr, --learning-rate LR
                        the rate (default: 5e-05)
"""
TYPER_RICH = """
 Usage: train.py [OPTIONS] DATA

 Train.

╭─ Arguments ──────────────────────────────────────────────────────────────────╮
│ *    data      TEXT  [default: None] [required]                              │
╰──────────────────────────────────────────────────────────────────────────────╯
╭─ Options ────────────────────────────────────────────────────────────────────╮
│ *  --out                          TEXT        [default: None] [required]     │
│    --lr                           FLOAT       Peak rate, which is searched   │
│                                               by decades [default: 0.1]      │
│    --opt                          [sgd|adam]  [default: sgd]                 │
│    --bias          --no-bias                  [default: bias]                │
│    --help                                     Show this message and exit.    │
╰──────────────────────────────────────────────────────────────────────────────╯
"""
CLICK_8 = """
Usage: train.py [OPTIONS]

Options:
  --lr FLOAT                 Rate.  [default: 0.1]
  --truth BOOLEAN            [default: False]
  --width INTEGER RANGE      [default: 64; x>=1; required]
  --betas <FLOAT FLOAT>...   [default: 0.9, 0.99]
  --amp / --no-amp           [default: no-amp]
  --help                     Show this message and exit.
"""


def by_name(text: str) -> dict[str, Argument]:
    return {argument.name: argument for argument in options(text)}


def test_argparse_with_options_side_by_side_and_wrapped_texts() -> None:
    found = by_name(ARGPARSE_313)
    assert {*found} == {"data", "fp16", "batch", "lr"}
    assert found["data"].required and not found["batch"].required
    assert (found["batch"].option, found["batch"].default, found["batch"].kind) == ("--batch", 64, "int")
    assert (found["lr"].option, found["lr"].default) == ("--lr", 5e-5)
    assert found["fp16"].choices == ("true", "false") and not found["fp16"].flag


def test_typer_in_boxes() -> None:
    found = by_name(TYPER_RICH)
    assert {*found} == {"out", "lr", "opt", "no-bias", "data"}
    assert found["out"].required and found["data"].positional and found["data"].required
    assert (found["lr"].kind, found["lr"].default) == ("float", 0.1)
    assert (found["opt"].choices, found["opt"].default) == (("sgd", "adam"), "sgd")
    assert found["no-bias"].flag and found["no-bias"].turns_off


def test_click_with_ranges_pairs_and_several_values() -> None:
    found = by_name(CLICK_8)
    assert found["width"].required and (found["width"].kind, found["width"].default) == ("int", 64)
    assert (found["betas"].default, found["betas"].count) == ((0.9, 0.99), 2)
    assert found["amp"].flag and not found["amp"].turns_off
    assert found["truth"].choices == ("true", "false")


@pytest.mark.parametrize(
    "text", ["", "loading ...\n", "\0\xff" * 100, "- a\n- b\n--\n---- c", "error: --lr is missing"]
)
def test_what_is_no_help_has_no_options(text: str) -> None:
    assert options(text) == []
