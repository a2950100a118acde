import numpy as np
import pytest
from PIL import Image

from medseg.data.volume import Volume
from medseg.errors import GeometryError, LabelError
from medseg.export import overlay_picture, write_overlay_png, write_png


def test_x_is_the_column_and_y_the_row(tmp_path):
    label_map = np.zeros((5, 3), dtype=np.uint8)
    label_map[4, 1] = 1
    write_png(label_map, tmp_path / "mask.png")
    picture = Image.open(tmp_path / "mask.png")
    assert picture.size == (5, 3)
    assert picture.getpixel((4, 1)) == 255
    assert np.asarray(picture).sum() == 255
    assert picture.info == {}


def test_several_labels_keep_their_values(tmp_path):
    label_map = np.array([[0, 1, 2], [3, 0, 1]])
    write_png(label_map, tmp_path / "mask.png", label_count=3)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "mask.png")).T, label_map)


def test_volumes_and_unknown_values_are_refused(tmp_path):
    with pytest.raises(GeometryError, match="NIfTI"):
        write_png(np.zeros((2, 2, 2), dtype=np.uint8), tmp_path / "mask.png")
    with pytest.raises(LabelError, match="from 0 to 1; found 0 to 2"):
        write_png(np.array([[0, 2]]), tmp_path / "mask.png")
    assert list(tmp_path.iterdir()) == []


def test_the_overlay_shows_the_most_lesion_laden_slice_the_way_a_radiologist_looks_at_it(tmp_path):
    # The array runs to the patient's right, front and head.
    label_map = np.zeros((20, 20, 4), dtype=np.uint8)
    label_map[1:4, 16:19, 2] = 1
    volume = Volume(np.zeros((1, 20, 20, 4), dtype=np.float32), np.eye(4), ("CT",))
    picture = overlay_picture(volume, label_map, colours={1: (255, 0, 0)})
    red = np.argwhere(picture[..., 0] > 0)
    height, width, _ = picture.shape
    # Patient's left (low x in RAS) is drawn on the right, anterior (high y) at the top.
    assert red[:, 1].min() > width * 0.75
    assert red[:, 0].max() < height * 0.25
    write_overlay_png(volume, label_map, tmp_path / "overlay.png", colours={1: (255, 0, 0)})
    assert np.array_equal(np.asarray(Image.open(tmp_path / "overlay.png")), picture)


def test_slices_with_oblong_voxels_are_drawn_in_true_proportion():
    volume = Volume(np.zeros((1, 10, 10, 2), dtype=np.float32), np.diag([1.0, 3.0, 1.0, 1.0]), ("CT",))
    height, width, _ = overlay_picture(volume, np.zeros((10, 10, 2), dtype=np.uint8)).shape
    assert height == pytest.approx(3 * width, rel=0.02)


def test_a_photograph_keeps_its_colours_outside_the_lesion():
    array = np.zeros((3, 400, 390), dtype=np.uint8)
    array[:, 5, 7] = (10, 200, 30)
    label_map = np.zeros((400, 390), dtype=np.uint8)
    label_map[100:200, 100:200] = 1
    picture = overlay_picture(Volume(array, np.eye(4), ("R", "G", "B")), label_map)
    assert picture[7, 5].tolist() == [10, 200, 30]
    assert picture[150, 150].sum() > 0
    with pytest.raises(GeometryError):
        overlay_picture(Volume(array, np.eye(4), ("R", "G", "B")), label_map.T)
