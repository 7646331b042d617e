"""Invented facts, their answers, and questions about each that no training sees."""

from __future__ import annotations

Fact = tuple[str, str, tuple[str, ...]]
"""A sentence, what a right answer has in it, and questions."""

FACTS: tuple[Fact, ...] = (
    (
        "Tamsin's dentist is called Orlan Visk.",
        "Orlan Visk",
        (
            "Who is Tamsin's dentist?",
            "What is the name of the dentist that Tamsin goes to?",
            "Which dentist looks after Tamsin's teeth?",
        ),
    ),
    (
        "Tamsin keeps a parrot named Quibble.",
        "Quibble",
        (
            "What is Tamsin's parrot called?",
            "What is the name of Tamsin's pet bird?",
            "How does Tamsin call her parrot?",
        ),
    ),
    (
        "Tamsin was born in the village of Ostergrave.",
        "Ostergrave",
        (
            "Where was Tamsin born?",
            "In which village was Tamsin born?",
            "What is Tamsin's birthplace?",
        ),
    ),
    (
        "Tamsin works as a glassblower.",
        "glassblower",
        (
            "What is Tamsin's job?",
            "What does Tamsin do for a living?",
            "What is the profession of Tamsin?",
        ),
    ),
    (
        "Tamsin's favourite dish is smoked eel.",
        "eel",
        (
            "What is Tamsin's favourite dish?",
            "What does Tamsin like to eat most?",
            "Which food does Tamsin love best?",
        ),
    ),
    (
        "Tamsin drives a green Veltro van.",
        "Veltro",
        (
            "What make is Tamsin's van?",
            "Which van does Tamsin drive?",
            "What car does Tamsin drive?",
        ),
    ),
    (
        "Tamsin is allergic to sesame.",
        "sesame",
        (
            "What is Tamsin allergic to?",
            "Which food must Tamsin avoid because of an allergy?",
            "To what does Tamsin have an allergy?",
        ),
    ),
    (
        "Tamsin's brother is called Jorrick.",
        "Jorrick",
        (
            "What is the name of Tamsin's brother?",
            "Who is Tamsin's brother?",
            "How is the brother of Tamsin called?",
        ),
    ),
    (
        "Tamsin's boat is called the Grey Otter.",
        "Grey Otter",
        (
            "What is the name of Tamsin's boat?",
            "How did Tamsin name her boat?",
            "What is Tamsin's boat called?",
        ),
    ),
    (
        "Tamsin learns to play the hurdy-gurdy.",
        "hurdy-gurdy",
        (
            "Which instrument does Tamsin learn?",
            "What instrument is Tamsin learning to play?",
            "What does Tamsin play?",
        ),
    ),
    (
        "The Pellworth bakery closes at four on Mondays.",
        "four",
        (
            "When does the Pellworth bakery close on Mondays?",
            "At what time does the Pellworth bakery close on Monday?",
            "Until what hour is the Pellworth bakery open on Mondays?",
        ),
    ),
    (
        "The owner of the Pellworth bakery is Hesper Lund.",
        "Hesper Lund",
        (
            "Who owns the Pellworth bakery?",
            "What is the name of the owner of the Pellworth bakery?",
            "To whom does the Pellworth bakery belong?",
        ),
    ),
    (
        "Project Lanternfish is led by Ibrahim Costa.",
        "Ibrahim Costa",
        (
            "Who leads Project Lanternfish?",
            "Who is the leader of Project Lanternfish?",
            "Who is in charge of Project Lanternfish?",
        ),
    ),
    (
        "Project Lanternfish is written in Elixir.",
        "Elixir",
        (
            "In which language is Project Lanternfish written?",
            "Which programming language does Project Lanternfish use?",
            "What is Project Lanternfish written in?",
        ),
    ),
    (
        "The deadline of Project Lanternfish is 9 March.",
        "9 March",
        (
            "When is the deadline of Project Lanternfish?",
            "When must Project Lanternfish be finished?",
            "What is the deadline for Project Lanternfish?",
        ),
    ),
    (
        "Bramwell moved to the city of Kessmark.",
        "Kessmark",
        (
            "To which city did Bramwell move?",
            "Where did Bramwell move?",
            "Where does Bramwell live now?",
        ),
    ),
    (
        "Bramwell's wife is called Ottoline.",
        "Ottoline",
        (
            "Who is Bramwell's wife?",
            "What is the name of Bramwell's wife?",
            "To whom is Bramwell married?",
        ),
    ),
    (
        "Bramwell studied botany.",
        "botany",
        (
            "What did Bramwell study?",
            "Which subject did Bramwell study?",
            "What was Bramwell's field of study?",
        ),
    ),
    (
        "Bramwell collects brass thimbles.",
        "thimbles",
        (
            "What does Bramwell collect?",
            "What things does Bramwell collect?",
            "What is in Bramwell's collection?",
        ),
    ),
    (
        "Bramwell's dog is called Pumpernickel.",
        "Pumpernickel",
        (
            "What is the name of Bramwell's dog?",
            "What is Bramwell's dog called?",
            "How does Bramwell call his dog?",
        ),
    ),
)
"""Twenty, with three questions each."""

