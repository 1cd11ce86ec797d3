"""The embedded corpus of the question-answering recipe: short stories, and questions about them.

    Anna walks to the garden. Tom picks up the lamp. Tom goes to the attic.
    Where is the lamp?                                                        →  attic

They are made, not downloaded, by a small world of people, rooms and things, after the idea of the
bAbI tasks (Weston et al. 2016, https://arxiv.org/abs/1502.05698): each kind of question needs
another way of putting facts together, and most sentences of a story have nothing to do with it.

| kind | what it asks | facts |
|---|---|---|
| `person` | where somebody is | 1 |
| `thing` | where a thing is | 2 |
| `before` | where a thing was before the room in which it is | 3 |
| `count` | how many things somebody carries | all of one person |
| `yes-no` | whether somebody is in a room | 1 |
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ...zoo.text.source_format import Source
from .corpus import PairCorpus, in_split

KINDS = ("person", "thing", "before", "count", "yes-no")
DEV_SHARE = 10  # one story in so many belongs to dev
PEOPLE = ("Anna", "Tom", "Maria", "Paul")
ROOMS = ("kitchen", "garden", "attic", "cellar", "library", "hall")
THINGS = ("lamp", "book", "ball")
NUMBERS = ("none", "one", "two", "three")
_GO = ("{0} goes to the {1}.", "{0} walks to the {1}.", "{0} runs to the {1}.")
_TAKE = ("{0} takes the {1}.", "{0} picks up the {1}.")
_DROP = ("{0} drops the {1}.", "{0} puts down the {1}.")


@dataclass
class World:
    """State of a story: the locations of people and things, and its sentences.

    Attributes:
        rooms: Room of each person whose room has been mentioned.
        holder: Person who carries each thing.
        locations: Rooms in which a thing is known to have been, the newest last.
        sentences: The story so far.
    """

    rooms: dict[str, str] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    locations: dict[str, list[str]] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    def go(self, person: str, room: str, wording: str = _GO[0]) -> None:
        """Moves a person, with all things that they carry, into a room.

        Args:
            person: Name of the person.
            room: Name of the room.
            wording: Sentence with places for both.
        """
        self.sentences.append(wording.format(person, room))
        self.rooms[person] = room
        for thing, holder in self.holder.items():
            if holder == person:
                self._move(thing, room)

    def take(self, person: str, thing: str, wording: str = _TAKE[0]) -> None:
        """Gives a thing to a person whose room is known.

        Args:
            person: Name of the person.
            thing: Name of the thing.
            wording: Sentence with places for both.
        """
        self.sentences.append(wording.format(person, thing))
        self.holder[thing] = person
        self._move(thing, self.rooms[person])

    def drop(self, person: str, thing: str, wording: str = _DROP[0]) -> None:
        """Leaves a thing in the room of its holder.

        Args:
            person: Name of the holder.
            thing: Name of the thing.
            wording: Sentence with places for both.
        """
        self.sentences.append(wording.format(person, thing))
        del self.holder[thing]

    def can_take(self, person: str, thing: str) -> bool:
        """Checks that nobody has a thing and that it is not known to be in another room.

        Args:
            person: Name of the person who would take it.
            thing: Name of the thing.

        Returns:
            True if the person can take it.
        """
        location = self.locations.get(thing, [None])[-1]
        room = self.rooms.get(person)
        return thing not in self.holder and room is not None and location in (None, room)

    def _move(self, thing: str, room: str) -> None:
        locations = self.locations.setdefault(thing, [])
        if not locations or locations[-1] != room:
            locations.append(room)


def story_pairs(
    split: str = "train", size: int = 10_000, seed: int = 0, kinds: tuple[str, ...] = KINDS
) -> PairCorpus:
    """Stories with a question and its answer.

    The same arguments give the same pairs on every machine. Story and question together decide the
    split, so `train` and `dev` share no pair, whatever their seeds.

    Args:
        split: "train" or "dev".
        size: Number of pairs, with an equal number of each kind of question.
        seed: Another seed gives other pairs of the same split.
        kinds: Kinds of questions, see the head of this module.

    Returns:
        A `PairCorpus` whose sources have a `context` and a `question`.

    Raises:
        ValueError: An argument is out of range.

    Example:

    >>> story_pairs("dev", size=5).sources[0]["question"]
    """
    unknown = set(kinds) - set(KINDS)
    if size < 1 or unknown or not kinds:
        raise ValueError(
            f"size is at least 1, and kinds are some of {', '.join(KINDS)}. "
            f"Received: size={size}, kinds={kinds}"
        )
    rng = random.Random(f"stories {seed} {split}")
    sources: dict[str, Source] = {}
    targets: list[str] = []
    while len(targets) < size:
        context, question, answer = _ask(rng, kinds[len(targets) % len(kinds)])
        text = f"{context} {question}"
        if in_split(text, split, DEV_SHARE) and text not in sources:
            sources[text] = {"context": context, "question": question}
            targets.append(answer)
    return PairCorpus(list(sources.values()), targets, f"stories ({split})")


def _ask(rng: random.Random, kind: str) -> tuple[str, str, str]:
    ask: dict[str, Callable[[random.Random, World], tuple[str, str] | None]] = {
        "person": _ask_person,
        "thing": _ask_thing,
        "before": _ask_before,
        "count": _ask_count,
        "yes-no": _ask_yes_no,
    }
    while True:
        moves = kind in ("person", "yes-no")
        world = _tell(rng, rng.randrange(2, 9) if moves else rng.randrange(4, 13), moves)
        asked = ask[kind](rng, world)
        if asked is not None:
            return " ".join(world.sentences), *asked


def _tell(rng: random.Random, length: int, moves_only: bool) -> World:
    """A story with that many sentences."""
    world = World()
    while len(world.sentences) < length:
        person = rng.choice(PEOPLE)
        carried = [thing for thing, holder in world.holder.items() if holder == person]
        free = [thing for thing in THINGS if world.can_take(person, thing)]
        what = rng.random()
        if not moves_only and free and what < 0.45:
            world.take(person, rng.choice(free), rng.choice(_TAKE))
        elif not moves_only and carried and what > 0.85:
            world.drop(person, rng.choice(carried), rng.choice(_DROP))
        else:
            rooms = [room for room in ROOMS if room != world.rooms.get(person)]
            world.go(person, rng.choice(rooms), rng.choice(_GO))
    return world


def _ask_person(rng: random.Random, world: World) -> tuple[str, str]:
    person = rng.choice(list(world.rooms))
    return f"Where is {person}?", world.rooms[person]


def _ask_thing(rng: random.Random, world: World) -> tuple[str, str] | None:
    if not world.locations:
        return None
    thing = rng.choice(list(world.locations))
    return f"Where is the {thing}?", world.locations[thing][-1]


def _ask_before(rng: random.Random, world: World) -> tuple[str, str] | None:
    moved = [thing for thing, locations in world.locations.items() if len(locations) > 1]
    if not moved:
        return None
    thing = rng.choice(moved)
    last, now = world.locations[thing][-2:]
    return f"Where was the {thing} before the {now}?", last


def _ask_count(rng: random.Random, world: World) -> tuple[str, str]:
    person = rng.choice(list(world.rooms))
    count = sum(holder == person for holder in world.holder.values())
    return f"How many things does {person} carry?", NUMBERS[count]


def _ask_yes_no(rng: random.Random, world: World) -> tuple[str, str]:
    person = rng.choice(list(world.rooms))
    here = rng.random() < 0.5
    others = [room for room in ROOMS if room != world.rooms[person]]
    room = world.rooms[person] if here else rng.choice(others)
    return f"Is {person} in the {room}?", "yes" if here else "no"
