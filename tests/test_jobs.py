"""The time of a job; how jobs stop, resume and take over is tried where a stage does (test_maps.py)."""

import numpy as np
import pytest

from leam import jobs


@pytest.mark.parametrize(("minutes", "seconds"), [(None, np.inf), (1, 30), (120, 6840), (2880, 164160)])
def test_time_is_kept_free_for_starting_and_writing(minutes, seconds):
    assert jobs.working_seconds(minutes) == seconds
