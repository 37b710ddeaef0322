"""Ask Optuna for trials, and tell it how they ended."""

import warnings
from collections.abc import Collection, Iterator, Mapping

import optuna
from numpy.random import SeedSequence
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
from optuna.trial import TrialState, create_trial

from espalier.core.measures.verdicts import OUT_OF_MEMORY
from espalier.sweeps.samplers import SAMPLERS, Sampler
from espalier.sweeps.samplers.grid import Grid, GridOrder
from espalier.sweeps.search import attributes
from espalier.sweeps.search.given import Given
from espalier.sweeps.search.pasts import Pasts
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.trial_events import Outcome
from espalier.sweeps.search.trial_record import Confirmation, OpenTrial, TrialRecord, sampled_params, storable
from espalier.sweeps.spec.space import Choice, Point, Range, Space
from espalier.sweeps.spec.spec import SweepSpec


def distribution(domain: Range | Choice) -> BaseDistribution:
    """Return a domain as an Optuna distribution. Choices that are lists become JSON."""
    if isinstance(domain, Choice):
        return CategoricalDistribution([storable(choice) for choice in domain.choices])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an upper end between two steps moves down to the lower one
        if domain.integer:
            return IntDistribution(int(domain.low), int(domain.high), domain.log, int(domain.step or 1))
        return FloatDistribution(domain.low, domain.high, domain.log, domain.step)


def fixed_sampler(fixed: Point, base: BaseSampler) -> BaseSampler:
    """Return a sampler that gives these values, and draws all others from another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls it experimental
        return PartialFixedSampler(dict(fixed), base)


def suggest(handle: optuna.trial.Trial, name: str, domain: BaseDistribution) -> None:
    """Have a trial's sampler propose the value of a hyperparameter, unless the trial has one."""
    if isinstance(domain, CategoricalDistribution):
        handle.suggest_categorical(name, domain.choices)
    elif isinstance(domain, IntDistribution):
        handle.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)
    elif isinstance(domain, FloatDistribution):
        handle.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)


def suggest_missing(handle: optuna.trial.Trial, space: Space, domains: Mapping[str, BaseDistribution]) -> None:
    """Have a trial's sampler propose all that exists there, each after what its existence depends on."""
    params: Point = dict(handle.params)
    for name, domain in domains.items():  # in the space's order
        if name not in params and space.exists(name, sampled_params(params)):
            suggest(handle, name, domain)
            params = dict(handle.params)


class Draws:
    """The samplers of trials: one for all, or for a repeatable search one for each number.

    Then a proposal depends on the trial's number and on the ended trials, not on the process.
    """

    def __init__(self, spec: SweepSpec, domains: Mapping[str, BaseDistribution], asked: int):
        """asked: how many trials exist already: a resumed search must not repeat its first draws."""
        self.domains, self.seed, self.conditional = domains, spec.search.seed, bool(spec.space.conditions)
        self.sampler: Sampler = SAMPLERS[spec.search.sampler]()
        in_order = self.sampler.enumerates and (spec.search.repeatable or isinstance(self.sampler, Grid))
        self.order = GridOrder(domains, self.seed, grid_parts(spec.space)) if in_order else None
        self.shared = None if spec.search.repeatable or in_order else self._make(self.seed + asked)

    def take(self, params: Point) -> None:
        """Note the parameters of a trial: an enumeration does not propose them again."""
        if self.order:
            self.order.take(params)

    def has(self, point: Point) -> bool:
        """Whether a point may still be proposed: an enumeration has each once."""
        return not self.order or self.order.free(point) is not None

    def of(self, number: int, known: Point | None = None, apart: bool = False) -> BaseSampler:
        """Return the sampler of a trial. known: parameters that it has already. apart: for a study of its own."""
        if self.shared and not apart:
            return self.shared
        if self.order:
            point = self.order.next(known or {})
            return PartialFixedSampler(point, RandomSampler()) if self.domains else RandomSampler()
        return self._make(int(SeedSequence([self.seed, number]).generate_state(1)[0]))

    def _make(self, draw_seed: int) -> BaseSampler:
        make = self.sampler.make_conditional if self.conditional else self.sampler.make
        return make(self.domains, self.seed, draw_seed)


def grid_parts(space: Space) -> Iterator[tuple[Point, list[str]]]:
    """Yield the parts of a grid, with values as Optuna has them."""
    for values, names in space.grid_parts():
        yield {name: storable(value) for name, value in values.items()}, names


