"""Names of the user attributes of a sweep's study and its trials in Optuna's storage.

A name that ends with a dot is a prefix: `work.cohort-3`. Names never change: existing journals have them.
"""

# of a study
SPEC = "spec"
CREATED = "created"
BIRTH = "birth"  # a random value that tells the sweep from others of its id: see recording.experiments.Owner
FOLDER = "code.folder"  # the folder of a task that is a module
TRACKING = "tracking"  # the tracking origin of the sweep
CHANGES = "changes"  # a period for each time that the sweep continued with changed code, data or versions
PROGRAMS = "programs"  # each "program (why)" of a cohort, in order of use
PARENT = "mlflow_parent"  # of the sweep's own run: the experiment's id, the run's, the experiment's name
WORK = "work."  # for each cohort of which a trial has ended: lane-steps trained, steps shared
PROVENANCE = "made."  # for each cohort that has trained: its program, why, lanes, device
REFERENCES = "references"  # the names of those that the sweep is to train
REFERENCE = "reference."  # for each reference that has ended: what it came to
SEARCH_OVER = "search_over"  # of an open-ended search: there is nothing left that it would train; see SweepRecord
TAKEN = "taken"  # from another sweep: see sweeps.search.taken
EXTENSIONS = "extensions"  # for each time that the sweep was given more to train: see sweeps.search.extending
TIME = "time"  # of a budget in time: the seconds used, of the clock or of GPUs, and how many a training takes
ENQUEUED = "enqueued."  # for each point that was added to a sweep, by when: {point: as Optuna has it, of: its origin}
LATE_RUN = "mlflow_run."  # for each trial whose MLflow run was created after the trial's end

# of a trial
COHORT = "cohort"
PIECES = "pieces"  # of a search by pieces: what was trained of the trial, in order; see sweeps.search.pieces
PARKED = "parked"  # of a search by pieces: where it is parked, and its verdict so far: [step, verdict, evidence]
FIRST = "first"  # of a trial at a given point: its place among the spec's first points, or when it was added
CONFIRMS = "confirms"  # of a confirmation: [the trial that it repeats, its own seed]
STATUS = "status"  # complete, diverged, stopped, failed
VERDICT = "verdict"
EVIDENCE = "evidence"
SPREAD = "spread"  # standard deviation of the objective over replicates
MISSING = "missing"  # metrics that were NaN or infinite: in n of m reports
TO_BEAT = "to_beat"  # the baseline: the objective of a constant guess, or of the untrained model
MEMORY = "memory"  # the most that a process of it took: {main, gpu, gpu_total}, in bytes
RUN = "mlflow_run"
LEADER = "leader"  # of a diverged trial: the first one with the same history
STOPPED = "stopped"  # {step, evidence} of a stopped trial, written before Optuna is told
RUNG = "rung."  # for each rung at which the trial was scored: [score, null where it diverged; leader]
