"""What lies around images: preambles, tails, documents, directories, duplicates, and hard file names."""

from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from tests.privacy.blind import objects
from tests.privacy.blind.classes import derived, image, uid, visit
from tests.privacy.blind.folder import Folder, to_bytes
from tests.privacy.blind.people import Planter


def scatter(folder: Folder) -> None:
    """Write them."""
    p, write = folder.people, folder.put
    v = visit(p, p.person(), p.day(2000, 2018))
    write(
        "around/tiff.dcm",
        to_bytes(image(p, v, "ct"), preamble=b"II*\0\x08\0\0\0" + p.family().encode().ljust(120, b"\0")),
    )
    write("around/exe.dcm", to_bytes(image(p, v, "ct"), preamble=b"MZ" + p.family().encode().ljust(126, b"\0")))
    write("around/tail.dcm", to_bytes(image(p, v, "ct"), tail=b"\0\0" + p.family().encode() * 3))
    plain = to_bytes(image(p, v, "ct"))
    write("around/bare", plain[132:])
    twin = image(p, v, "mr")
    write("around/twin a.dcm", twin)
    write("around/twin b.dcm", twin, keep=None)
    other = image(p, v, "mr")
    other.SOPInstanceUID = twin.SOPInstanceUID
    other.file_meta.MediaStorageSOPInstanceUID = twin.SOPInstanceUID
    write("around/other pixels, same UID.dcm", other, keep=None)
    write("around/two names.dcm", _two_names(p, image(p, v, "ct")))
    pdf = b"%PDF-1.4\n% " + p.family().encode() + b"\n%%EOF"
    write("around/letter.dcm", objects.document(p, twin, "104.1", pdf, "application/pdf"), keep=None)
    cda = f"<ClinicalDocument><name>{p.family()}</name></ClinicalDocument>".encode()
    write("around/cda.dcm", objects.document(p, twin, "104.2", cda, "text/XML"), keep=None)
    write(
        "around/solid.dcm", objects.document(p, twin, "104.3", b"solid " + p.family().encode(), "model/stl"), keep=None
    )
    raw = derived(p, twin, "66", "MR")
    raw.CreatorVersionUID = uid(p)
    raw.private_block(0x0021, f"RAW {p.upper()}", create=True).add_new(0x10, "OB", p.family().encode() * 2)
    write("around/raw.dcm", raw, keep=None)
    write("around/pressure", objects.waveform(p, twin, "9.2.1", "HD"), keep=None)
    write("around/general ecg", objects.waveform(p, twin, "9.1.2"), keep=None)
    write("around/mr.rwv", objects.real_world_map(p, twin))
    write("around/colour.pr", objects.presentation(p, twin, "11.2"))
    write("around/comprehensive3d.sr", objects.report(p, twin, "88.34"))
    write("around/dose.sr", objects.report(p, twin, "88.67"))
    write("around/mammo.sr", objects.report(p, twin, "88.50"))
    listing = derived(p, twin, "66", "OT")
    listing.SOPClassUID = listing.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    listing.FileSetID, record = p.upper(), Dataset()
    record.DirectoryRecordType, record.PatientName, record.PatientID = "PATIENT", p.family(), p.number()
    record.ReferencedFileID, record.ReferencedSOPInstanceUIDInFile = ["IMAGES", p.upper(8)], twin.SOPInstanceUID
    listing.DirectoryRecordSequence = Sequence([record])
    write("around/DICOMDIR", listing, keep=None)
    for name in (
        f"={p.family()}.dcm",
        f"-rf {p.family()}",
        f"{p.family()}\u202egpj.dcm",
        f".{p.family()}",
        f"a\n{p.family()}.dcm",
        "CON.dcm",
        f"{p.family()} %41 {p.contact(0)}",
        f"{p.upper(6)}~1.DCM",
        f"{p.script('ko')}.dcm",
        "x" * 200 + p.family(),
    ):
        write(f"around/hard/{name}", image(p, v, "ct"), kind="hard name")


def _two_names(p: Planter, ds: FileDataset) -> FileDataset:
    """A person name with all three groups and five components in each."""
    groups = ["^".join(p.family(9) for _ in range(5)) for _ in range(3)]
    ds.PatientName = "=".join(groups)
    ds.OtherPatientNames = [p.family(), f"{p.family()}^{p.family()}"]
    ds.OtherPatientIDs, ds.PatientMotherBirthName = [p.number(), p.number()], p.family()
    ds.ResponsiblePerson, ds.MilitaryRank, ds.BranchOfService = p.family(), p.family(), p.family()
    ds.CountryOfResidence, ds.RegionOfResidence, ds.PatientTelephoneNumbers = p.family(), p.family(), p.contact(1)
    ds.EthnicGroup, ds.Occupation, ds.PatientReligiousPreference = p.family(16), p.family(16), p.family()
    return ds
