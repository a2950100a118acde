"""Risks: what may still tell who a patient is after everything that the program did, in plain words."""

from __future__ import annotations

from medseg.export.model_privacy import read_membership, read_privacy
from medseg.report.blocks import Cell, Section, Table
from medseg.report.clean_facts import CleanFacts
from medseg.report.facts import RunFacts
from medseg.report.screen import Screen

__all__ = ["risks_section"]

_FEW_PATIENTS = 50
_UNSEEN = "tattoos, handwriting and single eyes can be missed; jewellery and birthmarks are not looked for"


def risks_section(facts: RunFacts, clean: CleanFacts | None, screen: Screen) -> Section:
    """One row a risk: what was done about it, and what is left of it.

    Args:
        facts: What the run folder says.
        clean: How the images were de-identified, where that is known.
        screen: What may be told of numbers.
    """
    rows = [*_of_images(clean), *_of_linkage(facts, clean, screen), *_of_models(facts)]
    table = Table(
        ("Risk", "What was done", "What is left"),
        tuple((Cell(name), Cell(done), Cell(left)) for name, done, left in rows),
        caption="Risks that are left. The list is not complete; add those of your setting.",
        numeric=False,
    )
    return Section("risks", "Residual risks", (table,))


def _of_images(clean: CleanFacts | None) -> list[tuple[str, str, str]]:
    if clean is None:
        return [("Identities in images and headers", "not known to this run", "state the method and its limits")]
    profile = clean.profile
    exceptions = "; ".join(clean.exceptions)
    text = "looked for and painted over" if profile.clean_pixels else "not looked for"
    photographs = {
        "paint": "text that was read is painted over; text over the lesion, faces and likely tattoos wait for a person",
        "look": "those with text that was read, a face or a likely tattoo wait for a person",
        "pass": "passed unlooked at: the profile says that a person has seen every one",
    }[profile.photographs]
    return [
        ("Text in pixels", text, "small, faint or handwritten text can be missed: look at samples"),
        ("Photographs", photographs, _UNSEEN),
        (
            "Faces in head scans",
            {"refuse": "refused unless asked for otherwise", "deface": "the face is taken off"}.get(
                profile.faces, "refused"
            ),
            "ears, teeth, implants and what lies outside the rules for heads; thick slices are not looked at",
        ),
        (
            "Descriptions that somebody typed",
            "kept where every word is in a list of technical words" if profile.descriptors else "removed",
            "a patient who is called like a technical word" if profile.descriptors else "none known",
        ),
        (
            "Names written in code",
            "unknown words, long numbers and the patient's own letters among pixels go, however they are spelt",
            "who put a name into small numbers, decimals, grey values or known words on purpose is not found out",
        ),
        (
            "Exceptions",
            exceptions or "none recorded",
            "what a person let pass rests on that person" if exceptions else "none known",
        ),
    ]


def _of_linkage(facts: RunFacts, clean: CleanFacts | None, screen: Screen) -> list[tuple[str, str, str]]:
    patients = facts.summary["patients"]
    small = " With so few patients, who took part may be known." if patients < _FEW_PATIENTS else ""
    shifted = clean is not None and clean.profile.dates == "shift"
    return [
        (
            "Linkage by the picture itself",
            "nothing can be done without spoiling the picture",
            "who holds another copy of a scan can find the patient by comparing voxels",
        ),
        (
            "Linkage by rare facts",
            "small numbers are withheld in what is shareable",
            f"{screen.count(patients).text} patients; a rare disease, age, size or site can single one out.{small}",
        ),
        (
            "Linkage by intervals" if shifted else "Linkage by order",
            "one secret shift a patient" if shifted else "dates removed or not known; pseudonyms carry no order",
            "a pattern of visits can be as telling as dates; one known date gives away the shift of that patient"
            if shifted
            else "none known",
        ),
        (
            "The project key and the crosswalk",
            "outside the release, readable by their owner only",
            "who gets either can go back to the patients: keep them, and backups of them, apart from the data",
        ),
    ]


def _of_models(facts: RunFacts) -> list[tuple[str, str, str]]:
    private, tested = read_privacy(facts.run) is not None, read_membership(facts.run) is not None
    trained = "trained with differential privacy" if private else "trained without differential privacy"
    test = "a membership test is in the report" if tested else "no membership test was made"
    return [
        (
            "The model's weights",
            f"{trained}; {test}",
            "weights can tell that a patient was in the training data; treat a model as personal data until shown "
            "otherwise (EDPB Opinion 28/2024)",
        ),
        (
            "Several releases",
            "each shareable report and package is held against the earlier ones in the run's ledger",
            "releases of other run folders, or made without the ledger, are not compared",
        ),
    ]
