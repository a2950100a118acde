"""De-identification of a folder: clean copies of what can be cleaned, one outcome for each file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.errors import RequestError
from medseg.privacy.crosswalk import Crosswalk, Link
from medseg.privacy.documents import clean_document
from medseg.privacy.fields import FieldRules
from medseg.privacy.inputs import as_folder, input_files, read_input, stamp_of
from medseg.privacy.keeper import IdentityKeeper
from medseg.privacy.kinds import PART, Kinds, kinds_of
from medseg.privacy.ledger import Ledger
from medseg.privacy.links import links_of
from medseg.privacy.outcomes import (
    Account,
    DeidentifyReport,
    Outcome,
    Status,
    entry_of,
    open_output,
    write_refused,
    write_whole,
)
from medseg.privacy.places import Places, name_identities, split_name
from medseg.privacy.profile import Profile
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.record import check_request, marker_of, refuse_inside, write_ledger
from medseg.privacy.tables import clean_table
from medseg.privacy.worker import DEFACED, PAINTED, STRIPPED, Done, Input, Pool, Submit, Task, Work, refused, unseen

__all__ = ["DeidentifyReport", "Outcome", "deidentify_tree", "input_files"]

_CHUNK = 32


def deidentify_tree(
    src: Path,
    out: Path,
    *,
    profile: Profile,
    key: bytes,
    ledger: Ledger | None = None,
    progress: Callable[[], None] | None = None,
    looking: Callable[[int, int], None] | None = None,
    jobs: int = 1,
    identities: Path | None = None,
    acknowledge_faces: bool = False,
    deface: bool = False,
    accepted: Collection[int] = (),
    painted: Collection[int] = (),
    rejected: Collection[int] = (),
    quarantine: Path | None = None,
    crosswalk: Crosswalk | None = None,
    patients: Mapping[int, str] | None = None,
) -> DeidentifyReport:
    """Make a clean copy of each file below a folder that can be cleaned.

    The same call again goes on where it was stopped. Each input file has one outcome, and so has each member of a zip
    archive.

    Args:
        src: Folder of DICOM files, photographs, volumes, tables and zip archives of them.
        out: New or empty folder for the copies, or one of an earlier call; not inside `src`.
        profile: What may stay.
        key: The project's key.
        ledger: Gets the counts and, where heads in thin slices were let pass, that exception.
        progress: Called once for each file.
        looking: Called with the number of series looked at for text, and of all.
        jobs: Processes that work at once.
        identities: Where the index of the identities found is kept, usually beside the key; not inside `out`.
        acknowledge_faces: Let heads in thin slices pass; recorded in the ledger.
        deface: Take the face off heads in thin slices; recorded in the ledger.
        accepted: Running numbers of quarantined files whose pixels a person has looked at; recorded in the ledger.
        painted: Running numbers of photographs whose text is painted over, as a person who has looked at them wants;
            recorded in the ledger.
        rejected: Running numbers of quarantined or painted files that a person has refused; recorded in the ledger.
        quarantine: Folder for a picture of each quarantined or painted file, by its running number; not inside `out`.
        crosswalk: Gets who is who, for the data steward; not inside `out` or `src`.
        patients: Whose the pictures and volumes are, by running number (`medseg.privacy.patients`).

    Raises:
        RequestError: A folder is missing or holds something else, or one lies inside the other.

    Example:
        >>> from pathlib import Path
        >>> from medseg.privacy.profile import load_profile
        >>> report = deidentify_tree(
        ...     Path("source"), Path("clean"), profile=load_profile("basic"), key=key
        ... )  # doctest: +SKIP
    """
    src, out = Path(src).resolve(), Path(out).resolve()
    if src == out or src in out.parents or out in src.parents:
        raise RequestError("expected an output folder outside the source folder, found one inside the other")
    refuse_inside(src, out, identities=identities, quarantine=quarantine, crosswalk=crosswalk)
    decided = [*accepted, *painted, *rejected]
    check_request(profile, acknowledge_faces=acknowledge_faces, deface=deface, decided=decided)
    files = input_files(src)
    if identities is not None and not Path(identities).parent.is_dir():
        raise RequestError("expected the index of identities in a folder that exists, found none")
    key_check = (pseudonyms := Pseudonymiser(key)).check
    if crosswalk is not None:
        crosswalk.check(project=key_check)
    open_output(out, marker_of(profile), key_check=key_check)
    defaced = deface or profile.faces == "deface"
    work = Work(src, out, profile, key, acknowledge_faces, defaced, frozenset(accepted), frozenset(painted), quarantine)
    keeper = IdentityKeeper(None if identities is None else Path(identities))
    run = _Run(
        work, files, pseudonyms, keeper, progress, rejected=frozenset(rejected), looking=looking, named=patients or {}
    )
    try:
        run.go(max(1, jobs))
    finally:
        run.keep()
        if crosswalk is not None:
            links = links_of(src, files, run.report().written, pseudonyms=pseudonyms, shifted=profile.dates == "shift")
            crosswalk.extend([*links, *run.table_links()], project=key_check)
    report = run.report()
    write_refused(out, report)
    if ledger is not None:
        write_ledger(ledger, report, work, rejected=rejected, unseen=run.unseen)
    return report


class _Run:
    """One pass over a source: DICOM first, then the files whose place depends on where the series went."""

    def __init__(
        self,
        work: Work,
        files: Sequence[str],
        pseudonyms: Pseudonymiser,
        keeper: IdentityKeeper,
        progress: Callable[[], None] | None,
        *,
        rejected: frozenset[int],
        looking: Callable[[int, int], None] | None,
        named: Mapping[int, str],
    ) -> None:
        self.unseen = 0
        """Series that nothing here could look at for text."""
        self._rejected = rejected
        self._work = work
        self._files = files
        self._progress = progress
        self._looking = looking
        self._pseudonyms = pseudonyms
        self._account = Account(work.out, pseudonyms)
        self._places = Places(pseudonyms)
        self._outcomes: dict[int, Outcome] = {}
        self._found = Kinds()
        self._ids = {number: self._account.identifier(name) for number, name in enumerate(files, start=1)}
        self._patients = named
        self._keeper = keeper
        """Gets what was removed, and the source's folder and file names."""
        self._entries: list[dict[str, str]] = []
        self._stamps: dict[int, str] = {}
        self._waiting: dict[str, list[int]] = {}
        self._table_patients: dict[str, str] = {}

    def go(self, jobs: int) -> None:
        """Clean every file that an earlier run didn't."""
        self._keeper.add({*self._patients.values(), *name_identities(map(as_folder, self._files))})
        self._found = kinds_of(self._work.source, self._files)
        kinds = self._found.kinds
        dicom = [number for number, kind in kinds.items() if kind == "dicom"]
        with Pool(self._work, jobs if len(self._files) > _CHUNK else 1) as submit:
            self._stage(dicom, {}, kinds, submit)
            self._heads(kinds, submit)
            self._look(kinds, submit)
            for number in dicom:
                if self._outcomes[number].status == "written":
                    self._places.add_dicom(as_folder(self._files[number - 1]), self._outcomes[number].place)
            others = [number for number, kind in kinds.items() if kind in ("photograph", "volume")]
            self._stage(others, self._places_for(others), kinds, submit)
        self.keep()
        self._settle_parts()
        self._tables([number for number, kind in kinds.items() if kind == "table"])
        left = {number: reason for number, reason in kinds.items() if number not in self._outcomes}
        self._account.add(
            [self._settle(n, Done("refused", "", reason, frozenset()), "unknown") for n, reason in left.items()]
        )
        self._account.close(self._ids.values())

    def report(self) -> DeidentifyReport:
        """What became of each file."""
        groups: dict[str, list[Outcome]] = {"written": [], "quarantined": [], "refused": []}
        for _, outcome in sorted(self._outcomes.items()):
            groups[outcome.status].append(outcome)
        return DeidentifyReport(*(tuple(groups[name]) for name in ("written", "quarantined", "refused")))

    def keep(self, entries: Sequence[dict[str, str]] = (), *, now: bool = True) -> None:
        """Take outcomes into the account, once the index knows what was removed; a killed run makes the others anew."""
        self._entries += entries
        if self._keeper.save(now=now):
            self._account.add(self._entries)
            self._entries = []

    def table_links(self) -> list[Link]:
        """Patients that only tables speak of, for the crosswalk."""
        told = self._table_patients | {self._pseudonyms.patient(name): name for name in self._patients.values()}
        return [Link("patient", pseudonym, text) for pseudonym, text in told.items()]

    def _tables(self, numbers: Sequence[int]) -> None:
        """Clean tables and JSON last: the pseudonyms of the images that they speak of are known by then."""
        names, places = self._image_names()
        profile = self._work.profile
        rules = FieldRules(names, pseudonyms=self._pseudonyms, characteristics=profile.patient_characteristics)
        for number in numbers:
            place = self._table_place(number, places)
            try:
                clean, left_out = _clean_fields(read_input(self._work.source, self._files[number - 1]), place, rules)
                write_whole(self._work.out / place, clean)
                what = "keys and values" if place.endswith(".json") else "columns"
                done = Done("written", place, f"{left_out} {what} were left out" if left_out else "", frozenset())
            except Exception as error:
                # As for any file: whatever a table breaks, it is the table that is refused, and the folder goes on.
                done = refused(error)
            self._account.add([self._settle(number, done, "table")])
        self._table_patients = rules.patients

    def _image_names(self) -> tuple[dict[str, str], dict[str, str]]:
        """Output stem of each image by source name and stem, and output path by stem; names of several images go."""
        found: dict[str, set[str]] = {}
        for number, outcome in self._outcomes.items():
            if outcome.kind in ("photograph", "volume") and outcome.place:
                source = self._files[number - 1].rsplit("/", 1)[-1]
                for name in (source, _stem(source)):
                    found.setdefault(name, set()).add(outcome.place)
        single = {name: places.pop() for name, places in found.items() if len(places) == 1}
        return {name: _stem(place.rsplit("/", 1)[-1]) for name, place in single.items()}, single

    def _table_place(self, number: int, images: dict[str, str]) -> str:
        """Output path of a table; of the JSON of one image beside that image."""
        name = self._files[number - 1]
        suffix, own = split_name(name)[2], self._ids[number]
        beside = images.get(_stem(name.rsplit("/", 1)[-1]))
        if suffix == ".json" and beside is not None:
            place = f"{_stem(beside)}{suffix}"
        else:
            place = f"{self._places.table(as_folder(name))}{suffix}"
        if self._account.owner(place) not in (None, own):
            place = f"{self._pseudonyms.folder('T', name)}{suffix}"
        return place

    def _places_for(self, numbers: Sequence[int]) -> dict[int, str]:
        """Output paths of files that aren't DICOM; where two meet, the later one gets a name of its own."""
        places: dict[int, str] = {}
        taken: set[str] = set()
        for number in numbers:
            name = self._files[number - 1]
            patient = self._patients.get(number, "")
            place = self._places.of(as_folder(name), self._found.suffixes[number], patient=patient)
            if place in taken:
                place = self._places.another(place, name)
            taken.add(place)
            places[number] = place
        return places

    def _stage(self, numbers: Sequence[int], places: Mapping[int, str], kinds: dict[int, str], submit: Submit) -> None:
        """Clean some files; those that the account knows are only counted."""
        left = []
        for number in numbers:
            stamp = self._stamp(number)
            known = self._account.known(self._ids[number], stamp)
            was = known["place"] if known is not None and known["status"] == "written" else ""
            if was and places.get(number, was) != was:
                (self._work.out / was).unlink(missing_ok=True)
                left.append(number)
            elif known is None or self._decided(number, known):
                left.append(number)
            else:
                outcome = Outcome(number, _status(known["status"]), known["place"], known["reason"], kinds[number])
                self._outcomes[number] = outcome
                self._tick()
        tasks = [Task("files", self._inputs(chunk, places)) for chunk in _chunks(left)]
        self._clean(tasks, kinds, submit)

    def _decided(self, number: int, known: Mapping[str, str]) -> bool:
        """Whether a person's decision, or a detector that wasn't there before, may change what became of a file."""
        if known["status"] == "quarantined":
            return number in self._work.accepted | self._work.painted | self._rejected
        was_painted = known["reason"].startswith(PAINTED)
        return unseen(known["reason"]) or (was_painted and number in self._work.accepted | self._rejected)

    def _heads(self, kinds: dict[int, str], submit: Submit, *, look: bool = False) -> None:
        """Take the faces off the series of heads that were put aside, each of them as a whole."""
        tasks = [Task("head", self._inputs(group, {}), look) for group in self._waiting.values()]
        self._waiting = {}
        self._clean(tasks, kinds, submit)

    def _inputs(self, numbers: Sequence[int], places: Mapping[int, str]) -> tuple[Input, ...]:
        parts = {n: tuple(self._files[part - 1] for part in self._found.parts.get(n, ())) for n in numbers}
        return tuple(Input(n, self._files[n - 1], places.get(n, ""), parts[n]) for n in numbers)

    def _look(self, kinds: dict[int, str], submit: Submit) -> None:
        """Look at each series for text, whatever its class; files with some, all of defaced heads, are cleaned anew."""
        if not self._work.profile.clean_pixels:
            return
        self.keep()  # What the account knows is looked at again as it is; a painted copy would be taken for another's.
        series: dict[str, list[int]] = {}
        for number, outcome in sorted(self._outcomes.items()):
            if outcome.status == "written" and number not in self._work.accepted:
                series.setdefault(outcome.place.rsplit("/", 1)[0], []).append(number)
        places = [place for place, numbers in series.items() if not self._account.was_looked_at(place, len(numbers))]
        copies = {number: outcome.place for number, outcome in self._outcomes.items()}
        tasks = (Task("look", self._inputs(series[place], copies)) for place in places)
        for count, (place, answers) in enumerate(zip(places, submit(tasks), strict=True), start=1):
            if self._looking is not None:
                self._looking(count, len(places))
            numbers = series[place]
            if answers[0].status == "refused":
                self.unseen += 1
                continue
            if answers[0].again:
                is_defaced = any(self._outcomes[number].reason.startswith((DEFACED, STRIPPED)) for number in numbers)
                self._clean_again(numbers if is_defaced else answers[0].again, kinds, submit)
                self.keep()
            self._account.looked_at(place, len(numbers))

    def _clean_again(self, numbers: Sequence[int], kinds: dict[int, str], submit: Submit) -> None:
        """Clean files of a series again, their pixels looked at one by one; what stays legible loses its copy."""
        before = {number: self._outcomes[number].place for number in numbers}
        self._clean([Task("files", self._inputs(chunk, {}), look=True) for chunk in _chunks(numbers)], kinds, submit)
        self._heads(kinds, submit, look=True)
        for number, place in before.items():
            if self._outcomes[number].status != "written":
                (self._work.out / place).unlink(missing_ok=True)

    def _clean(self, tasks: Sequence[Task], kinds: dict[int, str], submit: Submit) -> None:
        """Have files cleaned and note their outcomes; those of a head to be defaced wait for all of their series."""
        for task, answers in zip(tasks, submit(iter(tasks)), strict=True):
            entries = []
            for one, done in zip(task.inputs, answers, strict=True):
                if done.head:
                    self._keeper.add(done.identities)
                    self._waiting.setdefault(done.head, []).append(one.number)
                else:
                    entries.append(self._settle(one.number, done, kinds[one.number]))
            self.keep(entries, now=False)

    def _settle(self, number: int, done: Done, kind: str) -> dict[str, str]:
        """Note the outcome of one file; a second file of the same UIDs is refused."""
        self._keeper.add(done.identities)
        identifier = self._ids[number]
        if number in self._rejected and (done.status == "quarantined" or done.reason.startswith(PAINTED)):
            if done.place:
                (self._work.out / done.place).unlink(missing_ok=True)
            done = Done("refused", "", "a person has looked at it and refused it", frozenset())
        if done.status == "written" and not self._account.claim(done.place, identifier):
            done = Done("refused", "", "a copy of another file of this source; that one was written", frozenset())
        outcome = Outcome(number, done.status, done.place, done.reason, kind)
        if number not in self._outcomes:
            self._tick()
        self._outcomes[number] = outcome
        return entry_of(outcome, file=identifier, stamp=self._stamp(number))

    def _settle_parts(self) -> None:
        """Files that hold the voxels of a header share its outcome and its copy."""
        for header, parts in self._found.parts.items():
            for part in parts:
                if part not in self._outcomes and self._found.kinds[part] == PART:
                    outcome = self._outcomes[part] = replace(self._outcomes[header], number=part, kind=PART)
                    self._account.add([entry_of(outcome, file=self._ids[part], stamp=self._stamp(part))])
                    self._tick()

    def _stamp(self, number: int) -> str:
        """The file's size and time when this run first saw it, as the account writes them."""
        if number not in self._stamps:
            names = [self._files[n - 1] for n in (number, *self._found.parts.get(number, ()))]
            self._stamps[number] = self._account.stamp("|".join(stamp_of(self._work.source, n) for n in names))
        return self._stamps[number]

    def _tick(self) -> None:
        if self._progress is not None:
            self._progress()


def _clean_fields(data: bytes, place: str, rules: FieldRules) -> tuple[bytes, int]:
    if place.endswith(".json"):
        return clean_document(data, rules=rules)
    return clean_table(data, rules=rules, separator="\t" if place.endswith(".tsv") else ",")


def _chunks(numbers: Sequence[int]) -> list[Sequence[int]]:
    return [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)]


def _status(text: str) -> Status:
    if text == "written":
        return "written"
    return "quarantined" if text == "quarantined" else "refused"


def _stem(name: str) -> str:
    suffix = split_name(name)[2]
    return name[: len(name) - len(suffix)] if suffix else name
