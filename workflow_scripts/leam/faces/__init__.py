"""The stage ``faces``: found, cut out, parsed into regions and given landmarks."""

BOXES_ALONE = ("dlib", "none")  # detectors that know no points of a face
