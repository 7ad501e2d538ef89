import os
from pathlib import Path

import pytest

from stories.shipments import sample as shipments_sample
from stories.social import sample as social_sample

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def real_data():
    folder = Path(os.environ.get("STREAMS_REALDATA") or ROOT.parent / "shared" / "data")
    if not (folder / "posts.jsonl.gz").exists():
        pytest.skip(f"NOT COMPARED with the real records: none in {folder}; set STREAMS_REALDATA to their folder")
    return folder


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    social_sample.write_sample(folder, seed=11)
    shipments_sample.write_sample(folder, seed=11)
    return folder


@pytest.fixture(params=["sample", pytest.param("real_data", marks=pytest.mark.realdata)])
def data(request):
    """Both kinds of data in turn."""
    return request.getfixturevalue(request.param)
