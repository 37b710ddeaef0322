"""A benchmark of the search by replay: over tables of trained trials, so that a sweep takes seconds.

`table` holds the truth, `failing` a simulated one, `clock` the workers and their compute. `product`, `peers` and
`pieces` (for `thawing`) replay ways to search, and `methods` names them. `measuring`, `reductions`, `goals` and
`report` turn regrets into a dated report; `benchmark` does it for a folder of tables, in processes side by side.
"""
