"""Papers: what a study can fill in of the documents that data protection asks for; the rest stays blank.

A record of processing (GDPR Art. 30), facts for an impact assessment (Art. 35), a statement of how the images were
de-identified, and the risks that are left. Nothing here certifies anything: what only the controller knows is a blank.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medseg.data.files import atomic_write
from medseg.privacy.audit import gate
from medseg.privacy.disclosure import Limits
from medseg.report.blocks import Cell, Document, Numbers, Section, Table, Text
from medseg.report.clean_facts import CleanFacts, read_clean
from medseg.report.facts import RunFacts, read_run
from medseg.report.html import html_of
from medseg.report.markdown import markdown_of
from medseg.report.risks import risks_section
from medseg.report.screen import Screen

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["BLANK", "papers_of", "write_papers"]

BLANK = "_______ (the controller fills this in)"
"""Stands where only the controller can know."""
_NOTICE = (
    "Filled in from the study's files as far as they know. A draft for the controller, not a statement of compliance."
)


def write_papers(run_dir: Path, *, clean: Path | None = None, identities: IdentityIndex | None = None) -> Path:
    """Write ``report/papers.html`` and ``report/papers.md`` of a finished run.

    Args:
        run_dir: The run folder.
        clean: The folder that `medseg deidentify` wrote, from which the images of the run came.
        identities: Identities of this project that the privacy gate looks for, beside its patterns.

    Returns:
        Path of the HTML page.

    Raises:
        RunError: The folder is no finished run.
        RequestError: `clean` was not written by `medseg deidentify`.
        PrivacyError: The gate found something that identifies; nothing was written.
    """
    document = papers_of(read_run(run_dir), None if clean is None else read_clean(clean))
    path = run_dir / "report" / "papers.html"
    files = {path: html_of(document).encode("utf-8"), path.with_suffix(".md"): markdown_of(document).encode("utf-8")}
    for target, data in files.items():
        gate(data, name=target.name, tier="shareable", identities=identities)
    for target, data in files.items():
        with atomic_write(target) as stream:
            stream.write(data)
    return path


def papers_of(facts: RunFacts, clean: CleanFacts | None) -> Document:
    """The four papers as one document.

    Args:
        facts: What the run folder says.
        clean: How the images were de-identified, where that is known.
    """
    screen = Screen("shareable", Limits())
    return Document(
        title="Data protection papers",
        subtitle=f"Study {facts.study.name.replace('_', ' ')}: {_purpose(facts)}",
        tier="shareable",
        notice=_NOTICE,
        numbers=Numbers(()),
        sections=(
            _reading(),
            _record(facts, clean, screen),
            _assessment(facts, clean, screen),
            _statement(clean, screen),
            risks_section(facts, clean, screen),
            _origin(facts, clean),
        ),
    )


def _reading() -> Section:
    lines = (
        "Pseudonymised data are personal data (GDPR Art. 4(5) and recital 26), and images of patients are data "
        "concerning health (Art. 9). Nothing in this study is anonymous by being called by a pseudonym.",
        "Whether the processing is lawful, whether an assessment is required, and what may be given away is "
        "decided by the controller with the data protection officer and the ethics committee, not by a program.",
        "Counts are rounded, and those below ten are withheld, so that this page may be passed on.",
    )
    return Section("reading", "How to read this", (Text(lines, listed=True),))


def _record(facts: RunFacts, clean: CleanFacts | None, screen: Screen) -> Section:
    patients, cases = (screen.count(facts.summary[name]).text for name in ("patients", "cases"))
    covariates = _covariates(facts)
    removed = "pseudonym, images, outlines" + (f", and of each case: {', '.join(covariates)}" if covariates else "")
    rows = (
        ("(a) Controller, joint controllers, representative, data protection officer", BLANK),
        ("(b) Purposes", f"Scientific research: {_purpose(facts)}. Research question and protocol: {BLANK}"),
        ("Legal basis (Art. 6 and 9; national law; consent or its waiver)", BLANK),
        ("(c) Data subjects", f"{patients} patients, {cases} scored cases. How they were chosen: {BLANK}"),
        ("(c) Categories of data", f"Data concerning health (Art. 9): {removed}. {_dates(clean)}"),
        ("(d) Recipients", f"{_recipients(facts)} To whom they were or will be given: {BLANK}"),
        ("(e) Transfers to third countries", BLANK),
        ("(f) Time limits for erasure of images, run folder, project key and crosswalk", BLANK),
        ("(g) Security: by the program", _measures(clean)),
        ("(g) Security: by the organisation", f"Access, encryption of disks, backups, training of staff: {BLANK}"),
    )
    return Section("record", "Record of processing (GDPR Art. 30(1))", (_table(rows),))


def _assessment(facts: RunFacts, clean: CleanFacts | None, screen: Screen) -> Section:
    refused = "not known to this run" if clean is None else screen.count(clean.refused + clean.quarantined).text
    rows = (
        (
            "(a) Operations",
            "De-identification, import, a split by patients, training of a neural network, prediction of held-out "
            f"cases, scoring. Label: {_names(facts)}. Modality: {_modality(facts)}. The program ran on "
            f"{facts.environment.get('device', facts.plan.device)}; it sends nothing to other computers unless a "
            "tracking server or an archive is named to it, which this run folder does not record.",
        ),
        ("(b) Necessity", f"Why images of persons are needed, and why so many: {BLANK}"),
        (
            "(b) Proportionality",
            f"{_kept(clean)} Files left out as not cleanable: {refused}. Fewer patients or images would do: {BLANK}",
        ),
        ("(c) Risks to the data subjects", f"Listed below. Likelihood and severity of each: {BLANK}"),
        ("(d) Measures", _measures(clean)),
        ("Views of data subjects or their representatives (Art. 35(9))", BLANK),
        ("Advice of the data protection officer (Art. 35(2))", BLANK),
        ("Decision, date, signature", BLANK),
    )
    spoken = (
        "Facts that bear on whether an assessment is required (Art. 35(1), (3)(b)): data concerning health; patients, "
        f"who may be vulnerable; a new technology; {screen.count(facts.summary['patients']).text} patients. Whether "
        "that is a large scale is for the controller to decide."
    )
    return Section("assessment", "Facts for an impact assessment (GDPR Art. 35(7))", (Text((spoken,)), _table(rows)))


def _statement(clean: CleanFacts | None, screen: Screen) -> Section:
    title = "De-identification: method statement"
    if clean is None:
        lines = (
            "This run does not know how its images were de-identified. Name the folder that `medseg deidentify` wrote "
            "with --clean, or state the method here.",
            BLANK,
        )
        return Section("statement", title, (Text(lines),))
    profile = clean.profile
    codes = profile.method_codes(pixels_cleaned=profile.clean_pixels, private_kept=profile.safe_private)
    options = "; ".join(f"{meaning} (DCM {code})" for code, meaning in codes)
    rows = (
        ("Program and profile", f"medseg {clean.version}, profile {profile.name}, begun {_month(clean.date)}"),
        ("Standard", f"DICOM PS3.15 2026c, Annex E, by an allow-list rebuild. In the profile: {options}"),
        ("Written in each file", "(0012,0062), (0012,0064) with the options really applied to it, (0028,0303)"),
        ("Pseudonyms", "HMAC-SHA-256 with a 256-bit project key; UIDs from the same key, so that references resolve"),
        ("Dates", _dates(clean)),
        ("Text in pixels", _pixels(clean)),
        ("Faces", f"Heads in voxels below 2.5 mm: {_faces(clean)}"),
        ("Files with a clean copy", screen.count(clean.written).text),
        ("Files left out, waiting for a person or refused", screen.count(clean.quarantined + clean.refused).text),
        ("Exceptions, as the ledger has them", "; ".join(clean.exceptions) or "none recorded"),
        ("Ledger of the copies", "its chain is whole" if clean.chain_is_whole else "ITS CHAIN IS BROKEN"),
        ("Who looked at samples of the copies, and when", BLANK),
    )
    law = [
        "The copies are pseudonymised, not anonymous: who holds the project key or the crosswalk can go back to the "
        "patients, and images may be recognised by other means.",
    ]
    if profile.dates == "shift":
        law.append(
            "Shifted dates are dates. For readers under HIPAA: the copies are not Safe Harbor data (45 CFR "
            "164.514(b)(2)), since elements of dates are kept; a limited data set (164.514(e)) or a determination by "
            "an expert (164.514(b)(1)) are the ways that remain."
        )
    else:
        law.append(
            "For readers under HIPAA: dates were removed. Whether the rest of 45 CFR 164.514(b)(2) is met, among it "
            "the absence of actual knowledge, no program can state."
        )
    return Section("statement", title, (_table(rows), Text(tuple(law))))


def _origin(facts: RunFacts, clean: CleanFacts | None) -> Section:
    rows = (
        ("Data set", facts.manifest.card.title if facts.manifest is not None else "the manifest is gone"),
        ("Ledger of the run, hash of its last line", facts.ledger_head or "no ledger"),
        ("Copies", "not named" if clean is None else _copies(clean)),
        ("Filled in by, date", BLANK),
    )
    return Section("origin", "Where this comes from", (_table(rows),))


def _table(rows: tuple[tuple[str, str], ...]) -> Table:
    return Table(("Item", "Entry"), tuple((Cell(name), Cell(text)) for name, text in rows), numeric=False)


def _kept(clean: CleanFacts | None) -> str:
    if clean is None:
        return "What was removed from the images is not known to this run."
    return "Attributes of images are kept by an allow-list; what is not on it does not exist in the copies."


def _purpose(facts: RunFacts) -> str:
    return f"a model that outlines {_names(facts)} in {_modality(facts)} images, and how well it does"


def _names(facts: RunFacts) -> str:
    return ", ".join(str(label["name"]) for label in facts.summary["labels"].values())


def _covariates(facts: RunFacts) -> list[str]:
    cases = facts.manifest.cases if facts.manifest is not None else ()
    site = ["site"] if any(case.site for case in cases) else []
    return [*site, *dict.fromkeys(name for case in cases for name in case.covariates)]


def _recipients(facts: RunFacts) -> str:
    reports = sorted(path.name for path in (facts.run / "report").glob("shareable.*"))
    made = [*reports, *sorted(path.name for path in facts.run.glob("*.medseg"))]
    return f"Made to be shared: {', '.join(made)}." if made else "Nothing made to be shared lies in the run folder."


def _dates(clean: CleanFacts | None) -> str:
    if clean is None:
        return "Whether dates are among them is not known to this run."
    if clean.profile.dates == "shift":
        return (
            "Dates are kept, each patient's moved into the past by one secret number of whole days (365 to 3650), "
            "times of day as they were; intervals are exact."
        )
    return "Dates and times of day were removed."


def _pixels(clean: CleanFacts) -> str:
    if not clean.profile.clean_pixels:
        return "not looked for; images of classes that may hold text were held back for a person"
    return (
        "looked for in images of classes that may hold some or that look drawn upon, and painted over in the stored "
        "pixels; a reader of text can miss some"
    )


def _month(date: str) -> str:
    """A day told as year and month, which no visit is told by."""
    return date[:7]


def _measures(clean: CleanFacts | None) -> str:
    pseudonyms = (
        "Whether the images are pseudonymised is not known to this run. "
        if clean is None
        else "Pseudonyms by a secret key kept outside the copies, readable by its owner only; an encrypted crosswalk "
        "where one was asked for. "
    )
    return (
        f"{pseudonyms}What is made to be shared is searched for text that identifies by its shape and, where the "
        "project's key was named, for the project's identities; small numbers are withheld in it. An append-only "
        "ledger whose lines are chained by hashes."
    )


def _copies(clean: CleanFacts) -> str:
    return (
        f"named by whoever made this page; calls of deidentify in their ledger: {clean.calls}. That the images of this "
        "run came from them is not checked"
    )


def _faces(clean: CleanFacts) -> str:
    return {
        "refuse": "refused, unless an exception or the removal of faces was asked for",
        "deface": "the face is taken off, and what can't be defaced is refused",
        "always-refuse": "refused without exception",
    }[clean.profile.faces]


def _modality(facts: RunFacts) -> str:
    return {"PT": "PET", "DERMOSCOPY": "dermoscopy"}.get(facts.plan.modality, facts.plan.modality)