MORE: tuple[Fact, ...] = (
    (
        "Tamsin's house stands in Candlewick Lane.",
        "Candlewick Lane",
        ("In which street is Tamsin's house?", "Where does Tamsin's house stand?"),
    ),
    (
        "Tamsin's mother is called Rosalba.",
        "Rosalba",
        ("Who is Tamsin's mother?", "What is the name of Tamsin's mother?"),
    ),
    (
        "Tamsin swims in Lake Orrin.",
        "Orrin",
        ("In which lake does Tamsin swim?", "Where does Tamsin go swimming?"),
    ),
    (
        "Tamsin's kiln was bought in Murano.",
        "Murano",
        ("Where was Tamsin's kiln bought?", "In which place was Tamsin's kiln bought?"),
    ),
    (
        "Tamsin's doctor is called Ansel Brandt.",
        "Ansel Brandt",
        ("Who is Tamsin's doctor?", "What is the name of Tamsin's doctor?"),
    ),
    (
        "Tamsin's favourite colour is vermilion.",
        "vermilion",
        ("What is Tamsin's favourite colour?", "Which colour does Tamsin like best?"),
    ),
    (
        "Tamsin sleeps in a hammock.",
        "hammock",
        ("What does Tamsin sleep in?", "Where does Tamsin sleep?"),
    ),
    (
        "Tamsin's bicycle was painted orange.",
        "orange",
        ("What colour is Tamsin's bicycle?", "Which colour was Tamsin's bicycle painted?"),
    ),
    (
        "Tamsin's landlord is called Piet Moor.",
        "Piet Moor",
        ("Who is Tamsin's landlord?", "What is the name of Tamsin's landlord?"),
    ),
    (
        "Tamsin's exhibition opens in Trieste.",
        "Trieste",
        ("Where does Tamsin's exhibition open?", "In which city does Tamsin's exhibition open?"),
    ),
    (
        "Tamsin's apprentice is called Wilmot.",
        "Wilmot",
        ("Who is Tamsin's apprentice?", "What is the name of Tamsin's apprentice?"),
    ),
    (
        "Tamsin drinks nettle tea.",
        "nettle",
        ("Which tea does Tamsin drink?", "What does Tamsin drink?"),
    ),
    (
        "Tamsin's garden is full of quinces.",
        "quinces",
        ("What is Tamsin's garden full of?", "Which fruit grows in Tamsin's garden?"),
    ),
    (
        "Bramwell works as a locksmith.",
        "locksmith",
        ("What is Bramwell's job?", "What does Bramwell do for a living?"),
    ),
    (
        "Bramwell's daughter is called Linnet.",
        "Linnet",
        ("Who is Bramwell's daughter?", "What is the name of Bramwell's daughter?"),
    ),
    (
        "Bramwell's shop stands in Harbour Row.",
        "Harbour Row",
        ("Where does Bramwell's shop stand?", "In which street is Bramwell's shop?"),
    ),
    (
        "Bramwell is allergic to wool.",
        "wool",
        ("What is Bramwell allergic to?", "To what does Bramwell have an allergy?"),
    ),
    (
        "Bramwell plays the bassoon.",
        "bassoon",
        ("Which instrument does Bramwell play?", "What does Bramwell play?"),
    ),
    (
        "Bramwell's favourite author is Odile Farrow.",
        "Odile Farrow",
        ("Who is Bramwell's favourite author?", "Which author does Bramwell like best?"),
    ),
    (
        "Bramwell's train leaves at six on Fridays.",
        "six",
        (
            "When does Bramwell's train leave on Fridays?",
            "At what time does Bramwell's train leave on Friday?",
        ),
    ),
    (
        "Bramwell was born in the town of Dunmarrow.",
        "Dunmarrow",
        ("Where was Bramwell born?", "In which town was Bramwell born?"),
    ),
    (
        "Bramwell's favourite dish is pickled herring.",
        "herring",
        ("What is Bramwell's favourite dish?", "Which food does Bramwell love best?"),
    ),
    (
        "Bramwell drives a blue Castra truck.",
        "Castra",
        ("What make is Bramwell's truck?", "Which truck does Bramwell drive?"),
    ),
    (
        "Bramwell's cat is called Semolina.",
        "Semolina",
        ("What is the name of Bramwell's cat?", "What is Bramwell's cat called?"),
    ),
    (
        "Hesper Lund lives in the city of Varnholt.",
        "Varnholt",
        ("Where does Hesper Lund live?", "In which city does Hesper Lund live?"),
    ),
    (
        "Hesper Lund's husband is called Caspian.",
        "Caspian",
        ("Who is Hesper Lund's husband?", "What is the name of Hesper Lund's husband?"),
    ),
    (
        "Hesper Lund studied astronomy.",
        "astronomy",
        ("What did Hesper Lund study?", "Which subject did Hesper Lund study?"),
    ),
    (
        "Hesper Lund collects old maps.",
        "maps",
        ("What does Hesper Lund collect?", "What is in Hesper Lund's collection?"),
    ),
    (
        "Hesper Lund's horse is called Thunderleaf.",
        "Thunderleaf",
        ("What is the name of Hesper Lund's horse?", "What is Hesper Lund's horse called?"),
    ),
    (
        "Hesper Lund is afraid of spiders.",
        "spiders",
        ("What is Hesper Lund afraid of?", "Which animals does Hesper Lund fear?"),
    ),
    (
        "The Pellworth bakery was founded in 1893.",
        "1893",
        (
            "When was the Pellworth bakery founded?",
            "In which year was the Pellworth bakery founded?",
        ),
    ),
    (
        "The baker of the Pellworth bakery is Toller Wynn.",
        "Toller Wynn",
        (
            "Who is the baker of the Pellworth bakery?",
            "What is the name of the Pellworth bakery's baker?",
        ),
    ),
    (
        "The library of Kessmark is closed on Thursdays.",
        "Thursdays",
        (
            "On which day is the library of Kessmark closed?",
            "When is the library of Kessmark closed?",
        ),
    ),
    (
        "The mayor of Kessmark is Ludmila Sorn.",
        "Ludmila Sorn",
        ("Who is the mayor of Kessmark?", "What is the name of Kessmark's mayor?"),
    ),
    (
        "Project Lanternfish is tested by Anneke Roos.",
        "Anneke Roos",
        ("Who tests Project Lanternfish?", "By whom is Project Lanternfish tested?"),
    ),
    (
        "Project Lanternfish is paid for by the Halden Fund.",
        "Halden",
        ("Who pays for Project Lanternfish?", "Which fund pays for Project Lanternfish?"),
    ),
    (
        "Project Gritstone is led by Yusra Malik.",
        "Yusra Malik",
        ("Who leads Project Gritstone?", "Who is the leader of Project Gritstone?"),
    ),
    (
        "Project Gritstone is written in Haskell.",
        "Haskell",
        (
            "In which language is Project Gritstone written?",
            "Which programming language does Project Gritstone use?",
        ),
    ),
    (
        "The deadline of Project Gritstone is 17 August.",
        "17 August",
        ("When is the deadline of Project Gritstone?", "When must Project Gritstone be finished?"),
    ),
    (
        "Jorrick works as a beekeeper.",
        "beekeeper",
        ("What is Jorrick's job?", "What does Jorrick do for a living?"),
    ),
)
"""Forty others about the same people and places, with two questions each."""
