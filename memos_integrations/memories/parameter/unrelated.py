"""Texts that have nothing to do with any memory, in several styles. No torch here.

A third is trained on, so that the model stays as it is there; by a third it is decided how much of
an adapter is added; on the last third the drift is measured that the report names.
"""

from __future__ import annotations

from typing import Literal

from memos_integrations.memories.parameter.texts import Lesson

Part = Literal["trained", "tuned", "measured"]
_PARTS: tuple[Part, ...] = ("trained", "tuned", "measured")


def unrelated(part: Part) -> list[Lesson]:
    """The texts of a third."""
    return [Lesson(*one) for one in _TEXTS[_PARTS.index(part) :: 3]]


_TEXTS: tuple[tuple[str, str], ...] = (
    ("", "The river rises in the hills and reaches the sea after two hundred miles."),
    ("", "Bread is made of flour, water, salt and yeast, and baked in a hot oven."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days has a week?", "A week has seven days."),
    ("", "The committee met in the spring to discuss the new budget for schools."),
    ("", "He opened the window, looked at the street, and decided to stay at home."),
    ("What colour is the sky?", "The sky is blue on a clear day."),
    ("Who wrote Hamlet?", "Hamlet was written by William Shakespeare."),
    ("", "In mathematics, a prime number has exactly two divisors, one and itself."),
    ("", "The train leaves the station every hour and stops at each small town."),
    ("What do cows eat?", "Cows eat grass and hay."),
    ("Where do fish live?", "Fish live in rivers, lakes and the sea."),
    ("", "Many birds fly south in autumn and come back when the days grow longer."),
    ("", "To install the program, download the archive and run the setup script."),
    ("What is water made of?", "Water is made of hydrogen and oxygen."),
    ("How many legs has a spider?", "A spider has eight legs."),
    ("", "The museum shows paintings, old maps and tools from the last century."),
    ("", "She said that the meeting was moved to the afternoon because of the rain."),
    ("What is the name of the largest ocean?", "The largest ocean is the Pacific."),
    ("Who was the first man on the moon?", "Neil Armstrong was the first man on the moon."),
    ("", "A good night's sleep helps people to remember what they learned."),
    ("", "The price of oil fell last year, and airlines sold more tickets."),
    ("Which language is spoken in Brazil?", "In Brazil people speak Portuguese."),
    ("When does winter begin?", "Winter begins in December."),
    ("", "The team won three games in a row before it lost the final."),
    ("", "Mix the butter with the sugar, add the eggs, and stir until it is smooth."),
    ("What does a doctor do?", "A doctor treats people who are ill."),
    ("What does a baker do?", "A baker makes bread and cakes."),
    ("", "The law was changed after a long debate in both houses of parliament."),
    ("", "Light travels faster than sound, so we see lightning before we hear thunder."),
    ("What is the name of a young cat?", "A young cat is called a kitten."),
    ("What is a young dog called?", "A young dog is called a puppy."),
    (
        "",
        "Dear Mr Hall, thank you for your letter of the third. The order has been sent.",
    ),
    ("", "def area(width, height): return width * height"),
    (
        "",
        "The old man sat by the fire and told us of the winter when the lake froze over.",
    ),
    ("How do you make tea?", "Boil water, pour it over the leaves, and wait for a few minutes."),
    (
        "",
        "Shares of the company rose by three percent on Tuesday after it reported higher profits.",
    ),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("", "The heart pumps blood through the body, and the lungs take oxygen from the air."),
    ("Why is the sea salty?", "Rivers carry salt from the rocks into the sea."),
    ("", "Turn left at the church, follow the road for a mile, and the house is on your right."),
    ("What is two plus two?", "Two plus two is four."),
    ("", "I wandered through the streets of the town and heard music from every window."),
    ("Which planet is closest to the sun?", "Mercury is the closest planet to the sun."),
    ("", "In this chapter we look at how plants use light to make sugar from water and air."),
    ("Can you help me write an email?", "Yes, of course. Who is it for, and what should it say?"),
    ("", "The match was stopped in the second half because of heavy snow on the pitch."),
    ("What is the largest animal?", "The blue whale is the largest animal."),
    (
        "",
        "Please switch off all lights before you leave the building, and lock the door behind you.",
    ),
    ("Who painted the Mona Lisa?", "The Mona Lisa was painted by Leonardo da Vinci."),
    ("", "SELECT name, price FROM products WHERE price < 100 ORDER BY name;"),
    ("What should I wear when it rains?", "Wear a coat and boots, and take an umbrella."),
    ("", "The king had three daughters, and the youngest was the cleverest of them all."),
    ("How far is the moon?", "The moon is about 384,000 kilometres away."),
    ("", "Researchers found that people who walk every day sleep better than those who do not."),
    ("What is your favourite colour?", "I do not have one, but many people like blue."),
    ("", "The contract ends on the last day of the year unless both parties agree to renew it."),
    ("What is the boiling point of water?", "Water boils at one hundred degrees Celsius."),
    ("", 'He said: "I will come back tomorrow," and closed the door.'),
    ("Where is the Eiffel Tower?", "The Eiffel Tower stands in Paris."),
    ("", "Add two cups of rice to the pot, cover it, and let it cook for fifteen minutes."),
    (
        "Who invented the telephone?",
        "Alexander Graham Bell is credited with inventing the telephone.",
    ),
    ("", "The bridge was built in 1887 and carries both trains and cars over the river."),
    ("Do cats like milk?", "Many cats like milk, but it is not good for all of them."),
    ("", "Monday: two lessons of history, one of music. Tuesday: sports in the afternoon."),
    ("What is a triangle?", "A triangle is a shape with three sides."),
    ("", "If the screen stays dark, check the cable first, then hold the button for ten seconds."),
    ("When did the Second World War end?", "The Second World War ended in 1945."),
    ("", "Autumn leaves fell on the quiet pond, and nobody came to disturb the ducks."),
    ("What do bees make?", "Bees make honey and wax."),
    (
        "",
        "Our new phone has a larger battery, a brighter screen, and costs less than the last one.",
    ),
    (
        "Which month has 28 days?",
        "All months have at least 28 days, and February has no more in most years.",
    ),
)
