"""The last word on each instance: whatever comes twice, late or shuffled, a follower ends with what is there."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.plan.changes import Change, Instance, Standing, counting, last_words

A, B = Instance("1", "1.1", "1.1.1"), Instance("1", "1.1", "1.1.2")


def change(number: int, standing: Standing, instance: Instance = A) -> Change:
    return Change(instance, number, standing)


def test_the_highest_number_has_the_last_word() -> None:
    words = last_words([change(5, "current"), change(7, "deleted"), change(6, "current"), change(1, "current", B)])
    assert words == {A: change(7, "deleted"), B: change(1, "current", B)}


def test_a_replaced_entry_waits_for_its_later_one() -> None:
    assert counting([change(5, "replaced")], {}) == []
    assert counting([change(6, "current")], {A: 5}) == [change(6, "current")]


def test_what_has_counted_counts_once() -> None:
    assert counting([change(5, "current")], {A: 5}) == []
    assert counting([change(4, "deleted")], {A: 5}) == []
    assert counting([change(0, "current")], {}) == [change(0, "current")]


class _Server:
    """Instances with their versions, and a feed whose states are computed when it is read."""

    def __init__(self) -> None:
        self.there: dict[Instance, int] = {}
        self.entries: list[tuple[int, Instance, bool]] = []

    def happen(self, instance: Instance, *, store: bool) -> None:
        number = len(self.entries) + 1
        if store:
            self.there[instance] = number
        elif self.there.pop(instance, None) is None:
            return
        self.entries.append((number, instance, store))

    def told(self) -> list[Change]:
        newest = {instance: number for number, instance, _ in self.entries}
        changes = []
        for number, instance, _ in self.entries:
            standing: Standing = "current" if newest[instance] == number else "replaced"
            if instance not in self.there:
                standing = "deleted"
            changes.append(Change(instance, number, standing))
        return changes


@settings(max_examples=300)
@given(
    events=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), max_size=40),
    seed=st.integers(0, 1 << 32),
)
def test_a_follower_ends_with_what_is_there(events: list[tuple[int, bool, int]], seed: int) -> None:
    """It reads now and then: some entries twice, some only the next time, in any order."""
    draw = random.Random(seed)
    server, held, counted, late = _Server(), dict[Instance, int](), dict[Instance, int](), list[int]()
    covered = 0

    def read(*, all_of_it: bool) -> None:
        nonlocal covered, late
        told = server.told()
        fresh = [each for each in told if each.number > covered or each.number in late]
        hidden = [] if all_of_it else [each.number for each in fresh if draw.random() < 0.3]
        again = [each for each in told if draw.random() < 0.3 and each not in fresh]
        seen = [each for each in fresh if each.number not in hidden] + again
        draw.shuffle(seen)
        for each in counting(last_words(seen).values(), counted):
            assert each.number > counted.get(each.instance, -1)
            counted[each.instance] = each.number
            if each.standing == "deleted":
                held.pop(each.instance, None)
            elif each.instance in server.there:  # it is asked for, and comes as it is now
                held[each.instance] = server.there[each.instance]
        covered, late = len(server.entries), hidden

    for name, store, pause in events:
        server.happen(Instance("1", "1.1", f"1.1.{name}"), store=store)
        if pause == 0:
            read(all_of_it=False)
    read(all_of_it=True)
    read(all_of_it=True)
    assert held == server.there
