"""Names of the attributes that a sweep's study and its trials have in Optuna's storage.

A name that ends with a dot is the first part of many: `work.cohort-3`. Names are never changed: journals have them.
"""

# of a study
SPEC = "spec"
CREATED = "created"
FOLDER = "code.folder"  # where a task that is a module was found
TRACKING = "tracking"  # where the sweep was recorded when it began
CHANGES = "changes"  # a period for each time that the sweep went on with other code, data or versions
PROGRAMS = "programs"  # each "program (why)" that a cohort has trained by, the first first
PARENT = "mlflow_parent"  # of the sweep's own run: the experiment's id, the run's, the experiment's name
WORK = "work."  # for each cohort of which a trial has ended: lane-steps trained, steps shared
PROVENANCE = "made."  # for each cohort that has trained: its program, why, lanes, device
LATE_RUN = "mlflow_run."  # for each trial whose MLflow run was made after the trial's end

# of a trial
COHORT = "cohort"
STATUS = "status"  # complete, diverged, stopped, failed
VERDICT = "verdict"
EVIDENCE = "evidence"
SPREAD = "spread"  # standard deviation of the objective over replicates
MISSING = "missing"  # metrics that were no number: in n of m reports
TO_BEAT = "to_beat"  # what a constant guess, or the untrained model, has of the objective
RUN = "mlflow_run"
LEADER = "leader"  # of a trial that diverged: the first that had the same history
STOPPED = "stopped"  # {step, evidence} of a trial that was stopped, noted before it is told
RUNG = "rung."  # for each rung at which the trial was scored: [score, null where it diverged; leader]
