"""Resource paths, and what never gets into one."""

import pytest

from dicomhaul.errors import WrongInstance
from dicomhaul.wire import uri


def test_paths() -> None:
    assert uri.study_path("1.2") == "studies/1.2"
    assert uri.series_path("1.2", "3.4") == "studies/1.2/series/3.4"
    assert uri.instance_path("1.2", "3.4", "5.6") == "studies/1.2/series/3.4/instances/5.6"
    assert uri.search_studies_path() == "studies"
    assert uri.search_series_path() == "series"
    assert uri.search_series_path("1.2") == "studies/1.2/series"
    assert uri.search_instances_path() == "instances"
    assert uri.search_instances_path("1.2") == "studies/1.2/instances"
    assert uri.search_instances_path("1.2", "3.4") == "studies/1.2/series/3.4/instances"


@pytest.mark.parametrize("bad", ["", "../1", "1.2/..", "1.2\n", "1..2", "1" * 65, "1.2?x=1", "*"])
def test_what_is_no_uid_never_gets_in(bad: str) -> None:
    for uids in ((bad, "1", "1"), ("1", bad, "1"), ("1", "1", bad)):
        with pytest.raises(WrongInstance, match="is not a UID") as caught:
            uri.instance_path(*uids)
        assert "\n" not in str(caught.value)
