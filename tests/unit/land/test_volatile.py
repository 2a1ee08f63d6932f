"""The disk that tests crash on: what was synced outlasts a cut, and nothing else has to."""

from support.volatile import File, Folder, after_power_cut

SEEDS = range(200)


def file(root: Folder, name: str, content: bytes) -> File:
    made = File(0o100644)
    root.put(name, made)
    made.write(0, content)
    return made


def content(root: Folder, name: str) -> bytes | None:
    node = root.names.get(name)
    return bytes(node.content) if isinstance(node, File) else None


def outcomes(root: Folder, *names: str) -> set[tuple[bytes | None, ...]]:
    return {tuple(content(after_power_cut(root, seed), name) for name in names) for seed in SEEDS}


def test_what_was_synced_is_there() -> None:
    root = Folder()
    file(root, "a", b"whole").sync()
    root.sync()
    assert outcomes(root, "a") == {(b"whole",)}


def test_without_a_sync_of_both_there_may_be_nothing_or_a_name_alone() -> None:
    root = Folder()
    file(root, "a", b"whole").sync()  # its name is not safe
    assert outcomes(root, "a") == {(None,), (b"whole",)}
    root = Folder()
    file(root, "a", b"whole")
    root.sync()
    assert outcomes(root, "a") == {(b"",), (b"whole",)}
    assert content(after_power_cut(root, 0), "a") == b""


def test_pages_of_one_write_come_apart() -> None:
    root = Folder()
    each = file(root, "a", b"old!" * 2048)
    each.sync()
    root.sync()
    each.write(0, b"new!" * 2048)
    old, new = b"old!" * 1024, b"new!" * 1024
    assert outcomes(root, "a") == {(old + old,), (old + new,), (new + old,), (new + new,)}
    each.resize(4)
    assert (b"old!",) in outcomes(root, "a")


def test_a_rename_over_another_file_leaves_one_of_the_two_and_may_be_half_done() -> None:
    root = Folder()
    file(root, "a", b"1").sync()
    old = file(root, "b", b"2")
    old.sync()
    root.sync()
    root.put("b", root.names["a"])
    root.put("a", None)
    assert outcomes(root, "a", "b") == {(b"1", b"2"), (b"1", b"1"), (None, b"2"), (None, b"1")}
    assert content(after_power_cut(root, 0), "b") == b"2"


def test_a_cut_leaves_what_a_second_one_leaves() -> None:
    root = Folder()
    file(root, "a", b"1" * 10_000)
    for seed in SEEDS:
        once = after_power_cut(root, seed)
        assert outcomes(once, "a") == {(content(once, "a"),)}


def test_two_names_of_one_file_stay_that() -> None:
    root = Folder()
    one = file(root, "a", b"1")
    root.put("b", one)
    root.settle()
    left = after_power_cut(root, 5)
    assert left.names["a"] is left.names["b"]
    assert one.links == 2
