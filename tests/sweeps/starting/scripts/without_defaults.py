"""A script with argparse whose help says no defaults; they stand in a module beside it."""

import json

from options_beside import parser

args = parser().parse_args()
for step in range(0, args.max_steps, 10):
    print("step %d | val_acc %.3f | loss %.3f" % (step, 0.5, 1.0))  # noqa: UP031 - as people write it
print(json.dumps({"arrived": vars(args)}))
