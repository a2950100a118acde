"""Files that leave: NIfTI, PNG, DICOM SEG, RTSTRUCT, reports and the model package."""

from medseg.export.dicom_seg import write_dicom_seg
from medseg.export.dicom_source import Algorithm
from medseg.export.nifti import write_nifti
from medseg.export.package import ModelPackage, package_bytes, read_model_card, read_package, write_package
from medseg.export.png import overlay_picture, write_label_stack, write_overlay_png, write_png
from medseg.export.rtstruct import write_rtstruct
from medseg.export.sr import write_report

__all__ = [
    "Algorithm",
    "ModelPackage",
    "overlay_picture",
    "package_bytes",
    "read_model_card",
    "read_package",
    "write_dicom_seg",
    "write_nifti",
    "write_label_stack",
    "write_overlay_png",
    "write_package",
    "write_png",
    "write_report",
    "write_rtstruct",
]