class Asker:
    """Asks for the trials of one sweep, one after another."""

    def __init__(self, record: SweepRecord):
        _take_queued(record.study)
        trials = record.trials()
        self.given = Given(record, trials)
        self.record, self.study, self.storage, self.spec = record, record.study, record.storage, record.spec
        self.domains = {name: distribution(domain) for name, domain in self.spec.space.domains()}
        self.draws = Draws(self.spec, self.domains, len(trials))
        self.pasts = Pasts(record, self.domains) if record.extensions or record.taken else None
        self.params: dict[int, Point] = {trial.number: dict(trial.params) for trial in trials}
        for params in self.params.values():
            self.draws.take(params)
        self.confirmations = {trial.number: trial.confirms for trial in trials if trial.confirms}
        # of a search by pieces: for each trial, the one that began as its trunk
        self.trunks = {trial.number: trial.pieces[0]["trunk"] for trial in trials if trial.pieces}
        self.trials: dict[int, OpenTrial] = {}  # asked for, or adopted, by this process

    @property
    def asked(self) -> int:
        """How many trials of the search exist."""
        return len(self.params) - len(self.confirmations)

    def ask(self) -> OpenTrial:
        """Return a new trial; the branches of a trunk share all sampled values except the decay points."""
        keyed_point = None if self.trunk_of(self.next_number) is not None else self._next_given()
        past = self.pasts.of(self.asked) if self.pasts else None
        self._take_sampler(self.next_number, keyed_point and keyed_point[1], apart=past is not None)
        key, point = keyed_point or ("", {})
        if past:
            point = self._ask_of(past, self.study.sampler, point)
            self.study.sampler = RandomSampler()
        if point or key:
            self.study.enqueue_trial(point, user_attrs={attributes.FIRST: key} if key else None)
        if key:
            self.given.use(key)
        return self._opened(OpenTrial(self._asked(self.study)))

    def _asked(self, study: optuna.Study) -> optuna.trial.Trial:
        """Return a new trial of a study, whose sampler has proposed all that exists there."""
        conditions = self.spec.space.conditions
        handle = study.ask({name: domain for name, domain in self.domains.items() if name not in conditions})
        if conditions:
            suggest_missing(handle, self.spec.space, self.domains)
        return handle

    def _ask_of(self, past: optuna.Study, sampler: BaseSampler, point: Point) -> Point:
        """Return what a sampler proposes that knows no more than a study has. point: parameters that are given."""
        past.sampler = sampler
        if point:
            past.enqueue_trial(point)
        return dict(self._asked(past).params)

    def _next_given(self) -> tuple[str, Point] | None:
        """Return the next point that is given, with its key; None where the sampler is to propose."""
        for key, point in self.given.waiting():
            if self.draws.has(point):
                return key, point
            self.given.use(key)
        return None

    def confirm(self, trial: TrialRecord) -> OpenTrial:
        """Return a new trial that repeats another under a seed that no trial of the sweep has had."""
        seeds = [int(self.point_of(number)["seed"]) for number in self.params]
        confirmation = Confirmation(trial.number, max(seeds) + self.spec.replicates)
        added = self._add(trial.frozen.params, {attributes.CONFIRMS: [confirmation.trial, confirmation.seed]})
        self.confirmations[added.number] = confirmation
        return self.adopt(added)

    def begin(self, params: Point, entries: Mapping[str, object]) -> OpenTrial:
        """Return a new trial with some of its parameters, and its attributes."""
        return self.take_over(self._add(params, entries))

    def _add(self, params: Point, entries: Mapping[str, object]) -> TrialRecord:
        """Add a running trial to the study. Optuna writes it at once, with its attributes."""
        domains = {name: self.domains[name] for name in params}
        running = TrialState.RUNNING
        self.study.add_trial(
            create_trial(state=running, params=params, distributions=domains, user_attrs=dict(entries))
        )
        return TrialRecord(self.study.get_trials(deepcopy=False)[-1])

    @property
    def next_number(self) -> int:
        """The number that the next trial will have."""
        return len(self.params)

    def decide(self, number: int, params: Point) -> None:
        """Add parameters to a trial that has begun without them."""
        self.study.sampler = fixed_sampler(params, RandomSampler())
        trial = self.trials[number]
        for name in params:
            suggest(trial.handle, name, self.domains[name])
        trial.params |= params

    def adopt(self, record: TrialRecord) -> OpenTrial:
        """Take over a trial of an earlier process; sample now what that process had not sampled yet."""
        missing = self.spec.space.missing(sampled_params(record.params))
        if record.confirms is None and missing:
            known = self.given.point(record.given_as) if record.given_as else {}
            self._take_sampler(record.number, known | record.params)
        else:
            self.study.sampler = RandomSampler()
        handle = self._handle(record.number)
        suggest_missing(handle, self.spec.space, self.domains)
        return self._opened(OpenTrial(handle))

    def take_over(self, record: TrialRecord) -> OpenTrial:
        """Take over a trial with the parameters that it has."""
        self.study.sampler = RandomSampler()
        return self._opened(OpenTrial(self._handle(record.number)))

    def _handle(self, number: int) -> optuna.trial.Trial:
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return optuna.trial.Trial(self.study, self.storage.get_trial_id_from_study_id_trial_number(study_id, number))

    def _opened(self, trial: OpenTrial) -> OpenTrial:
        self.trials[trial.number], self.params[trial.number] = trial, trial.params
        self.draws.take(trial.params)
        return trial

    def tell(self, trial: OpenTrial, outcome: Outcome, run: str | None) -> None:
        """Tell Optuna how a trial ended, with its attributes: it accepts none later. run: its MLflow run, if known."""
        trial.set_outcome(outcome, run, self.spec.objective, self.spec.stopping is not None)
        # GridSampler stops the study after its last point, which only Optuna's own loop allows
        random = self.draws.sampler.enumerates or trial.number in self.confirmations
        self.study.sampler = RandomSampler() if random else self.draws.of(trial.number)
        value = outcome.values.get(self.spec.objective.metric)
        if outcome.status == "complete" and value is not None:
            self.study.tell(trial.handle, value)
        else:
            # Optuna's samplers do not look at failed trials; of one that got no memory they learn where not to go
            learnt = outcome.status == "stopped" or outcome.verdict == OUT_OF_MEMORY
            self.study.tell(trial.handle, state=TrialState.PRUNED if learnt else TrialState.FAIL)

    def point_of(self, number: int) -> Point:
        """Return the whole configuration of a trial."""
        point = self.spec.space.resolve(sampled_params(self.params[number]))
        return point | ({"seed": self.confirmations[number].seed} if number in self.confirmations else {})

    def confirms(self, number: int) -> int | None:
        """Return the trial that this one confirms; None for a trial of the search."""
        return self.confirmations[number].trial if number in self.confirmations else None

    def trunk_of(self, number: int) -> int | None:
        """Return the trial whose trunk this one was proposed to share, None for one proposed independently."""
        if number in self.confirmations:
            return None
        if number in self.trunks:
            return None if self.trunks[number] == number else self.trunks[number]
        place = self._place_of(number)
        back = place % self.spec.branches
        return self._number_at(place - back) if back else None

    def _place_of(self, number: int) -> int:
        """Return how many trials of the search come before one: confirmations count as none."""
        return number - sum(confirmation < number for confirmation in self.confirmations)

    def _number_at(self, place: int) -> int:
        """Return the trial of the search at a place."""
        return [number for number in self.params if number not in self.confirmations][place]

    def _take_sampler(self, number: int, known: Point | None = None, apart: bool = False) -> None:
        """Set the sampler for the trial of this number: a branch keeps its trunk's values.

        known: parameters that it has already. apart: see `Draws.of`.
        """
        first = self.trunk_of(number)
        trunk = {} if first is None else self.params.get(first, {})
        fixed = {name: value for name, value in trunk.items() if not name.startswith("decay_point")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            base = self.draws.of(self._place_of(number), known, apart)
        self.study.sampler = fixed_sampler(fixed, base) if fixed else base


def _take_queued(study: optuna.Study) -> None:
    """Begin trials that a process had put into Optuna's queue when it was killed: they are unfinished then."""
    study.sampler = RandomSampler()
    while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.ask()


class Ends:
    """Tells Optuna how trials ended, when their MLflow runs are known: no attributes can be added afterwards.

    untold: the ends that Optuna has not been told. linked: by trial, the MLflow run that is stored in Optuna.
    """

    def __init__(self, asker: Asker, record: SweepRecord):
        self.asker, self.record = asker, record
        self.untold: dict[int, Outcome] = {}
        self.linked: dict[int, str] = {}

    def settle(self, runs: Mapping[int, str], everything: bool, running: Collection[int]) -> None:
        """Tell Optuna the ends of trials whose runs are known, or of all; store the runs that became known later.

        running: the trials that have not ended.
        """
        for number in [number for number in self.untold if everything or number in runs]:
            self.asker.tell(self.asker.trials[number], self.untold.pop(number), runs.get(number))
            if number in runs:
                self.linked[number] = runs[number]
        told = {number: run for number, run in runs.items() if number not in running and number not in self.untold}
        late = {number: run for number, run in told.items() if self.linked.get(number) != run}
        if late:
            self.record.set_late_runs(late)
            self.linked |= late
