"""Inference: from a trained model and an image to a label map on the image's own grid."""
