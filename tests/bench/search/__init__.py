"""A benchmark of the search by replay: over tables of trained trials, so that a sweep takes seconds.

`table` holds the truth, `clock` the workers and their compute, `product`, `peers` and `pieces` replay ways to search,
`methods` names them, `measuring` and `report` turn regrets into a dated report.
"""
