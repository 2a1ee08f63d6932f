"""Which failures are accepted, and what is told of a file that cannot say it."""

from pathlib import Path

import pytest

from dicomhaul.config.accepted import Accepted
from dicomhaul.errors import ConfigError
from dicomhaul.model import Failure

SERIES = Failure("1.1", "1.2", None, "the server answers 404")
INSTANCE = Failure("1.1", "1.2", "1.2.3", "the answer is cut")
MISSING = Failure("1.9", None, None, "the server does not list it")


def accepted(*lines: str) -> Accepted:
    return Accepted.parse("\n".join(lines), "known.txt")


@pytest.mark.parametrize(
    ("line", "failure", "known"),
    [
        ("1.2", SERIES, True),
        ("1.2", INSTANCE, True),
        ("1.2,404", SERIES, True),
        ("1.2\t404", SERIES, True),
        ("1.2 , 404 ", SERIES, True),
        ("1.2,", SERIES, True),
        ("1.2\tanswers 404", SERIES, True),
        ("1.2,503", SERIES, False),
        ("1.2,404", INSTANCE, False),
        ("1.2.3", INSTANCE, True),
        ("1.2.3", SERIES, False),
        ("1.2.3,cut", INSTANCE, True),
        ("1.1", SERIES, False),
        ("1.1", INSTANCE, False),
        ("1.9", MISSING, True),
        ("1.9,list", MISSING, True),
        ("1.9,404", MISSING, False),
        ("", SERIES, False),
        ("# 1.2", SERIES, False),
    ],
)
def test_the_uid_and_the_reason_decide(*, line: str, failure: Failure, known: bool) -> None:
    assert accepted(line).accepts(failure) is known


def test_a_reason_may_hold_commas_and_tabs() -> None:
    failure = Failure("1.1", "1.2", None, "refused, for a reason\tof its own")
    assert accepted("1.2,refused, for a reason\tof its own").accepts(failure)
    assert accepted("1.2\trefused, for").accepts(failure)


def test_one_uid_may_have_several_reasons() -> None:
    known = accepted("1.2,404", "1.2,cut")
    assert known.split([SERIES, INSTANCE, MISSING]) == ((MISSING,), (SERIES, INSTANCE))


def test_what_is_named_fails_whatever_the_reason() -> None:
    assert accepted("1.2,503", "1.7").named([SERIES, MISSING]) == {"1.2"}
    assert Accepted().named([SERIES]) == set()


def test_comments_empty_lines_other_line_ends_and_a_mark_of_order_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "known.txt"
    path.write_bytes(b"\xef\xbb\xbf# UID, reason\r\n\r\n  1.2,404\r\n1.2.3\r\n")
    assert Accepted.read(path).reasons == {"1.2": ("404",), "1.2.3": ("",)}


@pytest.mark.parametrize("line", ["Doe^Jane,404", ",404", "1.2..3", "1.2 404"])
def test_a_line_without_a_uid_is_named_by_its_number_and_not_quoted(line: str) -> None:
    with pytest.raises(ConfigError, match=r"known\.txt, line 3: it begins with no UID") as caught:
        accepted("1.2,404", "", line)
    assert "Doe" not in str(caught.value)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Accepted.read(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"1.2,a\n1.3,\xe9\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        Accepted.read(tmp_path / "latin")
